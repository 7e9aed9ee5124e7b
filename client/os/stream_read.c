/* SPDX-License-Identifier: MIT */
/*
 * Read - the read calls, and what is left over between them
 *
 * vn_os_read() goes past the buffer, so that whoever reads events or datagrams gets them one by one; only
 * vn_os_read_until() must read ahead, and what it does not need is left over for the next call, whichever that is. A call
 * that fails puts back what it had.
 */
#include <stdlib.h>

#include "client/os/stream.h"

#define AHEAD 4096u /* first size of the buffer */

static int
read_begin(vn_stream *s)
{
	int rc = vn_stream_enter(s);

	if (rc < 0)
		return rc;
	if (s->is_reading || vn_end_stands(&s->readers, &s->readable)) {
		vn_stream_leave(s);
		return -EBUSY;
	}
	s->is_reading = true;
	return 0;
}

static ssize_t
read_end(vn_stream *s, ssize_t rc)
{
	s->is_reading = false;
	if (rc > 0)
		vn_stream_breathe(s);
	vn_stream_leave(s);
	return rc;
}

/* Once, waiting for it. */
static ssize_t
read_more(vn_stream *s, void *data, size_t n)
{
	ssize_t got;

	while ((got = vn_stream_take(s, data, n)) == -EAGAIN && s->kind != VN_STREAM_FILE) {
		int rc = vn_stream_wait(s, &s->readers, &s->readable);

		if (rc < 0)
			return rc;
	}
	return got;
}

/**
 * vn_stream_forget() - drop what is left over
 * @s: stream
 */
void
vn_stream_forget(vn_stream *s)
{
	free(s->buf);
	s->buf = NULL;
	s->start = s->len = s->cap = 0;
}

static size_t
left_take(vn_stream *s, void *data, size_t n)
{
	n = n < s->len ? n : s->len;
	if (n == 0)
		return 0;
	memcpy(data, s->buf + s->start, n);
	s->start += n;
	s->len -= n;
	if (s->len == 0 && s->cap > AHEAD)
		vn_stream_forget(s);
	return n;
}

/* Room for `cap` bytes from the beginning of the buffer on. */
static int
left_reserve(vn_stream *s, size_t cap)
{
	unsigned char *buf;

	if (s->start > 0 && s->len > 0)
		memmove(s->buf, s->buf + s->start, s->len);
	s->start = 0;
	if (cap <= s->cap)
		return 0;
	buf = realloc(s->buf, cap);
	if (!buf)
		return -ENOMEM;
	s->buf = buf;
	s->cap = cap;
	return 0;
}

/* What was taken is put back in front of what is left over. */
static int
left_return(vn_stream *s, const void *data, size_t n)
{
	size_t len = s->len;

	if (n == 0)
		return 0;
	if (left_reserve(s, n + len) < 0)
		return -ENOMEM;
	memmove(s->buf + n, s->buf, len);
	memcpy(s->buf, data, n);
	s->len = n + len;
	return 0;
}

/**
 * vn_os_read() - up to n bytes, at least one
 * @s:    stream, or NULL
 * @data: they go here
 * @n:    at most so many
 *
 * Return: how many, 0 at end of stream (or if @n is 0); -EPIPE when the stream is closed meanwhile, -ETIMEDOUT,
 * -ECANCELED, -EDEADLK, -EBUSY, -EBADF, or what read(2) has.
 */
ssize_t
vn_os_read(vn_stream *s, void *data, size_t n)
{
	ssize_t rc = read_begin(s);

	if (rc < 0)
		return rc;
	rc = (ssize_t)left_take(s, data, n);
	if (rc == 0 && n > 0)
		rc = read_more(s, data, n);
	return read_end(s, rc);
}

/**
 * vn_os_read_n() - n bytes; fewer only at end of stream
 * @s:    stream, or NULL
 * @data: they go here
 * @n:    how many
 *
 * Return: how many, 0 at end of stream, or an error as vn_os_read(); then nothing was taken, unless it is -ENOMEM.
 */
ssize_t
vn_os_read_n(vn_stream *s, void *data, size_t n)
{
	ssize_t rc = read_begin(s);
	size_t done;

	if (rc < 0)
		return rc;
	done = left_take(s, data, n);
	for (rc = 1; done < n && rc > 0; done += rc > 0 ? (size_t)rc : 0)
		rc = read_more(s, (unsigned char *)data + done, n - done);
	if (rc < 0 && left_return(s, data, done) < 0)
		rc = -ENOMEM;
	return read_end(s, rc < 0 ? rc : (ssize_t)done);
}

/* Reads ahead: up to `most` bytes in all will be left over. */
static ssize_t
left_fill(vn_stream *s, size_t most)
{
	size_t cap = s->cap > AHEAD ? s->cap : AHEAD;
	ssize_t got;
	int rc;

	if (s->len == cap)
		cap *= 2;
	rc = left_reserve(s, cap < most || most <= AHEAD ? cap : most);
	if (rc < 0)
		return rc;
	got = read_more(s, s->buf + s->len, s->cap - s->len);
	if (got > 0)
		s->len += (size_t)got;
	return got;
}

/* How many bytes there are up to and with the string; 0 if it is not there. */
static size_t
find(const vn_stream *s, size_t from, size_t n, const char *end, size_t len)
{
	const unsigned char *begin = s->buf + s->start, *at;

	n = n < s->len ? n : s->len;
	from = from >= len ? from - len + 1 : 0;
	if (from >= n)
		return 0;
	at = memmem(begin + from, n - from, end, len);
	return at ? (size_t)(at - begin) + len : 0;
}

/* The number of bytes to take, or an error. */
static ssize_t
read_until(vn_stream *s, size_t n, const char *end)
{
	size_t len = strlen(end), seen = 0, found;
	ssize_t rc = 1;

	if (len == 0)
		return -EINVAL;
	while ((found = find(s, seen, n, end, len)) == 0 && s->len < n && rc > 0) {
		seen = s->len;
		rc = left_fill(s, n);
	}
	if (found > 0)
		return (ssize_t)found;
	if (rc < 0)
		return rc;
	return s->len >= n ? -EMSGSIZE : (ssize_t)s->len;
}

/**
 * vn_os_read_until() - up to and with a string
 * @s:    stream, or NULL
 * @data: the bytes go here; no null byte comes after them
 * @n:    at most so many
 * @end:  the string, not empty
 *
 * Return: how many; at end of stream what is left, without the string, or 0; -EMSGSIZE when it is not within @n
 * bytes; -EINVAL, or an error as vn_os_read(). With an error nothing was taken.
 */
ssize_t
vn_os_read_until(vn_stream *s, void *data, size_t n, const char *end)
{
	ssize_t rc = read_begin(s);

	if (rc < 0)
		return rc;
	rc = read_until(s, n, end);
	if (rc > 0)
		left_take(s, data, (size_t)rc);
	return read_end(s, rc);
}
