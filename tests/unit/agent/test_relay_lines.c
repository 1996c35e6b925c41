/* SPDX-License-Identifier: BSD-2-Clause */
/* Regular files: whole lines, in one write each time. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/agent/relay_fixture.h"

/* A file without a name. */
static int open_file(void)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void check_file(int fd, const char *expected)
{
	char got[256];
	ssize_t n = pread(fd, got, sizeof(got) - 1, 0);

	assert_true(n >= 0);
	got[n] = '\0';
	assert_string_equal(got, expected);
}

static size_t file_size(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (size_t)st.st_size;
}

static void redirect(struct fixture *fixture, int fd)
{
	struct error err;

	if (relay_redirect(fixture->relay, RELAY_STDOUT, fd, &err) < 0)
		fail_msg("%s", err.text);
}

static void say(struct fixture *fixture, const char *text)
{
	write_text(relay_stdout_fd(fixture->relay), text);
	turn(fixture);
}

/* @n times @c: in pieces that the pipe has room for. */
static void say_many(struct fixture *fixture, char c, size_t n)
{
	char piece[4096];

	memset(piece, c, sizeof(piece));
	while (n > 0) {
		size_t part = n < sizeof(piece) ? n : sizeof(piece);

		assert_int_equal(write(relay_stdout_fd(fixture->relay), piece, part), part);
		turn(fixture);
		n -= part;
	}
}

/* ---- lines ---------------------------------------------------------------------------------- */

static void test_relay_file_gets_a_line_once_it_is_whole(void **data)
{
	struct fixture *fixture = *data;
	int file = open_file();

	redirect(fixture, file);
	say(fixture, "one\ntw");
	check_file(file, "one\n");
	say(fixture, "o");
	check_file(file, "one\n");
	say(fixture, "\n");
	check_file(file, "one\ntwo\n");
	say(fixture, "\nthree\nfour\nfive");
	check_file(file, "one\ntwo\n\nthree\nfour\n");
	say(fixture, "\n");
	check_file(file, "one\ntwo\n\nthree\nfour\nfive\n");
	close(file);
}

/* Nothing is appended to them by others. */
static void test_relay_pipe_gets_all_at_once(void **data)
{
	struct fixture *fixture = *data;

	say(fixture, "one\ntw");
	check_arrived(fixture->out[0], "one\ntw");
}

static void test_relay_labelled_stream_gets_lines_that_say_whose_they_are(void **data)
{
	struct fixture *fixture = *data;

	relay_label(fixture->relay, "web");
	say(fixture, "one\n<3>tw");
	check_arrived(fixture->out[0], "[web] one\n");
	say(fixture, "o\nrest");
	check_arrived(fixture->out[0], "[web] <3>two\n");
	relay_drain(fixture->relay);
	check_arrived(fixture->out[0], "[web] rest\n");
}

static void test_relay_label_ends_when_it_is_redirected(void **data)
{
	struct fixture *fixture = *data;
	int file = open_file();

	relay_label(fixture->relay, "web");
	say(fixture, "one\ntw");
	check_arrived(fixture->out[0], "[web] one\n");
	redirect(fixture, file);
	relay_label(fixture->relay, "web");
	say(fixture, "o\n\x1b[mthree\n");
	check_file(file, "two\n\x1b[mthree\n");
	close(file);
}

static void test_relay_own_file_gets_whole_lines_too(void **data)
{
	struct fixture *fixture = *data;
	struct relay *relay = NULL;
	struct error err;
	int file = open_file();

	assert_int_equal(relay_new(fixture->event, file, file, (uid_t)-1, &relay, &err), 0);
	write_text(relay_stdout_fd(relay), "out ");
	turn(fixture);
	write_text(relay_stderr_fd(relay), "err\n");
	turn(fixture);
	write_text(relay_stdout_fd(relay), "out\n");
	turn(fixture);
	check_file(file, "err\nout out\n");
	relay_free(relay);
	close(file);
}

/* @writer's lines are all of one letter, of many lengths, and cut anywhere on their way. */
static void write_lines(int fd, unsigned writer, unsigned lines)
{
	static char text[512 * 1024];
	size_t n = 0, at = 0;

	for (unsigned i = 0; i < lines; i++) {
		size_t length = 1 + (i * 7919 + writer * 104729) % 6000;

		memset(text + n, (char)('a' + writer), length);
		n += length;
		text[n++] = '\n';
		assert_true(n < sizeof(text) - 6001);
	}
	while (at < n) {
		ssize_t part = write(fd, text + at, n - at < 4093 ? n - at : 4093);

		if (part <= 0)
			_exit(1);
		at += (size_t)part;
	}
}

