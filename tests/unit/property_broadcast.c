/* SPDX-License-Identifier: MIT */
/*
 * Property - random broadcasts, against a model of what a subscriber may miss
 *
 * One coroutine sends numbers; others subscribe with a policy, receive for a while, sleep, select, leave, and come
 * back. Everything comes from one seed, and time is a number.
 *
 *	all or nobody   what was sent (0) goes to everybody who subscribed before; what was not goes to nobody
 *	in order        a subscriber sees rising numbers, and VN_BLOCK and VN_DISCONNECT leave none out
 *	counted         what the other policies leave out is what vn_dropped() says, and each was given to on_drop
 *	progress        when all is quiet, nobody waits beside an item, and the sender waits only for somebody who
 *	                blocks and has no room
 */
#include <stdlib.h>

#include "tests/unit/coroutines.h"

#define PROGRAMS        SUITE_TIMES(10000)
#define MAX_SUBSCRIBERS 6
#define MAX_SENDS       60
#define MAX_STAYS       3

typedef struct subscriber {
	vn_rx *rx;
	int policy;
	size_t room;
	uint32_t first; /* the first number that it must get */
	uint32_t next;  /* what it may get next is not below this */
	uint32_t n_received, n_missed;
	bool may_have_more; /* the number before `first` was being sent when it came */
	bool is_waiting, is_over;
} subscriber;

static struct {
	world world;
	vn_hub *hub;
	uint64_t random, seed;
	vn_tx *tx;
	subscriber subscribers[MAX_SUBSCRIBERS];
	uint32_t n_subscribers;
	uint32_t n_begun, n_dropped;
	bool was_sent[MAX_SENDS];
	bool is_sending, is_finished;
} run;

static uint32_t
draw(uint32_t n)
{
	return (uint32_t)(suite_random(&run.random) >> 11) % n;
}

