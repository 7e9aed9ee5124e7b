/* SPDX-License-Identifier: MIT */
/*
 * Net - connections over two backends
 *
 * What a handler sees of a connection is the same whether the program has sockets of its own (direct.c) or a
 * broker has them (brokered.c), because it is the same code: input arrives in blocks and is chained, output
 * is written into blocks and staged, and four positions per connection say how far everything is. A backend
 * brings input, moves output, and frees blocks when told; it decides nothing.
 *
 *     input    received >= taken >= acked >= committed      output   queued >= sent
 *
 * taken: given to the handler. acked: the blocks may be used again. committed: a handler could start here.
 * The end of file takes one input position, so it can be acknowledged and committed like a byte.
 *
 *     url.c        what an endpoint's URL means            conn.c     life of a connection, commit
 *     option.c, subnet.c   ... and what follows its "?"    bind.c     the listening socket made from it
 *     gate.c       who may come in: networks, counts, rates  proxy.c  the PROXY header
 *     patience.c   how long a client may take          packet.h   messages in a stream (seqpacket)
 *     listener.c   the receiving end that dispenses them   read.c     the read calls
 *     dial.c       connections that the program asks for   resolver.c, eyeballs.c, connect.c: for it
 *     direct*.c    backend: own sockets                    write.c    the write calls
 *     brokered*.c  backend: a link to a broker             net.c      vn_hub_new, vn_stop_on_term
 *     udp*.h, *.c  endpoints of datagrams                  datagram.c their socket
 *                                                          slab.c     memory of the records
 */
#ifndef VN_NET_NET_H
#define VN_NET_NET_H

#include <vanilla.h>

#include "client/hub/hub.h"
#include "client/message/end.h"
#include "client/net/connect.h"
#include "client/net/slab.h"
#include "client/net/url.h"
#include "shm/chain.h"
#include "shm/protocol.h"
#include "shm/segment.h"

typedef struct vn_net vn_net;
typedef struct vn_listener vn_listener;
typedef struct vn_metric vn_metric;

enum {
	VN_CONN_RESUMABLE = 1 << 0,
	VN_CONN_ENDED = 1 << 1,     /* the end of file has arrived, after `received` */
	VN_CONN_END_TAKEN = 1 << 2, /* a read call has returned it: taken == received + 1 */
	VN_CONN_RESET = 1 << 3,     /* the client or the broker reset it */
	VN_CONN_STALE = 1 << 4,     /* it lives on elsewhere, or is to be closed: not ours */
	VN_CONN_SHUT = 1 << 5,      /* no more output */
	VN_CONN_ABORTED = 1 << 6,
	VN_CONN_HELD = 1 << 7,   /* reads do not commit */
	VN_CONN_DUE = 1 << 8,    /* a commit waits until the views are released */
	VN_CONN_OPEN = 1 << 9,   /* the handler has a handle */
	VN_CONN_FINAL = 1 << 10, /* brokered: nothing more comes for it */
	VN_CONN_FULL = 1 << 11,  /* no more input fits before an acknowledgement */
	VN_CONN_MORE = 1 << 12,  /* a read call that may acknowledge without committing waits */
	/* direct */
	VN_CONN_READABLE = 1 << 13,
	VN_CONN_WRITABLE = 1 << 14,
	VN_CONN_DIRTY =
		1 << 15, /* in the list of those with something to do at the end of the turn */
	VN_CONN_LINGER = 1 << 16,   /* closed by us, waiting for the peer to finish */
	VN_CONN_GONE_OUT = 1 << 17, /* FIN is sent */
	VN_CONN_CLOSED = 1 << 18,   /* the handler is done with it */
	VN_CONN_FULL_SAID =
		1 << 19, /* the backend has said FULL once since the last acknowledgement */
	VN_CONN_SELECTED = 1 << 20, /* vn_select() has stood in its queue, and may look again */
	VN_CONN_RELEASE = 1 << 21,  /* brokered: to be given back at the next commit point */
	VN_CONN_MEMORY = 1 << 22,   /* has state for a successor */
	VN_CONN_INHERITED =
		1 << 23,            /* and has it from a predecessor: nobody has asked for it yet */
	VN_CONN_ABSOLVED = 1 << 25, /* `attempts` counts until a commit is published */
	VN_CONN_NEWS = 1 << 24,     /* the next commit says what the state is */
	VN_CONN_DIALLED = 1 << 26,  /* by vn_dial() */
	VN_CONN_PACKETS = 1 << 28,  /* a stream of messages, each behind its length: packet.c */
	VN_CONN_HEADER = 1 << 27    /* direct: its PROXY header has not come yet */
};

/* What a handler leaves to its successor: the handler's copy, and after that what was committed last. */
typedef struct vn_conn_memory {
	uint32_t len;
	unsigned char bytes[] __attribute__((aligned(16)));
} vn_conn_memory;

