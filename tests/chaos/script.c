/* SPDX-License-Identifier: MIT */
/* Script - requests and answers drawn from a seed; see script.h */
#include "tests/chaos/script.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES 3900u /* what sums and again take in a line, and again can answer in one */

/* One step of a 64-bit congruential generator; its high bits are the good ones. */
static uint64_t
step(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 20;
}

/* Letters and signs, no blank and no end of line: eight for each step. */
static void
letters(uint64_t *state, unsigned char *to, size_t n)
{
	while (n) {
		uint64_t x = step(state);

		for (unsigned int i = 0; i < 8 && n; i++, n--, x >>= 5)
			*to++ = (unsigned char)('A' + (x & 31));
	}
}

static size_t
size_draw(script *s, size_t limit)
{
	const script_plan *p = s->plan;
	size_t most = p->large > p->small && step(&s->state) % 8 == 0 ? p->large : p->small;

	most = most < limit ? most : limit;
	return 1 + step(&s->state) % most;
}

/* "verb CONN.NUMBER:letters\n" */
static size_t
line_make(script *s, const char *verb, size_t limit, unsigned char *to)
{
	size_t size = size_draw(s, limit);
	int n = sprintf((char *)to, "%s%" PRIu64 ".%" PRIu64 ":", verb, s->conn, s->number);

	letters(&s->state, to + n, size);
	to[(size_t)n + size] = '\n';
	return (size_t)n + size + 1;
}

static size_t
answer_echo(const unsigned char *request, size_t len, unsigned char *answer)
{
	memcpy(answer, request, len);
	return len;
}

/* FNV-1a of the line with its end. */
static size_t
answer_sums(const script *s, const unsigned char *request, size_t len, unsigned char *answer)
{
	uint64_t sum = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ request[i]) * 0x100000001b3u;
	return (size_t)sprintf((char *)answer, "%" PRIu64 " %016" PRIx64 "\n", s->number, sum);
}

static size_t
again_answer(const script *s, const char *text, size_t len, unsigned char *answer)
{
	size_t n = (size_t)sprintf((char *)answer, "%" PRIu64 " %c ", s->number, SCRIPT_ANY);

	memcpy(answer + n, text, len);
	return n + len;
}

/* A line, and so many bytes that belong to it. */
static size_t
again_body(script *s, unsigned char *request, unsigned char *answer, size_t *answer_len)
{
	size_t size = 1 + step(&s->state) % s->plan->large;
	size_t n = (size_t)sprintf((char *)request, "body %zu\n", size);
	uint32_t sum = 0;
	char text[64];
	size_t len;

	letters(&s->state, request + n, size);
	for (size_t i = 0; i < size; i++)
		sum = sum * 31 + request[n + i];
	len = (size_t)sprintf(text, "%zu %08" PRIx32 "\n", size, sum);
	*answer_len = again_answer(s, text, len, answer);
	return n + size;
}

static size_t
again_deadly(script *s, unsigned char *request, unsigned char *answer, size_t *answer_len)
{
	/* Each of them dies without having published anything, or when everything is. */
	static const char *const steps[] = {"taken", "counted", "written", "committed", "left"};
	static const char *const hangs[][2] = {{"loop", "looped\n"}, {"block", "blocked\n"}};
	uint64_t which = step(&s->state);

	if (s->plan->deadly == DEADLY_CRASH) {
		*answer_len = again_answer(s, "survived\n", 9, answer);
		return (size_t)sprintf((char *)request, "crash 1 %s\n", steps[which % 5]);
	}
	*answer_len = again_answer(s, hangs[which % 2][1], strlen(hangs[which % 2][1]), answer);
	return (size_t)sprintf((char *)request, "%s 1\n", hangs[which % 2][0]);
}

static size_t
again_slow(script *s, unsigned char *request, unsigned char *answer, size_t *answer_len)
{
	*answer_len = again_answer(s, "waited\n", 7, answer);
	return (size_t)sprintf((char *)request, "wait %d\n", (int)(step(&s->state) % 100));
}

static size_t
again_next(script *s, unsigned char *request, unsigned char *answer, size_t *answer_len)
{
	const script_plan *p = s->plan;
	size_t n;

	if (p->deadly && step(&s->state) % p->deadly_each == 0)
		return again_deadly(s, request, answer, answer_len);
	if (p->slow_each && step(&s->state) % p->slow_each == 0)
		return again_slow(s, request, answer, answer_len);
	if (p->large > LINE_MAX_BYTES && step(&s->state) % 16 == 0)
		return again_body(s, request, answer, answer_len);
	n = line_make(s, "echo ", LINE_MAX_BYTES, request);
	*answer_len = again_answer(s, (char *)request + 5, n - 5, answer);
	return n;
}

script
script_of(const script_plan *plan, uint64_t conn, uint64_t seed)
{
	return (script){.plan = plan, .conn = conn, .state = seed ^ conn * 0x9e3779b97f4a7c15u};
}

/**
 * script_next() - the next request, and what is to be answered
 * @request:    SCRIPT_MAX bytes
 * @answer:     SCRIPT_MAX bytes; SCRIPT_ANY in it stands for one or more digits
 * @answer_len: set
 *
 * Return: the length of the request.
 */
size_t
script_next(script *s, unsigned char *request, unsigned char *answer, size_t *answer_len)
{
	size_t n;

	s->number++;
	switch (s->plan->kind) {
	case SCRIPT_SUMS:
		n = line_make(s, "", LINE_MAX_BYTES, request);
		*answer_len = answer_sums(s, request, n, answer);
		return n;
	case SCRIPT_AGAIN:
		return again_next(s, request, answer, answer_len);
	default:
		n = line_make(s, "", SCRIPT_MAX - 64, request);
		*answer_len = answer_echo(request, n, answer);
		return n;
	}
}
