/* SPDX-License-Identifier: MIT */
/*
 * Conn - a connection's life, and the commit that every read call makes
 *
 * The backend reports news with vn_conn_on_...(); they move positions and wake whoever waits, who then looks
 * again. The read and write calls are in read.c and write.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "client/net/net.h"

vn_conn *
vn_conn_new(vn_net *net, vn_listener *l, const vn_desc_peer *peer)
{
	vn_conn *c = vn_slab_get(&net->conns);

	if (!c)
		return NULL;
	c->net = net;
	c->listener = l;
	c->peer = *peer;
	c->in_at = VN_NO_BLOCK;
	c->in = VN_CHAIN_EMPTY;
	c->out = VN_CHAIN_EMPTY;
	if (l && (l->flags & VN_RESUMABLE))
		c->flags |= VN_CONN_RESUMABLE;
	if (l && l->endpoint.scheme == VN_SEQPACKET)
		c->flags |= VN_CONN_PACKETS;
	vn_hub_hold(net->hub);
	return c;
}

/**
 * vn_attempt_done() - a backend has decided an attempt
 * @c:  connected, of no listener; it is open from here on; or NULL
 * @rc: if it is NULL: why
 */
void
vn_attempt_done(vn_attempt *a, vn_conn *c, int rc)
{
	if (c)
		c->flags |= VN_CONN_OPEN | VN_CONN_DIALLED;
	a->conn = c;
	a->rc = c ? 0 : rc;
	vn_conn_wake(a->news);
}

/**
 * vn_conn_free() - it is over: nothing of it is out
 *
 * Whoever waited for it may have been woken and not have run yet: then the record stays until that has.
 */
void
vn_conn_free(vn_conn *c)
{
	vn_net *net = c->net;

	vn_hub_unhold(net->hub);
	free(c->linear);
	free(c->memory);
	free(c->addr);
	if (c->n_waits || c->flags & VN_CONN_SELECTED) {
		c->linear = c->memory = NULL;
		c->addr = NULL;
		c->next = net->graves;
		net->graves = c;
		return;
	}
	vn_slab_put(&net->conns, c);
}

/**
 * vn_conn_wait() - wait for news of a connection
 * @own:    its readers or its writers; only one coroutine may stand there
 * @shared: where else news may come from, or NULL
 *
 * Return: 0 to look again, -EPIPE if it was closed meanwhile, -EBUSY, what ended the wait, or what
 * vn_conn_check() says.
 */
int
vn_conn_wait(vn_conn *c, vn_waitq *own, vn_waitq *shared)
{
	vn_clause clauses[2];
	int rc;

	if (own->first)
		return -EBUSY;
	vn_waitq_push(own, &clauses[0]);
	if (shared)
		vn_waitq_push(shared, &clauses[1]);
	c->n_waits++;
	rc = vn_wait(c->net->hub, clauses, shared ? 2 : 1, VN_NEVER);
	c->n_waits--;
	if (rc < 0)
		return rc;
	return c->flags & VN_CONN_OPEN ? vn_conn_check(c) : -EPIPE;
}

/* 0, or why nothing more can be done with it. */
int
vn_conn_check(const vn_conn *c)
{
	if (!(c->flags & (VN_CONN_STALE | VN_CONN_RESET | VN_CONN_ABORTED)))
		return 0;
	return c->flags & VN_CONN_STALE ? -ESTALE : -ECONNRESET;
}

static void
conn_say_state(vn_conn *c)
{
	c->flags &= ~(uint32_t)VN_CONN_NEWS;
	if (c->flags & VN_CONN_RESUMABLE)
		c->net->ops->state(c);
}

/* What the state is at a commit, which perhaps has to wait, is what goes with it. */
static void
conn_note_state(vn_conn *c)
{
	vn_conn_memory *m = c->memory;

	if (memcmp(m->bytes + m->len, m->bytes, m->len) == 0)
		return;
	memcpy(m->bytes + m->len, m->bytes, m->len);
	c->flags |= VN_CONN_NEWS;
}

