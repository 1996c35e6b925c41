/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_set: the checks of one instance. First those that its service declares, in their order;
 * then one for each address that none of these asks, for ever: that its server accepts a
 * connection there. An address that is never asked would listen even if its server does not accept
 * from it, which would leave clients hanging.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "orchestrator/config/config.h"
#include "orchestrator/health/checker.h"

/* Those that are declared, and one for each address. */
#define CHECK_SET_MAX (CONFIG_CHECKS_MAX + CONFIG_LISTEN_MAX)

struct instance;

struct instance_check {
	struct instance *instance;
	const struct health_config *config;
	size_t endpoint;        /* the place of its address; .n_listen: it asks nowhere */
	bool declared;          /* by the service */
	struct checker checker; /* unless it asks nowhere: then it never runs */
};

/* All zero: none. Its address must stay. */
struct check_set {
	struct instance_check *list;
	size_t n, n_declared;        /* the first .n_declared are those of the service */
	struct health_config accept; /* what those ask that are not */
};

/*
 * The checks of @instance, by its .config. A check of an address that the service does not have is
 * left out: an earlier daemon may have started it by another file. -ENOMEM: @set is as it was.
 */
int check_set_make(struct check_set *set, struct instance *instance,
		   const struct service_config *config);

/* Ends those that run. Takes one that is all zero, and makes it that. */
void check_set_done(struct check_set *set);

/*
 * The answer of one check: what keeps it from being good, or the latest if it is. NULL:
 * none yet, or it asks nobody.
 */
const struct probe_result *instance_check_answer(const struct instance_check *check);
