/* SPDX-License-Identifier: BSD-2-Clause */
/* A history comes back from its file as it was; and files that are none of ours, or damaged. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include "common/vector.h"
#include "orchestrator/host/file.h"
#include "orchestrator/service/history_file.h"
#include "tests/unit/fakes/folder.h"

static char path[256];
static struct history history, back;
static struct error err;

static struct service_config *config(const char *program)
{
	char *command[] = {(char *)program, NULL};
	struct service_config c = {.name = (char *)"web",
				   .command = command,
				   .n_listen = 1,
				   .backlog = 77,
				   .uid = 33,
				   .gid = 34,
				   .set_ids = true,
				   .groups = {7},
				   .n_groups = 1,
				   .resources = {.memory_max = 5000000000, .pids_max = 9}};
	struct service_config *copy;

	assert_int_equal(address_parse("127.0.0.1:80", &c.listen[0], NULL), 0);
	process_settings_init(&c.process);
	c.process.umask = 077;
	copy = service_config_copy(&c);
	assert_non_null(copy);
	return copy;
}

/* What is in the file of a release that runs @program. */
static struct release release(char **command, char **environment)
{
	struct release r = {.command = command,
			    .environment = environment,
			    .executable = command[0],
			    .directory = (char *)"/srv",
			    .inode = 12,
			    .mtime_ms = 1700000000123,
			    .size = 5,
			    .ctime_ns = 1700000000123456789,
			    .digest = "build-id:1",
			    .n_files = 1};

	snprintf(r.hash, sizeof(r.hash), "sha256:%s", command[0]);
	r.files[0] = (struct release_file){
		.path = (char *)"/srv/app.py", .inode = 13, .size = 6, .hash = "sha256:2"};
	return r;
}

static void commit(uint32_t generation, const char *program, enum past_end end, uint32_t origin)
{
	char *command[] = {(char *)program, (char *)"--fd", NULL};
	char *environment[] = {(char *)"A=1", (char *)"RAW=\xff", NULL};
	char *added[] = {(char *)"A=1", NULL};
	struct service_config *c = config(program);
	struct release r = release(command, environment);
	struct past *past = past_new(generation, &r, c, added, 1000 * generation);

	assert_non_null(past);
	history_commit(&history, past, end, origin);
	service_config_free(c);
}

static int set_up(void **state)
{
	int r = folder_set_up(state);

	snprintf(path, sizeof(path), "%s/history/web.json", folder);
	return r;
}

static int tear_down(void **state)
{
	history_done(&history);
	history_done(&back);
	return folder_tear_down(state);
}

static int read_back(void)
{
	cleanup(service_config_free) struct service_config *c = config("/bin/file");

	history_done(&back);
	return history_file_read(path, c, &back, &err);
}

static const struct past *target(void)
{
	cleanup(service_config_free) struct service_config *c = config("/bin/file");

	return history_target(&history, c);
}

/* ---- the list ------------------------------------------------------------------------------- */

static void test_history_target_is_the_last_that_served_well(void **state)
{
	struct service_config *c = config("/bin/file");

	(void)state;
	assert_null(target());
	commit(1, "/bin/a", PAST_REPLACED, 0);
	assert_null(target());
	commit(2, "/bin/b", PAST_REPLACED, 0);
	commit(3, "/bin/c", PAST_REPLACED, 0);
	assert_int_equal(target()->generation, 2);
	/* c is thrown out, b is what runs. */
	commit(4, "/bin/b", PAST_ROLLED_BACK, 2);
	assert_int_equal(history.n, 3);
	assert_int_equal(target()->generation, 1);
	/* d takes the place of b, and is found to be broken. */
	commit(5, "/bin/d", PAST_REPLACED, 0);
	commit(6, "/bin/e", PAST_FAILED, 0);
	assert_int_equal(target()->generation, 4);
	/* A restart of the same does not make it an earlier one. */
	commit(7, "/bin/e", PAST_REPLACED, 0);
	assert_int_equal(history.n, 5);
	assert_int_equal(history_newest(&history)->began_ms, 6000);
	/* Of other addresses, or of another user: no way back. */
	c->uid = 34;
	assert_null(history_target(&history, c));
	service_config_free(c);
}

