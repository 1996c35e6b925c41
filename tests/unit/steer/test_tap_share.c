/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared ports, and who changes the program of a group. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <linux/filter.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>

#include "orchestrator/steer/tap_load.h"
#include "tests/unit/steer/tap_fixture.h"

#define HERE "127.0.0.1:8080"

static const int one = 1;

/* A socket of another process that shares its port: the daemon's, for instance. */
static int sharing_listener(const char *text)
{
	struct address address = parse(text);
	int fd = socket_in(NULL, &address);

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
	fd = listen_on(fd, &address);
	assert_true(fd >= 0);
	return fd;
}

static bool shares(int fd)
{
	socklen_t length = sizeof(int);
	int on = -1;

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, &length), 0);
	return on == 1;
}

/* ---- sharing -------------------------------------------------------------------------------- */

static void test_tap_server_that_knows_nothing_shares_a_declared_address(void **state)
{
	static const char *const texts[] = {"127.0.0.1:8080", "0.0.0.0:8081", "[::1]:8082",
					    "[::]:8083",      ":8084",        "127.0.0.1:8085"};
	struct tap *tap = open_tap(NULL, "127.0.0.1:8080 0.0.0.0:8081 [::1]:8082 [::]:8083 :8084 "
					 "127.0.0.1:8085");

	(void)state;
	attach(tap, 0, true);
	for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++) {
		int other = sharing_listener(texts[k]), fd = listener_in(leaves[0], texts[k]);

		if (fd < 0)
			fail_msg("%s: %s", texts[k], strerror(-fd));
		assert_true(shares(fd));
		assert_true(tap_forced(tap, cookie_of(fd)));
		assert_false(tap_forced(tap, cookie_of(other)));
		close(fd);
		close(other);
	}
	tap_free(tap);
}

/* In the cgroup, but not declared: as if there were no tap. */
static void expect_untouched(struct tap *tap, const char *text)
{
	struct address address = parse(text);
	int other = sharing_listener(text), fd = socket_in(leaves[0], &address);

	if (bind(fd, &address.sa, address.length) == 0 || errno != EADDRINUSE)
		fail_msg("%s: not in use", text);
	assert_false(shares(fd));
	assert_false(tap_forced(tap, cookie_of(fd)));
	close(fd);
	close(other);
}

static void test_tap_other_addresses_are_not_touched(void **state)
{
	struct tap *tap = open_tap(NULL, "127.0.0.1:8080 [::1]:8082 0.0.0.0:8084 [::]:8085");

	(void)state;
	attach(tap, 0, true);
	expect_untouched(tap, "127.0.0.1:8081"); /* another port */
	expect_untouched(tap, "127.0.0.2:8080"); /* another address */
	expect_untouched(tap, "0.0.0.0:8080");
	expect_untouched(tap, "[::1]:8080"); /* another family */
	expect_untouched(tap, "[::]:8082");
	expect_untouched(tap, "127.0.0.1:8082");
	expect_untouched(tap, ":8084"); /* the dual-stack wildcard for the IPv4 one */
	expect_untouched(tap, "0.0.0.0:8085");
	tap_free(tap);
}

/* What a server binds is known, whether it is refused or not, and whether it is to be shared. */
static void expect_bound(struct tap *tap, const char *text, const char *expected)
{
	struct address address = parse(text);
	int other = sharing_listener(text), fd = socket_in(leaves[0], &address);
	struct tap_bound bound;

	(void)!bind(fd, &address.sa, address.length);
	assert_int_equal(tap_bound(tap, 1, 0, &bound), 0);
	assert_string_equal(bound.address.text, expected);
	assert_int_equal(bound.uid, getuid());
	assert_int_equal(bound.pid, getpid());
	close(fd);
	close(other);
}

static void test_tap_what_was_bound_last_is_known(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	struct address any = {.in = {.sin_family = AF_INET}, .length = sizeof(any.in)};
	struct tap_bound bound;
	int fd;

	(void)state;
	for (int share = 0; share < 2; share++) {
		attach(tap, 0, share);
		assert_int_equal(tap_bound(tap, 1, 0, &bound), -ENOENT);
		/* A port of the kernel's choice is never in use. */
		fd = socket_in(leaves[0], &any);
		assert_int_equal(bind(fd, &any.sa, any.length), 0);
		close(fd);
		assert_int_equal(tap_bound(tap, 1, 0, &bound), -ENOENT);
		expect_bound(tap, HERE, HERE);
		expect_bound(tap, "127.0.0.1:8081", "127.0.0.1:8081");
		expect_bound(tap, "[::1]:8082", "[::1]:8082");
		expect_bound(tap, ":8083", ":8083");
		/* Nobody sees IPV6_V6ONLY. */
		expect_bound(tap, "[::]:8084", ":8084");
	}
	tap_forget(tap, 1, 0);
	assert_int_equal(tap_bound(tap, 1, 0, &bound), -ENOENT);
	tap_free(tap);
}

