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

/* The daemon before had one, but nothing was left of it: the file is what counts. */
static void test_service_start_forgets_a_command_of_an_earlier_daemon(void **state)
{
	char *command[] = {(char *)"/bin/earlier", NULL};

	(void)state;
	assert_int_equal(vector_copy(command, &remembered), 0);
	carry_out("start", NULL);
	assert_null(remembered);
	assert_string_equal(current_program(), "/bin/web");
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
	/* Another one takes its place, it is not added to. */
	carry_out("upgrade", "{\"environment\": {\"D\": \"e\"}}");
	assert_null(environment_get(service->current->release->environment, "A"));
	assert_int_equal(vector_length(remembered_environment), 1);
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

static void test_service_rollback_starts_what_ran_before_again_and_again(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	order("rollback", NULL);
	assert_int_equal(run->order, RUN_ORDER_ROLLBACK);
	assert_string_equal(run->new->release->executable, "/bin/web");
	/* A copy: it may be wanted once more. */
	assert_ptr_not_equal(run->new->release, service->history.previous_release);
	assert_ptr_not_equal(run->new->config, service->history.previous_config);
	drive_until(n_ended == 3);
	assert_int_equal(service->current->number, 3);
	/* A restart of the same does not take the place of what can be gone back to. */
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/web");
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/v2");
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/web");
}

static void test_service_restart_of_the_same_is_nothing_to_go_back_to(void **state)
{
	(void)state;
	carry_out("start", NULL);
	carry_out("restart", NULL);
	assert_null(service->history.previous_release);
	refused("rollback", NULL);
	assert_string_equal(refusal_info(refusal.kind)->title, "Nothing to roll back to");
	/* The same command, but another program. */
	strcpy(release_edition, "2");
	carry_out("restart", NULL);
	assert_string_equal(service->history.previous_release->digest, "build-id:1");
	carry_out("restart", NULL);
	assert_string_equal(service->history.previous_release->digest, "build-id:1");
	carry_out("rollback", NULL);
	assert_string_equal(service->current->release->digest, "build-id:1");
	assert_string_equal(service->history.previous_release->digest, "build-id:2");
}

static void test_service_rollback_twice_is_where_it_began(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	carry_out("rollback", NULL);
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/v2");
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
	assert_string_equal(service->history.previous_release->executable, "/bin/v2");
}

static void test_service_history_without_memory_has_nothing_to_go_back_to(void **state)
{
	(void)state;
	carry_out("start", NULL);
	release_copy_fails = true;
	upgrade_to("/bin/v2");
	assert_null(service->history.previous_release);
	assert_null(service->history.previous_config);
	refused("rollback", NULL);
	assert_int_equal(refusal.kind, REFUSAL_NO_EARLIER_RELEASE);
}

static void test_service_history_knows_whether_it_was_rolled_back(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	assert_false(service->history.rolled_back);
	carry_out("rollback", NULL);
	assert_true(service->history.rolled_back);
	carry_out("restart", NULL);
	assert_false(service->history.rolled_back);
}

static void test_service_history_that_is_forgotten_leaves_the_file(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	service_forget_overrides(service);
	service_forget_previous(service);
	assert_null(remembered);
	assert_null(service->history.command);
	assert_null(service->history.previous_release);
	carry_out("restart", NULL);
	assert_string_equal(current_program(), "/bin/web");
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
		TEST(test_service_start_forgets_a_command_of_an_earlier_daemon),
		TEST(test_service_command_that_cannot_be_saved_counts_all_the_same),
		TEST(test_service_upgrade_with_environment_keeps_it),
		TEST(test_service_rollback_brings_the_environment_back),
		TEST(test_service_rollback_to_before_any_environment_forgets_it),
		TEST(test_service_failed_upgrade_leaves_no_environment),
		TEST(test_service_rollback_starts_what_ran_before_again_and_again),
		TEST(test_service_restart_of_the_same_is_nothing_to_go_back_to),
		TEST(test_service_rollback_twice_is_where_it_began),
		TEST(test_service_failed_rollback_can_be_tried_again),
		TEST(test_service_rollback_takes_the_configuration_of_then),
		TEST(test_service_stop_is_not_what_is_rolled_back_to),
		TEST(test_service_rollback_goes_back_though_the_old_one_drains),
		TEST(test_service_later_rollout_may_end_first),
		TEST(test_service_history_without_memory_has_nothing_to_go_back_to),
		TEST(test_service_history_knows_whether_it_was_rolled_back),
		TEST(test_service_history_that_is_forgotten_leaves_the_file),
	};
#undef TEST

	return cmocka_run_group_tests_name("service history", tests, NULL, NULL);
}
