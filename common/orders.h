/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * orders: what can be ordered of a service: which orders there are, what each takes, and its line
 * of help. One table for the daemon, which checks what it is sent by it, and the command line,
 * which makes its commands of it. What an order does is in orchestrator/service/service_orders.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum service_order_type {
	SERVICE_ORDER_RESTART,
	SERVICE_ORDER_UPGRADE,
	SERVICE_ORDER_ROLLBACK,
	SERVICE_ORDER_PROMOTE,
	SERVICE_ORDER_ABORT,
	SERVICE_ORDER_START,
	SERVICE_ORDER_STOP,
	SERVICE_ORDER_SCALE,
	SERVICE_ORDER_PAUSE,
	SERVICE_ORDER_RESUME,
	SERVICE_ORDER_REOPEN,
	_SERVICE_ORDER_COUNT,
};

/* Members of a body that an order takes; a bit each. */
enum order_takes {
	ORDER_TAKES_SUPERSEDE = 1, /* "supersede": true or false */
	ORDER_TAKES_RELEASE = 2,   /* "command", "environment", "unset", "force" */
	ORDER_TAKES_INSTANCES = 4, /* "instances": a number; required */
	ORDER_TAKES_RESET = 8,     /* "reset": true or false */
	ORDER_TAKES_DRY_RUN = 16,  /* "dry_run": true or false */
};

struct order_info {
	const char *name;
	unsigned takes;       /* enum order_takes */
	const char *synopsis; /* of the command's arguments */
	const char *help;     /* one line */
};

const struct order_info *order_info(enum service_order_type type);

/* False: there is no order of this name. */
bool order_find(const char *name, enum service_order_type *ret);
