/* SPDX-License-Identifier: BSD-2-Clause */
/* Rollouts in whose middle a daemon died: the next one says how they have ended. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/takeover_fixture.h"

/* One that was found at @step: number 41, generation 4 in the place of 3. */
static struct underway *find_rollout(enum run_order order, const char *step)
{
	struct underway_list *list = service->underway.found;
	struct underway *u;

	if (!list)
		list = service->underway.found = calloc(1, sizeof(*list));
	assert_non_null(list);
	u = &list->list[list->n++];
	*u = (struct underway){
		.id = 40 + (uint32_t)list->n, .order = order, .generation = 4, .replaces = 3};
	snprintf(u->step, sizeof(u->step), "%s", step);
	context.last_rollout = u->id;
	return u;
}

static void take_over_and_judge(bool stopped)
{
	(void)adopt();
	assert_int_equal(service_judge_underway(service), stopped);
}

static void assert_end(uint32_t id, enum rollout_outcome outcome, int exit, const char *reason)
{
	assert_int_equal(service->last.id, id);
	assert_int_equal(service->last.outcome, outcome);
	assert_int_equal(service->last.exit, exit);
	assert_string_equal(service->last.reason, reason);
	assert_null(service->underway.found);
}

/* ---- noting --------------------------------------------------------------------------------- */

static void test_service_underway_is_noted_from_the_order_to_the_end(void **state)
{
	const struct underway *u = &kept_underway.list[0];
	enum rollout_state before;

	(void)state;
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	assert_int_equal(kept_underway.n, 0);
	fake(2, 0)->live = 1;
	fake(1, 0)->live = 1;
	order("restart", NULL);
	/* Before anybody knows that it was accepted. */
	assert_int_equal(kept_underway.n, 1);
	assert_int_equal(u->id, run->id);
	assert_int_equal(u->order, RUN_ORDER_RESTART);
	assert_int_equal(u->generation, 2);
	assert_int_equal(u->replaces, 1);
	assert_false(u->shifted || u->committed || u->undone);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	turn();
	assert_string_equal(u->step, "bake");
	assert_true(u->shifted);
	assert_false(u->committed);
	give("promote", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	turn();
	assert_string_equal(u->step, "drain");
	assert_true(u->committed);
	before = run->machine.state;
	underway_writes = 0;
	look();
	look();
	assert_int_equal(run->machine.state, before);
	assert_int_equal(underway_writes, 0);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 2);
	turn();
	assert_int_equal(kept_underway.n, 0);
}

static void test_service_underway_of_an_undone_one_has_its_reason(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(2, 0)->cannot_stop = true;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_SHIFTING || run->side[ROLLOUT_NEW].n == 1);
	give("abort", NULL);
	turn();
	assert_int_equal(kept_underway.n, 1);
	assert_true(kept_underway.list[0].undone);
	assert_string_equal(kept_underway.list[0].reason, "aborted by request");
	fake_stopped(2, 0);
	changed();
	drive_until(n_ended == 2);
}

static void test_service_underway_that_waits_is_noted_too(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(2, 0)->not_healthy = fake(2, 0)->cannot_stop = true;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	service->config->drain.generations_max = 2;
	give("restart", "{\"supersede\": true}");
	assert_int_not_equal(answer.queued, 0);
	assert_int_equal(kept_underway.n, 2);
	assert_int_equal(kept_underway.list[1].id, answer.queued);
	assert_string_equal(kept_underway.list[1].step, UNDERWAY_QUEUED);
	fake_stopped(2, 0);
	changed();
	drive_until(n_ended == 3);
}

static void test_service_underway_that_cannot_be_noted_goes_on(void **state)
{
	(void)state;
	underway_error = -ENOSPC;
	carry_out("start", NULL);
	carry_out("restart", NULL);
	assert_int_equal(service->last.exit, 0);
}

/* Of what a takeover begins by itself the next one will know by itself. */
static void test_service_underway_does_not_note_what_is_retired(void **state)
{
	(void)state;
	find_agent(3, AGENT_RUNNING, true);
	find_agent(4, AGENT_RUNNING, false);
	named_before(3, 0);
	take_over_and_judge(false);
	assert_retiring(&service->runs[0], 4);
	turn();
	assert_int_equal(kept_underway.n, 0);
	drive_until(n_ended == 1);
}

