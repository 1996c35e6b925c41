/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flood: how many events of one kind, of one service, the history keeps.
 *
 * Some events are provoked by servers, or by whoever has to do with their sockets, as often as
 * these like. FLOOD_BURST of a kind are kept, and after those one every FLOOD_EVERY_MS. The others
 * only pass (event.h): who follows gets them, and they push nothing out of the history. They are
 * counted, and the next one that is kept says how many they were. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define FLOOD_BURST    64
#define FLOOD_EVERY_MS (10 * 60 * 1000)

/* Begins zeroed. */
struct flood {
	unsigned used;     /* of FLOOD_BURST */
	uint64_t since_ms; /* one of .used is free again FLOOD_EVERY_MS after this */
	uint64_t passed;   /* so many since the last one that was kept */
};

/*
 * One more event at @now_ms. True: it is kept; *ret_passed: so many before it were not. False: it
 * passes.
 */
bool flood_keep(struct flood *flood, uint64_t now_ms, uint64_t *ret_passed);

/* None is free any more: the next one will pass, unless it takes its time. */
bool flood_full(const struct flood *flood);
