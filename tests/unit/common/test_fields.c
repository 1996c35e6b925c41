/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/fields.h"
#include "common/vector.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum colour {
	RED,
	GREEN,
	_COLOUR_COUNT,
};

static const char *const colour_names[] = {[RED] = "red", [GREEN] = "green"};

struct thing {
	bool on;
	uint32_t number;
	enum colour colour;
	char text[8];
	char *bytes;
	char *maybe;
	char **list;
};

#define TYPE_FULL  0
#define TYPE_SHORT 1
#define FULL       (1U << TYPE_FULL)
#define BOTH       (FULL | 1U << TYPE_SHORT)

static const struct field thing_fields[] = {
	FIELD_BOOLEAN(struct thing, on, BOTH),
	FIELD_INTEGER(struct thing, number, 3, 5, FULL),
	FIELD_NAME(struct thing, colour, colour_names, _COLOUR_COUNT, FULL),
	FIELD_TEXT(struct thing, text, FULL),
	FIELD_BYTES(struct thing, bytes, FULL),
	FIELD_BYTES_OR_NULL(struct thing, maybe, FULL),
	FIELD_BYTES_LIST(struct thing, list, FULL),
};

static const struct thing sample = {
	.on = true,
	.number = 4,
	.colour = GREEN,
	.text = "t\xc3\xa4",
	.bytes = "\xff\x01",
	.list = (char *[]){"a", "", "\x80", NULL},
};

static char *encoded(const struct thing *thing, unsigned type)
{
	cleanup(json_decref) json_t *object = json_object();
	size_t length;
	char *text;

	assert_int_equal(fields_encode(object, thing_fields, COUNT(thing_fields), type, thing), 0);
	assert_int_equal(fields_dump(object, 4096, &text, &length), 0);
	assert_int_equal(strlen(text), length);
	return text;
}

static int decoded(const char *text, unsigned type, struct thing *ret, struct error *err)
{
	cleanup(json_decref) json_t *object = NULL;

	*ret = (struct thing){0};
	assert_int_equal(fields_load(text, strlen(text), 4096, &object, err), 0);
	return fields_decode(object, thing_fields, COUNT(thing_fields), type, ret, err);
}

static void thing_done(struct thing *thing)
{
	free(thing->bytes);
	free(thing->maybe);
	vector_free(thing->list);
}

static void test_fields_encode_writes_each_kind(void **state)
{
	char *text = encoded(&sample, TYPE_FULL);

	(void)state;
	assert_string_equal(text,
			    "{\"on\":true,\"number\":4,\"colour\":\"green\",\"text\":\"t\xc3\xa4\","
			    "\"bytes\":{\"hex\":\"ff01\"},\"maybe\":null,"
			    "\"list\":[\"a\",\"\",{\"hex\":\"80\"}]}");
	free(text);
}

static void test_fields_encode_writes_what_the_type_has(void **state)
{
	char *text = encoded(&sample, TYPE_SHORT);
	struct thing thing;

	(void)state;
	assert_string_equal(text, "{\"on\":true}");
	assert_int_equal(decoded(text, TYPE_SHORT, &thing, NULL), 0);
	assert_true(thing.on);
	assert_null(thing.bytes);
	free(text);
}

static void test_fields_decode_reads_each_kind(void **state)
{
	char *text = encoded(&sample, TYPE_FULL);
	struct thing thing;

	(void)state;
	assert_int_equal(decoded(text, TYPE_FULL, &thing, NULL), 0);
	assert_true(thing.on);
	assert_int_equal(thing.number, 4);
	assert_int_equal(thing.colour, GREEN);
	assert_string_equal(thing.text, sample.text);
	assert_string_equal(thing.bytes, sample.bytes);
	assert_null(thing.maybe);
	for (int i = 0; i < 3; i++)
		assert_string_equal(thing.list[i], sample.list[i]);
	assert_null(thing.list[3]);
	thing_done(&thing);
	free(text);
}

static void test_fields_decode_names_what_is_wrong(void **state)
{
	static const struct {
		const char *text, *reason;
	} cases[] = {
		{"{}", "\"on\" is missing"},
		{"{\"on\":1}", "\"on\" is neither true nor false"},
		{"{\"on\":true}", "\"number\" is missing"},
		{"{\"on\":true,\"number\":2}", "\"number\" is not a number from 3 to 5"},
		{"{\"on\":true,\"number\":6}", "\"number\" is not a number from 3 to 5"},
		{"{\"on\":true,\"number\":4.0}", "\"number\" is not a number from 3 to 5"},
		{"{\"on\":true,\"number\":4,\"colour\":\"blue\"}",
		 "\"colour\" is none of the known names"},
		{"{\"on\":true,\"number\":4,\"colour\":\"red\",\"text\":\"12345678\"}",
		 "\"text\" is not a string of at most 7 bytes"},
		{"{\"on\":true,\"number\":4,\"colour\":\"red\",\"text\":\"\",\"bytes\":null}",
		 "\"bytes\" is not a string"},
		{"{\"on\":true,\"number\":4,\"colour\":\"red\",\"text\":\"\",\"bytes\":\"\",\"maybe\":7}",
		 "\"maybe\" is not a string"},
		{"{\"on\":true,\"number\":4,\"colour\":\"red\",\"text\":\"\",\"bytes\":\"\",\"list\":"
		 "[\"a\",null]}",
		 "\"list\" is not a list of strings"},
	};
	struct thing thing;
	struct error err;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(decoded(cases[i].text, TYPE_FULL, &thing, &err), -EBADMSG);
		assert_string_equal(err.text, cases[i].reason);
		thing_done(&thing);
	}
}

