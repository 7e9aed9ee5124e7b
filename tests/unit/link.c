/* SPDX-License-Identifier: MIT */
/*
 * Link - the handshake between two processes, and each way in which the other side can spoil it
 *
 * The worker is a forked child; what it finds wrong it tells by its exit code, which is the number
 * of the line.
 */
#include "shm/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/bell.h"
#include "shm/layout.h"
#include "tests/unit/suite.h"

#define WATCHDOG_MS 60000
#define N_FDS       4

static const vn_geometry geometry = {.n_slots = 64, .area_bytes = 1u << 20};

/* A broker's link in one process, and the number of descriptors from before. */
typedef struct bench {
	vn_link link;
	int sockets[2]; /* the broker's end, the worker's end */
	int n_fds;
} bench;

static int
n_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	int n = 0;

	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof line, maps))
		n += strstr(line, "memfd:vanilla-") != NULL;
	fclose(maps);
	return n;
}

static void
bench_init(bench *b)
{
	b->n_fds = suite_n_fds();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, b->sockets), 0);
	ck_assert_int_eq(vn_link_offer(&b->link, &geometry, 5), 0);
}

static void
bench_deinit(bench *b)
{
	vn_link_deinit(&b->link);
	close(b->sockets[0]);
	if (b->sockets[1] >= 0)
		close(b->sockets[1]);
	ck_assert_int_eq(suite_n_fds(), b->n_fds);
	ck_assert_int_eq(n_mappings(), 0);
}

static void
accept_fails(bench *b, int err, const char *words)
{
	const char *why;

	ck_assert_int_eq(vn_link_accept(&b->link, b->sockets[0], &why), err);
	ck_assert_ptr_nonnull(why);
	ck_assert_msg(strstr(why, words) != NULL, "it says: %s", why);
}

static vn_link_msg
mapped_msg(void)
{
	return (vn_link_msg){VN_LINK_MAPPED, VN_LAYOUT_VERSION, VN_PROTOCOL_VERSION, 0, 5,
		geometry.n_slots, geometry.area_bytes};
}

/* Sends `size` bytes, with copies of descriptor 0 if `n_fds` is not 0. */
static void
send_raw(int socket, const void *bytes, size_t size, const int *fds, size_t n_fds)
{
	_Alignas(struct cmsghdr) unsigned char control[CMSG_SPACE(8 * sizeof(int))] = {0};
	union {
		const void *from;
		void *base;
	} data = {bytes};
	struct iovec part = {data.base, size};
	struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};

	if (n_fds) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	ck_assert_int_eq(sendmsg(socket, &msg, MSG_NOSIGNAL), (ssize_t)size);
}

/* What a worker sees of HELLO: its bytes and its descriptors. */
static void
receive_hello(int socket, vn_link_msg *hello, int fds[N_FDS])
{
	_Alignas(struct cmsghdr) unsigned char control[CMSG_SPACE(8 * sizeof(int))];
	struct iovec part = {hello, sizeof *hello};
	struct msghdr msg = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control};

	ck_assert_int_eq(recvmsg(socket, &msg, MSG_CMSG_CLOEXEC), sizeof *hello);
	ck_assert_uint_eq(CMSG_FIRSTHDR(&msg)->cmsg_len, CMSG_LEN(N_FDS * sizeof(int)));
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&msg)), N_FDS * sizeof(int));
}

