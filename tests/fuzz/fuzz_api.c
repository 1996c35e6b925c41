/* SPDX-License-Identifier: BSD-2-Clause */
/* What clients send to the API. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/orders.h"
#include "orchestrator/api/api.h"
#include "orchestrator/view/order_json.h"
#include "tests/fuzz/fuzz.h"

#define ANSWER_MS 2000

void fuzz_body(const uint8_t *data, size_t size)
{
	struct service_order order = {};
	struct refusal refusal = {};
	json_t *body;
	int r;

	if (size == 0)
		return;
	body = json_loadb((const char *)data + 1, size - 1, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(body)) {
		r = order_parse(order_info(data[0] % _SERVICE_ORDER_COUNT)->name, body, &order,
				&refusal);
		FUZZ_MUST(r == 0 || refusal.why.text[0]);
		service_order_done(&order);
	}
	json_decref(body);
}

/* ---- a whole request ------------------------------------------------------------------------- */

static sd_event *event;
static struct events *events;
static struct api *api;
static char socket_path[64];

static json_t *say_list(void *userdata)
{
	(void)userdata;
	return json_pack("{s:[]}", "services");
}

static json_t *say_service(void *userdata, const char *service, struct api_problem *problem)
{
	(void)userdata;
	(void)problem;
	return json_pack("{s:s}", "service", service);
}

static json_t *say_order(void *userdata, const char *service, const char *order, const json_t *body,
			 struct api_reply *reply, struct api_problem *problem)
{
	(void)userdata;
	(void)reply;
	(void)problem;
	FUZZ_MUST(json_is_object(body));
	return json_pack("{s:s, s:s}", "service", service, "order", order);
}

static int refuse_connections(void *userdata, const char *service, size_t limit,
			      struct api_text *ret, struct api_problem *problem)
{
	(void)userdata;
	(void)service;
	(void)ret;
	FUZZ_MUST(limit > 0 && limit <= API_CONNECTIONS_SHOWN_MAX);
	problem->status = 404;
	error_text(&problem->detail, 0, "none");
	return -ENOENT;
}

static json_t *say_no(void *userdata, struct api_problem *problem)
{
	(void)userdata;
	problem->status = 422;
	error_text(&problem->detail, 0, "no");
	return NULL;
}

static json_t *say_no_reload(void *userdata, struct api_reply *reply, struct api_problem *problem)
{
	(void)reply;
	return say_no(userdata, problem);
}

static void leave_answered(void *userdata)
{
	(void)userdata;
}

static json_t *say_nothing(void *userdata)
{
	(void)userdata;
	return json_pack("{s:b}", "ready", 1);
}

static const struct api_backend backend = {
	.list = say_list,
	.get = say_service,
	.connections = refuse_connections,
	.order = say_order,
	.reload = say_no_reload,
	.leave = say_no,
	.leave_answered = leave_answered,
	.version = say_nothing,
	.ready = say_nothing,
};

static void close_api(void)
{
	api_free(api);
	events_free(events);
	sd_event_unref(event);
	(void)unlink(socket_path);
}

static void open_api(void)
{
	struct error err;

	snprintf(socket_path, sizeof(socket_path), "/tmp/baton-fuzz.%d.sock", (int)getpid());
	FUZZ_MUST(sd_event_new(&event) >= 0 && events_new(&events) == 0);
	FUZZ_MUST(api_open(event, socket_path, (gid_t)-1, events, &backend, NULL, &api, &err) == 0);
	atexit(close_api);
}

static int connect_to_api(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(address.sun_path, socket_path, sizeof(socket_path));
	FUZZ_MUST(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

/* Until the answer has come, or nothing happens any more: the request is not whole. */
void fuzz_request(const uint8_t *data, size_t size)
{
	char answer[4096];
	ssize_t n = -1;
	int fd, idle = 0;

	if (!api)
		open_api();
	fd = connect_to_api();
	(void)send(fd, data, size, MSG_NOSIGNAL);
	(void)shutdown(fd, SHUT_WR);
	for (uint64_t end = clock_monotonic_ms() + ANSWER_MS;
	     idle < 3 && clock_monotonic_ms() < end;) {
		idle = sd_event_run(event, 0) > 0 ? 0 : idle + 1;
		n = recv(fd, answer, sizeof(answer), 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
	}
	close(fd);
	while (sd_event_run(event, 0) > 0)
		;
}
