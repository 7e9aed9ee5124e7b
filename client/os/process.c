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
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/message/end.h"
#include "client/os/child.h"
#include "client/os/stream.h"

#define DEFAULT_PATH "/bin:/usr/bin"
#define FDS_MAX      1024

struct vn_process {
	vn_hub *hub;
	pid_t pid;
	int pidfd;
	vn_watch end;
	vn_stream *streams[3]; /* of the child's 0, 1, 2; NULL: none, or closed */
	vn_pair done;
	bool own_group, is_taken, is_closed;
	uint32_t n_calls;
	vn_owned owned;
};

extern char **environ;

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

static void
process_free(vn_process *p)
{
	if (!p->is_closed || !p->is_taken || p->n_calls > 0)
		return;
	vn_hub_disown(&p->owned);
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
	process_free(p);
}

static void
process_ended(vn_watch *w, uint32_t events)
{
	(void)events;
	process_take((vn_process *)(void *)((char *)w - offsetof(vn_process, end)));
}

static int
process_signal(const vn_process *p, int signal)
{
	int rc = -ENOSYS;

	if (p->is_taken)
		return -ESRCH;
	if (!p->own_group)
		rc = p->hub->sys->kill(p->hub->sys, p->pidfd, signal);
	if (rc != -ENOSYS) /* old tools and filters do not know the call */
		return rc;
	return kill(p->own_group ? -p->pid : p->pid, signal) < 0 ? -errno : 0;
}

static void
streams_close(vn_process *p)
{
	for (int i = 0; i < 3; i++)
		vn_os_close(p->streams[i]);
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
	free(p);
}

/* Starting */

/* What is made for a start, and goes when it is over. */
typedef struct start {
	vn_child child;
	char **env; /* NULL: ours as it is */
	int *fds;
	int ours[3]; /* our ends of pipes, -1 where there is none */
	int theirs[3];
	int nothing; /* /dev/null, -1 while it was not asked for */
} start;

static void
fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void
start_deinit(start *s)
{
	for (int i = 0; i < 3; i++) {
		fd_close(&s->ours[i]);
		fd_close(&s->theirs[i]);
	}
	fd_close(&s->nothing);
	free(s->env);
	free(s->fds);
}

static size_t
count(const char *const *strings)
{
	size_t n = 0;

	while (strings && strings[n])
		n++;
	return n;
}

/* "NAME=" of both is the same. */
static bool
same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return strncmp(a, b, n) == 0 && b[n] == '=';
}

static bool
is_replaced(const char *entry, const char *const *env)
{
	for (; env && *env; env++)
		if (same_name(*env, entry))
			return true;
	return false;
}

static int
start_environment(start *s, const vn_exec *how)
{
	size_t n_ours = how->env_alone ? 0 : count((const char *const *)environ),
	       n_more = count(how->env), n = 0;

	s->child.env = environ;
	if (!how->env && !how->env_alone)
		return 0;
	s->env = calloc(n_ours + n_more + 1, sizeof *s->env);
	if (!s->env)
		return -ENOMEM;
	for (size_t i = 0; i < n_ours; i++)
		if (!is_replaced(environ[i], how->env))
			s->env[n++] = environ[i];
	for (size_t i = 0; i < n_more; i++)
		s->env[n++] = (char *)(uintptr_t)how->env[i];
	s->child.env = s->env;
	return 0;
}

