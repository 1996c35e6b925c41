/* SPDX-License-Identifier: BSD-2-Clause */
/* What a service's process is given: limits, privileges, groups, output, resources. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/config/config_fixture.h"

#define NOBODY 65534

/* ---- what is read --------------------------------------------------------------------------- */

static void assert_limit(const struct process_settings *process, int resource, uint64_t soft,
			 uint64_t hard)
{
	assert_true(process->limits[resource].set);
	assert_true(process->limits[resource].soft == soft);
	assert_true(process->limits[resource].hard == hard);
}

static void test_config_limits_are_read(void **state)
{
	cleanup(config_free) struct config *config = load_good(
		SERVICE(",\"limits\":{\"nofile\":\"12:34\",\"nproc\":7,\"cpu\":\"0:0\"}"));
	const struct process_settings *process = &config->services[0].process;

	(void)state;
	assert_limit(process, RLIMIT_NOFILE, 12, 34);
	assert_limit(process, RLIMIT_NPROC, 7, 7);
	assert_limit(process, RLIMIT_CPU, 0, 0);
	assert_false(process->limits[RLIMIT_AS].set);
}

/* "locks" is none of the limits that the kernel looks at, and is unlimited everywhere. */
static void test_config_limits_can_be_none(void **state)
{
	static const struct {
		const char *json;
		uint64_t soft;
	} cases[] = {
		{SERVICE(",\"limits\":{\"locks\":\"unlimited\"}"), PROCESS_UNLIMITED},
		{SERVICE(",\"limits\":{\"locks\":\"unlimited:unlimited\"}"), PROCESS_UNLIMITED},
		{SERVICE(",\"limits\":{\"locks\":\"18446744073709551614:unlimited\"}"),
		 PROCESS_UNLIMITED - 1},
	};
	struct rlimit own;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_LOCKS, &own), 0);
	if (own.rlim_max != RLIM_INFINITY)
		skip();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup(config_free) struct config *config = load_good(cases[i].json);

		assert_limit(&config->services[0].process, RLIMIT_LOCKS, cases[i].soft,
			     PROCESS_UNLIMITED);
	}
}

static void test_config_every_limit_has_a_name(void **state)
{
	char json[1024] = "";
	size_t n = 0;

	(void)state;
	n = (size_t)sprintf(json,
			    "{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":\":1\","
			    "\"limits\":{");
	for (int i = 0; i < RLIM_NLIMITS; i++)
		n += (size_t)sprintf(json + n, "%s\"%s\":0", i ? "," : "", process_limit_name(i));
	sprintf(json + n, "}}}}");
	{
		cleanup(config_free) struct config *config = load_good(json);

		for (int i = 0; i < RLIM_NLIMITS; i++)
			assert_limit(&config->services[0].process, i, 0, 0);
	}
}

static void test_config_process_settings_are_read(void **state)
{
	cleanup(config_free) struct config *config =
		load_good(SERVICE(",\"umask\":\"0027\",\"nice\":19,\"no_new_privileges\":true,"
				  "\"oom_score_adj\":1000,\"stdout\":\"journal\","
				  "\"stderr\":\"/tmp/../tmp/web.err\""));
	const struct process_settings *process = &config->services[0].process;

	(void)state;
	assert_int_equal(process->umask, 027);
	assert_true(process->nice_set);
	assert_int_equal(process->nice, 19);
	assert_true(process->no_new_privileges);
	assert_true(process->oom_score_adjust_set);
	assert_int_equal(process->oom_score_adjust, 1000);
	assert_int_equal(process->output[0], OUTPUT_JOURNAL);
	assert_null(process->output_path[0]);
	assert_int_equal(process->output[1], OUTPUT_FILE);
	assert_string_equal(process->output_path[1], "/tmp/../tmp/web.err");
}

static void test_config_masks_are_octal(void **state)
{
	static const struct {
		const char *json;
		mode_t mask;
	} cases[] = {
		{SERVICE(",\"umask\":\"0\""), 0},
		{SERVICE(",\"umask\":\"22\""), 022},
		{SERVICE(",\"umask\":\"077\""), 077},
		{SERVICE(",\"umask\":\"0777\""), 0777},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup(config_free) struct config *config = load_good(cases[i].json);

		assert_int_equal(config->services[0].process.umask, cases[i].mask);
	}
}

