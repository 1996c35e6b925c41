/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/unit/agent/agent_fixture.h"

#define NOBODY 65534

/* Where the server writes: @fixture's folder, "log". */
static const char *log_path(const struct fixture *fixture)
{
	static char path[80];

	snprintf(path, sizeof(path), "%s/log", fixture->folder);
	return path;
}

/* The path is borrowed: the fixture's specification is never freed. */
static void log_to_file(struct fixture *fixture)
{
	fixture->spec.process.output[0] = fixture->spec.process.output[1] = OUTPUT_FILE;
	fixture->spec.process.output_path[0] = (char *)log_path(fixture);
	fixture->spec.process.output_path[1] = (char *)log_path(fixture);
}

/* Appended to @ret, which has @size bytes and holds @n. */
static size_t add_file(const char *path, char *ret, size_t size, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t r;

	assert_true(fd >= 0);
	while ((r = read(fd, ret + n, size - 1 - n)) > 0)
		n += (size_t)r;
	close(fd);
	ret[n] = '\0';
	return n;
}

static bool file_has(const char *path, const char *text)
{
	static char got[1024 * 1024];

	if (access(path, R_OK) < 0)
		return false;
	(void)add_file(path, got, sizeof(got), 0);
	return strstr(got, text) != NULL;
}

