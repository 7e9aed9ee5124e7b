/* SPDX-License-Identifier: MIT */
/*
 * Option - the table of an endpoint's options, read and written
 *
 *     backlog=N      connections that wait to be accepted        [4096]
 *     keepalive=T    a peer that has been silent for T is probed, and gone when three probes went unanswered
 *     nodelay        small writes leave at once                  [on]
 *     reuseport      others may listen there too, and share its clients
 *     v6only         an IPv6 address does not take IPv4 clients
 *     interface=NAME only what comes in there
 *     dscp=N         differentiated services code point of what is sent
 *     accept=T       from the accept to the first byte           [no limit]
 *     idle=T         without a byte in either direction
 *     progress=T     of which, in the middle of a request or an answer, a client must move 4 KiB or finish it
 *     max=N          connections at a time; more wait to be accepted
 *     per_address=N  of them, from one client: an IPv4 address or an IPv6 /64
 *     rate=N         new ones per second, from one client
 *     allow, deny    networks: deny wins, and with allow nobody else comes in
 *     proxy=v1|v2|any  connections begin with a PROXY header, which says who the client is
 *     header=T       from the accept to the end of that          [5s]
 *     mode, user, group   of a Unix socket's file
 *
 * A switch may stand alone (?reuseport) or be on or off. Times take ms, s or m, numbers k or M. What is given twice
 * counts as said last; networks add up.
 */
#include "client/net/option.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IP        (VN_FOR_TCP | VN_FOR_UDP)
#define LOCAL     (VN_FOR_UNIX | VN_FOR_SEQPACKET)
#define STREAMS   (VN_FOR_TCP | LOCAL)
#define CONNECTED (VN_FOR_TCP | VN_FOR_DIAL)
#define A_TIME    "a time such as 500ms, 10s or 2m, up to a day"
#define DAY_MS    (24 * 60 * 60 * 1000)
#define NETWORKS  "up to 32 networks such as 10.0.0.0/8,192.0.2.7,fe80::/10, without bits beyond /N"

const vn_endpoint_options vn_option_defaults = {
	.backlog = 4096,
	.nodelay = 1,
	.v6only = 2,
	.dscp = 64,
	.mode = VN_NO_ID,
	.user = VN_NO_ID,
	.group = VN_NO_ID,
	.header_ms = 5000,
};

typedef struct spec spec;
struct spec {
	const char *name, *wants;
	uint32_t what; /* may have it */
	size_t offset;
	uint32_t min, max;
	/* 0 or -EINVAL */
	int (*parse)(const spec *s, void *to, const char *value, bool may_wait);
	void (*format)(const void *from, char *text, size_t size);
};

/* "90s" with these units. */
static int
number_parse(const spec *s, uint32_t *to, const char *value, const char *const *units,
	const uint32_t *factors)
{
	size_t digits = strspn(value, "0123456789"), i = 0;
	unsigned long long n;

	if (digits == 0 || digits > 10)
		return -EINVAL;
	n = strtoull(value, NULL, 10);
	while (units[i] && strcmp(value + digits, units[i]) != 0)
		i++;
	if (!units[i] || n > UINT32_MAX)
		return -EINVAL;
	n *= factors[i];
	if (n < s->min || n > s->max)
		return -EINVAL;
	*to = (uint32_t)n;
	return 0;
}

static int
parse_number(const spec *s, void *to, const char *value, bool may_wait)
{
	static const char *const units[] = {"", "k", "M", NULL};
	static const uint32_t factors[] = {1, 1 << 10, 1 << 20};

	(void)may_wait;
	return number_parse(s, to, value ? value : "", units, factors);
}

static int
parse_time(const spec *s, void *to, const char *value, bool may_wait)
{
	static const char *const units[] = {"ms", "s", "m", NULL};
	static const uint32_t factors[] = {1, 1000, 60000};

	(void)may_wait;
	return number_parse(s, to, value ? value : "", units, factors);
}

/* One of some words, in the order of their values. */
static int
parse_word(uint32_t *to, const char *value, const char *const *words)
{
	for (uint32_t i = 0; words[i]; i++)
		if (strcmp(value, words[i]) == 0) {
			*to = i;
			return 0;
		}
	return -EINVAL;
}

static const char *const switches[] = {"off", "on", NULL};
static const char *const proxies[] = {"off", "v1", "v2", "any", NULL};

static int
parse_switch(const spec *s, void *to, const char *value, bool may_wait)
{
	(void)s;
	(void)may_wait;
	return parse_word(to, value ? value : "on", switches);
}

