/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "common/exit_status.h"
#include "common/json_memory.h"
#include "common/orders.h"
#include "orchestrator/api/api_answer.h"
#include "orchestrator/api/api_internal.h"

#define STREAM_BLOCK 16384

/* ---- the query ------------------------------------------------------------------------------ */

static const char *argument(const struct exchange *x, const char *name)
{
	return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
}

bool api_parse_number(const char *text, uint64_t *ret)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0';
}

/* ---- limits --------------------------------------------------------------------------------- */

static enum MHD_Result refuse_list(const struct exchange *x)
{
	bool owner = x->visitor->place.owner;

	return api_refuse_busy(
		x->connection,
		"batond is busy: it makes or sends as many lists of connections as it does at once "
		"(%d for %s, %d for one account); try again",
		owner ? API_LISTS_OWNERS_MAX : API_LISTS_READERS_MAX,
		owner ? "root and its owner" : "those who may read",
		owner ? API_LISTS_OWNERS_MAX : API_LISTS_READER_MAX);
}

/* This function's caller is called again, with the same request, when it is its turn. */
static enum MHD_Result wait_for_turn(const struct exchange *x, bool list)
{
	bool owner = x->visitor->place.owner;
	enum turn_lane lane = owner ? TURN_OWNERS : TURN_READERS;

	if (list && !door_may_list(x->visitor))
		return refuse_list(x);
	if (list) {
		x->visitor->place.has_list = true;
		lane = owner ? TURN_OWNERS_LISTS : TURN_READERS_LISTS;
	}
	x->request->connection = x->connection;
	turns_add(&x->api->turns, &x->request->turn, lane);
	door_enter(x->visitor, PLACE_WAITING);
	MHD_suspend_connection(x->connection);
	return MHD_YES;
}

/* ---- services ------------------------------------------------------------------------------- */

/* Send what the backend has answered: @json, or if that is NULL, @problem. Frees both. */
static enum MHD_Result send_answer(const struct exchange *x, unsigned status, json_t *json,
				   struct api_problem *problem)
{
	enum MHD_Result r;

	if (json)
		r = api_send_json(x->connection, status, json);
	else
		r = api_send_problem(x->connection, problem, NULL);
	api_problem_done(problem);
	return r;
}

/* An answer to a question, of which nothing is missing. */
static enum MHD_Result send_whole(const struct exchange *x, unsigned status, json_t *json)
{
	if (json_memory_lacks() != x->lacks) {
		json_decref(json);
		json = NULL;
	}
	return api_send_json(x->connection, status, json);
}

/* An answer of which one piece is there. */
struct long_answer {
	struct api_text text;
	char *piece; /* NULL: none is begun */
	size_t length, sent;
};

static void free_long_answer(void *userdata)
{
	struct long_answer *answer = userdata;

	answer->text.free(answer->text.userdata);
	free(answer->piece);
	free(answer);
}

static ssize_t on_piece_read(void *userdata, uint64_t position, char *buffer, size_t size)
{
	struct long_answer *answer = userdata;
	size_t n;

	(void)position;
	if (answer->sent == answer->length) {
		free(answer->piece);
		answer->piece = answer->text.next(answer->text.userdata);
		if (!answer->piece)
			return MHD_CONTENT_READER_END_WITH_ERROR;
		answer->length = strlen(answer->piece);
		answer->sent = 0;
	}
	n = answer->length - answer->sent;
	if (n == 0)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n > size)
		n = size;
	memcpy(buffer, answer->piece + answer->sent, n);
	answer->sent += n;
	return (ssize_t)n;
}

static enum MHD_Result send_text(const struct exchange *x, const struct api_text *text)
{
	struct long_answer *answer = calloc(1, sizeof(*answer));
	struct MHD_Response *response = NULL;

	if (!answer) {
		text->free(text->userdata);
		return MHD_NO;
	}
	answer->text = *text;
	/* libmicrohttpd would end a body of unknown length that it has not sent (0.9.75). */
	if (x->head) {
		free_long_answer(answer);
		return api_send_text(x->connection, MHD_HTTP_OK, "application/json", NULL, "");
	}
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_piece_read,
						     answer, free_long_answer);
	if (!response)
		free_long_answer(answer);
	return api_send(x->connection, MHD_HTTP_OK, "application/json", NULL, response);
}

