/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

#define POLL_MS       20
#define LOCK_LINE_MAX 256

/* ---- who has it ----------------------------------------------------------------------------- */

static pid_t read_pid(int fd)
{
	char text[16] = "";
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	return n > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

/* Does the kernel say so (proc_locks(5))? The file may have the pid of one that has ended. */
static bool has_lock(pid_t pid, int fd)
{
	FILE *locks = fopen("/proc/locks", "re");
	unsigned major_of, minor_of;
	unsigned long long inode;
	char line[LOCK_LINE_MAX];
	bool found = false;
	struct stat st;
	int holder;

	if (!locks)
		return false;
	if (fstat(fd, &st) == 0)
		while (!found && fgets(line, sizeof(line), locks))
			found = sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%llu", &holder, &major_of,
				       &minor_of, &inode) == 4 &&
				holder == pid && inode == st.st_ino &&
				major_of == major(st.st_dev) && minor_of == minor(st.st_dev);
	fclose(locks);
	return found;
}

static void name_holder(int fd, char *ret, size_t size)
{
	pid_t pid = read_pid(fd);

	if (pid > 0 && has_lock(pid, fd))
		snprintf(ret, size, "pid %d", (int)pid);
	else
		snprintf(ret, size, "a process that cannot be seen from here");
}

/* ---- taking it ------------------------------------------------------------------------------ */

/* 0, -EAGAIN if somebody else has it, or another negative errno. */
static int try(int fd)
{
	int r;

	do
		r = flock(fd, LOCK_EX | LOCK_NB);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int wait_for(const char *path, int fd, unsigned wait_ms, struct error *err)
{
	uint64_t end_ms = clock_monotonic_ms() + wait_ms;
	char holder[64];
	int r = try(fd);

	if (r == -EAGAIN) {
		name_holder(fd, holder, sizeof(holder));
		log_info("another batond of this name runs, or is about to end: waiting up to "
			 "%u ms for %s, which has %s",
			 wait_ms, holder, path);
	}
	while (r == -EAGAIN && clock_monotonic_ms() < end_ms) {
		(void)poll(NULL, 0, POLL_MS);
		r = try(fd);
	}
	if (r == -EAGAIN) {
		name_holder(fd, holder, sizeof(holder));
		return error_text(err, -EBUSY,
				  "another batond of this name runs: %s has %s (-n gives this one "
				  "another name)",
				  holder, path);
	}
	return r < 0 ? error_set(err, r, "lock %s", path) : 0;
}

/* Who had the lock may have removed the file that we have waited for. */
static bool is_still(const char *path, int fd)
{
	struct stat held, there;

	return fstat(fd, &held) == 0 && lstat(path, &there) == 0 && held.st_dev == there.st_dev &&
	       held.st_ino == there.st_ino;
}

int lock_take(const char *path, unsigned wait_ms, int *ret_fd, struct error *err)
{
	cleanup_close int fd = -1;
	char text[16];
	int r;

	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? -ESTALE : -errno, "lock %s", path);
	r = wait_for(path, fd, wait_ms, err);
	if (r < 0)
		return r;
	if (!is_still(path, fd))
		return error_set(err, -ESTALE, "lock %s", path);
	/* For people, and for the next one that asks: if it cannot be written it is not told. */
	r = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)r, 0) != r)
		log_warning("%s: the pid of this batond cannot be written into it", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

void lock_remove(const char *path)
{
	(void)unlink(path);
}
