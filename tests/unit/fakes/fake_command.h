/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_command: the operator's commands, none of which runs. The test says how each has ended.
 */
#pragma once

#include <stdlib.h>

#include "common/vector.h"
#include "orchestrator/host/command.h"
#include "orchestrator/host/environment.h"
#include "tests/unit/fakes/fake_calls.h"

#define FAKE_COMMANDS_MAX 32

struct command {
	char **argv, **environment;
	char directory[128];
	struct command_spec spec; /* what it points to is not to be looked at any more */
	void (*on_done)(void *userdata, const struct command_result *result);
	void *userdata;
	bool alive; /* neither done nor cancelled */
};

/* In the order of their start. */
static struct command fake_commands[FAKE_COMMANDS_MAX];
static size_t n_fake_commands;
static int fake_command_error; /* it cannot be started */

static inline void fake_commands_reset(void)
{
	for (size_t k = 0; k < n_fake_commands; k++) {
		vector_free(fake_commands[k].argv);
		vector_free(fake_commands[k].environment);
	}
	memset(fake_commands, 0, sizeof(fake_commands));
	n_fake_commands = 0;
	fake_command_error = 0;
}

static inline size_t fake_commands_alive(void)
{
	size_t n = 0;

	for (size_t k = 0; k < n_fake_commands; k++)
		n += fake_commands[k].alive;
	return n;
}

static inline const char *fake_command_get(size_t k, const char *name)
{
	const char *value;

	assert_true(k < n_fake_commands);
	value = environment_get(fake_commands[k].environment, name);
	return value ? value : "(not set)";
}

/* It ends, as @text says. */
static inline void fake_command_end(size_t k, int exit_code, const char *text)
{
	struct command_result result = {.exit_code = exit_code};

	assert_true(k < n_fake_commands && fake_commands[k].alive);
	snprintf(result.text, sizeof(result.text), "%s", text);
	fake_commands[k].alive = false;
	fake_commands[k].on_done(fake_commands[k].userdata, &result);
}

int command_start(sd_event *event, const struct command_spec *spec,
		  void (*on_done)(void *userdata, const struct command_result *result),
		  void *userdata, struct command **ret, struct error *err)
{
	struct command *command = &fake_commands[n_fake_commands];

	assert_non_null(event);
	assert_true(n_fake_commands < FAKE_COMMANDS_MAX);
	if (fake_command_error)
		return error_set(err, fake_command_error, "exec %s", spec->argv[0]);
	called("command %s", spec->argv[0]);
	*command = (struct command){
		.spec = *spec, .on_done = on_done, .userdata = userdata, .alive = true};
	assert_int_equal(vector_copy(spec->argv, &command->argv), 0);
	assert_int_equal(vector_copy(spec->environment, &command->environment), 0);
	snprintf(command->directory, sizeof(command->directory), "%s", spec->directory);
	n_fake_commands++;
	*ret = command;
	return 0;
}

void command_cancel(struct command *command)
{
	if (!command)
		return;
	assert_true(command->alive);
	called("cancel %s", command->argv[0]);
	command->alive = false;
}
