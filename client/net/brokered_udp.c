/* SPDX-License-Identifier: MIT */
/*
 * Brokered udp - datagrams of a worker: the socket is the broker's
 *
 * An endpoint is asked for as a listener is (brokered_listen.c). What coroutines have sent and are done with is not
 * said descriptor by descriptor: an endpoint of which there is news is dirty, and between runs of coroutines it says
 * all of it, one SENDTO for each block with new frames, the last of which carries the acknowledgement. So answers and
 * the word that their questions are done with leave by one store.
 *
 * A closed endpoint stays until the broker has sent what lies in our blocks; then its number is free.
 */
#include <errno.h>
#include <stdlib.h>

#include "client/hub/log.h"
#include "client/net/brokered.h"
#include "client/net/udp.h"

static vn_udp *
udp_of(vn_listener *l)
{
	return (vn_udp *)(void *)l;
}

static vn_brokered *
brokered_of(const vn_udp *u)
{
	return vn_brokered_of(u->listener.net);
}

static void
udp_mark(vn_udp *u)
{
	vn_brokered *b = brokered_of(u);

	if (u->is_dirty)
		return;
	u->is_dirty = true;
	u->next_dirty = b->udp_dirty;
	b->udp_dirty = u;
}

/* Its number is free again; the broker does not know it any more. */
static void
udp_finish(vn_udp *u)
{
	vn_brokered *b = brokered_of(u);
	vn_udp **link = &b->udp_dirty;

	while (u->is_dirty && *link != u)
		link = &(*link)->next_dirty;
	if (u->is_dirty)
		*link = u->next_dirty;
	vn_chain_free(&u->out.chain, u->out_frames.table, u->out_frames.blocks, UINT64_MAX);
	vn_net_on_room(u->listener.net);
	vn_brokered_listener_free(b, &u->listener);
	vn_conn_wake(&b->numbers);
	b->n_listeners -= !u->listener.is_dialled;
	vn_udp_free(u);
}

/* Saying it. */

/* The block in which what is not said begins. */
static uint32_t
unsaid_block(const vn_udp *u)
{
	const vn_chain_link *table = u->out_frames.table;
	uint32_t block = u->said_at == VN_NO_BLOCK ? u->out.chain.first : u->said_at;

	while (table[block].end <= u->said)
		block = table[block].next;
	return block;
}

/* Slots that it takes to say all of it, or many. */
static uint32_t
unsaid_count(const vn_udp *u, uint32_t many)
{
	uint32_t n = 1;

	if (u->said == u->out.end)
		return n;
	for (uint32_t block = unsaid_block(u); block != VN_NO_BLOCK && n < many;
		block = u->out_frames.table[block].next)
		n++;
	return n;
}

/* What lies in one block, and behind the last of them the acknowledgement. */
static void
say_block(vn_udp *u)
{
	const vn_chain_link *table = u->out_frames.table;
	uint32_t block = unsaid_block(u);
	vn_desc d = {.kind = VN_KIND_SENDTO,
		.arg = (uint16_t)u->listener.id,
		.pos = u->said,
		.block = block,
		.offset = vn_chain_offset(&table[block], u->said),
		.len = (uint32_t)(table[block].end - u->said)};

	u->said = table[block].end;
	u->said_at = block;
	if (u->said == u->out.end && u->acked > u->acked_said) {
		d.flags = VN_ACK;
		d.report = u->acked_said = u->acked;
	}
	vn_lane_tx_push(&brokered_of(u)->link.tx, &d);
}

/* True if all of it is said. */
static bool
say_news(vn_udp *u)
{
	vn_lane_tx *tx = &brokered_of(u)->link.tx;

	vn_frames_seal(&u->out);
	while (u->said < u->out.end && vn_lane_tx_has(tx, 1))
		say_block(u);
	if (u->said < u->out.end)
		return false;
	if (u->acked > u->acked_said && vn_lane_tx_has(tx, 1)) {
		u->acked_said = u->acked;
		vn_lane_tx_push(tx, &(vn_desc){.kind = VN_KIND_RECEIVED,
					    .arg = (uint16_t)u->listener.id,
					    .report = u->acked});
	}
	return u->acked == u->acked_said;
}

