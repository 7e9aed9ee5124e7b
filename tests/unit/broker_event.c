/* SPDX-License-Identifier: MIT */
/*
 * Event - what is remembered of what happened, and those who follow
 */
#include "broker/event.h"
#include "tests/unit/control.h"

static void
happen(bench *k, int n)
{
	for (int i = 0; i < n; i++)
		vn_event(&k->broker, VN_EVENT_WORKER_READY, (vn_about){.worker = k->worker},
			"event %d", i + 1);
}

START_TEST(events_have_fields_and_are_lines_of_the_log)
{
	bench *k = opened();
	json_t *event;

	fill_conns(k, 2);
	vn_record_at(k->broker.ledger, 1)->endpoint = 0;
	vn_event(&k->broker, VN_EVENT_CONN_RESET,
		(vn_about){.conn = vn_record_at(k->broker.ledger, 1)}, "it \x01 is over");
	ck_assert_str_eq(k->said, "it ? is over");
	event = ask_json(k, "events json\n");
	ck_assert_int_eq(json_integer_value(json_object_get(event, "id")), 1);
	ck_assert_str_eq(json_string_value(json_object_get(event, "kind")), "conn_reset");
	ck_assert_str_eq(json_string_value(json_object_get(event, "level")), "debug");
	ck_assert_str_eq(json_string_value(json_object_get(event, "worker")), "1.7");
	ck_assert_str_eq(
		json_string_value(json_object_get(event, "listener")), "tcp://127.0.0.1:0");
	ck_assert_int_eq(json_integer_value(json_object_get(event, "conn")),
		(json_int_t)vn_record_at(k->broker.ledger, 1)->id);
	json_decref(event);
	ask(k, "events last 0\n");
	ck_assert_msg(strstr(k->text, "OK\n\n") == strchr(k->text, '\n') + 1, "%s", k->text);
	ck_assert_str_eq(ask(k, "events laast\n"), "ERR usage events [-f] [last N] [json]\n\n");
	ck_assert_str_eq(ask(k, "events last x\n"), "ERR usage events [-f] [last N] [json]\n\n");
	ck_assert_str_eq(ask(k, "events last\n"), "ERR usage events [-f] [last N] [json]\n\n");
	bench_free(k);
}
END_TEST

START_TEST(the_ring_remembers_the_last_events)
{
	bench *k = opened();

	happen(k, VN_EVENTS + 3);
	ask(k, "events json\n");
	ck_assert_ptr_null(strstr(k->text, "\"event 3\""));
	ck_assert_ptr_nonnull(strstr(k->text, "\"event 4\""));
	ask(k, "events last 2 json\n");
	ck_assert_ptr_null(strstr(k->text, "\"event 513\""));
	ck_assert_ptr_nonnull(strstr(k->text, "\"event 514\""));
	ck_assert_ptr_nonnull(strstr(k->text, "\"event 515\""));
	ck_assert_ptr_null(vn_events_at(&k->broker, 3));
	ck_assert_ptr_null(vn_events_at(&k->broker, VN_EVENTS + 4));
	bench_free(k);
}
END_TEST

START_TEST(events_are_followed_until_the_client_says_more)
{
	bench *k = opened();
	int fd = client(k);

	happen(k, 12);
	say(fd, "events -f json\n");
	hear(k, fd, "\"event 12\"}\n");
	ck_assert_ptr_null(strstr(k->text, "\"event 2\"")); /* the last ten */
	ck_assert_ptr_nonnull(strstr(k->text, "\"event 3\""));
	happen(k, 1);
	hear(k, fd, "\"event 1\"}\n");
	say(fd, "ping\n");
	hear(k, fd, "OK\n\nOK\n\n");
	happen(k, 1);
	say(fd, "version\n");
	hear(k, fd, "\nOK\n\n");
	ck_assert_str_eq(k->text, "vanilla " VN_VERSION "\nOK\n\n");
	close(fd);
	bench_free(k);
}
END_TEST

