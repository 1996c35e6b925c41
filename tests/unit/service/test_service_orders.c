/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What orders take, and how they get along with each other: superseding, queued, promoted, aborted,
 * scaled, with nothing to do.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/service/service_internal.h"
#include "tests/unit/service/service_fixture.h"

/* As a reload that finds another release. */
static void reconfigure_while_starting(void)
{
	const char *order_after;

	assert_int_equal(reconfigure(make_config("/bin/v2", ENDPOINT_0), &order_after, &err), 0);
	assert_string_equal(order_after, "restart");
	order_later(order_after);
}

static void bad_request(const char *name, const char *body, const char *detail)
{
	refused(name, body);
	assert_refused(400, 2, "Bad request", detail);
}

/* ---- what they take ------------------------------------------------------------------------- */

static void test_service_unknown_order_names_those_there_are(void **state)
{
	(void)state;
	refused("frobnicate", NULL);
	assert_refused(404, 2, "No such order",
		       "unknown order \"frobnicate\" (restart, upgrade, rollback, promote, abort, "
		       "start, stop, scale, pause, resume, reopen)");
	refused("", NULL);
	assert_int_equal(refusal_info(refusal.kind)->http_status, 404);
	/* Nobody gives these. */
	refused("replace", NULL);
	assert_int_equal(refusal_info(refusal.kind)->http_status, 404);
}

static void test_service_unknown_key_says_what_the_order_takes(void **state)
{
	static const struct {
		const char *order, *key, *takes;
	} cases[] = {
		{"restart", "force", "\"reset\", \"supersede\""},
		{"rollback", "command", "\"dry_run\", \"supersede\""},
		{"start", "instances", "\"supersede\""},
		{"stop", "x", "\"supersede\""},
		{"upgrade", "comand",
		 "\"command\", \"environment\", \"unset\", \"force\", \"supersede\""},
		{"upgrade", "instances",
		 "\"command\", \"environment\", \"unset\", \"force\", \"supersede\""},
		{"scale", "force", "\"instances\", \"supersede\""},
		{"promote", "supersede", "none"},
		{"abort", "force", "none"},
		{"reopen", "x", "none"},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		char body[64], detail[160];

		snprintf(body, sizeof(body), "{\"%s\": true}", cases[k].key);
		snprintf(detail, sizeof(detail), "%s: unknown key (%s takes %s)", cases[k].key,
			 cases[k].order, cases[k].takes);
		bad_request(cases[k].order, body, detail);
	}
	assert_calls("");
}

static void test_service_flags_are_booleans(void **state)
{
	static const char *const values[] = {"1", "\"true\"", "null", "[]"};

	(void)state;
	for (size_t k = 0; k < sizeof(values) / sizeof(values[0]); k++) {
		char body[64];

		snprintf(body, sizeof(body), "{\"supersede\": %s}", values[k]);
		bad_request("restart", body, "supersede: expected true or false");
		snprintf(body, sizeof(body), "{\"force\": %s}", values[k]);
		bad_request("upgrade", body, "force: expected true or false");
	}
	carry_out("start", "{\"supersede\": false}");
	assert_int_equal(answer.supersedes, 0);
}

static void test_service_bad_upgrades_are_refused(void **state)
{
	static const struct {
		const char *body, *detail;
	} cases[] = {
		{"{\"command\": []}", "command: expected an array of 1 to 256 strings"},
		{"{\"command\": \"/bin/x\"}", "command: expected an array of 1 to 256 strings"},
		{"{\"command\": null}", "command: expected an array of 1 to 256 strings"},
		{"{\"command\": {}}", "command: expected an array of 1 to 256 strings"},
		{"{\"command\": [7]}", "command[0]: expected a non-empty string"},
		{"{\"command\": [\"\"]}", "command[0]: expected a non-empty string"},
		{"{\"command\": [\"/bin/x\", \"a\", false]}", "command[2]: expected a string"},
		{"{\"environment\": []}", "environment: expected an object of at most 256 strings"},
		{"{\"environment\": \"A=b\"}",
		 "environment: expected an object of at most 256 strings"},
		{"{\"environment\": {\"A\": 1}}", "environment.A: expected a string"},
		{"{\"environment\": {\"A\": \"b\", \"B\": null}}",
		 "environment.B: expected a string"},
		{"{\"environment\": {\"A\": \"b\", \"LISTEN_FDS\": \"1\"}}",
		 "\"LISTEN_FDS\" is set by baton itself"},
		{"{\"environment\": {\"\": \"b\"}}", "the name of a variable is empty"},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++)
		bad_request("upgrade", cases[k].body, cases[k].detail);
	assert_calls("");
	assert_int_equal(last_number, 0);
}

static void test_service_upgrade_takes_256_words_and_no_more(void **state)
{
	json_t *words = json_array();
	json_t *body = json_pack("{s:o}", "command", words);
	char *text;

	(void)state;
	for (size_t k = 0; k < SERVICE_COMMAND_MAX; k++)
		assert_int_equal(json_array_append_new(words, json_string("/bin/x")), 0);
	text = json_dumps(body, 0);
	order("upgrade", text);
	free(text);
	assert_int_equal(vector_length(run->new->release->command), SERVICE_COMMAND_MAX);
	drive_until(n_ended == 1);
	assert_int_equal(json_array_append_new(words, json_string("/bin/x")), 0);
	text = json_dumps(body, 0);
	bad_request("upgrade", text, "command: expected an array of 1 to 256 strings");
	free(text);
	json_decref(body);
}

