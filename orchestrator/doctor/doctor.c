/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/doctor/doctor.h"

#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "orchestrator/doctor/doctor_internal.h"
#include "orchestrator/host/account.h"

#define EBPF        (1u << DOCTOR_TIER_EBPF)
#define CBPF        (1u << DOCTOR_TIER_CBPF)
#define HASH        (1u << DOCTOR_TIER_HASH)
#define INHERIT     (1u << DOCTOR_MODE_INHERIT)
#define NATIVE      (1u << DOCTOR_MODE_NATIVE)
#define TRANSPARENT (1u << DOCTOR_MODE_TRANSPARENT)
#define ALL_TIERS   (EBPF | CBPF | HASH)
#define ALL_MODES   (INHERIT | NATIVE | TRANSPARENT)

static const struct privilege_need need_destroy = {
	.call = "SOCK_DESTROY",
	.wanted = PRIVILEGE(CAP_NET_ADMIN),
};
static const struct privilege_need need_other_users = {
	.call = "other users",
	.wanted = PRIVILEGE(CAP_CHOWN) | PRIVILEGE(CAP_SETUID) | PRIVILEGE(CAP_SETGID) |
		  PRIVILEGE(CAP_KILL),
};
static const struct privilege_need need_getfd = {.call = "pidfd_open(2) and pidfd_getfd(2)"};
static const struct privilege_need need_getfd_others = {
	.call = "pidfd_open(2) and pidfd_getfd(2)",
	.wanted = PRIVILEGE(CAP_SYS_PTRACE),
};

