/* SPDX-License-Identifier: BSD-2-Clause */
/* "baton version": this program's version, and the daemon's if one answers. */
#include "cli/commands.h"

#include <stdio.h>

enum cli_exit cmd_version(const struct cli_options *options, struct error *err)
{
	cleanup(cli_client_free) struct cli_client *client = NULL;
	struct print to = cmd_stdout();
	struct error ignored = {0};
	json_t *daemon = NULL, *both;
	enum cli_exit r;

	r = cli_client_find(options->name, &client, err);
	if (r != CLI_DONE)
		return r;
	/* The command succeeds without a daemon, too. */
	r = cli_client_get(client, "/v1/version", &daemon, &ignored);
	if (options->json) {
		both = json_pack("{s:s, s:O?}", "baton", BATON_VERSION, "batond", daemon);
		cmd_print_json(both);
		json_decref(both);
		json_decref(daemon);
		return CLI_DONE;
	}
	printf("baton %s\n", BATON_VERSION);
	if (options->quiet) {
		json_decref(daemon);
		return CLI_DONE;
	}
	if (r == CLI_DONE) {
		fputs("batond ", stdout);
		print_text(&to, print_member(daemon, "version"));
		printf(" (called \"");
		print_text(&to, print_member(daemon, "name"));
		printf("\", pid %lld)\n", print_number(daemon, "pid"));
	} else {
		fputs("batond: ", stdout);
		print_text(&to, ignored.text);
		putchar('\n');
	}
	json_decref(daemon);
	return CLI_DONE;
}
