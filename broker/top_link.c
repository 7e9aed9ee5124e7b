/* SPDX-License-Identifier: MIT */
/*
 * Top link - asks the broker and never waits for it
 *
 * One line is under way at a time. Its answers are there when as many empty lines have come as it has commands;
 * a broker that hangs leaves them incomplete, and the view says since when.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/reach.h"
#include "broker/top.h"

#define ANSWER_MAX (8u << 20)
#define FIRST_SIZE 65536u

/**
 * vn_top_link_open() - connect
 * @path: of the control socket, or NULL as for vn_reach()
 *
 * Return: 0, or the exit code of the program, after a sentence on standard error.
 */
int
vn_top_link_open(vn_top_link *l, const char *path)
{
	*l = (vn_top_link){.fd = -1};
	return vn_reach(path, &l->fd);
}

/**
 * vn_top_link_close() - hang up and forget what came
 */
void
vn_top_link_close(vn_top_link *l)
{
	if (l->fd >= 0)
		close(l->fd);
	free(l->text);
	*l = (vn_top_link){.fd = -1};
}

/**
 * vn_top_link_ask() - send this line; what came before is forgotten
 * @line: with its newline; must stay until it is sent
 */
void
vn_top_link_ask(vn_top_link *l, const char *line)
{
	l->line = line;
	l->n = 0;
}

static int
send_some(vn_top_link *l)
{
	while (l->line && *l->line) {
		ssize_t n = send(l->fd, l->line, strlen(l->line), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		l->line += n;
	}
	return 0;
}

/* Room for more, and for a final zero. */
static int
grow(vn_top_link *l)
{
	size_t size = l->size ? 2 * l->size : FIRST_SIZE;
	char *text;

	if (l->n + 1 < l->size)
		return 0;
	if (size > ANSWER_MAX)
		return -EMSGSIZE;
	text = realloc(l->text, size);
	if (!text)
		return -ENOMEM;
	l->text = text;
	l->size = size;
	return 0;
}

/**
 * vn_top_link_move() - send and receive what can be
 *
 * Return: 0; -EPIPE: the broker has hung up, or another negative errno. Then the connection is of no use.
 */
int
vn_top_link_move(vn_top_link *l)
{
	int rc = send_some(l);

	while (rc == 0 && (rc = grow(l)) == 0) {
		ssize_t n = recv(l->fd, l->text + l->n, l->size - l->n - 1, MSG_DONTWAIT);

		if (n == 0)
			return -EPIPE;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		l->n += (size_t)n;
		l->text[l->n] = '\0';
	}
	return rc;
}

/* The end of the answer that begins here: its empty line. NULL if that has not come. */
static char *
end_of(char *text)
{
	return strstr(text, "\n\n");
}

/**
 * vn_top_link_answer() - are the answers there?
 * @n:       how many commands the line had
 * @answers: their data; valid until the next question
 * @results: their last lines, "OK" or "ERR ..."
 *
 * Return: whether they are; if so, they are given out once.
 */
bool
vn_top_link_answer(vn_top_link *l, size_t n, char *answers[], char *results[])
{
	char *at = l->text;

	if (l->n == 0 || strlen(l->text) != l->n)
		return false;
	for (size_t i = 0; i < n; i++) {
		char *end = end_of(at);

		if (!end)
			return false;
		at = end + 2;
	}
	at = l->text;
	for (size_t i = 0; i < n; i++) {
		char *end = end_of(at), *last;

		*end = '\0';
		last = strrchr(at, '\n');
		answers[i] = last ? at : end;
		results[i] = last ? last + 1 : at;
		if (last)
			*last = '\0';
		at = end + 2;
	}
	l->n = 0;
	return true;
}
