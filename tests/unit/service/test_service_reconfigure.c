/* SPDX-License-Identifier: BSD-2-Clause */
/* Another configuration of a service, while it runs. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

/* ---- another configuration ------------------------------------------------------------------ */

static void reconfigure_refused(struct service_config *config)
{
	const struct service_config *before = service->config;
	const char *order_after;

	assert_int_equal(reconfigure(config, &order_after, &err), -EBUSY);
	assert_string_equal(err.text, "\"user\", \"steering\" and \"sticky\" can only be changed "
				      "while it is stopped (\"baton stop web\")");
	assert_ptr_equal(service->config, before);
}

static void test_service_reconfigure_keeps_the_user_while_it_runs(void **state)
{
	struct service_config *config = make_config("/bin/web", ENDPOINT_0);

	(void)state;
	carry_out("start", NULL);
	config->uid = 34;
	reconfigure_refused(config);
	carry_out("stop", NULL);
	reconfigured(make_config("/bin/web", "127.0.0.1:90"), NULL);
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
	reconfigured(config, NULL);
	carry_out("stop", NULL);
	config = make_config("/bin/web", ENDPOINT_0);
	config->steering = STEERING_CBPF;
	config->sticky = true;
	reconfigured(config, NULL);
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
	reconfigured(config, NULL);
	/* Also how the one that runs will go. */
	assert_int_equal(service->current->config->drain.timeout_ms, 77);
	/* The command of the upgrade is still the one. */
	order("restart", NULL);
	assert_string_equal(run->new->release->executable, "/bin/v2");
	assert_int_equal(run->machine.policy.bake_ms, 78);
	assert_int_equal(run->machine.policy.old_drain_timeout_ms, 77);
}

/* They are the operator's, not the release's: they reach what is coming as well as what serves. */
static void test_service_reconfigure_policies_reach_what_is_coming(void **state)
{
	struct service_config *config = make_config("/bin/web", ENDPOINT_0);

	(void)state;
	carry_out("start", NULL);
	restart_until_verify(2);
	config->drain.timeout_ms = 77;
	config->rollout.bake_ms = 78;
	reconfigured(config, NULL);
	assert_int_equal(run->new->config->drain.timeout_ms, 77);
	assert_int_equal(run->new->config->rollout.bake_ms, 78);
	assert_int_equal(service->current->config->drain.timeout_ms, 77);
	pass_checks(2);
	drive_until(n_ended == 2);
	assert_int_equal(service->current->number, 2);
	assert_int_equal(service->current->config->drain.timeout_ms, 77);
}

