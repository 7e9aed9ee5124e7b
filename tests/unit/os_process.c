/* SPDX-License-Identifier: MIT */
/*
 * Process - what a child has of us, how it ends, and that nothing of it stays
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/os/child.h"
#include "client/os/stream.h"
#include "tests/unit/coroutines.h"

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
#define SH(text)  ARGV("/bin/sh", "-c", text)

static vn_hub *
hub_open(void)
{
	vn_hub *h = vn_hub_open(&vn_sys_linux);

	ck_assert_ptr_nonnull(h);
	return h;
}

/* Nothing of any child is left. */
static void
no_children(void)
{
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}

static vn_process *
start(vn_hub *h, const char *const argv[], const vn_exec *how)
{
	vn_process *p = vn_process_exec(h, argv, how);

	if (!p)
		ck_abort_msg("%s: %s", argv[0], strerror(errno));
	return p;
}

/* All that it writes to standard output, as a string. */
static const char *
output(vn_process *p, char *text, size_t n)
{
	ssize_t len = vn_os_read_n(vn_process_stdout(p), text, n - 1);

	ck_assert_int_ge(len, 0);
	text[len] = '\0';
	return text;
}

static int
code(vn_process *p)
{
	vn_exit exit = {.code = -2};

	ck_assert_int_eq(vn_process_wait(p, &exit), 0);
	ck_assert_int_eq(exit.signal, 0);
	return exit.code;
}

static int
killer(vn_process *p)
{
	vn_exit exit = {.code = -2};

	ck_assert_int_eq(vn_process_wait(p, &exit), 0);
	ck_assert_int_eq(exit.code, -1);
	return exit.signal;
}

/* Starts, and returns what it writes; it must end with 0. */
static const char *
said(vn_hub *h, const char *const argv[], const vn_exec *how, char *text, size_t n)
{
	vn_process *p = start(h, argv, how);

	output(p, text, n);
	ck_assert_int_eq(code(p), 0);
	vn_close(p);
	return text;
}

