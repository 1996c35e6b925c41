/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * baton: the command line. The table of commands below is the program.
 */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/nearest.h"
#include "common/orders.h"

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
#define CLEAN       (1U << CLI_OPTIONS_CLEAN)

/* A row of an order has only that, and its function: orders.h has the rest. */
struct command {
	const char *word;
	const char *usage;
	const char *summary;
	size_t min, max;    /* arguments */
	bool takes_command; /* after "--" */
	unsigned options;
	enum cli_exit (*function)(const struct cli_options *options, struct error *err);
	bool is_order;
	enum service_order_type order;
};

static enum cli_exit cmd_help(const struct cli_options *options, struct error *err);

static const struct command commands[] = {
	{"run", "--listen ADDRESS:PORT [OPTIONS] -- COMMAND...",
	 "run one service in the foreground, without a file", 0, 0, true,
	 GENERAL | RUN | ENVIRONMENT, .function = cmd_run},
	{"status", "[SERVICE]", "what runs, how healthy, with how many connections", 0, 1, false,
	 GENERAL, .function = cmd_status},
	{"list", "", "one line per service", 0, 0, false, GENERAL, .function = cmd_list},
	{"connections", "[SERVICE] [--limit N]", "each connection: whose, how old, how idle", 0, 1,
	 false, GENERAL | CONNECTIONS, .function = cmd_connections},
	{.is_order = true, .order = SERVICE_ORDER_RESTART, .function = cmd_restart},
	{.is_order = true, .order = SERVICE_ORDER_UPGRADE, .function = cmd_upgrade},
	{.is_order = true, .order = SERVICE_ORDER_ROLLBACK, .function = cmd_rollback},
	{.is_order = true, .order = SERVICE_ORDER_PROMOTE, .function = cmd_promote},
	{.is_order = true, .order = SERVICE_ORDER_ABORT, .function = cmd_abort},
	{.is_order = true, .order = SERVICE_ORDER_SCALE, .function = cmd_scale},
	{.is_order = true, .order = SERVICE_ORDER_START, .function = cmd_start},
	{.is_order = true, .order = SERVICE_ORDER_STOP, .function = cmd_stop},
	{.is_order = true, .order = SERVICE_ORDER_PAUSE, .function = cmd_pause},
	{.is_order = true, .order = SERVICE_ORDER_RESUME, .function = cmd_resume},
	{.is_order = true, .order = SERVICE_ORDER_REOPEN, .function = cmd_reopen},
	{"reload", "", "read the configuration again and roll what has changed", 0, 0, false,
	 GENERAL, .function = cmd_reload},
	{"leave", "", "end batond alone: everything goes on, the next batond takes over", 0, 0,
	 false, GENERAL, .function = cmd_leave},
	{"events", "[SERVICE] [-f] [--since [EPOCH:]SEQ]", "what happened; -f: and what happens", 0,
	 1, false, GENERAL | EVENTS, .function = cmd_events},
	{"check", "[FILE]", "is it a good configuration? (default: what batond would read)", 0, 1,
	 false, GENERAL, .function = cmd_check},
	{"doctor", "[--clean]", "what of the kernel works here, and how to get what does not", 0, 0,
	 false, GENERAL | CLEAN, .function = cmd_doctor},
	{"version", "", "versions of baton and of the daemon", 0, 0, false, GENERAL,
	 .function = cmd_version},
	{"help", "[COMMAND]", "this text, or how to use a command", 0, 1, false, GENERAL,
	 .function = cmd_help},
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
	"      --since [EPOCH:]SEQ  only events after this number\n";

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

static const char clean_options[] =
	"      --clean              list instead what a batond of that name has left that was killed\n"
	"      --yes                with --clean: remove it, but for what is of instances that live\n"
	"      --state              with --clean: also /var/lib/NAME, which outlives it on purpose\n";

static const char exit_statuses[] =
	"Exit status: 0 done; 1 error; 2 usage; 3 the new generation never became healthy, the\n"
	"old one still serves; 4 rolled back after the shift; 5 done, but connections were cut;\n"
	"6 busy; 7 daemon not reachable; 8 the order failed, and nothing serves. Of status and\n"
	"list: 0 all serves as it should; 9 something is degraded; 10 something does not serve,\n"
	"or is refused.\n";

static unsigned options_of_order(unsigned takes)
{
	return GENERAL | (takes & ORDER_TAKES_SUPERSEDE ? SUPERSEDE : 0) |
	       (takes & ORDER_TAKES_RESET ? RESET : 0) |
	       (takes & ORDER_TAKES_DRY_RUN ? DRY_RUN : 0) |
	       (takes & ORDER_TAKES_RELEASE ? ENVIRONMENT | UNSET | FORCE : 0);
}

static struct command command_at(size_t k)
{
	struct command ret = commands[k];
	const struct order_info *info;

	if (!ret.is_order)
		return ret;
	info = order_info(ret.order);
	ret.word = info->name;
	ret.usage = info->synopsis;
	ret.summary = info->help;
	ret.min = info->takes & ORDER_TAKES_INSTANCES ? 1 : 0;
	ret.max = ret.min + 1;
	ret.takes_command = (info->takes & ORDER_TAKES_RELEASE) != 0;
	ret.options = options_of_order(info->takes);
	return ret;
}

/* False: there is no command of this name. */
static bool find_command(const char *word, struct command *ret)
{
	for (size_t k = 0; k < N_COMMANDS; k++) {
		*ret = command_at(k);
		if (strcmp(ret->word, word) == 0)
			return true;
	}
	return false;
}

static enum cli_exit unknown_command(const char *word, struct error *err)
{
	const char *words[N_COMMANDS];
	const char *nearest;

	for (size_t i = 0; i < N_COMMANDS; i++)
		words[i] = command_at(i).word;
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
	for (size_t i = 0; i < N_COMMANDS; i++) {
		const struct command command = command_at(i);

		fprintf(out, "  %-11s  %s\n", command.word, command.summary);
	}
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
		{CLEAN, clean_options},
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
	struct command command;

	if (!options->n_arguments) {
		print_usage(stdout);
		return CLI_DONE;
	}
	if (!find_command(options->arguments[0], &command))
		return unknown_command(options->arguments[0], err);
	print_command_usage(&command);
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
	struct cli_options options;
	struct command command;

	if (cli_options_parse(argc, argv, &options, err) < 0)
		return CLI_USAGE;
	if (!options.word) {
		print_usage(options.help ? stdout : stderr);
		return options.help ? CLI_DONE : CLI_USAGE;
	}
	if (!find_command(options.word, &command))
		return unknown_command(options.word, err);
	if (options.help) {
		print_command_usage(&command);
		return CLI_DONE;
	}
	return dispatch(&command, &options, err);
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