static void test_service_reconfigure_policies_reach_a_first_start(void **state)
{
	struct service_config *config = make_config("/bin/web", ENDPOINT_0);

	(void)state;
	fake(1, 0)->not_healthy = true;
	order("start", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	config->drain.timeout_ms = 77;
	reconfigured(config, NULL);
	assert_int_equal(run->new->config->drain.timeout_ms, 77);
}

static void test_service_reconfigure_release_wins_over_an_upgrade(void **state)
{
	struct service_config *config = make_config("/bin/web", ENDPOINT_0);

	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	reconfigured(make_config("/bin/v3", ENDPOINT_0), "restart");
	assert_string_equal(current_program(), "/bin/v2");
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/v3");
	upgrade_to("/bin/v4");
	/* The number of instances is not what the upgrade was about. */
	config->instances = 2;
	vector_free(config->command);
	config->command = NULL;
	assert_int_equal(vector_append(&config->command, strdup("/bin/v3")), 0);
	reconfigured(config, "scale");
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/v4");
	assert_int_equal(service->current->instances.n, 2);
}

/* What could be rolled back to belonged to somebody else: they cannot share a port. */
static void test_service_reconfigure_of_the_user_forgets_what_ran_before(void **state)
{
	struct service_config *config = make_config("/bin/v2", "127.0.0.1:90");

	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v3");
	carry_out("stop", NULL);
	assert_non_null(service_rollback_target(service));
	reconfigured(make_config("/bin/v2", ENDPOINT_0), NULL);
	assert_non_null(service_rollback_target(service));
	reconfigured(make_config("/bin/v2", "127.0.0.1:90"), NULL);
	assert_non_null(service_rollback_target(service));
	config->uid = 34;
	reconfigured(config, NULL);
	refused("rollback", NULL);
	assert_string_equal(refusal_info(refusal.kind)->title, "Nothing to roll back to");
}

/* While nothing runs there is nothing to restart. */
static void test_service_reconfigure_while_stopped_changes_nothing_that_runs(void **state)
{
	(void)state;
	reconfigured(make_config("/bin/v2", ENDPOINT_0), NULL);
	carry_out("start", NULL);
	assert_string_equal(current_program(), "/bin/v2");
}

/* Compared is what runs, not what was read last. */
static void test_service_reconfigure_there_and_back_needs_no_restart(void **state)
{
	(void)state;
	carry_out("start", NULL);
	reconfigured(make_config("/bin/v2", ENDPOINT_0), "restart");
	reconfigured(make_config("/bin/web", ENDPOINT_0), NULL);
}

/* ---- how many ------------------------------------------------------------------------------- */

static struct service_config *with_instances(uint32_t n)
{
	struct service_config *config = make_config("/bin/web", ENDPOINT_0);

	config->instances = n;
	return config;
}

static void test_service_reconfigure_of_instances_scales(void **state)
{
	(void)state;
	carry_out("start", NULL);
	reconfigured(with_instances(3), "scale");
	assert_int_equal(service->instances, 3);
	order_later("scale");
	drive_until(n_ended == 2);
	assert_int_equal(service->last.order, RUN_ORDER_SCALE);
	assert_int_equal(service->current->number, 1);
	assert_int_equal(service->current->instances.n, 3);
}

/* What "scale" has set is what the file says from now on, once that says something else. */
static void test_service_reconfigure_of_instances_wins_over_a_scale(void **state)
{
	(void)state;
	carry_out("start", NULL);
	carry_out("scale", "{\"instances\": 4}");
	assert_int_equal(remembered_instances, 4);
	/* The file says what it said: the scale stays. */
	reconfigured(with_instances(1), NULL);
	assert_int_equal(service->instances, 4);
	reconfigured(with_instances(2), "scale");
	assert_int_equal(service->instances, 2);
	assert_int_equal(remembered_instances, 0);
	/* It runs as many already. */
	carry_out("scale", "{\"instances\": 3}");
	reconfigured(with_instances(3), NULL);
}

/* A scaling that is under way may fail yet, or have failed: that is not what is wanted by now. */
static void test_service_reconfigure_of_instances_wins_over_a_scale_that_fails(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 1)->not_healthy = fake(1, 1)->cannot_stop = true;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	order("abort", NULL);
	assert_int_equal(run->machine.state, ROLLOUT_STOPPING);
	reconfigured(with_instances(3), "scale");
	order_later("scale");
	drive_until(n_ended == 2);
	assert_int_equal(service->instances, 3);
	fake_stopped(1, 1);
	changed();
	drive_until(n_ended == 3);
	assert_int_equal(service->instances, 3);
	assert_int_equal(remembered_instances, 0);
	assert_int_equal(service->current->instances.n, 3);
}

static void test_service_reconfigure_of_instances_outlives_a_scale_that_fails_later(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 1)->not_healthy = true;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	reconfigured(with_instances(3), "scale");
	order_later("scale");
	order("abort", NULL);
	drive_until(n_ended == 3);
	assert_int_equal(service->instances, 3);
	assert_int_equal(service->current->instances.n, 3);
}

static void test_service_reconfigure_of_both_restarts_with_as_many(void **state)
{
	struct service_config *config = make_config("/bin/v2", ENDPOINT_0);

	(void)state;
	carry_out("start", NULL);
	config->instances = 2;
	reconfigured(config, "restart");
	carry_out("restart", NULL);
	assert_int_equal(service->current->instances.n, 2);
	assert_int_equal(service->current->config->instances, 2);
}

static void test_service_reconfigure_of_instances_while_stopped_is_for_the_start(void **state)
{
	(void)state;
	reconfigured(with_instances(2), NULL);
	carry_out("start", NULL);
	assert_int_equal(service->current->instances.n, 2);
}

/* ---- what the file leads to ----------------------------------------------------------------- */

static void test_service_reconfigure_sees_an_edited_environment_file(void **state)
{
	(void)state;
	carry_out("start", NULL);
	reconfigured(make_config("/bin/web", ENDPOINT_0), NULL);
	strcpy(release_edition, "2");
	reconfigured(make_config("/bin/web", ENDPOINT_0), "restart");
	carry_out("restart", NULL);
	reconfigured(make_config("/bin/web", ENDPOINT_0), NULL);
}