static enum MHD_Result handle_connections(const struct exchange *x)
{
	const char *given = argument(x, "limit");
	uint64_t limit = API_CONNECTIONS_SHOWN;
	struct api_problem problem = {0};
	struct api_text text;

	if (given && (!api_parse_number(given, &limit) || limit > API_CONNECTIONS_SHOWN_MAX))
		return api_refuse(x->connection, MHD_HTTP_BAD_REQUEST, 2,
				  "limit: not a number from 0 to %d", API_CONNECTIONS_SHOWN_MAX);
	if (x->api->backend.connections(x->api->userdata, x->service, (size_t)limit, &text,
					&problem) < 0)
		return send_answer(x, 0, NULL, &problem);
	return send_text(x, &text);
}

static void explain_body(const json_error_t *error, int why, struct api_problem *problem)
{
	/* jansson calls a lack of memory a syntax error in some places; malloc(3) does not. */
	if (why == ENOMEM) {
		problem->status = MHD_HTTP_INTERNAL_SERVER_ERROR;
		problem->code = EXIT_STATUS_ERROR;
		error_text(&problem->detail, 0, "out of memory; try again");
		return;
	}
	error_text(&problem->detail, 0, "body: line %d, column %d: %s", error->line, error->column,
		   error->text);
}

/* The body as an object; an empty one if there was none. */
static json_t *read_body(const struct request *request, struct api_problem *problem)
{
	json_t *body;
	json_error_t error;

	problem->status = MHD_HTTP_BAD_REQUEST;
	problem->code = 2;
	if (request->swallowed) {
		problem->status = MHD_HTTP_CONTENT_TOO_LARGE;
		error_text(&problem->detail, 0, "the body is longer than %d bytes", API_BODY_MAX);
		return NULL;
	}
	if (!request->length)
		return json_object();
	errno = 0;
	body = json_loadb(request->body, request->length, JSON_REJECT_DUPLICATES, &error);
	if (!body) {
		explain_body(&error, errno, problem);
		return NULL;
	}
	if (!json_is_object(body)) {
		error_text(&problem->detail, 0, "body: not a JSON object");
		json_decref(body);
		return NULL;
	}
	return body;
}

/* The body of a request that changes something; NULL: it was refused. */
static json_t *admit(const struct exchange *x, struct api_problem *problem)
{
	if (x->visitor->place.owner)
		return read_body(x->request, problem);
	problem->status = MHD_HTTP_FORBIDDEN;
	error_text(&problem->detail, 0, "only root and the daemon's own user may give orders");
	return NULL;
}

/* ---- answers that come later ---------------------------------------------------------------- */

/* This function is called again, with the same request, when the connection is resumed. */
static enum MHD_Result wait_for_reply(const struct exchange *x, struct api_reply *reply)
{
	reply->next = x->api->replies;
	x->api->replies = x->request->reply = reply;
	reply->suspended = true;
	door_enter(x->visitor, PLACE_WAITING);
	MHD_suspend_connection(x->connection);
	/* It may be there already. */
	if (reply->ready)
		api_wake_answers(x->api);
	return MHD_YES;
}

/* What an order or a reload has begun goes on. */
static unsigned status_of(const json_t *answer)
{
	return json_object_get(answer, "rollout") ? MHD_HTTP_ACCEPTED : MHD_HTTP_OK;
}

/* @begins: the answer may name a rollout that has begun, as one to an order. */
static enum MHD_Result send_reply(const struct exchange *x, bool begins)
{
	struct api_reply *reply = x->request->reply;
	struct api_problem problem = reply->problem;
	json_t *answer = reply->answer;

	reply->answer = NULL;
	reply->problem = (struct api_problem){0};
	return send_answer(x, begins ? status_of(answer) : MHD_HTTP_OK, answer, &problem);
}

