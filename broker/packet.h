/* SPDX-License-Identifier: MIT */
/*
 * Packet - connections whose sockets keep the boundaries of messages
 */
#ifndef VN_BROKER_PACKET_H
#define VN_BROKER_PACKET_H

#include "broker/broker.h"

/* Only Unix sockets can be of that kind; the family lies where a receive has looked before. */
static inline bool
vn_packet_is(const vn_broker *b, const vn_record *r)
{
	return r->peer.family == AF_UNIX &&
	       b->endpoints[r->endpoint]->endpoint.scheme == VN_SEQPACKET;
}

void vn_packet_receive(vn_broker *b, vn_worker *w, vn_record *r);
ssize_t vn_packet_send(vn_broker *b, vn_record *r, size_t *wanted);

#endif