static void test_config_resources_are_read(void **state)
{
	static const struct {
		const char *json;
		struct cgroup_limits expected;
	} cases[] = {
		{SERVICE(",\"resources\":{}"), {0}},
		{SERVICE(",\"resources\":{\"memory_max\":1,\"cpu_max\":\"1%\",\"pids_max\":1}"),
		 {1, 1, 1}},
		{SERVICE(",\"resources\":{\"memory_max\":\"100K\"}"), {.memory_max = 102400}},
		{SERVICE(",\"resources\":{\"memory_max\":\"512M\"}"), {.memory_max = 536870912}},
		{SERVICE(",\"resources\":{\"memory_max\":\"2G\"}"), {.memory_max = 2147483648}},
		{SERVICE(",\"resources\":{\"memory_max\":\"1048576T\"}"),
		 {.memory_max = 1ULL << 60}},
		{SERVICE(",\"resources\":{\"memory_max\":\"4096\"}"), {.memory_max = 4096}},
		{SERVICE(",\"resources\":{\"memory_max\":1152921504606846976}"),
		 {.memory_max = 1ULL << 60}},
		{SERVICE(",\"resources\":{\"cpu_max\":\"100000%\",\"pids_max\":4194304}"),
		 {.cpu_max = 100000, .pids_max = 4194304}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup(config_free) struct config *config = load_good(cases[i].json);
		const struct cgroup_limits *resources = &config->services[0].resources;

		if (resources->memory_max != cases[i].expected.memory_max ||
		    resources->cpu_max != cases[i].expected.cpu_max ||
		    resources->pids_max != cases[i].expected.pids_max)
			fail_msg("%s", cases[i].json);
	}
}

/* ---- privileges ----------------------------------------------------------------------------- */

static void test_config_capabilities_as_root_are_read(void **state)
{
	struct config *config;

	(void)state;
	if (geteuid() != 0 || prctl(PR_CAPBSET_READ, CAP_NET_BIND_SERVICE, 0, 0, 0) != 1)
		skip();
	config = load_good(SERVICE(",\"user\":\"nobody\",\"capabilities\":"
				   "[\"CAP_NET_BIND_SERVICE\",\"chown\",\"Chown\"]"));
	assert_true(config->services[0].process.capabilities_set);
	assert_true(config->services[0].process.capabilities ==
		    ((1ULL << CAP_NET_BIND_SERVICE) | (1ULL << CAP_CHOWN)));
	config_free(config);

	/* None at all is something else than nothing said. */
	config = load_good(SERVICE(",\"capabilities\":[]"));
	assert_true(config->services[0].process.capabilities_set);
	assert_true(config->services[0].process.capabilities == 0);
	config_free(config);
}

/* Load @json in a child that @prepare has changed; the text of its only mistake, "" for none. */
static const char *mistake_of_child(const char *json, void (*prepare)(void))
{
	const char *file = write_file("baton.json", json, 0644);
	static char text[1024];
	int ends[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct config *config = NULL;
		int r;

		prepare();
		r = config_load(file, NULL, &config, &mistakes);
		if (r < 0 && mistakes.total == 1)
			n = write(ends[1], mistakes.list[0].text, strlen(mistakes.list[0].text));
		_exit(r == 0 ? 0 : mistakes.total == 1 ? 1 : 2);
	}
	close(ends[1]);
	n = read(ends[0], text, sizeof(text) - 1);
	close(ends[0]);
	assert_true(n >= 0);
	text[n] = '\0';
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), n > 0 ? 1 : 0);
	return text;
}

static void become_nobody(void)
{
	struct rlimit nofile = {128, 256}, nice = {0, 0};

	if (setrlimit(RLIMIT_NOFILE, &nofile) < 0 || setrlimit(RLIMIT_NICE, &nice) < 0)
		_exit(3);
	if (geteuid() == 0 && setuid(NOBODY) < 0)
		_exit(4);
}

/* With the RLIMIT_NICE that there is, or a better one where that can be had. */
static void become_nobody_who_may_be_nice(void)
{
	struct rlimit nice = {25, 25};

	(void)setrlimit(RLIMIT_NICE, &nice);
	if (geteuid() == 0 && setuid(NOBODY) < 0)
		_exit(4);
}

static void lose_chown(void)
{
	if (prctl(PR_CAPBSET_DROP, CAP_CHOWN, 0, 0, 0) < 0)
		_exit(3);
}

