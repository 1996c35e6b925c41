/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
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

/* ---- docs/api.md ---------------------------------------------------------------------------- */

#define MANUAL "docs/api.md"

static unsigned listed[_EVENT_KIND_COUNT]; /* how often */

static void list_kind(const char *name)
{
	for (int k = 0; k < _EVENT_KIND_COUNT; k++)
		if (strcmp(event_name((enum event_kind)k), name) == 0) {
			listed[k]++;
			return;
		}
	fail_msg("%s lists \"%s\", which is no kind of event", MANUAL, name);
}

/* All names in the first cell of a row, as in "| `paused`, `resumed` | ...". */
static void list_row(const char *row)
{
	const char *end = strchr(row + 1, '|');

	for (const char *at = strchr(row, '`'); at && at < end; at = strchr(at, '`')) {
		const char *close = strchr(at + 1, '`');
		char name[32];

		assert_non_null(close);
		snprintf(name, sizeof(name), "%.*s", (int)(close - at - 1), at + 1);
		list_kind(name);
		at = close + 1;
	}
}

/* It lists every kind once, in tables whose first column is "event", and no other. */
static void test_event_kinds_are_those_of_the_manual(void **state)
{
	FILE *f = fopen(MANUAL, "r");
	bool in_events = false, in_table = false;
	char line[4096];

	(void)state;
	assert_non_null(f); /* run this in the folder above docs/ */
	while (fgets(line, sizeof(line), f)) {
		assert_non_null(strchr(line, '\n'));
		if (strncmp(line, "## ", 3) == 0)
			in_events = strcmp(line, "## Events\n") == 0;
		if (!in_events || line[0] != '|')
			in_table = false;
		else if (in_table)
			list_row(line);
		else if (strncmp(line, "| event |", 9) == 0)
			in_table = true;
	}
	fclose(f);
	for (int k = 0; k < _EVENT_KIND_COUNT; k++)
		if (listed[k] != 1)
			fail_msg("%s lists %s %u times", MANUAL, event_name((enum event_kind)k),
				 listed[k]);
}

static void test_event_forms_follow_from_the_kind(void **state)
{
	(void)state;
	assert_int_equal(event_form(EVENT_PREPARE), EVENT_FORM_STEP);
	assert_int_equal(event_form(EVENT_STOP), EVENT_FORM_STEP);
	assert_int_equal(event_form(EVENT_WAITING), EVENT_FORM_WAITING);
	assert_int_equal(event_form(EVENT_DELAY), EVENT_FORM_STEP);
	assert_int_equal(event_form(EVENT_DELAYING), EVENT_FORM_WAITING);
	assert_int_equal(event_form(EVENT_DONE), EVENT_FORM_RESULT);
	assert_int_equal(event_form(EVENT_ROLLED_BACK), EVENT_FORM_RESULT);
	assert_int_equal(event_form(EVENT_SUPERSEDED), EVENT_FORM_NOTE);
	assert_int_equal(event_form(EVENT_UNDECLARED), EVENT_FORM_NOTE);
	assert_int_equal(event_form(EVENT_DROPPED), EVENT_FORM_NOTE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_event_each_kind_has_a_name_of_its_own),
		cmocka_unit_test(test_event_steps_are_called_as_the_states_of_a_rollout),
		cmocka_unit_test(test_event_kinds_are_those_of_the_manual),
		cmocka_unit_test(test_event_forms_follow_from_the_kind),
	};

	return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
