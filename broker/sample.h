/* SPDX-License-Identifier: MIT */
/*
 * Sample - gauges for those who read the counters file
 */
#ifndef VN_BROKER_SAMPLE_H
#define VN_BROKER_SAMPLE_H

#include "broker/broker.h"

void vn_broker_sample(vn_broker *b);

#endif
