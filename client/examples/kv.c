/* SPDX-License-Identifier: MIT */
/*
 * kv - a small key-value service that redis-cli and redis-benchmark can talk to
 *
 * It speaks RESP, arrays and inline commands: PING, SET, GET, DEL, and enough of COMMAND and CONFIG for the
 * clients to be content. The keys live in this process, in a tree of libc's, so each worker has its own and
 * the endpoint is not resumable: a client keeps the worker that it began with. What a client can make us
 * hold is bounded three times: words of a command, bytes of a word, bytes of the store.
 */
#include <err.h>
#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <vanilla.h>

enum { WORDS_MAX = 8, WORD_BYTES_MAX = 1 << 20, STORE_BYTES_MAX = 256 << 20 };

struct word {
	size_t len;
	char data[];
};

struct record {
	struct word *key, *value;
};

struct store {
	vn_rx *listener;
	void *root; /* of struct record *, see tsearch(3) */
	size_t bytes;
};

struct client {
	struct store *store;
	vn_conn *conn;
	int n_words;
	struct word *words[WORDS_MAX];
};

static int
record_compare(const void *left, const void *right)
{
	const struct word *a = ((const struct record *)left)->key;
	const struct word *b = ((const struct record *)right)->key;

	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->data, b->data, a->len);
}

static void
record_free(void *record)
{
	struct record *r = record;

	free(r->key);
	free(r->value);
	free(r);
}

static struct record *
record_find(struct client *k)
{
	struct record **found =
		tfind(&(struct record){.key = k->words[1]}, &k->store->root, record_compare);

	return found ? *found : NULL;
}

/* The word moves out of the command and into the store. */
static struct word *
word_steal(struct client *k, int i)
{
	struct word *w = k->words[i];

	k->words[i] = NULL;
	k->store->bytes += w->len;
	return w;
}

static int
reply(struct client *k, const char *text)
{
	return vn_write(k->conn, text, strlen(text));
}

static int
reply_word(struct client *k, const struct word *w)
{
	char head[32];
	int n = snprintf(head, sizeof head, "$%zu\r\n", w->len);
	int rc = vn_write(k->conn, head, (size_t)n);

	if (rc == 0)
		rc = vn_write(k->conn, w->data, w->len);
	return rc ? rc : reply(k, "\r\n");
}

static int
command_ping(struct client *k)
{
	return k->n_words == 2 ? reply_word(k, k->words[1]) : reply(k, "+PONG\r\n");
}

static int
command_get(struct client *k)
{
	struct record *r = record_find(k);

	return r ? reply_word(k, r->value) : reply(k, "$-1\r\n");
}

static int
command_set(struct client *k)
{
	struct record *r = record_find(k);
	struct store *s = k->store;

	if (s->bytes + k->words[1]->len + k->words[2]->len > STORE_BYTES_MAX)
		return reply(k, "-OOM the store is full\r\n");
	if (!r) {
		r = calloc(1, sizeof *r);
		if (!r)
			return -ENOMEM;
		r->key = word_steal(k, 1);
		if (!tsearch(r, &s->root, record_compare)) {
			record_free(r);
			return -ENOMEM;
		}
	}
	s->bytes -= r->value ? r->value->len : 0;
	free(r->value);
	r->value = word_steal(k, 2);
	return reply(k, "+OK\r\n");
}

static int
command_del(struct client *k)
{
	struct record *r = record_find(k);

	if (!r)
		return reply(k, ":0\r\n");
	k->store->bytes -= r->key->len + r->value->len;
	tdelete(r, &k->store->root, record_compare);
	record_free(r);
	return reply(k, ":1\r\n");
}

static int
command_command(struct client *k)
{
	return reply(k, "*0\r\n");
}

/* redis-benchmark asks for two settings, which we do not have. */
static int
command_config(struct client *k)
{
	return reply(k, "*2\r\n$0\r\n\r\n$0\r\n\r\n");
}

static int
command_run(struct client *k)
{
	static const struct {
		const char *name;
		int words_min, words_max;
		int (*run)(struct client *k);
	} commands[] = {
		{"PING", 1, 2, command_ping},
		{"GET", 2, 2, command_get},
		{"SET", 3, 3, command_set},
		{"DEL", 2, 2, command_del},
		{"COMMAND", 1, WORDS_MAX, command_command},
		{"CONFIG", 3, 3, command_config},
	};
	const struct word *name = k->words[0];

	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
		if (name->len != strlen(commands[i].name) ||
			strncasecmp(name->data, commands[i].name, name->len) != 0)
			continue;
		if (k->n_words < commands[i].words_min || k->n_words > commands[i].words_max)
			return reply(k, "-ERR wrong number of arguments\r\n");
		return commands[i].run(k);
	}
	return reply(k, "-ERR unknown command\r\n");
}

