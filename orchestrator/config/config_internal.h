/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * config_internal: what the files of the config module share.
 *
 *	config.c		files, the whole
 *	config_copy.c		copies of services, and whether two are the same
 *	config_read.c		values of each type, by tables of keys
 *	config_keys.c		the tables: which keys there are, and what each may be
 *	config_checks.c		the same for "health": its checks, together
 *	config_health.c		one of them, and HTTP statuses
 *	config_policies.c	for "rollout", "drain", "restart" and "watch"
 *	config_actions.c	for "gates" and "hooks"
 *	config_process.c	for what a process is given, from "limits" to "stderr"
 *	config_resources.c	for "resources"
 *	config_account.c	user and groups
 *	config_files.c		what the host must have: directory, environment, programs
 *	config_placeholders.c	{fd}, {generation} and {instance} where they stand for nothing
 *	config_check.c		what needs more than one key
 *	config_signal.c		names of signals
 *
 * A function that finds a mistake calls config_mistake(), goes on, and returns 0. A negative errno
 * stands for something that ends the reading (-ENOMEM).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orchestrator/config/config.h"

#define CONFIG_JSON_PATH_MAX 256
#define CONFIG_ARGUMENTS_MAX 1024
#define CONFIG_VARIABLES_MAX 1024
#define CONFIG_DROPINS_MAX   4096

/* The mistakes of one service, or of one file; kept by a lenient reading only. */
struct config_complaints {
	char **texts; /* a vector of at most CONFIG_MISTAKES_MAX; NULL: none */
	size_t total;
};

/* A service while it is being read, with what is needed only meanwhile. */
struct config_draft {
	struct service_config service;
	struct config_complaints complaints;
	char *source;                            /* the file it is from, as messages call it */
	bool listen_is_text;                     /* "listen" is one string, not an array */
	uint8_t listen_index[CONFIG_LISTEN_MAX]; /* place in the array of each good endpoint */
	bool health_is_array;                    /* "health" is an array, not one object */
	bool listen_bad;                         /* some of "listen" was not understood */
	bool drain_signal_given;
	bool drain_delay_given;
	bool hold_given;
	/* mistakes there already */
	bool directory_bad, command_bad, environment_bad, instances_bad, rollout_bad;
};

/* One check of "health", likewise. */
struct config_check {
	struct health_config health;
	uint64_t start_timeout_ms;  /* 0: it says none */
	bool notify;                /* it is true */
	bool tls_given, tls_verify; /* "tls" */
	const char *question;       /* "http", "https" or "http2" */
};

struct config_reading {
	struct config *config;
	struct config_mistakes *mistakes;
	const char *source;            /* what messages call the file that is being read */
	bool lenient;                  /* mistakes are kept by service, and by file: */
	struct config_draft *draft;    /* the service that is being read; NULL: none */
	struct config_complaints file; /* what is wrong with the file, but with no service of it */
	bool unusable;                 /* ... and that file is the main one */
	bool no_memory;                /* some could not be kept */
	char *api_source;              /* the file "api.group" was in */
	char *rollouts_source;         /* ... and "rollouts_max" */
	struct config_draft *drafts[CONFIG_SERVICES_MAX];
	size_t n_drafts;
};

/* "SOURCE: PATH: <formatted>" is added to the mistakes; bytes that could upset a terminal become
 * "?". */
