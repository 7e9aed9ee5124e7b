/* SPDX-License-Identifier: MIT */
/*
 * dialer - a service that connects to where its clients tell it
 *
 * dialer URL...	listens on each URL
 *
 * A client sends lines, "verb arguments"; the table at the end names the verbs. Each client has at most one dialled
 * connection, and one endpoint of datagrams. Results are the answer, "ok ..." or the name of an error.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vanilla.h>

struct client {
	vn_hub *hub;
	vn_conn *conn, *dialled;
	vn_udp *udp;
	vn_group *group;
	char *words[4];
};

struct verb {
	const char *name;
	int (*run)(struct client *c);
};

__attribute__((format(printf, 2, 3))) static int
answer(struct client *c, const char *format, ...)
{
	char text[1024];
	va_list list;
	int n;

	va_start(list, format);
	n = vsnprintf(text, sizeof text, format, list);
	va_end(list);
	return vn_write(c->conn, text, (size_t)n);
}

static int
answer_result(struct client *c, int rc)
{
	return rc < 0 ? answer(c, "%s\n", strerrorname_np(-rc)) : answer(c, "ok %d\n", rc);
}

static const char *
peer_name(vn_conn *conn, char text[static 128])
{
	const vn_addr *a = vn_peer(conn);
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&a->sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&a->sa;
	char host[INET6_ADDRSTRLEN] = "";

	if (a->sa.ss_family == AF_UNIX)
		snprintf(text, 128, "unix %d", (int)a->pid);
	else if (a->sa.ss_family == AF_INET6)
		snprintf(text, 128, "%s %d",
			inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host),
			ntohs(in6->sin6_port));
	else
		snprintf(text, 128, "%s %d", inet_ntop(AF_INET, &in->sin_addr, host, sizeof host),
			ntohs(in->sin_port));
	return text;
}

/* dial URL [milliseconds] */
static int
run_dial(struct client *c)
{
	vn_time outer = vn_deadline(c->hub, VN_NEVER);
	char text[128];
	int error;

	vn_close(c->dialled);
	if (c->words[2])
		vn_timeout(c->hub, atoi(c->words[2]) * VN_MS);
	c->dialled = vn_dial(c->hub, c->words[1]);
	error = errno;
	vn_deadline(c->hub, outer);
	printf("dialled: %s\n", c->dialled ? "ok" : strerrorname_np(error));
	return c->dialled ? answer(c, "ok %s\n", peer_name(c->dialled, text))
			  : answer(c, "%s\n", strerrorname_np(error));
}

static int
dial_child(vn_hub *h, void *arg)
{
	struct client *c = arg;

	c->dialled = vn_dial(h, c->words[1]);
	return c->dialled ? 0 : -errno;
}

/* cancel URL milliseconds: it is cancelled then, whatever its phase */
static int
run_cancel(struct client *c)
{
	vn_group *g = vn_group_new(c->hub);
	int rc = vn_group_spawn(g, dial_child, c);

	vn_sleep(c->hub, atoi(c->words[2]) * VN_MS);
	vn_group_cancel(g);
	if (rc == 0)
		rc = vn_group_wait(g);
	vn_group_free(g);
	return c->dialled ? answer(c, "ok\n") : answer(c, "cancelled %d\n", rc);
}

static int
stop_child(vn_hub *h, void *arg)
{
	struct client *c = arg;

	printf("stopped: %s\n", vn_dial(h, c->words[1]) ? "ok" : strerrorname_np(errno));
	return 0;
}

/* stop URL milliseconds: the hub is stopped then, in the middle of it */
static int
run_stop(struct client *c)
{
	int rc = vn_group_spawn(c->group, stop_child, c);

	vn_sleep(c->hub, atoi(c->words[2]) * VN_MS);
	vn_stop(c->hub);
	return rc < 0 ? rc : -EPIPE;
}