static void test_config_what_takes_privileges_is_refused_without(void **state)
{
	static const struct {
		const char *json, *mistake; /* after "services.web." */
	} cases[] = {
		{SERVICE(",\"limits\":{\"nofile\":257}"),
		 "limits.nofile: only a daemon with CAP_SYS_RESOURCE can raise its own hard limit, "
		 "which is 256, and this one does not have it"},
		{SERVICE(",\"nice\":-1"),
		 "nice: only a daemon with CAP_SYS_NICE can go below 0, and this one does not have "
		 "it"},
		{SERVICE(",\"oom_score_adj\":-1000"),
		 "oom_score_adj: only a daemon with CAP_SYS_RESOURCE can go below its own, which is "},
		{SERVICE(",\"capabilities\":[\"CAP_CHOWN\"]"),
		 "capabilities: only a daemon that runs as root can say which capabilities are kept "
		 "(this one runs as uid "},
	};

	(void)state;
	if (getpriority(PRIO_PROCESS, 0) != 0)
		skip();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *text = mistake_of_child(cases[i].json, become_nobody);
		char expected[512];

		snprintf(expected, sizeof(expected), "services.web.%s", cases[i].mistake);
		if (!strstr(text, expected))
			fail_msg("\"%s\" instead of \"%s\"", text, expected);
	}
}

static void test_config_what_anybody_can_give_is_accepted(void **state)
{
	static const char json[] =
		SERVICE(",\"limits\":{\"nofile\":\"0:256\",\"core\":0},\"nice\":0,"
			"\"oom_score_adj\":1000,\"umask\":\"077\",\"no_new_privileges\":true");

	(void)state;
	assert_string_equal(mistake_of_child(json, become_nobody), "");
}

static void test_config_nice_is_bounded_by_the_limit(void **state)
{
	struct rlimit own, more = {25, 25};
	int least = 0;
	char json[256], expected[256];

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NICE, &own), 0);
	if (getpriority(PRIO_PROCESS, 0) != 0 || own.rlim_cur > 25)
		skip();
	if (setrlimit(RLIMIT_NICE, &more) == 0)
		least = -5;
	else if (own.rlim_cur > 20)
		least = 20 - (int)own.rlim_cur;
	assert_int_equal(setrlimit(RLIMIT_NICE, &own), 0);
	snprintf(json, sizeof(json), SERVICE(",\"nice\":%d"), least);
	assert_string_equal(mistake_of_child(json, become_nobody_who_may_be_nice), "");
	snprintf(json, sizeof(json), SERVICE(",\"nice\":%d"), least - 1);
	snprintf(expected, sizeof(expected),
		 "services.web.nice: only a daemon with CAP_SYS_NICE can go below %d, and ", least);
	assert_non_null(strstr(mistake_of_child(json, become_nobody_who_may_be_nice), expected));
}

static void test_config_capability_that_the_daemon_lacks_is_refused(void **state)
{
	(void)state;
	if (geteuid() != 0 || prctl(PR_CAPBSET_READ, CAP_CHOWN, 0, 0, 0) != 1)
		skip();
	assert_non_null(
		strstr(mistake_of_child(SERVICE(",\"capabilities\":[\"chown\"]"), lose_chown),
		       "services.web.capabilities[0]: the daemon does not have CAP_CHOWN, so it "
		       "cannot be kept"));
}

/* ---- groups --------------------------------------------------------------------------------- */

static void test_config_supplementary_groups_are_added_once(void **state)
{
	cleanup(config_free) struct config *config = NULL;
	const struct service_config *s;
	gid_t daemon_gid;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_non_null(getgrnam("daemon"));
	daemon_gid = getgrnam("daemon")->gr_gid;
	config = load_good(SERVICE(",\"user\":\"nobody\",\"supplementary_groups\":"
				   "[\"daemon\",\"nogroup\",\"daemon\"]"));
	s = &config->services[0];
	assert_string_equal(s->supplementary_groups[0], "daemon");
	assert_string_equal(s->supplementary_groups[1], "nogroup");
	assert_int_equal(s->n_groups, 2);
	assert_int_equal(s->groups[0], s->gid);
	assert_int_equal(s->groups[1], daemon_gid);
	config_free(config);

	/* A group without a user sets ids, too. */
	config = load_good(SERVICE(",\"group\":\"nogroup\",\"supplementary_groups\":[\"daemon\"]"));
	s = &config->services[0];
	assert_int_equal(s->n_groups, 2);
	assert_int_equal(s->groups[0], s->gid);
	assert_int_equal(s->groups[1], daemon_gid);
}

