/* SPDX-License-Identifier: MIT */
/*
 * Client - one client of the control socket
 *
 * A coroutine: reads a line, answers it, reads the next. It waits in three places, each with an end: for a line
 * (VN_CLIENT_IDLE), for room to write (VN_CLIENT_STUCK without any progress), and, after some work without
 * waiting, for the others (VN_CLIENT_BREATH, in which the hub makes a whole turn). After each of them the
 * broker may be gone, and the answer is a negative errno.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/control.h"
#include "broker/http.h"
#include "broker/log.h"

#define JUNK_READS  512 /* more than any socket buffer holds by default */
#define CHUNK_HEAD  6   /* four digits and a line break */
#define CHUNK_TAIL  2
#define LINGER_TIME (1 * VN_SEC)
#define LINGER_MAX  (1 << 20)

static void
client_on_event(vn_watch *w, uint32_t events)
{
	vn_client *c = (vn_client *)(void *)((char *)w - offsetof(vn_client, watch));

	(void)events;
	c->ready = true;
	if (c->queue.first)
		vn_wake(c->queue.first, 0);
}

static int
alive(const vn_client *c)
{
	return c->control->broker ? 0 : -ECANCELED;
}

/* Until there is news of the descriptor; what was missed while nobody waited counts. */
static int
client_wait(vn_client *c, vn_time until)
{
	vn_clause clause = {.queue = NULL};
	int rc;

	if (!c->ready) {
		vn_waitq_push(&c->queue, &clause);
		rc = vn_wait(c->control->hub, &clause, 1, until);
		if (rc < 0)
			return rc;
	}
	c->ready = false;
	c->spent = 0;
	return alive(c);
}

/**
 * vn_client_work() - something was done; after enough of it the others have their turn
 * @amount: VN_CLIENT_WORK is about 20 us
 *
 * Requests that come in must not notice that somebody looks: while there are any, the client has less than a tenth
 * of our time.
 */
int
vn_client_work(vn_client *c, uint32_t amount)
{
	const vn_broker *b = c->control->broker;
	uint64_t n_requests = b && b->count ? b->count->n_requests : 0;
	bool busy = n_requests != c->n_requests;
	int rc;

	c->spent += amount;
	if (c->spent < VN_CLIENT_WORK)
		return alive(c);
	c->spent = 0;
	c->n_requests = n_requests;
	rc = vn_sleep(c->control->hub, busy ? VN_CLIENT_YIELD : VN_CLIENT_BREATH);
	return rc < 0 ? rc : alive(c);
}

/* Room for the frame of the chunk that lies in `out`. */
static void
chunk_open(vn_client *c)
{
	if (c->chunked)
		c->out_len = CHUNK_HEAD;
}

/* The frame, now that the length is known; a chunk of nothing would be the last one, so it is none. */
static void
chunk_close(vn_client *c)
{
	char head[CHUNK_HEAD + 1];

	if (!c->chunked)
		return;
	if (c->out_len == CHUNK_HEAD) {
		c->out_len = 0;
		return;
	}
	snprintf(head, sizeof head, "%04x\r\n", (unsigned)(c->out_len - CHUNK_HEAD) & 0xffff);
	memcpy(c->out, head, CHUNK_HEAD);
	memcpy(c->out + c->out_len, "\r\n", CHUNK_TAIL);
	c->out_len += CHUNK_TAIL;
}

/**
 * vn_client_flush() - wait until everything is sent
 *
 * A Unix socket says that it is writable when most of its buffer is free; so somebody who reads slowly is told
 * from somebody who does not read at all by one more try.
 *
 * Return: 0, or -ETIMEDOUT: the client does not read; -ECANCELED; or what send(2) says.
 */
int
vn_client_flush(vn_client *c)
{
	vn_time patience = c->follows ? VN_CLIENT_IDLE : VN_CLIENT_STUCK;
	vn_time until = vn_hub_after(c->control->hub, patience);
	size_t sent = 0;
	int rc = alive(c);
	bool stuck = false;

	chunk_close(c);
	while (sent < c->out_len && rc == 0) {
		ssize_t n =
			send(c->fd, c->out + sent, c->out_len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n >= 0) {
			sent += (size_t)n;
			until = vn_hub_after(c->control->hub, patience);
			stuck = false;
		} else if (errno == EAGAIN && !stuck) {
			rc = client_wait(c, until);
			stuck = rc == -ETIMEDOUT;
			rc = stuck ? alive(c) : rc;
		} else if (errno != EINTR) {
			rc = stuck ? -ETIMEDOUT : -errno;
		}
	}
	c->out_len = 0;
	chunk_open(c);
	return rc;
}

/**
 * vn_client_chunk() - what is written from here on goes out as chunks of HTTP/1.1
 */
