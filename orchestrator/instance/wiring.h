/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wiring: the tables and programs in the kernel that all instances of one service share. The
 * service owns them; generations and instances only use them.
 *
 * Each generation has addresses of its own, in the order of its configuration's "listen". While one
 * generation takes the place of another with other addresses, the service has the endpoints of
 * both. So an endpoint has a place here that it keeps as long as it is open, and the index of an
 * address in "listen" is another number: one leads to the other by the address.
 */
#pragma once

#include <stddef.h>

#include "orchestrator/config/config.h"
#include "orchestrator/steer/steer.h"

/* As many as two generations can have that share no address. */
#define WIRING_MAX (2 * CONFIG_LISTEN_MAX)
_Static_assert(WIRING_MAX <= STEER_BESIDE_MAX, "each may compete with all others");

struct wiring {
	enum steer_tier tier;                /* of every endpoint */
	struct steer *endpoints[WIRING_MAX]; /* NULL: nothing is open at this place */
	struct tap *tap;                     /* NULL: see .no_tap */
	char no_tap[512];                    /* why there is none, for people; "": there is */
};

/* For each endpoint that is open: its place. */
#define WIRING_EACH(k, wiring)                                                                     \
	for (size_t k = 0; k < WIRING_MAX; k++)                                                    \
		if ((wiring)->endpoints[k])

/*
 * The place of the endpoint for @declared, whose sockets may be of the other family (twins);
 * WIRING_MAX: there is none.
 */
size_t wiring_place(const struct wiring *wiring, const struct address *declared);

/* The place of that very endpoint, which is there. */
size_t wiring_place_of(const struct wiring *wiring, const struct steer *endpoint);

/* The endpoint itself; NULL: there is none. */
struct steer *wiring_endpoint(const struct wiring *wiring, const struct address *declared);

/*
 * Which address of @config is that of the endpoint at @place: an index into config->listen;
 * config->n_listen: none.
 */
size_t wiring_index(const struct wiring *wiring, size_t place, const struct service_config *config);

/* A place where nothing is open; WIRING_MAX: all are taken. */
size_t wiring_free_place(const struct wiring *wiring);
