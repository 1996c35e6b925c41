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
 * Can daemon @name pin there? Tries it, and removes what it made; a bpffs may be mounted
 * meanwhile. @key: in which folder, nobody else's.
 */
int bpffs_try(const char *name, const char *key, struct error *err);

/* 1: a bpffs is mounted; 0: none; negative errno: that cannot be told. */
int bpffs_is_mounted(void);

/*
 * What is pinned in the folder @from is in @to from now on, which bpffs_make() has made and where
 * nothing is.
 */
int bpffs_move(const char *from, const char *to, struct error *err);

/* Remove the folder @path and those above it, up to NAME's, that have become empty. */
void bpffs_remove(const char *path);

/* The folder of daemon @name: 1; 0: no bpffs is mounted; negative errno: that cannot be told. */
int bpffs_folder(const char *name, char ret[static BPFFS_PATH_MAX]);

/* Remove everything of daemon @name. For when nothing that it has started is alive any more. */
void bpffs_sweep(const char *name);
