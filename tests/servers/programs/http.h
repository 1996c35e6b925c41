/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * http: as much of HTTP/1.1 as the servers in this folder speak, in C and in C++.
 *
 * GET /healthz is answered with "ok", everything else with the pid of the process, after its whole
 * body has come. A caller reads into a buffer of HTTP_REQUEST_MAX + 1 bytes, keeps it terminated by
 * a NUL, and asks http_take() after each read.
 */
#ifndef TESTS_SERVERS_PROGRAMS_HTTP_H
#define TESTS_SERVERS_PROGRAMS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { HTTP_REQUEST_MAX = 16384, HTTP_ANSWER_MAX = 256 };

struct http_request {
	size_t length; /* in the buffer, with its body */
	bool health;
	bool last; /* the client says "Connection: close" */
};

/* The value of a header before @end, or NULL. */
static inline const char *http_header(const char *buffer, const char *end, const char *name)
{
	const char *found = strcasestr(buffer, name);

	return found && found < end ? found + strlen(name) : NULL;
}

/* Does @buffer begin with a whole request? Bytes of a NUL are not understood: it never does then.
 */
static inline bool http_take(const char *buffer, size_t length, struct http_request *ret_request)
{
	const char *end = strstr(buffer, "\r\n\r\n");
	const char *body = end ? http_header(buffer, end, "\r\nContent-Length:") : NULL;
	const char *connection = end ? http_header(buffer, end, "\r\nConnection:") : NULL;

	if (!end)
		return false;
	ret_request->length = (size_t)(end - buffer) + 4 + (body ? strtoul(body, NULL, 10) : 0);
	ret_request->health = strncmp(buffer, "GET /healthz ", 13) == 0;
	ret_request->last = connection && strncasecmp(connection, " close", 6) == 0;
	return ret_request->length <= length;
}

/* Write the answer; returns its length. @last: no request is read after it. */
static inline size_t http_answer(char out[HTTP_ANSWER_MAX], bool health, bool last)
{
	char body[32] = "ok\n";

	if (!health)
		snprintf(body, sizeof(body), "pid %d\n", (int)getpid());
	return (size_t)snprintf(out, HTTP_ANSWER_MAX,
				"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
				"Content-Length: %zu\r\n%s\r\n%s",
				strlen(body), last ? "Connection: close\r\n" : "", body);
}

#endif