/* Which of the two a server makes is not known before: it may make either, beside the other. */
static void test_tap_twins_of_declared_addresses_are_shared(void **state)
{
	static const char *const pairs[][2] = {
		{"127.0.0.1:8080", "[::ffff:127.0.0.1]:8080"},
		{"[::ffff:127.0.0.1]:8081", "127.0.0.1:8081"},
		{"0.0.0.0:8082", "[::ffff:0.0.0.0]:8082"},
	};
	struct tap *tap = open_tap(NULL, "127.0.0.1:8080 [::ffff:127.0.0.1]:8081 0.0.0.0:8082");

	(void)state;
	attach(tap, 0, true);
	for (size_t k = 0; k < sizeof(pairs) / sizeof(pairs[0]); k++) {
		for (size_t other = 0; other < 2; other++) {
			int there = sharing_listener(pairs[k][other]);
			int fd = listener_in(leaves[0], pairs[k][!other]);

			if (fd < 0)
				fail_msg("%s: %s", pairs[k][!other], strerror(-fd));
			assert_true(tap_forced(tap, cookie_of(fd)));
			close(fd);
			close(there);
		}
	}
	expect_untouched(tap, "[::ffff:127.0.0.2]:8080");
	expect_untouched(tap, "[::ffff:127.0.0.1]:8083");
	tap_free(tap);
}

/* ---- keeping IPv4 sockets out --------------------------------------------------------------- */

