/* SPDX-License-Identifier: BSD-2-Clause */
/* How one instance comes to be: what its agent is told, and its sockets' way into their slots. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/fakes/count_fds.h"
#include "tests/unit/instance/instance_fixture.h"

/* ---- starting ------------------------------------------------------------------------------- */

static void test_instance_start_tells_the_agent_everything(void **state)
{
	const struct launch_spec *spec = &fake_agent.spec;

	(void)state;
	i->index = 3;
	config.mode = SOCKETS_NATIVE;
	assert_int_equal(instance_start(i, &release, &err), 0);
	assert_string_equal(i->cgroup, "/cgroup/base/web.2.3");
	assert_int_equal(i->cgroup_id, 77);
	assert_int_equal(i->agent_said, AGENT_STARTING);
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
	assert_int_equal(spec->mode, SOCKETS_NATIVE);
	assert_false(spec->sockets_given);
	assert_false(spec->listen_later);
	assert_int_equal(spec->listen_delay_ms, 1000);
	assert_int_equal(spec->restart_max, 4);
	assert_int_equal(spec->restart_window_ms, 30000);
	assert_int_equal(spec->restart_delay_ms, 200);
	assert_int_equal(spec->restart_delay_max_ms, 10000);
	assert_false(instance_has_failed(i));
}

static void assert_start_failed(const char *why)
{
	assert_string_equal(err.text, why);
	assert_true(instance_has_failed(i));
	assert_true(instance_has_stopped(i));
	assert_true(instance_has_left(i));
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
	instance_kill_many(&i, 1);
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

/* ---- what the tier and the mode make of it -------------------------------------------------- */

/* The hooks must be there before anything runs that could bind. */
static void test_instance_start_hooks_its_cgroup_first(void **state)
{
	static const struct {
		enum socket_mode mode;
		bool share;
	} cases[] = {
		{SOCKETS_AUTO, true},
		{SOCKETS_INHERIT, false},
		{SOCKETS_NATIVE, false},
		{SOCKETS_TRANSPARENT, true},
	};

	(void)state;
	assert_int_equal(sizeof(cases) / sizeof(cases[0]), _SOCKETS_COUNT);
	wiring.tap = &hooks;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		char expected[256];

		config.mode = cases[k].mode;
		assert_int_equal(instance_start(i, &release, &err), 0);
		snprintf(expected, sizeof(expected),
			 "cgroup_create web.2.0; tap attach 2.0%s; agent /baton-agent "
			 "%s/web.2.0.sock",
			 cases[k].share ? " share" : "", folder);
		assert_calls(expected);
		instance_done(i);
		assert_calls("tap forget 2.0; agentlink_free; cgroup_remove " CGROUP);
		reset_instance();
	}
}

/* The kernel tells of each listen(2) only where there is a tap, and older agents do not know. */
static void test_instance_hint_goes_to_an_agent_that_knows_it(void **state)
{
	static const struct {
		bool hooks, looks, told;
	} cases[] = {{true, true, true}, {true, false, false}, {false, true, false}};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		wiring.tap = cases[k].hooks ? &hooks : NULL;
		assert_int_equal(instance_start(i, &release, &err), 0);
		instance_hint(i);
		assert_null(strstr(calls, "order look"));
		add_sockets(&report);
		report.looks = cases[k].looks;
		report.pid = 600;
		hear(REPORT_HELLO, 3);
		/* Once when it begins ... */
		assert_int_equal(strstr(calls, "order look") != NULL, cases[k].told);
		forget_calls();
		instance_hint(i);
		assert_calls(cases[k].told ? "order look signal 0 timeout 0" : "");
		instance_leave(i);
		forget_calls();
		instance_hint(i);
		assert_calls("");
		instance_done(i);
		reset_instance();
	}
}

