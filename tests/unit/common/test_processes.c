/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/processes.h"
#include "orchestrator/host/cgroup.h"

#define DEADLINE_MS 20000

/* A cgroup of our own below the one we are in; NULL where there is no permission to make one. */
static const char *leaf;
static char base[CGROUP_PATH_MAX];
static char path[CGROUP_PATH_MAX];

static int make_leaf(void)
{
	char name[64];
	struct error err;
	uint64_t id;

	snprintf(name, sizeof(name), "test_processes-%d", (int)getpid());
	if (cgroup_base(name, base, &err) < 0 || cgroup_create(base, "leaf", path, &id, &err) < 0) {
		print_message("no cgroup: %s\n", err.text);
		return 0;
	}
	leaf = path;
	return 0;
}

static void remove_leaf(void)
{
	if (!leaf)
		return;
	for (int i = 0; i < DEADLINE_MS / 10 && cgroup_remove(leaf) < 0; i++)
		poll(NULL, 0, 10);
	(void)rmdir(base);
}

/* Wait until processes_any() says @expected. */
static bool any_becomes(const struct processes *processes, int expected)
{
	for (int i = 0; i < DEADLINE_MS / 10; i++) {
		if (processes_any(processes) == expected)
			return true;
		poll(NULL, 0, 10);
	}
	return false;
}

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

/* A child that (where there is a cgroup) joins it and then says its pid and its child's. */
static pid_t start_pair(const struct processes *processes, bool daemonise, pid_t *ret_grandchild)
{
	int fds[2], join;
	pid_t pid, pids[1];
	struct error err;

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(processes_open_join(processes, &join, &err), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (join >= 0 && write(join, "0", 1) != 1)
			_exit(1);
		pids[0] = fork();
		if (pids[0] == 0) {
			if (daemonise)
				setsid();
			sleep_for_ever();
		}
		if (write(fds[1], pids, sizeof(pids)) != sizeof(pids) || daemonise)
			_exit(0);
		sleep_for_ever();
	}
	close(fds[1]);
	if (join >= 0)
		close(join);
	assert_int_equal(read(fds[0], pids, sizeof(pids)), sizeof(pids));
	close(fds[0]);
	*ret_grandchild = pids[0];
	return pid;
}

static bool lists(const struct processes *processes, pid_t pid)
{
	pid_t *pids = NULL;
	bool found = false;
	size_t n;

	assert_int_equal(processes_list(processes, &pids, &n), 0);
	for (size_t i = 0; i < n; i++) {
		assert_int_not_equal(pids[i], getpid());
		found |= pids[i] == pid;
	}
	free(pids);
	return found;
}