static void test_history_what_serves_again_is_thrown_out_no_longer(void **state)
{
	(void)state;
	commit(1, "/bin/a", PAST_REPLACED, 0);
	commit(2, "/bin/b", PAST_REPLACED, 0);
	commit(3, "/bin/a", PAST_ROLLED_BACK, 1);
	assert_null(target());
	commit(4, "/bin/b", PAST_REPLACED, 0);
	commit(5, "/bin/c", PAST_REPLACED, 0);
	assert_int_equal(target()->generation, 4);
	assert_int_equal(history.n, 3);
}

static void test_history_keeps_the_last_and_what_is_good_of_them(void **state)
{
	char program[32];

	(void)state;
	for (uint32_t k = 1; k <= 20; k++) {
		snprintf(program, sizeof(program), "/bin/%u", k);
		commit(k, program, k == 15 ? PAST_FAILED : PAST_REPLACED, 0);
	}
	assert_int_equal(history.n, HISTORY_MAX);
	assert_int_equal(history.list[0]->generation, 12);
	assert_null(history_find(&history, 11));
	assert_null(history_find(&history, 14)); /* it had failed, and made room before 12 did */
}

/* ---- the file ------------------------------------------------------------------------------- */

static void write_back(void)
{
	cleanup(kept_file_free) struct kept_file *file = kept_file_new(NULL, NULL, path, NULL);

	assert_int_equal(history_file_write(file, &history, &err), 0);
}

static void test_history_file_brings_everything_back(void **state)
{
	const struct past *a, *b;
	struct stat st;

	(void)state;
	commit(1, "/bin/a", PAST_REPLACED, 0);
	commit(2, "/bin/b", PAST_REPLACED, 0);
	commit(3, "/bin/a", PAST_ROLLED_BACK, 1);
	write_back();
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(read_back(), 0);
	assert_int_equal(back.n, 2);
	for (size_t k = 0; k < back.n; k++) {
		a = history.list[k];
		b = back.list[k];
		assert_int_equal(a->generation, b->generation);
		assert_int_equal(a->began_ms, b->began_ms);
		assert_int_equal(a->ended_ms, b->ended_ms);
		assert_int_equal(a->end, b->end);
		assert_int_equal(a->came_back, b->came_back);
		assert_true(vector_equal(a->added, b->added));
		assert_true(release_identical(a->release, b->release));
		assert_string_equal(b->release->digest, "build-id:1");
		assert_int_equal(b->release->ctime_ns, a->release->ctime_ns);
		assert_int_equal(b->release->mtime_ms, a->release->mtime_ms);
		assert_int_equal(b->release->files[0].inode, 13);
		assert_int_equal(b->config->uid, a->config->uid);
		assert_int_equal(b->config->n_listen, 1);
		assert_true(address_equal(&a->config->listen[0], &b->config->listen[0]));
		assert_int_equal(b->config->backlog, 77);
		assert_int_equal(b->config->gid, 34);
		assert_int_equal(b->config->groups[0], 7);
		assert_int_equal(b->config->resources.memory_max, 5000000000);
		assert_true(process_settings_equal(&a->config->process, &b->config->process));
		/* The policies are the file's. */
		assert_string_equal(b->config->command[0], "/bin/file");
	}
	assert_true(back.list[1]->came_back);
	assert_int_equal(back.list[0]->end, PAST_ROLLED_BACK);
}

static void test_history_file_that_is_not_there_is_empty(void **state)
{
	(void)state;
	assert_int_equal(read_back(), 0);
	assert_int_equal(back.n, 0);
}

