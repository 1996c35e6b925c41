/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings: parses hammer's command line.
 *
 * Durations are written as everywhere in baton ("300ms") and kept in microseconds. The requests are
 * made here once, so that sending one is one system call.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/expect.h"
#include "bench/tally.h"
#include "common/address.h"
#include "common/error.h"

#define SETTINGS_CLIENTS_MAX 100000
#define SETTINGS_SOURCES_MAX 254
#define SETTINGS_THREADS_MAX 64
#define SETTINGS_RATE_MAX    1000000
#define SETTINGS_REQUEST_MAX 1024 /* bytes of a request's header */
#define SETTINGS_POST_MAX    (UINT64_C(1) << 30)

struct settings {
	struct address target;
	uint32_t clients[_KIND_COUNT];
	uint32_t sources;
	uint32_t threads; /* that the clients are divided among */
	uint32_t rate;    /* GETs a second; 0: full speed */

	uint64_t duration_us; /* 0: until told to stop */
	uint64_t timeout_us;
	uint64_t grace_us;
	uint64_t keepalive_pause_us;
	uint64_t post_duration_us;
	uint64_t post_bytes;
	uint64_t interval_us; /* between the beginnings of two GETs, from the rate */

	char request[_KIND_COUNT][SETTINGS_REQUEST_MAX]; /* the header; KIND_IDLE: empty */
	size_t request_length[_KIND_COUNT];

	/* Which answers are right. */
	struct expect expect;
	struct expect expect_post;

	bool json;
	bool help; /* --help or --version was given: nothing else is set */
	bool version;
};

/* Returns 0, or -EINVAL with the reason in @err. In either case the caller ends *ret. */
int settings_parse(int argc, char **argv, struct settings *ret, struct error *err);

/* Free the contents, not the struct itself. */
void settings_done(struct settings *settings);

/* How many clients there are, of all kinds. */
size_t settings_clients(const struct settings *settings);

/* The text of --help. */
extern const char settings_help[];