static void
fds_close(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

/* One side of a conversation with payload each way, sleeping whenever there is nothing to do. */
static bool
await(vn_link *l, int epoll)
{
	struct epoll_event event;
	int n;

	if (!vn_lane_rx_arm(&l->rx))
		return true;
	do
		n = epoll_wait(epoll, &event, 1, WATCHDOG_MS);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

static bool
say(vn_link *l, uint64_t i)
{
	uint32_t block = vn_block_alloc(l->blocks, (unsigned int)(i % 3));
	vn_desc d = {.kind = VN_KIND_DATA, .len = 100, .pos = i, .block = block, .offset = 56};
	unsigned char text[100];

	if (block == VN_NO_BLOCK || !vn_lane_tx_has(&l->tx, 1))
		return false;
	memset(text, (int)(i & 0xff), sizeof text);
	vn_area_write(&l->own, block, d.offset, text, sizeof text);
	vn_lane_tx_push(&l->tx, &d);
	return true;
}

static bool
hear(vn_link *l, const vn_desc *d, uint64_t i)
{
	unsigned char text[100];

	if (vn_desc_check(d, false, l->geometry.area_bytes) || d->pos != i || d->len != 100)
		return false;
	vn_area_read(&l->peer, d->block, d->offset, text, sizeof text);
	for (size_t k = 0; k < sizeof text; k++)
		if (text[k] != (unsigned char)(i & 0xff))
			return false;
	return true;
}

/* Ping-pong in batches of `batch`; the block of a message is free when its answer has come. */
static bool
converse(vn_link *l, uint64_t n, uint32_t batch, bool first)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	uint32_t said[16];
	uint64_t sent = 0, got = 0;
	vn_desc d;

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, l->bell_in, &event) < 0)
		return false;
	while (got < n) {
		int taken;

		for (; sent < n && sent < got + batch && (first || sent < got); sent++) {
			if (sent >= batch)
				vn_block_free(l->blocks, said[sent % batch]);
			if (!say(l, sent))
				return false;
			said[sent % batch] = l->tx.slots[(l->tx.next - 1) & l->tx.mask].block;
		}
		vn_link_flush(l);
		taken = vn_lane_rx_take(&l->rx, &d, 1);
		if (taken < 0 || (taken == 0 && !await(l, epoll)))
			return false;
		if (taken == 1 && !hear(l, &d, got++))
			return false;
		vn_link_release(l);
	}
	for (; sent < n; sent++) /* the last answer, which nobody answers */
		if (!say(l, sent))
			return false;
	vn_link_flush(l);
	close(epoll);
	return true;
}

/* The child's side: returns 0 or the line of what went wrong. */
static int
work(int socket, uint64_t n, uint32_t batch)
{
	const char *why;
	vn_link l;

	if (vn_link_join(&l, socket, &why) != 0)
		return __LINE__ % 200;
	if (l.incarnation != 5 || l.geometry.n_slots != 64 || l.geometry.area_bytes != 1u << 20)
		return __LINE__ % 200;
	if (fcntl(l.bell_in, F_GETFD) != FD_CLOEXEC || fcntl(l.bell_out, F_GETFD) != FD_CLOEXEC ||
		fcntl(socket, F_GETFD) != FD_CLOEXEC)
		return __LINE__ % 200;
	if (!converse(&l, n, batch, false))
		return __LINE__ % 200;
	vn_link_deinit(&l);
	return 0;
}

static int
accept_when_readable(bench *b, const char **why)
{
	struct pollfd p = {.fd = b->sockets[0], .events = POLLIN};

	ck_assert_int_eq(poll(&p, 1, WATCHDOG_MS), 1);
	return vn_link_accept(&b->link, b->sockets[0], why);
}

static void
conversation(uint64_t n, uint32_t batch)
{
	const char *why;
	int status;
	bench b;
	pid_t child;

	signal(SIGPIPE, SIG_IGN); /* as the hub does */
	bench_init(&b);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0)
		_exit(work(b.sockets[1], n, batch));
	ck_assert_int_eq(vn_link_accept(&b.link, b.sockets[0], &why), -EAGAIN);
	ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
	ck_assert_int_eq(accept_when_readable(&b, &why), 0);
	ck_assert_ptr_null(why);
	ck_assert_int_eq(suite_n_fds(), b.n_fds + 4); /* two sockets and two bells */
	ck_assert_int_eq(n_mappings(), 2);
	ck_assert(converse(&b.link, n, batch, true));
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(status == 0, "the worker failed at line %d (mod 200)", WEXITSTATUS(status));
	bench_deinit(&b);
}

START_TEST(two_processes_shake_hands_and_converse_sleeping_at_each_message)
{
	conversation((uint64_t)SUITE_TIMES(30000), 1);
}
END_TEST

