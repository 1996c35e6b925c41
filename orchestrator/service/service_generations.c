/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "orchestrator/service/service_internal.h"
#include "orchestrator/service/service_twins.h"

/* ---- generations ---------------------------------------------------------------------------- */

static void on_instance_change(void *userdata)
{
	service_poke(userdata);
}

/* A server that has ended is told with its last words. */
static void on_instance_note(void *userdata, const struct instance *i, enum event_kind kind,
			     const char *message)
{
	struct event event = {
		.kind = kind,
		.passing = kind == EVENT_PROBE && i->told_bad,
		.message = message,
		.has_instance = true,
		.generation = i->generation,
		.instance = i->index,
	};

	if (kind == EVENT_EXITED && i->tail[0]) {
		event.tail = i->tail;
		event.tail_stdout = i->tail_stdout;
		event.tail_realtime_ms = i->tail_realtime_ms;
	}
	if (kind == EVENT_SUCCEEDED) {
		event.pid = (int)i->pid;
		event.succeeds = (int)i->succeeded_pid;
	}
	service_tell(userdata, &event);
}

static void on_instance_reopened(void *userdata, const struct instance *i,
				 const struct report *report)
{
	service_reopened(userdata, i, report);
}

const struct instance_callbacks service_instance_callbacks = {
	.on_change = on_instance_change,
	.on_note = on_instance_note,
	.on_reopened = on_instance_reopened,
	.is_served = service_is_served,
	.move_endpoint = service_move_endpoint,
	.is_moving = service_is_moving,
};

static void drop_generation(struct service *s, struct generation *g)
{
	size_t k = 0;

	while (k < s->n_generations && s->generations[k] != g)
		k++;
	assert(k < s->n_generations);
	s->n_generations--;
	memmove(&s->generations[k], &s->generations[k + 1],
		(s->n_generations - k) * sizeof(s->generations[0]));
	if (s->current == g)
		s->current = NULL;
	if (s->published.shares.canary == g)
		s->published.shares = (struct run_shares){};
	for (k = 0; k < SERVICE_RUNS_MAX; k++) {
		if (s->runs[k].new == g)
			s->runs[k].new = NULL;
		if (s->runs[k].old == g)
			s->runs[k].old = NULL;
	}
	generation_free(g);
}

/* Can an undecided rollout still give it new instances? */
static bool has_prospects(const struct service *s, const struct generation *g)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (service_run_is_used(&s->runs[k]) &&
		    (s->runs[k].new == g || s->runs[k].old == g) &&
		    !rollout_is_decided(&s->runs[k].machine))
			return true;
	return false;
}

void service_drop_empty_generations(struct service *s)
{
	for (size_t k = s->n_generations; k > 0; k--) {
		struct generation *g = s->generations[k - 1];

		if (g->instances.n == 0 && !has_prospects(s, g))
			drop_generation(s, g);
	}
}

/*
 * One that was told to stop without having left listens until it ends. If nothing chose between its
 * endpoint and another one any more, the kernel would give it the connections of both.
 */
static bool listens(const struct service *s, const struct instance *i, size_t place)
{
	if (instance_has_left(i) && i->phase != INSTANCE_LEFT && service_competes(s, place))
		return !instance_has_stopped(i);
	return !instance_has_left(i);
}

/* Does anything of @g listen there, or is it going to? */
static bool has_endpoint(const struct service *s, const struct generation *g, size_t place)
{
	if (wiring_index(&s->wiring, place, g->config) == g->config->n_listen)
		return false;
	if (g == s->current || has_prospects(s, g))
		return true;
	for (size_t j = 0; j < g->instances.n; j++)
		if (listens(s, g->instances.list[j], place))
			return true;
	return false;
}

/* If nothing serves, the addresses that the file declares are those of the next start. */
static bool is_wanted(const struct service *s, size_t place)
{
	for (size_t k = 0; k < s->n_generations; k++)
		if (has_endpoint(s, s->generations[k], place))
			return true;
	return !s->current && wiring_index(&s->wiring, place, s->config) < s->config->n_listen;
}

void service_drop_unused_endpoints(struct service *s)
{
	WIRING_EACH (k, &s->wiring) {
		char address[ADDRESS_TEXT_MAX];

		if (is_wanted(s, k))
			continue;
		if (s->lending.borrowed[k]) {
			service_give_back(s, k);
			continue;
		}
		/* It is given to the one that has borrowed it, and is to have it. */
		if (s->lending.lent[k]) {
			service_keep_borrowed(s->lending.partner);
			continue;
		}
		memcpy(address, s->endpoints.declared[k].text, sizeof(address));
		service_close_endpoint(s, k);
		service_tell(s, &(struct event){
					.kind = EVENT_ADDRESS,
					.message = "closed: no generation listens there any more",
					.listen = address});
	}
}

void service_remove_instance(struct service *s, struct instance *i)
{
	service_forget_reopening(s, i);
	service_note_gone(s, i);
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (service_run_is_used(&s->runs[k]))
			run_forget_instance(&s->runs[k], i);
	for (size_t k = 0; k < s->n_generations; k++)
		if (instances_have(&s->generations[k]->instances, i)) {
			generation_remove(s->generations[k], i);
			return;
		}
	assert(false); /* every instance is of a generation */
}

static uint32_t highest_number(const struct service *s)
{
	uint32_t highest = 0;

	for (size_t k = 0; k < s->n_generations; k++)
		if (s->generations[k]->number > highest)
			highest = s->generations[k]->number;
	return highest;
}

uint32_t service_coming_number(const struct service *s)
{
	uint32_t last = state_generation(s->context->state, service_id(s));
	uint32_t highest = highest_number(s);

	return (last > highest ? last : highest) + 1;
}

/* No number is used twice, even if the state file was lost while agents lived on. */
static int next_number(struct service *s, uint32_t *ret, struct error *err)
{
	uint32_t highest = highest_number(s);
	int r;

	do {
		r = state_next_generation(s->context->state, service_id(s), ret, err);
	} while (r >= 0 && *ret <= highest);
	if (r > 0)
		log_warning("%s: generation %u: a later batond may use this number again: %s",
			    s->config->name, *ret, err->text);
	return r;
}

bool service_has_room(const struct service *s)
{
	return s->n_generations < s->config->drain.generations_max &&
	       s->n_generations < SERVICE_GENERATIONS_MAX;
}

int service_make_generation(struct service *s, struct service_config *config,
			    struct release *release, struct generation **ret, struct error *err)
{
	uint32_t number;
	int r = next_number(s, &number, err);

	if (r < 0) {
		service_config_free(config);
		release_free(release);
		return r;
	}
	config->instances = s->instances;
	r = generation_new(s->context, number, config, release, &s->wiring,
			   &service_instance_callbacks, s, ret, err);
	return r < 0 ? r : service_add_generation(s, *ret, err);
}

int service_add_generation(struct service *s, struct generation *g, struct error *err)
{
	if (s->n_generations == SERVICE_GENERATIONS_MAX) {
		generation_free(g);
		return error_text(err, -E2BIG, "more than %d generations are alive",
				  SERVICE_GENERATIONS_MAX);
	}
	assert(s->n_generations == 0 || s->generations[s->n_generations - 1]->number < g->number);
	s->generations[s->n_generations++] = g;
	return 0;
}