/* @body is consumed; NULL: it is a reload, which has none. */
static enum MHD_Result ask_backend(const struct exchange *x, json_t *body)
{
	struct api_reply *reply = api_reply_new(x->connection, api_wake_answers, x->api);
	const struct api_backend *backend = &x->api->backend;
	struct api_problem problem = {0};
	json_t *answer;

	if (!reply) {
		json_decref(body);
		return MHD_NO;
	}
	answer =
		body ? backend->order(x->api->userdata, x->service, x->order, body, reply, &problem)
		     : backend->reload(x->api->userdata, reply, &problem);
	json_decref(body);
	if (reply->waits) {
		api_problem_done(&problem);
		return wait_for_reply(x, reply);
	}
	api_reply_free(reply);
	return send_answer(x, status_of(answer), answer, &problem);
}

static enum MHD_Result handle_order(const struct exchange *x)
{
	struct api_problem refusal = {0};
	json_t *body;

	if (x->request->reply)
		return send_reply(x, true);
	body = admit(x, &refusal);
	return body ? ask_backend(x, body) : send_answer(x, 0, NULL, &refusal);
}

/* True: the answer waits, or could not be made; *ret is the result. @service NULL: of all. */
static bool looks_first(const struct exchange *x, const char *service, enum MHD_Result *ret)
{
	const struct api_backend *backend = &x->api->backend;
	struct api_reply *reply;

	if (!backend->look)
		return false;
	reply = api_reply_new(x->connection, api_wake_answers, x->api);
	if (!reply) {
		*ret = MHD_NO;
		return true;
	}
	if (backend->look(x->api->userdata, service, reply)) {
		*ret = wait_for_reply(x, reply);
		return true;
	}
	api_reply_free(reply);
	return false;
}

static enum MHD_Result handle_list(const struct exchange *x)
{
	enum MHD_Result r;

	if (x->request->reply)
		return send_reply(x, false);
	if (looks_first(x, NULL, &r))
		return r;
	return send_whole(x, MHD_HTTP_OK, x->api->backend.list(x->api->userdata));
}

static enum MHD_Result handle_get(const struct exchange *x)
{
	struct api_problem problem = {0};
	enum MHD_Result r;
	json_t *json;

	if (x->request->reply)
		return send_reply(x, false);
	if (looks_first(x, x->service, &r))
		return r;
	json = x->api->backend.get(x->api->userdata, x->service, &problem);
	if (!json)
		return send_answer(x, 0, NULL, &problem);
	api_problem_done(&problem);
	return send_whole(x, MHD_HTTP_OK, json);
}

/* A request that takes no members. True: it may go on; false: it was answered, *ret is the result.
 */
static bool admit_bare(const struct exchange *x, const char *word, enum MHD_Result *ret)
{
	struct api_problem refusal = {0};
	json_t *body = admit(x, &refusal);
	size_t members = json_object_size(body);

	if (!body)
		*ret = send_answer(x, 0, NULL, &refusal);
	else if (members)
		*ret = api_refuse(x->connection, MHD_HTTP_BAD_REQUEST, 2, "body: %s takes nothing",
				  word);
	json_decref(body);
	return body && !members;
}

static enum MHD_Result handle_reload(const struct exchange *x)
{
	enum MHD_Result r;

	if (x->request->reply)
		return send_reply(x, true);
	return admit_bare(x, "reload", &r) ? ask_backend(x, NULL) : r;
}

static enum MHD_Result handle_leave(const struct exchange *x)
{
	struct api_problem problem = {0};
	enum MHD_Result r;
	json_t *answer;

	if (!admit_bare(x, "leave", &r))
		return r;
	answer = x->api->backend.leave(x->api->userdata, &problem);
	x->request->leaves = answer;
	return send_answer(x, MHD_HTTP_OK, answer, &problem);
}

/* ---- events --------------------------------------------------------------------------------- */

static void free_stream(void *userdata)
{
	struct stream *stream = userdata;
	struct api *api = stream->api;

	if (stream->listed) {
		if (stream->previous)
			stream->previous->next = stream->next;
		else
			api->streams = stream->next;
		if (stream->next)
			stream->next->previous = stream->previous;
		api->n_streams--;
	}
	if (stream->visitor)
		stream->visitor->stream = NULL;
	event_stream_free(stream->text);
	free(stream);
}

