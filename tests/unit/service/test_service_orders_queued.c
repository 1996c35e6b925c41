/* SPDX-License-Identifier: BSD-2-Clause */
/* Orders that wait for others: superseding, queued, and the service's own. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

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
	/* It ended last, but what took its place is the last one. */
	assert_int_equal(service->last.id, number);
	assert_int_equal(service->last.outcome, ROLLOUT_DONE);
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

/*
 * What is being undone has come so far by now that the later order begins at once. The earlier one
 * must not be carried out after it.
 */
static void test_service_supersede_at_once_takes_the_place_of_what_is_queued(void **state)
{
	struct run *first_run;
	uint32_t first;
	json_t *event;

	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	first_run = run;
	fake(2, 0)->queued = 1;
	service->config->rollout.bake_ms = 0;
	give("upgrade", "{\"command\": [\"/bin/v3\"], \"supersede\": true}");
	first = answer.queued;
	/* Nobody has looked yet: the order itself does. */
	fake(2, 0)->queued = 0;
	/* ... for as long as it takes to believe that. */
	first_run->queue_empty_since_ms = 1;
	order("upgrade", "{\"command\": [\"/bin/v4\"], \"supersede\": true}");
	assert_int_equal(answer.queued, 0);
	assert_false(service->queue.next.used);
	event = newest_event("failed");
	assert_int_equal(json_integer_value(json_object_get(event, "rollout")), first);
	json_decref(event);
	drive_until(n_ended == 3);
	assert_string_equal(current_program(), "/bin/v4");
	assert_int_equal(last_number, 3);
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
		       "generation 1 is running already (\"baton restart\" replaces it)");
	refused("rollback", "{\"supersede\": true}");
	assert_refused(
		409, 1, "Nothing to roll back to",
		"no earlier release that has served well is known; \"baton upgrade web -- COMMAND\" starts another one");
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
	carry_out("start", NULL);
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
	carry_out("start", NULL);
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
	carry_out("start", NULL);
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

/* As a reload that finds another release. */
static void reconfigure_while_starting(void)
{
	const char *order_after;

	assert_int_equal(reconfigure(make_config("/bin/v2", ENDPOINT_0), &order_after, &err), 0);
	assert_string_equal(order_after, "restart");
	order_later(order_after);
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
	service_shutdown(service, "batond is shutting down");
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

static void test_service_order_later_that_cannot_begin_is_told(void **state)
{
	char *gone = (char *)"/none", *program = service->config->command[0];

	(void)state;
	carry_out("start", NULL);
	restart_until_verify(2);
	order_later("restart");
	service->config->command[0] = gone;
	pass_checks(2);
	drive_until(n_ended == 2);
	turn();
	service->config->command[0] = program;
	assert_false(service->queue.has_own);
	assert_int_equal(service->current->number, 2);
	assert_event("refused", "reason", "restart: command: \"/none\": No such file or directory");
}

static int order_now(const char *name)
{
	enum service_order_type type;

	assert_true(order_find(name, &type));
	refusal = (struct refusal){};
	return service_order_now(service, type, &answer, &refusal);
}

static void test_service_order_now_begins_before_it_returns(void **state)
{
	(void)state;
	carry_out("start", NULL);
	assert_int_equal(order_now("restart"), 0);
	assert_non_null(answer.run);
	assert_ptr_equal(answer.run, service_run(service));
	assert_false(service->queue.has_own);
	drive_until(n_ended == 2);
	assert_int_equal(service->current->number, 2);
}

static void test_service_order_now_says_what_it_waits_for(void **state)
{
	(void)state;
	carry_out("start", NULL);
	restart_until_verify(2);
	assert_int_equal(order_now("restart"), 1);
	assert_null(answer.run);
	assert_string_equal(answer.message, "waits for rollout 2 (restart)");
	pass_checks(2);
	drive_until(n_ended == 3);
	assert_int_equal(service->current->number, 3);
}

static void test_service_order_now_says_why_it_cannot_begin(void **state)
{
	char *program = service->config->command[0];

	(void)state;
	carry_out("start", NULL);
	service->config->command[0] = (char *)"/none";
	assert_true(order_now("restart") < 0);
	service->config->command[0] = program;
	assert_int_equal(refusal.kind, REFUSAL_BAD_RELEASE);
	assert_null(answer.run);
	turn();
	assert_null(service_run(service));
	assert_false(service->queue.has_own);
	assert_int_equal(service->current->number, 1);
}

/* A restart that was ordered already brings the other number of instances, too. */
static void test_service_order_now_of_a_scale_is_the_restart_that_waits(void **state)
{
	(void)state;
	carry_out("start", NULL);
	order_later("restart");
	assert_int_equal(order_now("scale"), 0);
	assert_string_equal(run_order_name(answer.run->order), "restart");
	drive_until(n_ended == 2);
	assert_false(service->queue.has_own);
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
	assert_int_equal(service->last.order, RUN_ORDER_UPGRADE);
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
	assert_int_equal(service->last.order, RUN_ORDER_RESTART);
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
	service_shutdown(service, "batond is shutting down");
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
	assert_int_equal(service->last.order, RUN_ORDER_RESTART);
	turn();
	assert_null(service_run(service));
	assert_int_equal(service->current->instances.n, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_supersede_begins_at_once_where_it_can),
		TEST(test_service_supersede_waits_for_what_is_being_undone),
		TEST(test_service_superseded_twice_tells_the_first_that_it_failed),
		TEST(test_service_supersede_at_once_takes_the_place_of_what_is_queued),
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
		TEST(test_service_order_later_that_cannot_begin_is_told),
		TEST(test_service_order_now_begins_before_it_returns),
		TEST(test_service_order_now_says_what_it_waits_for),
		TEST(test_service_order_now_says_why_it_cannot_begin),
		TEST(test_service_order_now_of_a_scale_is_the_restart_that_waits),
		TEST(test_service_order_later_gives_way_to_an_operators),
		TEST(test_service_order_later_begins_after_a_first_start_that_failed),
		TEST(test_service_order_later_is_begun_while_nothing_runs),
		TEST(test_service_stop_drops_an_order_later),
		TEST(test_service_shutdown_drops_an_order_later),
		TEST(test_service_order_later_of_a_restart_makes_a_scale_needless),
	};
#undef TEST

	return cmocka_run_group_tests_name("service orders queued", tests, NULL, NULL);
}
