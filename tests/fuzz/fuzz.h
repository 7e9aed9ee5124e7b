/* SPDX-License-Identifier: MIT */
/*
 * Fuzz - what the fuzz targets share: the input as a source of numbers, and a check that ends the run
 *
 * A target is one file with LLVMFuzzerTestOneInput(): libFuzzer and AFL++ both call it. What must hold is said by
 * must(); memory errors and undefined behaviour are found by the sanitizers that the targets are built with.
 */
#ifndef VN_TESTS_FUZZ_H
#define VN_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define must(what) ((what) ? (void)0 : must_not(__FILE__, __LINE__, #what))

typedef struct source {
	const uint8_t *data;
	size_t left;
} source;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline _Noreturn void
must_not(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: this must hold: %s\n", file, line, what);
	abort();
}

/* The next n bytes; zeros where the input has no more. */
static inline void
source_bytes(source *s, void *to, size_t n)
{
	size_t have = s->left < n ? s->left : n;

	memset(to, 0, n);
	if (have)
		memcpy(to, s->data, have);
	s->data += have;
	s->left -= have;
}

static inline uint8_t
source_byte(source *s)
{
	uint8_t byte;

	source_bytes(s, &byte, 1);
	return byte;
}

/* The input as a string that ends where it ends, so that reading on is an error. */
static inline char *
source_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	must(text);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

#endif
