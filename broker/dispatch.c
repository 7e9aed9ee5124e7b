/* SPDX-License-Identifier: MIT */
/*
 * Dispatch - join the shortest queue, bounded
 *
 * A new connection, and new input on a resumable connection at rest, goes to the READY worker with the fewest
 * connections that have un-acknowledged input, each worker being assigned at most `depth` of them. The rest
 * waits in line (broker.waiting); its bytes stay in the kernel. Those whose read waits for more of a request
 * (NEED_INPUT) do not count there: a worker has nothing to do for them, and a few slow clients would shut out all others. Input of an attached connection that is not at
 * rest is always delivered: an application may wait in 64 handlers for what the 65th brings.
 *
 * A connection at rest stays warm with its worker. Its next input goes elsewhere if that worker is at depth
 * or leaving, or holds un-acknowledged input while another one holds none; after `release-after` it is taken
 * back. Taking back (REVOKED) is unilateral and safe only at rest, after the worker's lane was taken up to its
 * tail, with all output sent: then nothing can be in flight, and the descriptor is final.
 *
 * A connection that is not at rest can be asked for (RELEASE). Delivery goes on meanwhile, because a request in
 * hand may need more input to be finished. The worker answers RELEASED at its next commit point, any read call being
 * one, or CLOSE. With RELEASED it has forgotten what was delivered beyond; we copy that out of its lane, say FINAL,
 * and deliver it again elsewhere (settle.c).
 */
#include "broker/dispatch.h"

#include "broker/datagram.h"
#include "broker/debt.h"
#include "broker/liveness.h"
#include "broker/socket.h"
#include "broker/stages.h"

/* Records in lists. */

void
vn_ledger_list_push(vn_ledger *l, vn_ledger_list *list, vn_record *r)
{
	uint32_t index = vn_record_index(l, r);

	r->next = VN_NO_RECORD;
	r->prev = list->last;
	if (list->last == VN_NO_RECORD)
		list->first = index;
	else
		vn_record_at(l, list->last)->next = index;
	list->last = index;
}

void
vn_ledger_list_unlink(vn_ledger *l, vn_ledger_list *list, vn_record *r)
{
	if (r->prev == VN_NO_RECORD)
		list->first = r->next;
	else
		vn_record_at(l, r->prev)->next = r->next;
	if (r->next == VN_NO_RECORD)
		list->last = r->prev;
	else
		vn_record_at(l, r->next)->prev = r->prev;
}

/* The two lines in which a connection can wait, one at a time: for a worker, or for a block of its worker. */
static vn_ledger_list *
line_of(vn_broker *b, const vn_record *r)
{
	return r->flags & VN_R_STARVED ? &vn_record_worker(b, r)->starved : &b->waiting;
}

/* Before another that stands there, or at the end. */
static void
line_insert(vn_ledger *l, vn_ledger_list *line, vn_record *r, uint32_t before)
{
	uint32_t index = vn_record_index(l, r);

	r->wait_next = before;
	r->wait_prev = before == VN_NO_RECORD ? line->last : vn_record_at(l, before)->wait_prev;
	if (r->wait_prev == VN_NO_RECORD)
		line->first = index;
	else
		vn_record_at(l, r->wait_prev)->wait_next = index;
	if (before == VN_NO_RECORD)
		line->last = index;
	else
		vn_record_at(l, before)->wait_prev = index;
}

static void
line_remove(vn_ledger *l, vn_ledger_list *line, const vn_record *r)
{
	if (r->wait_prev == VN_NO_RECORD)
		line->first = r->wait_next;
	else
		vn_record_at(l, r->wait_prev)->wait_next = r->wait_next;
	if (r->wait_next == VN_NO_RECORD)
		line->last = r->wait_prev;
	else
		vn_record_at(l, r->wait_next)->wait_prev = r->wait_prev;
}

static void
line_join(vn_broker *b, vn_record *r, uint32_t flag)
{
	if (r->flags & (VN_R_WAITING | VN_R_STARVED))
		return;
	r->flags |= flag;
	b->n_waiting++;
	r->wait_since = vn_broker_ms(b);
	line_insert(b->ledger, line_of(b, r), r, VN_NO_RECORD);
}

/**
 * vn_dispatch_wait() - put a connection in line for a worker
 */
