/* SPDX-License-Identifier: BSD-2-Clause */
/* The doctor's checks of BPF: ebpf/doctor.bpf.c, one program at a time. */
#include "orchestrator/doctor/doctor_internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "ebpf/doctor.skel.h"
#include "ebpf/steer.h"
#include "orchestrator/steer/steer.h"

#define WAKE_MS 200 /* close(2) wakes before it returns, or never */

DEFINE_CLEANUP(struct doctor_bpf *, doctor_bpf__destroy);

static int say_nothing(enum libbpf_print_level level, const char *format, va_list ap)
{
	(void)level;
	(void)format;
	(void)ap;
	return 0;
}

void doctor_hush_libbpf(void)
{
	libbpf_set_print(say_nothing);
}

/* ---- loading -------------------------------------------------------------------------------- */

/* Load the programs @names (NULL-terminated) and nothing that they do not use. */
static int load(const char *const *names, struct doctor_bpf **ret, struct error *err)
{
	cleanup(doctor_bpf__destroy) struct doctor_bpf *skeleton = doctor_bpf__open();
	struct bpf_program *program;
	const char *section = "";
	bool uses_sockets = false;
	int r;

	if (!skeleton)
		return error_set(err, -errno, "open doctor.bpf.o");
	bpf_object__for_each_program(program, skeleton->obj)
	{
		bool wanted = false;

		for (size_t i = 0; names[i]; i++)
			wanted |= strcmp(bpf_program__name(program), names[i]) == 0;
		bpf_program__set_autoload(program, wanted);
		if (wanted)
			section = bpf_program__section_name(program);
		uses_sockets |= wanted && bpf_program__type(program) == BPF_PROG_TYPE_SK_REUSEPORT;
	}
	bpf_map__set_autocreate(skeleton->maps.sockets, uses_sockets);
	r = doctor_bpf__load(skeleton);
	if (r < 0)
		return error_set(err, r, "load a program for %s", section);
	*ret = TAKE_PTR(skeleton);
	return 0;
}

/* Load them, and open a group or a cgroup to try them on. */
static int load_for_group(const char *const *names, size_t n, struct doctor_bpf **ret,
			  struct doctor_group *ret_group, struct error *err)
{
	int r = load(names, ret, err);

	return r < 0 ? r : doctor_group_open(n, ret_group, err);
}

static int load_for_leaf(const char *const *names, const struct doctor_trial *trial,
			 struct doctor_bpf **ret, struct doctor_leaf *ret_leaf, struct error *err)
{
	int r = load(names, ret, err);

	return r < 0 ? r : doctor_leaf_open(trial->name, ret_leaf, err);
}

static int put(struct doctor_bpf *skeleton, const struct doctor_group *group, struct error *err)
{
	for (uint32_t k = 0; k < group->n; k++) {
		uint64_t value = (uint64_t)group->fds[k];

		if (bpf_map_update_elem(bpf_map__fd(skeleton->maps.sockets), &k, &value, BPF_ANY) <
		    0)
			return error_set(err, -errno, "put a socket into the array");
	}
	return 0;
}

static int attach(int fd, const struct bpf_program *program, struct error *err)
{
	int program_fd = bpf_program__fd(program);

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program_fd, sizeof(program_fd)) <
	    0)
		return error_set(err, -errno, "SO_ATTACH_REUSEPORT_EBPF");
	return 0;
}

/* ---- the group ------------------------------------------------------------------------------ */

static int try_sockarray(int map, struct doctor_group *group, struct error *err)
{
	uint64_t value = (uint64_t)group->fds[0], cookie = 0;
	uint32_t key = 1;

	if (bpf_map_update_elem(map, &key, &value, BPF_ANY) < 0)
		return error_set(err, -errno, "put a socket into the array");
	if (bpf_map_lookup_elem(map, &key, &cookie) < 0)
		return error_set(err, -errno, "read the array");
	if (cookie != steer_cookie(group->fds[0]))
		return error_text(err, -EPROTO, "the array has another socket's cookie");
	doctor_close_all(group->fds, 1);
	if (bpf_map_lookup_elem(map, &key, &cookie) == 0)
		return error_text(err, -EPROTO, "a closed socket stays in the array");
	return 0;
}