#define check(what)                                                                                \
	do {                                                                                       \
		if (!(what))                                                                       \
			ck_abort_msg(                                                              \
				"PROPERTY_SEED=%llu: %s", (unsigned long long)run.seed, #what);    \
	} while (0)

static uint32_t
sent_between(uint32_t from, uint32_t to)
{
	uint32_t n = 0;

	for (uint32_t i = from; i < to; i++)
		n += run.was_sent[i];
	return n;
}

/* What lies in its ring, at least and at most: it may or may not have come in time for what was being sent. */
static uint32_t
backlog_least(const subscriber *s)
{
	return sent_between(s->next > s->first ? s->next : s->first, run.n_begun);
}

static uint32_t
backlog_most(const subscriber *s)
{
	return sent_between(s->next, run.n_begun);
}

static bool
somebody_blocks(void)
{
	for (uint32_t i = 0; i < run.n_subscribers; i++) {
		const subscriber *s = &run.subscribers[i];

		if (s->rx && s->policy == VN_BLOCK && !s->is_waiting && backlog_most(s) >= s->room)
			return true;
	}
	return false;
}

static void
quiet(void)
{
	for (uint32_t i = 0; i < run.n_subscribers; i++) {
		const subscriber *s = &run.subscribers[i];

		if (!s->is_waiting)
			continue;
		check(!run.is_finished);
		check(backlog_least(s) == 0 || s->policy == VN_DROP_NEWEST ||
			s->policy == VN_DROP_OLDEST);
	}
	check(!run.is_sending || somebody_blocks());
}

static int
quiet_wait(const vn_sys *sys, int epoll_fd, struct epoll_event *events, int max, int64_t timeout_ns)
{
	if (timeout_ns != 0)
		quiet();
	return world_wait(sys, epoll_fd, events, max, timeout_ns);
}

static void
on_drop(void *arg, void *item)
{
	uint32_t number;

	(void)arg;
	memcpy(&number, item, sizeof number);
	check(number < run.n_begun);
	run.n_dropped++;
}

/* How the one case went, or that it was too late for it. */
static int
selected(vn_hub *h, int rc)
{
	return rc == 0 ? vn_selected(h) : -ETIMEDOUT;
}

static int
sender_run(vn_hub *h, void *arg)
{
	uint32_t n = draw(MAX_SENDS);

	(void)arg;
	for (uint32_t i = 0; i < n; i++) {
		int rc;

		if (draw(3) == 0)
			vn_timeout(h, VN_US * draw(200));
		run.n_begun = i + 1;
		run.is_sending = true;
		if (draw(2))
			rc = vn_send(run.tx, &i);
		else
			rc = selected(
				h, vn_select(h, VN_SEND(run.tx, &i), VN_AFTER(VN_US * draw(300))));
		run.is_sending = false;
		check(rc == 0 || rc == -ETIMEDOUT);
		run.was_sent[i] = rc == 0;
		vn_deadline(h, VN_NEVER);
		if (draw(3) == 0)
			vn_sleep(h, VN_US * draw(150));
	}
	run.is_finished = true;
	return vn_close(run.tx);
}

static void
subscriber_got(subscriber *s, uint32_t number)
{
	check(number >= s->next && number < run.n_begun);
	check(number >= s->first || (s->may_have_more && number + 1 == s->first));
	/* The one that is being sent may be here before its sender knows. */
	s->n_missed += sent_between(s->next > s->first ? s->next : s->first, number);
	check(s->n_missed == 0 || (s->policy != VN_BLOCK && s->policy != VN_DISCONNECT));
	s->next = number + 1;
	s->n_received++;
}

/* One receive; false when it is over. */
static bool
subscriber_receive(vn_hub *h, subscriber *s)
{
	uint32_t number;
	int rc;

	s->is_waiting = true;
	if (draw(2))
		rc = vn_recv(s->rx, &number);
	else
		rc = selected(
			h, vn_select(h, VN_RECV(s->rx, &number), VN_AFTER(VN_US * draw(300))));
	s->is_waiting = false;
	if (rc == -ETIMEDOUT)
		return true;
	if (rc == 0)
		subscriber_got(s, number);
	else
		check(rc == -EPIPE || (rc == -ENOBUFS && s->policy == VN_DISCONNECT));
	s->is_over = rc < 0;
	return rc == 0;
}

static void
subscriber_begin(subscriber *s)
{
	int policy = (int)draw(4);
	size_t room = policy == VN_BLOCK ? draw(4) : 1 + draw(4);

	*s = (subscriber){
		.policy = policy, .room = room, .first = run.n_begun, .next = run.n_begun};
	if (run.is_sending) {
		s->may_have_more = true;
		s->next--;
	}
	s->rx = vn_subscribe_with(run.tx, policy, room);
	ck_assert_ptr_nonnull(s->rx);
	vn_on_drop(s->rx, on_drop, NULL);
}

/* It has seen the end: nothing of what was sent since it came is unaccounted for. */
static void
subscriber_end(subscriber *s)
{
	uint32_t due = sent_between(s->first, run.n_begun), got = s->n_received;
	uint64_t dropped = vn_dropped(s->rx);

	if (s->is_over && s->policy != VN_DISCONNECT) {
		check(got + dropped == due || (s->may_have_more && got + dropped == due + 1));
		check(s->policy != VN_BLOCK || dropped == 0);
	}
	vn_close(s->rx);
	s->rx = NULL;
}

static int
subscriber_run(vn_hub *h, void *arg)
{
	subscriber *s = arg;
	uint32_t n_stays = 1 + draw(MAX_STAYS);

	vn_sleep(h, VN_US * draw(1000));
	for (uint32_t stay = 0; stay < n_stays && !run.is_finished; stay++) {
		uint32_t n = draw(3) ? MAX_SENDS : draw(20);

		subscriber_begin(s);
		for (uint32_t i = 0; i < n && subscriber_receive(h, s); i++)
			if (draw(4) == 0)
				vn_sleep(h, VN_US * draw(400));
		subscriber_end(s);
		if (draw(2))
			vn_sleep(h, VN_US * draw(400));
	}
	return 0;
}

static void
program_run(uint64_t seed)
{
	memset(&run, 0, sizeof run);
	run.seed = seed;
	run.random = seed * 0x9e3779b97f4a7c15u | 1;
	run.hub = world_open(&run.world);
	run.world.sys.wait = quiet_wait;
	run.tx = vn_broadcast(run.hub, uint32_t);
	ck_assert_ptr_nonnull(run.tx);
	run.n_subscribers = 1 + draw(MAX_SUBSCRIBERS);
	ck_assert_int_eq(vn_spawn(run.hub, sender_run, NULL), 0);
	for (uint32_t i = 0; i < run.n_subscribers; i++)
		ck_assert_int_eq(vn_spawn(run.hub, subscriber_run, &run.subscribers[i]), 0);
	vn_sleep(run.hub, VN_SEC);
	check(run.is_finished);
	for (uint32_t i = 0; i < run.n_subscribers; i++)
		check(!run.subscribers[i].rx);
	vn_hub_close(run.hub);
}

START_TEST(random_broadcasts_do_what_the_model_allows)
{
	const char *seed = getenv("PROPERTY_SEED");
	uint64_t first = seed ? strtoull(seed, NULL, 10) : 1, n = seed ? 1 : PROGRAMS;

	for (uint64_t i = first; i < first + n; i++)
		program_run(i);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {random_broadcasts_do_what_the_model_allows};

	return suite_run("property_broadcast", tests, SUITE_COUNT(tests));
}
