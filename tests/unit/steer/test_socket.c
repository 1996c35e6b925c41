/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "orchestrator/steer/socket.h"
#include "orchestrator/steer/steer.h"

/* ---- cookies -------------------------------------------------------------------------------- */

static void test_socket_cookie_is_its_own_and_stays(void **state)
{
	int a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int b = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), duplicate = dup(a);
	uint64_t cookie = steer_cookie(a), expected = 0;
	socklen_t length = sizeof(expected);

	(void)state;
	assert_int_equal(getsockopt(a, SOL_SOCKET, SO_COOKIE, &expected, &length), 0);
	assert_true(cookie != 0);
	assert_int_equal(cookie, expected);
	assert_int_equal(steer_cookie(duplicate), cookie);
	assert_int_not_equal(steer_cookie(b), cookie);
	close(duplicate);
	close(a);
	close(b);
}

static void test_socket_cookie_of_what_is_no_socket_is_0(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(steer_cookie(-1), 0);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(steer_cookie(ends[0]), 0);
	close(ends[0]);
	close(ends[1]);
}

/* ---- groups --------------------------------------------------------------------------------- */

/* Is a socket that is bound to @local, with @v6only, in the group of the endpoint @text? */
static bool is_of(const char *text, const char *local, bool v6only)
{
	struct address endpoint, bound;

	assert_int_equal(address_parse(text, &endpoint, NULL), 0);
	assert_int_equal(address_parse(local, &bound, NULL), 0);
	return socket_is_of_group(&endpoint, &bound.sa, v6only);
}

static void test_socket_group_is_of_one_address_and_port(void **state)
{
	(void)state;
	assert_true(is_of("127.0.0.1:80", "127.0.0.1:80", false));
	assert_false(is_of("127.0.0.1:80", "127.0.0.1:81", false));
	assert_false(is_of("127.0.0.1:80", "127.0.0.2:80", false));
	assert_false(is_of("0.0.0.0:80", "127.0.0.1:80", false));
	assert_true(is_of("[::1]:80", "[::1]:80", true));
	assert_false(is_of("[::1]:80", "[::1]:81", true));
	assert_false(is_of("[::1]:80", "[::2]:80", true));
	assert_false(is_of("0.0.0.0:80", "[::]:80", true));
	assert_false(is_of("[::]:80", "0.0.0.0:80", false));
}

static void test_socket_that_takes_ipv4_too_is_of_another_group(void **state)
{
	(void)state;
	assert_true(is_of(":80", ":80", false));
	assert_false(is_of(":80", ":80", true));
	assert_true(is_of("[::]:80", "[::]:80", true));
	assert_false(is_of("[::]:80", "[::]:80", false));
	assert_false(is_of("[::1]:80", "[::1]:80", false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_socket_cookie_is_its_own_and_stays),
		cmocka_unit_test(test_socket_cookie_of_what_is_no_socket_is_0),
		cmocka_unit_test(test_socket_group_is_of_one_address_and_port),
		cmocka_unit_test(test_socket_that_takes_ipv4_too_is_of_another_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
