/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/capability_sets.h"
#include "common/expand.h"
#include "common/vector.h"
#include "orchestrator/host/file.h"

#define UNLIMITED      "unlimited"
#define LIMIT_TEXT_MAX 24
#define UMASK_MAX      0777

/* The whole number in a file of /proc; @otherwise if there is none. */
static long long number_of(const char *file, long long otherwise)
{
	cleanup_free char *text = NULL;
	long long number;

	if (file_read(file, 64, &text, NULL) < 0 || sscanf(text, "%lld", &number) != 1)
		return otherwise;
	return number;
}

/* Its servers, that is: the daemon itself does without what it has no use for. */
static bool has_capability(int capability)
{
	return capability_sets_of_children() & PRIVILEGE(capability);
}

/* ---- limits --------------------------------------------------------------------------------- */

static const char *limit_text(uint64_t value, char buffer[static LIMIT_TEXT_MAX])
{
	if (value == PROCESS_UNLIMITED)
		return UNLIMITED;
	snprintf(buffer, LIMIT_TEXT_MAX, "%llu", (unsigned long long)value);
	return buffer;
}

/* Half of "SOFT:HARD", which may be "unlimited". */
static bool parse_part(const char *text, size_t length, uint64_t *ret)
{
	if (length == strlen(UNLIMITED) && strncmp(text, UNLIMITED, length) == 0) {
		*ret = PROCESS_UNLIMITED;
		return true;
	}
	return config_parse_digits(text, length, PROCESS_UNLIMITED - 1, ret);
}

static bool parse_limit(const char *text, struct process_limit *ret)
{
	size_t n = strcspn(text, ":");

	if (strcmp(text, UNLIMITED) == 0)
		ret->soft = ret->hard = PROCESS_UNLIMITED;
	else if (!text[n] || !parse_part(text, n, &ret->soft) ||
		 !parse_part(text + n + 1, strlen(text + n + 1), &ret->hard))
		return false;
	return true;
}

/* What setrlimit(2) would refuse when the server is started. */
static void check_limit(struct config_reading *reading, const char *path, int resource,
			const struct process_limit *limit)
{
	char soft[LIMIT_TEXT_MAX], hard[LIMIT_TEXT_MAX];
	struct rlimit own;

	if (limit->soft > limit->hard) {
		config_mistake(reading, path, "the soft limit (%s) is above the hard one (%s)",
			       limit_text(limit->soft, soft), limit_text(limit->hard, hard));
		return;
	}
	if (resource == RLIMIT_NOFILE) {
		long long most = number_of("/proc/sys/fs/nr_open", LLONG_MAX);

		if (limit->hard > (uint64_t)most) {
			config_mistake(reading, path,
				       "%s is more than the kernel allows (fs.nr_open is %lld)",
				       limit_text(limit->hard, hard), most);
			return;
		}
	}
	if (getrlimit(resource, &own) == 0 && limit->hard > own.rlim_max &&
	    !has_capability(CAP_SYS_RESOURCE))
		config_mistake(reading, path,
			       "only a daemon with CAP_SYS_RESOURCE can raise its own hard limit, "
			       "which is %s, and this one does not have it",
			       limit_text(own.rlim_max, hard));
}

static int read_limit(struct config_reading *reading, const char *path, json_t *value,
		      const struct config_key *key, void *object)
{
	struct process_settings *process = &((struct config_draft *)object)->service.process;
	struct process_limit *limit = &process->limits[key->offset];
	json_int_t number = json_integer_value(value);

	if (json_is_integer(value) && number >= 0) {
		limit->soft = limit->hard = (uint64_t)number;
	} else if (json_is_integer(value)) {
		config_mistake(reading, path, "%lld is out of range (0 or more, or \"unlimited\")",
			       (long long)number);
		return 0;
	} else if (!json_is_string(value)) {
		config_wrong_type(reading, path,
				  "a whole number, \"unlimited\" or \"SOFT:HARD\" of them", value);
		return 0;
	} else if (!parse_limit(json_string_value(value), limit)) {
		config_mistake(reading, path,
			       "\"%s\" is not a limit (expected a whole number, \"unlimited\" or "
			       "\"SOFT:HARD\" of them: \"1024:unlimited\")",
			       json_string_value(value));
		return 0;
	}
	limit->set = true;
	check_limit(reading, path, (int)key->offset, limit);
	return 0;
}

/* Their names are those of process_limit_name(); the .offset is the number of the limit. */
int config_read_limits(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_key *key, void *object)
{
	struct config_key keys[PROCESS_LIMITS_MAX];
	struct config_table table = {.keys = keys};

	(void)key;
	for (int i = 0; i < PROCESS_LIMITS_MAX; i++)
		if (process_limit_name(i))
			keys[table.n++] = (struct config_key){
				.name = process_limit_name(i),
				.read = read_limit,
				.offset = (size_t)i,
			};
	return config_read_object(reading, path, value, &table, object);
}

/* ---- one number each ------------------------------------------------------------------------ */

int config_read_umask(struct config_reading *reading, const char *path, json_t *value,
		      const struct config_key *key, void *object)
{
	struct config_draft *draft = object;
	const char *text = json_string_value(value);
	unsigned mask = 0;
	int n = 0;

	(void)key;
	/* Not a number: JSON has no octal ones, and 22 would be another mask than 0022. */
	if (!text)
		config_wrong_type(reading, path, "an octal number as a string (\"0022\")", value);
	else if (strspn(text, "01234567") != strlen(text) || strlen(text) > 4 ||
		 sscanf(text, "%o%n", &mask, &n) != 1 || mask > UMASK_MAX)
		config_mistake(reading, path,
			       "\"%s\" is not a mask (expected an octal number up to \"0777\")",
			       text);
	else
		draft->service.process.umask = (mode_t)mask;
	return 0;
}

