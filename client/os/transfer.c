/* SPDX-License-Identifier: MIT */
/*
 * Transfer - one attempt to move bytes, by the kind of the descriptor
 *
 * Sockets are told not to wait by MSG_DONTWAIT, pipes and some devices by RWF_NOWAIT; where the kernel does not know
 * that for a file, it is made O_NONBLOCK, until the stream is closed.
 *
 * Regular files are always ready for the poller, and yet wait for a disk. What a small read finds in the page cache it
 * takes at once (RWF_NOWAIT again); everything else is a call in the pool. The thread works on memory of the call,
 * because the caller may leave, and at a position that the caller gave, because a read whose caller has left must
 * take nothing. A write whose caller has left is finished, and keeps the turn to write until then.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "client/os/pool.h"
#include "client/os/stream.h"

#define CACHED_MAX 65536u  /* more would be copied for too long while others wait */
#define CALL_MAX   262144u /* of a file, in one call */

static ssize_t
move_nowait(int fd, void *data, size_t n, int64_t position, bool out)
{
	struct iovec part = {data, n};

	return out ? pwritev2(fd, &part, 1, position, RWF_NOWAIT)
		   : preadv2(fd, &part, 1, position, RWF_NOWAIT);
}

static ssize_t
move_once(const vn_stream *s, void *data, size_t n, bool out)
{
	switch (s->kind) {
	case VN_STREAM_SOCKET:
		return out ? send(s->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL)
			   : recv(s->fd, data, n, MSG_DONTWAIT);
	case VN_STREAM_NOWAIT:
		return move_nowait(s->fd, data, n, -1, out);
	default:
		return out ? write(s->fd, data, n) : read(s->fd, data, n);
	}
}

/* True if there was something to be done about it. */
static bool
become_nonblocking(vn_stream *s, int error)
{
	int flags;

	if (s->kind != VN_STREAM_NOWAIT ||
		(error != EOPNOTSUPP && error != ENOSYS && error != EINVAL && error != EPERM))
		return false;
	flags = fcntl(s->fd, F_GETFL);
	if (flags < 0 || fcntl(s->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return false;
	s->was_blocking = !(flags & O_NONBLOCK);
	s->kind = VN_STREAM_NONBLOCK;
	return true;
}

static ssize_t
move(vn_stream *s, void *data, size_t n, bool out)
{
	ssize_t rc;

	do
		rc = move_once(s, data, n, out);
	while (rc < 0 && (errno == EINTR || become_nonblocking(s, errno)));
	return rc < 0 ? -errno : rc;
}

/* Regular files */

typedef struct call {
	vn_stream *stream;
	unsigned char *data;
	size_t n;
	int fd;
	int64_t position; /* -1: the file's */
	bool out;
	bool is_done;
	int result;
} call;

static ssize_t
call_once(const call *c, size_t at)
{
	void *data = c->data + at;
	size_t n = c->n - at;

	if (c->position < 0)
		return c->out ? write(c->fd, data, n) : read(c->fd, data, n);
	return c->out ? pwrite(c->fd, data, n, c->position + (int64_t)at)
		      : pread(c->fd, data, n, c->position + (int64_t)at);
}

/* In a thread. A write is complete; if an error comes in the middle, what was written counts. */
static int
call_run(void *arg)
{
	call *c = arg;
	size_t at = 0;
	ssize_t n;

	do {
		n = call_once(c, at);
		if (n > 0)
			at += (size_t)n;
	} while ((n < 0 && errno == EINTR) || (n > 0 && c->out && at < c->n));
	c->is_done = true;
	c->result = n < 0 && at == 0 ? -errno : (int)at;
	return c->result;
}

/* The result is taken: where is the file now? */
static void
call_moves(const call *c)
{
	vn_stream *s = c->stream;

	if (c->result > 0 && s->has_position && !(c->out && s->appends))
		s->position = c->position + c->result;
}

/* The caller has left, or never got as far. */
static void
call_drop(void *arg)
{
	const call *c = arg;

	if (c->out) {
		if (c->is_done)
			call_moves(c);
		vn_stream_turn_over(c->stream);
	}
	vn_stream_leave(c->stream);
	free(c->data);
}

static ssize_t
call_file(vn_stream *s, const void *from, void *to, size_t n, bool *left)
{
	vn_pool *pool = vn_pool_of_files(s->hub);
	call c = {.stream = s,
		.n = n < CALL_MAX ? n : CALL_MAX,
		.fd = s->fd,
		.position = s->has_position ? s->position : -1,
		.out = from != NULL};
	int rc;

	c.data = pool ? malloc(c.n) : NULL;
	if (!c.data)
		return -ENOMEM;
	if (from)
		memcpy(c.data, from, c.n);
	vn_stream_enter(s); /* for the thread */
	rc = vn_pool_call_or_drop(pool, call_run, &c, call_drop);
	*left = !c.is_done;
	if (*left)
		return rc;
	call_moves(&c);
	if (to && rc > 0)
		memcpy(to, c.data, (size_t)rc);
	free(c.data);
	vn_stream_leave(s);
	return rc;
}

/* -EAGAIN: it is not there. */
static ssize_t
read_cached(vn_stream *s, void *data, size_t n)
{
	ssize_t got;

	if (s->uncached || !s->has_position || n > CACHED_MAX)
		return -EAGAIN;
	got = move_nowait(s->fd, data, n, s->position, false);
	if (got < 0) {
		s->uncached = errno != EAGAIN && errno != EINTR;
		return -EAGAIN;
	}
	s->position += got;
	return got;
}

static ssize_t
read_file(vn_stream *s, void *data, size_t n)
{
	ssize_t got = read_cached(s, data, n);
	bool left;

	return got == -EAGAIN ? call_file(s, NULL, data, n, &left) : got;
}

/**
 * vn_stream_take() - read once
 * @s:    stream; the caller is inside of a call
 * @data: bytes go here
 * @n:    at most so many, at least one
 *
 * Return: a count, 0 at end of stream, -EAGAIN to wait in `readers`, or an error.
 */
ssize_t
vn_stream_take(vn_stream *s, void *data, size_t n)
{
	if (s->is_closed)
		return -EPIPE;
	if (s->fd < 0)
		return -EBADF;
	return s->kind == VN_STREAM_FILE ? read_file(s, data, n) : move(s, data, n, false);
}

/**
 * vn_stream_give() - write once
 * @s:    stream; it is the caller's turn
 * @data: bytes
 * @n:    how many, at least one
 * @left: set if the turn is not the caller's any more
 *
 * Return: a count, -EAGAIN to wait in `writers`, or an error.
 */
ssize_t
vn_stream_give(vn_stream *s, const void *data, size_t n, bool *left)
{
	*left = false;
	if (s->is_closed || s->is_shut)
		return -EPIPE;
	return s->kind == VN_STREAM_FILE ? call_file(s, data, NULL, n, left)
					 : move(s, (void *)(uintptr_t)data, n, true);
}
