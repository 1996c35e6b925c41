/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * instances: the servers of a service. Other folders include this header only.
 *
 * An instance (instance.h) is one process of a server, with an agent of its own that starts it,
 * watches it and holds duplicates of its listening sockets. A generation (generation.h) is one
 * release that was started once, as some instances with the same configuration. A set
 * (instance_set.h) names some instances, of one generation or of several: those that a rollout has
 * started, those that are to go.
 *
 * From start to end: generation_add() makes an instance and starts its agent (agentlink.h). The
 * agent reports the listening sockets; each joins its endpoint in a slot, and the instance has
 * joined. instance_check() asks it through its slots until it is healthy. Now its service may name
 * its slots in a table (that is not done here), and instance_steady() tells the agent to start the
 * server again whenever it exits. When a newer generation serves, instance_leave() takes the
 * instance out of the group and lets it drain. The owner looks at instance_live() until nothing is
 * left, then instance_stop() ends the processes and generation_remove() forgets the instance.
 *
 * Agents and servers outlive the daemon. The next one finds them (takeover.h) and makes generations
 * of them: generation_take_over().
 */
#pragma once

#include "orchestrator/instance/context.h"
#include "orchestrator/instance/generation.h"
#include "orchestrator/instance/instance.h"
#include "orchestrator/instance/instance_set.h"
#include "orchestrator/instance/takeover.h"
#include "orchestrator/instance/wiring.h"
