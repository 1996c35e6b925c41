/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/memory.h"

#define DEEP  (512 * 1024)
#define LARGE (256 * 1024)

/* KiB of this process that are in no file. */
static long anonymous_kb(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	char line[256];
	long kb = -1;

	assert_non_null(file);
	while (kb < 0 && fgets(line, sizeof(line), file))
		(void)sscanf(line, "Anonymous: %ld kB", &kb);
	fclose(file);
	assert_true(kb >= 0);
	return kb;
}

static __attribute__((noinline)) void go_deep(void)
{
	volatile char room[DEEP];

	for (size_t i = 0; i < sizeof(room); i += 1024)
		room[i] = 1;
}

static void test_memory_give_back_returns_the_stack_that_was_used(void **state)
{
	volatile char above[4096];
	long before, deep;

	(void)state;
	memset((char *)above, 'x', sizeof(above));
	before = anonymous_kb();
	go_deep();
	deep = anonymous_kb();
	assert_true(deep >= before + DEEP / 1024 * 9 / 10);
	memory_give_back();
	assert_true(anonymous_kb() <= before + DEEP / 1024 / 10);
	for (size_t i = 0; i < sizeof(above); i++)
		assert_int_equal(above[i], 'x');
	/* It may be used again, as often as it must. */
	go_deep();
	memory_give_back();
	memory_give_back();
}

static void test_memory_prepare_lets_a_large_block_take_only_what_is_used(void **state)
{
#ifdef __SANITIZE_ADDRESS__
	(void)state;
	memory_prepare(); /* there malloc(3) is another one */
#else
	char *freed, *large[8];
	long before;

	(void)state;
	memory_prepare();
	/* What would raise a threshold that glibc chooses. */
	freed = malloc(LARGE * 4);
	assert_non_null(freed);
	memset(freed, 1, LARGE * 4);
	free(freed);
	before = anonymous_kb();
	for (size_t i = 0; i < 8; i++) {
		large[i] = calloc(1, LARGE);
		assert_non_null(large[i]);
		large[i][LARGE / 2] = 1;
	}
	assert_true(anonymous_kb() <= before + 8 * LARGE / 1024 / 4);
	for (size_t i = 0; i < 8; i++)
		free(large[i]);
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_give_back_returns_the_stack_that_was_used),
		cmocka_unit_test(test_memory_prepare_lets_a_large_block_take_only_what_is_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
