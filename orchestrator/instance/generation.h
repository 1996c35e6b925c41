/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * generation: one release started once, as some instances. Numbered per service, never reused.
 *
 * It owns a copy of the configuration it was started with and the release that was resolved then,
 * so that a reload changes nothing about what already runs, and a rollback starts exactly what ran.
 * Its instances come and go: a rolling rollout starts them in batches, scaling adds and takes away,
 * one that fails is replaced by another. An instance's index is the lowest that no living instance
 * of the generation has.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/config/config.h"
#include "orchestrator/instance/context.h"
#include "orchestrator/instance/instance_set.h"
#include "orchestrator/release/release.h"

struct generation {
	uint32_t number;
	struct context *context;
	struct service_config *config;
	struct release *release;
	char **added; /* to the environment, by an upgrade; NULL: nothing; owned */
	const struct wiring *wiring;
	const struct instance_callbacks *callbacks;
	void *userdata;
	uint64_t started_ms; /* monotonic */
	uint64_t started_realtime_ms;
	bool taken_over; /* started by an earlier daemon; its configuration is not known */
	struct instances instances; /* owned */
};

/*
 * Takes over @config and @release, also on failure. @wiring, @callbacks and @userdata must outlive
 * the generation. It has no instances yet.
 */
int generation_new(struct context *context, uint32_t number, struct service_config *config,
		   struct release *release, const struct wiring *wiring,
		   const struct instance_callbacks *callbacks, void *userdata,
		   struct generation **ret, struct error *err);

struct takeover_agent;
/*
 * The generation of @n agents of an earlier daemon (all of one service and generation), whose links
 * are taken over. It has a copy of @config for everything that the agents do not know: checks,
 * rollout, drain.
 */
int generation_take_over(struct context *context, const struct service_config *config,
			 struct takeover_agent *const *agents, size_t n,
			 const struct wiring *wiring, const struct instance_callbacks *callbacks,
			 void *userdata, struct generation **ret, struct error *err);

/* All its processes must be gone. Takes NULL. */
void generation_free(struct generation *generation);
DEFINE_CLEANUP(struct generation *, generation_free);

/*
 * Start one more instance. Where that fails it is there all the same (*ret), has failed, and has to
 * be removed like any other; without it only for want of memory, or room (-E2BIG): then *ret is
 * NULL.
 */
int generation_add(struct generation *generation, struct instance **ret, struct error *err);

/* Forget one whose processes are gone: it must be in no other set any more. */
void generation_remove(struct generation *generation, struct instance *instance);

/* How its instances come by their sockets, as far as is known; NULL: not at all yet. */
const char *generation_mode(const struct generation *generation);
