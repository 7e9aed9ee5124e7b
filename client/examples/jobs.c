/* SPDX-License-Identifier: MIT */
/*
 * jobs - keeps some shell commands going at a time, and shows what each of them says
 *
 *     printf '%s\n' 'make -C a' 'make -C b' 'sleep 1; date' | jobs -n 2
 *
 * Commands come from standard input, one a line. Each line that a command writes is shown with its number in front of
 * it; lines of several commands never mix, because writes to a stream go one after the other. Ctrl-C ends all of
 * them. The exit code is 1 if any command failed.
 */
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vanilla.h>

#define LINE 2048

typedef struct job {
	int number;
	char command[LINE];
} job;

typedef struct jobs {
	vn_stream *in, *out;
	vn_pair queue; /* of job * */
	bool failed;
} jobs;

static void
show(jobs *all, const job *j, const char *text, size_t n)
{
	char line[LINE + 32];
	int len = snprintf(line, sizeof line, "[%d] %.*s%s", j->number, (int)n, text,
		n && text[n - 1] == '\n' ? "" : "\n");

	vn_os_write(all->out, line, (size_t)len);
}

static void
show_output(jobs *all, const job *j, vn_stream *from)
{
	char line[LINE];
	ssize_t n;

	while ((n = vn_os_read_until(from, line, sizeof line, "\n")) != 0) {
		if (n == -EMSGSIZE)
			n = vn_os_read(from, line, sizeof line);
		if (n < 0)
			return;
		show(all, j, line, (size_t)n);
	}
}

static void
show_end(jobs *all, const job *j, vn_process *p)
{
	char text[64];
	vn_exit end;

	if (vn_process_wait(p, &end) != 0)
		return;
	if (end.code == 0)
		return;
	all->failed = true;
	if (end.signal)
		snprintf(text, sizeof text, "killed by %s", strsignal(end.signal));
	else
		snprintf(text, sizeof text, "exit code %d", end.code);
	show(all, j, text, strlen(text));
}

static void
run_job(vn_hub *h, jobs *all, const job *j)
{
	const char *const argv[] = {"/bin/sh", "-c", j->command, NULL};
	const vn_exec how = {.in = VN_NOTHING, .err = VN_MERGED, .own_group = true};
	vn_process *p = vn_process_exec(h, argv, &how);

	if (!p) {
		const char *why = strerror(errno);

		all->failed = true;
		show(all, j, why, strlen(why));
		return;
	}
	show_output(all, j, vn_process_stdout(p));
	show_end(all, j, p);
	vn_close(p);
}

static int
runner(vn_hub *h, void *arg)
{
	jobs *all = arg;
	job *j;

	while (vn_recv(all->queue.rx, &j) == 0) {
		run_job(h, all, j);
		free(j);
	}
	return 0;
}

/* Reads commands as runners become free. */
static int
reader(vn_hub *h, void *arg)
{
	jobs *all = arg;
	char line[LINE];
	ssize_t n;
	int number = 0;

	(void)h;
	while ((n = vn_os_read_until(all->in, line, sizeof line, "\n")) > 0) {
		job *j = malloc(sizeof *j);

		if (!j)
			break;
		j->number = ++number;
		snprintf(j->command, sizeof j->command, "%.*s",
			(int)(line[n - 1] == '\n' ? n - 1 : n), line);
		if (vn_send(all->queue.tx, &j) != 0) {
			free(j);
			break;
		}
	}
	if (n < 0 && n != -ECANCELED) {
		all->failed = true;
		warnx("standard input: %s", vn_strerror((int)n));
	}
	return vn_close(all->queue.tx);
}

static int
interrupt(vn_hub *h, void *arg)
{
	vn_rx *signals = vn_signals(h, SIGINT, SIGTERM, SIGHUP);
	int number;

	if (vn_recv(signals, &number) == 0) {
		((jobs *)arg)->failed = true;
		vn_stop(h); /* commands end with the hub */
	}
	return 0;
}

int
main(int argc, char **argv)
{
	vn_hub *h = vn_hub_new();
	vn_group *g;
	jobs all = {.failed = false};
	int n = 2;

	if (argc == 3 && strcmp(argv[1], "-n") == 0)
		n = atoi(argv[2]);
	else if (argc > 1)
		n = 0;
	if (n < 1 || n > 1000)
		errx(2, "usage: jobs [-n 1..1000] < commands");
	if (!h)
		err(1, "hub");
	all.in = vn_os_stream(h, 0, VN_KEEP);
	all.out = vn_os_stream(h, 1, VN_KEEP);
	if (!all.in || !all.out)
		err(1, "standard input and output");
	g = vn_group_new(h);
	all.queue = vn_channel(h, job *, 0);
	vn_spawn(h, interrupt, &all);
	vn_group_spawn(g, reader, &all);
	for (int i = 0; i < n; i++)
		vn_group_spawn(g, runner, &all);
	vn_group_wait(g);
	vn_group_free(g);
	vn_hub_free(h);
	return all.failed;
}
