/* SPDX-License-Identifier: MIT */
/*
 * Datagram - recvmmsg and sendmmsg
 *
 * Messages are received into a buffer of the batch, each with room for the largest there is, so nothing is ever cut
 * off; from there whoever gets them copies them where they belong, which is known only when their sender is. The
 * buffers lie a little more than 64 KiB apart, or small messages would all fall into the same lines of the cache.
 *
 * Sending ends where the kernel has no room (-EAGAIN: the socket tells when it has; -ENOBUFS: nobody tells). What it
 * refuses for another reason (too large for the way, no way there, forbidden) is counted and passed by: one bad
 * datagram must not stop those behind it. A run that is refused is sent once more as single datagrams, because the
 * way may take these.
 *
 * A connected socket also has what the network says of its peer: ECONNREFUSED, when nobody is there. The kernel tells it
 * instead of whatever is done next, once; that is then done again.
 */
#include "client/net/datagram.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/net/gate.h"

#define BATCH   VN_DATAGRAM_BATCH
#define STRIDE  (65536u + 128)
#define MEMORY  (4 << 20) /* of the kernel's for what arrives; it gives as much of it as it may */
#define STRAYS  64        /* that can have come within microseconds */
#define CONTROL 88        /* the address and interface, and the size of a run */

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL 29
#endif

typedef union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
} address;

typedef struct control {
	char bytes[CONTROL] __attribute__((aligned(8)));
} control;

struct vn_datagram_batch {
	struct mmsghdr msgs[BATCH];
	struct iovec parts[BATCH];
	address names[BATCH];
	control controls[BATCH];
	/* of what is sent */
	vn_datagram_out after[BATCH]; /* each message */
	uint32_t n_datagrams[BATCH];
	unsigned char *data; /* what arrives */
};

/**
 * vn_datagram_batch_new() - room for batches
 *
 * Return: NULL with errno ENOMEM.
 */
vn_datagram_batch *
vn_datagram_batch_new(void)
{
	vn_datagram_batch *b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	b->data = mmap(NULL, BATCH * (size_t)STRIDE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->data == MAP_FAILED) {
		free(b);
		errno = ENOMEM;
		return NULL;
	}
	return b;
}

vn_datagram_batch *
vn_datagram_batch_free(vn_datagram_batch *b)
{
	if (!b)
		return NULL;
	munmap(b->data, BATCH * (size_t)STRIDE);
	free(b);
	return NULL;
}

/* Gives back what large messages have left. */
void
vn_datagram_batch_trim(vn_datagram_batch *b)
{
	madvise(b->data, BATCH * (size_t)STRIDE, MADV_DONTNEED);
}

/* Opening. */

static bool
is_zero(const void *data, size_t n)
{
	const char *c = data;

	while (n > 0 && *c == 0)
		c++, n--;
	return n == 0;
}

static void
set(int fd, int level, int option, int value)
{
	setsockopt(fd, level, option, &value, sizeof value);
}

