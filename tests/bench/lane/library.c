/* SPDX-License-Identifier: MIT */
/*
 * Library - what users would take instead of a lane: ZeroMQ and nng over ipc
 *
 * Each with the settings with which it was fastest here: queues long enough that neither side waits for every
 * thousandth message. Both have threads of their own, which run on the core of their process. Where a package is
 * not installed its carriers have no send function, and the program says so when one is asked for.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/lane/carrier.h"

typedef struct library {
	char url[96];
	uint32_t bytes;
	uint64_t number;
	void *context, *socket; /* zmq */
	uint32_t id;            /* nng */
} library;

static __attribute__((unused)) void *
library_open(const carrier *c, const carrier_place *place)
{
	library *l = calloc(1, sizeof *l);

	if (!l)
		err(1, "%s", c->name);
	l->bytes = c->message;
	snprintf(l->url, sizeof l->url, "ipc://%s/%s", place->dir, c->name);
	return l;
}

#if __has_include(<zmq.h>)
#include <zmq.h>

#define HIGH_WATER 100000

static void
zmq_begin(void *state, bool sends)
{
	library *l = state;
	int water = HIGH_WATER, linger = 0;

	l->context = zmq_ctx_new();
	l->socket = zmq_socket(l->context, sends ? ZMQ_PUSH : ZMQ_PULL);
	if (!l->socket ||
		zmq_setsockopt(l->socket, sends ? ZMQ_SNDHWM : ZMQ_RCVHWM, &water, sizeof water) <
			0 ||
		zmq_setsockopt(l->socket, ZMQ_LINGER, &linger, sizeof linger) < 0 ||
		(sends ? zmq_connect(l->socket, l->url) : zmq_bind(l->socket, l->url)) < 0)
		errx(1, "zmq: %s", zmq_strerror(zmq_errno()));
}

static void
zmq_put(void *state, uint64_t n, carrier_tally *t)
{
	library *l = state;
	uint64_t words[8];

	(void)t;
	for (; n > 0; n--) {
		carrier_fill(words, l->bytes, l->number++);
		if (zmq_send(l->socket, words, l->bytes, 0) < 0)
			errx(1, "zmq_send: %s", zmq_strerror(zmq_errno()));
	}
}

static void
zmq_get(void *state, uint64_t n, carrier_tally *t)
{
	library *l = state;
	uint64_t words[8];

	(void)t;
	for (; n > 0; n--) {
		if (zmq_recv(l->socket, words, sizeof words, 0) != (int)l->bytes)
			errx(1, "zmq_recv: %s", zmq_strerror(zmq_errno()));
		carrier_verify(words, l->bytes, l->number++);
	}
}

#define ZMQ                                                                                        \
	.settings = "PUSH and PULL, ipc, high-water marks 100000, one I/O thread per side on its " \
		    "side's core; it makes batches by itself",                                     \
	.open = library_open, .begin = zmq_begin, .send = zmq_put, .receive = zmq_get
#else
#define ZMQ .settings = "libzmq3-dev is not installed"
#endif

#if __has_include(<nng/nng.h>)
#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>

#define BUFFERED 8192 /* the most that it takes */

static void
nng_must(int rc, const char *what)
{
	if (rc)
		errx(1, "%s: %s", what, nng_strerror(rc));
}

static void
nng_begin(void *state, bool sends)
{
	library *l = state;
	nng_socket s;

	nng_must(sends ? nng_push0_open(&s) : nng_pull0_open(&s), "nng");
	if (sends)
		nng_must(nng_socket_set_int(s, NNG_OPT_SENDBUF, BUFFERED), "nng: buffer");
	nng_must(sends ? nng_dial(s, l->url, NULL, NNG_FLAG_NONBLOCK)
		       : nng_listen(s, l->url, NULL, 0),
		"nng: url");
	l->id = s.id;
}

static void
nng_put(void *state, uint64_t n, carrier_tally *t)
{
	library *l = state;
	uint64_t words[8];

	(void)t;
	for (; n > 0; n--) {
		carrier_fill(words, l->bytes, l->number++);
		nng_must(nng_send((nng_socket){l->id}, words, l->bytes, 0), "nng_send");
	}
}

static void
nng_get(void *state, uint64_t n, carrier_tally *t)
{
	library *l = state;
	uint64_t words[8];

	(void)t;
	for (; n > 0; n--) {
		size_t size = sizeof words;

		nng_must(nng_recv((nng_socket){l->id}, words, &size, 0), "nng_recv");
		carrier_verify(words, l->bytes, l->number++);
	}
}

#define NNG                                                                                        \
	.settings = "push0 and pull0, ipc, NNG_OPT_SENDBUF 8192, its threads on their side's "     \
		    "core; it takes messages one by one",                                          \
	.open = library_open, .begin = nng_begin, .send = nng_put, .receive = nng_get
#else
#define NNG .settings = "libnng-dev is not installed"
#endif

const carrier carrier_zmq32 = {.name = "zmq32", .message = 32, ZMQ};
const carrier carrier_zmq64 = {.name = "zmq64", .message = 64, ZMQ};
const carrier carrier_nng32 = {.name = "nng32", .message = 32, NNG};
const carrier carrier_nng64 = {.name = "nng64", .message = 64, NNG};
