/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libbaton's request to leave: signals, threads, fork.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "tests/unit/agent/libbaton_fixture.h"

/* In a child: end here, with the line's number, unless @condition holds. */
#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                    \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static void test_libbaton_leave_is_readable_once_asked_and_stays_so(void **data)
{
	struct baton *baton = open_on("127.0.0.1:8080");
	int fd = baton_leave_fd(baton);

	(void)data;
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(is_readable(fd), 0);
	assert_int_equal(baton_asked(baton), 0);
	errno = ELOOP;
	raise(SIGTERM);
	assert_int_equal(errno, ELOOP);
	assert_int_equal(is_readable(fd), 1);
	assert_int_equal(baton_asked(baton), 1);
	/* That is all: the server decides. */
	assert_int_equal(connect_to("127.0.0.1", 8080), 0);
	raise(SIGTERM);
	assert_int_equal(is_readable(fd), 1);
	assert_int_equal(baton_asked(baton), 2);
	baton_close(baton);
}

static void test_libbaton_leave_signal_is_chosen_by_program_or_environment(void **data)
{
	static const struct {
		int option;
		const char *variable;
		int signal;
	} cases[] = {
		{0, NULL, SIGTERM},           {0, "", SIGTERM},
		{0, "SIGQUIT", SIGQUIT},      {0, "quit", SIGQUIT},
		{0, "SIGUSR2", SIGUSR2},      {0, "WINCH", SIGWINCH},
		{0, "10", SIGUSR1},           {0, "40", 40},
		{SIGUSR1, NULL, SIGUSR1},     {SIGHUP, "SIGQUIT", SIGHUP},
		{SIGHUP, "nonsense", SIGHUP},
	};

	(void)data;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct baton *baton;

		if (cases[i].variable)
			setenv("BATON_DRAIN_SIGNAL", cases[i].variable, 1);
		else
			unsetenv("BATON_DRAIN_SIGNAL");
		assert_int_equal(baton_open(OPTIONS(.signal = cases[i].option), &baton), 0);
		raise(cases[i].signal);
		assert_int_equal(baton_asked(baton), 1);
		baton_close(baton);
	}
}

static void test_libbaton_leave_signal_that_is_none_is_refused(void **data)
{
	static const char *const values[] = {"KILL",  "SIGKILL", "9",   "19", "0",
					     "TERMX", "SIG",     "100", "-1", " TERM"};
	struct baton *baton = NULL;
	char why[256], expected[64];

	(void)data;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		setenv("BATON_DRAIN_SIGNAL", values[i], 1);
		assert_int_equal(
			baton_open(OPTIONS(.error = why, .error_size = sizeof(why)), &baton),
			-EINVAL);
		snprintf(expected, sizeof(expected),
			 "BATON_DRAIN_SIGNAL=%s: not a signal that can be caught", values[i]);
		assert_string_equal(why, expected);
	}
}

static struct baton *asked_by_handler;

static void on_own_signal(int signal)
{
	(void)signal;
	if (asked_by_handler)
		baton_ask(asked_by_handler);
}

static void test_libbaton_leave_without_a_signal_is_asked_by_call(void **data)
{
	struct sigaction action = {.sa_handler = on_own_signal}, before, now;
	struct baton *baton;

	(void)data;
	assert_int_equal(sigaction(SIGTERM, NULL, &before), 0);
	assert_int_equal(baton_open(OPTIONS(.signal = BATON_SIGNAL_NONE), &baton), 0);
	assert_int_equal(sigaction(SIGTERM, NULL, &now), 0);
	assert_true(now.sa_handler == before.sa_handler);
	assert_int_equal(is_readable(baton_leave_fd(baton)), 0);

	asked_by_handler = baton;
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	raise(SIGUSR1);
	assert_int_equal(is_readable(baton_leave_fd(baton)), 1);
	assert_int_equal(baton_ask(baton), 0);
	assert_int_equal(baton_asked(baton), 2);
	assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
	asked_by_handler = NULL;
	baton_close(baton);
}

static void test_libbaton_close_puts_the_signal_back(void **data)
{
	struct sigaction own = {.sa_handler = on_own_signal}, before, now;
	struct baton *baton;

	(void)data;
	assert_int_equal(sigaction(SIGTERM, &own, &before), 0);
	baton = open_on("127.0.0.1:8080");
	baton_close(baton);
	assert_int_equal(sigaction(SIGTERM, &before, &now), 0);
	assert_true(now.sa_handler == on_own_signal);

	/* But not what somebody has installed since. */
	baton = open_on("127.0.0.1:8080");
	assert_int_equal(sigaction(SIGTERM, &own, NULL), 0);
	baton_close(baton);
	assert_int_equal(sigaction(SIGTERM, &before, &now), 0);
	assert_true(now.sa_handler == on_own_signal);
}

static void *wait_for_leave(void *argument)
{
	struct pollfd poller = {.fd = *(int *)argument, .events = POLLIN};
	int r;

	do
		r = poll(&poller, 1, 10000);
	while (r < 0 && errno == EINTR);
	return r == 1 ? argument : NULL;
}

