/* SPDX-License-Identifier: MIT */
/*
 * Stream - life of a stream, readiness, and its ends in a select
 *
 * A descriptor is registered once, for both directions, edge by edge. Calls try first and wait when the kernel says
 * EAGAIN, so an edge that came earlier is never missed: what it told of was there when they tried. Selects look with
 * poll(2) for the same reason.
 *
 * Most descriptors are shared with somebody: standard input with the shell, a pipe with other processes. O_NONBLOCK
 * belongs to all of them, so it is left alone where reading and writing can be told not to wait call by call
 * (sockets, pipes; see transfer.c).
 */
#include "client/os/stream.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/hub/place.h"
#include "client/message/life.h"
#include "client/os/pool.h"

#define STREAK 64 /* calls in a row that need not wait; then others run */

static int
stream_shut_fd(vn_stream *s)
{
	int fd = s->fd, flags;

	if (fd < 0)
		return 0;
	s->fd = -1;
	if (s->has_position && s->keeps_fd)
		lseek(fd, s->position - (int64_t)s->len, SEEK_SET);
	flags = s->was_blocking ? fcntl(fd, F_GETFL) : -1;
	if (flags >= 0)
		fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
	return s->keeps_fd || close(fd) == 0 ? 0 : -errno;
}

static void
stream_unwatch(vn_stream *s)
{
	vn_watch_remove(s->hub->poller, &s->watch);
	if (s->is_held)
		vn_hub_unhold(s->hub);
	s->is_held = false;
}

/**
 * vn_stream_shut() - close the descriptor, although the stream is open
 * @s: stream; nobody works on it
 *
 * Return: 0, or what close(2) had.
 */
int
vn_stream_shut(vn_stream *s)
{
	stream_unwatch(s);
	return stream_shut_fd(s);
}

static int
stream_free(vn_stream *s)
{
	int rc = stream_shut_fd(s);

	vn_life_deinit(&s->readable.life);
	vn_life_deinit(&s->writable.life);
	free(s->buf);
	free(s);
	return rc;
}

static int
stream_close(vn_stream *s)
{
	s->is_closed = true;
	if (s->home)
		*s->home = NULL;
	stream_unwatch(s);
	vn_end_wake(&s->readers, NULL, -EPIPE);
	vn_end_wake(&s->writers, NULL, -EPIPE);
	vn_end_wake(&s->turns, NULL, -EPIPE);
	vn_end_wake(&s->choosers, NULL, -EPIPE);
	return s->n_calls == 0 ? stream_free(s) : 0;
}

static void
stream_disowned(vn_owned *o)
{
	stream_close((vn_stream *)(void *)((char *)o - offsetof(vn_stream, owned)));
}

/**
 * vn_stream_enter() - a call begins
 * @s: stream, or NULL
 *
 * Return: 0, or -EBADF for NULL; then the call has not begun.
 */
int
vn_stream_enter(vn_stream *s)
{
	if (!s)
		return -EBADF;
	s->n_calls++;
	return 0;
}

/**
 * vn_stream_leave() - a call has ended
 * @s: stream; gone if it was closed meanwhile and this was the last call
 */
void
vn_stream_leave(vn_stream *s)
{
	if (--s->n_calls == 0 && s->is_closed)
		stream_free(s);
}

/**
 * vn_stream_wait() - wait in one of its queues
 * @s:   stream
 * @q:   one of its queues
 * @end: on behalf of whom
 *
 * Return: 0: look again; -EPIPE, it was closed; -ETIMEDOUT, -ECANCELED, -EDEADLK.
 */
int
vn_stream_wait(vn_stream *s, vn_waitq *q, void *end)
{
	vn_clause clause = {.end = end};
	int rc;

	if (s->is_closed)
		return -EPIPE;
	s->streak = 0;
	vn_waitq_push(q, &clause);
	rc = vn_wait(s->hub, &clause, 1, VN_NEVER);
	return rc < 0 ? rc : clause.result;
}

/**
 * vn_stream_breathe() - after a call that need not wait: one that never does lets others run now and then
 * @s: stream
 */
void
vn_stream_breathe(vn_stream *s)
{
	if (++s->streak < STREAK)
		return;
	s->streak = 0;
	vn_yield(s->hub);
}

static void
stream_event(vn_watch *w, uint32_t events)
{
	vn_stream *s = (vn_stream *)(void *)((char *)w - offsetof(vn_stream, watch));

	if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		vn_end_wake(&s->readers, NULL, 0);
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		vn_end_wake(s->is_writing ? &s->writers : &s->choosers, NULL, 0);
}

