/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_cgroup: cgroups that are nowhere. What is in them is as the test says, the same for all.
 */
#pragma once

#include <errno.h>
#include <stdio.h>

#include "orchestrator/config/config.h"
#include "orchestrator/host/cgroup.h"
#include "tests/unit/fakes/fake_calls.h"

#define FAKE_CGROUP_ID 77

static struct {
	int create_error;
	int populated; /* as cgroup_populated() returns it */
	int wait_result, remove_result;
	int limit_error;
} fake_cgroup;

int cgroup_create(const char *base, const char *leaf, char ret_path[static CGROUP_PATH_MAX],
		  uint64_t *ret_id, struct error *err)
{
	/* What a caller makes of it on failure is part of what is tested. */
	snprintf(ret_path, CGROUP_PATH_MAX, "%s/%s", base, leaf);
	if (fake_cgroup.create_error)
		return error_set(err, fake_cgroup.create_error, "cgroup %s", leaf);
	called("cgroup_create %s", leaf);
	*ret_id = FAKE_CGROUP_ID;
	return 0;
}

int cgroup_populated(const char *path)
{
	(void)path;
	return fake_cgroup.populated;
}

int cgroup_kill(const char *path)
{
	called("cgroup_kill %s", path);
	return 0;
}

int cgroup_wait_empty(const char *path, int timeout_ms)
{
	(void)timeout_ms;
	called("cgroup_wait_empty %s", path);
	return fake_cgroup.wait_result;
}

int cgroup_remove(const char *path)
{
	called("cgroup_remove %s", path);
	return fake_cgroup.remove_result;
}

/* Noted only if there is something to limit. */
int cgroup_limit(const char *path, const struct cgroup_limits *resources, struct error *err)
{
	if (fake_cgroup.limit_error)
		return error_set(err, fake_cgroup.limit_error, "limit %s", path);
	if (resources->memory_max || resources->cpu_max || resources->pids_max)
		called("cgroup_limit %s memory %llu cpu %u pids %u", path,
		       (unsigned long long)resources->memory_max, resources->cpu_max,
		       resources->pids_max);
	return 0;
}
