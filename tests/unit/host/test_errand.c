/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "orchestrator/host/errand.h"
#include "orchestrator/host/sight.h"
#include "tests/unit/fakes/children.h"
#include "tests/unit/fakes/folder.h"

#define DEADLINE_MS 20000

static sd_event *loop;
static struct error err;

struct caller {
	const char *path;
	int fd;
	struct errand *errand;
	unsigned seen, late;
	int r;
	struct error why;
	struct stat st;
	int stat_r;
};

static int set_up(void **state)
{
	if (sd_event_new(&loop) < 0)
		return -1;
	return folder_set_up(state);
}

static int tear_down(void **state)
{
	loop = sd_event_unref(loop);
	return folder_tear_down(state);
}

static void look_at_path(void *userdata)
{
	struct caller *caller = userdata;

	caller->stat_r = sight_stat(caller->path, &caller->st);
}

static void on_seen(void *userdata, int r, const struct error *why)
{
	struct caller *caller = userdata;

	caller->seen++;
	caller->errand = NULL;
	caller->r = r;
	caller->why = *why;
	if (r == 0)
		look_at_path(caller);
}

static void on_late(void *userdata, const struct error *why)
{
	struct caller *caller = userdata;

	caller->late++;
	caller->why = *why;
}

static void hang(void *userdata)
{
	struct caller *caller = userdata;

	sight_at(caller->path);
	for (;;)
		pause();
}

static void die(void *userdata)
{
	(void)userdata;
	_exit(3);
}

static void start(struct caller *caller, const struct errand_spec *with)
{
	struct errand_spec spec = *with;

	spec.on_seen = on_seen;
	spec.userdata = caller;
	if (errand_start(loop, &spec, &caller->errand, &err) < 0)
		fail_msg("%s", err.text);
}

static void run_until_seen(struct caller *caller)
{
	uint64_t end_ms = clock_monotonic_ms() + DEADLINE_MS;

	while (!caller->seen && clock_monotonic_ms() < end_ms)
		assert_true(sd_event_run(loop, 100 * 1000) >= 0);
	assert_int_equal(caller->seen, 1);
}

static void run_until_reaped(void)
{
	uint64_t end_ms = clock_monotonic_ms() + DEADLINE_MS;

	while (has_children() && clock_monotonic_ms() < end_ms)
		assert_true(sd_event_run(loop, 100 * 1000) >= 0);
	assert_false(has_children());
}

static void test_errand_what_the_helper_has_seen_is_recalled_then_forgotten(void **state)
{
	struct caller caller = {.path = write_file("a", "text", 0644)};
	uint64_t end_ms = clock_monotonic_ms() + DEADLINE_MS;
	int left[2];
	char byte;

	(void)state;
	/* Nobody else has the other end: it ends when the helper has closed its copy, too. */
	assert_int_equal(pipe2(left, O_CLOEXEC), 0);
	start(&caller, &(struct errand_spec){.look = look_at_path});
	close(left[1]);
	assert_int_equal(read(left[0], &byte, 1), 0);
	close(left[0]);
	while (has_children() && !caller.seen && clock_monotonic_ms() < end_ms)
		assert_true(sd_event_run(loop, 100 * 1000) >= 0);
	run_until_seen(&caller);
	assert_int_equal(caller.r, 0);
	assert_int_equal(caller.stat_r, 0);
	assert_int_equal(caller.st.st_size, 4);
	assert_false(sight_is_on());
	run_until_reaped();
}

/* The daemon's own look would find nothing. */
static void test_errand_the_daemon_does_not_look_itself(void **state)
{
	struct caller caller = {.path = write_file("a", "text", 0644)};
	char byte;
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	start(&caller, &(struct errand_spec){.look = look_at_path, .keep_fd = fds[1]});
	close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 0);
	close(fds[0]);
	assert_int_equal(unlink(caller.path), 0);
	run_until_seen(&caller);
	assert_int_equal(caller.stat_r, 0);
	run_until_reaped();
}

static void test_errand_one_that_hangs_is_killed_and_its_path_named(void **state)
{
	struct caller caller = {.path = "/mnt/nfs/app.env"};

	(void)state;
	start(&caller, &(struct errand_spec){.look = hang, .timeout_ms = 200});
	run_until_seen(&caller);
	assert_int_equal(caller.r, -ETIMEDOUT);
	assert_string_equal(caller.why.text, "/mnt/nfs/app.env: no answer within 200ms");
	run_until_reaped();
}

/* So that no second one is sent to a place where one is stuck. */
static void test_errand_late_is_told_and_its_end_too(void **state)
{
	struct caller caller = {.path = "/mnt/nfs/a"};
	struct errand_spec spec = {.look = hang, .on_late = on_late, .timeout_ms = 50};

	(void)state;
	start(&caller, &spec);
	run_until_seen(&caller);
	assert_int_equal(caller.late, 1);
	assert_int_equal(caller.r, -ETIMEDOUT);
	assert_string_equal(caller.why.text, "/mnt/nfs/a: no answer within 50ms");
	run_until_reaped();
}

