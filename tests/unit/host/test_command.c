/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands are real: mostly shell scripts.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/host/command.h"
#include "orchestrator/host/removals.h"
#include "tests/unit/fakes/count_fds.h"

#define DEADLINE_MS 30000
#define NOBODY      65534
#define MANY        20
#define FILES       1100

static sd_event *event;
static struct error err;
static size_t fds_before;
static int held_fd = -1; /* children wait for its end before they do anything */
static char folder[64], path_variable[80], pid_file[80];

/* ---- one command ---------------------------------------------------------------------------- */

struct caller {
	struct command *command;
	int dones;
	struct command_result result;
	bool restart;
};

static char *script_argv[] = {(char *)"/bin/sh", (char *)"-c", NULL, NULL};
static char *plain_environment[] = {(char *)"PATH=/usr/bin:/bin", path_variable, NULL};

static struct command_spec spec_of(const char *script)
{
	script_argv[2] = (char *)script;
	return (struct command_spec){
		.argv = script_argv,
		.environment = plain_environment,
		.directory = "/",
		.timeout_ms = DEADLINE_MS,
	};
}

static void start(struct caller *caller, const struct command_spec *spec);

static void on_done(void *userdata, const struct command_result *result)
{
	struct caller *caller = userdata;

	caller->dones++;
	caller->command = NULL;
	caller->result = *result;
	if (caller->restart) {
		struct command_spec again = spec_of("exit 9");

		caller->restart = false;
		caller->dones = 0;
		start(caller, &again);
	}
}

static void start(struct caller *caller, const struct command_spec *spec)
{
	if (command_start(event, spec, on_done, caller, &caller->command, &err) < 0)
		fail_msg("%s", err.text);
	assert_non_null(caller->command);
	assert_int_equal(caller->dones, 0); /* never from within */
}

static void run_until_done(struct caller *caller)
{
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	while (!caller->dones && clock_monotonic_ms() < end)
		assert_true(sd_event_run(event, 100000) >= 0);
	assert_int_equal(caller->dones, 1);
}

/* Its text is exactly this. */
static void check(const struct command_spec *spec, const char *text)
{
	struct caller caller = {0};

	start(&caller, spec);
	run_until_done(&caller);
	assert_string_equal(caller.result.text, text);
}

static void check_script(const char *script, const char *text)
{
	struct command_spec spec = spec_of(script);

	check(&spec, text);
}

/* It is started, but does not come to run the program. */
static void check_not_run(const struct command_spec *spec, int error, const char *text)
{
	struct caller caller = {0};

	start(&caller, spec);
	run_until_done(&caller);
	assert_int_equal(caller.result.start_error, error);
	assert_string_equal(caller.result.text, text);
	assert_int_not_equal(caller.result.exit_code, 0);
	assert_false(caller.result.timed_out);
}

/* ---- processes ------------------------------------------------------------------------------ */