static void reap_all(void)
{
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void check_pair(struct processes *processes)
{
	pid_t child, grandchild;

	assert_int_equal(processes_any(processes), 0);
	child = start_pair(processes, false, &grandchild);
	assert_int_equal(processes_any(processes), 1);
	assert_true(lists(processes, child));
	assert_true(lists(processes, grandchild));
	assert_int_equal(processes_contain(processes, child), 1);
	assert_int_equal(processes_contain(processes, grandchild), 1);
	assert_int_equal(processes_contain(processes, 1), 0);
	assert_int_equal(processes_contain(processes, 0), 0);
	assert_int_equal(processes_kill(processes), 0);
	/* The child is a zombie from now on, and does not count. */
	assert_true(any_becomes(processes, 0));
	assert_false(lists(processes, child));
	reap_all();
	assert_int_equal(processes_contain(processes, child), -ESRCH);
	assert_int_equal(processes_kill(processes), 0);
}

static void test_processes_descendants_are_found_and_killed(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;

	(void)data;
	assert_int_equal(processes_new(NULL, getpid(), &processes), 0);
	check_pair(processes);
}

static void test_processes_daemonised_descendants_are_found(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;
	pid_t child, grandchild;

	(void)data;
	assert_int_equal(processes_new(NULL, getpid(), &processes), 0);
	child = start_pair(processes, true, &grandchild);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_true(lists(processes, grandchild));
	assert_int_equal(processes_contain(processes, grandchild), 1);
	assert_int_equal(processes_kill(processes), 0);
	assert_true(any_becomes(processes, 0));
	reap_all();
}

/* As batond looks: at the descendants of somebody else, of whom it is an ancestor itself. */
static void test_processes_of_another_root_are_its_descendants_only(void **data)
{
	cleanup(processes_free) struct processes *ours = NULL, *theirs = NULL;
	pid_t child, grandchild;

	(void)data;
	assert_int_equal(processes_new(NULL, getpid(), &ours), 0);
	child = start_pair(ours, false, &grandchild);
	assert_int_equal(processes_new(NULL, child, &theirs), 0);
	assert_false(lists(theirs, child));
	assert_true(lists(theirs, grandchild));
	assert_int_equal(processes_any(theirs), 1);
	assert_int_equal(processes_contain(theirs, grandchild), 1);
	assert_int_equal(processes_contain(theirs, child), 0);
	assert_int_equal(processes_kill(theirs), 0);
	assert_true(any_becomes(theirs, 0));
	assert_true(lists(ours, child));
	assert_int_equal(processes_kill(ours), 0);
	assert_true(any_becomes(ours, 0));
	reap_all();
	assert_int_equal(processes_any(theirs), 0);
}

static void check_oldest(struct processes *processes)
{
	pid_t child, grandchild, second, second_grandchild, oldest = 1;

	assert_int_equal(processes_oldest_child(processes, &oldest), 0);
	assert_int_equal(oldest, 0);
	child = start_pair(processes, false, &grandchild);
	second = start_pair(processes, false, &second_grandchild);
	assert_int_equal(processes_oldest_child(processes, &oldest), 0);
	assert_int_equal(oldest, child);
	/* Its child has come to us by that, and is older than the second. */
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)child, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
	assert_int_equal(processes_oldest_child(processes, &oldest), 0);
	assert_int_equal(oldest, grandchild);
	assert_int_equal(kill(grandchild, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)grandchild, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
	assert_int_equal(processes_oldest_child(processes, &oldest), 0);
	assert_int_equal(oldest, second);
	assert_int_equal(processes_kill(processes), 0);
	assert_true(any_becomes(processes, 0));
	reap_all();
}

static void test_processes_oldest_child_is_whom_a_daemon_leaves(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;

	(void)data;
	assert_int_equal(processes_new(NULL, getpid(), &processes), 0);
	check_oldest(processes);
}

static void test_processes_oldest_child_in_cgroup(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;
	pid_t outside, child, grandchild, oldest;

	(void)data;
	if (!leaf)
		skip();
	/* Older than all of them, but not in it. */
	outside = fork();
	assert_true(outside >= 0);
	if (outside == 0)
		sleep_for_ever();
	assert_int_equal(processes_new(leaf, getpid(), &processes), 0);
	child = start_pair(processes, false, &grandchild);
	assert_int_equal(processes_oldest_child(processes, &oldest), 0);
	assert_int_equal(oldest, child);
	/* Nobody has entered it, so its name is not known; the answer is all the same. */
	assert_int_equal(processes_contain(processes, grandchild), 1);
	assert_int_equal(processes_contain(processes, outside), 0);
	assert_int_equal(processes_kill(processes), 0);
	assert_true(any_becomes(processes, 0));
	assert_int_equal(kill(outside, SIGKILL), 0);
	reap_all();
	assert_int_equal(processes_contain(processes, outside), -ESRCH);
}

/* ---- families ------------------------------------------------------------------------------- */

/* The head of @pid; 0: it is not listed. */
static pid_t head_of(const struct processes *processes, pid_t pid, bool *ret_forked)
{
	struct process_kin *kin;
	pid_t head = 0;
	size_t n;

	assert_int_equal(processes_kin(processes, &kin, &n), 0);
	for (size_t i = 0; i < n; i++) {
		assert_true(i == 0 || kin[i - 1].pid < kin[i].pid);
		if (kin[i].pid != pid)
			continue;
		head = kin[i].head;
		*ret_forked = kin[i].forked;
	}
	free(kin);
	return head;
}

static pid_t start_program(const struct processes *processes)
{
	pid_t pid = fork();
	struct error err;
	int join;

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	if (processes_open_join(processes, &join, &err) < 0 ||
	    (join >= 0 && write(join, "0", 1) != 1))
		_exit(1);
	execl("/bin/sleep", "sleep", "1000", NULL);
	_exit(1);
}

/* Workers have their master's head until it is gone; a program is its own. */
static void check_kin(struct processes *processes)
{
	pid_t child, grandchild, program;
	struct process_kin *kin;
	bool forked;
	size_t n;

	assert_int_equal(processes_kin(processes, &kin, &n), 0);
	assert_null(kin);
	assert_int_equal(n, 0);
	child = start_pair(processes, false, &grandchild);
	assert_int_equal(head_of(processes, child, &forked), child);
	assert_true(forked);
	assert_int_equal(head_of(processes, grandchild, &forked), child);
	program = start_program(processes);
	for (int i = 0; forked && i < DEADLINE_MS / 10; i++) {
		poll(NULL, 0, 10);
		(void)head_of(processes, program, &forked);
	}
	assert_false(forked);
	assert_int_equal(head_of(processes, program, &forked), program);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(head_of(processes, child, &forked), 0);
	assert_int_equal(head_of(processes, grandchild, &forked), grandchild);
	assert_true(forked);
	assert_int_equal(processes_kill(processes), 0);
	assert_true(any_becomes(processes, 0));
	reap_all();
}

static void test_processes_kin_of_descendants(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;

	(void)data;
	assert_int_equal(processes_new(NULL, getpid(), &processes), 0);
	check_kin(processes);
}

static void test_processes_kin_in_cgroup(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;

	(void)data;
	if (!leaf)
		skip();
	assert_int_equal(processes_new(leaf, getpid(), &processes), 0);
	check_kin(processes);
}

static void test_processes_without_cgroup_moving_does_nothing(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;
	struct error err = {""};
	int fd = 0;

	(void)data;
	assert_int_equal(processes_new(NULL, getpid(), &processes), 0);
	assert_int_equal(processes_enter(processes, &err), 0);
	assert_int_equal(processes_return(processes, &err), 0);
	assert_int_equal(processes_open_join(processes, &fd, &err), 0);
	assert_int_equal(fd, -1);
}

static void test_processes_cgroup_is_found_and_killed(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;
	struct error err;

	(void)data;
	if (!leaf)
		skip();
	assert_int_equal(processes_new(leaf, getpid(), &processes), 0);
	assert_int_equal(processes_enter(processes, &err), 0);
	/* The agent's own visit does not count, and ends. */
	assert_int_equal(processes_any(processes), 0);
	assert_int_equal(cgroup_populated(leaf), 1);
	assert_int_equal(processes_return(processes, &err), 0);
	assert_int_equal(cgroup_populated(leaf), 0);
	check_pair(processes);
}

static void test_processes_cgroups_below_count(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL, *below = NULL;
	char child_path[CGROUP_PATH_MAX + 8];
	pid_t child, grandchild;
	struct error err;

	(void)data;
	if (!leaf)
		skip();
	snprintf(child_path, sizeof(child_path), "%s/sub", leaf);
	assert_int_equal(mkdir(child_path, 0755), 0);
	assert_int_equal(processes_new(leaf, getpid(), &processes), 0);
	assert_int_equal(processes_enter(processes, &err), 0);
	assert_int_equal(processes_return(processes, &err), 0);
	assert_int_equal(processes_new(child_path, getpid(), &below), 0);
	child = start_pair(below, false, &grandchild);
	assert_true(lists(processes, child));
	assert_int_equal(processes_contain(processes, grandchild), 1);
	assert_int_equal(processes_kill(processes), 0);
	assert_true(any_becomes(processes, 0));
	reap_all();
	assert_int_equal(rmdir(child_path), 0);
}

static void test_processes_missing_cgroup_is_empty_and_cannot_be_joined(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;
	struct error err;
	int fd;

	(void)data;
	assert_int_equal(processes_new("/nonexistent/leaf", getpid(), &processes), 0);
	assert_int_equal(processes_any(processes), 0);
	assert_int_equal(processes_kill(processes), 0);
	assert_int_equal(processes_open_join(processes, &fd, &err), -ENOENT);
	assert_string_equal(err.text, "cgroup /nonexistent/leaf: No such file or directory");
	assert_int_equal(processes_enter(processes, &err), -ENOENT);
	assert_string_equal(err.text, "join cgroup /nonexistent/leaf: No such file or directory");
}

static void count_listener(void *userdata, const struct diag_listening *listening)
{
	(void)listening;
	++*(size_t *)userdata;
}

static void count_none(void *userdata)
{
	*(size_t *)userdata = 0;
}

/* Listen on @fd. Does sock_diag list it as one of @cgroup? */
static bool is_of(const char *cgroup, int fd)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct diag *diag = NULL;
	struct stat status;
	size_t n = 0;

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(stat(cgroup, &status), 0);
	assert_int_equal(diag_open(&diag, NULL), 0);
	assert_int_equal(
		diag_each_listener(diag, status.st_ino, count_none, count_listener, &n, NULL), 0);
	diag_free(diag);
	return n == 1;
}

