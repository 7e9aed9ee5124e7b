/* SPDX-License-Identifier: MIT */
/*
 * lane - a worker that publishes anything, at any time, to a broker with real connections
 *
 * The broker is made by hand, with a hub, a ledger, an endpoint and clients; the input is a list of steps: of the
 * worker (descriptors that differ from the truth in some fields, raw ones, cursors, payload), of the clients (send,
 * read, shut, reset), of the clock, and at last a death, with or without a last turn of the broker before it. After each of the broker's turns the positions of each
 * connection are in order; when everybody is gone there is nothing left.
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker/dispatch.h"
#include "broker/endpoint.h"
#include "broker/quarantine.h"
#include "broker/settle.h"
#include "broker/socket.h"
#include "broker/worker.h"
#include "shm/bell.h"
#include "tests/fuzz/fuzz.h"

#define N_CLIENTS 3
#define MAX_STEPS 200
#define URL_BLOCK 4000

static char name[] = "/bin/false";
static char *program[] = {name, NULL};
static const vn_geometry geometry = {.n_slots = 64, .area_bytes = 1u << 20};

typedef struct bench {
	vn_sys sys; /* the real one, but for the clock */
	int64_t ahead;
	vn_broker broker;
	vn_config config;
	vn_worker *worker;
	vn_lane_tx lane; /* the worker's end */
	vn_lane_rx told;
	struct sockaddr_un address; /* abstract, so that nothing is left in any folder */
	socklen_t address_len;
	int clients[N_CLIENTS];
	uint64_t said[4]; /* up to here output was published or is staged, by connection */
	bool sudden;      /* its death: what it published last was not taken */
} bench;

static int64_t
clock_now(const vn_sys *sys)
{
	return vn_sys_linux.now(&vn_sys_linux) + *(const int64_t *)sys->world;
}

static void
log_nothing(void *arg, int level, const char *text)
{
	(void)arg, (void)level;
	must(strlen(text) > 0);
}

static void
link_open(bench *k)
{
	vn_link *l = &k->worker->link;

	*l = (vn_link){.geometry = geometry, .hello = -1};
	must(vn_segment_create(&l->own, "broker", &geometry, 1) == 0);
	must(vn_segment_map(&l->own, true) == 0 && vn_segment_claim(&l->own, 1) == 0);
	must(vn_segment_create(&l->peer, "worker", &geometry, 1) == 0);
	must(vn_segment_map(&l->peer, true) == 0 && vn_segment_claim(&l->peer, 1) == 0);
	vn_lane_tx_init(&l->tx, &l->own, &l->peer);
	vn_lane_rx_init(&l->rx, &l->own, &l->peer);
	vn_lane_tx_init(&k->lane, &l->peer, &l->own);
	vn_lane_rx_init(&k->told, &l->peer, &l->own);
	l->blocks = vn_blocks_new(geometry.area_bytes);
	l->bell_in = vn_bell_eventfd();
	l->bell_out = vn_bell_eventfd();
	must(l->blocks && l->bell_in >= 0 && l->bell_out >= 0);
	k->worker->linked = true;
	must(vn_ring_listen(k->worker) == 0);
	vn_worker_heat(k->worker);
}

static void
push(bench *k, const vn_desc *d)
{
	if (vn_lane_tx_has(&k->lane, 1))
		vn_lane_tx_push(&k->lane, d);
}

static void
check_record(const vn_record *r)
{
	must(r->received >= r->delivered && r->delivered >= r->acked && r->acked >= r->committed);
	must(r->queued >= r->sent && r->queued >= r->queued_c && r->sent >= r->reported);
}

static void
turn(bench *k)
{
	vn_broker *b = &k->broker;

	if (vn_lane_tx_flush(&k->lane))
		vn_bell_ring(k->worker->link.bell_in);
	vn_sleep(b->hub, VN_US);
	for (uint32_t i = 0; i < b->ledger->high; i++)
		if (vn_record_at(b->ledger, i)->flags & VN_R_USED)
			check_record(vn_record_at(b->ledger, i));
}

/* What the broker said is taken; nobody cares what it was: the truth is read from its ledger. */
static void
hear(bench *k)
{
	vn_desc batch[16];

	vn_lane_rx_take(&k->told, batch, 16);
	vn_lane_rx_release(&k->told);
}

static void
client_open(bench *k, unsigned int i)
{
	if (k->clients[i] >= 0)
		return;
	k->clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connect(k->clients[i], (const struct sockaddr *)(const void *)&k->address,
		    k->address_len) < 0) {
		close(k->clients[i]);
		k->clients[i] = -1;
	}
}

