/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notice: tell whoever started us, by the protocol of sd_notify(3): one datagram to the socket that
 * NOTIFY_SOCKET names.
 */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/error.h"

/* baton-agent's sockets have names in this part of the abstract ones. */
#define NOTICE_BATON "@baton/"

struct notice {
	int fd;    /* -1: nobody to tell, or unreachable */
	int error; /* what sending says when fd is -1 */
	bool is_baton;
	struct sockaddr_un address;
	socklen_t length;
};

/*
 * A NOTIFY_SOCKET that makes no sense is an error of notice_send() only: a server that cannot tell
 * that it is ready can serve.
 */
int notice_open(struct notice *ret, struct error *err);
void notice_done(struct notice *notice);

/* @wait: for some time, where the receiver is behind. Returns 0, -EAGAIN or another errno. */
int notice_send(const struct notice *notice, const char *text, bool wait);
