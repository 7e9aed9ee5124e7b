/* SPDX-License-Identifier: MIT */
/*
 * Worker - start, handshake, READY, death, and the next one
 *
 * STARTING -> READY -> DRAINING -> NONE. A worker is started by clone3 with a pidfd, which is the only
 * authority on its death; the handshake socket may be held by a grandchild. Each incarnation has a link of its
 * own that is never used again.
 *
 * A worker that served is replaced at once. One that ends before it served is a failure: the next start waits
 * 0, 100, 200, 400 ... ms up to 10 s. If none was ever READY, five failures within ten seconds, or one that is
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
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/debt.h"
#include "broker/dispatch.h"
#include "broker/endpoint.h"
#include "broker/settle.h"
#include "shm/bell.h"

#define LANE_SLOTS     512
#define LINK_FD        3 /* of the worker's end of the handshake */
#define INTENSITY      5 /* failures ... */
#define INTENSITY_TIME (10 * VN_SEC)
#define BACKOFF_MAX    (10 * VN_SEC)
#define KILL_AFTER     (1 * VN_SEC) /* a stop that is not obeyed */
#define SERVED_AFTER   (1 * VN_SEC) /* READY for so long counts as having served */

extern char **environ;

/* The child, between clone and exec: nothing but system calls on what was prepared. */
typedef struct child_plan {
	char **argv, **envp;
	int handshake, out, err;
	pid_t parent;
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
		asprintf(&envp[kept + 1], "%s%u", names[1], w->slot) < 0 ||
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
		return; /* last_death says why */
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

	vn_watch_remove(p, &w->bell);
	vn_watch_remove(p, &w->hello);
	vn_watch_remove(p, &w->death);
	if (w->handshake >= 0)
		close(w->handshake);
	if (w->pidfd >= 0)
		close(w->pidfd);
	w->handshake = w->pidfd = -1;
	w->outputs[0] = vn_output_close(w->outputs[0]);
	w->outputs[1] = vn_output_close(w->outputs[1]);
	vn_link_deinit(&w->link);
	w->linked = w->broken = w->was_ready = w->served = false;
	vn_endpoint_forget_worker(w->broker, w);
	vn_wheel_disarm(w->broker->hub->wheel, &w->start_timer);
	vn_wheel_disarm(w->broker->hub->wheel, &w->kill_timer);
	w->pid = 0;
}

/* The program cannot be started: the exit code of a service that never was. */
static int
failure_code(const vn_broker *b, const siginfo_t *info)
{
	if (info->si_code == CLD_EXITED &&
		(info->si_status == VN_EXIT_NOT_FOUND || info->si_status == VN_EXIT_NOT_EXECUTABLE))
		return info->si_status;
	return b->last_listen_error ? vn_endpoint_exit_code(b->last_listen_error) : VN_EXIT_FAILURE;
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
			program, w->slot, w->incarnation, w->last_death);
}

/* True if this was one failure too many, and the broker ends. */
static bool
gave_up(vn_worker *w, const siginfo_t *info, bool timed_out)
{
	vn_broker *b = w->broker;
	vn_time now = b->hub->now, oldest = w->failures[w->n_failures % INTENSITY];

	w->failures[w->n_failures++ % INTENSITY] = now;
	if (b->ever_ready || b->is_over)
		return b->is_over;
	if (!timed_out && failure_code(b, info) == VN_EXIT_FAILURE &&
		(w->n_failures < INTENSITY || now - oldest > INTENSITY_TIME))
		return false;
	say_why_it_gave_up(w, failure_code(b, info));
	vn_broker_end(b, failure_code(b, info));
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
	vn_worker *w = (vn_worker *)(void *)((char *)t - offsetof(vn_worker, restart_timer));

	if (vn_worker_start(w) < 0)
		vn_wheel_arm(w->broker->hub->wheel, t, w->broker->hub->now + VN_SEC);
}

static void
worker_died(vn_worker *w)
{
	vn_broker *b = w->broker;
	siginfo_t info = {0};
	bool served = w->served || (w->was_ready && b->hub->now - w->ready_at >= SERVED_AFTER);
	bool timed_out = w->state == VN_WORKER_STARTING && w->was_killed;
	bool wanted = w->state != VN_WORKER_DRAINING && b->phase < VN_PHASE_DRAINING;

	waitid(P_PIDFD, (id_t)w->pidfd, &info, WEXITED);
	describe_death(w, &info);
	if (w->state == VN_WORKER_READY)
		vn_dispatch_worker_ready(b, w, false);
	w->state = VN_WORKER_NONE;
	b->n_deaths++;
	vn_settle_worker(b, w);
	worker_unlink(w);
	if (wanted) {
		vn_log(b->hub, LOG_WARNING, "worker %u.%u %s", w->slot, w->incarnation,
			w->last_death);
		if (served)
			w->n_failures = 0;
		else if (gave_up(w, &info, timed_out))
			return;
		w->n_restarts++;
		if (backoff(w) == 0)
			restart_fire(&w->restart_timer);
		else
			vn_wheel_arm(b->hub->wheel, &w->restart_timer, b->hub->now + backoff(w));
	}
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
on_bell(vn_watch *watch, uint32_t events)
{
	vn_worker *w = (vn_worker *)(void *)((char *)watch - offsetof(vn_worker, bell));

	(void)events;
	w->n_rung++;
	vn_worker_heat(w);
}

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
		rc = vn_watch_add(
			b->hub->poller, &w->bell, w->link.bell_in, EPOLLIN | EPOLLET, on_bell);
	if (rc == 0) {
		w->linked = true;
		vn_worker_heat(w);
		return;
	}
	if (rc == -EPIPE) /* it ended, or never asked: its death says the rest */
		return;
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

	w->was_ready = true;
	w->ready_at = b->hub->now;
	vn_wheel_disarm(b->hub->wheel, &w->start_timer);
	if (w->state != VN_WORKER_STARTING)
		return;
	w->state = VN_WORKER_READY;
	vn_dispatch_worker_ready(b, w, true);
	vn_log(b->hub, LOG_INFO, "worker %u.%u ready (pid %d)", w->slot, w->incarnation,
		(int)w->pid);
	if (!b->ever_ready || b->phase == VN_PHASE_STARTING) {
		b->ever_ready = true;
		b->phase = VN_PHASE_SERVING;
	}
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
		.parent = getpid()};
	int pid = plan.envp ? clone_child(&plan, &w->pidfd) : -ENOMEM;

	child_environment_free(plan.envp);
	if (pid < 0)
		return pid;
	w->pid = pid;
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
	return rc < 0 ? rc : start_watching(w);
}

