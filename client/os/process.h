/* SPDX-License-Identifier: MIT */
/*
 * Process - what exec.c and spawn.c start, and process.c sees to its end
 */
#ifndef VN_OS_PROCESS_H
#define VN_OS_PROCESS_H

#include "client/hub/hub.h"
#include "client/os/child.h"

struct vn_process {
	vn_hub *hub;
	pid_t pid;
	int pidfd;
	vn_watch end;
	vn_stream *streams[3]; /* of the child's 0, 1, 2; NULL: none, or closed */
	vn_pair done;
	struct vn_cable *cable; /* NULL: none, or it is freed */
	vn_pair ends;           /* of the cable; NULL: none, or closed */
	bool own_group, is_taken, is_closed;
	uint32_t n_calls;
	vn_owned owned;
};

int vn_process_begin(vn_process *p, vn_child *child);
vn_process *vn_process_discard(vn_process *p, int error);

#endif
