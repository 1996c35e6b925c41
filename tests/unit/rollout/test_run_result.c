/* SPDX-License-Identifier: BSD-2-Clause */
/* What is told about a rollout: while it is under way, and at its end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/rollout/run_fixture.h"

/* ---- results -------------------------------------------------------------------------------- */

static void test_run_json_names_both_generations_or_null(void **state)
{
	json_t *json;

	(void)state;
	last_rollout = 6;
	begin_replace("restart");
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

/* A later rollout may have replaced its new generation while it still drains the old one. */
static void test_run_goes_on_when_its_new_generation_is_gone(void **state)
{
	(void)state;
	fake(1, 0)->live = 1;
	begin_replace("restart");
	drive_to(ROLLOUT_DRAINING);
	run.new = NULL;
	run_forget_instance(&run, fake_there(2, 0));
	change(fake(1, 0)->live = 0);
	drive_to_end();
	assert_int_equal(number_of(event_named("stop"), "generation"), 2);
	assert_int_equal(number_of(event_named("stop"), "replaces"), 1);
	assert_int_equal(result.generation, 2);
	assert_int_equal(result.replaces, 1);
	assert_int_equal(result.exit, 0);
}

static void test_run_result_json_of_success_has_no_reasons(void **state)
{
	json_t *json;

	(void)state;
	begin_replace("upgrade");
	drive_to_end();
	assert_in_range(result.realtime_ms, clock_realtime_ms() - 10000, clock_realtime_ms());
	json = run_result_json(&result);
	assert_int_equal(json_object_size(json), 9);
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
		{{.generation = 3}, "done", "generation 3 serves"},
		{{.replaces = 2}, "done", "generation 2 is gone"},
		{{.generation = 3, .replaces = 2, .cut = 4},
		 "done",
		 "generation 3 serves, generation 2 is gone; 4 connections were cut"},
		{{.outcome = ROLLOUT_FAILED, .generation = 3}, "failed", "nothing serves"},
		{{.outcome = ROLLOUT_FAILED, .generation = 3, .replaces = 2},
		 "failed",
		 "generation 2 keeps serving"},
		{{.outcome = ROLLOUT_ROLLED_BACK, .generation = 3, .replaces = 2},
		 "rolled-back",
		 "generation 2 keeps serving"},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct run_result r = cases[k].result;
		json_t *json;

		r.order = "restart";
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
		{{.replaces = 3, .n_old = 1, .cut = 4},
		 "1 instance went; generation 3 serves; 4 connections were cut"},
		{{.outcome = ROLLOUT_FAILED, .generation = 3, .n_new = 1},
		 "generation 3 keeps serving as it is"},
		{{.outcome = ROLLOUT_ROLLED_BACK, .generation = 3, .replaces = 3, .n_new = 1},
		 "generation 3 keeps serving as it is"},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct run_result r = cases[k].result;
		json_t *json;

		r.order = "scale";
		r.partial = true;
		json = run_result_json(&r);
		assert_string_equal(text_of(json, "message"), cases[k].message);
		json_decref(json);
	}
}

static void test_run_result_counts_instances_of_both_sides(void **state)
{
	(void)state;
	have_old(2);
	config.instances = 3;
	begin_replace("restart");
	drive_to_end();
	assert_int_equal(result.n_new, 3);
	assert_int_equal(result.n_old, 2);
	assert_false(result.partial);
}

static void test_run_result_json_has_reasons_where_there_are_any(void **state)
{
	struct run_result r = {
		.order = "restart",
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

static void test_run_done_ends_timers_and_clears(void **state)
{
	(void)state;
	fake(1, 0)->live = 1;
	begin_replace("restart");
	drive_to(ROLLOUT_DRAINING);
	assert_non_null(run.timer.source);
	assert_non_null(run.poll.source);
	run_done(&run);
	assert_int_equal(run.id, 0);
	assert_null(run.timer.source);
	run_done(&run);
	poked = false;
	forget_calls();
	assert_int_equal(sd_event_run(context.event, 60 * 1000), 0); /* longer than a poll */
	assert_false(poked);
	assert_calls("");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_json_names_both_generations_or_null),
		TEST(test_run_goes_on_when_its_new_generation_is_gone),
		TEST(test_run_result_json_of_success_has_no_reasons),
		TEST(test_run_result_json_says_how_it_ended),
		TEST(test_run_result_json_of_some_instances_says_which),
		TEST(test_run_result_counts_instances_of_both_sides),
		TEST(test_run_result_json_has_reasons_where_there_are_any),
		TEST(test_run_done_ends_timers_and_clears),
	};
#undef TEST

	return cmocka_run_group_tests_name("run result", tests, NULL, NULL);
}
