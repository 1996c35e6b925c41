/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_generation: generations whose state is what the test says it is, by number.
 *
 * A generation made here does as it is told at once: it listens and is healthy from the start,
 * has left when told to leave, has stopped when told to stop, and has no connections. A test
 * changes that in fake_generations[NUMBER], before or while it runs.
 */
#pragma once

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "orchestrator/generation.h"
#include "orchestrator/vector.h"
#include "tests/unit/fake_calls.h"

#define FAKE_GENERATIONS_MAX 64

struct fake_generation {
	bool alive; /* made, and not freed yet */
	int start_error, new_error;
	bool not_listening, not_healthy, dead, exited;
	bool cannot_leave, cannot_stop; /* it does not do as it is told */
	bool left, stopped;
	const struct instance *failed;
	bool named; /* by the table that an earlier daemon has published */
	uint32_t queued;
	uint64_t live, idle; /* connections, by looking; so many of them are idle */
	bool counted;        /* the kernel has counters of it, which say: */
	struct hooks_count count;
	unsigned queue_looks, busy_looks; /* how often they were asked for */
	unsigned busy_takes_ms;
	uint64_t idle_ms; /* that was asked for last */
	int ask_error;    /* the kernel cannot be asked about it */
	uint16_t slots[CONFIG_LISTEN_MAX][CONFIG_INSTANCES_MAX];
	size_t n_slots;
	uint32_t weights[CONFIG_INSTANCES_MAX]; /* 0: 1 */
	uint32_t sockets_version;
	unsigned unused_released; /* how often that was asked for */
	const char *mode;
};

static struct fake_generation fake_generations[FAKE_GENERATIONS_MAX];

/* What the generations of an earlier daemon run. */
static char *fake_adopted_command[] = {(char *)"/bin/adopted", NULL};

static inline struct fake_generation *fake_of(const struct generation *g)
{
	assert_non_null(g);
	assert_in_range(g->number, 1, FAKE_GENERATIONS_MAX - 1);
	return &fake_generations[g->number];
}

static inline void fake_generations_reset(void)
{
	memset(fake_generations, 0, sizeof(fake_generations));
}

static inline unsigned fake_generations_alive(void)
{
	unsigned n = 0;

	for (size_t k = 0; k < FAKE_GENERATIONS_MAX; k++)
		n += fake_generations[k].alive;
	return n;
}

static inline struct generation *
fake_generation_make(struct context *context, uint32_t number, struct service_config *config,
		     struct release *release, const struct wiring *wiring,
		     const struct instance_callbacks *callbacks, void *userdata)
{
	struct generation *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	g->number = number;
	g->config = config;
	g->release = release;
	g->n_instances = config->instances;
	for (uint32_t k = 0; k < config->instances; k++)
		g->instances[k] = (struct instance){
			.context = context,
			.config = config,
			.wiring = wiring,
			.callbacks = callbacks,
			.userdata = userdata,
			.generation = number,
			.index = k,
		};
	fake_of(g)->alive = true;
	return g;
}

int generation_new(struct context *context, uint32_t number, struct service_config *config,
		   struct release *release, const struct wiring *wiring,
		   const struct instance_callbacks *callbacks, void *userdata,
		   struct generation **ret, struct error *err)
{
	called("new %u", number);
	if (fake_generations[number].new_error) {
		service_config_free(config);
		release_free(release);
		return error_set(err, fake_generations[number].new_error, "generation");
	}
	*ret = fake_generation_make(context, number, config, release, wiring, callbacks, userdata);
	return 0;
}

/* How far on its way out an instance is, is what its agent says, as for the real one. */
int generation_adopt(struct context *context, const struct service_config *config,
		     struct adopt_agent *const *agents, size_t n, const struct wiring *wiring,
		     const struct instance_callbacks *callbacks, void *userdata,
		     struct generation **ret, struct error *err)
{
	uint32_t number = agents[0]->hello.generation;
	struct service_config *copy;
	struct release *release;

	called("adopt %u x%zu", number, n);
	if (fake_generations[number].new_error)
		return error_set(err, fake_generations[number].new_error, "adopt");
	copy = service_config_copy(config);
	release = calloc(1, sizeof(*release));
	assert_non_null(copy);
	assert_non_null(release);
	assert_int_equal(vector_copy(fake_adopted_command, &release->command), 0);
	release->executable = strdup(fake_adopted_command[0]);
	release->directory = strdup("/");
	copy->instances = (uint32_t)n;
	*ret = fake_generation_make(context, number, copy, release, wiring, callbacks, userdata);
	(*ret)->adopted = true;
	for (size_t k = 0; k < n; k++) {
		(*ret)->instances[k].leaving = agents[k]->hello.state >= AGENT_LEAVING;
		(*ret)->instances[k].joined = agents[k]->hello.state < AGENT_FAILED;
		(*ret)->instances[k].sockets.n = agents[k]->hello.n_sockets; /* all in slot 0 */
	}
	return 0;
}

