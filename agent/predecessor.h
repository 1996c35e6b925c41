/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * predecessor: makes sure that the agent that was here before has ended. Most often it was killed.
 * It may also have lost its connection to batond alone, and two agents must not look after one
 * server.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/*
 * Kill @pid, if it is still the process that was started at @started (processes.h), and wait until
 * it has ended, for at most @timeout_ms. Returns 0; -ETIMEDOUT: it is still there; another negative
 * errno: it cannot be killed.
 */
int predecessor_end(pid_t pid, uint64_t started, int timeout_ms);