static void test_config_accounts_may_be_numbers(void **state)
{
	cleanup(config_free) struct config *config = NULL;
	cleanup_free char *text = NULL;
	const struct passwd *nobody;
	const struct service_config *s;

	(void)state;
	if (geteuid() != 0)
		skip();
	nobody = getpwnam("nobody");
	assert_non_null(nobody);
	assert_true(asprintf(&text, SERVICE(",\"user\":%u,\"supplementary_groups\":[\"7\"]"),
			     nobody->pw_uid) > 0);
	config = load_good(text);
	s = &config->services[0];
	assert_string_equal(s->user, "nobody");
	assert_int_equal(s->uid, nobody->pw_uid);
	assert_int_equal(s->gid, nobody->pw_gid);
	assert_int_equal(s->groups[s->n_groups - 1], 7);
	config_free(config);

	/* One that has no entry. */
	config = load_good(SERVICE(",\"user\":\"3999999999\",\"group\":3999999998"));
	s = &config->services[0];
	assert_int_equal(s->uid, 3999999999u);
	assert_int_equal(s->gid, 3999999998u);
	assert_int_equal(s->n_groups, 1);
	assert_int_equal(s->groups[0], 3999999998u);
	assert_null(s->home);

	load_bad(SERVICE(",\"user\":3999999999"));
	assert_int_equal(mistakes.total, 1);
	expect_mistake(0, "services.web.user: no user has the number 3999999999: name the group to "
			  "run as, too (\"group\")");
}

static void test_config_unknown_supplementary_group_is_refused(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	load_bad(SERVICE(
		",\"user\":\"nobody\",\"supplementary_groups\":[\"daemon\",\"no-such-group\"]"));
	assert_int_equal(mistakes.total, 1);
	expect_mistake(0, "services.web.supplementary_groups[1]: there is no group "
			  "\"no-such-group\"");
	/* Both, also where the user is not known. */
	load_bad(
		SERVICE(",\"user\":\"no-such-user\",\"supplementary_groups\":[\"no-such-group\"]"));
	assert_int_equal(mistakes.total, 2);
	expect_mistake(0, "services.web.user: there is no user \"no-such-user\"");
	expect_mistake(1, "services.web.supplementary_groups[0]: there is no group "
			  "\"no-such-group\"");
}

/* ---- mistakes ------------------------------------------------------------------------------- */

