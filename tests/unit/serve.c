/* SPDX-License-Identifier: MIT */
/*
 * Serve - one item after another, and each in a coroutine of its own
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "client/message/end.h"
#include "tests/unit/coroutines.h"

NO_CONNECTIONS

typedef struct request {
	int n, n_done, delay_ms;
	vn_hub *hub;
	uint64_t coroutine;
} request;

static int
handle(vn_hub *h, void *arg)
{
	request *r = arg;

	r->n++;
	r->coroutine = h->current->id;
	if (r->delay_ms)
		vn_sleep(h, r->delay_ms * VN_MS);
	r->n_done++;
	return -EXDEV; /* ignored */
}

typedef struct source {
	vn_tx *tx;
	request *requests;
	int n, rc;
} source;

static int
source_run(vn_hub *h, void *arg)
{
	source *s = arg;

	(void)h;
	for (int i = 0; i < s->n && s->rc == 0; i++) {
		request *r = &s->requests[i];

		s->rc = vn_send(s->tx, &r);
	}
	return vn_close(s->tx);
}

START_TEST(consume_runs_one_after_another_until_the_end_is_closed)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, request *);
	request r[5] = {{.delay_ms = 10}, {0}, {.delay_ms = 10}, {0}, {0}};
	source s = {p.tx, r, 5, 0};

	vn_spawn(h, source_run, &s);
	ck_assert_int_eq(vn_consume(p.rx, handle), 0);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(r[i].n_done, 1);
		ck_assert_uint_eq(r[i].coroutine, h->main->id);
	}
	ck_assert_int_eq(vn_close(p.rx), 0); /* it is still ours */
	vn_hub_close(h);
}
END_TEST

START_TEST(consume_tells_what_ended_it_unless_there_was_nothing_more)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, request *), q = vn_pipe(h, char);

	vn_deadline(h, w.now + VN_SEC);
	ck_assert_int_eq(vn_consume(p.rx, handle), -ETIMEDOUT);
	vn_deadline(h, VN_NEVER);
	ck_assert_int_eq(vn_consume(p.rx, handle), -EDEADLK);
	ck_assert_int_eq(vn_consume(NULL, handle), -EBADF);
	ck_assert_int_eq(vn_consume(q.rx, handle), -EINVAL);
	vn_stop(h);
	ck_assert_int_eq(vn_consume(p.rx, handle), 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(serve_runs_each_in_a_coroutine_of_its_own_and_returns_at_once)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, request *);
	request r[20];
	source s = {p.tx, r, 20, 0};

	for (int i = 0; i < 20; i++)
		r[i] = (request){.delay_ms = 100};
	ck_assert_int_eq(vn_serve(p.rx, handle), 0);
	vn_spawn(h, source_run, &s);
	vn_sleep(h, 50 * VN_MS);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(r[i].n, 1);
		ck_assert_int_eq(r[i].n_done, 0);
		ck_assert_uint_ne(r[i].coroutine, h->main->id);
		ck_assert(i == 0 || r[i].coroutine != r[i - 1].coroutine);
	}
	vn_sleep(h, 100 * VN_MS);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(r[i].n_done, 1);
	ck_assert_ptr_null(h->owned); /* both ends are closed */
	ck_assert_uint_eq(h->n_coroutines, 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(serve_closes_the_end_when_the_hub_is_stopped)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, request *);
	request r = {0}, *item = &r;

	ck_assert_int_eq(vn_serve(p.rx, handle), 0);
	vn_yield(h);
	vn_stop(h);
	vn_yield(h);
	ck_assert_int_eq(vn_send(p.tx, &item), -EPIPE);
	ck_assert_int_eq(vn_serve(p.rx, handle), -ECANCELED);
	vn_hub_close(h);
}
END_TEST

START_TEST(serve_takes_ends_of_pointers_alone)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, char);

	ck_assert_int_eq(vn_serve(NULL, handle), -EBADF);
	ck_assert_int_eq(vn_serve(p.rx, handle), -EINVAL);
	vn_hub_close(h);
}
END_TEST

/* An end that always has something. */
typedef struct fountain {
	vn_rx rx;
	request *item;
	int n_left, n_dropped, n_closed, n_ahead, n_ahead_max;
	vn_waitq queue;
} fountain;

static fountain *the_fountain;

static int
fountain_try(void *end, void *item)
{
	fountain *f = end;

	if (f->n_left == 0)
		return -EPIPE;
	f->n_left--;
	f->n_ahead++;
	f->n_ahead_max = f->n_ahead > f->n_ahead_max ? f->n_ahead : f->n_ahead_max;
	memcpy(item, &f->item, sizeof f->item);
	return 0;
}

static vn_waitq *
fountain_queue(void *end)
{
	return &((fountain *)end)->queue;
}

static int
fountain_close(void *end)
{
	((fountain *)end)->n_closed++;
	return 0;
}

static void
fountain_drop(void *end, void *item)
{
	ck_assert_ptr_eq(end, the_fountain);
	ck_assert_ptr_eq(*(void **)item, the_fountain->item);
	the_fountain->n_dropped++;
}

static const vn_end_ops fountain_ops = {
	.try = fountain_try,
	.queue = fountain_queue,
	.close = fountain_close,
	.drop = fountain_drop,
};

