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

typedef struct vn_hub vn_hub;         /* a self-contained world of coroutines, one poller */
typedef struct vn_tx vn_tx;           /* a sending end */
typedef struct vn_rx vn_rx;           /* a receiving end */
typedef struct vn_conn vn_conn;       /* a byte stream */
typedef struct vn_udp vn_udp;         /* a datagram endpoint */
typedef struct vn_group vn_group;     /* coroutines that live and die together */
typedef struct vn_counter vn_counter; /* something that the program counts */
typedef struct vn_gauge vn_gauge;     /* a value of its that comes and goes */
typedef struct vn_alarm vn_alarm;     /* a coroutine that starts later, unless it is called off */

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
typedef int vn_tx_fn(vn_hub *h, vn_tx *tx, void *arg);
typedef int vn_rx_fn(vn_hub *h, vn_rx *rx, void *arg);
typedef int vn_pair_fn(vn_hub *h, vn_pair parent, void *arg);
typedef int vn_filter_fn(vn_hub *h, vn_rx *upstream, vn_tx *downstream, void *arg);
typedef int vn_map_fn(const void *in, void *out, void *arg);

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
 * old one (VN_NEVER at first); it matters only when a call would wait. vn_timeout() brings it forward to
 * `delay` from now, never back, so that they nest; give what it returned to vn_deadline() when done:
 *
 *     vn_time outer = vn_timeout(h, 5 * VN_SEC);
 *     rc = talk_to_somebody(h);
 *     vn_deadline(h, outer);
 *
 * vn_log_to() hands each log line of the library (no newline) to `log`; level is that of syslog(3). NULL
 * restores the default, standard error.
 */
vn_hub *vn_hub_new(void);
vn_hub *vn_hub_free(vn_hub *h);
void vn_stop(vn_hub *h);
int vn_stop_on_term(vn_hub *h);
vn_time vn_now(vn_hub *h); /* read once per turn of the hub */
vn_time vn_deadline(vn_hub *h, vn_time at);
vn_time vn_timeout(vn_hub *h, vn_time delay);
void vn_log_to(vn_hub *h, void (*log)(void *arg, int level, const char *text), void *arg);

/*
 * Coroutines. f(h, arg) runs in its own stack (64 KiB) after those that are ready already; what it returns is
 * ignored. vn_spawn_later() runs it after `delay`, which counts from the end of this turn of the hub. -ENOMEM,
 * -ECANCELED when the hub is stopping.
 * vn_sleep() waits for `delay` nanoseconds; vn_yield() lets the others run first.
 *
 * vn_alarm_new() is vn_spawn_later() that can be called off: NULL with errno ENOMEM, ECANCELED. The handle is
 * freed by vn_alarm_cancel(), whether f has run or not, and with the hub: 0, f will never run; -EALREADY, it was
 * started.
 */
int vn_spawn(vn_hub *h, vn_fn *f, void *arg);
int vn_spawn_later(vn_hub *h, vn_time delay, vn_fn *f, void *arg);
int vn_sleep(vn_hub *h, vn_time delay);
int vn_yield(vn_hub *h);
vn_alarm *vn_alarm_new(vn_hub *h, vn_time delay, vn_fn *f, void *arg);
int vn_alarm_cancel(vn_alarm *a);

/*
 * Groups: coroutines that live and die together. A child that returns a negative value has failed: the others are
 * cancelled, which means that every wait of theirs, present and future, returns -ECANCELED, and so does vn_yield().
 * (A wait that is decided already stays decided.) A child starts with the deadline of the coroutine that spawned it.
 *
 * vn_group_wait()   until all children are gone: 0, or the first failure (-ECANCELED of a child that was
 *                   cancelled is none). -ETIMEDOUT, -ECANCELED, -EDEADLK if the caller's own wait ended first:
 *                   the children go on. Afterwards the group can be used again; the failure stays.
 * vn_group_cancel() cancels all children; returns at once.
 * vn_group_free()   cancels what still runs, waits for it whatever happens to the caller, frees; returns NULL.
 *                   NULL is fine. A group belongs to the coroutine that frees it, which is no child of it.
 * vn_group_spawn()  -ENOMEM; -ECANCELED once the group was cancelled or has failed, when the caller was cancelled
 *                   itself, or the hub is stopping.
 */
vn_group *vn_group_new(vn_hub *h); /* NULL with errno ENOMEM */
int vn_group_spawn(vn_group *g, vn_fn *f, void *arg);
int vn_group_wait(vn_group *g);
int vn_group_cancel(vn_group *g);
vn_group *vn_group_free(vn_group *g);

/*
 * Ends. Items of one type T are copied from a sender to a receiver; T may be a pointer. Each of these makes a pair
 * of ends, {NULL, NULL} with errno set on failure (ENOMEM; EINVAL: an item or n that is too large):
 *
 *                senders   receivers   vn_send() returns                     vn_recv() gives
 *   vn_pipe      one       one         when the receiver has the item        each item once
 *   vn_queue     one       one         when it is among the n that wait      each once, in order
 *   vn_dealer    one       many        when a receiver has it                each once, to who waits longest
 *   vn_router    many      one         when the receiver has it              each once, from who waits longest
 *   vn_channel   many      many        as a queue of n; as a pipe if n is 0  each once, first come first served
 *   vn_state     one       many        at once                               the latest value, again and again;
 *                                                                            waits while there is none
 *   vn_value     one       many        at once; -EALREADY from the second    the value, as soon as there is one
 *
 * "One" is how many coroutines can wait at that end at a time; one more gets -EBUSY. Nobody overtakes anybody.
 *
 * vn_send_error() sends an error in place of an item: vn_recv() returns it, in its turn, and the end goes on. Any
 * negative errno but -EAGAIN; one that means an end to the receiver (-EPIPE, ...) will be taken for one. vn_state
 * keeps an error as it keeps an item. -EINVAL for another number.
 * vn_clear() leaves a state without a value. -EINVAL for another kind of end.
 *
 * Close. Either end can be handed on alone, and each is closed once by each of its owners: whoever made it, and one
 * more for each vn_dup(), which returns its argument. When the last owner of an end has closed it,
 *
 *   the sending end    who waits at it gets -EPIPE; receivers get what is buffered, then -EPIPE. A value, or the
 *                      last value of a state, stays: receivers get it still.
 *   the receiving end  who waits at it gets -EPIPE; senders that wait, and all later ones, get -EPIPE. What is
 *                      buffered is dropped: see vn_on_drop().
 *
 * A call on an end that its last owner has closed is an error of the program, as with free().
 *
 * An item is never in nobody's hand. vn_recv() that ends with an error has not taken one, and vn_send() that ends
 * with an error has not given its away; a wait that was decided stays decided, whatever is cancelled or stopped
 * before the coroutine runs.
 *
 * Death. vn_adopt() gives an end to the calling coroutine: if that returns with the end open, the end is closed for
 * it, and the other side gets -EOWNERDEAD in place of -EPIPE. What is open when the hub is freed goes with it.
 * vn_on_close() runs f(arg, how) once when the end is closed: how is 0, -EOWNERDEAD, or -ECANCELED with the hub. It
 * runs in whoever closes, must not wait, and may close other ends. Several run in the order in which they were
 * asked for. -ENOMEM.
 * vn_on_drop() is given, for either end, what becomes of items that nobody will get (a receiving end that closes,
 * a slow subscriber, the hub): f(arg, item) may free what an item owns and close any end. It must not wait. -EINVAL
 * for a state and a value, which many may have read, and for ends that the system feeds.
 */
