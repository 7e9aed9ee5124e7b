/* SPDX-License-Identifier: MIT */
/*
 * Quarantine - the last of what was given up because too many workers died of it
 *
 * A record for people, not a filter: the same bytes on another connection are tried again. It is made when the first
 * such input is given up, and out of memory it is not made at all: the connection is reset all the same.
 */
#include "broker/quarantine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/event.h"
#include "broker/keep.h"

#define ROW_BYTES    16 /* of one that is shown byte by byte */
#define BEGINS_BYTES 48 /* shown in the list of all */

static void
fill(const vn_broker *b, vn_quarantined *q, const vn_record *r)
{
	uint32_t len = b->config->quarantine_bytes;

	q->at = b->hub->now;
	q->conn = r->id;
	q->endpoint = r->endpoint;
	q->peer = r->peer;
	q->n_killed = r->blame;
	memcpy(q->killed, r->killed, sizeof q->killed);
	memcpy(q->killed_by, r->killed_by, sizeof q->killed_by);
	q->n_bytes = r->received - r->committed - !!(r->flags & VN_R_ENDED);
	q->bytes = len ? malloc(len) : NULL;
	q->len = q->bytes ? vn_keep_show(b, r, q->bytes, len) : 0;
}

/**
 * vn_quarantine_add() - remember a connection that is to be reset
 * @r: with the input that was to be delivered again
 */
void
vn_quarantine_add(vn_broker *b, const vn_record *r)
{
	vn_quarantine *k = b->quarantine;
	vn_quarantined *q;

	if (!k)
		k = b->quarantine = calloc(1, sizeof *k);
	if (!k)
		return;
	q = &k->entries[k->last_id % VN_MAX_QUARANTINED];
	free(q->bytes);
	*q = (vn_quarantined){.id = ++k->last_id};
	fill(b, q, r);
	vn_event(b, VN_EVENT_CONN_QUARANTINED, (vn_about){.conn = r},
		"connection %llu is reset: its input took %u workers down; see show quarantine %u",
		(unsigned long long)r->id, q->n_killed, q->id);
}

/**
 * vn_quarantine_find() - one of those that are remembered
 *
 * Return: NULL when it is not, or not any more.
 */
const vn_quarantined *
vn_quarantine_find(const vn_broker *b, uint32_t id)
{
	const vn_quarantined *q;

	if (!b->quarantine || id == 0)
		return NULL;
	q = &b->quarantine->entries[(id - 1) % VN_MAX_QUARANTINED];
	return q->id == id ? q : NULL;
}

/**
 * vn_quarantine_free() - forget all of them
 *
 * Return: NULL. Takes NULL.
 */
vn_quarantine *
vn_quarantine_free(vn_quarantine *q)
{
	for (int i = 0; q && i < VN_MAX_QUARANTINED; i++)
		free(q->entries[i].bytes);
	free(q);
	return NULL;
}

/* The list of all, oldest first. */

const vn_columns vn_quarantine_columns = {
	10, {"id", "age_seconds", "conn", "listener", "peer", "workers_killed", "killed", "bytes",
		    "kept_bytes", "begins"}};

/* What can be printed as it is; dots for the rest. */
static void
row_printable(vn_row *row, const unsigned char *bytes, uint32_t n)
{
	char text[BEGINS_BYTES + 1] = "";

	for (uint32_t i = 0; i < n && i < BEGINS_BYTES; i++)
		text[i] = bytes[i] >= 0x20 && bytes[i] < 0x7f ? (char)bytes[i] : '.';
	vn_row_text(row, "%s", text);
}

/* "2.1 1.4", the last one first. */
static void
row_killed(vn_row *row, const vn_quarantined *k)
{
	char text[VN_MAX_TOLD * 24] = "";
	size_t len = 0;

	for (uint32_t i = 0; i < VN_MAX_TOLD && i < k->n_killed; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, "%s%u.%u", i ? " " : "",
			(unsigned)k->killed_by[i], (unsigned)k->killed[i]);
	vn_row_text(row, "%s", text);
}

static void
quarantined_row(const vn_broker *b, const vn_quarantined *k, vn_row *row)
{
	const vn_broker_endpoint *e = b->endpoints[k->endpoint];

	vn_row_number(row, k->id);
	vn_row_number(row, (uint64_t)((b->hub->now - k->at) / VN_SEC));
	vn_row_number(row, k->conn);
	vn_row_text(row, "%s", e && e->used ? vn_endpoint_label(e) : "");
	vn_row_peer(row, &k->peer);
	vn_row_number(row, k->n_killed);
	row_killed(row, k);
	vn_row_number(row, k->n_bytes);
	vn_row_number(row, k->len);
	row_printable(row, k->bytes, k->len);
}

vn_query_step
vn_quarantine_next(vn_query *q, vn_row *row)
{
	const vn_quarantine *all = q->broker->quarantine;
	const vn_quarantined *k;

	if (!all || q->cursor >= VN_MAX_QUARANTINED)
		return VN_QUERY_END;
	k = &all->entries[(all->last_id + q->cursor++) % VN_MAX_QUARANTINED];
	if (k->id == 0)
		return VN_QUERY_SKIP;
	quarantined_row(q->broker, k, row);
	return VN_QUERY_ROW;
}

/* One of them, byte by byte. */

const vn_columns vn_quarantine_byte_columns = {3, {"offset", "hex", "text"}};

vn_query_step
vn_quarantine_bytes_next(vn_query *q, vn_row *row)
{
	const vn_quarantined *k = vn_quarantine_find(q->broker, (uint32_t)q->after);
	uint32_t at = q->cursor * ROW_BYTES, n;
	char hex[3 * ROW_BYTES + 1] = "";

	if (!k || at >= k->len)
		return VN_QUERY_END;
	q->cursor++;
	n = k->len - at < ROW_BYTES ? k->len - at : ROW_BYTES;
	for (uint32_t i = 0; i < n; i++)
		snprintf(hex + 3 * i, 4, "%02x ", k->bytes[at + i]);
	hex[3 * n - 1] = '\0';
	vn_row_number(row, at);
	vn_row_text(row, "%s", hex);
	row_printable(row, k->bytes + at, n);
	return VN_QUERY_ROW;
}
