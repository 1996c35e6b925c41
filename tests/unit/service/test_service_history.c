/* SPDX-License-Identifier: BSD-2-Clause */
/* What ran before, and what an upgrade has changed for the restarts to come. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

/* ---- a command ------------------------------------------------------------------------------ */

static void test_service_upgrade_stays_for_the_restarts_to_come(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/v2");
	carry_out("stop", NULL);
	carry_out("start", NULL);
	assert_string_equal(current_program(), "/bin/v2");
}

static void test_service_failed_upgrade_is_forgotten(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	fake(3, 0)->start_error = -EIO;
	upgrade_to("/bin/v3");
	assert_int_equal(service->last.exit, 3);
	assert_string_equal(current_program(), "/bin/v2");
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/v2");
}

static void test_service_failed_upgrade_is_not_what_ran_before(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	fake(3, 0)->start_error = -EIO;
	upgrade_to("/bin/v3");
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/web");
}

/* From the moment on from which it serves, not only once the old one has drained. */
static void test_service_upgrade_stays_though_the_old_one_drains(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("upgrade", "{\"command\": [\"/bin/v2\"]}");
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	assert_string_equal(remembered[0], "/bin/v2");
	order("restart", NULL);
	assert_string_equal(run->new->release->executable, "/bin/v2");
}

/* A command that is the configured one is none to be kept. */
static void test_service_command_is_remembered_while_it_differs(void **state)
{
	(void)state;
	carry_out("start", NULL);
	assert_null(remembered);
	upgrade_to("/bin/v2");
	assert_string_equal(remembered[0], "/bin/v2");
	carry_out("rollback", NULL);
	assert_null(remembered);
	assert_null(service->history.command);
}

static void test_service_command_that_cannot_be_saved_counts_all_the_same(void **state)
{
	(void)state;
	carry_out("start", NULL);
	order("upgrade", "{\"command\": [\"/bin/v2\"]}");
	state_error = -ENOSPC;
	drive_until(n_ended == 2);
	state_error = 0;
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/v2");
}

/* ---- the environment ------------------------------------------------------------------------ */

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

/* ---- what ran before ------------------------------------------------------------------------ */

static void test_service_restart_of_the_same_is_nothing_to_go_back_to(void **state)
{
	(void)state;
	carry_out("start", NULL);
	carry_out("restart", NULL);
	assert_null(service_rollback_target(service));
	refused("rollback", NULL);
	assert_string_equal(refusal_info(refusal.kind)->title, "Nothing to roll back to");
	/* The same command, but another program. */
	strcpy(release_edition, "2");
	carry_out("restart", NULL);
	assert_string_equal(service_rollback_target(service)->release->digest, "build-id:1");
	carry_out("restart", NULL);
	assert_string_equal(service_rollback_target(service)->release->digest, "build-id:1");
	carry_out("rollback", NULL);
	assert_string_equal(service->current->release->digest, "build-id:1");
	assert_null(service_rollback_target(service));
}

static void test_service_failed_rollback_can_be_tried_again(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	fake(3, 0)->start_error = -EIO;
	carry_out("rollback", NULL);
	assert_int_equal(service->last.exit, 3);
	assert_string_equal(current_program(), "/bin/v2");
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/web");
}

/* But not the number of instances, which is scaled by itself. */
static void test_service_rollback_takes_the_configuration_of_then(void **state)
{
	struct service_config *config = make_config("/bin/web", ENDPOINT_0);
	const char *order_after;

	(void)state;
	carry_out("start", NULL);
	config->drain.timeout_ms = 77;
	vector_free(config->command);
	config->command = NULL;
	assert_int_equal(vector_append(&config->command, strdup("/bin/v2")), 0);
	assert_int_equal(reconfigure(config, &order_after, &err), 0);
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/v2");
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/web");
	assert_string_equal(service->current->config->command[0], "/bin/web");
}

static void test_service_stop_is_not_what_is_rolled_back_to(void **state)
{
	(void)state;
	carry_out("start", NULL);
	carry_out("stop", NULL);
	refused("rollback", NULL);
	assert_string_equal(refusal_info(refusal.kind)->title, "Nothing to roll back to");
}

static void test_service_rollback_goes_back_though_the_old_one_drains(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("upgrade", "{\"command\": [\"/bin/v2\"]}");
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	order("rollback", NULL);
	assert_int_equal(run->order, RUN_ORDER_ROLLBACK);
	assert_string_equal(run->new->release->executable, "/bin/web");
}