void
vn_dispatch_wait(vn_broker *b, vn_record *r)
{
	line_join(b, r, VN_R_WAITING);
}

/**
 * vn_dispatch_starve() - its worker has no block for its input: it waits for one, or for another worker
 */
void
vn_dispatch_starve(vn_broker *b, vn_record *r)
{
	line_join(b, r, r->flags & VN_R_ATTACHED ? VN_R_STARVED : VN_R_WAITING);
}

void
vn_dispatch_unwait(vn_broker *b, vn_record *r)
{
	if (!(r->flags & (VN_R_WAITING | VN_R_STARVED)))
		return;
	line_remove(b->ledger, line_of(b, r), r);
	r->flags &= ~(uint32_t)(VN_R_WAITING | VN_R_STARVED);
	r->wait_since = vn_broker_ms(b);
	b->n_waiting--;
}

/* Counting what is un-acknowledged. */

void
vn_dispatch_busy(vn_broker *b, vn_worker *w, vn_record *r)
{
	if (r->flags & (VN_R_BUSY | VN_R_DIALLED)) /* what it gets there, it has asked for */
		return;
	r->flags |= VN_R_BUSY;
	w->n_asking += !!(r->flags & VN_R_NEED_INPUT);
	if (b->config->request_timeout)
		r->since = vn_broker_ms(b);
	if (w->n_busy++ == 0 && w->state == VN_WORKER_READY)
		b->n_idle--;
}

void
vn_dispatch_calm(vn_broker *b, vn_worker *w, vn_record *r)
{
	if (!(r->flags & VN_R_BUSY))
		return;
	r->flags &= ~(uint32_t)VN_R_BUSY;
	w->n_asking -= !!(r->flags & VN_R_NEED_INPUT);
	if (--w->n_busy == 0 && w->state == VN_WORKER_READY)
		b->n_idle++;
}

/**
 * vn_dispatch_asks() - a read waits with input in hand: it is the client's turn
 */
void
vn_dispatch_asks(vn_worker *w, vn_record *r)
{
	if (!(r->flags & VN_R_NEED_INPUT) && r->flags & VN_R_BUSY)
		w->n_asking++;
	r->flags |= VN_R_NEED_INPUT;
}

/**
 * vn_dispatch_fed() - a read that waits for more input has got an answer
 *
 * While it waited, the clock of request-timeout stood still.
 */
void
vn_dispatch_fed(vn_broker *b, vn_record *r)
{
	if (!(r->flags & VN_R_NEED_INPUT))
		return;
	vn_dispatch_unasks(vn_record_worker(b, r), r);
	if (b->config->request_timeout)
		r->since = vn_broker_ms(b);
}

/**
 * vn_dispatch_suspect() - a worker gets input that others may have died of
 *
 * It bars others from that worker until it is done, or waits for more, or has done no harm for a while.
 */
void
vn_dispatch_suspect(vn_broker *b, vn_worker *w, const vn_record *r)
{
	if (w->suspect || !r->blame)
		return;
	w->suspect = vn_record_index(b->ledger, r) + 1;
	w->suspect_since = b->hub->now;
}

/* It is not this connection that others have to wait for. */
void
vn_dispatch_unsuspect(vn_broker *b, vn_worker *w, const vn_record *r)
{
	if (w->suspect == vn_record_index(b->ledger, r) + 1)
		w->suspect = 0;
}

/**
 * vn_dispatch_absolve() - the input that it was tried with is done
 */
void
vn_dispatch_absolve(vn_broker *b, vn_worker *w, vn_record *r)
{
	vn_dispatch_unsuspect(b, w, r);
	r->untaken_since = r->n_attempts = r->blame = 0;
	r->flags &= ~(uint32_t)VN_R_TRIED;
}

/**
 * vn_dispatch_worker_ready() - a worker begins, or ceases, to take new work
 *
 * The caller changes w->state afterwards, or has it READY on the way in.
 */
void
vn_dispatch_worker_ready(vn_broker *b, vn_worker *w, bool ready)
{
	int32_t one = ready ? 1 : -1;

	vn_datagrams_workers_changed(b);
	b->n_ready = (uint32_t)((int32_t)b->n_ready + one);
	if (w->n_busy == 0)
		b->n_idle = (uint32_t)((int32_t)b->n_idle + one);
}

/* Choosing. */

