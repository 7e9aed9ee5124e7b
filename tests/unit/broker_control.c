/* SPDX-License-Identifier: MIT */
/*
 * Control - the control socket over a broker that was filled by hand (control.h)
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/control.h"

START_TEST(small_commands_are_answered)
{
	bench *k = opened();

	ck_assert_str_eq(ask(k, "ping\n"), "OK\n\n");
	ck_assert_str_eq(ask(k, "version\n"), "vanilla " VN_VERSION "\nOK\n\n");
	ck_assert_str_eq(ask(k, "quit\nping\n"), "OK\n\n");
	ask(k, "help\n");
	ck_assert_ptr_nonnull(
		strstr(k->text, "\n  show conns [active] [worker ID] [listener NAME] [limit N]"));
	ck_assert_ptr_nonnull(strstr(k->text, "\n  stop [now]"));
	bench_free(k);
}
END_TEST

START_TEST(lines_may_end_in_any_way_and_blank_ones_are_nothing)
{
	bench *k = opened();

	ck_assert_str_eq(ask(k, "ping"), "OK\n\n");
	ck_assert_str_eq(ask(k, "ping\r\n"), "OK\n\n");
	ck_assert_str_eq(ask(k, "\n\n ; ;;\n  ping  \n"), "OK\n\n");
	ck_assert_str_eq(ask(k, ""), "");
	bench_free(k);
}
END_TEST

START_TEST(each_command_of_a_batch_has_its_own_result)
{
	bench *k = opened();

	ck_assert_str_eq(ask(k, "ping;version ; nonsense;ping\nping"),
		"OK\n\nvanilla " VN_VERSION "\nOK\n\n"
		"ERR unknown no command 'nonsense'; try help\n\nOK\n\nOK\n\n");
	ck_assert_str_eq(ask(k, "ping;quit;ping\n"), "OK\n\nOK\n\n");
	bench_free(k);
}
END_TEST

START_TEST(what_cannot_be_is_told_apart)
{
	static const char *const bad[][2] = {{"nonsense", "ERR unknown "}, {"show", "ERR usage "},
		{"show nonsense", "ERR usage "}, {"show worker 99", "ERR usage "},
		{"ping pong", "ERR usage "}, {"show conns limit x", "ERR usage "},
		{"show conns limit -1", "ERR usage "}, {"show conns limit", "ERR usage "},
		{"show conns worker 3", "ERR usage "}, {"show conns worker 0", "ERR usage "},
		{"show conns worker 1.x", "ERR usage "}, {"show conns worker", "ERR usage "},
		{"show conns listener tcp://x:1", "ERR usage "}, {"show workers xml", "ERR usage "},
		{"show workers limit 3", "ERR usage "}, {"stop later", "ERR usage "},
		{"show worker", "ERR usage "}, {"show worker x", "ERR usage "},
		{"show worker 1 last", "ERR usage "}, {"show worker 1 last x", "ERR usage "},
		{"show worker 1 first 3", "ERR usage "}, {"show worker 1.6", "ERR usage "},
		{"scale", "ERR usage "}, {"scale x", "ERR usage "}, {"scale -1", "ERR usage "},
		{"scale 1 2", "ERR usage "}, {"scale 2", "ERR refused "},
		{"reload", "ERR refused "}, {"worker", "ERR usage "},
		{"worker hug 1", "ERR usage "}, {"worker drain", "ERR usage "},
		{"worker drain 2", "ERR usage "}, {"worker restart 1.6", "ERR usage "},
		{"worker restart 1.7", "ERR refused "}, {"worker kill 0", "ERR usage "},
		{"worker add", "ERR refused "}, {"a b c d e f g h i j k l m n o p q", "ERR usage "},
		{"\001\033[2J", "ERR unknown "}};
	bench *k = opened();

	for (size_t i = 0; i < SUITE_COUNT(bad); i++) {
		const char *text = ask(k, bad[i][0]);

		ck_assert_msg(strncmp(text, bad[i][1], strlen(bad[i][1])) == 0, "%s: %s", bad[i][0],
			text);
		ck_assert_msg(
			strstr(text, "\n") == text + strlen(text) - 2, "%s: %s", bad[i][0], text);
		ck_assert_ptr_null(strchr(text, '\033'));
	}
	ck_assert_int_eq(k->broker.phase, VN_PHASE_STARTING);
	bench_free(k);
}
END_TEST

/* "resets_total.linger" is a member of an object; how many names has the object, where it begins? */
static size_t
name_known(const json_t *one, const char *what, char *name, json_t **home)
{
	char *dot = strchr(name, '.');
	json_t *inner = NULL;

	if (dot) {
		*dot = '\0';
		inner = json_object_get(one, name);
	}
	ck_assert_msg(json_object_get(dot ? inner : one, dot ? dot + 1 : name), "%s has no %s",
		what, name);
	if (dot && inner == *home)
		return 0;
	*home = inner;
	return 1;
}