/**
 * vn_brokered_udp_say() - into the lane goes what endpoints of datagrams have to say, as far as there is room
 */
void
vn_brokered_udp_say(vn_brokered *b)
{
	vn_lane_tx *tx = &b->link.tx;

	while (b->udp_dirty) {
		vn_udp *u = b->udp_dirty;

		if (b->n_waiting || !vn_lane_tx_has(tx, unsaid_count(u, tx->mask / 2)) ||
			!say_news(u))
			return;
		b->udp_dirty = u->next_dirty;
		u->is_dirty = false;
		if (u->is_closed && u->sent == u->out.end)
			udp_finish(u);
	}
}

/* Being told. */

static void
udp_departed(vn_udp *u, uint64_t to)
{
	if (to > u->said || to <= u->sent)
		return;
	if (u->said_at != VN_NO_BLOCK && u->out_frames.table[u->said_at].end <= to)
		u->said_at = VN_NO_BLOCK;
	vn_udp_on_sent(u, to);
	if (u->is_closed && !u->is_dirty && u->sent == u->out.end)
		udp_finish(u);
}

static void
udp_arrived(vn_udp *u, const vn_desc *d)
{
	vn_chain_link *table = u->in_frames.table;

	u->in.end += d->len;
	if (u->in.chain.last == d->block && table[d->block].fill == d->offset)
		vn_chain_extend(&u->in.chain, table, d->len);
	else
		vn_chain_push(&u->in.chain, table, d->block, d->offset + d->len, u->in.end);
	if (!u->is_closed)
		vn_udp_on_input(u);
}

/**
 * vn_brokered_on_udp() - what the broker says of an endpoint of datagrams
 *
 * Something may have been on its way to an endpoint that had the number before: no answer to LISTEN has come since.
 */
void
vn_brokered_on_udp(vn_brokered *b, const vn_desc *d)
{
	vn_listener *l = b->listeners[d->arg];
	vn_udp *u;

	if (!l || !l->on_end || !l->answered)
		return;
	u = udp_of(l);
	if (d->kind == VN_KIND_DATAGRAMS && d->pos == u->in.end)
		udp_arrived(u, d);
	if (d->kind == VN_KIND_JOINED) {
		u->joined = -(int)d->report;
		u->is_joining = false;
		vn_conn_wake(&u->joiners);
	} else if (d->kind == VN_KIND_REFUSED) {
		if (!u->is_closed)
			vn_udp_on_refused(u, -(int)d->report);
	} else {
		udp_departed(u, d->report);
	}
}

/* What the calls ask for. */

static int
ask(vn_udp *u, const char *url, uint8_t flags)
{
	vn_listener *l = &u->listener;
	vn_endpoint bound;
	char why[256];
	int rc = vn_brokered_ask(l->net, l, url, VN_DATAGRAM | flags);

	if (rc < 0)
		return rc;
	rc = vn_endpoint_parse_numeric(&bound, l->url, why);
	if (rc < 0) { /* that cannot be: it is the broker's own */
		vn_brokered_listener_free(vn_brokered_of(l->net), l);
		return rc;
	}
	u->family = (uint8_t)bound.sa.ss_family;
	u->port = vn_endpoint_port(&bound);
	u->said_at = VN_NO_BLOCK;
	return 0;
}

/**
 * vn_brokered_bind() - have the broker bind
 *
 * Return: 0, or why not, having said it.
 */
int
vn_brokered_bind(vn_udp *u, const char *url)
{
	int rc = ask(u, url, 0);

	if (rc == 0)
		brokered_of(u)->n_listeners++;
	return rc;
}

