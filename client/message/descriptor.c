/* SPDX-License-Identifier: MIT */
/*
 * Descriptor - what happens at a descriptor of the program's own
 *
 * Edge by edge: an event is told when it begins, and what was not taken yet is merged into one item. What hangs up
 * or has an error can be read and written without waiting, if only to learn that, so who asked for that is told.
 */
#include "client/message/descriptor.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/message/source.h"

#define ALL (VN_READABLE | VN_WRITABLE | VN_HANGUP)

typedef struct descriptor {
	vn_source source;
	vn_watch watch;
	int asked, pending;
} descriptor;

/* EPOLLIN, EPOLLOUT, EPOLLRDHUP and the rest have the numbers that poll(2) gives them. */
_Static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLRDHUP == POLLRDHUP &&
		       EPOLLHUP == POLLHUP && EPOLLERR == POLLERR,
	"events of epoll and poll are the same");

/* What to ask the kernel for; 0 if there is anything else in it, or nothing. */
static uint32_t
events_of(int asked)
{
	if (asked & ~ALL)
		return 0;
	return (asked & VN_READABLE ? (uint32_t)EPOLLIN : 0u) |
	       (asked & VN_WRITABLE ? (uint32_t)EPOLLOUT : 0u) |
	       (asked & VN_HANGUP ? (uint32_t)EPOLLRDHUP : 0u);
}

static int
told(int asked, uint32_t events)
{
	int now = (events & EPOLLIN ? VN_READABLE : 0) | (events & EPOLLOUT ? VN_WRITABLE : 0) |
		  (events & EPOLLRDHUP ? VN_HANGUP : 0);

	if (events & (EPOLLHUP | EPOLLERR))
		now |= VN_READABLE | VN_WRITABLE;
	return (now & asked) | (events & (EPOLLHUP | EPOLLERR) ? VN_HANGUP : 0);
}

static int
descriptor_try(void *end, void *item)
{
	descriptor *d = end;

	if (!d->pending)
		return -EAGAIN;
	memcpy(item, &d->pending, sizeof d->pending);
	d->pending = 0;
	return 0;
}

static void
descriptor_event(vn_watch *w, uint32_t events)
{
	descriptor *d = (descriptor *)(void *)((char *)w - offsetof(descriptor, watch));

	d->pending |= told(d->asked, events);
	if (d->pending && vn_source_give(&d->source, &d->pending))
		d->pending = 0;
}

static void
descriptor_deinit(vn_source *s)
{
	vn_watch_remove(s->rx.hub->poller, &((descriptor *)(void *)s)->watch);
	vn_hub_unhold(s->rx.hub);
}

static const vn_end_ops descriptor_ops = {
	.try = descriptor_try,
	.queue = vn_source_queue,
	.close = vn_source_close,
};

/**
 * vn_watch_fd() - receive what happens at a descriptor
 * @h:      hub
 * @fd:     stays the caller's; to be closed after the end
 * @events: some of VN_READABLE, VN_WRITABLE, VN_HANGUP
 *
 * Return: a receiving end of int, some of the same, and VN_HANGUP on an error; NULL with errno ENOMEM, EINVAL for
 * other events or none, EPERM for a file that is always ready, EEXIST when this hub watches it already, EBADF.
 */
vn_rx *(vn_watch_fd)(vn_hub *h, int fd, int events)
{
	uint32_t asked = events_of(events);
	descriptor *d = asked ? calloc(1, sizeof *d) : NULL;
	int rc;

	if (!d) {
		errno = asked ? ENOMEM : EINVAL;
		return NULL;
	}
	d->asked = events;
	rc = vn_watch_add(h->poller, &d->watch, fd, asked | EPOLLET, descriptor_event);
	if (rc < 0) {
		free(d);
		errno = -rc;
		return NULL;
	}
	vn_hub_hold(h);
	return vn_source_init(&d->source, h, &descriptor_ops, sizeof(int), descriptor_deinit);
}

/* For one select. */

/* 0 if it is so, or it has hung up; -EAGAIN if not; -EBADF for no descriptor. */
static int
look(int fd, uint32_t events)
{
	struct pollfd p = {.fd = fd, .events = (short)events};
	int n;

	if (fd < 0)
		return -EBADF;
	do
		n = poll(&p, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (p.revents & POLLNVAL)
		return -EBADF;
	return n ? 0 : -EAGAIN;
}

static void
wait_event(vn_watch *watch, uint32_t events)
{
	vn_descriptor_wait *w =
		(vn_descriptor_wait *)(void *)((char *)watch - offsetof(vn_descriptor_wait, watch));

	(void)events;
	vn_end_wake(&w->takers, NULL, 0);
}

static int
wait_add(vn_descriptor_wait *w, int fd)
{
	return vn_watch_add(w->rx.hub->poller, &w->watch, fd, w->events | EPOLLONESHOT, wait_event);
}

/* A descriptor is watched once by one poller; a copy of it is another one. */
static int
wait_watch(vn_descriptor_wait *w)
{
	int rc = wait_add(w, w->fd);

	if (rc == -EEXIST) {
		w->copy = fcntl(w->fd, F_DUPFD_CLOEXEC, 0);
		rc = w->copy < 0 ? -errno : wait_add(w, w->copy);
	}
	if (rc == 0)
		vn_hub_hold(w->rx.hub);
	return rc < 0 ? rc : -EAGAIN;
}

static int
wait_try(void *end, void *item)
{
	vn_descriptor_wait *w = end;
	int rc = w->events ? look(w->fd, w->events) : -EINVAL;

	(void)item;
	return rc == -EAGAIN && w->may_watch && w->watch.fd < 0 ? wait_watch(w) : rc;
}

static vn_waitq *
wait_queue(void *end)
{
	return &((vn_descriptor_wait *)end)->takers;
}

static const vn_end_ops wait_ops = {
	.try = wait_try,
	.queue = wait_queue,
};

/**
 * vn_descriptor_wait_init() - an end that is ready when a descriptor is
 * @w:      on the heap or the stack of who selects
 * @h:      hub
 * @fd:     any number
 * @events: any; what is not of VN_READABLE, VN_WRITABLE, VN_HANGUP makes it ready with -EINVAL
 */
void
vn_descriptor_wait_init(vn_descriptor_wait *w, vn_hub *h, int fd, int events)
{
	*w = (vn_descriptor_wait){
		.rx = {.ops = &wait_ops, .hub = h},
		.watch.fd = -1,
		.fd = fd,
		.copy = -1,
		.events = events_of(events),
	};
}

/**
 * vn_descriptor_wait_deinit() - watch no longer
 * @w: initialised
 */
void
vn_descriptor_wait_deinit(vn_descriptor_wait *w)
{
	if (w->watch.fd >= 0) {
		vn_watch_remove(w->rx.hub->poller, &w->watch);
		vn_hub_unhold(w->rx.hub);
	}
	if (w->copy >= 0)
		close(w->copy);
}
