/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "baton restart", "upgrade", "rollback", "start", "stop", "scale", "promote" and "abort": give the
 * order, then show the rollout's steps until its last event, whose "exit" is the exit status. A
 * rollout that waits for somebody is waited for as well, since somebody else may let it go on; only
 * who has just done that ("promote") is told, and let go.
 *
 * If the daemon goes away meanwhile the next one takes over, and knows how the rollout has ended:
 * it is looked for, and asked.
 */
#include "cli/commands.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/print_event.h"

/* For so long a daemon that is gone is waited for. */
#define RETURN_LIMIT_MS 30000
/* If so many looks in a row find no rollout under way, the new daemon knows nothing of it. */
#define LOOKS_MAX (2000 / CLI_RETRY_MS)

struct watch {
	const struct cli_options *options;
	const json_t *answer;
	struct print to;
	struct print_progress progress;
	bool until_waiting; /* "waiting" is as good as the end */
	char epoch[CLI_EPOCH_MAX];
	long long seq; /* ... of that epoch: the stream goes on from here */
	bool dropped;  /* events are missing; the last one may be among them */
	bool ended;
	enum cli_exit exit;
};

/* An event of another rollout: only the end of the one that is undone for this one matters. */
static bool on_other(struct watch *watch, const json_t *event)
{
	const struct cli_options *options = watch->options;
	long long supersedes = print_number(watch->answer, "supersedes");

	if (supersedes < 0 || print_number(event, "rollout") != supersedes ||
	    !print_event_is_last(event) || options->json || options->quiet)
		return true;
	print_progress_superseded(&watch->to, event);
	fflush(stdout);
	return true;
}

/* An older daemon has no epochs. */
static void note_place(struct watch *watch, const json_t *from)
{
	if (print_number(from, "seq") < 0)
		return;
	watch->seq = print_number(from, "seq");
	snprintf(watch->epoch, sizeof(watch->epoch), "%s", print_member(from, "epoch"));
}

