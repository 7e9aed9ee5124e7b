/* SPDX-License-Identifier: MIT */
/*
 * Child - from clone to exec
 *
 * What the child needs is prepared here by its parent; between clone and exec it makes system calls and nothing else.
 */
#ifndef VN_OS_CHILD_H
#define VN_OS_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define VN_CHILD_NOT_FOUND      127
#define VN_CHILD_NOT_EXECUTABLE 126

typedef struct vn_child {
	char *const *argv, *const *env;
	const char *program;   /* NULL: argv[0] */
	const char *path;      /* where argv[0] is looked up if it has no slash */
	const char *directory; /* NULL: where we are */
	int *fds;              /* what is 0, 1, 2, ... there; the child changes it */
	int n_fds;
	int max_fds;  /* where the kernel cannot close all the others at once */
	pid_t parent; /* who must be alive; getpid() */
	bool own_group;
	int answer; /* its own: where it writes why it did not come to exec */
} vn_child;

int vn_child_max_fds(void);
/* The stack is the child's alone, 32 KiB at least; its pid, or a negative errno and there is no child. */
int vn_child_start(vn_child *c, void *stack_top, int *pidfd);

#endif
