/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * instance: one process of a generation, as the daemon sees it: its agent, its cgroup, its
 * sockets in their slots, its health checks.
 *
 * An instance decides nothing. It records what has become true (it has joined, is healthy, has
 * failed, has left, has stopped) and calls on_change; the service then asks the questions below.
 * on_change may be called from any callback of the loop, so it should only take note.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/advice.h"
#include "common/error.h"
#include "common/protocol.h"
#include "common/timer.h"
#include "orchestrator/instance/agentlink.h"
#include "orchestrator/health/checker.h"
#include "orchestrator/config/config.h"
#include "orchestrator/host/connections.h"
#include "orchestrator/host/local_ports.h"
#include "orchestrator/instance/check_set.h"
#include "orchestrator/instance/context.h"
#include "orchestrator/instance/socket_list.h"
#include "orchestrator/release/release.h"
#include "orchestrator/instance/wiring.h"

struct instance;
struct instance_callbacks {
	void (*on_change)(void *userdata);
	/* Something that is no step of a rollout, but worth an event. */
	void (*on_note)(void *userdata, const struct instance *instance, enum event_kind kind,
			const char *message);
	/* Its agent answers instance_reopen(): @report is a REPORT_REOPENED. */
	void (*on_reopened)(void *userdata, const struct instance *instance,
			    const struct report *report);
	/*
	 * Does another instance serve on endpoint @k, or is it about to? Then the family of that
	 * endpoint's sockets cannot change.
	 */
	bool (*is_served)(void *userdata, const struct instance *instance, size_t k);
	/*
	 * The server of @instance listens on @address, the twin of what endpoint @k was opened for.
	 * Nobody serves there: open it anew, for @address. instance_change_endpoint() is called
	 * for every instance before this returns.
	 */
	int (*move_endpoint)(void *userdata, const struct instance *instance, size_t k,
			     const struct address *address, struct error *err);
	/*
	 * Does any instance still have passed sockets of the wrong family? Until none does, no
	 * socket joins. Afterwards instance_ask_sockets() is called for those that were postponed.
	 */
	bool (*is_moving)(void *userdata);
};

/*
 * The life of an instance. It may skip phases, but never goes back to an earlier one.
 *
 *	     every endpoint   told to leave   the agent    told to stop   no process
 *	     has a socket                     says LEFT                   is left
 *	STARTING ----> JOINED ----> LEAVING ----> LEFT ----> STOPPING ----> STOPPED
 *	    |            |             ^
 *	    |            v             |
 *	    +--------> FAILED ---------+
 *
 * An instance that is told to go early skips JOINED and FAILED. An instance that does not leave by
 * its deadline skips LEFT. If an agent leaves unasked, because an earlier daemon told it to, its
 * instance skips LEAVING. If processes end by themselves or are killed, any phase gives way to
 * STOPPED.
 */
enum instance_phase {
	INSTANCE_STARTING, /* some endpoint has never had a socket in a slot */
	/*
	 * Every endpoint has had one. The server may exit: then .pid is 0 until its agent starts it
	 * again, and sockets that the agent holds for it keep what comes meanwhile.
	 */
	INSTANCE_JOINED,
	INSTANCE_FAILED,   /* nobody starts its server again */
	INSTANCE_LEAVING,  /* told to leave the group and to drain */
	INSTANCE_LEFT,     /* it is out of the group; its server finishes what it has */
	INSTANCE_STOPPING, /* told to stop */
	INSTANCE_STOPPED,  /* no process of it is left, or its agent could never be started */
	_INSTANCE_PHASE_COUNT,
};

/* What the tables do with an instance's sockets. Its rollout sets it, its service obeys. */
enum instance_role {
	INSTANCE_OUT,    /* nothing */
	INSTANCE_IN,     /* they get new connections */
	INSTANCE_BACKUP, /* they get connections that no instance which is in can take */
};

/* How an endpoint has come to be served by no socket of the instance, or not by all. */
struct instance_loss {
	bool had;            /* it has had one since its server was started */
	bool had_own;        /* ... and the server had bound it */
	bool deaf;           /* its server has shut one down, which may listen again */
	bool told;           /* it lasts: the instance is unhealthy for it */
	char unsteered[192]; /* why one cannot be steered: "ADDRESS: ..."; "": all can be */
	uint64_t since_ms;   /* CLOCK_MONOTONIC; 0: all is well */
	uint64_t since_realtime_ms;
};

