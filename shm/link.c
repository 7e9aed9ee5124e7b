/* SPDX-License-Identifier: MIT */
/*
 * Link - the handshake of link.h, both sides
 *
 * The broker never waits: it asks for each call not to block, because a worker that shares the
 * socket's open file could clear O_NONBLOCK for it. The worker waits for HELLO, at most ten
 * seconds. Whatever one side has from the other is checked for its exact size, type and versions;
 * `why` then has a sentence for people.
 */
#include "shm/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "shm/bell.h"
#include "shm/crash.h"
#include "shm/layout.h"

#define HELLO_WAIT_MS 10000
#define N_FDS         4

/* What HELLO brings, in this order. */
enum { FD_OF_BROKER, FD_OF_WORKER, FD_OF_PIPE, FD_OF_EVENTFD };

/* Room for exactly that many, so that the kernel installs no more. */
typedef union fd_control {
	struct cmsghdr header;
	unsigned char space[CMSG_SPACE(N_FDS * sizeof(int))];
} fd_control;

static void
fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void
fds_close(int fds[N_FDS])
{
	for (int i = 0; i < N_FDS; i++)
		fd_close(&fds[i]);
}

static void
link_init(vn_link *l)
{
	*l = (vn_link){.own.fd = -1, .peer.fd = -1, .bell_in = -1, .bell_out = -1, .hello = -1};
}

/* The segments' own descriptors are needed for sealing and mapping alone. */
static void
link_drop_fds(vn_link *l)
{
	fd_close(&l->own.fd);
	fd_close(&l->peer.fd);
}

static vn_link_msg
link_msg(const vn_link *l, uint32_t type)
{
	return (vn_link_msg){
		.type = type,
		.layout_version = VN_LAYOUT_VERSION,
		.protocol_version = VN_PROTOCOL_VERSION,
		.incarnation = l->incarnation,
		.n_slots = l->geometry.n_slots,
		.area_bytes = l->geometry.area_bytes,
	};
}

/* What is wrong with a message that was received whole, or NULL. */
static const char *
msg_check(const vn_link_msg *m, ssize_t n, const struct msghdr *header, uint32_t type)
{
	if (n != (ssize_t)sizeof *m || (header->msg_flags & MSG_TRUNC))
		return "its handshake message has a wrong size: broker and library are of "
		       "different versions";
	if (header->msg_flags & MSG_CTRUNC)
		return "its handshake message came with descriptors that nobody asked for";
	if (m->type != type)
		return "its handshake message is of a wrong type";
	if (m->layout_version != VN_LAYOUT_VERSION || m->protocol_version != VN_PROTOCOL_VERSION)
		return "broker and library are of different versions: build the program with the "
		       "broker's library";
	if (m->features != 0)
		return "its handshake message asks for features that this side does not have";
	return NULL;
}

static int
link_make_bells(vn_link *l)
{
	int fds[2], err = vn_bell_pipe(fds);

	if (err)
		return err;
	l->hello = fds[0];
	l->bell_out = fds[1];
	l->bell_in = vn_bell_eventfd();
	return l->bell_in < 0 ? l->bell_in : 0;
}

static int
link_make_own(vn_link *l)
{
	int err = vn_segment_create(&l->own, "broker", &l->geometry, l->incarnation);

	if (!err)
		err = vn_segment_map(&l->own, true);
	if (!err)
		err = vn_segment_claim(&l->own, l->incarnation);
	if (!err)
		err = vn_segment_seal(&l->own);
	return err;
}

static int
link_make_blocks(vn_link *l)
{
	l->blocks = vn_blocks_new(l->geometry.area_bytes);
	return l->blocks ? 0 : -errno;
}

/**
 * vn_link_offer() - the broker's first step: segments and bells
 * @g: valid (vn_geometry_valid()), for both segments
 *
 * Return: 0, or a negative errno, and nothing is left behind.
 */
int
vn_link_offer(vn_link *l, const vn_geometry *g, uint32_t incarnation)
{
	int err;

	VN_CRASH_POINT("broker.offer.before");
	link_init(l);
	l->geometry = *g;
	l->incarnation = incarnation;
	err = vn_geometry_valid(g) ? link_make_own(l) : -EINVAL;
	if (!err)
		err = vn_segment_create(&l->peer, "worker", g, incarnation);
	if (!err)
		err = link_make_blocks(l);
	if (!err)
		err = link_make_bells(l);
	VN_CRASH_POINT("broker.offer.after");
	if (err)
		vn_link_deinit(l);
	return err;
}

/**
 * vn_link_hello() - the broker's second step
 * @socket: the broker's end, SOCK_SEQPACKET, to which nothing was sent yet
 *
 * Caller: never blocks.
 *
 * Return: 0 or a negative errno (-EPIPE, -ECONNRESET: the worker is gone).
 */
