/* SPDX-License-Identifier: MIT */
/*
 * Poller - one epoll
 *
 * The 64 bits that the kernel keeps with a descriptor say whom to call: class (8 bits), generation (24), index
 * (32). Class 0 is the poller's own, for vn_watch; its generations make events of a watch that was removed in
 * the same batch fall away.
 */
#include "client/hub/poller.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define CLASSES 16
#define EVENTS                                                                                     \
	64 /* about what one worker is given at a time: more would only be set aside, and touched twice */
#define GEN_MASK 0xffffffu
#define NONE     UINT32_MAX

struct watch_slot {
	vn_watch *watch; /* NULL: free */
	uint32_t gen;
	uint32_t next_free;
};

struct vn_poller {
	const vn_sys *sys;
	int epoll_fd;
	int n_classes;
	struct {
		vn_poll_fn *fn;
		void *arg;
		const char *records;
		size_t stride;
	} classes[CLASSES];
	struct watch_slot *watches;
	uint32_t n_watches, free_watch;
	struct epoll_event events[EVENTS];
};

static void
watch_event(void *arg, uint32_t index, uint32_t gen, uint32_t events)
{
	vn_poller *p = arg;
	struct watch_slot *slot = &p->watches[index];

	if (slot->watch && slot->gen == gen)
		slot->watch->fn(slot->watch, events);
}

/**
 * vn_poller_new() - open an epoll
 * @sys: the system; lives longer
 *
 * Return: the poller, or NULL with errno set.
 */
vn_poller *
vn_poller_new(const vn_sys *sys)
{
	vn_poller *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	p->sys = sys;
	p->free_watch = NONE;
	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (p->epoll_fd < 0)
		return vn_poller_free(p);
	vn_poller_class(p, watch_event, p);
	return p;
}

/**
 * vn_poller_free() - close it; what was watched is no longer
 * @p: poller or NULL
 *
 * Return: NULL; errno stays as it was.
 */
vn_poller *
vn_poller_free(vn_poller *p)
{
	int error = errno;

	if (!p)
		return NULL;
	if (p->epoll_fd >= 0)
		close(p->epoll_fd);
	free(p->watches);
	free(p);
	errno = error;
	return NULL;
}

/**
 * vn_poller_class() - register whom to call for a kind of descriptor
 * @p:   poller
 * @fn:  runs on the loop
 * @arg: its first argument
 *
 * Return: the number of the class, or -ENOSPC.
 */
int
vn_poller_class(vn_poller *p, vn_poll_fn *fn, void *arg)
{
	if (p->n_classes == CLASSES)
		return -ENOSPC;
	p->classes[p->n_classes].fn = fn;
	p->classes[p->n_classes].arg = arg;
	return p->n_classes++;
}

/**
 * vn_poller_records() - let records be fetched into the cache ahead of their events
 * @p:       poller
 * @class:   from vn_poller_class()
 * @records: the record of index 0; lives longer
 * @stride:  bytes from one record to the next
 */
void
vn_poller_records(vn_poller *p, int class, const void *records, size_t stride)
{
	p->classes[class].records = records;
	p->classes[class].stride = stride;
}

/* With hundreds of descriptors ready, the record of the next one has left the cache since its last event. */
static void
prefetch(const vn_poller *p, uint64_t data)
{
	const char *records = p->classes[data >> 56].records;
	size_t stride = p->classes[data >> 56].stride;

	if (!records)
		return;
	records += (uint32_t)data * stride;
	for (size_t at = 0; at < stride; at += 64)
		__builtin_prefetch(records + at, 1);
}

static int
control(vn_poller *p, int op, int fd, int class, uint32_t index, uint32_t gen, uint32_t events)
{
	struct epoll_event e = {.events = events};

	e.data.u64 = (uint64_t) class << 56 | (uint64_t)(gen & GEN_MASK) << 32 | index;
	return epoll_ctl(p->epoll_fd, op, fd, &e) < 0 ? -errno : 0;
}

/**
 * vn_poller_add() - watch a descriptor
 * @p:      poller
 * @fd:     descriptor
 * @class:  from vn_poller_class()
 * @index:  comes back with each event
 * @gen:    comes back too, its low 24 bits
 * @events: of epoll, with EPOLLET or without
 *
 * Return: 0 or a negative errno of epoll_ctl(2).
 */
