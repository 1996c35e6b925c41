/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "orchestrator/host/environment.h"
#include "orchestrator/release/release.h"
#include "common/vector.h"
#include "orchestrator/config/config.h"
#include "tests/unit/release/release_fixture.h"

static void test_release_resolve_follows_links_anew_each_time(void **state)
{
	char *command[] = {"./current/program", "x", NULL};
	struct service_config service = {
		.name = "web", .command = command, .directory = folder, .uid = geteuid()};
	cleanup(release_free) struct release *first = NULL;
	cleanup(release_free) struct release *second = NULL;
	struct stat st;

	(void)state;
	assert_int_equal(mkdir(in_folder("v1"), 0755), 0);
	assert_int_equal(mkdir(in_folder("v2"), 0755), 0);
	write_file("v1/program", "#!/bin/sh\n", 0755);
	write_file("v2/program", "#!/bin/sh\n", 0755);
	assert_int_equal(symlink("v1", in_folder("current")), 0);
	assert_int_equal(release_resolve(&service, 1, NULL, NULL, &first, NULL), 0);
	assert_string_equal(first->executable, in_folder("v1/program"));
	assert_string_equal(first->directory, folder);
	assert_true(vector_equal(first->command, command));
	assert_int_equal(stat(in_folder("v1/program"), &st), 0);
	assert_int_equal(first->inode, st.st_ino);
	assert_int_equal(first->mtime_ms / 1000, st.st_mtim.tv_sec);

	assert_int_equal(unlink(in_folder("current")), 0);
	assert_int_equal(symlink("v2", in_folder("current")), 0);
	assert_int_equal(release_resolve(&service, 1, NULL, NULL, &second, NULL), 0);
	assert_string_equal(second->executable, in_folder("v2/program"));
	assert_int_not_equal(second->inode, first->inode);
}

static void test_release_resolve_other_command_replaces_the_configured(void **state)
{
	char *command[] = {"/no/such", NULL}, *other[] = {"true", "--help", NULL};
	struct service_config service = {.name = "web", .command = command};
	cleanup(release_free) struct release *release = NULL;
	struct error err;

	(void)state;
	assert_int_equal(release_resolve(&service, 1, NULL, NULL, &release, &err), -ENOENT);
	assert_string_equal(err.text, "command: \"/no/such\": No such file or directory");
	assert_null(release);
	assert_int_equal(release_resolve(&service, 1, other, NULL, &release, &err), 0);
	assert_true(vector_equal(release->command, other));
	assert_string_equal(release->directory, "/");
}

static void test_release_resolve_without_command_is_refused(void **state)
{
	char *none[] = {NULL}, *empty[] = {"", NULL};
	struct service_config service = {.name = "web"};
	struct release *release = NULL;
	struct error err;

	(void)state;
	assert_int_equal(release_resolve(&service, 1, NULL, NULL, &release, &err), -EINVAL);
	assert_int_equal(release_resolve(&service, 1, none, NULL, &release, &err), -EINVAL);
	assert_int_equal(release_resolve(&service, 1, empty, NULL, &release, &err), -ENOENT);
	assert_null(release);
}

static void test_release_resolve_names_what_is_wrong(void **state)
{
	char *command[] = {"/bin/true", NULL};
	struct service_config service = {.name = "web", .command = command};
	struct release *release = NULL;
	struct error err;

	(void)state;
	service.directory = "/no/such";
	assert_int_equal(release_resolve(&service, 1, NULL, NULL, &release, &err), -ENOENT);
	assert_string_equal(err.text, "directory: /no/such: No such file or directory");
	service.directory = "/etc/passwd";
	assert_int_equal(release_resolve(&service, 1, NULL, NULL, &release, &err), -ENOTDIR);
	service.directory = NULL;
	service.environment_file = in_folder("env");
	write_file("env", "A=1\nbroken\n", 0644);
	assert_int_equal(release_resolve(&service, 1, NULL, NULL, &release, &err), -EINVAL);
	assert_non_null(strstr(err.text, "/env:2: expected NAME=value"));
	assert_null(release);
}

static void test_release_directory_of_an_instance_is_found_up_to_there(void **state)
{
	struct service_config service = {.name = "web", .directory = "/{generation}"};
	cleanup_free char *directory = NULL;
	char expected[PATH_MAX];
	struct error err;

	(void)state;
	assert_int_equal(lookup_directory(&service, &directory, NULL), 0);
	assert_string_equal(directory, "/{generation}");
	free(TAKE_PTR(directory));
	assert_int_equal(mkdir(in_folder("v1"), 0755), 0);
	assert_int_equal(symlink("v1", in_folder("current")), 0);
	service.directory = in_folder("current/x.{generation}/{instance}");
	assert_int_equal(lookup_directory(&service, &directory, NULL), 0);
	snprintf(expected, sizeof(expected), "%s/x.{generation}/{instance}", in_folder("v1"));
	assert_string_equal(directory, expected);
	service.directory = "/no/such/{instance}";
	assert_int_equal(lookup_directory(&service, &directory, &err), -ENOENT);
	assert_string_equal(err.text, "/no/such: No such file or directory");
}