struct instance {
	struct context *context;
	const struct service_config *config; /* the generation's */
	const struct release *release;       /* the generation's */
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
	/* Gone from .sockets; tables may still name their slots: instance_release_unused(). */
	struct instance_sockets unused;
	/* What a set that comes in several reports has named so far, and how many sockets that
	 * were. */
	struct instance_sockets arriving;
	uint32_t arrived;
	char refusal[512]; /* why a socket cannot be steered, as it was told last; "": all can be */
	uint32_t sockets_version; /* counts the changes of .sockets */
	uint32_t sockets_serial;  /* the agent's number of the report that .sockets is from */
	/*
	 * Sockets of the wrong family (instance_twins.c) are never in .sockets. As long as they
	 * listen they may take connections from those of the right one.
	 */
	uint32_t awaited;  /* answers to ORDER_FAMILY: it may still have passed ones */
	bool postponed;    /* its last report was not taken: another's answer was awaited */
	uint32_t moved_to; /* the endpoint that was opened anew last */
	/* Addresses that it listens on and its service does not declare. */
	char strangers[PROTOCOL_STRANGERS_MAX][ADDRESS_TEXT_MAX];
	size_t n_strangers;
	/* Why a socket that its server listens on cannot be used ("listens on ..."); "": none. */
	char unusable[PROTOCOL_TROUBLE_MAX];
	uint32_t unusable_endpoint; /* which endpoint that is about */

	struct instance_loss losses[CONFIG_LISTEN_MAX]; /* of each endpoint */
	bool has_loss;                                  /* one is told */
	struct probe_result loss_answer;                /* the first that is told, for people */
	struct timer loss_timer;

	enum instance_role role;
	enum instance_role
		role_before; /* the table that is being published, which may be refused */
	bool out_sick;       /* it is in, but no table names it, because it is unhealthy */
	bool told_bad;  /* a bad answer before its server was ever healthy: the rest only passes */
	uint32_t aimed; /* its share of new connections on the first endpoint, of 1,024 */
	uint32_t restarts_counted; /* so many of .restarts has its service counted */
	uint64_t shifted; /* connections that its slots had had when the table was last changed */

	enum instance_phase phase; /* read it; only instance_enter() changes it */
	bool had_joined;           /* in a later phase: it came there by way of JOINED */

	/*
	 * These do not follow from the phase. A server exits and is started again while its
	 * instance stays JOINED, and may exit before it is told to stop. READY=1 comes and goes.
	 * An agent can be lost in every phase; its server goes on. If no other agent can take it
	 * over, it is told to leave and stop by the daemon itself. The agent names its own state,
	 * of which status tells people.
	 */
	enum agent_state agent_said;
	/* Of the server before it replaced itself last; 0: it never has. */
	pid_t succeeded_pid;
	pid_t pid;      /* of the server; 0: none, or not yet known */
	bool has_pidfd; /* .pidfd is of that process: instance_know_pid() */
	int pidfd;
	bool ran;                 /* the server has run at least once */
	bool ready;               /* the server has said READY=1 */
	uint32_t protocol;        /* version that is spoken with its agent; 0: no hello yet */
	bool tells;               /* its agent knows ORDER_TELL */
	bool reopens;             /* its agent answers ORDER_REOPEN */
	bool keeps;               /* its agent knows ORDER_KEEP */
	bool looks;               /* its agent knows ORDER_LOOK */
	bool hinted;              /* the programs on its cgroup tell of each listen(2) */
	bool initial;             /* its agent says that the server was never started again */
	uint64_t print;           /* instance_hint_late() has sent last; 0: nothing */
	uint64_t kept_set;        /* those that it keeps, see instance_keep_sockets(); 0: none */
	bool names_fds;           /* its command names the sockets that are passed: {fd} */
	bool stop_without_signal; /* it was told to drain by the signal that means stop */
	bool steady; /* the agent has been told to start the server again when it exits */
	bool lost;   /* the agent is gone, and there is no other */
	/* Its agent lives, has hung up, and has not answered since: monotonic; 0: it talks. */
	uint64_t silent_since_ms;

	/* Its agent was killed, and another one goes on with its server (instance_adopt.c). */
	bool adopting;                      /* that one has not said hello yet */
	enum instance_phase adopting_phase; /* the phase in which it was started */
	uint32_t adoptions;                 /* how often that has been so */
	uint64_t adopted_ms;                /* the last time; monotonic */
	unsigned adopted_often;             /* in a short time */

