/* SPDX-License-Identifier: MIT */
/*
 * Show - one worker, as the flight recorder has it
 *
 * Three parts: what is known of the worker; the connections that it had, those with input that it had not
 * acknowledged first, with the first bytes of that; and the last messages in both of its lanes, the latest
 * first, "got" (from the broker) before "gave". As JSON one object, {"worker": {..., "conns": [], "messages": []}}.
 */
#include "broker/show.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/recorder.h"
#include "broker/report.h"

#define LINE_MAX_TEXT (VN_ROW_BYTES + VN_ROW_MAX * 44)
#define LAST_DEFAULT  16

/* What is shown to whom. */
typedef struct view {
	vn_client *client;
	const vn_recording *recording;
	vn_row row;
	vn_widths widths;
	bool json;
} view;

/* What one part is made of. */
typedef struct part {
	const vn_columns *columns;
	uint32_t n;
	void (*fill)(view *v, uint32_t i);
} part;

int
vn_show_row(vn_client *c, const vn_columns *columns, const vn_row *row, const vn_widths *widths)
{
	char line[LINE_MAX_TEXT], *json;
	int rc;

	if (widths)
		return vn_client_write(c, line, vn_row_print(row, widths, line, sizeof line));
	json = vn_row_json(row, columns);
	if (!json)
		return -ENOMEM;
	rc = vn_client_write(c, json, strlen(json));
	free(json);
	return rc;
}

static const vn_columns worker_columns = {
	15, {"id", "pid", "state", "how", "signal", "exit_code", "core_dumped", "ordered",
		    "was_ready", "lived_seconds", "gone_seconds", "requests_total", "conns",
		    "conns_unacked", "messages_untaken"}};

/* One that is known, or not. */
static void
row_known(vn_row *row, int64_t number)
{
	if (number < 0)
		vn_row_none(row);
	else
		vn_row_number(row, (uint64_t)number);
}

static void
fill_worker(view *v)
{
	vn_time now = v->client->control->broker->hub->now;
	const vn_recording *r = v->recording;
	vn_row *row = &v->row;

	vn_row_clear(row);
	vn_row_text(row, "%u.%u", (unsigned)r->number, (unsigned)r->incarnation);
	vn_row_number(row, (uint64_t)r->pid);
	vn_row_text(row, "%s", r->is_dead ? "gone" : "alive");
	vn_row_text(row, "%s", r->how);
	row_known(row, r->signal);
	row_known(row, r->exit_code);
	vn_row_flag(row, r->dumped_core);
	vn_row_flag(row, r->was_ordered);
	vn_row_flag(row, r->was_ready);
	vn_row_number(row, (uint64_t)((r->ended - r->started) / VN_SEC));
	row_known(row, r->is_dead ? (now - r->ended) / VN_SEC : -1);
	vn_row_number(row, r->n_requests);
	vn_row_number(row, r->n_attached);
	vn_row_number(row, r->n_unacked);
	vn_row_number(row, r->n_untaken);
}

static const vn_columns conn_columns = {
	12, {"conn", "listener", "peer", "unacked_bytes", "received", "delivered", "acked",
		    "committed", "queued", "queued_committed", "sent", "input"}};

/* As in a C string, so that any bytes can be read and copied. */
static void
escape(const unsigned char *data, uint32_t n, char *out)
{
	static const char plain[] = "\n\r\t\\\"", letters[] = "nrt\\\"";

	for (uint32_t i = 0; i < n; i++) {
		const char *special = data[i] ? strchr(plain, data[i]) : NULL;

		if (special)
			out += sprintf(out, "\\%c", letters[special - plain]);
		else if (data[i] < 0x20 || data[i] >= 0x7f)
			out += sprintf(out, "\\x%02x", data[i]);
		else
			*out++ = (char)data[i];
	}
	*out = '\0';
}

static void
fill_conn(view *v, uint32_t i)
{
	const vn_recorded_conn *k = &v->recording->conns[i];
	const vn_broker_endpoint *e = v->client->control->broker->endpoints[k->endpoint];
	vn_row *row = &v->row;
	char input[4 * VN_RECORDED_INPUT + 1];

	escape(k->input, k->n_input, input);
	vn_row_number(row, k->id);
	vn_row_text(row, "%s", e && e->used ? vn_endpoint_label(e) : "");
	vn_row_peer(row, &k->peer);
	vn_row_number(row, k->delivered - k->acked);
	vn_row_number(row, k->received);
	vn_row_number(row, k->delivered);
	vn_row_number(row, k->acked);
	vn_row_number(row, k->committed);
	vn_row_number(row, k->queued);
	vn_row_number(row, k->queued_c);
	vn_row_number(row, k->sent);
	vn_row_text(row, "%s", input);
}

static const vn_columns message_columns = {
	12, {"lane", "back", "taken", "kind", "flags", "conn", "gen", "pos", "len", "report",
		    "block", "offset"}};

/* The names of flags, in the order of their bits. */
static void
row_flags(vn_row *row, uint8_t flags)
{
	static const char *const names[] = {
		"open", "final", "ack", "commit", "abort", "resume", "64", "128"};
	char text[64] = "";

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (flags & 1 << i) {
			if (*text)
				strcat(text, "+");
			strcat(text, names[i]);
		}
	vn_row_text(row, "%s", text);
}

static void
fill_message(view *v, const vn_desc *d, bool got, uint32_t back)
{
	vn_row *row = &v->row;

	vn_row_text(row, "%s", got ? "got" : "gave");
	vn_row_number(row, back);
	vn_row_flag(row, !got || back >= v->recording->n_untaken);
	vn_row_text(row, "%s", vn_kind_name(d->kind));
	row_flags(row, d->flags);
	vn_row_number(row, d->conn);
	vn_row_number(row, d->gen);
	vn_row_number(row, d->pos);
	vn_row_number(row, d->len);
	vn_row_number(row, d->report);
	vn_row_number(row, d->block);
	vn_row_number(row, d->offset);
}

