/* SPDX-License-Identifier: MIT */
/*
 * Recorder - the last moments of workers
 */
#ifndef VN_BROKER_RECORDER_H
#define VN_BROKER_RECORDER_H

#include <signal.h>

#include "broker/broker.h"

#define VN_RECORDED_MESSAGES 128 /* each way */
#define VN_RECORDED_CONNS    32
#define VN_RECORDED_INPUT    256 /* bytes of each */

typedef struct vn_recorder vn_recorder;

/* A connection that it had, as it stood when everything that it had published was taken. */
typedef struct vn_recorded_conn {
	uint64_t id;
	uint16_t endpoint;
	vn_desc_peer peer;
	uint64_t received, delivered, acked, committed, queued, queued_c, sent;
	uint32_t n_input;
	unsigned char input[VN_RECORDED_INPUT]; /* the first bytes that it had not acknowledged */
} vn_recorded_conn;

typedef struct vn_recording {
	uint64_t serial;
	uint16_t number;
	uint32_t incarnation;
	pid_t pid;
	bool is_dead, was_ready, was_ordered, dumped_core;
	int signal, exit_code; /* of one that is dead: one of them, the other is -1 */
	vn_time started, ended;
	char how[96]; /* it ended, for people */
	uint64_t n_requests;
	uint32_t n_attached, n_unacked, n_conns; /* n_conns of n_attached are here */
	uint32_t n_got, n_gave, n_untaken;       /* the first n_untaken of got were not taken */
	vn_desc got[VN_RECORDED_MESSAGES], gave[VN_RECORDED_MESSAGES]; /* the last one first */
	vn_recorded_conn conns[VN_RECORDED_CONNS];
} vn_recording;

vn_recorder *vn_recorder_new(void);
vn_recorder *vn_recorder_free(vn_recorder *k); /* NULL is fine; returns NULL */
void vn_recorder_keep(vn_broker *b, vn_worker *w, const siginfo_t *info);
vn_recording *vn_recorder_look(vn_broker *b, uint16_t number, int64_t incarnation); /* for free() */

#endif
