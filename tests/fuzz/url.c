/* SPDX-License-Identifier: MIT */
/*
 * url - any text as the URL of an endpoint
 *
 * What is refused has a sentence; what is understood can be written as a URL that means the same.
 */
#include "client/net/url.h"

#include <errno.h>

#include "tests/fuzz/fuzz.h"

static void
check_again(const vn_endpoint *e)
{
	char text[VN_URL_MAX], written[VN_URL_MAX], why[256] = "";
	vn_endpoint again;

	must(e->sa_len > 0 && e->sa_len <= sizeof e->sa);
	must(e->options.backlog >= 1 && e->options.backlog <= 65535);
	must(e->options.allow.n <= VN_MAX_SUBNETS && e->options.deny.n <= VN_MAX_SUBNETS);
	if (vn_endpoint_format(e, text) < 0)
		return; /* longer than a URL can be */
	if (strstr(text, ":///") != NULL)
		return; /* slashes in front of it are not counted */
	must(vn_endpoint_parse_numeric(&again, text, why) == 0);
	must(again.scheme == e->scheme && again.sa_len == e->sa_len);
	must(memcmp(&again.sa, &e->sa, e->sa_len) == 0);
	must(vn_endpoint_format(&again, written) == 0 && strcmp(written, text) == 0);
}

/* The same to somebody who connects: an address and a port, or a name and a port. */
static void
check_peer(const char *text)
{
	char host[VN_URL_MAX], again[VN_URL_MAX], url[VN_URL_MAX], why[256] = "";
	vn_endpoint e, same;
	int rc = vn_endpoint_parse_peer(&e, text, host, why);

	if (rc < 0) {
		must(rc == -EINVAL || rc == -ENOENT || rc == -ENOMEM);
		must(*why && strlen(why) < sizeof why);
		return;
	}
	must(e.scheme == VN_TCP || e.scheme == VN_UNIX);
	must(strlen(host) < strlen(text));
	if (*host || vn_endpoint_format(&e, url) < 0 || strstr(url, ":///") != NULL)
		return;
	must(vn_endpoint_parse_peer(&same, url, again, why) == 0 && !*again);
	must(same.sa_len == e.sa_len && memcmp(&same.sa, &e.sa, e.sa_len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = source_text(data, size), why[256] = "";
	vn_endpoint e;
	int rc = vn_endpoint_parse_numeric(&e, text, why);

	if (rc == 0) {
		check_again(&e);
	} else {
		must(rc == -EINVAL || rc == -ENOENT || rc == -ENOMEM);
		must(*why && strlen(why) < sizeof why);
	}
	check_peer(text);
	free(text);
	return 0;
}
