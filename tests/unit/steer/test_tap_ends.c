/* SPDX-License-Identifier: BSD-2-Clause */
/* Who ends a connection, and whose connections are health checks. See also test_tap.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "orchestrator/steer/kernel_offsets.h"
#include "tests/unit/steer/tap_fixture.h"

#define HERE  "127.0.0.1:8080"
#define HERE6 "[::1]:8080"

#define assert_ends(tap, k, by_client_, by_server_, cut_, at_exit_)                                \
	do {                                                                                       \
		struct tap_count now_ = count_of(tap, k);                                          \
		assert_int_equal(now_.by_client, by_client_);                                      \
		assert_int_equal(now_.by_server, by_server_);                                      \
		assert_int_equal(now_.cut, cut_);                                                  \
		assert_int_equal(now_.at_exit, at_exit_);                                          \
	} while (0)

/* ---- one connection, and what has been said on it -------------------------------------------- */

static struct tap *tap;
static int listener, client, server;

static void begin(const char *text)
{
	tap = open_tap(NULL, text);
	attach(tap, 0, false);
	listener = listener_in(leaves[0], text);
	client = client_of(text);
	server = accept_from(listener);
}

static void finish(void)
{
	wait_for(count_of(tap, 0).live == 0);
	close(listener);
	tap_free(tap);
}

static void say(int from, int to)
{
	char byte;

	assert_int_equal(write(from, "x", 1), 1);
	assert_int_equal(read(to, &byte, 1), 1);
}

/* Bytes that the peer has not acknowledged. */
static int unacked(int fd)
{
	int bytes;

	assert_int_equal(ioctl(fd, SIOCOUTQ, &bytes), 0);
	return bytes;
}

/* Until the kernel's clock has ticked: it tells what came first. */
static void tick(void)
{
	uint64_t began_ms = clock_monotonic_ms();

	while (clock_monotonic_ms() - began_ms < 12)
		;
}

/* A process of instance 0 takes over the server's end, and is killed with it open. */
static void kill_server(void)
{
	pid_t pid;
	int pair[2];
	char byte;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(listener);
		assert_int_equal(write(pair[1], "", 1), 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(pair[0], &byte, 1), 1);
	close(pair[0]);
	close(pair[1]);
	close(server);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* ---- who ends it ---------------------------------------------------------------------------- */

static void test_tap_ends_client_that_closes_first_has_finished(void **state)
{
	(void)state;
	begin(HERE);
	say(client, server);
	say(server, client);
	close(client);
	wait_for(count_of(tap, 0).by_client == 1);
	close(server);
	finish();
}

static void test_tap_ends_server_that_has_answered_has_closed(void **state)
{
	static const char *const texts[] = {HERE, HERE6};

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		begin(texts[k]);
		say(client, server);
		tick();
		say(server, client);
		close(server);
		assert_ends(tap, 0, 0, 1, 0, 0);
		close(client);
		finish();
	}
}

static void test_tap_ends_server_that_was_never_asked_has_closed(void **state)
{
	(void)state;
	begin(HERE);
	close(server);
	assert_ends(tap, 0, 0, 1, 0, 0);
	close(client);
	finish();
}

static void test_tap_ends_server_that_has_not_answered_has_cut(void **state)
{
	(void)state;
	begin(HERE);
	say(client, server);
	close(server);
	assert_ends(tap, 0, 0, 0, 1, 0);
	close(client);
	finish();
	/* Nor the second time. */
	begin(HERE);
	say(client, server);
	say(server, client);
	tick();
	say(client, server);
	tick();
	close(server);
	assert_ends(tap, 0, 0, 0, 1, 0);
	close(client);
	finish();
}

/* The kernel's clock does not tell what came first. */
static void test_tap_ends_question_at_the_heels_of_an_answer_is_cut(void **state)
{
	(void)state;
	for (size_t k = 0; k < 5; k++) {
		begin(k % 2 ? HERE : HERE6);
		say(client, server);
		say(server, client);
		say(client, server);
		kill_server();
		assert_ends(tap, 0, 0, 0, 1, 0);
		close(client);
		finish();
	}
}

