/* SPDX-License-Identifier: MIT */
/*
 * Script - what a client says, one numbered request after the other, and what has to come back
 *
 * A script is a few numbers, and each request follows from them: so the sender has one and the checker a copy, and
 * neither has to remember what the other did. Each request begins with the number of its connection and its own.
 */
#ifndef VN_CHAOS_SCRIPT_H
#define VN_CHAOS_SCRIPT_H

#include <stddef.h>
#include <stdint.h>

#define SCRIPT_MAX ((1u << 20) + 4096) /* bytes of a request, or of an answer */
#define SCRIPT_ANY '\1'                /* in an answer: digits, which may be any */

typedef enum script_kind {
	SCRIPT_ECHO,  /* examples/echo: the same bytes */
	SCRIPT_SUMS,  /* examples/sums: number and checksum of each line */
	SCRIPT_AGAIN, /* system/again: number, attempt, text */
} script_kind;

typedef enum script_deadly {
	DEADLY_NONE,
	DEADLY_CRASH, /* the worker dies at some step of it, the first time */
	DEADLY_HANG,  /* or hangs */
} script_deadly;

typedef struct script_plan {
	script_kind kind;
	script_deadly deadly;
	uint32_t deadly_each; /* one of so many requests is deadly */
	uint32_t slow_each;   /* and one is in hand for up to 100 ms (again); 0: none */
	size_t small, large;  /* bytes; one request in eight is of any size up to `large` */
} script_plan;

typedef struct script {
	const script_plan *plan;
	uint64_t conn, number, state;
} script;

script script_of(const script_plan *plan, uint64_t conn, uint64_t seed);

/* The next request and what is to be answered; the length of the request. */
size_t script_next(script *s, unsigned char *request, unsigned char *answer, size_t *answer_len);

#endif
