/* SPDX-License-Identifier: BSD-2-Clause */
/* When nothing is replaced; and how orders and replacing get along. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/heal_fixture.h"

/* ---- when it is not ------------------------------------------------------------------------- */

static void test_service_does_not_heal_during_a_rollout(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 5);
	restart_until_verify(2);
	fall_ill(1);
	look();
	assert_int_equal(service->healing.at_ms, 0);
	assert_int_equal(service->healing.restarts.n, 0);
	/* But it is told, and out of the table. */
	assert_int_equal(count_events("unhealthy"), 1);
	assert_int_equal(buckets_of(0, 1, 1), 0);
	/* Afterwards, where it is still there. */
	order("abort", NULL);
	drive_until(n_ended == 3);
	assert_int_equal(service->last.order, RUN_ORDER_REPLACE);
	assert_null(fake(1, 1)->instance);
}

static void test_service_does_not_heal_what_is_being_stopped(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 5);
	fake(1, 0)->live = 1;
	order("stop", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	fake_phase(1, 1, INSTANCE_FAILED);
	look();
	assert_int_equal(service->healing.at_ms, 0);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 2);
	assert_int_equal(service->healing.restarts.n, 0);
	assert_null(newest_event("replacing"));
}

static void test_service_does_not_heal_what_is_shutting_down(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(600000, 5);
	fall_ill(1);
	look();
	fake(1, 0)->live = 1;
	service_shutdown(service);
	service->healing.at_ms = 1;
	fall_ill(0);
	look();
	assert_null(newest_event("replacing"));
	assert_int_equal(count_events("unhealthy"), 1); /* what is on its way out is no news */
	assert_int_equal(service_run(service)->order, RUN_ORDER_STOP);
	fake(1, 0)->live = 0;
	drive_until(service_is_idle(service));
}

static void test_service_shutdown_undoes_a_replacement(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 5);
	fake(1, 2)->not_healthy = true;
	fall_ill(1);
	changed();
	drive_until(service_run(service) &&
		    service_run(service)->machine.state == ROLLOUT_VERIFYING);
	service_shutdown(service);
	drive_until(service_is_idle(service));
	assert_int_equal(fake_instances_alive(), 0);
}

/* Those that a later rollout still sees off are not missed. */
static void test_service_does_not_replace_what_goes(void **state)
{
	(void)state;
	start_instances(3);
	heal_after(1, 5);
	fake(1, 2)->live = 1;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	fake(1, 2)->unhealthy = true;
	look();
	assert_int_equal(service->healing.at_ms, 0);
	assert_null(newest_event("replacing"));
}

/* ---- and orders ----------------------------------------------------------------------------- */

static struct run *replacement_until_verify(void)
{
	start_instances(2);
	heal_after(1, 5);
	fake(1, 2)->not_healthy = true;
	fall_ill(1);
	changed();
	drive_until(service_run(service) &&
		    service_run(service)->machine.state == ROLLOUT_VERIFYING);
	assert_replacing(true);
	return service_run(service);
}

/* Nobody has asked for it: whoever asks for something is not told to wait. */
static void test_service_order_takes_the_place_of_a_replacement(void **state)
{
	struct run *replacement;

	(void)state;
	replacement = replacement_until_verify();
	order("restart", NULL);
	assert_ptr_not_equal(run, replacement);
	assert_int_equal(answer.supersedes, 0);
	assert_null(newest_event("superseded"));
	assert_string_equal(replacement->reason, "superseded by restart");
	drive_until(n_ended == 3);
	assert_int_equal(service->current->number, 2);
	assert_int_equal(service->current->instances.n, 2);
	assert_int_equal(service->n_generations, 1);
	assert_int_equal(fake_instances_alive(), 2);
}

static void test_service_stop_takes_the_place_of_a_replacement(void **state)
{
	(void)state;
	replacement_until_verify();
	order("stop", NULL);
	drive_until(service_is_idle(service));
	assert_int_equal(fake_instances_alive(), 0);
}

