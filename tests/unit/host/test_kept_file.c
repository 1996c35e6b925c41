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
#include <systemd/sd-event.h>
#include <unistd.h>

#include "common/clock.h"
#include "orchestrator/host/file.h"
#include "orchestrator/host/kept_file.h"
#include "orchestrator/host/writer.h"
#include "tests/unit/fakes/children.h"

static char folder[64], path[128], spare[128], obstacle[160];
static sd_event *event;
static struct kept_file *file;
static struct error err;

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/baton-test-kept-XXXXXX");
	if (!mkdtemp(folder) || sd_event_new(&event) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/lib/state.json", folder);
	snprintf(spare, sizeof(spare), "%s/run/state.json", folder);
	snprintf(obstacle, sizeof(obstacle), "%s.new", path);
	file = kept_file_new(event, NULL, path, spare);
	return file ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	kept_file_free(file);
	event = sd_event_unref(event);
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

/* Whoever is root cannot be refused by modes: a folder stands where the new file is to be made. */
static void make_unwritable(void)
{
	assert_int_equal(file_make_folder(path, 0700), 0);
	assert_int_equal(mkdir(obstacle, 0700), 0);
}

static void make_writable(void)
{
	assert_int_equal(rmdir(obstacle), 0);
}

static void expect(const char *where, const char *text)
{
	cleanup_free char *found = NULL;

	if (!text) {
		assert_int_equal(access(where, F_OK), -1);
		return;
	}
	assert_int_equal(file_read(where, 1000, &found, NULL), 0);
	assert_string_equal(found, text);
}

static void test_kept_file_that_can_be_written_needs_no_spare(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(kept_file_write(file, "one", &err), 0);
	expect(path, "one");
	expect(spare, NULL);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_kept_file_that_cannot_be_written_is_in_the_spare(void **state)
{
	(void)state;
	assert_int_equal(kept_file_write(file, "one", &err), 0);
	make_unwritable();
	assert_int_equal(kept_file_write(file, "two", &err), 1);
	assert_memory_equal(err.text, path, strlen(path));
	expect(path, "one");
	expect(spare, "two");
	assert_int_equal(kept_file_write(file, "three", &err), 1);
	expect(spare, "three");
	make_writable();
	assert_int_equal(kept_file_write(file, "four", &err), 0);
	expect(path, "four");
	expect(spare, NULL);
}

static void test_kept_file_is_written_by_itself_once_it_can_be(void **state)
{
	uint64_t end_ms = clock_monotonic_ms() + 20000;

	(void)state;
	make_unwritable();
	assert_int_equal(kept_file_write(file, "one", &err), 1);
	make_writable();
	while (access(path, F_OK) < 0) {
		assert_true(clock_monotonic_ms() < end_ms);
		assert_true(sd_event_run(event, 1000000) >= 0);
	}
	expect(path, "one");
	expect(spare, NULL);
	/* And then nothing wakes up any more. */
	assert_int_equal(sd_event_run(event, 0), 0);
}

static void test_kept_file_without_any_room_is_kept_in_memory(void **state)
{
	char also[160];

	(void)state;
	make_unwritable();
	assert_int_equal(file_make_folder(spare, 0700), 0);
	snprintf(also, sizeof(also), "%s.new", spare);
	assert_int_equal(mkdir(also, 0700), 0);
	assert_int_equal(kept_file_write(file, "one", &err), -EISDIR);
	assert_int_equal(kept_file_write(file, "two", &err), -EISDIR);
	make_writable();
	/* The end is a further chance. */
	kept_file_free(file);
	file = NULL;
	expect(path, "two");
}

static void test_kept_file_that_stays_unwritable_leaves_its_spare(void **state)
{
	(void)state;
	make_unwritable();
	assert_int_equal(kept_file_write(file, "one", &err), 1);
	kept_file_free(file);
	file = NULL;
	expect(spare, "one");
	expect(path, NULL);
}

/* ---- by a writer ---------------------------------------------------------------------------- */

static struct writer *writer;

static int set_up_writer(void **state)
{
	if (set_up(state) < 0)
		return -1;
	kept_file_free(file);
	if (writer_new(event, -1, &writer, &err) < 0)
		return -1;
	file = kept_file_new(event, writer, path, spare);
	return file ? 0 : -1;
}

static int tear_down_writer(void **state)
{
	kept_file_free(file);
	file = NULL;
	writer_finish(writer, 20000);
	writer_free(TAKE_PTR(writer));
	while (has_children())
		assert_true(sd_event_run(event, 1000000) >= 0);
	return tear_down(state);
}

static void run_until(bool (*done)(void))
{
	uint64_t end_ms = clock_monotonic_ms() + 20000;

	while (!done()) {
		assert_true(clock_monotonic_ms() < end_ms);
		assert_true(sd_event_run(event, 1000000) >= 0);
	}
}

static bool is_written(void)
{
	return access(path, F_OK) == 0 && access(spare, F_OK) < 0;
}

static bool no_helper_lives(void)
{
	return !has_children();
}

/* The first write fails, and the next one says so. */
static void fail_to_write(void)
{
	make_unwritable();
	assert_int_equal(kept_file_write(file, "one", &err), 0);
	assert_true(sd_event_run(event, 1000000) > 0);
	run_until(no_helper_lives);
	while (sd_event_run(event, 0) > 0)
		;
	assert_int_equal(kept_file_write(file, "two", &err), 1);
	assert_memory_equal(err.text, path, strlen(path));
}

/* Whoever is killed now has left it there. */
static void test_kept_file_of_a_writer_is_in_the_spare_at_once(void **state)
{
	(void)state;
	assert_int_equal(kept_file_write(file, "one", &err), 0);
	expect(path, NULL);
	expect(spare, "one");
	assert_int_equal(kept_file_write(file, "two", &err), 0);
	expect(spare, "two");
	run_until(is_written);
	expect(path, "two");
	expect(spare, NULL);
}

static void test_kept_file_of_a_writer_is_tried_again(void **state)
{
	(void)state;
	fail_to_write();
	expect(path, NULL);
	expect(spare, "two");
	make_writable();
	run_until(is_written);
	expect(path, "two");
	expect(spare, NULL);
}

/* The end is a further chance, and the spare goes if it helps. */
static void test_kept_file_of_a_writer_is_written_at_the_end(void **state)
{
	(void)state;
	fail_to_write();
	make_writable();
	writer_finish(writer, 20000);
	expect(path, "two");
	expect(spare, NULL);
}

static void test_kept_file_of_a_writer_that_is_freed_is_written_all_the_same(void **state)
{
	(void)state;
	assert_int_equal(kept_file_write(file, "one", &err), 0);
	kept_file_free(file);
	file = NULL;
	writer_finish(writer, 20000);
	expect(path, "one");
}

#define TEST(name_)        cmocka_unit_test_setup_teardown(name_, set_up, tear_down)
#define TEST_WRITER(name_) cmocka_unit_test_setup_teardown(name_, set_up_writer, tear_down_writer)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_kept_file_that_can_be_written_needs_no_spare),
		TEST(test_kept_file_that_cannot_be_written_is_in_the_spare),
		TEST(test_kept_file_is_written_by_itself_once_it_can_be),
		TEST(test_kept_file_without_any_room_is_kept_in_memory),
		TEST(test_kept_file_that_stays_unwritable_leaves_its_spare),
		TEST_WRITER(test_kept_file_of_a_writer_is_in_the_spare_at_once),
		TEST_WRITER(test_kept_file_of_a_writer_is_tried_again),
		TEST_WRITER(test_kept_file_of_a_writer_is_written_at_the_end),
		TEST_WRITER(test_kept_file_of_a_writer_that_is_freed_is_written_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
