/* SPDX-License-Identifier: BSD-2-Clause */
/* Orders that wait until fewer services are starting servers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

static struct waiting_line line;
static struct turn other; /* of another service */

static void ignore(void *userdata)
{
	(void)userdata;
}

/* One place, which another service has taken. */
static int set_up_busy(void **state)
{
	int r = set_up(state);

	line = (struct waiting_line){.max = 1};
	other = (struct turn){.on_turn = ignore};
	waiting_line_ask(&line, &other);
	assert_true(waiting_line_take(&line, &other));
	context.line = &line;
	return r;
}

static void make_free(void)
{
	waiting_line_end(&line, &other);
}

/* It runs, and another service has taken the only place. */
static void run_busy(void)
{
	make_free();
	carry_out("start", NULL);
	assert_int_equal(line.taken, 0);
	waiting_line_ask(&line, &other);
	assert_true(waiting_line_take(&line, &other));
}

static void assert_waits(const char *order)
{
	turn();
	assert_true(service_waits_for_turn(service));
	assert_null(service_undecided_run(service));
	assert_true(service->queue.next.used);
	assert_string_equal(order_info(service->queue.next.order.type)->name, order);
}

static void assert_nothing_waits(void)
{
	turn();
	assert_false(service_waits_for_turn(service));
	assert_false(service->queue.next.used);
	assert_false(service->queue.has_own);
	assert_null(line.first);
	assert_int_equal(service->turn.number, 0);
}

static void test_service_first_start_waits_for_its_turn(void **state)
{
	(void)state;
	give("start", NULL);
	assert_null(run);
	assert_int_equal(answer.queued, 1);
	assert_string_equal(answer.note, "waits: 1 of 1 rollouts are under way");
	assert_waits("start");
	assert_false(service->settled);
	assert_int_equal(kept_underway.n, 1);
	make_free();
	drive_until(n_ended == 1);
	assert_int_equal(service->last.id, 1);
	assert_int_equal(service->last.outcome, ROLLOUT_DONE);
	assert_int_equal(line.taken, 0);
	assert_nothing_waits();
}

/* Nobody has heard yet that it cannot start: it must not seem that it is about to. */
static void test_service_first_start_that_is_refused_in_its_turn_has_failed(void **state)
{
	(void)state;
	give("start", NULL);
	assert_waits("start");
	fake_steer_failure.function = "steer_open";
	fake_steer_failure.code = -EACCES;
	make_free();
	turn();
	assert_int_equal(n_ended, 1);
	assert_true(service->settled);
	assert_true(service_has_failed(service));
	assert_non_null(strstr(service->refusal, "Permission denied"));
	assert_int_equal(line.taken, 0);
	assert_nothing_waits();
	assert_event("failed", "order", "start");
}

/* ... and is tried again, where that may help. */
static void test_service_first_start_in_its_turn_is_tried_again(void **state)
{
	(void)state;
	give("start", NULL);
	fake_steer_failure.function = "steer_open";
	fake_steer_failure.address = ENDPOINT_0;
	fake_steer_failure.code = -EADDRINUSE;
	fake_occupants.lingers = true;
	make_free();
	turn();
	assert_true(service_retries(service));
	assert_false(service->settled);
	fake_steer_failure.function = NULL;
	drive_until(service->current != NULL);
	assert_true(service->settled);
	drive_until(n_ended == 2);
	assert_nothing_waits();
}

static void test_service_restart_waits_for_its_turn(void **state)
{
	(void)state;
	run_busy();
	give("restart", NULL);
	assert_int_equal(answer.queued, 2);
	assert_waits("restart");
	make_free();
	drive_until(n_ended == 2);
	assert_int_equal(service->current->number, 2);
	assert_nothing_waits();
}

/* It is another service's again when nothing of the rollout can be undone any more. */
static void test_service_turn_ends_before_the_drain(void **state)
{
	(void)state;
	run_busy();
	make_free();
	order("restart", NULL);
	assert_int_equal(line.taken, 1);
	fake(1, 0)->live = 1;
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	turn();
	assert_int_equal(line.taken, 0);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 2);
}

static void test_service_turn_ends_while_it_bakes(void **state)
{
	(void)state;
	service->config->rollout.bake_ms = 60000;
	run_busy();
	make_free();
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	turn();
	assert_int_equal(line.taken, 0);
	give("promote", NULL);
	drive_until(n_ended == 2);
	assert_int_equal(line.taken, 0);
}