START_TEST(output_and_exit_code)
{
	int n_fds = suite_n_fds();
	vn_hub *h = hub_open();
	vn_process *p = start(h, SH("echo hello; exit 3"), NULL);
	char text[64];

	ck_assert_int_gt(vn_process_pid(p), 1);
	ck_assert_str_eq(output(p, text, sizeof text), "hello\n");
	ck_assert_int_eq(code(p), 3);
	ck_assert_int_eq(code(p), 3);
	ck_assert_int_eq(vn_process_signal(p, SIGTERM), -ESRCH);
	ck_assert_int_eq(vn_process_terminate(p), -ESRCH);
	no_children();
	vn_close(p);
	vn_hub_close(h);
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

START_TEST(what_is_written_to_it_is_read)
{
	vn_hub *h = hub_open();
	vn_process *p = start(h, ARGV("cat"), NULL);
	char text[64];

	ck_assert_int_eq(vn_os_write(vn_process_stdin(p), "to and fro\n", 11), 0);
	ck_assert_int_eq(vn_os_read_until(vn_process_stdout(p), text, sizeof text, "\n"), 11);
	ck_assert_int_eq(vn_close(vn_process_stdin(p)), 0);
	ck_assert_ptr_null(vn_process_stdin(p));
	ck_assert_int_eq(vn_os_read(vn_process_stdout(p), text, sizeof text), 0);
	ck_assert_int_eq(code(p), 0);
	vn_close(p);
	vn_hub_close(h);
}
END_TEST

START_TEST(null_is_answered)
{
	ck_assert_ptr_null(vn_process_stdin(NULL));
	ck_assert_ptr_null(vn_process_stdout(NULL));
	ck_assert_ptr_null(vn_process_stderr(NULL));
	ck_assert_ptr_null(vn_process_done(NULL));
	ck_assert_int_eq(vn_process_pid(NULL), -EBADF);
	ck_assert_int_eq(vn_process_wait(NULL, NULL), -EBADF);
	ck_assert_int_eq(vn_process_signal(NULL, 1), -EBADF);
	ck_assert_int_eq(vn_process_terminate(NULL), -EBADF);
	ck_assert_int_eq(vn_process_stop(NULL, 1), -EBADF);
	ck_assert_int_eq(vn_process_close(NULL), 0);
}
END_TEST

START_TEST(standard_error_apart_merged_and_elsewhere)
{
	vn_hub *h = hub_open();
	const char *const *argv = SH("echo out; echo err >&2");
	vn_process *p = start(h, argv, NULL);
	char path[] = "/tmp/vanilla-os-XXXXXX", text[64];
	int fd = mkstemp(path);
	ssize_t n;

	unlink(path);
	ck_assert_str_eq(output(p, text, sizeof text), "out\n");
	n = vn_os_read_n(vn_process_stderr(p), text, sizeof text);
	ck_assert_int_eq(n, 4);
	ck_assert_mem_eq(text, "err\n", 4);
	vn_close(p);
	ck_assert_str_eq(
		said(h, argv, &(vn_exec){.err = VN_MERGED}, text, sizeof text), "out\nerr\n");
	p = start(h, argv, &(vn_exec){.err = VN_NOTHING});
	ck_assert_ptr_null(vn_process_stderr(p));
	ck_assert_str_eq(output(p, text, sizeof text), "out\n");
	vn_close(p);
	p = start(h, argv, &(vn_exec){.in = VN_NOTHING, .out = VN_NOTHING, .err = fd});
	ck_assert_ptr_null(vn_process_stdin(p));
	ck_assert_ptr_null(vn_process_stdout(p));
	ck_assert_int_eq(code(p), 0);
	vn_close(p);
	ck_assert_int_eq(pread(fd, text, sizeof text, 0), 4);
	close(fd);
	vn_hub_close(h);
}
END_TEST

START_TEST(what_is_passed_on_is_ours)
{
	vn_hub *h = hub_open();
	int fds[2], saved = dup(2);
	char text[8];
	vn_process *p;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	dup2(fds[1], 2);
	p = start(h, SH("echo err >&2"), &(vn_exec){.err = VN_PASSED});
	dup2(saved, 2);
	close(fds[1]);
	ck_assert_int_eq(read(fds[0], text, 8), 4);
	ck_assert_int_eq(code(p), 0);
	vn_close(p);
	close(fds[0]);
	close(saved);
	vn_hub_close(h);
}
END_TEST

START_TEST(the_environment_is_added_to_or_replaced)
{
	vn_hub *h = hub_open();
	const char *const *argv = SH("echo $ONE.$TWO.$THREE.${HOME:+home}");
	const vn_exec more = {.env = ARGV("TWO=zwei", "THREE=drei")},
		      alone = {.env = ARGV("TWO=zwei"), .env_alone = true},
		      nothing = {.env_alone = true};
	char text[64], *all = malloc(65536);

	setenv("ONE", "1", 1);
	setenv("TWO", "2", 1);
	setenv("TWOS", "22", 1);
	setenv("HOME", "/", 1);
	ck_assert_str_eq(said(h, argv, NULL, text, sizeof text), "1.2..home\n");
	ck_assert_str_eq(said(h, argv, &more, text, sizeof text), "1.zwei.drei.home\n");
	ck_assert_str_eq(said(h, argv, &alone, text, sizeof text), ".zwei..\n");
	ck_assert_str_eq(said(h, argv, &nothing, text, sizeof text), "...\n");
	said(h, ARGV("env"), &(vn_exec){.env = ARGV("TWO=zwei")}, all, 65536);
	ck_assert_ptr_null(strstr(all, "TWO=2\n"));
	ck_assert_ptr_nonnull(strstr(all, "TWO=zwei\n"));
	ck_assert_ptr_nonnull(strstr(all, "TWOS=22\n"));
	ck_assert_str_eq(said(h, SH("echo $TWOS"), &more, text, sizeof text), "22\n");
	free(all);
	vn_hub_close(h);
}
END_TEST

START_TEST(it_starts_where_it_is_told_to)
{
	vn_hub *h = hub_open();
	char text[64];

	ck_assert_str_eq(
		said(h, ARGV("pwd"), &(vn_exec){.directory = "/usr"}, text, sizeof text), "/usr\n");
	ck_assert_ptr_null(vn_process_exec(h, ARGV("pwd"), &(vn_exec){.directory = "/nowhere"}));
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_ptr_null(vn_process_exec(h, ARGV("pwd"), &(vn_exec){.directory = "/bin/sh"}));
	ck_assert_int_eq(errno, ENOTDIR);
	no_children();
	vn_hub_close(h);
}
END_TEST

static int
ends_with(vn_hub *h, const char *program)
{
	vn_process *p = start(h, ARGV(program), NULL);
	int rc = code(p);

	vn_close(p);
	return rc;
}

START_TEST(not_found_is_127_and_not_executable_is_126)
{
	vn_hub *h = hub_open();
	char path[] = "/tmp/vanilla-os-XXXXXX", folder[] = "/tmp/vanilla-os-XXXXXX", text[64],
	     program[64];
	int fd = mkstemp(path);

	ck_assert_int_eq(ends_with(h, "/nowhere/at/all"), 127);
	ck_assert_int_eq(ends_with(h, "no-such-program-anywhere"), 127);
	ck_assert_int_eq(ends_with(h, ""), 127);
	ck_assert_int_eq(ends_with(h, "/bin/sh/x"), 127);
	ck_assert_int_eq(ends_with(h, "/tmp"), 126);
	ck_assert_int_eq(write(fd, "no program\n", 11), 11);
	close(fd);
	ck_assert_int_eq(ends_with(h, path), 126);
	chmod(path, 0700);
	ck_assert_int_eq(ends_with(h, path), 126);
	unlink(path);

	/* a file that may not be executed does not hide one that may, and is told if there is none */
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(program, sizeof program, "%s/true", folder);
	close(open(program, O_CREAT | O_WRONLY, 0600));
	snprintf(text, sizeof text, "%s:/nowhere:/bin:/usr/bin", folder);
	setenv("PATH", text, 1);
	ck_assert_int_eq(ends_with(h, "true"), 0);
	setenv("PATH", folder, 1);
	ck_assert_int_eq(ends_with(h, "true"), 126);
	setenv("PATH", "", 1);
	ck_assert_int_eq(ends_with(h, "true"), 127);
	unlink(program);
	rmdir(folder);
	no_children();
	vn_hub_close(h);
}
END_TEST

static void
refused(vn_hub *h, const char *const argv[], const vn_exec *how, int error)
{
	int n_fds = suite_n_fds();

	errno = 0;
	ck_assert_ptr_null(vn_process_exec(h, argv, how));
	ck_assert_int_eq(errno, error);
	no_children();
	ck_assert_int_eq(suite_n_fds(), n_fds);
}

START_TEST(other_failures_are_told_before_the_call_returns)
{
	enum { LONG = 1 << 20 };
	vn_hub *h = hub_open();
	char *longest = malloc(LONG), path[] = "/tmp/vanilla-os-XXXXXX";
	struct rlimit limit;
	const int bad = 999;
	int fd = mkstemp(path);

	memset(longest, 'x', LONG);
	longest[LONG - 1] = '\0';
	if (!RUNNING_ON_VALGRIND) /* which dies of it */
		refused(h, ARGV("/bin/true", longest), NULL, E2BIG);
	refused(h, (const char *const[]){NULL}, NULL, EINVAL);
	refused(h, NULL, NULL, EINVAL);
	refused(h, ARGV("/bin/true"), &(vn_exec){.out = -7}, EINVAL);
	refused(h, ARGV("/bin/true"), &(vn_exec){.out = VN_MERGED}, EINVAL);
	refused(h, ARGV("/bin/true"), &(vn_exec){.out = 999}, EBADF);
	refused(h, ARGV("/bin/true"), &(vn_exec){.fds = &bad, .n_fds = 1}, EBADF);
	fchmod(fd, 0700); /* open for writing */
	if (!RUNNING_ON_VALGRIND)
		refused(h, ARGV(path), NULL, ETXTBSY);
	close(fd);
	unlink(path);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = (rlim_t)suite_n_fds() + 3;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (!RUNNING_ON_VALGRIND) /* which has limits of its own */
		refused(h, ARGV("/bin/true"), NULL, EMFILE);
	vn_hub_close(h);
	free(longest);
}
END_TEST

START_TEST(a_signal_that_ended_it_is_told)
{
	vn_hub *h = hub_open();
	vn_process *p = start(h, SH("kill -USR1 $$"), NULL);

	ck_assert_int_eq(killer(p), SIGUSR1);
	vn_close(p);
	p = start(h, ARGV("sleep", "1000"), NULL);
	ck_assert_int_eq(vn_process_signal(p, 0), 0);
	ck_assert_int_eq(vn_process_signal(p, SIGHUP), 0);
	ck_assert_int_eq(killer(p), SIGHUP);
	vn_close(p);
	p = start(h, ARGV("sleep", "1000"), NULL);
	ck_assert_int_eq(vn_process_terminate(p), 0);
	ck_assert_int_eq(killer(p), SIGTERM);
	vn_close(p);
	no_children();
	vn_hub_close(h);
}
END_TEST

typedef struct waiter {
	vn_process *process;
	vn_exit exit;
	int rc;
} waiter;

static int
wait_for_it(vn_hub *h, void *arg)
{
	waiter *w = arg;

	(void)h;
	w->rc = vn_process_wait(w->process, &w->exit);
	return 0;
}

START_TEST(many_wait_for_its_end_and_a_select_does)
{
	vn_hub *h = hub_open();
	vn_process *p = start(h, SH("read line; exit 9"), NULL);
	waiter waiters[20];
	vn_exit exit;
	vn_rx *done;

	for (int i = 0; i < 20; i++) {
		waiters[i] = (waiter){p, {0}, 1};
		vn_spawn(h, wait_for_it, &waiters[i]);
	}
	ck_assert_int_eq(vn_select(h, VN_RECV(vn_process_done(p), &exit), VN_AFTER(VN_MS)), 1);
	vn_os_write(vn_process_stdin(p), "\n", 1);
	ck_assert_int_eq(
		vn_select(h, VN_RECV(vn_process_done(p), &exit), VN_AFTER(60 * VN_SEC)), 0);
	ck_assert_int_eq(exit.code, 9);
	vn_yield(h);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(waiters[i].rc, 0);
		ck_assert_int_eq(waiters[i].exit.code, 9);
	}
	done = vn_dup(vn_process_done(p));
	vn_close(p);
	exit.code = 0;
	ck_assert_int_eq(vn_recv(done, &exit), 0);
	ck_assert_int_eq(exit.code, 9);
	vn_close(done);
	vn_hub_close(h);
}
END_TEST

