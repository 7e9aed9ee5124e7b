/* SPDX-License-Identifier: MIT */
/*
 * Recorder - what a worker was doing when it died
 *
 * Nothing is written while workers live: the lanes hold the last messages anyway, and the ledger what was not
 * acknowledged. When a worker is dead and everything that it had published was taken, they are copied, before
 * its connections are settled and its segments go. The last N_KEPT dead workers are kept, and those that were
 * ended by order make way for others first: a reload must not wipe out what is known of a crash. Of a living one a
 * copy is made when somebody asks.
 */
#include "broker/recorder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_KEPT 16

struct vn_recorder {
	vn_recording *kept[N_KEPT];
	uint64_t n; /* ever */
};

vn_recorder *
vn_recorder_new(void)
{
	return calloc(1, sizeof(vn_recorder));
}

vn_recorder *
vn_recorder_free(vn_recorder *k)
{
	for (uint32_t i = 0; k && i < N_KEPT; i++)
		free(k->kept[i]);
	free(k);
	return NULL;
}

static void
copy_messages(vn_recording *to, vn_link *l)
{
	uint32_t free_slots = vn_lane_tx_refresh(&l->tx);

	to->n_untaken = l->tx.mask + 1 - free_slots - vn_lane_tx_staged(&l->tx);
	while (to->n_got < VN_RECORDED_MESSAGES &&
		vn_lane_tx_recall(&l->tx, to->n_got, &to->got[to->n_got]))
		to->n_got++;
	while (to->n_gave < VN_RECORDED_MESSAGES &&
		vn_lane_rx_recall(&l->rx, to->n_gave, &to->gave[to->n_gave]))
		to->n_gave++;
}

/* Its first bytes that were not acknowledged, as far as there is room for them. */
static uint32_t
copy_input(const vn_broker *b, const vn_worker *w, const vn_record *r, unsigned char *to)
{
	const vn_chain_link *table = b->ledger->in_table;
	uint64_t at = r->acked;
	uint32_t n = 0;

	for (uint32_t ref = r->in.first; ref != VN_NO_BLOCK && n < VN_RECORDED_INPUT;
		ref = table[ref].next) {
		uint64_t len = table[ref].end - at;
		uint32_t part = len < VN_RECORDED_INPUT - n ? (uint32_t)len : VN_RECORDED_INPUT - n;

		vn_area_read(&w->link.own, ref - vn_ref(b, w->slot, 0),
			vn_chain_offset(&table[ref], at), to + n, part);
		at = table[ref].end;
		n += part;
	}
	return n;
}

static void
copy_conn(vn_broker *b, const vn_worker *w, const vn_record *r, vn_recorded_conn *to)
{
	*to = (vn_recorded_conn){.id = r->id,
		.endpoint = r->endpoint,
		.peer = r->peer,
		.received = r->received,
		.delivered = r->delivered,
		.acked = r->acked,
		.committed = r->committed,
		.queued = r->queued,
		.queued_c = r->queued_c,
		.sent = r->sent};
	to->n_input = copy_input(b, w, r, to->input);
}

/* Those with something that is not acknowledged, or the others. */
static void
copy_conns(vn_recording *to, vn_broker *b, const vn_worker *w, bool unacked)
{
	for (uint32_t index = w->attached; index != VN_NO_RECORD;) {
		const vn_record *r = vn_record_at(b->ledger, index);

		index = r->next;
		if ((r->delivered > r->acked) != unacked)
			continue;
		to->n_unacked += unacked;
		if (to->n_conns < VN_RECORDED_CONNS)
			copy_conn(b, w, r, &to->conns[to->n_conns++]);
	}
}

static vn_recording *
recording_new(vn_broker *b, vn_worker *w)
{
	vn_recording *to = calloc(1, sizeof *to);

	if (!to)
		return NULL;
	to->number = w->number;
	to->incarnation = w->incarnation;
	to->pid = w->pid;
	to->was_ready = w->was_ready;
	to->was_ordered = w->ordered;
	to->signal = to->exit_code = -1;
	to->started = w->started;
	to->ended = b->hub->now;
	to->n_requests = w->count->n_requests;
	to->n_attached = w->n_attached;
	if (!w->linked)
		return to;
	copy_messages(to, &w->link);
	copy_conns(to, b, w, true);
	copy_conns(to, b, w, false);
	return to;
}

/* Which one does a new one replace? */
static vn_recording **
place_for(vn_recorder *k)
{
	vn_recording **worst = &k->kept[0];

	for (uint32_t i = 0; i < N_KEPT; i++) {
		vn_recording **at = &k->kept[i];

		if (!*at)
			return at;
		if ((*at)->was_ordered == (*worst)->was_ordered ? (*at)->serial < (*worst)->serial
								: (*at)->was_ordered)
			worst = at;
	}
	return worst;
}

/**
 * vn_recorder_keep() - it is dead, drained, and not settled
 * @info: from waitid(2)
 *
 * Without memory there is no recording.
 */
void
vn_recorder_keep(vn_broker *b, vn_worker *w, const siginfo_t *info)
{
	vn_recorder *k = b->recorder;
	vn_recording *r = recording_new(b, w), **place;

	if (!r)
		return;
	r->is_dead = true;
	r->dumped_core = info->si_code == CLD_DUMPED;
	if (info->si_code == CLD_EXITED)
		r->exit_code = info->si_status;
	else
		r->signal = info->si_status;
	snprintf(r->how, sizeof r->how, "%s", w->last_death);
	r->serial = ++k->n;
	place = place_for(k);
	free(*place);
	*place = r;
}

static vn_worker *
find_living(const vn_broker *b, uint16_t number, int64_t incarnation)
{
	vn_worker *found = NULL;

	for (uint32_t i = 1; i <= b->n_slots; i++) {
		vn_worker *w = b->workers[i];

		if (w && w->number == number && w->state != VN_WORKER_NONE &&
			(incarnation < 0 || w->incarnation == incarnation) &&
			(!found || w->incarnation > found->incarnation))
			found = w;
	}
	return found;
}

static const vn_recording *
find_dead(const vn_recorder *k, uint16_t number, int64_t incarnation)
{
	const vn_recording *found = NULL;

	for (uint32_t i = 0; i < N_KEPT; i++) {
		const vn_recording *r = k->kept[i];

		if (r && r->number == number &&
			(incarnation < 0 || r->incarnation == incarnation) &&
			(!found || r->incarnation > found->incarnation))
			found = r;
	}
	return found;
}

/**
 * vn_recorder_look() - a worker, dead or alive
 * @incarnation: or negative: the last one, and one that lives before any that is dead
 *
 * Return: a copy, for free(); NULL with errno ENOENT or ENOMEM.
 */
vn_recording *
vn_recorder_look(vn_broker *b, uint16_t number, int64_t incarnation)
{
	vn_worker *w = find_living(b, number, incarnation);
	const vn_recording *dead = b->recorder ? find_dead(b->recorder, number, incarnation) : NULL;
	vn_recording *copy;

	if (w)
		return recording_new(b, w);
	if (!dead) {
		errno = ENOENT;
		return NULL;
	}
	copy = malloc(sizeof *copy);
	if (copy)
		*copy = *dead;
	return copy;
}
