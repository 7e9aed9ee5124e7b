/* SPDX-License-Identifier: MIT */
/*
 * Protocol - each kind of message may carry what protocol.h says, and nothing else
 */
#include "shm/protocol.h"

#include <string.h>

#include "tests/unit/suite.h"

#define AREA (1u << 20)

enum { PAYLOAD = 1, POS = 2, CONN = 4, REPORT = 8, ARG = 16, PEER = 32, INSIDE = 64, TIMES = 128 };

typedef struct expectation {
	const char *name;
	unsigned int fields;
	uint8_t flags;
	bool from_worker;
} expectation;

/* Written down from the text of protocol.h, not from the table in protocol.c. */
static const expectation expected[VN_N_KINDS] = {
	[VN_KIND_OPEN] = {"OPEN", POS | CONN | REPORT | ARG | PEER, VN_RESUME, false},
	[VN_KIND_DATA] = {"DATA", PAYLOAD | POS | CONN | REPORT | ARG | PEER, VN_OPEN | VN_RESUME,
		false},
	[VN_KIND_SENT] = {"SENT", CONN | REPORT, VN_FINAL, false},
	[VN_KIND_END] = {"END", POS | CONN | REPORT | ARG | PEER, VN_OPEN | VN_RESUME, false},
	[VN_KIND_RESET] = {"RESET", CONN, 0, false},
	[VN_KIND_REVOKED] = {"REVOKED", CONN | REPORT, VN_FINAL, false},
	[VN_KIND_RELEASE] = {"RELEASE", CONN, 0, false},
	[VN_KIND_FULL] = {"FULL", CONN, 0, false},
	[VN_KIND_FINAL] = {"FINAL", CONN, 0, false},
	[VN_KIND_LISTENING] = {"LISTENING", PAYLOAD | REPORT | ARG, 0, false},
	[VN_KIND_DRAIN] = {"DRAIN", 0, 0, false},
	[VN_KIND_STOP] = {"STOP", 0, 0, false},
	[VN_KIND_PING] = {"PING", 0, 0, false},
	[VN_KIND_RESTORE] = {"RESTORE", INSIDE | CONN | ARG, 0, false},
	[VN_KIND_CONNECTED] = {"CONNECTED", CONN | REPORT | ARG | PEER, 0, false},
	[VN_KIND_SIGNAL] = {"SIGNAL", REPORT, 0, false},
	[VN_KIND_SEND] = {"SEND", PAYLOAD | POS | CONN | REPORT | TIMES, VN_ACK | VN_COMMIT, true},
	[VN_KIND_ACK] = {"ACK", CONN | REPORT | TIMES, VN_COMMIT, true},
	[VN_KIND_SHUTDOWN] = {"SHUTDOWN", POS | CONN, 0, true},
	[VN_KIND_CLOSE] = {"CLOSE", POS | CONN | TIMES, VN_ABORT, true},
	[VN_KIND_RELEASED] = {"RELEASED", CONN | REPORT, 0, true},
	[VN_KIND_NEED] = {"NEED", CONN, 0, true},
	[VN_KIND_NEED_INPUT] = {"NEED_INPUT", CONN | REPORT, 0, true},
	[VN_KIND_LISTEN] = {"LISTEN", PAYLOAD | ARG, VN_RESUME | VN_DATAGRAM | VN_PEER, true},
	[VN_KIND_UNLISTEN] = {"UNLISTEN", ARG, 0, true},
	[VN_KIND_READY] = {"READY", 0, 0, true},
	[VN_KIND_STATE] = {"STATE", INSIDE | CONN | ARG, 0, true},
	[VN_KIND_CONNECT] = {"CONNECT", PAYLOAD | ARG, 0, true},
	[VN_KIND_GIVE_UP] = {"GIVE_UP", ARG, 0, true},
	[VN_KIND_SUBSCRIBE] = {"SUBSCRIBE", REPORT, 0, true},
	[VN_KIND_METRIC] = {"METRIC", PAYLOAD | ARG, VN_GAUGE, true},
	[VN_KIND_DATAGRAMS] = {"DATAGRAMS", PAYLOAD | POS | REPORT | ARG, 0, false},
	[VN_KIND_DEPARTED] = {"DEPARTED", REPORT | ARG, 0, false},
	[VN_KIND_JOINED] = {"JOINED", REPORT | ARG, 0, false},
	[VN_KIND_REFUSED] = {"REFUSED", REPORT | ARG, 0, false},
	[VN_KIND_SENDTO] = {"SENDTO", PAYLOAD | POS | REPORT | ARG, VN_ACK, true},
	[VN_KIND_RECEIVED] = {"RECEIVED", REPORT | ARG, 0, true},
	[VN_KIND_NEED_ROOM] = {"NEED_ROOM", ARG, 0, true},
	[VN_KIND_JOIN] = {"JOIN", ARG | PEER, VN_ABORT, true},
};

