/* SPDX-License-Identifier: MIT */
/*
 * probe - a service that does what its clients tell it, so that a test can bring about any situation
 *
 * probe [-r] [-l] URL...	listens on each URL, with -r as VN_RESUMABLE; with -l it loops for ever once it is ready
 *
 * A client sends lines, "verb argument"; the table at the end names the verbs. One line is one request: it
 * is acknowledged and committed when the handler reads the next. What must be known from outside, whatever
 * becomes of the connection, is printed on standard output.
 */
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <vanilla.h>

struct request {
	vn_hub *hub;
	vn_conn *conn;
	char *argument;
};

struct word {
	char text[64];
};

struct verb {
	const char *name;
	int (*run)(struct request *r);
};

static vn_tx *words; /* to all handlers of this process that wait for one */

__attribute__((format(printf, 2, 3))) static int
answer(struct request *r, const char *format, ...)
{
	char text[4096];
	va_list list;
	int n;

	va_start(list, format);
	n = vsnprintf(text, sizeof text, format, list);
	va_end(list);
	return vn_write(r->conn, text, (size_t)n);
}

/* Waits with the request in hand: taken, not acknowledged. */
static int
request_stall(struct request *r)
{
	puts("stalling");
	return vn_sleep(r->hub, VN_NEVER / 2);
}

static int
request_echo(struct request *r)
{
	return answer(r, "%s\n", r->argument);
}

static int
request_pid(struct request *r)
{
	const char *worker = getenv("VANILLA_WORKER");

	return answer(r, "%d %s\n", (int)getpid(), worker ? worker : "alone");
}

static int
request_half(struct request *r)
{
	int rc = answer(r, "half an answer");

	return rc ? rc : request_stall(r);
}

static int
request_work(struct request *r)
{
	int rc;

	puts("at work");
	rc = vn_sleep(r->hub, atoi(r->argument) * VN_MS);
	return rc ? rc : answer(r, "done\n");
}

static int
request_big(struct request *r)
{
	static const char row[] =
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n";
	long n_rows = atol(r->argument);
	int rc = 0;

	while (rc == 0 && n_rows-- > 0)
		rc = vn_write(r->conn, row, sizeof row - 1);
	return rc;
}

/* Shuts the output, then counts what still comes in. */
static int
request_shutdown(struct request *r)
{
	char data[2048];
	size_t total = 0;
	ssize_t n;
	int rc = answer(r, "last words\n");

	if (rc == 0)
		rc = vn_shutdown(r->conn);
	if (rc != 0)
		return rc;
	while ((n = vn_read(r->conn, data, sizeof data)) > 0)
		total += (size_t)n;
	printf("after the shutdown: %zu bytes, then %s\n", total,
		n ? vn_strerror((int)n) : "the end");
	return -EPIPE;
}

static int
request_close(struct request *r)
{
	int rc = answer(r, "%s\n", r->argument);

	return rc ? rc : -EPIPE;
}

static int
request_abort(struct request *r)
{
	vn_abort(r->conn);
	return -EPIPE;
}

/* Two lines are one request. */
static int
request_hold(struct request *r)
{
	char line[1024];
	ssize_t n;
	int rc = vn_hold(r->conn);

	if (rc != 0)
		return rc;
	n = vn_read_until(r->conn, line, sizeof line, "\n");
	if (n <= 0)
		return n < 0 ? (int)n : -EPIPE;
	rc = answer(r, "%s+%.*s", r->argument, (int)n, line);
	return rc ? rc : vn_commit(r->conn);
}

/* Echoes the rest of the stream from views into loans. */
static int
request_views(struct request *r)
{
	vn_view v;
	vn_loan l;
	int rc;

	while ((rc = vn_take(r->conn, &v)) == 1) {
		for (size_t done = 0; rc == 1 && done < v.len; done += l.len) {
			size_t n = v.len - done < 65536 ? v.len - done : 65536;

			if (vn_borrow(r->conn, n, &l) != 0)
				return -EPIPE;
			memcpy(l.data, v.data + done, n);
			l.len = n;
			if (vn_publish(r->conn, &l) != 0)
				return -EPIPE;
			l.len = n;
		}
		rc = vn_release(r->conn, &v);
		if (rc != 0)
			return rc;
	}
	return rc ? rc : -EPIPE;
}

/* Shows the next line without taking it, then skips it. */
static int
request_peek(struct request *r)
{
	const void *data;
	size_t len = (size_t)atoi(r->argument);
	int rc = vn_hold(r->conn);
	ssize_t n = rc ? rc : vn_peek(r->conn, &data, len);

	if (n < (ssize_t)len)
		return n < 0 ? (int)n : -EPIPE;
	rc = answer(r, "%.*s", (int)len, (const char *)data);
	if (rc == 0)
		rc = vn_skip(r->conn, len);
	return rc ? rc : vn_commit(r->conn);
}

static int
request_peer(struct request *r)
{
	const vn_addr *a = vn_peer(r->conn);

	return answer(r, "%d %d %d\n", (int)a->pid, (int)a->uid, (int)a->gid);
}

