/* SPDX-License-Identifier: MIT */
/*
 * Follow - `events`: what happened, and with -f what happens
 *
 *     events [-f] [last N] [json]
 *
 * Text has a line of names and a line for each event; JSON an object for each, on a line of its own. Without -f all
 * that is remembered is shown, or the last N; with -f the last ten, or N, and then each as it happens, until the
 * client sends another line or leaves. Whoever reads too slowly gets a line that tells how many were missed.
 *
 * Over HTTP, /events is the same as JSON, in the form of server-sent events (WHATWG HTML, 9.2).
 */
#include "broker/follow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/event.h"
#include "broker/log.h"
#include "broker/show.h"

#define LAST_OF_FOLLOWED 10

typedef struct wish {
	bool follow, json;
	bool page;     /* as server-sent events */
	uint64_t last; /* how many of the past */
} wish;

static const vn_columns columns = {
	8, {"id", "time", "kind", "level", "worker", "conn", "listener", "text"}};
static const vn_widths widths = {{6, 24, 17, 7, 7, 8, 20}};

static void
event_row(const vn_event_entry *e, vn_row *row)
{
	char time[VN_TIME_TEXT];

	vn_time_text(e->at, time);
	vn_row_clear(row);
	vn_row_number(row, e->id);
	vn_row_text(row, "%s", time);
	vn_row_text(row, "%s", vn_event_kind_name(e->kind));
	vn_row_text(row, "%s", vn_level_name(e->level));
	if (e->number)
		vn_row_text(row, "%u.%u", (unsigned)e->number, (unsigned)e->incarnation);
	else
		vn_row_none(row);
	if (e->conn)
		vn_row_number(row, e->conn);
	else
		vn_row_none(row);
	vn_row_text(row, "%s", e->listener);
	vn_row_text(row, "%s", e->text);
}

static int
row_tell(vn_client *c, const wish *w, const vn_row *row)
{
	int rc = w->page ? vn_client_write(c, "data: ", 6) : 0;

	if (rc == 0)
		rc = vn_show_row(c, &columns, row, w->json ? NULL : &widths);
	return rc == 0 && w->json ? vn_client_write(c, "\n\n", w->page ? 2 : 1) : rc;
}

static int
missed_tell(vn_client *c, const wish *w, uint64_t n)
{
	return vn_client_printf(c,
		w->page   ? "data: {\"missed\": %llu}\n\n"
		: w->json ? "{\"missed\": %llu}\n"
			  : "-- %llu events were missed\n",
		(unsigned long long)n);
}

/* The next ones, up to the latest. Who is told may wait meanwhile, and events may be overwritten. */
static int
tell(vn_client *c, const wish *w, uint64_t *next)
{
	const vn_broker *b = c->control->broker;
	vn_row row;
	int rc = 0;

	while (rc == 0 && *next <= vn_events_last(b)) {
		uint64_t last = vn_events_last(b),
			 oldest = last < VN_EVENTS ? 1 : last - VN_EVENTS + 1;

		if (*next < oldest) {
			rc = missed_tell(c, w, oldest - *next);
			*next = oldest;
			continue;
		}
		event_row(vn_events_at(b, (*next)++), &row);
		rc = row_tell(c, w, &row);
		if (rc == 0)
			rc = vn_client_work(c, VN_CLIENT_WORK_LINE);
	}
	return rc;
}

static int
follow(vn_client *c, const wish *w, uint64_t next)
{
	int rc;

	c->follows = true;
	do {
		rc = tell(c, w, &next);
		if (rc == 0)
			rc = vn_client_await(c);
	} while (rc == 0);
	c->follows = false;
	return rc < 0 ? rc : 0;
}

/* -EINVAL: that is no wish. */
static int
wish_parse(wish *w, char **words, size_t n)
{
	char *rest = NULL;
	bool has_last = false;

	for (size_t i = 1; i < n; i++) {
		if (strcmp(words[i], "-f") == 0) {
			w->follow = true;
		} else if (strcmp(words[i], "json") == 0) {
			w->json = true;
		} else if (strcmp(words[i], "last") == 0 && i + 1 < n && *words[i + 1] >= '0' &&
			   *words[i + 1] <= '9') {
			w->last = strtoull(words[++i], &rest, 10);
			if (*rest)
				return -EINVAL;
			has_last = true;
		} else {
			return -EINVAL;
		}
	}
	if (!has_last)
		w->last = w->follow ? LAST_OF_FOLLOWED : VN_EVENTS;
	return 0;
}

/**
 * vn_follow_run() - the command `events`
 * @words: the command and its arguments
 *
 * Return: 0, or a negative errno when the client or the broker is gone.
 */
int
vn_follow_run(vn_client *c, char **words, size_t n)
{
	const vn_broker *b = c->control->broker;
	uint64_t next = vn_events_last(b), past = next < VN_EVENTS ? next : VN_EVENTS;
	wish w = {.follow = false};
	vn_row row;
	int rc = 0;

	if (wish_parse(&w, words, n) < 0)
		return vn_client_error(c, "usage", "events [-f] [last N] [json]");
	next = next + 1 - (w.last < past ? w.last : past);
	vn_columns_row(&columns, &row);
	if (!w.json)
		rc = row_tell(c, &w, &row);
	if (rc == 0)
		rc = w.follow ? follow(c, &w, next) : tell(c, &w, &next);
	return rc < 0 ? rc : vn_client_ok(c);
}

/**
 * vn_follow_page() - /events: the last ten, then each as it happens, until the client leaves
 *
 * Return: a negative errno when the client or the broker is gone.
 */
int
vn_follow_page(vn_client *c, const vn_http_request *r)
{
	const vn_broker *b = c->control->broker;
	const wish w = {.follow = true, .json = true, .page = true};
	uint64_t last = vn_events_last(b);
	int rc = vn_http_begin(c, r, 200, "text/event-stream", VN_HTTP_UNKNOWN);

	if (rc < 0 || r->is_head)
		return rc;
	return follow(c, &w, last < LAST_OF_FOLLOWED ? 1 : last - LAST_OF_FOLLOWED + 1);
}