	/* How it came to its end: facts for people, which stay true in later phases. */
	char failure[PROTOCOL_TEXT_MAX + ADVICE_TEXT_MAX]; /* why it failed; "": see .phase */
	bool forced;                                       /* a socket had to be shut down */
	bool killed;                                       /* SIGKILL was needed for it to stop */
	enum server_ending ending;                         /* of the server's last run, if .ran */
	int exit_code, exit_signal;                        /* of the server's last exit */
	uint32_t restarts;                                 /* by its agent */

	/*
	 * The last that the server wrote: to stderr, else to stdout. Once its agent was asked for
	 * it (instance_ask()), what it writes on its way out changes it no more.
	 */
	char tail[PROTOCOL_TAIL_MAX];
	bool tail_stdout;
	uint64_t tail_realtime_ms; /* when the end of it was written; 0: not known */
	bool asked;                /* the agent's answer is not there yet */
	bool told;                 /* it is: .tail is what it had written when it was asked */
	bool ended_itself;         /* its server had ended before it was told to leave or stop */
	bool refused;              /* it failed for the family of its sockets, and not by its end */

	/* Why its server, which is started again, ended last: "exited with ..."; "": it did not. */
	char obstacle[PROTOCOL_TEXT_MAX + ADVICE_TEXT_MAX];

	/* Why its sockets could not join; a server that is ending is told by its exit instead. */
	char trouble[256];
	struct timer trouble_timer;

	struct check_set checks;
	/* Of commands that ask it (instance_ports), on each endpoint. */
	struct sources pinned[CONFIG_LISTEN_MAX];
	/* Its server, started again, has not been healthy within start_timeout. */
	bool overdue;
	struct timer overdue_timer;
	uint64_t carried_seen;          /* as a backup, when its service looked last */
	struct tap_count settle_before; /* what was counted when it began to settle */
	struct tap_count drain_before;  /* ... and when it was told to leave */

	/* While .lost: when it is looked at next, and until when it may leave or stop. */
	sd_event_source *lost_timer;
	uint64_t lost_deadline_ms;
};

/*
 * Make the cgroup and start the agent. The caller's struct has .context to .userdata, .generation,
 * .index and .checks set, the rest 0, and must stay where it is until instance_done(). On failure
 * nothing is left behind, the instance has failed and stopped, and .failure says why.
 */
int instance_start(struct instance *instance, const struct release *release, struct error *err);

struct takeover_agent;
/*
 * The same for an instance that an earlier daemon has started: takes the link over from @agent.
 * The agent's hello says which phase the instance is in.
 */
void instance_take_over(struct instance *instance, struct takeover_agent *agent);

/*
 * Free what the struct holds: slots, agent link, checks, cgroup (which must be empty). Kills
 * nothing.
 */
void instance_done(struct instance *instance);

/* ---- orders: the agent carries them out; if it is lost, the daemon does what it can ---------- */

/* The agent is to start the server again when it exits, or no longer. */
void instance_steady(struct instance *instance, bool on);

/*
 * Leave the group and drain. Does nothing if it was told so before, or to stop. The deadline is the
 * configuration's; after it the listening sockets are shut down.
 */
void instance_leave(struct instance *instance);

/* Stop, with SIGKILL after the configured time. Does nothing if it was told so before. */
void instance_stop(struct instance *instance);

/*
 * SIGKILL the whole cgroups and the agents, and be done with them: they have stopped. Waits for a
 * moment for their processes to be gone, once for all of them.
 */
void instance_kill_many(struct instance *const *list, size_t n);

/*
 * Open the files anew that its output goes to. Returns 0: on_reopened will tell how that went, with
 * @serial (not 0), unless the agent is lost or the instance stops before. -EOPNOTSUPP: the agent is
 * told, but is of an earlier baton and never answers. Else the agent was not told: -ENOTCONN, it is
 * lost; -ESRCH, the instance has stopped; -EAGAIN, it does not read.
 */
int instance_reopen(struct instance *instance, uint32_t serial);

/*
 * It is about to be told to go, for a failure of its own. Ask its agent for the last words of the
 * server, and whether it has ended already: then .failure is that exit, whatever it was before, and
 * .ended_itself is set. The answer changes the instance as any report does.
 */
void instance_ask(struct instance *instance);

/* ---- questions -------------------------------------------------------------------------------
 *
 * If the kernel cannot answer, neither "it is gone" nor "it has none" is said.
 */

/* Every endpoint has had a socket in a slot. Stays true in later phases. */
bool instance_has_joined(const struct instance *instance);

/* Nobody starts its server again, and nobody wanted that. Stays true in later phases. */
bool instance_has_failed(const struct instance *instance);

