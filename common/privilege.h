/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * privilege: what a process may do, and what forbids it to do more: for messages about a system
 * call that was refused. "Run it as root" helps nobody who is root already, in a user namespace or
 * under the seccomp filter of a container.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/capability_sets.h"

#define PRIVILEGE_TEXT_MAX 256

struct privilege {
	uid_t euid;
	uint64_t capabilities; /* the effective ones */
	bool seccomp;          /* a filter is in force */
	bool namespaced;       /* in a user namespace that is not the first one */
};

/*
 * From the text of /proc/self/status and /proc/self/uid_map. What they do not say is taken to be
 * harmless: all capabilities, no filter, no namespace.
 */
void privilege_parse(const char *status, const char *uid_map, uid_t euid, struct privilege *ret);

/* Of the calling process, now. */
void privilege_read(struct privilege *ret);

/* The capabilities of @wanted that are missing. CAP_SYS_ADMIN contains CAP_BPF and CAP_PERFMON. */
uint64_t privilege_missing(const struct privilege *privilege, uint64_t wanted);

/* What was refused. */
struct privilege_need {
	const char *call;      /* "bpf(2)" */
	uint64_t wanted;       /* capabilities that it takes; 0: none */
	bool first_user_ns;    /* they must be those of the first user namespace */
	const char *otherwise; /* what to do if none of this forbids it; NULL: not known */
};

/*
 * What forbids it, and what to do: one sentence without a full stop. "" (and false) if nothing that
 * is known here does: the kernel is too old, or something else is in the way.
 */
bool privilege_advise(const struct privilege *privilege, const struct privilege_need *need,
		      char ret[static PRIVILEGE_TEXT_MAX]);

/*
 * For an error text: ": " and the advice if @code says that something was refused (EPERM, EACCES,
 * ENOSYS) and it is known what forbids it, or what else may; else "". Asks for the calling process.
 * Returns @ret.
 */
char *privilege_explain(int code, const struct privilege_need *need,
			char ret[static PRIVILEGE_TEXT_MAX]);

#define PRIVILEGE_BPF_OTHERWISE                                                                    \
	"find out what else forbids bpf(2): AppArmor, SELinux, lockdown (the kernel's log says so)"

/* Loading and attaching BPF programs, as every part of baton needs it. */
extern const struct privilege_need privilege_bpf;

/* Looking at sockets by a BPF iterator. */
extern const struct privilege_need privilege_iterator;

/* A socket of sock_diag(7): only a sandbox refuses it. */
extern const struct privilege_need privilege_sock_diag;