/* Where nobody tells of a listen(2) batond looks: the agent hears of what is new, and only that. */
static void test_instance_hint_late_goes_once_to_an_agent_that_nobody_tells(void **state)
{
	static const char order[] = "order look signal 0 timeout 0";

	(void)state;
	assert_int_equal(instance_start(i, &release, &err), 0);
	instance_hint_late(i, 5);
	assert_null(strstr(calls, "order look")); /* it is not known yet */
	add_sockets(&report);
	report.looks = true;
	report.pid = 600;
	hear(REPORT_HELLO, 3);
	forget_calls();
	instance_hint_late(i, 5);
	assert_calls(order);
	forget_calls();
	instance_hint_late(i, 5);
	assert_calls("");
	instance_hint_late(i, 6);
	assert_calls(order);
	/* On a new connection it looks by itself, until it is told anew. */
	hear(REPORT_HELLO, 3);
	assert_int_equal(i->print, 0);
	forget_calls();
	wiring.tap = &hooks;
	i->hinted = true;
	instance_hint_late(i, 7);
	assert_calls("");
}

static void test_instance_start_without_hooks_fails_only_where_they_are_needed(void **state)
{
	(void)state;
	wiring.tap = &hooks;
	fake_tap_failure.function = "tap_attach";
	fake_tap_failure.code = -ENOSPC;
	config.mode = SOCKETS_AUTO;
	assert_int_equal(instance_start(i, &release, &err), 0);
	assert_non_null(strstr(calls, "agent /baton-agent"));
	assert_false(instance_has_failed(i));
	instance_done(i);
	reset_instance();
	forget_calls();
	config.mode = SOCKETS_TRANSPARENT;
	assert_int_equal(instance_start(i, &release, &err), -ENOSPC);
	assert_start_failed("tap_attach: No space left on device");
	assert_calls("cgroup_create web.2.0");
	instance_done(i);
	assert_calls("tap forget 2.0; cgroup_remove " CGROUP);
	reset_instance();
}

/* ---- limits --------------------------------------------------------------------------------- */

static void test_instance_start_limits_its_cgroup_first(void **state)
{
	char expected[256];

	(void)state;
	config.resources =
		(struct cgroup_limits){.memory_max = 1 << 20, .cpu_max = 150, .pids_max = 9};
	assert_int_equal(instance_start(i, &release, &err), 0);
	snprintf(expected, sizeof(expected),
		 "cgroup_create web.2.0; cgroup_limit " CGROUP
		 " memory 1048576 cpu 150 pids 9; agent /baton-agent %s/web.2.0.sock",
		 folder);
	assert_calls(expected);
}

/* Rather not at all than without them. */
static void test_instance_start_without_its_limits_fails(void **state)
{
	(void)state;
	config.resources.pids_max = 9;
	fake_cgroup.limit_error = -EOPNOTSUPP;
	assert_int_equal(instance_start(i, &release, &err), -EOPNOTSUPP);
	assert_start_failed("limit " CGROUP ": Operation not supported");
	assert_calls("cgroup_create web.2.0");
	instance_done(i);
	assert_calls("cgroup_remove " CGROUP);
	reset_instance();
}

#define NO_CGROUP "cgroup v2 is not mounted: mount it"

static void test_instance_start_with_limits_needs_cgroups(void **state)
{
	static const struct cgroup_limits limits[] = {
		{.memory_max = 1}, {.cpu_max = 1}, {.pids_max = 1}};

	(void)state;
	context.cgroup_base[0] = '\0';
	strcpy(context.no_cgroup, NO_CGROUP);
	for (size_t k = 0; k < sizeof(limits) / sizeof(limits[0]); k++) {
		config.resources = limits[k];
		assert_int_equal(instance_start(i, &release, &err), -EOPNOTSUPP);
		assert_start_failed("\"resources\" needs a cgroup for each instance: " NO_CGROUP);
		reset_instance();
	}
	assert_calls("");
}

static void test_instance_start_transparent_needs_hooks_and_a_cgroup(void **state)
{
	static const char why[] = "mode \"transparent\": " NO_CGROUP;

	(void)state;
	config.mode = SOCKETS_TRANSPARENT;
	context.cgroup_base[0] = '\0';
	strcpy(context.no_cgroup, NO_CGROUP);
	wiring.tap = &hooks;
	assert_int_equal(instance_start(i, &release, &err), -EOPNOTSUPP);
	assert_start_failed(why);
	assert_calls("");
}

