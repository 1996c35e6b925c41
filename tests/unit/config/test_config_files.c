/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a configuration comes from, and what it finds on the host. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/unit/config/config_fixture.h"

/* ---- files ---------------------------------------------------------------------------------- */

static void test_config_file_that_cannot_be_read_is_a_mistake(void **state)
{
	struct config *config;

	(void)state;
	assert_int_equal(config_load(in_folder("baton.json"), NULL, &config, &mistakes), -EINVAL);
	assert_null(config);
	assert_int_equal(mistakes.total, 1);
	expect_mistake(0, "No such file or directory");

	assert_int_equal(config_load(folder, NULL, &config, &mistakes), -EINVAL);
	assert_non_null(strstr(mistakes.list[0].text, ": has no *.json file in it"));
	assert_int_equal(mkdir(in_folder("baton.json"), 0755), 0);
	assert_int_equal(config_load(folder, NULL, &config, &mistakes), -EINVAL);
	assert_non_null(strstr(mistakes.list[0].text, "/baton.json: Is a directory"));
}

static void test_config_file_that_is_too_large_is_refused(void **state)
{
	char *json = malloc(CONFIG_FILE_MAX + 2);
	struct config *config;

	(void)state;
	assert_non_null(json);
	memset(json, ' ', CONFIG_FILE_MAX + 1);
	json[CONFIG_FILE_MAX + 1] = '\0';
	memcpy(json, "{}", 2);
	load_bad(json);
	expect_mistake(0, "larger than 16777216 bytes");

	json[CONFIG_FILE_MAX] = '\0';
	config = load_good(json);
	config_free(config);
	free(json);
}

static void test_config_dropins_are_read_in_order_of_name(void **state)
{
	cleanup(config_free) struct config *config = NULL;
	cleanup_free char *main_file =
		strdup(write_file("baton.json", "{\"api\":{\"group\":\"root\"}}", 0644));
	int r;

	(void)state;
	assert_int_equal(mkdir(in_folder("conf.d"), 0755), 0);
	write_file("conf.d/20-b.json",
		   "{\"services\":{\"b\":{\"command\":[\"/bin/true\"],\"listen\":\":2\"}}}", 0644);
	write_file("conf.d/10-a.json",
		   "{\"services\":{\"a\":{\"command\":[\"/bin/true\"],\"listen\":\":1\"}}}", 0644);
	write_file("conf.d/.hidden.json", "broken", 0644);
	write_file("conf.d/30-c.json~", "broken", 0644);
	write_file("conf.d/README", "broken", 0644);
	r = config_load(main_file, in_folder("conf.d"), &config, &mistakes);
	assert_int_equal(r, 0);
	assert_int_equal(config->n_services, 2);
	config_free(config);
	config = NULL;

	/* Defined twice, and the group too: the later file is told of, with the earlier one. */
	write_file("conf.d/30-c.json",
		   "{\"api\":{\"group\":\"root\"},\"services\":{\"a\":{\"command\":[\"/bin/true\"],"
		   "\"listen\":\":1\"}}}",
		   0644);
	write_file("conf.d/40-d.json", "{,}", 0644);
	r = config_load(main_file, in_folder("conf.d"), &config, &mistakes);
	assert_int_equal(r, -EINVAL);
	assert_null(config);
	assert_int_equal(mistakes.total, 3);
	assert_non_null(strstr(mistakes.list[0].text, "/conf.d/30-c.json: api.group: is set in "));
	assert_non_null(strstr(mistakes.list[0].text, "/baton.json already"));
	assert_non_null(strstr(mistakes.list[1].text, "30-c.json: services.a: is defined in "));
	assert_non_null(strstr(mistakes.list[1].text, "/conf.d/10-a.json already"));
	assert_non_null(strstr(mistakes.list[2].text, "/conf.d/40-d.json: line 1, column 2: "));
}

