/* SPDX-License-Identifier: BSD-2-Clause */
/* The operator's commands: when they are run, what they are told, and what is told of them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

static void set_hook(enum hook_point point, const char *program)
{
	vector_free(TAKE_PTR(service->config->hooks.command[point]));
	assert_int_equal(vector_append(&service->config->hooks.command[point], strdup(program)), 0);
	assert_int_equal(vector_append(&service->config->hooks.command[point], strdup("arg")), 0);
}

/* All but before_start, which a rollout waits for. */
static void set_all(void)
{
	set_hook(HOOK_AFTER_SHIFT, "/hook/shift");
	set_hook(HOOK_AFTER_DRAIN, "/hook/drain");
	set_hook(HOOK_ON_ROLLBACK, "/hook/rollback");
	set_hook(HOOK_ON_FAILURE, "/hook/failure");
}

static void assert_hook_event(const char *hook, bool ok, const char *message)
{
	json_t *event = newest_event("hook");

	assert_non_null(event);
	assert_string_equal(json_string_value(json_object_get(event, "hook")), hook);
	assert_int_equal(json_is_true(json_object_get(event, "ok")), ok);
	assert_string_equal(json_string_value(json_object_get(event, "message")), message);
	/* Whose it was. */
	assert_true(json_integer_value(json_object_get(event, "rollout")) > 0);
	assert_true(json_integer_value(json_object_get(event, "generation")) > 0);
	json_decref(event);
}

/* ---- when ----------------------------------------------------------------------------------- */

static void test_service_hooks_of_a_first_start(void **state)
{
	(void)state;
	set_all();
	carry_out("start", NULL);
	assert_calls_of("command", "command /hook/shift");
	assert_string_equal(fake_command_get(0, "BATON_PREVIOUS"), "");
}

static void test_service_hooks_of_a_restart(void **state)
{
	(void)state;
	carry_out("start", NULL);
	set_all();
	fake(1, 0)->live = 1;
	forget_calls();
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	assert_calls_of("command", "command /hook/shift");
	fake(1, 0)->live = 0;
	drive_until(n_ended == 2);
	assert_calls_of("command", "command /hook/drain");
}

static void test_service_hooks_of_a_failure(void **state)
{
	(void)state;
	carry_out("start", NULL);
	set_all();
	fake(2, 0)->start_error = -EAGAIN;
	forget_calls();
	carry_out("restart", NULL);
	assert_calls_of("command", "command /hook/failure");
	assert_string_equal(fake_command_get(0, "BATON_STEP"), "on_failure");
	assert_string_equal(fake_command_get(0, "BATON_WEIGHT"), "");
	assert_string_equal(fake_command_get(0, "BATON_REASON"), service->last.reason);
	assert_non_null(strstr(service->last.reason, "instance 0"));
}

static void test_service_hooks_of_a_rollback(void **state)
{
	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	set_all();
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	forget_calls();
	order("abort", NULL);
	drive_until(n_ended == 2);
	/* What has been undone has drained, too, but nothing that anybody waits for. */
	assert_calls_of("command", "command /hook/rollback");
	assert_string_equal(fake_command_get(1, "BATON_REASON"), "aborted by request");
}

static void test_service_hooks_of_a_stop(void **state)
{
	(void)state;
	carry_out("start", NULL);
	set_all();
	forget_calls();
	carry_out("stop", NULL);
	assert_calls_of("command", "command /hook/drain");
	assert_string_equal(fake_command_get(0, "BATON_GENERATION"), "");
	assert_string_equal(fake_command_get(0, "BATON_PREVIOUS"), "1");
	assert_string_equal(fake_command_get(0, "BATON_ORDER"), "stop");
}

/* Instances that come and go by themselves are nobody's release. */
static void test_service_hooks_are_not_for_scaling_and_replacing(void **state)
{
	(void)state;
	carry_out("start", NULL);
	set_all();
	set_hook(HOOK_BEFORE_START, "/hook/before");
	/* As after a restart: the generation was started with them. */
	for (size_t k = 0; k < _HOOK_COUNT; k++) {
		char ***command = &service->current->config->hooks.command[k];

		assert_int_equal(vector_append(command, strdup("/hook/other")), 0);
	}
	forget_calls();
	carry_out("scale", "{\"instances\": 3}");
	carry_out("scale", "{\"instances\": 2}");
	heal_after(1, 5);
	fake_fail(1, 0, "exited with status 9");
	changed();
	drive_until(n_ended == 4);
	fake(1, 2)->start_error = -EAGAIN;
	carry_out("scale", "{\"instances\": 3}");
	assert_calls_of("command", "");
}

