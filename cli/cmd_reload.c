/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "baton reload": the daemon reads its configuration again. What has begun goes on for each service
 * by itself (see "baton events"), so nothing is waited for.
 */
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

static void print_names(const struct print *to, const json_t *answer, const char *key,
			enum print_colour colour, const char *what)
{
	json_t *name;
	size_t i;

	json_array_foreach (json_object_get(answer, key), i, name) {
		if (!json_is_string(name))
			continue;
		print_coloured(to, PRINT_BOLD, json_string_value(name));
		fputs(": ", to->out);
		print_coloured(to, colour, what);
		fputc('\n', to->out);
	}
}

/* It has a "service" and a "detail". */
static void print_detail(const struct print *to, const json_t *entry, enum print_colour colour,
			 const char *what)
{
	print_coloured(to, PRINT_BOLD, print_member(entry, "service"));
	fputs(": ", to->out);
	print_coloured(to, colour, what);
	if (*print_member(entry, "detail")) {
		fputs(": ", to->out);
		print_text(to, print_member(entry, "detail"));
	}
	fputc('\n', to->out);
}

/* Only some of its instances come or go. */
static bool is_scaled(const json_t *answer, const char *service)
{
	const json_t *rollout = json_object_get(json_object_get(answer, "rollouts"), service);

	return strcmp(print_member(rollout, "order"), "scale") == 0;
}

/* Those that wait are new, or are to be changed. */
static void print_waiting(const struct print *to, const json_t *answer)
{
	const json_t *rollouts = json_object_get(answer, "rollouts");
	json_t *entry;
	size_t i;

	json_array_foreach (json_object_get(answer, "waiting"), i, entry) {
		const json_t *rollout = json_object_get(rollouts, print_member(entry, "service"));
		bool starts = strcmp(print_member(rollout, "order"), "start") == 0;

		print_detail(to, entry, PRINT_YELLOW,
			     starts ? "new, not yet started" : "changed, not yet replaced");
	}
}

static void print_changed(const struct print *to, const json_t *answer)
{
	json_t *name;
	size_t i;

	json_array_foreach (json_object_get(answer, "changed"), i, name) {
		if (!json_is_string(name))
			continue;
		print_coloured(to, PRINT_BOLD, json_string_value(name));
		fputs(": ", to->out);
		print_coloured(to, PRINT_YELLOW,
			       is_scaled(answer, json_string_value(name)) ? "changed, is scaled"
									  : "changed, is replaced");
		fputc('\n', to->out);
	}
}

static void print_details(const struct print *to, const json_t *entries, enum print_colour colour,
			  const char *what)
{
	json_t *entry;
	size_t i;

	json_array_foreach (entries, i, entry)
		print_detail(to, entry, colour, what);
}

static void print_refused(const struct print *to, const json_t *answer)
{
	print_details(to, json_object_get(answer, "refused"), PRINT_RED, "refused");
}

static void print_overridden(const struct print *to, const json_t *overridden)
{
	json_t *entry;
	size_t i;

	json_array_foreach (overridden, i, entry) {
		print_coloured(to, PRINT_BOLD, print_member(entry, "service"));
		fputs(": ", to->out);
		print_coloured(to, PRINT_YELLOW, print_member(entry, "detail"));
		fputc('\n', to->out);
	}
}

static void print_renamed(const struct print *to, const json_t *renamed)
{
	json_t *entry;
	size_t i;

	json_array_foreach (renamed, i, entry) {
		print_coloured(to, PRINT_BOLD, print_member(entry, "service"));
		fputs(": the new name of ", to->out);
		print_text(to, print_member(entry, "before"));
		fputs(", whose addresses it has\n", to->out);
	}
}

static void print_reload(const struct print *to, const json_t *answer)
{
	static const char *const keys[] = {"started", "changed",   "waiting",
					   "removed", "unchanged", "refused"};
	size_t n = 0;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		n += json_array_size(json_object_get(answer, keys[i]));
	print_renamed(to, json_object_get(answer, "renamed"));
	print_names(to, answer, "started", PRINT_GREEN, "new, starts");
	print_changed(to, answer);
	print_waiting(to, answer);
	print_names(to, answer, "removed", PRINT_YELLOW, "removed, drains and stops");
	print_names(to, answer, "unchanged", PRINT_PLAIN, "unchanged");
	print_overridden(to, json_object_get(answer, "overridden"));
	print_refused(to, answer);
	if (n)
		return;
	print_text(to, *print_member(answer, "message") ? print_member(answer, "message")
							: "no services");
	fputc('\n', to->out);
}

/* All mistakes at once, as "baton check" shows them; @err has only the first. */
static void print_mistakes(const json_t *mistakes, struct error *err)
{
	struct print to = {.out = stderr};
	size_t i, n = json_array_size(mistakes);
	json_t *mistake;

	fprintf(stderr, "baton: %zu mistake%s in the configuration, everything stays as it is:\n",
		n, n == 1 ? "" : "s");
	json_array_foreach (mistakes, i, mistake) {
		if (json_is_string(mistake))
			print_lines(&to, "  ", json_string_value(mistake));
	}
	err->text[0] = '\0';
}

enum cli_exit cmd_reload(const struct cli_options *options, struct error *err)
{
	cleanup(cli_client_free) struct cli_client *client = NULL;
	const json_t *problem;
	struct print to = cmd_stdout();
	json_t *answer;
	enum cli_exit r;

	r = cli_client_find(options->name, &client, err);
	if (r != CLI_DONE)
		return r;
	r = cli_client_post(client, "/v1/reload", NULL, &answer, err);
	problem = r == CLI_DONE ? NULL : cli_client_problem(client);
	if (json_array_size(json_object_get(problem, "mistakes"))) {
		if (options->json)
			cmd_print_json(problem);
		else
			print_mistakes(json_object_get(problem, "mistakes"), err);
		return CLI_ERROR;
	}
	if (r != CLI_DONE)
		return r;
	if (!json_is_object(answer))
		r = cmd_odd_answer("reload", err);
	else if (options->json)
		cmd_print_json(answer);
	else if (options->quiet)
		print_refused(&to, answer);
	else
		print_reload(&to, answer);
	if (json_array_size(json_object_get(answer, "refused")))
		r = CLI_ERROR;
	json_decref(answer);
	return r;
}
