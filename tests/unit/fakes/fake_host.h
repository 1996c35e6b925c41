/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_host: what an instance touches besides its endpoints: its agent (agentlink.h), its cgroup
 * (cgroup.h), its processes (processes.h), the kernel's tables of sockets (diag.h), and kill(2).
 * All of it is as the test says.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>

#include "common/diag.h"
#include "common/pidfds.h"
#include "common/processes.h"
#include "orchestrator/instance/agentlink.h"
#include "tests/unit/fakes/fake_calls.h"
#include "tests/unit/fakes/fake_cgroup.h"
#include "tests/unit/fakes/fake_errand.h"

/* ---- processes ------------------------------------------------------------------------------ */

/* Who belongs to an instance; where that is asked without a cgroup. */
static struct {
	int new_error, list_error;
	int any;          /* as processes_any() returns it */
	pid_t pid;        /* the only one that processes_list() finds */
	unsigned n_alive; /* not freed yet */
	uint64_t started; /* of every process; 0: there is none */
	uint64_t age_ms;  /* of .pid */
	pid_t stranger;   /* has a pid that an agent has told, and is none of the instance */
} fake_processes;

struct processes {
	pid_t root;
};

/* Signal 0 finds whoever is not named here. */
static pid_t fake_gone_pid;

int kill(pid_t pid, int sig)
{
	if (sig == 0 && pid == fake_gone_pid) {
		errno = ESRCH;
		return -1;
	}
	if (sig != 0)
		called("kill %d %d", (int)pid, sig);
	return 0;
}

/*
 * A pidfd is a descriptor of the pidfd_open(2) below, and tells of its pid what kill() does. The
 * pids of the tests are of nobody.
 */
static struct {
	int fd;
	pid_t pid;
} fake_pidfds[256];
static size_t fake_n_pidfds;

int pidfd_open(pid_t pid, unsigned flags)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)flags;
	assert_true(fd >= 0);
	fake_pidfds[fake_n_pidfds % 256].fd = fd;
	fake_pidfds[fake_n_pidfds++ % 256].pid = pid;
	return fd;
}

static pid_t fake_pid_of(int pidfd)
{
	size_t oldest = fake_n_pidfds > 256 ? fake_n_pidfds - 256 : 0;

	for (size_t k = fake_n_pidfds; k-- > oldest;)
		if (fake_pidfds[k % 256].fd == pidfd)
			return fake_pidfds[k % 256].pid;
	fail_msg("%d is no pidfd", pidfd);
	return 0;
}

/* Who has a pidfd is what an agent has told of. */
static bool fake_was_opened(pid_t pid)
{
	size_t oldest = fake_n_pidfds > 256 ? fake_n_pidfds - 256 : 0;

	for (size_t k = fake_n_pidfds; k-- > oldest;)
		if (fake_pidfds[k % 256].pid == pid)
			return true;
	return false;
}

int pidfd_send_signal(int pidfd, int sig, siginfo_t *info, unsigned flags)
{
	(void)info;
	(void)flags;
	return kill(fake_pid_of(pidfd), sig);
}

bool pidfds_alive(int pidfd)
{
	return kill(fake_pid_of(pidfd), 0) == 0;
}

int processes_new(const char *cgroup, pid_t root, struct processes **ret)
{
	if (fake_processes.new_error)
		return fake_processes.new_error;
	*ret = calloc(1, sizeof(**ret));
	assert_non_null(*ret);
	(*ret)->root = cgroup ? 0 : root;
	fake_processes.n_alive++;
	return 0;
}

void processes_free(struct processes *processes)
{
	if (processes)
		fake_processes.n_alive--;
	free(processes);
}

int processes_list(const struct processes *processes, pid_t **ret_pids, size_t *ret_n)
{
	assert_non_null(processes);
	if (fake_processes.list_error)
		return fake_processes.list_error;
	*ret_n = fake_processes.pid ? 1 : 0;
	*ret_pids = malloc(sizeof(**ret_pids));
	assert_non_null(*ret_pids);
	**ret_pids = fake_processes.pid;
	return 0;
}

/* What /proc says of the real processes that a test starts. */
uint64_t processes_socket(pid_t pid, const char *fd)
{
	char path[64], target[64] = "";
	unsigned long long inode;

	snprintf(path, sizeof(path), "/proc/%d/fd/%.16s", (int)pid, fd);
	if (readlink(path, target, sizeof(target) - 1) < 0)
		return 0;
	return sscanf(target, "socket:[%llu]", &inode) == 1 ? inode : 0;
}

