/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "tests/unit/agent/launch_fixture.h"

#define BIT(capability) (UINT64_C(1) << (capability))

static void become_nobody(struct fixture *fixture)
{
	fixture->spec.set_ids = true;
	fixture->spec.uid = fixture->spec.gid = NOBODY;
}

static bool is_bounding(int capability)
{
	return prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1;
}

static void keep(struct fixture *fixture, uint64_t capabilities)
{
	fixture->spec.process.capabilities_set = true;
	fixture->spec.process.capabilities = capabilities;
}

static void check_capabilities(const struct fixture *fixture, const char *set, uint64_t expected)
{
	char line[64];

	snprintf(line, sizeof(line), "%s:\t%016llx", set, (unsigned long long)expected);
	check_line(fixture, line);
}

/* Run @body in a process of its own, which may give privileges away. */
static void in_child(struct fixture *fixture, void (*body)(struct fixture *))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		processes_free(fixture->processes);
		assert_int_equal(processes_new(NULL, getpid(), &fixture->processes), 0);
		fixture->request.processes = fixture->processes;
		body(fixture);
		processes_free(fixture->processes);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- limits --------------------------------------------------------------------------------- */

static void check_limit(const struct fixture *fixture, const char *name, const char *soft,
			const char *hard)
{
	char line[128];
	const char *found;
	char seen[2][32];

	snprintf(line, sizeof(line), "\n%s ", name);
	found = strstr(fixture->output, line);
	assert_non_null(found);
	assert_int_equal(sscanf(found + 1 + strlen(name), "%31s %31s", seen[0], seen[1]), 2);
	assert_string_equal(seen[0], soft);
	assert_string_equal(seen[1], hard);
}

static void test_launch_limits_are_those_of_the_settings(void **data)
{
	struct fixture *fixture = *data;
	struct process_limit *limits = fixture->spec.process.limits;

	limits[RLIMIT_NOFILE] = (struct process_limit){true, 64, 128};
	limits[RLIMIT_CORE] = (struct process_limit){true, 0, 4096};
	limits[RLIMIT_FSIZE] = (struct process_limit){true, 1 << 20, PROCESS_UNLIMITED};
	limits[RLIMIT_NPROC] = (struct process_limit){true, 50, 60};
	become_nobody(fixture);
	run_script(fixture, "exec cat /proc/self/limits");
	check_limit(fixture, "Max open files", "64", "128");
	check_limit(fixture, "Max core file size", "0", "4096");
	check_limit(fixture, "Max file size", "1048576", "unlimited");
	check_limit(fixture, "Max processes", "50", "60");
}

/* Those that are not set are the agent's: also a soft limit of open files below the hard one. */
static void test_launch_limits_not_set_are_inherited(void **data)
{
	struct fixture *fixture = *data;
	struct rlimit old, lower;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	lower = old;
	lower.rlim_cur = 333;
	assert_true(old.rlim_max > 333);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
	run_script(fixture, "ulimit -Sn; exec cat /proc/self/limits");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	check_line(fixture, "333");
}

/* Sockets are passed, and /proc is written to, however few files the server may open. */
static void test_launch_limit_of_open_files_is_not_in_the_way(void **data)
{
	struct fixture *fixture = *data;

	listen_on(fixture, "127.0.0.1:7001", "127.0.0.1:7002");
	fixture->spec.process.limits[RLIMIT_NOFILE] = (struct process_limit){true, 6, 6};
	fixture->spec.process.oom_score_adjust_set = true;
	fixture->spec.process.oom_score_adjust = 1000;
	run_script(fixture, "ulimit -n; exec cat /proc/self/oom_score_adj");
	assert_string_equal(fixture->output, "6\n1000\n");
}

static void test_launch_limit_above_what_is_allowed_is_named(void **data)
{
	struct fixture *fixture = *data;
	struct process_limit *limit = &fixture->spec.process.limits[RLIMIT_NOFILE];
	struct rlimit old;
	char expected[128];

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	/* Above the system's limit nobody may: fs.nr_open is an int. */
	*limit = (struct process_limit){true, 1, UINT64_C(1) << 40};
	snprintf(expected, sizeof(expected), "limit nofile 1:%llu: Operation not permitted",
		 1ULL << 40);
	check_failure(fixture, -EPERM, expected);
	*limit = (struct process_limit){true, PROCESS_UNLIMITED, PROCESS_UNLIMITED};
	check_failure(fixture, -EPERM, "limit nofile unlimited:unlimited: Operation not permitted");
}