START_TEST(two_processes_converse_in_batches)
{
	conversation((uint64_t)SUITE_TIMES(200000), 16);
}
END_TEST

static void *
join_in_a_thread(void *context)
{
	int *socket = context;

	return (void *)(intptr_t)work(*socket, (uint64_t)SUITE_TIMES(30000), 4);
}

/* The same between threads: ThreadSanitizer confirms that they share the segments alone. */
START_TEST(two_threads_shake_hands_and_converse)
{
	const char *why;
	pthread_t thread;
	void *failed;
	bench b;

	bench_init(&b);
	ck_assert_int_eq(pthread_create(&thread, NULL, join_in_a_thread, &b.sockets[1]), 0);
	ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
	ck_assert_int_eq(accept_when_readable(&b, &why), 0);
	ck_assert(converse(&b.link, (uint64_t)SUITE_TIMES(30000), 4, true));
	pthread_join(thread, &failed);
	ck_assert_ptr_null(failed);
	bench_deinit(&b);
}
END_TEST

START_TEST(impossible_sizes_are_not_offered)
{
	static const vn_geometry bad = {.n_slots = 100, .area_bytes = 1u << 20};
	int n_fds = suite_n_fds();
	vn_link l;

	ck_assert_int_eq(vn_link_offer(&l, &bad, 1), -EINVAL);
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

START_TEST(a_link_can_be_dropped_in_any_state)
{
	const char *why;
	vn_link never = {0}, worker;
	bench b;

	vn_link_deinit(&never); /* has no descriptor, so it must not close number 0 */
	bench_init(&b);
	bench_deinit(&b);
	bench_init(&b);
	ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
	bench_deinit(&b);
	bench_init(&b);
	ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
	ck_assert_int_eq(vn_link_join(&worker, b.sockets[1], &why), 0);
	vn_link_deinit(&worker);
	ck_assert_int_eq(vn_link_accept(&b.link, b.sockets[0], &why), 0);
	vn_link_deinit(&b.link);
	bench_deinit(&b); /* a second time harms nobody */
}
END_TEST

/* One descriptor more each time: nothing is left behind wherever it fails. */
START_TEST(running_out_of_descriptors_leaves_nothing_behind)
{
	int n_fds = suite_n_fds(), n_failed = 0, err;
	struct rlimit limit, narrow;
	vn_link l;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	do {
		int lowest = dup(0);

		close(lowest);
		narrow = (struct rlimit){(rlim_t)(lowest + n_failed), limit.rlim_max};
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &narrow), 0);
		err = vn_link_offer(&l, &geometry, 1);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		if (err) {
			ck_assert_int_eq(err, -EMFILE);
			ck_assert_int_eq(suite_n_fds(), n_fds);
			ck_assert_int_eq(n_mappings(), 0);
			n_failed++;
		}
	} while (err);
	ck_assert_int_ge(n_failed, 5); /* two segments, a pipe, an eventfd */
	vn_link_deinit(&l);
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

START_TEST(nothing_there_yet_is_no_error)
{
	const char *why;
	bench b;

	bench_init(&b);
	ck_assert_int_eq(vn_link_accept(&b.link, b.sockets[0], &why), -EAGAIN);
	ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
	ck_assert_int_eq(vn_link_accept(&b.link, b.sockets[0], &why), -EAGAIN);
	ck_assert_ptr_null(why);
	bench_deinit(&b);
}
END_TEST

START_TEST(a_worker_that_dies_before_hello_is_gone)
{
	bench b;

	bench_init(&b);
	close(b.sockets[1]);
	b.sockets[1] = -1;
	ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), -EPIPE);
	accept_fails(&b, -EPIPE, "closed");
	bench_deinit(&b);
}
END_TEST

START_TEST(a_worker_that_dies_with_hello_unread_is_gone)
{
	bench b;

	bench_init(&b);
	ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
	close(b.sockets[1]);
	b.sockets[1] = -1;
	accept_fails(&b, -EPIPE, "closed");
	bench_deinit(&b);
}
END_TEST

