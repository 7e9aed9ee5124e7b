/* SPDX-License-Identifier: MIT */
/*
 * Report - where the shown values come from
 *
 * The tables of columns are promises to scripts: names are added, at the end, and never changed. Each function
 * fills one row, in the order of its table.
 */
#include "broker/report.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/change.h"
#include "broker/datagram.h"
#include "broker/dispatch.h"
#include "broker/latency.h"
#include "broker/quarantine.h"
#include "broker/recent.h"
#include "broker/show.h"
#include "broker/stages.h"

#define ACTIVE_MS 1000u

#define COLUMNS(...)                                                                               \
	{                                                                                          \
		sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),                            \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

static uint64_t
seconds_since(const vn_broker *b, vn_time at)
{
	return b->hub->now > at ? (uint64_t)((b->hub->now - at) / VN_SEC) : 0;
}

/**
 * vn_endpoint_label() - what people call an endpoint: its name, or the URL that was asked for
 */
const char *
vn_endpoint_label(const vn_broker_endpoint *e)
{
	return e->name ? e->name : e->asked;
}

/* info */

static const vn_columns info_columns = COLUMNS("name", "version", "pid", "phase", "uptime_seconds",
	"control", "program", "workers", "workers_ready", "listeners", "conns", "accepted_total",
	"closed_total", "requests_total", "received_bytes_total", "sent_bytes_total",
	"deaths_total", "violations_total", "stale_messages_total", "output_lines_dropped_total",
	"ledger_memory_bytes", "spilled_bytes", "resets_total.by_handler",
	"resets_total.worker_died", "resets_total.queue_timeout", "resets_total.no_blocks",
	"resets_total.stopping", "resets_total.linger", "resets_total.quarantined",
	"resets_total.accept_timeout", "resets_total.idle_timeout", "resets_total.progress_timeout",
	"resets_total.dialler_died", "resets_total.by_operator", "resets_total.message_too_large",
	"log_level", "dialled_total", "dials_failed_total", "dials_given_up_total");

_Static_assert(VN_N_RESET_REASONS == 13, "each reason of a reset has a column");

static uint64_t
ledger_memory(const vn_ledger *l)
{
	struct stat st;

	return l && fstat(l->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* What lies there of connections that left their workers: output, input, state. */
uint64_t
vn_spilled_bytes(const vn_broker *b)
{
	const vn_ledger *l = b->ledger;

	return l ? l->spill.geometry.area_bytes - vn_blocks_available(l->spill_blocks) : 0;
}

static uint32_t
count_listeners(const vn_broker *b)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < b->n_endpoints; i++)
		n += vn_endpoint_is_public(b->endpoints[i]);
	return n;
}

static void
info_who(const vn_broker *b, vn_row *row)
{
	vn_row_text(row, "%s", b->config->name);
	vn_row_text(row, "%s", VN_VERSION);
	vn_row_number(row, (uint64_t)getpid());
	vn_row_text(row, "%s", vn_phase_name(b->phase));
	vn_row_number(row, seconds_since(b, b->started));
	vn_row_text(row, "%s", b->config->control_path);
	vn_row_text(row, "%s", b->config->program[0]);
	vn_row_number(row, b->change ? vn_change_count(b->change) : 0);
	vn_row_number(row, b->n_ready);
	vn_row_number(row, count_listeners(b));
	vn_row_number(row, b->ledger ? b->ledger->n_used : 0);
}

