/* SPDX-License-Identifier: MIT */
/*
 * Counters file - made whole, then put in its place
 *
 * Whoever has the control socket has the file beside it. It is written under another name and renamed: a reader
 * has the old file or the new one, never a part, and one that still reads that of an earlier broker keeps it. Blocks
 * are reserved before they are written, so that a full disk is an error here and not a signal later. A broker that
 * cannot have the file counts in private memory: `show` and the metrics work, `vanilla stat` does not.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <vanilla.h>

#include "broker/counters.h"

#define NEW_SUFFIX ".new"
#define MODE       0444 /* the folder says who gets there */

static uint64_t
clock_ns(clockid_t which)
{
	struct timespec now;

	clock_gettime(which, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* When this process was started, in ticks since the machine was; field 22, and the second one may hold anything. */
static uint64_t
process_started(void)
{
	unsigned long long ticks = 0;
	char text[1024], *after;
	FILE *f = fopen("/proc/self/stat", "re");
	size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;

	if (f)
		fclose(f);
	text[n] = '\0';
	after = strrchr(text, ')');
	if (after && sscanf(after,
			     ") %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			     "%*s %*s %*s %*s %llu",
			     &ticks) == 1)
		return ticks;
	return 0;
}

/**
 * vn_counters_reserve() - see that a part of the file has memory behind it
 *
 * Return: 0 or a negative errno.
 */
int
vn_counters_reserve(vn_counters *c, size_t offset, size_t len)
{
	if (c->fd < 0 || fallocate(c->fd, 0, (off_t)offset, (off_t)len) == 0)
		return 0;
	return errno == EOPNOTSUPP ? 0 : -errno;
}

static int
file_create(vn_counters *c, const char *path)
{
	struct stat st;

	unlink(path); /* of a broker that was killed just then */
	c->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, MODE);
	if (c->fd < 0)
		return -errno;
	if (fchmod(c->fd, MODE) < 0 || ftruncate(c->fd, (off_t)c->size) < 0 ||
		fstat(c->fd, &st) < 0)
		return -errno;
	c->dev = st.st_dev;
	c->ino = st.st_ino;
	return 0;
}

/* Everything up to the rows of workers is needed anyway. */
static int
memory_map(vn_counters *c)
{
	int flags = c->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	void *base = mmap(NULL, c->size, PROT_READ | PROT_WRITE, flags, c->fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	c->base = base;
	c->header = base;
	return 0;
}

static void
fill(vn_counters *c, const char *service)
{
	*c->header = c->layout;
	c->header->pid = (uint32_t)getpid();
	c->header->pid_started = process_started();
	c->header->started_ns = clock_ns(CLOCK_REALTIME);
	c->header->zero_ns = c->header->sampled_ns = clock_ns(CLOCK_MONOTONIC);
	snprintf(c->header->release, sizeof c->header->release, "%s", VN_VERSION);
	snprintf(c->header->service, sizeof c->header->service, "%s", service);
	vn_counters_describe(c);
}

/* Makes the file, fills it, and puts it in its place. */
static int
file_open(vn_counters *c, const char *service)
{
	char path[sizeof c->path + sizeof NEW_SUFFIX];
	int rc;

	snprintf(path, sizeof path, "%s" NEW_SUFFIX, c->path);
	rc = file_create(c, path);
	if (rc == 0)
		rc = vn_counters_reserve(c, 0,
			c->layout.errors + VN_COUNTERS_ERRORS * sizeof(vn_counters_error) +
				sizeof(vn_broker_counters));
	if (rc == 0)
		rc = memory_map(c);
	if (rc == 0) {
		fill(c, service);
		rc = rename(path, c->path) < 0 ? -errno : 0;
	}
	if (rc < 0)
		unlink(path);
	return rc;
}

/**
 * vn_counters_open() - begin to count
 * @control_path: of the control socket, which is ours; NULL for private memory, that is not to be found
 * @service:      what the service is called
 *
 * Return: NULL with errno.
 */
vn_counters *
vn_counters_open(const char *control_path, const char *service)
{
	vn_counters *c = aligned_alloc(64, sizeof *c);
	int rc;

	if (!c)
		return NULL;
	memset(c, 0, sizeof *c);
	c->fd = -1;
	c->size = vn_counters_layout(&c->layout);
	if (control_path) {
		snprintf(c->path, sizeof c->path, "%s" VN_COUNTERS_SUFFIX, control_path);
		rc = file_open(c, service);
	} else if ((rc = memory_map(c)) == 0) {
		fill(c, service);
	}
	if (rc == 0)
		return c;
	vn_counters_close(c);
	errno = -rc;
	return NULL;
}

/**
 * vn_counters_close() - the end; the file is removed if it is still ours
 *
 * Return: NULL. Takes NULL.
 */
vn_counters *
vn_counters_close(vn_counters *c)
{
	struct stat st;

	if (!c)
		return NULL;
	if (c->fd >= 0) {
		if (lstat(c->path, &st) == 0 && st.st_dev == c->dev && st.st_ino == c->ino)
			unlink(c->path);
		close(c->fd);
	}
	if (c->base)
		munmap(c->base, c->size);
	free(c);
	return NULL;
}
