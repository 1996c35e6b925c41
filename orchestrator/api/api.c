/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/api.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "common/orders.h"
#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/api/api_answer.h"
#include "orchestrator/api/api_door.h"
#include "orchestrator/api/api_turns.h"
#include "orchestrator/api/event_stream.h"

#define SERVICE_MAX    64            /* a service's name, with its NUL (paths_check_name()) */
#define BODY_SWALLOWED (1024 * 1024) /* of a body that is too large, to answer it in peace */
#define STREAM_BLOCK   16384
#define FAREWELL_MS    250
/* Those who leave are still there while others come. */
#define LIBRARY_MAX (API_PLACES_MAX + 2 * DOOR_SERIES_MAX)

struct api {
	sd_event *event;
	struct MHD_Daemon *daemon;
	struct door *door;
	sd_event_source *io, *timer, *heartbeat;
	sd_event_source *next_turn; /* somebody waits for the answer to be made */
	uint64_t next_turn_us;      /* ... for which that is set; UINT64_MAX: it is off */
	struct turns turns;
	sd_event_source *wake; /* deferred: some stream has something to send */
	uint64_t heartbeat_ms;
	struct events *events;
	bool is_listener; /* to .events */
	struct api_backend backend;
	void *userdata;
	struct stream *streams; /* the followed ones */
	size_t n_streams;
	struct api_reply *replies; /* those that somebody waits for */
	bool ending;               /* nothing new is begun */
};

/* A followed stream of events: libmicrohttpd suspends it while it has nothing to say. */
struct stream {
	struct api *api;
	struct stream *next, *previous;
	struct MHD_Connection *connection;
	struct visitor *visitor; /* NULL: it has left */
	struct event_stream *text;
	bool suspended;
	bool listed;
};

/* What comes in before a request can be answered. */
struct request {
	char *body;
	size_t length;
	size_t swallowed;
	struct api_reply *reply; /* its answer comes later; NULL: it does not */
	struct turn turn;
	struct MHD_Connection *connection;
	bool has_turn;
};

/* One request being answered. */
struct exchange {
	struct api *api;
	struct MHD_Connection *connection;
	struct visitor *visitor;
	struct request *request;
	const char *path;
	bool head;                 /* asked by HEAD: the answer without its body */
	char service[SERVICE_MAX]; /* of the path */
	const char *order;         /* of the path: its last word */
};

/* ---- the loop ------------------------------------------------------------------------------- */

static void set_timer(struct api *api)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms = 0;
	int r;

	if (MHD_get_timeout(api->daemon, &timeout_ms) != MHD_YES) {
		r = sd_event_source_set_enabled(api->timer, SD_EVENT_OFF);
	} else {
		r = sd_event_source_set_time(api->timer,
					     (clock_monotonic_ms() + timeout_ms) * 1000);
		if (r >= 0)
			r = sd_event_source_set_enabled(api->timer, SD_EVENT_ONESHOT);
	}
	if (r < 0)
		log_error("api: cannot set the timer: %s", strerror(-r));
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/*
 * One that may be given at once is given in the loop's next turn. To set a timer that is due puts
 * it off: clients that never stop sending could then keep it from coming.
 */