static void
info_counters(const vn_broker *b, vn_row *row)
{
	vn_row_number(row, b->count->n_accepted);
	vn_row_number(row, b->count->n_closed);
	vn_row_number(row, b->count->n_requests);
	vn_row_number(row, b->count->bytes_in);
	vn_row_number(row, b->count->bytes_out);
	vn_row_number(row, b->count->n_deaths);
	vn_row_number(row, b->count->n_violations);
	vn_row_number(row, b->count->n_stale_messages);
	vn_row_number(row, b->count->n_output_lines_dropped);
	vn_row_number(row, ledger_memory(b->ledger));
	vn_row_number(row, vn_spilled_bytes(b));
	for (int i = 0; i < VN_N_RESET_REASONS; i++)
		vn_row_number(row, b->count->n_resets[i]);
	vn_row_text(row, "%s", vn_level_name(b->log.level));
	vn_row_number(row, b->count->n_dialled);
	vn_row_number(row, b->count->n_dials_failed);
	vn_row_number(row, b->count->n_dials_given_up);
}

static vn_query_step
info_next(vn_query *q, vn_row *row)
{
	if (q->cursor++ > 0)
		return VN_QUERY_END;
	info_who(q->broker, row);
	info_counters(q->broker, row);
	return VN_QUERY_ROW;
}

/* workers */

static const vn_columns worker_columns = COLUMNS("id", "pid", "state", "uptime_seconds", "conns",
	"busy", "requests_total", "bytes_in_total", "bytes_out_total", "restarts", "violations",
	"last_death", "dialling", VN_STAGE_COLUMNS);

static void
worker_row(const vn_broker *b, const vn_worker *w, vn_row *row)
{
	bool runs = w->state != VN_WORKER_NONE;
	vn_stage_set stages;

	vn_row_text(row, "%u.%u", (unsigned)w->number, (unsigned)w->incarnation);
	if (runs)
		vn_row_number(row, (uint64_t)w->pid);
	else
		vn_row_none(row);
	vn_row_text(row, "%s", vn_worker_state_name(w));
	vn_row_number(row, runs ? seconds_since(b, w->started) : 0);
	vn_row_number(row, w->n_attached);
	vn_row_number(row, w->n_busy);
	vn_row_number(row, w->count->n_requests);
	vn_row_number(row, w->count->bytes_in);
	vn_row_number(row, w->count->bytes_out);
	vn_row_number(row, w->count->n_restarts);
	vn_row_number(row, w->count->n_violations);
	vn_row_text(row, "%s", w->last_death);
	vn_row_number(row, w->n_dials);
	vn_recent_worker(b, w->count, &stages);
	vn_row_stages(row, &stages);
}

static uint64_t
worker_key(const vn_worker *w)
{
	return ((uint64_t)w->number << 32) + w->incarnation;
}

/* By number, those that go before those that come, whatever their slots. */
static vn_query_step
workers_next(vn_query *q, vn_row *row)
{
	const vn_worker *next = NULL;

	for (uint32_t i = 1; i <= q->broker->n_slots; i++) {
		const vn_worker *w = q->broker->workers[i];

		if (w && worker_key(w) > q->after && (!next || worker_key(w) < worker_key(next)))
			next = w;
	}
	if (!next)
		return VN_QUERY_END;
	q->after = worker_key(next);
	worker_row(q->broker, next, row);
	return VN_QUERY_ROW;
}

/* listeners */

static const vn_columns listener_columns = COLUMNS("name", "url", "resumable", "state", "conns",
	"accepted_total", "refused_total", "workers", "max", "refusals_total.denied",
	"refusals_total.per_address", "refusals_total.rate", "refusals_total.header",
	"refusals_total.header_late", "refusals_total.max", "refusals_total.no_descriptor",
	"refusals_total.max_conns", VN_STAGE_COLUMNS, "number");

_Static_assert(VN_N_REFUSALS == 8, "each reason of a refusal has a column");

static uint32_t
count_askers(const vn_broker *b, const vn_broker_endpoint *e)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i <= b->n_slots; i++) {
		const vn_worker *w = b->workers[i];

		n += w && w->state == VN_WORKER_READY && w->listener_of[e->index] != VN_NO_LISTENER;
	}
	return n;
}

static uint64_t
count_refused(const vn_broker_endpoint *e)
{
	uint64_t n = 0;

	for (int i = 0; i < VN_N_REFUSALS; i++)
		n += e->count->n_refusals[i];
	return n;
}

