/* SPDX-License-Identifier: MIT */
/*
 * Load - one request in flight on each of N connections, to several servers in turn
 *
 * The connections to all targets are opened first and stay open. Then the targets are loaded in turn, a
 * slice each, round after round, so that whatever else the machine does meets all of them alike. In a
 * slice each connection sends one request, waits for the whole answer, compares it, and sends the next.
 * When the time is over, no new request is sent, and the slice ends with the last answer: nothing is in
 * flight between slices.
 *
 * What is compared is the length, and the connection's request number in the first and in the last eight
 * bytes: enough to notice an answer that is lost, doubled, reordered, cut or another connection's.
 *
 * The load shares its core with the server, so each instruction here makes the servers look more alike.
 * Hence: one recv and one send per request (an answer that is short has its own event), large epoll
 * batches, a clock read per 64 requests.
 *
 * One line of JSON per slice on stdout: requests, wall time, the load's own CPU time, the CPU time of
 * each process that was named with the target, and what the core did meanwhile, in clock ticks. A server's
 * time is read SETTLE_NS after the slice, when it has done what the last answers left it to do.
 */
#include <ctype.h>
#include <dirent.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "client.h"

#define BATCH_EVENTS   256
#define CLOCK_REQUESTS 64      /* requests between two looks at the clock */
#define ANSWER_MS      10000   /* a server that is silent for so long has failed */
#define SETTLE_NS      3000000 /* from the last answer to reading the server's CPU time */
#define N_PIDS         8
#define N_TARGETS      4
#define REQUEST_MAX    16384 /* always fits a socket buffer: a send is never short */

typedef struct load_conn {
	int fd;
	uint32_t got;    /* bytes of the current answer */
	uint64_t number; /* of the current request, unique among all connections */
	char *answer;
} load_conn;

typedef struct load_target {
	uint16_t port;
	int n_pids;
	pid_t pids[N_PIDS];
	int epoll_fd;
	load_conn *conns;
} load_target;

typedef struct load_core {
	uint64_t total, idle, softirq, steal;
} load_core;

typedef struct load_sample {
	uint64_t wall_ns, load_ns;
	uint64_t server_ns[N_PIDS];
	load_core core;
} load_sample;

typedef struct load {
	size_t n_conns, request_len;
	uint64_t slice_ns;
	int n_rounds, n_warm;
	bool gated;
	int n_targets;
	load_target targets[N_TARGETS];
	char request[REQUEST_MAX];
} load;

static uint64_t
thread_cpu_ns(const char *dir, const char *tid)
{
	char path[512];
	uint64_t ns = 0;
	FILE *f;

	snprintf(path, sizeof path, "%s/%s/schedstat", dir, tid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%ju", &ns) != 1)
		ns = 0;
	fclose(f);
	return ns;
}

/* For a kernel without schedstat: clock ticks instead of nanoseconds. */
static uint64_t
process_cpu_ticks_ns(pid_t pid)
{
	uint64_t user = 0, system = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ju %ju", &user,
		    &system) != 2)
		user = system = 0;
	fclose(f);
	return (user + system) * (1000000000 / (uint64_t)sysconf(_SC_CLK_TCK));
}

static uint64_t
process_cpu_ns(pid_t pid)
{
	struct dirent *entry;
	uint64_t ns = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		errx(1, "process %d is gone", (int)pid);
	while ((entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]))
			ns += thread_cpu_ns(path, entry->d_name);
	closedir(dir);
	return ns ? ns : process_cpu_ticks_ns(pid);
}

static load_core
core_sample(void)
{
	uint64_t user, nice, system, idle, iowait, irq, softirq, steal;
	load_core core = {0};
	char line[256], name[16];
	FILE *f = fopen("/proc/stat", "re");

	snprintf(name, sizeof name, "cpu%d ", sched_getcpu());
	while (f && fgets(line, sizeof line, f)) {
		if (strncmp(line, name, strlen(name)) != 0)
			continue;
		if (sscanf(line + strlen(name), "%ju %ju %ju %ju %ju %ju %ju %ju", &user, &nice,
			    &system, &idle, &iowait, &irq, &softirq, &steal) != 8)
			break;
		core.total = user + nice + system + idle + iowait + irq + softirq + steal;
		core.idle = idle + iowait;
		core.softirq = softirq;
		core.steal = steal;
		break;
	}
	if (f)
		fclose(f);
	return core;
}

