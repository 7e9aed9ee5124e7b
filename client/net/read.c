/* SPDX-License-Identifier: MIT */
/*
 * Read - the read calls
 *
 * Each one begins by committing what earlier ones took (read_begin), then waits until there is enough
 * (read_wait), then takes. Bytes are copied out of the blocks once, or not at all: vn_peek() and vn_take()
 * show them where they lie, unless what is asked for spans blocks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/net/net.h"
#include "client/net/packet.h"

#define PEEK_MAX 65536u

static uint64_t
available(const vn_conn *c)
{
	return c->flags & VN_CONN_END_TAKEN ? 0 : c->received - c->taken;
}

static int
read_begin(vn_conn *c)
{
	if (!c)
		return -EBADF;
	if (c->linear) {
		free(c->linear);
		c->linear = NULL;
	}
	vn_conn_commit_taken(c);
	if (c->flags & VN_CONN_RELEASE)
		vn_conn_give_back(c);
	return vn_conn_check(c);
}

/* Of those calls that know no messages. */
static int
stream_begin(vn_conn *c)
{
	return c && c->flags & VN_CONN_PACKETS ? -EOPNOTSUPP : read_begin(c);
}

/* A read is about to wait: does it have to end instead, does the backend have to know? */
static int
read_may_park(vn_conn *c)
{
	if (c->flags & VN_CONN_FULL) {
		if (!vn_conn_may_ack(c))
			return -EMSGSIZE;
		vn_conn_ack(c, c->taken, false);
	}
	if (c->net->nobody_else && (c->flags & VN_CONN_RESUMABLE) && vn_conn_at_commit_point(c)) {
		c->flags |= VN_CONN_STALE;
		return -ESTALE;
	}
	if (c->acked < c->received)
		c->net->ops->need_input(c);
	return 0;
}

/* Waits for news of the input. */
static int
read_park(vn_conn *c)
{
	int rc = c->readers.first ? -EBUSY : read_may_park(c);

	return rc < 0 ? rc : vn_conn_wait(c, &c->readers, NULL);
}

/* Waits until n bytes are there or the stream has ended. */
static int
read_wait(vn_conn *c, uint64_t n)
{
	int rc = 0;

	while (rc == 0 && available(c) < n && !(c->flags & VN_CONN_ENDED))
		rc = read_park(c);
	return rc;
}

static __attribute__((noinline)) void
read_found(vn_conn *c)
{
	c->found = vn_net_ticks(c->net);
}

/* The link in which the next byte lies; there is one. Whoever asks has found input that somebody works on now. */
static vn_chain_link *
read_link(vn_conn *c)
{
	vn_chain_link *link = &c->net->in_table[c->in_at];

	if (VN_STAGES && !c->found)
		read_found(c);
	if (link->end == c->taken) {
		c->in_at = link->next;
		link = &c->net->in_table[c->in_at];
	}
	return link;
}

static size_t
read_copy(vn_conn *c, unsigned char *data, size_t n)
{
	size_t done = 0, left = available(c);

	if (n > left)
		n = left;
	while (done < n) {
		vn_chain_link *link = read_link(c);
		size_t len = link->end - c->taken;

		if (len > n - done)
			len = n - done;
		vn_area_read(c->net->in_area, c->in_at, vn_chain_offset(link, c->taken),
			data + done, (uint32_t)len);
		c->taken += len;
		done += len;
	}
	return n;
}

/* What a read call returns when nothing is left: the end of the stream is taken. */
static ssize_t
read_end(vn_conn *c)
{
	if (!(c->flags & VN_CONN_END_TAKEN)) {
		c->flags |= VN_CONN_END_TAKEN;
		c->taken = c->received + 1;
	}
	return 0;
}

static void peek_copy(vn_conn *c, unsigned char *data, size_t n);
static void read_skip(vn_conn *c, uint64_t n);

/* One message, whole or not at all. */
static ssize_t
packet_read(vn_conn *c, void *data, size_t n)
{
	uint32_t len = 0;
	int rc = read_wait(c, VN_PACKET_HEAD);

	if (rc < 0)
		return rc;
	if (available(c) < VN_PACKET_HEAD)
		return read_end(c);
	peek_copy(c, (unsigned char *)&len, sizeof len);
	if (len > n || len > VN_PACKET_MAX)
		return -EMSGSIZE;
	rc = read_wait(c, (uint64_t)VN_PACKET_HEAD + len);
	if (rc < 0)
		return rc;
	read_skip(c, VN_PACKET_HEAD);
	return (ssize_t)read_copy(c, data, len);
}