static void set_next_turn(struct api *api)
{
	uint64_t next_us = turns_next_us(&api->turns);
	int r;

	if (next_us == api->next_turn_us)
		return;
	api->next_turn_us = next_us;
	r = sd_event_source_set_time(api->next_turn, next_us);
	if (r >= 0)
		r = sd_event_source_set_enabled(
			api->next_turn, next_us == UINT64_MAX ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
	if (r < 0)
		log_error("api: cannot set the timer: %s", strerror(-r));
}

static void run(void *userdata)
{
	struct api *api = userdata;

	MHD_run(api->daemon);
	set_timer(api);
	set_next_turn(api);
	door_look(api->door);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	(void)source;
	(void)fd;
	(void)revents;
	run(userdata);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	run(userdata);
	return 0;
}

static void resume(struct stream *stream)
{
	if (!stream->suspended)
		return;
	stream->suspended = false;
	MHD_resume_connection(stream->connection);
}

static void resume_reply(struct api_reply *reply)
{
	if (!reply->suspended)
		return;
	reply->suspended = false;
	MHD_resume_connection(reply->connection);
}

static int on_wake(sd_event_source *source, void *userdata)
{
	struct api *api = userdata;

	(void)source;
	for (struct stream *s = api->streams; s; s = s->next) {
		if (event_stream_ready(s->text))
			resume(s);
	}
	for (struct api_reply *reply = api->replies; reply; reply = reply->next)
		if (reply->ready)
			resume_reply(reply);
	run(api);
	return 0;
}

/* It may be called from within libmicrohttpd (an order being taken): so nothing is done here. */
static void wake(void *userdata)
{
	struct api *api = userdata;
	int r = sd_event_source_set_enabled(api->wake, SD_EVENT_ONESHOT);

	if (r < 0)
		log_error("api: cannot defer: %s", strerror(-r));
}

static void on_event(void *userdata)
{
	struct api *api = userdata;

	if (api->n_streams > 0)
		wake(api);
}

static struct request *request_of(struct turn *turn)
{
	return (struct request *)((char *)turn - offsetof(struct request, turn));
}

static void give_turn(struct turn *turn)
{
	request_of(turn)->has_turn = true;
	MHD_resume_connection(request_of(turn)->connection);
}

static int on_next_turn(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct api *api = userdata;
	struct turn *turn = turns_take(&api->turns, now_us());

	(void)source;
	(void)usec;
	api->next_turn_us = UINT64_MAX;
	if (turn)
		give_turn(turn);
	run(api);
	return 0;
}

static void set_heartbeat(struct api *api)
{
	int r = sd_event_source_set_time(api->heartbeat,
					 (clock_monotonic_ms() + api->heartbeat_ms) * 1000);

	if (r >= 0)
		r = sd_event_source_set_enabled(api->heartbeat,
						api->n_streams ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
	if (r < 0)
		log_error("api: cannot set the timer: %s", strerror(-r));
}

static int on_heartbeat(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct api *api = userdata;

	(void)source;
	(void)usec;
	for (struct stream *s = api->streams; s; s = s->next) {
		/* One that is being written to shows by that whether its reader is there. */
		if (!s->suspended)
			continue;
		event_stream_beat(s->text);
		resume(s);
	}
	run(api);
	set_heartbeat(api);
	return 0;
}

void api_set_heartbeat(struct api *api, uint64_t heartbeat_ms)
{
	api->heartbeat_ms = heartbeat_ms;
	set_heartbeat(api);
}

/* ---- the query ------------------------------------------------------------------------------ */

static const char *argument(const struct exchange *x, const char *name)
{
	return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
}

/* Plain decimal digits only: no sign, no space. */
static bool parse_number(const char *text, uint64_t *ret)
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

static enum MHD_Result handle_list(const struct exchange *x)
{
	return api_send_json(x->connection, MHD_HTTP_OK, x->api->backend.list(x->api->userdata));
}

static enum MHD_Result handle_get(const struct exchange *x)
{
	struct api_problem problem = {0};
	json_t *json = x->api->backend.get(x->api->userdata, x->service, &problem);

	return send_answer(x, MHD_HTTP_OK, json, &problem);
}

static enum MHD_Result handle_connections(const struct exchange *x)
{
	const char *text = argument(x, "limit");
	uint64_t limit = API_CONNECTIONS_SHOWN;
	struct api_problem problem = {0};
	json_t *json;

	if (text && (!parse_number(text, &limit) || limit > API_CONNECTIONS_SHOWN_MAX))
		return api_refuse(x->connection, MHD_HTTP_BAD_REQUEST, 2,
				  "limit: not a number from 0 to %d", API_CONNECTIONS_SHOWN_MAX);
	json = x->api->backend.connections(x->api->userdata, x->service, (size_t)limit, &problem);
	return send_answer(x, MHD_HTTP_OK, json, &problem);
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
	body = json_loadb(request->body, request->length, JSON_REJECT_DUPLICATES, &error);
	if (!body) {
		error_text(&problem->detail, 0, "body: line %d, column %d: %s", error.line,
			   error.column, error.text);
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

/* Nobody waits for it any more. */
static void forget_reply(struct api *api, struct api_reply *reply)
{
	struct api_reply **link = &api->replies;

	while (*link && *link != reply)
		link = &(*link)->next;
	if (*link)
		*link = reply->next;
	api_reply_free(reply);
}

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
		wake(x->api);
	return MHD_YES;
}

static enum MHD_Result send_reply(const struct exchange *x)
{
	struct api_reply *reply = x->request->reply;
	struct api_problem problem = reply->problem;
	json_t *answer = reply->answer;

	reply->answer = NULL;
	reply->problem = (struct api_problem){0};
	return send_answer(x, MHD_HTTP_OK, answer, &problem);
}

static enum MHD_Result handle_order(const struct exchange *x)
{
	struct api_problem refusal = {0}, problem = {0};
	struct api_reply *reply;
	json_t *body, *answer;
	unsigned status = MHD_HTTP_OK;

	if (x->request->reply)
		return send_reply(x);
	body = admit(x, &refusal);
	if (!body)
		return send_answer(x, 0, NULL, &refusal);
	reply = api_reply_new(x->connection, wake, x->api);
	if (!reply) {
		json_decref(body);
		return MHD_NO;
	}
	answer = x->api->backend.order(x->api->userdata, x->service, x->order, body, reply,
				       &problem);
	json_decref(body);
	if (reply->waits) {
		api_problem_done(&problem);
		return wait_for_reply(x, reply);
	}
	api_reply_free(reply);
	/* What it has begun goes on. */
	if (json_object_get(answer, "rollout"))
		status = MHD_HTTP_ACCEPTED;
	return send_answer(x, status, answer, &problem);
}

static enum MHD_Result handle_reload(const struct exchange *x)
{
	struct api_problem refusal = {0}, problem = {0};
	json_t *body = admit(x, &refusal), *answer;
	size_t members = json_object_size(body);

	if (!body)
		return send_answer(x, 0, NULL, &refusal);
	json_decref(body);
	if (members)
		return api_refuse(x->connection, MHD_HTTP_BAD_REQUEST, 2,
				  "body: reload takes nothing");
	answer = x->api->backend.reload(x->api->userdata, &problem);
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
			set_heartbeat(api);
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

	return api_send_json(x->connection, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
			     json);
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
	uint64_t began_us = now_us();
	enum MHD_Result r;

	if (route->cost != COST_NONE && !x->request->has_turn)
		return wait_for_turn(x, route->cost == COST_LIST);
	x->order = strrchr(x->path, '/') + 1;
	r = route->handle(x);
	if (route->cost != COST_NONE)
		turns_charge(&x->api->turns, x->request->turn.lane, began_us, now_us());
	return r;
}

static enum MHD_Result answer(struct exchange *x, const char *method)
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

/* ---- requests ------------------------------------------------------------------------------- */

/* A piece of the body. If it is too long it is read, but not kept, so that the client gets to
 * the answer. */
static enum MHD_Result take_body(struct request *request, const char *data, size_t length)
{
	char *body;

	if (request->swallowed || length > API_BODY_MAX - request->length) {
		request->swallowed += length;
		return request->swallowed <= BODY_SWALLOWED ? MHD_YES : MHD_NO;
	}
	body = realloc(request->body, request->length + length);
	if (!body)
		return MHD_NO;
	memcpy(body + request->length, data, length);
	request->body = body;
	request->length += length;
	return MHD_YES;
}

static struct visitor *visitor_of(struct MHD_Connection *connection)
{
	return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
		->socket_context;
}

/* The head is there: is it worth reading what follows? */
static enum MHD_Result begin(const struct exchange *x, void **state)
{
	const char *announced =
		MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Content-Length");
	uint64_t size;

	*state = x->visitor->request = calloc(1, sizeof(struct request));
	if (!*state)
		return MHD_NO;
	door_enter(x->visitor, PLACE_BODY);
	if (!announced || !parse_number(announced, &size) || size <= BODY_SWALLOWED)
		return MHD_YES;
	door_enter(x->visitor, PLACE_ANSWERED);
	return api_refuse(x->connection, MHD_HTTP_CONTENT_TOO_LARGE, 2,
			  "the body is longer than %d bytes", API_BODY_MAX);
}

/*
 * Called with the headers (*state NULL), for each piece of the body, at the end, and when it is
 * resumed.
 */
static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection,
				  const char *path, const char *method, const char *version,
				  const char *data, size_t *length, void **state)
{
	struct exchange x = {.api = userdata,
			     .connection = connection,
			     .visitor = visitor_of(connection),
			     .path = path};
	struct request *request = *state;

	(void)version;
	if (x.visitor->gone)
		return MHD_NO;
	if (!request)
		return begin(&x, state);
	if (*length) {
		enum MHD_Result r = take_body(request, data, *length);

		*length = 0;
		return r;
	}
	x.request = request;
	return answer(&x, method);
}

static void on_completed(void *userdata, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode why)
{
	struct visitor *visitor = visitor_of(connection);
	struct request *request = *state;

	(void)why;
	if (!request)
		return;
	visitor->request = NULL;
	visitor->place.has_list = false;
	if (!visitor->gone)
		door_enter(visitor, PLACE_IDLE);
	if (request->reply)
		forget_reply(userdata, request->reply);
	free(request->body);
	free(request);
	*state = NULL;
}

static void on_connection(void *userdata, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct api *api = userdata;
	struct visitor *visitor = *context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*context = visitor = door_find(
			api->door,
			MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)
				->connect_fd);
		visitor->connection = connection;
		return;
	}
	if (visitor->stream)
		visitor->stream->visitor = NULL;
	door_leave(visitor);
}

