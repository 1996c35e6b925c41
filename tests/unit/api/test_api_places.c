/* SPDX-License-Identifier: BSD-2-Clause */
/* Who gets a place, who has to go for it, and how long one may stay. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/api/api_places.h"

#define NOW 1000000u

static struct places places;
static struct place made[2 * API_PLACES_MAX];
static size_t n_made;

static int setup(void **state)
{
	(void)state;
	places = (struct places){};
	n_made = 0;
	return 0;
}

static struct place *add(uint32_t uid, enum place_phase phase, uint64_t since_ms)
{
	struct place *place = &made[n_made++];

	assert_true(n_made <= sizeof(made) / sizeof(made[0]));
	*place = (struct place){.uid = uid, .owner = uid == 0};
	place_enter(place, phase, since_ms);
	places_add(&places, place);
	return place;
}

static void add_many(int n, uint32_t uid, enum place_phase phase, uint64_t since_ms)
{
	for (int i = 0; i < n; i++)
		add(uid, phase, since_ms);
}

static void check(uint32_t uid, enum place_verdict expected, const struct place *expected_victim)
{
	struct place *victim = (struct place *)&places;

	assert_int_equal(places_admit(&places, uid, uid == 0, false, NOW, &victim), expected);
	assert_ptr_equal(victim, expected_victim);
}

static void test_api_places_are_free_at_first(void **state)
{
	(void)state;
	check(0, PLACE_FREE, NULL);
	check(1, PLACE_FREE, NULL);
}

static void test_api_places_of_an_account_are_bounded(void **state)
{
	(void)state;
	add_many(API_READER_MAX - 1, 1, PLACE_FOLLOWING, NOW);
	check(1, PLACE_FREE, NULL);
	add(1, PLACE_ANSWERED, 0);
	check(1, PLACE_ACCOUNT_FULL, NULL); /* a reader's slow answers are not hurried */
	check(2, PLACE_FREE, NULL);
	check(0, PLACE_FREE, NULL);
}

static void test_api_places_account_that_has_all_gives_up_its_own_oldest(void **state)
{
	struct place *oldest;

	(void)state;
	add(2, PLACE_FRESH, 1);
	add_many(API_READER_MAX - 3, 1, PLACE_WAITING, 0);
	add(1, PLACE_FRESH, NOW - 1);
	oldest = add(1, PLACE_IDLE, NOW - 5);
	add(1, PLACE_BODY, NOW - 3);
	check(1, PLACE_EXCHANGED, oldest);
	/* Who goes already is counted no longer, nor asked to go again. */
	oldest->leaving = true;
	check(1, PLACE_FREE, NULL);
}

static void test_api_places_readers_cannot_take_the_owners(void **state)
{
	(void)state;
	for (uint32_t uid = 1; uid <= API_READERS_MAX; uid++)
		add(uid, PLACE_FOLLOWING, 0);
	check(1, PLACE_ALL_TAKEN, NULL);
	check(1000, PLACE_ALL_TAKEN, NULL);
	check(0, PLACE_FREE, NULL);
}

static void test_api_places_owners_leave_the_readers_theirs(void **state)
{
	(void)state;
	add_many(API_OWNERS_MAX, 0, PLACE_FOLLOWING, 0);
	check(0, PLACE_ALL_TAKEN, NULL);
	check(1, PLACE_FREE, NULL);
}

static void test_api_places_whoever_has_most_makes_room(void **state)
{
	struct place *oldest;

	(void)state;
	add(5, PLACE_FRESH, 1); /* older, but its account has one only */
	oldest = add(1, PLACE_FRESH, 10);
	add_many(API_READER_MAX - 1, 1, PLACE_FRESH, 11);
	add_many(API_READER_MAX - 1, 2, PLACE_FRESH, 2);
	add_many(API_READER_MAX, 3, PLACE_FOLLOWING, 0); /* as many, but in use */
	add_many(API_READER_MAX, 4, PLACE_ANSWERED, 0);
	check(6, PLACE_EXCHANGED, oldest);
}

static void test_api_places_nobody_takes_from_an_account_that_has_no_more(void **state)
{
	(void)state;
	for (uint32_t uid = 1; uid <= API_READERS_MAX; uid++)
		add(uid, PLACE_FRESH, uid);
	check(7, PLACE_EXCHANGED, &made[6]); /* but from itself */
	check(1000, PLACE_EXCHANGED, &made[0]);
	add(2, PLACE_FRESH, NOW);
	check(7, PLACE_EXCHANGED, &made[1]);
}

