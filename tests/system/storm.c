/* SPDX-License-Identifier: MIT */
/*
 * storm - many clients at once that check every byte, and that a reset met nobody at rest
 *
 * storm URL KIND CONNS SECONDS SEED
 *
 * KIND says what the service does with a stream, so what has to come back: `echo` the same bytes, `upper` each
 * line in upper case, `probe` what follows "echo " in each line. Each connection is a life of its own, drawn from
 * the seed: requests small and large, one at a time or pipelined, with pauses and times in which it does not read,
 * and at the end a half-close, a close or a reset. When SECONDS are over no new ones begin, and the others are to
 * come to their end.
 *
 * What is wrong, and ends the program with 1: a byte that differs, an end before everything was answered, a reset
 * of a connection that had all its answers, silence for a long time. Resets in the middle of a request are counted;
 * whoever started this knows how many there may be. The result is one line: connections, resets, bytes, what the
 * last error was.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNS   1024
#define REQUEST_MAX (1u << 20)
#define LINE_MAX    3000u
#define PROBE_MAX   900u
#define PIPELINED   (192u << 10) /* un-answered bytes up to which another request is sent */
#define SILENCE_MS  25000

enum kind { ECHO, UPPER, PROBE };
enum end { HALF, CLOSE, RESET };

/* One byte of a stream after the other; the sender and the checker have one each. */
struct stream {
	uint64_t state;
	uint32_t left;   /* of the line */
	uint32_t prefix; /* of it, for PROBE, what was sent of "echo " */
};

struct client {
	int fd;
	uint64_t id;
	struct stream tx, rx;
	unsigned char *request;
	size_t len, sent;
	uint64_t expected, got;
	uint32_t n_left; /* requests */
	size_t large;    /* how large they may be */
	bool pipelined, is_shut;
	enum end end;
	int64_t pause_until, stall_until, moved;
};

static struct {
	enum kind kind;
	bool is_unix;
	struct sockaddr_storage sa;
	socklen_t sa_len;
	uint64_t random;
	uint64_t n_conns, n_resets, n_bytes, n_answers, n_errors;
	struct client clients[MAX_CONNS];
	uint32_t n_clients;
} storm;

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static uint64_t
draw(uint64_t n)
{
	storm.random ^= storm.random << 13;
	storm.random ^= storm.random >> 7;
	storm.random ^= storm.random << 17;
	return storm.random % n;
}

__attribute__((format(printf, 2, 3))) static void
wrong(const struct client *c, const char *format, ...)
{
	va_list list;

	storm.n_errors++;
	fprintf(stderr,
		"storm: connection %" PRIu64 " (fd %d, got %" PRIu64 " of %" PRIu64 "): ", c->id,
		c->fd, c->got, c->expected);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
}

/* The next byte of a stream as it is sent; '\n' ends a line. */
static unsigned char
stream_next(struct stream *s)
{
	if (storm.kind == PROBE && s->prefix < 5 && s->left == 0)
		return (unsigned char)"echo "[s->prefix++];
	s->state = s->state * 6364136223846793005u + 1442695040888963407u;
	if (storm.kind == ECHO)
		return (unsigned char)(s->state >> 56);
	if (s->left == 0)
		s->left = 1 + (uint32_t)((s->state >> 33) %
					 (storm.kind == PROBE ? PROBE_MAX : LINE_MAX));
	if (--s->left > 0)
		return (unsigned char)('a' + (s->state >> 40) % 26);
	s->prefix = 0;
	return '\n';
}

/* The next byte as it comes back. */
static unsigned char
stream_answer(struct stream *s)
{
	if (storm.kind == PROBE && s->left == 0)
		s->prefix = 5;
	return storm.kind == UPPER ? (unsigned char)toupper(stream_next(s)) : stream_next(s);
}

static void
request_make(struct client *c)
{
	size_t size = 1 + draw(c->large);

	c->len = c->sent = 0;
	c->n_left--;
	while (c->len < size || (storm.kind != ECHO && c->request[c->len - 1] != '\n')) {
		bool counts = storm.kind != PROBE || c->tx.prefix == 5 || c->tx.left;

		c->request[c->len++] = stream_next(&c->tx);
		c->expected += counts;
	}
}