/* Ends for a select: they have no items, and are ready when the stream is. */

static int
look(const vn_stream *s, short events)
{
	struct pollfd p = {.fd = s->fd, .events = events};
	int n;

	if (s->kind == VN_STREAM_FILE)
		return 0;
	do
		n = poll(&p, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n > 0 ? 0 : -EAGAIN;
}

/**
 * vn_stream_look_out() - could a byte be written?
 * @s: stream
 *
 * Return: 0, -EAGAIN, -EPIPE after a shutdown, or an error.
 */
int
vn_stream_look_out(const vn_stream *s)
{
	return s->is_shut ? -EPIPE : look(s, POLLOUT);
}

static vn_stream *
stream_of_readable(void *end)
{
	return (vn_stream *)(void *)((char *)end - offsetof(vn_stream, readable));
}

static vn_stream *
stream_of_writable(void *end)
{
	return (vn_stream *)(void *)((char *)end - offsetof(vn_stream, writable));
}

static int
readable_try(void *end, void *item)
{
	const vn_stream *s = stream_of_readable(end);

	(void)item;
	if (s->len > 0)
		return 0;
	return s->fd < 0 ? -EBADF : look(s, POLLIN | POLLPRI);
}

static int
writable_try(void *end, void *item)
{
	const vn_stream *s = stream_of_writable(end);

	(void)item;
	return s->is_writing ? -EAGAIN : vn_stream_look_out(s);
}

static vn_waitq *
readable_queue(void *end)
{
	return &stream_of_readable(end)->readers;
}

static vn_waitq *
writable_queue(void *end)
{
	return &stream_of_writable(end)->choosers;
}

/* They go with the stream. */
static int
end_stays(void *end)
{
	(void)end;
	return 0;
}

static const vn_end_ops readable_ops = {
	.try = readable_try,
	.queue = readable_queue,
	.close = end_stays,
	.one = true,
};

static const vn_end_ops writable_ops = {
	.try = writable_try,
	.queue = writable_queue,
	.close = end_stays,
};

/**
 * vn_os_readable() - an end that is ready when a read would not wait, for a select
 * @s: stream, or NULL
 *
 * Return: the end, which goes with the stream; NULL for NULL.
 */
vn_rx *
vn_os_readable(vn_stream *s)
{
	return s ? &s->readable : NULL;
}

/**
 * vn_os_writable() - an end that is ready when writing a byte would not wait, for a select
 * @s: stream, or NULL
 *
 * Return: the end, which goes with the stream; NULL for NULL.
 */
vn_rx *
vn_os_writable(vn_stream *s)
{
	return s ? &s->writable : NULL;
}

/* Making */

static vn_stream_kind
kind_of(int fd, int flags)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
		return VN_STREAM_SOCKET;
	return flags & O_NONBLOCK ? VN_STREAM_NONBLOCK : VN_STREAM_NOWAIT;
}

static void
become_file(vn_stream *s, int flags)
{
	s->kind = VN_STREAM_FILE;
	s->appends = flags & O_APPEND;
	s->position = lseek(s->fd, 0, SEEK_CUR);
	s->has_position = s->position >= 0;
}

static int
stream_init(vn_stream *s)
{
	int flags = fcntl(s->fd, F_GETFL), rc;

	if (flags < 0)
		return -errno;
	s->kind = kind_of(s->fd, flags);
	rc = vn_watch_add(s->hub->poller, &s->watch, s->fd,
		EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET, stream_event);
	if (rc == -EPERM) {
		become_file(s, flags);
		return 0;
	}
	if (rc < 0)
		return rc;
	vn_hub_hold(s->hub);
	s->is_held = true;
	return 0;
}

/**
 * vn_os_stream() - read and write a descriptor
 * @h:     hub
 * @fd:    descriptor; closed with the stream
 * @flags: 0, or VN_KEEP: it stays the caller's, to be closed after the stream
 *
 * Return: the stream; NULL with errno EBADF, EEXIST when this hub watches it already, ENOMEM, EINVAL for other
 * flags; then the descriptor is still the caller's.
 */