static int
request_print(struct request *r)
{
	printf("%s\n", r->argument);
	return answer(r, "printed\n");
}

static int
request_die(struct request *r)
{
	raise(atoi(r->argument));
	return -EPIPE;
}

static int
request_spin(struct request *r)
{
	vn_time end = vn_now(r->hub) + atoi(r->argument) * VN_MS;
	struct timespec t;

	do
		clock_gettime(CLOCK_MONOTONIC, &t);
	while (t.tv_sec * VN_SEC + t.tv_nsec < end);
	return answer(r, "spun\n");
}

static int
request_deadline(struct request *r)
{
	char data;
	ssize_t n;

	vn_hold(r->conn);
	vn_deadline(r->hub, vn_now(r->hub) + atoi(r->argument) * VN_MS);
	n = vn_read(r->conn, &data, 1);
	vn_deadline(r->hub, VN_NEVER);
	return answer(r, "%s\n", n == -ETIMEDOUT ? "timed out" : "something else");
}

static int
request_count(struct request *r)
{
	char name[64] = "";
	unsigned long long n = 0;
	vn_counter *counter;

	sscanf(r->argument, "%63s %llu", name, &n);
	counter = vn_counter_new(r->hub, name, "Something that a test counts");
	if (!counter)
		return answer(r, "%s\n", strerror(errno));
	vn_counter_add(counter, n);
	return answer(r, "counted\n");
}

static int
request_gauge(struct request *r)
{
	char name[64] = "";
	double value = 0;
	vn_gauge *gauge;

	sscanf(r->argument, "%63s %lf", name, &value);
	gauge = vn_gauge_new(r->hub, name, "Something that a test measures");
	if (!gauge)
		return answer(r, "%s\n", strerror(errno));
	vn_gauge_set(gauge, value);
	return answer(r, "set\n");
}

/* Answers with what another connection brings. */
static int
request_wait(struct request *r)
{
	vn_rx *rx = vn_subscribe(words);
	struct word w;
	int rc;

	if (!rx)
		return -errno;
	puts("waiting");
	rc = vn_recv(rx, &w);
	vn_rx_close(rx);
	return rc ? rc : answer(r, "%s\n", w.text);
}

/* Brings it to all of them, and says how many they were. */
static int
request_wake(struct request *r)
{
	size_t n = vn_subscribers(words);
	struct word w;
	int rc;

	snprintf(w.text, sizeof w.text, "%s", r->argument);
	rc = vn_send(words, &w);
	return rc ? rc : answer(r, "%zu woken\n", n);
}

static const struct verb verbs[] = {
	{"count", request_count},
	{"gauge", request_gauge},
	{"echo", request_echo},
	{"pid", request_pid},
	{"stall", request_stall},
	{"half", request_half},
	{"work", request_work},
	{"big", request_big},
	{"shutdown", request_shutdown},
	{"close", request_close},
	{"abort", request_abort},
	{"hold", request_hold},
	{"views", request_views},
	{"peek", request_peek},
	{"peer", request_peer},
	{"print", request_print},
	{"die", request_die},
	{"spin", request_spin},
	{"deadline", request_deadline},
	{"wait", request_wait},
	{"wake", request_wake},
};

static int
request_run(struct request *r, char *line)
{
	char *end = strpbrk(line, "\r\n");

	if (end)
		*end = '\0';
	r->argument = strchr(line, ' ');
	if (r->argument)
		*r->argument++ = '\0';
	else
		r->argument = line + strlen(line);
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (strcmp(verbs[i].name, line) == 0)
			return verbs[i].run(r);
	return answer(r, "unknown verb: %s\n", line);
}

static int
serve(vn_hub *h, void *arg)
{
	struct request r = {.hub = h, .conn = arg};
	char line[1024];
	ssize_t n;

	while ((n = vn_read_until(r.conn, line, sizeof line - 1, "\n")) > 0) {
		line[n] = '\0';
		if (request_run(&r, line) != 0)
			break;
	}
	return vn_close(r.conn);
}

/* Its hub has slept once, so it has said that it is ready; from here on it takes nothing. */
static void
hang(vn_hub *h)
{
	vn_sleep(h, VN_MS);
	puts("looping");
	for (;;)
		__asm__("" ::: "memory");
}

int
main(int argc, char **argv)
{
	bool resumable = false, loops = false;
	vn_hub *h = vn_hub_new();
	int rc, option;

	setvbuf(stdout, NULL, _IOLBF, 0);
	words = vn_broadcast(h, struct word);
	if (!words)
		err(1, "vn_broadcast");
	while ((option = getopt(argc, argv, "rl")) > 0) {
		resumable |= option == 'r';
		loops |= option == 'l';
	}
	for (int i = optind; i < argc; i++) {
		vn_rx *server = vn_listen(h, argv[i], resumable ? VN_RESUMABLE : 0);

		if (!server)
			err(1, "%s", argv[i]);
		vn_serve(server, serve);
	}
	if (loops)
		hang(h);
	rc = vn_stop_on_term(h);
	printf("served: %s\n", vn_strerror(rc));
	vn_hub_free(h);
}
