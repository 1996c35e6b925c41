/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "orchestrator/health/grpc.h"

static void test_grpc_request_is_framed(void **state)
{
	char request[GRPC_REQUEST_MAX], longest[GRPC_SERVICE_MAX + 1];

	(void)state;
	assert_int_equal(grpc_encode("", request), 5);
	assert_memory_equal(request, "\0\0\0\0\0", 5);
	assert_int_equal(grpc_encode("a.B", request), 10);
	assert_memory_equal(request, "\0\0\0\0\5\x0a\3a.B", 10);
	memset(longest, 'x', GRPC_SERVICE_MAX);
	longest[GRPC_SERVICE_MAX] = '\0';
	assert_int_equal(grpc_encode(longest, request), GRPC_REQUEST_MAX);
	assert_memory_equal(request, "\0\0\0\1\x02\x0a\xff\x01x", 9);
}

static void check(const char *data, size_t length, int result, uint64_t expected)
{
	uint64_t status = 99;

	assert_int_equal(grpc_decode(data, length, &status), result);
	assert_int_equal(status, expected);
}

#define CHECK(literal, result, expected) check(literal, sizeof(literal) - 1, result, expected)

static void test_grpc_response_is_read(void **state)
{
	(void)state;
	CHECK("\0\0\0\0\2\x08\1", 0, 1);
	CHECK("\0\0\0\0\0", 0, 0);
	CHECK("\0\0\0\0\3\x08\x80\1", 0, 128);
	/* Fields that are not known: of each type. */
	CHECK("\0\0\0\0\x06\x1a\2ab\x08\2", 0, 2);
	CHECK("\0\0\0\0\x04\x10\5\x08\2", 0, 2);
	CHECK("\0\0\0\0\x07\x25\0\0\0\0\x08\2", 0, 2);
	CHECK("\0\0\0\0\x0b\x29\0\0\0\0\0\0\0\0\x08\2", 0, 2);
}

static void test_grpc_response_that_is_none_is_refused(void **state)
{
	static const char whole[] = "\0\0\0\0\6\x1a\2ab\x08\1";

	(void)state;
	CHECK("", -EINVAL, 0);
	CHECK("ok", -EINVAL, 0);
	CHECK("\1\0\0\0\2\x08\1", -EBADMSG, 0);
	CHECK("\0\xff\xff\xff\xff\x08\1", -EINVAL, 0);
	CHECK("\0\0\0\0\1\x08", -EINVAL, 0);
	CHECK("\0\0\0\0\2\x1a\x7f", -EINVAL, 0);
	CHECK("\0\0\0\0\1\x0b", -EINVAL, 0);
	CHECK("\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", -EINVAL, UINT64_MAX);
	for (size_t n = 0; n < sizeof(whole) - 1; n++) {
		uint64_t status;

		assert_int_equal(grpc_decode(whole, n, &status), -EINVAL);
	}
}

static void test_grpc_names_are_those_of_the_protocol(void **state)
{
	(void)state;
	assert_string_equal(grpc_serving_name(1), "SERVING");
	assert_string_equal(grpc_serving_name(4), "?");
	assert_string_equal(grpc_status_name(5), "NOT_FOUND");
	assert_string_equal(grpc_status_name(12), "UNIMPLEMENTED");
	assert_string_equal(grpc_status_name(16), "UNAUTHENTICATED");
	assert_string_equal(grpc_status_name(17), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grpc_request_is_framed),
		cmocka_unit_test(test_grpc_response_is_read),
		cmocka_unit_test(test_grpc_response_that_is_none_is_refused),
		cmocka_unit_test(test_grpc_names_are_those_of_the_protocol),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
