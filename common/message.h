/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * message: one message with descriptors over an AF_UNIX SOCK_SEQPACKET socket, either way.
 *
 * Knows nothing of what the messages say. Neither function ever blocks, whatever the socket's own
 * flags. A message has at least one byte: an empty one could not be told from the end.
 */
#pragma once

#include <stddef.h>

/* SCM_MAX_FD of the kernel: no message can carry more. */
#define MESSAGE_FDS_MAX 253

/*
 * Send one message with @n_fds descriptors (which stay the caller's). Never blocks: -EAGAIN when
 * the peer does not read. Never raises SIGPIPE. -EINVAL where @length is 0, -EMSGSIZE where it is
 * more than the socket takes or @n_fds more than MESSAGE_FDS_MAX.
 */
int message_send(int fd, const char *text, size_t length, const int *fds, size_t n_fds);

/*
 * Receive one message into @buffer, which is NUL-terminated afterwards (so the longest that fits
 * is @size - 1 bytes; @size is at least 2). Descriptors that came with it are close-on-exec and
 * the caller's; more than @max_fds of them, or a message that does not fit, is -EMSGSIZE and
 * everything that came with it is closed. Returns 0 with *ret_length = 0 at the end of the
 * connection, -EAGAIN when nothing is there. Messages that were sent before the peer closed are
 * all received before the end is. @ret_fds and @ret_n_fds may be NULL where @max_fds is 0.
 */
int message_receive(int fd, char *buffer, size_t size, size_t *ret_length, int *ret_fds,
		    size_t max_fds, size_t *ret_n_fds);