int
vn_link_hello(vn_link *l, int socket)
{
	const int fds[N_FDS] = {l->own.fd, l->peer.fd, l->hello, l->bell_in};
	vn_link_msg hello = link_msg(l, VN_LINK_HELLO);
	struct iovec part = {&hello, sizeof hello};
	fd_control control = {0};
	struct msghdr msg = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control.space,
	};

	control.header = (struct cmsghdr){
		.cmsg_len = CMSG_LEN(sizeof fds),
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
	};
	memcpy(CMSG_DATA(&control.header), fds, sizeof fds);
	VN_CRASH_POINT("broker.hello.before");
	if (sendmsg(socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	VN_CRASH_POINT("broker.hello.after");
	fd_close(&l->hello);
	return 0;
}

/* One message with no room for descriptors: those that are sent uninvited are not installed. */
static int
mapped_receive(const vn_link *l, int socket, const char **why)
{
	vn_link_msg mapped = {0}, wanted = link_msg(l, VN_LINK_MAPPED);
	struct iovec part = {&mapped, sizeof mapped};
	struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t n;

	do
		n = recvmsg(socket, &msg, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return -EAGAIN;
	if (n == 0 || (n < 0 && errno == ECONNRESET)) {
		*why = "it closed the handshake socket before its memory was mapped";
		return -EPIPE;
	}
	if (n < 0)
		return -errno;
	*why = msg_check(&mapped, n, &msg, VN_LINK_MAPPED);
	if (!*why && memcmp(&mapped, &wanted, sizeof mapped) != 0)
		*why = "its handshake message speaks of another link";
	return *why ? -EPROTO : 0;
}

/**
 * vn_link_accept() - the broker's last step: take MAPPED, seal the worker's segment, then map it
 * @why: a sentence about the worker when something is wrong with what it did, else NULL
 *
 * Caller: when the socket is readable, until this returns something else than -EAGAIN. Never
 * blocks.
 *
 * Return: 0 when the link is made, -EAGAIN when nothing has come yet, -EPROTO for a violation,
 * -EPIPE when the worker is gone, or a negative errno.
 */
int
vn_link_accept(vn_link *l, int socket, const char **why)
{
	int err;

	*why = NULL;
	VN_CRASH_POINT("broker.mapped.before");
	err = mapped_receive(l, socket, why);
	if (err)
		return err;
	VN_CRASH_POINT("broker.mapped.after");
	err = vn_segment_seal(&l->peer);
	if (err) {
		*why = "it sealed its segment itself";
		return -EPROTO;
	}
	err = vn_segment_map(&l->peer, false);
	if (err)
		return err;
	if (vn_segment_check(&l->peer, l->incarnation)) {
		*why = "the header of its segment is wrong";
		return -EPROTO;
	}
	vn_lane_tx_init(&l->tx, &l->own, &l->peer);
	vn_lane_rx_init(&l->rx, &l->own, &l->peer);
	link_drop_fds(l);
	VN_CRASH_POINT("broker.link.after");
	return 0;
}

/* Waits until there is something to receive. */
static int
hello_wait(int socket)
{
	struct pollfd p = {.fd = socket, .events = POLLIN};
	struct timespec start, now;
	long left_ms = HELLO_WAIT_MS;
	int n;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while ((n = poll(&p, 1, (int)left_ms)) < 0) {
		if (errno != EINTR)
			return -errno;
		clock_gettime(CLOCK_MONOTONIC, &now);
		left_ms = HELLO_WAIT_MS - (now.tv_sec - start.tv_sec) * 1000 -
			  (now.tv_nsec - start.tv_nsec) / 1000000;
		if (left_ms < 0)
			left_ms = 0;
	}
	return n == 0 ? -ETIMEDOUT : 0;
}

/* Whatever descriptors came are in fds[] afterwards, the others -1. */
static void
fds_receive(struct msghdr *msg, int fds[N_FDS])
{
	for (int i = 0; i < N_FDS; i++)
		fds[i] = -1;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
}

static int
hello_receive(vn_link *l, int socket, int fds[N_FDS], const char **why)
{
	vn_link_msg hello = {0};
	struct iovec part = {&hello, sizeof hello};
	fd_control control = {0};
	struct msghdr msg = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control.space,
	};
	ssize_t n;

	VN_CRASH_POINT("worker.hello.before");
	n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	VN_CRASH_POINT("worker.hello.after");
	fds_receive(&msg, fds);
	if (n == 0)
		return -EPIPE;
	*why = msg_check(&hello, n, &msg, VN_LINK_HELLO);
	if (!*why && fds[N_FDS - 1] < 0)
		*why = "its handshake message lacks descriptors";
	l->incarnation = hello.incarnation;
	l->geometry = (vn_geometry){hello.n_slots, hello.area_bytes};
	if (!*why && !vn_geometry_valid(&l->geometry))
		*why = "its handshake message has impossible sizes";
	return *why ? -EPROTO : 0;
}

/* Makes fds[] the link's own as far as they are good. */
static int
link_adopt(vn_link *l, int fds[N_FDS], const char **why)
{
	int err = vn_segment_adopt(&l->own, fds[FD_OF_WORKER], &l->geometry);

	if (!err) {
		fds[FD_OF_WORKER] = -1;
		err = vn_segment_adopt(&l->peer, fds[FD_OF_BROKER], &l->geometry);
	}
	if (err) {
		*why = "the broker's segments are not what its handshake message says";
		return err;
	}
	l->bell_in = fds[FD_OF_PIPE];
	l->bell_out = fds[FD_OF_EVENTFD];
	fds[FD_OF_BROKER] = fds[FD_OF_PIPE] = fds[FD_OF_EVENTFD] = -1;
	return 0;
}

static int
link_map_both(vn_link *l, const char **why)
{
	int err = vn_segment_map(&l->own, true);

	if (!err)
		err = vn_segment_claim(&l->own, l->incarnation);
	if (!err)
		err = vn_segment_map(&l->peer, false);
	if (!err)
		err = link_make_blocks(l);
	if (err)
		return err;
	if (vn_segment_check(&l->peer, l->incarnation)) {
		*why = "the header of the broker's segment is wrong";
		return -EPROTO;
	}
	vn_lane_tx_init(&l->tx, &l->own, &l->peer);
	vn_lane_rx_init(&l->rx, &l->own, &l->peer);
	return 0;
}

static int
mapped_send(const vn_link *l, int socket)
{
	vn_link_msg mapped = link_msg(l, VN_LINK_MAPPED);

	VN_CRASH_POINT("worker.mapped.before");
	if (send(socket, &mapped, sizeof mapped, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	VN_CRASH_POINT("worker.mapped.after");
	return 0;
}

static int
link_join(vn_link *l, int socket, int fds[N_FDS], const char **why)
{
	int err = hello_wait(socket);

	if (!err)
		err = hello_receive(l, socket, fds, why);
	if (!err)
		err = link_adopt(l, fds, why);
	if (!err)
		err = link_map_both(l, why);
	if (!err)
		err = mapped_send(l, socket);
	return err;
}

/**
 * vn_link_join() - the worker's side of it all
 * @socket: its end, blocking or not; it becomes close-on-exec
 * @why:    a sentence about the broker if this fails
 *
 * Caller: before the hub runs. Waits ten seconds at most.
 *
 * Return: 0 when the link is made, or a negative errno, and nothing is left behind: -EPROTO for a
 * message or memory that is not as agreed, -EPIPE when the broker is gone, -ETIMEDOUT.
 */
int
vn_link_join(vn_link *l, int socket, const char **why)
{
	int fds[N_FDS] = {-1, -1, -1, -1}, err;

	link_init(l);
	*why = NULL;
	err = fcntl(socket, F_SETFD, FD_CLOEXEC) < 0 ? -errno : link_join(l, socket, fds, why);
	if (!err) {
		link_drop_fds(l);
		VN_CRASH_POINT("worker.link.after");
		return 0;
	}
	fds_close(fds);
	vn_link_deinit(l);
	if (err == -ECONNRESET)
		err = -EPIPE;
	if (!*why)
		*why = err == -EPIPE ? "the broker is gone"
		       : err == -ETIMEDOUT
			       ? "the broker said nothing for ten seconds"
			       : "the memory that it shares with the broker could not be mapped";
	return err;
}

/**
 * vn_link_deinit() - close and unmap everything, in any state, also that of {0}
 *
 * Caller: has taken the bells out of its poller before (a grandchild that holds one keeps them
 * there).
 */
void
vn_link_deinit(vn_link *l)
{
	bool has_bells = l->bell_in != l->bell_out; /* neither in {0} nor after link_init() */

	if (has_bells) {
		fd_close(&l->bell_in);
		fd_close(&l->bell_out);
		fd_close(&l->hello);
	}
	vn_segment_deinit(&l->own);
	vn_segment_deinit(&l->peer);
	vn_blocks_free(l->blocks);
	link_init(l);
}

/**
 * vn_link_flush() - publish what was pushed, and ring if the peer asked for it
 *
 * That nobody hears the bell is no error here: death is told by the pidfd, or by the pipe that
 * hangs up.
 */
void
vn_link_flush(vn_link *l)
{
	if (vn_lane_tx_flush(&l->tx)) {
		VN_CRASH_POINT("bell.news.before");
		vn_bell_ring(l->bell_out);
		VN_CRASH_POINT("bell.news.after");
	}
}

/**
 * vn_link_release() - give slots that were taken back, and ring if the peer waits for room
 */
void
vn_link_release(vn_link *l)
{
	if (vn_lane_rx_release(&l->rx)) {
		VN_CRASH_POINT("bell.space.before");
		vn_bell_ring(l->bell_out);
		VN_CRASH_POINT("bell.space.after");
	}
}
