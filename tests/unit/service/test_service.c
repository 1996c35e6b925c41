/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Orders: what they begin, what refuses them, and what is left behind where they fail. Their bodies
 * and their order are in test_service_orders.c.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

/* ---- what orders begin ---------------------------------------------------------------------- */

static void test_service_first_start_opens_endpoints_and_serves(void **state)
{
	(void)state;
	assert_true(service_is_idle(service));
	order("start", NULL);
	assert_calls(OPEN_ALL RESET_ALL "attach " ENDPOINT_0 "; attach " ENDPOINT_1);
	assert_int_equal(service->wiring.endpoints[1]->uid, 33);
	assert_string_equal(run->order, "start");
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
	assert_string_equal(service->last.order, "restart");
	assert_int_equal(service->last.replaces, 0);
}

static void test_service_upgrade_runs_the_command_given(void **state)
{
	(void)state;
	carry_out("start", NULL);
	order("upgrade", "{\"command\": [\"/bin/other\", \"\", \"x\"]}");
	assert_string_equal(run->order, "upgrade");
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

static void test_service_stop_ends_the_generation_and_closes(void **state)
{
	(void)state;
	carry_out("start", NULL);
	forget_calls();
	carry_out("stop", NULL);
	assert_calls(PUBLISH_ALL
		     "; steady 1.0 off; " PUBLISH_ALL
		     "; uncheck 1.0; leave 1.0; tap watch 1.0; stop 1.0; done 1.0; " UNPIN_ALL
			     CLOSE_ALL);
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

/* ---- what refuses them ---------------------------------------------------------------------- */

static void test_service_orders_that_make_no_sense_are_refused(void **state)
{
	(void)state;
	refused("stop", NULL);
	assert_refused(409, 1, "Not running", "it is stopped already");
	refused("rollback", NULL);
	assert_refused(409, 1, "Nothing to roll back to",
		       "no earlier release that has served well is known");
	carry_out("start", NULL);
	refused("start", NULL);
	assert_refused(409, 1, "Already running",
		       "generation 1 is running already (restart replaces it)");
	refused("rollback", NULL);
	assert_int_equal(refusal_info(refusal.kind)->http_status, 409);
}

static void assert_busy(const char *begin)
{
	static const char *const orders[] = {"restart", "upgrade", "start"};

	for (size_t k = 0; k < sizeof(orders) / sizeof(orders[0]); k++) {
		static const char *const end =
			" s; \"baton abort\" undoes it, --supersede takes its place";
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

static void test_service_shutting_down_takes_no_orders(void **state)
{
	static const char *const orders[] = {"restart", "upgrade", "rollback", "start",
					     "stop",    "promote", "abort",    "reopen"};

	(void)state;
	service_shutdown(service);
	refused("scale", "{\"instances\": 2}");
	assert_refused(503, 1, "Shutting down", "batond is shutting down");
	for (size_t k = 0; k < sizeof(orders) / sizeof(orders[0]); k++) {
		refused(orders[k], NULL);
		assert_refused(503, 1, "Shutting down", "batond is shutting down");
	}
}

/* ---- failures ------------------------------------------------------------------------------- */

static void assert_nothing_left(void)
{
	assert_true(service_is_idle(service));
	assert_false(service->endpoints.open);
	assert_int_equal(fake_steers_open, 0);
	assert_int_equal(fake_instances_alive(), 0);
	assert_null(service_run(service));
	assert_null(service->current);
}

static void test_service_command_that_is_not_there_touches_nothing(void **state)
{
	(void)state;
	refused("upgrade", "{\"command\": [\"/none\"]}");
	assert_refused(422, 3, "The new generation cannot start",
		       "command: \"/none\": No such file or directory");
	assert_calls("");
	assert_int_equal(last_number, 0);
	assert_nothing_left();
}

static void test_service_endpoints_that_cannot_be_had_are_all_closed(void **state)
{
	static const struct {
		const char *function, *address, *detail;
	} cases[] = {
		{"bpffs_make", "tcp-127_0_0_1-80", "bpffs_make tcp-127_0_0_1-80: "},
		{"bpffs_make", "tcp---1-81", "bpffs_make tcp---1-81: "},
		{"steer_open", ENDPOINT_0, "steer_open " ENDPOINT_0 ": "},
		{"steer_open", ENDPOINT_1, "steer_open " ENDPOINT_1 ": "},
		{"steer_reset", ENDPOINT_0, "steer_reset " ENDPOINT_0 ": "},
		{"steer_reset", ENDPOINT_1, "steer_reset " ENDPOINT_1 ": "},
		{"steer_attach", ENDPOINT_0, "steer_attach " ENDPOINT_0 ": "},
		{"steer_attach", ENDPOINT_1, "steer_attach " ENDPOINT_1 ": "},
	};

	(void)state;
	fake_steer_failure.code = -EIO;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		char detail[128];

		fake_steer_failure.function = cases[k].function;
		fake_steer_failure.address = cases[k].address;
		snprintf(detail, sizeof(detail), "%sInput/output error", cases[k].detail);
		refused("start", NULL);
		assert_refused(500, 1, "Cannot start", detail);
		assert_nothing_left();
	}
	assert_int_equal(last_number, 0);
	fake_steer_failure.function = NULL;
	carry_out("start", NULL);
	assert_int_equal(service->current->number, 1);
}

/* Somebody else is there: that is for the user to settle, not an accident. */
static void test_service_endpoint_that_is_taken_is_a_conflict(void **state)
{
	(void)state;
	fake_steer_failure.function = "steer_attach";
	fake_steer_failure.code = -EADDRINUSE;
	refused("start", NULL);
	assert_refused(409, 1, "Cannot start",
		       "steer_attach " ENDPOINT_0 ": Address already in use");
	assert_nothing_left();
	fake_steer_failure.function = NULL;
	gone_error = -EBUSY;
	forget_calls();
	refused("start", NULL);
	assert_refused(409, 1, "Cannot start", "web.1.0.sock: Device or resource busy");
	assert_calls("");
	assert_nothing_left();
}

static void test_service_without_a_number_leaves_nothing(void **state)
{
	(void)state;
	state_error = -ENOSPC;
	refused("start", NULL);
	assert_refused(500, 1, "Cannot start", "state.json: No space left on device");
	assert_nothing_left();
}

static void test_service_without_a_number_keeps_what_runs(void **state)
{
	(void)state;
	carry_out("start", NULL);
	state_error = -ENOSPC;
	forget_calls();
	refused("restart", NULL);
	assert_refused(500, 1, "Cannot start", "state.json: No space left on device");
	assert_calls("");
	assert_true(service->endpoints.open);
	assert_int_equal(service->current->number, 1);
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

/* ---- events --------------------------------------------------------------------------------- */

static void test_service_notes_of_instances_become_events(void **state)
{
	const struct instance *i;

	(void)state;
	carry_out("start", NULL);
	i = fake_there(1, 0);
	i->callbacks->on_note(i->userdata, EVENT_EXITED, "instance 0 exited with status 9");
	assert_event("exited", "message", "instance 0 exited with status 9");
	assert_event("exited", "service", "web");
}

static void test_service_note_is_an_event_with_a_message(void **state)
{
	(void)state;
	service_note(service, EVENT_RESTORED, "all %u instances are well", 3);
	assert_event("restored", "message", "all 3 instances are well");
	assert_int_equal(events_last(events), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_first_start_opens_endpoints_and_serves),
		TEST(test_service_restart_resolves_and_replaces),
		TEST(test_service_restart_while_stopped_starts),
		TEST(test_service_upgrade_runs_the_command_given),
		TEST(test_service_upgrade_without_command_runs_the_configured),
		TEST(test_service_stop_ends_the_generation_and_closes),
		TEST(test_service_stop_that_cannot_be_published_ends_all_the_same),
		TEST(test_service_orders_that_make_no_sense_are_refused),
		TEST(test_service_busy_names_the_rollout_under_way),
		TEST(test_service_stopping_is_busy),
		TEST(test_service_undone_rollout_is_not_busy),
		TEST(test_service_draining_is_not_busy),
		TEST(test_service_too_many_generations_are_refused),
		TEST(test_service_shutting_down_takes_no_orders),
		TEST(test_service_command_that_is_not_there_touches_nothing),
		TEST(test_service_endpoints_that_cannot_be_had_are_all_closed),
		TEST(test_service_endpoint_that_is_taken_is_a_conflict),
		TEST(test_service_without_a_number_leaves_nothing),
		TEST(test_service_without_a_number_keeps_what_runs),
		TEST(test_service_rollback_without_memory_is_refused),
		TEST(test_service_notes_of_instances_become_events),
		TEST(test_service_note_is_an_event_with_a_message),
	};
#undef TEST

	return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}
