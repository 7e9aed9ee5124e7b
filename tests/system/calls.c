/* SPDX-License-Identifier: MIT */
/*
 * calls - a service whose clients say which calls of the library to make, and learn what each returned
 *
 * calls {[-r] URL}...	listens on each URL, on those after -r as VN_RESUMABLE
 *
 * The first line of a client is a script: words, separated by spaces; the table at the end says how many arguments
 * each has. They run in order. What each call returned is collected, one line per call, and leaves by "report" (to
 * the client) or "print TAG" (to standard output, for what becomes of connections that can be answered no more), so
 * that looking at results does not disturb what they are about. Nothing is held or committed but by the script.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vanilla.h>

#define WORDS_MAX  1024
#define RESULT_MAX 8192
#define DATA_MAX   (4u << 20)
#define LOANS_MAX  64

struct script {
	vn_hub *hub;
	vn_conn *conn;
	char *words[WORDS_MAX];
	int n_words, at;
	char result[RESULT_MAX];
	size_t n_result;
	size_t written; /* bytes of the pattern */
	int n_spawned;
	vn_view view;
	unsigned int view_sum;
	vn_loan loan;
	vn_pair pipe;
	vn_rx *listener;
	bool over; /* the connection is closed */
};

/* One call of a script; in a spawned coroutine, a copy of its words goes along. */
struct step {
	struct script *script;
	const char *name;
	char *args[3];
};

struct verb {
	const char *name;
	int n_args;
	void (*run)(struct step *s);
};

__attribute__((format(printf, 2, 3))) static void
tell(struct step *s, const char *format, ...)
{
	struct script *k = s->script;
	va_list list;

	va_start(list, format);
	k->n_result +=
		(size_t)snprintf(k->result + k->n_result, RESULT_MAX - k->n_result, "%s=", s->name);
	k->n_result +=
		(size_t)vsnprintf(k->result + k->n_result, RESULT_MAX - k->n_result, format, list);
	k->n_result += (size_t)snprintf(k->result + k->n_result, RESULT_MAX - k->n_result, "\n");
	va_end(list);
	if (k->n_result >= RESULT_MAX)
		errx(1, "a script with more results than expected");
}

static long
number(const struct step *s, int i)
{
	return atol(s->args[i]);
}

/* Adler-32: python has it. */
static unsigned int
sum_of(const unsigned char *data, size_t n)
{
	unsigned int a = 1, b = 0;

	while (n--) {
		a = (a + *data++) % 65521;
		b = (b + a) % 65521;
	}
	return b << 16 | a;
}

static void
tell_data(struct step *s, ssize_t n, const unsigned char *data)
{
	if (n <= 0)
		tell(s, "%zd", n);
	else if (n <= 64)
		tell(s, "%zd %.*s", n, (int)n, (const char *)data);
	else
		tell(s, "%zd %u", n, sum_of(data, (size_t)n));
}

static unsigned char *
room(void)
{
	unsigned char *data = malloc(DATA_MAX);

	if (!data)
		err(1, "malloc");
	return data;
}

/* Reading. */

static void
run_read(struct step *s)
{
	unsigned char *data = room();

	tell_data(s, vn_read(s->script->conn, data, (size_t)number(s, 0)), data);
	free(data);
}

static void
run_read_n(struct step *s)
{
	unsigned char *data = room();

	tell_data(s, vn_read_n(s->script->conn, data, (size_t)number(s, 0)), data);
	free(data);
}

/* until N HEX: the delimiter in hexadecimal, because it may be anything */
static void
run_until(struct step *s)
{
	unsigned char *data = room();
	char end[80] = "", *hex = s->args[1];

	for (size_t i = 0; hex[2 * i] && i < sizeof end - 1; i++) {
		char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

		end[i] = (char)strtol(digits, NULL, 16);
	}
	tell_data(s, vn_read_until(s->script->conn, data, (size_t)number(s, 0), end), data);
	free(data);
}

/* How many bytes are there beyond what was asked for is a matter of timing. */
static void
run_peek(struct step *s)
{
	const void *data;
	ssize_t n = vn_peek(s->script->conn, &data, (size_t)number(s, 0));

	tell_data(s, n > number(s, 0) ? number(s, 0) : n, data);
}

static void
run_skip(struct step *s)
{
	tell(s, "%d", vn_skip(s->script->conn, (size_t)number(s, 0)));
}

static void
run_hold(struct step *s)
{
	tell(s, "%d", vn_hold(s->script->conn));
}

