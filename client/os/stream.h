/* SPDX-License-Identifier: MIT */
/*
 * Stream - a descriptor that coroutines read and write
 *
 *     stream.c        its life; readiness; ends for vn_select()
 *     transfer.c      one attempt to move bytes, by the kind of the descriptor; regular files and their pool
 *     stream_read.c   the read calls, and what is left over between them
 *     stream_write.c  the write calls, one after the other
 *
 * One coroutine reads, and many write in turn. Whoever is inside of a call, and whatever a thread of the pool still
 * does for one that has left, is counted in `n_calls`: a stream that was closed is freed, and its descriptor closed,
 * when nobody is left there. So a thread never finds another file under the number that it was given.
 */
#ifndef VN_OS_STREAM_H
#define VN_OS_STREAM_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/hub/hub.h"
#include "client/message/end.h"

/* How not to wait: by the file's O_NONBLOCK, by a flag of each call, or in another thread. */
typedef enum vn_stream_kind {
	VN_STREAM_NONBLOCK,
	VN_STREAM_NOWAIT,
	VN_STREAM_SOCKET,
	VN_STREAM_FILE,
} vn_stream_kind;

struct vn_stream {
	vn_hub *hub;
	int fd; /* -1 after the shutdown of what can only be written */
	vn_stream_kind kind;
	bool keeps_fd;     /* it is the caller's */
	bool was_blocking; /* O_NONBLOCK is ours */
	bool is_closed, is_shut, is_reading, is_writing;
	bool has_position; /* of its own, below */
	bool appends;
	bool uncached;  /* a file whose cache cannot be asked */
	bool is_held;   /* counts against deadlock */
	uint8_t streak; /* calls since somebody else could run */
	uint32_t n_calls;
	int64_t position; /* of the byte that is read next from the file, after what is left over */
	vn_rx readable, writable;
	vn_waitq readers, writers; /* until it is ready; who writes has the turn */
	vn_waitq turns;            /* until another writer is done */
	vn_waitq choosers;         /* selects, until it is ready and nobody writes */
	vn_watch watch;
	unsigned char *buf; /* left over: buf[start..start + len) */
	size_t start, len, cap;
	vn_stream **home; /* NULL, or where somebody keeps it: becomes NULL when it is closed */
	vn_owned owned;
};

/* transfer.c: a count, -EAGAIN (wait until it is ready), or an error; with a file they wait by themselves. */
ssize_t vn_stream_take(vn_stream *s, void *data, size_t n);
/* Has *left set if the call goes on without the caller: the turn to write is given back when it ends. */
ssize_t vn_stream_give(vn_stream *s, const void *data, size_t n, bool *left);

/* stream.c */
int vn_stream_enter(vn_stream *s);
void vn_stream_leave(vn_stream *s);
int vn_stream_wait(vn_stream *s, vn_waitq *q, void *end);
void vn_stream_breathe(vn_stream *s);
int vn_stream_shut(vn_stream *s);
int vn_stream_look_out(const vn_stream *s);

/* stream_read.c, stream_write.c */
void vn_stream_forget(vn_stream *s);
void vn_stream_turn_over(vn_stream *s);

#endif
