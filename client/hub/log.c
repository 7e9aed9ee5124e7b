/* SPDX-License-Identifier: MIT */
/*
 * Log - one line to whoever listens
 */
#include "client/hub/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/hub/hub.h"

#define LINE_BYTES 1024

/* Out of line, so that the room for the text is taken only when there is one. */
static __attribute__((noinline)) void
log_line(vn_hub *h, int level, const char *format, va_list args)
{
	char line[LINE_BYTES] = "vanilla: ";
	size_t prefix = strlen(line);
	int n = vsnprintf(line + prefix, sizeof line - prefix - 1, format, args);
	size_t len = n < 0 ? prefix : strlen(line);

	if (h && h->log) {
		h->log(h->log_arg, level, line + prefix);
		return;
	}
	line[len] = '\n';
	if (write(STDERR_FILENO, line, len + 1) < 0)
		return; /* there is nobody to tell */
}

/**
 * vn_log() - say something to people
 * @h:      hub; NULL: to standard error
 * @level:  of syslog(3)
 * @format: of printf(3); no newline. What is longer than a kilobyte is cut
 *
 * errno stays as it was.
 */
void
vn_log(vn_hub *h, int level, const char *format, ...)
{
	int error = errno;
	va_list args;

	va_start(args, format);
	log_line(h, level, format, args);
	va_end(args);
	errno = error;
}

/**
 * vn_log_to() - hand each line to a callback
 * @h:   hub
 * @log: gets the level of syslog(3) and the text without a newline; NULL: standard error, as at first
 * @arg: its first argument
 */
void
vn_log_to(vn_hub *h, void (*log)(void *arg, int level, const char *text), void *arg)
{
	h->log = log;
	h->log_arg = arg;
}