/* ---- how it has ended ----------------------------------------------------------------------- */

static void test_service_underway_before_the_shift_has_failed(void **state)
{
	static const char *const steps[] = {"prepare", "start", "verify", "gate"};

	for (size_t k = 0; k < 4; k++) {
		char reason[64];

		find_rollout(RUN_ORDER_RESTART, steps[k]);
		find_agent(3, AGENT_RUNNING, true);
		find_agent(4, AGENT_RUNNING, false);
		named_before(3, 0);
		remembered_serving = 3;
		take_over_and_judge(false);
		/* Told once what the takeover has begun is over. */
		turn();
		snprintf(reason, sizeof(reason), "batond ended in the middle of step %s", steps[k]);
		drive_until(service->last.id == 41);
		assert_end(41, ROLLOUT_FAILED, 3, reason);
		assert_event("failed", "reason", reason);
		assert_int_equal(service->last.generation, 4);
		assert_int_equal(service->last.replaces, 3);
		assert_string_equal(service->last.step, steps[k]);
		assert_int_equal(service->last.serving.generation, 3);
		if (k < 3) {
			tear_down(state);
			assert_int_equal(set_up_adoption(state), 0);
		}
	}
}

static void test_service_underway_after_the_shift_was_rolled_back(void **state)
{
	char message[256];

	(void)state;
	find_rollout(RUN_ORDER_UPGRADE, "bake")->shifted = true;
	find_agent(3, AGENT_RUNNING, false);
	find_agent(4, AGENT_RUNNING, false);
	named_before(4, 0);
	remembered_serving = 3;
	fake(4, 0)->live = 1;
	take_over_and_judge(false);
	assert_event("adopted", "message",
		     "rollout 41 (upgrade), at step bake: generation 3 serves on; generation 4, "
		     "whose rollout was under way, goes");
	drive_until(service->runs[0].machine.state == ROLLOUT_DRAINING);
	assert_int_equal(service->last.id, 0);
	/* Should this daemon die, too, the next one tells it. */
	assert_int_equal(kept_underway.n, 1);
	assert_int_equal(kept_underway.list[0].id, 41);
	fake(4, 0)->live = 0;
	drive_until(service->last.id == 41);
	assert_end(41, ROLLOUT_ROLLED_BACK, 4, "batond ended in the middle of step bake");
	run_result_message(&service->last, message, sizeof(message));
	assert_string_equal(message, "generation 3 serves again");
	turn();
	assert_int_equal(kept_underway.n, 0);
}

static void test_service_underway_past_the_commit_is_done_with_its_drain(void **state)
{
	char message[RUN_MESSAGE_MAX];

	(void)state;
	find_rollout(RUN_ORDER_RESTART, "drain")->shifted = true;
	service->underway.found->list[0].committed = true;
	service->config->drain.timeout_ms = 50;
	find_agent(3, AGENT_LEFT, false);
	find_agent(4, AGENT_RUNNING, true);
	named_before(4, 0);
	remembered_serving = 4;
	fake(3, 0)->live = 2;
	take_over_and_judge(false);
	drive_until(service->last.id == 41);
	/* It has lost something: also the part that this daemon did. */
	assert_end(41, ROLLOUT_DONE, 5, "");
	assert_int_equal(service->last.cut, 2);
	run_result_message(&service->last, message, sizeof(message));
	assert_string_equal(
		message,
		"generation 4 serves, generation 3 is gone; 2 connections were cut at the deadline; "
		"batond had ended at step drain, and the next one finished it");
}

static void test_service_underway_keeps_the_reason_that_undid_it(void **state)
{
	struct underway *u = find_rollout(RUN_ORDER_RESTART, "drain");

	(void)state;
	u->shifted = u->undone = true;
	strcpy(u->reason, "aborted by request");
	find_agent(3, AGENT_RUNNING, true);
	find_agent(4, AGENT_LEFT, false);
	named_before(3, 0);
	remembered_serving = 3;
	take_over_and_judge(false);
	drive_until(service->last.id == 41);
	assert_end(41, ROLLOUT_ROLLED_BACK, 4, "aborted by request");
}

