/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bpffs: where things are pinned: <bpffs>/NAME/SERVICE/ENDPOINT/.
 *
 * Pins outlive the daemon on purpose: the next one takes over what they name.
 */
#pragma once

#include <stddef.h>

#include "common/error.h"

#define BPFFS_PATH_MAX 512

/*
 * Make the folder for the pins of daemon @name, service @service, endpoint @key on the bpffs that
 * is mounted; if there is none it is mounted on /sys/fs/bpf. None of the three may have a dot in it
 * (bpf_lookup() in kernel/bpf/inode.c refuses such names).
 */
int bpffs_make(const char *name, const char *service, const char *key,
	       char ret[static BPFFS_PATH_MAX], struct error *err);

/*
 * Can daemon @name pin there? Tries it, and removes what it made but the folder NAME; a bpffs may
 * be mounted meanwhile. @key: in which folder, nobody else's.
 */
int bpffs_try(const char *name, const char *key, struct error *err);

/*
 * Keep the pins of daemon @name to this process, as long as the descriptor is open. The lock in the
 * run directory cannot do that alone: containers may share a bpffs without sharing /run. -EBUSY:
 * another daemon of that name has them. Waits up to a second for one that is ending. The folder
 * NAME must not be removed meanwhile but by bpffs_sweep().
 */
int bpffs_claim(const char *name, int *ret_fd, struct error *err);

/* How to get what these functions refuse with this negative errno; "" if that is not known. */
const char *bpffs_how(int code);

/* 1: a bpffs is mounted; 0: none; negative errno: that cannot be told. */
int bpffs_is_mounted(void);

/*
 * What is pinned in the folder @from is in @to from now on, which bpffs_make() has made and where
 * nothing is.
 */
int bpffs_move(const char *from, const char *to, struct error *err);

/* Remove the folder @path and the one above it, below NAME's, if they have become empty. */
void bpffs_remove(const char *path);

/* The folder of daemon @name: 1; 0: no bpffs is mounted; negative errno: that cannot be told. */
int bpffs_folder(const char *name, char ret[static BPFFS_PATH_MAX]);

/* Remove everything of daemon @name. For when nothing that it has started is alive any more. */
void bpffs_sweep(const char *name);
