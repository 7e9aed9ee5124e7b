/* SPDX-License-Identifier: MIT */
/*
 * Brokered - a link to the broker as the backend of a hub's connections
 *
 * Of this backend only: its own files share this, nobody else includes it.
 */
#ifndef VN_NET_BROKERED_H
#define VN_NET_BROKERED_H

#include "client/net/net.h"
#include "shm/link.h"

/* Two SENDs, ACK, what says that somebody waits, and one for whoever closes. */
#define VN_STAGE_RESERVE 5

/* What a predecessor left to the handler whose connection is opened next. */
typedef struct vn_inheritance {
	uint32_t conn, gen, len, fill;
	unsigned char bytes[VN_STATE_MAX];
} vn_inheritance;

/* A CONNECT that was not answered. */
typedef struct vn_request {
	vn_attempt *attempt; /* NULL: given up */
	uint32_t block;
	bool is_out;
} vn_request;

typedef struct vn_brokered {
	vn_net *net;
	vn_link link;
	vn_hook hook;
	vn_watch bell;
	/* brokered_conn.c */
	vn_conn **conns; /* by the broker's index */
	uint32_t n_conns, n_known;
	vn_inheritance left;
	vn_udp *udp_dirty; /* brokered_udp.c: with something to say */
	/* brokered_listen.c */
	vn_listener *listeners[VN_MAX_LISTENER + 1];
	uint32_t n_listeners, n_unanswered;
	vn_waitq numbers; /* who waits for the number of an endpoint that was closed */
	/* brokered_dial.c */
	vn_request requests[VN_MAX_REQUEST + 1];
	uint32_t n_requests;
	/* brokered.c */
	bool is_ready, in_term;
	uint32_t armed; /* what ev says */
	uint32_t n_rung;
	/* brokered_stage.c */
	vn_desc *waiting; /* a private list for a full lane */
	uint32_t n_waiting, n_waiting_max;
	uint32_t reserve; /* slots that who writes needs: VN_STAGE_RESERVE and the longest state */
	vn_waitq space;
} vn_brokered;

static inline vn_brokered *
vn_brokered_of(const vn_net *net)
{
	return net->backend;
}

/* brokered.c */
void vn_brokered_lost(vn_brokered *b, const char *what) __attribute__((cold, noreturn));

/* brokered_stage.c */
uint32_t vn_stage(vn_brokered *b, const vn_desc *d);
int vn_stage_ready(vn_conn *c);
void vn_stage_flush(vn_brokered *b);
void vn_stage_flush_all(vn_brokered *b);

/* brokered_conn.c */
void vn_brokered_on_conn(vn_brokered *b, const vn_desc *d);
void vn_brokered_on_restore(vn_brokered *b, const vn_desc *d);
vn_conn *vn_brokered_open(vn_brokered *b, const vn_desc *d, vn_listener *l);
void vn_brokered_turn_away(vn_brokered *b, vn_conn *c);
void vn_brokered_table_trim(vn_brokered *b);
void vn_brokered_forget(vn_brokered *b, vn_conn *c);
void vn_brokered_forget_all(vn_brokered *b);
void vn_brokered_forget_listener(vn_brokered *b, const vn_listener *l);
void vn_brokered_close_all(vn_brokered *b);

/* brokered_say.c: of vn_net_ops */
void vn_brokered_send(vn_conn *c, uint32_t block, uint32_t offset, uint32_t len);
void vn_brokered_ack(vn_conn *c, bool commit);
void vn_brokered_absolve(vn_conn *c);
void vn_brokered_state(vn_conn *c);
void vn_brokered_release(vn_conn *c);
void vn_brokered_shut(vn_conn *c);
void vn_brokered_abort(vn_conn *c);
void vn_brokered_close(vn_conn *c);
void vn_brokered_need(vn_conn *c);
void vn_brokered_need_input(vn_conn *c);

/* brokered_listen.c: of vn_net_ops, and the answer to LISTEN */
int vn_brokered_listen(vn_net *net, vn_listener *l, const char *url);
int vn_brokered_ask(vn_net *net, vn_listener *l, const char *url, uint8_t flags);
void vn_brokered_listener_free(vn_brokered *b, vn_listener *l);
void vn_brokered_unlisten(vn_net *net, vn_listener *l);
void vn_brokered_on_listening(vn_brokered *b, const vn_desc *d);

/* brokered_dial.c: of vn_net_ops, and the answer to CONNECT */
bool vn_brokered_may_connect(vn_net *net);
void vn_brokered_connect(vn_attempt *a, const vn_endpoint *to);
void vn_brokered_give_up(vn_attempt *a);
void vn_brokered_on_connected(vn_brokered *b, const vn_desc *d);
/* brokered_udp.c: of vn_net_ops, and what the broker says */
int vn_brokered_bind(vn_udp *u, const char *url);
int vn_brokered_connect_udp(vn_udp *u, const vn_endpoint *to);
void vn_brokered_unbind(vn_udp *u);
void vn_brokered_udp_acked(vn_udp *u);
void vn_brokered_udp_sends(vn_udp *u);
void vn_brokered_udp_need(vn_udp *u);
int vn_brokered_join(vn_udp *u, const vn_desc_peer *group, bool leave);
void vn_brokered_udp_count(const vn_udp *u, vn_udp_counts *c);
void vn_brokered_udp_say(vn_brokered *b);
void vn_brokered_udp_finish_all(vn_brokered *b);
void vn_brokered_on_udp(vn_brokered *b, const vn_desc *d);

/* brokered_metric.c */
int vn_brokered_metric(vn_net *net, vn_metric *m, uint32_t i, const char *help);

#endif