/* The relay of a process of its own, as the agents of two instances have it; 0: all went well. */
static int relay_lines(int file, unsigned writer, unsigned lines)
{
	sd_event *event = NULL;
	struct relay *relay = NULL;
	struct error err;
	pid_t pid;
	int status;

	if (sd_event_new(&event) < 0 || relay_new(event, file, file, (uid_t)-1, &relay, &err) < 0)
		return 1;
	pid = fork();
	if (pid == 0) {
		write_lines(relay_stdout_fd(relay), writer, lines);
		_exit(0);
	}
	while (waitpid(pid, &status, WNOHANG) == 0)
		if (sd_event_run(event, 1000) < 0)
			return 1;
	relay_drain(relay);
	relay_free(relay);
	sd_event_unref(event);
	return pid < 0 || status != 0;
}

static void test_relay_two_that_append_to_one_file_do_not_tear_lines(void **data)
{
	enum { WRITERS = 2, LINES = 150 };
	unsigned n_lines = 0;
	int file = open_file(), status;
	size_t size, begin = 0;
	char *got;

	(void)data;
	for (unsigned k = 0; k < WRITERS; k++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			_exit(relay_lines(file, k, LINES));
	}
	for (unsigned k = 0; k < WRITERS; k++) {
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	size = file_size(file);
	got = malloc(size);
	assert_non_null(got);
	assert_int_equal(pread(file, got, size, 0), size);
	for (size_t i = 0; i < size; i++) {
		if (got[i] == '\n') {
			n_lines++;
			begin = i + 1;
		} else if (got[i] != got[begin]) {
			fail_msg("line %u is torn", n_lines + 1);
		}
	}
	assert_int_equal(n_lines, WRITERS * LINES);
	free(got);
	close(file);
}

/* ---- what has no newline -------------------------------------------------------------------- */

static void test_relay_read_holds_back_what_drain_and_flush_pass_on(void **data)
{
	struct fixture *fixture = *data;
	int file = open_file();

	redirect(fixture, file);
	write_text(relay_stdout_fd(fixture->relay), "last");
	relay_read(fixture->relay);
	check_file(file, "");
	write_text(relay_stdout_fd(fixture->relay), " words");
	relay_drain(fixture->relay);
	check_file(file, "last words");
	say(fixture, ", and more");
	check_file(file, "last words");
	relay_flush(fixture->relay, DEADLINE_MS);
	check_file(file, "last words, and more");
	say(fixture, "\nagain ");
	check_file(file, "last words, and more\n");
	close(file);
}

static void test_relay_free_passes_on_the_rest(void **data)
{
	struct fixture *fixture = *data;
	struct relay *relay = NULL;
	struct error err;
	int file = open_file();

	assert_int_equal(relay_new(fixture->event, file, file, (uid_t)-1, &relay, &err), 0);
	write_text(relay_stdout_fd(relay), "out");
	turn(fixture);
	check_file(file, "");
	relay_free(relay);
	check_file(file, "out");
	close(file);
}

static void test_relay_redirect_takes_half_a_line_along(void **data)
{
	struct fixture *fixture = *data;
	int first = open_file(), second = open_file();

	redirect(fixture, first);
	say(fixture, "one\ntwo");
	redirect(fixture, second);
	check_file(first, "one\n");
	say(fixture, "three");
	check_file(second, "");
	say(fixture, "\nfour");
	check_file(second, "twothree\n");
	/* And a pipe after it is none that waits for newlines. */
	redirect(fixture, fixture->out[1]);
	check_file(second, "twothree\n");
	say(fixture, "five");
	check_arrived(fixture->out[0], "fourfive");
	close(first);
	close(second);
}

/* How often this program has written by now, to whatever. */
static unsigned long long writes_so_far(void)
{
	unsigned long long n = 0;
	FILE *f = fopen("/proc/self/io", "re");

	if (!f || fscanf(f, "rchar: %*u wchar: %*u syscr: %*u syscw: %llu", &n) != 1) {
		print_message("skipped: needs /proc/self/io\n");
		skip();
	}
	fclose(f);
	return n;
}

static void test_relay_file_gets_the_longest_line_in_one_write(void **data)
{
	struct fixture *fixture = *data;
	unsigned long long before;
	int file = open_file();

	redirect(fixture, file);
	say_many(fixture, 'x', RELAY_LINE_MAX);
	assert_int_equal(file_size(file), 0);
	before = writes_so_far();
	say(fixture, "\n");
	/* The one of the test, and one of the relay. */
	assert_int_equal(writes_so_far() - before, 2);
	assert_int_equal(file_size(file), RELAY_LINE_MAX + 1);
	close(file);
}

/* In pieces, but all of it, and without a mark. */
static void test_relay_file_gets_a_line_without_an_end(void **data)
{
	enum { TOTAL = 5 * RELAY_PENDING_MAX + 1 };
	struct fixture *fixture = *data;
	char *got = malloc(TOTAL + 1);
	int file = open_file();

	assert_non_null(got);
	redirect(fixture, file);
	say_many(fixture, 'x', TOTAL);
	assert_in_range(file_size(file), TOTAL - RELAY_LINE_MAX, TOTAL);
	say(fixture, "\n");
	assert_int_equal(pread(file, got, TOTAL + 1, 0), TOTAL + 1);
	for (size_t i = 0; i < TOTAL; i++)
		assert_int_equal(got[i], 'x');
	assert_int_equal(file_size(file), TOTAL + 1);
	free(got);
	close(file);
}

/* ---- trouble -------------------------------------------------------------------------------- */

static struct rlimit old_limit;

static void limit_files(rlim_t size)
{
	struct rlimit limit;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
	limit = old_limit;
	limit.rlim_cur = size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void lift_limit(void)
{
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old_limit), 0);
}