int
vn_poller_add(vn_poller *p, int fd, int class, uint32_t index, uint32_t gen, uint32_t events)
{
	return control(p, EPOLL_CTL_ADD, fd, class, index, gen, events);
}

/**
 * vn_poller_modify() - the same for one that is watched already
 * @p:      poller
 * @fd:     descriptor
 * @class:  from vn_poller_class()
 * @index:  comes back with each event
 * @gen:    comes back too, its low 24 bits
 * @events: of epoll
 *
 * Return: 0 or a negative errno of epoll_ctl(2).
 */
int
vn_poller_modify(vn_poller *p, int fd, int class, uint32_t index, uint32_t gen, uint32_t events)
{
	return control(p, EPOLL_CTL_MOD, fd, class, index, gen, events);
}

/**
 * vn_poller_remove() - watch it no longer
 * @p:  poller
 * @fd: descriptor, still open
 *
 * An event that is in the batch already may still come; its generation tells.
 *
 * Return: 0 or a negative errno of epoll_ctl(2).
 */
int
vn_poller_remove(vn_poller *p, int fd)
{
	return epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, fd, NULL) < 0 ? -errno : 0;
}

/**
 * vn_poller_poll() - wait once, then call whom it concerns
 * @p:          poller
 * @timeout_ns: 0 does not wait, a negative one waits for ever
 *
 * Return: how many events there were; a signal that interrupts the wait counts as none.
 */
int
vn_poller_poll(vn_poller *p, int64_t timeout_ns)
{
	int n = p->sys->wait(p->sys, p->epoll_fd, p->events, EVENTS, timeout_ns);

	for (int i = 0; i < n; i++) {
		uint64_t data = p->events[i].data.u64;
		unsigned int class = (unsigned int)(data >> 56);

		if (i + 1 < n)
			prefetch(p, p->events[i + 1].data.u64);
		p->classes[class].fn(p->classes[class].arg, (uint32_t)data,
			(uint32_t)(data >> 32) & GEN_MASK, p->events[i].events);
	}
	return n;
}

static int
watches_grow(vn_poller *p)
{
	uint32_t n = p->n_watches ? p->n_watches * 2 : 16;
	struct watch_slot *watches = realloc(p->watches, n * sizeof *watches);

	if (!watches)
		return -ENOMEM;
	p->watches = watches;
	for (; p->n_watches < n; p->n_watches++) {
		watches[p->n_watches] = (struct watch_slot){.next_free = p->free_watch};
		p->free_watch = p->n_watches;
	}
	return 0;
}

static void
slot_free(vn_poller *p, uint32_t index)
{
	p->watches[index].watch = NULL;
	p->watches[index].gen = (p->watches[index].gen + 1) & GEN_MASK;
	p->watches[index].next_free = p->free_watch;
	p->free_watch = index;
}

/**
 * vn_watch_add() - call back when a descriptor is ready
 * @p:      poller
 * @w:      not added
 * @fd:     descriptor; stays the caller's
 * @events: of epoll
 * @fn:     runs on the loop; may remove this watch and others
 *
 * Return: 0, -ENOMEM or a negative errno of epoll_ctl(2); then w->fd is -1.
 */
int
vn_watch_add(vn_poller *p, vn_watch *w, int fd, uint32_t events, void (*fn)(vn_watch *, uint32_t))
{
	uint32_t index;
	int rc;

	w->fd = -1;
	if (p->free_watch == NONE && watches_grow(p) < 0)
		return -ENOMEM;
	index = p->free_watch;
	rc = vn_poller_add(p, fd, 0, index, p->watches[index].gen, events);
	if (rc < 0)
		return rc;
	p->free_watch = p->watches[index].next_free;
	p->watches[index].watch = w;
	w->fn = fn;
	w->fd = fd;
	w->index = index;
	w->gen = p->watches[index].gen;
	return 0;
}

/**
 * vn_watch_remove() - call back no longer
 * @p: poller
 * @w: added, or with fd -1; the descriptor stays open
 */
void
vn_watch_remove(vn_poller *p, vn_watch *w)
{
	if (w->fd < 0)
		return;
	vn_poller_remove(p, w->fd);
	slot_free(p, w->index);
	w->fd = -1;
}
