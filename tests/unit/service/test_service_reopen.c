/* SPDX-License-Identifier: BSD-2-Clause */
/* Files of output are opened anew: every agent is asked, and the answer waits for all of them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

/* It serves, with so many instances, whose stderr goes to a file. */
static void serve(const char *instances)
{
	struct process_settings *process = &service->config->process;

	process->output[1] = OUTPUT_FILE;
	process->output_path[1] = strdup("/var/log/web.log");
	carry_out("start", NULL);
	if (strcmp(instances, "1") != 0) {
		char body[64];

		snprintf(body, sizeof(body), "{\"instances\": %s}", instances);
		carry_out("scale", body);
	}
	forget_calls();
}

static void test_service_reopen_waits_for_every_agent(void **state)
{
	(void)state;
	serve("2");
	fake(1, 0)->live = fake(1, 1)->live = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	forget_calls();
	give("reopen", "{}");
	assert_true(answer.later);
	assert_null(run);
	assert_calls("reopen 1.0; reopen 1.1; reopen 2.0; reopen 2.1");
	fake_reopened(1, 1, 1, "");
	fake_reopened(2, 0, 1, "");
	fake_reopened(1, 0, 1, "");
	turn();
	assert_int_equal(reopen.told, 0);
	fake_reopened(2, 1, 1, "");
	/* Not from within an agent's report. */
	assert_int_equal(reopen.told, 0);
	turn();
	assert_int_equal(reopen.told, 1);
	assert_int_equal(reopen.files, 4);
	assert_string_equal(reopen.message, "4 files opened anew");
}

static void test_service_reopen_names_each_failure_in_order(void **state)
{
	(void)state;
	serve("3");
	give("reopen", NULL);
	fake_reopened(1, 2, 1, "stdout: /var/log/c: Permission denied");
	fake_reopened(1, 1, 1, "");
	fake_reopened(1, 0, 2, "stdout: /var/log/a: No such file or directory");
	turn();
	assert_int_equal(reopen.told, 1);
	assert_int_equal(reopen.files, 4);
	assert_string_equal(reopen.failures, "1.0 stdout: /var/log/a: No such file or directory; "
					     "1.2 stdout: /var/log/c: Permission denied");
	assert_string_equal(reopen.message,
			    "not every file was opened anew; where that failed, the old one is "
			    "written on: generation 1, instance 0: stdout: /var/log/a: No such "
			    "file or directory; ...");
}

/* Of an adopted one only the agent knows: it is asked all the same. */
static void test_service_reopen_without_files_asks_the_agents_too(void **state)
{
	(void)state;
	carry_out("start", NULL);
	forget_calls();
	give("reopen", NULL);
	assert_calls("reopen 1.0");
	fake_reopened(1, 0, 0, "");
	turn();
	assert_string_equal(reopen.message, "no output goes to a file");
	assert_int_equal(reopen.n_failures, 0);
}

static void test_service_reopen_while_nothing_runs_is_told_at_once(void **state)
{
	(void)state;
	give("reopen", NULL);
	assert_true(answer.later);
	assert_int_equal(reopen.told, 0);
	turn();
	assert_int_equal(reopen.told, 1);
	assert_string_equal(reopen.message, "no output goes to a file");
}

static void test_service_reopen_does_not_wait_for_what_ends(void **state)
{
	(void)state;
	serve("2");
	fake(1, 1)->cannot_stop = true;
	give("reopen", NULL);
	order("scale", "{\"instances\": 1}");
	drive_until(run->machine.state == ROLLOUT_STOPPING);
	fake_reopened(1, 0, 1, "");
	turn();
	assert_int_equal(reopen.told, 0);
	fake_stopped(1, 1);
	changed();
	drive_until(reopen.told == 1);
	assert_string_equal(reopen.message, "1 file opened anew");
	drive_until(n_ended == 3);
}

static void test_service_reopen_with_a_lost_agent_is_a_failure(void **state)
{
	(void)state;
	serve("2");
	fake_there(1, 0)->lost = true;
	give("reopen", NULL);
	fake_there(1, 1)->lost = true;
	look();
	assert_int_equal(reopen.told, 1);
	assert_string_equal(reopen.failures, "1.0 its agent is gone, and nobody takes its output; "
					     "1.1 its agent is gone, and nobody takes its output");
}

static void test_service_reopen_by_an_earlier_agent_is_not_called_done(void **state)
{
	(void)state;
	serve("2");
	fake(1, 0)->reopen_error = -EOPNOTSUPP;
	fake(1, 1)->reopen_error = -EAGAIN;
	give("reopen", NULL);
	turn();
	assert_int_equal(reopen.told, 1);
	assert_non_null(strstr(reopen.failures, "1.0 its agent is of an earlier baton"));
	assert_non_null(strstr(reopen.failures, "1.1 its agent could not be told: Resource"));
}

static void test_service_reopen_ends_at_its_deadline(void **state)
{
	(void)state;
	serve("2");
	service->reopening.limit_ms = 500;
	give("reopen", NULL);
	fake_reopened(1, 0, 1, "");
	turn();
	assert_true(timer_is_set(&service->reopening.timer));
	assert_int_equal(reopen.told, 0);
	drive_until(reopen.told == 1);
	assert_string_equal(reopen.failures, "1.1 its agent has not answered within 500ms");
	assert_false(timer_is_set(&service->reopening.timer));
	/* Too late: that changes nothing any more. */
	fake_reopened(1, 1, 1, "");
	turn();
	assert_int_equal(reopen.told, 1);
}

static void test_service_reopen_answers_belong_to_their_order(void **state)
{
	uint32_t first;

	(void)state;
	serve("1");
	give("reopen", NULL);
	first = fake(1, 0)->reopen_serial;
	give("reopen", NULL);
	assert_int_not_equal(fake(1, 0)->reopen_serial, first);
	fake_reopened(1, 0, 1, "stdout: x: y");
	turn();
	/* The second has its answer, the first has not. */
	assert_int_equal(reopen.told, 1);
	assert_int_equal(reopen.n_failures, 1);
	fake(1, 0)->reopen_serial = first;
	fake_reopened(1, 0, 1, "");
	turn();
	assert_int_equal(reopen.told, 2);
	assert_int_equal(reopen.n_failures, 0);
}

static void test_service_reopen_waits_for_so_many_orders_and_no_more(void **state)
{
	(void)state;
	serve("1");
	for (int k = 0; k < SERVICE_REOPENS_MAX; k++)
		give("reopen", NULL);
	assert_true(give_order("reopen", NULL) < 0);
	assert_int_equal(refusal.kind, REFUSAL_BUSY);
	assert_string_equal(refusal.why.text,
			    "8 orders to reopen wait for the agents already: try again");
	/* The rest is freed with the service, and told to nobody. */
	assert_int_equal(reopen.told, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_reopen_waits_for_every_agent),
		TEST(test_service_reopen_names_each_failure_in_order),
		TEST(test_service_reopen_without_files_asks_the_agents_too),
		TEST(test_service_reopen_while_nothing_runs_is_told_at_once),
		TEST(test_service_reopen_does_not_wait_for_what_ends),
		TEST(test_service_reopen_with_a_lost_agent_is_a_failure),
		TEST(test_service_reopen_by_an_earlier_agent_is_not_called_done),
		TEST(test_service_reopen_ends_at_its_deadline),
		TEST(test_service_reopen_answers_belong_to_their_order),
		TEST(test_service_reopen_waits_for_so_many_orders_and_no_more),
	};
#undef TEST

	return cmocka_run_group_tests_name("service reopen", tests, NULL, NULL);
}
