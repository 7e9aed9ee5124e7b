/* SPDX-License-Identifier: MIT */
/*
 * Socket - the broker's end of a connection: receive into a lane, send out of one, close
 */
#ifndef VN_BROKER_SOCKET_H
#define VN_BROKER_SOCKET_H

#include "broker/broker.h"
#include "broker/input.h"

int vn_socket_open_dialled(
	vn_broker *b, vn_worker *w, int fd, const struct sockaddr_storage *sa, vn_record **opened);
int vn_socket_open(vn_broker *b, vn_broker_endpoint *e, int fd, const struct sockaddr_storage *sa);
void vn_socket_on_event(void *arg, uint32_t index, uint32_t gen, uint32_t events);
void vn_socket_input(vn_broker *b, vn_record *r);
void vn_socket_receive(vn_broker *b, vn_worker *w, vn_record *r);
void vn_socket_owed_input(vn_broker *b, vn_worker *w, vn_record *r);
uint32_t vn_socket_block(vn_worker *w, unsigned int size_class);
void vn_socket_want_output(vn_broker *b, vn_record *r);
void vn_socket_outputs(vn_broker *b);
void vn_socket_output(vn_broker *b, vn_record *r);
void vn_socket_shut(vn_broker *b, vn_record *r);
void vn_socket_close(vn_broker *b, vn_record *r);
void vn_socket_reset(vn_broker *b, vn_record *r, vn_reset_reason reason);
void vn_socket_refuse(vn_broker *b, vn_record *r);
void vn_socket_expire(vn_broker *b, vn_record *r, vn_reset_reason reason);
void vn_socket_doom(vn_broker *b, vn_record *r, vn_reset_reason reason);
void vn_socket_flush(vn_broker *b, vn_record *r);
void vn_socket_end(vn_broker *b, vn_record *r);
void vn_socket_on_reset(vn_broker *b, vn_record *r);
void *vn_socket_output_at(const vn_broker *b, uint32_t ref, uint32_t offset);
void vn_socket_output_read(
	const vn_broker *b, uint32_t ref, uint32_t offset, void *to, uint32_t len);
void vn_socket_gone(vn_broker *b, vn_record *r);
void vn_socket_final(vn_broker *b, vn_record *r);
void vn_socket_abandon(const vn_record *r);
void vn_socket_linger(vn_broker *b, vn_record *r);
void vn_socket_linger_sweep(vn_broker *b);
void vn_socket_unzombie(vn_broker *b, vn_record *r);
void vn_socket_drop_output(vn_broker *b, vn_record *r);

#endif
