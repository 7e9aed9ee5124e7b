/* SPDX-License-Identifier: MIT */
/*
 * Debt - what a worker has yet to be told, as bits in records instead of a queue of messages
 */
#ifndef VN_BROKER_DEBT_H
#define VN_BROKER_DEBT_H

#include "broker/broker.h"

void vn_debt_add(vn_broker *b, vn_worker *w, vn_record *r, uint16_t debts);
void vn_debt_pay(vn_broker *b, vn_worker *w);
bool vn_debt_owes(const vn_worker *w);
bool vn_debt_may_push(vn_worker *w, const vn_record *r);
void vn_debt_push_data(
	vn_broker *b, vn_worker *w, vn_record *r, uint32_t block, uint32_t offset, uint32_t len);
void vn_debt_push_revoked(vn_broker *b, vn_worker *w, vn_record *r);
void vn_debt_unreported(vn_broker *b, vn_worker *w, vn_record *r);
void vn_debt_report_sweep(vn_broker *b);
void vn_debt_forget(vn_broker *b, vn_worker *w);

#endif
