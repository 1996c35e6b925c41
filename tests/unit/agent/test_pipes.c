/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/pipes.h"

static struct pipe_ends ends;

static void close_ends(struct pipe_ends *pipe)
{
	close(pipe->reader);
	close(pipe->writer);
}

static void test_pipes_what_is_written_is_read(void **state)
{
	char text[8];

	(void)state;
	assert_int_equal(pipes_make((uid_t)-1, &ends), 0);
	assert_int_equal(read(ends.reader, text, sizeof(text)), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(write(ends.writer, "line\n", 5), 5);
	assert_int_equal(read(ends.reader, text, sizeof(text)), 5);
	assert_int_not_equal(fcntl(ends.writer, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	close_ends(&ends);
}

/* SIGPIPE would end this process. */
static void test_pipes_do_not_break_without_a_reader(void **state)
{
	(void)state;
	assert_int_equal(pipes_make((uid_t)-1, &ends), 0);
	close(ends.reader);
	assert_int_equal(write(ends.writer, "line\n", 5), 5);
	close(ends.writer);
}

/* A process whose stdout is the writing end, and that writes a line. */
static pid_t start_writer(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	dup2(ends.writer, STDOUT_FILENO);
	close_ends(&ends);
	if (write(STDOUT_FILENO, "line\n", 5) == 5)
		pause();
	_exit(0);
}

static void test_pipes_are_found_in_a_process_with_what_is_in_them(void **state)
{
	struct processes *processes;
	struct pipe_ends found;
	char text[8] = "";
	uint64_t inode;
	ssize_t n = -1;
	pid_t pid;

	(void)state;
	assert_int_equal(processes_new(NULL, getpid(), &processes), 0);
	assert_int_equal(pipes_make((uid_t)-1, &ends), 0);
	inode = pipes_inode(ends.reader);
	assert_int_not_equal(inode, 0);
	pid = start_writer();
	close_ends(&ends);
	/* It has to move it to its stdout first, but has it open all the time. */
	assert_int_equal(pipes_find(processes, inode, &found), 0);
	while (n < 0) {
		n = read(found.reader, text, sizeof(text));
		assert_true(n >= 0 || errno == EAGAIN);
	}
	assert_memory_equal(text, "line\n", 5);
	assert_int_equal(pipes_inode(found.writer), inode);
	assert_int_equal(pipes_find(processes, inode + 1, &ends), -ENOENT);
	assert_int_equal(pipes_find(processes, 0, &ends), -ENOENT);
	close_ends(&found);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(pipes_find(processes, inode, &ends), -ENOENT);
	processes_free(processes);
}

static void test_pipes_other_files_have_no_inode(void **state)
{
	int fd = open("/dev/null", O_RDONLY);

	(void)state;
	assert_int_equal(pipes_inode(fd), 0);
	assert_int_equal(pipes_inode(-1), 0);
	close(fd);
}

#define TEST(name) cmocka_unit_test(test_pipes_##name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_written_is_read),
		TEST(do_not_break_without_a_reader),
		TEST(are_found_in_a_process_with_what_is_in_them),
		TEST(other_files_have_no_inode),
	};

	return cmocka_run_group_tests_name("pipes", tests, NULL, NULL);
}
