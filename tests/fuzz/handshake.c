/* SPDX-License-Identifier: MIT */
/*
 * handshake - any message where MAPPED or HELLO should be, and any header in the segment
 *
 * First byte: bit 0 which side is under attack, bit 1 descriptors where there should be none (or none where there
 * should be four), bits 2 and 3 what is done to the segments, bits 4 to 7 how long the message is, beside 28 bytes.
 * What follows changes the right message, then the right header, bit by bit, so zeros are an honest peer: that one
 * must be accepted. Nothing else may be, and whatever happens no descriptor stays open.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shm/bell.h"
#include "shm/layout.h"
#include "shm/link.h"
#include "tests/fuzz/fuzz.h"

#define INCARNATION 7
#define N_FDS       4

static const vn_geometry geometry = {.n_slots = 64, .area_bytes = 1u << 20};

enum { WORKER = 1, ODD_FDS = 2, SEALED = 4, UNCLAIMED = 8 };

typedef struct lie {
	uint8_t how;
	size_t len;
	unsigned char message[64], header[sizeof(vn_segment_header)];
} lie;

static bool
is_zero(const void *data, size_t n)
{
	const unsigned char *bytes = data;

	while (n > 0 && bytes[n - 1] == 0)
		n--;
	return n == 0;
}

/* HELLO can speak of any incarnation, if the header of the segment does too. */
static bool
is_consistent(const lie *l)
{
	size_t in_message = offsetof(vn_link_msg, incarnation);
	size_t in_header = offsetof(vn_segment_header, incarnation);
	lie rest = *l;

	memset(rest.message + in_message, 0, sizeof(uint32_t));
	memset(rest.header + in_header, 0, sizeof(uint32_t));
	return l->len == sizeof(vn_link_msg) && is_zero(rest.message, sizeof(vn_link_msg)) &&
	       is_zero(rest.header, sizeof rest.header) &&
	       memcmp(l->message + in_message, l->header + in_header, sizeof(uint32_t)) == 0;
}

/* The right message, but for the input. */
static size_t
message_make(const lie *l, uint32_t type, unsigned char out[static 64])
{
	vn_link_msg m = {.type = type,
		.layout_version = VN_LAYOUT_VERSION,
		.protocol_version = VN_PROTOCOL_VERSION,
		.incarnation = INCARNATION,
		.n_slots = geometry.n_slots,
		.area_bytes = geometry.area_bytes};

	memset(out, 0, 64);
	memcpy(out, &m, sizeof m);
	for (size_t i = 0; i < 64; i++)
		out[i] ^= l->message[i];
	return l->len;
}

static void
message_send(int socket, const void *data, size_t len, const int *fds, size_t n_fds)
{
	struct iovec part = {(void *)(uintptr_t)data, len};
	union {
		struct cmsghdr header;
		unsigned char space[CMSG_SPACE(N_FDS * sizeof(int))];
	} control = {.header = {CMSG_LEN(n_fds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};

	if (n_fds) {
		memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof *fds);
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof *fds);
	}
	must(sendmsg(socket, &msg, MSG_NOSIGNAL) == (ssize_t)len);
}

static void
header_spoil(vn_segment *s, const lie *l)
{
	vn_segment_layout *layout = (void *)s->base;
	unsigned char *header = (void *)&layout->header;

	for (size_t i = 0; i < sizeof l->header; i++)
		header[i] ^= l->header[i];
}

/* The worker's segment, as a worker would prepare it or not. */
static void
worker_prepares(const vn_link *l, const lie *lie)
{
	vn_segment own = {.geometry = geometry, .size = vn_geometry_size(&geometry)};

	own.fd = fcntl(l->peer.fd, F_DUPFD_CLOEXEC, 0);
	must(own.fd >= 0 && vn_segment_map(&own, true) == 0);
	if (!(lie->how & UNCLAIMED))
		must(vn_segment_claim(&own, INCARNATION) == 0);
	header_spoil(&own, lie);
	if (lie->how & SEALED)
		must(vn_segment_seal(&own) == 0);
	vn_segment_deinit(&own);
}

static void
attack_broker(const lie *l, int ours, int theirs)
{
	bool honest = !(l->how & (ODD_FDS | SEALED | UNCLAIMED)) && l->len == sizeof(vn_link_msg) &&
		      is_zero(l->message, sizeof(vn_link_msg)) &&
		      is_zero(l->header, sizeof l->header);
	unsigned char message[64];
	const char *why;
	vn_link link;
	int rc, fds[] = {theirs, theirs};

	must(vn_link_offer(&link, &geometry, INCARNATION) == 0);
	must(vn_link_accept(&link, ours, &why) == -EAGAIN);
	worker_prepares(&link, l);
	message_send(theirs, message, message_make(l, VN_LINK_MAPPED, message), fds,
		l->how & ODD_FDS ? 2 : 0);
	rc = vn_link_accept(&link, ours, &why);
	must(honest ? rc == 0 : rc == -EPROTO || rc == -EPIPE);
	must((rc == 0) == !why);
	vn_link_deinit(&link);
}

static void
attack_worker(const lie *l, int ours, int theirs)
{
	bool honest = !(l->how & (ODD_FDS | SEALED | UNCLAIMED)) && is_consistent(l);
	const vn_geometry other = {.n_slots = 64, .area_bytes = 2u << 20};
	unsigned char message[64];
	const char *why;
	vn_link offer, link;
	int rc, fds[N_FDS];

	must(vn_link_offer(&offer, l->how & UNCLAIMED ? &other : &geometry, INCARNATION) == 0);
	header_spoil(&offer.own, l);
	if (l->how & SEALED)
		must(vn_segment_seal(&offer.peer) == 0);
	fds[0] = offer.own.fd;
	fds[1] = offer.peer.fd;
	fds[2] = offer.hello;
	fds[3] = offer.bell_in;
	message_send(theirs, message, message_make(l, VN_LINK_HELLO, message), fds,
		l->how & ODD_FDS ? l->header[0] % N_FDS : N_FDS);
	rc = vn_link_join(&link, ours, &why);
	must(honest ? rc == 0 : rc < 0);
	must((rc == 0) == !why);
	if (rc == 0)
		vn_link_deinit(&link);
	vn_link_deinit(&offer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	source s = {data, size};
	int pair[2], next;
	lie l;

	l.how = source_byte(&s);
	l.len = (sizeof(vn_link_msg) + (l.how >> 4)) % 33;
	source_bytes(&s, l.message, sizeof l.message);
	source_bytes(&s, l.header, sizeof l.header);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	if (l.how & WORKER)
		attack_worker(&l, pair[0], pair[1]);
	else
		attack_broker(&l, pair[0], pair[1]);
	close(pair[0]);
	close(pair[1]);
	next = fcntl(0, F_DUPFD_CLOEXEC, 3); /* the lowest one that is free */
	must(next <= pair[0]);
	close(next);
	return 0;
}
