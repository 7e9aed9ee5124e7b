/* SPDX-License-Identifier: MIT */
/*
 * Protocol - the messages of a link between broker and worker
 *
 * A message is one descriptor: 64 bytes, one cache line, copied out of the lane before anything looks at it.
 * Stream payload never lies in it (a slot is used again before its bytes are acknowledged); it lies in a
 * block that the descriptor names.
 *
 * Positions make descriptors idempotent and let reports be merged: `pos` is where the payload stands in its
 * stream, `report` is a position in the other stream.
 *
 *   broker -> worker                                  worker -> broker
 *   DATA     input at pos; report = sent               SEND     output at pos; with VN_ACK report = acked
 *   SENT     report = sent                             ACK      report = acked; VN_COMMIT: committed as well
 *   END      the input's end of file, at pos           SHUTDOWN output ends, at pos
 *   RESET    the client reset it                       CLOSE    done with it; VN_ABORT: reset it
 *   OPEN     a connection of `arg`, a listener         NEED     a coroutine waits for window or blocks
 *   REVOKED  it is nobody's any more                   NEED_INPUT  a read waits with input un-acknowledged;
 *   FULL     no more input fits before an ACK                   report = what it has received
 *   RELEASE  give it back at the next commit point     RELEASED given back at `report`
 *   FINAL    every block is home, the generation dead
 *   LISTENING answer to LISTEN: report = errno, or      LISTEN   arg = listener, flags; payload = URL
 *            payload = the bound URL                    UNLISTEN arg = listener
 *   CONNECTED answer to CONNECT: report = errno, or     CONNECT  arg = request; payload = URL of an address
 *            a connection of `arg`, a request           GIVE_UP  arg = request: not wanted any more
 *                                                       METRIC   arg = a hint; payload = its name, NUL, help
 *   DRAIN    no new work; finish                        READY    the hub runs and has asked for its endpoints
 *   STOP     stop now
 *   PING     (taking it is the answer)                 STATE    what a successor of the handler finds
 *   RESTORE  what a predecessor of the handler left   SUBSCRIBE to signals of the service: report = all of them
 *   SIGNAL   report = those that came
 *   DATAGRAMS  frames at pos; report = departed         SENDTO   frames at pos; with VN_ACK report = received
 *   DEPARTED   report = departed                        RECEIVED report = received
 *   JOINED   answer to JOIN: report = errno             NEED_ROOM  a coroutine waits for window or blocks
 *   REFUSED  by the network, of what was sent to the    JOIN     receive what is sent to the group `peer`; VN_ABORT:
 *            peer of the socket: report = errno                  no longer
 *
 * Each CONNECT is answered by one CONNECTED, also when it was given up: from then on its number can be used again.
 *
 * The flag VN_OPEN on DATA or END begins an attachment with it; `peer` is then filled in, report is the output
 * position at which the worker starts, and the upper half of arg says how many workers died with this input.
 * VN_FINAL on REVOKED or SENT saves a descriptor.
 *
 * What commits (SEND and ACK with VN_COMMIT, CLOSE) also says when the handler took what it commits and when it was
 * done, in ticks of CLOCK_MONOTONIC. These are hints: believed as far as they lie between the arrival and now.
 *
 * Of datagrams (datagram.h) an endpoint and a worker have one stream each way, which `arg`, the listener, names; it
 * begins at 0 with the answer to LISTEN and ends with UNLISTEN. Frames are never cut by the end of a descriptor. report
 * is how far the other stream is done with: departed, the kernel has got it or it is counted as lost; received, the
 * program is done with it, and may have answered within the same SENDTO.
 *
 * STATE and RESTORE carry their payload in themselves, VN_INLINE_BYTES in each; arg counts them and len is that of
 * all. They are copied when they are taken. STATE counts when a COMMIT of the same connection follows; RESTORE
 * comes just before the descriptor that opens the attachment.
 */
#ifndef VN_SHM_PROTOCOL_H
#define VN_SHM_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VN_PROTOCOL_VERSION 7u

#define VN_GRANULE      256u   /* the unit in which blocks are numbered */
#define VN_BLOCK_MAX    65536u /* the largest block */
#define VN_NO_BLOCK     UINT32_MAX
#define VN_MAX_LISTENER 255u /* listeners per worker */
#define VN_MAX_REQUEST                                                                             \
	255u /* CONNECTs of a worker that are not answered; arg has as many bits for it */
