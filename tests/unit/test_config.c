/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "orchestrator/config.h"

/* ---- a folder for the files of each test ---------------------------------------------------- */

static char folder[64];

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/baton-test-config-XXXXXX");
	return mkdtemp(folder) && chmod(folder, 0755) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

/* The path of @name in the folder; overwritten by the eighth next call. */
static const char *in_folder(const char *name)
{
	static char paths[8][256];
	static size_t next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static const char *write_file(const char *name, const char *text, mode_t mode)
{
	const char *path = in_folder(name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fputs(text, f) >= 0 ? 0 : -1, 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
	return path;
}

static struct config_mistakes mistakes; /* too large for a stack with sanitizers */

static struct config *load_good(const char *json)
{
	struct config *config = NULL;
	int r = config_load(write_file("baton.json", json, 0644), NULL, &config, &mistakes);

	for (size_t i = 0; i < mistakes.n; i++)
		print_message("unexpected: %s\n", mistakes.list[i].text);
	assert_int_equal(r, 0);
	assert_non_null(config);
	assert_int_equal(mistakes.total, 0);
	return config;
}

static void load_bad(const char *json)
{
	struct config *config = (struct config *)&mistakes;
	int r = config_load(write_file("baton.json", json, 0644), NULL, &config, &mistakes);

	assert_int_equal(r, -EINVAL);
	assert_null(config);
	assert_true(mistakes.n > 0);
}

static void expect_mistake(size_t i, const char *text)
{
	char expected[1400];

	assert_true(i < mistakes.n);
	snprintf(expected, sizeof(expected), "%s: %s", in_folder("baton.json"), text);
	assert_string_equal(mistakes.list[i].text, expected);
}

#define SERVICE(rest_)                                                                             \
	"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":\"127.0.0.1:8080\"" rest_  \
	"}}}"

/* ---- what is read --------------------------------------------------------------------------- */

static void test_config_minimal_gets_defaults(void **state)
{
	cleanup(config_free) struct config *config = load_good(SERVICE(""));
	const struct service_config *s;

	(void)state;
	assert_string_equal(config->file, in_folder("baton.json"));
	assert_null(config->api_group);
	assert_true(config->api_gid == (gid_t)-1);
	assert_int_equal(config->n_services, 1);
	s = &config->services[0];
	assert_string_equal(s->name, "web");
	assert_string_equal(s->command[0], "/bin/true");
	assert_null(s->command[1]);
	assert_int_equal(s->n_listen, 1);
	assert_string_equal(s->listen[0].text, "127.0.0.1:8080");
	assert_int_equal(s->backlog, 4096);
	assert_false(s->nonblocking);
	assert_int_equal(s->instances, 1);
	assert_false(s->set_ids);
	assert_int_equal(s->uid, geteuid());
	assert_int_equal(s->gid, getegid());
	assert_null(s->user);
	assert_null(s->directory);
	assert_non_null(s->environment);
	assert_null(s->environment[0]);
	assert_false(s->environment_inherit);
	assert_int_equal(s->health.kind, HEALTH_CONNECT);
	assert_int_equal(s->health.interval_ms, 1000);
	assert_int_equal(s->health.timeout_ms, 2000);
	assert_int_equal(s->health.healthy, 2);
	assert_int_equal(s->health.unhealthy, 3);
	assert_int_equal(s->health.start_timeout_ms, 60000);
	assert_int_equal(s->rollout.bake_ms, 0);
	assert_int_equal(s->rollout.settle_timeout_ms, 2000);
	assert_int_equal(s->drain.signal, SIGTERM);
	assert_int_equal(s->drain.timeout_ms, 30000);
	assert_int_equal(s->drain.kill_timeout_ms, 5000);
	assert_int_equal(s->drain.leave_timeout_ms, 1000);
}

static void test_config_every_key_is_read(void **state)
{
	cleanup(config_free) struct config *config = NULL;
	const struct service_config *s;
	char json[2048];

	(void)state;
	write_file("web.env", "A=1\n", 0644);
	snprintf(
		json, sizeof(json),
		"{\"$schema\": \"x\", \"api\": {\"group\": \"root\"}, \"services\": {\"web-1_X\": {"
		"\"command\": [\"true\", \"\", \"{fd}\"], \"listen\": [\"127.0.0.1:1\", \"[::1]:1\"],"
		"\"mode\": \"inherit\", \"steering\": \"ebpf\", \"instances\": 16, \"backlog\": 7, \"nonblocking\": true,"
		"\"directory\": \"%s\", \"environment\": {\"B\": \"2=3\", \"A\": \"\"},"
		"\"environment_inherit\": true, \"environment_file\": \"%s/web.env\","
		"\"health\": {\"http\": \"/h?a=b\", \"host\": \"example.com:80\","
		"  \"status\": [204, \"200-399\", \"500\"], \"interval\": \"10ms\","
		"  \"timeout\": \"1h\", \"healthy\": 1, \"unhealthy\": 9, \"start_timeout\": \"1h\"},"
		"\"rollout\": {\"strategy\": \"blue-green\", \"bake\": \"7d\","
		"  \"settle_timeout\": \"0\"},"
		"\"drain\": {\"signal\": \"QUIT\", \"timeout\": \"0\", \"kill_timeout\": \"1d\","
		"  \"leave_timeout\": \"1.5s\"}}}}",
		folder, folder);
	config = load_good(json);
	assert_string_equal(config->api_group, "root");
	assert_int_equal(config->api_gid, 0);
	s = config_find(config, "web-1_X");
	assert_non_null(s);
	assert_string_equal(s->command[1], "");
	assert_string_equal(s->command[2], "{fd}");
	assert_int_equal(s->n_listen, 2);
	assert_string_equal(s->listen[1].text, "[::1]:1");
	assert_int_equal(s->instances, 16);
	assert_int_equal(s->backlog, 7);
	assert_true(s->nonblocking);
	assert_string_equal(s->directory, folder);
	assert_string_equal(s->environment[0], "A=");
	assert_string_equal(s->environment[1], "B=2=3");
	assert_null(s->environment[2]);
	assert_true(s->environment_inherit);
	assert_string_equal(s->environment_file, in_folder("web.env"));
	assert_int_equal(s->health.kind, HEALTH_HTTP);
	assert_string_equal(s->health.path, "/h?a=b");
	assert_string_equal(s->health.host, "example.com:80");
	assert_int_equal(s->health.n_statuses, 3);
	assert_int_equal(s->health.statuses[0].first, 204);
	assert_int_equal(s->health.statuses[0].last, 204);
	assert_int_equal(s->health.statuses[1].first, 200);
	assert_int_equal(s->health.statuses[1].last, 399);
	assert_int_equal(s->health.statuses[2].first, 500);
	assert_int_equal(s->health.interval_ms, 10);
	assert_int_equal(s->health.timeout_ms, 3600000);
	assert_int_equal(s->health.healthy, 1);
	assert_int_equal(s->health.unhealthy, 9);
	assert_int_equal(s->rollout.bake_ms, 7 * 24 * 3600 * 1000);
	assert_int_equal(s->rollout.settle_timeout_ms, 0);
	assert_int_equal(s->drain.signal, SIGQUIT);
	assert_int_equal(s->drain.timeout_ms, 0);
	assert_int_equal(s->drain.kill_timeout_ms, 24 * 3600 * 1000);
	assert_int_equal(s->drain.leave_timeout_ms, 1500);
}

static void test_config_health_kinds_and_default_status(void **state)
{
	struct config *config = load_good(SERVICE(",\"health\":{\"http\":\"/\"}"));

	(void)state;
	assert_int_equal(config->services[0].health.kind, HEALTH_HTTP);
	assert_int_equal(config->services[0].health.n_statuses, 1);
	assert_int_equal(config->services[0].health.statuses[0].first, 200);
	assert_int_equal(config->services[0].health.statuses[0].last, 299);
	config_free(config);

	config = load_good(SERVICE(",\"health\":{\"notify\":true}"));
	assert_int_equal(config->services[0].health.kind, HEALTH_NOTIFY);
	config_free(config);

	config = load_good(SERVICE(",\"health\":{\"notify\":false,\"http\":\"/\"}"));
	assert_int_equal(config->services[0].health.kind, HEALTH_HTTP);
	config_free(config);
}

static void test_config_services_are_sorted_and_found(void **state)
{
	cleanup(config_free) struct config *config =
		load_good("{\"services\":{"
			  "\"b\":{\"command\":[\"/bin/true\"],\"listen\":\"127.0.0.1:2\"},"
			  "\"c\":{\"command\":[\"/bin/true\"],\"listen\":\"127.0.0.1:3\"},"
			  "\"a\":{\"command\":[\"/bin/true\"],\"listen\":\"127.0.0.1:1\"}}}");

	(void)state;
	assert_int_equal(config->n_services, 3);
	assert_string_equal(config->services[0].name, "a");
	assert_string_equal(config->services[2].name, "c");
	assert_ptr_equal(config_find(config, "b"), &config->services[1]);
	assert_null(config_find(config, "d"));
}

static void test_config_without_services_is_accepted(void **state)
{
	cleanup(config_free) struct config *config = load_good("{}");

	(void)state;
	assert_int_equal(config->n_services, 0);
	assert_null(config_find(config, "web"));
}

/* ---- single mistakes ------------------------------------------------------------------------ */

static const struct {
	const char *json;
	const char *mistake; /* after "FILE: " */
} single[] = {
	/* syntax and top level */
	{"{\n  \"services\": {,}\n}", "line 2, column 16: string or '}' expected near ','"},
	{"", "line 1, column 0: '[' or '{' expected near end of file"},
	{"[]", "expected an object, not an array"},
	{"{\"services\":{},\"services\":{}}",
	 "line 1, column 25: duplicate object key near '\"services\"'"},
	{"{} x", "line 1, column 4: end of file expected near 'x'"},
	{"{\"servcies\":{}}", "servcies: unknown key (did you mean \"services\"?)"},
	{"{\"xyzzy\":{}}", "xyzzy: unknown key (there are: $schema, source, api, services)"},
	{"{\"services\":[]}", "services: expected an object of services by name, not an array"},
	{"{\"services\":{\"a\":3}}", "services.a: expected an object, not a whole number"},
	{"{\"$schema\":1}", "$schema: expected a string, not a whole number"},
	{"{\"api\":{\"group\":\"no-such-group\"}}",
	 "api.group: there is no group \"no-such-group\""},
	{"{\"api\":{\"group\":\"\"}}", "api.group: is empty"},
	{"{\"api\":{\"http\":\"127.0.0.1:9180\"}}", "api.http: unknown key (there are: group)"},
	{"{\"services\":{\"a.b\":{\"command\":[\"/bin/true\"],\"listen\":\":1\"}}}",
	 "services.a.b: \"a.b\" is not a name: 1 to 63 letters, digits, \"_\" and \"-\", not "
	 "starting with \"-\""},
	/* command */
	{"{\"services\":{\"web\":{\"listen\":\":1\"}}}", "services.web.command: missing"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":\"true\"}}}",
	 "services.web.command: expected an array of strings, not a string"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[]}}}",
	 "services.web.command: is empty: the program to run is missing"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"\",\"x\"]}}}",
	 "services.web.command[0]: is empty: the program to run is missing"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"/bin/true\",8080]}}}",
	 "services.web.command[1]: expected a string, not a whole number"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"/no/such\"]}}}",
	 "services.web.command[0]: \"/no/such\": No such file or directory"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"etc/passwd\"]}}}",
	 "services.web.command[0]: \"//etc/passwd\": not an executable file"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"/usr\"]}}}",
	 "services.web.command[0]: \"/usr\": Is a directory"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"no-such-program\"]}}}",
	 "services.web.command[0]: \"no-such-program\": no such program in the PATH of the service "
	 "(/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"true\"],"
	 "\"environment\":{\"PATH\":\"/nowhere:/etc\"}}}}",
	 "services.web.command[0]: \"true\": no such program in the PATH of the service "
	 "(/nowhere:/etc)"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"passwd\"],"
	 "\"environment\":{\"PATH\":\"/etc\"}}}}",
	 "services.web.command[0]: \"passwd\": /etc/passwd is not an executable file"},
	/* listen */
	{"{\"services\":{\"web\":{\"command\":[\"/bin/true\"]}}}", "services.web.listen: missing"},
	{"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":[]}}}",
	 "services.web.listen: is empty: at least one address is needed"},
	{"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":8080}}}",
	 "services.web.listen: expected a string or an array of strings, not a whole number"},
	{"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":[\":1\",2]}}}",
	 "services.web.listen[1]: expected a string such as \"127.0.0.1:8080\", not a whole number"},
	{"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":"
	 "[\"127.0.0.1:1\",\"127.0.0.1:2\",\"127.0.0.1:1\"]}}}",
	 "services.web.listen[2]: \"127.0.0.1:1\" is services.web.listen[0] already"},
	{"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":"
	 "[\"127.0.0.1:1\",\"0.0.0.0:1\"]}}}",
	 "services.web.listen[1]: \"0.0.0.0:1\" overlaps with \"127.0.0.1:1\" of "
	 "services.web.listen[0]"},
	{"{\"services\":{\"a\":{\"command\":[\"/bin/true\"],\"listen\":\"[::1]:80\"},"
	 "\"b\":{\"command\":[\"/bin/true\"],\"listen\":[\"127.0.0.1:81\",\":80\"]}}}",
	 "services.b.listen[1]: \":80\" overlaps with \"[::1]:80\" of services.a.listen"},
	{"{\"services\":{\"a\":{\"command\":[\"/bin/true\"],\"listen\":[\"[::1]:80\"]},"
	 "\"b\":{\"command\":[\"/bin/true\"],\"listen\":\"[::1]:80\"}}}",
	 "services.b.listen: \"[::1]:80\" is services.a.listen[0] already"},
	/* words and numbers */
	{SERVICE(",\"mode\":\"native\""),
	 "services.web.mode: \"native\" is not supported in this version; use \"inherit\""},
	{SERVICE(",\"mode\":\"transparent\""),
	 "services.web.mode: \"transparent\" is not supported in this version; use \"inherit\""},
	{SERVICE(",\"mode\":\"magic\""),
	 "services.web.mode: \"magic\" is unknown (expected \"auto\" or \"inherit\")"},
	{SERVICE(",\"mode\":null"), "services.web.mode: expected a string, not null"},
	{SERVICE(",\"steering\":\"hash\""),
	 "services.web.steering: \"hash\" is not supported in this version; use \"ebpf\""},
	{SERVICE(",\"instances\":0"), "services.web.instances: 0 is out of range (1 to 16)"},
	{SERVICE(",\"instances\":17"), "services.web.instances: 17 is out of range (1 to 16)"},
	{SERVICE(",\"instances\":-1"), "services.web.instances: -1 is out of range (1 to 16)"},
	{SERVICE(",\"instances\":4294967297"),
	 "services.web.instances: 4294967297 is out of range (1 to 16)"},
	{SERVICE(",\"instances\":\"2\""),
	 "services.web.instances: expected a whole number, not a string"},
	{SERVICE(",\"instances\":1.5"),
	 "services.web.instances: expected a whole number, not a number with a fraction"},
	{SERVICE(",\"backlog\":0"), "services.web.backlog: 0 is out of range (1 to 65535)"},
	/* environment, directory */
	{SERVICE(",\"environment\":[]"),
	 "services.web.environment: expected an object of strings, not an array"},
	{SERVICE(",\"environment\":{\"PORT\":80}"),
	 "services.web.environment.PORT: expected a string, not a whole number"},
	{SERVICE(",\"environment\":{\"\":\"x\"}"),
	 "services.web.environment.: the name of a variable is empty"},
	{SERVICE(",\"environment\":{\"A=B\":\"x\"}"),
	 "services.web.environment.A=B: \"A=B\" cannot be the name of a variable"},
	{SERVICE(",\"environment\":{\"A\\nB\":\"x\"}"),
	 "services.web.environment.A?B: \"A?B\" cannot be the name of a variable"},
	{SERVICE(",\"environment\":{\"LISTEN_FDS\":\"1\"}"),
	 "services.web.environment.LISTEN_FDS: \"LISTEN_FDS\" is set by baton itself"},
	{SERVICE(",\"environment\":{\"NOTIFY_SOCKET\":\"1\"}"),
	 "services.web.environment.NOTIFY_SOCKET: \"NOTIFY_SOCKET\" is set by baton itself"},
	{SERVICE(",\"environment_inherit\":\"yes\""),
	 "services.web.environment_inherit: expected true or false, not a string"},
	{SERVICE(",\"environment_file\":\"/no/such\""),
	 "services.web.environment_file: /no/such: No such file or directory"},
	{SERVICE(",\"environment_file\":\"web.env\""),
	 "services.web.environment_file: \"web.env\" does not start with \"/\""},
	{SERVICE(",\"environment_file\":\"/usr\""),
	 "services.web.environment_file: /usr: Is a directory"},
	{SERVICE(",\"directory\":\"srv\""),
	 "services.web.directory: \"srv\" does not start with \"/\""},
	{SERVICE(",\"directory\":\"/no/such\""),
	 "services.web.directory: /no/such: No such file or directory"},
	{SERVICE(",\"directory\":\"/etc/passwd\""),
	 "services.web.directory: /etc/passwd: Not a directory"},
	{SERVICE(",\"directory\":\"\""), "services.web.directory: is empty"},
	{SERVICE(",\"enviroment\":{}"),
	 "services.web.enviroment: unknown key (did you mean \"environment\"?)"},
	/* health */
	{SERVICE(",\"health\":\"/\""), "services.web.health: expected an object, not a string"},
	{SERVICE(",\"health\":{\"interval\":\"1x\"}"),
	 "services.web.health.interval: \"1x\" is not a duration (expected a number with a unit: "
	 "500ms, 2s, 1m30s)"},
	{SERVICE(",\"health\":{\"interval\":5}"),
	 "services.web.health.interval: 5 is not a duration (expected a number with a unit: 500ms, "
	 "2s, 1m30s)"},
	{SERVICE(",\"health\":{\"interval\":true}"),
	 "services.web.health.interval: expected a duration (a string such as \"2s\"), not true"},
	{SERVICE(",\"health\":{\"interval\":\"0\"}"),
	 "services.web.health.interval: \"0\" is too short (at least 10ms)"},
	{SERVICE(",\"health\":{\"interval\":\"61m\"}"),
	 "services.web.health.interval: \"61m\" is too long (at most 1h)"},
	{SERVICE(",\"health\":{\"interval\":\"1000d\"}"),
	 "services.web.health.interval: \"1000d\" is too long (at most 1h)"},
	{SERVICE(",\"health\":{\"timeout\":\"0\"}"),
	 "services.web.health.timeout: \"0\" is too short (at least 1ms)"},
	{SERVICE(",\"health\":{\"start_timeout\":\"0s\"}"),
	 "services.web.health.start_timeout: \"0s\" is too short (at least 1ms)"},
	{SERVICE(",\"health\":{\"healthy\":0}"),
	 "services.web.health.healthy: 0 is out of range (1 to 1000)"},
	{SERVICE(",\"health\":{\"unhealthy\":0}"),
	 "services.web.health.unhealthy: 0 is out of range (1 to 1000)"},
	{SERVICE(",\"health\":{\"http\":\"healthz\"}"),
	 "services.web.health.http: \"healthz\" does not start with \"/\" (it is a path: "
	 "\"/healthz\")"},
	{SERVICE(",\"health\":{\"http\":\"/a b\"}"),
	 "services.web.health.http: \"/a b\" has a blank or control character in it; write it as "
	 "%20"},
	{SERVICE(",\"health\":{\"http\":\"/a\\r\\nX: y\"}"),
	 "services.web.health.http: \"/a??X: y\" has a blank or control character in it; write it "
	 "as %20"},
	{SERVICE(",\"health\":{\"http\":\"/\",\"host\":\"a\\nb\"}"),
	 "services.web.health.host: \"a?b\" is not a host name"},
	{SERVICE(",\"health\":{\"host\":\"a\"}"), "services.web.health: \"host\" needs \"http\""},
	{SERVICE(",\"health\":{\"status\":200}"), "services.web.health: \"status\" needs \"http\""},
	{SERVICE(",\"health\":{\"http\":\"/\",\"notify\":true}"),
	 "services.web.health: \"http\" and \"notify\" exclude each other"},
	{SERVICE(",\"health\":{\"timeout\":\"3s\",\"start_timeout\":\"2s\"}"),
	 "services.web.health: \"timeout\" (3s) is longer than \"start_timeout\" (2s)"},
	{SERVICE(",\"health\":{\"interval\":\"1m\",\"healthy\":3,\"start_timeout\":\"2m\"}"),
	 "services.web.health: 3 checks every \"interval\" take 2m at least, but \"start_timeout\" "
	 "is 2m"},
	/* rollout, drain */
	{SERVICE(",\"rollout\":{\"strategy\":\"canary\"}"),
	 "services.web.rollout.strategy: \"canary\" is not supported in this version; use "
	 "\"blue-green\""},
	{SERVICE(",\"rollout\":{\"bake\":\"8d\"}"),
	 "services.web.rollout.bake: \"8d\" is too long (at most 7d)"},
	{SERVICE(",\"drain\":{\"signal\":\"SIGKILL\"}"),
	 "services.web.drain.signal: \"SIGKILL\" ends the server at once, without a drain"},
	{SERVICE(",\"drain\":{\"signal\":\"STOP\"}"),
	 "services.web.drain.signal: \"STOP\" halts the server instead of ending it"},
	{SERVICE(",\"drain\":{\"signal\":\"SIGCHLD\"}"),
	 "services.web.drain.signal: \"SIGCHLD\" does not end a server"},
	{SERVICE(",\"drain\":{\"signal\":\"SIGFOO\"}"),
	 "services.web.drain.signal: \"SIGFOO\" is not a signal (expected a name: \"SIGTERM\", "
	 "\"QUIT\")"},
	{SERVICE(",\"drain\":{\"signal\":15}"),
	 "services.web.drain.signal: expected the name of a signal (\"SIGTERM\"), not a whole "
	 "number"},
	{SERVICE(",\"drain\":{\"kill-timeout\":\"1s\"}"),
	 "services.web.drain.kill-timeout: unknown key (did you mean \"kill_timeout\"?)"},
	{SERVICE(",\"drain\":{\"timeuot\":\"1s\"}"),
	 "services.web.drain.timeuot: unknown key (did you mean \"timeout\"?)"},
	{SERVICE(",\"drain\":{\"timeout\":\"31d\"}"),
	 "services.web.drain.timeout: \"31d\" is too long (at most 30d)"},
};

