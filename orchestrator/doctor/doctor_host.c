/* SPDX-License-Identifier: BSD-2-Clause */
/* The doctor's checks of what the host is, what is set on it, and who we are. */
#include "orchestrator/doctor/doctor_internal.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/paths.h"
#include "common/privilege.h"
#include "common/process_settings.h"
#include "orchestrator/host/capabilities.h"
#include "orchestrator/host/file.h"
#include "orchestrator/host/kernel.h"
#include "orchestrator/host/local_ports.h"

#define SMALL_FILE_MAX (64 * 1024)
#define FILES_WANTED   1024
#define BACKLOG_WANTED 4096 /* the default of "backlog" */
#define MEMLOCK_WANTED (64UL * 1024 * 1024)

/* ---- the kernel ----------------------------------------------------------------------------- */

static int running_version(struct kernel_version *ret, struct error *err)
{
	cleanup_free char *signature = NULL;
	struct utsname uts;

	if (uname(&uts) < 0)
		return error_set(err, -errno, "uname");
	/* Ubuntu alone has it. */
	(void)file_read("/proc/version_signature", SMALL_FILE_MAX, &signature, NULL);
	if (kernel_version_parse(uts.release, uts.version, signature ? signature : "", ret) < 0)
		return error_text(err, -EPROTO, "\"%s\" is not a kernel's version", uts.release);
	return 0;
}

int doctor_judge_kernel(const struct kernel_version *v, bool woken, struct doctor_trial *trial,
			struct error *err)
{
	struct kernel_version fixed;
	enum kernel_migration migration = kernel_migration(v, &fixed);
	bool ended = fixed.major != v->major || fixed.minor != v->minor;

	if (migration == KERNEL_FIXED) {
		snprintf(trial->note, sizeof(trial->note), "%u.%u.%u is not affected", v->major,
			 v->minor, v->patch);
		return 0;
	}
	if (migration == KERNEL_HAS_NONE) {
		snprintf(trial->how, sizeof(trial->how), "Linux 5.14 or later");
		return error_text(err, -EPROTO, "%u.%u.%u does not migrate connections at all",
				  v->major, v->minor, v->patch);
	}
	if (woken) {
		snprintf(trial->note, sizeof(trial->note),
			 "%u.%u.%u was affected, but this build has the fix", v->major, v->minor,
			 v->patch);
		return 0;
	}
	snprintf(trial->how, sizeof(trial->how),
		 "Linux %u.%u.%u or later%s, or a build with the fix of CVE-2026-46015",
		 fixed.major, fixed.minor, fixed.patch,
		 ended ? " (there is no fix for this series)" : "");
	return error_text(err, -EPROTO,
			  "%u.%u.%u has CVE-2026-46015: who waits at the new listener is not woken",
			  v->major, v->minor, v->patch);
}

int doctor_check_kernel(struct doctor_trial *trial, struct error *err)
{
	struct kernel_version v, fixed;
	bool woken = false;
	int r;

	r = running_version(&v, err);
	if (r < 0)
		return r;
	/* Distributions fix a kernel and keep its version number: look, if that is permitted. */
	if (kernel_migration(&v, &fixed) == KERNEL_AFFECTED &&
	    doctor_try_migration(&woken, NULL) < 0)
		woken = false;
	return doctor_judge_kernel(&v, woken, trial, err);
}

/* ---- who we are ----------------------------------------------------------------------------- */

int doctor_check_capabilities(struct doctor_trial *trial, struct error *err)
{
	struct privilege_need need = {.call = "BPF"};
	char missing[320] = "";
	struct privilege privilege;
	size_t n = 0;

	privilege_read(&privilege);
	for (size_t i = 0; i < n_capability_uses; i++) {
		int capability = capability_uses[i].capability;
		uint64_t one = privilege_missing(&privilege, PRIVILEGE(capability));

		/* What it is for at times has checks of its own: bpffs, drift. */
		if (capability_uses[i].at_times)
			continue;
		need.wanted |= one;
		if (one)
			n += (size_t)snprintf(missing + n, sizeof(missing) - n, "%s%s",
					      n ? ", " : "", process_capability_name(capability));
	}
	snprintf(trial->note, sizeof(trial->note), "all that are of use");
	if (n > 0) {
		(void)privilege_advise(&privilege, &need, trial->how);
		return error_text(err, -EPERM, "uid %u is without %s", (unsigned)geteuid(),
				  missing);
	}
	if (!privilege.namespaced)
		return 0;
	need.first_user_ns = true;
	(void)privilege_advise(&privilege, &need, trial->how);
	return error_text(err, -EPERM, "uid %u has all, but in a user namespace only",
			  (unsigned)geteuid());
}

static int give_away(uid_t uid, struct error *err)
{
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return error_set(err, -errno, "socket");
	if (fchown(fd, uid, (gid_t)-1) < 0)
		return error_set(err, -errno, "fchown a socket to uid %u", (unsigned)uid);
	return 0;
}

int doctor_check_other_users(struct doctor_trial *trial, struct error *err)
{
	const struct doctor_server_options options = {
		.family = AF_INET,
		.set_uid = true,
		.uid = doctor_other_user(),
	};
	struct doctor_server server;
	int r;

	(void)trial;
	/* All sockets of a group belong to one user, the daemon's own among them (anchor.h). */
	r = give_away(options.uid, err);
	if (r == 0)
		r = doctor_server_start(&options, &server, err);
	if (r < 0)
		return r;
	if (kill(server.pid, 0) < 0)
		r = error_set(err, -errno, "signal a process of uid %u", (unsigned)options.uid);
	doctor_server_stop(&server);
	return r;
}

