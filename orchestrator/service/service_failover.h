/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_failover: notices that backups have taken new connections inside the kernel, because the
 * socket of a primary was gone, and tells it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct service;

struct service_failover {
	uint64_t count;   /* how often that has begun */
	uint64_t carried; /* connections */
	uint64_t last_realtime_ms;
	bool active; /* at the last look there had been new ones */
};

/* Have backup slots been used since the last look? */
void service_look_failover(struct service *service);

/* A whole look's time has brought nothing: what was is over. */
void service_end_failover(struct service *service);

/* What backups have carried until now is not to be told: an earlier daemon has. */
void service_forget_failover(struct service *service);
