/* SPDX-License-Identifier: MIT */
/*
 * Entry - the child's side: from the start of a process to the function
 *
 * VN_ENTRY() makes a constructor of the program, which asks here before main() whether this process is to be that
 * function. If it is, it never comes to main(): whatever that does first, read its arguments or take a lock, is not
 * done twice, and it needs to know nothing of all this.
 */
#include "client/os/entry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/hub/log.h"
#include "client/os/cable.h"

#define CODE_LOST   70 /* as a worker that has no broker */
#define CODE_FAILED 1

/* One message; NULL with errno. */
static vn_entry_arg *
arg_receive(int fd)
{
	size_t room = sizeof(vn_entry_arg) + VN_ENTRY_ARG_MAX;
	vn_entry_arg *a = malloc(room);
	ssize_t n = a ? recv(fd, a, room, MSG_DONTWAIT) : -1;

	if (n >= (ssize_t)sizeof *a && (size_t)n == sizeof *a + a->size && a->item_size > 0 &&
		a->item_size <= VN_WIRE_ITEM_MAX)
		return a;
	free(a);
	if (n >= 0)
		errno = EPROTO;
	return NULL;
}

static int
entry_run(vn_hub *h, vn_cable *c, const vn_entry *e, void *arg)
{
	vn_pair ends = {&c->wire.tx, &c->wire.rx};
	int rc;

	c->wire.home = &ends;
	vn_cable_up(c);
	rc = e->f(h, ends, arg);
	vn_wire_end(&ends, rc < 0);
	return rc;
}

/* The exit code. */
static int
entry_open(const vn_entry *e, vn_link *link, vn_entry_arg *a)
{
	vn_hub *h = vn_hub_new();
	vn_cable *c = h ? vn_cable_new(h, a->item_size) : NULL;
	int rc = -errno;

	if (c) {
		c->is_child = true;
		c->link = *link;
		rc = entry_run(h, c, e, a->bytes);
	} else {
		vn_log(h, LOG_CRIT, "%s: no hub: %s", e->name, vn_strerror(rc));
		vn_link_deinit(link);
	}
	vn_hub_free(h);
	return rc < 0 ? CODE_FAILED : rc & 0xff;
}

static int
entry_join(const vn_entry *e, int fd)
{
	const char *why;
	vn_link link;
	vn_entry_arg *a;
	int code = CODE_LOST, rc = vn_link_join(&link, fd, &why);

	if (rc < 0) {
		if (rc != -EPIPE) /* else there is nobody for whom this would be news */
			vn_log(NULL, LOG_CRIT, "%s: cannot talk to the parent: %s", e->name, why);
		return CODE_LOST;
	}
	a = arg_receive(fd);
	close(fd);
	if (a)
		code = entry_open(e, &link, a);
	else
		vn_log(NULL, LOG_CRIT, "%s: no argument came: %s", e->name, vn_strerror(-errno));
	free(a);
	return code;
}

/**
 * vn_entry_run() - if this process is to be that function, be it, and end
 * @e: entry point
 *
 * Caller: VN_ENTRY() alone, before main().
 */
void
vn_entry_run(const vn_entry *e)
{
	const char *value = getenv(VN_ENTRY_ENV);
	char *name;
	long fd;

	if (!value)
		return;
	fd = strtol(value, &name, 10);
	if (fd != VN_ENTRY_FD || *name != ':' || strcmp(name + 1, e->name) != 0)
		return;
	unsetenv(VN_ENTRY_ENV);
	exit(entry_join(e, (int)fd));
}