void generation_free(struct generation *g)
{
	if (!g)
		return;
	called("free %u", g->number);
	fake_of(g)->alive = false;
	service_config_free(g->config);
	release_free(g->release);
	free(g);
}

int generation_start(struct generation *g, struct error *err)
{
	called("start %u", g->number);
	if (fake_of(g)->start_error)
		return error_set(err, fake_of(g)->start_error, "agent");
	return 0;
}

void generation_check(struct generation *g)
{
	called("check %u", g->number);
}

void generation_uncheck(struct generation *g)
{
	called("uncheck %u", g->number);
}

void generation_release_unused(struct generation *g)
{
	fake_of(g)->unused_released++;
}

void generation_release_leftovers(struct generation *g)
{
	called("release leftovers %u", g->number);
}

void generation_steady(struct generation *g, bool on)
{
	called("steady %u %s", g->number, on ? "on" : "off");
}

void generation_leave(struct generation *g)
{
	called("leave %u", g->number);
	fake_of(g)->left |= !fake_of(g)->cannot_leave;
}

void generation_stop(struct generation *g)
{
	called("stop %u", g->number);
	fake_of(g)->stopped |= !fake_of(g)->cannot_stop;
}

void generation_kill(struct generation *g)
{
	called("kill %u", g->number);
	for (size_t k = 0; k < g->n_instances; k++)
		g->instances[k].exit_signal = SIGKILL;
	fake_of(g)->left = fake_of(g)->stopped = true;
}

bool generation_is_listening(const struct generation *g)
{
	return !fake_of(g)->not_listening;
}

bool generation_is_healthy(const struct generation *g)
{
	return !fake_of(g)->not_healthy;
}

bool generation_has_left(const struct generation *g)
{
	return fake_of(g)->left;
}

bool generation_has_stopped(const struct generation *g)
{
	return fake_of(g)->stopped;
}

bool generation_is_dead(const struct generation *g)
{
	return fake_of(g)->dead;
}

const struct instance *generation_failed(const struct generation *g)
{
	return fake_of(g)->failed;
}

bool generation_has_exited(const struct generation *g)
{
	return fake_of(g)->exited;
}

int generation_queued(struct generation *g, uint32_t *ret)
{
	fake_of(g)->queue_looks++;
	*ret = fake_of(g)->queued;
	return fake_of(g)->ask_error;
}

int generation_live(struct generation *g, uint64_t *ret)
{
	*ret = fake_of(g)->counted ? fake_of(g)->count.live : fake_of(g)->live;
	return fake_of(g)->ask_error;
}

int generation_busy(struct generation *g, uint64_t idle_ms, uint64_t *ret)
{
	fake_of(g)->busy_looks++;
	fake_of(g)->idle_ms = idle_ms;
	usleep(fake_of(g)->busy_takes_ms * 1000);
	*ret = fake_of(g)->live - (idle_ms > 0 ? fake_of(g)->idle : 0);
	return fake_of(g)->ask_error;
}

int generation_count(struct generation *g, struct hooks_count *ret)
{
	*ret = fake_of(g)->count;
	return fake_of(g)->counted ? 0 : -ENODATA;
}

const char *generation_mode(const struct generation *g)
{
	return fake_of(g)->mode;
}

uint64_t generation_version(const struct generation *g)
{
	return (uint64_t)fake_of(g)->sockets_version << 32 | generation_serving(g);
}

size_t generation_serving(const struct generation *g)
{
	return fake_of(g)->dead ? 0 : fake_of(g)->n_slots;
}

bool generation_is_named(const struct generation *g)
{
	return fake_of(g)->named;
}

size_t generation_shares(const struct generation *g, size_t endpoint, struct table_share *ret,
			 size_t max)
{
	const struct fake_generation *fake = fake_of(g);
	size_t n = fake->n_slots < max ? fake->n_slots : max;

	for (size_t k = 0; k < n; k++)
		ret[k] = (struct table_share){
			.slot = fake->slots[endpoint][k],
			.weight = fake->weights[k] ? fake->weights[k] : 1,
		};
	return n;
}
