/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * answer: what a health check keeps of an HTTP answer: its status, the server's words for it, and
 * the start of the body. Pure; fed by probe.
 *
 * Whatever the server sends ends up in status output, logs and JSON, so only printable ASCII is
 * kept: white space becomes a space, all else "?".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orchestrator/config/config.h"

#define ANSWER_REASON_MAX 64
#define ANSWER_BODY_MAX   256
#define ANSWER_VALUE_MAX  128

struct answer {
	uint16_t status;                /* 0: no status line yet */
	char reason[ANSWER_REASON_MAX]; /* "Service Unavailable"; may be empty */
	bool headed;                    /* the empty line after its header has come */
	char body[ANSWER_BODY_MAX];     /* NUL-terminated */
	size_t body_length;             /* of .body */
	uint64_t received;              /* bytes of the body in all */
	/* Of header lines; "": there is none. */
	char location[ANSWER_VALUE_MAX];
	char encoding[ANSWER_VALUE_MAX]; /* Content-Encoding */
	char grpc_status[ANSWER_VALUE_MAX], grpc_message[ANSWER_VALUE_MAX];
};

/*
 * One header line as it came, with or without its line end; of a trailer, too. A status line begins
 * the answer anew: interim answers (1xx) may come before the final one. Names are in any case.
 */
void answer_header(struct answer *answer, const char *line, size_t length);

/* A piece of the body. */
void answer_body(struct answer *answer, const char *data, size_t length);

/* Is the status one of those accepted by @health? False without a status. */
bool answer_accepted(const struct answer *answer, const struct health_config *health);

/* "503 Service Unavailable" into @buffer, which is returned. */
char *answer_status_text(const struct answer *answer, char *buffer, size_t size);

/* What is accepted: "200-299, 301", into @buffer, which is returned. */
char *answer_accepted_text(const struct health_config *health, char *buffer, size_t size);

/* Copy at most @size - 1 printable characters of @data and a NUL; returns how many. */
size_t answer_printable(const char *data, size_t length, char *buffer, size_t size);
