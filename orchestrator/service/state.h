/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * state: keeps what must outlive the daemon, in state.json:
 *
 *	{"version": 1, "services": {"web": {"generation": 7, "serving": 6, "command": ["..."]}}}
 *
 * For each service: the last number of a generation, so that none is used twice; the generation
 * that serves; command and environment of an upgrade, as long as restarts use them, with what the
 * file said then; how many instances "scale" has set; of which endpoints the servers were found to
 * bind the twin (address.h). What has run before is in files of its own
 * (history_file.h). A service that was renamed keeps its entry: {"ids": {"site": "web"}}. The file
 * is written to a temporary file, fsync'ed and renamed over the old one. Services that are no
 *longer configured keep their entry.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"

struct state;
struct writer;

/*
 * Open @file; if it does not exist, start empty (its folder is made, mode 0700). What is there and
 * cannot be used is moved aside (file_move_aside()), and then the state is empty, too: a file that
 * is damaged, foreign, huge, unreadable or of a later version, a FIFO, a folder. Services come up
 * without their past. Returns 1 with a warning in @err after that, and if the folder could not be
 * made. The only failure is -ENOMEM.
 */
int state_open(const char *file, struct state **ret, struct error *err);
void state_free(struct state *state);
DEFINE_CLEANUP(struct state *, state_free);

/*
 * From now on @writer (NULL: whoever saves) writes the file, and what is not written yet, or cannot
 * be, is in @spare, on another file system (kept_file.h). What an earlier daemon has left in @spare
 * is taken, and saved, if it is later than what the file has ("change": a number that each save
 * increases); else it is removed.
 * Returns 1 with a note in @err if it was, or if @spare could not be used and was moved aside;
 * -ENOMEM. @writer outlives the state.
 */
int state_keep(struct state *state, sd_event *event, struct writer *writer, const char *spare,
	       struct error *err);

/*
 * All that is set below is saved before the function returns: a next daemon finds it. That the file
 * cannot be written, or not yet, is no failure, see state_keep(): what is to serve must not depend
 * on that file. The log tells once, and once when it is over.
 */

/*
 * Take the next generation number of @service (the first is 1). Returns 1, with the reason in @err,
 * if the number is known in memory only: a later daemon may take it again. -EOVERFLOW after the
 * last one; -ENOMEM.
 */
int state_next_generation(struct state *state, const char *service, uint32_t *ret,
			  struct error *err);

/* The number that was taken last; 0: none. */
uint32_t state_generation(const struct state *state, const char *service);

/*
 * Remember @command (NULL: none) for restarts of @service, and save. -EILSEQ if it is not UTF-8
 * text, which the file cannot hold: then none is remembered.
 */
int state_set_command(struct state *state, const char *service, char *const *command,
		      struct error *err);

/*
 * Remember that @generation serves (0: none does), and save. A daemon that takes over in the middle
 * of a rollout needs it to know which generation was not given up.
 */
int state_set_serving(struct state *state, const char *service, uint32_t generation,
		      struct error *err);

/* 0: none is remembered. */
uint32_t state_serving(const struct state *state, const char *service);

/* A copy of the remembered command (a vector); NULL: none is remembered, or no memory. */
char **state_command(const struct state *state, const char *service);

/* The same for the variables that an upgrade has added ("NAME=value"; NULL: none). */
int state_set_environment(struct state *state, const char *service, char *const *environment,
			  struct error *err);
char **state_environment(const struct state *state, const char *service);

/*
 * What the file said when these two were given, as a text; NULL: nobody noted it. When it says
 * something else they count no longer.
 */
int state_set_base(struct state *state, const char *service, const char *base, struct error *err);
char *state_base(const struct state *state, const char *service);

/*
 * Endpoints of @service, as their addresses' texts, whose servers bind the twin of what is
 * declared: @address is that twin.
 */
int state_set_twin(struct state *state, const char *service, const char *address, bool on,
		   struct error *err);
bool state_has_twin(const struct state *state, const char *service, const char *address);

/*
 * What agents, cgroups, pins and these notes call the service of this name, which had another name
 * before. NULL: the same. All other functions here are given that id.
 */
int state_set_id(struct state *state, const char *name, const char *id, struct error *err);
/* A copy; NULL: none is noted, or no memory. */
char *state_id(const struct state *state, const char *name);

/* Is any noted? */
bool state_has_ids(const struct state *state);

/* The number of instances that "scale" has set; 0: as configured. */
int state_set_instances(struct state *state, const char *service, uint32_t instances,
			struct error *err);
uint32_t state_instances(const struct state *state, const char *service);
