/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/duration.h"
#include "common/vector.h"

/* A name that is longer is not compared with the known ones. */
#define NAME_COMPARED_MAX 32

/* Also for the service or the file whose mistake it is. */
static void keep(struct config_reading *reading, const char *text)
{
	struct config_complaints *whose =
		reading->draft ? &reading->draft->complaints : &reading->file;
	char *copy;

	if (!reading->lenient || whose->total++ >= CONFIG_MISTAKES_MAX)
		return;
	copy = strdup(text);
	if (!copy || vector_append(&whose->texts, copy) < 0)
		reading->no_memory = true;
}

void config_mistake(struct config_reading *reading, const char *path, const char *format, ...)
{
	struct config_mistakes *mistakes = reading->mistakes;
	struct error reason, mistake;
	va_list ap;

	assert(reading->source);
	va_start(ap, format);
	vsnprintf(reason.text, sizeof(reason.text), format, ap);
	va_end(ap);
	error_text(&mistake, 0, "%s: %s%s%s", reading->source, path, path[0] ? ": " : "",
		   reason.text);
	for (char *c = mistake.text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	mistakes->total++;
	if (mistakes->n < CONFIG_MISTAKES_MAX)
		mistakes->list[mistakes->n++] = mistake;
	keep(reading, mistake.text);
}

void config_path(const char *path, const char *name, char ret[static CONFIG_JSON_PATH_MAX])
{
	snprintf(ret, CONFIG_JSON_PATH_MAX, "%s%s%s", path, path[0] ? "." : "", name);
}

void config_path_index(const char *path, size_t index, char ret[static CONFIG_JSON_PATH_MAX])
{
	snprintf(ret, CONFIG_JSON_PATH_MAX, "%s[%zu]", path, index);
}

static const char *type_name(const json_t *value)
{
	static const char *const names[] = {
		[JSON_OBJECT] = "an object",
		[JSON_ARRAY] = "an array",
		[JSON_STRING] = "a string",
		[JSON_INTEGER] = "a whole number",
		[JSON_REAL] = "a number with a fraction",
		[JSON_TRUE] = "true",
		[JSON_FALSE] = "false",
		[JSON_NULL] = "null",
	};

	return names[json_typeof(value)];
}

void config_wrong_type(struct config_reading *reading, const char *path, const char *expected,
		       const json_t *value)
{
	config_mistake(reading, path, "expected %s, not %s", expected, type_name(value));
}

bool config_is_plain(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text <= ' ' || *text == 0x7f)
			return false;
	return true;
}

bool config_parse_digits(const char *text, size_t length, uint64_t max, uint64_t *ret)
{
	uint64_t number = 0;

	for (size_t i = 0; i < length; i++) {
		unsigned digit = (unsigned)(text[i] - '0');

		if (digit > 9 || number > (max - digit) / 10)
			return false;
		number = number * 10 + digit;
	}
	*ret = number;
	return length > 0;
}

/* ---- objects -------------------------------------------------------------------------------- */

static size_t smallest(size_t a, size_t b, size_t c)
{
	size_t ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/*
 * How many characters must be inserted, removed, replaced or swapped with their neighbour to make
 * @b of @a (optimal string alignment). Both are at most NAME_COMPARED_MAX long.
 */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][NAME_COMPARED_MAX + 1];
	size_t *before = rows[0], *above = rows[1], *row = rows[2];
	size_t n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		above[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t *oldest = before;

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			row[j] = smallest(above[j] + 1, row[j - 1] + 1,
					  above[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
		before = above;
		above = row;
		row = oldest;
	}
	return above[n];
}

/* The key that was probably meant by @name, or NULL. */
static const char *nearest(const struct config_table *table, const char *name)
{
	size_t best = strlen(name) > 4 ? 3 : 2; /* one less is still taken for a slip */
	const char *key = NULL;

	if (strlen(name) > NAME_COMPARED_MAX)
		return NULL;
	for (size_t i = 0; i < table->n; i++) {
		size_t d = distance(name, table->keys[i].name);

		if (d < best) {
			best = d;
			key = table->keys[i].name;
		}
	}
	return key;
}

static void unknown_key(struct config_reading *reading, const char *path, const char *name,
			const struct config_table *table)
{
	const char *meant = nearest(table, name);
	char known[768] = "";
	size_t n = 0;

	if (meant) {
		config_mistake(reading, path, "unknown key (did you mean \"%s\"?)", meant);
		return;
	}
	for (size_t i = 0; i < table->n && n < sizeof(known); i++)
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i ? ", " : "",
				      table->keys[i].name);
	config_mistake(reading, path, "unknown key (there are: %s)", known);
}