static void test_launch_user_with_too_many_processes_is_named(void **data)
{
	struct fixture *fixture = *data;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (setresuid(4242, 4242, 4242) == 0)
			pause();
		_exit(1);
	}
	become_nobody(fixture);
	fixture->spec.uid = 4242;
	fixture->spec.process.limits[RLIMIT_NPROC] = (struct process_limit){true, 0, 0};
	/* It may not have become that user yet; then the server starts. */
	for (int i = 0; i < 1000; i++) {
		pid_t server = 0;

		fixture->argv[2] = (char *)"exit 0";
		if (run(fixture, &server) == -EAGAIN)
			break;
		poll(NULL, 0, 5);
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_string_equal(fixture->err.text,
			    "exec /bin/sh: uid 4242 has more processes than limit nproc allows");
}

/* ---- umask and priority --------------------------------------------------------------------- */

static void test_launch_umask_is_that_of_the_settings(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.process.umask = 0137;
	run_script(fixture, "umask");
	assert_string_equal(fixture->output, "0137\n");
}

static void test_launch_nice_is_that_of_the_settings(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.process.nice_set = true;
	fixture->spec.process.nice = 7;
	run_script(fixture, "nice");
	assert_string_equal(fixture->output, "7\n");
	/* Root gives it, whoever the server becomes. */
	become_nobody(fixture);
	fixture->spec.process.nice = -5;
	run_script(fixture, "nice");
	assert_string_equal(fixture->output, "-5\n");
}

static void test_launch_nice_0_is_set_as_well(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.process.nice_set = true;
	assert_int_equal(setpriority(PRIO_PROCESS, 0, 3), 0);
	run_script(fixture, "nice");
	fixture->spec.process.nice_set = false;
	assert_string_equal(fixture->output, "0\n");
	run_script(fixture, "nice");
	assert_int_equal(setpriority(PRIO_PROCESS, 0, 0), 0);
	assert_string_equal(fixture->output, "3\n");
}

static void test_launch_oom_score_is_that_of_the_settings(void **data)
{
	static const int scores[] = {1, 250, 1000};
	struct fixture *fixture = *data;

	become_nobody(fixture);
	fixture->spec.process.oom_score_adjust_set = true;
	for (size_t i = 0; i < sizeof(scores) / sizeof(scores[0]); i++) {
		char expected[16];

		fixture->spec.process.oom_score_adjust = scores[i];
		run_script(fixture, "cat /proc/self/oom_score_adj");
		snprintf(expected, sizeof(expected), "%d\n", scores[i]);
		assert_string_equal(fixture->output, expected);
	}
}

static void test_launch_negative_oom_score_is_set_or_named(void **data)
{
	struct fixture *fixture = *data;
	pid_t pid = 0;

	fixture->spec.process.oom_score_adjust_set = true;
	fixture->spec.process.oom_score_adjust = -1000;
	fixture->argv[2] = (char *)"cat /proc/self/oom_score_adj";
	if (run(fixture, &pid) == 0) {
		assert_string_equal(fixture->output, "-1000\n");
		return;
	}
	/* Below what it has been is for CAP_SYS_RESOURCE (proc_pid_oom_score_adj(5)). */
	assert_false(is_bounding(CAP_SYS_RESOURCE));
	assert_string_equal(fixture->err.text, "oom_score_adjust -1000: Permission denied");
}

/* ---- capabilities --------------------------------------------------------------------------- */

#define SHOW "exec grep -E '^(Cap|NoNewPrivs|Uid)' /proc/self/status"

static void test_launch_capabilities_of_a_user_are_ambient(void **data)
{
	const uint64_t kept = BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_KILL);
	struct fixture *fixture = *data;

	keep(fixture, kept);
	become_nobody(fixture);
	run_script(fixture, SHOW);
	check_line(fixture, "Uid:\t65534\t65534\t65534\t65534");
	check_capabilities(fixture, "CapBnd", kept);
	check_capabilities(fixture, "CapAmb", kept);
	check_capabilities(fixture, "CapInh", kept);
	check_capabilities(fixture, "CapPrm", kept);
	check_capabilities(fixture, "CapEff", kept);
	check_line(fixture, "NoNewPrivs:\t0");
}

