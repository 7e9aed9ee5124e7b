/* SPDX-License-Identifier: MIT */
/*
 * Datagram - endpoints of datagrams, and what workers have of them
 *
 * The socket is the endpoint's; each worker that bound it has a binding, which is a stream of frames each way
 * (shm/datagram.h) through the worker's lane. Like a connection's record a binding is positions and chains, but no
 * connection goes on by it: when its worker dies it goes, after what it has left was sent, counted or given to others.
 *
 *     input    in.end >= delivered >= acked         output   queued >= sending.at (sent) >= reported
 *
 *     datagram.c         bindings, dispatch: from the socket to the workers
 *     datagram_output.c  from the workers to the socket
 *     datagram_settle.c  when a worker is done with one, or dead
 *     datagram_group.c   joining groups
 *
 * Every datagram that the kernel has given is given to a worker or counted as lost, under a reason; given, it is
 * acknowledged (done), in hand, given again, or lost with its worker:
 *
 *     received = done + in hand + lost[full, denied, no_worker, worker_died] + waiting
 *
 * and each that a worker has published is sent, or unsent under a reason: refused by the kernel, or worker_died.
 */
#ifndef VN_BROKER_DATAGRAM_H
#define VN_BROKER_DATAGRAM_H

#include "broker/broker.h"
#include "broker/report.h"
#include "client/net/datagram.h"

#define VN_DATAGRAM_BUCKETS 256 /* sources are dealt into; each goes to one worker */
#define VN_DATAGRAM_GROUPS  32  /* of an endpoint */

typedef struct vn_binding vn_binding;

struct vn_binding {
	vn_worker *worker;
	vn_broker_endpoint *endpoint;
	vn_binding *next; /* of the endpoint's */
	uint16_t number;  /* the worker's, of the listener */
	/* input */
	vn_frame_area in_area;
	vn_frames in;
	uint64_t delivered, acked;
	uint32_t delivered_at; /* the block in which `delivered` ends; VN_NO_BLOCK */
	uint32_t n_blocks;     /* that were begun since */
	uint64_t untaken;      /* settling: the first input that the dead worker had not taken */
	bool may_take;         /* in this batch */
	bool is_over;          /* its worker is dead, or has closed it */
	bool is_hot;           /* has frames that are not delivered */
	bool has_frame;        /* `frame` is the one in which `acked` lies */
	vn_frame frame;
	/* output */
	vn_frame_area out_area;
	vn_chain out;
	uint64_t queued, reported;
	vn_datagram_out sending;
	vn_binding *next_output;
	bool is_output;  /* in the broker's list of those to send for */
	bool needs_room; /* a coroutine waits */
	bool is_overdue; /* was unreported at the last sweep already */
	bool owes_departed, owes_joined, owes_refused;
	int joined;
	int refused;     /* what the network says of the peer */
	uint32_t groups; /* bits: those that it wants */
};

typedef struct vn_datagram_group {
	vn_desc_peer addr; /* family 0: nobody's */
	uint32_t n_wanted; /* 0: by whom somebody died who may come back */
} vn_datagram_group;

/* What nobody could be given yet. */
typedef struct vn_waiting_datagrams vn_waiting_datagrams;
struct vn_waiting_datagrams {
	vn_waiting_datagrams *next;
	vn_datagram_head head;
	unsigned char data[];
};

typedef struct vn_datagrams {
	vn_broker_endpoint *endpoint;
	vn_datagram_socket socket;
	vn_binding *bindings;
	vn_binding *targets[VN_DATAGRAM_BUCKETS]; /* NULL: nobody serves */
	bool is_stale;                            /* the targets are */
	bool is_stalled;                          /* nobody can take more: the kernel keeps it */
	bool is_parked;                           /* the kernel takes no more output now */
	uint32_t watched;                         /* events */
	vn_timer again;                           /* to ask the kernel again */
	vn_waiting_datagrams *waiting, **waiting_last;
	size_t waiting_bytes;
	vn_datagram_group groups[VN_DATAGRAM_GROUPS];
	/* what was counted of what the kernel and the socket count */
	uint32_t dropped_seen;
	uint64_t sent_seen, refused_seen;
} vn_datagrams;

/* datagram.c */
int vn_datagrams_open(vn_broker_endpoint *e, char why[static 256]);
void vn_datagrams_shut(vn_broker_endpoint *e);
void vn_datagrams_drain(vn_broker_endpoint *e);
int vn_binding_new(vn_worker *w, uint16_t number, vn_broker_endpoint *e);
void vn_binding_free(vn_binding *i);
unsigned int vn_datagrams_begin(vn_broker_endpoint *e);
void vn_datagrams_give(
	vn_broker_endpoint *e, const vn_datagram_head *h, const void *data, size_t rest);
void vn_datagrams_deliver(vn_broker_endpoint *e);
void vn_datagrams_lost(vn_broker_endpoint *e, vn_lost_reason reason, uint64_t n);
void vn_datagrams_workers_changed(vn_broker *b);
void vn_datagrams_resume(vn_worker *w);
void vn_datagrams_watch(vn_broker_endpoint *e);
void vn_datagrams_sample(vn_broker_endpoint *e);
const char *vn_binding_received(vn_binding *i, uint64_t to);

/* datagram_output.c */
const char *vn_datagrams_take(vn_worker *w, const vn_desc *d, bool alive);
bool vn_datagrams_is_kind(uint8_t kind);
void vn_datagrams_want_output(vn_binding *i);
void vn_datagrams_output(vn_binding *i);
void vn_datagrams_outputs(vn_broker *b);
void vn_datagrams_pay(vn_worker *w);
void vn_datagrams_sweep(vn_broker *b);
void vn_datagrams_tell_error(vn_broker_endpoint *e);
uint64_t vn_binding_unsent(vn_binding *i);

/* datagram_settle.c */
void vn_datagrams_taken(vn_worker *w);
void vn_datagrams_untaken(vn_worker *w, const vn_desc *d);
void vn_datagrams_settle(vn_worker *w);
void vn_binding_end(vn_binding *i);

uint64_t vn_binding_in_hand(const vn_binding *i);

/* datagram_group.c */
int vn_datagrams_join(vn_binding *i, const vn_desc_peer *group, bool leave);
void vn_datagrams_groups_end(vn_binding *i, bool is_dead);

/* datagram_report.c */
extern const vn_columns vn_datagrams_columns;
vn_query_step vn_datagrams_next(vn_query *q, vn_row *row);

#endif
