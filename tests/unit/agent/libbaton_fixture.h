/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libbaton_fixture: what the tests of libbaton have in common.
 */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/baton.h"
#include "tests/unit/fakes/netns.h"

#define OPTIONS(...) (&(struct baton_options){.size = sizeof(struct baton_options), __VA_ARGS__})
#define LISTEN(...)  ((const char *const[]){__VA_ARGS__, NULL})
#define TEST(name)   cmocka_unit_test_setup_teardown(name, setup, setup)

static inline int setup(void **data)
{
	(void)data;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	unsetenv("NOTIFY_SOCKET");
	unsetenv("BATON_DRAIN_SIGNAL");
	return 0;
}

static inline struct baton *open_on(const char *address)
{
	struct baton *baton = NULL;
	char why[256] = "";
	int r = baton_open(OPTIONS(.listen = LISTEN(address), .error = why, .error_size = 256),
			   &baton);

	if (r < 0)
		fail_msg("baton_open: %s (%d)", why, r);
	return baton;
}

static inline int connect_to(const char *host, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int is_in6 = inet_pton(AF_INET6, host, &in6.sin6_addr) == 1;
	int fd = socket(is_in6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	assert_true(fd >= 0);
	assert_true(is_in6 || inet_pton(AF_INET, host, &in.sin_addr) == 1);
	r = connect(fd, is_in6 ? (struct sockaddr *)&in6 : (struct sockaddr *)&in,
		    is_in6 ? sizeof(in6) : sizeof(in));
	r = r < 0 ? -errno : 0;
	close(fd);
	return r;
}

static inline int socket_option(int fd, int option)
{
	int value = -1;
	socklen_t size = sizeof(value);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, option, &value, &size), 0);
	return value;
}

static inline int is_readable(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};

	return poll(&poller, 1, 0);
}

/* How a child ended: 0, or whatever is not. */
static inline int await(pid_t pid)
{
	int status = -1;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}