static void test_libbaton_leave_wakes_every_thread(void **data)
{
	struct baton *baton = open_on("127.0.0.1:8080");
	int fd = baton_leave_fd(baton);
	pthread_t threads[4];
	void *seen;

	(void)data;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, wait_for_leave, &fd), 0);
	assert_int_equal(kill(getpid(), SIGTERM), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], &seen), 0);
		assert_ptr_equal(seen, &fd);
	}
	assert_int_equal(baton_asked(baton), 1);
	baton_close(baton);
}

static void *send_signals(void *argument)
{
	const atomic_bool *end = argument;

	while (!atomic_load(end))
		kill(getpid(), SIGUSR1);
	return NULL;
}

/*
 * Whoever gets the number of the closed descriptor must not find a signal in it. The signals go to
 * the other threads, so that the handler runs while this one closes.
 */
static void test_libbaton_close_under_signals_writes_to_nobody(void **data)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
	struct baton *baton;
	atomic_bool end = false;
	pthread_t threads[3];
	sigset_t set;
	uint64_t count;
	int asked = 0;

	(void)data;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	assert_int_equal(sigaction(SIGUSR1, &ignore, &before), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, send_signals, &end), 0);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	for (int i = 0; i < 500; i++) {
		int fd, leave;

		assert_int_equal(baton_open(OPTIONS(.signal = SIGUSR1), &baton), 0);
		leave = baton_leave_fd(baton);
		for (int k = 0; k < 20 && baton_asked(baton) == 0; k++)
			sched_yield();
		asked += baton_asked(baton) > 0;
		baton_close(baton);
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_int_equal(fd, leave);
		sched_yield();
		assert_int_equal(read(fd, &count, sizeof(count)), -1);
		close(fd);
	}
	atomic_store(&end, true);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
	assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
	assert_true(asked > 0); /* else nothing was tried */
}

/* ---- fork ----------------------------------------------------------------------------------- */

static void test_libbaton_signal_to_a_child_is_not_for_the_parent(void **data)
{
	struct baton *baton = open_on("127.0.0.1:8080");
	pid_t child = fork();
	int status;

	(void)data;
	if (child == 0) {
		raise(SIGTERM);
		_exit(0); /* not reached: it ends the child, as it did before */
	}
	status = await(child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGTERM);
	assert_int_equal(baton_asked(baton), 0);
	assert_int_equal(is_readable(baton_leave_fd(baton)), 0);
	raise(SIGTERM);
	assert_int_equal(baton_asked(baton), 1);
	baton_close(baton);
}

static void test_libbaton_handle_is_of_no_use_in_a_child(void **data)
{
	struct baton *baton = open_on("127.0.0.1:8080");
	pid_t child = fork();

	(void)data;
	if (child == 0) {
		REQUIRE(baton_socket_count(baton) == -ECHILD);
		REQUIRE(baton_socket(baton, 0) == -ECHILD);
		REQUIRE(baton_socket_name(baton, 0) == NULL);
		REQUIRE(baton_inherited(baton) == -ECHILD);
		REQUIRE(baton_stop_listening(baton) == -ECHILD);
		REQUIRE(baton_ready(baton) == -ECHILD);
		REQUIRE(baton_status(baton, "x") == -ECHILD);
		REQUIRE(baton_left(baton, 0) == -ECHILD);
		REQUIRE(baton_done(baton) == -ECHILD);
		REQUIRE(baton_leave_fd(baton) == -ECHILD);
		REQUIRE(baton_asked(baton) == -ECHILD);
		REQUIRE(baton_ask(baton) == -ECHILD);
		baton_close(baton);
		_exit(0);
	}
	assert_int_equal(await(child), 0);
	assert_int_equal(connect_to("127.0.0.1", 8080), 0);
	assert_int_equal(is_readable(baton_leave_fd(baton)), 0);
	raise(SIGTERM);
	assert_int_equal(baton_asked(baton), 1);
	baton_close(baton);
}

static void test_libbaton_child_can_have_a_handle_of_its_own(void **data)
{
	struct baton *baton = open_on("127.0.0.1:8080"), *own;
	pid_t child;
	int status;

	(void)data;
	raise(SIGTERM);
	child = fork();
	if (child == 0) {
		REQUIRE(baton_open(OPTIONS(.listen = LISTEN("127.0.0.1:8081")), &own) == 0);
		REQUIRE(baton_asked(own) == 0);
		baton_close(baton);
		raise(SIGTERM);
		REQUIRE(baton_asked(own) == 1);
		REQUIRE(is_readable(baton_leave_fd(own)) == 1);
		baton_close(own);
		raise(SIGTERM); /* and now it ends the process again */
		_exit(0);
	}
	status = await(child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGTERM);
	assert_int_equal(baton_asked(baton), 1);
	baton_close(baton);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_libbaton_leave_is_readable_once_asked_and_stays_so),
		TEST(test_libbaton_leave_signal_is_chosen_by_program_or_environment),
		TEST(test_libbaton_leave_signal_that_is_none_is_refused),
		TEST(test_libbaton_leave_without_a_signal_is_asked_by_call),
		TEST(test_libbaton_close_puts_the_signal_back),
		TEST(test_libbaton_leave_wakes_every_thread),
		TEST(test_libbaton_close_under_signals_writes_to_nobody),
		TEST(test_libbaton_signal_to_a_child_is_not_for_the_parent),
		TEST(test_libbaton_handle_is_of_no_use_in_a_child),
		TEST(test_libbaton_child_can_have_a_handle_of_its_own),
	};
	const char *reason;

	reason = netns_enter();
	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