static const struct config_key *find_key(const struct config_table *table, const char *name)
{
	for (size_t i = 0; i < table->n; i++)
		if (strcmp(table->keys[i].name, name) == 0)
			return &table->keys[i];
	return NULL;
}

int config_read_object(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_table *table, void *object)
{
	char child_path[CONFIG_JSON_PATH_MAX];
	const char *name;
	json_t *child;

	if (!json_is_object(value)) {
		config_wrong_type(reading, path, "an object", value);
		return 0;
	}
	json_object_foreach (value, name, child) {
		const struct config_key *key = find_key(table, name);
		int r = 0;

		config_path(path, name, child_path);
		if (key)
			r = key->read(reading, child_path, child, key, object);
		else
			unknown_key(reading, child_path, name, table);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < table->n; i++) {
		if (!table->keys[i].required || json_object_get(value, table->keys[i].name))
			continue;
		config_path(path, table->keys[i].name, child_path);
		config_mistake(reading, child_path, "missing");
	}
	return 0;
}

/* ---- values --------------------------------------------------------------------------------- */

static void *field(const struct config_key *key, void *object)
{
	return (char *)object + key->offset;
}

int config_read_ignored_text(struct config_reading *reading, const char *path, json_t *value,
			     const struct config_key *key, void *object)
{
	(void)key;
	(void)object;
	if (!json_is_string(value))
		config_wrong_type(reading, path, "a string", value);
	return 0;
}

int config_read_text(struct config_reading *reading, const char *path, json_t *value,
		     const struct config_key *key, void *object)
{
	char **text = field(key, object);

	if (!json_is_string(value)) {
		config_wrong_type(reading, path, "a string", value);
		return 0;
	}
	if (!json_string_length(value)) {
		config_mistake(reading, path, "is empty");
		return 0;
	}
	*text = strdup(json_string_value(value));
	return *text ? 0 : -ENOMEM;
}

int config_read_account(struct config_reading *reading, const char *path, json_t *value,
			const struct config_key *key, void *object)
{
	char **text = field(key, object);

	if (json_is_string(value))
		return config_read_text(reading, path, value, key, object);
	if (!json_is_integer(value)) {
		config_wrong_type(reading, path, "a name or a whole number", value);
		return 0;
	}
	if (json_integer_value(value) < 0 || json_integer_value(value) >= UINT32_MAX) {
		config_mistake(reading, path,
			       "%" JSON_INTEGER_FORMAT " is out of range (0 to %" PRIu32 ")",
			       json_integer_value(value), UINT32_MAX - 1);
		return 0;
	}
	if (asprintf(text, "%" JSON_INTEGER_FORMAT, json_integer_value(value)) < 0) {
		*text = NULL;
		return -ENOMEM;
	}
	return 0;
}

int config_read_bool(struct config_reading *reading, const char *path, json_t *value,
		     const struct config_key *key, void *object)
{
	if (json_is_boolean(value))
		*(bool *)field(key, object) = json_is_true(value);
	else
		config_wrong_type(reading, path, "true or false", value);
	return 0;
}

int config_read_count(struct config_reading *reading, const char *path, json_t *value,
		      const struct config_key *key, void *object)
{
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value))
		config_wrong_type(reading, path, "a whole number", value);
	else if (number < (json_int_t)key->min || number > (json_int_t)key->max)
		config_mistake(reading, path, "%lld is out of range (%llu to %llu)",
			       (long long)number, (unsigned long long)key->min,
			       (unsigned long long)key->max);
	else
		*(uint32_t *)field(key, object) = (uint32_t)number;
	return 0;
}

static void bad_duration(struct config_reading *reading, const char *path, const char *text)
{
	config_mistake(reading, path,
		       "%s is not a duration (expected a number with a unit: 500ms, 2s, 1m30s)",
		       text);
}

int config_read_duration(struct config_reading *reading, const char *path, json_t *value,
			 const struct config_key *key, void *object)
{
	const char *text = json_string_value(value);
	char number[64], limit[DURATION_TEXT_MAX];
	uint64_t ms = 0;
	int r;

	if (json_is_number(value)) {
		/* The usual slip: 5 for "5s". */
		snprintf(number, sizeof(number), "%.15g", json_number_value(value));
		bad_duration(reading, path, number);
		return 0;
	}
	if (!text) {
		config_wrong_type(reading, path, "a duration (a string such as \"2s\")", value);
		return 0;
	}
	r = duration_parse(text, &ms);
	if (r == -ERANGE || (r == 0 && ms > key->max)) {
		config_mistake(reading, path, "\"%s\" is too long (at most %s)", text,
			       duration_format(key->max, limit));
	} else if (r < 0) {
		char quoted[128];

		snprintf(quoted, sizeof(quoted), "\"%s\"", text);
		bad_duration(reading, path, quoted);
	} else if (ms < key->min) {
		config_mistake(reading, path, "\"%s\" is too short (at least %s)", text,
			       duration_format(key->min, limit));
	} else {
		*(uint64_t *)field(key, object) = ms;
	}
	return 0;
}

