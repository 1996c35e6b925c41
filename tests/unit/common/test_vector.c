/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "common/vector.h"

static void test_vector_append_keeps_order(void **state)
{
	cleanup(vector_free) char **v = NULL;

	(void)state;
	assert_int_equal(vector_length(v), 0);
	assert_int_equal(vector_append(&v, strdup("a")), 0);
	assert_int_equal(vector_append(&v, strdup("b")), 0);
	assert_int_equal(vector_length(v), 2);
	assert_string_equal(v[0], "a");
	assert_string_equal(v[1], "b");
	assert_null(v[2]);
}

static void test_vector_copy_is_deep(void **state)
{
	char *original[] = {"x", "", NULL};
	cleanup(vector_free) char **copy = NULL;

	(void)state;
	assert_int_equal(vector_copy(original, &copy), 0);
	assert_true(vector_equal(original, copy));
	assert_ptr_not_equal(original[0], copy[0]);
}

static void test_vector_copy_of_nothing_is_empty(void **state)
{
	cleanup(vector_free) char **copy = NULL;

	(void)state;
	assert_int_equal(vector_copy(NULL, &copy), 0);
	assert_non_null(copy);
	assert_null(copy[0]);
	assert_true(vector_equal(NULL, copy));
}

static void test_vector_equal_compares_length_text_and_order(void **state)
{
	char *ab[] = {"a", "b", NULL}, *ba[] = {"b", "a", NULL}, *a[] = {"a", NULL};

	(void)state;
	assert_true(vector_equal(ab, ab));
	assert_false(vector_equal(ab, ba));
	assert_false(vector_equal(ab, a));
	assert_false(vector_equal(a, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vector_append_keeps_order),
		cmocka_unit_test(test_vector_copy_is_deep),
		cmocka_unit_test(test_vector_copy_of_nothing_is_empty),
		cmocka_unit_test(test_vector_equal_compares_length_text_and_order),
	};

	return cmocka_run_group_tests_name("vector", tests, NULL, NULL);
}
