/* SPDX-License-Identifier: MIT */
/*
 * Debt - descriptors are made from records when a slot is free
 *
 * The broker never queues messages. What a worker has to be told about a connection is a bit in its record
 * (VN_D_...), and the record stands in the worker's list of debtors; positions make debts coalesce, so one bit
 * is enough however often it is owed. Paying goes round: each debtor pays once per turn and goes to the end if
 * it owes more. So a push never finds the lane full and memory is bounded by connections. The last
 * VN_OWN_SLOTS slots of a lane are for what the worker is owed itself: DRAIN, STOP, answers to LISTEN.
 *
 * How far output was sent (SENT) rides on the connection's next DATA. It goes alone when a coroutine waits for
 * it, when a quarter of the window is unreported, or when no DATA came for REPORT_AFTER: for that a connection
 * stands in the list of unreported ones, which is swept, not kept exact. Under load, and whatever the number of
 * connections, SENT so costs no descriptor.
 */
#include "broker/debt.h"

#include <errno.h>
#include <string.h>

#include "broker/datagram.h"
#include "broker/dial.h"
#include "broker/dispatch.h"
#include "broker/forward.h"
#include "broker/keep.h"
#include "broker/socket.h"
#include "shm/crash.h"

#define REPORT_AFTER (50 * VN_MS) /* to twice that */
#define PLENTY_CLASS 2u

bool
vn_debt_owes(const vn_worker *w)
{
	return w->debtor_first != VN_NO_RECORD || w->owes_drain || w->owes_stop || w->owes_ping ||
	       w->owes_signals || w->n_dials_done || w->owes_datagrams ||
	       (w->n_answers_owed && vn_blocks_available(w->link.blocks)) ||
	       (w->datagrams_stalled && vn_lane_tx_room(&w->link.tx) < VN_OWN_SLOTS + 4);
}

/* Is there room for the next descriptor of a connection? If it opens an attachment, state comes before it. */
static bool
has_room(vn_worker *w, const vn_record *r)
{
	uint32_t n = 1;

	if ((r->flags & VN_R_STATEFUL) && (!(r->flags & VN_R_ATTACHED) || r->debts & VN_D_OPEN))
		n += vn_state_descs(r->state_len);
	return vn_lane_tx_has(&w->link.tx, VN_OWN_SLOTS + n);
}

/* Room for one more: half of the slots, and blocks for each who is in the middle of something, none of whom lacks any. */
static bool
has_plenty(vn_worker *w)
{
	uint64_t wanted = (w->n_busy + 1ull) * vn_block_class_bytes(PLENTY_CLASS);

	return w->starved.first == VN_NO_RECORD &&
	       vn_lane_tx_has(&w->link.tx, w->link.tx.mask / 2) &&
	       vn_blocks_available(w->link.blocks) >= wanted;
}

/*
 * May a connection's descriptor be pushed right now, ahead of no other debtor? One that nobody has cannot be a debtor,
 * and while busy ones owe again what they pay there is always another: it takes its turn while there is plenty. Where
 * there is not, those who have begun are helped to finish first.
 */
bool
vn_debt_may_push(vn_worker *w, const vn_record *r)
{
	if (!w->linked || w->broken || !has_room(w, r))
		return false;
	return w->debtor_first == VN_NO_RECORD || (!(r->flags & VN_R_ATTACHED) && has_plenty(w));
}

static void
push(vn_worker *w, const vn_desc *d)
{
	vn_lane_tx_push(&w->link.tx, d);
	vn_worker_heat(w);
}

void
vn_debt_add(vn_broker *b, vn_worker *w, vn_record *r, uint16_t debts)
{
	uint32_t index = vn_record_index(b->ledger, r);

	r->debts |= debts;
	if (r->flags & VN_R_DEBTOR)
		return;
	r->flags |= VN_R_DEBTOR;
	r->debt_next = VN_NO_RECORD;
	if (w->debtor_first == VN_NO_RECORD)
		w->debtor_first = index;
	else
		vn_record_at(b->ledger, w->debtor_last)->debt_next = index;
	w->debtor_last = index;
	vn_worker_heat(w);
}

