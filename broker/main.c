/* SPDX-License-Identifier: MIT */
/*
 * Main - the program `vanilla` and its subcommands
 */
#include <stdio.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/ctl.h"
#include "broker/options.h"
#include "broker/stat.h"
#include "broker/top.h"

static int
run(int argc, char **argv)
{
	char why[VN_WHY_BYTES];
	vn_config config;
	int code = vn_options_parse(&config, argc, argv, why);

	if (code == VN_OPTIONS_HELP) {
		vn_options_help(stdout);
		code = 0;
	} else if (code != 0) {
		fprintf(stderr, "vanilla: %s\n", why);
	} else {
		code = vn_broker_run(&config);
	}
	vn_options_deinit(&config);
	return code;
}

static int
check(int argc, char **argv)
{
	int code;

	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		puts("usage: vanilla check -c FILE\n\n"
		     "Reads a configuration file as vanilla run -c FILE would, and says what is "
		     "wrong with it,\nwith the line. Ends with 0, or with 78 if something is.");
		return 0;
	}
	if (argc != 3 || (strcmp(argv[1], "-c") != 0 && strcmp(argv[1], "--config") != 0)) {
		fprintf(stderr, "vanilla: usage: vanilla check -c FILE\n");
		return VN_EXIT_USAGE;
	}
	code = vn_options_check(argv[2], stderr);
	if (code == 0)
		printf("%s: nothing is wrong with it\n", argv[2]);
	return code;
}

static const struct {
	const char *name, *arguments, *help;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"run", "[options] -- PROGRAM [ARG...]",
		"start the broker and its workers, in the foreground", run},
	{"check", "-c FILE", "what is wrong with a configuration file", check},
	{"ctl", "[-s SOCKET] [--json] COMMAND...", "one command to a running broker", vn_ctl_main},
	{"stat", "[-s SOCKET] [--json]", "its counters, even when it hangs or is dead",
		vn_stat_main},
	{"top", "[-s SOCKET]", "a live view of a running broker", vn_top_main},
};

#define N_COMMANDS (sizeof commands / sizeof *commands)

static int
help(void)
{
	puts("usage:");
	for (size_t i = 0; i < N_COMMANDS; i++)
		printf("  vanilla %s %-32s %s\n", commands[i].name, commands[i].arguments,
			commands[i].help);
	printf("  vanilla %-36s %s\n", "--version", "which version this is");
	printf("  vanilla %-36s %s\n", "--help", "this text; each command has --help as well");
	return 0;
}

static int
version(void)
{
	puts("vanilla " VN_VERSION);
	return 0;
}

int
main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;

	if (!word) {
		fprintf(stderr, "vanilla: a command is missing, such as run; see vanilla --help\n");
		return VN_EXIT_USAGE;
	}
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		return help();
	if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
		return version();
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i].name, word) == 0)
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "vanilla: no command '%.200s'; see vanilla --help\n", word);
	return VN_EXIT_USAGE;
}
