/* SPDX-License-Identifier: MIT */
/*
 * Pulse - the same item, again and again
 *
 * A timer and no coroutine. While nobody has taken the last one no timer is armed, so a slow receiver is given one
 * and then waits its turn. The rhythm is kept as long as somebody is there in time.
 */
#include <stdlib.h>

#include "client/message/source.h"

typedef struct pulse {
	vn_source source;
	vn_timer timer;
	vn_time every;
	bool due;
	char item[];
} pulse;

static void
pulse_arm(pulse *p, vn_time at)
{
	p->due = false;
	vn_wheel_arm(p->source.rx.hub->wheel, &p->timer, at);
}

static void
pulse_fire(vn_timer *t)
{
	pulse *p = (pulse *)(void *)((char *)t - offsetof(pulse, timer));
	vn_hub *h = p->source.rx.hub;
	vn_time next;

	p->due = true;
	if (!vn_source_give(&p->source, p->item))
		return;
	if (__builtin_add_overflow(t->at, p->every, &next) || next <= h->now)
		next = vn_hub_after(h, p->every);
	pulse_arm(p, next);
}

static int
pulse_try(void *end, void *item)
{
	pulse *p = end;

	if (!p->due)
		return -EAGAIN;
	vn_item_copy(item, p->item, p->source.rx.item_size);
	pulse_arm(p, vn_hub_after(p->source.rx.hub, p->every));
	return 0;
}

static void
pulse_deinit(vn_source *s)
{
	vn_wheel_disarm(s->rx.hub->wheel, &((pulse *)(void *)s)->timer);
}

static const vn_end_ops pulse_ops = {
	.try = pulse_try,
	.queue = vn_source_queue,
	.close = vn_source_close,
};

/**
 * vn_pulse_new() - dispense a copy of an item again and again
 * @h:         hub
 * @every:     nanoseconds; the first one comes after as many
 * @item:      copied
 * @item_size: bytes of it
 *
 * Who is slow gets the next one @every after it took the last.
 *
 * Return: the receiving end; NULL with errno ENOMEM, ECANCELED, or EINVAL if @every is not positive.
 */
vn_rx *
vn_pulse_new(vn_hub *h, vn_time every, const void *item, size_t item_size)
{
	pulse *p;

	if (every <= 0 || item_size > SIZE_MAX / 2 || h->stopping) {
		errno = h->stopping ? ECANCELED : EINVAL;
		return NULL;
	}
	p = calloc(1, sizeof *p + item_size);
	if (!p)
		return NULL;
	p->every = every;
	p->timer.fire = pulse_fire;
	memcpy(p->item, item, item_size);
	vn_source_init(&p->source, h, &pulse_ops, item_size, pulse_deinit);
	pulse_arm(p, vn_hub_after(h, every));
	return &p->source.rx;
}
