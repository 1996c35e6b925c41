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
	uint64_t count;   /* how often a failover has begun */
	uint64_t carried; /* connections that backups have taken, ever */
	uint64_t last_realtime_ms;
	bool active; /* backups had taken connections by the last look */
};

/* Tell it if backup slots have been used since the last look. */
void service_look_failover(struct service *service);

/* From one tick to the next no backup was used: the failover is over. */
void service_end_failover(struct service *service);

/* Do not tell what backups have carried until now: an earlier daemon did. */
void service_forget_failover(struct service *service);