/* The better one of two that may both take work. */
static bool
is_better(const vn_worker *a, const vn_worker *than)
{
	if (!than || a->n_busy != than->n_busy)
		return !than || a->n_busy < than->n_busy;
	return a->n_attached < than->n_attached;
}

/* A worker gets one suspect at a time, so that it is clear of whom it dies. */
static bool
is_barred(const vn_worker *w, const vn_record *r)
{
	return w->suspect && r->flags & VN_R_TRIED && r->blame;
}

static vn_worker *
shortest_queue(const vn_broker *b, const vn_record *r)
{
	vn_worker *best = NULL;

	for (uint32_t i = 1; i <= b->n_slots; i++) {
		vn_worker *w = b->workers[i];

		if (w && w->state == VN_WORKER_READY && vn_dispatch_below(b, w) && !w->broken &&
			w->listener_of[r->endpoint] != VN_NO_LISTENER && is_better(w, best) &&
			!is_barred(w, r))
			best = w;
	}
	return best;
}

/* Should the next input of a connection at rest stay where the connection is? */
static bool
may_stay(const vn_broker *b, const vn_worker *w)
{
	return w->state == VN_WORKER_READY && vn_dispatch_below(b, w) &&
	       (w->n_busy == 0 || b->n_idle == 0);
}

static vn_worker *
choose_again(vn_broker *b, vn_worker *w, vn_record *r)
{
	vn_worker *best = shortest_queue(b, r);

	if (!best && w->state == VN_WORKER_READY && vn_dispatch_below(b, w))
		return w; /* nobody else listens there any more */
	if (!best) {
		vn_dispatch_wait(b, r);
		return NULL;
	}
	if (best == w || (w->state == VN_WORKER_READY && vn_dispatch_below(b, w) && best->n_busy))
		return w;
	if (!vn_dispatch_revoke(b, w, r)) {
		if (vn_dispatch_below(b, w) || w->state != VN_WORKER_READY)
			return w;
		vn_dispatch_wait(b, r);
		return NULL;
	}
	return best;
}

/**
 * vn_dispatch_choose() - who gets the next input of this connection?
 *
 * Return: the worker, to which the connection need not be attached yet; NULL if it now waits in line.
 */
vn_worker *
vn_dispatch_choose(vn_broker *b, vn_record *r)
{
	vn_worker *w;

	if (r->flags & VN_R_ATTACHED) {
		w = vn_record_worker(b, r);
		if (!(r->flags & VN_R_RESUMABLE) || !vn_record_at_rest(r) || may_stay(b, w) ||
			b->phase >= VN_PHASE_DRAINING)
			return w;
		return choose_again(b, w, r);
	}
	w = shortest_queue(b, r);
	if (!w)
		vn_dispatch_wait(b, r);
	return w;
}

/**
 * vn_dispatch_attach() - a stay with a worker begins; its OPEN is owed
 */
void
vn_dispatch_attach(vn_broker *b, vn_worker *w, vn_record *r)
{
	uint32_t index = vn_record_index(b->ledger, r);

	r->gen++;
	r->worker = w->slot;
	r->incarnation = w->incarnation;
	r->listener = (uint8_t)w->listener_of[r->endpoint];
	r->flags |= VN_R_ATTACHED;
	r->debts = VN_D_OPEN;
	r->since = vn_broker_ms(b);
	r->prev = VN_NO_RECORD;
	r->next = w->attached;
	if (w->attached != VN_NO_RECORD)
		vn_record_at(b->ledger, w->attached)->prev = index;
	w->attached = index;
	w->n_attached++;
}

/* The stay is over: all its blocks are home. */
void
vn_dispatch_detach(vn_broker *b, vn_record *r)
{
	vn_worker *w = vn_record_worker(b, r);

	vn_dispatch_calm(b, w, r);
	vn_dispatch_unsuspect(b, w, r);
	if (r->flags & VN_R_STARVED)
		vn_dispatch_unwait(b, r);
	r->flags &= ~(uint32_t)(VN_R_ATTACHED | VN_R_NEED | VN_R_NEED_INPUT | VN_R_RELEASE |
				VN_R_RELEASED);
	if (r->prev == VN_NO_RECORD)
		w->attached = r->next;
	else
		vn_record_at(b->ledger, r->prev)->next = r->next;
	if (r->next != VN_NO_RECORD)
		vn_record_at(b->ledger, r->next)->prev = r->prev;
	w->n_attached--;
}

