/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/write_all.h"

#include <errno.h>
#include <unistd.h>

int write_all(int fd, const void *bytes, size_t size)
{
	const char *at = bytes;

	while (size > 0) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		/* No file does that, but a loop without an end would be worse. */
		if (n == 0)
			return -EIO;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}