static void
fill_got(view *v, uint32_t i)
{
	fill_message(v, &v->recording->got[i], true, i);
}

static void
fill_gave(view *v, uint32_t i)
{
	fill_message(v, &v->recording->gave[i], false, i);
}

static int
rows(view *v, const part *p, bool first)
{
	const char *between = first ? "\n" : ",\n";
	int rc = 0;

	for (uint32_t i = 0; i < p->n && rc == 0; i++) {
		vn_row_clear(&v->row);
		p->fill(v, i);
		if (v->json)
			rc = vn_client_write(v->client, between, strlen(between));
		if (rc == 0)
			rc = vn_show_row(
				v->client, p->columns, &v->row, v->json ? NULL : &v->widths);
		between = ",\n";
		if (rc == 0)
			rc = vn_client_work(v->client, VN_CLIENT_WORK_LINE);
	}
	return rc;
}

/* A line of names, then the rows of all parts, which have the same columns. */
static int
table(view *v, const part *parts, size_t n)
{
	int rc;

	v->widths = (vn_widths){{0}};
	for (size_t k = 0; k < n; k++)
		for (uint32_t i = 0; i < parts[k].n; i++) {
			vn_row_clear(&v->row);
			parts[k].fill(v, i);
			vn_widths_measure(&v->widths, &v->row);
		}
	vn_columns_row(parts->columns, &v->row);
	vn_widths_measure(&v->widths, &v->row);
	rc = vn_show_row(v->client, parts->columns, &v->row, &v->widths);
	for (size_t k = 0; k < n && rc == 0; k++)
		rc = rows(v, &parts[k], true);
	return rc;
}

/* A line for each value. */
static int
values(view *v)
{
	const vn_widths widths = {{18}};
	int rc = vn_client_printf(v->client, "%-18s  value\n", "field");

	for (uint32_t i = 0; i < worker_columns.n && rc == 0; i++) {
		vn_value value;

		fill_worker(v);
		value = v->row.values[i];

		v->row.values[0] =
			(vn_value){.kind = VN_VALUE_TEXT, .text = worker_columns.names[i]};
		v->row.values[1] = value;
		v->row.n = 2;
		rc = vn_show_row(v->client, NULL, &v->row, &widths);
	}
	return rc;
}

static int
show_text(view *v, const part parts[static 3])
{
	int rc = values(v);

	if (rc == 0 && parts[0].n)
		rc = table(v, parts, 1);
	if (rc == 0 && parts[1].n + parts[2].n)
		rc = table(v, parts + 1, 2);
	return rc;
}

static int
show_json(view *v, const part parts[static 3])
{
	char *text;
	int rc;

	fill_worker(v);
	text = vn_row_json(&v->row, &worker_columns);
	if (!text)
		return -ENOMEM;
	text[strlen(text) - 1] = '\0'; /* the object goes on */
	rc = vn_client_printf(v->client, "{\"worker\": %s,\n\"conns\": [", text);
	free(text);
	if (rc == 0)
		rc = rows(v, &parts[0], true);
	if (rc == 0)
		rc = vn_client_printf(v->client, "],\n\"messages\": [");
	if (rc == 0)
		rc = rows(v, &parts[1], true);
	if (rc == 0)
		rc = rows(v, &parts[2], parts[1].n == 0);
	return rc < 0 ? rc : vn_client_printf(v->client, "]}}\n");
}

static int
show(vn_client *c, const vn_recording *r, uint64_t last, bool json)
{
	const part parts[3] = {{&conn_columns, r->n_conns, fill_conn},
		{&message_columns, r->n_got < last ? r->n_got : (uint32_t)last, fill_got},
		{&message_columns, r->n_gave < last ? r->n_gave : (uint32_t)last, fill_gave}};
	view *v = calloc(1, sizeof *v);
	int rc;

	if (!v)
		return -ENOMEM;
	v->client = c;
	v->recording = r;
	v->json = json;
	rc = json ? show_json(v, parts) : show_text(v, parts);
	free(v);
	return rc;
}

/* ID [last N] */
static int
arguments(char **words, size_t n, int *number, int64_t *incarnation, uint64_t *last,
	char why[static 256])
{
	char *rest = NULL;

	*last = LAST_DEFAULT;
	if (n == 4 && strcmp(words[2], "last") == 0 && *words[3] >= '0' && *words[3] <= '9')
		*last = strtoull(words[3], &rest, 10);
	if (n == 2 || (rest && *rest == '\0'))
		return vn_worker_parse(words[1], number, incarnation, why);
	snprintf(why, 256, "show worker ID, or show worker ID last N");
	return -EINVAL;
}

/**
 * vn_show_worker() - what one worker had, got and gave, also of a dead one
 */
int
vn_show_worker(vn_client *c, char **words, size_t n, bool json)
{
	vn_recording *r;
	int number, rc;
	int64_t incarnation;
	uint64_t last;
	char why[256];

	if (arguments(words, n, &number, &incarnation, &last, why) < 0)
		return vn_client_error(c, "usage", "%s", why);
	r = vn_recorder_look(c->control->broker, (uint16_t)number, incarnation);
	if (!r && errno == ENOENT)
		return vn_client_error(c, "usage",
			"there is no worker %.60s, and no recording of one; see show workers",
			words[1]);
	rc = r ? show(c, r, last, json) : -ENOMEM;
	free(r);
	return rc < 0 ? rc : vn_client_ok(c);
}
