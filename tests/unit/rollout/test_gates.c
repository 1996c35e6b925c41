/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Gates, with fakes in place of command.c and probe.c: one command or request is under way at a
 * time, and ends when the test says so.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/rollout/gates.h"
#include "tests/unit/fakes/fake_calls.h"

#define ALL (ROLLOUT_GATE_SHIFT | ROLLOUT_GATE_STEP | ROLLOUT_GATE_LEAVE)

/* ---- the fakes ------------------------------------------------------------------------------ */

struct command {
	void (*on_done)(void *userdata, const struct command_result *result);
	void *userdata;
};

struct probe {
	void (*on_done)(void *userdata, const struct probe_result *result);
	void *userdata;
};

static struct {
	struct command command;
	struct probe probe;
	bool command_runs, probe_runs;
	struct command_spec spec; /* the last one's */
	const char *refused;      /* what cannot be started says this */
} fake;

static char prober_object;
#define PROBER ((struct prober *)(void *)&prober_object)

static sd_event *event;

int command_start(sd_event *loop, const struct command_spec *spec,
		  void (*on_done)(void *userdata, const struct command_result *result),
		  void *userdata, struct command **ret, struct error *err)
{
	assert_ptr_equal(loop, event);
	assert_false(fake.command_runs || fake.probe_runs);
	called("run %s", spec->argv[0]);
	fake.spec = *spec;
	if (fake.refused)
		return error_text(err, -ENOENT, "%s", fake.refused);
	fake.command = (struct command){.on_done = on_done, .userdata = userdata};
	fake.command_runs = true;
	*ret = &fake.command;
	return 0;
}

void command_cancel(struct command *command)
{
	if (!command)
		return;
	assert_true(fake.command_runs);
	fake.command_runs = false;
	called("cancel command");
}

int probe_url(struct prober *prober, const char *url, const struct status_range *statuses,
	      size_t n_statuses, uint64_t timeout_ms,
	      void (*on_done)(void *userdata, const struct probe_result *result), void *userdata,
	      struct probe **ret, struct error *err)
{
	assert_ptr_equal(prober, PROBER);
	assert_false(fake.command_runs || fake.probe_runs);
	assert_int_equal(n_statuses, 1);
	called("get %s %u-%u %d", url, statuses[0].first, statuses[0].last, (int)timeout_ms);
	if (fake.refused)
		return error_text(err, -EINVAL, "%s", fake.refused);
	fake.probe = (struct probe){.on_done = on_done, .userdata = userdata};
	fake.probe_runs = true;
	*ret = &fake.probe;
	return 0;
}

void probe_cancel(struct probe *probe)
{
	if (!probe)
		return;
	assert_true(fake.probe_runs);
	fake.probe_runs = false;
	called("cancel probe");
}

/* ---- the questions -------------------------------------------------------------------------- */

static char *first_argv[] = {(char *)"/first", (char *)"argument", NULL};
static char *second_argv[] = {(char *)"/second", NULL};
static char *environment[] = {(char *)"BATON_SERVICE=web", NULL};

static struct gate_config asked[CONFIG_GATES_MAX];
static struct service_config config;
static struct gates_question question;
static struct gates *gates;
static struct error err;

static struct {
	int answers;
	enum gates_answer answer;
	char text[GATES_TEXT_MAX];
	bool again; /* ask again from within the answer */
} got;

static void ask(void);

static void on_answer(void *userdata, enum gates_answer answer, const char *text)
{
	assert_ptr_equal(userdata, &got);
	gates = NULL;
	got.answers++;
	got.answer = answer;
	assert_true(strlen(text) < sizeof(got.text));
	strcpy(got.text, text);
	if (got.again) {
		got.again = false;
		got.answers = 0;
		ask();
	}
}

