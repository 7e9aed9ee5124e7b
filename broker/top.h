/* SPDX-License-Identifier: MIT */
/*
 * Top - `vanilla top`: a live view of a running service
 *
 * What is shown comes over the control socket once a second, as JSON, and from /proc for what the kernel knows of the
 * worker processes. From an answer and the one before it top_model.c makes rows with rates, top_screen.c draws them,
 * top_link.c talks to the broker without ever waiting for it, and top.c is between these and the keys.
 */
#ifndef VN_BROKER_TOP_H
#define VN_BROKER_TOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VN_TOP_WORKERS   512
#define VN_TOP_LISTENERS 256
#define VN_TOP_CONNS     512
#define VN_TOP_EVENTS    8
#define VN_TOP_NAME      64
#define VN_TOP_TEXT      200

/* A number that may be unknown is negative then. */
typedef struct vn_top_worker {
	char id[24], state[16], last_death[VN_TOP_TEXT];
	int64_t pid;
	double uptime, requests, bytes, restarts, busy, conns;
	double rate;     /* requests a second */
	double p50, p99; /* seconds in the handler */
	double cpu_time; /* seconds it has used */
	double cpu;      /* of one processor: 0.5 is half of it */
	double memory;   /* resident bytes */
} vn_top_worker;

typedef struct vn_top_listener {
	char name[VN_TOP_NAME], url[VN_TOP_NAME], state[16];
	double conns, accepted, refused, workers;
	double rate; /* connections accepted a second */
} vn_top_listener;

typedef struct vn_top_conn {
	uint64_t id;
	char listener[VN_TOP_NAME], worker[24], state[16], peer[VN_TOP_NAME];
	double unacked, unsent, age, bytes;
	double rate; /* bytes a second, both ways */
	double slow; /* seconds that its oldest input is unanswered */
} vn_top_conn;

typedef struct vn_top_model {
	bool known; /* there was an answer */
	double at;  /* when, in seconds of CLOCK_MONOTONIC */
	char name[VN_TOP_NAME], version[24], phase[24];
	int64_t pid;
	double uptime, conns, accepted, requests, bytes_in, bytes_out, deaths, resets;
	double rate, rate_in, rate_out; /* a second */
	double p50, p99;                /* of the slowest listener */
	uint32_t n_workers, n_listeners, n_conns, n_events;
	vn_top_worker workers[VN_TOP_WORKERS];
	vn_top_listener listeners[VN_TOP_LISTENERS];
	vn_top_conn conns_of[VN_TOP_CONNS];
	char events[VN_TOP_EVENTS][VN_TOP_TEXT];
} vn_top_model;

/* Which column the workers, and the connections, are sorted by. */
typedef enum vn_top_order {
	VN_TOP_BY_ID,
	VN_TOP_BY_BUSY,
	VN_TOP_BY_RATE,
	VN_TOP_BY_P99,
	VN_TOP_BY_CPU,
	VN_TOP_BY_MEMORY,
	VN_TOP_BY_RESTARTS,
	VN_TOP_N_ORDERS
} vn_top_order;

typedef struct vn_top_look {
	vn_top_order order;
	bool slowest; /* of connections; else the busiest */
	bool help;
	char selected[24];      /* a worker */
	char line[VN_TOP_TEXT]; /* a question, or what became of a command */
	double silent;          /* seconds since the broker answered last */
} vn_top_look;

/* top.c */
int vn_top_main(int argc, char **argv); /* argv[0] is the subcommand; the exit code */

/* top_model.c */
#define VN_TOP_QUERY                                                                               \
	"show info json;show workers json;show listeners json;show conns active limit 512 json;"   \
	"events last 8 json\n"
#define VN_TOP_ANSWERS 5
void vn_top_model_fill(vn_top_model *m, const vn_top_model *before,
	char *const answers[VN_TOP_ANSWERS], double at);
void vn_top_model_sort(vn_top_model *m, const vn_top_look *look);

/* top_screen.c */
typedef struct vn_top_screen {
	void *terminal; /* a SCREEN of curses */
	bool colours;
} vn_top_screen;
int vn_top_screen_open(vn_top_screen *s); /* 0 or an exit code, after a sentence on stderr */
void vn_top_screen_close(vn_top_screen *s);
int vn_top_screen_key(void); /* -1: none */
void vn_top_screen_draw(const vn_top_screen *s, const vn_top_model *m, const vn_top_look *look);

/* top_link.c: a connection to the control socket; an answer is complete or not there yet */
typedef struct vn_top_link {
	int fd; /* -1: none */
	char *text;
	size_t n, size;
	const char *line; /* still to be sent */
} vn_top_link;
int vn_top_link_open(vn_top_link *l, const char *path); /* 0 or an exit code */
void vn_top_link_close(vn_top_link *l);
void vn_top_link_ask(vn_top_link *l, const char *line); /* not copied */
int vn_top_link_move(
	vn_top_link *l); /* sends and receives what is possible; 0, or -EPIPE and the like */
bool vn_top_link_answer(vn_top_link *l, size_t n, char *answers[],
	char *results[]); /* n of them are there: consumed */

#endif
