/* SPDX-License-Identifier: BSD-2-Clause */
/* "baton pause", "resume" and "reopen [SERVICE]": orders that are done when they are answered. */
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

struct quick_order {
	const char *name;
	const char *done; /* printed where the daemon has no words of its own */
	bool sets_paused; /* the answer says so */
	bool paused;
};

static bool makes_sense(const struct quick_order *order, const char *service, const json_t *answer)
{
	const json_t *paused = json_object_get(answer, "paused");

	if (strcmp(print_member(answer, "service"), service) != 0)
		return false;
	return !order->sets_paused ||
	       (json_is_boolean(paused) && json_is_true(paused) == order->paused);
}

/* All that is listed; @err has only the first. */
static void print_failures(const struct cli_options *options, const json_t *problem,
			   struct error *err)
{
	const json_t *mistakes = json_object_get(problem, "mistakes");
	struct print to = {.out = stderr};
	json_t *text;
	size_t i;

	if (json_array_size(mistakes) == 0)
		return;
	if (options->json) {
		cmd_print_json(problem);
	} else {
		fputs("baton: ", stderr);
		print_text(&to, print_member(problem, "title"));
		fputs("; where that failed, the old one is written on:\n", stderr);
		json_array_foreach (mistakes, i, text)
			if (json_is_string(text))
				print_lines(&to, "  ", json_string_value(text));
	}
	err->text[0] = '\0';
}

static enum cli_exit give(const struct cli_options *options, const struct quick_order *order,
			  struct error *err)
{
	cleanup(cli_client_free) struct cli_client *client = NULL;
	char path[CLI_SERVICE_MAX + 32];
	char name[CLI_SERVICE_MAX];
	struct print to = cmd_stdout();
	json_t *answer;
	enum cli_exit r;

	r = cli_client_find(options->name, &client, err);
	if (r == CLI_DONE)
		r = cmd_service(options, client, name, err);
	if (r != CLI_DONE)
		return r;
	snprintf(path, sizeof(path), "/v1/services/%s/%s", name, order->name);
	r = cli_client_post(client, path, NULL, &answer, err);
	if (r != CLI_DONE) {
		print_failures(options, cli_client_problem(client), err);
		return r;
	}
	if (!makes_sense(order, name, answer))
		r = cmd_odd_answer(order->name, err);
	else if (options->json)
		cmd_print_json(answer);
	else if (!options->quiet)
		cmd_print_message(&to, answer, order->done);
	json_decref(answer);
	return r;
}

enum cli_exit cmd_pause(const struct cli_options *options, struct error *err)
{
	static const struct quick_order pause = {"pause", "paused", true, true};

	return give(options, &pause, err);
}

enum cli_exit cmd_resume(const struct cli_options *options, struct error *err)
{
	static const struct quick_order resume = {"resume", "resumed", true, false};

	return give(options, &resume, err);
}

enum cli_exit cmd_reopen(const struct cli_options *options, struct error *err)
{
	static const struct quick_order reopen = {"reopen", "reopened", false, false};

	return give(options, &reopen, err);
}
