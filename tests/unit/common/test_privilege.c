/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/privilege.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define FIRST_MAP    "         0          0 4294967295\n"
#define ROOTLESS_MAP "         0       1000          1\n         1     100000      65536\n"

static void test_privilege_parse_takes_what_is_not_said_to_be_harmless(void **state)
{
	struct privilege p;

	(void)state;
	privilege_parse("", "", 7, &p);
	assert_int_equal(p.euid, 7);
	assert_true(p.capabilities == UINT64_MAX);
	assert_false(p.seccomp);
	assert_false(p.namespaced);
}

static void test_privilege_parse_reads_each_field(void **state)
{
	static const char status[] = "Name:\tSeccomp: 2\nCapInh:\t0\nCapEff:\t00000000a80425fb\n"
				     "CapBnd:\t1\nNoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1";
	struct privilege p;

	(void)state;
	privilege_parse(status, ROOTLESS_MAP, 0, &p);
	assert_int_equal(p.capabilities, 0xa80425fb);
	assert_true(p.seccomp);
	assert_true(p.namespaced);
	privilege_parse("CapEff:\t0\nSeccomp:\t0\n", FIRST_MAP, 0, &p);
	assert_int_equal(p.capabilities, 0);
	assert_false(p.seccomp);
	assert_false(p.namespaced);
}

static void test_privilege_read_is_of_this_process(void **state)
{
	struct privilege p;

	(void)state;
	privilege_read(&p);
	assert_int_equal(p.euid, geteuid());
	if (geteuid() != 0)
		assert_true(privilege_missing(&p, PRIVILEGE(CAP_BPF)) != 0);
}

static void test_privilege_admin_contains_those_split_from_it(void **state)
{
	const struct privilege admin = {.capabilities = PRIVILEGE(CAP_SYS_ADMIN)};

	(void)state;
	assert_int_equal(privilege_missing(&admin, PRIVILEGE(CAP_BPF) | PRIVILEGE(CAP_PERFMON)), 0);
	assert_int_equal(privilege_missing(&admin, PRIVILEGE(CAP_NET_ADMIN)),
			 PRIVILEGE(CAP_NET_ADMIN));
}

static void test_privilege_advice_says_what_forbids_it(void **state)
{
	static const struct privilege_need getfd = {.call = "pidfd_getfd(2)"};
	static const struct {
		struct privilege privilege;
		const struct privilege_need *need;
		const char *says;
	} cases[] = {
		{{.euid = 1000},
		 &privilege_bpf,
		 "run it as root, or with CAP_NET_ADMIN and CAP_BPF (systemd: "
		 "AmbientCapabilities=)"},
		{{.euid = 1000, .capabilities = PRIVILEGE(CAP_BPF)},
		 &privilege_bpf,
		 "run it as root, or with CAP_NET_ADMIN (systemd: AmbientCapabilities=)"},
		{{.euid = 0, .capabilities = PRIVILEGE(CAP_NET_ADMIN)},
		 &privilege_bpf,
		 "it is root, but without CAP_BPF: give it back (docker: --cap-add; systemd: "
		 "CapabilityBoundingSet=)"},
		/* In a user namespace root has all capabilities, and none that count. */
		{{.euid = 0, .capabilities = UINT64_MAX, .namespaced = true, .seccomp = true},
		 &privilege_bpf,
		 "this is a user namespace, where nobody has the host's privileges for bpf(2): run "
		 "it outside of one (a container: not rootless)"},
		{{.euid = 0, .capabilities = UINT64_MAX, .seccomp = true},
		 &privilege_bpf,
		 "a seccomp filter is in force, and most likely forbids bpf(2): permit it there "
		 "(docker: --security-opt seccomp=; systemd: SystemCallFilter=)"},
		{{.euid = 0, .capabilities = UINT64_MAX}, &privilege_bpf, ""},
		{{.euid = 1000, .seccomp = true, .namespaced = true},
		 &getfd,
		 "a seccomp filter is in force, and most likely forbids pidfd_getfd(2): permit it "
		 "there (docker: --security-opt seccomp=; systemd: SystemCallFilter=)"},
		{{.euid = 1000}, &getfd, ""},
	};

	(void)state;
	for (size_t k = 0; k < COUNT(cases); k++) {
		char got[PRIVILEGE_TEXT_MAX];

		assert_int_equal(privilege_advise(&cases[k].privilege, cases[k].need, got),
				 cases[k].says[0] != '\0');
		assert_string_equal(got, cases[k].says);
		if (cases[k].privilege.euid == 0)
			assert_null(strstr(got, "as root"));
	}
}

static void test_privilege_explains_only_what_was_refused(void **state)
{
	char got[PRIVILEGE_TEXT_MAX];

	(void)state;
	assert_string_equal(privilege_explain(-ENOENT, &privilege_bpf, got), "");
	assert_string_equal(privilege_explain(0, &privilege_bpf, got), "");
}

/* If neither capabilities nor a filter forbid it, a security module does. */
static void test_privilege_explains_a_refusal_that_nothing_else_explains(void **state)
{
	static const struct privilege_need need = {.call = "x", .otherwise = "ask x"};
	struct privilege privilege;
	char got[PRIVILEGE_TEXT_MAX];

	(void)state;
	privilege_read(&privilege);
	if (privilege_advise(&privilege, &need, got))
		skip();
	assert_string_equal(privilege_explain(-EPERM, &need, got), ": ask x");
	assert_string_equal(privilege_explain(-ENOSYS, &need, got), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_privilege_parse_takes_what_is_not_said_to_be_harmless),
		cmocka_unit_test(test_privilege_parse_reads_each_field),
		cmocka_unit_test(test_privilege_read_is_of_this_process),
		cmocka_unit_test(test_privilege_admin_contains_those_split_from_it),
		cmocka_unit_test(test_privilege_advice_says_what_forbids_it),
		cmocka_unit_test(test_privilege_explains_only_what_was_refused),
		cmocka_unit_test(test_privilege_explains_a_refusal_that_nothing_else_explains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
