/* SPDX-License-Identifier: BSD-2-Clause */
/* Which way to steer a service gets, and what it is told about those that do not work. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "orchestrator/steer/tiers.h"
#include "tests/unit/fakes/fake_steer.h"

static struct tiers tiers;
static char reason[TIERS_REASON_MAX];
static enum steer_tier tier;
static struct error err;

static int set_up(void **state)
{
	(void)state;
	fake_steer_reset();
	forget_calls();
	memset(&tiers, 0, sizeof(tiers));
	strcpy(tiers.list[STEER_EBPF].reason, "no CAP_BPF");
	strcpy(tiers.list[STEER_CBPF].reason, "no classic programs");
	strcpy(tiers.list[STEER_HASH].reason, "no SO_REUSEPORT");
	strcpy(reason, "of an earlier choice");
	tier = _STEER_TIER_COUNT;
	err = (struct error){};
	return 0;
}

static void assert_chosen(enum steering_choice choice, enum steer_tier expected, const char *why)
{
	assert_int_equal(tiers_choose(&tiers, choice, &tier, reason, &err), 0);
	assert_int_equal(tier, expected);
	assert_string_equal(reason, why);
}

static void test_tiers_try_keeps_why_one_does_not_work(void **state)
{
	(void)state;
	fake_steer_failure.function = "steer_try";
	fake_steer_failure.address = "ebpf";
	fake_steer_failure.code = -EPERM;
	tiers_try("name", &tiers);
	assert_false(tiers.list[STEER_EBPF].works);
	assert_string_equal(tiers.list[STEER_EBPF].reason,
			    "steer_try ebpf: Operation not permitted");
	assert_true(tiers.list[STEER_CBPF].works);
	assert_string_equal(tiers.list[STEER_CBPF].reason, "");
	assert_true(tiers.list[STEER_HASH].works);
	/* What was found out before does not count. */
	fake_steer_failure.address = "hash";
	tiers_try("name", &tiers);
	assert_true(tiers.list[STEER_EBPF].works);
	assert_string_equal(tiers.list[STEER_EBPF].reason, "");
	assert_false(tiers.list[STEER_HASH].works);
}

/* Otherwise a service would be refused where another tier serves it. */
static void test_tiers_try_needs_pins_for_ebpf(void **state)
{
	(void)state;
	fake_steer_failure.function = "bpffs_try";
	fake_steer_failure.address = "tier";
	fake_steer_failure.code = -EROFS;
	tiers_try("name", &tiers);
	assert_false(tiers.list[STEER_EBPF].works);
	assert_string_equal(tiers.list[STEER_EBPF].reason,
			    "bpffs_try tier: Read-only file system: mount it writable");
	assert_true(tiers.list[STEER_CBPF].works);
	assert_true(tiers.list[STEER_HASH].works);
	assert_chosen(STEERING_AUTO, STEER_CBPF,
		      "ebpf: bpffs_try tier: Read-only file system: mount it writable");
}

static void test_tiers_auto_takes_the_highest_that_works(void **state)
{
	(void)state;
	tiers.list[STEER_HASH].works = true;
	assert_chosen(STEERING_AUTO, STEER_HASH, "ebpf: no CAP_BPF; cbpf: no classic programs");
	tiers.list[STEER_CBPF].works = true;
	assert_chosen(STEERING_AUTO, STEER_CBPF, "ebpf: no CAP_BPF");
	tiers.list[STEER_EBPF].works = true;
	assert_chosen(STEERING_AUTO, STEER_EBPF, "");
	/* That a lower one does not work interests nobody. */
	tiers.list[STEER_CBPF].works = tiers.list[STEER_HASH].works = false;
	assert_chosen(STEERING_AUTO, STEER_EBPF, "");
}

static void test_tiers_choice_of_the_user_counts(void **state)
{
	(void)state;
	for (size_t k = 0; k < _STEER_TIER_COUNT; k++)
		tiers.list[k].works = true;
	assert_chosen(STEERING_EBPF, STEER_EBPF, "");
	assert_chosen(STEERING_CBPF, STEER_CBPF, "");
	assert_chosen(STEERING_HASH, STEER_HASH, "");
	/* Asked for, so there is nothing to explain. */
	tiers.list[STEER_EBPF].works = false;
	assert_chosen(STEERING_CBPF, STEER_CBPF, "");
}

static void test_tiers_choice_that_does_not_work_is_refused_with_the_reason(void **state)
{
	static const struct {
		enum steering_choice choice;
		const char *text;
	} cases[] = {
		{STEERING_EBPF, "steering \"ebpf\" does not work here: no CAP_BPF"},
		{STEERING_CBPF, "steering \"cbpf\" does not work here: no classic programs"},
		{STEERING_HASH, "steering \"hash\" does not work here: no SO_REUSEPORT"},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		/* No other one takes its place. */
		for (size_t j = 0; j < _STEER_TIER_COUNT; j++)
			tiers.list[j].works = j != k;
		assert_int_equal(tiers_choose(&tiers, cases[k].choice, &tier, reason, &err),
				 -EOPNOTSUPP);
		assert_string_equal(err.text, cases[k].text);
		assert_int_equal(tier, _STEER_TIER_COUNT);
		assert_string_equal(reason, "");
	}
	/* Who only wants to know whether it works gives no room for the reason. */
	assert_int_equal(tiers_choose(&tiers, STEERING_HASH, &tier, reason, NULL), -EOPNOTSUPP);
}

static void test_tiers_auto_without_any_says_why_for_each(void **state)
{
	(void)state;
	assert_int_equal(tiers_choose(&tiers, STEERING_AUTO, &tier, reason, &err), -EOPNOTSUPP);
	assert_string_equal(err.text, "no way to steer connections works here: ebpf: no CAP_BPF; "
				      "cbpf: no classic programs; hash: no SO_REUSEPORT");
}

static void test_tiers_reasons_that_are_too_long_are_cut(void **state)
{
	struct {
		char reason[TIERS_REASON_MAX];
		char after[8];
	} room = {.after = "after"};

	(void)state;
	for (size_t k = 0; k < _STEER_TIER_COUNT; k++) {
		memset(tiers.list[k].reason, 'x', sizeof(tiers.list[k].reason) - 1);
		tiers.list[k].reason[sizeof(tiers.list[k].reason) - 1] = '\0';
	}
	tiers.list[STEER_HASH].works = true;
	assert_int_equal(tiers_choose(&tiers, STEERING_AUTO, &tier, room.reason, &err), 0);
	assert_in_range(strlen(room.reason), 300, TIERS_REASON_MAX - 1);
	tiers.list[STEER_HASH].works = false;
	assert_int_equal(tiers_choose(&tiers, STEERING_AUTO, &tier, room.reason, &err),
			 -EOPNOTSUPP);
	assert_int_equal(strlen(room.reason), TIERS_REASON_MAX - 1);
	assert_string_equal(room.after, "after");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, set_up)
	const struct CMUnitTest tests[] = {
		TEST(test_tiers_try_keeps_why_one_does_not_work),
		TEST(test_tiers_try_needs_pins_for_ebpf),
		TEST(test_tiers_auto_takes_the_highest_that_works),
		TEST(test_tiers_choice_of_the_user_counts),
		TEST(test_tiers_choice_that_does_not_work_is_refused_with_the_reason),
		TEST(test_tiers_auto_without_any_says_why_for_each),
		TEST(test_tiers_reasons_that_are_too_long_are_cut),
	};
#undef TEST

	return cmocka_run_group_tests_name("tiers", tests, NULL, NULL);
}
