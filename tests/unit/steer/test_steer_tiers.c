/* SPDX-License-Identifier: BSD-2-Clause */
/* What steer.c does with the tables of functions of the tiers; the tiers are fakes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "orchestrator/steer/steer_internal.h"
#include "tests/unit/fakes/fake_calls.h"

static struct address address;
static struct error err;

/* ---- a tier that can do everything ---------------------------------------------------------- */

static struct steer_table table;
static int open_error;

static int full_open(const struct address *a, const struct steer_options *options,
		     struct steer **ret, struct error *e)
{
	called("open %s uid %u", a->text, (unsigned)options->uid);
	if (open_error < 0)
		return error_set(e, open_error, "open");
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

static void full_free(struct steer *steer)
{
	called("free");
	free(steer);
}

static int full_try(struct error *e)
{
	return error_text(e, -EPERM, "not here");
}

static int full_reset(struct steer *steer, struct error *e)
{
	(void)steer;
	(void)e;
	called("reset");
	return -1;
}

static bool full_is_taken_over(const struct steer *steer)
{
	(void)steer;
	return true;
}

static int full_attach(struct steer *steer, struct error *e)
{
	(void)steer;
	(void)e;
	called("attach");
	return -2;
}

static void full_unpin_all(struct steer *steer)
{
	(void)steer;
	called("unpin all");
}

static int full_listen(struct steer *steer, int backlog, bool nonblocking, int *ret_fd,
		       struct error *e)
{
	(void)steer;
	(void)e;
	called("listen %d %d", backlog, nonblocking);
	*ret_fd = 33;
	return -3;
}

static int full_join(struct steer *steer, int listen_fd, tap_owner owner, uint16_t *ret_slot,
		     bool *ret_drift, struct error *e)
{
	(void)steer;
	(void)e;
	called("join %d %llu drift %d", listen_fd, (unsigned long long)owner, *ret_drift);
	*ret_slot = 44;
	return -4;
}

static void full_release(struct steer *steer, uint16_t slot)
{
	(void)steer;
	called("release %u", slot);
}

static void full_release_unclaimed(struct steer *steer)
{
	(void)steer;
	called("release unclaimed");
}

static int full_publish(struct steer *steer, const struct steer_table *t, struct error *e)
{
	(void)steer;
	(void)e;
	called("publish");
	table = *t;
	return -5;
}

static int table_error;

static int full_table(struct steer *steer, struct steer_table *ret)
{
	(void)steer;
	*ret = table;
	return table_error;
}

static int full_pin(struct steer *steer, const struct sockaddr *source, uint16_t slot)
{
	(void)steer;
	called("pin %d %u", source->sa_family, slot);
	return -6;
}

static void full_unpin(struct steer *steer, const struct sockaddr *source)
{
	(void)steer;
	called("unpin %d", source->sa_family);
}

static int full_hold(struct steer *steer, bool on)
{
	(void)steer;
	called("hold %d", on);
	return -7;
}

static int full_held(struct steer *steer, uint32_t *ret)
{
	(void)steer;
	*ret = 88;
	return -8;
}

static int full_unhold(struct steer *steer, struct error *e)
{
	(void)steer;
	(void)e;
	return 99;
}

static unsigned full_expire(struct steer *steer, unsigned n)
{
	(void)steer;
	return n / 2;
}

static enum steer_program full_check(struct steer *steer, char *ret_who, size_t size)
{
	(void)steer;
	if (ret_who)
		called("who %s size %zu", ret_who, size);
	return STEER_PROGRAM_ATTACHED;
}

static int full_repair(struct steer *steer, struct error *e)
{
	(void)steer;
	(void)e;
	return -9;
}

static uint32_t full_program_id(const struct steer *steer)
{
	(void)steer;
	return 123;
}

static int full_slot_stats(struct steer *steer, uint16_t slot, struct steer_slot_stats *ret)
{
	(void)steer;
	ret->primary = slot;
	return -10;
}

static int full_stats(struct steer *steer, struct steer_stats *ret)
{
	(void)steer;
	ret->refused = 11;
	return -11;
}

const struct steer_ops steer_ebpf_ops = {
	.open = full_open,
	.free = full_free,
	.try = full_try,
	.reset = full_reset,
	.is_taken_over = full_is_taken_over,
	.attach = full_attach,
	.unpin_all = full_unpin_all,
	.listen = NULL,
	.join = full_join,
	.release = full_release,
	.release_unclaimed = full_release_unclaimed,
	.publish = full_publish,
	.table = full_table,
	.pin = full_pin,
	.unpin = full_unpin,
	.hold = full_hold,
	.held = full_held,
	.unhold = full_unhold,
	.expire = full_expire,
	.check = full_check,
	.repair = full_repair,
	.program_id = full_program_id,
	.slot_stats = full_slot_stats,
	.stats = full_stats,
};

/* ---- tiers that can do less ----------------------------------------------------------------- */

static int works(struct error *e)
{
	(void)e;
	return 0;
}

static enum steer_program has_none(struct steer *steer, char *ret_who, size_t size)
{
	(void)steer;
	(void)ret_who;
	(void)size;
	return STEER_PROGRAM_NONE;
}

const struct steer_ops steer_cbpf_ops = {
	.open = full_open,
	.free = full_free,
	.try = works,
	.listen = full_listen,
	.join = full_join,
	.release = full_release,
	.publish = full_publish,
	.table = full_table,
	.pin = full_pin,
	.unpin = full_unpin,
	.check = has_none,
};

const struct steer_ops steer_hash_ops = {
	.open = full_open,
	.free = full_free,
	.try = works,
	.join = full_join,
	.release = full_release,
	.publish = full_publish,
	.table = full_table,
	.check = has_none,
};

/* ---- helpers -------------------------------------------------------------------------------- */

static int setup(void **state)
{
	(void)state;
	assert_int_equal(address_parse("127.0.0.1:8080", &address, &err), 0);
	memset(&err, 0, sizeof(err));
	memset(&table, 0xff, sizeof(table));
	open_error = table_error = 0;
	forget_calls();
	return 0;
}

static struct steer *open_tier(enum steer_tier tier)
{
	struct steer_options options = {.tier = tier, .uid = 7};
	struct steer *steer = NULL;

