/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance/takeover_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/duration.h"
#include "common/log.h"
#include "common/orphans.h"

/* Duplicates keep sockets open. */
static void drop_sockets(struct takeover_agent *agent)
{
	for (size_t k = 0; k < agent->n_fds; k++)
		close(agent->fds[k]);
	for (size_t k = 0; k < agent->n_parts; k++)
		for (size_t j = 0; j < agent->parts[k].n_fds; j++)
			close(agent->parts[k].fds[j]);
	free(TAKE_PTR(agent->parts));
	agent->n_fds = agent->n_parts = 0;
}

static void agent_free(struct takeover_agent *agent)
{
	if (!agent)
		return;
	agentlink_free(agent->link);
	drop_sockets(agent);
	launch_spec_done(&agent->spec);
	free(agent);
}
DEFINE_CLEANUP(struct takeover_agent *, agent_free);

void takeover_list_done(struct takeover_list *list)
{
	for (size_t k = 0; k < list->n; k++)
		agent_free(list->agents[k]);
	free(TAKE_PTR(list->agents));
	free(TAKE_PTR(list->unfit));
	list->n = list->n_unfit = 0;
	list->defer = sd_event_source_disable_unref(list->defer);
	timer_done(&list->timer);
}

static bool is_of(const struct takeover_agent *agent, const char *service)
{
	return !service || strcmp(agent->hello.service, service) == 0;
}

static bool is_awaited(const struct takeover_agent *agent)
{
	return agent->state == TAKEOVER_AWAITED;
}

bool takeover_has(const struct takeover_list *list, const char *service)
{
	for (size_t k = 0; k < list->n; k++)
		if (is_of(list->agents[k], service) && list->agents[k]->state != TAKEOVER_GONE)
			return true;
	return false;
}

bool takeover_is_waiting(const struct takeover_list *list, const char *service)
{
	for (size_t k = 0; k < list->n; k++)
		if (is_of(list->agents[k], service) &&
		    (is_awaited(list->agents[k]) || list->agents[k]->state == TAKEOVER_RESTING))
			return true;
	return false;
}

static bool is_late(const struct takeover_agent *agent)
{
	return clock_monotonic_ms() - agent->asked_ms >= TAKEOVER_LATE_MS;
}

bool takeover_is_early(const struct takeover_list *list)
{
	for (size_t k = 0; k < list->n; k++)
		if (is_awaited(list->agents[k]) && !is_late(list->agents[k]))
			return true;
	return false;
}

