/* SPDX-License-Identifier: MIT */
/*
 * Place - the table, and what is said at the end
 *
 * Open addressing, half full at most. Nothing here ever fails: what there is no memory for is not told.
 */
#include "client/hub/place.h"

#include <stdlib.h>

#include "client/hub/log.h"

#define FEW 64

typedef struct place {
	const void *thing; /* NULL: free */
	uint64_t id;
	const char *file; /* NULL: made where nobody said */
	int line;
} place;

typedef struct vn_places {
	place *rows;
	size_t n_rows, n_used;
	bool told;
} vn_places;

/* The row of a thing, or the free one that it would take. */
static place *
row_of(const vn_places *p, const void *thing)
{
	uint64_t hash = (uintptr_t)thing * UINT64_C(0x9e3779b97f4a7c15);
	size_t i = (hash >> 32) & (p->n_rows - 1);

	while (p->rows[i].thing && p->rows[i].thing != thing)
		i = (i + 1) & (p->n_rows - 1);
	return &p->rows[i];
}

static bool
grow(vn_places *p)
{
	vn_places more = {.n_rows = p->n_rows ? p->n_rows * 2 : FEW, .n_used = p->n_used};

	more.rows = calloc(more.n_rows, sizeof *more.rows);
	if (!more.rows)
		return false;
	for (size_t i = 0; i < p->n_rows; i++)
		if (p->rows[i].thing)
			*row_of(&more, p->rows[i].thing) = p->rows[i];
	free(p->rows);
	*p = more;
	return true;
}

/* NULL without memory. */
static vn_places *
places_of(vn_hub *h)
{
	if (!h->places)
		h->places = calloc(1, sizeof *h->places);
	if (!h->places)
		return NULL;
	if (h->places->n_used * 2 >= h->places->n_rows && !grow(h->places))
		return NULL;
	return h->places;
}

static const place *
place_of(const vn_hub *h, const void *thing, uint64_t id)
{
	const place *row = h->places && h->places->n_rows ? row_of(h->places, thing) : NULL;

	return row && row->thing && row->id == id && row->file ? row : NULL;
}

/**
 * vn_here() - the next end or coroutine is made at this place
 * @h:    hub, or NULL
 * @file: lives as long as the hub
 * @line: in it
 *
 * Return: @h.
 */
vn_hub *
vn_here(vn_hub *h, const char *file, int line)
{
	if (h) {
		h->here = file;
		h->here_line = line;
		h->here_turn = h->n_turns;
		h->here_current = h->current;
	}
	return h;
}

/**
 * vn_place_keep() - a thing is made: it has the place that was given last, or none
 * @h:     hub
 * @thing: its address
 * @id:    its number
 */
void
vn_place_keep(vn_hub *h, const void *thing, uint64_t id)
{
	const char *file = vn_place_given(h);
	vn_places *p = places_of(h);
	place *row;

	h->here = NULL;
	if (!p)
		return;
	row = row_of(p, thing);
	if (!row->thing)
		p->n_used++;
	*row = (place){thing, id, file, h->here_line};
}

/**
 * vn_place_recall() - the next thing is made for this one, and has its place
 * @h:     hub
 * @thing: noted
 * @id:    its number
 *
 * Return: false if it has none.
 */
bool
vn_place_recall(vn_hub *h, const void *thing, uint64_t id)
{
	const place *row = place_of(h, thing, id);

	if (row)
		vn_here(h, row->file, row->line);
	return row != NULL;
}

/**
 * vn_place_tell() - log where a thing was made, if that is known
 * @h:     hub
 * @thing: noted
 * @id:    its number
 * @what:  beginning of the line
 */
void
vn_place_tell(vn_hub *h, const void *thing, uint64_t id, const char *what)
{
	const place *row = place_of(h, thing, id);

	if (row)
		vn_log(h, LOG_WARNING, "%s:%d: %s", row->file, row->line, what);
}

/**
 * vn_places_tell() - log what is open or runs although the hub is to be freed; once
 * @h: hub
 */
void
vn_places_tell(vn_hub *h)
{
	if (!h->places || h->places->told)
		return;
	h->places->told = true;
	for (const vn_co *co = h->all; co; co = co->all_next)
		vn_place_tell(h, co, co->id, "the coroutine made here still runs");
	for (const vn_owned *o = h->owned; o; o = o->next)
		vn_place_tell(h, o, 0, "what was made here is still open");
}

/**
 * vn_places_free() - forget all places
 * @h: hub
 */
void
vn_places_free(vn_hub *h)
{
	if (h->places)
		free(h->places->rows);
	free(h->places);
	h->places = NULL;
}