static void test_service_scale_wants_a_number_within_bounds(void **state)
{
	static const char *const bodies[] = {"{}",
					     "{\"instances\": 0}",
					     "{\"instances\": -1}",
					     "{\"instances\": 17}",
					     "{\"instances\": 4294967297}",
					     "{\"instances\": 2.0}",
					     "{\"instances\": \"2\"}",
					     "{\"instances\": null}"};

	(void)state;
	carry_out("start", NULL);
	for (size_t k = 0; k < sizeof(bodies) / sizeof(bodies[0]); k++)
		bad_request("scale", bodies[k], "instances: expected a number from 1 to 16");
	bad_request("scale", NULL, "instances: expected a number from 1 to 16");
	assert_int_equal(service->instances, 1);
	assert_int_equal(remembered_instances, 0);
}

/* ---- upgrade -------------------------------------------------------------------------------- */

static void test_service_upgrade_to_what_runs_does_nothing(void **state)
{
	(void)state;
	carry_out("start", NULL);
	forget_calls();
	give("upgrade", NULL);
	assert_null(run);
	assert_int_equal(answer.queued, 0);
	assert_string_equal(answer.message,
			    "generation 1 runs this release already (/bin/web build-id:1)");
	assert_true(answer.unchanged);
	give("upgrade", "{\"command\": [\"/bin/web\"]}");
	assert_null(run);
	assert_calls("");
	assert_int_equal(last_number, 1);
	/* The same name, but not the same file. */
	strcpy(release_edition, "2");
	carry_out("upgrade", NULL);
	assert_int_equal(service->current->number, 2);
}

static void test_service_upgrade_by_force_replaces_what_is_the_same(void **state)
{
	(void)state;
	carry_out("start", NULL);
	give("upgrade", "{\"force\": false}");
	assert_null(run);
	carry_out("upgrade", "{\"force\": true}");
	assert_false(answer.unchanged);
	assert_int_equal(service->current->number, 2);
	assert_string_equal(current_program(), "/bin/web");
}

static void test_service_upgrade_of_a_stopped_one_starts_it(void **state)
{
	(void)state;
	carry_out("upgrade", NULL);
	assert_int_equal(service->current->number, 1);
}

/* What a new generation is made of is more than the release. */
static void test_service_upgrade_to_another_configuration_is_no_nothing(void **state)
{
	struct service_config *config = make_config("/bin/web", ENDPOINT_0);
	const char *order_after;

	(void)state;
	carry_out("start", NULL);
	config->backlog = 7;
	assert_int_equal(reconfigure(config, &order_after, &err), 0);
	carry_out("upgrade", NULL);
	assert_int_equal(service->current->number, 2);
}

static void test_service_upgrade_with_environment_keeps_it(void **state)
{
	static const char *const body = "{\"environment\": {\"A\": \"b\", \"C\": \"\"}}";

	(void)state;
	carry_out("start", NULL);
	carry_out("upgrade", body);
	assert_string_equal(current_program(), "/bin/web");
	assert_string_equal(environment_get(service->current->release->environment, "A"), "b");
	assert_string_equal(environment_get(service->current->release->environment, "C"), "");
	/* The command is the configured one, and not to be remembered. */
	assert_null(remembered);
	assert_int_equal(vector_length(remembered_environment), 2);
	/* For the restarts to come. */
	carry_out("restart", NULL);
	assert_string_equal(environment_get(service->current->release->environment, "A"), "b");
	give("upgrade", body);
	assert_null(run);
	/* Another one is added to it. */
	carry_out("upgrade", "{\"environment\": {\"D\": \"e\", \"C\": \"f\"}}");
	assert_string_equal(environment_get(service->current->release->environment, "A"), "b");
	assert_string_equal(environment_get(service->current->release->environment, "C"), "f");
	assert_int_equal(vector_length(remembered_environment), 3);
	/* What is unset is gone, and what was never there is no mistake. */
	carry_out("upgrade", "{\"unset\": [\"C\", \"X\"]}");
	assert_null(environment_get(service->current->release->environment, "C"));
	assert_int_equal(vector_length(remembered_environment), 2);
	carry_out("upgrade", "{\"command\": [\"/bin/v2\"]}");
	assert_string_equal(environment_get(service->current->release->environment, "D"), "e");
}

static void test_service_restart_with_reset_drops_overrides(void **state)
{
	(void)state;
	carry_out("start", NULL);
	carry_out("upgrade", "{\"command\": [\"/bin/v2\"], \"environment\": {\"A\": \"b\"}}");
	fake(3, 0)->start_error = -EIO;
	carry_out("restart", "{\"reset\": true}");
	assert_string_equal(remembered[0], "/bin/v2");
	carry_out("restart", "{\"reset\": true}");
	assert_string_equal(current_program(), "/bin/web");
	assert_null(environment_get(service->current->release->environment, "A"));
	assert_null(remembered);
	assert_null(remembered_environment);
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/web");
	/* That was a release, too. */
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/v2");
	assert_string_equal(environment_get(service->current->release->environment, "A"), "b");
	refused("upgrade", "{\"reset\": true}");
	refused("upgrade", "{\"unset\": [\"A=b\"]}");
	assert_string_equal(refusal.why.text, "unset[0]: expected a name");
	refused("upgrade", "{\"unset\": \"A\"}");
}

static void test_service_rollback_brings_the_environment_back(void **state)
{
	(void)state;
	carry_out("start", NULL);
	carry_out("upgrade", "{\"environment\": {\"A\": \"1\"}}");
	carry_out("upgrade", "{\"environment\": {\"A\": \"2\"}}");
	carry_out("rollback", NULL);
	assert_string_equal(environment_get(service->current->release->environment, "A"), "1");
	assert_string_equal(environment_get(remembered_environment, "A"), "1");
	carry_out("restart", NULL);
	assert_string_equal(environment_get(service->current->release->environment, "A"), "1");
}

static void test_service_rollback_to_before_any_environment_forgets_it(void **state)
{
	(void)state;
	carry_out("start", NULL);
	carry_out("upgrade", "{\"environment\": {\"A\": \"1\"}}");
	carry_out("rollback", NULL);
	assert_int_equal(vector_length(service->current->release->environment), 0);
	assert_null(remembered_environment);
	carry_out("restart", NULL);
	assert_int_equal(vector_length(service->current->release->environment), 0);
}

