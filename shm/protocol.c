/* SPDX-License-Identifier: MIT */
/*
 * Protocol - the shape of each message, as a table
 *
 * Everything that can be said about a descriptor without knowing its connection is checked here, once, on a
 * private copy: so the code that acts on it only asks about positions and states.
 *
 * Most of it is "this is zero in a message of that kind": a mask as large as a descriptor, made of the table of
 * kinds when this is compiled, so an honest message costs a few instructions; which field it was is asked only
 * when there is one. What remains is where payload lies.
 */
#include "shm/protocol.h"

#include <string.h>

/* One word each, so that the table can be read. */
enum {
	PAYLOAD = VN_MAY_PAYLOAD,
	POS = VN_MAY_POS,
	CONN = VN_MAY_CONN,
	REPORT = VN_MAY_REPORT,
	LISTENER = VN_MAY_LISTENER,
	ATTEMPTS = VN_MAY_ATTEMPTS,
	PEER = VN_MAY_PEER,
	LACK = VN_MAY_LACK,
	INLINE = VN_MAY_INLINE,
	WORKER = VN_MAY_WORKER,
	TIMES = VN_MAY_TIMES,
};

#define UNLESS(fields, field, type) ((fields) & (field) ? (type)0 : (type) ~(type)0)

#define ZERO(may, may_flags)                                                                       \
	{                                                                                          \
		.flags = (uint8_t) ~(unsigned int)(may_flags),                                     \
		.arg = UNLESS(may, ATTEMPTS | INLINE, uint16_t) &                                  \
		       (uint16_t) ~((may)&LISTENER ? VN_MAX_LISTENER : 0),                         \
		.len = UNLESS(may, PAYLOAD | INLINE, uint32_t),                                    \
		.conn = UNLESS(may, CONN, uint32_t), .gen = UNLESS(may, CONN, uint32_t),           \
		.pos = UNLESS(may, POS | INLINE, uint64_t),                                        \
		.block = UNLESS(may, PAYLOAD | INLINE, uint32_t),                                  \
		.offset = UNLESS(may, PAYLOAD | INLINE, uint32_t),                                 \
		.report = UNLESS(may, REPORT | INLINE, uint64_t),                                  \
		.peer = {                                                                          \
			.family = UNLESS(may, PEER | TIMES | INLINE, uint16_t),                    \
			.port = UNLESS(may, PEER | TIMES | INLINE, uint16_t),                      \
			.scope = UNLESS(may, PEER | TIMES | INLINE, uint32_t),                     \
			.addr = {[0 ... 15] = UNLESS(may, PEER | INLINE, uint8_t)},                \
		},                                                                                 \
	}

#define KIND_MORE(kind, may, may_flags, more, more_flags)                                          \
	[VN_KIND_##kind] = {                                                                       \
		{ZERO(may, may_flags), ZERO((may) | (more), (may_flags) | (more_flags))}, #kind,   \
		may}
#define KIND(kind, may, may_flags) KIND_MORE(kind, may, may_flags, 0, 0)

const vn_kind_shape vn_kind_shapes[VN_N_KINDS] = {
	KIND(NONE, INLINE, 0),
	KIND(OPEN, POS | CONN | REPORT | LISTENER | ATTEMPTS | PEER, VN_RESUME),
	KIND_MORE(DATA, PAYLOAD | POS | CONN | REPORT | LISTENER | PEER, VN_OPEN | VN_RESUME,
		ATTEMPTS, 0),
	KIND(SENT, CONN | REPORT, VN_FINAL),
	KIND_MORE(END, POS | CONN | REPORT | LISTENER | PEER, VN_OPEN | VN_RESUME, ATTEMPTS, 0),
	KIND(RESET, CONN, 0),
	KIND(REVOKED, CONN | REPORT, VN_FINAL),
	KIND(RELEASE, CONN, 0),
	KIND(FULL, CONN, 0),
	KIND(FINAL, CONN, 0),
	KIND(LISTENING, PAYLOAD | LACK | REPORT | LISTENER, 0),
	KIND(DRAIN, 0, 0),
	KIND(STOP, 0, 0),
	KIND(PING, 0, 0),
	KIND(RESTORE, INLINE | CONN, 0),
	KIND(CONNECTED, CONN | REPORT | LISTENER | PEER, 0),
	KIND(SIGNAL, REPORT, 0),
	KIND_MORE(SEND, WORKER | PAYLOAD | POS | CONN, VN_ACK, REPORT | TIMES, VN_COMMIT),
	KIND(ACK, WORKER | CONN | REPORT | TIMES, VN_COMMIT),
	KIND(SHUTDOWN, WORKER | POS | CONN, 0),
	KIND(CLOSE, WORKER | POS | CONN | TIMES, VN_ABORT),
	KIND(RELEASED, WORKER | CONN | REPORT, 0),
	KIND(NEED, WORKER | CONN, 0),
	KIND(NEED_INPUT, WORKER | CONN | REPORT, 0),
	KIND(LISTEN, WORKER | PAYLOAD | LISTENER, VN_RESUME | VN_DATAGRAM | VN_PEER),
	KIND(UNLISTEN, WORKER | LISTENER, 0),
	KIND(READY, WORKER, 0),
	KIND(STATE, WORKER | INLINE | CONN, 0),
	KIND(CONNECT, WORKER | PAYLOAD | LISTENER, 0),
	KIND(GIVE_UP, WORKER | LISTENER, 0),
	KIND(SUBSCRIBE, WORKER | REPORT, 0),
	KIND(METRIC, WORKER | PAYLOAD | LISTENER, VN_GAUGE),
	KIND(DATAGRAMS, PAYLOAD | POS | REPORT | LISTENER, 0),
	KIND(DEPARTED, REPORT | LISTENER, 0),
	KIND(JOINED, REPORT | LISTENER, 0),
	KIND(REFUSED, REPORT | LISTENER, 0),
	KIND_MORE(SENDTO, WORKER | PAYLOAD | POS | LISTENER, VN_ACK, REPORT, 0),
	KIND(RECEIVED, WORKER | REPORT | LISTENER, 0),
	KIND(NEED_ROOM, WORKER | LISTENER, 0),
	KIND(JOIN, WORKER | LISTENER | PEER, VN_ABORT),
};

