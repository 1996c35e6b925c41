/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * config: what the user wants, read strictly from JSON.
 *
 * Every mistake of a file is found and reported in one go, each with the file and the JSON path
 * ("/etc/baton/baton.json: services.web.health.interval: \"1x\" is not a duration"). A
 * configuration is either whole or refused: nothing is half applied. Only at a start, when there is
 * nothing that could stay as it is, services without mistakes come up beside those that have some.
 * Unknown keys are mistakes, with the nearest known key suggested if one is close.
 *
 * A top-level key "source" says what messages call the file, for programs that write one on the
 * fly: "baton run" passes its arguments in a memfd, whose mistakes are of the "command line".
 *
 * Loading looks at the host: the command must be an executable file (searched in the PATH that the
 * service will have), and the user, the group, the directory and the environment file must exist.
 * This is the one header of the folder that others include; policy.h (how a rollout is to go, for
 * pure modules) and lookup.h (where a configuration leads on this host) are parts of its manual.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/address.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/process_settings.h"
#include "common/protocol.h"
#include "orchestrator/config/lookup.h"
#include "orchestrator/config/policy.h"
#include "orchestrator/host/cgroup.h"

#define CONFIG_FILE_MAX      (1024 * 1024)
#define CONFIG_SERVICES_MAX  256
#define CONFIG_LISTEN_MAX    16
#define CONFIG_INSTANCES_MAX 16
#define CONFIG_STATUSES_MAX  8
#define CONFIG_GROUPS_MAX    64
#define CONFIG_MISTAKES_MAX  64
#define CONFIG_GATES_MAX     8
#define CONFIG_WATCH_MAX     16

/* An HTTP status, or a range of them, that counts as good. */
struct status_range {
	uint16_t first, last;
};

enum health_kind {
	HEALTH_KIND_CONNECT, /* default: the server (not only the kernel) accepts a connection */
	HEALTH_KIND_HTTP,    /* "http": "/path" */
	HEALTH_KIND_NOTIFY,  /* "notify": true: sd_notify READY=1 */
};

struct health_config {
	enum health_kind kind;
	char *path; /* HTTP: "/healthz" */
	char *host; /* HTTP: Host header; NULL: the address */
	struct status_range statuses[CONFIG_STATUSES_MAX]; /* HTTP: accepted; default 200-299 */
	size_t n_statuses;
	uint64_t interval_ms;      /* "1s" */
	uint64_t timeout_ms;       /* "2s", of one probe */
	uint32_t healthy;          /* successes in a row that make an instance healthy: 2 */
	uint32_t unhealthy;        /* failures in a row that make a healthy one unhealthy: 3 */
	uint64_t start_timeout_ms; /* "60s": a new generation healthy within, or rolled back */
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
	/* Connections without a byte in either direction for so long are not waited for. 0: all */
	uint64_t idle_timeout_ms;
	int signal;                   /* "SIGTERM" (also "TERM", "QUIT", "USR1" ...) */
	uint64_t timeout_ms;          /* "30s": of a generation that is replaced */
	uint64_t shutdown_timeout_ms; /* of one that is stopped; default: timeout */
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

struct service_config {
	char *name;
	char **command; /* NULL-terminated, at least one */
	struct address listen[CONFIG_LISTEN_MAX];
	size_t n_listen;               /* at least one */
	enum socket_mode mode;         /* "auto" */
	enum steering_choice steering; /* "auto" */
	bool sticky;                   /* false; true: a bucket by the source address alone */
	uint64_t hold_ms;              /* "0": connections that nothing can take are refused */
	enum drift_choice drift;       /* "repair" */
	int backlog;                   /* 4096 */
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