static void test_service_failed_upgrade_leaves_no_environment(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(2, 0)->start_error = -EIO;
	carry_out("upgrade", "{\"environment\": {\"A\": \"1\"}}");
	assert_int_equal(service->last.exit, 3);
	assert_null(remembered_environment);
	assert_null(service->history.environment);
}

/* ---- generations ---------------------------------------------------------------------------- */

static void test_service_generations_max_bounds_what_may_drain(void **state)
{
	(void)state;
	service->config->drain.generations_max = 2;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("upgrade", "{\"command\": [\"/bin/v2\"]}");
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	refused("restart", NULL);
	assert_refused(409, 6, "Busy",
		       "2 generations are alive (\"drain.generations_max\" is 2); wait until one "
		       "has drained");
	refused("rollback", NULL);
	assert_int_equal(refusal_info(refusal.kind)->exit, 6);
	/* What needs no further generation is as good as ever. */
	carry_out("scale", "{\"instances\": 2}");
	assert_int_equal(service->current->instances.n, 2);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 3);
	carry_out("restart", NULL);
	assert_int_equal(service->current->number, 3);
}

static void test_service_canary_needs_a_tier_that_shares(void **state)
{
	(void)state;
	service->config->rollout.strategy = ROLLOUT_CANARY;
	service->config->rollout.n_steps = 1;
	service->config->rollout.steps[0].weight = 100;
	service->config->steering = STEERING_HASH;
	/* A first start has nobody to share with. */
	carry_out("start", NULL);
	refused("restart", NULL);
	assert_refused(409, 1, "Cannot start",
		       "a canary needs shares of new connections, which tier hash cannot give; use "
		       "strategy \"rolling\" or \"blue-green\"");
	assert_int_equal(last_number, 1);
}

/* ---- superseding ---------------------------------------------------------------------------- */

/* Before anybody was shifted to, the end of the other one is decided at once. */
static void test_service_supersede_begins_at_once_where_it_can(void **state)
{
	struct run *first;
	char message[64];

	(void)state;
	carry_out("start", NULL);
	restart_until_verify(2);
	first = run;
	order("upgrade", "{\"command\": [\"/bin/v3\"], \"supersede\": true}");
	assert_ptr_not_equal(run, first);
	assert_int_equal(answer.supersedes, first->id);
	assert_int_equal(answer.queued, 0);
	assert_int_equal(run->new->number, 3);
	assert_int_equal(run->old->number, 1);
	assert_event("superseded", "message", "upgrade takes the place of restart");
	snprintf(message, sizeof(message), "superseded by upgrade");
	assert_string_equal(first->reason, message);
	drive_until(n_ended == 3);
	assert_string_equal(current_program(), "/bin/v3");
	assert_int_equal(service->n_generations, 1);
	assert_event("failed", "reason", "superseded by upgrade");
}

/* After the shift the old ones have to be named again first, and the new ones to go. */
static void test_service_supersede_waits_for_what_is_being_undone(void **state)
{
	struct run *first;
	uint32_t number;

	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	first = run;
	fake(2, 0)->queued = 1;
	service->config->rollout.bake_ms = 0;
	give("upgrade", "{\"command\": [\"/bin/v3\"], \"supersede\": true}");
	assert_null(run);
	assert_int_equal(answer.supersedes, first->id);
	number = answer.queued;
	assert_int_equal(number, first->id + 1);
	turn();
	assert_int_equal(last_number, 2);
	assert_table(0, 10, 20);
	fake(2, 0)->queued = 0;
	fake(2, 0)->live = 1; /* it may drain while the next begins */
	drive_until(service->current->number == 3);
	assert_string_equal(current_program(), "/bin/v3");
	drive_until(n_ended == 2);
	assert_int_equal(service->last.id, number);
	assert_int_equal(service->last.replaces, 1);
	fake(2, 0)->live = 0;
	drive_until(n_ended == 3);
	assert_event("rolled-back", "reason", "superseded by upgrade");
}

/* Somebody waits for the end of each: the one that never began is told as failed. */
static void test_service_superseded_twice_tells_the_first_that_it_failed(void **state)
{
	uint32_t first, second;
	json_t *event;

	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	fake(2, 0)->queued = 1;
	service->config->rollout.bake_ms = 0;
	give("upgrade", "{\"command\": [\"/bin/v3\"], \"supersede\": true}");
	first = answer.queued;
	give("upgrade", "{\"command\": [\"/bin/v4\"], \"supersede\": true}");
	second = answer.queued;
	assert_true(second > first);
	event = newest_event("failed");
	assert_int_equal(json_integer_value(json_object_get(event, "rollout")), first);
	assert_int_equal(json_integer_value(json_object_get(event, "exit")), 6);
	assert_string_equal(json_string_value(json_object_get(event, "order")), "upgrade");
	assert_string_equal(json_string_value(json_object_get(event, "message")),
			    "another order has taken its place");
	assert_true(json_is_null(json_object_get(event, "generation")));
	json_decref(event);
	fake(2, 0)->queued = 0;
	drive_until(n_ended == 3);
	assert_int_equal(service->last.id, second);
	assert_string_equal(current_program(), "/bin/v4");
	assert_false(service->queue.next.used);
}

/* Without "supersede" nothing of what is queued or under way is touched. */
static void test_service_busy_while_one_is_queued(void **state)
{
	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	fake(2, 0)->queued = 1;
	give("restart", "{\"supersede\": true}");
	refused("restart", NULL);
	assert_int_equal(refusal_info(refusal.kind)->exit, 6);
	assert_true(service->queue.next.used);
}

/* A stop is not undone: what comes after it waits. */
static void test_service_supersede_of_a_stop_starts_after_it(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("stop", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	give("start", "{\"supersede\": true}");
	assert_null(run);
	assert_true(answer.queued > 0);
	turn();
	assert_int_equal(last_number, 1);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 3);
	assert_int_equal(service->last.id, answer.queued);
	assert_int_equal(service->current->number, 2);
}