static void test_service_turn_of_a_failed_rollout_ends(void **state)
{
	(void)state;
	run_busy();
	make_free();
	order("restart", NULL);
	assert_int_equal(line.taken, 1);
	give("abort", NULL);
	drive_until(n_ended == 2);
	assert_int_equal(line.taken, 0);
	assert_nothing_waits();
}

static void test_service_order_that_is_refused_takes_no_turn(void **state)
{
	(void)state;
	make_free();
	refused("upgrade", "{\"command\": [\"/none\"]}");
	assert_int_equal(line.taken, 0);
	assert_nothing_waits();
	/* ... nor does it wait for one. */
	waiting_line_ask(&line, &other);
	assert_true(waiting_line_take(&line, &other));
	refused("upgrade", "{\"command\": [\"/none\"]}");
	assert_nothing_waits();
}

static void test_service_abort_calls_off_what_waits(void **state)
{
	json_t *event;

	(void)state;
	run_busy();
	give("restart", NULL);
	give("abort", NULL);
	assert_string_equal(answer.message,
			    "rollout 2 (restart), which waited for its turn, is called off");
	assert_nothing_waits();
	event = newest_event("failed");
	assert_int_equal(json_integer_value(json_object_get(event, "rollout")), 2);
	assert_int_equal(json_integer_value(json_object_get(event, "exit")), 3);
	assert_string_equal(json_string_value(json_object_get(event, "reason")),
			    "aborted by request, before it had begun");
	json_decref(event);
	assert_int_equal(service->current->number, 1);
	make_free();
	turn();
	assert_int_equal(service->n_generations, 1);
	refused("abort", NULL);
}

static void test_service_rollback_calls_off_what_waits(void **state)
{
	(void)state;
	run_busy();
	give("upgrade", "{\"command\": [\"/bin/v2\"]}");
	give("rollback", "{\"dry_run\": true}");
	assert_string_equal(answer.message,
			    "rollback would call off rollout 2 (upgrade), which waits for its "
			    "turn");
	assert_waits("upgrade");
	give("rollback", NULL);
	assert_null(run);
	assert_nothing_waits();
	assert_event("failed", "reason", "rolled back by request, before it had begun");
}

static void test_service_stop_of_a_first_start_that_waits_calls_it_off(void **state)
{
	(void)state;
	give("start", NULL);
	give("stop", NULL);
	assert_nothing_waits();
	assert_true(service->stopped && service->settled);
	assert_int_equal(n_ended, 1);
	assert_true(service_is_idle(service));
	make_free();
	carry_out("start", NULL);
}

static void test_service_stop_does_not_wait(void **state)
{
	(void)state;
	run_busy();
	give("restart", NULL);
	carry_out("stop", NULL);
	assert_null(service->current);
	assert_nothing_waits();
	assert_event("failed", "message", "another order has taken its place");
}

static void test_service_rollback_does_not_wait(void **state)
{
	(void)state;
	make_free();
	carry_out("start", NULL);
	upgrade_to("/bin/v2");
	waiting_line_ask(&line, &other);
	assert_true(waiting_line_take(&line, &other));
	carry_out("rollback", NULL);
	assert_string_equal(current_program(), "/bin/web");
	assert_int_equal(line.taken, 1);
}

static void test_service_healing_does_not_wait(void **state)
{
	(void)state;
	run_busy();
	give("restart", NULL);
	service->config->restart.delay_ms = 0;
	fake(1, 0)->unhealthy = true;
	changed();
	drive_until(n_ended == 2);
	assert_int_equal(service->last.order, RUN_ORDER_REPLACE);
	assert_waits("restart");
	make_free();
	drive_until(n_ended == 3);
}

static void test_service_scale_waits_if_it_starts_something(void **state)
{
	(void)state;
	service->instances = 2;
	run_busy();
	give("scale", "{\"instances\": 3}");
	assert_waits("scale");
	make_free();
	drive_until(n_ended == 2);
	assert_int_equal(service->current->instances.n, 3);
	waiting_line_ask(&line, &other);
	assert_true(waiting_line_take(&line, &other));
	carry_out("scale", "{\"instances\": 1}");
	assert_int_equal(service->current->instances.n, 1);
}

