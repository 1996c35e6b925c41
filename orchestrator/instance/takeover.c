/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance/takeover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/handover.h"
#include "common/log.h"
#include "common/orphans.h"
#include "common/processes.h"
#include "common/vector.h"

/* A new agent may first have to wait for the end of the one that was killed. */
#define TAKEOVER_ADOPT_MS 5000

static void close_dir(DIR *dir)
{
	if (dir)
		closedir(dir);
}
DEFINE_CLEANUP(DIR *, close_dir);

static void agent_free(struct takeover_agent *agent)
{
	if (!agent)
		return;
	agentlink_free(agent->link);
	for (size_t k = 0; k < agent->n_fds; k++)
		close(agent->fds[k]);
	for (size_t k = 0; k < agent->n_parts; k++)
		for (size_t j = 0; j < agent->parts[k].n_fds; j++)
			close(agent->parts[k].fds[j]);
	free(agent->parts);
	launch_spec_done(&agent->spec);
	free(agent);
}
DEFINE_CLEANUP(struct takeover_agent *, agent_free);

void takeover_list_done(struct takeover_list *list)
{
	for (size_t k = 0; k < list->n; k++)
		agent_free(list->agents[k]);
	free(list->agents);
	free(list->unfit);
	*list = (struct takeover_list){};
}

/* The first of a service stands for all of them. */
static void add_unfit(struct takeover_list *list, const char *file, const char *why)
{
	struct takeover_unfit *unfit;
	size_t n = strcspn(file, ".");

	if (n >= sizeof(unfit->service))
		return;
	unfit = reallocarray(list->unfit, list->n_unfit + 1, sizeof(*unfit));
	if (!unfit)
		return;
	list->unfit = unfit;
	unfit = &list->unfit[list->n_unfit];
	snprintf(unfit->service, sizeof(unfit->service), "%.*s", (int)n, file);
	snprintf(unfit->why, sizeof(unfit->why), "%s", why);
	if (!takeover_unfit(list, unfit->service))
		list->n_unfit++;
}

const char *takeover_unfit(const struct takeover_list *list, const char *service)
{
	for (size_t k = 0; k < list->n_unfit; k++)
		if (strcmp(list->unfit[k].service, service) == 0)
			return list->unfit[k].why;
	return NULL;
}

/* ---- asking --------------------------------------------------------------------------------- */

static int read_spec(int fd, struct launch_spec *ret, struct error *err)
{
	cleanup_free char *text = NULL;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set(err, -errno, "its launch specification");
	if (st.st_size <= 0 || st.st_size > PROTOCOL_SPEC_MAX)
		return error_text(err, -EMSGSIZE, "its launch specification has %lld bytes",
				  (long long)st.st_size);
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return error_set(err, -ENOMEM, "its launch specification");
	if (pread(fd, text, (size_t)st.st_size, 0) != st.st_size)
		return error_set(err, -EIO, "its launch specification");
	return launch_spec_decode(text, (size_t)st.st_size, ret, err);
}

/* Among the descriptors the sockets come first, the launch specification last. */
static int check_hello(struct takeover_agent *agent, const int *fds, size_t n_fds,
		       struct error *err)
{
	const struct report *hello = &agent->hello;
	int r;

	if (n_fds != hello->n_sockets + 1)
		return error_text(err, -EBADMSG, "it sent %zu descriptors for %zu sockets", n_fds,
				  hello->n_sockets);
	r = read_spec(fds[n_fds - 1], &agent->spec, err);
	if (r < 0)
		return r;
	if (strcmp(launch_spec_id(&agent->spec), hello->service) != 0 ||
	    agent->spec.generation != hello->generation || agent->spec.instance != hello->instance)
		return error_text(err, -EBADMSG, "its hello and its launch specification differ");
	return 0;
}

/*
 * The sockets that the hello had no room for: the agent has sent them right behind it. Without them
 * a table would be published in which they are missing.
 */