/* paused: others wait, because no more connections are possible now. */
static const char *
listener_state(const vn_broker_endpoint *e)
{
	if (e->fd < 0)
		return "closed";
	if (e->disabled)
		return "disabled";
	return vn_timer_armed(&e->pause) ? "paused" : "open";
}

static void
listener_row(const vn_broker *b, const vn_broker_endpoint *e, vn_row *row)
{
	vn_stage_set stages;

	vn_row_text(row, "%s", vn_endpoint_label(e));
	vn_row_text(row, "%s", e->url);
	vn_row_flag(row, e->resumable);
	vn_row_text(row, "%s", listener_state(e));
	vn_row_number(row, e->n_conns);
	vn_row_number(row, e->count->n_accepted);
	vn_row_number(row, count_refused(e));
	vn_row_number(row, count_askers(b, e));
	if (e->max == UINT32_MAX)
		vn_row_none(row);
	else
		vn_row_number(row, e->max);
	for (int i = 0; i < VN_N_REFUSALS; i++)
		vn_row_number(row, e->count->n_refusals[i]);
	vn_recent_listener(b, e->count, &stages);
	vn_row_stages(row, &stages);
	vn_row_number(row, e->index + 1u);
}

static vn_query_step
listeners_next(vn_query *q, vn_row *row)
{
	const vn_broker_endpoint *e;

	if (q->cursor >= q->broker->n_endpoints)
		return VN_QUERY_END;
	e = q->broker->endpoints[q->cursor++];
	if (!vn_endpoint_is_public(e))
		return VN_QUERY_SKIP;
	listener_row(q->broker, e, row);
	return VN_QUERY_ROW;
}

/* conns */

static const vn_columns conn_columns = COLUMNS("id", "listener", "worker", "state", "peer",
	"unacked_bytes", "unsent_bytes", "age_seconds", "bytes_in_total", "bytes_out_total",
	"received", "delivered", "acked", "committed", "queued", "sent", "input_seconds");

static void
peer_unix(const vn_desc_peer *peer, vn_row *row)
{
	uint32_t ids[2];

	memcpy(ids, peer->addr, sizeof ids);
	vn_row_text(row, "unix:%u/%u", (unsigned)ids[0], (unsigned)ids[1]);
}

/**
 * vn_row_peer() - the next value is the address of a client
 */
void
vn_row_peer(vn_row *row, const vn_desc_peer *peer)
{
	char host[INET6_ADDRSTRLEN] = "?", scope[16] = "";
	unsigned int port = ntohs(peer->port);

	if (peer->family == AF_UNIX) {
		peer_unix(peer, row);
		return;
	}
	inet_ntop(peer->family, peer->addr, host, sizeof host);
	if (peer->scope)
		snprintf(scope, sizeof scope, "%%%u", (unsigned)peer->scope);
	if (peer->family == AF_INET6)
		vn_row_text(row, "[%s%s]:%u", host, scope, port);
	else
		vn_row_text(row, "%s:%u", host, port);
}

static void
conn_who(const vn_broker *b, const vn_record *r, vn_row *row)
{
	const vn_broker_endpoint *e = r->endpoint <= VN_DIALLED ? b->endpoints[r->endpoint] : NULL;

	vn_row_text(row, "%llu", (unsigned long long)r->id);
	vn_row_text(row, "%s", e && e->used ? vn_endpoint_label(e) : "");
	if (r->flags & VN_R_ATTACHED)
		vn_row_text(row, "%u.%u", (unsigned)b->workers[r->worker]->number,
			(unsigned)r->incarnation);
	else
		vn_row_none(row);
	vn_row_text(row, "%s", vn_conn_state_name(r));
	vn_row_peer(row, &r->peer);
}

