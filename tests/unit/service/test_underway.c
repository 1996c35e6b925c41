/* SPDX-License-Identifier: BSD-2-Clause */
/* What is under way comes back from its file as it was; and files that make no sense. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "orchestrator/host/file.h"
#include "orchestrator/service/underway.h"
#include "tests/unit/fakes/folder.h"

static char path[256];
static struct underway_list list, back;
static struct error err;

static int set_up(void **state)
{
	if (folder_set_up(state) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/rollouts.web.json", folder);
	memset(&list, 0, sizeof(list));
	memset(&back, 0x5a, sizeof(back));
	return 0;
}

static int tear_down(void **state)
{
	return folder_tear_down(state);
}

static void test_underway_without_a_file_is_empty(void **state)
{
	(void)state;
	assert_int_equal(underway_read(path, &back, &err), 0);
	assert_int_equal(back.n, 0);
	assert_int_equal(underway_write(path, &list, &err), 0);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_underway_comes_back_as_it_was(void **state)
{
	struct stat st;

	(void)state;
	list.n = UNDERWAY_MAX;
	list.paused = true;
	for (size_t k = 0; k < list.n; k++) {
		struct underway *u = &list.list[k];

		u->id = UINT32_MAX - (uint32_t)k;
		u->order = (enum run_order)(k % _RUN_ORDER_COUNT);
		u->generation = (uint32_t)k;
		u->replaces = UINT32_MAX;
		u->partial = k & 1;
		u->quits = k & 2;
		u->shifted = k & 4;
		u->undone = k & 8;
		u->committed = k & 16;
		u->instances_before = 3;
		u->instances_wanted = (uint32_t)k;
		u->began_ms = INT64_MAX;
		u->cut = 1ULL << 40;
		u->cut_by_server = 1ULL << 41;
		u->unexpected = INT64_MAX;
		strcpy(u->step, "settle");
		memset(u->reason, k % 2 ? 'x' : '"', sizeof(u->reason) - 1);
	}
	if (underway_write(path, &list, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(underway_read(path, &back, &err), 0);
	assert_memory_equal(&back, &list, sizeof(list));
	/* And nothing under way is no file. */
	memset(&list, 0, sizeof(list));
	list.paused = true;
	assert_int_equal(underway_write(path, &list, &err), 0);
	assert_int_equal(underway_read(path, &back, &err), 0);
	assert_memory_equal(&back, &list, sizeof(list));
	list.paused = false;
	assert_int_equal(underway_write(path, &list, &err), 0);
	assert_int_equal(access(path, F_OK), -1);
}

#define ONE                                                                                        \
	"\"id\":1,\"generation\":2,\"replaces\":1,\"partial\":false,\"quits\":false,"              \
	"\"shifted\":true,\"undone\":false,\"committed\":false,\"instances_before\":0,"            \
	"\"instances_wanted\":0,\"step\":\"bake\",\"reason\":\"\",\"began_ms\":5,\"cut\":0"

static void test_underway_that_makes_no_sense_is_removed_and_said(void **state)
{
	static const char *const bad[] = {
		"",
		"null",
		"[]",
		"{}",
		"{\"version\":1}",
		"{\"version\":1,\"rollouts\":{}}",
		"{\"version\":0,\"rollouts\":[]}",
		"{\"version\":1,\"rollouts\":[1]}",
		"{\"version\":1,\"rollouts\":[{\"order\":\"restart\"}]}",
		"{\"version\":1,\"rollouts\":[{\"order\":\"dance\"," ONE "}]}",
		"{\"version\":1,\"rollouts\":[{" ONE "}]}",
		"{\"version\":1,\"rollouts\":[{\"order\":\"restart\"," ONE "}",
	};

	(void)state;
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		assert_int_equal(file_replace(path, bad[k], strlen(bad[k]), 0600), 0);
		memset(&back, 0x5a, sizeof(back));
		if (underway_read(path, &back, &err) != -EBADMSG)
			fail_msg("taken: %s", bad[k]);
		assert_int_equal(back.n, 0);
		assert_non_null(strstr(err.text, path));
		assert_non_null(strstr(err.text, "it is damaged; it is removed"));
		assert_int_equal(access(path, F_OK), -1);
	}
	assert_int_equal(
		file_replace(path,
			     "{\"version\":1,\"rollouts\":[{\"order\":\"restart\"," ONE
			     ",\"later\":1}]}",
			     strlen("{\"version\":1,\"rollouts\":[{\"order\":\"restart\"," ONE
				    ",\"later\":1}]}"),
			     0600),
		0);
	assert_int_equal(underway_read(path, &back, &err), 0);
	assert_int_equal(back.n, 1);
}

/* That connections wait is true whoever has written it, and however much of it is understood. */
static void test_underway_that_is_not_understood_stays_paused(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"{\"version\":2,\"paused\":true,\"rollouts\":{\"a\":1}}",
		 "a later version of baton has written it; it is removed"},
		{"{\"version\":1,\"paused\":true,\"rollouts\":[{\"order\":\"dance\"," ONE "}]}",
		 "it is damaged; it is removed"},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		assert_int_equal(file_replace(path, cases[k].text, strlen(cases[k].text), 0600), 0);
		assert_int_equal(underway_read(path, &back, &err), -EBADMSG);
		assert_int_equal(back.n, 0);
		assert_true(back.paused);
		assert_non_null(strstr(err.text, cases[k].why));
		assert_non_null(strstr(err.text, "; its service stays paused"));
		/* What is written from now on is understood, by the next one, too. */
		assert_int_equal(underway_read(path, &back, &err), 0);
		assert_true(back.paused);
		unlink(path);
	}
}

static void test_underway_that_cannot_be_written_says_so(void **state)
{
	(void)state;
	list.n = 1;
	list.list[0].id = 1;
	assert_int_equal(underway_write("/nowhere/at/all.json", &list, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nowhere/at/all.json"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_underway_without_a_file_is_empty),
		TEST(test_underway_comes_back_as_it_was),
		TEST(test_underway_that_makes_no_sense_is_removed_and_said),
		TEST(test_underway_that_is_not_understood_stays_paused),
		TEST(test_underway_that_cannot_be_written_says_so),
	};
#undef TEST

	return cmocka_run_group_tests_name("underway", tests, NULL, NULL);
}
