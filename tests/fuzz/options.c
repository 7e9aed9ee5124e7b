/* SPDX-License-Identifier: MIT */
/*
 * options - any words as the command line of `vanilla run`, and lines after an empty one as its variables
 *
 * One word per line. What is refused has an exit code and a sentence; what is accepted is within the limits that
 * the rest of the broker relies on. Host names are not looked up: what is no address is unknown.
 */
#include "broker/options.h"

#include <netdb.h>

#include "shm/segment.h"
#include "tests/fuzz/fuzz.h"

#define MAX_WORDS 100

int __real_getaddrinfo(
	const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found);
int __wrap_getaddrinfo(
	const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found);

/* By the linker in place of getaddrinfo(): what a fuzzer makes up is nobody's business on the network. */
int
__wrap_getaddrinfo(
	const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found)
{
	struct addrinfo numeric = *hints;

	numeric.ai_flags |= AI_NUMERICHOST;
	return __real_getaddrinfo(host, port, &numeric, found);
}

static void
check(const vn_config *c)
{
	vn_geometry g = {.n_slots = 64, .area_bytes = c->lane_memory};

	must(c->program && c->program[0] && *c->program[0]);
	must(c->n_workers >= 1 && c->n_workers <= VN_MAX_WORKERS);
	must(vn_geometry_valid(&g));
	must(c->window >= 4096 && c->depth >= 1 && c->depth <= UINT16_MAX);
	must(c->start_timeout > 0 && c->queue_timeout > 0 && c->drain_timeout >= 0);
	must(c->name && *c->name && c->control_path && *c->control_path);
	must(strlen(c->control_path) < 108 && c->n_listens <= VN_MAX_LISTENS);
}

/* VANILLA_DEPTH=3 and the like; nothing else of the environment is touched. */
static void
variable(char *line, bool set)
{
	char *value = strchr(line, '=');

	if (!value || strncmp(line, "VANILLA_", 8) != 0)
		return;
	*value = '\0';
	if (set)
		setenv(line, value + 1, 1);
	else
		unsetenv(line);
	*value = '=';
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = source_text(data, size), *rest = text, *line, why[VN_WHY_BYTES] = "";
	char *argv[MAX_WORDS + 2] = {(char[]){"run"}}, *variables[MAX_WORDS];
	int argc = 1, n = 0, code;
	bool words = true;
	vn_config c;

	while ((line = strsep(&rest, "\n")))
		if (words && !*line)
			words = false;
		else if (words && argc <= MAX_WORDS)
			argv[argc++] = line;
		else if (!words && n < MAX_WORDS)
			variables[n++] = line;
	for (int i = 0; i < n; i++)
		variable(variables[i], true);
	code = vn_options_parse(&c, argc, argv, why);
	if (code == 0)
		check(&c);
	else
		must(code == VN_OPTIONS_HELP || (code > 0 && *why && strlen(why) < sizeof why));
	vn_options_deinit(&c);
	for (int i = 0; i < n; i++)
		variable(variables[i], false);
	free(text);
	return 0;
}
