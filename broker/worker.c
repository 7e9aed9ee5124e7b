/* SPDX-License-Identifier: MIT */
/*
 * Worker - start, handshake, READY, death, and the next one
 *
 * STARTING -> (STANDBY ->) READY -> DRAINING -> NONE. A worker is started by clone3 with a pidfd, which is the
 * only authority on its death; the handshake socket may be held by a grandchild. Each incarnation has a link of
 * its own that is never used again.
 *
 * A worker has a number, by which people know it, and a slot, in which its blocks stand in the ledger's tables.
 * They are two things because for a while two workers can have one number: one that comes, with a slot of its
 * own, and one that goes. Number and incarnation, like slot and incarnation, name one process for ever. Whoever
 * dies is started again in the same slot, unless it is going for good or on trial (change.c).
 *
 * A worker that served is replaced at once. One that ends before it served is a failure: the next start waits
 * 0, 100, 200, 400 ... ms up to 10 s. One that was READY and is killed from outside says nothing of the program
 * either: the next start waits 100 ms at most, since whoever does that may do it again. If none was ever READY, five failures within ten seconds, or one that is
 * not READY within start-timeout, end the broker with a sentence: the program is broken, not the service.
 */
#include "broker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/change.h"
#include "broker/datagram.h"
#include "broker/dial.h"
#include "broker/dispatch.h"
#include "broker/endpoint.h"
#include "broker/event.h"
#include "broker/forward.h"
#include "broker/intake.h"
#include "broker/leave.h"
#include "broker/own.h"
#include "broker/recorder.h"
#include "broker/settle.h"
#include "shm/bell.h"
#include "shm/crash.h"

#define LANE_SLOTS     512
#define LINK_FD        3 /* of the worker's end of the handshake */
#define INTENSITY      5 /* failures ... */
#define INTENSITY_TIME (10 * VN_SEC)
#define BACKOFF_MAX    (10 * VN_SEC)
#define RESTART_PAUSE  (VN_MS / 5)
#define KILL_AFTER     (1 * VN_SEC) /* a stop that is not obeyed */
#define SERVED_AFTER   (1 * VN_SEC) /* READY for so long counts as having served */

extern char **environ;

/* The child, between clone and exec: nothing but system calls on what was prepared. */
typedef struct child_plan {
	char **argv, **envp;
	int handshake, out, err;
	pid_t parent;
	int *exec_error; /* shared with us until exec succeeds */
} child_plan;

static void
child_signals(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int signal = 1; signal < NSIG; signal++)
		sigaction(signal, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void
child_run(const child_plan *p)
{
	int rc;

	child_signals();
	setpgid(0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != p->parent)
		_exit(VN_EXIT_FAILURE);
	if (dup2(p->out, 1) < 0 || dup2(p->err, 2) < 0 || dup2(p->handshake, LINK_FD) < 0)
		_exit(VN_EXIT_SYSTEM);
	syscall(SYS_close_range, LINK_FD + 1, ~0u, 0);
	execvpe(p->argv[0], p->argv, p->envp);
	rc = errno;
	*p->exec_error = rc;
	_exit(rc == ENOENT ? VN_EXIT_NOT_FOUND : VN_EXIT_NOT_EXECUTABLE);
}

/* The environment of a worker: ours, and what it needs to find its broker. */
static char **
child_environment(const vn_worker *w)
{
	static const char *const names[] = {
		VN_LINK_FD_ENV "=", "VANILLA_WORKER=", "VANILLA_WINDOW="};
	size_t n = 0, kept = 0;
	char **envp;

	while (environ[n])
		n++;
	envp = calloc(n + 4, sizeof *envp);
	if (!envp)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		bool ours = false;

		for (size_t k = 0; k < 3; k++)
			ours |= strncmp(environ[i], names[k], strlen(names[k])) == 0;
		if (!ours)
			envp[kept++] = environ[i];
	}
	if (asprintf(&envp[kept], "%s%d", names[0], LINK_FD) < 0 ||
		asprintf(&envp[kept + 1], "%s%u", names[1], w->number) < 0 ||
		asprintf(&envp[kept + 2], "%s%u", names[2], w->broker->config->window) < 0)
		abort();
	return envp;
}

