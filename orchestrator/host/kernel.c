/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/kernel.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* One number of at most six digits. Returns what follows it; NULL: there is none. */
static const char *number(const char *text, unsigned *ret)
{
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 6)
		return NULL;
	*ret = (unsigned)strtoul(text, NULL, 10);
	return text + digits;
}

/* "6.18.44-x", or without the third ("7.1-rc2"). */
static int parse(const char *text, struct kernel_version *ret)
{
	struct kernel_version v = {};
	const char *rest = number(text, &v.major);

	rest = rest && *rest == '.' ? number(rest + 1, &v.minor) : NULL;
	if (rest && *rest == '.')
		rest = number(rest + 1, &v.patch);
	if (!rest)
		return -EINVAL;
	*ret = v;
	return 0;
}

static bool same_series(const struct kernel_version *a, const struct kernel_version *b)
{
	return a->major == b->major && a->minor == b->minor;
}

int kernel_version_parse(const char *release, const char *build, const char *signature,
			 struct kernel_version *ret)
{
	/* "#1 SMP PREEMPT_DYNAMIC Debian 6.1.129-1 (2025-03-06)" */
	const char *debian = strstr(build, "Debian ");
	/* "Ubuntu 5.15.0-91.101-generic 5.15.131" */
	const char *ubuntu = strrchr(signature, ' ');
	struct kernel_version real;

	if (parse(release, ret) < 0)
		return -EINVAL;
	/* Only ever more exact, never another series: these are texts that anybody can build in. */
	if (debian && parse(debian + strlen("Debian "), &real) == 0 && same_series(&real, ret))
		*ret = real;
	else if (strncmp(signature, "Ubuntu ", 7) == 0 && parse(ubuntu + 1, &real) == 0 &&
		 same_series(&real, ret))
		*ret = real;
	return 0;
}

static int compare(const struct kernel_version *a, const struct kernel_version *b)
{
	if (a->major != b->major)
		return a->major < b->major ? -1 : 1;
	if (a->minor != b->minor)
		return a->minor < b->minor ? -1 : 1;
	if (a->patch != b->patch)
		return a->patch < b->patch ? -1 : 1;
	return 0;
}

enum kernel_migration kernel_migration(const struct kernel_version *version,
				       struct kernel_version *ret_fixed)
{
	static const struct kernel_version first = {5, 14, 0};
	/* The kernel's own CVE record of 2026-08-05; the fix was made for the last one. */
	static const struct kernel_version fixed[] = {
		{5, 15, 209}, {6, 1, 175}, {6, 6, 140}, {6, 12, 86},
		{6, 18, 27},  {7, 0, 4},   {7, 1, 0},
	};

	*ret_fixed = (struct kernel_version){};
	if (compare(version, &first) < 0)
		return KERNEL_HAS_NONE;
	if (compare(version, &fixed[COUNT(fixed) - 1]) >= 0)
		return KERNEL_FIXED;
	for (size_t i = 0; i < COUNT(fixed); i++) {
		if (same_series(version, &fixed[i])) {
			if (compare(version, &fixed[i]) >= 0)
				return KERNEL_FIXED;
			*ret_fixed = fixed[i];
			return KERNEL_AFFECTED;
		}
	}
	/* A series that had ended before the fix: the next one that has it. */
	for (size_t i = 0; i < COUNT(fixed); i++) {
		if (compare(version, &fixed[i]) < 0) {
			*ret_fixed = fixed[i];
			break;
		}
	}
	return KERNEL_AFFECTED;
}
