/* SPDX-License-Identifier: MIT */
/*
 * vanilla.h - coroutines, message ends, and network endpoints that outlive the process using them
 *
 * Errors:    int functions return 0 (or a count) or a negative errno; pointer functions return NULL with
 *            errno set (read it before the next call that can switch: errno belongs to the thread).
 *            -EPIPE      closed by the other end        -EOWNERDEAD it died without closing
 *            -ETIMEDOUT  the deadline passed            -ECANCELED  we are being stopped
 *            -ESTALE     the connection lives on elsewhere: return; closing it does nothing to it
 *            -ECONNRESET the client reset it            -EDEADLK    nothing left in this hub can wake us
 *            -EBUSY      another coroutine already waits there        -ENOMEM     out of memory
 * NULL:      every function takes a NULL end, connection or view and answers -EBADF: check once, late.
 * Threads:   a hub and all that was made from it belong to the thread that made the hub.
 * Fork:      a child that does not exec must not use any of it.
 * Broker:    a program started by `vanilla run` finds its broker by itself in vn_hub_new(); started
 *            by hand it serves its endpoints with its own sockets. The program cannot tell.
 */
#ifndef VANILLA_H
#define VANILLA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VN_VERSION "0.1.0"

typedef struct vn_hub vn_hub;   /* a self-contained world of coroutines, one poller */
typedef struct vn_tx vn_tx;     /* a sending end */
typedef struct vn_rx vn_rx;     /* a receiving end */
typedef struct vn_conn vn_conn; /* a byte stream */

typedef struct {
	vn_tx *tx;
	vn_rx *rx;
} vn_pair;

/* What arrived, in place, read-only. */
typedef struct {
	const unsigned char *data;
	size_t len;
	uint64_t id; /* the library's */
} vn_view;

/* Room to write into, in place: fill data[0..len), len at most cap. */
typedef struct {
	unsigned char *data;
	size_t len, cap;
	uint64_t id; /* the library's */
} vn_loan;

/* A peer. On Unix sockets the credentials that the kernel vouches for; elsewhere pid is 0. */
typedef struct {
	struct sockaddr_storage sa;
	socklen_t len;
	pid_t pid;
	uid_t uid;
	gid_t gid;
} vn_addr;

typedef int64_t vn_time; /* nanoseconds; instants are CLOCK_MONOTONIC */
typedef int vn_fn(vn_hub *h, void *arg);

#define VN_US    ((vn_time)1000)
#define VN_MS    ((vn_time)1000000)
#define VN_SEC   ((vn_time)1000000000)
#define VN_NEVER INT64_MAX

/*
 * Hub. main() is itself a coroutine, so a program may block in vn_recv() straight away.
 *
 * vn_hub_free() stops what still runs, waits for it, and frees everything; call it from the coroutine that
 * called vn_hub_new(). It takes NULL and returns NULL.
 * vn_stop() makes every wait, present and future, return -ECANCELED.
 * vn_stop_on_term() serves until SIGINT, SIGTERM (alone) or the broker asks to drain; then no new connection
 * is given out, connections at a commit point are handed back (-ESTALE) and the rest runs on. It returns 0
 * when the last one is closed; -ETIMEDOUT after the hub was stopped because VANILLA_DRAIN_TIMEOUT (alone, 30s
 * by default: 500ms, 10s, 2m) passed or a second signal came; -ECANCELED after vn_stop().
 * vn_deadline() sets the instant after which waits of the calling coroutine return -ETIMEDOUT and returns the
 * old one (VN_NEVER at first); it matters only when a call would wait.
 * vn_log_to() hands each log line of the library (no newline) to `log`; level is that of syslog(3). NULL
 * restores the default, standard error.
 */
vn_hub *vn_hub_new(void);
vn_hub *vn_hub_free(vn_hub *h);
void vn_stop(vn_hub *h);
int vn_stop_on_term(vn_hub *h);
vn_time vn_now(vn_hub *h); /* read once per turn of the hub */
vn_time vn_deadline(vn_hub *h, vn_time at);
void vn_log_to(vn_hub *h, void (*log)(void *arg, int level, const char *text), void *arg);

