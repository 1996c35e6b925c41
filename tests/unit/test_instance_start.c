/* SPDX-License-Identifier: BSD-2-Clause */
/* How one instance comes to be: what its agent is told, and its sockets' way into their slots. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/instance_fixture.h"

/* ---- starting ------------------------------------------------------------------------------- */

static void test_instance_start_tells_the_agent_everything(void **state)
{
	const struct launch_spec *spec = &fake_agent.spec;

	(void)state;
	i->index = 3;
	assert_int_equal(instance_start(i, &release, &err), 0);
	assert_string_equal(i->cgroup, "/cgroup/base/web.2.3");
	assert_int_equal(i->cgroup_id, 77);
	assert_int_equal(i->state, AGENT_STARTING);
	assert_string_equal(spec->service, "web");
	assert_int_equal(spec->generation, 2);
	assert_int_equal(spec->instance, 3);
	assert_int_equal(spec->n_listen, 2);
	assert_string_equal(spec->listen[1].text, ADDRESS_1);
	assert_int_equal(spec->backlog, 99);
	assert_string_equal(spec->executable, "/bin/web");
	assert_string_equal(spec->argv[1], "{fd}");
	assert_string_equal(spec->environment[0], "A=b");
	assert_string_equal(spec->directory, "/srv");
	assert_true(spec->set_ids);
	assert_int_equal(spec->uid, 33);
	assert_int_equal(spec->gid, 34);
	assert_int_equal(spec->n_groups, 2);
	assert_int_equal(spec->groups[1], 36);
	assert_string_equal(spec->cgroup, "/cgroup/base/web.2.3");
	assert_int_equal(spec->restart_max, 5);
	assert_int_equal(spec->restart_window_ms, 60000);
	assert_int_equal(spec->restart_delay_ms, 100);
	assert_int_equal(spec->restart_delay_max_ms, 5000);
	assert_false(i->failed);
}

static void assert_start_failed(const char *why)
{
	assert_string_equal(err.text, why);
	assert_true(i->failed);
	assert_true(i->stopped);
	assert_true(i->left);
	assert_string_equal(i->failure, why);
	assert_null(i->link);
}

static void test_instance_start_without_cgroup_fails(void **state)
{
	(void)state;
	fake_cgroup.create_error = -EBUSY;
	assert_int_equal(instance_start(i, &release, &err), -EBUSY);
	assert_start_failed("cgroup web.2.0: Device or resource busy");
	/* Somebody else's cgroup is not removed. */
	instance_done(i);
	assert_calls("");
}

static void test_instance_start_without_agent_fails(void **state)
{
	(void)state;
	fake_agent.start_error = -ENOENT;
	assert_int_equal(instance_start(i, &release, &err), -ENOENT);
	assert_start_failed("agent: No such file or directory");
	instance_leave(i);
	instance_stop(i);
	instance_kill(i);
	assert_calls("cgroup_create web.2.0");
	instance_done(i);
	assert_calls("cgroup_remove " CGROUP);
	i->cgroup[0] = '\0';
}

static void test_instance_start_in_a_long_path_fails(void **state)
{
	(void)state;
	memset(context.paths.agents_dir, 'x', PATHS_MAX - 10);
	assert_int_equal(instance_start(i, &release, &err), -ENAMETOOLONG);
	assert_start_failed("web.2.0: path too long");
	i->socket_path[0] = '\0';
}

/* ---- hello ---------------------------------------------------------------------------------- */

static void test_instance_hello_joins_each_socket(void **state)
{
	(void)state;
	assert_started();
	report.state = AGENT_RUNNING;
	report.pid = 600;
	report.ready = true;
	hear_hello();
	assert_calls("join " ADDRESS_0 " fd 1 slot 4; join " ADDRESS_1 " fd 2 slot 6");
	assert_true(i->joined);
	assert_int_equal(i->sockets[0].slot, 4);
	assert_int_equal(i->sockets[1].slot, 6);
	assert_int_equal(i->sockets[1].cookie, 102);
	assert_int_equal(i->pid, 600);
	assert_int_equal(i->state, AGENT_RUNNING);
	assert_true(i->ready);
	assert_true(instance_is_serving(i));
	assert_int_equal(n_changes, 1);
	assert_notes("");
	/* A second one, as after a reconnect, joins nothing twice. */
	hear_hello();
	assert_calls("");
	instance_done(i);
	assert_calls("release " ADDRESS_0 " slot 4; release " ADDRESS_1 " slot 6; agentlink_free; "
		     "cgroup_remove " CGROUP);
	*i = (struct instance){.config = &config};
}

