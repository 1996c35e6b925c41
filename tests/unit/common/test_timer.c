/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "common/clock.h"
#include "common/timer.h"

#define DEADLINE_US 5000000

struct fixture {
	sd_event *event;
	struct timer timer;
	int n;
	bool was_set; /* when the handler was called */
};

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct fixture *fixture = userdata;

	(void)source;
	(void)usec;
	fixture->n++;
	fixture->was_set = timer_is_set(&fixture->timer);
	return 0;
}

static int on_time_set_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct fixture *fixture = userdata;

	timer_set(&fixture->timer, fixture->event, clock_monotonic_ms() + 5, on_time, fixture);
	return on_time(source, usec, fixture);
}

static int on_time_end(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct fixture *fixture = userdata;

	(void)source;
	(void)usec;
	timer_done(&fixture->timer);
	memset(&fixture->timer, 0xa5, sizeof(fixture->timer));
	fixture->n++;
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
	assert_true(timer_is_set(&fixture->timer));
	timer_stop(&fixture->timer);
	assert_false(timer_is_set(&fixture->timer));
	assert_int_equal(sd_event_run(fixture->event, 30000), 0);
	assert_int_equal(fixture->n, 0);
}

static void test_timer_that_fires_is_not_set(void **data)
{
	struct fixture *fixture = *data;

	assert_false(timer_is_set(&fixture->timer));
	timer_set(&fixture->timer, fixture->event, clock_monotonic_ms(), on_time, fixture);
	assert_true(timer_is_set(&fixture->timer));
	assert_true(sd_event_run(fixture->event, DEADLINE_US) > 0);
	assert_int_equal(fixture->n, 1);
	assert_false(fixture->was_set);
	assert_false(timer_is_set(&fixture->timer));
}

static void test_timer_handler_may_set_it_again(void **data)
{
	struct fixture *fixture = *data;

	timer_set(&fixture->timer, fixture->event, clock_monotonic_ms(), on_time_set_again,
		  fixture);
	assert_true(sd_event_run(fixture->event, DEADLINE_US) > 0);
	assert_true(fixture->was_set);
	assert_true(timer_is_set(&fixture->timer));
	assert_true(sd_event_run(fixture->event, DEADLINE_US) > 0);
	assert_int_equal(fixture->n, 2);
	assert_false(timer_is_set(&fixture->timer));
}

static void test_timer_handler_may_end_it(void **data)
{
	struct fixture *fixture = *data;

	timer_set(&fixture->timer, fixture->event, clock_monotonic_ms(), on_time_end, fixture);
	assert_true(sd_event_run(fixture->event, DEADLINE_US) > 0);
	assert_int_equal(fixture->n, 1);
	memset(&fixture->timer, 0, sizeof(fixture->timer));
	assert_int_equal(sd_event_run(fixture->event, 10000), 0);
}

static void test_timer_for_never_does_not_fire(void **data)
{
	struct fixture *fixture = *data;

	timer_set(&fixture->timer, fixture->event, UINT64_MAX, on_time, fixture);
	assert_true(timer_is_set(&fixture->timer));
	assert_int_equal(sd_event_run(fixture->event, 20000), 0);
	timer_set(&fixture->timer, fixture->event, UINT64_MAX / 1000 + 1, on_time, fixture);
	assert_int_equal(sd_event_run(fixture->event, 20000), 0);
	assert_int_equal(fixture->n, 0);
}

/* How long after @now_ms the timer fires. */
static uint64_t delay_ms(const struct timer *timer, uint64_t now_ms)
{
	uint64_t at_us;

	assert_true(sd_event_source_get_time(timer->source, &at_us) >= 0);
	return at_us / 1000 - now_ms;
}

static void test_timer_again_delays_grow_to_a_limit(void **data)
{
	static const uint64_t expected[] = {1, 2, 4, 8, 16, 32, 50, 50};
	struct fixture *fixture = *data;

	for (int round = 0; round < 2; round++) {
		timer_begin(&fixture->timer);
		for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
			uint64_t before_ms = clock_monotonic_ms(), after_ms;

			timer_again(&fixture->timer, fixture->event, on_time, fixture);
			after_ms = clock_monotonic_ms();
			assert_in_range(delay_ms(&fixture->timer, before_ms), expected[i],
					expected[i] + after_ms - before_ms);
		}
	}
	assert_true(sd_event_run(fixture->event, DEADLINE_US) > 0);
	assert_int_equal(fixture->n, 1);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_timer_fires_once_and_not_early),
		TEST(test_timer_set_replaces_and_may_be_past),
		TEST(test_timer_stopped_does_not_fire),
		TEST(test_timer_that_fires_is_not_set),
		TEST(test_timer_handler_may_set_it_again),
		TEST(test_timer_handler_may_end_it),
		TEST(test_timer_for_never_does_not_fire),
		TEST(test_timer_again_delays_grow_to_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
