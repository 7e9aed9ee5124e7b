/* SPDX-License-Identifier: MIT */
/*
 * Load - clients that number their requests, check every byte of every answer, and count every failure
 *
 * load [options] URL echo|sums|again
 *
 *   -c N   steady clients: one connection each, to the end; they never connect again
 *   -w N   wild clients: stop reading for a while, half-close, close and reset; then the next connection
 *   -d N   requests in flight of each client; 1 is one at a time
 *   -z N   most bytes of a small request; -Z N of a large one, which is one in eight
 *   -b N   one read in N is followed by a pause of up to 200 ms, with little room for what comes meanwhile
 *   -k N   one write in N stops in the middle of a request, for up to 40 ms
 *   -x crash|hang -X N   one request in N takes down the worker that gets it first (again)
 *   -y N   one request in N is in the hands of a worker for up to 100 ms (again)
 *   -p MS  and so often a request that takes down each worker that gets it, on a connection of its own
 *   -e     an early end of a stream is counted as a reset, as behind a proxy that tells no difference
 *   -r     a steady client that lost its connection opens another one
 *   -s N   the seed
 *
 * It goes on until its standard input ends; then each client gets the answers that it waits for, half-closes, and
 * has to see the end of the stream. A line on standard input asks for a line of JSON, which has what happened since
 * the beginning and, of the answers since the last such line, how long they took (with -d 1).
 *
 * What is wrong: a byte that differs, a byte too many, an end before everything was answered, silence; these
 * are told, and end the program with 1. A reset is counted; whoever started this knows how many there may be.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/chaos/script.h"

#define MAX_CLIENTS 1024
#define BATCH       128
#define BATCH_BYTES 32768 /* requests that are sent together */
#define SMALL_ROOM  8192  /* of a client that does not keep up */
#define SILENCE_MS  40000
#define MAX_ERRORS  10
#define PART_BITS   5 /* of the histogram: 32 buckets for each power of two */
#define N_BUCKETS   (64 << PART_BITS)

enum role { STEADY, WILD, POISON };
enum life { LIVES, HALF_CLOSES, CLOSES, RESETS }; /* how it ends */

struct client {
	int fd;
	enum role role;
	enum life life;
	script tx, rx;
	unsigned char *out, *answer; /* requests to be sent; the answer that is awaited */
	size_t out_len, sent, stop_at;
	size_t answer_len, matched;
	bool in_any; /* of the answer: within digits that may be any */
	uint64_t n_left;
	int64_t pause_until, stall_until, moved, asked_ns;
	bool is_shut, wants_room, was_poisonous;
};

static struct {
	script_plan plan;
	bool is_unix, finishing, reconnects, ends_are_resets;
	struct sockaddr_storage sa;
	socklen_t sa_len;
	uint64_t seed, random, n_conns;
	uint32_t n_clients, depth, halve_each, stall_each, poison_ms;
	int epoll_fd;
	int64_t now, poison_at;
	uint64_t n_requests, n_answers, n_bytes, n_lost, n_wild_lost, n_poisoned, n_errors, n_over;
	uint64_t n_timed, histogram[N_BUCKETS];
	struct client clients[MAX_CLIENTS];
} load = {.plan = {.deadly_each = 500, .small = 200}, .depth = 1, .seed = 1};

static int64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static uint64_t
draw(uint64_t n)
{
	load.random ^= load.random << 13;
	load.random ^= load.random >> 7;
	load.random ^= load.random << 17;
	return load.random % n;
}

__attribute__((format(printf, 2, 3))) static void
wrong(const struct client *c, const char *format, ...)
{
	va_list list;

	load.n_errors++;
	fprintf(stderr,
		"load: seed %" PRIu64 ", connection %" PRIu64 ", answer %" PRIu64 " of %" PRIu64
		": ",
		load.seed, c->rx.conn, c->rx.number, c->tx.number);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
}

/* How long answers took: buckets that grow with what they hold. */