#define VN_METRICS      64u /* counters and gauges of a worker */
#define VN_METRIC_NAME  40u /* bytes */
#define VN_METRIC_HELP  111u
#define VN_STATE_MAX    1024u /* bytes of state that a handler can leave to its successor */
#define VN_INLINE_BYTES 48u   /* of it in one descriptor */

typedef enum vn_kind {
	VN_KIND_NONE,
	/* broker to worker */
	VN_KIND_OPEN,
	VN_KIND_DATA,
	VN_KIND_SENT,
	VN_KIND_END,
	VN_KIND_RESET,
	VN_KIND_REVOKED,
	VN_KIND_RELEASE,
	VN_KIND_FULL,
	VN_KIND_FINAL,
	VN_KIND_LISTENING,
	VN_KIND_DRAIN,
	VN_KIND_STOP,
	VN_KIND_PING,
	VN_KIND_RESTORE,
	VN_KIND_CONNECTED,
	VN_KIND_SIGNAL,
	VN_KIND_DATAGRAMS,
	VN_KIND_DEPARTED,
	VN_KIND_JOINED,
	VN_KIND_REFUSED,
	/* worker to broker */
	VN_KIND_SEND,
	VN_KIND_ACK,
	VN_KIND_SHUTDOWN,
	VN_KIND_CLOSE,
	VN_KIND_RELEASED,
	VN_KIND_NEED,
	VN_KIND_NEED_INPUT,
	VN_KIND_LISTEN,
	VN_KIND_UNLISTEN,
	VN_KIND_READY,
	VN_KIND_STATE,
	VN_KIND_CONNECT,
	VN_KIND_GIVE_UP,
	VN_KIND_SUBSCRIBE,
	VN_KIND_METRIC,
	VN_KIND_SENDTO,
	VN_KIND_RECEIVED,
	VN_KIND_NEED_ROOM,
	VN_KIND_JOIN,
	VN_N_KINDS
} vn_kind;

enum {
	VN_OPEN = 1,   /* DATA, END: an attachment begins */
	VN_FINAL = 2,  /* REVOKED, SENT: every block is home */
	VN_ACK = 4,    /* SEND: report is an acknowledgement */
	VN_COMMIT = 8, /* SEND with VN_ACK, ACK: a handler can start at report */
	VN_ABORT = 16, /* CLOSE: reset the connection; JOIN: leave the group */
	VN_PEER =
		16, /* LISTEN with VN_DATAGRAM: a socket of this worker's own, connected to the URL */
	VN_RESUME = 32,   /* LISTEN, OPEN: a resumable endpoint */
	VN_DATAGRAM = 64, /* LISTEN: for datagrams */
	VN_GAUGE = 128,   /* METRIC: a value that comes and goes, a double */
};

/* The peer of a connection, in network byte order, as OPEN carries it. */
typedef struct vn_desc_peer {
	uint16_t family; /* AF_INET, AF_INET6 or AF_UNIX */
	uint16_t port;
	uint32_t scope;   /* AF_INET6 */
	uint8_t addr[16]; /* 4 or 16 bytes; AF_UNIX: pid, uid, gid as u32 */
} vn_desc_peer;

/* When a handler took what a descriptor commits, and when it was done with it; 0: not known. */
typedef struct vn_desc_times {
	uint32_t taken, done; /* vn_ticks() */
} vn_desc_times;

typedef struct vn_desc {
	uint8_t kind;
	uint8_t flags;
	uint16_t arg;  /* a listener; with VN_OPEN also attempts << 8 */
	uint32_t len;  /* bytes of payload */
	uint32_t conn; /* connection: index ... */
	uint32_t gen;  /* ... and generation */
	union {
		struct {
			uint64_t pos;    /* position of the payload in its stream */
			uint32_t block;  /* first granule of the block that holds the payload */
			uint32_t offset; /* of the payload in the block */
			uint64_t report; /* position in the other stream */
			union {
				vn_desc_peer peer;
				vn_desc_times times; /* SEND, ACK, CLOSE */
			};
		};
		unsigned char bytes[VN_INLINE_BYTES]; /* STATE, RESTORE */
	};
} vn_desc;

/* Without it nothing is timed for each request: what that costs is measured so (tests/bench). */
#ifndef VN_STAGES
#define VN_STAGES 1
#endif

#define VN_TICK_NS 1024u /* a division would cost more than the shift */

/* An instant, in nanoseconds, as a count that wraps after 73 minutes. */
static inline uint32_t
vn_ticks(int64_t ns)
{
	return (uint32_t)((uint64_t)ns / VN_TICK_NS);
}

