/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_answer: how the API's answers look: headers, JSON, problem documents. The other half of
 * api, which alone uses it.
 *
 * Every function queues one answer on the connection. MHD_NO means that this failed (no memory);
 * libmicrohttpd then closes the connection.
 */
#pragma once

#include <jansson.h>
#include <microhttpd.h>

#include "orchestrator/api/api_problem.h"

/* @response is consumed; NULL: there was no memory for it. @allow: the Allow header, or NULL. */
enum MHD_Result api_send(struct MHD_Connection *connection, unsigned status, const char *type,
			 const char *allow, struct MHD_Response *response);

enum MHD_Result api_send_text(struct MHD_Connection *connection, unsigned status, const char *type,
			      const char *allow, const char *text);

/* @json is consumed; NULL: it could not be made, which is answered with 500. */
enum MHD_Result api_send_json(struct MHD_Connection *connection, unsigned status, json_t *json);

/* Zero fields of @problem get their defaults. It stays the caller's, and so do its .mistakes. */
enum MHD_Result api_send_problem(struct MHD_Connection *connection,
				 const struct api_problem *problem, const char *allow);

/* A problem of the API's own. */
enum MHD_Result api_refuse(struct MHD_Connection *connection, unsigned status, int code,
			   const char *format, ...) __attribute__((format(printf, 4, 5)));

/* ... that is none in a while: 503, code 6, and Retry-After. */
#define API_RETRY_AFTER_S 1
enum MHD_Result api_refuse_busy(struct MHD_Connection *connection, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * A problem of the API's own to a connection that libmicrohttpd does not have, or is to have no
 * longer: as one answer, after which the connection is to be closed. Nobody waits for room for it.
 */
void api_answer_raw(int fd, const struct api_problem *problem);
