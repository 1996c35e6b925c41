/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * doctor: what of the kernel's features baton can use here, by trying each ("baton doctor").
 *
 * doctor_checks is the table: a name, what the feature is for, what is not to be had without it,
 * and the function that tries it. Each function runs in a process of its own with a deadline, if
 * permitted in a network namespace of its own. One that crashes or hangs is a result like any
 * other: its descriptors go with it, and what it made in cgroups or bpffs bears doctor_run()'s name
 * and is removed in any case. It touches no socket, cgroup or pin but its own.
 *
 * Rendering and verdicts are pure: they know the table and the results.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "common/error.h"
#include "common/privilege.h"

#define DOCTOR_TIMEOUT_MS 10000 /* of one check; they take some milliseconds */
#define DOCTOR_CHECKS_MAX 32

/* What a user chooses, and what each check counts for. */
enum doctor_feature {
	DOCTOR_TIER_EBPF,
	DOCTOR_TIER_CBPF,
	DOCTOR_TIER_HASH,
	DOCTOR_MODE_INHERIT,
	DOCTOR_MODE_NATIVE,
	DOCTOR_MODE_TRANSPARENT,
	_DOCTOR_FEATURE_COUNT,
};

enum doctor_severity {
	DOCTOR_NEEDED,  /* without it baton does not do what it promises: exit status 1 */
	DOCTOR_ADVISED, /* without it something is worse: a warning */
};

/* What a check is given, and what it may say besides how it went. */
struct doctor_trial {
	const char *name; /* for what it makes in cgroups and bpffs */
	char note[128];   /* if it works: what was found ("4096") */
	char how[256];    /* if it does not: how to get it, if the table knows less */
};

/*
 * 0: it works. -EPROTO with a reason: it does something else than it should. Another negative
 * errno with a reason: it does not work.
 */
typedef int doctor_function(struct doctor_trial *trial, struct error *err);

struct doctor_check {
	const char *name;    /* for programs: "sk-reuseport" */
	const char *title;   /* for people */
	const char *purpose; /* what it is for */
	enum doctor_severity severity;
	unsigned needed_for; /* 1 << feature: not to be had without it */
	unsigned improves;   /* 1 << feature: worse without it */
	bool own_network;    /* run it in a network namespace of its own, if that is permitted */
	unsigned timeout_ms; /* 0: DOCTOR_TIMEOUT_MS */
	doctor_function *function;
	const char *cost; /* of being without it */
	/*
	 * If it is refused (EPERM, EACCES): what it takes, from which follows what forbids it; and
	 * how to get it if that is not known. Both may be NULL.
	 */
	const struct privilege_need *need;
	const char *privilege;
	const char *how; /* how to get it otherwise */
};

extern const struct doctor_check doctor_checks[];
extern const size_t doctor_checks_count;

struct doctor_result {
	bool works;
	int error;      /* errno; 0: it works, or does something else than it should */
	char text[512]; /* if it works: the note, or ""; else why it does not */
	char how[256];  /* "": as the table says */
};

/* Run @n checks, one after the other. Signals that would end the process wait until it is over. */
void doctor_run(const struct doctor_check *checks, size_t n, struct doctor_result *ret_results);

struct doctor_report {
	char kernel[256]; /* "Linux 6.18.44 x86_64" */
	char user[128];   /* "root (uid 0)" */
	const struct doctor_check *checks;
	const struct doctor_result *results;
	size_t n;
};

/* How many checks of this severity do not work. */
size_t doctor_count(const struct doctor_report *report, enum doctor_severity severity);

enum doctor_verdict {
	DOCTOR_VERDICT_NO,
	DOCTOR_VERDICT_YES,
	DOCTOR_VERDICT_YES_BUT, /* what improves it does not all work */
};

/*
 * Is @feature to be had? @ret_names are the titles of the checks that speak against it (or, for
 * DOCTOR_VERDICT_YES_BUT, whose feature it has to do without), separated by commas; cut at @size.
 */
enum doctor_verdict doctor_verdict(const struct doctor_report *report, enum doctor_feature feature,
				   char *ret_names, size_t size);

/* How to get what does not work. */
const char *doctor_how(const struct doctor_check *check, const struct doctor_result *result);

/* For people; for programs (docs/doctor.md has the keys): a new reference, NULL without memory. */
void doctor_print(FILE *out, const struct doctor_report *report);
json_t *doctor_json(const struct doctor_report *report);

/* Run all checks and print to stdout. Returns the exit status: 1 if something needed is missing. */
int doctor_main(bool json);

/* ---- what a daemon that was killed has left -------------------------------------------------- */

struct doctor_clean_options {
	const char *name; /* of the daemon, as -n has it; NULL: the default */
	bool remove;      /* else only list it */
	bool state;       /* also what outlives a daemon on purpose: /var/lib/NAME */
	bool json;
};

/*
 * List, or remove, what the daemon has left: cgroups, pins, files in the run directory. It touches
 * nothing of an instance whose agent or processes live, nothing if a daemon of that name runs, and
 * nothing that baton would not have made. Returns the exit status (common/exit_status.h):
 * EXIT_STATUS_BUSY if a daemon of that name runs, EXIT_STATUS_DEGRADED if instances live.
 */
int doctor_clean(const struct doctor_clean_options *options);