static void
child_environment_free(char **envp)
{
	size_t n = 0;

	if (!envp)
		return;
	while (envp[n])
		n++;
	for (size_t i = n - 3; i < n; i++)
		free(envp[i]);
	free(envp);
}

static int
clone_child(const child_plan *p, int *pidfd)
{
	struct clone_args args = {
		.flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)pidfd, .exit_signal = SIGCHLD};
	long pid = syscall(SYS_clone3, &args, sizeof args);

	if (pid == 0)
		child_run(p);
	return pid < 0 ? -errno : (int)pid;
}

/* Death and what follows. */

static void
describe_death(vn_worker *w, const siginfo_t *info)
{
	if (w->was_killed && info->si_code == CLD_KILLED)
		return; /* last_death says why, and was said */
	if (info->si_code == CLD_EXITED)
		snprintf(w->last_death, sizeof w->last_death, "exited with %d", info->si_status);
	else
		snprintf(w->last_death, sizeof w->last_death, "killed by signal %d (%s)%s",
			info->si_status, strsignal(info->si_status),
			info->si_code == CLD_DUMPED ? ", core dumped" : "");
}

static void
worker_unlink(vn_worker *w)
{
	vn_poller *p = w->broker->hub->poller;

	vn_datagrams_settle(w);
	vn_ring_deafen(w);
	vn_watch_remove(p, &w->hello);
	vn_watch_remove(p, &w->death);
	if (w->handshake >= 0)
		close(w->handshake);
	if (w->pidfd >= 0)
		close(w->pidfd);
	w->handshake = w->pidfd = -1;
	w->outputs[0] = vn_output_close(w->outputs[0]);
	w->outputs[1] = vn_output_close(w->outputs[1]);
	vn_dials_forget(w);
	vn_own_forget(w);
	vn_link_deinit(&w->link);
	w->linked = w->broken = w->was_ready = w->served = false;
	vn_endpoint_forget_worker(w->broker, w);
	vn_wheel_disarm(w->broker->hub->wheel, &w->start_timer);
	vn_wheel_disarm(w->broker->hub->wheel, &w->kill_timer);
	w->pid = 0;
}

/* The program cannot be started: the exit code of a service that never was. */
static int
failure_code(const vn_worker *w)
{
	if (*w->exec_error)
		return *w->exec_error == ENOENT ? VN_EXIT_NOT_FOUND : VN_EXIT_NOT_EXECUTABLE;
	return w->broker->last_listen_error ? vn_endpoint_exit_code(w->broker->last_listen_error)
					    : VN_EXIT_FAILURE;
}

static void
say_why_it_gave_up(const vn_worker *w, int code)
{
	vn_hub *h = w->broker->hub;
	const char *program = w->broker->config->program[0];

	if (code == VN_EXIT_NOT_FOUND)
		vn_log(h, LOG_ERR, "'%s' was not found; give its path, or have it in PATH",
			program);
	else if (code == VN_EXIT_NOT_EXECUTABLE)
		vn_log(h, LOG_ERR,
			"'%s' cannot be executed; see that it is a program and may be run (chmod "
			"+x)",
			program);
	else
		vn_log(h, LOG_ERR,
			"'%s' never became ready: worker %u.%u %s; start it by hand to see what is "
			"wrong",
			program, w->number, w->incarnation, w->last_death);
}

/* True if this was one failure too many, and the broker ends. */
static bool
gave_up(vn_worker *w, bool timed_out)
{
	vn_broker *b = w->broker;
	vn_time now = b->hub->now, oldest = w->failures[w->n_failures % INTENSITY];

	w->failures[w->n_failures++ % INTENSITY] = now;
	if (b->ever_ready || b->is_over)
		return b->is_over;
	if (!timed_out && failure_code(w) == VN_EXIT_FAILURE &&
		(w->n_failures < INTENSITY || now - oldest > INTENSITY_TIME))
		return false;
	say_why_it_gave_up(w, failure_code(w));
	vn_broker_end(b, failure_code(w));
	return true;
}

