/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>

#include "agent/record.h"

static void check_failure(const struct record *record, bool steady, const char *expected)
{
	struct lifecycle lifecycle = {
		.steady = steady,
		.policy = {.restart_max = 3, .restart_window_ms = 60000},
	};
	char got[PROTOCOL_TEXT_MAX];

	record_describe_failure(record, &lifecycle, got);
	assert_string_equal(got, expected);
}

static void test_record_failure_says_how_it_ended(void **data)
{
	struct record record = {0};

	(void)data;
	check_failure(&record, false, "not started");
	record_exit(&record, 3, 0);
	check_failure(&record, false, "exited with status 3");
	check_failure(&record, true,
		      "exited with status 3; its 3 restarts within 60000 ms are used up");
	record_exit(&record, 0, SIGKILL);
	check_failure(&record, false, "ended by signal 9 (Killed)");
}

static void test_record_failure_without_restarts_mentions_none(void **data)
{
	struct lifecycle lifecycle = {.steady = true};
	struct record record = {0};
	char got[PROTOCOL_TEXT_MAX];

	(void)data;
	record_exit(&record, 1, 0);
	record_describe_failure(&record, &lifecycle, got);
	assert_string_equal(got, "exited with status 1");
}

static void test_record_start_failed_is_an_exit_with_reason(void **data)
{
	struct record record = {0};

	(void)data;
	record_start_failed(&record, "exec /x: No such file or directory");
	assert_int_equal(record.exit_code, 127);
	assert_int_equal(record.exit_signal, 0);
	check_failure(&record, false, "exec /x: No such file or directory");
	/* It did start the next time, and then ended by itself. */
	record_start(&record);
	record_exit(&record, 0, 0);
	check_failure(&record, false, "exited with status 0");
}

static void test_record_long_reasons_are_cut(void **data)
{
	struct record record = {0};
	char reason[2 * PROTOCOL_TEXT_MAX], got[PROTOCOL_TEXT_MAX];
	struct lifecycle lifecycle = {.steady = true, .policy = {.restart_max = 1}};

	(void)data;
	memset(reason, 'x', sizeof(reason) - 1);
	reason[sizeof(reason) - 1] = '\0';
	record_start_failed(&record, reason);
	record_describe_failure(&record, &lifecycle, got);
	assert_int_equal(strlen(got), PROTOCOL_TEXT_MAX - 1);
}

static void test_record_address_in_use_is_why_it_failed(void **data)
{
	struct record record = {0};

	(void)data;
	record_exit(&record, 1, 0);
	record_explain_in_use(&record, true);
	assert_true(record.lingers);
	check_failure(&record, false, "\"Address already in use\"");
	assert_int_equal(record.exit_code, 1);
	record_start(&record);
	record_exit(&record, 1, 0);
	check_failure(&record, false, "exited with status 1");
}

static void test_record_notify_says_what_is_worth_reporting(void **data)
{
	struct notify_message nothing = {0}, ready = {.ready = true}, stopping = {.stopping = true},
			      reloading = {.reloading = true},
			      status = {.has_status = true, .status = "busy", .reloading = true};
	struct record record = {0};

	(void)data;
	assert_false(record_notify(&record, &nothing));
	assert_true(record_notify(&record, &ready));
	assert_true(record.ready);
	assert_string_equal(record.status, "");
	assert_true(record_notify(&record, &reloading));
	assert_string_equal(record.status, "reloading");
	assert_true(record_notify(&record, &status));
	assert_string_equal(record.status, "busy");
	assert_true(record_notify(&record, &stopping));
	assert_string_equal(record.status, "stopping");
	assert_true(record.ready);
}

static void test_record_ready_ends_with_the_server(void **data)
{
	struct notify_message ready = {.ready = true, .has_status = true, .status = "up"};
	struct record record = {0};

	(void)data;
	record_notify(&record, &ready);
	record_exit(&record, 0, SIGSEGV);
	assert_false(record.ready);
	record_notify(&record, &ready);
	record_start(&record);
	assert_false(record.ready);
	assert_string_equal(record.status, "");
}

static void test_record_report_says_how_it_ended_if_that_is_known(void **data)
{
	struct record record = {0};
	struct report report = {0};

	(void)data;
	record_report(&record, false, &report);
	assert_int_equal(report.ending, ENDING_NEVER_RAN);
	record_exit(&record, 0, SIGKILL);
	record_report(&record, false, &report);
	assert_int_equal(report.ending, ENDING_TOLD);
	assert_int_equal(report.exit_signal, SIGKILL);
	record_start_failed(&record, "exec: No such file or directory");
	report = (struct report){0};
	record_report(&record, false, &report);
	assert_int_equal(report.ending, ENDING_NEVER_RAN);
	assert_int_equal(report.exit_code, 127);
	record_exit_unknown(&record);
	check_failure(&record, false, "exec: No such file or directory");
	record_start(&record);
	record_exit_unknown(&record);
	record_report(&record, false, &report);
	assert_int_equal(report.ending, ENDING_UNKNOWN);
	assert_int_equal(report.exit_code, 0);
	check_failure(&record, false,
		      "ended; nobody can tell how, because its parent is not the agent");
	/* It has not ended: no exit of before counts. */
	record_report(&record, true, &report);
	assert_int_equal(report.ending, ENDING_ALIVE);
	assert_int_equal(report.exit_signal, SIGKILL);
	assert_int_equal(report.exit_code, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record_failure_says_how_it_ended),
		cmocka_unit_test(test_record_failure_without_restarts_mentions_none),
		cmocka_unit_test(test_record_start_failed_is_an_exit_with_reason),
		cmocka_unit_test(test_record_long_reasons_are_cut),
		cmocka_unit_test(test_record_address_in_use_is_why_it_failed),
		cmocka_unit_test(test_record_notify_says_what_is_worth_reporting),
		cmocka_unit_test(test_record_ready_ends_with_the_server),
		cmocka_unit_test(test_record_report_says_how_it_ended_if_that_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
