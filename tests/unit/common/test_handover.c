/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/handover.h"
#include "common/processes.h"

static char folder[64], path[PATHS_MAX];
static struct error err;

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/baton-test-handover-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/web.3.1.handover", folder);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

/* The file with the launch specification of "sleep". */
static int spec_file(void)
{
	char *argv[] = {(char *)"sleep", (char *)"1\\n2", NULL};
	char *environment[] = {(char *)"SECRET=a\nb", NULL};
	struct launch_spec spec = {
		.service = (char *)"web",
		.generation = 3,
		.instance = 1,
		.executable = (char *)"/bin/sleep",
		.argv = argv,
		.environment = environment,
		.directory = (char *)"/",
	};
	cleanup_free char *text = NULL;
	size_t length;
	FILE *file = tmpfile();
	int fd;

	assert_non_null(file);
	assert_int_equal(launch_spec_encode(&spec, &text, &length), 0);
	fd = dup(fileno(file));
	fclose(file);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, length), length);
	return fd;
}

static struct handover example(void)
{
	return (struct handover){
		.hello = {.type = REPORT_HELLO,
			  .version = PROTOCOL_VERSION,
			  .service = "web",
			  .generation = 3,
			  .instance = 1,
			  .agent_pid = 77,
			  .state = AGENT_LEAVING,
			  .steady = true,
			  .pid = 78,
			  .ready = true,
			  .serial = 9,
			  .n_sockets = 1,
			  .sockets = {{.cookie = UINT64_MAX,
				       .inode = 6,
				       .own = true,
				       .address = "127.0.0.1:80"}},
			  .tail = "two\nlines"},
		.agent_started = UINT64_MAX,
		.started = 12345678901234,
		.deadline_ms = 99,
		.signal = SIGQUIT,
		.daemonises = true,
		.notify_name = "@baton/notify/1",
		.pipes = {11, 12},
	};
}

static void write_example(const struct handover *handover)
{
	cleanup_close int fd = spec_file();

	if (handover_write(path, handover, fd, &err) < 0)
		fail_msg("%s", err.text);
}

static void test_handover_is_read_as_it_was_written(void **state)
{
	struct handover written = example(), read;
	struct stat st;

	(void)state;
	write_example(&written);
	if (handover_read(path, &read, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(read.hello.agent_pid, 77);
	assert_int_equal(read.hello.state, AGENT_LEAVING);
	assert_int_equal(read.hello.n_sockets, 1);
	assert_true(read.hello.sockets[0].cookie == UINT64_MAX);
	assert_string_equal(read.hello.tail, "two\nlines");
	assert_true(read.agent_started == UINT64_MAX);
	assert_true(read.started == 12345678901234);
	assert_int_equal(read.deadline_ms, 99);
	assert_int_equal(read.signal, SIGQUIT);
	assert_true(read.daemonises);
	assert_string_equal(read.notify_name, "@baton/notify/1");
	assert_int_equal(read.pipes[1], 12);
	assert_string_equal(read.spec.environment[0], "SECRET=a\nb");
	handover_done(&read);
	/* It has the environment. */
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_handover_is_replaced_as_a_whole(void **state)
{
	struct handover written = example(), read;

	(void)state;
	write_example(&written);
	written.signal = 0;
	write_example(&written);
	assert_int_equal(handover_read(path, &read, &err), 0);
	assert_int_equal(read.signal, 0);
	handover_done(&read);
}

static void test_handover_that_cannot_be_written_is_told(void **state)
{
	struct handover written = example();
	cleanup_close int fd = spec_file();

	(void)state;
	assert_int_equal(handover_write("/nonexistent/web.3.1.handover", &written, fd, &err),
			 -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/web.3.1.handover"));
}

static void test_handover_of_an_earlier_boot_is_none(void **state)
{
	struct handover written = example(), read;
	char text[8192];
	FILE *file;
	size_t n;
	char *id;

	(void)state;
	write_example(&written);
	file = fopen(path, "r+");
	assert_non_null(file);
	n = fread(text, 1, sizeof(text) - 1, file);
	text[n] = '\0';
	id = strstr(text, "\"boot_id\":\"");
	assert_non_null(id);
	id[strlen("\"boot_id\":\"")] = 'x';
	rewind(file);
	assert_int_equal(fwrite(text, 1, n, file), n);
	fclose(file);
	assert_int_equal(handover_read(path, &read, &err), -ENOENT);
	assert_non_null(strstr(err.text, "earlier boot"));
}

static void test_handover_that_is_cut_is_refused(void **state)
{
	struct handover written = example(), read;
	struct stat st;

	(void)state;
	write_example(&written);
	assert_int_equal(stat(path, &st), 0);
	for (off_t size = st.st_size - 1; size >= 0; size -= 37) {
		assert_int_equal(truncate(path, size), 0);
		assert_true(handover_read(path, &read, &err) < 0);
		handover_done(&read);
	}
	assert_int_equal(handover_read("/nonexistent", &read, &err), -ENOENT);
}

static void test_handover_path_is_beside_the_socket(void **state)
{
	char long_path[PATHS_MAX + 1], found[PATHS_MAX];

	(void)state;
	assert_int_equal(handover_path("/run/baton/agents/web.3.1.sock", found), 0);
	assert_string_equal(found, "/run/baton/agents/web.3.1.handover");
	memset(long_path, 'x', PATHS_MAX - 3);
	long_path[PATHS_MAX - 3] = '\0';
	assert_int_equal(handover_path(long_path, found), -ENAMETOOLONG);
}

static void test_handover_is_alive_as_long_as_its_process(void **state)
{
	struct handover handover = example();
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		pause();
		_exit(0);
	}
	handover.hello.pid = pid;
	assert_int_equal(processes_started(pid, &handover.started), 0);
	assert_true(handover_is_alive(&handover));
	handover.hello.state = AGENT_FAILED;
	assert_false(handover_is_alive(&handover));
	handover.hello.state = AGENT_RUNNING;
	handover.started++; /* another process has that pid */
	assert_false(handover_is_alive(&handover));
	handover.started--;
	kill(pid, SIGKILL);
	/* A zombie is not alive. */
	assert_int_equal(waitid(P_PID, (id_t)pid, &(siginfo_t){}, WEXITED | WNOWAIT), 0);
	assert_false(handover_is_alive(&handover));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_false(handover_is_alive(&handover));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_handover_##name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(is_read_as_it_was_written),       TEST(is_replaced_as_a_whole),
		TEST(that_cannot_be_written_is_told),  TEST(of_an_earlier_boot_is_none),
		TEST(that_is_cut_is_refused),          TEST(path_is_beside_the_socket),
		TEST(is_alive_as_long_as_its_process),
	};

	return cmocka_run_group_tests_name("handover", tests, NULL, NULL);
}
