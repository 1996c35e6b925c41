/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A service as JSON. Services and generations are put together by hand, so that each stands where
 * the test wants it; what is counted of them comes from fakes.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/clock.h"
#include "orchestrator/status.h"
#include "tests/unit/fake_host.h"
#include "tests/unit/fake_steer.h"

static struct context context;
static struct service_config config;
static struct release release;
static struct steer endpoint_0, endpoint_1;
static struct service service;
static struct generation generations[3]; /* number N is at N - 1 */
static struct agentlink link_of_all = {.pid = 500};
static json_t *json;

static char *command[] = {(char *)"/bin/web", (char *)"--fd", (char *)"{fd}", NULL};
static char *running_command[] = {(char *)"./web", NULL};

/* ---- life ----------------------------------------------------------------------------------- */

static void open_endpoints(void)
{
	service.endpoints[0] = &endpoint_0;
	service.endpoints[1] = &endpoint_1;
	service.open = true;
}

static struct generation *add_generation(uint32_t number)
{
	struct generation *g = &generations[number - 1];

	open_endpoints();
	*g = (struct generation){
		.number = number,
		.config = &config,
		.release = &release,
		.n_instances = 1,
		.started_ms = clock_monotonic_ms() - 5000,
		.started_realtime_ms = 1700000000042,
	};
	g->instances[0] = (struct instance){
		.context = &context,
		.config = &config,
		.endpoints = service.endpoints,
		.generation = number,
		.cgroup = "/cgroup/web",
		.cgroup_id = number,
		.link = &link_of_all,
		.sockets = {{.cookie = 10 * number, .slot = (uint16_t)number, .joined = true},
			    {.cookie = 10 * number + 1, .slot = (uint16_t)number, .joined = true}},
		.pid = 600 + (pid_t)number,
		.state = AGENT_RUNNING,
		.joined = true,
	};
	service.generations[service.n_generations++] = g;
	return g;
}

/* A rollout that is at this step, well so far. */
static struct run *add_run(size_t k, const char *order, struct generation *new,
			   struct generation *old, enum rollout_state at)
{
	static const struct rollout_policy policy;
	struct run *run = &service.runs[k];

	run->service = &service;
	run->id = 20 + (uint32_t)k;
	run->order = order;
	run->new = new;
	run->old = old;
	run->new_number = new ? new->number : 0;
	run->old_number = old ? old->number : 0;
	run->began_ms = clock_monotonic_ms();
	rollout_init(&run->machine, &policy, old != NULL, new != NULL);
	run->machine.state = at;
	return run;
}

static int set_up(void **state)
{
	(void)state;
	fake_host_reset();
	fake_steer_reset();
	config = (struct service_config){
		.name = (char *)"web",
		.command = command,
		.n_listen = 2,
		.instances = 4,
		.health.kind = HEALTH_HTTP,
	};
	assert_int_equal(address_parse("127.0.0.1:80", &config.listen[0], NULL), 0);
	assert_int_equal(address_parse("127.0.0.1:81", &config.listen[1], NULL), 0);
	release = (struct release){
		.command = running_command,
		.executable = (char *)"/srv/v1/web",
		.directory = (char *)"/srv/v1",
	};
	endpoint_0 = (struct steer){.address = config.listen[0]};
	endpoint_1 = (struct steer){.address = config.listen[1]};
	service = (struct service){.context = &context, .config = &config};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	json_decref(json);
	json = NULL;
	return 0;
}

/* ---- looking -------------------------------------------------------------------------------- */

static void look(void)
{
	json_decref(json);
	json = status_service(&service);
	assert_non_null(json);
}

/* The value at "a.0.b"; it must be there. */
static json_t *at(const char *path)
{
	char copy[128];
	json_t *value = json;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *part = strtok(copy, "."); part; part = strtok(NULL, ".")) {
		value = json_is_array(value) ? json_array_get(value, (size_t)atoi(part))
					     : json_object_get(value, part);
		if (!value)
			fail_msg("no %s (of %s)", part, path);
	}
	return value;
}

#define assert_text(path, expected)                                                                \
	do {                                                                                       \
		assert_true(json_is_string(at(path)));                                             \
		assert_string_equal(json_string_value(at(path)), expected);                        \
	} while (0)

