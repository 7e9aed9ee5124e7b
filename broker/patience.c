/* SPDX-License-Identifier: MIT */
/*
 * Patience - the ledger is gone through, a few records at a time
 *
 * While there is an endpoint with limits in time, each sweep of the broker looks at as many records as it takes to
 * have looked at all of them when the shortest limit asks for it (client/net/patience.c). What was seen lies in a
 * table of its own, by index, which is there only then: neither a record nor a request pays for it.
 */
#include "broker/patience.h"

#include <stdlib.h>

#include "broker/accept.h"
#include "broker/dispatch.h"
#include "broker/input.h"
#include "broker/socket.h"
#include "client/net/patience.h"

#define LEAST 256u /* records in a sweep */

struct vn_watcher {
	uint32_t every;  /* milliseconds, of this round; UINT32_MAX: nobody has to be looked at */
	uint32_t cursor; /* the next record */
	vn_patience of[];
};

/* The shortest of all endpoints. */
static uint32_t
round_every(const vn_broker *b)
{
	uint32_t every = UINT32_MAX;

	for (uint32_t i = 0; i < b->n_endpoints; i++) {
		const vn_broker_endpoint *e = b->endpoints[i];
		uint32_t n = e->asks & VN_ASKS_TIME ? vn_patience_every(&e->endpoint.options)
						    : UINT32_MAX;

		if (n < every)
			every = n;
	}
	return every;
}

static vn_standing
standing_of(const vn_record *r)
{
	bool unsent = r->sent < r->queued, ended = r->flags & VN_R_ENDED;
	bool asked = !(r->flags & VN_R_BUSY) || r->flags & VN_R_NEED_INPUT;

	return (vn_standing){
		.id = (uint32_t)r->id | 1u << 31,
		.received = (uint32_t)r->received,
		.sent = (uint32_t)r->sent,
		.committed = (uint32_t)r->committed,
		.waits = unsent || (!ended && asked && !vn_record_has_input(r)),
		.half = unsent || !vn_record_at_rest(r),
		.fresh = r->received == 0,
		.header = r->flags & VN_R_HEADER,
	};
}

/* At rest it is closed in order, if nobody has it or it can be taken back. */
static bool
rest_end(vn_broker *b, vn_record *r)
{
	if (!(r->flags & VN_R_RESUMABLE) || !vn_record_at_rest(r) || r->sent < r->queued)
		return false;
	if ((r->flags & VN_R_ATTACHED) && !vn_dispatch_revoke(b, vn_record_worker(b, r), r))
		return true; /* at the next look */
	vn_socket_expire(b, r, VN_RESET_IDLE);
	return true;
}

static void
verdict_do(vn_broker *b, vn_record *r, vn_verdict verdict)
{
	switch (verdict) {
	case VN_NO_HEADER:
		vn_accept_refuse(b, r, VN_REFUSED_HEADER_LATE);
		break;
	case VN_TOO_LATE:
		vn_socket_reset(b, r, VN_RESET_ACCEPT);
		break;
	case VN_TOO_SLOW:
		vn_socket_reset(b, r, VN_RESET_PROGRESS);
		break;
	case VN_TOO_QUIET:
		if (!rest_end(b, r))
			vn_socket_reset(b, r, VN_RESET_IDLE);
		break;
	default:
		break;
	}
}

/* Is it one that is not over yet, at an endpoint that minds? */
static bool
is_minded(const vn_broker *b, const vn_record *r)
{
	if ((r->flags & (VN_R_USED | VN_R_ZOMBIE | VN_R_DOOMED | VN_R_RESET)) != VN_R_USED ||
		r->fd < 0 || ((r->flags & VN_R_CLOSED) && r->sent == r->queued))
		return false;
	return b->endpoints[r->endpoint]->asks & VN_ASKS_TIME;
}

static void
look(vn_broker *b, uint32_t index, uint32_t now)
{
	vn_record *r = vn_record_at(b->ledger, index);
	vn_standing s;

	vn_record_prefetch(b->ledger, index + 1);
	if (!is_minded(b, r))
		return;
	s = standing_of(r);
	verdict_do(b, r,
		vn_patience_look(&b->watcher->of[index],
			&b->endpoints[r->endpoint]->endpoint.options, &s, now));
}

/* Begins a round; false if nobody has to be looked at. */
static bool
round_begin(vn_broker *b)
{
	uint32_t every = round_every(b);

	if (every == UINT32_MAX)
		return false;
	if (!b->watcher)
		b->watcher = calloc(
			1, sizeof *b->watcher + b->ledger->max_records * sizeof(vn_patience));
	if (!b->watcher)
		return false;
	b->watcher->every = every;
	b->watcher->cursor = 0;
	return true;
}

/**
 * vn_patience_sweep() - look at some connections
 * @every: how often this is called
 */
void
vn_patience_sweep(vn_broker *b, vn_time every)
{
	struct vn_watcher *w = b->watcher;
	uint64_t n;

	if ((!w || w->cursor >= b->ledger->high) && !round_begin(b))
		return;
	w = b->watcher;
	n = (uint64_t)b->ledger->high * (uint64_t)(every / VN_MS) / w->every + 1;
	for (n = n < LEAST ? LEAST : n; n && w->cursor < b->ledger->high; n--)
		look(b, w->cursor++, vn_broker_ms(b));
}

void
vn_patience_deinit(vn_broker *b)
{
	free(b->watcher);
	b->watcher = NULL;
}