#define vn_pipe(h, T)       vn_pipe_new(VN_HERE(h), sizeof(T))
#define vn_queue(h, T, n)   vn_queue_new(VN_HERE(h), sizeof(T), (n))
#define vn_dealer(h, T)     vn_dealer_new(VN_HERE(h), sizeof(T))
#define vn_router(h, T)     vn_router_new(VN_HERE(h), sizeof(T))
#define vn_channel(h, T, n) vn_channel_new(VN_HERE(h), sizeof(T), (n))
#define vn_state(h, T)      vn_state_new(VN_HERE(h), sizeof(T))
#define vn_value(h, T)      vn_value_new(VN_HERE(h), sizeof(T))
#define vn_send(tx, ...)    vn_send_item((tx), (__VA_ARGS__), sizeof *(__VA_ARGS__))
#define vn_recv(rx, item)   vn_recv_item((rx), (item), sizeof *(item))

vn_pair vn_pipe_new(vn_hub *h, size_t item_size);
vn_pair vn_queue_new(vn_hub *h, size_t item_size, size_t n); /* n at least 1 */
vn_pair vn_dealer_new(vn_hub *h, size_t item_size);
vn_pair vn_router_new(vn_hub *h, size_t item_size);
vn_pair vn_channel_new(vn_hub *h, size_t item_size, size_t n);
vn_pair vn_state_new(vn_hub *h, size_t item_size);
vn_pair vn_value_new(vn_hub *h, size_t item_size);
int vn_send_item(vn_tx *tx, const void *item, size_t size);
int vn_recv_item(vn_rx *rx, void *item, size_t size);
int vn_send_error(vn_tx *tx, int error);
int vn_clear(vn_tx *state);
int vn_tx_close(vn_tx *tx);
int vn_rx_close(vn_rx *rx);
vn_tx *vn_tx_dup(vn_tx *tx);
vn_rx *vn_rx_dup(vn_rx *rx);
int vn_tx_adopt(vn_tx *tx);
int vn_rx_adopt(vn_rx *rx);
int vn_tx_on_close(vn_tx *tx, void (*f)(void *arg, int how), void *arg);
int vn_rx_on_close(vn_rx *rx, void (*f)(void *arg, int how), void *arg);
int vn_tx_on_drop(vn_tx *tx, void (*f)(void *arg, void *item), void *arg);
int vn_rx_on_drop(vn_rx *rx, void (*f)(void *arg, void *item), void *arg);

/*
 * Broadcast: one sender, and a receiving end for each subscriber, which gets what is sent from then on. With nobody
 * there an item is dropped and vn_send() returns 0. A subscriber leaves by closing its end. It has room for n
 * items; the policy says what happens to one who has none left. An item goes to all at one moment, when no VN_BLOCK
 * stands against it, or to nobody:
 *
 *   VN_BLOCK        the sender waits for it (n may be 0: until it has the item)
 *   VN_DROP_OLDEST  the oldest item that it has not taken is dropped
 *   VN_DROP_NEWEST  this item is dropped, for this subscriber
 *   VN_DISCONNECT   it gets what it has room for, then -ENOBUFS for ever, and is no subscriber any more
 *
 * vn_subscribe() is VN_BLOCK with 0. -EINVAL for a policy that needs room and n of 0. vn_dropped() counts what was
 * dropped for a subscriber (or, at the sending end, for all that ever were). vn_on_empty() runs f(arg) each time
 * the last subscriber has left, in whoever closes; it must not wait.
 */
enum { VN_BLOCK, VN_DROP_OLDEST, VN_DROP_NEWEST, VN_DISCONNECT };

#define vn_broadcast(h, T) vn_broadcast_new(VN_HERE(h), sizeof(T))

vn_tx *vn_broadcast_new(vn_hub *h, size_t item_size);
vn_rx *vn_subscribe(vn_tx *broadcast);
vn_rx *vn_subscribe_with(vn_tx *broadcast, int policy, size_t n);
size_t vn_subscribers(vn_tx *broadcast);
uint64_t vn_dropped(vn_rx *subscriber);
uint64_t vn_dropped_by_all(vn_tx *broadcast);
int vn_on_empty(vn_tx *broadcast, void (*f)(void *arg), void *arg);

/*
 * Combinators. Ends that a function is given are closed for it when it returns: the other side gets -EPIPE, or
 * -EOWNERDEAD if it returned a negative value. Ends that are given to one of these belong to it from then on, also
 * when it fails (then they are closed).
 *
 * vn_consume()      runs f(h, item) for one item after another until the end is closed; items are pointers.
 *                   0, or the error item that ended it. The end stays the caller's.
 * vn_serve()        runs f(h, item) in a coroutine of its own for each item and returns at once. Error items are
 *                   logged.
 * vn_producer()     runs f(h, tx, arg) in a coroutine and gives the receiving end to it.
 * vn_consumer()     runs f(h, rx, arg) in a coroutine and gives the sending end to it.
 * vn_pulse()        dispenses a copy of *item each `every`; one that is slow to receive gets the next one
 *                   `every` after it took the last.
 * vn_trigger_new()  a sender; vn_trigger() on it runs f(h, arg) once, one run after another, in a coroutine of its
 *                   own, and returns when it has begun.
 * vn_serialize()    a sender; vn_call() on it runs f(h, arg), one call after another, first come first served, in a
 *                   coroutine of its own, and returns what f returned. If the caller's wait ends first, it gets
 *                   that error; a call that has begun is finished, one that has not is never begun.
 * vn_map()          what `from` gets, through f(in, out, arg): 0 sends *out on, a positive value sends nothing, an
 *                   error is sent on as an error item. Error items pass. A state gives its latest value again and
 *                   again, as to any receiver.
 * vn_pipe_to()      what `from` would get, `to`'s receiver gets. They are rewired where that can be: a hop costs
 *                   nothing. Closing either end of the chain closes the other one. A state hands on each new value
 *                   that it has when somebody is ready for it. -EINVAL if item sizes differ, or for a circle.
 * vn_pipe_through() runs f(h, upstream, downstream, arg) between `from` and the end that it returns.
 *
 * Those that return an end return NULL with errno set on failure (ENOMEM, ECANCELED, EBADF).
 */
