/* SPDX-License-Identifier: BSD-2-Clause */
/* "baton status [SERVICE]" and "baton list" */
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

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

/* Of one service; an older daemon does not say. */
static enum cli_exit exit_of_one(const json_t *service)
{
	const char *condition = print_member(service, "condition");

	if (strcmp(condition, "dead") == 0 || strcmp(condition, "refused") == 0)
		return CLI_DEAD;
	return strcmp(condition, "degraded") == 0 ? CLI_DEGRADED : CLI_DONE;
}

/* The worst of all that are shown. */
static enum cli_exit exit_of(const json_t *answer)
{
	json_t *services = json_object_get(answer, "services"), *service;
	enum cli_exit worst = CLI_DONE;
	size_t k;

	if (!services)
		return exit_of_one(answer);
	json_array_foreach (services, k, service) {
		enum cli_exit one = exit_of_one(service);

		if (one > worst)
			worst = one;
	}
	return worst;
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
	r = exit_of(answer);
	json_decref(answer);
	return r;
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
	r = exit_of(answer);
	json_decref(answer);
	return r;
}