int
vn_client_chunk(vn_client *c)
{
	int rc = vn_client_flush(c);

	c->chunked = true;
	chunk_open(c);
	return rc;
}

/**
 * vn_client_chunk_end() - the last chunk, if there were any
 */
int
vn_client_chunk_end(vn_client *c)
{
	if (!c->chunked)
		return alive(c);
	chunk_close(c);
	c->chunked = false;
	return vn_client_write(c, "0\r\n\r\n", 5);
}

/* Has it left for good? One that has only ended its own side still reads. */
static bool
has_hung_up(const vn_client *c)
{
	struct pollfd p = {.fd = c->fd};

	return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR));
}

static bool
has_said_more(const vn_client *c)
{
	char byte;

	return c->in_len > c->in_used || recv(c->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) > 0;
}

/**
 * vn_client_await() - of one that follows: wait for the next event
 *
 * Return: 0 when there may be one; 1 when the client has said something instead; a negative errno when it, or the
 * broker, is gone.
 */
int
vn_client_await(vn_client *c)
{
	int rc = vn_client_flush(c);

	if (rc == 0 && !has_said_more(c))
		rc = has_hung_up(c) ? -EPIPE : client_wait(c, VN_NEVER);
	return rc == 0 && has_said_more(c) ? 1 : rc;
}

/**
 * vn_client_wake_followers() - something has happened
 */
void
vn_client_wake_followers(vn_control *control)
{
	for (vn_client *c = control->clients; c; c = c->next) {
		if (!c->follows)
			continue;
		c->ready = true;
		if (c->queue.first)
			vn_wake(c->queue.first, 0);
	}
}

/**
 * vn_client_write() - a part of an answer; may wait until the client has read earlier parts
 */
