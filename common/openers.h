/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * openers: which process of the host has a socket open, whoever it is. The kernel does not say, so
 * the descriptors of all processes are looked at (proc(5)) that may be looked at. That is for rare
 * questions: a search looks at OPENERS_LINKS_MAX descriptors at most.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define OPENERS_LINKS_MAX 65536
#define OPENER_NAME_MAX   16 /* of a process, with its NUL: TASK_COMM_LEN */

struct opener {
	uint64_t inode; /* in: of the socket */
	pid_t pid;      /* out: a process that has it open; 0: none was found */
	int fd;         /* out: its number there */
	char command[OPENER_NAME_MAX];
	bool settled; /* out: by a process that is preferred */
};

/* Who comes before others, and is worth looking at first. Plain data; all zero: nobody. */
struct openers_liking {
	const pid_t *first; /* if these have all that is sought, no other process is looked at */
	size_t n_first;
	bool (*is_preferred)(void *userdata, pid_t pid); /* NULL: whoever is found first will do */
	void *userdata;
};

/*
 * Fill in .pid, .fd and .command of each. The search ends as soon as a process that is preferred
 * was found for each.
 */
void openers_find(struct opener *list, size_t n, const struct openers_liking *liking);

/* The cleaned name of a process; "" if it is gone, or hidden. */
void opener_read_name(pid_t pid, char ret[static OPENER_NAME_MAX]);

#define OPENER_TEXT_MAX 48

/*
 * For messages: 'pid 12 "node"'. @pid may be 0 and @name "" if they are not known: '"node"',
 * 'pid 12', "a process of its".
 */
void opener_describe(pid_t pid, const char *name, char ret[static OPENER_TEXT_MAX]);