static void test_release_environment_file_of_a_generation(void **state)
{
	struct service_config service = {.name = "web"};
	cleanup(vector_free) char **environment = NULL;
	struct error err;

	(void)state;
	write_file("env.7", "A={instance}\n", 0644);
	service.environment_file = in_folder("env.{generation}");
	assert_int_equal(lookup_environment(&service, 7, &environment, NULL), 0);
	assert_string_equal(environment[0], "A={instance}");
	vector_free(TAKE_PTR(environment));
	assert_int_equal(lookup_environment(&service, 8, &environment, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/env.8: No such file or directory"));
	/* Nobody knows yet which it will be. */
	assert_int_equal(lookup_environment(&service, 0, &environment, NULL), 0);
}

static void test_release_directory_default_depends_on_inheritance(void **state)
{
	struct service_config service = {.name = "web"};
	cleanup_free char *directory = NULL;
	char cwd[PATH_MAX];

	(void)state;
	assert_int_equal(lookup_directory(&service, &directory, NULL), 0);
	assert_string_equal(directory, "/");
	free(directory);
	directory = NULL;
	service.environment_inherit = true;
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(lookup_directory(&service, &directory, NULL), 0);
	assert_string_equal(directory, cwd);
}

static void test_release_environment_of_the_user(void **state)
{
	struct service_config service = {.name = "web", .user = "alice", .home = "/home/alice"};
	cleanup(vector_free) char **environment = NULL;

	(void)state;
	assert_int_equal(setenv("BATON_TEST_LEAK", "1", 1), 0);
	assert_int_equal(lookup_environment(&service, 1, &environment, NULL), 0);
	unsetenv("BATON_TEST_LEAK");
	assert_int_equal(vector_length(environment), 5);
	assert_string_equal(environment[0], "HOME=/home/alice");
	assert_string_equal(environment[1], "LOGNAME=alice");
	assert_string_equal(environment[2], "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:"
					    "/usr/bin:/sbin:/bin");
	assert_string_equal(environment[3], "SHELL=/bin/sh");
	assert_string_equal(environment[4], "USER=alice");
}

static void test_release_environment_of_the_daemons_own_user(void **state)
{
	struct service_config service = {.name = "web", .uid = 0};
	cleanup(vector_free) char **environment = NULL;

	(void)state;
	assert_int_equal(lookup_environment(&service, 1, &environment, NULL), 0);
	assert_string_equal(environment_get(environment, "USER"), "root");
}

static void test_release_environment_of_a_uid_without_entry_has_no_name(void **state)
{
	struct service_config service = {.name = "web", .uid = 3999999999u};
	cleanup(vector_free) char **environment = NULL;

	(void)state;
	assert_int_equal(lookup_environment(&service, 1, &environment, NULL), 0);
	assert_null(environment_get(environment, "USER"));
	assert_string_equal(environment_get(environment, "HOME"), "/");
}

static void test_release_environment_later_sources_win(void **state)
{
	char *own[] = {"A=config", "HOME=/config", NULL};
	struct service_config service = {.name = "web", .user = "alice", .environment = own};
	cleanup(vector_free) char **environment = NULL;

	(void)state;
	write_file("env", "A=file\nB=file\nSHELL=/file\n", 0644);
	service.environment_file = in_folder("env");
	assert_int_equal(lookup_environment(&service, 1, &environment, NULL), 0);
	assert_string_equal(environment_get(environment, "A"), "config");
	assert_string_equal(environment_get(environment, "B"), "file");
	assert_string_equal(environment_get(environment, "SHELL"), "/file");
	assert_string_equal(environment_get(environment, "HOME"), "/config");
	for (size_t i = 1; environment[i]; i++)
		assert_true(strcmp(environment[i - 1], environment[i]) < 0);
}

static void test_release_environment_inherited_leaves_the_daemons_own_out(void **state)
{
	static const char *const own[] = {"NOTIFY_SOCKET",  "LISTEN_FDS",    "LISTEN_PID",
					  "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID",
					  "INVOCATION_ID",  "JOURNAL_STREAM"};
	struct service_config service = {.name = "web", .environment_inherit = true};
	cleanup(vector_free) char **environment = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		assert_int_equal(setenv(own[i], "1", 1), 0);
	assert_int_equal(setenv("LISTEN_FDS_LIKE", "2", 1), 0);
	assert_int_equal(setenv("HOME", "/of/the/daemon", 1), 0);
	assert_int_equal(lookup_environment(&service, 1, &environment, NULL), 0);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		unsetenv(own[i]);
		assert_null(environment_get(environment, own[i]));
	}
	assert_string_equal(environment_get(environment, "LISTEN_FDS_LIKE"), "2");
	assert_string_equal(environment_get(environment, "HOME"), "/of/the/daemon");
}

static void test_release_executable_search_takes_the_first_that_can_be_run(void **state)
{
	char path[512];
	char *environment[] = {path, NULL};
	cleanup_free char *found = NULL;
	struct error err;

	(void)state;
	assert_int_equal(mkdir(in_folder("a"), 0755), 0);
	assert_int_equal(mkdir(in_folder("b"), 0755), 0);
	assert_int_equal(mkdir(in_folder("c"), 0755), 0);
	assert_int_equal(mkdir(in_folder("c/program"), 0755), 0);
	write_file("a/program", "", 0644);
	snprintf(path, sizeof(path), "PATH=%s/c:%s/a:%s/b", folder, folder, folder);
	assert_int_equal(lookup_executable("program", "/", environment, &found, &err), -EACCES);
	assert_null(found);
	assert_non_null(strstr(err.text, "/a/program is not an executable file"));
	write_file("b/program", "", 0755);
	assert_int_equal(lookup_executable("program", "/", environment, &found, &err), 0);
	assert_string_equal(found, in_folder("b/program"));
}

static void test_release_executable_empty_entry_is_the_directory(void **state)
{
	static const char *const paths[] = {"PATH=", "PATH=:/nowhere", "PATH=/nowhere:", "PATH=.",
					    "PATH=/nowhere::/nowhere"};

	(void)state;
	write_file("program", "", 0755);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		char *environment[] = {(char *)paths[i], NULL};
		cleanup_free char *found = NULL;

		assert_int_equal(lookup_executable("program", folder, environment, &found, NULL),
				 0);
		assert_string_equal(found, in_folder("program"));
	}
}

