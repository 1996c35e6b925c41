/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/closing.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* getdents64(2); readdir(3) would allocate. */
struct entry {
	uint64_t inode;
	int64_t offset;
	unsigned short length;
	unsigned char type;
	char name[];
};

/* -1: "." and "..". */
static long to_number(const char *name)
{
	long number = 0;

	if (*name < '0' || *name > '9')
		return -1;
	for (; *name >= '0' && *name <= '9'; name++)
		number = number * 10 + (*name - '0');
	return number;
}

static void close_entries(const char *buffer, long n, int dir, unsigned first, unsigned last)
{
	for (long at = 0; at < n;) {
		const struct entry *entry = (const struct entry *)(buffer + at);
		long fd = to_number(entry->name);

		if (fd >= 0 && fd != dir && fd >= (long)first && fd <= (long)last)
			close((int)fd);
		at += entry->length;
	}
}

/* Without /proc: a descriptor may be above the limit of today, but seldom is. */
static int close_below_limit(unsigned first, unsigned last)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	for (rlim_t fd = first; fd <= last && fd < limit.rlim_cur; fd++)
		close((int)fd);
	return 0;
}

int closing_one_by_one(unsigned first, unsigned last)
{
	_Alignas(struct entry) char buffer[4096];
	int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long n;

	if (dir < 0)
		return close_below_limit(first, last);
	/* The kernel lists them by number: those that close meanwhile shift nothing. */
	while ((n = syscall(SYS_getdents64, dir, buffer, sizeof(buffer))) > 0)
		close_entries(buffer, n, dir, first, last);
	close(dir);
	return n < 0 ? close_below_limit(first, last) : 0;
}

int closing_range(unsigned first, unsigned last)
{
	if (close_range(first, last, 0) == 0)
		return 0;
	if (errno != ENOSYS && errno != EPERM)
		return -errno;
	return closing_one_by_one(first, last);
}
