/* SPDX-License-Identifier: MIT */
/*
 * Pages - what is served over HTTP
 *
 *     /metrics   the counters file, for Prometheus
 *     /          page.html, for people
 *     /status    every `show` that is a table or a thing, as one JSON object; ?only=info,workers some of them
 *     /history   the last minutes, second by second; ?after=ID what came after that sample
 *     /events    what happens, as it happens (follow.c)
 *     /healthz   200: the broker turns
 *     /readyz    200: a worker is there to serve, and more are welcome; else 503
 *
 * Metrics are made whole, so that their length is known; they are bounded by the rows of the counters file. The
 * status is streamed, for it has every connection, and so is the history, for it has every worker 300 times.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/history.h"
#include "broker/http.h"
#include "broker/metrics.h"
#include "broker/report.h"
#include "broker/sample.h"
#include "broker/show.h"

#define METRICS_BYTES_MAX (16 << 20)
#define WORK_SAMPLE       16
#define WORK_ROW          32

typedef struct metrics_page {
	vn_reader reader;
	vn_metrics metrics;
	FILE *out;
	char *text;
	size_t len;
} metrics_page;

static metrics_page *
metrics_page_free(metrics_page *p)
{
	if (!p)
		return NULL;
	if (p->out)
		fclose(p->out);
	vn_reader_deinit(&p->reader);
	free(p->text);
	free(p);
	return NULL;
}

static metrics_page *
metrics_page_new(const vn_counters *counters)
{
	metrics_page *p = calloc(1, sizeof *p);
	const char *why;

	if (p && vn_reader_init(&p->reader, counters->base, counters->size, &why) == 0)
		p->out = open_memstream(&p->text, &p->len);
	return p && p->out ? p : metrics_page_free(p);
}

/* While the others have their turn the broker may end, and its counters with it: then nothing is read any more. */
static int
metrics_make(vn_client *c, metrics_page *p, vn_metrics_format format)
{
	int rc = 0;

	vn_metrics_begin(&p->metrics, p->out, &p->reader, format);
	while (rc == 0 && vn_metrics_step(&p->metrics)) {
		rc = vn_client_work(c, WORK_SAMPLE);
		if (rc == 0 && ftell(p->out) > METRICS_BYTES_MAX)
			rc = -EMSGSIZE;
	}
	if (fflush(p->out) != 0 && rc == 0)
		rc = -ENOMEM;
	return rc;
}

/**
 * vn_page_metrics() - the counters, as they are now
 */
int
vn_page_metrics(vn_client *c, const vn_http_request *r)
{
	vn_broker *b = c->control->broker;
	vn_metrics_format format =
		r->wants_openmetrics ? VN_METRICS_OPENMETRICS : VN_METRICS_PROMETHEUS;
	metrics_page *p = metrics_page_new(b->counters);
	int rc;

	vn_broker_sample(b);
	rc = p ? metrics_make(c, p, format) : -ENOMEM;
	if (rc == -ENOMEM || rc == -EMSGSIZE)
		rc = vn_http_text(c, r, 500, "the metrics could not be made; see the log");
	else if (rc == 0)
		rc = vn_http_begin(c, r, 200,
			r->wants_openmetrics
				? "application/openmetrics-text; version=1.0.0; charset=utf-8"
				: "text/plain; version=0.0.4; charset=utf-8",
			(int64_t)p->len);
	if (rc == 0 && p)
		rc = vn_client_write(c, p->text, p->len);
	metrics_page_free(p);
	return rc;
}

/* The rows of one `show`, as a member of the object. */
static int
status_rows(vn_client *c, vn_query *q)
{
	const char *between = "\n";
	vn_query_step step;
	vn_row row;
	int rc = 0;

	while (rc == 0 && (step = vn_query_next(q, &row)) != VN_QUERY_END) {
		if (step == VN_QUERY_ROW) {
			if (!q->report->single)
				rc = vn_client_write(c, between, strlen(between));
			if (rc == 0)
				rc = vn_show_row(c, q->report->columns, &row, NULL);
			between = ",\n";
		}
		if (rc == 0)
			rc = vn_client_work(c, WORK_ROW);
	}
	return rc;
}

