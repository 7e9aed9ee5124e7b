/* SPDX-License-Identifier: MIT */
/*
 * Ledger - what is true of every connection, in fixed-size records of positions and indices
 *
 * One memfd that no worker sees: no pointers, so that a successor of this process could map it and go on. Lists
 * run through the records by index. Records are taken lowest index first, so that an idle connection costs its
 * record and nothing else.
 *
 *     input    received >= delivered >= acked >= committed
 *     output   queued >= sent >= reported      queued_c: what `queued` was at the last commit
 *
 * received: read from the socket; delivered: handed to the worker; acked: its blocks are ours again; committed:
 * a handler can start here. The end of file takes one input position. queued: the worker has published it;
 * sent: the kernel has it; reported: the worker knows.
 *
 * `in` chains blocks of the worker's input lane, `out` what the worker has published and the kernel has not
 * taken. Both chains run through tables of the ledger, indexed by reference (vn_ledger_ref). The lowest
 * references are nobody's: the spill area, where lies what has to outlive the lanes of a worker (keep.c): output
 * that its client has not drained, `kept` input that another worker gets first, and the state of handlers.
 *
 * The last cache line of a record is for what deaths, moves and state leave behind. A request that meets none of
 * these does not touch it: flags say whether there is anything (KEPT, TRIED, STATEFUL, STAGED).
 */
#ifndef VN_BROKER_LEDGER_H
#define VN_BROKER_LEDGER_H

#include <stdbool.h>
#include <stdint.h>
#include <vanilla.h>

#include "shm/chain.h"
#include "shm/protocol.h"
#include "shm/segment.h"

#define VN_NO_RECORD UINT32_MAX

enum { /* vn_record.flags */
	VN_R_USED = 1 << 0,
	VN_R_RESUMABLE = 1 << 1,
	VN_R_ATTACHED = 1 << 2, /* `worker` has it, until FINAL */
	VN_R_BUSY = 1 << 3,     /* counted in the worker's n_busy: un-acknowledged input */
	VN_R_READABLE = 1 << 4, /* the socket may have input */
	VN_R_WRITABLE = 1 << 5,
	VN_R_LAST = 1 << 6,        /* the peer has finished, or worse: no further edge will come */
	VN_R_ENDED = 1 << 7,       /* end of file was received */
	VN_R_SHUT = 1 << 8,        /* the worker ended the output */
	VN_R_CLOSED = 1 << 9,      /* the worker closed it, or nobody will go on with it */
	VN_R_FIN = 1 << 10,        /* our FIN is sent */
	VN_R_RESET = 1 << 11,      /* the client reset it; the socket is closed */
	VN_R_WAITING = 1 << 12,    /* in broker.waiting */
	VN_R_CLOSING = 1 << 13,    /* in broker.closing */
	VN_R_OUTPUT = 1 << 14,     /* in the list of those to send for this turn */
	VN_R_DEBTOR = 1 << 15,     /* in its worker's list of debtors */
	VN_R_UNREPORTED = 1 << 16, /* in its worker's list of unreported output */
	VN_R_NEED = 1 << 17,       /* a coroutine waits for window or blocks */
	VN_R_NEED_INPUT = 1 << 18, /* a read waits with input un-acknowledged */
	VN_R_ZOMBIE = 1 << 19,     /* to be freed when it has left the lists it is still in */
	VN_R_DOOMED = 1 << 20,     /* will be reset when its committed output has left */
	VN_R_OVERDUE = 1 << 21,    /* its output was unreported at the last sweep already */
	VN_R_STARVED = 1 << 22,    /* in its worker's starved: no block is free for its input */
	VN_R_KEPT = 1 << 23,       /* `kept` has input that comes before what the socket has */
	VN_R_RELEASE = 1 << 24,    /* its worker was, or will be, asked to give it back */
	VN_R_RELEASED = 1 << 25,   /* and has done so: somebody else's when FINAL is said */
	VN_R_TRIED = 1 << 26,      /* n_attempts, blame and untaken_since count */
	VN_R_STATEFUL = 1 << 27,   /* `state` is there */
	VN_R_FRESH = 1 << 29,      /* settling: its worker never took the OPEN */
	VN_R_STAGED = 1 << 28,     /* `staged` is there: state that is not committed yet */
	VN_R_DIALLED = 1 << 30,    /* its worker asked for it: it is never another's */
};

#define VN_R_HEADER (1u << 31) /* its PROXY header has not come: nobody knows of it */

