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
	char text[VN_URL_MAX], why[256] = "";
	vn_endpoint again;

	must(e->sa_len > 0 && e->sa_len <= sizeof e->sa);
	must(e->backlog >= 1 && e->backlog <= 65535);
	vn_endpoint_format(e, text);
	if (strncmp(text, "unix:///", 8) == 0)
		return; /* slashes in front of it are not counted */
	must(vn_endpoint_parse_numeric(&again, text, why) == 0);
	must(again.sa_len == e->sa_len && again.backlog == e->backlog);
	must(memcmp(&again.sa, &e->sa, e->sa_len) == 0);
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
	free(text);
	return 0;
}