/* As for a daemon without privileges. */
static void test_instance_start_where_there_are_no_cgroups(void **state)
{
	char expected[128];

	(void)state;
	context.cgroup_base[0] = '\0';
	wiring.tap = &hooks; /* which need one */
	assert_int_equal(instance_start(i, &release, &err), 0);
	snprintf(expected, sizeof(expected), "agent /baton-agent %s/web.2.0.sock", folder);
	assert_calls(expected);
	assert_string_equal(i->cgroup, "");
	assert_null(fake_agent.spec.cgroup);
	/* Its processes are the agent's descendants. */
	assert_int_equal(i->processes->root, 500);
	instance_done(i);
	assert_calls("tap forget 2.0; agentlink_free");
	reset_instance();
}

static void test_instance_start_with_cgroup_knows_its_processes_by_that(void **state)
{
	(void)state;
	assert_started();
	assert_int_equal(i->processes->root, 0);
}

/* Where a socket's place in the group must be known, it is made here. */
static void test_instance_start_gives_sockets_where_the_tier_makes_them(void **state)
{
	size_t before = count_fds();

	(void)state;
	wiring.tier = endpoint_0.tier = endpoint_1.tier = STEER_CBPF;
	config.nonblocking = true;
	strcpy(wiring.no_tap, "it needs tier ebpf");
	for (int mode = 0; mode < _SOCKETS_COUNT; mode++) {
		bool passed = mode == SOCKETS_AUTO || mode == SOCKETS_INHERIT;

		config.mode = (enum socket_mode)mode;
		fake_agent.n_socket_fds = 0;
		forget_calls();
		if (mode == SOCKETS_TRANSPARENT) {
			assert_int_equal(instance_start(i, &release, &err), -EOPNOTSUPP);
			assert_non_null(strstr(i->failure, "needs tier ebpf"));
			instance_done(i);
			reset_instance();
			continue;
		}
		assert_int_equal(instance_start(i, &release, &err), 0);
		assert_int_equal(fake_agent.n_socket_fds, passed ? 2 : 0);
		assert_int_equal(fake_agent.spec.sockets_given, passed);
		assert_false(fake_agent.spec.listen_later);
		if (passed)
			assert_non_null(strstr(calls,
					       "listen " ADDRESS_0 " backlog 99 nonblocking; "
					       "listen " ADDRESS_1 " backlog 99"));
		else
			assert_null(strstr(calls, "listen"));
		/* They are the agent's now. */
		assert_int_equal(count_fds(), before);
		instance_done(i);
		reset_instance();
	}
}

static void test_instance_start_without_sockets_to_give_fails(void **state)
{
	size_t before = count_fds();

	(void)state;
	wiring.tier = endpoint_0.tier = endpoint_1.tier = STEER_CBPF;
	fake_steer_failure.function = "steer_listen";
	fake_steer_failure.address = ADDRESS_1;
	fake_steer_failure.code = -EMFILE;
	assert_int_equal(instance_start(i, &release, &err), -EMFILE);
	assert_start_failed("steer_listen " ADDRESS_1 ": Too many open files");
	assert_null(strstr(calls, "agent"));
	assert_int_equal(count_fds(), before);
}

/* On tier hash a socket gets connections as soon as it listens. */
static void test_instance_start_listens_later_where_nothing_can_be_steered(void **state)
{
	(void)state;
	wiring.tier = endpoint_0.tier = endpoint_1.tier = STEER_HASH;
	assert_int_equal(instance_start(i, &release, &err), 0);
	assert_true(fake_agent.spec.listen_later);
	assert_int_equal(fake_agent.spec.listen_delay_ms, 1000);
	assert_false(fake_agent.spec.sockets_given);
	assert_null(strstr(calls, "backlog"));
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
	assert_true(instance_has_joined(i));
	assert_int_equal(i->sockets.n, 2);
	assert_int_equal(i->sockets.list[0].slot, 4);
	assert_int_equal(i->sockets.list[1].slot, 6);
	assert_int_equal(i->sockets.list[1].cookie, 102);
	assert_int_equal(i->sockets.list[1].endpoint, 1);
	/* Each is joined as this instance's. */
	assert_true(endpoint_1.last_owner == ((tap_owner)2 << 32 | 0));
	assert_int_equal(i->pid, 600);
	assert_int_equal(i->agent_said, AGENT_RUNNING);
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
	reset_instance();
}