/**
 * vn_worker_start() - the next incarnation of a slot
 *
 * Return: 0, or why not, having said it.
 */
int
vn_worker_start(vn_worker *w)
{
	vn_broker *b = w->broker;
	int rc;

	w->incarnation++;
	w->was_killed = false;
	w->state = VN_WORKER_STARTING;
	w->started = b->hub->now;
	rc = start_steps(w);
	if (rc == 0) {
		vn_wheel_arm(
			b->hub->wheel, &w->start_timer, b->hub->now + b->config->start_timeout);
		return 0;
	}
	vn_log(b->hub, LOG_ERR, "cannot start worker %u.%u: %s", w->slot, w->incarnation,
		vn_strerror(rc));
	if (w->pid) {
		kill(w->pid, SIGKILL);
		waitpid(w->pid, NULL, 0);
	}
	worker_unlink(w);
	w->state = VN_WORKER_NONE;
	return rc;
}

vn_worker *
vn_worker_new(vn_broker *b, uint16_t slot)
{
	vn_worker *w = calloc(1, sizeof *w);

	if (!w)
		return NULL;
	w->broker = b;
	w->slot = slot;
	w->pidfd = w->handshake = -1;
	w->death.fd = w->hello.fd = w->bell.fd = -1;
	w->attached = w->debtor_first = w->debtor_last = VN_NO_RECORD;
	w->starved = (vn_ledger_list){VN_NO_RECORD, VN_NO_RECORD};
	w->start_timer.fire = start_fire;
	w->restart_timer.fire = restart_fire;
	vn_endpoint_forget_worker(b, w);
	return w;
}

static void
kill_fire(vn_timer *t)
{
	vn_worker *w = (vn_worker *)(void *)((char *)t - offsetof(vn_worker, kill_timer));

	vn_worker_kill(w, "did not stop when it was told to");
}

/* Ask it to take no new work and to end when it is done. */
void
vn_worker_drain(vn_worker *w)
{
	if (w->state == VN_WORKER_NONE) {
		vn_wheel_disarm(w->broker->hub->wheel, &w->restart_timer);
		return;
	}
	if (w->state == VN_WORKER_READY)
		vn_dispatch_worker_ready(w->broker, w, false);
	if (w->state == VN_WORKER_STARTING) {
		w->state = VN_WORKER_DRAINING;
		vn_worker_kill(w, "was stopped before it was ready");
		return;
	}
	w->state = VN_WORKER_DRAINING;
	w->owes_drain = true;
	vn_worker_heat(w);
}

/* Tell it to stop now; it is killed if it does not. */
void
vn_worker_stop(vn_worker *w)
{
	if (w->state == VN_WORKER_NONE)
		return;
	if (w->state != VN_WORKER_DRAINING)
		vn_worker_drain(w);
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
	vn_log(w->broker->hub, LOG_WARNING, "worker %u.%u %s; killed", w->slot, w->incarnation,
		w->last_death);
	w->broker->hub->sys->kill(w->broker->hub->sys, w->pidfd, SIGKILL);
}

/**
 * vn_worker_violation() - it published what no honest worker can
 * @field: the descriptor's bad field, or the cursor
 * @d:     the descriptor, NULL for a cursor
 */
void
vn_worker_violation(vn_worker *w, const char *field, const vn_desc *d)
{
	vn_broker *b = w->broker;

	if (w->broken)
		return;
	w->broken = true;
	w->n_violations++;
	b->n_violations++;
	if (d)
		vn_log(b->hub, LOG_ERR,
			"worker %u.%u violated the protocol: bad %s in %s (flags %#x arg %u len %u "
			"conn %u gen %u "
			"pos %llu block %u offset %u report %llu)",
			w->slot, w->incarnation, field, vn_kind_name(d->kind), d->flags, d->arg,
			d->len, d->conn, d->gen, (unsigned long long)d->pos, d->block, d->offset,
			(unsigned long long)d->report);
	else
		vn_log(b->hub, LOG_ERR, "worker %u.%u violated the protocol: bad %s cursor",
			w->slot, w->incarnation, field);
	if (w->state != VN_WORKER_NONE)
		vn_worker_kill(w, "violated the protocol");
}

/**
 * vn_worker_free() - kill the process, wait for it, free the slot
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
	free(w);
	return NULL;
}
