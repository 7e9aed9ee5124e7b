/* SPDX-License-Identifier: MIT */
/*
 * Option - one option of `vanilla run`: what it is called, what it takes, where it goes
 *
 * The table (options.c) has one for each; a type (option_values.c) knows how a value is read and how it is shown.
 */
#ifndef VN_BROKER_OPTION_H
#define VN_BROKER_OPTION_H

#include <stddef.h>

#include "broker/options.h"

typedef struct vn_option vn_option;

typedef struct vn_option_type {
	/* label: "option --name", "variable VANILLA_NAME" or "FILE:12: name"; 0 or an exit code */
	int (*set)(vn_config *c, const vn_option *o, const char *label, const char *value,
		char why[static VN_WHY_BYTES]);
	/* as it could be typed; "" is none */
	void (*show)(const vn_config *c, const vn_option *o, char *out, size_t size);
} vn_option_type;

struct vn_option {
	int letter; /* 0: it has none */
	const char *name, *argument;
	const char *initial; /* as if it had been typed; NULL: depends on other options */
	const char *wants;   /* what is good for it, after "wants" */
	const char *help;
	const vn_option_type *type;
	size_t offset;
	int64_t min, max;
};

extern const vn_option_type vn_type_time, vn_type_size, vn_type_size_or_auto, vn_type_count,
	vn_type_count_or_auto, vn_type_level, vn_type_format, vn_type_name, vn_type_path,
	vn_type_file, vn_type_listens, vn_type_admin;

extern const vn_option vn_options[];
extern const size_t vn_n_options;

/* What the command line, or a file, says: a value for each option, and all of --listen. */
typedef struct vn_given {
	const char *values[VN_MAX_OPTIONS];
	const char *listens[VN_MAX_LISTENS];
	uint32_t n_listens;
	uint32_t lines[VN_MAX_OPTIONS], listen_lines[VN_MAX_LISTENS]; /* of a file */
} vn_given;

int vn_option_add_listen(
	vn_config *c, const char *label, const char *value, char why[static VN_WHY_BYTES]);
int vn_option_copy(char **to, const char *value, size_t n, char why[static VN_WHY_BYTES]);
int vn_option_no_memory(char why[static VN_WHY_BYTES]);

#endif
