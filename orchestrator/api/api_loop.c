/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/api/api_internal.h"

/* After what helpers have seen, which orders may wait for. */
#define PRECEDES (SD_EVENT_PRIORITY_IMPORTANT + 1)

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

uint64_t api_now_us(void)
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

void api_run(void *userdata)
{
	struct api *api = userdata;
	uint64_t began_us = api_now_us(), ended_us;

	MHD_run(api->daemon);
	set_timer(api);
	set_next_turn(api);
	door_look(api->door);
	ended_us = api_now_us();
	api->precedes_from_us = ended_us + (ended_us - began_us);
}

int api_on_prepare(sd_event_source *source, void *userdata)
{
	struct api *api = userdata;
	int64_t priority =
		api_now_us() >= api->precedes_from_us ? PRECEDES : SD_EVENT_PRIORITY_NORMAL;

	(void)source;
	if (priority == api->priority)
		return 0;
	api->priority = priority;
	(void)sd_event_source_set_priority(api->io, priority);
	(void)sd_event_source_set_priority(api->next_turn, priority);
	(void)sd_event_source_set_priority(api->answers, priority);
	door_set_priority(api->door, priority);
	return 0;
}

int api_on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	(void)source;
	(void)fd;
	(void)revents;
	api_run(userdata);
	return 0;
}

int api_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	api_run(userdata);
	return 0;
}

void api_resume_stream(struct stream *stream)
{
	if (!stream->suspended)
		return;
	stream->suspended = false;
	MHD_resume_connection(stream->connection);
}

void api_resume_reply(struct api_reply *reply)
{
	if (!reply->suspended)
		return;
	reply->suspended = false;
	MHD_resume_connection(reply->connection);
}

int api_on_wake(sd_event_source *source, void *userdata)
{
	struct api *api = userdata;

	(void)source;
	for (struct stream *s = api->streams; s; s = s->next) {
		if (event_stream_ready(s->text))
			api_resume_stream(s);
	}
	api_run(api);
	return 0;
}

int api_on_answers(sd_event_source *source, void *userdata)
{
	struct api *api = userdata;

	(void)source;
	for (struct api_reply *reply = api->replies; reply; reply = reply->next)
		if (reply->ready)
			api_resume_reply(reply);
	api_run(api);
	return 0;
}

/* It may be called from within libmicrohttpd (an order being taken): so nothing is done here. */
static void defer(sd_event_source *source)
{
	int r = sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);

	if (r < 0)
		log_error("api: cannot defer: %s", strerror(-r));
}

void api_wake(void *userdata)
{
	defer(((struct api *)userdata)->wake);
}

void api_wake_answers(void *userdata)
{
	defer(((struct api *)userdata)->answers);
}

static struct request *request_of(struct turn *turn)
{
	return (struct request *)((char *)turn - offsetof(struct request, turn));
}

void api_give_turn(struct turn *turn)
{
	request_of(turn)->has_turn = true;
	MHD_resume_connection(request_of(turn)->connection);
}

int api_on_next_turn(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct api *api = userdata;
	struct turn *turn = turns_take(&api->turns, api_now_us());

	(void)source;
	(void)usec;
	api->next_turn_us = UINT64_MAX;
	if (turn)
		api_give_turn(turn);
	api_run(api);
	return 0;
}

void api_arm_heartbeat(struct api *api)
{
	int r = sd_event_source_set_time(api->heartbeat,
					 (clock_monotonic_ms() + api->heartbeat_ms) * 1000);

	if (r >= 0)
		r = sd_event_source_set_enabled(api->heartbeat,
						api->n_streams ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
	if (r < 0)
		log_error("api: cannot set the timer: %s", strerror(-r));
}

int api_on_heartbeat(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct api *api = userdata;

	(void)source;
	(void)usec;
	for (struct stream *s = api->streams; s; s = s->next) {
		/* One that is being written to shows by that whether its reader is there. */
		if (!s->suspended)
			continue;
		event_stream_beat(s->text);
		api_resume_stream(s);
	}
	api_run(api);
	api_arm_heartbeat(api);
	return 0;
}

void api_set_heartbeat(struct api *api, uint64_t heartbeat_ms)
{
	api->heartbeat_ms = heartbeat_ms;
	api_arm_heartbeat(api);
}
