/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tally: counts what became of every request.
 *
 * A request is begun once and ends once, with one outcome, whatever happened in between:
 *
 *	requests == ok + lost + client errors + under way
 *
 * lost is the sum of the outcomes from OUTCOME_REFUSED to OUTCOME_OTHER. OUTCOME_CLIENT_ERROR is
 * the load generator's own fault (no descriptor, no port) and kept apart, but never left out.
 *
 * A swap is a stretch of time that the user marks. A request counts as inside a swap if any part of
 * it was. A phase begins at the start and at each tally_phase(). A connection belongs to the phase
 * in which it was begun, and its answers are counted there, by their text.
 *
 * Times are microseconds since any fixed point. Pure but for the memory of the phases.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/histogram.h"

#define TALLY_PHASES_MAX  256
#define TALLY_SWAPS_MAX   1024
#define TALLY_BODIES_MAX  64  /* distinct answers of one phase */
#define TALLY_BODY_KEPT   128 /* bytes of each that are compared and shown */
#define TALLY_NAME_MAX    64
#define TALLY_ERRNOS_MAX  16
#define TALLY_SAMPLES_MAX 20
#define TALLY_SAMPLE_MAX  200

enum kind {
	KIND_SHORT,
	KIND_KEEPALIVE,
	KIND_POST,
	KIND_IDLE, /* sends no requests; a connection that cannot be made counts as one */
	_KIND_COUNT,
};

enum outcome {
	OUTCOME_OK,
	OUTCOME_REFUSED,      /* ECONNREFUSED to connect() */
	OUTCOME_RESET,        /* RST, before or in the answer */
	OUTCOME_CLOSED_EARLY, /* the connection ended before the answer did */
	OUTCOME_TIMED_OUT,    /* no whole answer within the timeout */
	OUTCOME_WRONG_STATUS, /* or not HTTP at all */
	OUTCOME_WRONG_BODY,   /* or bytes behind the answer that nobody asked for */
	OUTCOME_STUCK,        /* unfinished when the grace after the end was over */
	OUTCOME_OTHER,        /* any other error of the network, by errno */
	OUTCOME_CLIENT_ERROR, /* the generator's fault, by errno */
	_OUTCOME_COUNT,
};

struct tally_body {
	char text[TALLY_BODY_KEPT];
	size_t length;
	uint64_t count;
};

struct tally_phase {
	char name[TALLY_NAME_MAX];
	uint64_t begin_us;
	uint64_t connections;
	uint64_t ok, lost, client_errors;
	struct tally_body *bodies; /* TALLY_BODIES_MAX of the tally's */
	size_t n_bodies;
	size_t last_body;      /* the last one that was counted: searched first */
	uint64_t other_bodies; /* answers for which bodies has no room */
};

struct tally_swap {
	uint64_t begin_us, end_us; /* end 0: not over */
};

struct tally {
	uint64_t begin_us, end_us;
	uint64_t requests[_KIND_COUNT];
	uint64_t outcomes[_KIND_COUNT][_OUTCOME_COUNT];
	uint64_t lost_inside; /* of the lost ones */

	uint64_t connections[_KIND_COUNT]; /* made */
	uint64_t retried;                  /* RFC 9112 section 9.3.1: see client.h */
	uint64_t idle_closed;   /* keep-alive connections closed with no request under way */
	uint64_t early_answers; /* they were complete before the request was */
	uint64_t silent_closed, silent_reset, silent_open; /* KIND_IDLE */

	struct histogram inside, outside; /* of the requests that ended well */

	struct tally_phase *phases; /* TALLY_PHASES_MAX of them */
	struct tally_body *bodies;  /* of all phases: memory is used by those that come */
	size_t n_phases;
	struct tally_swap *swaps; /* TALLY_SWAPS_MAX of them */
	size_t n_swaps;

	struct {
		int code;
		uint64_t count;
	} errnos[TALLY_ERRNOS_MAX]; /* of other and client errors */
	size_t n_errnos;
	uint64_t commands_refused;

	char samples[TALLY_SAMPLES_MAX][TALLY_SAMPLE_MAX]; /* the first losses, in words */
	size_t n_samples;
};

/* What a request remembers from its beginning to its end. */
struct tally_mark {
	enum kind kind;
	uint32_t phase; /* of its connection */
	uint64_t begin_us;
	size_t swaps; /* begun before it */
	bool inside;  /* one was under way */
};

/* Begin, with a phase "start". Nothing is allocated later. Returns 0 or -ENOMEM. */
int tally_init(struct tally *tally, uint64_t now_us);
/* Free the contents, not the struct itself. */
void tally_done(struct tally *tally);

/*
 * The user's marks. Return 0, -EALREADY for a swap that begins inside another, -ENOENT for an end
 * of none, -ENOSPC if there are too many, -EINVAL for a phase with no name or too long a name.
 */
int tally_swap_begin(struct tally *tally, uint64_t now_us);
int tally_swap_end(struct tally *tally, uint64_t now_us);
int tally_phase(struct tally *tally, const char *name, uint64_t now_us);

/*
 * Add what @from has counted, which was begun at the same time and was given the same marks, with
 * the same times: those of @tally stay. Bodies and samples for which there is no room are counted,
 * or left out, as if @tally had met them itself.
 */
void tally_merge(struct tally *tally, const struct tally *from);

/* A connection is begun. Returns its phase. */
uint32_t tally_connection_begin(struct tally *tally);

/* A request begins. The caller sets .phase as soon as it knows the connection. */
void tally_request_begin(struct tally *tally, enum kind kind, uint64_t now_us,
			 struct tally_mark *ret);

/* A request ends. @latency_us counts for OUTCOME_OK, @code (errno, or 0) for OTHER and
 * CLIENT_ERROR. */
void tally_request_end(struct tally *tally, const struct tally_mark *mark, enum outcome outcome,
		       uint64_t now_us, uint64_t latency_us, int code);

/* A whole answer came on a connection of @phase. Count its body, without white space around it. */
void tally_body(struct tally *tally, uint32_t phase, const char *body, size_t length);

/* Keep the description of a loss, if there is room. */
bool tally_wants_sample(const struct tally *tally);
void tally_sample(struct tally *tally, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Sums over the kinds; @kind _KIND_COUNT means all of them. */
uint64_t tally_requests(const struct tally *tally, enum kind kind);
uint64_t tally_outcome(const struct tally *tally, enum kind kind, enum outcome outcome);
uint64_t tally_lost(const struct tally *tally, enum kind kind);
uint64_t tally_connections(const struct tally *tally);
uint64_t tally_under_way(const struct tally *tally);

/* hammer's exit status. 0: nothing lost; 1: something lost; 3: nothing lost, but client errors. */
int tally_exit_status(const struct tally *tally);

const char *kind_name(enum kind kind);          /* "short" */
const char *outcome_name(enum outcome outcome); /* "closed_early" */
bool outcome_is_lost(enum outcome outcome);

/* The text without white space at its ends: returns where it begins, and sets *length. */
const char *tally_trim(const char *text, size_t *length);