START_TEST(text_and_json_have_the_same_names)
{
	static const char *const whats[] = {"workers", "listeners", "conns", "lanes"};
	bench *k = opened();
	char line[64];

	fill_conns(k, 3);
	for (size_t i = 0; i < SUITE_COUNT(whats); i++) {
		json_t *document, *one, *home = NULL;
		size_t n_rows = 0, n_names = 0;
		char *names, *rest;

		snprintf(line, sizeof line, "show %s json", whats[i]);
		document = ask_json(k, line);
		one = json_array_get(json_object_get(document, whats[i]), 0);
		ask(k, (snprintf(line, sizeof line, "show %s", whats[i]), line));
		for (char *p = k->text; (p = strchr(p, '\n')); p++)
			n_rows++;
		ck_assert_uint_eq(
			n_rows, 1 + json_array_size(json_object_get(document, whats[i])) + 2);
		names = strtok_r(k->text, "\n", &rest);
		for (char *name = strtok_r(names, " ", &rest); one && name;
			name = strtok_r(NULL, " ", &rest))
			n_names += name_known(one, whats[i], name, &home);
		if (one)
			ck_assert_uint_eq(n_names, json_object_size(one));
		json_decref(document);
	}
	bench_free(k);
}
END_TEST

static const char *
member(json_t *document, const char *array, size_t i, const char *name)
{
	json_t *value = json_object_get(json_array_get(json_object_get(document, array), i), name);

	return json_is_string(value) ? json_string_value(value) : "none";
}

static long long
number(json_t *document, const char *array, size_t i, const char *name)
{
	json_t *value = json_object_get(json_array_get(json_object_get(document, array), i), name);

	return json_is_integer(value) ? json_integer_value(value) : -1;
}

START_TEST(shown_values_are_true)
{
	bench *k = opened();
	json_t *d;

	fill_conns(k, 2);
	d = ask_json(k, "show workers json");
	ck_assert_uint_eq(json_array_size(json_object_get(d, "workers")), 1);
	ck_assert_str_eq(member(d, "workers", 0, "id"), "1.7");
	ck_assert_int_eq(number(d, "workers", 0, "pid"), 4242);
	ck_assert_str_eq(member(d, "workers", 0, "state"), "ready");
	ck_assert_int_eq(number(d, "workers", 0, "requests_total"), 99);
	ck_assert_str_eq(member(d, "workers", 0, "last_death"), "killed by signal 9");
	json_decref(d);
	d = ask_json(k, "show listeners json");
	ck_assert_str_eq(member(d, "listeners", 0, "name"), "tcp://127.0.0.1:0");
	ck_assert_str_eq(member(d, "listeners", 0, "url"), "tcp://127.0.0.1:7000");
	ck_assert_int_eq(number(d, "listeners", 0, "workers"), 1);
	json_decref(d);
	d = ask_json(k, "show conns json");
	ck_assert_str_eq(member(d, "conns", 0, "id"), "1");
	ck_assert_str_eq(member(d, "conns", 0, "worker"), "none");
	ck_assert_str_eq(member(d, "conns", 0, "state"), "waiting");
	ck_assert_str_eq(member(d, "conns", 1, "worker"), "1.7");
	ck_assert_str_eq(member(d, "conns", 1, "peer"), "127.0.0.1:1001");
	ck_assert_int_eq(number(d, "conns", 1, "unacked_bytes"), 20);
	ck_assert_int_eq(number(d, "conns", 1, "unsent_bytes"), 5);
	json_decref(d);
	bench_free(k);
}
END_TEST

