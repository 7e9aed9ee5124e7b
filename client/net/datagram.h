/* SPDX-License-Identifier: MIT */
/*
 * Datagram - a socket of datagrams, received and sent in batches
 *
 * Whoever has the socket comes here: a program that runs alone, and the broker. What arrives is handed on as heads
 * and payloads, what leaves is taken from frames (shm/datagram.h), and a run of datagrams is one message for the
 * kernel both ways where it has UDP_GRO and UDP_SEGMENT.
 *
 * Frames that are sent may have been written by somebody who is not trusted: everything about them is checked here,
 * on a private copy of each head.
 */
#ifndef VN_NET_DATAGRAM_H
#define VN_NET_DATAGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "client/hub/sys.h"
#include "client/net/url.h"
#include "shm/datagram.h"

#define VN_DATAGRAM_BATCH 64 /* messages in one system call */

/* Payload of the largest datagram. */
#define VN_DATAGRAM_MAX4 65507u
#define VN_DATAGRAM_MAX6 65527u

typedef struct vn_datagram_socket {
	int fd;
	uint16_t port; /* in network byte order */
	uint8_t family;
	bool is_any;       /* bound to no address: what it was asked is what it must answer from */
	bool is_connected; /* to one peer, which a head need not name */
	bool has_runs;     /* the kernel takes runs */
	uint32_t mean;     /* bytes in a message, of late */
	uint64_t n_received; /* datagrams */
	uint64_t bytes_received, bytes_sent;
	uint64_t n_sent;    /* the kernel has taken them */
	uint64_t n_refused; /* and those that it did not want */
	uint64_t n_parked;  /* times that it had no room, and was asked again */
	int refused_with;   /* the last reason: a negative errno, 0 */
	int error; /* connected: what the network says of the peer, until somebody takes it; negative, 0 */
} vn_datagram_socket;

/* Room for one batch; of a hub, which uses it for one call at a time. */
typedef struct vn_datagram_batch vn_datagram_batch;

/* What arrived in one message: h->len bytes; rest: bytes of the messages after it in this batch. */
typedef void vn_datagram_fn(void *arg, const vn_datagram_head *h, const void *data, size_t rest);

/* How far frames have been sent. */
typedef struct vn_datagram_out {
	uint64_t at;    /* the frame that comes next */
	uint32_t skip;  /* bytes of its payload that have left already */
	bool is_single; /* the kernel did not want it as a run */
} vn_datagram_out;

vn_datagram_batch *vn_datagram_batch_new(void);
vn_datagram_batch *vn_datagram_batch_free(vn_datagram_batch *b);
void vn_datagram_batch_trim(vn_datagram_batch *b);

int vn_datagram_open(vn_datagram_socket *s, const vn_endpoint *e, char why[static 256]);
int vn_datagram_connect(vn_datagram_socket *s, const vn_endpoint *e, char why[static 256]);
void vn_datagram_look(vn_datagram_socket *s);
int vn_datagram_receive(vn_datagram_socket *s, const vn_sys *sys, vn_datagram_batch *b,
	unsigned int max, vn_datagram_fn *fn, void *arg);
bool vn_datagram_is_denied(const vn_endpoint_options *o, const vn_datagram_head *h);
int vn_datagram_send(vn_datagram_socket *s, const vn_sys *sys, vn_datagram_batch *b,
	const vn_frame_area *a, uint32_t block, uint64_t end, vn_datagram_out *out);
int vn_datagram_join(const vn_datagram_socket *s, const vn_desc_peer *group, bool leave);
uint32_t vn_datagram_dropped(const vn_datagram_socket *s);

static inline uint32_t
vn_datagram_max(uint8_t family)
{
	return family == AF_INET ? VN_DATAGRAM_MAX4 : VN_DATAGRAM_MAX6;
}

#endif