/* A worker that is READY and listens where three clients are. */
static void
bench_open(bench *k)
{
	vn_broker *b = &k->broker;
	uint32_t len;
	char url[64];

	k->sys = vn_sys_linux;
	k->sys.now = clock_now;
	k->sys.has_stamp = NULL;
	k->sys.world = &k->ahead;
	k->config = (vn_config){.window = 65536,
		.linger_timeout = VN_SEC,
		.queue_timeout = VN_SEC,
		.release_after = 20 * VN_MS,
		.depth = 2,
		.retries = 2,
		.quarantine_bytes = 100,
		.n_workers = 1,
		.lane_memory = geometry.area_bytes,
		.program = program};
	b->config = &k->config;
	b->hub = vn_hub_open(&k->sys);
	b->ledger = vn_ledger_new(16, 3, geometry.area_bytes);
	must(b->hub && b->ledger);
	vn_log_to(b->hub, log_nothing, NULL);
	b->counters = vn_counters_open(NULL, "test");
	b->count = b->counters->broker;
	b->signals.fd = -1;
	b->conn_class = vn_poller_class(b->hub->poller, vn_socket_on_event, b);
	vn_broker_turn_init(b);
	k->worker = vn_worker_new(b, 1);
	must(k->worker);
	b->workers[k->worker->slot] = k->worker;
	b->n_slots = k->worker->slot;
	k->worker->incarnation = 1;
	k->worker->state = VN_WORKER_STARTING;
	link_open(k);
	k->address = (struct sockaddr_un){.sun_family = AF_UNIX};
	len = (uint32_t)snprintf(url, sizeof url, "unix:@vanilla-fuzz-%d", (int)getpid());
	strcpy(k->address.sun_path + 1, url + strlen("unix:@"));
	k->address_len =
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len - strlen("unix:"));
	vn_area_write(&k->worker->link.peer, URL_BLOCK, 0, url, len);
	push(k, &(vn_desc){.kind = VN_KIND_LISTEN,
			.flags = VN_RESUME,
			.len = len,
			.block = URL_BLOCK});
	push(k, &(vn_desc){.kind = VN_KIND_READY});
	turn(k);
	must(k->worker->state == VN_WORKER_READY && b->n_endpoints == 1);
	for (unsigned int i = 0; i < N_CLIENTS; i++) {
		k->clients[i] = -1;
		client_open(k, i);
	}
	turn(k);
}

static void
client_step(bench *k, source *s, uint8_t what)
{
	static char data[70000];
	unsigned int i = what % N_CLIENTS;

	switch (what / N_CLIENTS % 5) {
	case 0:
		client_open(k, i);
		break;
	case 1:
		send(k->clients[i], data, 1u << source_byte(s) % 17, MSG_NOSIGNAL);
		break;
	case 2:
		recv(k->clients[i], data, sizeof data, 0);
		break;
	case 3:
		shutdown(k->clients[i], SHUT_WR);
		break;
	default:
		if (k->clients[i] >= 0)
			close(k->clients[i]);
		k->clients[i] = -1;
	}
}

/* What an honest worker could say of a connection. */
static vn_desc
truth(const bench *k, uint8_t kind, uint8_t which)
{
	const vn_record *r = vn_record_at(k->broker.ledger, which % 4);
	uint64_t queued = r->queued > k->said[which % 4] ? r->queued : k->said[which % 4];
	vn_desc d = {.kind = kind, .conn = which % 4, .gen = r->gen};

	if (kind == VN_KIND_LISTEN || kind == VN_KIND_UNLISTEN || kind == VN_KIND_READY)
		d = (vn_desc){.kind = kind, .arg = which % 4};
	if (kind == VN_KIND_LISTEN || kind == VN_KIND_SEND || kind == VN_KIND_STATE)
		d.len = 1;
	if (kind == VN_KIND_SEND || kind == VN_KIND_SHUTDOWN || kind == VN_KIND_CLOSE)
		d.pos = queued;
	if (kind == VN_KIND_ACK || kind == VN_KIND_RELEASED)
		d.report = r->delivered;
	return d;
}

