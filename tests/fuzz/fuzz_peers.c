/* SPDX-License-Identifier: BSD-2-Clause */
/* What servers answer to checks, and the kernel to sock_diag(7). */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "orchestrator/health/answer.h"
#include "orchestrator/health/explain.h"
#include "orchestrator/health/grpc.h"
#include "tests/fuzz/fuzz.h"

static void explain(const uint8_t *data, size_t size)
{
	char text[256], *says;

	for (unsigned asked = 0; asked <= EXPLAIN_TLS; asked++) {
		(void)explain_bytes(asked, (const char *)data, size, text, sizeof(text));
		fuzz_must_be_clean(text, strnlen(text, sizeof(text)), 0);
	}
	says = fuzz_text(data, size);
	(void)explain_tls(says, text, sizeof(text));
	fuzz_must_be_clean(text, strnlen(text, sizeof(text)), 0);
	(void)explain_is_https_page(400, says);
	free(says);
}

/* Lines up to an empty one are its header; the rest comes in two pieces. */
void fuzz_answer(const uint8_t *data, size_t size)
{
	const char *at = (const char *)data, *end = at + size;
	struct answer answer = {};
	char text[256];
	uint64_t status;

	explain(data, size);
	(void)grpc_decode(at, size, &status);
	while (at < end && !answer.headed) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		size_t length = (size_t)((newline ? newline + 1 : end) - at);

		answer_header(&answer, at, length);
		at += length;
	}
	answer_body(&answer, at, (size_t)(end - at) / 2);
	at += (end - at) / 2;
	answer_body(&answer, at, (size_t)(end - at));
	fuzz_must_be_clean(answer.reason, strnlen(answer.reason, sizeof(answer.reason)), 0);
	fuzz_must_be_clean(answer.body, answer.body_length, 0);
	fuzz_must_be_clean(answer.location, strlen(answer.location), 0);
	fuzz_must_be_clean(answer.grpc_message, strlen(answer.grpc_message), 0);
	(void)answer_status_text(&answer, text, sizeof(text));
}

/* ---- the kernel ------------------------------------------------------------------------------ */

/* Datagrams, each with its length in two bytes in front, in answer to whatever is asked. */
static struct {
	const uint8_t *data;
	size_t left;
	unsigned seq;
} kernel;

/* It says so of each message: what belongs to another request is left out before anything else. */
static void address_to_us(char *buffer, size_t n)
{
	struct nlmsghdr *header = (struct nlmsghdr *)buffer;

	for (int left = (int)n; mnl_nlmsg_ok(header, left) && header->nlmsg_len <= (unsigned)left;
	     header = mnl_nlmsg_next(header, &left)) {
		header->nlmsg_seq = kernel.seq;
		header->nlmsg_pid = 1;
	}
}

ssize_t mnl_socket_recvfrom(const struct mnl_socket *socket, void *buffer, size_t size)
{
	size_t n;

	(void)socket;
	if (kernel.left < 2) {
		errno = EAGAIN;
		return -1;
	}
	n = (size_t)(kernel.data[0] | kernel.data[1] << 8);
	kernel.data += 2;
	kernel.left -= 2;
	n = n < kernel.left ? n : kernel.left;
	n = n < size ? n : size;
	memcpy(buffer, kernel.data, n);
	kernel.data += n;
	kernel.left -= n;
	address_to_us(buffer, n);
	return (ssize_t)n;
}

ssize_t mnl_socket_sendto(const struct mnl_socket *socket, const void *request, size_t size)
{
	(void)socket;
	kernel.seq = ((const struct nlmsghdr *)request)->nlmsg_seq;
	return (ssize_t)size;
}

unsigned mnl_socket_get_portid(const struct mnl_socket *socket)
{
	(void)socket;
	return 1;
}

static void found_listener(void *userdata, const struct diag_listening *listening)
{
	(void)userdata;
	FUZZ_MUST(listening->local.sa.sa_family == AF_INET ||
		  listening->local.sa.sa_family == AF_INET6 ||
		  listening->local.sa.sa_family == AF_UNSPEC);
}

static void found_connection(void *userdata, const struct diag_connection *connection)
{
	(void)userdata;
	FUZZ_MUST(diag_state_name(connection->state));
	(void)diag_is_live(connection);
}

static void reset(void *userdata)
{
	(void)userdata;
}

void fuzz_netlink(const uint8_t *data, size_t size)
{
	struct diag_listener listener;
	struct diag *diag = NULL;
	struct error err;
	uint64_t live;

	FUZZ_MUST(diag_open(&diag, &err) == 0);
	for (int asked = 0; asked < 4; asked++) {
		kernel.data = data;
		kernel.left = size;
		if (asked == 0)
			(void)diag_each_listener(diag, 0, reset, found_listener, NULL, &err);
		else if (asked == 1)
			(void)diag_each_connection(diag, 80, 0, reset, found_connection, NULL,
						   &err);
		else if (asked == 2)
			(void)diag_connections(diag, 80, 0, &live, &err);
		else
			(void)diag_listener(diag, 80, 1, &listener, &err);
	}
	diag_free(diag);
}