/* In a process of the instance: the errno of bind(2), or 0. */
static int bind_in(const char *cgroup, const char *text, bool share, pid_t *ret_pid)
{
	struct address address = parse(text);
	int status, fd;

	*ret_pid = fork();
	assert_true(*ret_pid >= 0);
	if (*ret_pid == 0) {
		prctl(PR_SET_NAME, "binder");
		fd = socket_in(cgroup, &address);
		if (share)
			setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
		fd = listen_on(fd, &address);
		_exit(fd < 0 ? -fd : 0);
	}
	assert_int_equal(waitpid(*ret_pid, &status, 0), *ret_pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_tap_guard_keeps_ipv4_sockets_out(void **state)
{
	struct tap *tap = open_tap(NULL, "127.0.0.1:8081 127.0.0.1:8080");
	int other = sharing_listener("[::ffff:127.0.0.1]:8080");
	pid_t pid;

	(void)state;
	attach(tap, 0, true);
	tap_guard(tap, 1, true);
	/* Only what is attached from now on. */
	assert_int_equal(bind_in(leaves[0], HERE, true, &pid), 0);
	attach(tap, 0, true);
	assert_int_equal(bind_in(leaves[0], HERE, true, &pid), EPERM);
	wait_for(seen.ipv4 == 1);
	assert_int_equal(seen.generation, 1);
	assert_int_equal(seen.instance, 0);
	assert_int_equal(seen.endpoint, 1);
	assert_int_equal(seen.pid, pid);
	assert_string_equal(seen.comm, "binder");
	/* The right family, another endpoint, another address. */
	assert_int_equal(bind_in(leaves[0], "[::ffff:127.0.0.1]:8080", false, &pid), 0);
	assert_int_equal(bind_in(leaves[0], "127.0.0.1:8081", false, &pid), 0);
	assert_int_equal(bind_in(leaves[0], "127.0.0.2:8080", false, &pid), 0);
	run_loop();
	assert_int_equal(seen.ipv4, 1);
	tap_guard(tap, 1, false);
	attach(tap, 0, true);
	assert_int_equal(bind_in(leaves[0], HERE, true, &pid), 0);
	close(other);
	tap_free(tap);
}

/* In mode "native" a server is refused, too, but it has to share by itself. */
static void test_tap_guard_alone_shares_nothing(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	int other = sharing_listener("[::ffff:127.0.0.1]:8080");
	pid_t pid;

	(void)state;
	tap_guard(tap, 0, true);
	attach(tap, 0, false);
	assert_int_equal(bind_in(leaves[0], HERE, true, &pid), EPERM);
	assert_int_equal(bind_in(leaves[0], "[::ffff:127.0.0.1]:8080", false, &pid), EADDRINUSE);
	assert_int_equal(bind_in(leaves[0], "[::ffff:127.0.0.1]:8080", true, &pid), 0);
	close(other);
	tap_free(tap);
}

/* ---- listening ------------------------------------------------------------------------------ */

static void test_tap_listening_is_told(void **state)
{
	struct tap *tap = open_tap(NULL, "127.0.0.1:8081 127.0.0.1:8080");
	int fds[4];

	(void)state;
	attach(tap, 0, false);
	attach(tap, 1, false);
	fds[0] = listener_in(leaves[1], HERE);
	wait_for(seen.listens == 1);
	assert_int_equal(seen.generation, 1);
	assert_int_equal(seen.instance, 1);
	fds[1] = listener_in(leaves[0], "[::1]:8081");
	wait_for(seen.listens == 2);
	assert_int_equal(seen.instance, 0);
	/* Another port, and nobody's cgroup. */
	fds[2] = listener_in(leaves[0], "127.0.0.1:8082");
	fds[3] = listener_in(NULL, "127.0.0.2:8080");
	/* It listens already: that is only another backlog. */
	assert_int_equal(listen(fds[0], 1), 0);
	run_loop();
	assert_int_equal(seen.listens, 2);
	/* Again. */
	assert_int_equal(shutdown(fds[0], SHUT_RD), 0);
	assert_int_equal(listen(fds[0], 1), 0);
	wait_for(seen.listens == 3);
	for (size_t k = 0; k < 4; k++)
		close(fds[k]);
	tap_free(tap);
}

/* ---- sharing, again ------------------------------------------------------------------------- */

static void test_tap_server_that_shares_by_itself_is_not_forced(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	struct address here = parse(HERE);
	int other = sharing_listener(HERE), fd = socket_in(leaves[0], &here);

	(void)state;
	attach(tap, 0, true);
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	fd = listen_on(fd, &here);
	assert_true(fd >= 0);
	assert_true(shares(fd));
	assert_false(tap_forced(tap, cookie_of(fd)));
	close(fd);
	close(other);
	tap_free(tap);
}

static void test_tap_share_is_only_where_it_was_asked_for(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	int other = sharing_listener(HERE), fd;

	(void)state;
	attach(tap, 0, false);
	attach(tap, 1, true);
	assert_int_equal(listener_in(leaves[0], HERE), -EADDRINUSE);
	fd = listener_in(leaves[1], HERE);
	assert_true(fd >= 0);
	/* Nor anywhere else: the trial took its program away. */
	assert_int_equal(listener_in(NULL, HERE), -EADDRINUSE);
	close(fd);
	close(other);
	tap_free(tap);
}

static void test_tap_datagrams_are_not_touched(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	struct address here = parse(HERE);
	int fd;

	(void)state;
	attach(tap, 0, true);
	enter(leaves[0]);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	enter(home);
	assert_int_equal(bind(fd, &here.sa, here.length), 0);
	assert_false(shares(fd));
	assert_false(tap_forced(tap, cookie_of(fd)));
	close(fd);
	tap_free(tap);
}

/* A server that detaches itself, in a cgroup that it has made below its own. */
static void bind_as_a_grandchild(const char *cgroup)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		enter(cgroup);
		pid = fork();
		if (pid == 0) {
			setsid();
			_exit(listener_in(NULL, HERE) < 0);
		}
		_exit(waitpid(pid, &status, 0) != pid || status != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_tap_what_the_server_starts_is_followed(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	int other = sharing_listener(HERE), fd, client;
	char inner[CGROUP_PATH_MAX];
	uint64_t id;

	(void)state;
	attach(tap, 0, true);
	assert_int_equal(cgroup_create(leaves[0], "worker", inner, &id, &err), 0);
	bind_as_a_grandchild(inner);
	fd = listener_in(inner, HERE);
	assert_true(fd >= 0);
	assert_true(tap_forced(tap, cookie_of(fd)));
	close(other);
	client = client_of(HERE);
	wait_for(count_of(tap, 0).live == 1);
	close(client);
	close(fd);
	tap_free(tap);
}

static void test_tap_try_share_says_that_it_works(void **state)
{
	size_t n = count_fds();
	struct error reason = {""};

	(void)state;
	if (missing)
		skip();
	if (tap_try_share(&reason) < 0)
		fail_msg("%s", reason.text);
	assert_int_equal(count_fds(), n);
}

/* ---- who changes the program ---------------------------------------------------------------- */

/* In a process of the instance with this name: attach a classic program, and detach it again. */
static pid_t change_program(const char *cgroup, const char *name)
{
	struct sock_filter first[] = {{BPF_RET | BPF_K, 0, 0, 0}};
	struct sock_fprog program = {.len = 1, .filter = first};
	struct address address = parse(HERE);
	int status, fd;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		enter(cgroup);
		prctl(PR_SET_NAME, name);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0 ||
		    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
		    listen_on(fd, &address) < 0 ||
		    setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program,
			       sizeof(program)) < 0 ||
		    setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &one, sizeof(one)) < 0)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return pid;
}

