/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/command_leaf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/open_files.h"

#define PREFIX "command."

/* More than there are commands that do not die of SIGKILL. */
#define TRIES 64

int command_leaf_open(const char *base, char ret_path[static CGROUP_PATH_MAX], int *ret_fd,
		      struct error *err)
{
	static unsigned last;
	char name[sizeof(PREFIX) + 16];
	uint64_t id;
	int r = -EBUSY;

	for (int k = 0; k < TRIES && r == -EBUSY; k++) {
		snprintf(name, sizeof(name), PREFIX "%u", ++last);
		r = cgroup_create(base, name, ret_path, &id, err);
	}
	if (r < 0)
		return r;
	*ret_fd = open(ret_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*ret_fd >= 0)
		return 0;
	r = error_set(err, -errno, "cgroup: %s", ret_path);
	(void)cgroup_remove(ret_path);
	return r;
}

/* @exit_signal: 0 if nobody but who waits for it is to hear of its end. */
static pid_t fork_inside(int fd, int exit_signal)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = (unsigned)exit_signal,
		.cgroup = (unsigned)fd,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/*
 * Linux 6.18 kills whoever begins in a cgroup that has been killed (cgroup.kill) more or less often
 * than that of its parent. No leaf has been; this process's own cgroup may have, before it was
 * there. That does not change while it lives: one child finds it out.
 */
static bool beginner_lives(int fd)
{
	static enum { UNTRIED, LIVES, DIES } answer;
	siginfo_t info = {};
	pid_t pid;

	if (answer != UNTRIED)
		return answer == LIVES;
	pid = fork_inside(fd, 0);
	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return true; /* the real one meets the same */
	while (waitid(P_PID, (id_t)pid, &info, WEXITED | __WALL) < 0 && errno == EINTR)
		;
	answer = info.si_code == CLD_EXITED ? LIVES : DIES;
	return answer == LIVES;
}

pid_t command_leaf_fork(int fd, bool *ret_join)
{
	pid_t pid = -1;

	*ret_join = false;
	errno = ENOSYS;
	if (beginner_lives(fd))
		pid = fork_inside(fd, SIGCHLD);
	if (pid == 0)
		open_files_restore(); /* fork(3) would do so */
	if (pid >= 0 || errno == EAGAIN || errno == ENOMEM)
		return pid;
	/* Older kernels, containers that forbid it, and a cgroup that was killed before. */
	*ret_join = true;
	return fork();
}

int command_leaf_join(int fd)
{
	int file = openat(fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	int r;

	if (file < 0)
		return -errno;
	/* "0" stands for whoever writes it. */
	r = write(file, "0", 1) < 0 ? -errno : 0;
	close(file);
	return r;
}

void command_leaf_kill(const char *path)
{
	int r = cgroup_populated(path) == 0 ? 0 : cgroup_kill(path);

	if (r < 0)
		log_warning("kill what is left in the cgroup %s: %s", path, strerror(-r));
}

void command_leaf_remove(const char *path, struct removals *removals)
{
	command_leaf_kill(path);
	removals_add(removals, path);
}

void command_leaf_sweep(const char *base, struct removals *removals)
{
	const struct dirent *entry;
	DIR *dir = opendir(base);

	while (dir && (entry = readdir(dir))) {
		char path[CGROUP_PATH_MAX + sizeof(entry->d_name) + 1];

		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0 ||
		    strchr(entry->d_name + strlen(PREFIX), '.'))
			continue;
		snprintf(path, sizeof(path), "%s/%s", base, entry->d_name);
		command_leaf_remove(path, removals);
	}
	if (dir)
		closedir(dir);
}
