/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/view/event_json.h"

static void assert_json(const struct event *event, const char *expected)
{
	json_t *json = event_json(event);
	char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);

	assert_string_equal(text, expected);
	free(text);
	json_decref(json);
}

static void test_event_json_of_a_step_says_all_even_if_it_is_nothing(void **state)
{
	(void)state;
	assert_json(&(struct event){.kind = EVENT_SHIFT,
				    .message = "new connections go to generation 2",
				    .rollout = 7,
				    .order = "start",
				    .generation = 2,
				    .ok = true},
		    "{\"elapsed_ms\":0,\"generation\":2,\"message\":\"new connections go to "
		    "generation 2\",\"ok\":true,\"order\":\"start\",\"replaces\":null,"
		    "\"rollout\":7,\"took_ms\":0}");
	assert_json(&(struct event){.kind = EVENT_BAKE,
				    .message = "aborted",
				    .rollout = 7,
				    .order = "stop",
				    .replaces = 2,
				    .elapsed_ms = 5,
				    .took_ms = 3,
				    .aborted = true},
		    "{\"aborted\":true,\"elapsed_ms\":5,\"generation\":null,\"message\":"
		    "\"aborted\",\"ok\":false,\"order\":\"stop\",\"replaces\":2,\"rollout\":7,"
		    "\"took_ms\":3}");
}

static void test_event_json_of_waiting_has_a_reason(void **state)
{
	(void)state;
	assert_json(&(struct event){.kind = EVENT_WAITING,
				    .message = "x; promote",
				    .reason = "x",
				    .rollout = 1,
				    .order = "upgrade"},
		    "{\"elapsed_ms\":0,\"generation\":null,\"message\":\"x; promote\",\"order\":"
		    "\"upgrade\",\"reason\":\"x\",\"replaces\":null,\"rollout\":1}");
}

static void test_event_json_of_a_delay_has_the_silent_ones(void **state)
{
	(void)state;
	assert_json(&(struct event){.kind = EVENT_DELAYING,
				    .message = "waiting",
				    .rollout = 1,
				    .order = "stop",
				    .replaces = 4,
				    .silent = {.known = true, .n = 7}},
		    "{\"elapsed_ms\":0,\"generation\":null,\"message\":\"waiting\",\"order\":"
		    "\"stop\",\"replaces\":4,\"rollout\":1,\"silent\":7}");
	/* None is left, or nobody was looked for. */
	assert_json(&(struct event){.kind = EVENT_DELAY,
				    .message = "done",
				    .rollout = 1,
				    .order = "stop",
				    .ok = true,
				    .silent = {.known = true}},
		    "{\"elapsed_ms\":0,\"generation\":null,\"message\":\"done\",\"ok\":true,"
		    "\"order\":\"stop\",\"replaces\":null,\"rollout\":1,\"silent\":0,"
		    "\"took_ms\":0}");
	assert_json(&(struct event){.kind = EVENT_DELAY,
				    .message = "done",
				    .rollout = 1,
				    .order = "stop",
				    .ok = true},
		    "{\"elapsed_ms\":0,\"generation\":null,\"message\":\"done\",\"ok\":true,"
		    "\"order\":\"stop\",\"replaces\":null,\"rollout\":1,\"took_ms\":0}");
}

static void test_event_json_of_a_result_has_exit_and_cut(void **state)
{
	(void)state;
	assert_json(
		&(struct event){.kind = EVENT_ROLLED_BACK,
				.message = "generation 1 keeps serving",
				.rollout = 3,
				.order = "restart",
				.generation = 2,
				.replaces = 1,
				.exit = 4,
				.took_ms = 9,
				.has_instance = true,
				.instance = 1,
				.step = "bake",
				.reason = "crashed",
				.probe = "503",
				.tail = "bye"},
		"{\"cut\":0,\"cut_by_server\":0,\"exit\":4,\"generation\":2,\"instance\":1,\"message\":\"generation 1 "
		"keeps serving\",\"order\":\"restart\",\"probe\":\"503\",\"reason\":\"crashed\","
		"\"replaces\":1,\"result\":\"rolled-back\",\"rollout\":3,\"step\":\"bake\","
		"\"tail\":\"bye\",\"tail_stream\":\"stderr\",\"took_ms\":9}");
}

static void test_event_json_of_a_note_has_what_is_set(void **state)
{
	(void)state;
	assert_json(&(struct event){.kind = EVENT_READY, .message = "m"}, "{\"message\":\"m\"}");
	assert_json(&(struct event){.kind = EVENT_UNHEALTHY,
				    .message = "m",
				    .has_instance = true,
				    .generation = 4},
		    "{\"generation\":4,\"instance\":0,\"message\":\"m\"}");
	assert_json(&(struct event){.kind = EVENT_PAUSED, .message = "m", .generation = 4},
		    "{\"generation\":4,\"message\":\"m\"}");
	assert_json(&(struct event){.kind = EVENT_EXITED,
				    .message = "m",
				    .tail = "bye",
				    .tail_stdout = true,
				    .tail_realtime_ms = 1700000000042},
		    "{\"message\":\"m\",\"tail\":\"bye\",\"tail_stream\":\"stdout\","
		    "\"tail_time\":\"2023-11-14T22:13:20.042Z\"}");
	assert_json(&(struct event){.kind = EVENT_HOOK, .message = "m", .hook = "after_shift"},
		    "{\"hook\":\"after_shift\",\"message\":\"m\",\"ok\":false}");
	assert_json(&(struct event){.kind = EVENT_DRIFT, .message = "m", .listen = "[::]:80"},
		    "{\"listen\":\"[::]:80\",\"message\":\"m\"}");
	assert_json(&(struct event){.kind = EVENT_DRIFT, .message = "m", .passed = 9},
		    "{\"message\":\"m\",\"passed\":9}");
	assert_json(&(struct event){.kind = EVENT_SUPERSEDED, .rollout = 8, .message = "m"},
		    "{\"message\":\"m\",\"rollout\":8}");
	assert_json(
		&(struct event){.kind = EVENT_SUCCEEDED, .message = "m", .pid = 7, .succeeds = 5},
		"{\"message\":\"m\",\"pid\":7,\"succeeds\":5}");
	assert_json(&(struct event){.kind = EVENT_SCALED, .instances = 3, .message = "m"},
		    "{\"instances\":3,\"message\":\"m\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_event_json_of_a_step_says_all_even_if_it_is_nothing),
		cmocka_unit_test(test_event_json_of_waiting_has_a_reason),
		cmocka_unit_test(test_event_json_of_a_delay_has_the_silent_ones),
		cmocka_unit_test(test_event_json_of_a_result_has_exit_and_cut),
		cmocka_unit_test(test_event_json_of_a_note_has_what_is_set),
	};

	return cmocka_run_group_tests_name("event_json", tests, NULL, NULL);
}
