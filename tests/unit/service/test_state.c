/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "orchestrator/host/file.h"
#include "orchestrator/service/state.h"
#include "common/vector.h"

static char folder[64], path[128];

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/baton-test-state-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/state.json", folder);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

static void put(const char *text)
{
	assert_int_equal(file_replace(path, text, strlen(text), 0600), 0);
}

static uint32_t next(struct state *s, const char *service)
{
	struct error err = {""};
	uint32_t generation = 0;

	assert_int_equal(state_next_generation(s, service, &generation, &err), 0);
	return generation;
}

static void test_state_numbers_start_at_one_and_grow_for_each_service(void **state)
{
	cleanup(state_free) struct state *s = NULL;

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_int_equal(next(s, "web"), 1);
	assert_int_equal(next(s, "web"), 2);
	assert_int_equal(next(s, "api"), 1);
	assert_int_equal(next(s, "web"), 3);
}

static void test_state_numbers_go_on_after_a_restart(void **state)
{
	struct state *s = NULL;

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	next(s, "web");
	next(s, "web");
	state_free(s);
	s = NULL;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_int_equal(next(s, "web"), 3);
	state_free(s);
	state_free(NULL);
}

static void test_state_file_has_the_documented_form(void **state)
{
	cleanup(state_free) struct state *s = NULL;
	json_t *root, *expected;
	struct stat st;

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_int_equal(access(path, F_OK), -1); /* nothing is written before it is needed */
	next(s, "web");
	root = json_load_file(path, 0, NULL);
	expected =
		json_pack("{s:i, s:{s:{s:i}}}", "version", 1, "services", "web", "generation", 1);
	assert_true(json_equal(root, expected));
	json_decref(root);
	json_decref(expected);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

/* Entries that have not changed are not rendered anew: all are in the file all the same. */
static void test_state_file_always_has_all_that_was_set(void **state)
{
	cleanup(state_free) struct state *s = NULL;
	json_t *root, *expected;
	struct error err;

	(void)state;
	put("{\"version\":1,\"odd\":[{}],\"services\":{\"a \\\"b\\u0007\":{\"generation\":1}}}");
	assert_int_equal(state_open(path, &s, NULL), 0);
	for (unsigned k = 0; k < 3; k++) {
		next(s, "web");
		next(s, "api");
		assert_int_equal(state_set_serving(s, "web", k + 1, &err), 0);
		assert_int_equal(state_set_instances(s, "api", k % 2, &err), 0);
		root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
		expected = json_pack("{s:i, s:[{}], s:{s:{s:i}, s:{s:i, s:i}, s:{s:i}}}", "version",
				     1, "odd", "services", "a \"b\a", "generation", 1, "web",
				     "generation", k + 1, "serving", k + 1, "api", "generation",
				     k + 1);
		if (k % 2)
			json_object_set_new(
				json_object_get(json_object_get(expected, "services"), "api"),
				"instances", json_integer(1));
		assert_non_null(expected);
		assert_true(json_equal(root, expected));
		json_decref(root);
		json_decref(expected);
	}
}

static void test_state_knows_whether_any_service_has_another_id(void **state)
{
	cleanup(state_free) struct state *s = NULL;

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	next(s, "web");
	assert_false(state_has_ids(s));
	assert_int_equal(state_set_id(s, "site", "web", NULL), 0);
	assert_true(state_has_ids(s));
	assert_int_equal(state_set_id(s, "site", NULL, NULL), 0);
	assert_false(state_has_ids(s));
}

static void test_state_other_entries_and_fields_are_kept(void **state)
{
	cleanup(state_free) struct state *s = NULL;
	json_t *root;

	(void)state;
	put("{\"version\":1,\"note\":\"x\",\"services\":{\"gone\":{\"generation\":9,\"more\":[1]}}}");
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_int_equal(next(s, "web"), 1);
	root = json_load_file(path, 0, NULL);
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "note")), "x");
	root = (json_decref(root), NULL);
	assert_int_equal(next(s, "gone"), 10);
}