static bool
peer_set(const vn_desc_peer *p, const vn_desc_peer *zero)
{
	uint32_t any =
		(p->family & zero->family) | (p->port & zero->port) | (p->scope & zero->scope);

	for (size_t i = 0; i < sizeof p->addr; i++)
		any |= p->addr[i] & zero->addr[i];
	return any;
}

/* Which one it is. */
static const char *
name_set(const vn_desc *d, const vn_desc *zero)
{
	if (d->flags & zero->flags)
		return "flags";
	if ((d->conn & zero->conn) || (d->gen & zero->gen))
		return "conn";
	if (d->pos & zero->pos)
		return "pos";
	if (d->report & zero->report)
		return "report";
	if (d->arg & zero->arg)
		return "arg";
	if (peer_set(&d->peer, &zero->peer))
		return "peer";
	if (d->len & zero->len)
		return "len";
	return d->block & zero->block ? "block" : "offset";
}

/* All that is left to be checked of a descriptor that is its own payload. */
static const char *
inline_check(const vn_desc *d)
{
	if (d->len == 0 || d->len > VN_STATE_MAX)
		return "len";
	return d->arg >= vn_state_descs(d->len) ? "arg" : NULL;
}

static const char *
payload_check(const vn_desc *d, uint32_t may, uint32_t area_bytes)
{
	if (d->len == 0 && (may & LACK))
		return d->block ? "block" : d->offset ? "offset" : NULL;
	if (d->len == 0 || d->len > VN_BLOCK_MAX)
		return "len";
	if (d->offset > VN_BLOCK_MAX - d->len)
		return "offset";
	return vn_desc_fits(d, area_bytes) ? NULL : "block";
}

const char *
vn_desc_fault(const vn_desc *d, bool from_worker, uint32_t area_bytes)
{
	const vn_kind_shape *shape;
	const vn_desc *zero;

	if (d->kind == VN_KIND_NONE || d->kind >= VN_N_KINDS)
		return "kind";
	shape = &vn_kind_shapes[d->kind];
	if (!!(shape->may & WORKER) != from_worker)
		return "kind";
	zero = &shape->zero[!!(d->flags & VN_STRONG)];
	if (vn_desc_has(d, zero))
		return name_set(d, zero);
	if (shape->may & INLINE)
		return inline_check(d);
	return shape->may & PAYLOAD ? payload_check(d, shape->may, area_bytes) : NULL;
}

bool
vn_metric_name_is_good(const char *name, size_t len)
{
	if (len == 0 || len > VN_METRIC_NAME || (*name >= '0' && *name <= '9'))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!(name[i] >= 'a' && name[i] <= 'z') && !(name[i] >= '0' && name[i] <= '9') &&
			name[i] != '_')
			return false;
	if (len == 5) /* another "_" comes before it */
		return memcmp(name, "total", 5) != 0;
	return len < 6 || memcmp(name + len - 6, "_total", 6) != 0;
}

const char *
vn_kind_name(uint8_t kind)
{
	return kind < VN_N_KINDS ? vn_kind_shapes[kind].name : "?";
}
