/* SPDX-License-Identifier: MIT */
/*
 * Cable - messages into the lane, and out of it
 */
#include "client/os/cable.h"

#include <assert.h>
#include <stdlib.h>

#include "shm/bell.h"

#define N_SLOTS     512u /* a window, and all else that can be said meanwhile */
#define RESERVE     4u   /* slots for what is no item */
#define FLUSH_AT    32u
#define BATCH       64
#define DRAIN_BELLS 1000 /* wakes after which the bell's pipe is emptied */
#define ERROR_MAX   4095
#define AREA_LEAST  (1u << 20)

enum { ITEM = 1, ERROR, TAKEN, NO_SENDER, NO_RECEIVER };

static vn_cable *
cable_of_wire(vn_wire *w)
{
	return (vn_cable *)(void *)((char *)w - offsetof(vn_cable, wire));
}

static vn_cable *
cable_of_hook(vn_hook *k)
{
	return (vn_cable *)(void *)((char *)k - offsetof(vn_cable, hook));
}

static bool
is_inline(const vn_cable *c)
{
	return c->wire.tx.item_size <= VN_INLINE_BYTES;
}

/* Sending */

static void
cable_push(vn_cable *c, vn_desc *d)
{
	d->conn = c->n_said = c->n_received;
	vn_lane_tx_push(&c->link.tx, d);
}

/* What is no item; there is always a slot for it, unless the other side does not keep the rules. */
static bool
cable_say_one(vn_cable *c, uint8_t kind, int how)
{
	if (!vn_lane_tx_has(&c->link.tx, 1))
		return false;
	cable_push(c, &(vn_desc){.kind = kind, .arg = how == -EOWNERDEAD});
	return true;
}

/* All that is to be said. */
static void
cable_say(vn_cable *c)
{
	if (!c->is_up)
		return;
	if (c->wire.tx_end && !c->said_tx)
		c->said_tx = cable_say_one(c, NO_SENDER, c->wire.tx_end);
	if (c->wire.rx_end && !c->said_rx)
		c->said_rx = cable_say_one(c, NO_RECEIVER, c->wire.rx_end);
	if (c->n_received - c->n_said >= VN_CABLE_WINDOW / 2)
		cable_say_one(c, TAKEN, 0);
	vn_link_flush(&c->link);
}

static uint32_t
block_fill(vn_cable *c, const void *item, size_t size)
{
	uint32_t block = vn_block_alloc(c->link.blocks, vn_block_class(size));

	assert(block != VN_NO_BLOCK); /* there are as many as items may be under way */
	vn_area_write(&c->link.own, block, 0, item, (uint32_t)size);
	return block;
}

static bool
cable_put(vn_wire *w, const void *item, int error)
{
	vn_cable *c = cable_of_wire(w);
	size_t size = w->tx.item_size;
	vn_desc d = {.kind = error ? ERROR : ITEM, .arg = (uint16_t)-error};
	uint32_t block = VN_NO_BLOCK;

	if (!c->is_up || c->n_sent - c->n_taken == VN_CABLE_WINDOW ||
		!vn_lane_tx_has(&c->link.tx, 1 + RESERVE))
		return false;
	if (!error) {
		d.len = (uint32_t)size;
		if (is_inline(c))
			vn_item_copy(d.bytes, item, size);
		else
			d.block = block = block_fill(c, item, size);
	}
	c->blocks[c->n_sent++ % VN_CABLE_WINDOW] = block;
	cable_push(c, &d);
	if (vn_lane_tx_staged(&c->link.tx) >= FLUSH_AT)
		vn_link_flush(&c->link);
	return true;
}

/* The other side has received so many. */
static void
blocks_home(vn_cable *c, uint32_t n_taken)
{
	for (; c->n_taken != n_taken; c->n_taken++) {
		uint32_t block = c->blocks[c->n_taken % VN_CABLE_WINDOW];

		if (block != VN_NO_BLOCK)
			vn_block_free(c->link.blocks, block);
	}
}

/* Receiving. What is wrong with a message, or NULL. */

static const char *
item_check(const vn_cable *c, const vn_desc *d)
{
	if (c->wire.no_sender)
		return "kind";
	if (c->n_come - c->n_received == VN_CABLE_WINDOW)
		return "number";
	if (d->kind == ERROR)
		return d->arg == 0 || d->arg > ERROR_MAX || d->arg == EAGAIN ? "arg" : NULL;
	if (d->len != c->wire.rx.item_size)
		return "len";
	if (is_inline(c))
		return NULL;
	return d->offset || !vn_desc_fits(d, c->link.geometry.area_bytes) ? "block" : NULL;
}

static const char *
cable_act(vn_cable *c, const vn_desc *d)
{
	int how = d->arg ? -EOWNERDEAD : -EPIPE;
	const char *bad = NULL;

	if (d->conn - c->n_taken > c->n_sent - c->n_taken)
		return "count";
	blocks_home(c, d->conn);
	switch (d->kind) {
	case ITEM:
	case ERROR:
		bad = item_check(c, d);
		if (!bad)
			c->come[c->n_come++ % VN_CABLE_WINDOW] = *d;
		return bad;
	case TAKEN:
		return NULL;
	case NO_SENDER:
		c->wire.no_sender = how;
		return NULL;
	case NO_RECEIVER:
		c->wire.no_receiver = how;
		return NULL;
	default:
		return "kind";
	}
}

/* The parent kills a child; to a child, such a parent is dead. */
static void
cable_fault(vn_cable *c, const char *what)
{
	c->is_up = false;
	if (c->is_child) {
		c->is_lost = true;
		vn_wire_lost(&c->wire);
	}
	vn_cable_fault(c, what);
}

