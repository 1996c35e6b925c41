/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What orders take, what refuses them, and those that begin nothing: promote, abort.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/service/service_internal.h"
#include "tests/unit/service/service_fixture.h"

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

static void bad_request(const char *name, const char *body, const char *detail)
{
	refused(name, body);
	assert_refused(400, 2, "Bad request", detail);
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
	static const char *const bodies[] = {"{}", "{\"instances\": 2.0}", "{\"instances\": \"2\"}",
					     "{\"instances\": null}"};

	(void)state;
	carry_out("start", NULL);
	for (size_t k = 0; k < sizeof(bodies) / sizeof(bodies[0]); k++)
		bad_request("scale", bodies[k],
			    "instances: expected a number from 0 (stops the service) to 256");
	bad_request("scale", "{\"instances\": -1}",
		    "instances: expected a number from 0 (stops the service) to 256, not -1");
	bad_request("scale", "{\"instances\": 257}",
		    "instances: expected a number from 0 (stops the service) to 256, not 257");
	bad_request(
		"scale", "{\"instances\": 4294967297}",
		"instances: expected a number from 0 (stops the service) to 256, not 4294967297");
	bad_request("scale", NULL,
		    "instances: expected a number from 0 (stops the service) to 256");
	assert_int_equal(service->instances, 1);
	assert_int_equal(remembered_instances, 0);
}

/* ---- what refuses them ---------------------------------------------------------------------- */

static void test_service_orders_that_make_no_sense_are_refused(void **state)
{
	(void)state;
	refused("stop", NULL);
	assert_refused(409, 1, "Not running", "it is stopped already");
	refused("rollback", NULL);
	assert_refused(
		409, 1, "Nothing to roll back to",
		"no earlier release that has served well is known; \"baton upgrade web -- COMMAND\" starts another one");
	carry_out("start", NULL);
	refused("start", NULL);
	assert_refused(409, 1, "Already running",
		       "generation 1 is running already (\"baton restart\" replaces it)");
	refused("rollback", NULL);
	assert_int_equal(refusal_info(refusal.kind)->http_status, 409);
}

static void assert_busy(const char *begin)
{
	static const char *const orders[] = {"restart", "upgrade", "start"};

	for (size_t k = 0; k < sizeof(orders) / sizeof(orders[0]); k++) {
		static const char *const end =
			" s; \"baton abort web\" undoes it, --supersede takes its place";
		size_t length;

		refused(orders[k], NULL);
		assert_int_equal(refusal_info(refusal.kind)->http_status, 409);
		assert_int_equal(refusal_info(refusal.kind)->exit, 6);
		assert_string_equal(refusal_info(refusal.kind)->title, "Busy");
		length = strlen(refusal.why.text);
		assert_true(strncmp(refusal.why.text, begin, strlen(begin)) == 0);
		assert_true(length > strlen(end));
		assert_string_equal(refusal.why.text + length - strlen(end), end);
	}
}

static void test_service_busy_names_the_rollout_under_way(void **state)
{
	(void)state;
	fake(1, 0)->not_listening = true;
	order("start", NULL);
	drive_until(run->machine.state == ROLLOUT_STARTING);
	assert_busy("rollout 1 (start, generation 1) is at step start since 0.");
	/* There is nothing to go back to. */
	refused("rollback", NULL);
	assert_int_equal(refusal_info(refusal.kind)->exit, 6);
	fake_listen(1, 0);
	changed();
	drive_until(n_ended == 1);
	fake(2, 0)->not_healthy = true;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	run->step_began_ms -= 61400;
	forget_calls();
	assert_busy("rollout 2 (restart, generation 2 replaces 1) is at step verify since 61.");
	refused("stop", NULL);
	assert_int_equal(refusal_info(refusal.kind)->exit, 6);
	assert_calls("");
	assert_int_equal(service->n_generations, 2);
	assert_int_equal(last_number, 2);
}

