/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include "common/vector.h"
#include "orchestrator/host/account.h"
#include "orchestrator/host/file.h"
#include "orchestrator/host/sight.h"
#include "tests/unit/fakes/folder.h"

static char *bytes;
static size_t n_bytes;

static int tear_down(void **state)
{
	sight_forget();
	free(TAKE_PTR(bytes));
	return folder_tear_down(state);
}

/* What a helper would send. */
static void take_recorded(void)
{
	const char *recorded = sight_recorded(&n_bytes);

	assert_non_null(recorded);
	bytes = malloc(n_bytes + 1);
	assert_non_null(bytes);
	memcpy(bytes, recorded, n_bytes);
	sight_use(bytes, n_bytes);
}

static void test_sight_recall_gives_what_was_recorded_and_touches_nothing(void **state)
{
	char *path = write_file("a", "one", 0755), *missing = in_folder("missing");
	char target[PATH_MAX], *real = NULL, *text = NULL;
	struct error err;
	struct stat st;
	size_t length;

	(void)state;
	assert_int_equal(symlink("a", in_folder("link")), 0);
	sight_record(NULL, 0);
	assert_int_equal(sight_stat(path, &st), 0);
	assert_int_equal(sight_lstat(missing, &st), -ENOENT);
	assert_int_equal(sight_access(path, X_OK), 0);
	assert_int_equal(sight_realpath(in_folder("link"), &real), 0);
	free(TAKE_PTR(real));
	assert_int_equal(sight_readlink(in_folder("link"), target), 0);
	assert_int_equal(file_read(path, 100, &text, NULL), 0);
	free(TAKE_PTR(text));
	assert_int_equal(file_read_for(NULL, missing, PATH_READ, 100, &text, NULL, &err), -ENOENT);
	take_recorded();

	assert_int_equal(unlink(path), 0);
	write_file("missing", "", 0644);
	assert_int_equal(sight_stat(path, &st), 0);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(sight_lstat(missing, &st), -ENOENT);
	assert_int_equal(sight_access(path, X_OK), 0);
	assert_int_equal(sight_realpath(in_folder("link"), &real), 0);
	assert_string_equal(real, path);
	free(real);
	assert_int_equal(sight_readlink(in_folder("link"), target), 0);
	assert_string_equal(target, "a");
	assert_int_equal(file_read(path, 100, &text, &length), 0);
	assert_string_equal(text, "one");
	assert_int_equal(length, 3);
	free(TAKE_PTR(text));
	strcpy(err.text, "?");
	assert_int_equal(file_read_for(NULL, missing, PATH_READ, 100, &text, NULL, &err), -ENOENT);
	assert_string_equal(err.text, "No such file or directory");

	sight_forget();
	assert_int_equal(sight_stat(path, &st), -ENOENT);
	assert_int_equal(sight_lstat(missing, &st), 0);
}

/* In another order, and what was asked twice twice. */
static void test_sight_the_order_of_questions_does_not_matter(void **state)
{
	char *a = write_file("a", "1", 0644), *b = write_file("b", "22", 0644);
	struct stat st;

	(void)state;
	sight_record(NULL, 0);
	sight_stat(a, &st);
	write_file("a", "333", 0644);
	sight_stat(a, &st);
	sight_stat(b, &st);
	take_recorded();
	assert_int_equal(sight_stat(b, &st), 0);
	assert_int_equal(st.st_size, 2);
	assert_int_equal(sight_stat(a, &st), 0);
	assert_int_equal(st.st_size, 1);
	assert_int_equal(sight_stat(a, &st), 0);
	assert_int_equal(st.st_size, 3);
}

static void test_sight_what_was_not_asked_is_asked_for_real(void **state)
{
	char *path = write_file("a", "1", 0644);
	struct stat st;

	(void)state;
	sight_record(NULL, 0);
	take_recorded();
	assert_int_equal(sight_stat(path, &st), 0);
	/* It is not kept: the next one is asked again. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(sight_stat(path, &st), -ENOENT);
}

static bool is_wanted(const char *name)
{
	return name[0] != '.';
}

static void check_names(char **names, int n)
{
	assert_int_equal(n, 2);
	assert_string_equal(names[0], "a");
	assert_string_equal(names[1], "b");
	assert_null(names[2]);
	vector_free(names);
}

static void test_sight_folders_and_accounts(void **state)
{
	struct account *account = NULL;
	char **names = NULL;
	gid_t gid = 7, groups[64];
	size_t n = 0, again = 0;
	int r;

	(void)state;
	write_file("b", "", 0644);
	write_file("a", "", 0644);
	sight_record(NULL, 0);
	r = file_list(folder, is_wanted, &names);
	check_names(TAKE_PTR(names), r);
	assert_int_equal(account_by_uid(0, &account), 0);
	account_free(TAKE_PTR(account));
	assert_int_equal(account_by_name("nobody-has-this", &account), -ENOENT);
	assert_int_equal(account_group("root", &gid), 0);
	assert_int_equal(account_groups("root", 0, groups, 64, &n), 0);
	take_recorded();

	assert_int_equal(unlink(in_folder("a")), 0);
	r = file_list(folder, is_wanted, &names);
	check_names(TAKE_PTR(names), r);
	assert_int_equal(account_by_uid(0, &account), 0);
	assert_string_equal(account->name, "root");
	assert_string_equal(account->home, "/root");
	assert_int_equal(account->gid, 0);
	account_free(account);
	assert_int_equal(account_by_name("nobody-has-this", &account), -ENOENT);
	gid = 7;
	assert_int_equal(account_group("root", &gid), 0);
	assert_int_equal(gid, 0);
	assert_int_equal(account_groups("root", 0, groups, 64, &again), 0);
	assert_int_equal(again, n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_sight_recall_gives_what_was_recorded_and_touches_nothing,
			folder_set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sight_the_order_of_questions_does_not_matter,
						folder_set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sight_what_was_not_asked_is_asked_for_real,
						folder_set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sight_folders_and_accounts, folder_set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
