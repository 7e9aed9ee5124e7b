/* SPDX-License-Identifier: MIT */
/*
 * Eyeballs - see eyeballs.h
 */
#include "client/net/eyeballs.h"

#include <errno.h>

/**
 * vn_eyeballs_init() - nothing was tried yet
 * @families: VN_N_FAMILIES of them; live longer, and are filled in by somebody else
 */
void
vn_eyeballs_init(vn_eyeballs *e, const vn_family *families)
{
	*e = (vn_eyeballs){.families = families, .last = VN_FOUR, .next_at = INT64_MIN};
}

static bool
has_more(const vn_eyeballs *e, int family)
{
	return e->tried[family] < e->families[family].n;
}

/* Until when IPv4 has to give way to IPv6, of which nothing is known yet. */
static vn_time
head_start(vn_eyeballs *e, vn_time now)
{
	const vn_family *f = e->families;

	if (f[VN_SIX].known || !f[VN_FOUR].known || e->tried[VN_SIX] || e->tried[VN_FOUR])
		return INT64_MIN;
	if (!e->four_alone)
		e->four_since = now;
	e->four_alone = true;
	return e->four_since + VN_RESOLUTION_DELAY;
}

/**
 * vn_eyeballs_next() - the address to be tried now
 * @until: if there is none: when to ask again, unless something is known or has failed before; VN_NEVER
 *
 * Return: the address, which counts as tried from here on; or NULL.
 */
const vn_inet *
vn_eyeballs_next(vn_eyeballs *e, vn_time now, vn_time *until)
{
	vn_time start = head_start(e, now), at = start > e->next_at ? start : e->next_at;
	int family = !e->last;

	if (!has_more(e, family))
		family = e->last;
	*until = VN_NEVER;
	if (!has_more(e, family))
		return NULL;
	if (at > now) {
		*until = at;
		return NULL;
	}
	e->last = family;
	e->next_at = now + VN_ATTEMPT_DELAY;
	return &e->families[family].addresses[e->tried[family]++];
}

/**
 * vn_eyeballs_failed() - an attempt came to nothing: the next one need not wait
 */
void
vn_eyeballs_failed(vn_eyeballs *e)
{
	e->next_at = INT64_MIN;
}

/* Is there nothing left to be tried, and will there be nothing more? */
bool
vn_eyeballs_exhausted(const vn_eyeballs *e)
{
	for (int i = 0; i < VN_N_FAMILIES; i++)
		if (!e->families[i].known || has_more(e, i))
			return false;
	return true;
}

/**
 * vn_eyeballs_error() - no family has an address: why not?
 *
 * Return: -ENOENT if somebody says that there is no such name, else what kept one from being told, else -ENODATA.
 */
int
vn_eyeballs_error(const vn_eyeballs *e)
{
	int rc = -ENODATA;

	for (int i = 0; i < VN_N_FAMILIES; i++) {
		int error = e->families[i].error;

		if (error == -ENOENT)
			return error;
		if (error < 0 && error != -ENODATA)
			rc = error;
	}
	return rc;
}
