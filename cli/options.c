/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPTION_JSON = 256,
	OPTION_NO_WAIT,
	OPTION_SINCE,
	OPTION_LIMIT,
	OPTION_LISTEN,
	OPTION_HEALTH,
	OPTION_NOTIFY,
	OPTION_INSTANCES,
	OPTION_SERVICE,
	OPTION_DRAIN_SIGNAL,
	OPTION_DRAIN_TIMEOUT,
	OPTION_START_TIMEOUT,
	OPTION_NONBLOCKING,
	OPTION_MODE,
	OPTION_STEERING,
	OPTION_HOLD,
	OPTION_FORCE,
	OPTION_SUPERSEDE,
	OPTION_RESET,
	OPTION_DRY_RUN,
	OPTION_UNSET,
	OPTION_CLEAN,
	OPTION_YES,
	OPTION_STATE,
};

/* "+": stop at the first word that is no option; ":": tell missing values from unknown options. */
static const char short_options[] = "+:hqn:fe:";

static const struct option long_options[] = {
	{"help", no_argument, NULL, 'h'},
	{"quiet", no_argument, NULL, 'q'},
	{"name", required_argument, NULL, 'n'},
	{"json", no_argument, NULL, OPTION_JSON},
	{"no-wait", no_argument, NULL, OPTION_NO_WAIT},
	{"follow", no_argument, NULL, 'f'},
	{"since", required_argument, NULL, OPTION_SINCE},
	{"limit", required_argument, NULL, OPTION_LIMIT},
	{"listen", required_argument, NULL, OPTION_LISTEN},
	{"health", required_argument, NULL, OPTION_HEALTH},
	{"notify", no_argument, NULL, OPTION_NOTIFY},
	{"instances", required_argument, NULL, OPTION_INSTANCES},
	{"service", required_argument, NULL, OPTION_SERVICE},
	{"drain-signal", required_argument, NULL, OPTION_DRAIN_SIGNAL},
	{"drain-timeout", required_argument, NULL, OPTION_DRAIN_TIMEOUT},
	{"start-timeout", required_argument, NULL, OPTION_START_TIMEOUT},
	{"nonblocking", no_argument, NULL, OPTION_NONBLOCKING},
	{"mode", required_argument, NULL, OPTION_MODE},
	{"steering", required_argument, NULL, OPTION_STEERING},
	{"hold", required_argument, NULL, OPTION_HOLD},
	{"environment", required_argument, NULL, 'e'},
	{"env", required_argument, NULL, 'e'},
	{"force", no_argument, NULL, OPTION_FORCE},
	{"supersede", no_argument, NULL, OPTION_SUPERSEDE},
	{"reset", no_argument, NULL, OPTION_RESET},
	{"dry-run", no_argument, NULL, OPTION_DRY_RUN},
	{"unset", required_argument, NULL, OPTION_UNSET},
	{"clean", no_argument, NULL, OPTION_CLEAN},
	{"yes", no_argument, NULL, OPTION_YES},
	{"state", no_argument, NULL, OPTION_STATE},
	{NULL, 0, NULL, 0},
};

static const char *long_name(int option)
{
	for (const struct option *o = long_options; o->name; o++)
		if (o->val == option)
			return o->name;
	return NULL;
}

static enum cli_option_group group_of(int option)
{
	switch (option) {
	case 'f':
	case OPTION_SINCE:
		return CLI_OPTIONS_EVENTS;
	case OPTION_LIMIT:
		return CLI_OPTIONS_CONNECTIONS;
	case 'e':
		return CLI_OPTIONS_ENVIRONMENT;
	case OPTION_FORCE:
		return CLI_OPTIONS_FORCE;
	case OPTION_SUPERSEDE:
		return CLI_OPTIONS_SUPERSEDE;
	case OPTION_RESET:
		return CLI_OPTIONS_RESET;
	case OPTION_DRY_RUN:
		return CLI_OPTIONS_DRY_RUN;
	case OPTION_UNSET:
		return CLI_OPTIONS_UNSET;
	case OPTION_CLEAN:
	case OPTION_YES:
	case OPTION_STATE:
		return CLI_OPTIONS_CLEAN;
	case 'h':
	case 'q':
	case 'n':
	case OPTION_JSON:
	case OPTION_NO_WAIT:
		return CLI_OPTIONS_GENERAL;
	default:
		return CLI_OPTIONS_RUN;
	}
}

int cli_options_number(const char *text, uint64_t max, uint64_t *ret)
{
	unsigned long long value;
	char *end;

	if (!*text || text[strspn(text, "0123456789")])
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}

/* "SEQ" or "EPOCH:SEQ" */
static int take_since(const char *value, struct cli_options *options)
{
	size_t n = strspn(value, "0123456789abcdef");
	const char *number = value;

	if (n == CLI_EPOCH_MAX - 1 && value[n] == ':') {
		memcpy(options->epoch, value, n);
		number = value + n + 1;
	}
	options->has_since = true;
	return cli_options_number(number, INT64_MAX, &options->since);
}

static int take_number(int option, const char *value, struct cli_options *options,
		       struct error *err)
{
	uint64_t number = 0;
	int r;

