/* SPDX-License-Identifier: MIT */
/*
 * Top - the loop between the broker, the screen and the keys
 *
 * Nothing here waits for the broker: what it says is read when it is there, and a broker that hangs is shown as one.
 * A command (drain, restart, kill) goes over a connection of its own, because its answer comes when it is done.
 */
#include "broker/top.h"

#include <curses.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "broker/broker.h"

#define EVERY 1.0 /* seconds between two questions */

typedef struct top {
	const char *path;
	vn_top_link link, command;
	bool asked;
	bool leaving;
	int code;
	double ask_at, answered_at;
	char question; /* what 'y' will do: d, r or k; 0 */
	char command_line[64];
	int signals; /* a signalfd: somebody wants us to end */
	vn_top_screen screen;
	vn_top_look look;
	vn_top_model *model, *before;
} top;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
help(void)
{
	puts("usage: vanilla top [-s SOCKET]\n"
	     "\n"
	     "Shows a running service and follows it: workers, listeners, connections, what "
	     "happens. "
	     "Keys: h.\n"
	     "\n"
	     "  -s, --control SOCKET   the broker's control socket; otherwise $VANILLA_CONTROL, or "
	     "the only\n"
	     "                         one that answers in $XDG_RUNTIME_DIR/vanilla or "
	     "/run/vanilla\n"
	     "  -h, --help             this text\n"
	     "\n"
	     "With NO_COLOR in the environment there are no colours.");
}

/* The worker that is chosen, or the first. */
static uint32_t
selected(const top *t)
{
	for (uint32_t i = 0; i < t->model->n_workers; i++)
		if (strcmp(t->model->workers[i].id, t->look.selected) == 0)
			return i;
	return 0;
}

static void
choose(top *t, int step)
{
	int64_t i = (int64_t)selected(t) + step;

	if (i >= 0 && i < t->model->n_workers)
		strcpy(t->look.selected, t->model->workers[i].id);
}

static const char *
verb_of(char key)
{
	return key == 'd' ? "drain" : key == 'r' ? "restart" : "kill";
}

static void
ask(top *t, char key)
{
	if (t->model->n_workers == 0)
		return;
	choose(t, 0);
	t->question = key;
	snprintf(t->look.line, sizeof t->look.line, " %s worker %s? y: yes, any other key: no",
		verb_of(key), t->look.selected);
}

static void
say(top *t, const char *text, const char *more)
{
	snprintf(t->look.line, sizeof t->look.line, " %s%s", text, more);
}

static void
do_it(top *t)
{
	char line[sizeof t->command_line];

	if (t->command.fd >= 0)
		return say(t, "wait: the command before is not done yet", "");
	snprintf(line, sizeof line, "worker %s %s\n", verb_of(t->question), t->look.selected);
	strcpy(t->command_line, line);
	if (vn_top_link_open(&t->command, t->path) != 0)
		return say(t, "the broker is not there any more", "");
	vn_top_link_ask(&t->command, t->command_line);
	say(t, t->command_line, "");
	t->look.line[strcspn(t->look.line, "\n")] = '\0';
}

static void
on_key(top *t, int key)
{
	if (t->question) {
		t->look.line[0] = '\0';
		if (key == 'y')
			do_it(t);
		t->question = 0;
		return;
	}
	t->look.line[0] = '\0';
	switch (key) {
	case 'q':
		t->leaving = true;
		break;
	case KEY_UP:
		choose(t, -1);
		break;
	case KEY_DOWN:
		choose(t, 1);
		break;
	case 's':
		t->look.order = (t->look.order + 1) % VN_TOP_N_ORDERS;
		break;
	case 'S':
		t->look.order = (t->look.order + VN_TOP_N_ORDERS - 1) % VN_TOP_N_ORDERS;
		break;
	case 'c':
		t->look.slowest = !t->look.slowest;
		break;
	case 'h':
	case '?':
		t->look.help = !t->look.help;
		break;
	case 'd':
	case 'r':
	case 'k':
		ask(t, (char)key);
		break;
	default:
		break;
	}
}

static void
take_answer(top *t)
{
	char *answers[VN_TOP_ANSWERS], *results[VN_TOP_ANSWERS];
	vn_top_model *old = t->before;

	if (!vn_top_link_answer(&t->link, VN_TOP_ANSWERS, answers, results))
		return;
	t->before = t->model;
	t->model = old;
	t->answered_at = now();
	vn_top_model_fill(t->model, t->before, answers, t->answered_at);
	t->ask_at += EVERY;
	if (t->ask_at < t->answered_at)
		t->ask_at = t->answered_at;
	t->asked = false;
}

