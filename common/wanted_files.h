/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wanted_files: why a server did not get a file that it wants for itself, and what to do about it:
 * a unix socket, a pid file, a lock. Two generations run at a time, so the new one meets those of
 * the old one. Nobody but the server knows; so its last words are looked at, and what they say is
 * believed. Pure.
 */
#pragma once

#include <stdbool.h>

#include "common/advice.h"

#define WANTED_PATH_MAX 108 /* of a unix socket, sun_path of unix(7) */

enum wanted_file_kind {
	WANTED_FILE_NONE, /* they tell of no such file */
	WANTED_FILE_SOCKET,
	WANTED_FILE_PID,
	WANTED_FILE_LOCK,
};

struct wanted_file {
	enum wanted_file_kind kind;
	char path[WANTED_PATH_MAX]; /* "": they do not name it */
};

/*
 * Of which file the last words of a server, @tail, say that it is in use, that it shows another
 * server, or that it is locked. The last line that says so counts. An address is no file: see
 * advice_find_address().
 */
void wanted_file_find(const char *tail, struct wanted_file *ret);

struct wanted_file_facts {
	struct wanted_file file;
	bool again;   /* the server was started again: its own last run may have left the file */
	bool others;  /* there are others of the service that may have it */
	bool several; /* ... of the same generation, too */
};

/* Follows "exited with status 1: "; .file.kind is not NONE. Returns @ret. */
char *wanted_file_advise(const struct wanted_file_facts *facts, char ret[static ADVICE_TEXT_MAX]);
