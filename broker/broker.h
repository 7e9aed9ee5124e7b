/* SPDX-License-Identifier: MIT */
/*
 * Broker - the one process that owns the sockets
 *
 * What the files of this folder share: the configuration, the broker's state, and the workers. The way of a
 * request: conn.c receives into a block of the lane of the worker that dispatch.c chose; debt.c makes the
 * descriptor; intake.c takes what the worker published; conn.c sends it. turn.c is the order of all this.
 * What lives longer than a worker is in the ledger (ledger.h); what is here is rebuilt from it.
 */
#ifndef VN_BROKER_BROKER_H
#define VN_BROKER_BROKER_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/counters.h"
#include "broker/ledger.h"
#include "broker/log.h"
#include "broker/slow.h"
#include "client/hub/hub.h"
#include "client/hub/log.h"
#include "client/net/gate.h"
#include "client/net/url.h"
#include "shm/link.h"

#define VN_MAX_WORKERS   256
#define VN_MAX_SLOTS     512 /* those that come, beside those that go */
#define VN_MAX_ENDPOINTS 1024
#define VN_MAX_PRIVATE   768 /* of them: those that are connected for one worker */
#define VN_MAX_LISTENS   64  /* -l on the command line */
#define VN_MAX_OPTIONS   48
#define VN_OWN_SLOTS     8 /* of a lane, for the worker's own debts */
#define VN_NO_WORKER     UINT16_MAX
#define VN_NO_LISTENER   UINT16_MAX
#define VN_DIALLED       VN_MAX_ENDPOINTS /* the endpoint of what workers dialled */

/* Exit codes of the program (sysexits.h where it has them). */
enum {
	VN_EXIT_FAILURE = 1,
	VN_EXIT_USAGE = 2,
	VN_EXIT_NO_BROKER = 69,
	VN_EXIT_SYSTEM = 71,
	VN_EXIT_RUNNING = 75,
	VN_EXIT_PERMISSION = 77,
	VN_EXIT_CONFIG = 78,
	VN_EXIT_NOT_EXECUTABLE = 126,
	VN_EXIT_NOT_FOUND = 127
};

typedef struct vn_listen_option {
	char *name; /* NULL if the URL stands alone */
	char *url;
} vn_listen_option;

/* Where the value of an option came from. */
typedef enum vn_source {
	VN_SOURCE_DEFAULT,
	VN_SOURCE_FLAG,
	VN_SOURCE_VARIABLE,
	VN_SOURCE_FILE
} vn_source;

typedef struct vn_config {
	char **program; /* argv of a worker, NULL-terminated */
	uint32_t n_workers;
	vn_listen_option listens[VN_MAX_LISTENS];
	uint32_t n_listens;
	char *control_path;
	char *admin; /* URL, or NULL */
	char *name;
	vn_time start_timeout, release_after, linger_timeout, drain_timeout, queue_timeout;
	vn_time reload_trial;
	uint32_t window, depth, lane_memory;
	vn_time stall_timeout, request_timeout; /* 0: off */
	uint32_t retries, quarantine_bytes;
	uint32_t max_conns;   /* 0: from RLIMIT_NOFILE */
	vn_time idle_timeout; /* of endpoints that do not say; 0: none */
	int log_level;
	bool log_json;
	char *config_path;           /* of the file; NULL */
	struct vn_config_file *file; /* config.h; NULL */
	struct {
		vn_source source;
		uint32_t line;                /* of the file */
	} from[VN_MAX_OPTIONS], program_from; /* by option, in the order of their table */
} vn_config;

typedef enum vn_worker_state {
	VN_WORKER_NONE,     /* no process; restart_timer may be armed */
	VN_WORKER_STARTING, /* has a process, not READY */
	VN_WORKER_STANDBY,  /* READY, and kept in hand by a change (change.c) */
	VN_WORKER_READY,
	VN_WORKER_DRAINING, /* gives away what it has; asked to finish when that is certain */
} vn_worker_state;

