/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command: one short-lived program of the operator's (a hook, a gate), run beside the event loop.
 *
 * It runs in a session of its own, as the service's user, in the release's folder (in the one in
 * front of its placeholders, if it has any: that is there in any case), with stdin from /dev/null.
 * The last COMMAND_OUTPUT_MAX bytes of its output (stdout and stderr together) are kept.
 *
 * It runs in a cgroup leaf of its own (command_leaf.h). The leaf is killed whole at the deadline,
 * when the command is cancelled, and when it ends: a child that it has left in the background does
 * not outlive it, in whatever session it is (as with ExecStartPre= of systemd.service(5)). Without
 * cgroups that is true of its process group only. If the daemon dies the program itself is killed
 * by the kernel, and the rest of the leaf by the next daemon (command_leaf_sweep()).
 *
 * Nothing here waits: whether the program could be run at all is told at the end.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"

struct removals;

#define COMMAND_OUTPUT_MAX 4096
#define COMMAND_TEXT_MAX   320

/*
 * {generation} in argv and in the environment is replaced; so is {instance}, there and in the
 * directory, if the command is about one instance (of_instance). A variable that names {fd} or
 * {fds:SEP}, or an instance that there is none of, is left out.
 */
struct command_spec {
	uint32_t generation;
	uint32_t instance;
	bool of_instance;
	char *const *argv;        /* argv[0] has a slash in it */
	char *const *environment; /* the whole of it, NULL-terminated */
	const char *directory;
	bool set_ids; /* become this user; else stay the daemon's */
	uid_t uid;
	gid_t gid;
	const gid_t *groups;
	size_t n_groups;
	uint64_t timeout_ms;
	const char *cgroup_base;   /* its leaf is made below it; NULL, "": it has no cgroup */
	struct removals *removals; /* of the leaf, if that is still busy at the end; NULL: none */
};

struct command_result {
	bool timed_out;
	int exit_code; /* if exit_signal is 0 */
	int exit_signal;
	/*
	 * 0: the program has run. A negative errno: a step of the new process has failed, and
	 * .text says which ("exec /x/y: No such file ..."); then .exit_code is not 0.
	 */
	int start_error;
	/* For people: "exited with status 2: the last line that it wrote". */
	char text[COMMAND_TEXT_MAX];
};

struct command;

/*
 * Start it. @on_done is called once, from the loop, unless the command is cancelled; by then it has
 * been freed. This fails if there can be no new process.
 */
int command_start(sd_event *event, const struct command_spec *spec,
		  void (*on_done)(void *userdata, const struct command_result *result),
		  void *userdata, struct command **ret, struct error *err);

/* Kill and forget it. Takes NULL. */
void command_cancel(struct command *command);
DEFINE_CLEANUP(struct command *, command_cancel);