static vn_record *
debtor_pop(vn_broker *b, vn_worker *w)
{
	vn_record *r = vn_record_at(b->ledger, w->debtor_first);

	w->debtor_first = r->debt_next;
	r->flags &= ~(uint32_t)VN_R_DEBTOR;
	return r;
}

/* What the last handler left comes before the descriptor that opens the next attachment. */
static void
push_state(vn_broker *b, vn_worker *w, const vn_record *r)
{
	uint32_t n = vn_state_descs(r->state_len);

	for (uint16_t i = 0; i < n; i++) {
		vn_desc d = {.kind = VN_KIND_RESTORE,
			.conn = vn_record_index(b->ledger, r),
			.gen = r->gen};

		vn_keep_restore(b, r, &d, i);
		push(w, &d);
	}
}

/* A descriptor of a connection; the first one of an attachment opens it. */
static vn_desc
desc_of(vn_broker *b, vn_worker *w, vn_record *r, uint8_t kind)
{
	vn_desc d = {.kind = kind, .conn = vn_record_index(b->ledger, r), .gen = r->gen};

	if (!(r->debts & VN_D_OPEN) ||
		(kind != VN_KIND_OPEN && kind != VN_KIND_DATA && kind != VN_KIND_END))
		return d;
	r->debts &= (uint16_t)~VN_D_OPEN;
	d.flags = r->flags & VN_R_RESUMABLE ? VN_RESUME : 0;
	if (kind != VN_KIND_OPEN)
		d.flags |= VN_OPEN;
	d.arg = r->listener;
	if (r->flags & VN_R_TRIED)
		d.arg |= (uint16_t)(r->n_attempts << 8);
	if (r->flags & VN_R_STATEFUL)
		push_state(b, w, r);
	d.peer = r->peer;
	r->reported = r->queued; /* where this worker's output starts */
	d.report = r->queued;
	return d;
}

/* Reports what was sent on a descriptor that has room for it. */
static void
ride(vn_record *r, vn_desc *d)
{
	if (d->flags & VN_OPEN || d->kind == VN_KIND_OPEN)
		return;
	if (r->sent > r->reported)
		r->reported = r->sent;
	d->report = r->reported;
	r->debts &= (uint16_t)~VN_D_SENT;
	r->flags &= ~(uint32_t)VN_R_OVERDUE;
}

/**
 * vn_debt_push_data() - input that was received is the worker's
 *
 * The caller has made sure of a slot, and attached the connection.
 */
void
vn_debt_push_data(
	vn_broker *b, vn_worker *w, vn_record *r, uint32_t block, uint32_t offset, uint32_t len)
{
	vn_desc d = desc_of(b, w, r, VN_KIND_DATA);

	d.pos = r->delivered;
	d.block = block;
	d.offset = offset;
	d.len = len;
	ride(r, &d);
	r->delivered += len;
	if (r->flags & VN_R_NEED_INPUT)
		vn_dispatch_fed(b, r);
	if (r->flags & VN_R_TRIED)
		vn_dispatch_suspect(b, w, r);
	vn_dispatch_busy(b, w, r);
	push(w, &d);
}

/* The connection is taken back; everything is sent and at home, so this is final. */
void
vn_debt_push_revoked(vn_broker *b, vn_worker *w, vn_record *r)
{
	vn_desc d = desc_of(b, w, r, VN_KIND_REVOKED);

	d.flags = VN_FINAL;
	ride(r, &d);
	push(w, &d);
}

static void
pay_end(vn_broker *b, vn_worker *w, vn_record *r)
{
	vn_desc d = desc_of(b, w, r, VN_KIND_END);

	d.pos = r->delivered;
	ride(r, &d);
	r->delivered++;
	vn_dispatch_fed(b, r);
	vn_dispatch_busy(b, w, r);
	push(w, &d);
}

