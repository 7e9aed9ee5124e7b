/* SPDX-License-Identifier: MIT */
/*
 * Dispatch - which worker gets a connection, and who has it
 */
#ifndef VN_BROKER_DISPATCH_H
#define VN_BROKER_DISPATCH_H

#include "broker/broker.h"

vn_worker *vn_dispatch_choose(vn_broker *b, vn_record *r);
void vn_dispatch_attach(vn_broker *b, vn_worker *w, vn_record *r);
void vn_dispatch_detach(vn_broker *b, vn_record *r);
void vn_dispatch_busy(vn_broker *b, vn_worker *w, vn_record *r);
void vn_dispatch_calm(vn_broker *b, vn_worker *w, vn_record *r);
void vn_dispatch_asks(vn_worker *w, vn_record *r);
void vn_dispatch_fed(vn_broker *b, vn_record *r);
void vn_dispatch_suspect(vn_broker *b, vn_worker *w, const vn_record *r);
void vn_dispatch_unsuspect(vn_broker *b, vn_worker *w, const vn_record *r);
void vn_dispatch_absolve(vn_broker *b, vn_worker *w, vn_record *r);
void vn_dispatch_wait(vn_broker *b, vn_record *r);
void vn_dispatch_unwait(vn_broker *b, vn_record *r);
void vn_dispatch_waiting(vn_broker *b);
void vn_dispatch_starve(vn_broker *b, vn_record *r);
void vn_dispatch_starved(vn_broker *b, vn_worker *w);
/*
 * RELEASE: for whoever empties a worker (reload, scale, drain, rebalancing). First make it one that
 * vn_dispatch_choose() does not find (DRAINING), then walk its attached list, taking r->next before the call, and
 * call this for each connection; again for the rest every few milliseconds, until n_attached is 0 or a deadline has
 * passed. Connections at rest leave at once; of the others the worker is asked once, and each leaves at its next
 * commit point, with its input and its state. false: it stays until its end, not being resumable.
 */
bool vn_dispatch_release(vn_broker *b, vn_worker *w, vn_record *r);
bool vn_dispatch_revoke(vn_broker *b, vn_worker *w, vn_record *r);
void vn_dispatch_worker_ready(vn_broker *b, vn_worker *w, bool ready);
void vn_dispatch_sweep(vn_broker *b);

static inline vn_worker *
vn_record_worker(const vn_broker *b, const vn_record *r)
{
	return b->workers[r->worker];
}

/* Nothing in hand: everything that was received is committed. */
/* May a worker be assigned one more? Those who wait for their clients are no work. */
static inline bool
vn_dispatch_below(const vn_broker *b, const vn_worker *w)
{
	return w->n_busy - w->n_asking < b->config->depth;
}

/* Its read does not wait for more any longer. */
static inline void
vn_dispatch_unasks(vn_worker *w, vn_record *r)
{
	if ((r->flags & (VN_R_NEED_INPUT | VN_R_BUSY)) == (VN_R_NEED_INPUT | VN_R_BUSY))
		w->n_asking--;
	r->flags &= ~(uint32_t)VN_R_NEED_INPUT;
}

static inline bool
vn_record_at_rest(const vn_record *r)
{
	return r->received == r->committed;
}

/* With hundreds of connections active, the next one's record has left the cache since it was last used. */
static inline void
vn_record_prefetch(const vn_ledger *l, uint32_t index)
{
	const char *record = (const char *)(l->records + index);

	__builtin_prefetch(record, 1);
	__builtin_prefetch(record + 64, 1);
	__builtin_prefetch(record + 128, 1);
}

static inline uint32_t
vn_broker_ms(const vn_broker *b)
{
	return (uint32_t)(b->hub->now / VN_MS);
}

/* Lists through prev and next of records. */
void vn_ledger_list_push(vn_ledger *l, vn_ledger_list *list, vn_record *r);
void vn_ledger_list_unlink(vn_ledger *l, vn_ledger_list *list, vn_record *r);

#endif
