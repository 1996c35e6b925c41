/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cgroup_control: the control files of one cgroup, for the cgroup modules alone.
 */
#pragma once

#define CGROUP_CONTROL_PATH_MAX 512 /* of a file; longer ones are refused */

/* Read the whole of @file. 1; 0: there is none, or its cgroup is gone; negative errno. */
int cgroup_control_read(const char *path, const char *file, char **ret);

/* Write @text in one go. -ENOENT: there is no such file (or no such cgroup). */
int cgroup_control_write(const char *path, const char *file, const char *text);
