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
	};
#undef TEST

	return cmocka_run_group_tests_name("service base", tests, NULL, NULL);
}