/* Is there a number? 0, -EAGAIN when one that was closed will have left its own, -EMFILE. */
static int
look_for_number(const vn_brokered *b)
{
	int rc = -EMFILE;

	for (uint32_t i = 0; i <= VN_MAX_LISTENER; i++) {
		const vn_listener *l = b->listeners[i];

		if (!l)
			return 0;
		if (l->on_end && ((const vn_udp *)(const void *)l)->is_closed)
			rc = -EAGAIN;
	}
	return rc;
}

static int
wait_for_number(vn_brokered *b)
{
	int rc = look_for_number(b);

	while (rc == -EAGAIN) {
		vn_clause clause = {0};

		vn_waitq_push(&b->numbers, &clause);
		rc = vn_wait(b->net->hub, &clause, 1, VN_NEVER);
		if (rc >= 0)
			rc = look_for_number(b);
		if (rc != -EAGAIN) /* there may be one for the next one too */
			vn_conn_wake(&b->numbers);
	}
	return rc;
}

/**
 * vn_brokered_connect_udp() - have the broker connect a socket of datagrams to an address
 *
 * It waits for the answer, whatever the caller's deadline: the broker need not wait for anybody. (Before that it may
 * wait for a number, until the deadline.)
 *
 * Return: 0 or why not.
 */
int
vn_brokered_connect_udp(vn_udp *u, const vn_endpoint *to)
{
	char url[VN_URL_MAX];
	int rc = vn_endpoint_format(to, url);

	if (rc == 0)
		rc = wait_for_number(brokered_of(u));
	u->listener.answered = false;
	return rc < 0 ? rc : ask(u, url, VN_PEER);
}

/**
 * vn_brokered_unbind() - it was closed; it stays until the broker has sent what is in our blocks
 */
void
vn_brokered_unbind(vn_udp *u)
{
	while (u->joiners.first)
		vn_wake(u->joiners.first, -EPIPE);
	udp_mark(u);
	if (u->sent < u->out.end)
		vn_brokered_udp_need(u);
}

void
vn_brokered_udp_acked(vn_udp *u)
{
	while (vn_chain_pop(&u->in.chain, u->in_frames.table, u->acked) != VN_NO_BLOCK)
		;
	udp_mark(u);
}

void
vn_brokered_udp_sends(vn_udp *u)
{
	udp_mark(u);
}

/**
 * vn_brokered_udp_need() - somebody waits for what was sent to have left
 */
void
vn_brokered_udp_need(vn_udp *u)
{
	vn_stage(brokered_of(u),
		&(vn_desc){.kind = VN_KIND_NEED_ROOM, .arg = (uint16_t)u->listener.id});
}

/* Asks, and waits for the answer whatever the caller's deadline: the next one would be taken for it. */
int
vn_brokered_join(vn_udp *u, const vn_desc_peer *group, bool leave)
{
	vn_hub *h = u->listener.net->hub;

	if (u->is_joining)
		return -EBUSY;
	if (h->stopping)
		return -ECANCELED;
	u->is_joining = true;
	vn_stage(brokered_of(u), &(vn_desc){.kind = VN_KIND_JOIN,
					 .flags = leave ? VN_ABORT : 0,
					 .arg = (uint16_t)u->listener.id,
					 .peer = *group});
	u->n_waits++;
	while (u->is_joining && !u->is_closed && !h->stopping) {
		vn_clause clause = {0};

		vn_waitq_push(&u->joiners, &clause);
		vn_wait_shielded(h, &clause, 1);
	}
	return vn_udp_back(u, u->is_joining ? -ECANCELED : u->joined);
}

/* What the kernel dropped and refused, the broker counts. */
void
vn_brokered_udp_count(const vn_udp *u, vn_udp_counts *c)
{
	(void)u;
	(void)c;
}

/**
 * vn_brokered_udp_finish_all() - the program ends: closed endpoints are not waited for any more
 */
void
vn_brokered_udp_finish_all(vn_brokered *b)
{
	for (uint32_t i = 0; i <= VN_MAX_LISTENER; i++)
		if (b->listeners[i] && b->listeners[i]->on_end)
			udp_finish(udp_of(b->listeners[i]));
}