int doctor_check_sockarray(struct doctor_trial *trial, struct error *err)
{
	cleanup_close int map = -1;
	struct doctor_group group;
	int r;

	(void)trial;
	map = bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "doctor", sizeof(uint32_t),
			     sizeof(uint64_t), 4, NULL);
	if (map < 0)
		return error_set(err, -errno, "make the array");
	r = doctor_group_open(1, &group, err);
	if (r < 0)
		return r;
	r = try_sockarray(map, &group, err);
	doctor_group_done(&group);
	return r;
}

static int try_select(struct doctor_bpf *skeleton, const struct doctor_group *group,
		      struct error *err)
{
	int r = put(skeleton, group, err);

	if (r == 0)
		r = attach(group->fds[0], skeleton->progs.doctor_select, err);
	for (uint32_t k = 0; r == 0 && k < group->n; k++) {
		skeleton->bss->choice = k;
		r = doctor_expect_all_at(group, k, err);
	}
	return r;
}

int doctor_check_select(struct doctor_trial *trial, struct error *err)
{
	static const char *const names[] = {"doctor_select", NULL};
	cleanup(doctor_bpf__destroy) struct doctor_bpf *skeleton = NULL;
	struct doctor_group group;
	int r;

	(void)trial;
	r = load_for_group(names, 2, &skeleton, &group, err);
	if (r < 0)
		return r;
	r = try_select(skeleton, &group, err);
	doctor_group_done(&group);
	return r;
}

/* How many connections wait at a listener (tcp_get_info() in net/ipv4/tcp.c). */
static int wait_queued(int fd, unsigned n, struct error *err)
{
	uint64_t deadline_ms = clock_monotonic_ms() + DOCTOR_PATIENCE_MS;
	struct tcp_info info = {};
	socklen_t length = sizeof(info);

	do {
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
			return error_set(err, -errno, "TCP_INFO");
		if (info.tcpi_unacked >= n)
			return 0;
		poll(NULL, 0, 2);
	} while (clock_monotonic_ms() < deadline_ms);
	return error_text(err, -ETIMEDOUT, "%u of %u connections are queued", info.tcpi_unacked, n);
}

/*
 * epoll, and armed before: whoever asks only afterwards looks into the queue, and sees it on an
 * affected kernel too.
 */
static int watch(int fd, struct error *err)
{
	struct epoll_event event = {.events = EPOLLIN};
	cleanup_close int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		return error_set(err, -errno, "epoll");
	return TAKE_FD(epoll);
}

/* Member 0 closes with a full queue, and member 2, not 1, must get all of it. */
static int migrate(struct doctor_bpf *skeleton, struct doctor_group *group, int *fds,
		   bool *ret_woken, struct error *err)
{
	size_t counts[DOCTOR_GROUP_MAX];
	struct epoll_event event;
	cleanup_close int epoll = -1;
	int r;

	r = doctor_connect_all(group->port, fds, err);
	if (r == 0)
		r = wait_queued(group->fds[0], DOCTOR_CONNECTIONS, err);
	if (r < 0)
		return r;
	epoll = watch(group->fds[2], err);
	if (epoll < 0)
		return epoll;
	skeleton->bss->choice = 2;
	/*
	 * Nobody accepts until close(2) has returned: so the new listener cannot be used after it
	 * was freed, even on a kernel with CVE-2026-46015.
	 */
	doctor_close_all(group->fds, 1);
	*ret_woken = epoll_wait(epoll, &event, 1, WAKE_MS) == 1;
	r = doctor_collect(group, DOCTOR_CONNECTIONS, counts, err);
	if (r < 0)
		return error_prefix(err, r, "after a listener closed");
	if (counts[2] != DOCTOR_CONNECTIONS)
		return error_text(err, -EPROTO,
				  "%zu of %d queued connections moved to the chosen socket",
				  counts[2], DOCTOR_CONNECTIONS);
	return 0;
}

