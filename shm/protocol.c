/* SPDX-License-Identifier: MIT */
/*
 * Protocol - the shape of each message, as a table
 *
 * Everything that can be said about a descriptor without knowing its connection is checked here, once, on a
 * private copy: so the code that acts on it only asks about positions and states.
 */
#include "shm/protocol.h"

#include <stddef.h>

enum { PAYLOAD = 1, POS = 2, CONN = 4, REPORT = 8, ARG = 16, PEER = 32, WORKER = 64, MAYBE = 128 };

typedef struct kind_shape {
	const char *name;
	uint8_t fields; /* what it may carry; the rest is zero */
	uint8_t flags;  /* flags that it may have */
} kind_shape;

/* MAYBE: the payload may be missing. */
static const kind_shape shapes[VN_N_KINDS] = {
	[VN_KIND_NONE] = {"NONE", 0, 0},
	[VN_KIND_OPEN] = {"OPEN", POS | CONN | REPORT | ARG | PEER, VN_RESUME},
	[VN_KIND_DATA] = {"DATA", PAYLOAD | POS | CONN | REPORT | ARG | PEER, VN_OPEN | VN_RESUME},
	[VN_KIND_SENT] = {"SENT", CONN | REPORT, VN_FINAL},
	[VN_KIND_END] = {"END", POS | CONN | REPORT | ARG | PEER, VN_OPEN | VN_RESUME},
	[VN_KIND_RESET] = {"RESET", CONN, 0},
	[VN_KIND_REVOKED] = {"REVOKED", CONN | REPORT, VN_FINAL},
	[VN_KIND_RELEASE] = {"RELEASE", CONN, 0},
	[VN_KIND_FULL] = {"FULL", CONN, 0},
	[VN_KIND_FINAL] = {"FINAL", CONN, 0},
	[VN_KIND_LISTENING] = {"LISTENING", PAYLOAD | MAYBE | REPORT | ARG, 0},
	[VN_KIND_DRAIN] = {"DRAIN", 0, 0},
	[VN_KIND_STOP] = {"STOP", 0, 0},
	[VN_KIND_PING] = {"PING", 0, 0},
	[VN_KIND_SEND] = {"SEND", WORKER | PAYLOAD | POS | CONN | REPORT, VN_ACK | VN_COMMIT},
	[VN_KIND_ACK] = {"ACK", WORKER | CONN | REPORT, VN_COMMIT},
	[VN_KIND_SHUTDOWN] = {"SHUTDOWN", WORKER | POS | CONN, 0},
	[VN_KIND_CLOSE] = {"CLOSE", WORKER | POS | CONN, VN_ABORT},
	[VN_KIND_RELEASED] = {"RELEASED", WORKER | CONN | REPORT, 0},
	[VN_KIND_NEED] = {"NEED", WORKER | CONN, 0},
	[VN_KIND_NEED_INPUT] = {"NEED_INPUT", WORKER | CONN, 0},
	[VN_KIND_LISTEN] = {"LISTEN", WORKER | PAYLOAD | ARG, VN_RESUME},
	[VN_KIND_UNLISTEN] = {"UNLISTEN", WORKER | ARG, 0},
	[VN_KIND_READY] = {"READY", WORKER, 0},
};

static bool
peer_is_zero(const vn_desc_peer *p)
{
	uint32_t any = p->family | p->port | p->scope;

	for (size_t i = 0; i < sizeof p->addr; i++)
		any |= p->addr[i];
	return any == 0;
}

/* Without VN_ACK the report of a SEND says nothing. */
static bool
report_allowed(const vn_desc *d, uint8_t fields)
{
	return (fields & REPORT) && (d->kind != VN_KIND_SEND || (d->flags & VN_ACK));
}

static const char *
payload_check(const vn_desc *d, uint8_t fields, uint32_t area_bytes)
{
	uint64_t start = (uint64_t)d->block * VN_GRANULE + d->offset;

	if (!(fields & PAYLOAD) || (d->len == 0 && (fields & MAYBE)))
		return d->len ? "len" : d->block ? "block" : d->offset ? "offset" : NULL;
	if (d->len == 0 || d->len > VN_BLOCK_MAX)
		return "len";
	if (d->offset >= VN_BLOCK_MAX || d->len > VN_BLOCK_MAX - d->offset)
		return "offset";
	if (start > area_bytes || d->len > area_bytes - start)
		return "block";
	return NULL;
}

const char *
vn_desc_check(const vn_desc *d, bool from_worker, uint32_t area_bytes)
{
	const kind_shape *shape;

	if (d->kind == VN_KIND_NONE || d->kind >= VN_N_KINDS)
		return "kind";
	shape = &shapes[d->kind];
	if (!!(shape->fields & WORKER) != from_worker)
		return "kind";
	if (d->flags & ~shape->flags)
		return "flags";
	if (d->kind == VN_KIND_SEND && (d->flags & (VN_ACK | VN_COMMIT)) == VN_COMMIT)
		return "flags";
	if (!(shape->fields & CONN) && (d->conn || d->gen))
		return "conn";
	if (!(shape->fields & POS) && d->pos)
		return "pos";
	if (!report_allowed(d, shape->fields) && d->report)
		return "report";
	if ((shape->fields & ARG) ? d->arg > VN_MAX_LISTENER : d->arg)
		return "arg";
	if (!(shape->fields & PEER) && !peer_is_zero(&d->peer))
		return "peer";
	return payload_check(d, shape->fields, area_bytes);
}

const char *
vn_kind_name(uint8_t kind)
{
	return kind < VN_N_KINDS ? shapes[kind].name : "?";
}