static void test_errand_one_that_dies_is_told(void **state)
{
	struct caller caller = {};

	(void)state;
	start(&caller, &(struct errand_spec){.look = die});
	run_until_seen(&caller);
	assert_int_equal(caller.r, -EIO);
	assert_string_equal(caller.why.text,
			    "the process that was to look ended without an answer");
	run_until_reaped();
}

static void wait_for_a_byte(void *userdata)
{
	struct caller *caller = userdata;
	char byte;

	sight_at("state.json");
	if (read(caller->fd, &byte, 1) == 1)
		look_at_path(caller);
}

static void test_errand_one_that_has_to_finish_is_waited_for(void **state)
{
	struct caller caller = {.path = write_file("a", "text", 0644)};
	uint64_t end_ms = clock_monotonic_ms() + DEADLINE_MS;
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	caller.fd = fds[0];
	start(&caller, &(struct errand_spec){.look = wait_for_a_byte,
					     .on_late = on_late,
					     .finishes = true,
					     .timeout_ms = 50,
					     .keep_fd = fds[0]});
	while (!caller.late && clock_monotonic_ms() < end_ms)
		assert_true(sd_event_run(loop, 100 * 1000) >= 0);
	assert_int_equal(caller.late, 1);
	assert_int_equal(caller.seen, 0);
	assert_string_equal(caller.why.text, "state.json: no answer within 50ms");
	assert_int_equal(write(fds[1], "x", 1), 1);
	run_until_seen(&caller);
	assert_int_equal(caller.r, 0);
	assert_int_equal(caller.late, 1);
	close(fds[0]);
	close(fds[1]);
	run_until_reaped();
}

static void test_errand_finish_waits_without_a_loop(void **state)
{
	struct caller caller = {.path = write_file("a", "text", 0644)};

	(void)state;
	start(&caller,
	      &(struct errand_spec){.look = look_at_path, .on_late = on_late, .finishes = true});
	assert_true(errand_finish(caller.errand, DEADLINE_MS));
	assert_int_equal(caller.seen, 1);
	start(&caller, &(struct errand_spec){.look = hang, .on_late = on_late, .finishes = true});
	assert_false(errand_finish(caller.errand, 50));
	assert_int_equal(caller.seen, 1);
	run_until_reaped();
}

/* As at the end of the daemon: sd-event takes no sources any more. */
static void test_errand_is_sent_and_waited_for_when_the_loop_has_ended(void **state)
{
	struct caller caller = {.path = write_file("a", "text", 0644)};

	(void)state;
	assert_true(sd_event_exit(loop, 0) >= 0);
	while (sd_event_get_state(loop) != SD_EVENT_FINISHED)
		assert_true(sd_event_run(loop, 0) >= 0);
	for (unsigned k = 1; k <= ERRANDS_MAX + 1; k++) {
		start(&caller, &(struct errand_spec){
				       .look = look_at_path, .on_late = on_late, .finishes = true});
		assert_true(errand_finish(caller.errand, DEADLINE_MS));
		assert_int_equal(caller.seen, k);
	}
	assert_int_equal(caller.st.st_size, 4);
}

static void test_errand_cancelled_is_killed_and_not_told(void **state)
{
	struct caller caller = {.path = "/"};

	(void)state;
	start(&caller, &(struct errand_spec){.look = hang});
	errand_cancel(caller.errand);
	errand_cancel(NULL);
	run_until_reaped();
	assert_int_equal(caller.seen, 0);
}

static void test_errand_too_many_are_refused(void **state)
{
	static struct caller callers[ERRANDS_MAX];
	const struct errand_spec spec = {.look = hang, .on_seen = on_seen};
	struct errand *one_more;

	(void)state;
	for (size_t k = 0; k < ERRANDS_MAX; k++) {
		callers[k].path = "/";
		start(&callers[k], &spec);
	}
	assert_int_equal(errand_start(loop, &spec, &one_more, &err), -EAGAIN);
	assert_string_equal(err.text,
			    "256 processes that look at files wait for an answer already");
	for (size_t k = 0; k < ERRANDS_MAX; k++)
		errand_cancel(callers[k].errand);
	run_until_reaped();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_errand_what_the_helper_has_seen_is_recalled_then_forgotten, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(test_errand_the_daemon_does_not_look_itself, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			test_errand_one_that_hangs_is_killed_and_its_path_named, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_errand_late_is_told_and_its_end_too, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_errand_one_that_dies_is_told, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_errand_one_that_has_to_finish_is_waited_for,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_errand_finish_waits_without_a_loop, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			test_errand_is_sent_and_waited_for_when_the_loop_has_ended, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(test_errand_cancelled_is_killed_and_not_told,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_errand_too_many_are_refused, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
