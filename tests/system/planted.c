/* SPDX-License-Identifier: MIT */
/*
 * planted - faults inside coroutines that a sanitizer must report
 *
 * planted overflow|stack|race|nothing: a heap block and a frame written past their end, and a variable that
 * two threads change, each after the coroutine has been switched away from and back. In a plain build all of
 * them pass unseen; under a sanitizer that did not follow our switches they would too.
 */
#include <err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <vanilla.h>

struct fault {
	const char *kind;
	size_t len;
	int *count;
};

static int
plant(vn_hub *h, void *arg)
{
	struct fault *f = arg;
	char frame[16];
	char *heap = malloc(f->len);

	if (!heap)
		return -1;
	for (int turn = 0; turn < 100; turn++)
		vn_yield(h);
	memset(heap, 1, f->len + (strcmp(f->kind, "overflow") == 0));
	memset(frame, 1, f->len + (strcmp(f->kind, "stack") == 0));
	for (int turn = 0; turn < 1000; turn++) {
		vn_yield(h);
		*f->count += heap[0] + frame[0];
	}
	free(heap);
	return 0;
}

static void *
hub_run(void *arg)
{
	vn_hub *h = vn_hub_new();

	if (!h)
		err(1, "vn_hub_new");
	for (int i = 0; i < 4; i++)
		vn_spawn(h, plant, arg);
	vn_sleep(h, VN_MS);
	for (int turn = 0; turn < 2000; turn++)
		vn_yield(h);
	vn_hub_free(h);
	return NULL;
}

int
main(int argc, char **argv)
{
	int one = 0, two = 0;
	struct fault f = {argc > 1 ? argv[1] : "nothing", 16, &one}, g = {f.kind, 16, &two};
	pthread_t thread;

	if (strcmp(f.kind, "race") == 0)
		g.count = &one;
	if (pthread_create(&thread, NULL, hub_run, &g) != 0)
		err(1, "pthread_create");
	hub_run(&f);
	pthread_join(thread, NULL);
	return 0;
}
