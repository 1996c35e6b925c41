/* SPDX-License-Identifier: BSD-2-Clause */
/* At a start what is good comes up beside what is not; at a reload and for "check" nothing does. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>

#include "common/vector.h"
#include "tests/unit/config/config_fixture.h"

static struct config *config;

static int forget(void **state)
{
	config_free(TAKE_PTR(config));
	return folder_tear_down(state);
}

static const char *conf_d(void)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/conf.d", folder);
	mkdir(path, 0755);
	return path;
}

/* The name is "conf.d/10.json", say. */
static void dropin(const char *name, const char *json)
{
	conf_d();
	write_file(name, json, 0644);
}

static int start_with(const char *json)
{
	config_free(TAKE_PTR(config));
	return config_load_start(write_file("baton.json", json, 0644), conf_d(), &config,
				 &mistakes);
}

#define ONE(name_, port_, rest_)                                                                   \
	"\"" name_ "\":{\"command\":[\"/bin/true\"],\"listen\":\"127.0.0.1:" port_ "\"" rest_ "}"
#define ALL(services_) "{\"services\":{" services_ "}}"

static void expect_names(const char *good, const char *refused)
{
	char text[256] = "";

	assert_non_null(config);
	for (size_t i = 0; i < config->n_services; i++)
		sprintf(text + strlen(text), "%s ", config->services[i].name);
	assert_string_equal(text, good);
	text[0] = '\0';
	for (size_t i = 0; i < config->n_refused; i++)
		sprintf(text + strlen(text), "%s ", config->refused[i].name);
	assert_string_equal(text, refused);
}

/* Each of @words is in one of the mistakes of the service, which has as many. */
static void expect_refused(const char *name, const char *const *words)
{
	const struct config_refused *refused = config_find_refused(config, name);
	size_t n = 0;

	assert_non_null(refused);
	for (; *words; words++, n++) {
		assert_non_null(refused->mistakes[n]);
		if (!strstr(refused->mistakes[n], *words))
			fail_msg("%s: not \"%s\"", refused->mistakes[n], *words);
	}
	assert_null(refused->mistakes[n]);
	assert_int_equal(refused->total, n);
}

#define REFUSED(name_, ...) expect_refused(name_, (const char *const[]){__VA_ARGS__, NULL})

static void test_config_start_leaves_out_only_the_service_at_fault(void **state)
{
	(void)state;
	assert_int_equal(start_with(ALL(ONE("web", "8080", "") "," ONE(
				 "api", "8081",
				 ",\"helth\":1,\"instances\":\"two\"") "," ONE("db", "8082", ""))),
			 0);
	expect_names("db web ", "api ");
	REFUSED("api", "services.api.helth", "services.api.instances");
	assert_int_equal(mistakes.total, 2);
	assert_null(config_find(config, "api"));
	assert_null(config_find_refused(config, "web"));
}

static void test_config_start_of_a_good_one_refuses_nothing(void **state)
{
	(void)state;
	assert_int_equal(start_with(ALL(ONE("web", "8080", ""))), 0);
	expect_names("web ", "");
	assert_int_equal(mistakes.total, 0);
	/* Also without any service. */
	assert_int_equal(start_with("{}"), 0);
	expect_names("", "");
}

static void test_config_start_with_nothing_left_is_refused(void **state)
{
	(void)state;
	assert_int_equal(start_with(ALL(ONE("web", "8080", ",\"x\":1"))), -EINVAL);
	assert_null(config);
	assert_int_equal(mistakes.total, 1);
	dropin("conf.d/10.json", "{");
	assert_int_equal(start_with("{}"), -EINVAL);
}

static void test_config_start_with_a_bad_main_file_is_refused(void **state)
{
	static const char *const bad[] = {
		"{\"services\":{" ONE("web", "8080", ""),
		"{\"servces\":{}}",
		"{\"api\":{\"group\":\"no-such-group\"}}",
		"[]",
		"",
		"{\"services\":[]}",
	};

	(void)state;
	dropin("conf.d/10.json", ALL(ONE("api", "8081", "")));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(start_with(bad[i]), -EINVAL);
		assert_null(config);
		assert_int_equal(mistakes.total, 1);
	}
	unlink(in_folder("baton.json"));
	assert_int_equal(config_load_start(in_folder("baton.json"), conf_d(), &config, &mistakes),
			 -EINVAL);
}