/* ---- the door ------------------------------------------------------------------------------- */

static void on_admit(void *userdata, struct visitor *visitor)
{
	const struct sockaddr address = {.sa_family = AF_UNIX};
	struct api *api = userdata;
	int fd = visitor->fd;

	/* It closes the socket if it fails, whether or not on_connection() was called before. */
	if (MHD_add_connection(api->daemon, fd, &address, sizeof(address)) == MHD_YES)
		return;
	visitor = door_find(api->door, fd);
	if (visitor)
		door_leave(visitor);
}

static void on_gone(void *userdata, struct visitor *visitor)
{
	struct api *api = userdata;

	if (visitor->stream)
		resume(visitor->stream);
	if (!visitor->request)
		return;
	if (visitor->request->reply)
		resume_reply(visitor->request->reply);
	if (visitor->request->turn.waits) {
		turns_remove(&api->turns, &visitor->request->turn);
		MHD_resume_connection(visitor->connection);
	}
}

static void __attribute__((format(printf, 2, 0)))
on_log(void *userdata, const char *format, va_list ap)
{
	char text[512];

	(void)userdata;
	vsnprintf(text, sizeof(text), format, ap);
	log_debug("api: %s", text);
}

/* ---- opening and closing -------------------------------------------------------------------- */

static int start_daemon(struct api *api, struct error *err)
{
	api->daemon =
		MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
					 MHD_USE_NO_LISTEN_SOCKET,
				 0, NULL, NULL, on_request, api, MHD_OPTION_EXTERNAL_LOGGER, on_log,
				 NULL, MHD_OPTION_CONNECTION_LIMIT, (unsigned)LIBRARY_MAX,
				 MHD_OPTION_NOTIFY_COMPLETED, on_completed, api,
				 MHD_OPTION_NOTIFY_CONNECTION, on_connection, api, MHD_OPTION_END);
	if (!api->daemon)
		return error_text(err, -EIO,
				  "api: libmicrohttpd cannot start (batond -v logs why)");
	return 0;
}

