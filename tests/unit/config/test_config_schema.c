/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * docs/baton.schema.json and docs/configuration.md know the keys that the reader knows, neither
 * more nor less. The reader tells them itself: it lists what there is where a key is unknown.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <jansson.h>

#include "tests/unit/config/config_fixture.h"

#define SCHEMA   "docs/baton.schema.json"
#define MANUAL   "docs/configuration.md"
#define KEYS_MAX 64
#define NO_KEY   "\"xyzzy\":1"

/* Each object of a configuration: one with an unknown key in it, and what describes it. */
static const struct {
	const char *json, *path; /* of the unknown key */
	const char *definition;  /* of the schema; NULL: the top level */
	const char *property;    /* of that, which is an object itself */
} objects[] = {
	{"{" NO_KEY "}", "xyzzy", NULL, NULL},
	{"{\"api\":{" NO_KEY "}}", "api.xyzzy", NULL, "api"},
	{SERVICE("," NO_KEY), "services.web.xyzzy", "service", NULL},
	{SERVICE(",\"limits\":{" NO_KEY "}"), "services.web.limits.xyzzy", "limits", NULL},
	{SERVICE(",\"resources\":{" NO_KEY "}"), "services.web.resources.xyzzy", "resources", NULL},
	{SERVICE(",\"health\":{" NO_KEY "}"), "services.web.health.xyzzy", "check", NULL},
	{SERVICE(",\"health\":[{},{" NO_KEY "}]"), "services.web.health[1].xyzzy", "check", NULL},
	{SERVICE(",\"health\":{\"tls\":{" NO_KEY "}}"), "services.web.health.tls.xyzzy", "tls",
	 NULL},
	{SERVICE(",\"rollout\":{" NO_KEY "}"), "services.web.rollout.xyzzy", "rollout", NULL},
	{SERVICE(",\"rollout\":{\"steps\":[{\"weight\":1," NO_KEY "}]}"),
	 "services.web.rollout.steps[0].xyzzy", "step", NULL},
	{SERVICE(",\"gates\":[{" NO_KEY "}]"), "services.web.gates[0].xyzzy", "gate", NULL},
	{SERVICE(",\"hooks\":{" NO_KEY "}"), "services.web.hooks.xyzzy", "hooks", NULL},
	{SERVICE(",\"restart\":{" NO_KEY "}"), "services.web.restart.xyzzy", "restart", NULL},
	{SERVICE(",\"watch\":{\"paths\":[]," NO_KEY "}"), "services.web.watch.xyzzy", "watch",
	 NULL},
	{SERVICE(",\"drain\":{" NO_KEY "}"), "services.web.drain.xyzzy", "drain", NULL},
};

#define N_OBJECTS (sizeof(objects) / sizeof(objects[0]))

static json_t *schema;
static char *manual;

static int load_documents(void **state)
{
	FILE *f = fopen(MANUAL, "r");
	size_t n = 0;
	ssize_t length;

	(void)state;
	schema = json_load_file(SCHEMA, JSON_REJECT_DUPLICATES, NULL);
	if (!schema || !f) {
		print_message("run this in the folder above docs/\n");
		return -1;
	}
	length = getdelim(&manual, &n, '\0', f);
	fclose(f);
	return length > 0 ? 0 : -1;
}

static int free_documents(void **state)
{
	(void)state;
	json_decref(schema);
	free(manual);
	return 0;
}

/* The keys that the reader knows at @objects[@i], in @buffer. */
static size_t keys_of_reader(size_t i, char *buffer, size_t size, const char *ret[static KEYS_MAX])
{
	char expected[512];
	const char *list;
	char *end, *save;
	size_t n = 0;

	load_bad(objects[i].json);
	snprintf(expected, sizeof(expected),
		 "%s: %s: unknown key (there are: ", in_folder("baton.json"), objects[i].path);
	assert_int_equal(strncmp(mistakes.list[0].text, expected, strlen(expected)), 0);
	list = mistakes.list[0].text + strlen(expected);
	assert_true(strlen(list) < size);
	strcpy(buffer, list);
	end = strchr(buffer, ')');
	if (!end) /* cut: the list no longer fits into a message */
		fail_msg("%s", mistakes.list[0].text);
	*end = '\0';
	for (char *key = strtok_r(buffer, ", ", &save); key; key = strtok_r(NULL, ", ", &save)) {
		assert_true(n < KEYS_MAX);
		ret[n++] = key;
	}
	return n;
}

static json_t *properties_of(size_t i)
{
	json_t *object = schema;

	if (objects[i].definition)
		object = json_object_get(json_object_get(schema, "definitions"),
					 objects[i].definition);
	if (objects[i].property)
		object =
			json_object_get(json_object_get(object, "properties"), objects[i].property);
	assert_true(json_is_false(json_object_get(object, "additionalProperties")));
	return json_object_get(object, "properties");
}

static void test_config_schema_has_the_keys_of_the_reader(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OBJECTS; i++) {
		json_t *properties = properties_of(i);
		const char *keys[KEYS_MAX];
		char buffer[2048];
		size_t n = keys_of_reader(i, buffer, sizeof(buffer), keys);

		for (size_t k = 0; k < n; k++)
			if (!json_object_get(properties, keys[k]))
				fail_msg("%s: \"%s\" is not in the schema", objects[i].path,
					 keys[k]);
		/* As many, each of them: the same. */
		if (json_object_size(properties) != n)
			fail_msg("%s: the schema has %zu keys, the reader %zu", objects[i].path,
				 json_object_size(properties), n);
	}
}

/* Also where there is an object that the list above does not have. */
static void test_config_schema_has_no_object_that_is_not_compared(void **state)
{
	json_t *definition;
	const char *name;

	(void)state;
	json_object_foreach (json_object_get(schema, "definitions"), name, definition) {
		bool known = !json_object_get(definition, "properties");

		for (size_t i = 0; i < N_OBJECTS; i++)
			known |= objects[i].definition && strcmp(objects[i].definition, name) == 0;
		if (!known)
			fail_msg("\"%s\" of the schema is not compared", name);
	}
}

static void test_config_manual_has_the_keys_of_the_reader(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_OBJECTS; i++) {
		const char *keys[KEYS_MAX];
		char buffer[2048], row[128];
		size_t n = keys_of_reader(i, buffer, sizeof(buffer), keys);

		for (size_t k = 0; k < n; k++) {
			snprintf(row, sizeof(row), "`%s`", keys[k]);
			if (!strstr(manual, row))
				fail_msg("%s: \"%s\" is not in the manual", objects[i].path,
					 keys[k]);
		}
	}
}

/* A reference that leads nowhere would make an editor accept anything. */
static void check_references(const json_t *value)
{
	const char *reference = json_string_value(json_object_get(value, "$ref"));
	const json_t *item;
	const char *name;
	size_t i;

	if (reference) {
		assert_int_equal(strncmp(reference, "#/definitions/", 14), 0);
		if (!json_object_get(json_object_get(schema, "definitions"), reference + 14))
			fail_msg("%s is not there", reference);
	}
	json_object_foreach ((json_t *)value, name, item)
		check_references(item);
	json_array_foreach (value, i, item)
		check_references(item);
}

static void test_config_schema_refers_to_what_it_has(void **state)
{
	(void)state;
	check_references(schema);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_config_schema_has_the_keys_of_the_reader),
		TEST(test_config_schema_has_no_object_that_is_not_compared),
		TEST(test_config_manual_has_the_keys_of_the_reader),
		TEST(test_config_schema_refers_to_what_it_has),
	};

	return cmocka_run_group_tests_name("config_schema", tests, load_documents, free_documents);
}