/*
 * Coroutines. f(h, arg) runs in its own stack (64 KiB) after those that are ready already; what it returns is
 * ignored. vn_spawn_later() runs it after `delay`. -ENOMEM, -ECANCELED when the hub is stopping.
 * vn_sleep() waits for `delay` nanoseconds; vn_yield() lets the others run first.
 */
int vn_spawn(vn_hub *h, vn_fn *f, void *arg);
int vn_spawn_later(vn_hub *h, vn_time delay, vn_fn *f, void *arg);
int vn_sleep(vn_hub *h, vn_time delay);
int vn_yield(vn_hub *h);

/*
 * Pipes. Items of one type T are copied from the sender to the receiver; T may be a pointer. One sender, one
 * receiver, no buffer: vn_send() returns when the receiver has the item (0) or never will (-EPIPE, ...).
 * A second coroutine that waits at the same end gets -EBUSY. Either end can be handed on alone, and each is
 * freed by closing it; closing one makes whoever waits at the other get -EPIPE.
 */
#define vn_pipe(h, T)     vn_pipe_new((h), sizeof(T))
#define vn_send(tx, item) vn_send_item((tx), (item), sizeof *(item))
#define vn_recv(rx, item) vn_recv_item((rx), (item), sizeof *(item))

vn_pair vn_pipe_new(vn_hub *h, size_t item_size); /* {NULL, NULL} with errno set on failure */
int vn_send_item(vn_tx *tx, const void *item, size_t size);
int vn_recv_item(vn_rx *rx, void *item, size_t size);
int vn_tx_close(vn_tx *tx);
int vn_rx_close(vn_rx *rx);

/*
 * vn_consume() runs f(h, item) for one item after another until the end is closed; items are pointers.
 * vn_serve() runs f(h, item) in a coroutine of its own for each item and returns at once; the end belongs to
 * it from then on. Both end quietly when there is nothing more to come.
 */
int vn_consume(vn_rx *rx, vn_fn *f);
int vn_serve(vn_rx *rx, vn_fn *f);

/*
 * Select: waits until one of the cases can go on, does it, and returns its index; the first in list order
 * wins. A closed end is ready: vn_selected() tells how the case ended, 0 or its error. A negative return
 * (-ETIMEDOUT, -ECANCELED, -EDEADLK, -EBUSY) means that no case was decided.
 *
 *     switch (vn_select(h, VN_RECV(jobs, &job), VN_READ(conn), VN_AFTER(5 * VN_SEC))) ...
 */
typedef struct {
	int kind;
	void *end;
	void *item;
	size_t size;
	vn_time delay;
} vn_case;

#define VN_RECV(rx, item)  vn_case_make(1, (rx), (item), sizeof *(item), 0)
#define VN_SEND(tx, item)  vn_case_make(2, (tx), (void *)(uintptr_t)(item), sizeof *(item), 0)
#define VN_READ(conn)      vn_case_make(3, (conn), NULL, 0, 0) /* vn_read() would not wait */
#define VN_AFTER(delay_ns) vn_case_make(4, NULL, NULL, 0, (delay_ns))

int vn_select_cases(vn_hub *h, const vn_case *cases, size_t n_cases); /* at most 64 */
int vn_selected(vn_hub *h);

static inline vn_case
vn_case_make(int kind, void *end, void *item, size_t size, vn_time delay)
{
	vn_case c;

	c.kind = kind;
	c.end = end;
	c.item = item;
	c.size = size;
	c.delay = delay;
	return c;
}

/*
 * Endpoints: "tcp://127.0.0.1:7000", "tcp://[::1]:0", "tcp://localhost:80", "unix:/run/x.sock".
 *
 * vn_listen() dispenses vn_conn *; each is the receiver's to close. Errors: EINVAL bad URL, EADDRINUSE,
 * EACCES, ENOENT unknown host or folder, EADDRNOTAVAIL, EMFILE; vn_strerror() and the log say more.
 * VN_RESUMABLE is the program's word that a handler can start at any commit point, writes only between a
 * read and the commit that answers it, and has nothing to say at an end of file that follows a commit. Its
 * connections are given out with their first byte, and may leave (-ESTALE) when they are at rest.
 * vn_url() is what a listener is bound to, the port filled in; it lives as long as the listener.
 */