/* Is what is in its place moved aside, with a word about it? And can there be a new one? */
static void assert_moved_aside(const char *why)
{
	char aside[300];
	struct stat st;

	assert_int_equal(read_back(), -EBADMSG);
	assert_int_equal(back.n, 0);
	assert_non_null(strstr(err.text, why));
	snprintf(aside, sizeof(aside), "%s.bad", path);
	assert_non_null(strstr(err.text, aside));
	assert_int_equal(lstat(aside, &st), 0);
	assert_int_equal(lstat(path, &st), -1);
	write_back();
	assert_int_equal(read_back(), 0);
	assert_int_equal(back.n, 1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(unlink(aside), 0);
}

static void test_history_file_that_is_bad_is_moved_aside(void **state)
{
	static const char *const texts[] = {
		"",
		"{",
		"[]",
		"null",
		"{\"version\": 1}",
		"{\"version\": 0, \"releases\": []}",
		"{\"version\": 1, \"releases\": {}}",
		"{\"version\": \"1\", \"releases\": []}",
		"\xff\xfe",
		"{\"version\": 1, \"version\": 1, \"releases\": []}",
	};
	cleanup_free char *text = NULL;
	size_t length;

	(void)state;
	commit(1, "/bin/a", PAST_REPLACED, 0);
	write_back();
	for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++) {
		write_file("history/web.json", texts[k], 0600);
		assert_moved_aside("it is damaged");
	}
	write_file("history/web.json", "{\"version\": 2, \"releases\": []}", 0600);
	assert_moved_aside("a later version of baton has written it");
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_moved_aside("is not a regular file");
	assert_int_equal(symlink("/dev/zero", path), 0);
	assert_moved_aside("is not a regular file");
	write_file("history/web.json", "{", 0600);
	assert_int_equal(truncate(path, 1 << 30), 0);
	assert_moved_aside("File too large");
	/* Cut off at each byte it is bad, never half of it. */
	write_back();
	assert_int_equal(file_read(path, HISTORY_FILE_MAX, &text, &length), 0);
	for (size_t n = 1; n < length; n += 37) {
		assert_int_equal(unlink(path), 0);
		write_bytes("history/web.json", text, n, 0600);
		assert_moved_aside("it is damaged");
		write_back();
	}
}

static void test_history_file_leaves_out_what_makes_no_sense(void **state)
{
	cleanup_free char *text = NULL;
	char *at;

	(void)state;
	commit(1, "/bin/a", PAST_REPLACED, 0);
	commit(2, "/bin/b", PAST_REPLACED, 0);
	write_back();
	assert_int_equal(file_read(path, HISTORY_FILE_MAX, &text, NULL), 0);
	at = strstr(text, "\"spec\"");
	assert_non_null(at);
	memcpy(at, "\"spex\"", 6);
	write_file("history/web.json", text, 0600);
	assert_int_equal(read_back(), 0);
	assert_int_equal(back.n, 1);
	assert_int_equal(back.list[0]->generation, 2);
}

/* An environment may be large: what does not fit is left out, the oldest first. */
static void test_history_file_is_bounded(void **state)
{
	static char large[400 * 1024];
	char *command[] = {large, NULL}, *environment[] = {NULL};
	struct stat st;

	(void)state;
	memset(large, 'x', sizeof(large) - 1);
	for (uint32_t k = 1; k <= HISTORY_MAX; k++) {
		struct service_config *c = config("/bin/a");
		struct release r;

		large[0] = '/';
		large[1] = (char)('a' + k);
		r = release(command, environment);
		history_commit(&history, past_new(k, &r, c, NULL, k), PAST_REPLACED, 0);
		service_config_free(c);
	}
	write_back();
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size <= HISTORY_FILE_MAX);
	assert_int_equal(read_back(), 0);
	assert_in_range(back.n, 1, HISTORY_MAX - 1);
	assert_int_equal(history_newest(&back)->generation, HISTORY_MAX);
}

static void test_history_file_path_is_beside_the_state(void **state)
{
	struct paths paths = {.state_file = "/var/lib/baton/state.json"};
	char ret[PATHS_MAX];

	(void)state;
	history_file_path(&paths, "web", ret);
	assert_string_equal(ret, "/var/lib/baton/history/web.json");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_history_target_is_the_last_that_served_well),
		TEST(test_history_what_serves_again_is_thrown_out_no_longer),
		TEST(test_history_keeps_the_last_and_what_is_good_of_them),
		TEST(test_history_file_brings_everything_back),
		TEST(test_history_file_that_is_not_there_is_empty),
		TEST(test_history_file_that_is_bad_is_moved_aside),
		TEST(test_history_file_leaves_out_what_makes_no_sense),
		TEST(test_history_file_is_bounded),
		TEST(test_history_file_path_is_beside_the_state),
	};
#undef TEST

	return cmocka_run_group_tests_name("history_file", tests, NULL, NULL);
}
