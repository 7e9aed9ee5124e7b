/* SPDX-License-Identifier: MIT */
/*
 * Packet - messages in a stream, for sockets that keep their boundaries (seqpacket:)
 *
 * In the streams of such a connection each message lies behind its length, VN_PACKET_HEAD bytes in the order of the
 * machine. Positions, commits, redelivery and windows so are those of any stream; only the calls of the program and
 * the calls of the kernel see messages.
 */
#ifndef VN_NET_PACKET_H
#define VN_NET_PACKET_H

#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>

#include "shm/protocol.h"

#define VN_PACKET_HEAD 4u
#define VN_PACKET_MAX  (VN_BLOCK_MAX - VN_PACKET_HEAD) /* bytes of a message: one block holds it */

/*
 * How long is the next message in a socket? 0: the end, or an empty message, which the kernel does not tell apart; or
 * a negative errno.
 */
static inline ssize_t
vn_packet_next(int fd)
{
	ssize_t n = recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC);

	return n < 0 ? -errno : n;
}

#endif