#define VN_RESUMABLE 1u

vn_rx *vn_listen(vn_hub *h, const char *url, unsigned flags);
const char *vn_url(vn_rx *listener);
const vn_addr *vn_peer(vn_conn *c);

/*
 * Reading. Every read call, whether it waits or not, first says that what earlier calls took is done: it is
 * acknowledged and committed, with the output it led to. vn_commit() says so without reading. After
 * vn_hold() reads do not, until vn_commit(): for a request that takes more than one read.
 *
 * vn_read()        up to n bytes, at least one; 0 at end of stream.
 * vn_read_n()      n bytes; fewer only at end of stream.
 * vn_read_until()  up to and with the string `end` ("\n"); at end of stream what is left, without it.
 *                  -EMSGSIZE, taking nothing, when it is not within n bytes; n counts up to 64 KiB.
 * vn_peek()        shows at least `at_least` bytes (1 to 64 KiB) and takes nothing; returns how many are
 *                  there, fewer only at end of stream. Valid until the next call on this connection.
 * vn_skip()        takes n bytes that were peeked; -EINVAL if there are not that many.
 * vn_take()        what arrived next, in place and pinned until vn_release(): 1, or 0 at end of stream.
 *                  While a view is out, commits wait for its release.
 */
ssize_t vn_read(vn_conn *c, void *data, size_t n);
ssize_t vn_read_n(vn_conn *c, void *data, size_t n);
ssize_t vn_read_until(vn_conn *c, void *data, size_t n, const char *end);
ssize_t vn_peek(vn_conn *c, const void **data, size_t at_least);
int vn_skip(vn_conn *c, size_t n);
int vn_hold(vn_conn *c);
int vn_commit(vn_conn *c);
int vn_take(vn_conn *c, vn_view *v);
int vn_release(vn_conn *c, vn_view *v);

/*
 * Writing. On a VN_RESUMABLE connection output belongs to a request: -EPERM unless input was taken and not
 * yet committed. Output leaves at the latest when the hub next turns; a write waits only while a window of
 * it is unsent.
 *
 * vn_write()     all of it or an error.            vn_shutdown()  no more output; input goes on.
 * vn_borrow()    room for n bytes (at most 64 KiB) in place; set len, then vn_publish() sends it. It is gone
 *                either way; publishing len 0 gives it back.
 * vn_abort()     reset. The handle is still to be closed.
 */
int vn_write(vn_conn *c, const void *data, size_t n);
int vn_shutdown(vn_conn *c);
int vn_abort(vn_conn *c);
int vn_borrow(vn_conn *c, size_t n, vn_loan *l);
int vn_publish(vn_conn *c, vn_loan *l);
int vn_conn_close(vn_conn *c); /* what was written is sent first */

/* What a result of this library means, in words; never NULL. */
const char *vn_strerror(int rc);

#ifdef __cplusplus
}
#include <initializer_list>
static inline int
vn_select_list(vn_hub *h, std::initializer_list<vn_case> cases)
{
	return vn_select_cases(h, cases.begin(), cases.size());
}
static inline int
vn_close(vn_tx *x)
{
	return vn_tx_close(x);
}
static inline int
vn_close(vn_rx *x)
{
	return vn_rx_close(x);
}
static inline int
vn_close(vn_conn *x)
{
	return vn_conn_close(x);
}
#define vn_select(h, ...) vn_select_list((h), {__VA_ARGS__})
#else
/* Any end or connection; wakes whoever waits at the other end; NULL is fine. */
#define vn_close(x)                                                                                \
	_Generic((x), vn_tx * : vn_tx_close, vn_rx * : vn_rx_close, vn_conn * : vn_conn_close)(x)
#define vn_select(h, ...)                                                                          \
	vn_select_cases((h), (const vn_case[]){__VA_ARGS__},                                       \
		sizeof((const vn_case[]){__VA_ARGS__}) / sizeof(vn_case))
#endif
#endif
