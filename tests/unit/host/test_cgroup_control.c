/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/host/cgroup_control.h"
#include "tests/unit/fakes/folder.h"

static void expect_text(const char *name, const char *expected)
{
	cleanup_free char *text = NULL;

	assert_int_equal(cgroup_control_read(folder, name, &text), 1);
	assert_string_equal(text, expected);
}

static void test_cgroup_control_file_is_read_and_written(void **state)
{
	(void)state;
	write_file("pids.max", "", 0644);
	assert_int_equal(cgroup_control_write(folder, "pids.max", "64"), 0);
	expect_text("pids.max", "64");
}

static void test_cgroup_control_file_that_is_not_there_is_told(void **state)
{
	char *text = NULL, name[2 * CGROUP_PATH_MAX];

	(void)state;
	assert_int_equal(cgroup_control_read(folder, "no-such", &text), 0);
	assert_int_equal(cgroup_control_read("/no/such", "pids.max", &text), 0);
	assert_int_equal(cgroup_control_write(folder, "no-such", "1"), -ENOENT);
	/* It is the kernel's to make them. */
	assert_int_equal(access(in_folder("no-such"), F_OK), -1);
	assert_int_equal(mkdir(in_folder("inner"), 0700), 0);
	assert_int_equal(cgroup_control_read(folder, "inner", &text), -EISDIR);
	assert_int_equal(cgroup_control_write(folder, "inner", "1"), -EISDIR);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(cgroup_control_read(folder, name, &text), -ENAMETOOLONG);
	assert_int_equal(cgroup_control_write(folder, name, "1"), -ENAMETOOLONG);
	assert_null(text);
}

/* The limits together with real files, in a tree as the kernel shows it. */
static void test_cgroup_control_files_carry_the_limits(void **state)
{
	struct cgroup_limits resources = {.memory_max = 4096, .cpu_max = 150};
	struct error err = {""};

	(void)state;
	assert_int_equal(mkdir(in_folder("base"), 0700), 0);
	assert_int_equal(mkdir(in_folder("base/leaf"), 0700), 0);
	write_file("cgroup.controllers", "cpu io memory pids\n", 0644);
	write_file("cgroup.subtree_control", "", 0644);
	write_file("base/cgroup.controllers", "cpu memory\n", 0644);
	write_file("base/cgroup.subtree_control", "cpu memory\n", 0644);
	write_file("base/leaf/memory.max", "", 0644);
	write_file("base/leaf/cpu.max", "", 0644);
	write_file("base/leaf/pids.max", "", 0644);
	if (cgroup_limit(in_folder("base/leaf"), &resources, &err) != 0)
		fail_msg("%s", err.text);
	expect_text("cgroup.subtree_control", "+memory +cpu");
	expect_text("base/cgroup.subtree_control", "cpu memory\n");
	expect_text("base/leaf/memory.max", "4096");
	expect_text("base/leaf/cpu.max", "150000 100000");
	expect_text("base/leaf/pids.max", "");
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, folder_set_up, folder_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_cgroup_control_file_is_read_and_written),
		TEST(test_cgroup_control_file_that_is_not_there_is_told),
		TEST(test_cgroup_control_files_carry_the_limits),
	};

	return cmocka_run_group_tests_name("cgroup_control", tests, NULL, NULL);
}
