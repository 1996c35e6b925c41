/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/libbaton/notice.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/cleanup.h"

#define WAIT_S    2
#define TRIES_MAX 16 /* so that a process that gets signals all the time does not try for ever */

/*
 * @name is a path, or "@" and an abstract name (sd_notify(3)). An abstract name has no NUL at its
 * end (unix(7)).
 */
static int set_address(struct notice *notice, const char *name)
{
	size_t length = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || length < 2)
		return -EAFNOSUPPORT;
	if (length >= sizeof(notice->address.sun_path))
		return -ENAMETOOLONG;
	notice->address = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(notice->address.sun_path, name, length);
	if (name[0] == '@')
		notice->address.sun_path[0] = '\0';
	else
		length++;
	notice->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	return 0;
}

static bool is_batons(const char *name)
{
	const char *folder = strstr(name, NOTICE_BATON_FOLDER);
	const char *file = folder ? strchr(folder + strlen(NOTICE_BATON_FOLDER), '/') : NULL;

	return (file && strcmp(file, NOTICE_BATON_FILE) == 0) ||
	       strncmp(name, NOTICE_BATON_ABSTRACT, strlen(NOTICE_BATON_ABSTRACT)) == 0;
}

int notice_open(struct notice *ret, struct error *err)
{
	const struct timeval wait = {.tv_sec = WAIT_S};
	const char *name = getenv("NOTIFY_SOCKET");
	cleanup_close int fd = -1;

	*ret = (struct notice){.fd = -1};
	if (!name || !name[0])
		return 0;
	ret->error = set_address(ret, name);
	if (ret->error < 0)
		return 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0)
		return error_set(err, -errno, "notify socket");
	ret->is_baton = is_batons(name);
	ret->fd = TAKE_FD(fd);
	return 0;
}

void notice_done(struct notice *notice)
{
	if (notice->fd >= 0)
		close(notice->fd);
	notice->fd = -1;
}

int notice_send(const struct notice *notice, const char *text, bool wait)
{
	int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
	ssize_t n = -1;

	if (notice->fd < 0)
		return notice->error;
	for (int i = 0; i < TRIES_MAX; i++) {
		n = sendto(notice->fd, text, strlen(text), flags,
			   (const struct sockaddr *)&notice->address, notice->length);
		if (n >= 0 || errno != EINTR)
			break;
	}
	if (n >= 0)
		return 0;
	return errno == EINTR ? -EAGAIN : -errno;
}