int processes_any(const struct processes *processes)
{
	assert_non_null(processes);
	return fake_processes.any;
}

int processes_contain(const struct processes *processes, pid_t pid)
{
	assert_non_null(processes);
	return pid != fake_processes.stranger &&
	       (fake_processes.pid == pid || fake_was_opened(pid));
}

int processes_adopt(struct processes *processes, pid_t pid)
{
	called("processes_adopt %d below %d", (int)pid, (int)processes->root);
	return 0;
}

int processes_started(pid_t pid, uint64_t *ret)
{
	(void)pid;
	*ret = fake_processes.started;
	return fake_processes.started ? 0 : -ESRCH;
}

int processes_age(pid_t pid, uint64_t *ret_ms)
{
	*ret_ms = fake_processes.age_ms;
	return fake_processes.pid == pid ? 0 : -ESRCH;
}

int processes_signal(const struct processes *processes, int sig, unsigned *ret_n)
{
	assert_non_null(processes);
	*ret_n = fake_processes.pid > 0;
	return fake_processes.pid > 0 ? kill(fake_processes.pid, sig) : 0;
}

int processes_kill(struct processes *processes)
{
	called("processes_kill below %d", (int)processes->root);
	return 0;
}

/* ---- sock_diag ------------------------------------------------------------------------------ */

static struct fake_listener {
	uint16_t port;
	uint64_t cookie; /* 0: none */
	uint32_t queued;
	bool cannot_be_destroyed;
	int error; /* of asking for it */
} fake_listeners[8];

/* Some connections that are alike: .live is how many. */
static struct {
	uint16_t port;
	uint64_t cgroup_id, live;
	uint64_t inode;
	uint32_t idle_ms;
	bool ending; /* only the kernel still has to do with them */
} fake_connections[8];

static unsigned fake_connections_interrupted; /* so many of the next lists are inconsistent */
static int fake_destroy_error;                /* of the next connection to be destroyed */

static inline struct fake_listener *fake_listener_find(uint16_t port, uint64_t cookie)
{
	for (size_t k = 0; k < 8; k++)
		if (cookie && fake_listeners[k].cookie == cookie && fake_listeners[k].port == port)
			return &fake_listeners[k];
	return NULL;
}

int diag_listener(struct diag *diag, uint16_t port, uint64_t cookie, struct diag_listener *ret,
		  struct error *err)
{
	const struct fake_listener *found = fake_listener_find(port, cookie);

	(void)diag;
	if (!found)
		return error_set(err, -ENOENT, "listener");
	if (found->error)
		return error_set(err, found->error, "listener");
	*ret = (struct diag_listener){.queued = found->queued, .backlog = 128};
	return 0;
}

int diag_each_listener(struct diag *diag, uint64_t cgroup_id, void (*reset)(void *userdata),
		       void (*found)(void *userdata, const struct diag_listening *listening),
		       void *userdata, struct error *err)
{
	(void)diag;
	(void)cgroup_id;
	if (reset)
		reset(userdata);
	for (size_t k = 0; k < 8; k++) {
		const struct diag_listening listening = {
			.cookie = fake_listeners[k].cookie,
			.queue = {.queued = fake_listeners[k].queued, .backlog = 128},
		};

		if (fake_listeners[k].error)
			return error_set(err, fake_listeners[k].error, "listener");
		if (listening.cookie)
			found(userdata, &listening);
	}
	return 0;
}

bool diag_is_live(const struct diag_connection *connection)
{
	return connection->state == TCP_ESTABLISHED;
}

/* A port that the test has said nothing about cannot be asked for. */
static inline void fake_connections_find(uint16_t port, uint64_t cgroup_id,
					 void (*found)(void *userdata,
						       const struct diag_connection *connection),
					 void *userdata)
{
	for (size_t k = 0; k < 8; k++) {
		const struct diag_connection connection = {
			.cookie = k,
			.inode = fake_connections[k].inode,
			.idle_ms = fake_connections[k].idle_ms,
			.state = fake_connections[k].ending ? TCP_FIN_WAIT1 : TCP_ESTABLISHED,
		};

		if (fake_connections[k].port != port || fake_connections[k].cgroup_id != cgroup_id)
			continue;
		for (uint64_t j = fake_connections[k].live; j > 0; j--)
			found(userdata, &connection);
	}
}

