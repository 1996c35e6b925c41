/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <sys/resource.h>

#include "tests/unit/agent/relay_fixture.h"

/* A file without a name. */
static int open_file(void)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static int open_full(void)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* @size: with its NUL. */
static size_t file_text(int fd, char *ret, size_t size)
{
	ssize_t n = pread(fd, ret, size - 1, 0);

	assert_true(n >= 0);
	ret[n] = '\0';
	return (size_t)n;
}

static void check_file(int fd, const char *expected)
{
	char got[256];

	file_text(fd, got, sizeof(got));
	assert_string_equal(got, expected);
}

static void redirect(struct fixture *fixture, enum relay_stream which, int fd)
{
	struct error err;

	if (relay_redirect(fixture->relay, which, fd, &err) < 0)
		fail_msg("%s", err.text);
}

static void test_relay_redirect_divides_before_and_after(void **data)
{
	struct fixture *fixture = *data;
	int first = open_file(), second = open_file();

	redirect(fixture, RELAY_STDERR, first);
	write_text(relay_stderr_fd(fixture->relay), "one\n");
	write_text(relay_stdout_fd(fixture->relay), "out\n");
	turn(fixture);
	redirect(fixture, RELAY_STDERR, second);
	write_text(relay_stderr_fd(fixture->relay), "two\n");
	turn(fixture);
	check_file(first, "one\n");
	check_file(second, "two\n");
	check_arrived(fixture->out[0], "out\n");
	check_arrived(fixture->err[0], "");
	check_tail(fixture, "one\ntwo");
	close(first);
	close(second);
}

/* A pipe that nobody reads has taken what it has room for, and not the rest. */
static void test_relay_redirect_takes_what_waits_along(void **data)
{
	enum { LINE = 4096, LINES = 28 };
	struct fixture *fixture = *data;
	char line[LINE], *got = malloc(2 * LINE * LINES);
	int file = open_file();
	size_t n;

	assert_non_null(got);
	for (int i = 0; i < LINES; i++) {
		memset(line, 'A' + i % 26, sizeof(line));
		assert_int_equal(write(relay_stdout_fd(fixture->relay), line, LINE), LINE);
		turn(fixture);
	}
	redirect(fixture, RELAY_STDOUT, file);
	n = read_text(fixture->out[0], got, 2 * LINE * LINES);
	assert_true(n < LINE * LINES);
	n += file_text(file, got + n, 2 * LINE * LINES - n);
	assert_int_equal(n, LINE * LINES);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(got[i], 'A' + i / LINE % 26);
	free(got);
	close(file);
}

static void test_relay_redirect_to_nothing_keeps_the_old(void **data)
{
	struct fixture *fixture = *data;
	struct error err;
	int closed = open_file();

	close(closed);
	assert_int_equal(relay_redirect(fixture->relay, RELAY_STDERR, closed, &err), -EBADF);
	assert_string_equal(err.text, "relay stderr: Bad file descriptor");
	write_text(relay_stderr_fd(fixture->relay), "still here\n");
	turn(fixture);
	check_arrived(fixture->err[0], "still here\n");
}

/* ---- trouble -------------------------------------------------------------------------------- */

struct heard {
	struct relay *relay;
	unsigned n_errors, n_ends;
	int error;
	enum relay_stream which;
	int replacement; /* -1: none */
};

static void on_stuck(enum relay_stream which, int error, void *userdata)
{
	struct heard *heard = userdata;

	heard->which = which;
	heard->error = error;
	if (error)
		heard->n_errors++;
	else
		heard->n_ends++;
	if (error && heard->replacement >= 0)
		assert_int_equal(relay_redirect(heard->relay, which, heard->replacement, NULL), 0);
}

static void test_relay_full_disk_is_told_and_waited_for(void **data)
{
	struct fixture *fixture = *data;
	struct heard heard = {.relay = fixture->relay, .replacement = -1};
	int full = open_full(), file = open_file();

	relay_watch_stuck(fixture->relay, on_stuck, &heard);
	redirect(fixture, RELAY_STDERR, full);
	write_text(relay_stderr_fd(fixture->relay), "one\n");
	AWAIT(heard.n_errors == 2);
	assert_int_equal(heard.error, ENOSPC);
	assert_int_equal(heard.which, RELAY_STDERR);
	assert_int_equal(heard.n_ends, 0);
	write_text(relay_stderr_fd(fixture->relay), "two\n");
	heard.replacement = file;
	AWAIT(heard.n_ends == 1);
	check_file(file, "one\ntwo\n");
	/* All is well: nothing more is heard, and the loop has nothing to do. */
	heard.n_errors = 0;
	write_text(relay_stderr_fd(fixture->relay), "three\n");
	turn(fixture);
	assert_int_equal(sd_event_run(fixture->event, 2 * RELAY_RETRY_MS * 1000), 0);
	check_file(file, "one\ntwo\nthree\n");
	assert_int_equal(heard.n_errors, 0);
	assert_int_equal(heard.n_ends, 1);
	close(full);
	close(file);
}