static int
keep_child(vn_hub *h, void *arg)
{
	char data[64];

	(void)h;
	while (vn_read(arg, data, sizeof data) > 0)
		;
	return vn_conn_close(arg);
}

/* keep URL: it stays, whatever becomes of this client */
static int
run_keep(struct client *c)
{
	vn_conn *conn = vn_dial(c->hub, c->words[1]);

	return answer_result(c, conn ? vn_spawn(c->hub, keep_child, conn) : -errno);
}

static int
run_say(struct client *c)
{
	return answer_result(c, vn_write(c->dialled, c->words[1], strlen(c->words[1])));
}

/* hear N: as many bytes, fewer at the end of the stream */
static int
run_hear(struct client *c)
{
	char data[1024];
	ssize_t n = vn_read_n(c->dialled, data, (size_t)atoi(c->words[1]));

	return n < 0 ? answer_result(c, (int)n) : answer(c, "ok %.*s\n", (int)n, data);
}

static int
run_shutdown(struct client *c)
{
	return answer_result(c, vn_shutdown(c->dialled));
}

static int
run_close(struct client *c)
{
	int rc = vn_close(c->dialled);

	c->dialled = NULL;
	return answer_result(c, rc);
}

static int
run_abort(struct client *c)
{
	return answer_result(c, vn_abort(c->dialled));
}

/* fill N: so many bytes are written; then it stays as it is */
static int
run_fill(struct client *c)
{
	static const char row[] =
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
	int rc = 0;

	for (long n = atol(c->words[1]); rc == 0 && n > 0; n -= 64)
		rc = vn_write(c->dialled, row, 64);
	return answer_result(c, rc);
}

/* select MILLISECONDS: is there something to be read by then? */
static int
run_select(struct client *c)
{
	int rc = vn_select(c->hub, VN_READ(c->dialled), VN_AFTER(atoi(c->words[1]) * VN_MS));

	return answer(c, "ok %s\n", rc == 0 ? "read" : "after");
}

struct crowd {
	struct client *client;
	long left, n_done;
	int error;
};

/* One after another: connect, say something, hear it again, close. */
static int
crowd_member(vn_hub *h, void *arg)
{
	struct crowd *k = arg;

	while (k->left-- > 0 && k->error == 0) {
		vn_conn *conn = vn_dial(h, k->client->words[1]);
		char data[8];
		int rc = conn ? vn_write(conn, "hello\n", 6) : -errno;

		if (rc == 0 && vn_read_n(conn, data, 6) != 6)
			rc = -EPROTO;
		vn_close(conn);
		if (rc < 0)
			k->error = rc;
		k->n_done += rc == 0;
	}
	return 0;
}

/* many URL N AT_A_TIME */
static int
run_many(struct client *c)
{
	struct crowd k = {.client = c, .left = atol(c->words[2])};
	vn_group *g = vn_group_new(c->hub);

	for (int i = 0; i < atoi(c->words[3]); i++)
		vn_group_spawn(g, crowd_member, &k);
	vn_group_wait(g);
	vn_group_free(g);
	return k.error ? answer_result(c, k.error) : answer(c, "ok %ld\n", k.n_done);
}

/* udp URL [milliseconds] */
static int
run_udp(struct client *c)
{
	vn_time outer = vn_deadline(c->hub, VN_NEVER);
	int error;

	vn_close(c->udp);
	if (c->words[2])
		vn_timeout(c->hub, atoi(c->words[2]) * VN_MS);
	c->udp = vn_udp_dial(c->hub, c->words[1]);
	error = errno;
	vn_deadline(c->hub, outer);
	return c->udp ? answer(c, "ok %s\n", vn_udp_url(c->udp))
		      : answer(c, "%s\n", strerrorname_np(error));
}

static int
udp_child(vn_hub *h, void *arg)
{
	struct client *c = arg;

	c->udp = vn_udp_dial(h, c->words[1]);
	return c->udp ? 0 : -errno;
}

