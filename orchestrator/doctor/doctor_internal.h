/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * doctor_internal: what the doctor's own files share. The checks themselves, by the file they are
 * in, and the sockets and processes they try things on.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "orchestrator/doctor/doctor.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/host/kernel.h"
#include "orchestrator/host/leftovers.h"

/* ---- the checks ----------------------------------------------------------------------------- */

/* doctor_host.c: what is set, and who we are */
doctor_function doctor_check_kernel, doctor_check_capabilities, doctor_check_other_users,
	doctor_check_migrate_req, doctor_check_somaxconn, doctor_check_files, doctor_check_memlock,
	doctor_check_local_ports, doctor_check_proc, doctor_check_run_folder,
	doctor_check_state_folder;

/* doctor_socket.c: sockets, processes, cgroups */
doctor_function doctor_check_reuseport, doctor_check_cbpf, doctor_check_cgroup,
	doctor_check_cgroup_kill, doctor_check_pidfd_getfd, doctor_check_getfd_others,
	doctor_check_diag_port, doctor_check_diag_cgroup, doctor_check_destroy;

/* doctor_bpf.c */
doctor_function doctor_check_sockarray, doctor_check_select, doctor_check_migrate,
	doctor_check_steer, doctor_check_bpffs, doctor_check_iterator, doctor_check_lookup,
	doctor_check_bind, doctor_check_sockops;

/*
 * Migrate connections once. *ret_woken: the listener they moved to was woken, so this kernel is
 * without CVE-2026-46015 whatever its version.
 */
int doctor_try_migration(bool *ret_woken, struct error *err);

/* The part of doctor_check_kernel() that is pure. @woken: as above; false: unknown. */
int doctor_judge_kernel(const struct kernel_version *version, bool woken,
			struct doctor_trial *trial, struct error *err);

/* libbpf says nothing on stderr from now on. */
void doctor_hush_libbpf(void);

/* ---- what is tried on (doctor_bench.c) ------------------------------------------------------ */

#define DOCTOR_PATIENCE_MS 1000 /* for what takes microseconds */

#define DOCTOR_CONNECTIONS 16 /* by chance all at one of two: once in 65,536 */
#define DOCTOR_GROUP_MAX   4

/* Listening sockets (non-blocking) on one port of 127.0.0.1, each with SO_REUSEPORT. */
struct doctor_group {
	int fds[DOCTOR_GROUP_MAX];
	size_t n;
	uint16_t port;
};

int doctor_group_open(size_t n, struct doctor_group *ret, struct error *err);
void doctor_group_done(struct doctor_group *group);

/*
 * Connect to @port of 127.0.0.1, from @source_fd (a socket that is bound already, taken over) or
 * -1. The descriptor leaves nothing behind when it is closed: the connection is reset.
 */
int doctor_connect(uint16_t port, int source_fd, struct error *err);

/* DOCTOR_CONNECTIONS of them; -1 in what was not made. */
int doctor_connect_all(uint16_t port, int *ret_fds, struct error *err);
void doctor_close_all(int *fds, size_t n);

/*
 * Accept (and reset) what comes at each member, until @expected have come or a second is over.
 * Members whose descriptor is -1 are left out. -ETIMEDOUT: fewer came.
 */
int doctor_collect(const struct doctor_group *group, size_t expected,
		   size_t ret_counts[static DOCTOR_GROUP_MAX], struct error *err);

/* Connect DOCTOR_CONNECTIONS times: do all come out at member @k? -EPROTO: no. */
int doctor_expect_all_at(const struct doctor_group *group, size_t k, struct error *err);

/* A cgroup leaf of one's own. */
struct doctor_leaf {
	char base[CGROUP_PATH_MAX], path[CGROUP_PATH_MAX];
	uint64_t id;
};

int doctor_leaf_open(const char *name, struct doctor_leaf *ret, struct error *err);
void doctor_leaf_done(struct doctor_leaf *leaf);

/* Remove what a check that was killed left under this name. */
void doctor_sweep(const char *name);

/* How a child process is to listen. */
struct doctor_server_options {
	const char *leaf; /* the cgroup it joins first; NULL: none */
	bool set_uid;     /* become @uid and its group, without others */
	uid_t uid;
	int family;    /* AF_INET, AF_INET6: of the loopback address */
	uint16_t port; /* host byte order; 0: any. It never asks for SO_REUSEPORT. */
};

struct doctor_server {
	pid_t pid;
	int control; /* closing it ends the child */
	int fd;      /* of the listening socket, in the child */
	uint16_t port;
	uint64_t cookie;
};

/* Start it and wait until it listens; what failed in it fails here, by name. */
int doctor_server_start(const struct doctor_server_options *options, struct doctor_server *ret,
			struct error *err);
/* End it. Returns its wait(2) status; -1: it was not running (any more). */
int doctor_server_stop(struct doctor_server *server);

/* A user other than the own one, and not root. */
uid_t doctor_other_user(void);

/* ---- what is left (doctor_clean.c) ----------------------------------------------------------- */

/* For people and programs; @listed: nothing was removed. */
void doctor_left_print(FILE *out, const struct leftovers *left, bool listed);
json_t *doctor_left_json(const struct leftovers *left);
