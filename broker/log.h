/* SPDX-License-Identifier: MIT */
/*
 * Log - the broker's own lines, and writing that never blocks
 *
 * Standard output and error may be pipes that nobody reads. The broker would rather lose a line than stop.
 */
#ifndef VN_BROKER_LOG_H
#define VN_BROKER_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VN_TIME_TEXT 32

void vn_broker_log(void *arg, int level, const char *text);

/* At most PIPE_BUF bytes, whole lines; false if they could not be written without waiting. */
bool vn_log_write(int fd, const char *data, size_t len);

/* Makes n bytes harmless for a terminal, a log, and JSON: control characters but tab become '?'. */
void vn_log_clean(char *data, size_t n);

const char *vn_level_name(int level);
void vn_time_text(int64_t at, char out[static VN_TIME_TEXT]);

#endif
