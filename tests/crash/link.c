/* SPDX-License-Identifier: MIT */
/*
 * Link - one side of a link is killed at each passage of one point, the other side judges
 *
 *     link broker|worker POINT     prints "early N quiet N": how many deaths there were
 *
 * Two processes make a link as broker and worker do, and send each other numbered descriptors whose every word and
 * payload byte follows from the number; each reports what it has taken, and then the other's blocks are free. The
 * child plays the side that dies. A round goes like this:
 *
 *   handshake   and 100 messages each way, both running, sleeping and ringing as they like
 *   gate        the child waits; the parent fills its lane, asks for room, arms, and moves no more
 *   script      the child takes, frees, writes, pushes and rings until its lane is full
 *
 * *early* arms the point before the fork, so that the child dies in the handshake or among the 100; *quiet* arms it
 * at the gate, so that both lanes have something in them and each count is known. The child is killed at its first
 * passage, in the next round at its second, and so on.
 *
 * Before each publication the child notes in a page of the test what it means to publish, afterwards that it did.
 * So the judge knows what must have arrived: all of a batch or nothing, and which, if the point lies beside the
 * store. It drains what the dead side published, checks every byte, gets every block home once, and insists that
 * no descriptor or mapping is left.
 */
#include "shm/link.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/bell.h"
#include "tests/crash/point.h"

#define SLOTS     64
#define AREA      (1u << 20)
#define BATCH     8
#define WINDOW    40  /* blocks that may be out, in a lane of 64 slots */
#define EARLY     100 /* messages before the gate: the cursors wrap at 16 */
#define N_HELD    256 /* more than can be out */
#define WAIT_MS   30000
#define PAYLOAD   600
#define INCARNATE 7

