/* SPDX-License-Identifier: BSD-2-Clause */
/* A service goes from a specific address to a wildcard that has it, and back. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/takeover_fixture.h"
#include "tests/unit/service/publish_fixture.h"

#define WIDE "0.0.0.0:80"

static size_t place_of(const char *text)
{
	struct address address;

	assert_int_equal(address_parse(text, &address, NULL), 0);
	return wiring_place(&service->wiring, &address);
}

/* WIDE, ENDPOINT_1: WIDE comes in the place of ENDPOINT_0, which it has in it. */
static struct service_config *wider(void)
{
	struct service_config *config = make_config("/bin/web", ENDPOINT_0);

	assert_int_equal(address_parse(WIDE, &config->listen[0], NULL), 0);
	return config;
}

static void begin_wider(void)
{
	const char *order_after;

	assert_int_equal(reconfigure(wider(), &order_after, &err), 0);
	assert_string_equal(order_after, "restart");
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
}

/* Of what ENDPOINT_0 and WIDE compete for, this much goes to WIDE; the rest stays. */
static void assert_share(uint32_t expected)
{
	const struct steer *wide = service->wiring.endpoints[place_of(WIDE)];

	assert_true(n_fake_crossings > 0);
	for (size_t k = 0; k < n_fake_crossings; k++)
		if (fake_crossings[k].second == wide)
			assert_int_equal(fake_crossings[k].share, expected);
		else if (fake_crossings[k].first == wide)
			assert_int_equal(fake_crossings[k].share, CROSS_ALL - expected);
}

static void start_on_trial(void)
{
	carry_out("start", NULL);
	fake(2, 0)->not_healthy = true;
	fake(2, 0)->sticky = true;
}

static void test_service_crossing_is_done_at_the_shift(void **state)
{
	(void)state;
	start_on_trial();
	begin_wider();
	assert_int_equal(service->wiring.endpoints[place_of(WIDE)]->n_beside, 1);
	publish();
	assert_share(0);
	fake(2, 0)->not_healthy = false;
	fake(1, 0)->queued = 1;
	look();
	drive_until(run->machine.state == ROLLOUT_SETTLING);
	assert_share(CROSS_ALL);
	/* What is queued at the old ones is theirs, and what still finds them; nothing is meant to.
	 */
	assert_table(place_of(ENDPOINT_0), 10, STEER_NO_SLOT);
	assert_int_equal(service->generations[0]->instances.list[0]->aimed, 0);
	assert_int_equal(service->generations[1]->instances.list[0]->aimed, STEER_BUCKETS);
	fake(1, 0)->queued = 0;
	drive_until(service->n_generations == 1);
	assert_int_equal(place_of(ENDPOINT_0), WIRING_MAX);
}

static void test_service_crossing_is_undone_with_the_rollout(void **state)
{
	(void)state;
	service->config->rollout.bake_ms = 60000;
	start_on_trial();
	service->config->rollout.bake_ms = 60000;
	begin_wider();
	run->machine.policy.bake_ms = 60000;
	fake(2, 0)->not_healthy = false;
	look();
	drive_until(run->machine.state == ROLLOUT_BAKING);
	assert_share(CROSS_ALL);
	order("abort", NULL);
	drive_until(service->generations[0]->instances.list[0]->role == INSTANCE_IN &&
		    fake_crossings[0].share % CROSS_ALL == 0);
	drive_until(service->n_generations == 1);
	assert_int_equal(service->current->number, 1);
}

/* It listens until it ends: whatever chose between the two would be missed before. */
static void test_service_crossing_outlives_a_server_that_was_only_told_to_stop(void **state)
{
	(void)state;
	start_on_trial();
	fake(2, 0)->cannot_stop = true;
	begin_wider();
	order("abort", NULL);
	drive_until(fake_there(2, 0)->phase == INSTANCE_STOPPING);
	turn();
	assert_true(place_of(WIDE) < WIRING_MAX);
	fake_stopped(2, 0);
	look();
	drive_until(service->n_generations == 1);
	assert_int_equal(place_of(WIDE), WIRING_MAX);
}

static void assert_not_possible(const char *why)
{
	const char *order_after;

	assert_int_equal(reconfigure(wider(), &order_after, &err), -EBUSY);
	assert_non_null(strstr(err.text, WIDE " overlaps with " ENDPOINT_0 ", which is served"));
	assert_non_null(strstr(err.text, why));
	assert_int_equal(service->n_generations, 1);
	assert_int_equal(place_of(WIDE), WIRING_MAX);
}

static void test_service_crossing_is_refused_on_tiers_that_cannot(void **state)
{
	(void)state;
	context.tiers.list[STEER_EBPF].works = false;
	carry_out("start", NULL);
	assert_not_possible("on tier cbpf no connection moves");
	carry_out("stop", NULL);
	context.tiers.list[STEER_CBPF].works = false;
	carry_out("start", NULL);
	assert_not_possible("on tier hash no connection moves");
}

static void test_service_crossing_is_refused_if_the_kernel_cannot(void **state)
{
	(void)state;
	start_on_trial();
	fake_steer_failure.function = "steer_try_crossing";
	fake_steer_failure.code = -EINVAL;
	assert_not_possible("steer_try_crossing");
	fake_steer_failure.function = NULL;
	begin_wider();
}

/* The one that gets nothing any more keeps its table until the other one has its share. */
static void test_service_crossing_that_is_taken_over_is_published_in_its_order(void **state)
{
	struct service_config *wide = wider();
	const char *gets, *loses;

	(void)state;
	find_agent(3, AGENT_RUNNING, true);
	find_agent(4, AGENT_RUNNING, false);
	agents[1].spec.listen = wide->listen;
	named_before(4, 0);
	forget_calls();
	assert_int_equal(adopt(), 1);
	gets = strstr(calls, "publish " ENDPOINT_0);
	loses = strstr(calls, "publish " WIDE);
	assert_true(gets && loses && gets < strstr(calls, "share ") &&
		    strstr(calls, "share ") < loses);
	drive_until(service->n_generations == 1);
	service_config_free(wide);
}

static void test_service_crossing_is_taken_over(void **state)
{
	struct service_config *wide = wider();

	(void)state;
	find_agent(3, AGENT_RUNNING, true);
	find_agent(4, AGENT_RUNNING, false);
	agents[1].spec.listen = wide->listen;
	named_before(3, 0);
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 3);
	assert_int_equal(service->wiring.endpoints[place_of(WIDE)]->n_beside, 1);
	assert_share(0);
	drive_until(service->n_generations == 1);
	service_config_free(wide);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_adoption, tear_down)
		TEST(test_service_crossing_is_done_at_the_shift),
		TEST(test_service_crossing_is_undone_with_the_rollout),
		TEST(test_service_crossing_outlives_a_server_that_was_only_told_to_stop),
		TEST(test_service_crossing_is_refused_on_tiers_that_cannot),
		TEST(test_service_crossing_is_refused_if_the_kernel_cannot),
		TEST(test_service_crossing_that_is_taken_over_is_published_in_its_order),
		TEST(test_service_crossing_is_taken_over),
	};

	return cmocka_run_group_tests_name("service_crossing", tests, NULL, NULL);
}