void config_mistake(struct config_reading *reading, const char *path, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- config_read.c -------------------------------------------------------------------------- */

/* One word of a choice, and the value of the enum that it stands for. */
struct config_word {
	const char *word;
	unsigned value;
};

struct config_key {
	const char *name;
	/* Read @value into @object at .offset. */
	int (*read)(struct config_reading *reading, const char *path, json_t *value,
		    const struct config_key *key, void *object);
	size_t offset;
	uint64_t min, max;               /* config_read_count, config_read_duration */
	const struct config_word *words; /* config_read_word; ends with a NULL word */
	bool required;
};

struct config_table {
	const struct config_key *keys;
	size_t n;
};

#define CONFIG_TABLE(keys_)                                                                        \
	{                                                                                          \
		.keys = (keys_), .n = sizeof(keys_) / sizeof((keys_)[0])                           \
	}

/* The path of the member @name of @path, in @ret; cut if it is too long. */
void config_path(const char *path, const char *name, char ret[static CONFIG_JSON_PATH_MAX]);
void config_path_index(const char *path, size_t index, char ret[static CONFIG_JSON_PATH_MAX]);

/* Read the object @value by @table into @object; everything in it that is no key is a mistake. */
int config_read_object(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_table *table, void *object);

typedef int config_reader(struct config_reading *reading, const char *path, json_t *value,
			  const struct config_key *key, void *object);

config_reader config_read_ignored_text; /* checked to be a string */
config_reader config_read_text;         /* char *; not empty */
config_reader config_read_account;      /* the same, of a string or a whole number */
config_reader config_read_bool;         /* bool */
config_reader config_read_count;        /* uint32_t within min and max */
config_reader config_read_duration;     /* uint64_t in ms within min and max */
config_reader config_read_word;         /* an enum: one of .words */
config_reader config_read_command;      /* char **: program and arguments; NULL after a mistake */

/* What @text is among @words; NULL, and a mistake: it is none of them. */
const struct config_word *config_find_word(struct config_reading *reading, const char *path,
					   const char *text, const struct config_word *words);

/* And back; NULL: no word has that value. */
const char *config_word_of(const struct config_word *words, unsigned value);

/* Called for each string of a list, which is not empty. */
typedef int config_string_reader(struct config_reading *reading, const char *path, const char *text,
				 void *object);

enum config_strings {
	CONFIG_LIST,        /* an array */
	CONFIG_ONE_OR_MORE, /* or one string alone */
};

/* At most @max of them. */
int config_read_strings(struct config_reading *reading, const char *path, json_t *value,
			enum config_strings form, size_t max, config_string_reader *each,
			void *object);

/* Digits alone, at least one, that are at most @max. */
bool config_parse_digits(const char *text, size_t length, uint64_t max, uint64_t *ret);

/* Nothing in it that could end a line of a request or hide in it? */
bool config_is_plain(const char *text);

void config_wrong_type(struct config_reading *reading, const char *path, const char *expected,
		       const json_t *value);

/* ---- the tables and their checks ------------------------------------------------------------ */

#define CONFIG_SECOND_MS 1000ULL
#define CONFIG_MINUTE_MS (60 * CONFIG_SECOND_MS)
#define CONFIG_HOUR_MS   (60 * CONFIG_MINUTE_MS)
#define CONFIG_DAY_MS    (24 * CONFIG_HOUR_MS)

/* Where a key of a service is stored. */
#define DRAFT(member_) .offset = offsetof(struct config_draft, member_)

/* The objects of these names; @object is the draft. */
config_reader config_read_health, config_read_rollout, config_read_drain, config_read_restart;
config_reader config_read_gates, config_read_hooks, config_read_limits, config_read_resources;

/* The path of the check @k in ret, where that of "health" is @path. */
void config_check_path(const char *path, const struct config_draft *draft, size_t k,
		       char ret[static CONFIG_JSON_PATH_MAX]);

/* What a check by a command excludes. */
void config_check_health_exec(struct config_reading *reading, const char *path,
			      const struct config_check *draft);

/* Values of one key of a service; @object is the draft. */
config_reader config_read_watch, config_read_supplementary_groups, config_read_umask,
	config_read_nice, config_read_capabilities, config_read_oom_score_adjust,
	config_read_stdout, config_read_stderr;

/* One check, as one object. @draft has the defaults, and what is read belongs to the caller. */
int config_read_check(struct config_reading *reading, const char *path, json_t *value,
		      struct config_check *draft);

/* The HTTP statuses that count as good, one or an array, added to the *n there are. */
void config_read_statuses(struct config_reading *reading, const char *path, json_t *value,
			  struct status_range ranges[static CONFIG_STATUSES_MAX], size_t *n);

/* 200 to 299, if there are none. */
void config_default_statuses(struct status_range ranges[static CONFIG_STATUSES_MAX], size_t *n);

/* "canary" */
const char *config_strategy_name(enum rollout_strategy strategy);

/* Read one file's content into the drafts. */
int config_read_root(struct config_reading *reading, json_t *root);

void config_draft_free(struct config_draft *draft);
DEFINE_CLEANUP(struct config_draft *, config_draft_free);

/* Look up its user and groups; @path is that of the service. */
int config_check_account(struct config_reading *reading, const char *path,
			 struct service_config *service);

/*
 * Look up its directory, environment and programs with the very functions that start a generation,
 * so that a configuration that was accepted can be run, as far as that can be known.
 */
int config_check_files(struct config_reading *reading, const char *path,
		       struct config_draft *draft);

/*
 * Has the service the addresses that its checks ask? If nothing is said of "health", a check that
 * connects is put there.
 */
int config_check_checks(struct config_reading *reading, const char *path,
			struct config_draft *draft);

/*
 * Placeholders that nothing stands for where they are. @environment is the service's whole one;
 * NULL: it is not known.
 */
void config_check_placeholders(struct config_reading *reading, const char *path,
			       const struct config_draft *draft, char *const *environment);

/* Are sockets made for it, and passed? */
static inline bool config_passes_sockets(const struct service_config *service)
{
	return service->mode != SOCKETS_NATIVE && service->mode != SOCKETS_TRANSPARENT;
}

/*
 * Look the service up on the host (user, directory, environment file, program), fill in what is
 * found, and compare its endpoints with those read before.
 */
int config_check_service(struct config_reading *reading, const char *path,
			 struct config_draft *draft);

/* ---- config_signal.c ------------------------------------------------------------------------ */

/* Why @signal cannot ask a server to drain; NULL: it can. */
const char *config_signal_unfit(int signal);

/* ---- config_copy.c -------------------------------------------------------------------------- */

/* Free the contents, not the struct itself. */
void health_config_done(struct health_config *check);
void service_config_done(struct service_config *service);
