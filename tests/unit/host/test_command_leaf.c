/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * As root, in the kernel's cgroups. How commands use leaves is tested in test_command.c.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "orchestrator/host/command_leaf.h"

static char base[CGROUP_PATH_MAX];
static struct error err;

static int set_up(void **state)
{
	char name[64];

	(void)state;
	base[0] = '\0';
	snprintf(name, sizeof(name), "baton-test-leaf-%d", getpid());
	if (geteuid() == 0 && cgroup_base(name, base, &err) < 0)
		base[0] = '\0';
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return base[0] ? cgroup_remove(base) : 0;
}

static void need_cgroup(void)
{
	if (!base[0])
		skip();
}

/* A process in @fd's leaf, by clone3(2) or, if @by_hand, as where that is missing. */
static pid_t sleeper(int fd, bool by_hand)
{
	bool join = by_hand;
	pid_t pid = by_hand ? fork() : command_leaf_fork(fd, &join);

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	if (join && command_leaf_join(fd) < 0)
		_exit(1);
	for (;;)
		pause();
}

static void await_populated(const char *path)
{
	for (int k = 0; k < 1000 && cgroup_populated(path) != 1; k++)
		usleep(10000);
	assert_int_equal(cgroup_populated(path), 1);
}

static void expect_killed(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void check_fork(bool by_hand)
{
	char path[CGROUP_PATH_MAX];
	int fd = -1;
	pid_t pid;

	assert_int_equal(command_leaf_open(base, path, &fd, &err), 0);
	pid = sleeper(fd, by_hand);
	await_populated(path);
	command_leaf_kill(path);
	expect_killed(pid);
	close(fd);
	command_leaf_remove(path, NULL);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_command_leaf_child_is_in_it_either_way(void **state)
{
	(void)state;
	need_cgroup();
	check_fork(false);
	check_fork(true);
}

/* In a cgroup that was killed before, this process begins a child in a leaf. Returns its status. */
static int status_of_child(const char *killed)
{
	char path[CGROUP_PATH_MAX];
	bool join = false;
	int fd = -1, status;
	pid_t pid;

	fd = open(killed, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || command_leaf_join(fd) < 0 || command_leaf_open(base, path, &fd, &err) < 0)
		return 1;
	pid = command_leaf_fork(fd, &join);
	if (pid == 0)
		_exit(join && command_leaf_join(fd) < 0 ? 2 : 7);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 3;
	command_leaf_remove(path, NULL);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 4;
}

static void test_command_leaf_child_lives_though_its_parents_cgroup_was_killed_before(void **state)
{
	char killed[CGROUP_PATH_MAX + 16];
	int status;
	pid_t pid;

	(void)state;
	need_cgroup();
	snprintf(killed, sizeof(killed), "%s/killed", base);
	assert_int_equal(mkdir(killed, 0755), 0);
	assert_int_equal(cgroup_kill(killed), 0);
	pid = fork();
	if (pid == 0)
		_exit(status_of_child(killed));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_int_equal(cgroup_remove(killed), 0);
}

static void test_command_leaf_without_cgroup_is_an_error(void **state)
{
	char path[CGROUP_PATH_MAX];
	int fd = -1;

	(void)state;
	assert_int_equal(command_leaf_open("/nonexistent", path, &fd, &err), -ENOENT);
	assert_int_equal(fd, -1);
	assert_int_equal(command_leaf_join(-1), -EBADF);
}

/* Only leaves of commands go: an instance of a service "command" stays. */
static void test_command_leaf_sweep_ends_what_a_daemon_has_left(void **state)
{
	char path[CGROUP_PATH_MAX], other[CGROUP_PATH_MAX + 16];
	int fd = -1;
	pid_t pid;

	(void)state;
	need_cgroup();
	snprintf(other, sizeof(other), "%s/command.1.0", base);
	assert_int_equal(mkdir(other, 0755), 0);
	assert_int_equal(command_leaf_open(base, path, &fd, &err), 0);
	pid = sleeper(fd, false);
	close(fd);
	await_populated(path);
	command_leaf_sweep(base, NULL); /* it is still busy: its process was killed just now */
	expect_killed(pid);
	command_leaf_sweep(base, NULL);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access(other, F_OK), 0);
	command_leaf_sweep("/nonexistent", NULL);
}

/* A process that does not die of SIGKILL keeps its leaf, and its number. */
static void test_command_leaf_number_that_is_taken_is_skipped(void **state)
{
	char first[CGROUP_PATH_MAX], next[CGROUP_PATH_MAX], second[CGROUP_PATH_MAX];
	unsigned number;
	int fd = -1, next_fd = -1, second_fd = -1;
	pid_t pid;

	(void)state;
	need_cgroup();
	assert_int_equal(command_leaf_open(base, first, &fd, &err), 0);
	assert_int_equal(sscanf(strrchr(first, '/'), "/command.%u", &number), 1);
	snprintf(next, sizeof(next), "%.400s/command.%u", base, number + 1);
	assert_int_equal(mkdir(next, 0755), 0);
	next_fd = open(next, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid = sleeper(next_fd, false);
	await_populated(next);
	assert_int_equal(command_leaf_open(base, second, &second_fd, &err), 0);
	assert_string_not_equal(second, next);
	command_leaf_sweep(base, NULL);
	expect_killed(pid);
	close(fd);
	close(next_fd);
	close(second_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* The first: whether a child lives is found out once. */
		cmocka_unit_test(
			test_command_leaf_child_lives_though_its_parents_cgroup_was_killed_before),
		cmocka_unit_test(test_command_leaf_child_is_in_it_either_way),
		cmocka_unit_test(test_command_leaf_without_cgroup_is_an_error),
		cmocka_unit_test(test_command_leaf_sweep_ends_what_a_daemon_has_left),
		cmocka_unit_test(test_command_leaf_number_that_is_taken_is_skipped),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
