/* SPDX-License-Identifier: MIT */
/*
 * Change - other workers, more of them, or fewer, while the service runs
 */
#ifndef VN_BROKER_CHANGE_H
#define VN_BROKER_CHANGE_H

#include <signal.h>

#include "broker/broker.h"

#define VN_CHANGE_TEXT 256

typedef struct vn_change vn_change;

typedef struct vn_outcome {
	uint32_t serial;
	bool failed;
	uint32_t n_overdue;        /* of those who went, stopped by the drain-timeout */
	char text[VN_CHANGE_TEXT]; /* a sentence */
} vn_outcome;

vn_change *vn_change_new(vn_broker *b);
vn_change *vn_change_free(vn_change *c); /* NULL is fine; returns NULL */

bool vn_change_is_open(const vn_change *c);

/* Each begins a change: its serial number, or 0 with a sentence in why. */
uint32_t vn_change_reload(vn_change *c, char why[static VN_CHANGE_TEXT]);
uint32_t vn_change_restart(vn_change *c, vn_worker *w, char why[static VN_CHANGE_TEXT]);
uint32_t vn_change_scale(vn_change *c, uint32_t n, char why[static VN_CHANGE_TEXT]);
uint32_t vn_change_drain(vn_change *c, vn_worker *w, char why[static VN_CHANGE_TEXT]);
uint32_t vn_change_count(const vn_change *c); /* workers that there are to be */

/* NULL as long as it is under way; of the last ones */
const vn_outcome *vn_change_outcome(const vn_change *c, uint32_t serial);
void vn_change_signal(vn_change *c, int signal); /* SIGHUP, SIGTTIN, SIGTTOU */
void vn_change_cancel(vn_change *c);             /* the service ends */

/* worker.c, leave.c: of one that comes, or goes */
void vn_change_on_ready(vn_worker *w);
void vn_change_on_overdue(const vn_worker *w);
void vn_change_on_death(vn_worker *w, vn_worker_state was);

#endif
