/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "orchestrator/steer/steer.h"
#include "orchestrator/doctor/doctor_internal.h"
#include "tests/unit/fakes/netns.h"

#define EBPF   (1u << DOCTOR_TIER_EBPF)
#define CBPF   (1u << DOCTOR_TIER_CBPF)
#define NATIVE (1u << DOCTOR_MODE_NATIVE)

/* ---- canned results ------------------------------------------------------------------------- */

static const struct doctor_check canned[] = {
	{.name = "one",
	 .title = "first thing",
	 .purpose = "what it is for",
	 .severity = DOCTOR_NEEDED,
	 .needed_for = EBPF | NATIVE,
	 .cost = "no ebpf",
	 .privilege = "be root",
	 .how = "newer kernel"},
	{.name = "two",
	 .title = "2nd",
	 .purpose = "something else",
	 .severity = DOCTOR_ADVISED,
	 .needed_for = CBPF,
	 .improves = EBPF,
	 .cost = "less",
	 .how = "set it"},
	{.name = "three",
	 .title = "third",
	 .purpose = "a third",
	 .severity = DOCTOR_ADVISED,
	 .improves = EBPF | CBPF,
	 .cost = "worse",
	 .how = "turn it on"},
};

#define N_CANNED (sizeof(canned) / sizeof(canned[0]))

static struct doctor_report report_of(const struct doctor_result *results)
{
	return (struct doctor_report){
		.kernel = "Linux 1.2.3 pdp11",
		.user = "nobody (uid 65534)",
		.checks = canned,
		.results = results,
		.n = N_CANNED,
	};
}

static const struct doctor_result all_work[N_CANNED] = {
	{.works = true}, {.works = true, .text = "4096"}, {.works = true}};
static const struct doctor_result none_works[N_CANNED] = {
	{.error = EPERM, .text = "load: Operation not permitted"},
	{.text = "it is 0"},
	{.error = EACCES, .text = "x: Permission denied", .how = "just so"},
};
static const struct doctor_result advised_missing[N_CANNED] = {
	{.works = true}, {.works = true}, {.text = "it is 0"}};

static char *print(const struct doctor_result *results)
{
	const struct doctor_report report = report_of(results);
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	assert_non_null(out);
	doctor_print(out, &report);
	fclose(out);
	return text;
}

static void test_doctor_print_of_what_works_is_one_line_each(void **state)
{
	cleanup_free char *text = print(all_work);

	(void)state;
	assert_string_equal(text, "Linux 1.2.3 pdp11, as nobody (uid 65534)\n"
				  "\n"
				  "  works    first thing  what it is for\n"
				  "  works    2nd          something else (4096)\n"
				  "  works    third        a third\n"
				  "\n"
				  "  tier ebpf         yes\n"
				  "  tier cbpf         yes\n"
				  "  tier hash         yes\n"
				  "  mode inherit      yes\n"
				  "  mode native       yes\n"
				  "  mode transparent  yes\n"
				  "\n"
				  "everything that baton needs works\n");
}

static void test_doctor_print_of_what_does_not_work_says_why_and_how(void **state)
{
	cleanup_free char *text = print(none_works);

	(void)state;
	assert_string_equal(text, "Linux 1.2.3 pdp11, as nobody (uid 65534)\n"
				  "\n"
				  "  MISSING  first thing  what it is for\n"
				  "           why:     load: Operation not permitted\n"
				  "           without: no ebpf\n"
				  "           how:     be root\n"
				  "  warning  2nd          something else\n"
				  "           why:     it is 0\n"
				  "           without: less\n"
				  "           how:     set it\n"
				  "  warning  third        a third\n"
				  "           why:     x: Permission denied\n"
				  "           without: worse\n"
				  "           how:     just so\n"
				  "\n"
				  "  tier ebpf         no: first thing\n"
				  "  tier cbpf         no: 2nd\n"
				  "  tier hash         yes\n"
				  "  mode inherit      yes\n"
				  "  mode native       no: first thing\n"
				  "  mode transparent  yes\n"
				  "\n"
				  "1 of what baton needs is missing (2 warnings)\n");
}

static void test_doctor_print_of_warnings_alone_is_good_news(void **state)
{
	cleanup_free char *text = print(advised_missing);

	(void)state;
	assert_non_null(strstr(text, "  tier ebpf         yes, but: third\n"));
	assert_non_null(strstr(text, "\neverything that baton needs works (1 warning)\n"));
}

