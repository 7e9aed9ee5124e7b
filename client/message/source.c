/* SPDX-License-Identifier: MIT */
/*
 * Source - what all of them have in common
 */
#include "client/message/source.h"

#include <stdlib.h>

#include "client/message/life.h"

static void
source_free(vn_source *s)
{
	s->deinit(s);
	free(s);
}

static void
source_disowned(vn_owned *o)
{
	vn_source *s = (vn_source *)(void *)((char *)o - offsetof(vn_source, owned));

	vn_life_deinit(&s->rx.life);
	source_free(s);
}

/**
 * vn_source_init() - a source that is open
 * @s:         zero
 * @h:         hub, which frees it if nobody closes it
 * @ops:       its kind
 * @item_size: bytes of what it dispenses
 * @deinit:    stops what feeds it; the memory goes afterwards
 *
 * Return: its end.
 */
vn_rx *
vn_source_init(vn_source *s, vn_hub *h, const vn_end_ops *ops, size_t item_size,
	void (*deinit)(vn_source *s))
{
	s->rx = (vn_rx){.ops = ops, .hub = h, .item_size = item_size};
	s->deinit = deinit;
	vn_hub_own(h, &s->owned, source_disowned);
	return &s->rx;
}

/**
 * vn_source_give() - something has come
 * @s:    source
 * @item: copied
 *
 * Return: true if somebody had waited for it, and has it now.
 */
bool
vn_source_give(vn_source *s, const void *item)
{
	vn_clause *taker = s->takers.first;

	if (!taker)
		return false;
	vn_item_copy(taker->item, item, s->rx.item_size);
	vn_wake(taker, 0);
	return true;
}

/**
 * vn_source_queue() - where takers wait
 * @end: source
 */
vn_waitq *
vn_source_queue(void *end)
{
	return &((vn_source *)end)->takers;
}

/**
 * vn_source_close() - free it; whoever waits gets -EPIPE
 * @end: source
 *
 * Return: 0.
 */
int
vn_source_close(void *end)
{
	vn_source *s = end;

	vn_end_wake(&s->takers, NULL, -EPIPE);
	vn_hub_disown(&s->owned);
	source_free(s);
	return 0;
}