static inline uint16_t
vn_desc_listener(const vn_desc *d)
{
	return d->arg & VN_MAX_LISTENER;
}

static inline unsigned int
vn_desc_attempts(const vn_desc *d)
{
	return d->arg >> 8;
}

/* Descriptors that a state of that length takes. */
static inline uint32_t
vn_state_descs(uint32_t len)
{
	return (len + VN_INLINE_BYTES - 1) / VN_INLINE_BYTES;
}

/* Bytes of state that a checked descriptor carries. */
static inline uint32_t
vn_state_part(const vn_desc *d)
{
	uint32_t left = d->len - d->arg * VN_INLINE_BYTES;

	return left < VN_INLINE_BYTES ? left : VN_INLINE_BYTES;
}

/* What a message may carry; everything else is zero. */
enum {
	VN_MAY_PAYLOAD = 1,
	VN_MAY_POS = 2,
	VN_MAY_CONN = 4,
	VN_MAY_REPORT = 8,
	VN_MAY_LISTENER = 16, /* arg is one, or a request */
	VN_MAY_ATTEMPTS = 32, /* and says who died with this input */
	VN_MAY_PEER = 64,
	VN_MAY_LACK = 128,   /* the payload may be missing */
	VN_MAY_INLINE = 256, /* the descriptor is the payload */
	VN_MAY_WORKER = 512, /* it comes from a worker */
	VN_MAY_TIMES = 1024,
};

/* Flags with which a message may carry more: DATA and END have the one, SEND the other. */
#define VN_STRONG (VN_OPEN | VN_ACK)

/* A kind, as protocol.c has it in its table. */
typedef struct vn_kind_shape {
	vn_desc zero[2]; /* bits that are not set: without one of VN_STRONG, and with it */
	const char *name;
	uint32_t may;
} __attribute__((aligned(64))) vn_kind_shape;

extern const vn_kind_shape vn_kind_shapes[VN_N_KINDS] __attribute__((visibility("hidden")));

/* Two words at once, which is what the processors have registers for. */
typedef uint64_t vn_desc_words __attribute__((vector_size(16), aligned(8), may_alias));

/* Has it any of those bits? */
static inline bool
vn_desc_has(const vn_desc *d, const vn_desc *bits)
{
	const vn_desc_words *w = (const void *)d, *b = (const void *)bits;
	vn_desc_words any = (w[0] & b[0]) | (w[1] & b[1]) | (w[2] & b[2]) | (w[3] & b[3]);

	return any[0] | any[1];
}

/* Does its payload lie in one block and in the area? None of these sums can overflow. */
static inline bool
vn_desc_fits(const vn_desc *d, uint32_t area_bytes)
{
	uint64_t end = (uint64_t)d->offset + d->len, start = (uint64_t)d->block * VN_GRANULE;

	return d->len && end <= VN_BLOCK_MAX && start + end <= area_bytes;
}

/* vn_desc_check() of whatever is not seen to be right at once. */
const char *vn_desc_fault(const vn_desc *d, bool from_worker, uint32_t area_bytes);

/**
 * What is wrong with a descriptor as such, whatever the state of its connection: a kind that this side
 * does not send, a field or flag that its kind does not have, a block outside of the area.
 * @d:           a private copy
 * @from_worker: which side sent it
 * @area_bytes:  size of the sender's block area
 *
 * Return: NULL, or the name of the first bad field.
 */
static inline const char *
vn_desc_check(const vn_desc *d, bool from_worker, uint32_t area_bytes)
{
	const vn_kind_shape *shape = &vn_kind_shapes[d->kind < VN_N_KINDS ? d->kind : VN_KIND_NONE];
	uint32_t may = shape->may;

	if (!!(may & VN_MAY_WORKER) == from_worker && !(may & VN_MAY_INLINE) &&
		!vn_desc_has(d, &shape->zero[!!(d->flags & VN_STRONG)]) &&
		(!(may & VN_MAY_PAYLOAD) || vn_desc_fits(d, area_bytes)))
		return NULL;
	return vn_desc_fault(d, from_worker, area_bytes);
}

/* May a metric be called that? [a-z_][a-z0-9_]*, and "total" is not for its author to say. */
bool vn_metric_name_is_good(const char *name, size_t len);

/* "SEND", for people; "?" for what is no kind. */
const char *vn_kind_name(uint8_t kind);

#endif
