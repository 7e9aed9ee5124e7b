/* SPDX-License-Identifier: MIT */
/*
 * Intake - what workers have published, checked and acted upon
 */
#ifndef VN_BROKER_INTAKE_H
#define VN_BROKER_INTAKE_H

#include "broker/broker.h"

bool vn_intake_take(vn_broker *b, vn_worker *w); /* true if there may be more at once */
void vn_intake_drain(
	vn_broker *b, vn_worker *w); /* of a dead worker: everything that it published */

#endif
