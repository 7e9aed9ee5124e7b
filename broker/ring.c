/* SPDX-License-Identifier: MIT */
/*
 * Ring - how a worker's bell is heard, and what becomes of one that rings for nothing
 *
 * A bell costs a turn of the hub, so a worker that rings in an endless loop could have as much of the broker as it
 * likes. An honest one rings when its tail or its head has passed what we asked for; then the lane has news, and
 * news are worth a turn. Rings without news are few: a hint that came late, a look that was faster than the bell.
 *
 * So rings without news are counted. After RINGS_FREE of them in a row the bell is taken out of the poller for
 * PAUSE; then its lane is looked at, and the bell is heard again. As nobody ever reads the eventfd, being put back
 * counts as one ring, so that nothing is missed in between; the next one without news begins the next pause.
 * Each pause thus costs two turns, whatever the worker does, and its own news wait for a pause at most. A worker
 * that goes on like this through PAUSES_MAX of them, seconds without one descriptor, is not honest.
 */
#include "broker/worker.h"

#define RINGS_FREE 64
#define PAUSE      (5 * VN_MS)
#define PAUSES_MAX 400
#define IN_A_ROW   VN_SEC /* pauses that are further apart have nothing to do with each other */

static void on_ring(vn_watch *watch, uint32_t events);

static vn_worker *
ring_worker(vn_ring *r)
{
	return (vn_worker *)(void *)((char *)r - offsetof(vn_worker, ring));
}

/* Has either of its cursors moved, or become impossible? */
static bool
ring_has_news(vn_ring *r, vn_link *l)
{
	bool news = vn_lane_rx_pending(&l->rx) != 0;

	vn_lane_tx_refresh(&l->tx);
	news |= l->tx.broken || l->rx.next != r->next || l->tx.taken != r->taken;
	r->next = l->rx.next;
	r->taken = l->tx.taken;
	return news;
}

static void
ring_pause(vn_worker *w)
{
	vn_ring *r = &w->ring;
	vn_hub *h = w->broker->hub;

	vn_watch_remove(h->poller, &r->watch);
	r->n_pauses = h->now - r->paused_at > IN_A_ROW ? 1 : r->n_pauses + 1;
	r->paused_at = h->now;
	if (r->n_pauses > PAUSES_MAX)
		vn_worker_violation(w, "bell: it rings without end", NULL);
	else
		vn_wheel_arm(h->wheel, &r->timer, h->now + PAUSE);
}

static void
pause_over(vn_timer *t)
{
	vn_ring *r = (vn_ring *)(void *)((char *)t - offsetof(vn_ring, timer));
	vn_worker *w = ring_worker(r);
	vn_hub *h = w->broker->hub;

	if (vn_watch_add(h->poller, &r->watch, w->link.bell_in, EPOLLIN | EPOLLET, on_ring) < 0)
		vn_wheel_arm(h->wheel, t, h->now + PAUSE);
	r->n_idle = RINGS_FREE - 1;
	vn_worker_heat(w);
}

static void
on_ring(vn_watch *watch, uint32_t events)
{
	vn_worker *w = ring_worker((vn_ring *)(void *)((char *)watch - offsetof(vn_ring, watch)));

	(void)events;
	vn_count(&w->count->n_rung, 1);
	vn_worker_heat(w);
	if (ring_has_news(&w->ring, &w->link))
		w->ring.n_idle = 0;
	else if (++w->ring.n_idle > RINGS_FREE)
		ring_pause(w);
}

/**
 * vn_ring_listen() - hear a worker's bell, now that its link is made
 *
 * Return: 0 or what epoll_ctl(2) says.
 */
int
vn_ring_listen(vn_worker *w)
{
	w->ring = (vn_ring){.watch.fd = -1,
		.timer.fire = pause_over,
		.next = w->link.rx.next,
		.taken = w->link.tx.taken};
	return vn_watch_add(w->broker->hub->poller, &w->ring.watch, w->link.bell_in,
		EPOLLIN | EPOLLET, on_ring);
}

/**
 * vn_ring_deafen() - hear it no more; also one that was never heard, but after vn_worker_new()
 *
 * Caller: before the bell is closed, because a grandchild may hold it as well.
 */
void
vn_ring_deafen(vn_worker *w)
{
	vn_watch_remove(w->broker->hub->poller, &w->ring.watch);
	vn_wheel_disarm(w->broker->hub->wheel, &w->ring.timer);
}
