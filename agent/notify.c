/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/notify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/closer.h"
#include "common/clean.h"
#include "common/message.h"
#include "common/notify_path.h"

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

/* ---- the socket ----------------------------------------------------------------------------- */

/* Linux 6.16 and 6.5; the headers of the system may be older. */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif
#ifndef SCM_PIDFD
#define SCM_PIDFD 4
#endif

/* Everything is set before bind(2): so no message can come without credentials. */
static int make_socket(int *ret_fd, struct error *err)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int on = 1, off = 0;

	if (fd < 0)
		return error_set(err, -errno, "notify socket");
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return error_set(err, -errno, "notify socket: SO_PASSCRED");
	/* An older kernel does without: closer.h, and the pid alone. */
	(void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
	(void)setsockopt(fd, SOL_SOCKET, SO_PASSPIDFD, &on, sizeof(on));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int notify_reopen(const char *name, int *ret_fd, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	cleanup_close int fd = -1;
	size_t n = strlen(name);
	int r;

	if (n < 2 || n > sizeof(address.sun_path) || name[0] != '@')
		return error_text(err, -EINVAL, "notify socket: \"%s\" is no abstract address",
				  name);
	r = make_socket(&fd, err);
	if (r < 0)
		return r;
	/* An abstract name begins with a NUL, and has none at its end (unix(7)). */
	memcpy(address.sun_path + 1, name + 1, n - 1);
	if (bind(fd, (struct sockaddr *)&address,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		return error_set(err, -errno, "notify socket: bind");
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* An agent that ends removes the folder of all of them, if it sees nobody else's. */
#define MAKE_TRIES 8

/* Closed to everybody else: what is done in it until open_folder() cannot be interfered with. */
static int make_folder(const struct notify_path *path)
{
	for (int k = 0; k < MAKE_TRIES; k++) {
		if (mkdir(path->base, 0711) < 0 && errno != EEXIST)
			return -errno;
		if (mkdir(path->folder, 0700) == 0 || errno == EEXIST)
			return chmod(path->base, 0711) < 0 || chmod(path->folder, 0700) < 0 ? -errno
											    : 0;
		if (errno != ENOENT)
			return -errno;
	}
	return -ENOENT;
}

static int bind_to(int fd, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	return r;
}

/* Let in who may send. The folder stays ours, so that nobody else can put anything into it. */
static int open_folder(const struct notify_path *path, const struct notify_owner *owner)
{
	bool other = owner->set && owner->uid != geteuid();
	bool everybody = !other && geteuid() == 0;

	if (other && (lchown(path->socket, owner->uid, owner->gid) < 0 ||
		      lchown(path->folder, geteuid(), owner->gid) < 0))
		return -errno;
	if (chmod(path->socket, everybody ? 0666 : 0600) < 0 ||
	    chmod(path->folder, everybody ? 0711
				: other   ? 0710
					  : 0700) < 0)
		return -errno;
	return 0;
}

int notify_open(const char *control_path, const struct notify_owner *owner, int *ret_fd,
		char ret_name[static NOTIFY_NAME_MAX], struct error *err)
{
	struct notify_path path;
	cleanup_close int fd = -1;
	int r = notify_path(control_path, &path);

	if (r < 0)
		return error_set(err, r, "notify socket of %s", control_path);
	r = make_socket(&fd, err);
	if (r < 0)
		return r;
	r = make_folder(&path);
	if (r == 0)
		r = bind_to(fd, path.socket);
	if (r == 0)
		r = open_folder(&path, owner);
	if (r < 0)
		return error_set(err, r, "notify socket %s", path.socket);
	snprintf(ret_name, NOTIFY_NAME_MAX, "%s", path.socket);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* ---- receiving ------------------------------------------------------------------------------ */

static void close_fds(const struct cmsghdr *header)
{
	size_t n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	int fd;

	for (size_t i = 0; i < n; i++) {
		memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
		closer_close(fd);
	}
}

static void take_control(struct msghdr *message, struct notify_sender *ret)
{
	struct ucred credentials;

	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
	     header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET)
			continue;
		if (header->cmsg_type == SCM_RIGHTS)
			close_fds(header);
		if (header->cmsg_type == SCM_PIDFD)
			memcpy(&ret->pidfd, CMSG_DATA(header), sizeof(ret->pidfd));
		if (header->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&credentials, CMSG_DATA(header), sizeof(credentials));
			ret->pid = credentials.pid;
			ret->uid = credentials.uid;
		}
	}
}

int notify_receive(int fd, struct notify_message *ret, struct notify_sender *ret_sender)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int)) +
			   CMSG_SPACE(MESSAGE_FDS_MAX * sizeof(int))];
	} control;
	char text[NOTIFY_MESSAGE_MAX];
	struct iovec iov = {.iov_base = text, .iov_len = sizeof(text)};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	struct notify_sender sender = {.pid = -1, .pidfd = -1};
	ssize_t n;

	if (!closer_has_room())
		return -EAGAIN;
	n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	take_control(&message, &sender);
	if (sender.pid <= 0 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		if (sender.pidfd >= 0)
			close(sender.pidfd);
		return -EBADMSG;
	}
	*ret_sender = sender;
	notify_parse(text, (size_t)n, ret);
	return 0;
}
