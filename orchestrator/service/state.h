/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * state: what must outlive the daemon, in state.json.
 *
 * Per service: the last generation used, so that a number is never used twice; the one that serves;
 * and the command and environment of upgrades, for as long as they are those to restart with, with
 * what the file said then. What has run before is in files of its own (history_file.h). The file is
 * versioned
 * ({"version": 1, "services": {"web": {"generation": 7, "serving": 6, "command": ["..."]}}}),
 * written to a temporary file, fsync'ed and renamed over the old one. Services that are no longer
 * configured keep their entry.
 */
#pragma once

#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

struct state;

/*
 * Open @file; where it does not exist, start empty (its folder is made, mode 0700). A file that
 * is damaged (-EBADMSG) or of a later version (-EPROTONOSUPPORT) is an error that names it: nothing
 * is overwritten.
 */
int state_open(const char *file, struct state **ret, struct error *err);
void state_free(struct state *state);
DEFINE_CLEANUP(struct state *, state_free);

/*
 * Take the next generation number of @service (the first is 1) and save before returning. Where
 * saving fails no number is taken. -EOVERFLOW after the last one.
 */
int state_next_generation(struct state *state, const char *service, uint32_t *ret,
			  struct error *err);

/*
 * Remember @command (NULL: none) as the one to restart @service with, and save. -EILSEQ where it is
 * not UTF-8 text, which the file cannot hold: then none is remembered.
 */
int state_set_command(struct state *state, const char *service, char *const *command,
		      struct error *err);

/*
 * Remember @generation as the one that serves (0: none does), and save. A daemon that takes over
 * in the middle of a rollout knows by it which one had not been given up.
 */
int state_set_serving(struct state *state, const char *service, uint32_t generation,
		      struct error *err);

/* 0: none is remembered. */
uint32_t state_serving(const struct state *state, const char *service);

/* A copy of what is remembered (a vector); NULL where nothing is, or without memory. */
char **state_command(const struct state *state, const char *service);

/* The same for what an upgrade has added to the environment ("NAME=value"; NULL: nothing). */
int state_set_environment(struct state *state, const char *service, char *const *environment,
			  struct error *err);
char **state_environment(const struct state *state, const char *service);

/*
 * What the file said when these two were given, as a text; NULL: nobody noted it. When it says
 * something else they count no longer.
 */
int state_set_base(struct state *state, const char *service, const char *base, struct error *err);
char *state_base(const struct state *state, const char *service);

/* The number of instances that "scale" has set; 0: what the configuration says. */
int state_set_instances(struct state *state, const char *service, uint32_t instances,
			struct error *err);
uint32_t state_instances(const struct state *state, const char *service);
