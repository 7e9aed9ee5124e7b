/* SPDX-License-Identifier: MIT */
/* ticktock - two coroutines that take turns, and a program that ends when it is asked to */
#include <stdio.h>
#include <vanilla.h>

static int
beat(vn_hub *h, void *message)
{
	do
		puts(message);
	while (vn_sleep(h, VN_SEC) == 0);
	return 0;
}

int
main(void)
{
	vn_hub *h = vn_hub_new();

	vn_spawn(h, beat, "Tick");
	vn_spawn_later(h, VN_SEC / 2, beat, "Tock");
	vn_stop_on_term(h);
	vn_hub_free(h);
}