/* A message of that kind with everything in it that it may carry. */
static vn_desc
full_desc(uint8_t kind)
{
	const expectation *e = &expected[kind];
	vn_desc d = {.kind = kind, .flags = e->flags};

	if (e->fields & INSIDE) { /* the last part of a state */
		memset(&d, 0xff, sizeof d);
		d.kind = kind;
		d.flags = 0;
		d.arg = 21;
		d.len = 1024;
		return d;
	}
	if (e->fields & PAYLOAD) {
		d.len = 300;
		d.block = 8;
		d.offset = 10;
	}
	if (e->fields & POS)
		d.pos = UINT64_MAX;
	if (e->fields & CONN) {
		d.conn = UINT32_MAX;
		d.gen = UINT32_MAX;
	}
	if (e->fields & REPORT)
		d.report = UINT64_MAX;
	if (e->fields & ARG)
		d.arg = VN_MAX_LISTENER;
	if (e->fields & PEER)
		memset(&d.peer, 0xff, sizeof d.peer);
	if (e->fields & TIMES)
		d.times = (vn_desc_times){UINT32_MAX, UINT32_MAX};
	return d;
}

static const char *
check_desc(const vn_desc *d)
{
	return vn_desc_check(d, expected[d->kind].from_worker, AREA);
}

static void
expect_bad(const vn_desc *d, const char *field)
{
	const char *bad = check_desc(d);

	ck_assert_msg(bad && strcmp(bad, field) == 0, "%s: %s is bad, but %s was named",
		expected[d->kind].name, field, bad ? bad : "nothing");
}

START_TEST(each_kind_carries_what_it_may)
{
	for (uint8_t kind = 1; kind < VN_N_KINDS; kind++) {
		vn_desc d = full_desc(kind);
		const char *bad = check_desc(&d);

		ck_assert_msg(!bad, "%s: %s", expected[kind].name, bad);
	}
}
END_TEST

START_TEST(optional_fields_may_be_zero)
{
	for (uint8_t kind = 1; kind < VN_N_KINDS; kind++) {
		vn_desc d = {.kind = kind};

		if ((expected[kind].fields & (PAYLOAD | INSIDE)) && kind != VN_KIND_LISTENING)
			d.len = 1;
		ck_assert_ptr_null(check_desc(&d));
	}
}
END_TEST

START_TEST(each_kind_has_one_sender)
{
	for (uint8_t kind = 1; kind < VN_N_KINDS; kind++) {
		vn_desc d = full_desc(kind);

		ck_assert_str_eq(vn_desc_check(&d, !expected[kind].from_worker, AREA), "kind");
	}
}
END_TEST

START_TEST(unknown_kinds_are_refused)
{
	for (unsigned int kind = 0; kind < 256; kind++) {
		vn_desc d = {.kind = (uint8_t)kind};

		if (kind > 0 && kind < VN_N_KINDS)
			continue;
		ck_assert_str_eq(vn_desc_check(&d, false, AREA), "kind");
		ck_assert_str_eq(vn_desc_check(&d, true, AREA), "kind");
	}
}
END_TEST

START_TEST(flags_of_other_kinds_are_refused)
{
	for (uint8_t kind = 1; kind < VN_N_KINDS; kind++)
		for (unsigned int bit = 0; bit < 8; bit++) {
			vn_desc d = full_desc(kind);

			if (expected[kind].flags & 1u << bit)
				continue;
			d.flags |= (uint8_t)(1u << bit);
			expect_bad(&d, "flags");
		}
}
END_TEST

START_TEST(a_send_commits_only_what_it_acknowledges)
{
	vn_desc d = full_desc(VN_KIND_SEND);

	d.flags = VN_COMMIT;
	expect_bad(&d, "flags");
	d.flags = VN_ACK;
	ck_assert_ptr_null(check_desc(&d));
	d.flags = 0;
	expect_bad(&d, "report");
	d.report = 0;
	expect_bad(&d, "peer"); /* where the times of a commit would be */
	d.times = (vn_desc_times){0, 0};
	ck_assert_ptr_null(check_desc(&d));
}
END_TEST

