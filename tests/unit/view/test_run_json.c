/* SPDX-License-Identifier: BSD-2-Clause */
/* What is told about a rollout, as JSON. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/view/run_json.h"
#include "tests/unit/rollout/run_fixture.h"

static void test_run_json_names_both_generations_or_null(void **state)
{
	json_t *json;

	(void)state;
	last_rollout = 6;
	begin_replace(RUN_ORDER_RESTART);
	run.began_ms -= 1500;
	json = run_json(&run);
	assert_int_equal(json_object_size(json), 5);
	assert_int_equal(number_of(json, "rollout"), 7);
	assert_string_equal(text_of(json, "order"), "restart");
	assert_int_equal(number_of(json, "generation"), 2);
	assert_int_equal(number_of(json, "replaces"), 1);
	assert_in_range(number_of(json, "elapsed_ms"), 1500, 1500 + FIXTURE_DEADLINE_MS);
	json_decref(json);
	begin_start();
	json = run_json(&run);
	assert_true(json_is_null(json_object_get(json, "replaces")));
	json_decref(json);
}

static void test_run_result_json_of_success_has_no_reasons(void **state)
{
	json_t *json;

	(void)state;
	begin_replace(RUN_ORDER_UPGRADE);
	drive_to_end();
	assert_in_range(result.realtime_ms, clock_realtime_ms() - 10000, clock_realtime_ms());
	json = run_result_json(&result);
	assert_int_equal(json_object_size(json), 11);
	assert_int_equal(number_of(json_object_get(json, "serving"), "generation"), 2);
	assert_int_equal(number_of(json, "rollout"), run.id);
	assert_string_equal(text_of(json, "order"), "upgrade");
	assert_string_equal(text_of(json, "result"), "done");
	assert_int_equal(number_of(json, "exit"), 0);
	assert_int_equal(number_of(json, "generation"), 2);
	assert_int_equal(number_of(json, "replaces"), 1);
	assert_int_equal(number_of(json, "cut"), 0);
	assert_true(number_of(json, "took_ms") >= 20);
	assert_string_equal(text_of(json, "message"), "generation 2 serves, generation 1 is gone");
	json_decref(json);
}

static void test_run_result_json_says_how_it_ended(void **state)
{
	static const struct {
		struct run_result result;
		const char *name, *message;
	} cases[] = {
		{{.generation = 3, .serving = {3, 2, 2, false}}, "done", "generation 3 serves"},
		{{.replaces = 2}, "done", "generation 2 is gone"},
		{{.generation = 3,
		  .replaces = 2,
		  .cut = 4,
		  .lost = "4 were cut",
		  .serving = {3, 1, 1, false}},
		 "done",
		 "generation 3 serves, generation 2 is gone; 4 were cut"},
		{{.generation = 3, .replaces = 2, .serving = {3, 1, 2, false}},
		 "done",
		 "generation 3 serves with 1 of 2 instances, generation 2 is gone"},
		/* It died as soon as it served. */
		{{.generation = 3, .replaces = 2, .serving = {0, 0, 1, false}},
		 "done",
		 "nothing serves, generation 2 is gone"},
		{{.outcome = ROLLOUT_FAILED, .generation = 3}, "failed", "nothing serves"},
		{{.outcome = ROLLOUT_FAILED,
		  .generation = 3,
		  .replaces = 2,
		  .serving = {2, 1, 1, false}},
		 "failed",
		 "generation 2 keeps serving"},
		{{.outcome = ROLLOUT_FAILED, .generation = 3, .replaces = 2},
		 "failed",
		 "nothing serves"},
		{{.outcome = ROLLOUT_ROLLED_BACK,
		  .generation = 3,
		  .replaces = 2,
		  .serving = {2, 1, 3, false}},
		 "rolled-back",
		 "generation 2 serves again with 1 of 3 instances"},
		{{.outcome = ROLLOUT_ROLLED_BACK,
		  .generation = 3,
		  .replaces = 2,
		  .serving = {2, 1, 1, true}},
		 "rolled-back",
		 "generation 2 is being stopped"},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct run_result r = cases[k].result;
		json_t *json;

		r.id = 7;
		r.order = RUN_ORDER_RESTART;
		json = run_result_json(&r);
		assert_string_equal(text_of(json, "result"), cases[k].name);
		assert_string_equal(text_of(json, "message"), cases[k].message);
		assert_int_equal(json_is_null(json_object_get(json, "generation")),
				 r.generation == 0);
		assert_int_equal(json_is_null(json_object_get(json, "replaces")), r.replaces == 0);
		assert_int_equal(number_of(json, "cut"), r.cut);
		json_decref(json);
	}
}