/**
 * vn_read() - up to n bytes, at least one; of seqpacket, one message
 *
 * A message that is longer than n is not taken: -EMSGSIZE.
 *
 * Return: how many, 0 at end of stream, or -ESTALE, -ECONNRESET, -ETIMEDOUT, -ECANCELED, -EDEADLK, -EBUSY.
 */
ssize_t
vn_read(vn_conn *c, void *data, size_t n)
{
	int rc = read_begin(c);

	if (rc == 0 && c->flags & VN_CONN_PACKETS)
		return packet_read(c, data, n);
	if (rc == 0 && available(c) == 0)
		rc = read_wait(c, 1);
	if (rc < 0)
		return rc;
	if (available(c) == 0)
		return read_end(c);
	return (ssize_t)read_copy(c, data, n);
}

/**
 * vn_read_n() - n bytes; fewer only at end of stream
 *
 * n may be larger than the window: what was taken is then acknowledged on the way, and until the next commit
 * the connection cannot be resumed.
 *
 * Return: how many, 0 at end of stream, or an error as vn_read(); what was taken before an error is lost.
 */
ssize_t
vn_read_n(vn_conn *c, void *data, size_t n)
{
	size_t done = 0;
	int rc = stream_begin(c);

	if (rc < 0)
		return rc;
	c->flags |= VN_CONN_MORE;
	while (done < n) {
		rc = read_wait(c, 1);
		if (rc < 0 || available(c) == 0)
			break;
		done += read_copy(c, (unsigned char *)data + done, n - done);
	}
	c->flags &= ~(uint32_t)VN_CONN_MORE;
	if (rc < 0)
		return rc;
	return done || n == 0 ? (ssize_t)done : read_end(c);
}

/* Copies n bytes from `taken` on without taking them. */
static void
peek_copy(vn_conn *c, unsigned char *data, size_t n)
{
	uint64_t taken = c->taken;
	uint32_t at = c->in_at;

	read_copy(c, data, n);
	c->taken = taken;
	c->in_at = at;
}

/**
 * vn_peek() - look at what is next without taking it
 * @data:     where it lies; valid until the next call on this connection
 * @at_least: 1 to 65536 and not more than the window
 *
 * Return: how many bytes are there, fewer than at_least only at end of stream, 0 when nothing is left; or
 * -EMSGSIZE if that many never fit, and the errors of vn_read().
 */
ssize_t
vn_peek(vn_conn *c, const void **data, size_t at_least)
{
	vn_chain_link *link;
	size_t n;
	int rc = stream_begin(c);

	if (rc == 0 && (at_least > PEEK_MAX || at_least > c->net->window))
		return -EMSGSIZE;
	if (at_least == 0)
		at_least = 1;
	if (rc == 0)
		rc = read_wait(c, at_least);
	if (rc < 0)
		return rc;
	n = available(c);
	if (n == 0)
		return 0;
	link = read_link(c);
	if (link->end - c->taken >= (at_least < n ? at_least : n)) {
		*data = vn_area_at(c->net->in_area, c->in_at, vn_chain_offset(link, c->taken));
		return (ssize_t)(link->end - c->taken);
	}
	n = n < PEEK_MAX ? n : PEEK_MAX;
	c->linear = malloc(n);
	if (!c->linear)
		return -ENOMEM;
	peek_copy(c, c->linear, n);
	*data = c->linear;
	return (ssize_t)n;
}

/* Moves `taken` on; n bytes are there. */
static void
read_skip(vn_conn *c, uint64_t n)
{
	while (n) {
		uint64_t len = read_link(c)->end - c->taken;

		if (len > n)
			len = n;
		c->taken += len;
		n -= len;
	}
}

/**
 * vn_skip() - take n bytes that were peeked
 *
 * Return: 0, -EINVAL if there are not that many, or -ESTALE, -ECONNRESET.
 */
int
vn_skip(vn_conn *c, size_t n)
{
	int rc = c ? vn_conn_check(c) : -EBADF;

	if (rc < 0)
		return rc;
	if (c->flags & VN_CONN_PACKETS)
		return -EOPNOTSUPP;
	if (n > available(c))
		return -EINVAL;
	read_skip(c, n);
	return 0;
}

