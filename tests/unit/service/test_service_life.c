/* SPDX-License-Identifier: BSD-2-Clause */
/* What a service keeps from one rollout to the next, and how it is ended. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

/* ---- from one rollout to the next ----------------------------------------------------------- */

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

/* What has been thrown out does not come back by another rollback: it goes one further back. */
static void test_service_rollback_goes_one_further_back_each_time(void **state)
{
	(void)state;
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	upgrade_to("/bin/v3");
	order("rollback", NULL);
	assert_string_equal(run->order, "rollback");
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
	assert_refused(409, 1, "Nothing to roll back to",
		       "no earlier release that has served well is known");
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

/* ---- what lies there now -------------------------------------------------------------------- */

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
					    "began to serve 0s ago, until 0s ago");
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

/* ---- another daemon ------------------------------------------------------------------------- */

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

static void test_service_rollback_goes_back_though_the_old_one_drains(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("upgrade", "{\"command\": [\"/bin/v2\"]}");
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	order("rollback", NULL);
	assert_string_equal(run->order, "rollback");
	assert_string_equal(run->new->release->executable, "/bin/web");
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
	assert_string_equal(service->last.order, "upgrade");
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

static void test_service_refused_start_says_why_until_it_starts(void **state)
{
	(void)state;
	service_refused(service, "command: no such program");
	assert_true(service->settled);
	assert_string_equal(service->refusal, "command: no such program");
	carry_out("start", NULL);
	assert_string_equal(service->refusal, "");
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
	assert_int_equal(service->last.exit, 3);
	carry_out("start", NULL);
	assert_int_equal(service->current->number, 2);
}

/* ---- should it run? ------------------------------------------------------------------------- */

static void test_service_has_failed_until_it_is_started_again(void **state)
{
	(void)state;
	assert_false(service_has_failed(service)); /* nobody has tried */
	fake(1, 0)->start_error = -EIO;
	order("start", NULL);
	assert_false(service_has_failed(service));
	drive_until(n_ended == 1);
	assert_true(service_has_failed(service));
	order("start", NULL);
	assert_false(service_has_failed(service));
	drive_until(n_ended == 2);
	assert_false(service_has_failed(service));
	/* What is refused or undone while another one serves is no failure of the service. */
	fake(3, 0)->start_error = -EIO;
	carry_out("restart", NULL);
	assert_int_equal(service->last.exit, 3);
	assert_false(service_has_failed(service));
}

static void test_service_has_failed_where_its_start_was_refused(void **state)
{
	(void)state;
	service_refused(service, "command: no such program");
	assert_true(service_has_failed(service));
	carry_out("start", NULL);
	assert_false(service_has_failed(service));
	carry_out("stop", NULL);
	assert_false(service_has_failed(service));
}

/* It is as it should be. */
static void test_service_that_was_stopped_has_not_failed(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(2, 0)->start_error = -EIO;
	carry_out("restart", NULL);
	carry_out("stop", NULL);
	assert_false(service_has_failed(service));
	fake(3, 0)->start_error = -EIO;
	carry_out("start", NULL);
	assert_true(service_has_failed(service));
}

/* The end of something else is what was heard of last. */
static void test_service_that_was_stopped_has_not_failed_by_what_ends_later(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(2, 0)->cannot_stop = true;
	restart_until_verify(2);
	order("abort", NULL);
	turn();
	carry_out("stop", NULL);
	fake_stopped(2, 0);
	changed();
	drive_until(n_ended == 3);
	assert_string_equal(service->last.order, "restart");
	assert_int_equal(service->last.outcome, ROLLOUT_FAILED);
	assert_false(service_has_failed(service));
}

static void test_service_that_was_stopped_while_first_starting_has_not_failed(void **state)
{
	(void)state;
	fake(1, 0)->not_healthy = true;
	order("start", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	order("stop", NULL);
	drive_until(n_ended == 1);
	assert_false(service_has_failed(service));
}

/* ---- the end -------------------------------------------------------------------------------- */

static void test_service_shutdown_of_an_idle_one_has_nothing_to_do(void **state)
{
	(void)state;
	service_shutdown(service);
	assert_true(service_is_idle(service));
	assert_true(service->shutting_down);
	assert_calls("");
	assert_int_equal(n_ended, 0);
}

static void test_service_shutdown_stops_what_serves(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	service_shutdown(service);
	service_shutdown(service); /* once is enough */
	assert_string_equal(service_run(service)->order, "stop");
	assert_int_equal(service->runs[1].id, 0);
	forget_calls();
	drive_until(service_run(service)->machine.state == ROLLOUT_DRAINING);
	assert_calls(PUBLISH_ALL "; steady 1.0 off; " PUBLISH_ALL
				 "; uncheck 1.0; leave 1.0; tap watch 1.0");
	assert_int_equal(n_ended, 1);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 2);
	assert_true(service_is_idle(service));
	assert_calls("stop 1.0; done 1.0; " UNPIN_ALL CLOSE_ALL);
}

static void test_service_shutdown_undoes_a_first_start(void **state)
{
	(void)state;
	fake(1, 0)->not_healthy = true;
	order("start", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	service_shutdown(service);
	drive_until(n_ended == 1);
	assert_true(service_is_idle(service));
	assert_string_equal(service->last.reason, "batond is shutting down");
	assert_null(strstr(calls, "publish"));
}

static void test_service_shutdown_undoes_a_rollout_then_stops(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(2, 0)->not_healthy = true;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	forget_calls();
	service_shutdown(service);
	drive_until(n_ended == 2);
	assert_int_equal(service->last.exit, 3);
	assert_false(service_is_idle(service));
	assert_string_equal(service_run(service)->order, "stop");
	drive_until(n_ended == 3);
	assert_true(service_is_idle(service));
	assert_calls("stop 2.0; done 2.0; " PUBLISH_ALL "; steady 1.0 off; " PUBLISH_ALL
		     "; uncheck 1.0; leave 1.0; tap watch 1.0; stop 1.0; done 1.0; " UNPIN_ALL
			     CLOSE_ALL);
}

static void test_service_shutdown_flips_back_what_has_shifted_then_stops(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->queued = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_SETTLING);
	service_shutdown(service);
	assert_table(0, 10, 20);
	drive_until(n_ended == 2);
	assert_int_equal(service->last.outcome, ROLLOUT_ROLLED_BACK);
	fake(1, 0)->queued = 0;
	drive_until(n_ended == 3);
	assert_true(service_is_idle(service));
	assert_int_equal(fake_instances_alive(), 0);
}

/* The old one still drains from the rollout before; it ends last. */
static void test_service_shutdown_waits_for_what_drains(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	service_shutdown(service);
	assert_string_equal(service_run(service)->order, "stop");
	assert_int_equal(service_run(service)->old->number, 2);
	drive_until(service_run(service)->machine.state >= ROLLOUT_DRAINING);
	assert_false(service_is_idle(service));
}

/* An order to stop is as good as the shutdown's own. */
static void test_service_shutdown_while_stopping_stops_once(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("stop", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	service_shutdown(service);
	assert_int_equal(service->runs[1].id, 0);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 2);
	assert_true(service_is_idle(service));
}

static void test_service_shutdown_stops_once_though_another_drain_ends_first(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = fake(2, 0)->live = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	service_shutdown(service);
	drive_until(service_run(service)->machine.state == ROLLOUT_DRAINING);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 2);
	fake(2, 0)->live = 0;
	drive_until(n_ended == 3);
	assert_true(service_is_idle(service));
}