static void
pay_plain(vn_broker *b, vn_worker *w, vn_record *r, uint8_t kind)
{
	vn_desc d = desc_of(b, w, r, kind);

	if (kind == VN_KIND_SENT)
		ride(r, &d);
	push(w, &d);
}

/* Pays one debt of a record; the slot is there. */
static void
pay_one(vn_broker *b, vn_worker *w, vn_record *r, uint16_t debt)
{
	if (debt != VN_D_OPEN) /* desc_of() needs to see it */
		r->debts &= (uint16_t)~debt;
	switch (debt) {
	case VN_D_OPEN:
		pay_plain(b, w, r, VN_KIND_OPEN);
		break;
	case VN_D_DATA:
		vn_socket_owed_input(b, w, r);
		break;
	case VN_D_END:
		pay_end(b, w, r);
		break;
	case VN_D_RESET:
		pay_plain(b, w, r, VN_KIND_RESET);
		break;
	case VN_D_SENT:
		if (r->sent > r->reported)
			pay_plain(b, w, r, VN_KIND_SENT);
		break;
	case VN_D_FULL:
		pay_plain(b, w, r, VN_KIND_FULL);
		break;
	case VN_D_RELEASE:
		pay_plain(b, w, r, VN_KIND_RELEASE);
		break;
	case VN_D_FINAL:
		pay_plain(b, w, r, VN_KIND_FINAL);
		vn_socket_final(b, r);
		break;
	default:
		break;
	}
}

static void
pay_record(vn_broker *b, vn_worker *w, vn_record *r)
{
	uint16_t now = r->debts;

	/*
	 * The order is that of the bits: FINAL is the last thing said. DATA may be owed anew by its own payment:
	 * that is for the next round.
	 */
	while ((r->debts & now) && (r->flags & VN_R_ATTACHED) && r->worker == w->slot &&
		has_room(w, r)) {
		uint16_t debt = (uint16_t)(r->debts & now & -(r->debts & now));

		pay_one(b, w, r, debt);
		if (debt == VN_D_DATA)
			now &= (uint16_t)~VN_D_DATA;
	}
	if (r->debts && (r->flags & VN_R_ATTACHED) && r->worker == w->slot)
		vn_debt_add(b, w, r, 0);
}

/* The answer to a LISTEN: an error, or the bound URL in a block that is ours again with UNLISTEN. */
static void
pay_answer(vn_broker *b, vn_worker *w, uint16_t number)
{
	vn_worker_listener *l = &w->listeners[number];
	vn_desc d = {.kind = VN_KIND_LISTENING, .arg = number, .report = (uint64_t)l->error};
	uint32_t block;

	if (l->error == 0) {
		const char *url = b->endpoints[l->endpoint]->url;

		block = vn_socket_block(w, vn_block_class(strlen(url)));
		if (block == VN_NO_BLOCK)
			return;
		l->block = block;
		d.len = (uint32_t)strlen(url);
		d.block = block;
		vn_area_write(&w->link.own, block, 0, url, d.len);
	}
	l->answer_owed = false;
	w->n_answers_owed--;
	VN_CRASH_POINT("broker.listening.before");
	push(w, &d);
	VN_CRASH_POINT("broker.listening.after");
}