/* udp_cancel URL milliseconds: it is cancelled then */
static int
run_udp_cancel(struct client *c)
{
	vn_group *g = vn_group_new(c->hub);
	int rc = vn_group_spawn(g, udp_child, c);

	vn_sleep(c->hub, atoi(c->words[2]) * VN_MS);
	vn_group_cancel(g);
	if (rc == 0)
		rc = vn_group_wait(g);
	vn_group_free(g);
	return c->udp ? answer(c, "ok\n") : answer(c, "cancelled %d\n", rc);
}

/* tell TEXT [N]: so many times, to the peer */
static int
run_tell(struct client *c)
{
	int rc = 0;

	for (int n = c->words[2] ? atoi(c->words[2]) : 1; rc == 0 && n > 0; n--)
		rc = vn_udp_send(c->udp, c->words[1], strlen(c->words[1]), NULL);
	return answer_result(c, rc);
}

/* tell_and_die TEXT: ten times, published and not waited for, a little after the answer */
static int
run_tell_and_die(struct client *c)
{
	answer(c, "ok %d\n", (int)getpid());
	vn_sleep(c->hub, 200 * VN_MS);
	for (int i = 0; i < 10; i++)
		vn_udp_send(c->udp, c->words[1], strlen(c->words[1]), NULL);
	vn_sleep(c->hub, 20 * VN_MS);
	kill(getpid(), SIGKILL);
	return 0;
}

static int
answer_datagram(struct client *c, const char *data, ssize_t n)
{
	return n < 0 ? answer_result(c, (int)n) : answer(c, "ok %.*s\n", (int)n, data);
}

/* udp_hear recv|view|select MILLISECONDS: a datagram */
static int
run_udp_hear(struct client *c)
{
	vn_time outer = vn_deadline(c->hub, VN_NEVER);
	char data[2048];
	vn_view v;
	ssize_t n = 0;
	int rc;

	vn_timeout(c->hub, atoi(c->words[2]) * VN_MS);
	if (c->words[1][0] == 's')
		n = vn_select(c->hub, VN_UDP(c->udp)) < 0 ? -ETIMEDOUT : vn_selected(c->hub);
	if (n == 0 && c->words[1][0] == 'v') {
		n = vn_udp_view(c->udp, &v, NULL);
		rc = answer_datagram(c, n < 0 ? NULL : (const char *)v.data, n);
	} else {
		if (n == 0)
			n = vn_udp_recv(c->udp, data, sizeof data, NULL);
		rc = answer_datagram(c, data, n);
	}
	vn_deadline(c->hub, outer);
	return rc;
}

/* reply TEXT: to whoever sent the next datagram; other TEXT PORT: to that port of theirs */
static int
run_reply(struct client *c)
{
	char data[64];
	vn_datagram d;
	ssize_t n = vn_udp_recv(c->udp, data, sizeof data, &d);

	if (c->words[2])
		((struct sockaddr_in *)(void *)&d.peer.sa)->sin_port =
			htons((uint16_t)atoi(c->words[2]));
	return answer_result(
		c, n < 0 ? (int)n : vn_udp_send(c->udp, c->words[1], strlen(c->words[1]), &d));
}

static int
run_udp_join(struct client *c)
{
	return answer_result(c, vn_udp_join(c->udp, c->words[1], NULL));
}

static int
run_udp_close(struct client *c)
{
	int rc = vn_close(c->udp);

	c->udp = NULL;
	return answer_result(c, rc);
}

/* Asks, again if that was lost. */
static int
udp_ask(vn_hub *h, vn_udp *u)
{
	char data[8] = "";
	ssize_t n = -ETIMEDOUT;

	for (int i = 0; i < 20 && n == -ETIMEDOUT; i++) {
		int rc = vn_udp_send(u, "hello", 5, NULL);

		if (rc < 0)
			return rc;
		vn_timeout(h, VN_SEC);
		n = vn_udp_recv(u, data, sizeof data, NULL);
		vn_deadline(h, VN_NEVER);
	}
	return n < 0 ? (int)n : n == 5 && memcmp(data, "hello", 5) == 0 ? 0 : -EPROTO;
}

