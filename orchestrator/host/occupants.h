/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * occupants: who listens on an address, of all processes of the host: for people who must know whom
 * to end.
 *
 * The kernel is asked for all listening sockets at once (diag.h), at most once in OCCUPANTS_MS and
 * never for more than a twentieth of the time, however many ask: on a host with a thousand services
 * each of them may ask twice a second.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/address.h"
#include "common/cleanup.h"
#include "common/diag.h"
#include "common/error.h"
#include "common/openers.h"

#define OCCUPANTS_MS      1000
#define OCCUPANT_NAME_MAX OPENER_NAME_MAX
#define OCCUPANT_TEXT_MAX 96

/* occupants_find_holders() looks for so many at a time. */
#define OCCUPANTS_SOUGHT_MAX 64

/* A listening socket. */
struct occupant {
	uint64_t cookie, inode;
	uint64_t cgroup_id; /* of who made it; 0: the kernel does not say */
	uid_t uid;          /* whose it is */
	struct address address;
	struct diag_listener queue; /* how full it is, and was */
	/* occupants_find_holders(): a process that has it open; 0: none was found. */
	pid_t pid;
	char command[OCCUPANT_NAME_MAX];
};

struct occupants;

/* @diag is borrowed. */
int occupants_new(struct diag *diag, struct occupants **ret);
void occupants_free(struct occupants *occupants);
DEFINE_CLEANUP(struct occupants *, occupants_free);

/*
 * Fill in those of @address's reuseport group, at most @max, by what the kernel has said last; it
 * is asked again if that is too long ago. Returns how many, or a negative errno.
 */
int occupants_look(struct occupants *occupants, const struct address *address, struct occupant *ret,
		   size_t max);

/* The same, without a limit: call @found for each. Returns 0 or a negative errno. */
int occupants_each(struct occupants *occupants, const struct address *address,
		   void (*found)(void *userdata, const struct occupant *occupant), void *userdata);

/*
 * A number for those that listen on @address's port, whatever their addresses: another one if
 * others do. Returns 0 or a negative errno.
 */
int occupants_print(struct occupants *occupants, const struct address *address, uint64_t *ret);

/* Ask the kernel at the next look, whenever it was asked last. */
void occupants_forget(struct occupants *occupants);

/*
 * Fill in .pid and .command of at most OCCUPANTS_SOUGHT_MAX; @liking (NULL: whoever) says who is
 * looked at first (openers.h). It may be a search through all processes: not for every turn of the
 * loop.
 */
void occupants_find_holders(struct occupant *list, size_t n, const struct openers_liking *liking);

/* "pid 7 \"nginx\" (uid 33)", "somebody (uid 33)". Returns @ret. */
char *occupant_describe(const struct occupant *occupant, char ret[static OCCUPANT_TEXT_MAX]);

/*
 * @address could not be bound because it is in use: say who listens there, on this or another
 * address that overlaps, or that nobody does. Puts that in front of what @err says, and returns
 * true if nobody listens, but connections of an earlier server linger: they will be gone in time.
 */
bool occupants_explain(struct diag *diag, const struct address *address, struct error *err);