static inline bool fake_connections_known(uint16_t port, uint64_t cgroup_id)
{
	for (size_t k = 0; k < 8; k++)
		if (fake_connections[k].port == port && fake_connections[k].cgroup_id == cgroup_id)
			return true;
	return false;
}

static inline void fake_count_live(void *userdata, const struct diag_connection *connection)
{
	*(uint64_t *)userdata += diag_is_live(connection);
}

int diag_connections(struct diag *diag, uint16_t port, uint64_t cgroup_id, uint64_t *ret_live,
		     struct error *err)
{
	(void)diag;
	if (!fake_connections_known(port, cgroup_id))
		return error_set(err, -EIO, "connections");
	*ret_live = 0;
	fake_connections_find(port, cgroup_id, fake_count_live, ret_live);
	return 0;
}

int diag_each_connection(struct diag *diag, uint16_t port, uint64_t cgroup_id,
			 void (*reset)(void *userdata),
			 void (*found)(void *userdata, const struct diag_connection *connection),
			 void *userdata, struct error *err)
{
	(void)diag;
	if (!fake_connections_known(port, cgroup_id))
		return error_set(err, -EIO, "connections");
	for (;; fake_connections_interrupted--) {
		reset(userdata);
		fake_connections_find(port, cgroup_id, found, userdata);
		if (fake_connections_interrupted == 0)
			return 0;
	}
}

/* Only health/sources.c asks for one. */
int diag_connection(struct diag *diag, const struct sockaddr *local, const struct sockaddr *peer,
		    struct diag_connection *ret, struct error *err)
{
	(void)diag;
	(void)local;
	(void)peer;
	*ret = (struct diag_connection){};
	return error_set(err, -ENOENT, "connection");
}

/* One less of those that are alike. */
int diag_destroy_connection(struct diag *diag, const struct diag_connection *connection,
			    struct error *err)
{
	assert_ptr_equal(diag, fake_connections);
	if (fake_destroy_error)
		return error_set(err, fake_destroy_error, "destroy");
	assert_true(fake_connections[connection->cookie].live > 0);
	fake_connections[connection->cookie].live--;
	return 0;
}

int diag_open(struct diag **ret, struct error *err)
{
	(void)err;
	*ret = (struct diag *)fake_connections; /* is only passed on */
	return 0;
}

void diag_free(struct diag *diag)
{
	(void)diag;
}

int diag_destroy_listener(struct diag *diag, uint16_t port, uint64_t cookie, struct error *err)
{
	struct fake_listener *found = fake_listener_find(port, cookie);

	(void)diag;
	called("destroy %u %llu", port, (unsigned long long)cookie);
	if (!found || found->cannot_be_destroyed)
		return error_set(err, -EPERM, "destroy");
	found->cookie = 0;
	return 0;
}

/* ---- agentlink ------------------------------------------------------------------------------ */

struct agentlink {
	pid_t pid;
	const struct agentlink_callbacks *callbacks;
	void *userdata;
};

static struct {
	int start_error, order_error;
	struct agentlink *link;  /* the last one started or listened to */
	struct launch_spec spec; /* a copy of what it was started with */
	unsigned n_socket_fds;   /* that came with it */
	unsigned n_links;        /* not freed yet */
	bool ended;              /* the process has, for signals */
	enum agentlink_loss loss;
	const char *unfit; /* why no version is spoken by both; NULL: one is */
} fake_agent;

static inline struct agentlink *fake_agent_link(pid_t pid)
{
	struct agentlink *link = calloc(1, sizeof(*link));

	assert_non_null(link);
	link->pid = pid;
	fake_agent.n_links++;
	fake_agent.ended = false;
	return link;
}

int agentlink_start(sd_event *event, const char *program, const char *socket_path,
		    const struct launch_spec *spec, const int *socket_fds,
		    const struct agentlink_callbacks *callbacks, void *userdata,
		    struct agentlink **ret, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t length;

	assert_non_null(event);
	if (fake_agent.start_error)
		return error_set(err, fake_agent.start_error, "agent");
	called("agent %s %s", program, socket_path);
	assert_int_equal(spec->sockets_given, socket_fds != NULL);
	for (size_t k = 0; socket_fds && k < spec->n_listen; k++, fake_agent.n_socket_fds++)
		assert_true(fcntl(socket_fds[k], F_GETFD) >= 0);
	launch_spec_done(&fake_agent.spec);
	assert_int_equal(launch_spec_encode(spec, &text, &length), 0);
	if (launch_spec_decode(text, length, &fake_agent.spec, err) < 0)
		fail_msg("%s", err->text);
	*ret = fake_agent_link(500);
	(*ret)->callbacks = callbacks;
	(*ret)->userdata = userdata;
	fake_agent.link = *ret;
	return 0;
}

