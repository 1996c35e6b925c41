/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/agent/relay_fixture.h"

static void test_relay_both_streams_are_passed_on(void **data)
{
	struct fixture *fixture = *data;

	write_text(relay_stdout_fd(fixture->relay), "to out\n");
	write_text(relay_stderr_fd(fixture->relay), "to err\n");
	turn(fixture);
	check_arrived(fixture->out[0], "to out\n");
	check_arrived(fixture->err[0], "to err\n");
	check_tail(fixture, "to err");
	relay_reset_tail(fixture->relay);
	check_tail(fixture, "");
}

static void test_relay_drain_completes_the_tail(void **data)
{
	struct fixture *fixture = *data;

	write_text(relay_stderr_fd(fixture->relay), "one\ntwo\n");
	check_tail(fixture, "");
	relay_drain(fixture->relay);
	check_tail(fixture, "one\ntwo");
	check_arrived(fixture->err[0], "one\ntwo\n");
}

static void test_relay_nobody_reading_blocks_nobody(void **data)
{
	enum { TOTAL = 1024 * 1024, LINE = 1024 };
	struct fixture *fixture = *data;
	uint64_t begin_ms = clock_monotonic_ms();
	char line[LINE + 1], *got = malloc(TOTAL);
	size_t n;

	assert_non_null(got);
	memset(line, 'x', LINE);
	line[LINE - 1] = '\n';
	line[LINE] = '\0';
	for (int i = 0; i < TOTAL / LINE; i++) {
		write_text(relay_stderr_fd(fixture->relay), line);
		turn(fixture);
	}
	write_text(relay_stderr_fd(fixture->relay), "the last line\n");
	turn(fixture);
	assert_true(clock_monotonic_ms() - begin_ms < 10000);
	/* Once somebody reads: what waited, a mark where the gap is, then what is new. */
	n = read_text(fixture->err[0], got, TOTAL);
	turn(fixture);
	n += read_text(fixture->err[0], got + n, TOTAL - n);
	write_text(relay_stderr_fd(fixture->relay), "after\n");
	turn(fixture);
	n += read_text(fixture->err[0], got + n, TOTAL - n);
	assert_true(n >= RELAY_PENDING_MAX && n < TOTAL / 2);
	assert_non_null(strstr(got, "\n[baton: "));
	assert_non_null(strstr(got, " bytes of output dropped]\nafter\n"));
	assert_null(strstr(got, "the last line"));
	free(got);
}

static void test_relay_nobody_reading_keeps_the_tail(void **data)
{
	struct fixture *fixture = *data;
	char got[PROTOCOL_TAIL_MAX];

	for (int i = 0; i < 300; i++) {
		char line[1024];

		snprintf(line, sizeof(line), "%1000d\n", i);
		write_text(relay_stderr_fd(fixture->relay), line);
		turn(fixture);
	}
	relay_tail(fixture->relay, got, NULL, NULL);
	assert_string_equal(got + strlen(got) - 4, " 299");
}

static void test_relay_reader_gone_is_no_trouble(void **data)
{
	struct fixture *fixture = *data;

	signal(SIGPIPE, SIG_IGN);
	close(fixture->err[0]);
	fixture->err[0] = -1;
	write_text(relay_stderr_fd(fixture->relay), "into the void\n");
	turn(fixture);
	write_text(relay_stderr_fd(fixture->relay), "again\n");
	turn(fixture);
	check_tail(fixture, "into the void\nagain");
}

static void test_relay_flush_waits_but_not_for_ever(void **data)
{
	struct fixture *fixture = *data;
	uint64_t begin_ms;
	char line[4096];

	relay_flush(fixture->relay, 10000); /* nothing waits */
	memset(line, 'x', sizeof(line));
	for (int i = 0; i < 20; i++) {
		assert_int_equal(write(relay_stdout_fd(fixture->relay), line, sizeof(line)),
				 sizeof(line));
		relay_drain(fixture->relay);
	}
	begin_ms = clock_monotonic_ms();
	relay_flush(fixture->relay, 50);
	assert_in_range(clock_monotonic_ms() - begin_ms, 49, 5000);
}

static void test_relay_regular_file_is_appended_to(void **data)
{
	struct fixture *fixture = *data;
	struct relay *relay = NULL;
	struct error err;
	char got[64] = "";
	FILE *file = tmpfile();
	int fd;

	assert_non_null(file);
	fd = fileno(file);
	assert_int_equal(relay_new(fixture->event, fd, fd, (uid_t)-1, &relay, &err), 0);
	write_text(fd, "before\n");
	write_text(relay_stdout_fd(relay), "out\n");
	turn(fixture);
	write_text(relay_stderr_fd(relay), "err\n");
	turn(fixture);
	assert_true(pread(fd, got, sizeof(got) - 1, 0) > 0);
	assert_string_equal(got, "before\nout\nerr\n");
	relay_free(relay);
	fclose(file);
}

static void test_relay_pipes_belong_to_the_owner(void **data)
{
	struct fixture *fixture = *data;
	struct relay *relay = NULL;
	struct error err;
	struct stat st;

	if (geteuid() != 0) {
		print_message("skipped: needs root (to give a pipe away)\n");
		skip();
	}
	assert_int_equal(
		relay_new(fixture->event, fixture->out[1], fixture->err[1], 65534, &relay, &err),
		0);
	assert_int_equal(fstat(relay_stderr_fd(relay), &st), 0);
	assert_int_equal(st.st_uid, 65534);
	assert_int_equal(fcntl(relay_stderr_fd(relay), F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(relay_stderr_fd(relay), F_GETFL) & O_NONBLOCK, 0);
	relay_free(relay);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

/* Of stderr; of stdout only if nothing came on stderr. */
static void test_relay_tail_is_of_stdout_if_stderr_is_silent(void **data)
{
	struct fixture *fixture = *data;
	char got[PROTOCOL_TAIL_MAX];
	enum relay_stream from;
	uint64_t age_ms = 1;

	assert_int_equal(relay_tail(fixture->relay, got, &from, &age_ms), 0);
	assert_int_equal(age_ms, 0);
	write_text(relay_stdout_fd(fixture->relay), "no database\n");
	turn(fixture);
	assert_int_equal(relay_tail(fixture->relay, got, &from, &age_ms), strlen("no database"));
	assert_string_equal(got, "no database");
	assert_int_equal(from, RELAY_STDOUT);
	assert_true(age_ms < 10000);
	write_text(relay_stderr_fd(fixture->relay), "panic\n");
	turn(fixture);
	(void)relay_tail(fixture->relay, got, &from, NULL);
	assert_string_equal(got, "panic");
	assert_int_equal(from, RELAY_STDERR);
	relay_reset_tail(fixture->relay);
	check_tail(fixture, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_relay_both_streams_are_passed_on),
		TEST(test_relay_drain_completes_the_tail),
		TEST(test_relay_nobody_reading_blocks_nobody),
		TEST(test_relay_nobody_reading_keeps_the_tail),
		TEST(test_relay_reader_gone_is_no_trouble),
		TEST(test_relay_flush_waits_but_not_for_ever),
		TEST(test_relay_regular_file_is_appended_to),
		TEST(test_relay_pipes_belong_to_the_owner),
		TEST(test_relay_tail_is_of_stdout_if_stderr_is_silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