static void
set_options(vn_datagram_socket *s)
{
	bool six = s->family == AF_INET6;

	set(s->fd, SOL_SOCKET, SO_BROADCAST, 1);
	set(s->fd, SOL_SOCKET, SO_RCVBUF, MEMORY);
	set(s->fd, IPPROTO_UDP, UDP_GRO, 1);
	/* only what was joined here, not what anybody on this machine has joined */
	set(s->fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
	if (six)
		set(s->fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
	set(s->fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_RECVPKTINFO : IP_PKTINFO, 1);
	/* 0 is what it is already: this asks whether there is such a thing */
	s->has_runs = setsockopt(s->fd, IPPROTO_UDP, UDP_SEGMENT, &(int){0}, sizeof(int)) == 0;
}

static void
learn_name(vn_datagram_socket *s)
{
	address name = {0};
	socklen_t len = sizeof name;

	getsockname(s->fd, &name.sa, &len);
	s->family = (uint8_t)name.sa.sa_family;
	if (s->family == AF_INET) {
		s->port = name.in.sin_port;
		s->is_any = name.in.sin_addr.s_addr == 0;
	} else {
		s->port = name.in6.sin6_port;
		s->is_any = is_zero(&name.in6.sin6_addr, sizeof name.in6.sin6_addr);
	}
}

/**
 * vn_datagram_open() - a socket that is bound to an endpoint
 * @e:   one of datagrams
 * @why: a sentence when it fails
 *
 * Return: 0, or what vn_endpoint_bind() says.
 */
int
vn_datagram_open(vn_datagram_socket *s, const vn_endpoint *e, char why[static 256])
{
	int fd = vn_endpoint_bind(e, why);

	if (fd < 0)
		return fd;
	*s = (vn_datagram_socket){.fd = fd};
	learn_name(s);
	set_options(s);
	return 0;
}

/*
 * A port of the system's choosing can be the very one that is asked for, when nobody is there: then the socket is
 * connected to itself.
 */
static bool
is_itself(int fd)
{
	address own = {0}, peer = {0};
	socklen_t own_len = sizeof own, peer_len = sizeof peer;

	return getsockname(fd, &own.sa, &own_len) == 0 &&
	       getpeername(fd, &peer.sa, &peer_len) == 0 && own_len == peer_len &&
	       memcmp(&own, &peer, own_len) == 0;
}

/* What came from others after the socket got its port, and before it got its peer, who knows nothing of it yet. */
static void
drop_strays(int fd)
{
	char byte;

	for (int i = 0; i < STRAYS && recv(fd, &byte, 1, MSG_DONTWAIT) >= 0; i++)
		;
}

static int
socket_connect(int fd, const vn_endpoint *e, char why[static 256])
{
	int rc = vn_endpoint_set(fd, e, why);

	if (rc < 0)
		return rc;
	if (connect(fd, (const struct sockaddr *)(const void *)&e->sa, e->sa_len) < 0)
		rc = -errno;
	else if (is_itself(fd))
		rc = -ECONNREFUSED;
	if (rc < 0)
		snprintf(why, 256, "%s", strerror(-rc));
	drop_strays(fd);
	return rc;
}

/**
 * vn_datagram_connect() - a socket that is connected to a peer: only its datagrams arrive
 * @e:   whose address it is
 * @why: a sentence when it fails
 *
 * Return: 0, or what socket(2), setsockopt(2) and connect(2) say; -ECONNREFUSED for what would be its own address.
 */
int
vn_datagram_connect(vn_datagram_socket *s, const vn_endpoint *e, char why[static 256])
{
	int fd = socket(e->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;

	if (fd < 0) {
		rc = -errno;
		snprintf(why, 256, "%s", strerror(-rc));
		return rc;
	}
	*s = (vn_datagram_socket){
		.fd = fd, .family = (uint8_t)e->sa.ss_family, .is_connected = true};
	set_options(s);
	rc = socket_connect(fd, e, why);
	if (rc < 0)
		close(fd);
	else
		learn_name(s);
	return rc;
}

/**
 * vn_datagram_look() - the kernel says that there is an error: it is taken into s->error
 */
void
vn_datagram_look(vn_datagram_socket *s)
{
	int error = 0;
	socklen_t len = sizeof error;

	if (s->is_connected && getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error)
		s->error = -error;
}

/* Receiving. */

static void
batch_receives(vn_datagram_batch *b, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		b->parts[i] = (struct iovec){b->data + i * (size_t)STRIDE, 65536};
		b->msgs[i].msg_hdr = (struct msghdr){.msg_name = &b->names[i],
			.msg_namelen = sizeof b->names[i],
			.msg_iov = &b->parts[i],
			.msg_iovlen = 1,
			.msg_control = &b->controls[i],
			.msg_controllen = sizeof b->controls[i]};
	}
}

/* Whose it is. */
static void
head_peer(vn_datagram_head *h, const address *from)
{
	h->family = (uint8_t)from->sa.sa_family;
	if (h->family == AF_INET) {
		h->port = from->in.sin_port;
		memcpy(h->peer, &from->in.sin_addr, sizeof from->in.sin_addr);
	} else {
		h->port = from->in6.sin6_port;
		h->scope = from->in6.sin6_scope_id;
		memcpy(h->peer, &from->in6.sin6_addr, sizeof from->in6.sin6_addr);
	}
}

static void
head_local4(vn_datagram_head *h, const struct cmsghdr *c)
{
	struct in_pktinfo info;

	memcpy(&info, CMSG_DATA(c), sizeof info);
	h->interface = (uint32_t)info.ipi_ifindex;
	memcpy(h->local, &info.ipi_addr, sizeof info.ipi_addr);
	if (info.ipi_addr.s_addr != info.ipi_spec_dst.s_addr)
		h->flags |= VN_DATAGRAM_GROUP;
}

static bool
is_group6(const struct in6_addr *a)
{
	return IN6_IS_ADDR_MULTICAST(a) ||
	       (IN6_IS_ADDR_V4MAPPED(a) && (a->s6_addr[12] & 0xf0) == 0xe0) ||
	       (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr32[3] == UINT32_MAX);
}

static void
head_local6(vn_datagram_head *h, const struct cmsghdr *c)
{
	struct in6_pktinfo info;

	memcpy(&info, CMSG_DATA(c), sizeof info);
	h->interface = info.ipi6_ifindex;
	memcpy(h->local, &info.ipi6_addr, sizeof info.ipi6_addr);
	if (is_group6(&info.ipi6_addr))
		h->flags |= VN_DATAGRAM_GROUP;
}

/* What the kernel says beside the payload. */
static void
head_control(vn_datagram_head *h, struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		int size;

		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			head_local4(h, c);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			head_local6(h, c);
		} else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
			memcpy(&size, CMSG_DATA(c), sizeof size);
			if (size > 0 && (uint32_t)size < h->len)
				h->segment = (uint16_t)size;
		}
	}
}