/* In the order in which they are printed: what the others stand on comes first. */
const struct doctor_check doctor_checks[] = {
	/* ---- who we are, and where ---- */
	{
		.name = "capabilities",
		.title = "capabilities",
		.purpose = "what this user may do",
		.severity = DOCTOR_ADVISED,
		.improves = EBPF | TRANSPARENT,
		.function = doctor_check_capabilities,
		.cost = "see below, each by what it does not permit",
		.how = "run it as root, or with these capabilities "
		       "(systemd: User=, AmbientCapabilities=)",
	},
	{
		.name = "other-users",
		.title = "other users",
		.purpose = "servers that run as users of their own",
		.severity = DOCTOR_ADVISED,
		.improves = ALL_MODES,
		.own_network = true,
		.function = doctor_check_other_users,
		.cost = "\"user\" and \"group\" cannot be used: servers run as this user",
		.need = &need_other_users,
		.how = "run it where users other than this one exist (user namespaces map them)",
	},
	{
		.name = "kernel",
		.title = "kernel version",
		.purpose = "connections that migrate wake their new listener",
		.severity = DOCTOR_ADVISED,
		.improves = ALL_TIERS,
		.own_network = true,
		.function = doctor_check_kernel,
		.cost = "what migrates when an old listener closes can wait for long, or crash the "
			"kernel; the settle step keeps that rare",
		.how = "a kernel with the fix of CVE-2026-46015",
	},
	{
		.name = "proc",
		.title = "/proc",
		.purpose = "finds baton's programs and its servers' processes",
		.severity = DOCTOR_NEEDED,
		.needed_for = ALL_TIERS | ALL_MODES,
		.function = doctor_check_proc,
		.cost = "batond does not start",
		.how = "mount -t proc proc /proc",
	},
	{
		.name = "run-folder",
		.title = "folder at run time",
		.purpose = "sockets of batond and of its agents",
		.severity = DOCTOR_NEEDED,
		.needed_for = ALL_TIERS | ALL_MODES,
		.function = doctor_check_run_folder,
		.cost = "batond does not start",
		.how = "make the folder above it writable: mount a tmpfs there (docker: --tmpfs "
		       "/run; Kubernetes: an emptyDir); as an ordinary user: set XDG_RUNTIME_DIR",
	},
	{
		.name = "state-folder",
		.title = "folder of the state",
		.purpose = "numbers of generations, history, events",
		.severity = DOCTOR_ADVISED,
		.function = doctor_check_state_folder,
		.cost = "after a restart of batond there is no history, and `baton rollback` goes "
			"back to nothing from before it",
		.how = "make the folder above it writable (docker: -v baton:/var/lib/baton); as an "
		       "ordinary user: set XDG_STATE_HOME",
	},
	/* ---- groups of sockets ---- */
	{
		.name = "reuseport",
		.title = "SO_REUSEPORT",
		.purpose = "two generations on one port",
		.severity = DOCTOR_NEEDED,
		.needed_for = ALL_TIERS | ALL_MODES,
		.own_network = true,
		.function = doctor_check_reuseport,
		.cost = "nothing of baton works",
		.how = "any Linux since 3.9 has it; what refuses it is most likely a sandbox",
	},
	{
		.name = "sockarray",
		.title = "socket array",
		.purpose = "names the listening sockets of a group",
		.severity = DOCTOR_NEEDED,
		.needed_for = EBPF,
		.own_network = true,
		.function = doctor_check_sockarray,
		.cost = "no tier ebpf",
		.need = &privilege_bpf,
		.privilege = PRIVILEGE_BPF_OTHERWISE,
		.how = "Linux 4.19 or later with CONFIG_BPF_SYSCALL and CONFIG_INET",
	},
	{
		.name = "sk-reuseport",
		.title = "reuseport program",
		.purpose = "decides who gets each new connection",
		.severity = DOCTOR_NEEDED,
		.needed_for = EBPF,
		.own_network = true,
		.function = doctor_check_select,
		.cost = "no tier ebpf: no failover in the kernel, no counters",
		.need = &privilege_bpf,
		.privilege = PRIVILEGE_BPF_OTHERWISE,
		.how = "Linux 4.19 or later with CONFIG_BPF_SYSCALL",
	},
	{
		.name = "migrate",
		.title = "migration",
		.purpose = "what a closing listener has queued moves to the next",
		.severity = DOCTOR_NEEDED,
		.needed_for = EBPF,
		.own_network = true,
		.function = doctor_check_migrate,
		.cost = "no tier ebpf: a connection queued where a listener closes is reset",
		.need = &privilege_bpf,
		.privilege = PRIVILEGE_BPF_OTHERWISE,
		.how = "Linux 5.14 or later",
	},
	{
		.name = "steer",
		.title = "baton's own program",
		.purpose = "the verifier takes steer.bpf.o",
		.severity = DOCTOR_NEEDED,
		.needed_for = EBPF | TRANSPARENT,
		.function = doctor_check_steer,
		.cost = "no tier ebpf",
		.need = &privilege_bpf,
		.privilege = PRIVILEGE_BPF_OTHERWISE,
		.how = "Linux 5.14 or later; if it is and all above works: please report it",
	},
	{
		.name = "bpffs",
		.title = "bpffs",
		.purpose = "steering that the next batond takes over",
		.severity = DOCTOR_NEEDED,
		.needed_for = EBPF | TRANSPARENT,
		.function = doctor_check_bpffs,
		.cost = "no tier ebpf: nothing can be pinned",
		.need = &privilege_bpf,
		.privilege =
			"mount a bpf file system on /sys/fs/bpf before, where that is permitted",
		.how = "mount -t bpf bpf /sys/fs/bpf",
	},
	{
		.name = "tcp-iterator",
		.title = "tcp iterator",
		.purpose = "sees when a group's program was replaced",
		.severity = DOCTOR_ADVISED,
		.improves = EBPF,
		.own_network = true,
		.function = doctor_check_iterator,
		.cost = "a server that attaches a program of its own is not noticed",
		.need = &privilege_iterator,
		.privilege = PRIVILEGE_BPF_OTHERWISE,
		.how = "Linux 5.9 or later with type information (CONFIG_DEBUG_INFO_BTF)",
	},
	{
		.name = "sk-lookup",
		.title = "lookup program",
		.purpose = "an address and its wildcard replace each other",
		.severity = DOCTOR_ADVISED,
		.improves = EBPF,
		.own_network = true,
		.function = doctor_check_lookup,
		.cost = "an address and a wildcard that has it can replace each other only while the "
			"service is stopped",
		.need = &privilege_bpf,
		.privilege = PRIVILEGE_BPF_OTHERWISE,
		.how = "Linux 5.9 or later with CONFIG_BPF_SYSCALL and CONFIG_NET_SOCK_MSG",
	},
	{
		.name = "cbpf",
		.title = "classic program",
		.purpose = "steers without privileges",
		.severity = DOCTOR_ADVISED,
		.needed_for = CBPF,
		.own_network = true,
		.function = doctor_check_cbpf,
		.cost = "no tier cbpf: an ordinary user has the tier hash only",
		.how = "Linux 4.6 or later; what refuses it is most likely a sandbox",
	},
	{
		.name = "tcp-migrate-req",
		.title = "net.ipv4.tcp_migrate_req",
		.purpose = "migration where no program asks for it",
		.severity = DOCTOR_ADVISED,
		.improves = HASH,
		.function = doctor_check_migrate_req,
		.cost = "in the tier hash a connection that comes while its listener closes is "
			"reset; the tiers ebpf and cbpf do without",
		.how = "sysctl -w net.ipv4.tcp_migrate_req=1 (and in /etc/sysctl.d)",
	},
	/* ---- servers ---- */
	{
		.name = "cgroup",
		.title = "cgroup v2",
		.purpose = "a cgroup for each instance",
		.severity = DOCTOR_NEEDED,
		.needed_for = TRANSPARENT,
		.improves = INHERIT | NATIVE,
		.function = doctor_check_cgroup,
		.cost = "processes of a server are found by their parents only, its connections "
			"not told from those of other generations",
		.how = "mount cgroup v2",
	},
	{
		.name = "cgroup-kill",
		.title = "cgroup.kill",
		.purpose = "ends all processes of an instance at once",
		.severity = DOCTOR_ADVISED,
		.improves = ALL_MODES,
		.function = doctor_check_cgroup_kill,
		.cost = "they are killed one by one; one that forks fast can escape for a while",
		.how = "cgroup v2 (see above) on Linux 5.14 or later",
	},
	{
		.name = "pidfd-getfd",
		.title = "pidfd_getfd",
		.purpose = "takes a listening socket from a server",
		.severity = DOCTOR_NEEDED,
		.needed_for = NATIVE | TRANSPARENT,
		.improves = INHERIT,
		.own_network = true,
		.function = doctor_check_pidfd_getfd,
		.cost = "servers must take the socket that is passed to them; one that never "
			"closes it cannot be made to leave",
		.need = &need_getfd,
		.privilege = "permit a parent to look at its children (kernel.yama.ptrace_scope 0 "
			     "or 1), or run it as root",
		.how = "Linux 5.6 or later",
	},
	{
		.name = "getfd-others",
		.title = "pidfd_getfd of others",
		.purpose = "takes a listening socket from a server of another user",
		.severity = DOCTOR_ADVISED,
		.improves = ALL_MODES,
		.own_network = true,
		.function = doctor_check_getfd_others,
		.cost = "a server with a \"user\" must take the socket that is passed to it; if it "
			"never closes it, it cannot be made to leave",
		.need = &need_getfd_others,
		.how = "Linux 5.6 or later",
	},
	{
		.name = "bind-hook",
		.title = "cgroup/bind4, bind6",
		.purpose = "servers that do not share their port share it",
		.severity = DOCTOR_ADVISED,
		.needed_for = TRANSPARENT,
		.own_network = true,
		.function = doctor_check_bind,
		.cost = "no mode transparent: servers must take a socket or set SO_REUSEPORT",
		.need = &privilege_bpf,
		.privilege = PRIVILEGE_BPF_OTHERWISE,
		.how = "Linux 6.0 or later with CONFIG_CGROUP_BPF, and cgroup v2",
	},
	{
		.name = "sockops",
		.title = "sockops",
		.purpose = "counts connections where they are made",
		.severity = DOCTOR_ADVISED,
		.improves = EBPF | NATIVE | TRANSPARENT,
		.own_network = true,
		.function = doctor_check_sockops,
		.cost = "connections are counted by asking (sock_diag): slower with very many",
		.need = &privilege_bpf,
		.privilege = PRIVILEGE_BPF_OTHERWISE,
		.how = "Linux 4.19 or later with CONFIG_CGROUP_BPF, and cgroup v2",
	},
	/* ---- sock_diag ---- */
	{
		.name = "diag-port",
		.title = "sock_diag by port",
		.purpose = "sees the queue of a listening socket",
		.severity = DOCTOR_NEEDED,
		.needed_for = ALL_TIERS | ALL_MODES,
		.own_network = true,
		.function = doctor_check_diag_port,
		.cost = "batond does not start: it cannot see when an old generation has accepted "
			"what is its own",
		.need = &privilege_sock_diag,
		.how = "CONFIG_INET_DIAG and CONFIG_INET_TCP_DIAG (modprobe tcp_diag)",
	},
	{
		.name = "diag-cgroup",
		.title = "sock_diag by cgroup",
		.purpose = "counts what a generation has open",
		.severity = DOCTOR_ADVISED,
		.improves = ALL_TIERS,
		.own_network = true,
		.function = doctor_check_diag_cgroup,
		.cost = "connections are told from those of other generations by looking at the "
			"descriptors of each server: slower with very many",
		.how = "Linux 5.8 or later with CONFIG_SOCK_CGROUP_DATA, and cgroup v2",
	},
	{
		.name = "sock-destroy",
		.title = "SOCK_DESTROY",
		.purpose = "closes what is left at a deadline",
		.severity = DOCTOR_ADVISED,
		.own_network = true,
		.function = doctor_check_destroy,
		.cost = "connections at the deadline end when their server is killed",
		.need = &need_destroy,
		.how = "a kernel with CONFIG_INET_DIAG_DESTROY",
	},
	/* ---- limits ---- */
	{
		.name = "somaxconn",
		.title = "net.core.somaxconn",
		.purpose = "how many connections may wait at a listener",
		.severity = DOCTOR_ADVISED,
		.function = doctor_check_somaxconn,
		.cost = "\"backlog\" is cut to it: in a burst, connections come late (a SYN is "
			"sent again after a second)",
		.how = "sysctl -w net.core.somaxconn=4096 (and in /etc/sysctl.d)",
	},
	{
		.name = "nofile",
		.title = "open files",
		.purpose = "descriptors for batond and its servers",
		.severity = DOCTOR_ADVISED,
		.function = doctor_check_files,
		.cost = "servers inherit it: each connection is one",
		.how = "ulimit -n, or LimitNOFILE= in the unit",
	},
	{
		.name = "local-ports",
		.title = "local ports of commands",
		.purpose = "gates, hooks and checks by \"exec\" reach one instance",
		.severity = DOCTOR_ADVISED,
		.function = doctor_check_local_ports,
		.cost = "they get no BATON_PROBE_PORTS: whoever serves answers a gate, and a check "
			"by \"exec\" cannot be asked",
		.how = "sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\", or keep some ports: "
		       "net.ipv4.ip_local_reserved_ports=61000-65535 (and in /etc/sysctl.d)",
	},
	{
		.name = "memlock",
		.title = "locked memory",
		.purpose = "BPF maps",
		.severity = DOCTOR_ADVISED,
		.function = doctor_check_memlock,
		.cost = "with many endpoints their maps cannot be made (EPERM)",
		.how = "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit",
	},
};