static vn_time
backoff(const vn_worker *w)
{
	vn_time delay = 0;

	if (w->n_failures > 1)
		delay = 100 * VN_MS << (w->n_failures - 2 < 7 ? w->n_failures - 2 : 7);
	return delay < BACKOFF_MAX ? delay : BACKOFF_MAX;
}

static void
restart_fire(vn_timer *t)
{
	vn_worker_restart((vn_worker *)(void *)((char *)t - offsetof(vn_worker, restart_timer)));
}

/* Ready, and killed by somebody else. */
static bool
was_shot(const vn_worker *w, vn_worker_state was, const siginfo_t *info)
{
	return was == VN_WORKER_READY && !w->was_killed && info->si_code == CLD_KILLED &&
	       info->si_status == SIGKILL;
}

/* It is to be started again, now or later: when the turn has given its connections to others, which takes less. */
static void
worker_again(vn_worker *w, const siginfo_t *info, bool served, vn_worker_state was)
{
	vn_broker *b = w->broker;

	if (served || w->ordered)
		w->n_failures = 0;
	else if (was_shot(w, was, info))
		w->n_failures = w->n_failures ? 2 : 1;
	else if (gave_up(w, was == VN_WORKER_STARTING && w->was_killed))
		return;
	vn_count(&w->count->n_restarts, 1);
	vn_wheel_arm(b->hub->wheel, &w->restart_timer,
		b->hub->sys->now(b->hub->sys) + RESTART_PAUSE + backoff(w));
}

static void
say_that_it_died(const vn_worker *w, bool was_told)
{
	vn_event(w->broker, VN_EVENT_WORKER_DIED,
		(vn_about){.worker = w,
			.level = was_told     ? LOG_DEBUG
				 : w->ordered ? LOG_INFO
					      : 0},
		"worker %u.%u %s", w->number, w->incarnation, w->last_death);
}

static void
worker_died(vn_worker *w)
{
	vn_broker *b = w->broker;
	vn_worker_state was = w->state;
	siginfo_t info = {0};
	bool served;

	waitid(P_PIDFD, (id_t)w->pidfd, &info, WEXITED);
	describe_death(w, &info);
	if (was == VN_WORKER_READY)
		vn_dispatch_worker_ready(b, w, false);
	w->state = VN_WORKER_NONE;
	vn_count(&b->count->n_deaths, 1);
	say_that_it_died(w, w->was_killed && info.si_code == CLD_KILLED);
	vn_intake_drain(b, w);
	vn_recorder_keep(b, w, &info);
	vn_settle_worker(b, w);
	served = w->served || (w->was_ready && b->hub->now - w->ready_at >= SERVED_AFTER);
	worker_unlink(w);
	if (w->coming && b->phase < VN_PHASE_DRAINING)
		vn_change_on_death(w, was);
	else if (!w->going && was != VN_WORKER_DRAINING && b->phase < VN_PHASE_DRAINING)
		worker_again(w, &info, served, was);
	if (w->going && b->phase < VN_PHASE_DRAINING)
		vn_worker_retire(w);
	if (b->phase >= VN_PHASE_DRAINING)
		vn_broker_stop_check(b);
}

static void
on_death(vn_watch *watch, uint32_t events)
{
	(void)events;
	worker_died((vn_worker *)(void *)((char *)watch - offsetof(vn_worker, death)));
}

/* The handshake. */

static void
on_hello(vn_watch *watch, uint32_t events)
{
	vn_worker *w = (vn_worker *)(void *)((char *)watch - offsetof(vn_worker, hello));
	vn_broker *b = w->broker;
	const char *why = NULL;
	int rc = vn_link_accept(&w->link, w->handshake, &why);

	(void)events;
	if (rc == -EAGAIN)
		return;
	vn_watch_remove(b->hub->poller, &w->hello);
	if (rc == 0)
		rc = vn_ring_listen(w);
	if (rc == 0) {
		w->linked = true;
		vn_worker_heat(w);
		return;
	}
	if (rc == -EPIPE) /* it ended, or never asked: its death says the rest */
		return;
	if (rc == -EPROTO) {
		vn_count(&w->count->n_violations, 1);
		vn_count(&b->count->n_violations, 1);
	}
	vn_worker_kill(w, why ? why : vn_strerror(rc));
}

