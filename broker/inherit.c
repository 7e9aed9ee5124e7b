/* SPDX-License-Identifier: MIT */
/*
 * Inherit - listening sockets that the service manager has opened for us
 *
 * sd_listen_fds(3): $LISTEN_FDS of them begin at descriptor 3, for the process $LISTEN_PID, called as in
 * $LISTEN_FDNAMES. What is no listening stream socket is not for us, and worth a sentence rather than a surprise.
 * Workers see neither the descriptors nor the variables.
 */
#include "broker/inherit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_FD 3

static int
socket_option(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof value;

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

/* Ours from here on. 0, or the exit code of the program after a sentence. */
static int
prepare(vn_broker *b, int fd, const char *name)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && socket_option(fd, SO_ACCEPTCONN) == 1 &&
		socket_option(fd, SO_TYPE) == SOCK_STREAM &&
		fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
		return 0;
	vn_log(b->hub, LOG_ERR,
		"descriptor %d (%s) of LISTEN_FDS is no listening stream socket; have Accept=no "
		"and ListenStream= in the socket unit",
		fd, name ? name : "without a name");
	return VN_EXIT_CONFIG;
}

/* How many there are for this process. */
static int
count(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	long n = fds ? strtol(fds, NULL, 10) : 0;

	if (!pid || strtol(pid, NULL, 10) != (long)getpid() || n < 0)
		return 0;
	return n < VN_MAX_LISTENS ? (int)n : VN_MAX_LISTENS;
}

/* systemd says "unknown" of one that has no name. */
static const char *
name_of(char **names)
{
	const char *name = strsep(names, ":");

	return name && *name && strcmp(name, "unknown") != 0 ? name : NULL;
}

int
vn_inherit(vn_broker *b, int (*take)(vn_broker *b, int fd, const char *name))
{
	const char *value = getenv("LISTEN_FDNAMES");
	char *names = value ? strdup(value) : NULL, *rest = names;
	int code = 0, n = count();

	for (int i = 0; i < n && code == 0; i++) {
		const char *name = name_of(&rest);

		code = prepare(b, FIRST_FD + i, name);
		if (code == 0)
			code = take(b, FIRST_FD + i, name);
	}
	free(names);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return code;
}