#define vn_producer(h, T, f, arg) vn_producer_new(VN_HERE(h), sizeof(T), (f), (arg))
#define vn_consumer(h, T, f, arg) vn_consumer_new(VN_HERE(h), sizeof(T), (f), (arg))
#define vn_pulse(h, every, item)  vn_pulse_new(VN_HERE(h), (every), (item), sizeof *(item))
#define vn_map(from, T, f, arg)   vn_map_new(VN_RX_HERE(from), sizeof(T), (f), (arg))
#define vn_pipe_through(from, T, f, arg)                                                           \
	vn_pipe_through_new(VN_RX_HERE(from), sizeof(T), (f), (arg))

int vn_consume(vn_rx *rx, vn_fn *f);
int vn_serve(vn_rx *rx, vn_fn *f);
vn_rx *vn_producer_new(vn_hub *h, size_t item_size, vn_tx_fn *f, void *arg);
vn_tx *vn_consumer_new(vn_hub *h, size_t item_size, vn_rx_fn *f, void *arg);
vn_rx *vn_pulse_new(vn_hub *h, vn_time every, const void *item, size_t item_size);
vn_tx *vn_trigger_new(vn_hub *h, vn_fn *f, void *arg);
int vn_trigger(vn_tx *trigger);
vn_tx *vn_serialize(vn_hub *h, vn_fn *f);
int vn_call(vn_tx *serialized, void *arg);
vn_rx *vn_map_new(vn_rx *from, size_t item_size, vn_map_fn *f, void *arg);
vn_rx *vn_pipe_through_new(vn_rx *from, size_t item_size, vn_filter_fn *f, void *arg);
int vn_pipe_to(vn_rx *from, vn_tx *to);

/*
 * Signals. A receiving end of int: the numbers of the signals, each as often as the kernel tells them apart; those
 * that were not taken yet are merged as the kernel does it, the lowest number comes first. While such an end is open
 * these signals have no other effect; each goes to every end that asked for it, in whatever hub, and to
 * vn_stop_on_term(). When the last one is closed the signal has again the action that it had. A thread that is not
 * the hub's must have them blocked too: make hubs that take signals before other threads. NULL with errno EINVAL for
 * a number that is no signal, or SIGKILL, SIGSTOP.
 *
 *     vn_rx *signals = vn_signals(h, SIGHUP, SIGUSR1);
 *
 * Under a broker it is signals to the service that come, that is to the process of `vanilla run`: to the hub that is
 * linked to it (the program's first), in each worker that asked, from when that is ready; and as well what is sent
 * to the worker itself. Those that came while a worker was busy are merged, also realtime signals. While no worker asks
 * for a signal it does to the broker what it does to any process. Never forwarded are those with a meaning of the
 * broker's own, SIGTERM, SIGINT, SIGQUIT (stop), SIGHUP (reload), SIGTTIN, SIGTTOU (scale), and those that a process
 * gets for what it does itself, SIGCHLD, SIGPIPE, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP: an end
 * that asks for these is made, but only what is sent to the worker itself comes.
 *
 * Descriptors. vn_watch_fd() makes a receiving end of int: the events, some of VN_READABLE, VN_WRITABLE and
 * VN_HANGUP, edge by edge; those that were not taken yet are merged. VN_HANGUP comes unasked with an error, or when
 * both directions are closed. The descriptor stays the caller's; close the end first. NULL with errno EPERM for a
 * file that cannot be waited for, EEXIST when it is watched already, EBADF, EINVAL for other events.
 */
enum { VN_READABLE = 1, VN_WRITABLE = 2, VN_HANGUP = 4 };

vn_rx *vn_signals_new(vn_hub *h, const int *signals, size_t n);
vn_rx *vn_watch_fd(vn_hub *h, int fd, int events);

/*
 * Select: waits until one of the cases can go on, does it, and returns its index. The first in list order wins, or
 * with vn_select_random() any of those that are ready, each as likely. A closed end is ready: vn_selected() tells
 * how the case ended, 0 or its error. A negative return (-ETIMEDOUT, -ECANCELED, -EDEADLK, -EBUSY) means that no
 * case was decided. VN_ELSE is what happens when no other case can go on at once.
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

#define VN_RECV(rx, item) vn_case_make(1, (rx), (item), sizeof *(item), 0)
#define VN_SEND(tx, ...)                                                                           \
	vn_case_make(2, (tx), (void *)(uintptr_t)(__VA_ARGS__), sizeof *(__VA_ARGS__), 0)
#define VN_READ(conn)      vn_case_make(3, (conn), NULL, 0, 0) /* vn_read() would not wait */
#define VN_AFTER(delay_ns) vn_case_make(4, NULL, NULL, 0, (delay_ns))
#define VN_ELSE            vn_case_make(5, NULL, NULL, 0, 0)
#define VN_FD(fd, events)                                                                          \
	vn_case_make(6, NULL, NULL, (size_t)(fd), (events)) /* it is so, or hung up; stays open */

int vn_select_cases(vn_hub *h, const vn_case *cases, size_t n_cases); /* at most 64 */
int vn_select_random_cases(vn_hub *h, const vn_case *cases, size_t n_cases);
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
 * With VN_DEBUG defined, ends and coroutines remember where they were made, and vn_hub_free() logs those that are
 * still open or running when it is called, with file and line. Coroutines of a group and subscribers of a broadcast
 * are where that was made. Without it this costs nothing.
 */
