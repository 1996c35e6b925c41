/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reply: reads one HTTP/1.1 answer to a GET, POST or PUT out of a stream of bytes.
 *
 * Call reply_begin(), then reply_feed() with what arrives, in pieces of any size, until it is done.
 * At the end of the connection reply_end() says whether the answer was whole. Interim answers (1xx
 * but 101) are skipped. The length of the body follows the rules of RFC 9112 section 6.3: none
 * (204, 304), chunked, Content-Length, until the connection ends. The parser is strict: a cut or
 * garbled answer is never taken for a whole one. Pure.
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

/* Begin to read an answer. */
void reply_begin(struct reply *reply);

/*
 * Take @length bytes. Returns 1 if the answer is complete, 0 if more must come, -EBADMSG if this is
 * no HTTP answer. *ret_used is how many bytes belonged to it. It is less than @length only if the
 * answer is complete: nobody has asked for the rest.
 */
int reply_feed(struct reply *reply, const char *data, size_t length, size_t *ret_used);

/*
 * The connection has ended. Returns 1 if that completes the answer, -ENODATA if the answer was cut.
 */
int reply_end(struct reply *reply);
