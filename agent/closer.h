/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * closer: closes descriptors that somebody else has made, in a thread of its own. close(2) of a
 * socket with SO_LINGER and unsent data sleeps for as long as its maker has chosen, and so does
 * dropping a message with one in it. Only for kernels where a socket cannot refuse descriptors
 * (SO_PASSRIGHTS, Linux 6.16). The thread is made when the first descriptor comes.
 */
#pragma once

#include <stdbool.h>

#define CLOSER_PENDING_MAX 1024

/* Is there room for what one more message may carry? If not, do not receive one. */
bool closer_has_room(void);

/* Close @fd soon. Never waits. */
void closer_close(int fd);