#define require(what)                                                                              \
	do {                                                                                       \
		if (!(what))                                                                       \
			errx(1, "line %d: not true: %s", __LINE__, #what);                         \
	} while (0)

/* What the child means to publish and what it has: cursors. */
typedef struct journal {
	uint32_t out_meant, out_done;
	uint32_t in_meant, in_done;
} journal;

typedef struct side {
	vn_link link;
	bool is_broker;
	int epoll;
	journal *journal;
	uint32_t n_out, n_in;       /* descriptors made, and taken of the peer's */
	uint32_t n_made, n_payload; /* of them, with payload */
	uint32_t limit;             /* of n_made */
	uint32_t acked;             /* of n_out: their blocks came home */
	uint32_t n_held, n_owed;    /* blocks out; payloads of the peer that it was not told of */
	uint32_t held[N_HELD];
	uint64_t n_releases;
} side;

typedef struct shared {
	crash_page page;
	journal journal;
} shared;

typedef struct round {
	shared *shared;
	uint32_t role; /* the child's */
	bool early;
	int socket[2], gate[2]; /* parent, child */
	pid_t child;
	int pidfd;
	side me;
} round;

static uint32_t
payload_len(uint32_t i)
{
	return 2 + i * 37 % (PAYLOAD - 2);
}

static unsigned char
payload_byte(uint32_t i, uint32_t at)
{
	return (unsigned char)(i * 7 + at * 13 + (at >> 8));
}

/* Taking. */

static void
ack(side *s, uint64_t report)
{
	require(report >= s->acked && report <= s->n_out);
	for (; s->acked < report; s->acked++) {
		uint32_t *block = &s->held[s->acked % N_HELD];

		if (*block == VN_NO_BLOCK)
			continue;
		vn_block_free(s->link.blocks, *block);
		*block = VN_NO_BLOCK;
		s->n_held--;
	}
}

static void
check_payload(const side *s, const vn_desc *d)
{
	unsigned char data[PAYLOAD];

	require(d->len == payload_len(d->conn) && d->offset == 0 && d->pos == d->conn);
	vn_area_read(&s->link.peer, d->block, d->offset, data, d->len);
	for (uint32_t k = 0; k < d->len; k++)
		require(data[k] == payload_byte(d->conn, k));
}

static void
check_one(side *s, const vn_desc *d)
{
	const char *bad = vn_desc_check(d, s->is_broker, AREA);

	if (bad)
		errx(1, "descriptor %u: bad %s", s->n_in, bad);
	require(d->conn == s->n_in && d->gen == ~s->n_in);
	s->n_in++;
	if (d->len) {
		check_payload(s, d);
		s->n_payload++;
		s->n_owed++;
	}
	ack(s, d->report);
}

static bool
side_take(side *s)
{
	vn_desc batch[BATCH];
	int n = vn_lane_rx_take(&s->link.rx, batch, BATCH);

	require(n >= 0);
	if (n == 0)
		return false;
	s->journal->in_meant = s->link.rx.next;
	vn_link_release(&s->link);
	s->journal->in_done = s->link.rx.next;
	s->n_releases++;
	for (int i = 0; i < n; i++)
		check_one(s, &batch[i]);
	return true;
}

/* Making. */

/* Only says how far the peer's messages were taken. */
static void
make_report(side *s)
{
	vn_lane_tx_push(&s->link.tx, &(vn_desc){.kind = s->is_broker ? VN_KIND_SENT : VN_KIND_ACK,
					     .conn = s->n_out,
					     .gen = ~s->n_out,
					     .report = s->n_in});
	s->held[s->n_out++ % N_HELD] = VN_NO_BLOCK;
	s->n_owed = 0;
}

/* A worker adds to what it has pushed, a broker does not. */
static void
make_payload(side *s)
{
	uint32_t i = s->n_out, len = payload_len(i), half = s->is_broker ? len : len / 2, cursor;
	vn_desc d = {.conn = i, .gen = ~i, .pos = i, .len = half};
	unsigned char data[PAYLOAD];

	for (uint32_t k = 0; k < len; k++)
		data[k] = payload_byte(i, k);
	d.kind = s->is_broker ? VN_KIND_DATA : VN_KIND_SEND;
	d.report = s->is_broker ? s->n_in : 0;
	d.block = vn_block_alloc(s->link.blocks, vn_block_class(len));
	require(d.block != VN_NO_BLOCK);
	s->held[i % N_HELD] = d.block;
	s->n_held++;
	vn_area_write(&s->link.own, d.block, 0, data, half);
	cursor = vn_lane_tx_push(&s->link.tx, &d);
	s->n_out++;
	s->n_made++;
	s->n_owed = 0;
	if (s->is_broker)
		return;
	vn_area_write(&s->link.own, d.block, half, data + half, len - half);
	vn_lane_tx_extend(&s->link.tx, cursor, len - half);
	vn_lane_tx_amend(&s->link.tx, cursor, VN_ACK, s->n_in, (vn_desc_times){0, 0});
}

static void
side_flush(side *s)
{
	s->journal->out_meant = s->link.tx.next;
	vn_link_flush(&s->link);
	s->journal->out_done = s->link.tx.next;
}

static bool
side_make(side *s)
{
	uint32_t before = s->n_out;

	for (int i = 0; i < BATCH && s->n_made < s->limit && s->n_held < WINDOW; i++)
		if (vn_lane_tx_has(&s->link.tx, 1))
			make_payload(s);
	if (s->n_owed && vn_lane_tx_has(&s->link.tx, 1))
		make_report(s);
	side_flush(s);
	return s->n_out != before;
}

/* Both sides, working and sleeping. */

/* Nothing to do: sleeps if that is right. False if the peer is dead. */
static bool
side_sleep(side *s)
{
	struct epoll_event event;
	int n;

	if (!vn_lane_tx_has(&s->link.tx, 1) && vn_lane_tx_want(&s->link.tx, 1))
		return true;
	if (!vn_lane_rx_arm(&s->link.rx))
		return true;
	do
		n = epoll_wait(s->epoll, &event, 1, WAIT_MS);
	while (n < 0 && errno == EINTR);
	require(n == 1); /* else it is asleep for ever */
	if (s->is_broker)
		vn_lane_rx_disarm(&s->link.rx);
	return event.data.u32 == 0 && !(event.events & EPOLLHUP);
}

static bool
side_run(side *s)
{
	while (s->n_made < s->limit || s->n_payload < EARLY) {
		bool took = side_take(s), made = side_make(s);

		if (!took && !made && !side_sleep(s))
			return false;
	}
	return true;
}

static int
handshake(side *s, int socket)
{
	const vn_geometry g = {SLOTS, AREA};
	struct pollfd p = {.fd = socket, .events = POLLIN};
	const char *why;
	int rc;

	if (!s->is_broker)
		return vn_link_join(&s->link, socket, &why);
	rc = vn_link_offer(&s->link, &g, INCARNATE);
	require(rc == 0);
	rc = vn_link_hello(&s->link, socket);
	while (rc == 0 && (rc = vn_link_accept(&s->link, socket, &why)) == -EAGAIN)
		rc = poll(&p, 1, WAIT_MS) == 1 ? 0 : -ETIMEDOUT;
	if (rc < 0)
		vn_link_deinit(&s->link);
	return rc;
}

static void
watch(const side *s, int fd, uint32_t number)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = number};

	require(epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

static int
side_init(side *s, bool is_broker, int socket, journal *j)
{
	int rc;

	*s = (side){.is_broker = is_broker, .limit = EARLY, .journal = j, .epoll = -1};
	rc = handshake(s, socket);
	if (rc < 0)
		return rc;
	s->journal->out_meant = s->journal->out_done = s->link.tx.next;
	s->journal->in_meant = s->journal->in_done = s->link.rx.next;
	require(s->link.tx.next == 0xfffffff0u);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	watch(s, s->link.bell_in, 0);
	return 0;
}

/* The one that dies. */

/* A loan that is given back. */
static void
borrow(side *s)
{
	uint32_t block = vn_block_alloc(s->link.blocks, 0);

	require(block != VN_NO_BLOCK);
	vn_block_free(s->link.blocks, block);
}

static void
script(side *s)
{
	borrow(s);
	while (side_take(s))
		side_make(s);
	s->limit = UINT32_MAX;
	while (vn_lane_tx_has(&s->link.tx, 1) && s->n_held < WINDOW)
		side_make(s);
	while (vn_lane_tx_has(&s->link.tx, 1)) {
		make_report(s);
		side_flush(s);
	}
	require(!vn_lane_tx_want(&s->link.tx, 1));
	require(vn_lane_rx_arm(&s->link.rx));
	if (s->is_broker)
		vn_lane_rx_disarm(&s->link.rx);
}

static _Noreturn void
child_run(round *r)
{
	char byte = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	crash_point_use(&r->shared->page, r->role);
	close(r->socket[0]);
	close(r->gate[0]);
	if (side_init(&r->me, r->role == CRASH_BROKER, r->socket[1], &r->shared->journal) < 0)
		errx(1, "the dying side could not make the link");
	if (!side_run(&r->me))
		errx(1, "the dying side thinks that the other one is dead");
	require(write(r->gate[1], &byte, 1) == 1 && read(r->gate[1], &byte, 1) == 1);
	script(&r->me);
	_exit(0);
}

/* The one that lives. */

static void
arm_page(round *r)
{
	__atomic_store_n(&r->shared->page.state, CRASH_ARMED, __ATOMIC_SEQ_CST);
}

/* The child stands at the gate: fill its lane, ask for room, fall asleep. */
static void
freeze(round *r)
{
	side *s = &r->me;

	while (side_take(s))
		;
	s->limit += WINDOW;
	while (s->n_made < s->limit && s->n_held < WINDOW && vn_lane_tx_has(&s->link.tx, 1))
		make_payload(s);
	while (vn_lane_tx_has(&s->link.tx, 1))
		make_report(s);
	side_flush(s);
	require(!vn_lane_tx_want(&s->link.tx, 1));
	require(vn_lane_rx_arm(&s->link.rx));
}

/* False if the child died before the link was made. */
static bool
live(round *r)
{
	journal own;
	char byte = 0;

	if (side_init(&r->me, r->role == CRASH_WORKER, r->socket[0], &own) < 0)
		return false;
	watch(&r->me, r->pidfd, 1);
	if (side_run(&r->me) && read(r->gate[0], &byte, 1) == 1) {
		freeze(r);
		if (!r->early)
			arm_page(r);
		require(write(r->gate[0], &byte, 1) == 1);
	}
	r->me.journal = NULL; /* it was of this frame */
	return true;
}

static bool
is_one_of(const char *point, const char *const *names)
{
	for (; *names; names++)
		if (strcmp(point, *names) == 0)
			return true;
	return false;
}

/* The cursor is one that was meant; beside the store it is known which. */
static void
judge_cursor(const round *r, uint32_t cursor, uint32_t done, uint32_t meant, const char *word)
{
	const char *before[] = {NULL, NULL}, *after[] = {NULL, NULL, NULL, NULL};
	char names[4][32];

	snprintf(names[0], sizeof names[0], "lane.%s.before", word);
	snprintf(names[1], sizeof names[1], "lane.%s.after", word);
	snprintf(names[2], sizeof names[2], "bell.%s.before", word[0] == 't' ? "news" : "space");
	snprintf(names[3], sizeof names[3], "bell.%s.after", word[0] == 't' ? "news" : "space");
	before[0] = names[0];
	for (int i = 0; i < 3; i++)
		after[i] = names[i + 1];
	require(cursor == done || cursor == meant);
	if (is_one_of(r->shared->page.point, before))
		require(cursor == done && done != meant);
	if (is_one_of(r->shared->page.point, after))
		require(cursor == meant && done != meant);
}

static void
judge_link(round *r, bool died)
{
	const journal *j = &r->shared->journal;
	journal own;
	side *s = &r->me;

	s->journal = &own;
	while (side_take(s))
		;
	vn_lane_tx_refresh(&s->link.tx);
	require(!s->link.tx.broken);
	require(s->link.tx.n_bells <= s->link.tx.n_flushes);
	require(s->link.rx.n_bells <= s->n_releases);
	if (died && j->out_meant) { /* else it died before it had a link */
		judge_cursor(r, s->link.rx.next, j->out_done, j->out_meant, "tail");
		judge_cursor(r, s->link.tx.taken, j->in_done, j->in_meant, "head");
	}
	if (!s->is_broker)
		require(vn_bell_drain(s->link.bell_in) == -EPIPE); /* it hears of the death */
	ack(s, s->n_out);
	require(s->n_held == 0 && vn_blocks_available(s->link.blocks) == AREA);
	close(s->epoll);
	vn_link_deinit(&s->link);
}

static int
n_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int
n_mapped(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	int n = 0;

	require(f);
	while (fgets(line, sizeof line, f))
		n += strstr(line, "vanilla") != NULL;
	fclose(f);
	return n;
}

static void
open_all(round *r)
{
	int sockets = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, r->socket),
	    gates = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, r->gate);

	require(sockets == 0 && gates == 0);
	r->child = fork();
	require(r->child >= 0);
	if (r->child == 0)
		child_run(r);
	close(r->socket[1]);
	close(r->gate[1]);
	r->pidfd = (int)syscall(SYS_pidfd_open, r->child, 0);
	require(r->pidfd >= 0);
}

