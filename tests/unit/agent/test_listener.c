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
#include "tests/unit/fakes/netns.h"

#define NOBODY 65534

struct fixture {
	struct processes *processes;
	struct address addresses[PROTOCOL_LISTEN_MAX + 1];
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
	return processes_new(NULL, getpid(), &fixture.processes);
}

static int teardown(void **data)
{
	struct fixture *fixture = *data;

	listeners_close(&fixture->listeners);
	listeners_done(&fixture->listeners);
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
	int r = listeners_open(&fixture->spec, fixture->processes, NULL, &fixture->listeners, &err);

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

/* What batond has found out about the server's family counts, whatever is declared. */
static void test_listener_twins_are_opened_and_taken(void **data)
{
	struct fixture *fixture = *data;
	static const char *const twins[] = {"[::ffff:127.0.0.1]:7026", "127.0.0.1:7027"};
	struct listeners taken = {0};
	struct error err;
	int fds[2];

	add(fixture, "127.0.0.1:7026");
	add(fixture, twins[1]);
	assert_int_equal(address_parse("[::ffff:127.0.0.1]:7027", &fixture->addresses[1], &err), 0);
	fixture->spec.twins[0] = fixture->spec.twins[1] = true;
	assert_int_equal(open_all(fixture), 0);
	for (size_t i = 0; i < 2; i++) {
		struct address bound, *named = &fixture->listeners.list[i].address;
		socklen_t size = sizeof(bound.in6);

		assert_string_equal(named->text, twins[i]);
		assert_int_equal(getsockname(fixture->listeners.list[i].fd, &bound.sa, &size), 0);
		assert_int_equal(bound.sa.sa_family, named->sa.sa_family);
		fds[i] = fcntl(fixture->listeners.list[i].fd, F_DUPFD_CLOEXEC, 0);
	}
	assert_int_equal(listeners_take(&fixture->spec, fds, &taken, &err), 0);
	assert_string_equal(taken.list[0].address.text, twins[0]);
	listeners_close(&taken);
	listeners_done(&taken);
	fixture->spec.twins[0] = false;
	fds[0] = fcntl(fixture->listeners.list[0].fd, F_DUPFD_CLOEXEC, 0);
	fds[1] = fcntl(fixture->listeners.list[1].fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(listeners_take(&fixture->spec, fds, &taken, &err), -EINVAL);
	assert_string_equal(err.text,
			    "listen 127.0.0.1:7026: the socket that was given is bound to "
			    "[::ffff:127.0.0.1]:7026");
}

static void test_listener_open_twice_shares_the_port(void **data)
{
	struct fixture *fixture = *data;
	struct listeners other = {0};
	struct error err;

	add(fixture, "127.0.0.1:7003");
	assert_int_equal(open_all(fixture), 0);
	assert_int_equal(listeners_open(&fixture->spec, fixture->processes, NULL, &other, &err), 0);
	assert_true(other.list[0].cookie != fixture->listeners.list[0].cookie);
	listeners_close(&other);
	listeners_done(&other);
}

static void test_listener_open_sets_the_owner(void **data)
{
	struct fixture *fixture = *data;
	struct listeners other = {0};
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
	assert_int_equal(listeners_open(&fixture->spec, fixture->processes, NULL, &other, &err),
			 -EADDRINUSE);
	assert_string_equal(
		err.text,
		"listen 127.0.0.1:7004: bind: Address already in use: a socket or a connection "
		"that has it does not share it (SO_REUSEPORT), or belongs to another user");
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
	after = dup(fd); /* the lowest free descriptor is the same: nothing was left open */
	assert_int_equal(after, before);
	close(after);
	close(fd);
}

/* A connection of a server that is gone, and set SO_REUSEADDR, or not. */
static void leave_in_time_wait(const struct address *address, bool reuse)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), client, server, on = reuse;

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, &address->sa, address->length), 0);
	assert_int_equal(listen(fd, 5), 0);
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, &address->sa, address->length), 0);
	server = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(server >= 0);
	close(fd);
	close(server);
	close(client);
}

static void test_listener_linger_is_for_what_goes_by_itself(void **data)
{
	struct fixture *fixture = *data;
	int fd;

	add(fixture, "127.0.0.1:7020");
	assert_false(listeners_linger(&fixture->spec));
	leave_in_time_wait(&fixture->addresses[0], true);
	assert_true(listeners_linger(&fixture->spec));
	/* Nobody could bind that, so a server that tries again does not help. */
	fixture->spec.n_listen = 0;
	add(fixture, "127.0.0.1:7021");
	leave_in_time_wait(&fixture->addresses[0], false);
	assert_false(listeners_linger(&fixture->spec));
	/* Somebody listens there. */
	fixture->spec.n_listen = 0;
	add(fixture, "127.0.0.1:7022");
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, &fixture->addresses[0].sa, fixture->addresses[0].length), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_false(listeners_linger(&fixture->spec));
	close(fd);
}