static int receive_parts(struct takeover_agent *agent, struct error *err)
{
	uint32_t more = agent->hello.more, left = PROTOCOL_SET_MAX / PROTOCOL_SOCKETS_MAX;

	for (; more > 0 && left > 0; left--) {
		struct takeover_part *part;
		int r;

		part = reallocarray(agent->parts, agent->n_parts + 1, sizeof(*part));
		if (!part)
			return error_set(err, -ENOMEM, "agent");
		agent->parts = part;
		part = &agent->parts[agent->n_parts];
		r = agentlink_receive(agent->link, TAKEOVER_TIMEOUT_MS, REPORT_SOCKETS,
				      &part->report, part->fds, &part->n_fds, err);
		if (r < 0)
			return r;
		agent->n_parts++;
		more = part->report.more;
	}
	return more == 0 ? 0
			 : error_text(err, -E2BIG, "it has more than %d listening sockets",
				      PROTOCOL_SET_MAX);
}

/* The descriptors are the agent's from then on, or closed. */
static int take_hello(struct takeover_agent *agent, const int *fds, size_t n_fds, struct error *err)
{
	int r = check_hello(agent, fds, n_fds, err);

	for (size_t k = 0; k < n_fds; k++) {
		if (r >= 0 && k + 1 < n_fds)
			agent->fds[agent->n_fds++] = fds[k];
		else
			close(fds[k]);
	}
	return r < 0 ? r : receive_parts(agent, err);
}

static int ask(struct context *context, const char *path, struct takeover_agent **ret,
	       struct error *err)
{
	cleanup(agent_free) struct takeover_agent *agent = calloc(1, sizeof(*agent));
	int fds[PROTOCOL_FDS_MAX];
	size_t n_fds = 0;
	int r;

	if (!agent)
		return error_set(err, -ENOMEM, "agent");
	snprintf(agent->socket_path, sizeof(agent->socket_path), "%s", path);
	r = agentlink_connect(context->event, path, TAKEOVER_TIMEOUT_MS, &agent->link,
			      &agent->hello, fds, &n_fds, err);
	if (r < 0)
		return r;
	r = take_hello(agent, fds, n_fds, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(agent);
	return 0;
}

/* readdir(3); at the end errno is 0, and after an error it is not. */
static struct dirent *next_entry(DIR *dir)
{
	errno = 0;
	return readdir(dir);
}

/* Is "SERVICE.GENERATION.INSTANCE.sock" the control socket of an agent of @service? */
static bool is_agent_of(const char *file, const char *service)
{
	size_t n = strlen(service), length = strlen(file);

	return length > n + 5 && strncmp(file, service, n) == 0 && file[n] == '.' &&
	       strcmp(file + length - 5, ".sock") == 0;
}

int takeover_check_gone(struct context *context, const char *service, struct error *err)
{
	const char *folder = context->paths.agents_dir;
	cleanup(close_dir) DIR *dir = opendir(folder);
	struct dirent *entry;

	if (!dir)
		return errno == ENOENT ? 0 : error_set(err, -errno, "%s", folder);
	while ((entry = next_entry(dir))) {
		struct takeover_agent *agent = NULL;
		char path[PATHS_MAX];
		struct error why;
		int r;

		if (!is_agent_of(entry->d_name, service))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		r = ask(context, path, &agent, &why);
		if (r == -ECONNREFUSED || r == -ENOENT)
			continue;
		if (agent)
			error_text(&why, 0, "pid %d", (int)agent->hello.agent_pid);
		agent_free(agent);
		return error_text(
			err, -EBUSY,
			"an instance that an earlier batond has started still serves, and "
			"could not be taken over (agent at %s, %.600s): end it by SIGTERM to "
			"its agent, then start the service",
			path, why.text);
	}
	return errno ? error_set(err, -errno, "%s", folder) : 0;
}

bool takeover_is_there(const struct context *context, const char *service)
{
	cleanup(close_dir) DIR *dir = opendir(context->paths.agents_dir);
	struct dirent *entry;

	while (dir && (entry = next_entry(dir)))
		if (is_agent_of(entry->d_name, service))
			return true;
	return false;
}

static int compare(const void *a, const void *b)
{
	const struct report *x = &(*(struct takeover_agent *const *)a)->hello;
	const struct report *y = &(*(struct takeover_agent *const *)b)->hello;
	int r = strcmp(x->service, y->service);

	if (r != 0)
		return r;
	if (x->generation != y->generation)
		return x->generation < y->generation ? -1 : 1;
	return x->instance < y->instance ? -1 : x->instance > y->instance;
}

/* ---- agents that were killed ---------------------------------------------------------------- */

/* Its server has ended, too, but a process that has got away may have its sockets. */
static void shut_orphans(struct context *context, const struct handover *handover)
{
	const struct report *hello = &handover->hello;
	struct orphan list[ORPHANS_MAX];
	struct address address;
	size_t n = 0;
	int left;

	for (size_t k = 0; k < hello->n_sockets && n < ORPHANS_MAX; k++)
		if (address_parse(hello->sockets[k].address, &address, NULL) == 0)
			orphan_init(&list[n++], hello->sockets[k].cookie, address.text,
				    address_port(&address));
	left = orphans_shut(context->diag, list, n);
	for (int k = 0; k < left; k++) {
		char text[ORPHAN_TEXT_MAX], message[ORPHAN_TEXT_MAX + 64];

		snprintf(message, sizeof(message), "instance %u of generation %u: %s",
			 hello->instance, hello->generation, orphan_describe(&list[k], text));
		log_warning("%s: %s", hello->service, message);
		context->sink->take(context->sink->userdata, hello->service,
				    &(struct event){.kind = EVENT_STRANGER,
						    .message = message,
						    .generation = hello->generation,
						    .listen = list[k].address});
	}
}

static int adopt(struct context *context, const char *path, int handover_fd,
		 struct handover *handover, struct takeover_agent **ret, struct error *err)
{
	cleanup(agent_free) struct takeover_agent *agent = calloc(1, sizeof(*agent));
	int fds[PROTOCOL_FDS_MAX];
	size_t n_fds = 0;
	int r;

