/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/hangups.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Handled at a time; others wait for the next turn of the event loop. */
#define EVENTS_MAX 64

struct hangups {
	int epoll_fd;
	sd_event_source *source;
	hangups_handler handler;
	void *userdata;
};

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct epoll_event list[EVENTS_MAX];
	struct hangups *hangups = userdata;
	int n;

	(void)source;
	(void)events;
	n = epoll_wait(fd, list, EVENTS_MAX, 0);
	for (int i = 0; i < n; i++)
		hangups->handler(list[i].data.u64, hangups->userdata);
	return 0;
}

int hangups_new(sd_event *event, hangups_handler handler, void *userdata, struct hangups **ret,
		struct error *err)
{
	cleanup(hangups_free) struct hangups *hangups = calloc(1, sizeof(*hangups));
	int r;

	if (!hangups)
		return error_set(err, -ENOMEM, "hangups");
	hangups->handler = handler;
	hangups->userdata = userdata;
	hangups->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (hangups->epoll_fd < 0)
		return error_set(err, -errno, "watch the sockets: epoll");
	r = sd_event_add_io(event, &hangups->source, hangups->epoll_fd, EPOLLIN, on_ready, hangups);
	if (r < 0)
		return error_set(err, r, "watch the sockets");
	*ret = TAKE_PTR(hangups);
	return 0;
}

void hangups_free(struct hangups *hangups)
{
	if (!hangups)
		return;
	sd_event_source_disable_unref(hangups->source);
	if (hangups->epoll_fd >= 0)
		close(hangups->epoll_fd);
	free(hangups);
}

int hangups_add(struct hangups *hangups, int fd, uint64_t cookie)
{
	/* EPOLLHUP is always reported. Edge-triggered, because it lasts until listen(2). */
	struct epoll_event event = {.events = EPOLLET, .data.u64 = cookie};

	if (epoll_ctl(hangups->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

void hangups_remove(struct hangups *hangups, int fd)
{
	if (fd >= 0)
		(void)epoll_ctl(hangups->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}
