/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/finder.h"
#include "orchestrator/host/cgroup.h"
#include "tests/unit/fakes/count_fds.h"
#include "tests/unit/fakes/netns.h"

#define LOOKS_MAX 100

/* The test is the agent; children, steered by messages, are the server. */
struct server {
	pid_t pid;
	int wire;
};

struct fixture {
	struct processes *processes;
	struct address addresses[4];
	struct launch_spec spec;
	struct finder *finder;
	struct listeners listeners;
	struct server servers[4];
	size_t n_servers;
	uint64_t now_ms;
};

/* A cgroup of our own; "" where there is no permission to make one. */
static char base[CGROUP_PATH_MAX], leaf[CGROUP_PATH_MAX];

/* ---- the server ----------------------------------------------------------------------------- */

static int bind_to(const char *text, int protocol)
{
	struct address address;
	struct error err;
	int on = 1, off = 0, fd;

	if (address_parse(text, &address, &err) < 0)
		return -1;
	fd = socket(address.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, protocol);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
		return -1;
	if (address.sa.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, address_v6only(&address) ? &on : &off,
			   sizeof(on));
	if (bind(fd, &address.sa, address.length) < 0 || listen(fd, 5) < 0)
		return -1;
	return fd;
}

/* "+ADDRESS" binds, "*ADDRESS" does so with MPTCP, "-" closes what was bound last, "&" leaves all
 * to a daemonised child. */
static void serve(int wire)
{
	static int fds[PROTOCOL_SET_MAX + 8];
	int n = 0;
	char command[128];
	ssize_t length;

	while ((length = recv(wire, command, sizeof(command) - 1, 0)) > 0) {
		command[length] = '\0';
		if (command[0] == '+' && (fds[n++] = bind_to(command + 1, 0)) < 0)
			_exit(1);
		if (command[0] == '*' && (fds[n++] = bind_to(command + 1, IPPROTO_MPTCP)) < 0)
			_exit(1);
		if (command[0] == '-')
			close(fds[--n]);
		if (command[0] == '&' && fork() == 0) {
			setsid();
			for (;;)
				pause();
		}
		if (send(wire, "", 1, 0) != 1 || command[0] == '&')
			break;
	}
	_exit(0);
}

static struct server *start_server(struct fixture *fixture)
{
	struct server *server = &fixture->servers[fixture->n_servers++];
	int wires[2], join;
	struct error err;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wires), 0);
	assert_int_equal(processes_open_join(fixture->processes, &join, &err), 0);
	server->pid = fork();
	assert_true(server->pid >= 0);
	if (server->pid == 0) {
		if (join >= 0 && write(join, "0", 1) != 1)
			_exit(1);
		close(wires[0]);
		serve(wires[1]);
	}
	if (join >= 0)
		close(join);
	close(wires[1]);
	server->wire = wires[0];
	return server;
}

static void tell(struct server *server, const char *command)
{
	char answer;

	assert_true(send(server->wire, command, strlen(command), 0) > 0);
	if (recv(server->wire, &answer, 1, 0) != 1)
		fail_msg("%s", command);
}

/* ---- fixture -------------------------------------------------------------------------------- */

static int prepare(void **data, const char *cgroup)
{
	static struct fixture fixture;
	struct error err;

	memset(&fixture, 0, sizeof(fixture));
	fixture.now_ms = 1000;
	fixture.spec.listen = fixture.addresses;
	fixture.spec.cgroup = (char *)cgroup;
	*data = &fixture;
	if (processes_new(cgroup, getpid(), &fixture.processes) < 0)
		return -1;
	return finder_new(&fixture.spec, fixture.processes, &fixture.finder, &err);
}

static int setup(void **data)
{
	return prepare(data, NULL);
}

static int setup_cgroup(void **data)
{
	return prepare(data, leaf[0] ? leaf : NULL);
}

