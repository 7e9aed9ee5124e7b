/* SPDX-License-Identifier: MIT */
/*
 * Combine - functions at the end of a pipe, and in the middle of a chain
 *
 * Each is a coroutine that was given one or two ends. They are closed for it when its function has returned, and as
 * dead if that failed: who waits at the other side learns the difference between "no more" and "broken".
 *
 * vn_map() knows more than a function would: it notices at once when nobody is left to map for, and it is in no
 * deadlock of its own. Whoever waits in front of it or behind it is told, it only waits on. Where nothing ever
 * makes it wait, as a state of which it sends nothing on, it lets the others run all the same.
 */
#include <stdlib.h>

#include "client/hub/place.h"
#include "client/hub/schedule.h"
#include "client/message/life.h"

typedef struct task {
	vn_rx *rx; /* NULL: it has none */
	vn_tx *tx;
	union {
		vn_tx_fn *produce;
		vn_rx_fn *consume;
		vn_filter_fn *filter;
	};
	void *arg;
} task;

static int
task_call(vn_hub *h, const task *t)
{
	if (!t->rx)
		return t->produce(h, t->tx, t->arg);
	if (!t->tx)
		return t->consume(h, t->rx, t->arg);
	return t->filter(h, t->rx, t->tx, t->arg);
}

/* What the function adopted of them is given back first. */
static void
ends_close(vn_rx *rx, vn_tx *tx, bool rx_died, bool tx_died)
{
	vn_rx_give(rx);
	vn_tx_give(tx);
	if (tx_died)
		vn_tx_died(tx);
	else
		vn_tx_close(tx);
	if (rx_died)
		vn_rx_died(rx);
	else
		vn_rx_close(rx);
}

static int
task_run(vn_hub *h, void *arg)
{
	task t = *(task *)arg;
	int rc;

	free(arg);
	rc = task_call(h, &t);
	ends_close(t.rx, t.tx, rc < 0, rc < 0);
	return 0;
}

static int
task_spawn(vn_hub *h, const task *from)
{
	task *t = malloc(sizeof *t);
	int rc;

	if (!t)
		return -ENOMEM;
	*t = *from;
	rc = vn_co_spawn(h, task_run, t);
	if (rc < 0)
		free(t);
	return rc;
}

/* The pipe, and then the coroutine, are made where vn_here() said. */
static vn_pair
pipe_here(vn_hub *h, size_t item_size)
{
	const char *file = vn_place_given(h);
	int line = h->here_line;
	vn_pair p = vn_pipe_new(h, item_size);

	if (file)
		vn_here(h, file, line);
	return p;
}

static void
give_up(vn_pair p, vn_rx *from, int error)
{
	vn_close(p.tx);
	vn_close(p.rx);
	vn_close(from);
	errno = error;
}

/**
 * vn_producer_new() - run a function that sends
 * @h:         hub
 * @item_size: bytes of one item
 * @f:         gets the sending end, which is closed for it
 * @arg:       its argument
 *
 * Return: the receiving end; NULL with errno ENOMEM, EINVAL or ECANCELED.
 */
vn_rx *
vn_producer_new(vn_hub *h, size_t item_size, vn_tx_fn *f, void *arg)
{
	vn_pair p = pipe_here(h, item_size);
	int rc;

	if (!p.tx)
		return NULL;
	rc = task_spawn(h, &(task){.tx = p.tx, .produce = f, .arg = arg});
	if (rc == 0)
		return p.rx;
	give_up(p, NULL, -rc);
	return NULL;
}

/**
 * vn_consumer_new() - run a function that receives
 * @h:         hub
 * @item_size: bytes of one item
 * @f:         gets the receiving end, which is closed for it
 * @arg:       its argument
 *
 * Return: the sending end; NULL with errno ENOMEM, EINVAL or ECANCELED.
 */
vn_tx *
vn_consumer_new(vn_hub *h, size_t item_size, vn_rx_fn *f, void *arg)
{
	vn_pair p = pipe_here(h, item_size);
	int rc;

	if (!p.tx)
		return NULL;
	rc = task_spawn(h, &(task){.rx = p.rx, .consume = f, .arg = arg});
	if (rc == 0)
		return p.tx;
	give_up(p, NULL, -rc);
	return NULL;
}

/* What comes behind `from`; {NULL, NULL} with errno, and `from` is closed. */
static vn_pair
pipe_behind(vn_rx *from, size_t item_size)
{
	vn_pair p = {NULL, NULL};

	if (!from) {
		errno = EBADF;
		return p;
	}
	vn_rx_give(from);
	p = pipe_here(from->hub, item_size);
	if (!p.tx)
		give_up(p, from, errno);
	return p;
}

/**
 * vn_pipe_through_new() - run a function between one end and another
 * @from:      receiving end; belongs to the function from here on, and is closed for it
 * @item_size: bytes of what it sends
 * @f:         gets @from, and the sending end of a pipe
 * @arg:       its argument
 *
 * Return: the receiving end of that pipe; NULL with errno EBADF, ENOMEM, EINVAL or ECANCELED, and @from is closed.
 */