START_TEST(a_worker_that_dies_before_it_answers_is_gone)
{
	vn_link_msg hello;
	int fds[N_FDS];
	bench b;

	bench_init(&b);
	ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
	receive_hello(b.sockets[1], &hello, fds);
	close(b.sockets[1]);
	b.sockets[1] = -1;
	accept_fails(&b, -EPIPE, "closed");
	fds_close(fds, N_FDS);
	bench_deinit(&b);
}
END_TEST

START_TEST(what_a_worker_published_before_it_died_is_there)
{
	vn_desc ready = {.kind = VN_KIND_READY}, got;
	const char *why;
	int status;
	bench b;
	pid_t child;

	signal(SIGPIPE, SIG_IGN); /* as the hub does */
	bench_init(&b);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		vn_link l;

		if (vn_link_join(&l, b.sockets[1], &why) != 0)
			_exit(1);
		vn_lane_tx_push(&l.tx, &ready);
		vn_link_flush(&l);
		raise(SIGKILL);
	}
	close(b.sockets[1]);
	b.sockets[1] = -1;
	ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(vn_link_accept(&b.link, b.sockets[0], &why), 0);
	ck_assert_int_eq(vn_lane_rx_take(&b.link.rx, &got, 1), 1);
	ck_assert_uint_eq(got.kind, VN_KIND_READY);
	vn_lane_tx_push(&b.link.tx, &ready);
	vn_link_flush(&b.link); /* rings where nobody is: harmless */
	ck_assert_int_eq(vn_bell_ring(b.link.bell_out), -EPIPE);
	bench_deinit(&b);
}
END_TEST

START_TEST(an_answer_of_a_wrong_size_is_refused)
{
	vn_link_msg msgs[2] = {mapped_msg()};
	static const size_t sizes[] = {1, sizeof *msgs - 1, sizeof *msgs + 1, sizeof msgs};

	for (size_t i = 0; i < SUITE_COUNT(sizes); i++) {
		bench b;

		bench_init(&b);
		send_raw(b.sockets[1], msgs, sizes[i], NULL, 0);
		accept_fails(&b, -EPROTO, "size");
		bench_deinit(&b);
	}
}
END_TEST

START_TEST(an_answer_that_lies_in_any_field_is_refused)
{
	static const char *const words[] = {"type", "versions", "versions", "features",
		"another link", "another link", "another link"};

	for (size_t i = 0; i < SUITE_COUNT(words); i++) {
		vn_link_msg msg = mapped_msg();
		bench b;

		bench_init(&b);
		((uint32_t *)&msg)[i] ^= 0x100;
		send_raw(b.sockets[1], &msg, sizeof msg, NULL, 0);
		accept_fails(&b, -EPROTO, words[i]);
		bench_deinit(&b);
	}
}
END_TEST

START_TEST(a_descriptor_sent_uninvited_is_not_installed)
{
	vn_link_msg msg = mapped_msg();
	int fd = 0, n_fds;
	bench b;

	bench_init(&b);
	send_raw(b.sockets[1], &msg, sizeof msg, &fd, 1);
	n_fds = suite_n_fds();
	accept_fails(&b, -EPROTO, "descriptors");
	ck_assert_int_eq(suite_n_fds(), n_fds);
	bench_deinit(&b);
}
END_TEST

START_TEST(a_worker_that_seals_first_is_found_out)
{
	vn_link_msg hello, answer = mapped_msg();
	int fds[N_FDS];
	bench b;

	bench_init(&b);
	ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
	receive_hello(b.sockets[1], &hello, fds);
	ck_assert_int_eq(fcntl(fds[1], F_ADD_SEALS, F_SEAL_SEAL), 0);
	send_raw(b.sockets[1], &answer, sizeof answer, NULL, 0);
	accept_fails(&b, -EPROTO, "sealed");
	ck_assert_ptr_null(b.link.peer.base); /* and it was never mapped */
	fds_close(fds, N_FDS);
	bench_deinit(&b);
}
END_TEST

