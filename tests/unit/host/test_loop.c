/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <poll.h>

#include "orchestrator/host/loop.h"

static int on_defer(sd_event_source *source, void *userdata)
{
	int *turns = userdata;

	if (++*turns == 2)
		(void)poll(NULL, 0, 30);
	if (*turns == 3)
		return sd_event_exit(sd_event_source_get_event(source), 7);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void test_loop_knows_its_longest_turn(void **state)
{
	struct loop_times times = {};
	sd_event_source *source;
	sd_event *event;
	int turns = 0;

	(void)state;
	assert_true(sd_event_new(&event) >= 0);
	assert_true(sd_event_add_defer(event, &source, on_defer, &turns) >= 0);
	assert_int_equal(loop_run(event, &times), 7);
	assert_int_equal(turns, 3);
	assert_true(times.turns >= 3);
	assert_true(times.longest_us >= 30 * 1000);
	assert_true(times.longest_realtime_ms > 0);
	sd_event_source_disable_unref(source);
	sd_event_unref(event);
}

static int on_failing(sd_event_source *source, void *userdata)
{
	(void)source;
	(void)userdata;
	return -5;
}

/* A handler that fails is switched off, and the loop goes on: as sd_event_loop(3). */
static void test_loop_goes_on_after_a_handler_that_fails(void **state)
{
	sd_event_source *source, *failing;
	struct loop_times times = {};
	sd_event *event;
	int turns = 0;

	(void)state;
	assert_true(sd_event_new(&event) >= 0);
	assert_true(sd_event_add_defer(event, &failing, on_failing, NULL) >= 0);
	assert_true(sd_event_add_defer(event, &source, on_defer, &turns) >= 0);
	assert_int_equal(loop_run(event, &times), 7);
	sd_event_source_disable_unref(failing);
	sd_event_source_disable_unref(source);
	sd_event_unref(event);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loop_knows_its_longest_turn),
		cmocka_unit_test(test_loop_goes_on_after_a_handler_that_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