static void test_api_places_owners_make_room_for_each_other(void **state)
{
	struct place *oldest;

	(void)state;
	add_many(API_OWNERS_MAX - 3, 0, PLACE_WAITING, 0);
	add(0, PLACE_ANSWERED, 0);
	add(0, PLACE_BODY, NOW - 1);
	oldest = add(0, PLACE_FRESH, NOW - 2);
	check(0, PLACE_EXCHANGED, oldest);
}

/* Only if nobody is idle, and only once it has had its time. */
static void test_api_places_owners_answers_that_nobody_takes_make_room(void **state)
{
	struct place *stuck, *idle;

	(void)state;
	add_many(API_OWNERS_MAX - 2, 0, PLACE_ANSWERED, NOW - API_PATIENCE_MS + 1);
	stuck = add(0, PLACE_ANSWERED, NOW - API_PATIENCE_MS);
	idle = add(0, PLACE_FRESH, NOW);
	check(0, PLACE_EXCHANGED, idle);
	place_enter(idle, PLACE_WAITING, NOW);
	check(0, PLACE_EXCHANGED, stuck);
	place_enter(stuck, PLACE_FOLLOWING, NOW);
	check(0, PLACE_ALL_TAKEN, NULL);
}

/* Then a newcomer costs somebody else's place, though there are free ones. */
static void test_api_places_are_exchanged_while_descriptors_are_scarce(void **state)
{
	struct place *own = add(1, PLACE_FRESH, NOW - API_GRACE_MS);
	struct place *owner = add(0, PLACE_IDLE, NOW - API_GRACE_MS), *victim;

	(void)state;
	assert_int_equal(places_admit(&places, 1, false, true, NOW, &victim), PLACE_EXCHANGED);
	assert_ptr_equal(victim, own);
	assert_int_equal(places_admit(&places, 0, true, true, NOW, &victim), PLACE_EXCHANGED);
	assert_ptr_equal(victim, owner);
	/* But not one that has just come. */
	place_enter(own, PLACE_FRESH, NOW - API_GRACE_MS + 1);
	place_enter(owner, PLACE_FOLLOWING, NOW);
	assert_int_equal(places_admit(&places, 1, false, true, NOW, &victim), PLACE_NO_FILES);
	assert_null(victim);
	assert_int_equal(places_admit(&places, 0, true, true, NOW, &victim), PLACE_FREE);
	assert_null(victim);
	/* So that these alone do not take all that is left. */
	add_many(API_SCARCE_MAX - 2, 0, PLACE_FRESH, NOW);
	assert_int_equal(places_admit(&places, 0, true, true, NOW, &victim), PLACE_FREE);
	add(0, PLACE_FRESH, NOW);
	assert_int_equal(places_admit(&places, 0, true, true, NOW, &victim), PLACE_EXCHANGED);
}

static void test_api_places_those_refused_have_none(void **state)
{
	(void)state;
	add_many(API_PLACES_MAX, 1, PLACE_REFUSED, NOW);
	add_many(API_READER_MAX - 1, 1, PLACE_WAITING, NOW);
	check(1, PLACE_FREE, NULL);
}

static void test_api_places_that_are_left_are_free(void **state)
{
	(void)state;
	add_many(API_READER_MAX, 1, PLACE_WAITING, NOW);
	check(1, PLACE_ACCOUNT_FULL, NULL);
	places_remove(&places, &made[3]);
	check(1, PLACE_FREE, NULL);
	for (int i = 0; i < API_READER_MAX; i++)
		if (i != 3)
			places_remove(&places, &made[i]);
	assert_null(places.first);
}

static void test_api_places_followers_are_bounded_by_kind_and_account(void **state)
{
	struct place *asks = add(1, PLACE_ANSWERED, NOW), *other = add(99, PLACE_ANSWERED, NOW);
	struct place *owner = add(0, PLACE_ANSWERED, NOW);

	(void)state;
	add_many(API_STREAMS_READER_MAX - 1, 1, PLACE_TELLING, NOW);
	assert_int_equal(places_follow(&places, asks), PLACE_FREE);
	add(1, PLACE_FOLLOWING, NOW);
	assert_int_equal(places_follow(&places, asks), PLACE_ACCOUNT_FULL);
	assert_int_equal(places_follow(&places, other), PLACE_FREE);
	for (uint32_t uid = 2; uid < 2 + API_STREAMS_READERS_MAX - API_STREAMS_READER_MAX; uid++)
		add(uid, PLACE_FOLLOWING, NOW);
	assert_int_equal(places_follow(&places, other), PLACE_ALL_TAKEN);
	assert_int_equal(places_follow(&places, owner), PLACE_FREE);
	add_many(API_STREAMS_OWNERS_MAX, 0, PLACE_FOLLOWING, NOW);
	assert_int_not_equal(places_follow(&places, owner), PLACE_FREE);
}