static void
message_arrived(vn_datagram_socket *s, vn_datagram_batch *b, unsigned int i, size_t rest,
	vn_datagram_fn *fn, void *arg)
{
	struct msghdr *m = &b->msgs[i].msg_hdr;
	vn_datagram_head h = {.len = b->msgs[i].msg_len,
		.flags = m->msg_flags & MSG_TRUNC ? VN_DATAGRAM_TRUNCATED : 0};

	head_peer(&h, &b->names[i]);
	head_control(&h, m);
	s->n_received += vn_frame_datagrams(&h);
	s->bytes_received += h.len;
	fn(arg, &h, b->data + i * (size_t)STRIDE, rest);
}

/**
 * vn_datagram_receive() - one batch of what has arrived
 * @max: messages, at most VN_DATAGRAM_BATCH
 * @fn:  is given each
 *
 * Return: how many messages; -EAGAIN when nothing is there, or what else recvmmsg(2) says.
 */
int
vn_datagram_receive(vn_datagram_socket *s, const vn_sys *sys, vn_datagram_batch *b,
	unsigned int max, vn_datagram_fn *fn, void *arg)
{
	size_t rest = 0;
	int n;

	batch_receives(b, max);
	n = sys->recvmmsg(sys, s->fd, b->msgs, max);
	if (n < 0 && n != -EAGAIN && n != -EINTR && s->is_connected)
		s->error = n;
	if (n <= 0)
		return n < 0 ? n : -EAGAIN;
	for (int i = 0; i < n; i++)
		rest += b->msgs[i].msg_len;
	s->mean = (uint32_t)(rest / (unsigned int)n);
	for (int i = 0; i < n; i++) {
		rest -= b->msgs[i].msg_len;
		message_arrived(s, b, (unsigned int)i, rest, fn, arg);
	}
	return n;
}

/**
 * vn_datagram_is_denied() - is it from a network that is not let in?
 * @h: as it was received
 */
bool
vn_datagram_is_denied(const vn_endpoint_options *o, const vn_datagram_head *h)
{
	vn_desc_peer peer = {.family = h->family, .port = h->port};

	if (!o->deny.n && !o->allow.n)
		return false;
	memcpy(peer.addr, h->peer, sizeof peer.addr);
	return vn_gate_check(o, &peer) != VN_ADMITTED;
}

/* Sending. */

static bool
head_is_honest(const vn_datagram_socket *s, const vn_datagram_head *h)
{
	if (h->family != s->family && !(h->family == 0 && s->is_connected))
		return false;
	if (h->flags || h->zero)
		return false;
	if (!h->segment)
		return h->len <= vn_datagram_max(s->family);
	return h->len <= VN_RUN_BYTES && vn_frame_datagrams(h) <= VN_RUN_DATAGRAMS;
}

static void
message_name(const vn_datagram_socket *s, const vn_datagram_head *h, address *to, struct msghdr *m)
{
	m->msg_name = h->family ? to : NULL;
	if (h->family == 0) {
		m->msg_namelen = 0;
	} else if (s->family == AF_INET) {
		to->in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = h->port};
		memcpy(&to->in.sin_addr, h->peer, sizeof to->in.sin_addr);
		m->msg_namelen = sizeof to->in;
	} else {
		to->in6 = (struct sockaddr_in6){
			.sin6_family = AF_INET6, .sin6_port = h->port, .sin6_scope_id = h->scope};
		memcpy(&to->in6.sin6_addr, h->peer, sizeof to->in6.sin6_addr);
		m->msg_namelen = sizeof to->in6;
	}
}

