/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "orchestrator/steer/anchor.h"
#include "tests/unit/fakes/netns.h"

#define NOBODY 65534

static const char *missing; /* why the tests are skipped; NULL: they are not */
static struct error err;

/* Each test has a namespace of its own, so that what a failed one has left is nobody's concern. */
static int setup(void **state)
{
	(void)state;
	memset(&err, 0, sizeof(err));
	missing = netns_enter();
	if (missing)
		print_message("%s\n", missing);
	return 0;
}

static struct address parse(const char *text)
{
	struct address address;

	assert_int_equal(address_parse(text, &address, &err), 0);
	return address;
}

static int open_anchor(const char *text, uid_t uid)
{
	struct address address = parse(text);
	int fd = -1;

	if (missing)
		skip();
	if (anchor_open(&address, uid, -1, &fd, NULL, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(fd >= 0);
	return fd;
}

static void expect_refused(const char *text, uid_t uid, int error, const char *why)
{
	struct address address = parse(text);
	int fd = -1, lowest = dup(0);

	close(lowest);
	assert_int_equal(anchor_open(&address, uid, -1, &fd, NULL, &err), error);
	assert_int_equal(fd, -1);
	if (!strstr(err.text, why))
		fail_msg("\"%s\" is not in: %s", why, err.text);
	/* The next descriptor is still the same: none stayed open. */
	fd = dup(0);
	assert_int_equal(fd, lowest);
	close(fd);
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &length), 0);
	return value;
}

