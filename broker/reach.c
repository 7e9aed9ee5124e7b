/* SPDX-License-Identifier: MIT */
/*
 * Reach - how a client finds its broker
 *
 * By the path that it was given, by the one in the environment, or because there is only one that answers in the
 * folder where brokers put their sockets.
 */
#include "broker/reach.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker/broker.h"

/* Return: a connected socket, or a negative errno. */
static int
connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, rc = 0;

	if (strlen(path) >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)(const void *)&address, sizeof address) < 0)
		rc = -errno;
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

static int
cannot_connect(const char *path, int error)
{
	if (error == ENOENT || error == ECONNREFUSED || error == ENOTDIR) {
		fprintf(stderr,
			"vanilla: no broker at the control socket %s; start one, or name another "
			"with -s\n",
			path);
		return VN_EXIT_NO_BROKER;
	}
	fprintf(stderr, "vanilla: cannot connect to the control socket %s: %s\n", path,
		strerror(error));
	return error == EACCES || error == EPERM ? VN_EXIT_PERMISSION : VN_EXIT_SYSTEM;
}

static int
several(const char *one, const char *other)
{
	fprintf(stderr,
		"vanilla: more than one broker runs here, at least %s and %s; choose one with -s\n",
		one, other);
	return VN_EXIT_USAGE;
}

/* The only socket in the folder that somebody answers at. Return: 0 or an exit code. */
static int
find_in(const char *folder, const glob_t *found, int *fd)
{
	const char *path = NULL;
	int rc = 0;

	*fd = -1;
	for (size_t i = 0; i < found->gl_pathc && rc == 0; i++) {
		int one = connect_to(found->gl_pathv[i]);

		if (one < 0)
			continue;
		if (*fd >= 0) {
			close(one);
			rc = several(path, found->gl_pathv[i]);
		} else {
			*fd = one;
			path = found->gl_pathv[i];
		}
	}
	if (rc != 0)
		close(*fd);
	else if (*fd < 0)
		rc = cannot_connect(folder, ENOENT);
	return rc;
}

static int
find(int *fd)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char pattern[512];
	glob_t found = {0};
	int rc;

	snprintf(pattern, sizeof pattern, "%s/vanilla/*.sock",
		runtime && runtime[0] == '/' ? runtime : "/run");
	if (glob(pattern, 0, NULL, &found) != 0)
		return cannot_connect(pattern, ENOENT);
	rc = find_in(pattern, &found, fd);
	globfree(&found);
	return rc;
}

/**
 * vn_reach() - connect to a running broker
 * @path: its control socket; NULL: $VANILLA_CONTROL, or the only one in the usual folder that answers
 * @fd:   the connected socket, which the caller closes; -1 on failure
 *
 * Return: 0, or the exit code of the program, after a sentence on standard error.
 */
int
vn_reach(const char *path, int *fd)
{
	const char *variable = getenv("VANILLA_CONTROL");

	if (!path && variable && *variable)
		path = variable;
	if (!path)
		return find(fd);
	*fd = connect_to(path);
	return *fd < 0 ? cannot_connect(path, -*fd) : 0;
}
