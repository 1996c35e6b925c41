/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/agent/launch_fixture.h"

/* ---- what the server gets ------------------------------------------------------------------- */

static void test_launch_environment_is_exactly_what_is_specified(void **data)
{
	struct fixture *fixture = *data;
	char expected[64];
	pid_t pid = 0;

	setenv("BATON_TEST_LEAK", "1", 1);
	listen_on(fixture, "127.0.0.1:7001", "[::1]:7002");
	fixture->environment[0] = (char *)"A=x{fd}y{fds:,}";
	fixture->environment[1] = (char *)"EMPTY=";
	fixture->environment[2] = (char *)"LISTEN_PID=1";
	fixture->environment[3] = (char *)"LISTEN_FDS=99";
	fixture->environment[4] = (char *)"LISTEN_FDSX=kept";
	fixture->environment[5] = (char *)"NOTIFY_SOCKET=/elsewhere";
	fixture->request.notify_socket = "@here";
	fixture->spec.executable = (char *)"/usr/bin/env";
	fixture->argv[0] = (char *)"env";
	fixture->argv[1] = NULL;
	assert_int_equal(run(fixture, &pid), 0);
	unsetenv("BATON_TEST_LEAK");
	check_line(fixture, "A=x3y3,4");
	check_line(fixture, "EMPTY=");
	check_line(fixture, "LISTEN_FDSX=kept");
	check_line(fixture, "LISTEN_FDS=2");
	check_line(fixture, "LISTEN_FDNAMES=web.7001:web.7002");
	check_line(fixture, "NOTIFY_SOCKET=@here");
	snprintf(expected, sizeof(expected), "LISTEN_PID=%d", (int)pid);
	check_line(fixture, expected);
	assert_int_equal(count_lines(fixture->output), 7);
}

static void test_launch_go_is_told_to_listen_without_mptcp(void **data)
{
	static const struct {
		enum socket_mode mode;
		const char *given, *expected;
	} cases[] = {
		{SOCKETS_NATIVE, NULL, "GODEBUG=multipathtcp=0\n"},
		{SOCKETS_AUTO, "GODEBUG=", "GODEBUG=multipathtcp=0\n"},
		{SOCKETS_TRANSPARENT, "GODEBUG=a=1", "GODEBUG=a=1,multipathtcp=0\n"},
		{SOCKETS_NATIVE, "GODEBUG=multipathtcp=1", "GODEBUG=multipathtcp=1\n"},
		{SOCKETS_INHERIT, "GODEBUG=a=1", "GODEBUG=a=1\n"},
	};
	struct fixture *fixture = *data;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		pid_t pid = 0;

		fixture->spec.mode = cases[i].mode;
		fixture->environment[0] = (char *)cases[i].given;
		fixture->spec.executable = (char *)"/usr/bin/env";
		fixture->argv[0] = (char *)"env";
		fixture->argv[1] = NULL;
		assert_int_equal(run(fixture, &pid), 0);
		assert_string_equal(fixture->output, cases[i].expected);
	}
}

static void test_launch_without_sockets_has_no_listen_variables(void **data)
{
	struct fixture *fixture = *data;
	pid_t pid = 0;

	fixture->spec.executable = (char *)"/usr/bin/env";
	fixture->argv[0] = (char *)"env";
	fixture->argv[1] = NULL;
	assert_int_equal(run(fixture, &pid), 0);
	assert_string_equal(fixture->output, "PATH=/usr/bin:/bin\n");
}

static void test_launch_arguments_are_expanded(void **data)
{
	struct fixture *fixture = *data;

	listen_on(fixture, "127.0.0.1:7001", NULL);
	run_script(fixture, "echo {fd} {generation} {instance} '{fds:;};' '{other}'");
	assert_string_equal(fixture->output, "3 7 2 3; {other}\n");
}

static void test_launch_descriptors_are_the_sockets_and_nothing_else(void **data)
{
	struct fixture *fixture = *data;
	int leaks[3];

	/* Without close-on-exec, low and high; as a careless parent might leave them. */
	leaks[0] = open("/dev/null", O_RDWR);
	leaks[1] = dup(leaks[0]);
	leaks[2] = fcntl(leaks[0], F_DUPFD, 500);
	listen_on(fixture, "127.0.0.1:7001", "127.0.0.1:7002");
	run_script(fixture, "exec ls -l /proc/self/fd");
	for (size_t i = 0; i < 3; i++)
		close(leaks[i]);
	assert_non_null(strstr(fixture->output, " 0 -> /dev/null\n"));
	assert_non_null(strstr(fixture->output, " 1 -> pipe:["));
	assert_non_null(strstr(fixture->output, " 2 -> pipe:["));
	for (size_t i = 0; i < 2; i++) {
		char expected[64];

		snprintf(expected, sizeof(expected), " %zu -> socket:[%llu]\n", 3 + i,
			 (unsigned long long)fixture->listeners.list[i].inode);
		assert_non_null(strstr(fixture->output, expected));
	}
	/* "total", five descriptors, and the one by which ls reads. */
	assert_int_equal(count_lines(fixture->output), 7);
}