vn_hub *vn_here(vn_hub *h, const char *file, int line);
vn_rx *vn_rx_here(vn_rx *rx, const char *file, int line);
#ifdef VN_DEBUG
#define VN_RX_HERE(rx)                   vn_rx_here((rx), __FILE__, __LINE__)
#define VN_HERE(h)                       vn_here((h), __FILE__, __LINE__)
#define vn_spawn(h, f, arg)              (vn_spawn)(VN_HERE(h), (f), (arg))
#define vn_spawn_later(h, delay, f, arg) (vn_spawn_later)(VN_HERE(h), (delay), (f), (arg))
#define vn_alarm_new(h, delay, f, arg)   (vn_alarm_new)(VN_HERE(h), (delay), (f), (arg))
#define vn_group_new(h)                  (vn_group_new)(VN_HERE(h))
#define vn_trigger_new(h, f, arg)        (vn_trigger_new)(VN_HERE(h), (f), (arg))
#define vn_serialize(h, f)               (vn_serialize)(VN_HERE(h), (f))
#define vn_watch_fd(h, fd, events)       (vn_watch_fd)(VN_HERE(h), (fd), (events))
#else
#define VN_HERE(h)     (h)
#define VN_RX_HERE(rx) (rx)
#endif

/*
 * Endpoints: "tcp://127.0.0.1:7000", "tcp://[::1]:0", "tcp://localhost:80", "unix:/run/x.sock", "unix:@abstract".
 *
 * "seqpacket:/run/x.sock" is a Unix socket of messages: each vn_read() gives one, whole, each vn_write() sends one, of
 * 1 to 65532 bytes. vn_read() with less room than the message has takes nothing: -EMSGSIZE. Calls that know no
 * messages return -EOPNOTSUPP: vn_read_n(), vn_read_until(), vn_peek(), vn_skip(), vn_take(), vn_borrow(). A client
 * that sends a longer one is reset; an empty one is taken for the end of the stream: the kernel does not tell them apart.
 *
 * Options follow as in "tcp://0.0.0.0:80?backlog=1024&idle=60s&max=5k". Times take ms, s, m; numbers k, M; a switch may
 * stand alone. One that is unknown or bad is an error, and the log names it and says what would be right.
 *
 *   backlog=N        connections that wait to be accepted (4096)
 *   keepalive=T      who has been silent for T is probed, and gone when three probes went unanswered (off)
 *   nodelay=off      small writes may wait for others       reuseport  others may listen there too
 *   v6only           an IPv6 address takes no IPv4 clients  interface=NAME  only what comes in there
 *   dscp=N           differentiated services code point of what is sent
 *   max=N            connections at a time; others wait, and are refused after queue-timeout (alone,
 *                    VANILLA_QUEUE_TIMEOUT, 30s)
 *   per_address=N    connections at a time of one client: an IPv4 address, an IPv6 /64
 *   rate=N           new connections of one client per second, N at once
 *   allow=, deny=    up to 32 networks each, as in 10.0.0.0/8,::1: deny wins; with allow nobody else comes in; datagrams
 *                    of others are dropped and counted
 *   proxy=v1|v2|any  connections begin with a PROXY header; vn_peer() is whom it names, and so are per_address and
 *                    rate; allow and deny are about who sends it
 *   header=T         from the accept to the end of that header (5s)
 *   accept=T         from the accept to the first byte
 *   idle=T           without a byte in either direction; at rest a resumable connection is then closed in order
 *   progress=T       in the middle of a request or of an answer, it must end or 4 KiB of it move within T
 *   mode=, user=, group=  of the file of a Unix socket: mode=0660
 *
 * In accept, idle and progress only a client's time counts, not a handler's; they hold to within a quarter, or 50 ms.
 * Who does not keep to a limit is reset, and a handler that waits for it gets -ECONNRESET.
 *
 * vn_listen() dispenses vn_conn *; each is the receiver's to close. Errors: EINVAL bad URL, EADDRINUSE,
 * EACCES, ENOENT unknown host or folder, EADDRNOTAVAIL, EMFILE; vn_strerror() and the log say more.
 * VN_RESUMABLE is the program's word that a handler can start at any commit point, writes only between a
 * read and the commit that answers it, and has nothing to say at an end of file that follows a commit. Its
 * connections are given out with their first byte, and may leave (-ESTALE) when they are at rest.
 * If its process dies, a request is run again elsewhere, from the last commit on; if a part of its answer had left
 * without the commit, the connection is reset instead. What a handler writes leaves together with the commit as long as
 * it does not wait in between: not for anything else, and not for room. A vn_write() of up to 64 KiB waits for room
 * before it begins; a larger one, or one of several, may have sent what came before when it finds the window full. So
 * an answer that is to survive any death is written at once, and is smaller than the window by what is still unsent.
 * vn_url() is what a listener is bound to, the port filled in; it lives as long as the listener.
 */
#define VN_RESUMABLE 1u

vn_rx *vn_listen(vn_hub *h, const char *url, unsigned flags);
#ifdef VN_DEBUG
#define vn_listen(h, url, flags) (vn_listen)(VN_HERE(h), (url), (flags))
#endif
const char *vn_url(vn_rx *listener);
const vn_addr *vn_peer(vn_conn *c);

/*
 * vn_dial() connects to a TCP or Unix endpoint, "tcp://example.org:80", and waits until that has come to something:
 * the deadline and a cancel hold in every phase. The connection belongs to the coroutine that asked for it: it is
 * never VN_RESUMABLE, whoever has it may write at any time, and if the program dies what it had published is sent and
 * then the connection is reset. vn_stop_on_term() does not wait for it.
 *
 * A name is looked up in /etc/hosts and by DNS, IPv6 and IPv4 at once, and up to 8 addresses of each family are tried in
 * turn, one beginning 250 ms after the other or when that has failed; the first that is connected it is (RFC 8305).
 * VANILLA_DNS ("127.0.0.1:5353,[::1]:53") names other name servers than those of /etc/resolv.conf.
 *
 * NULL with errno, which of several addresses tells most:
 *   ENOENT        there is no such name, or no such Unix socket
 *   ENODATA       the name has no address
 *   EREMOTEIO     the name servers did not answer, or could not say
 *   ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, EACCES, ...  as connect(2) has it
 *   ETIMEDOUT     the deadline passed, or the system's own patience with one who does not answer
 *   EMFILE, ENFILE, ENOMEM  there is no descriptor, no memory; under a broker, there
 *   EINVAL        the URL, or VANILLA_DNS; the log has a sentence
 *   ECANCELED, EDEADLK
 */
