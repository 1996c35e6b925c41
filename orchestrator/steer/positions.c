/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/positions.h"

#include <assert.h>
#include <errno.h>

/* At the end of a group, even of one without any real socket: one can be closed, one is left. */
#define TAIL_MIN 2

struct census {
	size_t real, decoys;
	size_t lowest; /* decoy; positions->n: there is none */
	size_t tail;   /* decoys behind the last real socket */
};

static struct census count(const struct positions *positions)
{
	struct census c = {.lowest = positions->n};

	for (size_t i = 0; i < positions->n; i++) {
		if (!positions->list[i].decoy) {
			c.real++;
			c.tail = 0;
			continue;
		}
		if (c.decoys++ == 0)
			c.lowest = i;
		c.tail++;
	}
	return c;
}

int positions_find(const struct positions *positions, uint64_t cookie)
{
	for (size_t i = 0; i < positions->n; i++)
		if (positions->list[i].cookie == cookie)
			return (int)i;
	return -ENOENT;
}

/* What the kernel does when a member goes. */
static void take_out(struct positions *positions, size_t position)
{
	positions->list[position] = positions->list[positions->n - 1];
	positions->n--;
}

static void append(struct positions *positions, struct position position)
{
	assert(positions->n < POSITIONS_MAX);
	positions->list[positions->n++] = position;
}

/* ---- what is left to do --------------------------------------------------------------------- */

enum positions_step positions_next(const struct positions *positions, uint64_t *ret_cookie)
{
	struct census c = count(positions);
	size_t tail = c.real > TAIL_MIN ? c.real : TAIL_MIN;
	const struct position *last;

	if (positions->n == 0)
		return POSITIONS_OPEN;
	last = &positions->list[positions->n - 1];
	/* The last one moves to where the decoy was. With one decoy left the group keeps that. */
	if (!last->decoy && !last->lost && c.decoys > 1) {
		*ret_cookie = positions->list[c.lowest].cookie;
		return POSITIONS_CLOSE;
	}
	if (c.tail < tail)
		return POSITIONS_OPEN;
	if (c.tail > tail) {
		*ret_cookie = last->cookie;
		return POSITIONS_CLOSE;
	}
	return POSITIONS_DONE;
}

/* Do all the steps that are left, on paper. Do they fit? */
static bool fits(struct positions positions)
{
	enum positions_step step;
	uint64_t cookie;

	while ((step = positions_next(&positions, &cookie)) != POSITIONS_DONE) {
		if (step == POSITIONS_OPEN && positions.n == POSITIONS_MAX)
			return false;
		if (step == POSITIONS_OPEN)
			positions_opened(&positions, UINT64_MAX);
		else
			positions_closed(&positions, cookie);
	}
	return true;
}

/* ---- what has happened ---------------------------------------------------------------------- */

int positions_added(struct positions *positions, uint64_t cookie)
{
	assert(positions_find(positions, cookie) < 0);
	if (positions->n == POSITIONS_MAX)
		return -ENOSPC;
	append(positions, (struct position){.cookie = cookie});
	if (fits(*positions))
		return 0;
	positions->n--;
	return -ENOSPC;
}

void positions_removed(struct positions *positions, uint64_t cookie)
{
	int position = positions_find(positions, cookie);

	if (position >= 0 && !positions->list[position].decoy)
		take_out(positions, (size_t)position);
}

void positions_opened(struct positions *positions, uint64_t cookie)
{
	append(positions, (struct position){.cookie = cookie, .decoy = true});
}

void positions_closed(struct positions *positions, uint64_t cookie)
{
	int position = positions_find(positions, cookie);

	if (position >= 0 && positions->list[position].decoy)
		take_out(positions, (size_t)position);
}

void positions_found(struct positions *positions, uint64_t cookie, size_t position)
{
	int before = positions_find(positions, cookie);
	struct position displaced;

	if (before < 0 || position >= positions->n)
		return;
	displaced = positions->list[position];
	if (!displaced.decoy && displaced.cookie != cookie)
		displaced.lost = true;
	positions->list[position] = positions->list[before];
	if ((size_t)before != position)
		positions->list[before] = displaced;
	positions->list[position].lost = false;
}
