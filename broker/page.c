/* SPDX-License-Identifier: MIT */
/*
 * Page - page.html, embedded as it is
 */
#include <stdint.h>

#include "broker/http.h"

__asm__(".pushsection .rodata\n"
	"vn_page_begin: .incbin \"broker/page.html\"\n"
	"vn_page_end:\n"
	".popsection\n");

extern const char vn_page_begin[] __attribute__((visibility("hidden")));
extern const char vn_page_end[] __attribute__((visibility("hidden")));

/**
 * vn_page_index() - the page
 */
int
vn_page_index(vn_client *c, const vn_http_request *r)
{
	size_t n = (uintptr_t)vn_page_end - (uintptr_t)vn_page_begin;
	int rc = vn_http_begin(c, r, 200, "text/html; charset=utf-8", (int64_t)n);

	return rc < 0 ? rc : vn_client_write(c, vn_page_begin, n);
}