START_TEST(stopping_is_asked_for_and_then_done)
{
	vn_hub *h = hub_open();
	vn_process *p =
		start(h, SH("trap 'exit 4' TERM; echo; while :; do sleep 0.01; done"), NULL);
	char byte;

	ck_assert_int_eq(vn_os_read(vn_process_stdout(p), &byte, 1), 1);
	ck_assert_int_eq(vn_process_stop(p, 60 * VN_SEC), 0);
	ck_assert_int_eq(code(p), 4);
	vn_close(p);
	p = start(h, SH("trap '' TERM; echo; while :; do sleep 1; done"), NULL);
	ck_assert_int_eq(vn_os_read(vn_process_stdout(p), &byte, 1), 1);
	ck_assert_int_eq(vn_process_stop(p, 20 * VN_MS), 0);
	ck_assert_int_eq(killer(p), SIGKILL);
	ck_assert_int_eq(vn_process_stop(p, 20 * VN_MS), 0);
	vn_close(p);
	p = start(h, SH("trap '' TERM; echo; while :; do sleep 1; done"), NULL);
	ck_assert_int_eq(vn_os_read(vn_process_stdout(p), &byte, 1), 1);
	vn_timeout(h, 5 * VN_MS);
	ck_assert_int_eq(vn_process_stop(p, 60 * VN_SEC), -ETIMEDOUT);
	vn_deadline(h, VN_NEVER);
	ck_assert_int_eq(killer(p), SIGKILL);
	vn_close(p);
	vn_hub_close(h);
}
END_TEST

