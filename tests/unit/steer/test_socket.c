/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
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

static void test_socket_of_the_other_family_is_of_another_group(void **state)
{
	(void)state;
	assert_true(is_of("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:80", false));
	assert_false(is_of("[::ffff:127.0.0.1]:80", "127.0.0.1:80", false));
	assert_false(is_of("127.0.0.1:80", "[::ffff:127.0.0.1]:80", false));
	assert_false(is_of("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.2]:80", false));
	assert_false(is_of(":80", "[::ffff:0.0.0.0]:80", false));
}

/* ---- deaf ----------------------------------------------------------------------------------- */

static int client_of(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		assert_int_equal(errno, EINPROGRESS);
	return fd;
}

static bool is_ready(int fd, short events, int timeout_ms)
{
	struct pollfd ready = {.fd = fd, .events = events};

	return poll(&ready, 1, timeout_ms) == 1;
}

/*
 * What it has accepted goes on, and what waits in its queue can be accepted; who comes later hears
 * nothing, neither yes nor no, until another socket is there for the next attempt.
 */
static void test_socket_that_is_deaf_loses_nothing(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1, old = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), before, late, server, new;
	socklen_t length = sizeof(address);
	char byte = 0;

	(void)state;
	assert_int_equal(setsockopt(old, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
	assert_int_equal(bind(old, (struct sockaddr *)&address, length), 0);
	assert_int_equal(getsockname(old, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(listen(old, 16), 0);
	before = client_of(&address);
	assert_true(is_ready(before, POLLOUT, 1000));
	assert_int_equal(steer_deafen(old), 0);
	late = client_of(&address);
	assert_false(is_ready(late, POLLOUT | POLLERR, 50));
	server = accept4(old, NULL, NULL, SOCK_CLOEXEC);
	assert_true(server >= 0);
	assert_int_equal(send(before, "x", 1, 0), 1);
	assert_int_equal(recv(server, &byte, 1, 0), 1);
	assert_int_equal(send(server, "y", 1, 0), 1);
	assert_true(is_ready(before, POLLIN, 1000));
	/* Another one takes its place. */
	new = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(new, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
	assert_int_equal(bind(new, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(new, 16), 0);
	close(old);
	assert_true(is_ready(new, POLLIN, 10000));
	assert_true(is_ready(late, POLLOUT, 1000));
	assert_int_equal(steer_deafen(-1), -EBADF);
	close(before);
	close(late);
	close(server);
	close(new);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_socket_cookie_is_its_own_and_stays),
		cmocka_unit_test(test_socket_cookie_of_what_is_no_socket_is_0),
		cmocka_unit_test(test_socket_group_is_of_one_address_and_port),
		cmocka_unit_test(test_socket_that_takes_ipv4_too_is_of_another_group),
		cmocka_unit_test(test_socket_of_the_other_family_is_of_another_group),
		cmocka_unit_test(test_socket_that_is_deaf_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
