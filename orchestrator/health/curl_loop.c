/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/health/curl_loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/clock.h"
#include "common/log.h"

struct curl_loop {
	sd_event *event;
	CURLM *multi;
	sd_event_source *timer;
	void (*on_done)(void *userdata, CURL *easy, CURLcode code);
	void (*on_unwatched)(void *userdata, CURL *easy, int error);
	void *userdata;
	unsigned depth; /* > 0: curl is at work */
};

static void run(struct curl_loop *loop, curl_socket_t fd, int events)
{
	CURLMsg *message;
	int ignored;

	loop->depth++;
	curl_multi_socket_action(loop->multi, fd, events, &ignored);
	while ((message = curl_multi_info_read(loop->multi, &ignored))) {
		if (message->msg == CURLMSG_DONE)
			loop->on_done(loop->userdata, message->easy_handle, message->data.result);
	}
	loop->depth--;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	int events = 0;

	(void)source;
	if (revents & EPOLLIN)
		events |= CURL_CSELECT_IN;
	if (revents & EPOLLOUT)
		events |= CURL_CSELECT_OUT;
	if (revents & (EPOLLERR | EPOLLHUP))
		events |= CURL_CSELECT_ERR;
	run(userdata, fd, events);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	run(userdata, CURL_SOCKET_TIMEOUT, 0);
	return 0;
}

/* (Re)watch @fd; @assigned is the source it has, or NULL. */
static int watch(struct curl_loop *loop, curl_socket_t fd, uint32_t events,
		 sd_event_source *assigned)
{
	sd_event_source *source = NULL;
	int r;

	if (assigned)
		return sd_event_source_set_io_events(assigned, events);
	r = sd_event_add_io(loop->event, &source, fd, events, on_io, loop);
	if (r < 0)
		return r;
	if (curl_multi_assign(loop->multi, fd, source) != CURLM_OK) {
		sd_event_source_disable_unref(source);
		return -ENOMEM;
	}
	return 0;
}

/* A failure is not handed to curl: it would refuse all work from then on. */
static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *assigned)
{
	struct curl_loop *loop = userdata;
	uint32_t events = 0;
	int r;

	if (what == CURL_POLL_REMOVE) {
		curl_multi_assign(loop->multi, fd, NULL);
		sd_event_source_disable_unref(assigned);
		return 0;
	}
	if (what & CURL_POLL_IN)
		events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		events |= EPOLLOUT;
	r = watch(loop, fd, events, assigned);
	if (r < 0)
		loop->on_unwatched(loop->userdata, easy, -r);
	return 0;
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *userdata)
{
	struct curl_loop *loop = userdata;
	int r;

	(void)multi;
	if (timeout_ms < 0) {
		r = sd_event_source_set_enabled(loop->timer, SD_EVENT_OFF);
	} else {
		uint64_t at_ms = clock_monotonic_ms() + (uint64_t)timeout_ms;

		r = sd_event_source_set_time(loop->timer, at_ms * 1000);
		if (r >= 0)
			r = sd_event_source_set_enabled(loop->timer, SD_EVENT_ONESHOT);
	}
	if (r < 0)
		log_error("probe: cannot set the timer: %s", strerror(-r));
	return 0;
}

static int set_up(struct curl_loop *loop)
{
	int r;

	loop->multi = curl_multi_init();
	if (!loop->multi ||
	    curl_multi_setopt(loop->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket) != CURLM_OK ||
	    curl_multi_setopt(loop->multi, CURLMOPT_SOCKETDATA, loop) != CURLM_OK ||
	    curl_multi_setopt(loop->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer) != CURLM_OK ||
	    curl_multi_setopt(loop->multi, CURLMOPT_TIMERDATA, loop) != CURLM_OK)
		return -ENOMEM;
	r = sd_event_add_time(loop->event, &loop->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, loop);
	return r < 0 ? r : sd_event_source_set_enabled(loop->timer, SD_EVENT_OFF);
}

int curl_loop_new(sd_event *event, void (*on_done)(void *userdata, CURL *easy, CURLcode code),
		  void (*on_unwatched)(void *userdata, CURL *easy, int error), void *userdata,
		  struct curl_loop **ret)
{
	struct curl_loop *loop;
	int r;

	/*
	 * TLS sets itself up when it is first used (curl_global_init(3)). Calls are counted:
	 * curl_loop_free() takes this one back.
	 */
	if (curl_global_init(CURL_GLOBAL_NOTHING) != CURLE_OK)
		return -ENOMEM;
	loop = calloc(1, sizeof(*loop));
	if (!loop) {
		curl_global_cleanup();
		return -ENOMEM;
	}
	loop->event = sd_event_ref(event);
	loop->on_done = on_done;
	loop->on_unwatched = on_unwatched;
	loop->userdata = userdata;
	r = set_up(loop);
	if (r < 0) {
		curl_loop_free(loop);
		return r;
	}
	*ret = loop;
	return 0;
}

void curl_loop_free(struct curl_loop *loop)
{
	if (!loop)
		return;
	curl_multi_cleanup(loop->multi);
	sd_event_source_disable_unref(loop->timer);
	sd_event_unref(loop->event);
	curl_global_cleanup();
	free(loop);
}

bool curl_loop_busy(const struct curl_loop *loop)
{
	return loop->depth > 0;
}

CURLMcode curl_loop_add(struct curl_loop *loop, CURL *easy)
{
	CURLMcode code;

	loop->depth++;
	code = curl_multi_add_handle(loop->multi, easy);
	loop->depth--;
	return code;
}

void curl_loop_remove(struct curl_loop *loop, CURL *easy)
{
	loop->depth++;
	curl_multi_remove_handle(loop->multi, easy);
	loop->depth--;
}

void curl_loop_cleanup(struct curl_loop *loop, CURL *easy)
{
	loop->depth++;
	curl_multi_remove_handle(loop->multi, easy); /* harmless for one that was never added */
	curl_easy_cleanup(easy);
	loop->depth--;
}
