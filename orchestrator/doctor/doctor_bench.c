/* SPDX-License-Identifier: BSD-2-Clause */
/* What the doctor's checks try things on: sockets, a cgroup, a child that listens. */
#include "orchestrator/doctor/doctor_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "orchestrator/steer/steer.h"

#define NOBODY  65534
#define BACKLOG 64

/* ---- sockets -------------------------------------------------------------------------------- */

/* The loopback address of the family; its length. */
static socklen_t loopback(int family, uint16_t port, struct sockaddr_storage *ret)
{
	*ret = (struct sockaddr_storage){.ss_family = (sa_family_t)family};
	if (family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

		in6->sin6_addr = in6addr_loopback;
		in6->sin6_port = htons(port);
		return sizeof(*in6);
	}
	((struct sockaddr_in *)ret)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	((struct sockaddr_in *)ret)->sin_port = htons(port);
	return sizeof(struct sockaddr_in);
}

static int listen_on(int family, uint16_t port, bool reuseport, int *ret_fd, uint16_t *ret_port,
		     struct error *err)
{
	struct sockaddr_storage address;
	socklen_t length = loopback(family, port, &address);
	cleanup_close int fd = -1;
	int one = 1;

	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, -errno, "socket");
	if (reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
		return error_set(err, -errno, "SO_REUSEPORT");
	if (bind(fd, (struct sockaddr *)&address, length) < 0)
		return error_set(err, -errno, "bind");
	if (listen(fd, BACKLOG) < 0)
		return error_set(err, -errno, "listen");
	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return error_set(err, -errno, "getsockname");
	/* sin_port and sin6_port are in the same place. */
	*ret_port = ntohs(((struct sockaddr_in *)&address)->sin_port);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int doctor_group_open(size_t n, struct doctor_group *ret, struct error *err)
{
	assert(n <= DOCTOR_GROUP_MAX);
	*ret = (struct doctor_group){.fds = {-1, -1, -1, -1}};
	/* The first gets a free port: with SO_REUSEPORT too it is nobody else's. */
	for (; ret->n < n; ret->n++) {
		int r = listen_on(AF_INET, ret->port, true, &ret->fds[ret->n], &ret->port, err);

		if (r < 0) {
			doctor_group_done(ret);
			return r;
		}
	}
	return 0;
}

void doctor_group_done(struct doctor_group *group)
{
	doctor_close_all(group->fds, group->n);
	group->n = 0;
}

/* Closing resets the connection: nothing stays in TIME_WAIT. */
static void reset_at_close(int fd)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

int doctor_connect(uint16_t port, int source_fd, struct error *err)
{
	/* connect(2) keeps to it too (socket(7)). */
	struct timeval patience = {.tv_sec = DOCTOR_PATIENCE_MS / 1000};
	struct sockaddr_storage address;
	socklen_t length = loopback(AF_INET, port, &address);
	cleanup_close int fd = source_fd;

	if (fd < 0)
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(err, -errno, "socket");
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	reset_at_close(fd);
	if (connect(fd, (struct sockaddr *)&address, length) < 0)
		return error_set(err, errno == EINPROGRESS ? -ETIMEDOUT : -errno, "connect");
	return TAKE_FD(fd);
}

int doctor_connect_all(uint16_t port, int *ret_fds, struct error *err)
{
	for (size_t i = 0; i < DOCTOR_CONNECTIONS; i++)
		ret_fds[i] = -1;
	for (size_t i = 0; i < DOCTOR_CONNECTIONS; i++) {
		ret_fds[i] = doctor_connect(port, -1, err);
		if (ret_fds[i] < 0)
			return ret_fds[i];
	}
	return 0;
}

void doctor_close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

static size_t accept_all(int fd)
{
	size_t n = 0;

	while (n < DOCTOR_CONNECTIONS) {
		int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (connection < 0)
			break;
		reset_at_close(connection);
		close(connection);
		n++;
	}
	return n;
}

int doctor_collect(const struct doctor_group *group, size_t expected,
		   size_t ret_counts[static DOCTOR_GROUP_MAX], struct error *err)
{
	uint64_t deadline_ms = clock_monotonic_ms() + DOCTOR_PATIENCE_MS;
	size_t sum = 0;

	memset(ret_counts, 0, DOCTOR_GROUP_MAX * sizeof(*ret_counts));
	for (;;) {
		for (size_t k = 0; k < group->n; k++) {
			size_t n = group->fds[k] >= 0 ? accept_all(group->fds[k]) : 0;

			ret_counts[k] += n;
			sum += n;
		}
		if (sum >= expected)
			return 0;
		if (clock_monotonic_ms() >= deadline_ms)
			return error_text(err, -ETIMEDOUT,
					  "%zu of %zu connections reached no listener",
					  expected - sum, expected);
		/* Not poll(2) on the listeners: an affected kernel does not wake it. */
		poll(NULL, 0, 2);
	}
}

int doctor_expect_all_at(const struct doctor_group *group, size_t k, struct error *err)
{
	size_t counts[DOCTOR_GROUP_MAX];
	int fds[DOCTOR_CONNECTIONS];
	int r;

	r = doctor_connect_all(group->port, fds, err);
	if (r == 0)
		r = doctor_collect(group, DOCTOR_CONNECTIONS, counts, err);
	doctor_close_all(fds, DOCTOR_CONNECTIONS);
	if (r == 0 && counts[k] != DOCTOR_CONNECTIONS)
		return error_text(err, -EPROTO, "%zu of %d connections went to the chosen socket",
				  counts[k], DOCTOR_CONNECTIONS);
	return r;
}

/* ---- cgroup --------------------------------------------------------------------------------- */

int doctor_leaf_open(const char *name, struct doctor_leaf *ret, struct error *err)
{
	int r;

	*ret = (struct doctor_leaf){};
	r = cgroup_base(name, ret->base, err);
	if (r < 0) {
		ret->base[0] = '\0';
		return r;
	}
	r = cgroup_create(ret->base, "leaf", ret->path, &ret->id, err);
	if (r < 0)
		doctor_leaf_done(ret);
	return r;
}

static void remove_cgroup(const char *path)
{
	cgroup_kill(path);
	cgroup_wait_empty(path, DOCTOR_PATIENCE_MS);
	cgroup_remove(path);
}

void doctor_leaf_done(struct doctor_leaf *leaf)
{
	if (leaf->base[0])
		remove_cgroup(leaf->base);
	leaf->base[0] = '\0';
}

void doctor_sweep(const char *name)
{
	char own[CGROUP_PATH_MAX], path[CGROUP_PATH_MAX];

	bpffs_sweep(name);
	if (cgroup_own(own, NULL) < 0)
		return;
	if (snprintf(path, sizeof(path), "%s/%s", own, name) < (int)sizeof(path) &&
	    access(path, F_OK) == 0)
		remove_cgroup(path);
}

/* ---- a child that listens ------------------------------------------------------------------- */

/* What the child says, once. */
struct answer {
	int error; /* 0, or a negative errno, with the text */
	int fd;
	uint16_t port;
	uint64_t cookie;
	struct error err;
};

uid_t doctor_other_user(void)
{
	return geteuid() == NOBODY ? NOBODY - 1 : NOBODY;
}

static int join_cgroup(const char *path, struct error *err)
{
	char procs[CGROUP_PATH_MAX + sizeof("/cgroup.procs")];
	cleanup_close int fd = -1;

	snprintf(procs, sizeof(procs), "%s/cgroup.procs", path);
	fd = open(procs, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) < 0)
		return error_set(err, -errno, "join the cgroup");
	return 0;
}

