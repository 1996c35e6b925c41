/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "orchestrator/host/cgroup.h"
#include "orchestrator/host/cgroup_control.h"
#include "orchestrator/config/config.h"
#include "tests/unit/fakes/fake_calls.h"

/*
 * Instead of cgroup_control.c: a hierarchy with the kernel's rules (cgroup-v2.rst). A folder has
 * the controllers that the one above passes on; none below the root passes any on while processes
 * are in it; a file of a controller is there only with the controller.
 */
#define ROOT "/sys/fs/cgroup"
#define LEAF "/sys/fs/cgroup/system.slice/baton/web.1.0"

enum { FOLDERS = 4, TEXT_MAX = 64 };

struct folder {
	const char *path;
	char passed_on[TEXT_MAX];
	bool busy;       /* processes are in it */
	int write_error; /* of its cgroup.subtree_control */
};

static struct {
	struct folder folders[FOLDERS]; /* from the root to the leaf */
	const char *available;          /* at the root; NULL: cannot be read */
	int limit_error;
	const char *limit_error_file;
} fake;

static int set_up(void **state)
{
	static const char *const paths[FOLDERS] = {
		ROOT,
		"/sys/fs/cgroup/system.slice",
		"/sys/fs/cgroup/system.slice/baton",
		LEAF,
	};

	(void)state;
	memset(&fake, 0, sizeof(fake));
	fake.available = "cpuset cpu io memory hugetlb pids";
	for (size_t i = 0; i < FOLDERS; i++)
		fake.folders[i].path = paths[i];
	fake.folders[0].busy = true; /* it may be */
	forget_calls();
	return 0;
}

static struct folder *find(const char *path)
{
	for (size_t i = 0; i < FOLDERS; i++)
		if (strcmp(fake.folders[i].path, path) == 0)
			return &fake.folders[i];
	return NULL;
}

static const char *controllers_of(const struct folder *f)
{
	return f == fake.folders ? fake.available : f[-1].passed_on;
}

static bool lists(const char *list, const char *word)
{
	char padded[TEXT_MAX + 2], wanted[TEXT_MAX];

	snprintf(padded, sizeof(padded), " %s ", list);
	snprintf(wanted, sizeof(wanted), " %s ", word);
	return strstr(padded, wanted) != NULL;
}

int cgroup_control_read(const char *path, const char *file, char **ret)
{
	struct folder *f = find(path);
	const char *text;
	char line[TEXT_MAX + 1];

	if (!f)
		return 0;
	text = strcmp(file, "cgroup.controllers") == 0 ? controllers_of(f) : f->passed_on;
	if (!text)
		return -EACCES;
	snprintf(line, sizeof(line), "%s\n", text);
	*ret = strdup(line);
	assert_non_null(*ret);
	return 1;
}

static void take_out(char *list, const char *word)
{
	char rest[TEXT_MAX] = "", copy[TEXT_MAX], *at = copy, *one;

	strcpy(copy, list);
	while ((one = strsep(&at, " ")))
		if (*one && strcmp(one, word) != 0)
			snprintf(rest + strlen(rest), sizeof(rest) - strlen(rest), "%s%s",
				 rest[0] ? " " : "", one);
	strcpy(list, rest);
}

static int pass_on(struct folder *f, const char *words)
{
	char copy[TEXT_MAX], *at = copy, *word;

	if (f->write_error)
		return f->write_error;
	strcpy(copy, words);
	while ((word = strsep(&at, " "))) {
		assert_true(word[0] == '+' || word[0] == '-');
		if (word[0] == '+' && !lists(controllers_of(f), word + 1))
			return -ENOENT;
		if (word[0] == '+' && f->busy && f != fake.folders)
			return -EBUSY;
		if (word[0] == '-' && lists(f[1].passed_on, word + 1))
			return -EBUSY;
		assert_int_equal(lists(f->passed_on, word + 1), word[0] == '-');
		if (word[0] == '-')
			take_out(f->passed_on, word + 1);
		else
			snprintf(f->passed_on + strlen(f->passed_on),
				 sizeof(f->passed_on) - strlen(f->passed_on), "%s%s",
				 f->passed_on[0] ? " " : "", word + 1);
	}
	return 0;
}

int cgroup_control_write(const char *path, const char *file, const char *text)
{
	struct folder *f = find(path);
	char controller[TEXT_MAX];
	int r;

	if (!f)
		return -ENOENT;
	if (strcmp(file, "cgroup.subtree_control") == 0) {
		r = pass_on(f, text);
		if (r == 0)
			called("%s %s", strrchr(path, '/') + 1, text);
		return r;
	}
	snprintf(controller, sizeof(controller), "%.*s", (int)strcspn(file, "."), file);
	if (!lists(controllers_of(f), controller))
		return -ENOENT;
	if (fake.limit_error_file && strcmp(fake.limit_error_file, file) == 0)
		return fake.limit_error;
	called("%s %s=%s", strrchr(path, '/') + 1, file, text);
	return 0;
}

