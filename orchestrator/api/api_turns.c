/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/api_turns.h"

#include <assert.h>

void turns_add(struct turns *turns, struct turn *turn, enum turn_lane lane)
{
	struct lane *l = &turns->lanes[lane];

	assert(!turn->waits);
	turn->lane = lane;
	turn->waits = true;
	turn->next = NULL;
	if (l->last)
		l->last->next = turn;
	else
		l->first = turn;
	l->last = turn;
}

void turns_remove(struct turns *turns, struct turn *turn)
{
	struct lane *l = &turns->lanes[turn->lane];
	struct turn *before = NULL;

	if (!turn->waits)
		return;
	for (struct turn *t = l->first; t != turn; t = t->next)
		before = t;
	if (before)
		before->next = turn->next;
	else
		l->first = turn->next;
	if (l->last == turn)
		l->last = before;
	turn->next = NULL;
	turn->waits = false;
}

struct turn *turns_take(struct turns *turns, uint64_t now_us)
{
	for (size_t k = 1; k <= _TURN_LANE_COUNT; k++) {
		enum turn_lane lane = (turns->latest + k) % _TURN_LANE_COUNT;
		struct turn *turn = turns->lanes[lane].first;

		if (!turn || turns->lanes[lane].rests_until_us > now_us)
			continue;
		turns_remove(turns, turn);
		turns->latest = lane;
		return turn;
	}
	return NULL;
}

uint64_t turns_next_us(const struct turns *turns)
{
	uint64_t next_us = UINT64_MAX;

	for (size_t k = 0; k < _TURN_LANE_COUNT; k++) {
		const struct lane *lane = &turns->lanes[k];

		if (lane->first && lane->rests_until_us < next_us)
			next_us = lane->rests_until_us;
	}
	return next_us;
}

void turns_charge(struct turns *turns, enum turn_lane lane, uint64_t began_us, uint64_t ended_us)
{
	if (lane != TURN_OWNERS)
		turns->lanes[lane].rests_until_us = ended_us + TURNS_REST * (ended_us - began_us);
}
