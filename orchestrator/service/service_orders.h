/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_orders: what the files that carry out orders share: service_orders.c (which there are,
 * one after the other), service_begin.c (a new generation, or none), service_scale.c (instances of
 * the one that serves). Part of the service module, see service_internal.h.
 */
#pragma once

#include "orchestrator/service/service_internal.h"

/* An order while it is being carried out. */
struct order_call {
	struct service *service;
	const char *order;
	const json_t *body; /* NULL: empty */
	uint32_t id;        /* of its rollout; 0: the next one */
	struct service_answer *answer;
	struct api_problem *problem;
};

/* Fill @problem but for its detail; -EINVAL. */
int order_refuse(struct api_problem *problem, unsigned status, int code, const char *title);

/* Because of @run, which is named. */
int order_refuse_busy(const struct run *run, struct api_problem *problem);

/* Is there room for one more generation? */
bool service_has_room(const struct service *service);

/* Each checks what it takes of the body. Where no rollout is begun answer->message says why. */
int order_restart(struct order_call *call);
int order_upgrade(struct order_call *call);
int order_rollback(struct order_call *call);
int order_start(struct order_call *call);
int order_stop(struct order_call *call);
int order_scale(struct order_call *call);

/* Can what the order would start be started, as far as can be seen before? */
int order_check_release(struct order_call *call);
int order_check_rollback(struct order_call *call);
int order_check_start(struct order_call *call);
