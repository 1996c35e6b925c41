/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <jansson.h>

#include "common/json_memory.h"

/* With AddressSanitizer malloc(3) would end the program. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static void test_json_memory_each_lack_is_counted(void **state)
{
	uint64_t before;
	json_malloc_t allocate;
	json_free_t release;

	(void)state;
	json_memory_watch();
	json_get_alloc_funcs(&allocate, &release);
	before = json_memory_lacks();
	json_decref(json_string("there is room for this"));
	assert_int_equal(json_memory_lacks(), before);
	/* More than an address space has. */
	assert_null(allocate(SIZE_MAX / 2));
	assert_int_equal(json_memory_lacks(), before + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_memory_each_lack_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
