/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "orchestrator/host/lock.h"
#include "tests/unit/fakes/folder.h"

static char path[256];

static int set_up(void **state)
{
	int r = folder_set_up(state);

	snprintf(path, sizeof(path), "%s", in_folder("lock"));
	return r;
}

static void test_lock_second_one_names_the_first(void **state)
{
	int first = -1, second = -1;
	char expected[64];
	struct error err;

	(void)state;
	assert_int_equal(lock_take(path, 0, &first, &err), 0);
	assert_int_equal(fcntl(first, F_GETFD), FD_CLOEXEC);
	assert_int_equal(lock_take(path, 30, &second, &err), -EBUSY);
	snprintf(expected, sizeof(expected), "pid %d has /tmp/", (int)getpid());
	assert_non_null(strstr(err.text, expected));
	/* What is in the file proves nothing. */
	assert_int_equal(ftruncate(first, 0), 0);
	assert_int_equal(pwrite(first, "1\n", 2, 0), 2);
	assert_int_equal(lock_take(path, 0, &second, &err), -EBUSY);
	assert_null(strstr(err.text, "pid 1 "));
	assert_int_equal(close(first), 0);
	assert_int_equal(lock_take(path, 0, &second, &err), 0);
	close(second);
}

static void test_lock_ends_with_its_process_and_is_waited_for(void **state)
{
	int fd = -1, ready[2];
	struct error err;
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		if (lock_take(path, 0, &fd, &err) < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		usleep(100000);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(lock_take(path, 20000, &fd, &err), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(fd);
	close(ready[0]);
	close(ready[1]);
}

static void test_lock_that_was_removed_meanwhile_is_stale(void **state)
{
	int first = -1, second = -1, fd = -1;
	struct error err;
	pid_t pid;

	(void)state;
	assert_int_equal(lock_take(path, 0, &first, &err), 0);
	pid = fork();
	if (pid == 0) {
		usleep(100000);
		lock_remove(path);
		_exit(0);
	}
	/* Both have it open, until the file is gone: the child holds the lock, too. */
	close(first);
	assert_int_equal(lock_take(path, 20000, &second, &err), -ESTALE);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(lock_take(path, 0, &fd, &err), 0);
	close(fd);
	assert_int_equal(lock_take("/no/such/lock", 0, &fd, &err), -ESTALE);
}

static void test_lock_follows_no_link(void **state)
{
	struct error err;
	int fd = -1;

	(void)state;
	assert_int_equal(symlink("other", path), 0);
	assert_int_equal(lock_take(path, 0, &fd, &err), -ELOOP);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, folder_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lock_second_one_names_the_first),
		TEST(test_lock_ends_with_its_process_and_is_waited_for),
		TEST(test_lock_that_was_removed_meanwhile_is_stale),
		TEST(test_lock_follows_no_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
