/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sockets: the listening sockets of a process: passed to it (sd_listen_fds(3)), or its own.
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
	bool inherited;
};

struct sockets_wish {
	const char *const *listen; /* NULL-terminated; may itself be NULL */
	int backlog;
	bool blocking;
	bool share; /* SO_REUSEPORT on own sockets */
};

/*
 * Take what was passed, else listen. On an error @ret holds nothing: own sockets are closed, passed
 * ones stay open.
 */
int sockets_open(const struct sockets_wish *wish, struct sockets *ret, struct error *err);

/*
 * What was passed is in use from now on: its numbers may come to mean something else in this
 * process, and sockets_open() does not look at them again.
 */
void sockets_keep(const struct sockets *sockets);

/* Close them all. */
void sockets_done(struct sockets *sockets);