	if (!agent)
		return error_set(err, -ENOMEM, "agent");
	snprintf(agent->socket_path, sizeof(agent->socket_path), "%s", path);
	agent->lost_pid = handover->hello.agent_pid;
	r = agentlink_adopt_wait(context->event, context->agent_program, path, &handover->spec,
				 handover_fd, TAKEOVER_ADOPT_MS, &agent->link, &agent->hello, fds,
				 &n_fds, err);
	if (r < 0)
		return r;
	r = take_hello(agent, fds, n_fds, err);
	if (r < 0)
		return r;
	log_warning("%s.%u.%u had lost its agent, pid %d: agent %d goes on with its server, pid %d",
		    agent->hello.service, agent->hello.generation, agent->hello.instance,
		    (int)agent->lost_pid, (int)agent->hello.agent_pid, (int)agent->hello.pid);
	*ret = TAKE_PTR(agent);
	return 0;
}

/*
 * Nobody listens at @path: the agent was killed. Returns -ECONNREFUSED if there is nothing that
 * another one could go on with; then all that it left is removed.
 */
static int revive(struct context *context, const char *path, struct takeover_agent **ret,
		  struct error *err)
{
	cleanup(handover_done) struct handover *handover = NULL;
	struct handover read = {};
	char notes[PATHS_MAX];
	cleanup_close int fd = -1;
	int r;

	r = handover_path(path, notes);
	fd = r == 0 ? open(notes, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	r = fd >= 0 ? handover_read_fd(fd, &read, err) : -ENOENT;
	handover = &read;
	if (r == 0 && handover_is_alive(handover))
		r = adopt(context, path, fd, handover, ret, err);
	else if (r == 0) {
		shut_orphans(context, handover);
		r = -ENOENT;
	}
	if (r == 0)
		return 0;
	if (r != -ENOENT)
		log_warning("%s: its agent was killed, and no other can take over: %s", path,
			    err->text);
	handover_remove(path);
	(void)unlink(path);
	return -ECONNREFUSED;
}

/* ---- finding -------------------------------------------------------------------------------- */

static void find_one(struct context *context, const char *file, struct takeover_list *list)
{
	size_t length = strlen(file);
	char path[PATHS_MAX];
	struct error why;
	int r;

	if (length < 5 || strcmp(file + length - 5, ".sock") != 0)
		return;
	snprintf(path, sizeof(path), "%s/%s", context->paths.agents_dir, file);
	if (list->n == TAKEOVER_AGENTS_MAX)
		r = error_text(&why, -E2BIG, "there are more than %d agents", TAKEOVER_AGENTS_MAX);
	else
		r = ask(context, path, &list->agents[list->n], &why);
	if (r == -ECONNREFUSED)
		r = revive(context, path, &list->agents[list->n], &why);
	if (r == -ECONNREFUSED)
		return;
	if (r == -EPROTONOSUPPORT)
		add_unfit(list, file, why.text);
	if (r < 0)
		log_warning("the agent at %s cannot be taken over and is left alone: %s", path,
			    why.text);
	else
		list->n++;
}

int takeover_find(struct context *context, const char *service, struct takeover_list *ret,
		  struct error *err)
{
	const char *folder = context->paths.agents_dir;
	cleanup(close_dir) DIR *dir = opendir(folder);
	struct dirent *entry;

