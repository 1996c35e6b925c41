/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/api.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/clock.h"
#include "common/json_memory.h"
#include "common/log.h"
#include "orchestrator/api/api_answer.h"
#include "orchestrator/api/api_internal.h"

#define BODY_SWALLOWED (1024 * 1024) /* of a body that is too large, to answer it in peace */
#define FAREWELL_MS    250
/* Those who leave are still there while others come. */
#define LIBRARY_MAX (API_PLACES_MAX + 2 * DOOR_SERIES_MAX)

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
	if (!announced || !api_parse_number(announced, &size) || size <= BODY_SWALLOWED)
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
	x.lacks = json_memory_lacks();
	return api_route(&x, method);
}

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

static void on_completed(void *userdata, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode why)
{
	struct visitor *visitor = visitor_of(connection);
	struct request *request = *state;
	struct api *api = userdata;

	(void)why;
	if (!request)
		return;
	visitor->request = NULL;
	visitor->place.has_list = false;
	if (!visitor->gone)
		door_enter(visitor, PLACE_IDLE);
	if (request->reply)
		forget_reply(api, request->reply);
	if (request->leaves)
		api->backend.leave_answered(api->userdata);
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
		api_resume_stream(visitor->stream);
	if (!visitor->request)
		return;
	if (visitor->request->reply)
		api_resume_reply(visitor->request->reply);
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
	r = sd_event_add_io(api->event, &api->io, info->epoll_fd, EPOLLIN, api_on_io, api);
	if (r >= 0)
		r = sd_event_add_time(api->event, &api->timer, CLOCK_MONOTONIC, 0, 1000,
				      api_on_timer, api);
	if (r >= 0)
		r = sd_event_add_time(api->event, &api->heartbeat, CLOCK_MONOTONIC, UINT64_MAX,
				      1000, api_on_heartbeat, api);
	if (r >= 0)
		r = sd_event_source_set_enabled(api->heartbeat, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_defer(api->event, &api->wake, api_on_wake, api);
	if (r >= 0)
		r = sd_event_source_set_enabled(api->wake, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_defer(api->event, &api->answers, api_on_answers, api);
	if (r >= 0)
		r = sd_event_source_set_enabled(api->answers, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time(api->event, &api->next_turn, CLOCK_MONOTONIC, 0, 1,
				      api_on_next_turn, api);
	if (r >= 0)
		r = sd_event_source_set_enabled(api->next_turn, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_source_set_prepare(api->io, api_on_prepare);
	return r < 0 ? r : 0;
}

static void on_event(void *userdata)
{
	struct api *api = userdata;

	if (api->n_streams > 0)
		api_wake(api);
}

int api_open(sd_event *event, const char *socket_path, gid_t gid, struct events *events,
	     const struct api_backend *backend, void *userdata, struct api **ret, struct error *err)
{
	static const struct door_handlers handlers = {
		.admit = on_admit,
		.gone = on_gone,
		.turn = api_run,
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

void api_hold(struct api *api, bool hold)
{
	door_hold(api->door, hold);
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
		api_give_turn(turn);
	for (struct stream *s = api->streams; s; s = s->next) {
		event_stream_finish(s->text);
		api_resume_stream(s);
	}
	for (struct api_reply *reply = api->replies; reply; reply = reply->next) {
		if (!reply->ready)
			refuse_reply(reply);
		api_resume_reply(reply);
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
	sd_event_source_disable_unref(api->answers);
	sd_event_source_disable_unref(api->next_turn);
	sd_event_unref(api->event);
	free(api);
}