/* "a", "b" or "c" */
static void list_words(const struct config_word *words, char *ret, size_t size)
{
	size_t n = 0, left = 0;

	ret[0] = '\0';
	while (words[left].word)
		left++;
	for (; words->word && n < size; words++) {
		const char *after = left > 2 ? ", " : left == 2 ? " or " : "";

		n += (size_t)snprintf(ret + n, size - n, "\"%s\"%s", words->word, after);
		left--;
	}
}

const struct config_word *config_find_word(struct config_reading *reading, const char *path,
					   const char *text, const struct config_word *words)
{
	char accepted[128];

	for (const struct config_word *word = words; word->word; word++)
		if (strcmp(word->word, text) == 0)
			return word;
	list_words(words, accepted, sizeof(accepted));
	config_mistake(reading, path, "\"%s\" is unknown (expected %s)", text, accepted);
	return NULL;
}

const char *config_word_of(const struct config_word *words, unsigned value)
{
	while (words->word && words->value != value)
		words++;
	return words->word;
}

int config_read_word(struct config_reading *reading, const char *path, json_t *value,
		     const struct config_key *key, void *object)
{
	const char *text = json_string_value(value);
	const struct config_word *word;

	if (!text) {
		config_wrong_type(reading, path, "a string", value);
		return 0;
	}
	word = config_find_word(reading, path, text, key->words);
	/* What gcc takes for an enum without negative values. */
	if (word)
		*(unsigned *)field(key, object) = word->value;
	return 0;
}

/* ---- lists ---------------------------------------------------------------------------------- */

static int read_string(struct config_reading *reading, const char *path, const json_t *value,
		       config_string_reader *each, void *object)
{
	if (!json_is_string(value))
		config_wrong_type(reading, path, "a string", value);
	else if (!json_string_length(value))
		config_mistake(reading, path, "is empty");
	else
		return each(reading, path, json_string_value(value), object);
	return 0;
}

int config_read_strings(struct config_reading *reading, const char *path, json_t *value,
			enum config_strings form, size_t max, config_string_reader *each,
			void *object)
{
	char item_path[CONFIG_JSON_PATH_MAX];
	const json_t *item;
	size_t i;
	int r = 0;

	if (form == CONFIG_ONE_OR_MORE && json_is_string(value))
		return read_string(reading, path, value, each, object);
	if (!json_is_array(value)) {
		config_wrong_type(reading, path,
				  form == CONFIG_ONE_OR_MORE ? "a string or an array of strings"
							     : "an array of strings",
				  value);
		return 0;
	}
	if (json_array_size(value) > max) {
		config_mistake(reading, path, "more than %zu entries", max);
		return 0;
	}
	json_array_foreach (value, i, item) {
		config_path_index(path, i, item_path);
		if (r == 0)
			r = read_string(reading, item_path, item, each, object);
	}
	return r;
}

/* One mistake for each argument that is none; @ret may have only some of them then. */
static int read_arguments(struct config_reading *reading, const char *path, const json_t *value,
			  char ***ret)
{
	char item_path[CONFIG_JSON_PATH_MAX];
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		config_wrong_type(reading, path, "an array of strings", value);
	else if (!json_array_size(value))
		config_mistake(reading, path, "is empty: the program to run is missing");
	else if (json_array_size(value) > CONFIG_ARGUMENTS_MAX)
		config_mistake(reading, path, "more than %d arguments", CONFIG_ARGUMENTS_MAX);
	json_array_foreach (value, i, item) {
		char *text;

		config_path_index(path, i, item_path);
		if (i >= CONFIG_ARGUMENTS_MAX)
			break;
		if (!json_is_string(item)) {
			config_wrong_type(reading, item_path, "a string", item);
			continue;
		}
		if (i == 0 && !json_string_length(item))
			config_mistake(reading, item_path,
				       "is empty: the program to run is missing");
		text = strdup(json_string_value(item));
		if (!text || vector_append(ret, text) < 0)
			return -ENOMEM;
	}
	return 0;
}

int config_read_command(struct config_reading *reading, const char *path, json_t *value,
			const struct config_key *key, void *object)
{
	cleanup(vector_free) char **command = NULL;
	size_t before = reading->mistakes->total;
	int r = read_arguments(reading, path, value, &command);

	if (r == 0 && reading->mistakes->total == before)
		*(char ***)field(key, object) = TAKE_PTR(command);
	return r;
}
