/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "common/address.h"
#include "orchestrator/health/proxy_header.h"

static void check(uint32_t version, const char *source, const char *target, const char *expected,
		  size_t length)
{
	struct address from, to;
	char header[PROXY_HEADER_MAX];

	assert_int_equal(address_parse(source, &from, NULL), 0);
	assert_int_equal(address_parse(target, &to, NULL), 0);
	assert_int_equal(proxy_header(version, &from.sa, &to.sa, header), length);
	assert_memory_equal(header, expected, length);
}

#define CHECK(version, source, target, expected)                                                   \
	check(version, source, target, expected, sizeof(expected) - 1)

/* The examples of the protocol's text, section 2.1, and its longest header. */
static void test_proxy_header_version_1_is_a_line(void **state)
{
	(void)state;
	CHECK(1, "192.168.0.1:56324", "192.168.0.11:443",
	      "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
	CHECK(1, "[::1]:65535", "[2001:db8::1]:80", "PROXY TCP6 ::1 2001:db8::1 65535 80\r\n");
	CHECK(1, "[1111:2222:3333:4444:5555:6666:7777:8888]:65535",
	      "[1111:2222:3333:4444:5555:6666:7777:8889]:65535",
	      "PROXY TCP6 1111:2222:3333:4444:5555:6666:7777:8888 "
	      "1111:2222:3333:4444:5555:6666:7777:8889 65535 65535\r\n");
}

static void test_proxy_header_version_2_is_binary(void **state)
{
	(void)state;
	CHECK(2, "127.0.0.1:258", "10.1.2.3:80",
	      "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\1\x0a\1\2\3\1\2\0\x50");
	CHECK(2, "[::1]:258", "[::2]:80",
	      "\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24"
	      "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\1\2\0\x50");
}

static void test_proxy_header_version_0_is_none(void **state)
{
	(void)state;
	CHECK(0, "127.0.0.1:1", "127.0.0.1:2", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_proxy_header_version_1_is_a_line),
		cmocka_unit_test(test_proxy_header_version_2_is_binary),
		cmocka_unit_test(test_proxy_header_version_0_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