/* One after another: connect, ask, close. */
static int
udp_crowd_member(vn_hub *h, void *arg)
{
	struct crowd *k = arg;

	while (k->left-- > 0 && k->error == 0) {
		vn_udp *u = vn_udp_dial(h, k->client->words[1]);
		int rc = u ? udp_ask(h, u) : -errno;

		vn_close(u);
		if (rc < 0)
			k->error = rc;
		k->n_done += rc == 0;
	}
	return 0;
}

/* udp_many URL N AT_A_TIME */
static int
run_udp_many(struct client *c)
{
	struct crowd k = {.client = c, .left = atol(c->words[2])};
	vn_group *g = vn_group_new(c->hub);

	for (int i = 0; i < atoi(c->words[3]); i++)
		vn_group_spawn(g, udp_crowd_member, &k);
	vn_group_wait(g);
	vn_group_free(g);
	return k.error ? answer_result(c, k.error) : answer(c, "ok %ld\n", k.n_done);
}

/* How many descriptors this process has. */
static int
run_fds(struct client *c)
{
	DIR *folder = opendir("/proc/self/fd");
	int n = -1;

	if (!folder)
		return answer_result(c, -errno);
	while (readdir(folder))
		n++;
	closedir(folder);
	return answer(c, "ok %d\n", n);
}

static int
run_pid(struct client *c)
{
	return answer(c, "ok %d\n", (int)getpid());
}

static const struct verb verbs[] = {
	{"dial", run_dial},
	{"cancel", run_cancel},
	{"stop", run_stop},
	{"keep", run_keep},
	{"say", run_say},
	{"hear", run_hear},
	{"shutdown", run_shutdown},
	{"close", run_close},
	{"abort", run_abort},
	{"fill", run_fill},
	{"select", run_select},
	{"many", run_many},
	{"udp", run_udp},
	{"udp_cancel", run_udp_cancel},
	{"tell", run_tell},
	{"tell_and_die", run_tell_and_die},
	{"udp_hear", run_udp_hear},
	{"reply", run_reply},
	{"udp_join", run_udp_join},
	{"udp_close", run_udp_close},
	{"udp_many", run_udp_many},
	{"fds", run_fds},
	{"pid", run_pid},
};

static int
line_run(struct client *c, char *line)
{
	char *rest = NULL;

	for (int i = 0; i < 4; i++)
		c->words[i] = strtok_r(i ? NULL : line, " \n", &rest);
	for (size_t i = 0; c->words[0] && i < sizeof verbs / sizeof *verbs; i++)
		if (strcmp(verbs[i].name, c->words[0]) == 0)
			return verbs[i].run(c);
	return answer(c, "what?\n");
}

static int
serve(vn_hub *h, void *arg)
{
	struct client c = {.hub = h, .conn = arg, .group = vn_group_new(h)};
	char line[1024];
	int rc = 0;

	while (rc >= 0) {
		ssize_t n = vn_read_until(c.conn, line, sizeof line - 1, "\n");

		if (n <= 0)
			break;
		line[n] = '\0';
		rc = line_run(&c, line);
	}
	vn_group_free(c.group);
	vn_close(c.dialled);
	vn_close(c.udp);
	return vn_close(c.conn);
}

int
main(int argc, char **argv)
{
	vn_hub *h = vn_hub_new();
	int rc;

	if (!h)
		err(1, "vn_hub_new");
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		vn_rx *listener = vn_listen(h, argv[i], 0);

		if (!listener || vn_serve(listener, serve) < 0)
			err(1, "%s", argv[i]);
	}
	rc = vn_stop_on_term(h);
	vn_hub_free(h);
	return rc == 0 || rc == -ECANCELED ? 0 : 1;
}