vn_conn *vn_dial(vn_hub *h, const char *url);

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
 *
 * When a worker dies, input that it had and did not commit is given to a handler in another one, if no part of an
 * answer has left; vn_conn_attempt() tells it: 1 the first time, 2 and more when workers died with this input. After
 * --retries of them the connection is reset instead.
 *
 * vn_conn_state()  n bytes (1 to 1024, aligned for anything) that a successor of this handler finds as they were
 *                  at the last commit, all zero at first; ask with the same n each time. They are the
 *                  connection's: valid until it is closed. Put a number into them, not a pointer. NULL with
 *                  errno EINVAL, ENOMEM, EBADF. Alone, or where endpoints are not VN_RESUMABLE, nobody succeeds.
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
void *vn_conn_state(vn_conn *c, size_t n);
unsigned vn_conn_attempt(vn_conn *c);

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

/*
 * Datagrams: "udp://127.0.0.1:53", "udp://[::]:0".
 *
 *     vn_udp *u = vn_bind(h, "udp://0.0.0.0:53");
 *     vn_datagram d;
 *     ssize_t n;
 *
 *     while ((n = vn_udp_recv(u, data, sizeof data, &d)) >= 0)
 *             vn_udp_send(u, data, (size_t)n, &d);
 *
 * vn_bind()      the caller's, to be closed by vn_close(). NULL with errno as vn_listen().
 * vn_udp_recv()  the next datagram: how many bytes of it were copied, which is 0 for an empty one, there being no end
 *                of stream; what does not fit into n is dropped, and d->truncated says so. `d` may be NULL.
 * vn_udp_view()  the same in place: the view is valid until the next call of either. Returns its length.
 *                Receiving says, as reading a connection does, that the datagram before is done with: what was sent
 *                meanwhile leaves with that word. If a worker dies before, the broker counts the datagram as lost; one
 *                that it had not got yet goes to another worker. Datagrams of one peer go to one worker, in order,
 *                while that lives and serves. One coroutine receives at a time, others get -EBUSY. Nothing is
 *                received any more once we are to stop: -ECANCELED after what is here already.
 * vn_udp_send()  sends a datagram to d->peer, from d->local; without such an address (len 0, or a group) from any, and
 *                by d->interface if that is not 0. So what vn_udp_recv() has filled in is where an answer goes, and it
 *                leaves from the address that was asked. For one that answers nothing, zero all but the peer. Waits
 *                while a window of output is unsent; many may send. What the network refuses later is counted, not
 *                told. -EMSGSIZE for more than the 65507 bytes (IPv6: 65527) that can be, -EAFNOSUPPORT for an address
 *                of another family than the endpoint's, -EDESTADDRREQ without a peer, -EINVAL for its port 0.
 * vn_udp_join()  receive also what is sent to a group ("224.0.0.251", "ff02::fb") on a network interface ("eth0";
 *                NULL: of the kernel's choosing); vn_udp_leave() no longer. The endpoint must be bound to every
 *                address, or to the group's. -EINVAL for what is no group, -ENODEV, -ENOBUFS for too many.
 * vn_udp_url()   what it is bound to, the port filled in.
 *
 * vn_udp_dial()  an endpoint that is connected to "udp://example.org:53": only what that peer sends arrives, and all goes
 *                there: `d` of vn_udp_send() may be NULL, and another peer in it is -EISCONN, as is joining a group. A
 *                name is resolved as by vn_dial(), waiting until the deadline; the first of its addresses to which
 *                there is a way is taken, for with datagrams nobody says whether somebody is there. If the network
 *                says later that nobody is, the next call that receives returns that once (-ECONNREFUSED), and the
 *                endpoint goes on. It is this program's alone, also behind the broker; what was sent leaves if the
 *                worker dies, and what comes is lost. It does not end by vn_stop_on_term(), nor keep that waiting.
 *                NULL with errno as vn_dial(), EMFILE for more than 256 endpoints of a worker.
 *
 * In a select, VN_UDP(u) is ready when vn_udp_recv() would not wait.
 *
 * vn_udp_count() how many datagrams there were. A program alone sees all of it; behind the broker the socket is the
 *                broker's, which counts `dropped` and `refused` itself (`show datagrams`).
 */
typedef struct {
	vn_addr peer;  /* who sent it; who is to get it */
	vn_addr local; /* whom it was sent to; where it is to leave from: len 0 is any address */
	unsigned interface; /* the number of the network interface; 0: any */
	size_t len;         /* what it had when it came */
	bool truncated;     /* and less of it was given */
	bool group; /* `local` is a group or a broadcast address: no answer leaves from there */
} vn_datagram;

typedef struct {
	uint64_t received; /* given to the program */
	uint64_t sent;     /* taken from it */
	uint64_t dropped;  /* alone: by the kernel, having no room, and those that are denied */
	uint64_t refused;  /* alone: by the kernel, of those sent */
} vn_udp_counts;

vn_udp *vn_bind(vn_hub *h, const char *url);
vn_udp *vn_udp_dial(vn_hub *h, const char *url);
ssize_t vn_udp_recv(vn_udp *u, void *data, size_t n, vn_datagram *d);
ssize_t vn_udp_view(vn_udp *u, vn_view *v, vn_datagram *d);
int vn_udp_send(vn_udp *u, const void *data, size_t n, const vn_datagram *d);
int vn_udp_join(vn_udp *u, const char *group, const char *interface);
int vn_udp_leave(vn_udp *u, const char *group, const char *interface);
const char *vn_udp_url(vn_udp *u);
int vn_udp_count(vn_udp *u, vn_udp_counts *c);
int vn_udp_close(vn_udp *u);       /* what was sent leaves first */
vn_rx *vn_udp_readable(vn_udp *u); /* for VN_UDP; goes with the endpoint */
#ifdef VN_DEBUG
#define vn_bind(h, url)     (vn_bind)(VN_HERE(h), (url))
#define vn_udp_dial(h, url) (vn_udp_dial)(VN_HERE(h), (url))
#endif

#define VN_UDP(u) vn_case_make(1, vn_udp_readable(u), NULL, 0, 0)