/* A byte tells which fields differ from the truth; each takes what it needs from the input. */
static void
descriptor_step(bench *k, source *s)
{
	uint8_t kind = source_byte(s), which = source_byte(s), changed = source_byte(s);
	vn_desc d;
	uint16_t wide;

	d = truth(k,
		kind < 200 ? (uint8_t)(VN_KIND_SEND + kind % (VN_N_KINDS - VN_KIND_SEND)) : kind,
		which);
	if (changed & 1) {
		d.flags = source_byte(s);
		if (d.kind == VN_KIND_SEND && (d.flags & VN_ACK))
			d.report = vn_record_at(k->broker.ledger, which % 4)->delivered;
	}
	if (changed & 2)
		d.pos += (uint64_t)(int8_t)source_byte(s);
	if (changed & 4)
		d.report += (uint64_t)(int8_t)source_byte(s);
	if (changed & 8)
		d.gen += (uint32_t)(int8_t)source_byte(s);
	if (changed & 16) {
		source_bytes(s, &wide, sizeof wide);
		d.block = wide;
	}
	if (changed & 32)
		d.len = source_byte(s) * 300u;
	if (changed & 64) {
		source_bytes(s, &wide, sizeof wide);
		d.offset = wide;
	}
	if (changed & 128)
		d.arg = source_byte(s);
	if (d.kind == VN_KIND_SEND)
		k->said[which % 4] = d.pos + d.len;
	push(k, &d);
}

static void
raw_step(bench *k, source *s)
{
	vn_desc d;

	source_bytes(s, &d, sizeof d);
	push(k, &d);
}

static void
cursor_step(bench *k, source *s)
{
	uint32_t *words[] = {k->lane.tail, k->lane.space_ev, k->told.head, k->told.ev}, delta;
	uint32_t *word = words[source_byte(s) % 4];

	source_bytes(s, &delta, sizeof delta);
	__atomic_fetch_add(word, delta, __ATOMIC_SEQ_CST);
	vn_bell_ring(k->worker->link.bell_in);
}

static void
payload_step(bench *k, source *s)
{
	unsigned char text[64];

	source_bytes(s, text, sizeof text);
	vn_area_write(&k->worker->link.peer, source_byte(s), 0, text, sizeof text);
}

static void
step(bench *k, source *s)
{
	uint8_t what = source_byte(s);

	if (what < 100)
		descriptor_step(k, s);
	else if (what < 160)
		client_step(k, s, what);
	else if (what < 210)
		turn(k);
	else if (what < 225)
		hear(k);
	else if (what < 235)
		k->ahead += (1 + source_byte(s)) * 10 * VN_MS;
	else if (what < 240)
		payload_step(k, s);
	else if (what < 250)
		raw_step(k, s);
	else if (what < 253)
		cursor_step(k, s);
	else if (what < 255)
		vn_bell_ring(k->worker->link.bell_in);
	else
		s->left = 0, k->sudden = true;
}

static void
bench_close(bench *k)
{
	vn_broker *b = &k->broker;

	vn_worker_free(k->worker);
	b->workers[1] = NULL;
	vn_endpoints_close(b);
	for (uint32_t i = 0; i < b->ledger->high; i++)
		vn_socket_abandon(vn_record_at(b->ledger, i));
	vn_quarantine_free(b->quarantine);
	vn_counters_close(b->counters);
	vn_ledger_free(b->ledger);
	vn_wheel_disarm(b->hub->wheel, &b->sweep);
	vn_wheel_disarm(b->hub->wheel, &b->report_timer);
	vn_hub_unhook(b->hub, &b->hook);
	vn_hub_close(b->hub);
}

/* Its clients leave; what was committed is theirs, the rest is reset, and nothing is left. */
static void
die(bench *k)
{
	vn_broker *b = &k->broker;

	vn_lane_tx_flush(&k->lane);
	if (k->worker->state == VN_WORKER_READY)
		vn_dispatch_worker_ready(b, k->worker, false);
	k->worker->state = VN_WORKER_NONE;
	vn_settle_worker(b, k->worker);
	must(k->worker->n_attached == 0 && k->worker->n_busy == 0);
	for (unsigned int i = 0; i < N_CLIENTS; i++)
		if (k->clients[i] >= 0)
			close(k->clients[i]);
	for (int i = 0; i < 50 && b->ledger->n_used > 0; i++) {
		k->ahead += VN_SEC;
		turn(k);
	}
	must(b->ledger->n_used == 0 && b->n_open == 0);
	must(vn_blocks_available(b->ledger->spill_blocks) == b->ledger->spill.geometry.area_bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bench *k = calloc(1, sizeof *k);
	source s = {data, size};

	must(k);
	bench_open(k);
	for (int i = 0; i < MAX_STEPS && s.left > 0; i++)
		step(k, &s);
	if (!k->sudden)
		turn(k);
	die(k);
	bench_close(k);
	free(k);
	return 0;
}
