/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_underway: no rollout is lost sight of when batond dies in the middle of it.
 *
 * While rollouts are under way they are noted in a file (underway.h). The next daemon reads it when
 * it makes the service, takes over what is left, and then says of each what becomes of it: "stop"
 * and "scale" are carried on under their numbers; any other has ended, done or undone, by what
 * serves now. That is told, as an event and as the last result, once what the takeover itself has
 * begun is over: so the number of connections that were cut is in it.
 *
 * A service that an earlier daemon had paused stays so when it is taken over.
 *
 * An order that waits for another rollout to be undone is noted, too. It ends with the daemon.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct run_result;
struct service;
struct underway_list;

/* Each list is NULL while it is empty. */
struct service_underway {
	struct underway_list *noted; /* what is in the file */
	struct underway_list
		*found;          /* what an earlier daemon had begun, and whose end is not told */
	bool judged;             /* .found: */
	struct run_result *ends; /* how each ends; cut connections are added */
	uint32_t until;          /* the takeover's own rollouts have numbers up to this */
	bool was_paused;         /* by an order to an earlier daemon */
	bool failed;             /* to write; logged once */
};

/* Read what an earlier daemon has noted. Its numbers of rollouts are not used again. */
void service_recall_underway(struct service *service);

/*
 * What can be taken over has been: decide what becomes of the rollouts that were found. True: one
 * of them has stopped the service, so that it must not be started.
 */
bool service_judge_underway(struct service *service);

/* A rollout has ended as @result says: perhaps one of the takeover's. */
void service_count_underway(struct service *service, const struct run_result *result);

/* Has a rollout that was found ended by now? *ret is how; each is returned once. */
bool service_end_underway(struct service *service, struct run_result *ret);

/* Note what is under way now, if that is something else than before. */
void service_note_underway(struct service *service);

/* @forget: everything was ended on purpose, and the file goes. */
void service_underway_done(struct service *service, bool forget);

/* "rollout 5 (restart), at step drain": what was found, for people; "": nothing. */
void service_describe_underway(const struct service *service, char *ret, size_t size);
