/* SPDX-License-Identifier: MIT */
/*
 * Process - programs that are started, talked to, and waited for
 *
 * A process is known by its pidfd alone: it becomes readable when the process has ended, and then, once, its end is
 * taken (waitid). So there is no handler for SIGCHLD, no process of somebody else is waited for, and no number that
 * may belong to another process by now is ever sent a signal. Until its end is taken, its number is its own, which is
 * what a signal to its group relies on.
 *
 *     running --pidfd readable--> taken: `done` has its vn_exit
 *        `--closed--> killed --pidfd readable--> taken, freed
 *
 * The record goes when the handle is closed, the end was taken, and nobody is inside of vn_process_stop(). A hub that
 * is freed kills what still runs and waits for it.
 */
#include "client/os/process.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/message/end.h"
#include "client/os/cable.h"
#include "client/os/stream.h"

/* Its end */

static vn_exit
exit_of(const siginfo_t *info)
{
	bool exited = info->si_code == CLD_EXITED;

	return (vn_exit){
		.code = exited ? info->si_status : -1,
		.signal = exited ? 0 : info->si_status,
		.dumped = info->si_code == CLD_DUMPED,
	};
}

/* Ends of which there are other owners outlive it. */
static void
process_unplug(vn_process *p)
{
	if (!p->cable)
		return;
	p->cable->process = NULL;
	p->cable->wire.home = NULL;
	p->cable = NULL;
}

static void
process_free(vn_process *p)
{
	if (!p->is_closed || !p->is_taken || p->n_calls > 0)
		return;
	vn_hub_disown(&p->owned);
	process_unplug(p);
	free(p);
}

/* It has ended: no zombie from here on. */
static void
process_take(vn_process *p)
{
	siginfo_t info;
	vn_exit exit;
	int rc;

	do
		rc = waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED) < 0 ? -errno : 0;
	while (rc == -EINTR);
	p->is_taken = true;
	vn_watch_remove(p->hub->poller, &p->end);
	close(p->pidfd);
	vn_hub_unhold(p->hub);
	if (rc < 0) {
		vn_send_error(p->done.tx, rc);
	} else {
		exit = exit_of(&info);
		vn_send(p->done.tx, &exit);
	}
	vn_tx_close(p->done.tx);
	if (p->cable)
		vn_cable_lost(p->cable);
	process_free(p);
}

static void
process_ended(vn_watch *w, uint32_t events)
{
	(void)events;
	process_take((vn_process *)(void *)((char *)w - offsetof(vn_process, end)));
}

static int
process_signal_alone(const vn_process *p, int signal)
{
	int rc = p->hub->sys->kill(p->hub->sys, p->pidfd, signal);

	if (rc != -ENOSYS) /* old tools and filters do not know the call */
		return rc;
	return kill(p->pid, signal) < 0 ? -errno : 0;
}

/* One that has left its group is not to be missed; killed twice it does not notice. */
static int
process_signal(const vn_process *p, int signal)
{
	int rc = 0;

	if (p->is_taken)
		return -ESRCH;
	if (p->own_group)
		rc = kill(-p->pid, signal) < 0 ? -errno : 0;
	if (p->own_group && signal != SIGKILL && getpgid(p->pid) == p->pid)
		return rc;
	return process_signal_alone(p, signal);
}

static void
ends_close(vn_process *p)
{
	for (int i = 0; i < 3; i++)
		vn_os_close(p->streams[i]);
	vn_tx_close(p->ends.tx);
	vn_rx_close(p->ends.rx);
}

/* With the hub: its streams and the ends of its state are freed by that. */
static void
process_disowned(vn_owned *o)
{
	vn_process *p = (vn_process *)(void *)((char *)o - offsetof(vn_process, owned));
	siginfo_t info;

	if (!p->is_taken) {
		process_signal(p, SIGKILL);
		while (waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED) < 0 && errno == EINTR)
			;
		vn_watch_remove(p->hub->poller, &p->end);
		close(p->pidfd);
		vn_hub_unhold(p->hub);
	}
	for (int i = 0; i < 3; i++)
		if (p->streams[i])
			p->streams[i]->home = NULL;
	process_unplug(p);
	free(p);
}

/* Starting */

/* Everything that can fail comes before the child, but for watching its end. */
static int
process_start(vn_process *p, vn_child *child)
{
	void *stack = vn_stack_get(p->hub->stacks);
	siginfo_t info;
	int rc;

	if (!stack)
		return -errno;
	rc = vn_child_start(child, stack, &p->pidfd);
	vn_stack_put(p->hub->stacks, stack);
	if (rc < 0)
		return rc;
	p->pid = rc;
	rc = vn_watch_add(p->hub->poller, &p->end, p->pidfd, EPOLLIN, process_ended);
	if (rc == 0)
		return 0;
	process_signal(p, SIGKILL);
	while (waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED) < 0 && errno == EINTR)
		;
	close(p->pidfd);
	return rc;
}

/**
 * vn_process_begin() - start the child
 * @p:     new: its streams and ends are made
 * @child: prepared
 *
 * Return: 0, and the process is the hub's; or a negative errno.
 */
int
vn_process_begin(vn_process *p, vn_child *child)
{
	int rc;

	p->done = vn_state_new(p->hub, sizeof(vn_exit));
	rc = p->done.rx ? process_start(p, child) : -errno;
	if (rc < 0)
		return rc;
	vn_hub_hold(p->hub);
	vn_hub_own(p->hub, &p->owned, process_disowned);
	return 0;
}