/* Nothing has to be written for that. */
static void test_relay_file_that_may_grow_again_gets_what_waits(void **data)
{
	struct fixture *fixture = *data;
	struct rlimit old, limit;
	char got[64] = "";
	int file = open_file();

	signal(SIGXFSZ, SIG_IGN);
	redirect(fixture, RELAY_STDOUT, file);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 6;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	write_text(relay_stdout_fd(fixture->relay), "0123456789\n");
	turn(fixture);
	/* As much as there was room for; also this is not written twice. */
	check_file(file, "012345");
	write_text(relay_stdout_fd(fixture->relay), "more\n");
	turn(fixture);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	AWAIT(file_text(file, got, sizeof(got)) == 16);
	assert_string_equal(got, "0123456789\nmore\n");
	close(file);
}

static void test_relay_full_disk_loses_what_does_not_fit_and_says_so(void **data)
{
	enum { LINE = 1024, TOTAL = 4 * RELAY_PENDING_MAX };
	struct fixture *fixture = *data;
	char line[LINE + 1], *got = malloc(TOTAL);
	int full = open_full(), file = open_file();
	size_t n, dropped = 0;
	const char *mark;

	assert_non_null(got);
	redirect(fixture, RELAY_STDERR, full);
	for (int i = 0; i < TOTAL / LINE; i++) {
		snprintf(line, sizeof(line), "%*d\n", LINE - 1, i);
		write_text(relay_stderr_fd(fixture->relay), line);
		turn(fixture);
	}
	redirect(fixture, RELAY_STDERR, file);
	/* The mark as well, though nothing is written after it. */
	n = file_text(file, got, TOTAL);
	mark = strstr(got, "\n[baton: ");
	assert_non_null(mark);
	assert_int_equal(mark - got, RELAY_PENDING_MAX);
	assert_int_equal(sscanf(mark, "\n[baton: %zu bytes", &dropped), 1);
	assert_int_equal(dropped, TOTAL - RELAY_PENDING_MAX);
	assert_true(n < RELAY_PENDING_MAX + 100);
	free(got);
	close(full);
	close(file);
}

static void test_relay_own_sink_on_a_full_disk_is_waited_for(void **data)
{
	struct fixture *fixture = *data;
	struct relay *relay = NULL;
	struct error err;
	int full = open_full(), file = open_file();

	assert_int_equal(relay_new(fixture->event, full, full, (uid_t)-1, &relay, &err), 0);
	write_text(relay_stdout_fd(relay), "waits\n");
	turn(fixture);
	assert_int_equal(relay_redirect(relay, RELAY_STDOUT, file, &err), 0);
	check_file(file, "waits\n");
	relay_free(relay);
	close(full);
	close(file);
}

/* What was redirected to may be had again (a journal); the agent's own never is. */
static void test_relay_broken_sink_is_waited_for_where_redirected(void **data)
{
	struct fixture *fixture = *data;
	int fds[2], file = open_file();

	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	close(fds[0]);
	close(fixture->out[0]);
	fixture->out[0] = -1;
	redirect(fixture, RELAY_STDERR, fds[1]);
	write_text(relay_stderr_fd(fixture->relay), "kept\n");
	write_text(relay_stdout_fd(fixture->relay), "dropped\n");
	turn(fixture);
	redirect(fixture, RELAY_STDERR, file);
	redirect(fixture, RELAY_STDOUT, file);
	check_file(file, "kept\n");
	close(fds[1]);
	close(file);
}

static void test_relay_flush_of_a_full_disk_ends(void **data)
{
	struct fixture *fixture = *data;
	int full = open_full();

	redirect(fixture, RELAY_STDERR, full);
	write_text(relay_stderr_fd(fixture->relay), "waits\n");
	relay_drain(fixture->relay);
	relay_flush(fixture->relay, 50);
	close(full);
	full = open_file();
	redirect(fixture, RELAY_STDERR, full);
	relay_flush(fixture->relay, 50);
	check_file(full, "waits\n");
	close(full);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_relay_redirect_divides_before_and_after),
		TEST(test_relay_redirect_takes_what_waits_along),
		TEST(test_relay_redirect_to_nothing_keeps_the_old),
		TEST(test_relay_full_disk_is_told_and_waited_for),
		TEST(test_relay_file_that_may_grow_again_gets_what_waits),
		TEST(test_relay_full_disk_loses_what_does_not_fit_and_says_so),
		TEST(test_relay_own_sink_on_a_full_disk_is_waited_for),
		TEST(test_relay_broken_sink_is_waited_for_where_redirected),
		TEST(test_relay_flush_of_a_full_disk_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
