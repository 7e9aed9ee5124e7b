/* SPDX-License-Identifier: MIT */
/*
 * Proxy - PROXY protocol, versions 1 and 2, as HAProxy's specification of 2020/03/05 has it
 *
 *     "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n", or TCP6, or UNKNOWN and anything    at most 107 bytes
 *
 *     \r\n\r\n\0\r\nQUIT\n, version and command, family, length; addresses; fields that we skip
 *
 * A header comes first and whole, or there is no connection. It is looked at in the socket until it is there, then
 * exactly it is taken out, so what follows lies where input lies. A proxy that speaks for itself (LOCAL, UNKNOWN),
 * or for what is neither IPv4 nor IPv6, leaves the client's address as it is.
 */
#include "client/net/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define V1_MAX  107u
#define V2_HEAD 16u

static const unsigned char v2_sign[12] = {
	'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

/* A port as it stands in a line: digits, no zero in front. */
static int
port_parse(const char *text)
{
	size_t n = strspn(text, "0123456789");
	int port = n >= 1 && n <= 5 && !text[n] ? atoi(text) : -1;

	return port > 65535 || (n > 1 && *text == '0') ? -1 : port;
}

/* The four fields behind TCP4 and TCP6. */
static int
v1_addresses(char *rest, int family, vn_desc_peer *peer)
{
	unsigned char to[16], from[16];
	char *fields[4], *save = rest;
	int port;

	for (size_t i = 0; i < 4; i++) {
		fields[i] = strsep(&save, " ");
		if (!fields[i] || !*fields[i])
			return -EPROTO;
	}
	port = port_parse(fields[2]);
	if (save || port < 0 || port_parse(fields[3]) < 0 ||
		inet_pton(family, fields[0], from) != 1 || inet_pton(family, fields[1], to) != 1)
		return -EPROTO;
	*peer = (vn_desc_peer){.family = (uint16_t)family, .port = htons((uint16_t)port)};
	memcpy(peer->addr, from, family == AF_INET ? 4 : 16);
	return 0;
}

static ssize_t
v1_parse(const char *data, size_t n, vn_desc_peer *peer)
{
	const char *end = memchr(data, '\n', n < V1_MAX ? n : V1_MAX);
	char line[V1_MAX + 1];
	size_t len;
	int rc = -EPROTO;

	if (!end)
		return n < V1_MAX ? 0 : -EPROTO;
	len = (size_t)(end - data) + 1;
	if (len < 2 || end[-1] != '\r' || memchr(data, '\0', len))
		return -EPROTO;
	memcpy(line, data, len - 2);
	line[len - 2] = '\0';
	if (strncmp(line, "PROXY TCP4 ", 11) == 0)
		rc = v1_addresses(line + 11, AF_INET, peer);
	else if (strncmp(line, "PROXY TCP6 ", 11) == 0)
		rc = v1_addresses(line + 11, AF_INET6, peer);
	else if (strcmp(line, "PROXY UNKNOWN") == 0 || strncmp(line, "PROXY UNKNOWN ", 14) == 0)
		rc = 0;
	return rc < 0 ? rc : (ssize_t)len;
}

/* Source, destination, their ports. */
static int
v2_addresses(const unsigned char *data, size_t n, int family, vn_desc_peer *peer)
{
	size_t size = family == AF_INET ? 4 : 16;

	if (n < 2 * size + 4)
		return -EPROTO;
	*peer = (vn_desc_peer){.family = (uint16_t)family};
	memcpy(peer->addr, data, size);
	memcpy(&peer->port, data + 2 * size, sizeof peer->port);
	return 0;
}

static ssize_t
v2_parse(const unsigned char *data, size_t n, vn_desc_peer *peer)
{
	size_t len = n < V2_HEAD ? V2_HEAD : V2_HEAD + ((size_t)data[14] << 8 | data[15]);
	unsigned int command, family;
	int rc = 0;

	if (n < V2_HEAD)
		return 0;
	command = data[12];
	family = data[13] >> 4;
	if ((command != 0x20 && command != 0x21) || family > 3 || (data[13] & 15) > 2 ||
		len > VN_PROXY_MAX)
		return -EPROTO;
	if (n < len)
		return 0;
	if (command == 0x21 && (family == 1 || family == 2) && (data[13] & 15) == 1)
		rc = v2_addresses(
			data + V2_HEAD, len - V2_HEAD, family == 1 ? AF_INET : AF_INET6, peer);
	return rc < 0 ? rc : (ssize_t)len;
}

/**
 * vn_proxy_parse() - what a connection begins with
 * @data:     the first n bytes of it
 * @versions: which ones may come
 * @peer:     set to the client if the header names one
 *
 * Return: the length of the header; 0 if more of it must come; -EPROTO if it is none that we take.
 */
ssize_t
vn_proxy_parse(const void *data, size_t n, vn_proxy versions, vn_desc_peer *peer)
{
	size_t head = n < sizeof v2_sign ? n : sizeof v2_sign, word = n < 6 ? n : 6;

	if (n == 0)
		return 0;
	if (versions != VN_PROXY_V1 && memcmp(data, v2_sign, head) == 0)
		return v2_parse(data, n, peer);
	if (versions != VN_PROXY_V2 && memcmp(data, "PROXY ", word) == 0)
		return v1_parse(data, n, peer);
	return -EPROTO;
}

/**
 * vn_proxy_receive() - take the header out of a socket that does not block
 *
 * Return: 0, it was there; -EAGAIN, more must come; -EPROTO, it is none; -EPIPE, the peer has finished instead; or what
 * recv(2) says.
 */
int
vn_proxy_receive(int fd, vn_proxy versions, vn_desc_peer *peer)
{
	unsigned char data[VN_PROXY_MAX];
	ssize_t n = recv(fd, data, sizeof data, MSG_PEEK), len;

	if (n <= 0)
		return n == 0 ? -EPIPE : -errno;
	len = vn_proxy_parse(data, (size_t)n, versions, peer);
	if (len <= 0)
		return len == 0 ? -EAGAIN : (int)len;
	return recv(fd, data, (size_t)len, 0) == len ? 0 : -EPROTO;
}
