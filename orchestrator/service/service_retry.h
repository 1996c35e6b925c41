/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_retry: a first start that fails only because connections of an earlier server are still
 * in the way (TIME_WAIT) is tried again, until "start_timeout" is over.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/timer.h"

struct service;

struct service_retry {
	struct timer timer;
	uint64_t until_ms; /* 0: nothing is tried again */
	unsigned tries;
};

/* The start was refused. Try it again if that can help; see service_retries(). */
void service_retry(struct service *service);

/* Is the start going to be tried again? */
bool service_retries(const struct service *service);

void service_retry_done(struct service *service);
