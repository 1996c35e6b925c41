/* SPDX-License-Identifier: BSD-2-Clause */
/* The phases of an instance: which may follow which, and what each answers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "orchestrator/instance/instance_internal.h"

static struct instance instance, *const i = &instance;

static int set_up(void **state)
{
	(void)state;
	instance = (struct instance){};
	return 0;
}

/* Does the assertion let an instance go from one phase to the other? */
static bool may_enter(enum instance_phase from, enum instance_phase to)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		signal(SIGABRT, SIG_DFL);
		close(STDERR_FILENO);
		i->phase = from;
		instance_enter(i, to);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGABRT : WEXITSTATUS(status) == 0);
	return WIFEXITED(status);
}

static void test_instance_phase_is_followed_by_later_ones_only(void **state)
{
	(void)state;
	for (int from = 0; from < _INSTANCE_PHASE_COUNT; from++)
		for (int to = 0; to <= _INSTANCE_PHASE_COUNT; to++)
			assert_int_equal(
				may_enter((enum instance_phase)from, (enum instance_phase)to),
				to > from && to < _INSTANCE_PHASE_COUNT);
}

static void test_instance_phase_answers(void **state)
{
	static const struct {
		bool joined, failed, leaving, left, stopped;
	} expected[] = {
		[INSTANCE_STARTING] = {},
		[INSTANCE_JOINED] = {.joined = true},
		[INSTANCE_FAILED] = {.failed = true},
		[INSTANCE_LEAVING] = {.leaving = true},
		[INSTANCE_LEFT] = {.leaving = true, .left = true},
		[INSTANCE_STOPPING] = {.leaving = true, .left = true},
		[INSTANCE_STOPPED] = {.left = true, .stopped = true},
	};

	(void)state;
	assert_int_equal(sizeof(expected) / sizeof(expected[0]), _INSTANCE_PHASE_COUNT);
	for (size_t k = 0; k < _INSTANCE_PHASE_COUNT; k++) {
		instance = (struct instance){.phase = (enum instance_phase)k};
		assert_int_equal(instance_has_joined(i), expected[k].joined);
		assert_int_equal(instance_has_failed(i), expected[k].failed);
		assert_int_equal(instance_is_leaving(i), expected[k].leaving);
		assert_int_equal(instance_has_left(i), expected[k].left);
		assert_int_equal(instance_has_stopped(i), expected[k].stopped);
	}
}

static void test_instance_phase_keeps_that_it_has_joined(void **state)
{
	(void)state;
	instance_enter(i, INSTANCE_JOINED);
	for (int phase = INSTANCE_FAILED; phase < _INSTANCE_PHASE_COUNT; phase++) {
		instance_enter(i, (enum instance_phase)phase);
		assert_true(instance_has_joined(i));
	}
	instance = (struct instance){};
	for (int phase = INSTANCE_FAILED; phase < _INSTANCE_PHASE_COUNT; phase++) {
		instance_enter(i, (enum instance_phase)phase);
		assert_false(instance_has_joined(i));
	}
}

static void test_instance_phase_keeps_that_it_has_failed(void **state)
{
	(void)state;
	instance_enter(i, INSTANCE_FAILED);
	strcpy(i->failure, "exited with status 1");
	for (int phase = INSTANCE_LEAVING; phase < _INSTANCE_PHASE_COUNT; phase++) {
		instance_enter(i, (enum instance_phase)phase);
		assert_true(instance_has_failed(i));
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, set_up)
	const struct CMUnitTest tests[] = {
		TEST(test_instance_phase_is_followed_by_later_ones_only),
		TEST(test_instance_phase_answers),
		TEST(test_instance_phase_keeps_that_it_has_joined),
		TEST(test_instance_phase_keeps_that_it_has_failed),
	};
#undef TEST

	return cmocka_run_group_tests_name("instance phase", tests, NULL, NULL);
}