	struct health_config health;
	struct rollout_config rollout;
	struct gate_config gates[CONFIG_GATES_MAX]; /* asked in this order */
	size_t n_gates;
	struct hooks_config hooks;
	struct restart_config restart;
	char **watch; /* paths whose change begins a rollout (watch.h), NULL-terminated; or NULL */
	struct drain_config drain;
};

/* A service that config_load_start() has left out. */
struct config_refused {
	char *name;
	char **mistakes; /* a vector, not empty; its texts are those of struct config_mistakes */
	size_t total;    /* may exceed CONFIG_MISTAKES_MAX */
};

struct config {
	char *file;      /* what it was read from */
	char *api_group; /* NULL: none */
	gid_t api_gid;
	struct service_config *services; /* sorted by name */
	size_t n_services;
	struct config_refused *refused; /* sorted by name */
	size_t n_refused;
};

/* All mistakes found, in the order of the file. .total may exceed CONFIG_MISTAKES_MAX. */
struct config_mistakes {
	struct error list[CONFIG_MISTAKES_MAX];
	size_t n;
	size_t total;
};

/*
 * Read @file, then each *.json file of the folder @dropins (may be NULL) in the order of their
 * names. A service may be defined once only; a folder that does not exist has no files. @file may
 * be a memfd in /proc/self/fd or a pipe, and a folder: then its baton.json and its conf.d are read,
 * or, if it has no baton.json, each *.json file of it. -EINVAL: @ret_mistakes has what is wrong;
 * files that cannot be read are mistakes too. *ret is NULL then, and at -ENOMEM.
 */
int config_load(const char *file, const char *dropins, struct config **ret,
		struct config_mistakes *ret_mistakes);

/*
 * The same for a start: a service with mistakes is left out, and is in config->refused. One that is
 * defined twice is, too: nobody knows which is meant. A drop-in with a mistake that is not of a
 * service (it is no JSON, its "api" is bad) is left out as a whole, and so are its services.
 * Returns 0 with mistakes in @ret_mistakes then. -EINVAL as above: there is such a mistake in
 * @file, or no service is left.
 */
int config_load_start(const char *file, const char *dropins, struct config **ret,
		      struct config_mistakes *ret_mistakes);

void config_free(struct config *config);
DEFINE_CLEANUP(struct config *, config_free);

/* NULL: there is none of that name. */
const struct service_config *config_find(const struct config *config, const char *name);
const struct config_refused *config_find_refused(const struct config *config, const char *name);

/* A deep copy, or NULL without memory; free with service_config_free(). */
struct service_config *service_config_copy(const struct service_config *service);
void service_config_free(struct service_config *service);
DEFINE_CLEANUP(struct service_config *, service_config_free);

/*
 * Give @config the policies of @from by which it is to come and go: rollout, gates, hooks and
 * drain. Not health: which answers are good depends on the release. On -ENOMEM @config is as it
 * was.
 */
int service_config_take_policies(struct service_config *config, const struct service_config *from);

/*
 * Would no rollout be needed to go from @a to @b? What is compared is what a generation is made of:
 * name, command, listen, mode, backlog, nonblocking, user, group, directory, process, resources and
 * the environment with its file.
 *
 * Policies are not compared: rollout, restart, watch, drain, hold and drift count as soon as they
 * are known; health, gates and hooks from the next rollout on (a generation keeps the checks it was
 * started with). Instances are not compared, either: they are scaled. Nor are steering and sticky:
 * they belong to the open endpoints, and no rollout changes those. Whoever reloads must look at
 * them.
 */
bool service_config_same_release(const struct service_config *a, const struct service_config *b);

/* Do both have the addresses and the user that make one reuseport group of their sockets? */
bool service_config_same_group(const struct service_config *a, const struct service_config *b);

/*
 * What the file says of the command and the environment, as a number: the same for the same, in
 * each version of baton. An upgrade's override holds for as long as it does not change.
 */
uint64_t service_config_base(const struct service_config *service);

/* "SIGTERM" or "TERM" -> SIGTERM; 0: there is no such signal. */
int config_signal_parse(const char *text);

/* And back: "SIGTERM"; "none". */
const char *config_signal_name(int signal);
