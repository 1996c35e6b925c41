/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * commands: what "baton WORD" does. Each function carries its command out, prints its result to
 * stdout and returns the exit status; where that is not CLI_DONE and nothing printed says why
 * already, @err does. How many arguments there are has been checked before.
 */
#pragma once

#include <jansson.h>

#include "cli/client.h"
#include "cli/exit.h"
#include "cli/options.h"
#include "cli/print.h"
#include "common/error.h"

enum cli_exit cmd_run(const struct cli_options *options, struct error *err);
enum cli_exit cmd_status(const struct cli_options *options, struct error *err);
enum cli_exit cmd_list(const struct cli_options *options, struct error *err);
enum cli_exit cmd_connections(const struct cli_options *options, struct error *err);
enum cli_exit cmd_restart(const struct cli_options *options, struct error *err);
enum cli_exit cmd_upgrade(const struct cli_options *options, struct error *err);
enum cli_exit cmd_rollback(const struct cli_options *options, struct error *err);
enum cli_exit cmd_start(const struct cli_options *options, struct error *err);
enum cli_exit cmd_stop(const struct cli_options *options, struct error *err);
enum cli_exit cmd_scale(const struct cli_options *options, struct error *err);
enum cli_exit cmd_promote(const struct cli_options *options, struct error *err);
enum cli_exit cmd_abort(const struct cli_options *options, struct error *err);
enum cli_exit cmd_pause(const struct cli_options *options, struct error *err);
enum cli_exit cmd_resume(const struct cli_options *options, struct error *err);
enum cli_exit cmd_reopen(const struct cli_options *options, struct error *err);
enum cli_exit cmd_reload(const struct cli_options *options, struct error *err);
enum cli_exit cmd_leave(const struct cli_options *options, struct error *err);
enum cli_exit cmd_events(const struct cli_options *options, struct error *err);
enum cli_exit cmd_check(const struct cli_options *options, struct error *err);
enum cli_exit cmd_doctor(const struct cli_options *options, struct error *err);
enum cli_exit cmd_version(const struct cli_options *options, struct error *err);

#define CMD_INSTANCES_MAX 256 /* that "scale" can ask for */

/* ---- what they share ------------------------------------------------------------------------ */

/* stdout; in colour where it is a terminal that wants it (NO_COLOR, see no-color.org). */
struct print cmd_stdout(void);

/* One JSON value, on lines of its own. */
void cmd_print_json(const json_t *value);

/* "web: paused: new connections wait": @answer's "message", else @otherwise. */
void cmd_print_message(const struct print *to, const json_t *answer, const char *otherwise);

/* The answer to @word lacks what it must have. Returns CLI_ERROR. */
enum cli_exit cmd_odd_answer(const char *word, struct error *err);

/*
 * The service meant: @options' first argument, or the daemon's only one. CLI_USAGE where the name
 * cannot be one, or where the daemon has several; the reason lists them.
 */
enum cli_exit cmd_service(const struct cli_options *options, struct cli_client *client,
			  char ret[static CLI_SERVICE_MAX], struct error *err);
