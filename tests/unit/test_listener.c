/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/listener.h"
#include "tests/unit/netns.h"

#define NOBODY 65534

struct fixture {
	struct processes *processes;
	struct address addresses[PROTOCOL_SOCKETS_MAX + 1];
	struct launch_spec spec;
	struct listeners listeners;
};

static int setup(void **data)
{
	static struct fixture fixture;

	memset(&fixture, 0, sizeof(fixture));
	fixture.spec.listen = fixture.addresses;
	fixture.spec.backlog = 17;
	*data = &fixture;
	return processes_new(NULL, &fixture.processes);
}

static int teardown(void **data)
{
	struct fixture *fixture = *data;

	listeners_close(&fixture->listeners);
	processes_free(fixture->processes);
	return 0;
}

static void add(struct fixture *fixture, const char *text)
{
	struct error err;

	assert_int_equal(address_parse(text, &fixture->addresses[fixture->spec.n_listen++], &err),
			 0);
}

static int get_option(int fd, int level, int option)
{
	int value = -1;
	socklen_t size = sizeof(value);

	assert_int_equal(getsockopt(fd, level, option, &value, &size), 0);
	return value;
}

static int open_all(struct fixture *fixture)
{
	struct error err = {""};
	int r = listeners_open(&fixture->spec, fixture->processes, &fixture->listeners, &err);

	if (r == 0)
		assert_string_equal(err.text, "");
	return r;
}

static void test_listener_nonblocking_is_what_the_spec_says(void **data)
{
	struct fixture *fixture = *data;

	add(fixture, "127.0.0.1:7009");
	for (int on = 0; on < 2; on++) {
		fixture->spec.nonblocking = on;
		assert_int_equal(open_all(fixture), 0);
		assert_int_equal(!!(fcntl(fixture->listeners.list[0].fd, F_GETFL) & O_NONBLOCK),
				 on);
		listeners_close(&fixture->listeners);
	}
}

static void test_listener_open_has_the_options(void **data)
{
	struct fixture *fixture = *data;
	static const int v6only[] = {-1, 1, 0};

	add(fixture, "127.0.0.1:7001");
	add(fixture, "[::1]:7001");
	add(fixture, ":7002");
	assert_int_equal(open_all(fixture), 0);
	assert_int_equal(fixture->listeners.n, 3);
	assert_true(listeners_are_open(&fixture->listeners));
	for (size_t i = 0; i < 3; i++) {
		const struct listener *listener = &fixture->listeners.list[i];
		uint64_t cookie = 0;
		socklen_t size = sizeof(cookie);
		struct stat st;

		assert_int_equal(get_option(listener->fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
		assert_int_equal(get_option(listener->fd, SOL_SOCKET, SO_REUSEPORT), 1);
		assert_int_equal(get_option(listener->fd, SOL_SOCKET, SO_REUSEADDR), 1);
		assert_int_equal(fcntl(listener->fd, F_GETFD), FD_CLOEXEC);
		assert_int_equal(fcntl(listener->fd, F_GETFL) & O_NONBLOCK, 0);
		if (v6only[i] >= 0)
			assert_int_equal(get_option(listener->fd, IPPROTO_IPV6, IPV6_V6ONLY),
					 v6only[i]);
		assert_int_equal(getsockopt(listener->fd, SOL_SOCKET, SO_COOKIE, &cookie, &size),
				 0);
		assert_true(cookie != 0 && cookie == listener->cookie);
		assert_int_equal(fstat(listener->fd, &st), 0);
		assert_true(st.st_ino == listener->inode);
		assert_true(address_equal(&listener->address, &fixture->addresses[i]));
	}
}

static void test_listener_open_twice_shares_the_port(void **data)
{
	struct fixture *fixture = *data;
	struct listeners other;
	struct error err;

	add(fixture, "127.0.0.1:7003");
	assert_int_equal(open_all(fixture), 0);
	assert_int_equal(listeners_open(&fixture->spec, fixture->processes, &other, &err), 0);
	assert_true(other.list[0].cookie != fixture->listeners.list[0].cookie);
	listeners_close(&other);
}

static void test_listener_open_sets_the_owner(void **data)
{
	struct fixture *fixture = *data;
	struct listeners other;
	struct error err;
	struct stat st;

	add(fixture, "127.0.0.1:7004");
	fixture->spec.set_ids = true;
	fixture->spec.uid = NOBODY;
	assert_int_equal(open_all(fixture), 0);
	assert_int_equal(fstat(fixture->listeners.list[0].fd, &st), 0);
	assert_int_equal(st.st_uid, NOBODY);
	/* And the kernel goes by it: another uid is not let into the group. */
	fixture->spec.uid = NOBODY - 1;
	assert_int_equal(listeners_open(&fixture->spec, fixture->processes, &other, &err),
			 -EADDRINUSE);
	assert_string_equal(err.text, "listen 127.0.0.1:7004: bind: Address already in use");
}

static void test_listener_open_fails_as_a_whole(void **data)
{
	struct fixture *fixture = *data;
	struct sockaddr_in taken = {.sin_family = AF_INET,
				    .sin_port = htons(7006),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int before = dup(fd), after;

	close(before);
	assert_int_equal(bind(fd, (struct sockaddr *)&taken, sizeof(taken)), 0);
	add(fixture, "127.0.0.1:7005");
	add(fixture, "127.0.0.1:7006");
	assert_int_equal(open_all(fixture), -EADDRINUSE);
	assert_int_equal(fixture->listeners.n, 0);
	assert_false(listeners_are_open(&fixture->listeners));
	after = dup(fd); /* the lowest free descriptor is the same: nothing was left open */
	assert_int_equal(after, before);
	close(after);
	close(fd);
}

static void test_listener_open_too_many_is_refused(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.n_listen = PROTOCOL_SOCKETS_MAX + 1;
	assert_int_equal(open_all(fixture), -E2BIG);
	fixture->spec.n_listen = 0;
	assert_int_equal(open_all(fixture), 0);
	assert_false(listeners_are_open(&fixture->listeners));
}

static void test_listener_close_keeps_what_identifies(void **data)
{
	struct fixture *fixture = *data;
	uint64_t cookie;
	int fd;

	add(fixture, "127.0.0.1:7007");
	assert_int_equal(open_all(fixture), 0);
	cookie = fixture->listeners.list[0].cookie;
	fd = fixture->listeners.list[0].fd;
	listeners_close(&fixture->listeners);
	listeners_close(&fixture->listeners);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(fixture->listeners.n, 1);
	assert_true(fixture->listeners.list[0].cookie == cookie);
	assert_false(listeners_are_open(&fixture->listeners));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_listener_open_has_the_options),
		TEST(test_listener_nonblocking_is_what_the_spec_says),
		TEST(test_listener_open_twice_shares_the_port),
		TEST(test_listener_open_sets_the_owner),
		TEST(test_listener_open_fails_as_a_whole),
		TEST(test_listener_open_too_many_is_refused),
		TEST(test_listener_close_keeps_what_identifies),
	};
	const char *reason = netns_enter();

	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