/* ---- folders -------------------------------------------------------------------------------- */

int doctor_check_proc(struct doctor_trial *trial, struct error *err)
{
	char path[PATHS_MAX];

	(void)trial;
	if (readlink("/proc/self/exe", path, sizeof(path)) >= 0)
		return 0;
	return errno == ENOENT ? error_text(err, -ENOENT, "/proc is not mounted")
			       : error_set(err, -errno, "/proc/self/exe");
}

/* Can @folder, or the first part of it that is missing, be made? */
static int try_folder(const char *folder, const char *name, struct error *err)
{
	char path[PATHS_MAX + 64];
	char *slash;

	snprintf(path, sizeof(path), "%s", folder);
	if (access(path, F_OK) < 0)
		while ((slash = strrchr(path, '/')) && slash != path && access(path, F_OK) < 0)
			*slash = '\0';
	snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%.48s", name);
	if (mkdir(path, 0700) < 0)
		return error_set(err, -errno, "mkdir %s", path);
	rmdir(path);
	return 0;
}

int doctor_check_run_folder(struct doctor_trial *trial, struct error *err)
{
	struct paths paths;
	int r = paths_init(NULL, &paths, err);

	if (r < 0)
		return r;
	snprintf(trial->note, sizeof(trial->note), "%.100s", paths.run_dir);
	return try_folder(paths.run_dir, trial->name, err);
}

int doctor_check_state_folder(struct doctor_trial *trial, struct error *err)
{
	struct paths paths;
	int r = paths_init(NULL, &paths, err);

	if (r < 0)
		return r;
	snprintf(trial->note, sizeof(trial->note), "%.100s", paths.state_dir);
	return try_folder(paths.state_dir, trial->name, err);
}

/* ---- settings and limits -------------------------------------------------------------------- */

/* A setting of one number, below /proc/sys. */
static int read_setting(const char *path, unsigned long *ret, struct error *err)
{
	cleanup_free char *text = NULL;
	char *end;
	int r = file_read(path, SMALL_FILE_MAX, &text, NULL);

	if (r < 0)
		return error_set(err, r, "%s", path);
	*ret = strtoul(text, &end, 10);
	if (end == text)
		return error_text(err, -EPROTO, "%s is not a number", path);
	return 0;
}

int doctor_check_migrate_req(struct doctor_trial *trial, struct error *err)
{
	unsigned long value;
	int r = read_setting("/proc/sys/net/ipv4/tcp_migrate_req", &value, err);

	if (r == -ENOENT)
		snprintf(trial->how, sizeof(trial->how), "Linux 5.14 or later");
	if (r < 0)
		return r;
	if (value == 0)
		return error_text(err, -EPROTO, "it is 0");
	snprintf(trial->note, sizeof(trial->note), "%lu", value);
	return 0;
}

int doctor_check_somaxconn(struct doctor_trial *trial, struct error *err)
{
	unsigned long value;
	int r = read_setting("/proc/sys/net/core/somaxconn", &value, err);

	if (r < 0)
		return r;
	if (value < BACKLOG_WANTED)
		return error_text(err, -EPROTO, "it is %lu, less than baton's own backlog of %d",
				  value, BACKLOG_WANTED);
	snprintf(trial->note, sizeof(trial->note), "%lu", value);
	return 0;
}

/* "1024", "no limit" */
static const char *limit_text(rlim_t limit, char *buffer, size_t size)
{
	if (limit == RLIM_INFINITY)
		return "no limit";
	snprintf(buffer, size, "%llu", (unsigned long long)limit);
	return buffer;
}

int doctor_check_files(struct doctor_trial *trial, struct error *err)
{
	char soft[32], hard[32];
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return error_set(err, -errno, "getrlimit");
	snprintf(trial->note, sizeof(trial->note), "%s, hard limit %s",
		 limit_text(limit.rlim_cur, soft, sizeof(soft)),
		 limit_text(limit.rlim_max, hard, sizeof(hard)));
	if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < FILES_WANTED)
		return error_text(err, -EPROTO, "the limit is %s, less than %d", soft,
				  FILES_WANTED);
	return 0;
}

int doctor_check_local_ports(struct doctor_trial *trial, struct error *err)
{
	struct local_ports_range range;
	struct local_ports *ports = calloc(1, sizeof(*ports));
	int r;

	if (!ports)
		return error_set(err, -ENOMEM, "local ports");
	r = local_ports_take(ports, LOCAL_PORTS_MAX, &range, err);
	free(ports);
	if (r < 0)
		return r;
	snprintf(trial->note, sizeof(trial->note), "%u to %u, for instance", range.first,
		 range.first + range.n - 1);
	return 0;
}

int doctor_check_memlock(struct doctor_trial *trial, struct error *err)
{
	struct kernel_version v;
	struct rlimit limit;
	char text[32];
	int r;

	r = running_version(&v, err);
	if (r < 0)
		return r;
	/* Since then BPF memory is accounted to the cgroup (bpf_map_area_alloc, __GFP_ACCOUNT). */
	if (v.major > 5 || (v.major == 5 && v.minor >= 11)) {
		snprintf(trial->note, sizeof(trial->note), "of no concern since Linux 5.11");
		return 0;
	}
	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return error_set(err, -errno, "getrlimit");
	limit_text(limit.rlim_cur, text, sizeof(text));
	if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < MEMLOCK_WANTED)
		return error_text(err, -EPROTO, "it is %s bytes, and BPF maps count", text);
	snprintf(trial->note, sizeof(trial->note), "%s",
		 limit.rlim_cur == RLIM_INFINITY ? "no limit" : text);
	return 0;
}