START_TEST(info_is_one_object)
{
	bench *k = opened();
	json_t *d;

	k->broker.count->n_resets[VN_RESET_LINGER] = 5;
	free(k->config.name);
	k->config.name = strdup("sh\xffop \"x\""); /* no UTF-8 */
	d = ask_json(k, "show info json");
	ck_assert_str_eq(json_string_value(json_object_get(d, "name")), "sh?op \"x\"");
	ck_assert_int_eq(json_integer_value(json_object_get(d, "pid")), getpid());
	ck_assert_int_eq(
		json_integer_value(json_object_get(json_object_get(d, "resets_total"), "linger")),
		5);
	ck_assert_uint_eq(json_object_size(json_object_get(d, "resets_total")), VN_N_RESET_REASONS);
	for (int i = 0; i < VN_N_RESET_REASONS; i++)
		ck_assert_ptr_nonnull(json_object_get(
			json_object_get(d, "resets_total"), vn_reset_reason_name(i)));
	json_decref(d);
	ask(k, "show info");
	ck_assert_ptr_nonnull(strstr(k->text, "\nresets_total.linger             5\n"));
	ck_assert_ptr_nonnull(strstr(k->text, "\nphase                           starting\n"));
	bench_free(k);
}
END_TEST

static void
peer_is(bench *k, const char *wanted)
{
	json_t *d = ask_json(k, "show conns limit 1 json");

	ck_assert_str_eq(member(d, "conns", 0, "peer"), wanted);
	json_decref(d);
}

START_TEST(errors_happened_when_they_happened)
{
	bench *k = opened();
	json_t *d;

	k->broker.count->n_resets[VN_RESET_BY_OPERATOR] = 1;
	k->broker.reset_times[VN_RESET_BY_OPERATOR][0] =
		k->broker.reset_times[VN_RESET_BY_OPERATOR][1] = (uint64_t)k->broker.hub->now;
	d = ask_json(k, "show errors json\n");
	ck_assert_str_eq(member(d, "errors", 0, "first"), member(d, "errors", 0, "last"));
	k->ahead += 60 * VN_SEC;
	ask(k, "show errors json\n");
	ck_assert_ptr_nonnull(strstr(k->text, member(d, "errors", 0, "first")));
	json_decref(d);
	bench_free(k);
}
END_TEST

START_TEST(peers_of_each_family_are_named)
{
	bench *k = opened();
	vn_desc_peer *peer;
	const uint32_t ids[] = {77, 1000, 5};

	fill_conns(k, 1);
	peer = &vn_record_at(k->broker.ledger, 0)->peer;
	peer_is(k, "127.0.0.1:1000");
	*peer = (vn_desc_peer){.family = AF_INET6, .port = htons(1), .addr = {[15] = 1}};
	peer_is(k, "[::1]:1");
	peer->addr[0] = 0xfe, peer->addr[1] = 0x80, peer->scope = 2;
	peer_is(k, "[fe80::1%2]:1");
	*peer = (vn_desc_peer){.family = AF_UNIX};
	memcpy(peer->addr, ids, sizeof ids);
	peer_is(k, "unix:77/1000");
	bench_free(k);
}
END_TEST

static size_t
count_conns(bench *k, const char *line)
{
	json_t *d = ask_json(k, line);
	size_t n = json_array_size(json_object_get(d, "conns"));

	json_decref(d);
	return n;
}

START_TEST(connections_can_be_narrowed)
{
	bench *k = opened();

	fill_conns(k, 100);
	vn_ledger_give(k->broker.ledger, 3);
	ck_assert_uint_eq(count_conns(k, "show conns json"), 99);
	ck_assert_uint_eq(count_conns(k, "show conns limit 7 json"), 7);
	ck_assert_uint_eq(count_conns(k, "show conns limit 0 json"), 0);
	ck_assert_uint_eq(count_conns(k, "show conns worker 1 json"), 49);
	ck_assert_uint_eq(count_conns(k, "show conns worker 1.7 limit 60 json"), 49);
	ck_assert_uint_eq(count_conns(k, "show conns worker 1.6 json"), 0);
	ck_assert_uint_eq(count_conns(k, "show conns worker 2 json"), 0);
	ck_assert_uint_eq(count_conns(k, "show conns listener tcp://127.0.0.1:0 json"), 99);
	ck_assert_uint_eq(
		count_conns(k, "show conns limit 9 listener tcp://127.0.0.1:7000 json"), 9);
	bench_free(k);
}
END_TEST