	if (option == OPTION_SINCE) {
		r = take_since(value, options);
	} else if (option == OPTION_LIMIT) {
		r = cli_options_number(value, CLI_LIMIT_MAX, &number);
		options->limit = number;
		options->has_limit = true;
	} else {
		r = cli_options_number(value, UINT16_MAX, &number);
		if (r == 0 && number == 0)
			r = -ERANGE;
		options->run.instances = (unsigned)number;
	}
	if (r < 0)
		return error_text(err, -EINVAL, "--%s: \"%s\" is not a number%s", long_name(option),
				  value, r == -ERANGE ? " in range" : "");
	return 0;
}

static int append_value(const char **list, size_t *n, size_t max, const char *name,
			const char *value, struct error *err)
{
	if (*n >= max)
		return error_text(err, -EINVAL, "--%s: more than %zu of them", name, max);
	list[(*n)++] = value;
	return 0;
}

static int take_run_option(int option, const char *value, struct cli_run_options *run,
			   struct error *err)
{
	switch (option) {
	case OPTION_LISTEN:
		return append_value(run->listen, &run->n_listen, CLI_RUN_LISTEN_MAX, "listen",
				    value, err);
	case 'e':
		return append_value(run->environment, &run->n_environment, CLI_RUN_ENVIRONMENT_MAX,
				    "env", value, err);
	case OPTION_NOTIFY:
		run->notify = true;
		break;
	case OPTION_NONBLOCKING:
		run->nonblocking = true;
		break;
	case OPTION_HEALTH:
		run->health = value;
		break;
	case OPTION_SERVICE:
		run->service = value;
		break;
	case OPTION_DRAIN_SIGNAL:
		run->drain_signal = value;
		break;
	case OPTION_DRAIN_TIMEOUT:
		run->drain_timeout = value;
		break;
	case OPTION_START_TIMEOUT:
		run->start_timeout = value;
		break;
	case OPTION_MODE:
		run->mode = value;
		break;
	case OPTION_STEERING:
		run->steering = value;
		break;
	case OPTION_HOLD:
		run->hold = value;
		break;
	}
	return 0;
}

static int take_option(int option, const char *value, struct cli_options *options,
		       struct error *err)
{
	switch (option) {
	case 'h':
		options->help = true;
		return 0;
	case 'q':
		options->quiet = true;
		return 0;
	case 'n':
		options->name = value;
		return 0;
	case 'f':
		options->follow = true;
		return 0;
	case OPTION_JSON:
		options->json = true;
		return 0;
	case OPTION_NO_WAIT:
		options->no_wait = true;
		return 0;
	case OPTION_FORCE:
		options->force = true;
		return 0;
	case OPTION_SUPERSEDE:
		options->supersede = true;
		return 0;
	case OPTION_RESET:
		options->reset = true;
		return 0;
	case OPTION_DRY_RUN:
		options->dry_run = true;
		return 0;
	case OPTION_CLEAN:
		options->clean = true;
		return 0;
	case OPTION_YES:
		options->yes = true;
		return 0;
	case OPTION_STATE:
		options->state = true;
		return 0;
	case OPTION_UNSET:
		return append_value(options->unset, &options->n_unset, CLI_RUN_ENVIRONMENT_MAX,
				    "unset", value, err);
	case OPTION_SINCE:
	case OPTION_LIMIT:
	case OPTION_INSTANCES:
		return take_number(option, value, options, err);
	default:
		return take_run_option(option, value, &options->run, err);
	}
}

/* getopt_long() has returned ':' or '?' for the argument @text: say what is wrong with it. */
static int refuse(int result, const char *text, struct error *err)
{
	if (result == ':' && strncmp(text, "--", 2) != 0)
		return error_text(err, -EINVAL, "-%c: its value is missing", optopt);
	if (result == ':')
		return error_text(err, -EINVAL, "%s: its value is missing", text);
	if (optopt && long_name(optopt) && strchr(text, '='))
		return error_text(err, -EINVAL, "--%s takes no value", long_name(optopt));
	if (optopt && strncmp(text, "--", 2) != 0)
		return error_text(err, -EINVAL, "unknown option \"-%c\"", optopt);
	return error_text(err, -EINVAL, "unknown option \"%s\"", text);
}

static int take_word(const char *word, struct cli_options *options, struct error *err)
{
	if (!options->word)
		options->word = word;
	else if (options->n_arguments < CLI_ARGUMENTS_MAX)
		options->arguments[options->n_arguments++] = word;
	else
		return error_text(err, -EINVAL, "too many arguments");
	return 0;
}

/* getopt remembers where it is inside a cluster ("-qn"). Only optind = 0 makes it forget. */
static void reset_getopt(void)
{
	char program[] = "baton";
	char *nothing[] = {program, NULL};

	opterr = 0;
	optind = 0;
	getopt_long(1, nothing, short_options, long_options, NULL);
	optind = 1;
}

int cli_options_parse(int argc, char **argv, struct cli_options *ret, struct error *err)
{
	int r = 0;

	*ret = (struct cli_options){0};
	reset_getopt();
	while (r == 0 && optind < argc) {
		const char *text = argv[optind];
		enum cli_option_group group;
		int option;

		if (strcmp(text, "--") == 0) {
			ret->command = argv + optind + 1;
			return 0;
		}
		if (text[0] != '-' || !text[1]) {
			r = take_word(text, ret, err);
			optind++;
			continue;
		}
		option = getopt_long(argc, argv, short_options, long_options, NULL);
		if (option == ':' || option == '?')
			return refuse(option, text, err);
		group = group_of(option);
		ret->used[group] = text;
		r = take_option(option, optarg, ret, err);
	}
	return r;
}