static void test_config_rollouts_max_is_set_in_one_file_only(void **state)
{
	cleanup_free char *main_file = strdup(write_file("baton.json", "{\"services\":{}}", 0644));
	struct config *config = NULL;

	(void)state;
	assert_int_equal(mkdir(in_folder("conf.d"), 0755), 0);
	write_file("conf.d/10-a.json",
		   "{\"rollouts_max\":7,\"services\":{\"a\":{\"command\":[\"/bin/true\"],"
		   "\"listen\":\":1\"}}}",
		   0644);
	assert_int_equal(config_load(main_file, in_folder("conf.d"), &config, &mistakes), 0);
	assert_int_equal(config->rollouts_max, 7);
	config_free(config);
	write_file("conf.d/20-b.json", "{\"rollouts_max\":7}", 0644);
	assert_int_equal(config_load(main_file, in_folder("conf.d"), &config, &mistakes), -EINVAL);
	assert_int_equal(mistakes.total, 1);
	assert_non_null(strstr(mistakes.list[0].text, "/20-b.json: rollouts_max: is set in "));
	assert_non_null(strstr(mistakes.list[0].text, "/10-a.json already"));
}

static void test_config_dropin_folder_that_is_missing_is_empty(void **state)
{
	cleanup(config_free) struct config *config = NULL;
	const char *file = write_file("baton.json", SERVICE(""), 0644);

	(void)state;
	assert_int_equal(config_load(file, in_folder("conf.d"), &config, &mistakes), 0);
	assert_int_equal(config->n_services, 1);
	config_free(config);
	config = NULL;
	assert_int_equal(config_load(file, file, &config, &mistakes), -EINVAL);
	expect_mistake(0, "Not a directory");
}

static void test_config_memfd_with_source_is_called_by_it(void **state)
{
	static const char json[] =
		"{\"services\":{\"web\":{\"command\":[\"/no/such\"],\"listen\":\":1\"}},"
		"\"source\":\"command line\"}";
	int fd = memfd_create("config", MFD_CLOEXEC);
	struct config *config = NULL;
	char path[64];

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, json, strlen(json)), strlen(json));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_int_equal(config_load(path, NULL, &config, &mistakes), -EINVAL);
	assert_int_equal(mistakes.total, 1);
	assert_string_equal(mistakes.list[0].text, "command line: services.web.command[0]: "
						   "\"/no/such\": No such file or directory");
	close(fd);
}

static void test_config_environment_file_mistake_names_file_and_line(void **state)
{
	char json[512], expected[512];

	(void)state;
	write_file("web.env", "A=1\n\nB\n", 0644);
	snprintf(json, sizeof(json), SERVICE(",\"environment_file\":\"%s/web.env\""), folder);
	load_bad(json);
	assert_int_equal(mistakes.total, 1);
	snprintf(expected, sizeof(expected),
		 "services.web.environment_file: %s/web.env:3: expected NAME=value (a name has "
		 "letters, digits and \"_\")",
		 folder);
	expect_mistake(0, expected);
}

static void test_config_command_is_found_where_the_service_runs(void **state)
{
	char json[1024];

	(void)state;
	write_file("program", "#!/bin/sh\n", 0755);
	write_file("web.env", "PATH=/nowhere:.\n", 0644);
	snprintf(json, sizeof(json),
		 "{\"services\":{\"web\":{\"command\":[\"./program\"],\"listen\":\":1\","
		 "\"directory\":\"%s\"}}}",
		 folder);
	config_free(load_good(json));

	/* By a PATH from the environment file, relative to the directory. */
	snprintf(json, sizeof(json),
		 "{\"services\":{\"web\":{\"command\":[\"program\"],\"listen\":\":1\","
		 "\"directory\":\"%s\",\"environment_file\":\"%s/web.env\"}}}",
		 folder, folder);
	config_free(load_good(json));

	/* "environment" wins over the file. */
	snprintf(json, sizeof(json),
		 "{\"services\":{\"web\":{\"command\":[\"program\"],\"listen\":\":1\","
		 "\"directory\":\"%s\",\"environment_file\":\"%s/web.env\","
		 "\"environment\":{\"PATH\":\"/etc\"}}}}",
		 folder, folder);
	load_bad(json);
	assert_int_equal(mistakes.total, 1);
}

