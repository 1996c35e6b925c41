/* SPDX-License-Identifier: BSD-2-Clause */
/* What a service is doing, in one word, and what its generations are to it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/view/status_fixture.h"

/* ---- states --------------------------------------------------------------------------------- */

#define assert_none_at_all(key) assert_null(json_object_get(json, key))

static void test_status_never_started_is_stopped(void **state)
{
	(void)state;
	assert_state("stopped");
	assert_text("service", "web");
	assert_text("mode", "auto");
	assert_true(json_is_null(at("tier"))); /* it is chosen when it is opened */
	assert_true(json_is_false(at("paused")));
	assert_number("hold_ms", 0);
	assert_number("failover.count", 0);
	assert_number("failover.carried", 0);
	assert_true(json_is_null(at("failover.last")));
	assert_none_at_all("tier_reason");
	assert_number("instances", 4);
	assert_text("strategy", "blue-green");
	assert_number("restarts.used", 0);
	assert_true(json_is_null(at("rollout")));
	assert_true(json_is_null(at("last_rollout")));
	assert_int_equal(json_array_size(at("generations")), 0);
	assert_int_equal(json_array_size(at("command")), 3);
	assert_text("command.2", "{fd}");
	assert_null(json_object_get(json, "reason"));
}

static void test_status_of_what_waits_for_agents_names_them(void **state)
{
	struct takeover_agent late[] = {
		{.state = TAKEOVER_AWAITED,
		 .noted = true,
		 .hello = {.service = "web", .generation = 3, .agent_pid = 7, .pid = 8}},
		{.state = TAKEOVER_AWAITED,
		 .hello = {.service = "web", .generation = 3, .instance = 1}},
		{.hello = {.service = "web", .generation = 3, .instance = 2}},
		{.state = TAKEOVER_AWAITED, .hello = {.service = "api", .generation = 1}},
	};
	struct takeover_agent *agents[] = {&late[0], &late[1], &late[2], &late[3]};
	const struct takeover_list list = {.agents = agents, .n = 4};
	const char *reason;

	(void)state;
	for (size_t k = 0; k < 4; k++)
		late[k].asked_ms = clock_monotonic_ms() - 2000;
	service.awaited = &list;
	assert_state("waiting");
	assert_text("condition", "degraded");
	assert_int_equal(json_array_size(at("awaited")), 2);
	assert_number("awaited.0.generation", 3);
	assert_number("awaited.0.agent_pid", 7);
	assert_number("awaited.0.pid", 8);
	assert_number("awaited.1.instance", 1);
	assert_true(json_is_null(at("awaited.1.agent_pid")));
	assert_true(json_is_null(at("awaited.1.pid")));
	reason = json_string_value(at("reason"));
	assert_non_null(strstr(reason, "instance 0 of generation 3 (agent pid 7, server pid 8, "));
	assert_non_null(strstr(reason, ", and 1 more; "));
	service.awaited = NULL;
}

static void test_status_of_what_waits_for_its_turn_says_for_what(void **state)
{
	struct waiting_line line = {.max = 2, .taken = 2};

	(void)state;
	context.line = &line;
	config.drain.generations_max = 4;
	service.queue.next = (struct service_next){
		.used = true, .id = 7, .order = {.type = SERVICE_ORDER_START}};
	assert_state("starting");
	assert_number("waits.rollout", 7);
	assert_text("waits.order", "start");
	assert_text("waits.reason", "2 of 2 rollouts are under way");
	service.queue.next.used = false;
	assert_state("stopped");
	assert_none_at_all("waits");
	service.queue.has_own = true;
	service.queue.own = SERVICE_ORDER_RESTART;
	assert_state("starting");
	assert_true(json_is_null(at("waits.rollout")));
	assert_text("waits.order", "restart");
	service.queue.has_own = false;
	context.line = NULL;
}

static void test_status_of_what_was_left_out_has_its_mistakes(void **state)
{
	char *texts[] = {(char *)"a.json: services.bad.x: unknown key", (char *)"two", NULL};
	struct config_refused refused = {.name = (char *)"bad", .mistakes = texts, .total = 2};

	(void)state;
	json = status_refused(&refused);
	assert_text("service", "bad");
	assert_text("state", "refused");
	assert_text("reason", "a.json: services.bad.x: unknown key; two "
			      "(mend the configuration, then: baton reload)");
	assert_int_equal(json_array_size(at("mistakes")), 2);
	assert_text("mistakes.1", "two");
	assert_int_equal(json_array_size(at("generations")), 0);
	assert_int_equal(json_array_size(at("command")), 0);
	assert_true(json_is_null(at("rollout")));
	json_decref(json);
	refused.total = 70;
	json = status_refused(&refused);
	assert_non_null(strstr(json_string_value(at("reason")), "; two; and more (mend"));
}

