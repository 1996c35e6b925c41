/* SPDX-License-Identifier: BSD-2-Clause */
/* "baton pause [SERVICE]" and "baton resume [SERVICE]": orders that are done when answered. */
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

/* "web: paused: new connections wait up to 30s" */
static void print_answer(const struct print *to, const char *order, const json_t *answer)
{
	const char *message = print_member(answer, "message");

	print_coloured(to, PRINT_BOLD, print_member(answer, "service"));
	fputs(": ", to->out);
	print_text(to, *message ? message : order);
	fputc('\n', to->out);
}

static enum cli_exit order(const struct cli_options *options, const char *order, bool paused,
			   struct error *err)
{
	cleanup(cli_client_free) struct cli_client *client = NULL;
	char path[CLI_SERVICE_MAX + 32];
	char name[CLI_SERVICE_MAX];
	struct print to = cmd_stdout();
	json_t *answer, *state;
	enum cli_exit r;

	r = cli_client_find(options->name, &client, err);
	if (r == CLI_DONE)
		r = cmd_service(options, client, name, err);
	if (r != CLI_DONE)
		return r;
	snprintf(path, sizeof(path), "/v1/services/%s/%s", name, order);
	r = cli_client_post(client, path, NULL, &answer, err);
	if (r != CLI_DONE)
		return r;
	state = json_object_get(answer, "paused");
	if (strcmp(print_member(answer, "service"), name) != 0 || !json_is_boolean(state) ||
	    json_is_true(state) != paused)
		r = error_text(err, CLI_ERROR, "%s: the daemon's answer makes no sense", order);
	else if (options->json)
		cmd_print_json(answer);
	else if (!options->quiet)
		print_answer(&to, paused ? "paused" : "resumed", answer);
	json_decref(answer);
	return r;
}

enum cli_exit cmd_pause(const struct cli_options *options, struct error *err)
{
	return order(options, "pause", true, err);
}

enum cli_exit cmd_resume(const struct cli_options *options, struct error *err)
{
	return order(options, "resume", false, err);
}