static void
client_open(struct client *c)
{
	static const size_t sizes[] = {1, 60, 500, 4000, 30000, 200000, REQUEST_MAX};
	int one = 1;

	c->fd = socket(storm.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)(void *)&storm.sa, storm.sa_len) < 0)
		err(1, "connect");
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	if (!storm.is_unix)
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	c->id = ++storm.n_conns;
	c->tx = c->rx = (struct stream){.state = draw(UINT64_MAX)};
	c->expected = c->got = c->len = c->sent = 0;
	c->large = sizes[draw(sizeof sizes / sizeof *sizes)];
	c->n_left = c->large > 100000 ? 1 + (uint32_t)draw(3) : 1 + (uint32_t)draw(40);
	c->pipelined = draw(2);
	c->is_shut = false;
	c->end = draw(8) == 0 ? RESET : draw(2) ? HALF : CLOSE;
	if (c->end == RESET)
		c->n_left = (uint32_t)draw(c->n_left + 1);
	c->pause_until = c->stall_until = 0;
	c->moved = now_ms();
}

static void
client_close(struct client *c)
{
	struct linger linger = {.l_onoff = 1};

	if (c->end == RESET)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	close(c->fd);
	c->fd = -1;
}

/* The service cut it: that must not happen to one that has all its answers. */
static void
client_was_reset(struct client *c, const char *how)
{
	if (c->got == c->expected && c->sent == c->len && !c->is_shut)
		wrong(c, "%s at rest", how);
	storm.n_resets++;
	client_close(c);
}

static void
client_ended(struct client *c)
{
	if (storm.is_unix && c->got < c->expected) {
		client_was_reset(c, "cut");
		return;
	}
	if (!c->is_shut || c->got < c->expected)
		wrong(c, "the stream ended too early");
	client_close(c);
}

static void
client_check(struct client *c, const unsigned char *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char should = stream_answer(&c->rx);

		if (data[i] == should)
			continue;
		wrong(c, "byte %" PRIu64 " is %#x instead of %#x", c->got + i, data[i], should);
		client_close(c);
		return;
	}
	c->got += n;
	storm.n_bytes += n;
	if (c->got > c->expected)
		wrong(c, "more came back than was sent");
	if (c->got != c->expected)
		return;
	storm.n_answers++;
	if (draw(4) == 0)
		c->pause_until = now_ms() + (int64_t)draw(120);
}