static void test_run_result_json_of_some_instances_says_which(void **state)
{
	static const struct {
		struct run_result result;
		const char *message;
	} cases[] = {
		{{.generation = 3, .n_new = 1}, "1 instance came; generation 3 serves"},
		{{.replaces = 3, .n_old = 2}, "2 instances went; generation 3 serves"},
		{{.generation = 3, .replaces = 3, .n_new = 2, .n_old = 1},
		 "2 instances came, 1 instance went; generation 3 serves"},
		{{.replaces = 3, .n_old = 1, .cut = 4, .lost = "4 were cut"},
		 "1 instance went; generation 3 serves; 4 were cut"},
		{{.outcome = ROLLOUT_FAILED, .generation = 3, .n_new = 1},
		 "generation 3 keeps serving"},
		{{.outcome = ROLLOUT_ROLLED_BACK, .generation = 3, .replaces = 3, .n_new = 1},
		 "generation 3 keeps serving"},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct run_result r = cases[k].result;
		json_t *json;

		r.id = 7;
		r.order = RUN_ORDER_SCALE;
		r.partial = true;
		r.serving = (struct run_serving){3, 2, 2, false};
		json = run_result_json(&r);
		assert_string_equal(text_of(json, "message"), cases[k].message);
		json_decref(json);
	}
}

static void test_run_result_json_has_reasons_where_there_are_any(void **state)
{
	struct run_result r = {
		.id = 7,
		.order = RUN_ORDER_RESTART,
		.outcome = ROLLOUT_FAILED,
		.exit = 3,
		.step = "verify",
		.reason = "generation 2 was not healthy within 1s",
		.probe = "GET /: 503",
		.words.text = "cannot open database\n",
	};
	json_t *json = run_result_json(&r);

	(void)state;
	assert_string_equal(text_of(json, "step"), r.step);
	assert_string_equal(text_of(json, "reason"), r.reason);
	assert_string_equal(text_of(json, "probe"), r.probe);
	assert_string_equal(text_of(json, "tail"), r.words.text);
	assert_int_equal(number_of(json, "exit"), 3);
	json_decref(json);
}

static void test_run_status_json_says_what_it_waits_for(void **state)
{
	json_t *json;

	(void)state;
	be_canary(2);
	config.rollout.steps[0].dwell_ms = 60000;
	begin_replace(RUN_ORDER_UPGRADE);
	drive_to(ROLLOUT_DWELLING);
	json = run_status_json(&run);
	assert_string_equal(text_of(json, "order"), "upgrade");
	assert_string_equal(text_of(json, "step"), "hold");
	assert_string_equal(text_of(json, "strategy"), "canary");
	assert_int_equal(number_of(json, "weight"), 10);
	assert_string_equal(text_of(json, "waiting"), "hold");
	assert_in_range(number_of(json, "waiting_ms"), 1, 60000);
	assert_int_equal(number_of(json_object_get(json, "instances"), "old"), 2);
	assert_int_equal(number_of(json_object_get(json, "instances"), "new"), 2);
	json_decref(json);
	run_promote(&run);
	drive_to_step(1);
	json = run_status_json(&run);
	assert_int_equal(number_of(json, "weight"), 50);
	assert_string_equal(text_of(json, "waiting"), "promote");
	json_decref(json);
}

static void test_run_status_json_of_a_delay_has_the_silent_ones(void **state)
{
	json_t *json;

	(void)state;
	old_config.drain.delay_auto = true;
	old_config.drain.delay_max_ms = 60000;
	fake(1, 0)->silent = 3;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DELAYING);
	drive_until(run.delay.most > 0);
	json = run_status_json(&run);
	assert_string_equal(text_of(json, "step"), "delay");
	assert_string_equal(text_of(json, "waiting"), "delay");
	assert_in_range(number_of(json, "waiting_ms"), 1, 60000);
	assert_int_equal(number_of(json, "silent"), 3);
	json_decref(json);
	fake(1, 0)->silent = 0;
	drive_to_end();
}

static void test_run_status_json_of_one_that_waits_for_nobody_has_nulls(void **state)
{
	json_t *json;

	(void)state;
	fake(2, 0)->not_healthy = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_VERIFYING);
	json = run_status_json(&run);
	assert_string_equal(text_of(json, "step"), "verify");
	assert_string_equal(text_of(json, "strategy"), "blue-green");
	assert_true(json_is_null(json_object_get(json, "weight")));
	assert_true(json_is_null(json_object_get(json, "waiting")));
	assert_true(json_is_null(json_object_get(json, "waiting_ms")));
	assert_null(json_object_get(json, "reason"));
	json_decref(json);
	assert_false(run_can_promote(&run));
	run_promote(&run);
	assert_int_equal(run.machine.state, ROLLOUT_VERIFYING);
	fake(2, 0)->cannot_stop = true;
	run_abort(&run, false, "aborted by request");
	json = run_status_json(&run);
	assert_string_equal(text_of(json, "reason"), "aborted by request");
	json_decref(json);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_json_names_both_generations_or_null),
		TEST(test_run_result_json_of_success_has_no_reasons),
		TEST(test_run_result_json_says_how_it_ended),
		TEST(test_run_result_json_of_some_instances_says_which),
		TEST(test_run_result_json_has_reasons_where_there_are_any),
		TEST(test_run_status_json_says_what_it_waits_for),
		TEST(test_run_status_json_of_a_delay_has_the_silent_ones),
		TEST(test_run_status_json_of_one_that_waits_for_nobody_has_nulls),
	};
#undef TEST

	return cmocka_run_group_tests_name("run json", tests, NULL, NULL);
}
