/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/openers.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clean.h"
#include "common/cleanup.h"
#include "common/processes.h"

struct search {
	struct opener *list;
	size_t n;
	const struct openers_liking *liking;
	size_t n_settled;
	unsigned links;
};

void opener_describe(pid_t pid, const char *name, char ret[static OPENER_TEXT_MAX])
{
	if (pid > 0 && name[0])
		snprintf(ret, OPENER_TEXT_MAX, "pid %d \"%.15s\"", (int)pid, name);
	else if (pid > 0)
		snprintf(ret, OPENER_TEXT_MAX, "pid %d", (int)pid);
	else if (name[0])
		snprintf(ret, OPENER_TEXT_MAX, "\"%.15s\"", name);
	else
		snprintf(ret, OPENER_TEXT_MAX, "a process of its");
}

void opener_read_name(pid_t pid, char ret[static OPENER_NAME_MAX])
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, ret, OPENER_NAME_MAX - 1);
	ret[n > 0 ? n : 0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	clean_name(ret); /* anybody may choose his name */
}

static void found(struct search *search, struct opener *opener, pid_t pid, const char *fd)
{
	const struct openers_liking *liking = search->liking;
	bool settles = !liking->is_preferred || liking->is_preferred(liking->userdata, pid);

	if (opener->settled || opener->pid == pid || (opener->pid != 0 && !settles))
		return;
	opener->pid = pid;
	opener->fd = (int)strtol(fd, NULL, 10);
	opener->settled = settles;
	search->n_settled += settles;
	opener_read_name(pid, opener->command);
}

/* Nothing that is still to be looked at could change anything. */
static bool is_over(const struct search *search)
{
	return search->links >= OPENERS_LINKS_MAX || search->n_settled == search->n;
}

static void search_process(struct search *search, pid_t pid)
{
	struct dirent *entry;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return;
	while (!is_over(search) && (entry = readdir(dir))) {
		uint64_t inode = processes_socket(pid, entry->d_name);

		search->links++;
		for (size_t k = 0; inode != 0 && k < search->n; k++)
			if (search->list[k].inode == inode)
				found(search, &search->list[k], pid, entry->d_name);
	}
	closedir(dir);
}

void openers_find(struct opener *list, size_t n, const struct openers_liking *liking)
{
	struct search search = {.list = list, .n = n, .liking = liking};
	struct dirent *entry;
	DIR *dir;

	for (size_t k = 0; k < n; k++) {
		list[k].pid = 0;
		list[k].settled = false;
	}
	for (size_t k = 0; k < liking->n_first && !is_over(&search); k++)
		search_process(&search, liking->first[k]);
	if (is_over(&search))
		return;
	search_process(&search, getpid());
	dir = opendir("/proc");
	if (!dir)
		return;
	while (!is_over(&search) && (entry = readdir(dir))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (pid > 0 && pid != getpid())
			search_process(&search, pid);
	}
	closedir(dir);
}