static const char *member(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "(none)";
}

static void test_doctor_json_of_what_does_not_work_has_all_of_it(void **state)
{
	const struct doctor_report report = report_of(none_works);
	json_t *json = doctor_json(&report), *first, *second;

	(void)state;
	assert_non_null(json);
	assert_true(json_is_false(json_object_get(json, "ok")));
	assert_int_equal(json_integer_value(json_object_get(json, "missing")), 1);
	assert_int_equal(json_integer_value(json_object_get(json, "warnings")), 2);
	assert_string_equal(member(json, "kernel"), "Linux 1.2.3 pdp11");
	assert_string_equal(member(json, "user"), "nobody (uid 65534)");
	assert_string_equal(member(json_object_get(json, "tiers"), "ebpf"), "no");
	assert_string_equal(member(json_object_get(json, "tiers"), "hash"), "yes");
	assert_string_equal(member(json_object_get(json, "modes"), "native"), "no");
	assert_int_equal(json_object_size(json_object_get(json, "tiers")), 3);
	assert_int_equal(json_object_size(json_object_get(json, "modes")), 3);
	assert_int_equal(json_array_size(json_object_get(json, "checks")), N_CANNED);
	first = json_array_get(json_object_get(json, "checks"), 0);
	assert_string_equal(member(first, "name"), "one");
	assert_string_equal(member(first, "state"), "missing");
	assert_true(json_is_true(json_object_get(first, "needed")));
	assert_string_equal(member(first, "errno"), "EPERM");
	assert_string_equal(member(first, "reason"), "load: Operation not permitted");
	assert_string_equal(member(first, "cost"), "no ebpf");
	assert_string_equal(member(first, "how"), "be root");
	assert_int_equal(json_array_size(json_object_get(first, "needed_for")), 2);
	second = json_array_get(json_object_get(json, "checks"), 1);
	assert_string_equal(member(second, "state"), "warning");
	assert_true(json_is_null(json_object_get(second, "errno")));
	assert_true(json_is_false(json_object_get(second, "needed")));
	json_decref(json);
}

static void test_doctor_json_of_what_works_has_no_reasons(void **state)
{
	const struct doctor_report report = report_of(all_work);
	json_t *json = doctor_json(&report), *first, *second;

	(void)state;
	assert_non_null(json);
	assert_true(json_is_true(json_object_get(json, "ok")));
	first = json_array_get(json_object_get(json, "checks"), 0);
	second = json_array_get(json_object_get(json, "checks"), 1);
	assert_string_equal(member(first, "state"), "works");
	assert_true(json_is_null(json_object_get(first, "reason")));
	assert_true(json_is_null(json_object_get(first, "how")));
	assert_true(json_is_null(json_object_get(first, "note")));
	assert_string_equal(member(second, "note"), "4096");
	json_decref(json);
}

static void test_doctor_verdict_names_are_cut_at_the_buffer(void **state)
{
	const struct doctor_report report = report_of(none_works);
	char names[6];

	(void)state;
	assert_int_equal(doctor_verdict(&report, DOCTOR_TIER_EBPF, names, sizeof(names)),
			 DOCTOR_VERDICT_NO);
	assert_string_equal(names, "first");
}

static void test_doctor_verdict_no_has_no_reasons_of_a_yes_but(void **state)
{
	/* The third only improves cbpf, and comes behind what decides. */
	struct doctor_result results[N_CANNED] = {{.works = true}, {.error = 0}, {.error = 0}};
	const struct doctor_report report = report_of(results);
	char names[64];

	(void)state;
	assert_int_equal(doctor_verdict(&report, DOCTOR_TIER_CBPF, names, sizeof(names)),
			 DOCTOR_VERDICT_NO);
	assert_string_equal(names, "2nd");
	assert_int_equal(doctor_verdict(&report, DOCTOR_TIER_EBPF, names, sizeof(names)),
			 DOCTOR_VERDICT_YES_BUT);
	assert_string_equal(names, "2nd, third");
}

