/* SPDX-License-Identifier: MIT */
/*
 * Control - a broker that was filled by hand, its control socket, and clients of it
 *
 * The hub, the broker and the clients are one process and one thread: whoever waits for an answer lets the hub
 * turn. The clock can be put forward, so nothing waits for a timeout.
 */
#ifndef VN_TESTS_UNIT_CONTROL_H
#define VN_TESTS_UNIT_CONTROL_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "broker/change.h"
#include "broker/control.h"
#include "broker/event.h"
#include "broker/log.h"
#include "broker/recorder.h"
#include "tests/unit/suite.h"

#define TURNS      20000
#define TEXT_BYTES (16u << 20)
#define N_MANY     10000

typedef struct bench {
	vn_broker broker;
	vn_config config;
	vn_sys sys; /* the real one, but for the clock */
	int64_t ahead;
	vn_worker *worker;
	vn_broker_endpoint *endpoint, dialled;
	char folder[64], path[128], said[1024];
	char *text;
	char *program[2];
	int n_fds;
} bench;

static inline int64_t
clock_now(const vn_sys *sys)
{
	return vn_sys_linux.now(&vn_sys_linux) + *(const int64_t *)sys->world;
}

static inline void
listen_to_log(void *arg, int level, const char *text)
{
	bench *k = arg;

	(void)level;
	snprintf(k->said, sizeof k->said, "%s", text);
}

static inline void
fill_worker(bench *k)
{
	vn_worker *w = calloc(1, sizeof *w);

	for (int i = 0; i < VN_MAX_ENDPOINTS; i++)
		w->listener_of[i] = VN_NO_LISTENER;
	w->listener_of[0] = 1;
	w->broker = &k->broker;
	w->number = w->slot = 1;
	w->incarnation = 7;
	w->state = VN_WORKER_READY;
	w->pid = 4242;
	w->n_attached = 2;
	w->count = vn_counters_worker(k->broker.counters, 1);
	w->count->n_requests = 99;
	strcpy(w->last_death, "killed by signal 9");
	k->worker = k->broker.workers[1] = w;
	k->broker.n_slots = 2; /* the second is no more */
	k->broker.incarnations[1] = 7;
	k->broker.incarnations[2] = 1;
}

static inline void
fill_endpoint(bench *k)
{
	vn_broker_endpoint *e = calloc(1, sizeof *e);

	e->used = true;
	e->fd = e->watch.fd = -1;
	e->resumable = true;
	e->asked = strdup("tcp://127.0.0.1:0");
	strcpy(e->url, "tcp://127.0.0.1:7000");
	e->broker = &k->broker;
	e->count = vn_counters_listener(k->broker.counters, e->asked);
	e->n_conns = 3;
	k->endpoint = k->broker.endpoints[0] = e;
	k->broker.n_endpoints = 1;
	k->dialled.count = vn_counters_listener(k->broker.counters, "");
	k->broker.endpoints[VN_DIALLED] = &k->dialled;
}

/* n connections: every second one attached. */
static inline void
fill_conns(bench *k, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		vn_record *r = vn_record_at(k->broker.ledger, vn_ledger_take(k->broker.ledger));

		r->flags |= i % 2 ? VN_R_ATTACHED : VN_R_WAITING;
		r->worker = i % 2 ? 1 : VN_NO_WORKER;
		r->incarnation = 7;
		r->received = r->delivered = 30;
		r->acked = r->committed = 10;
		r->queued = 9;
		r->sent = 4;
		r->opened = (uint32_t)(k->broker.hub->now / VN_SEC);
		r->peer.family = AF_INET;
		r->peer.port = htons((uint16_t)(1000 + i));
		r->peer.addr[0] = 127, r->peer.addr[3] = 1;
	}
}