static void test_service_further_order_is_refused_while_one_waits(void **state)
{
	(void)state;
	run_busy();
	give("restart", NULL);
	refused("upgrade", "{\"command\": [\"/bin/v2\"]}");
	assert_refused(409, 6, "Busy",
		       "rollout 2 (restart) waits: 1 of 1 rollouts are under way; \"baton abort "
		       "web\" calls it off, --supersede takes its place");
	assert_waits("restart");
}

static void test_service_supersede_takes_the_place_in_the_line(void **state)
{
	struct turn later = {.on_turn = ignore};

	(void)state;
	run_busy();
	give("restart", NULL);
	waiting_line_ask(&line, &later);
	assert_false(waiting_line_take(&line, &later));
	give("upgrade", "{\"command\": [\"/bin/v2\"], \"supersede\": true}");
	assert_int_equal(answer.queued, 3);
	assert_waits("upgrade");
	assert_event("failed", "message", "another order has taken its place");
	make_free();
	drive_until(n_ended == 2);
	assert_string_equal(current_program(), "/bin/v2");
	assert_true(waiting_line_take(&line, &later));
	waiting_line_end(&line, &later);
}

/* A reload's, or a watched path's. */
static void test_service_own_order_waits_for_its_turn(void **state)
{
	(void)state;
	run_busy();
	assert_int_equal(service_order_now(service, SERVICE_ORDER_RESTART, &answer, &refusal), 1);
	assert_string_equal(answer.message, "waits: 1 of 1 rollouts are under way");
	turn();
	assert_own("restart");
	assert_true(service_waits_for_turn(service));
	make_free();
	drive_until(n_ended == 2);
	assert_int_equal(service->current->number, 2);
	assert_nothing_waits();
}

static void test_service_own_order_that_waits_can_be_called_off(void **state)
{
	(void)state;
	run_busy();
	assert_int_equal(service_order_now(service, SERVICE_ORDER_RESTART, &answer, &refusal), 1);
	give("abort", NULL);
	assert_string_equal(answer.message, "the restart that waited for its turn is called off");
	assert_nothing_waits();
}

/* What waits for something else does not keep others from their turn. */
static void test_service_that_waits_for_something_else_lets_others_pass(void **state)
{
	struct turn later = {.on_turn = ignore};

	(void)state;
	service->config->drain.generations_max = 1;
	run_busy();
	order_later("restart");
	turn();
	assert_ptr_equal(line.first, NULL);
	waiting_line_ask(&line, &later);
	assert_false(waiting_line_take(&line, &later));
	make_free();
	assert_true(waiting_line_take(&line, &later));
	waiting_line_end(&line, &later);
	service->queue.has_own = false;
}

static void test_service_that_ends_waits_no_more(void **state)
{
	(void)state;
	run_busy();
	give("restart", NULL);
	service_shutdown(service, "batond is shutting down");
	drive_until(service_is_idle(service));
	assert_nothing_waits();
	assert_event("failed", "reason", "batond is shutting down");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_busy, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_first_start_waits_for_its_turn),
		TEST(test_service_first_start_that_is_refused_in_its_turn_has_failed),
		TEST(test_service_first_start_in_its_turn_is_tried_again),
		TEST(test_service_restart_waits_for_its_turn),
		TEST(test_service_turn_ends_before_the_drain),
		TEST(test_service_turn_ends_while_it_bakes),
		TEST(test_service_turn_of_a_failed_rollout_ends),
		TEST(test_service_order_that_is_refused_takes_no_turn),
		TEST(test_service_abort_calls_off_what_waits),
		TEST(test_service_rollback_calls_off_what_waits),
		TEST(test_service_stop_of_a_first_start_that_waits_calls_it_off),
		TEST(test_service_stop_does_not_wait),
		TEST(test_service_rollback_does_not_wait),
		TEST(test_service_healing_does_not_wait),
		TEST(test_service_scale_waits_if_it_starts_something),
		TEST(test_service_further_order_is_refused_while_one_waits),
		TEST(test_service_supersede_takes_the_place_in_the_line),
		TEST(test_service_own_order_waits_for_its_turn),
		TEST(test_service_own_order_that_waits_can_be_called_off),
		TEST(test_service_that_waits_for_something_else_lets_others_pass),
		TEST(test_service_that_ends_waits_no_more),
	};
#undef TEST

	return cmocka_run_group_tests_name("service turn", tests, NULL, NULL);
}
