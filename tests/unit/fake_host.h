/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_host: what an instance touches besides its endpoints: its agent (agentlink.h), its cgroup
 * (cgroup.h), the kernel's tables of sockets (diag.h), and kill(2). All of it is as the test says.
 */
#pragma once

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "orchestrator/agentlink.h"
#include "orchestrator/cgroup.h"
#include "orchestrator/diag.h"
#include "tests/unit/fake_calls.h"

/* ---- processes ------------------------------------------------------------------------------ */

int kill(pid_t pid, int sig)
{
	called("kill %d %d", (int)pid, sig);
	return 0;
}

/* ---- cgroup --------------------------------------------------------------------------------- */

static struct {
	int create_error;
	int populated; /* as cgroup_populated() returns it */
	int wait_result, remove_result;
} fake_cgroup;

int cgroup_create(const char *base, const char *leaf, char ret_path[static CGROUP_PATH_MAX],
		  uint64_t *ret_id, struct error *err)
{
	/* What a caller makes of it on failure is part of what is tested. */
	snprintf(ret_path, CGROUP_PATH_MAX, "%s/%s", base, leaf);
	if (fake_cgroup.create_error)
		return error_set(err, fake_cgroup.create_error, "cgroup %s", leaf);
	called("cgroup_create %s", leaf);
	*ret_id = 77;
	return 0;
}

int cgroup_populated(const char *path)
{
	(void)path;
	return fake_cgroup.populated;
}

int cgroup_kill(const char *path)
{
	called("cgroup_kill %s", path);
	return 0;
}

int cgroup_wait_empty(const char *path, int timeout_ms)
{
	(void)timeout_ms;
	called("cgroup_wait_empty %s", path);
	return fake_cgroup.wait_result;
}

int cgroup_remove(const char *path)
{
	called("cgroup_remove %s", path);
	return fake_cgroup.remove_result;
}

/* ---- sock_diag ------------------------------------------------------------------------------ */

static struct fake_listener {
	uint16_t port;
	uint64_t cookie; /* 0: none */
	uint32_t queued;
	bool cannot_be_destroyed;
	int error; /* of asking for it */
} fake_listeners[8];

static struct {
	uint16_t port;
	uint64_t cgroup_id, live;
} fake_connections[8];

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

int diag_connections(struct diag *diag, uint16_t port, uint64_t cgroup_id, uint64_t *ret_live,
		     struct error *err)
{
	(void)diag;
	for (size_t k = 0; k < 8; k++) {
		if (fake_connections[k].port != port || fake_connections[k].cgroup_id != cgroup_id)
			continue;
		*ret_live = fake_connections[k].live;
		return 0;
	}
	return error_set(err, -EIO, "connections");
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
	unsigned n_links;        /* not freed yet */
} fake_agent;

static inline struct agentlink *fake_agent_link(pid_t pid)
{
	struct agentlink *link = calloc(1, sizeof(*link));

	assert_non_null(link);
	link->pid = pid;
	fake_agent.n_links++;
	return link;
}

int agentlink_start(sd_event *event, const char *program, const char *socket_path,
		    const struct launch_spec *spec, const struct agentlink_callbacks *callbacks,
		    void *userdata, struct agentlink **ret, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t length;

	assert_non_null(event);
	if (fake_agent.start_error)
		return error_set(err, fake_agent.start_error, "agent");
	called("agent %s %s", program, socket_path);
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

int agentlink_connect(sd_event *event, const char *socket_path, int timeout_ms,
		      struct agentlink **ret, struct report *ret_hello, int *ret_fds,
		      size_t *ret_n_fds, struct error *err)
{
	(void)event;
	(void)socket_path;
	(void)timeout_ms;
	(void)ret;
	(void)ret_hello;
	(void)ret_fds;
	(void)ret_n_fds;
	return error_set(err, -ENOSYS, "fake");
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

int agentlink_order(struct agentlink *link, const struct order *order)
{
	assert_non_null(link);
	if (order->type == ORDER_STEADY)
		called("order steady %s", order->on ? "on" : "off");
	else
		called("order %s signal %d timeout %u", order_type_name(order->type), order->signal,
		       order->timeout_ms);
	return fake_agent.order_error;
}

static inline void fake_host_reset(void)
{
	launch_spec_done(&fake_agent.spec);
	memset(&fake_agent, 0, sizeof(fake_agent));
	memset(&fake_cgroup, 0, sizeof(fake_cgroup));
	memset(fake_listeners, 0, sizeof(fake_listeners));
	memset(fake_connections, 0, sizeof(fake_connections));
}
