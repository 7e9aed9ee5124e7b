/* SPDX-License-Identifier: MIT */
/*
 * Http - what is asked over HTTP is answered as RFC 9112 wants it, and nothing else is
 */
#include <netinet/tcp.h>

#include "broker/admin.h"
#include "broker/history.h"
#include "tests/unit/control.h"

#define HOST "Host: v\r\n"
#define END  " HTTP/1.1\r\n" HOST "\r\n"

#define HTTP_TEST_BYTES 16384

static int
status_of(const char *text)
{
	int status = 0;

	return sscanf(text, "HTTP/1.%*d %d ", &status) == 1 ? status : 0;
}

static const char *
body_of(const char *text)
{
	const char *body = strstr(text, "\r\n\r\n");

	ck_assert_ptr_nonnull(body);
	return body + 4;
}

/* The length is right, and the connection ends. */
static void
check_head(const char *text, bool is_head)
{
	const char *length = strstr(text, "\r\nContent-Length: ");

	ck_assert_ptr_nonnull(strstr(text, "\r\nConnection: close\r\n"));
	ck_assert_ptr_nonnull(length);
	if (!is_head)
		ck_assert_uint_eq(strtoul(length + strlen("\r\nContent-Length: "), NULL, 10),
			strlen(body_of(text)));
	else
		ck_assert_str_eq(body_of(text), "");
}

