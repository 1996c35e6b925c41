/* SPDX-License-Identifier: BSD-2-Clause */
/* How a service is ended, and how drains end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

/* ---- a shutdown ----------------------------------------------------------------------------- */

static void test_service_shutdown_of_an_idle_one_has_nothing_to_do(void **state)
{
	(void)state;
	service_shutdown(service, "batond is shutting down");
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
	service_shutdown(service, "batond is shutting down");
	service_shutdown(service, "batond is shutting down"); /* once is enough */
	assert_int_equal(service_run(service)->order, RUN_ORDER_STOP);
	assert_int_equal(service->runs[1].id, 0);
	forget_calls();
	drive_until(service_run(service)->machine.state == ROLLOUT_DRAINING);
	assert_calls(PUBLISH_ALL "; steady 1.0 off; leave 1.0; " PUBLISH_ALL
				 "; uncheck 1.0; tap watch 1.0");
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
	service_shutdown(service, "batond is shutting down");
	drive_until(n_ended == 1);
	assert_true(service_is_idle(service));
	assert_string_equal(service->last.reason, "batond is shutting down");
	assert_null(strstr(calls, "publish"));
}

static void test_service_shutdown_undoes_a_rollout_then_stops(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	fake(2, 0)->not_healthy = true;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	forget_calls();
	service_shutdown(service, "batond is shutting down");
	drive_until(n_ended == 2);
	assert_int_equal(service->last.exit, 3);
	assert_false(service_is_idle(service));
	assert_int_equal(service_run(service)->order, RUN_ORDER_STOP);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 3);
	assert_true(service_is_idle(service));
	assert_calls("stop 2.0; done 2.0; " PUBLISH_ALL "; steady 1.0 off; leave 1.0; " PUBLISH_ALL
		     "; uncheck 1.0; tap watch 1.0; stop 1.0; done 1.0; " UNPIN_ALL CLOSE_ALL);
}

static void test_service_shutdown_flips_back_what_has_shifted_then_stops(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->queued = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_SETTLING);
	service_shutdown(service, "batond is shutting down");
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
	service_shutdown(service, "batond is shutting down");
	assert_int_equal(service_run(service)->order, RUN_ORDER_STOP);
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
	service_shutdown(service, "batond is shutting down");
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
	service_shutdown(service, "batond is shutting down");
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

/* ---- a shutdown at any step ----------------------------------------------------------------- */

static void set_before_start(void)
{
	assert_int_equal(vector_append(&service->config->hooks.command[HOOK_BEFORE_START],
				       strdup("/hook/before")),
			 0);
}

/* Keep a restart of @n instances at this step. */
static void hold_at(enum rollout_state at, uint32_t n)
{
	for (uint32_t k = 0; k < n; k++) {
		fake(1, k)->queued = at == ROLLOUT_SETTLING;
		fake(1, k)->live = at == ROLLOUT_DRAINING;
		fake(1, k)->cannot_leave = at == ROLLOUT_LEAVING;
		fake(1, k)->cannot_stop = at == ROLLOUT_STOPPING;
		fake(2, k)->not_listening = at == ROLLOUT_STARTING;
		fake(2, k)->not_healthy = at == ROLLOUT_VERIFYING;
	}
	if (at == ROLLOUT_PREPARING)
		set_before_start();
	service->config->rollout.bake_ms = at == ROLLOUT_BAKING ? 60000 : 0;
	if (at == ROLLOUT_DWELLING) {
		service->config->rollout.strategy = ROLLOUT_CANARY;
		service->config->rollout.n_steps = 2;
		service->config->rollout.steps[0] =
			(struct rollout_weight){.weight = 10, .dwell_ms = 60000};
		service->config->rollout.steps[1].weight = 100;
	}
	order("restart", NULL);
	drive_until(run->machine.state == at);
}

/* The instances of the first two generations do as they are told again. */
static void let_go(uint32_t n)
{
	for (uint32_t g = 1; g <= 2; g++)
		for (uint32_t k = 0; k < n; k++) {
			struct instance *i = fake(g, k)->instance;

			if (!i)
				continue;
			fake(g, k)->queued = 0;
			fake(g, k)->live = 0;
			fake(g, k)->cannot_leave = fake(g, k)->cannot_stop = false;
			if (instance_is_leaving(i))
				fake_left(g, k);
			if (i->phase == INSTANCE_STOPPING)
				fake_stopped(g, k);
		}
	changed();
}

static void shut_down_at(enum rollout_state at, uint32_t n)
{
	bool committed;

	service->instances = n;
	carry_out("start", NULL);
	hold_at(at, n);
	committed = run->machine.committed;
	/* Else all of it might end at once. */
	for (uint32_t k = 0; k < n && !committed; k++)
		fake(1, k)->live = 1;
	service_shutdown(service, "batond is shutting down");
	turn();
	/* Nothing is started any more. */
	forget_calls();
	let_go(n);
	drive_until(service_is_idle(service));
	assert_calls_of("start check", "");
	assert_int_equal(fake_instances_alive(), 0);
	assert_int_equal(fake_commands_alive(), 0);
	assert_false(service->endpoints.open);
	assert_int_equal(last_number, 2);
	if (!committed)
		assert_int_equal(service->last.order, RUN_ORDER_STOP);
}