static void test_doctor_how_depends_on_what_refused(void **state)
{
	struct doctor_result result = {.error = EPERM};

	(void)state;
	assert_string_equal(doctor_how(&canned[0], &result), "be root");
	assert_string_equal(doctor_how(&canned[1], &result), "set it");
	result.error = EINVAL;
	assert_string_equal(doctor_how(&canned[0], &result), "newer kernel");
	result.error = EMFILE;
	assert_non_null(strstr(doctor_how(&canned[0], &result), "open files"));
	result.error = EAGAIN;
	assert_non_null(strstr(doctor_how(&canned[0], &result), "processes"));
	strcpy(result.how, "like this");
	assert_string_equal(doctor_how(&canned[0], &result), "like this");
}

/* ---- the table ------------------------------------------------------------------------------ */

static void test_doctor_table_is_complete(void **state)
{
	(void)state;
	assert_true(doctor_checks_count <= DOCTOR_CHECKS_MAX);
	for (size_t i = 0; i < doctor_checks_count; i++) {
		const struct doctor_check *c = &doctor_checks[i];

		if (!c->name || !c->title || !c->purpose || !c->cost || !c->how || !c->function)
			fail_msg("check %zu lacks something", i);
		if (strlen(c->title) > 24 || strlen(c->purpose) > 56)
			fail_msg("%s: too long for a line", c->name);
		/* What a tier or mode cannot do without has to be needed or said in its verdict. */
		if (c->severity == DOCTOR_NEEDED && !c->needed_for)
			fail_msg("%s: needed for nothing", c->name);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(c->name, doctor_checks[k].name);
	}
}

/* ---- running -------------------------------------------------------------------------------- */

static int on_work(struct doctor_trial *trial, struct error *err)
{
	(void)err;
	snprintf(trial->note, sizeof(trial->note), "seen \xff");
	return 0;
}

static int on_fail(struct doctor_trial *trial, struct error *err)
{
	snprintf(trial->note, sizeof(trial->note), "not to be seen");
	snprintf(trial->how, sizeof(trial->how), "so");
	return error_set(err, -ENOSYS, "try");
}

static int on_misbehave(struct doctor_trial *trial, struct error *err)
{
	(void)trial;
	return error_text(err, -EPROTO, "7 of 16");
}

static int on_crash(struct doctor_trial *trial, struct error *err)
{
	(void)trial;
	(void)err;
	/* Not SIGSEGV: cmocka would take it for a failed test, in the child. */
	kill(getpid(), SIGKILL);
	return 0;
}

/* Makes what a check can make, and never gets to removing it. */
static int on_hang(struct doctor_trial *trial, struct error *err)
{
	struct doctor_server_options options = {.family = AF_INET};
	char folder[BPFFS_PATH_MAX];
	struct doctor_server server;
	struct doctor_leaf leaf;

	if (doctor_leaf_open(trial->name, &leaf, err) < 0 ||
	    bpffs_make(trial->name, "doctor", "pin", folder, err) < 0)
		return -EPROTO;
	options.leaf = leaf.path;
	if (doctor_server_start(&options, &server, err) < 0)
		return -EPROTO;
	for (;;)
		pause();
}

static int on_network(struct doctor_trial *trial, struct error *err)
{
	ssize_t n = readlink("/proc/self/ns/net", trial->note, sizeof(trial->note) - 1);

	return n < 0 ? error_set(err, -errno, "readlink") : 0;
}

static void test_doctor_run_results_are_what_the_checks_say(void **state)
{
	static const struct doctor_check checks[] = {
		{.function = on_work}, {.function = on_fail}, {.function = on_misbehave}};
	struct doctor_result results[3];

	(void)state;
	doctor_run(checks, 3, results);
	assert_true(results[0].works);
	assert_int_equal(results[0].error, 0);
	assert_string_equal(results[0].text, "seen ?");
	assert_false(results[1].works);
	assert_int_equal(results[1].error, ENOSYS);
	assert_string_equal(results[1].text, "try: Function not implemented");
	assert_string_equal(results[1].how, "so");
	assert_false(results[2].works);
	assert_int_equal(results[2].error, 0);
	assert_string_equal(results[2].text, "7 of 16");
}

static void test_doctor_run_survives_a_crash(void **state)
{
	static const struct doctor_check checks[] = {{.function = on_crash}, {.function = on_work}};
	struct doctor_result results[2];

	(void)state;
	doctor_run(checks, 2, results);
	assert_false(results[0].works);
	assert_string_equal(results[0].text, "the check crashed");
	assert_true(results[1].works);
}