static void test_processes_sockets_are_of_the_cgroup_and_nobody_moves(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;
	static const int families[] = {AF_INET, AF_INET6, AF_UNSPEC};
	int fds[3] = {-1, -1, -1};
	struct error err;

	(void)data;
	if (!leaf)
		skip();
	assert_int_equal(processes_new(leaf, getpid(), &processes), 0);
	assert_int_equal(
		processes_sockets(processes, families, 3, SOCK_STREAM | SOCK_CLOEXEC, fds, &err),
		0);
	assert_true(fds[0] >= 0 && fds[1] >= 0);
	assert_int_equal(fds[2], -EAFNOSUPPORT);
	assert_int_equal(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
	assert_true(is_of(leaf, fds[0]));
	assert_int_equal(cgroup_populated(leaf), 0);
	/* The child has been reaped, and is told to nobody. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
	/* What the kernel calls the cgroup is known now: who is in it is found. */
	check_pair(processes);
	close(fds[0]);
	close(fds[1]);
}

static void test_processes_fork_begins_in_the_cgroup(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;
	bool inside = false;
	int status;
	pid_t pid;

	(void)data;
	if (!leaf)
		skip();
	assert_int_equal(processes_new(leaf, getpid(), &processes), 0);
	pid = processes_fork(processes, &inside);
	/* Not if the leaf was killed by an earlier test, and the kernel minds (Linux 6.18). */
	if (pid == 0)
		_exit(cgroup_populated(leaf) == inside ? 0 : 1);
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* The kernel kills whoever begins in a cgroup that was killed before. */
static void test_processes_that_were_killed_are_followed_by_others(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;
	int family = AF_INET, fd = -1, status;
	struct error err;
	bool inside;
	pid_t pid;

	(void)data;
	if (!leaf)
		skip();
	assert_int_equal(processes_new(leaf, getpid(), &processes), 0);
	for (int k = 0; k < 3; k++) {
		pid = processes_fork(processes, &inside);
		if (pid == 0)
			_exit(7);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(WEXITSTATUS(status), 7);
		assert_int_equal(processes_kill(processes), 0);
		assert_int_equal(processes_sockets(processes, &family, 1, SOCK_STREAM, &fd, &err),
				 0);
		assert_true(is_of(leaf, fd));
		close(fd);
	}
	assert_int_equal(cgroup_populated(leaf), 0);
}

static void test_processes_without_cgroup_fork_and_sockets_stay_outside(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;
	int family = AF_INET, fd = -1;
	struct error err;
	bool inside = true;
	pid_t pid;

	(void)data;
	assert_int_equal(processes_new(NULL, getpid(), &processes), 0);
	assert_int_equal(processes_sockets(processes, &family, 1, SOCK_STREAM, &fd, &err), 0);
	assert_true(fd >= 0);
	close(fd);
	pid = processes_fork(processes, &inside);
	if (pid == 0)
		_exit(0);
	assert_false(inside);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_processes_sockets_without_the_cgroup_say_why(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;
	int family = AF_INET, fd = -1;
	struct error err;

	(void)data;
	assert_int_equal(processes_new("/nonexistent/leaf", getpid(), &processes), 0);
	assert_int_equal(processes_sockets(processes, &family, 1, SOCK_STREAM, &fd, &err), -ENOENT);
	assert_string_equal(err.text, "join cgroup /nonexistent/leaf: No such file or directory");
}

static void write_to(const char *folder, const char *name, const char *text)
{
	char file[128];
	FILE *f;

	snprintf(file, sizeof(file), "%s/%s", folder, name);
	f = fopen(file, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* Of a process whose last thread is ending nothing is listed. */
static void test_processes_cgroup_that_is_busy_without_a_process_is_not_empty(void **state)
{
	static const struct {
		const char *procs, *events;
		int any;
	} cases[] = {
		{"", "populated 0\nfrozen 0\n", 0}, {"", "populated 1\nfrozen 0\n", 1},
		{"77\n", "populated 1\n", 1},       {"42\n", "populated 1\n", 0 /* the agent */},
		{"42\n77\n", "populated 1\n", 1},
	};
	char folder[] = "/tmp/test_processes.XXXXXX", command[64];
	struct processes *processes;

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(processes_new(folder, 42, &processes), 0);
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		write_to(folder, "cgroup.procs", cases[k].procs);
		write_to(folder, "cgroup.events", cases[k].events);
		assert_int_equal(processes_any(processes), cases[k].any);
	}
	processes_free(processes);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_processes_descendants_are_found_and_killed),
		cmocka_unit_test(test_processes_daemonised_descendants_are_found),
		cmocka_unit_test(test_processes_of_another_root_are_its_descendants_only),
		cmocka_unit_test(test_processes_oldest_child_is_whom_a_daemon_leaves),
		cmocka_unit_test(test_processes_oldest_child_in_cgroup),
		cmocka_unit_test(test_processes_kin_of_descendants),
		cmocka_unit_test(test_processes_kin_in_cgroup),
		cmocka_unit_test(test_processes_without_cgroup_moving_does_nothing),
		cmocka_unit_test(test_processes_cgroup_is_found_and_killed),
		cmocka_unit_test(test_processes_cgroups_below_count),
		cmocka_unit_test(test_processes_missing_cgroup_is_empty_and_cannot_be_joined),
		cmocka_unit_test(test_processes_sockets_are_of_the_cgroup_and_nobody_moves),
		cmocka_unit_test(test_processes_fork_begins_in_the_cgroup),
		cmocka_unit_test(test_processes_that_were_killed_are_followed_by_others),
		cmocka_unit_test(test_processes_without_cgroup_fork_and_sockets_stay_outside),
		cmocka_unit_test(test_processes_sockets_without_the_cgroup_say_why),
		cmocka_unit_test(test_processes_cgroup_that_is_busy_without_a_process_is_not_empty),
	};
	int failed;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	make_leaf();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	remove_leaf();
	return failed;
}