static const struct single_mistake single[] = {
	{SERVICE(",\"limits\":[]"), "limits: expected an object, not an array"},
	{SERVICE(",\"limits\":{\"nofiles\":1}"),
	 "limits.nofiles: unknown key (did you mean \"nofile\"?)"},
	{SERVICE(",\"limits\":{\"xyzzy\":1}"),
	 "limits.xyzzy: unknown key (there are: cpu, fsize, data, stack, core, rss, nproc, nofile, "
	 "memlock, as, locks, sigpending, msgqueue, nice, rtprio, rttime)"},
	{SERVICE(",\"limits\":{\"core\":-1}"),
	 "limits.core: -1 is out of range (0 or more, or \"unlimited\")"},
	{SERVICE(",\"limits\":{\"core\":1.5}"),
	 "limits.core: expected a whole number, \"unlimited\" or \"SOFT:HARD\" of them, not a number "
	 "with a fraction"},
	{SERVICE(",\"limits\":{\"core\":null}"),
	 "limits.core: expected a whole number, \"unlimited\" or \"SOFT:HARD\" of them, not null"},
	{SERVICE(",\"limits\":{\"core\":\"2:1\"}"),
	 "limits.core: the soft limit (2) is above the hard one (1)"},
	{SERVICE(",\"limits\":{\"core\":\"unlimited:1\"}"),
	 "limits.core: the soft limit (unlimited) is above the hard one (1)"},
	{SERVICE(",\"umask\":22"),
	 "umask: expected an octal number as a string (\"0022\"), not a whole number"},
	{SERVICE(",\"nice\":20"), "nice: 20 is out of range (-20 to 19)"},
	{SERVICE(",\"nice\":-21"), "nice: -21 is out of range (-20 to 19)"},
	{SERVICE(",\"nice\":4294967296"), "nice: 4294967296 is out of range (-20 to 19)"},
	{SERVICE(",\"nice\":\"5\""), "nice: expected a whole number, not a string"},
	{SERVICE(",\"no_new_privileges\":1"),
	 "no_new_privileges: expected true or false, not a whole number"},
	{SERVICE(",\"oom_score_adj\":1001"), "oom_score_adj: 1001 is out of range (-1000 to 1000)"},
	{SERVICE(",\"oom_score_adj\":-1001"),
	 "oom_score_adj: -1001 is out of range (-1000 to 1000)"},
	{SERVICE(",\"oom_score_adj\":true"), "oom_score_adj: expected a whole number, not true"},
	{SERVICE(",\"user\":-1"), "user: -1 is out of range (0 to 4294967294)"},
	{SERVICE(",\"user\":4294967295"), "user: 4294967295 is out of range (0 to 4294967294)"},
	{SERVICE(",\"user\":\"\""), "user: is empty"},
	{SERVICE(",\"user\":\"007\""), "user: there is no user \"007\""},
	{SERVICE(",\"group\":1.5"),
	 "group: expected a name or a whole number, not a number with a fraction"},
	{SERVICE(",\"supplementary_groups\":[\"root\"]"),
	 "supplementary_groups: needs \"user\" or \"group\": without them the service has the groups "
	 "of the daemon"},
	{SERVICE(",\"supplementary_groups\":\"root\""),
	 "supplementary_groups: expected an array of strings, not a string"},
	{SERVICE(",\"supplementary_groups\":[1]"),
	 "supplementary_groups[0]: expected a string, not a whole number"},
	{SERVICE(",\"stdout\":\"null\""),
	 "stdout: \"null\" is unknown (expected \"inherit\", \"journal\" or the absolute path of a "
	 "file)"},
	{SERVICE(",\"stderr\":\"\""),
	 "stderr: \"\" is unknown (expected \"inherit\", \"journal\" or the absolute path of a "
	 "file)"},
	{SERVICE(",\"stdout\":false"), "stdout: expected a string, not false"},
	{SERVICE(",\"stdout\":\"/usr\""), "stdout: /usr: Is a directory"},
	{SERVICE(",\"stderr\":\"/no/such/web.log\""),
	 "stderr: /no/such/web.log: No such file or directory"},
	{SERVICE(",\"stderr\":\"/etc/passwd/web.log\""),
	 "stderr: /etc/passwd/web.log: Not a directory"},
	{SERVICE(",\"resources\":\"1G\""), "resources: expected an object, not a string"},
	{SERVICE(",\"resources\":{\"memory\":1}"),
	 "resources.memory: unknown key (there are: memory_max, cpu_max, pids_max)"},
	{SERVICE(",\"resources\":{\"memory_max\":0}"),
	 "resources.memory_max: 0 is out of range (1 to 1152921504606846976)"},
	{SERVICE(",\"resources\":{\"memory_max\":1152921504606846977}"),
	 "resources.memory_max: 1152921504606846977 is out of range (1 to 1152921504606846976)"},
	{SERVICE(",\"resources\":{\"memory_max\":1.5}"),
	 "resources.memory_max: expected a number of bytes or a string such as \"512M\", not a "
	 "number with a fraction"},
	{SERVICE(",\"resources\":{\"cpu_max\":150}"),
	 "resources.cpu_max: expected a string such as \"150%\", not a whole number"},
	{SERVICE(",\"resources\":{\"pids_max\":0}"),
	 "resources.pids_max: 0 is out of range (1 to 4194304)"},
};

static void test_config_each_process_mistake_is_named_with_its_path(void **state)
{
	(void)state;
	expect_single_mistakes(single, sizeof(single) / sizeof(single[0]));
}

/* @key with each of @values (strings of JSON), which are all refused as @what. */
static void refuse_all(const char *key, const char *const *values, const char *what)
{
	char json[512];

	for (; *values; values++) {
		snprintf(json, sizeof(json), SERVICE(",%s%s%s"), key, *values,
			 strchr(key, '{') ? "}" : "");
		load_bad(json);
		if (mistakes.total != 1 || !strstr(mistakes.list[0].text, what))
			fail_msg("%s: %zu, %s", json, mistakes.total, mistakes.list[0].text);
	}
}