/* False, and a mistake: @value is no number from @min to @max. */
static bool read_signed(struct config_reading *reading, const char *path, const json_t *value,
			int min, int max, int *ret)
{
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value)) {
		config_wrong_type(reading, path, "a whole number", value);
		return false;
	}
	if (number < min || number > max) {
		config_mistake(reading, path, "%lld is out of range (%d to %d)", (long long)number,
			       min, max);
		return false;
	}
	*ret = (int)number;
	return true;
}

/* How low a process without CAP_SYS_NICE may set its nice value (setpriority(2)). */
static int least_nice(void)
{
	int own = getpriority(PRIO_PROCESS, 0), least;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NICE, &limit) < 0 || limit.rlim_cur == 0)
		return own;
	least = limit.rlim_cur >= 40 ? -20 : 20 - (int)limit.rlim_cur;
	return least < own ? least : own;
}

int config_read_nice(struct config_reading *reading, const char *path, json_t *value,
		     const struct config_key *key, void *object)
{
	struct process_settings *process = &((struct config_draft *)object)->service.process;

	(void)key;
	process->nice_set = read_signed(reading, path, value, -20, 19, &process->nice);
	if (process->nice_set && process->nice < least_nice() && !has_capability(CAP_SYS_NICE))
		config_mistake(reading, path,
			       "only a daemon with CAP_SYS_NICE can go below %d, and this one does "
			       "not have it",
			       least_nice());
	return 0;
}

int config_read_oom_score_adjust(struct config_reading *reading, const char *path, json_t *value,
				 const struct config_key *key, void *object)
{
	struct process_settings *process = &((struct config_draft *)object)->service.process;
	int own = (int)number_of("/proc/self/oom_score_adj", -1000);

	(void)key;
	process->oom_score_adjust_set =
		read_signed(reading, path, value, -1000, 1000, &process->oom_score_adjust);
	if (process->oom_score_adjust_set && process->oom_score_adjust < own &&
	    !has_capability(CAP_SYS_RESOURCE))
		config_mistake(reading, path,
			       "only a daemon with CAP_SYS_RESOURCE can go below its own, which is "
			       "%d, and this one does not have it",
			       own);
	return 0;
}

/* ---- capabilities --------------------------------------------------------------------------- */

static int read_capability(struct config_reading *reading, const char *path, const char *text,
			   void *object)
{
	struct process_settings *process = object;
	int capability = process_capability_parse(text);

	if (capability < 0)
		config_mistake(reading, path,
			       "\"%s\" is not a capability (expected a name such as "
			       "\"CAP_NET_BIND_SERVICE\")",
			       text);
	else if (geteuid() == 0 && prctl(PR_CAPBSET_READ, capability, 0, 0, 0) != 1)
		config_mistake(reading, path, "the daemon does not have %s, so it cannot be kept",
			       process_capability_name(capability));
	else
		process->capabilities |= 1ULL << capability;
	return 0;
}

int config_read_capabilities(struct config_reading *reading, const char *path, json_t *value,
			     const struct config_key *key, void *object)
{
	struct process_settings *process = &((struct config_draft *)object)->service.process;

	(void)key;
	process->capabilities_set = true;
	if (geteuid() != 0)
		config_mistake(reading, path,
			       "only a daemon that runs as root can say which capabilities are "
			       "kept (this one runs as uid %u)",
			       geteuid());
	return config_read_strings(reading, path, value, CONFIG_LIST, CAPABILITIES_MAX,
				   read_capability, process);
}

/* ---- groups --------------------------------------------------------------------------------- */

static int read_group(struct config_reading *reading, const char *path, const char *text,
		      void *object)
{
	struct config_draft *draft = object;
	char *copy = strdup(text);

	(void)reading;
	(void)path;
	return copy ? vector_append(&draft->service.supplementary_groups, copy) : -ENOMEM;
}

int config_read_supplementary_groups(struct config_reading *reading, const char *path,
				     json_t *value, const struct config_key *key, void *object)
{
	struct service_config *service = &((struct config_draft *)object)->service;
	size_t before = reading->mistakes->total;
	int r;

	(void)key;
	r = config_read_strings(reading, path, value, CONFIG_LIST, CONFIG_GROUPS_MAX, read_group,
				object);
	if (reading->mistakes->total > before) {
		/* So that they are not looked up under the wrong index. */
		vector_free(service->supplementary_groups);
		service->supplementary_groups = NULL;
	}
	return r;
}

/* ---- output --------------------------------------------------------------------------------- */

/* @k: 0 is stdout, 1 is stderr. */
static int read_output(struct config_reading *reading, const char *path, json_t *value,
		       struct config_draft *draft, size_t k)
{
	struct process_settings *process = &draft->service.process;
	const char *text = json_string_value(value);

	if (!text) {
		config_wrong_type(reading, path, "a string", value);
		return 0;
	}
	if (strcmp(text, "inherit") == 0) {
		process->output[k] = OUTPUT_THROUGH;
	} else if (strcmp(text, "journal") == 0) {
		process->output[k] = OUTPUT_JOURNAL;
	} else if (text[0] == '/') {
		process->output[k] = OUTPUT_FILE;
		process->output_path[k] = strdup(text);
		if (!process->output_path[k])
			return -ENOMEM;
	} else {
		config_mistake(reading, path,
			       "\"%s\" is unknown (expected \"inherit\", \"journal\" or the "
			       "absolute path of a file)",
			       text);
	}
	return 0;
}

int config_read_stdout(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_key *key, void *object)
{
	(void)key;
	return read_output(reading, path, value, object, 0);
}

int config_read_stderr(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_key *key, void *object)
{
	(void)key;
	return read_output(reading, path, value, object, 1);
}
