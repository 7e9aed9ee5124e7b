/* SPDX-License-Identifier: MIT */
/*
 * upper - a line service: each line comes back in upper case
 *
 * One line is one request. Reading the next line says that the one before is done, so a worker that dies
 * takes no finished line with it, and the line in hand is answered by another worker.
 */
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <vanilla.h>

static int
upper(vn_hub *h, void *arg)
{
	vn_conn *c = arg;
	char line[4096];
	ssize_t n;

	(void)h;
	while ((n = vn_read_until(c, line, sizeof line, "\n")) > 0) {
		for (ssize_t i = 0; i < n; i++)
			line[i] = (char)toupper((unsigned char)line[i]);
		if (vn_write(c, line, (size_t)n) != 0)
			break;
	}
	if (n == -EMSGSIZE)
		vn_abort(c); /* the client must not take this for a proper end */
	return vn_close(c);
}

int
main(int argc, char **argv)
{
	const char *url = argc > 1 ? argv[1] : "tcp://127.0.0.1:7001";
	vn_hub *h = vn_hub_new();
	vn_rx *server = vn_listen(h, url, VN_RESUMABLE);

	if (!server)
		err(1, "%s", url);
	vn_serve(server, upper);
	vn_stop_on_term(h);
	vn_hub_free(h);
}
