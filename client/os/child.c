/* SPDX-License-Identifier: MIT */
/*
 * Child - from clone to exec
 *
 * The child shares our memory and we stand still until it has executed the program or ended (CLONE_VM and
 * CLONE_VFORK): so a start costs the same however large we are. It has a stack of its own and signal actions of its
 * own, and all signals are blocked meanwhile, so that no handler of ours runs in it. Only raw system calls are made
 * where the C library, or a sanitizer in it, would keep books in the memory that is still ours.
 *
 * What went wrong it writes into a pipe that exec closes: so nothing in there means that the program runs, or that the
 * child ends with one of the two codes. (It could be left in memory, but for tools that turn such a clone into a fork.)
 * All descriptors but those that are meant are closed by exec as well.
 *
 * It dies with us: PR_SET_PDEATHSIG, first of all. A parent that died before that call cannot be waited for any more,
 * so the child looks once more who its parent is: from the call on the kernel watches, and before it the child sees.
 * (The signal comes when the thread ends that started it.)
 */
#include "client/os/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/hub/fiber.h"
#include "client/hub/watched.h"

#define PATH_BYTES  4096
#define STACK_BYTES 32768
#define SIGNALS     64
#define MASK_BYTES  8 /* of the kernel's set of signals */

/*
 * When we go on, the answer is there, or there is none: nobody waits for another process that got hold of the pipe. Under
 * valgrind we do not stand still, and wait.
 */
#define ANSWER_FLAGS (RUNNING_ON_VALGRIND ? 0 : O_NONBLOCK)

/* No sanitizer may leave its marks on a stack that is left by exec. */
#define BARE __attribute__((no_sanitize("address", "thread", "undefined")))

/* As the kernel has it. */
typedef struct kernel_action {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
} kernel_action;

static BARE int
fail(int error)
{
	errno = error;
	return -1;
}

/* Every action is the default one, and nothing is blocked. */
static BARE void
signals_reset(void)
{
	const kernel_action standard = {.handler = SIG_DFL};
	const uint64_t none = 0;

	for (int signal = 1; signal <= SIGNALS; signal++)
		syscall(SYS_rt_sigaction, signal, &standard, NULL, MASK_BYTES);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, MASK_BYTES);
}

/* Out of the way of the numbers that are to be used. */
static BARE int
fd_above(int fd, int n)
{
	return fd < n ? (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, n) : fd;
}

