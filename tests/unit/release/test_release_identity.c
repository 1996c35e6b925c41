/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "orchestrator/host/environment.h"
#include "orchestrator/release/release.h"
#include "common/vector.h"
#include "tests/unit/release/release_fixture.h"

static char *program[] = {"./current/program", "--fast", NULL};
static struct service_config service;

/* A service of two releases on disk, "current" is the first. Both have the same program. */
static int set_up_service(void **state)
{
	if (folder_set_up(state) < 0)
		return -1;
	service = (struct service_config){
		.name = "web", .command = program, .directory = folder, .uid = geteuid()};
	if (mkdir(in_folder("v1"), 0755) < 0 || mkdir(in_folder("v2"), 0755) < 0 ||
	    symlink("v1", in_folder("current")) < 0)
		return -1;
	write_elf("v1/program", "\x01\x02", "");
	write_elf("v2/program", "\x01\x02", "");
	return 0;
}

#define SERVICE_TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up_service, folder_tear_down)

static struct release *resolve(char *const *command, char *const *environment)
{
	struct release *release = NULL;
	struct error err = {""};

	if (release_resolve(&service, 1, command, environment, &release, &err) < 0)
		fail_msg("%s", err.text);
	return release;
}

/* Is what would be started now identical to @then? Both ways must say the same. */
static bool still(const struct release *then, char *const *command, char *const *environment)
{
	cleanup(release_free) struct release *now = resolve(command, environment);
	bool answer = release_identical(then, now);

	assert_int_equal(release_identical(now, then), answer);
	assert_true(release_identical(now, now));
	return answer;
}

static void point_to(const char *version)
{
	assert_int_equal(unlink(in_folder("current")), 0);
	assert_int_equal(symlink(version, in_folder("current")), 0);
}

static void set_mtime(const char *name, time_t seconds)
{
	struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};

	assert_int_equal(utimensat(AT_FDCWD, in_folder(name), times, 0), 0);
}

/* ---- the executable ------------------------------------------------------------------------- */

static void test_release_resolve_tells_size_and_digest(void **state)
{
	cleanup(release_free) struct release *release = resolve(NULL, NULL);

	(void)state;
	assert_int_equal(release->size, sizeof(struct small_elf));
	assert_string_equal(release->digest, "build-id:0102");
	assert_int_equal(strncmp(release->hash, "sha256:", 7), 0);
	assert_int_equal(release->n_files, 0);
}

/* A launcher finds the rest of its version beside itself, and is the same in all of them. */
static void test_release_identical_is_not_the_same_script_at_another_path(void **state)
{
	static const char launcher[] = "#!/bin/sh\nexec \"$(dirname \"$0\")\"/server\n";
	cleanup(release_free) struct release *first = NULL;
	cleanup(release_free) struct release *second = NULL;

	(void)state;
	write_file("v1/program", launcher, 0755);
	write_file("v2/program", launcher, 0755);
	first = resolve(NULL, NULL);
	point_to("v2");
	second = resolve(NULL, NULL);
	assert_string_equal(first->hash, second->hash);
	assert_false(still(first, NULL, NULL));
	point_to("v1");
	assert_true(still(first, NULL, NULL));
}

/* Also with one inode, size and time. */
static void test_release_identical_is_not_the_same_build_at_another_path(void **state)
{
	cleanup(release_free) struct release *first = resolve(NULL, NULL);

	(void)state;
	assert_int_equal(unlink(in_folder("v2/program")), 0);
	assert_int_equal(link(in_folder("v1/program"), in_folder("v2/program")), 0);
	point_to("v2");
	assert_false(still(first, NULL, NULL));
}

/* As a rebuild leaves it that comes to the same. */
static void test_release_identical_is_the_same_contents_in_a_new_file(void **state)
{
	cleanup(release_free) struct release *first = resolve(NULL, NULL);
	cleanup(release_free) struct release *second = NULL;

	(void)state;
	write_elf("v1/new", "\x01\x02", "");
	set_mtime("v1/new", 1000000000);
	assert_int_equal(rename(in_folder("v1/new"), in_folder("v1/program")), 0);
	assert_true(still(first, NULL, NULL));
	second = resolve(NULL, NULL);
	assert_int_not_equal(second->inode, first->inode);
	assert_int_not_equal(second->mtime_ms, first->mtime_ms);
}

