/* SPDX-License-Identifier: MIT */
/* udp_echo - sends every datagram back: the answer leaves from the address that was asked */
#include <err.h>
#include <vanilla.h>

static int
echo(vn_hub *h, void *arg)
{
	char data[2048];
	vn_datagram d;
	ssize_t n;

	(void)h;
	while ((n = vn_udp_recv(arg, data, sizeof data, &d)) >= 0 &&
		vn_udp_send(arg, data, (size_t)n, &d) == 0)
		;
	return vn_close((vn_udp *)arg);
}

int
main(int argc, char **argv)
{
	const char *url = argc > 1 ? argv[1] : "udp://127.0.0.1:7000";
	vn_hub *h = vn_hub_new();
	vn_udp *udp = vn_bind(h, url);

	if (!udp)
		err(1, "%s", url);
	vn_spawn(h, echo, udp);
	vn_stop_on_term(h);
	vn_hub_free(h);
}