/* A pipe: our end does not block, theirs does. */
static int
start_pipe(start *s, int i)
{
	int fds[2], mine = i == 0;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	s->ours[i] = fds[mine];
	s->theirs[i] = fds[!mine];
	return fcntl(s->ours[i], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int
start_nothing(start *s)
{
	if (s->nothing < 0)
		s->nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	return s->nothing < 0 ? -errno : s->nothing;
}

/* What is to be `i` there; `which` is what the program said. */
static int
start_standard(start *s, int i, int which)
{
	int rc;

	switch (which) {
	case VN_PIPED:
		rc = start_pipe(s, i);
		return rc < 0 ? rc : s->theirs[i];
	case VN_PASSED:
		return i;
	case VN_NOTHING:
		return start_nothing(s);
	case VN_MERGED:
		return i == 2 ? s->fds[1] : -EINVAL;
	default:
		return which > 0 ? which : -EINVAL;
	}
}

static int
start_fds(start *s, const vn_exec *how)
{
	const int which[] = {how->in, how->out, how->err};

	if (how->n_fds > FDS_MAX)
		return -EINVAL;
	s->child.n_fds = 3 + (int)how->n_fds;
	s->child.fds = s->fds = calloc(3 + how->n_fds, sizeof *s->fds);
	if (!s->fds)
		return -ENOMEM;
	for (int i = 0; i < 3; i++) {
		s->fds[i] = start_standard(s, i, which[i]);
		if (s->fds[i] < 0)
			return s->fds[i];
	}
	for (size_t i = 0; i < how->n_fds; i++) {
		if (how->fds[i] < 0)
			return -EBADF;
		s->fds[3 + i] = how->fds[i];
	}
	return 0;
}

static int
start_init(start *s, const char *const argv[], const vn_exec *how)
{
	struct rlimit limit = {.rlim_cur = 1024};
	const char *path = getenv("PATH");
	int rc;

	*s = (start){.ours = {-1, -1, -1}, .theirs = {-1, -1, -1}, .nothing = -1};
	if (!argv || !argv[0])
		return -EINVAL;
	getrlimit(RLIMIT_NOFILE, &limit);
	s->child.argv = (char *const *)(uintptr_t)argv;
	s->child.path = path ? path : DEFAULT_PATH;
	s->child.directory = how->directory;
	s->child.max_fds = limit.rlim_cur > 1u << 20 ? 1 << 20 : (int)limit.rlim_cur;
	s->child.parent = getpid();
	s->child.own_group = how->own_group;
	rc = start_environment(s, how);
	return rc < 0 ? rc : start_fds(s, how);
}

static int
process_streams(vn_process *p, start *s)
{
	for (int i = 0; i < 3; i++) {
		if (s->ours[i] < 0)
			continue;
		p->streams[i] = (vn_os_stream)(p->hub, s->ours[i], 0);
		if (!p->streams[i])
			return -errno;
		p->streams[i]->home = &p->streams[i];
		s->ours[i] = -1;
	}
	return 0;
}

/* Everything that can fail comes before the child, but for watching its end. */
static int
process_start(vn_process *p, start *s)
{
	void *stack = vn_stack_get(p->hub->stacks);
	siginfo_t info;
	int rc;

	if (!stack)
		return -errno;
	rc = vn_child_start(&s->child, stack, &p->pidfd);
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

static int
process_make(vn_process *p, start *s)
{
	int rc = process_streams(p, s);

	if (rc < 0)
		return rc;
	p->done = vn_state_new(p->hub, sizeof(vn_exit));
	return p->done.rx ? process_start(p, s) : -errno;
}

/**
 * vn_process_exec() - start a program
 * @h:    hub
 * @argv: its arguments, the last one NULL; argv[0] is the program
 * @how:  what it has of us, or NULL: only pipes, our environment and our directory
 *
 * The hub's thread stands still until the program runs.
 *
 * Return: the process; NULL with errno: EINVAL, EBADF, EMFILE, ENFILE, EAGAIN, ENOMEM, E2BIG, ETXTBSY, or what
 * chdir(2) had.
 */
vn_process *(vn_process_exec)(vn_hub *h, const char *const argv[], const vn_exec *how)
{
	const vn_exec plain = {.in = VN_PIPED};
	vn_process *p = calloc(1, sizeof *p);
	start s;
	int rc;

	if (!p)
		return NULL;
	*p = (vn_process){.hub = h, .own_group = how && how->own_group};
	rc = start_init(&s, argv, how ? how : &plain);
	if (rc == 0)
		rc = process_make(p, &s);
	start_deinit(&s);
	if (rc == 0) {
		vn_hub_hold(h);
		vn_hub_own(h, &p->owned, process_disowned);
		return p;
	}
	streams_close(p);
	vn_tx_close(p->done.tx);
	vn_rx_close(p->done.rx);
	free(p);
	errno = -rc;
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
	return vn_process_wait(p, NULL);
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
 * Closes its streams and its state; who waits there gets -EPIPE.
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
	streams_close(p);
	vn_rx_close(p->done.rx);
	process_free(p);
	return 0;
}