START_TEST(a_follower_may_be_quiet_for_long_and_is_noticed_when_it_leaves)
{
	bench *k = opened();
	int fd = client(k);

	say(fd, "events -f last 0\n");
	shutdown(fd, SHUT_WR); /* as `echo events -f | socat` does */
	hear(k, fd, "text\n");
	k->ahead += 3600 * VN_SEC;
	happen(k, 1);
	hear(k, fd, "event 1\n");
	close(fd);
	for (int i = 0; i < TURNS && k->broker.control->n_clients > 0; i++)
		turn(k);
	ck_assert_uint_eq(k->broker.control->n_clients, 0);
	bench_free(k);
}
END_TEST

START_TEST(a_slow_follower_is_told_what_it_missed)
{
	bench *k = opened();
	int fd = client(k);
	long long told = 0, missed = 0;
	char *at;

	say(fd, "events -f last 0 json\n");
	for (int i = 0; i < 100; i++)
		turn(k);
	for (int i = 0; i < 40; i++) { /* more than the ring, its buffers and the socket hold */
		happen(k, 200);
		turn(k);
	}
	say(fd, "ping\n");
	hear(k, fd, "OK\n\nOK\n\n");
	for (at = k->text; (at = strstr(at, "\"id\"")); at++)
		told++;
	for (at = k->text; (at = strstr(at, "{\"missed\": ")); at++)
		missed += atoll(at + 11);
	ck_assert_int_gt(missed, 0);
	ck_assert_int_eq(told + missed, 8000);
	close(fd);
	bench_free(k);
}
END_TEST

/* Who holds a terminal still is reading, wherever in an answer that was. */
START_TEST(a_follower_may_pause)
{
	for (int n = 1; n < 30; n++) {
		bench *k = opened();
		int fd = client(k), small = 1;

		say(fd, "events -f last 0\n");
		hear(k, fd, "text\n");
		setsockopt(k->broker.control->clients->fd, SOL_SOCKET, SO_SNDBUF, &small,
			sizeof small);
		happen(k, 100 + n);
		for (int i = 0; i < 50; i++)
			turn(k);
		k->ahead += 6 * VN_CLIENT_STUCK;
		for (int i = 0; i < 50; i++)
			turn(k);
		happen(k, 600);
		hear(k, fd, "event 600\n");
		ck_assert_ptr_nonnull(strstr(k->text, "events were missed\n"));
		close(fd);
		bench_free(k);
	}
}
END_TEST

START_TEST(storms_of_connections_are_counted)
{
	bench *k = opened();
	char *at;
	int n = 0;

	for (int i = 0; i < 5000; i++)
		vn_event(&k->broker, VN_EVENT_CONN_RESET, (vn_about){0}, "one");
	vn_event(&k->broker, VN_EVENT_LIMIT, (vn_about){0}, "other");
	k->ahead += VN_SEC;
	for (int i = 0; i < 10; i++)
		turn(k);
	ask(k, "events json\n");
	for (at = k->text; (at = strstr(at, "\"one\"")); at++)
		n++;
	ck_assert_int_eq(n, VN_EVENTS_MANY);
	ck_assert_ptr_nonnull(strstr(k->text, "\"other\""));
	ck_assert_ptr_nonnull(strstr(k->text, "and 4968 more events conn_reset within a second"));
	vn_event(&k->broker, VN_EVENT_CONN_RESET, (vn_about){0}, "after");
	ck_assert_ptr_nonnull(strstr(ask(k, "events json\n"), "\"after\""));
	bench_free(k);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		events_have_fields_and_are_lines_of_the_log,
		the_ring_remembers_the_last_events,
		events_are_followed_until_the_client_says_more,
		a_follower_may_be_quiet_for_long_and_is_noticed_when_it_leaves,
		a_slow_follower_is_told_what_it_missed,
		a_follower_may_pause,
		storms_of_connections_are_counted,
	};

	return suite_run("broker_event", tests, SUITE_COUNT(tests));
}
