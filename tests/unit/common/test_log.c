/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"

/* stderr is a pipe during each test; what was written comes out of .read_fd. */
struct capture {
	int read_fd;
	int saved_fd;
};

static int setup(void **state)
{
	static struct capture capture;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	capture.read_fd = fds[0];
	capture.saved_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (capture.saved_fd < 0 || dup2(fds[1], STDERR_FILENO) < 0)
		return -1;
	close(fds[1]);
	unsetenv("JOURNAL_STREAM");
	log_init("tester", LOG_LEVEL_INFO);
	*state = &capture;
	return 0;
}

static int teardown(void **state)
{
	struct capture *capture = *state;

	dup2(capture->saved_fd, STDERR_FILENO);
	close(capture->saved_fd);
	close(capture->read_fd);
	unsetenv("JOURNAL_STREAM");
	return 0;
}

/* All that was written since the last call, in a static buffer. */
static const char *written(struct capture *capture)
{
	static char buffer[8192];
	ssize_t n = read(capture->read_fd, buffer, sizeof(buffer) - 1);

	assert_true(n >= 0 || errno == EAGAIN);
	buffer[n < 0 ? 0 : n] = '\0';
	return buffer;
}

static void set_journal_stream(unsigned long device_offset)
{
	char text[64];
	struct stat st;

	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(text, sizeof(text), "%lu:%lu", (unsigned long)st.st_dev + device_offset,
		 (unsigned long)st.st_ino);
	setenv("JOURNAL_STREAM", text, 1);
}

static void test_log_line_starts_with_the_program(void **state)
{
	log_info("started %s in %d ms", "web", 12);
	assert_string_equal(written(*state), "tester: started web in 12 ms\n");
}

static void test_log_level_above_the_maximum_is_not_written(void **state)
{
	log_debug("no");
	assert_string_equal(written(*state), "");

	log_init("tester", LOG_LEVEL_ERROR);
	log_warning("no");
	log_info("no");
	assert_string_equal(written(*state), "");
	log_error("yes");
	assert_string_equal(written(*state), "tester: yes\n");

	log_init("tester", LOG_LEVEL_DEBUG);
	log_debug("yes");
	assert_string_equal(written(*state), "tester: yes\n");
}

static void test_log_journal_line_starts_with_the_priority(void **state)
{
	set_journal_stream(0);
	log_init("tester", LOG_LEVEL_DEBUG);
	log_error("a");
	log_warning("b");
	log_info("c");
	log_debug("d");
	assert_string_equal(written(*state), "<3>a\n<4>b\n<6>c\n<7>d\n");
}

static void test_log_other_journal_stream_is_no_journal(void **state)
{
	set_journal_stream(1);
	log_init("tester", LOG_LEVEL_INFO);
	log_info("a");
	setenv("JOURNAL_STREAM", "nonsense", 1);
	log_init("tester", LOG_LEVEL_INFO);
	log_info("b");
	assert_string_equal(written(*state), "tester: a\ntester: b\n");
}

static void test_log_newlines_become_spaces(void **state)
{
	log_info("one\ntwo\n\nthree\n");
	assert_string_equal(written(*state), "tester: one two  three \n");
}

static void test_log_empty_message_is_one_line(void **state)
{
	log_info("%s", "");
	assert_string_equal(written(*state), "tester: \n");
}

/* One write(2) of at most 2,048 bytes, newline included, for lengths around the limit. */
static void test_log_long_line_is_cut(void **state)
{
	char text[5000];
	const char *line;

	for (size_t length = 2020; length < 2070; length++) {
		memset(text, 'a', length);
		text[length] = '\0';
		log_info("%s", text);
		line = written(*state);
		assert_true(strlen(line) <= 2048);
		assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
		if (strlen("tester: ") + length + 1 < 2047)
			assert_int_equal(strlen(line), strlen("tester: ") + length + 1);
	}
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_info("%s", text);
	line = written(*state);
	assert_in_range(strlen(line), 2040, 2048);
	assert_int_equal(line[strlen(line) - 1], '\n');
}

static void test_log_unwritable_stderr_is_survived(void **state)
{
	struct capture *capture = *state;
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	dup2(fd, STDERR_FILENO);
	close(fd);
	log_error("lost");
	close(STDERR_FILENO);
	log_error("lost too");
	assert_true(dup2(capture->saved_fd, STDERR_FILENO) == STDERR_FILENO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_log_line_starts_with_the_program, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_log_level_above_the_maximum_is_not_written,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_journal_line_starts_with_the_priority,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_other_journal_stream_is_no_journal, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_log_newlines_become_spaces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_empty_message_is_one_line, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_log_long_line_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_unwritable_stderr_is_survived, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