typedef struct vn_worker vn_worker;

/* What one worker asked to listen on. */
typedef struct vn_worker_listener {
	bool used, resumable;
	struct vn_binding *binding; /* of datagrams; else NULL */
	bool answer_owed;
	uint32_t block;    /* of the answer; VN_NO_BLOCK */
	int error;         /* what LISTENING will say: 0 or a positive errno */
	uint16_t endpoint; /* if error is 0 */
} vn_worker_listener;

/* What one worker asked to be connected to: a request that is not answered yet. */
typedef struct vn_worker_dial {
	struct vn_dialling *under; /* way, or connected: dial.c's */
	uint16_t error;            /* when it is done: 0 or an errno */
	bool used, is_done;
} vn_worker_dial;

/* One line buffer for a worker's standard output or error. */
typedef struct vn_output {
	vn_watch watch;
	vn_broker *broker;
	uint16_t number;
	uint32_t incarnation;
	int to; /* 1 or 2 */
	uint32_t len;
	char line[1024];
} vn_output;

/* A worker's bell, and how often it rang without news (ring.c). */
typedef struct vn_ring {
	vn_watch watch;
	vn_timer timer;       /* while nobody listens */
	uint32_t next, taken; /* the cursors when it rang last */
	uint32_t n_idle;      /* rings without news, in a row */
	uint32_t n_pauses;    /* in a row */
	vn_time paused_at;
} vn_ring;

/* Something that it counts itself: which hint of its segment is a place in here (own.c). */
typedef struct vn_worker_own {
	bool is_used, is_gauge;
	vn_own_counters *row; /* NULL: it could not be had */
	uint64_t seen;
} vn_worker_own;

struct vn_worker {
	vn_broker *broker;
	uint16_t slot; /* where its blocks stand in the tables of the ledger; from 1 */
	uint16_t
		number; /* what people and VANILLA_WORKER call it; two at a time while one takes over */
	uint32_t incarnation; /* of this number, and never used before in this slot */
	vn_worker_state state;
	uint32_t change;            /* with which it comes or goes; 0 */
	bool coming;                /* on trial in that change */
	bool going;                 /* for good: has no successor */
	bool ordered;               /* we, or an administrator, end it: nobody is to blame */
	bool was_told, was_stopped; /* that it leaves; that it has to */
	vn_time leave_until;
	uint32_t taken_seen; /* balance.c: of its lane, at the last look */
	bool idled;
	pid_t pid;
	int pidfd, handshake;
	int *exec_error; /* shared with the child until it has become the program: why it could not */
	vn_watch death, hello;
	vn_ring ring;
	vn_output *outputs[2];
	bool linked; /* the link is up: lanes may be used */
	bool hot;    /* in the list of those whose lane is looked at */
	bool served; /* has acknowledged something since READY */
	bool broken; /* violated the protocol: killed, not read any more */
	bool was_ready;
	bool was_killed; /* by us; last_death says why */
	vn_worker *hot_next;
	vn_link link;
	vn_worker_listener listeners[VN_MAX_LISTENER + 1];
	uint16_t listener_of[VN_MAX_ENDPOINTS + 1]; /* by endpoint; VN_NO_LISTENER */
	vn_worker_dial dials[VN_MAX_REQUEST + 1];
	uint32_t n_dials,
		n_dials_done; /* requests; of those, connected or not, and to be answered */
	/* dispatch */
	uint32_t n_busy;   /* connections with un-acknowledged input */
	uint32_t n_asking; /* of these, those whose read waits for more: it is the client's turn */
	uint32_t n_attached;
	uint32_t attached;      /* first of its connections in the ledger */
	vn_ledger_list starved; /* of these, those that wait for a block to come home */
	/* debts */
	uint32_t debtor_first, debtor_last; /* connections, by index */
	bool owes_drain, owes_stop, owes_ping;
	uint64_t owes_signals, said_signals; /* to be told; told last, in the slot ... */
	uint32_t signals_next;               /* ... before this cursor */
	bool owes_datagrams;    /* datagram.h: how far they have departed, or an answer */
	bool datagrams_stalled; /* some wait for room here */
	uint32_t n_answers_owed;
	uint64_t subscribed; /* to these signals; forward.c */
	/* liveness.c */
	uint32_t head_seen;          /* its head when we last looked ... */
	vn_time moved_at, pinged_at; /* ... and since when it has not moved */
	uint32_t ping_next;          /* the cursor after the last PING */
	uint32_t suspect;            /* index + 1 of the one that bars others, 0: none does */
	vn_time suspect_since;
	/* life */
	vn_time started, ready_at;
	vn_timer start_timer, restart_timer, kill_timer;
	uint32_t n_failures;       /* in a row, before it served */
	vn_time failures[5];       /* the last ones, for the restart intensity */
	char last_death[96];       /* "" or how the last incarnation ended, for people */
	vn_worker_counters *count; /* of all workers of its number */
	vn_worker_own own[VN_METRICS];
};