static void
run_commit(struct step *s)
{
	tell(s, "%d", vn_commit(s->script->conn));
}

static void
run_take(struct step *s)
{
	struct script *k = s->script;

	tell(s, "%d", vn_take(k->conn, &k->view));
	k->view_sum = sum_of(k->view.data, k->view.len);
}

/* Says what the view shows, and whether it still shows what it showed when it was taken. */
static void
run_view(struct step *s)
{
	struct script *k = s->script;

	tell(s, "%.*s %s", k->view.len < 8 ? (int)k->view.len : 8, (const char *)k->view.data,
		sum_of(k->view.data, k->view.len) == k->view_sum ? "same" : "changed");
}

static void
run_release(struct step *s)
{
	tell(s, "%d", vn_release(s->script->conn, &s->script->view));
}

/* Writing. */

static unsigned char
pattern(size_t at)
{
	return (unsigned char)(at % 251);
}

static void
run_write(struct step *s)
{
	struct script *k = s->script;
	size_t n = (size_t)number(s, 0);
	unsigned char *data = malloc(n + 1);
	int rc;

	if (!data)
		err(1, "malloc");
	for (size_t i = 0; i < n; i++)
		data[i] = pattern(k->written + i);
	rc = vn_write(k->conn, data, n);
	if (rc == 0)
		k->written += n;
	tell(s, "%d", rc);
	free(data);
}

static void
loan_fill(struct script *k, vn_loan *l, size_t n)
{
	for (size_t i = 0; i < n && i < l->cap; i++)
		l->data[i] = pattern(k->written + i);
	l->len = n;
}

static void
run_borrow(struct step *s)
{
	struct script *k = s->script;
	size_t n = (size_t)number(s, 0);
	int rc = vn_borrow(k->conn, n, &k->loan);

	tell(s, "%d %d", rc, k->loan.cap >= n);
}

/* publish N [of the cap, or one more than it with N = -1] */
static void
run_publish(struct step *s)
{
	struct script *k = s->script;
	size_t n = number(s, 0) < 0 ? k->loan.cap + 1 : (size_t)number(s, 0);
	int rc;

	loan_fill(k, &k->loan, n);
	rc = vn_publish(k->conn, &k->loan);
	if (rc == 0)
		k->written += n;
	tell(s, "%d", rc);
}

/* Borrows until it is told to stop, then publishes all of it. */
static void
run_loans(struct step *s)
{
	struct script *k = s->script;
	vn_loan loans[LOANS_MAX];
	int n = 0, rc = 0, published = 0;

	while (n < LOANS_MAX && (rc = vn_borrow(k->conn, 65536, &loans[n])) == 0)
		n++;
	for (int i = 0; i < n && published == 0; i++) {
		loan_fill(k, &loans[i], 65536);
		published = vn_publish(k->conn, &loans[i]);
		k->written += 65536;
	}
	tell(s, "%d %d %d", n, rc, published);
}

static void
run_shutdown(struct step *s)
{
	tell(s, "%d", vn_shutdown(s->script->conn));
}

static void
run_abort(struct step *s)
{
	tell(s, "%d", vn_abort(s->script->conn));
}

static void
run_close(struct step *s)
{
	tell(s, "%d", vn_close(s->script->conn));
	s->script->over = true;
}

static void
run_report(struct step *s)
{
	struct script *k = s->script;
	int rc = vn_write(k->conn, k->result, k->n_result);

	if (rc < 0)
		printf("a report that could not be written: %d\n", rc);
	k->n_result = 0;
}

/* print TAG: all of it in one line, so that lines of several workers stay apart */
static void
run_print(struct step *s)
{
	struct script *k = s->script;

	for (size_t i = 0; i < k->n_result; i++)
		if (k->result[i] == '\n')
			k->result[i] = ';';
	printf("%s:%.*s\n", s->args[0], (int)k->n_result, k->result);
	k->n_result = 0;
}

/* Addresses. */

static void
run_peer(struct step *s)
{
	const vn_addr *a = vn_peer(s->script->conn);
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&a->sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&a->sa;
	char text[INET6_ADDRSTRLEN] = "";

	if (a->sa.ss_family == AF_UNIX) {
		tell(s, "unix %d %d %d", (int)a->pid, (int)a->uid, (int)a->gid);
		return;
	}
	inet_ntop(a->sa.ss_family,
		a->sa.ss_family == AF_INET ? (const void *)&in->sin_addr
					   : (const void *)&in6->sin6_addr,
		text, sizeof text);
	tell(s, "%s %d %d", text, ntohs(a->sa.ss_family == AF_INET ? in->sin_port : in6->sin6_port),
		(int)a->pid);
}

