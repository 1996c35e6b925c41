/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * errand: what may hang is done by a helper, so that the daemon's loop never waits.
 *
 * A helper is a copy of the daemon, made by fork(2) for one errand. It calls a function that looks
 * at files and accounts as always (sight.h), and sends what it has seen through a pipe. Then the
 * daemon is called back, and the same functions recall the answers. A helper that has not answered
 * at its deadline is killed, and the daemon is told which file it was at:
 *
 *	"/mnt/nfs/app.env: no answer within 5s"
 *
 * Why a process for each errand:
 *
 *	A thread in a system call that does not return cannot be ended. The daemon could not end
 *	either: as long as one thread lives, its descriptors stay open, and with them the lock of
 *its name and the sockets, which the next daemon needs. Threads also share locks of libc and of
 *	name service modules with the children that fork(2) makes.
 *
 *	A helper that lives on would need everything told that a copy of the daemon knows. One that
 *	hangs would hold up the errands behind it: other services, other file systems.
 *
 * A helper keeps none of the daemon's descriptors but those that its errand needs, so that one that
 * cannot be killed (uninterruptible sleep) holds nothing but its memory. At most ERRANDS_MAX live
 * at once, those included.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"

#define ERRANDS_MAX       256
#define ERRAND_TIMEOUT_MS 5000

struct errand_spec {
	/* In the helper. What it changes in memory is lost. */
	void (*look)(void *userdata);
	/*
	 * In the daemon, from the loop, once, unless the errand is cancelled. 0: what is asked
	 * until this returns is answered as look() was. Negative: @why says it, with the path in
	 * front. The errand has been freed.
	 */
	void (*on_seen)(void *userdata, int r, const struct error *why);
	/*
	 * NULL: at the deadline the helper is killed, and on_seen() is told -ETIMEDOUT at once.
	 * Else this is called, and on_seen() only when the helper has ended, so that no second one
	 * goes to a place where one is stuck. It may not cancel the errand.
	 */
	void (*on_late)(void *userdata, const struct error *why);
	bool finishes; /* with on_late: it is not killed at the deadline (it writes) */
	void *userdata;
	uint64_t timeout_ms; /* 0: ERRAND_TIMEOUT_MS */
	int keep_fd;         /* the helper has this descriptor, too; 0: none */
};

struct errand;

/*
 * Send a helper. Fails if there can be no further process, or if ERRANDS_MAX have not come back;
 * @err says so. *ret is valid until on_seen() is called or the errand is cancelled.
 */
int errand_start(sd_event *event, const struct errand_spec *spec, struct errand **ret,
		 struct error *err);

/* Kill the helper, and forget it. Takes NULL. */
void errand_cancel(struct errand *errand);
DEFINE_CLEANUP(struct errand *, errand_cancel);

/*
 * At the end of the daemon, when no loop runs any more: wait for a helper that has to finish, sent
 * before or now.
 * False: it has not within @timeout_ms, and is killed. The errand is freed; on_seen() is
 * called before true is returned, and may send another one.
 */
bool errand_finish(struct errand *errand, uint64_t timeout_ms);
