/* SPDX-License-Identifier: MIT */
/*
 * Patience - connections are looked at now and then
 *
 * No timer is set and nothing is noted when bytes move: what a request costs does not depend on these options. Instead
 * each connection of an endpoint that has one is looked at a few times within it, and what is seen is compared with
 * what was seen before. So a limit holds to within a quarter of it (or 50 ms).
 *
 * Only a client's time counts: while a handler works, all clocks stand still.
 *
 *   accept    from the accept to the first byte
 *   idle      no byte in either direction
 *   progress  in the middle of a request (not all of it is there) or of an answer (not all of it is taken), either
 *             must come to its end, or VN_PROGRESS_BYTES of it move, within that time. So a byte now and then, which
 *             keeps idle away, does not help (Slowloris), and an upload may take hours.
 */
#include "client/net/patience.h"

#define LOOKS 4u
#define LEAST 50u /* milliseconds */

static void
shorter(uint32_t *every, uint32_t limit)
{
	if (limit && limit / LOOKS < *every)
		*every = limit / LOOKS;
}

/**
 * vn_patience_every() - how often connections of an endpoint have to be looked at
 *
 * Return: milliseconds; UINT32_MAX: never.
 */
uint32_t
vn_patience_every(const vn_endpoint_options *o)
{
	uint32_t every = UINT32_MAX;

	shorter(&every, o->accept_ms);
	shorter(&every, o->idle_ms);
	shorter(&every, o->progress_ms);
	shorter(&every, o->proxy ? o->header_ms : 0);
	return every < LEAST ? LEAST : every;
}

static void
patience_begin(vn_patience *p, const vn_standing *s, uint32_t now)
{
	*p = (vn_patience){.id = s->id,
		.looked = now,
		.opened = now,
		.quiet_since = now,
		.slow_since = now,
		.bytes = s->received + s->sent,
		.slow_bytes = s->received + s->sent,
		.committed = s->committed};
}

/* What it was in the middle of has ended, or went on well: a new measure begins. */
static void
measure_begin(vn_patience *p, uint32_t now)
{
	p->slow_since = now;
	p->slow_bytes = p->bytes;
}

/* Notes what has changed since the last look. */
static void
patience_note(vn_patience *p, const vn_standing *s, uint32_t now)
{
	uint32_t bytes = s->received + s->sent, gap = now - p->looked;

	p->looked = now;
	if (bytes != p->bytes || !s->waits)
		p->quiet_since = now;
	p->bytes = bytes;
	if (!s->waits)
		p->slow_since += gap;
	if ((s->waits && !s->half) || s->committed != p->committed ||
		bytes - p->slow_bytes >= VN_PROGRESS_BYTES)
		measure_begin(p, now);
	p->committed = s->committed;
}

/**
 * vn_patience_look() - has a client used up its time?
 * @p:   what was seen before
 * @s:   what is seen now
 * @now: milliseconds
 */
vn_verdict
vn_patience_look(vn_patience *p, const vn_endpoint_options *o, const vn_standing *s, uint32_t now)
{
	if (p->id != s->id) {
		patience_begin(p, s, now);
		return VN_GOES_ON;
	}
	patience_note(p, s, now);
	if (s->header)
		return now - p->opened >= o->header_ms ? VN_NO_HEADER : VN_GOES_ON;
	if (!s->waits)
		return VN_GOES_ON;
	if (o->accept_ms && s->fresh && now - p->opened >= o->accept_ms)
		return VN_TOO_LATE;
	if (o->progress_ms && s->half && now - p->slow_since >= o->progress_ms)
		return VN_TOO_SLOW;
	if (o->idle_ms && now - p->quiet_since >= o->idle_ms)
		return VN_TOO_QUIET;
	return VN_GOES_ON;
}
