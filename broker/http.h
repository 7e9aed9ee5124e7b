/* SPDX-License-Identifier: MIT */
/*
 * Http - requests on the control socket and on --admin
 *
 * One request per connection, GET or HEAD, without a body; whoever wants to be served here reads http.c's table of
 * pages. A page is a function that answers: vn_http_begin(), then vn_client_write() as it likes. Where the length is
 * not known beforehand the answer is chunked (or ends with the connection, in HTTP/1.0), so it may go on for ever.
 */
#ifndef VN_BROKER_HTTP_H
#define VN_BROKER_HTTP_H

#include <stdbool.h>

#include "broker/control.h"

#define VN_HTTP_UNKNOWN (-1) /* length of a body */

typedef struct vn_http_request {
	bool is_head, is_old; /* old: HTTP/1.0 */
	bool wants_openmetrics;
	char path[256];  /* without the query */
	char query[256]; /* what follows the '?' */
	int status;      /* 200, or what is wrong with it */
	const char *why;
	/* while it is read */
	unsigned int n_hosts, n_lines;
	size_t n_bytes;
} vn_http_request;

bool vn_http_is(const char *line);
int vn_http_serve(vn_client *c, const char *line);
int vn_http_run(vn_client *c);
int vn_http_refuse(vn_client *c, int status, const char *why);

int vn_http_begin(
	vn_client *c, const vn_http_request *r, int status, const char *type, int64_t length);
int vn_http_text(vn_client *c, const vn_http_request *r, int status, const char *text);

/* pages.c */
int vn_page_metrics(vn_client *c, const vn_http_request *r);
int vn_page_status(vn_client *c, const vn_http_request *r);
int vn_page_health(vn_client *c, const vn_http_request *r);
int vn_page_ready(vn_client *c, const vn_http_request *r);
int vn_page_history(vn_client *c, const vn_http_request *r);
int vn_page_index(vn_client *c, const vn_http_request *r); /* page.c */

#endif