/* ---- users ---------------------------------------------------------------------------------- */

static void test_config_user_as_root_is_looked_up(void **state)
{
	cleanup(config_free) struct config *config = NULL;
	const struct passwd *nobody;
	const struct service_config *s;

	(void)state;
	if (geteuid() != 0)
		skip();
	nobody = getpwnam("nobody");
	assert_non_null(nobody);
	config = load_good(SERVICE(",\"user\":\"nobody\""));
	s = &config->services[0];
	assert_true(s->set_ids);
	assert_int_equal(s->uid, nobody->pw_uid);
	assert_int_equal(s->gid, nobody->pw_gid);
	assert_string_equal(s->home, nobody->pw_dir);
	assert_string_equal(s->shell, nobody->pw_shell);
	assert_int_equal(s->n_groups, 1);
	assert_int_equal(s->groups[0], nobody->pw_gid);
}

static void test_config_group_as_root_replaces_the_users(void **state)
{
	cleanup(config_free) struct config *config = NULL;
	const struct group *daemon_group;
	const struct service_config *s;

	(void)state;
	if (geteuid() != 0)
		skip();
	daemon_group = getgrnam("daemon");
	assert_non_null(daemon_group);
	config = load_good("{\"services\":{"
			   "\"a\":{\"command\":[\"/bin/true\"],\"listen\":\":1\","
			   "\"user\":\"nobody\",\"group\":\"daemon\"},"
			   "\"b\":{\"command\":[\"/bin/true\"],\"listen\":\":2\","
			   "\"group\":\"daemon\"}}}");
	s = config_find(config, "a");
	assert_int_equal(s->gid, daemon_group->gr_gid);
	assert_int_equal(s->groups[0], daemon_group->gr_gid);
	s = config_find(config, "b");
	assert_true(s->set_ids);
	assert_int_equal(s->uid, 0);
	assert_int_equal(s->gid, daemon_group->gr_gid);
	assert_int_equal(s->n_groups, 1);
	assert_int_equal(s->groups[0], daemon_group->gr_gid);
}

static void test_config_unknown_user_and_group_are_refused(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	load_bad(SERVICE(",\"group\":\"no-such-group\",\"user\":\"no-such-user\""));
	assert_int_equal(mistakes.total, 2);
	expect_mistake(0, "services.web.user: there is no user \"no-such-user\"");
	expect_mistake(1, "services.web.group: there is no group \"no-such-group\"");
}

static void test_config_user_without_root_is_refused(void **state)
{
	const char *file = write_file("baton.json",
				      SERVICE(",\"user\":\"nobody\",\"group\":\"nogroup\""), 0644);
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		struct config *config;

		if (geteuid() == 0 && setuid(65534) < 0)
			_exit(2);
		if (config_load(file, NULL, &config, &mistakes) != -EINVAL || mistakes.total != 1)
			_exit(3);
		_exit(strstr(mistakes.list[0].text, "services.web.user: only a daemon that runs as "
						    "root can")
			      ? 0
			      : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_config_file_that_cannot_be_read_is_a_mistake),
		TEST(test_config_file_that_is_too_large_is_refused),
		TEST(test_config_dropins_are_read_in_order_of_name),
		TEST(test_config_rollouts_max_is_set_in_one_file_only),
		TEST(test_config_dropin_folder_that_is_missing_is_empty),
		TEST(test_config_memfd_with_source_is_called_by_it),
		TEST(test_config_environment_file_mistake_names_file_and_line),
		TEST(test_config_command_is_found_where_the_service_runs),
		TEST(test_config_user_as_root_is_looked_up),
		TEST(test_config_group_as_root_replaces_the_users),
		TEST(test_config_unknown_user_and_group_are_refused),
		TEST(test_config_user_without_root_is_refused),
	};

	return cmocka_run_group_tests_name("config_files", tests, NULL, NULL);
}