/*
 * Streams: any descriptor, read and written by coroutines. Pipes, ttys, sockets, devices, eventfd, timerfd, inotify and
 * whatever else can be waited for; and what cannot, regular files above all, which a few threads read and write.
 *
 * vn_os_stream() makes a stream of a descriptor. It is the stream's from then on and closed with it, unless VN_KEEP
 *                says that it stays the caller's, to be closed after the stream; on failure it stays the caller's in
 *                any case. O_NONBLOCK, which others who share the descriptor would notice, is set only where the
 *                kernel has no other way not to wait, and then taken back when the stream is closed. NULL with errno
 *                EBADF, EEXIST (this hub watches the descriptor already), ENOMEM.
 * vn_os_open()   open(2), in a thread, close-on-exec. NULL with its errno, or that of the wait.
 * vn_os_pipe()   pipe(2): ends[0] is read, ends[1] is written.
 *
 * vn_os_read()        up to n bytes, at least one; 0 at end of stream.
 * vn_os_read_n()      n bytes; fewer only at end of stream.
 * vn_os_read_until()  up to and with the string `end` ("\n"); at end of stream what is left, without it. -EMSGSIZE,
 *                     taking nothing, when it is not within n bytes.
 *                     One coroutine reads at a time, others get -EBUSY. A read that ends with an error has taken
 *                     nothing (but -ENOMEM).
 * vn_os_write()       all of it or an error. Calls of several coroutines go one after the other, first come first
 *                     served, each as a whole. After -ETIMEDOUT or -ECANCELED some of it may have been written;
 *                     on a regular file, what a thread has begun is finished.
 * vn_os_shutdown()    no more output, once what was asked for before is written; input goes on. A socket is shut
 *                     down; what can only be written is closed. -EOPNOTSUPP for other descriptors, which have no
 *                     such half.
 * vn_os_seek()        the next byte is read or written at this offset. Regular files have a position of the
 *                     stream's own; it begins where the descriptor's is, and with VN_KEEP it is put there again when
 *                     the stream is closed. -ESPIPE where there is none, -EBUSY while somebody reads or writes.
 *
 * In a select, VN_OS_READ and VN_OS_WRITE are ready when vn_os_read(), or vn_os_write() of a byte, would not wait.
 * A stream is closed once, by vn_close(); who waits there gets -EPIPE. Reading and writing return -EPIPE when the other
 * end is closed or there was a shutdown, and otherwise what read(2) and write(2) have.
 */
#define VN_KEEP 1u

typedef struct vn_stream vn_stream;

vn_stream *vn_os_stream(vn_hub *h, int fd, unsigned flags);
vn_stream *vn_os_open(vn_hub *h, const char *path, int flags, mode_t mode);
int vn_os_pipe(vn_hub *h, vn_stream *ends[2]);
ssize_t vn_os_read(vn_stream *s, void *data, size_t n);
ssize_t vn_os_read_n(vn_stream *s, void *data, size_t n);
ssize_t vn_os_read_until(vn_stream *s, void *data, size_t n, const char *end);
int vn_os_write(vn_stream *s, const void *data, size_t n);
int vn_os_shutdown(vn_stream *s);
int vn_os_seek(vn_stream *s, int64_t offset);
int vn_os_fd(vn_stream *s); /* the stream's still */
int vn_os_close(vn_stream *s);
vn_rx *vn_os_readable(vn_stream *s); /* for VN_OS_READ; goes with the stream */
vn_rx *vn_os_writable(vn_stream *s);

#define VN_OS_READ(s)  vn_case_make(1, vn_os_readable(s), NULL, 0, 0)
#define VN_OS_WRITE(s) vn_case_make(1, vn_os_writable(s), NULL, 0, 0)

/*
 * Counters and gauges: what the program counts for those who operate it. Behind a broker `vanilla stat` and /metrics
 * show them under the name of the service: a counter "jobs" as vanilla_app_jobs_total, summed up over all workers,
 * dead ones included; a gauge "queue_length" as vanilla_app_queue_length, one for each worker that lives. Alone they are
 * kept, and nobody looks. To count is one store: do it wherever it is useful. A program that was killed has counted
 * what it stored.
 *
 * A name has 1 to 40 of a to z, 0 to 9 and _, begins with no digit, and ends in its unit where it has one, in base
 * units (seconds, bytes); "_total" is added. help is one sentence of up to 111 bytes, without a dot. Asking again for a
 * name gives what there is. They are the hub's and go with it. Functions that count take NULL and do nothing, so a
 * program need not care whether it got them.
 *
 * NULL with errno EINVAL: a bad name or help, or a gauge is a counter here; ENOSPC: a program has at most 64 of them;
 * ENOMEM. Programs that count differently under one name, one after the other, find the later one refused in the
 * broker's log.
 */
vn_counter *vn_counter_new(vn_hub *h, const char *name, const char *help);
void vn_counter_add(vn_counter *c, uint64_t n);
vn_gauge *vn_gauge_new(vn_hub *h, const char *name, const char *help);
void vn_gauge_set(vn_gauge *g, double value);
void vn_gauge_add(vn_gauge *g, double change);

/*
 * Processes. vn_process_exec() starts a program; argv[0] without a slash is looked up in our PATH. What it has of us is
 * what `how` says (NULL: all zero) and nothing else: no other descriptor, no signal blocked or ignored. It dies
 * with us, also when we are killed, and no later than the thread that started it.
 *
 * The handle comes back when the program runs. NULL with errno means that nothing was started: EMFILE, ENFILE, EAGAIN,
 * ENOMEM, E2BIG, EBADF, what chdir(2) had, and so on. Only a program that is not found, or is none, is told as
 * shells do: it ends with code 127, or 126.
 *
 * vn_process_stdin() and the others are what is VN_PIPED: NULL where it is not, or was closed. They are closed with
 *                    the process, or before, by vn_close().
 * vn_process_done()  a state that has a vn_exit once it has ended, for as many as want to wait (a select, say); the
 *                    process's: vn_dup() what is to outlive it. -ECHILD if somebody else took its end away.
 * vn_process_wait()  waits for that. `exit` may be NULL.
 * vn_process_signal() sends a signal; to its whole group if it has one of its own. -ESRCH once it has ended.
 * vn_process_terminate() is SIGTERM, and SIGCONT so that it takes notice.
 * vn_process_stop()  terminates it and waits; if it has not ended after `grace`, or this wait ends otherwise, it is
 *                    killed. 0 when it has ended; -ETIMEDOUT, -ECANCELED: it ends soon.
 * vn_process_close() by vn_close() as well: kills it if it has not ended. No zombie stays in any case.
 */
enum { VN_PIPED = 0, VN_PASSED = -1, VN_NOTHING = -2, VN_MERGED = -3 };

typedef struct vn_process vn_process;