/**
 * vn_process_discard() - one that could not be started
 * @p:     new
 * @error: negative errno
 *
 * Return: NULL with errno.
 */
vn_process *
vn_process_discard(vn_process *p, int error)
{
	if (p->cable)
		vn_cable_lost(p->cable);
	ends_close(p);
	vn_tx_close(p->done.tx);
	vn_rx_close(p->done.rx);
	process_unplug(p);
	free(p);
	errno = -error;
	return NULL;
}

/* Using */

/**
 * vn_process_stdin() - what the process reads as its standard input
 * @p: process, or NULL
 *
 * Return: the stream, which is the process's; NULL if it is not VN_PIPED, or was closed.
 */
vn_stream *
vn_process_stdin(vn_process *p)
{
	return p ? p->streams[0] : NULL;
}

/**
 * vn_process_stdout() - what the process writes to its standard output
 * @p: process, or NULL
 *
 * Return: the stream, which is the process's; NULL if it is not VN_PIPED, or was closed.
 */
vn_stream *
vn_process_stdout(vn_process *p)
{
	return p ? p->streams[1] : NULL;
}

/**
 * vn_process_stderr() - what the process writes to its standard error
 * @p: process, or NULL
 *
 * Return: the stream, which is the process's; NULL if it is not VN_PIPED, or was closed.
 */
vn_stream *
vn_process_stderr(vn_process *p)
{
	return p ? p->streams[2] : NULL;
}

/**
 * vn_process_ends() - what a function in a process of its own is talked to with
 * @p: process, or NULL
 *
 * Return: the ends, which are the process's; each is NULL if it was closed, or it is no such process.
 */
vn_pair
vn_process_ends(vn_process *p)
{
	return p ? p->ends : (vn_pair){NULL, NULL};
}

/**
 * vn_process_pid() - its number
 * @p: process, or NULL
 *
 * Return: the number, which may be another's once it has ended; -EBADF for NULL.
 */
pid_t
vn_process_pid(vn_process *p)
{
	return p ? p->pid : -EBADF;
}

/**
 * vn_process_done() - how it ended, once it has
 * @p: process, or NULL
 *
 * Return: the receiving end of a state of vn_exit; the process's.
 */
vn_rx *
vn_process_done(vn_process *p)
{
	return p ? p->done.rx : NULL;
}

/**
 * vn_process_wait() - wait until it has ended
 * @p:    process, or NULL
 * @exit: how; may be NULL
 *
 * Return: 0; -ECHILD if somebody else has taken its end; -EPIPE when it is closed meanwhile; -ETIMEDOUT, -ECANCELED,
 * -EBADF.
 */
int
vn_process_wait(vn_process *p, vn_exit *exit)
{
	vn_exit unused;

	return p ? vn_recv(p->done.rx, exit ? exit : &unused) : -EBADF;
}

/**
 * vn_process_signal() - send it a signal, or its group if that is its own
 * @p:      process, or NULL
 * @signal: number; 0 sends nothing
 *
 * Return: 0; -ESRCH once it has ended; -EINVAL, -EPERM, -EBADF.
 */
int
vn_process_signal(vn_process *p, int signal)
{
	return p ? process_signal(p, signal) : -EBADF;
}

/**
 * vn_process_terminate() - ask it to end
 * @p: process, or NULL
 *
 * Return: 0; -ESRCH once it has ended; -EPERM, -EBADF.
 */
int
vn_process_terminate(vn_process *p)
{
	int rc = vn_process_signal(p, SIGTERM);

	if (rc == 0)
		vn_process_signal(p, SIGCONT); /* one that is stopped would not notice */
	return rc;
}

static int
process_stop(vn_process *p, vn_time grace)
{
	vn_time outer;
	int rc;

	vn_process_terminate(p);
	outer = vn_timeout(p->hub, grace);
	rc = vn_process_wait(p, NULL);
	vn_deadline(p->hub, outer);
	if (rc != -ETIMEDOUT && rc != -ECANCELED && rc != -EDEADLK)
		return rc;
	process_signal(p, SIGKILL);
	return p->is_closed ? -EPIPE : vn_process_wait(p, NULL);
}

/**
 * vn_process_stop() - ask it to end, and kill it if it does not
 * @p:     process, or NULL
 * @grace: how long it may take
 *
 * Return: 0 when it has ended; -ETIMEDOUT, -ECANCELED when this wait ends first: then it is killed, and ends soon;
 * -EPIPE, -ECHILD, -EBADF.
 */
int
vn_process_stop(vn_process *p, vn_time grace)
{
	int rc;

	if (!p)
		return -EBADF;
	p->n_calls++;
	rc = process_stop(p, grace);
	p->n_calls--;
	process_free(p);
	return rc;
}

/**
 * vn_process_close() - no longer interested: one that still runs is killed
 * @p: process, or NULL
 *
 * Closes its streams, its ends and its state; who waits there gets -EPIPE.
 *
 * Return: 0.
 */
int
vn_process_close(vn_process *p)
{
	if (!p)
		return 0;
	p->is_closed = true;
	process_signal(p, SIGKILL);
	ends_close(p);
	vn_rx_close(p->done.rx);
	process_free(p);
	return 0;
}
