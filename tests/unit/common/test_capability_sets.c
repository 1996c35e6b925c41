/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each test changes its own process, a child; as root.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/capability_sets.h"
#include "tests/unit/fakes/in_child.h"

#define ONE PRIVILEGE(CAP_CHOWN)
#define TWO PRIVILEGE(CAP_KILL)

static bool set(uint64_t effective, uint64_t permitted)
{
	const struct capability_sets sets = {.effective = effective, .permitted = permitted};

	return capability_sets_set(&sets) == 0;
}

static uint64_t effective(void)
{
	struct capability_sets sets = {0};

	(void)capability_sets_get(&sets);
	return sets.effective;
}

static bool raises_one_for_a_while(void)
{
	uint64_t before;

	if (!set(ONE, ONE | TWO))
		return false;
	before = capability_raise(CAP_KILL);
	if (effective() != (ONE | TWO))
		return false;
	capability_put_back(before);
	return effective() == ONE;
}

static void test_capability_raise_is_undone(void **state)
{
	(void)state;
	in_child(raises_one_for_a_while);
}

static bool leaves_one_that_was_there(void)
{
	uint64_t before;

	if (!set(ONE | TWO, ONE | TWO))
		return false;
	before = capability_raise(CAP_KILL);
	capability_put_back(before);
	return effective() == (ONE | TWO);
}

static void test_capability_raise_of_one_that_is_effective_changes_nothing(void **state)
{
	(void)state;
	in_child(leaves_one_that_was_there);
}

static bool cannot_raise_what_is_not_permitted(void)
{
	uint64_t before;

	if (!set(ONE, ONE))
		return false;
	before = capability_raise(CAP_KILL);
	if (effective() != ONE)
		return false;
	capability_put_back(before);
	return effective() == ONE;
}

static void test_capability_raise_of_one_that_is_not_permitted_changes_nothing(void **state)
{
	(void)state;
	in_child(cannot_raise_what_is_not_permitted);
}

static bool cannot_take_more(void)
{
	return set(ONE, ONE) && !set(ONE | TWO, ONE | TWO) && effective() == ONE;
}

static void test_capability_sets_that_are_not_permitted_are_refused(void **state)
{
	(void)state;
	in_child(cannot_take_more);
}

/* Whatever root has given away itself, what it executes has again. */
static bool roots_children_have_the_bounding_set(void)
{
	uint64_t before = capability_sets_of_children();

	if (!(before & TWO) || prctl(PR_CAPBSET_DROP, CAP_KILL, 0, 0, 0) < 0)
		return false;
	return set(0, 0) && capability_sets_of_children() == (before & ~TWO);
}

static void test_capabilities_of_roots_children_are_the_bounding_set(void **state)
{
	(void)state;
	in_child(roots_children_have_the_bounding_set);
}

static bool users_children_have_the_ambient_set(void)
{
	const struct capability_sets sets = {ONE | TWO, ONE | TWO, TWO};

	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setresuid(1, 1, 1) < 0 ||
	    capability_sets_set(&sets) < 0 || capability_sets_of_children() != 0)
		return false;
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0) == 0 &&
	       capability_sets_of_children() == TWO;
}

static void test_capabilities_of_a_users_children_are_the_ambient_set(void **state)
{
	(void)state;
	in_child(users_children_have_the_ambient_set);
}

/* setpriv --securebits=+noroot: uid 0 means nothing there. */
static bool without_root_the_ambient_set_counts(void)
{
	return prctl(PR_SET_SECUREBITS, SECBIT_NOROOT, 0, 0, 0) == 0 &&
	       capability_sets_of_children() == 0;
}

static void test_capabilities_of_children_where_root_means_nothing(void **state)
{
	(void)state;
	in_child(without_root_the_ambient_set_counts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capability_raise_is_undone),
		cmocka_unit_test(test_capability_raise_of_one_that_is_effective_changes_nothing),
		cmocka_unit_test(
			test_capability_raise_of_one_that_is_not_permitted_changes_nothing),
		cmocka_unit_test(test_capability_sets_that_are_not_permitted_are_refused),
		cmocka_unit_test(test_capabilities_of_roots_children_are_the_bounding_set),
		cmocka_unit_test(test_capabilities_of_a_users_children_are_the_ambient_set),
		cmocka_unit_test(test_capabilities_of_children_where_root_means_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