#define assert_number(path, expected)                                                              \
	do {                                                                                       \
		assert_true(json_is_integer(at(path)));                                            \
		assert_int_equal(json_integer_value(at(path)), expected);                          \
	} while (0)

#define assert_none(path, key) assert_null(json_object_get(at(path), key))

static void assert_state(const char *expected)
{
	assert_string_equal(status_state(&service), expected);
	look();
	assert_text("state", expected);
}

/* ---- states --------------------------------------------------------------------------------- */

static void test_status_never_started_is_stopped(void **state)
{
	(void)state;
	assert_state("stopped");
	assert_text("service", "web");
	assert_text("mode", "inherit");
	assert_text("tier", "ebpf");
	assert_number("instances", 4);
	assert_true(json_is_null(at("rollout")));
	assert_true(json_is_null(at("last_rollout")));
	assert_int_equal(json_array_size(at("generations")), 0);
	assert_int_equal(json_array_size(at("command")), 3);
	assert_text("command.2", "{fd}");
	assert_null(json_object_get(json, "reason"));
}

static void test_status_first_start_is_starting(void **state)
{
	(void)state;
	add_run(0, "start", add_generation(1), NULL, ROLLOUT_VERIFYING);
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
	service.current = service.primary = add_generation(1);
	assert_state("running");
	assert_text("generations.0.state", "current");
	assert_true(json_is_null(at("rollout")));
}

static void test_status_before_the_shift_is_rolling(void **state)
{
	(void)state;
	service.current = service.primary = add_generation(1);
	add_run(0, "restart", add_generation(2), service.current, ROLLOUT_STARTING);
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
	service.primary = add_generation(2);
	add_run(0, "restart", service.primary, service.current, ROLLOUT_BAKING);
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
	service.current = service.primary = add_generation(2);
	run = add_run(0, "restart", service.current, old, ROLLOUT_IDLE);
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
	service.current = service.primary = add_generation(1);
	run = add_run(0, "restart", add_generation(2), service.current, ROLLOUT_STOPPING);
	run->machine.outcome = ROLLOUT_FAILED;
	assert_state("running");
	assert_text("generations.0.state", "current");
	assert_text("generations.1.state", "stopping");
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
	add_run(0, "stop", NULL, service.current, ROLLOUT_SETTLING);
	assert_state("stopping");
	assert_true(json_is_null(at("rollout.generation")));
	assert_number("rollout.replaces", 1);
}

static void test_status_stop_is_stopping_while_it_drains(void **state)
{
	(void)state;
	service.current = add_generation(1);
	add_run(0, "stop", NULL, service.current, ROLLOUT_DRAINING);
	service.current->instances[0].leaving = service.current->instances[0].left = true;
	assert_state("stopping");
}

static void test_status_retiring_others_is_running(void **state)
{
	struct generation *retired;

	(void)state;
	retired = add_generation(1);
	service.current = service.primary = add_generation(2);
	add_run(0, "retire", NULL, retired, ROLLOUT_SETTLING);
	assert_state("running");
	assert_text("generations.0.state", "previous");
	assert_text("generations.1.state", "current");
}

static void test_status_current_one_dead_is_failed_and_says_why(void **state)
{
	struct instance *i;

	(void)state;
	service.current = service.primary = add_generation(1);
	i = &service.current->instances[0];
	i->failed = true;
	i->pid = 0;
	i->state = AGENT_FAILED;
	strcpy(i->failure, "exited with status 3");
	assert_state("failed");
	assert_text("reason", "exited with status 3");
	assert_text("generations.0.state", "failed");
	assert_text("generations.0.instances.0.state", "failed");
	assert_text("generations.0.instances.0.failure", "exited with status 3");
	assert_number("generations.0.instances.0.pid", 0);
}

static void test_status_unhealthy_is_running_with_a_reason(void **state)
{
	struct checker *checker;

	(void)state;
	service.current = service.primary = add_generation(1);
	checker = &service.current->instances[0].checkers[0];
	checker->health.state = HEALTH_UNHEALTHY;
	strcpy(checker->last.text, "GET /: 500");
	assert_state("running");
	assert_text("reason", "GET /: 500");
}

