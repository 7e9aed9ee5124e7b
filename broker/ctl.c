/* SPDX-License-Identifier: MIT */
/*
 * Ctl - the client of the control socket
 *
 * Data lines go to standard output, errors to standard error. An answer ends with an empty line, and the line
 * before that is its result; so a line that could be one is held back. What follows events is written line by line.
 */
#include "broker/ctl.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/reach.h"

#define SILENCE_MS 3000

typedef struct ctl {
	const char *path; /* NULL: to be found */
	bool json;
	bool follows; /* an answer may take for ever */
	char *line;   /* what is sent, with its newline */
	size_t n_commands;
} ctl;

static int
usage_error(const char *format, const char *what)
{
	fputs("vanilla: ", stderr);
	fprintf(stderr, format, what);
	fputs("; see vanilla ctl --help\n", stderr);
	return VN_EXIT_USAGE;
}

static void
help(void)
{
	puts("usage: vanilla ctl [-s SOCKET] [--json] COMMAND...\n"
	     "\n"
	     "Sends COMMAND to a running broker and prints its answer; 'help' lists the commands, "
	     "';'\n"
	     "separates several.\n"
	     "\n"
	     "  -s, --control SOCKET   the broker's control socket; otherwise $VANILLA_CONTROL, or "
	     "the only\n"
	     "                         one that answers in $XDG_RUNTIME_DIR/vanilla or "
	     "/run/vanilla\n"
	     "  -j, --json             show, and events, in JSON\n"
	     "  -h, --help             this text\n"
	     "\n"
	     "Exits 0; 1 if the broker refused a command; 2 if this line is wrong; 69 if no broker "
	     "is at that\n"
	     "socket; 77 if it is not yours.");
}

static bool
is_word(const char *text, size_t n, const char *word)
{
	return n == strlen(word) && strncmp(text, word, n) == 0;
}

/* Does this command want " json" at its end? */
static bool
json_missing(const char *text)
{
	size_t first = strcspn(text, " \t"), n = strlen(text), last = 0;

	while (last < n && !strchr(" \t", text[n - last - 1]))
		last++;
	return (is_word(text, first, "show") || is_word(text, first, "events")) &&
	       !is_word(text + n - last, last, "json");
}

/* One command of a batch, without blanks around it. */
static void
line_add(ctl *k, FILE *line, char *text)
{
	size_t n;

	text += strspn(text, " \t\n");
	n = strlen(text);
	while (n > 0 && strchr(" \t\n", text[n - 1]))
		text[--n] = '\0';
	if (n == 0)
		return;
	fprintf(line, "%s%s%s", k->n_commands > 0 ? ";" : "", text,
		k->json && json_missing(text) ? " json" : "");
	k->n_commands++;
	k->follows |= strncmp(text, "events", 6) == 0;
}

/* The words with blanks between, taken apart at each ';' and put together again. */
static int
line_make(ctl *k, char **words)
{
	char *text = NULL, *rest = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	for (char **word = words; f && *word; word++)
		fprintf(f, "%s ", *word);
	if (!f || fclose(f) != 0)
		return VN_EXIT_SYSTEM;
	f = open_memstream(&k->line, &n);
	for (char *one = strtok_r(text, ";", &rest); f && one; one = strtok_r(NULL, ";", &rest))
		line_add(k, f, one);
	free(text);
	if (!f || fputc('\n', f) == EOF || fclose(f) != 0)
		return VN_EXIT_SYSTEM;
	if (strchr(k->line, '\n') != k->line + strlen(k->line) - 1)
		return usage_error("%s", "a command has no line breaks");
	return k->n_commands > 0 ? 0 : usage_error("%s", "a command is missing");
}

