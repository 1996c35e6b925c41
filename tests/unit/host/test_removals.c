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
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/host/removals.h"

#define DEADLINE_MS 10000

static sd_event *loop;
static struct removals *removals;
static int result;     /* of cgroup_remove() */
static unsigned tries; /* calls of it */
static char last[64];  /* what it was called for */

int cgroup_remove(const char *path)
{
	tries++;
	strcpy(last, path);
	return result;
}

static int populated;  /* of cgroup_populated() */
static unsigned lines; /* of the log */
static char line[256]; /* the last of them */

int cgroup_populated(const char *path)
{
	(void)path;
	return populated;
}

void log_line(enum log_level level, const char *format, ...)
{
	va_list args;

	(void)level;
	lines++;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
}

static int set_up(void **state)
{
	(void)state;
	result = populated = 0;
	tries = lines = 0;
	if (sd_event_new(&loop) < 0)
		return -1;
	return removals_new(loop, &removals, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	removals_free(removals);
	loop = sd_event_unref(loop);
	return 0;
}

static void run_until_tried(unsigned n)
{
	uint64_t end_ms = clock_monotonic_ms() + DEADLINE_MS;

	while (tries < n) {
		assert_true(clock_monotonic_ms() < end_ms);
		assert_true(sd_event_run(loop, 50 * 1000) >= 0);
	}
}

static void test_removals_what_can_go_goes_at_once(void **state)
{
	(void)state;
	removals_add(removals, "/cgroup/web.1.0");
	assert_int_equal(tries, 1);
	assert_string_equal(last, "/cgroup/web.1.0");
	assert_int_equal(removals_left(removals), 0);
}

static void test_removals_what_is_busy_goes_later(void **state)
{
	(void)state;
	result = -EBUSY;
	removals_add(removals, "/cgroup/web.1.0");
	removals_add(removals, "/cgroup/web.1.0");
	assert_int_equal(removals_left(removals), 1);
	/* Nobody waits for it. */
	assert_int_equal(tries, 2);
	run_until_tried(4);
	assert_int_equal(removals_left(removals), 1);
	result = 0;
	run_until_tried(5);
	assert_int_equal(removals_left(removals), 0);
	assert_true(sd_event_run(loop, 100 * 1000) >= 0);
	assert_int_equal(tries, 5);
}

/* Tried less and less often: it may be busy for as long as a server without agent drains. */
static void test_removals_pause_between_tries_grows(void **state)
{
	uint64_t began_ms = clock_monotonic_ms();

	(void)state;
	result = -EBUSY;
	removals_add(removals, "/cgroup/web.1.0");
	run_until_tried(6);
	assert_true(clock_monotonic_ms() - began_ms >= 10 + 20 + 40 + 80 + 160);
	result = 0;
}

static void test_removals_what_hangs_in_the_kernel_is_told_once(void **state)
{
	uint64_t began_ms = clock_monotonic_ms();

	(void)state;
	result = -EBUSY;
	removals_add(removals, "/cgroup/web.1.0");
	/* A thread that is ending is no process. */
	while (clock_monotonic_ms() - began_ms < 2200)
		run_until_tried(tries + 1);
	assert_int_equal(lines, 0);
	populated = 1;
	run_until_tried(tries + 2);
	assert_int_equal(lines, 1);
	assert_string_equal(
		line, "processes in /cgroup/web.1.0 survive SIGKILL: they hang in the kernel");
	result = 0;
}

static void test_removals_what_is_used_again_stays(void **state)
{
	(void)state;
	result = -EBUSY;
	removals_add(removals, "/cgroup/web.1.0");
	removals_add(removals, "/cgroup/web.1.1");
	removals_forget(removals, "/cgroup/web.1.0");
	removals_forget(removals, "/cgroup/web.1.2");
	assert_int_equal(removals_left(removals), 1);
	run_until_tried(3);
	assert_string_equal(last, "/cgroup/web.1.1");
	result = 0;
}

static void test_removals_what_can_never_go_is_given_up(void **state)
{
	(void)state;
	result = -EPERM;
	removals_add(removals, "/cgroup/web.1.0");
	assert_int_equal(removals_left(removals), 0);
}

static void test_removals_without_a_daemon_are_tried_once(void **state)
{
	(void)state;
	result = -EBUSY;
	removals_add(NULL, "/cgroup/web.1.0");
	removals_forget(NULL, "/cgroup/web.1.0");
	assert_int_equal(tries, 1);
}

static void test_removals_free_tries_a_last_time(void **state)
{
	(void)state;
	result = -EBUSY;
	removals_add(removals, "/cgroup/web.1.0");
	removals_free(removals);
	assert_int_equal(tries, 2);
	assert_int_equal(removals_new(loop, &removals, NULL), 0);
}

/* Cgroups are faked; the folder around them is a real one. */
static void test_removals_folder_of_an_earlier_daemon_goes_with_the_last(void **state)
{
	char folder[] = "/tmp/baton-removals-XXXXXX", leaf[64];

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(leaf, sizeof(leaf), "%s/web.1.0", folder);
	removals_add(removals, leaf);
	assert_int_equal(access(folder, F_OK), 0);
	/* Its own stays. */
	removals_keep(removals, folder);
	removals_add(removals, leaf);
	assert_int_equal(access(folder, F_OK), 0);
	removals_keep(removals, "/cgroup/other");
	removals_add(removals, leaf);
	assert_int_equal(access(folder, F_OK), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_removals_what_can_go_goes_at_once),
		TEST(test_removals_what_is_busy_goes_later),
		TEST(test_removals_pause_between_tries_grows),
		TEST(test_removals_what_hangs_in_the_kernel_is_told_once),
		TEST(test_removals_what_is_used_again_stays),
		TEST(test_removals_what_can_never_go_is_given_up),
		TEST(test_removals_without_a_daemon_are_tried_once),
		TEST(test_removals_free_tries_a_last_time),
		TEST(test_removals_folder_of_an_earlier_daemon_goes_with_the_last),
	};

	return cmocka_run_group_tests_name("removals", tests, NULL, NULL);
}
