/* SPDX-License-Identifier: MIT */
/*
 * Exec - what a program is started with: its environment, its pipes, its other descriptors
 *
 * Everything is made by the parent, and what the child has of it is a table of descriptors (child.h).
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/os/process.h"
#include "client/os/stream.h"

#define DEFAULT_PATH "/bin:/usr/bin"
#define FDS_MAX      1024

extern char **environ;

/* What is made for a start, and goes when it is over. */
typedef struct start {
	vn_child child;
	char **env; /* NULL: ours as it is */
	int *fds;
	int ours[3]; /* our ends of pipes, -1 where there is none */
	int theirs[3];
	int nothing; /* /dev/null, -1 while it was not asked for */
} start;

static void
fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void
start_deinit(start *s)
{
	for (int i = 0; i < 3; i++) {
		fd_close(&s->ours[i]);
		fd_close(&s->theirs[i]);
	}
	fd_close(&s->nothing);
	free(s->env);
	free(s->fds);
}

static size_t
count(const char *const *strings)
{
	size_t n = 0;

	while (strings && strings[n])
		n++;
	return n;
}

/* "NAME=" of both is the same. */
static bool
same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return strncmp(a, b, n) == 0 && b[n] == '=';
}

static bool
is_replaced(const char *entry, const char *const *env)
{
	for (; env && *env; env++)
		if (same_name(*env, entry))
			return true;
	return false;
}

static int
start_environment(start *s, const vn_exec *how)
{
	size_t n_ours = how->env_alone ? 0 : count((const char *const *)environ),
	       n_more = count(how->env), n = 0;

	s->child.env = environ;
	if (!how->env && !how->env_alone)
		return 0;
	s->env = calloc(n_ours + n_more + 1, sizeof *s->env);
	if (!s->env)
		return -ENOMEM;
	for (size_t i = 0; i < n_ours; i++)
		if (!is_replaced(environ[i], how->env))
			s->env[n++] = environ[i];
	for (size_t i = 0; i < n_more; i++)
		s->env[n++] = (char *)(uintptr_t)how->env[i];
	s->child.env = s->env;
	return 0;
}

/* A pipe: our end does not block, theirs does. */
static int
start_pipe(start *s, int i)
{
	int fds[2], mine = i == 0;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	s->ours[i] = fds[mine];
	s->theirs[i] = fds[!mine];
	return fcntl(s->ours[i], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int
start_nothing(start *s)
{
	if (s->nothing < 0)
		s->nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	return s->nothing < 0 ? -errno : s->nothing;
}

/* What is to be `i` there; `which` is what the program said. */
static int
start_standard(start *s, int i, int which)
{
	int rc;

	switch (which) {
	case VN_PIPED:
		rc = start_pipe(s, i);
		return rc < 0 ? rc : s->theirs[i];
	case VN_PASSED:
		return i;
	case VN_NOTHING:
		return start_nothing(s);
	case VN_MERGED:
		return i == 2 ? s->fds[1] : -EINVAL;
	default:
		return which > 0 ? which : -EINVAL;
	}
}

static int
start_fds(start *s, const vn_exec *how)
{
	const int which[] = {how->in, how->out, how->err};

	if (how->n_fds > FDS_MAX)
		return -EINVAL;
	s->child.n_fds = 3 + (int)how->n_fds;
	s->child.fds = s->fds = calloc(3 + how->n_fds, sizeof *s->fds);
	if (!s->fds)
		return -ENOMEM;
	for (int i = 0; i < 3; i++) {
		s->fds[i] = start_standard(s, i, which[i]);
		if (s->fds[i] < 0)
			return s->fds[i];
	}
	for (size_t i = 0; i < how->n_fds; i++) {
		if (how->fds[i] < 0)
			return -EBADF;
		s->fds[3 + i] = how->fds[i];
	}
	return 0;
}

static int
start_init(start *s, const char *const argv[], const vn_exec *how)
{
	const char *path = getenv("PATH");
	int rc;

	*s = (start){.ours = {-1, -1, -1}, .theirs = {-1, -1, -1}, .nothing = -1};
	if (!argv || !argv[0])
		return -EINVAL;
	s->child.argv = (char *const *)(uintptr_t)argv;
	s->child.path = path ? path : DEFAULT_PATH;
	s->child.directory = how->directory;
	s->child.max_fds = vn_child_max_fds();
	s->child.parent = getpid();
	s->child.own_group = how->own_group;
	rc = start_environment(s, how);
	return rc < 0 ? rc : start_fds(s, how);
}

static int
process_streams(vn_process *p, start *s)
{
	for (int i = 0; i < 3; i++) {
		if (s->ours[i] < 0)
			continue;
		p->streams[i] = (vn_os_stream)(p->hub, s->ours[i], 0);
		if (!p->streams[i])
			return -errno;
		p->streams[i]->home = &p->streams[i];
		s->ours[i] = -1;
	}
	return 0;
}

/**
 * vn_process_exec() - start a program
 * @h:    hub
 * @argv: its arguments, the last one NULL; argv[0] is the program
 * @how:  what it has of us, or NULL: only pipes, our environment and our directory
 *
 * The hub's thread stands still until the program runs.
 *
 * Return: the process; NULL with errno: EINVAL, EBADF, EMFILE, ENFILE, EAGAIN, ENOMEM, E2BIG, ETXTBSY, or what
 * chdir(2) had.
 */
vn_process *(vn_process_exec)(vn_hub *h, const char *const argv[], const vn_exec *how)
{
	const vn_exec plain = {.in = VN_PIPED};
	vn_process *p = calloc(1, sizeof *p);
	start s;
	int rc;

	if (!p)
		return NULL;
	*p = (vn_process){.hub = h, .own_group = how && how->own_group};
	rc = start_init(&s, argv, how ? how : &plain);
	if (rc == 0)
		rc = process_streams(p, &s);
	if (rc == 0)
		rc = vn_process_begin(p, &s.child);
	start_deinit(&s);
	return rc < 0 ? vn_process_discard(p, rc) : p;
}
