/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <unistd.h>

#include "common/clock.h"
#include "orchestrator/health/ca_files.h"
#include "tests/unit/fakes/folder.h"
#include "tests/unit/fakes/held_errand.h"

static sd_event *loop;
static struct ca_files *files;
static unsigned reads;
static struct error err;

static void on_read(void *userdata)
{
	assert_ptr_equal(userdata, &reads);
	reads++;
}

static int set_up(void **state)
{
	memset(&helper, 0, sizeof(helper));
	reads = 0;
	if (sd_event_new(&loop) < 0 || folder_set_up(state) < 0)
		return -1;
	files = ca_files_new(loop, on_read, &reads);
	return files ? 0 : -1;
}

static int tear_down(void **state)
{
	ca_files_free(TAKE_PTR(files));
	assert_false(helper.on_its_way);
	loop = sd_event_unref(loop);
	return folder_tear_down(state);
}

/* Somebody who begins to ask now gets @expected; NULL: has to wait. */
static void get(const char *name, uint64_t since_ms, const char *expected)
{
	const char *text;
	size_t n;
	int r = ca_files_get(files, in_folder(name), clock_monotonic_ms() + 1, since_ms, &text, &n,
			     &err);

	assert_int_equal(r, expected ? 1 : 0);
	if (expected) {
		assert_int_equal(n, strlen(expected));
		assert_memory_equal(text, expected, n);
	}
}

static int fail_at(const char *name, uint64_t asked_ms)
{
	const char *text;
	size_t n;

	return ca_files_get(files, in_folder(name), asked_ms, 0, &text, &n, &err);
}

static void test_ca_files_are_read_once_by_a_helper(void **state)
{
	(void)state;
	write_file("a", "one", 0644);
	get("a", 0, NULL);
	get("a", 0, NULL);
	come_back();
	assert_int_equal(reads, 1);
	write_file("a", "two", 0644);
	get("a", 0, "one");
	get("a", 0, "one");
	assert_int_equal(helper.n, 1);
	/* Whoever needs what is there now waits for it. */
	get("a", clock_monotonic_ms() + 1, NULL);
	get("a", 0, "one");
	come_back();
	get("a", 0, "two");
	assert_int_equal(helper.n, 2);
}

static void test_ca_files_that_cannot_be_read_are_tried_anew(void **state)
{
	uint64_t began_ms = clock_monotonic_ms();

	(void)state;
	get("a", 0, NULL);
	come_back();
	assert_int_equal(fail_at("a", began_ms), -ENOENT);
	assert_non_null(strstr(err.text, "No such file"));
	assert_int_equal(helper.n, 1);
	write_file("a", "one", 0644);
	get("a", 0, NULL);
	come_back();
	get("a", 0, "one");
}

static void test_ca_files_that_hang_leave_what_is_known(void **state)
{
	uint64_t now_ms;

	(void)state;
	write_file("a", "one", 0644);
	get("a", 0, NULL);
	be_late();
	assert_int_equal(reads, 1);
	/* No second helper goes where one is stuck. */
	assert_int_equal(fail_at("a", clock_monotonic_ms() + 1), -ETIMEDOUT);
	assert_string_equal(err.text, "no answer within 5s");
	come_back();
	get("a", 0, "one");
	now_ms = clock_monotonic_ms() + 1;
	get("a", now_ms, NULL);
	be_late();
	get("a", now_ms, "one");
	get("a", 0, "one");
	die(false);
	get("a", 0, "one");
	helper.refused = -EAGAIN;
	get("a", clock_monotonic_ms() + 1, "one");
}

static void test_ca_files_the_one_asked_for_longest_ago_makes_room(void **state)
{
	char name[16];

	(void)state;
	for (unsigned k = 0; k <= CA_FILES_MAX; k++) {
		snprintf(name, sizeof(name), "%u", k);
		write_file(name, name, 0644);
		get(name, 0, NULL);
		come_back();
		get(name, 0, name);
	}
	assert_int_equal(helper.n, CA_FILES_MAX + 1);
	get(name, 0, name);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_ca_files_are_read_once_by_a_helper),
		TEST(test_ca_files_that_cannot_be_read_are_tried_anew),
		TEST(test_ca_files_that_hang_leave_what_is_known),
		TEST(test_ca_files_the_one_asked_for_longest_ago_makes_room),
	};

	return cmocka_run_group_tests_name("ca_files", tests, NULL, NULL);
}
