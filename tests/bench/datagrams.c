/* SPDX-License-Identifier: MIT */
/*
 * Datagrams - a bare echo server of datagrams, and the load for it
 *
 *     datagrams echo               on a port of the system's choosing; "READY PORT" on stdout
 *     datagrams load [-g] [-w WINDOW] [-n SOCKETS] [-b BYTES] [-t SLICE_MS] [-r ROUNDS] PORT[=PID,PID...]...
 *
 * The server is one thread: recvmmsg by 64, sendmmsg by 64. It has UDP_GRO, and what it received in a row from one
 * peer in one size leaves as one message with UDP_SEGMENT: as the broker does.
 *
 * The load has a window of datagrams in flight on each socket, to each server in turn, a slice each. With -g its socket
 * takes and gives runs, too; without, each datagram is a message on its way, both ways. An answer must be what was sent,
 * in order. Loopback loses nothing as long as the window fits the sockets' buffers: a silence is an error.
 */
#include <err.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include "client.h"

#define BATCH     64
#define STRIDE    (65536 + 128)
#define N_TARGETS 4
#define N_PIDS    8
#define BYTES_MAX 1400
#define N_SOCKETS 64
#define SILENCE_S 5

typedef union control {
	char bytes[64];
	struct cmsghdr align;
} control;

static unsigned char buf[BATCH * (size_t)STRIDE];

static int
udp_socket(bool runs)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		err(1, "socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){4 << 20}, sizeof(int));
	if (runs && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &(int){1}, sizeof(int)) < 0)
		err(1, "UDP_GRO");
	return fd;
}

static uint16_t
segment_of(struct msghdr *m)
{
	int size = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
			memcpy(&size, CMSG_DATA(c), sizeof size);
	return (uint16_t)size;
}

static void
set_segment(struct msghdr *m, control *c, uint16_t size)
{
	struct cmsghdr *h = &c->align;

	h->cmsg_level = IPPROTO_UDP;
	h->cmsg_type = UDP_SEGMENT;
	h->cmsg_len = CMSG_LEN(sizeof size);
	memcpy(CMSG_DATA(h), &size, sizeof size);
	m->msg_control = c;
	m->msg_controllen = CMSG_SPACE(sizeof size);
}

/* The server. */

typedef struct server {
	struct mmsghdr in[BATCH], out[BATCH];
	struct iovec in_part[BATCH], out_part[BATCH];
	struct sockaddr_in from[BATCH];
	control in_control[BATCH], out_control[BATCH];
} server;

static int
server_receive(server *s, int fd)
{
	int n;

	for (int i = 0; i < BATCH; i++) {
		s->in_part[i] = (struct iovec){buf + i * (size_t)STRIDE, 65536};
		s->in[i].msg_hdr = (struct msghdr){.msg_name = &s->from[i],
			.msg_namelen = sizeof s->from[i],
			.msg_iov = &s->in_part[i],
			.msg_iovlen = 1,
			.msg_control = &s->in_control[i],
			.msg_controllen = sizeof s->in_control[i]};
	}
	n = recvmmsg(fd, s->in, BATCH, MSG_WAITFORONE, NULL);
	if (n < 0)
		err(1, "recvmmsg");
	return n;
}

/* Messages in a row that are one run: from one peer, of one size, but the last may be shorter. */
static int
run_length(const server *s, int from, int n, size_t *total)
{
	int k = from + 1;

	*total = s->in[from].msg_len;
	while (k < n && s->in[k - 1].msg_len == s->in[from].msg_len && s->in[k].msg_len > 0 &&
		s->in[k].msg_len <= s->in[from].msg_len && *total + s->in[k].msg_len <= 65507 &&
		memcmp(&s->from[k], &s->from[from], sizeof s->from[k]) == 0)
		*total += s->in[k++].msg_len;
	return k - from;
}