static void test_listener_open_too_many_is_refused(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.n_listen = PROTOCOL_LISTEN_MAX + 1;
	assert_int_equal(open_all(fixture), -E2BIG);
	fixture->spec.n_listen = 0;
	assert_int_equal(open_all(fixture), 0);
	assert_int_equal(fixture->listeners.n, 0);
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
}

static int try_connect(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

static void test_listener_later_is_bound_and_listens_when_told(void **data)
{
	struct fixture *fixture = *data;
	struct listener *first;
	struct error err;

	add(fixture, "127.0.0.1:7010");
	fixture->spec.listen_later = true;
	assert_int_equal(open_all(fixture), 0);
	first = &fixture->listeners.list[0];
	assert_false(first->listens);
	assert_int_equal(try_connect(7010), -ECONNREFUSED);
	assert_int_equal(listener_listen(first, 5, &err), 0);
	assert_true(first->listens);
	assert_int_equal(try_connect(7010), 0);
}

static void test_listener_refresh_sees_what_others_did(void **data)
{
	struct fixture *fixture = *data;
	struct listener *list;

	add(fixture, "127.0.0.1:7011");
	add(fixture, "127.0.0.1:7012");
	fixture->spec.listen_later = true;
	assert_int_equal(open_all(fixture), 0);
	list = fixture->listeners.list;
	assert_int_equal(listen(list[1].fd, 5), 0);
	listeners_refresh(&fixture->listeners);
	assert_false(list[0].listens);
	assert_true(list[1].listens);
	assert_int_equal(shutdown(list[1].fd, SHUT_RD), 0);
	listeners_refresh(&fixture->listeners);
	assert_false(list[1].listens);
}

/* A replacement comes last in the list, but is passed where its address says. */
static void test_listener_missing_ones_are_opened_anew(void **data)
{
	struct fixture *fixture = *data;
	struct listeners passed = {};
	struct error err;

	add(fixture, "127.0.0.1:7013");
	add(fixture, "127.0.0.1:7014");
	assert_int_equal(open_all(fixture), 0);
	for (size_t i = 0; i < 2; i++)
		fixture->listeners.list[i].counts = true;
	assert_int_equal(
		listeners_open(&fixture->spec, fixture->processes, NULL, &fixture->listeners, &err),
		0);
	assert_int_equal(fixture->listeners.n, 2);
	/* It went out of the set. */
	fixture->listeners.list[0].counts = false;
	fixture->listeners.list[0].out_serial = 2;
	assert_int_equal(listeners_open(&fixture->spec, fixture->processes,
					(const bool[PROTOCOL_LISTEN_MAX]){true},
					&fixture->listeners, &err),
			 0);
	assert_int_equal(fixture->listeners.n, 2);
	assert_int_equal(
		listeners_open(&fixture->spec, fixture->processes, NULL, &fixture->listeners, &err),
		0);
	assert_int_equal(fixture->listeners.n, 3);
	assert_int_equal(fixture->listeners.list[2].endpoint, 0);
	assert_int_equal(listeners_select_passed(&fixture->listeners, &passed), 0);
	assert_int_equal(passed.n, 2);
	assert_true(passed.list[0].cookie == fixture->listeners.list[2].cookie);
	assert_true(passed.list[1].cookie == fixture->listeners.list[1].cookie);
	listeners_done(&passed);
}

static void test_listener_own_ones_are_never_passed(void **data)
{
	struct fixture *fixture = *data;
	struct listeners passed = {};

	add(fixture, "127.0.0.1:7015");
	assert_int_equal(open_all(fixture), 0);
	fixture->listeners.list[0].own = true;
	fixture->listeners.list[0].counts = true;
	assert_int_equal(listeners_select_passed(&fixture->listeners, &passed), 0);
	assert_int_equal(passed.n, 0);
	listeners_done(&passed);
}

static void test_listener_release_ends_it_whoever_has_it(void **data)
{
	struct fixture *fixture = *data;
	uint64_t second;
	int copy;

	add(fixture, "127.0.0.1:7016");
	add(fixture, "127.0.0.1:7017");
	assert_int_equal(open_all(fixture), 0);
	copy = dup(fixture->listeners.list[0].fd);
	second = fixture->listeners.list[1].cookie;
	listeners_release(&fixture->listeners, 0);
	assert_int_equal(get_option(copy, SOL_SOCKET, SO_ACCEPTCONN), 0);
	assert_int_equal(try_connect(7016), -ECONNREFUSED);
	assert_int_equal(try_connect(7017), 0);
	assert_int_equal(fixture->listeners.n, 1);
	assert_ptr_equal(listeners_find(&fixture->listeners, second), &fixture->listeners.list[0]);
	assert_null(listeners_find(&fixture->listeners, 1));
	close(copy);
}

static void test_listener_list_that_is_full_refuses(void **data)
{
	struct fixture *fixture = *data;
	const struct listener listener = {.fd = -1};

	for (size_t i = 0; i < LISTENERS_MAX; i++)
		assert_int_equal(listeners_add(&fixture->listeners, &listener), 0);
	assert_int_equal(listeners_add(&fixture->listeners, &listener), -ENOSPC);
}

/* ---- given ---------------------------------------------------------------------------------- */

/* A copy of the @index'th, as batond would give it. */
static int copy_of(const struct listeners *listeners, size_t index)
{
	int fd = dup(listeners->list[index].fd);

	assert_true(fd >= 0);
	return fd;
}

static void test_listener_given_ones_are_taken(void **data)
{
	struct fixture *fixture = *data;
	struct listeners taken = {0};
	struct error err;
	int fds[3];

	add(fixture, "127.0.0.1:7020");
	add(fixture, "[::]:7021");
	add(fixture, ":7022");
	assert_int_equal(open_all(fixture), 0);
	for (size_t i = 0; i < 3; i++)
		fds[i] = copy_of(&fixture->listeners, i);
	fixture->spec.nonblocking = true;
	if (listeners_take(&fixture->spec, fds, &taken, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(taken.n, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(taken.list[i].fd, fds[i]);
		assert_true(taken.list[i].cookie == fixture->listeners.list[i].cookie);
		assert_true(taken.list[i].inode == fixture->listeners.list[i].inode);
		assert_int_equal(taken.list[i].endpoint, i);
		assert_true(taken.list[i].listens && !taken.list[i].own);
		assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		assert_true(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
	}
	listeners_close(&taken);
	listeners_done(&taken);
}

/* The second of two is wrong: none is taken, both are closed, and @reason says why. */
static void expect_refused(struct fixture *fixture, int second, const char *reason)
{
	struct listeners taken = {0};
	int fds[2] = {copy_of(&fixture->listeners, 0), second};
	struct error err;

	assert_int_equal(listeners_take(&fixture->spec, fds, &taken, &err), -EINVAL);
	assert_string_equal(err.text, reason);
	assert_int_equal(taken.n, 0);
	listeners_done(&taken);
	assert_int_equal(fcntl(fds[0], F_GETFD), -1);
	assert_int_equal(fcntl(fds[1], F_GETFD), -1);
}

static void test_listener_given_wrong_ones_are_refused(void **data)
{
	struct fixture *fixture = *data;
	struct launch_spec later;
	struct listeners other = {0};
	struct error err;
	int pair[2];

	add(fixture, "127.0.0.1:7023");
	add(fixture, "[::]:7024");
	assert_int_equal(open_all(fixture), 0);
	expect_refused(fixture, copy_of(&fixture->listeners, 0),
		       "listen [::]:7024: the socket that was given is bound to 127.0.0.1:7023");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	expect_refused(fixture, pair[0], "listen [::]:7024: the socket that was given is not TCP");
	close(pair[1]);
	/* The same port, but for both families. */
	later = fixture->spec;
	later.listen_later = true;
	listeners_close(&fixture->listeners);
	fixture->listeners.n = 0;
	assert_int_equal(open_all(fixture), 0);
	assert_int_equal(address_parse(":7024", &fixture->addresses[1], &err), 0);
	expect_refused(fixture, copy_of(&fixture->listeners, 1),
		       "listen :7024: the socket that was given is bound to [::]:7024");
	assert_int_equal(address_parse("127.0.0.1:7025", &fixture->addresses[1], &err), 0);
	assert_int_equal(listeners_open(&later, fixture->processes, NULL, &other, &err), 0);
	expect_refused(fixture, copy_of(&other, 1),
		       "listen 127.0.0.1:7025: the socket that was given does not listen");
	listeners_close(&other);
	listeners_done(&other);
}

static void test_listener_given_may_listen_later(void **data)
{
	struct fixture *fixture = *data;
	struct listeners taken = {0};
	struct error err;
	int fd;

	add(fixture, "127.0.0.1:7026");
	fixture->spec.listen_later = true;
	assert_int_equal(open_all(fixture), 0);
	fd = copy_of(&fixture->listeners, 0);
	assert_int_equal(listeners_take(&fixture->spec, &fd, &taken, &err), 0);
	assert_false(taken.list[0].listens);
	listeners_close(&taken);
	listeners_done(&taken);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_listener_open_has_the_options),
		TEST(test_listener_nonblocking_is_what_the_spec_says),
		TEST(test_listener_twins_are_opened_and_taken),
		TEST(test_listener_open_twice_shares_the_port),
		TEST(test_listener_open_sets_the_owner),
		TEST(test_listener_open_fails_as_a_whole),
		TEST(test_listener_linger_is_for_what_goes_by_itself),
		TEST(test_listener_open_too_many_is_refused),
		TEST(test_listener_close_keeps_what_identifies),
		TEST(test_listener_later_is_bound_and_listens_when_told),
		TEST(test_listener_refresh_sees_what_others_did),
		TEST(test_listener_missing_ones_are_opened_anew),
		TEST(test_listener_own_ones_are_never_passed),
		TEST(test_listener_release_ends_it_whoever_has_it),
		TEST(test_listener_list_that_is_full_refuses),
		TEST(test_listener_given_ones_are_taken),
		TEST(test_listener_given_wrong_ones_are_refused),
		TEST(test_listener_given_may_listen_later),
	};
	const char *reason = netns_enter();

	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