int
vn_client_write(vn_client *c, const char *data, size_t len)
{
	if (c->mute)
		return alive(c);
	while (len > 0) {
		size_t room = sizeof c->out - c->out_len - (c->chunked ? CHUNK_TAIL : 0);
		size_t n = len < room ? len : room;

		memcpy(c->out + c->out_len, data, n);
		c->out_len += (uint32_t)n;
		data += n;
		len -= n;
		if (len > 0) {
			int rc = vn_client_flush(c);

			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

static int
client_vprintf(
	vn_client *c, const char *prefix, const char *suffix, const char *format, va_list args)
{
	char text[1024];
	size_t len = strlen(strcpy(text, prefix));

	vsnprintf(text + len, sizeof text - len - 4, format, args);
	len = strlen(text);
	memcpy(text + len, suffix, strlen(suffix));
	return vn_client_write(c, text, len + strlen(suffix));
}

/**
 * vn_client_printf() - the same with a format; at most a kilobyte
 */
int
vn_client_printf(vn_client *c, const char *format, ...)
{
	va_list args;
	int rc;

	va_start(args, format);
	rc = client_vprintf(c, "", "", format, args);
	va_end(args);
	return rc;
}

/**
 * vn_client_ok() - the end of an answer
 */
int
vn_client_ok(vn_client *c)
{
	return vn_client_write(c, "OK\n\n", 4);
}

/**
 * vn_client_error() - the end of an answer that tells why not
 * @code:   one word, for programs
 * @format: a sentence, for people; without a newline
 */
int
vn_client_error(vn_client *c, const char *code, const char *format, ...)
{
	char prefix[64];
	va_list args;
	int rc;

	snprintf(prefix, sizeof prefix, "ERR %s ", code);
	va_start(args, format);
	rc = client_vprintf(c, prefix, "\n\n", format, args);
	va_end(args);
	return rc;
}

/* Takes the next line out of what has been received; NULL if there is none yet. */
static char *
line_take(vn_client *c)
{
	char *line = c->in + c->in_used;
	size_t n = c->in_len - c->in_used;
	char *newline = memchr(line, '\n', n);

	if (newline)
		n = (size_t)(newline - line);
	else if (!c->ended || n == 0)
		return NULL;
	c->in_used += (uint32_t)n + (newline != NULL);
	if (n > 0 && line[n - 1] == '\r')
		n--;
	for (size_t i = 0; i < n; i++)
		line[i] = line[i] ? line[i] : '\x01'; /* it would end there, and hide the rest */
	line[n] = '\0';
	return line;
}

/* Return: 0 with more bytes or the end of file; what was not taken moves to the start of the buffer. */
static int
client_receive(vn_client *c, vn_time until)
{
	ssize_t n;
	int rc = 0;

	c->in_len -= c->in_used;
	memmove(c->in, c->in + c->in_used, c->in_len);
	c->in_used = 0;
	if (c->in_len == VN_LINE_BYTES)
		return -EMSGSIZE;
	while (rc == 0) {
		n = recv(c->fd, c->in + c->in_len, VN_LINE_BYTES - c->in_len, MSG_DONTWAIT);
		if (n >= 0)
			break;
		if (errno == EAGAIN)
			rc = client_wait(c, until);
		else if (errno != EINTR)
			rc = -errno;
	}
	if (rc < 0)
		return rc;
	c->in_len += (uint32_t)n;
	c->ended = n == 0;
	return 0;
}

/**
 * vn_client_line() - wait for the next line, when the answers to earlier ones are sent
 * @until: or -ETIMEDOUT
 * @line:  as it came, without its end; good until the next one is asked for
 *
 * Return: 0; -EPIPE at the end; -EMSGSIZE: it is too long; -ECANCELED; or what recv(2) says.
 */
int
vn_client_line(vn_client *c, vn_time until, char **line)
{
	int rc = 0;

	while (rc == 0 && !(*line = line_take(c))) {
		if (c->ended)
			return -EPIPE;
		rc = vn_client_flush(c);
		if (rc == 0)
			rc = client_receive(c, until);
	}
	return rc;
}

/**
 * vn_client_hang_up() - close so that what was sent is read as sent
 * @fd: no longer watched
 *
 * A Unix socket that is closed with something unread resets the other end: whoever gets an answer and is sent
 * away would see an error instead of the end.
 */
void
vn_client_hang_up(int fd)
{
	char junk[1024];

	shutdown(fd, SHUT_RDWR); /* nothing can be added to what is there */
	for (int i = 0; i < JUNK_READS && recv(fd, junk, sizeof junk, MSG_DONTWAIT) > 0; i++)
		;
	close(fd);
}

static void
client_free(vn_client *c)
{
	vn_control *control = c->control;

	vn_watch_remove(control->hub->poller, &c->watch);
	vn_client_hang_up(c->fd);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	free(c);
	vn_control_client_gone(control);
}

/* A line of the control socket. */
static int
line_answer(vn_client *c, char *line)
{
	if (vn_http_is(line))
		return vn_http_serve(c, line);
	vn_log_clean(line, strlen(line));
	return vn_command_line(c, line);
}

static int
line_too_long(vn_client *c)
{
	c->in[c->in_len] = '\0';
	if (vn_http_is(c->in))
		return vn_http_refuse(c, 414, "the path is too long");
	return vn_client_error(c, "limit", "a line has at most %d bytes", VN_LINE_BYTES - 1);
}

static int
lines_run(vn_client *c)
{
	char *line;
	int rc = alive(c);

	while (rc == 0 && !c->leaving) {
		rc = vn_client_line(c, vn_hub_after(c->control->hub, VN_CLIENT_IDLE), &line);
		if (rc == 0)
			rc = vn_client_work(c, VN_CLIENT_WORK_LINE);
		if (rc == 0)
			rc = line_answer(c, line);
	}
	if (rc == -EMSGSIZE)
		rc = line_too_long(c);
	return rc == -EPIPE ? 0 : rc;
}

/* Until the client has read the end, or for LINGER_TIME: a reset would overtake what was sent. */
static void
linger(vn_client *c)
{
	vn_time until = vn_hub_after(c->control->hub, LINGER_TIME);
	char junk[1024];
	size_t total = 0;
	ssize_t n = 1;

	shutdown(c->fd, SHUT_WR);
	while (n != 0 && total < LINGER_MAX) {
		n = recv(c->fd, junk, sizeof junk, MSG_DONTWAIT);
		total += n > 0 ? (size_t)n : 0;
		if (n < 0 && (errno != EAGAIN || client_wait(c, until) < 0))
			return;
	}
}

static int
client_run(vn_hub *h, void *arg)
{
	vn_client *c = arg;
	int rc = alive(c);

	(void)h;
	if (rc == 0)
		rc = c->control->is_web ? vn_http_run(c) : lines_run(c);
	if (rc == 0)
		rc = vn_client_flush(c);
	if (rc == 0 && c->control->is_web)
		linger(c);
	client_free(c);
	return 0;
}

/**
 * vn_client_open() - serve a client
 * @fd: accepted, non-blocking; belongs to the client when this succeeds
 *
 * Return: 0, -ENOMEM, or -ECANCELED when the hub is stopping.
 */
int
vn_client_open(vn_control *control, int fd)
{
	vn_client *c = malloc(sizeof *c);
	int rc;

	if (!c)
		return -ENOMEM;
	memset(c, 0, offsetof(vn_client, in));
	c->control = control;
	c->fd = fd;
	rc = vn_watch_add(control->hub->poller, &c->watch, fd,
		EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, client_on_event);
	if (rc == 0)
		rc = vn_co_spawn(control->hub, client_run, c);
	if (rc < 0) {
		vn_watch_remove(control->hub->poller, &c->watch);
		free(c);
		return rc;
	}
	c->next = control->clients;
	c->link = &control->clients;
	if (c->next)
		c->next->link = &c->next;
	control->clients = c;
	control->n_clients++;
	return 0;
}
