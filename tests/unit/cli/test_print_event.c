/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/print_event.h"

/* JSON with ' for ", which no text here contains. */
static json_t *json(const char *text)
{
	char *copy = strdup(text);
	json_t *value;

	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	value = json_loads(copy, 0, NULL);
	assert_non_null(value);
	free(copy);
	return value;
}

/* An order's answer, then its events, the last of which ends it. */
static char *render(bool colour, bool quiet, const char *const *sources)
{
	struct print_progress progress;
	char *text;
	size_t length;
	struct print to = {.out = open_memstream(&text, &length), .colour = colour};
	json_t *answer = json(*sources++);

	print_progress_init(&progress, quiet);
	print_progress_begin(&to, answer);
	for (; *sources; sources++) {
		json_t *event = json(*sources);

		if (print_event_is_last(event))
			print_progress_end(&to, &progress, answer, event);
		else
			print_progress_step(&to, &progress, event);
		json_decref(event);
	}
	fclose(to.out);
	json_decref(answer);
	return text;
}

static void assert_progress(bool quiet, const char *const *sources, const char *expected)
{
	char *text = render(false, quiet, sources);

	assert_string_equal(text, expected);
	free(text);
}

#define ASSERT_PROGRESS(expected, ...)                                                             \
	assert_progress(false, (const char *const[]){__VA_ARGS__, NULL}, expected)

#define OLD_SERVES "'serving':{'generation':3,'instances':1,'wanted':1}"
#define REPLACE    "{'service':'web','order':'restart','rollout':5,'generation':4,'replaces':3}"
#define FIRST      "{'service':'web','order':'start','rollout':1,'generation':1,'replaces':null}"
#define STOP       "{'service':'web','order':'stop','rollout':6,'generation':null,'replaces':4}"
#define START      "{'event':'start','message':'generation 4, pid 4711','took_ms':12}"

static void test_print_progress_success_shows_each_step(void **state)
{
	(void)state;
	ASSERT_PROGRESS(
		"web: generation 4 replaces 3\n"
		"  start    generation 4, pid 4711                                   12 ms\n"
		"  verify   GET /healthz: 200 (2 in a row)                          1.02 s\n"
		"  shift    new connections go to generation 4                        1 ms\n"
		"  settle   \n"
		"done: generation 4 serves, generation 3 is gone (1.30 s)\n",
		REPLACE, START,
		"{'event':'verify','message':'GET /healthz: 200 (2 in a row)','took_ms':1020}",
		"{'event':'shift','message':'new connections go to generation 4','took_ms':1}",
		"{'event':'settle'}", "{'event':'done','exit':0,'cut':0,'took_ms':1300}");
}

static void test_print_progress_long_message_keeps_its_length(void **state)
{
	(void)state;
	ASSERT_PROGRESS("web: generation 4 replaces 3\n"
			"  a-longer-step  123456789 123456789 123456789 123456789 123456789 123  "
			"    5 ms\n",
			REPLACE,
			"{'event':'a-longer-step','message':"
			"'123456789 123456789 123456789 123456789 123456789 123','took_ms':5}");
}

static void test_print_progress_cut_connections_are_told(void **state)
{
	(void)state;
	ASSERT_PROGRESS("web: generation 4 replaces 3\n"
			"done: generation 4 serves, generation 3 is gone, but 2 connections were "
			"cut at the deadline (30.0 s)\n",
			REPLACE,
			"{'event':'done','exit':5,'cut':2,'took_ms':30010,"
			"'lost':'2 connections were cut at the deadline'}");
	ASSERT_PROGRESS("web: generation 4 stops\n"
			"done: generation 4 is gone, but 1 connection was cut at the deadline\n",
			STOP,
			"{'event':'done','exit':5,'cut':1,'lost':"
			"'1 connection was cut at the deadline'}");
}

static void test_print_progress_first_start_and_stop_have_their_own_words(void **state)
{
	(void)state;
	ASSERT_PROGRESS("web: generation 1 starts\n"
			"done: generation 1 serves\n",
			FIRST, "{'event':'done','exit':0}");
	ASSERT_PROGRESS("web: generation 4 stops\n"
			"done: generation 4 is gone\n",
			STOP, "{'event':'done','exit':0}");
	ASSERT_PROGRESS("web: stop\n"
			"done: nothing ran\n",
			"{'service':'web','order':'stop'}",
			"{'event':'done','message':'nothing ran'}");
}

