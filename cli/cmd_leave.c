/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "baton leave": batond ends, and what it runs goes on until the next batond takes it over. Waits
 * until it has ended.
 */
#include "cli/commands.h"

#include <stdio.h>
#include <time.h>

#include "common/clock.h"

#define GONE_TIMEOUT_MS 10000
#define LOOK_MS         20

/* Until the daemon that is @pid answers no longer; another may answer by then. */
static enum cli_exit wait_until_gone(struct cli_client *client, long long pid, struct error *err)
{
	const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
	uint64_t deadline_ms = clock_monotonic_ms() + GONE_TIMEOUT_MS;
	long long found;
	json_t *answer;

	while (clock_monotonic_ms() < deadline_ms) {
		if (cli_client_get(client, "/v1/version", &answer, err) == CLI_UNREACHABLE)
			return CLI_DONE;
		found = print_number(answer, "pid");
		json_decref(answer);
		if (found > 0 && found != pid)
			return CLI_DONE;
		nanosleep(&pause, NULL);
	}
	return error_text(err, CLI_ERROR,
			  "leave: batond (pid %lld) has been told to, and still answers after %d s",
			  pid, GONE_TIMEOUT_MS / 1000);
}

static void print_number_of(const struct print *to, long long n, const char *what)
{
	fprintf(to->out, "%lld %s%s", n, what, n == 1 ? "" : "s");
}

static void print_left(const struct print *to, const json_t *answer)
{
	long long services = print_number(answer, "services");
	long long held = print_number(answer, "held"), reset = print_number(answer, "reset");

	fprintf(to->out, "batond (pid %lld) has left; ", print_number(answer, "pid"));
	if (services <= 0) {
		fputs("nothing was running\n", to->out);
	} else {
		print_number_of(to, services, "service");
		fputs(" with ", to->out);
		print_number_of(to, print_number(answer, "instances"), "instance");
		fputs(services == 1 ? " goes on\n" : " go on\n", to->out);
	}
	if (held > 0) {
		print_number_of(to, held, "connection");
		fputs(held == 1 ? " waits on\n" : " wait on\n", to->out);
	}
	if (reset > 0) {
		print_number_of(to, reset, "connection");
		fputs(reset == 1 ? " that waited was reset: no instance could keep it\n"
				 : " that waited were reset: no instance could keep them\n",
		      to->out);
	}
}

enum cli_exit cmd_leave(const struct cli_options *options, struct error *err)
{
	cleanup(cli_client_free) struct cli_client *client = NULL;
	struct print to = cmd_stdout();
	json_t *answer;
	enum cli_exit r;

	r = cli_client_find(options->name, &client, err);
	if (r == CLI_DONE)
		r = cli_client_post(client, "/v1/leave", NULL, &answer, err);
	if (r != CLI_DONE)
		return r;
	if (print_number(answer, "pid") <= 0)
		r = cmd_odd_answer("leave", err);
	else
		r = wait_until_gone(client, print_number(answer, "pid"), err);
	if (r == CLI_DONE && options->json)
		cmd_print_json(answer);
	else if (r == CLI_DONE && !options->quiet)
		print_left(&to, answer);
	json_decref(answer);
	return r;
}