static void test_service_shutdown_at_each_step_of_a_restart_ends_all(void **state)
{
	static const enum rollout_state steps[] = {
		ROLLOUT_PREPARING, ROLLOUT_STARTING, ROLLOUT_VERIFYING,
		ROLLOUT_DWELLING,  ROLLOUT_SETTLING, ROLLOUT_BAKING,
		ROLLOUT_LEAVING,   ROLLOUT_DRAINING, ROLLOUT_STOPPING,
	};

	for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
		if (k > 0)
			assert_int_equal(set_up(state), 0);
		print_message("at step %s\n", rollout_state_name(steps[k]));
		shut_down_at(steps[k], 2);
		if (k + 1 < sizeof(steps) / sizeof(steps[0]))
			tear_down(state);
	}
}

/* Half of the old ones have gone: they are not started again only to be stopped. */
static void test_service_shutdown_in_the_middle_of_a_rolling_one_starts_nothing(void **state)
{
	(void)state;
	service->instances = 4;
	carry_out("start", NULL);
	service->config->rollout.strategy = ROLLOUT_ROLLING;
	service->config->rollout.max_surge = 1;
	fake(2, 2)->not_healthy = true;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING &&
		    run->machine.alive[ROLLOUT_NEW] == 3);
	assert_int_equal(generation_of(1)->instances.n, 2);
	forget_calls();
	service_shutdown(service, "batond is shutting down");
	drive_until(service_is_idle(service));
	assert_calls_of("start", "");
	assert_int_equal(fake_instances_alive(), 0);
}

static void test_service_shutdown_during_a_scale_ends_all(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 1)->not_healthy = true;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	service_shutdown(service, "batond is shutting down");
	drive_until(service_is_idle(service));
	assert_int_equal(fake_instances_alive(), 0);
}

static void test_service_kill_while_draining_ends_all(void **state)
{
	(void)state;
	service->instances = 2;
	carry_out("start", NULL);
	fake(1, 0)->live = fake(1, 1)->live = 1;
	service_shutdown(service, "batond is shutting down");
	drive_until(service_run(service)->machine.state == ROLLOUT_DRAINING);
	service_kill(service);
	drive_until(service_is_idle(service));
	assert_int_equal(fake_instances_alive(), 0);
}

/* It is given up with the service, not when its own time is over. */
static void test_service_shutdown_bounds_what_drains_already(void **state)
{
	struct run *draining;
	uint64_t now_ms;

	(void)state;
	service->config->drain.timeout_ms = 3600000;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("restart", NULL);
	draining = run;
	drive_until(draining->machine.state == ROLLOUT_DRAINING);
	now_ms = clock_monotonic_ms();
	assert_true(draining->deadline_ms > now_ms + 3000000);
	service->config->drain.shutdown_timeout_ms = 1;
	service_shutdown(service, "batond is shutting down");
	assert_in_range(draining->deadline_ms, now_ms, clock_monotonic_ms() + 1);
	drive_until(service_is_idle(service));
	assert_int_equal(fake_instances_alive(), 0);
}

/* ---- the kernel's word ---------------------------------------------------------------------- */

/* The counters say that the last connection has ended: nobody waits for the next look. */
static void test_service_drain_ends_with_the_last_connection(void **state)
{
	struct tap *hooks;

	(void)state;
	carry_out("start", NULL);
	hooks = service->wiring.tap;
	assert_int_equal(tap_attach(hooks, "", 1, 0, false, &err), 0);
	fake(1, 0)->counted = true;
	fake(1, 0)->count.live = fake(1, 0)->live = 2;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	assert_true(fake_tap_find(hooks, 1, 0)->watched);
	fake(1, 0)->count.live = 0;
	fake_tap_end_all(hooks, 1, 0);
	for (int k = 0; k < 3; k++) /* a timer may be due as well */
		sd_event_run(context.event, 0);
	assert_int_equal(n_ended, 2);
}

/* One that has no connection left, but is not on its way out, is none of its business. */
static void test_service_drain_is_not_ended_by_another_one(void **state)
{
	(void)state;
	carry_out("start", NULL);
	assert_int_equal(tap_attach(service->wiring.tap, "", 2, 0, false, &err), 0);
	fake(1, 0)->counted = true;
	fake(1, 0)->count.live = fake(1, 0)->live = 2;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	service->wiring.tap->callbacks->on_zero(service->wiring.tap->userdata, 2, 0);
	sd_event_run(context.event, 0);
	assert_int_equal(run->machine.state, ROLLOUT_DRAINING);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_shutdown_of_an_idle_one_has_nothing_to_do),
		TEST(test_service_shutdown_stops_what_serves),
		TEST(test_service_shutdown_undoes_a_first_start),
		TEST(test_service_shutdown_undoes_a_rollout_then_stops),
		TEST(test_service_shutdown_flips_back_what_has_shifted_then_stops),
		TEST(test_service_shutdown_waits_for_what_drains),
		TEST(test_service_shutdown_while_stopping_stops_once),
		TEST(test_service_shutdown_stops_once_though_another_drain_ends_first),
		TEST(test_service_kill_kills_everything),
		TEST(test_service_shutdown_at_each_step_of_a_restart_ends_all),
		TEST(test_service_shutdown_in_the_middle_of_a_rolling_one_starts_nothing),
		TEST(test_service_shutdown_during_a_scale_ends_all),
		TEST(test_service_kill_while_draining_ends_all),
		TEST(test_service_shutdown_bounds_what_drains_already),
		TEST(test_service_drain_ends_with_the_last_connection),
		TEST(test_service_drain_is_not_ended_by_another_one),
	};
#undef TEST

	return cmocka_run_group_tests_name("service end", tests, NULL, NULL);
}