/* What a script has written to $PID; 0 where nothing. */
static pid_t written_pid(void)
{
	char text[32] = "";
	int fd = open(pid_file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	assert_true(read(fd, text, sizeof(text) - 1) >= 0);
	close(fd);
	return strchr(text, '\n') ? (pid_t)atoi(text) : 0;
}

static pid_t await_pid(void)
{
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	while (written_pid() == 0 && clock_monotonic_ms() < end)
		sd_event_run(event, 10000);
	assert_true(written_pid() > 0);
	return written_pid();
}

/* Gone, or a zombie that its new parent has not reaped. */
static bool is_dead(pid_t pid)
{
	char path[32], stat[512] = "";
	const char *end;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	if (read(fd, stat, sizeof(stat) - 1) <= 0)
		stat[0] = '\0';
	close(fd);
	end = strrchr(stat, ')');
	return !end || strlen(end) < 3 || end[2] == 'Z' || end[2] == 'X';
}

static void await_death(pid_t pid)
{
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	while (!is_dead(pid) && clock_monotonic_ms() < end)
		sd_event_run(event, 10000);
	assert_true(is_dead(pid));
}

static bool has_children(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

/* All that have ended are reaped by the loop. */
static void await_no_children(void)
{
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	while (has_children() && clock_monotonic_ms() < end)
		assert_true(sd_event_run(event, 10000) >= 0);
	assert_false(has_children());
}

static void hold_child(void)
{
	char byte;

	if (held_fd >= 0 && read(held_fd, &byte, 1) < 0)
		_exit(125);
}

static int setup(void **data)
{
	(void)data;
	fds_before = count_fds();
	strcpy(folder, "/tmp/test_command.XXXXXX");
	if (!mkdtemp(folder) || chmod(folder, 0755) < 0)
		return -1;
	snprintf(pid_file, sizeof(pid_file), "%s/pid", folder);
	snprintf(path_variable, sizeof(path_variable), "PID=%s", pid_file);
	return sd_event_new(&event) < 0 ? -1 : 0;
}

/* Every child has been reaped by the loop, every descriptor closed. */
static int teardown(void **data)
{
	(void)data;
	await_no_children();
	event = sd_event_unref(event);
	assert_int_equal(count_fds(), fds_before);
	unlink(pid_file);
	return rmdir(folder);
}

/* ---- how it ends ---------------------------------------------------------------------------- */

static void test_command_success_is_status_0(void **data)
{
	struct command_spec spec = spec_of("echo one; echo two");
	struct caller caller = {0};

	(void)data;
	start(&caller, &spec);
	run_until_done(&caller);
	assert_false(caller.result.timed_out);
	assert_int_equal(caller.result.exit_code, 0);
	assert_int_equal(caller.result.exit_signal, 0);
	assert_string_equal(caller.result.text, "exited with status 0: two");
	check_script("exit 0", "exited with status 0");
}

static void test_command_failure_says_status_and_last_line(void **data)
{
	struct command_spec spec = spec_of("echo out; echo why >&2; exit 3");
	struct caller caller = {0};

	(void)data;
	start(&caller, &spec);
	run_until_done(&caller);
	assert_int_equal(caller.result.exit_code, 3);
	assert_string_equal(caller.result.text, "exited with status 3: why");
}

static void test_command_killed_by_signal_names_it(void **data)
{
	struct command_spec spec = spec_of("echo last; kill -SEGV $$");
	struct caller caller = {0};

	(void)data;
	start(&caller, &spec);
	run_until_done(&caller);
	assert_int_equal(caller.result.exit_signal, SIGSEGV);
	assert_false(caller.result.timed_out);
	assert_string_equal(caller.result.text, "was killed by SIGSEGV: last");
	check_script("kill -KILL $$", "was killed by SIGKILL");
	check_script("kill -40 $$", "was killed by signal 40");
}

static void test_command_timeout_kills_the_whole_group(void **data)
{
	struct command_spec spec = spec_of(
		"trap '' TERM; sleep 60 & echo $! > $PID.new; mv $PID.new $PID; echo begun; wait");
	struct caller caller = {0};

	(void)data;
	spec.timeout_ms = 2500;
	start(&caller, &spec);
	run_until_done(&caller);
	assert_true(caller.result.timed_out);
	assert_int_equal(caller.result.exit_signal, SIGKILL);
	assert_string_equal(caller.result.text, "did not end within 2.5s: begun");
	await_death(await_pid());
}

static void test_command_timeout_with_endless_output_ends(void **data)
{
	struct command_spec spec = spec_of("exec yes busy");
	struct caller caller = {0};

	(void)data;
	spec.timeout_ms = 1500;
	start(&caller, &spec);
	run_until_done(&caller);
	assert_true(caller.result.timed_out);
	/* It may have been killed in the midst of a line. */
	assert_memory_equal(caller.result.text, "did not end within 1.5s: b", 26);
}

static void test_command_ended_before_a_late_loop_has_not_timed_out(void **data)
{
	struct command_spec spec = spec_of("exit 2");
	struct caller caller = {0};
	uint64_t deadline;
	siginfo_t info;

	(void)data;
	spec.timeout_ms = 5;
	deadline = clock_monotonic_ms() + spec.timeout_ms;
	held_fd = -1;
	start(&caller, &spec);
	assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
	while (clock_monotonic_ms() <= deadline + 1)
		;
	run_until_done(&caller);
	assert_false(caller.result.timed_out);
	assert_string_equal(caller.result.text, "exited with status 2");
}

static void test_command_that_cannot_be_killed_is_given_up(void **data)
{
	struct command_spec spec = spec_of("echo $$ > $PID; exec sleep 60");
	struct caller caller = {0};
	pid_t pid;

	(void)data;
	if (geteuid() != 0)
		skip();
	spec.timeout_ms = 2500;
	start(&caller, &spec);
	pid = await_pid();
	/* Who is neither root nor that user may not. */
	assert_int_equal(setresuid(NOBODY, NOBODY, 0), 0);
	run_until_done(&caller);
	assert_int_equal(setresuid(0, 0, 0), 0);
	assert_true(caller.result.timed_out);
	assert_string_equal(caller.result.text, "did not end within 2.5s, nor when it was killed");
	assert_false(is_dead(pid));
	assert_int_equal(kill(pid, SIGKILL), 0);
}

/* ---- what it leaves behind ------------------------------------------------------------------ */

static void test_command_leaves_a_process_it_is_killed(void **data)
{
	(void)data;
	/* It holds the pipe, too. */
	check_script("sleep 60 & echo $! > $PID; echo end; exit 4", "exited with status 4: end");
	await_death(await_pid());
}

static void test_command_leaves_a_session_it_is_not_waited_for(void **data)
{
	pid_t pid;

	(void)data;
	check_script("setsid sh -c 'echo $$ > $PID; exec sleep 60' &"
		     "while ! [ -s $PID ]; do sleep 0.01; done; echo end",
		     "exited with status 0: end");
	pid = await_pid();
	assert_false(is_dead(pid));
	assert_int_equal(kill(pid, SIGKILL), 0);
	await_death(pid);
}

static void test_command_leaves_a_session_that_floods_it_still_ends(void **data)
{
	struct command_spec spec =
		spec_of("setsid sh -c 'echo $$ > $PID; trap \"\" PIPE; exec yes' &"
			"while ! [ -s $PID ]; do sleep 0.01; done; exit 5");
	struct caller caller = {0};
	pid_t pid;

	(void)data;
	start(&caller, &spec);
	run_until_done(&caller);
	assert_int_equal(caller.result.exit_code, 5);
	pid = await_pid();
	kill(pid, SIGKILL); /* it may have ended: nobody reads any more */
	await_death(pid);
}

/* ---- what it writes ------------------------------------------------------------------------- */

static void test_command_output_last_line_that_says_anything(void **data)
{
	(void)data;
	check_script("printf 'one\\ntwo'", "exited with status 0: two");
	check_script("printf 'one\\n\\n \\t \\r\\n\\n'", "exited with status 0: one");
	check_script("printf '\\n\\n  \\n'", "exited with status 0");
	check_script("printf '\\n  indented\\tline  \\n'", "exited with status 0: indented line");
}

static void test_command_output_is_cleaned(void **data)
{
	(void)data;
	check_script(
		"printf '\\033[1;31mred\\033[0m \\001\\177 \\302\\233x \\377 gr\\303\\274n\\r\\n'",
		"exited with status 0: red ?? ?x ? gr\xc3\xbcn");
	check_script("printf '\\033]0;title\\007 \\033['", "exited with status 0: ?]0;title? ?[");
}

static void test_command_output_huge_is_read_to_its_end(void **data)
{
	(void)data;
	check_script("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last; exit 1",
		     "exited with status 1: last");
	check_script("seq 1 200000; exit 1", "exited with status 1: 200000");
	/* A line of which a part has been read when the kept end of the output moves on. */
	check_script("(head -c 4090 /dev/zero | tr '\\0' y; echo; echo abcdefghij) > $PID;"
		     "cat $PID; exit 1",
		     "exited with status 1: abcdefghij");
}

static void test_command_output_without_newline_is_cut(void **data)
{
	struct command_spec spec = spec_of("head -c 300000 /dev/zero | tr '\\0' x");
	struct caller caller = {0};
	const char *prefix = "exited with status 0: ";
	size_t n = strlen(prefix);

	(void)data;
	start(&caller, &spec);
	run_until_done(&caller);
	assert_int_equal(strlen(caller.result.text), COMMAND_TEXT_MAX - 1);
	assert_memory_equal(caller.result.text, prefix, n);
	assert_int_equal(strspn(caller.result.text + n, "x"), COMMAND_TEXT_MAX - 1 - n);
}

static void test_command_output_is_not_cut_within_a_character(void **data)
{
	static const char *const scripts[] = {
		"for i in $(seq 400); do printf '\\303\\274'; done",
		"printf x; for i in $(seq 400); do printf '\\303\\274'; done",
	};
	const char *prefix = "exited with status 0: ";

	(void)data;
	for (size_t i = 0; i < 2; i++) {
		struct command_spec spec = spec_of(scripts[i]);
		struct caller caller = {0};

		start(&caller, &spec);
		run_until_done(&caller);
		assert_in_range(strlen(caller.result.text), COMMAND_TEXT_MAX - 3,
				COMMAND_TEXT_MAX - 1);
		assert_int_equal((strlen(caller.result.text) - strlen(prefix)) % 2, i);
		assert_null(strchr(caller.result.text, '?'));
	}
}

/* ---- what it is given ----------------------------------------------------------------------- */

static void test_command_environment_is_the_one_given(void **data)
{
	char *environment[] = {(char *)"A=1", (char *)"B=two words", NULL};
	char *argv[] = {(char *)"/bin/cat", (char *)"/proc/self/environ", NULL};
	struct command_spec spec = {
		.argv = argv, .environment = environment, .timeout_ms = DEADLINE_MS};

	(void)data;
	check(&spec, "exited with status 0: A=1?B=two words?");
	spec.environment = NULL;
	check(&spec, "exited with status 0");
}

static void test_command_session_directory_umask_and_stdin(void **data)
{
	struct command_spec spec;

	(void)data;
	check_script("set -- $(cat /proc/$$/stat); [ $5 = $$ ] && [ $6 = $$ ] && echo its own",
		     "exited with status 0: its own");
	check_script("readlink /proc/self/fd/0", "exited with status 0: /dev/null");
	umask(077);
	check_script("umask", "exited with status 0: 0022");
	umask(022);
	spec = spec_of("pwd");
	spec.directory = "/usr";
	check(&spec, "exited with status 0: /usr");
	spec.directory = NULL;
	check(&spec, "exited with status 0: /");
}

static void test_command_placeholders_are_of_its_generation(void **data)
{
	char *environment[] = {(char *)"A=x{generation}", (char *)"B={fds:;}",
			       (char *)"C={instance}", (char *)"D={other}", NULL};
	char *argv[] = {(char *)"/bin/sh", (char *)"-c", (char *)"pwd", NULL};
	struct command_spec spec = {
		.generation = 7,
		.argv = argv,
		.environment = environment,
		.directory = "/usr/lib/{generation}/{instance}",
		.timeout_ms = DEADLINE_MS,
	};

	(void)data;
	check(&spec, "exited with status 0: /usr/lib");
	argv[2] = (char *)"echo {generation} {fd} {instance} $A ${B-unset} ${C-unset} $D";
	check(&spec, "exited with status 0: 7 {fd} {instance} x7 unset unset {other}");

	/* Unless it is about one instance. */
	spec.of_instance = true;
	spec.instance = 3;
	spec.directory = "/nonexistent/{instance}";
	check_not_run(&spec, -ENOENT, "chdir /nonexistent/3: No such file or directory");
	spec.directory = NULL;
	check(&spec, "exited with status 0: 7 {fd} 3 x7 unset 3 {other}");
}

static void test_command_signals_are_reset(void **data)
{
	static const char ignore[64] = {SIG_IGN == (void (*)(int))1 ? 1 : 0};
	char *argv[] = {(char *)"/bin/grep", NULL, (char *)"/proc/self/status", NULL};
	struct command_spec spec = {.argv = argv, .timeout_ms = DEADLINE_MS};
	char before[2][64];
	sigset_t blocked, previous;

	(void)data;
	sigfillset(&blocked);
	sigdelset(&blocked, SIGALRM);
	sigprocmask(SIG_BLOCK, &blocked, &previous);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 2; i++)
		assert_int_equal(syscall(SYS_rt_sigaction, 32 + i, ignore, before[i], 8), 0);
	argv[1] = (char *)"SigBlk";
	check(&spec, "exited with status 0: SigBlk: 0000000000000000");
	argv[1] = (char *)"SigIgn";
	check(&spec, "exited with status 0: SigIgn: 0000000000000000");
	for (int i = 0; i < 2; i++)
		syscall(SYS_rt_sigaction, 32 + i, before[i], NULL, 8);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &previous, NULL);
}