/* As by objcopy --update-section: what was linked is the same, what runs is not. */
static void test_release_identical_is_not_the_same_build_with_other_contents(void **state)
{
	cleanup(release_free) struct release *first = resolve(NULL, NULL);
	cleanup(release_free) struct release *second = NULL;

	(void)state;
	write_elf("v1/program", "\x01\x02", "other");
	second = resolve(NULL, NULL);
	assert_string_equal(second->digest, first->digest);
	assert_int_equal(second->size, first->size);
	assert_false(still(first, NULL, NULL));
}

static void test_release_identical_is_not_a_replaced_one_of_the_same_time_and_size(void **state)
{
	cleanup(release_free) struct release *first = NULL;
	cleanup(release_free) struct release *second = NULL;

	(void)state;
	set_mtime("v1/program", 1000000000);
	first = resolve(NULL, NULL);
	write_elf("v1/program", "\x01\x03", "");
	set_mtime("v1/program", 1000000000);
	second = resolve(NULL, NULL);
	assert_int_equal(second->inode, first->inode);
	assert_int_equal(second->mtime_ms, first->mtime_ms);
	assert_int_equal(second->size, first->size);
	assert_true(release_equal(first, second));
	assert_false(release_identical(first, second));
}

static void test_release_identical_without_a_hash_goes_by_inode_size_and_time(void **state)
{
	cleanup(release_free) struct release *first = resolve(NULL, NULL);
	cleanup(release_free) struct release *other = release_copy(first);

	(void)state;
	assert_non_null(other);
	other->hash[0] = '\0';
	assert_true(release_identical(first, other));
	assert_true(release_identical(other, first));
	other->inode++;
	assert_false(release_identical(first, other));
	other->inode--;
	other->size++;
	assert_false(release_identical(first, other));
	other->size--;
	other->mtime_ms++;
	assert_false(release_identical(first, other));
	assert_false(release_identical(other, first));
	/* Neither has one: the digests are the same, and say nothing. */
	first->hash[0] = '\0';
	assert_string_equal(first->digest, other->digest);
	assert_false(release_identical(first, other));
	other->mtime_ms--;
	assert_true(release_identical(first, other));
}

/* ---- command, directory, environment -------------------------------------------------------- */

static void test_release_identical_is_not_another_command_or_directory(void **state)
{
	char *other[] = {"./current/program", "--slow", NULL};
	char *another_name[] = {"./v1/program", "--fast", NULL};
	cleanup(release_free) struct release *first = resolve(NULL, NULL);

	(void)state;
	assert_true(still(first, NULL, NULL));
	assert_true(still(first, program, NULL));
	assert_false(still(first, other, NULL));
	assert_false(still(first, another_name, NULL));

	assert_int_equal(symlink("v1", in_folder("v1/current")), 0);
	assert_int_equal(mkdir(in_folder("v1/v1"), 0755), 0);
	write_elf("v1/v1/program", "\x01\x02", "");
	service.directory = in_folder("v1");
	assert_false(still(first, NULL, NULL));
}

static void test_release_identical_whatever_the_order_of_the_environment(void **state)
{
	char *one[] = {"A=1", "B=2", "C=3", NULL}, *two[] = {"C=3", "A=1", "B=2", NULL};
	char *first_half[] = {"B=2", NULL}, *second_half[] = {"C=3", "A=1", NULL};
	cleanup(release_free) struct release *first = NULL;

	(void)state;
	service.environment = one;
	first = resolve(NULL, NULL);
	service.environment = two;
	assert_true(still(first, NULL, NULL));
	/* What counts is the outcome, not where a variable comes from. */
	service.environment = first_half;
	assert_true(still(first, NULL, second_half));
	assert_false(still(first, NULL, NULL));
	two[0] = "C=4";
	assert_false(still(first, NULL, two));
}

