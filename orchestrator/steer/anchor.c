/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/anchor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"

#define SWEEP_MAX 65536

/* How many failures to accept one anchor_reset() puts up with. */
#define FAILURES_MAX 1024

static int set_option(int fd, int level, int option, int value, const char *what, struct error *err)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) < 0)
		return error_set(err, -errno, "%s", what);
	return 0;
}

static int make_socket(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

static int enter_cgroup(int cgroup_fd)
{
	cleanup_close int fd = openat(cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	/* "0" stands for whoever writes it. */
	return fd < 0 || write(fd, "0", 1) != 1 ? -errno : 0;
}

/*
 * A child that shares this process's descriptors, in the cgroup. 0: this is it; -1 with errno. Of
 * Linux 5.7 it is born there. Container runtimes hide clone3(2), which takes flags that they cannot
 * see: then it goes there, as it does @by_hand.
 */
static long fork_into(int cgroup_fd, bool by_hand)
{
	struct clone_args args = {
		.flags = CLONE_FILES | CLONE_INTO_CGROUP,
		.cgroup = (__u64)cgroup_fd,
	};
	long pid = -1;
	int r;

	errno = ENOSYS;
	if (!by_hand)
		pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid >= 0 || (errno != ENOSYS && errno != EPERM))
		return pid;
	pid = syscall(SYS_clone, CLONE_FILES, 0, 0, 0, 0);
	r = pid == 0 ? enter_cgroup(cgroup_fd) : 0;
	if (r < 0)
		_exit(-r);
	return pid;
}

/* In the place of @fd. Returns 0, a negative errno, or -ECHILD if the child was killed. */
static int replace_by_child(int fd, int family, int cgroup_fd, bool by_hand)
{
	int status = 0;
	long pid = fork_into(cgroup_fd, by_hand);

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		int made = make_socket(family);

		if (made < 0)
			_exit(-made);
		status = dup3(made, fd, O_CLOEXEC) < 0 ? errno : 0;
		close(made);
		_exit(status);
	}
	while (waitpid((pid_t)pid, &status, __WALL) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}

/*
 * A socket is of the cgroup that its maker is in at socket(2). So a child makes it. Linux 6.18
 * kills whoever is born in a cgroup that was killed (cgroup.kill) more or less often than that of
 * its parent, which may have been before this process was there: then it goes there.
 */
static int make_socket_in(int family, int cgroup_fd)
{
	cleanup_close int fd = make_socket(family);
	int r;

	if (fd < 0)
		return fd;
	r = replace_by_child(fd, family, cgroup_fd, false);
	if (r == -ECHILD)
		r = replace_by_child(fd, family, cgroup_fd, true);
	return r < 0 ? r : TAKE_FD(fd);
}

static int bind_socket(int fd, const struct address *address, uid_t uid, bool reuse,
		       struct error *err)
{
	int r;

	r = set_option(fd, SOL_SOCKET, SO_REUSEADDR, reuse, "SO_REUSEADDR", err);
	if (r < 0)
		return r;
	r = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT", err);
	if (r < 0)
		return r;
	if (address->sa.sa_family == AF_INET6) {
		r = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, address_v6only(address),
			       "IPV6_V6ONLY", err);
		if (r < 0)
			return r;
	}
	if (uid != geteuid() && fchown(fd, uid, (gid_t)-1) < 0)
		return error_set(err, -errno, "fchown to uid %u", (unsigned)uid);
	if (bind(fd, &address->sa, address->length) < 0) {
		r = -errno;
		if (r == -EADDRINUSE)
			return error_text(err, r,
					  "bind: Address already in use (a socket or a connection "
					  "has it without SO_REUSEPORT, or as another user)");
		if (r == -EADDRNOTAVAIL)
			return error_text(err, r,
					  "bind: no interface of this host has this address%s; "
					  "`ip address` shows which they have",
					  address->sa.sa_family == AF_INET6
						  ? ", or IPv6 is switched off (sysctl "
						    "net.ipv6.conf.all.disable_ipv6)"
						  : "");
		return error_set(err, r, "bind");
	}
	return 0;
}

static int no_socket(int code, const struct address *address, struct error *err)
{
	if (code == -EAFNOSUPPORT && address->sa.sa_family == AF_INET6)
		return error_text(err, code,
				  "this host has no IPv6: let \"listen\" say an IPv4 address "
				  "(0.0.0.0 for all of them)");
	return error_set(err, code, "make a socket");
}

static int make_bound(const struct address *address, uid_t uid, bool reuse, int *ret_fd,
		      struct error *err)
{
	cleanup_close int fd = make_socket(address->sa.sa_family);
	int r;

	if (fd < 0)
		return no_socket(fd, address, err);
	r = bind_socket(fd, address, uid, reuse, err);
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int anchor_bind(const struct address *address, uid_t uid, int *ret_fd, struct error *err)
{
	return make_bound(address, uid, true, ret_fd, err);
}

/* SO_REUSEADDR alone is enough to bind beside a socket that has it and does not listen. */
int anchor_reserve(const struct address *address, uid_t uid, int *ret_fd, struct error *err)
{
	return make_bound(address, uid, false, ret_fd, err);
}

int anchor_open(const struct address *address, uid_t uid, int cgroup_fd, int *ret_fd,
		bool *ret_inside, struct error *err)
{
	cleanup_close int fd = -1;
	int r;

	if (cgroup_fd >= 0)
		fd = make_socket_in(address->sa.sa_family, cgroup_fd);
	if (ret_inside)
		*ret_inside = fd >= 0;
	if (fd < 0)
		fd = make_socket(address->sa.sa_family);
	if (fd < 0)
		return no_socket(fd, address, err);
	r = bind_socket(fd, address, uid, true, err);
	if (r < 0)
		return r;
	if (listen(fd, ANCHOR_BACKLOG) < 0)
		return error_set(err, -errno, "listen");
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int anchor_queued(int fd, uint32_t *ret)
{
	struct tcp_info info = {};
	socklen_t length = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
		return -errno;
	/* Of a listening socket that is the length of its queue (tcp_get_info()). */
	*ret = info.tcpi_state == TCP_LISTEN ? info.tcpi_unacked : 0;
	return 0;
}

int anchor_dropped(int fd, uint64_t *ret)
{
	uint32_t info[SK_MEMINFO_VARS] = {};
	socklen_t length = sizeof(info);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &length) < 0)
		return -errno;
	/* sk_drops: tcp_conn_request() counts each SYN there that finds the queue full. */
	*ret = info[SK_MEMINFO_DROPS];
	return 0;
}

unsigned anchor_reset(int fd, unsigned n)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	unsigned done = 0, failed = 0;

	while (done < n && failed < FAILURES_MAX) {
		int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (c < 0) {
			if (errno != ECONNABORTED && errno != EINTR)
				break;
			failed++;
			continue;
		}
		setsockopt(c, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(c);
		done++;
	}
	return done;
}

unsigned anchor_sweep(int fd)
{
	return anchor_reset(fd, SWEEP_MAX);
}