static struct cmsghdr *
control_add(control *c, size_t *len, int level, int type, const void *data, size_t n)
{
	struct cmsghdr *m = (struct cmsghdr *)(void *)(c->bytes + *len);

	m->cmsg_level = level;
	m->cmsg_type = type;
	m->cmsg_len = CMSG_LEN(n);
	memcpy(CMSG_DATA(m), data, n);
	*len += CMSG_SPACE(n);
	return m;
}

/* Where it leaves from, which a socket that is bound to an address need not be told. */
static void
control_source(const vn_datagram_socket *s, const vn_datagram_head *h, control *c, size_t *len)
{
	struct in_pktinfo info4 = {0};
	struct in6_pktinfo info6 = {.ipi6_ifindex = h->interface};

	if (!s->is_any && !h->interface)
		return;
	if (!h->interface && is_zero(h->local, sizeof h->local))
		return;
	if (s->family == AF_INET) {
		info4.ipi_ifindex = (int)h->interface;
		memcpy(&info4.ipi_spec_dst, h->local, sizeof info4.ipi_spec_dst);
		control_add(c, len, IPPROTO_IP, IP_PKTINFO, &info4, sizeof info4);
	} else {
		memcpy(&info6.ipi6_addr, h->local, sizeof info6.ipi6_addr);
		control_add(c, len, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof info6);
	}
}

/* One message of the batch: `len` bytes of a frame, a run if segment is not 0. */
static void
message_leaves(const vn_datagram_socket *s, vn_datagram_batch *b, unsigned int i,
	const vn_datagram_head *h, void *data, uint32_t len, uint16_t segment)
{
	struct msghdr *m = &b->msgs[i].msg_hdr;
	size_t control_len = 0;

	b->parts[i] = (struct iovec){data, len};
	*m = (struct msghdr){.msg_iov = &b->parts[i], .msg_iovlen = 1};
	message_name(s, h, &b->names[i], m);
	control_source(s, h, &b->controls[i], &control_len);
	if (segment)
		control_add(&b->controls[i], &control_len, IPPROTO_UDP, UDP_SEGMENT, &segment,
			sizeof segment);
	m->msg_control = control_len ? &b->controls[i] : NULL;
	m->msg_controllen = control_len;
}

/* A frame as one message. */
static unsigned int
frame_leaves(const vn_datagram_socket *s, vn_datagram_batch *b, unsigned int i, const vn_frame *f,
	void *data)
{
	message_leaves(s, b, i, &f->head, data, f->head.len, f->head.segment);
	b->after[i] = (vn_datagram_out){.at = f->end};
	b->n_datagrams[i] = vn_frame_datagrams(&f->head);
	return i + 1;
}

/* The datagrams of a frame one by one, as far as the batch has room. */
static unsigned int
singles_leave(const vn_datagram_socket *s, vn_datagram_batch *b, unsigned int i, const vn_frame *f,
	unsigned char *data, const vn_datagram_out *out)
{
	uint32_t at = out->skip;

	do {
		uint32_t len = vn_frame_datagram_len(&f->head, at);

		message_leaves(s, b, i, &f->head, data + at, len, 0);
		at += len;
		b->after[i] = at < f->head.len ? (vn_datagram_out){out->at, at, out->is_single}
					       : (vn_datagram_out){.at = f->end};
		b->n_datagrams[i++] = 1;
	} while (at < f->head.len && i < BATCH);
	return i;
}

/* Makes a batch of what is to be sent: the number of messages, or -EPROTO for what is no frame. */
static int
batch_sends(const vn_datagram_socket *s, vn_datagram_batch *b, const vn_frame_area *a,
	uint32_t block, uint64_t end, const vn_datagram_out *out)
{
	vn_datagram_out next = *out;
	unsigned int n = 0;

	while (next.at < end && next.skip == out->skip && n < BATCH) {
		vn_frame f;
		void *data;
		int rc;

		while (a->table[block].end <= next.at)
			block = a->table[block].next;
		rc = vn_frame_at(a, block, next.at, &f);
		if (rc > 0 && (!head_is_honest(s, &f.head) || next.skip > f.head.len))
			rc = -EPROTO;
		if (rc <= 0)
			return n ? (int)n : rc;
		data = vn_area_at(a->segment, f.block, f.offset);
		if (next.is_single || next.skip || (f.head.segment && !s->has_runs))
			n = singles_leave(s, b, n, &f, data, &next);
		else
			n = frame_leaves(s, b, n, &f, data);
		next = b->after[n - 1];
		if (next.skip)
			break;
	}
	return (int)n;
}