static int
parse_proxy(const spec *s, void *to, const char *value, bool may_wait)
{
	(void)s;
	(void)may_wait;
	return parse_word(to, value ? value : "", proxies);
}

static int
parse_interface(const spec *s, void *to, const char *value, bool may_wait)
{
	size_t len = value ? strlen(value) : 0;

	(void)s;
	(void)may_wait;
	if (len == 0 || len >= IFNAMSIZ || strpbrk(value, "/ \t"))
		return -EINVAL;
	memset(to, 0, IFNAMSIZ);
	memcpy(to, value, len);
	return 0;
}

static int
parse_mode(const spec *s, void *to, const char *value, bool may_wait)
{
	size_t len = value ? strlen(value) : 0;

	(void)s;
	(void)may_wait;
	if (len == 0 || len > 4 || strspn(value, "01234567") != len)
		return -EINVAL;
	*(uint32_t *)to = (uint32_t)strtoul(value, NULL, 8);
	return *(uint32_t *)to <= 0777 ? 0 : -EINVAL;
}

static int
parse_user(const spec *s, void *to, const char *value, bool may_wait)
{
	const struct passwd *entry;

	if (parse_number(s, to, value, may_wait) == 0)
		return 0;
	entry = value && may_wait ? getpwnam(value) : NULL;
	if (entry)
		*(uint32_t *)to = entry->pw_uid;
	return entry ? 0 : -EINVAL;
}

static int
parse_group(const spec *s, void *to, const char *value, bool may_wait)
{
	const struct group *entry;

	if (parse_number(s, to, value, may_wait) == 0)
		return 0;
	entry = value && may_wait ? getgrnam(value) : NULL;
	if (entry)
		*(uint32_t *)to = entry->gr_gid;
	return entry ? 0 : -EINVAL;
}

static int
parse_subnets(const spec *s, void *to, const char *value, bool may_wait)
{
	(void)s;
	(void)may_wait;
	return value ? vn_subnets_parse(to, value) : -EINVAL;
}

static void
format_number(const void *from, char *text, size_t size)
{
	snprintf(text, size, "%" PRIu32, *(const uint32_t *)from);
}

static void
format_time(const void *from, char *text, size_t size)
{
	snprintf(text, size, "%" PRIu32 "ms", *(const uint32_t *)from);
}

static void
format_switch(const void *from, char *text, size_t size)
{
	snprintf(text, size, "%s", switches[*(const uint32_t *)from & 1]);
}

static void
format_proxy(const void *from, char *text, size_t size)
{
	snprintf(text, size, "%s", proxies[*(const uint32_t *)from]);
}

static void
format_interface(const void *from, char *text, size_t size)
{
	snprintf(text, size, "%s", (const char *)from);
}

static void
format_mode(const void *from, char *text, size_t size)
{
	snprintf(text, size, "0%" PRIo32, *(const uint32_t *)from);
}

static void
format_subnets(const void *from, char *text, size_t size)
{
	vn_subnets_format(from, text, size);
}

#define AT(member)     offsetof(vn_endpoint_options, member)
#define RANGE(low, up) .min = (low), .max = (up)

static const spec specs[] = {
	{"backlog", "a number from 1 to 65535", STREAMS, AT(backlog), RANGE(1, 65535), parse_number,
		format_number},
	{"keepalive", "a time from 1s to 546m, or 0s", CONNECTED, AT(keepalive_ms),
		RANGE(0, 32767000), parse_time, format_time},
	{"nodelay", "on or off", CONNECTED, AT(nodelay), RANGE(0, 1), parse_switch, format_switch},
	{"reuseport", "on or off", IP, AT(reuseport), RANGE(0, 1), parse_switch, format_switch},
	{"v6only", "on or off", IP, AT(v6only), RANGE(0, 1), parse_switch, format_switch},
	{"interface", "the name of an interface, of 1 to 15 bytes", IP | VN_FOR_DIAL, AT(interface),
		RANGE(0, 0), parse_interface, format_interface},
	{"dscp", "a number from 0 to 63", IP | VN_FOR_DIAL, AT(dscp), RANGE(0, 63), parse_number,
		format_number},
	{"accept", A_TIME, STREAMS, AT(accept_ms), RANGE(0, DAY_MS), parse_time, format_time},
	{"idle", A_TIME, STREAMS, AT(idle_ms), RANGE(0, DAY_MS), parse_time, format_time},
	{"progress", A_TIME, STREAMS, AT(progress_ms), RANGE(0, DAY_MS), parse_time, format_time},
	{"max", "a number from 1 to 16777216", STREAMS, AT(max), RANGE(1, 1 << 24), parse_number,
		format_number},
	{"per_address", "a number from 1 to 16777216", VN_FOR_TCP, AT(per_address),
		RANGE(1, 1 << 24), parse_number, format_number},
	{"rate", "a number of connections per second, from 1 to 1M", VN_FOR_TCP, AT(rate),
		RANGE(1, 1 << 20), parse_number, format_number},
	{"allow", NETWORKS, IP, AT(allow), RANGE(0, 0), parse_subnets, format_subnets},
	{"deny", NETWORKS, IP, AT(deny), RANGE(0, 0), parse_subnets, format_subnets},
	{"proxy", "v1, v2, any or off", VN_FOR_TCP, AT(proxy), RANGE(0, 0), parse_proxy,
		format_proxy},
	{"header", "a time from 1ms to a day, such as 5s", VN_FOR_TCP, AT(header_ms),
		RANGE(1, DAY_MS), parse_time, format_time},
	{"mode", "octal digits such as 0660", LOCAL, AT(mode), RANGE(0, 0777), parse_mode,
		format_mode},
	{"user", "a user of this machine, or a number", LOCAL, AT(user), RANGE(0, VN_NO_ID - 1),
		parse_user, format_number},
	{"group", "a group of this machine, or a number", LOCAL, AT(group), RANGE(0, VN_NO_ID - 1),
		parse_group, format_number},
};