static void test_command_descriptors_and_their_limit(void **data)
{
	static int fds[FILES];
	char *argv[] = {(char *)"/bin/ls", (char *)"-m", (char *)"/proc/self/fd", NULL};
	struct command_spec spec = {.argv = argv, .timeout_ms = DEADLINE_MS};
	struct rlimit before, limit;

	(void)data;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	limit.rlim_cur = limit.rlim_max;
	if (limit.rlim_max < FILES + 100)
		skip();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int i = 0; i < FILES; i++) {
		fds[i] = dup(0);
		assert_true(fds[i] >= 0);
	}
	check(&spec, "exited with status 0: 0, 1, 2, 3"); /* 3 is the folder */
	for (int i = 0; i < FILES; i++)
		close(fds[i]);
	check_script("ulimit -S -n", "exited with status 0: 1024");
	limit.rlim_cur = 256;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	check_script("ulimit -S -n", "exited with status 0: 256");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void test_command_user_is_changed(void **data)
{
	static const gid_t groups[] = {1, 2};
	struct command_spec spec = spec_of("echo $(id -u) $(id -g) $(id -G) > /dev/stderr");

	(void)data;
	if (geteuid() != 0)
		skip();
	spec.set_ids = true;
	spec.uid = NOBODY;
	spec.gid = NOBODY;
	check(&spec, "exited with status 0: 65534 65534 65534");
	spec.groups = groups;
	spec.n_groups = 2;
	check(&spec, "exited with status 0: 65534 65534 65534 1 2");
	/* The limit of time holds for other users, too. */
	spec = spec_of("exec sleep 60");
	spec.set_ids = true;
	spec.uid = spec.gid = NOBODY;
	spec.timeout_ms = 100;
	check(&spec, "did not end within 100ms");
}