static void test_api_places_lists_are_bounded_by_kind_and_account(void **state)
{
	struct place *asks = add(1, PLACE_ANSWERED, NOW), *other = add(9, PLACE_ANSWERED, NOW);

	(void)state;
	for (int i = 0; i < API_LISTS_READER_MAX; i++) {
		assert_int_equal(places_list(&places, asks), PLACE_FREE);
		add(1, PLACE_ANSWERED, NOW)->has_list = true;
	}
	assert_int_equal(places_list(&places, asks), PLACE_ACCOUNT_FULL);
	assert_int_equal(places_list(&places, other), PLACE_FREE);
	for (int i = API_LISTS_READER_MAX; i < API_LISTS_READERS_MAX; i++)
		add(2, PLACE_WAITING, NOW)->has_list = true;
	assert_int_equal(places_list(&places, other), PLACE_ALL_TAKEN);
}

static void test_api_places_each_phase_has_its_time(void **state)
{
	static const uint64_t times_ms[_PLACE_PHASE_COUNT] = {
		[PLACE_FRESH] = 10000,   [PLACE_IDLE] = 30000,     [PLACE_BODY] = 10000,
		[PLACE_WAITING] = 0,     [PLACE_ANSWERED] = 60000, [PLACE_FOLLOWING] = 0,
		[PLACE_TELLING] = 30000, [PLACE_REFUSED] = 2000,
	};

	(void)state;
	for (int phase = 0; phase < _PLACE_PHASE_COUNT; phase++)
		assert_int_equal(place_deadline_ms(add(1, (enum place_phase)phase, NOW)),
				 times_ms[phase] ? NOW + times_ms[phase] : UINT64_MAX);
}

/* Whatever has come: nobody has more than is allowed, and root gets in unless all is in use. */
static void test_api_places_random_visitors_never_break_the_limits(void **state)
{
	uint32_t seed = 1;

	(void)state;
	for (uint64_t i = 0; i < 20000; i++) {
		uint32_t uid = (seed = seed * 1664525 + 1013904223) >> 28;
		struct place *victim = NULL, *place;
		size_t n[16] = {}, readers = 0;

		if (n_made < sizeof(made) / sizeof(made[0])) {
			if (places_admit(&places, uid, uid == 0, false, NOW, &victim) <=
			    PLACE_EXCHANGED) {
				if (victim)
					places_remove(&places, victim);
				place = add(uid, (enum place_phase)(seed >> 8) % PLACE_REFUSED, i);
				assert_ptr_equal(places.first, place);
			}
		} else {
			setup(NULL);
		}
		for (const struct place *p = places.first; p; p = p->next) {
			n[p->uid]++;
			readers += p->uid != 0;
		}
		assert_true(n[0] <= API_OWNERS_MAX && readers <= API_READERS_MAX);
		for (int k = 1; k < 16; k++)
			assert_true(n[k] <= API_READER_MAX);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(test_api_places_are_free_at_first),
		TEST(test_api_places_of_an_account_are_bounded),
		TEST(test_api_places_account_that_has_all_gives_up_its_own_oldest),
		TEST(test_api_places_readers_cannot_take_the_owners),
		TEST(test_api_places_owners_leave_the_readers_theirs),
		TEST(test_api_places_whoever_has_most_makes_room),
		TEST(test_api_places_nobody_takes_from_an_account_that_has_no_more),
		TEST(test_api_places_owners_make_room_for_each_other),
		TEST(test_api_places_owners_answers_that_nobody_takes_make_room),
		TEST(test_api_places_are_exchanged_while_descriptors_are_scarce),
		TEST(test_api_places_those_refused_have_none),
		TEST(test_api_places_that_are_left_are_free),
		TEST(test_api_places_followers_are_bounded_by_kind_and_account),
		TEST(test_api_places_lists_are_bounded_by_kind_and_account),
		TEST(test_api_places_each_phase_has_its_time),
		TEST(test_api_places_random_visitors_never_break_the_limits),
	};
#undef TEST

	return cmocka_run_group_tests_name("api_places", tests, NULL, NULL);
}
