/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "common/address.h"
#include "orchestrator/steer/key.h"

static void test_key_of_ipv4_is_ipv4_mapped(void **state)
{
	static const uint8_t expected[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7};
	struct steer_pin_key key;
	struct address address;

	(void)state;
	memset(&key, 0x55, sizeof(key));
	assert_int_equal(address_parse("192.0.2.7:8080", &address, NULL), 0);
	assert_int_equal(key_of(&address.sa, &key), 0);
	assert_memory_equal(key.address, expected, sizeof(expected));
	assert_int_equal(key.port, htons(8080));
	assert_int_equal(key.zero, 0);
}

static void test_key_of_ipv6_is_the_address(void **state)
{
	static const uint8_t expected[] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9};
	struct steer_pin_key key;
	struct address address;

	(void)state;
	memset(&key, 0x55, sizeof(key));
	assert_int_equal(address_parse("[2001:db8::9]:8080", &address, NULL), 0);
	assert_int_equal(key_of(&address.sa, &key), 0);
	assert_memory_equal(key.address, expected, sizeof(expected));
	assert_int_equal(key.port, htons(8080));
	assert_int_equal(key.zero, 0);
}

static void test_key_of_another_family_is_refused(void **state)
{
	const struct sockaddr local = {.sa_family = AF_UNIX};
	struct steer_pin_key key;

	(void)state;
	assert_int_equal(key_of(&local, &key), -EAFNOSUPPORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key_of_ipv4_is_ipv4_mapped),
		cmocka_unit_test(test_key_of_ipv6_is_the_address),
		cmocka_unit_test(test_key_of_another_family_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
