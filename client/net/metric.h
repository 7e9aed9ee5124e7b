/* SPDX-License-Identifier: MIT */
/*
 * Metric - what a program counts
 */
#ifndef VN_NET_METRIC_H
#define VN_NET_METRIC_H

#include "client/net/net.h"

/* Counters and gauges are one thing of two kinds. */
struct vn_metric {
	vn_metric *next;
	uint64_t *value; /* where the broker finds it, or `own` */
	uint64_t own;
	bool is_gauge;
	char name[VN_METRIC_NAME + 1];
};

void vn_metrics_free(vn_net *net);

#endif
