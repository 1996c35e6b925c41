/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/apply.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/capability_sets.h"

/* ---- limits and priority -------------------------------------------------------------------- */

/* Returns the length; no NUL is added. snprintf(3) is not async-signal-safe. */
static size_t format_number(int number, char ret[static 12])
{
	unsigned rest = number < 0 ? -(unsigned)number : (unsigned)number;
	char reversed[12];
	size_t n = 0, length = 0;

	do
		reversed[n++] = (char)('0' + rest % 10);
	while ((rest /= 10) > 0);
	if (number < 0)
		ret[length++] = '-';
	while (n > 0)
		ret[length++] = reversed[--n];
	return length;
}

int apply_oom_score(const struct process_settings *settings)
{
	char text[12];
	size_t length;
	int fd, r = 0;

	if (!settings->oom_score_adjust_set)
		return 0;
	length = format_number(settings->oom_score_adjust, text);
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, length) < 0)
		r = -errno;
	close(fd);
	return r;
}

static rlim_t limit_value(uint64_t value)
{
	return value == PROCESS_UNLIMITED ? RLIM_INFINITY : (rlim_t)value;
}

int apply_limits(const struct process_settings *settings, int *ret_limit)
{
	for (int i = 0; i < PROCESS_LIMITS_MAX; i++) {
		const struct process_limit *limit = &settings->limits[i];
		const struct rlimit value = {
			.rlim_cur = limit_value(limit->soft),
			.rlim_max = limit_value(limit->hard),
		};

		if (!limit->set || setrlimit((__rlimit_resource_t)i, &value) == 0)
			continue;
		*ret_limit = i;
		return -errno;
	}
	return 0;
}

int apply_nice(const struct process_settings *settings)
{
	if (!settings->nice_set)
		return 0;
	return setpriority(PRIO_PROCESS, 0, settings->nice) < 0 ? -errno : 0;
}

/* ---- capabilities --------------------------------------------------------------------------- */

int apply_bounding_set(const struct process_settings *settings, int *ret_capability)
{
	if (!settings->capabilities_set)
		return 0;
	for (int i = 0; i < CAPABILITIES_MAX; i++) {
		bool kept = settings->capabilities & PRIVILEGE(i);
		/* -1: the kernel does not know the capability. */
		bool there = prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1;

		*ret_capability = i;
		if (kept && !there)
			return -EPERM;
		if (!kept && there && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			return -errno;
	}
	return 0;
}

int apply_keep(const struct process_settings *settings)
{
	if (!settings->capabilities_set)
		return 0;
	return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static int raise_ambient(uint64_t capabilities, int *ret_capability)
{
	for (int i = 0; i < CAPABILITIES_MAX; i++) {
		if (!(capabilities & PRIVILEGE(i)) ||
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) == 0)
			continue;
		*ret_capability = i;
		return -errno;
	}
	return 0;
}

/* @capabilities is not 0. */
static int lowest(uint64_t capabilities)
{
	int i = 0;

	while (!(capabilities & PRIVILEGE(i)))
		i++;
	return i;
}

int apply_capabilities(const struct process_settings *settings, bool root, int *ret_capability)
{
	uint64_t kept = settings->capabilities;
	struct capability_sets sets;
	int r;

	*ret_capability = -1;
	/* EINVAL: this kernel or sandbox has no ambient capabilities. */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return -errno;
	if (!settings->capabilities_set)
		return 0;
	r = capability_sets_get(&sets);
	if (r < 0)
		return r;
	if (root) {
		/* The bounding set does not limit inheritable capabilities. */
		sets.inheritable &= kept;
		return capability_sets_set(&sets);
	}
	if (kept & ~sets.permitted) {
		*ret_capability = lowest(kept & ~sets.permitted);
		return -EPERM;
	}
	sets.effective = sets.permitted = sets.inheritable = kept;
	r = capability_sets_set(&sets);
	return r < 0 ? r : raise_ambient(kept, ret_capability);
}

int apply_no_new_privileges(const struct process_settings *settings)
{
	if (!settings->no_new_privileges)
		return 0;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}