static void test_service_scale_takes_the_place_of_a_replacement(void **state)
{
	(void)state;
	replacement_until_verify();
	order("scale", "{\"instances\": 1}");
	drive_until(n_ended == 3);
	assert_int_equal(service->current->instances.n, 1);
	assert_table(0, 10, STEER_NO_SLOT);
}

/* Past its shift the sick one has to be named again first. */
static void test_service_order_waits_for_a_replacement_that_is_undone(void **state)
{
	(void)state;
	start_instances(1);
	heal_after(1, 5);
	fake(1, 0)->queued = 1;
	fall_ill(0);
	changed();
	drive_until(service_run(service) &&
		    service_run(service)->machine.state == ROLLOUT_SETTLING);
	fake(1, 1)->queued = 1;
	give("restart", NULL);
	assert_null(run);
	assert_true(answer.queued > 0);
	assert_int_equal(answer.supersedes, 0);
	fake(1, 0)->queued = fake(1, 1)->queued = 0;
	drive_until(n_ended == 3);
	assert_int_equal(service->current->number, 2);
	assert_int_equal(service->last.id, answer.queued);
}

/* What is wanted is the next generation, not the repair of this one. */
static void test_service_does_not_heal_before_a_queued_order(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(600000, 5);
	fall_ill(1);
	look();
	service->healing.at_ms = 1;
	order_later("restart");
	drive_until(n_ended == 2);
	assert_int_equal(service->last.order, RUN_ORDER_RESTART);
	assert_null(newest_event("replacing"));
}

/* That may take as long as connections do. */
static void test_service_heals_while_a_queued_order_waits_for_room(void **state)
{
	(void)state;
	start_instances(2);
	queue_without_room("restart", "{\"supersede\": true}");
	heal_after(1, 5);
	fake_fail(1, 1, "exited with status 9");
	changed();
	drive_until(n_ended == 2);
	assert_int_equal(service->last.order, RUN_ORDER_REPLACE);
	assert_null(fake(1, 1)->instance);
	assert_int_equal(service->current->number, 1);
	assert_true(service->queue.next.used);
	/* Its turn comes. */
	fake_stopped(2, 0);
	fake_stopped(2, 1);
	changed();
	drive_until(service->current->number == 3);
	drive_until(n_ended == 4);
	assert_int_equal(service->last.id, answer.queued);
}

/* What was queued does nothing: nobody else would look again. */
static void test_service_heals_after_a_queued_order_with_nothing_to_do(void **state)
{
	(void)state;
	service->config->rollout.bake_ms = 60000;
	start_instances(2);
	order("upgrade", "{\"command\": [\"/bin/v2\"]}");
	drive_until(run->machine.state == ROLLOUT_BAKING);
	fake(2, 0)->live = 1; /* so that nothing else ends after it */
	heal_after(600000, 5);
	fall_ill(1);
	give("upgrade", "{\"command\": [\"/bin/web\"], \"supersede\": true}");
	assert_true(answer.queued > 0);
	drive_until(!service->queue.next.used);
	turn();
	assert_true(service->healing.at_ms > 0);
	fake(2, 0)->live = 0;
	drive_until(n_ended == 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_does_not_heal_during_a_rollout),
		TEST(test_service_does_not_heal_what_is_being_stopped),
		TEST(test_service_does_not_heal_what_is_shutting_down),
		TEST(test_service_shutdown_undoes_a_replacement),
		TEST(test_service_does_not_replace_what_goes),
		TEST(test_service_order_takes_the_place_of_a_replacement),
		TEST(test_service_stop_takes_the_place_of_a_replacement),
		TEST(test_service_scale_takes_the_place_of_a_replacement),
		TEST(test_service_order_waits_for_a_replacement_that_is_undone),
		TEST(test_service_does_not_heal_before_a_queued_order),
		TEST(test_service_heals_while_a_queued_order_waits_for_room),
		TEST(test_service_heals_after_a_queued_order_with_nothing_to_do),
	};
#undef TEST

	return cmocka_run_group_tests_name("service heal orders", tests, NULL, NULL);
}
