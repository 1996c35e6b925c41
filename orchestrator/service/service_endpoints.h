/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_endpoints: opens and closes a service's endpoints: tier, counters, anchors, groups.
 */
#pragma once

#include <stdbool.h>

#include "common/error.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/instance/instances.h"

struct service;

struct service_endpoints {
	/* Opening failed, because connections of an earlier server are in the way, nothing else. */
	bool lingers;
	bool open;        /* the service's wiring is filled */
	bool taking_over; /* agents of an earlier daemon are being heard */
	/* Those agents, while endpoints are opened as an earlier daemon has left them; or NULL. */
	struct takeover_agent *const *agents;
	size_t n_agents;
	bool replaced[WIRING_MAX]; /* the earlier daemon's program was: service_takeover.c */
	struct address declared[WIRING_MAX]; /* what each endpoint of the wiring is for */
	uint32_t moved_for[WIRING_MAX];      /* service_twins.c: for which generation; 0: none */
	char anchor_cgroup[CGROUP_PATH_MAX]; /* "": none */
	char tier_reason[TIERS_REASON_MAX];  /* why not a higher tier; "": it is the highest */
};

/* Choose the tier and open the counters. No endpoint is open yet. On failure nothing is. */
int service_open_wiring(struct service *service, struct error *err);

/*
 * Open the addresses of @config that are not open yet (steer_open()), as an earlier daemon has left
 * them. On failure none more is open than before.
 */
int service_open_addresses(struct service *service, const struct service_config *config,
			   struct error *err);

/*
 * One endpoint, for sockets that are bound to @address: as it is declared, or its twin.
 * @has_member: see struct steer_options.
 */
int service_open_endpoint(struct service *service, const struct address *address, bool has_member,
			  struct steer **ret, struct error *err);

/* The endpoint at @place was another service's: see steer_rehome(). */
int service_rehome_endpoint(struct service *service, size_t place, struct error *err);

/* Put the program on the group of each endpoint. */
int service_attach_endpoints(struct service *service, struct error *err);

/*
 * For a generation of @config: open, clear and attach the addresses that are not open yet. Those
 * that are go on as they are. On failure nothing more is open than before. -EBUSY if nothing was
 * open, and anything that an earlier daemon has left is alive.
 */
int service_open_fresh(struct service *service, const struct service_config *config,
		       struct error *err);

/* Close one, and remove its pins: nothing listens there any more, and nothing is to. */
void service_close_endpoint(struct service *service, size_t place);

/* Close them. The pins stay, for the next daemon: see steer_unpin_all(). */
void service_close_endpoints(struct service *service);

/* Close them and remove the pins: no process is left that a daemon could take over. */
void service_unpin_endpoints(struct service *service);
