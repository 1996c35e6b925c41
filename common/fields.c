/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/fields.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/clean.h"
#include "common/vector.h"

/* ---- UTF-8 ---------------------------------------------------------------------------------- */

#define CHARACTER_MAX 4 /* bytes */

static bool is_utf8(const char *text)
{
	size_t length;

	for (; *text; text += length) {
		length = clean_character(text, CHARACTER_MAX);
		if (length == 0)
			return false;
	}
	return true;
}

void fields_make_utf8(char *text)
{
	size_t length;

	while (*text) {
		length = clean_character(text, CHARACTER_MAX);
		if (length == 0)
			*text = '?';
		text += length ? length : 1;
	}
}

/* ---- strings -------------------------------------------------------------------------------- */

static const char hex_digits[] = "0123456789abcdef";

static json_t *hex_encode(const char *bytes)
{
	size_t length = strlen(bytes);
	cleanup_free char *hex = malloc(2 * length + 1);

	if (!hex)
		return NULL;
	for (size_t i = 0; i < length; i++) {
		hex[2 * i] = hex_digits[(unsigned char)bytes[i] >> 4];
		hex[2 * i + 1] = hex_digits[(unsigned char)bytes[i] & 15];
	}
	return json_pack("{s:s%}", "hex", hex, 2 * length);
}

static json_t *bytes_encode(const char *bytes)
{
	return is_utf8(bytes) ? json_string(bytes) : hex_encode(bytes);
}

static int hex_value(char c)
{
	const char *digit = c ? strchr(hex_digits, c) : NULL;

	return digit ? (int)(digit - hex_digits) : -1;
}

static int hex_decode(const char *hex, char **ret)
{
	size_t length = strlen(hex);
	cleanup_free char *bytes = malloc(length / 2 + 1);
	int high, low;

	if (!bytes)
		return -ENOMEM;
	if (length % 2 != 0)
		return -EBADMSG;
	for (size_t i = 0; i < length / 2; i++) {
		high = hex_value(hex[2 * i]);
		low = hex_value(hex[2 * i + 1]);
		/* A NUL inside would cut the string. */
		if (high < 0 || low < 0 || (high == 0 && low == 0))
			return -EBADMSG;
		bytes[i] = (char)(high << 4 | low);
	}
	bytes[length / 2] = '\0';
	*ret = TAKE_PTR(bytes);
	return 0;
}

/* jansson refuses \u0000 and raw NULs: a string from it has no NUL inside. */
static int bytes_decode(const json_t *value, char **ret)
{
	const json_t *hex = json_object_get(value, "hex");

	if (json_is_string(hex))
		return hex_decode(json_string_value(hex), ret);
	if (!json_is_string(value))
		return -EBADMSG;
	*ret = strdup(json_string_value(value));
	return *ret ? 0 : -ENOMEM;
}

static json_t *list_encode(char *const *list)
{
	cleanup(json_decref) json_t *array = json_array();

	if (!array)
		return NULL;
	for (; *list; list++)
		if (json_array_append_new(array, bytes_encode(*list)) < 0)
			return NULL;
	return TAKE_PTR(array);
}

static int list_decode(const json_t *value, char ***ret)
{
	size_t count = json_array_size(value);
	char **list;
	int r = 0;

	if (!json_is_array(value))
		return -EBADMSG;
	list = calloc(count + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < count && r == 0; i++)
		r = bytes_decode(json_array_get(value, i), &list[i]);
	if (r < 0)
		vector_free(list);
	else
		*ret = list;
	return r;
}

static json_t *text_encode(const char *text, size_t size)
{
	cleanup_free char *copy = strndup(text, size - 1);

	if (!copy)
		return NULL;
	fields_make_utf8(copy);
	return json_string(copy);
}

/* ---- by the table --------------------------------------------------------------------------- */

static uint32_t load_u32(const void *member)
{
	uint32_t value;

	memcpy(&value, member, sizeof(value));
	return value;
}

