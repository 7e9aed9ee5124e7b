/* SPDX-License-Identifier: MIT */
/*
 * Slab - records of one size that leave nothing behind
 */
#ifndef VN_NET_SLAB_H
#define VN_NET_SLAB_H

#include <stddef.h>
#include <stdint.h>

typedef struct vn_slab {
	size_t page, size; /* bytes of a page, of a record */
	uint32_t n_pages;  /* 0: there was no room for it */
	uint32_t from;     /* no page below this one has a free record */
	uint64_t full;     /* what used[] says of a page without one */
	uint64_t *used;    /* by page, a bit for each record */
	char *base;
} vn_slab;

void vn_slab_init(vn_slab *s, size_t size);
void vn_slab_deinit(vn_slab *s);
void *vn_slab_get(vn_slab *s);
void vn_slab_put(vn_slab *s, void *record);

#endif
