/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/message.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define RECEIVE_TRIES 8

/* Room for the descriptors of one message, aligned as cmsg(3) wants it. */
union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int) * MESSAGE_FDS_MAX)];
};

int message_send(int fd, const char *text, size_t length, const int *fds, size_t n_fds)
{
	union control control = {0};
	struct iovec iov = {.iov_base = (void *)text, .iov_len = length};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *header;
	ssize_t n;

	assert(text && (fds || n_fds == 0));
	if (length == 0)
		return -EINVAL;
	if (n_fds > MESSAGE_FDS_MAX)
		return -EMSGSIZE;
	if (n_fds > 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(header), fds, sizeof(int) * n_fds);
	}
	do
		n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/*
 * If the peer closes before it has read everything, this side gets ECONNRESET. The kernel reports
 * that ahead of what the peer had sent (sock_error() comes first in __skb_try_recv_datagram()), but
 * only once. So ask again, or an agent's last report would be lost.
 */
static ssize_t receive(int fd, struct msghdr *message)
{
	size_t space = message->msg_controllen;
	ssize_t n = -1;

	for (int i = 0; i < RECEIVE_TRIES; i++) {
		message->msg_controllen = space;
		n = recvmsg(fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n >= 0 || (errno != EINTR && errno != ECONNRESET))
			break;
	}
	return n < 0 ? -errno : n;
}

static size_t collect_fds(struct msghdr *message, int fds[static MESSAGE_FDS_MAX])
{
	size_t n_fds = 0, n;

	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
	     header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (n > MESSAGE_FDS_MAX - n_fds)
			break;
		memcpy(fds + n_fds, CMSG_DATA(header), n * sizeof(int));
		n_fds += n;
	}
	return n_fds;
}

int message_receive(int fd, char *buffer, size_t size, size_t *ret_length, int *ret_fds,
		    size_t max_fds, size_t *ret_n_fds)
{
	union control control = {0};
	int fds[MESSAGE_FDS_MAX];
	struct iovec iov = {.iov_base = buffer, .iov_len = size - 1};
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	size_t n_fds;
	ssize_t n;

	assert(buffer && (ret_fds || max_fds == 0));
	*ret_length = 0;
	if (ret_n_fds)
		*ret_n_fds = 0;
	if (size < 2)
		return -EINVAL;
	n = receive(fd, &message);
	if (n < 0)
		return n == -ECONNRESET ? 0 : (int)n;
	n_fds = collect_fds(&message, fds);
	/* MSG_CTRUNC: too many descriptors for the buffer, or for this process's RLIMIT_NOFILE. */
	if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || n_fds > max_fds || n == 0) {
		for (size_t i = 0; i < n_fds; i++)
			close(fds[i]);
		return n == 0 ? 0 : -EMSGSIZE;
	}
	buffer[n] = '\0';
	*ret_length = (size_t)n;
	if (n_fds > 0)
		memcpy(ret_fds, fds, n_fds * sizeof(int));
	if (ret_n_fds)
		*ret_n_fds = n_fds;
	return 0;
}