static void test_service_kill_kills_everything(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	fake(1, 0)->cannot_stop = fake(2, 0)->cannot_stop = true;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	forget_calls();
	service_kill(service);
	assert_calls("kill 1.0; kill 2.0");
	drive_until(n_ended == 2);
	assert_int_equal(service->n_generations, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_upgrade_stays_for_the_restarts_to_come),
		TEST(test_service_failed_upgrade_is_forgotten),
		TEST(test_service_failed_upgrade_is_not_what_ran_before),
		TEST(test_service_rollback_goes_one_further_back_each_time),
		TEST(test_service_rollback_goes_to_what_served_well_again),
		TEST(test_service_rollback_never_goes_to_what_was_undone),
		TEST(test_service_rollback_never_goes_to_what_has_failed),
		TEST(test_service_restart_of_the_same_is_nothing_to_go_back_to),
		TEST(test_service_upgrade_says_that_there_is_no_way_back),
		TEST(test_service_dry_run_says_where_a_rollback_goes),
		TEST(test_service_dry_run_while_undecided_undoes_nothing),
		TEST(test_service_history_and_overrides_outlive_the_daemon),
		TEST(test_service_another_file_wins_over_overrides),
		TEST(test_service_that_is_somebody_elses_has_no_past),
		TEST(test_service_failed_rollback_can_be_tried_again),
		TEST(test_service_rollback_takes_the_configuration_of_then),
		TEST(test_service_stop_is_not_what_is_rolled_back_to),
		TEST(test_service_upgrade_stays_though_the_old_one_drains),
		TEST(test_service_rollback_goes_back_though_the_old_one_drains),
		TEST(test_service_command_is_remembered_while_it_differs),
		TEST(test_service_command_that_cannot_be_saved_counts_all_the_same),
		TEST(test_service_later_rollout_may_end_first),
		TEST(test_service_rollback_while_undecided_undoes_it),
		TEST(test_service_stop_while_first_starting_ends_it),
		TEST(test_service_rollback_at_once_starts_nothing),
		TEST(test_service_refused_start_says_why_until_it_starts),
		TEST(test_service_failed_first_start_leaves_nothing),
		TEST(test_service_has_failed_until_it_is_started_again),
		TEST(test_service_has_failed_where_its_start_was_refused),
		TEST(test_service_that_was_stopped_has_not_failed),
		TEST(test_service_that_was_stopped_has_not_failed_by_what_ends_later),
		TEST(test_service_that_was_stopped_while_first_starting_has_not_failed),
		TEST(test_service_shutdown_of_an_idle_one_has_nothing_to_do),
		TEST(test_service_shutdown_stops_what_serves),
		TEST(test_service_shutdown_undoes_a_first_start),
		TEST(test_service_shutdown_undoes_a_rollout_then_stops),
		TEST(test_service_shutdown_flips_back_what_has_shifted_then_stops),
		TEST(test_service_shutdown_waits_for_what_drains),
		TEST(test_service_shutdown_while_stopping_stops_once),
		TEST(test_service_shutdown_stops_once_though_another_drain_ends_first),
		TEST(test_service_kill_kills_everything),
	};
#undef TEST

	return cmocka_run_group_tests_name("service life", tests, NULL, NULL);
}