static void test_config_start_leaves_out_a_bad_dropin_as_a_whole(void **state)
{
	(void)state;
	dropin("conf.d/10.json", "{\"services\":{" ONE("api", "8081", ""));
	dropin("conf.d/20.json",
	       "{\"oops\":1,\"api\":{\"group\":\"root\"},\"services\":{" ONE(
		       "db", "8082", ",\"drift\":1") "," ONE("mail", "8083", "") "}}");
	dropin("conf.d/30.json", ALL(ONE("good", "8084", "")));
	assert_int_equal(start_with(ALL(ONE("web", "8080", ""))), 0);
	expect_names("good web ", "db mail ");
	REFUSED("db", "services.db.drift", "20.json: oops");
	REFUSED("mail", "20.json: oops");
	assert_null(config->api_group);
	assert_true(config->api_gid == (gid_t)-1);
	assert_int_equal(mistakes.total, 3);
}

static void test_config_start_does_not_choose_between_two_of_one_name(void **state)
{
	(void)state;
	dropin("conf.d/10.json", ALL(ONE("web", "8081", "")));
	assert_int_equal(start_with(ALL(ONE("web", "8080", "") "," ONE("api", "8082", ""))), 0);
	expect_names("api ", "web ");
	REFUSED("web", "is defined in");
}

static void test_config_start_refuses_the_later_one_of_two_on_one_address(void **state)
{
	(void)state;
	assert_int_equal(start_with(ALL(ONE("a", "8080", "") "," ONE("b", "8080", ""))), 0);
	expect_names("a ", "b ");
	REFUSED("b", "services.a.listen already");
}

static void test_config_start_keeps_many_mistakes_apart(void **state)
{
	char *json = NULL, *at;
	size_t size = 0;
	FILE *out = open_memstream(&json, &size);

	(void)state;
	fputs("{\"services\":{\"many\":{\"command\":[\"/bin/true\"],\"listen\":\":1\"", out);
	for (int i = 0; i < 100; i++)
		fprintf(out, ",\"k%d\":1", i);
	fputs("},\"last\":{\"x\":1,", out);
	fputs("\"command\":[\"/bin/true\"],\"listen\":\":2\"}," ONE("web", "8080", "") "}}", out);
	fclose(out);
	assert_int_equal(start_with(json), 0);
	expect_names("web ", "last many ");
	at = config_find_refused(config, "last")->mistakes[0];
	assert_non_null(strstr(at, "services.last.x"));
	assert_int_equal(config_find_refused(config, "many")->total, 100);
	assert_int_equal(vector_length(config_find_refused(config, "many")->mistakes),
			 CONFIG_MISTAKES_MAX);
	assert_int_equal(mistakes.total, 101);
	free(json);
}

static void test_config_start_of_a_service_that_is_no_object_refuses_it(void **state)
{
	(void)state;
	assert_int_equal(start_with(ALL("\"odd\":5,\"a/b\":{}," ONE("web", "8080", ""))), 0);
	expect_names("web ", "a/b odd ");
	REFUSED("odd", "services.odd: expected an object");
}

/* ---- folders, pipes ------------------------------------------------------------------------- */

static void test_config_of_a_folder_is_its_file_and_its_conf_d(void **state)
{
	(void)state;
	dropin("conf.d/10.json", ALL(ONE("api", "8081", "")));
	write_file("baton.json", ALL(ONE("web", "8080", "")), 0644);
	assert_int_equal(config_load(folder, NULL, &config, &mistakes), 0);
	expect_names("api web ", "");
	write_file("baton.json", "{", 0644);
	config_free(TAKE_PTR(config));
	assert_int_equal(config_load(folder, NULL, &config, &mistakes), -EINVAL);
	assert_int_equal(config_load_start(folder, NULL, &config, &mistakes), -EINVAL);
}

