/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * instance: one process of a generation, as the daemon sees it: its agent, its cgroup, its
 * sockets in their slots, its health checks.
 *
 * Nothing here decides: an instance records what has become true (listening, healthy, failed,
 * left, stopped) and calls on_change; who asks reads the fields. on_change may be called from
 * any callback of the loop, so it should only take note.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/error.h"
#include "common/protocol.h"
#include "orchestrator/instance/takeover.h"
#include "orchestrator/instance/agentlink.h"
#include "orchestrator/health/checker.h"
#include "orchestrator/config/config.h"
#include "orchestrator/host/connections.h"
#include "orchestrator/instance/context.h"
#include "orchestrator/release/release.h"
#include "orchestrator/instance/wiring.h"

struct instance_callbacks {
	void (*on_change)(void *userdata);
	/* Something worth an event that is not a step of a rollout. */
	void (*on_note)(void *userdata, enum event_kind kind, const char *message);
};

/* What the tables do with an instance's sockets; for its rollout to set, and its service to obey.
 */
enum instance_role {
	INSTANCE_OUT,    /* nothing */
	INSTANCE_IN,     /* they get new connections */
	INSTANCE_BACKUP, /* those that the ones which are in cannot take */
};

/* A listening socket in its slot. */
struct instance_socket {
	uint64_t cookie;
	uint32_t endpoint; /* index into config->listen */
	uint16_t slot;
	bool own; /* the server has bound it */
};

struct instance_sockets {
	struct instance_socket list[PROTOCOL_SOCKETS_MAX];
	size_t n;
};

struct instance {
	struct context *context;
	const struct service_config *config; /* the generation's */
	const struct wiring *wiring;         /* the service's */
	const struct instance_callbacks *callbacks;
	void *userdata;

	uint32_t generation, index;
	char socket_path[PATHS_MAX];
	char cgroup[CGROUP_PATH_MAX]; /* "": there is none */
	uint64_t cgroup_id;           /* 0: there is none */
	struct processes *processes;  /* who belongs to it */
	struct agentlink *link;
	struct instance_sockets sockets;
	/* Out of .sockets, but their slots may still be in a table (instance_release_unused()). */
	struct instance_sockets unused;
	uint32_t sockets_version; /* counts the changes of .sockets */
	uint32_t sockets_serial;  /* the agent's, of the report that .sockets is of */
	char strangers[PROTOCOL_STRANGERS_MAX][ADDRESS_TEXT_MAX];
	size_t n_strangers;

	enum instance_role role;
	bool out_sick;  /* is in, but not in the table, because it is unhealthy */
	uint32_t aimed; /* its share of new connections on the first endpoint, of 1,024 */
	uint32_t restarts_counted; /* of .restarts, by its service */
	uint64_t shifted; /* connections that its slots had had when the table was last changed */

	pid_t pid;              /* of the server; 0: none */
	enum agent_state state; /* as last heard from the agent */
	bool joined;            /* every endpoint has had a socket in a slot */
	bool ready;             /* sd_notify READY=1 */
	bool failed;            /* it does not run and will not be started again */
	bool lost;              /* its agent is gone */
	bool steady;            /* its agent has been told to start it again when it exits */
	bool leaving;           /* told to leave */
	bool left;              /* out of the group */
	bool forced;            /* ... and a listening socket had to be shut down */
	bool stopping;          /* told to stop */
	bool stopped;           /* no process is left */
	bool killed;            /* ... and it took SIGKILL */
	int exit_code, exit_signal;
	uint32_t restarts;
	char failure[PROTOCOL_TEXT_MAX + 256]; /* why, for people */
	char tail[PROTOCOL_TAIL_MAX];          /* end of what the server wrote to stderr */

