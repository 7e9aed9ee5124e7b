/* SPDX-License-Identifier: MIT */
/*
 * Link - see link.h
 */
#include "tests/bench/lane/link.h"

#include <sys/socket.h>

#include "shm/bell.h"

#define AREA_BYTES  (8u << 20) /* as much as a worker has by default, at most */
#define DRAIN_EVERY 1000

void
bench_link_open(bench_link *b, const carrier_place *place)
{
	*b = (bench_link){.one_core = place->one_core};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, b->sockets) < 0)
		err(1, "socketpair");
}

static void
link_offer(bench_link *b)
{
	vn_geometry geometry = {.n_slots = CARRIER_SLOTS, .area_bytes = AREA_BYTES};
	const char *why = NULL;
	int rc = vn_link_offer(&b->link, &geometry, 1);

	if (rc == 0)
		rc = vn_link_hello(&b->link, b->sockets[0]);
	while (rc == 0 && (rc = vn_link_accept(&b->link, b->sockets[0], &why)) == -EAGAIN) {
		sched_yield();
		rc = 0;
	}
	if (rc < 0)
		errx(1, "the link cannot be made: %s (%d)", why ? why : "the broker's side", rc);
}

/* Every block's page is there, as it is after a while in any process that runs. */
static void
link_warm(bench_link *b)
{
	static const uint64_t nothing;

	for (uint32_t at = 0; at < AREA_BYTES; at += 4096)
		if (b->sends)
			vn_area_write(&b->link.own, at / VN_GRANULE, 0, &nothing, sizeof nothing);
}

/**
 * bench_link_begin() - the handshake
 * @sends: the broker's side; the other one waits for it
 */
void
bench_link_begin(void *state, bool sends)
{
	bench_link *b = state;
	const char *why;

	b->sends = sends;
	if (sends)
		link_offer(b);
	else if (vn_link_join(&b->link, b->sockets[1], &why) < 0)
		errx(1, "the link cannot be made: %s", why);
	link_warm(b);
	b->epoll = carrier_watch(b->link.bell_in);
}

/* Adds the bells that this side rang since the last call. */
void
bench_link_tally(bench_link *b, carrier_tally *t)
{
	uint64_t n = b->link.tx.n_bells + b->link.rx.n_bells;

	t->bells += n - b->n_bells_before;
	b->n_bells_before = n;
}

/* Sleeps until the other side rings. */
void
bench_link_nap(bench_link *b)
{
	carrier_nap(b->epoll);
	if (!b->sends && ++b->n_naps % DRAIN_EVERY == 0)
		vn_bell_drain(b->link.bell_in);
}
