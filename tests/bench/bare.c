/* SPDX-License-Identifier: MIT */
/*
 * Bare echo - the baseline of the benchmark: what a server costs without any library
 *
 * One process, one thread, one edge-triggered epoll set. Each connection is registered once, for input
 * and the peer's shutdown, and never again. A request costs one recv and one send, and a share of one
 * epoll_wait: a recv that returns less than it asked for has drained the socket, so no second recv finds
 * that out. The shutdown of the peer has its own event (EPOLLRDHUP): after it the socket is read until
 * recv says 0.
 *
 * Nothing is stored per connection but what the peer would not take. Then, and only then, reading stops
 * and the descriptor is registered again with EPOLLOUT. The bytes wait in a heap buffer; it is gone when
 * they are.
 *
 * Usage: bare PORT. Port 0 is a port of the system's choosing; "READY PORT" on stdout says which.
 */
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUF_BYTES    65536
#define BATCH_EVENTS 256

typedef struct bare_conn {
	char *rest; /* what the peer has not taken yet, NULL most of the time */
	size_t rest_at;
	size_t rest_len;
	bool half_closed; /* EPOLLRDHUP was seen: a short read no longer means drained */
} bare_conn;

static char bare_buf[BUF_BYTES];

static void
conn_watch(int epoll_fd, int fd, int op, uint32_t events)
{
	struct epoll_event event = {.events = events | EPOLLET, .data.fd = fd};

	if (epoll_ctl(epoll_fd, op, fd, &event) < 0)
		err(1, "epoll_ctl");
}

static void
conn_close(int fd, bare_conn *c)
{
	free(c->rest);
	*c = (bare_conn){0};
	close(fd);
}

/* Keep what the peer does not take now. */
static void
conn_keep(int epoll_fd, int fd, bare_conn *c, const char *data, size_t len)
{
	c->rest = malloc(len);
	if (!c->rest)
		err(1, "malloc");
	memcpy(c->rest, data, len);
	c->rest_at = 0;
	c->rest_len = len;
	conn_watch(epoll_fd, fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP | EPOLLOUT);
}

/* Return: 1 when the rest is out, 0 when the peer takes no more now, negative when it is gone. */
static int
conn_send_rest(int epoll_fd, int fd, bare_conn *c)
{
	ssize_t n = send(fd, c->rest + c->rest_at, c->rest_len - c->rest_at, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	c->rest_at += n;
	if (c->rest_at < c->rest_len)
		return 0;
	free(c->rest);
	c->rest = NULL;
	conn_watch(epoll_fd, fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP);
	return 1;
}

/* Return: 1 to read on, 0 to wait for the next event, negative to close. */
static int
conn_echo(int epoll_fd, int fd, bare_conn *c)
{
	ssize_t n = recv(fd, bare_buf, sizeof bare_buf, 0);
	ssize_t sent;

	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	sent = send(fd, bare_buf, n, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN)
		return -errno;
	if (sent < 0)
		sent = 0;
	if (sent < n) {
		conn_keep(epoll_fd, fd, c, bare_buf + sent, n - sent);
		return 0;
	}
	return n == sizeof bare_buf || c->half_closed;
}

static void
conn_on_event(int epoll_fd, int fd, bare_conn *c, uint32_t events)
{
	int more = 1;

	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->half_closed = true;
	if (c->rest)
		more = conn_send_rest(epoll_fd, fd, c);
	while (more > 0)
		more = conn_echo(epoll_fd, fd, c);
	if (more < 0)
		conn_close(fd, c);
}

static void
listener_accept(int epoll_fd, int listen_fd, int n_conns)
{
	int fd;

	while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (fd >= n_conns) {
			close(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		conn_watch(epoll_fd, fd, EPOLL_CTL_ADD, EPOLLIN | EPOLLRDHUP);
	}
}

static int
listener_open(int port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	socklen_t len = sizeof addr;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, 4096) < 0)
		err(1, "127.0.0.1:%d", port);
	getsockname(fd, (struct sockaddr *)&addr, &len);
	printf("READY %d\n", ntohs(addr.sin_port));
	fflush(stdout);
	return fd;
}

static int
limit_raise(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur > INT_MAX ? INT_MAX : (int)limit.rlim_cur;
}

int
main(int argc, char **argv)
{
	struct epoll_event events[BATCH_EVENTS];
	int n_conns = limit_raise();
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	bare_conn *conns;
	int listen_fd;

	if (argc != 2)
		errx(2, "usage: bare PORT");
	if (n_conns > 1 << 20)
		n_conns = 1 << 20;
	conns = calloc(n_conns, sizeof *conns);
	if (!conns || epoll_fd < 0)
		err(1, "start");
	listen_fd = listener_open(atoi(argv[1]));
	conn_watch(epoll_fd, listen_fd, EPOLL_CTL_ADD, EPOLLIN);
	for (;;) {
		int n = epoll_wait(epoll_fd, events, BATCH_EVENTS, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (fd == listen_fd)
				listener_accept(epoll_fd, listen_fd, n_conns);
			else
				conn_on_event(epoll_fd, fd, &conns[fd], events[i].events);
		}
	}
}
