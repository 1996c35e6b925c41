/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_config: what the user wants of one service, as plain structs. config.h reads and frees
 * them; others include that.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/address.h"
#include "common/as_user.h"
#include "common/process_settings.h"
#include "common/protocol.h"
#include "orchestrator/config/policy.h"
#include "orchestrator/host/cgroup.h"

#define CONFIG_LISTEN_MAX    16
#define CONFIG_INSTANCES_MAX 256
#define CONFIG_STATUSES_MAX  8
#define CONFIG_GROUPS_MAX    64
#define CONFIG_GATES_MAX     64
#define CONFIG_WATCH_MAX     16
#define CONFIG_CHECKS_MAX    64

/* An HTTP status, or a range of them, that counts as good. */
struct status_range {
	uint16_t first, last;
};

enum health_kind {
	HEALTH_KIND_CONNECT, /* default: the server (not only the kernel) accepts a connection */
	HEALTH_KIND_HTTP,    /* "http": "/path" */
	HEALTH_KIND_NOTIFY,  /* "notify": true: sd_notify READY=1 */
	HEALTH_KIND_EXEC,    /* "exec": ["/path", ...]: exit status 0 */
};

/* One check. */
struct health_config {
	enum health_kind kind;
	struct address listen; /* which address of the service is asked; .length 0: the first */
	char *path;            /* HTTP: "/healthz" */
	char *host;            /* HTTP: Host header; NULL: the address */
	char *method;          /* HTTP: NULL: "GET" */
	char **headers;        /* HTTP: "NAME: VALUE", NULL-terminated; NULL: none besides */
	char *body; /* HTTP: extended regular expression that the answer's body has to match */
	bool http2; /* "http2" and "grpc": by prior knowledge, over TLS by ALPN */
	/*
	 * "grpc": HTTP with a path, a body and an answer of its own (grpc.h): NULL: it is none; "":
	 * the server as a whole is asked for.
	 */
	char *grpc_service;
	bool follow; /* HTTP: redirects within the endpoint */
	/* HTTP: TLS. Without a name that of the host, else the address; without a CA the system's.
	 */
	bool tls, tls_unverified;
	char *tls_name, *tls_ca;
	char **exec;             /* EXEC: the command, with placeholders (expand.h) */
	uint32_t proxy_protocol; /* the version of the PROXY header that is sent first; 0: none */
	struct status_range statuses[CONFIG_STATUSES_MAX]; /* HTTP: accepted; default 200-299 */
	size_t n_statuses;
	uint64_t interval_ms; /* "1s" */
	uint64_t timeout_ms;  /* "2s", of one probe */
	uint32_t healthy;     /* successes in a row that make an instance healthy: 2 */
	uint32_t unhealthy;   /* failures in a row that make a healthy one unhealthy: 3 */
};

/* "health": an instance is healthy while all of these are. */
struct checks_config {
	struct health_config *list; /* in their order; at least one */
	size_t n;
	/* "60s": a new generation healthy within, or rolled back; the longest that a check says */
	uint64_t start_timeout_ms;
};

/* "rollout"; rollout.h says what most of it means. */
struct rollout_config {
	enum rollout_strategy strategy;      /* "blue-green" */
	uint32_t max_surge, max_unavailable; /* rolling: 1, 0 */
	struct rollout_weight
		steps[ROLLOUT_STEPS_MAX]; /* canary: [{"weight": 10, "hold": "1m"}, ...] */
	size_t n_steps;                   /* a last one of 100 is added if it is missing */
	uint64_t promote_timeout_ms;      /* "24h": then what waits is rolled back */
	uint64_t bake_ms;                 /* "0" */
	uint64_t settle_timeout_ms; /* "2s": how long the old one may take to empty its queue */
	bool gap; /* stop-first: connections may be refused if the tier cannot hold them */
};

/* One of "gates": a question that is asked before a rollout goes on (gates.h). */
struct gate_config {
	char *name;  /* what messages call it; default: the program's name, or the URL */
	unsigned at; /* ["shift", "step", "leave"]: enum rollout_gate; default: all */
	char **exec; /* ["/path", ...]: exit status 0 goes on, 1 rolls back, 2 pauses */
	char *http;  /* or "http://host/path": its status decides */
	struct status_range statuses[CONFIG_STATUSES_MAX]; /* "status"; default 200-299 */
	size_t n_statuses;
	uint64_t timeout_ms; /* "30s": then it counts as refused */
	/*
	 * "min_connections", 1: at "step" and "leave" the gate is unsure, and not asked, if the new
	 * generation has had fewer connections since it was shifted to.
	 */
	uint32_t min_connections;
};

/* Commands of the operator's, run on the way (command.h). */
enum hook_point {
	HOOK_BEFORE_START, /* if it fails nothing is started */
	HOOK_AFTER_SHIFT,
	HOOK_AFTER_DRAIN,
	HOOK_ON_ROLLBACK,
	HOOK_ON_FAILURE,
	_HOOK_COUNT,
};

/* "hooks": {"before_start": ["/path", "argument"], "timeout": "30s"} */
struct hooks_config {
	char **command[_HOOK_COUNT]; /* NULL: none */
	uint64_t timeout_ms;         /* of each: "30s" */
};

