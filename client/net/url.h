/* SPDX-License-Identifier: MIT */
/*
 * Url - what an endpoint's URL means, and a listening socket made from it
 *
 *     tcp://127.0.0.1:7000   tcp://[::1]:0   tcp://localhost:80   udp://...         "*" for any host
 *     unix:/run/x.sock       unix:@name      seqpacket:/run/x.sock
 *
 * Options follow as a query (?backlog=1024, option.c); an unknown or bad one is an error that names it. The broker
 * and a program that runs alone both come here, so that a URL means the same to both.
 */
#ifndef VN_NET_URL_H
#define VN_NET_URL_H

#include <stdbool.h>
#include <sys/socket.h>

#include "client/net/option.h"
#include "shm/protocol.h"

#define VN_URL_MAX 1024

typedef enum vn_scheme { VN_TCP, VN_UNIX, VN_SEQPACKET, VN_UDP } vn_scheme;

typedef struct vn_endpoint {
	vn_scheme scheme;
	socklen_t sa_len;
	struct sockaddr_storage sa;
	vn_endpoint_options options;
} vn_endpoint;

int vn_endpoint_parse_numeric(vn_endpoint *e, const char *url, char why[static 256]);
int vn_endpoint_parse(vn_endpoint *e, const char *url, char why[static 256]);
int vn_endpoint_parse_peer(
	vn_endpoint *e, const char *url, char host[static VN_URL_MAX], char why[static 256]);
int vn_endpoint_parse_udp_peer(
	vn_endpoint *e, const char *url, char host[static VN_URL_MAX], char why[static 256]);
int vn_endpoint_type(const vn_endpoint *e);
uint16_t vn_endpoint_port(const vn_endpoint *e);
int vn_endpoint_set(int fd, const vn_endpoint *e, char why[static 256]);
int vn_endpoint_listen(const vn_endpoint *e, char why[static 256]);
int vn_endpoint_bind(const vn_endpoint *e, char why[static 256]);
void vn_endpoint_unlink(const vn_endpoint *e);
int vn_endpoint_format(const vn_endpoint *e, char url[static VN_URL_MAX]);
void vn_endpoint_peer(int fd, const struct sockaddr_storage *sa, vn_desc_peer *peer);
int vn_endpoint_name(int fd, char url[static VN_URL_MAX]);

#endif
