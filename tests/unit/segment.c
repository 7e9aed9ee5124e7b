/* SPDX-License-Identifier: MIT */
/*
 * Segment - what the seals keep a peer from doing, and the facts of the kernel that their order
 * rests on
 *
 * Tests whose name begins with kernel_ show no code of ours: they pin what the design relies on.
 */
#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/layout.h"
#include "tests/unit/suite.h"

#define MIB (1u << 20)
#ifndef F_SEAL_EXEC /* Linux 6.3 */
#define F_SEAL_EXEC 0x0020
#endif

static const vn_geometry geometry = {.n_slots = 64, .area_bytes = 4 * MIB};

static void
create(vn_segment *s)
{
	ck_assert_int_eq(vn_segment_create(s, "test", &geometry, 7), 0);
}

/* As the broker has its own: mapped, claimed, sealed. */
static void
create_sealed(vn_segment *s)
{
	create(s);
	ck_assert_int_eq(vn_segment_map(s, true), 0);
	ck_assert_int_eq(vn_segment_claim(s, 7), 0);
	ck_assert_int_eq(vn_segment_seal(s), 0);
}

/* The same memory as a peer that was given a descriptor of it sees it. */
static void
adopt(vn_segment *peer, const vn_segment *s)
{
	int fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(vn_segment_adopt(peer, fd, &geometry), 0);
}

static int
reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

static void *
map(int fd, int protection)
{
	return mmap(NULL, vn_geometry_size(&geometry), protection, MAP_SHARED, fd, 0);
}

static off_t
committed_bytes(const vn_segment *s)
{
	struct stat st;

	ck_assert_int_eq(fstat(s->fd, &st), 0);
	return st.st_blocks * 512;
}

/* The line of /proc/self/smaps that begins with @word, for the mapping of the test's segment. */
static void
mapping_says(const char *word, char line[512])
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	bool inside = false;

	ck_assert_ptr_nonnull(smaps);
	while (fgets(line, 512, smaps)) {
		if (strstr(line, "memfd:vanilla-test-7"))
			inside = true;
		else if (inside && strncmp(line, word, strlen(word)) == 0)
			break;
	}
	ck_assert(!feof(smaps));
	fclose(smaps);
}

START_TEST(geometry_is_a_power_of_two_of_slots_and_whole_spans)
{
	static const vn_geometry good[] = {
		{64, MIB}, {128, MIB + 65536}, {4096, 8 * MIB}, {4096, 1u << 30}};
	static const vn_geometry bad[] = {{0, MIB}, {32, MIB}, {65, MIB}, {8192, MIB}, {96, MIB},
		{64, 0}, {64, MIB - 65536}, {64, MIB + 1}, {64, MIB + 4096},
		{64, (1u << 30) + 65536}, {64, UINT32_MAX}, {UINT32_MAX, MIB}, {1u << 31, MIB}};

	for (size_t i = 0; i < SUITE_COUNT(good); i++)
		ck_assert(vn_geometry_valid(&good[i]));
	for (size_t i = 0; i < SUITE_COUNT(bad); i++)
		ck_assert(!vn_geometry_valid(&bad[i]));
}
END_TEST

