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

/**
 * vn_broker_log() - for vn_log_to(): to standard error, with our name
 * @arg:   the broker; its configuration says what is worth a line
 * @level: of syslog(3)
 * @text:  one line, no newline
 */
void
vn_broker_log(void *arg, int level, const char *text)
{
	const vn_broker *b = arg;
	char line[LINE_BYTES];
	size_t len;

	if (level > b->config->log_level)
		return;
	snprintf(line, sizeof line - 1, "vanilla: %s", text);
	len = strlen(line);
	vn_log_clean(line, len);
	line[len++] = '\n';
	vn_log_write(STDERR_FILENO, line, len);
}
