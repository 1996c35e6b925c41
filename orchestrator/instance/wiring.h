/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wiring: the tables and programs in the kernel that all instances of one service share. The
 * service owns them; generations and instances only use them. Endpoints are in the order of the
 * configuration's "listen".
 */
#pragma once

#include "orchestrator/config/config.h"
#include "orchestrator/steer/steer.h"

struct wiring {
	enum steer_tier tier;                       /* of every endpoint */
	struct steer *endpoints[CONFIG_LISTEN_MAX]; /* NULL while the service is closed */
	struct tap *tap;                            /* NULL: see .no_tap */
	char no_tap[512]; /* why there is none, for people; "": there is */
};
