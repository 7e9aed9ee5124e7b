/* SPDX-License-Identifier: MIT */
/*
 * Log - the broker's own lines, and writing that never blocks
 *
 * Standard output and error may be pipes that nobody reads. The broker would rather lose a line than stop. And
 * nobody reads a log in which one thing is said ten thousand times: lines that differ in nothing but numbers have
 * LINES_AT_ONCE and then one a second; how many there were beyond is said every ten seconds.
 */
#ifndef VN_BROKER_LOG_H
#define VN_BROKER_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/hub/timer.h"

#define VN_TIME_TEXT   32
#define VN_LOG_BUCKETS 64
#define VN_LOG_SAMPLE  100
#define VN_LOG_LINE    3072 /* bytes of any line; less than PIPE_BUF */

typedef struct vn_broker vn_broker;

/* Lines of one wording. */
typedef struct vn_log_bucket {
	uint32_t wording; /* a hash of it; 0: free */
	uint32_t n;       /* lines that may still be written */
	uint32_t n_suppressed;
	int level;
	vn_time at; /* when n was right */
	char sample[VN_LOG_SAMPLE];
} vn_log_bucket;

typedef struct vn_log_state {
	int level;
	bool json;
	bool priorities; /* standard error is the journal: "<4>" before each line */
	vn_timer timer;  /* armed while there is something suppressed that was not said */
	vn_log_bucket buckets[VN_LOG_BUCKETS];
} vn_log_state;

void vn_log_init(vn_broker *b);
void vn_log_deinit(vn_broker *b);

/* For vn_log_to(). */
void vn_broker_log(void *arg, int level, const char *text);

/* At most PIPE_BUF bytes, whole lines; false if they could not be written without waiting. */
bool vn_log_write(int fd, const char *data, size_t len);

/* One line of standard error, of the broker or (number, not 0) of a worker; at most VN_LOG_LINE bytes. */
size_t vn_log_line(const vn_broker *b, int level, const char *text, char *out, size_t size);
size_t vn_log_worker_line(
	unsigned int number, unsigned int incarnation, const char *text, char *out, size_t size);

/* Makes n bytes harmless for a terminal, a log, and JSON: control characters but tab become '?'. */
void vn_log_clean(char *data, size_t n);

const char *vn_level_name(int level);
int vn_level_parse(const char *name);
int64_t vn_wall_clock(void);
void vn_time_text(int64_t at, char out[static VN_TIME_TEXT]);

#endif
