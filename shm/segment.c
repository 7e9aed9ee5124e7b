/* SPDX-License-Identifier: MIT */
/*
 * Segment - see segment.h for who seals what, and layout.h for what lies where
 *
 * Committed at once are the header, the slots and the first MiB of the area: what is missing shows
 * as an error of vn_segment_create() and not as a SIGBUS later. The rest of the area is sparse; its
 * owner touches it lowest address first, and what was touched stays, because no hole can be punched
 * after the last seal.
 */
#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/crash.h"
#include "shm/layout.h"
#include "shm/sync.h"

#ifndef MFD_NOEXEC_SEAL /* Linux 6.3 */
#define MFD_NOEXEC_SEAL 0x0008u
#endif

#define PAGE_BYTES      4096u
#define COMMIT_BYTES    (1u << 20)
#define SEALS_OF_SIZE   (F_SEAL_SHRINK | F_SEAL_GROW)
#define SEALS_OF_WRITER (F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

/**
 * vn_geometry_valid() - can a segment have these sizes?
 */
bool
vn_geometry_valid(const vn_geometry *g)
{
	return g->n_slots >= 64 && g->n_slots <= 4096 && (g->n_slots & (g->n_slots - 1)) == 0 &&
	       g->area_bytes >= 1u << 20 && g->area_bytes <= 1u << 30 &&
	       g->area_bytes % VN_BLOCK_MAX == 0;
}

/**
 * vn_geometry_size() - bytes that a segment takes, header and slots included
 */
size_t
vn_geometry_size(const vn_geometry *g)
{
	return vn_geometry_area(g) + g->area_bytes;
}

static int
memfd_open(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL) /* a kernel before 6.3 */
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

static int
memfd_commit(int fd, size_t n)
{
	int rc;

	do
		rc = fallocate(fd, 0, 0, (off_t)n);
	while (rc < 0 && errno == EINTR);
	return rc;
}

/**
 * vn_segment_create() - make a memfd of fixed size
 * @name:        appears, with the incarnation, in /proc/PID/maps
 * @g:           valid (vn_geometry_valid())
 *
 * It can neither grow nor shrink from here on. It is not mapped yet.
 *
 * Return: 0, or a negative errno (-ENOSPC or -ENOMEM: there is no memory for it), and nothing is
 * left behind.
 */
int
vn_segment_create(vn_segment *s, const char *name, const vn_geometry *g, uint32_t incarnation)
{
	char full_name[64];
	int err;

	snprintf(full_name, sizeof full_name, "vanilla-%s-%u", name, incarnation);
	*s = (vn_segment){.fd = memfd_open(full_name), .geometry = *g, .size = vn_geometry_size(g)};
	if (s->fd < 0 || ftruncate(s->fd, (off_t)s->size) < 0 ||
		fcntl(s->fd, F_ADD_SEALS, SEALS_OF_SIZE) < 0 ||
		memfd_commit(s->fd, vn_geometry_area(g) + COMMIT_BYTES) < 0) {
		err = -errno;
		vn_segment_deinit(s);
		return err;
	}
	VN_CRASH_POINT("broker.create.after");
	return 0;
}

/**
 * vn_segment_adopt() - take over a memfd that somebody else made
 * @fd: belongs to the segment if this succeeds, else still to the caller
 *
 * Its size must be exactly that of @g, and sealed, so that no access to a mapping of it can fault.
 *
 * Return: 0, -EPROTO if it is no such memfd, or a negative errno.
 */
int
vn_segment_adopt(vn_segment *s, int fd, const vn_geometry *g)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0)
		return errno == EINVAL ? -EPROTO : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((seals & SEALS_OF_SIZE) != SEALS_OF_SIZE || (size_t)st.st_size != vn_geometry_size(g))
		return -EPROTO;
	*s = (vn_segment){.fd = fd, .geometry = *g, .size = vn_geometry_size(g)};
	return 0;
}

