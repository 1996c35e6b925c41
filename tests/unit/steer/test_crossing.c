/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#include "orchestrator/steer/crossing.h"

/* ---- what both have ------------------------------------------------------------------------- */

static struct address parse(const char *text)
{
	struct address address;

	assert_int_equal(address_parse(text, &address, NULL), 0);
	return address;
}

/* @ip: NULL: every address of the family. */
static void assert_common(const char *first, const char *second, int family, const char *ip)
{
	struct address a = parse(first), b = parse(second);
	struct cross_destination got, swapped;
	uint32_t expected[4] = {};

	crossing_destination(&a, &b, &got);
	crossing_destination(&b, &a, &swapped);
	assert_memory_equal(&got, &swapped, sizeof(got));
	assert_int_equal(got.family, family);
	assert_int_equal(got.port, 80);
	assert_int_equal(got.any, !ip);
	if (ip)
		assert_int_equal(inet_pton(family, ip, expected), 1);
	assert_memory_equal(got.ip, expected, sizeof(expected));
}

static void test_crossing_has_the_more_specific_address_of_the_two(void **state)
{
	(void)state;
	assert_common("127.0.0.1:80", "0.0.0.0:80", AF_INET, "127.0.0.1");
	assert_common("192.0.2.7:80", "0.0.0.0:80", AF_INET, "192.0.2.7");
	assert_common("127.0.0.1:80", ":80", AF_INET, "127.0.0.1");
	assert_common("[::1]:80", "[::]:80", AF_INET6, "::1");
	assert_common("[::1]:80", ":80", AF_INET6, "::1");
	assert_common("[2001:db8::1]:80", "[::]:80", AF_INET6, "2001:db8::1");
}

static void test_crossing_has_one_family_of_a_dual_stack_wildcard(void **state)
{
	(void)state;
	assert_common("0.0.0.0:80", ":80", AF_INET, NULL);
	assert_common("[::]:80", ":80", AF_INET6, NULL);
}

static void test_crossing_of_a_mapped_address_is_seen_by_ipv4_clients(void **state)
{
	(void)state;
	assert_common("[::ffff:127.0.0.1]:80", "0.0.0.0:80", AF_INET, "127.0.0.1");
	assert_common("[::ffff:127.0.0.1]:80", ":80", AF_INET, "127.0.0.1");
}

/* ---- how many each gets --------------------------------------------------------------------- */

static void test_crossing_gives_each_instance_the_same(void **state)
{
	static const struct {
		uint32_t first, second;
		int share;
	} cases[] = {{1, 0, 0}, {0, 1, CROSS_ALL}, {1, 1, CROSS_ALL / 2}, {3, 1, CROSS_ALL / 4}};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct crossing_weight first = {.rest = cases[k].first};
		struct crossing_weight second = {.rest = cases[k].second};

		assert_int_equal(crossing_share(&first, &second, 0), cases[k].share);
	}
}

static void test_crossing_gives_a_canary_its_share(void **state)
{
	struct crossing_weight old = {.rest = 4}, canary = {.canary = 1}, both = {1, 1};

	(void)state;
	assert_int_equal(crossing_share(&old, &canary, 100), 100);
	assert_int_equal(crossing_share(&canary, &old, 100), CROSS_ALL - 100);
	/* Alone it has all, whatever its share. */
	assert_int_equal(crossing_share(&(struct crossing_weight){}, &canary, 100), CROSS_ALL);
	assert_int_equal(crossing_share(&both, &both, 100), CROSS_ALL / 2);
}

static void test_crossing_of_two_that_nobody_serves_stays_as_it_is(void **state)
{
	struct crossing_weight nobody = {};

	(void)state;
	assert_int_equal(crossing_share(&nobody, &nobody, 100), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crossing_has_the_more_specific_address_of_the_two),
		cmocka_unit_test(test_crossing_has_one_family_of_a_dual_stack_wildcard),
		cmocka_unit_test(test_crossing_of_a_mapped_address_is_seen_by_ipv4_clients),
		cmocka_unit_test(test_crossing_gives_each_instance_the_same),
		cmocka_unit_test(test_crossing_gives_a_canary_its_share),
		cmocka_unit_test(test_crossing_of_two_that_nobody_serves_stays_as_it_is),
	};

	return cmocka_run_group_tests_name("crossing", tests, NULL, NULL);
}
