/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_drift: notices that somebody else has changed the program of a service's group, tells
 * who did it, and repairs it or leaves it as it is ("drift" in the configuration).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "orchestrator/instance/instances.h"

struct service;

struct service_drift {
	bool drifted[WIRING_MAX]; /* another program is on the endpoint, and that was told */
	/* Why the program of an endpoint cannot be put right; "": it can, or is not to be. */
	char failure[256];
	/* Who has set a program since the last look, for the next event. */
	struct {
		char text[128];                /* "": not known */
		uint32_t generation, instance; /* if it is a process of the service's own */
	} culprit;
};

/* Check the program of each endpoint; tell and repair what has drifted. */
void service_look_drift(struct service *service);

/* A process has changed the program of some group: see tap.h. */
void service_note_culprit(struct service *service, uint32_t generation, uint32_t instance,
			  pid_t pid, const char *comm);

/* The endpoints are new. */
void service_forget_drift(struct service *service);