static void test_print_progress_failure_says_step_probe_and_stderr(void **state)
{
	(void)state;
	ASSERT_PROGRESS(
		"web: generation 4 replaces 3\n"
		"  start    generation 4, pid 4711                                   12 ms\n"
		"  probe    GET /healthz: 503 (instance 0)\n"
		"  probe    GET /healthz: 500 (instance 0)\n"
		"  verify   failed                                                  5.00 s\n"
		"  stop     killed                                                   33 ms\n"
		"failed at verify: not healthy within 5s (5.01 s)\n"
		"  last probe: GET /healthz: 500\n"
		"  last lines on its stderr:\n"
		"  | listening\n"
		"  | panic\\x1b\n"
		"  generation 3 is still serving, untouched\n",
		REPLACE, START, "{'event':'probe','message':'GET /healthz: 503 (instance 0)'}",
		"{'event':'probe','message':'GET /healthz: 503 (instance 0)'}",
		"{'event':'probe','message':'GET /healthz: 500 (instance 0)'}",
		"{'event':'verify','ok':false,'message':'not healthy within 5s','took_ms':5000}",
		"{'event':'stop','ok':true,'message':'killed','took_ms':33}",
		"{'event':'failed','exit':3,'reason':'not healthy within 5s'," OLD_SERVES ","
		"'probe':'GET /healthz: 500','tail':'listening\\npanic\\u001b\\n',"
		"'took_ms':5012}");
}

static void test_print_progress_step_that_somebody_has_ended_has_not_failed(void **state)
{
	(void)state;
	ASSERT_PROGRESS(
		"web: generation 4 replaces 3\n"
		"  hold     ended by request                                        1.28 s\n"
		"rolled back at hold: aborted by request\n"
		"  generation 3 serves again\n",
		REPLACE, "{'event':'hold','ok':false,'aborted':true,'took_ms':1280}",
		"{'event':'rolled-back','exit':4,'reason':'aborted by request'," OLD_SERVES "}");
}

static void test_print_progress_failed_step_is_the_first_one(void **state)
{
	(void)state;
	ASSERT_PROGRESS("web: generation 1 starts\n"
			"  start    failed\n"
			"  stop     failed\n"
			"failed at start: no such file\n"
			"  nothing serves\n",
			FIRST, "{'event':'start','ok':false,'message':'x'}",
			"{'event':'stop','ok':false,'message':'x'}",
			"{'event':'failed','exit':8,'reason':'no such file','serving':null}");
	/* If an instance is to blame, there is something to mend. */
	ASSERT_PROGRESS(
		"web: generation 1 starts\n"
		"failed at verify: exited with status 7\n"
		"  nothing serves: when that is mended, \"baton restart web\" tries again\n",
		FIRST,
		"{'event':'failed','exit':8,'step':'verify','instance':0,"
		"'reason':'exited with status 7','serving':null}");
	/* The daemon knows better. */
	ASSERT_PROGRESS("web: generation 4 replaces 3\n"
			"  stop     failed\n"
			"failed at shift: x\n"
			"  generation 3 is still serving, untouched\n",
			REPLACE, "{'event':'stop','ok':false}",
			"{'event':'failed','step':'shift','reason':'x'," OLD_SERVES "}");
	/* Where nobody says so, nothing is claimed. */
	ASSERT_PROGRESS("web: generation 4 replaces 3\n"
			"failed: x\n",
			REPLACE, "{'event':'failed','message':'x'}");
}

static void test_print_progress_fewer_than_wanted_are_numbers(void **state)
{
	(void)state;
	ASSERT_PROGRESS("web: generation 4 replaces 3\n"
			"failed: x\n"
			"  generation 3 serves with 1 of 2 instances\n",
			REPLACE,
			"{'event':'failed','message':'x',"
			"'serving':{'generation':3,'instances':1,'wanted':2}}");
	/* Neither the new one nor the one that was to be replaced. */
	ASSERT_PROGRESS("web: generation 4 replaces 3\n"
			"failed: x\n"
			"  generation 2 serves\n",
			REPLACE,
			"{'event':'failed','message':'x',"
			"'serving':{'generation':2,'instances':1,'wanted':1}}");
}

static void test_print_progress_rolled_back_says_who_serves(void **state)
{
	(void)state;
	ASSERT_PROGRESS("web: generation 4 replaces 3\n"
			"rolled back at bake: generation 4 exited (10.0 s)\n"
			"  generation 3 serves again\n",
			REPLACE,
			"{'event':'rolled-back','exit':4,'step':'bake',"
			"'reason':'generation 4 exited','took_ms':10000," OLD_SERVES "}");
}

