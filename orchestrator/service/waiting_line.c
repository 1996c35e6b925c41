/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service/waiting_line.h"

#include <assert.h>
#include <stddef.h>

static bool has_room(const struct waiting_line *line)
{
	return line->max == 0 || line->taken < line->max;
}

/* One at a time: whoever takes its turn calls the next. */
static void call_first(const struct waiting_line *line)
{
	if (line->first && has_room(line))
		line->first->on_turn(line->first->userdata);
}

/* Behind all that have asked before: mostly at the end. */
static void stand(struct waiting_line *line, struct turn *turn)
{
	struct turn *before = line->end;

	if (turn->waits)
		return;
	while (before && before->number > turn->number)
		before = before->before;
	turn->before = before;
	turn->after = before ? before->after : line->first;
	*(before ? &before->after : &line->first) = turn;
	*(turn->after ? &turn->after->before : &line->end) = turn;
	turn->waits = true;
}

static void leave(struct waiting_line *line, struct turn *turn)
{
	if (!turn->waits)
		return;
	*(turn->before ? &turn->before->after : &line->first) = turn->after;
	*(turn->after ? &turn->after->before : &line->end) = turn->before;
	turn->before = turn->after = NULL;
	turn->waits = false;
}

void waiting_line_ask(struct waiting_line *line, struct turn *turn)
{
	if (turn->number == 0)
		turn->number = ++line->last;
}

bool waiting_line_is_free(const struct waiting_line *line, const struct turn *turn)
{
	if (turn->taken)
		return true;
	return has_room(line) && (line->first == turn || !line->first ||
				  (turn->number && turn->number < line->first->number));
}

bool waiting_line_take(struct waiting_line *line, struct turn *turn)
{
	assert(turn->number > 0);
	if (turn->taken)
		return true;
	if (!waiting_line_is_free(line, turn)) {
		stand(line, turn);
		return false;
	}
	leave(line, turn);
	turn->taken = true;
	line->taken++;
	call_first(line);
	return true;
}

void waiting_line_step_back(struct waiting_line *line, struct turn *turn)
{
	if (!turn->taken && !turn->waits)
		return;
	if (turn->taken) {
		assert(line->taken > 0);
		line->taken--;
	}
	turn->taken = false;
	leave(line, turn);
	call_first(line);
}

void waiting_line_end(struct waiting_line *line, struct turn *turn)
{
	waiting_line_step_back(line, turn);
	turn->number = 0;
}

void waiting_line_set_max(struct waiting_line *line, uint32_t max)
{
	line->max = max;
	call_first(line);
}