static void test_service_underway_of_which_nothing_is_left_leaves_nothing(void **state)
{
	(void)state;
	find_rollout(RUN_ORDER_START, "verify")->replaces = 0;
	assert_false(service_judge_underway(service));
	turn();
	assert_end(41, ROLLOUT_FAILED, 8, "batond ended in the middle of step verify");
}

static void test_service_underway_that_had_not_begun_has_failed(void **state)
{
	struct underway *u = find_rollout(RUN_ORDER_RESTART, UNDERWAY_QUEUED);

	(void)state;
	u->generation = u->replaces = 0;
	find_agent(3, AGENT_RUNNING, true);
	named_before(3, 0);
	take_over_and_judge(false);
	turn();
	assert_end(41, ROLLOUT_FAILED, 3, "batond ended before it began");
}

/* A later one that ends meanwhile stays the last. */
static void test_service_underway_does_not_hide_what_came_later(void **state)
{
	(void)state;
	find_rollout(RUN_ORDER_RESTART, "drain")->committed = true;
	find_agent(3, AGENT_LEFT, false);
	find_agent(4, AGENT_RUNNING, true);
	named_before(4, 0);
	remembered_serving = 4;
	last_number = 4;
	fake(3, 0)->live = 1;
	take_over_and_judge(false);
	carry_out("restart", NULL);
	assert_int_equal(service->last.order, RUN_ORDER_RESTART);
	assert_int_equal(service->last.generation, 5);
	fake(3, 0)->live = 0;
	changed();
	drive_until(!service->underway.found);
	assert_event("done", "message",
		     "generation 5 serves, generation 3 is gone; batond had ended at step drain, "
		     "and the next one finished it");
}

/* ---- orders that are carried on ------------------------------------------------------------- */

static void test_service_underway_stop_is_carried_on(void **state)
{
	struct underway *u = find_rollout(RUN_ORDER_STOP, "settle");

	(void)state;
	u->generation = 0;
	u->shifted = true;
	find_agent(3, AGENT_RUNNING, false);
	remembered_serving = 3;
	take_over_and_judge(false);
	drive_until(service->last.id == 41);
	assert_end(41, ROLLOUT_DONE, 0, "");
	assert_int_equal(service->last.order, RUN_ORDER_STOP);
	assert_true(service->stopped);
	assert_true(service_is_idle(service));
}

static void test_service_underway_stop_past_its_leave_is_not_started_again(void **state)
{
	struct underway *u = find_rollout(RUN_ORDER_STOP, "drain");

	(void)state;
	u->generation = 0;
	u->shifted = u->committed = true;
	find_agent(3, AGENT_LEFT, false);
	fake(3, 0)->live = 1;
	take_over_and_judge(true);
	assert_true(service->stopped && service->settled);
	fake(3, 0)->live = 0;
	drive_until(service->last.id == 41);
	assert_end(41, ROLLOUT_DONE, 0, "");
}

/* That was not an order, but batond's own end: the next one is to serve. */
static void test_service_underway_stop_of_the_daemon_itself_is_undone(void **state)
{
	struct underway *u = find_rollout(RUN_ORDER_STOP, "settle");

	(void)state;
	u->generation = 0;
	u->shifted = u->quits = true;
	find_agent(3, AGENT_RUNNING, false);
	remembered_serving = 3;
	take_over_and_judge(false);
	drive_until(service->last.id == 41);
	assert_end(41, ROLLOUT_ROLLED_BACK, 4, "batond ended in the middle of step settle");
	assert_int_equal(service->current->number, 3);
	assert_false(service->stopped);
}

static void test_service_underway_scale_is_carried_on(void **state)
{
	struct underway *u = find_rollout(RUN_ORDER_SCALE, "verify");

	(void)state;
	u->generation = 3;
	u->replaces = 0;
	u->partial = true;
	u->instances_before = 1;
	u->instances_wanted = 3;
	service->instances = 1;
	find_agent(3, AGENT_RUNNING, true);
	find_agent(3, AGENT_RUNNING, false);
	named_before(3, 0);
	remembered_serving = 3;
	take_over_and_judge(false);
	drive_until(service->last.id == 41);
	assert_end(41, ROLLOUT_DONE, 0, "");
	assert_int_equal(service->instances, 3);
	assert_int_equal(remembered_instances, 3);
}