static void
start_fire(vn_timer *t)
{
	vn_worker *w = (vn_worker *)(void *)((char *)t - offsetof(vn_worker, start_timer));

	vn_worker_kill(w, "was not ready within start-timeout");
}

/**
 * vn_worker_on_ready() - it has asked for its endpoints and its hub turns
 */
void
vn_worker_on_ready(vn_worker *w)
{
	vn_broker *b = w->broker;

	VN_CRASH_POINT("broker.ready.before");
	w->was_ready = true;
	w->ready_at = w->moved_at = b->hub->now; /* its clock, not its predecessor's */
	vn_wheel_disarm(b->hub->wheel, &w->start_timer);
	if (w->state != VN_WORKER_STARTING)
		return;
	vn_event(b, VN_EVENT_WORKER_READY, (vn_about){.worker = w}, "worker %u.%u ready (pid %d)",
		w->number, w->incarnation, (int)w->pid);
	if (w->coming) {
		w->state = VN_WORKER_STANDBY;
		vn_change_on_ready(w);
		return;
	}
	vn_worker_serve(w);
	if (!b->ever_ready || b->phase == VN_PHASE_STARTING) {
		b->ever_ready = true;
		b->phase = VN_PHASE_SERVING;
		vn_event(b, VN_EVENT_PHASE, (vn_about){.level = LOG_DEBUG}, "serving");
	}
}

/**
 * vn_worker_serve() - it is READY, and gets work from here on
 */
void
vn_worker_serve(vn_worker *w)
{
	vn_broker *b = w->broker;

	w->state = VN_WORKER_READY;
	vn_dispatch_worker_ready(b, w, true);
	vn_endpoints_adopt(b, w);
	vn_datagrams_resume(w);
	vn_endpoints_prune(b);
	vn_forward_update(b);
	VN_CRASH_POINT("broker.ready.after");
}

/* Start. */

static int
start_watching(vn_worker *w)
{
	vn_poller *p = w->broker->hub->poller;
	int rc = vn_watch_add(p, &w->death, w->pidfd, EPOLLIN, on_death);

	if (rc == 0)
		rc = vn_watch_add(p, &w->hello, w->handshake, EPOLLIN, on_hello);
	return rc;
}

static int
start_process(vn_worker *w, int theirs, int out, int err)
{
	child_plan plan = {.argv = w->broker->config->program,
		.envp = child_environment(w),
		.handshake = theirs,
		.out = out,
		.err = err,
		.parent = getpid(),
		.exec_error = w->exec_error};
	int pid = plan.envp ? clone_child(&plan, &w->pidfd) : -ENOMEM;

	child_environment_free(plan.envp);
	if (pid < 0)
		return pid;
	w->pid = pid;
	VN_CRASH_POINT("broker.start.cloned");
	return vn_link_hello(&w->link, w->handshake);
}

static int
start_steps(vn_worker *w)
{
	vn_geometry geometry = {
		.n_slots = LANE_SLOTS, .area_bytes = w->broker->config->lane_memory};
	int pair[2], out = -1, err = -1, rc;

	rc = vn_link_offer(&w->link, &geometry, w->incarnation);
	if (rc < 0)
		return rc;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	w->handshake = pair[0];
	w->outputs[0] = vn_output_open(w, 1, &out);
	w->outputs[1] = vn_output_open(w, 2, &err);
	rc = w->outputs[0] && w->outputs[1] ? start_process(w, pair[1], out, err) : -errno;
	close(pair[1]);
	if (out >= 0)
		close(out);
	if (err >= 0)
		close(err);
	VN_CRASH_POINT("broker.start.told");
	return rc < 0 ? rc : start_watching(w);
}

/**
 * vn_worker_start() - the next incarnation of a worker
 *
 * Return: 0, or why not, having said it.
 */