	assert_int_equal(steer_open(&address, &options, &steer, &err), 0);
	assert_calls("open 127.0.0.1:8080 uid 7");
	return steer;
}

static void close_tier(struct steer *steer)
{
	forget_calls();
	steer_free(steer);
	assert_calls("free");
}

static const struct sockaddr_in source = {.sin_family = AF_INET};

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_steer_tiers_have_names(void **state)
{
	(void)state;
	assert_string_equal(steer_tier_name(STEER_EBPF), "ebpf");
	assert_string_equal(steer_tier_name(STEER_CBPF), "cbpf");
	assert_string_equal(steer_tier_name(STEER_HASH), "hash");
	assert_string_equal(steer_program_name(STEER_PROGRAM_ATTACHED), "attached");
	assert_string_equal(steer_program_name(STEER_PROGRAM_MISSING), "missing");
	assert_string_equal(steer_program_name(STEER_PROGRAM_FOREIGN), "foreign");
	assert_string_equal(steer_program_name(STEER_PROGRAM_UNKNOWN), "unknown");
	assert_string_equal(steer_program_name(STEER_PROGRAM_NONE), "none");
}

static void test_steer_tiers_can_what_the_header_says(void **state)
{
	static const struct {
		enum steer_ability ability;
		bool can[_STEER_TIER_COUNT];
	} rows[] = {
		{STEER_CAN_PIN, {true, true, false}},
		{STEER_CAN_SHIFT, {true, true, false}},
		{STEER_CAN_BACKUP, {true, false, false}},
		{STEER_CAN_HOLD, {true, false, false}},
		{STEER_CAN_COUNT, {true, false, false}},
		{STEER_CAN_CHECK, {true, false, false}},
		{STEER_MAKES_SOCKETS, {false, true, false}},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++)
		for (int tier = 0; tier < _STEER_TIER_COUNT; tier++)
			assert_int_equal(steer_can((enum steer_tier)tier, rows[k].ability),
					 rows[k].can[tier]);
}

static void test_steer_tiers_try_asks_that_tier(void **state)
{
	(void)state;
	assert_int_equal(steer_try(STEER_EBPF, &err), -EPERM);
	assert_string_equal(err.text, "not here");
	assert_int_equal(steer_try(STEER_CBPF, &err), 0);
	assert_int_equal(steer_try(STEER_HASH, &err), 0);
}

static void test_steer_tiers_open_knows_its_tier_and_address(void **state)
{
	(void)state;
	for (int tier = 0; tier < _STEER_TIER_COUNT; tier++) {
		struct steer *steer = open_tier((enum steer_tier)tier);

		assert_int_equal(steer_tier(steer), tier);
		assert_string_equal(steer->address.text, "127.0.0.1:8080");
		close_tier(steer);
	}
	steer_free(NULL);
}

static void test_steer_tiers_open_that_fails_returns_nothing(void **state)
{
	struct steer_options options = {.tier = STEER_HASH};
	struct steer *steer = NULL;

	(void)state;
	open_error = -EADDRINUSE;
	assert_int_equal(steer_open(&address, &options, &steer, &err), -EADDRINUSE);
	assert_null(steer);
	assert_string_equal(err.text, "open: Address already in use");
}

static void test_steer_tiers_calls_are_handed_on(void **state)
{
	struct steer *steer = open_tier(STEER_EBPF);
	struct steer_slot_stats slot_stats;
	struct steer_stats stats;
	struct steer_table t = table;
	uint32_t held;
	uint16_t slot;
	bool drift = true;

	(void)state;
	assert_true(steer_is_taken_over(steer));
	assert_int_equal(steer_reset(steer, &err), -1);
	assert_int_equal(steer_attach(steer, &err), -2);
	/* The tier need not clear what it seldom sets. */
	assert_int_equal(steer_join(steer, 5, 6, &slot, &drift, &err), -4);
	assert_int_equal(slot, 44);
	assert_int_equal(steer_publish(steer, &t, &err), -5);
	assert_int_equal(steer_pin(steer, (const struct sockaddr *)&source, 3), -6);
	steer_unpin(steer, (const struct sockaddr *)&source);
	assert_int_equal(steer_hold(steer, true), -7);
	assert_int_equal(steer_hold(steer, false), -7);
	steer_release(steer, 9);
	steer_release_unclaimed(steer);
	steer_unpin_all(steer);
	assert_calls("reset; attach; join 5 6 drift 0; publish; pin 2 3; unpin 2; hold 1; hold 0; "
		     "release 9; release unclaimed; unpin all");
	assert_int_equal(steer_held(steer, &held), -8);
	assert_int_equal(held, 88);
	assert_int_equal(steer_unhold(steer, &err), 99);
	assert_int_equal(steer_expire(steer, 10), 5);
	assert_int_equal(steer_repair(steer, &err), -9);
	assert_int_equal(steer_program_id(steer), 123);
	assert_int_equal(steer_slot_stats(steer, 3, &slot_stats), -10);
	assert_int_equal(slot_stats.primary, 3);
	assert_int_equal(slot_stats.backup, 0);
	assert_int_equal(steer_stats(steer, &stats), -11);
	assert_int_equal(stats.refused, 11);
	assert_int_equal(stats.held, 0);
	close_tier(steer);
}

static void test_steer_tiers_check_without_room_for_a_name(void **state)
{
	struct steer *steer = open_tier(STEER_EBPF);
	char who[8] = "old";

	(void)state;
	assert_int_equal(steer_check(steer, NULL, 0), STEER_PROGRAM_ATTACHED);
	assert_int_equal(steer_check(steer, who, sizeof(who)), STEER_PROGRAM_ATTACHED);
	/* What was there before is not taken for an answer. */
	assert_calls("who  size 8");
	assert_string_equal(who, "");
	close_tier(steer);
}

static void test_steer_tiers_names_looks_at_primaries_and_backups(void **state)
{
	struct steer *steer = open_tier(STEER_HASH);

	(void)state;
	assert_false(steer_names(steer, 5));
	table.buckets[STEER_BUCKETS - 1].primary = 5;
	assert_true(steer_names(steer, 5));
	table.buckets[0].backup = 6;
	assert_true(steer_names(steer, 6));
	assert_false(steer_names(steer, 7));
	close_tier(steer);
}

/* "Not named" would free a slot that may serve. */
static void test_steer_tiers_table_that_cannot_be_read_names_every_slot(void **state)
{
	struct steer *steer = open_tier(STEER_HASH);

	(void)state;
	assert_false(steer_names(steer, 6));
	table_error = -EIO;
	assert_true(steer_names(steer, 6));
	close_tier(steer);
}

static void test_steer_tiers_what_a_tier_cannot_is_said_or_left_out(void **state)
{
	struct steer *steer = open_tier(STEER_HASH);
	struct steer_slot_stats slot_stats = {.primary = 1};
	struct steer_stats stats = {.refused = 1};
	uint32_t held = 1;
	int fd = -1;

	(void)state;
	assert_false(steer_is_taken_over(steer));
	assert_int_equal(steer_reset(steer, &err), 0);
	assert_int_equal(steer_attach(steer, &err), 0);
	assert_int_equal(steer_repair(steer, &err), 0);
	assert_int_equal(steer_program_id(steer), 0);
	steer_unpin_all(steer);
	steer_release_unclaimed(steer);
	assert_int_equal(steer_listen(steer, 5, true, &fd, &err), -EOPNOTSUPP);
	assert_string_equal(err.text, "127.0.0.1:8080: the hash tier makes no sockets");
	assert_int_equal(fd, -1);
	assert_int_equal(steer_pin(steer, (const struct sockaddr *)&source, 3), -EOPNOTSUPP);
	steer_unpin(steer, (const struct sockaddr *)&source);
	assert_int_equal(steer_hold(steer, true), -EOPNOTSUPP);
	assert_int_equal(steer_hold(steer, false), 0);
	assert_int_equal(steer_held(steer, &held), -EOPNOTSUPP);
	assert_int_equal(held, 0);
	assert_int_equal(steer_unhold(steer, &err), -EOPNOTSUPP);
	assert_string_equal(err.text, "127.0.0.1:8080: the hash tier holds nothing");
	assert_int_equal(steer_expire(steer, 3), 0);
	assert_int_equal(steer_check(steer, NULL, 0), STEER_PROGRAM_NONE);
	assert_int_equal(steer_slot_stats(steer, 3, &slot_stats), 0);
	assert_int_equal(slot_stats.primary, 0);
	assert_int_equal(steer_stats(steer, &stats), 0);
	assert_int_equal(stats.refused, 0);
	assert_calls("");
	close_tier(steer);
}

static void test_steer_tiers_sockets_are_made_where_the_tier_does(void **state)
{
	struct steer *steer = open_tier(STEER_CBPF);
	int fd = -1;

	(void)state;
	assert_int_equal(steer_listen(steer, 128, true, &fd, &err), -3);
	assert_int_equal(fd, 33);
	assert_calls("listen 128 1");
	close_tier(steer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(test_steer_tiers_##name, setup)
		TEST(have_names),
		TEST(can_what_the_header_says),
		TEST(try_asks_that_tier),
		TEST(open_knows_its_tier_and_address),
		TEST(open_that_fails_returns_nothing),
		TEST(calls_are_handed_on),
		TEST(check_without_room_for_a_name),
		TEST(names_looks_at_primaries_and_backups),
		TEST(table_that_cannot_be_read_names_every_slot),
		TEST(what_a_tier_cannot_is_said_or_left_out),
		TEST(sockets_are_made_where_the_tier_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
