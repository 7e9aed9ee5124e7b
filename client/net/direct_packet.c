/* SPDX-License-Identifier: MIT */
/*
 * Direct packet - sockets that keep the boundaries of messages, in a program that runs alone
 *
 * The kernel says how long the next message is before it is received, so it lies whole in one block. One that no block
 * holds is nothing that a program could be given: the connection is reset.
 */
#include <string.h>

#include "client/hub/log.h"
#include "client/net/direct.h"
#include "client/net/packet.h"

/* Room for n bytes in one piece: at the end of the last block, or in a new one; false if none may be had. */
static bool
packet_room(vn_conn *c, uint32_t n, uint32_t *block, uint32_t *offset)
{
	vn_net *net = c->net;
	uint32_t last = c->in.last, size = vn_block_class_bytes(vn_block_class(n));

	if (last != VN_NO_BLOCK) {
		*block = last;
		*offset = net->in_table[last].fill;
		if (vn_block_size(net->out_blocks, last) - *offset >= n)
			return true;
		if (c->in.charge + size > net->window || !vn_net_shares(net, c->in.charge + size))
			return false;
	}
	*block = vn_block_alloc(net->out_blocks, vn_block_class(n));
	*offset = 0;
	return *block != VN_NO_BLOCK;
}

static void
packet_refused(vn_conn *c, ssize_t n)
{
	if (n == -EAGAIN) {
		c->flags &= ~(uint32_t)VN_CONN_READABLE;
	} else if (n == 0) {
		vn_direct_ended(c);
	} else {
		if (n > 0)
			vn_log(c->net->hub, LOG_WARNING,
				"a message of %zd bytes is longer than the %u that can be; its "
				"connection is reset",
				n, VN_PACKET_MAX);
		vn_direct_abort(c);
		vn_direct_broken(c);
	}
}

/**
 * vn_direct_packet_input() - receive one message
 */
void
vn_direct_packet_input(vn_conn *c)
{
	const vn_sys *sys = c->net->hub->sys;
	ssize_t n = vn_packet_next(c->fd);
	uint32_t len = (uint32_t)n, block, offset;

	if (n <= 0 || n > VN_PACKET_MAX) {
		packet_refused(c, n);
		return;
	}
	if (!packet_room(c, VN_PACKET_HEAD + len, &block, &offset)) {
		if (c->acked < c->received)
			vn_conn_on_full(c);
		return;
	}
	n = sys->recv(sys, c->fd, vn_area_at(c->net->in_area, block, offset + VN_PACKET_HEAD), len);
	if (n != (ssize_t)len) {
		if (offset == 0)
			vn_block_free(c->net->out_blocks, block);
		packet_refused(c, n < 0 ? n : -EPROTO);
		return;
	}
	vn_area_write(c->net->in_area, block, offset, &len, sizeof len);
	vn_direct_arrived(c, block, offset, VN_PACKET_HEAD + len);
}

/**
 * vn_direct_packet_send() - send one message; vn_write() has put it whole into one block
 *
 * Return: as much of the stream as it took, which is *wanted, or what sendmsg(2) says.
 */
ssize_t
vn_direct_packet_send(vn_conn *c, size_t *wanted)
{
	vn_net *net = c->net;
	uint32_t block = c->out.first, len,
		 offset = vn_chain_offset(&net->out_table[block], c->sent);
	struct iovec part;
	struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t n;

	vn_area_read(net->out_area, block, offset, &len, sizeof len);
	part = (struct iovec){vn_area_at(net->out_area, block, offset + VN_PACKET_HEAD), len};
	*wanted = VN_PACKET_HEAD + len;
	n = net->hub->sys->sendmsg(net->hub->sys, c->fd, &msg);
	return n < 0 ? n : (ssize_t)*wanted;
}
