/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_reopen: has every instance open its output's files anew, after they were rotated, and
 * tells how that went.
 *
 * Each instance's agent is told, and answers. Whoever has asked is told once all have answered, or
 * after SERVICE_REOPEN_MS. An agent that has not answered by then, that is gone, or that is of an
 * earlier baton and never answers, counts as a failure: nobody knows what became of its files. An
 * instance that ends meanwhile does not count, since it writes no more.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/protocol.h"
#include "common/timer.h"

#define SERVICE_REOPEN_MS   10000
#define SERVICE_REOPENS_MAX 8 /* orders that wait at once */

struct instance;
struct service;

/* What became of one file, or of all that an agent has. */
struct reopen_failure {
	uint32_t generation, instance;
	char text[PROTOCOL_REOPEN_MAX]; /* "stdout: /var/log/web: Permission denied" */
};

struct reopen_result {
	uint32_t files; /* so many were to be opened anew, as far as the agents have said */
	struct reopen_failure *failures;
	size_t n_failures;
};

typedef void service_on_reopened(void *userdata, struct service *service,
				 const struct reopen_result *result);

struct reopening; /* one order that waits */

struct service_reopening {
	struct reopening *list[SERVICE_REOPENS_MAX]; /* the oldest first */
	size_t n;
	uint32_t serial;   /* of the last order */
	uint64_t limit_ms; /* for tests; 0: SERVICE_REOPEN_MS */
	struct timer timer;
};

/*
 * Begin. @on_reopened is called once, from the loop, not before this has returned; not at all if
 * the service is freed before. -EBUSY: SERVICE_REOPENS_MAX orders wait already; -ENOMEM.
 */
int service_reopen(struct service *service, service_on_reopened *on_reopened, void *userdata,
		   struct error *err);

/* The agent of @instance has answered. */
void service_reopened(struct service *service, const struct instance *instance,
		      const struct report *report);

/* @instance is about to be freed. */
void service_forget_reopening(struct service *service, const struct instance *instance);

/* Agents may have been lost, instances may have ended. To be called whenever something changed. */
void service_look_reopening(struct service *service);

/* Tell nobody any more. */
void service_reopening_done(struct service_reopening *reopening);

/* One line for people: "4 files opened anew"; if not all were, with the first failure. */
void service_reopen_message(const struct reopen_result *result, char *ret, size_t size);