/* First out of the way, then to their places; all others are closed by exec. */
static BARE int
fds_place(vn_child *c)
{
	c->answer = fd_above(c->answer, c->n_fds);
	if (c->answer < 0)
		return -1;
	for (int i = 0; i < c->n_fds; i++) {
		c->fds[i] = fd_above(c->fds[i], c->n_fds);
		if (c->fds[i] < 0)
			return -1;
	}
	for (int i = 0; i < c->n_fds; i++)
		if (syscall(SYS_dup3, c->fds[i], i, 0) < 0)
			return -1;
	if (syscall(SYS_close_range, c->n_fds, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
		return 0;
	for (int fd = c->n_fds; fd < c->max_fds; fd++)
		syscall(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

/* The next place of the path with the name behind it: its end, or NULL if it is too long. */
static BARE char *
candidate(char *to, const char *place, size_t len, const char *name)
{
	size_t n = strlen(name);

	if (len + n + 2 > PATH_BYTES)
		return NULL;
	memcpy(to, place, len);
	if (len > 0)
		to[len++] = '/';
	memcpy(to + len, name, n + 1);
	return to + len + n;
}

/* Returns with errno: EACCES if one was found that may not be executed, and none that may. */
static BARE void
exec_search(const vn_child *c)
{
	const char *at = c->path, *end;
	char file[PATH_BYTES];
	int error = ENOENT;

	do {
		end = strchrnul(at, ':');
		if (candidate(file, at, (size_t)(end - at), c->argv[0]))
			syscall(SYS_execve, file, c->argv, c->env);
		else
			errno = ENAMETOOLONG;
		if (errno == EACCES)
			error = EACCES;
		else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG &&
			 errno != ESTALE && errno != ENODEV)
			return;
		at = end + 1;
	} while (*end);
	errno = error;
}

/* The code of a program that is not found, or is none; 0 for all other reasons. */
static BARE int
code_of(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return VN_CHILD_NOT_FOUND;
	case EACCES:
	case EPERM:
	case ENOEXEC:
	case EISDIR:
	case ELIBBAD:
		return VN_CHILD_NOT_EXECUTABLE;
	default:
		return 0;
	}
}

static BARE int
prepare(vn_child *c)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -1;
	if (syscall(SYS_getppid) != c->parent)
		return fail(ESRCH);
	if (c->own_group && syscall(SYS_setpgid, 0, 0) < 0)
		return -1;
	if (fds_place(c) < 0)
		return -1;
	if (c->directory && syscall(SYS_chdir, c->directory) < 0)
		return -1;
	signals_reset();
	return 0;
}

/* Returns with errno, if at all. */
static BARE void
exec(const vn_child *c)
{
	if (c->program)
		syscall(SYS_execve, c->program, c->argv, c->env);
	else if (!*c->argv[0])
		errno = ENOENT;
	else if (strchr(c->argv[0], '/'))
		syscall(SYS_execve, c->argv[0], c->argv, c->env);
	else
		exec_search(c);
}

static BARE int
child_run(void *arg)
{
	vn_child *c = arg;
	int code = 0, error;

	if (prepare(c) == 0) {
		exec(c);
		code = code_of(errno);
	}
	error = errno;
	if (!code)
		syscall(SYS_write, c->answer, &error, sizeof error);
	syscall(SYS_exit_group, code);
	__builtin_unreachable();
}

/* The child's pid, or a negative errno. It has begun to run the program, or has ended. */
static int
clone_child(vn_child *c, void *stack_top, int *pidfd)
{
	int flags = CLONE_VFORK | CLONE_PIDFD | SIGCHLD, pid;

#ifdef VN_TSAN
	/* its interceptor of clone() takes the child for a thread, and the child would change what it knows of us */
	(void)stack_top;
	pid = (int)syscall(SYS_clone, flags, NULL, pidfd, NULL, NULL);
	if (pid == 0)
		child_run(c);
#else
	pid = clone(child_run, stack_top, flags | CLONE_VM, c, pidfd);
#endif
	return pid < 0 ? -errno : pid;
}

/* 0: there was no answer, because the program runs. */
static int
answer_read(int fd)
{
	int error = 0;
	ssize_t n;

	do
		n = read(fd, &error, sizeof error);
	while (n < 0 && errno == EINTR);
	return n == sizeof error ? error : 0;
}

static int
child_start(vn_child *c, void *stack_top, int *pidfd)
{
	const uint64_t all = ~(uint64_t)0;
	uint64_t before;
	int pid;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, MASK_BYTES);
	pid = clone_child(c, stack_top, pidfd);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, MASK_BYTES);
	return pid;
}

/**
 * vn_child_max_fds() - descriptors above this number are not looked for, where they must be looked for
 */
int
vn_child_max_fds(void)
{
	struct rlimit limit = {.rlim_cur = 1024};

	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur > 1u << 20 ? 1 << 20 : (int)limit.rlim_cur;
}

/**
 * vn_child_start() - start a program
 * @c:         prepared; all that it points to stays until this returns
 * @stack_top: where the child's stack begins; it has 32 KiB at least
 * @pidfd:     its end can be waited for here; close-on-exec
 *
 * Return: the pid of a child that has executed the program, or ends with VN_CHILD_NOT_FOUND or
 * VN_CHILD_NOT_EXECUTABLE; a negative errno if there is no child.
 */
int
vn_child_start(vn_child *c, void *stack_top, int *pidfd)
{
	int answer[2], pid, error;
	siginfo_t info;

	if (pipe2(answer, O_CLOEXEC | ANSWER_FLAGS) < 0)
		return -errno;
	c->answer = answer[1];
#ifdef VN_ASAN
	__asan_unpoison_memory_region((char *)stack_top - STACK_BYTES, STACK_BYTES);
#endif
	pid = child_start(c, stack_top, pidfd);
	close(answer[1]);
	error = pid > 0 ? answer_read(answer[0]) : 0;
	close(answer[0]);
	if (!error)
		return pid;
	while (waitid(P_PIDFD, (id_t)*pidfd, &info, WEXITED) < 0 && errno == EINTR)
		;
	close(*pidfd);
	return -error;
}