static void test_state_command_is_remembered_until_it_is_forgotten(void **state)
{
	char *command[] = {(char *)"/srv/v2", (char *)"", (char *)"--fast", NULL};
	char *binary[] = {(char *)"\xff", NULL};
	cleanup(state_free) struct state *s = NULL;
	char **read;

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_null(state_command(s, "web"));
	assert_int_equal(state_set_command(s, "web", NULL, NULL), 0);
	assert_int_equal(state_set_command(s, "web", command, NULL), 0);
	next(s, "web");
	state_free(s);
	s = NULL;
	assert_int_equal(state_open(path, &s, NULL), 0);
	read = state_command(s, "web");
	assert_true(vector_equal(read, command));
	vector_free(read);
	assert_int_equal(state_set_command(s, "web", binary, NULL), -EILSEQ);
	assert_null(state_command(s, "web"));
	assert_int_equal(state_set_command(s, "web", command, NULL), 0);
	assert_int_equal(state_set_command(s, "web", NULL, NULL), 0);
	assert_null(state_command(s, "web"));
	assert_int_equal(next(s, "web"), 2);
}

static void test_state_command_that_is_no_text_is_forgotten_in_the_file_too(void **state)
{
	char *command[] = {(char *)"/srv/v2", NULL}, *binary[] = {(char *)"\xff", NULL};
	cleanup(state_free) struct state *s = NULL;
	struct error err = {""};

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_int_equal(state_set_command(s, "web", command, NULL), 0);
	assert_int_equal(state_set_command(s, "web", binary, &err), -EILSEQ);
	assert_memory_equal(err.text, "command: ", 9);
	state_free(s);
	s = NULL;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_null(state_command(s, "web"));
}

static void test_state_empty_command_and_environment_are_none(void **state)
{
	char *command[] = {(char *)"/srv/v2", NULL}, *none[] = {NULL};
	cleanup(state_free) struct state *s = NULL;

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_int_equal(state_set_command(s, "web", command, NULL), 0);
	assert_int_equal(state_set_command(s, "web", none, NULL), 0);
	assert_int_equal(state_set_environment(s, "web", none, NULL), 0);
	state_free(s);
	s = NULL;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_null(state_command(s, "web"));
	assert_null(state_environment(s, "web"));
}

static void test_state_environment_is_remembered_until_it_is_forgotten(void **state)
{
	char *environment[] = {(char *)"A=1", (char *)"B=", (char *)"C=x=y", NULL};
	char *other[] = {(char *)"A=2", NULL};
	cleanup(state_free) struct state *s = NULL;
	char **read;

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_null(state_environment(s, "web"));
	assert_int_equal(state_set_environment(s, "web", NULL, NULL), 0);
	assert_int_equal(state_set_environment(s, "web", environment, NULL), 0);
	assert_int_equal(state_set_environment(s, "api", other, NULL), 0);
	next(s, "web");
	state_free(s);
	s = NULL;
	assert_int_equal(state_open(path, &s, NULL), 0);
	read = state_environment(s, "web");
	assert_true(vector_equal(read, environment));
	vector_free(read);
	assert_null(state_command(s, "web"));
	assert_int_equal(state_set_environment(s, "web", other, NULL), 0);
	read = state_environment(s, "web");
	assert_true(vector_equal(read, other));
	vector_free(read);
	assert_int_equal(state_set_environment(s, "web", NULL, NULL), 0);
	assert_null(state_environment(s, "web"));
	read = state_environment(s, "api");
	assert_true(vector_equal(read, other));
	vector_free(read);
	assert_int_equal(next(s, "web"), 2);
}

static void test_state_bad_environment_is_refused(void **state)
{
	static const char *const bad[] = {"A", "", "=1", "="};
	char *good[] = {(char *)"A=1", NULL}, *binary[] = {(char *)"A=\xff", NULL};
	cleanup(state_free) struct state *s = NULL;
	struct error err = {""};

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_int_equal(state_set_environment(s, "web", good, NULL), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *entries[] = {(char *)"B=1", (char *)bad[i], NULL};
		char **read;

		assert_int_equal(state_set_environment(s, "web", entries, &err), -EINVAL);
		assert_non_null(strstr(err.text, "expected NAME=value"));
		read = state_environment(s, "web");
		assert_true(vector_equal(read, good));
		vector_free(read);
	}
	assert_int_equal(state_set_environment(s, "web", binary, &err), -EILSEQ);
	assert_memory_equal(err.text, "environment: ", 13);
	assert_null(state_environment(s, "web"));
}

