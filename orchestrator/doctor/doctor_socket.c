/* SPDX-License-Identifier: BSD-2-Clause */
/* The doctor's checks of what is done with sockets, processes and cgroups alone. */
#include "orchestrator/doctor/doctor_internal.h"

#include <errno.h>
#include <linux/filter.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/diag.h"
#include "orchestrator/steer/steer.h"

/* ---- groups --------------------------------------------------------------------------------- */

int doctor_check_reuseport(struct doctor_trial *trial, struct error *err)
{
	size_t counts[DOCTOR_GROUP_MAX];
	int fds[DOCTOR_CONNECTIONS];
	struct doctor_group group;
	int r;

	(void)trial;
	r = doctor_group_open(2, &group, err);
	if (r < 0)
		return r;
	r = doctor_connect_all(group.port, fds, err);
	if (r == 0)
		r = doctor_collect(&group, DOCTOR_CONNECTIONS, counts, err);
	doctor_close_all(fds, DOCTOR_CONNECTIONS);
	doctor_group_done(&group);
	/* What the daemon asks when it starts. */
	return r < 0 ? r : steer_try(STEER_HASH, err);
}

/* A socket bound to a port of its own, from which a connection can be made. */
static int open_source(int *ret_fd, uint16_t *ret_port, struct error *err)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return error_set(err, -errno, "socket");
	if (bind(fd, (struct sockaddr *)&address, length) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return error_set(err, -errno, "bind the source port");
	*ret_port = ntohs(address.sin_port);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Connections from @source_port go to member 0, all others to member 1. */
static int attach_classic(int fd, uint16_t source_port, struct error *err)
{
	struct sock_filter code[] = {
		/* The source port: the first field behind an IPv4 header without options. */
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, (unsigned)SKF_NET_OFF + 20),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, source_port, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, 1),
	};
	const struct sock_fprog program = {.len = 4, .filter = code};

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) < 0)
		return error_set(err, -errno, "SO_ATTACH_REUSEPORT_CBPF");
	return 0;
}

static int try_classic(const struct doctor_group *group, struct error *err)
{
	size_t counts[DOCTOR_GROUP_MAX];
	cleanup_close int pinned = -1;
	int source = -1;
	uint16_t port = 0;
	int r;

	r = open_source(&source, &port, err);
	if (r < 0)
		return r;
	r = attach_classic(group->fds[0], port, err);
	if (r < 0) {
		close(source);
		return r;
	}
	/* Open to the end: nobody else can have this source port meanwhile. */
	pinned = doctor_connect(group->port, source, err);
	if (pinned < 0)
		return pinned;
	r = doctor_collect(group, 1, counts, err);
	if (r < 0)
		return r;
	if (counts[0] != 1)
		return error_text(err, -EPROTO, "a source port did not lead to its socket");
	return doctor_expect_all_at(group, 1, err);
}

int doctor_check_cbpf(struct doctor_trial *trial, struct error *err)
{
	struct doctor_group group;
	int r;

	(void)trial;
	r = doctor_group_open(2, &group, err);
	if (r < 0)
		return r;
	r = try_classic(&group, err);
	doctor_group_done(&group);
	return r < 0 ? r : steer_try(STEER_CBPF, err);
}

/* ---- cgroups and processes ------------------------------------------------------------------ */

int doctor_check_cgroup(struct doctor_trial *trial, struct error *err)
{
	struct doctor_leaf leaf;
	char own[CGROUP_PATH_MAX];
	int r;

	r = cgroup_own(own, err);
	if (r == 0)
		r = doctor_leaf_open(trial->name, &leaf, err);
	if (r < 0) {
		snprintf(trial->how, sizeof(trial->how), "%s", cgroup_how(r));
		return r;
	}
	snprintf(trial->note, sizeof(trial->note), "below %s", own);
	doctor_leaf_done(&leaf);
	return 0;
}

static int try_cgroup_kill(const struct doctor_leaf *leaf, struct error *err)
{
	const struct doctor_server_options options = {.leaf = leaf->path, .family = AF_INET};
	char file[CGROUP_PATH_MAX + sizeof("/cgroup.kill")];
	struct doctor_server server;
	int r, status;

	snprintf(file, sizeof(file), "%s/cgroup.kill", leaf->path);
	if (access(file, W_OK) < 0)
		return error_set(err, -errno, "cgroup.kill");
	r = doctor_server_start(&options, &server, err);
	if (r < 0)
		return r;
	r = cgroup_kill(leaf->path);
	status = doctor_server_stop(&server);
	if (r < 0)
		return error_set(err, r, "cgroup.kill");
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		return error_text(err, -EPROTO, "a process in the cgroup was not killed");
	return 0;
}

int doctor_check_cgroup_kill(struct doctor_trial *trial, struct error *err)
{
	struct doctor_leaf leaf;
	int r;

	r = doctor_leaf_open(trial->name, &leaf, err);
	if (r < 0) {
		snprintf(trial->how, sizeof(trial->how), "%s", cgroup_how(r));
		return r;
	}
	r = try_cgroup_kill(&leaf, err);
	doctor_leaf_done(&leaf);
	return r;
}

