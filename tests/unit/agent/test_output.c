/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <sched.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/output.h"
#include "common/path_open.h"
#include "tests/unit/agent/relay_fixture.h"

#define JOURNAL "/run/systemd/journal/stdout"

/* Shared by all tests: one runs at a time. */
static struct {
	struct launch_spec spec;
	struct output *output;
	char folder[64], path[80], old[80];
	int log;       /* what is logged */
	int saved_err; /* the test's own stderr meanwhile */
} world;

/* Why there is no private /run; NULL: there is one. */
static const char *no_private_run;

static int output_setup(void **data)
{
	struct fixture *fixture;
	struct error err;

	if (setup(data) < 0)
		return -1;
	fixture = *data;
	memset(&world, 0, sizeof(world));
	process_settings_init(&world.spec.process);
	world.spec.service = (char *)"web";
	world.spec.generation = 7;
	world.spec.instance = 2;
	strcpy(world.folder, "/tmp/test_output.XXXXXX");
	if (!mkdtemp(world.folder))
		return -1;
	snprintf(world.path, sizeof(world.path), "%s/log", world.folder);
	snprintf(world.old, sizeof(world.old), "%s/log.1", world.folder);
	world.log = open("/tmp", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
	world.saved_err = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	if (world.log < 0 || world.saved_err < 0 || dup2(world.log, STDERR_FILENO) < 0)
		return -1;
	return output_new(fixture->relay, &world.spec, NULL, &world.output, &err);
}

static int output_teardown(void **data)
{
	int r = teardown(data);

	output_free(world.output);
	dup2(world.saved_err, STDERR_FILENO);
	close(world.saved_err);
	close(world.log);
	process_settings_done(&world.spec.process);
	(void)unlink(world.path);
	(void)unlink(world.old);
	return rmdir(world.folder) < 0 ? -1 : r;
}

static void to_file(enum relay_stream which, const char *path)
{
	world.spec.process.output[which] = OUTPUT_FILE;
	world.spec.process.output_path[which] = strdup(path);
	assert_non_null(world.spec.process.output_path[which]);
}

static void open_output(void)
{
	struct error err;

	if (output_open(world.output, &err) < 0)
		fail_msg("%s", err.text);
}

static void say(struct fixture *fixture, enum relay_stream which, const char *text)
{
	write_text(which == RELAY_STDOUT ? relay_stdout_fd(fixture->relay)
					 : relay_stderr_fd(fixture->relay),
		   text);
}

static void check_text(int fd, const char *expected)
{
	char got[1024];
	ssize_t n = pread(fd, got, sizeof(got) - 1, 0);

	assert_true(n >= 0);
	got[n] = '\0';
	assert_string_equal(got, expected);
}

static void check_file(const char *path, const char *expected)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	check_text(fd, expected);
	close(fd);
}

/* All the files that there are, none of which fails. */
static void reopen(void)
{
	struct output_reopened reopened;

	output_reopen(world.output, &reopened);
	assert_int_equal(reopened.files,
			 (world.spec.process.output[RELAY_STDOUT] == OUTPUT_FILE) +
				 (world.spec.process.output[RELAY_STDERR] == OUTPUT_FILE));
	assert_string_equal(reopened.failure[RELAY_STDOUT], "");
	assert_string_equal(reopened.failure[RELAY_STDERR], "");
}

static void check_refused(int expected, const char *text)
{
	struct error err;

	assert_int_equal(output_open(world.output, &err), expected);
	assert_string_equal(err.text, text);
}

/* ---- files ---------------------------------------------------------------------------------- */

static void test_output_through_changes_nothing(void **data)
{
	struct fixture *fixture = *data;

	open_output();
	reopen();
	say(fixture, RELAY_STDOUT, "out\n");
	say(fixture, RELAY_STDERR, "err\n");
	turn(fixture);
	check_arrived(fixture->out[0], "out\n");
	check_arrived(fixture->err[0], "err\n");
	check_text(world.log, "");
}