static void test_status_failed_first_start_is_failed(void **state)
{
	(void)state;
	service.last = (struct run_result){
		.id = 3,
		.order = "start",
		.outcome = ROLLOUT_FAILED,
		.exit = 3,
		.generation = 1,
		.took_ms = 1234,
		.realtime_ms = 1700000000042,
		.step = "verify",
		.reason = "generation 1 was not healthy within 60s",
		.probe = "GET /: 503",
		.tail = "no database\n",
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
	assert_text("last_rollout.time", "2023-11-14T22:13:20.042Z");
}

static void test_status_failed_restart_is_running_with_a_reason(void **state)
{
	(void)state;
	service.current = service.primary = add_generation(1);
	service.last = (struct run_result){
		.id = 3,
		.order = "restart",
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
	service.last = (struct run_result){.id = 4, .order = "stop", .replaces = 1};
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
	middle = service.current = service.primary = add_generation(2);
	add_run(1, "restart", middle, old, ROLLOUT_DRAINING);
	add_run(0, "upgrade", add_generation(3), middle, ROLLOUT_VERIFYING);
	assert_state("rolling");
	assert_number("rollout.rollout", 20);
	assert_text("generations.0.state", "draining");
	assert_text("generations.1.state", "current");
	assert_text("generations.2.state", "candidate");
}

/* ---- details -------------------------------------------------------------------------------- */

static void test_status_command_is_what_runs_else_what_would(void **state)
{
	char *kept[] = {(char *)"/bin/upgraded", NULL};

	(void)state;
	service.command = kept;
	look();
	assert_text("command.0", "/bin/upgraded");
	service.current = add_generation(1);
	look();
	assert_int_equal(json_array_size(at("command")), 1);
	assert_text("command.0", "./web");
}

static void test_status_endpoints_have_their_program(void **state)
{
	(void)state;
	look();
	assert_int_equal(json_array_size(at("endpoints")), 2);
	assert_text("endpoints.1.listen", "127.0.0.1:81");
	assert_text("endpoints.1.protocol", "tcp");
	assert_true(json_is_null(at("endpoints.1.program")));
	assert_none("endpoints.1", "refused");
	open_endpoints();
	endpoint_1.program = STEER_PROGRAM_FOREIGN;
	endpoint_1.stats.refused = 9;
	look();
	assert_text("endpoints.0.listen", "127.0.0.1:80");
	assert_text("endpoints.0.program.state", "attached");
	assert_number("endpoints.0.program.id", 81);
	assert_number("endpoints.0.refused", 0);
	assert_text("endpoints.1.program.state", "foreign");
	assert_number("endpoints.1.program.id", 82);
	assert_number("endpoints.1.refused", 9);
}

static void test_status_generation_has_what_it_runs(void **state)
{
	(void)state;
	service.current = add_generation(2);
	look();
	assert_number("generations.0.generation", 2);
	assert_text("generations.0.executable", "/srv/v1/web");
	assert_text("generations.0.directory", "/srv/v1");
	assert_text("generations.0.started", "2023-11-14T22:13:20.042Z");
	assert_in_range(json_integer_value(at("generations.0.uptime_ms")), 5000, 65000);
	assert_int_equal(json_array_size(at("generations.0.instances")), 1);
	release.directory = NULL;
	look();
	assert_true(json_is_null(at("generations.0.directory")));
}

static void test_status_instance_has_what_is_known_of_it(void **state)
{
	struct instance *i;

	(void)state;
	service.current = add_generation(1);
	service.current->n_instances = 2;
	i = &service.current->instances[1];
	*i = service.current->instances[0];
	i->index = 1;
	i->pid = 777;
	i->ready = true;
	i->restarts = 3;
	i->state = AGENT_DELAYING;
	look();
	assert_number("generations.0.instances.0.instance", 0);
	assert_text("generations.0.instances.0.state", "running");
	assert_true(json_is_false(at("generations.0.instances.0.ready")));
	assert_none("generations.0.instances.0", "failure");
	assert_number("generations.0.instances.1.instance", 1);
	assert_number("generations.0.instances.1.pid", 777);
	assert_number("generations.0.instances.1.agent_pid", 500);
	assert_text("generations.0.instances.1.state", "delaying");
	assert_true(json_is_true(at("generations.0.instances.1.ready")));
	assert_number("generations.0.instances.1.restarts", 3);
	assert_text("generations.0.instances.1.cgroup", "/cgroup/web");
}

static void test_status_instance_without_agent_or_process_says_so(void **state)
{
	struct instance *i;

	(void)state;
	service.current = add_generation(1);
	i = &service.current->instances[0];
	i->lost = true;
	i->link = NULL;
	look();
	assert_text("generations.0.instances.0.state", "agent-lost");
	assert_number("generations.0.instances.0.agent_pid", 0);
	i->stopped = true;
	look();
	assert_text("generations.0.instances.0.state", "stopped");
}

static void test_status_health_is_the_last_answer(void **state)
{
	struct checker *checker;

	(void)state;
	service.current = add_generation(1);
	checker = &service.current->instances[0].checkers[0];
	look();
	assert_text("generations.0.instances.0.health.state", "unknown");
	assert_none("generations.0.instances.0.health", "last");
	assert_none("generations.0.instances.0.health", "ago_ms");
	checker->health.state = HEALTH_HEALTHY;
	checker->last_ms = clock_monotonic_ms() - 300;
	strcpy(checker->last.text, "GET /: 200 OK");
	look();
	assert_text("generations.0.instances.0.health.state", "healthy");
	assert_text("generations.0.instances.0.health.last", "GET /: 200 OK");
	assert_in_range(json_integer_value(at("generations.0.instances.0.health.ago_ms")), 300,
			60300);
}

static void test_status_health_by_notify_is_ready(void **state)
{
	(void)state;
	config.health.kind = HEALTH_NOTIFY;
	service.current = add_generation(1);
	look();
	assert_text("generations.0.instances.0.health.state", "unknown");
	assert_text("generations.0.instances.0.health.last", "no READY=1 yet");
	service.current->instances[0].ready = true;
	look();
	assert_text("generations.0.instances.0.health.state", "healthy");
	assert_text("generations.0.instances.0.health.last", "READY=1");
}

static void test_status_connections_are_summed_over_endpoints(void **state)
{
	(void)state;
	service.current = add_generation(1);
	endpoint_0.slot_stats[1] = (struct steer_slot_stats){1, 2, 3, 4};
	endpoint_1.slot_stats[1] = (struct steer_slot_stats){10, 20, 30, 40};
	endpoint_1.slot_stats[2] = (struct steer_slot_stats){100, 100, 100, 100}; /* another's */
	fake_listeners[0] = (struct fake_listener){.port = 80, .cookie = 10, .queued = 5};
	fake_listeners[1] = (struct fake_listener){.port = 81, .cookie = 11, .queued = 6};
	fake_connections[0].port = 80;
	fake_connections[0].cgroup_id = 1;
	fake_connections[0].live = 7;
	fake_connections[1].port = 81;
	fake_connections[1].cgroup_id = 1;
	look();
	assert_number("generations.0.instances.0.connections.live", 7);
	assert_number("generations.0.instances.0.connections.queued", 11);
	assert_number("generations.0.instances.0.connections.steered", 33);
	assert_number("generations.0.instances.0.connections.backup", 22);
	assert_number("generations.0.instances.0.connections.probes", 33);
	assert_number("generations.0.instances.0.connections.migrated", 44);
	service.current->instances[0].sockets[1].joined = false;
	look();
	assert_number("generations.0.instances.0.connections.steered", 3);
	assert_number("generations.0.instances.0.connections.queued", 5);
	fake_steer_failure.function = "steer_slot_stats";
	fake_steer_failure.code = -EIO;
	look();
	assert_number("generations.0.instances.0.connections.steered", 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_status_never_started_is_stopped),
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
		TEST(test_status_unhealthy_is_running_with_a_reason),
		TEST(test_status_failed_first_start_is_failed),
		TEST(test_status_failed_restart_is_running_with_a_reason),
		TEST(test_status_after_a_stop_is_stopped),
		TEST(test_status_of_two_rollouts_tells_the_undecided),
		TEST(test_status_command_is_what_runs_else_what_would),
		TEST(test_status_endpoints_have_their_program),
		TEST(test_status_generation_has_what_it_runs),
		TEST(test_status_instance_has_what_is_known_of_it),
		TEST(test_status_instance_without_agent_or_process_says_so),
		TEST(test_status_health_is_the_last_answer),
		TEST(test_status_health_by_notify_is_ready),
		TEST(test_status_connections_are_summed_over_endpoints),
	};
#undef TEST

	return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