static void test_launch_capabilities_of_a_user_can_be_used(void **data)
{
	struct fixture *fixture = *data;

	keep(fixture, BIT(CAP_DAC_READ_SEARCH));
	become_nobody(fixture);
	/* Also by the steps that come as that user. */
	assert_int_equal(chmod(fixture->folder, 0700), 0);
	fixture->spec.directory = fixture->folder;
	run_script(fixture, "ls -d .");
	assert_string_equal(fixture->output, ".\n");
}

static void test_launch_capabilities_of_root_are_bounded(void **data)
{
	const uint64_t kept = BIT(CAP_NET_ADMIN) | BIT(CAP_CHOWN);
	struct fixture *fixture = *data;

	keep(fixture, kept);
	run_script(fixture, SHOW);
	check_capabilities(fixture, "CapBnd", kept);
	check_capabilities(fixture, "CapPrm", kept);
	check_capabilities(fixture, "CapEff", kept);
	check_capabilities(fixture, "CapAmb", 0);
	check_capabilities(fixture, "CapInh", 0);
}

static void test_launch_no_capabilities_leave_none(void **data)
{
	struct fixture *fixture = *data;

	keep(fixture, 0);
	for (int i = 0; i < 2; i++) {
		if (i == 1)
			become_nobody(fixture);
		run_script(fixture, SHOW);
		check_capabilities(fixture, "CapBnd", 0);
		check_capabilities(fixture, "CapPrm", 0);
		check_capabilities(fixture, "CapEff", 0);
		check_capabilities(fixture, "CapAmb", 0);
	}
}

static void add_inheritable(int capability)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[2];

	assert_int_equal(syscall(SYS_capget, &header, sets), 0);
	sets[capability / 32].inheritable |= 1U << capability % 32;
	assert_int_equal(syscall(SYS_capset, &header, sets), 0);
}

static void check_ambient_is_cleared(struct fixture *fixture)
{
	add_inheritable(CAP_NET_RAW);
	assert_int_equal(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0), 0);
	run_script(fixture, SHOW);
	check_capabilities(fixture, "CapAmb", 0);
	/* As root, what is inheritable would pass the bounding set by. */
	keep(fixture, BIT(CAP_CHOWN));
	run_script(fixture, SHOW);
	check_capabilities(fixture, "CapAmb", 0);
	check_capabilities(fixture, "CapInh", 0);
	check_capabilities(fixture, "CapPrm", BIT(CAP_CHOWN));
}

/* baton's own: a unit with AmbientCapabilities=, say. */
static void test_launch_ambient_capabilities_are_not_passed_on(void **data)
{
	in_child(*data, check_ambient_is_cleared);
}

static void check_without_setpcap(struct fixture *fixture)
{
	static const char expected[] = "capabilities: drop CAP_CHOWN: Operation not permitted";
	pid_t pid = 0;

	assert_int_equal(setresgid(NOBODY, NOBODY, NOBODY), 0);
	assert_int_equal(setresuid(NOBODY, NOBODY, NOBODY), 0);
	keep(fixture, 0);
	fixture->argv[2] = (char *)"exit 0";
	assert_int_equal(run(fixture, &pid), -EPERM);
	assert_string_equal(fixture->err.text, expected);
	/* What it may do without any privilege still works. */
	fixture->spec.process.capabilities_set = false;
	fixture->spec.process.no_new_privileges = true;
	fixture->spec.process.nice_set = true;
	fixture->spec.process.nice = 1;
	run_script(fixture, SHOW);
	check_line(fixture, "NoNewPrivs:\t1");
	fixture->spec.process.nice = -1;
	assert_int_equal(run(fixture, &pid), -EACCES);
	assert_string_equal(fixture->err.text, "nice -1: Permission denied");
}

static void test_launch_by_a_user_what_is_not_permitted_is_named(void **data)
{
	in_child(*data, check_without_setpcap);
}

