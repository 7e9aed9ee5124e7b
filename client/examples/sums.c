/* SPDX-License-Identifier: MIT */
/*
 * sums - each line is answered with its checksum and its running number on the connection
 *
 * The number is kept in vn_conn_state(): so it goes on when the worker dies or is replaced and another one answers
 * the next line. It is changed after the line was read and before the next read commits, so a line that is delivered
 * again is given the same number again.
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <vanilla.h>

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t
checksum(const char *data, ssize_t n)
{
	uint64_t sum = 0xcbf29ce484222325u;

	for (ssize_t i = 0; i < n; i++)
		sum = (sum ^ (unsigned char)data[i]) * 0x100000001b3u;
	return sum;
}

static int
sums(vn_hub *h, void *arg)
{
	vn_conn *c = arg;
	uint64_t *number = vn_conn_state(c, sizeof *number);
	char line[4096], answer[64];
	ssize_t n;

	(void)h;
	while (number && (n = vn_read_until(c, line, sizeof line, "\n")) > 0) {
		int len = snprintf(answer, sizeof answer, "%" PRIu64 " %016" PRIx64 "\n", ++*number,
			checksum(line, n));

		if (vn_write(c, answer, (size_t)len) != 0)
			break;
	}
	if (!number || n == -EMSGSIZE)
		vn_abort(c);
	return vn_close(c);
}

int
main(int argc, char **argv)
{
	const char *url = argc > 1 ? argv[1] : "tcp://127.0.0.1:7002";
	vn_hub *h = vn_hub_new();
	vn_rx *server = vn_listen(h, url, VN_RESUMABLE);

	if (!server)
		err(1, "%s", url);
	vn_serve(server, sums);
	vn_stop_on_term(h);
	vn_hub_free(h);
}