/* Returns the connection, or the negative errno. */
static int try_connect(const char *text)
{
	struct address address = parse(text);
	int fd = socket(address.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	assert_true(fd >= 0);
	r = connect(fd, &address.sa, address.length) < 0 ? -errno : fd;
	if (r < 0)
		close(fd);
	return r;
}

/* ---- opening -------------------------------------------------------------------------------- */

static void test_anchor_open_is_a_listening_member_of_a_group(void **state)
{
	int fd = open_anchor("127.0.0.1:8080", geteuid());
	struct address bound = {.length = sizeof(bound.in6)}, wanted = parse("127.0.0.1:8080");

	(void)state;
	assert_int_equal(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
	assert_int_equal(option(fd, SOL_SOCKET, SO_REUSEPORT), 1);
	assert_int_equal(getsockname(fd, &bound.sa, &bound.length), 0);
	assert_memory_equal(&bound.in, &wanted.in, sizeof(bound.in));
	/* No server inherits it, and no accept(2) on it waits. */
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
}

static void test_anchor_open_twice_makes_two_members(void **state)
{
	int a = open_anchor("127.0.0.1:8080", geteuid());
	int b = open_anchor("127.0.0.1:8080", geteuid());

	(void)state;
	assert_int_equal(option(b, SOL_SOCKET, SO_ACCEPTCONN), 1);
	close(a);
	close(b);
}

/* A server that does not share its port, like most. */
static int plain_listener(const struct address *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, &address->sa, address->length), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void test_anchor_open_time_wait_of_an_ordinary_server_is_no_obstacle(void **state)
{
	struct address address = parse("127.0.0.1:8080");
	struct pollfd waiting = {.events = POLLIN};
	int fd, client, server;
	char byte;

	(void)state;
	if (missing)
		skip();
	fd = plain_listener(&address);
	client = try_connect("127.0.0.1:8080");
	assert_true(client >= 0);
	server = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(server >= 0);
	/* This side closes first, and is in TIME_WAIT on the port for a minute. */
	close(server);
	waiting.fd = client;
	assert_int_equal(poll(&waiting, 1, 5000), 1);
	assert_int_equal(read(client, &byte, 1), 0);
	close(client);
	close(fd);
	fd = open_anchor("127.0.0.1:8080", geteuid());
	close(fd);
}

static void test_anchor_open_ipv6_wildcard_leaves_ipv4_alone(void **state)
{
	int fd = open_anchor("[::]:8080", geteuid());
	int other;

	(void)state;
	assert_int_equal(option(fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
	assert_int_equal(try_connect("127.0.0.1:8080"), -ECONNREFUSED);
	other = try_connect("[::1]:8080");
	assert_true(other >= 0);
	close(other);
	close(fd);
}

static void test_anchor_open_dual_stack_takes_both_families(void **state)
{
	int fd = open_anchor(":8080", geteuid());
	int v4, v6;

	(void)state;
	assert_int_equal(option(fd, IPPROTO_IPV6, IPV6_V6ONLY), 0);
	v4 = try_connect("127.0.0.1:8080");
	v6 = try_connect("[::1]:8080");
	assert_true(v4 >= 0);
	assert_true(v6 >= 0);
	close(v4);
	close(v6);
	close(fd);
}

static void test_anchor_open_belongs_to_the_services_user(void **state)
{
	int fd = open_anchor("127.0.0.1:8080", NOBODY), member;
	struct address address = parse("127.0.0.1:8080");
	struct stat st;
	int on = 1;

	(void)state;
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_uid, NOBODY);
	/* What counts: a socket of that user's joins. */
	member = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(member >= 0);
	assert_int_equal(setsockopt(member, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
	assert_int_equal(fchown(member, NOBODY, (gid_t)-1), 0);
	assert_int_equal(bind(member, &address.sa, address.length), 0);
	assert_int_equal(listen(member, 1), 0);
	close(member);
	close(fd);
}

/* Where it can, test_steer_tap.c sees. */
static void test_anchor_open_in_what_is_no_cgroup_is_an_ordinary_one(void **state)
{
	struct address address = parse("127.0.0.1:8080");
	int folder, fd = -1, lowest;
	bool inside = true;

	(void)state;
	if (missing)
		skip();
	folder = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(folder >= 0);
	lowest = dup(folder);
	close(lowest);
	assert_int_equal(anchor_open(&address, geteuid(), folder, &fd, &inside, &err), 0);
	assert_false(inside);
	assert_int_equal(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
	close(fd);
	fd = dup(folder);
	assert_int_equal(fd, lowest);
	close(fd);
	assert_int_equal(anchor_open(&address, geteuid(), -1, &fd, &inside, &err), 0);
	assert_false(inside);
	close(fd);
	close(folder);
	/* No child is left behind. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
}

/* ---- refused -------------------------------------------------------------------------------- */

static void test_anchor_open_address_of_others_is_in_use(void **state)
{
	struct address address = parse("127.0.0.1:8080");
	int fd;

	(void)state;
	fd = open_anchor("127.0.0.1:8080", NOBODY);
	expect_refused("127.0.0.1:8080", geteuid(), -EADDRINUSE, "another user");
	expect_refused("127.0.0.1:8080", NOBODY - 1, -EADDRINUSE, "another user");
	close(fd);
	fd = plain_listener(&address);
	expect_refused("127.0.0.1:8080", geteuid(), -EADDRINUSE, "without SO_REUSEPORT");
	close(fd);
}

static void test_anchor_open_foreign_address_is_not_available(void **state)
{
	(void)state;
	if (missing)
		skip();
	expect_refused("192.0.2.1:8080", geteuid(), -EADDRNOTAVAIL,
		       "bind: no interface of this host has this address; `ip address`");
}

/* Run @refused as nobody, in a process of its own, since there is no way back. */
static void as_nobody(int (*refused)(void))
{
	pid_t pid;
	int status;

	if (missing)
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
			_exit(101);
		_exit(refused());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static int privileged_port(void)
{
	struct address address;
	int fd = -1;

	if (address_parse("127.0.0.1:80", &address, &err) < 0)
		return 102;
	if (anchor_open(&address, geteuid(), -1, &fd, NULL, &err) != -EACCES || fd != -1)
		return 103;
	return strstr(err.text, "bind: Permission denied") ? 0 : 104;
}

static int user_of_somebody_else(void)
{
	struct address address;
	int fd = -1;

	if (address_parse("127.0.0.1:8080", &address, &err) < 0)
		return 102;
	if (anchor_open(&address, 0, -1, &fd, NULL, &err) != -EPERM || fd != -1)
		return 103;
	return strstr(err.text, "fchown to uid 0: ") ? 0 : 104;
}

static int user_of_ones_own(void)
{
	struct address address;
	int fd = -1;

	if (address_parse("127.0.0.1:8080", &address, &err) < 0)
		return 102;
	return anchor_open(&address, geteuid(), -1, &fd, NULL, &err) == 0 ? 0 : 103;
}

static void test_anchor_open_privileged_port_is_denied(void **state)
{
	(void)state;
	as_nobody(privileged_port);
}

static void test_anchor_open_ordinary_user_can_be_its_own_owner_only(void **state)
{
	(void)state;
	as_nobody(user_of_somebody_else);
	as_nobody(user_of_ones_own);
}

/* ---- the queue ------------------------------------------------------------------------------ */

static void connect_many(int *clients, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		clients[k] = try_connect("127.0.0.1:8080");
		assert_true(clients[k] >= 0);
	}
}

static void assert_reset(int client)
{
	struct pollfd waiting = {.fd = client, .events = POLLIN};
	char byte;

	assert_int_equal(poll(&waiting, 1, 5000), 1);
	assert_int_equal(read(client, &byte, 1), -1);
	assert_int_equal(errno, ECONNRESET);
}

static uint32_t queued(int fd)
{
	uint32_t n = UINT32_MAX;

	assert_int_equal(anchor_queued(fd, &n), 0);
	return n;
}

/* More than any server's usual backlog: these would have been dropped by 128. */
static void test_anchor_queued_tells_how_many_wait(void **state)
{
	int fd = open_anchor("127.0.0.1:8080", geteuid());
	int clients[300];

	(void)state;
	assert_int_equal(queued(fd), 0);
	connect_many(clients, 300);
	assert_int_equal(queued(fd), 300);
	/* One that has given up waits like the others. */
	close(clients[0]);
	assert_int_equal(queued(fd), 300);
	assert_int_equal(anchor_reset(fd, 100), 100);
	assert_int_equal(queued(fd), 200);
	for (size_t k = 1; k < 300; k++)
		close(clients[k]);
	close(fd);
}

static void test_anchor_queued_half_open_connections_are_not(void **state)
{
	int fd = open_anchor("127.0.0.1:8080", geteuid()), client, seconds = 30;

	(void)state;
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)),
			 0);
	connect_many(&client, 1);
	assert_int_equal(queued(fd), 0);
	close(client);
	close(fd);
}

static void test_anchor_queued_of_what_does_not_listen_is_0_or_an_error(void **state)
{
	int fd = open_anchor("127.0.0.1:8080", geteuid()), client;
	uint32_t n;

	(void)state;
	connect_many(&client, 1);
	/* A connection has something unacknowledged of its own. */
	assert_int_equal(send(client, "x", 1, 0), 1);
	assert_int_equal(queued(client), 0);
	assert_int_equal(shutdown(fd, SHUT_RD), 0);
	assert_int_equal(queued(fd), 0);
	close(client);
	close(fd);
	assert_int_equal(anchor_queued(-1, &n), -EBADF);
}

static void test_anchor_reset_takes_the_oldest(void **state)
{
	int fd = open_anchor("127.0.0.1:8080", geteuid());
	int clients[10];

	(void)state;
	connect_many(clients, 10);
	assert_int_equal(anchor_reset(fd, 0), 0);
	assert_int_equal(anchor_reset(fd, 3), 3);
	for (size_t k = 0; k < 3; k++)
		assert_reset(clients[k]);
	assert_int_equal(queued(fd), 7);
	assert_int_equal(anchor_reset(fd, 8), 7);
	for (size_t k = 3; k < 10; k++)
		assert_reset(clients[k]);
	for (size_t k = 0; k < 10; k++)
		close(clients[k]);
	close(fd);
}

static void test_anchor_sweep_resets_what_is_queued(void **state)
{
	int fd = open_anchor("127.0.0.1:8080", geteuid());
	int clients[50];

	(void)state;
	assert_int_equal(anchor_sweep(fd), 0); /* and does not wait */
	connect_many(clients, 50);
	/* One that has given up, and one that has said all it will say. */
	assert_int_equal(shutdown(clients[1], SHUT_WR), 0);
	close(clients[0]);
	assert_int_equal(anchor_sweep(fd), 50);
	for (size_t k = 1; k < 50; k++) {
		assert_reset(clients[k]);
		close(clients[k]);
	}
	assert_int_equal(anchor_sweep(fd), 0);
	close(fd);
}

static void test_anchor_sweep_socket_that_does_not_listen_has_none(void **state)
{
	int fd = open_anchor("127.0.0.1:8080", geteuid());

	(void)state;
	assert_int_equal(shutdown(fd, SHUT_RD), 0);
	assert_int_equal(anchor_sweep(fd), 0);
	close(fd);
	assert_int_equal(anchor_sweep(-1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(test_anchor_##name, setup)
		TEST(open_is_a_listening_member_of_a_group),
		TEST(open_twice_makes_two_members),
		TEST(open_time_wait_of_an_ordinary_server_is_no_obstacle),
		TEST(open_ipv6_wildcard_leaves_ipv4_alone),
		TEST(open_dual_stack_takes_both_families),
		TEST(open_belongs_to_the_services_user),
		TEST(open_in_what_is_no_cgroup_is_an_ordinary_one),
		TEST(open_address_of_others_is_in_use),
		TEST(open_foreign_address_is_not_available),
		TEST(open_privileged_port_is_denied),
		TEST(open_ordinary_user_can_be_its_own_owner_only),
		TEST(queued_tells_how_many_wait),
		TEST(queued_half_open_connections_are_not),
		TEST(queued_of_what_does_not_listen_is_0_or_an_error),
		TEST(reset_takes_the_oldest),
		TEST(sweep_resets_what_is_queued),
		TEST(sweep_socket_that_does_not_listen_has_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
