/* SPDX-License-Identifier: MIT */
/*
 * Bell - see bell.h for which kind goes where, and why
 */
#include "shm/bell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DRAIN_BYTES 4096
#define DRAIN_READS 32 /* twice what a pipe holds by default: a hub never drains for ever */

/**
 * vn_bell_pipe() - a bell that the broker rings
 * @fds: [0] to wait on, [1] to ring; both non-blocking and close-on-exec
 *
 * Return: 0 or a negative errno.
 */
int
vn_bell_pipe(int fds[2])
{
	return pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0 ? -errno : 0;
}

/**
 * vn_bell_eventfd() - a bell that the worker rings, and the broker only waits on
 *
 * Return: a descriptor, non-blocking and close-on-exec, or a negative errno.
 */
int
vn_bell_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/**
 * vn_bell_ring() - make a new edge for whoever waits on the other end
 * @fd: an eventfd, or the end of a pipe that is written
 *
 * Eight bytes are right for both kinds. A full bell is rung already, as the edges that filled it
 * were seen or will be. Nobody at the other end is an error here and no signal: SIGPIPE is ignored,
 * which the hub sees to when it is made.
 *
 * Return: 0, -EPIPE if nobody waits any more, or a negative errno.
 */
int
vn_bell_ring(int fd)
{
	static const uint64_t once = 1;
	ssize_t n;

	do
		n = write(fd, &once, sizeof once);
	while (n < 0 && errno == EINTR);
	return n >= 0 || errno == EAGAIN ? 0 : -errno;
}

/**
 * vn_bell_drain() - empty a pipe that was rung
 *
 * Not needed for its edges, only so that it has room for new ones: once in a thousand wakes is
 * enough. An eventfd needs no draining.
 *
 * Return: 0, -EPIPE if the other end was closed, or a negative errno.
 */
int
vn_bell_drain(int fd)
{
	char sink[DRAIN_BYTES];

	for (int i = 0; i < DRAIN_READS; i++) {
		ssize_t n = read(fd, sink, sizeof sink);

		if (n == 0)
			return -EPIPE;
		if (n < 0 && errno != EINTR)
			return errno == EAGAIN ? 0 : -errno;
	}
	return 0;
}
