/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * advice: why a server's sockets are not what its service declares, and what to write or to change.
 * Pure: facts in, one sentence out. Whoever tells people of such a failure gathers the facts and
 * says what comes back, in a failure's reason, an event or the status: so all say the same.
 *
 * A sentence names what is so before it says what to do. It begins in lower case and has no full
 * stop, because it follows ": " or "; ". If it does not fit it is cut.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/address.h"

#define ADVICE_TEXT_MAX 512

/* What is wrong with the addresses that a server listens on? */
struct advice_addresses {
	const struct address *declared; /* "listen" */
	size_t n_declared;              /* at most 32 */
	uint32_t missing;               /* bit k: the server does not listen on declared[k] */
	/* What it listens on besides, as struct address has it. */
	const char (*strangers)[ADDRESS_TEXT_MAX];
	size_t n_strangers;
};

/* "": nothing is wrong. Otherwise it follows "; it ". Returns @ret. */
char *advice_addresses(const struct advice_addresses *facts, char ret[static ADVICE_TEXT_MAX]);

/* "Address already in use": why? */
struct advice_in_use {
	const struct address *declared;
	size_t n_declared;

	/* What the server has bound last, whether that was refused or not; NULL: not known. ":80"
	 * stands for "[::]:80" as well. */
	const struct address *bound;
	const char *holder; /* who has that address, "pid 7 \"nginx\""; NULL: not known, or we */
	bool lingers;       /* connections of an earlier server have it, and nobody listens */

	uid_t owner;            /* of the service's sockets */
	const char *owner_name; /* NULL: it has none */
	bool has_uid;
	uid_t uid; /* of the server when it bound */
	const char *user_name;

	const char *wrapper; /* the server was behind this one, and sockets were passed; NULL: no */

	bool inherits;            /* mode inherit: sockets are passed, and it is to use them */
	bool shares;              /* baton makes the server share its port (mode transparent) */
	bool could_share;         /* ... and would in mode "transparent" */
	const char *cannot_share; /* ... why it cannot; "" or NULL if it can */
};

/*
 * The address of which the last words of a server, @tail, say that it is in use, as nginx, node and
 * programs in Go do. "[::]:80" becomes ":80", see above. -ENOENT: they name none.
 */
int advice_find_address(const char *tail, struct address *ret);

/* Do they say that an address is in use? By the text or the name of EADDRINUSE, in any case. */
bool advice_says_in_use(const char *tail);

/*
 * Is @name (of a process) that of a program that starts another one and waits for it: a shell, an
 * init for containers, su, npm? LISTEN_PID names such a wrapper, so the server behind it ignores
 * the sockets that were passed (sd_listen_fds(3)).
 */
bool advice_is_wrapper(const char *name);

/* What to do about it. */
#define ADVICE_WRAPPER                                                                             \
	"such a server ignores the sockets that are passed: start it without the wrapper or by "   \
	"exec, or name the socket by {fd}"

/* Always says something. Returns @ret. */
char *advice_in_use(const struct advice_in_use *facts, char ret[static ADVICE_TEXT_MAX]);