	*ret = (struct takeover_list){};
	if (!dir)
		return error_set(err, -errno, "%s", folder);
	ret->agents = calloc(TAKEOVER_AGENTS_MAX, sizeof(*ret->agents));
	if (!ret->agents)
		return error_set(err, -ENOMEM, "agents");
	while ((entry = next_entry(dir)))
		if (!service || is_agent_of(entry->d_name, service))
			find_one(context, entry->d_name, ret);
	/* Better none than some: what is missing in the list would look as if it had ended. */
	if (errno) {
		int r = error_set(err, -errno, "%s", folder);

		takeover_list_done(ret);
		return r;
	}
	qsort(ret->agents, ret->n, sizeof(*ret->agents), compare);
	return 0;
}

/* ---- what an agent runs --------------------------------------------------------------------- */

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

/* What the name of a cgroup says: "SERVICE.GENERATION.INDEX". */
struct leaf {
	char service[PROTOCOL_NAME_MAX];
	unsigned generation, index;
};

static bool parse_leaf(const char *name, struct leaf *ret)
{
	size_t n = strcspn(name, ".");
	int length = 0;

	if (n == 0 || n >= sizeof(ret->service) ||
	    sscanf(name + n, ".%u.%u%n", &ret->generation, &ret->index, &length) != 2 ||
	    name[n + (size_t)length])
		return false;
	memcpy(ret->service, name, n);
	ret->service[n] = '\0';
	return true;
}

/* Is @name the cgroup of an instance of which no agent is among @found? */
static bool is_orphan(const char *name, const struct takeover_list *found, struct leaf *ret)
{
	if (!parse_leaf(name, ret))
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
		struct leaf leaf;

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
		struct leaf leaf;

		if (!is_orphan(entry->d_name, found, &leaf) || has_socket(context, entry->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", context->cgroup_base, entry->d_name);
		removals_add(context->removals, path);
	}
	if (dir)
		closedir(dir);
}

static bool declares(const struct service_config *config, const struct address *address)
{
	for (size_t k = 0; k < config->n_listen; k++)
		if (address_equal(&config->listen[k], address))
			return true;
	return false;
}

/* Has a steady agent of the service @id (!@of_id: of any other) the address, and not left yet? */
static bool has_steady(const struct takeover_list *list, const char *id, bool of_id,
		       const struct address *address)
{
	for (size_t k = 0; k < list->n; k++) {
		const struct takeover_agent *agent = list->agents[k];

		if (!agent->hello.steady || agent->hello.state >= AGENT_LEFT ||
		    (strcmp(agent->hello.service, id) == 0) != of_id)
			continue;
		for (size_t j = 0; j < agent->spec.n_listen; j++)
			if (address_equal(&agent->spec.listen[j], address))
				return true;
	}
	return false;
}

void takeover_settle(struct takeover_list *list, const char *id,
		     const struct service_config *config)
{
	for (size_t k = 0; k < list->n; k++) {
		struct takeover_agent *agent = list->agents[k];

		if (strcmp(agent->hello.service, id) != 0)
			continue;
		for (size_t j = 0; j < agent->spec.n_listen; j++) {
			const struct address *address = &agent->spec.listen[j];
			bool own = has_steady(list, id, true, address);

			agent->lost[j] = has_steady(list, id, false, address) &&
					 !(own && declares(config, address));
		}
	}
}

bool takeover_fits(const struct takeover_agent *agent, const struct service_config *config)
{
	uid_t uid = agent->spec.set_ids ? agent->spec.uid : geteuid();

	return uid == config->uid && agent->spec.n_listen <= CONFIG_LISTEN_MAX;
}
