/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/api_places.h"

static const uint64_t times_ms[_PLACE_PHASE_COUNT] = {
	[PLACE_FRESH] = API_REQUEST_MS,   [PLACE_IDLE] = API_IDLE_MS,
	[PLACE_BODY] = API_REQUEST_MS,    [PLACE_WAITING] = UINT64_MAX,
	[PLACE_ANSWERED] = API_ANSWER_MS, [PLACE_FOLLOWING] = UINT64_MAX,
	[PLACE_TELLING] = API_IDLE_MS,    [PLACE_REFUSED] = API_REFUSAL_MS,
};

/* ---- counting ------------------------------------------------------------------------------- */

static bool has_place(const struct place *place)
{
	return !place->leaving && place->phase != PLACE_REFUSED;
}

static bool follows(const struct place *place)
{
	return has_place(place) &&
	       (place->phase == PLACE_FOLLOWING || place->phase == PLACE_TELLING);
}

static bool is_given_a_list(const struct place *place)
{
	return has_place(place) && place->has_list;
}

struct counts {
	size_t kind;    /* owners, or readers */
	size_t account; /* of that kind, those of one account */
};

static struct counts count(const struct places *places, uint32_t uid, bool owner,
			   bool (*counts)(const struct place *place))
{
	struct counts n = {};

	for (const struct place *p = places->first; p; p = p->next) {
		if (p->owner != owner || !counts(p))
			continue;
		n.kind++;
		n.account += p->uid == uid;
	}
	return n;
}

static enum place_verdict judge(struct counts n, size_t kind_max, size_t account_max)
{
	if (n.account >= account_max)
		return PLACE_ACCOUNT_FULL;
	return n.kind >= kind_max ? PLACE_ALL_TAKEN : PLACE_FREE;
}

/* ---- who has to go -------------------------------------------------------------------------- */

static bool is_idle(const struct place *place)
{
	return has_place(place) && (place->phase == PLACE_FRESH || place->phase == PLACE_IDLE ||
				    place->phase == PLACE_BODY);
}

static bool is_stuck(const struct place *place, uint64_t now_ms)
{
	return has_place(place) && place->phase == PLACE_ANSWERED &&
	       now_ms >= place->since_ms + API_PATIENCE_MS;
}

/* Of two that may go. Those before it in the list are newer. */
static bool is_better(size_t n, bool idle, uint64_t since_ms, size_t best_n,
		      const struct place *best)
{
	if (!best)
		return true;
	if (idle != is_idle(best))
		return idle;
	if (n != best_n)
		return n > best_n;
	return since_ms <= best->since_ms;
}

struct search {
	uint32_t uid; /* the newcomer's */
	bool owner;
	bool of_account; /* only those of its own account */
	size_t least;    /* only those of accounts that have so many places */
	uint64_t idle_ms;
	uint64_t now_ms;
};

static bool may_go(const struct place *place, const struct search *search)
{
	if (place->owner != search->owner || (search->of_account && place->uid != search->uid))
		return false;
	if (is_idle(place))
		return search->now_ms >= place->since_ms + search->idle_ms;
	return search->owner && is_stuck(place, search->now_ms);
}

static struct place *find_victim(const struct places *places, const struct search *search)
{
	struct place *best = NULL;
	size_t best_n = 0;

	for (struct place *p = places->first; p; p = p->next) {
		size_t n;

		if (!may_go(p, search))
			continue;
		n = p->owner ? search->least : count(places, p->uid, false, has_place).account;
		if (n < search->least || !is_better(n, is_idle(p), p->since_ms, best_n, best))
			continue;
		best = p;
		best_n = n;
	}
	return best;
}

/* ---- the questions -------------------------------------------------------------------------- */

/* If there is a place, some who have just come, and may have asked already, need not go for others.
 */
static uint64_t grace_ms(enum place_verdict verdict, struct counts n)
{
	return verdict == PLACE_FREE && n.kind < API_SCARCE_MAX ? API_GRACE_MS : 0;
}

enum place_verdict places_admit(const struct places *places, uint32_t uid, bool owner, bool scarce,
				uint64_t now_ms, struct place **ret_victim)
{
	struct counts n = count(places, uid, owner, has_place);
	enum place_verdict verdict = judge(n, owner ? API_OWNERS_MAX : API_READERS_MAX,
					   owner ? SIZE_MAX : API_READER_MAX);

	struct search search = {.uid = uid,
				.owner = owner,
				.least = n.account + 1,
				.idle_ms = grace_ms(verdict, n),
				.now_ms = now_ms};

	*ret_victim = NULL;
	if (verdict == PLACE_FREE && !scarce)
		return PLACE_FREE;
	if (verdict != PLACE_ACCOUNT_FULL)
		*ret_victim = find_victim(places, &search);
	search.of_account = true;
	search.least = 0;
	if (!*ret_victim)
		*ret_victim = find_victim(places, &search);
	if (*ret_victim)
		return PLACE_EXCHANGED;
	return verdict == PLACE_FREE && !owner ? PLACE_NO_FILES : verdict;
}

enum place_verdict places_follow(const struct places *places, const struct place *place)
{
	return judge(count(places, place->uid, place->owner, follows),
		     place->owner ? API_STREAMS_OWNERS_MAX : API_STREAMS_READERS_MAX,
		     place->owner ? SIZE_MAX : API_STREAMS_READER_MAX);
}

enum place_verdict places_list(const struct places *places, const struct place *place)
{
	return judge(count(places, place->uid, place->owner, is_given_a_list),
		     place->owner ? API_LISTS_OWNERS_MAX : API_LISTS_READERS_MAX,
		     place->owner ? SIZE_MAX : API_LISTS_READER_MAX);
}

/* ---- places --------------------------------------------------------------------------------- */

void places_add(struct places *places, struct place *place)
{
	place->previous = NULL;
	place->next = places->first;
	if (place->next)
		place->next->previous = place;
	places->first = place;
}

void places_remove(struct places *places, struct place *place)
{
	if (place->previous)
		place->previous->next = place->next;
	else
		places->first = place->next;
	if (place->next)
		place->next->previous = place->previous;
	place->next = place->previous = NULL;
}

void place_enter(struct place *place, enum place_phase phase, uint64_t now_ms)
{
	place->phase = phase;
	place->since_ms = now_ms;
}

uint64_t place_deadline_ms(const struct place *place)
{
	uint64_t time_ms = times_ms[place->phase];

	return time_ms == UINT64_MAX ? UINT64_MAX : place->since_ms + time_ms;
}