static void test_release_executable_without_path_uses_the_usual_one(void **state)
{
	cleanup_free char *found = NULL;

	(void)state;
	assert_int_equal(lookup_executable("sh", "/nowhere", NULL, &found, NULL), 0);
	assert_int_equal(found[0], '/');
}

static void test_release_executable_relative_counts_from_the_directory(void **state)
{
	cleanup_free char *found = NULL;
	struct error err;

	(void)state;
	assert_int_equal(mkdir(in_folder("bin"), 0755), 0);
	write_file("bin/program", "", 0755);
	write_file("bin/text", "", 0644);
	assert_int_equal(lookup_executable("bin/program", folder, NULL, &found, &err), 0);
	assert_string_equal(found, in_folder("bin/program"));
	assert_int_equal(lookup_executable("bin/text", folder, NULL, &found, &err), -EACCES);
	assert_int_equal(lookup_executable("bin", folder, NULL, &found, &err), -ENOENT);
	assert_int_equal(lookup_executable("./bin", folder, NULL, &found, &err), -EISDIR);
	assert_int_equal(lookup_executable("bin/none", folder, NULL, &found, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/bin/none\": No such file or directory"));
	assert_int_equal(lookup_executable("/dev/null", folder, NULL, &found, &err), -EACCES);
}

static void test_release_executable_name_that_is_too_long_is_refused(void **state)
{
	cleanup_free char *name = malloc(PATH_MAX + 2);
	char *found = NULL;
	struct error err;

	(void)state;
	assert_non_null(name);
	memset(name, 'x', PATH_MAX + 1);
	name[PATH_MAX + 1] = '\0';
	assert_int_equal(lookup_executable(name, "/", NULL, &found, &err), -ENOENT);
	name[0] = '/';
	assert_int_equal(lookup_executable(name, "/", NULL, &found, &err), -ENAMETOOLONG);
	assert_null(found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_release_resolve_follows_links_anew_each_time),
		TEST(test_release_resolve_other_command_replaces_the_configured),
		TEST(test_release_resolve_without_command_is_refused),
		TEST(test_release_resolve_names_what_is_wrong),
		TEST(test_release_directory_of_an_instance_is_found_up_to_there),
		TEST(test_release_environment_file_of_a_generation),
		TEST(test_release_directory_default_depends_on_inheritance),
		TEST(test_release_environment_of_the_user),
		TEST(test_release_environment_of_the_daemons_own_user),
		TEST(test_release_environment_of_a_uid_without_entry_has_no_name),
		TEST(test_release_environment_later_sources_win),
		TEST(test_release_environment_inherited_leaves_the_daemons_own_out),
		TEST(test_release_executable_search_takes_the_first_that_can_be_run),
		TEST(test_release_executable_empty_entry_is_the_directory),
		TEST(test_release_executable_without_path_uses_the_usual_one),
		TEST(test_release_executable_relative_counts_from_the_directory),
		TEST(test_release_executable_name_that_is_too_long_is_refused),
	};

	return cmocka_run_group_tests_name("release", tests, NULL, NULL);
}
