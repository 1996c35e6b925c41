/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/instance/wiring.h"

#include "tests/unit/fakes/fake_steer.h"

#define A "127.0.0.1:80"
#define B "[::1]:81"
#define C "127.0.0.1:82"

static struct steer opened[3];
static struct wiring wiring;

static struct address parse(const char *text)
{
	struct address ret;

	assert_int_equal(address_parse(text, &ret, NULL), 0);
	return ret;
}

static size_t place_of(const char *text)
{
	struct address address = parse(text);

	return wiring_place(&wiring, &address);
}

static int set_up(void **state)
{
	(void)state;
	opened[0] = (struct steer){.address = parse(A)};
	opened[1] = (struct steer){.address = parse(B)};
	opened[2] = (struct steer){.address = parse("[::ffff:127.0.0.1]:82")};
	wiring = (struct wiring){.endpoints = {&opened[0], [2] = &opened[1], [3] = &opened[2]}};
	return 0;
}

static void test_wiring_finds_an_endpoint_by_its_address(void **state)
{
	(void)state;
	assert_int_equal(place_of(A), 0);
	assert_int_equal(place_of(B), 2);
	assert_int_equal(place_of("127.0.0.1:81"), WIRING_MAX);
	assert_int_equal(place_of("0.0.0.0:80"), WIRING_MAX);
	assert_int_equal(place_of(":81"), WIRING_MAX);
}

static void test_wiring_endpoint_with_sockets_of_the_other_family_is_the_same(void **state)
{
	struct address declared = parse(C);

	(void)state;
	assert_int_equal(place_of(C), 3);
	assert_int_equal(place_of("[::ffff:127.0.0.1]:82"), 3);
	assert_ptr_equal(wiring_endpoint(&wiring, &declared), &opened[2]);
}

static void test_wiring_index_is_that_of_each_configuration(void **state)
{
	struct service_config one = {.n_listen = 3, .listen = {parse(C), parse(A), parse(B)}};
	struct service_config two = {.n_listen = 1, .listen = {parse(B)}};

	(void)state;
	assert_int_equal(wiring_index(&wiring, 0, &one), 1);
	assert_int_equal(wiring_index(&wiring, 2, &one), 2);
	assert_int_equal(wiring_index(&wiring, 3, &one), 0);
	assert_int_equal(wiring_index(&wiring, 2, &two), 0);
	assert_int_equal(wiring_index(&wiring, 0, &two), 1); /* none */
}

static void test_wiring_free_place_is_one_where_nothing_is_open(void **state)
{
	(void)state;
	assert_int_equal(wiring_free_place(&wiring), 1);
	for (size_t k = 0; k < WIRING_MAX; k++)
		wiring.endpoints[k] = &opened[0];
	assert_int_equal(wiring_free_place(&wiring), WIRING_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(test_wiring_##name, set_up)
		TEST(finds_an_endpoint_by_its_address),
		TEST(endpoint_with_sockets_of_the_other_family_is_the_same),
		TEST(index_is_that_of_each_configuration),
		TEST(free_place_is_one_where_nothing_is_open),
	};

	return cmocka_run_group_tests_name("wiring", tests, NULL, NULL);
}