static void
run_listen(struct step *s)
{
	vn_rx *listener = vn_listen(s->script->hub, s->args[0], 0);

	if (!listener) {
		tell(s, "%d", -errno);
		return;
	}
	s->script->listener = listener;
	tell(s, "0 %s", vn_url(listener));
}

static void
run_unlisten(struct step *s)
{
	tell(s, "%d", vn_close(s->script->listener));
	s->script->listener = NULL;
}

/* Waits for a connection, answers it and closes it. */
static void
run_accept(struct step *s)
{
	vn_conn *c = NULL;
	int rc = vn_recv(s->script->listener, &c);

	tell(s, "%d %d", rc, c ? vn_write(c, "accepted\n", 9) : -1);
	vn_close(c);
}

/* Time and order. */

static void
run_deadline(struct step *s)
{
	vn_hub *h = s->script->hub;
	long ms = number(s, 0);

	vn_deadline(h, ms ? vn_now(h) + ms * VN_MS : VN_NEVER);
}

static void
run_sleep(struct step *s)
{
	tell(s, "%d", vn_sleep(s->script->hub, number(s, 0) * VN_MS));
}

static void
run_yield(struct step *s)
{
	vn_yield(s->script->hub);
}

static void
pipe_make(struct script *k)
{
	if (k->pipe.rx)
		return;
	k->pipe = vn_pipe(k->hub, int);
	if (!k->pipe.rx)
		err(1, "pipe");
}

static void
run_send(struct step *s)
{
	int item = (int)number(s, 0);

	pipe_make(s->script);
	tell(s, "%d", vn_send(s->script->pipe.tx, &item));
}

static void
run_recv(struct step *s)
{
	int item = -1;

	pipe_make(s->script);
	tell(s, "%d", vn_recv(s->script->pipe.rx, &item));
}

/* select MS: the pipe, the connection, a time */
static void
run_select(struct step *s)
{
	struct script *k = s->script;
	int item = -1, which;

	pipe_make(k);
	which = vn_select(k->hub, VN_RECV(k->pipe.rx, &item), VN_READ(k->conn),
		VN_AFTER(number(s, 0) * VN_MS));
	tell(s, "%d %d %d", which, vn_selected(k->hub), item);
}

static void
run_stop(struct step *s)
{
	vn_stop(s->script->hub);
}

/* Every call that takes an end, a connection or a view, without one. */
static void
run_null(struct step *s)
{
	vn_conn *c = s->script->conn, *none = NULL;
	vn_view view = {NULL, 0, 0};
	vn_loan loan = {NULL, 0, 0, 0};
	const void *data;
	char buf[8];
	int item, is_null;

	tell(s, "%d %d %d %d %d %d", (int)vn_read(NULL, buf, 8), (int)vn_read_n(NULL, buf, 8),
		(int)vn_read_until(NULL, buf, 8, "\n"), (int)vn_peek(NULL, &data, 1),
		vn_skip(NULL, 1), vn_hold(NULL));
	tell(s, "%d %d %d %d %d %d", vn_commit(NULL), vn_take(NULL, &view), vn_take(c, NULL),
		vn_release(NULL, &view), vn_release(c, NULL), vn_write(NULL, "x", 1));
	tell(s, "%d %d %d %d %d %d", vn_shutdown(NULL), vn_abort(NULL), vn_borrow(NULL, 1, &loan),
		vn_borrow(c, 1, NULL), vn_publish(NULL, &loan), vn_publish(c, NULL));
	errno = 0;
	is_null = vn_peer(NULL) == NULL;
	tell(s, "%d %d %d", is_null, errno, vn_close(none));
	errno = 0;
	is_null = vn_url(NULL) == NULL;
	tell(s, "%d %d", is_null, errno);
	tell(s, "%d", vn_recv((vn_rx *)NULL, &item));
}

static void step_run(struct script *k, const char *prefix, char **words);

/* spawn VERB ...: in a coroutine of its own, which reports with a mark */
struct errand {
	struct script *script;
	char *words[4];
};

static int
errand_run(vn_hub *h, void *arg)
{
	struct errand *e = arg;

	(void)h;
	step_run(e->script, "spawned ", e->words);
	e->script->n_spawned--;
	free(e);
	return 0;
}

