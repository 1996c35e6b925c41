/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/clock.h"
#include "orchestrator/host/file.h"
#include "orchestrator/host/writer.h"
#include "tests/unit/fakes/children.h"
#include "tests/unit/fakes/folder.h"

#define DEADLINE_MS 20000

static sd_event *loop;
static struct writer *writer;
static struct error err;

/* The helper's own is a pipe that the test reads at the other end: then the disk is slow. */
static int slow_disk = -1;

int file_replace(const char *path, const char *text, size_t length, mode_t mode)
{
	FILE *file;
	char byte;

	if (slow_disk >= 0 && read(slow_disk, &byte, 1) != 1)
		return -EIO;
	file = fopen(path, "w");
	if (!file || fwrite(text, 1, length, file) != length)
		return -EROFS;
	(void)fchmod(fileno(file), mode);
	return fclose(file) == 0 ? 0 : -EIO;
}

/* One folder, at most. */
int file_make_folder(const char *path, mode_t mode)
{
	cleanup_free char *parent = strdup(path);

	assert_non_null(parent);
	*strrchr(parent, '/') = '\0';
	return mkdir(parent, mode) < 0 && errno != EEXIST ? -errno : 0;
}

/* What was told last, and how often; of one file at a time. */
static struct {
	int r;
	char why[256];
	unsigned n;
} told;

static void on_told(void *userdata, int r, const struct error *why)
{
	assert_ptr_equal(userdata, &told);
	told.r = r;
	snprintf(told.why, sizeof(told.why), "%s", why->text);
	told.n++;
}

static int set_up(void **state)
{
	slow_disk = -1;
	memset(&told, 0, sizeof(told));
	return sd_event_new(&loop) < 0 ? -1 : folder_set_up(state);
}

static int tear_down(void **state)
{
	uint64_t end_ms = clock_monotonic_ms() + DEADLINE_MS;

	writer_finish(writer, DEADLINE_MS);
	writer_free(TAKE_PTR(writer));
	while (has_children() && clock_monotonic_ms() < end_ms)
		assert_true(sd_event_run(loop, 100 * 1000) >= 0);
	loop = sd_event_unref(loop);
	return folder_tear_down(state);
}

static void put(const char *name, const char *text)
{
	assert_true(writer_put(writer, in_folder(name), text, on_told, &told) >= 0);
}

static void run_until_told(unsigned n)
{
	uint64_t end_ms = clock_monotonic_ms() + DEADLINE_MS;

	while (told.n < n && clock_monotonic_ms() < end_ms)
		assert_true(sd_event_run(loop, 100 * 1000) >= 0);
	assert_int_equal(told.n, n);
}

/* Nobody writes, and nothing is about to. */
static void run_until_at_rest(void)
{
	uint64_t end_ms = clock_monotonic_ms() + DEADLINE_MS;

	while (sd_event_run(loop, 0) > 0 || has_children()) {
		assert_true(clock_monotonic_ms() < end_ms);
		assert_true(sd_event_run(loop, 100 * 1000) >= 0);
	}
}

static void check(const char *name, const char *text)
{
	FILE *file = fopen(in_folder(name), "r");
	char got[64] = "";

	assert_non_null(file);
	assert_true(fread(got, 1, sizeof(got) - 1, file) <= sizeof(got));
	fclose(file);
	assert_string_equal(got, text);
}

static void test_writer_the_newest_of_one_turn_is_written(void **state)
{
	(void)state;
	assert_int_equal(writer_new(loop, -1, &writer, &err), 0);
	put("a", "old");
	put("a", "new");
	put("b", "other");
	assert_int_equal(access(in_folder("a"), F_OK), -1);
	run_until_told(2);
	check("a", "new");
	check("b", "other");
	assert_int_equal(told.r, 0);
}