static void test_config_each_mistake_is_named_with_its_path(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++) {
		load_bad(single[i].json);
		expect_mistake(0, single[i].mistake);
		if (mistakes.total != 1)
			fail_msg("%zu mistakes instead of one: %s ... %s", mistakes.total,
				 mistakes.list[0].text, mistakes.list[1].text);
	}
}

static void test_config_every_status_mistake_is_refused(void **state)
{
	static const char *const bad[] = {
		"99",          "600",           "\"\"",       "\"20\"",          "\"2000\"",
		"\"200-\"",    "\"-200\"",      "\"200-20\"", "\"300-200\"",     "\"200-600\"",
		"\"099-200\"", "\"200 - 300\"", "\"2xx\"",    "\"200-300-400\"", "\"200-3000\"",
		"1e2",         "[[200]]",
	};
	char json[512];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(json, sizeof(json), SERVICE(",\"health\":{\"http\":\"/\",\"status\":%s}"),
			 bad[i]);
		load_bad(json);
		if (mistakes.total != 1 ||
		    !strstr(mistakes.list[0].text, ": services.web.health.status"))
			fail_msg("%s: %s", bad[i], mistakes.list[0].text);
	}
	load_bad(SERVICE(",\"health\":{\"http\":\"/\",\"status\":[]}"));
	expect_mistake(0, "services.web.health.status: is empty: no answer would be good");
	load_bad(SERVICE(",\"health\":{\"http\":\"/\",\"status\":[1,2,3,4,5,6,7,8,9]}"));
	expect_mistake(0, "services.web.health.status: more than 8 entries");
}