static void test_release_resolve_further_environment_wins(void **state)
{
	char *configured[] = {"A=config", "B=config", "HOME=/config", NULL};
	char *more[] = {"Z=", "B=upgrade=1", "HOME=/upgrade", NULL};
	cleanup(release_free) struct release *release = NULL;

	(void)state;
	service.environment = configured;
	release = resolve(NULL, more);
	assert_string_equal(environment_get(release->environment, "A"), "config");
	assert_string_equal(environment_get(release->environment, "B"), "upgrade=1");
	assert_string_equal(environment_get(release->environment, "HOME"), "/upgrade");
	assert_string_equal(environment_get(release->environment, "Z"), "");
	for (size_t i = 1; release->environment[i]; i++)
		assert_true(strcmp(release->environment[i - 1], release->environment[i]) < 0);
}

static void test_release_resolve_searches_the_further_path(void **state)
{
	char path[128], *command[] = {"program", NULL}, *more[] = {path, NULL};
	cleanup(release_free) struct release *release = NULL;

	(void)state;
	snprintf(path, sizeof(path), "PATH=%s/v2", folder);
	release = resolve(command, more);
	assert_string_equal(release->executable, in_folder("v2/program"));
}

static void test_release_resolve_bad_further_environment_is_refused(void **state)
{
	static const struct {
		const char *entry, *why;
	} cases[] = {
		{"NAME", "environment: \"NAME\": expected NAME=value"},
		{"", "environment: \"\": expected NAME=value"},
		{"=value", "environment: "},
		{"LISTEN_FDS=3", "environment: "},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *more[] = {"GOOD=1", (char *)cases[i].entry, NULL};
		struct release *release = NULL;
		struct error err = {""};

		assert_int_equal(release_resolve(&service, 1, NULL, more, &release, &err), -EINVAL);
		assert_null(release);
		if (strncmp(err.text, cases[i].why, strlen(cases[i].why)) != 0)
			fail_msg("%s: %s", cases[i].entry, err.text);
	}
}

/* ---- files ---------------------------------------------------------------------------------- */

static void test_release_resolve_finds_the_files_that_are_named(void **state)
{
	char absolute[300], option[300], long_name[5000];
	char *command[] = {"./current/program",
			   "app.py",
			   absolute,
			   option,
			   "--relative=sub/c",
			   "x=app.py",
			   "app.py",
			   "",
			   "sub",
			   "--folder=sub",
			   "no-such",
			   "fifo",
			   "link",
			   "-o",
			   "--empty=",
			   "--none=no-such",
			   "--a=b",
			   long_name,
			   "./sub/../app.py",
			   NULL};
	static const char *const expected[] = {"app.py", "sub/a",      "sub/b",
					       "sub/c",  "v2/program", "--a=b"};
	cleanup(release_free) struct release *release = NULL;
	struct stat st;

	(void)state;
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(mkdir(in_folder("sub"), 0755), 0);
	assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
	write_file("app.py", "12345", 0644);
	write_file("sub/a", "", 0644);
	write_file("sub/b", "", 0644);
	write_file("sub/c", "", 0644);
	write_file("--a=b", "", 0644); /* an odd name is one, too; and is looked at first */
	write_file("b", "", 0644);
	assert_int_equal(symlink("v2/program", in_folder("link")), 0);
	snprintf(absolute, sizeof(absolute), "%s/sub/a", folder);
	snprintf(option, sizeof(option), "--config=%s/sub/b", folder);

	release = resolve(command, NULL);
	assert_int_equal(release->n_files, sizeof(expected) / sizeof(expected[0]));
	for (size_t i = 0; i < release->n_files; i++)
		assert_string_equal(release->files[i].path, in_folder(expected[i]));
	assert_int_equal(stat(in_folder("app.py"), &st), 0);
	assert_int_equal(release->files[0].inode, st.st_ino);
	assert_int_equal(release->files[0].size, 5);
	assert_int_equal(release->files[0].mtime_ms / 1000, st.st_mtim.tv_sec);
}

