/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "orchestrator/instance/instance.h"

static struct health_config declared[CONFIG_CHECKS_MAX];
static struct service_config config;
static struct instance instance;
static struct check_set *const set = &instance.checks;

static int set_up(void **state)
{
	(void)state;
	memset(declared, 0, sizeof(declared));
	config = (struct service_config){.n_listen = 3, .health = {.list = declared, .n = 1}};
	assert_int_equal(address_parse("127.0.0.1:80", &config.listen[0], NULL), 0);
	assert_int_equal(address_parse("127.0.0.1:81", &config.listen[1], NULL), 0);
	assert_int_equal(address_parse("[::1]:80", &config.listen[2], NULL), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	check_set_done(set);
	assert_null(set->list);
	return 0;
}

static void make(size_t n_declared)
{
	config.health.n = n_declared;
	assert_int_equal(check_set_make(set, &instance, &config), 0);
}

/* The endpoints that are asked by what is declared, then those that are asked anyway. */
static void expect(const char *places, size_t n_declared)
{
	assert_int_equal(set->n, strlen(places));
	assert_int_equal(set->n_declared, n_declared);
	for (size_t k = 0; k < set->n; k++) {
		assert_int_equal(set->list[k].endpoint, places[k] - '0');
		assert_int_equal(set->list[k].declared, k < n_declared);
		assert_ptr_equal(set->list[k].instance, &instance);
		assert_ptr_equal(set->list[k].config, k < n_declared ? &declared[k] : &set->accept);
	}
}

static void test_check_set_one_asks_the_first_endpoint(void **state)
{
	(void)state;
	declared[0].kind = HEALTH_KIND_HTTP;
	make(1);
	expect("012", 1);
}

static void test_check_set_one_asks_the_endpoint_that_it_names(void **state)
{
	(void)state;
	declared[0].kind = HEALTH_KIND_HTTP;
	declared[0].listen = config.listen[2];
	make(1);
	expect("201", 1);
}

static void test_check_set_notify_asks_nowhere(void **state)
{
	(void)state;
	declared[0].kind = HEALTH_KIND_NOTIFY;
	make(1);
	expect("3012", 1);
}

static void test_check_set_several_of_one_endpoint_leave_the_others_theirs(void **state)
{
	(void)state;
	declared[0].listen = declared[2].listen = config.listen[1];
	declared[1].kind = HEALTH_KIND_NOTIFY;
	make(3);
	expect("13102", 3);
}

/* As patient as the first, which may be one that is not asked itself. */
static void test_check_set_connects_as_often_as_the_first(void **state)
{
	(void)state;
	declared[0] = (struct health_config){.kind = HEALTH_KIND_NOTIFY,
					     .interval_ms = 11,
					     .timeout_ms = 12,
					     .healthy = 5,
					     .unhealthy = 7};
	declared[1].interval_ms = 99;
	make(2);
	assert_int_equal(set->accept.kind, HEALTH_KIND_CONNECT);
	assert_int_equal(set->accept.interval_ms, 11);
	assert_int_equal(set->accept.timeout_ms, 12);
	assert_int_equal(set->accept.healthy, 1);
	assert_int_equal(set->accept.unhealthy, 7);
}

/* An earlier daemon may have started it with other addresses than the file has now. */
static void test_check_set_leaves_out_what_asks_elsewhere(void **state)
{
	(void)state;
	assert_int_equal(address_parse("127.0.0.1:9", &declared[0].listen, NULL), 0);
	make(1);
	expect("012", 0);
}

static void test_check_set_as_many_as_there_may_be(void **state)
{
	(void)state;
	for (size_t k = 0; k < CONFIG_CHECKS_MAX; k++)
		declared[k].listen = config.listen[0];
	make(CONFIG_CHECKS_MAX);
	assert_int_equal(set->n, CONFIG_CHECKS_MAX + 2);
	assert_int_equal(set->list[CONFIG_CHECKS_MAX].endpoint, 1);
}

static void test_check_set_done_of_none_does_nothing(void **state)
{
	struct check_set none = {};

	(void)state;
	check_set_done(&none);
	assert_int_equal(none.n, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_check_set_one_asks_the_first_endpoint),
		TEST(test_check_set_one_asks_the_endpoint_that_it_names),
		TEST(test_check_set_notify_asks_nowhere),
		TEST(test_check_set_several_of_one_endpoint_leave_the_others_theirs),
		TEST(test_check_set_connects_as_often_as_the_first),
		TEST(test_check_set_leaves_out_what_asks_elsewhere),
		TEST(test_check_set_as_many_as_there_may_be),
		TEST(test_check_set_done_of_none_does_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
