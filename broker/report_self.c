/* SPDX-License-Identifier: MIT */
/*
 * Report of the broker on itself - its options, its memory, its errors
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/control.h"
#include "broker/event.h"
#include "broker/options.h"
#include "broker/quarantine.h"
#include "broker/report.h"

/* config */

const vn_columns vn_config_columns = {4, {"name", "value", "source", "where"}};

vn_query_step
vn_config_next(vn_query *q, vn_row *row)
{
	vn_option_shown o;

	if (!vn_options_shown(q->broker->config, q->cursor, &o))
		return VN_QUERY_END;
	q->cursor++;
	vn_row_text(row, "%s", o.name);
	vn_row_text(row, "%s", o.value);
	vn_row_text(row, "%s", o.source);
	vn_row_text(row, "%s", o.place);
	return VN_QUERY_ROW;
}

/* memory */

const vn_columns vn_memory_columns = {4, {"what", "worker", "bytes", "limit_bytes"}};

/* What a file in memory takes of it. */
static uint64_t
file_bytes(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* Resident memory of a process; 0 if it is gone. */
static uint64_t
resident_bytes(pid_t pid)
{
	char path[32];
	unsigned long pages = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%*u %lu", &pages) != 1)
		pages = 0;
	fclose(f);
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t
process_bytes(const vn_broker *b)
{
	(void)b;
	return resident_bytes(getpid());
}

static uint64_t
ledger_bytes(const vn_broker *b)
{
	return b->ledger ? file_bytes(b->ledger->fd) : 0;
}

static uint64_t
ledger_limit(const vn_broker *b)
{
	return b->ledger ? b->ledger->size : 0;
}

static uint64_t
spill_limit(const vn_broker *b)
{
	return b->ledger ? b->ledger->spill.geometry.area_bytes : 0;
}

static uint64_t
counters_bytes(const vn_broker *b)
{
	return b->counters ? file_bytes(b->counters->fd) : 0;
}

static uint64_t
counters_limit(const vn_broker *b)
{
	return b->counters ? b->counters->size : 0;
}

static uint64_t
clients_bytes(const vn_broker *b)
{
	return b->control ? b->control->n_clients * sizeof(vn_client) : 0;
}

static uint64_t
clients_limit(const vn_broker *b)
{
	(void)b;
	return VN_CLIENTS_MAX * sizeof(vn_client);
}

static uint64_t
quarantine_bytes(const vn_broker *b)
{
	uint64_t n = 0;

	for (uint32_t i = 0; b->quarantine && i < VN_MAX_QUARANTINED; i++)
		n += b->quarantine->entries[i].len;
	return n;
}

static uint64_t
quarantine_limit(const vn_broker *b)
{
	return (uint64_t)VN_MAX_QUARANTINED * b->config->quarantine_bytes;
}

static uint64_t
events_bytes(const vn_broker *b)
{
	return b->events ? VN_EVENTS * sizeof(vn_event_entry) : 0;
}

/* Of the broker as such; limit NULL: none of its own. */
static const struct {
	const char *what;
	uint64_t (*bytes)(const vn_broker *b), (*limit)(const vn_broker *b);
} memories[] = {{"process", process_bytes, NULL}, {"ledger", ledger_bytes, ledger_limit},
	{"spill", vn_spilled_bytes, spill_limit}, {"counters", counters_bytes, counters_limit},
	{"control_clients", clients_bytes, clients_limit},
	{"quarantine", quarantine_bytes, quarantine_limit}, {"events", events_bytes, events_bytes}};

#define N_MEMORIES (sizeof memories / sizeof *memories)

static void
memory_who(vn_row *row, const char *what, const vn_worker *w)
{
	vn_row_text(row, "%s", what);
	if (w)
		vn_row_text(row, "%u.%u", (unsigned)w->number, (unsigned)w->incarnation);
	else
		vn_row_none(row);
}

/* What a lane takes is only known while its descriptor is held; it shows in the processes that have touched it. */
static void
lane_row(vn_row *row, const char *what, const vn_worker *w, const vn_segment *s)
{
	memory_who(row, what, w);
	if (s->fd < 0)
		vn_row_none(row);
	else
		vn_row_number(row, file_bytes(s->fd));
	vn_row_number(row, s->size);
}

/* A worker has three: its process, and a lane each way. */
static vn_query_step
memory_of_worker(const vn_broker *b, uint32_t cursor, vn_row *row)
{
	const vn_worker *w = b->workers[cursor / 3 + 1];

	if (!w || w->state == VN_WORKER_NONE || (cursor % 3 && !w->linked))
		return VN_QUERY_SKIP;
	if (cursor % 3) {
		lane_row(row, cursor % 3 == 1 ? "lane_in" : "lane_out", w,
			cursor % 3 == 1 ? &w->link.own : &w->link.peer);
	} else {
		memory_who(row, "worker_process", w);
		vn_row_number(row, resident_bytes(w->pid));
		vn_row_none(row);
	}
	return VN_QUERY_ROW;
}

vn_query_step
vn_memory_next(vn_query *q, vn_row *row)
{
	const vn_broker *b = q->broker;
	uint32_t i = q->cursor++;

	if (i >= N_MEMORIES + 3 * b->n_slots)
		return VN_QUERY_END;
	if (i >= N_MEMORIES)
		return memory_of_worker(b, i - N_MEMORIES, row);
	memory_who(row, memories[i].what, NULL);
	vn_row_number(row, memories[i].bytes(b));
	if (memories[i].limit)
		vn_row_number(row, memories[i].limit(b));
	else
		vn_row_none(row);
	return VN_QUERY_ROW;
}

/* errors */

const vn_columns vn_errors_columns = {6, {"kind", "level", "count", "first", "last", "error"}};

/* When that was by the wall clock; 0: it never was. */
static void
row_time(vn_row *row, const vn_broker *b, uint64_t at)
{
	char text[VN_TIME_TEXT] = "";

	if (at)
		vn_time_text(vn_counters_wall(b->counters, at), text);
	vn_row_text(row, "%s", text);
}

static vn_query_step
error_row(const vn_broker *b, const char *kind, const char *level, uint64_t count,
	const uint64_t times[static 2], const char *text, vn_row *row)
{
	if (count == 0)
		return VN_QUERY_SKIP;
	vn_row_text(row, "%s", kind);
	vn_row_text(row, "%s", level);
	vn_row_number(row, count);
	row_time(row, b, times[0]);
	row_time(row, b, times[1]);
	vn_row_text(row, "%s", text);
	return VN_QUERY_ROW;
}

static uint64_t
count_refusals(const vn_broker *b, uint32_t reason)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < b->n_endpoints; i++)
		if (vn_endpoint_is_public(b->endpoints[i]))
			n += b->endpoints[i]->count->n_refusals[reason];
	return n;
}