static void
client_read(struct client *c)
{
	static unsigned char data[65536];
	ssize_t n = recv(c->fd, data, 1 + draw(sizeof data), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	c->moved = now_ms();
	if (n > 0)
		client_check(c, data, (size_t)n);
	else if (n == 0)
		client_ended(c);
	else
		client_was_reset(c, strerror(errno));
	if (c->fd >= 0 && draw(200) == 0)
		c->stall_until = c->moved + (int64_t)draw(800);
}

static void
client_write(struct client *c)
{
	size_t part = c->len - c->sent;
	ssize_t n;

	if (draw(8) == 0)
		part = 1 + draw(part);
	n = send(c->fd, c->request + c->sent, part, MSG_NOSIGNAL);
	if (n > 0) {
		c->sent += (size_t)n;
		c->moved = now_ms();
	} else if (errno != EAGAIN) {
		client_was_reset(c, strerror(errno));
	}
}

/* What it does next of its own accord. */
static void
client_live(struct client *c, int64_t now)
{
	if (c->sent < c->len || now < c->pause_until)
		return;
	if (c->n_left > 0) {
		if (c->got == c->expected || (c->pipelined && c->expected - c->got < PIPELINED))
			request_make(c);
		return;
	}
	if (c->end == RESET || (c->end == CLOSE && c->got == c->expected)) {
		client_close(c);
	} else if (c->end == HALF && !c->is_shut) {
		shutdown(c->fd, SHUT_WR);
		c->is_shut = true;
	}
}

static short
client_events(const struct client *c, int64_t now)
{
	return (short)((now >= c->stall_until ? POLLIN : 0) | (c->sent < c->len ? POLLOUT : 0));
}

static void
client_turn(struct client *c, short events)
{
	if (events & (POLLIN | POLLHUP | POLLERR))
		client_read(c);
	if (c->fd >= 0 && (events & POLLOUT))
		client_write(c);
}

/* False when nobody is left. */
static bool
storm_turn(bool over)
{
	static struct pollfd polls[MAX_CONNS];
	int64_t now = now_ms();
	bool any = false;

	for (uint32_t i = 0; i < storm.n_clients; i++) {
		struct client *c = &storm.clients[i];

		if (c->fd < 0 && !over)
			client_open(c);
		if (c->fd >= 0)
			client_live(c, now);
		if (c->fd >= 0 && now - c->moved > SILENCE_MS) {
			wrong(c, "nothing has moved for %d s (%zu of %zu sent%s)",
				SILENCE_MS / 1000, c->sent, c->len,
				c->is_shut ? ", half-closed" : "");
			client_close(c);
		}
		polls[i] = (struct pollfd){
			.fd = c->fd, .events = c->fd >= 0 ? client_events(c, now) : (short)0};
		any |= c->fd >= 0;
	}
	poll(polls, storm.n_clients, 5);
	for (uint32_t i = 0; i < storm.n_clients; i++)
		if (storm.clients[i].fd >= 0 && storm.clients[i].fd == polls[i].fd &&
			polls[i].revents)
			client_turn(&storm.clients[i], polls[i].revents);
	return any || !over;
}

static void
address_parse(const char *url)
{
	struct sockaddr_in *in = (void *)&storm.sa;
	struct sockaddr_un *un = (void *)&storm.sa;
	const char *colon = strrchr(url, ':');
	char host[64];

	if (strncmp(url, "unix:", 5) == 0) {
		storm.is_unix = true;
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path, sizeof un->sun_path, "%s", url + 5);
		storm.sa_len = sizeof *un;
		return;
	}
	if (strncmp(url, "tcp://", 6) != 0 || colon - url - 6 >= (ptrdiff_t)sizeof host)
		errx(2, "%s: not a URL of IPv4 or a Unix socket", url);
	snprintf(host, sizeof host, "%.*s", (int)(colon - url - 6), url + 6);
	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)atoi(colon + 1));
	if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
		errx(2, "%s: not an address", host);
	storm.sa_len = sizeof *in;
}

int
main(int argc, char **argv)
{
	int64_t end;

	if (argc != 6)
		errx(2, "usage: storm URL echo|upper|probe CONNS SECONDS SEED");
	address_parse(argv[1]);
	storm.kind = strcmp(argv[2], "echo") == 0    ? ECHO
		     : strcmp(argv[2], "upper") == 0 ? UPPER
						     : PROBE;
	storm.n_clients = (uint32_t)atoi(argv[3]);
	if (storm.n_clients > MAX_CONNS)
		errx(2, "at most %d connections", MAX_CONNS);
	end = now_ms() + (int64_t)(atof(argv[4]) * 1000);
	storm.random = strtoull(argv[5], NULL, 10) * 0x9e3779b97f4a7c15u | 1;
	for (uint32_t i = 0; i < storm.n_clients; i++) {
		storm.clients[i].fd = -1;
		storm.clients[i].request = malloc(REQUEST_MAX + 2 * LINE_MAX);
		if (!storm.clients[i].request)
			err(1, "malloc");
	}
	while (storm_turn(now_ms() >= end) && storm.n_errors < 10)
		;
	printf("{\"conns\": %" PRIu64 ", \"answers\": %" PRIu64 ", \"resets\": %" PRIu64
	       ", \"bytes\": %" PRIu64 ", \"errors\": %" PRIu64 "}\n",
		storm.n_conns, storm.n_answers, storm.n_resets, storm.n_bytes, storm.n_errors);
	return storm.n_errors > 0;
}