/**
 * vn_conn_ack() - acknowledge, and perhaps commit, up to `to`, which is at most what was taken
 */
void
vn_conn_ack(vn_conn *c, uint64_t to, bool commit)
{
	bool passed = c->in_at != VN_NO_BLOCK && c->net->in_table[c->in_at].end <= to;

	c->acked = to;
	if (commit) {
		c->committed = to;
		if (c->flags & VN_CONN_NEWS)
			conn_say_state(c);
	}
	c->flags &= ~(uint32_t)(VN_CONN_FULL | VN_CONN_FULL_SAID);
	c->net->ops->ack(c, commit);
	if (commit && c->attempts)
		c->net->ops->absolve(c);
	if (passed)
		c->in_at = c->in.first;
}

/* Nothing is in hand, and output may go on: a successor could start here without anybody noticing. */
bool
vn_conn_at_commit_point(const vn_conn *c)
{
	return c->taken == c->committed && c->taken == c->received &&
	       !(c->flags & (VN_CONN_HELD | VN_CONN_SHUT));
}

/* No more input fits: would it help to acknowledge without a commit, and may we? */
bool
vn_conn_may_ack(const vn_conn *c)
{
	return c->taken > c->acked && !c->n_pins && !(c->flags & VN_CONN_END_TAKEN) &&
	       (c->flags & (VN_CONN_HELD | VN_CONN_MORE));
}

static void
conn_commit(vn_conn *c)
{
	if (c->taken == c->committed || vn_conn_check(c) < 0)
		return;
	if (c->flags & VN_CONN_MEMORY)
		conn_note_state(c);
	if (c->n_pins) {
		c->due = c->taken;
		c->flags |= VN_CONN_DUE;
		return;
	}
	vn_conn_ack(c, c->taken, true);
}

/**
 * vn_conn_commit_taken() - what every read call does first: earlier input is done
 */
void
vn_conn_commit_taken(vn_conn *c)
{
	if (!(c->flags & VN_CONN_HELD))
		conn_commit(c);
}

/**
 * vn_hold() - this request takes more than one read: do not commit in between
 *
 * Return: 0, or -ESTALE, -ECONNRESET if the connection is over.
 */
int
vn_hold(vn_conn *c)
{
	if (!c)
		return -EBADF;
	c->flags |= VN_CONN_HELD;
	return vn_conn_check(c);
}

/**
 * vn_commit() - what was taken so far is done: a handler could start here
 *
 * Ends a vn_hold(). The output written so far and the commit leave together. While a view is out the commit
 * waits for its release.
 *
 * Return: 0, or -ESTALE, -ECONNRESET if the connection is over.
 */
int
vn_commit(vn_conn *c)
{
	if (!c)
		return -EBADF;
	c->flags &= ~(uint32_t)VN_CONN_HELD;
	conn_commit(c);
	return vn_conn_check(c);
}

/*
 * A handler of another worker could start here: nothing is taken that is not committed, and nobody is in the middle
 * of writing. What was delivered beyond is delivered again there.
 */
static bool
conn_can_leave(const vn_conn *c)
{
	return c->taken == c->committed && !c->n_pins && !c->writers.first &&
	       !(c->flags & (VN_CONN_SHUT | VN_CONN_CLOSED)) && vn_conn_check(c) == 0;
}

/**
 * vn_conn_give_back() - it was asked for: if this is a commit point, it is not ours any more
 */
void
vn_conn_give_back(vn_conn *c)
{
	if (!conn_can_leave(c))
		return;
	c->flags |= VN_CONN_STALE;
	c->net->ops->release(c);
}

/* The broker asks for it. Whoever waits for input at a commit point learns it now; others with their next read. */
void
vn_conn_on_release(vn_conn *c)
{
	c->flags |= VN_CONN_RELEASE;
	if (!c->readers.first)
		return;
	vn_conn_give_back(c);
	if (c->flags & VN_CONN_STALE)
		vn_conn_wake(&c->readers);
}