int
vn_worker_start(vn_worker *w)
{
	vn_broker *b = w->broker;
	uint32_t *last = &b->incarnations[w->number], *last_here = &b->slot_incarnations[w->slot];
	int rc;

	w->incarnation = (*last > *last_here ? *last : *last_here) + 1;
	*last = *last_here = w->incarnation;
	w->was_killed = w->ordered = w->was_told = w->was_stopped = false;
	w->state = VN_WORKER_STARTING;
	*w->exec_error = 0;
	w->started = b->hub->now;
	rc = start_steps(w);
	if (rc == 0) {
		vn_event(b, VN_EVENT_WORKER_STARTED, (vn_about){.worker = w},
			"worker %u.%u started (pid %d)", w->number, w->incarnation, (int)w->pid);
		vn_wheel_arm(
			b->hub->wheel, &w->start_timer, b->hub->now + b->config->start_timeout);
		return 0;
	}
	vn_log(b->hub, LOG_ERR, "cannot start worker %u.%u: %s", w->number, w->incarnation,
		vn_strerror(rc));
	if (w->pid) {
		kill(w->pid, SIGKILL);
		waitpid(w->pid, NULL, 0);
	}
	worker_unlink(w);
	w->state = VN_WORKER_NONE;
	return rc;
}

/**
 * vn_worker_restart() - the next incarnation of a worker that is dead; again in a second if it cannot be started
 */
void
vn_worker_restart(vn_worker *w)
{
	if (vn_worker_start(w) < 0)
		vn_wheel_arm(
			w->broker->hub->wheel, &w->restart_timer, w->broker->hub->now + VN_SEC);
}

/*
 * The lowest free slot in which no incarnation was that this number could have, or just the lowest free one: then
 * the number skips some.
 */
static uint16_t
free_slot(const vn_broker *b, uint16_t number)
{
	uint16_t free = 0;

	for (uint16_t i = 1; i <= VN_MAX_SLOTS; i++) {
		if (b->workers[i])
			continue;
		if (b->slot_incarnations[i] <= b->incarnations[number])
			return i;
		free = free ? free : i;
	}
	return free;
}

/**
 * vn_worker_new() - a worker, not started yet
 *
 * Return: the worker, in a free slot; NULL with errno: ENOMEM, or EUSERS when all slots are taken.
 */
vn_worker *
vn_worker_new(vn_broker *b, uint16_t number)
{
	vn_worker *w = calloc(1, sizeof *w);
	uint16_t slot = free_slot(b, number);

	if (w)
		w->exec_error = mmap(NULL, sizeof *w->exec_error, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!w || w->exec_error == MAP_FAILED || slot == 0) {
		if (w && w->exec_error != MAP_FAILED)
			munmap(w->exec_error, sizeof *w->exec_error);
		errno = w && slot == 0 ? EUSERS : ENOMEM;
		free(w);
		return NULL;
	}
	w->broker = b;
	w->slot = slot;
	w->number = number;
	w->count = vn_counters_worker(b->counters, number);
	w->pidfd = w->handshake = -1;
	w->death.fd = w->hello.fd = w->ring.watch.fd = -1;
	w->attached = w->debtor_first = w->debtor_last = VN_NO_RECORD;
	w->starved = (vn_ledger_list){VN_NO_RECORD, VN_NO_RECORD};
	w->start_timer.fire = start_fire;
	w->restart_timer.fire = restart_fire;
	vn_endpoint_forget_worker(b, w);
	b->workers[slot] = w;
	if (slot > b->n_slots)
		b->n_slots = slot;
	return w;
}

/**
 * vn_worker_find() - who has a number, and stays
 *
 * Return: NULL if nobody has; one that comes, or goes for good, does not count.
 */
vn_worker *
vn_worker_find(const vn_broker *b, uint16_t number)
{
	for (uint32_t i = 1; i <= b->n_slots; i++) {
		vn_worker *w = b->workers[i];

		if (w && w->number == number && !w->coming && !w->going)
			return w;
	}
	return NULL;
}

static void
kill_fire(vn_timer *t)
{
	vn_worker *w = (vn_worker *)(void *)((char *)t - offsetof(vn_worker, kill_timer));

	vn_worker_kill(w, "did not stop when it was told to");
}