/* It is on its way out: it was told to leave or to stop, and has not stopped. */
bool instance_is_leaving(const struct instance *instance);

/* It is out of the group, or past that: told to stop, or stopped. */
bool instance_has_left(const struct instance *instance);

/* No process of it is left. */
bool instance_has_stopped(const struct instance *instance);

/* ... not even one that is still dying after SIGKILL. Asks the kernel. */
bool instance_is_gone(const struct instance *instance);

/* No process of it is left but its agent. Asks the kernel. */
bool instance_has_exited(const struct instance *instance);

/* Can its listening sockets be expected to be accepted from, now or after a restart? */
bool instance_is_serving(const struct instance *instance);

/* Has it passed its checks, and does it still? Is each endpoint served? */
bool instance_is_healthy(const struct instance *instance);

/*
 * It was healthy and has failed a check since. Or its server was started again, or its daemon was,
 * and it has not become healthy within the configured time. Or it has joined, and since then an
 * endpoint is not served any more: no socket of it listens there, is held by its server and can be
 * steered.
 */
bool instance_is_unhealthy(const struct instance *instance);

/*
 * An earlier batond has started it, and its checks begin anew. @passed: its server, if it was not
 * started again since, has passed them. From now on bad answers count for such a server, and for
 * one that has run for the configured time; another one has the rest of that to become healthy.
 */
void instance_recall_health(struct instance *instance, bool passed);

/* What one of its checks says alone. */
static inline enum health_state instance_check_state(const struct instance_check *check)
{
	if (check->config->kind != HEALTH_KIND_NOTIFY)
		return check->checker.health.state;
	return check->instance->ready ? HEALTH_HEALTHY : HEALTH_UNKNOWN;
}

/* Is its server still to say READY=1, which is one of its checks? */
static inline bool instance_awaits_ready(const struct instance *instance)
{
	for (size_t k = 0; k < instance->checks.n_declared; k++)
		if (instance->checks.list[k].config->kind == HEALTH_KIND_NOTIFY)
			return !instance->ready;
	return false;
}

/*
 * What keeps it from being healthy, as the answer of a check: an endpoint that is not served; or
 * the answer that made it unhealthy, or else the latest bad one. If every check is well, the
 * latest of the first. NULL: none yet.
 */
const struct probe_result *instance_last_answer(const struct instance *instance);

/* Why it is unhealthy for endpoint @k, in @ret, which is returned; NULL: it is not. */
const char *instance_loss_text(const struct instance *instance, size_t k,
			       char ret[static PROBE_TEXT_MAX]);

/* How it comes by its sockets, as far as that is known; NULL: it has none yet. */
const char *instance_mode(const struct instance *instance);

/*
 * What is wrong with its sockets: "listens on :80 ..., but ...", to follow "; it ". "": nothing, as
 * far as anybody can tell. Returns @ret.
 */
char *instance_advise(const struct instance *instance, char ret[static ADVICE_TEXT_MAX]);

/* "exited with status 3", "was killed by SIGKILL", "never ran", "survives SIGKILL" */
void instance_describe_exit(const struct instance *instance, char *ret, size_t size);

/* ---- health checks --------------------------------------------------------------------------- */

/* Run them from now on, at the configured interval, until it fails or is told to leave or stop. */
void instance_check(struct instance *instance);

/*
 * End them. Also for an instance that no table names any more: its checks must not be taken for
 * connections that it has to finish.
 */
void instance_uncheck(struct instance *instance);

/* ---- sockets --------------------------------------------------------------------------------- */

/*
 * Is each socket in its slot? If one is not, its agent is asked for it, to put it back. To be
 * called every half second or so.
 */
void instance_look_slots(struct instance *instance);

/* The endpoint of its @k-th address; NULL: it is closed (instance_close_endpoint()). */
static inline struct steer *instance_endpoint(const struct instance *instance, size_t k)
{
	return wiring_endpoint(instance->wiring, &instance->config->listen[k]);
}

/*
 * The endpoint of its @k-th address is about to be closed: it has left, and its sockets there are
 * in no slot any more.
 */
void instance_close_endpoint(struct instance *instance, size_t k);

/* Free the slots of sockets that it no longer has, unless a table still names them. */
void instance_release_unused(struct instance *instance);

/*
 * To be called after a takeover, when the table is published: the agent may let go of sockets that
 * the earlier daemon has not told it to let go of.
 */
void instance_release_leftovers(struct instance *instance);

