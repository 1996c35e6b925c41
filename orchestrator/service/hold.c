/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service/hold.h"

#include <assert.h>

/* By how much a connection may be found too late. */
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
 * The age of a sample counts from its end, by which all its connections had arrived: none is found
 * too early. They arrived after its beginning, which is at most the tolerance before its end. So it
 * is enough to look when the oldest sample is due, and to begin each sample in time.
 */
uint64_t hold_interval_ms(const struct hold *hold)
{
	uint64_t interval_ms = tolerance_ms(hold);
	uint64_t due_ms;

	if (hold->n == 0)
		return interval_ms;
	/* It is due after the last look, which would have dropped it otherwise. */
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
 * Add the connections that have arrived since the last look to the newest sample, unless that makes
 * it longer than the tolerance; then begin another sample. So a sample begins when the one before
 * it had to end, and two in a row are longer than the tolerance. That bounds their number, however
 * often somebody looks. If there are too many nevertheless, because looks came very late, the
 * newest sample grows: its connections are found late, but not too early.
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

/* Of what has left in full nobody is found any more, and its time is nobody else's. */
void hold_left(struct hold *hold, uint32_t n)
{
	hold->left += n;
	while (hold->n > 0 && hold->samples[hold->first].arrived <= hold->left) {
		hold->old = hold->samples[hold->first].arrived;
		hold->first = (hold->first + 1) % HOLD_RING;
		hold->n--;
	}
}

uint32_t hold_look(struct hold *hold, uint64_t now_ms, uint32_t queued)
{
	assert(hold->hold_ms > 0);
	if (now_ms < hold->looked_ms)
		now_ms = hold->looked_ms; /* the clock went back */
	/* Fewer than are known: some have left without hold_left(), from the head as always. */
	if (hold->left + queued < known_arrivals(hold))
		hold_left(hold, (uint32_t)(known_arrivals(hold) - queued - hold->left));
	record(hold, now_ms, hold->left + queued);
	hold->looked_ms = now_ms;
	while (hold->n > 0 && now_ms - hold->samples[hold->first].at_ms >= hold->hold_ms) {
		hold->old = hold->samples[hold->first].arrived;
		hold->first = (hold->first + 1) % HOLD_RING;
		hold->n--;
	}
	return hold->old > hold->left ? (uint32_t)(hold->old - hold->left) : 0;
}

uint64_t hold_longest_ms(const struct hold *hold)
{
	if (hold->old > hold->left)
		return hold->hold_ms;
	return hold->n ? hold->looked_ms - hold->samples[hold->first].since_ms : 0;
}