/* Each step of a canary is a shift of its own; the hook is for the whole of it. */
static void test_service_after_shift_waits_for_the_last_step(void **state)
{
	(void)state;
	carry_out("start", NULL);
	set_all();
	service->config->rollout.strategy = ROLLOUT_CANARY;
	service->config->rollout.n_steps = 2;
	service->config->rollout.steps[0] = (struct rollout_weight){.weight = 10, .manual = true};
	service->config->rollout.steps[1].weight = 100;
	service->config->rollout.promote_timeout_ms = 60000;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DWELLING);
	assert_int_equal(n_fake_commands, 0);
	order("promote", NULL);
	drive_until(n_ended == 2);
	assert_string_equal(fake_commands[0].argv[0], "/hook/shift");
	assert_string_equal(fake_command_get(0, "BATON_WEIGHT"), "100");
}

/* Its ports lead to whom it is about, until it ends. */
static void test_service_hooks_reach_the_side_that_serves(void **state)
{
	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	set_all();
	set_hook(HOOK_BEFORE_START, "/hook/before");
	order("restart", NULL);
	drive_until(n_fake_commands == 1);
	assert_string_equal(fake_ports_last, "1.0");
	assert_int_equal(fake_ports_open, 1);
	fake_command_end(0, 0, "exited with status 0");
	assert_int_equal(fake_ports_open, 0);
	drive_until(n_fake_commands == 2);
	assert_string_equal(fake_command_get(1, "BATON_STEP"), "after_shift");
	assert_string_equal(fake_ports_last, "2.0");
	fake_command_end(1, 0, "exited with status 0");
	assert_int_equal(fake_ports_open, 0);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	order("abort", NULL);
	drive_until(n_fake_commands == 3);
	assert_string_equal(fake_command_get(2, "BATON_STEP"), "on_rollback");
	assert_string_equal(fake_command_get(2, "BATON_PROBE_GENERATION"), "1");
	assert_string_equal(fake_ports_last, "1.0");
	drive_until(n_ended == 2);
}

/* It is not told of any, and runs all the same. */
static void test_service_hooks_without_ports_run(void **state)
{
	(void)state;
	fake_ports_error = -EADDRNOTAVAIL;
	set_all();
	set_hook(HOOK_BEFORE_START, "/hook/before");
	order("start", NULL);
	drive_until(n_fake_commands == 1);
	fake_command_end(0, 0, "exited with status 0");
	drive_until(n_ended == 1);
	assert_string_equal(fake_command_get(0, "BATON_PROBE_PORTS"), "(not set)");
	assert_string_equal(fake_command_get(1, "BATON_PROBE_PORTS"), "(not set)");
}

/* ---- before_start --------------------------------------------------------------------------- */

static void test_service_before_start_is_waited_for(void **state)
{
	(void)state;
	carry_out("start", NULL);
	set_hook(HOOK_BEFORE_START, "/hook/before");
	forget_calls();
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_PREPARING && n_fake_commands == 1);
	turn();
	assert_calls("command /hook/before");
	assert_string_equal(fake_command_get(0, "BATON_STEP"), "before_start");
	fake_command_end(0, 0, "exited with status 0");
	drive_until(n_ended == 2);
	assert_int_equal(service->current->number, 2);
	assert_event("prepare", "message", "before_start exited with status 0");
}

static void test_service_before_start_that_fails_starts_nothing(void **state)
{
	(void)state;
	carry_out("start", NULL);
	set_hook(HOOK_BEFORE_START, "/hook/before");
	set_hook(HOOK_ON_FAILURE, "/hook/failure");
	order("restart", NULL);
	drive_until(n_fake_commands == 1);
	forget_calls();
	fake_command_end(0, 3, "exited with status 3: no disk");
	drive_until(n_ended == 2);
	assert_calls_of("start command", "command /hook/failure");
	assert_int_equal(service->last.exit, 3);
	assert_string_equal(service->last.reason, "before_start exited with status 3: no disk");
	assert_string_equal(service->last.step, "prepare");
	assert_int_equal(service->current->number, 1);
}

static void test_service_before_start_that_cannot_be_run_is_a_failure(void **state)
{
	(void)state;
	carry_out("start", NULL);
	set_hook(HOOK_BEFORE_START, "/hook/before");
	fake_command_error = -ENOENT;
	carry_out("restart", NULL);
	assert_string_equal(service->last.reason,
			    "before_start exec /hook/before: No such file or directory");
	assert_int_equal(service->current->number, 1);
}