/* Restart, then restart again while the first still drains, and the second is through sooner. */
static void test_service_later_rollout_may_end_first(void **state)
{
	struct run *first;

	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("upgrade", "{\"command\": [\"/bin/v2\"]}");
	first = run;
	drive_until(first->machine.state == ROLLOUT_DRAINING);
	upgrade_to("/bin/v3");
	assert_int_equal(service->current->number, 3);
	assert_int_equal(service->n_generations, 2);
	assert_null(first->new);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 3);
	assert_int_equal(service->n_generations, 1);
	assert_int_equal(service->last.generation, 2);
	assert_int_equal(service->last.replaces, 1);
	/* What came later counts. */
	assert_string_equal(service->history.command[0], "/bin/v3");
	assert_string_equal(remembered[0], "/bin/v3");
	assert_string_equal(service_rollback_target(service)->release->executable, "/bin/v2");
}

static void test_service_history_without_memory_has_nothing_to_go_back_to(void **state)
{
	(void)state;
	carry_out("start", NULL);
	release_copy_fails = true;
	upgrade_to("/bin/v2");
	release_copy_fails = false;
	refused("rollback", NULL);
	assert_int_equal(refusal.kind, REFUSAL_NO_EARLIER_RELEASE);
}

static void test_service_history_that_is_forgotten_leaves_the_file(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	service_forget(service);
	assert_null(remembered);
	assert_null(service->history.command);
	assert_null(service_rollback_target(service));
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/web");
}

/* What has been thrown out does not come back by another rollback: it goes one further back. */
static void test_service_rollback_goes_one_further_back_each_time(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	upgrade_to("/bin/v3");
	order("rollback", NULL);
	assert_string_equal(run_order_name(run->order), "rollback");
	assert_string_equal(run->new->release->executable, "/bin/v2");
	/* A copy: it may be wanted once more. */
	assert_ptr_not_equal(run->new->release, service_rollback_target(service)->release);
	assert_ptr_not_equal(run->new->config, service_rollback_target(service)->config);
	drive_until(n_ended == 4);
	assert_int_equal(service->current->number, 4);
	/* A restart of the same changes nothing about where it goes. */
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/v2");
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/web");
	refused("rollback", NULL);
	assert_refused(
		409, 1, "Nothing to roll back to",
		"no earlier release that has served well is known; \"baton upgrade web -- COMMAND\" starts another one");
	assert_string_equal(current_program(), "/bin/web");
}

static void test_service_rollback_goes_to_what_served_well_again(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	carry_out("rollback", NULL);
	upgrade_to("/bin/v2");
	upgrade_to("/bin/v3");
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/v2");
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/web");
}