START_TEST(ten_thousand_connections_are_shown_while_they_come_and_go)
{
	bench *k = opened();
	int fd = client(k);
	size_t n;
	char *p;

	fill_conns(k, N_MANY);
	say(fd, "show conns json; show conns\n");
	for (int i = 0; i < 20; i++)
		turn(k);
	/* nobody has read yet: what is made waits in the socket and in a buffer of fixed size */
	for (uint32_t i = 5000; i < N_MANY; i++)
		vn_ledger_give(k->broker.ledger, i);
	shutdown(fd, SHUT_WR);
	ck_assert(hear_all(k, fd));
	close(fd);
	p = strstr(k->text, "]}\nOK\n\n");
	ck_assert_ptr_nonnull(p);
	n = 0;
	for (const char *q = k->text; q < p && (q = strstr(q, "\"id\": \"")) && q < p; q++)
		n++;
	ck_assert_uint_ge(n, 5000);
	ck_assert_uint_le(n, N_MANY);
	n = 0;
	for (p += strlen("]}\nOK\n\n"); (p = strchr(p, '\n')); p++)
		n++;
	ck_assert_uint_eq(n, 1 + 5000 + 2);
	bench_free(k);
}
END_TEST

START_TEST(others_are_served_while_a_long_answer_is_made)
{
	bench *k = opened();
	int slow = client(k), quick = client(k);
	uint32_t n_pings = 0;
	ssize_t n;

	fill_conns(k, N_MANY);
	say(slow, "show conns json\n");
	do {
		say(quick, "ping\n");
		hear(k, quick, "OK\n\n");
		n_pings++;
		n = recv(slow, k->text, TEXT_BYTES - 1, 0);
		ck_assert(n > 0 || errno == EAGAIN);
	} while (n < 4 || memcmp(k->text + n - 4, "OK\n\n", 4) != 0);
	ck_assert_uint_ge(n_pings, 10);
	close(slow);
	close(quick);
	bench_free(k);
}
END_TEST

/* Until nothing more is sent to one who does not read. */
static void
fill_up(bench *k, int fd)
{
	int n = 0, last = -1, n_same = 0;

	for (int i = 0; i < TURNS && n_same < 500; i++) {
		turn(k);
		ck_assert_int_eq(ioctl(fd, FIONREAD, &n), 0);
		n_same = n > 0 && n == last ? n_same + 1 : 0;
		last = n;
	}
	ck_assert_int_ge(n_same, 500);
}

START_TEST(who_does_not_read_is_sent_away_and_costs_no_memory)
{
	bench *k = opened();
	int silent = client(k), other = client(k);
	char junk[64];
	ssize_t n;

	fill_conns(k, N_MANY);
	for (int i = 0; i < 50; i++) {
		while ((n = send(silent, "show conns json\n", 16, MSG_NOSIGNAL)) > 0)
			;
		turn(k);
	}
	ck_assert_int_eq(errno, EAGAIN); /* its commands are not read any more */
	fill_up(k, silent);
	say(other, "ping\n");
	hear(k, other, "OK\n\n");
	ck_assert_uint_eq(k->broker.control->n_clients, 2);
	k->ahead += VN_CLIENT_STUCK + VN_SEC;
	for (int i = 0; i < TURNS && k->broker.control->n_clients > 1; i++)
		turn(k);
	ck_assert_uint_eq(k->broker.control->n_clients, 1);
	while ((n = recv(silent, junk, sizeof junk, 0)) > 0)
		;
	ck_assert(n == 0 || errno == ECONNRESET);
	say(other, "ping\n");
	hear(k, other, "OK\n\n");
	close(silent);
	close(other);
	bench_free(k);
}
END_TEST