static int
arguments(ctl *k, int argc, char **argv)
{
	static const struct option longs[] = {{"control", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	int found;

	opterr = 0;
	optind = 0;
	while ((found = getopt_long(argc, argv, "+:s:jh", longs, NULL)) != -1)
		switch (found) {
		case 's':
			k->path = optarg;
			break;
		case 'j':
			k->json = true;
			break;
		case 'h':
			return -1;
		case ':':
			return usage_error("option %s needs a value", argv[optind - 1]);
		default:
			return usage_error("unknown option '%.200s'", argv[optind - 1]);
		}
	if (optind == argc)
		return usage_error("%s", "a command is missing");
	return line_make(k, argv + optind);
}

static int
send_line(const ctl *k, int fd)
{
	size_t n = strlen(k->line), sent = 0;

	while (sent < n) {
		ssize_t rc = send(fd, k->line + sent, n - sent, MSG_NOSIGNAL);

		if (rc < 0 && errno != EINTR)
			return -errno;
		sent += rc > 0 ? (size_t)rc : 0;
	}
	return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

/* A result line. Return: 0 if it is good. */
static int
result(const char *line)
{
	int code_len;

	if (strcmp(line, "OK\n") == 0)
		return 0;
	if (strncmp(line, "ERR ", 4) == 0)
		line += 4;
	code_len = (int)strcspn(line, " \n");
	if (line[code_len] == ' ')
		fprintf(stderr, "vanilla: %.*s: %s", code_len, line, line + code_len + 1);
	else
		fprintf(stderr, "vanilla: %s", line);
	return VN_EXIT_FAILURE;
}

static bool
could_be_result(const char *line)
{
	return strcmp(line, "OK\n") == 0 || strncmp(line, "ERR ", 4) == 0;
}

/* A broker that is stopped, or hangs, never answers; some commands take their time. Whoever waits is told once. */
static void
wait_for_answer(const ctl *k, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (!k->follows && poll(&p, 1, SILENCE_MS) == 0)
		fprintf(stderr,
			"vanilla: no answer for %d s: the broker is still at it, is stopped, or "
			"hangs; "
			"vanilla stat tells which\n",
			SILENCE_MS / 1000);
}

/* All answers, until the broker ends the connection. */
static int
answers(const ctl *k, FILE *from)
{
	char *line = NULL, *held = NULL, *free_one;
	size_t size = 0, held_size = 0, free_size, n = 0;
	bool holds = false;
	int code = 0;

	if (k->follows)
		setvbuf(stdout, NULL, _IOLBF, 0);

	while (getline(&line, &size, from) > 0) {
		if (holds && strcmp(line, "\n") == 0) {
			code |= result(held);
			n++;
			holds = false;
			continue;
		}
		if (holds)
			fputs(held, stdout);
		holds = could_be_result(line);
		if (!holds) {
			fputs(line, stdout);
			continue;
		}
		free_one = held, free_size = held_size;
		held = line, held_size = size;
		line = free_one, size = free_size;
	}
	if (holds)
		code |= result(held); /* an answer that was cut */
	if (n < k->n_commands && code == 0) {
		fprintf(stderr, "vanilla: the broker ended the connection without an answer\n");
		code = VN_EXIT_FAILURE;
	}
	free(line);
	free(held);
	return fflush(stdout) == 0 ? code : VN_EXIT_FAILURE;
}

static int
talk(const ctl *k, int fd)
{
	FILE *from;
	int rc = send_line(k, fd), code;

	/* a broker that sends us away may have closed already: its reason is still there to read */
	if (rc < 0 && rc != -EPIPE && rc != -ENOTCONN) {
		close(fd);
		fprintf(stderr, "vanilla: cannot talk to the broker: %s\n", strerror(-rc));
		return VN_EXIT_SYSTEM;
	}
	from = fdopen(fd, "r");
	if (!from) {
		close(fd);
		return VN_EXIT_SYSTEM;
	}
	wait_for_answer(k, fd);
	code = answers(k, from);
	fclose(from);
	return code;
}

/**
 * vn_ctl_main() - `vanilla ctl`
 * @argv: argv[0] is the subcommand
 *
 * Return: the exit code of the program.
 */
int
vn_ctl_main(int argc, char **argv)
{
	ctl k = {.path = NULL};
	int fd = -1, code = arguments(&k, argc, argv);

	if (code < 0) {
		help();
		return 0;
	}
	if (code == 0)
		code = vn_reach(k.path, &fd);
	if (code == 0)
		code = talk(&k, fd);
	free(k.line);
	return code;
}
