/* SPDX-License-Identifier: MIT */
/*
 * Stages - how long requests wait, run, and are written
 *
 * A request is what one commit finishes: the input of a connection since the commit before it, unless that is its end
 * of file alone. Whoever takes several lines with one read call and answers them before the next has made one of them.
 *
 *     arrived     the poller said so, of a connection at rest. Of one whose client did not wait for the answer to the
 *                 request before: when that was finished, for a connection is one sequence
 *     dispatched  given to a worker: at once, unless it had to wait in line
 *     taken       a read call of a handler found its first bytes; whoever waits for the rest of it has it in hand
 *     finished    the handler committed: its next read call, vn_commit() or vn_close()
 *     written     the kernel has the last byte of what was committed by then
 *
 *     wait = arrived to taken      run = taken to finished      write = finished to written
 *
 * So a connection with input is at any time in exactly one of wait and run, and a handler that is busy for 20 ms shows
 * in its own run and in the wait of those behind it. One that waits for its client in the middle of a request runs. A
 * request that killed workers began when it arrived first. Each request is counted once in each histogram, of its
 * worker and of its endpoint: wait and run when it is finished; write when its output has left, at once if it has
 * none, and not at all if the connection is lost before. Answers of one connection that wait for its client together
 * are counted together when the last has left, from when the first was finished.
 *
 * What it costs. Nobody reads a clock for one request alone: a stamp says for some 10 us what the clock said (stamp.h),
 * and longer turns are seen. `taken` and `finished` come from the worker with the commit (protocol.h); they are cut to
 * lie between the arrival and now, so that whoever lies spoils its own figures and no more. The record has two times,
 * in a line that a request touches anyway. They are ticks and wrap: half an hour of run is the most that is seen.
 */
#ifndef VN_BROKER_STAGES_H
#define VN_BROKER_STAGES_H

#include "broker/broker.h"

/* Not after now, and some microseconds before it at most. */
static inline uint32_t
vn_stages_now(const vn_broker *b)
{
	return vn_ticks(vn_stamp_about(&b->hub->stamp, b->hub->sys, b->hub->now));
}

/* When the poller came back with what it tells now. */
static inline uint32_t
vn_stages_polled(vn_broker *b)
{
	if (b->polled_turn != b->hub->n_turns) {
		b->polled_turn = b->hub->n_turns;
		b->polled_at = vn_stages_now(b);
	}
	return b->polled_at;
}

/* From one instant to another; the later one may be seen as earlier by some microseconds. */
static inline uint32_t
vn_ticks_since(uint32_t now, uint32_t then)
{
	int32_t ticks = (int32_t)(now - then);

	return ticks > 0 ? (uint32_t)ticks : 0;
}

static inline uint64_t
vn_ticks_ns(uint32_t ticks)
{
	return (uint64_t)ticks * VN_TICK_NS;
}

void vn_stages_finished(vn_broker *b, vn_worker *w, vn_record *r, vn_desc_times times);
void vn_stages_written(vn_broker *b, vn_record *r);
void vn_stages_age(const vn_broker *b, vn_record *r);
uint64_t vn_stages_input_ns(const vn_broker *b, const vn_record *r);

#endif