static void test_status_first_start_is_starting(void **state)
{
	(void)state;
	add_run(0, RUN_ORDER_START, add_generation(1), NULL, ROLLOUT_VERIFYING);
	assert_state("starting");
	assert_text("generations.0.state", "candidate");
	assert_text("rollout.order", "start");
	assert_text("rollout.step", "verify");
	assert_number("rollout.rollout", 20);
	assert_number("rollout.generation", 1);
	assert_true(json_is_null(at("rollout.replaces")));
	assert_true(json_integer_value(at("rollout.elapsed_ms")) < 60000);
}

static void test_status_running_serves(void **state)
{
	(void)state;
	service.current = add_generation(1);
	assert_state("running");
	assert_text("generations.0.state", "current");
	assert_true(json_is_null(at("rollout")));
}

static void test_status_before_the_shift_is_rolling(void **state)
{
	(void)state;
	service.current = add_generation(1);
	add_run(0, RUN_ORDER_RESTART, add_generation(2), service.current, ROLLOUT_STARTING);
	assert_state("rolling");
	assert_text("generations.0.state", "current");
	assert_text("generations.1.state", "candidate");
	assert_text("rollout.step", "start");
	assert_number("rollout.replaces", 1);
}

static void test_status_after_the_shift_is_rolling_still(void **state)
{
	(void)state;
	service.current = add_generation(1);
	shift(add_run(0, RUN_ORDER_RESTART, add_generation(2), service.current, ROLLOUT_BAKING));
	assert_state("rolling");
	assert_text("generations.0.state", "previous");
	assert_text("generations.1.state", "current");
	assert_text("rollout.step", "bake");
}

static void test_status_after_the_commit_is_running(void **state)
{
	static const struct {
		enum rollout_state at;
		const char *role;
	} cases[] = {
		{ROLLOUT_LEAVING, "leaving"},
		{ROLLOUT_DRAINING, "draining"},
		{ROLLOUT_STOPPING, "stopping"},
	};
	struct generation *old;
	struct run *run;

	(void)state;
	old = add_generation(1);
	service.current = add_generation(2);
	run = add_run(0, RUN_ORDER_RESTART, service.current, old, ROLLOUT_IDLE);
	commit(run);
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		run->machine.state = cases[k].at;
		assert_state("running");
		assert_text("generations.0.state", cases[k].role);
		assert_text("generations.1.state", "current");
		assert_text("rollout.order", "restart");
	}
}

static void test_status_undone_is_running_once_that_is_decided(void **state)
{
	struct run *run;

	(void)state;
	service.current = add_generation(1);
	run = add_run(0, RUN_ORDER_RESTART, add_generation(2), service.current, ROLLOUT_STOPPING);
	run->machine.outcome = ROLLOUT_FAILED;
	run->machine.to = ROLLOUT_OLD;
	make_victims(run, run->new);
	assert_state("running");
	assert_text("generations.0.state", "current");
	assert_text("generations.1.state", "stopping");
	assert_true(json_is_true(at("rollout.undone")));
	run->machine.outcome = ROLLOUT_ROLLED_BACK;
	run->machine.state = ROLLOUT_DRAINING;
	assert_state("running");
	assert_text("generations.1.state", "draining");
	run->machine.state = ROLLOUT_SETTLING;
	assert_state("rolling");
	assert_text("generations.1.state", "candidate");
}

static void test_status_stop_is_stopping(void **state)
{
	(void)state;
	service.current = add_generation(1);
	add_run(0, RUN_ORDER_STOP, NULL, service.current, ROLLOUT_SETTLING);
	assert_state("stopping");
	assert_true(json_is_null(at("rollout.generation")));
	assert_number("rollout.replaces", 1);
}

static void test_status_stop_is_stopping_while_it_drains(void **state)
{
	(void)state;
	service.current = add_generation(1);
	add_run(0, RUN_ORDER_STOP, NULL, service.current, ROLLOUT_DRAINING);
	instances[0][0].phase = INSTANCE_LEFT;
	assert_state("stopping");
}

static void test_status_retiring_others_is_running(void **state)
{
	struct generation *retired;

	(void)state;
	retired = add_generation(1);
	service.current = add_generation(2);
	add_run(0, RUN_ORDER_RETIRE, NULL, retired, ROLLOUT_SETTLING)->machine.retire = true;
	assert_state("running");
	assert_text("generations.0.state", "previous");
	assert_text("generations.1.state", "current");
}