static void test_release_identical_is_not_with_an_edited_file(void **state)
{
	char *command[] = {"./current/program", "--config=app.conf", "./current/app.py", NULL};
	cleanup(release_free) struct release *first = NULL;

	(void)state;
	write_file("app.conf", "a", 0644);
	write_file("v1/app.py", "one", 0644);
	write_file("v2/app.py", "one", 0644);
	set_mtime("app.conf", 1000000000);
	set_mtime("v1/app.py", 1000000000);
	first = resolve(command, NULL);
	assert_int_equal(first->n_files, 2);
	assert_true(still(first, command, NULL));

	/* by its contents, whatever its times say; not by its time or inode */
	write_file("v1/app.py", "two", 0644);
	set_mtime("v1/app.py", 1000000000);
	assert_false(still(first, command, NULL));
	write_file("v1/app.new", "one", 0644);
	assert_int_equal(rename(in_folder("v1/app.new"), in_folder("v1/app.py")), 0);
	assert_true(still(first, command, NULL));
	/* by its size, its place, its absence */
	write_file("v1/app.py", "longer", 0644);
	set_mtime("v1/app.py", 1000000000);
	assert_false(still(first, command, NULL));
	point_to("v2");
	assert_false(still(first, command, NULL));
	assert_int_equal(unlink(in_folder("v2/app.py")), 0);
	assert_false(still(first, command, NULL));
}

/* Of what is not in the list nobody knows whether it was edited. */
/* ---- what has become of it ------------------------------------------------------------------ */

static void assert_changed(const struct release *release, const char *expected)
{
	const char *path;
	bool changed = release_changed(release, &path);

	assert_int_equal(changed, expected != NULL);
	if (expected)
		assert_string_equal(strrchr(path, '/') + 1, expected);
}

static void test_release_changed_names_the_file(void **state)
{
	char *command[] = {"./current/program", "./current/app.py", NULL};
	cleanup(release_free) struct release *release = NULL, *copy = NULL;
	struct error err;

	(void)state;
	write_file("v1/app.py", "one", 0644);
	release = resolve(command, NULL);
	copy = release_copy(release);
	assert_changed(copy, NULL);
	write_file("v1/app.py", "two", 0644);
	set_mtime("v1/app.py", (time_t)(release->files[0].mtime_ms / 1000));
	assert_changed(copy, "app.py");
	/* Looked at anew it is what it is now. */
	assert_int_equal(release_look(release, &err), 0);
	assert_changed(release, NULL);
	assert_false(release_identical(release, copy));
	write_file("v1/app.py", "one", 0644);
	assert_changed(copy, NULL);
	write_elf("v1/program", "\x01\x02", "more");
	assert_changed(copy, "program");
	/* A link that leads elsewhere changes nothing about what it led to. */
	assert_int_equal(release_look(release, &err), 0);
	point_to("v2");
	assert_changed(release, NULL);
	assert_int_equal(unlink(in_folder("v1/app.py")), 0);
	assert_changed(release, "app.py");
	assert_int_equal(unlink(in_folder("v1/program")), 0);
	assert_changed(release, "program");
	assert_int_equal(release_look(release, &err), -ENOENT);
}

/* What a daemon that takes over finds of @command: only the texts are known. */
static struct release *look_back(char *const *command, pid_t pid, uint64_t since_ms)
{
	struct release *release = calloc(1, sizeof(*release));

	assert_non_null(release);
	assert_int_equal(vector_copy(command, &release->command), 0);
	assert_int_equal(vector_copy(NULL, &release->environment), 0);
	release->executable = realpath(in_folder(command[0]), NULL);
	release->directory = strdup(folder);
	release_look_back(release, pid, since_ms);
	return release;
}

static void test_release_look_back_knows_a_script_that_has_not_changed(void **state)
{
	char *command[] = {"./current/script", "./current/app.py", NULL};
	cleanup(release_free) struct release *then = NULL, *unknown = NULL;
	struct release *now;
	struct stat st;

	(void)state;
	write_file("v1/script", "#!/bin/sh\nexec sleep 1\n", 0755);
	write_file("v1/app.py", "one", 0644);
	then = resolve(command, NULL);
	now = look_back(command, getpid(), UINT64_MAX);
	/* Not by what the process shows, which is the interpreter. */
	assert_string_equal(now->digest, then->digest);
	assert_string_equal(now->hash, then->hash);
	assert_int_equal(now->n_files, 1);
	assert_string_equal(now->files[0].hash, then->files[0].hash);
	release_free(now);
	/* It was started before these were written: nobody knows how they were. */
	unknown = look_back(command, getpid(), 1);
	assert_string_equal(unknown->hash, "");
	assert_string_equal(unknown->digest, "");
	assert_string_equal(unknown->files[0].hash, "");
	assert_changed(unknown, NULL);
	/* A program is the one that runs, whatever has its name by now. */
	command[0] = "./current/program";
	now = look_back(command, getpid(), 1);
	assert_int_equal(stat("/proc/self/exe", &st), 0);
	assert_int_equal(now->inode, st.st_ino);
	release_free(now);
}