static void test_state_instances_are_remembered_until_they_are_forgotten(void **state)
{
	cleanup(state_free) struct state *s = NULL;
	struct error err = {""};

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_int_equal(state_instances(s, "web"), 0);
	assert_int_equal(state_set_instances(s, "web", 0, NULL), 0);
	assert_int_equal(state_set_instances(s, "web", 256, NULL), 0);
	assert_int_equal(state_set_instances(s, "web", 257, &err), -EINVAL);
	assert_string_equal(err.text, "instances: 257: expected at most 256");
	state_free(s);
	s = NULL;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_int_equal(state_instances(s, "web"), 256);
	assert_int_equal(state_instances(s, "api"), 0);
	assert_int_equal(state_set_instances(s, "web", 3, NULL), 0);
	assert_int_equal(state_instances(s, "web"), 3);
	assert_int_equal(state_set_instances(s, "web", 0, NULL), 0);
	state_free(s);
	s = NULL;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_int_equal(state_instances(s, "web"), 0);
}

static void test_state_twins_are_remembered_until_they_are_forgotten(void **state)
{
	cleanup(state_free) struct state *s = NULL;

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_false(state_has_twin(s, "web", "[::ffff:127.0.0.1]:80"));
	assert_int_equal(state_set_twin(s, "web", "[::ffff:127.0.0.1]:80", false, NULL), 0);
	assert_int_equal(state_set_twin(s, "web", "[::ffff:127.0.0.1]:80", true, NULL), 0);
	assert_int_equal(state_set_twin(s, "web", "127.0.0.1:81", true, NULL), 0);
	assert_int_equal(state_set_twin(s, "web", "127.0.0.1:81", true, NULL), 0);
	state_free(s);
	s = NULL;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_true(state_has_twin(s, "web", "[::ffff:127.0.0.1]:80"));
	assert_true(state_has_twin(s, "web", "127.0.0.1:81"));
	assert_false(state_has_twin(s, "web", "127.0.0.1:82"));
	assert_false(state_has_twin(s, "api", "127.0.0.1:81"));
	assert_int_equal(state_set_twin(s, "web", "127.0.0.1:81", false, NULL), 0);
	assert_true(state_has_twin(s, "web", "[::ffff:127.0.0.1]:80"));
	assert_int_equal(state_set_twin(s, "web", "[::ffff:127.0.0.1]:80", false, NULL), 0);
	state_free(s);
	s = NULL;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_false(state_has_twin(s, "web", "[::ffff:127.0.0.1]:80"));
	assert_false(state_has_twin(s, "web", "127.0.0.1:81"));
}

static void test_state_base_is_remembered_until_it_is_forgotten(void **state)
{
	cleanup(state_free) struct state *s = NULL;
	cleanup_free char *base = NULL;

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_null(state_base(s, "web"));
	assert_int_equal(state_set_base(s, "web", "0123", NULL), 0);
	state_free(s);
	s = NULL;
	assert_int_equal(state_open(path, &s, NULL), 0);
	base = state_base(s, "web");
	assert_string_equal(base, "0123");
	assert_int_equal(state_set_base(s, "web", NULL, NULL), 0);
	assert_null(state_base(s, "web"));
}

static void test_state_file_without_the_later_fields_is_read(void **state)
{
	cleanup(state_free) struct state *s = NULL;
	char **command;

	(void)state;
	put("{\"version\":1,\"services\":{\"web\":"
	    "{\"generation\":7,\"serving\":6,\"command\":[\"/srv/v2\"]}}}");
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_null(state_environment(s, "web"));
	assert_int_equal(state_instances(s, "web"), 0);
	assert_int_equal(state_serving(s, "web"), 6);
	command = state_command(s, "web");
	assert_string_equal(command[0], "/srv/v2");
	vector_free(command);
}

/* As if the disk were full, also for root: a folder stands where the new file is to be made. */
static void make_unwritable(const char *file, bool on)
{
	char fresh[256];

	snprintf(fresh, sizeof(fresh), "%s.new", file);
	assert_int_equal(on ? mkdir(fresh, 0700) : rmdir(fresh), 0);
}