static void test_status_current_one_dead_is_failed_and_says_why(void **state)
{
	struct instance *i;

	(void)state;
	service.current = add_generation(1);
	i = service.current->instances.list[0];
	i->phase = INSTANCE_FAILED;
	i->pid = 0;
	i->agent_said = AGENT_FAILED;
	strcpy(i->failure, "exited with status 3");
	assert_state("failed");
	assert_text("reason", "instance 0: exited with status 3");
	assert_text("generations.0.state", "failed");
	assert_text("generations.0.instances.0.state", "failed");
	assert_text("generations.0.instances.0.failure", "exited with status 3");
	assert_number("generations.0.instances.0.pid", 0);
}

static void fall_ill(struct instance *i, const char *text)
{
	struct checker *checker = &i->checks.list[0].checker;

	checker->health.state = HEALTH_UNHEALTHY;
	checker->last_ms = clock_monotonic_ms();
	snprintf(checker->last.text, sizeof(checker->last.text), "%s", text);
}

static void test_status_unhealthy_is_degraded_with_a_reason(void **state)
{
	(void)state;
	service.current = add_generation(1);
	fall_ill(&instances[0][0], "GET /: 500");
	assert_state("degraded");
	assert_text("reason", "instance 0: GET /: 500");
	assert_text("generations.0.state", "current");
	assert_text("generations.0.instances.0.health.state", "unhealthy");
}

static void test_status_with_one_of_several_dead_is_degraded(void **state)
{
	(void)state;
	service.current = add_generation(1);
	add_instance(service.current);
	instances[0][1].phase = INSTANCE_FAILED;
	strcpy(instances[0][1].failure, "exited with status 3");
	assert_state("degraded");
	assert_text("reason", "instance 1: exited with status 3");
	assert_text("generations.0.state", "current");
	instances[0][0].phase = INSTANCE_FAILED;
	assert_state("failed");
}

/* Also where everything that is there is well: something may be missing. */
static void test_status_degraded_says_why(void **state)
{
	(void)state;
	service.current = add_generation(1);
	strcpy(service.healing.degraded, "1 of 2 instances are missing; it is not started again");
	assert_state("degraded");
	assert_text("reason", "1 of 2 instances are missing; it is not started again");
	service.healing.degraded[0] = '\0';
	assert_state("running");
	assert_none_at_all("reason");
}

/* What goes is not what the service is judged by. */
static void test_status_with_an_unhealthy_one_on_its_way_out_is_running(void **state)
{
	struct run *run;

	(void)state;
	service.current = add_generation(1);
	add_instance(service.current);
	run = add_run(0, RUN_ORDER_SCALE, NULL, service.current, ROLLOUT_DRAINING);
	run->partial = true;
	instances_add(&run->victims, &instances[0][1]);
	fall_ill(&instances[0][1], "GET /: 500");
	assert_state("running");
	assert_text("generations.0.state", "current");
	assert_text("rollout.order", "scale");
}

/* Nobody has asked for it: it says what the service is like without it. */
static void test_status_replacement_is_not_rolling(void **state)
{
	struct run *run;

	(void)state;
	service.current = add_generation(1);
	fall_ill(&instances[0][0], "GET /: 500");
	run = add_run(0, RUN_ORDER_REPLACE, service.current, service.current, ROLLOUT_VERIFYING);
	run->partial = run->automatic = true;
	assert_state("degraded");
	assert_text("rollout.order", "replace");
	assert_text("rollout.step", "verify");
	run->order = RUN_ORDER_SCALE;
	run->automatic = false;
	assert_state("rolling");
	run->old = NULL;
	assert_state("rolling"); /* scaled up: it serves all the while */
}

static void test_status_of_a_refused_start_is_failed(void **state)
{
	(void)state;
	strcpy(service.refusal, "command: no such program");
	assert_state("failed");
	assert_text("reason", "command: no such program");
}

/* ---- how a rollout stands ------------------------------------------------------------------- */

static void test_status_rollout_says_strategy_and_how_many(void **state)
{
	struct run *run;

	(void)state;
	service.current = add_generation(1);
	add_instance(service.current);
	run = add_run(0, RUN_ORDER_RESTART, add_generation(2), service.current, ROLLOUT_STARTING);
	look();
	assert_text("rollout.strategy", "blue-green");
	assert_true(json_is_null(at("rollout.weight")));
	assert_true(json_is_null(at("rollout.waiting")));
	assert_true(json_is_null(at("rollout.waiting_ms")));
	assert_number("rollout.instances.old", 2);
	assert_number("rollout.instances.new", 1);
	assert_true(json_is_false(at("rollout.undone")));
	assert_none("rollout", "reason");
	run->machine.policy.strategy = ROLLOUT_ROLLING;
	strcpy(run->reason, "aborted by request");
	look();
	assert_text("rollout.strategy", "rolling");
	assert_text("rollout.reason", "aborted by request");
}

