/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/api_answer.h"
#include "common/cleanup.h"
#include "common/exit_status.h"
#include "common/fields.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define PROBLEM_TYPE "application/problem+json"

enum MHD_Result api_send(struct MHD_Connection *connection, unsigned status, const char *type,
			 const char *allow, struct MHD_Response *response)
{
	enum MHD_Result r = MHD_YES;

	if (!response)
		return MHD_NO; /* no memory: the connection is closed */
	if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) != MHD_YES ||
	    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") != MHD_YES)
		r = MHD_NO;
	if (allow && MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow) != MHD_YES)
		r = MHD_NO;
	if (r == MHD_YES)
		r = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return r;
}

enum MHD_Result api_send_text(struct MHD_Connection *connection, unsigned status, const char *type,
			      const char *allow, const char *text)
{
	return api_send(
		connection, status, type, allow,
		MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY));
}

/* @json as text with a newline behind it, from malloc(3). */
static char *dump_line(const json_t *json, size_t *ret_length)
{
	char *text = json ? fields_text(json, JSON_COMPACT) : NULL;
	size_t length = text ? strlen(text) : 0;
	char *line = text ? realloc(text, length + 2) : NULL;

	if (!line) {
		free(text);
		return NULL;
	}
	strcpy(line + length, "\n");
	*ret_length = length + 1;
	return line;
}

/* Answers can be many megabytes (connections), so the text is handed over, not copied. */
enum MHD_Result api_send_json(struct MHD_Connection *connection, unsigned status, json_t *json)
{
	struct api_problem problem = {0};
	struct MHD_Response *response;
	size_t length = 0;
	char *line = dump_line(json, &length);

	json_decref(json);
	if (!line) {
		error_text(
			&problem.detail, 0,
			"the answer could not be made: out of memory, or a text in it is not UTF-8");
		return api_send_problem(connection, &problem, NULL);
	}
	response = MHD_create_response_from_buffer(length, line, MHD_RESPMEM_MUST_FREE);
	if (!response)
		free(line);
	return api_send(connection, status, "application/json", NULL, response);
}

static const char *status_title(unsigned status)
{
	switch (status) {
	case MHD_HTTP_BAD_REQUEST:
		return "Bad request";
	case MHD_HTTP_FORBIDDEN:
		return "Not allowed";
	case MHD_HTTP_NOT_FOUND:
		return "Not found";
	case MHD_HTTP_REQUEST_TIMEOUT:
		return "Request too slow";
	case MHD_HTTP_METHOD_NOT_ALLOWED:
		return "Method not allowed";
	case MHD_HTTP_CONFLICT:
		return "Busy";
	case MHD_HTTP_CONTENT_TOO_LARGE:
		return "Body too large";
	case MHD_HTTP_UNPROCESSABLE_CONTENT:
		return "Unprocessable content";
	case MHD_HTTP_SERVICE_UNAVAILABLE:
		return "Not available now";
	default:
		return "Error";
	}
}

/* Paths, names and bodies can hold anything; a JSON text cannot. */
static json_t *text_json(const char *text)
{
	json_t *json = json_string(text);
	char copy[sizeof(((struct error *)0)->text)];

	if (json)
		return json;
	snprintf(copy, sizeof(copy), "%s", text);
	for (char *c = copy; *c; c++)
		*c = (unsigned char)*c < 0x80 ? *c : '?';
	return json_string(copy);
}

/* From malloc(3). NULL: no memory. */
static char *problem_text(const struct api_problem *problem, unsigned status)
{
	json_t *json;
	char *text;

	json = json_pack("{s:s, s:i, s:o, s:i}", "title",
			 problem->title ? problem->title : status_title(status), "status",
			 (int)status, "detail", text_json(problem->detail.text), "code",
			 problem->code ? problem->code : 1);
	if (json_array_size(problem->mistakes))
		json_object_set(json, "mistakes", problem->mistakes);
	text = json ? fields_text(json, JSON_COMPACT) : NULL;
	json_decref(json);
	return text;
}

enum MHD_Result api_send_problem(struct MHD_Connection *connection,
				 const struct api_problem *problem, const char *allow)
{
	unsigned status = problem->status ? problem->status : MHD_HTTP_INTERNAL_SERVER_ERROR;
	cleanup_free char *text = problem_text(problem, status);
	struct MHD_Response *response;
	char seconds[16];

	if (!text)
		return MHD_NO;
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
	snprintf(seconds, sizeof(seconds), "%d", problem->retry_after_s);
	if (response && problem->retry_after_s)
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
	return api_send(connection, status, PROBLEM_TYPE, allow, response);
}

void api_answer_raw(int fd, const struct api_problem *problem)
{
	cleanup_free char *text = problem_text(problem, problem->status);
	char head[512], retry[32] = "";
	struct iovec parts[2] = {{.iov_base = head}, {.iov_base = text}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

	if (!text)
		return;
	if (problem->retry_after_s)
		snprintf(retry, sizeof(retry), "Retry-After: %d\r\n", problem->retry_after_s);
	parts[1].iov_len = strlen(text);
	parts[0].iov_len = (size_t)snprintf(
		head, sizeof(head),
		"HTTP/1.1 %u %s\r\nContent-Type: " PROBLEM_TYPE "\r\nCache-Control: no-store\r\n"
		"%sConnection: close\r\nContent-Length: %zu\r\n\r\n",
		problem->status, MHD_get_reason_phrase_for(problem->status), retry,
		parts[1].iov_len);
	/* A new connection has room. One whose reader is behind just ends. */
	(void)!sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

enum MHD_Result api_refuse(struct MHD_Connection *connection, unsigned status, int code,
			   const char *format, ...)
{
	struct api_problem problem = {.status = status, .code = code};
	va_list ap;

	va_start(ap, format);
	vsnprintf(problem.detail.text, sizeof(problem.detail.text), format, ap);
	va_end(ap);
	return api_send_problem(connection, &problem, NULL);
}

enum MHD_Result api_refuse_busy(struct MHD_Connection *connection, const char *format, ...)
{
	struct api_problem problem = {.status = MHD_HTTP_SERVICE_UNAVAILABLE,
				      .code = EXIT_STATUS_BUSY,
				      .title = "Busy",
				      .retry_after_s = API_RETRY_AFTER_S};
	va_list ap;

	va_start(ap, format);
	vsnprintf(problem.detail.text, sizeof(problem.detail.text), format, ap);
	va_end(ap);
	return api_send_problem(connection, &problem, NULL);
}