START_TEST(a_worker_that_claims_nothing_is_found_out)
{
	vn_link_msg answer = mapped_msg();
	bench b;

	bench_init(&b);
	send_raw(b.sockets[1], &answer, sizeof answer, NULL, 0);
	accept_fails(&b, -EPROTO, "header");
	bench_deinit(&b);
}
END_TEST

START_TEST(after_the_handshake_neither_can_write_the_other_nor_map_again)
{
	vn_link_msg hello, answer = mapped_msg();
	size_t size = vn_geometry_size(&geometry);
	vn_segment worker;
	const char *why;
	int fds[N_FDS];
	bench b;

	bench_init(&b);
	ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
	receive_hello(b.sockets[1], &hello, fds);
	ck_assert_ptr_eq(
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0), MAP_FAILED);
	ck_assert_int_eq(vn_segment_adopt(&worker, fds[1], &geometry), 0);
	ck_assert_int_eq(vn_segment_map(&worker, true), 0);
	ck_assert_int_eq(vn_segment_claim(&worker, 5), 0);
	send_raw(b.sockets[1], &answer, sizeof answer, NULL, 0);
	ck_assert_int_eq(vn_link_accept(&b.link, b.sockets[0], &why), 0);
	ck_assert_ptr_eq(
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0), MAP_FAILED);
	ck_assert_int_eq(ftruncate(fds[1], 0), -1);
	ck_assert_int_eq(mprotect(b.link.peer.base, 4096, PROT_READ | PROT_WRITE), -1);
	vn_area_write(&worker, 0, 0, "mine still", 11);
	ck_assert_str_eq((char *)vn_area_at(&b.link.peer, 0, 0), "mine still");
	vn_segment_deinit(&worker);
	close(fds[0]);
	fds_close(fds + 2, 2);
	bench_deinit(&b);
}
END_TEST

START_TEST(the_worker_hears_when_the_broker_is_gone)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	const char *why;
	vn_link worker;
	int epoll;
	bench b;

	bench_init(&b);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
	ck_assert_int_eq(vn_link_join(&worker, b.sockets[1], &why), 0);
	ck_assert_int_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, worker.bell_in, &event), 0);
	ck_assert_int_eq(epoll_wait(epoll, &event, 1, 0), 0);
	vn_link_deinit(&b.link);
	ck_assert_int_eq(epoll_wait(epoll, &event, 1, 0), 1);
	ck_assert(event.events & EPOLLHUP);
	close(epoll);
	vn_link_deinit(&worker);
	bench_deinit(&b);
}
END_TEST

/* What a worker makes of a HELLO that somebody else wrote; afterwards nothing of it is left. */
static void
join_fails(int sockets[2], int err, const char *words)
{
	int n_fds = suite_n_fds();
	const char *why;
	vn_link l;

	ck_assert_int_eq(vn_link_join(&l, sockets[1], &why), err);
	ck_assert_ptr_nonnull(why);
	ck_assert_msg(strstr(why, words) != NULL, "it says: %s", why);
	ck_assert_int_eq(suite_n_fds(), n_fds);
	ck_assert_int_eq(n_mappings(), 1); /* the broker's */
}

START_TEST(a_hello_that_lies_is_refused)
{
	static const char *const words[] = {
		"type", "versions", "versions", "features", "header", "sizes", "sizes"};

	for (size_t i = 0; i < SUITE_COUNT(words); i++) {
		vn_link_msg hello;
		int fds[N_FDS];
		bench b;

		bench_init(&b);
		ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
		receive_hello(b.sockets[1], &hello, fds);
		((uint32_t *)&hello)[i] ^= 0x1;
		send_raw(b.sockets[0], &hello, sizeof hello, fds, N_FDS);
		join_fails(b.sockets, -EPROTO, words[i]);
		fds_close(fds, N_FDS);
		bench_deinit(&b);
	}
}
END_TEST

