/* SPDX-License-Identifier: MIT */
/*
 * Http - a strict reader of small requests, and the heads of answers
 *
 * A request is read line by line within REQUEST_TIME, at most HEADER_LINES of them and HEADER_BYTES in all; what is
 * not as RFC 9112 wants it is refused with a sentence. After the answer the connection ends; over TCP it lingers for
 * what the client may still be sending, for else a reset would overtake the answer.
 */
#include "broker/http.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "broker/follow.h"

#define REQUEST_TIME (10 * VN_SEC)
#define HEADER_LINES 64
#define HEADER_BYTES 8192
#define NO_PAGE      "there is no such page; try /, /metrics, /status, /healthz, /readyz"
#define TEXT_PLAIN   "text/plain; charset=utf-8"

static const struct {
	const char *path;
	int (*get)(vn_client *c, const vn_http_request *r);
} pages[] = {
	{"/", vn_page_index},
	{"/metrics", vn_page_metrics},
	{"/status", vn_page_status},
	{"/healthz", vn_page_health},
	{"/readyz", vn_page_ready},
	{"/history", vn_page_history},
	{"/events", vn_follow_page},
};

#define N_PAGES (sizeof pages / sizeof *pages)

static const char *
reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} reasons[] = {{200, "OK"}, {400, "Bad Request"}, {404, "Not Found"},
		{405, "Method Not Allowed"}, {408, "Request Timeout"}, {414, "URI Too Long"},
		{431, "Request Header Fields Too Large"}, {500, "Internal Server Error"},
		{503, "Service Unavailable"}, {505, "HTTP Version Not Supported"}};

	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Error";
}

/**
 * vn_http_is() - does a line of the control socket begin a request?
 *
 * One that nobody serves here does too: else its headers, and its body, would be taken for commands.
 */
bool
vn_http_is(const char *line)
{
	const char *last = strrchr(line, ' ');

	return strncmp(line, "GET ", 4) == 0 || strncmp(line, "HEAD ", 5) == 0 ||
	       (last && strncmp(last, " HTTP/", 6) == 0);
}

/**
 * vn_http_begin() - the head of an answer
 * @type:   of the body
 * @length: of the body that vn_client_write() is given from here on; or VN_HTTP_UNKNOWN
 *
 * To HEAD no body is sent, whatever is written.
 *
 * Return: 0, or a negative errno when the client or the broker is gone.
 */
int
vn_http_begin(vn_client *c, const vn_http_request *r, int status, const char *type, int64_t length)
{
	bool is_chunked = length < 0 && !r->is_old;
	int rc = vn_client_printf(c,
		"HTTP/1.%d %d %s\r\nContent-Type: %s\r\nConnection: close\r\n"
		"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
		!r->is_old, status, reason(status), type);

	if (rc == 0 && status == 405)
		rc = vn_client_printf(c, "Allow: GET, HEAD\r\n");
	if (rc == 0 && length >= 0)
		rc = vn_client_printf(c, "Content-Length: %lld\r\n", (long long)length);
	if (rc == 0)
		rc = vn_client_printf(
			c, is_chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
	if (rc == 0 && r->is_head)
		c->mute = true;
	else if (rc == 0 && is_chunked)
		rc = vn_client_chunk(c);
	return rc;
}

/**
 * vn_http_text() - an answer that is one line
 */
int
vn_http_text(vn_client *c, const vn_http_request *r, int status, const char *text)
{
	int rc = vn_http_begin(c, r, status, TEXT_PLAIN, (int64_t)strlen(text) + 1);

	return rc < 0 ? rc : vn_client_printf(c, "%s\n", text);
}

/* Reading a request: what is wrong with it is noted once, and the rest is read all the same. */

static void
wrong(vn_http_request *r, int status, const char *why)
{
	if (r->status != 200)
		return;
	r->status = status;
	r->why = why;
}

static bool
is_token(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("!#$%&'*+-.^_`|~", text[i]))
			return false;
	return n > 0;
}

static void
parse_target(vn_http_request *r, const char *target, size_t n)
{
	size_t len = strcspn(target, "? "), query = target[len] == '?' ? n - len - 1 : 0;

	for (size_t i = 0; i < n; i++)
		if (target[i] <= 0x20 || target[i] >= 0x7f)
			return wrong(r, 400, "the path has characters that must be escaped");
	if (*target != '/')
		wrong(r, 400, "the path must begin with a slash");
	else if (len >= sizeof r->path)
		wrong(r, 404, NO_PAGE);
	else if (query >= sizeof r->query)
		wrong(r, 414, "the query is too long");
	else {
		snprintf(r->path, sizeof r->path, "%.*s", (int)len, target);
		snprintf(r->query, sizeof r->query, "%.*s", (int)query, target + len + 1);
	}
}

