/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/process_settings.h"

static void test_process_settings_init_is_as_the_kernel_has_it(void **state)
{
	struct process_settings settings;

	(void)state;
	memset(&settings, 0xff, sizeof(settings));
	process_settings_init(&settings);
	for (size_t i = 0; i < PROCESS_LIMITS_MAX; i++)
		assert_false(settings.limits[i].set);
	assert_int_equal(settings.umask, 022);
	assert_false(settings.nice_set);
	assert_false(settings.no_new_privileges);
	assert_false(settings.capabilities_set);
	assert_false(settings.oom_score_adjust_set);
	for (size_t k = 0; k < 2; k++) {
		assert_int_equal(settings.output[k], OUTPUT_THROUGH);
		assert_null(settings.output_path[k]);
	}
}

static void test_process_settings_done_can_be_repeated(void **state)
{
	struct process_settings settings;

	(void)state;
	process_settings_init(&settings);
	settings.umask = 077;
	settings.output[1] = OUTPUT_FILE;
	settings.output_path[1] = strdup("/var/log/web");
	process_settings_done(&settings);
	assert_null(settings.output_path[1]);
	assert_int_equal(settings.output[1], OUTPUT_THROUGH);
	assert_int_equal(settings.umask, 022);
	process_settings_done(&settings);
	process_settings_done(NULL);
}

/* Everything other than the default. */
static void fill(struct process_settings *settings)
{
	process_settings_init(settings);
	settings->limits[RLIMIT_NOFILE] = (struct process_limit){true, 1024, PROCESS_UNLIMITED};
	settings->umask = 027;
	settings->nice_set = true;
	settings->nice = -5;
	settings->no_new_privileges = true;
	settings->capabilities_set = true;
	settings->capabilities = 1ULL << CAP_NET_BIND_SERVICE;
	settings->oom_score_adjust_set = true;
	settings->oom_score_adjust = -500;
	settings->output[0] = OUTPUT_FILE;
	settings->output_path[0] = strdup("/var/log/web");
	settings->output[1] = OUTPUT_FILE;
	settings->output_path[1] = strdup("/var/log/web.err");
}

static void test_process_settings_copy_outlives_the_original(void **state)
{
	struct process_settings settings, expected, copy;

	(void)state;
	fill(&settings);
	fill(&expected);
	assert_int_equal(process_settings_copy(&settings, &copy), 0);
	assert_ptr_not_equal(copy.output_path[0], settings.output_path[0]);
	assert_ptr_not_equal(copy.output_path[1], settings.output_path[1]);
	process_settings_done(&settings);
	assert_true(process_settings_equal(&copy, &expected));
	assert_string_equal(copy.output_path[0], "/var/log/web");
	assert_string_equal(copy.output_path[1], "/var/log/web.err");
	process_settings_done(&copy);
	process_settings_done(&expected);
}

/* In place of the C library's: the @fail_at-th call fails. */
static size_t duplicates, fail_at;

char *strdup(const char *text)
{
	size_t n = strlen(text) + 1;
	char *copy = ++duplicates == fail_at ? NULL : malloc(n);

	return copy ? memcpy(copy, text, n) : NULL;
}

static void test_process_settings_copy_without_memory_can_be_freed(void **state)
{
	struct process_settings settings, copy;

	(void)state;
	fill(&settings);
	for (size_t i = 1; i <= 2; i++) {
		duplicates = 0;
		fail_at = i;
		assert_int_equal(process_settings_copy(&settings, &copy), -ENOMEM);
		process_settings_done(&copy);
	}
	fail_at = 0;
	assert_string_equal(settings.output_path[0], "/var/log/web");
	assert_string_equal(settings.output_path[1], "/var/log/web.err");
	process_settings_done(&settings);
}

static void limit_set(struct process_settings *s)
{
	s->limits[RLIMIT_CORE].set = true;
}

static void limit_unset(struct process_settings *s)
{
	s->limits[RLIMIT_NOFILE].set = false;
}

static void limit_soft(struct process_settings *s)
{
	s->limits[RLIMIT_NOFILE].soft++;
}

static void limit_hard(struct process_settings *s)
{
	s->limits[RLIMIT_NOFILE].hard--;
}

static void mask(struct process_settings *s)
{
	s->umask = 022;
}

static void nice_value(struct process_settings *s)
{
	s->nice = -4;
}

static void nice_unset(struct process_settings *s)
{
	s->nice_set = false;
}

static void privileges(struct process_settings *s)
{
	s->no_new_privileges = false;
}