static void test_tap_ends_answer_at_the_heels_of_a_question_is_no_cut(void **state)
{
	(void)state;
	for (size_t k = 0; k < 6; k++) {
		begin(k % 2 ? HERE : HERE6);
		for (size_t n = 0; n < 3; n++) {
			say(client, server);
			say(server, client);
		}
		/* Is the last answer acknowledged? */
		if (k >= 3)
			wait_for(unacked(server) == 0);
		kill_server();
		assert_ends(tap, 0, 0, 0, 0, 1);
		close(client);
		finish();
	}
}

/* A large answer, of which the kernel has no room for more. */
static void begin_answer(void)
{
	static const char text[1 << 16];

	begin(HERE);
	say(client, server);
	tick();
	while (send(server, text, sizeof(text), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(errno, EAGAIN);
}

static void test_tap_ends_death_amid_an_answer_has_cut(void **state)
{
	(void)state;
	begin_answer();
	kill_server();
	assert_ends(tap, 0, 0, 0, 1, 0);
	close(client);
	finish();
	/* Also where the client has said all that it will. */
	begin_answer();
	assert_int_equal(shutdown(client, SHUT_WR), 0);
	wait_for(count_of(tap, 0).by_client == 1);
	kill_server();
	assert_ends(tap, 0, 0, 0, 1, 0);
	close(client);
	finish();
}

/* It may have given the kernel all of it: that is not known. */
static void test_tap_ends_server_that_closes_amid_an_answer_is_believed(void **state)
{
	(void)state;
	begin_answer();
	close(server);
	assert_ends(tap, 0, 0, 1, 0, 0);
	close(client);
	finish();
}

/* close(2) then sends a reset. */
static void test_tap_ends_server_that_leaves_a_request_unread_has_cut(void **state)
{
	(void)state;
	begin(HERE);
	assert_int_equal(write(client, "x", 1), 1);
	close(server);
	assert_ends(tap, 0, 0, 0, 1, 0);
	assert_int_equal(count_of(tap, 0).reset, 1);
	close(client);
	finish();
}

/* It closes an idle connection, and a request has come at that very moment: RFC 9112, 9.3.1. */
static void test_tap_ends_request_that_meets_a_close_is_not_cut(void **state)
{
	(void)state;
	begin(HERE);
	say(client, server);
	say(server, client);
	tick();
	assert_int_equal(write(client, "x", 1), 1);
	close(server);
	assert_ends(tap, 0, 0, 0, 0, 0);
	assert_int_equal(count_of(tap, 0).reset, 1);
	close(client);
	finish();
}

/* A server that closes with a lingering: shutdown(2), then it reads what comes. */
static void test_tap_ends_request_that_meets_a_shutdown_is_not_cut(void **state)
{
	(void)state;
	begin(HERE);
	say(client, server);
	say(server, client);
	tick();
	assert_int_equal(write(client, "x", 1), 1);
	tick();
	assert_int_equal(shutdown(server, SHUT_WR), 0);
	assert_ends(tap, 0, 0, 1, 0, 0);
	close(client);
	close(server);
	finish();
}

/* The server has read it, and does not know yet that the connection is not idle any more. */
static void test_tap_ends_request_that_is_just_read_meets_a_close(void **state)
{
	struct tap_count count;
	uint64_t began_ms, took_ms = 1;

	(void)state;
	/* Not if this process was kept waiting meanwhile. */
	for (size_t k = 0; took_ms > 0; k++) {
		assert_true(k < 1000);
		begin(HERE);
		say(client, server);
		say(server, client);
		tick();
		began_ms = clock_monotonic_ms();
		say(client, server);
		close(server);
		took_ms = clock_monotonic_ms() - began_ms;
		count = count_of(tap, 0);
		close(client);
		finish();
	}
	assert_int_equal(count.by_server, 1);
	assert_int_equal(count.cut, 0);
}

static void test_tap_ends_reset_by_the_client_is_nobodys(void **state)
{
	(void)state;
	begin(HERE);
	say(client, server);
	abort_fd(client);
	wait_for(count_of(tap, 0).live == 0);
	assert_ends(tap, 0, 0, 0, 0, 0);
	assert_int_equal(count_of(tap, 0).reset, 1);
	close(server);
	finish();
}

static void test_tap_ends_what_a_process_leaves_open_is_told_apart(void **state)
{
	(void)state;
	begin(HERE);
	say(client, server);
	tick();
	say(server, client);
	kill_server();
	assert_ends(tap, 0, 0, 0, 0, 1);
	close(client);
	finish();
	begin(HERE);
	say(client, server);
	kill_server();
	assert_ends(tap, 0, 0, 0, 1, 0);
	close(client);
	finish();
}

/* A client that waits for its answer with its own side shut down. */
static void test_tap_ends_half_closed_client_is_cut_by_a_death_only(void **state)
{
	(void)state;
	begin(HERE);
	say(client, server);
	assert_int_equal(shutdown(client, SHUT_WR), 0);
	wait_for(count_of(tap, 0).by_client == 1);
	kill_server();
	assert_ends(tap, 0, 0, 0, 1, 0);
	close(client);
	finish();
	begin(HERE);
	say(client, server);
	assert_int_equal(shutdown(client, SHUT_WR), 0);
	wait_for(count_of(tap, 0).by_client == 1);
	close(server);
	assert_ends(tap, 0, 1, 0, 0, 0);
	close(client);
	finish();
}

static void test_tap_ends_kernel_says_where_it_keeps_them(void **state)
{
	struct tap_offsets first, second;

	(void)state;
	if (missing)
		skip();
	kernel_offsets(&first);
	kernel_offsets(&second);
	assert_memory_equal(&first, &second, sizeof(first));
	assert_int_equal(first.known, 1);
	assert_int_equal(tap_tells_ends(tap = open_tap(NULL, HERE)), true);
	assert_true(first.received != first.sent);
	tap_free(tap);
}

/* ---- health checks -------------------------------------------------------------------------- */

/* A client that is a check: its source is known before it connects. */
static int check_of(const char *text)
{
	struct address address = parse(text), source;
	socklen_t length = sizeof(source.in6);
	int fd = socket(address.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	source = address;
	if (source.sa.sa_family == AF_INET)
		source.in.sin_port = 0;
	else
		source.in6.sin6_port = 0;
	assert_int_equal(bind(fd, &source.sa, source.length), 0);
	assert_int_equal(getsockname(fd, &source.sa, &length), 0);
	tap_probe(tap, &source.sa);
	assert_int_equal(connect(fd, &address.sa, address.length), 0);
	tap_unprobe(tap, &source.sa);
	return fd;
}

static void test_tap_ends_checks_are_not_counted(void **state)
{
	static const char *const texts[] = {HERE, HERE6};

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		int check;

		begin(texts[k]);
		check = check_of(texts[k]);
		close(accept_from(listener));
		close(check);
		check = check_of(texts[k]);
		abort_fd(check);
		close(accept_from(listener));
		assert_count(tap, 0, 1, 1, 0, 0);
		assert_ends(tap, 0, 0, 0, 0, 0);
		close(client);
		close(server);
		finish();
	}
}

/* A client from the same address, and from the port of a check that is over. */
static void test_tap_ends_client_beside_checks_is_counted(void **state)
{
	int check;

	(void)state;
	begin(HERE);
	check = check_of(HERE);
	assert_count(tap, 0, 1, 1, 0, 0);
	close(client_of(HERE));
	wait_for(count_of(tap, 0).accepted == 2);
	close(check);
	close(client);
	close(server);
	for (int k = 0; k < 2; k++)
		close(accept_from(listener));
	finish();
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_tap_ends_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(client_that_closes_first_has_finished),
		TEST(server_that_has_answered_has_closed),
		TEST(server_that_was_never_asked_has_closed),
		TEST(server_that_has_not_answered_has_cut),
		TEST(server_that_leaves_a_request_unread_has_cut),
		TEST(request_that_meets_a_close_is_not_cut),
		TEST(request_that_meets_a_shutdown_is_not_cut),
		TEST(request_that_is_just_read_meets_a_close),
		TEST(question_at_the_heels_of_an_answer_is_cut),
		TEST(answer_at_the_heels_of_a_question_is_no_cut),
		TEST(death_amid_an_answer_has_cut),
		TEST(server_that_closes_amid_an_answer_is_believed),
		TEST(reset_by_the_client_is_nobodys),
		TEST(what_a_process_leaves_open_is_told_apart),
		TEST(half_closed_client_is_cut_by_a_death_only),
		TEST(kernel_says_where_it_keeps_them),
		TEST(checks_are_not_counted),
		TEST(client_beside_checks_is_counted),
	};

	return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