static void test_state_failing_save_of_a_field_is_no_failure(void **state)
{
	char *environment[] = {(char *)"A=1", NULL};
	cleanup(state_free) struct state *s = NULL, *later = NULL;
	cleanup(vector_free) char **kept = NULL;
	struct error err = {""};

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	make_unwritable(path, true);
	assert_int_equal(state_set_environment(s, "web", environment, &err), 0);
	assert_int_equal(state_set_instances(s, "web", 2, &err), 0);
	assert_int_equal(state_set_id(s, "site", "web", &err), 0);
	assert_int_equal(state_instances(s, "web"), 2);
	make_unwritable(path, false);
	assert_int_equal(state_set_serving(s, "web", 2, &err), 0);
	assert_int_equal(state_open(path, &later, NULL), 0);
	assert_int_equal(state_instances(later, "web"), 2);
	kept = state_environment(later, "web");
	assert_string_equal(kept[0], "A=1");
}

/* ---- the spare ------------------------------------------------------------------------------ */

static char spare[128];

static struct state *open_kept(int expected)
{
	struct error err = {""};
	struct state *s = NULL;

	snprintf(spare, sizeof(spare), "%s/spare.json", folder);
	assert_int_equal(state_open(path, &s, &err), 0);
	assert_int_equal(state_keep(s, NULL, NULL, spare, &err), expected);
	return s;
}

static void test_state_number_in_the_spare_is_not_taken_again(void **state)
{
	struct state *killed, *s;

	(void)state;
	killed = open_kept(0);
	assert_int_equal(next(killed, "web"), 1);
	make_unwritable(path, true);
	assert_int_equal(next(killed, "web"), 2);
	assert_int_equal(state_set_serving(killed, "web", 2, NULL), 0);
	/* The next daemon, which cannot write either, and the one after it, which can. */
	s = open_kept(1);
	assert_int_equal(state_serving(s, "web"), 2);
	assert_int_equal(next(s, "web"), 3);
	make_unwritable(path, false);
	state_free(s);
	assert_int_equal(access(spare, F_OK), -1);
	s = open_kept(0);
	assert_int_equal(next(s, "web"), 4);
	state_free(s);
	state_free(killed);
}

/* A daemon was killed between writing the file and removing the spare. */
static void test_state_spare_that_is_older_than_the_file_is_left_alone(void **state)
{
	cleanup_free char *old = NULL;
	struct state *s = open_kept(0);

	(void)state;
	make_unwritable(path, true);
	assert_int_equal(next(s, "web"), 1);
	assert_int_equal(file_read(spare, 10000, &old, NULL), 0);
	make_unwritable(path, false);
	assert_int_equal(next(s, "web"), 2);
	state_free(s);
	assert_int_equal(file_replace(spare, old, strlen(old), 0600), 0);
	s = open_kept(0);
	assert_int_equal(access(spare, F_OK), -1);
	assert_int_equal(next(s, "web"), 3);
	state_free(s);
}

/* Also if nothing changes any more. */
static void test_state_spare_that_is_newer_goes_to_the_file(void **state)
{
	struct state *killed = open_kept(0), *s;

	(void)state;
	make_unwritable(path, true);
	assert_int_equal(next(killed, "web"), 1);
	make_unwritable(path, false);
	s = open_kept(1);
	assert_int_equal(access(spare, F_OK), -1);
	state_free(s);
	s = open_kept(0);
	assert_int_equal(state_generation(s, "web"), 1);
	state_free(s);
	state_free(killed);
}

static void test_state_damaged_spare_is_moved_aside(void **state)
{
	struct state *s = open_kept(0);
	char aside[160];

	(void)state;
	assert_int_equal(next(s, "web"), 1);
	state_free(s);
	assert_int_equal(file_replace(spare, "{", 1, 0600), 0);
	s = open_kept(1);
	snprintf(aside, sizeof(aside), "%s.bad", spare);
	assert_int_equal(access(aside, F_OK), 0);
	assert_int_equal(next(s, "web"), 2);
	state_free(s);
}