/* Looks for `end` among the first `limit` bytes; what was searched before is not searched again. */
static size_t
find_end(vn_conn *c, const char *end, size_t end_len, size_t limit, size_t *searched)
{
	unsigned char text[1024];
	uint64_t taken = c->taken;
	uint32_t at = c->in_at;
	size_t n = available(c), found = 0,
	       from = *searched >= end_len ? *searched - end_len + 1 : 0;

	if (n > limit)
		n = limit;
	while (!found && n - from >= end_len) {
		size_t len = n - from < sizeof text ? n - from : sizeof text;
		const unsigned char *hit;

		read_skip(c, taken + from - c->taken);
		peek_copy(c, text, len);
		hit = memmem(text, len, end, end_len);
		if (hit)
			found = from + (size_t)(hit - text) + end_len;
		from += len - end_len + 1;
	}
	*searched = n;
	c->taken = taken;
	c->in_at = at;
	return found;
}

/**
 * vn_read_until() - up to and with a delimiter
 * @n:   room in data; what counts is at most 64 KiB and the window
 * @end: the delimiter, 1 to 64 bytes
 *
 * Return: how many bytes, the delimiter the last of them; at end of stream what is left without it, then 0;
 * -EMSGSIZE, with nothing taken, if it is not within n bytes; and the errors of vn_read().
 */
ssize_t
vn_read_until(vn_conn *c, void *data, size_t n, const char *end)
{
	size_t end_len = end ? strlen(end) : 0, searched = 0, limit, found;
	int rc = stream_begin(c);

	if (rc < 0)
		return rc;
	if (end_len == 0 || end_len > 64)
		return -EINVAL;
	limit = n < PEEK_MAX ? n : PEEK_MAX;
	limit = limit < c->net->window ? limit : c->net->window;
	for (;;) {
		found = find_end(c, end, end_len, limit, &searched);
		if (found)
			return (ssize_t)read_copy(c, data, found);
		if (available(c) >= limit)
			return -EMSGSIZE;
		if (c->flags & VN_CONN_ENDED)
			return available(c) ? (ssize_t)read_copy(c, data, limit) : read_end(c);
		rc = read_wait(c, available(c) + 1);
		if (rc < 0)
			return rc;
	}
}

/**
 * vn_take() - what arrived next, in place
 *
 * The view is pinned until vn_release(): no acknowledgement passes it. Each view is at most one block.
 *
 * Return: 1, 0 at end of stream (the view is empty), or an error as vn_read().
 */
int
vn_take(vn_conn *c, vn_view *v)
{
	vn_chain_link *link;
	int rc;

	if (!v)
		return -EBADF;
	*v = (vn_view){NULL, 0, 0};
	rc = stream_begin(c);
	if (rc == 0)
		rc = read_wait(c, 1);
	if (rc < 0)
		return rc;
	if (available(c) == 0)
		return (int)read_end(c);
	link = read_link(c);
	v->len = link->end - c->taken;
	v->data = vn_area_at(c->net->in_area, c->in_at, vn_chain_offset(link, c->taken));
	v->id = 1;
	c->taken = link->end;
	c->n_pins++;
	return 1;
}

/**
 * vn_release() - done with a view
 *
 * A commit that waited for it is made now.
 *
 * Return: 0, -EINVAL if the view is not one that is out, -EBADF.
 */
int
vn_release(vn_conn *c, vn_view *v)
{
	if (!c || !v)
		return -EBADF;
	if (!v->id || !c->n_pins)
		return -EINVAL;
	*v = (vn_view){NULL, 0, 0};
	if (--c->n_pins)
		return 0;
	if (c->flags & VN_CONN_ABORTED)
		c->net->ops->abort(c);
	else if ((c->flags & VN_CONN_DUE) && vn_conn_check(c) == 0 && c->due > c->committed)
		vn_conn_ack(c, c->due, true);
	c->flags &= ~(uint32_t)VN_CONN_DUE;
	return 0;
}

/* For vn_select(): commit as every read call does, then say whether a read would go on at once. */
int
vn_conn_try_read(vn_conn *c)
{
	int rc = c->flags & VN_CONN_OPEN ? read_begin(c) : -EPIPE;

	if (rc < 0 || available(c) || (c->flags & VN_CONN_ENDED))
		return rc;
	rc = read_may_park(c);
	return rc < 0 ? rc : -EAGAIN;
}

vn_waitq *
vn_conn_read_queue(vn_conn *c)
{
	c->flags |= VN_CONN_SELECTED;
	return &c->readers;
}