#define N_SPECS (sizeof specs / sizeof *specs)

static const spec *
spec_of(const char *name)
{
	for (size_t i = 0; i < N_SPECS; i++)
		if (strcmp(specs[i].name, name) == 0)
			return &specs[i];
	return NULL;
}

/* An endpoint of this kind has no such option: which has it? */
static int
fail_unknown(const char *name, uint32_t what, char why[static 256])
{
	int len = snprintf(why, 256, "unknown option '%.60s'; known here are", name);

	for (size_t i = 0; i < N_SPECS && len < 256; i++)
		if (specs[i].what & what)
			len += snprintf(why + len, 256 - (size_t)len, " %s", specs[i].name);
	return -EINVAL;
}

static int
option_parse(
	vn_endpoint_options *o, uint32_t what, char *option, bool may_wait, char why[static 256])
{
	char *value = strchr(option, '=');
	const spec *s;

	if (value)
		*value++ = '\0';
	s = spec_of(option);
	if (!s || !(s->what & what))
		return fail_unknown(option, what, why);
	if (s->parse(s, (char *)o + s->offset, value, may_wait) == 0)
		return 0;
	snprintf(why, 256, "option '%s%s%.100s' wants %s", s->name, value ? "=" : "",
		value ? value : "", s->wants);
	return -EINVAL;
}

/**
 * vn_option_parse() - read the query of a URL
 * @o:        holds defaults; changed by what stands there
 * @what:     one of VN_FOR_...: what kind of endpoint it is
 * @query:    behind the question mark; is taken to pieces
 * @may_wait: names of users and groups may be looked up
 * @why:      a sentence when it fails, which names the option
 *
 * Return: 0 or -EINVAL.
 */
int
vn_option_parse(
	vn_endpoint_options *o, uint32_t what, char *query, bool may_wait, char why[static 256])
{
	char *rest = NULL;
	int rc = 0;

	for (char *option = strtok_r(query, "&", &rest); option && rc == 0;
		option = strtok_r(NULL, "&", &rest))
		rc = option_parse(o, what, option, may_wait, why);
	return rc;
}

static size_t
spec_bytes(const spec *s)
{
	if (s->parse == parse_subnets)
		return sizeof(vn_subnets);
	return s->parse == parse_interface ? IFNAMSIZ : sizeof(uint32_t);
}

/**
 * vn_option_format() - a query that means these options; nothing for defaults
 * @text: what to append "?option=value..." to; has a NUL
 *
 * Return: 0 or -ENAMETOOLONG.
 */
int
vn_option_format(const vn_endpoint_options *o, uint32_t what, char *text, size_t size)
{
	char value[VN_MAX_SUBNETS * 52];
	char sign = '?';

	for (size_t i = 0; i < N_SPECS; i++) {
		const spec *s = &specs[i];
		const char *at = (const char *)o + s->offset;
		size_t len = strlen(text);

		if (!(s->what & what) || memcmp(at, (const char *)&vn_option_defaults + s->offset,
						 spec_bytes(s)) == 0)
			continue;
		s->format(at, value, sizeof value);
		if (len + strlen(s->name) + strlen(value) + 3 > size)
			return -ENAMETOOLONG;
		snprintf(text + len, size - len, "%c%s=%s", sign, s->name, value);
		sign = '&';
	}
	return 0;
}