int doctor_try_migration(bool *ret_woken, struct error *err)
{
	static const char *const names[] = {"doctor_migrate", NULL};
	cleanup(doctor_bpf__destroy) struct doctor_bpf *skeleton = NULL;
	int fds[DOCTOR_CONNECTIONS] = {};
	struct doctor_group group;
	int r;

	memset(fds, 0xff, sizeof(fds));
	r = load_for_group(names, 3, &skeleton, &group, err);
	if (r < 0)
		return r;
	r = put(skeleton, &group, err);
	if (r == 0)
		r = attach(group.fds[0], skeleton->progs.doctor_migrate, err);
	if (r == 0)
		r = migrate(skeleton, &group, fds, ret_woken, err);
	doctor_close_all(fds, DOCTOR_CONNECTIONS);
	doctor_group_done(&group);
	return r;
}

int doctor_check_migrate(struct doctor_trial *trial, struct error *err)
{
	bool woken;

	(void)trial;
	return doctor_try_migration(&woken, err);
}

int doctor_check_steer(struct doctor_trial *trial, struct error *err)
{
	(void)trial;
	/* What the daemon does when it starts. */
	return steer_try(STEER_EBPF, err);
}

int doctor_check_lookup(struct doctor_trial *trial, struct error *err)
{
	(void)trial;
	return steer_try_crossing(err);
}

int doctor_check_iterator(struct doctor_trial *trial, struct error *err)
{
	cleanup(inspect_free) struct inspect *inspect = NULL;
	uint32_t id = 1, members = 0;
	struct doctor_group group;
	int r;

	r = inspect_open(&inspect, err);
	if (r < 0 && access("/sys/kernel/btf/vmlinux", R_OK) < 0)
		snprintf(trial->how, sizeof(trial->how),
			 "a kernel with type information (CONFIG_DEBUG_INFO_BTF); this one has no "
			 "/sys/kernel/btf/vmlinux");
	if (r < 0)
		return r;
	r = doctor_group_open(2, &group, err);
	if (r < 0)
		return r;
	r = inspect_listener(inspect, steer_cookie(group.fds[1]), &id, &members, err);
	if (r == -ENOENT || (r == 0 && (id != 0 || members != 2)))
		r = error_text(err, -EPROTO, "the iterator does not see a group as it is");
	doctor_group_done(&group);
	return r;
}

/* ---- bpffs ---------------------------------------------------------------------------------- */

/* From now on what this process mounts is seen by nobody else. */
static int leave_mounts(struct error *err)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return error_set(
			err, -errno,
			"no bpffs is mounted, and batond may not mount one on /sys/fs/bpf");
	return 0;
}

int doctor_check_bpffs(struct doctor_trial *trial, struct error *err)
{
	int r;

	/* If that cannot be told, bpffs_make() says why. */
	if (bpffs_is_mounted() == 0) {
		r = leave_mounts(err);
		snprintf(trial->how, sizeof(trial->how), "%s", bpffs_how(r));
		if (r < 0)
			return r;
		snprintf(trial->note, sizeof(trial->note), "not mounted yet: batond will");
	}
	r = bpffs_try(trial->name, "doctor", err);
	/* Other refusals are told from the privileges. */
	if (r == -EROFS || r == -ENOENT)
		snprintf(trial->how, sizeof(trial->how), "%s", bpffs_how(r));
	/* What was made before a failure too. */
	bpffs_sweep(trial->name);
	return r;
}

/* ---- cgroup hooks --------------------------------------------------------------------------- */

