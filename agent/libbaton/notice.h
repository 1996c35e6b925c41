/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notice: tells the process's supervisor something, by the protocol of sd_notify(3): one datagram
 * to the socket that NOTIFY_SOCKET names.
 */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/error.h"

/*
 * The paths of baton-agent's sockets end with the second of these, a level below the first
 * (common/notify_path.h); those of earlier versions were abstract names that begin with the third.
 */
#define NOTICE_BATON_FOLDER   "/tell/"
#define NOTICE_BATON_FILE     "/baton"
#define NOTICE_BATON_ABSTRACT "@baton/"

struct notice {
	int fd;        /* -1: nobody to tell, or unreachable */
	int error;     /* what notice_send() returns if fd is -1 */
	bool is_baton; /* the socket is baton-agent's */
	struct sockaddr_un address;
	socklen_t length;
};

/*
 * Read NOTIFY_SOCKET and open a socket. Returns 0 or a negative errno. A NOTIFY_SOCKET that makes
 * no sense is an error of notice_send() only: a server that cannot say that it is ready can still
 * serve.
 */
int notice_open(struct notice *ret, struct error *err);
void notice_done(struct notice *notice);

/*
 * @wait: wait for up to 2 seconds if the receiver is behind. Returns 0, -EAGAIN or another errno.
 */
int notice_send(const struct notice *notice, const char *text, bool wait);
