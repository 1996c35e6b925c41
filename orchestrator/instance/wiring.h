/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wiring: what all instances of one service share of the kernel. The service owns it; generations
 * and instances only look. Endpoints are in the order of the configuration's "listen".
 */
#pragma once

#include "orchestrator/config/config.h"
#include "orchestrator/steer/tap.h"
#include "orchestrator/steer/steer.h"

struct wiring {
	enum steer_tier tier;                       /* of every endpoint */
	struct steer *endpoints[CONFIG_LISTEN_MAX]; /* NULL while the service is closed */
	struct tap *tap;                            /* NULL: none on this tier */
};