static int become(uid_t uid, struct error *err)
{
	if (setgroups(0, NULL) < 0)
		return error_set(err, -errno, "setgroups");
	if (setresgid(uid, uid, uid) < 0)
		return error_set(err, -errno, "setresgid to %u", (unsigned)uid);
	if (setresuid(uid, uid, uid) < 0)
		return error_set(err, -errno, "setresuid to %u", (unsigned)uid);
	return 0;
}

static int prepare(const struct doctor_server_options *options, struct answer *ret)
{
	int r = options->leaf ? join_cgroup(options->leaf, &ret->err) : 0;

	if (r == 0 && options->set_uid)
		r = become(options->uid, &ret->err);
	/* Behind the change of user, which takes it away (prctl(2)). */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (r == 0)
		r = listen_on(options->family, options->port, false, &ret->fd, &ret->port,
			      &ret->err);
	if (r == 0)
		ret->cookie = steer_cookie(ret->fd);
	return r;
}

static void serve(const struct doctor_server_options *options, int control)
{
	struct answer answer = {};
	char byte;

	answer.error = prepare(options, &answer);
	if (send(control, &answer, sizeof(answer), MSG_NOSIGNAL) != sizeof(answer))
		_exit(1);
	/* Until the other end is closed, or its process is gone. */
	while (recv(control, &byte, 1, 0) < 0 && errno == EINTR)
		;
	_exit(0);
}

int doctor_server_start(const struct doctor_server_options *options, struct doctor_server *ret,
			struct error *err)
{
	struct answer answer;
	int pair[2];
	ssize_t n;

	*ret = (struct doctor_server){.pid = -1, .control = -1, .fd = -1};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, -errno, "socketpair");
	ret->pid = fork();
	if (ret->pid == 0) {
		close(pair[0]);
		serve(options, pair[1]);
	}
	close(pair[1]);
	ret->control = pair[0];
	if (ret->pid < 0) {
		int r = -errno;

		doctor_server_stop(ret);
		return error_set(err, r, "fork");
	}
	do {
		n = recv(ret->control, &answer, sizeof(answer), 0);
	} while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(answer)) {
		doctor_server_stop(ret);
		return error_text(err, -EPROTO, "a child process ended before it listened");
	}
	if (answer.error < 0) {
		doctor_server_stop(ret);
		return error_text(err, answer.error, "%s", answer.err.text);
	}
	ret->fd = answer.fd;
	ret->port = answer.port;
	ret->cookie = answer.cookie;
	return 0;
}

int doctor_server_stop(struct doctor_server *server)
{
	int status = -1;

	if (server->control >= 0)
		close(server->control);
	server->control = -1;
	if (server->pid <= 0)
		return -1;
	while (waitpid(server->pid, &status, 0) < 0 && errno == EINTR)
		;
	server->pid = -1;
	return status;
}
