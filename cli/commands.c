/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/paths.h"

struct print cmd_stdout(void)
{
	const char *no_color = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	return (struct print){
		.out = stdout,
		.colour = isatty(STDOUT_FILENO) && !(no_color && *no_color) && term &&
			  strcmp(term, "dumb") != 0,
		.now_ms = clock_realtime_ms(),
	};
}

void cmd_print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	putchar('\n');
}

void cmd_print_message(const struct print *to, const json_t *answer, const char *otherwise)
{
	const char *message = print_member(answer, "message");

	print_coloured(to, PRINT_BOLD, print_member(answer, "service"));
	fputs(": ", to->out);
	print_text(to, *message ? message : otherwise);
	fputc('\n', to->out);
}

/* "one, two, three" */
static void join_names(const json_t *services, char *ret, size_t size)
{
	json_t *service;
	size_t i, n = 0;

	ret[0] = '\0';
	json_array_foreach (services, i, service) {
		int added = snprintf(ret + n, size - n, "%s%s", i ? ", " : "",
				     print_member(service, "service"));

		n += (size_t)added;
		if (n >= size)
			return;
	}
}

enum cli_exit cmd_odd_answer(const char *word, struct error *err)
{
	return error_text(err, CLI_ERROR,
			  "%s: the daemon's answer is not one that this program knows; \"baton "
			  "version\" tells whether they are of the same version",
			  word);
}

static enum cli_exit only_service(struct cli_client *client, char ret[static CLI_SERVICE_MAX],
				  struct error *err)
{
	json_t *answer, *services;
	enum cli_exit r;
	char names[512];

	r = cli_client_get(client, "/v1/services", &answer, err);
	if (r != CLI_DONE)
		return r;
	services = json_object_get(answer, "services");
	join_names(services, names, sizeof(names));
	if (json_array_size(services) == 1)
		snprintf(ret, CLI_SERVICE_MAX, "%s", names);
	else if (json_array_size(services) == 0)
		r = error_text(err, CLI_ERROR, "the daemon called \"%s\" has no services",
			       cli_client_name(client));
	else
		r = error_text(err, CLI_USAGE, "which service? There are %s", names);
	json_decref(answer);
	return r;
}

enum cli_exit cmd_service(const struct cli_options *options, struct cli_client *client,
			  char ret[static CLI_SERVICE_MAX], struct error *err)
{
	if (!options->n_arguments)
		return only_service(client, ret, err);
	/* It becomes part of a URL: nothing but what a name may consist of. */
	if (paths_check_name(options->arguments[0], err) < 0)
		return CLI_USAGE;
	snprintf(ret, CLI_SERVICE_MAX, "%s", options->arguments[0]);
	return CLI_DONE;
}
