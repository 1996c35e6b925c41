/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_turns: whose answer is made next. Pure: api.c has the queue and the clock.
 *
 * To make an answer takes the loop's time: a list of 100,000 connections most of a second. So those
 * who ask wait in lanes, one answer is made in a turn of the loop, and everything else of the
 * daemon's comes in between. The lanes take turns. After an answer of a limited lane the lane rests
 * for TURNS_REST times as long as that took: lists, and all that readers ask, never have more than
 * a fifth of the loop's time each.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TURNS_REST 4

enum turn_lane {
	TURN_OWNERS,
	TURN_OWNERS_LISTS, /* limited, as those that follow */
	TURN_READERS,
	TURN_READERS_LISTS,
	_TURN_LANE_COUNT,
};

/* Somebody who waits. */
struct turn {
	enum turn_lane lane;
	bool waits;
	struct turn *next;
};

struct turns {
	struct lane {
		struct turn *first, *last;
		uint64_t rests_until_us;
	} lanes[_TURN_LANE_COUNT];
	enum turn_lane latest;
};

/* Wait behind all others in @lane. */
void turns_add(struct turns *turns, struct turn *turn, enum turn_lane lane);

/* Wait no longer; it need not be waiting. */
void turns_remove(struct turns *turns, struct turn *turn);

/* Take out who is next. NULL: nobody, until turns_next_us(). */
struct turn *turns_take(struct turns *turns, uint64_t now_us);

/* When somebody may be next. UINT64_MAX: nobody waits. */
uint64_t turns_next_us(const struct turns *turns);

/* An answer was made for somebody in @lane, from @began_us to @ended_us. */
void turns_charge(struct turns *turns, enum turn_lane lane, uint64_t began_us, uint64_t ended_us);