static void test_config_of_a_folder_without_a_main_file_is_its_files(void **state)
{
	(void)state;
	assert_int_equal(config_load(conf_d(), NULL, &config, &mistakes), -EINVAL);
	assert_non_null(strstr(mistakes.list[0].text, "conf.d: has no *.json file in it"));
	dropin("conf.d/10.json", ALL(ONE("api", "8081", "")));
	dropin("conf.d/20.json", ALL(ONE("web", "8080", "")));
	assert_int_equal(config_load(conf_d(), NULL, &config, &mistakes), 0);
	expect_names("api web ", "");
	config_free(TAKE_PTR(config));
	dropin("conf.d/20.json", ALL(ONE("web", "8080", ",\"x\":1")));
	assert_int_equal(config_load(conf_d(), NULL, &config, &mistakes), -EINVAL);
	assert_int_equal(mistakes.total, 1);
	assert_int_equal(config_load_start(conf_d(), NULL, &config, &mistakes), 0);
	expect_names("api ", "web ");
}

static void test_config_never_waits_for_a_fifo(void **state)
{
	char fifo[256];

	(void)state;
	snprintf(fifo, sizeof(fifo), "%s", in_folder("baton.json"));
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(config_load(fifo, NULL, &config, &mistakes), -EINVAL);
	expect_mistake(0, "is not a regular file (but a FIFO, a socket or a device)");
	unlink(fifo);
	conf_d();
	assert_int_equal(mkfifo(in_folder("conf.d/10.json"), 0600), 0);
	assert_int_equal(start_with(ALL(ONE("web", "8080", ""))), 0);
	expect_names("web ", "");
	assert_int_equal(mistakes.total, 1);
	config_free(TAKE_PTR(config));
	assert_int_equal(config_load("/dev/zero", NULL, &config, &mistakes), -EINVAL);
	/* What a service names, too. */
	assert_int_equal(mkfifo(in_folder("env"), 0600), 0);
	snprintf(fifo, sizeof(fifo), ALL(ONE("web", "8080", ",\"environment_file\":\"%s\"")),
		 in_folder("env"));
	load_bad(fifo);
	assert_non_null(strstr(mistakes.list[0].text, "services.web.environment_file"));
	assert_non_null(strstr(mistakes.list[0].text, "is not a regular file"));
	snprintf(fifo, sizeof(fifo),
		 "{\"services\":{\"web\":{\"command\":[\"%s\"],\"listen\":\":1\"}}}",
		 in_folder("env"));
	load_bad(fifo);
	assert_non_null(strstr(mistakes.list[0].text, "services.web.command"));
}

static void test_config_reads_a_pipe_that_was_passed(void **state)
{
	static const char json[] = ALL(ONE("web", "8080", ""));
	char name[64];
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], json, strlen(json)), strlen(json));
	close(ends[1]);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", ends[0]);
	assert_int_equal(config_load(name, NULL, &config, &mistakes), 0);
	expect_names("web ", "");
	close(ends[0]);
}

#undef TEST
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, folder_set_up, forget)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_config_start_leaves_out_only_the_service_at_fault),
		TEST(test_config_start_of_a_good_one_refuses_nothing),
		TEST(test_config_start_with_nothing_left_is_refused),
		TEST(test_config_start_with_a_bad_main_file_is_refused),
		TEST(test_config_start_leaves_out_a_bad_dropin_as_a_whole),
		TEST(test_config_start_does_not_choose_between_two_of_one_name),
		TEST(test_config_start_refuses_the_later_one_of_two_on_one_address),
		TEST(test_config_start_keeps_many_mistakes_apart),
		TEST(test_config_start_of_a_service_that_is_no_object_refuses_it),
		TEST(test_config_of_a_folder_is_its_file_and_its_conf_d),
		TEST(test_config_of_a_folder_without_a_main_file_is_its_files),
		TEST(test_config_never_waits_for_a_fifo),
		TEST(test_config_reads_a_pipe_that_was_passed),
	};

	return cmocka_run_group_tests_name("config_start", tests, NULL, NULL);
}