/*
 * The endpoint of its @k-th address was opened anew, for sockets of another family: those that it
 * has had there are in no slot any more, and its checks begin anew. The one that was open before
 * must still be there.
 */
void instance_change_endpoint(struct instance *instance, size_t k);

/*
 * Does an endpoint of it compete with another one (steer_share())? Then what is queued or half open
 * there cannot go to the instances that take its place.
 */
bool instance_competes(const struct instance *instance);

/*
 * Let its agent keep the sockets that must outlive the daemon (steer_beacon(), steer_anchor()), and
 * no others. To be called when they may have changed; nothing is sent if they have not.
 */
void instance_keep_sockets(struct instance *instance);

/* Have the agent report its sockets once more, if the last report was postponed. */
void instance_ask_sockets(struct instance *instance);

/*
 * A process of it was kept from binding an IPv4 socket to endpoint @k (tap_guard()). Unless it
 * serves otherwise, it has failed.
 */
void instance_refuse_ipv4(struct instance *instance, size_t k, pid_t pid, const char *comm);

/* A socket of it begins to listen (tap.h): have its agent look, which need not look by itself. */
void instance_hint(struct instance *instance);

/*
 * The same where nobody tells of that, but by looking: @print is another number than before if the
 * sockets on the service's ports are others (occupants_print()). Nothing is sent if it is not.
 */
void instance_hint_late(struct instance *instance, uint64_t print);

/* ---- connections -----------------------------------------------------------------------------
 *
 * Each returns a negative errno if the kernel could not be asked. That is not "none". They are
 * clients' connections: those of the instance's own checks are left out.
 */

/* Connections in the queues of its listening sockets; a socket that no longer listens has none. */
int instance_queued(struct instance *instance, uint32_t *ret);

/* The sum over @n instances of one service; the kernel is asked once for all of them. */
int instance_queued_many(struct instance *const *list, size_t n, uint32_t *ret);

/* The kernel's counters of its connections. -ENODATA on tiers without them. */
int instance_count(struct instance *instance, struct tap_count *ret);

/*
 * Connections that its processes have: from the counters if there are any, which costs nothing,
 * else from instance_busy().
 */
int instance_live(struct instance *instance, uint64_t *ret);

/*
 * The same, by looking at each of them, without those that have been idle for @idle_ms or longer
 * (0: with them). Takes long if there are many.
 */
int instance_busy(struct instance *instance, uint64_t idle_ms, uint64_t *ret);

/*
 * Those of @age_ms or older on which nobody has said anything yet (connections.h). Takes long if
 * there are many connections; costs nothing if the counters know of none.
 */
int instance_silent(struct instance *instance, uint64_t age_ms, uint64_t *ret);

/* The same, by what they are doing (connections.h). */
int instance_kinds(const struct instance *instance, struct connections_kinds *ret);

/* Close all that is left by a reset; *ret is how many were closed. */
int instance_cut(const struct instance *instance, uint64_t *ret, struct error *err);

/* ---- local ports of commands -----------------------------------------------------------------
 *
 * While a command of the operator's runs, connections from some local ports are pinned to certain
 * instances: from the address itself that is connected to, which for a wildcard is the loopback
 * address of its family. They are no clients' connections, also those that outlive the command.
 */

struct instance_ports;
#define INSTANCE_PORTS_MAX  LOCAL_PORTS_MAX
#define INSTANCE_PORTS_GATE 16 /* of a gate or a hook */
#define INSTANCE_PORTS_EXEC 8  /* of a check of one instance */

/*
 * Take up to @wanted ports and pin them, in turn, to those of the @n instances of @list, all of one
 * service, that listen. *@ret is NULL, and that is no failure, if none of them listens or the tier
 * cannot pin. -EADDRNOTAVAIL: the host has no port for it; -ENOSPC: too many are pinned already.
 *
 * If an instance gets other sockets its ports lead to these; if it ends they lead where all
 * connections go.
 */
int instance_ports_open(struct instance *const *list, size_t n, uint16_t wanted,
			struct instance_ports **ret, struct error *err);

/* Takes NULL. */
void instance_ports_close(struct instance_ports *ports);
DEFINE_CLEANUP(struct instance_ports *, instance_ports_close);

/* Set BATON_PROBE_PORTS and BATON_PROBE_GENERATION. NULL: they stay as they are. -ENOMEM. */
int instance_ports_tell(const struct instance_ports *ports, char ***environment);

/* For connections_each(). */
void instance_connections_of(const struct instance *instance, struct connections_of *ret);