static int
status_member(vn_client *c, const vn_report *report, bool first)
{
	char *words[] = {(char *)(uintptr_t)report->name};
	char why[256];
	vn_query q;
	int rc;

	if (vn_query_init(&q, c->control->broker, words, 1, why) < 0)
		return 0; /* it wants to be asked about somebody */
	q.json = true;
	rc = vn_client_printf(
		c, "%s\"%s\": %s", first ? "{" : ",\n", report->name, report->single ? "" : "[");
	if (rc == 0)
		rc = status_rows(c, &q);
	return rc < 0 || report->single ? rc : vn_client_write(c, "]", 1);
}

/* Is it among those that ?only= names, or are all wanted? */
static bool
is_wanted(const vn_http_request *r, const char *name)
{
	const char *rest = r->query;
	size_t n = strlen(name);

	if (strncmp(rest, "only=", 5) != 0)
		return true;
	for (rest += 5; *rest; rest += strcspn(rest, ","), rest += *rest == ',')
		if (strcspn(rest, ",") == n && strncmp(rest, name, n) == 0)
			return true;
	return false;
}

/**
 * vn_page_status() - everything that can be shown as tables
 */
int
vn_page_status(vn_client *c, const vn_http_request *r)
{
	int rc = vn_http_begin(c, r, 200, "application/json", VN_HTTP_UNKNOWN);
	bool first = true;

	for (size_t i = 0; i < vn_n_reports && rc == 0; i++)
		if (vn_reports[i].next && is_wanted(r, vn_reports[i].name)) {
			rc = status_member(c, &vn_reports[i], first);
			first = false;
		}
	if (rc == 0 && first)
		rc = vn_client_write(c, "{", 1);
	return rc < 0 ? rc : vn_client_write(c, "}\n", 2);
}

/* One sample, if it is still remembered; it may take as long as it has workers. */
static int
history_sample(vn_client *c, uint64_t id, const char **between)
{
	char *text = vn_history_sample(c->control->broker, id);
	int rc = text ? vn_client_write(c, *between, strlen(*between)) : 0;

	if (rc == 0 && text)
		rc = vn_client_write(c, text, strlen(text));
	if (text)
		*between = ",\n";
	free(text);
	return rc < 0 ? rc : vn_client_work(c, VN_CLIENT_WORK);
}

/**
 * vn_page_history() - the last minutes, oldest first, or what came after a sample
 */
int
vn_page_history(vn_client *c, const vn_http_request *r)
{
	uint64_t last = vn_history_last(c->control->broker);
	uint64_t id = last > VN_HISTORY ? last - VN_HISTORY : 0, after = 0;
	const char *between = "\n";
	int rc = vn_http_begin(c, r, 200, "application/json", VN_HTTP_UNKNOWN);

	if (strncmp(r->query, "after=", 6) == 0 && r->query[6] >= '0' && r->query[6] <= '9')
		after = strtoull(r->query + 6, NULL, 10);
	if (rc == 0)
		rc = vn_client_printf(c, "{\"most\": %d, \"last\": %llu, \"samples\": [",
			VN_HISTORY, (unsigned long long)last);
	for (id = after > id ? after : id; id < last && rc == 0; id++)
		rc = history_sample(c, id + 1, &between);
	return rc < 0 ? rc : vn_client_write(c, "\n]}\n", 4);
}

/**
 * vn_page_health() - that it is answered says it all
 */
int
vn_page_health(vn_client *c, const vn_http_request *r)
{
	return vn_http_text(c, r, 200, "ok");
}

/**
 * vn_page_ready() - may clients be sent here?
 */
int
vn_page_ready(vn_client *c, const vn_http_request *r)
{
	const vn_broker *b = c->control->broker;
	char text[64];

	if (b->phase == VN_PHASE_SERVING && b->n_ready > 0)
		return vn_http_text(c, r, 200, "ready");
	snprintf(text, sizeof text, "not ready: %s, %u workers ready", vn_phase_name(b->phase),
		(unsigned)b->n_ready);
	return vn_http_text(c, r, 503, text);
}
