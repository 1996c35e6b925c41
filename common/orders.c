/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/orders.h"

#include <assert.h>
#include <string.h>

static const struct order_info infos[_SERVICE_ORDER_COUNT] = {
	[SERVICE_ORDER_RESTART] = {"restart", ORDER_TAKES_SUPERSEDE | ORDER_TAKES_RESET,
				   "[SERVICE] [--reset] [--supersede]",
				   "replace the server by a new generation of itself"},
	[SERVICE_ORDER_UPGRADE] = {"upgrade", ORDER_TAKES_SUPERSEDE | ORDER_TAKES_RELEASE,
				   "[SERVICE] [OPTIONS] [-- COMMAND...]",
				   "replace the server by a newer release, or another command"},
	[SERVICE_ORDER_ROLLBACK] = {"rollback", ORDER_TAKES_SUPERSEDE | ORDER_TAKES_DRY_RUN,
				    "[SERVICE] [--dry-run] [--supersede]",
				    "replace the server by the last release that served well"},
	[SERVICE_ORDER_PROMOTE] = {"promote", 0, "[SERVICE]",
				   "let a rollout that holds or waits go on at once"},
	[SERVICE_ORDER_ABORT] = {"abort", 0, "[SERVICE]", "undo the rollout that is under way"},
	[SERVICE_ORDER_START] = {"start", ORDER_TAKES_SUPERSEDE, "[SERVICE] [--supersede]",
				 "start a service that was stopped"},
	[SERVICE_ORDER_STOP] = {"stop", ORDER_TAKES_SUPERSEDE, "[SERVICE] [--supersede]",
				"drain and stop a service"},
	[SERVICE_ORDER_SCALE] = {"scale", ORDER_TAKES_SUPERSEDE | ORDER_TAKES_INSTANCES,
				 "[SERVICE] N [--supersede]", "run so many instances"},
	[SERVICE_ORDER_PAUSE] = {"pause", 0, "[SERVICE]",
				 "let new connections wait; open ones go on"},
	[SERVICE_ORDER_RESUME] = {"resume", 0, "[SERVICE]",
				  "take connections again, first those that wait"},
	[SERVICE_ORDER_REOPEN] = {"reopen", 0, "[SERVICE]",
				  "open the files anew that its output goes to"},
};

const struct order_info *order_info(enum service_order_type type)
{
	assert(type < _SERVICE_ORDER_COUNT);
	return &infos[type];
}

bool order_find(const char *name, enum service_order_type *ret)
{
	for (size_t k = 0; k < _SERVICE_ORDER_COUNT; k++) {
		if (strcmp(infos[k].name, name) != 0)
			continue;
		*ret = (enum service_order_type)k;
		return true;
	}
	return false;
}
