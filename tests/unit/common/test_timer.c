/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "common/timer.h"
#include "common/clock.h"

#define DEADLINE_US 5000000

struct fixture {
	sd_event *event;
	struct timer timer;
	int n;
	int again;
	uint64_t delays_ms[16];
};

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct fixture *fixture = userdata;

	(void)source;
	(void)usec;
	if (fixture->n < 16)
		fixture->delays_ms[fixture->n] = fixture->timer.delay_ms;
	if (++fixture->n < fixture->again)
		timer_again(&fixture->timer, fixture->event, on_time, fixture);
	return 0;
}

static int setup(void **data)
{
	static struct fixture fixture;

	memset(&fixture, 0, sizeof(fixture));
	*data = &fixture;
	return sd_event_new(&fixture.event) < 0 ? -1 : 0;
}

static int teardown(void **data)
{
	struct fixture *fixture = *data;

	timer_done(&fixture->timer);
	timer_done(&fixture->timer);
	sd_event_unref(fixture->event);
	return 0;
}

static void test_timer_fires_once_and_not_early(void **data)
{
	struct fixture *fixture = *data;
	uint64_t at_ms = clock_monotonic_ms() + 30;

	timer_set(&fixture->timer, fixture->event, at_ms, on_time, fixture);
	assert_true(sd_event_run(fixture->event, DEADLINE_US) > 0);
	assert_true(clock_monotonic_ms() >= at_ms);
	assert_int_equal(fixture->n, 1);
	assert_int_equal(sd_event_run(fixture->event, 20000), 0);
}

static void test_timer_set_replaces_and_may_be_past(void **data)
{
	struct fixture *fixture = *data;

	timer_set(&fixture->timer, fixture->event, clock_monotonic_ms() + 1000000, on_time,
		  fixture);
	timer_set(&fixture->timer, fixture->event, clock_monotonic_ms() - 1, on_time, fixture);
	assert_true(sd_event_run(fixture->event, DEADLINE_US) > 0);
	assert_int_equal(fixture->n, 1);
	/* It can be set again after it has fired. */
	timer_set(&fixture->timer, fixture->event, clock_monotonic_ms(), on_time, fixture);
	assert_true(sd_event_run(fixture->event, DEADLINE_US) > 0);
	assert_int_equal(fixture->n, 2);
}

static void test_timer_stopped_does_not_fire(void **data)
{
	struct fixture *fixture = *data;

	timer_stop(&fixture->timer);
	timer_set(&fixture->timer, fixture->event, clock_monotonic_ms() + 5, on_time, fixture);
	assert_true(fixture->timer.active);
	timer_stop(&fixture->timer);
	assert_false(fixture->timer.active);
	assert_int_equal(sd_event_run(fixture->event, 30000), 0);
	assert_int_equal(fixture->n, 0);
}

static void test_timer_again_delays_grow_to_a_limit(void **data)
{
	static const uint64_t expected[] = {10, 20, 40, 50, 50, 50};
	struct fixture *fixture = *data;

	fixture->again = 6;
	timer_begin(&fixture->timer);
	timer_again(&fixture->timer, fixture->event, on_time, fixture);
	while (fixture->n < 6)
		assert_true(sd_event_run(fixture->event, DEADLINE_US) > 0);
	/* What comes after the delay that has just passed. */
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(fixture->delays_ms[i], expected[i]);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_timer_fires_once_and_not_early),
		TEST(test_timer_set_replaces_and_may_be_past),
		TEST(test_timer_stopped_does_not_fire),
		TEST(test_timer_again_delays_grow_to_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
