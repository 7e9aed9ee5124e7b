/* SPDX-License-Identifier: MIT */
/*
 * control - any bytes on the control socket
 *
 * A client sends the input and reads until it is sent away. Each command has exactly one result, every answer is
 * text without control characters, and nothing is kept of a client that is gone. Commands that change something
 * are other tests' affair: here they are misspelt, so that the broker stays as it is.
 */
#include "broker/control.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define TURNS 20000

static char name[] = "shop", asked[] = "tcp://127.0.0.1:0";
static char *program[] = {name, NULL};

typedef struct bench {
	vn_broker broker;
	vn_config config;
	vn_worker worker;
	vn_broker_endpoint endpoint;
	vn_control *control;
} bench;

static void
log_nothing(void *arg, int level, const char *text)
{
	(void)arg, (void)level, (void)text;
}

static void
fill(bench *k)
{
	vn_broker *b = &k->broker;
	vn_record *r;

	k->worker = (vn_worker){.broker = b, .slot = 1, .incarnation = 7, .state = VN_WORKER_READY};
	k->worker.count = vn_counters_worker(b->counters, 1);
	strcpy(k->worker.last_death, "exited with 3");
	for (int i = 0; i < VN_MAX_ENDPOINTS; i++)
		k->worker.listener_of[i] = VN_NO_LISTENER;
	b->workers[1] = &k->worker;
	b->n_slots = 2;
	k->endpoint = (vn_broker_endpoint){.used = true, .fd = -1, .broker = b};
	k->endpoint.watch.fd = -1;
	k->endpoint.asked = asked;
	k->endpoint.count = vn_counters_listener(b->counters, asked);
	strcpy(k->endpoint.url, "tcp://127.0.0.1:7000");
	b->endpoints[0] = &k->endpoint;
	b->n_endpoints = 1;
	for (unsigned int i = 0; i < 3; i++) {
		r = vn_record_at(b->ledger, vn_ledger_take(b->ledger));
		r->flags |= i ? VN_R_ATTACHED : VN_R_WAITING;
		r->worker = 1;
		r->incarnation = 7;
		r->peer.family = i == 1 ? AF_INET6 : i == 2 ? AF_UNIX : AF_INET;
		r->peer.scope = i;
	}
}

static void
bench_open(bench *k)
{
	vn_broker *b = &k->broker;

	k->config.program = program;
	k->config.name = k->config.control_path = program[0];
	b->config = &k->config;
	b->hub = vn_hub_open(&vn_sys_linux);
	b->ledger = vn_ledger_new(64, 3, 1u << 20);
	b->counters = vn_counters_open(NULL, "test");
	k->control = calloc(1, sizeof *k->control);
	must(b->hub && b->ledger && k->control && b->counters);
	b->count = b->counters->broker;
	vn_log_to(b->hub, log_nothing, NULL);
	k->control->broker = b;
	k->control->hub = b->hub;
	k->control->fd = k->control->watch.fd = -1;
	b->control = k->control;
	fill(k);
}

static void
bench_close(bench *k)
{
	must(k->control->n_clients == 0);
	free(k->control);
	vn_counters_close(k->broker.counters);
	vn_ledger_free(k->broker.ledger);
	vn_hub_close(k->broker.hub);
}

static bool
acts(const char *word, size_t left)
{
	static const char *const acting[] = {"stop", "drain", "reload", "scale", "worker"};

	for (size_t a = 0; a < sizeof acting / sizeof *acting; a++)
		if (left >= strlen(acting[a]) && memcmp(word, acting[a], strlen(acting[a])) == 0)
			return true;
	return false;
}

/* A command that would act has its first letter changed. */
static void
misspell(char *text, size_t size)
{
	bool begins = true;

	for (size_t i = 0; i < size; i++) {
		if (begins && acts(text + i, size - i))
			text[i] = 'x';
		if (text[i] != ' ' && text[i] != '\t')
			begins = text[i] == '\n' || text[i] == ';';
	}
}

static void
check_answer(const unsigned char *text, ssize_t n)
{
	for (ssize_t i = 0; i < n; i++)
		must((text[i] >= ' ' && text[i] != 0x7f) || text[i] == '\n' || text[i] == '\t' ||
			text[i] == '\r');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bench *k = calloc(1, sizeof *k);
	char *text = source_text(data, size);
	size_t sent = 0;
	ssize_t n = -1;
	int pair[2];

	must(k);
	misspell(text, size);
	bench_open(k);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	must(vn_client_open(k->control, pair[0]) == 0);
	for (int i = 0; i < TURNS && n != 0; i++) {
		unsigned char answer[4096];

		if (sent < size) {
			n = send(pair[1], text + sent, size - sent, MSG_NOSIGNAL);
			sent = n < 0 && errno != EAGAIN ? size : sent + (size_t)(n > 0 ? n : 0);
		}
		if (sent == size)
			shutdown(pair[1], SHUT_WR);
		vn_sleep(k->broker.hub, VN_US);
		n = recv(pair[1], answer, sizeof answer, 0);
		check_answer(answer, n);
	}
	must(n == 0);
	close(pair[1]);
	for (int i = 0; i < TURNS && k->control->n_clients; i++)
		vn_sleep(k->broker.hub, VN_US);
	bench_close(k);
	free(text);
	free(k);
	return 0;
}
