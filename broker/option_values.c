/* SPDX-License-Identifier: MIT */
/*
 * Option - what the value of an option may be, and what it means
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "broker/admin.h"
#include "broker/log.h"
#include "broker/option.h"
#include "client/net/url.h"

#define NAME_BYTES 64
#define BLANKS     " \t\n"

static int
refuse(const vn_option *o, const char *label, const char *value, char why[static VN_WHY_BYTES])
{
	snprintf(why, VN_WHY_BYTES, "%s wants %s, not '%.200s'", label, o->wants, value);
	return VN_EXIT_USAGE;
}

typedef struct unit {
	const char *name;
	int64_t factor;
} unit;

static const unit time_units[] = {{"ms", VN_MS}, {"s", VN_SEC}, {"m", 60 * VN_SEC}, {NULL, 0}};
static const unit size_units[] = {{"", 1}, {"k", 1 << 10}, {"M", 1 << 20}, {NULL, 0}};
static const unit no_units[] = {{"", 1}, {NULL, 0}};

/* "250ms" with the units of time: digits, then one of the units. */
static int
number_parse(const vn_option *o, const char *value, const unit *units, int64_t *out)
{
	char *rest;
	long long n;

	if (!isdigit((unsigned char)value[0]))
		return -EINVAL;
	errno = 0;
	n = strtoll(value, &rest, 10);
	if (errno)
		return -EINVAL;
	while (units->name && strcmp(units->name, rest) != 0)
		units++;
	if (!units->name || __builtin_mul_overflow(n, units->factor, out))
		return -EINVAL;
	return *out < o->min || *out > o->max ? -EINVAL : 0;
}

static void *
place(vn_config *c, const vn_option *o)
{
	return (char *)c + o->offset;
}

static int
set_time(vn_config *c, const vn_option *o, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	int64_t n;

	if (number_parse(o, value, time_units, &n) < 0)
		return refuse(o, label, value, why);
	*(vn_time *)place(c, o) = n;
	return 0;
}

static int
set_unsigned(vn_config *c, const vn_option *o, const char *label, const char *value,
	const unit *units, char why[static VN_WHY_BYTES])
{
	int64_t n;

	if (number_parse(o, value, units, &n) < 0)
		return refuse(o, label, value, why);
	*(uint32_t *)place(c, o) = (uint32_t)n;
	return 0;
}

static int
set_size(vn_config *c, const vn_option *o, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	return set_unsigned(c, o, label, value, size_units, why);
}

/* auto: 0, which the rest of the program or options_complete() knows to replace. */
static int
set_size_or_auto(vn_config *c, const vn_option *o, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	if (strcmp(value, "auto") != 0)
		return set_size(c, o, label, value, why);
	*(uint32_t *)place(c, o) = 0;
	return 0;
}

static int
set_count(vn_config *c, const vn_option *o, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	return set_unsigned(c, o, label, value, no_units, why);
}

static int
set_count_or_auto(vn_config *c, const vn_option *o, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	if (strcmp(value, "auto") != 0)
		return set_count(c, o, label, value, why);
	*(uint32_t *)place(c, o) = 0;
	return 0;
}

static int
set_level(vn_config *c, const vn_option *o, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	int level = vn_level_parse(value);

	if (level < 0)
		return refuse(o, label, value, why);
	*(int *)place(c, o) = level;
	return 0;
}

static int
set_format(vn_config *c, const vn_option *o, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	bool is_json = strcmp(value, "json") == 0;

	if (!is_json && strcmp(value, "text") != 0)
		return refuse(o, label, value, why);
	*(bool *)place(c, o) = is_json;
	return 0;
}

int
vn_option_no_memory(char why[static VN_WHY_BYTES])
{
	snprintf(why, VN_WHY_BYTES, "out of memory");
	return VN_EXIT_SYSTEM;
}

/* A copy takes the place of what was there. */
int
vn_option_copy(char **to, const char *value, size_t n, char why[static VN_WHY_BYTES])
{
	char *copy = strndup(value, n);

	if (!copy)
		return vn_option_no_memory(why);
	free(*to);
	*to = copy;
	return 0;
}

static int
set_name(vn_config *c, const vn_option *o, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	if (!*value || *value == '.' || strlen(value) > NAME_BYTES || strchr(value, '/'))
		return refuse(o, label, value, why);
	for (const char *p = value; *p; p++)
		if (!isgraph((unsigned char)*p))
			return refuse(o, label, value, why);
	return vn_option_copy(place(c, o), value, strlen(value), why);
}

