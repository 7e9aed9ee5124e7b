/* SPDX-License-Identifier: MIT */
/*
 * Gate - networks, connections per client, and how fast they come
 *
 * A client is an IPv4 address, or an IPv6 /64, which is what one subscriber has. For each client of an endpoint with
 * per_address or rate there is an entry: how many connections it has, and a bucket of tokens, one for each that may
 * come now; the bucket fills with `rate` a second, up to `rate`. An entry is of no use when it has neither a
 * connection nor an empty place in its bucket; such entries are dropped when the table would grow, so its size is
 * that of what is open and of what came within the last second.
 *
 * The table is open addressing with linear search, at most half full. Where an address lies depends on a secret, so
 * that nobody can choose addresses that lie together.
 */
#include "client/net/gate.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define FIRST 64 /* entries; a power of two */

typedef struct entry {
	uint64_t high, low; /* of the client's address */
	uint32_t n;         /* its connections */
	bool used;
	vn_time full_at; /* when its bucket will be full */
} entry;

struct vn_gate {
	uint64_t secret[2];
	entry *entries;
	uint32_t size, n_used;
	vn_time per_token; /* 0: no rate */
};

vn_gate *
vn_gate_new(const vn_endpoint_options *o)
{
	vn_gate *g = calloc(1, sizeof *g);

	if (g)
		g->entries = calloc(FIRST, sizeof *g->entries);
	if (!g || !g->entries || getrandom(g->secret, sizeof g->secret, 0) != sizeof g->secret) {
		vn_gate_free(g);
		errno = ENOMEM;
		return NULL;
	}
	g->size = FIRST;
	g->per_token = o->rate ? VN_SEC / o->rate : 0;
	return g;
}

vn_gate *
vn_gate_free(vn_gate *g)
{
	if (g)
		free(g->entries);
	free(g);
	return NULL;
}

static void
client_of(const vn_desc_peer *peer, entry *e)
{
	uint8_t addr[16];

	vn_subnet_address(peer, addr);
	*e = (entry){.used = true};
	memcpy(&e->high, addr, sizeof e->high);
	if (peer->family == AF_INET || e->high == 0) /* of an IPv6 address its /64 */
		memcpy(&e->low, addr + 8, sizeof e->low);
}

static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
	return x ^ x >> 32;
}

static uint32_t
place_of(const vn_gate *g, const entry *e)
{
	return (uint32_t)(mix(mix(e->high ^ g->secret[0]) + (e->low ^ g->secret[1])) &
			  (g->size - 1));
}

/* The entry of a client, or the free one where it would stand. */
static entry *
entry_find(const vn_gate *g, const entry *e)
{
	uint32_t i = place_of(g, e);

	while (g->entries[i].used && (g->entries[i].high != e->high || g->entries[i].low != e->low))
		i = (i + 1) & (g->size - 1);
	return &g->entries[i];
}

static bool
is_needed(const entry *e, vn_time now)
{
	return e->used && (e->n || e->full_at > now);
}

/* Drops what is of no use, and grows if that is not enough. */
static int
gate_renew(vn_gate *g, vn_time now)
{
	entry *old = g->entries;
	uint32_t size = g->size, n = 0;

	for (uint32_t i = 0; i < size; i++)
		n += is_needed(&old[i], now);
	if (n >= size / 4)
		g->size *= 2;
	g->entries = calloc(g->size, sizeof *g->entries);
	if (!g->entries) {
		g->entries = old;
		g->size = size;
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < size; i++)
		if (is_needed(&old[i], now))
			*entry_find(g, &old[i]) = old[i];
	g->n_used = n;
	free(old);
	return 0;
}

/* Takes a token, if there is one. */
static bool
token_take(const vn_gate *g, entry *e, vn_time now)
{
	if (!g->per_token)
		return true;
	if (e->full_at < now)
		e->full_at = now;
	if (e->full_at + g->per_token > now + VN_SEC)
		return false;
	e->full_at += g->per_token;
	return true;
}

/**
 * vn_gate_check() - is this client's network let in?
 * @peer: the other end of the socket, whoever it speaks for
 *
 * Return: VN_ADMITTED or VN_REFUSED_DENIED.
 */
vn_refusal
vn_gate_check(const vn_endpoint_options *o, const vn_desc_peer *peer)
{
	bool denied = (o->deny.n && vn_subnets_have(&o->deny, peer)) ||
		      (o->allow.n && !vn_subnets_have(&o->allow, peer));

	return denied ? VN_REFUSED_DENIED : VN_ADMITTED;
}

/**
 * vn_gate_enter() - one more connection of a client, if it may have one
 * @g: NULL if the endpoint has neither per_address nor rate
 *
 * Return: VN_ADMITTED: vn_gate_leave() is due when it ends; or why not.
 */
vn_refusal
vn_gate_enter(vn_gate *g, const vn_endpoint_options *o, const vn_desc_peer *peer, vn_time now)
{
	entry client, *e;

	if (!g || peer->family == AF_UNIX)
		return VN_ADMITTED;
	client_of(peer, &client);
	e = entry_find(g, &client);
	if (!e->used && 2 * g->n_used >= g->size) {
		if (gate_renew(g, now) < 0)
			return VN_REFUSED_NO_DESCRIPTOR;
		e = entry_find(g, &client);
	}
	if (!e->used) {
		*e = client;
		g->n_used++;
	}
	if (o->per_address && e->n >= o->per_address)
		return VN_REFUSED_PER_ADDRESS;
	if (!token_take(g, e, now))
		return VN_REFUSED_RATE;
	e->n++;
	return VN_ADMITTED;
}

/**
 * vn_gate_leave() - a connection that was let in has ended
 */
void
vn_gate_leave(vn_gate *g, const vn_desc_peer *peer)
{
	entry client, *e;

	if (!g || peer->family == AF_UNIX)
		return;
	client_of(peer, &client);
	e = entry_find(g, &client);
	assert(e->used && e->n);
	e->n--;
}

/**
 * vn_refusal_of() - what stands behind the errno of an accept
 */
vn_refusal
vn_refusal_of(int rc)
{
	if (rc == -EBUSY)
		return VN_REFUSED_MAX;
	return rc == -ENOSPC ? VN_REFUSED_NO_RECORD : VN_REFUSED_NO_DESCRIPTOR;
}

/**
 * vn_refusal_name() - what a refusal is called in counters and logs
 */
const char *
vn_refusal_name(vn_refusal refusal)
{
	static const char *const names[VN_N_REFUSALS] = {
		[VN_REFUSED_DENIED] = "denied",
		[VN_REFUSED_PER_ADDRESS] = "per_address",
		[VN_REFUSED_RATE] = "rate",
		[VN_REFUSED_HEADER] = "header",
		[VN_REFUSED_HEADER_LATE] = "header_late",
		[VN_REFUSED_MAX] = "max",
		[VN_REFUSED_NO_DESCRIPTOR] = "no_descriptor",
		[VN_REFUSED_NO_RECORD] = "max_conns",
	};

	return names[refusal];
}