/* One life and death; true if it was killed, false if the count was beyond the last passage. */
static bool
round_run(round *r, int32_t count)
{
	int fds = n_open(), status;
	bool linked, died;

	memset(&r->shared->journal, 0, sizeof r->shared->journal);
	r->shared->page.role = r->role;
	r->shared->page.countdown = count;
	r->shared->page.busy = !r->early;
	r->shared->page.state = CRASH_IDLE;
	if (r->early)
		arm_page(r);
	open_all(r);
	linked = live(r);
	require(waitpid(r->child, &status, 0) == r->child);
	died = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
	       r->shared->page.state == CRASH_DONE && r->shared->page.pid == (uint32_t)r->child;
	require(died || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	require(linked || died);
	if (linked)
		judge_link(r, died);
	close(r->pidfd);
	close(r->socket[0]);
	close(r->gate[0]);
	require(n_open() == fds && n_mapped() == 0);
	return died;
}

static int
rounds(shared *s, uint32_t role, bool early)
{
	static const int32_t counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 21, 34, 55, 89};
	int n = 0;

	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
		round r = {.shared = s, .role = role, .early = early};

		if (!round_run(&r, counts[i]))
			break;
		n++;
	}
	return n;
}

int
main(int argc, char **argv)
{
	shared *s =
		mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t role;
	int early, quiet;

	if (argc != 3 || s == MAP_FAILED || strlen(argv[2]) >= sizeof s->page.point)
		errx(2, "usage: link broker|worker POINT");
	signal(SIGPIPE, SIG_IGN);
	role = strcmp(argv[1], "broker") == 0 ? CRASH_BROKER : CRASH_WORKER;
	strcpy(s->page.point, argv[2]);
	early = rounds(s, role, true);
	quiet = rounds(s, role, false);
	printf("early %d quiet %d\n", early, quiet);
	return 0;
}