static inline bench *
bench_new(void)
{
	bench *k = calloc(1, sizeof *k);
	char *folder;

	k->n_fds = suite_n_fds();
	strcpy(k->folder, "/tmp/vanilla-control-XXXXXX");
	folder = mkdtemp(k->folder);
	ck_assert_ptr_nonnull(folder);
	snprintf(k->path, sizeof k->path, "%s/x.sock", k->folder);
	k->text = malloc(TEXT_BYTES);
	k->sys = vn_sys_linux;
	k->sys.now = clock_now;
	k->sys.has_stamp = NULL;
	k->sys.world = &k->ahead;
	k->program[0] = strdup("/opt/bin/shop");
	k->config.program = k->program;
	k->config.name = strdup("shop");
	k->config.control_path = k->path;
	k->broker.config = &k->config;
	k->broker.hub = vn_hub_open(&k->sys);
	k->broker.ledger = vn_ledger_new(N_MANY, 3, 1u << 20);
	k->broker.change = vn_change_new(&k->broker);
	k->broker.recorder = vn_recorder_new();
	k->broker.counters = vn_counters_open(NULL, "test");
	k->broker.count = k->broker.counters->broker;
	k->broker.events = vn_events_new(&k->broker);
	k->broker.started = k->broker.hub->now;
	vn_log_to(k->broker.hub, listen_to_log, k);
	fill_worker(k);
	fill_endpoint(k);
	return k;
}

static inline void
bench_free(bench *k)
{
	vn_control_close(&k->broker);
	vn_change_free(k->broker.change);
	vn_recorder_free(k->broker.recorder);
	vn_counters_close(k->broker.counters);
	vn_events_free(k->broker.events);
	k->broker.ledger = vn_ledger_free(k->broker.ledger);
	vn_hub_close(k->broker.hub);
	ck_assert_msg(access(k->path, F_OK) < 0, "the socket is still there");
	rmdir(k->folder);
	free(k->worker);
	free(k->endpoint->asked);
	free(k->endpoint);
	free(k->config.name);
	free(k->program[0]);
	free(k->text);
	if (k->n_fds >= 0)
		ck_assert_int_eq(suite_n_fds(), k->n_fds);
	free(k);
}

static inline void
turn(bench *k)
{
	vn_sleep(k->broker.hub, 10 * VN_US);
}

static inline bench *
opened(void)
{
	bench *k = bench_new();

	ck_assert_int_eq(vn_control_open(&k->broker), 0);
	return k;
}

static inline int
client(const bench *k)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, k->path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)(void *)&address, sizeof address), 0);
	return fd;
}

static inline void
say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads until the broker ends the connection; false if it never does. */
static inline bool
hear_all(bench *k, int fd)
{
	size_t len = 0;
	ssize_t n;

	for (int i = 0; i < TURNS; i++) {
		turn(k);
		while ((n = recv(fd, k->text + len, TEXT_BYTES - 1 - len, 0)) > 0)
			len += (size_t)n;
		k->text[len] = '\0';
		if (n == 0)
			return true;
		ck_assert_int_eq(errno, EAGAIN);
	}
	return false;
}

/* Reads until what came ends with this. */
static inline void
hear(bench *k, int fd, const char *end)
{
	size_t len = 0, n_end = strlen(end);

	for (int i = 0; i < TURNS; i++) {
		ssize_t n = recv(fd, k->text + len, TEXT_BYTES - 1 - len, 0);

		len += n > 0 ? (size_t)n : 0;
		k->text[len] = '\0';
		if (len >= n_end && strcmp(k->text + len - n_end, end) == 0)
			return;
		turn(k);
	}
	ck_abort_msg("never came: %s", end);
}

static inline const char *
ask(bench *k, const char *line)
{
	int fd = client(k);

	say(fd, line);
	shutdown(fd, SHUT_WR);
	ck_assert(hear_all(k, fd));
	close(fd);
	return k->text;
}

static inline json_t *
ask_json(bench *k, const char *line)
{
	char *end;
	json_t *document;

	ask(k, line);
	end = strstr(k->text, "OK\n\n");
	ck_assert_msg(end && end[4] == '\0', "no OK: %s", k->text);
	*end = '\0';
	document = json_loads(k->text, 0, NULL);
	ck_assert_msg(document != NULL, "no JSON: %s", k->text);
	return document;
}

#endif