typedef struct {
	const char *const *
		env; /* "NAME=value", the last one NULL: added to ours, or in place of those there */
	const char *directory; /* where it starts; NULL: where we are */
	int in, out,
		err; /* VN_PIPED; VN_PASSED: ours; VN_NOTHING: /dev/null; err VN_MERGED: where out goes; */
		     /* or a descriptor above 0, which stays the caller's */
	const int *fds; /* are 3, 4, ... there; stay the caller's */
	size_t n_fds;
	bool env_alone; /* nothing of our environment */
	bool own_group; /* a process group of its own */
} vn_exec;

typedef struct {
	int code;   /* -1 if a signal ended it */
	int signal; /* 0 if none did */
	bool dumped;
} vn_exit;

vn_process *vn_process_exec(vn_hub *h, const char *const argv[], const vn_exec *how);
vn_stream *vn_process_stdin(vn_process *p);
vn_stream *vn_process_stdout(vn_process *p);
vn_stream *vn_process_stderr(vn_process *p);
pid_t vn_process_pid(vn_process *p);
vn_rx *vn_process_done(vn_process *p);
int vn_process_wait(vn_process *p, vn_exit *exit);
int vn_process_signal(vn_process *p, int signal);
int vn_process_terminate(vn_process *p);
int vn_process_stop(vn_process *p, vn_time grace);
int vn_process_close(vn_process *p);

/*
 * A function in a fresh process of the same program, which shares nothing with us but two ways for messages. VN_ENTRY()
 * outside of any function makes an entry point of f(hub, parent, arg), and nothing else is needed: main() stays as it is,
 * and is not run in such a process. (In C++, what is constructed above VN_ENTRY() in the same file is there; what other
 * files construct may not be.) The entry point must be in the program itself, not in a library.
 *
 *     static int resize(vn_hub *h, vn_pair parent, void *arg) ...
 *     VN_ENTRY(resizer, resize)
 *     ...
 *     vn_process *p = vn_process_spawn(h, struct image, resizer, &settings);
 *     vn_send(vn_process_ends(p).tx, &image);
 *
 * vn_process_spawn() starts it; arg points to a copy of *arg there, of up to 64 KiB. Both sides send T, of up to 64 KiB:
 * two queues of 128 to 256 items, over memory that both have mapped and only one can write. The ends are the process's,
 * like its streams: NULL once they are closed, and closed with it. What f returns, 0 to 255, is its exit code; its ends
 * are closed for it. If it dies, or returns a negative value (code 1), what it has sent can still be received, then comes
 * -EOWNERDEAD. It has our 0, 1 and 2. NULL with errno as for vn_process_exec(); EINVAL: sizes, no
 * argument, or an entry point that is none. All else is as above: it dies with us, and is waited for, signalled and
 * closed like any process.
 */
typedef struct {
	const char *name;
	vn_pair_fn *f;
} vn_entry;