static int take_duplicate(const struct doctor_server *server, struct error *err)
{
	cleanup_close int pidfd = -1;
	cleanup_close int fd = -1;

	pidfd = (int)syscall(SYS_pidfd_open, server->pid, 0);
	if (pidfd < 0)
		return error_set(err, -errno, "pidfd_open");
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, server->fd, 0);
	if (fd < 0)
		return error_set(err, -errno, "pidfd_getfd");
	if (steer_cookie(fd) != server->cookie)
		return error_text(err, -EPROTO, "pidfd_getfd gave another socket");
	return 0;
}

static int try_getfd(bool other_user, struct error *err)
{
	const struct doctor_server_options options = {
		.family = AF_INET,
		.set_uid = other_user,
		.uid = doctor_other_user(),
	};
	struct doctor_server server;
	int r;

	r = doctor_server_start(&options, &server, err);
	/* If there are no other users there is nothing to take from them. */
	if (r < 0)
		return other_user ? 0 : r;
	r = take_duplicate(&server, err);
	doctor_server_stop(&server);
	return r;
}

int doctor_check_pidfd_getfd(struct doctor_trial *trial, struct error *err)
{
	(void)trial;
	return try_getfd(false, err);
}

int doctor_check_getfd_others(struct doctor_trial *trial, struct error *err)
{
	(void)trial;
	return geteuid() == 0 ? try_getfd(true, err) : 0;
}

/* ---- sock_diag ------------------------------------------------------------------------------ */

int doctor_check_diag_port(struct doctor_trial *trial, struct error *err)
{
	struct doctor_group one = {}, other = {};
	cleanup(diag_free) struct diag *diag = NULL;
	struct diag_listener listener;
	int r;

	(void)trial;
	r = diag_open(&diag, err);
	if (r == 0)
		r = doctor_group_open(1, &one, err);
	if (r == 0)
		r = doctor_group_open(1, &other, err);
	if (r == 0)
		r = diag_listener(diag, one.port, steer_cookie(one.fds[0]), &listener, err);
	if (r == 0 &&
	    diag_listener(diag, one.port, steer_cookie(other.fds[0]), &listener, NULL) != -ENOENT)
		r = error_text(err, -EPROTO, "the kernel does not filter by port");
	doctor_group_done(&one);
	doctor_group_done(&other);
	return r;
}

static int expect_connections(struct diag *diag, uint16_t port, uint64_t cgroup_id,
			      struct error *err)
{
	uint64_t deadline_ms = clock_monotonic_ms() + DOCTOR_PATIENCE_MS;
	uint64_t n = 0;
	int r;

	/* The client may be through with connect(2) a moment before the server's side is. */
	do {
		r = diag_connections(diag, port, cgroup_id, &n, err);
	} while (r == 0 && n != 1 && clock_monotonic_ms() < deadline_ms && usleep(2000) == 0);
	if (r == 0 && n != 1)
		return error_text(err, -EPROTO, "%llu connections of the own cgroup, not 1",
				  (unsigned long long)n);
	if (r == 0)
		r = diag_connections(diag, port, ~cgroup_id, &n, err);
	if (r == 0 && n != 0)
		return error_text(err, -EPROTO, "the kernel does not filter by cgroup");
	return r;
}

int doctor_check_diag_cgroup(struct doctor_trial *trial, struct error *err)
{
	cleanup(diag_free) struct diag *diag = NULL;
	cleanup_close int client = -1;
	char own[CGROUP_PATH_MAX];
	struct doctor_group group;
	struct stat st;
	int r;

	(void)trial;
	/* What is opened here belongs to the own cgroup: no other is needed to see it filter. */
	r = cgroup_own(own, err);
	if (r < 0)
		return r;
	if (stat(own, &st) < 0)
		return error_set(err, -errno, "%s", own);
	r = diag_open(&diag, err);
	if (r < 0)
		return r;
	r = doctor_group_open(1, &group, err);
	if (r < 0)
		return r;
	client = doctor_connect(group.port, -1, err);
	r = client < 0 ? client : expect_connections(diag, group.port, st.st_ino, err);
	doctor_group_done(&group);
	return r;
}

int doctor_check_destroy(struct doctor_trial *trial, struct error *err)
{
	cleanup(diag_free) struct diag *diag = NULL;
	struct doctor_group group;
	int r;

	(void)trial;
	r = diag_open(&diag, err);
	if (r < 0)
		return r;
	r = doctor_group_open(1, &group, err);
	if (r < 0)
		return r;
	r = diag_destroy_listener(diag, group.port, steer_cookie(group.fds[0]), err);
	if (r == 0 && (accept4(group.fds[0], NULL, NULL, SOCK_CLOEXEC) >= 0 || errno != EINVAL))
		r = error_text(err, -EPROTO, "the socket listens on after SOCK_DESTROY");
	doctor_group_done(&group);
	return r;
}
