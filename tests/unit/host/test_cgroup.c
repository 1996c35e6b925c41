/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/config/config.h"

/* ---- finding the place ---------------------------------------------------------------------- */

#define UNIFIED "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define HYBRID                                                                                     \
	"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"                      \
	"32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"                     \
	"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"

static void test_cgroup_locate_finds_own_folder(void **state)
{
	static const struct {
		const char *mountinfo, *cgroup, *path;
	} cases[] = {
		{UNIFIED, "0::/\n", "/sys/fs/cgroup"},
		{UNIFIED, "0::/system.slice/baton.service\n",
		 "/sys/fs/cgroup/system.slice/baton.service"},
		{UNIFIED, "0::/a:b/c", "/sys/fs/cgroup/a:b/c"},
		{HYBRID, "4:memory:/x/y\n1:name=systemd:/z\n0::/own\n",
		 "/sys/fs/cgroup/unified/own"},
		/* a path with a blank and a backslash, and no line end */
		{"29 23 0:26 / /mnt/c\\040g\\134 rw - cgroup2 none rw", "0::/a\n", "/mnt/c g\\/a"},
		/* several optional fields, and a point that looks like the separator's type */
		{"29 23 0:26 / /mnt/cgroup2 rw shared:1 master:2 propagate_from:3 - cgroup2 x rw\n",
		 "0::/a\n", "/mnt/cgroup2/a"},
		/* a container without a cgroup namespace: part of the tree is mounted */
		{"29 23 0:26 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
		 "0::/docker/1/sub\n", "/sys/fs/cgroup/sub"},
		{"29 23 0:26 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/docker/1\n",
		 "/sys/fs/cgroup"},
		/* the first mount shows another part of the tree, the second the right one */
		{"28 23 0:26 /docker/12 /mnt ro - cgroup2 cgroup rw\n"
		 "29 23 0:26 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
		 "0::/docker/1/x\n", "/sys/fs/cgroup/x"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[CGROUP_PATH_MAX];
		struct error err = {""};
		int r = cgroup_locate(cases[i].mountinfo, cases[i].cgroup, 0, path, &err);

		if (r != 0 || strcmp(path, cases[i].path) != 0)
			fail_msg("%s: %d %s %s", cases[i].cgroup, r, path, err.text);
	}
}

static void test_cgroup_locate_without_a_way_is_enoent(void **state)
{
	static const struct {
		const char *mountinfo, *cgroup;
	} cases[] = {
		{"", "0::/\n"},
		{UNIFIED, ""},
		{UNIFIED, "4:memory:/x\n"},
		{UNIFIED, "0::/../../other\n"},
		{"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", "0::/\n"},
		{"29 23 0:26 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/docker/12\n"},
		{"29 23 - cgroup2 cgroup rw\n", "0::/\n"},
		{"garbage\n\n - cgroup2 \n", "0::/\n"},
	};
	char path[CGROUP_PATH_MAX];
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		err.text[0] = '\0';
		assert_int_equal(cgroup_locate(cases[i].mountinfo, cases[i].cgroup, 0, path, &err),
				 -ENOENT);
		assert_memory_equal(err.text, "cgroup: ", 8);
	}
}

static void test_cgroup_locate_path_that_is_too_long_is_refused(void **state)
{
	char cgroup[2 * CGROUP_PATH_MAX], path[CGROUP_PATH_MAX];

	(void)state;
	snprintf(cgroup, sizeof(cgroup), "0::/%0*d\n", CGROUP_PATH_MAX, 0);
	assert_int_equal(cgroup_locate(UNIFIED, cgroup, 0, path, NULL), -ENAMETOOLONG);
	snprintf(cgroup, sizeof(cgroup), "0::/%0*d\n", CGROUP_PATH_MAX - 5, 0);
	assert_int_equal(cgroup_locate(UNIFIED, cgroup, 0, path, NULL), -ENAMETOOLONG);
}

/* Mounts that lie under another one are listed as well; the caller sees which. */
static void test_cgroup_locate_finds_each_mount_in_turn(void **state)
{
	char path[CGROUP_PATH_MAX];
	struct error err = {};

	(void)state;
	assert_int_equal(cgroup_locate(HYBRID UNIFIED, "0::/a\n", 0, path, &err), 0);
	assert_string_equal(path, "/sys/fs/cgroup/unified/a");
	assert_int_equal(cgroup_locate(HYBRID UNIFIED, "0::/a\n", 1, path, &err), 0);
	assert_string_equal(path, "/sys/fs/cgroup/a");
	assert_int_equal(cgroup_locate(HYBRID UNIFIED, "0::/a\n", 2, path, &err), -ENOENT);
}

/* ---- in the kernel's cgroups; as root ------------------------------------------------------- */

static char base[CGROUP_PATH_MAX];

