/* SPDX-License-Identifier: MIT */
/*
 * Spawn - a function in a fresh process of the same program
 *
 * The child executes /proc/self/exe with VANILLA_ENTRY in its environment, and turns into the function before main()
 * (entry.c). Its end of the handshake socket is the one descriptor that it has besides our 0, 1 and 2. HELLO and the
 * argument are in that socket before it starts; when its answer has come, the cable is up. Until then who sends waits.
 *
 * An entry point must be part of the program itself: one of a library that is loaded later would not be found, and the
 * child would run main() again. So that is looked at.
 */
#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/hub/log.h"
#include "client/os/cable.h"
#include "client/os/entry.h"
#include "client/os/process.h"

extern char **environ;

/* The parent's part of the cable */

static vn_cable *
cable_of_handshake(vn_watch *w)
{
	return (vn_cable *)(void *)((char *)w - offsetof(vn_cable, handshake));
}

/* The socket is of no use any more. */
static void
handshake_end(vn_cable *c)
{
	int fd = c->handshake.fd;

	if (fd < 0)
		return;
	vn_watch_remove(c->wire.tx.hub->poller, &c->handshake);
	c->handshake.fd = -1;
	close(fd);
}

/**
 * vn_cable_fault() - the child says what it must not: it is killed
 * @c:    cable
 * @what: which part of it
 */
void
vn_cable_fault(vn_cable *c, const char *what)
{
	if (!c->process)
		return;
	vn_log(c->wire.tx.hub, LOG_ERR, "process %d sent a malformed message (%s) and is killed",
		(int)vn_process_pid(c->process), what);
	vn_process_signal(c->process, SIGKILL);
}

/**
 * vn_cable_accept() - look whether the child has mapped its memory
 * @c:    cable, up or not; may be freed if its ends are closed
 * @last: it is gone
 */
void
vn_cable_accept(vn_cable *c, bool last)
{
	const char *why;
	int rc;

	if (c->handshake.fd < 0)
		return;
	rc = vn_link_accept(&c->link, c->handshake.fd, &why);
	if (rc == -EAGAIN && !last)
		return;
	handshake_end(c);
	if (rc == 0)
		vn_cable_up(c);
	else if (rc != -EPIPE && !last) /* else its end will be told */
		vn_cable_fault(c, why ? why : "handshake");
}

/**
 * vn_cable_unplug() - the cable is freed
 * @c: cable
 */
void
vn_cable_unplug(vn_cable *c)
{
	handshake_end(c);
	if (c->process)
		c->process->cable = NULL;
}

static void
handshake_ready(vn_watch *w, uint32_t events)
{
	(void)events;
	vn_cable_accept(cable_of_handshake(w), false);
}

/* Starting */

/* Is it in the program, or in a library? */
static int
program_has(struct dl_phdr_info *info, size_t size, void *arg)
{
	uintptr_t at = (uintptr_t) * (const void **)arg;

	(void)size;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type == PT_LOAD && at - info->dlpi_addr - p->p_vaddr < p->p_memsz)
			return 1;
	}
	return -1; /* the program is the first; the others need not be asked */
}

static bool
is_of_program(const void *at)
{
	return dl_iterate_phdr(program_has, &at) > 0;
}

static int
arg_send(int fd, size_t item_size, const void *arg, size_t size)
{
	vn_entry_arg a = {.item_size = (uint32_t)item_size, .size = (uint32_t)size};
	struct iovec parts[] = {{&a, sizeof a}, {(void *)(uintptr_t)arg, size}};
	struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};

	return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Ours, with one variable more in it, or in place of one. */
static const char **
environment(const char *entry)
{
	size_t n = 0, name = sizeof VN_ENTRY_ENV, n_kept = 0;
	const char **env;

	while (environ[n])
		n++;
	env = calloc(n + 2, sizeof *env);
	for (size_t i = 0; env && i < n; i++)
		if (strncmp(environ[i], entry, name) != 0)
			env[n_kept++] = environ[i];
	if (env)
		env[n_kept] = entry;
	return env;
}