	/*
	 * The configured check is of the first endpoint. The others are only asked, until they do
	 * so once, to accept a connection: a server that forgot one of its sockets would leave its
	 * clients hanging, since the socket listens whether it is accepted from or not. None for
	 * HEALTH_KIND_NOTIFY.
	 */
	struct checker checkers[CONFIG_LISTEN_MAX];
	uint64_t carried_seen; /* as a backup, when the service looked last */
	struct health_config accept_check;
	sd_event_source *leave_timer;
	uint64_t leave_deadline_ms;
};

/*
 * Make the cgroup and start the agent. The caller's struct is filled and must stay where it is
 * until instance_done(). On failure nothing is left behind, .failure says why.
 */
int instance_start(struct instance *instance, const struct release *release, struct error *err);

/*
 * The same for an instance that an earlier daemon has started: takes the link over from @agent.
 * What the agent says about itself is where the instance stands.
 */
void instance_take_over(struct instance *instance, struct takeover_agent *agent);

/* Free what the struct holds: slots, agent link, cgroup (which must be empty). Kills nothing. */
void instance_done(struct instance *instance);

/* Run health checks from now on, at the configured interval, until told to leave or stop. */
void instance_check(struct instance *instance);

/* Has it passed its checks (and still does)? */
bool instance_is_healthy(const struct instance *instance);

/* Can its listening sockets be expected to be accepted from, now or after a restart? */
bool instance_is_serving(const struct instance *instance);

/* Orders. They are carried out by the agent; where it is lost, as well as can be without it. */
void instance_steady(struct instance *instance, bool on);
void instance_leave(struct instance *instance);
void instance_stop(struct instance *instance);
/* SIGKILL the whole cgroup and be done with it. */
void instance_kill(struct instance *instance);

/*
 * End its checks. Also for sockets that are in no table any more, so that checks are not taken for
 * connections that it has to finish.
 */
void instance_uncheck(struct instance *instance);

/* Free the slots of sockets that it no longer has, where no table names them any more. */
void instance_release_unused(struct instance *instance);

/*
 * After a takeover, when the table is published: let the agent let go of what an earlier daemon has
 * not told it to.
 */
void instance_release_leftovers(struct instance *instance);

/* How it comes by its sockets, as far as that is known; NULL: it has none yet. */
const char *instance_mode(const struct instance *instance);

/*
 * Connections waiting in its listening sockets' queues (none where they no longer listen).
 * Negative where the kernel could not be asked: that is not "none".
 */
int instance_queued(struct instance *instance, uint32_t *ret);

/* The kernel's counters of its connections. -ENODATA on tiers without them. */
int instance_count(struct instance *instance, struct tap_count *ret);

/*
 * Connections that its processes have: by the counters where there are any, which costs nothing,
 * else by instance_busy(). Negative where the kernel could not be asked.
 */
int instance_live(struct instance *instance, uint64_t *ret);

/*
 * The same, by looking at each of them, without those that have been idle for @idle_ms or longer
 * (0: with them). Takes long where there are many.
 */
int instance_busy(struct instance *instance, uint64_t idle_ms, uint64_t *ret);

/* The same, by what they are doing (connections.h). */
int instance_kinds(const struct instance *instance, struct connections_kinds *ret);

/* Close what is left by a reset; *ret is how many. */
int instance_cut(const struct instance *instance, uint64_t *ret, struct error *err);

/* Open the files anew that its output goes to. */
void instance_reopen(struct instance *instance);

/* For connections_each(). */
void instance_connections_of(const struct instance *instance, struct connections_of *ret);

/* No process of it is left but its agent. */
bool instance_has_exited(const struct instance *instance);

/* A healthy instance that has turned unhealthy. */
bool instance_is_unhealthy(const struct instance *instance);

/* The latest answer of the check that is to blame while it is not healthy; NULL: none yet. */
const struct probe_result *instance_last_answer(const struct instance *instance);

/* "exited with status 3", "was killed by SIGKILL" */
void instance_describe_exit(const struct instance *instance, char *ret, size_t size);