#ifdef __cplusplus
#define VN_ENTRY(entry, function)                                                                  \
	static const vn_entry entry = {#entry "@" __FILE__, (function)};                           \
	static const int entry##_run __attribute__((unused)) = (vn_entry_run(&entry), 0);
#else
#define VN_ENTRY(entry, function)                                                                  \
	static const vn_entry entry = {#entry "@" __FILE__, (function)};                           \
	static void __attribute__((constructor)) entry##_run(void)                                 \
	{                                                                                          \
		vn_entry_run(&entry);                                                              \
	}
#endif
#define vn_process_spawn(h, T, entry, arg)                                                         \
	vn_process_spawn_entry(VN_HERE(h), sizeof(T), &(entry), (arg), sizeof *(arg))

vn_process *vn_process_spawn_entry(
	vn_hub *h, size_t item_size, const vn_entry *e, const void *arg, size_t size);
vn_pair vn_process_ends(vn_process *p);
void vn_entry_run(
	const vn_entry *e); /* VN_ENTRY()'s: if this process is to be it, does not return */

/*
 * Pools of threads, for calls that block. vn_pool() has n threads, which are started as they are needed, and accepts 256
 * calls more than it can run; who comes then waits.
 *
 *     struct lookup l = {.name = "localhost"};
 *     rc = vn_pool_call(pool, look_up, &l);
 *
 * vn_pool_call() runs f(arg) in one of the threads, on a copy of *arg, which is written back when it returns. f must
 * not touch anything that was made from a hub. Returns what f returned; -EPIPE when the pool is closed before the call
 * is accepted; -ETIMEDOUT, -ECANCELED, -EDEADLK when the wait ends first: a call that was accepted is finished all the
 * same, and its result dropped; -EINVAL without an argument; -ENOMEM, -EAGAIN: no thread could be started.
 * vn_pool_call_or_drop() has, besides, what is to be done with an argument that is not written back: drop(arg) is given it, or the copy, whether f has
 * run or not. It runs in the hub's thread, may close any end, and must not wait.
 *
 * VN_WRAP() hands a set of functions to pools at once. Each takes a pointer to one argument of its own type, and is
 * called by its name with _in() from then on:
 *
 *     #define NAMES(X) X(look_up, struct lookup) X(look_back, struct reverse)
 *     VN_WRAP(NAMES)
 *     ...
 *     rc = look_up_in(pool, &l);
 *
 * vn_pool_close(), or vn_close(): who waits to be accepted gets -EPIPE, what was accepted is finished, and who waits
 * for it gets its result. It returns at once. vn_hub_free() waits for calls that are in flight.
 */
typedef struct vn_pool vn_pool;

#define VN_WRAP(SET) SET(VN_WRAP_ONE)
#define VN_WRAP_ONE(f, T)                                                                          \
	static int f##_in_thread(void *arg)                                                        \
	{                                                                                          \
		return f((T *)arg);                                                                \
	}                                                                                          \
	static inline int f##_in(vn_pool *p, T *arg)                                               \
	{                                                                                          \
		return vn_pool_call(p, f##_in_thread, arg);                                        \
	}

#define vn_pool(h, n)           vn_pool_new(VN_HERE(h), (n), 256)
#define vn_pool_call(p, f, arg) vn_pool_call_item((p), (f), (arg), sizeof *(arg), NULL)
#define vn_pool_call_or_drop(p, f, arg, drop)                                                      \
	vn_pool_call_item((p), (f), (arg), sizeof *(arg), (drop))

vn_pool *vn_pool_new(
	vn_hub *h, unsigned n_threads, unsigned n_waiting); /* EINVAL, ENOMEM, EMFILE */
int vn_pool_call_item(
	vn_pool *p, int (*f)(void *arg), void *arg, size_t size, void (*drop)(void *arg));
int vn_pool_close(vn_pool *p);

/*
 * Threads. vn_thread_spawn() runs f(hub, parent, arg) in a thread that has a hub of its own. It talks to its parent by a
 * pair of ends of T, and the parent to it by the pair that is returned: two queues, each of 64 items or more, up to 2048.
 * They are like all other ends, each side's in its own thread; vn_on_drop() is not for them. What an item points to is
 * the program's to keep, and belongs to who has received it. -EINVAL for T above 64 KiB.
 *
 *     vn_pair worker = vn_thread_spawn(h, struct job *, work, NULL);
 *     vn_send(worker.tx, &job);
 *     vn_recv(worker.rx, &done);
 *
 * When f returns, its ends are closed for it: the parent gets what was sent, then -EPIPE, or -EOWNERDEAD if f returned a
 * negative value; what else runs in that hub is stopped. Closing both ends here does not end the thread, which gets
 * -EPIPE. vn_hub_free() stops the hubs of its threads, and waits for them. The thread has its signals blocked, and
 * children that it starts die with it.
 *
 * vn_thread_call() runs f(&copy of *arg) in a thread, for a function that blocks, and gives a receiving end of what it
 * has left there, or of the error that it returned (-EBUSY for -EAGAIN). 256 run at a time; others wait. Closing the end
 * drops the result. NULL with errno EINVAL without an argument. Like vn_pool_call() otherwise: the call is finished in any
 * case.
 *
 *     vn_rx *answer = vn_thread_call(h, look_up, &l);
 *     rc = vn_recv(answer, &l);
 */
#define vn_thread_spawn(h, T, f, arg) vn_thread_spawn_new(VN_HERE(h), sizeof(T), (f), (arg))
#define vn_thread_call(h, f, arg)     vn_thread_call_item(VN_HERE(h), (f), (arg), sizeof *(arg))

vn_pair vn_thread_spawn_new(vn_hub *h, size_t item_size, vn_pair_fn *f, void *arg);
vn_rx *vn_thread_call_item(vn_hub *h, int (*f)(void *arg), const void *arg, size_t size);
#ifdef VN_DEBUG
#define vn_os_stream(h, fd, flags)       (vn_os_stream)(VN_HERE(h), (fd), (flags))
#define vn_os_open(h, path, flags, mode) (vn_os_open)(VN_HERE(h), (path), (flags), (mode))
#define vn_process_exec(h, argv, how)    (vn_process_exec)(VN_HERE(h), (argv), (how))
#endif

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
vn_select_random_list(vn_hub *h, std::initializer_list<vn_case> cases)
{
	return vn_select_random_cases(h, cases.begin(), cases.size());
}
static inline vn_rx *
vn_signals_list(vn_hub *h, std::initializer_list<int> signals)
{
	return vn_signals_new(h, signals.begin(), signals.size());
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
static inline int
vn_close(vn_udp *x)
{
	return vn_udp_close(x);
}
static inline int
vn_close(vn_pool *x)
{
	return vn_pool_close(x);
}
static inline int
vn_close(vn_process *x)
{
	return vn_process_close(x);
}
static inline int
vn_close(vn_stream *x)
{
	return vn_os_close(x);
}
static inline vn_tx *
vn_dup(vn_tx *x)
{
	return vn_tx_dup(x);
}
static inline vn_rx *
vn_dup(vn_rx *x)
{
	return vn_rx_dup(x);
}
static inline int
vn_adopt(vn_tx *x)
{
	return vn_tx_adopt(x);
}
static inline int
vn_adopt(vn_rx *x)
{
	return vn_rx_adopt(x);
}
static inline int
vn_on_close(vn_tx *x, void (*f)(void *arg, int how), void *arg)
{
	return vn_tx_on_close(x, f, arg);
}
static inline int
vn_on_close(vn_rx *x, void (*f)(void *arg, int how), void *arg)
{
	return vn_rx_on_close(x, f, arg);
}
static inline int
vn_on_drop(vn_tx *x, void (*f)(void *arg, void *item), void *arg)
{
	return vn_tx_on_drop(x, f, arg);
}
static inline int
vn_on_drop(vn_rx *x, void (*f)(void *arg, void *item), void *arg)
{
	return vn_rx_on_drop(x, f, arg);
}
#define vn_select(h, ...)        vn_select_list((h), {__VA_ARGS__})
#define vn_select_random(h, ...) vn_select_random_list((h), {__VA_ARGS__})
#define vn_signals(h, ...)       vn_signals_list(VN_HERE(h), {__VA_ARGS__})
#else
/* Any end, connection, datagram endpoint, stream, process or pool; wakes whoever waits at the other end; NULL is fine. */
#define vn_close(x)                                                                                \
	_Generic((x), vn_tx *                                                                      \
		 : vn_tx_close, vn_rx *                                                            \
		 : vn_rx_close, vn_conn *                                                          \
		 : vn_conn_close, vn_udp *                                                         \
		 : vn_udp_close, vn_stream *                                                       \
		 : vn_os_close, vn_process *                                                       \
		 : vn_process_close, vn_pool *                                                     \
		 : vn_pool_close)(x)
#define vn_dup(x)   _Generic((x), vn_tx * : vn_tx_dup, vn_rx * : vn_rx_dup)(x)
#define vn_adopt(x) _Generic((x), vn_tx * : vn_tx_adopt, vn_rx * : vn_rx_adopt)(x)
#define vn_on_close(x, f, arg)                                                                     \
	_Generic((x), vn_tx * : vn_tx_on_close, vn_rx * : vn_rx_on_close)((x), (f), (arg))
#define vn_on_drop(x, f, arg)                                                                      \
	_Generic((x), vn_tx * : vn_tx_on_drop, vn_rx * : vn_rx_on_drop)((x), (f), (arg))
#define VN_CASES(...)                                                                              \
	(const vn_case[]){__VA_ARGS__}, sizeof((const vn_case[]){__VA_ARGS__}) / sizeof(vn_case)
#define vn_select(h, ...)        vn_select_cases((h), VN_CASES(__VA_ARGS__))
#define vn_select_random(h, ...) vn_select_random_cases((h), VN_CASES(__VA_ARGS__))
#define vn_signals(h, ...)                                                                         \
	vn_signals_new(VN_HERE(h), (const int[]){__VA_ARGS__},                                     \
		sizeof((const int[]){__VA_ARGS__}) / sizeof(int))
#endif
#endif