static void test_config_all_mistakes_come_at_once_in_order(void **state)
{
	(void)state;
	load_bad("{\"api\":{\"group\":7},\n"
		 "\"services\":{\n"
		 "\"web\":{\"command\":[\"/no/such\"],\"listen\":\"localhost:80\",\n"
		 "	  \"health\":{\"interval\":\"1x\",\"http\":\"h\"},\"usr\":\"x\"},\n"
		 "\"api\":{\"listen\":[\":0\"],\"drain\":{\"signal\":\"KILL\"}}}}");
	assert_int_equal(mistakes.total, 9);
	assert_int_equal(mistakes.n, 9);
	expect_mistake(0, "api.group: expected a string, not a whole number");
	assert_non_null(strstr(mistakes.list[1].text, ": services.web.listen: \"localhost:80\""));
	assert_non_null(strstr(mistakes.list[2].text, ": services.web.health.interval: "));
	assert_non_null(strstr(mistakes.list[3].text, ": services.web.health.http: "));
	expect_mistake(4, "services.web.usr: unknown key (did you mean \"user\"?)");
	expect_mistake(5, "services.web.command[0]: \"/no/such\": No such file or directory");
	assert_non_null(strstr(mistakes.list[6].text, ": services.api.listen[0]: "));
	assert_non_null(strstr(mistakes.list[7].text, ": services.api.drain.signal: "));
	expect_mistake(8, "services.api.command: missing");
}

