/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/process_settings.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>

/* Kernels since 5.8 and 5.9 know them; the headers of the system may be older. */
#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#endif
#ifndef CAP_BPF
#define CAP_BPF 39
#endif
#ifndef CAP_CHECKPOINT_RESTORE
#define CAP_CHECKPOINT_RESTORE 40
#endif

_Static_assert(RLIM_NLIMITS <= PROCESS_LIMITS_MAX, "process_settings.limits");
_Static_assert(CAP_CHECKPOINT_RESTORE < 64, "process_settings.capabilities");

void process_settings_init(struct process_settings *settings)
{
	*settings = (struct process_settings){.umask = 022};
}

void process_settings_done(struct process_settings *settings)
{
	if (!settings)
		return;
	for (size_t k = 0; k < 2; k++)
		free(settings->output_path[k]);
	process_settings_init(settings);
}

int process_settings_copy(const struct process_settings *settings, struct process_settings *ret)
{
	*ret = *settings;
	/*
	 * First drop all borrowed pointers: ending a copy that failed halfway must not free those.
	 */
	for (size_t k = 0; k < 2; k++)
		ret->output_path[k] = NULL;
	for (size_t k = 0; k < 2; k++) {
		const char *path = settings->output_path[k];

		ret->output_path[k] = path ? strdup(path) : NULL;
		if (path && !ret->output_path[k])
			return -ENOMEM;
	}
	return 0;
}

static bool same_limit(const struct process_limit *a, const struct process_limit *b)
{
	if (a->set != b->set)
		return false;
	return !a->set || (a->soft == b->soft && a->hard == b->hard);
}