static size_t left_over(const char *folder)
{
	char prefix[32];
	DIR *entries = opendir(folder);
	struct dirent *entry;
	size_t n = 0;

	snprintf(prefix, sizeof(prefix), "baton-doctor-%d-", (int)getpid());
	while (entries && (entry = readdir(entries)))
		n += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
	if (entries)
		closedir(entries);
	return n;
}

static void expect_nothing_left(void)
{
	char own[CGROUP_PATH_MAX];

	assert_int_equal(cgroup_own(own, NULL), 0);
	assert_int_equal(left_over(own), 0);
	assert_int_equal(left_over("/sys/fs/bpf"), 0);
	/* No child is left, not even as a zombie. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void test_doctor_run_ends_what_hangs_and_removes_what_it_made(void **state)
{
	static const struct doctor_check checks[] = {{.function = on_hang, .timeout_ms = 500}};
	uint64_t before_ms = clock_monotonic_ms();
	struct doctor_result result;

	(void)state;
	if (geteuid() != 0)
		skip();
	doctor_run(checks, 1, &result);
	assert_false(result.works);
	if (result.error != ETIMEDOUT)
		fail_msg("%s", result.text);
	assert_true(clock_monotonic_ms() - before_ms < 5000);
	expect_nothing_left();
}

static void test_doctor_run_has_a_network_of_its_own_where_asked(void **state)
{
	static const struct doctor_check checks[] = {{.function = on_network},
						     {.function = on_network, .own_network = true}};
	struct doctor_result results[2];
	char here[64] = "";

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_true(readlink("/proc/self/ns/net", here, sizeof(here) - 1) > 0);
	doctor_run(checks, 2, results);
	assert_string_equal(results[0].text, here);
	assert_true(results[1].works);
	assert_string_not_equal(results[1].text, here);
}

static void test_doctor_run_with_ignored_children_and_out_of_descriptors(void **state)
{
	static const struct doctor_check checks[] = {{.function = on_work}};
	struct rlimit before, none;
	struct doctor_result result;
	int lowest = dup(0);

	(void)state;
	close(lowest);
	signal(SIGCHLD, SIG_IGN);
	doctor_run(checks, 1, &result);
	assert_true(result.works);
	assert_ptr_equal(signal(SIGCHLD, SIG_DFL), SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){(rlim_t)lowest, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	doctor_run(checks, 1, &result);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_false(result.works);
	assert_int_equal(result.error, EMFILE);
}

/* ---- what the checks stand on --------------------------------------------------------------- */

static void test_doctor_bench_connections_that_go_elsewhere_are_noticed(void **state)
{
	size_t counts[DOCTOR_GROUP_MAX];
	struct doctor_group group;
	struct error err = {""};

	(void)state;
	assert_int_equal(doctor_group_open(2, &group, &err), 0);
	/* No program: the kernel's hash spreads them. */
	assert_int_equal(doctor_expect_all_at(&group, 0, &err), -EPROTO);
	assert_non_null(strstr(err.text, "of 16 connections went to the chosen socket"));
	assert_int_equal(doctor_collect(&group, 1, counts, &err), -ETIMEDOUT);
	doctor_group_done(&group);
	doctor_group_done(&group);
}

static void test_doctor_bench_one_member_gets_all(void **state)
{
	struct doctor_group group;
	struct error err = {""};

	(void)state;
	assert_int_equal(doctor_group_open(1, &group, &err), 0);
	if (doctor_expect_all_at(&group, 0, &err) < 0)
		fail_msg("%s", err.text);
	doctor_close_all(group.fds, 1);
	assert_int_equal(doctor_connect(group.port, -1, &err), -ECONNREFUSED);
	doctor_group_done(&group);
}

static void test_doctor_bench_server_says_what_failed_in_it(void **state)
{
	struct doctor_server_options options = {.family = AF_INET};
	struct doctor_server server, second;
	struct error err = {""};

	(void)state;
	assert_int_equal(doctor_server_start(&options, &server, &err), 0);
	assert_true(server.port != 0 && server.cookie != 0);
	options.port = server.port;
	assert_int_equal(doctor_server_start(&options, &second, &err), -EADDRINUSE);
	assert_string_equal(err.text, "bind: Address already in use");
	assert_int_equal(doctor_server_stop(&server), 0);
	assert_int_equal(doctor_server_stop(&server), -1);
	options.port = 0;
	options.leaf = "/nonexistent";
	assert_int_equal(doctor_server_start(&options, &second, &err), -ENOENT);
}

/* ---- the checks ----------------------------------------------------------------------------- */

/* Settings of the host that this test does not make. */
static bool is_setting(const char *name)
{
	static const char *const settings[] = {"tcp-migrate-req", "somaxconn", "nofile",
					       "memlock",         "kernel",    "capabilities",
					       "local-ports"};

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (strcmp(settings[i], name) == 0)
			return true;
	return false;
}

static void test_doctor_checks_as_root_all_work(void **state)
{
	static struct doctor_result results[DOCTOR_CHECKS_MAX];

	(void)state;
	if (geteuid() != 0)
		skip();
	doctor_run(doctor_checks, doctor_checks_count, results);
	for (size_t i = 0; i < doctor_checks_count; i++) {
		if (!results[i].works && !is_setting(doctor_checks[i].name))
			fail_msg("%s: %s", doctor_checks[i].name, results[i].text);
		assert_true(results[i].works || results[i].text[0]);
	}
	expect_nothing_left();
}

static void test_doctor_checks_migration_wakes_where_the_kernel_is_fixed(void **state)
{
	static const struct doctor_check check = {.function = doctor_check_kernel,
						  .own_network = true};
	struct doctor_result result;
	struct error err = {""};
	bool woken = false;

	(void)state;
	if (geteuid() != 0)
		skip();
	doctor_run(&check, 1, &result);
	if (doctor_try_migration(&woken, &err) < 0)
		fail_msg("%s", err.text);
	/* Two ways to the same answer: by the version, and by looking. */
	assert_int_equal(woken, result.works);
}

static const struct doctor_result *result_of(const char *name, const struct doctor_result *results)
{
	for (size_t i = 0; i < doctor_checks_count; i++)
		if (strcmp(doctor_checks[i].name, name) == 0)
			return &results[i];
	fail_msg("no check %s", name);
	return NULL;
}

static void test_doctor_checks_see_the_settings_of_the_network(void **state)
{
	static struct doctor_result results[DOCTOR_CHECKS_MAX];
	static const char *const paths[] = {"/proc/sys/net/ipv4/tcp_migrate_req",
					    "/proc/sys/net/core/somaxconn"};
	static const char *const values[2][2] = {{"0", "100"}, {"1", "5000"}};

	(void)state;
	if (geteuid() != 0)
		skip();
	for (size_t round = 0; round < 2; round++) {
		for (size_t k = 0; k < 2; k++) {
			FILE *setting = fopen(paths[k], "w");

			assert_non_null(setting);
			fputs(values[round][k], setting);
			assert_int_equal(fclose(setting), 0);
		}
		doctor_run(doctor_checks, doctor_checks_count, results);
		assert_int_equal(result_of("tcp-migrate-req", results)->works, round);
		assert_int_equal(result_of("somaxconn", results)->works, round);
		/* With the sysctl at 1 or 0: it is the program that decides. */
		assert_true(result_of("migrate", results)->works);
	}
	assert_string_equal(result_of("somaxconn", results)->text, "5000");
}

static int setup(void **state)
{
	(void)state;
	/* Without the privilege what can be tested is tested on the host's loopback. */
	(void)netns_enter();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test(test_doctor_##name)
		TEST(print_of_what_works_is_one_line_each),
		TEST(print_of_what_does_not_work_says_why_and_how),
		TEST(print_of_warnings_alone_is_good_news),
		TEST(json_of_what_does_not_work_has_all_of_it),
		TEST(json_of_what_works_has_no_reasons),
		TEST(verdict_names_are_cut_at_the_buffer),
		TEST(verdict_no_has_no_reasons_of_a_yes_but),
		TEST(how_depends_on_what_refused),
		TEST(table_is_complete),
		TEST(run_results_are_what_the_checks_say),
		TEST(run_survives_a_crash),
		TEST(run_ends_what_hangs_and_removes_what_it_made),
		TEST(run_has_a_network_of_its_own_where_asked),
		TEST(run_with_ignored_children_and_out_of_descriptors),
		TEST(bench_connections_that_go_elsewhere_are_noticed),
		TEST(bench_one_member_gets_all),
		TEST(bench_server_says_what_failed_in_it),
		TEST(checks_as_root_all_work),
		TEST(checks_migration_wakes_where_the_kernel_is_fixed),
		TEST(checks_see_the_settings_of_the_network),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
