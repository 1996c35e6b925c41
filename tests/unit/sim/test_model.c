/* SPDX-License-Identifier: BSD-2-Clause */
/* The model of the rollout, looked at in every state that it can be in: tests/model/check. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* BUILD, from BUILD/tests/unit/sim/test_model. */
static void find_build(char *ret, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", ret, size - 1);

	assert_true(n > 0);
	ret[n] = '\0';
	for (int k = 0; k < 4; k++)
		*strrchr(ret, '/') = '\0';
}

static void test_model_all_states_keep_the_invariants(void **state)
{
	char build[PATH_MAX], command[3 * PATH_MAX];

	(void)state;
	if (system("command -v spin >/dev/null") != 0) {
		print_message("spin is not installed\n");
		skip();
	}
	find_build(build, sizeof(build));
	snprintf(command, sizeof(command),
		 "tests/model/check '%s/model' '%s/tests/sim/simulate' 2>&1", build, build);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model_all_states_keep_the_invariants),
	};

	return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
