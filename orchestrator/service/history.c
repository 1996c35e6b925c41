/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service/history.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/vector.h"

const char *past_end_name(enum past_end end)
{
	static const char *const names[] = {
		[PAST_REPLACED] = "replaced",
		[PAST_ROLLED_BACK] = "rolled-back",
		[PAST_FAILED] = "failed",
	};

	assert(end < _PAST_END_COUNT);
	return names[end];
}

void past_free(struct past *past)
{
	if (!past)
		return;
	release_free(past->release);
	service_config_free(past->config);
	vector_free(past->added);
	free(past);
}

struct past *past_new(uint32_t generation, const struct release *release,
		      const struct service_config *config, char *const *added, uint64_t now_ms)
{
	cleanup(past_free) struct past *past = calloc(1, sizeof(*past));

	if (!past)
		return NULL;
	past->generation = generation;
	past->began_ms = now_ms;
	past->release = release_copy(release);
	past->config = service_config_copy(config);
	if (!past->release || !past->config || (added && vector_copy(added, &past->added) < 0))
		return NULL;
	return TAKE_PTR(past);
}

void history_done(struct history *history)
{
	for (size_t k = 0; k < history->n; k++)
		past_free(history->list[k]);
	*history = (struct history){};
}

struct past *history_newest(const struct history *history)
{
	return history->n > 0 ? history->list[history->n - 1] : NULL;
}

struct past *history_find(const struct history *history, uint32_t generation)
{
	for (size_t k = 0; k < history->n; k++)
		if (history->list[k]->generation == generation)
			return history->list[k];
	return NULL;
}

/* ---- one more ------------------------------------------------------------------------------- */

static bool is_same(const struct past *a, const struct past *b)
{
	return release_identical(a->release, b->release) &&
	       service_config_same_release(a->config, b->config);
}

static void drop(struct history *history, size_t k)
{
	past_free(history->list[k]);
	history->n--;
	memmove(&history->list[k], &history->list[k + 1],
		(history->n - k) * sizeof(history->list[0]));
}

/* The oldest goes; of those that a rollback could go to as late as possible. */
static void make_room(struct history *history)
{
	if (history->n < HISTORY_MAX)
		return;
	for (size_t k = 0; k + 1 < history->n; k++)
		if (history->list[k]->end != PAST_REPLACED) {
			drop(history, k);
			return;
		}
	drop(history, 0);
}

void history_commit(struct history *history, struct past *fresh, enum past_end end, uint32_t origin)
{
	struct past *newest = history_newest(history);

	fresh->came_back = origin != 0;
	if (newest && !origin && is_same(newest, fresh)) {
		if (end == PAST_REPLACED)
			fresh->began_ms = newest->began_ms;
		fresh->came_back = newest->came_back;
		drop(history, history->n - 1);
		newest = NULL;
	} else if (newest) {
		newest->ended_ms = fresh->began_ms;
		newest->end = end;
	}
	/* A thrown out one that has served once more is thrown out no longer. */
	for (size_t k = history->n; k > 0; k--) {
		const struct past *past = history->list[k - 1];

		if (past->generation == origin || (past != newest && is_same(past, fresh)))
			drop(history, k - 1);
	}
	make_room(history);
	history->list[history->n++] = fresh;
}

/* ---- back ----------------------------------------------------------------------------------- */

const struct past *history_target(const struct history *history,
				  const struct service_config *config)
{
	for (size_t k = history->n; k > 1; k--) {
		const struct past *past = history->list[k - 2];

		if (past->end == PAST_REPLACED && past->config->uid == config->uid)
			return past;
	}
	return NULL;
}

bool history_has_thrown_out(const struct history *history, const struct service_config *config,
			    const struct release *release)
{
	const struct past *newest = history_newest(history);

	if (!newest || !newest->came_back)
		return false;
	for (size_t k = 0; k + 1 < history->n; k++) {
		const struct past *past = history->list[k];

		if (past->end == PAST_ROLLED_BACK &&
		    service_config_same_release(past->config, config) &&
		    (!release || release_identical(past->release, release)))
			return true;
	}
	return false;
}