/* How old the request is that it has now. */
static void
conn_input(const vn_broker *b, const vn_record *r, vn_row *row)
{
	uint64_t ns = vn_stages_input_ns(b, r);

	if (ns)
		vn_row_seconds(row, ns);
	else
		vn_row_none(row);
}

static void
conn_row(const vn_broker *b, const vn_record *r, vn_row *row)
{
	uint32_t now = (uint32_t)(b->hub->now / VN_SEC);

	conn_who(b, r, row);
	vn_row_number(row, r->delivered - r->acked);
	vn_row_number(row, r->queued - r->sent);
	vn_row_number(row, now > r->opened ? now - r->opened : 0);
	vn_row_number(row, r->received - !!(r->flags & VN_R_ENDED));
	vn_row_number(row, r->sent);
	vn_row_number(row, r->received);
	vn_row_number(row, r->delivered);
	vn_row_number(row, r->acked);
	vn_row_number(row, r->committed);
	vn_row_number(row, r->queued);
	vn_row_number(row, r->sent);
	conn_input(b, r, row);
}

/* Has it something to do, or had it within the last second? `since` is when that changed. */
static bool
conn_active(const vn_broker *b, const vn_record *r)
{
	return (r->flags & (VN_R_BUSY | VN_R_WAITING | VN_R_STARVED)) || r->queued != r->sent ||
	       (uint32_t)vn_broker_ms(b) - r->since < ACTIVE_MS;
}

static bool
conn_wanted(const vn_query *q, const vn_record *r)
{
	if ((r->flags & (VN_R_USED | VN_R_ZOMBIE)) != VN_R_USED)
		return false;
	if (q->active && !conn_active(q->broker, r))
		return false;
	if (q->endpoint != VN_QUERY_ANY && q->endpoint != r->endpoint)
		return false;
	if (q->worker == VN_QUERY_ANY)
		return true;
	return (r->flags & VN_R_ATTACHED) && q->broker->workers[r->worker]->number == q->worker &&
	       (q->incarnation == VN_QUERY_ANY || r->incarnation == q->incarnation);
}

static vn_query_step
conns_next(vn_query *q, vn_row *row)
{
	const vn_ledger *l = q->broker->ledger;
	const vn_record *r;

	if (!l || q->cursor >= l->high)
		return VN_QUERY_END;
	r = vn_record_at(l, q->cursor++);
	if (!conn_wanted(q, r))
		return VN_QUERY_SKIP;
	conn_row(q->broker, r, row);
	return VN_QUERY_ROW;
}

/* lanes */

/* What only the other side knows is null: each lane has one writer. */
static const vn_columns lane_columns = COLUMNS("worker", "direction", "slots", "used",
	"flushes_total", "bells_total", "space_bells_total", "blocks_free_bytes", "area_bytes");

static void
lane_in(vn_link *l, vn_row *row)
{
	uint32_t slots = l->tx.mask + 1;

	vn_row_number(row, slots);
	vn_row_number(row, slots - vn_lane_tx_refresh(&l->tx) - vn_lane_tx_staged(&l->tx));
	vn_row_number(row, l->tx.n_flushes);
	vn_row_number(row, l->tx.n_bells);
	vn_row_none(row);
	vn_row_number(row, vn_blocks_available(l->blocks));
	vn_row_number(row, l->own.geometry.area_bytes);
}

static void
lane_out(const vn_worker *w, vn_link *l, vn_row *row)
{
	int pending = vn_lane_rx_pending(&l->rx);

	vn_row_number(row, l->rx.mask + 1);
	vn_row_number(row, pending > 0 ? l->rx.tail_seen - l->rx.next : 0);
	vn_row_none(row);
	vn_row_number(row, w->count->n_rung);
	vn_row_number(row, l->rx.n_bells);
	vn_row_none(row);
	vn_row_number(row, l->peer.geometry.area_bytes);
}

