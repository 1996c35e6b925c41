/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/endings.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "common/pidfds.h"

struct watched {
	pid_t pid;
	int pidfd;
};

struct endings {
	int epoll_fd;
	sd_event_source *source;
	endings_handler handler;
	void *userdata;
	struct watched list[ENDINGS_MAX];
	size_t n;
};

/* To close the descriptor takes it out of the epoll: there is no duplicate. */
static void drop(struct endings *endings, size_t k)
{
	close(endings->list[k].pidfd);
	endings->list[k] = endings->list[--endings->n];
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct endings *endings = userdata;

	(void)source;
	(void)fd;
	(void)events;
	for (size_t k = endings->n; k-- > 0;)
		if (!pidfds_alive(endings->list[k].pidfd))
			drop(endings, k);
	endings->handler(endings->userdata);
	return 0;
}

int endings_new(sd_event *event, endings_handler handler, void *userdata, struct endings **ret,
		struct error *err)
{
	cleanup(endings_free) struct endings *endings = calloc(1, sizeof(*endings));
	int r;

	assert(event && handler);
	if (!endings)
		return error_set(err, -ENOMEM, "endings");
	endings->handler = handler;
	endings->userdata = userdata;
	endings->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (endings->epoll_fd < 0)
		return error_set(err, -errno, "watch processes: epoll");
	r = sd_event_add_io(event, &endings->source, endings->epoll_fd, EPOLLIN, on_ready, endings);
	/* The end of the server itself is told first (server.h). */
	if (r >= 0)
		r = sd_event_source_set_priority(endings->source, SD_EVENT_PRIORITY_NORMAL + 1);
	if (r < 0)
		return error_set(err, r, "watch processes");
	*ret = TAKE_PTR(endings);
	return 0;
}

void endings_free(struct endings *endings)
{
	if (!endings)
		return;
	endings_watch(endings, NULL, 0);
	sd_event_source_disable_unref(endings->source);
	if (endings->epoll_fd >= 0)
		close(endings->epoll_fd);
	free(endings);
}

static bool is_listed(const pid_t *pids, size_t n, pid_t pid)
{
	for (size_t k = 0; k < n; k++)
		if (pids[k] == pid)
			return true;
	return false;
}

static bool is_watched(const struct endings *endings, pid_t pid)
{
	for (size_t k = 0; k < endings->n; k++)
		if (endings->list[k].pid == pid)
			return true;
	return false;
}

static void add(struct endings *endings, pid_t pid)
{
	struct epoll_event event = {.events = EPOLLIN};
	int pidfd = pidfd_open(pid, 0);

	if (pidfd < 0)
		return;
	if (epoll_ctl(endings->epoll_fd, EPOLL_CTL_ADD, pidfd, &event) < 0) {
		close(pidfd);
		return;
	}
	endings->list[endings->n++] = (struct watched){.pid = pid, .pidfd = pidfd};
}

void endings_watch(struct endings *endings, const pid_t *pids, size_t n)
{
	assert(n <= ENDINGS_MAX);
	for (size_t k = endings->n; k-- > 0;)
		if (!is_listed(pids, n, endings->list[k].pid))
			drop(endings, k);
	for (size_t k = 0; k < n; k++)
		if (!is_watched(endings, pids[k]))
			add(endings, pids[k]);
}
