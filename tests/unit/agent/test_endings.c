/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/endings.h"

#define DEADLINE_US (20 * 1000 * 1000)

struct fixture {
	sd_event *event;
	struct endings *endings;
	pid_t pids[ENDINGS_MAX];
	unsigned told;
};

static void on_ending(void *userdata)
{
	((struct fixture *)userdata)->told++;
}

static int setup(void **state)
{
	static struct fixture fixture;
	struct error err;

	fixture = (struct fixture){0};
	*state = &fixture;
	if (sd_event_new(&fixture.event) < 0)
		return -1;
	return endings_new(fixture.event, on_ending, &fixture, &fixture.endings, &err);
}

static void end(struct fixture *fixture, size_t k)
{
	assert_int_equal(kill(fixture->pids[k], SIGKILL), 0);
	assert_int_equal(waitpid(fixture->pids[k], NULL, 0), fixture->pids[k]);
	fixture->pids[k] = 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	for (size_t k = 0; k < ENDINGS_MAX; k++)
		if (fixture->pids[k] > 0)
			end(fixture, k);
	endings_free(fixture->endings);
	sd_event_unref(fixture->event);
	return 0;
}

static void begin(struct fixture *fixture, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		fixture->pids[k] = fork();
		assert_true(fixture->pids[k] >= 0);
		while (fixture->pids[k] == 0)
			pause();
	}
}

/* All that is to be told now. */
static void run(struct fixture *fixture)
{
	while (sd_event_run(fixture->event, 0) > 0)
		;
}

static void test_endings_one_of_them_is_told_once(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture, 3);
	endings_watch(fixture->endings, fixture->pids, 3);
	run(fixture);
	assert_int_equal(fixture->told, 0);
	end(fixture, 1);
	assert_true(sd_event_run(fixture->event, DEADLINE_US) > 0);
	assert_int_equal(fixture->told, 1);
	run(fixture);
	assert_int_equal(fixture->told, 1);
	end(fixture, 0);
	assert_true(sd_event_run(fixture->event, DEADLINE_US) > 0);
	assert_int_equal(fixture->told, 2);
}

static void test_endings_others_than_the_last_ones_are_not_told(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture, 2);
	endings_watch(fixture->endings, fixture->pids, 2);
	endings_watch(fixture->endings, fixture->pids + 1, 1);
	end(fixture, 0);
	run(fixture);
	assert_int_equal(fixture->told, 0);
	endings_watch(fixture->endings, NULL, 0);
	end(fixture, 1);
	run(fixture);
	assert_int_equal(fixture->told, 0);
}

static void test_endings_whoever_has_ended_before_is_left_alone(void **state)
{
	struct fixture *fixture = *state;
	pid_t gone;

	begin(fixture, 1);
	gone = fixture->pids[0];
	end(fixture, 0);
	endings_watch(fixture->endings, &gone, 1);
	run(fixture);
	assert_int_equal(fixture->told, 0);
}

static void test_endings_as_many_as_there_may_be(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture, ENDINGS_MAX);
	endings_watch(fixture->endings, fixture->pids, ENDINGS_MAX);
	end(fixture, ENDINGS_MAX - 1);
	assert_true(sd_event_run(fixture->event, DEADLINE_US) > 0);
	assert_int_equal(fixture->told, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_endings_one_of_them_is_told_once, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_endings_others_than_the_last_ones_are_not_told,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_endings_whoever_has_ended_before_is_left_alone,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_endings_as_many_as_there_may_be, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
