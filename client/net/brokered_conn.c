/* SPDX-License-Identifier: MIT */
/*
 * Brokered conn - the connections that the broker has given us, by index and generation
 *
 * A connection is known by the broker's index and generation. An attachment begins with what names a generation that
 * we do not know and is flagged OPEN; state that a predecessor left comes just before it, in pieces, of one
 * connection at a time. Its record stays until the broker says FINAL (every block is home) and the handler has closed
 * its handle; a newer attachment of the same connection may stand before it. The table of them is a mapping of its
 * own, given back when none is left: whoever sleeps after a burst keeps nothing of it.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/hub/log.h"
#include "client/net/brokered.h"

#define TABLE_MIN 512 /* entries, a page: a table that is kept although it is empty */

static vn_conn *
conn_find(vn_brokered *b, uint32_t index, uint32_t gen)
{
	vn_conn *c = index < b->n_conns ? b->conns[index] : NULL;

	while (c && c->gen != gen)
		c = c->older;
	return c;
}

static int
conn_table_grow(vn_brokered *b, uint32_t index)
{
	size_t n = b->n_conns ? b->n_conns : TABLE_MIN, size = b->n_conns * sizeof(vn_conn *);
	void *conns;

	while (n <= index)
		n *= 2;
	conns = size ? mremap(b->conns, size, n * sizeof(vn_conn *), MREMAP_MAYMOVE)
		     : mmap(NULL, n * sizeof(vn_conn *), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (conns == MAP_FAILED)
		return -ENOMEM;
	b->conns = conns;
	b->n_conns = (uint32_t)n;
	return 0;
}

static void
table_free(vn_brokered *b)
{
	if (b->conns)
		munmap(b->conns, b->n_conns * sizeof(vn_conn *));
	b->conns = NULL;
	b->n_conns = 0;
}

/**
 * vn_brokered_table_trim() - when nothing is attached, a table that has grown goes back
 */
void
vn_brokered_table_trim(vn_brokered *b)
{
	if (b->n_known == 0 && b->n_conns > TABLE_MIN)
		table_free(b);
}

/**
 * vn_brokered_forget() - it is over on both sides
 *
 * Ownership: the record is gone, and with it every block of its output.
 */
void
vn_brokered_forget(vn_brokered *b, vn_conn *c)
{
	vn_conn **link = &b->conns[c->index];

	while (*link != c)
		link = &(*link)->older;
	*link = c->older;
	b->n_known--;
	while (vn_chain_pop(&c->in, b->net->in_table, UINT64_MAX) != VN_NO_BLOCK)
		;
	vn_chain_free(&c->out, b->net->out_table, b->net->out_blocks, UINT64_MAX);
	vn_net_on_room(b->net);
	vn_conn_free(c);
}

/**
 * vn_brokered_forget_all() - the program ends: so are all
 */
void
vn_brokered_forget_all(vn_brokered *b)
{
	for (uint32_t i = 0; i < b->n_conns; i++)
		while (b->conns[i])
			vn_brokered_forget(b, b->conns[i]);
	table_free(b);
}

/**
 * vn_brokered_forget_listener() - it is closed: no connection is to name it any more
 */
void
vn_brokered_forget_listener(vn_brokered *b, const vn_listener *l)
{
	for (uint32_t i = 0; i < b->n_conns; i++)
		for (vn_conn *c = b->conns[i]; c; c = c->older)
			if (c->listener == l)
				c->listener = NULL;
}

/**
 * vn_brokered_close_all() - handles that the program did not give back are closed as it ends
 */
void
vn_brokered_close_all(vn_brokered *b)
{
	for (uint32_t i = 0; i < b->n_conns; i++)
		for (vn_conn *c = b->conns[i], *older; c; c = older) {
			older = c->older;
			if (c->flags & VN_CONN_OPEN)
				vn_conn_close(c);
		}
}

/**
 * vn_brokered_on_restore() - a piece of what a predecessor left to the handler whose connection is opened next
 */
void
vn_brokered_on_restore(vn_brokered *b, const vn_desc *d)
{
	vn_inheritance *i = &b->left;

	if (d->arg == 0)
		*i = (vn_inheritance){.conn = d->conn, .gen = d->gen, .len = d->len};
	memcpy(i->bytes + d->arg * VN_INLINE_BYTES, d->bytes, vn_state_part(d));
	i->fill += vn_state_part(d);
}

/* Its predecessor's state has arrived just before it. */
static int
inherit(vn_brokered *b, vn_conn *c)
{
	vn_inheritance *i = &b->left;
	uint32_t len = i->len;

	if (len == 0 || i->fill != len || i->conn != c->index || i->gen != c->gen)
		return 0;
	i->len = 0;
	return vn_conn_inherit(c, i->bytes, len);
}

static vn_conn *
conn_new(vn_brokered *b, const vn_desc *d, vn_listener *l)
{
	vn_conn *c;

	if (d->conn >= b->n_conns && conn_table_grow(b, d->conn) < 0)
		return NULL;
	c = vn_conn_new(b->net, l, &d->peer);
	if (!c)
		return NULL;
	c->index = d->conn;
	c->gen = d->gen;
	c->attempts = (uint8_t)vn_desc_attempts(d);
	if (inherit(b, c) < 0) {
		vn_conn_free(c);
		return NULL;
	}
	c->received = c->taken = c->acked = c->committed = d->pos;
	c->queued = c->sent = d->report;
	c->stage = b->link.tx.published - 1;
	if (d->flags & VN_RESUME)
		c->flags |= VN_CONN_RESUMABLE;
	c->older = b->conns[c->index];
	b->conns[c->index] = c;
	b->n_known++;
	return c;
}

/**
 * vn_brokered_open() - an attachment begins
 * @l: or NULL
 *
 * Return: the connection; without memory for it this worker ends.
 */
vn_conn *
vn_brokered_open(vn_brokered *b, const vn_desc *d, vn_listener *l)
{
	vn_conn *c = conn_new(b, d, l);

	if (c)
		return c;
	vn_log(b->net->hub, LOG_CRIT, "out of memory for a connection; ending");
	_exit(71);
}

/**
 * vn_brokered_turn_away() - a connection that nobody here can serve is given back by closing it
 * @c: was not given to anybody
 */
void
vn_brokered_turn_away(vn_brokered *b, vn_conn *c)
{
	c->flags |= VN_CONN_CLOSED;
	vn_stage(b, &(vn_desc){.kind = VN_KIND_CLOSE,
			    .flags = VN_ABORT,
			    .conn = c->index,
			    .gen = c->gen,
			    .pos = c->queued});
}

static vn_conn *
conn_accept(vn_brokered *b, const vn_desc *d)
{
	vn_listener *l = b->listeners[vn_desc_listener(d)];
	vn_conn *c = vn_brokered_open(b, d, l);

	if (l && !l->ended)
		vn_listener_give(l, c);
	else
		vn_brokered_turn_away(b, c);
	return c;
}

static void
conn_final(vn_brokered *b, vn_conn *c)
{
	c->flags |= VN_CONN_FINAL;
	if (!(c->flags & VN_CONN_OPEN))
		vn_brokered_forget(b, c);
}

/**
 * vn_brokered_on_conn() - what the broker says of one connection
 */
void
vn_brokered_on_conn(vn_brokered *b, const vn_desc *d)
{
	vn_conn *c = conn_find(b, d->conn, d->gen);

	if (!c) {
		if (!(d->flags & VN_OPEN) && d->kind != VN_KIND_OPEN)
			return;
		c = conn_accept(b, d);
	} else if (d->report > c->sent) {
		vn_conn_on_sent(c, d->report);
	}
	switch (d->kind) {
	case VN_KIND_DATA:
		if (!(c->flags & (VN_CONN_CLOSED | VN_CONN_STALE)))
			vn_conn_on_input(c, d->block, d->offset, d->len);
		break;
	case VN_KIND_END:
		vn_conn_on_end(c);
		break;
	case VN_KIND_RESET:
		vn_conn_on_over(c, VN_CONN_RESET);
		break;
	case VN_KIND_REVOKED:
		vn_conn_on_over(c, VN_CONN_STALE);
		break;
	case VN_KIND_FULL:
		vn_conn_on_full(c);
		break;
	case VN_KIND_RELEASE:
		vn_conn_on_release(c);
		break;
	case VN_KIND_FINAL:
		conn_final(b, c);
		return;
	default:
		break;
	}
	if (d->flags & VN_FINAL)
		conn_final(b, c);
}