static int limit(uint64_t memory, uint32_t cpu, uint32_t pids, struct error *err)
{
	struct cgroup_limits resources = {.memory_max = memory, .cpu_max = cpu, .pids_max = pids};

	return cgroup_limit(LEAF, &resources, err);
}

static void expect_limit(uint64_t memory, uint32_t cpu, uint32_t pids)
{
	struct error err = {""};

	if (limit(memory, cpu, pids, &err) != 0)
		fail_msg("%s", err.text);
}

/* As it was before: nothing is on that was not. */
static void expect_nothing_on(void)
{
	for (size_t i = 0; i < FOLDERS; i++)
		assert_string_equal(fake.folders[i].passed_on, "");
}

/* ---- what is written ------------------------------------------------------------------------ */

static void test_cgroup_limit_of_nothing_touches_nothing(void **state)
{
	(void)state;
	fake.available = NULL;
	expect_limit(0, 0, 0);
	assert_calls("");
}

static void test_cgroup_limit_switches_on_from_the_root_to_the_parent(void **state)
{
	(void)state;
	expect_limit(512ull << 20, 150, 64);
	assert_calls("cgroup +memory +cpu +pids; system.slice +memory +cpu +pids; "
		     "baton +memory +cpu +pids; "
		     "web.1.0 memory.max=536870912; web.1.0 cpu.max=150000 100000; "
		     "web.1.0 pids.max=64");
	assert_string_equal(fake.folders[3].passed_on, "");
}

static void test_cgroup_limit_switches_on_only_what_it_needs(void **state)
{
	(void)state;
	expect_limit(0, 0, 1);
	assert_calls("cgroup +pids; system.slice +pids; baton +pids; web.1.0 pids.max=1");
	expect_limit(0, 1, 0);
	assert_calls("cgroup +cpu; system.slice +cpu; baton +cpu; web.1.0 cpu.max=1000 100000");
	expect_limit(1, 0, 0);
	assert_calls("cgroup +memory; system.slice +memory; baton +memory; web.1.0 memory.max=1");
}

static void test_cgroup_limit_switches_on_only_what_is_off(void **state)
{
	(void)state;
	strcpy(fake.folders[0].passed_on, "cpuset memory pids");
	strcpy(fake.folders[1].passed_on, "memory");
	expect_limit(4096, 0, 9);
	assert_calls("system.slice +pids; baton +memory +pids; "
		     "web.1.0 memory.max=4096; web.1.0 pids.max=9");
	expect_limit(8192, 0, 0);
	assert_calls("web.1.0 memory.max=8192");
}

/* "cpuset" is there, "cpu" is not. */
static void test_cgroup_limit_knows_controllers_by_their_whole_names(void **state)
{
	struct error err;

	(void)state;
	fake.available = "cpuset";
	assert_int_equal(limit(0, 50, 0, &err), -EOPNOTSUPP);
	fake.available = "cpuset cpu";
	strcpy(fake.folders[0].passed_on, "cpuset");
	expect_limit(0, 50, 0);
	assert_calls("cgroup +cpu; system.slice +cpu; baton +cpu; web.1.0 cpu.max=50000 100000");
}

static void test_cgroup_limit_largest_values_are_written_whole(void **state)
{
	(void)state;
	expect_limit(UINT64_MAX, UINT32_MAX, UINT32_MAX);
	assert_non_null(strstr(calls, "memory.max=18446744073709551615; "));
	assert_non_null(strstr(calls, "cpu.max=4294967295000 100000; "));
	assert_non_null(strstr(calls, "pids.max=4294967295"));
}

/* ---- errors --------------------------------------------------------------------------------- */