static void
lie(uint8_t kind, size_t offset, size_t size, const char *name)
{
	for (size_t bit = 0; bit < size * 8; bit++) {
		vn_desc d = full_desc(kind);

		((unsigned char *)&d)[offset + bit / 8] |= (unsigned char)(1u << bit % 8);
		expect_bad(&d, name);
	}
}

#define LIE(kind, field, name)                                                                     \
	lie(kind, offsetof(vn_desc, field), sizeof((vn_desc *)NULL)->field, name)

START_TEST(any_bit_of_a_field_that_a_kind_lacks_is_refused)
{
	for (uint8_t kind = 1; kind < VN_N_KINDS; kind++) {
		unsigned int fields = expected[kind].fields;

		if (fields & INSIDE)
			continue;
		if (!(fields & CONN)) {
			LIE(kind, conn, "conn");
			LIE(kind, gen, "conn");
		}
		if (!(fields & POS))
			LIE(kind, pos, "pos");
		if (!(fields & REPORT))
			LIE(kind, report, "report");
		if (!(fields & ARG))
			LIE(kind, arg, "arg");
		if (fields & TIMES)
			LIE(kind, peer.addr, "peer");
		else if (!(fields & PEER))
			LIE(kind, peer, "peer");
		if (!(fields & PAYLOAD)) {
			LIE(kind, len, "len");
			LIE(kind, block, "block");
			LIE(kind, offset, "offset");
		}
	}
}
END_TEST

START_TEST(a_listener_is_one_of_255)
{
	for (uint8_t kind = 1; kind < VN_N_KINDS; kind++) {
		vn_desc d = full_desc(kind);

		if (!(expected[kind].fields & ARG) || expected[kind].fields & INSIDE)
			continue;
		d.arg = VN_MAX_LISTENER + 1;
		if (kind == VN_KIND_OPEN || d.flags & VN_OPEN) { /* and who died with this input */
			ck_assert_ptr_null(check_desc(&d));
			ck_assert_uint_eq(vn_desc_listener(&d), 0);
			ck_assert_uint_eq(vn_desc_attempts(&d), 1);
			d.flags &= (uint8_t)~VN_OPEN;
		}
		if (kind == VN_KIND_OPEN)
			continue;
		expect_bad(&d, "arg");
		d.arg = UINT16_MAX;
		expect_bad(&d, "arg");
	}
}
END_TEST

START_TEST(a_state_has_as_many_parts_as_it_needs)
{
	static const struct {
		uint32_t len;
		uint16_t part;
		uint32_t carried; /* 0: is none */
	} parts[] = {{1, 0, 1}, {48, 0, 48}, {48, 1, 0}, {49, 0, 48}, {49, 1, 1}, {49, 2, 0},
		{1024, 20, 48}, {1024, 21, 16}, {1024, 22, 0}, {1024, UINT16_MAX, 0}};

	for (size_t i = 0; i < SUITE_COUNT(parts); i++) {
		vn_desc d = full_desc(VN_KIND_STATE);

		d.len = parts[i].len;
		d.arg = parts[i].part;
		if (!parts[i].carried) {
			expect_bad(&d, "arg");
			continue;
		}
		ck_assert_ptr_null(check_desc(&d));
		ck_assert_uint_eq(vn_state_part(&d), parts[i].carried);
	}
	for (uint32_t i = 0; i < 3; i++) {
		vn_desc d = full_desc(VN_KIND_RESTORE);

		d.len = (const uint32_t[]){0, 1025, UINT32_MAX}[i];
		d.arg = 0;
		expect_bad(&d, "len");
	}
}
END_TEST

START_TEST(payload_must_not_be_missing)
{
	for (uint8_t kind = 1; kind < VN_N_KINDS; kind++) {
		vn_desc d = full_desc(kind);

		if (!(expected[kind].fields & PAYLOAD) || expected[kind].fields & INSIDE)
			continue;
		d.len = 0;
		expect_bad(&d, kind == VN_KIND_LISTENING ? "block" : "len");
		d.block = 0;
		expect_bad(&d, kind == VN_KIND_LISTENING ? "offset" : "len");
	}
}
END_TEST

typedef struct place {
	uint32_t block, offset, len, area;
	const char *bad;
} place;