static void test_release_identical_is_not_where_more_files_are_named_than_kept(void **state)
{
	char names[RELEASE_FILES_MAX + 1][16], *command[RELEASE_FILES_MAX + 3] = {program[0]};
	cleanup(release_free) struct release *few = NULL;
	cleanup(release_free) struct release *many = NULL;
	cleanup(release_free) struct release *again = NULL;

	(void)state;
	for (size_t i = 0; i <= RELEASE_FILES_MAX; i++) {
		snprintf(names[i], sizeof(names[i]), "file%zu", i);
		write_file(names[i], "", 0644);
		command[1 + i] = names[i];
	}
	many = resolve(command, NULL);
	again = resolve(command, NULL);
	assert_int_equal(many->n_files, RELEASE_FILES_MAX);
	assert_true(release_equal(many, again));
	assert_false(release_identical(many, again));
	command[RELEASE_FILES_MAX] = NULL;
	few = resolve(command, NULL);
	assert_int_equal(few->n_files, RELEASE_FILES_MAX - 1);
	assert_true(still(few, command, NULL));
}

/* ---- copies --------------------------------------------------------------------------------- */

static void test_release_copy_is_whole_and_outlives_the_first(void **state)
{
	char *command[] = {"./current/program", "a", "b", NULL};
	struct release *first;
	cleanup(release_free) struct release *copy = NULL;

	(void)state;
	write_file("a", "1", 0644);
	write_file("b", "22", 0644);
	first = resolve(command, NULL);
	copy = release_copy(first);
	assert_non_null(copy);
	assert_true(release_identical(first, copy));
	assert_true(release_equal(first, copy));
	assert_ptr_not_equal(copy->files[0].path, first->files[0].path);
	release_free(first);
	release_free(NULL);
	assert_int_equal(copy->n_files, 2);
	assert_string_equal(copy->files[1].path, in_folder("b"));
	assert_int_equal(copy->files[1].size, 2);
	assert_int_equal(copy->size, sizeof(struct small_elf));
	assert_string_equal(copy->digest, "build-id:0102");
	assert_int_equal(strncmp(copy->hash, "sha256:", 7), 0);
	assert_true(still(copy, command, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVICE_TEST(test_release_resolve_tells_size_and_digest),
		SERVICE_TEST(test_release_identical_is_not_the_same_script_at_another_path),
		SERVICE_TEST(test_release_identical_is_not_the_same_build_at_another_path),
		SERVICE_TEST(test_release_identical_is_the_same_contents_in_a_new_file),
		SERVICE_TEST(test_release_identical_is_not_the_same_build_with_other_contents),
		SERVICE_TEST(
			test_release_identical_is_not_a_replaced_one_of_the_same_time_and_size),
		SERVICE_TEST(test_release_identical_without_a_hash_goes_by_inode_size_and_time),
		SERVICE_TEST(test_release_identical_is_not_another_command_or_directory),
		SERVICE_TEST(test_release_identical_whatever_the_order_of_the_environment),
		SERVICE_TEST(test_release_resolve_further_environment_wins),
		SERVICE_TEST(test_release_resolve_searches_the_further_path),
		SERVICE_TEST(test_release_resolve_bad_further_environment_is_refused),
		SERVICE_TEST(test_release_resolve_finds_the_files_that_are_named),
		SERVICE_TEST(test_release_identical_is_not_with_an_edited_file),
		SERVICE_TEST(test_release_changed_names_the_file),
		SERVICE_TEST(test_release_look_back_knows_a_script_that_has_not_changed),
		SERVICE_TEST(test_release_identical_is_not_where_more_files_are_named_than_kept),
		SERVICE_TEST(test_release_copy_is_whole_and_outlives_the_first),
	};

	return cmocka_run_group_tests_name("release_identity", tests, NULL, NULL);
}
