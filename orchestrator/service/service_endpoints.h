/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_endpoints: opens and closes a service's endpoints: tier, counters, anchors, groups.
 */
#pragma once

#include <stdbool.h>

#include "common/error.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/steer/steer.h"

struct service;

struct service_endpoints {
	/* Opening failed, because connections of an earlier server are in the way, nothing else. */
	bool lingers;
	size_t in_use;                         /* 1 + the endpoint at which opening failed so */
	bool open;                             /* the service's wiring is filled */
	bool taking_over;                      /* agents of an earlier daemon are being heard */
	uint32_t moved_for[CONFIG_LISTEN_MAX]; /* service_twins.c: for which generation; 0: none */
	char anchor_cgroup[CGROUP_PATH_MAX];   /* "": none */
	char tier_reason[TIERS_REASON_MAX];    /* why not a higher tier; "": it is the highest */
};

/* Open every endpoint (steer_open()); on failure none is left open. */
int service_open_endpoints(struct service *service, struct error *err);

/*
 * One endpoint, for sockets that are bound to @address: as it is declared, or its twin.
 * @has_member: see struct steer_options.
 */
int service_open_endpoint(struct service *service, const struct address *address, bool has_member,
			  struct steer **ret, struct error *err);

/* Put the program on the group of each endpoint. */
int service_attach_endpoints(struct service *service, struct error *err);

/*
 * Open, clear and attach every endpoint, for a first generation. -EBUSY if anything that an earlier
 * daemon has left is alive.
 */
int service_open_fresh(struct service *service, struct error *err);

/* Close them. The pins stay, for the next daemon: see steer_unpin_all(). */
void service_close_endpoints(struct service *service);

/* Close them and remove the pins: no process is left that a daemon could take over. */
void service_unpin_endpoints(struct service *service);