START_TEST(payload_lies_inside_of_the_area)
{
	static const place places[] = {
		{0, 0, 1, AREA, NULL},
		{0, 0, VN_BLOCK_MAX, AREA, NULL},
		{0, 0, VN_BLOCK_MAX + 1, AREA, "len"},
		{0, 0, UINT32_MAX, AREA, "len"},
		{0, 1, VN_BLOCK_MAX, AREA, "offset"},
		{0, VN_BLOCK_MAX - 1, 1, AREA, NULL},
		{0, VN_BLOCK_MAX - 1, 2, AREA, "offset"},
		{0, VN_BLOCK_MAX, 1, AREA, "offset"},
		{0, UINT32_MAX, 1, AREA, "offset"},
		{0, UINT32_MAX, VN_BLOCK_MAX, AREA, "offset"},
		{AREA / VN_GRANULE - 1, 0, VN_GRANULE, AREA, NULL},
		{AREA / VN_GRANULE - 1, 0, VN_GRANULE + 1, AREA, "block"},
		{AREA / VN_GRANULE - 1, VN_GRANULE - 1, 1, AREA, NULL},
		{AREA / VN_GRANULE - 1, VN_GRANULE, 1, AREA, "block"},
		{AREA / VN_GRANULE - 256, 0, VN_BLOCK_MAX, AREA, NULL},
		{AREA / VN_GRANULE - 255, 0, VN_BLOCK_MAX, AREA, "block"},
		{AREA / VN_GRANULE, 0, 1, AREA, "block"},
		/* 2^24 granules of 256 bytes are 2^32: a product in 32 bits would be 0 */
		{1u << 24, 0, 1, AREA, "block"},
		{UINT32_MAX, 0, 1, AREA, "block"},
		{UINT32_MAX, VN_BLOCK_MAX - 1, 1, AREA, "block"},
		{(1u << 30) / VN_GRANULE - 1, 255, 1, 1u << 30, NULL},
		{(1u << 30) / VN_GRANULE, 0, 1, 1u << 30, "block"},
		{UINT32_MAX, 0, 1, 1u << 30, "block"},
	};

	for (size_t i = 0; i < SUITE_COUNT(places); i++) {
		const place *p = &places[i];
		vn_desc d = {.kind = VN_KIND_SEND, .block = p->block, .offset = p->offset};
		const char *bad;

		d.len = p->len;
		bad = vn_desc_check(&d, true, p->area);
		ck_assert_msg(!bad == !p->bad && (!bad || strcmp(bad, p->bad) == 0),
			"place %zu: %s instead of %s", i, bad, p->bad);
	}
}
END_TEST

/* Whatever the bytes are: what passes is inside of the area, told by sums that cannot overflow. */
START_TEST(random_bytes_never_pass_with_a_place_outside)
{
	uint64_t seed = 1, words[8];
	unsigned int n_passed = 0;

	for (int i = 0; i < SUITE_TIMES(2000000); i++) {
		vn_desc d;

		for (size_t k = 0; k < 8; k++)
			words[k] = suite_random(&seed) & suite_random(&seed) & suite_random(&seed);
		memcpy(&d, words, sizeof d);
		d.kind = (uint8_t)(VN_KIND_SEND + i % 9);
		d.flags &= VN_ACK;
		d.arg = 0;
		memset(&d.peer, 0, sizeof d.peer);
		d.len &= 0x1ffff;
		d.offset &= 0x1ffff;
		d.block &= 0x1fff;
		if (vn_desc_check(&d, true, AREA))
			continue;
		n_passed++;
		suite_assert((uint64_t)d.block * 256 + d.offset + d.len <= AREA);
		suite_assert((uint64_t)d.offset + d.len <= VN_BLOCK_MAX);
	}
	ck_assert_uint_gt(n_passed, 100);
}
END_TEST

START_TEST(kinds_have_names)
{
	for (unsigned int kind = 1; kind < VN_N_KINDS; kind++)
		ck_assert_str_eq(vn_kind_name((uint8_t)kind), expected[kind].name);
	for (unsigned int kind = VN_N_KINDS; kind < 256; kind++)
		ck_assert_str_eq(vn_kind_name((uint8_t)kind), "?");
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		each_kind_carries_what_it_may,
		optional_fields_may_be_zero,
		each_kind_has_one_sender,
		unknown_kinds_are_refused,
		flags_of_other_kinds_are_refused,
		a_send_commits_only_what_it_acknowledges,
		any_bit_of_a_field_that_a_kind_lacks_is_refused,
		a_listener_is_one_of_255,
		a_state_has_as_many_parts_as_it_needs,
		payload_must_not_be_missing,
		payload_lies_inside_of_the_area,
		random_bytes_never_pass_with_a_place_outside,
		kinds_have_names,
	};

	return suite_run("protocol", tests, SUITE_COUNT(tests));
}