static void test_config_more_mistakes_than_fit_are_counted(void **state)
{
	char json[8192] = "{";
	size_t n = 1;

	(void)state;
	for (int i = 0; i < CONFIG_MISTAKES_MAX + 36; i++)
		n += (size_t)snprintf(json + n, sizeof(json) - n, "%s\"key%d\":1", i ? "," : "", i);
	snprintf(json + n, sizeof(json) - n, "}");
	load_bad(json);
	assert_int_equal(mistakes.n, CONFIG_MISTAKES_MAX);
	assert_int_equal(mistakes.total, CONFIG_MISTAKES_MAX + 36);
}

static void test_config_mistake_with_a_very_long_key_is_cut(void **state)
{
	char json[8192];

	(void)state;
	snprintf(json, sizeof(json), "{\"%04000d\":{\"%03000d\":1}}", 0, 0);
	load_bad(json);
	assert_int_equal(mistakes.total, 1);
	assert_non_null(strstr(mistakes.list[0].text, "unknown key (there are: "));
}

static void test_config_too_many_things_are_refused(void **state)
{
	char *json = malloc(256 * 1024);
	size_t n;

	(void)state;
	assert_non_null(json);
	n = (size_t)sprintf(json,
			    "{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":[");
	for (int i = 0; i <= CONFIG_LISTEN_MAX; i++)
		n += (size_t)sprintf(json + n, "%s\":%d\"", i ? "," : "", 1000 + i);
	sprintf(json + n, "]}}}");
	load_bad(json);
	expect_mistake(0, "services.web.listen: more than 16 addresses");

	n = (size_t)sprintf(json, "{\"services\":{");
	for (int i = 0; i <= CONFIG_SERVICES_MAX; i++)
		n += (size_t)sprintf(json + n,
				     "%s\"s%d\":{\"command\":[\"/bin/true\"],\"listen\":\":%d\"}",
				     i ? "," : "", i, 1000 + i);
	sprintf(json + n, "}}");
	load_bad(json);
	assert_int_equal(mistakes.total, 1);
	expect_mistake(0, "services.s256: more than 256 services");

	n = (size_t)sprintf(json,
			    "{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"/bin/true\"");
	for (int i = 0; i < 1024; i++)
		n += (size_t)sprintf(json + n, ",\"\"");
	sprintf(json + n, "]}}}");
	load_bad(json);
	expect_mistake(0, "services.web.command: more than 1024 arguments");
	free(json);
}

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
	assert_non_null(strstr(mistakes.list[0].text, ": Is a directory"));
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
	expect_mistake(0, "larger than 1048576 bytes");

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

/* ---- copies and comparison ------------------------------------------------------------------ */

static struct service_config *load_service(const char *json)
{
	cleanup(config_free) struct config *config = load_good(json);
	struct service_config *copy = service_config_copy(&config->services[0]);

	assert_non_null(copy);
	return copy;
}

static void test_config_copy_outlives_the_original(void **state)
{
	cleanup(service_config_free) struct service_config *copy =
		load_service(SERVICE(",\"environment\":{\"A\":\"1\"},\"directory\":\"/\","
				     "\"health\":{\"http\":\"/h\",\"host\":\"x\"}"));

	(void)state;
	assert_string_equal(copy->name, "web");
	assert_string_equal(copy->command[0], "/bin/true");
	assert_string_equal(copy->environment[0], "A=1");
	assert_string_equal(copy->directory, "/");
	assert_string_equal(copy->health.path, "/h");
	assert_string_equal(copy->health.host, "x");
	assert_null(copy->user);
	assert_int_equal(copy->n_listen, 1);
}

static void test_config_same_release_ignores_policies_only(void **state)
{
	static const char *const same[] = {
		SERVICE(",\"health\":{\"http\":\"/\",\"interval\":\"5s\"}"),
		SERVICE(",\"drain\":{\"signal\":\"QUIT\",\"timeout\":\"1s\"}"),
		SERVICE(",\"rollout\":{\"bake\":\"1s\"}"),
		SERVICE(",\"environment\":{}"),
	};
	static const char *const different[] = {
		SERVICE(",\"environment\":{\"A\":\"1\"}"),
		SERVICE(",\"environment_inherit\":true"),
		SERVICE(",\"environment_file\":\"/dev/null\""),
		SERVICE(",\"directory\":\"/\""),
		SERVICE(",\"instances\":2"),
		SERVICE(",\"backlog\":2"),
		SERVICE(",\"nonblocking\":true"),
		"{\"services\":{\"web\":{\"command\":[\"/bin/true\",\"x\"],\"listen\":\"127.0.0.1:8080\"}}}",
		"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":\"127.0.0.1:8081\"}}}",
		"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":[\"127.0.0.1:8080\",\":1\"]}}}",
	};
	cleanup(service_config_free) struct service_config *base = load_service(SERVICE(""));

	(void)state;
	assert_true(service_config_same_release(base, base));
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		cleanup(service_config_free) struct service_config *other = load_service(same[i]);

		if (!service_config_same_release(base, other))
			fail_msg("different: %s", same[i]);
	}
	for (size_t i = 0; i < sizeof(different) / sizeof(different[0]); i++) {
		cleanup(service_config_free) struct service_config *other =
			load_service(different[i]);

		if (service_config_same_release(base, other) ||
		    service_config_same_release(other, base))
			fail_msg("same: %s", different[i]);
	}
}

static void test_config_same_release_ignores_the_order_of_the_environment(void **state)
{
	cleanup(service_config_free) struct service_config *a =
		load_service(SERVICE(",\"environment\":{\"A\":\"1\",\"B\":\"2\"}"));
	cleanup(service_config_free) struct service_config *b =
		load_service(SERVICE(",\"environment\":{\"B\":\"2\",\"A\":\"1\"}"));

	(void)state;
	assert_true(service_config_same_release(a, b));
}

static void test_config_signal_names_go_both_ways(void **state)
{
	(void)state;
	assert_int_equal(config_signal_parse("SIGTERM"), SIGTERM);
	assert_int_equal(config_signal_parse("TERM"), SIGTERM);
	assert_int_equal(config_signal_parse("USR1"), SIGUSR1);
	assert_int_equal(config_signal_parse("SIGKILL"), SIGKILL);
	assert_int_equal(config_signal_parse("term"), 0);
	assert_int_equal(config_signal_parse("SIGSIGTERM"), 0);
	assert_int_equal(config_signal_parse(""), 0);
	assert_int_equal(config_signal_parse("15"), 0);
	assert_string_equal(config_signal_name(SIGQUIT), "SIGQUIT");
	assert_string_equal(config_signal_name(0), "none");
	for (int i = 1; i < 32; i++)
		assert_int_equal(config_signal_parse(config_signal_name(i)), i);
}

/* ---- without memory ------------------------------------------------------------------------- */

static size_t allocations, fail_at;

static void *failing_malloc(size_t size)
{
	if (++allocations != fail_at)
		return malloc(size);
	errno = ENOMEM; /* as malloc(3) */
	return NULL;
}

/*
 * Only strings under 15 bytes: jansson 2.14 itself writes out of bounds where its buffer for a
 * longer one cannot grow.
 */
static void test_config_json_without_memory_leaves_nothing_behind(void **state)
{
	const char *file =
		write_file("baton.json",
			   "{\"services\":{\"web\":{\"command\":[\"/bin/true\"],"
			   "\"listen\":\":8080\",\"environment\":{\"A\":\"1\",\"B\":\"2\"},"
			   "\"health\":{\"http\":\"/\",\"status\":[200,204]}}}}",
			   0644);
	json_malloc_t old_malloc;
	json_free_t old_free;
	int r = -1;

	(void)state;
	json_get_alloc_funcs(&old_malloc, &old_free);
	json_set_alloc_funcs(failing_malloc, free);
	for (fail_at = 1; fail_at < 10000; fail_at++) {
		struct config *config = (struct config *)&mistakes;

		allocations = 0;
		r = config_load(file, NULL, &config, &mistakes);
		if (r == 0) {
			config_free(config);
			break;
		}
		assert_null(config);
		assert_true(allocations >= fail_at);
		if (r != -ENOMEM)
			fail_msg("allocation %zu: %d, %s", fail_at, r, mistakes.list[0].text);
	}
	json_set_alloc_funcs(old_malloc, old_free);
	assert_int_equal(r, 0);
	assert_true(fail_at > 20);
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_config_minimal_gets_defaults),
		TEST(test_config_every_key_is_read),
		TEST(test_config_health_kinds_and_default_status),
		TEST(test_config_services_are_sorted_and_found),
		TEST(test_config_without_services_is_accepted),
		TEST(test_config_each_mistake_is_named_with_its_path),
		TEST(test_config_every_status_mistake_is_refused),
		TEST(test_config_all_mistakes_come_at_once_in_order),
		TEST(test_config_more_mistakes_than_fit_are_counted),
		TEST(test_config_mistake_with_a_very_long_key_is_cut),
		TEST(test_config_too_many_things_are_refused),
		TEST(test_config_file_that_cannot_be_read_is_a_mistake),
		TEST(test_config_file_that_is_too_large_is_refused),
		TEST(test_config_dropins_are_read_in_order_of_name),
		TEST(test_config_dropin_folder_that_is_missing_is_empty),
		TEST(test_config_memfd_with_source_is_called_by_it),
		TEST(test_config_environment_file_mistake_names_file_and_line),
		TEST(test_config_command_is_found_where_the_service_runs),
		TEST(test_config_user_as_root_is_looked_up),
		TEST(test_config_group_as_root_replaces_the_users),
		TEST(test_config_unknown_user_and_group_are_refused),
		TEST(test_config_user_without_root_is_refused),
		TEST(test_config_copy_outlives_the_original),
		TEST(test_config_same_release_ignores_policies_only),
		TEST(test_config_same_release_ignores_the_order_of_the_environment),
		TEST(test_config_signal_names_go_both_ways),
		TEST(test_config_json_without_memory_leaves_nothing_behind),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
