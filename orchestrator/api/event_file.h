/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * event_file: the events in a file of lines (line_file.h), so that they outlive the daemon: in
 * "/var/lib/NAME/events.jsonl" and, before these, "events.jsonl.1". The first line of each says
 *what it is:
 *
 *	{"baton":"events","version":1,"epoch":"<16 hex digits>","boot":"...","state":"open"}
 *	{"seq":41,"epoch":"...","time":"...","service":"web","event":"start", ...}
 *	...
 *
 * An epoch is a series of sequence numbers in which each number stands for one event. It goes on
 * from daemon to daemon as long as the file is whole: it is not if lines could not be written until
 * the daemon's end ("state" is "lost"), if the host has crashed under a daemon ("open", but another
 * boot), or if the file is gone or had to be moved aside. Then another epoch begins; the numbers go
 * on after the last one that is found, so that they grow within the file, too.
 *
 * A line that is not whole at the end is the last word of a daemon that was killed: it is cut off.
 * So is what a helper had not finished (event_writer.h): it is in the spare,
 * "/run/NAME/events.jsonl".
 */
#pragma once

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/api/event_writer.h"

#define EVENT_FILE_VERSION  1
#define EVENT_FILE_READ_MAX 1024 /* events at most that are read back: the newest */
#define EVENT_TIME_MAX      25   /* "2026-01-01T00:00:00.000Z" */

struct event_file;

/* An event that is read back. The texts are borrowed for the time of the call. */
struct event_line {
	uint64_t seq, epoch;
	const char *time, *service;
	const char *text; /* the whole line */
};

struct event_file_taker {
	void (*take)(void *userdata, const struct event_line *line);
	void *userdata;
};

/*
 * Open the file at @place, and have its events and those in its spare taken, oldest first; their
 * numbers grow. @fresh is the epoch that begins if none goes on. What is there and cannot be used
 * is moved aside (file_move_aside()): a file that is damaged, foreign, huge, unreadable or of a
 * later version, a FIFO, a folder. Returns 1 with a warning in @err after that. A file that cannot
 * be written now is tried again with each event. The only failure is -ENOMEM.
 *
 * This waits for the file; nothing later does (event_writer.h).
 */
int event_file_open(const struct event_place *place, uint64_t fresh,
		    const struct event_file_taker *taker, struct event_file **ret,
		    struct error *err);

/* At the end, when no loop runs any more: what waits is written, within a limit. */
void event_file_finish(struct event_file *file);

/*
 * Finishes and closes it. If all events are in it, the epoch goes on even after a crash of the
 * host.
 */
void event_file_free(struct event_file *file);
DEFINE_CLEANUP(struct event_file *, event_file_free);

/* The present epoch. */
uint64_t event_file_epoch(const struct event_file *file);

/* The last number that was used, as far as the file knows. */
uint64_t event_file_last(const struct event_file *file);

/* Add the line of an event. */
void event_file_add(struct event_file *file, const char *line);

/* Is @text an epoch as users read it, 16 hexadecimal digits of which some are not 0? */
bool event_epoch_parse(const char *text, uint64_t *ret);

#define EVENT_EPOCH_FORMAT "%016" PRIx64
