/* SPDX-License-Identifier: MIT */
/*
 * Broker - its life from the configuration to the exit code
 *
 * Everything that can fail without a worker fails first: the control socket, the endpoints of -l. Then the
 * workers start, in parallel; from then on callbacks and the hook of turn.c do the work, and this waits.
 */
#include "broker/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "broker/admin.h"
#include "broker/balance.h"
#include "broker/change.h"
#include "broker/datagram.h"
#include "broker/dial.h"
#include "broker/endpoint.h"
#include "broker/event.h"
#include "broker/history.h"
#include "broker/leave.h"
#include "broker/log.h"
#include "broker/notify.h"
#include "broker/patience.h"
#include "broker/quarantine.h"
#include "broker/recent.h"
#include "broker/recorder.h"
#include "broker/socket.h"
#include "broker/worker.h"

#define OWN_FDS 64 /* descriptors that are not connections, beside some per worker */

/* Raises the limit to what is allowed and says how many connections that makes. */
static uint32_t
connection_limit(const vn_config *config)
{
	struct rlimit limit;
	uint64_t own = OWN_FDS + 24ull * config->n_workers; /* twice while some replace others */

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1024;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur > 4u << 20)
		limit.rlim_cur = 4u << 20;
	if (limit.rlim_cur <= own)
		return 0;
	if (config->max_conns && config->max_conns < limit.rlim_cur - own)
		return config->max_conns;
	return (uint32_t)(limit.rlim_cur - own);
}

static int
open_ledger(vn_broker *b)
{
	uint32_t limit = connection_limit(b->config);

	if (limit == 0) {
		vn_log(b->hub, LOG_ERR,
			"the descriptor limit is too low for %u workers; raise it (ulimit -n)",
			b->config->n_workers);
		return VN_EXIT_SYSTEM;
	}
	b->ledger = vn_ledger_new(limit, VN_MAX_SLOTS + 1, b->config->lane_memory);
	if (!b->ledger) {
		vn_log(b->hub, LOG_ERR, "cannot make the ledger for %u connections: %s", limit,
			strerror(errno));
		return VN_EXIT_SYSTEM;
	}
	return 0;
}

/* Beside the control socket, which is ours by now. */
static int
open_counters(vn_broker *b)
{
	const vn_config *config = b->config;

	b->counters = vn_counters_open(config->control_path, config->name);
	if (!b->counters) {
		vn_log(b->hub, LOG_WARNING,
			"cannot make %s" VN_COUNTERS_SUFFIX
			": %s; vanilla stat will find nothing until there is "
			"room and the next start",
			config->control_path, strerror(errno));
		b->counters = vn_counters_open(NULL, config->name);
	}
	if (!b->counters)
		return VN_EXIT_SYSTEM;
	b->count = b->counters->broker;
	return vn_dials_init(b) < 0 ? VN_EXIT_SYSTEM : 0;
}

static int
open_all(vn_broker *b)
{
	int code = open_ledger(b);

	if (code == 0 &&
		(!(b->change = vn_change_new(b)) || !(b->recorder = vn_recorder_new()) ||
			!(b->events = vn_events_new(b)) || !(b->history = vn_history_new(b)) ||
			!(b->recent = vn_recent_new())))
		code = VN_EXIT_SYSTEM;
	if (code == 0)
		vn_poller_records(
			b->hub->poller, b->conn_class, b->ledger->records, sizeof(vn_record));
	if (code == 0 && vn_broker_signals_init(b) < 0) /* before anybody can see that we run */
		code = VN_EXIT_SYSTEM;
	if (code == 0)
		code = vn_control_open(b);
	if (code == 0)
		code = open_counters(b);
	if (code == 0)
		code = vn_admin_open(b);
	if (code == 0)
		code = vn_endpoints_open_fixed(b);
	return code;
}

static int
start_workers(vn_broker *b)
{
	for (uint16_t i = 1; i <= b->config->n_workers; i++) {
		vn_worker *w = vn_worker_new(b, i);

		if (!w || vn_worker_start(w) < 0)
			return VN_EXIT_SYSTEM;
	}
	return 0;
}

/**
 * vn_broker_end() - the run is over: vn_broker_run() returns that exit code
 */
void
vn_broker_end(vn_broker *b, int exit_code)
{
	if (b->is_over)
		return;
	b->is_over = true;
	b->exit_code = exit_code;
	if (b->done.first)
		vn_wake(b->done.first, 0);
}

static void
wait_for_end(vn_broker *b)
{
	while (!b->is_over) {
		vn_clause clause = {0};

		vn_waitq_push(&b->done, &clause);
		vn_wait(b->hub, &clause, 1, VN_NEVER);
	}
}

static void
close_all(vn_broker *b)
{
	vn_broker_signals_deinit(b);
	b->change = vn_change_free(b->change);
	vn_leave_deinit(b);
	vn_balance_deinit(b);
	for (uint32_t i = 1; i <= b->n_slots; i++)
		vn_worker_free(b->workers[i]);
	for (uint32_t i = 0; b->ledger && i < b->ledger->high; i++)
		vn_socket_abandon(vn_record_at(b->ledger, i));
	vn_endpoints_close(b);
	vn_dials_deinit(b);
	b->datagram_batch = vn_datagram_batch_free(b->datagram_batch);
	b->counters = vn_counters_close(b->counters);
	vn_admin_close(b);
	vn_control_close(b);
	b->quarantine = vn_quarantine_free(b->quarantine);
	b->ledger = vn_ledger_free(b->ledger);
	vn_patience_deinit(b);
	if (b->reserve >= 0)
		close(b->reserve);
	b->recorder = vn_recorder_free(b->recorder);
	b->history = vn_history_free(b->history);
	b->recent = vn_recent_free(b->recent);
	b->events = vn_events_free(b->events);
	b->notify = vn_notify_free(b->notify);
	vn_log_deinit(b);
	b->hub = vn_hub_close(b->hub);
}

/**
 * vn_broker_run() - serve until stopped
 *
 * Return: the exit code of the program; whatever went wrong was said on standard error.
 */
int
vn_broker_run(const vn_config *config)
{
	vn_broker *b = calloc(1, sizeof *b);
	int code;

	if (!b || !(b->hub = vn_hub_open(&vn_sys_linux))) {
		fprintf(stderr, "vanilla: cannot start: %s\n", strerror(errno));
		free(b);
		return VN_EXIT_SYSTEM;
	}
	b->config = config;
	vn_log_init(b);
	prctl(PR_SET_DUMPABLE, 0);
	b->notify = vn_notify_new(b);
	b->signals.fd = -1;
	b->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	b->started = vn_now(b->hub);
	b->conn_class = vn_poller_class(b->hub->poller, vn_socket_on_event, b);
	vn_broker_turn_init(b);
	vn_balance_init(b);
	code = open_all(b);
	if (code == 0)
		code = start_workers(b);
	if (code == 0) {
		wait_for_end(b);
		code = b->exit_code;
	}
	close_all(b);
	free(b);
	return code;
}