enum { /* vn_record.debts: what its worker has to be told, in this order */
	VN_D_OPEN = 1 << 0,
	VN_D_DATA = 1 << 1,
	VN_D_END = 1 << 2,
	VN_D_RESET = 1 << 3,
	VN_D_SENT = 1 << 4,
	VN_D_FULL = 1 << 5,
	VN_D_RELEASE = 1 << 6,
	VN_D_FINAL = 1 << 7,
};

#define VN_MAX_TOLD 4u /* workers of which a suspect remembers that it killed them */

typedef struct vn_record {
	/* input */
	int32_t fd; /* -1 when closed */
	uint32_t flags;
	uint32_t gen;    /* of the attachment; never goes back, also over reuse of the record */
	uint16_t worker; /* slot of the current or last attachment; VN_NO_WORKER */
	uint16_t endpoint;
	uint64_t received, delivered, acked, committed;
	vn_chain in;
	uint16_t debts;
	uint8_t in_class;
	uint8_t listener; /* the worker's number for it */
	/* output */
	uint64_t queued, queued_c, sent, reported;
	vn_chain out; /* its charge: commits whose output has not left */
	uint32_t debt_next, output_next, unreported_next;
	uint32_t prev, next;           /* of its worker's attached, or of closing */
	uint32_t wait_prev, wait_next; /* of waiting, or of its worker's starved */
	/* cold */
	uint32_t since;       /* at rest, or with this input un-acknowledged: milliseconds */
	uint32_t wait_since;  /* of the hub's clock; and until, when it has left the line */
	uint64_t id;          /* never used again; 0 in a free record */
	uint32_t opened;      /* seconds of the hub's clock */
	uint32_t incarnation; /* of the current or last worker */
	vn_desc_peer peer;
	uint32_t arrived;  /* vn_ticks(): the request that it has now (stages.h) */
	uint32_t finished; /* and that whose output has not left, the oldest */
	/* what deaths, moves and state leave behind */
	vn_chain kept
		__attribute__((aligned(64))); /* input from `delivered` on, in the spill area */
	uint32_t state, staged;               /* blocks of the spill area, or VN_NO_BLOCK */
	uint16_t state_len, staged_len, staged_fill;
	uint16_t blame;         /* dead workers that it may have killed: a suspect */
	uint8_t n_attempts;     /* and all that had taken this input off their lanes */
	uint32_t untaken;       /* settling: beyond `acked`, what the dead worker had not taken */
	uint32_t untaken_since; /* the first time that one died with it so, or 0 */
	uint32_t killed[VN_MAX_TOLD];    /* the last incarnations it is blamed for ... */
	uint16_t killed_by[VN_MAX_TOLD]; /* ... and their numbers */
} __attribute__((aligned(64))) vn_record;

_Static_assert(
	sizeof(vn_record) == 256, "input, output, the rest and the leftovers: a cache line each");

typedef struct vn_ledger_list {
	uint32_t first, last;
} vn_ledger_list;

typedef struct vn_ledger {
	int fd;
	size_t size;
	unsigned char *base;
	vn_record *records;
	uint32_t max_records;
	uint32_t n_used;    /* records in use */
	uint32_t high;      /* records ever used: indices below it */
	uint64_t *free_map; /* private: one bit per record */
	uint32_t free_hint;
	uint64_t next_id;
	uint32_t n_granules;                 /* per lane */
	uint32_t n_spill;                    /* granules of the spill area, the lowest references */
	uint32_t n_slots;                    /* of workers, and one: they begin at 1 */
	vn_chain_link *in_table, *out_table; /* by reference */
	vn_segment spill;
	vn_blocks *spill_blocks;
	bool is_spilled; /* the spill area was used since it was last given back */
} vn_ledger;

vn_ledger *vn_ledger_new(uint32_t max_records, uint32_t n_slots, uint32_t area_bytes);
vn_ledger *vn_ledger_free(vn_ledger *l);
uint32_t vn_ledger_take(vn_ledger *l); /* a fresh record; VN_NO_RECORD when all are in use */
void vn_ledger_give(vn_ledger *l, uint32_t index);

static inline vn_record *
vn_record_at(const vn_ledger *l, uint32_t index)
{
	return &l->records[index];
}

/* Where the blocks of a worker's lanes stand in the tables. */
static inline uint32_t
vn_ledger_ref(const vn_ledger *l, uint16_t slot, uint32_t block)
{
	return l->n_spill + (slot - 1u) * l->n_granules + block;
}

static inline uint32_t
vn_record_index(const vn_ledger *l, const vn_record *r)
{
	return (uint32_t)(r - l->records);
}

#endif
