/* SPDX-License-Identifier: MIT */
/*
 * Place - where ends and coroutines were made, in programs that are compiled with VN_DEBUG
 *
 * vn_here() says where the next thing is made, and whoever makes one calls vn_place_note(), which is a look at
 * two words of the hub and nothing else unless a place was ever given. Places are kept in a table beside the
 * things, by address and number: a thing that takes the address of one that is gone takes its row as well, so
 * nobody removes any.
 */
#ifndef VN_HUB_PLACE_H
#define VN_HUB_PLACE_H

#include "client/hub/hub.h"

void vn_place_keep(vn_hub *h, const void *thing, uint64_t id);
bool vn_place_recall(vn_hub *h, const void *thing, uint64_t id); /* gives it to the next thing */
void vn_place_tell(vn_hub *h, const void *thing, uint64_t id, const char *what);
void vn_places_tell(vn_hub *h);
void vn_places_free(vn_hub *h);

/* The place that was given last, for the next thing; one of who could not make it is nobody's later. NULL: none. */
static inline const char *
vn_place_given(const vn_hub *h)
{
	return h->here_turn == h->n_turns && h->here_current == h->current ? h->here : NULL;
}

/* @thing was made. The number tells it from others that had its address; 0 for what vn_hub_own() knows. */
static inline void
vn_place_note(vn_hub *h, const void *thing, uint64_t id)
{
	if (__builtin_expect(h->here || h->places, 0))
		vn_place_keep(h, thing, id);
}

#endif
