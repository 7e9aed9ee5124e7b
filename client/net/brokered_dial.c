/* SPDX-License-Identifier: MIT */
/*
 * Brokered dial - the broker is asked to connect
 *
 * CONNECT carries the URL of an address in a block of our lane, and a number of ours. Both are in use until the
 * broker has answered, also when nobody wants the connection any more (GIVE_UP): so an answer never meets a later
 * request of the same number. A connection that nobody wants is reset as soon as it is there.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client/hub/log.h"
#include "client/net/brokered.h"

/**
 * vn_brokered_may_connect() - is there a number and a block for a request?
 */
bool
vn_brokered_may_connect(vn_net *net)
{
	vn_brokered *b = vn_brokered_of(net);

	return b->n_requests <= VN_MAX_REQUEST && vn_blocks_available(b->link.blocks) > 0;
}

static uint16_t
request_find(const vn_brokered *b)
{
	uint16_t id = 0;

	while (b->requests[id].is_out)
		id++;
	return id;
}

/* A block for a URL, of its class or where there is one. */
static uint32_t
request_block(vn_brokered *b, uint32_t len)
{
	uint32_t block = VN_NO_BLOCK;

	for (unsigned int i = vn_block_class(len); i < VN_N_CLASSES && block == VN_NO_BLOCK; i++)
		block = vn_block_alloc(b->link.blocks, i);
	return block;
}

/**
 * vn_brokered_connect() - have the broker connect to an address
 *
 * Caller: vn_brokered_may_connect() has just said so.
 */
void
vn_brokered_connect(vn_attempt *a, const vn_endpoint *to)
{
	vn_brokered *b = vn_brokered_of(a->net);
	char url[VN_URL_MAX];
	uint32_t len, block;
	int rc;

	rc = vn_endpoint_format(to, url);
	len = (uint32_t)strlen(url);
	block = rc < 0 ? VN_NO_BLOCK : request_block(b, len);
	if (block == VN_NO_BLOCK) {
		vn_attempt_done(a, NULL, rc < 0 ? rc : -ENOMEM);
		return;
	}
	a->id = request_find(b);
	b->requests[a->id] = (vn_request){.is_out = true, .attempt = a, .block = block};
	b->n_requests++;
	vn_area_write(a->net->out_area, block, 0, url, len);
	vn_stage(b, &(vn_desc){.kind = VN_KIND_CONNECT, .arg = a->id, .len = len, .block = block});
}

/**
 * vn_brokered_give_up() - nobody waits for it any more
 */
void
vn_brokered_give_up(vn_attempt *a)
{
	vn_brokered *b = vn_brokered_of(a->net);

	b->requests[a->id].attempt = NULL;
	vn_stage(b, &(vn_desc){.kind = VN_KIND_GIVE_UP, .arg = a->id});
}

/**
 * vn_brokered_on_connected() - the broker's answer to CONNECT
 */
void
vn_brokered_on_connected(vn_brokered *b, const vn_desc *d)
{
	vn_request request = b->requests[d->arg];
	vn_conn *c = NULL;

	if (!request.is_out)
		vn_brokered_lost(b, "answered what was not asked");
	b->requests[d->arg] = (vn_request){0};
	b->n_requests--;
	vn_block_free(b->link.blocks, request.block);
	if (d->report == 0)
		c = vn_brokered_open(b, d, NULL);
	if (request.attempt)
		vn_attempt_done(request.attempt, c, -(int)d->report);
	else if (c)
		vn_brokered_turn_away(b, c);
	vn_net_on_room(b->net);
}
