/* SPDX-License-Identifier: MIT */
/*
 * Show - answers that are not one table
 */
#ifndef VN_BROKER_SHOW_H
#define VN_BROKER_SHOW_H

#include "broker/control.h"
#include "broker/row.h"

/* One row as a line of text, or with widths NULL as JSON without a newline. */
int vn_show_row(
	vn_client *c, const vn_columns *columns, const vn_row *row, const vn_widths *widths);

/* `show worker ID [last N]`; words[0] is "worker" */
int vn_show_worker(vn_client *c, char **words, size_t n, bool json);

#endif