const size_t doctor_checks_count = sizeof(doctor_checks) / sizeof(doctor_checks[0]);

_Static_assert(sizeof(doctor_checks) / sizeof(doctor_checks[0]) <= DOCTOR_CHECKS_MAX, "checks");

static void describe_host(struct doctor_report *report)
{
	cleanup(account_free) struct account *account = NULL;
	struct utsname uts = {};

	uname(&uts);
	snprintf(report->kernel, sizeof(report->kernel), "%s %s %s", uts.sysname, uts.release,
		 uts.machine);
	if (account_by_uid(geteuid(), &account) == 0)
		snprintf(report->user, sizeof(report->user), "%s (uid %u)", account->name,
			 (unsigned)geteuid());
	else
		snprintf(report->user, sizeof(report->user), "uid %u", (unsigned)geteuid());
}

static int print_json(const struct doctor_report *report)
{
	json_t *json = doctor_json(report);
	int r;

	if (!json)
		return -1;
	r = json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(json);
	return r;
}

int doctor_main(bool json)
{
	static struct doctor_result results[DOCTOR_CHECKS_MAX];
	struct doctor_report report = {
		.checks = doctor_checks,
		.results = results,
		.n = doctor_checks_count,
	};

	describe_host(&report);
	doctor_run(doctor_checks, doctor_checks_count, results);
	if (json && print_json(&report) < 0)
		return EXIT_FAILURE;
	if (!json)
		doctor_print(stdout, &report);
	if (fflush(stdout) != 0 || ferror(stdout))
		return EXIT_FAILURE;
	return doctor_count(&report, DOCTOR_NEEDED) > 0 ? EXIT_FAILURE : 0;
}
