/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/process_settings.h"

#define STATUS_MAX 8192

const struct privilege_need privilege_bpf = {
	.call = "bpf(2)",
	.wanted = PRIVILEGE(CAP_BPF) | PRIVILEGE(CAP_NET_ADMIN),
	.first_user_ns = true,
	.otherwise = PRIVILEGE_BPF_OTHERWISE,
};

const struct privilege_need privilege_iterator = {
	.call = "bpf(2)",
	.wanted = PRIVILEGE(CAP_BPF) | PRIVILEGE(CAP_PERFMON),
	.first_user_ns = true,
	.otherwise = PRIVILEGE_BPF_OTHERWISE,
};

const struct privilege_need privilege_sock_diag = {
	.call = "socket(AF_NETLINK, NETLINK_SOCK_DIAG)",
};

/* What follows "\n@name:", or NULL. */
static const char *find_field(const char *status, const char *name)
{
	size_t n = strlen(name);

	for (; status; status = strchr(status, '\n')) {
		status += *status == '\n';
		if (strncmp(status, name, n) == 0 && status[n] == ':')
			return status + n + 1;
	}
	return NULL;
}

/* The first user namespace maps every id to itself (user_namespaces(7)). */
static bool maps_all_ids(const char *uid_map)
{
	unsigned long long inside = 0, outside = 0, count = 0;

	if (sscanf(uid_map, "%llu %llu %llu", &inside, &outside, &count) != 3)
		return true;
	return inside == 0 && outside == 0 && count >= UINT32_MAX;
}

void privilege_parse(const char *status, const char *uid_map, uid_t euid, struct privilege *ret)
{
	const char *effective = find_field(status, "CapEff");
	const char *seccomp = find_field(status, "Seccomp");

	*ret = (struct privilege){
		.euid = euid,
		.capabilities = effective ? strtoull(effective, NULL, 16) : UINT64_MAX,
		.seccomp = seccomp && strtol(seccomp, NULL, 10) != 0,
		.namespaced = !maps_all_ids(uid_map),
	};
}

static void read_file(const char *path, char ret[static STATUS_MAX])
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, ret, STATUS_MAX - 1);

	ret[n > 0 ? n : 0] = '\0';
}

void privilege_read(struct privilege *ret)
{
	char status[STATUS_MAX], uid_map[STATUS_MAX];

	read_file("/proc/self/status", status);
	read_file("/proc/self/uid_map", uid_map);
	privilege_parse(status, uid_map, geteuid(), ret);
}

uint64_t privilege_missing(const struct privilege *p, uint64_t wanted)
{
	uint64_t have = p->capabilities;

	if (have & PRIVILEGE(CAP_SYS_ADMIN))
		have |= PRIVILEGE(CAP_BPF) | PRIVILEGE(CAP_PERFMON);
	return wanted & ~have;
}

/* "CAP_BPF and CAP_NET_ADMIN" */
static void name_all(uint64_t set, char *ret, size_t size)
{
	size_t n = 0;

	ret[0] = '\0';
	for (int k = 0; k < 64; k++) {
		const char *name = process_capability_name(k);
		const char *between = n == 0 ? "" : set >> k >> 1 ? ", " : " and ";

		if (set >> k & 1 && name && n < size)
			n += (size_t)snprintf(ret + n, size - n, "%s%s", between, name);
	}
}

bool privilege_advise(const struct privilege *p, const struct privilege_need *need,
		      char ret[static PRIVILEGE_TEXT_MAX])
{
	uint64_t missing = privilege_missing(p, need->wanted);
	char names[192];

	ret[0] = '\0';
	name_all(missing, names, sizeof(names));
	if (p->namespaced && need->first_user_ns)
		snprintf(ret, PRIVILEGE_TEXT_MAX,
			 "this is a user namespace, where nobody has the host's privileges for %s: "
			 "run it outside of one (a container: not rootless)",
			 need->call);
	else if (missing && p->euid == 0)
		snprintf(ret, PRIVILEGE_TEXT_MAX,
			 "it is root, but without %s: give it back (docker: --cap-add; systemd: "
			 "CapabilityBoundingSet=)",
			 names);
	else if (missing)
		snprintf(ret, PRIVILEGE_TEXT_MAX,
			 "run it as root, or with %s (systemd: AmbientCapabilities=)", names);
	else if (p->seccomp)
		snprintf(
			ret, PRIVILEGE_TEXT_MAX,
			"a seccomp filter is in force, and most likely forbids %s: permit it there "
			"(docker: --security-opt seccomp=; systemd: SystemCallFilter=)",
			need->call);
	return ret[0] != '\0';
}

char *privilege_explain(int code, const struct privilege_need *need,
			char ret[static PRIVILEGE_TEXT_MAX])
{
	char advice[PRIVILEGE_TEXT_MAX];
	struct privilege privilege;

	ret[0] = '\0';
	if (code != -EPERM && code != -EACCES && code != -ENOSYS)
		return ret;
	privilege_read(&privilege);
	if (!privilege_advise(&privilege, need, advice) && need->otherwise && code != -ENOSYS)
		snprintf(advice, sizeof(advice), "%s", need->otherwise);
	if (advice[0])
		snprintf(ret, PRIVILEGE_TEXT_MAX, ": %.*s", PRIVILEGE_TEXT_MAX - 3, advice);
	return ret;
}