static void assert_hello_refused(const char *why)
{
	assert_true(instance_has_failed(i));
	assert_false(instance_has_joined(i));
	assert_string_equal(i->failure, why);
	assert_false(instance_is_serving(i));
	assert_int_equal(n_changes, 1);
}

static void test_instance_hello_with_too_few_descriptors_is_refused(void **state)
{
	(void)state;
	assert_started();
	add_sockets(&report);
	hear(REPORT_HELLO, 1);
	assert_hello_refused("the agent sent 1 descriptors for 2 sockets");
	assert_calls("");
}

static void test_instance_hello_for_another_address_is_refused(void **state)
{
	(void)state;
	assert_started();
	add_sockets(&report);
	strcpy(report.sockets[1].address, "127.0.0.1:82");
	hear(REPORT_HELLO, 3);
	assert_hello_refused("the agent's socket for 127.0.0.1:82 is of no endpoint");
	/* What had been joined is given back. */
	assert_calls("join " ADDRESS_0 " fd 1 slot 4; release " ADDRESS_0 " slot 4");
}

static void test_instance_hello_with_another_socket_is_refused(void **state)
{
	(void)state;
	assert_started();
	add_sockets(&report);
	report.sockets[0].cookie = 9;
	hear(REPORT_HELLO, 3);
	assert_hello_refused("the agent's socket for " ADDRESS_0 " is not the one it names");
	assert_calls("");
}

static void test_instance_hello_that_cannot_join_says_why(void **state)
{
	(void)state;
	assert_started();
	fake_steer_failure.function = "steer_join";
	fake_steer_failure.code = -ENOSPC;
	hear_hello();
	/* It may be ending: then its exit is the reason, which comes within a second. */
	assert_false(instance_has_failed(i));
	n_changes = 0;
	drive_until(instance_has_failed(i));
	assert_hello_refused("steer_join " ADDRESS_0 ": No space left on device");
}

static void test_instance_hello_of_a_failed_agent_waits_for_the_reason(void **state)
{
	(void)state;
	assert_started();
	report.state = AGENT_FAILED;
	hear(REPORT_HELLO, 0);
	assert_false(instance_has_failed(i));
	assert_false(instance_has_joined(i));
	strcpy(report.text, "exec /bin/web: Permission denied");
	hear(REPORT_FAILED, 0);
	assert_true(instance_has_failed(i));
	assert_string_equal(i->failure, "exec /bin/web: Permission denied");
	assert_int_equal(i->agent_said, AGENT_FAILED);
}

static void test_instance_hello_finds_drift_put_right(void **state)
{
	(void)state;
	fake_steer_join.drift = true;
	assert_started();
	hear_hello();
	assert_true(instance_has_joined(i));
	assert_notes("drift: the program of " ADDRESS_0 "'s group had been replaced; put right\n"
		     "drift: the program of " ADDRESS_1 "'s group had been replaced; put right");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_instance_start_tells_the_agent_everything),
		TEST(test_instance_hint_goes_to_an_agent_that_knows_it),
		TEST(test_instance_hint_late_goes_once_to_an_agent_that_nobody_tells),
		TEST(test_instance_start_without_cgroup_fails),
		TEST(test_instance_start_without_agent_fails),
		TEST(test_instance_start_in_a_long_path_fails),
		TEST(test_instance_start_hooks_its_cgroup_first),
		TEST(test_instance_start_without_hooks_fails_only_where_they_are_needed),
		TEST(test_instance_start_limits_its_cgroup_first),
		TEST(test_instance_start_without_its_limits_fails),
		TEST(test_instance_start_with_limits_needs_cgroups),
		TEST(test_instance_start_transparent_needs_hooks_and_a_cgroup),
		TEST(test_instance_start_where_there_are_no_cgroups),
		TEST(test_instance_start_with_cgroup_knows_its_processes_by_that),
		TEST(test_instance_start_gives_sockets_where_the_tier_makes_them),
		TEST(test_instance_start_without_sockets_to_give_fails),
		TEST(test_instance_start_listens_later_where_nothing_can_be_steered),
		TEST(test_instance_hello_joins_each_socket),
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
