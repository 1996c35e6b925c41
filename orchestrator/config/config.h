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
 * This is the one header of the folder that others include; service_config.h (what is configured of
 * a service), policy.h (how a rollout is to go, for pure modules) and lookup.h (where a
 * configuration leads on this host) are parts of its manual.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/config/lookup.h"
#include "orchestrator/config/service_config.h"

#define CONFIG_FILE_MAX     (16 * 1024 * 1024)
#define CONFIG_SERVICES_MAX 4096
#define CONFIG_ROLLOUTS_MAX 4096 /* that "rollouts_max" can be */
#define CONFIG_MISTAKES_MAX 64

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
	uint32_t rollouts_max; /* services that start servers at a time; 0: by processors */
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

/* What people call its kind, as in the file: "https". */
const char *health_config_name(const struct health_config *check);

/* Does it ask at an address of the service? Else it is told, or looks elsewhere. */
bool health_config_asks(const struct health_config *check);

/* Which address of @service the check asks; .n_listen: none, or one that @service has not. */
size_t service_config_asked(const struct service_config *service,
			    const struct health_config *check);

const char *service_config_id(const struct service_config *service);

/* Call it @name, and what outlives a daemon @id. On -ENOMEM nothing has changed. */
int service_config_rename(struct service_config *service, const char *name, const char *id);

/*
 * Would no rollout be needed to go from @a to @b? What is compared is what a generation is made of:
 * name, command, listen, mode, backlog, nonblocking, user, group, directory, process, resources and
 * the environment with its file.
 *
 * Policies are not compared: rollout, restart, watch, drain, hold, drift and agent_lost count as
 * soon as they are known; health, gates and hooks from the next rollout on (a generation keeps the
 * checks it was started with). Instances are not compared, either: they are scaled. Nor are
 * steering and sticky: they belong to the open endpoints, and no rollout changes those. Whoever
 * reloads must look at them.
 */
bool service_config_same_release(const struct service_config *a, const struct service_config *b);

/*
 * What the file says of the command and the environment, as a number: the same for the same, in
 * each version of baton. An upgrade's override holds for as long as it does not change.
 */
uint64_t service_config_base(const struct service_config *service);

/* "SIGTERM" or "TERM" -> SIGTERM; 0: there is no such signal. */
int config_signal_parse(const char *text);

/* And back: "SIGTERM"; "none". */
const char *config_signal_name(int signal);

/*
 * Tell a command of the operator's the addresses of @service, in variables: BATON_LISTEN, the first
 * as it is declared; BATON_CONNECT, the first as a client on this host connects to it; all of them,
 * with blanks between, in BATON_LISTEN_ALL and BATON_CONNECT_ALL. -ENOMEM.
 */
int config_tell_addresses(const struct service_config *service, char ***environment);
