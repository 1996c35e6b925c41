/* SPDX-License-Identifier: BSD-2-Clause */
/* Another configuration for a service that may be running. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service_fixture.h"

/* ---- another configuration ------------------------------------------------------------------ */

static void reconfigured(struct service_config *config, bool expected)
{
	bool changed_release = !expected;

	assert_int_equal(service_reconfigure(service, config, &changed_release, &err), 0);
	assert_int_equal(changed_release, expected);
	assert_ptr_equal(service->config, config);
}

static void reconfigure_refused(struct service_config *config)
{
	const struct service_config *before = service->config;
	bool changed_release;

	assert_int_equal(service_reconfigure(service, config, &changed_release, &err), -EBUSY);
	assert_string_equal(err.text, "\"listen\", \"user\", \"steering\" and \"sticky\" can only "
				      "be changed while it is stopped (baton stop web)");
	assert_ptr_equal(service->config, before);
}

static void test_service_reconfigure_keeps_the_group_while_it_runs(void **state)
{
	struct service_config *config;

	(void)state;
	carry_out("start", NULL);
	reconfigure_refused(make_config("/bin/web", "127.0.0.1:90"));
	config = make_config("/bin/web", ENDPOINT_0);
	config->uid = 34;
	reconfigure_refused(config);
	config = make_config("/bin/web", ENDPOINT_0);
	config->n_listen = 1;
	reconfigure_refused(config);
	config = make_config("/bin/web", ENDPOINT_1);
	config->listen[1] = service->config->listen[0]; /* the same two, the other way round */
	reconfigure_refused(config);
	carry_out("stop", NULL);
	reconfigured(make_config("/bin/web", "127.0.0.1:90"), false);
	forget_calls();
	order("start", NULL);
	assert_non_null(strstr(calls, "open 127.0.0.1:90 /pins/test/web/tcp-127_0_0_1-90"));
}

/* What is steered one way cannot be another way from one moment to the next. */
static void test_service_reconfigure_keeps_the_steering_while_it_runs(void **state)
{
	struct service_config *config;

	(void)state;
	carry_out("start", NULL);
	config = make_config("/bin/web", ENDPOINT_0);
	config->sticky = true;
	reconfigure_refused(config);
	config = make_config("/bin/web", ENDPOINT_0);
	config->steering = STEERING_CBPF;
	reconfigure_refused(config);
	context.tiers.list[STEER_HASH].works = false;
	config = make_config("/bin/web", ENDPOINT_0);
	config->steering = STEERING_HASH;
	reconfigure_refused(config);
	/* Said in other words it is the same. */
	config = make_config("/bin/web", ENDPOINT_0);
	config->steering = STEERING_EBPF;
	reconfigured(config, false);
	carry_out("stop", NULL);
	config = make_config("/bin/web", ENDPOINT_0);
	config->steering = STEERING_CBPF;
	config->sticky = true;
	reconfigured(config, false);
	carry_out("start", NULL);
	assert_int_equal(service->wiring.tier, STEER_CBPF);
	assert_true(service->wiring.endpoints[1]->sticky);
}

static void test_service_reconfigure_policies_are_for_the_next_rollout(void **state)
{
	struct service_config *config = make_config("/bin/web", ENDPOINT_0);

	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	config->drain.timeout_ms = 77;
	config->rollout.bake_ms = 78;
	reconfigured(config, false);
	/* Also how the one that runs will go. */
	assert_int_equal(service->current->config->drain.timeout_ms, 77);
	/* The command of the upgrade is still the one. */
	order("restart", NULL);
	assert_string_equal(run->new->release->executable, "/bin/v2");
	assert_int_equal(run->machine.policy.bake_ms, 78);
	assert_int_equal(run->machine.policy.old_drain_timeout_ms, 77);
}

static void test_service_reconfigure_release_wins_over_an_upgrade(void **state)
{
	struct service_config *config = make_config("/bin/web", ENDPOINT_0);

	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	reconfigured(make_config("/bin/v3", ENDPOINT_0), true);
	assert_string_equal(current_program(), "/bin/v2");
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/v3");
	upgrade_to("/bin/v4");
	service_config_free(config);
	config = make_config("/bin/v3", ENDPOINT_0);
	config->instances = 2;
	reconfigured(config, true);
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/v3");
	assert_int_equal(service->current->n_instances, 2);
}

/* What could be rolled back to listened elsewhere, or belonged to somebody else. */
static void test_service_reconfigure_of_the_group_forgets_what_ran_before(void **state)
{
	(void)state;
	carry_out("start", NULL);
	carry_out("restart", NULL);
	carry_out("stop", NULL);
	assert_non_null(service->previous_release);
	reconfigured(make_config("/bin/v2", ENDPOINT_0), false);
	assert_non_null(service->previous_release);
	reconfigured(make_config("/bin/v2", "127.0.0.1:90"), false);
	refused("rollback", NULL);
	assert_string_equal(problem.title, "Nothing to roll back to");
}

/* While nothing runs there is nothing to restart. */
static void test_service_reconfigure_while_stopped_changes_nothing_that_runs(void **state)
{
	(void)state;
	reconfigured(make_config("/bin/v2", ENDPOINT_0), false);
	carry_out("start", NULL);
	assert_string_equal(current_program(), "/bin/v2");
}

/* Compared is what runs, not what was read last. */
static void test_service_reconfigure_there_and_back_needs_no_restart(void **state)
{
	(void)state;
	carry_out("start", NULL);
	reconfigured(make_config("/bin/v2", ENDPOINT_0), true);
	reconfigured(make_config("/bin/web", ENDPOINT_0), false);
}

static void test_service_changed_during_a_rollout_restarts_after_it(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake_generations[2].not_healthy = true;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	reconfigured(make_config("/bin/v2", ENDPOINT_0), true);
	service->changed = true; /* as the daemon does where a restart is refused as busy */
	fake_generations[2].not_healthy = false;
	changed();
	drive_until(n_ended == 3);
	assert_false(service->changed);
	assert_int_equal(service->current->number, 3);
	assert_string_equal(current_program(), "/bin/v2");
}

static void test_service_changed_then_shut_down_does_not_restart(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake_generations[2].not_healthy = true;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	service->changed = true;
	service_shutdown(service);
	drive_until(service_is_idle(service));
	assert_int_equal(last_number, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_reconfigure_keeps_the_group_while_it_runs),
		TEST(test_service_reconfigure_keeps_the_steering_while_it_runs),
		TEST(test_service_reconfigure_policies_are_for_the_next_rollout),
		TEST(test_service_reconfigure_release_wins_over_an_upgrade),
		TEST(test_service_reconfigure_of_the_group_forgets_what_ran_before),
		TEST(test_service_reconfigure_while_stopped_changes_nothing_that_runs),
		TEST(test_service_reconfigure_there_and_back_needs_no_restart),
		TEST(test_service_changed_during_a_rollout_restarts_after_it),
		TEST(test_service_changed_then_shut_down_does_not_restart),
	};
#undef TEST

	return cmocka_run_group_tests_name("service reconfigure", tests, NULL, NULL);
}
