/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sockets: the listening sockets of the process: those that were passed to it (sd_listen_fds(3)),
 * or those that it opens itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/baton.h"
#include "common/error.h"

struct sockets {
	struct {
		int fd;
		char *name;
	} list[BATON_SOCKETS_MAX];
	int n;
	bool inherited; /* they were passed */
};

/* How to listen. */
struct sockets_wish {
	const char *const *listen; /* NULL-terminated; may itself be NULL */
	int backlog;
	bool blocking;
	bool share; /* SO_REUSEPORT on own sockets */
};

/*
 * Take the sockets that were passed; if there are none, listen. Returns 0, or a negative errno and
 * *ret is empty: own sockets are closed, passed ones stay open.
 */
int sockets_open(const struct sockets_wish *wish, struct sockets *ret, struct error *err);

/*
 * From now on the passed sockets are in use. sockets_open() does not look at their descriptors
 * again in this process: once closed, their numbers may mean something else.
 */
void sockets_keep(const struct sockets *sockets);

/* Close them all. */
void sockets_done(struct sockets *sockets);