static void test_service_before_start_of_what_is_aborted_is_ended(void **state)
{
	(void)state;
	carry_out("start", NULL);
	set_hook(HOOK_BEFORE_START, "/hook/before");
	order("restart", NULL);
	drive_until(n_fake_commands == 1);
	forget_calls();
	order("abort", NULL);
	drive_until(n_ended == 2);
	assert_calls_of("cancel start", "cancel /hook/before");
}

/* ---- what they are told --------------------------------------------------------------------- */

static void test_service_hooks_know_what_they_are_about(void **state)
{
	static const struct {
		const char *name, *value;
	} expected[] = {
		{"BATON_SERVICE", "web"},
		{"BATON_GENERATION", "2"},
		{"BATON_PREVIOUS", "1"},
		{"BATON_ROLLOUT", "2"},
		{"BATON_ORDER", "upgrade"},
		{"BATON_STEP", "after_shift"},
		{"BATON_WEIGHT", "100"},
		{"BATON_REASON", ""},
		{"BATON_LISTEN", ENDPOINT_0},
		{"BATON_CONNECT", ENDPOINT_0},
		{"BATON_PROBE_PORTS", "61000-61015"},
		{"BATON_PROBE_GENERATION", "2"},
		{"BATON_SOCKET", "/run/test.sock"},
		{"OF_THE_SERVICE", "its own"},
	};

	(void)state;
	snprintf(context.paths.api_socket, sizeof(context.paths.api_socket), "/run/test.sock");
	carry_out("start", NULL);
	set_hook(HOOK_AFTER_SHIFT, "/hook/shift");
	carry_out("upgrade", "{\"environment\": {\"OF_THE_SERVICE\": \"its own\"}}");
	assert_int_equal(n_fake_commands, 1);
	for (size_t k = 0; k < sizeof(expected) / sizeof(expected[0]); k++)
		assert_string_equal(fake_command_get(0, expected[k].name), expected[k].value);
}

static void test_service_hooks_run_as_the_service_does(void **state)
{
	static const gid_t groups[] = {7, 8};

	(void)state;
	set_hook(HOOK_AFTER_SHIFT, "/hook/shift");
	service->config->set_ids = true;
	service->config->gid = 34;
	memcpy(service->config->groups, groups, sizeof(groups));
	service->config->n_groups = 2;
	service->config->hooks.timeout_ms = 777;
	carry_out("start", NULL);
	assert_string_equal(fake_commands[0].argv[1], "arg");
	assert_string_equal(fake_commands[0].directory, "/srv");
	assert_true(fake_commands[0].spec.set_ids);
	assert_int_equal(fake_commands[0].spec.uid, 33);
	assert_int_equal(fake_commands[0].spec.gid, 34);
	assert_int_equal(fake_commands[0].spec.n_groups, 2);
	assert_int_equal(fake_commands[0].spec.groups[1], 8);
	assert_int_equal(fake_commands[0].spec.timeout_ms, 777);
}

