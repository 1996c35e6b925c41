/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_tally: says in the log that a limit of the API has kept somebody out. The first time is told
 * at once, with the account; those within the next TALLY_QUIET_MS are counted, and told as one
 * number. So a flood of clients makes a line a minute.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#define TALLY_QUIET_MS 60000

enum tally_kind {
	TALLY_REFUSED,  /* no place */
	TALLY_ROOM,     /* closed for another */
	TALLY_SLOW,     /* closed, since its time was over */
	TALLY_STREAM,   /* may not follow events as well */
	TALLY_LIST,     /* may not have a list of connections as well */
	TALLY_STRANGER, /* may not read */
	_TALLY_KIND_COUNT,
};

struct tally {
	struct {
		uint64_t quiet_until_ms;
		uint64_t untold;
	} kinds[_TALLY_KIND_COUNT];
};

void tally_note(struct tally *tally, enum tally_kind kind, uid_t uid, uint64_t now_ms);

/* Tell the numbers whose time has come. */
void tally_tell(struct tally *tally, uint64_t now_ms);

/* When tally_tell() has something to tell. UINT64_MAX: not without a further tally_note(). */
uint64_t tally_deadline_ms(const struct tally *tally);