static int teardown(void **data)
{
	struct fixture *fixture = *data;

	for (size_t i = 0; i < fixture->n_servers; i++)
		close(fixture->servers[i].wire);
	(void)processes_kill(fixture->processes);
	while (waitpid(-1, NULL, 0) > 0)
		;
	listeners_close(&fixture->listeners);
	listeners_done(&fixture->listeners);
	finder_free(fixture->finder);
	processes_free(fixture->processes);
	return 0;
}

static void declare(struct fixture *fixture, const char *text)
{
	struct error err;

	assert_int_equal(address_parse(text, &fixture->addresses[fixture->spec.n_listen++], &err),
			 0);
}

static void look(struct fixture *fixture)
{
	struct error err;

	fixture->now_ms += 2000; /* whatever had to wait has waited */
	if (finder_look(fixture->finder, &fixture->listeners, fixture->now_ms, &err) < 0)
		fail_msg("%s", err.text);
}

static void check_strangers(struct fixture *fixture, const char *expected)
{
	char strangers[PROTOCOL_STRANGERS_MAX][ADDRESS_TEXT_MAX], got[1024] = "";
	size_t n = finder_strangers(fixture->finder, strangers);

	for (size_t i = 0; i < n; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i > 0 ? " " : "",
			 strangers[i]);
	assert_string_equal(got, expected);
}

