/* SPDX-License-Identifier: BSD-2-Clause */
/* Events. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/service/service_internal.h"
#include "tests/unit/service/service_fixture.h"

static void test_service_notes_of_instances_become_events(void **state)
{
	const struct instance *i;
	json_t *event;

	(void)state;
	carry_out("start", NULL);
	i = fake_there(1, 0);
	i->callbacks->on_note(i->userdata, i, EVENT_EXITED, "instance 0 exited with status 9");
	assert_event("exited", "message", "instance 0 exited with status 9");
	event = newest_event("exited");
	assert_null(json_object_get(event, "tail"));
	assert_int_equal(json_integer_value(json_object_get(event, "generation")), 1);
	json_decref(event);
	strcpy(fake_there(1, 0)->tail, "panic");
	i->callbacks->on_note(i->userdata, i, EVENT_EXITED, "instance 0 exited with status 9");
	assert_event("exited", "tail", "panic");
	assert_event("exited", "service", "web");
}

/* The number of @key in the newest event of this name; -1: it has none. */
static json_int_t number_of(const char *name, const char *key)
{
	json_t *event = newest_event(name), *number = json_object_get(event, key);
	json_int_t ret = number ? json_integer_value(number) : -1;

	json_decref(event);
	return ret;
}

static void test_service_succession_is_told_with_both_pids(void **state)
{
	struct instance *i;

	(void)state;
	carry_out("start", NULL);
	i = fake_there(1, 0);
	i->pid = 8;
	i->succeeded_pid = 7;
	i->callbacks->on_note(i->userdata, i, EVENT_SUCCEEDED, "x");
	assert_int_equal(number_of("succeeded", "pid"), 8);
	assert_int_equal(number_of("succeeded", "succeeds"), 7);
	i->callbacks->on_note(i->userdata, i, EVENT_READY, "x");
	assert_int_equal(number_of("ready", "pid"), -1);
}

static void test_service_flood_pushes_nothing_out_of_the_history(void **state)
{
	struct instance *i;
	uint64_t before;

	(void)state;
	carry_out("start", NULL);
	i = fake_there(1, 0);
	before = events_last(events);
	for (unsigned k = 1; k < FLOOD_BURST; k++)
		i->callbacks->on_note(i->userdata, i, EVENT_UNHEALTHY, "x");
	assert_event("unhealthy", "message", "x");
	i->callbacks->on_note(i->userdata, i, EVENT_UNHEALTHY, "x");
	assert_event("unhealthy", "message", "x (of those that follow one in 10 minutes is kept)");
	for (unsigned k = 0; k < 5000; k++)
		i->callbacks->on_note(i->userdata, i, EVENT_UNHEALTHY, "x");
	assert_int_equal(events_last(events), before + FLOOD_BURST);
	/* Of other kinds, and those that nobody can provoke, all are kept. */
	i->callbacks->on_note(i->userdata, i, EVENT_RECOVERED, "x");
	for (unsigned k = 0; k < 2 * FLOOD_BURST; k++)
		i->callbacks->on_note(i->userdata, i, EVENT_EXITED, "x");
	assert_int_equal(events_last(events), before + FLOOD_BURST + 1 + 2 * FLOOD_BURST);
	/* A while later: */
	service->floods[EVENT_UNHEALTHY].since_ms -= FLOOD_EVERY_MS;
	i->callbacks->on_note(i->userdata, i, EVENT_UNHEALTHY, "y");
	assert_event("unhealthy", "message",
		     "y (5000 like it before are not kept) (of those that follow one in 10 minutes "
		     "is kept)");
	assert_int_equal(number_of("unhealthy", "passed"), 5000);
}

static void test_service_answers_of_a_check_pass_but_for_the_first(void **state)
{
	uint64_t before;
	struct instance *i;

	(void)state;
	carry_out("start", NULL);
	i = fake_there(1, 0);
	before = events_last(events);
	i->callbacks->on_note(i->userdata, i, EVENT_PROBE, "GET /: 500");
	assert_int_equal(events_last(events), before + 1);
	i->told_bad = true;
	for (int k = 0; k < 10; k++)
		i->callbacks->on_note(i->userdata, i, EVENT_PROBE, "GET /: 500");
	assert_int_equal(events_last(events), before + 1);
	assert_int_equal(count_events("probe"), 11); /* whoever follows sees them all */
	assert_int_equal(number_of("probe", "instance"), 0);
	i->callbacks->on_note(i->userdata, i, EVENT_EXITED, "x");
	assert_int_equal(events_last(events), before + 2);
}

static void test_service_notes_say_which_generation_serves(void **state)
{
	(void)state;
	service_note(service, EVENT_RESTORED, "x");
	assert_int_equal(number_of("restored", "generation"), -1);
	carry_out("start", NULL);
	service_note(service, EVENT_RESTORED, "x");
	assert_int_equal(number_of("restored", "generation"), 1);
	assert_int_equal(number_of("restored", "instance"), -1);
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
		TEST(test_service_notes_of_instances_become_events),
		TEST(test_service_note_is_an_event_with_a_message),
		TEST(test_service_succession_is_told_with_both_pids),
		TEST(test_service_flood_pushes_nothing_out_of_the_history),
		TEST(test_service_answers_of_a_check_pass_but_for_the_first),
		TEST(test_service_notes_say_which_generation_serves),
	};
#undef TEST

	return cmocka_run_group_tests_name("service base", tests, NULL, NULL);
}
