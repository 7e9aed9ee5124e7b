/* SPDX-License-Identifier: MIT */
/*
 * Config - the options from a file
 *
 *     # what /etc/vanilla/kv.conf may look like
 *     program = {"/usr/bin/kv", "tcp://127.0.0.1:7379"}
 *     workers = 4
 *     stall-timeout = 5s
 *     listen  = {"web=tcp://0.0.0.0:80?backlog=1024", "unix:/run/kv.sock"}
 *
 * libconfuse reads it: names are those of the options without their dashes, values what could be typed, in quotes
 * where they have anything but letters, digits and dots in them. Values are only collected here, with their lines;
 * the types of the options judge them, so that a flag, a variable and a file mean the same.
 */
#include "broker/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <confuse.h>

#include "broker/log.h"

#define FILE_MAX    (1 << 20)
#define PROGRAM_MAX 256 /* words */

struct vn_config_file {
	cfg_t *cfg; /* owns the values */
	vn_given given;
	char *program[PROGRAM_MAX + 1];
	uint32_t program_line;
	char *why; /* while it is read */
};

/*
 * libconfuse has no room for a context in its callbacks. The title of the whole file is a pointer that it only uses
 * for sections with titles, which we have none of; it is taken back before libconfuse would free it.
 */
static void
context_set(cfg_t *cfg, vn_config_file *file)
{
	cfg->title = (char *)(void *)file;
}

static vn_config_file *
context_of(const cfg_t *cfg)
{
	return (vn_config_file *)(void *)cfg->title;
}

/* The first error counts. */
static void
on_error(cfg_t *cfg, const char *format, va_list args)
{
	char *why = context_of(cfg)->why;
	int n;

	if (*why)
		return;
	n = snprintf(why, VN_WHY_BYTES, "%.400s:%d: ", cfg->filename, cfg->line);
	vsnprintf(why + n, VN_WHY_BYTES - (size_t)n, format, args);
	vn_log_clean(why, strlen(why));
}

static size_t
option_index(const char *name)
{
	size_t i = 0;

	while (i < vn_n_options && strcmp(vn_options[i].name, name) != 0)
		i++;
	return i;
}

static int
take_listen(cfg_t *cfg, cfg_opt_t *opt, vn_given *given)
{
	unsigned int n = cfg_opt_size(opt);

	if (n > VN_MAX_LISTENS) {
		cfg_error(cfg, "listen: at most %d endpoints", VN_MAX_LISTENS);
		return -1;
	}
	for (given->n_listens = n < given->n_listens ? 0 : given->n_listens; given->n_listens < n;
		given->n_listens++)
		given->listen_lines[given->n_listens] = (uint32_t)cfg->line;
	return 0;
}

/* A value was read: remember where. Called for each one of a list as well. */
static int
on_value(cfg_t *cfg, cfg_opt_t *opt)
{
	vn_config_file *file = context_of(cfg);
	size_t i = option_index(cfg_opt_name(opt));

	if (i == vn_n_options) { /* program */
		file->program_line = (uint32_t)cfg->line;
		if (cfg_opt_size(opt) <= PROGRAM_MAX)
			return 0;
		cfg_error(cfg, "program: at most %d words", PROGRAM_MAX);
		return -1;
	}
	if (vn_options[i].type != &vn_type_listens && file->given.lines[i]) {
		cfg_error(cfg, "%s is set in line %u already; leave one out", vn_options[i].name,
			file->given.lines[i]);
		return -1;
	}
	file->given.lines[i] = (uint32_t)cfg->line;
	return vn_options[i].type == &vn_type_listens ? take_listen(cfg, opt, &file->given) : 0;
}

