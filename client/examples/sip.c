/* SPDX-License-Identifier: MIT */
/*
 * Sip - answers calls over UDP: rings, picks up, and hangs up when told to (RFC 3261, the callee's side)
 *
 *     sipp -sn uac 127.0.0.1:5060 -m 1000
 *
 * It keeps nothing about a call: the tag that names its side of the dialog is made from the Call-ID, so a request
 * that is sent again gets the same answer, whichever worker it goes to.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <vanilla.h>

#define SDP                                                                                        \
	"v=0\r\no=vanilla 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"          \
	"m=audio 6000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"

/* A response that is being made; what does not fit is cut, and nothing is sent. */
typedef struct response {
	char text[4096];
	size_t len;
} response;

static void add(response *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
add(response *r, const char *format, ...)
{
	__builtin_va_list args;
	int n;

	__builtin_va_start(args, format);
	n = vsnprintf(r->text + r->len, sizeof r->text - r->len, format, args);
	__builtin_va_end(args);
	r->len += n > 0 ? (size_t)n : 0;
	if (r->len > sizeof r->text)
		r->len = sizeof r->text;
}

static size_t
line_length(const char *line)
{
	return strcspn(line, "\r\n");
}

static const char *
next_line(const char *line)
{
	line += line_length(line);
	return line + (*line == '\r') + (line[*line == '\r'] == '\n');
}

static bool
is_header(const char *line, const char *name, const char *compact)
{
	size_t n = strlen(name);

	if (strncasecmp(line, name, n) != 0) {
		n = strlen(compact);
		if (n == 0 || strncasecmp(line, compact, n) != 0)
			return false;
	}
	return line[n + strspn(line + n, " \t")] == ':';
}

static const char *
find_header(const char *request, const char *name, const char *compact)
{
	const char *line = next_line(request);

	while (line_length(line) && !is_header(line, name, compact))
		line = next_line(line);
	return line_length(line) ? line : NULL;
}

/* The same for the same call: FNV-1a of the Call-ID's line. */
static unsigned
tag_of(const char *line)
{
	unsigned hash = 2166136261u;

	for (size_t i = 0, n = line_length(line); i < n; i++)
		hash = (hash ^ (unsigned char)line[i]) * 16777619u;
	return hash;
}

static void
copy_line(response *r, const char *line)
{
	add(r, "%.*s", (int)line_length(line), line);
}

/* What every response has of its request: all its Via, From, To with our tag, Call-ID, CSeq. False if it lacks any. */
static bool
begin(response *r, const char *request, const char *status)
{
	const char *from = find_header(request, "From", "f"), *to = find_header(request, "To", "t"),
		   *call = find_header(request, "Call-ID", "i"),
		   *cseq = find_header(request, "CSeq", "");
	bool has_via = false;

	r->len = 0;
	add(r, "SIP/2.0 %s\r\n", status);
	for (const char *line = next_line(request); line_length(line); line = next_line(line))
		if (is_header(line, "Via", "v")) {
			has_via = true;
			copy_line(r, line);
			add(r, "\r\n");
		}
	if (!has_via || !from || !to || !call || !cseq)
		return false;
	copy_line(r, from);
	add(r, "\r\n");
	copy_line(r, to);
	if (!memmem(to, line_length(to), ";tag=", 5))
		add(r, ";tag=%08x", tag_of(call));
	add(r, "\r\n");
	copy_line(r, call);
	add(r, "\r\n");
	copy_line(r, cseq);
	add(r, "\r\n");
	return true;
}

static int
finish(response *r, const char *body, vn_udp *u, const vn_datagram *d)
{
	if (*body)
		add(r, "Contact: <sip:vanilla@127.0.0.1>\r\nContent-Type: application/sdp\r\n");
	add(r, "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
	return r->len < sizeof r->text ? vn_udp_send(u, r->text, r->len, d) : 0;
}

static int
respond(vn_udp *u, const vn_datagram *d, const char *request, const char *status, const char *body)
{
	response r;

	return begin(&r, request, status) ? finish(&r, body, u, d) : 0;
}

static bool
is_method(const char *request, const char *method)
{
	size_t n = strlen(method);

	return strncmp(request, method, n) == 0 && request[n] == ' ';
}

static int
handle(vn_udp *u, const vn_datagram *d, const char *request)
{
	if (is_method(request, "ACK") || strncmp(request, "SIP/2.0 ", 8) == 0)
		return 0;
	if (is_method(request, "INVITE")) {
		int rc = respond(u, d, request, "180 Ringing", "");

		return rc < 0 ? rc : respond(u, d, request, "200 OK", SDP);
	}
	if (is_method(request, "BYE") || is_method(request, "OPTIONS") ||
		is_method(request, "CANCEL"))
		return respond(u, d, request, "200 OK", "");
	return respond(u, d, request, "501 Not Implemented", "");
}

static int
serve(vn_hub *h, void *arg)
{
	char *request = malloc(65536);
	vn_datagram d;
	ssize_t n;

	(void)h;
	while (request && (n = vn_udp_recv(arg, request, 65535, &d)) >= 0) {
		request[n] = '\0';
		if (handle(arg, &d, request) < 0)
			break;
	}
	free(request);
	vn_close((vn_udp *)arg);
	return 0;
}

int
main(int argc, char **argv)
{
	vn_hub *h = vn_hub_new();
	vn_udp *udp = h ? vn_bind(h, argc > 1 ? argv[1] : "udp://127.0.0.1:5060") : NULL;
	int rc = 1;

	if (udp && vn_spawn(h, serve, udp) == 0)
		rc = vn_stop_on_term(h) < 0;
	vn_hub_free(h);
	return rc;
}
