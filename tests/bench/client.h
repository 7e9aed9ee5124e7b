/* SPDX-License-Identifier: MIT */
/*
 * Client - what the three clients of the benchmark share: connect, clock, numbers
 *
 * Everything here ends the program with a sentence when it fails: a benchmark that goes on after an
 * error measures something else.
 */
#ifndef VN_BENCH_CLIENT_H
#define VN_BENCH_CLIENT_H

#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static inline uint64_t
client_clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline uint64_t
client_number(const char *text, uint64_t low, uint64_t high)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || end == text || *end || n < low || n > high)
		errx(2, "%s: a number from %ju to %ju, please", text, (uintmax_t)low,
			(uintmax_t)high);
	return n;
}

static inline void
client_raise_fd_limit(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* A connection to 127.0.0.1 that sends small requests at once. */
static inline int
client_connect(uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0)
		err(1, "socket");
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) < 0)
		err(1, "TCP_NODELAY");
	if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
		err(1, "connect to 127.0.0.1:%u", (unsigned)port);
	return fd;
}

#endif
