/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * generation: one release that was started once, as some instances. Each service numbers its
 * generations, and uses no number twice.
 *
 * A generation owns a copy of the configuration that it was started with, and the release that was
 * resolved then. So a reload changes nothing about the instances that run, and a rollback starts
 * exactly the release that ran. Instances come and go: a rolling rollout starts them in batches,
 * scaling adds some or takes some away, and a failed one is replaced. An instance's index is the
 * lowest that no living instance of the generation has.
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
	char **added;    /* to the environment, by an upgrade; NULL: nothing; owned */
	uint32_t origin; /* a rollback: the generation whose release it runs; 0: it is none */
	bool looked;     /* the release's identity is that of the first instance's start */
	bool mixed;      /* a file of the release had changed when an instance was started later */
	struct errand *errand; /* a helper looks at its files */
	bool look_again;       /* ... and something was started since it was sent */
	const struct wiring *wiring;
	const struct instance_callbacks *callbacks;
	void *userdata;
	uint64_t started_ms; /* monotonic */
	uint64_t started_realtime_ms;
	bool taken_over; /* an earlier daemon has started it, with a configuration not known here */
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
 * Make a generation of @n agents (at least one) that an earlier daemon has started, all of one
 * service and generation, and take over their links. It gets a copy of @config for everything that
 * the agents do not know: checks, rollout, drain.
 */
int generation_take_over(struct context *context, const struct service_config *config,
			 struct takeover_agent *const *agents, size_t n,
			 const struct wiring *wiring, const struct instance_callbacks *callbacks,
			 void *userdata, struct generation **ret, struct error *err);

/* All its processes must be gone. Takes NULL. */
void generation_free(struct generation *generation);
DEFINE_CLEANUP(struct generation *, generation_free);

/*
 * Start one more instance. The release's identity is taken at the first one's start. If that fails,
 * *ret is an instance all the same; it has failed, and has to be removed like any other. Only if
 * there is no memory or no room (-E2BIG), *ret is NULL.
 */
int generation_add(struct generation *generation, struct instance **ret, struct error *err);

/*
 * An agent has started its server again: does that run what the others run? A helper looks, and
 * .mixed tells when it is back.
 */
void generation_look(struct generation *generation);

/* Forget an instance whose processes are gone. It must be in no other set any more. */
void generation_remove(struct generation *generation, struct instance *instance);

/* How its instances come by their sockets, as far as that is known; NULL: they have none yet. */
const char *generation_mode(const struct generation *generation);
