/* SPDX-License-Identifier: MIT */
/*
 * packets - a service of messages: what their first byte says is done
 *
 * packets URL	"calls": what calls that know no messages return; "small": the next one is read with too little room, then
 *		with enough; "write": the longest message, then what one that is longer and an empty one return; "die": the
 *		worker ends without an answer, the first time; anything else comes back
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <vanilla.h>

#define ROOM 65536

static int
tell_calls(vn_conn *c)
{
	char text[128], data[8];
	const void *at;
	vn_view view;
	vn_loan loan;
	int n = snprintf(text, sizeof text, "%d %d %d %d %d %d", (int)vn_read_n(c, data, 1),
		(int)vn_read_until(c, data, 1, "\n"), (int)vn_peek(c, &at, 1), vn_skip(c, 0),
		vn_take(c, &view), vn_borrow(c, 8, &loan));

	return vn_write(c, text, (size_t)n);
}

static int
read_small(vn_conn *c, char *data)
{
	char text[64];
	int little, enough;

	vn_hold(c);
	little = (int)vn_read(c, data, 3);
	enough = (int)vn_read(c, data, ROOM);
	return vn_write(c, text, (size_t)snprintf(text, sizeof text, "%d %d", little, enough));
}

static int
write_all(vn_conn *c, char *data)
{
	char text[64];
	int rc;

	for (int i = 0; i < ROOM; i++)
		data[i] = (char)i;
	rc = vn_write(c, data, 65532);
	if (rc < 0)
		return rc;
	return vn_write(c, text,
		(size_t)snprintf(text, sizeof text, "%d %d", vn_write(c, data, 65533),
			vn_write(c, data, 0)));
}

static int
message_do(vn_conn *c, char *data, size_t n)
{
	switch (data[0]) {
	case 'c':
		return tell_calls(c);
	case 's':
		return read_small(c, data);
	case 'w':
		return write_all(c, data);
	case 'd':
		if (vn_conn_attempt(c) == 1)
			_exit(3);
		return vn_write(c, data, n);
	default:
		return vn_write(c, data, n);
	}
}

static int
serve(vn_hub *h, void *arg)
{
	vn_conn *c = arg;
	char *data = malloc(ROOM);
	ssize_t n;

	(void)h;
	while (data && (n = vn_read(c, data, ROOM)) > 0 && message_do(c, data, (size_t)n) == 0)
		vn_commit(c);
	free(data);
	return vn_close(c);
}

int
main(int argc, char **argv)
{
	vn_hub *h = vn_hub_new();
	vn_rx *server = argc == 2 ? vn_listen(h, argv[1], VN_RESUMABLE) : NULL;

	if (!server)
		err(1, "usage: packets URL");
	vn_serve(server, serve);
	vn_stop_on_term(h);
	vn_hub_free(h);
}
