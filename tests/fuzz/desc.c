/* SPDX-License-Identifier: MIT */
/*
 * desc - any 64 bytes as a descriptor, from either side
 *
 * What passes vn_desc_check() is safe to act upon: its kind has a name and is one of that side's, its payload lies
 * within the area, its listener in the table. The first byte of the input says how large the area is.
 */
#include "shm/protocol.h"
#include "tests/fuzz/fuzz.h"

static void
check(const vn_desc *d, bool from_worker, uint32_t area_bytes)
{
	const char *bad = vn_desc_check(d, from_worker, area_bytes);

	must(vn_kind_name(d->kind));
	if (bad)
		return;
	must(d->kind > VN_KIND_NONE && d->kind < VN_N_KINDS);
	must((d->kind >= VN_KIND_SEND) == from_worker);
	if (d->kind == VN_KIND_STATE || d->kind == VN_KIND_RESTORE) {
		must(d->arg * VN_INLINE_BYTES < d->len && d->len <= VN_STATE_MAX);
		must(vn_state_part(d) > 0 && vn_state_part(d) <= VN_INLINE_BYTES);
		return;
	}
	must(!from_worker || d->arg <= VN_MAX_LISTENER);
	must(d->len <= VN_BLOCK_MAX);
	must((uint64_t)d->block * VN_GRANULE + d->offset + d->len <= area_bytes || d->len == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	source s = {data, size};
	uint32_t area_bytes = (1u + source_byte(&s) % 64) << 16;

	while (s.left > 0) {
		vn_desc d;

		source_bytes(&s, &d, sizeof d);
		check(&d, true, area_bytes);
		check(&d, false, area_bytes);
	}
	return 0;
}
