/* SPDX-License-Identifier: BSD-2-Clause */
/* "baton connections [SERVICE] [--limit N]" */
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/print_connections.h"

enum cli_exit cmd_connections(const struct cli_options *options, struct error *err)
{
	cleanup(cli_client_free) struct cli_client *client = NULL;
	struct print to = cmd_stdout();
	char path[CLI_SERVICE_MAX + 64];
	char name[CLI_SERVICE_MAX];
	char limit[32] = "";
	json_t *answer;
	enum cli_exit r;

	r = cli_client_find(options->name, &client, err);
	if (r == CLI_DONE)
		r = cmd_service(options, client, name, err);
	if (r != CLI_DONE)
		return r;
	if (options->has_limit)
		snprintf(limit, sizeof(limit), "?limit=%" PRIu64, options->limit);
	snprintf(path, sizeof(path), "/v1/services/%s/connections%s", name, limit);
	r = cli_client_get(client, path, &answer, err);
	if (r != CLI_DONE)
		return r;
	if (options->json)
		cmd_print_json(answer);
	else if (!options->quiet)
		print_connections(&to, answer);
	json_decref(answer);
	return CLI_DONE;
}
