/* SPDX-License-Identifier: MIT */
/*
 * Packet - messages as the streams of connections have them: each behind its length (client/net/packet.h)
 *
 * A message is received whole into one block, behind its length, which the kernel tells before; one that no block
 * holds resets the connection. On the way out the length is the worker's word: it is read once, and what is sent is
 * within what the worker has published. A length that is never fulfilled leaves the connection to linger-timeout.
 */
#include "broker/packet.h"

#include <errno.h>
#include <string.h>

#include "broker/debt.h"
#include "broker/dispatch.h"
#include "broker/input.h"
#include "broker/socket.h"
#include "client/net/packet.h"

#define SEND_PARTS 64

/* Room for n bytes in one piece: at the end of the last block, or in a new one. */
static bool
packet_room(vn_broker *b, vn_worker *w, const vn_record *r, uint32_t n, uint32_t *block,
	uint32_t *offset)
{
	uint32_t last = r->in.last, size_class = vn_block_class(n);
	uint32_t charge = r->in.charge + vn_block_class_bytes(size_class);

	if (last != VN_NO_BLOCK) {
		*block = last - vn_ref(b, w->slot, 0);
		*offset = b->ledger->in_table[last].fill;
		if (vn_block_size(w->link.blocks, *block) - *offset >= n)
			return true;
		if (charge > b->config->window || charge > vn_blocks_available(w->link.blocks) / 2)
			return false;
	}
	*offset = 0;
	do {
		*block = vn_block_alloc(w->link.blocks, size_class);
	} while (*block == VN_NO_BLOCK && ++size_class < VN_N_CLASSES);
	return *block != VN_NO_BLOCK;
}

/* Nothing that is a message. */
static void
receive_else(vn_broker *b, vn_record *r, ssize_t n)
{
	if (n == -EAGAIN)
		r->flags &= ~(uint32_t)VN_R_READABLE;
	else if (n == 0)
		vn_input_ended(b, r);
	else if (n > 0)
		vn_socket_reset(b, r, VN_RESET_TOO_LARGE);
	else
		vn_socket_on_reset(b, r);
}

/**
 * vn_packet_receive() - receive one message into the lane of a worker
 *
 * The caller has made sure of a slot.
 */
void
vn_packet_receive(vn_broker *b, vn_worker *w, vn_record *r)
{
	ssize_t n = vn_packet_next(r->fd);
	uint32_t len = (uint32_t)n, block, offset;

	if (n <= 0 || n > VN_PACKET_MAX) {
		receive_else(b, r, n);
		return;
	}
	if (!packet_room(b, w, r, VN_PACKET_HEAD + len, &block, &offset)) {
		vn_input_refused(b, w, r);
		return;
	}
	n = b->hub->sys->recv(
		b->hub->sys, r->fd, vn_area_at(&w->link.own, block, offset + VN_PACKET_HEAD), len);
	if (n != (ssize_t)len) {
		if (offset == 0)
			vn_block_free(w->link.blocks, block);
		receive_else(b, r, n < 0 ? n : -EPROTO);
		return;
	}
	vn_area_write(&w->link.own, block, offset, &len, sizeof len);
	vn_input_arrived(b, w, r, block, offset, VN_PACKET_HEAD + len);
	if (r->flags & VN_R_READABLE)
		vn_debt_add(b, w, r, VN_D_DATA);
}

/* Parts of what is queued, from a position on, at most n bytes of it; how many bytes they are. */
static uint32_t
parts_of(const vn_broker *b, const vn_record *r, uint64_t at, uint32_t n, struct msghdr *msg)
{
	const vn_chain_link *table = b->ledger->out_table;
	uint32_t done = 0;

	for (uint32_t ref = r->out.first;
		ref != VN_NO_BLOCK && done < n && msg->msg_iovlen < SEND_PARTS;
		ref = table[ref].next) {
		const vn_chain_link *link = &table[ref];
		uint32_t len;

		if (link->end <= at)
			continue;
		len = link->end - at < n - done ? (uint32_t)(link->end - at) : n - done;
		msg->msg_iov[msg->msg_iovlen++] =
			(struct iovec){vn_socket_output_at(b, ref, vn_chain_offset(link, at)), len};
		at += len;
		done += len;
	}
	return done;
}

/* The length of the next message; 0 if it is not there, or cannot be one. */
static uint32_t
head_read(const vn_broker *b, const vn_record *r)
{
	const vn_chain_link *table = b->ledger->out_table;
	unsigned char head[VN_PACKET_HEAD] = {0};
	uint32_t done = 0, len;
	uint64_t at = r->sent;

	for (uint32_t ref = r->out.first; ref != VN_NO_BLOCK && done < sizeof head;
		ref = table[ref].next) {
		uint64_t left = table[ref].end - at;

		len = left < sizeof head - done ? (uint32_t)left : (uint32_t)sizeof head - done;
		vn_socket_output_read(b, ref, vn_chain_offset(&table[ref], at), head + done, len);
		at += len;
		done += len;
	}
	memcpy(&len, head, sizeof len);
	return done == sizeof head && len <= VN_PACKET_MAX ? len : 0;
}

/**
 * vn_packet_send() - send one message
 *
 * Return: as much of the stream as it took, which is *wanted; -EAGAIN, also if it is not complete; or what sendmsg(2)
 * says.
 */
ssize_t
vn_packet_send(vn_broker *b, vn_record *r, size_t *wanted)
{
	struct iovec parts[SEND_PARTS];
	struct msghdr msg = {.msg_iov = parts};
	uint32_t len = head_read(b, r);
	ssize_t n;

	*wanted = VN_PACKET_HEAD + len;
	if (len == 0 || parts_of(b, r, r->sent + VN_PACKET_HEAD, len, &msg) < len)
		return -EAGAIN;
	n = b->hub->sys->sendmsg(b->hub->sys, r->fd, &msg);
	return n < 0 ? n : (ssize_t)*wanted;
}