START_TEST(one_that_is_stopped_is_terminated_and_killed)
{
	vn_hub *h = hub_open();
	vn_process *p = start(h, ARGV("sleep", "1000"), NULL);

	vn_process_signal(p, SIGSTOP);
	vn_sleep(h, 5 * VN_MS);
	ck_assert_int_eq(vn_process_terminate(p), 0);
	ck_assert_int_eq(killer(p), SIGTERM);
	vn_close(p);
	p = start(h, ARGV("sleep", "1000"), NULL);
	vn_process_signal(p, SIGSTOP);
	vn_sleep(h, 5 * VN_MS);
	vn_close(p);
	vn_hub_close(h);
	no_children();
}
END_TEST

static bool
is_alive(pid_t pid)
{
	return kill(pid, 0) == 0;
}

START_TEST(closing_kills_and_leaves_no_zombie)
{
	int n_fds = suite_n_fds();
	vn_hub *h = hub_open();
	vn_process *p = start(h, ARGV("sleep", "1000"), NULL);
	pid_t pid = vn_process_pid(p);
	waiter w = {p, {0}, 1};

	vn_spawn(h, wait_for_it, &w);
	vn_yield(h);
	vn_close(p);
	vn_yield(h);
	ck_assert_int_eq(w.rc, -EPIPE);
	while (is_alive(pid))
		vn_sleep(h, VN_MS);
	no_children();
	p = start(h, ARGV("true"), NULL);
	vn_close(p);
	vn_hub_close(h);
	no_children();
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

START_TEST(a_hub_that_ends_takes_its_children_along)
{
	int n_fds = suite_n_fds();
	vn_hub *h = hub_open();
	pid_t pids[3];

	for (int i = 0; i < 3; i++)
		pids[i] = vn_process_pid(start(h, ARGV("sleep", "1000"), NULL));
	vn_close(vn_process_stdin(start(h, ARGV("cat"), NULL)));
	vn_hub_close(h);
	for (int i = 0; i < 3; i++)
		ck_assert(!is_alive(pids[i]));
	no_children();
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

START_TEST(it_has_no_descriptor_but_those_that_were_meant)
{
	vn_hub *h = hub_open();
	int leaks[2], given[2][2], fds[2];
	char text[64];

	ck_assert_int_eq(pipe(leaks), 0); /* not close-on-exec */
	ck_assert_str_eq(said(h, SH("ls /proc/$$/fd; true"), NULL, text, sizeof text), "0\n1\n2\n");
	ck_assert_int_eq(pipe2(given[0], O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(given[1], O_CLOEXEC), 0);
	fds[0] = given[1][1];
	fds[1] = given[0][1];
	said(h, SH("echo a >&3; echo b >&4; ls /proc/$$/fd; true"),
		&(vn_exec){.fds = fds, .n_fds = 2}, text, sizeof text);
	ck_assert_str_eq(text, "0\n1\n2\n3\n4\n");
	ck_assert_int_eq(read(given[1][0], text, 2), 2);
	ck_assert_mem_eq(text, "a\n", 2);
	ck_assert_int_eq(read(given[0][0], text, 2), 2);
	ck_assert_mem_eq(text, "b\n", 2);
	vn_hub_close(h);
}
END_TEST

/* Their numbers here are among those that are given out there. */
START_TEST(descriptors_change_places_without_treading_on_each_other)
{
	enum { N = 30 };
	vn_hub *h = hub_open();
	int files[3], fds[N];
	char text[64];

	for (int i = 0; i < 3; i++) {
		char path[] = "/tmp/vanilla-os-XXXXXX", letter = (char)('a' + i);

		files[i] = mkstemp(path);
		unlink(path);
		ck_assert_int_lt(files[i], N);
		ck_assert_int_eq(write(files[i], &letter, 1), 1);
	}
	for (int i = 0; i < N; i++)
		fds[i] = files[(i + 1) % 3];
	said(h, SH("for i in $(seq 3 32); do cat /proc/$$/fd/$i; done"),
		&(vn_exec){.fds = fds, .n_fds = N}, text, sizeof text);
	ck_assert_str_eq(text, "bcabcabcabcabcabcabcabcabcabca");
	for (int i = 0; i < 3; i++)
		close(files[i]);
	vn_hub_close(h);
}
END_TEST

START_TEST(no_signal_is_blocked_or_ignored_there)
{
	vn_hub *h = hub_open();
	sigset_t all, before, after;
	char text[256];

	signal(SIGHUP, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	said(h, ARGV("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"), NULL, text, sizeof text);
	sigprocmask(SIG_SETMASK, &before, &after);
	ck_assert_str_eq(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
	ck_assert_int_eq(sigismember(&after, SIGUSR2), 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(one_that_writes_without_end_waits_or_dies_of_it)
{
	vn_hub *h = hub_open();
	vn_process *p = start(h, ARGV("yes"), NULL);
	char text[4096];

	vn_sleep(h, 5 * VN_MS);
	ck_assert_int_gt(vn_os_read(vn_process_stdout(p), text, sizeof text), 0);
	vn_close(vn_process_stdout(p));
	ck_assert_int_eq(killer(p), SIGPIPE);
	vn_close(p);
	p = start(h, ARGV("yes"), NULL);
	vn_sleep(h, 5 * VN_MS);
	ck_assert_int_eq(vn_process_stop(p, 60 * VN_SEC), 0);
	vn_close(p);
	vn_hub_close(h);
}
END_TEST

START_TEST(output_may_end_before_it_does_and_after)
{
	vn_hub *h = hub_open();
	vn_process *p = start(h, SH("exec 1>&-; read line; exit 5"), NULL);
	char text[64];
	vn_exit exit;

	ck_assert_str_eq(output(p, text, sizeof text), "");
	ck_assert_int_eq(vn_select(h, VN_RECV(vn_process_done(p), &exit), VN_ELSE), 1);
	vn_os_write(vn_process_stdin(p), "\n", 1);
	ck_assert_int_eq(code(p), 5);
	vn_close(p);
	p = start(h, SH("echo late; exit 6"), NULL);
	ck_assert_int_eq(code(p), 6);
	ck_assert_str_eq(output(p, text, sizeof text), "late\n");
	vn_close(p);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_group_of_its_own_is_signalled_as_a_whole)
{
	vn_hub *h = hub_open();
	vn_process *p = start(h, SH("sleep 1000 & echo; wait"), &(vn_exec){.own_group = true});
	char text[8];

	ck_assert_int_eq(vn_os_read(vn_process_stdout(p), text, 1), 1);
	ck_assert_int_eq(getpgid(vn_process_pid(p)), vn_process_pid(p));
	vn_process_signal(p, SIGKILL);
	ck_assert_int_eq(vn_os_read(vn_process_stdout(p), text, 1), 0);
	ck_assert_int_eq(killer(p), SIGKILL);
	vn_close(p);
	vn_hub_close(h);
}
END_TEST

/* In another group there is nobody whom a signal to its first one reaches. */
START_TEST(one_that_left_its_group_is_signalled_all_the_same)
{
	vn_hub *h = hub_open();
	const char *const argv[] = {"perl", "-e",
		"setpgrp(0, getpgrp(getppid())) or die; $| = 1; print 'x'; sleep 1000", NULL};
	vn_process *p;

	for (int i = 0; i < 4; i++) {
		p = start(h, argv, &(vn_exec){.own_group = true});
		ck_assert_int_eq(vn_os_read(vn_process_stdout(p), (char[1]){0}, 1), 1);
		ck_assert_int_ne(getpgid(vn_process_pid(p)), vn_process_pid(p));
		if (i == 0) {
			ck_assert_int_eq(vn_process_terminate(p), 0);
			ck_assert_int_eq(killer(p), SIGTERM);
		} else if (i == 1) {
			ck_assert_int_eq(vn_process_signal(p, SIGKILL), 0);
			ck_assert_int_eq(killer(p), SIGKILL);
		}
		if (i < 3) /* the last one goes with the hub */
			vn_close(p);
		while (i == 2 && h->n_sources > 0)
			vn_sleep(h, VN_MS);
	}
	vn_hub_close(h);
	no_children();
}
END_TEST

static int
stop_it(vn_hub *h, void *arg)
{
	(void)h;
	return vn_process_stop(arg, VN_NEVER);
}

static int
return_at_once(vn_hub *h, void *arg)
{
	(void)h;
	(void)arg;
	return 0;
}

/* Its end is taken between the cancel and the coroutine that is told of it. */
START_TEST(closed_while_somebody_stops_it)
{
	vn_hub *h = hub_open();
	vn_process *p = start(h, SH("trap '' TERM; echo; exec sleep 1000"), NULL);
	vn_group *g = vn_group_new(h);

	ck_assert_int_eq(vn_os_read(vn_process_stdout(p), (char[1]){0}, 1), 1);
	vn_group_spawn(g, stop_it, p);
	vn_sleep(h, VN_MS);
	for (int i = 0; i < 2 * VN_TURN; i++)
		vn_spawn(h, return_at_once, NULL);
	vn_group_cancel(g);
	vn_close(p);
	ck_assert_int_eq(waitid(P_PID, (id_t)vn_process_pid(p), &(siginfo_t){.si_pid = 0},
				 WEXITED | WNOWAIT),
		0);
	ck_assert_int_eq(vn_group_wait(g), -EPIPE);
	vn_group_free(g);
	vn_hub_close(h);
	no_children();
}
END_TEST

START_TEST(an_end_that_somebody_else_took_is_told)
{
	vn_hub *h = hub_open();
	vn_process *p = start(h, ARGV("true"), NULL);

	ck_assert_int_eq(waitpid(vn_process_pid(p), NULL, 0), vn_process_pid(p));
	ck_assert_int_eq(vn_process_wait(p, NULL), -ECHILD);
	vn_close(p);
	signal(SIGCHLD, SIG_IGN);
	p = start(h, ARGV("true"), NULL);
	ck_assert_int_eq(vn_process_wait(p, NULL), -ECHILD);
	vn_close(p);
	vn_hub_close(h);
}
END_TEST

START_TEST(other_children_are_left_alone)
{
	vn_hub *h = hub_open();
	pid_t other = fork();
	int status;

	if (other == 0)
		_exit(11);
	ck_assert_int_eq(ends_with(h, "true"), 0);
	ck_assert_int_eq(ends_with(h, "true"), 0);
	ck_assert_int_eq(waitpid(other, &status, 0), other);
	ck_assert_int_eq(WEXITSTATUS(status), 11);
	vn_hub_close(h);
}
END_TEST

/* A parent that starts children, which hold `marker`, and never ends. */
static _Noreturn void
parent_run(int marker)
{
	vn_hub *h = vn_hub_open(&vn_sys_linux);
	const vn_exec how = {.in = VN_NOTHING, .out = VN_NOTHING, .fds = &marker, .n_fds = 1};

	for (int n = 0; h; n++) {
		vn_process *p = vn_process_exec(h, ARGV("sleep", "1000"), &how);

		if (n == 0 && write(marker, "x", 1) != 1)
			break;
		if (!p || n > 50)
			break;
	}
	for (;;)
		pause();
}

START_TEST(children_die_with_a_parent_that_is_killed)
{
	uint64_t seed = 1;
	char byte;

	for (int i = 0; i < (MEMORY_IS_WATCHED ? 6 : 60); i++) {
		int fds[2];
		pid_t parent;
		ssize_t n;

		suite_assert(pipe2(fds, O_CLOEXEC) == 0);
		parent = fork();
		if (parent == 0)
			parent_run(fds[1]);
		close(fds[1]);
		suite_assert(read(fds[0], &byte, 1) == 1);
		usleep((useconds_t)(suite_random(&seed) % 5000));
		kill(parent, SIGKILL);
		suite_assert(waitpid(parent, NULL, 0) == parent);
		do
			n = read(fds[0], &byte, 1);
		while (n > 0);
		suite_assert(n == 0); /* nobody is left who holds it */
		close(fds[0]);
	}
}
END_TEST

START_TEST(a_child_whose_parent_is_gone_already_executes_nothing)
{
	vn_hub *h = hub_open();
	void *stack = vn_stack_get(h->stacks);
	char path[] = "/tmp/vanilla-os-XXXXXX";
	int fd = mkstemp(path), fds[3] = {0, fd, 2}, pidfd;
	vn_child c = {.argv = (char *const *)(uintptr_t)ARGV("/bin/echo", "alive"),
		.env = (char *const[]){NULL},
		.path = "/bin",
		.fds = fds,
		.n_fds = 3,
		.parent = 1};

	unlink(path);
	ck_assert_int_eq(vn_child_start(&c, stack, &pidfd), -ESRCH);
	no_children();
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 0);
	c.parent = getpid();
	ck_assert_int_gt(vn_child_start(&c, stack, &pidfd), 0);
	ck_assert_int_gt(waitpid(-1, NULL, 0), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 6);
	close(pidfd);
	vn_stack_put(h->stacks, stack);
	vn_hub_close(h);
	close(fd);
}
END_TEST

START_TEST(thousands_one_after_another_leave_nothing_behind)
{
	vn_hub *h = hub_open();
	const vn_exec quiet = {.err = VN_PASSED};
	int n_fds;
	int n = MEMORY_IS_WATCHED ? 300 : 10000;
	long pages = 0;

	ck_assert_int_eq(ends_with(h, "true"), 0);
	n_fds = suite_n_fds();
	for (int i = 0; i < n; i++) {
		vn_process *p = vn_process_exec(h, ARGV("/bin/true"), &quiet);

		suite_assert(p && vn_process_wait(p, NULL) == 0);
		vn_close(p);
		if (i == n / 10)
			pages = resident_pages();
	}
	ck_assert_int_eq(suite_n_fds(), n_fds);
	if (!MEMORY_IS_WATCHED)
		ck_assert_int_le(resident_pages(), pages + 16);
	no_children();
	vn_hub_close(h);
}
END_TEST

static int
talk(vn_hub *h, void *arg)
{
	int *n_left = arg;
	vn_process *p = vn_process_exec(h, ARGV("cat"), NULL);
	char text[16];

	suite_assert(p);
	suite_assert(vn_os_write(vn_process_stdin(p), "hello\n", 6) == 0);
	suite_assert(vn_os_read_until(vn_process_stdout(p), text, 16, "\n") == 6);
	vn_sleep(h, 20 * VN_MS);
	vn_close(vn_process_stdin(p));
	suite_assert(vn_process_wait(p, NULL) == 0);
	vn_close(p);
	--*n_left;
	return 0;
}

START_TEST(two_hundred_at_a_time)
{
	vn_hub *h = hub_open();
	int n_left = 200, n_fds = suite_n_fds();
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (int i = 0; i < 200; i++)
		vn_spawn(h, talk, &n_left);
	while (n_left > 0)
		vn_sleep(h, VN_MS);
	ck_assert_int_eq(suite_n_fds(), n_fds);
	no_children();
	vn_hub_close(h);
}
END_TEST

int
main(void)
{
	const TTest *tests[] = {output_and_exit_code, what_is_written_to_it_is_read,
		null_is_answered, standard_error_apart_merged_and_elsewhere,
		what_is_passed_on_is_ours, the_environment_is_added_to_or_replaced,
		it_starts_where_it_is_told_to, not_found_is_127_and_not_executable_is_126,
		other_failures_are_told_before_the_call_returns, a_signal_that_ended_it_is_told,
		many_wait_for_its_end_and_a_select_does, stopping_is_asked_for_and_then_done,
		one_that_is_stopped_is_terminated_and_killed, closing_kills_and_leaves_no_zombie,
		a_hub_that_ends_takes_its_children_along,
		it_has_no_descriptor_but_those_that_were_meant,
		descriptors_change_places_without_treading_on_each_other,
		no_signal_is_blocked_or_ignored_there,
		one_that_writes_without_end_waits_or_dies_of_it,
		output_may_end_before_it_does_and_after, a_group_of_its_own_is_signalled_as_a_whole,
		one_that_left_its_group_is_signalled_all_the_same, closed_while_somebody_stops_it,
		an_end_that_somebody_else_took_is_told, other_children_are_left_alone,
		children_die_with_a_parent_that_is_killed,
		a_child_whose_parent_is_gone_already_executes_nothing,
		thousands_one_after_another_leave_nothing_behind, two_hundred_at_a_time};

	return suite_run("os_process", tests, SUITE_COUNT(tests));
}