static void check_not_in_bounding_set(struct fixture *fixture)
{
	pid_t pid = 0;

	if (is_bounding(CAP_MKNOD))
		assert_int_equal(prctl(PR_CAPBSET_DROP, CAP_MKNOD, 0, 0, 0), 0);
	keep(fixture, BIT(CAP_MKNOD) | BIT(CAP_CHOWN));
	for (int i = 0; i < 2; i++) {
		if (i == 1)
			become_nobody(fixture);
		fixture->argv[2] = (char *)"exit 0";
		assert_int_equal(run(fixture, &pid), -EPERM);
		assert_string_equal(fixture->err.text,
				    "capabilities: keep CAP_MKNOD: Operation not permitted");
	}
}

static void test_launch_capability_that_is_not_there_is_named(void **data)
{
	struct fixture *fixture = *data;

	in_child(fixture, check_not_in_bounding_set);
	/* Nor does the kernel know that one. */
	keep(fixture, BIT(63));
	check_failure(fixture, -EPERM, "capabilities: keep number 63: Operation not permitted");
}

static void check_not_permitted(struct fixture *fixture)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[2];
	pid_t pid = 0;

	assert_int_equal(syscall(SYS_capget, &header, sets), 0);
	sets[0].permitted &= ~(1U << CAP_NET_RAW);
	sets[0].effective &= ~(1U << CAP_NET_RAW);
	assert_int_equal(syscall(SYS_capset, &header, sets), 0);
	keep(fixture, BIT(CAP_NET_RAW) | BIT(CAP_CHOWN));
	become_nobody(fixture);
	fixture->argv[2] = (char *)"exit 0";
	assert_int_equal(run(fixture, &pid), -EPERM);
	assert_string_equal(fixture->err.text,
			    "capabilities: keep CAP_NET_RAW: Operation not permitted");
}

static void test_launch_capability_that_is_not_permitted_is_named(void **data)
{
	in_child(*data, check_not_permitted);
}

static void test_launch_without_capabilities_set_all_is_as_it_was(void **data)
{
	struct fixture *fixture = *data;
	uint64_t bounding = 0;

	for (int i = 0; i < 64; i++)
		if (is_bounding(i))
			bounding |= BIT(i);
	run_script(fixture, SHOW);
	check_capabilities(fixture, "CapBnd", bounding);
	check_line(fixture, "NoNewPrivs:\t0");
	become_nobody(fixture);
	run_script(fixture, SHOW);
	check_capabilities(fixture, "CapBnd", bounding);
	check_capabilities(fixture, "CapPrm", 0);
	check_capabilities(fixture, "CapAmb", 0);
}

static void test_launch_no_new_privileges_holds_with_all_else(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.process.no_new_privileges = true;
	keep(fixture, BIT(CAP_NET_BIND_SERVICE));
	become_nobody(fixture);
	run_script(fixture, SHOW);
	check_line(fixture, "NoNewPrivs:\t1");
	check_capabilities(fixture, "CapAmb", BIT(CAP_NET_BIND_SERVICE));
	check_capabilities(fixture, "CapEff", BIT(CAP_NET_BIND_SERVICE));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_launch_limits_are_those_of_the_settings),
		TEST(test_launch_limits_not_set_are_inherited),
		TEST(test_launch_limit_of_open_files_is_not_in_the_way),
		TEST(test_launch_limit_above_what_is_allowed_is_named),
		TEST(test_launch_user_with_too_many_processes_is_named),
		TEST(test_launch_umask_is_that_of_the_settings),
		TEST(test_launch_nice_is_that_of_the_settings),
		TEST(test_launch_nice_0_is_set_as_well),
		TEST(test_launch_oom_score_is_that_of_the_settings),
		TEST(test_launch_negative_oom_score_is_set_or_named),
		TEST(test_launch_capabilities_of_a_user_are_ambient),
		TEST(test_launch_capabilities_of_a_user_can_be_used),
		TEST(test_launch_capabilities_of_root_are_bounded),
		TEST(test_launch_no_capabilities_leave_none),
		TEST(test_launch_ambient_capabilities_are_not_passed_on),
		TEST(test_launch_by_a_user_what_is_not_permitted_is_named),
		TEST(test_launch_capability_that_is_not_there_is_named),
		TEST(test_launch_capability_that_is_not_permitted_is_named),
		TEST(test_launch_without_capabilities_set_all_is_as_it_was),
		TEST(test_launch_no_new_privileges_holds_with_all_else),
	};
	const char *reason = netns_enter();

	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
