/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reply: reads one HTTP/1.1 answer to a GET, POST or PUT out of a stream of bytes.
 *
 * Begin, then feed what arrives, in pieces of any size, until it is done; at the end of the
 * connection ask reply_end() whether the answer was whole. Interim answers (1xx but 101) are
 * skipped. The length of the body is found by the rules of RFC 9112 section 6.3: none (204, 304),
 * chunked, Content-Length, until the connection ends. Strict where leniency could take a cut or
 * garbled answer for a whole one. Pure: no I/O and no allocation.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLY_BODY_KEPT 4096        /* first bytes of the body that are kept */
#define REPLY_LINE_KEPT 256         /* of a header line; no line that matters may be longer */
#define REPLY_HEAD_MAX  (64 * 1024) /* bytes of all header and trailer lines together */

enum reply_state {
	REPLY_STATUS_LINE,
	REPLY_HEADERS,
	REPLY_BODY_COUNTED,   /* Content-Length */
	REPLY_BODY_UNTIL_END, /* of the connection */
	REPLY_CHUNK_SIZE,
	REPLY_CHUNK_DATA,
	REPLY_CHUNK_END, /* the line end behind a chunk's data */
	REPLY_TRAILERS,
	REPLY_DONE,
	REPLY_BROKEN, /* not HTTP/1.x */
};

struct reply {
	enum reply_state state;
	int status;
	bool keep_alive;      /* when done: may the connection be used again? */
	uint64_t received;    /* bytes fed, the interim answers' included */
	uint64_t body_length; /* bytes of body so far, without the chunked coding */
	size_t body_kept;     /* of them in body: at most REPLY_BODY_KEPT */
	char body[REPLY_BODY_KEPT];

	/* private */
	uint64_t left;   /* bytes of the body or chunk still to come */
	uint64_t length; /* Content-Length */
	bool has_length, chunked, coded, close, persist, http10;
	size_t head; /* bytes of lines so far */
	size_t line_length;
	char line[REPLY_LINE_KEPT];
};

void reply_begin(struct reply *reply);

/*
 * Take @length bytes. Returns 1 when the answer is done, 0 when there is more to come, -EBADMSG
 * where this is no HTTP reply. @ret_used is how many bytes belonged to it: fewer than @length
 * only when it is done, and the rest was never asked for.
 */
int reply_feed(struct reply *reply, const char *data, size_t length, size_t *ret_used);

/* The connection ended. Returns 1 where the answer is whole by that, -ENODATA where it was cut. */
int reply_end(struct reply *reply);