static void
pay_own(vn_broker *b, vn_worker *w)
{
	for (uint16_t i = 0; w->n_answers_owed && i <= VN_MAX_LISTENER; i++)
		if (w->listeners[i].answer_owed && vn_lane_tx_has(&w->link.tx, 3))
			pay_answer(b, w, i);
	if (w->owes_datagrams)
		vn_datagrams_pay(w);
	if (w->owes_ping && vn_lane_tx_has(&w->link.tx, 3)) {
		w->owes_ping = false;
		push(w, &(vn_desc){.kind = VN_KIND_PING});
		w->ping_next = w->link.tx.next;
	}
	if (w->owes_signals && vn_lane_tx_has(&w->link.tx, 3)) {
		push(w, &(vn_desc){.kind = VN_KIND_SIGNAL, .report = w->owes_signals});
		w->said_signals = vn_forward_untaken(w) | w->owes_signals;
		w->signals_next = w->link.tx.next;
		w->owes_signals = 0;
	}
	if (w->owes_drain && vn_lane_tx_has(&w->link.tx, 2)) {
		w->owes_drain = false;
		push(w, &(vn_desc){.kind = VN_KIND_DRAIN});
	}
	if (w->owes_stop && vn_lane_tx_has(&w->link.tx, 1)) {
		w->owes_stop = false;
		push(w, &(vn_desc){.kind = VN_KIND_STOP});
	}
}

/**
 * vn_debt_pay() - one round of what a worker is owed
 */
void
vn_debt_pay(vn_broker *b, vn_worker *w)
{
	uint32_t last = w->debtor_last;

	if (!w->linked || w->broken)
		return;
	pay_own(b, w);
	if (w->n_dials_done)
		vn_dial_answer(b, w);
	while (w->debtor_first != VN_NO_RECORD && vn_lane_tx_has(&w->link.tx, VN_OWN_SLOTS + 1)) {
		uint32_t index = w->debtor_first;

		pay_record(b, w, debtor_pop(b, w));
		if (index == last)
			break;
	}
}

static void
report_fire(vn_timer *t)
{
	vn_debt_report_sweep((vn_broker *)(void *)((char *)t - offsetof(vn_broker, report_timer)));
}

static void
unreported_push(vn_broker *b, vn_record *r)
{
	r->flags |= VN_R_UNREPORTED;
	r->unreported_next = b->unreported;
	b->unreported = vn_record_index(b->ledger, r);
	if (!vn_timer_armed(&b->report_timer)) {
		b->report_timer.fire = report_fire;
		vn_wheel_arm(b->hub->wheel, &b->report_timer, b->hub->now + REPORT_AFTER);
	}
}

/**
 * vn_debt_unreported() - output was sent: see to it that the worker learns in time
 */
void
vn_debt_unreported(vn_broker *b, vn_worker *w, vn_record *r)
{
	if ((r->flags & VN_R_NEED) || r->sent - r->reported >= b->config->window / 4) {
		r->flags &= ~(uint32_t)VN_R_NEED;
		vn_debt_add(b, w, r, VN_D_SENT);
		return;
	}
	if (!(r->flags & VN_R_UNREPORTED))
		unreported_push(b, r);
}

/* Reports what was unreported at the last sweep already; the rest stays for the next one. */
void
vn_debt_report_sweep(vn_broker *b)
{
	uint32_t index = b->unreported;

	b->unreported = VN_NO_RECORD;
	while (index != VN_NO_RECORD) {
		vn_record *r = vn_record_at(b->ledger, index);

		index = r->unreported_next;
		if (index != VN_NO_RECORD)
			vn_record_prefetch(b->ledger, index);
		r->flags &= ~(uint32_t)VN_R_UNREPORTED;
		if (r->flags & VN_R_ZOMBIE) {
			vn_socket_unzombie(b, r);
		} else if ((r->flags & VN_R_ATTACHED) && r->sent > r->reported) {
			if (r->flags & VN_R_OVERDUE)
				vn_debt_add(b, vn_record_worker(b, r), r, VN_D_SENT);
			else
				unreported_push(b, r);
			r->flags ^= VN_R_OVERDUE;
		}
	}
}

/* The worker is dead: nobody is owed anything. */
void
vn_debt_forget(vn_broker *b, vn_worker *w)
{
	while (w->debtor_first != VN_NO_RECORD)
		debtor_pop(b, w)->debts = 0;
	w->owes_drain = w->owes_stop = w->owes_ping = w->owes_datagrams = false;
	w->n_answers_owed = 0;
}