/* "restart": how what has crashed or turned unhealthy is started again. */
struct restart_config {
	uint32_t max;       /* 5 in */
	uint64_t window_ms; /* "1m" */
	uint64_t delay_ms;  /* "100ms" before the first; doubles with each, up to 50 times that */
};

enum drain_wait {
	/*
	 * "exit", the default: the instance leaves the group and is told to drain by the signal.
	 * The drain is over when it has no connections or has exited.
	 */
	DRAIN_WAIT_EXIT,
	/*
	 * "connections", for servers that cannot drain: new connections are steered away. Nothing
	 * is sent and nothing closed until its connections have ended; then it is stopped.
	 */
	DRAIN_WAIT_CONNECTIONS,
};

struct drain_config {
	enum drain_wait wait;
	/*
	 * Connections that have been idle for so long (connections.h) are not waited for. 0: all
	 * are.
	 */
	uint64_t idle_timeout_ms;
	int signal; /* "SIGTERM" (also "TERM", "QUIT", "USR1" ...) */
	/*
	 * "auto": before the signal, connections that were accepted and on which nobody has said
	 * anything yet get time to do so, .delay_max_ms at most. Else so long passes anyway.
	 */
	bool delay_auto;
	uint64_t delay_ms;            /* while not .delay_auto; 0: the signal is sent at once */
	uint64_t delay_max_ms;        /* "2s" */
	uint64_t timeout_ms;          /* "30s": of a generation that is replaced */
	uint64_t shutdown_timeout_ms; /* of one that is stopped; default: timeout */
	bool expect_cut;              /* false; true: it is no failure if connections are cut */
	bool force; /* false; true: what is left at the deadline is reset (SOCK_DESTROY) */
	uint32_t generations_max;  /* 4: generations alive at once, the one that serves included */
	uint64_t kill_timeout_ms;  /* "5s" */
	uint64_t leave_timeout_ms; /* "1s": then listening sockets are shut down */
};

/* What a service asks of the steering; see steer.h for the tiers. */
enum steering_choice {
	STEERING_AUTO, /* the highest tier that works here */
	STEERING_EBPF,
	STEERING_CBPF,
	STEERING_HASH,
};

/* What to do if something in the group replaces baton's program. */
enum drift_choice {
	DRIFT_REPAIR, /* attach ours again, and say so */
	DRIFT_REPORT, /* only say so */
};

/* What to do about an instance whose agent was killed, once another agent looks after it. */
enum agent_lost_choice {
	AGENT_LOST_ADOPT,   /* nothing: its server goes on */
	AGENT_LOST_REPLACE, /* replace it by a rollout of this one instance */
};

struct service_config {
	char *name;
	/*
	 * What all that outlives a daemon calls the service: its agents, cgroups, pins, notes. It
	 * stays when the service is renamed. NULL: as .name says. See service_config_id().
	 */
	char *id;
	char **command; /* NULL-terminated, at least one */
	struct address listen[CONFIG_LISTEN_MAX];
	size_t n_listen;                   /* at least one */
	enum socket_mode mode;             /* "auto" */
	enum steering_choice steering;     /* "auto" */
	bool sticky;                       /* false; true: a bucket by the source address alone */
	uint64_t hold_ms;                  /* "0": connections that nothing can take are refused */
	enum drift_choice drift;           /* "repair" */
	enum agent_lost_choice agent_lost; /* "adopt" */
	int backlog;                       /* 4096 */
	bool backlog_set;                  /* it is in the file */
	bool nonblocking; /* the sockets are passed with O_NONBLOCK set; false, as under systemd */
	uint32_t instances;

	char *user;  /* NULL: the daemon's own; then the ids below are the daemon's */
	char *group; /* NULL: the user's */
	bool set_ids;
	uid_t uid;
	gid_t gid;
	char **supplementary_groups; /* names, NULL-terminated; NULL: none besides the user's own */
	gid_t groups[CONFIG_GROUPS_MAX];
	size_t n_groups;
	char *home, *shell; /* of the user */

	char *directory;          /* NULL: "/" */
	char **environment;       /* "NAME=value", NULL-terminated, sorted; may be empty */
	char *environment_file;   /* NULL: none */
	bool environment_inherit; /* start from the daemon's environment ("baton run") */

	struct process_settings process; /* "limits", "umask", "nice", "no_new_privileges", ... */
	struct cgroup_limits resources;  /* "resources" */

	struct checks_config health;
	struct rollout_config rollout;
	struct gate_config *gates; /* asked in this order; NULL: none */
	size_t n_gates;
	struct hooks_config hooks;
	struct restart_config restart;
	char **watch; /* paths whose change begins a rollout (watch.h), NULL-terminated; or NULL */
	uint64_t watch_settle_ms; /* "500ms": that nothing moves for so long ends a change */
	struct drain_config drain;
};

/* Whose rights the service's files are opened with if not root's (path_open.h). Borrows. */
static inline struct as_user service_config_user(const struct service_config *service)
{
	return (struct as_user){.uid = service->uid,
				.gid = service->gid,
				.groups = service->groups,
				.n_groups = service->n_groups};
}