static void test_config_texts_that_are_no_values_are_refused(void **state)
{
	static const char *const masks[] = {"\"\"",      "\"8\"",     "\"0x1\"",
					    "\"-1\"",    "\"01000\"", "\" 1\"",
					    "\"00022\"", "\"u=rw\"",  NULL};
	static const char *const limits[] = {"\"\"",
					     "\"1\"",
					     "\":\"",
					     "\"1:\"",
					     "\":1\"",
					     "\"1:2:3\"",
					     "\"1:-1\"",
					     "\"+1:2\"",
					     "\"1K:2K\"",
					     "\"infinity\"",
					     "\"1: 2\"",
					     "\"Unlimited\"",
					     "\"0:18446744073709551615\"",
					     "\"1:99999999999999999999\"",
					     NULL};
	static const char *const sizes[] = {"\"\"",
					    "\"M\"",
					    "\"0\"",
					    "\"0K\"",
					    "\"1.5G\"",
					    "\"1k\"",
					    "\"1MB\"",
					    "\"1048577T\"",
					    "\"-1\"",
					    "\"1 M\"",
					    "\"99999999999999999999\"",
					    NULL};
	static const char *const shares[] = {"\"\"",        "\"%\"",    "\"0%\"",
					     "\"150\"",     "\"1.5%\"", "\"-1%\"",
					     "\"100001%\"", "\"1%%\"",  NULL};

	(void)state;
	refuse_all("\"umask\":", masks, "is not a mask (expected an octal number up to \"0777\")");
	refuse_all("\"limits\":{\"core\":", limits, "is not a limit (expected a whole number");
	refuse_all("\"resources\":{\"memory_max\":", sizes, "is not a size (expected a whole");
	refuse_all("\"resources\":{\"cpu_max\":", shares,
		   "is not a share of CPUs (expected percent of one CPU, 1% to 100000%: \"150%\")");
}

static void test_config_capabilities_that_are_none_are_refused(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	load_bad(SERVICE(",\"capabilities\":[\"CAP_NET\",5,\"\"]"));
	assert_int_equal(mistakes.total, 3);
	expect_mistake(0, "services.web.capabilities[0]: \"CAP_NET\" is not a capability (expected "
			  "a name such as \"CAP_NET_BIND_SERVICE\")");
	expect_mistake(1, "services.web.capabilities[1]: expected a string, not a whole number");
	expect_mistake(2, "services.web.capabilities[2]: is empty");
	load_bad(SERVICE(",\"capabilities\":\"chown\""));
	expect_mistake(0, "services.web.capabilities: expected an array of strings, not a string");
}

static void test_config_more_files_than_the_kernel_allows_are_refused(void **state)
{
	(void)state;
	load_bad(SERVICE(",\"limits\":{\"nofile\":\"1024:unlimited\"}"));
	assert_int_equal(mistakes.total, 1);
	assert_non_null(strstr(mistakes.list[0].text,
			       ": services.web.limits.nofile: unlimited is more than the kernel "
			       "allows (fs.nr_open is "));
}

static void test_config_output_path_that_is_too_long_is_refused(void **state)
{
	char json[8192];

	(void)state;
	snprintf(json, sizeof(json), SERVICE(",\"stdout\":\"/%04095d\""), 0);
	load_bad(json);
	assert_int_equal(mistakes.total, 1);
	expect_mistake(0, "services.web.stdout: longer than 4095 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_config_limits_are_read),
		TEST(test_config_limits_can_be_none),
		TEST(test_config_every_limit_has_a_name),
		TEST(test_config_process_settings_are_read),
		TEST(test_config_masks_are_octal),
		TEST(test_config_resources_are_read),
		TEST(test_config_capabilities_as_root_are_read),
		TEST(test_config_what_takes_privileges_is_refused_without),
		TEST(test_config_what_anybody_can_give_is_accepted),
		TEST(test_config_nice_is_bounded_by_the_limit),
		TEST(test_config_capability_that_the_daemon_lacks_is_refused),
		TEST(test_config_supplementary_groups_are_added_once),
		TEST(test_config_accounts_may_be_numbers),
		TEST(test_config_unknown_supplementary_group_is_refused),
		TEST(test_config_each_process_mistake_is_named_with_its_path),
		TEST(test_config_texts_that_are_no_values_are_refused),
		TEST(test_config_capabilities_that_are_none_are_refused),
		TEST(test_config_more_files_than_the_kernel_allows_are_refused),
		TEST(test_config_output_path_that_is_too_long_is_refused),
	};

	return cmocka_run_group_tests_name("config_process", tests, NULL, NULL);
}