/* Nothing may happen from within. */
static void ask(void)
{
	char before[CALLS_MAX];

	strcpy(before, calls);
	if (gates_ask(&question, on_answer, &got, &gates, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(calls, before);
	assert_int_equal(got.answers, 0);
}

static void turn(void)
{
	for (int i = 0; i < 3; i++)
		assert_true(sd_event_run(event, 0) >= 0);
}

static void end_command(int exit_code, int exit_signal, bool timed_out, const char *text)
{
	struct command_result result = {
		.exit_code = exit_code, .exit_signal = exit_signal, .timed_out = timed_out};

	assert_true(fake.command_runs);
	snprintf(result.text, sizeof(result.text), "%s", text);
	fake.command_runs = false;
	fake.command.on_done(fake.command.userdata, &result);
}

static void end_probe_with(struct probe_result result, const char *text)
{
	assert_true(fake.probe_runs);
	snprintf(result.text, sizeof(result.text), "%s", text);
	fake.probe_runs = false;
	fake.probe.on_done(fake.probe.userdata, &result);
}

static void end_probe(bool ok, const char *text)
{
	end_probe_with((struct probe_result){.ok = ok}, text);
}

#define assert_answer(expected, words)                                                             \
	do {                                                                                       \
		assert_int_equal(got.answers, 1);                                                  \
		assert_string_equal(got.text, words);                                              \
		assert_int_equal(got.answer, expected);                                            \
		assert_null(gates);                                                                \
		memset(&got, 0, sizeof(got));                                                      \
	} while (0)

static struct gate_config *add_gate(const char *name, unsigned at, char **exec, const char *http)
{
	struct gate_config *gate = &config.gates[config.n_gates++];

	*gate = (struct gate_config){
		.name = (char *)name,
		.at = at,
		.exec = exec,
		.http = (char *)http,
		.statuses = {{200, 299}},
		.n_statuses = 1,
		.timeout_ms = 1000 * config.n_gates,
		.min_connections = 1,
	};
	return gate;
}

static int setup(void **data)
{
	(void)data;
	memset(&config, 0, sizeof(config));
	memset(asked, 0, sizeof(asked));
	config.gates = asked;
	memset(&fake, 0, sizeof(fake));
	memset(&got, 0, sizeof(got));
	forget_calls();
	assert_true(sd_event_new(&event) >= 0);
	question = (struct gates_question){
		.event = event,
		.prober = PROBER,
		.config = &config,
		.point = ROLLOUT_GATE_SHIFT,
		.command = {.environment = environment,
			    .directory = "/srv",
			    .set_ids = true,
			    .uid = 7,
			    .timeout_ms = 1},
	};
	return 0;
}

static int teardown(void **data)
{
	(void)data;
	gates_cancel(gates);
	gates = NULL;
	event = sd_event_unref(event);
	return 0;
}

/* ---- which, and how long -------------------------------------------------------------------- */

static void test_gates_any_and_timeout_look_at_the_point(void **data)
{
	(void)data;
	assert_false(gates_any(&config, ROLLOUT_GATE_SHIFT));
	assert_int_equal(gates_timeout_ms(&config, ROLLOUT_GATE_SHIFT), 0);
	add_gate("a", ROLLOUT_GATE_SHIFT, first_argv, NULL);
	add_gate("b", ROLLOUT_GATE_SHIFT | ROLLOUT_GATE_LEAVE, second_argv, NULL);
	assert_true(gates_any(&config, ROLLOUT_GATE_SHIFT));
	assert_false(gates_any(&config, ROLLOUT_GATE_STEP));
	assert_true(gates_any(&config, ROLLOUT_GATE_LEAVE));
	assert_int_equal(gates_timeout_ms(&config, ROLLOUT_GATE_SHIFT), 3000);
	assert_int_equal(gates_timeout_ms(&config, ROLLOUT_GATE_STEP), 0);
	assert_int_equal(gates_timeout_ms(&config, ROLLOUT_GATE_LEAVE), 2000);
}

static void test_gates_none_at_the_point_pass(void **data)
{
	(void)data;
	ask();
	turn();
	assert_answer(GATES_PASSED, "no gate to ask");
	add_gate("a", ROLLOUT_GATE_LEAVE, first_argv, NULL);
	ask();
	turn();
	assert_answer(GATES_PASSED, "no gate to ask");
	assert_calls("");
}

/* ---- exec ----------------------------------------------------------------------------------- */

static void test_gates_exec_runs_as_told(void **data)
{
	(void)data;
	add_gate("smoke", ALL, first_argv, NULL);
	ask();
	turn();
	assert_calls("run /first");
	assert_ptr_equal(fake.spec.argv, first_argv);
	assert_int_equal(fake.spec.timeout_ms, 1000);
	assert_ptr_equal(fake.spec.environment, environment);
	assert_string_equal(fake.spec.directory, "/srv");
	assert_true(fake.spec.set_ids);
	assert_int_equal(fake.spec.uid, 7);
	end_command(0, 0, false, "exited with status 0: fine");
	assert_answer(GATES_PASSED, "gate smoke: exited with status 0: fine");
}

static void test_gates_exec_status_decides(void **data)
{
	static const struct {
		int exit_code, exit_signal;
		bool timed_out;
		const char *said;
		enum gates_answer answer;
		const char *text;
	} cases[] = {
		{1, 0, false, "exited with status 1: bad", GATES_REFUSED,
		 "gate smoke: exited with status 1: bad"},
		{2, 0, false, "exited with status 2: too early", GATES_UNSURE,
		 "gate smoke is unsure: exited with status 2: too early"},
		{3, 0, false, "exited with status 3", GATES_REFUSED,
		 "gate smoke: exited with status 3"},
		{127, 0, false, "x", GATES_REFUSED, "gate smoke: x"},
		{0, 11, false, "was killed by SIGSEGV", GATES_REFUSED,
		 "gate smoke: was killed by SIGSEGV"},
		{0, 9, true, "did not end within 1s", GATES_REFUSED,
		 "gate smoke: did not end within 1s"},
		{0, 0, true, "x", GATES_REFUSED, "gate smoke: x"},
		{2, 0, true, "x", GATES_REFUSED, "gate smoke: x"},
		{2, 2, false, "x", GATES_REFUSED, "gate smoke: x"},
	};

	(void)data;
	add_gate("smoke", ALL, first_argv, NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ask();
		turn();
		end_command(cases[i].exit_code, cases[i].exit_signal, cases[i].timed_out,
			    cases[i].said);
		assert_answer(cases[i].answer, cases[i].text);
	}
}

static void test_gates_exec_that_cannot_start_refuses(void **data)
{
	(void)data;
	add_gate("smoke", ALL, first_argv, NULL);
	fake.refused = "exec /first: No such file or directory";
	ask();
	turn();
	assert_answer(GATES_REFUSED, "gate smoke: exec /first: No such file or directory");
}

/* ---- http ----------------------------------------------------------------------------------- */

static void test_gates_http_status_decides(void **data)
{
	struct gate_config *gate = add_gate("errors", ALL, NULL, "http://m/alerts");

	(void)data;
	gate->statuses[0].first = gate->statuses[0].last = 204;
	ask();
	turn();
	assert_calls("get http://m/alerts 204-204 1000");
	end_probe(true, "GET http://m/alerts: 204 No Content");
	assert_answer(GATES_PASSED, "gate errors: GET http://m/alerts: 204 No Content");
	ask();
	turn();
	end_probe(false, "GET http://m/alerts: 500 is not in 204");
	assert_answer(GATES_REFUSED, "gate errors: GET http://m/alerts: 500 is not in 204");

	gate->http = (char *)"http://m/{generation}{x}";
	question.command.generation = 7;
	ask();
	turn();
	assert_calls("get http://m/alerts 204-204 1000; get http://m/7{x} 204-204 1000");
	end_probe_with((struct probe_result){.unasked = true}, "not asked: no ports");
	assert_answer(GATES_UNSURE, "gate errors is unsure: not asked: no ports");
	fake.refused = "probe: bad";
	ask();
	turn();
	assert_answer(GATES_REFUSED, "gate errors: probe: bad");
}

/* ---- several -------------------------------------------------------------------------------- */

static void test_gates_several_are_asked_in_order(void **data)
{
	(void)data;
	add_gate("a", ALL, first_argv, NULL);
	add_gate("other", ROLLOUT_GATE_LEAVE, second_argv, NULL);
	add_gate("b", ROLLOUT_GATE_SHIFT, NULL, "http://m/");
	add_gate("c", ALL, second_argv, NULL);
	ask();
	turn();
	assert_calls("run /first");
	end_command(0, 0, false, "fine");
	assert_calls("get http://m/ 200-299 3000");
	assert_int_equal(got.answers, 0);
	end_probe(true, "fine");
	assert_calls("run /second");
	assert_int_equal(fake.spec.timeout_ms, 4000);
	end_command(0, 0, false, "fine");
	assert_answer(GATES_PASSED, "all 3 gates passed");
	assert_calls("");
}

static void test_gates_first_that_does_not_pass_decides(void **data)
{
	(void)data;
	add_gate("a", ALL, first_argv, NULL);
	add_gate("b", ALL, NULL, "http://m/");
	add_gate("c", ALL, second_argv, NULL);
	ask();
	turn();
	end_command(0, 0, false, "fine");
	end_probe(false, "500");
	assert_answer(GATES_REFUSED, "gate b: 500");
	assert_calls("run /first; get http://m/ 200-299 2000");
	/* Unsure comes first, though a later one would refuse. */
	ask();
	turn();
	end_command(2, 0, false, "hm");
	assert_answer(GATES_UNSURE, "gate a is unsure: hm");
	assert_calls("run /first");
}

/* ---- too few connections -------------------------------------------------------------------- */

static void test_gates_too_few_connections_are_unsure(void **data)
{
	struct gate_config *gate = add_gate("smoke", ALL, first_argv, NULL);

	(void)data;
	gate->min_connections = 100;
	question.connections_known = true;
	for (int i = 0; i < 2; i++) {
		question.point = i ? ROLLOUT_GATE_STEP : ROLLOUT_GATE_LEAVE;
		question.connections = 3;
		ask();
		turn();
		assert_answer(GATES_UNSURE, "gate smoke is unsure: 3 connections to the new "
					    "generation, it wants 100");
		question.connections = 1;
		ask();
		turn();
		assert_answer(GATES_UNSURE, "gate smoke is unsure: 1 connection to the new "
					    "generation, it wants 100");
		assert_calls("");
		question.connections = 100;
		ask();
		turn();
		assert_calls("run /first");
		end_command(0, 0, false, "fine");
		assert_answer(GATES_PASSED, "gate smoke: fine");
	}
	/* Before the shift there can be none. */
	question.point = ROLLOUT_GATE_SHIFT;
	question.connections = 0;
	ask();
	turn();
	assert_calls("run /first");
}

static void test_gates_connections_not_known_are_unsure(void **data)
{
	struct gate_config *gate = add_gate("smoke", ALL, first_argv, NULL);

	(void)data;
	question.point = ROLLOUT_GATE_LEAVE;
	question.connections = 1000; /* means nothing */
	ask();
	turn();
	assert_answer(GATES_UNSURE, "gate smoke is unsure: the connections to the new generation "
				    "cannot be counted here, it wants 1 (\"min_connections\")");
	assert_calls("");
	gate->min_connections = 0;
	ask();
	turn();
	assert_calls("run /first");
}

static void test_gates_too_few_for_a_later_one_only(void **data)
{
	(void)data;
	add_gate("a", ALL, first_argv, NULL)->min_connections = 5;
	add_gate("b", ALL, second_argv, NULL)->min_connections = 50;
	question.point = ROLLOUT_GATE_STEP;
	question.connections_known = true;
	question.connections = 7;
	ask();
	turn();
	end_command(0, 0, false, "fine");
	assert_answer(GATES_UNSURE,
		      "gate b is unsure: 7 connections to the new generation, it wants 50");
	assert_calls("run /first");
}

/* ---- the rest ------------------------------------------------------------------------------- */

static void test_gates_cancel_at_every_stage_is_silent(void **data)
{
	(void)data;
	gates_cancel(NULL);
	add_gate("a", ALL, first_argv, NULL);
	add_gate("b", ALL, NULL, "http://m/");
	ask();
	gates_cancel(TAKE_PTR(gates));
	turn();
	assert_calls("");
	ask();
	turn();
	gates_cancel(TAKE_PTR(gates));
	assert_calls("run /first; cancel command");
	ask();
	turn();
	end_command(0, 0, false, "fine");
	gates_cancel(TAKE_PTR(gates));
	assert_calls("run /first; get http://m/ 200-299 2000; cancel probe");
	turn();
	assert_int_equal(got.answers, 0);
}

static void test_gates_ask_again_from_the_answer_works(void **data)
{
	(void)data;
	add_gate("a", ALL, first_argv, NULL);
	got.again = true;
	ask();
	turn();
	end_command(2, 0, false, "hm");
	assert_int_equal(got.answers, 0);
	turn();
	end_command(0, 0, false, "fine");
	assert_answer(GATES_PASSED, "gate a: fine");
}

static void test_gates_long_text_is_cut_but_stays_utf8(void **data)
{
	char name[81] = "", said[COMMAND_TEXT_MAX] = "";

	(void)data;
	memset(name, 'n', 79);
	memset(said, 'x', sizeof(said) - 1);
	/* "gate ", the name, ": ", and so much that one byte of the next character fits. */
	memcpy(said + GATES_TEXT_MAX - 1 - 5 - 79 - 2 - 1, "\xc3\xbc", 2);
	add_gate(name, ALL, first_argv, NULL);
	ask();
	turn();
	end_command(1, 0, false, said);
	assert_int_equal(got.answers, 1);
	assert_int_equal(strlen(got.text), GATES_TEXT_MAX - 1);
	assert_string_equal(got.text + GATES_TEXT_MAX - 3, "x?");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_gates_any_and_timeout_look_at_the_point),
		TEST(test_gates_none_at_the_point_pass),
		TEST(test_gates_exec_runs_as_told),
		TEST(test_gates_exec_status_decides),
		TEST(test_gates_exec_that_cannot_start_refuses),
		TEST(test_gates_http_status_decides),
		TEST(test_gates_several_are_asked_in_order),
		TEST(test_gates_first_that_does_not_pass_decides),
		TEST(test_gates_too_few_connections_are_unsure),
		TEST(test_gates_connections_not_known_are_unsure),
		TEST(test_gates_too_few_for_a_later_one_only),
		TEST(test_gates_cancel_at_every_stage_is_silent),
		TEST(test_gates_ask_again_from_the_answer_works),
		TEST(test_gates_long_text_is_cut_but_stays_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