/* libmicrohttpd has room for @size bytes. */
static ssize_t on_stream_read(void *userdata, uint64_t position, char *buffer, size_t size)
{
	struct stream *stream = userdata;
	ssize_t n;

	(void)position;
	if (!stream->visitor || stream->visitor->gone)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	n = event_stream_read(stream->text, buffer, size);
	/* All that was there before has been taken. */
	if (n >= 0 && stream->listed)
		door_enter(stream->visitor, n ? PLACE_TELLING : PLACE_FOLLOWING);
	if (n > 0)
		return n;
	if (n == EVENT_STREAM_END)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n < 0)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	stream->suspended = true;
	MHD_suspend_connection(stream->connection);
	return 0;
}

static const char *format_type(enum event_format format)
{
	return format == EVENT_FORMAT_SSE ? "text/event-stream" : "application/x-ndjson";
}

static enum MHD_Result send_stream(const struct exchange *x, const struct event_start *start,
				   bool follow, enum event_format format)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	struct api *api = x->api;
	struct MHD_Response *response;

	if (!stream || event_stream_new(api->events, argument(x, "service"), start, follow, format,
					&stream->text) < 0) {
		free(stream);
		return MHD_NO;
	}
	stream->api = api;
	stream->connection = x->connection;
	stream->visitor = x->visitor;
	x->visitor->stream = stream;
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_stream_read,
						     stream, free_stream);
	if (!response) {
		free_stream(stream);
		return MHD_NO;
	}
	if (follow) {
		stream->listed = true;
		door_enter(x->visitor, PLACE_TELLING);
		stream->next = api->streams;
		if (stream->next)
			stream->next->previous = stream;
		api->streams = stream;
		if (api->n_streams++ == 0)
			api_arm_heartbeat(api);
	}
	return api_send(x->connection, MHD_HTTP_OK, format_type(format), NULL, response);
}

/* Where the request says that it begins; why it does not make sense, or NULL. */
static const char *parse_start(const struct exchange *x, enum event_format format,
			       struct event_start *ret)
{
	const char *since = argument(x, "since"), *epoch = argument(x, "epoch");

	if (format == EVENT_FORMAT_SSE && !since)
		since = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND,
						    "Last-Event-ID");
	*ret = (struct event_start){.from_now = !since};
	if (epoch && !event_epoch_parse(epoch, &ret->epoch))
		return "epoch: not 16 hexadecimal digits";
	if (since && !event_start_parse(since, ret))
		return "since: neither a sequence number nor EPOCH:SEQ";
	return NULL;
}

static enum MHD_Result refuse_stream(const struct exchange *x)
{
	bool owner = x->visitor->place.owner;

	return api_refuse_busy(
		x->connection,
		"batond is busy: too many follow the events (%d of %s may, %d of one account); end "
		"one of them, or try again",
		owner ? API_STREAMS_OWNERS_MAX : API_STREAMS_READERS_MAX,
		owner ? "root and its owner" : "those who may read",
		owner ? API_STREAMS_OWNERS_MAX : API_STREAMS_READER_MAX);
}

static enum MHD_Result handle_events(const struct exchange *x)
{
	enum event_format format = EVENT_FORMAT_LINES;
	const char *accept = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Accept");
	const char *follow_text = argument(x, "follow"), *why;
	bool follow = follow_text && strcmp(follow_text, "1") == 0;
	struct event_start start;

	if (accept && strcasestr(accept, "text/event-stream"))
		format = EVENT_FORMAT_SSE;
	why = parse_start(x, format, &start);
	if (why)
		return api_refuse(x->connection, MHD_HTTP_BAD_REQUEST, 2, "%s", why);
	if (follow_text && !follow && strcmp(follow_text, "0") != 0)
		return api_refuse(x->connection, MHD_HTTP_BAD_REQUEST, 2,
				  "follow: neither 0 nor 1");
	if (follow && !door_may_follow(x->visitor))
		return refuse_stream(x);
	/* libmicrohttpd would end a body of unknown length that it has not sent (0.9.75). */
	if (x->head)
		return api_send_text(x->connection, MHD_HTTP_OK, format_type(format), NULL, "");
	return send_stream(x, &start, follow, format);
}

