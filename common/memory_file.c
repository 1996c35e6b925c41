/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/memory_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"

static int open_unnamed(const char *first, int flags)
{
	const char *const folders[] = {first, "/dev/shm", "/tmp"};
	int r = -ENOENT;

	for (size_t k = 0; k < sizeof(folders) / sizeof(folders[0]); k++) {
		int fd = folders[k] ? open(folders[k], O_TMPFILE | O_RDWR | O_EXCL | flags, 0600)
				    : -1;

		if (fd >= 0)
			return fd;
		if (folders[k])
			r = -errno;
	}
	return r;
}

static int fill(int fd, const char *text, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = pwrite(fd, text + done, length - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

int memory_file_make(const char *name, const char *text, size_t length, bool keep,
		     const char *folder, int *ret_fd, struct error *err)
{
	unsigned flags = MFD_ALLOW_SEALING | (keep ? 0 : MFD_CLOEXEC);
	cleanup_close int fd = memfd_create(name, flags);
	bool hidden = fd < 0 && (errno == ENOSYS || errno == EPERM);
	int r;

	if (hidden)
		fd = open_unnamed(folder, keep ? 0 : O_CLOEXEC);
	if (hidden && fd < 0)
		return error_set(err, fd,
				 "make a file for %s (a seccomp filter forbids memfd_create(2), "
				 "and neither /dev/shm nor /tmp can have an unnamed one)",
				 name);
	if (fd < 0)
		return error_set(err, -errno, "make a file in memory for %s", name);
	r = fill(fd, text, length);
	if (r == 0 && !hidden &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		r = -errno;
	if (r < 0)
		return error_set(err, r, "write the file for %s", name);
	*ret_fd = TAKE_FD(fd);
	return 0;
}
