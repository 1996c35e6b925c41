/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/memory_file.h"

static int hidden_errno; /* 0: memfd_create(2) works */
static struct error err;

/* In the place of libc's. */
int memfd_create(const char *name, unsigned flags)
{
	if (hidden_errno) {
		errno = hidden_errno;
		return -1;
	}
	return (int)syscall(SYS_memfd_create, name, flags);
}

static int make(bool keep, const char *folder)
{
	int fd;

	if (memory_file_make("test", "text", 4, keep, folder, &fd, &err) < 0)
		fail_msg("%s", err.text);
	return fd;
}

static void assert_content(int fd)
{
	char text[8];

	assert_int_equal(read(fd, text, sizeof(text)), 4);
	assert_memory_equal(text, "text", 4);
}

static void test_memory_file_is_sealed(void **state)
{
	int fd = make(false, NULL);

	(void)state;
	hidden_errno = 0;
	assert_content(fd);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	fd = make(true, NULL);
	assert_int_equal(fcntl(fd, F_GETFD), 0);
	close(fd);
}

static void test_memory_file_where_the_call_is_hidden_is_an_unnamed_file(void **state)
{
	static const int codes[] = {ENOSYS, EPERM};

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		int fd;

		hidden_errno = codes[k];
		/* The first folder does not exist: another is taken. */
		fd = make(k == 0, "/nonexistent");
		assert_content(fd);
		assert_int_equal(fcntl(fd, F_GETFD), k == 0 ? 0 : FD_CLOEXEC);
		close(fd);
	}
}

static void test_memory_file_out_of_descriptors_is_an_error(void **state)
{
	int fd;

	(void)state;
	hidden_errno = EMFILE;
	assert_int_equal(memory_file_make("test", "", 0, true, NULL, &fd, &err), -EMFILE);
	assert_non_null(strstr(err.text, "Too many open files"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_file_is_sealed),
		cmocka_unit_test(test_memory_file_where_the_call_is_hidden_is_an_unnamed_file),
		cmocka_unit_test(test_memory_file_out_of_descriptors_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