static int
set_path(vn_config *c, const vn_option *o, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	if (!*value || strlen(value) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
		return refuse(o, label, value, why);
	return vn_option_copy(place(c, o), value, strlen(value), why);
}

/* Of any length. */
static int
set_file(vn_config *c, const vn_option *o, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	(void)label;
	return *value ? vn_option_copy(place(c, o), value, strlen(value), why) : 0;
}

static int
set_admin(vn_config *c, const vn_option *o, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	vn_endpoint endpoint;
	char reason[256];
	int rc = *value ? vn_admin_parse(&endpoint, value, reason) : 0;

	if (rc < 0) {
		snprintf(why, VN_WHY_BYTES, "%s: cannot serve '%.300s': %s", label, value, reason);
		return rc == -EINVAL ? VN_EXIT_CONFIG : VN_EXIT_SYSTEM;
	}
	return *value ? vn_option_copy(place(c, o), value, strlen(value), why) : 0;
}

/* The length of NAME in NAME=URL; 0 if the URL stands alone: no URL begins like this. */
static size_t
listen_name_len(const char *value)
{
	size_t n = 0;

	while (isalnum((unsigned char)value[n]) || (n > 0 && value[n] && strchr("._-", value[n])))
		n++;
	return value[n] == '=' ? n : 0;
}

static int
listen_check(const vn_config *c, const vn_listen_option *l, const char *label,
	char why[static VN_WHY_BYTES])
{
	vn_endpoint endpoint;
	char reason[256];
	int rc = vn_endpoint_parse(&endpoint, l->url, reason);

	if (rc < 0) {
		snprintf(why, VN_WHY_BYTES, "%s: cannot listen on '%.300s': %s", label, l->url,
			reason);
		return rc == -EINVAL ? VN_EXIT_CONFIG : VN_EXIT_SYSTEM;
	}
	for (const vn_listen_option *o = c->listens; o < l; o++)
		if (strcmp(o->url, l->url) == 0 ||
			(l->name && o->name && strcmp(o->name, l->name) == 0)) {
			snprintf(why, VN_WHY_BYTES, "%s: '%.300s' is given twice; leave one out",
				label, strcmp(o->url, l->url) == 0 ? l->url : l->name);
			return VN_EXIT_USAGE;
		}
	return 0;
}

int
vn_option_add_listen(
	vn_config *c, const char *label, const char *value, char why[static VN_WHY_BYTES])
{
	size_t n = listen_name_len(value);
	vn_listen_option *l = &c->listens[c->n_listens];
	int rc = 0;

	if (c->n_listens == VN_MAX_LISTENS) {
		snprintf(why, VN_WHY_BYTES, "%s: at most %d endpoints; '%.200s' is one too many",
			label, VN_MAX_LISTENS, value);
		return VN_EXIT_USAGE;
	}
	c->n_listens++;
	if (n > 0)
		rc = vn_option_copy(&l->name, value, n, why);
	if (rc == 0)
		rc = vn_option_copy(&l->url, n > 0 ? value + n + 1 : value, VN_URL_MAX, why);
	return rc ? rc : listen_check(c, l, label, why);
}

/* A variable or the default: any number of them, with blanks between. */
static int
set_listens(vn_config *c, const vn_option *o, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	char *copy = strdup(value), *rest = NULL;
	int rc = 0;

	(void)o;
	if (!copy)
		return vn_option_no_memory(why);
	for (char *one = strtok_r(copy, BLANKS, &rest); one && rc == 0;
		one = strtok_r(NULL, BLANKS, &rest))
		rc = vn_option_add_listen(c, label, one, why);
	free(copy);
	return rc;
}

/* As they could be typed. */

static const void *
place_of(const vn_config *c, const vn_option *o)
{
	return (const char *)c + o->offset;
}

/* In the largest unit that leaves no rest. */
static void
show_in_units(int64_t n, const unit *units, char *out, size_t size)
{
	const unit *best = units;

	for (const unit *u = units; u->name && n; u++)
		if (n % u->factor == 0)
			best = u;
	snprintf(out, size, "%lld%s", (long long)(n / best->factor), best->name);
}

static void
show_time(const vn_config *c, const vn_option *o, char *out, size_t size)
{
	const vn_time *n = place_of(c, o);

	show_in_units(*n, *n ? time_units : time_units + 1, out, size);
}

static void
show_size(const vn_config *c, const vn_option *o, char *out, size_t size)
{
	show_in_units(*(const uint32_t *)place_of(c, o), size_units, out, size);
}

static void
show_count(const vn_config *c, const vn_option *o, char *out, size_t size)
{
	snprintf(out, size, "%u", *(const uint32_t *)place_of(c, o));
}

static void
show_count_or_auto(const vn_config *c, const vn_option *o, char *out, size_t size)
{
	if (*(const uint32_t *)place_of(c, o))
		show_count(c, o, out, size);
	else
		snprintf(out, size, "auto");
}

static void
show_level(const vn_config *c, const vn_option *o, char *out, size_t size)
{
	snprintf(out, size, "%s", vn_level_name(*(const int *)place_of(c, o)));
}

static void
show_format(const vn_config *c, const vn_option *o, char *out, size_t size)
{
	snprintf(out, size, "%s", *(const bool *)place_of(c, o) ? "json" : "text");
}

static void
show_text(const vn_config *c, const vn_option *o, char *out, size_t size)
{
	const char *text = *(char *const *)place_of(c, o);

	snprintf(out, size, "%s", text ? text : "");
}

static void
show_listens(const vn_config *c, const vn_option *o, char *out, size_t size)
{
	size_t len = 0;

	(void)o;
	*out = '\0';
	for (uint32_t i = 0; i < c->n_listens && len < size; i++) {
		const vn_listen_option *l = &c->listens[i];

		len += (size_t)snprintf(out + len, size - len, "%s%s%s%s", i ? " " : "",
			l->name ? l->name : "", l->name ? "=" : "", l->url);
	}
}

const vn_option_type vn_type_time = {set_time, show_time};
const vn_option_type vn_type_size = {set_size, show_size};
const vn_option_type vn_type_size_or_auto = {set_size_or_auto, show_size};
const vn_option_type vn_type_count = {set_count, show_count};
const vn_option_type vn_type_count_or_auto = {set_count_or_auto, show_count_or_auto};
const vn_option_type vn_type_level = {set_level, show_level};
const vn_option_type vn_type_format = {set_format, show_format};
const vn_option_type vn_type_name = {set_name, show_text};
const vn_option_type vn_type_path = {set_path, show_text};
const vn_option_type vn_type_file = {set_file, show_text};
const vn_option_type vn_type_admin = {set_admin, show_text};
const vn_option_type vn_type_listens = {set_listens, show_listens};