struct vn_conn {
	vn_net *net;
	uint32_t flags;
	uint32_t index, gen;
	uint32_t in_at; /* the block in which `taken` lies; VN_NO_BLOCK when nothing is chained */
	uint64_t received, taken, acked, committed;
	vn_chain in;
	vn_chain out;
	uint64_t queued, sent;
	vn_waitq readers, writers;
	uint64_t due; /* what a commit that waits for views will commit */
	uint32_t n_pins;
	uint32_t loaned;  /* bytes of blocks that vn_borrow() has given out */
	uint16_t n_waits; /* coroutines inside of a call that waits */
	uint8_t out_class;
	uint8_t attempts; /* earlier handlers that died with this input */
	uint32_t
		found; /* vn_ticks() when a read call first saw what is not committed; 0: none has */
	union {
		struct {                    /* brokered */
			uint32_t stage;     /* cursor of its last SEND */
			uint32_t absolved;  /* cursor after the first commit */
			bool stage_appends; /* that SEND can take more payload */
			vn_conn *older;     /* another attachment of the same connection */
		};
		struct { /* direct */
			int fd;
			uint8_t in_class;
			vn_conn *next_dirty;
			vn_time linger_until;
			vn_conn *linger_next, **linger_link;
			struct vn_door *door; /* by which it came in; NULL */
		};
	};
	vn_conn *next; /* in its listener's backlog, or among the graves */
	vn_listener *listener;
	void *linear; /* what vn_peek() had to piece together */
	vn_conn_memory *memory;
	vn_desc_peer peer;
	vn_addr *addr; /* made when it is asked for */
};

/* One try to connect, of a vn_dial(); it stays where it is until it is decided or given up. */
typedef struct vn_attempt {
	vn_net *net;
	vn_waitq *news; /* woken when it is decided */
	vn_conn *conn;  /* if rc is 0: open, the dialler's */
	int rc;         /* -EINPROGRESS until then */
	bool is_open;   /* the dialler's: begun, and not looked at since it was decided */
	union {
		vn_connect connect; /* direct */
		uint16_t id;        /* brokered */
	};
} vn_attempt;

typedef struct vn_net_ops {
	/* Answers in l->error, l->url; may wait. */
	int (*listen)(vn_net *net, vn_listener *l, const char *url);
	void (*unlisten)(vn_net *net, vn_listener *l);
	/* Can an attempt be begun? If not, net->starved hears when to ask again. */
	bool (*may_connect)(vn_net *net);
	/* Begins an attempt; decides a->rc and wakes a->news, at once or later. */
	void (*connect)(vn_attempt *a, const vn_endpoint *to);
	/* Ends one that is not decided. */
	void (*give_up)(vn_attempt *a);
	/* c->acked has moved (and committed, if `commit`). */
	void (*ack)(vn_conn *c, bool commit);
	/* c->attempts is not 0: input was committed, or somebody asks. */
	void (*absolve)(vn_conn *c);
	/* c->memory has NEWS; the commit comes next. */
	void (*state)(vn_conn *c);
	/* It was asked for and is at a commit point; c->flags has STALE. */
	void (*release)(vn_conn *c);
	/* Waits until a SEND and what belongs to it can be staged. */
	int (*ready)(vn_conn *c);
	/* Bytes were added at the end of c->out. */
	void (*send)(vn_conn *c, uint32_t block, uint32_t offset, uint32_t len);
	/* c->flags has SHUT. */
	void (*shut)(vn_conn *c);
	/* c->flags has ABORTED: reset it now; it is still to be closed. */
	void (*abort)(vn_conn *c);
	/* Closed by the handler; flags tell whether it is stale, reset or aborted. Ends with vn_conn_free(). */
	void (*close)(vn_conn *c);
	/* A coroutine is about to wait for window or blocks; for input, having some un-acknowledged. */
	void (*need)(vn_conn *c);
	void (*need_input)(vn_conn *c);
	/* Datagrams, see udp.h. Answers in the listener's error and url; may wait. */
	int (*bind)(vn_udp *u, const char *url);
	/* The same, connected to an address; says nothing. */
	int (*connect_udp)(vn_udp *u, const vn_endpoint *to);
	/* Closed by the program: what was sent leaves. Ends with vn_udp_free(). */
	void (*unbind)(vn_udp *u);
	/* u->acked has moved. */
	void (*acked)(vn_udp *u);
	/* Frames were added to u->out; a coroutine is about to wait for room there. */
	void (*sends)(vn_udp *u);
	void (*needs)(vn_udp *u);
	/* May wait. */
	int (*join)(vn_udp *u, const vn_desc_peer *group, bool leave);
	/* What is known beside what the program has received and sent. */
	void (*count)(const vn_udp *u, vn_udp_counts *c);
	/* The value of a metric is to be the i-th; NULL: nobody looks at it. */
	int (*metric)(vn_net *net, vn_metric *m, uint32_t i, const char *help);
	/* No new connections from here on. */
	void (*drain)(vn_net *net);
	/* vn_stop_on_term() begins and ends. */
	int (*term)(vn_net *net, bool begins);
	/* Flush, close, free what is the backend's. */
	void (*deinit)(vn_net *net);
} vn_net_ops;

