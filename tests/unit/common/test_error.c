/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"
#include "common/vector.h"

static void test_error_set_appends_the_description(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(error_set(&err, -EADDRINUSE, "bind port %d", 80), -EADDRINUSE);
	assert_string_equal(err.text, "bind port 80: Address already in use");
}

static void test_error_text_appends_nothing(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(error_text(&err, -EINVAL, "%s is %d%%", "half", 50), -EINVAL);
	assert_string_equal(err.text, "half is 50%");
}

static void test_error_prefix_goes_in_front(void **state)
{
	struct error err;

	(void)state;
	error_set(&err, -EPERM, "bind");
	assert_int_equal(error_prefix(&err, -EPERM, "anchor %s", "0.0.0.0:80"), -EPERM);
	assert_int_equal(error_prefix(&err, -EAGAIN, "web"), -EAGAIN);
	assert_string_equal(err.text, "web: anchor 0.0.0.0:80: bind: Operation not permitted");
}

/* What was found may hold a percent sign: it is never a format again. */
static void test_error_prefix_takes_the_inner_text_literally(void **state)
{
	struct error err;

	(void)state;
	error_text(&err, -EINVAL, "%s", "%s%n%d");
	error_prefix(&err, -EINVAL, "file");
	assert_string_equal(err.text, "file: %s%n%d");
}

static void test_error_without_a_struct_returns_the_code(void **state)
{
	(void)state;
	assert_int_equal(error_set(NULL, -ENOENT, "x"), -ENOENT);
	assert_int_equal(error_text(NULL, -ENOENT, "x"), -ENOENT);
	assert_int_equal(error_prefix(NULL, -ENOENT, "x"), -ENOENT);
}

static void test_error_long_texts_are_cut(void **state)
{
	char text[3000];
	struct error err;

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';

	error_text(&err, -EINVAL, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);

	error_set(&err, -EINVAL, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);

	/* The end of the innermost text goes first, never what was put in front. */
	error_prefix(&err, -EINVAL, "outer");
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_int_equal(strncmp(err.text, "outer: aaaa", 11), 0);

	error_prefix(&err, -EINVAL, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_null(strchr(err.text, ':'));

	text[sizeof(err.text) - 5] = '\0';
	error_set(&err, -EINVAL, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_string_equal(err.text + sizeof(err.text) - 5, ": In");
}

/* A caller that breaks its promise, in a process of its own whose stderr is @stderr_fd. */
static void __attribute__((noreturn)) break_promise(int stderr_fd)
{
	const struct rlimit no_core = {0};
	char **vector = NULL;

	setrlimit(RLIMIT_CORE, &no_core);
	signal(SIGABRT, SIG_DFL);
	dup2(stderr_fd, STDERR_FILENO);
	vector_append(&vector, NULL);
	_exit(0);
}

static void test_error_broken_promise_ends_the_process_with_a_line(void **state)
{
	char text[1024];
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		break_promise(fds[1]);
	close(fds[1]);
	n = read(fds[0], text, sizeof(text) - 1);
	close(fds[0]);
	assert_true(n > 0);
	text[n] = '\0';
	assert_non_null(strstr(text, "common/vector.c"));
	assert_non_null(strstr(text, "vector_append"));
	assert_non_null(strchr(text, '\n'));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error_set_appends_the_description),
		cmocka_unit_test(test_error_text_appends_nothing),
		cmocka_unit_test(test_error_prefix_goes_in_front),
		cmocka_unit_test(test_error_prefix_takes_the_inner_text_literally),
		cmocka_unit_test(test_error_without_a_struct_returns_the_code),
		cmocka_unit_test(test_error_long_texts_are_cut),
		cmocka_unit_test(test_error_broken_promise_ends_the_process_with_a_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
