/* SPDX-License-Identifier: MIT */
/*
 * Sys - the real calls
 */
#include "client/hub/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shm/bell.h"

#define NS_PER_SEC 1000000000
#define NS_PER_MS  1000000

#define CLOCK_SOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"

static int64_t
linux_now(const vn_sys *sys)
{
	struct timespec t;

	(void)sys;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * NS_PER_SEC + t.tv_nsec;
}

#if defined(__x86_64__)

/* Does the clock itself count what linux_stamp() reads? */
static bool
linux_has_stamp(const vn_sys *sys)
{
	char name[8];
	int fd = open(CLOCK_SOURCE, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	(void)sys;
	if (fd < 0)
		return false;
	n = read(fd, name, sizeof name);
	close(fd);
	return n == 4 && !memcmp(name, "tsc\n", 4);
}

static uint64_t
linux_stamp(const vn_sys *sys)
{
	(void)sys;
	return __builtin_ia32_rdtsc();
}

#else

#define linux_has_stamp NULL
#define linux_stamp     NULL

#endif

/* For kernels before 5.11, and for filters that do not know the newer call. */
static int
wait_ms(int epoll_fd, struct epoll_event *events, int max, int64_t timeout_ns)
{
	int64_t ms = timeout_ns / NS_PER_MS + (timeout_ns % NS_PER_MS != 0);

	return epoll_wait(epoll_fd, events, max, ms > INT32_MAX ? INT32_MAX : (int)ms);
}

static int
linux_wait(const vn_sys *sys, int epoll_fd, struct epoll_event *events, int max, int64_t timeout_ns)
{
	struct timespec t = {.tv_sec = timeout_ns / NS_PER_SEC, .tv_nsec = timeout_ns % NS_PER_SEC};
	int n;

	(void)sys;
	if (timeout_ns <= 0) {
		n = epoll_wait(epoll_fd, events, max, timeout_ns < 0 ? -1 : 0);
	} else {
		n = epoll_pwait2(epoll_fd, events, max, &t, NULL);
		if (n < 0 && (errno == ENOSYS || errno == EPERM))
			n = wait_ms(epoll_fd, events, max, timeout_ns);
	}
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n;
}

static ssize_t
linux_recv(const vn_sys *sys, int fd, void *data, size_t n)
{
	ssize_t got = recv(fd, data, n, MSG_DONTWAIT);

	(void)sys;
	return got < 0 ? -errno : got;
}

static ssize_t
linux_sendmsg(const vn_sys *sys, int fd, const struct msghdr *msg)
{
	const struct iovec *part = msg->msg_iov;
	ssize_t sent;

	/* One part is the rule, and the kernel is done with it sooner when it need not fetch a msghdr. */
	if (msg->msg_iovlen == 1 && !msg->msg_name && !msg->msg_controllen)
		sent = send(fd, part->iov_base, part->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		sent = sendmsg(fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)sys;
	return sent < 0 ? -errno : sent;
}

static int
linux_recvmmsg(const vn_sys *sys, int fd, struct mmsghdr *msgs, unsigned int n)
{
	int got = recvmmsg(fd, msgs, n, MSG_DONTWAIT, NULL);

	(void)sys;
	return got < 0 ? -errno : got;
}

static int
linux_sendmmsg(const vn_sys *sys, int fd, struct mmsghdr *msgs, unsigned int n)
{
	int sent = sendmmsg(fd, msgs, n, MSG_DONTWAIT | MSG_NOSIGNAL);

	(void)sys;
	return sent < 0 ? -errno : sent;
}

static int
linux_accept(const vn_sys *sys, int fd, struct sockaddr *peer, socklen_t *len)
{
	int conn = accept4(fd, peer, len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)sys;
	return conn < 0 ? -errno : conn;
}

static int
linux_ring(const vn_sys *sys, int fd)
{
	(void)sys;
	return vn_bell_ring(fd);
}

static int
linux_kill(const vn_sys *sys, int pidfd, int signal)
{
	(void)sys;
	return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

const vn_sys vn_sys_linux = {
	.now = linux_now,
	.has_stamp = linux_has_stamp,
	.stamp = linux_stamp,
	.wait = linux_wait,
	.recv = linux_recv,
	.sendmsg = linux_sendmsg,
	.recvmmsg = linux_recvmmsg,
	.sendmmsg = linux_sendmmsg,
	.accept = linux_accept,
	.ring = linux_ring,
	.kill = linux_kill,
};
