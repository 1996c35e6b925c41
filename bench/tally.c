/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/tally.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[_KIND_COUNT] = {
	[KIND_SHORT] = "short",
	[KIND_KEEPALIVE] = "keepalive",
	[KIND_POST] = "slow_post",
	[KIND_IDLE] = "idle",
};

static const char *const outcome_names[_OUTCOME_COUNT] = {
	[OUTCOME_OK] = "ok",
	[OUTCOME_REFUSED] = "refused",
	[OUTCOME_RESET] = "reset",
	[OUTCOME_CLOSED_EARLY] = "closed_early",
	[OUTCOME_TIMED_OUT] = "timed_out",
	[OUTCOME_WRONG_STATUS] = "wrong_status",
	[OUTCOME_WRONG_BODY] = "wrong_body",
	[OUTCOME_STUCK] = "stuck",
	[OUTCOME_OTHER] = "other",
	[OUTCOME_CLIENT_ERROR] = "client_errors",
};

const char *kind_name(enum kind kind)
{
	return kind_names[kind];
}

const char *outcome_name(enum outcome outcome)
{
	return outcome_names[outcome];
}

bool outcome_is_lost(enum outcome outcome)
{
	return outcome != OUTCOME_OK && outcome != OUTCOME_CLIENT_ERROR;
}

int tally_init(struct tally *tally, uint64_t now_us)
{
	*tally = (struct tally){.begin_us = now_us};
	tally->phases = calloc(TALLY_PHASES_MAX, sizeof(*tally->phases));
	tally->bodies = calloc(TALLY_PHASES_MAX * TALLY_BODIES_MAX, sizeof(*tally->bodies));
	tally->swaps = calloc(TALLY_SWAPS_MAX, sizeof(*tally->swaps));
	if (!tally->phases || !tally->bodies || !tally->swaps) {
		tally_done(tally);
		return -ENOMEM;
	}
	return tally_phase(tally, "start", now_us);
}

void tally_done(struct tally *tally)
{
	free(tally->phases);
	free(tally->bodies);
	free(tally->swaps);
	*tally = (struct tally){0};
}

static bool swap_under_way(const struct tally *tally)
{
	return tally->n_swaps && tally->swaps[tally->n_swaps - 1].end_us == 0;
}

int tally_swap_begin(struct tally *tally, uint64_t now_us)
{
	if (swap_under_way(tally))
		return -EALREADY;
	if (tally->n_swaps == TALLY_SWAPS_MAX)
		return -ENOSPC;
	tally->swaps[tally->n_swaps++] = (struct tally_swap){.begin_us = now_us};
	return 0;
}

int tally_swap_end(struct tally *tally, uint64_t now_us)
{
	if (!swap_under_way(tally))
		return -ENOENT;
	tally->swaps[tally->n_swaps - 1].end_us = now_us;
	return 0;
}

int tally_phase(struct tally *tally, const char *name, uint64_t now_us)
{
	struct tally_phase *phase;

	if (!*name || strlen(name) >= TALLY_NAME_MAX)
		return -EINVAL;
	if (tally->n_phases == TALLY_PHASES_MAX)
		return -ENOSPC;
	phase = &tally->phases[tally->n_phases];
	*phase = (struct tally_phase){
		.begin_us = now_us,
		.bodies = &tally->bodies[tally->n_phases * TALLY_BODIES_MAX],
	};
	memcpy(phase->name, name, strlen(name));
	tally->n_phases++;
	return 0;
}

uint32_t tally_connection_begin(struct tally *tally)
{
	uint32_t phase = (uint32_t)(tally->n_phases - 1);

	tally->phases[phase].connections++;
	return phase;
}

void tally_request_begin(struct tally *tally, enum kind kind, uint64_t now_us,
			 struct tally_mark *ret)
{
	tally->requests[kind]++;
	*ret = (struct tally_mark){
		.kind = kind,
		.phase = (uint32_t)(tally->n_phases - 1),
		.begin_us = now_us,
		.swaps = tally->n_swaps,
		.inside = swap_under_way(tally),
	};
}

static void count_errno(struct tally *tally, int code, uint64_t n)
{
	for (size_t i = 0; i < tally->n_errnos; i++) {
		if (tally->errnos[i].code == code) {
			tally->errnos[i].count += n;
			return;
		}
	}
	if (tally->n_errnos < TALLY_ERRNOS_MAX) {
		tally->errnos[tally->n_errnos].code = code;
		tally->errnos[tally->n_errnos++].count = n;
	}
}

void tally_request_end(struct tally *tally, const struct tally_mark *mark, enum outcome outcome,
		       uint64_t now_us, uint64_t latency_us, int code)
{
	/* The swap may have begun, and even ended, while the request was under way. */
	bool inside = mark->inside || mark->swaps != tally->n_swaps;
	struct tally_phase *phase = &tally->phases[mark->phase];

	assert(mark->kind < _KIND_COUNT && outcome < _OUTCOME_COUNT);
	assert(mark->phase < tally->n_phases);
	tally->outcomes[mark->kind][outcome]++;
	tally->end_us = now_us;
	if (outcome == OUTCOME_OK) {
		phase->ok++;
		histogram_add(inside ? &tally->inside : &tally->outside, latency_us);
	} else if (outcome == OUTCOME_CLIENT_ERROR) {
		phase->client_errors++;
	} else {
		phase->lost++;
		tally->lost_inside += inside;
	}
	if (outcome == OUTCOME_OTHER || outcome == OUTCOME_CLIENT_ERROR)
		count_errno(tally, code, 1);
}