/* The first of a service stands for all of them. */
static void add_unfit(struct takeover_list *list, const char *service, const char *why)
{
	struct takeover_unfit *unfit;

	if (takeover_unfit(list, service))
		return;
	unfit = reallocarray(list->unfit, list->n_unfit + 1, sizeof(*unfit));
	if (!unfit)
		return;
	list->unfit = unfit;
	unfit = &list->unfit[list->n_unfit++];
	snprintf(unfit->service, sizeof(unfit->service), "%s", service);
	snprintf(unfit->why, sizeof(unfit->why), "%s", why);
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

/* @fds[0] to @fds[@n - 1] are the list's from then on, those that @ret has room for. */
static void keep_fds(int *ret, size_t *ret_n, int *fds, size_t n)
{
	for (size_t k = 0; k < n; k++)
		ret[(*ret_n)++] = TAKE_FD(fds[k]);
}

/* A hello may come twice, if the agent has hung up before its sockets were complete. */
static int take_hello(struct takeover_agent *agent, const struct report *report, int *fds,
		      size_t n_fds, struct error *err)
{
	int r;

	drop_sockets(agent);
	launch_spec_done(&agent->spec);
	agent->spec = (struct launch_spec){};
	agent->hello = *report;
	r = check_hello(agent, fds, n_fds, err);
	if (r >= 0)
		keep_fds(agent->fds, &agent->n_fds, fds, n_fds - 1);
	return r;
}

/*
 * The sockets that the hello had no room for: the agent has sent them right behind it. Without them
 * a table would be published in which they are missing.
 */
static int take_part(struct takeover_agent *agent, const struct report *report, int *fds,
		     size_t n_fds, struct error *err)
{
	struct takeover_part *parts;

	if (agent->n_parts == PROTOCOL_SET_MAX / PROTOCOL_SOCKETS_MAX)
		return error_text(err, -E2BIG, "it has more than %d listening sockets",
				  PROTOCOL_SET_MAX);
	parts = reallocarray(agent->parts, agent->n_parts + 1, sizeof(*parts));
	if (!parts)
		return error_set(err, -ENOMEM, "agent");
	agent->parts = parts;
	parts[agent->n_parts] = (struct takeover_part){.report = *report};
	keep_fds(parts[agent->n_parts].fds, &parts[agent->n_parts].n_fds, fds, n_fds);
	agent->n_parts++;
	return 0;
}

static void change(struct takeover_list *list)
{
	(void)sd_event_source_set_enabled(list->defer, SD_EVENT_ONESHOT);
}

static void settle(struct takeover_agent *agent, enum takeover_state state)
{
	if (agent->link)
		agentlink_rest(agent->link);
	agent->state = state;
	change(agent->list);
}

static void leave_alone(struct takeover_agent *agent, const char *why)
{
	log_warning("the agent at %s cannot be taken over and is left alone: %s",
		    agent->socket_path, why);
	settle(agent, TAKEOVER_GONE);
}

static void on_report(void *userdata, const struct report *report, int *fds, size_t n_fds)
{
	struct takeover_agent *agent = userdata;
	struct error err;
	int r;

	if (!is_awaited(agent))
		return;
	if (report->type == REPORT_HELLO)
		r = take_hello(agent, report, fds, n_fds, &err);
	else if (report->type == REPORT_SOCKETS && agent->n_fds > 0)
		r = take_part(agent, report, fds, n_fds, &err);
	else
		r = error_text(&err, -EBADMSG, "it began with %s, not with %s",
			       report_type_name(report->type), report_type_name(REPORT_HELLO));
	if (r < 0) {
		leave_alone(agent, err.text);
		return;
	}
	if (report->more > 0)
		return;
	if (agent->adopting)
		log_warning("%s.%u.%u had lost its agent, pid %d: agent %d goes on with its "
			    "server, pid %d",
			    agent->hello.service, agent->hello.generation, agent->hello.instance,
			    (int)agent->lost_pid, (int)agent->hello.agent_pid,
			    (int)agent->hello.pid);
	else if (agent->noted)
		log_info("%s.%u.%u: its agent, pid %d, answers", agent->hello.service,
			 agent->hello.generation, agent->hello.instance,
			 (int)agent->hello.agent_pid);
	agent->adopting = false;
	settle(agent, TAKEOVER_ANSWERED);
}

static void on_lost(void *userdata);

static const struct agentlink_callbacks callbacks = {
	.on_report = on_report,
	.on_lost = on_lost,
};

/* ---- what it has written down --------------------------------------------------------------- */

/* What an agent has written down that has not answered. Returns a pidfd of it, or -1. */
static int look_at_notes(struct takeover_agent *agent)
{
	cleanup(handover_done) struct handover *handover = NULL;
	cleanup_close int fd = -1, server = -1;
	struct handover read;
	struct error err;
	int r = takeover_read_notes(agent->socket_path, &fd, &read, &err);

	handover = &read;
	agent->noted = true;
	if (r < 0 || strcmp(read.hello.service, agent->hello.service) != 0 ||
	    read.hello.generation != agent->hello.generation ||
	    read.hello.instance != agent->hello.instance)
		return -1;
	agent->hello = read.hello;
	launch_spec_done(&agent->spec);
	agent->spec = read.spec;
	read.spec = (struct launch_spec){};
	server = takeover_open_process(read.hello.pid, read.started);
	if (server < 0)
		agent->hello.pid = 0;
	return takeover_open_process(read.hello.agent_pid, read.agent_started);
}

static void revive(struct takeover_agent *agent);
static void ask(struct takeover_agent *agent, pid_t pid, int pidfd);

/* Nobody listens, or it has ended. Only what it has written down proves the latter. */
static void look_for_end(struct takeover_agent *agent)
{
	int pidfd = look_at_notes(agent);

	if (pidfd >= 0)
		ask(agent, agent->hello.agent_pid, pidfd);
	else
		revive(agent);
}

/* @pidfd: -1, or of the agent; it is taken over. */
static void ask(struct takeover_agent *agent, pid_t pid, int pidfd)
{
	struct context *context = agent->list->context;
	struct error err;
	int r;

	agent->asked_ms = clock_monotonic_ms();
	agent->noted = pidfd >= 0;
	agent->state = TAKEOVER_AWAITED;
	r = agentlink_connect(context->event, agent->socket_path, pid, pidfd, &callbacks, agent,
			      &agent->link, &err);
	if (r == -ECONNREFUSED)
		look_for_end(agent);
	else if (r < 0)
		leave_alone(agent, err.text);
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

static int adopt(struct takeover_agent *agent, const struct handover *handover, int handover_fd,
		 struct error *err)
{
	struct context *context = agent->list->context;
	int r;

	r = agentlink_adopt(context->event, context->agent_program, agent->socket_path,
			    &handover->spec, handover_fd, &callbacks, agent, &agent->link, err);
	if (r < 0)
		return r;
	agent->lost_pid = handover->hello.agent_pid;
	agent->adopting = true;
	agent->asked_ms = clock_monotonic_ms();
	agent->state = TAKEOVER_AWAITED;
	return 0;
}

/* There is nothing that another agent could go on with: remove all that it has left. */
static void bury(struct takeover_agent *agent)
{
	handover_remove(agent->socket_path);
	(void)unlink(agent->socket_path);
	settle(agent, TAKEOVER_GONE);
}

/* The agent was killed. */
static void revive(struct takeover_agent *agent)
{
	cleanup(handover_done) struct handover *handover = NULL;
	struct handover read;
	cleanup_close int fd = -1;
	struct error err;
	int r;

	r = takeover_read_notes(agent->socket_path, &fd, &read, &err);
	handover = &read;
	if (r == 0 && !handover_is_alive(handover)) {
		shut_orphans(agent->list->context, handover);
		bury(agent);
		return;
	}
	if (r == 0 && adopt(agent, handover, fd, &err) == 0)
		return;
	if (r != -ENOENT)
		log_warning("%s: its agent was killed, and no other can take over: %s",
			    agent->socket_path, err.text);
	bury(agent);
}

static void on_lost(void *userdata)
{
	struct takeover_agent *agent = userdata;
	enum agentlink_loss loss = agentlink_loss(agent->link);
	struct agentlink *link = TAKE_PTR(agent->link);

	if (loss == AGENTLINK_UNFIT && !agent->adopting) {
		add_unfit(agent->list, agent->hello.service, agentlink_unfit(link));
		leave_alone(agent, agentlink_unfit(link));
		agentlink_free(link);
		return;
	}
	if (loss == AGENTLINK_UNFIT)
		(void)agentlink_signal(link, SIGKILL);
	agentlink_free(link);
	if (agent->adopting) {
		log_warning("%s: its agent was killed, and no other can take over: the agent that "
			    "was to take over has ended",
			    agent->socket_path);
		bury(agent);
	} else if (loss == AGENTLINK_UNKNOWN) {
		leave_alone(agent, "it does not answer, and nobody knows which process it is");
	} else {
		look_for_end(agent);
	}
}

/* ---- finding -------------------------------------------------------------------------------- */

static int find_one(struct takeover_list *list, const char *file)
{
	struct takeover_agent *agent, **agents;
	size_t length = strlen(file);
	struct takeover_leaf leaf;

	if (length < 5 || strcmp(file + length - 5, ".sock") != 0)
		return 0;
	if (list->n == TAKEOVER_AGENTS_MAX) {
		log_warning("the agent at %s/%s cannot be taken over and is left alone: there are "
			    "more than %d agents",
			    list->context->paths.agents_dir, file, TAKEOVER_AGENTS_MAX);
		return 0;
	}
	agents = reallocarray(list->agents, list->n + 1, sizeof(struct takeover_agent *));
	if (!agents)
		return -ENOMEM;
	list->agents = agents;
	agent = calloc(1, sizeof(*agent));
	if (!agent)
		return -ENOMEM;
	list->agents[list->n++] = agent;
	agent->list = list;
	snprintf(agent->socket_path, sizeof(agent->socket_path), "%s/%s",
		 list->context->paths.agents_dir, file);
	if (takeover_parse_leaf(file, ".sock", &leaf)) {
		strcpy(agent->hello.service, leaf.service);
		agent->hello.generation = leaf.generation;
		agent->hello.instance = leaf.index;
	}
	ask(agent, 0, -1);
	return 0;
}

/* Those of no service any more, of which the list was told before. */
static void remove_gone(struct takeover_list *list)
{
	size_t n = 0;

	for (size_t k = 0; k < list->n; k++) {
		if (list->agents[k]->state == TAKEOVER_GONE)
			agent_free(list->agents[k]);
		else
			list->agents[n++] = list->agents[k];
	}
	list->n = n;
	if (n > 1)
		qsort(list->agents, n, sizeof(struct takeover_agent *), compare);
}

static bool any_awaited(const struct takeover_list *list, const char *service, bool late)
{
	for (size_t k = 0; k < list->n; k++)
		if (is_of(list->agents[k], service) && is_awaited(list->agents[k]) &&
		    (!late || is_late(list->agents[k])))
			return true;
	return false;
}

/* Its service has to wait for others. */
static void rest(struct takeover_agent *agent)
{
	agentlink_free(TAKE_PTR(agent->link));
	drop_sockets(agent);
	agent->state = TAKEOVER_RESTING;
}

/* ", agent pid 7" only if that is known. */
static char *describe(const struct takeover_agent *agent, char ret[static TAKEOVER_TEXT_MAX])
{
	uint64_t silent_ms = clock_monotonic_ms() - agent->asked_ms;
	char pids[64] = "", duration[DURATION_TEXT_MAX];

	if (agent->noted && agent->hello.agent_pid > 0 && agent->hello.pid > 0)
		snprintf(pids, sizeof(pids), "agent pid %d, server pid %d, ",
			 (int)agent->hello.agent_pid, (int)agent->hello.pid);
	else if (agent->noted && agent->hello.agent_pid > 0)
		snprintf(pids, sizeof(pids), "agent pid %d, ", (int)agent->hello.agent_pid);
	snprintf(ret, TAKEOVER_TEXT_MAX, "instance %u of generation %u (%sno answer for %s)",
		 agent->hello.instance, agent->hello.generation, pids,
		 duration_format(silent_ms / 100 * 100, duration));
	return ret;
}

static void note_late(struct takeover_agent *agent)
{
	int pidfd = look_at_notes(agent);
	char who[TAKEOVER_TEXT_MAX];

	if (pidfd >= 0)
		agentlink_know(agent->link, agent->hello.agent_pid, pidfd);
	log_warning("%s: waiting for the agent of %s: nothing is started in its place",
		    agent->hello.service[0] ? agent->hello.service : agent->socket_path,
		    describe(agent, who));
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct takeover_list *list = userdata;

	(void)source;
	(void)usec;
	for (size_t k = 0; k < list->n; k++) {
		struct takeover_agent *agent = list->agents[k];

		if (is_awaited(agent) && !agent->noted && !agent->adopting && is_late(agent))
			note_late(agent);
		else if (agent->state == TAKEOVER_ANSWERED && agent->link &&
			 any_awaited(list, agent->hello.service, true))
			rest(agent);
	}
	change(list);
	return 0;
}

/* Of a service for which nobody is awaited any more. */
static void ask_all(struct takeover_list *list, const char *service)
{
	char name[PROTOCOL_NAME_MAX];

	snprintf(name, sizeof(name), "%s", service);
	for (size_t k = 0; k < list->n; k++)
		if (list->agents[k]->state == TAKEOVER_RESTING && is_of(list->agents[k], name))
			ask(list->agents[k], 0, -1);
}

static int on_defer(sd_event_source *source, void *userdata)
{
	struct takeover_list *list = userdata;

	(void)source;
	remove_gone(list);
	for (size_t k = 0; k < list->n; k++)
		if (list->agents[k]->state == TAKEOVER_RESTING &&
		    !any_awaited(list, list->agents[k]->hello.service, false))
			ask_all(list, list->agents[k]->hello.service);
	if (any_awaited(list, NULL, false) && !timer_is_set(&list->timer))
		timer_set(&list->timer, list->context->event,
			  clock_monotonic_ms() + TAKEOVER_LATE_MS, on_tick, list);
	list->on_change(list->userdata);
	return 0;
}

static int open_list(struct takeover_list *list, struct error *err)
{
	int r;

	if (list->defer)
		return 0;
	r = sd_event_add_defer(list->context->event, &list->defer, on_defer, list);
	return r < 0 ? error_set(err, r, "look for agents") : 0;
}

int takeover_find(struct takeover_list *list, const char *service, struct error *err)
{
	const char *folder = list->context->paths.agents_dir;
	cleanup(close_dir) DIR *dir = opendir(folder);
	size_t before = list->n;
	struct dirent *entry;
	int r;

	if (!dir)
		return error_set(err, -errno, "%s", folder);
	r = open_list(list, err);
	if (r < 0)
		return r;
	while (r == 0 && (entry = takeover_next(dir)))
		if (!service || takeover_is_agent_of(entry->d_name, service))
			r = find_one(list, entry->d_name);
	if (r == 0 && errno)
		r = -errno;
	/* Better none than some: what is missing in the list would look as if it had ended. */
	while (r < 0 && list->n > before)
		agent_free(list->agents[--list->n]);
	remove_gone(list);
	change(list);
	return r < 0 ? error_set(err, r, "%s", folder) : 0;
}

/* ---- for who waits -------------------------------------------------------------------------- */

char *takeover_describe(const struct takeover_list *list, const char *service,
			char ret[static TAKEOVER_TEXT_MAX])
{
	size_t n = 0, length = 0;

	ret[0] = '\0';
	for (size_t k = 0; k < list->n; k++) {
		if (!is_of(list->agents[k], service) || !is_awaited(list->agents[k]))
			continue;
		if (n++ == 0)
			length = strlen(describe(list->agents[k], ret));
	}
	if (n > 1)
		snprintf(ret + length, TAKEOVER_TEXT_MAX - length, ", and %zu more", n - 1);
	return ret;
}

void takeover_let_go(struct takeover_list *list, const char *service)
{
	for (size_t k = 0; k < list->n; k++) {
		struct takeover_agent *agent = list->agents[k];

		if (!is_of(agent, service))
			continue;
		agentlink_free(TAKE_PTR(agent->link));
		drop_sockets(agent);
		if (agent->state != TAKEOVER_ANSWERED)
			settle(agent, TAKEOVER_GONE);
	}
}

static void kill_one(struct takeover_agent *agent)
{
	cleanup_close int fd = -1, server = -1, pidfd = -1;
	struct handover handover;
	struct error err;

	if (takeover_read_notes(agent->socket_path, &fd, &handover, &err) >= 0) {
		server = takeover_open_process(handover.hello.pid, handover.started);
		pidfd = takeover_open_process(handover.hello.agent_pid, handover.agent_started);
		if (handover.spec.cgroup)
			cgroup_kill(handover.spec.cgroup);
		if (server >= 0)
			(void)pidfd_send_signal(server, SIGKILL, NULL, 0);
		if (pidfd >= 0)
			(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	}
	handover_done(&handover);
	bury(agent);
}

void takeover_kill(struct takeover_list *list, const char *service)
{
	for (size_t k = 0; k < list->n; k++)
		if (is_of(list->agents[k], service) &&
		    (is_awaited(list->agents[k]) || list->agents[k]->state == TAKEOVER_RESTING))
			kill_one(list->agents[k]);
}