START_TEST(slow_progress_is_progress)
{
	bench *k = opened();
	int fd = client(k);
	size_t len = 0;

	fill_conns(k, N_MANY);
	say(fd, "show conns json\n");
	for (int i = 0; i < TURNS; i++) {
		ssize_t n = recv(fd, k->text + len, 20000, 0);

		len += n > 0 ? (size_t)n : 0;
		k->text[len] = '\0';
		if (len > 4 && strcmp(k->text + len - 4, "OK\n\n") == 0)
			break;
		for (int j = 0; j < 5; j++)
			turn(k);
		k->ahead += VN_CLIENT_STUCK / 4; /* in all far longer than anybody may be stuck */
	}
	ck_assert_str_eq(k->text + len - 8, "\n]}\nOK\n\n");
	close(fd);
	bench_free(k);
}
END_TEST

START_TEST(who_says_nothing_for_long_is_sent_away)
{
	bench *k = opened();
	int fd = client(k), dribbler = client(k);

	say(dribbler, "pi");
	for (int i = 0; i < 4; i++) {
		for (int j = 0; j < 50; j++)
			turn(k);
		ck_assert_uint_eq(k->broker.control->n_clients, 2);
		say(dribbler, "n");
		k->ahead += VN_CLIENT_IDLE / 4 + VN_SEC;
	}
	for (int i = 0; i < TURNS && k->broker.control->n_clients > 0; i++)
		turn(k);
	ck_assert_uint_eq(k->broker.control->n_clients, 0);
	close(fd);
	close(dribbler);
	bench_free(k);
}
END_TEST

START_TEST(clients_are_limited_and_leave_room_when_they_go)
{
	bench *k = opened();
	int fds[VN_CLIENTS_MAX], last;

	for (int i = 0; i < VN_CLIENTS_MAX; i++) {
		fds[i] = client(k);
		say(fds[i], "ping\n");
		hear(k, fds[i], "OK\n\n");
	}
	last = client(k);
	say(last, "ping\n");
	ck_assert(hear_all(k, last));
	ck_assert_str_eq(
		k->text, "ERR limit 64 clients are connected already; try again later\n\n");
	close(last);
	for (int i = 0; i < VN_CLIENTS_MAX; i++)
		close(fds[i]); /* and at once, before the broker could see it: */
	ck_assert_str_eq(ask(k, "ping\n"), "OK\n\n");
	bench_free(k);
}
END_TEST

START_TEST(a_line_has_a_limit)
{
	bench *k = opened();
	char *line = malloc(VN_LINE_BYTES + 3);
	int fd = client(k);

	memset(line, 'x', VN_LINE_BYTES + 2);
	memcpy(line, "ping ", 5);
	line[VN_LINE_BYTES - 1] = '\n';
	line[VN_LINE_BYTES] = '\0';
	ask(k, line);
	ck_assert_ptr_nonnull(strstr(k->text, "ERR usage ping takes no argument"));
	line[VN_LINE_BYTES - 1] = 'x';
	say(fd, line);
	ck_assert(hear_all(k, fd));
	ck_assert_str_eq(k->text, "ERR limit a line has at most 4095 bytes\n\n");
	close(fd);
	free(line);
	bench_free(k);
}
END_TEST

START_TEST(garbage_harms_nobody)
{
	bench *k = opened();
	char garbage[3000];
	uint64_t seed = 12345;

	for (int round = 0; round < 50; round++) {
		int fd = client(k);

		for (size_t i = 0; i < sizeof garbage; i++)
			garbage[i] = (char)suite_random(&seed);
		ck_assert_int_gt(send(fd, garbage, sizeof garbage, MSG_NOSIGNAL), 0);
		if (round % 2)
			shutdown(fd, SHUT_WR);
		turn(k);
		close(fd);
	}
	ck_assert_str_eq(ask(k, "ping\n"), "OK\n\n");
	bench_free(k);
}
END_TEST

START_TEST(stop_is_answered_before_it_happens)
{
	bench *k = opened();

	k->broker.n_slots = 0; /* no workers that would have to be stopped */
	ck_assert_str_eq(ask(k, "stop\n"), "stopping\nOK\n\n");
	ck_assert_int_ge(k->broker.phase, VN_PHASE_DRAINING);
	ck_assert(k->broker.is_over);
	bench_free(k);
}
END_TEST

