/* SPDX-License-Identifier: MIT */
/*
 * shell - a service that starts a program for each line
 *
 * A client sends shell commands, one a line. Each runs to its end, and its output comes back, then "code N" or
 * "signal N". A line "hold COMMAND" answers with the number of the process and keeps that until the connection ends.
 */
#include <err.h>
#include <stdio.h>
#include <string.h>
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

static int
serve(vn_hub *h, void *arg)
{
	vn_conn *c = arg;
	vn_process *held = NULL;
	char line[2048], text[32];
	ssize_t n;

	while ((n = vn_read_until(c, line, sizeof line - 1, "\n")) > 0) {
		line[n - 1] = '\0';
		if (strncmp(line, "hold ", 5) != 0) {
			run(h, c, line);
			continue;
		}
		vn_close(held);
		held = start(h, line + 5);
		n = snprintf(text, sizeof text, "%d\n", (int)vn_process_pid(held));
		vn_write(c, text, (size_t)n);
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
