/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process_settings: what a server's process gets besides its user: limits, priority, privileges,
 * and where its output goes. batond reads them from the configuration and sends them to the agent
 * in the launch specification (protocol.h). The agent applies them between fork and exec
 * (agent/apply.h).
 *
 * A setting that is not set leaves the process as it is. Begin with process_settings_init(): all
 * zero is another umask. Names and meanings follow systemd.exec(5).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "common/error.h"

#define PROCESS_LIMITS_MAX 16         /* RLIM_NLIMITS, on every architecture */
#define PROCESS_UNLIMITED  UINT64_MAX /* RLIM_INFINITY */

/* Where one of the server's output streams goes. */
enum process_output {
	OUTPUT_THROUGH, /* "inherit": to the agent's own, which is batond's */
	OUTPUT_JOURNAL, /* "journal": sd_journal, with the service's name as its identifier */
	OUTPUT_FILE,    /* "/path": appended to; opened as batond's user, made with mode 0640 */
	_OUTPUT_COUNT,
};

struct process_limit {
	bool set;
	uint64_t soft, hard; /* PROCESS_UNLIMITED: none */
};

struct process_settings {
	struct process_limit limits[PROCESS_LIMITS_MAX]; /* by RLIMIT_NOFILE and the like */
	mode_t umask;                                    /* 022 */
	bool nice_set;
	int nice; /* -20 to 19 */
	bool no_new_privileges;
	/*
	 * One bit each, numbered by CAP_CHOWN and the like. The bounding set is reduced to these,
	 * and they are ambient if the user is not root. Not set: the bounding set stays as it is,
	 * and none is ambient.
	 */
	bool capabilities_set;
	uint64_t capabilities;
	bool oom_score_adjust_set;
	int oom_score_adjust;          /* -1000 to 1000 */
	enum process_output output[2]; /* stdout, stderr */
	char *output_path[2];          /* OUTPUT_FILE; malloc'ed */
};

/* Nothing set. */
void process_settings_init(struct process_settings *settings);

/* Free the contents, not the struct itself, which is then as after process_settings_init(). */
void process_settings_done(struct process_settings *settings);

/* A deep copy. Returns 0 or -ENOMEM; in either case the caller ends *ret. */
int process_settings_copy(const struct process_settings *settings, struct process_settings *ret);

/* Do both mean the same? Values that are not used (a limit that is not set) do not count. */
bool process_settings_equal(const struct process_settings *a, const struct process_settings *b);

/* "nofile" is RLIMIT_NOFILE; -ENOENT if there is no such name. And back; NULL if there is none. */
int process_limit_parse(const char *name);
const char *process_limit_name(int limit);

/*
 * The number of "CAP_NET_BIND_SERVICE", also without "CAP_" and in any case; -ENOENT if there is no
 * such name. And back, with "CAP_"; NULL if there is none.
 */
int process_capability_parse(const char *name);
const char *process_capability_name(int capability);