START_TEST(stop_is_obeyed_even_if_nobody_waits_for_the_answer)
{
	bench *k = opened();
	int fd = client(k);

	k->broker.n_slots = 0;
	say(fd, "stop now\n");
	close(fd);
	for (int i = 0; i < TURNS && !k->broker.is_over; i++)
		turn(k);
	ck_assert(k->broker.is_over);
	ck_assert_int_eq(k->broker.phase, VN_PHASE_STOPPING);
	bench_free(k);
}
END_TEST

START_TEST(closing_sends_everybody_away_in_whatever_state)
{
	bench *k = opened();
	int fds[5];

	fill_conns(k, N_MANY);
	for (size_t i = 0; i < SUITE_COUNT(fds); i++)
		fds[i] = client(k);
	say(fds[1], "show wor");
	say(fds[2], "show conns json\n");
	for (int i = 0; i < 50; i++)
		turn(k);
	say(fds[3], "show conns\n");
	say(fds[4], "ping\n");
	vn_sleep(k->broker.hub, 0);
	vn_control_close(&k->broker);
	k->broker.ledger = vn_ledger_free(k->broker.ledger);
	for (size_t i = 0; i < SUITE_COUNT(fds); i++) {
		ck_assert(hear_all(k, fds[i]));
		close(fds[i]);
	}
	bench_free(k);
}
END_TEST

