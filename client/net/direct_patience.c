/* SPDX-License-Identifier: MIT */
/*
 * Direct patience - looks at connections whose listener has limits in time (patience.c)
 *
 * While there is such a listener a timer goes round; what was seen of a connection is by slot.
 */
#include <stdlib.h>
#include <string.h>

#include "client/hub/log.h"
#include "client/net/direct.h"

static vn_standing
standing_of(const vn_conn *c)
{
	bool unsent = c->sent < c->queued, ended = c->flags & VN_CONN_ENDED;

	return (vn_standing){
		.id = c->gen + 1,
		.received = (uint32_t)c->received,
		.sent = (uint32_t)c->sent,
		.committed = (uint32_t)c->committed,
		.waits = unsent || (!ended && (c->readers.first || !(c->flags & VN_CONN_OPEN))),
		.half = unsent || c->received > c->committed,
		.fresh = c->received == 0,
		.header = c->flags & VN_CONN_HEADER,
	};
}

/* At rest it is closed in order; its handler learns that it is not its own any more. */
static void
rest_end(vn_conn *c)
{
	if (c->flags & VN_CONN_OPEN)
		vn_conn_on_over(c, VN_CONN_STALE);
	else
		vn_direct_close(c);
}

static void
verdict_do(vn_conn *c, vn_verdict verdict)
{
	static const char *const why[] = {[VN_TOO_LATE] = "sent nothing after the accept",
		[VN_TOO_QUIET] = "was idle",
		[VN_TOO_SLOW] = "was too slow"};

	if (verdict == VN_NO_HEADER) {
		vn_direct_refuse(c, VN_REFUSED_HEADER_LATE);
		return;
	}
	vn_log(c->net->hub, LOG_INFO, "a connection is ended: its client %s", why[verdict]);
	if (verdict == VN_TOO_QUIET && (c->flags & VN_CONN_RESUMABLE) &&
		vn_conn_at_commit_point(c) && c->sent == c->queued) {
		rest_end(c);
		return;
	}
	vn_direct_abort(c);
	vn_direct_broken(c);
}

static void
look(vn_direct *d, uint32_t i, uint32_t now)
{
	vn_conn *c = d->slots[i].conn;
	vn_standing s;
	vn_verdict verdict;

	if (!c || !c->door || !c->door->is_timed || c->flags & (VN_CONN_LINGER | VN_CONN_STALE))
		return;
	s = standing_of(c);
	verdict = vn_patience_look(&d->patience[i], &c->door->options, &s, now);
	if (verdict != VN_GOES_ON)
		verdict_do(c, verdict);
}

/* There may be more slots than last time. */
static bool
patience_grow(vn_direct *d)
{
	vn_patience *p;

	if (d->n_patience >= d->n_slots)
		return true;
	p = realloc(d->patience, d->n_slots * sizeof *p);
	if (!p)
		return false;
	memset(p + d->n_patience, 0, (d->n_slots - d->n_patience) * sizeof *p);
	d->patience = p;
	d->n_patience = d->n_slots;
	return true;
}

static void
look_fire(vn_timer *t)
{
	vn_direct *d = (vn_direct *)(void *)((char *)t - offsetof(vn_direct, look_timer));
	uint32_t now = (uint32_t)(d->net->hub->now / VN_MS);

	if (patience_grow(d))
		for (uint32_t i = 0; i < d->n_slots; i++)
			look(d, i, now);
	vn_wheel_arm(d->net->hub->wheel, t, d->net->hub->now + d->look_every * VN_MS);
}

/**
 * vn_direct_look() - connections with these options will come
 */
void
vn_direct_look(vn_direct *d, const vn_endpoint_options *o)
{
	uint32_t every = vn_patience_every(o);

	if (every == UINT32_MAX || (d->look_every && d->look_every <= every))
		return;
	d->look_every = every;
	d->look_timer.fire = look_fire;
	vn_wheel_arm(d->net->hub->wheel, &d->look_timer, d->net->hub->now + every * VN_MS);
}

void
vn_direct_look_deinit(vn_direct *d)
{
	vn_wheel_disarm(d->net->hub->wheel, &d->look_timer);
	free(d->patience);
}
