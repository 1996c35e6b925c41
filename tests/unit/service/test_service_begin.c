/* SPDX-License-Identifier: BSD-2-Clause */
/* Orders that begin a generation, or end the one that serves. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

/* ---- a first start, a restart --------------------------------------------------------------- */

static void test_service_first_start_opens_endpoints_and_serves(void **state)
{
	(void)state;
	assert_true(service_is_idle(service));
	order("start", NULL);
	assert_calls(OPEN_ALL RESET_ALL "attach " ENDPOINT_0 "; attach " ENDPOINT_1);
	assert_int_equal(service->wiring.endpoints[1]->uid, 33);
	assert_int_equal(run->order, RUN_ORDER_START);
	assert_int_equal(run->new->number, 1);
	assert_null(run->old);
	assert_ptr_equal(service_run(service), run);
	assert_false(service_is_idle(service));
	assert_false(service->settled);
	drive_until(n_ended == 1);
	assert_calls("start 1.0; check 1.0; " PUBLISH_ALL "; steady 1.0 on");
	assert_true(service->settled);
	assert_int_equal(service->current->number, 1);
	assert_int_equal(remembered_serving, 1);
	assert_null(service_run(service));
	assert_false(service_is_idle(service));
	assert_int_equal(service->last.outcome, ROLLOUT_DONE);
	assert_event("done", "message", "generation 1 serves");
	for (uint16_t e = 0; e < 2; e++)
		assert_table(e, (uint16_t)(10 + e), STEER_NO_SLOT);
}

static void test_service_restart_resolves_and_replaces(void **state)
{
	(void)state;
	carry_out("start", NULL);
	forget_calls();
	order("restart", NULL);
	assert_calls("");
	assert_int_equal(run->new->number, 2);
	assert_int_equal(run->old->number, 1);
	assert_ptr_not_equal(run->new->config, service->config);
	assert_string_equal(run->new->release->executable, "/bin/web");
	drive_until(n_ended == 2);
	assert_int_equal(service->n_generations, 1);
	assert_int_equal(service->current->number, 2);
	assert_table(1, 21, STEER_NO_SLOT);
	assert_calls("start 2.0; check 2.0; " PUBLISH_ALL
		     "; steady 1.0 off; steady 2.0 on; " PUBLISH_ALL
		     "; uncheck 1.0; leave 1.0; tap watch 1.0; stop 1.0; done 1.0");
}

/* `baton restart` of a stopped service is a start. */
static void test_service_restart_while_stopped_starts(void **state)
{
	(void)state;
	carry_out("restart", NULL);
	assert_int_equal(service->current->number, 1);
	assert_int_equal(service->last.order, RUN_ORDER_RESTART);
	assert_int_equal(service->last.replaces, 0);
}

static void test_service_failed_first_start_leaves_nothing(void **state)
{
	(void)state;
	fake(1, 0)->start_error = -EIO;
	order("start", NULL);
	drive_until(n_ended == 1);
	assert_true(service_is_idle(service));
	assert_false(service->endpoints.open);
	assert_true(service->settled);
	assert_int_equal(service->last.exit, 8);
	carry_out("start", NULL);
	assert_int_equal(service->current->number, 2);
}

/* ---- upgrade -------------------------------------------------------------------------------- */

static void test_service_upgrade_runs_the_command_given(void **state)
{
	(void)state;
	carry_out("start", NULL);
	order("upgrade", "{\"command\": [\"/bin/other\", \"\", \"x\"]}");
	assert_int_equal(run->order, RUN_ORDER_UPGRADE);
	assert_string_equal(run->new->release->command[0], "/bin/other");
	assert_string_equal(run->new->release->command[1], "");
	assert_string_equal(run->new->release->command[2], "x");
	assert_null(run->new->release->command[3]);
}

static void test_service_upgrade_without_command_runs_the_configured(void **state)
{
	(void)state;
	carry_out("start", NULL);
	order("upgrade", "{\"force\": true}");
	assert_string_equal(run->new->release->command[0], "/bin/web");
}

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

/* ---- stop ----------------------------------------------------------------------------------- */

