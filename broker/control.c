/* SPDX-License-Identifier: MIT */
/*
 * Control - the control socket
 *
 * The file is ours alone (0600, in a folder that is made 0700), and the kernel tells who connects. A file that
 * nobody listens on any more is taken over; a lock on the folder keeps two brokers that start at once from
 * taking the same one. The lock is polite: whoever else holds it, for whatever reason, delays us by two seconds
 * and no more.
 */
#include "broker/control.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG        1024
#define ACCEPTS        16 /* in one turn */
#define ACCEPT_PAUSE   (100 * VN_MS)
#define LOCK_TRIES     100
#define LOCK_PAUSE_NS  20000000
#define DIRECTORY_MODE 0700
#define WEB_QUIET_S    60 /* then the kernel asks whether it is still there, for as long again */

static void on_event(vn_watch *w, uint32_t events);

static int
accept_listen(vn_control *control)
{
	return vn_watch_add(control->hub->poller, &control->watch, control->fd, EPOLLIN, on_event);
}

/* No descriptor was free: the listener is level-triggered and would spin. */
static void
pause_over(vn_timer *t)
{
	vn_control *control = (vn_control *)(void *)((char *)t - offsetof(vn_control, pause));

	if (accept_listen(control) < 0)
		vn_wheel_arm(control->hub->wheel, t, vn_hub_after(control->hub, ACCEPT_PAUSE));
}

static void
accept_pause(vn_control *control)
{
	vn_watch_remove(control->hub->poller, &control->watch);
	vn_wheel_arm(
		control->hub->wheel, &control->pause, vn_hub_after(control->hub, ACCEPT_PAUSE));
}

static bool
peer_allowed(int fd)
{
	struct ucred cred = {.uid = (uid_t)-1};
	socklen_t len = sizeof cred;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	       (cred.uid == 0 || cred.uid == geteuid());
}

static void
reject(int fd, const char *text)
{
	ssize_t n = send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);

	(void)n; /* it is rejected anyway */
	vn_client_hang_up(fd);
}

/* Who follows events may be quiet for ever, and its machine may be gone: it would keep its place. */
static void
keep_alive(int fd)
{
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){WEB_QUIET_S}, sizeof(int));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){WEB_QUIET_S / 6}, sizeof(int));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){6}, sizeof(int));
}

static void
web_accepted(vn_control *control, int fd)
{
	keep_alive(fd);
	if (control->n_clients >= control->max_clients)
		reject(fd, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
			   "Content-Length: 0\r\n\r\n");
	else if (vn_client_open(control, fd) < 0)
		vn_client_hang_up(fd);
}

static void
accepted(vn_control *control, int fd)
{
	if (control->is_web)
		web_accepted(control, fd);
	else if (!peer_allowed(fd))
		reject(fd, "ERR denied this socket is for the user who runs the broker\n\n");
	else if (control->n_clients >= control->max_clients)
		reject(fd, "ERR limit 64 clients are connected already; try again later\n\n");
	else if (vn_client_open(control, fd) < 0)
		reject(fd, "ERR memory out of memory; try again later\n\n");
}

/* Clients who have left but were not told yet, because their events come after this one. */
static bool
anybody_leaving(const vn_control *control)
{
	struct pollfd polls[VN_CLIENTS_MAX];
	nfds_t n = 0;

	for (const vn_client *c = control->clients; c && n < VN_CLIENTS_MAX; c = c->next)
		polls[n++] = (struct pollfd){.fd = c->fd};
	return poll(polls, n, 0) > 0;
}

