/* SPDX-License-Identifier: MIT */
/*
 * again - a service that dies where it is told to, and says with each answer what it has been through
 *
 * again [-s BYTES] [-n] MODE URL	listens on URL, as VN_RESUMABLE unless -n
 *
 * A client sends lines, "verb argument", each one request. The answer is "NUMBER ATTEMPT text": NUMBER counts the
 * requests of the connection and lies at the end of BYTES (8) of its vn_conn_state(); ATTEMPT is vn_conn_attempt().
 * MODE is how a line is read: until (vn_read_until), peek (vn_peek until there is one, vn_skip), hold (byte by
 * byte after vn_hold, committed by vn_commit). The steps of a request, at which it can be told to die, are
 *
 *     taken      the line was read                       committed  vn_commit() has returned
 *     counted    NUMBER was changed                      left       and the hub has turned
 *     written    vn_write() has returned
 *     published  and the hub has turned
 */
#include <err.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vanilla.h>

#define TURN (20 * VN_MS)

enum mode { UNTIL, PEEK, HOLD, N_MODES };

static const char *const modes[] = {"until", "peek", "hold"};

/* What this process does; set once by main. */
static struct {
	enum mode mode;
	size_t state_bytes;
} program = {.state_bytes = sizeof(uint64_t)};

struct request {
	vn_hub *hub;
	vn_conn *conn;
	char line[4096];
	const char *argument, *where; /* where to die, in this attempt; or "" */
	unsigned int attempt;
	uint64_t number;
};

/* Dies here, if this is where. */
static void
step(const struct request *r, const char *name)
{
	if (strcmp(r->where, name) == 0)
		kill(getpid(), SIGKILL);
}

static ssize_t
read_peeking(vn_conn *c, char *line, size_t size)
{
	size_t at_least = 1;

	for (;;) {
		const void *data;
		const char *end;
		ssize_t n = vn_peek(c, &data, at_least);
		size_t len;

		if (n <= 0)
			return n;
		end = memchr(data, '\n', (size_t)n);
		if (!end && at_least > (size_t)n)
			return 0;
		at_least = (size_t)n + 1;
		if (!end)
			continue;
		len = (size_t)(end - (const char *)data) + 1;
		if (len > size)
			return 0;
		memcpy(line, data, len);
		return vn_skip(c, len) == 0 ? (ssize_t)len : 0;
	}
}

static ssize_t
read_holding(vn_conn *c, char *line, size_t size)
{
	size_t len = 0;
	ssize_t n = vn_hold(c);

	if (n < 0)
		return n;
	while (len < size) {
		n = vn_read(c, line + len, 1);
		if (n <= 0)
			return n;
		if (line[len++] == '\n')
			return (ssize_t)len;
	}
	return 0;
}

static ssize_t
read_line(struct request *r)
{
	size_t size = sizeof r->line - 1;
	ssize_t n;

	if (program.mode == PEEK)
		n = read_peeking(r->conn, r->line, size);
	else if (program.mode == HOLD)
		n = read_holding(r->conn, r->line, size);
	else
		n = vn_read_until(r->conn, r->line, size, "\n");
	if (n > 0)
		r->line[n - 1] = '\0';
	return n;
}

/* NUMBER lies at the end of the state, so that all of it has to arrive. */
static int
count(struct request *r)
{
	char *state = vn_conn_state(r->conn, program.state_bytes);
	char *number;

	if (!state)
		return -1;
	number = state + program.state_bytes - sizeof r->number;
	memcpy(&r->number, number, sizeof r->number);
	r->number++;
	memcpy(number, &r->number, sizeof r->number);
	return 0;
}

__attribute__((format(printf, 2, 3))) static int
answer(struct request *r, const char *format, ...)
{
	char text[4096];
	va_list list;
	int n = snprintf(text, sizeof text, "%llu %u ", (unsigned long long)r->number, r->attempt);

	va_start(list, format);
	n += vsnprintf(text + n, sizeof text - (size_t)n - 1, format, list);
	va_end(list);
	text[n++] = '\n';
	return vn_write(r->conn, text, (size_t)n);
}

/* N WHERE: dies there in the first N attempts. */
static int
request_crash(struct request *r)
{
	return answer(r, "survived");
}

static int
request_echo(struct request *r)
{
	return answer(r, "%s", r->argument);
}

static int
request_wait(struct request *r)
{
	int rc;

	printf("waiting\n");
	rc = vn_sleep(r->hub, atoi(r->argument) * VN_MS);
	return rc ? rc : answer(r, "waited");
}

