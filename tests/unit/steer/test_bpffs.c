/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "orchestrator/steer/bpffs.h"

#define NAME "test-bpffs"

static int setup(void **state)
{
	(void)state;
	bpffs_sweep(NAME);
	return 0;
}

static void make(const char *service, const char *key, char path[static BPFFS_PATH_MAX])
{
	struct error err = {};

	if (bpffs_make(NAME, service, key, path, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(access(path, F_OK), 0);
}

/* Pins a map as @folder/@name. */
static void pin(const char *folder, const char *name)
{
	char path[BPFFS_PATH_MAX + 16];
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "test", 4, 4, 1, NULL);

	assert_true(fd >= 0);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
	close(fd);
}

static void test_bpffs_make_twice_is_the_same_folder(void **state)
{
	char path[BPFFS_PATH_MAX], again[BPFFS_PATH_MAX];

	(void)state;
	make("web", "tcp-127_0_0_1-80", path);
	make("web", "tcp-127_0_0_1-80", again);
	assert_string_equal(path, again);
	assert_non_null(strstr(path, "/" NAME "/web/tcp-127_0_0_1-80"));
}

static void test_bpffs_remove_keeps_what_is_in_use(void **state)
{
	char one[BPFFS_PATH_MAX], two[BPFFS_PATH_MAX];

	(void)state;
	make("web", "one", one);
	make("web", "two", two);
	bpffs_remove(one);
	assert_int_equal(access(one, F_OK), -1);
	assert_int_equal(access(two, F_OK), 0);
	bpffs_remove(two);
	*(strstr(two, "/web") + 4) = '\0';
	assert_int_equal(access(two, F_OK), -1);
	*strstr(two, "/web") = '\0';
	assert_int_equal(access(two, F_OK), 0);
}

/* Containers that share a bpffs do not share the lock in the run directory. */
static void test_bpffs_claim_keeps_another_daemon_of_the_name_away(void **state)
{
	char path[BPFFS_PATH_MAX];
	struct error err = {};
	int mine, other = -1;

	(void)state;
	make("web", "one", path);
	assert_int_equal(bpffs_claim(NAME, &mine, &err), 0);
	assert_int_equal(bpffs_claim(NAME "-2", &other, &err), 0);
	close(other);
	bpffs_sweep(NAME "-2");
	bpffs_remove(path);
	assert_int_equal(bpffs_claim(NAME, &other, &err), -EBUSY);
	assert_non_null(strstr(err.text, "another batond called \"" NAME "\""));
	assert_non_null(strstr(bpffs_how(-EBUSY), "-n"));
	close(mine);
	assert_int_equal(bpffs_claim(NAME, &other, &err), 0);
	close(other);
}

static void test_bpffs_make_with_a_dot_is_refused(void **state)
{
	char path[BPFFS_PATH_MAX];
	struct error err = {};

	(void)state;
	assert_int_equal(bpffs_make(NAME, "web", "127.0.0.1", path, &err), -EPERM);
	assert_non_null(strstr(err.text, "127.0.0.1"));
}

static void test_bpffs_make_too_long_is_refused(void **state)
{
	char path[BPFFS_PATH_MAX], key[BPFFS_PATH_MAX];
	struct error err = {};

	(void)state;
	memset(key, 'x', sizeof(key));
	key[sizeof(key) - 1] = '\0';
	assert_int_equal(bpffs_make(NAME, "web", key, path, &err), -ENAMETOOLONG);
}

static void test_bpffs_sweep_removes_pins_and_folders_of_the_name_alone(void **state)
{
	char mine[BPFFS_PATH_MAX], other[BPFFS_PATH_MAX];
	struct error err = {};

	(void)state;
	make("web", "one", mine);
	pin(mine, "map");
	assert_int_equal(bpffs_make(NAME "-2", "web", "one", other, &err), 0);
	bpffs_sweep(NAME);
	assert_int_equal(access(mine, F_OK), -1);
	assert_int_equal(access(other, F_OK), 0);
	bpffs_sweep(NAME "-2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_bpffs_make_twice_is_the_same_folder, setup),
		cmocka_unit_test_setup(test_bpffs_claim_keeps_another_daemon_of_the_name_away,
				       setup),
		cmocka_unit_test_setup(test_bpffs_remove_keeps_what_is_in_use, setup),
		cmocka_unit_test_setup(test_bpffs_make_with_a_dot_is_refused, setup),
		cmocka_unit_test_setup(test_bpffs_make_too_long_is_refused, setup),
		cmocka_unit_test_setup(test_bpffs_sweep_removes_pins_and_folders_of_the_name_alone,
				       setup),
	};
	int r;

	if (geteuid() != 0) {
		print_message("skipped: needs root (bpffs)\n");
		return 77;
	}
	r = cmocka_run_group_tests(tests, NULL, NULL);
	bpffs_sweep(NAME);
	return r;
}