static vn_conn_memory *
memory_new(uint32_t len)
{
	vn_conn_memory *m = calloc(1, sizeof *m + 2 * len);

	if (m)
		m->len = len;
	return m;
}

/**
 * vn_conn_inherit() - a predecessor left this
 *
 * Return: 0 or -ENOMEM.
 */
int
vn_conn_inherit(vn_conn *c, const void *state, uint32_t len)
{
	vn_conn_memory *m = memory_new(len);

	if (!m)
		return -ENOMEM;
	memcpy(m->bytes, state, len);
	memcpy(m->bytes + len, state, len);
	c->memory = m;
	c->flags |= VN_CONN_MEMORY | VN_CONN_INHERITED;
	return 0;
}

/* The program has changed its mind about the size since its predecessor wrote that. */
static int
memory_resize(vn_conn *c, uint32_t len)
{
	vn_conn_memory *old = c->memory, *m = memory_new(len);

	if (!m)
		return -ENOMEM;
	memcpy(m->bytes, old->bytes, old->len < len ? old->len : len);
	memcpy(m->bytes + len, m->bytes, len);
	c->memory = m;
	c->flags |= VN_CONN_NEWS;
	free(old);
	return 0;
}

static int
memory_get(vn_conn *c, uint32_t len)
{
	bool inherited = c->flags & VN_CONN_INHERITED;

	c->flags &= ~(uint32_t)VN_CONN_INHERITED;
	if (c->memory && c->memory->len == len)
		return 0;
	if (c->memory)
		return inherited ? memory_resize(c, len) : -EINVAL;
	c->memory = memory_new(len);
	if (!c->memory)
		return -ENOMEM;
	c->flags |= VN_CONN_MEMORY;
	return 0;
}

/**
 * vn_conn_state() - memory that a successor of this handler finds as it was at the last commit
 * @n: 1 to 1024 bytes, the same for all connections of an endpoint
 *
 * All zero when nobody left anything. It is the handler's until the connection is closed; what it has when input is
 * committed becomes, with that commit, what a successor finds. A new version of the program may ask for another n:
 * then it finds as much as fits, and zeros after that.
 *
 * Return: the memory, aligned for anything; NULL with errno EINVAL (n, or not the n of the first call), ENOMEM, EBADF.
 */
void *
vn_conn_state(vn_conn *c, size_t n)
{
	int rc = !c ? -EBADF : n == 0 || n > VN_STATE_MAX ? -EINVAL : memory_get(c, (uint32_t)n);

	if (rc == 0)
		return c->memory->bytes;
	errno = -rc;
	return NULL;
}

/**
 * vn_conn_attempt() - how often has the input that comes next been given to a handler?
 *
 * Return: 1 the first time; 2 and more when workers died that had it and did not commit; 0 for NULL.
 */
unsigned int
vn_conn_attempt(vn_conn *c)
{
	if (!c)
		return 0;
	if (c->flags & VN_CONN_ABSOLVED)
		c->net->ops->absolve(c);
	return 1u + c->attempts;
}

/* Whoever waits looks again. */
void
vn_conn_wake(vn_waitq *q)
{
	if (q->first)
		vn_wake(q->first, 0);
}

/**
 * vn_conn_on_input() - bytes have arrived in a block of the input area
 */
void
vn_conn_on_input(vn_conn *c, uint32_t block, uint32_t offset, uint32_t len)
{
	vn_chain_link *table = c->net->in_table;

	c->received += len;
	if (c->in.last == block && table[block].fill == offset)
		vn_chain_extend(&c->in, table, len);
	else
		vn_chain_push(&c->in, table, block, offset + len, c->received);
	if (c->in_at == VN_NO_BLOCK)
		c->in_at = c->in.first;
	vn_conn_wake(&c->readers);
}