/* METHOD TARGET HTTP/1.x */
static void
parse_line(vn_http_request *r, const char *line)
{
	size_t method = strcspn(line, " "), target;

	if (!is_token(line, method) || line[method] != ' ')
		return wrong(r, 400, "this is not HTTP");
	r->is_head = method == 4 && strncmp(line, "HEAD", 4) == 0;
	if (!r->is_head && (method != 3 || strncmp(line, "GET", 3) != 0))
		wrong(r, 405, "only GET and HEAD are served here");
	line += method + 1;
	target = strcspn(line, " ");
	if (line[target] != ' ' || strncmp(line + target + 1, "HTTP/", 5) != 0)
		return wrong(r, 400, "a request ends in HTTP/1.1");
	r->is_old = strcmp(line + target + 6, "1.0") == 0;
	if (!r->is_old && strcmp(line + target + 6, "1.1") != 0)
		wrong(r, 505, "only HTTP/1.0 and HTTP/1.1 are served here");
	parse_target(r, line, target);
}

/* The value of a header that has this name. */
static const char *
value_of(const char *line, const char *name)
{
	size_t n = strlen(name);

	if (strncasecmp(line, name, n) != 0 || line[n] != ':')
		return NULL;
	line += n + 1;
	return line + strspn(line, " \t");
}

static void
parse_header(vn_http_request *r, const char *line)
{
	const char *value;

	if (!is_token(line, strcspn(line, ":")) || !strchr(line, ':'))
		wrong(r, 400, "a header is a name, a colon, a value");
	for (const char *p = line; *p; p++)
		if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
			wrong(r, 400, "a header has control characters");
	r->n_hosts += value_of(line, "Host") != NULL;
	if ((value = value_of(line, "Accept")) && strcasestr(value, "application/openmetrics-text"))
		r->wants_openmetrics = true;
	if (value_of(line, "Transfer-Encoding") ||
		((value = value_of(line, "Content-Length")) && strcmp(value, "0") != 0))
		wrong(r, 400, "a request with a body has no meaning here");
}

/* All lines up to an empty one. Return: 0, or a negative errno: nobody is there to answer. */
static int
read_headers(vn_client *c, vn_http_request *r, vn_time until)
{
	char *line;
	int rc;

	while ((rc = vn_client_line(c, until, &line)) == 0 && *line) {
		r->n_bytes += strlen(line) + 2;
		if (++r->n_lines > HEADER_LINES || r->n_bytes > HEADER_BYTES) {
			wrong(r, 431, "too many headers");
			return 0;
		}
		parse_header(r, line);
	}
	if (rc == -EMSGSIZE)
		wrong(r, 431, "a header is too long");
	else if (rc == -ETIMEDOUT)
		wrong(r, 408, "the request took too long");
	else if (rc == -EPIPE)
		wrong(r, 400, "the request has no end");
	return rc == -EMSGSIZE || rc == -ETIMEDOUT || rc == -EPIPE ? 0 : rc;
}

static int
answer(vn_client *c, vn_http_request *r)
{
	for (size_t i = 0; r->status == 200 && i < N_PAGES; i++)
		if (strcmp(pages[i].path, r->path) == 0)
			return pages[i].get(c, r);
	wrong(r, 404, NO_PAGE);
	return vn_http_text(c, r, r->status, r->why);
}

static int
finish(vn_client *c, int rc)
{
	c->leaving = true;
	if (rc == 0)
		rc = vn_client_chunk_end(c);
	if (rc == 0)
		rc = vn_client_flush(c);
	return rc;
}

/**
 * vn_http_serve() - read the rest of a request, and answer it; the client leaves then
 * @line: its first line, as it came
 *
 * Return: 0, or a negative errno when the client or the broker is gone.
 */
int
vn_http_serve(vn_client *c, const char *line)
{
	vn_http_request r = {.status = 200};
	vn_time until = vn_hub_after(c->control->hub, REQUEST_TIME);
	int rc;

	parse_line(&r, line);
	rc = read_headers(c, &r, until);
	if (r.n_hosts > 1 || (r.n_hosts == 0 && !r.is_old))
		wrong(&r, 400, "a request of HTTP/1.1 has one Host");
	return rc < 0 ? rc : finish(c, answer(c, &r));
}

/**
 * vn_http_refuse() - an answer to what never became a request
 */
int
vn_http_refuse(vn_client *c, int status, const char *why)
{
	const vn_http_request r = {.status = status};

	return finish(c, vn_http_text(c, &r, status, why));
}

/**
 * vn_http_run() - a client of --admin: one request
 *
 * Return: as vn_http_serve().
 */
int
vn_http_run(vn_client *c)
{
	char *line;
	int rc = vn_client_line(c, vn_hub_after(c->control->hub, REQUEST_TIME), &line);

	if (rc == 0)
		return vn_http_serve(c, line);
	if (rc == -EMSGSIZE)
		return vn_http_refuse(c, 414, "the path is too long");
	if (rc == -ETIMEDOUT)
		return vn_http_refuse(c, 408, "the request took too long");
	return rc;
}
