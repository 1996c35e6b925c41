/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/expect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench/tally.h"

static int parse_statuses(struct expect *expect, const char *text, struct error *err)
{
	const char *next = text;

	for (;;) {
		char *end;
		long status = strtol(next, &end, 10);

		if (*next < '1' || *next > '9' || end != next + 3 || status > 599)
			return error_text(err, -EINVAL, "\"%s\" is not a list of statuses", text);
		if (expect->n_statuses == EXPECT_STATUSES_MAX)
			return error_text(err, -EINVAL, "more than %d statuses",
					  EXPECT_STATUSES_MAX);
		expect->statuses[expect->n_statuses++] = (int)status;
		if (*end == '\0')
			return 0;
		if (*end != ',')
			return error_text(err, -EINVAL, "\"%s\" is not a list of statuses", text);
		next = end + 1;
	}
}

int expect_init(struct expect *expect, const char *statuses, const char *body, struct error *err)
{
	int r;

	memset(expect, 0, sizeof(*expect));
	r = parse_statuses(expect, statuses, err);
	if (r < 0 || !body)
		return r;
	r = regcomp(&expect->body, body, REG_EXTENDED);
	if (r != 0) {
		char reason[128];

		regerror(r, &expect->body, reason, sizeof(reason));
		return error_text(err, -EINVAL, "\"%s\": %s", body, reason);
	}
	expect->has_body = true;
	return 0;
}

void expect_done(struct expect *expect)
{
	if (expect->has_body)
		regfree(&expect->body);
	memset(expect, 0, sizeof(*expect));
}

bool expect_status(const struct expect *expect, int status)
{
	for (size_t i = 0; i < expect->n_statuses; i++)
		if (expect->statuses[i] == status)
			return true;
	return false;
}

static bool matches(const struct expect *expect, const char *text, size_t length)
{
	/* REG_STARTEND gives the length, and makes a NUL an ordinary character. */
	regmatch_t match = {.rm_so = 0, .rm_eo = (regoff_t)length};
	char copy[EXPECT_BODY_MAX + 1];

	if (length > EXPECT_BODY_MAX)
		return false;
	/* All the same regexec(3) must get a string: sanitizers look for its end. */
	memcpy(copy, text, length);
	copy[length] = '\0';
	text = copy;
	/*
	 * Matches are leftmost-longest: if the whole text can match, the match is the whole text.
	 */
	return regexec(&expect->body, text, 1, &match, REG_STARTEND) == 0 && match.rm_so == 0 &&
	       match.rm_eo == (regoff_t)length;
}

bool expect_body(const struct expect *expect, struct expect_verdicts *verdicts, const char *body,
		 size_t length, bool whole)
{
	uint32_t hash = 2166136261; /* FNV-1a */
	size_t slot;

	if (!expect->has_body)
		return true;
	if (!whole)
		return false;
	body = tally_trim(body, &length);
	if (length > EXPECT_CACHED_MAX)
		return matches(expect, body, length);
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)body[i]) * 16777619;
	slot = (hash ^ hash >> 16) & (EXPECT_CACHE - 1);
	if (!verdicts->cache[slot].known || verdicts->cache[slot].length != length ||
	    memcmp(verdicts->cache[slot].text, body, length) != 0) {
		memcpy(verdicts->cache[slot].text, body, length);
		verdicts->cache[slot].length = length;
		verdicts->cache[slot].matches = matches(expect, body, length);
		verdicts->cache[slot].known = true;
	}
	return verdicts->cache[slot].matches;
}