/* What cannot be started must not undo anything. */
static void test_service_supersede_by_what_cannot_start_undoes_nothing(void **state)
{
	struct run *first;

	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	first = run;
	refused("upgrade", "{\"command\": [\"/none\"], \"supersede\": true}");
	assert_refused(422, 3, "The new generation cannot start",
		       "command: \"/none\": No such file or directory");
	refused("upgrade", "{\"command\": [], \"supersede\": true}");
	assert_refused(400, 2, "Bad request", "command: expected an array of 1 to 256 strings");
	refused("upgrade", "{\"environment\": {\"\": \"b\"}, \"supersede\": true}");
	assert_refused(400, 2, "Bad request", "the name of a variable is empty");
	/* What the file says cannot be started either, by now. */
	vector_free(TAKE_PTR(service->config->command));
	assert_int_equal(vector_append(&service->config->command, strdup("/none")), 0);
	refused("restart", "{\"supersede\": true}");
	assert_refused(422, 3, "The new generation cannot start",
		       "command: \"/none\": No such file or directory");
	turn();
	assert_int_equal(first->machine.state, ROLLOUT_BAKING);
	assert_ptr_equal(service_run(service), first);
	assert_null(newest_event("superseded"));
	assert_false(service->queue.next.used);
	assert_int_equal(last_number, 2);
	order("promote", NULL);
	drive_until(n_ended == 2);
	assert_int_equal(service->current->number, 2);
}

static void test_service_supersede_by_what_makes_no_sense_undoes_nothing(void **state)
{
	struct run *first;

	(void)state;
	carry_out("start", NULL);
	fake(1, 1)->not_healthy = true;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	first = run;
	refused("start", "{\"supersede\": true}");
	assert_refused(409, 1, "Already running",
		       "generation 1 is running already (restart replaces it)");
	refused("rollback", "{\"supersede\": true}");
	assert_refused(409, 1, "Nothing to roll back to",
		       "no earlier release that has served well is known");
	turn();
	assert_ptr_equal(service_undecided_run(service), first);
	assert_null(newest_event("superseded"));
	fake(1, 1)->not_healthy = false;
	changed();
	drive_until(n_ended == 2);
	assert_int_equal(service->current->instances.n, 2);
}

/* By then it may not be possible any more, which its waiter has to hear. */
static void test_service_queued_order_that_cannot_begin_is_told_as_failed(void **state)
{
	json_t *event;

	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	give("restart", "{\"supersede\": true}");
	assert_true(answer.queued > 0);
	vector_free(TAKE_PTR(service->config->command));
	assert_int_equal(vector_append(&service->config->command, strdup("/none")), 0);
	drive_until(n_ended == 2);
	turn();
	event = newest_event("failed");
	assert_non_null(event);
	assert_int_equal(json_integer_value(json_object_get(event, "rollout")), answer.queued);
	assert_int_equal(json_integer_value(json_object_get(event, "exit")), 3);
	assert_string_equal(json_string_value(json_object_get(event, "reason")),
			    "command: \"/none\": No such file or directory");
	json_decref(event);
	assert_int_equal(service->current->number, 1);
}

/* The other way round it may have nothing left to do. */
static void test_service_queued_order_with_nothing_to_do_is_told_as_done(void **state)
{
	json_t *event;

	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	order("upgrade", "{\"command\": [\"/bin/v2\"]}");
	drive_until(run->machine.state == ROLLOUT_BAKING);
	give("upgrade", "{\"command\": [\"/bin/web\"], \"supersede\": true}");
	drive_until(n_ended == 2);
	turn();
	event = newest_event("done");
	assert_int_equal(json_integer_value(json_object_get(event, "rollout")), answer.queued);
	assert_string_equal(json_string_value(json_object_get(event, "message")),
			    "generation 1 runs this release already (/bin/web build-id:1)");
	json_decref(event);
	assert_string_equal(current_program(), "/bin/web");
	assert_null(service_run(service));
}

/* The service's own order behind it has waited for that. */
static void test_service_queued_order_with_nothing_to_do_lets_the_own_one_begin(void **state)
{
	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	order("upgrade", "{\"command\": [\"/bin/v2\"]}");
	drive_until(run->machine.state == ROLLOUT_BAKING);
	fake(2, 0)->live = 1; /* so that nothing else ends after it */
	service->instances = 2;
	order_later("scale");
	give("upgrade", "{\"command\": [\"/bin/web\"], \"supersede\": true}");
	assert_true(answer.queued > 0);
	drive_until(!service->queue.next.used);
	turn();
	assert_false(service->queue.has_own);
	drive_until(service->current->instances.n == 2);
	fake(2, 0)->live = 0;
	drive_until(n_ended == 3);
	assert_int_equal(service->current->number, 1);
}

/* One is queued, and waits for room: a generation that was undone does not end. */
static void queue_without_room(const char *name, const char *body)
{
	service->config->drain.generations_max = 2;
	carry_out("start", NULL);
	fake(2, 0)->cannot_stop = true;
	restart_until_verify(2);
	give(name, body);
	assert_null(run);
	assert_true(answer.queued > 0);
	turn();
	assert_null(service_undecided_run(service));
	assert_true(service->queue.next.used);
}

static void assert_taken_place_of(uint32_t rollout)
{
	json_t *event = newest_event("failed");

	assert_non_null(event);
	assert_int_equal(json_integer_value(json_object_get(event, "rollout")), rollout);
	assert_int_equal(json_integer_value(json_object_get(event, "exit")), 6);
	assert_string_equal(json_string_value(json_object_get(event, "message")),
			    "another order has taken its place");
	json_decref(event);
}