/* The broker ends while this answer waits for its client, at so many bytes of an answer before it. */
static void
end_within(const char *command, int n_pings)
{
	bench *k = opened();
	int fd = client(k), small = 1;
	char line[VN_LINE_BYTES];
	size_t n = 0;

	fill_conns(k, 20);
	while (n_pings-- > 0)
		n += (size_t)snprintf(line + n, sizeof line - n, "ping;");
	while (n + strlen(command) + 2 < sizeof line)
		n += (size_t)snprintf(line + n, sizeof line - n, "%s;", command);
	line[n] = '\n';
	turn(k);
	setsockopt(k->broker.control->clients->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
	ck_assert_int_eq(send(fd, line, n + 1, MSG_NOSIGNAL), (ssize_t)n + 1);
	for (int i = 0; i < 40; i++)
		turn(k);
	vn_control_close(&k->broker);
	ck_assert(hear_all(k, fd));
	close(fd);
	bench_free(k);
}

START_TEST(no_answer_outlives_the_broker)
{
	static const char *const commands[] = {"show worker 1", "show worker 1 json", "show info",
		"show conns", "show conn 2", "show errors json", "show config", "show memory",
		"help", "help worker", "events"};

	for (size_t i = 0; i < SUITE_COUNT(commands); i++)
		for (int n_pings = 0; n_pings < 100; n_pings += 9)
			end_within(commands[i], n_pings);
}
END_TEST

START_TEST(the_socket_is_for_its_user_alone)
{
	bench *k = bench_new();
	char folder[96];
	struct stat st;

	snprintf(folder, sizeof folder, "%s/new", k->folder);
	snprintf(k->path, sizeof k->path, "%s/x.sock", folder);
	umask(0);
	ck_assert_int_eq(vn_control_open(&k->broker), 0);
	ck_assert_int_eq(stat(k->path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(stat(folder, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0700);
	ck_assert_int_eq(umask(0), 0);
	vn_control_close(&k->broker);
	rmdir(folder);
	bench_free(k);
}
END_TEST

START_TEST(another_user_is_turned_away)
{
	bench *k;
	int fd, status;
	pid_t child;
	char text[128] = "";

	if (getuid() != 0)
		return; /* only root can become somebody else */
	k = opened();
	ck_assert_int_eq(chmod(k->path, 0666) | chmod(k->folder, 0777), 0);
	child = fork();
	if (child == 0) {
		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
			_exit(1);
		fd = client(k);
		fcntl(fd, F_SETFL, 0);
		_exit(recv(fd, text, sizeof text, MSG_WAITALL) > 0 &&
					strncmp(text, "ERR denied ", 11) == 0
				? 0
				: 2);
	}
	while (waitpid(child, &status, WNOHANG) == 0)
		turn(k);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(k->broker.control->n_clients, 0);
	bench_free(k);
}
END_TEST

START_TEST(a_stale_socket_is_taken_over)
{
	bench *k = bench_new();
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(address.sun_path, k->path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)(void *)&address, sizeof address), 0);
	close(fd);
	ck_assert_int_eq(vn_control_open(&k->broker), 0);
	ck_assert_str_eq(ask(k, "ping\n"), "OK\n\n");
	bench_free(k);
}
END_TEST

START_TEST(a_live_socket_is_not)
{
	bench *k = opened(), *other = bench_new();

	other->config.control_path = k->path;
	ck_assert_int_eq(vn_control_open(&other->broker), VN_EXIT_RUNNING);
	ck_assert_ptr_nonnull(strstr(other->said, k->path));
	ck_assert_ptr_nonnull(strstr(other->said, "running"));
	ck_assert_str_eq(ask(k, "ping\n"), "OK\n\n");
	ck_assert_int_eq(access(k->path, F_OK), 0);
	bench_free(other);
	bench_free(k);
}
END_TEST

START_TEST(a_successor_keeps_its_socket)
{
	bench *k = opened(), *other;

	ck_assert_int_eq(unlink(k->path), 0); /* somebody tidied up */
	other = bench_new();
	other->n_fds = -1; /* k closes some in between */
	other->config.control_path = k->path;
	ck_assert_int_eq(vn_control_open(&other->broker), 0);
	vn_control_close(&k->broker);
	ck_assert_int_eq(access(k->path, F_OK), 0);
	vn_control_close(&other->broker);
	ck_assert_int_lt(access(k->path, F_OK), 0);
	bench_free(other);
	bench_free(k);
}
END_TEST

static void
cannot_open(bench *k, int code, const char *words)
{
	ck_assert_int_eq(vn_control_open(&k->broker), code);
	ck_assert_msg(strstr(k->said, k->config.control_path), "does not name it: %s", k->said);
	ck_assert_msg(strstr(k->said, words), "no '%s': %s", words, k->said);
	ck_assert_ptr_null(k->broker.control);
}

START_TEST(a_path_that_cannot_be_is_told_in_a_sentence)
{
	bench *k = bench_new();
	char path[128];
	int fd;

	fd = open(k->path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	cannot_open(k, VN_EXIT_SYSTEM, "no socket");
	ck_assert_int_eq(access(k->path, F_OK), 0);
	unlink(k->path);
	snprintf(path, sizeof path, "%s/a/b/c.sock", k->folder);
	k->config.control_path = path;
	cannot_open(k, VN_EXIT_SYSTEM, "make the folder first");
	if (getuid() == 0) {
		ck_assert_int_eq(seteuid(65534), 0);
		snprintf(path, sizeof path, "%s/x.sock", k->folder);
		cannot_open(k, VN_EXIT_PERMISSION, "XDG_RUNTIME_DIR");
		snprintf(path, sizeof path, "%s/new/x.sock", k->folder);
		cannot_open(k, VN_EXIT_PERMISSION, "XDG_RUNTIME_DIR");
		ck_assert_int_eq(seteuid(0), 0);
	}
	bench_free(k);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		small_commands_are_answered,
		lines_may_end_in_any_way_and_blank_ones_are_nothing,
		each_command_of_a_batch_has_its_own_result,
		what_cannot_be_is_told_apart,
		text_and_json_have_the_same_names,
		shown_values_are_true,
		info_is_one_object,
		errors_happened_when_they_happened,
		peers_of_each_family_are_named,
		connections_can_be_narrowed,
		ten_thousand_connections_are_shown_while_they_come_and_go,
		others_are_served_while_a_long_answer_is_made,
		who_does_not_read_is_sent_away_and_costs_no_memory,
		slow_progress_is_progress,
		who_says_nothing_for_long_is_sent_away,
		clients_are_limited_and_leave_room_when_they_go,
		a_line_has_a_limit,
		garbage_harms_nobody,
		stop_is_answered_before_it_happens,
		stop_is_obeyed_even_if_nobody_waits_for_the_answer,
		closing_sends_everybody_away_in_whatever_state,
		no_answer_outlives_the_broker,
		the_socket_is_for_its_user_alone,
		another_user_is_turned_away,
		a_stale_socket_is_taken_over,
		a_live_socket_is_not,
		a_successor_keeps_its_socket,
		a_path_that_cannot_be_is_told_in_a_sentence,
	};

	return suite_run("broker_control", tests, SUITE_COUNT(tests));
}