static void test_output_file_is_made_and_appended_to(void **data)
{
	struct fixture *fixture = *data;
	mode_t mask = umask(077);
	struct stat st;

	to_file(RELAY_STDOUT, world.path);
	open_output();
	assert_int_equal(umask(mask), 077);
	assert_int_equal(stat(world.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	say(fixture, RELAY_STDOUT, "out\n");
	say(fixture, RELAY_STDERR, "err\n");
	turn(fixture);
	/* Once only: before a second start of the server it is open. */
	open_output();
	say(fixture, RELAY_STDOUT, "again\n");
	turn(fixture);
	check_file(world.path, "out\nagain\n");
	check_arrived(fixture->err[0], "err\n");
	check_arrived(fixture->out[0], "");
}

static void test_output_file_that_is_there_is_kept(void **data)
{
	struct fixture *fixture = *data;
	int fd = open(world.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;

	write_text(fd, "before\n");
	close(fd);
	to_file(RELAY_STDERR, world.path);
	open_output();
	say(fixture, RELAY_STDERR, "after\n");
	turn(fixture);
	check_file(world.path, "before\nafter\n");
	check_tail(fixture, "after");
	assert_int_equal(stat(world.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_output_file_is_of_its_generation_and_instance(void **data)
{
	struct fixture *fixture = *data;
	char path[128], old[128];

	snprintf(path, sizeof(path), "%s/log.{generation}-{instance}-{fd}", world.folder);
	to_file(RELAY_STDOUT, path);
	open_output();
	say(fixture, RELAY_STDOUT, "before\n");
	turn(fixture);
	snprintf(path, sizeof(path), "%s/log.7-2-{fd}", world.folder);
	check_file(path, "before\n");
	snprintf(old, sizeof(old), "%s.1", path);
	assert_int_equal(rename(path, old), 0);
	reopen();
	say(fixture, RELAY_STDOUT, "after\n");
	turn(fixture);
	check_file(path, "after\n");
	check_file(old, "before\n");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(unlink(old), 0);
}

static void test_output_folder_of_a_generation_that_is_not_there_is_named(void **data)
{
	(void)data;
	to_file(RELAY_STDERR, "/nonexistent/{generation}/log.{instance}");
	check_refused(-ENOENT, "stderr: /nonexistent/7/log.2: No such file or directory");
}

static void test_output_one_file_for_both_loses_nothing(void **data)
{
	struct fixture *fixture = *data;

	to_file(RELAY_STDOUT, world.path);
	to_file(RELAY_STDERR, world.path);
	open_output();
	say(fixture, RELAY_STDOUT, "a\n");
	turn(fixture);
	say(fixture, RELAY_STDERR, "b\n");
	turn(fixture);
	say(fixture, RELAY_STDOUT, "c\n");
	turn(fixture);
	check_file(world.path, "a\nb\nc\n");
}

static void test_output_file_that_cannot_be_opened_is_named(void **data)
{
	struct error expected;

	(void)data;
	to_file(RELAY_STDOUT, world.folder);
	error_set(&expected, -EISDIR, "stdout: %s", world.folder);
	check_refused(-EISDIR, expected.text);
	free(world.spec.process.output_path[0]);
	world.spec.process.output[0] = OUTPUT_THROUGH;
	world.spec.process.output_path[0] = NULL;
	to_file(RELAY_STDERR, "/nonexistent/log");
	check_refused(-ENOENT, "stderr: /nonexistent/log: No such file or directory");
	/* A later start of the server tries it again. */
	strcpy(world.spec.process.output_path[1], "/dev/null");
	open_output();
}

/* With a reader, too: whoever can write to the folder could put one there. */
static void test_output_fifo_is_refused(void **data)
{
	char expected[256];
	int reader;

	(void)data;
	assert_int_equal(mkfifo(world.path, 0600), 0);
	to_file(RELAY_STDOUT, world.path);
	snprintf(expected, sizeof(expected),
		 "stdout: %s: is not a regular file (but a FIFO, a socket or a device)",
		 world.path);
	check_refused(-PATH_IS_NO_FILE, expected);
	reader = open(world.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(reader >= 0);
	check_refused(-PATH_IS_NO_FILE, expected);
	close(reader);
}

/* ---- reopening ------------------------------------------------------------------------------ */

static void test_output_reopen_after_a_rename_loses_no_line(void **data)
{
	enum { ROUNDS = 50 };
	struct fixture *fixture = *data;
	char line[32], expected[1024] = "";

	to_file(RELAY_STDOUT, world.path);
	open_output();
	for (int i = 0; i < ROUNDS; i++) {
		snprintf(line, sizeof(line), "%d before\n", i);
		say(fixture, RELAY_STDOUT, line);
		strcpy(expected, i > 0 ? "" : line);
		if (i > 0)
			snprintf(expected, sizeof(expected), "%d after\n%d before\n", i - 1, i);
		/* What it has written is in the pipe still. */
		assert_int_equal(rename(world.path, world.old), 0);
		reopen();
		snprintf(line, sizeof(line), "%d after\n", i);
		say(fixture, RELAY_STDOUT, line);
		turn(fixture);
		check_file(world.old, expected);
		check_file(world.path, line);
	}
	check_text(world.log, "");
}

static void test_output_reopen_that_fails_keeps_the_old_file(void **data)
{
	struct fixture *fixture = *data;
	char moved[80], expected[256];
	struct output_reopened reopened;

	to_file(RELAY_STDERR, world.path);
	open_output();
	say(fixture, RELAY_STDERR, "one\n");
	turn(fixture);
	snprintf(moved, sizeof(moved), "%s.moved", world.folder);
	assert_int_equal(rename(world.folder, moved), 0);
	output_reopen(world.output, &reopened);
	assert_int_equal(reopened.files, 1);
	assert_string_equal(reopened.failure[RELAY_STDOUT], "");
	snprintf(expected, sizeof(expected), "stderr: %s: No such file or directory", world.path);
	assert_string_equal(reopened.failure[RELAY_STDERR], expected);
	say(fixture, RELAY_STDERR, "two\n");
	turn(fixture);
	assert_int_equal(rename(moved, world.folder), 0);
	check_file(world.path, "one\ntwo\n");
	snprintf(expected, sizeof(expected),
		 "baton: reopen: stderr: %s: No such file or directory; the old file stays in "
		 "use\n",
		 world.path);
	check_text(world.log, expected);
}

/* Written in pieces, with a rotation at every place that a piece can end. */
static void test_output_reopen_within_a_line_leaves_it_whole(void **data)
{
	static const char text[] = "one\nlonger two\n\nthree\n";
	struct fixture *fixture = *data;
	char old[sizeof(text)], now[2] = "";
	size_t begun = 0;

	to_file(RELAY_STDOUT, world.path);
	open_output();
	for (size_t i = 0; text[i]; i++) {
		now[0] = text[i];
		say(fixture, RELAY_STDOUT, now);
		if (i % 2)
			turn(fixture);
		assert_int_equal(rename(world.path, world.old), 0);
		reopen();
		/* The last file before got a line only if one ended since. */
		snprintf(old, sizeof(old), "%.*s", (int)(i + 1 - begun), text + begun);
		check_file(world.old, text[i] == '\n' ? old : "");
		if (text[i] == '\n')
			begun = i + 1;
	}
	check_file(world.path, "");
	check_text(world.log, "");
}

/* What never gets its newline: the file has it that was in use when the server ended. */
static void test_output_end_after_half_a_line_and_reopen_is_in_the_new_file(void **data)
{
	struct fixture *fixture = *data;

	to_file(RELAY_STDOUT, world.path);
	open_output();
	say(fixture, RELAY_STDOUT, "one\nlast wor");
	turn(fixture);
	assert_int_equal(rename(world.path, world.old), 0);
	reopen();
	check_file(world.old, "one\n");
	say(fixture, RELAY_STDOUT, "ds");
	relay_drain(fixture->relay);
	check_file(world.old, "one\n");
	check_file(world.path, "last words");
}

/* The file has become full within a line: the next one gets that line whole. */
static void test_output_reopen_of_a_file_full_within_a_line_repeats_it(void **data)
{
	struct rlimit old_limit, limit = {.rlim_cur = 10};
	struct fixture *fixture = *data;

	to_file(RELAY_STDOUT, world.path);
	open_output();
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
	limit.rlim_max = old_limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	say(fixture, RELAY_STDOUT, "one\ntwo\nthree\nfour\n");
	turn(fixture);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old_limit), 0);
	check_file(world.path, "one\ntwo\nth");
	assert_int_equal(rename(world.path, world.old), 0);
	reopen();
	check_file(world.old, "one\ntwo\nthree\nfour\n");
	check_file(world.path, "");
	/* And while it is full, still: */
	limit.rlim_cur = 6;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	say(fixture, RELAY_STDOUT, "five\nsix\n");
	turn(fixture);
	check_file(world.path, "five\ns");
	assert_int_equal(rename(world.path, world.old), 0);
	reopen();
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old_limit), 0);
	check_file(world.old, "five\ns");
	check_file(world.path, "six\n");
}

static void test_output_reopen_after_a_full_disk_takes_along_what_waits(void **data)
{
	struct fixture *fixture = *data;

	assert_int_equal(symlink("/dev/full", world.path), 0);
	to_file(RELAY_STDOUT, world.path);
	open_output();
	say(fixture, RELAY_STDOUT, "one\n");
	turn(fixture);
	assert_int_equal(unlink(world.path), 0);
	reopen();
	say(fixture, RELAY_STDOUT, "two\n");
	turn(fixture);
	check_file(world.path, "one\ntwo\n");
}

static bool log_has(const char *text)
{
	char got[4096];
	ssize_t n = pread(world.log, got, sizeof(got) - 1, 0);

	assert_true(n >= 0);
	got[n] = '\0';
	return strstr(got, text) != NULL;
}

static void test_output_full_disk_is_logged_once_and_its_end(void **data)
{
	struct fixture *fixture = *data;
	char expected[512];

	assert_int_equal(symlink("/dev/full", world.path), 0);
	to_file(RELAY_STDOUT, world.path);
	open_output();
	say(fixture, RELAY_STDOUT, "one\n");
	AWAIT(log_has("No space left on device"));
	/* Tried, and failed, several times meanwhile. */
	for (int i = 0; i < 3; i++)
		assert_true(sd_event_run(fixture->event, 10000000) > 0);
	assert_int_equal(unlink(world.path), 0);
	reopen();
	AWAIT(log_has("again"));
	snprintf(expected, sizeof(expected),
		 "baton: stdout: %s: No space left on device; output waits, and what is more than "
		 "64 KiB is lost\n"
		 "baton: stdout: %s: is written to again\n",
		 world.path, world.path);
	check_text(world.log, expected);
	check_file(world.path, "one\n");
}

/* ---- the journal ---------------------------------------------------------------------------- */

static void need_private_run(void)
{
	if (!no_private_run)
		return;
	print_message("skipped: %s\n", no_private_run);
	skip();
}

static void test_output_without_a_journal_is_refused(void **data)
{
	(void)data;
	need_private_run();
	world.spec.process.output[RELAY_STDERR] = OUTPUT_JOURNAL;
	check_refused(-ENOENT, "stderr: no journal can be reached here: No such file or directory");
}

static int journal_listen(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX, .sun_path = JOURNAL};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	(void)unlink(JOURNAL);
	(void)mkdir("/run/systemd", 0755);
	(void)mkdir("/run/systemd/journal", 0755);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static int journal_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

/* Identifier, unit, priority, level prefix, and three more that say no. */
static void test_output_journal_gets_both_streams(void **data)
{
	struct fixture *fixture = *data;
	int listener, out, err;

	need_private_run();
	listener = journal_listen();
	world.spec.process.output[RELAY_STDOUT] = OUTPUT_JOURNAL;
	world.spec.process.output[RELAY_STDERR] = OUTPUT_JOURNAL;
	open_output();
	out = journal_accept(listener);
	err = journal_accept(listener);
	say(fixture, RELAY_STDOUT, "to out\n");
	say(fixture, RELAY_STDERR, "to err\n");
	turn(fixture);
	check_arrived(out, "web\n\n6\n1\n0\n0\n0\nto out\n");
	check_arrived(err, "web\n\n3\n1\n0\n0\n0\nto err\n");
	check_tail(fixture, "to err");
	/* It is no file: the connection stays. */
	reopen();
	say(fixture, RELAY_STDOUT, "more\n");
	turn(fixture);
	check_arrived(out, "more\n");
	close(out);
	close(err);
	close(listener);
	(void)unlink(JOURNAL);
}

static void test_output_journal_that_is_started_anew_is_connected_again(void **data)
{
	struct fixture *fixture = *data;
	int listener, first, second;
	struct pollfd poller;

	need_private_run();
	signal(SIGPIPE, SIG_IGN);
	listener = journal_listen();
	world.spec.process.output[RELAY_STDOUT] = OUTPUT_JOURNAL;
	open_output();
	first = journal_accept(listener);
	check_arrived(first, "web\n\n6\n1\n0\n0\n0\n");
	close(first);
	close(listener);
	say(fixture, RELAY_STDOUT, "while it was away\n");
	AWAIT(log_has("stdout: the journal: Broken pipe"));
	listener = journal_listen();
	poller = (struct pollfd){.fd = listener, .events = POLLIN};
	AWAIT(poll(&poller, 1, 0) == 1);
	second = journal_accept(listener);
	AWAIT(log_has("the journal: is written to again"));
	say(fixture, RELAY_STDOUT, "later\n");
	turn(fixture);
	check_arrived(second, "web\n\n6\n1\n0\n0\n0\nwhile it was away\nlater\n");
	close(second);
	close(listener);
	(void)unlink(JOURNAL);
}

static const char *enter_private_run(void)
{
	if (geteuid() != 0)
		return "needs root (a /run of its own)";
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "/run", "tmpfs", 0, NULL) < 0)
		return "a private /run cannot be mounted here";
	return NULL;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, output_setup, output_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_output_through_changes_nothing),
		TEST(test_output_file_is_made_and_appended_to),
		TEST(test_output_file_that_is_there_is_kept),
		TEST(test_output_file_is_of_its_generation_and_instance),
		TEST(test_output_folder_of_a_generation_that_is_not_there_is_named),
		TEST(test_output_one_file_for_both_loses_nothing),
		TEST(test_output_file_that_cannot_be_opened_is_named),
		TEST(test_output_fifo_is_refused),
		TEST(test_output_reopen_after_a_rename_loses_no_line),
		TEST(test_output_reopen_that_fails_keeps_the_old_file),
		TEST(test_output_reopen_within_a_line_leaves_it_whole),
		TEST(test_output_end_after_half_a_line_and_reopen_is_in_the_new_file),
		TEST(test_output_reopen_of_a_file_full_within_a_line_repeats_it),
		TEST(test_output_reopen_after_a_full_disk_takes_along_what_waits),
		TEST(test_output_full_disk_is_logged_once_and_its_end),
		TEST(test_output_without_a_journal_is_refused),
		TEST(test_output_journal_gets_both_streams),
		TEST(test_output_journal_that_is_started_anew_is_connected_again),
	};

	no_private_run = enter_private_run();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
