/* SPDX-License-Identifier: MIT */
/*
 * Liveness - a worker that takes no descriptors hangs; one whose handlers wait does not
 *
 * A live hub takes descriptors at every turn, whatever its handlers wait for: so `head` is the sign of life. Who has
 * had nothing to take shows no sign of it; so while something is expected of a worker and its lane is empty, it gets
 * a PING, every quarter of stall-timeout. Taking it is the answer. It is stalled when its lane is not empty and its
 * head has not moved for stall-timeout. Nobody who owes nothing is asked: an idle worker sleeps. Who stands by has
 * yet to prove itself, and is asked as if it owed something.
 *
 * When we did not turn ourselves (a paused machine, a debugger), nobody could answer: then all clocks start anew.
 */
#include "broker/liveness.h"

#include "broker/debt.h"
#include "broker/worker.h"

#define CLEARED_AFTER                                                                              \
	VN_SEC /* a suspect that has done no harm for so long, while its worker lives */
#define WE_WERE_AWAY (500 * VN_MS)

/**
 * vn_liveness_kill() - a worker that hangs is ended; what it had taken is to blame
 */
void
vn_liveness_kill(vn_worker *w, const char *why)
{
	if (!w->was_killed)
		vn_worker_kill(w, why);
}

static bool
is_expected_to_act(const vn_worker *w)
{
	return w->n_busy || w->suspect || w->state == VN_WORKER_DRAINING ||
	       w->state == VN_WORKER_STANDBY || vn_debt_owes(w);
}

/* How long it may be quiet before it is asked. */
static vn_time
ping_after(const vn_worker *w)
{
	vn_time quarter = w->broker->config->stall_timeout / 4;

	return w->suspect && quarter > CLEARED_AFTER / 2 ? CLEARED_AFTER / 2 : quarter;
}

/**
 * vn_liveness_ask() - PING a worker now
 */
void
vn_liveness_ask(vn_worker *w)
{
	if (w->owes_ping)
		return;
	w->pinged_at = w->broker->hub->now;
	w->owes_ping = true;
	vn_worker_heat(w);
}

/**
 * vn_liveness_answered() - has it taken the last PING?
 */
bool
vn_liveness_answered(vn_worker *w)
{
	if (!w->linked || w->broken || w->owes_ping)
		return false;
	vn_lane_tx_refresh(&w->link.tx);
	return !w->link.tx.broken && (int32_t)(w->link.tx.taken - w->ping_next) >= 0;
}

static void
on_sign_of_life(vn_worker *w, vn_time now)
{
	w->head_seen = w->link.tx.taken;
	w->moved_at = now;
	if (w->suspect && now - w->suspect_since >= CLEARED_AFTER)
		w->suspect = 0;
}

static void
look(vn_worker *w, bool we_were_away)
{
	vn_lane_tx *tx = &w->link.tx;
	vn_time now = w->broker->hub->now;

	if (!w->linked || w->broken || !w->was_ready)
		return;
	vn_lane_tx_refresh(tx);
	if (tx->broken)
		return; /* the next turn says so */
	if (tx->taken != w->head_seen)
		on_sign_of_life(w, now);
	if (tx->taken == tx->published && is_expected_to_act(w) &&
		now - w->pinged_at >= ping_after(w))
		vn_liveness_ask(w);
	if (tx->taken == tx->published || we_were_away)
		w->moved_at = now;
	else if (now - w->moved_at >= w->broker->config->stall_timeout)
		vn_liveness_kill(w, "took nothing for longer than stall-timeout");
}

/**
 * vn_liveness_sweep() - look at every worker
 */
void
vn_liveness_sweep(vn_broker *b)
{
	bool we_were_away = b->hub->now - b->swept_at > WE_WERE_AWAY;

	b->swept_at = b->hub->now;
	for (uint32_t i = 1; i <= b->n_slots; i++)
		if (b->workers[i])
			look(b->workers[i], we_were_away);
}