/* The sockets lie just where others have to go: they must not be lost on the way. */
static void test_launch_overlapping_descriptors_are_sorted_out(void **data)
{
	struct fixture *fixture = *data;
	int first, second;
	char expected[64];

	listen_on(fixture, "127.0.0.1:7001", "127.0.0.1:7002");
	first = fixture->listeners.list[0].fd;
	second = fixture->listeners.list[1].fd;
	/* Swapped: the first where the second must go, the second where the first must. */
	fixture->listeners.list[0].fd = fcntl(first, F_DUPFD_CLOEXEC, 100);
	fixture->listeners.list[1].fd = fcntl(second, F_DUPFD_CLOEXEC, 101);
	assert_int_equal(dup3(fixture->listeners.list[0].fd, 4, O_CLOEXEC), 4);
	assert_int_equal(dup3(fixture->listeners.list[1].fd, 3, O_CLOEXEC), 3);
	for (size_t i = 0; i < 2; i++)
		close(fixture->listeners.list[i].fd);
	if (first > 4)
		close(first);
	if (second > 4)
		close(second);
	fixture->listeners.list[0].fd = 4;
	fixture->listeners.list[1].fd = 3;
	run_script(fixture, "exec readlink /proc/self/fd/3 /proc/self/fd/4");
	snprintf(expected, sizeof(expected), "socket:[%llu]\nsocket:[%llu]\n",
		 (unsigned long long)fixture->listeners.list[0].inode,
		 (unsigned long long)fixture->listeners.list[1].inode);
	assert_string_equal(fixture->output, expected);
}

static void test_launch_signals_session_and_umask_are_fresh(void **data)
{
	struct fixture *fixture = *data;
	char expected[64];
	sigset_t mask, old;
	pid_t pid;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, &old);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	umask(077);
	pid = run_script(fixture, "umask; exec cat /proc/self/status /proc/self/stat");
	sigprocmask(SIG_SETMASK, &old, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	umask(022);
	check_line(fixture, "0022");
	check_line(fixture, "SigBlk:\t0000000000000000");
	check_line(fixture, "SigIgn:\t0000000000000000");
	snprintf(expected, sizeof(expected), "%d (cat) R %d %d %d 0", (int)pid, (int)getpid(),
		 (int)pid, (int)pid);
	assert_non_null(strstr(fixture->output, expected));
}

static void test_launch_becomes_the_user(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.set_ids = true;
	fixture->spec.uid = NOBODY;
	fixture->spec.gid = NOBODY - 1;
	fixture->spec.groups[0] = 1000001;
	fixture->spec.groups[1] = 1000002;
	fixture->spec.n_groups = 2;
	run_script(fixture, "exec grep -E 'Uid|Gid|Groups|CapEff|CapPrm' /proc/self/status");
	check_line(fixture, "Uid:\t65534\t65534\t65534\t65534");
	check_line(fixture, "Gid:\t65533\t65533\t65533\t65533");
	check_line(fixture, "Groups:\t1000001 1000002 ");
	check_line(fixture, "CapEff:\t0000000000000000");
	check_line(fixture, "CapPrm:\t0000000000000000");
}

static void test_launch_runs_in_its_directory(void **data)
{
	struct fixture *fixture = *data;
	char expected[80];

	fixture->spec.directory = fixture->folder;
	run_script(fixture, "pwd");
	snprintf(expected, sizeof(expected), "%s\n", fixture->folder);
	assert_string_equal(fixture->output, expected);
}

static void test_launch_runs_in_the_directory_of_its_instance(void **data)
{
	struct fixture *fixture = *data;
	char folder[96], directory[96], expected[112];

	snprintf(folder, sizeof(folder), "%s/7.2", fixture->folder);
	snprintf(directory, sizeof(directory), "%s/{generation}.{instance}", fixture->folder);
	assert_int_equal(mkdir(folder, 0755), 0);
	fixture->spec.directory = directory;
	run_script(fixture, "pwd");
	snprintf(expected, sizeof(expected), "%s\n", folder);
	assert_string_equal(fixture->output, expected);
	assert_int_equal(rmdir(folder), 0);
}

/* ---- what goes wrong ------------------------------------------------------------------------ */

static void test_launch_missing_executable_is_named(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.executable = (char *)"/nonexistent/server";
	check_failure(fixture, -ENOENT, "exec /nonexistent/server: No such file or directory");
}