static void capabilities(struct process_settings *s)
{
	s->capabilities |= 1;
}

static void capabilities_unset(struct process_settings *s)
{
	s->capabilities_set = false;
}

static void score(struct process_settings *s)
{
	s->oom_score_adjust = 0;
}

static void score_unset(struct process_settings *s)
{
	s->oom_score_adjust_set = false;
}

static void output_elsewhere(struct process_settings *s)
{
	s->output[0] = OUTPUT_JOURNAL;
}

static void output_path(struct process_settings *s)
{
	s->output_path[1][0] = '_';
}

static void test_process_settings_equal_sees_each_difference(void **state)
{
	static void (*const changes[])(struct process_settings *) = {
		limit_set,    limit_unset,        limit_soft, limit_hard,  mask,
		nice_value,   nice_unset,         privileges, output_path, output_elsewhere,
		capabilities, capabilities_unset, score,      score_unset,
	};
	struct process_settings base;

	(void)state;
	fill(&base);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct process_settings other;

		assert_int_equal(process_settings_copy(&base, &other), 0);
		assert_true(process_settings_equal(&base, &other));
		changes[i](&other);
		if (process_settings_equal(&base, &other) || process_settings_equal(&other, &base))
			fail_msg("change %zu is not seen", i);
		process_settings_done(&other);
	}
	process_settings_done(&base);
}

/* What is left over of a value that is not set says nothing. */
static void test_process_settings_equal_ignores_what_is_not_set(void **state)
{
	struct process_settings a, b;
	char path[] = "/left/over";

	(void)state;
	process_settings_init(&a);
	process_settings_init(&b);
	b.limits[RLIMIT_CPU] = (struct process_limit){false, 1, 2};
	b.nice = 3;
	b.capabilities = 4;
	b.oom_score_adjust = 5;
	b.output_path[1] = path;
	assert_true(process_settings_equal(&a, &b));
}

static void test_process_limit_names_go_both_ways(void **state)
{
	(void)state;
	assert_int_equal(process_limit_parse("nofile"), RLIMIT_NOFILE);
	assert_int_equal(process_limit_parse("core"), RLIMIT_CORE);
	assert_int_equal(process_limit_parse("as"), RLIMIT_AS);
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		assert_non_null(process_limit_name(i));
		assert_int_equal(process_limit_parse(process_limit_name(i)), i);
	}
	assert_null(process_limit_name(-1));
	assert_null(process_limit_name(RLIM_NLIMITS));
	assert_int_equal(process_limit_parse("NOFILE"), -ENOENT);
	assert_int_equal(process_limit_parse("nofiles"), -ENOENT);
	assert_int_equal(process_limit_parse(""), -ENOENT);
}

static void test_process_capability_names_go_both_ways(void **state)
{
	(void)state;
	assert_int_equal(process_capability_parse("CAP_NET_BIND_SERVICE"), CAP_NET_BIND_SERVICE);
	assert_int_equal(process_capability_parse("net_bind_service"), CAP_NET_BIND_SERVICE);
	assert_int_equal(process_capability_parse("Cap_Chown"), CAP_CHOWN);
	for (int i = 0; i <= CAP_LAST_CAP; i++) {
		const char *name = process_capability_name(i);

		assert_non_null(name);
		assert_int_equal(strncmp(name, "CAP_", 4), 0);
		assert_int_equal(process_capability_parse(name), i);
		assert_int_equal(process_capability_parse(name + 4), i);
	}
	assert_null(process_capability_name(-1));
	assert_null(process_capability_name(64));
	assert_int_equal(process_capability_parse("CAP_"), -ENOENT);
	assert_int_equal(process_capability_parse("CAP_CAP_CHOWN"), -ENOENT);
	assert_int_equal(process_capability_parse("CAP_NET"), -ENOENT);
	assert_int_equal(process_capability_parse(""), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_process_settings_init_is_as_the_kernel_has_it),
		cmocka_unit_test(test_process_settings_done_can_be_repeated),
		cmocka_unit_test(test_process_settings_copy_outlives_the_original),
		cmocka_unit_test(test_process_settings_copy_without_memory_can_be_freed),
		cmocka_unit_test(test_process_settings_equal_sees_each_difference),
		cmocka_unit_test(test_process_settings_equal_ignores_what_is_not_set),
		cmocka_unit_test(test_process_limit_names_go_both_ways),
		cmocka_unit_test(test_process_capability_names_go_both_ways),
	};

	return cmocka_run_group_tests_name("process_settings", tests, NULL, NULL);
}