/* One helper at a time: what is put meanwhile waits, and nothing of it is lost. */
static void test_writer_what_is_put_while_the_disk_is_slow_comes_next(void **state)
{
	uint64_t end_ms = clock_monotonic_ms() + DEADLINE_MS;
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	slow_disk = fds[0];
	assert_int_equal(writer_new(loop, slow_disk, &writer, &err), 0);
	put("a", "1");
	while (!has_children() && clock_monotonic_ms() < end_ms)
		assert_true(sd_event_run(loop, 100 * 1000) >= 0);
	put("a", "2");
	put("a", "3");
	for (int k = 0; k < 3; k++)
		assert_true(sd_event_run(loop, 1000) >= 0);
	assert_true(has_children());
	assert_int_equal(access(in_folder("a"), F_OK), -1);
	assert_int_equal(write(fds[1], "xx", 2), 2);
	run_until_told(1);
	/* Only of the last one. */
	check("a", "3");
	run_until_at_rest();
	assert_int_equal(told.n, 1);
	assert_int_equal(told.r, 0);
	close(fds[0]);
	close(fds[1]);
}

/* A folder stands where the new file is to be made. */
static void make_unwritable(const char *name, bool on)
{
	assert_int_equal(on ? mkdir(in_folder(name), 0755) : rmdir(in_folder(name)), 0);
}

static void test_writer_what_fails_is_told_and_tried_when_it_is_put_again(void **state)
{
	(void)state;
	assert_int_equal(writer_new(loop, -1, &writer, &err), 0);
	make_unwritable("a", true);
	put("a", "1");
	run_until_told(1);
	assert_int_equal(told.r, -EROFS);
	assert_memory_equal(told.why, in_folder("a"), strlen(in_folder("a")));
	assert_non_null(strstr(told.why, "Read-only file system"));
	run_until_at_rest();
	make_unwritable("a", false);
	put("a", "2");
	run_until_told(2);
	assert_int_equal(told.r, 0);
	check("a", "2");
	run_until_at_rest();
	assert_int_equal(told.n, 2);
}

static void test_writer_forgotten_it_tries_once_more_and_tells_nobody(void **state)
{
	(void)state;
	assert_int_equal(writer_new(loop, -1, &writer, &err), 0);
	make_unwritable("a", true);
	put("a", "1");
	run_until_told(1);
	make_unwritable("a", false);
	writer_forget(writer, in_folder("a"), &writer);
	run_until_at_rest();
	assert_int_equal(access(in_folder("a"), F_OK), -1);
	writer_forget(writer, in_folder("a"), &told);
	run_until_at_rest();
	check("a", "1");
	assert_int_equal(told.n, 1);
}

/* Folders are made, and what failed is tried once more. */
static void test_writer_finish_tells_what_has_become_of_it(void **state)
{
	(void)state;
	assert_int_equal(writer_new(loop, -1, &writer, &err), 0);
	make_unwritable("a", true);
	put("a", "1");
	run_until_told(1);
	make_unwritable("a", false);
	writer_finish(writer, DEADLINE_MS);
	assert_int_equal(told.n, 2);
	assert_int_equal(told.r, 0);
	check("a", "1");
	put("away/b", "2");
	writer_finish(writer, DEADLINE_MS);
	check("away/b", "2");
	assert_int_equal(told.n, 3);
}

static void test_writer_finish_writes_what_waits(void **state)
{
	(void)state;
	assert_int_equal(writer_new(loop, -1, &writer, &err), 0);
	put("a", "1");
	writer_finish(writer, DEADLINE_MS);
	check("a", "1");
}

static void test_writer_finish_does_not_wait_for_ever(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	slow_disk = fds[0];
	assert_int_equal(writer_new(loop, slow_disk, &writer, &err), 0);
	put("a", "1");
	writer_finish(writer, 50);
	assert_int_equal(access(in_folder("a"), F_OK), -1);
	assert_int_equal(told.r, -ETIMEDOUT);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_writer_the_newest_of_one_turn_is_written,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_writer_what_is_put_while_the_disk_is_slow_comes_next, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			test_writer_what_fails_is_told_and_tried_when_it_is_put_again, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			test_writer_forgotten_it_tries_once_more_and_tells_nobody, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(test_writer_finish_tells_what_has_become_of_it,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_writer_finish_writes_what_waits, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_writer_finish_does_not_wait_for_ever, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