static void test_state_folder_is_made_private(void **state)
{
	cleanup(state_free) struct state *s = NULL;
	char deep[256];
	struct stat st;

	(void)state;
	snprintf(deep, sizeof(deep), "%s/a/b/state.json", folder);
	assert_int_equal(state_open(deep, &s, NULL), 0);
	assert_int_equal(next(s, "web"), 1);
	*strrchr(deep, '/') = '\0';
	assert_int_equal(stat(deep, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

#define WEB(fields_) "{\"version\":1,\"services\":{\"web\":{" fields_ "}}}"

static void expect_nothing_known(struct state *s)
{
	assert_non_null(s);
	assert_int_equal(next(s, "web"), 1);
	assert_int_equal(state_serving(s, "web"), 0);
}

/* And what is saved afterwards can be read. */
static void expect_used_again(void)
{
	cleanup(state_free) struct state *s = NULL;

	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_int_equal(next(s, "web"), 2);
}

static void test_state_damaged_file_is_moved_aside_and_nothing_is_known(void **state)
{
	static const struct {
		const char *text;
		const char *why;
	} cases[] = {
		{"", "damaged: line 1"},
		{"{", "damaged: line 1"},
		{"[]", "damaged: no version number"},
		{"{}", "damaged: no version number"},
		{"{\"version\":\"1\",\"services\":{}}", "damaged: no version number"},
		{"{\"version\":0,\"services\":{}}", "damaged: no version number"},
		{"{\"version\":1}", "damaged: no services"},
		{"{\"version\":1,\"services\":[]}", "damaged: no services"},
		{"{\"version\":1,\"services\":{\"web\":3}}", "services.web.generation"},
		{"{\"version\":1,\"services\":{\"web\":{\"generation\":-1}}}",
		 "services.web.generation"},
		{"{\"version\":1,\"services\":{\"web\":{\"generation\":4294967296}}}",
		 "services.web.generation"},
		{"{\"version\":1,\"services\":{\"web\":{\"generation\":1.0}}}",
		 "services.web.generation"},
		{"{\"version\":1,\"services\":{\"web\":{\"generation\":1,\"command\":[]}}}",
		 "services.web.command"},
		{"{\"version\":1,\"services\":{\"web\":{\"generation\":1,\"command\":[1]}}}",
		 "services.web.command"},
		{WEB("\"generation\":1,\"environment\":[]"), "services.web.environment"},
		{WEB("\"generation\":1,\"environment\":{\"A\":\"1\"}"), "services.web.environment"},
		{WEB("\"generation\":1,\"environment\":[\"A=1\",2]"), "services.web.environment"},
		{WEB("\"generation\":1,\"environment\":[\"A\"]"),
		 "services.web.environment: not an array of \"NAME=value\""},
		{WEB("\"generation\":1,\"environment\":[\"=1\"]"), "services.web.environment"},
		{WEB("\"generation\":1,\"instances\":257"), "services.web.instances"},
		{WEB("\"generation\":1,\"instances\":-1"), "services.web.instances"},
		{WEB("\"generation\":1,\"instances\":\"2\""),
		 "services.web.instances: not a number of instances"},
		{WEB("\"generation\":1,\"serving\":-1"), "services.web.serving"},
		{"{\"version\":2,\"services\":{}}", "a later version of baton"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup(state_free) struct state *s = NULL;
		cleanup_free char *text = NULL;
		struct error err = {""};
		char aside[160];

		put(cases[i].text);
		snprintf(aside, sizeof(aside), "%s.bad", path);
		unlink(aside);
		assert_int_equal(state_open(path, &s, &err), 1);
		assert_memory_equal(err.text, path, strlen(path));
		assert_non_null(strstr(err.text, aside));
		if (!strstr(err.text, cases[i].why))
			fail_msg("%s: %s", cases[i].text, err.text);
		assert_int_equal(file_read(aside, 1000, &text, NULL), 0);
		assert_string_equal(text, cases[i].text);
		expect_nothing_known(s);
		expect_used_again();
	}
}

static void test_state_no_regular_file_is_moved_aside(void **state)
{
	(void)state;
	for (int k = 0; k < 3; k++) {
		cleanup(state_free) struct state *s = NULL;
		struct error err = {""};

		unlink(path);
		if (k == 0)
			assert_int_equal(mkdir(path, 0700), 0);
		else if (k == 1)
			assert_int_equal(mkfifo(path, 0600), 0);
		else
			assert_int_equal(symlink("/dev/zero", path), 0);
		assert_int_equal(state_open(path, &s, &err), 1);
		assert_non_null(strstr(err.text, ".bad"));
		assert_non_null(strstr(err.text, k == 0 ? "directory" : "not a regular file"));
		expect_nothing_known(s);
		expect_used_again();
	}
}

static void test_state_huge_file_is_moved_aside(void **state)
{
	cleanup(state_free) struct state *s = NULL;
	struct error err = {""};

	(void)state;
	put("{");
	assert_int_equal(truncate(path, 1LL << 40), 0);
	assert_int_equal(state_open(path, &s, &err), 1);
	assert_non_null(strstr(err.text, ".bad"));
	expect_nothing_known(s);
	expect_used_again();
}

/* As on a full disk that has no room for the folder either: a file is where a folder should be. */
static void test_state_without_its_folder_is_kept_in_memory(void **state)
{
	cleanup(state_free) struct state *s = NULL;
	struct error err = {""};
	char below[256];
	uint32_t number = 0;

	(void)state;
	put("x");
	snprintf(below, sizeof(below), "%s/more/state.json", path);
	assert_int_equal(state_open(below, &s, &err), 1);
	assert_memory_equal(err.text, below, strlen(below));
	assert_int_equal(state_next_generation(s, "web", &number, &err), 1);
	assert_int_equal(number, 1);
	assert_int_equal(state_next_generation(s, "web", &number, &err), 1);
	assert_int_equal(number, 2);
}

static void test_state_failing_save_takes_the_number_and_says_so(void **state)
{
	cleanup(state_free) struct state *s = NULL;
	char fresh[256];
	struct error err = {""};
	uint32_t generation = 77;

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_int_equal(next(s, "web"), 1);
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	assert_int_equal(mkdir(fresh, 0700), 0);
	assert_int_equal(state_next_generation(s, "web", &generation, &err), 1);
	assert_int_equal(generation, 2);
	assert_memory_equal(err.text, path, strlen(path));
	assert_int_equal(state_next_generation(s, "new", &generation, &err), 1);
	assert_int_equal(generation, 1);
	assert_int_equal(rmdir(fresh), 0);
	assert_int_equal(next(s, "web"), 3);
	state_free(s);
	s = NULL;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_int_equal(next(s, "web"), 4);
	assert_int_equal(next(s, "new"), 2);
}

static void test_state_last_number_is_not_passed(void **state)
{
	cleanup(state_free) struct state *s = NULL;
	uint32_t generation;

	(void)state;
	put("{\"version\":1,\"services\":{\"web\":{\"generation\":4294967294}}}");
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_true(next(s, "web") == UINT32_MAX);
	assert_int_equal(state_next_generation(s, "web", &generation, NULL), -EOVERFLOW);
}

static size_t allocations, fail_at;

static void *failing_malloc(size_t size)
{
	if (++allocations != fail_at)
		return malloc(size);
	errno = ENOMEM; /* as malloc(3) */
	return NULL;
}

static int open_and_take(uint32_t *ret)
{
	cleanup(state_free) struct state *s = NULL;
	int r = state_open(path, &s, NULL);

	return r < 0 ? r : state_next_generation(s, "b", ret, NULL);
}

static int open_and_set(void)
{
	char *environment[] = {(char *)"A=1", (char *)"B=2", NULL};
	cleanup(state_free) struct state *s = NULL;
	int r = state_open(path, &s, NULL);

	if (r == 0)
		r = state_set_environment(s, "b", environment, NULL);
	return r < 0 ? r : state_set_instances(s, "b", 3, NULL);
}

static void test_state_without_memory_says_that_it_remembers_nothing(void **state)
{
	cleanup(state_free) struct state *s = NULL;
	json_malloc_t old_malloc;
	json_free_t old_free;
	int r = -1;

	(void)state;
	json_get_alloc_funcs(&old_malloc, &old_free);
	json_set_alloc_funcs(failing_malloc, free);
	for (fail_at = 1; fail_at < 10000; fail_at++) {
		allocations = 0;
		unlink(path);
		r = open_and_set();
		if (r == 0)
			break;
		assert_int_equal(r, -ENOMEM);
	}
	json_set_alloc_funcs(old_malloc, old_free);
	assert_int_equal(r, 0);
	assert_true(fail_at > 5);
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_int_equal(state_instances(s, "b"), 3);
}

static void test_state_without_memory_takes_no_number(void **state)
{
	json_malloc_t old_malloc;
	json_free_t old_free;
	uint32_t generation = 0;
	int r = -1;

	(void)state;
	json_get_alloc_funcs(&old_malloc, &old_free);
	json_set_alloc_funcs(failing_malloc, free);
	for (int exists = 0; exists < 2; exists++) {
		if (exists)
			put("{\"version\":1,\"services\":{\"a\":{\"generation\":5}}}");
		for (fail_at = 1; fail_at < 10000; fail_at++) {
			allocations = 0;
			r = open_and_take(&generation);
			if (r == 0)
				break;
			assert_int_equal(r, -ENOMEM);
		}
		assert_int_equal(r, 0);
		assert_int_equal(generation, 1);
		assert_true(fail_at > 5);
	}
	json_set_alloc_funcs(old_malloc, old_free);
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up, tear_down)

/* A service that was renamed is known by the name that it had. */
static void test_state_id_is_kept_by_name_until_it_is_forgotten(void **state)
{
	cleanup(state_free) struct state *s = NULL, *again = NULL;
	cleanup_free char *id = NULL, *none = NULL;
	struct error err = {""};

	(void)state;
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_null(state_id(s, "site"));
	assert_int_equal(state_set_id(s, "site", NULL, &err), 0); /* nothing to write */
	assert_int_equal(state_set_id(s, "site", "web", &err), 0);
	assert_int_equal(next(s, "web"), 1);
	assert_int_equal(state_open(path, &again, NULL), 0);
	id = state_id(again, "site");
	assert_string_equal(id, "web");
	assert_int_equal(state_set_id(again, "site", NULL, &err), 0);
	none = state_id(again, "site");
	assert_null(none);
	assert_int_equal(next(again, "web"), 2);
}

static void test_state_id_that_cannot_be_one_is_none(void **state)
{
	cleanup(state_free) struct state *s = NULL;
	(void)state;
	put("{\"version\": 1, \"services\": {}, \"ids\": {\"site\": \"../web\", \"api\": 7}}");
	assert_int_equal(state_open(path, &s, NULL), 0);
	assert_null(state_id(s, "site"));
	assert_null(state_id(s, "api"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_state_numbers_start_at_one_and_grow_for_each_service),
		TEST(test_state_numbers_go_on_after_a_restart),
		TEST(test_state_file_has_the_documented_form),
		TEST(test_state_file_always_has_all_that_was_set),
		TEST(test_state_knows_whether_any_service_has_another_id),
		TEST(test_state_other_entries_and_fields_are_kept),
		TEST(test_state_command_is_remembered_until_it_is_forgotten),
		TEST(test_state_command_that_is_no_text_is_forgotten_in_the_file_too),
		TEST(test_state_empty_command_and_environment_are_none),
		TEST(test_state_environment_is_remembered_until_it_is_forgotten),
		TEST(test_state_bad_environment_is_refused),
		TEST(test_state_instances_are_remembered_until_they_are_forgotten),
		TEST(test_state_twins_are_remembered_until_they_are_forgotten),
		TEST(test_state_base_is_remembered_until_it_is_forgotten),
		TEST(test_state_id_is_kept_by_name_until_it_is_forgotten),
		TEST(test_state_id_that_cannot_be_one_is_none),
		TEST(test_state_file_without_the_later_fields_is_read),
		TEST(test_state_failing_save_of_a_field_is_no_failure),
		TEST(test_state_number_in_the_spare_is_not_taken_again),
		TEST(test_state_spare_that_is_older_than_the_file_is_left_alone),
		TEST(test_state_damaged_spare_is_moved_aside),
		TEST(test_state_spare_that_is_newer_goes_to_the_file),
		TEST(test_state_folder_is_made_private),
		TEST(test_state_damaged_file_is_moved_aside_and_nothing_is_known),
		TEST(test_state_no_regular_file_is_moved_aside),
		TEST(test_state_huge_file_is_moved_aside),
		TEST(test_state_without_its_folder_is_kept_in_memory),
		TEST(test_state_failing_save_takes_the_number_and_says_so),
		TEST(test_state_last_number_is_not_passed),
		TEST(test_state_without_memory_says_that_it_remembers_nothing),
		TEST(test_state_without_memory_takes_no_number),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