static int
child_begin(vn_process *p, const vn_entry *e, int socket)
{
	char variable[VN_ENTRY_NAME_MAX];
	const char *argv[] = {program_invocation_name, e->name, NULL}, **env;
	int fds[] = {0, 1, 2, socket}, rc;
	vn_child child = {
		.path = "",
		.program = "/proc/self/exe",
		.fds = fds,
		.n_fds = VN_ENTRY_FD + 1,
		.max_fds = vn_child_max_fds(),
		.parent = getpid(),
	};

	if (snprintf(variable, sizeof variable, "%s=%d:%s", VN_ENTRY_ENV, VN_ENTRY_FD, e->name) >=
		(int)sizeof variable)
		return -ENAMETOOLONG;
	env = environment(variable);
	if (!env)
		return -ENOMEM;
	child.argv = (char *const *)(uintptr_t)argv;
	child.env = (char *const *)(uintptr_t)env;
	rc = vn_process_begin(p, &child);
	free(env);
	return rc;
}

/* What is to be in the socket before anybody reads there; then the child. */
static int
cable_begin(vn_cable *c, const vn_entry *e, const int sockets[2], const void *arg, size_t size)
{
	vn_geometry g = vn_cable_geometry(c->wire.tx.item_size);
	int rc = vn_link_offer(&c->link, &g, (uint32_t)getpid());

	if (rc == 0)
		rc = vn_link_hello(&c->link, sockets[0]);
	if (rc == 0)
		rc = arg_send(sockets[0], c->wire.tx.item_size, arg, size);
	if (rc == 0)
		rc = child_begin(c->process, e, sockets[1]);
	return rc;
}

static int
process_plug(vn_process *p, size_t item_size)
{
	vn_cable *c = vn_cable_new(p->hub, item_size);

	if (!c)
		return -errno;
	c->process = p;
	p->cable = c;
	p->ends = (vn_pair){&c->wire.tx, &c->wire.rx};
	c->wire.home = &p->ends;
	return 0;
}

static int
process_spawn(vn_process *p, const vn_entry *e, size_t item_size, const void *arg, size_t size)
{
	int rc = process_plug(p, item_size), sockets[2];

	if (rc < 0)
		return rc;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return -errno;
	rc = vn_watch_add(
		p->hub->poller, &p->cable->handshake, sockets[0], EPOLLIN, handshake_ready);
	if (rc < 0)
		close(sockets[0]);
	else
		rc = cable_begin(p->cable, e, sockets, arg, size);
	close(sockets[1]);
	return rc;
}

/**
 * vn_process_spawn_entry() - run a function in a fresh process
 * @h:         hub
 * @item_size: bytes of what is sent, both ways; up to 64 KiB
 * @e:         made by VN_ENTRY() in the program itself
 * @arg:       copied to there
 * @size:      bytes of it, up to 64 KiB
 *
 * The hub's thread stands still until the process has executed.
 *
 * Return: the process; NULL with errno EINVAL, EMFILE, ENFILE, EAGAIN, ENOMEM, ENOSPC, EBADF (0, 1 or 2 is closed), or
 * what execve(2) has.
 */
vn_process *
vn_process_spawn_entry(vn_hub *h, size_t item_size, const vn_entry *e, const void *arg, size_t size)
{
	vn_process *p;
	int rc;

	if (item_size == 0 || item_size > VN_WIRE_ITEM_MAX || !arg || size > VN_ENTRY_ARG_MAX ||
		!is_of_program(e)) {
		errno = EINVAL;
		return NULL;
	}
	p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	p->hub = h;
	rc = process_spawn(p, e, item_size, arg, size);
	return rc < 0 ? vn_process_discard(p, rc) : p;
}
