/* SPDX-License-Identifier: MIT */
/*
 * Output - what workers print, line by line, with the number of who printed it
 *
 *     2.7| text        number 2, seventh incarnation
 *
 * Each worker has a pipe for its standard output and one for its standard error. Lines longer than the buffer
 * are split. Lines are collected and written together, at most PIPE_BUF bytes at a time. When nobody reads our
 * own output, lines are dropped and counted, and a line says so as soon as one can be written again: a worker
 * that talks must not be able to stop the broker.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/log.h"
#include "broker/worker.h"

#define PREFIX_BYTES  20   /* "65535.4294967295| " */
#define READS_AT_ONCE 8    /* of one worker, before others have their turn */
#define READS_AT_END  1024 /* a grandchild may hold the pipe and never end */

/* Lines that will be written together. */
typedef struct batch {
	vn_output *output;
	uint32_t n_lines;
	size_t len;
	char data[PIPE_BUF];
} batch;

/* Says how many were dropped, now that somebody reads again. */
static bool
tell_dropped(vn_broker *b, int to)
{
	uint64_t *n = &b->n_lines_untold[to - 1];
	char text[80], line[VN_LOG_LINE];
	size_t len;

	if (*n == 0)
		return true;
	snprintf(text, sizeof text, "%llu lines dropped, nobody read them", (unsigned long long)*n);
	if (to == STDERR_FILENO)
		len = vn_log_line(b, LOG_WARNING, text, line, sizeof line);
	else
		len = (size_t)snprintf(line, sizeof line, "vanilla: %s\n", text);
	if (!vn_log_write(to, line, len))
		return false;
	*n = 0;
	return true;
}

static void
batch_flush(batch *a)
{
	vn_broker *b = a->output->broker;
	int to = a->output->to;

	if (a->n_lines == 0)
		return;
	if (!tell_dropped(b, to) || !vn_log_write(to, a->data, a->len)) {
		vn_count(&b->count->n_output_lines_dropped, a->n_lines);
		b->n_lines_untold[to - 1] += a->n_lines;
	}
	a->n_lines = 0;
	a->len = 0;
}

/* As the lines of the broker itself, so that standard error can be read by one program. */
static void
batch_json(batch *a, const char *text, size_t len)
{
	const vn_output *o = a->output;
	char line[VN_LOG_LINE], clean[sizeof o->line + 1];

	memcpy(clean, text, len);
	vn_log_clean(clean, len);
	clean[len] = '\0';
	len = vn_log_worker_line(o->number, o->incarnation, clean, line, sizeof line);
	if (a->len + len > sizeof a->data)
		batch_flush(a);
	memcpy(a->data + a->len, line, len);
	a->len += len;
	a->n_lines++;
}

static void
batch_line(batch *a, const char *text, size_t len)
{
	vn_output *o = a->output;

	if (o->to == STDERR_FILENO && o->broker->log.json) {
		batch_json(a, text, len);
		return;
	}
	if (a->len + PREFIX_BYTES + len + 1 > sizeof a->data)
		batch_flush(a);
	a->len += (size_t)snprintf(a->data + a->len, PREFIX_BYTES, "%u.%u| ", (unsigned)o->number,
		(unsigned)o->incarnation);
	memcpy(a->data + a->len, text, len);
	vn_log_clean(a->data + a->len, len);
	a->len += len;
	a->data[a->len++] = '\n';
	a->n_lines++;
}

/* Takes the complete lines out of the buffer; a full one counts as complete. */
static void
lines_take(vn_output *o, batch *a)
{
	char *text = o->line, *end = o->line + o->len, *newline;

	while ((newline = memchr(text, '\n', (size_t)(end - text)))) {
		size_t len = (size_t)(newline - text);

		batch_line(a, text, len > 0 && text[len - 1] == '\r' ? len - 1 : len);
		text = newline + 1;
	}
	o->len = (uint32_t)(end - text);
	if (o->len == sizeof o->line) {
		batch_line(a, text, o->len);
		o->len = 0;
	}
	memmove(o->line, text, o->len);
}

/* Return: true as long as there may be more. */
static bool
output_read(vn_output *o, batch *a)
{
	ssize_t n = read(o->watch.fd, o->line + o->len, sizeof o->line - o->len);

	if (n <= 0)
		return n < 0 && errno == EINTR;
	o->len += (uint32_t)n;
	lines_take(o, a);
	return true;
}

/* What is there; a line that is not finished only when nothing can follow. */
static void
output_drain(vn_output *o, unsigned int n_reads, bool last)
{
	batch a;

	a.output = o;
	a.n_lines = 0;
	a.len = 0;
	while (n_reads-- > 0 && output_read(o, &a))
		;
	if (last && o->len > 0) {
		batch_line(&a, o->line, o->len);
		o->len = 0;
	}
	batch_flush(&a);
}

static void
output_end(vn_output *o)
{
	int fd = o->watch.fd;

	if (fd < 0)
		return;
	output_drain(o, READS_AT_END, true);
	tell_dropped(o->broker, o->to);
	vn_watch_remove(o->broker->hub->poller, &o->watch);
	close(fd);
}

static void
output_on_event(vn_watch *w, uint32_t events)
{
	vn_output *o = (vn_output *)(void *)((char *)w - offsetof(vn_output, watch));

	if (events & EPOLLIN)
		output_drain(o, READS_AT_ONCE, false);
	else
		output_end(o); /* everybody has closed it */
}

/**
 * vn_output_open() - a pipe for what a worker prints
 * @w:         the worker, slot and incarnation set
 * @to:        where its lines go: 1 or 2
 * @write_end: the worker's end, close-on-exec, for dup2(2); the caller closes it
 *
 * Return: for vn_output_close(); NULL with errno set.
 */
vn_output *
vn_output_open(vn_worker *w, int to, int *write_end)
{
	vn_output *o = malloc(sizeof *o);
	int ends[2], rc;

	assert(to == STDOUT_FILENO || to == STDERR_FILENO);
	if (!o)
		return NULL;
	if (pipe2(ends, O_CLOEXEC) < 0) {
		free(o);
		return NULL;
	}
	o->broker = w->broker;
	o->number = w->number;
	o->incarnation = w->incarnation;
	o->to = to;
	o->len = 0;
	/* the other end stays as programs expect it: it waits */
	rc = fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	if (rc == 0)
		rc = vn_watch_add(
			w->broker->hub->poller, &o->watch, ends[0], EPOLLIN, output_on_event);
	if (rc < 0) {
		close(ends[0]);
		close(ends[1]);
		free(o);
		errno = -rc;
		return NULL;
	}
	*write_end = ends[1];
	return o;
}

/**
 * vn_output_close() - print what is left, and close
 * @o: or NULL
 *
 * Return: NULL.
 */
vn_output *
vn_output_close(vn_output *o)
{
	if (!o)
		return NULL;
	output_end(o);
	free(o);
	return NULL;
}