/**
 * vn_dispatch_revoke() - take a resumable connection at rest back from its worker
 *
 * Return: false if it cannot be done now: output is on its way, the lane is full, or the worker has published
 * something that was not looked at.
 */
bool
vn_dispatch_revoke(vn_broker *b, vn_worker *w, vn_record *r)
{
	if (r->sent < r->queued ||
		r->flags & (VN_R_SHUT | VN_R_CLOSED | VN_R_RELEASED | VN_R_DEBTOR) || w->broken)
		return false;
	if (!vn_lane_tx_has(&w->link.tx, VN_OWN_SLOTS + 1) || vn_lane_rx_pending(&w->link.rx) != 0)
		return false;
	vn_debt_push_revoked(b, w, r);
	r->debts = 0;
	vn_dispatch_detach(b, r);
	if (r->flags & VN_R_ENDED) /* even its end is committed: there is nothing to go on with */
		vn_socket_close(b, r);
	return true;
}

/* Nobody has it now: what it has goes on without the worker that had it. */
static void
go_on_alone(vn_broker *b, vn_record *r)
{
	if (r->fd < 0 || !vn_record_has_input(r))
		return;
	vn_dispatch_unwait(b, r);
	vn_socket_input(b, r);
}

/**
 * vn_dispatch_release() - see to it that a worker gives a connection up
 * @r: is attached to @w
 *
 * At rest it is taken back at once, if that can be done now. Else the worker is asked, once for each attachment, and
 * whatever it does at its next commit point, the rest happens by itself: the connection goes to the worker that
 * vn_dispatch_choose() finds, which must not be this one any more (make it DRAINING before), with its input from
 * the last commit on and its state. No attempt is counted. It may take as long as the request in hand takes, so
 * whoever asks has a deadline of its own, and asks again for those that were not ready: w->n_attached counts down.
 *
 * Return: false if it has to be served to its end where it is: it is not resumable, or its output has ended.
 */
bool
vn_dispatch_release(vn_broker *b, vn_worker *w, vn_record *r)
{
	if (!(r->flags & VN_R_RESUMABLE) || r->flags & (VN_R_SHUT | VN_R_CLOSED | VN_R_RESET))
		return false;
	if (vn_record_at_rest(r) && vn_dispatch_revoke(b, w, r)) {
		go_on_alone(b, r);
		return true;
	}
	if (!(r->flags & VN_R_RELEASE)) {
		r->flags |= VN_R_RELEASE;
		vn_debt_add(b, w, r, VN_D_RELEASE);
	}
	return true;
}

/* Serving those who wait in line, and taking back those who rest. */

static bool
anybody_below_depth(const vn_broker *b)
{
	for (uint32_t i = 1; i <= b->n_slots; i++) {
		vn_worker *w = b->workers[i];

		if (w && w->state == VN_WORKER_READY && vn_dispatch_below(b, w))
			return true;
	}
	return false;
}

/* Its turn has come. If that was too early it keeps its place: nobody who came later overtakes it. */
static void
try_again(vn_broker *b, vn_record *r)
{
	uint32_t line = r->flags & (VN_R_WAITING | VN_R_STARVED), since = r->wait_since,
		 next = r->wait_next;

	vn_dispatch_unwait(b, r);
	vn_socket_input(b, r);
	if (!(r->flags & line))
		return;
	r->wait_since = since;
	line_remove(b->ledger, line_of(b, r), r);
	line_insert(b->ledger, line_of(b, r), r, next);
}

/**
 * vn_dispatch_starved() - blocks may have come home: serve those of a worker that wait for one, oldest first
 */
void
vn_dispatch_starved(vn_broker *b, vn_worker *w)
{
	uint32_t index = w->starved.first;

	while (index != VN_NO_RECORD && vn_blocks_available(w->link.blocks)) {
		vn_record *r = vn_record_at(b->ledger, index);
		uint32_t next = r->wait_next;

		try_again(b, r);
		index = next;
	}
}

/**
 * vn_dispatch_waiting() - workers have room again: serve the line, oldest first
 */
