/* SPDX-License-Identifier: MIT */
/*
 * Names - what states and reasons are called where people and scripts read them
 *
 * They are promises: names are added, never changed.
 */
#include "broker/broker.h"

static const char *const worker_names[] = {
	[VN_WORKER_NONE] = "gone",
	[VN_WORKER_STARTING] = "starting",
	[VN_WORKER_STANDBY] = "standby",
	[VN_WORKER_READY] = "ready",
	[VN_WORKER_DRAINING] = "draining",
};

static const char *const phase_names[] = {
	[VN_PHASE_STARTING] = "starting",
	[VN_PHASE_SERVING] = "serving",
	[VN_PHASE_DRAINING] = "draining",
	[VN_PHASE_STOPPING] = "stopping",
};

static const char *const reset_names[VN_N_RESET_REASONS] = {
	[VN_RESET_BY_HANDLER] = "by_handler",
	[VN_RESET_WORKER_DIED] = "worker_died",
	[VN_RESET_QUEUE_TIMEOUT] = "queue_timeout",
	[VN_RESET_NO_BLOCKS] = "no_blocks",
	[VN_RESET_STOPPING] = "stopping",
	[VN_RESET_LINGER] = "linger",
	[VN_RESET_QUARANTINED] = "quarantined",
	[VN_RESET_ACCEPT] = "accept_timeout",
	[VN_RESET_IDLE] = "idle_timeout",
	[VN_RESET_PROGRESS] = "progress_timeout",
	[VN_RESET_DIALLER_DIED] = "dialler_died",
	[VN_RESET_TOO_LARGE] = "message_too_large",
	[VN_RESET_BY_OPERATOR] = "by_operator",
};

/* What a connection is depends on its flags; the first of these that it has tells most. */
static const struct {
	uint32_t flags;
	const char *name;
} conn_names[] = {
	{VN_R_RESET | VN_R_ZOMBIE, "reset"},
	{VN_R_DOOMED, "doomed"},
	{VN_R_HEADER, "header"},
	{VN_R_CLOSING | VN_R_CLOSED | VN_R_FIN, "closing"},
	{VN_R_WAITING | VN_R_STARVED, "waiting"},
	{VN_R_ATTACHED, "attached"},
};

/**
 * vn_worker_state_name() - where a worker is in its life
 *
 * Return: starting, standby, ready, draining or gone.
 */
const char *
vn_worker_state_name(const vn_worker *w)
{
	return worker_names[w->state];
}

/**
 * vn_phase_name() - where the broker is in its life
 *
 * Return: starting, serving, draining or stopping.
 */
const char *
vn_phase_name(vn_phase phase)
{
	return phase_names[phase];
}

/**
 * vn_reset_reason_name() - why a connection was reset, as counters are called
 */
const char *
vn_reset_reason_name(vn_reset_reason reason)
{
	return reset_names[reason];
}

/**
 * vn_lost_reason_name() - why a datagram was lost
 */
const char *
vn_lost_reason_name(vn_lost_reason reason)
{
	static const char *const names[] = {
		[VN_LOST_KERNEL] = "kernel",
		[VN_LOST_FULL] = "full",
		[VN_LOST_DENIED] = "denied",
		[VN_LOST_NO_WORKER] = "no_worker",
		[VN_LOST_WORKER_DIED] = "worker_died",
	};

	return names[reason];
}

/**
 * vn_unsent_reason_name() - why a datagram never left
 */
const char *
vn_unsent_reason_name(vn_unsent_reason reason)
{
	static const char *const names[] = {
		[VN_UNSENT_REFUSED] = "refused",
		[VN_UNSENT_WORKER_DIED] = "worker_died",
	};

	return names[reason];
}

/**
 * vn_conn_state_name() - what becomes of a connection
 *
 * Return: reset (the client did it), doomed (we shall, when its committed output has left), header (its PROXY header
 * has not come), closing, waiting
 * (for a worker below depth), attached (a worker has it), or rest (nobody does, and nobody has to).
 */
const char *
vn_conn_state_name(const vn_record *r)
{
	for (size_t i = 0; i < sizeof conn_names / sizeof *conn_names; i++)
		if (r->flags & conn_names[i].flags)
			return conn_names[i].name;
	return "rest";
}