static int add_sources(struct api *api)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(api->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	int r;

	if (!info)
		return -EIO;
	r = sd_event_add_io(api->event, &api->io, info->epoll_fd, EPOLLIN, on_io, api);
	if (r >= 0)
		r = sd_event_add_time(api->event, &api->timer, CLOCK_MONOTONIC, 0, 1000, on_timer,
				      api);
	if (r >= 0)
		r = sd_event_add_time(api->event, &api->heartbeat, CLOCK_MONOTONIC, UINT64_MAX,
				      1000, on_heartbeat, api);
	if (r >= 0)
		r = sd_event_source_set_enabled(api->heartbeat, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_defer(api->event, &api->wake, on_wake, api);
	if (r >= 0)
		r = sd_event_source_set_enabled(api->wake, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time(api->event, &api->next_turn, CLOCK_MONOTONIC, 0, 1,
				      on_next_turn, api);
	if (r >= 0)
		r = sd_event_source_set_enabled(api->next_turn, SD_EVENT_OFF);
	return r < 0 ? r : 0;
}

int api_open(sd_event *event, const char *socket_path, gid_t gid, struct events *events,
	     const struct api_backend *backend, void *userdata, struct api **ret, struct error *err)
{
	static const struct door_handlers handlers = {
		.admit = on_admit,
		.gone = on_gone,
		.turn = run,
	};
	cleanup(api_free) struct api *api = calloc(1, sizeof(*api));
	int r;

	if (!api)
		return error_set(err, -ENOMEM, "api");
	api->event = sd_event_ref(event);
	api->heartbeat_ms = API_HEARTBEAT_MS;
	api->next_turn_us = UINT64_MAX;
	api->events = events;
	api->backend = *backend;
	api->userdata = userdata;
	r = door_open(event, socket_path, gid, &handlers, api, &api->door, err);
	if (r < 0)
		return r;
	r = start_daemon(api, err);
	if (r < 0)
		return r;
	r = add_sources(api);
	if (r < 0)
		return error_set(err, r, "api");
	events_listen(events, on_event, api);
	api->is_listener = true;
	*ret = TAKE_PTR(api);
	return 0;
}

int api_set_group(struct api *api, gid_t gid, struct error *err)
{
	return door_set_group(api->door, gid, err);
}

static void refuse_reply(struct api_reply *reply)
{
	struct api_problem problem = {.status = MHD_HTTP_SERVICE_UNAVAILABLE, .code = 1};

	error_text(&problem.detail, 0,
		   "batond ended before it was known how that went: its log may tell");
	api_reply_send(reply, NULL, &problem);
}

/* Send what there is to be sent, and the end of each stream; nobody is waited for long. */
static void say_farewell(struct api *api)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(api->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	struct pollfd poll_fd = {.fd = info ? info->epoll_fd : -1, .events = POLLIN};
	uint64_t deadline_ms = clock_monotonic_ms() + FAREWELL_MS;
	struct turn *turn;

	api->ending = true;
	while ((turn = turns_take(&api->turns, UINT64_MAX)))
		give_turn(turn);
	for (struct stream *s = api->streams; s; s = s->next) {
		event_stream_finish(s->text);
		resume(s);
	}
	for (struct api_reply *reply = api->replies; reply; reply = reply->next) {
		if (!reply->ready)
			refuse_reply(reply);
		resume_reply(reply);
	}
	do {
		MHD_run(api->daemon);
	} while ((api->streams || api->replies) && clock_monotonic_ms() < deadline_ms &&
		 poll(&poll_fd, 1, 10) >= 0);
}

void api_free(struct api *api)
{
	if (!api)
		return;
	if (api->is_listener)
		events_listen(api->events, NULL, NULL);
	if (api->door)
		door_shut(api->door);
	if (api->daemon) {
		say_farewell(api);
		/* It panics over a suspended connection; from now on there is none. */
		MHD_stop_daemon(api->daemon);
	}
	door_free(api->door);
	sd_event_source_disable_unref(api->io);
	sd_event_source_disable_unref(api->timer);
	sd_event_source_disable_unref(api->heartbeat);
	sd_event_source_disable_unref(api->wake);
	sd_event_source_disable_unref(api->next_turn);
	sd_event_unref(api->event);
	free(api);
}