static void
server_echo(server *s, int fd, int n)
{
	int n_out = 0;

	for (int i = 0; i < n; n_out++) {
		uint16_t segment = segment_of(&s->in[i].msg_hdr);
		size_t total = s->in[i].msg_len;
		int k = segment ? 1 : run_length(s, i, n, &total);

		for (int j = i; j < i + k; j++)
			s->out_part[j] = (struct iovec){s->in_part[j].iov_base, s->in[j].msg_len};
		s->out[n_out].msg_hdr = (struct msghdr){.msg_name = &s->from[i],
			.msg_namelen = sizeof s->from[i],
			.msg_iov = &s->out_part[i],
			.msg_iovlen = (size_t)k};
		if (!segment && k > 1)
			segment = (uint16_t)s->in[i].msg_len;
		if (segment)
			set_segment(&s->out[n_out].msg_hdr, &s->out_control[n_out], segment);
		i += k;
	}
	for (int sent = 0; sent < n_out;) {
		int k = sendmmsg(fd, s->out + sent, (unsigned)(n_out - sent), 0);

		if (k < 0)
			err(1, "sendmmsg");
		sent += k;
	}
}

static int
serve(void)
{
	static server s;
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t len = sizeof addr;
	int fd = udp_socket(true);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)&addr, len) < 0)
		err(1, "bind");
	getsockname(fd, (struct sockaddr *)&addr, &len);
	printf("READY %d\n", ntohs(addr.sin_port));
	fflush(stdout);
	for (;;)
		server_echo(&s, fd, server_receive(&s, fd));
}

/* The load. */

typedef struct target {
	uint16_t port;
	int n_pids;
	pid_t pids[N_PIDS];
	int fds[N_SOCKETS];
	uint64_t sent[N_SOCKETS], got[N_SOCKETS];
} target;

typedef struct load {
	size_t window, bytes, n_sockets;
	uint64_t slice_ns;
	int n_rounds, n_targets;
	bool runs;
	target targets[N_TARGETS];
	char request[BATCH][BYTES_MAX];
} load;

static uint64_t
process_cpu_ns(pid_t pid)
{
	char path[64];
	uint64_t ns = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%ju", &ns) != 1)
		errx(1, "process %d is gone", (int)pid);
	fclose(f);
	return ns;
}

static void
target_connect(const load *l, target *t)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(t->port)};

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (size_t i = 0; i < l->n_sockets; i++) {
		t->fds[i] = udp_socket(l->runs);
		setsockopt(t->fds[i], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){SILENCE_S, 0},
			sizeof(struct timeval));
		if (connect(t->fds[i], (struct sockaddr *)&addr, sizeof addr) < 0)
			err(1, "connect");
	}
}