static void assert_hello_refused(const char *why)
{
	assert_true(i->failed);
	assert_false(i->joined);
	assert_string_equal(i->failure, why);
	assert_false(instance_is_serving(i));
	assert_int_equal(n_changes, 1);
}

static void test_instance_hello_with_too_few_sockets_is_refused(void **state)
{
	(void)state;
	assert_started();
	add_sockets(&report);
	report.n_sockets = 1;
	hear(REPORT_HELLO, 3);
	assert_hello_refused("the agent sent 1 sockets where 2 were expected");
	assert_calls("");
}

static void test_instance_hello_with_too_few_descriptors_is_refused(void **state)
{
	(void)state;
	assert_started();
	add_sockets(&report);
	hear(REPORT_HELLO, 1);
	assert_true(i->failed);
	assert_false(i->joined);
	assert_calls("");
}

static void test_instance_hello_for_another_address_is_refused(void **state)
{
	(void)state;
	assert_started();
	add_sockets(&report);
	strcpy(report.sockets[1].address, "127.0.0.1:82");
	hear(REPORT_HELLO, 3);
	assert_hello_refused("the agent's socket 1 is for 127.0.0.1:82, not for " ADDRESS_1);
	/* What had been joined is given back. */
	assert_calls("join " ADDRESS_0 " fd 1 slot 4");
	instance_done(i);
	assert_calls("release " ADDRESS_0 " slot 4; agentlink_free; cgroup_remove " CGROUP);
	*i = (struct instance){.config = &config};
}

static void test_instance_hello_with_another_socket_is_refused(void **state)
{
	(void)state;
	assert_started();
	add_sockets(&report);
	report.sockets[0].cookie = 9;
	hear(REPORT_HELLO, 3);
	assert_hello_refused("the agent's socket 0 is not the one it names");
	assert_calls("");
}

static void test_instance_hello_that_cannot_join_says_why(void **state)
{
	(void)state;
	assert_started();
	fake_steer_failure.function = "steer_join";
	fake_steer_failure.code = -ENOSPC;
	hear_hello();
	assert_hello_refused("steer_join " ADDRESS_0 ": No space left on device");
}

static void test_instance_hello_of_a_failed_agent_waits_for_the_reason(void **state)
{
	(void)state;
	assert_started();
	report.state = AGENT_FAILED;
	hear(REPORT_HELLO, 0);
	assert_false(i->failed);
	assert_false(i->joined);
	strcpy(report.text, "exec /bin/web: Permission denied");
	hear(REPORT_FAILED, 0);
	assert_true(i->failed);
	assert_string_equal(i->failure, "exec /bin/web: Permission denied");
	assert_int_equal(i->state, AGENT_FAILED);
}

static void test_instance_hello_finds_drift_put_right(void **state)
{
	(void)state;
	fake_steer_join.drift = true;
	assert_started();
	hear_hello();
	assert_true(i->joined);
	assert_notes("drift: the program of " ADDRESS_0 "'s group had been replaced; put right\n"
		     "drift: the program of " ADDRESS_1 "'s group had been replaced; put right");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_instance_start_tells_the_agent_everything),
		TEST(test_instance_start_without_cgroup_fails),
		TEST(test_instance_start_without_agent_fails),
		TEST(test_instance_start_in_a_long_path_fails),
		TEST(test_instance_hello_joins_each_socket),
		TEST(test_instance_hello_with_too_few_sockets_is_refused),
		TEST(test_instance_hello_with_too_few_descriptors_is_refused),
		TEST(test_instance_hello_for_another_address_is_refused),
		TEST(test_instance_hello_with_another_socket_is_refused),
		TEST(test_instance_hello_that_cannot_join_says_why),
		TEST(test_instance_hello_of_a_failed_agent_waits_for_the_reason),
		TEST(test_instance_hello_finds_drift_put_right),
	};
#undef TEST

	return cmocka_run_group_tests_name("instance start", tests, NULL, NULL);
}
