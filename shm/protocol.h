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
 *   REVOKED  it is nobody's any more                   NEED_INPUT  a read waits with input un-acknowledged
 *   FULL     no more input fits before an ACK          RELEASED given back at `report`
 *   RELEASE  give it back at the next commit point
 *   FINAL    every block is home, the generation dead
 *   LISTENING answer to LISTEN: report = errno, or      LISTEN   arg = listener, flags; payload = URL
 *            payload = the bound URL                    UNLISTEN arg = listener
 *   DRAIN    no new work; finish                        READY    the hub runs and has asked for its endpoints
 *   STOP     stop now
 *   PING     (taking it is the answer)
 *
 * The flag VN_OPEN on DATA or END begins an attachment with it; `room` then holds the peer and report the
 * output position at which the worker starts. VN_FINAL on REVOKED or SENT saves a descriptor.
 */
#ifndef VN_SHM_PROTOCOL_H
#define VN_SHM_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#define VN_PROTOCOL_VERSION 1u

#define VN_GRANULE      256u   /* the unit in which blocks are numbered */
#define VN_BLOCK_MAX    65536u /* the largest block */
#define VN_NO_BLOCK     UINT32_MAX
#define VN_MAX_LISTENER 255u /* listeners per worker */

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
	VN_N_KINDS
} vn_kind;

enum {
	VN_OPEN = 1,    /* DATA, END: an attachment begins */
	VN_FINAL = 2,   /* REVOKED, SENT: every block is home */
	VN_ACK = 4,     /* SEND: report is an acknowledgement */
	VN_COMMIT = 8,  /* SEND with VN_ACK, ACK: a handler can start at report */
	VN_ABORT = 16,  /* CLOSE: reset the connection */
	VN_RESUME = 32, /* LISTEN, OPEN: a resumable endpoint */
};

/* The peer of a connection, in network byte order, as OPEN carries it. */
typedef struct vn_desc_peer {
	uint16_t family; /* AF_INET, AF_INET6 or AF_UNIX */
	uint16_t port;
	uint32_t scope;   /* AF_INET6 */
	uint8_t addr[16]; /* 4 or 16 bytes; AF_UNIX: pid, uid, gid as u32 */
} vn_desc_peer;

typedef struct vn_desc {
	uint8_t kind;
	uint8_t flags;
	uint16_t arg;    /* a listener */
	uint32_t len;    /* bytes of payload */
	uint32_t conn;   /* connection: index ... */
	uint32_t gen;    /* ... and generation */
	uint64_t pos;    /* position of the payload in its stream */
	uint32_t block;  /* first granule of the block that holds the payload */
	uint32_t offset; /* of the payload in the block */
	uint64_t report; /* position in the other stream */
	vn_desc_peer peer;
} vn_desc;

/**
 * What is wrong with a descriptor as such, whatever the state of its connection: a kind that this side
 * does not send, a field or flag that its kind does not have, a block outside of the area.
 * @d:           a private copy
 * @from_worker: which side sent it
 * @area_bytes:  size of the sender's block area
 *
 * Return: NULL, or the name of the first bad field.
 */
const char *vn_desc_check(const vn_desc *d, bool from_worker, uint32_t area_bytes);

/* "SEND", for people; "?" for what is no kind. */
const char *vn_kind_name(uint8_t kind);

#endif