void
vn_conn_on_end(vn_conn *c)
{
	c->flags |= VN_CONN_ENDED;
	vn_conn_wake(&c->readers);
}

/**
 * vn_conn_on_sent() - output up to `sent` has left: its blocks are ours again
 */
void
vn_conn_on_sent(vn_conn *c, uint64_t sent)
{
	c->sent = sent;
	vn_chain_free(&c->out, c->net->out_table, c->net->out_blocks, sent);
	vn_conn_wake(&c->writers);
	vn_net_on_room(c->net);
}

/* It is over for this handler: flag is RESET or STALE. */
void
vn_conn_on_over(vn_conn *c, uint32_t flag)
{
	c->flags |= flag;
	vn_conn_wake(&c->readers);
	vn_conn_wake(&c->writers);
}

/*
 * No more input fits. A held read goes on by acknowledging without a commit; others learn it. What was said may
 * have crossed an acknowledgement: so it must be said twice, which whoever waits asks for by looking again.
 */
void
vn_conn_on_full(vn_conn *c)
{
	if (vn_conn_may_ack(c)) {
		vn_conn_ack(c, c->taken, false);
		return;
	}
	if (c->acked == c->received)
		return;
	c->flags |= c->flags & VN_CONN_FULL_SAID ? VN_CONN_FULL : VN_CONN_FULL_SAID;
	vn_conn_wake(&c->readers);
}

/**
 * vn_conn_close() - done with it: what was written is sent first, what was not read is dropped
 *
 * A coroutine that waits for it gets -EPIPE. On a connection that lives on elsewhere (-ESTALE) it only gives the handle back.
 *
 * Return: 0. NULL is fine.
 */
int
vn_conn_close(vn_conn *c)
{
	vn_net *net;
	bool is_dialled;

	if (!c)
		return 0;
	net = c->net;
	is_dialled = c->flags & VN_CONN_DIALLED;
	c->flags &= ~(uint32_t)(VN_CONN_OPEN | VN_CONN_HELD);
	free(c->linear);
	c->linear = NULL;
	while (c->readers.first)
		vn_wake(c->readers.first, -EPIPE);
	while (c->writers.first)
		vn_wake(c->writers.first, -EPIPE);
	net->ops->close(c);
	if (!is_dialled)
		vn_net_on_handle_closed(net);
	return 0;
}

static void
peer_unix(const vn_desc_peer *p, vn_addr *a)
{
	uint32_t ids[3];

	memcpy(ids, p->addr, sizeof ids);
	a->sa.ss_family = AF_UNIX;
	a->len = sizeof(sa_family_t);
	a->pid = (pid_t)ids[0];
	a->uid = ids[1];
	a->gid = ids[2];
}

/**
 * vn_peer() - who is at the other end
 *
 * Return: the address (for Unix sockets the credentials), the connection's; NULL with errno EBADF or ENOMEM.
 */
const vn_addr *
vn_peer(vn_conn *c)
{
	vn_addr *a;

	if (!c) {
		errno = EBADF;
		return NULL;
	}
	if (c->addr)
		return c->addr;
	a = c->addr = calloc(1, sizeof *a);
	if (!a)
		return NULL;
	if (c->peer.family == AF_INET) {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = c->peer.port};

		memcpy(&in.sin_addr, c->peer.addr, sizeof in.sin_addr);
		memcpy(&a->sa, &in, sizeof in);
		a->len = sizeof in;
	} else if (c->peer.family == AF_INET6) {
		struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
			.sin6_port = c->peer.port,
			.sin6_scope_id = c->peer.scope};

		memcpy(&in6.sin6_addr, c->peer.addr, sizeof in6.sin6_addr);
		memcpy(&a->sa, &in6, sizeof in6);
		a->len = sizeof in6;
	} else {
		peer_unix(&c->peer, a);
	}
	return a;
}
