/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * event_writer: adds lines to the file of events (event_file.h) without waiting for the disk.
 *
 * A helper (errand.h) adds them, one at a time, a moment after they have happened, so that what
 * happens together costs one helper. Until the file has them they are kept in memory and in a
 * second file, the spare, which lies in the host's memory (/run) and is written at once: a daemon
 * that is killed at any moment leaves each line in one of the two. While the file does not answer
 * they wait there, up to EVENT_FILE_SIZE_MAX bytes.
 *
 * A line that the disk refuses (it is full) is lost, which the log tells: once, and again with the
 * number of lines that are missing as soon as it can be written again.
 *
 * While the daemon runs no helper is killed: half a line must not come back later. It holds the
 * lock of the daemon's name until it has written.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"

#define EVENT_FILE_SIZE_MAX     (1024 * 1024) /* the file is renamed when it would be larger */
#define EVENT_HEAD_MAX          160
#define EVENT_WRITER_TIMEOUT_MS 5000

/* What the first line of the file says of it. */
enum event_file_state {
	EVENT_FILE_OPEN, /* a daemon writes it, or was killed while it did */
	EVENT_FILE_LOST, /* the same, and events are missing at its end */
	EVENT_FILE_DONE, /* a daemon has ended, and nothing is missing */
	_EVENT_FILE_STATES,
};

struct event_place {
	const char *path;
	const char *spare; /* NULL: none */
	sd_event *event;   /* NULL: no helper; whoever adds writes, and waits for the disk */
	int keep_fd;       /* helpers keep it open (the lock); 0: none */
};

struct event_writer;

/*
 * For the file at @place, of which @size bytes are whole (0: there is none yet). @heads are its
 * first lines, all of one length. @pending (NULL: none) are lines that the spare had, each with its
 * newline: they are added first. NULL without memory.
 */
struct event_writer *event_writer_new(const struct event_place *place, size_t size,
				      char heads[_EVENT_FILE_STATES][EVENT_HEAD_MAX],
				      const char *pending);

/* Takes NULL. */
void event_writer_free(struct event_writer *writer);
DEFINE_CLEANUP(struct event_writer *, event_writer_free);

/* Add @line, which contains no newline. */
void event_writer_add(struct event_writer *writer, const char *line);

/*
 * At the end, when no loop runs any more: write what waits, and that it is the end, within
 * @timeout_ms. What is not written by then stays in the spare, for the next daemon.
 */
void event_writer_finish(struct event_writer *writer, uint64_t timeout_ms);