static uint32_t
bucket_of(uint64_t ns)
{
	uint32_t shift = 0;

	while (ns >> shift >= 2u << PART_BITS)
		shift++;
	return (shift << PART_BITS) + (uint32_t)(ns >> shift);
}

static double
quantile_us(double q)
{
	uint64_t wanted = (uint64_t)(q * (double)load.n_timed), seen = 0;

	for (uint32_t i = 0; i < N_BUCKETS; i++) {
		seen += load.histogram[i];
		if (seen > wanted) {
			uint32_t shift = i >> PART_BITS ? (i >> PART_BITS) - 1 : 0;

			return (double)((uint64_t)(i - (shift << PART_BITS)) << shift) / 1000;
		}
	}
	return 0;
}

static void
report(void)
{
	printf("{\"conns\": %" PRIu64 ", \"requests\": %" PRIu64 ", \"answers\": %" PRIu64
	       ", \"bytes\": %" PRIu64 ", \"resets\": %" PRIu64 ", \"wild_resets\": %" PRIu64
	       ", \"poisoned\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"ns\": %" PRId64
	       ", \"timed\": %" PRIu64 ", \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
		load.n_conns, load.n_requests, load.n_answers, load.n_bytes, load.n_lost,
		load.n_wild_lost, load.n_poisoned, load.n_errors, now_ns(), load.n_timed,
		quantile_us(0.5), quantile_us(0.99));
	fflush(stdout);
	memset(load.histogram, 0, sizeof load.histogram);
	load.n_timed = 0;
}

/* A client's life. */

static bool
is_answered(const struct client *c)
{
	return c->rx.number == c->tx.number && c->matched == c->answer_len && c->sent == c->out_len;
}