/* It is on its way out: there is nothing to replace, and one stop is enough. */
static void test_service_stopping_is_busy(void **state)
{
	struct run *stopping;

	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("stop", NULL);
	stopping = run;
	drive_until(stopping->machine.state == ROLLOUT_DRAINING);
	assert_busy("rollout 2 (stop, no new generation, 1 stops) is at step drain since ");
	refused("stop", NULL);
	assert_int_equal(refusal_info(refusal.kind)->exit, 6);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 2);
	assert_true(service_is_idle(service));
	carry_out("start", NULL);
}

/* What is undone holds nobody up: its end is all that is left. */
static void test_service_undone_rollout_is_not_busy(void **state)
{
	struct run *undone;

	(void)state;
	carry_out("start", NULL);
	fake(2, 0)->not_healthy = fake(2, 0)->cannot_stop = true;
	order("restart", NULL);
	undone = run;
	drive_until(undone->machine.state == ROLLOUT_VERIFYING);
	fake_fail(2, 0, "exited with status 1");
	changed();
	drive_until(undone->machine.state == ROLLOUT_STOPPING);
	carry_out("restart", NULL);
	assert_int_equal(service->current->number, 3);
	fake_stopped(2, 0);
	changed();
	drive_until(n_ended == 3);
	assert_int_equal(service->last.exit, 3);
	assert_int_equal(service->last.replaces, 1);
	assert_int_equal(service->n_generations, 1);
}

/* From the point of no return on the next may come, while the old one still drains. */
static void test_service_draining_is_not_busy(void **state)
{
	struct run *first;

	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("restart", NULL);
	first = run;
	drive_until(first->machine.state == ROLLOUT_DRAINING);
	order("restart", NULL);
	assert_ptr_not_equal(run, first);
	assert_int_equal(run->new->number, 3);
	assert_int_equal(run->old->number, 2);
	/* The one that can still go either way is the one to be told about ... */
	assert_ptr_equal(service_run(service), run);
	fake(2, 0)->live = 1;
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	/* ... else the latest. */
	assert_ptr_equal(service_run(service), run);
	assert_int_equal(service->current->number, 3);
	assert_int_equal(service->n_generations, 3);
}

static void test_service_shutting_down_takes_no_orders(void **state)
{
	static const char *const orders[] = {"restart", "upgrade", "rollback", "start",
					     "stop",    "promote", "abort",    "reopen"};

	(void)state;
	service_shutdown(service, "batond is shutting down");
	refused("scale", "{\"instances\": 2}");
	assert_refused(503, 1, "Shutting down", "batond is shutting down");
	for (size_t k = 0; k < sizeof(orders) / sizeof(orders[0]); k++) {
		refused(orders[k], NULL);
		assert_refused(503, 1, "Shutting down", "batond is shutting down");
	}
}

