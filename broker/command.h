/* SPDX-License-Identifier: MIT */
/*
 * Command - a command of the control socket, as one line of a table
 */
#ifndef VN_BROKER_COMMAND_H
#define VN_BROKER_COMMAND_H

#include "broker/control.h"

typedef struct vn_command {
	const char *group;     /* what it is for: the first of a group has it */
	const char *name;      /* its first word; several may begin with the same */
	const char *arguments; /* NULL: it takes none */
	const char *help;      /* in a few words; NULL: a line for each report comes here */
	const char *more;      /* sentences, one a line */
	const char *example;
	/* words[0] is the name; n counts it. 0, or a negative errno: the client is gone */
	int (*run)(vn_client *c, char **words, size_t n);
} vn_command;

extern const vn_command vn_commands[];
extern const size_t vn_n_commands;

/* help.c */
int vn_help_run(vn_client *c, char **words, size_t n);

/* intervene.c */
int vn_conn_run(vn_client *c, char **words, size_t n);
int vn_listener_run(vn_client *c, char **words, size_t n);

#endif