START_TEST(a_hello_with_other_sizes_than_its_memory_is_refused)
{
	vn_link_msg hello;
	int fds[N_FDS];
	bench b;

	bench_init(&b);
	ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
	receive_hello(b.sockets[1], &hello, fds);
	hello.area_bytes *= 2;
	send_raw(b.sockets[0], &hello, sizeof hello, fds, N_FDS);
	join_fails(b.sockets, -EPROTO, "segments");
	fds_close(fds, N_FDS);
	bench_deinit(&b);
}
END_TEST

START_TEST(a_hello_of_a_wrong_size_is_refused)
{
	vn_link_msg hellos[2];
	static const size_t sizes[] = {1, sizeof *hellos - 1, sizeof *hellos + 1, sizeof hellos};

	for (size_t i = 0; i < SUITE_COUNT(sizes); i++) {
		int fds[N_FDS];
		bench b;

		bench_init(&b);
		ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
		receive_hello(b.sockets[1], hellos, fds);
		hellos[1] = hellos[0];
		send_raw(b.sockets[0], hellos, sizes[i], fds, N_FDS);
		join_fails(b.sockets, -EPROTO, "size");
		fds_close(fds, N_FDS);
		bench_deinit(&b);
	}
}
END_TEST

START_TEST(a_hello_brings_four_descriptors)
{
	for (size_t n = 0; n <= 6; n++) {
		int fds[N_FDS], six[6];
		vn_link_msg hello;
		bench b;

		if (n == N_FDS)
			continue;
		bench_init(&b);
		ck_assert_int_eq(vn_link_hello(&b.link, b.sockets[0]), 0);
		receive_hello(b.sockets[1], &hello, fds);
		memcpy(six, fds, sizeof fds);
		six[4] = six[5] = fds[0];
		send_raw(b.sockets[0], &hello, sizeof hello, six, n);
		join_fails(b.sockets, -EPROTO, "descriptors");
		fds_close(fds, N_FDS);
		bench_deinit(&b);
	}
}
END_TEST

START_TEST(a_broker_that_is_gone_is_noticed_at_once)
{
	const char *why;
	int sockets[2];
	vn_link l;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
	close(sockets[0]);
	ck_assert_int_eq(vn_link_join(&l, sockets[1], &why), -EPIPE);
	ck_assert_str_eq(why, "the broker is gone");
	ck_assert_int_eq(vn_link_join(&l, 999, &why), -EBADF);
	close(sockets[1]);
}
END_TEST

START_TEST(a_broker_that_says_nothing_is_not_awaited_for_ever)
{
	const char *why;
	int sockets[2];
	vn_link l;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
	ck_assert_int_eq(vn_link_join(&l, sockets[1], &why), -ETIMEDOUT);
	ck_assert_ptr_nonnull(strstr(why, "ten seconds"));
	close(sockets[0]);
	close(sockets[1]);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		two_processes_shake_hands_and_converse_sleeping_at_each_message,
		two_processes_converse_in_batches,
		two_threads_shake_hands_and_converse,
		impossible_sizes_are_not_offered,
		a_link_can_be_dropped_in_any_state,
		running_out_of_descriptors_leaves_nothing_behind,
		nothing_there_yet_is_no_error,
		a_worker_that_dies_before_hello_is_gone,
		a_worker_that_dies_with_hello_unread_is_gone,
		a_worker_that_dies_before_it_answers_is_gone,
		what_a_worker_published_before_it_died_is_there,
		an_answer_of_a_wrong_size_is_refused,
		an_answer_that_lies_in_any_field_is_refused,
		a_descriptor_sent_uninvited_is_not_installed,
		a_worker_that_seals_first_is_found_out,
		a_worker_that_claims_nothing_is_found_out,
		after_the_handshake_neither_can_write_the_other_nor_map_again,
		the_worker_hears_when_the_broker_is_gone,
		a_hello_that_lies_is_refused,
		a_hello_with_other_sizes_than_its_memory_is_refused,
		a_hello_of_a_wrong_size_is_refused,
		a_hello_brings_four_descriptors,
		a_broker_that_is_gone_is_noticed_at_once,
		a_broker_that_says_nothing_is_not_awaited_for_ever,
	};

	return suite_run("link", tests, SUITE_COUNT(tests));
}
