/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * diag_fixture: real sockets in a network namespace of the test's own, a cgroup to make them in,
 * and a mnl_socket_recvfrom() that takes the library's place, so that a test can put between what a
 * kernel does not do on demand (late answers, inconsistent dumps, errors in words).
 *
 * Defines everything: for one source file per program.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/diag.h"
#include "tests/unit/fakes/netns.h"

#define PORT    4711
#define FDS_MAX 12000

static struct diag *diag;
static struct error err;
static int fds[FDS_MAX];
static size_t n_fds;

/* ---- between libmnl and the module ---------------------------------------------------------- */

static int receive_calls;
static bool (*tamper)(const struct mnl_socket *nl, void *buffer, size_t size, ssize_t *ret);

static inline ssize_t real_receive(const struct mnl_socket *nl, void *buffer, size_t size)
{
	ssize_t (*real)(const struct mnl_socket *, void *, size_t) = NULL;

	*(void **)&real = dlsym(RTLD_NEXT, "mnl_socket_recvfrom");
	assert_non_null(real);
	return real(nl, buffer, size);
}

ssize_t mnl_socket_recvfrom(const struct mnl_socket *nl, void *buffer, size_t size)
{
	ssize_t n;

	receive_calls++;
	if (tamper && tamper(nl, buffer, size, &n))
		return n;
	return real_receive(nl, buffer, size);
}

/* ---- sockets -------------------------------------------------------------------------------- */

static inline int keep(int fd)
{
	assert_true(fd >= 0);
	assert_true(n_fds < sizeof(fds) / sizeof(fds[0]));
	fds[n_fds++] = fd;
	return fd;
}

static inline void drop(int fd)
{
	for (size_t i = 0; i < n_fds; i++) {
		if (fds[i] == fd) {
			close(fd);
			fds[i] = fds[--n_fds];
			return;
		}
	}
	fail_msg("descriptor %d is not kept", fd);
}

static inline int bind_to(int fd, int family, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (family == AF_INET)
		return bind(fd, (struct sockaddr *)&in, sizeof(in));
	return bind(fd, (struct sockaddr *)&in6, sizeof(in6)); /* dual-stack wildcard */
}

static inline int make_listener(int family, uint16_t port, int backlog)
{
	int fd = keep(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));

	assert_int_equal(bind_to(fd, family, port), 0);
	assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

static inline int make_client(uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = keep(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	return fd;
}

static inline int accept_one(int listener)
{
	return keep(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
}

static inline uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length), 0);
	return cookie;
}

static inline uint8_t state_of(int fd)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
	return info.tcpi_state;
}

static inline void wait_for_state(int fd, uint8_t state)
{
	for (int i = 0; i < 5000 && state_of(fd) != state; i++)
		usleep(1000);
	assert_int_equal(state_of(fd), state);
}

static inline int setup(void **state)
{
	(void)state;
	memset(&err, 0, sizeof(err));
	return diag_open(&diag, &err);
}

static inline int teardown(void **state)
{
	(void)state;
	tamper = NULL;
	while (n_fds > 0)
		drop(fds[0]);
	diag_free(diag);
	diag = NULL;
	return 0;
}

/* ---- a cgroup ------------------------------------------------------------------------------- */

static char cgroup_path[256];

static inline bool find_cgroup_mount(char *ret, size_t size)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char line[1024], point[200];
	bool found = false;

	assert_non_null(file);
	while (!found && fgets(line, sizeof(line), file)) {
		if (!strstr(line, " - cgroup2 ") ||
		    sscanf(line, "%*s %*s %*s %*s %199s", point) != 1)
			continue;
		snprintf(ret, size, "%s/baton-test-diag-%d", point, (int)getpid());
		found = true;
	}
	fclose(file);
	return found;
}

/* A child in the cgroup makes the socket; the table of descriptors is shared with it. */
static inline int make_listener_in_cgroup(const char *path)
{
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		char procs[300];
		int fd, r;

		snprintf(procs, sizeof(procs), "%s/cgroup.procs", path);
		fd = open(procs, O_WRONLY | O_CLOEXEC);
		r = fd < 0 || write(fd, "0", 1) != 1;
		close(fd);
		fd = r ? -1 : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		_exit(fd > 0 && bind_to(fd, AF_INET, PORT) == 0 && listen(fd, 16) == 0 ? fd : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) > 0);
	return keep(WEXITSTATUS(status));
}

static inline int teardown_cgroup(void **state)
{
	teardown(state);
	if (cgroup_path[0])
		rmdir(cgroup_path);
	cgroup_path[0] = '\0';
	return 0;
}

/* ---- an inconsistent dump ------------------------------------------------------------------- */

static int interrupted_left;

static inline bool tamper_interrupted(const struct mnl_socket *nl, void *buffer, size_t size,
				      ssize_t *ret)
{
	*ret = real_receive(nl, buffer, size);
	if (*ret > 0 && interrupted_left > 0) {
		((struct nlmsghdr *)buffer)->nlmsg_flags |= NLM_F_DUMP_INTR;
		interrupted_left--;
	}
	return true;
}
