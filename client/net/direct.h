/* SPDX-License-Identifier: MIT */
/*
 * Direct - what the files of the backend with its own sockets share
 *
 * A door is what a listener has options for: its limits, and who came in by it. It stays while a connection does that
 * came in by it, also when the listener is closed. A listener without such options has none.
 */
#ifndef VN_NET_DIRECT_H
#define VN_NET_DIRECT_H

#include "client/message/signals.h"
#include "client/net/gate.h"
#include "client/net/net.h"
#include "client/net/patience.h"

typedef struct vn_door {
	vn_endpoint_options options;
	vn_gate *gate;         /* NULL: neither per_address nor rate */
	vn_listener *listener; /* NULL: closed */
	uint32_t n_conns;
	bool is_timed;
	uint64_t n_untold[VN_N_REFUSALS]; /* refused since it was said last */
	vn_time told_at;
} vn_door;

typedef struct vn_direct_slot {
	vn_conn *conn;
	uint32_t gen;
	uint32_t next_free;
} vn_direct_slot;

typedef struct vn_direct {
	vn_net *net;
	vn_segment area;
	int class;
	vn_hook hook;
	vn_direct_slot *slots;
	uint32_t n_slots, free_slot;
	vn_conn *dirty; /* something to do at the end of this turn */
	vn_conn *lingering, **lingering_last;
	vn_timer linger_timer;
	vn_signal_tap term; /* while somebody is in vn_stop_on_term() */
	/* direct_patience.c */
	vn_timer look_timer;
	uint32_t look_every;   /* milliseconds; 0: nobody has to be looked at */
	vn_patience *patience; /* by slot */
	uint32_t n_patience;
	int reserve; /* a descriptor, for when there is none */
} vn_direct;

static inline vn_direct *
vn_direct_of(const vn_net *net)
{
	return net->backend;
}

/* direct.c */
void vn_direct_mark(vn_conn *c);
int vn_direct_watch(vn_direct *d, vn_conn *c);
void vn_direct_input(vn_conn *c, bool last_edge);
void vn_direct_arrived(vn_conn *c, uint32_t block, uint32_t offset, uint32_t n);
void vn_direct_ended(vn_conn *c);
void vn_direct_finish(vn_conn *c);
void vn_direct_broken(vn_conn *c);
void vn_direct_abort(vn_conn *c);
void vn_direct_close(vn_conn *c);

/* direct_listen.c */
int vn_direct_listen(vn_net *net, vn_listener *l, const char *url);
void vn_direct_listener_shut(vn_net *net, vn_listener *l);
void vn_direct_header(vn_conn *c, bool is_last);
void vn_direct_refuse(vn_conn *c, vn_refusal refusal);
void vn_direct_leave(vn_conn *c);

/* direct_dial.c: of vn_net_ops */
bool vn_direct_may_connect(vn_net *net);
void vn_direct_connect(vn_attempt *a, const vn_endpoint *to);
void vn_direct_give_up(vn_attempt *a);

/* direct_packet.c */
void vn_direct_packet_input(vn_conn *c);
ssize_t vn_direct_packet_send(vn_conn *c, size_t *wanted);

/* direct_patience.c */
void vn_direct_look(vn_direct *d, const vn_endpoint_options *o);
void vn_direct_look_deinit(vn_direct *d);

#endif
