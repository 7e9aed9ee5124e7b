/* SPDX-License-Identifier: MIT */
/*
 * Report of one connection - everything that is known of it
 *
 * Positions are as in ledger.h, and what they mean is beside them: how much a worker has and has not acknowledged,
 * how much a client has not taken, from the kernel as well. Times are since then.
 */
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "broker/dispatch.h"
#include "broker/report.h"

const vn_columns vn_conn_columns = {32,
	{"id", "listener", "peer", "state", "worker", "resumable", "age_seconds", "unacked_seconds",
		"waiting_seconds", "unacked_bytes", "unsent_bytes", "kernel_unread_bytes",
		"kernel_unsent_bytes", "received", "delivered", "acked", "committed", "queued",
		"queued_committed", "sent", "reported", "ended", "shut", "closed", "attempts",
		"blame", "killed", "state_bytes", "kept_input", "debts", "flags", "generation"}};

static const struct {
	uint16_t debt;
	const char *name;
} debt_names[] = {{VN_D_OPEN, "open"}, {VN_D_DATA, "data"}, {VN_D_END, "end"},
	{VN_D_RESET, "reset"}, {VN_D_SENT, "sent"}, {VN_D_FULL, "full"}, {VN_D_RELEASE, "release"},
	{VN_D_FINAL, "final"}};

static const struct {
	uint32_t flag;
	const char *name;
} flag_names[] = {{VN_R_BUSY, "busy"}, {VN_R_READABLE, "readable"}, {VN_R_WRITABLE, "writable"},
	{VN_R_WAITING, "waiting"}, {VN_R_STARVED, "starved"}, {VN_R_NEED, "needs_room"},
	{VN_R_NEED_INPUT, "needs_input"}, {VN_R_FIN, "fin_sent"}, {VN_R_CLOSING, "lingers"},
	{VN_R_DOOMED, "doomed"}, {VN_R_RELEASE, "release_asked"}, {VN_R_RELEASED, "released"},
	{VN_R_HEADER, "header_awaited"}};

/* "a b c": the names of what is set. */
static void
row_debts(vn_row *row, uint16_t debts)
{
	char text[128] = "";

	for (size_t i = 0; i < sizeof debt_names / sizeof *debt_names; i++)
		if (debts & debt_names[i].debt)
			snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s",
				*text ? " " : "", debt_names[i].name);
	vn_row_text(row, "%s", text);
}

static void
row_flags(vn_row *row, uint32_t flags)
{
	char text[192] = "";

	for (size_t i = 0; i < sizeof flag_names / sizeof *flag_names; i++)
		if (flags & flag_names[i].flag)
			snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s",
				*text ? " " : "", flag_names[i].name);
	vn_row_text(row, "%s", text);
}

static void
row_killed(vn_row *row, const vn_record *r)
{
	char text[VN_MAX_TOLD * 24] = "";

	for (uint32_t i = 0; (r->flags & VN_R_TRIED) && i < VN_MAX_TOLD && i < r->blame; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s%u.%u",
			*text ? " " : "", (unsigned)r->killed_by[i], (unsigned)r->killed[i]);
	vn_row_text(row, "%s", text);
}

static void
row_kernel(vn_row *row, const vn_record *r, unsigned long what)
{
	int n = 0;

	if (r->fd >= 0 && ioctl(r->fd, what, &n) == 0)
		vn_row_number(row, (uint64_t)n);
	else
		vn_row_none(row);
}

/* Whole seconds since a time in milliseconds of the hub's clock. */
static void
row_since(vn_row *row, const vn_broker *b, bool applies, uint32_t ms)
{
	if (applies)
		vn_row_number(row, (vn_broker_ms(b) - ms) / 1000);
	else
		vn_row_none(row);
}

static void
conn_who(const vn_broker *b, const vn_record *r, vn_row *row)
{
	const vn_broker_endpoint *e = b->endpoints[r->endpoint];
	uint32_t now = (uint32_t)(b->hub->now / VN_SEC);

	vn_row_number(row, r->id);
	vn_row_text(row, "%s", e && e->used ? vn_endpoint_label(e) : "");
	vn_row_peer(row, &r->peer);
	vn_row_text(row, "%s", vn_conn_state_name(r));
	if (r->flags & VN_R_ATTACHED)
		vn_row_text(row, "%u.%u", (unsigned)b->workers[r->worker]->number,
			(unsigned)r->incarnation);
	else
		vn_row_none(row);
	vn_row_flag(row, r->flags & VN_R_RESUMABLE);
	vn_row_number(row, now > r->opened ? now - r->opened : 0);
	row_since(row, b, r->flags & VN_R_BUSY, r->since);
	row_since(row, b, r->flags & VN_R_WAITING, r->wait_since);
}

static void
conn_positions(const vn_record *r, vn_row *row)
{
	vn_row_number(row, r->delivered - r->acked);
	vn_row_number(row, r->queued - r->sent);
	row_kernel(row, r, SIOCINQ);
	row_kernel(row, r, SIOCOUTQ);
	vn_row_number(row, r->received);
	vn_row_number(row, r->delivered);
	vn_row_number(row, r->acked);
	vn_row_number(row, r->committed);
	vn_row_number(row, r->queued);
	vn_row_number(row, r->queued_c);
	vn_row_number(row, r->sent);
	vn_row_number(row, r->reported);
}

static void
conn_rest(const vn_record *r, vn_row *row)
{
	bool tried = r->flags & VN_R_TRIED;

	vn_row_flag(row, r->flags & VN_R_ENDED);
	vn_row_flag(row, r->flags & VN_R_SHUT);
	vn_row_flag(row, r->flags & VN_R_CLOSED);
	vn_row_number(row, tried ? r->n_attempts : 0);
	vn_row_number(row, tried ? r->blame : 0);
	row_killed(row, r);
	vn_row_number(row, r->flags & VN_R_STATEFUL ? r->state_len : 0);
	vn_row_flag(row, r->flags & VN_R_KEPT);
	row_debts(row, r->debts);
	row_flags(row, r->flags);
	vn_row_number(row, r->gen);
}

/**
 * vn_conn_next() - look whether the next connection is the one of which the number was given
 */
vn_query_step
vn_conn_next(vn_query *q, vn_row *row)
{
	const vn_record *r = vn_conn_search(q->broker, q->after, &q->cursor);

	if (!r)
		return q->cursor == UINT32_MAX ? VN_QUERY_END : VN_QUERY_SKIP;
	conn_who(q->broker, r, row);
	conn_positions(r, row);
	conn_rest(r, row);
	return VN_QUERY_ROW;
}

/**
 * vn_conn_search() - one step of the search for a connection by its number
 * @cursor: 0 at first; UINT32_MAX when all have been looked at
 *
 * Return: the connection, as long as nobody else has a turn; NULL when it has not been found yet.
 */
vn_record *
vn_conn_search(const vn_broker *b, uint64_t id, uint32_t *cursor)
{
	vn_record *r;

	if (!b->ledger || *cursor >= b->ledger->high) {
		*cursor = UINT32_MAX;
		return NULL;
	}
	r = vn_record_at(b->ledger, (*cursor)++);
	return (r->flags & (VN_R_USED | VN_R_ZOMBIE)) == VN_R_USED && r->id == id ? r : NULL;
}
