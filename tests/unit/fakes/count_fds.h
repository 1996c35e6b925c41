/* SPDX-License-Identifier: BSD-2-Clause */
/* count_fds: how many descriptors this process has, to see a leak. Included after cmocka.h. */
#pragma once

#include <dirent.h>
#include <stddef.h>

/* Two entries more than that, and one for the look itself: compare it with an earlier number. */
static inline size_t count_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(folder);
	while (readdir(folder))
		n++;
	closedir(folder);
	return n;
}
