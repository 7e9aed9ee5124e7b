/* SPDX-License-Identifier: MIT */
/*
 * Bell - wakes the other side of a lane out of epoll_wait
 *
 * Both kinds are registered edge-triggered, and each write is a new edge even when nobody reads (pinned by
 * tests/unit/bell.c). The worker rings an eventfd that the broker never reads or writes. The broker rings a
 * pipe: never an eventfd, because a peer that shares the open file can clear O_NONBLOCK for both and then
 * saturate the counter, so that the broker's write would block for ever. Only the broker holds the pipe's
 * write end. A full pipe (EAGAIN) means that it is rung already; the worker drains it once in a while.
 */
#ifndef VN_SHM_BELL_H
#define VN_SHM_BELL_H

#include <stdbool.h>

int vn_bell_pipe(int fds[2]); /* [0] to wait on, [1] to ring; both non-blocking and close-on-exec */
int vn_bell_eventfd(void);
int vn_bell_ring(int fd);
int vn_bell_drain(int fd);

#endif
