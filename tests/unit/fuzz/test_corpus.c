/* SPDX-License-Identifier: BSD-2-Clause */
/* Everything in tests/fuzz/corpus, given to its target. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (1024 * 1024)

/* From memory that ends where the bytes do. */
static void give(void (*target)(const uint8_t *data, size_t size), const char *path)
{
	FILE *file = fopen(path, "re");
	struct stat st;
	uint8_t *data;

	assert_non_null(file);
	assert_int_equal(fstat(fileno(file), &st), 0);
	assert_true(st.st_size <= INPUT_MAX);
	data = malloc((size_t)st.st_size + !st.st_size);
	assert_non_null(data);
	assert_int_equal(fread(data, 1, (size_t)st.st_size, file), st.st_size);
	fclose(file);
	target(data, (size_t)st.st_size);
	free(data);
}

static void replay(const char *name, void (*target)(const uint8_t *data, size_t size))
{
	struct dirent **list;
	char path[512];
	int n, given = 0;

	snprintf(path, sizeof(path), "tests/fuzz/corpus/%s", name);
	n = scandir(path, &list, NULL, alphasort);
	assert_true(n > 0);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "tests/fuzz/corpus/%s/%s", name, list[i]->d_name);
		if (list[i]->d_name[0] != '.') {
			give(target, path);
			given++;
		}
		free(list[i]);
	}
	free(list);
	assert_true(given > 0);
}

#define TEST(name)                                                                                 \
	static void test_corpus_##name(void **state)                                               \
	{                                                                                          \
		(void)state;                                                                       \
		replay(#name, fuzz_##name);                                                        \
	}
FUZZ_TARGETS(TEST)

#define ENTRY(name) cmocka_unit_test(test_corpus_##name),

int main(void)
{
	const struct CMUnitTest tests[] = {FUZZ_TARGETS(ENTRY)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
