/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service/hold.h"

#include <assert.h>

/* How much too late a connection may be found too old. */
static uint64_t tolerance_ms(const struct hold *hold)
{
	return hold->hold_ms < HOLD_SAMPLES ? 1 : hold->hold_ms / HOLD_SAMPLES;
}

void hold_init(struct hold *hold, uint64_t hold_ms)
{
	assert(hold_ms > 0);
	*hold = (struct hold){.hold_ms = hold_ms};
}

/*
 * A sample is reckoned from its end: its members have all arrived by then, none is reset too early.
 * They have arrived after its beginning, which is at most the tolerance before; so it is enough to
 * be there when the oldest one's time is up, and to begin each sample in time.
 */
uint64_t hold_interval_ms(const struct hold *hold)
{
	uint64_t interval_ms = tolerance_ms(hold);
	uint64_t due_ms;

	if (hold->n == 0)
		return interval_ms;
	/* Later than the last look, or it would not be there any more. */
	due_ms = hold->samples[hold->first].at_ms + hold->hold_ms - hold->looked_ms;
	return due_ms < interval_ms ? due_ms : interval_ms;
}

static size_t newest_sample(const struct hold *hold)
{
	return (hold->first + hold->n + HOLD_RING - 1) % HOLD_RING;
}

/* How many had ever arrived at the last look. */
static uint64_t known_arrivals(const struct hold *hold)
{
	return hold->n ? hold->samples[newest_sample(hold)].arrived : hold->old;
}

/*
 * Add to the newest sample what has arrived since the last look, as long as it does not become
 * longer than the tolerance; else begin another one. So each begins where the one before it had to
 * end, and no two fit into the tolerance together: their number is bounded, however often somebody
 * looks. Should it be too large nevertheless (looks have been late, by a lot), the newest sample
 * grows: late, but not too early.
 */
static void record(struct hold *hold, uint64_t now_ms, uint64_t arrived)
{
	size_t newest = newest_sample(hold);

	if (arrived <= known_arrivals(hold))
		return;
	if (hold->n == 0 ||
	    (now_ms - hold->samples[newest].since_ms > tolerance_ms(hold) && hold->n < HOLD_RING)) {
		newest = (hold->first + hold->n++) % HOLD_RING;
		hold->samples[newest].since_ms = hold->looked_ms ? hold->looked_ms : now_ms;
	}
	hold->samples[newest].at_ms = now_ms;
	hold->samples[newest].arrived = arrived;
}

uint32_t hold_look(struct hold *hold, uint64_t now_ms, uint32_t queued)
{
	if (now_ms < hold->looked_ms)
		now_ms = hold->looked_ms; /* a clock that goes back makes nobody older */
	/* Whoever is missing has left without a word, and from the head as always. */
	if (hold->left + queued < known_arrivals(hold))
		hold->left = known_arrivals(hold) - queued;
	record(hold, now_ms, hold->left + queued);
	hold->looked_ms = now_ms;
	while (hold->n > 0 && now_ms - hold->samples[hold->first].at_ms >= hold->hold_ms) {
		hold->old = hold->samples[hold->first].arrived;
		hold->first = (hold->first + 1) % HOLD_RING;
		hold->n--;
	}
	return hold->old > hold->left ? (uint32_t)(hold->old - hold->left) : 0;
}

void hold_left(struct hold *hold, uint32_t n)
{
	hold->left += n;
}
