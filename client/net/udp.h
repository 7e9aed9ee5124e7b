/* SPDX-License-Identifier: MIT */
/*
 * Udp - an endpoint of datagrams over two backends
 *
 * As with connections, what a program sees is the same code whoever has the socket: input arrives as frames
 * (shm/datagram.h) in blocks and is chained, output is written as frames into blocks, and positions say how far
 * everything is. A backend brings frames, sends frames, and frees blocks when told.
 *
 *     input    in.end (received) >= taken >= acked      output   out.end (queued) >= said >= sent
 *
 * taken: given to the program. acked: it has asked for more, so it is done with that; an answer that was sent
 * meanwhile and this word leave together. said: published (brokered).
 *
 * An endpoint is a listener that dispenses datagrams: it is asked for, ends and is closed as one; the end that a
 * select waits at is the listener's.
 */
#ifndef VN_NET_UDP_H
#define VN_NET_UDP_H

#include "client/net/datagram.h"
#include "client/net/net.h"

struct vn_udp {
	vn_listener listener; /* first: its end is what vn_select() and vn_close() see */
	uint8_t family;
	uint16_t port;     /* in network byte order */
	vn_desc_peer peer; /* dialled: whose datagrams come, and who gets them */
	int refused;       /* dialled: what the next call that receives says; negative, 0 */
	bool is_closed, is_dirty;
	bool is_done; /* the backend is done with it, a coroutine is not */
	bool holds;   /* draining, and what came before is not done with: counted in net->n_open */
	uint16_t n_waits; /* coroutines inside of a call that waits */
	uint16_t n_run;   /* datagrams taken without a wait */
	/* input */
	vn_frame_area in_frames;
	vn_frames in;
	uint64_t taken, acked;
	uint32_t
		in_at; /* the block in which the next frame begins; VN_NO_BLOCK when none is there */
	bool has_frame; /* some of `frame` was not taken yet */
	uint32_t given; /* bytes of its payload that were */
	vn_frame frame;
	/* output */
	vn_frame_area out_frames;
	vn_frames out;
	uint64_t sent;
	vn_waitq writers;
	vn_udp *next_dirty;
	uint64_t n_received, n_sent;
	union {
		struct {                           /* brokered */
			uint64_t said, acked_said; /* published: of out.end, of acked */
			uint32_t said_at;          /* the block in which `said` ends; VN_NO_BLOCK */
			bool is_joining;
			int joined; /* the answer */
			vn_waitq joiners;
		};
		struct { /* direct */
			vn_datagram_socket socket;
			vn_datagram_out sending;
			vn_watch watch;
			uint32_t watched; /* events */
			bool is_parked;   /* the kernel will tell when it takes output again */
			vn_timer again;   /* it will not, and is asked again */
			vn_time linger_until;
			uint64_t n_lost; /* received, and denied, or no block was left */
		};
	};
};

vn_udp *vn_udp_new(vn_hub *h);
void vn_udp_free(vn_udp *u);
int vn_udp_back(vn_udp *u, int rc);
void vn_udp_on_input(vn_udp *u);
void vn_udp_on_refused(vn_udp *u, int rc);
void vn_udp_on_sent(vn_udp *u, uint64_t sent);

/* udp_direct.c: of vn_net_ops */
int vn_udp_direct_bind(vn_udp *u, const char *url);
int vn_udp_direct_connect(vn_udp *u, const vn_endpoint *to);
void vn_udp_direct_unbind(vn_udp *u);
void vn_udp_direct_acked(vn_udp *u);
void vn_udp_direct_sends(vn_udp *u);
void vn_udp_direct_count(const vn_udp *u, vn_udp_counts *c);
int vn_udp_direct_join(vn_udp *u, const vn_desc_peer *group, bool leave);
void vn_udp_direct_deinit(vn_net *net);

#endif