/* Room for one more word of the command. */
static struct word *
word_add(struct client *k, size_t len)
{
	struct word *w = k->n_words < WORDS_MAX ? malloc(sizeof *w + len) : NULL;

	if (w) {
		w->len = len;
		k->words[k->n_words++] = w;
	}
	return w;
}

/* "<sign>123\r\n" is 123; anything else, or more than the limit, is -1. */
static long
number_parse(const char *line, ssize_t n, char sign, long limit)
{
	long number = 0;

	if (n < 4 || line[0] != sign || memcmp(line + n - 2, "\r\n", 2) != 0)
		return -1;
	for (const char *p = line + 1; p < line + n - 2; p++) {
		if (*p < '0' || *p > '9')
			return -1;
		number = number * 10 + (*p - '0');
		if (number > limit)
			return -1;
	}
	return number;
}

/* One element of an array: its length on a line, its bytes, an empty line. 1, or 0 at the end, or an error. */
static int
bulk_read(struct client *k)
{
	char line[32];
	ssize_t n = vn_read_until(k->conn, line, sizeof line, "\n");
	long len = number_parse(line, n, '$', WORD_BYTES_MAX);
	struct word *w;

	if (n <= 0)
		return (int)n;
	w = len < 0 ? NULL : word_add(k, (size_t)len);
	if (!w)
		return len < 0 ? -EBADMSG : -ENOMEM;
	n = len > 0 ? vn_read_n(k->conn, w->data, w->len) : 0;
	if (n == len)
		n = vn_read_n(k->conn, line, 2);
	if (n < 0)
		return (int)n;
	return n == 2 && memcmp(line, "\r\n", 2) == 0 ? 1 : -EBADMSG;
}

static int
inline_parse(struct client *k, const char *line, const char *end)
{
	static const char blanks[] = " \t\r\n";

	for (const char *p = line, *from; p < end;) {
		while (p < end && strchr(blanks, *p))
			p++;
		for (from = p; p < end && !strchr(blanks, *p);)
			p++;
		if (p > from && !word_add(k, (size_t)(p - from)))
			return -EBADMSG;
		if (p > from)
			memcpy(k->words[k->n_words - 1]->data, from, (size_t)(p - from));
	}
	return 1;
}

/* One command, of either form: 1, or 0 at the end of the stream, or an error. */
static int
command_read(struct client *k)
{
	char line[1024];
	ssize_t n = vn_read_until(k->conn, line, sizeof line, "\n");
	long n_words;
	int rc = 1;

	if (n <= 0)
		return (int)n;
	if (line[0] != '*')
		return inline_parse(k, line, line + n);
	n_words = number_parse(line, n, '*', WORDS_MAX);
	if (n_words < 0)
		return -EBADMSG;
	while (rc > 0 && n_words-- > 0)
		rc = bulk_read(k);
	return rc;
}

static int
client_serve(vn_hub *h, void *arg)
{
	struct client *k = arg;
	int rc;

	(void)h;
	do {
		rc = command_read(k);
		if (rc > 0 && k->n_words > 0)
			rc = command_run(k) == 0;
		while (k->n_words > 0)
			free(k->words[--k->n_words]);
	} while (rc > 0);
	if (rc == -EBADMSG || rc == -EMSGSIZE)
		reply(k, "-ERR Protocol error\r\n");
	vn_close(k->conn);
	free(k);
	return 0;
}

static int
store_accept(vn_hub *h, void *arg)
{
	struct store *s = arg;
	vn_conn *conn;

	while (vn_recv(s->listener, &conn) == 0) {
		struct client *k = calloc(1, sizeof *k);

		if (k)
			*k = (struct client){.store = s, .conn = conn};
		if (!k || vn_spawn(h, client_serve, k) != 0) {
			vn_close(conn);
			free(k);
		}
	}
	return vn_close(s->listener);
}

int
main(int argc, char **argv)
{
	const char *url = argc > 1 ? argv[1] : "tcp://127.0.0.1:7379";
	vn_hub *h = vn_hub_new();
	struct store s = {.listener = vn_listen(h, url, 0)};

	if (!s.listener)
		err(1, "%s", url);
	vn_spawn(h, store_accept, &s);
	vn_stop_on_term(h);
	vn_hub_free(h);
	tdestroy(s.root, record_free);
}