static void test_status_rollout_says_what_it_waits_for(void **state)
{
	struct run *run;

	(void)state;
	service.current = add_generation(1);
	run = add_run(0, RUN_ORDER_RESTART, add_generation(2), service.current, ROLLOUT_DWELLING);
	run->machine.policy.strategy = ROLLOUT_CANARY;
	run->machine.weight = 25;
	run->machine.policy.steps[0].weight = 25;
	run->machine.policy.steps[0].dwell_ms = 60000;
	run->deadline_ms = clock_monotonic_ms() + 60000;
	look();
	assert_text("rollout.step", "hold");
	assert_text("rollout.waiting", "hold");
	assert_number("rollout.weight", 25);
	assert_in_range(json_integer_value(at("rollout.waiting_ms")), 1, 60000);
	run->machine.policy.steps[0].manual = true;
	look();
	assert_text("rollout.waiting", "promote");
	run->machine.state = ROLLOUT_WAITING;
	look();
	assert_text("rollout.step", "wait");
	assert_text("rollout.waiting", "gate");
	strcpy(run->answer_text, "gate errors is unsure: 3 requests");
	look();
	assert_text("rollout.reason", "gate errors is unsure: 3 requests");
	/* The deadline has passed, but has not been seen to yet. */
	run->deadline_ms = 1;
	look();
	assert_true(json_is_null(at("rollout.waiting_ms")));
	run->machine.state = ROLLOUT_GATING;
	look();
	assert_true(json_is_null(at("rollout.waiting")));
}

static void test_status_of_a_rolling_one_has_two_generations_that_serve(void **state)
{
	struct run *run;

	(void)state;
	service.current = add_generation(1);
	add_instance(service.current);
	run = add_run(0, RUN_ORDER_RESTART, add_generation(2), service.current, ROLLOUT_DRAINING);
	run->machine.policy.strategy = ROLLOUT_ROLLING;
	run->machine.wanted[ROLLOUT_NEW] = 2;
	run->machine.shifted = true;
	instances_add(&run->victims, &instances[0][1]);
	run->machine.victims = 1;
	instances[0][1].role = INSTANCE_OUT;
	assert_state("rolling");
	assert_text("generations.0.state", "current");
	assert_text("generations.1.state", "candidate");
}

/* ---- how it has ended ----------------------------------------------------------------------- */

static void test_status_failed_first_start_is_failed(void **state)
{
	(void)state;
	service.last = (struct run_result){
		.id = 3,
		.order = RUN_ORDER_START,
		.outcome = ROLLOUT_FAILED,
		.exit = 3,
		.generation = 1,
		.took_ms = 1234,
		.realtime_ms = 1700000000042,
		.step = "verify",
		.reason = "generation 1 was not healthy within 60s",
		.probe = "GET /: 503",
		.words.text = "no database\n",
	};
	assert_state("failed");
	assert_text("reason", "generation 1 was not healthy within 60s");
	assert_number("last_rollout.rollout", 3);
	assert_text("last_rollout.result", "failed");
	assert_number("last_rollout.exit", 3);
	assert_number("last_rollout.generation", 1);
	assert_true(json_is_null(at("last_rollout.replaces")));
	assert_number("last_rollout.took_ms", 1234);
	assert_text("last_rollout.step", "verify");
	assert_text("last_rollout.probe", "GET /: 503");
	assert_text("last_rollout.tail", "no database\n");
	assert_text("failure.tail", "no database\n");
	assert_text("failure.tail_stream", "stderr");
	assert_text("failure.connections", "refused");
	assert_text("failure.advice", "\"baton restart web\" tries now");
	assert_true(json_is_null(at("failure.retry_ms")));
	assert_text("last_rollout.time", "2023-11-14T22:13:20.042Z");
}

static void test_status_failed_restart_is_running_with_a_reason(void **state)
{
	(void)state;
	service.current = add_generation(1);
	service.last = (struct run_result){
		.id = 3,
		.order = RUN_ORDER_RESTART,
		.outcome = ROLLOUT_ROLLED_BACK,
		.reason = "rolled back by request",
	};
	assert_state("running");
	assert_text("reason", "rolled back by request");
	assert_text("last_rollout.result", "rolled-back");
	service.last.outcome = ROLLOUT_DONE;
	look();
	assert_null(json_object_get(json, "reason"));
}

