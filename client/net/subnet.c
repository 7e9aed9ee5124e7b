/* SPDX-License-Identifier: MIT */
/*
 * Subnet - is an address in one of these networks?
 *
 * A list is short, so it is looked through. An IPv4 address is compared as ::ffff:a.b.c.d, which is how a socket
 * for both families has it: so 10.0.0.0/8 means the same clients whatever socket they come by.
 */
#include "client/net/subnet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

/**
 * vn_subnet_address() - the address of a client, IPv4 as IPv6
 * @peer: of a TCP or UDP socket
 */
void
vn_subnet_address(const vn_desc_peer *peer, uint8_t addr[static 16])
{
	if (peer->family == AF_INET6) {
		memcpy(addr, peer->addr, 16);
		return;
	}
	memcpy(addr, mapped, sizeof mapped);
	memcpy(addr + sizeof mapped, peer->addr, 4);
}

static bool
same_bits(const uint8_t a[static 16], const uint8_t b[static 16], uint32_t n)
{
	uint32_t whole = n / 8, rest = n % 8;

	return memcmp(a, b, whole) == 0 &&
	       (rest == 0 || ((a[whole] ^ b[whole]) & (0xff00 >> rest) & 0xff) == 0);
}

/* Nothing is set beyond the prefix: else somebody meant another network. */
static bool
is_whole(const vn_subnet *s)
{
	uint8_t top[16] = {0};

	memcpy(top, s->addr, s->bits / 8);
	if (s->bits % 8)
		top[s->bits / 8] = s->addr[s->bits / 8] & (uint8_t)(0xff00 >> s->bits % 8);
	return memcmp(top, s->addr, sizeof top) == 0;
}

static int
bits_parse(const char *text, uint32_t limit, uint32_t *bits)
{
	size_t n = strspn(text, "0123456789");

	if (n == 0 || n > 3 || text[n])
		return -EINVAL;
	*bits = (uint32_t)atoi(text);
	return *bits <= limit ? 0 : -EINVAL;
}

static int
subnet_parse(vn_subnet *s, char *text)
{
	char *slash = strchr(text, '/');
	bool v4 = !strchr(text, ':');
	uint32_t bits = v4 ? 32 : 128;

	if (slash)
		*slash = '\0';
	if (slash && bits_parse(slash + 1, bits, &bits) < 0)
		return -EINVAL;
	memcpy(s->addr, mapped, sizeof mapped);
	if (inet_pton(v4 ? AF_INET : AF_INET6, text, v4 ? s->addr + 12 : s->addr) != 1)
		return -EINVAL;
	s->bits = (uint8_t)(v4 ? bits + 96 : bits);
	return is_whole(s) ? 0 : -EINVAL;
}

/**
 * vn_subnets_parse() - add networks, with commas between, to a list
 *
 * Return: 0 or -EINVAL: one that is none, that has bits beyond its prefix, or too many.
 */
int
vn_subnets_parse(vn_subnets *s, const char *text)
{
	char one[64];

	do {
		size_t n = strcspn(text, ",");

		if (n >= sizeof one || s->n == VN_MAX_SUBNETS)
			return -EINVAL;
		memcpy(one, text, n);
		one[n] = '\0';
		if (subnet_parse(&s->of[s->n], one) < 0)
			return -EINVAL;
		s->n++;
		text += n;
	} while (*text++);
	return 0;
}

/**
 * vn_subnets_format() - the list as text that means the same
 *
 * Return: its length, as snprintf(3) has it.
 */
size_t
vn_subnets_format(const vn_subnets *s, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN];
	size_t len = 0;

	for (uint32_t i = 0; i < s->n; i++) {
		const vn_subnet *one = &s->of[i];
		bool v4 = one->bits >= 96 && memcmp(one->addr, mapped, sizeof mapped) == 0;

		inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? one->addr + 12 : one->addr, host,
			sizeof host);
		len += (size_t)snprintf(len < size ? text + len : NULL, len < size ? size - len : 0,
			"%s%s/%u", i ? "," : "", host, v4 ? one->bits - 96u : one->bits);
	}
	return len;
}

/**
 * vn_subnets_have() - is this client in one of them?
 * @peer: of a TCP or UDP socket
 */
bool
vn_subnets_have(const vn_subnets *s, const vn_desc_peer *peer)
{
	uint8_t addr[16];

	vn_subnet_address(peer, addr);
	for (uint32_t i = 0; i < s->n; i++)
		if (same_bits(addr, s->of[i].addr, s->of[i].bits))
			return true;
	return false;
}