static void test_agent_process_settings_are_the_servers(void **data)
{
	struct fixture *fixture = *data;
	struct process_settings *process = &fixture->spec.process;
	struct stat st;

	log_to_file(fixture);
	process->umask = 0137;
	process->limits[RLIMIT_NOFILE] = (struct process_limit){true, 77, 88};
	process->nice_set = process->oom_score_adjust_set = true;
	process->nice = 4;
	process->oom_score_adjust = 321;
	process->no_new_privileges = process->capabilities_set = true;
	process->capabilities = UINT64_C(1) << CAP_NET_BIND_SERVICE;
	fixture->spec.set_ids = true;
	fixture->spec.uid = fixture->spec.gid = NOBODY;
	start(fixture, "import resource\n"
		       "status = dict(l.split(':\\t', 1) for l in open('/proc/self/status'))\n"
		       "print('umask', status['Umask'].strip(), 'nice', os.nice(0),\n"
		       "      'files', resource.getrlimit(resource.RLIMIT_NOFILE),\n"
		       "      'oom', open('/proc/self/oom_score_adj').read().strip(),\n"
		       "      'new', status['NoNewPrivs'].strip(),\n"
		       "      'bounding', int(status['CapBnd'], 16),\n"
		       "      'ambient', int(status['CapAmb'], 16),\n"
		       "      'user', os.getresuid(), flush=True)\n"
		       "os.write(2, b'all is said\\n')\n"
		       "time.sleep(1000)\n");
	AWAIT(fixture, file_has(log_path(fixture), "all is said\n"));
	assert_true(file_has(log_path(fixture),
			     "umask 0137 nice 4 files (77, 88) oom 321 new 1 bounding 1024 "
			     "ambient 1024 user (65534, 65534, 65534)\n"));
	/* The agent's, and batond's, whoever the server is. */
	assert_int_equal(stat(log_path(fixture), &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	(void)unlink(log_path(fixture));
}

static void test_agent_soft_limit_of_files_is_what_it_was_started_with(void **data)
{
	struct fixture *fixture = *data;
	struct rlimit old, limit;

	log_to_file(fixture);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	limit = old;
	limit.rlim_cur = 555;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	start(fixture, "import resource\n"
		       "print('files', resource.getrlimit(resource.RLIMIT_NOFILE)[0], 'end',\n"
		       "      flush=True)\n"
		       "time.sleep(1000)\n");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	AWAIT(fixture, file_has(log_path(fixture), "end\n"));
	assert_true(file_has(log_path(fixture), "files 555 end\n"));
	(void)unlink(log_path(fixture));
}

/* ---- what goes wrong ------------------------------------------------------------------------ */

static void test_agent_limit_that_is_refused_is_reported(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.process.limits[RLIMIT_NOFILE] =
		(struct process_limit){true, PROCESS_UNLIMITED, PROCESS_UNLIMITED};
	start(fixture, "time.sleep(1000)\n");
	await_heard(fixture, REPORT_FAILED, 1);
	assert_non_null(strstr(fixture->heard[REPORT_FAILED].text,
			       "limit nofile unlimited:unlimited: Operation not permitted"));
}

static void test_agent_output_that_cannot_be_opened_is_reported(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.process.output[1] = OUTPUT_FILE;
	fixture->spec.process.output_path[1] = (char *)"/nonexistent/log";
	start(fixture, "time.sleep(1000)\n");
	await_heard(fixture, REPORT_FAILED, 1);
	assert_non_null(strstr(fixture->heard[REPORT_FAILED].text,
			       "stderr: /nonexistent/log: No such file or directory"));
	assert_int_equal(fixture->n_heard[REPORT_STARTED], 0);
}

/* ---- output --------------------------------------------------------------------------------- */

static void test_agent_end_of_stderr_is_reported_from_a_file_too(void **data)
{
	struct fixture *fixture = *data;

	log_to_file(fixture);
	start(fixture, "sys.exit('these are my last words')\n");
	await_heard(fixture, REPORT_EXITED, 1);
	assert_string_equal(fixture->heard[REPORT_EXITED].tail, "these are my last words");
	AWAIT(fixture, file_has(log_path(fixture), "these are my last words\n"));
	(void)unlink(log_path(fixture));
}

/* Two pipes: the streams, which take turns, may overtake each other, but not themselves. */
static unsigned count_in_order(char *text)
{
	unsigned next[2] = {0, 1}, n = 0;
	char *line;

	while ((line = strsep(&text, "\n")) && *line) {
		unsigned number = (unsigned)strtoul(line, NULL, 10);

		if (line[0] == 'e')
			continue;
		assert_int_equal(number, next[number % 2]);
		next[number % 2] += 2;
		n++;
	}
	return n;
}

static void test_agent_reopen_after_a_rename_loses_no_line(void **data)
{
	enum { ROUNDS = 8, SIZE = 16 * 1024 * 1024 };
	struct fixture *fixture = *data;
	char *got = malloc(SIZE), old[ROUNDS][96];
	unsigned lines = 0;
	size_t n = 0;

	assert_non_null(got);
	log_to_file(fixture);
	start(fixture, "stop = []\n"
		       "signal.signal(signal.SIGUSR1, lambda *_: stop.append(1))\n"
		       "i = 0\n"
		       "while not stop:\n"
		       "    os.write(1 + i % 2, b'%d\\n' % i)\n"
		       "    i += 1\n"
		       "    time.sleep(0.0001)\n"
		       "os.write(1, b'end of %d\\n' % i)\n"
		       "os.write(2, b'end\\n')\n"
		       "time.sleep(1000)\n");
	for (int i = 0; i < ROUNDS; i++) {
		snprintf(old[i], sizeof(old[i]), "%s.%d", log_path(fixture), i);
		/* Made anew, and in use. */
		AWAIT(fixture, file_has(log_path(fixture), "9\n"));
		assert_int_equal(rename(log_path(fixture), old[i]), 0);
		order(fixture, &(struct order){.type = ORDER_REOPEN});
	}
	AWAIT(fixture, file_has(log_path(fixture), "9\n"));
	kill(fixture->pid, SIGUSR1);
	AWAIT(fixture,
	      file_has(log_path(fixture), "\nend of ") && file_has(log_path(fixture), "\nend\n"));
	for (int i = 0; i < ROUNDS; i++) {
		n = add_file(old[i], got, SIZE, n);
		/* Divided between lines. */
		assert_int_equal(got[n - 1], '\n');
		assert_int_equal(unlink(old[i]), 0);
	}
	(void)add_file(log_path(fixture), got, SIZE, n);
	assert_int_equal(unlink(log_path(fixture)), 0);
	assert_int_equal(sscanf(strstr(got, "\nend of "), "\nend of %u", &lines), 1);
	assert_int_equal(count_in_order(got), lines);
	free(got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_agent_process_settings_are_the_servers),
		TEST(test_agent_soft_limit_of_files_is_what_it_was_started_with),
		TEST(test_agent_limit_that_is_refused_is_reported),
		TEST(test_agent_output_that_cannot_be_opened_is_reported),
		TEST(test_agent_end_of_stderr_is_reported_from_a_file_too),
		TEST(test_agent_reopen_after_a_rename_loses_no_line),
	};

	return fixture_run(tests);
}
