/* SPDX-License-Identifier: MIT */
/*
 * Keep - what has to outlive the lanes of a worker, in the spill area of the ledger
 */
#ifndef VN_BROKER_KEEP_H
#define VN_BROKER_KEEP_H

#include "broker/broker.h"

int vn_keep_output(vn_broker *b, vn_worker *w, vn_record *r);
int vn_keep_input(vn_broker *b, vn_worker *w, vn_record *r);
void vn_keep_forget_input(vn_broker *b, vn_worker *w, vn_record *r);
uint32_t vn_keep_next(const vn_broker *b, const vn_record *r, const void **data);
void vn_keep_given(vn_broker *b, vn_record *r);
uint32_t vn_keep_show(const vn_broker *b, const vn_record *r, unsigned char *out, uint32_t size);

const char *vn_keep_stage(vn_broker *b, vn_record *r, const vn_desc *d);
const char *vn_keep_commit(vn_broker *b, vn_record *r);
void vn_keep_unstage(vn_broker *b, vn_record *r);
void vn_keep_restore(const vn_broker *b, const vn_record *r, vn_desc *d, uint16_t part);

void vn_keep_drop(vn_broker *b, vn_record *r); /* everything that is kept of it */
void vn_keep_trim(vn_ledger *l);

#endif
