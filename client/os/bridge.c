/* SPDX-License-Identifier: MIT */
/*
 * Bridge - crossings, bells, and what closing says
 */
#include "client/os/bridge.h"

#include <sys/eventfd.h>
#include <unistd.h>

static vn_bank *
bank_of_wire(vn_wire *w)
{
	return (vn_bank *)(void *)((char *)w - offsetof(vn_bank, wire));
}

static vn_bank *
bank_of_hook(vn_hook *k)
{
	return (vn_bank *)(void *)((char *)k - offsetof(vn_bank, hook));
}

static vn_shore *
ours(const vn_bank *b)
{
	return &b->bridge->shores[b->side];
}

static vn_shore *
theirs(const vn_bank *b)
{
	return &b->bridge->shores[!b->side];
}

static vn_crossing *
way_out(const vn_bank *b)
{
	return &b->bridge->ways[b->side];
}

static vn_crossing *
way_in(const vn_bank *b)
{
	return &b->bridge->ways[!b->side];
}

/* Something was stored for the other side. */
static void
shore_ring(vn_shore *s)
{
	vn_handoff_settle();
	if (__atomic_load_n(&s->armed, __ATOMIC_SEQ_CST) &&
		__atomic_exchange_n(&s->armed, 0, __ATOMIC_SEQ_CST))
		eventfd_write(s->bell_fd, 1);
}

static bool
bank_put(vn_wire *w, const void *item, int error)
{
	vn_bank *b = bank_of_wire(w);
	vn_crossing *c = way_out(b);

	if (!vn_crossing_put(c, item, error))
		return false;
	if (!c->filling)
		shore_ring(theirs(b));
	return true;
}

static int
bank_get(vn_wire *w, void *item)
{
	vn_bank *b = bank_of_wire(w);
	vn_crossing *c = way_in(b);
	int rc = vn_crossing_get(c, item);

	if (__builtin_expect(c->n_given > 0, 0) && vn_crossing_has_room(c))
		shore_ring(theirs(b));
	return rc;
}

/* What the other side finds closed has got everything that was sent before. */
static void
bank_tell(vn_wire *w)
{
	vn_bank *b = bank_of_wire(w);

	vn_crossing_flush(way_out(b));
	__atomic_store_n(&ours(b)->tx_end, w->tx_end, __ATOMIC_SEQ_CST);
	__atomic_store_n(&ours(b)->rx_end, w->rx_end, __ATOMIC_SEQ_CST);
	shore_ring(theirs(b));
}

static void
bank_forget(vn_wire *w)
{
	vn_bank *b = bank_of_wire(w);

	if (b->on_forget)
		b->on_forget(b);
}

static const vn_wire_ops bank_ops = {bank_put, bank_get, bank_tell, bank_forget};

/* Looks at what the other side has done; true if that lets anybody go on. */
static bool
bank_look(vn_bank *b)
{
	vn_shore *s = theirs(b);

	b->wire.no_sender = __atomic_load_n(&s->tx_end, __ATOMIC_SEQ_CST);
	b->wire.no_receiver = __atomic_load_n(&s->rx_end, __ATOMIC_SEQ_CST);
	return vn_wire_settle(&b->wire);
}

static void
bank_flush(vn_bank *b)
{
	if (vn_crossing_flush(way_out(b)))
		shore_ring(theirs(b));
}

/* There is room for little more: news when nothing else comes of this turn. */
static void
bank_yield_room(vn_bank *b)
{
	if (way_in(b)->n_given == 0)
		return;
	way_in(b)->n_given = 0;
	shore_ring(theirs(b));
}

/* True if it was told, and is perhaps no more. */
static bool
bank_hear(vn_bank *b)
{
	if (!b->on_news || !__atomic_load_n(&theirs(b)->news, __ATOMIC_SEQ_CST))
		return false;
	bank_look(b);
	b->on_news(b);
	return true;
}