/* Distinct lines of the log, then resets and refusals by their reasons. */
vn_query_step
vn_errors_next(vn_query *q, vn_row *row)
{
	const vn_broker *b = q->broker;
	uint32_t i = q->cursor++;

	if (i < VN_COUNTERS_ERRORS) {
		const vn_counters_error *e = b->counters ? &b->counters->errors[i] : NULL;
		const uint64_t times[2] = {e ? e->first_ns : 0, e ? e->last_ns : 0};

		return e ? error_row(b, "log", vn_level_name((int)e->level), e->count, times,
				   e->text, row)
			 : VN_QUERY_SKIP;
	}
	i -= VN_COUNTERS_ERRORS;
	if (i < VN_N_RESET_REASONS)
		return error_row(b, "reset", "", b->count->n_resets[i], b->reset_times[i],
			vn_reset_reason_name((vn_reset_reason)i), row);
	i -= VN_N_RESET_REASONS;
	if (i < VN_N_REFUSALS)
		return error_row(b, "refusal", "", count_refusals(b, i), b->refusal_times[i],
			vn_refusal_name((vn_refusal)i), row);
	return VN_QUERY_END;
}

/* channels */

const vn_columns vn_channels_columns = {8,
	{"name", "kind", "state", "senders", "receivers", "queued", "sent_total", "dropped_total"}};

/* There are no channels between processes: none is named, none is listed. */
vn_query_step
vn_channels_next(vn_query *q, vn_row *row)
{
	(void)q, (void)row;
	return VN_QUERY_END;
}
