/* SPDX-License-Identifier: BSD-2-Clause */
/* "baton status [SERVICE]" and "baton list" */
#include "cli/commands.h"

#include <stdio.h>

#include "cli/print_status.h"

static enum cli_exit get(const struct cli_options *options, json_t **ret, struct error *err)
{
	cleanup(cli_client_free) struct cli_client *client = NULL;
	char name[CLI_SERVICE_MAX];
	char path[CLI_SERVICE_MAX + 32] = "/v1/services";
	enum cli_exit r;

	*ret = NULL;
	r = cli_client_find(options->name, &client, err);
	if (r != CLI_DONE)
		return r;
	if (options->n_arguments) {
		r = cmd_service(options, client, name, err);
		if (r != CLI_DONE)
			return r;
		snprintf(path, sizeof(path), "/v1/services/%s", name);
	}
	return cli_client_get(client, path, ret, err);
}

enum cli_exit cmd_status(const struct cli_options *options, struct error *err)
{
	struct print to = cmd_stdout();
	enum cli_exit r;
	json_t *answer;

	r = get(options, &answer, err);
	if (r != CLI_DONE)
		return r;
	if (options->json)
		cmd_print_json(answer);
	else if (!options->quiet && options->n_arguments)
		print_status(&to, answer);
	else if (!options->quiet)
		print_statuses(&to, answer);
	json_decref(answer);
	return CLI_DONE;
}

enum cli_exit cmd_list(const struct cli_options *options, struct error *err)
{
	struct print to = cmd_stdout();
	enum cli_exit r;
	json_t *answer;

	r = get(options, &answer, err);
	if (r != CLI_DONE)
		return r;
	if (options->json)
		cmd_print_json(answer);
	else
		print_list(&to, answer, options->quiet);
	json_decref(answer);
	return CLI_DONE;
}
