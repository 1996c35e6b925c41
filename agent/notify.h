/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notify: receives what the server says about itself by sd_notify(3).
 *
 * The socket has an abstract address with a random name, because a path would need permissions for
 * the service's user. So anybody on the host can send to it. The kernel says who sent a message
 * (SO_PASSCRED), and the caller decides whether to believe it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/protocol.h"

#define NOTIFY_MESSAGE_MAX 4096
#define NOTIFY_NAME_MAX    64

struct notify_message {
	bool ready;
	bool reloading;
	bool stopping;
	bool has_status;
	char status[PROTOCOL_TEXT_MAX]; /* cut if it is longer, and cleaned (clean.h) */
	pid_t main_pid;                 /* MAINPID=; 0: not said */
};

/*
 * Parse @length bytes of "NAME=VALUE" lines. An unknown name, or a value that makes no sense, is
 * ignored, as systemd does. If a name comes several times, the last one counts. Pure.
 */
void notify_parse(const char *text, size_t length, struct notify_message *ret);

/*
 * Open the socket; *ret_fd is the caller's. @ret_name is the value for NOTIFY_SOCKET. Returns 0 or
 * a negative errno.
 */
int notify_open(int *ret_fd, char ret_name[static NOTIFY_NAME_MAX], struct error *err);

/*
 * The same with the name that the server was given before, which another agent had. While that one
 * ends it is still in use: -EADDRINUSE.
 */
int notify_reopen(const char *name, int *ret_fd, struct error *err);

/*
 * Receive and parse one message; *ret_pid and *ret_uid are its sender's. Never blocks. Descriptors
 * that come with it (FDSTORE=1, BARRIER=1) are closed. Returns 0, -EAGAIN if none is there,
 * -EBADMSG for one that must be ignored (too long, or without credentials), or another negative
 * errno.
 */
int notify_receive(int fd, struct notify_message *ret, pid_t *ret_pid, uid_t *ret_uid);
