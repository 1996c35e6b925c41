/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waiting_line: no more than so many services start servers at a time ("rollouts_max"); the others
 * wait in a line, in the order in which they have asked. Pure.
 *
 * Each service has a turn. It asks for it with waiting_line_ask(), takes it with
 * waiting_line_take() when nothing else is in its way, and ends it when its servers are there.
 * Whoever cannot take it stands in the line, and .on_turn is called when it is worth another try.
 * Who is hindered by something else steps back: it does not hinder those behind it, and keeps its
 * number.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Zeroed, but for .on_turn and .userdata. */
struct turn {
	void (*on_turn)(void *userdata); /* must not call this module */
	void *userdata;
	uint64_t number; /* the lower one is first; 0: it has not asked */
	bool taken;
	bool waits; /* stands in the line: */
	struct turn *before, *after;
};

/* Zeroed, but for .max. */
struct waiting_line {
	uint32_t max;   /* so many may be taken at a time; 0: any number */
	uint32_t taken; /* may be more than .max, if that was lowered */
	uint64_t last;  /* number that was given */
	struct turn *first, *end;
};

/* The number in the line is that of the first time since the turn ended. */
void waiting_line_ask(struct waiting_line *line, struct turn *turn);

/* Would waiting_line_take() succeed? Of one that has not asked: if it asked now. */
bool waiting_line_is_free(const struct waiting_line *line, const struct turn *turn);

/* Take it, also if it is taken already. False: it stands in the line now. It must have asked. */
bool waiting_line_take(struct waiting_line *line, struct turn *turn);

/* It is not taken any more, and not in the line. It keeps its number. */
void waiting_line_step_back(struct waiting_line *line, struct turn *turn);

/* It is over, or not wanted any more. */
void waiting_line_end(struct waiting_line *line, struct turn *turn);

/* What is taken stays taken. */
void waiting_line_set_max(struct waiting_line *line, uint32_t max);
