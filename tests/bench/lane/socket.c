/* SPDX-License-Identifier: MIT */
/*
 * Socket - what the kernel itself offers: SEQPACKET in batches, and the shortest ways to wake somebody
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "tests/bench/lane/carrier.h"

#define SEND_BUFFER (4 << 20)

/* SEQPACKET: one message per packet, 32 packets per call */

typedef struct packets {
	int fds[2];
	uint32_t bytes;
	uint64_t number;
	uint64_t words[CARRIER_BATCH][8];
	struct iovec parts[CARRIER_BATCH];
	struct mmsghdr headers[CARRIER_BATCH];
} packets;

static void *
packets_open(const carrier *c, const carrier_place *place)
{
	packets *p = calloc(1, sizeof *p);

	(void)place;
	if (!p || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p->fds) < 0)
		err(1, "SEQPACKET");
	if (setsockopt(p->fds[0], SOL_SOCKET, SO_SNDBUFFORCE, &(int){SEND_BUFFER}, sizeof(int)) < 0)
		setsockopt(p->fds[0], SOL_SOCKET, SO_SNDBUF, &(int){SEND_BUFFER}, sizeof(int));
	p->bytes = c->message;
	for (int i = 0; i < CARRIER_BATCH; i++) {
		p->parts[i] = (struct iovec){p->words[i], p->bytes};
		p->headers[i].msg_hdr = (struct msghdr){.msg_iov = &p->parts[i], .msg_iovlen = 1};
	}
	return p;
}

static void
packets_begin(void *state, bool sends)
{
	(void)state;
	(void)sends;
}

static void
packets_send(void *state, uint64_t n, carrier_tally *t)
{
	packets *p = state;

	(void)t;
	while (n > 0) {
		unsigned int batch = n < CARRIER_BATCH ? (unsigned int)n : CARRIER_BATCH;
		int sent = 0, rc;

		for (unsigned int i = 0; i < batch; i++)
			carrier_fill(p->words[i], p->bytes, p->number++);
		for (; sent < (int)batch; sent += rc)
			if ((rc = sendmmsg(p->fds[0], p->headers + sent, batch - (unsigned int)sent,
				     0)) < 0)
				err(1, "sendmmsg");
		n -= batch;
	}
}

static void
packets_receive(void *state, uint64_t n, carrier_tally *t)
{
	packets *p = state;

	(void)t;
	while (n > 0) {
		unsigned int most = n < CARRIER_BATCH ? (unsigned int)n : CARRIER_BATCH;
		int got = recvmmsg(p->fds[1], p->headers, most, MSG_WAITFORONE, NULL);

		if (got < 0)
			err(1, "recvmmsg");
		for (int i = 0; i < got; i++)
			carrier_verify(p->words[i], p->bytes, p->number++);
		n -= (uint64_t)got;
	}
}

#define PACKETS                                                                                    \
	.settings = "sendmmsg and recvmmsg of 32, blocking, SO_SNDBUF 4 MiB",                      \
	.open = packets_open, .begin = packets_begin, .send = packets_send,                        \
	.receive = packets_receive

const carrier carrier_seqpacket32 = {.name = "seqpacket32", .message = 32, PACKETS};
const carrier carrier_seqpacket64 = {.name = "seqpacket64", .message = 64, PACKETS};

/* Eight bytes there and back, both sides asleep in an edge-triggered epoll in between */

typedef struct wakers {
	int mine[2],
		theirs[2]; /* the receiver's to read and the sender's to write, and the way back */
	int rx, tx, epoll;
	bool reads; /* a socket must be read, an eventfd need not be */
} wakers;

static void *
eventfd_open(const carrier *c, const carrier_place *place)
{
	wakers *w = calloc(1, sizeof *w);

	(void)c;
	(void)place;
	if (!w)
		err(1, "eventfd");
	for (int i = 0; i < 2; i++)
		if ((w->mine[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0)
			err(1, "eventfd");
	w->theirs[0] = w->mine[1];
	w->theirs[1] = w->mine[0];
	return w;
}

static void *
stream_open(const carrier *c, const carrier_place *place)
{
	wakers *w = calloc(1, sizeof *w);
	int fds[2];

	(void)c;
	(void)place;
	if (!w || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		err(1, "socketpair");
	w->mine[0] = w->theirs[0] = fds[0];
	w->mine[1] = w->theirs[1] = fds[1];
	w->reads = true;
	return w;
}

static void
wakers_begin(void *state, bool sends)
{
	wakers *w = state;

	w->rx = w->mine[sends];
	w->tx = w->theirs[sends];
	w->epoll = carrier_watch(w->rx);
}

static void
waker_ring(const wakers *w)
{
	static const uint64_t once = 1;

	if (write(w->tx, &once, sizeof once) != sizeof once)
		err(1, "write");
}

static void
waker_await(const wakers *w)
{
	uint64_t word;

	carrier_nap(w->epoll);
	if (w->reads && read(w->rx, &word, sizeof word) != sizeof word)
		err(1, "read");
}

static void
wakers_send(void *state, uint64_t n, carrier_tally *t)
{
	for (t->bells += n; n > 0; n--) {
		waker_ring(state);
		waker_await(state);
	}
}

static void
wakers_receive(void *state, uint64_t n, carrier_tally *t)
{
	for (t->bells += n; n > 0; n--) {
		waker_await(state);
		waker_ring(state);
	}
}

#define WAKERS .begin = wakers_begin, .send = wakers_send, .receive = wakers_receive

const carrier carrier_eventfd_trip = {
	.name = "eventfd-trip",
	.settings =
		"two eventfds, edge-triggered and never read: one write and one epoll_wait each",
	.open = eventfd_open,
	WAKERS,
};
const carrier carrier_stream_trip = {
	.name = "stream-trip",
	.settings = "a Unix stream with epoll: one write, one epoll_wait and one read each",
	.open = stream_open,
	WAKERS,
};
