/* SPDX-License-Identifier: MIT */
/*
 * Help - the commands by what they are for, and one of them with an example
 *
 * Everything comes from the table of commands and that of reports: what is not there cannot be typed.
 */
#include <stdio.h>
#include <string.h>

#include "broker/command.h"
#include "broker/report.h"

static int
line(vn_client *c, const char *name, const char *what, const char *arguments, const char *help)
{
	char left[96];

	snprintf(left, sizeof left, "%s%s%s%s%s", name, *what ? " " : "", what,
		*arguments ? " " : "", arguments);
	return vn_client_printf(c, "  %-56s %s\n", left, help);
}

static int
report_line(vn_client *c, const vn_report *r)
{
	char arguments[80];

	snprintf(arguments, sizeof arguments, "%s%s[json]", r->arguments ? r->arguments : "",
		r->arguments ? " " : "");
	return line(c, "show", r->name, arguments, r->help);
}

static int
command_line(vn_client *c, const vn_command *k)
{
	int rc = 0;

	if (k->help)
		return line(c, k->name, "", k->arguments ? k->arguments : "", k->help);
	for (size_t i = 0; i < vn_n_reports && rc == 0; i++)
		rc = report_line(c, &vn_reports[i]);
	return rc;
}

static int
help_all(vn_client *c)
{
	int rc = 0;

	for (size_t i = 0; i < vn_n_commands && rc == 0; i++) {
		if (vn_commands[i].group)
			rc = vn_client_printf(c, "%s\n", vn_commands[i].group);
		if (rc == 0)
			rc = command_line(c, &vn_commands[i]);
	}
	if (rc == 0)
		rc = vn_client_printf(c,
			"A line is a command; ';' puts several on one line, and each has its own "
			"answer.\nhelp COMMAND tells more, with an example: help show conns\n");
	return rc;
}

static int
explain(vn_client *c, const char *more, const char *example)
{
	int rc = more ? vn_client_printf(c, "%s\n", more) : 0;

	return rc == 0 && example ? vn_client_printf(c, "for example: %s\n", example) : rc;
}

/* Is the second word, if there is one, among the arguments of the command? "worker drain" is, "worker spin" is not. */
static bool
is_meant(const vn_command *k, char **words, size_t n)
{
	const char *at;
	size_t len;

	if (strcmp(k->name, words[0]) != 0)
		return false;
	if (n == 1)
		return true;
	len = strlen(words[1]);
	for (at = k->arguments; at && (at = strstr(at, words[1])); at += len)
		if ((at == k->arguments || strchr(" |[", at[-1])) && strchr(" |]", at[len]))
			return true;
	return false;
}

/* Return: how many there were, or a negative errno. */
static int
help_reports(vn_client *c, const char *name)
{
	int n = 0, rc = 0;

	for (size_t i = 0; i < vn_n_reports && rc == 0; i++) {
		const vn_report *r = &vn_reports[i];

		if (name && strcmp(name, r->name) != 0)
			continue;
		n++;
		rc = report_line(c, r);
		if (rc == 0 && name)
			rc = explain(c, r->more, r->example);
	}
	return rc < 0 ? rc : n;
}

static int
help_commands(vn_client *c, char **words, size_t n)
{
	int n_found = 0, rc = 0;

	for (size_t i = 0; i < vn_n_commands && rc == 0; i++) {
		const vn_command *k = &vn_commands[i];

		if (!k->help || !is_meant(k, words, n))
			continue;
		n_found++;
		rc = command_line(c, k);
		if (rc == 0)
			rc = explain(c, k->more, k->example);
	}
	return rc < 0 ? rc : n_found;
}

/**
 * vn_help_run() - the command `help`, and `help COMMAND`
 */
int
vn_help_run(vn_client *c, char **words, size_t n)
{
	int rc = 1;

	if (n == 1)
		rc = help_all(c);
	else if (strcmp(words[1], "show") == 0)
		rc = help_reports(c, n > 2 ? words[2] : NULL);
	else
		rc = help_commands(c, words + 1, n - 1);
	if (rc < 0)
		return rc;
	if (n > 1 && rc == 0)
		return vn_client_error(c, "unknown", "no command '%.60s%s%.60s'; try help",
			words[1], n > 2 ? " " : "", n > 2 ? words[2] : "");
	return vn_client_ok(c);
}