/* Two rows for each worker that has a link. */
static vn_query_step
lanes_next(vn_query *q, vn_row *row)
{
	uint32_t slot = q->cursor / 2 + 1;
	bool out = q->cursor % 2;
	vn_worker *w;

	if (slot > q->broker->n_slots)
		return VN_QUERY_END;
	q->cursor++;
	w = q->broker->workers[slot];
	if (!w || !w->linked || w->broken)
		return VN_QUERY_SKIP;
	vn_row_text(row, "%u.%u", (unsigned)w->number, (unsigned)w->incarnation);
	vn_row_text(row, "%s", out ? "out" : "in");
	if (out)
		lane_out(w, &w->link, row);
	else
		lane_in(&w->link, row);
	return VN_QUERY_ROW;
}

/* Queries */

#define CONNS_ARGUMENTS "[active] [worker ID] [listener NAME] [limit N]"

const vn_report vn_reports[] = {
	{.name = "info",
		.help = "the broker itself",
		.more = "One of it: what it is, what it has counted, why it reset connections.",
		.example = "show info json",
		.single = true,
		.columns = &info_columns,
		.next = info_next},
	{.name = "workers",
		.help = "worker processes",
		.more = "starting, standby (ready, held back by a reload), ready, draining, or "
			"gone; busy are\n"
			"connections whose input it has not acknowledged; how the last one of its "
			"number died.",
		.example = "show workers",
		.columns = &worker_columns,
		.next = workers_next},
	{.name = "worker",
		.arguments = "ID [last N]",
		.help = "one worker, also a dead one: what it had, got and gave",
		.more = "The last 16 dead are remembered: how each ended, the requests it held, "
			"with their\n"
			"first bytes, and the last messages both ways.",
		.example = "show worker 2.7 last 4",
		.write = vn_show_worker},
	{.name = "listeners",
		.help = "endpoints",
		.more = "open, paused (no descriptor is free, or max is reached), disabled by "
			"command, or closed.",
		.example = "show listeners",
		.columns = &listener_columns,
		.next = listeners_next},
	{.name = "datagrams",
		.help = "endpoints of datagrams",
		.more = "What came in and what became of it: done by a worker, in hand of one, "
			"waiting, or lost;\n"
			"and of what workers sent: sent, queued, or unsent.",
		.example = "show datagrams",
		.columns = &vn_datagrams_columns,
		.next = vn_datagrams_next},
	{.name = "conns",
		.arguments = CONNS_ARGUMENTS,
		.help = "connections",
		.more = "header (its PROXY header has not come), waiting for a worker, attached to "
			"one, at\n"
			"rest, closing, doomed (to be reset when it has what it is due). Positions "
			"are bytes\n"
			"from its beginning.",
		.example = "show conns worker 2 limit 10",
		.filters = true,
		.columns = &conn_columns,
		.next = conns_next},
	{.name = "conn",
		.arguments = "ID",
		.help = "everything that is known of one connection",
		.more = "attempts: workers that ended with its input in hand; blame: of these, "
			"those that it may\n"
			"have killed. debts: what its worker has still to be told.",
		.example = "show conn 1234",
		.single = true,
		.wants_id = true,
		.columns = &vn_conn_columns,
		.next = vn_conn_next},
	{.name = "slow",
		.help = "the slowest requests of the last minute, slowest first",
		.example = "show slow",
		.columns = &vn_slow_columns,
		.next = vn_slow_next},
	{.name = "lanes",
		.help = "shared memory, one lane each way for each worker",
		.more = "in is to the worker. What only the other side knows is not shown.",
		.example = "show lanes",
		.columns = &lane_columns,
		.next = lanes_next},
	{.name = "channels",
		.help = "channels between processes",
		.example = "show channels",
		.columns = &vn_channels_columns,
		.next = vn_channels_next},
	{.name = "errors",
		.help = "what went wrong, how often, first and last",
		.more = "Distinct lines of the log, and resets and refused connections by their "
			"reasons.",
		.example = "show errors",
		.columns = &vn_errors_columns,
		.next = vn_errors_next},
	{.name = "quarantine",
		.arguments = "[ID]",
		.help = "input that took too many workers down, or the bytes of one",
		.example = "show quarantine 1",
		.columns = &vn_quarantine_columns,
		.next = vn_quarantine_next},
	{.name = "config",
		.help = "each option, its value, and where that came from",
		.more = "A flag wins over its variable, that over the file, that over the default.",
		.example = "show config json",
		.columns = &vn_config_columns,
		.next = vn_config_next},
	{.name = "memory",
		.help = "what takes how much, and how much it may",
		.example = "show memory",
		.columns = &vn_memory_columns,
		.next = vn_memory_next},
};
const size_t vn_n_reports = sizeof vn_reports / sizeof *vn_reports;