static int set_up(void **state)
{
	char name[64];
	struct error err = {""};

	(void)state;
	base[0] = '\0';
	if (geteuid() != 0)
		return 0;
	snprintf(name, sizeof(name), "baton-test-%d", getpid());
	if (cgroup_base(name, base, &err) < 0) {
		print_message("no cgroup: %s\n", err.text);
		base[0] = '\0';
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return base[0] ? cgroup_remove(base) : 0;
}

static void need_cgroup(void)
{
	if (!base[0])
		skip();
}

/* Waits up to five seconds until the cgroup is populated as @wanted. */
static void wait_populated(const char *path, int wanted)
{
	for (int i = 0; i < 500; i++) {
		if (cgroup_populated(path) == wanted)
			return;
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	fail_msg("%s: never populated %d", path, wanted);
}

static pid_t sleeper(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		for (;;)
			pause();
	}
	return pid;
}

static void put_into(const char *path, pid_t pid)
{
	char procs[CGROUP_PATH_MAX + 16];
	FILE *f;

	snprintf(procs, sizeof(procs), "%s/cgroup.procs", path);
	f = fopen(procs, "w");
	assert_non_null(f);
	assert_true(fprintf(f, "%d\n", pid) > 0);
	assert_int_equal(fclose(f), 0);
}

static void expect_killed(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void test_cgroup_leaf_is_made_filled_killed_and_removed(void **state)
{
	char path[CGROUP_PATH_MAX], again[CGROUP_PATH_MAX];
	uint64_t id = 0, id_again = 0;
	struct error err = {""};
	struct stat st;
	pid_t pid;

	(void)state;
	need_cgroup();
	assert_int_equal(cgroup_create(base, "web.1.0", path, &id, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(id, st.st_ino);
	assert_int_equal(cgroup_populated(path), 0);
	/* An empty one is taken over. */
	assert_int_equal(cgroup_create(base, "web.1.0", again, &id_again, &err), 0);
	assert_string_equal(again, path);
	assert_int_equal(id_again, id);

	pid = sleeper();
	put_into(path, pid);
	assert_int_equal(cgroup_populated(path), 1);
	assert_int_equal(cgroup_populated(base), 1);
	assert_int_equal(cgroup_remove(path), -EBUSY);
	assert_int_equal(cgroup_create(base, "web.1.0", again, &id_again, &err), -EBUSY);
	assert_non_null(strstr(err.text, "processes are in it already"));

	assert_int_equal(cgroup_wait_empty(path, 20), -ETIMEDOUT);
	assert_int_equal(cgroup_kill(path), 0);
	expect_killed(pid);
	assert_int_equal(cgroup_wait_empty(path, 5000), 0);
	assert_int_equal(cgroup_remove(path), 0);
	assert_int_equal(cgroup_wait_empty(path, 5000), 0);
	assert_int_equal(stat(path, &st), -1);
	assert_int_equal(cgroup_remove(path), 0);
	assert_int_equal(cgroup_kill(path), 0);
	assert_int_equal(cgroup_populated(path), 0);
}

static void test_cgroup_that_cannot_be_looked_at_is_not_empty(void **state)
{
	struct rlimit before, none;
	char path[CGROUP_PATH_MAX];
	uint64_t id;
	pid_t pid;

	(void)state;
	need_cgroup();
	assert_int_equal(cgroup_create(base, "web.1.0", path, &id, NULL), 0);
	pid = sleeper();
	put_into(path, pid);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(cgroup_populated(path), -EMFILE);
	assert_int_equal(cgroup_wait_empty(path, 20), -EMFILE);
	assert_int_equal(cgroup_remove(path), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(cgroup_kill(path), 0);
	expect_killed(pid);
	assert_int_equal(cgroup_wait_empty(path, 5000), 0);
	assert_int_equal(cgroup_remove(path), 0);
}

static void test_cgroup_nested_ones_are_killed_and_removed_too(void **state)
{
	char path[CGROUP_PATH_MAX], inner[CGROUP_PATH_MAX], innermost[CGROUP_PATH_MAX];
	uint64_t id;
	pid_t outer_pid, inner_pid;

	(void)state;
	need_cgroup();
	assert_int_equal(cgroup_create(base, "web.1.0", path, &id, NULL), 0);
	assert_int_equal(cgroup_create(path, "a", inner, &id, NULL), 0);
	assert_int_equal(cgroup_create(inner, "b", innermost, &id, NULL), 0);
	outer_pid = sleeper();
	inner_pid = sleeper();
	put_into(path, outer_pid);
	put_into(innermost, inner_pid);
	assert_int_equal(cgroup_remove(path), -EBUSY);
	assert_int_equal(cgroup_populated(innermost), 1);
	assert_int_equal(cgroup_kill(path), 0);
	expect_killed(outer_pid);
	expect_killed(inner_pid);
	wait_populated(path, 0);
	assert_int_equal(cgroup_remove(path), 0);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_cgroup_base_can_be_found_again(void **state)
{
	char name[64], again[CGROUP_PATH_MAX];
	struct error err;

	(void)state;
	need_cgroup();
	snprintf(name, sizeof(name), "baton-test-%d", getpid());
	assert_int_equal(cgroup_base(name, again, &err), 0);
	assert_string_equal(again, base);
	assert_int_equal(cgroup_base("no/such", again, &err), -ENOENT);
}

/* In a child, so that the test itself stays where it is. */
static int step_aside_and_back(void)
{
	char inner[CGROUP_PATH_MAX], leaf[CGROUP_PATH_MAX], found[CGROUP_PATH_MAX];
	struct error err;
	uint64_t id;

	/* As if it had been started in @base, whose daemon's base is below. */
	put_into(base, getpid());
	if (cgroup_create(base, "name", inner, &id, &err) < 0)
		return 1;
	snprintf(leaf, sizeof(leaf), "%s/batond", base);
	if (cgroup_step_aside(inner, &err) < 0 || cgroup_populated(leaf) != 1)
		return 2;
	/* Twice does no harm. */
	if (cgroup_step_aside(inner, &err) < 0 || cgroup_populated(leaf) != 1)
		return 3;
	/* A daemon that is started there has its base beside it. */
	if (cgroup_base("name", found, &err) < 0 || strcmp(found, inner) != 0)
		return 4;
	if (cgroup_step_back(inner) < 0 || access(leaf, F_OK) == 0)
		return 5;
	return cgroup_remove(inner) == 0 ? 0 : 6;
}

static void test_cgroup_steps_aside_and_back(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	need_cgroup();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(step_aside_and_back());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	wait_populated(base, 0);
}

static void test_cgroup_create_in_what_is_no_cgroup_fails(void **state)
{
	char path[CGROUP_PATH_MAX], name[CGROUP_PATH_MAX];
	struct error err = {""};
	uint64_t id;

	(void)state;
	assert_int_equal(cgroup_create("/no/such", "x", path, &id, &err), -ENOENT);
	assert_string_equal(err.text, "cgroup: make /no/such/x: No such file or directory");
	snprintf(name, sizeof(name), "%0*d", CGROUP_PATH_MAX - 5, 0);
	assert_int_equal(cgroup_create("/no/such", name, path, &id, &err), -ENAMETOOLONG);
}

/* Only where the host gives cgroup v2 no memory controller; elsewhere test_cgroup_limit plays it.
 */
static void test_cgroup_limit_without_its_controller_says_so(void **state)
{
	struct cgroup_limits resources = {.memory_max = 64 * 1024 * 1024};
	char path[CGROUP_PATH_MAX], controllers[CGROUP_PATH_MAX + 32], list[1024] = "";
	struct error err = {""};
	uint64_t id;
	FILE *f;

	(void)state;
	need_cgroup();
	controllers[0] = '\0';
	for (char *at = base; (at = strchr(at + 1, '/'));) {
		snprintf(controllers, sizeof(controllers), "%.*s/cgroup.controllers",
			 (int)(at - base), base);
		if (access(controllers, F_OK) == 0)
			break;
	}
	f = fopen(controllers, "r");
	assert_non_null(f);
	assert_true(fgets(list, sizeof(list), f) || feof(f));
	assert_int_equal(fclose(f), 0);
	if (strstr(list, "memory"))
		skip();
	assert_int_equal(cgroup_create(base, "web.1.0", path, &id, NULL), 0);
	assert_int_equal(cgroup_limit(path, &resources, &err), -EOPNOTSUPP);
	*strrchr(controllers, '/') = '\0';
	assert_non_null(strstr(err.text, "resources.memory_max: the memory controller is not "
					 "available in cgroup v2 at "));
	assert_non_null(strstr(err.text, controllers));
	resources.memory_max = 0;
	assert_int_equal(cgroup_limit(path, &resources, &err), 0);
	assert_int_equal(cgroup_remove(path), 0);
}

/* ---- a kernel without cgroup.kill, played by ordinary files --------------------------------- */

static void expect_text(const char *path, const char *expected)
{
	char text[16] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(read(fd, text, sizeof(text) - 1) >= 0);
	close(fd);
	assert_string_equal(text, expected);
}

static void test_cgroup_kill_without_its_file_goes_one_by_one(void **state)
{
	char folder[] = "/tmp/baton-test-cgroup-XXXXXX", inner[64], freeze[64];
	pid_t first = sleeper(), second = sleeper();

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(inner, sizeof(inner), "%s/inner", folder);
	assert_int_equal(mkdir(inner, 0700), 0);
	put_into(folder, first);
	put_into(inner, second);
	snprintf(freeze, sizeof(freeze), "%s/cgroup.freeze", folder);
	assert_int_equal(close(open(freeze, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
	assert_int_equal(cgroup_kill(folder), 0);
	expect_killed(first);
	expect_killed(second);
	/* It was frozen meanwhile, and is not any more. */
	expect_text(freeze, "0");
	assert_int_equal(unlink(freeze), 0);
	/* They are gone now: no mistake either. */
	assert_int_equal(cgroup_kill(folder), 0);
	/* What is not a cgroup is not taken apart. */
	assert_int_equal(cgroup_remove(folder), -EINVAL);
	assert_int_equal(access(inner, F_OK), 0);

	snprintf(inner, sizeof(inner), "%s/inner/cgroup.procs", folder);
	assert_int_equal(unlink(inner), 0);
	*strrchr(inner, '/') = '\0';
	assert_int_equal(rmdir(inner), 0);
	snprintf(inner, sizeof(inner), "%s/cgroup.procs", folder);
	assert_int_equal(unlink(inner), 0);
	assert_int_equal(rmdir(folder), 0);
}

static void test_cgroup_kill_never_signals_process_groups(void **state)
{
	char folder[] = "/tmp/baton-test-cgroup-XXXXXX", procs[64];
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", folder);
	f = fopen(procs, "w");
	assert_non_null(f);
	/* 0 stands for a process of another namespace; kill(0) would be this test and its group. */
	assert_true(fputs("0\n", f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(cgroup_kill(folder), 0);
	assert_int_equal(unlink(procs), 0);
	assert_int_equal(rmdir(folder), 0);
}

static void test_cgroup_parse_leaf_tells_what_baton_makes(void **state)
{
	static const struct {
		const char *leaf;
		enum cgroup_leaf kind;
		const char *service;
	} cases[] = {
		{"web.3.0", CGROUP_LEAF_INSTANCE, "web"},
		{"anchor.web", CGROUP_LEAF_ANCHOR, "web"},
		{"web.anchor", CGROUP_LEAF_ANCHOR, "web"},
		{"anchor.1.0", CGROUP_LEAF_INSTANCE, "anchor"},
		{"web.3.0.x", CGROUP_LEAF_OTHER, ""},
		{"web.3", CGROUP_LEAF_OTHER, ""},
		{"web.scope", CGROUP_LEAF_OTHER, ""},
		{".3.0", CGROUP_LEAF_OTHER, ""},
		{"web.", CGROUP_LEAF_OTHER, ""},
		{"batond", CGROUP_LEAF_OTHER, ""},
		{"", CGROUP_LEAF_OTHER, ""},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		char service[CGROUP_LEAF_MAX] = "?";

		assert_int_equal(cgroup_parse_leaf(cases[k].leaf, service), cases[k].kind);
		assert_string_equal(service, cases[k].service);
	}
}

static void note_base(void *userdata, const char *found)
{
	strcpy(userdata, found);
}

static void test_cgroup_each_base_finds_what_a_daemon_has_made(void **state)
{
	char found[CGROUP_PATH_MAX] = "", path[CGROUP_PATH_MAX], name[64];
	uint64_t id;

	(void)state;
	snprintf(name, sizeof(name), "%s", strrchr(base, '/') + 1);
	/* It has no leaf of ours: it may be anybody's. */
	assert_int_equal(cgroup_each_base(name, note_base, found), 0);
	assert_string_equal(found, "");
	assert_int_equal(cgroup_create(base, "web.1.0", path, &id, NULL), 0);
	assert_int_equal(cgroup_each_base(name, note_base, found), 0);
	assert_string_equal(found, base);
	assert_int_equal(cgroup_remove(path), 0);
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cgroup_parse_leaf_tells_what_baton_makes),
		TEST(test_cgroup_each_base_finds_what_a_daemon_has_made),
		cmocka_unit_test(test_cgroup_locate_finds_each_mount_in_turn),
		cmocka_unit_test(test_cgroup_locate_finds_own_folder),
		cmocka_unit_test(test_cgroup_locate_without_a_way_is_enoent),
		cmocka_unit_test(test_cgroup_locate_path_that_is_too_long_is_refused),
		TEST(test_cgroup_leaf_is_made_filled_killed_and_removed),
		TEST(test_cgroup_that_cannot_be_looked_at_is_not_empty),
		TEST(test_cgroup_nested_ones_are_killed_and_removed_too),
		TEST(test_cgroup_base_can_be_found_again),
		TEST(test_cgroup_steps_aside_and_back),
		TEST(test_cgroup_limit_without_its_controller_says_so),
		cmocka_unit_test(test_cgroup_create_in_what_is_no_cgroup_fails),
		cmocka_unit_test(test_cgroup_kill_without_its_file_goes_one_by_one),
		cmocka_unit_test(test_cgroup_kill_never_signals_process_groups),
	};

	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
