/* SPDX-License-Identifier: MIT */
/*
 * Notify - the service manager is told how we are
 *
 * sd_notify(3) in the few lines that it takes: a datagram for each news to the socket in $NOTIFY_SOCKET. Ours does
 * not wait when the manager does not read, which that of libsystemd does.
 *
 *     READY       the first worker is ready; a change of workers is over, for better or worse
 *     RELOADING   a change of workers has begun
 *     STOPPING    it drains
 *     STATUS      what `show info` says, in a sentence; when it changes, at most every STATUS_EVERY
 *     WATCHDOG    at half of $WATCHDOG_USEC, by a timer of the hub, if we have looked after the workers since the
 *                 last time: a broker that hangs, or does not get to its workers, is silent
 *
 * All of it follows from events. The variables are for us alone: workers do not see them.
 */
#include "broker/notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "broker/change.h"

#define STATUS_EVERY (200 * VN_MS)
#define TEXT_BYTES   256

struct vn_notify {
	vn_broker *broker;
	int fd;
	struct sockaddr_un address;
	socklen_t address_len;
	vn_timer status_timer, watchdog_timer;
	vn_time watchdog_every; /* 0: nobody waits for it */
	vn_time swept_at;       /* of the broker, when we last gave a sign of life */
	char status[TEXT_BYTES];
};

static void
tell(const struct vn_notify *n, const char *text)
{
	ssize_t rc = sendto(n->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
		(const struct sockaddr *)(const void *)&n->address, n->address_len);

	(void)rc; /* whoever does not listen is not told */
}

static void
status_fire(vn_timer *t)
{
	struct vn_notify *n = (void *)((char *)t - offsetof(struct vn_notify, status_timer));
	const vn_broker *b = n->broker;
	char text[TEXT_BYTES];

	snprintf(text, sizeof text, "STATUS=%s, %u of %u workers ready", vn_phase_name(b->phase),
		b->n_ready, vn_change_count(b->change));
	if (strcmp(text, n->status) != 0)
		tell(n, text);
	strcpy(n->status, text);
}

static void
watchdog_fire(vn_timer *t)
{
	struct vn_notify *n = (void *)((char *)t - offsetof(struct vn_notify, watchdog_timer));
	const vn_broker *b = n->broker;

	if (b->swept_at != n->swept_at)
		tell(n, "WATCHDOG=1");
	n->swept_at = b->swept_at;
	vn_wheel_arm(b->hub->wheel, t, b->hub->now + n->watchdog_every);
}

static void
tell_reloading(const struct vn_notify *n)
{
	char text[TEXT_BYTES];
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
		(long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	tell(n, text);
}

/**
 * vn_notify_event() - what the manager has to know of it
 */
void
vn_notify_event(vn_broker *b, vn_event_kind kind)
{
	struct vn_notify *n = b->notify;

	if (!n)
		return;
	if (kind == VN_EVENT_PHASE)
		tell(n, b->phase == VN_PHASE_SERVING ? "READY=1" : "STOPPING=1");
	else if (kind == VN_EVENT_CHANGE_BEGUN)
		tell_reloading(n);
	else if ((kind == VN_EVENT_CHANGE_DONE || kind == VN_EVENT_CHANGE_FAILED) &&
		 b->phase == VN_PHASE_SERVING)
		tell(n, "READY=1");
	if (!vn_timer_armed(&n->status_timer))
		vn_wheel_arm(b->hub->wheel, &n->status_timer, b->hub->now + STATUS_EVERY);
}

/* "/path", or "@name" for one that has no file. */
static bool
address_parse(struct vn_notify *n, const char *path)
{
	size_t len = strlen(path);

	if ((*path != '/' && *path != '@') || len < 2 || len >= sizeof n->address.sun_path)
		return false;
	n->address.sun_family = AF_UNIX;
	memcpy(n->address.sun_path, path, len);
	if (*path == '@')
		n->address.sun_path[0] = '\0';
	n->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*path == '/'));
	return true;
}

/* How often a sign of life is due; 0: never, or of somebody else. */
static vn_time
watchdog_interval(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	unsigned long long n = usec ? strtoull(usec, NULL, 10) : 0;

	if (pid && strtoull(pid, NULL, 10) != (unsigned long long)getpid())
		return 0;
	return n > 0 && n < 86400ull * 1000000 ? (vn_time)n * VN_US / 2 : 0;
}

static struct vn_notify *
notify_open(vn_broker *b, const char *path)
{
	struct vn_notify *n = path ? calloc(1, sizeof *n) : NULL;

	if (!n)
		return NULL;
	n->fd = -1;
	if (address_parse(n, path))
		n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (n->fd < 0) {
		free(n);
		return NULL;
	}
	n->broker = b;
	n->status_timer.fire = status_fire;
	n->watchdog_timer.fire = watchdog_fire;
	n->watchdog_every = watchdog_interval();
	if (n->watchdog_every)
		vn_wheel_arm(b->hub->wheel, &n->watchdog_timer, b->hub->now + n->watchdog_every);
	return n;
}

/**
 * vn_notify_new() - who is to be told, from the environment, which is cleared of it
 *
 * Return: for vn_notify_free(); NULL: nobody.
 */
struct vn_notify *
vn_notify_new(vn_broker *b)
{
	struct vn_notify *n = notify_open(b, getenv("NOTIFY_SOCKET"));

	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return n;
}

/**
 * vn_notify_free() - nobody is told any more; takes NULL
 */
struct vn_notify *
vn_notify_free(struct vn_notify *n)
{
	if (!n)
		return NULL;
	vn_wheel_disarm(n->broker->hub->wheel, &n->status_timer);
	vn_wheel_disarm(n->broker->hub->wheel, &n->watchdog_timer);
	close(n->fd);
	free(n);
	return NULL;
}