static bool same_path(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* The path counts only if the output goes to a file. */
static bool same_output(const struct process_settings *a, const struct process_settings *b,
			size_t k)
{
	if (a->output[k] != b->output[k])
		return false;
	return a->output[k] != OUTPUT_FILE || same_path(a->output_path[k], b->output_path[k]);
}

bool process_settings_equal(const struct process_settings *a, const struct process_settings *b)
{
	for (size_t i = 0; i < PROCESS_LIMITS_MAX; i++)
		if (!same_limit(&a->limits[i], &b->limits[i]))
			return false;
	if (a->nice_set != b->nice_set || (a->nice_set && a->nice != b->nice))
		return false;
	if (a->capabilities_set != b->capabilities_set ||
	    (a->capabilities_set && a->capabilities != b->capabilities))
		return false;
	if (a->oom_score_adjust_set != b->oom_score_adjust_set ||
	    (a->oom_score_adjust_set && a->oom_score_adjust != b->oom_score_adjust))
		return false;
	return a->umask == b->umask && a->no_new_privileges == b->no_new_privileges &&
	       same_output(a, b, 0) && same_output(a, b, 1);
}

/* ---- names ---------------------------------------------------------------------------------- */

/* The names of limits.conf(5): those of setrlimit(2) without "RLIMIT_", in lower case. */
static const char *const limits[] = {
	[RLIMIT_AS] = "as",
	[RLIMIT_CORE] = "core",
	[RLIMIT_CPU] = "cpu",
	[RLIMIT_DATA] = "data",
	[RLIMIT_FSIZE] = "fsize",
	[RLIMIT_LOCKS] = "locks",
	[RLIMIT_MEMLOCK] = "memlock",
	[RLIMIT_MSGQUEUE] = "msgqueue",
	[RLIMIT_NICE] = "nice",
	[RLIMIT_NOFILE] = "nofile",
	[RLIMIT_NPROC] = "nproc",
	[RLIMIT_RSS] = "rss",
	[RLIMIT_RTPRIO] = "rtprio",
	[RLIMIT_RTTIME] = "rttime",
	[RLIMIT_SIGPENDING] = "sigpending",
	[RLIMIT_STACK] = "stack",
};

/* In the order of capabilities(7). */
static const char *const capabilities[] = {
	[CAP_AUDIT_CONTROL] = "CAP_AUDIT_CONTROL",
	[CAP_AUDIT_READ] = "CAP_AUDIT_READ",
	[CAP_AUDIT_WRITE] = "CAP_AUDIT_WRITE",
	[CAP_BLOCK_SUSPEND] = "CAP_BLOCK_SUSPEND",
	[CAP_BPF] = "CAP_BPF",
	[CAP_CHECKPOINT_RESTORE] = "CAP_CHECKPOINT_RESTORE",
	[CAP_CHOWN] = "CAP_CHOWN",
	[CAP_DAC_OVERRIDE] = "CAP_DAC_OVERRIDE",
	[CAP_DAC_READ_SEARCH] = "CAP_DAC_READ_SEARCH",
	[CAP_FOWNER] = "CAP_FOWNER",
	[CAP_FSETID] = "CAP_FSETID",
	[CAP_IPC_LOCK] = "CAP_IPC_LOCK",
	[CAP_IPC_OWNER] = "CAP_IPC_OWNER",
	[CAP_KILL] = "CAP_KILL",
	[CAP_LEASE] = "CAP_LEASE",
	[CAP_LINUX_IMMUTABLE] = "CAP_LINUX_IMMUTABLE",
	[CAP_MAC_ADMIN] = "CAP_MAC_ADMIN",
	[CAP_MAC_OVERRIDE] = "CAP_MAC_OVERRIDE",
	[CAP_MKNOD] = "CAP_MKNOD",
	[CAP_NET_ADMIN] = "CAP_NET_ADMIN",
	[CAP_NET_BIND_SERVICE] = "CAP_NET_BIND_SERVICE",
	[CAP_NET_BROADCAST] = "CAP_NET_BROADCAST",
	[CAP_NET_RAW] = "CAP_NET_RAW",
	[CAP_PERFMON] = "CAP_PERFMON",
	[CAP_SETFCAP] = "CAP_SETFCAP",
	[CAP_SETGID] = "CAP_SETGID",
	[CAP_SETPCAP] = "CAP_SETPCAP",
	[CAP_SETUID] = "CAP_SETUID",
	[CAP_SYS_ADMIN] = "CAP_SYS_ADMIN",
	[CAP_SYS_BOOT] = "CAP_SYS_BOOT",
	[CAP_SYS_CHROOT] = "CAP_SYS_CHROOT",
	[CAP_SYS_MODULE] = "CAP_SYS_MODULE",
	[CAP_SYS_NICE] = "CAP_SYS_NICE",
	[CAP_SYS_PACCT] = "CAP_SYS_PACCT",
	[CAP_SYS_PTRACE] = "CAP_SYS_PTRACE",
	[CAP_SYS_RAWIO] = "CAP_SYS_RAWIO",
	[CAP_SYS_RESOURCE] = "CAP_SYS_RESOURCE",
	[CAP_SYS_TIME] = "CAP_SYS_TIME",
	[CAP_SYS_TTY_CONFIG] = "CAP_SYS_TTY_CONFIG",
	[CAP_SYSLOG] = "CAP_SYSLOG",
	[CAP_WAKE_ALARM] = "CAP_WAKE_ALARM",
};

#define N_LIMITS        (sizeof(limits) / sizeof(limits[0]))
#define N_CAPABILITIES  (sizeof(capabilities) / sizeof(capabilities[0]))
#define CAPABILITY_MARK "CAP_"
#define MARK_LENGTH     (sizeof(CAPABILITY_MARK) - 1)

int process_limit_parse(const char *name)
{
	for (size_t i = 0; i < N_LIMITS; i++)
		if (limits[i] && strcmp(limits[i], name) == 0)
			return (int)i;
	return -ENOENT;
}

const char *process_limit_name(int limit)
{
	return limit >= 0 && (size_t)limit < N_LIMITS ? limits[limit] : NULL;
}

int process_capability_parse(const char *name)
{
	if (strncasecmp(name, CAPABILITY_MARK, MARK_LENGTH) == 0)
		name += MARK_LENGTH;
	for (size_t i = 0; i < N_CAPABILITIES; i++)
		if (capabilities[i] && strcasecmp(capabilities[i] + MARK_LENGTH, name) == 0)
			return (int)i;
	return -ENOENT;
}

const char *process_capability_name(int capability)
{
	return capability >= 0 && (size_t)capability < N_CAPABILITIES ? capabilities[capability]
								      : NULL;
}
