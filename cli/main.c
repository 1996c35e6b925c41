/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * baton: the command line. The table of commands below is the program.
 */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/nearest.h"

#define GENERAL     (1U << CLI_OPTIONS_GENERAL)
#define RUN         (1U << CLI_OPTIONS_RUN)
#define EVENTS      (1U << CLI_OPTIONS_EVENTS)
#define CONNECTIONS (1U << CLI_OPTIONS_CONNECTIONS)
#define ENVIRONMENT (1U << CLI_OPTIONS_ENVIRONMENT)
#define FORCE       (1U << CLI_OPTIONS_FORCE)
#define SUPERSEDE   (1U << CLI_OPTIONS_SUPERSEDE)
#define RESET       (1U << CLI_OPTIONS_RESET)
#define DRY_RUN     (1U << CLI_OPTIONS_DRY_RUN)
#define UNSET       (1U << CLI_OPTIONS_UNSET)

struct command {
	const char *word;
	const char *usage;
	const char *summary;
	size_t min, max;    /* arguments */
	bool takes_command; /* after "--" */
	unsigned options;
	enum cli_exit (*function)(const struct cli_options *options, struct error *err);
};

static enum cli_exit cmd_help(const struct cli_options *options, struct error *err);

static const struct command commands[] = {
	{"run", "--listen ADDRESS:PORT [OPTIONS] -- COMMAND...",
	 "run one service in the foreground, without a file", 0, 0, true,
	 GENERAL | RUN | ENVIRONMENT, cmd_run},
	{"status", "[SERVICE]", "what runs, how healthy, with how many connections", 0, 1, false,
	 GENERAL, cmd_status},
	{"list", "", "one line per service", 0, 0, false, GENERAL, cmd_list},
	{"connections", "[SERVICE] [--limit N]", "each connection: whose, how old, how idle", 0, 1,
	 false, GENERAL | CONNECTIONS, cmd_connections},
	{"restart", "[SERVICE] [--reset] [--supersede]",
	 "replace the server by a new generation of itself", 0, 1, false,
	 GENERAL | RESET | SUPERSEDE, cmd_restart},
	{"upgrade", "[SERVICE] [OPTIONS] [-- COMMAND...]",
	 "replace the server by a newer release, or another command", 0, 1, true,
	 GENERAL | ENVIRONMENT | UNSET | FORCE | SUPERSEDE, cmd_upgrade},
	{"rollback", "[SERVICE] [--dry-run] [--supersede]",
	 "replace the server by the last release that served well", 0, 1, false,
	 GENERAL | DRY_RUN | SUPERSEDE, cmd_rollback},
	{"promote", "[SERVICE]", "let a rollout that holds or waits go on at once", 0, 1, false,
	 GENERAL, cmd_promote},
	{"abort", "[SERVICE]", "undo the rollout that is under way", 0, 1, false, GENERAL,
	 cmd_abort},
	{"scale", "[SERVICE] N [--supersede]", "run so many instances", 1, 2, false,
	 GENERAL | SUPERSEDE, cmd_scale},
	{"start", "[SERVICE] [--supersede]", "start a service that was stopped", 0, 1, false,
	 GENERAL | SUPERSEDE, cmd_start},
	{"stop", "[SERVICE] [--supersede]", "drain and stop a service", 0, 1, false,
	 GENERAL | SUPERSEDE, cmd_stop},
	{"pause", "[SERVICE]", "let new connections wait; open ones go on", 0, 1, false, GENERAL,
	 cmd_pause},
	{"resume", "[SERVICE]", "take connections again, first those that wait", 0, 1, false,
	 GENERAL, cmd_resume},
	{"reopen", "[SERVICE]", "open the files anew that its output goes to", 0, 1, false, GENERAL,
	 cmd_reopen},
	{"reload", "", "read the configuration again and roll what has changed", 0, 0, false,
	 GENERAL, cmd_reload},
	{"events", "[SERVICE] [-f] [--since SEQ]", "what happened; -f: and what happens", 0, 1,
	 false, GENERAL | EVENTS, cmd_events},
	{"check", "[FILE]", "is it a good configuration? (default: what batond would read)", 0, 1,
	 false, GENERAL, cmd_check},
	{"doctor", "", "what of the kernel works here, and how to get what does not", 0, 0, false,
	 GENERAL, cmd_doctor},
	{"version", "", "versions of baton and of the daemon", 0, 0, false, GENERAL, cmd_version},
	{"help", "[COMMAND]", "this text, or how to use a command", 0, 1, false, GENERAL, cmd_help},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const char general_options[] =
	"  -n, --name NAME          the daemon meant (default: $BATON_NAME, or \"baton\")\n"
	"      --json               print JSON, for programs\n"
	"      --no-wait            give the order and do not wait for its end\n"
	"  -q, --quiet              print only what went wrong; list: only names\n"
	"  -h, --help               how to use baton, or a command\n";

static const char run_options[] =
	"      --listen ADDRESS:PORT   where to listen; may be given several times\n"
	"      --health PATH           healthy when GET PATH is answered with 2xx\n"
	"      --notify                healthy when the server says READY=1 (sd_notify)\n"
	"      --instances N           how many processes\n"
	"      --service NAME          its name (default: that of the command)\n"
	"      --nonblocking           pass the sockets with O_NONBLOCK set (nginx needs it)\n"
	"      --mode MODE             auto, inherit, native or transparent: who binds the port\n"
	"      --steering TIER         auto, ebpf, cbpf or hash: what directs connections\n"
	"      --hold TIME             how long connections wait while nothing can take them\n"
	"      --drain-signal SIGNAL   tells the server to finish and end (default: SIGTERM)\n"
	"      --drain-timeout TIME    how long it may take (30s, 1m30s)\n"
	"      --start-timeout TIME    how long a new one may take to be healthy\n";

static const char events_options[] =
	"  -f, --follow             go on with what comes, until interrupted\n"
	"      --since SEQ          only events after this number\n";

static const char connections_options[] =
	"      --limit N            show at most so many (default: 1000, at most 100000)\n";

static const char environment_options[] =
	"  -e, --env NAME=VALUE     for the server; may be given several times\n";

static const char force_options[] =
	"      --force              also where that is what runs already\n";

static const char supersede_options[] =
	"      --supersede          undo first what is under way, instead of being refused\n";

static const char unset_options[] =
	"      --unset NAME         take away what an earlier --env has added; so does --env NAME=\n";

static const char reset_options[] =
	"      --reset              with the command and environment of the file, without what\n"
	"                           upgrades have changed\n";

static const char dry_run_options[] = "      --dry-run            only say what it would go to\n";

static const char exit_statuses[] =
	"Exit status: 0 done; 1 error; 2 usage; 3 the new generation never became healthy, the\n"
	"old one still serves; 4 rolled back after the shift; 5 done, but connections were cut;\n"
	"6 busy; 7 daemon not reachable; 8 the order failed, and nothing serves. Of status and\n"
	"list: 0 all serves as it should; 9 something is degraded; 10 something does not serve,\n"
	"or is refused.\n";

static const struct command *find_command(const char *word)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i].word, word) == 0)
			return &commands[i];
	return NULL;
}

