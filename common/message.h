/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * message: sends and receives one message with descriptors over an AF_UNIX SOCK_SEQPACKET socket.
 *
 * The module knows nothing of what the messages say (protocol.h). Neither function ever blocks,
 * whatever flags the socket has. A message has at least one byte: an empty one would look like the
 * end of the connection.
 */
#pragma once

#include <stddef.h>

/* SCM_MAX_FD of the kernel: no message can carry more. */
#define MESSAGE_FDS_MAX 253

/*
 * Send one message with @n_fds descriptors, which stay the caller's. Never raises SIGPIPE. Returns
 * 0, or
 *	-EAGAIN		the peer does not read
 *	-EINVAL		@length is 0
 *	-EMSGSIZE	@length is more than the socket takes, or @n_fds than MESSAGE_FDS_MAX
 *	...		or another errno of sendmsg(2)
 */
int message_send(int fd, const char *text, size_t length, const int *fds, size_t n_fds);

/*
 * Receive one message into @buffer, which has @size bytes, and end it with a NUL: the longest
 * message that fits has @size - 1 bytes. Descriptors that came with it go into @ret_fds, which has
 * room for @max_fds; they are close-on-exec and the caller's. @ret_fds may be NULL if there is room
 * for none, @ret_n_fds always. Returns 0, or
 *	-EAGAIN		nothing is there
 *	-EMSGSIZE	the message does not fit, or it has more than @max_fds descriptors, all of
 *			which are closed
 *	-EINVAL		@size is less than 2
 *	...		or another errno of recvmsg(2)
 *
 * At the end of the connection it returns 0 with *ret_length = 0, but only after all messages that
 * the peer had sent before it closed.
 */
int message_receive(int fd, char *buffer, size_t size, size_t *ret_length, int *ret_fds,
		    size_t max_fds, size_t *ret_n_fds);
