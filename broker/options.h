/* SPDX-License-Identifier: MIT */
/*
 * Options - the command line of `vanilla run`
 *
 * One table says what each option is called, what it takes, where it goes and what it is if nobody says
 * anything; parsing, variables and --help all come from it. A flag wins over its VANILLA_ variable, that over
 * the file, that over the default.
 */
#ifndef VN_BROKER_OPTIONS_H
#define VN_BROKER_OPTIONS_H

#include <stdio.h>

#include "broker/broker.h"

#define VN_WHY_BYTES 1024

#define VN_OPTIONS_HELP (-1) /* --help was asked for */

/* One option as it is: its name, its value as it could be typed, where that came from, and from where in there. */
typedef struct vn_option_shown {
	const char *name, *source;
	char value[1536], place[320];
} vn_option_shown;

int vn_options_parse(vn_config *c, int argc, char **argv, char why[static VN_WHY_BYTES]);
void vn_options_deinit(vn_config *c);
void vn_options_help(FILE *to);
int vn_options_check(const char *path, FILE *to);
bool vn_options_shown(const vn_config *c, size_t i, vn_option_shown *out);

#endif