int agentlink_adopt(sd_event *event, const char *program, const char *socket_path,
		    const struct launch_spec *spec, int handover_fd,
		    const struct agentlink_callbacks *callbacks, void *userdata,
		    struct agentlink **ret, struct error *err)
{
	assert_non_null(event);
	if (fake_agent.start_error)
		return error_set(err, fake_agent.start_error, "agent");
	assert_true(fcntl(handover_fd, F_GETFD) >= 0);
	called("adopt %s %s for %s", program, socket_path, spec->service);
	*ret = fake_agent_link(501);
	(*ret)->callbacks = callbacks;
	(*ret)->userdata = userdata;
	fake_agent.link = *ret;
	return 0;
}

int agentlink_connect(sd_event *event, const char *socket_path, pid_t pid, int pidfd,
		      const struct agentlink_callbacks *callbacks, void *userdata,
		      struct agentlink **ret, struct error *err)
{
	(void)event;
	(void)socket_path;
	(void)pid;
	(void)pidfd;
	(void)callbacks;
	(void)userdata;
	(void)ret;
	return error_set(err, -ENOSYS, "fake");
}

uint32_t agentlink_deadline(void)
{
	return AGENTLINK_DEADLINE_MS;
}

void agentlink_know(struct agentlink *link, pid_t pid, int pidfd)
{
	(void)link;
	(void)pid;
	(void)pidfd;
}

void agentlink_rest(struct agentlink *link)
{
	(void)link;
}

enum agentlink_loss agentlink_loss(const struct agentlink *link)
{
	(void)link;
	return fake_agent.loss;
}

void agentlink_listen(struct agentlink *link, const struct agentlink_callbacks *callbacks,
		      void *userdata)
{
	called("listen");
	link->callbacks = callbacks;
	link->userdata = userdata;
	fake_agent.link = link;
}

void agentlink_free(struct agentlink *link)
{
	if (!link)
		return;
	called("agentlink_free");
	fake_agent.n_links--;
	free(link);
}

pid_t agentlink_pid(const struct agentlink *link)
{
	return link->pid;
}

uint32_t agentlink_version(const struct agentlink *link)
{
	assert_non_null(link);
	return PROTOCOL_VERSION;
}

const char *agentlink_unfit(const struct agentlink *link)
{
	assert_non_null(link);
	return fake_agent.unfit;
}

int agentlink_signal(const struct agentlink *link, int signal)
{
	if (fake_agent.ended)
		return -ESRCH;
	return kill(link->pid, signal) < 0 ? -errno : 0;
}

int agentlink_order(struct agentlink *link, const struct order *order)
{
	assert_non_null(link);
	if (order->type == ORDER_STEADY)
		called("order steady %s", order->on ? "on" : "off");
	else if (order->type == ORDER_RELEASE)
		called("order release serial %u", order->serial);
	else if (order->type == ORDER_FAMILY)
		called("order family %u %s", order->endpoint, order->on ? "twin" : "declared");
	else
		called("order %s signal %d timeout %u", order_type_name(order->type), order->signal,
		       order->timeout_ms);
	return fake_agent.order_error;
}

int agentlink_order_with(struct agentlink *link, const struct order *order, const int *fds,
			 size_t n_fds)
{
	assert_non_null(link);
	called("order %s with %zu", order_type_name(order->type), n_fds);
	(void)fds;
	return fake_agent.order_error;
}

static inline void fake_host_reset(void)
{
	launch_spec_done(&fake_agent.spec);
	memset(&fake_agent, 0, sizeof(fake_agent));
	memset(&fake_cgroup, 0, sizeof(fake_cgroup));
	memset(fake_listeners, 0, sizeof(fake_listeners));
	memset(fake_connections, 0, sizeof(fake_connections));
	fake_connections_interrupted = 0;
	fake_destroy_error = 0;
	memset(&fake_processes, 0, sizeof(fake_processes));
	fake_gone_pid = 0;
}