static int attach_to(const struct bpf_program *program, const struct doctor_leaf *leaf,
		     struct bpf_link **ret, struct error *err)
{
	cleanup_close int cgroup = open(leaf->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (cgroup < 0)
		return error_set(err, -errno, "%s", leaf->path);
	/* A link goes with its descriptor: nothing stays attached, whatever happens. */
	*ret = bpf_program__attach_cgroup(program, cgroup);
	if (!*ret)
		return error_set(err, -errno, "attach to a cgroup");
	return 0;
}

/* Two servers in the cgroup, neither of which asks for SO_REUSEPORT, bind one port. */
static int bind_taken(const struct doctor_leaf *leaf, int family, struct error *err)
{
	struct doctor_server_options options = {.leaf = leaf->path, .family = family};
	struct doctor_server first, second;
	int r;

	r = doctor_server_start(&options, &first, err);
	if (r < 0)
		return r;
	options.port = first.port;
	r = doctor_server_start(&options, &second, err);
	if (r == 0)
		doctor_server_stop(&second);
	doctor_server_stop(&first);
	if (r == -EADDRINUSE)
		return error_text(err, -EPROTO,
				  "the program runs, but cannot set SO_REUSEPORT (bpf_setsockopt)");
	return r;
}

static int try_bind(const struct bpf_program *program, const struct doctor_leaf *leaf, int family,
		    struct error *err)
{
	struct bpf_link *link;
	int r = attach_to(program, leaf, &link, err);

	if (r < 0)
		return r;
	r = bind_taken(leaf, family, err);
	bpf_link__destroy(link);
	return r;
}

static bool have_ipv6(void)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	cleanup_close int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
}

int doctor_check_bind(struct doctor_trial *trial, struct error *err)
{
	static const char *const names[] = {"doctor_bind4", "doctor_bind6", NULL};
	cleanup(doctor_bpf__destroy) struct doctor_bpf *skeleton = NULL;
	struct doctor_leaf leaf;
	int r;

	/* What the daemon asks when it first needs it. */
	r = tap_can_share(err);
	if (r < 0)
		return r;
	r = load_for_leaf(names, trial, &skeleton, &leaf, err);
	if (r < 0)
		return r;
	r = try_bind(skeleton->progs.doctor_bind4, &leaf, AF_INET, err);
	if (r == 0 && have_ipv6())
		r = try_bind(skeleton->progs.doctor_bind6, &leaf, AF_INET6, err);
	else if (r == 0)
		snprintf(trial->note, sizeof(trial->note), "IPv4; there is no IPv6 here");
	doctor_leaf_done(&leaf);
	return r;
}

static int wait_counted(volatile const __u32 *counter, const char *what, struct error *err)
{
	uint64_t deadline_ms = clock_monotonic_ms() + DOCTOR_PATIENCE_MS;

	while (*counter != 1) {
		if (clock_monotonic_ms() >= deadline_ms)
			return error_text(err, -EPROTO, "%u sockets were seen to %s, not 1",
					  *counter, what);
		poll(NULL, 0, 2);
	}
	return 0;
}

static int count(const struct doctor_bpf *skeleton, const struct doctor_leaf *leaf,
		 struct error *err)
{
	const struct doctor_server_options options = {.leaf = leaf->path, .family = AF_INET};
	struct doctor_server server;
	int client;
	int r;

	r = doctor_server_start(&options, &server, err);
	if (r < 0)
		return r;
	r = wait_counted(&skeleton->bss->listened, "listen", err);
	client = r == 0 ? doctor_connect(server.port, -1, err) : -1;
	if (r == 0)
		r = client < 0 ? client : wait_counted(&skeleton->bss->accepted, "connect", err);
	if (client >= 0)
		close(client);
	doctor_server_stop(&server);
	return r == 0 ? wait_counted(&skeleton->bss->closed, "close", err) : r;
}

int doctor_check_sockops(struct doctor_trial *trial, struct error *err)
{
	static const char *const names[] = {"doctor_count", NULL};
	cleanup(doctor_bpf__destroy) struct doctor_bpf *skeleton = NULL;
	struct bpf_link *link = NULL;
	struct doctor_leaf leaf;
	int r;

	r = load_for_leaf(names, trial, &skeleton, &leaf, err);
	if (r < 0)
		return r;
	r = attach_to(skeleton->progs.doctor_count, &leaf, &link, err);
	if (r == 0)
		r = count(skeleton, &leaf, err);
	bpf_link__destroy(link);
	doctor_leaf_done(&leaf);
	return r;
}