/* All of our options but the one that names the file, and the program. */
static cfg_t *
describe(void)
{
	cfg_opt_t opts[VN_MAX_OPTIONS + 2];
	size_t n = 0;
	cfg_t *cfg;

	for (size_t i = 0; i < vn_n_options; i++) {
		if (vn_options[i].type == &vn_type_listens)
			opts[n++] =
				(cfg_opt_t)CFG_STR_LIST(vn_options[i].name, NULL, CFGF_NODEFAULT);
		else if (vn_options[i].type != &vn_type_file)
			opts[n++] = (cfg_opt_t)CFG_STR(vn_options[i].name, NULL, CFGF_NODEFAULT);
	}
	opts[n++] = (cfg_opt_t)CFG_STR_LIST("program", NULL, CFGF_NODEFAULT);
	opts[n] = (cfg_opt_t)CFG_END();
	cfg = cfg_init(opts, CFGF_NONE);
	for (size_t i = 0; cfg && i < n; i++)
		cfg_set_validate_func(cfg, opts[i].name, on_value);
	return cfg;
}

/* The whole file, as long as it may be. */
static int
slurp(const char *path, char **text, size_t *len, char why[static VN_WHY_BYTES])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = fd < 0 ? errno : 0;
	ssize_t n = 1;

	*len = 0;
	*text = malloc(FILE_MAX + 1);
	while (rc == 0 && *text && n > 0 && *len <= FILE_MAX) {
		n = read(fd, *text + *len, FILE_MAX + 1 - *len);
		if (n > 0)
			*len += (size_t)n;
		else if (n < 0 && errno != EINTR)
			rc = errno;
		else if (n < 0)
			n = 1;
	}
	if (fd >= 0)
		close(fd);
	if (rc != 0)
		snprintf(why, VN_WHY_BYTES, "%.400s: cannot be read: %s", path, strerror(rc));
	else if (!*text)
		return vn_option_no_memory(why);
	else if (*len > FILE_MAX)
		snprintf(why, VN_WHY_BYTES, "%.400s: longer than a megabyte; is it the right one?",
			path);
	return *why ? VN_EXIT_CONFIG : 0;
}

static int
parse(vn_config_file *file, const char *path, char *text, size_t len)
{
	FILE *stream = len > 0 ? fmemopen(text, len, "r") : NULL;
	int rc = CFG_SUCCESS;

	if (len > 0 && !stream)
		return vn_option_no_memory(file->why);
	cfg_set_error_function(file->cfg, on_error);
	context_set(file->cfg, file);
	file->cfg->filename = strdup(path);
	if (stream) {
		rc = cfg_parse_fp(file->cfg, stream);
		fclose(stream);
	}
	file->cfg->title = NULL;
	if (rc == CFG_SUCCESS && !*file->why)
		return 0;
	if (!*file->why)
		snprintf(file->why, VN_WHY_BYTES, "%.400s: cannot be understood", path);
	return VN_EXIT_CONFIG;
}

/* What was read, where vn_options_parse() looks for it. */
static void
collect(vn_config_file *file)
{
	for (size_t i = 0; i < vn_n_options; i++)
		if (file->given.lines[i] && vn_options[i].type != &vn_type_listens)
			file->given.values[i] = cfg_getstr(file->cfg, vn_options[i].name);
	for (uint32_t i = 0; i < file->given.n_listens; i++)
		file->given.listens[i] = cfg_getnstr(file->cfg, "listen", i);
	for (unsigned int i = 0; i < cfg_size(file->cfg, "program"); i++)
		file->program[i] = cfg_getnstr(file->cfg, "program", i);
}

int
vn_config_file_read(vn_config_file **file, const char *path, char why[static VN_WHY_BYTES])
{
	vn_config_file *f = *file = calloc(1, sizeof *f);
	char *text = NULL;
	size_t len = 0;
	int rc;

	*why = '\0';
	if (!f || !(f->cfg = describe()))
		return vn_option_no_memory(why);
	rc = slurp(path, &text, &len, why);
	f->why = why;
	if (rc == 0)
		rc = parse(f, path, text, len);
	free(text);
	if (rc == 0)
		collect(f);
	return rc;
}

vn_config_file *
vn_config_file_free(vn_config_file *file)
{
	if (file && file->cfg)
		cfg_free(file->cfg);
	free(file);
	return NULL;
}

const vn_given *
vn_config_file_given(const vn_config_file *file)
{
	return &file->given;
}

char **
vn_config_file_program(const vn_config_file *file, uint32_t *line)
{
	*line = file->program_line;
	return file->program[0] ? (char **)(uintptr_t)file->program : NULL;
}