static void test_service_underway_scale_that_cannot_go_on_is_not_wanted(void **state)
{
	struct underway *u = find_rollout(RUN_ORDER_SCALE, "verify");

	(void)state;
	u->replaces = 0;
	u->partial = true;
	u->instances_before = 1;
	u->instances_wanted = 3;
	assert_false(service_judge_underway(service));
	turn();
	assert_int_equal(remembered_instances, 1);
	assert_end(41, ROLLOUT_FAILED, 8, "batond ended in the middle of step verify");
}

/* ---- a pause --------------------------------------------------------------------------------- */

static void test_service_underway_pause_outlives_the_daemon(void **state)
{
	(void)state;
	carry_out("start", NULL);
	give("pause", NULL);
	assert_true(kept_underway.paused);
	give("resume", NULL);
	assert_false(kept_underway.paused);
}

static void test_service_underway_paused_service_stays_so(void **state)
{
	(void)state;
	service->underway.was_paused = true;
	find_agent(3, AGENT_RUNNING, true);
	assert_int_equal(adopt(), 1);
	assert_true(service->hold.paused);
	assert_event("adopted", "message",
		     "generation 3 serves on; it stays paused: new connections wait until \"baton "
		     "resume web\"");
	assert_int_equal(buckets_of(0, 3, 0), 0);
	give("resume", NULL);
	assert_int_equal(buckets_of(0, 3, 0), STEER_BUCKETS);
}

/* ---- finding -------------------------------------------------------------------------------- */

static void test_service_underway_is_recalled_with_its_numbers(void **state)
{
	struct service *other;

	(void)state;
	kept_underway.n = 1;
	kept_underway.list[0] = (struct underway){.id = 77,
						  .order = RUN_ORDER_SCALE,
						  .partial = true,
						  .instances_before = 2,
						  .instances_wanted = 5};
	remembered_instances = 5;
	assert_int_equal(service_new(&context, make_config("/bin/web", ENDPOINT_0), on_end,
				     &n_ended, &other, &err),
			 0);
	assert_int_equal(other->underway.found->n, 1);
	assert_int_equal(context.last_rollout, 77);
	assert_int_equal(other->instances, 2);
	/* What is not told is there still for the next one. */
	service_free(other);
	assert_int_equal(kept_underway.n, 1);
	kept_underway.n = 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_adoption, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_underway_is_noted_from_the_order_to_the_end),
		TEST(test_service_underway_of_an_undone_one_has_its_reason),
		TEST(test_service_underway_that_waits_is_noted_too),
		TEST(test_service_underway_that_cannot_be_noted_goes_on),
		TEST(test_service_underway_does_not_note_what_is_retired),
		TEST(test_service_underway_before_the_shift_has_failed),
		TEST(test_service_underway_after_the_shift_was_rolled_back),
		TEST(test_service_underway_past_the_commit_is_done_with_its_drain),
		TEST(test_service_underway_keeps_the_reason_that_undid_it),
		TEST(test_service_underway_of_which_nothing_is_left_leaves_nothing),
		TEST(test_service_underway_that_had_not_begun_has_failed),
		TEST(test_service_underway_does_not_hide_what_came_later),
		TEST(test_service_underway_stop_is_carried_on),
		TEST(test_service_underway_stop_past_its_leave_is_not_started_again),
		TEST(test_service_underway_stop_of_the_daemon_itself_is_undone),
		TEST(test_service_underway_scale_is_carried_on),
		TEST(test_service_underway_scale_that_cannot_go_on_is_not_wanted),
		TEST(test_service_underway_pause_outlives_the_daemon),
		TEST(test_service_underway_paused_service_stays_so),
		TEST(test_service_underway_is_recalled_with_its_numbers),
	};
#undef TEST

	return cmocka_run_group_tests_name("service underway", tests, NULL, NULL);
}
