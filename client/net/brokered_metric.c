/* SPDX-License-Identifier: MIT */
/*
 * Brokered metric - the broker is told what a hint means
 *
 * METRIC has name and help in a block of our lane, which stays out for good: the broker may read it at any time, and
 * there are at most VN_METRICS of them.
 */
#include <errno.h>
#include <string.h>

#include "client/net/brokered.h"
#include "client/net/metric.h"
#include "shm/hint.h"

/**
 * vn_brokered_metric() - m lies in hint i of our segment from here on
 * @help: what it is, for people
 *
 * Return: 0, or -ENOMEM.
 */
int
vn_brokered_metric(vn_net *net, vn_metric *m, uint32_t i, const char *help)
{
	vn_brokered *b = vn_brokered_of(net);
	char text[VN_METRIC_NAME + VN_METRIC_HELP + 1];
	size_t name = strlen(m->name), len = name + 1 + strlen(help);
	uint32_t block = vn_block_alloc(b->link.blocks, 0);

	if (block == VN_NO_BLOCK)
		return -ENOMEM;
	memcpy(text, m->name, name + 1);
	memcpy(text + name + 1, help, len - name - 1);
	vn_area_write(net->out_area, block, 0, text, (uint32_t)len);
	m->value = vn_hint_own(&b->link.own, i);
	vn_stage(b, &(vn_desc){.kind = VN_KIND_METRIC,
			    .flags = m->is_gauge ? VN_GAUGE : 0,
			    .arg = (uint16_t)i,
			    .len = (uint32_t)len,
			    .block = block});
	return 0;
}