static bool
bank_turn(vn_hook *k)
{
	vn_bank *b = bank_of_hook(k);

	__atomic_store_n(&ours(b)->armed, 0, __ATOMIC_RELAXED);
	bank_flush(b);
	if (bank_hear(b))
		return true;
	if (bank_look(b))
		bank_flush(b);
	bank_yield_room(b);
	return false;
}

static bool
bank_arm(vn_hook *k)
{
	vn_bank *b = bank_of_hook(k);

	__atomic_store_n(&ours(b)->armed, 1, __ATOMIC_SEQ_CST);
	vn_handoff_settle();
	if (!bank_look(b) && !(b->on_news && __atomic_load_n(&theirs(b)->news, __ATOMIC_SEQ_CST)))
		return true;
	__atomic_store_n(&ours(b)->armed, 0, __ATOMIC_RELAXED);
	bank_flush(b);
	return false;
}

/* The hub is awake: its turn does the rest. */
static void
bank_rung(vn_watch *w, uint32_t events)
{
	(void)w;
	(void)events;
}

/**
 * vn_bridge_init() - what two threads share
 * @b:         zero
 * @item_size: bytes
 *
 * Return: false with errno ENOMEM, EMFILE; it is to be deinitialised all the same.
 */
bool
vn_bridge_init(vn_bridge *b, size_t item_size)
{
	b->shores[1].bell_fd = -1;
	for (int i = 0; i < 2; i++) {
		b->shores[i].bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (b->shores[i].bell_fd < 0 || !vn_crossing_init(&b->ways[i], item_size))
			return false;
	}
	return true;
}

/**
 * vn_bridge_deinit() - free what was shared
 * @b: nobody else uses it any more
 */
void
vn_bridge_deinit(vn_bridge *b)
{
	for (int i = 0; i < 2; i++) {
		if (b->shores[i].bell_fd >= 0)
			close(b->shores[i].bell_fd);
		vn_crossing_deinit(&b->ways[i]);
	}
}

/**
 * vn_bridge_news() - the other side's `on_news` is to be called
 * @b:    bridge
 * @side: whose news it is
 */
void
vn_bridge_news(vn_bridge *b, int side)
{
	__atomic_store_n(&b->shores[side].news, 1, __ATOMIC_SEQ_CST);
	shore_ring(&b->shores[!side]);
}

/**
 * vn_bridge_end() - a side that has no bank any more, or never had one, sends and receives nothing
 * @b:    bridge
 * @side: whose
 * @how:  what the other one gets where it was not told before
 */
void
vn_bridge_end(vn_bridge *b, int side, int how)
{
	vn_shore *s = &b->shores[side];

	if (!s->tx_end)
		__atomic_store_n(&s->tx_end, how, __ATOMIC_SEQ_CST);
	if (!s->rx_end)
		__atomic_store_n(&s->rx_end, how, __ATOMIC_SEQ_CST);
}

/**
 * vn_bank_open() - one side
 * @b:      zero, but for `on_news` and `on_forget`
 * @h:      hub
 * @bridge: lives longer
 * @side:   VN_BANK_PARENT or VN_BANK_THREAD
 *
 * Return: 0, or a negative errno, and nothing is left behind.
 */
int
vn_bank_open(vn_bank *b, vn_hub *h, vn_bridge *bridge, int side)
{
	int rc;

	b->bridge = bridge;
	b->side = side;
	rc = vn_watch_add(h->poller, &b->bell, ours(b)->bell_fd, EPOLLIN | EPOLLET, bank_rung);
	if (rc < 0)
		return rc;
	b->hook = (vn_hook){.turn = bank_turn, .arm = bank_arm};
	vn_hub_hook(h, &b->hook);
	vn_wire_init(&b->wire, h, bridge->ways[side].item_size, &bank_ops);
	return 0;
}

/**
 * vn_bank_close() - this side is no more; what is open is dead
 * @b: open
 */
void
vn_bank_close(vn_bank *b)
{
	vn_hub *h = b->wire.tx.hub;

	vn_wire_deinit(&b->wire);
	bank_tell(&b->wire);
	vn_hub_unhook(h, &b->hook);
	vn_watch_remove(h->poller, &b->bell);
}