/* What came later counts. */
static void test_service_order_that_begins_cancels_the_queued_one(void **state)
{
	uint32_t queued;

	(void)state;
	queue_without_room("restart", "{\"supersede\": true}");
	queued = answer.queued;
	order("scale", "{\"instances\": 2}");
	assert_taken_place_of(queued);
	assert_false(service->queue.next.used);
	fake_stopped(2, 0);
	changed();
	drive_until(n_ended == 3);
	turn();
	assert_int_equal(last_number, 2);
	assert_int_equal(service->current->number, 1);
}

static void test_service_stop_cancels_the_queued_one(void **state)
{
	uint32_t queued;

	(void)state;
	queue_without_room("restart", "{\"supersede\": true}");
	queued = answer.queued;
	order("stop", NULL);
	assert_taken_place_of(queued);
	fake_stopped(2, 0);
	changed();
	drive_until(service_is_idle(service));
	turn();
	assert_int_equal(last_number, 2);
}

/* One that is refused does not take anybody's place. */
static void test_service_order_that_is_refused_leaves_the_queued_one(void **state)
{
	uint32_t queued;

	(void)state;
	queue_without_room("restart", "{\"supersede\": true}");
	queued = answer.queued;
	refused("restart", NULL);
	assert_int_equal(refusal_info(refusal.kind)->exit, 6);
	refused("start", NULL);
	assert_true(service->queue.next.used);
	fake_stopped(2, 0);
	changed();
	drive_until(n_ended == 3);
	assert_int_equal(service->last.id, queued);
	assert_int_equal(service->current->number, 3);
}

/* Whoever goes back, or stops, does not want what was to come after it either. */
static void test_service_rollback_of_what_is_being_undone_cancels_the_queued_one(void **state)
{
	uint32_t queued;

	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	fake(2, 0)->queued = 1;
	give("upgrade", "{\"command\": [\"/bin/v3\"], \"supersede\": true}");
	queued = answer.queued;
	assert_true(queued > 0);
	order("rollback", NULL);
	assert_taken_place_of(queued);
	fake(2, 0)->queued = 0;
	drive_until(n_ended == 2);
	turn();
	assert_int_equal(last_number, 2);
	assert_int_equal(service->current->number, 1);
}