static void test_status_after_a_stop_is_stopped(void **state)
{
	(void)state;
	service.last = (struct run_result){.id = 4, .order = RUN_ORDER_STOP, .replaces = 1};
	assert_state("stopped");
	assert_text("last_rollout.message", "generation 1 is gone");
	assert_null(json_object_get(json, "reason"));
}

/* The rollout that can still go either way is the one that is told. */
static void test_status_of_two_rollouts_tells_the_undecided(void **state)
{
	struct generation *old, *middle;

	(void)state;
	old = add_generation(1);
	middle = service.current = add_generation(2);
	commit(add_run(1, RUN_ORDER_RESTART, middle, old, ROLLOUT_DRAINING));
	add_run(0, RUN_ORDER_UPGRADE, add_generation(3), middle, ROLLOUT_VERIFYING);
	assert_state("rolling");
	assert_number("rollout.rollout", 20);
	assert_text("generations.0.state", "draining");
	assert_text("generations.1.state", "current");
	assert_text("generations.2.state", "candidate");
}

static void test_status_crash_loop_says_since_when_and_what_to_type(void **state)
{
	struct past before = {.generation = 1, .release = &release, .config = &config};
	struct past newest = {.generation = 2, .release = &release, .config = &config};
	struct instance *i;

	(void)state;
	service.current = add_generation(1);
	i = &instances[0][0];
	i->phase = INSTANCE_FAILED;
	i->pid = 0;
	strcpy(i->failure, "exited with status 1");
	strcpy(i->tail, "panic");
	i->tail_realtime_ms = 1700000000042;
	service.failed_realtime_ms = 1700000000142;
	service.healing.at_ms = clock_monotonic_ms() + 60000;
	config.restart.max = 5;
	assert_state("failed");
	assert_text("reason", "instance 0: exited with status 1");
	assert_text("failure.since", "2023-11-14T22:13:20.142Z");
	assert_text("failure.tail", "panic");
	assert_text("failure.tail_time", "2023-11-14T22:13:20.042Z");
	assert_in_range(json_integer_value(at("failure.retry_ms")), 50000, 60000);
	service.history.past = (struct history){.list = {&before, &newest}, .n = 2};
	assert_state("failed");
	assert_text("failure.advice", "\"baton restart web\" tries now; \"baton rollback web\" "
				      "goes back to the last release that served well");
	service.history.past = (struct history){};
}

static void test_status_of_what_serves_has_no_failure(void **state)
{
	(void)state;
	service.current = add_generation(1);
	assert_state("running");
	assert_none("", "failure");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_status_never_started_is_stopped),
		TEST(test_status_of_what_waits_for_agents_names_them),
		TEST(test_status_of_what_was_left_out_has_its_mistakes),
		TEST(test_status_of_what_waits_for_its_turn_says_for_what),
		TEST(test_status_first_start_is_starting),
		TEST(test_status_running_serves),
		TEST(test_status_before_the_shift_is_rolling),
		TEST(test_status_after_the_shift_is_rolling_still),
		TEST(test_status_after_the_commit_is_running),
		TEST(test_status_undone_is_running_once_that_is_decided),
		TEST(test_status_stop_is_stopping),
		TEST(test_status_stop_is_stopping_while_it_drains),
		TEST(test_status_retiring_others_is_running),
		TEST(test_status_current_one_dead_is_failed_and_says_why),
		TEST(test_status_unhealthy_is_degraded_with_a_reason),
		TEST(test_status_with_one_of_several_dead_is_degraded),
		TEST(test_status_degraded_says_why),
		TEST(test_status_with_an_unhealthy_one_on_its_way_out_is_running),
		TEST(test_status_replacement_is_not_rolling),
		TEST(test_status_of_a_refused_start_is_failed),
		TEST(test_status_rollout_says_strategy_and_how_many),
		TEST(test_status_rollout_says_what_it_waits_for),
		TEST(test_status_of_a_rolling_one_has_two_generations_that_serve),
		TEST(test_status_failed_first_start_is_failed),
		TEST(test_status_failed_restart_is_running_with_a_reason),
		TEST(test_status_after_a_stop_is_stopped),
		TEST(test_status_of_two_rollouts_tells_the_undecided),
		TEST(test_status_crash_loop_says_since_when_and_what_to_type),
		TEST(test_status_of_what_serves_has_no_failure),
	};
#undef TEST

	return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
