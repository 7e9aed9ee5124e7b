/* SPDX-License-Identifier: MIT */
/*
 * Worker - a process, its link, its life and its successors
 */
#ifndef VN_BROKER_WORKER_H
#define VN_BROKER_WORKER_H

#include "broker/broker.h"

vn_worker *vn_worker_new(vn_broker *b, uint16_t number);
vn_worker *vn_worker_free(vn_worker *w); /* kills the process and waits for it */
vn_worker *vn_worker_find(const vn_broker *b, uint16_t number);
int vn_worker_start(vn_worker *w);
void vn_worker_restart(vn_worker *w);
void vn_worker_serve(vn_worker *w);
void vn_worker_stop(vn_worker *w);
void vn_worker_retire(vn_worker *w);
void vn_worker_kill(vn_worker *w, const char *why); /* for people; the death path follows */
void vn_worker_violation(vn_worker *w, const char *field, const vn_desc *d);
void vn_worker_on_ready(vn_worker *w);

/* ring.c: its bell, heard a bounded number of times while it rings for nothing */
int vn_ring_listen(vn_worker *w);
void vn_ring_deafen(vn_worker *w);

/* output.c: a worker's standard output and error, line by line, with its number */
vn_output *vn_output_open(vn_worker *w, int to, int *write_end);
vn_output *vn_output_close(vn_output *o); /* what is left is printed; NULL is fine; returns NULL */

#endif
