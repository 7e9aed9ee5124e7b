/* SPDX-License-Identifier: MIT */
/*
 * Log - one line at a time, if it can be written at once
 *
 * poll(2) says that a pipe is writable when PIPE_BUF bytes fit, so a write of no more than that does not wait.
 */
#include "broker/log.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "broker/broker.h"

#define LINE_BYTES 1200

/**
 * vn_log_write() - write if that needs no waiting
 * @fd:   of a pipe, a terminal, a file, a socket
 * @data: complete lines
 * @len:  at most PIPE_BUF
 *
 * Return: true if it is written.
 */
bool
vn_log_write(int fd, const char *data, size_t len)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) && write(fd, data, len) == (ssize_t)len;
}

/**
 * vn_log_clean() - make foreign text harmless
 * @data: changed in place: control characters other than tab become '?'
 * @n:    bytes
 */
void
vn_log_clean(char *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (((unsigned char)data[i] < 0x20 && data[i] != '\t') || data[i] == 0x7f)
			data[i] = '?';
}

/* It is counted among the distinct errors, whether it is shown or not. */
static void
note(vn_broker *b, int level, const char *text)
{
	char clean[256];

	snprintf(clean, sizeof clean, "%s", text);
	vn_log_clean(clean, strlen(clean));
	vn_counters_error_add(b->counters, level, clean, (uint64_t)b->hub->now);
}

/**
 * vn_level_name() - what a level of syslog(3) is called, as in --log-level
 */
const char *
vn_level_name(int level)
{
	switch (level) {
	case LOG_WARNING:
		return "warning";
	case LOG_NOTICE:
		return "notice";
	case LOG_INFO:
		return "info";
	case LOG_DEBUG:
		return "debug";
	default:
		return "error";
	}
}

/**
 * vn_time_text() - a time of the wall clock, as in ISO 8601 with milliseconds
 * @at: nanoseconds
 */
void
vn_time_text(int64_t at, char out[static VN_TIME_TEXT])
{
	time_t seconds = (time_t)(at / VN_SEC);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(out, VN_TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + strlen(out), VN_TIME_TEXT - strlen(out), ".%03dZ",
		(int)(at % VN_SEC / VN_MS));
}

/**
 * vn_broker_log() - for vn_log_to(): to standard error, with our name
 * @arg:   the broker; its configuration says what is worth a line
 * @level: of syslog(3)
 * @text:  one line, no newline
 */
void
vn_broker_log(void *arg, int level, const char *text)
{
	vn_broker *b = arg;
	char line[LINE_BYTES];
	size_t len;

	if (level <= LOG_WARNING && b->counters)
		note(b, level, text);
	if (level > b->config->log_level)
		return;
	snprintf(line, sizeof line - 1, "vanilla: %s", text);
	len = strlen(line);
	vn_log_clean(line, len);
	line[len++] = '\n';
	vn_log_write(STDERR_FILENO, line, len);
}