static void check_found(const struct fixture *fixture, size_t index, uint32_t endpoint)
{
	const struct listener *listener = &fixture->listeners.list[index];
	socklen_t size = sizeof(uint64_t);
	uint64_t cookie = 0;
	struct stat st;

	assert_true(index < fixture->listeners.n);
	assert_int_equal(listener->endpoint, endpoint);
	assert_true(listener->own && listener->listens);
	assert_string_equal(listener->address.text, fixture->addresses[endpoint].text);
	assert_int_equal(fcntl(listener->fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(getsockopt(listener->fd, SOL_SOCKET, SO_COOKIE, &cookie, &size), 0);
	assert_true(cookie == listener->cookie);
	assert_int_equal(fstat(listener->fd, &st), 0);
	assert_true(st.st_ino == listener->inode);
}

/* ---- found ---------------------------------------------------------------------------------- */

static void test_finder_finds_what_the_server_binds(void **data)
{
	struct fixture *fixture = *data;
	struct server *server = start_server(fixture);

	declare(fixture, "127.0.0.1:7001");
	declare(fixture, "[::1]:7001");
	look(fixture);
	assert_int_equal(fixture->listeners.n, 0);
	tell(server, "+[::1]:7001");
	look(fixture);
	assert_int_equal(fixture->listeners.n, 1);
	check_found(fixture, 0, 1);
	assert_int_equal(fixture->listeners.list[0].seen_pid, server->pid);
	tell(server, "+127.0.0.1:7001");
	look(fixture);
	assert_int_equal(fixture->listeners.n, 2);
	check_found(fixture, 1, 0);
	check_strangers(fixture, "");
}

/* Which of the two a server binds is not known before: batond decides what it means. */
static void test_finder_finds_twins_of_what_is_declared(void **data)
{
	struct fixture *fixture = *data;
	struct server *server = start_server(fixture);

	declare(fixture, "127.0.0.1:7012");
	declare(fixture, "[::ffff:127.0.0.1]:7013");
	tell(server, "+[::ffff:127.0.0.1]:7012");
	tell(server, "+127.0.0.1:7013");
	tell(server, "+[::ffff:127.0.0.2]:7012");
	look(fixture);
	look(fixture);
	assert_int_equal(fixture->listeners.n, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct listener *listener = &fixture->listeners.list[i];

		assert_true(listener->own && listener->listens && listener->endpoint < 2);
		assert_string_equal(listener->address.text, listener->endpoint == 0
								    ? "[::ffff:127.0.0.1]:7012"
								    : "127.0.0.1:7013");
	}
	check_strangers(fixture, "[::ffff:127.0.0.2]:7012");
}

static void test_finder_finds_several_on_one_port(void **data)
{
	struct fixture *fixture = *data;
	struct server *first = start_server(fixture), *second = start_server(fixture);

	declare(fixture, "127.0.0.1:7002");
	for (size_t i = 0; i < 2; i++) {
		tell(first, "+127.0.0.1:7002");
		tell(second, "+127.0.0.1:7002");
	}
	look(fixture);
	assert_int_equal(fixture->listeners.n, 4);
	for (size_t i = 0; i < 4; i++)
		check_found(fixture, i, 0);
}

static void test_finder_takes_each_once(void **data)
{
	struct fixture *fixture = *data;
	struct server *server = start_server(fixture);
	size_t before;

	declare(fixture, "127.0.0.1:7003");
	tell(server, "+127.0.0.1:7003");
	tell(server, "+127.0.0.1:7004");
	look(fixture);
	before = count_fds();
	for (int i = 0; i < 5; i++)
		look(fixture);
	assert_int_equal(fixture->listeners.n, 1);
	assert_int_equal(count_fds(), before);
}

static void test_finder_families_of_the_wildcard_are_told_apart(void **data)
{
	struct fixture *fixture = *data;
	struct server *server = start_server(fixture);

	declare(fixture, ":7005");
	declare(fixture, "[::]:7006");
	declare(fixture, "0.0.0.0:7007");
	tell(server, "+:7005");
	tell(server, "+[::]:7006");
	tell(server, "+0.0.0.0:7007");
	look(fixture);
	assert_int_equal(fixture->listeners.n, 3);
	tell(server, "-");
	tell(server, "-");
	tell(server, "-");
	listeners_close(&fixture->listeners);
	fixture->listeners.n = 0;
	/* Each the other way round. */
	tell(server, "+[::]:7005");
	tell(server, "+:7006");
	tell(server, "+127.0.0.1:7007");
	look(fixture);
	assert_int_equal(fixture->listeners.n, 0);
	check_strangers(fixture, "127.0.0.1:7007 :7006 [::]:7005");
}

static void test_finder_follows_a_daemon(void **data)
{
	struct fixture *fixture = *data;
	struct server *server = start_server(fixture);

	declare(fixture, "127.0.0.1:7008");
	tell(server, "+127.0.0.1:7008");
	tell(server, "&");
	assert_int_equal(waitpid(server->pid, NULL, 0), server->pid);
	look(fixture);
	assert_int_equal(fixture->listeners.n, 1);
	check_found(fixture, 0, 0);
	assert_int_not_equal(fixture->listeners.list[0].seen_pid, server->pid);
}

static void test_finder_passed_ones_are_known(void **data)
{
	struct fixture *fixture = *data;
	struct error err;

	declare(fixture, "127.0.0.1:7009");
	assert_int_equal(
		listeners_open(&fixture->spec, fixture->processes, NULL, &fixture->listeners, &err),
		0);
	/* The server has it, but did not bind it. */
	(void)start_server(fixture);
	look(fixture);
	assert_int_equal(fixture->listeners.n, 1);
	assert_false(fixture->listeners.list[0].own);
}

/* ---- not found ------------------------------------------------------------------------------ */

static void test_finder_strangers_are_named_once_while_they_listen(void **data)
{
	struct fixture *fixture = *data;
	struct server *server = start_server(fixture);
	size_t before;

	declare(fixture, "127.0.0.1:7010");
	look(fixture);
	before = count_fds();
	tell(server, "+127.0.0.1:7011");
	tell(server, "+:7012");
	tell(server, "+127.0.0.1:7011");
	look(fixture);
	assert_int_equal(fixture->listeners.n, 0);
	check_strangers(fixture, "127.0.0.1:7011 :7012");
	assert_int_equal(count_fds(), before); /* and no duplicate of them is kept */
	tell(server, "-");
	tell(server, "-");
	look(fixture);
	check_strangers(fixture, "127.0.0.1:7011");
	tell(server, "-");
	look(fixture);
	check_strangers(fixture, "");
}

static void test_finder_names_no_more_strangers_than_fit(void **data)
{
	struct fixture *fixture = *data;
	struct server *server = start_server(fixture);
	char strangers[PROTOCOL_STRANGERS_MAX][ADDRESS_TEXT_MAX], command[64];

	for (int i = 0; i < PROTOCOL_STRANGERS_MAX + 3; i++) {
		snprintf(command, sizeof(command), "+127.0.0.1:%d", 7100 + i);
		tell(server, command);
	}
	look(fixture);
	assert_int_equal(finder_strangers(fixture->finder, strangers), PROTOCOL_STRANGERS_MAX);
}

/* The agent itself is not one of the instance's processes, and stands for any other here. */
static void test_finder_other_peoples_sockets_are_left_alone(void **data)
{
	struct fixture *fixture = *data;
	int declared, undeclared;

	declare(fixture, "127.0.0.1:7013");
	(void)start_server(fixture);
	declared = bind_to("127.0.0.1:7013", 0);
	undeclared = bind_to("127.0.0.1:7014", 0);
	assert_true(declared >= 0 && undeclared >= 0);
	for (int i = 0; i < 10; i++)
		look(fixture);
	assert_int_equal(fixture->listeners.n, 0);
	check_strangers(fixture, "");
	close(declared);
	close(undeclared);
}

static const char *trouble(struct fixture *fixture)
{
	uint32_t endpoint;
	const char *text = finder_trouble(fixture->finder, &endpoint);

	assert_int_equal(endpoint, 0);
	return text;
}

static void test_finder_more_than_an_instance_can_have_are_left_alone(void **data)
{
	struct fixture *fixture = *data;
	struct server *server = start_server(fixture);

	declare(fixture, "127.0.0.1:7015");
	for (int i = 0; i < PROTOCOL_SET_MAX + 2; i++)
		tell(server, "+127.0.0.1:7015");
	look(fixture);
	assert_int_equal(fixture->listeners.n, PROTOCOL_SET_MAX);
	look(fixture);
	assert_int_equal(fixture->listeners.n, PROTOCOL_SET_MAX);
	/* If it cannot be anybody else's, people must learn of it. */
	if (fixture->spec.cgroup)
		assert_string_equal(
			trouble(fixture),
			"listens on 127.0.0.1:7015 by a socket too many, which gets no "
			"connections: one instance can have 1024; have fewer workers with "
			"a socket each");
	/* Where one goes, there is room for another one. */
	listeners_release(&fixture->listeners, 0);
	look(fixture);
	assert_int_equal(fixture->listeners.n, PROTOCOL_SET_MAX);
}

/* ---- by cgroup ------------------------------------------------------------------------------ */

static void test_finder_cgroup_says_whose_they_are(void **data)
{
	struct fixture *fixture = *data;
	struct server *server;
	int outside;

	if (!leaf[0])
		skip();
	declare(fixture, "127.0.0.1:7016");
	outside = bind_to("127.0.0.1:7016", 0);
	assert_true(outside >= 0);
	/* It has that socket too, but it is not of its cgroup. */
	server = start_server(fixture);
	tell(server, "+127.0.0.1:7016");
	tell(server, "+127.0.0.1:7017");
	look(fixture);
	assert_int_equal(fixture->listeners.n, 1);
	check_found(fixture, 0, 0);
	check_strangers(fixture, "127.0.0.1:7017");
	close(outside);
}

static void test_finder_cgroup_below_is_looked_into(void **data)
{
	struct fixture *fixture = *data;
	char below[CGROUP_PATH_MAX + 8], path[CGROUP_PATH_MAX + 32], pid[16];
	struct server *server;
	int fd;

	if (!leaf[0])
		skip();
	declare(fixture, "127.0.0.1:7018");
	server = start_server(fixture);
	tell(server, "+127.0.0.1:7019");
	look(fixture);
	snprintf(below, sizeof(below), "%s/below", leaf);
	assert_int_equal(mkdir(below, 0755), 0);
	snprintf(path, sizeof(path), "%s/cgroup.procs", below);
	snprintf(pid, sizeof(pid), "%d", (int)server->pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, pid, strlen(pid)), strlen(pid));
	close(fd);
	tell(server, "+127.0.0.1:7018");
	look(fixture);
	assert_int_equal(fixture->listeners.n, 1);
	check_found(fixture, 0, 0);
	check_strangers(fixture, "127.0.0.1:7019");
	kill(server->pid, SIGKILL);
	assert_int_equal(waitpid(server->pid, NULL, 0), server->pid);
	assert_int_equal(rmdir(below), 0);
}

static void make_leaf(void)
{
	char name[64];
	struct error err;
	uint64_t id;

	snprintf(name, sizeof(name), "test_finder-%d", (int)getpid());
	if (cgroup_base(name, base, &err) == 0 && cgroup_create(base, "leaf", leaf, &id, &err) == 0)
		return;
	print_message("no cgroup: %s\n", err.text);
	leaf[0] = '\0';
}

/* Killed processes leave it when they have been reaped, or a moment later. */
static void remove_leaf(void)
{
	if (!leaf[0])
		return;
	for (int i = 0; i < 500 && cgroup_remove(leaf) < 0; i++)
		poll(NULL, 0, 10);
	(void)rmdir(base);
}

#define TEST(function)        cmocka_unit_test_setup_teardown(function, setup, teardown)
#define TEST_CGROUP(function) cmocka_unit_test_setup_teardown(function, setup_cgroup, teardown)

/* People must learn why it gets no connections, for as long as that is so. */
static void test_finder_names_a_listener_that_cannot_be_steered(void **data)
{
	struct fixture *fixture = *data;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
	struct server *server;

	if (fd < 0)
		skip();
	close(fd);
	declare(fixture, "127.0.0.1:7030");
	server = start_server(fixture);
	tell(server, "+127.0.0.1:7031");
	look(fixture);
	assert_string_equal(trouble(fixture), "");
	tell(server, "*127.0.0.1:7030");
	look(fixture);
	look(fixture);
	assert_string_equal(trouble(fixture),
			    "listens on 127.0.0.1:7030 with MPTCP, which cannot be steered: have "
			    "it listen with TCP");
	tell(server, "-");
	look(fixture);
	assert_string_equal(trouble(fixture), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_finder_finds_what_the_server_binds),
		TEST(test_finder_finds_twins_of_what_is_declared),
		TEST_CGROUP(test_finder_finds_twins_of_what_is_declared),
		TEST(test_finder_finds_several_on_one_port),
		TEST(test_finder_takes_each_once),
		TEST(test_finder_families_of_the_wildcard_are_told_apart),
		TEST(test_finder_follows_a_daemon),
		TEST(test_finder_passed_ones_are_known),
		TEST(test_finder_names_a_listener_that_cannot_be_steered),
		TEST(test_finder_strangers_are_named_once_while_they_listen),
		TEST(test_finder_names_no_more_strangers_than_fit),
		TEST(test_finder_other_peoples_sockets_are_left_alone),
		TEST(test_finder_more_than_an_instance_can_have_are_left_alone),
		TEST_CGROUP(test_finder_more_than_an_instance_can_have_are_left_alone),
		TEST_CGROUP(test_finder_cgroup_says_whose_they_are),
		TEST_CGROUP(test_finder_cgroup_below_is_looked_into),
	};
	const char *reason = netns_enter();
	int failed;

	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	/* The soft limit of the shell is often 1,024. */
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){8192, 8192});
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	make_leaf();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	remove_leaf();
	return failed;
}
