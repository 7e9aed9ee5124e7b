/* SPDX-License-Identifier: MIT */
/*
 * Log - lines for people, handed to the callback of vn_log_to() or to standard error
 *
 * Levels are those of syslog(3). One call is one line: what failed, on what, and what to do about it.
 */
#ifndef VN_HUB_LOG_H
#define VN_HUB_LOG_H

#include <syslog.h>
#include <vanilla.h>

void vn_log(vn_hub *h, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