static void test_tap_process_that_changes_a_program_is_named(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	pid_t pid;

	(void)state;
	attach(tap, 0, false);
	attach(tap, 1, false);
	pid = change_program(leaves[1], "meddler");
	wait_for(seen.programs == 2);
	assert_int_equal(seen.generation, 1);
	assert_int_equal(seen.instance, 1);
	assert_int_equal(seen.pid, pid);
	assert_string_equal(seen.comm, "meddler");
	pid = change_program(leaves[0], "fifteen-letters-and-more");
	wait_for(seen.programs == 4);
	assert_int_equal(seen.instance, 0);
	assert_int_equal(seen.pid, pid);
	assert_string_equal(seen.comm, "fifteen-letters");
	/* Nobody's, and one that is forgotten. */
	change_program(home, "other");
	tap_forget(tap, 1, 0);
	change_program(leaves[0], "other");
	run_loop();
	assert_int_equal(seen.programs, 4);
	tap_free(tap);
}

/* More than are taken out of the ring at one time, and more than fit into it. */
static void test_tap_flood_of_events_is_survived(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	struct address here = parse(HERE);
	int fd = socket_in(leaves[0], &here);

	(void)state;
	attach(tap, 0, false);
	for (int n = 0; n < 100; n++)
		setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &one, sizeof(one));
	wait_for(seen.programs == 100);
	for (int n = 0; n < 1000; n++)
		setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &one, sizeof(one));
	run_loop();
	assert_in_range(seen.programs, 100 + TAP_EVENTS_SIZE / 40 - 2, 100 + 999);
	seen.programs = 0;
	setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &one, sizeof(one));
	wait_for(seen.programs == 1);
	close(fd);
	tap_free(tap);
}

static void test_tap_options_of_any_length_get_through(void **state)
{
	static const char congestion[] = "reno";
	struct tap *tap = open_tap(NULL, HERE);
	struct address here = parse(HERE);
	struct {
		int value;
		char rest[64 * 1024];
	} large = {.value = 70000};
	socklen_t length = sizeof(int);
	char name[16] = "";
	int fd = socket_in(leaves[0], &here), value = 0;

	(void)state;
	attach(tap, 0, false);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large)), 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, &length), 0);
	assert_int_equal(value, 140000);
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, 4), 0);
	length = sizeof(name);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length), 0);
	assert_string_equal(name, congestion);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, 1), -1);
	assert_int_equal(errno, EINVAL);
	run_loop();
	assert_int_equal(seen.programs, 0);
	close(fd);
	tap_free(tap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_tap_##name, setup, teardown)
		TEST(server_that_knows_nothing_shares_a_declared_address),
		TEST(other_addresses_are_not_touched),
		TEST(twins_of_declared_addresses_are_shared),
		TEST(guard_keeps_ipv4_sockets_out),
		TEST(guard_alone_shares_nothing),
		TEST(listening_is_told),
		TEST(what_was_bound_last_is_known),
		TEST(server_that_shares_by_itself_is_not_forced),
		TEST(share_is_only_where_it_was_asked_for),
		TEST(datagrams_are_not_touched),
		TEST(what_the_server_starts_is_followed),
		TEST(try_share_says_that_it_works),
		TEST(process_that_changes_a_program_is_named),
		TEST(flood_of_events_is_survived),
		TEST(options_of_any_length_get_through),
	};

	return cmocka_run_group_tests_name("tap_share", tests, fixture_open, fixture_close);
}