/* ---- what cannot be started ----------------------------------------------------------------- */

static void write_script(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void test_command_start_bad_program_says_exec(void **data)
{
	char path[96], text[256];
	char *argv[] = {(char *)"/nonexistent/x", NULL};
	struct command_spec spec = {.argv = argv, .timeout_ms = DEADLINE_MS};

	(void)data;
	check_not_run(&spec, -ENOENT, "exec /nonexistent/x: No such file or directory");
	snprintf(path, sizeof(path), "%s/script", folder);
	argv[0] = path;
	write_script(path, "#!/bin/sh\n", 0644);
	snprintf(text, sizeof(text), "exec %s: Permission denied", path);
	check_not_run(&spec, -EACCES, text);
	write_script(path, "#!/nonexistent/sh\n", 0755);
	snprintf(text, sizeof(text), "exec %s: its interpreter or loader does not exist", path);
	check_not_run(&spec, -ENOENT, text);
	write_script(path, "echo\n", 0755);
	snprintf(text, sizeof(text),
		 "exec %s: Exec format error (a script begins with a line like #!/bin/sh)", path);
	check_not_run(&spec, -ENOEXEC, text);
	write_script(path, "#!/bin/sh\necho here\n", 0755);
	argv[0] = (char *)"./script";
	spec.directory = folder;
	check(&spec, "exited with status 0: here");
	unlink(path);
}

/* The reason is behind the path. */
static void test_command_of_a_long_path_says_why_it_was_not_run(void **data)
{
	char path[401];
	char *argv[] = {path, NULL};
	struct command_spec spec = {.argv = argv, .timeout_ms = DEADLINE_MS};
	struct caller caller = {0};

	(void)data;
	memset(path, 'x', sizeof(path) - 1);
	for (size_t k = 0; k < sizeof(path); k += 100)
		path[k] = '/';
	path[sizeof(path) - 1] = '\0';
	start(&caller, &spec);
	run_until_done(&caller);
	assert_int_equal(caller.result.start_error, -ENOENT);
	assert_non_null(strstr(caller.result.text, "x: No such file or directory"));
}

static void test_command_start_bad_folder_says_chdir(void **data)
{
	struct command_spec spec = spec_of("exit 0");
	char text[128];

	(void)data;
	spec.directory = "/nonexistent";
	check_not_run(&spec, -ENOENT, "chdir /nonexistent: No such file or directory");
	spec.directory = "/dev/null";
	check_not_run(&spec, -ENOTDIR, "chdir /dev/null: Not a directory");
	if (geteuid() != 0)
		return;
	assert_int_equal(chmod(folder, 0700), 0);
	spec.directory = folder;
	spec.set_ids = true;
	spec.uid = spec.gid = NOBODY;
	snprintf(text, sizeof(text), "chdir %s: Permission denied", folder);
	check_not_run(&spec, -EACCES, text);
}

static void test_command_start_user_without_privilege_says_which_step(void **data)
{
	struct command_spec spec = spec_of("exit 0");

	(void)data;
	if (geteuid() != 0)
		skip();
	spec.set_ids = true;
	spec.uid = spec.gid = 1;
	assert_int_equal(seteuid(NOBODY), 0);
	check_not_run(&spec, -EPERM, "set supplementary groups: Operation not permitted");
	assert_int_equal(seteuid(0), 0);
}

static void test_command_start_no_descriptors_is_emfile(void **data)
{
	struct command_spec spec = spec_of("exit 0");
	struct rlimit before, limit;
	struct caller caller = {0};
	int r = -EMFILE;

	(void)data;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	/* One more each time, until there are enough. */
	for (rlim_t n = 3; r == -EMFILE && n < 64; n++) {
		limit.rlim_cur = n;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		r = command_start(event, &spec, on_done, &caller, &caller.command, &err);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		if (r < 0)
			assert_non_null(strstr(err.text, ": Too many open files"));
		if (r < 0)
			await_no_children();
	}
	assert_int_equal(r, 0);
	run_until_done(&caller);
	assert_string_equal(caller.result.text, "exited with status 0");
}

/* Make children wait; returns what lets them go when it is closed. */
static int hold_children(void)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	held_fd = fds[0];
	return fds[1];
}

