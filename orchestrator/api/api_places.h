/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_places: who gets one of the API's places, and how long for. Pure: the door (api_door.h) asks.
 *
 * Each connection has a place. Root and the daemon's owner share API_OWNERS_MAX places, which
 *nobody else can take. The readers, whom the group lets in, share API_READERS_MAX, of which one
 *account has at most API_READER_MAX. Whoever comes when all are taken gets the place of a
 *connection that is of no use:
 *
 *	- of the account that has most, if that has more than the newcomer's;
 *	- else, or if its account has all that it may have, of the newcomer's account;
 *
 * the oldest one that has not sent a whole request, or for the owners the oldest one whose answer
 * has not been taken for API_PATIENCE_MS. If there is none, there is no place. So half-open
 * connections keep nobody out, however many there are.
 *
 * Each phase of a connection has its time. A follower of events whom there is nothing to tell may
 * stay for ever.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define API_OWNERS_MAX  64
#define API_READERS_MAX 64
#define API_READER_MAX  16
#define API_PLACES_MAX  (API_OWNERS_MAX + API_READERS_MAX)

/* How many of them may follow events. */
#define API_STREAMS_OWNERS_MAX  32
#define API_STREAMS_READERS_MAX 32
#define API_STREAMS_READER_MAX  8

/* How many may be given a list of connections at once, from the request to the last byte. */
#define API_LISTS_OWNERS_MAX  8
#define API_LISTS_READERS_MAX 4
#define API_LISTS_READER_MAX  2

#define API_REQUEST_MS  10000 /* for a whole request, once it has begun */
#define API_IDLE_MS     30000 /* between two requests; for a follower to take what it is sent */
#define API_ANSWER_MS   60000 /* for the client to take a whole answer */
#define API_PATIENCE_MS 5000
#define API_GRACE_MS    100
#define API_SCARCE_MAX  8
#define API_REFUSAL_MS  2000 /* for a client to take its refusal */

enum place_phase {
	PLACE_FRESH,     /* a request is expected */
	PLACE_IDLE,      /* ... a further one */
	PLACE_BODY,      /* its head is there */
	PLACE_WAITING,   /* it is there; its answer is not: the daemon's business */
	PLACE_ANSWERED,  /* the answer is being sent */
	PLACE_FOLLOWING, /* an answer without end, and nothing to send */
	PLACE_TELLING,   /* ... and something to send */
	PLACE_REFUSED,   /* it has no place: it has been told so, and may read that */
	_PLACE_PHASE_COUNT,
};

struct place {
	uint32_t uid;
	bool owner;
	bool has_list; /* it is given, or waits for, a list of connections */
	bool leaving;  /* its place is another's already */
	enum place_phase phase;
	uint64_t since_ms;
	struct place *next, *previous;
};

struct places {
	struct place *first; /* the newest */
};

enum place_verdict {
	PLACE_FREE,
	PLACE_EXCHANGED,    /* *ret_victim has to go */
	PLACE_ACCOUNT_FULL, /* the account has all that one may have */
	PLACE_ALL_TAKEN,    /* by others of its kind, too */
	PLACE_NO_FILES,     /* batond needs the descriptors that are left */
};

/*
 * May a connection of the account @uid come in? *ret_victim: see PLACE_EXCHANGED. @scarce: there
 * are hardly any descriptors left, so somebody should go for it even if there is a place, if that
 * has asked nothing for API_GRACE_MS, or there are API_SCARCE_MAX of its kind. An owner comes in
 * without that, too.
 */
enum place_verdict places_admit(const struct places *places, uint32_t uid, bool owner, bool scarce,
				uint64_t now_ms, struct place **ret_victim);

/* May @place follow events? Never PLACE_EXCHANGED: a follower is of use. */
enum place_verdict places_follow(const struct places *places, const struct place *place);

/* May @place be given a list of connections? */
enum place_verdict places_list(const struct places *places, const struct place *place);

void places_add(struct places *places, struct place *place);
void places_remove(struct places *places, struct place *place);

void place_enter(struct place *place, enum place_phase phase, uint64_t now_ms);

/* When its time is over. UINT64_MAX: never. */
uint64_t place_deadline_ms(const struct place *place);