static void
client_open(struct client *c)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
	static const enum life lives[] = {HALF_CLOSES, HALF_CLOSES, CLOSES, RESETS};
	int one = 1, room = SMALL_ROOM;

	c->fd = socket(load.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd >= 0 && load.stall_each)
		setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)(void *)&load.sa, load.sa_len) < 0)
		err(1, "connect");
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	if (!load.is_unix)
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (epoll_ctl(load.epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
		err(1, "epoll_ctl");
	c->tx = c->rx = script_of(&load.plan, ++load.n_conns, load.seed);
	c->out_len = c->sent = c->answer_len = c->matched = 0;
	c->stop_at = SIZE_MAX;
	c->life = c->role == WILD ? lives[draw(4)] : LIVES;
	c->n_left = c->role == STEADY ? UINT64_MAX : 1 + draw(30);
	c->is_shut = c->wants_room = c->was_poisonous = false;
	c->pause_until = c->stall_until = 0;
	c->moved = load.now;
}

static void
client_close(struct client *c, bool by_reset)
{
	struct linger linger = {.l_onoff = 1};

	if (by_reset)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	close(c->fd);
	c->fd = -1;
	if (c->role == POISON)
		load.poison_at = load.now + load.poison_ms;
}

/* The service cut it. */
static void
client_was_reset(struct client *c, const char *how)
{
	if (c->was_poisonous)
		load.n_poisoned++;
	else if (c->role == STEADY)
		load.n_lost++;
	else
		load.n_wild_lost++;
	if (!c->was_poisonous && load.n_lost + load.n_wild_lost <= MAX_ERRORS)
		fprintf(stderr,
			"load: connection %" PRIu64 ", answer %" PRIu64 " of %" PRIu64 ": %s\n",
			c->rx.conn, c->rx.number, c->tx.number, how);
	client_close(c, false);
}

static void
client_ended(struct client *c)
{
	if ((load.ends_are_resets && !c->is_shut) || (load.is_unix && !is_answered(c))) {
		client_was_reset(c, "cut");
		return;
	}
	if (!c->is_shut || !is_answered(c))
		wrong(c, "the stream ended too early");
	load.n_over++;
	client_close(c, false);
}

static void
client_want_room(struct client *c, bool wants)
{
	struct epoll_event event = {.data.ptr = c};

	event.events = (c->stall_until ? 0 : EPOLLIN) | (wants ? EPOLLOUT : 0);
	c->wants_room = wants;
	epoll_ctl(load.epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

/* Sending. */

static void
requests_make(struct client *c)
{
	size_t ignored;

	c->out_len = c->sent = 0;
	while (c->n_left &&
		c->tx.number - c->rx.number + (c->matched < c->answer_len) < load.depth &&
		c->out_len < BATCH_BYTES) {
		static unsigned char answer[SCRIPT_MAX];

		c->out_len += script_next(&c->tx, c->out + c->out_len, answer, &ignored);
		c->n_left--;
		load.n_requests++;
	}
	c->stop_at = SIZE_MAX;
	if (load.halve_each && c->out_len > 1 && draw(load.halve_each) == 0)
		c->stop_at = 1 + draw(c->out_len - 1);
}

static void
poison_make(struct client *c)
{
	c->out_len = (size_t)sprintf((char *)c->out, "crash 60000 counted\n");
	c->sent = 0;
	c->stop_at = SIZE_MAX;
	c->tx.number++;
	c->was_poisonous = true;
}

static void
client_send(struct client *c)
{
	size_t until = c->stop_at < c->out_len ? c->stop_at : c->out_len;
	ssize_t n;

	if (c->sent == 0)
		c->asked_ns = now_ns();
	n = send(c->fd, c->out + c->sent, until - c->sent, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN) {
		client_was_reset(c, strerror(errno));
		return;
	}
	if (n > 0) {
		c->sent += (size_t)n;
		c->moved = load.now;
	}
	if (c->sent == c->stop_at) {
		c->stop_at = SIZE_MAX;
		c->pause_until = load.now + 1 + (int64_t)draw(40);
	}
	if ((c->sent < until) != c->wants_room)
		client_want_room(c, c->sent < until);
}

/* It has said everything. */
static void
client_finish(struct client *c)
{
	if (c->role == POISON) {
		if (is_answered(c) && !c->was_poisonous) {
			poison_make(c);
			client_send(c);
		}
	} else if (c->life == RESETS && !load.finishing) {
		client_close(c, true);
	} else if (c->life == CLOSES && is_answered(c)) {
		client_close(c, false);
	} else if ((c->life == HALF_CLOSES || is_answered(c)) && !c->is_shut) {
		shutdown(c->fd, SHUT_WR);
		c->is_shut = true;
	}
}

/* What it does next of its own accord. */
static void
client_live(struct client *c)
{
	if (load.now < c->pause_until || c->wants_room || c->is_shut || c->was_poisonous)
		return;
	if (load.finishing)
		c->n_left = 0;
	if (c->sent == c->out_len && c->n_left)
		requests_make(c);
	if (c->sent < c->out_len)
		client_send(c);
	else if (c->n_left == 0)
		client_finish(c);
}

/* Checking. */

static bool
answer_matches(struct client *c, unsigned char byte)
{
	if (c->in_any && isdigit(byte))
		return true;
	if (c->in_any || c->answer[c->matched] != SCRIPT_ANY) {
		c->in_any = false;
		return c->answer[c->matched++] == byte;
	}
	c->in_any = true;
	c->matched++;
	return isdigit(byte);
}

static size_t
answer_check(struct client *c, const unsigned char *data, size_t n)
{
	size_t rest = c->answer_len - c->matched;

	if (load.plan.kind == SCRIPT_AGAIN) {
		if (answer_matches(c, *data))
			return 1;
	} else {
		n = n < rest ? n : rest;
		if (memcmp(data, c->answer + c->matched, n) == 0) {
			c->matched += n;
			return n;
		}
	}
	wrong(c, "'%.60s' instead of '%.60s'", (const char *)data, c->answer + c->matched);
	return 0;
}

static void
answer_is_whole(struct client *c)
{
	load.n_answers++;
	if (load.depth > 1)
		return;
	load.histogram[bucket_of((uint64_t)(now_ns() - c->asked_ns))]++;
	load.n_timed++;
}

static void
client_check(struct client *c, const unsigned char *data, size_t n)
{
	static unsigned char request[SCRIPT_MAX];

	load.n_bytes += n;
	while (n) {
		size_t part;

		if (c->matched == c->answer_len) {
			if (c->was_poisonous || c->rx.number == c->tx.number) {
				wrong(c, "more came than was asked for: '%.60s'", data);
				client_close(c, true);
				return;
			}
			script_next(&c->rx, request, c->answer, &c->answer_len);
			c->matched = 0;
			c->in_any = false;
		}
		part = answer_check(c, data, n);
		if (part == 0) {
			client_close(c, true);
			return;
		}
		data += part;
		n -= part;
		if (c->matched == c->answer_len)
			answer_is_whole(c);
	}
}

static void
client_stall(struct client *c)
{
	if (c->role == WILD && draw(100) == 0)
		c->stall_until = load.now + 1 + (int64_t)draw(500);
	else if (load.stall_each && draw(load.stall_each) == 0)
		c->stall_until = load.now + 1 + (int64_t)draw(200);
	if (c->stall_until)
		client_want_room(c, c->wants_room);
}

static void
client_read(struct client *c)
{
	static unsigned char data[65536 + 1];
	ssize_t n = recv(c->fd, data, sizeof data - 1, 0);

	if (n < 0 && errno == EAGAIN)
		return;
	c->moved = load.now;
	if (n < 0) {
		client_was_reset(c, strerror(errno));
		return;
	}
	if (n == 0) {
		client_ended(c);
		return;
	}
	data[n] = '\0';
	client_check(c, data, (size_t)n);
	if (c->fd >= 0)
		client_stall(c);
}

static void
client_turn(struct client *c, uint32_t events)
{
	if (c->fd >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !c->stall_until)
		client_read(c);
	if (c->fd >= 0 && events & EPOLLOUT)
		client_send(c);
	if (c->fd >= 0)
		client_live(c);
}

/* All of them, once a millisecond: whose pause is over, who is to begin. */

static void
client_begin(struct client *c)
{
	bool is_due = c->role != POISON || load.now >= load.poison_at;
	bool is_new = c->tx.conn == 0;

	if (!load.finishing && is_due && (is_new || c->role != STEADY || load.reconnects))
		client_open(c);
}

static bool
client_look(struct client *c)
{
	if (c->fd < 0)
		client_begin(c);
	if (c->fd < 0)
		return false;
	if (c->stall_until && load.now >= c->stall_until) {
		c->stall_until = 0;
		c->moved = load.now;
		client_want_room(c, c->wants_room);
	}
	client_live(c);
	if (c->fd >= 0 && load.now - c->moved > SILENCE_MS && !is_answered(c)) {
		wrong(c, "nothing has moved for %d s (%zu of %zu sent%s)", SILENCE_MS / 1000,
			c->sent, c->out_len, c->is_shut ? ", half-closed" : "");
		client_close(c, true);
	}
	return c->fd >= 0;
}

static bool
anybody_left(void)
{
	bool any = false;

	for (uint32_t i = 0; i < load.n_clients; i++)
		any |= client_look(&load.clients[i]);
	return any;
}

/* Whoever started this wants something. */
static void
on_input(void)
{
	char data[64];
	ssize_t n = read(STDIN_FILENO, data, sizeof data);

	for (ssize_t i = 0; i < n; i++)
		if (data[i] == '\n')
			report();
	if (n > 0 || (n < 0 && errno == EAGAIN))
		return;
	load.finishing = true;
	epoll_ctl(load.epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
}

static void
run(void)
{
	struct epoll_event events[BATCH], event = {.events = EPOLLIN};
	int64_t looked = 0;

	fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
	if (epoll_ctl(load.epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0)
		err(1, "standard input");
	while (load.n_errors < MAX_ERRORS) {
		int n;

		load.now = now_ns() / 1000000;
		if (load.now != looked && !anybody_left() && load.finishing)
			return;
		looked = load.now;
		n = epoll_wait(load.epoll_fd, events, BATCH, 1);
		for (int i = 0; i < n; i++)
			if (events[i].data.ptr)
				client_turn(events[i].data.ptr, events[i].events);
			else
				on_input();
	}
}

static void
address_parse(const char *url)
{
	struct sockaddr_in *in = (void *)&load.sa;
	struct sockaddr_un *un = (void *)&load.sa;
	char host[64], port[16];

	if (sscanf(url, "tcp://%63[0-9.]:%15[0-9]", host, port) == 2) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)atoi(port));
		if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
			errx(2, "%s: not an address", host);
		load.sa_len = sizeof *in;
	} else if (strncmp(url, "unix:", 5) == 0) {
		load.is_unix = true;
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path, sizeof un->sun_path, "%s", url + 5);
		load.sa_len = sizeof *un;
	} else {
		errx(2, "%s: not a URL of IPv4 or a Unix socket", url);
	}
}

static void
clients_add(enum role role, const char *count)
{
	for (int n = atoi(count); n > 0; n--) {
		struct client *c = &load.clients[load.n_clients++];

		if (load.n_clients >= MAX_CLIENTS)
			errx(2, "at most %d clients", MAX_CLIENTS);
		*c = (struct client){.fd = -1, .role = role};
		c->out = malloc(BATCH_BYTES + SCRIPT_MAX);
		c->answer = malloc(SCRIPT_MAX);
		if (!c->out || !c->answer)
			err(1, "malloc");
	}
}

static void
option_take(int option)
{
	switch (option) {
	case 'c':
		clients_add(STEADY, optarg);
		break;
	case 'w':
		clients_add(WILD, optarg);
		break;
	case 'd':
		load.depth = (uint32_t)atoi(optarg);
		break;
	case 'z':
		load.plan.small = (size_t)atol(optarg);
		break;
	case 'Z':
		load.plan.large = (size_t)atol(optarg);
		break;
	case 'b':
		load.stall_each = (uint32_t)atoi(optarg);
		break;
	case 'y':
		load.plan.slow_each = (uint32_t)atoi(optarg);
		break;
	case 'k':
		load.halve_each = (uint32_t)atoi(optarg);
		break;
	case 'x':
		load.plan.deadly = *optarg == 'c' ? DEADLY_CRASH : DEADLY_HANG;
		break;
	case 'X':
		load.plan.deadly_each = (uint32_t)atoi(optarg);
		break;
	case 'p':
		load.poison_ms = (uint32_t)atoi(optarg);
		clients_add(POISON, "1");
		break;
	case 'e':
		load.ends_are_resets = true;
		break;
	case 'r':
		load.reconnects = true;
		break;
	case 's':
		load.seed = strtoull(optarg, NULL, 10);
		break;
	default:
		errx(2, "usage: load [options] URL echo|sums|again");
	}
}

int
main(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "c:w:d:z:Z:b:k:x:X:y:p:ers:")) > 0)
		option_take(option);
	if (argc - optind != 2 || load.depth == 0 || load.plan.deadly_each == 0)
		errx(2, "usage: load [options] URL echo|sums|again");
	address_parse(argv[optind]);
	load.plan.kind = argv[optind + 1][0] == 'e'   ? SCRIPT_ECHO
			 : argv[optind + 1][0] == 's' ? SCRIPT_SUMS
						      : SCRIPT_AGAIN;
	load.random = load.seed * 0x9e3779b97f4a7c15u | 1;
	load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	signal(SIGPIPE, SIG_IGN);
	run();
	report();
	return load.n_errors > 0;
}
