/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/write_all.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SIZE (1024 * 1024) /* more than a pipe takes at once */

struct reader {
	int fd;
	char *got;
};

static void *read_slowly(void *userdata)
{
	struct reader *reader = userdata;
	size_t n = 0;
	ssize_t r;

	while ((r = read(reader->fd, reader->got + n, SIZE - n < 5000 ? SIZE - n : 5000)) > 0)
		n += (size_t)r;
	return (void *)n;
}

static void test_write_all_writes_what_a_pipe_does_not_take_at_once(void **state)
{
	char *bytes = malloc(SIZE), *got = calloc(1, SIZE);
	struct reader reader = {.got = got};
	pthread_t thread;
	void *n;
	int fds[2];

	(void)state;
	assert_true(bytes && got);
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (char)(i * 7 >> 3);
	assert_int_equal(pipe(fds), 0);
	reader.fd = fds[0];
	assert_int_equal(pthread_create(&thread, NULL, read_slowly, &reader), 0);
	assert_int_equal(write_all(fds[1], bytes, SIZE), 0);
	close(fds[1]);
	pthread_join(thread, &n);
	close(fds[0]);
	assert_int_equal((size_t)n, SIZE);
	assert_memory_equal(bytes, got, SIZE);
	free(bytes);
	free(got);
}

static void test_write_all_nothing_is_written_at_once(void **state)
{
	(void)state;
	assert_int_equal(write_all(-1, NULL, 0), 0);
}

static void test_write_all_tells_why_it_failed(void **state)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(write_all(-1, "x", 1), -EBADF);
	assert_true(full >= 0);
	assert_int_equal(write_all(full, "x", 1), -ENOSPC);
	close(full);
}

/* The first write(2) is cut short by the limit, the second fails. */
static void test_write_all_fails_in_the_middle(void **state)
{
	char path[] = "/tmp/test_write_all.XXXXXX", bytes[200] = "", got[200];
	struct rlimit before, limit;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = (struct rlimit){.rlim_cur = 150, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(write_all(fd, bytes, sizeof(bytes)), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(pread(fd, got, sizeof(got), 0), 150);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write_all_writes_what_a_pipe_does_not_take_at_once),
		cmocka_unit_test(test_write_all_nothing_is_written_at_once),
		cmocka_unit_test(test_write_all_tells_why_it_failed),
		cmocka_unit_test(test_write_all_fails_in_the_middle),
	};

	cmocka_set_test_filter(getenv("ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