static void
send_some(load *l, target *t, size_t socket, size_t n)
{
	struct mmsghdr msgs[BATCH] = {0};
	struct iovec parts[BATCH];
	control c;
	unsigned n_msgs = l->runs ? 1 : (unsigned)n;

	for (size_t i = 0; i < n; i++) {
		uint64_t number = ++t->sent[socket];

		memcpy(l->request[i], &number, sizeof number);
		parts[i] = (struct iovec){l->request[i], l->bytes};
		msgs[i].msg_hdr.msg_iov = &parts[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	if (l->runs && n > 1) {
		msgs[0].msg_hdr.msg_iovlen = n;
		set_segment(&msgs[0].msg_hdr, &c, (uint16_t)l->bytes);
	}
	for (unsigned sent = 0; sent < n_msgs;) {
		int k = sendmmsg(t->fds[socket], msgs + sent, n_msgs - sent, 0);

		if (k < 0)
			err(1, "sendmmsg");
		sent += (unsigned)k;
	}
}

static void
check_answers(const load *l, target *t, size_t socket, const unsigned char *data, size_t len)
{
	for (size_t at = 0; at < len; at += l->bytes) {
		uint64_t number;

		memcpy(&number, data + at, sizeof number);
		if (number != ++t->got[socket] || len - at < l->bytes)
			errx(1, "port %u: answer %ju is not the one to question %ju",
				(unsigned)t->port, (uintmax_t)number, (uintmax_t)t->got[socket]);
	}
}

/* Return: datagrams that came; waits for one. */
static size_t
receive_some(load *l, target *t, size_t socket)
{
	struct mmsghdr msgs[BATCH];
	struct iovec parts[BATCH];
	size_t before = t->got[socket];
	int n;

	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){buf + i * (size_t)STRIDE, 65536};
		msgs[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
	}
	n = recvmmsg(t->fds[socket], msgs, BATCH, MSG_WAITFORONE, NULL);
	if (n < 0)
		err(1, "port %u: %ju datagrams without an answer", (unsigned)t->port,
			(uintmax_t)(t->sent[socket] - t->got[socket]));
	for (int i = 0; i < n; i++)
		check_answers(l, t, socket, parts[i].iov_base, msgs[i].msg_len);
	return t->got[socket] - before;
}

static uint64_t
slice_run(load *l, target *t, uint64_t end_ns)
{
	uint64_t n_answers = 0;
	size_t in_flight = l->window * l->n_sockets;
	bool over = false;

	for (size_t i = 0; i < l->n_sockets; i++)
		send_some(l, t, i, l->window);
	while (in_flight > 0) {
		for (size_t i = 0; i < l->n_sockets; i++) {
			size_t n = t->got[i] < t->sent[i] ? receive_some(l, t, i) : 0;

			n_answers += n;
			if (over)
				in_flight -= n;
			else if (n)
				send_some(l, t, i, n);
		}
		over = client_clock_ns(CLOCK_MONOTONIC) >= end_ns;
	}
	return n_answers;
}

static void
slice_measure(load *l, int i_target, int round)
{
	target *t = &l->targets[i_target];
	uint64_t server_ns[N_PIDS], wall, own, n;

	for (int i = 0; i < t->n_pids; i++)
		server_ns[i] = process_cpu_ns(t->pids[i]);
	wall = client_clock_ns(CLOCK_MONOTONIC);
	own = client_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	n = slice_run(l, t, wall + l->slice_ns);
	wall = client_clock_ns(CLOCK_MONOTONIC) - wall;
	own = client_clock_ns(CLOCK_PROCESS_CPUTIME_ID) - own;
	nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
	if (round < 0)
		return;
	printf("{\"target\": %d, \"round\": %d, \"requests\": %ju, \"wall_ns\": %ju, \"load_ns\": "
	       "%ju, \"server_ns\": [",
		i_target, round, (uintmax_t)n, (uintmax_t)wall, (uintmax_t)own);
	for (int i = 0; i < t->n_pids; i++)
		printf("%s%ju", i ? ", " : "",
			(uintmax_t)(process_cpu_ns(t->pids[i]) - server_ns[i]));
	printf("]}\n");
	fflush(stdout);
}

static void
target_parse(target *t, char *text)
{
	char *pids = strchr(text, '='), *pid;

	if (pids)
		*pids++ = '\0';
	t->port = (uint16_t)client_number(text, 1, 65535);
	while ((pid = strsep(&pids, ",")) && t->n_pids < N_PIDS)
		t->pids[t->n_pids++] = (pid_t)client_number(pid, 1, INT32_MAX);
}

static void
load_parse(load *l, int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "gw:n:b:t:r:")) != -1) {
		if (option == 'g')
			l->runs = true;
		else if (option == 'w')
			l->window = client_number(optarg, 1, BATCH);
		else if (option == 'n')
			l->n_sockets = client_number(optarg, 1, N_SOCKETS);
		else if (option == 'b')
			l->bytes = client_number(optarg, sizeof(uint64_t), BYTES_MAX);
		else if (option == 't')
			l->slice_ns = client_number(optarg, 1, 3600000) * 1000000;
		else if (option == 'r')
			l->n_rounds = (int)client_number(optarg, 1, 100000);
		else
			exit(2);
	}
	for (; optind < argc && l->n_targets < N_TARGETS; optind++)
		target_parse(&l->targets[l->n_targets++], argv[optind]);
	if (l->n_targets == 0 || optind < argc)
		errx(2, "usage: see tests/bench/datagrams.c");
}

int
main(int argc, char **argv)
{
	static load l = {
		.window = 64, .bytes = 64, .n_sockets = 1, .slice_ns = 500000000, .n_rounds = 9};

	if (argc > 1 && strcmp(argv[1], "echo") == 0)
		return serve();
	if (argc < 3 || strcmp(argv[1], "load") != 0)
		errx(2, "usage: datagrams echo | datagrams load ...");
	load_parse(&l, argc - 1, argv + 1);
	for (int i = 0; i < l.n_targets; i++)
		target_connect(&l, &l.targets[i]);
	for (int round = -1; round < l.n_rounds; round++)
		for (int i = 0; i < l.n_targets; i++)
			slice_measure(&l, i, round);
	return 0;
}