/* Tell it to stop now; it is killed if it does not. */
void
vn_worker_stop(vn_worker *w)
{
	if (w->state == VN_WORKER_NONE)
		return;
	vn_leave_for_good(w);
	w->was_stopped = true;
	w->owes_stop = true;
	w->kill_timer.fire = kill_fire;
	vn_wheel_arm(w->broker->hub->wheel, &w->kill_timer, w->broker->hub->now + KILL_AFTER);
	vn_worker_heat(w);
}

/**
 * vn_worker_kill() - end it now; its death path settles its connections
 * @why: for people, after "worker 1.1 "
 */
void
vn_worker_kill(vn_worker *w, const char *why)
{
	if (w->pidfd < 0)
		return;
	w->was_killed = true;
	if (why != w->last_death)
		snprintf(w->last_death, sizeof w->last_death, "%s", why);
	vn_event(w->broker, VN_EVENT_WORKER_KILLED,
		(vn_about){.worker = w, .level = w->ordered ? LOG_INFO : 0},
		"worker %u.%u %s; killed", w->number, w->incarnation, w->last_death);
	w->broker->hub->sys->kill(w->broker->hub->sys, w->pidfd, SIGKILL);
}

static bool
has_namesake(const vn_broker *b, const vn_worker *w)
{
	for (uint32_t i = 1; i <= b->n_slots; i++)
		if (b->workers[i] && b->workers[i] != w && b->workers[i]->number == w->number)
			return true;
	return false;
}

/**
 * vn_worker_retire() - it is dead and nobody comes after it: its slot is free
 */
void
vn_worker_retire(vn_worker *w)
{
	vn_broker *b = w->broker;
	vn_worker **link = &b->hot;

	while (*link && *link != w)
		link = &(*link)->hot_next;
	if (*link)
		*link = w->hot_next;
	if (!has_namesake(b, w))
		vn_counters_row_end(&w->count->row);
	vn_worker_free(w);
	b->may_prune = true;
	vn_endpoints_prune(b);
}

/**
 * vn_worker_violation() - it published what no honest worker can
 * @field: the descriptor's bad field, or what else is bad
 * @d:     the descriptor, NULL where there is none
 */
void
vn_worker_violation(vn_worker *w, const char *field, const vn_desc *d)
{
	vn_broker *b = w->broker;

	if (w->broken)
		return;
	w->broken = true;
	vn_count(&w->count->n_violations, 1);
	vn_count(&b->count->n_violations, 1);
	if (d)
		vn_event(b, VN_EVENT_VIOLATION, (vn_about){.worker = w},
			"worker %u.%u violated the protocol: bad %s in %s (flags %#x arg %u len %u "
			"conn %u gen %u "
			"pos %llu block %u offset %u report %llu)",
			w->number, w->incarnation, field, vn_kind_name(d->kind), d->flags, d->arg,
			d->len, d->conn, d->gen, (unsigned long long)d->pos, d->block, d->offset,
			(unsigned long long)d->report);
	else
		vn_event(b, VN_EVENT_VIOLATION, (vn_about){.worker = w},
			"worker %u.%u violated the protocol: bad %s", w->number, w->incarnation,
			field);
	if (w->state != VN_WORKER_NONE)
		vn_worker_kill(w, "violated the protocol");
}

/**
 * vn_worker_free() - kill the process, wait for it, free the worker
 *
 * Return: NULL. Takes NULL.
 */
vn_worker *
vn_worker_free(vn_worker *w)
{
	if (!w)
		return NULL;
	if (w->pid) {
		w->broker->hub->sys->kill(w->broker->hub->sys, w->pidfd, SIGKILL);
		waitid(P_PIDFD, (id_t)w->pidfd, &(siginfo_t){0}, WEXITED);
	}
	worker_unlink(w);
	vn_wheel_disarm(w->broker->hub->wheel, &w->restart_timer);
	w->broker->workers[w->slot] = NULL;
	munmap(w->exec_error, sizeof *w->exec_error);
	free(w);
	return NULL;
}