/* ---- the rest ------------------------------------------------------------------------------- */

static enum MHD_Result handle_version(const struct exchange *x)
{
	return api_send_json(x->connection, MHD_HTTP_OK, x->api->backend.version(x->api->userdata));
}

static enum MHD_Result handle_healthz(const struct exchange *x)
{
	return api_send_text(x->connection, MHD_HTTP_OK, "text/plain", NULL, "ok\n");
}

static enum MHD_Result handle_readyz(const struct exchange *x)
{
	json_t *json = x->api->backend.ready(x->api->userdata);
	bool ready = json_is_true(json_object_get(json, "ready"));

	return send_whole(x, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, json);
}

/* ---- routes --------------------------------------------------------------------------------- */

/* "*" stands for a service's name, "+" at the end for one of the orders in common/orders.h. */
static const struct route {
	const char *method;
	const char *pattern;
	enum MHD_Result (*handle)(const struct exchange *x);
	enum cost {
		COST_NONE, /* made at once */
		COST_TURN, /* one in a turn of the loop */
		COST_LIST, /* ... and few at once */
	} cost;
} routes[] = {
	{"GET", "/v1/services", handle_list, COST_TURN},
	{"GET", "/v1/services/*", handle_get, COST_TURN},
	{"GET", "/v1/services/*/connections", handle_connections, COST_LIST},
	{"POST", "/v1/services/*/+", handle_order, COST_NONE},
	{"POST", "/v1/reload", handle_reload, COST_NONE},
	{"POST", "/v1/leave", handle_leave, COST_NONE},
	{"GET", "/v1/events", handle_events, COST_NONE},
	{"GET", "/v1/version", handle_version, COST_NONE},
	{"GET", "/healthz", handle_healthz, COST_NONE},
	{"GET", "/readyz", handle_readyz, COST_TURN},
};

static bool match(const char *pattern, const char *path, char service[static SERVICE_MAX])
{
	enum service_order_type order;

	while (*pattern) {
		size_t n;

		if (*pattern == '+')
			return order_find(path, &order);
		if (*pattern != '*') {
			if (*pattern++ != *path++)
				return false;
			continue;
		}
		n = strcspn(path, "/");
		if (n == 0 || n >= SERVICE_MAX)
			return false;
		memcpy(service, path, n);
		service[n] = '\0';
		path += n;
		pattern++;
	}
	return *path == '\0';
}

static enum MHD_Result take_route(struct exchange *x, const struct route *route)
{
	uint64_t began_us = api_now_us();
	enum MHD_Result r;

	if (route->cost != COST_NONE && !x->request->has_turn)
		return wait_for_turn(x, route->cost == COST_LIST);
	x->order = strrchr(x->path, '/') + 1;
	r = route->handle(x);
	if (route->cost != COST_NONE)
		turns_charge(&x->api->turns, x->request->turn.lane, began_us, api_now_us());
	return r;
}

enum MHD_Result api_route(struct exchange *x, const char *method)
{
	const char *allow = NULL;

	door_enter(x->visitor, PLACE_ANSWERED);
	if (x->api->ending && !x->request->reply)
		return api_refuse(x->connection, MHD_HTTP_SERVICE_UNAVAILABLE, 1,
				  "batond is ending");
	x->head = strcmp(method, "HEAD") == 0;
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (!match(routes[i].pattern, x->path, x->service))
			continue;
		if (strcmp(routes[i].method, x->head ? "GET" : method) == 0)
			return take_route(x, &routes[i]);
		allow = strcmp(routes[i].method, "GET") == 0 ? "GET, HEAD" : routes[i].method;
	}
	if (allow) {
		struct api_problem problem = {.status = MHD_HTTP_METHOD_NOT_ALLOWED, .code = 2};

		error_text(&problem.detail, 0, "%.16s %.200s: only %s can be asked of it", method,
			   x->path, allow);
		return api_send_problem(x->connection, &problem, allow);
	}
	return api_refuse(x->connection, MHD_HTTP_NOT_FOUND, 2, "there is no %.200s", x->path);
}
