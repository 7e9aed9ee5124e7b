/* SPDX-License-Identifier: MIT */
/*
 * Spin - looking again before sleeping
 */
#include "client/hub/spin.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "client/hub/schedule.h"

#define LIMIT_NS   (20 * VN_US)
#define FIRST_NS   (1 * VN_US)
#define PROCESSORS 2
#define PATH_BYTES 512

static double
affinity_processors(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof set, &set) < 0 ? 1 : CPU_COUNT(&set);
}

/* The quota of one control group, in processors; many if it has none. */
static double
quota_read(const char *path)
{
	double quota, period, n = CPU_SETSIZE;
	FILE *f = fopen(path, "re");

	if (!f)
		return n;
	if (fscanf(f, "%lf %lf", &quota, &period) == 2 && period > 0)
		n = quota / period;
	fclose(f);
	return n;
}

/* The smallest quota from our control group up to the root. */
static double
quota_processors(void)
{
	char group[PATH_BYTES] = "", path[PATH_BYTES + 64];
	double n = CPU_SETSIZE, quota;
	FILE *f = fopen("/proc/self/cgroup", "re");

	if (!f)
		return n;
	while (fgets(path, PATH_BYTES, f))
		if (sscanf(path, "0::%511[^\n]", group) == 1)
			break;
	fclose(f);
	for (char *slash = group + strlen(group); slash; slash = strrchr(group, '/')) {
		*slash = '\0';
		snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
		quota = quota_read(path);
		n = quota < n ? quota : n;
	}
	return n;
}

static long
preempted(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) < 0 ? 0 : usage.ru_nivcsw;
}

/**
 * vn_spin_processors() - how many processors this process may use
 *
 * Return: the smaller of its affinity and its control groups' quota; may be a fraction.
 */
double
vn_spin_processors(void)
{
	double affinity = affinity_processors(), quota = quota_processors();

	return quota < affinity ? quota : affinity;
}

/**
 * vn_spin_init() - start without spinning
 * @s:            to initialise
 * @n_processors: that may be used; with two or fewer it stays that way
 */
void
vn_spin_init(vn_spin *s, double n_processors)
{
	s->limit = n_processors > PROCESSORS ? LIMIT_NS : 0;
	s->budget = 0;
	s->n_preempted = s->limit ? preempted() : 0;
}

/**
 * vn_spin_open() - vn_spin_init(), with the processors that this process may use
 * @s: to initialise
 *
 * A quota only takes away, and to find it is a third of what a new hub costs: nobody asks for it where there are
 * none to spare.
 */
void
vn_spin_open(vn_spin *s)
{
	double n = affinity_processors();

	vn_spin_init(s, n > PROCESSORS ? vn_spin_processors() : n);
}

static void
spin_missed(vn_spin *s)
{
	long n = preempted();

	s->budget /= n > s->n_preempted ? 4 : 2;
	s->n_preempted = n;
	if (s->budget < FIRST_NS)
		s->budget = 0;
}

/**
 * vn_spin_run() - look at the hooks until one is busy or the budget is spent
 * @s: state
 * @h: hub; nothing is ready
 *
 * Return: true if a hook was busy or made somebody ready.
 */
bool
vn_spin_run(vn_spin *s, vn_hub *h)
{
	vn_time until, next;

	if (s->budget == 0)
		return false;
	until = h->sys->now(h->sys) + s->budget;
	next = vn_wheel_next(h->wheel);
	until = next < until ? next : until;
	do {
		if (vn_hooks_turn(h) || h->ready_first)
			return true;
	} while (h->sys->now(h->sys) < until);
	spin_missed(s);
	return false;
}

/**
 * vn_spin_learn() - how long the hub slept until an event came
 * @s:     state
 * @slept: nanoseconds
 */
void
vn_spin_learn(vn_spin *s, vn_time slept)
{
	if (slept > s->limit)
		return;
	s->budget = s->budget ? s->budget * 2 : FIRST_NS;
	if (s->budget > s->limit)
		s->budget = s->limit;
}
