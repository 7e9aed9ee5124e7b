/* SPDX-License-Identifier: MIT */
/*
 * signals - a service that asks for signals and prints those that come
 *
 * signals URL [NUMBER...]	asks for these at once; "signal N" on standard output for each that came
 *
 * A client's lines: "ask N" opens one more end, "drop" closes the last one, "die" ends the worker; the answer is "ok".
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vanilla.h>

#define ENDS_MAX 8

static int
take(vn_hub *h, void *arg)
{
	int signal;

	(void)h;
	while (vn_recv((vn_rx *)arg, &signal) == 0)
		printf("signal %d\n", signal);
	return 0;
}

/* The ends that are open; the list is in main's frame. */
typedef struct ends {
	vn_hub *hub;
	vn_rx *of[ENDS_MAX];
	int n;
} ends;

static void
ask(ends *e, int *numbers, size_t n)
{
	vn_rx *rx = vn_signals_new(e->hub, numbers, n);

	if (!rx || e->n == ENDS_MAX)
		err(1, "vn_signals");
	e->of[e->n++] = rx;
	vn_spawn(e->hub, take, rx);
}

typedef struct client {
	ends *ends;
	vn_conn *conn;
} client;

static void
line_do(client *c, const char *line)
{
	int number = atoi(line + 4);

	if (strncmp(line, "ask ", 4) == 0)
		ask(c->ends, &number, 1);
	else if (strncmp(line, "drop", 4) == 0 && c->ends->n)
		vn_close(c->ends->of[--c->ends->n]);
	else if (strncmp(line, "die", 3) == 0)
		_exit(3);
	vn_write(c->conn, "ok\n", 3);
}

static int
serve(vn_hub *h, void *arg)
{
	client *c = arg;
	char line[64];
	ssize_t n;

	(void)h;
	while ((n = vn_read_until(c->conn, line, sizeof line - 1, "\n")) > 0) {
		line[n] = '\0';
		line_do(c, line);
	}
	vn_close(c->conn);
	free(c);
	return 0;
}

typedef struct door {
	ends *ends;
	vn_rx *server;
} door;

static int
accept_all(vn_hub *h, void *arg)
{
	door *d = arg;
	vn_conn *conn;

	while (vn_recv(d->server, &conn) == 0) {
		client *c = calloc(1, sizeof *c);

		if (!c)
			err(1, "calloc");
		*c = (client){d->ends, conn};
		vn_spawn(h, serve, c);
	}
	return 0;
}

int
main(int argc, char **argv)
{
	int numbers[64], rc;
	ends all = {.hub = vn_hub_new()};
	door d = {.ends = &all};

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2 || !all.hub)
		errx(2, "usage: signals URL [NUMBER...]");
	for (int i = 2; i < argc && i < 64; i++)
		numbers[i - 2] = atoi(argv[i]);
	if (argc > 2)
		ask(&all, numbers, (size_t)argc - 2);
	d.server = vn_listen(all.hub, argv[1], 0);
	if (!d.server)
		err(1, "%s", argv[1]);
	vn_spawn(all.hub, accept_all, &d);
	rc = vn_stop_on_term(all.hub);
	printf("served=%d\n", rc);
	vn_close(d.server);
	vn_hub_free(all.hub);
	return 0;
}