static unsigned n_errors, n_ends;

static void on_stuck(enum relay_stream which, int error, void *userdata)
{
	(void)which;
	(void)userdata;
	if (error)
		n_errors++;
	else
		n_ends++;
}

/* What was to go once is not held back again: else its end would be told before it has gone. */
static void test_relay_rest_that_a_full_file_did_not_take_goes_later(void **data)
{
	struct fixture *fixture = *data;
	int file = open_file();

	n_errors = n_ends = 0;
	relay_watch_stuck(fixture->relay, on_stuck, NULL);
	redirect(fixture, file);
	limit_files(4);
	say(fixture, "one\nlast words");
	relay_drain(fixture->relay);
	AWAIT(n_errors >= 2);
	check_file(file, "one\n");
	assert_int_equal(n_ends, 0);
	lift_limit();
	AWAIT(n_ends == 1);
	check_file(file, "one\nlast words");
	close(file);
}

/* Also where what waits ends in the midst of a line: the rest of that line is in the gap. */
static void test_relay_gap_after_half_a_line_is_marked_and_left_behind(void **data)
{
	enum { HALF = 40 * 1024, MORE = 2 * RELAY_PENDING_MAX };
	struct fixture *fixture = *data;
	int file = open_file();
	size_t dropped = 0;
	char *got = calloc(1, 2 * (size_t)MORE);
	const char *mark;

	assert_non_null(got);
	redirect(fixture, file);
	limit_files(0);
	say(fixture, "begin\n");
	say_many(fixture, 'x', HALF);
	say_many(fixture, 'y', MORE);
	lift_limit();
	say(fixture, "lost\n");
	say(fixture, "after\n");
	assert_true(pread(file, got, 2 * MORE - 1, 0) > HALF);
	mark = strstr(got, "\n[baton: ");
	assert_non_null(mark);
	assert_int_equal(sscanf(mark, "\n[baton: %zu bytes", &dropped), 1);
	/* All is there, or counted. */
	assert_int_equal((size_t)(mark - got) + dropped + strlen(strchr(mark + 1, '\n') + 1),
			 strlen("begin\n") + HALF + MORE + strlen("lost\nafter\n"));
	assert_string_equal(got + strlen(got) - strlen("after\n"), "after\n");
	free(got);
	close(file);
}

/* A held-back rest of more than half the buffer leaves no room for a mark: it has to go first. */
static void test_relay_large_rest_does_not_keep_the_gap_open(void **data)
{
	struct fixture *fixture = *data;
	int file = open_file();
	size_t size;

	redirect(fixture, file);
	limit_files(0);
	say(fixture, "begin\n");
	say_many(fixture, 'x', RELAY_LINE_MAX - 8192);
	say_many(fixture, 'y', RELAY_PENDING_MAX);
	lift_limit();
	relay_read(fixture->relay);
	say(fixture, "z\n");
	size = file_size(file);
	say(fixture, "after\n");
	assert_int_equal(file_size(file), size + strlen("after\n"));
	close(file);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_relay_file_gets_a_line_once_it_is_whole),
		TEST(test_relay_pipe_gets_all_at_once),
		TEST(test_relay_labelled_stream_gets_lines_that_say_whose_they_are),
		TEST(test_relay_label_ends_when_it_is_redirected),
		TEST(test_relay_own_file_gets_whole_lines_too),
		TEST(test_relay_two_that_append_to_one_file_do_not_tear_lines),
		TEST(test_relay_read_holds_back_what_drain_and_flush_pass_on),
		TEST(test_relay_free_passes_on_the_rest),
		TEST(test_relay_redirect_takes_half_a_line_along),
		TEST(test_relay_file_gets_the_longest_line_in_one_write),
		TEST(test_relay_file_gets_a_line_without_an_end),
		TEST(test_relay_rest_that_a_full_file_did_not_take_goes_later),
		TEST(test_relay_gap_after_half_a_line_is_marked_and_left_behind),
		TEST(test_relay_large_rest_does_not_keep_the_gap_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
