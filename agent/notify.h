/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notify: receives what the server says about itself by sd_notify(3).
 *
 * The socket is a file in a folder of its own (common/notify_path.h). If the server runs as another
 * user than the agent, only that user and root may enter the folder and send to the socket. If the
 * server is started as root, everybody may, as it may give up root before it says something; so who
 * sent a message is always checked by who is in the instance's cgroup (notify_sender), never by uid
 * alone.
 *
 * Who may send can pass descriptors, and closing one may sleep (closer.h). So the socket takes none
 * where the kernel can refuse them: Linux 6.16. FDSTORE=1 and BARRIER=1 fail there with EPERM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/protocol.h"

#define NOTIFY_MESSAGE_MAX 4096
#define NOTIFY_NAME_MAX    109 /* sun_path of unix(7), and a NUL */

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

/* Whose the server is. */
struct notify_owner {
	bool set; /* false: the agent's own user, who may be root */
	uid_t uid;
	gid_t gid;
};

/*
 * Open the socket that belongs to the control socket at @control_path; one that is left there is
 * replaced, so that a next agent has the name that the server knows. *ret_fd is the caller's.
 * @ret_name is the value for NOTIFY_SOCKET. Returns 0 or a negative errno.
 */
int notify_open(const char *control_path, const struct notify_owner *owner, int *ret_fd,
		char ret_name[static NOTIFY_NAME_MAX], struct error *err);

/*
 * The same with the abstract name ("@...") that an agent of an earlier version gave to the server.
 * While that agent ends it is still in use: -EADDRINUSE.
 */
int notify_reopen(const char *name, int *ret_fd, struct error *err);

struct notify_sender {
	pid_t pid;
	uid_t uid;
	int pidfd; /* the caller's; -1: the kernel does not tell (before 6.5), or it has ended */
};

/*
 * Receive and parse one message. Never blocks. Descriptors that come with it are closed. Returns 0,
 * -EAGAIN if none is there, -EBADMSG for one that must be ignored (too long, or without
 * credentials), or another negative errno.
 */
int notify_receive(int fd, struct notify_message *ret, struct notify_sender *ret_sender);
