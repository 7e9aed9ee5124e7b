/* SPDX-License-Identifier: MIT */
/*
 * Config - the options from a file
 */
#ifndef VN_BROKER_CONFIG_H
#define VN_BROKER_CONFIG_H

#include "broker/option.h"

typedef struct vn_config_file vn_config_file;

/* 0, or VN_EXIT_CONFIG or VN_EXIT_SYSTEM and a sentence that begins with the path, and the line where there is one */
int vn_config_file_read(vn_config_file **file, const char *path, char why[static VN_WHY_BYTES]);
vn_config_file *vn_config_file_free(vn_config_file *file);

const vn_given *vn_config_file_given(const vn_config_file *file);
char **vn_config_file_program(const vn_config_file *file, uint32_t *line); /* NULL: it names none */

#endif
