/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * generation: one release started once, as N instances. Numbered per service, never reused.
 *
 * It owns a copy of the configuration it was started with and the release that was resolved then,
 * so that a reload changes nothing about what already runs, and a rollback starts exactly what ran.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/config.h"
#include "orchestrator/context.h"
#include "orchestrator/instance.h"
#include "orchestrator/release.h"
#include "orchestrator/table.h"

struct generation {
	uint32_t number;
	struct service_config *config;
	struct release *release;
	uint64_t started_ms; /* monotonic */
	uint64_t started_realtime_ms;
	bool adopted; /* started by an earlier daemon; its configuration is not known */
	size_t n_instances;
	struct instance instances[CONFIG_INSTANCES_MAX];
};

/*
 * Takes over @config and @release, also on failure. @wiring, @callbacks and @userdata must outlive
 * the generation. Nothing is started yet.
 */
int generation_new(struct context *context, uint32_t number, struct service_config *config,
		   struct release *release, const struct wiring *wiring,
		   const struct instance_callbacks *callbacks, void *userdata,
		   struct generation **ret, struct error *err);

/*
 * The generation of @n agents of an earlier daemon (all of one service and generation), whose links
 * are taken over. It has a copy of @config for everything that the agents do not know: checks,
 * rollout, drain.
 */
int generation_adopt(struct context *context, const struct service_config *config,
		     struct adopt_agent *const *agents, size_t n, const struct wiring *wiring,
		     const struct instance_callbacks *callbacks, void *userdata,
		     struct generation **ret, struct error *err);

/* All its processes must be gone. Takes NULL. */
void generation_free(struct generation *generation);
DEFINE_CLEANUP(struct generation *, generation_free);

/* Start every instance. On failure some may run: stop the generation. */
int generation_start(struct generation *generation, struct error *err);

/* Orders to every instance (see instance.h). */
void generation_check(struct generation *generation);
void generation_uncheck(struct generation *generation);
void generation_release_unused(struct generation *generation);
void generation_release_leftovers(struct generation *generation);
void generation_steady(struct generation *generation, bool on);
void generation_leave(struct generation *generation);
void generation_stop(struct generation *generation);
void generation_kill(struct generation *generation);

/* Every instance runs, with its sockets in slots. */
bool generation_is_listening(const struct generation *generation);
bool generation_is_healthy(const struct generation *generation);
bool generation_has_left(const struct generation *generation);
bool generation_has_stopped(const struct generation *generation);
/* No instance can accept, now or after a restart. */
bool generation_is_dead(const struct generation *generation);
/* The first instance that has failed or turned unhealthy; NULL: none. */
const struct instance *generation_failed(const struct generation *generation);
/* No process of it is left but agents. */
bool generation_has_exited(const struct generation *generation);

/* Sums over the instances; negative where the kernel could not be asked. */
int generation_queued(struct generation *generation, uint32_t *ret);
int generation_live(struct generation *generation, uint64_t *ret);
int generation_busy(struct generation *generation, uint64_t idle_ms, uint64_t *ret);
int generation_count(struct generation *generation, struct hooks_count *ret);

/* How its instances come by their sockets, as far as is known; NULL: not at all yet. */
const char *generation_mode(const struct generation *generation);

/*
 * A number that is another one whenever a table computed from its slots would be: an instance
 * serves or does not any more, or has got other sockets.
 */
uint64_t generation_version(const struct generation *generation);

/* How many instances are serving. */
size_t generation_serving(const struct generation *generation);

/* Does the table that is published name one of its sockets? */
bool generation_is_named(const struct generation *generation);

/*
 * The slots of its serving instances on endpoint @endpoint, weighted so that each instance gets the
 * same share, however many sockets it has. Returns how many.
 */
size_t generation_shares(const struct generation *generation, size_t endpoint,
			 struct table_share *ret, size_t max);