typedef struct vn_broker_endpoint {
	bool used;
	bool fixed;     /* asked for by -l: stays when no worker wants it */
	bool disabled;  /* by command: accepts nobody */
	bool inherited; /* of the service manager: its file stays */
	bool resumable;
	bool is_private; /* datagrams of one peer, for the one worker that asked to be connected */
	char *name;      /* of -l NAME=URL, else NULL */
	char *asked;     /* the URL as it was asked for */
	char url[VN_URL_MAX]; /* bound to */
	int fd;
	vn_endpoint endpoint;
	vn_watch watch;
	uint32_t max;          /* connections; UINT32_MAX */
	uint8_t asks;          /* VN_ASKS_...: what comes before a connection is one */
	vn_gate *gate;         /* NULL: neither per_address nor rate */
	vn_timer pause;        /* nobody can be accepted: no descriptor, no record, or max */
	bool is_short;         /* so it was, lately ... */
	vn_time short_at;      /* ... which was then */
	vn_time blocked_since; /* 0: somebody was accepted last time */
	vn_broker *broker;
	uint16_t index;
	uint32_t n_conns;
	vn_listener_counters *count;    /* of all endpoints of its name */
	struct vn_datagrams *datagrams; /* datagram.h; NULL where there are connections */
} vn_broker_endpoint;

/* Is it one that workers share, and people know of? */
static inline bool
vn_endpoint_is_public(const vn_broker_endpoint *e)
{
	return e && e->used && !e->is_private;
}

enum {
	VN_ASKS_WHO = 1,   /* gate.c looks at each client */
	VN_ASKS_PROXY = 2, /* a PROXY header comes first */
	VN_ASKS_TIME = 4,  /* clients have to be in time */
};

typedef enum vn_phase {
	VN_PHASE_STARTING,
	VN_PHASE_SERVING,
	VN_PHASE_DRAINING,
	VN_PHASE_STOPPING
} vn_phase;

