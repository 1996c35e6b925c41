/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notify: what the server says about itself by sd_notify(3).
 *
 * The socket has an abstract address with a random name: a path would need permissions for the
 * service's user. Anybody on the host can therefore send to it, so each message comes with the
 * kernel's word on who sent it (SO_PASSCRED), and the caller decides.
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
	char status[PROTOCOL_TEXT_MAX]; /* cut, cleaned (clean_text()) */
	pid_t main_pid;                 /* MAINPID=; 0: not said */
};

/*
 * Parse "NAME=VALUE" lines. Assignments that are not known, or whose value makes no sense, are
 * ignored, as systemd does. Of several of one name the last counts. Pure.
 */
void notify_parse(const char *text, size_t length, struct notify_message *ret);

/* Open the socket; @ret_name is the value for NOTIFY_SOCKET. */
int notify_open(int *ret_fd, char ret_name[static NOTIFY_NAME_MAX], struct error *err);

/*
 * Receive and parse one message. -EAGAIN when none is there; -EBADMSG for one to be ignored (too
 * long, or without credentials). Descriptors that come along (FDSTORE=1, BARRIER=1) are closed.
 */
int notify_receive(int fd, struct notify_message *ret, pid_t *ret_pid, uid_t *ret_uid);