const char *tally_trim(const char *text, size_t *length)
{
	while (*length && isspace((unsigned char)text[*length - 1]))
		(*length)--;
	while (*length && isspace((unsigned char)*text)) {
		text++;
		(*length)--;
	}
	return text;
}

static bool body_is(const struct tally_body *body, const char *text, size_t length)
{
	return body->length == length && memcmp(body->text, text, length) == 0;
}

static void count_body(struct tally_phase *phase, const char *text, size_t length, uint64_t n)
{
	if (phase->n_bodies && body_is(&phase->bodies[phase->last_body], text, length)) {
		phase->bodies[phase->last_body].count += n;
		return;
	}
	for (size_t i = 0; i < phase->n_bodies; i++) {
		if (body_is(&phase->bodies[i], text, length)) {
			phase->bodies[i].count += n;
			phase->last_body = i;
			return;
		}
	}
	if (phase->n_bodies == TALLY_BODIES_MAX) {
		phase->other_bodies += n;
		return;
	}
	memcpy(phase->bodies[phase->n_bodies].text, text, length);
	phase->bodies[phase->n_bodies].length = length;
	phase->bodies[phase->n_bodies].count = n;
	phase->last_body = phase->n_bodies++;
}

void tally_body(struct tally *tally, uint32_t phase, const char *text, size_t length)
{
	text = tally_trim(text, &length);
	if (length > TALLY_BODY_KEPT)
		length = TALLY_BODY_KEPT;
	count_body(&tally->phases[phase], text, length, 1);
}

bool tally_wants_sample(const struct tally *tally)
{
	return tally->n_samples < TALLY_SAMPLES_MAX;
}

void tally_sample(struct tally *tally, const char *format, ...)
{
	va_list arguments;

	if (!tally_wants_sample(tally))
		return;
	va_start(arguments, format);
	vsnprintf(tally->samples[tally->n_samples++], TALLY_SAMPLE_MAX, format, arguments);
	va_end(arguments);
}

/* ---- one of several ------------------------------------------------------------------------- */

static void merge_phase(struct tally_phase *phase, const struct tally_phase *from)
{
	phase->connections += from->connections;
	phase->ok += from->ok;
	phase->lost += from->lost;
	phase->client_errors += from->client_errors;
	phase->other_bodies += from->other_bodies;
	for (size_t i = 0; i < from->n_bodies; i++)
		count_body(phase, from->bodies[i].text, from->bodies[i].length,
			   from->bodies[i].count);
}

void tally_merge(struct tally *tally, const struct tally *from)
{
	assert(tally->n_phases == from->n_phases && tally->n_swaps == from->n_swaps);
	for (size_t kind = 0; kind < _KIND_COUNT; kind++) {
		tally->requests[kind] += from->requests[kind];
		tally->connections[kind] += from->connections[kind];
		for (size_t i = 0; i < _OUTCOME_COUNT; i++)
			tally->outcomes[kind][i] += from->outcomes[kind][i];
	}
	tally->lost_inside += from->lost_inside;
	tally->retried += from->retried;
	tally->idle_closed += from->idle_closed;
	tally->early_answers += from->early_answers;
	tally->silent_closed += from->silent_closed;
	tally->silent_reset += from->silent_reset;
	tally->silent_open += from->silent_open;
	tally->commands_refused += from->commands_refused;
	if (from->end_us > tally->end_us)
		tally->end_us = from->end_us;
	histogram_merge(&tally->inside, &from->inside);
	histogram_merge(&tally->outside, &from->outside);
	for (size_t i = 0; i < from->n_phases; i++)
		merge_phase(&tally->phases[i], &from->phases[i]);
	for (size_t i = 0; i < from->n_errnos; i++)
		count_errno(tally, from->errnos[i].code, from->errnos[i].count);
	for (size_t i = 0; i < from->n_samples; i++)
		tally_sample(tally, "%s", from->samples[i]);
}

/* ---- sums ----------------------------------------------------------------------------------- */

static bool includes(enum kind wanted, size_t kind)
{
	return wanted == _KIND_COUNT || wanted == kind;
}

uint64_t tally_requests(const struct tally *tally, enum kind kind)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < _KIND_COUNT; i++)
		sum += includes(kind, i) ? tally->requests[i] : 0;
	return sum;
}

uint64_t tally_outcome(const struct tally *tally, enum kind kind, enum outcome outcome)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < _KIND_COUNT; i++)
		sum += includes(kind, i) ? tally->outcomes[i][outcome] : 0;
	return sum;
}

uint64_t tally_lost(const struct tally *tally, enum kind kind)
{
	uint64_t sum = 0;

	for (enum outcome outcome = 0; outcome < _OUTCOME_COUNT; outcome++)
		sum += outcome_is_lost(outcome) ? tally_outcome(tally, kind, outcome) : 0;
	return sum;
}

uint64_t tally_connections(const struct tally *tally)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < _KIND_COUNT; i++)
		sum += tally->connections[i];
	return sum;
}

uint64_t tally_under_way(const struct tally *tally)
{
	return tally_requests(tally, _KIND_COUNT) - tally_lost(tally, _KIND_COUNT) -
	       tally_outcome(tally, _KIND_COUNT, OUTCOME_OK) -
	       tally_outcome(tally, _KIND_COUNT, OUTCOME_CLIENT_ERROR);
}

int tally_exit_status(const struct tally *tally)
{
	if (tally_lost(tally, _KIND_COUNT))
		return 1;
	return tally_outcome(tally, _KIND_COUNT, OUTCOME_CLIENT_ERROR) ? 3 : 0;
}
