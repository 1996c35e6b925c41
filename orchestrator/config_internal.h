/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * config_internal: what the files of the config module share.
 *
 *	config.c	files, the whole, copies
 *	config_read.c	values of each type, by tables of keys
 *	config_keys.c	the tables: which keys there are, and what each may be
 *	config_policies.c	the same for "health", "rollout" and "drain"
 *	config_check.c	what needs more than one key, or the host
 *	config_signal.c	names of signals
 *
 * Whoever finds a mistake calls config_mistake() and goes on. The functions return 0 also then; a
 * negative errno stands for something that ends the reading (-ENOMEM).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orchestrator/config.h"

#define CONFIG_JSON_PATH_MAX 256
#define CONFIG_ARGUMENTS_MAX 1024
#define CONFIG_VARIABLES_MAX 1024
#define CONFIG_DROPINS_MAX   256

/* A service while it is being read, with what is needed only meanwhile. */
struct config_draft {
	struct service_config service;
	char *source;                            /* the file it is from, as messages call it */
	bool listen_is_text;                     /* "listen" is one string, not an array */
	uint8_t listen_index[CONFIG_LISTEN_MAX]; /* place in the array of each good endpoint */
	bool notify;                             /* health.notify is true */
	bool drain_signal_given;
	bool directory_bad, command_bad, environment_bad; /* mistakes there already */
};

struct config_reading {
	struct config *config;
	struct config_mistakes *mistakes;
	const char *source; /* what messages call the file that is being read */
	char *api_source;   /* the file "api.group" was in */
	struct config_draft *drafts[CONFIG_SERVICES_MAX];
	size_t n_drafts;
};

/* "SOURCE: PATH: <formatted>" is added to the mistakes; bytes that could upset a terminal become
 * "?". */
void config_mistake(struct config_reading *reading, const char *path, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- config_read.c -------------------------------------------------------------------------- */

/*
 * One word of a choice, and the value of the enum that it stands for. .instead: known, but refused
 * with the hint to use that.
 */
struct config_word {
	const char *word;
	unsigned value;
	const char *instead;
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

/* The path of the member @name of @path; a copy in @ret, cut where it is too long. */
void config_path(const char *path, const char *name, char ret[static CONFIG_JSON_PATH_MAX]);
void config_path_index(const char *path, size_t index, char ret[static CONFIG_JSON_PATH_MAX]);

/* Read the object @value by @table into @object; everything in it that is no key is a mistake. */
int config_read_object(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_table *table, void *object);

typedef int config_reader(struct config_reading *reading, const char *path, json_t *value,
			  const struct config_key *key, void *object);

config_reader config_read_ignored_text; /* checked to be a string */
config_reader config_read_text;         /* char *; not empty */
config_reader config_read_bool;         /* bool */
config_reader config_read_count;        /* uint32_t within min and max */
config_reader config_read_duration;     /* uint64_t in ms within min and max */
config_reader config_read_word;         /* an enum: one of .words */
config_reader config_read_ignored_word; /* checked to be one of .words */

void config_wrong_type(struct config_reading *reading, const char *path, const char *expected,
		       const json_t *value);

/* ---- config_keys.c, config_policies.c, config_check.c --------------------------------------- */

#define CONFIG_SECOND_MS 1000ULL
#define CONFIG_MINUTE_MS (60 * CONFIG_SECOND_MS)
#define CONFIG_HOUR_MS   (60 * CONFIG_MINUTE_MS)
#define CONFIG_DAY_MS    (24 * CONFIG_HOUR_MS)

/* Where a key of a service is stored. */
#define DRAFT(member_) .offset = offsetof(struct config_draft, member_)

/* The objects of these names; @object is the draft. */
config_reader config_read_health, config_read_rollout, config_read_drain;

/* Read one file's content into the drafts. */
int config_read_root(struct config_reading *reading, json_t *root);

struct config_draft *config_draft_new(const char *name, const char *source);
void config_draft_free(struct config_draft *draft);
DEFINE_CLEANUP(struct config_draft *, config_draft_free);

/* Keys of "health" that contradict each other; also sets its kind. @path is that of "health". */
void config_check_health(struct config_reading *reading, const char *path,
			 struct config_draft *draft);

/*
 * Look the service up on the host (user, directory, environment file, program), fill in what is
 * found, and compare its endpoints with those read before.
 */
int config_check_service(struct config_reading *reading, const char *path,
			 struct config_draft *draft);

/* ---- config_signal.c ------------------------------------------------------------------------ */

/* Why @signal cannot ask a server to drain; NULL where it can. */
const char *config_signal_unfit(int signal);

/* ---- config.c ------------------------------------------------------------------------------- */

/* Free the contents, not the struct itself. */
void service_config_done(struct service_config *service);
