/* SPDX-License-Identifier: MIT */
/*
 * Poller - readiness of descriptors, as callbacks
 *
 * The lowest level has no stack and no object of its own: whoever watches many descriptors registers a class
 * once (a callback), and each descriptor under an index and a generation of its choosing, which come back with
 * the events. An event of a generation that is over is the owner's to drop. Nothing is allocated per
 * descriptor, so an idle connection costs what its owner keeps and the kernel's item.
 *
 * Descriptors are registered once, edge-triggered as a rule; nobody modifies a registration to wait. For the
 * odd single descriptor (a bell, a pidfd, a signalfd) there is vn_watch, a class with a small table.
 */
#ifndef VN_HUB_POLLER_H
#define VN_HUB_POLLER_H

#include <stdint.h>
#include <vanilla.h>

#include "client/hub/sys.h"

/* Runs on the hub's loop; must not wait. */
typedef void vn_poll_fn(void *arg, uint32_t index, uint32_t gen, uint32_t events);

typedef struct vn_poller vn_poller;

vn_poller *vn_poller_new(const vn_sys *sys);
vn_poller *vn_poller_free(vn_poller *p);
int vn_poller_class(
	vn_poller *p, vn_poll_fn *fn, void *arg); /* its number; at most 16 of them; -ENOSPC */
/* Where the owner keeps its records, by index: they are fetched into the cache ahead of their events. */
void vn_poller_records(vn_poller *p, int class, const void *records, size_t stride);
/* gen: the low 24 bits count and come back */
int vn_poller_add(vn_poller *p, int fd, int class, uint32_t index, uint32_t gen, uint32_t events);
int vn_poller_modify(
	vn_poller *p, int fd, int class, uint32_t index, uint32_t gen, uint32_t events);
int vn_poller_remove(
	vn_poller *p, int fd); /* always before close: another process may hold the file open */
int vn_poller_poll(
	vn_poller *p, int64_t timeout_ns); /* one wait, then the callbacks; number of events */

/* One descriptor with a callback; embedded in its owner, which keeps the descriptor. */
typedef struct vn_watch vn_watch;
struct vn_watch {
	void (*fn)(vn_watch *w, uint32_t events);
	int fd;
	uint32_t index, gen; /* the poller's */
};

int vn_watch_add(
	vn_poller *p, vn_watch *w, int fd, uint32_t events, void (*fn)(vn_watch *, uint32_t));
void vn_watch_remove(vn_poller *p, vn_watch *w); /* does not close; added or not (fd -1) */

#endif