static json_t *encode_field(const struct field *field, const void *member)
{
	switch (field->kind) {
	case FIELD_KIND_BOOLEAN:
		return json_boolean(*(const bool *)member);
	case FIELD_KIND_INTEGER:
		assert(field->size == sizeof(uint32_t));
		assert(load_u32(member) <= field->max);
		return json_integer(load_u32(member));
	case FIELD_KIND_NAME:
		assert(load_u32(member) < field->max);
		return json_string(field->names[load_u32(member)]);
	case FIELD_KIND_TEXT:
		return text_encode(member, field->size);
	case FIELD_KIND_BYTES:
		return bytes_encode(*(char *const *)member);
	case FIELD_KIND_BYTES_OR_NULL:
		return *(char *const *)member ? bytes_encode(*(char *const *)member) : json_null();
	case FIELD_KIND_BYTES_LIST:
		return list_encode(*(char **const *)member);
	}
	return NULL;
}

int fields_encode(json_t *object, const struct field *fields, size_t n_fields, unsigned type,
		  const void *base)
{
	const struct field *field;

	assert(type < 32);
	for (size_t i = 0; i < n_fields; i++) {
		field = &fields[i];
		if (!(field->types & 1U << type))
			continue;
		if (json_object_set_new(object, field->name,
					encode_field(field, (const char *)base + field->offset)) <
		    0)
			return -ENOMEM;
	}
	return 0;
}

static int decode_integer(const struct field *field, const json_t *value, void *member,
			  struct error *err)
{
	json_int_t number = json_integer_value(value);
	uint32_t result;

	assert(field->size == sizeof(result));
	if (!json_is_integer(value) || number < (json_int_t)field->min ||
	    number > (json_int_t)field->max)
		return error_text(err, -EBADMSG, "\"%s\" is not a number from %u to %u",
				  field->name, field->min, field->max);
	result = (uint32_t)number;
	memcpy(member, &result, sizeof(result));
	return 0;
}

static int find_name(const json_t *value, const char *const *names, unsigned count, unsigned *ret)
{
	const char *text = json_string_value(value);

	for (unsigned i = 0; text && i < count; i++) {
		if (strcmp(names[i], text) != 0)
			continue;
		*ret = i;
		return 0;
	}
	return -EBADMSG;
}

static int decode_name(const struct field *field, const json_t *value, void *member,
		       struct error *err)
{
	unsigned index;

	assert(field->size == sizeof(index));
	if (find_name(value, field->names, field->max, &index) < 0)
		return error_text(err, -EBADMSG, "\"%s\" is none of the known names", field->name);
	memcpy(member, &index, sizeof(index));
	return 0;
}

static int decode_text(const struct field *field, const json_t *value, char *member,
		       struct error *err)
{
	size_t length = json_string_length(value);

	if (!json_is_string(value) || length >= field->size)
		return error_text(err, -EBADMSG, "\"%s\" is not a string of at most %zu bytes",
				  field->name, field->size - 1);
	memcpy(member, json_string_value(value), length + 1);
	return 0;
}

static int decode_bytes(const struct field *field, const json_t *value, void *member,
			struct error *err)
{
	bool list = field->kind == FIELD_KIND_BYTES_LIST;
	int r = list ? list_decode(value, member) : bytes_decode(value, member);

	if (r == -EBADMSG)
		return error_text(err, r, "\"%s\" is not a %s", field->name,
				  list ? "list of strings" : "string");
	return r < 0 ? error_set(err, r, "\"%s\"", field->name) : 0;
}

