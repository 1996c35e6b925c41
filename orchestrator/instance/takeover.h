/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * takeover: finds the agents that an earlier daemon of the same name has left alive.
 *
 * An agent outlives its daemon. To whoever connects to its control socket it says who it is and how
 * its server does, and hands over duplicates of its listening sockets and the launch specification
 * that it was started with (protocol.h). The service decides what to do with it;
 * generation_take_over() makes a generation of agents.
 *
 * Nothing here waits. A list is filled by takeover_find(), and on_change tells of each answer:
 *
 *	AWAITED -----> ANSWERED      its hello has come, and all its sockets
 *	 ^   |
 *	 |   +-------> (removed)     it has ended, or is left alone
 *	RESTING                      it has answered, and others of its service have not
 *
 * An agent that answers late is not dead: it has AGENTLINK_DEADLINE_MS, and until then nothing is
 * started in its place. After that it is given up: ended by its pidfd, and another one goes on with
 * its server. While the service waits for others, those that have answered are not held on to, as
 * duplicates of sockets keep these open; they are asked again at the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/protocol.h"
#include "common/timer.h"
#include "orchestrator/instance/agentlink.h"
#include "orchestrator/instance/context.h"
#include "orchestrator/release/release.h"

#define TAKEOVER_AGENTS_MAX 16384 /* of all services */

/* Sockets that its hello had no room for: a report "sockets", with its descriptors. */
struct takeover_part {
	struct report report;
	int fds[PROTOCOL_FDS_MAX];
	size_t n_fds;
};

enum takeover_state { TAKEOVER_ANSWERED, TAKEOVER_AWAITED, TAKEOVER_RESTING, TAKEOVER_GONE };

struct takeover_list;

struct takeover_agent {
	enum takeover_state state;
	struct takeover_list *list;
	struct agentlink *link; /* NULL once taken, and while it rests */
	char socket_path[PATHS_MAX];
	/*
	 * Until it answers: service, generation and instance, as its socket is called; and if it is
	 * late, what it has written down (handover.h): pids, which are 0 if they are not known, and
	 * .spec.
	 */
	struct report hello;
	int fds[PROTOCOL_SOCKETS_MAX]; /* duplicates of hello.sockets, closed with the agent */
	size_t n_fds;
	struct takeover_part *parts;
	size_t n_parts;
	struct launch_spec spec;
	pid_t lost_pid; /* it is a new one for the server of this agent, which was killed; 0: it is
			   not */
	bool adopting;  /* that one has not greeted yet */
	bool noted;     /* it is late, and what it has written down was looked at */
	uint64_t asked_ms; /* monotonic */
	/* Another service has this address: see takeover_settle(). */
	bool lost[PROTOCOL_LISTEN_MAX];
};

/* A service of which an agent speaks no version of the protocol that this daemon speaks. */
struct takeover_unfit {
	char service[PROTOCOL_NAME_MAX];
	char why[512]; /* with the versions, and what to do */
};

/* Zero at first, but for the context and the callback. It must not move. */
struct takeover_list {
	struct context *context;
	/* Something is not awaited any more, or somebody is late. Called from the top of the loop.
	 */
	void (*on_change)(void *userdata);
	void *userdata;
	struct takeover_agent **agents; /* by service, generation, instance */
	size_t n;
	struct takeover_unfit *unfit; /* a service once */
	size_t n_unfit;
	sd_event_source *defer;
	struct timer timer;
};

/* Who has not answered for so long is late. */
#define TAKEOVER_LATE_MS 1000

/*
 * Ask at every control socket in the context's agents_dir; or only at those of @service, if that is
 * not NULL. There must be no agents of this daemon: each would take this for a new daemon.
 * If an agent was killed, and its server lives, a new agent is started for it (handover.h), and is
 * awaited like the others. If its server has ended, too, sockets of its that somebody else has are
 * shut down (orphans.h), which is told. A control socket that nobody listens on is removed. An
 * agent that answers wrongly is logged and left alone; so are those beyond TAKEOVER_AGENTS_MAX, and
 * those that do not answer, if nobody can tell which process they are.
 */
int takeover_find(struct takeover_list *list, const char *service, struct error *err);

/* Is an agent of @service (NULL: of any) in the list? The second: that has not answered? */
bool takeover_has(const struct takeover_list *list, const char *service);
bool takeover_is_waiting(const struct takeover_list *list, const char *service);

/* Is an agent awaited that is not late yet? */
bool takeover_is_early(const struct takeover_list *list);

/* Who of @service is awaited, for people: "instance 0 of generation 3 (agent pid 7, ...)". */
#define TAKEOVER_TEXT_MAX 384
char *takeover_describe(const struct takeover_list *list, const char *service,
			char ret[static TAKEOVER_TEXT_MAX]);

/*
 * Those of @service have been taken, or nobody wants them: hold nothing of theirs any more, and
 * await none.
 */
void takeover_let_go(struct takeover_list *list, const char *service);

/* SIGKILL for those of @service that are awaited, and their servers. */
void takeover_kill(struct takeover_list *list, const char *service);

/*
 * 0 if the context's agents_dir shows that no agent of @service is alive. Else -EBUSY, and @err
 * names the socket; another negative errno if the folder cannot be read. Not for a service that has
 * agents: each would take this connection for that of a new daemon.
 */
int takeover_check_gone(struct context *context, const char *service, struct error *err);

/* Has @service a control socket there? Nobody is asked, and one that was killed leaves its own. */
bool takeover_is_there(const struct context *context, const char *service);

/*
 * Send the drain signal to each server of @service whose agent has died with the daemon, and for
 * which takeover_find() could not start a new one. Nobody can take such a server over, and nobody
 * would ever end it; its listening sockets are in no table. Afterwards it is left alone. Returns
 * how many instances these were.
 */
unsigned takeover_drain_orphans(struct context *context, const struct service_config *service,
				const struct takeover_list *found);

/*
 * Remove the cgroups of instances that are gone, of whatever service: those that have no agent in
 * @found and no control socket. One that is still busy, because a server without agent drains in
 * it, is removed when that has ended.
 */
void takeover_remove_leftovers(struct context *context, const struct takeover_list *found);

/*
 * NULL, or why @service must be left as it is: an agent of it cannot be talked to (versions.h). If
 * only the others were taken over, a new instance would be started in the place of its server.
 */
const char *takeover_unfit(const struct takeover_list *list, const char *service);

/* Empties the list. Agents whose link was not taken go on by themselves. */
void takeover_list_done(struct takeover_list *list);

/* The release that the agent runs (release.h); NULL: there was no memory. */
struct release *takeover_release(const struct takeover_agent *agent);

/*
 * If an earlier daemon died while an address went from one service to another, agents of both have
 * it. It belongs to the one whose instances are steady; if both are, to @config, which is the
 * file's of the service @id. Note in the agents of @id in @list what is another's.
 */
void takeover_settle(struct takeover_list *list, const char *id,
		     const struct service_config *config);

/* Does its server run as the user of @config? Sockets of two users never share a port. */
bool takeover_fits(const struct takeover_agent *agent, const struct service_config *config);