static void let_go(int fd)
{
	assert_int_equal(write(fd, "", 1), 1);
	close(fd);
	close(held_fd);
	held_fd = -1;
}

static void test_command_slow_exec_that_fails_is_told_at_the_end(void **data)
{
	char *argv[] = {(char *)"/nonexistent/x", NULL};
	struct command_spec spec = {.argv = argv, .timeout_ms = DEADLINE_MS};
	struct caller failing = {0}, working = {0};
	int fd;

	(void)data;
	fd = hold_children();
	start(&failing, &spec);
	let_go(fd);
	run_until_done(&failing);
	assert_string_equal(failing.result.text, "exec /nonexistent/x: No such file or directory");
	assert_int_equal(failing.result.exit_code, 127);
	spec = spec_of("echo late; exit 1");
	fd = hold_children();
	start(&working, &spec);
	let_go(fd);
	run_until_done(&working);
	assert_string_equal(working.result.text, "exited with status 1: late");
}

/* ---- in a cgroup of its own; as root -------------------------------------------------------- */

static char base[CGROUP_PATH_MAX];
static struct removals *removals;

/* The script writes the pid of what it leaves behind, in a session of its own, to $PID. */
#define BACKGROUND                                                                                 \
	"setsid sh -c 'echo $$ > $PID; exec sleep 60' & while ! [ -s $PID ]; do :; done; "