static void test_service_rollback_never_goes_to_what_was_undone(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(2, 0)->start_error = -EIO;
	upgrade_to("/bin/failed");
	refused("rollback", NULL);
	fake(3, 0)->not_healthy = true;
	order("upgrade", "{\"command\": [\"/bin/aborted\"]}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	order("abort", NULL);
	drive_until(n_ended == 3);
	refused("rollback", NULL);
	assert_null(service_rollback_target(service));
}

/* Its servers ended and could not be started again: whoever took its place does not want it. */
static void test_service_rollback_never_goes_to_what_has_failed(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	heal_after(0, 0);
	fake_fail(2, 0, "killed");
	look();
	assert_true(service->healing.dead);
	upgrade_to("/bin/v3");
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/web");
}

static void test_service_upgrade_says_that_there_is_no_way_back(void **state)
{
	(void)state;
	carry_out("start", NULL);
	order("upgrade", "{\"command\": [\"/bin/v2\"]}");
	assert_string_equal(answer.note, "");
	drive_until(n_ended == 2);
	strcpy(release_edition, "2");
	files_change = true;
	order("upgrade", NULL);
	assert_string_equal(answer.note, "rollback would run what /bin/v2 is now, not what it was");
	drive_until(n_ended == 3);
	order("rollback", NULL);
	assert_string_equal(answer.note, "rollback runs what /bin/v2 is now, not what it was");
	drive_until(n_ended == 4);
}

static void test_service_dry_run_says_where_a_rollback_goes(void **state)
{
	(void)state;
	carry_out("start", NULL);
	refused("rollback", "{\"dry_run\": true}");
	upgrade_to("/bin/v2");
	give("rollback", "{\"dry_run\": true}");
	assert_null(answer.run);
	assert_string_equal(answer.message, "rollback would go to generation 1 (/bin/web), which "
					    "served from 0s ago until 0s ago");
	strcpy(release_edition, "2");
	files_change = true;
	give("rollback", "{\"dry_run\": true}");
	assert_non_null(
		strstr(answer.message, "; it would run what /bin/web is now, not what it was"));
	assert_string_equal(current_program(), "/bin/v2");
	assert_null(service_undecided_run(service));
}

static void test_service_dry_run_while_undecided_undoes_nothing(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(2, 0)->not_healthy = true;
	order("upgrade", "{\"command\": [\"/bin/v2\"]}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	give("rollback", "{\"dry_run\": true}");
	assert_string_equal(answer.message,
			    "rollback would undo rollout 2 (upgrade): generation 1 stays");
	pass_checks(2);
	drive_until(n_ended == 2);
	assert_string_equal(current_program(), "/bin/v2");
}

/* Nothing of the earlier one's is alive. */
static void another_daemon(struct service_config *config)
{
	carry_out("stop", NULL);
	service_free(service);
	assert_int_equal(service_new(&context, config, on_end, &n_ended, &service, &err), 0);
}

static void test_service_history_and_overrides_outlive_the_daemon(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	carry_out("upgrade", "{\"environment\": {\"A\": \"1\"}}");
	another_daemon(make_config("/bin/web", ENDPOINT_0));
	carry_out("start", NULL);
	assert_string_equal(current_program(), "/bin/v2");
	assert_string_equal(service->current->added[0], "A=1");
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/v2");
	assert_int_equal(vector_length(service->current->release->environment), 0);
	another_daemon(make_config("/bin/web", ENDPOINT_0));
	carry_out("start", NULL);
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/web");
	refused("rollback", NULL);
}

/* It was edited while no daemon ran. */
static void test_service_another_file_wins_over_overrides(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	another_daemon(make_config("/bin/v3", ENDPOINT_0));
	assert_event("overridden", "message",
		     "what the file says takes the place of the last upgrade's command (/bin/v2)");
	carry_out("start", NULL);
	assert_string_equal(current_program(), "/bin/v3");
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/v2");
}

static void test_service_that_is_somebody_elses_has_no_past(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	another_daemon(make_config("/bin/web", ENDPOINT_0));
	service_forget(service);
	carry_out("start", NULL);
	assert_string_equal(current_program(), "/bin/web");
	refused("rollback", NULL);
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_upgrade_stays_for_the_restarts_to_come),
		TEST(test_service_failed_upgrade_is_forgotten),
		TEST(test_service_failed_upgrade_is_not_what_ran_before),
		TEST(test_service_upgrade_stays_though_the_old_one_drains),
		TEST(test_service_command_is_remembered_while_it_differs),
		TEST(test_service_command_that_cannot_be_saved_counts_all_the_same),
		TEST(test_service_upgrade_with_environment_keeps_it),
		TEST(test_service_rollback_brings_the_environment_back),
		TEST(test_service_rollback_to_before_any_environment_forgets_it),
		TEST(test_service_failed_upgrade_leaves_no_environment),
		TEST(test_service_restart_of_the_same_is_nothing_to_go_back_to),
		TEST(test_service_failed_rollback_can_be_tried_again),
		TEST(test_service_rollback_takes_the_configuration_of_then),
		TEST(test_service_stop_is_not_what_is_rolled_back_to),
		TEST(test_service_rollback_goes_back_though_the_old_one_drains),
		TEST(test_service_later_rollout_may_end_first),
		TEST(test_service_history_without_memory_has_nothing_to_go_back_to),
		TEST(test_service_history_that_is_forgotten_leaves_the_file),
		TEST(test_service_rollback_goes_one_further_back_each_time),
		TEST(test_service_rollback_goes_to_what_served_well_again),
		TEST(test_service_rollback_never_goes_to_what_was_undone),
		TEST(test_service_rollback_never_goes_to_what_has_failed),
		TEST(test_service_upgrade_says_that_there_is_no_way_back),
		TEST(test_service_dry_run_says_where_a_rollback_goes),
		TEST(test_service_dry_run_while_undecided_undoes_nothing),
		TEST(test_service_history_and_overrides_outlive_the_daemon),
		TEST(test_service_another_file_wins_over_overrides),
		TEST(test_service_that_is_somebody_elses_has_no_past),
		TEST(test_service_restart_with_reset_drops_overrides),
	};
#undef TEST

	return cmocka_run_group_tests_name("service history", tests, NULL, NULL);
}
