/* SPDX-License-Identifier: MIT */
/*
 * Write - the write calls, one after the other
 *
 * A write is everything or an error, so it may wait in its middle, and nobody else may write then: it has the turn,
 * and who comes later stands in `turns`. The turn goes from hand to hand: whoever is woken there has it.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/os/stream.h"

static int
turn_take(vn_stream *s)
{
	if (s->is_writing)
		return vn_stream_wait(s, &s->turns, &s->writable);
	s->is_writing = true;
	return 0;
}

/**
 * vn_stream_turn_over() - whoever had the turn to write is done
 * @s: stream
 */
void
vn_stream_turn_over(vn_stream *s)
{
	if (s->turns.first) {
		vn_wake(s->turns.first, 0);
		return;
	}
	s->is_writing = false;
	if (s->choosers.first && !s->is_closed && vn_stream_look_out(s) != -EAGAIN)
		vn_end_wake(&s->choosers, NULL, 0);
}

/* What was read ahead of a file's position is not to be skipped by writing. */
static void
position_settle(vn_stream *s)
{
	if (!s->has_position || s->len == 0)
		return;
	s->position -= (int64_t)s->len;
	vn_stream_forget(s);
}

/* One step: bytes that were written, none after a wait, or an error. */
static ssize_t
write_some(vn_stream *s, const unsigned char *data, size_t n, bool *left)
{
	ssize_t put = vn_stream_give(s, data, n, left);

	if (put == -EAGAIN && s->kind != VN_STREAM_FILE)
		return vn_stream_wait(s, &s->writers, &s->writable);
	if (put > 0 && !*left)
		vn_stream_breathe(s);
	return put;
}

static int
write_all(vn_stream *s, const unsigned char *data, size_t n, bool *left)
{
	*left = false;
	position_settle(s);
	while (n > 0) {
		ssize_t put = write_some(s, data, n, left);

		if (put < 0 || *left)
			return (int)put;
		data += put;
		n -= (size_t)put;
	}
	return s->is_shut ? -EPIPE : 0;
}

/**
 * vn_os_write() - all of it, or an error
 * @s:    stream, or NULL
 * @data: bytes
 * @n:    how many
 *
 * Return: 0; -EPIPE when nobody can read it, or the stream is shut down or closed; -ETIMEDOUT, -ECANCELED,
 * -EDEADLK, or what write(2) has: then some of it may have been written; -EBADF.
 */
int
vn_os_write(vn_stream *s, const void *data, size_t n)
{
	bool left;
	int rc = vn_stream_enter(s);

	if (rc < 0)
		return rc;
	rc = turn_take(s);
	if (rc == 0) {
		rc = write_all(s, data, n, &left);
		if (!left)
			vn_stream_turn_over(s);
	}
	vn_stream_leave(s);
	return rc;
}

static int
shut(vn_stream *s)
{
	int flags = fcntl(s->fd, F_GETFL);

	if (s->is_closed || s->is_shut)
		return s->is_closed ? -EPIPE : 0;
	if (s->kind == VN_STREAM_SOCKET)
		return shutdown(s->fd, SHUT_WR) < 0 ? -errno : 0;
	if ((flags & O_ACCMODE) != O_WRONLY || s->keeps_fd)
		return -EOPNOTSUPP;
	return vn_stream_shut(s);
}

/**
 * vn_os_shutdown() - no more output
 * @s: stream, or NULL; still to be closed
 *
 * Waits until what others write is written.
 *
 * Return: 0; -EOPNOTSUPP for a descriptor whose output cannot be ended alone; -ETIMEDOUT, -ECANCELED, -EDEADLK,
 * -EPIPE when it is closed, -EBADF, or what shutdown(2) and close(2) have.
 */
int
vn_os_shutdown(vn_stream *s)
{
	int rc = vn_stream_enter(s);

	if (rc < 0)
		return rc;
	rc = turn_take(s);
	if (rc == 0) {
		rc = shut(s);
		if (rc == 0)
			s->is_shut = true;
		vn_stream_turn_over(s);
	}
	vn_stream_leave(s);
	return rc;
}