/* N: hangs in the first N attempts, busy or not. */
static int
request_loop(struct request *r)
{
	while ((int)r->attempt <= atoi(r->argument))
		__asm__("" ::: "memory");
	return answer(r, "looped");
}

static int
request_block(struct request *r)
{
	while ((int)r->attempt <= atoi(r->argument))
		pause();
	return answer(r, "blocked");
}

/* N [WHERE]: an answer with so many bytes in it, without its line; dies there in the first attempt. */
static int
request_big(struct request *r)
{
	char text[1000];
	int rc = 0;

	memset(text, 'x', sizeof text);
	for (long left = atol(r->argument); left > 0 && rc == 0; left -= (long)sizeof text)
		rc = vn_write(r->conn, text, left < (long)sizeof text ? (size_t)left : sizeof text);
	return rc ? rc : answer(r, "big");
}

/* N: an answer of so many bytes, and the end. */
static int
request_close(struct request *r)
{
	request_big(r);
	return -1;
}

/* N: that many bytes follow, and belong to this request. */
static int
request_body(struct request *r)
{
	size_t left = (size_t)atol(r->argument), total = left;
	unsigned char data[4096];
	uint32_t sum = 0;
	int rc = vn_hold(r->conn);

	while (rc == 0 && left) {
		ssize_t n = vn_read(r->conn, data, left < sizeof data ? left : sizeof data);

		if (n <= 0)
			return n < 0 ? (int)n : -1;
		for (ssize_t i = 0; i < n; i++)
			sum = sum * 31 + data[i];
		left -= (size_t)n;
	}
	rc = rc ? rc : answer(r, "%zu %08x", total, sum);
	return rc ? rc : vn_commit(r->conn);
}

static const struct {
	const char *name;
	int (*run)(struct request *r);
} verbs[] = {
	{"echo", request_echo},
	{"crash", request_crash},
	{"wait", request_wait},
	{"loop", request_loop},
	{"block", request_block},
	{"body", request_body},
	{"big", request_big},
	{"close", request_close},
};

/* "verb argument", and where to die in this attempt. */
static void
parse(struct request *r)
{
	char *blank = strchr(r->line, ' '), *second;

	r->where = "";
	r->argument = "";
	if (!blank)
		return;
	*blank = '\0';
	r->argument = blank + 1;
	second = strchr(blank + 1, ' ');
	if (strcmp(r->line, "crash") == 0 && second && (int)r->attempt <= atoi(r->argument))
		r->where = second + 1;
	if (strcmp(r->line, "big") == 0 && second && r->attempt == 1)
		r->where = second + 1;
}

static int
run(struct request *r)
{
	bool commits;
	int rc;

	r->attempt = vn_conn_attempt(r->conn);
	parse(r);
	step(r, "taken");
	if (count(r) < 0)
		return -1;
	step(r, "counted");
	rc = -1;
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (strcmp(verbs[i].name, r->line) == 0)
			rc = verbs[i].run(r);
	step(r, "written");
	if (rc == 0 && strcmp(r->where, "published") == 0)
		rc = vn_sleep(r->hub, TURN);
	step(r, "published");
	commits = program.mode == HOLD || strcmp(r->where, "committed") == 0 ||
		  strcmp(r->where, "left") == 0;
	if (rc == 0 && commits)
		rc = vn_commit(r->conn);
	step(r, "committed");
	if (rc == 0 && strcmp(r->where, "left") == 0)
		rc = vn_sleep(r->hub, TURN);
	step(r, "left");
	return rc;
}

static int
serve(vn_hub *h, void *arg)
{
	struct request r = {.hub = h, .conn = arg};

	while (read_line(&r) > 0 && run(&r) == 0)
		;
	return vn_close(r.conn);
}

int
main(int argc, char **argv)
{
	unsigned int flags = VN_RESUMABLE;
	vn_hub *h = vn_hub_new();
	vn_rx *server;
	int option;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((option = getopt(argc, argv, "s:n")) > 0)
		if (option == 'n')
			flags = 0;
		else
			program.state_bytes = (size_t)atoi(optarg);
	if (argc - optind != 2)
		errx(2, "again [-s BYTES] [-n] MODE URL");
	while (program.mode < N_MODES && strcmp(modes[program.mode], argv[optind]) != 0)
		program.mode++;
	if (program.mode == N_MODES)
		errx(2, "%s is no mode", argv[optind]);
	server = vn_listen(h, argv[optind + 1], flags);
	if (!server)
		err(1, "%s", argv[optind + 1]);
	vn_serve(server, serve);
	vn_stop_on_term(h);
	vn_hub_free(h);
}