/* The one that it had when it was started: a reload is for the next. */
static void test_service_hooks_are_those_of_the_new_generation(void **state)
{
	struct service_config *config;
	const char *order_after;

	(void)state;
	set_hook(HOOK_AFTER_SHIFT, "/hook/shift");
	fake(1, 0)->not_healthy = true;
	order("start", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	config = make_config("/bin/web", ENDPOINT_0);
	assert_int_equal(
		vector_append(&config->hooks.command[HOOK_AFTER_SHIFT], strdup("/hook/other")), 0);
	assert_int_equal(reconfigure(config, &order_after, &err), 0);
	assert_null(order_after);
	pass_checks(1);
	drive_until(n_ended == 1);
	carry_out("restart", NULL);
	assert_string_equal(fake_commands[0].argv[0], "/hook/shift");
	assert_string_equal(fake_commands[1].argv[0], "/hook/other");
}

/* ---- what is told of them ------------------------------------------------------------------- */

static void test_service_hook_that_ends_is_told(void **state)
{
	(void)state;
	set_hook(HOOK_AFTER_SHIFT, "/hook/shift");
	carry_out("start", NULL);
	assert_null(newest_event("hook"));
	fake_command_end(0, 0, "exited with status 0");
	assert_hook_event("after_shift", true, "after_shift exited with status 0");
	carry_out("restart", NULL);
	fake_command_end(1, 7, "exited with status 7: no network");
	assert_hook_event("after_shift", false, "after_shift exited with status 7: no network");
	/* Nobody waits for it, and it decides nothing. */
	assert_int_equal(service->last.exit, 0);
}

static void test_service_hook_that_is_killed_has_failed(void **state)
{
	struct command_result result = {.exit_signal = SIGKILL, .timed_out = true};

	(void)state;
	set_hook(HOOK_AFTER_SHIFT, "/hook/shift");
	carry_out("start", NULL);
	snprintf(result.text, sizeof(result.text), "took longer than 60s");
	fake_commands[0].alive = false;
	fake_commands[0].on_done(fake_commands[0].userdata, &result);
	assert_hook_event("after_shift", false, "after_shift took longer than 60s");
}

static void test_service_hook_that_cannot_be_started_is_told(void **state)
{
	(void)state;
	set_hook(HOOK_AFTER_SHIFT, "/hook/shift");
	fake_command_error = -EACCES;
	carry_out("start", NULL);
	assert_hook_event("after_shift", false, "after_shift exec /hook/shift: Permission denied");
	assert_int_equal(service->last.exit, 0);
	/* Its place is free again. */
	fake_command_error = 0;
	for (unsigned k = 0; k < SERVICE_HOOKS_MAX; k++)
		carry_out("restart", NULL);
	assert_int_equal(fake_commands_alive(), SERVICE_HOOKS_MAX);
}

static void test_service_hooks_that_are_too_many_are_not_run(void **state)
{
	(void)state;
	set_hook(HOOK_AFTER_SHIFT, "/hook/shift");
	carry_out("start", NULL);
	for (unsigned k = 1; k < SERVICE_HOOKS_MAX; k++)
		carry_out("restart", NULL);
	assert_int_equal(fake_commands_alive(), SERVICE_HOOKS_MAX);
	assert_null(newest_event("hook"));
	carry_out("restart", NULL);
	assert_int_equal(fake_commands_alive(), SERVICE_HOOKS_MAX);
	assert_hook_event("after_shift", false,
			  "after_shift was not run: too many are running already");
	/* One ends: there is room. */
	fake_command_end(3, 0, "exited with status 0");
	carry_out("restart", NULL);
	assert_int_equal(fake_commands_alive(), SERVICE_HOOKS_MAX);
	assert_int_equal(n_fake_commands, SERVICE_HOOKS_MAX + 1);
}

/* Its end waits for the last command, which may be what takes it off somewhere. */
static void test_service_with_a_hook_that_runs_is_not_idle(void **state)
{
	unsigned before;

	(void)state;
	carry_out("start", NULL);
	set_hook(HOOK_AFTER_DRAIN, "/hook/drain");
	carry_out("stop", NULL);
	assert_null(service->current);
	assert_false(service_is_idle(service));
	before = n_ended;
	fake_command_end(0, 0, "exited with status 0");
	assert_true(service_is_idle(service));
	/* Somebody may have been waiting for that. */
	assert_int_equal(n_ended, before + 1);
}

/* tear_down sees that none is left. */
static void test_service_that_ends_ends_its_hooks(void **state)
{
	(void)state;
	set_all();
	carry_out("start", NULL);
	carry_out("restart", NULL);
	assert_int_equal(fake_commands_alive(), 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_hooks_of_a_first_start),
		TEST(test_service_hooks_of_a_restart),
		TEST(test_service_hooks_of_a_failure),
		TEST(test_service_hooks_of_a_rollback),
		TEST(test_service_hooks_of_a_stop),
		TEST(test_service_hooks_reach_the_side_that_serves),
		TEST(test_service_hooks_without_ports_run),
		TEST(test_service_hooks_are_not_for_scaling_and_replacing),
		TEST(test_service_after_shift_waits_for_the_last_step),
		TEST(test_service_before_start_is_waited_for),
		TEST(test_service_before_start_that_fails_starts_nothing),
		TEST(test_service_before_start_that_cannot_be_run_is_a_failure),
		TEST(test_service_before_start_of_what_is_aborted_is_ended),
		TEST(test_service_hooks_know_what_they_are_about),
		TEST(test_service_hooks_run_as_the_service_does),
		TEST(test_service_hooks_are_those_of_the_new_generation),
		TEST(test_service_hook_that_ends_is_told),
		TEST(test_service_hook_that_is_killed_has_failed),
		TEST(test_service_hook_that_cannot_be_started_is_told),
		TEST(test_service_hooks_that_are_too_many_are_not_run),
		TEST(test_service_with_a_hook_that_runs_is_not_idle),
		TEST(test_service_that_ends_ends_its_hooks),
	};
#undef TEST

	return cmocka_run_group_tests_name("service hooks", tests, NULL, NULL);
}
