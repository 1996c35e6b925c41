/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_twins: of which family the sockets of an endpoint are, if the servers bind another than
 * is declared (address.h: twins). Found out at the first start, learnt at a takeover, kept in
 * state.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/address.h"
#include "common/error.h"
#include "orchestrator/instance/instances.h"

struct service;

/* Before the endpoints are opened for a takeover: what do the sockets of @agents say? */
void service_learn_twins(struct service *service, struct takeover_agent *const *agents, size_t n);

/* Once no instance has passed sockets of the wrong family any more, sockets can join. */
void service_end_move(struct service *service);

/* See struct instance_callbacks. @userdata: the service. */
bool service_is_served(void *userdata, const struct instance *instance, size_t k);
bool service_is_moving(void *userdata);
int service_move_endpoint(void *userdata, const struct instance *instance, size_t k,
			  const struct address *address, struct error *err);