/* It did not look at the first message: that was about one before. */
static bool
is_about_another(vn_datagram_socket *s, int rc, bool *told)
{
	if (rc != -ECONNREFUSED || !s->is_connected || *told)
		return false;
	s->error = rc;
	*told = true;
	return true;
}

/* The kernel did not want the first message. False if that is not the message's fault. */
static bool
is_refused(vn_datagram_socket *s, const vn_datagram_batch *b, int rc, vn_datagram_out *out)
{
	if (rc == -EAGAIN || rc == -ENOBUFS || rc == -ENOMEM) {
		s->n_parked++;
		return false;
	}
	if (b->n_datagrams[0] > 1) {
		out->is_single = true;
		return true;
	}
	s->n_refused++;
	s->refused_with = rc;
	*out = b->after[0];
	return true;
}

/**
 * vn_datagram_send() - send frames
 * @block: in which out->at lies
 * @end:   how far frames are there
 * @out:   moves on as datagrams leave, or are refused
 *
 * Return: 0 when all of it is gone but perhaps the beginning of a frame; -EAGAIN, -ENOBUFS, -ENOMEM when the kernel
 * has no room; -EPROTO for what is no frame, or names what a program of this library would not.
 */
int
vn_datagram_send(vn_datagram_socket *s, const vn_sys *sys, vn_datagram_batch *b,
	const vn_frame_area *a, uint32_t block, uint64_t end, vn_datagram_out *out)
{
	bool told = false; /* of the message that is next */

	while (out->at < end) {
		int n, rc;

		while (a->table[block].end <= out->at)
			block = a->table[block].next;
		n = batch_sends(s, b, a, block, end, out);
		if (n <= 0)
			return n;
		rc = sys->sendmmsg(sys, s->fd, b->msgs, (unsigned int)n);
		if (rc < 0 && is_about_another(s, rc, &told))
			continue;
		told = false;
		if (rc < 0 && !is_refused(s, b, rc, out))
			return rc;
		for (int i = 0; i < rc; i++) {
			s->n_sent += b->n_datagrams[i];
			s->bytes_sent += b->parts[i].iov_len;
		}
		if (rc > 0)
			*out = b->after[rc - 1];
	}
	return 0;
}

/* The rest. */

/**
 * vn_datagram_join() - receive what is sent to a group, or no longer
 * @group: its address; scope: the interface, 0 leaves that to the kernel
 *
 * Return: 0, or what setsockopt(2) says: -EADDRINUSE when it is joined already, -ENODEV, -EINVAL, -ENOBUFS.
 */
int
vn_datagram_join(const vn_datagram_socket *s, const vn_desc_peer *group, bool leave)
{
	struct ip_mreqn four = {.imr_ifindex = (int)group->scope};
	struct ipv6_mreq six = {.ipv6mr_interface = group->scope};
	int rc;

	memcpy(&four.imr_multiaddr, group->addr, sizeof four.imr_multiaddr);
	memcpy(&six.ipv6mr_multiaddr, group->addr, sizeof six.ipv6mr_multiaddr);
	if (group->family == AF_INET)
		rc = setsockopt(s->fd, IPPROTO_IP, leave ? IP_DROP_MEMBERSHIP : IP_ADD_MEMBERSHIP,
			&four, sizeof four);
	else
		rc = setsockopt(s->fd, IPPROTO_IPV6,
			leave ? IPV6_DROP_MEMBERSHIP : IPV6_ADD_MEMBERSHIP, &six, sizeof six);
	return rc < 0 ? -errno : 0;
}

/**
 * vn_datagram_dropped() - datagrams that the kernel had no room for, so far; a count that wraps
 *
 * It is the counter of SO_RXQ_OVFL, asked for where it is wanted: with that option the kernel tells it with each
 * datagram, and what was dropped since the last one nobody knows.
 */
uint32_t
vn_datagram_dropped(const vn_datagram_socket *s)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof info;

	if (getsockopt(s->fd, SOL_SOCKET, SO_MEMINFO, info, &len) < 0)
		return 0;
	return info[SK_MEMINFO_DROPS];
}
