/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/notify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clean.h"
#include "common/message.h"

/* The value of an assignment; it is not NUL-terminated. */
struct value {
	const char *text;
	size_t length;
};

static bool is_one(struct value value)
{
	return value.length == 1 && value.text[0] == '1';
}

static void parse_ready(struct value value, struct notify_message *message)
{
	message->ready = is_one(value);
}

static void parse_reloading(struct value value, struct notify_message *message)
{
	message->reloading = is_one(value);
}

static void parse_stopping(struct value value, struct notify_message *message)
{
	message->stopping = is_one(value);
}

static void parse_status(struct value value, struct notify_message *message)
{
	size_t n = value.length;

	if (n > sizeof(message->status) - 1)
		n = sizeof(message->status) - 1;
	memcpy(message->status, value.text, n);
	message->status[clean_text(message->status, n)] = '\0';
	message->has_status = true;
}

static void parse_main_pid(struct value value, struct notify_message *message)
{
	pid_t pid = 0;

	if (value.length == 0 || value.length > 9)
		return;
	for (size_t i = 0; i < value.length; i++) {
		if (value.text[i] < '0' || value.text[i] > '9')
			return;
		pid = 10 * pid + (value.text[i] - '0');
	}
	message->main_pid = pid;
}

static const struct {
	const char *name;
	void (*parse)(struct value value, struct notify_message *message);
} variables[] = {
	{"READY", parse_ready},   {"RELOADING", parse_reloading}, {"STOPPING", parse_stopping},
	{"STATUS", parse_status}, {"MAINPID", parse_main_pid},
};

static void parse_line(const char *line, size_t length, struct notify_message *message)
{
	const char *equals = memchr(line, '=', length);
	struct value value;

	if (!equals)
		return;
	value.text = equals + 1;
	value.length = length - (size_t)(equals + 1 - line);
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		if (strlen(variables[i].name) == (size_t)(equals - line) &&
		    memcmp(variables[i].name, line, (size_t)(equals - line)) == 0)
			variables[i].parse(value, message);
}

void notify_parse(const char *text, size_t length, struct notify_message *ret)
{
	const char *end = text + length, *newline;

	*ret = (struct notify_message){0};
	while (text < end) {
		newline = memchr(text, '\n', (size_t)(end - text));
		if (!newline)
			newline = end;
		parse_line(text, (size_t)(newline - text), ret);
		text = newline + 1;
	}
}

int notify_reopen(const char *name, int *ret_fd, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	cleanup_close int fd = -1;
	size_t n = strlen(name);
	const int on = 1;

	if (n < 2 || n > sizeof(address.sun_path) || name[0] != '@')
		return error_text(err, -EINVAL, "notify socket: \"%s\" is no abstract address",
				  name);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, -errno, "notify socket");
	/* Before bind(2): so no message can come without credentials. */
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return error_set(err, -errno, "notify socket: SO_PASSCRED");
	/* An abstract name begins with a NUL, and has none at its end (unix(7)). */
	memcpy(address.sun_path + 1, name + 1, n - 1);
	if (bind(fd, (struct sockaddr *)&address,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		return error_set(err, -errno, "notify socket: bind");
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int notify_open(int *ret_fd, char ret_name[static NOTIFY_NAME_MAX], struct error *err)
{
	unsigned char random[16];
	char name[2 * sizeof(random) + 1];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return error_set(err, -EIO, "notify socket: random name");
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(name + 2 * i, 3, "%02x", random[i]);
	snprintf(ret_name, NOTIFY_NAME_MAX, "@baton/notify/%s", name);
	return notify_reopen(ret_name, ret_fd, err);
}

static void close_fds(const struct cmsghdr *header)
{
	size_t n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	int fd;

	for (size_t i = 0; i < n; i++) {
		memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
		close(fd);
	}
}

int notify_receive(int fd, struct notify_message *ret, pid_t *ret_pid, uid_t *ret_uid)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct ucred)) +
			   CMSG_SPACE(MESSAGE_FDS_MAX * sizeof(int))];
	} control;
	char text[NOTIFY_MESSAGE_MAX];
	struct iovec iov = {.iov_base = text, .iov_len = sizeof(text)};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	struct ucred credentials;
	bool known = false;
	ssize_t n;

	n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header;
	     header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_level != SOL_SOCKET)
			continue;
		if (header->cmsg_type == SCM_RIGHTS)
			close_fds(header);
		if (header->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&credentials, CMSG_DATA(header), sizeof(credentials));
			known = true;
		}
	}
	if (!known || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return -EBADMSG;
	*ret_pid = credentials.pid;
	*ret_uid = credentials.uid;
	notify_parse(text, (size_t)n, ret);
	return 0;
}
