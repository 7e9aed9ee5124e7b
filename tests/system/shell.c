/* SPDX-License-Identifier: MIT */
/*
 * shell - a service that starts a program for each line
 *
 * A client sends shell commands, one a line. Each runs to its end, and its output comes back, then "code N" or
 * "signal N". A line "hold COMMAND" answers with the number of the process and keeps that until the connection ends.
 * "length TEXT" lets a function in a process of its own find out how long the text is, and "thread TEXT" one in a thread:
 * the answer is that, and where it was found. "stay" is "hold" for such a process, which waits for more.
 */
#include <err.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <vanilla.h>

static vn_process *
start(vn_hub *h, const char *command)
{
	const char *const argv[] = {"/bin/sh", "-c", command, NULL};

	return vn_process_exec(h, argv, &(vn_exec){.in = VN_NOTHING, .err = VN_MERGED});
}

static void
run(vn_hub *h, vn_conn *c, const char *command)
{
	vn_process *p = start(h, command);
	vn_exit end = {.code = -1};
	char text[2048];
	ssize_t n;

	while ((n = vn_os_read(vn_process_stdout(p), text, sizeof text)) > 0)
		vn_write(c, text, (size_t)n);
	vn_process_wait(p, &end);
	n = end.signal ? snprintf(text, sizeof text, "signal %d\n", end.signal)
		       : snprintf(text, sizeof text, "code %d\n", end.code);
	vn_write(c, text, (size_t)n);
	vn_close(p);
}

typedef struct text {
	char bytes[2048];
} text;

static int
find_length(vn_hub *h, vn_pair parent, void *arg)
{
	text t;

	(void)h;
	(void)arg;
	while (vn_recv(parent.rx, &t) == 0) {
		size_t n = strlen(t.bytes);

		snprintf(t.bytes, sizeof t.bytes, "%zu %d\n", n, (int)getpid());
		if (vn_send(parent.tx, &t) < 0)
			return -1;
	}
	return 0;
}
VN_ENTRY(length_finder, find_length)

static vn_process *
start_function(vn_hub *h)
{
	return vn_process_spawn(h, text, length_finder, &(char){0});
}

static void
ask_length(vn_conn *c, vn_pair ends, const char *of)
{
	text t;

	snprintf(t.bytes, sizeof t.bytes, "%s", of);
	if (vn_send(ends.tx, &t) == 0 && vn_recv(ends.rx, &t) == 0)
		vn_write(c, t.bytes, strlen(t.bytes));
	else
		vn_write(c, "dead\n", 5);
}

static void
length(vn_hub *h, vn_conn *c, const char *of)
{
	vn_process *p = start_function(h);

	ask_length(c, vn_process_ends(p), of);
	vn_close(p);
}

static void
length_in_thread(vn_hub *h, vn_conn *c, const char *of)
{
	vn_pair ends = vn_thread_spawn(h, text, find_length, NULL);

	ask_length(c, ends, of);
	vn_close(ends.tx);
	vn_close(ends.rx);
}

static int
serve(vn_hub *h, void *arg)
{
	vn_conn *c = arg;
	vn_process *held = NULL;
	char line[2048], number[32];
	ssize_t n;

	while ((n = vn_read_until(c, line, sizeof line - 1, "\n")) > 0) {
		line[n - 1] = '\0';
		if (strncmp(line, "hold ", 5) == 0 || strcmp(line, "stay") == 0) {
			vn_close(held);
			held = *line == 'h' ? start(h, line + 5) : start_function(h);
			n = snprintf(number, sizeof number, "%d\n", (int)vn_process_pid(held));
			vn_write(c, number, (size_t)n);
		} else if (strncmp(line, "length ", 7) == 0) {
			length(h, c, line + 7);
		} else if (strncmp(line, "thread ", 7) == 0) {
			length_in_thread(h, c, line + 7);
		} else {
			run(h, c, line);
		}
	}
	vn_close(held);
	return vn_close(c);
}

int
main(int argc, char **argv)
{
	vn_hub *h = vn_hub_new();
	vn_rx *server = h ? vn_listen(h, argc > 1 ? argv[1] : "tcp://127.0.0.1:0", 0) : NULL;

	if (!server)
		err(1, "listen");
	vn_serve(server, serve);
	vn_stop_on_term(h);
	vn_hub_free(h);
}