static void test_print_progress_knows_gates_holds_and_waits(void **state)
{
	(void)state;
	ASSERT_PROGRESS(
		"web: generation 4 replaces 3\n"
		"  prepare  before_start                                             20 ms\n"
		"  gate     2 gates passed                                          1.00 s\n"
		"  hold     1% for 1m 00s                                           1m 00s\n"
		"  waiting  gate smoke is unsure: 12 connections; baton promote web goes on, "
		"baton abort web goes back\n"
		"  wait     promoted                                                5m 00s\n"
		"done: generation 4 serves, generation 3 is gone\n",
		REPLACE, "{'event':'prepare','ok':true,'message':'before_start','took_ms':20}",
		"{'event':'gate','ok':true,'message':'2 gates passed','took_ms':1000}",
		"{'event':'hold','ok':true,'message':'1% for 1m 00s','took_ms':60000}",
		"{'event':'waiting','reason':'gate','message':'gate smoke is unsure: 12 "
		"connections; baton promote web goes on, baton abort web goes back'}",
		"{'event':'wait','ok':true,'message':'promoted','took_ms':300000}",
		"{'event':'done'}");
}

static void test_print_progress_unsure_gate_is_said_once(void **state)
{
	(void)state;
	ASSERT_PROGRESS(
		"web: generation 4 replaces 3\n"
		"  gate     gate smoke is unsure: 12 connections                      1 ms\n"
		"  waiting  baton promote web goes on\n",
		REPLACE,
		"{'event':'gate','ok':true,'message':'gate smoke is unsure: 12 connections',"
		"'took_ms':1}",
		"{'event':'waiting','reason':'gate smoke is unsure: 12 connections',"
		"'message':'gate smoke is unsure: 12 connections; baton promote web goes on'}");
}

static void test_print_progress_waiting_without_a_message_gives_the_reason(void **state)
{
	(void)state;
	ASSERT_PROGRESS("web: generation 4 replaces 3\n"
			"  waiting  promote\n",
			REPLACE, "{'event':'waiting','reason':'promote'}");
}

static void test_print_progress_failing_hook_is_no_failed_step(void **state)
{
	(void)state;
	ASSERT_PROGRESS("web: generation 4 replaces 3\n"
			"  hook     after_shift: exited with status 1\n"
			"  hook     after_drain\n"
			"  hook     the hook on_failure is late\n"
			"failed: x\n"
			"  generation 3 is still serving, untouched\n",
			REPLACE,
			"{'event':'hook','hook':'after_shift','ok':false,"
			"'message':'exited with status 1'}",
			"{'event':'hook','hook':'after_drain','ok':true}",
			"{'event':'hook','hook':'on_failure','ok':false,"
			"'message':'the hook on_failure is late'}",
			"{'event':'failed','message':'x'," OLD_SERVES "}");
}

#define SUPERSEDES                                                                                 \
	"{'service':'web','order':'restart','rollout':7,'supersedes':6,'generation':null,"         \
	"'replaces':3}"

static void test_print_progress_superseding_learns_its_generation(void **state)
{
	(void)state;
	ASSERT_PROGRESS("web: restart, once rollout 6 is undone\n"
			"  start    generation 5, pid 4711\n"
			"done: generation 5 serves, generation 3 is gone\n",
			SUPERSEDES,
			"{'event':'start','message':'generation 5, pid 4711','generation':5}",
			"{'event':'done','generation':5,'replaces':3}");
	ASSERT_PROGRESS("web: restart, once rollout 6 is undone\n"
			"rolled back: x\n"
			"  generation 4 serves again\n",
			SUPERSEDES,
			"{'event':'rolled-back','reason':'x','replaces':4,"
			"'serving':{'generation':4,'instances':2,'wanted':2}}");
}

static void test_print_progress_end_of_the_superseded_is_one_line(void **state)
{
	json_t *event = json("{'event':'rolled-back','rollout':6}");
	char *text;
	size_t length;
	struct print to = {.out = open_memstream(&text, &length)};

	(void)state;
	print_progress_superseded(&to, event);
	fclose(to.out);
	assert_string_equal(text, "  undone   rollout 6 has ended: rolled-back\n");
	free(text);
	json_decref(event);
}