static void test_service_stop_ends_the_generation_and_closes(void **state)
{
	(void)state;
	carry_out("start", NULL);
	forget_calls();
	carry_out("stop", NULL);
	assert_calls(PUBLISH_ALL
		     "; steady 1.0 off; leave 1.0; " PUBLISH_ALL
		     "; uncheck 1.0; tap watch 1.0; stop 1.0; done 1.0; " UNPIN_ALL CLOSE_ALL);
	assert_null(service->current);
	assert_true(service_is_idle(service));
	assert_false(service->endpoints.open);
	assert_event("done", "message", "generation 1 is gone");
	/* What comes next starts on fresh endpoints. */
	order("start", NULL);
	assert_calls(OPEN_ALL RESET_ALL "attach " ENDPOINT_0 "; attach " ENDPOINT_1);
	assert_int_equal(run->new->number, 2);
}

/* Its connections would be refused by a table that still names its slots, too. */
static void test_service_stop_that_cannot_be_published_ends_all_the_same(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake_steer_failure.function = "steer_publish";
	fake_steer_failure.code = -EIO;
	carry_out("stop", NULL);
	assert_null(service->current);
	assert_true(service_is_idle(service));
	assert_int_equal(fake_steers_open, 0);
}

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

/* ---- what cannot begin ---------------------------------------------------------------------- */

static void test_service_too_many_generations_are_refused(void **state)
{
	(void)state;
	carry_out("start", NULL);
	for (unsigned n = 1; n < SERVICE_GENERATIONS_MAX; n++) {
		fake(n, 0)->live = 1;
		order("restart", NULL);
		drive_until(run->machine.state == ROLLOUT_DRAINING);
	}
	forget_calls();
	refused("restart", NULL);
	assert_refused(
		409, 6, "Busy",
		"8 generations are alive (\"drain.generations_max\" is 8); wait until one has "
		"drained");
	assert_calls("");
	assert_int_equal(last_number, SERVICE_GENERATIONS_MAX);
	/* The oldest ends: there is room for one again. */
	fake(1, 0)->live = 0;
	drive_until(n_ended == 2);
	order("restart", NULL);
	assert_int_equal(run->new->number, SERVICE_GENERATIONS_MAX + 1);
}

static void test_service_command_that_is_not_there_touches_nothing(void **state)
{
	(void)state;
	refused("upgrade", "{\"command\": [\"/none\"]}");
	assert_refused(422, 8, "The new generation cannot start, and nothing serves",
		       "command: \"/none\": No such file or directory");
	assert_calls("");
	assert_int_equal(last_number, 0);
	assert_nothing_left();
}

static void test_service_rollback_without_memory_is_refused(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	release_copy_fails = true;
	refused("rollback", NULL);
	assert_refused(500, 1, "Cannot start", "out of memory");
	assert_int_equal(service->n_generations, 1);
	release_copy_fails = false;
	carry_out("rollback", NULL);
}

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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_first_start_opens_endpoints_and_serves),
		TEST(test_service_restart_resolves_and_replaces),
		TEST(test_service_restart_while_stopped_starts),
		TEST(test_service_failed_first_start_leaves_nothing),
		TEST(test_service_upgrade_runs_the_command_given),
		TEST(test_service_upgrade_without_command_runs_the_configured),
		TEST(test_service_upgrade_to_what_runs_does_nothing),
		TEST(test_service_upgrade_by_force_replaces_what_is_the_same),
		TEST(test_service_upgrade_of_a_stopped_one_starts_it),
		TEST(test_service_upgrade_to_another_configuration_is_no_nothing),
		TEST(test_service_stop_ends_the_generation_and_closes),
		TEST(test_service_stop_that_cannot_be_published_ends_all_the_same),
		TEST(test_service_stop_and_start_with_all_instances),
		TEST(test_service_stop_bounds_what_drains_already),
		TEST(test_service_stop_of_what_goes_already_is_refused),
		TEST(test_service_too_many_generations_are_refused),
		TEST(test_service_command_that_is_not_there_touches_nothing),
		TEST(test_service_rollback_without_memory_is_refused),
		TEST(test_service_generations_max_bounds_what_may_drain),
		TEST(test_service_canary_needs_a_tier_that_shares),
	};
#undef TEST

	return cmocka_run_group_tests_name("service begin", tests, NULL, NULL);
}
