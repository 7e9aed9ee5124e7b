/* SPDX-License-Identifier: MIT */
/*
 * Input - from a connection's socket, or from what an earlier worker had of it, into a worker's lane
 */
#ifndef VN_BROKER_INPUT_H
#define VN_BROKER_INPUT_H

#include "broker/broker.h"

void vn_input_ended(vn_broker *b, vn_record *r);
void vn_input_refused(vn_broker *b, vn_worker *w, vn_record *r);
void vn_input_arrived(
	vn_broker *b, vn_worker *w, vn_record *r, uint32_t block, uint32_t offset, uint32_t n);
void vn_input_discard(vn_broker *b, vn_record *r);
void vn_socket_on_event(void *arg, uint32_t index, uint32_t gen, uint32_t events);
void vn_socket_input(vn_broker *b, vn_record *r);
void vn_socket_receive(vn_broker *b, vn_worker *w, vn_record *r);
void vn_socket_owed_input(vn_broker *b, vn_worker *w, vn_record *r);
uint32_t vn_socket_block(vn_worker *w, unsigned int size_class);

/* Is there anything that a worker could be given? */
static inline bool
vn_record_has_input(const vn_record *r)
{
	return (r->flags & VN_R_KEPT) || (r->flags & (VN_R_READABLE | VN_R_ENDED)) == VN_R_READABLE;
}

#endif
