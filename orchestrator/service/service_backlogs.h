/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_backlogs: the accept queues of a service's listening sockets: how many connections wait,
 * how many may (the backlog that counts: a server's own listen(2) may lower it), and how many
 * attempts the kernel has dropped, which is what it does when a queue is full.
 *
 * The numbers are those of the list of the host's listening sockets that all services share
 * (occupants.h): a second old at most, and more on a host where that list takes long. A service
 * looks at its tick; an overflow is told by an event, at most once a minute for each endpoint.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orchestrator/instance/instances.h"

#define SERVICE_BACKLOGS_TELL_MS 60000

struct service;
struct instance;

/* A listening socket of an instance. */
struct service_backlog_socket {
	uint64_t cookie;
	uint32_t generation, instance;
	size_t place; /* of its endpoint, see wiring.h */
	uint32_t waiting, backlog, dropped;
	int configured;  /* "backlog" */
	bool must;       /* ... is in the file: a lower one is worth a warning */
	bool taken_over; /* it may have dropped connections before this batond */
	bool seen;       /* in the present look; else the numbers are not known */
};

struct service_backlogs {
	struct service_backlog_socket *list; /* of the last look, sorted by cookie */
	size_t n;
	struct {
		uint64_t dropped;     /* since batond looks, and before by sockets taken over */
		uint64_t untold;      /* of these; no event has said so yet */
		uint64_t told_ms;     /* when the last one was; 0: there was none */
		uint32_t lowered;     /* the backlog that was told to be too low; 0: none */
		uint32_t lowered_for; /* ... of this generation */
	} endpoints[WIRING_MAX];
};

/* The sum of some sockets. */
struct service_backlog {
	uint32_t sockets; /* 0: nothing is known */
	uint64_t waiting, dropped;
	uint32_t backlog; /* the lowest */
	int configured;
	bool lowered; /* below "backlog", which is in the file */
};

/* Look, and tell what has overflowed and who has lowered its backlog. */
void service_look_backlogs(struct service *service);

/* Of the endpoint at @place; .dropped is all that the endpoint has dropped. */
void service_backlog_of_endpoint(const struct service *service, size_t place,
				 struct service_backlog *ret);
void service_backlog_of_instance(const struct service *service, const struct instance *instance,
				 struct service_backlog *ret);

void service_backlogs_done(struct service_backlogs *queues);
