/* SPDX-License-Identifier: MIT */
/*
 * Stop - signals to the service, and how it ends
 *
 * SIGTERM and SIGINT drain: nothing more is accepted, workers get no new connections, those at rest are closed
 * when they have sent what they had, the rest runs on until it is done or drain-timeout has passed. Connections
 * that would never come to rest are asked for when half of that has passed: their handlers are relieved at the next
 * commit point, and what was not begun is reset after the answers that were. A second
 * one, and SIGQUIT, stop at once: every wait in a worker ends, and a worker that does not obey within a second
 * is killed. When every worker and every connection is gone, the run ends. SIGHUP, SIGTTIN and SIGTTOU change the
 * workers (change.c). Others are forwarded to the workers that asked for them (forward.c).
 */
#include <errno.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/change.h"
#include "broker/dispatch.h"
#include "broker/endpoint.h"
#include "broker/event.h"
#include "broker/forward.h"
#include "broker/leave.h"
#include "broker/settle.h"
#include "broker/socket.h"
#include "broker/worker.h"

/* Is everything gone? */
void
vn_broker_stop_check(vn_broker *b)
{
	for (uint32_t i = 1; i <= b->n_slots; i++)
		if (b->workers[i] && b->workers[i]->state != VN_WORKER_NONE)
			return;
	if (b->n_open > 0 && b->phase < VN_PHASE_STOPPING)
		return;
	vn_broker_end(b, 0);
}

/**
 * vn_broker_stop_record() - while draining: nobody will go on with a connection that has come to rest
 */
void
vn_broker_stop_record(vn_broker *b, vn_record *r)
{
	if (r->flags & (VN_R_CLOSED | VN_R_SHUT) || r->fd < 0)
		return;
	if (!(r->flags & (VN_R_ATTACHED | VN_R_RESUMABLE))) { /* nobody will take it */
		vn_socket_reset(b, r, VN_RESET_STOPPING);
		return;
	}
	if (!(r->flags & VN_R_RESUMABLE))
		return;
	if (!vn_record_at_rest(r)) {
		if (!(r->flags & VN_R_ATTACHED)) /* its worker died, and nobody comes after it */
			vn_settle_given_back(b, r);
		return;
	}
	if ((r->flags & VN_R_ATTACHED) && (r->flags & VN_R_READABLE) &&
		b->phase < VN_PHASE_STOPPING) {
		/* A request that came before: its handler is there, and no other worker will be. */
		if (r->flags & VN_R_WAITING) {
			vn_dispatch_unwait(b, r);
			vn_socket_input(b, r);
		}
		return;
	}
	if ((r->flags & VN_R_ATTACHED) && !vn_dispatch_revoke(b, vn_record_worker(b, r), r))
		return;
	vn_socket_close(b, r);
}

/* Those that could not be taken back at once are looked at again. */
static void
stop_records(vn_broker *b)
{
	for (uint32_t i = 0; i < b->ledger->high; i++) {
		vn_record *r = vn_record_at(b->ledger, i);

		if ((r->flags & VN_R_USED) && !(r->flags & VN_R_ZOMBIE))
			vn_broker_stop_record(b, r);
	}
}

/* A client that always sends more would keep its handler busy to the end: it is left at its next commit point. */
static void
release_records(vn_broker *b)
{
	for (uint32_t i = 1; i <= b->n_slots; i++)
		if (b->workers[i])
			vn_leave_give_away(b, b->workers[i]);
}

static void
stop_fire(vn_timer *t)
{
	vn_broker *b = (vn_broker *)(void *)((char *)t - offsetof(vn_broker, stop_timer));

	if (b->phase >= VN_PHASE_STOPPING)
		return;
	if (b->hub->now >= b->stop_at) {
		vn_event(b, VN_EVENT_LIMIT, (vn_about){0}, "drain-timeout passed; stopping now");
		vn_broker_stop(b, true);
		return;
	}
	if (b->hub->now >= b->stop_at - b->config->drain_timeout / 2)
		release_records(b);
	stop_records(b);
	vn_leave_tell(b);
	vn_wheel_arm(b->hub->wheel, t, b->hub->now + 20 * VN_MS);
}

static void
begin_drain(vn_broker *b)
{
	vn_change_cancel(b->change);
	vn_endpoints_disarm(b);
	stop_records(b);
	for (uint32_t i = 1; i <= b->n_slots; i++)
		if (b->workers[i])
			vn_leave_for_good(b->workers[i]);
	b->stop_at = b->hub->now + b->config->drain_timeout;
	b->stop_timer.fire = stop_fire;
	vn_wheel_arm(b->hub->wheel, &b->stop_timer, b->hub->now + 20 * VN_MS);
}

/**
 * vn_broker_stop() - end the service
 * @now: do not wait for what is under way
 */
void
vn_broker_stop(vn_broker *b, bool now)
{
	if (b->phase < VN_PHASE_DRAINING) {
		b->phase = VN_PHASE_DRAINING;
		vn_event(b, VN_EVENT_PHASE, (vn_about){0}, "%s",
			now ? "stopping at once" : "stopping: finishing what is under way");
		begin_drain(b);
	}
	if (now && b->phase < VN_PHASE_STOPPING) {
		b->phase = VN_PHASE_STOPPING;
		for (uint32_t i = 1; i <= b->n_slots; i++)
			if (b->workers[i])
				vn_worker_stop(b->workers[i]);
	}
	vn_broker_stop_check(b);
}

static void
signal_arrived(vn_broker *b, int signal)
{
	switch (signal) {
	case SIGINT:
	case SIGTERM:
	case SIGQUIT:
		vn_broker_stop(b, signal == SIGQUIT || b->phase >= VN_PHASE_DRAINING);
		break;
	case SIGHUP:
	case SIGTTIN:
	case SIGTTOU:
		vn_change_signal(b->change, signal);
		break;
	default:
		vn_forward_signal(b, signal);
	}
}

static void
on_signal(vn_watch *w, uint32_t events)
{
	vn_broker *b = (vn_broker *)(void *)((char *)w - offsetof(vn_broker, signals));
	struct signalfd_siginfo info;

	(void)events;
	while (read(w->fd, &info, sizeof info) == sizeof info)
		signal_arrived(b, (int)info.ssi_signo);
}

/**
 * vn_broker_signals_init() - the broker's signals come by a descriptor from here on
 *
 * Return: 0 or a negative errno.
 */
int
vn_broker_signals_init(vn_broker *b)
{
	sigset_t mask = vn_forward_set(0);
	int fd;

	sigprocmask(SIG_BLOCK, &mask, NULL);
	fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	vn_hub_hold(b->hub);
	return vn_watch_add(b->hub->poller, &b->signals, fd, EPOLLIN, on_signal);
}

void
vn_broker_signals_deinit(vn_broker *b)
{
	int fd = b->signals.fd;

	if (fd < 0)
		return;
	vn_watch_remove(b->hub->poller, &b->signals);
	close(fd);
	vn_hub_unhold(b->hub);
}