static int decode_field(const struct field *field, const json_t *value, void *member,
			struct error *err)
{
	if (field->kind == FIELD_KIND_BYTES_OR_NULL && (!value || json_is_null(value)))
		return 0;
	if (!value)
		return error_text(err, -EBADMSG, "\"%s\" is missing", field->name);
	switch (field->kind) {
	case FIELD_KIND_BOOLEAN:
		if (!json_is_boolean(value))
			return error_text(err, -EBADMSG, "\"%s\" is neither true nor false",
					  field->name);
		*(bool *)member = json_is_true(value);
		return 0;
	case FIELD_KIND_INTEGER:
		return decode_integer(field, value, member, err);
	case FIELD_KIND_NAME:
		return decode_name(field, value, member, err);
	case FIELD_KIND_TEXT:
		return decode_text(field, value, member, err);
	case FIELD_KIND_BYTES:
	case FIELD_KIND_BYTES_OR_NULL:
	case FIELD_KIND_BYTES_LIST:
		return decode_bytes(field, value, member, err);
	}
	return -EBADMSG;
}

int fields_decode(const json_t *object, const struct field *fields, size_t n_fields, unsigned type,
		  void *base, struct error *err)
{
	const struct field *field;
	int r;

	assert(type < 32);
	for (size_t i = 0; i < n_fields; i++) {
		field = &fields[i];
		if (!(field->types & 1U << type))
			continue;
		r = decode_field(field, json_object_get(object, field->name),
				 (char *)base + field->offset, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int fields_get_array(const json_t *object, const char *name, size_t max, const json_t **ret,
		     struct error *err)
{
	const json_t *array = json_object_get(object, name);

	if (!array)
		return error_text(err, -EBADMSG, "\"%s\" is missing", name);
	if (!json_is_array(array) || json_array_size(array) > max)
		return error_text(err, -EBADMSG, "\"%s\" is not a list of at most %zu", name, max);
	*ret = array;
	return 0;
}

int fields_get_type(const json_t *object, const char *const *names, unsigned count, unsigned *ret,
		    struct error *err)
{
	const json_t *value = json_object_get(object, "type");

	if (!value)
		return error_text(err, -EBADMSG, "\"type\" is missing");
	if (!json_is_string(value))
		return error_text(err, -EBADMSG, "\"type\" is not a string");
	if (find_name(value, names, count, ret) < 0)
		return error_text(err, -EBADMSG, "unknown \"type\": \"%.32s\"",
				  json_string_value(value));
	return 0;
}

/* ---- whole objects -------------------------------------------------------------------------- */

/*
 * Not json_dumps(): if its buffer cannot grow while it writes a string, jansson 2.14 leaves a piece
 * out and says nothing. Its memory is jansson's, too, which callers must not free(3). So ask for
 * the size first, and have the text written into memory of our own.
 */
static int dump(const json_t *json, size_t flags, size_t max, char **ret_text, size_t *ret_length)
{
	size_t length = json_dumpb(json, NULL, 0, flags);
	char *text;

	if (length == 0)
		return -ENOMEM;
	if (length > max)
		return -EMSGSIZE;
	text = malloc(length + 1);
	if (!text || json_dumpb(json, text, length, flags) != length) {
		free(text);
		return -ENOMEM;
	}
	text[length] = '\0';
	*ret_text = text;
	*ret_length = length;
	return 0;
}

int fields_dump(const json_t *object, size_t max, char **ret_text, size_t *ret_length)
{
	return dump(object, JSON_COMPACT, max, ret_text, ret_length);
}

char *fields_text(const json_t *json, size_t flags)
{
	size_t length;
	char *text;

	return dump(json, flags, SIZE_MAX, &text, &length) < 0 ? NULL : text;
}

int fields_load(const char *text, size_t length, size_t max, json_t **ret, struct error *err)
{
	json_error_t error;
	json_t *object;

	if (length > max)
		return error_text(err, -EBADMSG, "%zu bytes, more than %zu", length, max);
	errno = 0;
	object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
	/* jansson calls a lack of memory a syntax error in some places; malloc(3) does not. */
	if (!object && errno == ENOMEM)
		return error_set(err, -ENOMEM, "JSON");
	if (!object)
		return error_text(err, -EBADMSG, "not JSON: %s", error.text);
	if (!json_is_object(object)) {
		json_decref(object);
		return error_text(err, -EBADMSG, "not a JSON object");
	}
	*ret = object;
	return 0;
}