static void test_launch_file_without_permission_is_named(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.executable = (char *)"/etc/passwd";
	check_failure(fixture, -EACCES, "exec /etc/passwd: Permission denied");
}

static void test_launch_missing_interpreter_is_explained(void **data)
{
	struct fixture *fixture = *data;
	char path[80], expected[160];
	FILE *file;

	snprintf(path, sizeof(path), "%s/script", fixture->folder);
	file = fopen(path, "we");
	assert_non_null(file);
	fputs("#!/nonexistent/interpreter\n", file);
	fclose(file);
	assert_int_equal(chmod(path, 0755), 0);
	fixture->spec.executable = path;
	snprintf(expected, sizeof(expected), "exec %s: its interpreter or loader does not exist",
		 path);
	check_failure(fixture, -ENOENT, expected);
	unlink(path);
}

static void test_launch_missing_directory_is_named(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.directory = (char *)"/nonexistent/dir";
	check_failure(fixture, -ENOENT, "chdir /nonexistent/dir: No such file or directory");
	fixture->spec.directory = (char *)"/nonexistent/{generation}/{instance}{fd}";
	check_failure(fixture, -ENOENT, "chdir /nonexistent/7/2{fd}: No such file or directory");
}

static void test_launch_directory_closed_to_the_user_is_named(void **data)
{
	struct fixture *fixture = *data;
	struct error expected;

	error_set(&expected, -EACCES, "chdir %s", fixture->folder);
	assert_int_equal(chmod(fixture->folder, 0700), 0);
	fixture->spec.directory = fixture->folder;
	fixture->spec.set_ids = true;
	fixture->spec.uid = fixture->spec.gid = NOBODY;
	check_failure(fixture, -EACCES, expected.text);
}

static void test_launch_missing_cgroup_is_named(void **data)
{
	struct fixture *fixture = *data;
	struct processes *processes = NULL;

	assert_int_equal(processes_new("/nonexistent/leaf", getpid(), &processes), 0);
	fixture->request.processes = processes;
	check_failure(fixture, -ENOENT, "cgroup /nonexistent/leaf: No such file or directory");
	processes_free(processes);
}

static void test_launch_placeholder_without_socket_is_refused(void **data)
{
	struct fixture *fixture = *data;

	fixture->environment[1] = (char *)"FD={fd}";
	check_failure(fixture, -EINVAL, "{fd} or {fds:} is used, but nothing is listened on");
}

static void test_launch_placeholder_in_a_mode_without_sockets_is_refused(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.n_listen = 1;
	fixture->spec.mode = SOCKETS_NATIVE;
	fixture->environment[1] = (char *)"FD={fd}";
	check_failure(fixture, -EINVAL,
		      "{fd} or {fds:} is used, but in this mode (native) no socket is passed");
}

static void test_launch_that_hangs_is_given_up(void **data)
{
	struct fixture *fixture = *data;
	struct launching launching;
	int fds[2], status;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	fixture->request.stdout_fd = fixture->request.stderr_fd = fds[1];
	fixture->argv[2] = (char *)"sleep 1000";
	assert_int_equal(launch_begin(&fixture->request, &launching, &fixture->err), 0);
	pid = launching.pid;
	launch_give_up(&launching);
	assert_int_equal(launching.pid, 0);
	assert_int_equal(launching.fd, -1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	/* There is nobody to kill. */
	launch_give_up(&launching);
	close(fds[0]);
	close(fds[1]);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_launch_environment_is_exactly_what_is_specified),
		TEST(test_launch_go_is_told_to_listen_without_mptcp),
		TEST(test_launch_without_sockets_has_no_listen_variables),
		TEST(test_launch_arguments_are_expanded),
		TEST(test_launch_descriptors_are_the_sockets_and_nothing_else),
		TEST(test_launch_overlapping_descriptors_are_sorted_out),
		TEST(test_launch_signals_session_and_umask_are_fresh),
		TEST(test_launch_becomes_the_user),
		TEST(test_launch_runs_in_its_directory),
		TEST(test_launch_runs_in_the_directory_of_its_instance),
		TEST(test_launch_missing_executable_is_named),
		TEST(test_launch_file_without_permission_is_named),
		TEST(test_launch_missing_interpreter_is_explained),
		TEST(test_launch_missing_directory_is_named),
		TEST(test_launch_directory_closed_to_the_user_is_named),
		TEST(test_launch_missing_cgroup_is_named),
		TEST(test_launch_placeholder_without_socket_is_refused),
		TEST(test_launch_placeholder_in_a_mode_without_sockets_is_refused),
		TEST(test_launch_that_hangs_is_given_up),
	};
	const char *reason = netns_enter();

	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