static void
on_event(vn_watch *w, uint32_t events)
{
	vn_control *control = (vn_control *)(void *)((char *)w - offsetof(vn_control, watch));

	(void)events;
	for (int i = 0; i < ACCEPTS; i++) {
		int fd;

		if (control->n_clients >= control->max_clients && anybody_leaving(control))
			return;
		fd = accept4(control->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			accepted(control, fd);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			return accept_pause(control);
		else if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

/* Opening: each step returns 0 or an exit code, after a sentence. */

static int
exit_code_of(int error)
{
	return error == EACCES || error == EPERM || error == EROFS ? VN_EXIT_PERMISSION
								   : VN_EXIT_SYSTEM;
}

static int
fail(const vn_control *control, const char *what, int error)
{
	const char *advice = "";

	if (error == EACCES || error == EPERM || error == EROFS)
		advice = "; choose another path with --control, or set XDG_RUNTIME_DIR to a folder "
			 "of "
			 "your own";
	else if (error == ENOENT)
		advice = "; make the folder first, or choose another path with --control";
	vn_log(control->hub, LOG_ERR, "cannot %s the control socket %s: %s%s", what,
		control->address.sun_path, strerror(error), advice);
	return exit_code_of(error);
}

/* The folder of the socket; only the last one is made. */
static int
folder_open(vn_control *control, int *folder)
{
	char path[sizeof control->address.sun_path];
	const char *name = dirname(strcpy(path, control->address.sun_path));

	if (mkdir(name, DIRECTORY_MODE) < 0 && errno != EEXIST)
		return fail(control, "make the folder of", errno);
	*folder = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return 0; /* a folder that cannot be read can still be used, without a lock */
}

static void
folder_lock(int folder)
{
	struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};

	for (int i = 0; i < LOCK_TRIES && folder >= 0 && flock(folder, LOCK_EX | LOCK_NB) < 0 &&
			errno == EWOULDBLOCK;
		i++)
		nanosleep(&pause, NULL);
}

/* Who answers at the path? Return: 0 for somebody, or why not. */
static int
probe(const vn_control *control)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return errno;
	error = connect(fd, (const struct sockaddr *)(const void *)&control->address,
			sizeof control->address) < 0
			? errno
			: 0;
	close(fd);
	return error == EAGAIN ? 0 : error; /* its queue is full: it is alive */
}

/* Makes way for our socket if there is nothing but a stale one. */
static int
take_over(const vn_control *control)
{
	const char *path = control->address.sun_path;
	struct stat st;
	int error;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : fail(control, "look for", errno);
	if (!S_ISSOCK(st.st_mode)) {
		vn_log(control->hub, LOG_ERR,
			"cannot make the control socket %s: there is a file that is no socket; "
			"choose another path with --control",
			path);
		return VN_EXIT_SYSTEM;
	}
	error = probe(control);
	if (error == 0) {
		vn_log(control->hub, LOG_ERR,
			"a broker is running already at the control socket %s; choose another one "
			"with --control or --name, or stop that one: vanilla ctl -s %s stop",
			path, path);
		return VN_EXIT_RUNNING;
	}
	if (error != ECONNREFUSED)
		return fail(control, "look who is at", error);
	return unlink(path) < 0 ? fail(control, "take over", errno) : 0;
}

static int
socket_bind(vn_control *control)
{
	mode_t mask = umask(S_IXUSR | S_IRWXG | S_IRWXO);
	int rc = bind(control->fd, (const struct sockaddr *)(const void *)&control->address,
		sizeof control->address);
	int error = errno;
	struct stat st;

	umask(mask);
	if (rc < 0)
		return fail(control, "make", error);
	if (lstat(control->address.sun_path, &st) == 0) {
		control->dev = st.st_dev;
		control->ino = st.st_ino;
	}
	return listen(control->fd, BACKLOG) < 0 ? fail(control, "listen on", errno) : 0;
}

static int
socket_open(vn_control *control)
{
	int folder = -1, rc = folder_open(control, &folder);

	if (rc == 0) {
		folder_lock(folder);
		rc = take_over(control);
	}
	if (rc == 0) {
		control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		rc = control->fd < 0 ? fail(control, "open", errno) : socket_bind(control);
	}
	if (folder >= 0)
		close(folder);
	return rc;
}

static void
control_free(vn_control *control)
{
	struct stat st;
	const char *path = control->address.sun_path;

	if (control->fd >= 0)
		close(control->fd);
	if (control->ino && lstat(path, &st) == 0 && st.st_dev == control->dev &&
		st.st_ino == control->ino)
		unlink(path);
	control->fd = -1;
	control->ino = 0;
	if (control->n_clients == 0)
		free(control);
}

static vn_control *
control_new(vn_broker *b, bool is_web)
{
	vn_control *control = calloc(1, sizeof *control);

	if (!control)
		return NULL;
	control->hub = b->hub;
	control->fd = -1;
	control->watch.fd = -1;
	control->pause.fire = pause_over;
	control->is_web = is_web;
	control->max_clients = is_web ? VN_WEB_CLIENTS_MAX : VN_CLIENTS_MAX;
	return control;
}

/**
 * vn_control_listen() - serve clients of a socket
 * @fd:     listens; belongs to what is returned, and is closed if this fails
 * @is_web: they speak HTTP
 *
 * Return: NULL with errno ENOMEM, or what epoll says.
 */
vn_control *
vn_control_listen(vn_broker *b, int fd, bool is_web)
{
	vn_control *control = control_new(b, is_web);
	int rc = -ENOMEM;

	if (control) {
		control->fd = fd;
		rc = accept_listen(control);
	}
	if (rc < 0) {
		free(control);
		close(fd);
		errno = -rc;
		return NULL;
	}
	control->broker = b;
	vn_hub_hold(b->hub);
	return control;
}

/**
 * vn_control_open() - make the control socket, and serve it
 * @b: hub and configuration are there
 *
 * Return: 0, or the exit code of the program after a sentence in the log.
 */
int
vn_control_open(vn_broker *b)
{
	vn_control *control = control_new(b, false);
	int rc;

	if (!control) {
		vn_log(b->hub, LOG_ERR, "out of memory");
		return VN_EXIT_SYSTEM;
	}
	control->address.sun_family = AF_UNIX;
	strncpy(control->address.sun_path, b->config->control_path,
		sizeof control->address.sun_path - 1);
	rc = socket_open(control);
	if (rc == 0 && accept_listen(control) < 0)
		rc = fail(control, "watch", ENOMEM);
	if (rc != 0) {
		control_free(control);
		return rc;
	}
	control->broker = b;
	b->control = control;
	vn_hub_hold(b->hub);
	return 0;
}

/**
 * vn_control_end() - remove the socket; whoever is connected is sent away
 *
 * What waits at this moment ends when it runs next, without a look at the broker.
 */
void
vn_control_end(vn_control *control)
{
	control->broker = NULL;
	vn_hub_unhold(control->hub);
	vn_wheel_disarm(control->hub->wheel, &control->pause);
	vn_watch_remove(control->hub->poller, &control->watch);
	for (vn_client *c = control->clients; c; c = c->next)
		if (c->queue.first)
			vn_wake(c->queue.first, 0);
	control_free(control);
}

/**
 * vn_control_close() - the same of the control socket
 * @b: open or not
 */
void
vn_control_close(vn_broker *b)
{
	if (b->control)
		vn_control_end(b->control);
	b->control = NULL;
}

/**
 * vn_control_client_gone() - one less; the last one of a socket that is closed frees it
 */
void
vn_control_client_gone(vn_control *control)
{
	control->n_clients--;
	if (control->n_clients == 0 && !control->broker)
		free(control);
}
