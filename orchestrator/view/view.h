/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * view: services, rollouts, events and connections as JSON. Other folders include this header only.
 *
 * The folders below know nothing of JSON. A function of view/ looks at one of their structs,
 *changes nothing, and returns a new object; docs/api.md explains the members to users. Orders come
 *the other way: order_parse() makes a struct service_order of the body of a request.
 *
 *	status.h           a service, with its generations, instances and endpoints
 *	run_json.h         a rollout, and how it has ended
 *	event_json.h       an event
 *	order_json.h       an order that somebody has sent, and the answer to it
 *	connection_list.h  the connections of a service
 */
#pragma once

#include "orchestrator/view/connection_list.h"
#include "orchestrator/view/event_json.h"
#include "orchestrator/view/order_json.h"
#include "orchestrator/view/run_json.h"
#include "orchestrator/view/status.h"
#include "orchestrator/view/time_json.h"
