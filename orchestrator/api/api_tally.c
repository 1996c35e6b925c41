/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/api_tally.h"

#include <inttypes.h>

#include "common/log.h"

static const struct {
	const char *first, *more;
} texts[_TALLY_KIND_COUNT] = {
	[TALLY_REFUSED] =
		{"a connection was refused, since all that this account may have are in use",
		 "connections were refused, since all were in use"},
	[TALLY_ROOM] = {"a connection without a whole request was closed, to make room for another",
			"connections without a whole request were closed, to make room"},
	[TALLY_SLOW] = {"a connection was closed, since its client was too slow",
			"connections were closed, since their clients were too slow"},
	[TALLY_STREAM] = {"a further follower of events was refused",
			  "further followers of events were refused"},
	[TALLY_LIST] = {"a further list of connections was refused while several are made or sent",
			"further lists of connections were refused"},
	[TALLY_STRANGER] = {"a connection was refused: only root, the daemon's own user and the "
			    "group of \"api\" may read",
			    "connections of accounts that may not read were refused"},
};

void tally_note(struct tally *tally, enum tally_kind kind, uid_t uid, uint64_t now_ms)
{
	if (now_ms < tally->kinds[kind].quiet_until_ms) {
		tally->kinds[kind].untold++;
		return;
	}
	tally->kinds[kind].quiet_until_ms = now_ms + TALLY_QUIET_MS;
	log_warning("api: uid %u: %s; further ones are counted, and told once a minute",
		    (unsigned)uid, texts[kind].first);
}

void tally_tell(struct tally *tally, uint64_t now_ms)
{
	for (size_t k = 0; k < _TALLY_KIND_COUNT; k++) {
		if (!tally->kinds[k].untold || now_ms < tally->kinds[k].quiet_until_ms)
			continue;
		log_warning("api: %" PRIu64 " %s", tally->kinds[k].untold, texts[k].more);
		tally->kinds[k].untold = 0;
		tally->kinds[k].quiet_until_ms = now_ms + TALLY_QUIET_MS;
	}
}

uint64_t tally_deadline_ms(const struct tally *tally)
{
	uint64_t deadline_ms = UINT64_MAX;

	for (size_t k = 0; k < _TALLY_KIND_COUNT; k++)
		if (tally->kinds[k].untold && tally->kinds[k].quiet_until_ms < deadline_ms)
			deadline_ms = tally->kinds[k].quiet_until_ms;
	return deadline_ms;
}