START_TEST(requests_are_answered_or_refused_for_a_reason)
{
	static const struct {
		const char *text;
		int status;
	} cases[] = {{"GET /metrics" END, 200}, {"GET /healthz" END, 200}, {"GET /readyz" END, 200},
		{"GET /metrics?x=y" END, 200}, {"GET /metrics HTTP/1.0\r\n\r\n", 200},
		{"GET /metrics HTTP/1.1\n" HOST "\n", 200}, {"HEAD /metrics" END, 200},
		{"GET /nothing" END, 404}, {"GET /metric" END, 404}, {"GET /metrics/" END, 404},
		{"GET //metrics" END, 404}, {"GET /metrics HTTP/1.1\r\n\r\n", 400},
		{"GET /metrics HTTP/1.1\r\n" HOST HOST "\r\n", 400}, {"GET /metrics\r\n\r\n", 400},
		{"GET  /metrics" END, 400}, {"GET metrics" END, 400},
		{"GET http://v/metrics" END, 400}, {"GET /met\001rics" END, 400},
		{"GET /m\303\244h" END, 400}, {"GET /a b" END, 400},
		{"GET /metrics HTTP/2.0\r\n" HOST "\r\n", 505},
		{"GET /metrics HTTP/1.10\r\n" HOST "\r\n", 505},
		{"GET /metrics HTTP/1.1\r\n" HOST " folded: x\r\n\r\n", 400},
		{"GET /metrics HTTP/1.1\r\n" HOST "nonsense\r\n\r\n", 400},
		{"GET /metrics HTTP/1.1\r\n" HOST "a b: c\r\n\r\n", 400},
		{"GET /metrics HTTP/1.1\r\n" HOST "a : c\r\n\r\n", 400},
		{"GET /metrics HTTP/1.1\r\n" HOST "a: \001\r\n\r\n", 400},
		{"GET /metrics HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 200},
		{"GET /metrics HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc", 400},
		{"GET /metrics HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 400},
		{"POST /metrics HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nstop", 405},
		{"GET /metrics HTTP/1.1\r\n" HOST, 400},
		{"GET /healthz HTTP/1.1\r\nhost:v\r\n\r\n", 200}};
	bench *k = opened();

	k->broker.phase = VN_PHASE_SERVING;
	k->broker.n_ready = 1;
	for (size_t i = 0; i < SUITE_COUNT(cases); i++) {
		ask(k, cases[i].text);
		ck_assert_msg(status_of(k->text) == cases[i].status, "'%s' got '%.20s'",
			cases[i].text, k->text);
		check_head(k->text, cases[i].text[0] == 'H');
	}
	bench_free(k);
}
END_TEST

START_TEST(it_is_ready_when_somebody_serves)
{
	bench *k = opened();

	k->broker.phase = VN_PHASE_SERVING;
	ck_assert_int_eq(status_of(ask(k, "GET /readyz" END)), 503);
	k->broker.n_ready = 1;
	ck_assert_int_eq(status_of(ask(k, "GET /readyz" END)), 200);
	k->broker.phase = VN_PHASE_DRAINING;
	ck_assert_int_eq(status_of(ask(k, "GET /readyz" END)), 503);
	ck_assert_ptr_nonnull(strstr(k->text, "draining"));
	ck_assert_int_eq(status_of(ask(k, "GET /healthz" END)), 200);
	bench_free(k);
}
END_TEST

START_TEST(what_is_too_long_is_refused)
{
	bench *k = opened();
	char *text = malloc(3 * HTTP_TEST_BYTES);
	size_t n;

	strcpy(text, "GET /");
	memset(text + 5, 'x', VN_LINE_BYTES);
	strcpy(text + 5 + VN_LINE_BYTES, END);
	ck_assert_int_eq(status_of(ask(k, text)), 414);
	strcpy(text, "GET /metrics HTTP/1.1\r\n" HOST "x: ");
	n = strlen(text);
	memset(text + n, 'x', VN_LINE_BYTES);
	strcpy(text + n + VN_LINE_BYTES, "\r\n\r\n");
	ck_assert_int_eq(status_of(ask(k, text)), 431);
	strcpy(text, "GET /metrics HTTP/1.1\r\n" HOST);
	for (int i = 0; i < 64; i++)
		strcat(text, "x: y\r\n");
	strcat(text, "\r\n");
	ck_assert_int_eq(status_of(ask(k, text)), 431);
	strcpy(text, "GET /metrics HTTP/1.1\r\n" HOST);
	for (int i = 0; i < 3; i++) {
		n = strlen(text);
		memset(text + n, 'a', 3000);
		strcpy(text + n + 3000, ": y\r\n");
	}
	strcat(text, "\r\n");
	ck_assert_int_eq(status_of(ask(k, text)), 431);
	free(text);
	bench_free(k);
}
END_TEST

START_TEST(a_request_that_never_ends_is_given_up)
{
	bench *k = opened();
	int fd = client(k);

	say(fd, "GET /metrics HTTP/1.1\r\nHost:");
	for (int i = 0; i < 100; i++)
		turn(k);
	k->ahead += 9 * VN_SEC;
	turn(k);
	say(fd, " v\r\nx:");
	for (int i = 0; i < 100; i++)
		turn(k);
	k->ahead += 2 * VN_SEC;
	ck_assert(hear_all(k, fd));
	ck_assert_int_eq(status_of(k->text), 408);
	close(fd);
	bench_free(k);
}
END_TEST

START_TEST(openmetrics_is_for_who_asks)
{
	bench *k = opened();

	ask(k, "GET /metrics HTTP/1.1\r\n" HOST
	       "accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\r\n");
	ck_assert_ptr_nonnull(
		strstr(k->text, "Content-Type: application/openmetrics-text; version=1.0.0"));
	ck_assert_str_eq(k->text + strlen(k->text) - 6, "# EOF\n");
	ck_assert_ptr_nonnull(strstr(k->text, "\n# TYPE vanilla_requests counter\n"));
	ask(k, "GET /metrics" END);
	ck_assert_ptr_nonnull(strstr(k->text, "Content-Type: text/plain; version=0.0.4"));
	ck_assert_ptr_null(strstr(k->text, "# EOF"));
	ck_assert_ptr_nonnull(strstr(k->text, "\n# TYPE vanilla_requests_total counter\n"));
	ck_assert_ptr_nonnull(
		strstr(k->text, "\nvanilla_worker_requests_total{worker=\"1\"} 99\n"));
	bench_free(k);
}
END_TEST

/* The body of a chunked answer, put together in place. */
static char *
unchunked(char *text)
{
	char *from = text, *to = text, *end;
	size_t n;

	while ((n = strtoul(from, &end, 16)) > 0) {
		ck_assert_mem_eq(end, "\r\n", 2);
		memmove(to, end + 2, n);
		to += n;
		from = end + 2 + n;
		ck_assert_mem_eq(from, "\r\n", 2);
		from += 2;
	}
	ck_assert_str_eq(end, "\r\n\r\n");
	*to = '\0';
	return text;
}

START_TEST(status_is_everything_however_much_that_is)
{
	bench *k = opened();
	json_t *all;
	char *body;

	fill_conns(k, N_MANY);
	ask(k, "GET /status" END);
	ck_assert_ptr_nonnull(strstr(k->text, "\r\nTransfer-Encoding: chunked\r\n"));
	body = unchunked(strstr(k->text, "\r\n\r\n") + 4);
	all = json_loads(body, 0, NULL);
	ck_assert_ptr_nonnull(all);
	ck_assert_uint_eq(json_array_size(json_object_get(all, "conns")), N_MANY);
	ck_assert_uint_eq(json_array_size(json_object_get(all, "workers")), 1);
	ck_assert_str_eq(
		json_string_value(json_object_get(json_object_get(all, "info"), "name")), "shop");
	json_decref(all);
	ask(k, "GET /status HTTP/1.0\r\n\r\n");
	ck_assert_ptr_null(strstr(k->text, "chunked"));
	all = json_loads(body_of(k->text), 0, NULL);
	ck_assert_ptr_nonnull(all);
	json_decref(all);
	ask(k, "HEAD /status" END);
	ck_assert_str_eq(body_of(k->text), "");
	bench_free(k);
}
END_TEST

/* Whoever draws the last minutes has them in pieces, and others are served in between. */
START_TEST(history_is_told_bit_by_bit)
{
	static char text[1 << 17];
	bench *k = opened();
	int slow = client(k), quick = client(k);
	uint32_t n_pings = 0;
	size_t len = 0;
	json_t *all;
	ssize_t n;

	k->broker.history = vn_history_new(&k->broker);
	for (int i = 0; i < VN_HISTORY + 5; i++)
		vn_history_take(k->broker.history);
	say(slow, "GET /history?after=2 HTTP/1.0\r\n\r\n");
	do {
		say(quick, "ping\n");
		hear(k, quick, "OK\n\n");
		n_pings++;
		n = recv(slow, text + len, sizeof text - 1 - len, 0);
		ck_assert(n >= 0 || errno == EAGAIN);
		len += n > 0 ? (size_t)n : 0;
	} while (n != 0);
	text[len] = '\0';
	ck_assert_uint_ge(n_pings, 10);
	all = json_loads(body_of(text), 0, NULL);
	ck_assert_ptr_nonnull(all);
	ck_assert_uint_eq(json_array_size(json_object_get(all, "samples")), VN_HISTORY);
	json_decref(all);
	close(slow);
	close(quick);
	k->broker.history = vn_history_free(k->broker.history);
	bench_free(k);
}
END_TEST

START_TEST(commands_may_come_before_and_nothing_after)
{
	bench *k = opened();

	ask(k, "ping\nGET /healthz" END "ping\n");
	ck_assert_int_eq(strncmp(k->text, "OK\n\nHTTP/1.1 200 OK\r\n", 21), 0);
	ck_assert_str_eq(body_of(k->text), "ok\n");
	bench_free(k);
}
END_TEST

START_TEST(a_client_of_the_page_speaks_http_alone)
{
	bench *k = opened();
	int pair[2], listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static const char *const wrong[][2] = {{"stop\n", "400"},
		{"POST / HTTP/1.1\r\n" HOST "\r\n", "405"}, {"\r\n", "400"}, {"\r\n\r\n", "400"}};

	k->broker.admin = vn_control_listen(&k->broker, listener, true);
	ck_assert_ptr_nonnull(k->broker.admin);
	for (size_t i = 0; i < SUITE_COUNT(wrong); i++) {
		ck_assert_int_eq(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			0);
		ck_assert_int_eq(vn_client_open(k->broker.admin, pair[0]), 0);
		say(pair[1], wrong[i][0]);
		shutdown(pair[1], SHUT_WR);
		ck_assert(hear_all(k, pair[1]));
		ck_assert_int_eq(status_of(k->text), atoi(wrong[i][1]));
		close(pair[1]);
	}
	ck_assert_int_eq(k->broker.phase, VN_PHASE_STARTING);
	for (int i = 0; i < 1000 && k->broker.admin->n_clients > 0; i++)
		turn(k);
	ck_assert_uint_eq(k->broker.admin->n_clients, 0);
	vn_admin_close(&k->broker);
	bench_free(k);
}
END_TEST

START_TEST(the_kernel_is_to_notice_when_the_machine_of_a_client_is_gone)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 0, idle = 0;
	bench *k = opened();

	k->n_fds += k->n_fds >= 0 ? -2 : 0; /* those that are open already */
	ck_assert_int_eq(bind(listener, (void *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (void *)&address, &len), 0);
	k->broker.admin = vn_control_listen(&k->broker, listener, true);
	ck_assert_ptr_nonnull(k->broker.admin);
	ck_assert_int_eq(connect(fd, (void *)&address, sizeof address), 0);
	for (int i = 0; i < 1000 && k->broker.admin->n_clients == 0; i++)
		turn(k);
	ck_assert_uint_eq(k->broker.admin->n_clients, 1);
	len = sizeof on;
	getsockopt(k->broker.admin->clients->fd, SOL_SOCKET, SO_KEEPALIVE, &on, &len);
	getsockopt(k->broker.admin->clients->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, &len);
	ck_assert_int_eq(on, 1);
	ck_assert_int_eq(idle, 60);
	close(fd);
	for (int i = 0; i < 1000 && k->broker.admin->n_clients > 0; i++)
		turn(k);
	vn_admin_close(&k->broker);
	bench_free(k);
}
END_TEST

START_TEST(who_is_in_the_middle_of_an_answer_ends_with_the_broker)
{
	bench *k = opened();
	static const char *const asked[] = {
		"GET /status" END, "GET /metrics" END, "GET /met", "GET /history" END};
	int fds[4];

	k->broker.history = vn_history_new(&k->broker);
	for (int i = 0; i < VN_HISTORY; i++)
		vn_history_take(k->broker.history);
	fill_conns(k, N_MANY);
	for (int i = 0; i < 4; i++) {
		fds[i] = client(k);
		say(fds[i], asked[i]);
	}
	for (int i = 0; i < 30; i++)
		turn(k);
	k->broker.history = vn_history_free(k->broker.history);
	vn_counters_close(k->broker.counters);
	k->broker.counters = NULL;
	vn_control_close(&k->broker);
	for (int i = 0; i < 4; i++) {
		ck_assert(hear_all(k, fds[i]));
		close(fds[i]);
	}
	bench_free(k);
}
END_TEST

START_TEST(an_admin_url_is_for_this_machine_unless_it_says_otherwise)
{
	static const struct {
		const char *url;
		bool good;
	} cases[] = {{"http://127.0.0.1:9070", true}, {"http://127.0.0.1:9070/", true},
		{"http://127.9.9.9:1", true}, {"http://[::1]:9070", true},
		{"http://0.0.0.0:9070", false}, {"http://0.0.0.0:9070?public", true},
		{"http://0.0.0.0:9070/?public", true}, {"http://[::]:9070", false},
		{"http://[::]:9070?public", true}, {"http://10.0.0.1:9070", false},
		{"https://127.0.0.1:9070", false}, {"tcp://127.0.0.1:9070", false},
		{"127.0.0.1:9070", false}, {"http://127.0.0.1", false}, {"http://", false},
		{"http://127.0.0.1:9070?publicly", false}, {"", false}};
	vn_endpoint e;
	char why[256];

	for (size_t i = 0; i < SUITE_COUNT(cases); i++) {
		why[0] = '\0';
		ck_assert_msg((vn_admin_parse(&e, cases[i].url, why) == 0) == cases[i].good,
			"'%s': %s", cases[i].url, why);
		if (!cases[i].good)
			ck_assert_str_ne(why, "");
	}
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		requests_are_answered_or_refused_for_a_reason,
		it_is_ready_when_somebody_serves,
		what_is_too_long_is_refused,
		a_request_that_never_ends_is_given_up,
		openmetrics_is_for_who_asks,
		status_is_everything_however_much_that_is,
		history_is_told_bit_by_bit,
		commands_may_come_before_and_nothing_after,
		a_client_of_the_page_speaks_http_alone,
		the_kernel_is_to_notice_when_the_machine_of_a_client_is_gone,
		who_is_in_the_middle_of_an_answer_ends_with_the_broker,
		an_admin_url_is_for_this_machine_unless_it_says_otherwise,
	};

	return suite_run("broker_http", tests, SUITE_COUNT(tests));
}