vn_stream *(vn_os_stream)(vn_hub *h, int fd, unsigned flags)
{
	vn_stream *s = flags & ~VN_KEEP ? NULL : calloc(1, sizeof *s);
	int rc;

	if (!s) {
		errno = flags & ~VN_KEEP ? EINVAL : ENOMEM;
		return NULL;
	}
	*s = (vn_stream){
		.hub = h,
		.fd = fd,
		.keeps_fd = flags & VN_KEEP,
		.watch.fd = -1,
		.readable = {.ops = &readable_ops, .hub = h},
		.writable = {.ops = &writable_ops, .hub = h},
	};
	rc = stream_init(s);
	if (rc < 0) {
		free(s);
		errno = -rc;
		return NULL;
	}
	vn_hub_own(h, &s->owned, stream_disowned);
	return s;
}

typedef struct opening {
	char *path;
	int flags;
	mode_t mode;
	int fd;
	bool is_done;
} opening;

static int
opening_run(void *arg)
{
	opening *o = arg;

	do
		o->fd = open(o->path, o->flags | O_CLOEXEC, o->mode);
	while (o->fd < 0 && errno == EINTR);
	o->is_done = true;
	return o->fd < 0 ? -errno : 0;
}

static void
opening_drop(void *arg)
{
	opening *o = arg;

	if (o->fd >= 0)
		close(o->fd);
	free(o->path);
}

/**
 * vn_os_open() - open a file
 * @h:     hub
 * @path:  of the file
 * @flags: of open(2); close-on-exec comes on top
 * @mode:  for a file that is created
 *
 * The call waits in a thread. A FIFO whose other side is not open keeps that thread until it is, unless @flags has
 * O_NONBLOCK.
 *
 * Return: the stream; NULL with the errno of open(2), or ETIMEDOUT, ECANCELED, ENOMEM.
 */
vn_stream *(vn_os_open)(vn_hub *h, const char *path, int flags, mode_t mode)
{
	const char *here = vn_place_given(h); /* what others make meanwhile is not made there */
	int line = h->here_line, rc;
	vn_pool *pool = vn_pool_of_files(vn_here(h, NULL, 0));
	opening o = {.path = pool ? strdup(path) : NULL, .flags = flags, .mode = mode, .fd = -1};
	vn_stream *s = NULL;

	if (!o.path)
		return NULL;
	rc = vn_pool_call_or_drop(pool, opening_run, &o, opening_drop);
	if (rc == 0) {
		s = (vn_os_stream)(here ? vn_here(h, here, line) : h, o.fd, 0);
		rc = s ? 0 : -errno;
	}
	if (o.is_done && !s)
		opening_drop(&o);
	else if (s)
		free(o.path);
	if (!s)
		errno = -rc;
	return s;
}

/**
 * vn_os_pipe() - pipe(2)
 * @h:    hub
 * @ends: [0] is read, [1] is written
 *
 * Return: 0, -EMFILE, -ENFILE, -ENOMEM.
 */
int
vn_os_pipe(vn_hub *h, vn_stream *ends[2])
{
	int fds[2], error;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	ends[0] = (vn_os_stream)(h, fds[0], 0);
	ends[1] = ends[0] ? (vn_os_stream)(h, fds[1], 0) : NULL;
	if (ends[1])
		return 0;
	error = errno;
	if (ends[0])
		vn_os_close(ends[0]);
	else
		close(fds[0]);
	close(fds[1]);
	ends[0] = NULL;
	return -error;
}

/**
 * vn_os_fd() - its descriptor
 * @s: stream, or NULL
 *
 * Return: the number; -EBADF if there is none any more.
 */
int
vn_os_fd(vn_stream *s)
{
	return s && s->fd >= 0 ? s->fd : -EBADF;
}

/**
 * vn_os_seek() - the next byte is read or written there
 * @s:      stream, or NULL
 * @offset: from the beginning of the file
 *
 * Return: 0; -ESPIPE if it has no position, -EINVAL for a negative offset, -EBUSY while somebody reads or writes,
 * -EBADF.
 */
int
vn_os_seek(vn_stream *s, int64_t offset)
{
	if (!s)
		return -EBADF;
	if (!s->has_position)
		return -ESPIPE;
	if (offset < 0)
		return -EINVAL;
	if (s->is_reading || s->is_writing)
		return -EBUSY;
	vn_stream_forget(s);
	s->position = offset;
	return 0;
}

/**
 * vn_os_close() - end a stream
 * @s: stream, or NULL
 *
 * Who waits there gets -EPIPE. The descriptor is closed at once, or when a thread that works on it is done.
 *
 * Return: 0, or what close(2) had.
 */
int
vn_os_close(vn_stream *s)
{
	if (!s)
		return 0;
	vn_hub_disown(&s->owned);
	return stream_close(s);
}
