/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "baton restart", "upgrade", "rollback", "start" and "stop": give the order, then show the
 * rollout's steps until its last event, whose "exit" is the exit status.
 */
#include "cli/commands.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/print_event.h"

struct watch {
	const struct cli_options *options;
	const json_t *answer;
	struct print to;
	struct print_progress progress;
	bool ended;
	enum cli_exit exit;
};

static bool on_event(void *userdata, const json_t *event)
{
	struct watch *watch = userdata;
	const struct cli_options *options = watch->options;
	bool last = print_event_is_last(event);

	if (print_number(event, "rollout") != print_number(watch->answer, "rollout"))
		return true;
	if (last) {
		watch->ended = true;
		watch->exit = cli_exit_from(json_integer_value(json_object_get(event, "exit")));
	}
	if (options->json) {
		json_dumpf(event, stdout, JSON_COMPACT);
		putchar('\n');
	} else if (last && (!options->quiet || watch->exit != CLI_DONE)) {
		if (options->quiet)
			print_progress_begin(&watch->to, watch->answer);
		print_progress_end(&watch->to, &watch->progress, watch->answer, event);
	} else if (!last) {
		print_progress_step(&watch->to, &watch->progress, event);
	}
	fflush(stdout);
	return !last;
}

/* Say that only the watching ends, then die of the signal as if there were no handler. */
static void on_interrupt(int signal_number)
{
	static const char text[] =
		"\nbaton: no longer watching; the rollout goes on (see \"baton status\")\n";
	ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)n;
	raise(signal_number); /* SA_RESETHAND: delivered with its default once this returns */
}

static enum cli_exit watch(const struct cli_options *options, struct cli_client *client,
			   const json_t *answer, struct error *err)
{
	struct sigaction interrupt = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
	struct watch watch = {.options = options, .answer = answer, .to = cmd_stdout()};
	const char *service = print_member(answer, "service");
	char path[CLI_SERVICE_MAX + 96];
	enum cli_exit r;

	snprintf(path, sizeof(path), "/v1/events?service=%.63s&since=%lld&follow=1", service,
		 print_number(answer, "seq"));
	print_progress_init(&watch.progress, options->quiet);
	if (!options->json && !options->quiet)
		print_progress_begin(&watch.to, answer);
	fflush(stdout);
	sigaction(SIGINT, &interrupt, NULL);
	r = cli_client_follow(client, path, on_event, &watch, err);
	if (watch.ended)
		return watch.exit;
	if (r == CLI_DONE)
		r = error_text(err, CLI_UNREACHABLE,
			       "the daemon called \"%s\" ended the connection",
			       cli_client_name(client));
	error_prefix(err, 0, "%s: lost sight of rollout %lld before its end", service,
		     print_number(answer, "rollout"));
	return r;
}

static enum cli_exit order(const struct cli_options *options, const char *order, const json_t *body,
			   struct error *err)
{
	cleanup(cli_client_free) struct cli_client *client = NULL;
	char name[CLI_SERVICE_MAX];
	char path[CLI_SERVICE_MAX + 32];
	struct print to = cmd_stdout();
	json_t *answer;
	enum cli_exit r;

	r = cli_client_find(options->name, &client, err);
	if (r == CLI_DONE)
		r = cmd_service(options, client, name, err);
	if (r != CLI_DONE)
		return r;
	snprintf(path, sizeof(path), "/v1/services/%s/%s", name, order);
	r = cli_client_post(client, path, body, &answer, err);
	if (r != CLI_DONE)
		return r;
	if (print_number(answer, "rollout") < 0 || print_number(answer, "seq") < 0 ||
	    strcmp(print_member(answer, "service"), name) != 0)
		r = error_text(err, CLI_ERROR, "%s: the daemon's answer makes no sense", order);
	else if (!options->no_wait)
		r = watch(options, client, answer, err);
	else if (options->json)
		cmd_print_json(answer);
	else if (!options->quiet)
		print_progress_begin(&to, answer);
	/* What was undecided has been undone, as asked: that is a rollback's, or a stop's, success.
	 */
	if ((strcmp(order, "rollback") == 0 || strcmp(order, "stop") == 0) &&
	    strcmp(print_member(answer, "order"), order) != 0 &&
	    (r == CLI_NOT_HEALTHY || r == CLI_ROLLED_BACK))
		r = CLI_DONE;
	json_decref(answer);
	return r;
}

enum cli_exit cmd_restart(const struct cli_options *options, struct error *err)
{
	return order(options, "restart", NULL, err);
}

enum cli_exit cmd_upgrade(const struct cli_options *options, struct error *err)
{
	json_t *body, *command = json_array();
	enum cli_exit r = CLI_DONE;

	if (!options->command || !options->command[0]) {
		json_decref(command);
		return error_text(err, CLI_USAGE,
				  "no command given: baton upgrade [SERVICE] -- COMMAND... "
				  "(\"baton restart\" starts the same one again)");
	}
	for (char **argument = options->command; *argument && r == CLI_DONE; argument++) {
		if (json_array_append_new(command, json_string(*argument)) < 0)
			r = error_text(err, CLI_USAGE, "\"%s\" is not UTF-8 text", *argument);
	}
	body = json_pack("{s:o}", "command", command);
	if (!body)
		return error_text(err, CLI_ERROR, "out of memory");
	if (r == CLI_DONE)
		r = order(options, "upgrade", body, err);
	json_decref(body);
	return r;
}

enum cli_exit cmd_rollback(const struct cli_options *options, struct error *err)
{
	return order(options, "rollback", NULL, err);
}

enum cli_exit cmd_start(const struct cli_options *options, struct error *err)
{
	return order(options, "start", NULL, err);
}

enum cli_exit cmd_stop(const struct cli_options *options, struct error *err)
{
	return order(options, "stop", NULL, err);
}
