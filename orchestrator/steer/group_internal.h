/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * group_internal: what group.c and group_locate.c share: a group, and who stands where in it, found
 * out by asking (group.h says how). Nobody else includes this.
 */
#pragma once

#include "common/diag.h"
#include "orchestrator/steer/group.h"

/*
 * The MSS of decoy k is this + k. Below what every network has, so that it shows; above 536, where
 * packet filters begin to suspect an attack.
 */
#define GROUP_DECOY_MSS 600

struct decoy {
	uint64_t cookie;
	int fd; /* -1: none */
};

struct group {
	struct address address;
	struct group_options options;
	struct diag *diag;
	struct positions positions;
	struct decoy decoys[POSITIONS_MAX];
	int member_fd; /* to attach the program through, while there is no decoy; else -1 */
	int closing;   /* the position of a decoy that is about to be closed; else -1 */
	bool entered;
};

/* Who answers at @position? The cookie of one of our decoys; 0: somebody else. */
int group_ask(struct group *group, size_t position, uint64_t *ret_cookie, struct error *err);

/* The same for all positions; the model is corrected. */
int group_ask_all(struct group *group, struct error *err);

/* Find out where the lost socket @fd stands, and correct the model. */
int group_locate(struct group *group, int fd, uint64_t cookie, struct error *err);
