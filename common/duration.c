/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/duration.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	uint64_t ms;
} units[] = {
	{"d", 24 * 3600 * 1000}, {"h", 3600 * 1000}, {"m", 60 * 1000}, {"s", 1000}, {"ms", 1},
};

#define UNIT_COUNT (sizeof(units) / sizeof(units[0]))
#define UNIT_S     (UNIT_COUNT - 2)

/* A day is 2^10 * 3^3 * 5^5 milliseconds: no fraction of it with more decimals is whole. */
#define DECIMALS_MAX 10

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Read digits. A number above the longest duration becomes that plus 1, so it cannot overflow. */
static const char *read_whole(const char *text, uint64_t *ret)
{
	*ret = 0;
	for (; is_digit(*text); text++) {
		*ret = *ret * 10 + (uint64_t)(*text - '0');
		if (*ret > DURATION_MAX_MS)
			*ret = DURATION_MAX_MS + 1;
	}
	return text;
}

/* Read the digits after the point: *ret_value / *ret_scale. NULL if there are none or too many. */
static const char *read_fraction(const char *text, uint64_t *ret_value, uint64_t *ret_scale)
{
	size_t length = strspn(text, "0123456789"), n = length;

	*ret_value = 0;
	*ret_scale = 1;
	while (n > 0 && text[n - 1] == '0')
		n--;
	if (length == 0 || n > DECIMALS_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		*ret_value = *ret_value * 10 + (uint64_t)(text[i] - '0');
		*ret_scale *= 10;
	}
	return text + length;
}

/* The index of the unit that @text begins with, if that is @first or later; else UNIT_COUNT. */
static size_t find_unit(const char *text, size_t first)
{
	size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

	for (size_t i = first; i < UNIT_COUNT; i++)
		if (strlen(units[i].name) == length && memcmp(text, units[i].name, length) == 0)
			return i;
	return UNIT_COUNT;
}

int duration_parse(const char *text, uint64_t *ret_ms)
{
	uint64_t total = 0, whole, fraction, scale;
	size_t unit, next = 0;

	if (strcmp(text, "0") == 0) {
		*ret_ms = 0;
		return 0;
	}
	if (!*text)
		return -EINVAL;
	while (*text) {
		if (!is_digit(*text))
			return -EINVAL;
		text = read_whole(text, &whole);
		fraction = 0;
		scale = 1;
		if (*text == '.') {
			text = read_fraction(text + 1, &fraction, &scale);
			if (!text)
				return -EINVAL;
		}
		unit = find_unit(text, next);
		if (unit == UNIT_COUNT || fraction * units[unit].ms % scale != 0)
			return -EINVAL;
		total += whole * units[unit].ms + fraction * units[unit].ms / scale;
		text += strlen(units[unit].name);
		next = unit + 1;
	}
	if (total > DURATION_MAX_MS)
		return -ERANGE;
	*ret_ms = total;
	return 0;
}

char *duration_format(uint64_t ms, char buffer[static DURATION_TEXT_MAX])
{
	char *end = buffer;
	uint64_t count;
	size_t left;

	if (ms == 0)
		return strcpy(buffer, "0");
	for (size_t i = 0; i < UNIT_COUNT; i++) {
		count = ms / units[i].ms;
		if (count == 0)
			continue;
		left = DURATION_TEXT_MAX - (size_t)(end - buffer);
		ms %= units[i].ms;
		end += snprintf(end, left, "%" PRIu64 "%s", count,
				i == UNIT_S ? "" : units[i].name);
		if (i != UNIT_S)
			continue;
		left = DURATION_TEXT_MAX - (size_t)(end - buffer);
		if (ms > 0)
			end += snprintf(end, left, ".%03" PRIu64, ms);
		while (ms > 0 && end[-1] == '0')
			end--;
		strcpy(end, units[i].name);
		break;
	}
	return buffer;
}
