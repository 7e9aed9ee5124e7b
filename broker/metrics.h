/* SPDX-License-Identifier: MIT */
/*
 * Metrics - the counters as Prometheus reads them
 */
#ifndef VN_BROKER_METRICS_H
#define VN_BROKER_METRICS_H

#include <stdio.h>

#include "broker/reader.h"

typedef enum vn_metrics_format {
	VN_METRICS_PROMETHEUS,  /* text format 0.0.4 */
	VN_METRICS_OPENMETRICS, /* 1.0.0 */
} vn_metrics_format;

typedef struct vn_metrics {
	FILE *out;
	const vn_reader *reader;
	vn_metrics_format format;
	vn_reader_cursor at;
	vn_sample sample;
} vn_metrics;

void vn_metrics_begin(vn_metrics *m, FILE *out, const vn_reader *reader, vn_metrics_format format);
bool vn_metrics_step(vn_metrics *m);
void vn_metrics_labels(FILE *out, const vn_reader *reader, const vn_sample *s, const char *bound);

#endif
