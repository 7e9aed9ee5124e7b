/* SPDX-License-Identifier: MIT */
/*
 * Datagram group - groups that workers have joined on the one socket of an endpoint
 *
 * The kernel knows of a group once; here is counted how many workers want it. When a worker dies its groups stay
 * joined, for its successor will ask for them, and what is sent meanwhile is not to be missed; but not when there is
 * no room for others.
 */
#include <errno.h>
#include <string.h>

#include "broker/datagram.h"

static vn_datagram_group *
group_find(vn_datagrams *d, const vn_desc_peer *addr)
{
	for (uint32_t k = 0; k < VN_DATAGRAM_GROUPS; k++)
		if (d->groups[k].addr.family && memcmp(&d->groups[k].addr, addr, sizeof *addr) == 0)
			return &d->groups[k];
	return NULL;
}

static vn_datagram_group *
group_free(vn_datagrams *d)
{
	for (uint32_t k = 0; k < VN_DATAGRAM_GROUPS; k++)
		if (!d->groups[k].addr.family)
			return &d->groups[k];
	return NULL;
}

static void
group_leave(vn_datagrams *d, vn_datagram_group *g)
{
	vn_datagram_join(&d->socket, &g->addr, true);
	g->addr.family = 0;
}

/* Leaves what only the dead have asked for: true if there was any. */
static bool
groups_tidy(vn_datagrams *d)
{
	bool any = false;

	for (uint32_t k = 0; k < VN_DATAGRAM_GROUPS; k++)
		if (d->groups[k].addr.family && d->groups[k].n_wanted == 0) {
			group_leave(d, &d->groups[k]);
			any = true;
		}
	return any;
}

/* One that nobody has joined yet; there are only so many, here and in the kernel. */
static int
group_new(vn_datagrams *d, const vn_desc_peer *addr)
{
	vn_datagram_group *g = group_free(d);
	int rc = g ? vn_datagram_join(&d->socket, addr, false) : -ENOBUFS;

	if (rc == -ENOBUFS && groups_tidy(d)) {
		g = group_free(d);
		rc = vn_datagram_join(&d->socket, addr, false);
	}
	if (rc == 0)
		*g = (vn_datagram_group){.addr = *addr};
	return rc;
}

static int
join(vn_binding *i, const vn_desc_peer *addr)
{
	vn_datagrams *d = i->endpoint->datagrams;
	vn_datagram_group *g = group_find(d, addr);
	int rc = g ? 0 : group_new(d, addr);

	if (rc < 0)
		return rc;
	g = group_find(d, addr);
	if (!(i->groups & 1u << (g - d->groups))) {
		i->groups |= 1u << (g - d->groups);
		g->n_wanted++;
	}
	return 0;
}

/* A worker no longer wants a group: if nobody does, it is left. */
static void
unwant(vn_binding *i, vn_datagram_group *g, bool is_dead)
{
	vn_datagrams *d = i->endpoint->datagrams;

	i->groups &= ~(1u << (g - d->groups));
	g->n_wanted--;
	if (g->n_wanted || is_dead)
		return;
	group_leave(d, g);
}

/**
 * vn_datagrams_join() - a worker wants what is sent to a group, or no longer
 *
 * Return: 0, also when it wanted it already; what setsockopt(2) says; -ENOBUFS for too many; -EADDRNOTAVAIL for
 * leaving one that it had not joined.
 */
int
vn_datagrams_join(vn_binding *i, const vn_desc_peer *group, bool leave)
{
	vn_datagrams *d = i->endpoint->datagrams;
	vn_datagram_group *g = group_find(d, group);

	if (!leave)
		return join(i, group);
	if (!g || !(i->groups & 1u << (g - d->groups)))
		return -EADDRNOTAVAIL;
	unwant(i, g, false);
	return 0;
}

/* A worker wants none of them any more, or is dead. */
void
vn_datagrams_groups_end(vn_binding *i, bool is_dead)
{
	for (uint32_t k = 0; k < VN_DATAGRAM_GROUPS; k++)
		if (i->groups & 1u << k)
			unwant(i, &i->endpoint->datagrams->groups[k], is_dead);
}
