/* SPDX-License-Identifier: BSD-2-Clause */
/* What agents have left, and what those run that are there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "common/processes.h"
#include "common/vector.h"
#include "orchestrator/instance/takeover_internal.h"

/* It does, also if it does not accept. */
static bool is_listening(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || strlen(path) >= sizeof(sun.sun_path))
		return true;
	strcpy(sun.sun_path, path);
	return connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0 ||
	       (errno != ECONNREFUSED && errno != ENOENT);
}

/* ", pid 7", if it has written that down. Returns @ret. */
static char *describe_pid(const char *path, char ret[static 32])
{
	cleanup_close int fd = -1, pidfd = -1;
	struct handover handover;
	struct error err;

	ret[0] = '\0';
	if (takeover_read_notes(path, &fd, &handover, &err) >= 0) {
		pidfd = takeover_open_process(handover.hello.agent_pid, handover.agent_started);
		if (pidfd >= 0)
			snprintf(ret, 32, ", pid %d", (int)handover.hello.agent_pid);
	}
	handover_done(&handover);
	return ret;
}

int takeover_check_gone(struct context *context, const char *service, struct error *err)
{
	const char *folder = context->paths.agents_dir;
	cleanup(close_dir) DIR *dir = opendir(folder);
	struct dirent *entry;

	if (!dir)
		return errno == ENOENT ? 0 : error_set(err, -errno, "%s", folder);
	while ((entry = takeover_next(dir))) {
		char path[PATHS_MAX], pid[32];

		if (!takeover_is_agent_of(entry->d_name, service))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (!is_listening(path))
			continue;
		return error_text(
			err, -EBUSY,
			"an instance that an earlier batond has started still serves, and "
			"could not be taken over (agent at %s%s): end it by SIGTERM to "
			"its agent, then start the service",
			path, describe_pid(path, pid));
	}
	return errno ? error_set(err, -errno, "%s", folder) : 0;
}

bool takeover_is_there(const struct context *context, const char *service)
{
	cleanup(close_dir) DIR *dir = opendir(context->paths.agents_dir);
	struct dirent *entry;

	while (dir && (entry = takeover_next(dir)))
		if (takeover_is_agent_of(entry->d_name, service))
			return true;
	return false;
}

struct release *takeover_release(const struct takeover_agent *agent)
{
	cleanup(release_free) struct release *release = calloc(1, sizeof(*release));
	uint64_t since_ms = 0;
	struct stat st;

	if (!release || vector_copy(agent->spec.argv, &release->command) < 0 ||
	    vector_copy(agent->spec.environment, &release->environment) < 0)
		return NULL;
	release->executable = strdup(agent->spec.executable);
	release->directory = strdup(agent->spec.directory);
	if (!release->executable || !release->directory)
		return NULL;
	/* The agent makes its socket before it starts anything. */
	if (stat(agent->socket_path, &st) == 0)
		since_ms =
			(uint64_t)st.st_mtim.tv_sec * 1000 + (uint64_t)st.st_mtim.tv_nsec / 1000000;
	if (agent->hello.pid > 0)
		release_look_back(release, agent->hello.pid, since_ms);
	return TAKE_PTR(release);
}

/* Is @name the cgroup of an instance of which no agent is among @found? */
static bool is_orphan(const char *name, const struct takeover_list *found,
		      struct takeover_leaf *ret)
{
	if (!takeover_parse_leaf(name, "", ret))
		return false;
	for (size_t k = 0; k < found->n; k++) {
		const struct report *hello = &found->agents[k]->hello;

		if (strcmp(hello->service, ret->service) == 0 &&
		    hello->generation == ret->generation && hello->instance == ret->index)
			return false;
	}
	return true;
}

/*
 * Is there an agent? takeover_find() has removed the sockets of dead ones, so that an agent that
 * did not answer is alive all the same.
 */
static bool has_socket(const struct context *context, const char *leaf)
{
	char path[PATHS_MAX + 256];

	snprintf(path, sizeof(path), "%s/%s.sock", context->paths.agents_dir, leaf);
	return access(path, F_OK) == 0 || errno != ENOENT;
}

static unsigned signal_all(const char *cgroup, int signal)
{
	cleanup(processes_free) struct processes *processes = NULL;
	unsigned n = 0;

	if (processes_new(cgroup, 0, &processes) == 0)
		(void)processes_signal(processes, signal, &n);
	return n;
}

unsigned takeover_drain_orphans(struct context *context, const struct service_config *service,
				const struct takeover_list *found)
{
	const struct dirent *entry;
	unsigned n = 0;
	DIR *dir;

	dir = context->cgroup_base[0] ? opendir(context->cgroup_base) : NULL;
	while (dir && (entry = readdir(dir))) {
		char path[CGROUP_PATH_MAX + sizeof(entry->d_name) + 1];
		struct takeover_leaf leaf;

		if (!is_orphan(entry->d_name, found, &leaf) ||
		    strcmp(leaf.service, service_config_id(service)) != 0 ||
		    has_socket(context, entry->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", context->cgroup_base, entry->d_name);
		if (signal_all(path, service->drain.signal) == 0)
			continue;
		log_warning("%s: %s has lost its agent; it is told to drain", service->name,
			    entry->d_name);
		n++;
	}
	if (dir)
		closedir(dir);
	return n;
}

void takeover_remove_leftovers(struct context *context, const struct takeover_list *found)
{
	const struct dirent *entry;
	DIR *dir;

	dir = context->cgroup_base[0] ? opendir(context->cgroup_base) : NULL;
	while (dir && (entry = readdir(dir))) {
		char path[CGROUP_PATH_MAX + sizeof(entry->d_name) + 1];
		struct takeover_leaf leaf;

		if (!is_orphan(entry->d_name, found, &leaf) || has_socket(context, entry->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", context->cgroup_base, entry->d_name);
		removals_add(context->removals, path);
	}
	if (dir)
		closedir(dir);
}
