/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include <string.h>

#define MEMORY_MAX (1ULL << 60)
#define CPU_MAX    100000  /* percent: a thousand CPUs */
#define PIDS_MAX   4194304 /* PID_MAX_LIMIT of the kernel */

/* "512M": in powers of 1024. */
static bool parse_bytes(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	size_t n = strlen(text);
	const char *unit = n ? strchr(units, text[n - 1]) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;

	if (!config_parse_digits(text, unit ? n - 1 : n, MEMORY_MAX >> shift, ret))
		return false;
	*ret <<= shift;
	return *ret > 0;
}

static int read_bytes(struct config_reading *reading, const char *path, json_t *value,
		      const struct config_key *key, void *object)
{
	struct config_draft *draft = object;
	uint64_t *ret = &draft->service.resources.memory_max;
	json_int_t number = json_integer_value(value);

	(void)key;
	if (json_is_integer(value) && number > 0 && number <= (json_int_t)MEMORY_MAX)
		*ret = (uint64_t)number;
	else if (json_is_integer(value))
		config_mistake(reading, path, "%lld is out of range (1 to %llu)", (long long)number,
			       MEMORY_MAX);
	else if (!json_is_string(value))
		config_wrong_type(reading, path, "a number of bytes or a string such as \"512M\"",
				  value);
	else if (!parse_bytes(json_string_value(value), ret))
		config_mistake(reading, path,
			       "\"%s\" is not a size (expected a whole number above 0 with K, M, G "
			       "or T: \"512M\")",
			       json_string_value(value));
	return 0;
}

static int read_percent(struct config_reading *reading, const char *path, json_t *value,
			const struct config_key *key, void *object)
{
	struct config_draft *draft = object;
	const char *text = json_string_value(value);
	size_t n = text ? strlen(text) : 0;
	uint64_t percent = 0;

	(void)key;
	if (!text)
		config_wrong_type(reading, path, "a string such as \"150%\"", value);
	else if (!n || text[n - 1] != '%' || !config_parse_digits(text, n - 1, CPU_MAX, &percent) ||
		 !percent)
		config_mistake(reading, path,
			       "\"%s\" is not a share of CPUs (expected percent of one CPU, 1%% to "
			       "%d%%: \"150%%\")",
			       text, CPU_MAX);
	else
		draft->service.resources.cpu_max = (uint32_t)percent;
	return 0;
}

int config_read_resources(struct config_reading *reading, const char *path, json_t *value,
			  const struct config_key *key, void *object)
{
	static const struct config_key keys[] = {
		{.name = "memory_max", .read = read_bytes},
		{.name = "cpu_max", .read = read_percent},
		{.name = "pids_max",
		 .read = config_read_count,
		 DRAFT(service.resources.pids_max),
		 .min = 1,
		 .max = PIDS_MAX},
	};
	static const struct config_table table = CONFIG_TABLE(keys);

	(void)key;
	return config_read_object(reading, path, value, &table, object);
}