/* A lane full at most: one that never stops talking does not keep us from everything else. */
static void
cable_take(vn_cable *c)
{
	vn_desc batch[BATCH];
	int n, left = N_SLOTS;

	while (c->is_up && left > 0 && (n = vn_lane_rx_take(&c->link.rx, batch, BATCH)) != 0) {
		const char *bad = n < 0 ? "cursor" : NULL;

		vn_link_release(&c->link);
		for (int i = 0; i < n && !bad; i++)
			bad = cable_act(c, &batch[i]);
		if (bad)
			cable_fault(c, bad);
		left -= n;
	}
}

static int
cable_get(vn_wire *w, void *item)
{
	vn_cable *c = cable_of_wire(w);
	const vn_desc *d;

	if (c->n_received == c->n_come)
		cable_take(c);
	if (c->n_received == c->n_come)
		return -EAGAIN;
	d = &c->come[c->n_received++ % VN_CABLE_WINDOW];
	if (d->kind == ERROR)
		return -(int)d->arg;
	if (is_inline(c))
		vn_item_copy(item, d->bytes, w->rx.item_size);
	else
		vn_area_read(&c->link.peer, d->block, 0, item, d->len);
	return 0;
}

/* Its life */

static void
cable_free(vn_cable *c)
{
	vn_hub *h = c->wire.tx.hub;

	vn_hub_disown(&c->owned);
	vn_hub_unhook(h, &c->hook);
	vn_watch_remove(h->poller, &c->bell);
	vn_cable_unplug(c);
	vn_link_deinit(&c->link);
	free(c);
}

static void
cable_tell(vn_wire *w)
{
	cable_say(cable_of_wire(w));
}

/* One that is not yet up has still to say that its ends are closed. */
static void
cable_forget(vn_wire *w)
{
	vn_cable *c = cable_of_wire(w);

	if (c->is_up || c->is_lost)
		cable_free(c);
}

static const vn_wire_ops cable_ops = {cable_put, cable_get, cable_tell, cable_forget};

static bool
cable_turn(vn_hook *k)
{
	vn_cable *c = cable_of_hook(k);

	cable_say(c);
	cable_take(c);
	if (c->is_up && c->link.tx.broken)
		cable_fault(c, "head");
	if (vn_wire_settle(&c->wire))
		cable_say(c);
	return false;
}

static bool
cable_arm(vn_hook *k)
{
	vn_cable *c = cable_of_hook(k);

	if (!c->is_up)
		return true;
	if (c->armed == c->link.rx.next)
		return vn_lane_rx_pending(&c->link.rx) == 0;
	c->armed = c->link.rx.next;
	return vn_lane_rx_arm(&c->link.rx);
}

static void
cable_rung(vn_watch *w, uint32_t events)
{
	vn_cable *c = (vn_cable *)(void *)((char *)w - offsetof(vn_cable, bell));

	if (events & (EPOLLHUP | EPOLLERR))
		vn_cable_lost(c);
	else if (c->is_child && ++c->n_rung % DRAIN_BELLS == 0)
		vn_bell_drain(w->fd);
}

static void
cable_disowned(vn_owned *o)
{
	vn_cable *c = (vn_cable *)(void *)((char *)o - offsetof(vn_cable, owned));

	vn_wire_deinit(&c->wire);
	cable_say(c);
	cable_free(c);
}

/**
 * vn_cable_geometry() - how large segments are that have room for as many items as can be under way
 * @item_size: 1 to VN_WIRE_ITEM_MAX
 */
vn_geometry
vn_cable_geometry(size_t item_size)
{
	uint32_t area = VN_CABLE_WINDOW * vn_block_class_bytes(vn_block_class(item_size));

	return (vn_geometry){
		.n_slots = N_SLOTS, .area_bytes = area < AREA_LEAST ? AREA_LEAST : area};
}

/**
 * vn_cable_new() - our side, before there is a link
 * @h:         hub, which frees it if nobody closes its ends
 * @item_size: 1 to VN_WIRE_ITEM_MAX
 *
 * Return: the cable; NULL with errno ENOMEM.
 */
vn_cable *
vn_cable_new(vn_hub *h, size_t item_size)
{
	vn_cable *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->bell.fd = c->handshake.fd = -1;
	c->hook = (vn_hook){.turn = cable_turn, .arm = cable_arm};
	vn_hub_hook(h, &c->hook);
	vn_wire_init(&c->wire, h, item_size, &cable_ops);
	vn_hub_own(h, &c->owned, cable_disowned);
	return c;
}

/**
 * vn_cable_up() - the link is made
 * @c: new; freed if its ends are closed already
 */
void
vn_cable_up(vn_cable *c)
{
	int rc = vn_watch_add(
		c->wire.tx.hub->poller, &c->bell, c->link.bell_in, EPOLLIN | EPOLLET, cable_rung);

	if (rc < 0) {
		cable_fault(c, "bell");
		return;
	}
	c->is_up = true;
	c->armed = c->link.rx.next; /* both sides are born armed */
	cable_say(c);
	vn_wire_settle(&c->wire);
	if (c->wire.tx_end && c->wire.rx_end && !c->is_lost)
		cable_free(c);
}

/**
 * vn_cable_lost() - the other process is gone
 * @c: freed if its ends are closed
 */
void
vn_cable_lost(vn_cable *c)
{
	if (c->is_lost)
		return;
	c->is_lost = true;
	vn_cable_accept(c, true);
	cable_take(c);
	c->is_up = false;
	vn_watch_remove(c->wire.tx.hub->poller, &c->bell);
	vn_wire_lost(&c->wire);
	vn_wire_settle(&c->wire);
	if (c->wire.tx_end && c->wire.rx_end)
		cable_free(c);
}