struct vn_net {
	vn_hub *hub;
	const vn_net_ops *ops;
	void *backend;
	const vn_segment *in_area, *out_area;
	vn_blocks *out_blocks;
	vn_chain_link *in_table, *out_table; /* by block */
	uint32_t window;
	vn_slab conns;
	uint32_t n_open; /* connections whose handle the program has */
	bool draining;
	bool nobody_else; /* draining, and no other process will go on with a connection */
	vn_waitq term;    /* whoever is in vn_stop_on_term() */
	int term_news;    /* 0; 1 asked to drain; 2 asked to stop */
	vn_waitq starved; /* writers for whom no block was left */
	vn_conn *graves;  /* over, but somebody who waited for one has not run yet */
	vn_listener *listeners;
	vn_metric *metrics;
	uint32_t n_metrics;
	struct vn_udp_direct *udp; /* direct: NULL until something was bound */
};

struct vn_listener {
	vn_rx rx;
	vn_net *net;
	vn_listener *next, **link;
	unsigned int flags;
	vn_waitq takers;
	vn_conn *backlog_first, *backlog_last;
	bool ended;                     /* nothing more will come */
	bool is_dialled;                /* datagrams of one peer: they end with the program alone */
	void (*on_end)(vn_listener *l); /* of an endpoint of datagrams; else NULL */
	int error;
	uint32_t id;
	int fd; /* direct */
	vn_endpoint endpoint;
	vn_watch watch;
	/* direct */
	struct vn_door *door;                          /* direct.h; NULL if it has no limits */
	vn_timer pause;                                /* nobody is accepted until then */
	vn_time blocked_since, blocked_told, patience; /* 0: somebody was accepted last time */
	/* brokered */
	vn_waitq answer; /* vn_listen() waits for it */
	bool answered;
	char url[VN_URL_MAX];
};

/*
 * May a connection that has blocks hold so many bytes of them? Half of what is free, beside an eighth of all that is
 * kept for connections that have none: a few slow peers take a window each, many shrink each other, and a newcomer
 * still finds a block.
 */
static inline bool
vn_net_shares(const vn_net *net, uint32_t bytes)
{
	uint64_t available = vn_blocks_available(net->out_blocks),
		 kept = net->out_area->geometry.area_bytes / 8;

	return available > kept && bytes <= (available - kept) / 2;
}

/* When something happened, for whom some microseconds do not matter. */
static inline uint32_t
vn_net_ticks(const vn_net *net)
{
	vn_hub *h = net->hub;

	return vn_ticks(vn_stamp_about(&h->stamp, h->sys, h->now));
}

/* The backends. Each fills net->ops and the rest. */
int vn_direct_init(vn_net *net);
int vn_brokered_init(vn_net *net, int socket);

/* conn.c */
vn_conn *vn_conn_new(vn_net *net, vn_listener *l, const vn_desc_peer *peer);
void vn_attempt_done(vn_attempt *a, vn_conn *c, int rc);
void vn_conn_free(vn_conn *c);
void vn_conn_commit_taken(vn_conn *c);
void vn_conn_ack(vn_conn *c, uint64_t to, bool commit);
bool vn_conn_at_commit_point(const vn_conn *c);
bool vn_conn_may_ack(const vn_conn *c);
void vn_conn_give_back(vn_conn *c);
int vn_conn_inherit(vn_conn *c, const void *state, uint32_t len);
int vn_conn_wait(vn_conn *c, vn_waitq *own, vn_waitq *shared);
int vn_conn_check(const vn_conn *c);
void vn_conn_on_input(vn_conn *c, uint32_t block, uint32_t offset, uint32_t len);
void vn_conn_on_end(vn_conn *c);
void vn_conn_on_sent(vn_conn *c, uint64_t sent);
void vn_conn_on_over(vn_conn *c, uint32_t flag);
void vn_conn_on_full(vn_conn *c);
void vn_conn_on_release(vn_conn *c);
void vn_conn_wake(vn_waitq *q);

/* listener.c */
void vn_listener_link(vn_listener *l);
void vn_listener_unlink(vn_listener *l);
void vn_listener_give(vn_listener *l, vn_conn *c);
void vn_listener_end(vn_listener *l);

/* net.c */
void vn_net_bury(vn_net *net);
void vn_net_on_room(vn_net *net);
void vn_net_on_term(vn_net *net, int news);
void vn_net_on_handle_closed(vn_net *net);
vn_time vn_net_duration(const char *text, vn_time fallback);

#endif
