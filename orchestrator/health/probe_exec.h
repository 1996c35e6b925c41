/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe_exec: a check that is a command of the operator's: exit status 0 is good. Nothing here
 * waits; at its deadline the command and all that it has started are killed.
 *
 * So many of them run at a time (PROBE_EXEC_MAX), whatever the number of instances; the others wait
 * for their turn, and their timeout begins with it. What keeps a command from running says nothing
 * of the server: no process, no descriptor, a program that is not there. Such an answer is neither
 * good nor bad (.unasked). The log tells of it, once a minute at most.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/health/probe.h"
#include "orchestrator/host/command.h"

#define PROBE_EXEC_MAX 16

struct probe_exec;

/* Of one daemon; all zero: none runs. */
struct probe_exec_room {
	size_t running;
	struct probe_exec *first; /* in the order of their start; those that run among them */
	uint64_t told_ms;         /* when it was last told that some could not be asked; 0: never */
};

/* Who knows the command. */
struct probe_exec_host {
	/*
	 * It is its turn: fill @ret with how to run the command of @health (but for .timeout_ms).
	 * What that points to belongs to *ret_state, which stays until @end. Negative errno: it
	 * cannot be asked; then @end is not called.
	 */
	int (*begin)(void *userdata, const struct health_config *health, struct command_spec *ret,
		     void **ret_state, struct error *err);
	/* The command has ended, or was cancelled. */
	void (*end)(void *state);
};

/*
 * Ask; @health must stay. @on_done is called once, from the loop and never from within
 * probe_exec_start(), unless cancelled; by then the probe has been freed. -ENOMEM.
 */
int probe_exec_start(sd_event *event, struct probe_exec_room *room,
		     const struct probe_exec_host *host, void *host_userdata,
		     const struct health_config *health,
		     void (*on_done)(void *userdata, const struct probe_result *result),
		     void *userdata, struct probe_exec **ret, struct error *err);

/* Takes NULL. */
void probe_exec_cancel(struct probe_exec *probe);
DEFINE_CLEANUP(struct probe_exec *, probe_exec_cancel);
