/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each test gives capabilities away in a child; as root.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/capability_sets.h"
#include "common/cleanup.h"
#include "common/process_settings.h"
#include "orchestrator/host/capabilities.h"
#include "orchestrator/host/file.h"
#include "tests/unit/fakes/in_child.h"

#define MANUAL     "SECURITY.md"
#define MANUAL_MAX (1024 * 1024)

static uint64_t listed(bool always)
{
	uint64_t set = 0;

	for (size_t k = 0; k < n_capability_uses; k++)
		if (!always || !capability_uses[k].at_times)
			set |= PRIVILEGE(capability_uses[k].capability);
	return set;
}

static bool has(uint64_t effective, uint64_t permitted)
{
	struct capability_sets sets;

	return capability_sets_get(&sets) == 0 && sets.effective == effective &&
	       sets.permitted == permitted;
}

static bool roots_sets_are_the_list(void)
{
	uint64_t children = capability_sets_of_children();

	return capabilities_reduce() == 0 &&
	       has(listed(true) & children, listed(false) & children) &&
	       capability_sets_of_children() == children;
}

static void test_capabilities_of_root_are_the_list_and_its_childrens_stay(void **state)
{
	(void)state;
	in_child(roots_sets_are_the_list);
}

/* Before Linux 5.8 and in old containers CAP_SYS_ADMIN is all that there is for BPF. */
static bool admin_stays_in_the_place_of_its_parts(void)
{
	const uint64_t admin = PRIVILEGE(CAP_SYS_ADMIN);
	const struct capability_sets sets = {.effective = admin, .permitted = admin};

	return capability_sets_set(&sets) == 0 && capabilities_reduce() == 0 && has(admin, admin);
}

static void test_capability_that_stands_for_others_stays_effective(void **state)
{
	(void)state;
	in_child(admin_stays_in_the_place_of_its_parts);
}

/* What its servers are given is ambient, which it can be only while it is permitted. */
static bool users_permitted_set_stays(void)
{
	const uint64_t bind = PRIVILEGE(CAP_NET_BIND_SERVICE), raw = PRIVILEGE(CAP_NET_RAW);
	const struct capability_sets sets = {bind | raw, bind | raw, raw};

	return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && setresuid(1, 1, 1) == 0 &&
	       capability_sets_set(&sets) == 0 &&
	       prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0) == 0 &&
	       capabilities_reduce() == 0 && has(bind, bind | raw) &&
	       capability_sets_of_children() == raw;
}

static void test_capabilities_of_a_user_stay_permitted_for_its_servers(void **state)
{
	(void)state;
	in_child(users_permitted_set_stays);
}

/* What is logged goes to stderr. */
static bool missing_ones_are_told(void)
{
	const uint64_t some = listed(false) & ~PRIVILEGE(CAP_KILL);
	const struct capability_sets sets = {.effective = some, .permitted = some};
	char text[512] = "";
	int fds[2];

	if (pipe(fds) < 0 || dup2(fds[1], 2) < 0 || capability_sets_set(&sets) < 0)
		return false;
	capabilities_tell_missing();
	return read(fds[0], text, sizeof(text) - 1) > 0 &&
	       strstr(text, "without CAP_KILL batond cannot signal processes of other users") &&
	       strchr(text, '\n') == strrchr(text, '\n');
}

static void test_capabilities_that_are_missing_are_told(void **state)
{
	(void)state;
	in_child(missing_ones_are_told);
}

/* The table of the manual is this list, in its order. */
static void test_capabilities_are_in_the_manual(void **state)
{
	cleanup_free char *text = NULL;
	const char *at;

	(void)state;
	assert_int_equal(file_read(MANUAL, MANUAL_MAX, &text, NULL), 0);
	at = text;
	for (size_t k = 0; k < n_capability_uses; k++) {
		char row[64];

		snprintf(row, sizeof(row), "\n| `%s` |",
			 process_capability_name(capability_uses[k].capability));
		at = strstr(at, row);
		if (!at)
			fail_msg("%s: no row%s in its place", MANUAL, row);
		at++;
	}
	assert_null(strstr(at, "\n| `CAP_"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capabilities_of_root_are_the_list_and_its_childrens_stay),
		cmocka_unit_test(test_capability_that_stands_for_others_stays_effective),
		cmocka_unit_test(test_capabilities_of_a_user_stay_permitted_for_its_servers),
		cmocka_unit_test(test_capabilities_that_are_missing_are_told),
		cmocka_unit_test(test_capabilities_are_in_the_manual),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
