/* SPDX-License-Identifier: MIT */
/*
 * Overflow - the handler
 *
 * The actions that were there before are the hub's to put back. Several hubs, each in its thread, may find each
 * other's handler there: that one counts as the default, and is taken away only by one who finds it in place.
 */
#include "client/hub/overflow.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/hub/hub.h"
#include "client/hub/symbol.h"

#define SIGNAL_STACK_BYTES 65536u
#define N_SIGNALS          2

static const int signals[N_SIGNALS] = {SIGSEGV, SIGBUS};

struct vn_overflow {
	vn_hub *hub;
	void *stack; /* MAP_FAILED: the thread had one */
	struct sigaction before[N_SIGNALS];
};

static __thread vn_overflow *overflow __attribute__((tls_model("initial-exec")));

static void on_fault(int signal, siginfo_t *info, void *context);

static bool
is_ours(const struct sigaction *action)
{
	return action->sa_flags & SA_SIGINFO && action->sa_sigaction == on_fault;
}

static void
overflow_say(const vn_co *co)
{
	char name[256], line[512];
	void *function;
	int n;

	memcpy(&function, &co->fn, sizeof function);
	vn_symbol_name(function, name, sizeof name);
	n = snprintf(line, sizeof line,
		"vanilla: coroutine %llu (%s) ran over the end of its stack of %u KiB: "
		"keep large buffers off the stack, or recurse less\n",
		(unsigned long long)co->id, name, VN_STACK_BYTES / 1024);
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* there is nobody to tell */
}

static void
die_by_default(int signal, const siginfo_t *info)
{
	struct sigaction action = {.sa_handler = SIG_DFL};

	sigaction(signal, &action, NULL); /* and the same instruction faults again */
	if (info->si_code <= 0)
		raise(signal); /* somebody sent it: there is no such instruction */
}

static void
chain(const struct sigaction *before, int signal, siginfo_t *info, void *context)
{
	if (before->sa_flags & SA_SIGINFO && !is_ours(before))
		before->sa_sigaction(signal, info, context);
	else if (!is_ours(before) && before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
		before->sa_handler(signal);
	else
		die_by_default(signal, info);
}

static void
on_fault(int signal, siginfo_t *info, void *context)
{
	vn_overflow *o = overflow;

	if (!o) {
		die_by_default(signal, info);
	} else if (info->si_code > 0 && vn_stack_guards(o->hub->stacks, info->si_addr)) {
		overflow_say(o->hub->current);
		die_by_default(signal, info);
	} else {
		chain(&o->before[signal == SIGBUS], signal, info, context);
	}
}

/* The thread's alternate stack, unless it has one: a sanitizer's, or the program's. */
static void *
signal_stack_open(void)
{
	stack_t now, ours = {.ss_size = SIGNAL_STACK_BYTES};

	if (sigaltstack(NULL, &now) == 0 && !(now.ss_flags & SS_DISABLE))
		return MAP_FAILED;
	ours.ss_sp = mmap(NULL, SIGNAL_STACK_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (ours.ss_sp != MAP_FAILED)
		sigaltstack(&ours, NULL);
	return ours.ss_sp;
}

static void
signal_stack_close(void *stack)
{
	stack_t none = {.ss_flags = SS_DISABLE};

	if (stack == MAP_FAILED)
		return;
	sigaltstack(&none, NULL);
	munmap(stack, SIGNAL_STACK_BYTES);
}

/**
 * vn_overflow_open() - watch over the stacks of this thread's hub
 * @h: hub
 *
 * Return: to be given to vn_overflow_close(); NULL with errno set.
 */
vn_overflow *
vn_overflow_open(vn_hub *h)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	vn_overflow *o = calloc(1, sizeof *o);

	if (!o)
		return NULL;
	o->hub = h;
	o->stack = signal_stack_open();
	sigemptyset(&action.sa_mask);
	overflow = o;
	for (int i = 0; i < N_SIGNALS; i++)
		sigaction(signals[i], &action, &o->before[i]);
	return o;
}

/**
 * vn_overflow_close() - put back what was there before
 * @o: or NULL
 *
 * Caller: the thread that opened it.
 *
 * Return: NULL.
 */
vn_overflow *
vn_overflow_close(vn_overflow *o)
{
	struct sigaction now;

	if (!o)
		return NULL;
	for (int i = 0; i < N_SIGNALS; i++)
		if (sigaction(signals[i], NULL, &now) == 0 && is_ours(&now))
			sigaction(signals[i], &o->before[i], NULL);
	overflow = NULL;
	signal_stack_close(o->stack);
	free(o);
	return NULL;
}