START_TEST(a_segment_has_exactly_its_size_for_ever)
{
	struct stat st;
	vn_segment s;

	create(&s);
	ck_assert_int_eq(fstat(s.fd, &st), 0);
	ck_assert_uint_eq((size_t)st.st_size, 8192 + 64 * 64 + 4 * MIB);
	ck_assert_uint_eq((size_t)st.st_size, vn_geometry_size(&geometry));
	ck_assert_int_eq(ftruncate(s.fd, st.st_size - 1), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(ftruncate(s.fd, st.st_size + 1), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(fallocate(s.fd, 0, st.st_size, 4096), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(fcntl(s.fd, F_GETFD), FD_CLOEXEC);
	vn_segment_deinit(&s);
}
END_TEST

START_TEST(slots_and_the_first_mebibyte_are_committed_and_no_more)
{
	off_t wanted = 8192 + 64 * 64 + MIB;
	vn_segment s;

	create(&s);
	ck_assert_int_eq(committed_bytes(&s), wanted);
	ck_assert_int_eq(vn_segment_map(&s, true), 0);
	ck_assert_int_eq(committed_bytes(&s), wanted);
	vn_area_write(&s, 4 * MIB / VN_GRANULE - 1, 255, "x", 1);
	ck_assert_int_eq(committed_bytes(&s), wanted + 4096);
	vn_segment_deinit(&s);
}
END_TEST

START_TEST(slots_are_prefaulted_and_the_area_is_not)
{
	unsigned char resident[(8192 + 64 * 64) / 4096];
	char line[512];
	vn_segment s;

	create(&s);
	ck_assert_int_eq(vn_segment_map(&s, true), 0);
	ck_assert_int_eq(mincore(s.base, sizeof resident * 4096, resident), 0);
	for (size_t i = 0; i < sizeof resident; i++)
		ck_assert(resident[i] & 1);
	mapping_says("Rss:", line);
	ck_assert_int_eq(strtol(line + 4, NULL, 10), (long)sizeof resident * 4);
	vn_segment_deinit(&s);
}
END_TEST

START_TEST(nobody_writes_a_sealed_segment_but_its_owner)
{
	vn_segment s, peer;
	void *view;
	int fd;

	create_sealed(&s);
	ck_assert_ptr_eq(map(s.fd, PROT_READ | PROT_WRITE), MAP_FAILED);
	ck_assert_int_eq(errno, EPERM);
	view = map(s.fd, PROT_READ);
	ck_assert_ptr_ne(view, MAP_FAILED);
	ck_assert_int_eq(mprotect(view, 4096, PROT_READ | PROT_WRITE), -1);
	ck_assert_int_eq(errno, EACCES);
	munmap(view, vn_geometry_size(&geometry));
	ck_assert_int_eq(pwrite(s.fd, "x", 1, 0), -1);
	ck_assert_int_eq(errno, EPERM);
	fd = reopen(s.fd, O_RDWR);
	ck_assert_int_ge(fd, 0);
	ck_assert_ptr_eq(map(fd, PROT_READ | PROT_WRITE), MAP_FAILED);
	close(fd);
	adopt(&peer, &s);
	ck_assert_int_eq(vn_segment_map(&peer, true), -EPERM);
	ck_assert_int_eq(vn_segment_map(&peer, false), 0);
	vn_area_write(&s, 3, 5, "still", 6);
	ck_assert_str_eq((char *)vn_area_at(&peer, 3, 5), "still");
	vn_segment_deinit(&peer);
	vn_segment_deinit(&s);
}
END_TEST

START_TEST(no_hole_is_punched_into_a_sealed_segment)
{
	vn_segment s, peer;

	create_sealed(&s);
	vn_area_write(&s, 0, 0, "here", 5);
	ck_assert_int_eq(
		fallocate(s.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 20), -1);
	ck_assert_int_eq(errno, EPERM);
	adopt(&peer, &s);
	ck_assert_int_eq(vn_segment_map(&peer, false), 0);
	ck_assert_int_ne(madvise(peer.base, 1 << 20, MADV_REMOVE), 0);
	ck_assert_str_eq((char *)vn_area_at(&s, 0, 0), "here");
	vn_segment_deinit(&peer);
	vn_segment_deinit(&s);
}
END_TEST

START_TEST(seals_are_final)
{
	vn_segment s;

	create_sealed(&s);
	ck_assert_int_eq(vn_segment_seal(&s), -EPERM);
	ck_assert_int_eq(fcntl(s.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(fcntl(s.fd, F_GET_SEALS) & ~F_SEAL_EXEC,
		F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
	vn_segment_deinit(&s);
}
END_TEST

START_TEST(who_sealed_first_is_found_out)
{
	vn_segment s;

	create(&s);
	ck_assert_int_eq(fcntl(s.fd, F_ADD_SEALS, F_SEAL_SEAL), 0);
	ck_assert_int_eq(vn_segment_seal(&s), -EPERM);
	vn_segment_deinit(&s);
}
END_TEST

START_TEST(a_segment_is_not_executable_where_the_kernel_has_that_seal)
{
	int fd = memfd_create("probe", 0x0008u | MFD_CLOEXEC); /* MFD_NOEXEC_SEAL */
	struct stat st;
	vn_segment s;

	create(&s);
	if (fd >= 0) {
		close(fd);
		ck_assert_int_eq(fcntl(s.fd, F_GET_SEALS) & F_SEAL_EXEC, F_SEAL_EXEC);
		ck_assert_int_eq(fstat(s.fd, &st), 0);
		ck_assert_int_eq(st.st_mode & 0111, 0);
		ck_assert_int_eq(fchmod(s.fd, 0700), -1);
	} else {
		ck_assert_int_eq(errno, EINVAL); /* a kernel before 6.3: made without it */
	}
	vn_segment_deinit(&s);
}
END_TEST

/* Why the reader maps only after the seal. */
START_TEST(kernel_a_view_from_before_the_seal_can_be_made_writable)
{
	vn_segment s;
	unsigned char *view;

	create(&s);
	view = map(s.fd, PROT_READ);
	ck_assert_ptr_ne(view, MAP_FAILED);
	ck_assert_int_eq(vn_segment_seal(&s), 0);
	ck_assert_int_eq(mprotect(view, 4096, PROT_READ | PROT_WRITE), 0);
	view[0] = 1;
	munmap(view, vn_geometry_size(&geometry));
	vn_segment_deinit(&s);
}
END_TEST

/* Why a descriptor without write access protects nothing. */
START_TEST(kernel_a_read_only_descriptor_can_be_opened_again_for_writing)
{
	vn_segment s;
	int read_only, again;

	create(&s);
	read_only = reopen(s.fd, O_RDONLY);
	ck_assert_int_ge(read_only, 0);
	ck_assert_ptr_eq(map(read_only, PROT_READ | PROT_WRITE), MAP_FAILED);
	again = reopen(read_only, O_RDWR);
	ck_assert_int_ge(again, 0);
	ck_assert_int_eq(pwrite(again, "x", 1, 0), 1);
	close(read_only);
	close(again);
	vn_segment_deinit(&s);
}
END_TEST

START_TEST(a_forked_child_and_a_core_dump_have_no_part_of_it)
{
	unsigned char resident[1];
	char line[512];
	vn_segment s;
	pid_t child;
	int status;

	create_sealed(&s);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0)
		_exit(mincore(s.base, 4096, resident) == -1 && errno == ENOMEM ? 0 : 1);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	mapping_says("VmFlags:", line);
	ck_assert_ptr_nonnull(strstr(line, " dc")); /* do not copy */
	ck_assert_ptr_nonnull(strstr(line, " dd")); /* do not dump */
	vn_segment_deinit(&s);
}
END_TEST

START_TEST(a_claim_starts_all_cursors_alike_and_tells_what_it_is)
{
	const vn_segment_layout *layout;
	vn_segment s;

	create(&s);
	ck_assert_int_eq(vn_segment_claim(&s, 7), -EPERM); /* not mapped yet */
	ck_assert_int_eq(vn_segment_map(&s, true), 0);
	ck_assert_int_eq(vn_segment_check(&s, 7), -EPROTO); /* not claimed yet */
	ck_assert_int_eq(vn_segment_claim(&s, 7), 0);
	ck_assert_int_eq(vn_segment_check(&s, 7), 0);
	layout = (const void *)s.base;
	ck_assert_uint_eq(layout->tail, 0xfffffff0u);
	ck_assert_uint_eq(layout->space_ev, 0xfffffff0u);
	ck_assert_uint_eq(layout->head, 0xfffffff0u);
	ck_assert_uint_eq(layout->ev, 0xfffffff0u);
	vn_segment_deinit(&s);
}
END_TEST

START_TEST(a_header_that_lies_is_refused)
{
	static const size_t fields[] = {offsetof(vn_segment_header, magic),
		offsetof(vn_segment_header, version), offsetof(vn_segment_header, features),
		offsetof(vn_segment_header, incarnation), offsetof(vn_segment_header, n_slots),
		offsetof(vn_segment_header, area_bytes)};
	vn_segment s;

	create(&s);
	ck_assert_int_eq(vn_segment_map(&s, true), 0);
	for (size_t i = 0; i < SUITE_COUNT(fields); i++) {
		ck_assert_int_eq(vn_segment_claim(&s, 7), 0);
		ck_assert_int_eq(vn_segment_check(&s, 7), 0);
		s.base[fields[i]] ^= 1;
		ck_assert_int_eq(vn_segment_check(&s, 7), -EPROTO);
	}
	ck_assert_int_eq(vn_segment_claim(&s, 7), 0);
	ck_assert_int_eq(vn_segment_check(&s, 8), -EPROTO);
	vn_segment_deinit(&s);
}
END_TEST

START_TEST(a_view_cannot_be_claimed)
{
	vn_segment s, peer;

	create_sealed(&s);
	adopt(&peer, &s);
	ck_assert_int_eq(vn_segment_map(&peer, false), 0);
	ck_assert_int_eq(vn_segment_claim(&peer, 7), -EPERM);
	vn_segment_deinit(&peer);
	vn_segment_deinit(&s);
}
END_TEST

START_TEST(only_a_memfd_of_that_size_with_its_size_sealed_is_adopted)
{
	vn_geometry other = {.n_slots = 128, .area_bytes = 4 * MIB};
	int pipes[2], fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING), n_fds;
	vn_segment s, peer;

	create(&s);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)vn_geometry_size(&geometry)), 0);
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	n_fds = suite_n_fds();
	ck_assert_int_eq(vn_segment_adopt(&peer, s.fd, &other), -EPROTO);
	ck_assert_int_eq(vn_segment_adopt(&peer, fd, &geometry), -EPROTO);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	ck_assert_int_eq(vn_segment_adopt(&peer, fd, &geometry), -EPROTO);
	ck_assert_int_eq(vn_segment_adopt(&peer, pipes[0], &geometry), -EPROTO);
	ck_assert_int_eq(vn_segment_adopt(&peer, 999, &geometry), -EBADF);
	ck_assert_int_eq(suite_n_fds(), n_fds); /* what was refused is still the caller's */
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	ck_assert_int_eq(vn_segment_adopt(&peer, fd, &geometry), 0);
	vn_segment_deinit(&peer);
	ck_assert_int_eq(suite_n_fds(), n_fds - 1);
	close(pipes[0]);
	close(pipes[1]);
	vn_segment_deinit(&s);
}
END_TEST

START_TEST(the_area_begins_after_the_slots_and_ends_with_the_segment)
{
	char back[4];
	vn_segment s;

	create(&s);
	ck_assert_int_eq(vn_segment_map(&s, true), 0);
	ck_assert_ptr_eq(vn_area_at(&s, 0, 0), s.base + 8192 + 64 * 64);
	ck_assert_ptr_eq(vn_area_at(&s, 4 * MIB / VN_GRANULE - 1, 256), s.base + s.size);
	vn_area_write(&s, 4 * MIB / VN_GRANULE - 1, 252, "end", 4);
	vn_area_read(&s, 4 * MIB / VN_GRANULE - 1, 252, back, 4);
	ck_assert_str_eq(back, "end");
	vn_segment_deinit(&s);
}
END_TEST

START_TEST(nothing_is_left_behind)
{
	int n_fds = suite_n_fds();
	vn_segment s, never = {0};

	create_sealed(&s);
	vn_segment_deinit(&s);
	vn_segment_deinit(&s);
	vn_segment_deinit(&never); /* has no descriptor, so it must not close number 0 */
	ck_assert_int_eq(suite_n_fds(), n_fds);
	ck_assert_int_eq(s.fd, -1);
	ck_assert_ptr_null(s.base);
}
END_TEST

START_TEST(a_segment_that_cannot_be_made_leaves_nothing_behind)
{
	struct rlimit limit, none;
	int n_fds = suite_n_fds();
	vn_segment s;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){0, limit.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(vn_segment_create(&s, "test", &geometry, 7), -EMFILE);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(s.fd, -1);
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		geometry_is_a_power_of_two_of_slots_and_whole_spans,
		a_segment_has_exactly_its_size_for_ever,
		slots_and_the_first_mebibyte_are_committed_and_no_more,
		slots_are_prefaulted_and_the_area_is_not,
		nobody_writes_a_sealed_segment_but_its_owner,
		no_hole_is_punched_into_a_sealed_segment,
		seals_are_final,
		who_sealed_first_is_found_out,
		a_segment_is_not_executable_where_the_kernel_has_that_seal,
		kernel_a_view_from_before_the_seal_can_be_made_writable,
		kernel_a_read_only_descriptor_can_be_opened_again_for_writing,
		a_forked_child_and_a_core_dump_have_no_part_of_it,
		a_claim_starts_all_cursors_alike_and_tells_what_it_is,
		a_header_that_lies_is_refused,
		a_view_cannot_be_claimed,
		only_a_memfd_of_that_size_with_its_size_sealed_is_adopted,
		the_area_begins_after_the_slots_and_ends_with_the_segment,
		nothing_is_left_behind,
		a_segment_that_cannot_be_made_leaves_nothing_behind,
	};

	return suite_run("segment", tests, SUITE_COUNT(tests));
}