static void
sample_server(const load_target *t, load_sample *s)
{
	for (int i = 0; i < t->n_pids; i++)
		s->server_ns[i] = process_cpu_ns(t->pids[i]);
	s->core = core_sample();
}

static void
sample_load(load_sample *s)
{
	s->wall_ns = client_clock_ns(CLOCK_MONOTONIC);
	s->load_ns = client_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void
conn_request(load *l, load_conn *c)
{
	ssize_t n;

	c->number++;
	c->got = 0;
	memcpy(l->request + l->request_len - sizeof c->number, &c->number, sizeof c->number);
	memcpy(l->request, &c->number, sizeof c->number);
	n = send(c->fd, l->request, l->request_len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		err(1, "send");
	if ((size_t)n != l->request_len)
		errx(1, "sent %zd bytes of a request of %zu", n, l->request_len);
}

/* Return: true when the answer is whole. */
static bool
conn_answer(const load *l, load_conn *c)
{
	ssize_t n = recv(c->fd, c->answer + c->got, l->request_len - c->got, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n < 0)
		err(1, "recv");
	if (n == 0)
		errx(1, "the server closed a connection");
	c->got += (uint32_t)n;
	if (c->got < l->request_len)
		return false;
	if (memcmp(c->answer, &c->number, sizeof c->number) != 0 ||
		memcmp(c->answer + l->request_len - sizeof c->number, &c->number,
			sizeof c->number) != 0)
		errx(1, "an answer is not what was sent (request %jx)", (uintmax_t)c->number);
	return true;
}

static void
target_connect(load *l, load_target *t)
{
	char *answers = calloc(l->n_conns, l->request_len);

	t->conns = calloc(l->n_conns, sizeof *t->conns);
	t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!t->conns || !answers || t->epoll_fd < 0)
		err(1, "memory for %zu connections", l->n_conns);
	for (size_t i = 0; i < l->n_conns; i++) {
		load_conn *c = &t->conns[i];
		struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = c};

		c->fd = client_connect(t->port);
		c->number = (uint64_t)i << 40;
		c->answer = answers + i * l->request_len;
		if (epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
			err(1, "epoll_ctl");
	}
}

/* Return: the number of requests that were answered in the slice. */
static uint64_t
slice_run(load *l, load_target *t, uint64_t end_ns)
{
	struct epoll_event events[BATCH_EVENTS];
	uint64_t n_answers = 0, n_unclocked = 0;
	size_t n_in_flight = l->n_conns;
	bool over = false;

	for (size_t i = 0; i < l->n_conns; i++)
		conn_request(l, &t->conns[i]);
	while (n_in_flight > 0) {
		int n = epoll_wait(t->epoll_fd, events, BATCH_EVENTS, ANSWER_MS);

		if (n < 0 && errno != EINTR)
			err(1, "epoll_wait");
		if (n == 0)
			errx(1, "port %u: %zu requests without an answer for %d s",
				(unsigned)t->port, n_in_flight, ANSWER_MS / 1000);
		for (int i = 0; i < n; i++) {
			load_conn *c = events[i].data.ptr;

			if (!conn_answer(l, c))
				continue;
			n_answers++;
			n_unclocked++;
			if (over)
				n_in_flight--;
			else
				conn_request(l, c);
		}
		if (n_unclocked >= CLOCK_REQUESTS) {
			n_unclocked = 0;
			over = client_clock_ns(CLOCK_MONOTONIC) >= end_ns;
		}
	}
	return n_answers;
}

static void
slice_print(const load *l, int i_target, int round, uint64_t n_requests, const load_sample *start,
	const load_sample *end)
{
	const load_target *t = &l->targets[i_target];

	printf("{\"target\": %d, \"round\": %d, \"requests\": %ju, \"wall_ns\": %ju, \"load_ns\": "
	       "%ju, ",
		i_target, round, (uintmax_t)n_requests, (uintmax_t)(end->wall_ns - start->wall_ns),
		(uintmax_t)(end->load_ns - start->load_ns));
	printf("\"core\": {\"total\": %ju, \"idle\": %ju, \"softirq\": %ju, \"steal\": %ju}, ",
		(uintmax_t)(end->core.total - start->core.total),
		(uintmax_t)(end->core.idle - start->core.idle),
		(uintmax_t)(end->core.softirq - start->core.softirq),
		(uintmax_t)(end->core.steal - start->core.steal));
	printf("\"server_ns\": [");
	for (int i = 0; i < t->n_pids; i++)
		printf("%s%ju", i ? ", " : "",
			(uintmax_t)(end->server_ns[i] - start->server_ns[i]));
	printf("]}\n");
	fflush(stdout);
}

static void
slice_measure(load *l, int i_target, int round)
{
	load_target *t = &l->targets[i_target];
	load_sample start, end;
	uint64_t n_requests;

	sample_server(t, &start);
	sample_load(&start);
	n_requests = slice_run(l, t, start.wall_ns + l->slice_ns);
	sample_load(&end);
	nanosleep(&(struct timespec){.tv_nsec = SETTLE_NS}, NULL);
	sample_server(t, &end);
	if (round >= 0)
		slice_print(l, i_target, round, n_requests, &start, &end);
}

/* PORT or PORT=PID,PID,... */
static void
target_parse(load_target *t, char *text)
{
	char *pids = strchr(text, '=');
	char *pid;

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

	while ((option = getopt(argc, argv, "n:b:t:r:w:g")) != -1) {
		switch (option) {
		case 'n':
			l->n_conns = client_number(optarg, 1, 100000);
			break;
		case 'b':
			l->request_len = client_number(optarg, sizeof(uint64_t), REQUEST_MAX);
			break;
		case 't':
			l->slice_ns = client_number(optarg, 1, 3600000) * 1000000;
			break;
		case 'r':
			l->n_rounds = (int)client_number(optarg, 1, 100000);
			break;
		case 'w':
			l->n_warm = (int)client_number(optarg, 0, 1000);
			break;
		case 'g':
			l->gated = true;
			break;
		default:
			exit(2);
		}
	}
	for (; optind < argc && l->n_targets < N_TARGETS; optind++)
		target_parse(&l->targets[l->n_targets++], argv[optind]);
	if (l->n_targets == 0 || optind < argc)
		errx(2,
			"usage: load [-n CONNS] [-b BYTES] [-t SLICE_MS] [-r ROUNDS] [-w "
			"WARM_ROUNDS] [-g] "
			"PORT[=PID,PID...]... (at most %d)",
			N_TARGETS);
}

/* With -g: say where we are, and go on when the driver says so by a line on stdin. */
static void
load_gate(const load *l, const char *where)
{
	if (!l->gated)
		return;
	printf("{\"gate\": \"%s\"}\n", where);
	fflush(stdout);
	if (getchar() == EOF)
		exit(0);
}

int
main(int argc, char **argv)
{
	static load l = {.n_conns = 64,
		.request_len = 64,
		.slice_ns = 500000000,
		.n_rounds = 9,
		.n_warm = 1};

	load_parse(&l, argc, argv);
	client_raise_fd_limit();
	for (int i = 0; i < l.n_targets; i++)
		target_connect(&l, &l.targets[i]);
	for (int i = 0; i < (int)l.request_len; i++)
		l.request[i] = (char)('a' + i % 26);
	for (int round = -l.n_warm; round < l.n_rounds; round++) {
		if (round == 0)
			load_gate(&l, "start");
		for (int i = 0; i < l.n_targets; i++)
			slice_measure(&l, i, round);
	}
	load_gate(&l, "end");
	return 0;
}