static int
drink(vn_hub *h, void *item)
{
	(void)h, (void)item;
	the_fountain->n_ahead--;
	return 0;
}

START_TEST(an_end_that_never_waits_does_not_starve_its_handlers)
{
	world w;
	vn_hub *h = world_open(&w);
	request r = {0};
	fountain f = {.rx = {.ops = &fountain_ops, .hub = h, .item_size = sizeof(void *)},
		.item = &r,
		.n_left = 1000};

	the_fountain = &f;
	ck_assert_int_eq(vn_serve(&f.rx, drink), 0);
	vn_sleep(h, VN_MS);
	ck_assert_int_eq(f.n_left, 0);
	ck_assert_int_eq(f.n_ahead, 0);
	ck_assert_int_le(f.n_ahead_max, 1);
	ck_assert_int_eq(f.n_closed, 1);
	ck_assert_int_eq(f.n_dropped, 0);
	vn_hub_close(h);
}
END_TEST

static void
count_lines(void *arg, int level, const char *text)
{
	ck_assert_int_eq(level, 3);
	ck_assert_ptr_nonnull(strstr(text, "dropped"));
	++*(int *)arg;
}

static int
park(vn_hub *h, void *arg)
{
	(void)arg;
	return vn_wait(h, NULL, 0, VN_NEVER);
}

START_TEST(what_cannot_be_served_for_want_of_memory_is_dropped_with_a_word)
{
	world w;
	struct rlimit limit;
	request r = {0};
	fountain f = {.item = &r, .n_left = 5};
	vn_hub *h;
	int n_lines = 0;

	if (MEMORY_IS_WATCHED)
		return;
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = (rlim_t)128 << 20;
	setrlimit(RLIMIT_AS, &limit);
	h = world_open(&w);
	vn_log_to(h, count_lines, &n_lines);
	the_fountain = &f;
	f.rx = (vn_rx){.ops = &fountain_ops, .hub = h, .item_size = sizeof(void *)};
	ck_assert_int_eq(vn_serve(&f.rx, drink), 0);
	while (vn_spawn(h, park, NULL) == 0)
		;
	vn_sleep(h, VN_SEC);
	ck_assert_int_eq(f.n_dropped, 5);
	ck_assert_int_eq(f.n_closed, 1);
	ck_assert_int_eq(n_lines, 5);
	vn_hub_close(h);
}
END_TEST

static void
count_errors(void *arg, int level, const char *text)
{
	(void)level;
	*(int *)arg += strstr(text, "an error has arrived") != NULL;
}

START_TEST(serve_logs_errors_that_were_sent_and_goes_on)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, request *);
	request r = {0}, *item = &r;
	int n_errors = 0;

	vn_log_to(h, count_errors, &n_errors);
	ck_assert_int_eq(vn_serve(p.rx, handle), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(vn_send_error(p.tx, -EIO), 0);
		ck_assert_int_eq(vn_send(p.tx, &item), 0);
	}
	vn_sleep(h, VN_MS);
	ck_assert_int_eq(r.n, 3);
	ck_assert_int_eq(n_errors, 3);
	ck_assert_int_eq(vn_send_error(p.tx, -EPIPE), 0); /* it is taken for the end */
	vn_sleep(h, VN_MS);
	ck_assert_int_eq(vn_send(p.tx, &item), -EPIPE);
	vn_hub_close(h);
}
END_TEST

START_TEST(serve_closes_what_it_cannot_serve)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, char), q = vn_pipe(h, request *);
	request *item = NULL;

	ck_assert_int_eq(vn_serve(p.rx, handle), -EINVAL);
	ck_assert_int_eq(vn_send(p.tx, &(char){1}), -EPIPE);
	vn_stop(h);
	ck_assert_int_eq(vn_serve(q.rx, handle), -ECANCELED);
	ck_assert_int_eq(vn_send(q.tx, &item), -EPIPE);
	vn_close(p.tx);
	vn_close(q.tx);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

START_TEST(consume_ends_with_the_error_that_was_sent)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_queue(h, request *, 4);
	request r = {0}, *item = &r;

	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(vn_send_error(p.tx, -EIO), 0);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(vn_consume(p.rx, handle), -EIO);
	ck_assert_int_eq(r.n, 1);
	vn_close(p.tx);
	ck_assert_int_eq(vn_consume(p.rx, handle), 0);
	ck_assert_int_eq(r.n, 2);
	vn_hub_close(h);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		consume_runs_one_after_another_until_the_end_is_closed,
		consume_tells_what_ended_it_unless_there_was_nothing_more,
		serve_runs_each_in_a_coroutine_of_its_own_and_returns_at_once,
		serve_closes_the_end_when_the_hub_is_stopped,
		serve_takes_ends_of_pointers_alone,
		an_end_that_never_waits_does_not_starve_its_handlers,
		what_cannot_be_served_for_want_of_memory_is_dropped_with_a_word,
		serve_logs_errors_that_were_sent_and_goes_on,
		serve_closes_what_it_cannot_serve,
		consume_ends_with_the_error_that_was_sent,
	};

	return suite_run("serve", tests, SUITE_COUNT(tests));
}