void
vn_dispatch_waiting(vn_broker *b)
{
	uint32_t index = b->waiting.first;

	while (index != VN_NO_RECORD && anybody_below_depth(b)) {
		vn_record *r = vn_record_at(b->ledger, index);
		uint32_t next = r->wait_next;

		if (next != VN_NO_RECORD)
			vn_record_prefetch(b->ledger, next);
		if ((r->flags & VN_R_ATTACHED) || shortest_queue(b, r))
			try_again(b, r);
		index = next;
	}
}

static void
sweep_waiting(vn_broker *b, uint32_t now)
{
	uint32_t limit = (uint32_t)(b->config->queue_timeout / VN_MS);

	while (b->waiting.first != VN_NO_RECORD) {
		vn_record *r = vn_record_at(b->ledger, b->waiting.first);

		if (now - r->wait_since < limit)
			break;
		vn_dispatch_unwait(b, r);
		vn_socket_reset(b, r, VN_RESET_QUEUE_TIMEOUT);
	}
}

/* Whose input takes most of a worker's pool. */
static vn_record *
largest_holder(vn_broker *b, const vn_worker *w)
{
	vn_record *largest = NULL;

	for (uint32_t index = w->attached; index != VN_NO_RECORD;) {
		vn_record *r = vn_record_at(b->ledger, index);

		if (r->fd >= 0 && (!largest || r->in.charge > largest->in.charge))
			largest = r;
		index = r->next;
	}
	return largest;
}

/*
 * Nothing has come home for long. First those that wait for more in the middle of a request are told that they are
 * full, for some can go on without it; if that was in vain, whoever holds most has to go.
 */
static void
sweep_starved(vn_broker *b, vn_worker *w, uint32_t now)
{
	uint32_t limit = (uint32_t)(b->config->queue_timeout / VN_MS);
	vn_record *r = vn_record_at(b->ledger, w->starved.first), *holder;

	if (now - r->wait_since >= limit && (holder = largest_holder(b, w))) {
		r->wait_since = now;
		vn_socket_reset(b, holder, VN_RESET_NO_BLOCKS);
	}
	for (uint32_t index = w->starved.first; index != VN_NO_RECORD; index = r->wait_next) {
		r = vn_record_at(b->ledger, index);
		if (!(r->flags & VN_R_NEED_INPUT) || now - r->wait_since < limit / 2)
			continue;
		vn_dispatch_fed(b, r);
		vn_debt_add(b, w, r, VN_D_FULL);
	}
}

/* Its worker has had a request for too long. Whoever waits for more of it is not to blame. */
static bool
is_overdue(const vn_record *r, uint32_t now, uint32_t patience)
{
	return (r->flags & (VN_R_BUSY | VN_R_NEED_INPUT)) == VN_R_BUSY &&
	       now - r->since >= patience;
}

static void
sweep_worker(vn_broker *b, vn_worker *w, uint32_t now)
{
	uint32_t limit = (uint32_t)(b->config->release_after / VN_MS), index = w->attached;
	uint32_t patience = (uint32_t)(b->config->request_timeout / VN_MS);

	while (index != VN_NO_RECORD) {
		vn_record *r = vn_record_at(b->ledger, index);

		index = r->next;
		if (index != VN_NO_RECORD)
			vn_record_prefetch(b->ledger, index);
		if (r->flags & VN_R_CLOSED)
			vn_socket_linger(b, r);
		vn_stages_age(b, r);
		if (patience && is_overdue(r, now, patience))
			vn_liveness_kill(w, "held a request for longer than request-timeout");
		if (!(r->flags & VN_R_RESUMABLE) || !vn_record_at_rest(r) ||
			r->flags & (VN_R_WAITING | VN_R_STARVED | VN_R_RESET))
			continue;
		if (now - r->since >= limit && vn_dispatch_revoke(b, w, r))
			go_on_alone(b, r);
	}
	if (w->starved.first != VN_NO_RECORD)
		sweep_starved(b, w, now);
}

/**
 * vn_dispatch_sweep() - what has rested or waited for too long
 */
void
vn_dispatch_sweep(vn_broker *b)
{
	uint32_t now = vn_broker_ms(b);

	sweep_waiting(b, now);
	for (uint32_t i = 1; i <= b->n_slots; i++)
		if (b->workers[i] && b->workers[i]->linked)
			sweep_worker(b, b->workers[i], now);
}