/* The first turn of a hub takes no page faults. The area stays untouched: it is to be sparse. */
static void
segment_prefault(const vn_segment *s)
{
	size_t end = vn_geometry_area(&s->geometry);

	if (madvise(s->base, end, s->writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) == 0)
		return;
	for (size_t at = 0; at < end; at += PAGE_BYTES) /* a kernel before 5.14 */
		vn_sync_load((const void *)(s->base + at));
}

/**
 * vn_segment_map() - map a segment, and prefault its slots
 * @writable: for its one writer, before it is sealed
 *
 * A forked child has no part of it, and no core dump either: a grandchild must not keep it, and
 * dumping it would delay the news of a death.
 *
 * Return: 0 or a negative errno; -EPERM if it is to be written and was sealed already.
 */
int
vn_segment_map(vn_segment *s, bool writable)
{
	int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ, err;
	void *base;

	VN_CRASH_POINT("segment.map.before");
	base = mmap(NULL, s->size, protection, MAP_SHARED, s->fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	if (madvise(base, s->size, MADV_DONTFORK) < 0 ||
		madvise(base, s->size, MADV_DONTDUMP) < 0) {
		err = -errno;
		munmap(base, s->size);
		return err;
	}
	s->base = base;
	s->writable = writable;
	segment_prefault(s);
	VN_CRASH_POINT("segment.map.after");
	return 0;
}

/**
 * vn_segment_claim() - write the header and the start of all cursors of one's own segment
 *
 * Both sides do it before the other one can look (HELLO, MAPPED). As all four words of both
 * segments start alike, each side is born armed: the first flush rings.
 *
 * Return: 0, or -EPERM if it is not mapped writable.
 */
int
vn_segment_claim(vn_segment *s, uint32_t incarnation)
{
	vn_segment_layout *layout = (void *)s->base;

	if (!s->base || !s->writable)
		return -EPERM;
	VN_CRASH_POINT("segment.claim.before");
	layout->header = (vn_segment_header){
		.magic = VN_SEGMENT_MAGIC,
		.version = VN_LAYOUT_VERSION,
		.incarnation = incarnation,
		.n_slots = s->geometry.n_slots,
		.area_bytes = s->geometry.area_bytes,
	};
	VN_CRASH_POINT("segment.claim.half");
	vn_sync_publish(&layout->tail, VN_CURSOR_START);
	vn_sync_publish(&layout->space_ev, VN_CURSOR_START);
	vn_sync_publish(&layout->head, VN_CURSOR_START);
	vn_sync_publish(&layout->ev, VN_CURSOR_START);
	VN_CRASH_POINT("segment.claim.after");
	return 0;
}

/**
 * vn_segment_seal() - nobody can map it writable from here on, nor truncate it, punch holes or
 * change the seals
 *
 * The mapping that its writer has stays writable.
 *
 * Return: 0, or a negative errno; -EPERM if somebody else sealed it first.
 */
int
vn_segment_seal(vn_segment *s)
{
	int err;

	VN_CRASH_POINT("broker.seal.before");
	err = fcntl(s->fd, F_ADD_SEALS, SEALS_OF_WRITER) < 0 ? -errno : 0;
	VN_CRASH_POINT("broker.seal.after");
	return err;
}

/**
 * vn_segment_check() - did the owner claim it as what we think it is?
 *
 * The header informs only: geometry is never taken from it. One copy is looked at.
 *
 * Return: 0 or -EPROTO.
 */
int
vn_segment_check(const vn_segment *s, uint32_t incarnation)
{
	vn_segment_header header;

	memcpy(&header, s->base, sizeof header);
	if (header.magic != VN_SEGMENT_MAGIC || header.version != VN_LAYOUT_VERSION ||
		header.features != 0 || header.incarnation != incarnation ||
		header.n_slots != s->geometry.n_slots ||
		header.area_bytes != s->geometry.area_bytes)
		return -EPROTO;
	return 0;
}

/**
 * vn_segment_deinit() - unmap and close, in any state, also that of {0}
 */
void
vn_segment_deinit(vn_segment *s)
{
	if (s->base) {
		VN_CRASH_UNMAP(s->base, s->size);
		munmap(s->base, s->size);
	}
	if (s->size && s->fd >= 0)
		close(s->fd);
	*s = (vn_segment){.fd = -1};
}