vn_rx *
vn_pipe_through_new(vn_rx *from, size_t item_size, vn_filter_fn *f, void *arg)
{
	vn_pair p = pipe_behind(from, item_size);
	int rc;

	if (!p.tx)
		return NULL;
	rc = task_spawn(from->hub, &(task){.rx = from, .tx = p.tx, .filter = f, .arg = arg});
	if (rc == 0)
		return p.rx;
	give_up(p, from, -rc);
	return NULL;
}

#define MAP_BATCH 64 /* items, before the others run */

typedef struct map {
	vn_rx *from;
	vn_tx *to;
	vn_map_fn *fn;
	void *arg;
	void *in, *out;
	int ended; /* nothing more will come, and why */
	int over;  /* nobody is there to send to, and why */
	uint64_t n_taken;
	_Alignas(max_align_t) unsigned char room[];
} map;

static bool
map_goes_on(const map *m)
{
	return !m->ended && !m->over;
}

/* Waits until something comes, or until nobody is left who wants it: 0, an error that came, or -EAGAIN. */
static int
map_wait(vn_hub *h, map *m)
{
	vn_clause clauses[] = {{.end = m->from, .item = m->in}, {.end = m->to}};
	vn_waitq *gone = m->to->ops->gone(m->to, &m->over);
	int rc;

	if (!gone)
		return -EAGAIN;
	waitq_push(m->from->ops->queue(m->from), &clauses[0]);
	waitq_push(gone, &clauses[1]);
	rc = vn_wait(h, clauses, 2, VN_NEVER);
	if (rc == 0)
		return clauses[0].result;
	if (rc == 1)
		m->over = clauses[1].result;
	else if (rc != -EDEADLK)
		m->over = rc;
	return -EAGAIN;
}

static int
map_take(vn_hub *h, map *m)
{
	int rc = -EAGAIN;

	if (++m->n_taken % MAP_BATCH == 0 && vn_yield(h) < 0)
		m->over = -ECANCELED;
	if (m->over)
		return rc;
	m->to->ops->gone(m->to, &m->over);
	while (rc == -EAGAIN && map_goes_on(m)) {
		rc = m->from->ops->try(m->from, m->in);
		if (rc == -EAGAIN)
			rc = map_wait(h, m);
	}
	return rc;
}

/* An item if @rc is 0, or an error in place of one. */
static void
map_give(map *m, int rc)
{
	int sent;

	do
		sent = rc ? vn_send_error(m->to, rc)
			  : vn_send_item(m->to, m->out, m->to->item_size);
	while (sent == -EDEADLK);
	if (sent == 0)
		return;
	m->over = sent;
	if (rc == 0 && m->to->ops->drop)
		m->to->ops->drop(m->to, m->out);
}

static void
map_one(map *m)
{
	int rc = m->fn(m->in, m->out, m->arg);

	if (rc <= 0)
		map_give(m, rc == 0 || vn_error_is_item(rc) ? rc : -EINVAL);
}

static int
map_run(vn_hub *h, void *arg)
{
	map *m = arg;

	while (map_goes_on(m)) {
		int rc = map_take(h, m);

		if (rc == 0)
			map_one(m);
		else if (!m->over && vn_error_is_end(rc))
			m->ended = rc;
		else if (!m->over)
			map_give(m, rc);
	}
	if (m->ended == -ENOBUFS)
		map_give(m, m->ended);
	ends_close(m->from, m->to, m->over == -EOWNERDEAD, m->ended == -EOWNERDEAD);
	free(m);
	return 0;
}

/**
 * vn_map_new() - send on what comes, through a function
 * @from:      receiving end; belongs to the map from here on
 * @item_size: bytes of what the function makes
 * @f:         gets an item, where to put what becomes of it, and @arg: 0 sends that on, a positive value sends
 *             nothing, an error is sent in place of it
 * @arg:       its argument
 *
 * Errors that are sent in place of items pass. When nobody is left to send to, @from is closed.
 *
 * Return: a receiving end; NULL with errno EBADF, ENOMEM, EINVAL or ECANCELED, and @from is closed.
 */
vn_rx *
vn_map_new(vn_rx *from, size_t item_size, vn_map_fn *f, void *arg)
{
	vn_pair p = pipe_behind(from, item_size);
	size_t room = p.tx ? (from->item_size + 15) & ~(size_t)15 : 0;
	map *m = p.tx ? calloc(1, sizeof *m + room + item_size) : NULL;
	int rc = m ? 0 : -ENOMEM;

	if (!p.tx)
		return NULL;
	if (m) {
		*m = (map){.from = from, .to = p.tx, .fn = f, .arg = arg, .in = m->room};
		m->out = m->room + room;
		rc = vn_co_spawn(from->hub, map_run, m);
	}
	if (rc == 0)
		return p.rx;
	free(m);
	give_up(p, from, -rc);
	return NULL;
}
