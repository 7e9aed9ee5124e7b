/* SPDX-License-Identifier: MIT */
/* echo - the whole of a worker program: alone it is a server, under `vanilla run` it is one of many */
#include <err.h>
#include <vanilla.h>

static int
echo(vn_hub *h, void *arg)
{
	vn_conn *c = arg;
	char data[2048];
	ssize_t n;

	(void)h;
	while ((n = vn_read(c, data, sizeof data)) > 0 && vn_write(c, data, n) == 0)
		;
	return vn_close(c);
}

int
main(int argc, char **argv)
{
	const char *url = argc > 1 ? argv[1] : "tcp://127.0.0.1:7000";
	vn_hub *h = vn_hub_new();
	vn_rx *server = vn_listen(h, url, VN_RESUMABLE);

	if (!server)
		err(1, "%s", url);
	vn_serve(server, echo);
	vn_stop_on_term(h);
	vn_hub_free(h);
}
