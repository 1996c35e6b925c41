/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inspect: which reuseport program stands on a listening socket (ebpf/inspect.bpf.c).
 *
 * The only way to see it: the kernel offers no getsockopt for a group's program. Needs a kernel
 * with BTF (CONFIG_DEBUG_INFO_BTF) and CAP_BPF + CAP_PERFMON; if that is missing inspect_open()
 * says why, and the caller goes on without the check.
 */
#pragma once

#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

struct inspect;

int inspect_open(struct inspect **ret, struct error *err);
void inspect_free(struct inspect *inspect);
DEFINE_CLEANUP(struct inspect *, inspect_free);

/*
 * Of the group of the listening socket with @cookie (SO_COOKIE) in the caller's network namespace:
 * the id of its program (0: it has none; INSPECT_CLASSIC of ebpf/inspect.h: a classic one), and how
 * many sockets it has. -ENOENT, without a text: no such socket listens in a group. Listeners come
 * first in the kernel's walk, which ends with them: connections are not looked at.
 */
int inspect_listener(struct inspect *inspect, uint64_t cookie, uint32_t *ret_program_id,
		     uint32_t *ret_members, struct error *err);

/*
 * The same, but what was seen at most INSPECT_RECALL_MS ago will do. Whoever looks at each of many
 * shares one walk with the others, where one walk for each would take N squared. Whoever says what
 * is true now calls inspect_forget() first.
 */
#define INSPECT_RECALL_MS 100
int inspect_recall(struct inspect *inspect, uint64_t cookie, uint32_t *ret_program_id);

/* Something may have changed just now: the next inspect_recall() looks anew. Takes NULL. */
void inspect_forget(struct inspect *inspect);

/*
 * inspect_recall() is not going to be asked for it any more. To be called before the socket is
 * closed: a walk ends when it has seen all, and one that looks for a socket that is gone would go
 * on to the connections (ebpf/inspect.bpf.c).
 */
void inspect_drop(struct inspect *inspect, uint64_t cookie);

/* What the program is called that inspect_listener() has found last; "" if it found none. */
#define INSPECT_NAME_MAX 16
void inspect_name(const struct inspect *inspect, char ret[static INSPECT_NAME_MAX]);