/* With what an upgrade has set: that has not been changed by the file. */
static void test_service_reconfigure_compares_with_the_upgrade(void **state)
{
	(void)state;
	carry_out("start", NULL);
	carry_out("upgrade", "{\"command\": [\"/bin/v2\"], \"environment\": {\"A\": \"b\"}}");
	reconfigured(make_config("/bin/web", ENDPOINT_0), NULL);
	strcpy(release_edition, "2");
	reconfigured(make_config("/bin/web", ENDPOINT_0), "restart");
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/v2");
	assert_string_equal(service->current->release->environment[0], "A=b");
}

/* What cannot be started must not replace what runs, and is no news where the file says the same.
 */
static void test_service_reconfigure_of_what_is_gone_restarts_nothing(void **state)
{
	(void)state;
	carry_out("start", NULL);
	reconfigured(make_config("/none", ENDPOINT_0), "restart");
	reconfigured(make_config("/none", ENDPOINT_0), "restart"); /* it still runs the other */
	assert_string_equal(current_program(), "/bin/web");
}

/* What will serve is compared, not what is about to go. */
static void test_service_reconfigure_during_an_upgrade_compares_with_it(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(2, 0)->not_healthy = true;
	order("upgrade", "{\"command\": [\"/bin/v2\"], \"environment\": {\"A\": \"b\"}}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	reconfigured(make_config("/bin/web", ENDPOINT_0), NULL);
	reconfigured(make_config("/bin/v3", ENDPOINT_0), "restart");
}

/* ---- after a rollback ----------------------------------------------------------------------- */

/* The program was replaced, restarted into and rolled back from: the file is as it was. */
static void test_service_reconfigure_does_not_bring_what_was_rolled_back_from(void **state)
{
	(void)state;
	carry_out("start", NULL);
	strcpy(release_edition, "2");
	reconfigured(make_config("/bin/web", ENDPOINT_0), "restart");
	carry_out("restart", NULL);
	assert_string_equal(service->current->release->digest, "build-id:2");
	carry_out("rollback", NULL);
	assert_string_equal(service->current->release->digest, "build-id:1");
	assert_true(history_newest(&service->history.past)->came_back);
	reconfigured(make_config("/bin/web", ENDPOINT_0), NULL);
	reconfigured(make_config("/bin/web", ENDPOINT_0), NULL);
	/* A third one is news. */
	strcpy(release_edition, "3");
	reconfigured(make_config("/bin/web", ENDPOINT_0), "restart");
	carry_out("restart", NULL);
	assert_false(history_newest(&service->history.past)->came_back);
	reconfigured(make_config("/bin/web", ENDPOINT_0), NULL);
}

/* Whoever edits the file wants what it says. */
static void test_service_reconfigure_by_an_edit_counts_after_a_rollback(void **state)
{
	struct service_config *config = make_config("/bin/web", ENDPOINT_0);

	(void)state;
	carry_out("start", NULL);
	strcpy(release_edition, "2");
	carry_out("restart", NULL);
	carry_out("rollback", NULL);
	config->backlog = 7;
	reconfigured(config, "restart");
	carry_out("restart", NULL);
	assert_string_equal(service->current->release->digest, "build-id:2");
}

/* What was rolled back from was in the file, which is as it was. */
static void test_service_reconfigure_does_not_bring_a_file_that_was_rolled_back_from(void **state)
{
	struct service_config *config[2];

	(void)state;
	carry_out("start", NULL);
	for (size_t k = 0; k < 2; k++) {
		config[k] = make_config("/bin/web", ENDPOINT_0);
		config[k]->backlog = 7;
	}
	strcpy(release_edition, "2");
	reconfigured(config[0], "restart");
	carry_out("restart", NULL);
	carry_out("rollback", NULL);
	assert_int_not_equal(service->current->config->backlog, 7);
	reconfigured(config[1], NULL);
}

static void test_service_reconfigure_does_not_bring_a_command_rolled_back_from(void **state)
{
	(void)state;
	carry_out("start", NULL);
	reconfigured(make_config("/bin/v2", ENDPOINT_0), "restart");
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/v2");
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/web");
	reconfigured(make_config("/bin/v2", ENDPOINT_0), NULL);
	reconfigured(make_config("/bin/v3", ENDPOINT_0), "restart");
}

/* ---- a rollout to fewer that fails ---------------------------------------------------------- */

/* The one that was to come would have had as many as are wanted. */
static void test_service_reconfigure_to_fewer_sheds_though_the_release_fails(void **state)
{
	struct service_config *config = make_config("/bin/v2", ENDPOINT_0);

	(void)state;
	reconfigured(with_instances(3), NULL);
	carry_out("start", NULL);
	assert_int_equal(service->current->instances.n, 3);
	reconfigured(config, "restart");
	fake(2, 0)->start_error = -EIO;
	order_later("restart");
	drive_until(n_ended == 2);
	assert_int_equal(service->last.order, RUN_ORDER_RESTART);
	assert_int_equal(service->last.outcome, ROLLOUT_FAILED);
	drive_until(n_ended == 3);
	assert_int_equal(service->last.order, RUN_ORDER_SCALE);
	assert_int_equal(service->current->number, 1);
	assert_int_equal(service->current->instances.n, 1);
	turn();
	assert_null(service_run(service));
}

static void test_service_reconfigure_to_more_sheds_nothing_where_the_release_fails(void **state)
{
	struct service_config *config = make_config("/bin/v2", ENDPOINT_0);

	(void)state;
	carry_out("start", NULL);
	config->instances = 2;
	reconfigured(config, "restart");
	fake(2, 0)->start_error = -EIO;
	order_later("restart");
	drive_until(n_ended == 2);
	assert_int_equal(service->last.outcome, ROLLOUT_FAILED);
	turn();
	assert_false(service->queue.has_own);
	assert_null(service_run(service));
}

/* ---- after what is under way ---------------------------------------------------------------- */

static void test_service_changed_during_a_rollout_restarts_after_it(void **state)
{
	(void)state;
	carry_out("start", NULL);
	restart_until_verify(2);
	reconfigured(make_config("/bin/v2", ENDPOINT_0), "restart");
	order_later("restart"); /* as the daemon does */
	pass_checks(2);
	drive_until(n_ended == 3);
	assert_false(service->queue.has_own);
	assert_int_equal(service->current->number, 3);
	assert_string_equal(current_program(), "/bin/v2");
}

static void test_service_changed_then_shut_down_does_not_restart(void **state)
{
	(void)state;
	carry_out("start", NULL);
	restart_until_verify(2);
	order_later("restart");
	service_shutdown(service, "batond is shutting down");
	drive_until(service_is_idle(service));
	turn();
	assert_int_equal(last_number, 2);
	assert_false(service->queue.has_own);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_reconfigure_keeps_the_user_while_it_runs),
		TEST(test_service_reconfigure_keeps_the_steering_while_it_runs),
		TEST(test_service_reconfigure_policies_are_for_the_next_rollout),
		TEST(test_service_reconfigure_policies_reach_what_is_coming),
		TEST(test_service_reconfigure_policies_reach_a_first_start),
		TEST(test_service_reconfigure_release_wins_over_an_upgrade),
		TEST(test_service_reconfigure_of_the_user_forgets_what_ran_before),
		TEST(test_service_reconfigure_while_stopped_changes_nothing_that_runs),
		TEST(test_service_reconfigure_there_and_back_needs_no_restart),
		TEST(test_service_reconfigure_of_instances_scales),
		TEST(test_service_reconfigure_of_instances_wins_over_a_scale),
		TEST(test_service_reconfigure_of_instances_wins_over_a_scale_that_fails),
		TEST(test_service_reconfigure_of_instances_outlives_a_scale_that_fails_later),
		TEST(test_service_reconfigure_of_both_restarts_with_as_many),
		TEST(test_service_reconfigure_of_instances_while_stopped_is_for_the_start),
		TEST(test_service_reconfigure_sees_an_edited_environment_file),
		TEST(test_service_reconfigure_compares_with_the_upgrade),
		TEST(test_service_reconfigure_of_what_is_gone_restarts_nothing),
		TEST(test_service_reconfigure_during_an_upgrade_compares_with_it),
		TEST(test_service_reconfigure_does_not_bring_what_was_rolled_back_from),
		TEST(test_service_reconfigure_by_an_edit_counts_after_a_rollback),
		TEST(test_service_reconfigure_does_not_bring_a_file_that_was_rolled_back_from),
		TEST(test_service_reconfigure_does_not_bring_a_command_rolled_back_from),
		TEST(test_service_reconfigure_to_fewer_sheds_though_the_release_fails),
		TEST(test_service_reconfigure_to_more_sheds_nothing_where_the_release_fails),
		TEST(test_service_changed_during_a_rollout_restarts_after_it),
		TEST(test_service_changed_then_shut_down_does_not_restart),
	};
#undef TEST

	return cmocka_run_group_tests_name("service reconfigure", tests, NULL, NULL);
}