static void
run_join(struct step *s)
{
	while (s->script->n_spawned)
		vn_yield(s->script->hub);
}

static const struct verb verbs[] = {
	{"read", 1, run_read},
	{"read_n", 1, run_read_n},
	{"until", 2, run_until},
	{"peek", 1, run_peek},
	{"skip", 1, run_skip},
	{"hold", 0, run_hold},
	{"commit", 0, run_commit},
	{"take", 0, run_take},
	{"view", 0, run_view},
	{"release", 0, run_release},
	{"write", 1, run_write},
	{"borrow", 1, run_borrow},
	{"publish", 1, run_publish},
	{"loans", 0, run_loans},
	{"shutdown", 0, run_shutdown},
	{"abort", 0, run_abort},
	{"close", 0, run_close},
	{"report", 0, run_report},
	{"print", 1, run_print},
	{"peer", 0, run_peer},
	{"listen", 1, run_listen},
	{"unlisten", 0, run_unlisten},
	{"accept", 0, run_accept},
	{"deadline", 1, run_deadline},
	{"sleep", 1, run_sleep},
	{"yield", 0, run_yield},
	{"send", 1, run_send},
	{"recv", 0, run_recv},
	{"select", 1, run_select},
	{"stop", 0, run_stop},
	{"null", 0, run_null},
	{"join", 0, run_join},
};

static const struct verb *
verb_of(const char *name)
{
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	errx(1, "unknown word in a script: %s", name);
}

static void
step_run(struct script *k, const char *prefix, char **words)
{
	const struct verb *v = verb_of(words[0]);
	char name[64];
	struct step s = {.script = k, .name = name};

	snprintf(name, sizeof name, "%s%s", prefix, v->name);
	for (int i = 0; i < v->n_args; i++)
		s.args[i] = words[1 + i];
	v->run(&s);
}

/* The words from k->at on; those of a spawned step live as long as the script's line does. */
static void
script_spawn(struct script *k)
{
	struct errand *e = calloc(1, sizeof *e);
	const struct verb *v = verb_of(k->words[k->at]);

	if (!e)
		err(1, "calloc");
	e->script = k;
	for (int i = 0; i <= v->n_args; i++)
		e->words[i] = k->words[k->at + i];
	if (vn_spawn(k->hub, errand_run, e) < 0)
		errx(1, "cannot spawn");
	k->n_spawned++;
	k->at += 1 + v->n_args;
}

static void
script_run(struct script *k)
{
	while (k->at < k->n_words) {
		char **words = &k->words[k->at];

		if (strcmp(words[0], "spawn") == 0) {
			k->at++;
			script_spawn(k);
			continue;
		}
		k->at += 1 + verb_of(words[0])->n_args;
		step_run(k, "", words);
	}
	while (k->n_spawned)
		vn_yield(k->hub);
}

static void
script_free(struct script *k)
{
	vn_close(k->pipe.tx);
	vn_close(k->pipe.rx);
	vn_close(k->listener);
	if (!k->over)
		vn_close(k->conn);
	free(k);
}

static int
serve(vn_hub *h, void *arg)
{
	struct script *k = calloc(1, sizeof *k);
	char line[4096], *rest = NULL;
	ssize_t n;

	if (!k)
		err(1, "calloc");
	k->hub = h;
	k->conn = arg;
	n = vn_read_until(k->conn, line, sizeof line - 1, "\n");
	if (n > 0) {
		line[n] = '\0';
		for (char *word = strtok_r(line, " \n", &rest); word && k->n_words < WORDS_MAX;
			word = strtok_r(NULL, " \n", &rest))
			k->words[k->n_words++] = word;
		if (k->n_words == WORDS_MAX)
			errx(1, "a script with more words than expected");
		script_run(k);
	}
	script_free(k);
	return 0;
}

int
main(int argc, char **argv)
{
	vn_hub *h = vn_hub_new();
	int rc, flags = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!h)
		err(1, "vn_hub_new");
	for (int i = 1; i < argc; i++) {
		vn_rx *server;

		if (strcmp(argv[i], "-r") == 0) {
			flags = VN_RESUMABLE;
			continue;
		}
		server = vn_listen(h, argv[i], (unsigned int)flags);
		if (!server)
			err(1, "%s", argv[i]);
		printf("url %s %s\n", argv[i], vn_url(server));
		vn_serve(server, serve);
		flags = 0;
	}
	rc = vn_stop_on_term(h);
	printf("served=%d\n", rc);
	vn_hub_free(h);
	return 0;
}
