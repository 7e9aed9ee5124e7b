/* SPDX-License-Identifier: MIT */
/*
 * State - what join.c needs to know of the ends that state.c makes
 */
#ifndef VN_MESSAGE_STATE_H
#define VN_MESSAGE_STATE_H

#include "client/message/end.h"

bool vn_state_receives(const vn_rx *rx); /* is it the receiving end of a state or a value? */

/*
 * A value that is newer than *seen (0 at first): 0 with it, or with *error if it is one; -EAGAIN: none yet;
 * -ENODATA: there is none any more; or why there will be none.
 */
int vn_state_next(vn_rx *rx, uint64_t *seen, void *item, int *error);
vn_waitq *vn_state_changes(
	vn_rx *rx); /* where to stand until vn_state_next() may say something else */

#endif
