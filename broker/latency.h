/* SPDX-License-Identifier: MIT */
/*
 * Latency - what `show` says of stages
 */
#ifndef VN_BROKER_LATENCY_H
#define VN_BROKER_LATENCY_H

#include "broker/recent.h"
#include "broker/report.h"

/* Names of the columns that vn_row_stages() fills. */
#define VN_STAGE_COLUMNS                                                                           \
	"wait_p50_seconds", "wait_p99_seconds", "run_p50_seconds", "run_p99_seconds",              \
		"write_p50_seconds", "write_p99_seconds"

void vn_row_stages(vn_row *row, const vn_stage_set *stages);

/* `show slow` */
extern const vn_columns vn_slow_columns;
vn_query_step vn_slow_next(vn_query *q, vn_row *row);

#endif
