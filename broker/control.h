/* SPDX-License-Identifier: MIT */
/*
 * Control - the control socket and its clients
 *
 * control.c owns the socket and accepts; client.c is one client: a coroutine that reads lines and writes
 * answers; command.c is what the lines mean.
 *
 * A client costs one allocation of fixed size, whatever it sends and whatever it asks for: a line has a limit,
 * an answer is made as it is read, and nothing is read from a client while it has not taken its answers.
 */
#ifndef VN_BROKER_CONTROL_H
#define VN_BROKER_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "broker/broker.h"

#define VN_CLIENTS_MAX      64
#define VN_WEB_CLIENTS_MAX  32
#define VN_LINE_BYTES       4096
#define VN_ANSWER_BYTES     8192 /* made and not sent */
#define VN_CLIENT_IDLE      (5 * 60 * VN_SEC)
#define VN_CLIENT_STUCK     (10 * VN_SEC)
#define VN_CLIENT_BREATH    (100 * VN_US) /* for the others ... */
#define VN_CLIENT_YIELD     (500 * VN_US) /* ... when requests come in */
#define VN_CLIENT_WORK      256           /* until then: about 20 us */
#define VN_CLIENT_WORK_LINE 32

typedef struct vn_control vn_control;
typedef struct vn_client vn_client;

struct vn_control {
	vn_broker *broker; /* NULL when it is closed; the last client frees it then */
	vn_hub *hub;
	vn_watch watch;
	vn_timer pause; /* no descriptor was free */
	int fd;
	struct sockaddr_un address;
	dev_t dev; /* of our socket file: another broker may have replaced it */
	ino_t ino;
	bool is_web; /* --admin: its clients speak HTTP, over TCP */
	uint32_t max_clients;
	vn_client *clients;
	uint32_t n_clients;
};

struct vn_client {
	vn_control *control;
	vn_client *next, **link;
	vn_watch watch;
	vn_waitq queue;
	int fd;
	bool ready;     /* the descriptor had news since somebody looked */
	bool leaving;   /* no more commands */
	bool ended;     /* end of file */
	bool follows;   /* is shown events as they happen */
	bool mute;      /* what is written is thrown away: an answer to HEAD */
	bool chunked;   /* what is sent is framed as chunks; out begins with room for the frame */
	uint32_t spent; /* work since the others had their turn */
	uint64_t n_requests; /* of the service, at that time */
	uint32_t in_len, in_used, out_len;
	char in[VN_LINE_BYTES + 1];
	char out[VN_ANSWER_BYTES];
};

/* client.c; whoever gets a negative errno has nothing more to do for this client */
int vn_client_open(vn_control *control, int fd);
void vn_client_hang_up(int fd);
int vn_client_write(vn_client *c, const char *data, size_t len);
int vn_client_printf(vn_client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
int vn_client_flush(vn_client *c);
int vn_client_await(vn_client *c);
void vn_client_wake_followers(vn_control *control);
int vn_client_work(vn_client *c, uint32_t amount);
int vn_client_ok(vn_client *c);
int vn_client_error(vn_client *c, const char *code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

int vn_client_line(vn_client *c, vn_time until, char **line);
int vn_client_chunk(vn_client *c);
int vn_client_chunk_end(vn_client *c);

/* control.c */
vn_control *vn_control_listen(vn_broker *b, int fd, bool is_web);
void vn_control_end(vn_control *control);
void vn_control_client_gone(vn_control *control);

/* command.c */
int vn_command_line(vn_client *c, char *line);

#endif