struct vn_broker {
	vn_hub *hub;
	const vn_config *config;
	vn_ledger *ledger;
	vn_phase phase;
	vn_worker *workers[VN_MAX_SLOTS + 1];      /* by slot, from 1 */
	uint32_t n_slots;                          /* slots ever used */
	uint32_t incarnations[VN_MAX_WORKERS + 1]; /* the last one, by number */
	uint32_t slot_incarnations[VN_MAX_SLOTS + 1];
	vn_broker_endpoint *endpoints[VN_MAX_ENDPOINTS + 1];
	uint32_t n_endpoints, n_private;
	int conn_class; /* of the poller */
	vn_hook hook;
	vn_worker *hot;
	struct vn_datagram_batch *datagram_batch;
	struct vn_binding *datagram_outputs; /* with something to send this turn */
	uint32_t output_first;        /* connections with something to send this turn, by index */
	uint32_t unreported;          /* connections with output sent and not reported, by index */
	vn_ledger_list waiting;       /* input that no worker below depth could take */
	vn_ledger_list closing;       /* closed by us, until the peer is done or linger_timeout */
	vn_timer sweep, report_timer; /* release-after, queue and linger timeouts; SENT */
	vn_timer stop_timer;
	vn_time swept_at;                 /* when we last looked after workers */
	struct vn_quarantine *quarantine; /* quarantine.h */
	vn_watch signals;
	uint64_t forwarded;       /* beside our own, these come there; forward.c */
	uint64_t signals_kept;    /* came while nobody was there to whom they go */
	uint32_t n_open;          /* sockets of connections */
	uint32_t n_waiting;       /* of these, in line for a worker or for a block */
	uint32_t n_ready, n_idle; /* workers READY; of those, with nothing un-acknowledged */
	bool ever_ready;
	bool may_prune;        /* endpoints may be there that nobody wants any more */
	int last_listen_error; /* a negative errno: why a program that ends before READY may have ended */
	bool is_over;
	int exit_code;
	vn_waitq done;   /* main waits here */
	vn_time stop_at; /* the drain ends */
	vn_time started;
	struct vn_control *control, *admin; /* admin: of --admin, or NULL */
	struct vn_change *change;           /* change.h */
	struct vn_recorder *recorder;       /* recorder.h */
	struct vn_events *events;           /* event.h */
	struct vn_history *history;
	struct vn_recent *recent; /* history.h */
	struct vn_notify *notify; /* notify.h */
	vn_log_state log;
	uint64_t reset_times[VN_N_RESET_REASONS]
			    [2]; /* of the hub's clock: first and last; 0: never */
	uint64_t refusal_times[VN_N_REFUSALS][2];
	struct vn_watcher *watcher; /* patience.h */
	int reserve;                /* a descriptor, for when there is none */
	vn_timer balance_timer;
	vn_timer leave_timer; /* while somebody gives away what it has */
	uint64_t polled_turn; /* the turn of polled_at */
	uint32_t polled_at;   /* vn_ticks() of the events that are told */
	uint32_t taking_at;   /* vn_ticks() of the batch that is taken off a lane */
	vn_slow slow;
	vn_counters *counters;
	vn_broker_counters *count; /* of these, the broker's own */
	uint64_t n_lines_untold
		[2]; /* dropped since it was said last, to standard output and error */
};

/* Something happened: first and last. */
static inline void
vn_times_note(uint64_t times[static 2], vn_time now)
{
	times[0] = times[0] ? times[0] : (uint64_t)now;
	times[1] = (uint64_t)now;
}

/* Where the blocks of a worker's lanes stand in the tables of the ledger: slot and block to reference. */
static inline uint32_t
vn_ref(const vn_broker *b, uint16_t slot, uint32_t block)
{
	return vn_ledger_ref(b->ledger, slot, block);
}

/* broker.c */
int vn_broker_run(const vn_config *config);
void vn_broker_end(vn_broker *b, int exit_code);

/* turn.c */
void vn_broker_turn_init(vn_broker *b);
void vn_worker_heat(vn_worker *w);

/* stop.c */
void vn_broker_stop(vn_broker *b, bool now); /* drain; now: stop at once */
void vn_broker_stop_check(vn_broker *b);     /* is everything gone? */
void vn_broker_stop_record(
	vn_broker *b, vn_record *r); /* a connection that may have come to rest */
int vn_broker_signals_init(vn_broker *b);
void vn_broker_signals_deinit(vn_broker *b);

/* report.c and control.c: the control socket. main.c may call vn_control_open() before workers start. */
int vn_control_open(
	vn_broker *b); /* 0, or the exit code of the program after a sentence on stderr */
void vn_control_close(vn_broker *b); /* removes the socket */

/* names for people and JSON */
const char *vn_worker_state_name(const vn_worker *w); /* starting ready draining gone */
const char *vn_phase_name(vn_phase phase);
const char *vn_conn_state_name(const vn_record *r); /* waiting attached rest closing ... */

#endif