static void test_print_progress_scale_has_its_own_words(void **state)
{
	(void)state;
	ASSERT_PROGRESS("web: generation 4 is scaled\n"
			"done: 4 instances serve (1.00 s)\n",
			"{'service':'web','order':'scale','generation':4,'replaces':null}",
			"{'event':'done','generation':4,'message':'4 instances serve',"
			"'took_ms':1000}");
	ASSERT_PROGRESS("web: generation 4 is scaled\n"
			"failed: not healthy\n"
			"  generation 4 is still serving, untouched\n",
			"{'service':'web','order':'scale','generation':4,'replaces':4}",
			"{'event':'failed','reason':'not healthy',"
			"'serving':{'generation':4,'instances':2,'wanted':2}}");
}

static void test_print_progress_quiet_still_knows_the_step(void **state)
{
	static const char *const sources[] = {REPLACE, "{'event':'verify','ok':false}",
					      "{'event':'failed','reason':'x'," OLD_SERVES "}",
					      NULL};

	(void)state;
	assert_progress(true, sources,
			"web: generation 4 replaces 3\n"
			"failed at verify: x\n"
			"  generation 3 is still serving, untouched\n");
}

static void test_print_progress_colours_mark_the_result(void **state)
{
	static const char *const sources[] = {REPLACE, "{'event':'stop','message':'m'}",
					      "{'event':'done'}", NULL};
	char *text = render(true, false, sources);

	(void)state;
	assert_string_equal(text, "\033[1mweb\033[0m: generation 4 replaces 3\n"
				  "  \033[2mstop\033[0m     m\n"
				  "\033[32mdone\033[0m: generation 4 serves, generation 3 is "
				  "gone\n");
	free(text);
}

static void assert_event(const char *source, const char *expected)
{
	char *text;
	size_t length;
	struct print to = {.out = open_memstream(&text, &length)};
	json_t *event = json(source);

	print_event(&to, event);
	fclose(to.out);
	assert_string_equal(text, expected);
	free(text);
	json_decref(event);
}

static void test_print_event_is_one_line(void **state)
{
	(void)state;
	assert_event("{'seq':1,'time':'2026-01-01T12:00:00.000Z','service':'web','event':'exited',"
		     "'generation':3,'message':'killed by SIGKILL\\n'}",
		     "2026-01-01 12:00:00 UTC  web 3  exited: killed by SIGKILL \n");
	assert_event("{'time':'2026-01-01T12:00:00.000Z','service':'web','event':'verify',"
		     "'generation':3,'message':'ok','took_ms':1020}",
		     "2026-01-01 12:00:00 UTC  web 3  verify: ok (1.02 s)\n");
	assert_event("{'time':'now','service':'web','event':'drift'}", "now  web  drift\n");
	assert_event("{}", "  \n");
}

static void test_print_event_new_kinds_are_one_line_each(void **state)
{
	static const char *const names[] = {"prepare",  "gate",      "hold",      "wait",
					    "waiting",  "unhealthy", "recovered", "degraded",
					    "restored", "replacing", "reloaded",  "changed",
					    "scaled",   "superseded"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char source[256], expected[256];

		snprintf(source, sizeof(source),
			 "{'time':'now','service':'web','event':'%s','generation':4,"
			 "'message':'instance 1: it\\ns so'}",
			 names[i]);
		snprintf(expected, sizeof(expected), "now  web 4  %s: instance 1: it s so\n",
			 names[i]);
		assert_event(source, expected);
	}
	assert_event("{'time':'now','service':'web','event':'degraded','reason':'1 of 4 runs'}",
		     "now  web  degraded: 1 of 4 runs\n");
	assert_event("{'time':'now','event':'reloaded','message':'1 changed'}",
		     "now  reloaded: 1 changed\n");
	assert_event("{'time':'now','service':'web','event':'hook','hook':'on_rollback',"
		     "'ok':false,'message':'timed out'}",
		     "now  web  hook: on_rollback: timed out\n");
}

static void test_print_event_waiting_is_known(void **state)
{
	json_t *waiting = json("{'event':'waiting'}"), *wait = json("{'event':'wait'}");

	(void)state;
	assert_true(print_event_is_waiting(waiting));
	assert_false(print_event_is_waiting(wait));
	assert_false(print_event_is_waiting(NULL));
	assert_false(print_event_is_last(waiting));
	json_decref(waiting);
	json_decref(wait);
}