/* Its end is a stop like any other. */
static void test_service_stop_of_a_first_start_drops_an_order_later(void **state)
{
	(void)state;
	service->config->rollout.bake_ms = 60000;
	fake(1, 0)->not_healthy = fake(1, 0)->cannot_stop = true;
	order("start", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	reconfigure_while_starting();
	order("stop", NULL);
	assert_false(service->queue.has_own);
	fake_stopped(1, 0);
	changed();
	drive_until(n_ended == 1);
	turn();
	assert_true(service_is_idle(service));
	assert_int_equal(last_number, 1);
}

static void test_service_queued_order_fails_where_batond_ends(void **state)
{
	json_t *event;

	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	fake(2, 0)->queued = 1;
	give("restart", "{\"supersede\": true}");
	service_shutdown(service);
	fake(2, 0)->queued = 0;
	drive_until(service_is_idle(service));
	turn();
	event = newest_event("failed");
	assert_non_null(event);
	assert_int_equal(json_integer_value(json_object_get(event, "rollout")), answer.queued);
	assert_string_equal(json_string_value(json_object_get(event, "message")),
			    "batond is shutting down");
	json_decref(event);
	assert_int_equal(last_number, 2);
}

/* ---- later ---------------------------------------------------------------------------------- */

static void test_service_order_later_begins_at_once_where_nothing_is_under_way(void **state)
{
	(void)state;
	carry_out("start", NULL);
	order_later("restart");
	drive_until(n_ended == 2);
	assert_int_equal(service->current->number, 2);
}

static void test_service_order_later_waits_for_what_is_under_way(void **state)
{
	(void)state;
	carry_out("start", NULL);
	restart_until_verify(2);
	order_later("restart");
	order_later("restart");
	turn();
	assert_int_equal(last_number, 2);
	pass_checks(2);
	drive_until(n_ended == 3);
	assert_int_equal(service->current->number, 3);
	assert_null(newest_event("failed"));
}

/* It runs what there is then, so nothing of what the service wanted is lost. */
static void test_service_order_later_gives_way_to_an_operators(void **state)
{
	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	fake(2, 0)->queued = 1;
	service->config->rollout.bake_ms = 0;
	order_later("restart");
	give("upgrade", "{\"command\": [\"/bin/v3\"], \"supersede\": true}");
	order_later("restart");
	fake(2, 0)->queued = 0;
	drive_until(n_ended == 3);
	assert_string_equal(service->last.order, "upgrade");
	assert_int_equal(service->last.id, answer.queued);
	turn();
	assert_null(service_run(service));
	assert_int_equal(service->current->number, 3);
}

/* What has failed to start may start as it is configured now. */
static void test_service_order_later_begins_after_a_first_start_that_failed(void **state)
{
	(void)state;
	fake(1, 0)->not_healthy = true;
	order("start", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	reconfigure_while_starting();
	turn();
	assert_int_equal(last_number, 1);
	fake_fail(1, 0, "exited with status 1");
	changed();
	drive_until(n_ended == 2);
	assert_false(service->queue.has_own);
	assert_string_equal(service->last.order, "restart");
	assert_int_equal(service->current->number, 2);
	assert_string_equal(current_program(), "/bin/v2");
}

static void test_service_order_later_is_begun_while_nothing_runs(void **state)
{
	(void)state;
	order_later("restart");
	drive_until(n_ended == 1);
	assert_false(service->queue.has_own);
	assert_int_equal(service->current->number, 1);
}

/* It waits for room; whoever stops the service does not wish for it any more. */
static void test_service_stop_drops_an_order_later(void **state)
{
	(void)state;
	service->config->drain.generations_max = 2;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	order_later("restart");
	turn();
	assert_true(service->queue.has_own);
	order("stop", NULL);
	assert_false(service->queue.has_own);
	fake(1, 0)->live = 0;
	drive_until(service_is_idle(service));
	turn();
	assert_int_equal(last_number, 2);
}

static void test_service_shutdown_drops_an_order_later(void **state)
{
	(void)state;
	fake(1, 0)->not_healthy = true;
	order("start", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	reconfigure_while_starting();
	service_shutdown(service);
	drive_until(service_is_idle(service));
	turn();
	assert_false(service->queue.has_own);
	assert_int_equal(last_number, 1);
}

/* A new generation has all that a scale could bring. */
static void test_service_order_later_of_a_restart_makes_a_scale_needless(void **state)
{
	(void)state;
	carry_out("start", NULL);
	restart_until_verify(2);
	service->instances = 2;
	order_later("scale");
	order_later("restart");
	order_later("scale");
	pass_checks(2);
	drive_until(n_ended == 3);
	assert_string_equal(service->last.order, "restart");
	turn();
	assert_null(service_run(service));
	assert_int_equal(service->current->instances.n, 2);
}

/* ---- promote and abort ---------------------------------------------------------------------- */

static void test_service_promote_with_nothing_to_do_is_refused(void **state)
{
	(void)state;
	refused("promote", NULL);
	assert_refused(409, 1, "Nothing to promote", "no rollout is under way");
	carry_out("start", NULL);
	refused("promote", NULL);
	assert_refused(409, 1, "Nothing to promote", "no rollout is under way");
	restart_until_verify(2);
	refused("promote", NULL);
	assert_refused(409, 1, "Nothing to promote",
		       "rollout 2 is at step verify, which waits for nobody");
}

static void test_service_promote_ends_the_bake(void **state)
{
	struct run *first;

	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	first = run;
	order("promote", NULL);
	assert_ptr_equal(run, first);
	drive_until(n_ended == 2);
	assert_int_equal(service->current->number, 2);
}

static void test_service_abort_with_nothing_to_do_is_refused(void **state)
{
	(void)state;
	refused("abort", NULL);
	assert_refused(409, 1, "Nothing to abort", "no rollout is under way");
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	refused("abort", NULL);
	assert_refused(409, 1, "Nothing to abort",
		       "rollout 2 cannot be undone any more (step drain)");
	fake(1, 0)->live = 0;
	drive_until(n_ended == 2);
	fake(2, 0)->live = 1;
	order("stop", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	refused("abort", NULL);
	assert_refused(409, 1, "Nothing to abort",
		       "rollout 3 cannot be undone any more (step drain)");
}

static void test_service_abort_undoes_what_is_under_way(void **state)
{
	struct run *first;

	(void)state;
	carry_out("start", NULL);
	restart_until_verify(2);
	first = run;
	order("abort", NULL);
	assert_ptr_equal(run, first);
	drive_until(n_ended == 2);
	assert_int_equal(service->last.exit, 3);
	assert_string_equal(service->last.reason, "aborted by request");
	assert_int_equal(service->current->number, 1);
	service->config->rollout.bake_ms = 60000;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	order("abort", NULL);
	drive_until(n_ended == 3);
	assert_int_equal(service->last.exit, 4);
	assert_int_equal(service->current->number, 1);
	assert_table(0, 10, STEER_NO_SLOT);
}

static void test_service_abort_of_a_first_start_leaves_nothing(void **state)
{
	(void)state;
	fake(1, 0)->not_healthy = true;
	order("start", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	order("abort", NULL);
	drive_until(n_ended == 1);
	assert_true(service_is_idle(service));
}

/* ---- scale ---------------------------------------------------------------------------------- */

static void test_service_scale_up_adds_to_the_generation_that_serves(void **state)
{
	(void)state;
	carry_out("start", NULL);
	order("scale", "{\"instances\": 3}");
	assert_event("scaled", "message", "1 instances become 3");
	assert_ptr_equal(run->new, service->current);
	assert_null(run->old);
	drive_until(n_ended == 2);
	assert_int_equal(service->current->number, 1);
	assert_int_equal(service->current->instances.n, 3);
	for (uint32_t k = 0; k < 3; k++) {
		assert_true(fake_there(1, k)->steady);
		assert_in_range(buckets_of(0, 1, k), STEER_BUCKETS / 3, STEER_BUCKETS / 3 + 1);
	}
	assert_int_equal(service->instances, 3);
	assert_int_equal(remembered_instances, 3);
	assert_event("done", "message", "2 instances came; generation 1 serves");
	/* For the generations to come. */
	carry_out("restart", NULL);
	assert_int_equal(service->current->instances.n, 3);
}

static void test_service_scale_down_lets_the_highest_go(void **state)
{
	(void)state;
	service->instances = 4;
	carry_out("start", NULL);
	fake(1, 3)->live = 1;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	assert_false(fake_there(1, 3)->steady);
	assert_true(fake_there(1, 1)->steady);
	assert_int_equal(buckets_of(0, 1, 1), STEER_BUCKETS / 2);
	/* It is decided: the next may begin. */
	fake(1, 3)->live = 0;
	drive_until(n_ended == 2);
	assert_int_equal(service->current->instances.n, 2);
	assert_null(fake(1, 2)->instance);
	assert_null(fake(1, 3)->instance);
	assert_event("done", "message", "2 instances went; generation 1 serves");
	assert_int_equal(remembered_instances, 2);
}

static void test_service_scale_down_prefers_what_does_not_work(void **state)
{
	(void)state;
	service->instances = 3;
	carry_out("start", NULL);
	fake(1, 0)->unhealthy = true;
	carry_out("scale", "{\"instances\": 2}");
	assert_null(fake(1, 0)->instance);
	assert_non_null(fake(1, 2)->instance);
	fake_fail(1, 1, "exited with status 1");
	carry_out("scale", "{\"instances\": 1}");
	assert_null(fake(1, 1)->instance);
	assert_table(0, 14, STEER_NO_SLOT);
}

static void test_service_scale_to_what_there_is_does_nothing(void **state)
{
	(void)state;
	service->instances = 2;
	carry_out("start", NULL);
	give("scale", "{\"instances\": 2}");
	assert_null(run);
	assert_string_equal(answer.message, "it has 2 instances already");
	assert_true(answer.unchanged);
	assert_null(newest_event("scaled"));
	assert_int_equal(remembered_instances, 2);
}

static void test_service_scale_while_stopped_is_for_the_start(void **state)
{
	(void)state;
	give("scale", "{\"instances\": 3}");
	assert_null(run);
	assert_string_equal(answer.message, "it will have 3 instances when it is started");
	assert_int_equal(remembered_instances, 3);
	carry_out("start", NULL);
	assert_int_equal(service->current->instances.n, 3);
}

static void test_service_scale_that_cannot_be_remembered_is_refused(void **state)
{
	(void)state;
	carry_out("start", NULL);
	state_error = -ENOSPC;
	refused("scale", "{\"instances\": 2}");
	assert_refused(500, 1, "Cannot scale", "state.json: No space left on device");
	state_error = 0;
	assert_int_equal(service->instances, 1);
}

/* It would be tried for ever otherwise, by what replaces missing ones. */
static void test_service_failed_scale_is_undone(void **state)
{
	(void)state;
	service->instances = 2;
	carry_out("start", NULL);
	fake(1, 3)->start_error = -EAGAIN;
	carry_out("scale", "{\"instances\": 4}");
	assert_int_equal(service->last.exit, 3);
	assert_int_equal(service->instances, 2);
	assert_int_equal(remembered_instances, 2);
	assert_int_equal(service->current->instances.n, 2);
	assert_event("failed", "message", "generation 1 keeps serving as it is");
	for (uint32_t k = 0; k < 2; k++)
		assert_int_equal(buckets_of(0, 1, k), STEER_BUCKETS / 2);
	turn();
	assert_null(service_run(service));
}

/* Not to how many there happen to be: one that is missing is wanted all the same. */
static void test_service_failed_scale_goes_back_to_what_was_wanted(void **state)
{
	(void)state;
	service->instances = 2;
	carry_out("start", NULL);
	service->instances = 3;
	fake(1, 3)->start_error = -EAGAIN;
	carry_out("scale", "{\"instances\": 4}");
	assert_int_equal(service->last.exit, 3);
	assert_int_equal(service->instances, 3);
	assert_int_equal(remembered_instances, 3);
}

/* One scaling takes the place of another, and fails: what was wanted before both counts. */
static void test_service_failed_scale_after_another_goes_back_to_the_first(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 1)->not_healthy = true;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	fake(1, 2)->start_error = fake(1, 3)->start_error = -EAGAIN;
	order("scale", "{\"instances\": 3, \"supersede\": true}");
	assert_int_equal(service->instances, 3);
	drive_until(n_ended == 3);
	assert_int_equal(service->instances, 1);
	assert_int_equal(remembered_instances, 1);
	assert_int_equal(service->current->instances.n, 1);
}

static void test_service_failed_scale_leaves_what_was_set_since(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 1)->not_healthy = true;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	service->instances = 5;
	order("abort", NULL);
	drive_until(n_ended == 2);
	assert_int_equal(service->instances, 5);
}

static void test_service_aborted_scale_is_undone(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 1)->not_healthy = true;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	order("abort", NULL);
	drive_until(n_ended == 2);
	assert_int_equal(service->instances, 1);
	assert_int_equal(service->current->instances.n, 1);
}

/* A rollback, or a stop, is not the end of a scale: those are about generations. */
static void test_service_scale_is_not_what_a_rollback_undoes(void **state)
{
	(void)state;
	carry_out("start", NULL);
	carry_out("restart", NULL);
	fake(2, 1)->not_healthy = true;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	refused("rollback", NULL);
	assert_int_equal(refusal_info(refusal.kind)->exit, 6);
	refused("stop", NULL);
	assert_int_equal(refusal_info(refusal.kind)->exit, 6);
}

/* What takes its place has as many as there were before. */
static void test_service_superseded_scale_counts_no_more(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 1)->not_healthy = true;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	order("restart", "{\"supersede\": true}");
	drive_until(n_ended == 3);
	assert_int_equal(service->current->number, 2);
	assert_int_equal(service->current->instances.n, service->instances);
	assert_int_equal(remembered_instances, service->instances);
	assert_int_equal(service->instances, 1);
}

/* ---- reopen --------------------------------------------------------------------------------- */

static void test_service_reopen_reaches_every_instance(void **state)
{
	struct process_settings *process = &service->config->process;

	(void)state;
	give("reopen", NULL);
	assert_string_equal(answer.message, "no output goes to a file");
	process->output[1] = OUTPUT_FILE;
	process->output_path[1] = strdup("/var/log/web.log");
	carry_out("start", NULL);
	give("reopen", "{}");
	assert_string_equal(answer.message,
			    "told to open 1 file anew; the log says where that fails");
	carry_out("scale", "{\"instances\": 2}");
	fake(1, 0)->live = fake(1, 1)->live = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	forget_calls();
	give("reopen", NULL);
	assert_null(run);
	assert_string_equal(answer.message,
			    "told to open 4 files anew; the log says where that fails");
	assert_calls("reopen 1.0; reopen 1.1; reopen 2.0; reopen 2.1");
}

/* Of an adopted one only the agent knows: it is asked all the same. */
static void test_service_reopen_without_files_asks_the_agents_too(void **state)
{
	(void)state;
	carry_out("start", NULL);
	forget_calls();
	give("reopen", NULL);
	assert_string_equal(answer.message, "no output goes to a file");
	assert_calls("reopen 1.0");
}

/* ---- stop and start ------------------------------------------------------------------------- */

static void test_service_stop_and_start_with_all_instances(void **state)
{
	(void)state;
	service->instances = 3;
	carry_out("start", NULL);
	order("stop", NULL);
	assert_int_equal(run->machine.policy.old_drain_timeout_ms,
			 service->config->drain.shutdown_timeout_ms);
	drive_until(n_ended == 2);
	assert_true(service_is_idle(service));
	carry_out("start", NULL);
	assert_int_equal(service->current->instances.n, 3);
	assert_int_equal(service->current->number, 2);
}

/* All of it is to end: what goes already has no more time than that either. */
static void test_service_stop_bounds_what_drains_already(void **state)
{
	struct run *draining;

	(void)state;
	service->config->drain.timeout_ms = 3600000;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("restart", NULL);
	draining = run;
	drive_until(draining->machine.state == ROLLOUT_DRAINING);
	service->config->drain.shutdown_timeout_ms = 1;
	order("stop", NULL);
	assert_true(draining->deadline_ms <= clock_monotonic_ms() + 1);
	drive_until(service_is_idle(service));
}

/* It is told so, not begun with nothing to do. */
static void test_service_stop_of_what_goes_already_is_refused(void **state)
{
	(void)state;
	service->instances = 2;
	carry_out("start", NULL);
	fake_phase(1, 0, INSTANCE_STOPPING);
	fake_phase(1, 1, INSTANCE_LEAVING);
	refused("stop", NULL);
	assert_refused(409, 1, "Not running", "all of it is on its way out already");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_unknown_order_names_those_there_are),
		TEST(test_service_unknown_key_says_what_the_order_takes),
		TEST(test_service_flags_are_booleans),
		TEST(test_service_bad_upgrades_are_refused),
		TEST(test_service_upgrade_takes_256_words_and_no_more),
		TEST(test_service_scale_wants_a_number_within_bounds),
		TEST(test_service_upgrade_to_what_runs_does_nothing),
		TEST(test_service_upgrade_by_force_replaces_what_is_the_same),
		TEST(test_service_upgrade_of_a_stopped_one_starts_it),
		TEST(test_service_upgrade_to_another_configuration_is_no_nothing),
		TEST(test_service_upgrade_with_environment_keeps_it),
		TEST(test_service_restart_with_reset_drops_overrides),
		TEST(test_service_rollback_brings_the_environment_back),
		TEST(test_service_rollback_to_before_any_environment_forgets_it),
		TEST(test_service_failed_upgrade_leaves_no_environment),
		TEST(test_service_generations_max_bounds_what_may_drain),
		TEST(test_service_canary_needs_a_tier_that_shares),
		TEST(test_service_supersede_begins_at_once_where_it_can),
		TEST(test_service_supersede_waits_for_what_is_being_undone),
		TEST(test_service_superseded_twice_tells_the_first_that_it_failed),
		TEST(test_service_busy_while_one_is_queued),
		TEST(test_service_supersede_of_a_stop_starts_after_it),
		TEST(test_service_supersede_by_what_cannot_start_undoes_nothing),
		TEST(test_service_supersede_by_what_makes_no_sense_undoes_nothing),
		TEST(test_service_queued_order_that_cannot_begin_is_told_as_failed),
		TEST(test_service_queued_order_with_nothing_to_do_is_told_as_done),
		TEST(test_service_queued_order_with_nothing_to_do_lets_the_own_one_begin),
		TEST(test_service_order_that_begins_cancels_the_queued_one),
		TEST(test_service_stop_cancels_the_queued_one),
		TEST(test_service_order_that_is_refused_leaves_the_queued_one),
		TEST(test_service_rollback_of_what_is_being_undone_cancels_the_queued_one),
		TEST(test_service_stop_of_a_first_start_drops_an_order_later),
		TEST(test_service_queued_order_fails_where_batond_ends),
		TEST(test_service_order_later_begins_at_once_where_nothing_is_under_way),
		TEST(test_service_order_later_waits_for_what_is_under_way),
		TEST(test_service_order_later_gives_way_to_an_operators),
		TEST(test_service_order_later_begins_after_a_first_start_that_failed),
		TEST(test_service_order_later_is_begun_while_nothing_runs),
		TEST(test_service_stop_drops_an_order_later),
		TEST(test_service_shutdown_drops_an_order_later),
		TEST(test_service_order_later_of_a_restart_makes_a_scale_needless),
		TEST(test_service_promote_with_nothing_to_do_is_refused),
		TEST(test_service_promote_ends_the_bake),
		TEST(test_service_abort_with_nothing_to_do_is_refused),
		TEST(test_service_abort_undoes_what_is_under_way),
		TEST(test_service_abort_of_a_first_start_leaves_nothing),
		TEST(test_service_scale_up_adds_to_the_generation_that_serves),
		TEST(test_service_scale_down_lets_the_highest_go),
		TEST(test_service_scale_down_prefers_what_does_not_work),
		TEST(test_service_scale_to_what_there_is_does_nothing),
		TEST(test_service_scale_while_stopped_is_for_the_start),
		TEST(test_service_scale_that_cannot_be_remembered_is_refused),
		TEST(test_service_failed_scale_is_undone),
		TEST(test_service_failed_scale_goes_back_to_what_was_wanted),
		TEST(test_service_failed_scale_after_another_goes_back_to_the_first),
		TEST(test_service_failed_scale_leaves_what_was_set_since),
		TEST(test_service_aborted_scale_is_undone),
		TEST(test_service_scale_is_not_what_a_rollback_undoes),
		TEST(test_service_superseded_scale_counts_no_more),
		TEST(test_service_reopen_reaches_every_instance),
		TEST(test_service_reopen_without_files_asks_the_agents_too),
		TEST(test_service_stop_and_start_with_all_instances),
		TEST(test_service_stop_bounds_what_drains_already),
		TEST(test_service_stop_of_what_goes_already_is_refused),
	};
#undef TEST

	return cmocka_run_group_tests_name("service orders", tests, NULL, NULL);
}