/* Whatever they did would be about servers of which nothing is known. */
static void test_service_that_waits_for_agents_takes_no_orders(void **state)
{
	static const char *const orders[] = {"restart", "upgrade", "rollback", "start",  "stop",
					     "promote", "abort",   "pause",    "resume", "reopen"};
	static const struct takeover_list late;

	(void)state;
	service->awaited = &late;
	assert_false(service_is_idle(service));
	assert_int_equal(service_condition(service), SERVICE_DEGRADED);
	for (size_t k = 0; k < sizeof(orders) / sizeof(orders[0]); k++) {
		refused(orders[k], NULL);
		assert_refused(409, 6, "Busy",
			       "waiting for agents of an earlier batond: instance 0 of generation "
			       "3 (agent pid 7, server pid 8, no answer for 2s); one that does not "
			       "answer within 1m is ended, and another goes on with its server; "
			       "order it again then");
	}
	service->awaited = NULL;
	carry_out("start", NULL);
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
	assert_refused(
		409, 1, "Nothing to abort",
		"rollout 2 cannot be undone any more (step drain); once it has ended: \"baton rollback web\"");
	fake(1, 0)->live = 0;
	drive_until(n_ended == 2);
	fake(2, 0)->live = 1;
	order("stop", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	refused("abort", NULL);
	assert_refused(
		409, 1, "Nothing to abort",
		"rollout 3 cannot be undone any more (step drain); once it has ended: \"baton start web\"");
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

/* Generation 2 bakes; the old one has died, and nobody has noticed yet: there is no way back. */
static void bake_without_a_way_back(void)
{
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	order("upgrade", "{\"command\": [\"/bin/v2\"]}");
	drive_until(run->machine.state == ROLLOUT_BAKING);
	turn();
	fake(1, 0)->dead = true;
}

/* An abort that is taken undoes something: one that comes too late is refused. */
static void test_service_abort_that_comes_too_late_is_refused(void **state)
{
	(void)state;
	bake_without_a_way_back();
	assert_true(give_order("abort", NULL) < 0);
	assert_int_equal(refusal.kind, REFUSAL_NOTHING_TO_ABORT);
	assert_non_null(strstr(refusal.why.text, "rollout 2 cannot be undone any more"));
	drive_until(n_ended == 2);
	assert_int_equal(service->last.outcome, ROLLOUT_DONE);
	assert_int_equal(service->current->number, 2);
}

/* What cannot be undone can be replaced, as a rollback does at any other time. */
static void test_service_rollback_that_cannot_undo_begins_one(void **state)
{
	(void)state;
	bake_without_a_way_back();
	order("rollback", NULL);
	assert_int_equal(run->order, RUN_ORDER_ROLLBACK);
	assert_int_equal(run->new_number, 3);
	assert_int_equal(run->old_number, 2);
}

/* ---- what is undone ------------------------------------------------------------------------- */

/* A rollback of what can still go either way is its end, not a rollout of its own. */
static void test_service_rollback_while_undecided_undoes_it(void **state)
{
	struct run *undone;

	(void)state;
	carry_out("start", NULL);
	fake(2, 0)->not_healthy = true;
	order("upgrade", "{\"command\": [\"/bin/v2\"]}");
	undone = run;
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	order("rollback", NULL);
	assert_ptr_equal(run, undone);
	drive_until(n_ended == 2);
	assert_int_equal(service->last.exit, 3);
	assert_int_equal(service->last.order, RUN_ORDER_UPGRADE);
	assert_string_equal(service->last.reason, "rolled back by request");
	assert_int_equal(service->current->number, 1);
	assert_int_equal(last_number, 2);
	assert_event("failed", "reason", "rolled back by request");
}

/* Nothing that ran before, so there is nothing to roll back to: its end is called stop. */
static void test_service_stop_while_first_starting_ends_it(void **state)
{
	struct run *starting;

	(void)state;
	fake(1, 0)->not_healthy = true;
	order("start", NULL);
	starting = run;
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	order("stop", NULL);
	assert_ptr_equal(run, starting);
	drive_until(n_ended == 1);
	assert_string_equal(service->last.reason, "stopped by request");
	assert_true(service_is_idle(service));
}

static void test_service_rollback_at_once_starts_nothing(void **state)
{
	(void)state;
	carry_out("start", NULL);
	forget_calls();
	order("upgrade", "{\"command\": [\"/bin/v2\"]}");
	order("rollback", NULL);
	drive_until(n_ended == 2);
	assert_calls("");
	assert_int_equal(service->last.exit, 3);
	assert_int_equal(service->current->number, 1);
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
		TEST(test_service_orders_that_make_no_sense_are_refused),
		TEST(test_service_busy_names_the_rollout_under_way),
		TEST(test_service_stopping_is_busy),
		TEST(test_service_undone_rollout_is_not_busy),
		TEST(test_service_draining_is_not_busy),
		TEST(test_service_shutting_down_takes_no_orders),
		TEST(test_service_that_waits_for_agents_takes_no_orders),
		TEST(test_service_promote_with_nothing_to_do_is_refused),
		TEST(test_service_promote_ends_the_bake),
		TEST(test_service_abort_with_nothing_to_do_is_refused),
		TEST(test_service_abort_undoes_what_is_under_way),
		TEST(test_service_abort_of_a_first_start_leaves_nothing),
		TEST(test_service_abort_that_comes_too_late_is_refused),
		TEST(test_service_rollback_that_cannot_undo_begins_one),
		TEST(test_service_rollback_while_undecided_undoes_it),
		TEST(test_service_stop_while_first_starting_ends_it),
		TEST(test_service_rollback_at_once_starts_nothing),
	};
#undef TEST

	return cmocka_run_group_tests_name("service orders", tests, NULL, NULL);
}