static void test_print_event_failure_has_its_reason_below(void **state)
{
	(void)state;
	assert_event("{'time':'now','service':'web','event':'failed','generation':4,"
		     "'reason':'not healthy','probe':'GET /: 503','tail':'a\\nb'}",
		     "now  web 4  failed: not healthy\n"
		     "    last probe: GET /: 503\n"
		     "    last lines on its stderr:\n"
		     "    | a\n"
		     "    | b\n");
	assert_event(
		"{'time':'now','service':'web','event':'exited','generation':4,'instance':0,"
		"'message':'instance 0 exited with status 1','tail':'a','tail_stream':'stdout'}",
		"now  web 4  exited: instance 0 exited with status 1\n"
		"    last lines on its stdout:\n"
		"    | a\n");
	assert_event("{'time':'now','service':'web','event':'rolled-back','message':'undone',"
		     "'reason':'not healthy'}",
		     "now  web  rolled-back: undone\n"
		     "    not healthy\n");
}

static void test_print_event_last_ones_are_known(void **state)
{
	static const struct {
		const char *source;
		bool last;
	} cases[] = {
		{"{'event':'done'}", true},
		{"{'event':'failed'}", true},
		{"{'event':'rolled-back'}", true},
		{"{'event':'stop'}", false},
		{"{'event':1}", false},
		{"{}", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *event = json(cases[i].source);

		assert_int_equal(print_event_is_last(event), cases[i].last);
		json_decref(event);
	}
}

static void test_print_event_warnings_stand_out(void **state)
{
	static const struct {
		const char *name, *expected;
	} cases[] = {
		{"failover", "\033[33mfailover\033[0m"},
		{"undeclared", "\033[33mundeclared\033[0m"},
		{"drift", "\033[33mdrift\033[0m"},
		{"paused", "\033[33mpaused\033[0m"},
		{"waiting", "\033[33mwaiting\033[0m"},
		{"degraded", "\033[33mdegraded\033[0m"},
		{"restored", "restored"},
		{"hook", "hook"},
		{"resumed", "resumed"},
		{"verify", "verify"},
		{"done", "\033[32mdone\033[0m"},
		{"failed", "\033[31mfailed\033[0m"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *event = json_pack("{s:s, s:s, s:s}", "time", "now", "service", "web",
					  "event", cases[i].name);
		char *text, *expected;
		size_t length;
		struct print to = {.out = open_memstream(&text, &length), .colour = true};

		assert_true(asprintf(&expected, "now  \033[1mweb\033[0m  %s\n", cases[i].expected) >
			    0);
		print_event(&to, event);
		fclose(to.out);
		assert_string_equal(text, expected);
		free(text);
		free(expected);
		json_decref(event);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_print_progress_success_shows_each_step),
		cmocka_unit_test(test_print_progress_long_message_keeps_its_length),
		cmocka_unit_test(test_print_progress_cut_connections_are_told),
		cmocka_unit_test(test_print_progress_first_start_and_stop_have_their_own_words),
		cmocka_unit_test(test_print_progress_failure_says_step_probe_and_stderr),
		cmocka_unit_test(test_print_progress_step_that_somebody_has_ended_has_not_failed),
		cmocka_unit_test(test_print_progress_failed_step_is_the_first_one),
		cmocka_unit_test(test_print_progress_rolled_back_says_who_serves),
		cmocka_unit_test(test_print_progress_fewer_than_wanted_are_numbers),
		cmocka_unit_test(test_print_progress_knows_gates_holds_and_waits),
		cmocka_unit_test(test_print_progress_unsure_gate_is_said_once),
		cmocka_unit_test(test_print_progress_waiting_without_a_message_gives_the_reason),
		cmocka_unit_test(test_print_progress_failing_hook_is_no_failed_step),
		cmocka_unit_test(test_print_progress_superseding_learns_its_generation),
		cmocka_unit_test(test_print_progress_end_of_the_superseded_is_one_line),
		cmocka_unit_test(test_print_progress_scale_has_its_own_words),
		cmocka_unit_test(test_print_event_waiting_is_known),
		cmocka_unit_test(test_print_event_new_kinds_are_one_line_each),
		cmocka_unit_test(test_print_progress_quiet_still_knows_the_step),
		cmocka_unit_test(test_print_progress_colours_mark_the_result),
		cmocka_unit_test(test_print_event_is_one_line),
		cmocka_unit_test(test_print_event_failure_has_its_reason_below),
		cmocka_unit_test(test_print_event_last_ones_are_known),
		cmocka_unit_test(test_print_event_warnings_stand_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
