/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "orchestrator/event/event.h"
#include "orchestrator/rollout/rollout.h"

static void test_event_each_kind_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (int a = 0; a < _EVENT_KIND_COUNT; a++) {
		assert_non_null(event_name((enum event_kind)a));
		for (int b = 0; b < a; b++)
			assert_string_not_equal(event_name((enum event_kind)a),
						event_name((enum event_kind)b));
	}
}

/* Who follows a rollout compares the step of its status with the names of its events. */
static void test_event_steps_are_called_as_the_states_of_a_rollout(void **state)
{
	(void)state;
	for (int s = ROLLOUT_PREPARING; s < ROLLOUT_ENDED; s++) {
		bool found = false;

		for (int k = EVENT_PREPARE; k <= EVENT_STOP; k++)
			found |= strcmp(event_name((enum event_kind)k),
					rollout_state_name((enum rollout_state)s)) == 0;
		assert_true(found);
	}
}

static void test_event_forms_follow_from_the_kind(void **state)
{
	(void)state;
	assert_int_equal(event_form(EVENT_PREPARE), EVENT_FORM_STEP);
	assert_int_equal(event_form(EVENT_STOP), EVENT_FORM_STEP);
	assert_int_equal(event_form(EVENT_WAITING), EVENT_FORM_WAITING);
	assert_int_equal(event_form(EVENT_DONE), EVENT_FORM_RESULT);
	assert_int_equal(event_form(EVENT_ROLLED_BACK), EVENT_FORM_RESULT);
	assert_int_equal(event_form(EVENT_SUPERSEDED), EVENT_FORM_NOTE);
	assert_int_equal(event_form(EVENT_UNDECLARED), EVENT_FORM_NOTE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_event_each_kind_has_a_name_of_its_own),
		cmocka_unit_test(test_event_steps_are_called_as_the_states_of_a_rollout),
		cmocka_unit_test(test_event_forms_follow_from_the_kind),
	};

	return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