static enum cli_exit unknown_command(const char *word, struct error *err)
{
	const char *words[N_COMMANDS];
	const char *nearest;

	for (size_t i = 0; i < N_COMMANDS; i++)
		words[i] = commands[i].word;
	nearest = cli_nearest(word, words, N_COMMANDS);
	if (nearest)
		return error_text(err, CLI_USAGE,
				  "there is no command \"%s\"; did you mean \"%s\"?", word,
				  nearest);
	return error_text(err, CLI_USAGE, "there is no command \"%s\" (see \"baton help\")", word);
}

static void print_usage(FILE *out)
{
	fputs("usage: baton [OPTIONS] COMMAND [ARGUMENTS]\n\n"
	      "Swaps the processes behind a port without losing a connection.\n\n",
	      out);
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-11s  %s\n", commands[i].word, commands[i].summary);
	fprintf(out,
		"\nSERVICE may be left out where the daemon has exactly one.\n"
		"\"baton help COMMAND\" says more.\n\n%s\n%s",
		general_options, exit_statuses);
}

static void print_command_usage(const struct command *command)
{
	static const struct {
		unsigned group;
		const char *text;
	} own[] = {
		{RUN, run_options},
		{EVENTS, events_options},
		{CONNECTIONS, connections_options},
		{ENVIRONMENT, environment_options},
		{UNSET, unset_options},
		{FORCE, force_options},
		{RESET, reset_options},
		{DRY_RUN, dry_run_options},
		{SUPERSEDE, supersede_options},
	};

	printf("usage: baton %s%s%s\n\n  %s\n\n", command->word, *command->usage ? " " : "",
	       command->usage, command->summary);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (command->options & own[i].group)
			fputs(own[i].text, stdout);
	if (command->options != GENERAL)
		putchar('\n');
	fputs(general_options, stdout);
}

static enum cli_exit cmd_help(const struct cli_options *options, struct error *err)
{
	const struct command *command;

	if (!options->n_arguments) {
		print_usage(stdout);
		return CLI_DONE;
	}
	command = find_command(options->arguments[0]);
	if (!command)
		return unknown_command(options->arguments[0], err);
	print_command_usage(command);
	return CLI_DONE;
}

static enum cli_exit dispatch(const struct command *command, const struct cli_options *options,
			      struct error *err)
{
	for (unsigned group = 0; group < _CLI_OPTIONS_GROUP_COUNT; group++)
		if (options->used[group] && !(command->options & (1U << group)))
			return error_text(err, CLI_USAGE, "%s takes no option %s", command->word,
					  options->used[group]);
	if (options->command && !command->takes_command)
		return error_text(err, CLI_USAGE, "%s takes nothing after \"--\"", command->word);
	if (options->n_arguments > command->max && command->takes_command && !options->command)
		return error_text(err, CLI_USAGE, "put \"--\" before the command: baton %s %s",
				  command->word, command->usage);
	if (options->n_arguments < command->min || options->n_arguments > command->max)
		return error_text(err, CLI_USAGE, "usage: baton %s%s%s", command->word,
				  *command->usage ? " " : "", command->usage);
	return command->function(options, err);
}

static enum cli_exit run(int argc, char **argv, struct error *err)
{
	const struct command *command;
	struct cli_options options;

	if (cli_options_parse(argc, argv, &options, err) < 0)
		return CLI_USAGE;
	if (!options.word) {
		print_usage(options.help ? stdout : stderr);
		return options.help ? CLI_DONE : CLI_USAGE;
	}
	command = find_command(options.word);
	if (!command)
		return unknown_command(options.word, err);
	if (options.help) {
		print_command_usage(command);
		return CLI_DONE;
	}
	return dispatch(command, &options, err);
}

int main(int argc, char **argv)
{
	struct error err = {0};
	enum cli_exit status;

	status = run(argc, argv, &err);
	if ((fflush(stdout) != 0 || ferror(stdout)) && status == CLI_DONE)
		status = error_text(&err, CLI_ERROR, "standard output could not be written");
	if (err.text[0] && status != CLI_DONE) {
		struct print to = {.out = stderr};

		/*
		 * By lines: a reason may have lines with examples. Control characters are escaped.
		 */
		fputs("baton: ", stderr);
		print_lines(&to, "", err.text);
	}
	return (int)status;
}