static void test_fields_make_utf8_keeps_valid_and_length(void **state)
{
	static const struct {
		const char *text, *made;
	} cases[] = {
		{"", ""},
		{"plain\x01\x7f", "plain\x01\x7f"},
		{"\xc2\x80\xdf\xbf", "\xc2\x80\xdf\xbf"},
		{"\xe0\xa0\x80\xef\xbf\xbf", "\xe0\xa0\x80\xef\xbf\xbf"},
		{"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
		{"\xe2\x82x\xe2\x82\xac", "??x\xe2\x82\xac"},
		{"\xc3\xc3\xa4", "?\xc3\xa4"},
		{"\xf4\x90\x80\x80", "????"},
		{"\xe0\x9f\xbf", "???"},
		{"\xf0\x9f\x98", "???"},
	};
	char buffer[64];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		strcpy(buffer, cases[i].text);
		fields_make_utf8(buffer);
		assert_string_equal(buffer, cases[i].made);
	}
}

/* Whatever two or three bytes: what comes out is what jansson takes, and only then unchanged. */
static void test_fields_make_utf8_agrees_with_the_json_library(void **state)
{
	unsigned char in[4] = {0}, out[4] = {0};
	json_t *value;
	uint32_t next = 0;

	(void)state;
	for (int i = 0; i < 200000; i++, next = next * 1664525 + 1013904223) {
		in[0] = (unsigned char)(0xc0 | next >> 26);
		in[1] = (unsigned char)(next >> 16);
		in[2] = (unsigned char)(0x60 + (next >> 8) % 0x80);
		memcpy(out, in, sizeof(in));
		fields_make_utf8((char *)out);
		value = json_string((const char *)in);
		assert_int_equal(value != NULL, strcmp((const char *)in, (const char *)out) == 0);
		json_decref(value);
		value = json_string((const char *)out);
		assert_non_null(value);
		json_decref(value);
	}
}

static void test_fields_dump_longer_than_allowed_is_emsgsize(void **state)
{
	cleanup(json_decref) json_t *object = json_pack("{s:s}", "a", "b");
	char *text = NULL;
	size_t length;

	(void)state;
	assert_int_equal(fields_dump(object, 8, &text, &length), -EMSGSIZE);
	assert_null(text);
	assert_int_equal(fields_dump(object, 9, &text, &length), 0);
	assert_int_equal(length, 9);
	assert_string_equal(text, "{\"a\":\"b\"}");
	free(text);
}

static void test_fields_load_takes_one_object_only(void **state)
{
	static const char *const wrong[] = {
		"", "1", "[]", "{", "{}{}", "{\"a\":1,\"a\":1}", "\"\"", "{\"\\u0000\":1}"};
	json_t *object = NULL;
	struct error err;

	(void)state;
	for (size_t i = 0; i < COUNT(wrong); i++) {
		strcpy(err.text, "");
		assert_int_equal(fields_load(wrong[i], strlen(wrong[i]), 64, &object, &err),
				 -EBADMSG);
		assert_null(object);
		assert_true(err.text[0]);
	}
	assert_int_equal(fields_load("{}", 2, 1, &object, &err), -EBADMSG);
	assert_string_equal(err.text, "2 bytes, more than 1");
	assert_int_equal(fields_load("{}", 2, 2, &object, &err), 0);
	json_decref(object);
}

static void test_fields_get_type_and_array_check_what_they_get(void **state)
{
	cleanup(json_decref) json_t *object =
		json_pack("{s:s,s:[i,i],s:{}}", "type", "green", "list", 1, 2, "object");
	const json_t *list = NULL;
	struct error err;
	unsigned type;

	(void)state;
	assert_int_equal(fields_get_type(object, colour_names, _COLOUR_COUNT, &type, &err), 0);
	assert_int_equal(type, GREEN);
	assert_int_equal(fields_get_type(object, colour_names, 1, &type, &err), -EBADMSG);
	assert_string_equal(err.text, "unknown \"type\": \"green\"");
	assert_int_equal(fields_get_array(object, "list", 2, &list, &err), 0);
	assert_int_equal(json_array_size(list), 2);
	assert_int_equal(fields_get_array(object, "list", 1, &list, &err), -EBADMSG);
	assert_string_equal(err.text, "\"list\" is not a list of at most 1");
	assert_int_equal(fields_get_array(object, "object", 1, &list, &err), -EBADMSG);
	assert_int_equal(fields_get_array(object, "nothing", 1, &list, &err), -EBADMSG);
	assert_string_equal(err.text, "\"nothing\" is missing");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields_encode_writes_each_kind),
		cmocka_unit_test(test_fields_encode_writes_what_the_type_has),
		cmocka_unit_test(test_fields_decode_reads_each_kind),
		cmocka_unit_test(test_fields_decode_names_what_is_wrong),
		cmocka_unit_test(test_fields_make_utf8_keeps_valid_and_length),
		cmocka_unit_test(test_fields_make_utf8_agrees_with_the_json_library),
		cmocka_unit_test(test_fields_dump_longer_than_allowed_is_emsgsize),
		cmocka_unit_test(test_fields_load_takes_one_object_only),
		cmocka_unit_test(test_fields_get_type_and_array_check_what_they_get),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
