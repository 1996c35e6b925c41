/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/open_files.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>

#include "common/log.h"

static struct rlimit before; /* as this process was started with; all 0: it was not raised */

void open_files_restore(void)
{
	if (before.rlim_max > 0)
		setrlimit(RLIMIT_NOFILE, &before);
}

void open_files_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	before = limit;
	limit.rlim_cur = limit.rlim_max;
	if (pthread_atfork(NULL, NULL, open_files_restore) != 0 ||
	    setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_warning("raise the limit of open files: %s", strerror(errno));
}
