/* SPDX-License-Identifier: MIT */
/*
 * Sys - the one seam between this project and the operating system
 *
 * Everything that a schedule depends on is reached through this table: clock, poll, socket calls, processes,
 * bells. vn_sys_linux holds the real calls; a test can fill a table of its own and so decide what happens and
 * when. All functions return a result or a negative errno; none of them blocks except wait.
 */
#ifndef VN_HUB_SYS_H
#define VN_HUB_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>

typedef struct vn_sys vn_sys;

struct vn_sys {
	void *world;                       /* the table's own */
	int64_t (*now)(const vn_sys *sys); /* CLOCK_MONOTONIC, nanoseconds */
	/* Optional: a count that goes on with `now`, see stamp.h. Where a test makes up `now`, it has none, or its own. */
	bool (*has_stamp)(const vn_sys *sys);
	uint64_t (*stamp)(const vn_sys *sys);
	/* timeout_ns: negative waits for ever */
	int (*wait)(const vn_sys *sys, int epoll_fd, struct epoll_event *events, int max,
		int64_t timeout_ns);
	ssize_t (*recv)(const vn_sys *sys, int fd, void *data, size_t n);
	ssize_t (*sendmsg)(const vn_sys *sys, int fd, const struct msghdr *msg);
	int (*recvmmsg)(const vn_sys *sys, int fd, struct mmsghdr *msgs, unsigned int n);
	int (*sendmmsg)(const vn_sys *sys, int fd, struct mmsghdr *msgs, unsigned int n);
	int (*accept)(const vn_sys *sys, int fd, struct sockaddr *peer, socklen_t *len);
	int (*ring)(const vn_sys *sys, int fd); /* vn_bell_ring() */
	int (*kill)(const vn_sys *sys, int pidfd, int signal);
};

extern const vn_sys vn_sys_linux;

#endif