static int
number_parse(const char *text, uint64_t max, uint64_t *out)
{
	char *rest;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*out = strtoull(text, &rest, 10);
	return errno || *rest || *out > max ? -EINVAL : 0;
}

/**
 * vn_worker_parse() - "2" is number 2, whoever has it; "2.7" its seventh incarnation
 * @incarnation: or VN_QUERY_ANY
 *
 * Return: 0, or -EINVAL and a sentence in why.
 */
int
vn_worker_parse(const char *text, int *number, int64_t *incarnation, char why[static 256])
{
	char slot[16];
	const char *dot = strchrnul(text, '.');
	uint64_t n, after = 0;

	snprintf(slot, sizeof slot, "%.*s", (int)(dot - text), text);
	if (number_parse(slot, VN_MAX_WORKERS, &n) < 0 || n == 0 ||
		(*dot && number_parse(dot + 1, UINT32_MAX, &after) < 0)) {
		snprintf(why, 256, "a worker is called 2 or 2.7, not '%.60s'", text);
		return -EINVAL;
	}
	*number = (int)n;
	*incarnation = *dot ? (int64_t)after : VN_QUERY_ANY;
	return 0;
}

static int
query_worker(vn_query *q, const char *value, char why[static 256])
{
	if (vn_worker_parse(value, &q->worker, &q->incarnation, why) < 0)
		return -EINVAL;
	if (q->broker->incarnations[q->worker] > 0)
		return 0;
	snprintf(why, 256, "there is no worker %.60s; see show workers", value);
	return -EINVAL;
}

/**
 * vn_endpoint_called() - the endpoint that people mean by a name, a URL (as asked for, or bound), or a number
 * @why: a sentence when there is none
 */
vn_broker_endpoint *
vn_endpoint_called(vn_broker *b, const char *text, char why[static 256])
{
	uint64_t number = 0;

	if (number_parse(text, VN_MAX_ENDPOINTS, &number) < 0)
		number = 0;
	for (uint32_t i = 0; i < b->n_endpoints; i++) {
		vn_broker_endpoint *e = b->endpoints[i];

		if (vn_endpoint_is_public(e) &&
			(strcmp(vn_endpoint_label(e), text) == 0 || strcmp(e->asked, text) == 0 ||
				strcmp(e->url, text) == 0 || number == i + 1))
			return e;
	}
	snprintf(why, 256, "there is no listener '%.100s'; see show listeners", text);
	return NULL;
}

static int
query_listener(vn_query *q, const char *value, char why[static 256])
{
	const vn_broker_endpoint *e = vn_endpoint_called(q->broker, value, why);

	if (!e)
		return -EINVAL;
	q->endpoint = e->index;
	return 0;
}

static int
query_limit(vn_query *q, const char *value, char why[static 256])
{
	if (number_parse(value, UINT64_MAX, &q->limit) == 0)
		return 0;
	snprintf(why, 256, "limit wants a number, not '%.60s'", value);
	return -EINVAL;
}