static bool on_event(void *userdata, const json_t *event)
{
	struct watch *watch = userdata;
	const struct cli_options *options = watch->options;
	bool last = print_event_is_last(event);

	note_place(watch, event);
	if (strcmp(print_member(event, "event"), "dropped") == 0) {
		watch->dropped = true;
		return false;
	}
	if (print_number(event, "rollout") != print_number(watch->answer, "rollout"))
		return on_other(watch, event);
	if (last) {
		watch->ended = true;
		watch->exit = cli_exit_from(json_integer_value(json_object_get(event, "exit")));
	} else if (watch->until_waiting && print_event_is_waiting(event)) {
		watch->ended = true;
		watch->exit = CLI_DONE;
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
	return !watch->ended;
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

/* What is worth knowing before it goes on. */
static void print_note(const struct print *to, const json_t *answer)
{
	if (!*print_member(answer, "note"))
		return;
	fputs("  ", to->out);
	print_coloured(to, PRINT_YELLOW, print_member(answer, "note"));
	fputc('\n', to->out);
}

/* ---- what the stream does not tell ----------------------------------------------------------- */

/*
 * Ask for the service's status. *ret_any: a rollout of it is under way. If events were dropped the
 * status may know how this rollout has ended.
 */
static enum cli_exit ask_status(struct watch *watch, struct cli_client *client, const char *service,
				bool *ret_any, struct error *err)
{
	char path[CLI_SERVICE_MAX + 32];
	json_t *status, *last;
	enum cli_exit r;

	snprintf(path, sizeof(path), "/v1/services/%.63s", service);
	r = cli_client_get(client, path, &status, err);
	if (r != CLI_DONE)
		return r;
	*ret_any = json_is_object(json_object_get(status, "rollout")) ||
		   json_is_object(json_object_get(status, "waits")) ||
		   strcmp(print_member(status, "state"), "starting") == 0;
	last = json_object_get(status, "last_rollout");
	if (watch->dropped && json_is_object(last) &&
	    print_number(last, "rollout") == print_number(watch->answer, "rollout")) {
		json_object_set_new(last, "event", json_string(print_member(last, "result")));
		on_event(watch, last);
	}
	watch->dropped = false;
	json_decref(status);
	return CLI_DONE;
}

/* Take the events from the present place on; @forever: also those that come. */
static enum cli_exit take_events(struct watch *watch, struct cli_client *client,
				 const char *service, bool forever, struct error *err)
{
	char path[CLI_SERVICE_MAX + CLI_EPOCH_MAX + 96];

	snprintf(path, sizeof(path), "/v1/events?service=%.63s&since=%s%s%lld%s", service,
		 watch->epoch, watch->epoch[0] ? ":" : "", watch->seq, forever ? "&follow=1" : "");
	return cli_client_follow(client, path, on_event, watch, err);
}

/* Until the end, or until nothing more can be seen. */
static enum cli_exit follow(struct watch *watch, struct cli_client *client, const char *service,
			    struct error *err)
{
	bool followed, any;
	enum cli_exit r;

	for (;;) {
		r = take_events(watch, client, service, true, err);
		followed = r != CLI_BUSY;
		/* Too many follow already (for which it was waited): so look what there is. */
		if (!followed)
			r = take_events(watch, client, service, false, err);
		if (r == CLI_BUSY)
			continue;
		if (r != CLI_DONE || watch->ended)
			return r;
		if (watch->dropped)
			r = ask_status(watch, client, service, &any, err);
		else if (followed)
			return r;
		if ((r != CLI_DONE && r != CLI_BUSY) || watch->ended)
			return r;
	}
}

/* ---- a daemon that goes away ---------------------------------------------------------------- */

static void print_gone(const struct watch *watch)
{
	if (watch->options->json || watch->options->quiet)
		return;
	fputs("  ", watch->to.out);
	print_coloured(&watch->to, PRINT_YELLOW,
		       "batond is gone; waiting for the next one to take over");
	fputc('\n', watch->to.out);
	fflush(watch->to.out);
}

/* One look: the events that the daemon has, and whether there can come more. */
static enum cli_exit look(struct watch *watch, struct cli_client *client, const char *service,
			  bool *ret_any, struct error *err)
{
	/* First the status: what ends in between is in the events then. */
	enum cli_exit r = ask_status(watch, client, service, ret_any, err);

	if (r != CLI_DONE || watch->ended)
		return r;
	r = take_events(watch, client, service, false, err);
	if (r == CLI_DONE && watch->dropped)
		r = ask_status(watch, client, service, ret_any, err);
	return r;
}

/* Returns once the rollout has ended, or with @err saying why that cannot be known. */
static enum cli_exit find_again(struct watch *watch, struct cli_client *client, const char *service,
				struct error *err)
{
	int idle = 0;

	print_gone(watch);
	while (cli_client_wait(client, RETURN_LIMIT_MS)) {
		bool any = false;
		enum cli_exit r = look(watch, client, service, &any, err);

		if (watch->ended)
			return watch->exit;
		if (r == CLI_UNREACHABLE)
			continue;
		if (r != CLI_DONE)
			return r;
		idle = any ? 0 : idle + 1;
		if (idle == LOOKS_MAX)
			return error_text(err, CLI_ERROR,
					  "batond was started anew, and does not know how it has "
					  "ended");
	}
	return CLI_UNREACHABLE;
}

static enum cli_exit watch(const struct cli_options *options, struct cli_client *client,
			   const json_t *answer, bool until_waiting, struct error *err)
{
	struct sigaction interrupt = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
	struct watch watch = {.options = options,
			      .answer = answer,
			      .to = cmd_stdout(),
			      .until_waiting = until_waiting};
	const char *service = print_member(answer, "service");
	enum cli_exit r;

	note_place(&watch, answer);
	print_progress_init(&watch.progress, options->quiet);
	if (!options->json && !options->quiet) {
		print_progress_begin(&watch.to, answer);
		print_note(&watch.to, answer);
	}
	fflush(stdout);
	sigaction(SIGINT, &interrupt, NULL);
	r = follow(&watch, client, service, err);
	if (watch.ended)
		return watch.exit;
	if (r == CLI_DONE)
		r = error_text(err, CLI_UNREACHABLE,
			       "the daemon called \"%s\" ended the connection",
			       cli_client_name(client));
	if (r == CLI_UNREACHABLE)
		r = find_again(&watch, client, service, err);
	if (watch.ended) {
		/* Why the daemon could not be reached in between is of no interest any more. */
		err->text[0] = '\0';
		return watch.exit;
	}
	error_prefix(err, 0,
		     "%s: lost sight of rollout %lld before its end (see \"baton status %s\")",
		     service, print_number(answer, "rollout"), service);
	return r;
}

/* Where nothing is to be waited for there is no rollout: all is done, or was so already. */
static bool is_over(const json_t *answer)
{
	return json_is_true(json_object_get(answer, "unchanged")) ||
	       (!json_object_get(answer, "rollout") &&
		json_is_string(json_object_get(answer, "message")));
}

static bool makes_sense(const json_t *answer, const char *service)
{
	if (strcmp(print_member(answer, "service"), service) != 0)
		return false;
	return is_over(answer) ||
	       (print_number(answer, "rollout") >= 0 && print_number(answer, "seq") >= 0);
}

/*
 * Has what was undecided been undone, as asked? Then that is success. That nothing serves is what a
 * stop is for, and no surprise to whoever undoes a first start.
 */
static bool is_wanted(enum cli_exit r, const char *order, const json_t *answer)
{
	bool other = strcmp(print_member(answer, "order"), order) != 0;
	bool first = !json_is_integer(json_object_get(answer, "replaces"));

	if (r == CLI_DOWN && (first || strcmp(order, "stop") == 0))
		r = CLI_NOT_HEALTHY;
	if (r != CLI_NOT_HEALTHY && r != CLI_ROLLED_BACK)
		return false;
	return strcmp(order, "abort") == 0 ||
	       (other && (strcmp(order, "rollback") == 0 || strcmp(order, "stop") == 0));
}

static enum cli_exit on_answer(const struct cli_options *options, struct cli_client *client,
			       const char *order, const json_t *answer, struct error *err)
{
	struct print to = cmd_stdout();
	enum cli_exit r = CLI_DONE;

	if (!is_over(answer) && !options->no_wait)
		r = watch(options, client, answer, strcmp(order, "promote") == 0, err);
	else if (options->json)
		cmd_print_json(answer);
	else if (options->quiet)
		return CLI_DONE;
	else if (is_over(answer))
		cmd_print_message(&to, answer, "unchanged");
	else {
		print_progress_begin(&to, answer);
		print_note(&to, answer);
	}
	return is_wanted(r, order, answer) ? CLI_DONE : r;
}

/* @body is taken over; NULL: none. */
static enum cli_exit give(const struct cli_options *options, const char *order, json_t *body,
			  struct error *err)
{
	cleanup(cli_client_free) struct cli_client *client = NULL;
	char name[CLI_SERVICE_MAX];
	char path[CLI_SERVICE_MAX + 32];
	json_t *answer = NULL;
	enum cli_exit r;

	if (options->supersede) {
		if (!body)
			body = json_object();
		json_object_set_new(body, "supersede", json_true());
	}
	r = cli_client_find(options->name, &client, err);
	if (r == CLI_DONE)
		r = cmd_service(options, client, name, err);
	if (r == CLI_DONE) {
		snprintf(path, sizeof(path), "/v1/services/%s/%s", name, order);
		r = cli_client_post(client, path, body, &answer, err);
	}
	json_decref(body);
	if (r != CLI_DONE)
		return r;
	if (makes_sense(answer, name))
		r = on_answer(options, client, order, answer, err);
	else
		r = cmd_odd_answer(order, err);
	json_decref(answer);
	return r;
}

/* {"reset": true}; NULL where it is not @set. */
static json_t *flag(const char *name, bool set)
{
	return set ? json_pack("{s:b}", name, true) : NULL;
}

enum cli_exit cmd_restart(const struct cli_options *options, struct error *err)
{
	return give(options, "restart", flag("reset", options->reset), err);
}

/* In a list of what earlier orders have added an empty value is none: "--env A=" is "--unset A". */
static enum cli_exit fill_unset(const struct cli_options *options, json_t *body, struct error *err)
{
	json_t *environment = json_object_get(body, "environment"), *names = json_array(), *value;
	enum cli_exit r = CLI_DONE;
	const char *name;
	void *next;

	for (size_t i = 0; i < options->n_unset && r == CLI_DONE; i++)
		if (json_array_append_new(names, json_string(options->unset[i])) < 0)
			r = error_text(err, CLI_USAGE, "\"%s\" is not UTF-8 text",
				       options->unset[i]);
	json_object_foreach_safe(environment, next, name, value)
	{
		if (json_string_length(value) > 0)
			continue;
		json_array_append_new(names, json_string(name));
		json_object_del(environment, name);
	}
	if (environment && json_object_size(environment) == 0)
		json_object_del(body, "environment");
	if (json_array_size(names) > 0)
		json_object_set(body, "unset", names);
	json_decref(names);
	return r;
}

/* "command", "environment", "unset" and "force", as far as they are given. */
static enum cli_exit fill_upgrade(const struct cli_options *options, json_t *body,
				  struct error *err)
{
	json_t *command;

	if (cli_run_environment(&options->run, body, err) < 0)
		return CLI_USAGE;
	if (fill_unset(options, body, err) != CLI_DONE)
		return CLI_USAGE;
	if (options->force)
		json_object_set_new(body, "force", json_true());
	if (!options->command)
		return CLI_DONE;
	command = json_array();
	json_object_set_new(body, "command", command);
	for (char **argument = options->command; *argument; argument++) {
		if (json_array_append_new(command, json_string(*argument)) < 0)
			return error_text(err, CLI_USAGE, "\"%s\" is not UTF-8 text", *argument);
	}
	return CLI_DONE;
}

enum cli_exit cmd_upgrade(const struct cli_options *options, struct error *err)
{
	json_t *body;
	enum cli_exit r;

	if (options->command && !options->command[0])
		return error_text(err, CLI_USAGE,
				  "no command after \"--\": baton upgrade [SERVICE] -- COMMAND... "
				  "(without \"--\" the same one is looked up anew)");
	body = json_object();
	r = fill_upgrade(options, body, err);
	if (r == CLI_DONE)
		return give(options, "upgrade", body, err);
	json_decref(body);
	return r;
}

enum cli_exit cmd_rollback(const struct cli_options *options, struct error *err)
{
	return give(options, "rollback", flag("dry_run", options->dry_run), err);
}

enum cli_exit cmd_start(const struct cli_options *options, struct error *err)
{
	return give(options, "start", NULL, err);
}

enum cli_exit cmd_stop(const struct cli_options *options, struct error *err)
{
	return give(options, "stop", NULL, err);
}

/* "baton scale [SERVICE] N" */
enum cli_exit cmd_scale(const struct cli_options *options, struct error *err)
{
	struct cli_options rest = *options;
	const char *text = rest.arguments[rest.n_arguments - 1];
	uint64_t instances = 0;

	if (cli_options_number(text, CMD_INSTANCES_MAX, &instances) < 0)
		return error_text(err, CLI_USAGE,
				  "scale: \"%s\" is not a number of instances (0 to %d)", text,
				  CMD_INSTANCES_MAX);
	rest.n_arguments--;
	return give(&rest, "scale", json_pack("{s:I}", "instances", (json_int_t)instances), err);
}

enum cli_exit cmd_promote(const struct cli_options *options, struct error *err)
{
	return give(options, "promote", NULL, err);
}

enum cli_exit cmd_abort(const struct cli_options *options, struct error *err)
{
	return give(options, "abort", NULL, err);
}