static void
take_outcome(top *t)
{
	char *answer, *result;
	int rc = vn_top_link_move(&t->command);

	if (vn_top_link_answer(&t->command, 1, &answer, &result))
		say(t, answer[0] ? answer : result, "");
	else if (rc == 0)
		return;
	else
		say(t, "the broker hung up before it was done", "");
	t->look.line[strcspn(t->look.line, "\n")] = '\0';
	vn_top_link_close(&t->command);
}

/* Until something can be done: a key, an answer, the next question. */
static void
wait_for_something(top *t)
{
	double left = (t->asked ? now() + EVERY : t->ask_at) - now();
	struct pollfd polls[] = {{.fd = STDIN_FILENO, .events = POLLIN},
		{.fd = t->signals, .events = POLLIN}, {.fd = t->link.fd, .events = POLLIN},
		{.fd = t->command.fd, .events = POLLIN}};

	poll(polls, sizeof polls / sizeof *polls, left > 0 ? (int)(left * 1000) + 1 : 0);
	if ((polls[0].revents & (POLLHUP | POLLERR)) || polls[1].revents)
		t->leaving = true;
}

static void
turn(top *t)
{
	int key;

	if (!t->asked && now() >= t->ask_at) {
		vn_top_link_ask(&t->link, VN_TOP_QUERY);
		t->asked = true;
	}
	if (vn_top_link_move(&t->link) < 0) {
		t->leaving = true;
		t->code = VN_EXIT_NO_BROKER;
	}
	take_answer(t);
	if (t->command.fd >= 0)
		take_outcome(t);
	while ((key = vn_top_screen_key()) != ERR)
		on_key(t, key);
	t->look.silent = now() - t->answered_at - EVERY;
	vn_top_model_sort(t->model, &t->look);
	vn_top_screen_draw(&t->screen, t->model, &t->look);
}

static int
show(top *t)
{
	sigset_t set;
	int code = vn_top_screen_open(&t->screen);

	if (code != 0)
		return code;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	t->signals = signalfd(-1, &set, SFD_CLOEXEC);
	t->ask_at = t->answered_at = now();
	while (!t->leaving) {
		turn(t);
		if (!t->leaving)
			wait_for_something(t);
	}
	vn_top_screen_close(&t->screen);
	close(t->signals);
	if (t->code == VN_EXIT_NO_BROKER)
		fprintf(stderr, "vanilla: the broker has ended\n");
	return t->code;
}

static int
arguments(top *t, int argc, char **argv)
{
	static const struct option longs[] = {
		{"control", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {0}};
	int found;

	opterr = 0;
	optind = 0;
	while ((found = getopt_long(argc, argv, ":s:h", longs, NULL)) != -1) {
		if (found == 's') {
			t->path = optarg;
		} else if (found == 'h') {
			return -1;
		} else {
			fprintf(stderr, "vanilla: %s '%.200s'; see vanilla top --help\n",
				found == ':' ? "a value is missing after" : "unknown option",
				argv[optind - 1]);
			return VN_EXIT_USAGE;
		}
	}
	if (optind == argc)
		return 0;
	fprintf(stderr, "vanilla: top takes no '%.200s'; see vanilla top --help\n", argv[optind]);
	return VN_EXIT_USAGE;
}

/**
 * vn_top_main() - `vanilla top`
 * @argv: argv[0] is the subcommand
 *
 * Return: the exit code of the program.
 */
int
vn_top_main(int argc, char **argv)
{
	top t = {.link.fd = -1, .command.fd = -1};
	int code = arguments(&t, argc, argv);

	if (code < 0) {
		help();
		return 0;
	}
	if (code == 0)
		code = vn_top_link_open(&t.link, t.path);
	if (code != 0)
		return code;
	t.model = calloc(1, sizeof *t.model);
	t.before = calloc(1, sizeof *t.before);
	code = t.model && t.before ? show(&t) : VN_EXIT_SYSTEM;
	vn_top_link_close(&t.link);
	vn_top_link_close(&t.command);
	free(t.model);
	free(t.before);
	return code;
}