static int setup_leaves(void **data)
{
	char name[64];

	base[0] = '\0';
	snprintf(name, sizeof(name), "baton-test-command-%d", getpid());
	if (setup(data) < 0)
		return -1;
	if (geteuid() == 0 && cgroup_base(name, base, &err) < 0)
		base[0] = '\0';
	return removals_new(event, &removals, &err);
}

/* Every leaf has been removed. */
static int teardown_leaves(void **data)
{
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	await_no_children();
	while (removals_left(removals) > 0 && clock_monotonic_ms() < end)
		assert_true(sd_event_run(event, 10000) >= 0);
	removals_free(removals);
	/* Not cgroup_remove(): nothing may be below it. */
	if (base[0])
		assert_int_equal(rmdir(base), 0);
	return teardown(data);
}

static struct command_spec leaf_spec(const char *script)
{
	struct command_spec spec = spec_of(script);

	if (!base[0])
		skip();
	spec.cgroup_base = base;
	spec.removals = removals;
	return spec;
}

static void test_command_leaf_is_its_own_and_the_rest_is_as_without(void **data)
{
	struct command_spec spec =
		leaf_spec("echo $(sed -n 's,^0::.*/baton-test-command-,,p' /proc/self/cgroup) "
			  "$(id -u) $(id -g) $(id -G) $(ulimit -S -n)");
	struct rlimit before, limit;
	char text[128];

	(void)data;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	limit.rlim_cur = 256;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	spec.set_ids = true;
	spec.uid = spec.gid = NOBODY;
	snprintf(text, sizeof(text), "exited with status 0: %d/command.1 65534 65534 65534 256",
		 getpid());
	check(&spec, text);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void test_command_leaf_dies_whole_at_the_deadline(void **data)
{
	struct command_spec spec = leaf_spec(BACKGROUND "sleep 60");
	struct caller caller = {0};

	(void)data;
	spec.timeout_ms = 2000;
	start(&caller, &spec);
	run_until_done(&caller);
	assert_true(caller.result.timed_out);
	await_death(await_pid());
}

static void test_command_leaf_dies_whole_at_its_end(void **data)
{
	struct command_spec spec = leaf_spec(BACKGROUND "echo ready");

	(void)data;
	check(&spec, "exited with status 0: ready");
	await_death(await_pid());
}

static void test_command_leaf_dies_whole_when_cancelled(void **data)
{
	struct command_spec spec = leaf_spec(BACKGROUND "sleep 60");
	struct caller caller = {0};
	pid_t pid;

	(void)data;
	start(&caller, &spec);
	pid = await_pid();
	command_cancel(caller.command);
	await_death(pid);
}

/* A program that cannot be started leaves none behind, either. */
static void test_command_leaf_goes_if_nothing_was_started(void **data)
{
	char *argv[] = {(char *)"/nonexistent/x", NULL};
	struct command_spec spec = leaf_spec("exit 0");

	(void)data;
	spec.argv = argv;
	check_not_run(&spec, -ENOENT, "exec /nonexistent/x: No such file or directory");
}

/* A cgroup that is not there is no reason to run nothing. */
static void test_command_without_room_for_a_leaf_runs_all_the_same(void **data)
{
	struct command_spec spec = spec_of("echo ran");

	(void)data;
	spec.cgroup_base = "/nonexistent";
	check(&spec, "exited with status 0: ran");
}

/* ---- several, and none ---------------------------------------------------------------------- */

static void test_command_cancel_kills_and_is_silent(void **data)
{
	struct command_spec spec =
		spec_of("trap '' TERM; sleep 60 & echo $! > $PID; while :; do echo x; done");
	struct caller caller = {0};
	pid_t pid;

	(void)data;
	command_cancel(NULL);
	start(&caller, &spec);
	pid = await_pid();
	command_cancel(caller.command);
	await_death(pid);
	await_no_children();
	assert_int_equal(caller.dones, 0);
}

static void test_command_cancel_before_the_exec_and_after_the_end(void **data)
{
	struct command_spec spec = spec_of("exit 0");
	struct caller early = {0}, late = {0};
	siginfo_t info;
	int fd;

	(void)data;
	fd = hold_children();
	start(&early, &spec);
	command_cancel(early.command);
	await_no_children();
	let_go(fd);
	start(&late, &spec);
	assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
	command_cancel(late.command);
	await_no_children();
	assert_int_equal(early.dones + late.dones, 0);
}

static void test_command_many_at_once_all_end(void **data)
{
	static struct caller callers[MANY];
	char script[MANY][64], text[64];

	(void)data;
	memset(callers, 0, sizeof(callers));
	for (int i = 0; i < MANY; i++) {
		struct command_spec spec;

		snprintf(script[i], sizeof(script[i]), "echo number %d; exit %d", i, i);
		spec = spec_of(script[i]);
		start(&callers[i], &spec);
	}
	for (int i = 0; i < MANY; i++) {
		run_until_done(&callers[i]);
		snprintf(text, sizeof(text), "exited with status %d: number %d", i, i);
		assert_string_equal(callers[i].result.text, text);
	}
}

static void test_command_start_from_on_done_works(void **data)
{
	struct command_spec spec = spec_of("exit 0");
	struct caller caller = {.restart = true};

	(void)data;
	start(&caller, &spec);
	run_until_done(&caller);
	assert_string_equal(caller.result.text, "exited with status 9");
}

int main(void)
{
#define TEST(name)      cmocka_unit_test_setup_teardown(name, setup, teardown)
#define LEAF_TEST(name) cmocka_unit_test_setup_teardown(name, setup_leaves, teardown_leaves)
	const struct CMUnitTest tests[] = {
		TEST(test_command_success_is_status_0),
		TEST(test_command_failure_says_status_and_last_line),
		TEST(test_command_killed_by_signal_names_it),
		TEST(test_command_timeout_kills_the_whole_group),
		TEST(test_command_timeout_with_endless_output_ends),
		TEST(test_command_ended_before_a_late_loop_has_not_timed_out),
		TEST(test_command_that_cannot_be_killed_is_given_up),
		TEST(test_command_leaves_a_process_it_is_killed),
		TEST(test_command_leaves_a_session_it_is_not_waited_for),
		TEST(test_command_leaves_a_session_that_floods_it_still_ends),
		TEST(test_command_output_last_line_that_says_anything),
		TEST(test_command_output_is_cleaned),
		TEST(test_command_output_huge_is_read_to_its_end),
		TEST(test_command_output_without_newline_is_cut),
		TEST(test_command_output_is_not_cut_within_a_character),
		TEST(test_command_environment_is_the_one_given),
		TEST(test_command_session_directory_umask_and_stdin),
		TEST(test_command_placeholders_are_of_its_generation),
		TEST(test_command_signals_are_reset),
		TEST(test_command_descriptors_and_their_limit),
		TEST(test_command_user_is_changed),
		TEST(test_command_start_bad_program_says_exec),
		TEST(test_command_of_a_long_path_says_why_it_was_not_run),
		TEST(test_command_start_bad_folder_says_chdir),
		TEST(test_command_start_user_without_privilege_says_which_step),
		TEST(test_command_start_no_descriptors_is_emfile),
		TEST(test_command_slow_exec_that_fails_is_told_at_the_end),
		TEST(test_command_cancel_kills_and_is_silent),
		TEST(test_command_cancel_before_the_exec_and_after_the_end),
		TEST(test_command_many_at_once_all_end),
		TEST(test_command_start_from_on_done_works),
		LEAF_TEST(test_command_leaf_is_its_own_and_the_rest_is_as_without),
		LEAF_TEST(test_command_leaf_dies_whole_at_the_deadline),
		LEAF_TEST(test_command_leaf_dies_whole_at_its_end),
		LEAF_TEST(test_command_leaf_dies_whole_when_cancelled),
		LEAF_TEST(test_command_leaf_goes_if_nothing_was_started),
		LEAF_TEST(test_command_without_room_for_a_leaf_runs_all_the_same),
	};
	sigset_t set;

	/* As main.c does; sd_event_add_child(3) wants it. */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pthread_atfork(NULL, NULL, hold_child);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