static int
query_filter(vn_query *q, const char *name, const char *value, char why[static 256])
{
	static const struct {
		const char *name;
		int (*set)(vn_query *q, const char *value, char why[static 256]);
	} filters[] = {
		{"worker", query_worker}, {"listener", query_listener}, {"limit", query_limit}};

	for (size_t i = 0; q->report->filters && i < sizeof filters / sizeof *filters; i++) {
		if (strcmp(filters[i].name, name) != 0)
			continue;
		if (value)
			return filters[i].set(q, value, why);
		snprintf(why, 256, "show %s: %s wants a value", q->report->name, name);
		return -EINVAL;
	}
	snprintf(why, 256, "show %s does not know '%.60s'; try help", q->report->name, name);
	return -EINVAL;
}

static int
query_report(vn_query *q, const char *name, char why[static 256])
{
	for (size_t i = 0; name && i < vn_n_reports; i++)
		if (strcmp(vn_reports[i].name, name) == 0) {
			q->report = &vn_reports[i];
			return 0;
		}
	if (name)
		snprintf(why, 256, "cannot show '%.60s'; try help", name);
	else
		snprintf(why, 256, "show what? try help");
	return -EINVAL;
}

static const vn_report quarantine_bytes = {.name = "quarantine",
	.columns = &vn_quarantine_byte_columns,
	.next = vn_quarantine_bytes_next};

static int
query_id(vn_query *q, const char *id, char why[static 256])
{
	if (number_parse(id, UINT64_MAX, &q->after) == 0)
		return 0;
	snprintf(
		why, 256, "show %s wants its number: show %s ID", q->report->name, q->report->name);
	return -EINVAL;
}

/* show quarantine ID */
static int
query_quarantined(vn_query *q, const char *id, char why[static 256])
{
	if (number_parse(id, UINT32_MAX, &q->after) == 0 &&
		vn_quarantine_find(q->broker, (uint32_t)q->after)) {
		q->report = &quarantine_bytes;
		return 0;
	}
	snprintf(why, 256, "there is no '%.60s' in the quarantine; see show quarantine", id);
	return -EINVAL;
}

/**
 * vn_query_init() - understand what follows "show"
 * @words: the name of a report, filters, "json"
 * @why:   a sentence when it fails
 *
 * Return: 0 or -EINVAL.
 */
int
vn_query_init(vn_query *q, vn_broker *b, char **words, size_t n, char why[static 256])
{
	int rc;

	*q = (vn_query){.broker = b,
		.limit = UINT64_MAX,
		.worker = VN_QUERY_ANY,
		.incarnation = VN_QUERY_ANY,
		.endpoint = VN_QUERY_ANY};
	if (n > 1 && strcmp(words[n - 1], "json") == 0) {
		q->json = true;
		n--;
	}
	rc = query_report(q, n > 0 ? words[0] : NULL, why);
	if (rc == 0 && q->report->write)
		return 0;
	if (rc == 0 && q->report->wants_id)
		return query_id(q, n == 2 ? words[1] : "", why);
	if (rc == 0 && n == 2 && q->report->next == vn_quarantine_next)
		return query_quarantined(q, words[1], why);
	for (size_t i = 1; i < n && rc == 0; i++) {
		if (q->report->filters && strcmp(words[i], "active") == 0) {
			q->active = true;
			continue;
		}
		rc = query_filter(q, words[i], i + 1 < n ? words[i + 1] : NULL, why);
		i++;
	}
	return rc;
}

/**
 * vn_query_next() - look at one more thing
 * @row: its values, when it is wanted
 *
 * Return: whether there is a row, or an end; anything may have changed since the last call.
 */
vn_query_step
vn_query_next(vn_query *q, vn_row *row)
{
	vn_query_step step;

	if (q->limit == 0)
		return VN_QUERY_END;
	vn_row_clear(row);
	step = q->report->next(q, row);
	assert(step != VN_QUERY_ROW || row->n == q->report->columns->n);
	q->limit -= step == VN_QUERY_ROW;
	return step;
}