static void test_cgroup_limit_missing_controller_is_named_with_its_key(void **state)
{
	static const struct {
		const char *available;
		uint64_t memory;
		uint32_t cpu, pids;
		const char *text;
	} cases[] = {
		{"", 1, 0, 0, "resources.memory_max: the memory controller is not available"},
		{"memory pids", 1, 1, 1, "resources.cpu_max: the cpu controller is not available"},
		{"memory cpu", 1, 1, 1, "resources.pids_max: the pids controller is not available"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error err = {""};

		fake.available = cases[i].available;
		assert_int_equal(limit(cases[i].memory, cases[i].cpu, cases[i].pids, &err),
				 -EOPNOTSUPP);
		assert_memory_equal(err.text, cases[i].text, strlen(cases[i].text));
		assert_non_null(strstr(err.text, " in cgroup v2 at /sys/fs/cgroup "
						 "(it may be bound to cgroup v1)"));
		assert_calls("");
	}
}

static void test_cgroup_limit_below_a_cgroup_with_processes_names_a_way_out(void **state)
{
	struct error err = {""};

	(void)state;
	fake.folders[2].busy = true;
	assert_int_equal(limit(1, 0, 1, &err), -EBUSY);
	assert_string_equal(
		err.text,
		"resources.memory_max: the memory controller cannot be switched on in "
		"/sys/fs/cgroup/system.slice/baton, as processes are in that cgroup itself; move "
		"what its cgroup.procs lists to a cgroup below it (mkdir main; echo PID > "
		"main/cgroup.procs)");
	/* What was switched on for it is off again, from below upwards. */
	assert_calls("cgroup +memory +pids; system.slice +memory +pids; "
		     "system.slice -memory -pids; cgroup -memory -pids");
	expect_nothing_on();
}

static void test_cgroup_limit_without_the_right_to_switch_on_says_who_must(void **state)
{
	static const int codes[] = {-EACCES, -EPERM, -EROFS};

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct error err = {""};

		strcpy(fake.folders[0].passed_on, "memory");
		fake.folders[1].write_error = codes[i];
		assert_int_equal(limit(1, 0, 0, &err), codes[i]);
		assert_non_null(strstr(err.text, "resources.memory_max: the memory controller is "
						 "not on in /sys/fs/cgroup/system.slice, "));
		assert_non_null(strstr(err.text, "Delegate=yes"));
		assert_calls("");
		assert_string_equal(fake.folders[0].passed_on, "memory");
	}
}

static void test_cgroup_limit_other_failure_to_switch_on_is_told(void **state)
{
	struct error err = {""};

	(void)state;
	fake.folders[0].write_error = -EIO;
	assert_int_equal(limit(0, 0, 1, &err), -EIO);
	assert_string_equal(err.text, "resources.pids_max: switch on the pids controller in "
				      "/sys/fs/cgroup: Input/output error");
	expect_nothing_on();
}

static void test_cgroup_limit_that_is_refused_leaves_nothing_on(void **state)
{
	struct error err = {""};

	(void)state;
	strcpy(fake.folders[0].passed_on, "memory");
	fake.limit_error_file = "pids.max";
	fake.limit_error = -EINVAL;
	assert_int_equal(limit(4096, 0, 4200000000u, &err), -EINVAL);
	assert_string_equal(err.text, "resources.pids_max: write \"4200000000\" to " LEAF
				      "/pids.max: Invalid argument");
	assert_string_equal(fake.folders[0].passed_on, "memory");
	assert_string_equal(fake.folders[1].passed_on, "");
	assert_string_equal(fake.folders[2].passed_on, "");
}

static void test_cgroup_limit_outside_of_cgroups_is_an_error(void **state)
{
	struct cgroup_limits resources = {.memory_max = 1};
	char path[2 * CGROUP_PATH_MAX];
	struct error err = {""};

	(void)state;
	assert_int_equal(cgroup_limit("/no/such/leaf", &resources, &err), -ENOENT);
	assert_string_equal(err.text, "cgroup: /no/such/leaf: not in a cgroup v2 hierarchy");
	assert_int_equal(cgroup_limit("/leaf", &resources, &err), -ENOENT);
	assert_int_equal(cgroup_limit("leaf", &resources, &err), -ENOENT);
	assert_int_equal(cgroup_limit("", &resources, &err), -ENOENT);
	memset(path, '/', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(cgroup_limit(path, &resources, &err), -ENAMETOOLONG);
}

static void test_cgroup_limit_unreadable_controllers_are_an_error(void **state)
{
	struct error err = {""};

	(void)state;
	fake.available = NULL;
	assert_int_equal(limit(1, 0, 0, &err), -EACCES);
	assert_string_equal(err.text,
			    "cgroup: /sys/fs/cgroup/cgroup.controllers: Permission denied");
}

#define TEST(name_) cmocka_unit_test_setup(name_, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_cgroup_limit_of_nothing_touches_nothing),
		TEST(test_cgroup_limit_switches_on_from_the_root_to_the_parent),
		TEST(test_cgroup_limit_switches_on_only_what_it_needs),
		TEST(test_cgroup_limit_switches_on_only_what_is_off),
		TEST(test_cgroup_limit_knows_controllers_by_their_whole_names),
		TEST(test_cgroup_limit_largest_values_are_written_whole),
		TEST(test_cgroup_limit_missing_controller_is_named_with_its_key),
		TEST(test_cgroup_limit_below_a_cgroup_with_processes_names_a_way_out),
		TEST(test_cgroup_limit_without_the_right_to_switch_on_says_who_must),
		TEST(test_cgroup_limit_other_failure_to_switch_on_is_told),
		TEST(test_cgroup_limit_that_is_refused_leaves_nothing_on),
		TEST(test_cgroup_limit_outside_of_cgroups_is_an_error),
		TEST(test_cgroup_limit_unreadable_controllers_are_an_error),
	};

	return cmocka_run_group_tests_name("cgroup_limit", tests, NULL, NULL);
}
