/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/common/protocol_samples.h"

/* ---- wrong fields --------------------------------------------------------------------------- */

static json_t *loaded(const char *text, size_t length)
{
	json_t *json = json_loadb(text, length, 0, NULL);

	assert_non_null(json);
	return json;
}

static void check_missing(decoder *decode, const char *text, size_t length)
{
	json_t *json = loaded(text, length), *copy;
	struct error err;
	const char *key;
	json_t *value;

	json_object_foreach (json, key, value) {
		copy = json_copy(json);
		json_object_del(copy, key);
		if (may_be_missing(json, key))
			assert_int_equal(decode_json(decode, copy, &err), 0);
		else
			need_refused(decode, copy, key);
		json_decref(copy);
	}
	json_decref(json);
}

static void test_protocol_each_missing_field_is_named(void **state)
{
	(void)state;
	for_each_text(check_missing);
}

/* May a field that had @value have @other? Where both are of one JSON type, others test it. */
static bool same_json_type(const char *key, const json_t *value, const json_t *other)
{
	if (json_is_boolean(value))
		return json_is_boolean(other);
	if (json_is_null(other))
		return strcmp(key, "cgroup") == 0;
	return json_typeof(value) == json_typeof(other);
}

static void check_wrong_types(decoder *decode, const char *text, size_t length)
{
	static const char *const values[] = {
		"null",           "true", "1",  "-1",  "1.0", "1e0",
		"\"1\"",          "\"\"", "[]", "[1]", "{}",  "{\"hex\":1}",
		"{\"hex\":null}",
	};
	json_t *json = loaded(text, length), *copy, *other;
	const char *key;
	json_t *value;

	json_object_foreach (json, key, value) {
		/* Of an object there is none but the hexadecimal one, tested elsewhere. */
		for (size_t i = 0; i < COUNT(values); i++) {
			other = json_loads(values[i], JSON_DECODE_ANY, NULL);
			assert_non_null(other);
			if (json_is_object(other) || !same_json_type(key, value, other)) {
				copy = json_copy(json);
				json_object_set(copy, key, other);
				need_refused(decode, copy, key);
				json_decref(copy);
			}
			json_decref(other);
		}
	}
	json_decref(json);
}

static void test_protocol_each_field_of_wrong_type_is_named(void **state)
{
	(void)state;
	for_each_text(check_wrong_types);
}

static void check_unknown(decoder *decode, const char *text, size_t length)
{
	json_t *json = loaded(text, length);
	struct error err;

	json_object_set_new(json, "", json_integer(-1));
	json_object_set_new(json, "future", json_pack("{s:[n,s,{}]}", "a", "b"));
	assert_int_equal(decode_json(decode, json, &err), 0);
	json_decref(json);
}

static void test_protocol_unknown_fields_are_ignored(void **state)
{
	(void)state;
	for_each_text(check_unknown);
}

static void check_number(decoder *decode, json_t *json, const char *key, json_int_t min,
			 json_int_t max)
{
	json_t *copy = json_copy(json);
	struct error err;

	json_object_set_new(copy, key, json_integer(min));
	assert_int_equal(decode_json(decode, copy, &err), 0);
	json_object_set_new(copy, key, json_integer(max));
	assert_int_equal(decode_json(decode, copy, &err), 0);
	json_object_set_new(copy, key, json_integer(min - 1));
	need_refused(decode, copy, key);
	json_object_set_new(copy, key, json_integer(max + 1));
	need_refused(decode, copy, key);
	json_object_set_new(copy, key, json_integer(INT64_MAX));
	need_refused(decode, copy, key);
	json_object_set_new(copy, key, json_integer(INT64_MIN));
	need_refused(decode, copy, key);
	json_decref(copy);
}

static void test_protocol_spec_numbers_out_of_range_are_named(void **state)
{
	static const struct {
		const char *key;
		json_int_t min, max;
	} cases[] = {
		{"generation", 1, UINT32_MAX},       {"instance", 0, UINT32_MAX},
		{"backlog", 0, INT32_MAX},           {"listen_delay_ms", 0, UINT32_MAX},
		{"uid", 0, UINT32_MAX - 1},          {"gid", 0, UINT32_MAX - 1},
		{"restart_max", 0, UINT32_MAX},      {"restart_window_ms", 0, UINT32_MAX},
		{"restart_delay_ms", 0, UINT32_MAX}, {"restart_delay_max_ms", 0, UINT32_MAX},
	};
	size_t length;
	json_t *json;
	char *text;

	(void)state;
	encoded_spec(&text, &length);
	json = loaded(text, length);
	for (size_t i = 0; i < COUNT(cases); i++)
		check_number(try_spec, json, cases[i].key, cases[i].min, cases[i].max);
	json_decref(json);
	free(text);
}

static void test_protocol_message_numbers_out_of_range_are_named(void **state)
{
	static const struct {
		decoder *decode;
		const char *text, *key;
		json_int_t min, max;
	} cases[] = {
		{try_order, "{'type':'leave','signal':1,'timeout_ms':1}", "signal", 0, 64},
		{try_order, "{'type':'stop','signal':1,'timeout_ms':1}", "signal", 0, 64},
		{try_order, "{'type':'stop','signal':1,'timeout_ms':1}", "timeout_ms", 0,
		 UINT32_MAX},
		{try_order, "{'type':'release','serial':1}", "serial", 0, UINT32_MAX},
		{try_report, "{'type':'started','pid':1}", "pid", 1, INT32_MAX},
		{try_report, "{'type':'sockets','serial':1,'sockets':[],'strangers':[]}", "serial",
		 0, UINT32_MAX},
		{try_report,
		 "{'type':'stopped','exit_code':0,'exit_signal':0,'killed':false,'tail':''}",
		 "exit_code", 0, 255},
		{try_report,
		 "{'type':'stopped','exit_code':0,'exit_signal':0,'killed':false,'tail':''}",
		 "exit_signal", 0, 64},
		{try_report,
		 "{'type':'exited','exit_code':0,'exit_signal':0,'restarting':false,"
		 "'restart_ms':0,'tail':''}",
		 "restart_ms", 0, UINT32_MAX},
	};
	char text[256];
	json_t *json;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		strcpy(text, cases[i].text);
		for (char *c = text; *c; c++)
			*c = *c == '\'' ? '"' : *c;
		json = loaded(text, strlen(text));
		check_number(cases[i].decode, json, cases[i].key, cases[i].min, cases[i].max);
		json_decref(json);
	}
}

static void test_protocol_hello_numbers_out_of_range_are_named(void **state)
{
	size_t length;
	json_t *json;
	char *text;

	(void)state;
	assert_int_equal(report_encode(&reports[0], &text, &length), 0);
	json = loaded(text, length);
	check_number(try_report, json, "version", 1, UINT32_MAX);
	check_number(try_report, json, "generation", 1, UINT32_MAX);
	check_number(try_report, json, "instance", 0, UINT32_MAX);
	check_number(try_report, json, "agent_pid", 1, INT32_MAX);
	check_number(try_report, json, "pid", 0, INT32_MAX);
	check_number(try_report, json, "serial", 0, UINT32_MAX);
	json_object_set_new(json, "version", json_integer(3));
	check_number(try_report, json, "newest", 3, UINT32_MAX);
	json_decref(json);
	free(text);
}

/* Replace @key by the JSON @value, with "'" for quotes, and decode. */
static int decode_with(decoder *decode, const char *base, size_t length, const char *key,
		       const char *value, struct error *err)
{
	json_t *json = loaded(base, length), *item;
	char text[8192];
	int r;

	assert_true(strlen(value) < sizeof(text));
	strcpy(text, value);
	for (char *c = text; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	item = json_loads(text, JSON_DECODE_ANY, NULL);
	assert_non_null(item);
	json_object_set_new(json, key, item);
	r = decode_json(decode, json, err);
	json_decref(json);
	return r;
}

struct value_case {
	const char *key, *value, *reason; /* NULL: accepted */
};

static void check_values(decoder *decode, const char *base, size_t length,
			 const struct value_case *cases, size_t count)
{
	struct error err;
	int r;

	for (size_t i = 0; i < count; i++) {
		r = decode_with(decode, base, length, cases[i].key, cases[i].value, &err);
		if ((r == 0) != !cases[i].reason)
			fail_msg("%s = %s: %d %s", cases[i].key, cases[i].value, r, err.text);
		if (r < 0 &&
		    (!strstr(err.text, cases[i].reason) || !strstr(err.text, cases[i].key)))
			fail_msg("%s = %s: %s", cases[i].key, cases[i].value, err.text);
	}
}

static void test_protocol_spec_bad_values_are_named(void **state)
{
	static const struct value_case cases[] = {
		{"service", "'a.b'", "not a name"},
		{"service", "''", "not a name"},
		{"service", "'" LONGEST_NAME "4'", "not a name"},
		{"service", "{'hex':'61'}", NULL},
		{"service", "{'hex':'ff'}", "not a name"},
		{"executable", "''", "absolute"},
		{"executable", "'bin/web'", "absolute"},
		{"executable", "{'hex':'2fff'}", NULL},
		{"executable", "{'hex':'2FFF'}", "not a string"},
		{"executable", "{'hex':'2ff'}", "not a string"},
		{"executable", "{'hex':'2f00'}", "not a string"},
		{"executable", "{'hex':'2fzz'}", "not a string"},
		{"executable", "{'hex':'2f f'}", "not a string"},
		{"executable", "{'hex':''}", "absolute"},
		{"executable", "{'hex':'2f62','more':[1]}", NULL},
		{"directory", "'.'", "absolute"},
		{"cgroup", "'a'", "absolute"},
		{"cgroup", "''", "absolute"},
		{"cgroup", "null", NULL},
		{"argv", "[]", "empty"},
		{"argv", "['']", NULL},
		{"argv", "['a',1]", "list of strings"},
		{"argv", "['a',null,'b']", "list of strings"},
		{"argv", "['a',['b']]", "list of strings"},
		{"argv", "['a',{'hex':'0'}]", "list of strings"},
		{"environment", "[]", NULL},
		{"environment", "['A=']", NULL},
		{"environment", "['A=1','B']", "entry 1"},
		{"environment", "['=1']", "entry 0"},
		{"environment", "['']", "entry 0"},
		{"environment", "['A=1',{'hex':'ff'}]", "entry 1"},
		{"environment", "['A=1',7]", "list of strings"},
		{"mode", "'auto'", NULL},
		{"mode", "'inherit'", NULL},
		{"mode", "'transparent'", NULL},
		{"mode", "'Auto'", "known names"},
		{"mode", "''", "known names"},
		{"mode", "null", "known names"},
		{"listen", "[]", NULL},
		{"listen", "[':80','localhost:80']", "host names"},
		{"listen", "[':80',80]", "not a string"},
		{"listen",
		 "[':1',':2',':3',':4',':5',':6',':7',':8',':9',':10',':11',':12',"
		 "':13',':14',':15',':16']",
		 NULL},
		{"listen",
		 "[':1',':2',':3',':4',':5',':6',':7',':8',':9',':10',':11',':12',':13',"
		 "':14',':15',':16',':17']",
		 "at most 16"},
		{"twins", "[]", NULL},
		{"twins", "[0,0]", NULL},
		{"twins", "[1]", "endpoint with a twin"},
		{"twins", "[3]", "endpoint with a twin"},
		{"twins", "[-1]", "endpoint with a twin"},
		{"twins", "['0']", "endpoint with a twin"},
		{"twins", "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", "at most 16"},
		{"twins", "0", "not a list"},
		{"groups", "[]", NULL},
		{"groups", "[0,4294967294]", NULL},
		{"groups", "[4294967295]", "number of a group"},
		{"groups", "[-1]", "number of a group"},
		{"groups", "[1.5]", "number of a group"},
		{"groups", "['4']", "number of a group"},
		{"groups",
		 "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,"
		 "27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,"
		 "51,52,53,54,55,56,57,58,59,60,61,62,63]",
		 NULL},
		{"groups",
		 "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,"
		 "27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,"
		 "51,52,53,54,55,56,57,58,59,60,61,62,63,64]",
		 "at most 64"},
	};
	size_t length;
	char *text;

	(void)state;
	encoded_spec(&text, &length);
	check_values(try_spec, text, length, cases, COUNT(cases));
	free(text);
}

/* ---- process settings ----------------------------------------------------------------------- */

/* What is missing or wrong is named, together with the object that it is in. */
static void test_protocol_process_bad_values_are_named(void **state)
{
	static const struct {
		const char *key, *value, *reason; /* NULL: accepted */
	} cases[] = {
		{"umask", "0", NULL},
		{"umask", "511", NULL},
		{"umask", "512", "\"umask\" is not a number from 0 to 511"},
		{"umask", "-1", "\"umask\" is not a number"},
		{"umask", "'022'", "\"umask\" is not a number"},
		{"umask", NULL, "\"umask\" is missing"},
		{"no_new_privileges", "1", "\"no_new_privileges\" is neither"},
		{"no_new_privileges", NULL, "\"no_new_privileges\" is missing"},
		{"nice", "-20", NULL},
		{"nice", "19", NULL},
		{"nice", "-21", "\"nice\" is not a number from -20 to 19"},
		{"nice", "20", "\"nice\" is not a number"},
		{"nice", "null", "\"nice\" is not a number"},
		{"nice", "1.0", "\"nice\" is not a number"},
		{"oom_score_adjust", "-1000", NULL},
		{"oom_score_adjust", "1000", NULL},
		{"oom_score_adjust", "-1001", "\"oom_score_adjust\" is not a number"},
		{"oom_score_adjust", "1001", "\"oom_score_adjust\" is not a number"},
		{"oom_score_adjust", "''", "\"oom_score_adjust\" is not a number"},
		{"capabilities", "'0'", NULL},
		{"capabilities", "'18446744073709551615'", NULL},
		{"capabilities", "'18446744073709551616'", "\"capabilities\" is too large"},
		{"capabilities", "0", "\"capabilities\" is not a number in a string"},
		{"capabilities", "null", "\"capabilities\" is not a number in a string"},
		{"capabilities", "'CAP_CHOWN'", "\"capabilities\" is not a number in a string"},
		{"stdout", "'journal'", NULL},
		{"stdout", "'/a'", NULL},
		{"stdout", "{'hex':'2fff'}", NULL},
		{"stdout", "'a'", "\"stdout\" is neither"},
		{"stdout", "''", "\"stdout\" is neither"},
		{"stdout", "{'hex':'ff'}", "\"stdout\" is neither"},
		{"stdout", "null", "\"stdout\" is not a string"},
		{"stdout", NULL, "\"stdout\" is missing"},
		{"stderr", "'Journal'", "\"stderr\" is neither"},
		{"stderr", "1", "\"stderr\" is not a string"},
		{"stderr", NULL, "\"stderr\" is missing"},
		{"limits", "{'nofile':{'soft':'1','hard':'1'}}", NULL},
		{"limits", "{'nofile':{'soft':'0','hard':'18446744073709551615'}}", NULL},
		{"limits", "{'nofile':{'soft':'2','hard':'1'}}", "\"nofile\": \"soft\" is larger"},
		{"limits", "{'nofile':{'soft':'1'}}", "\"nofile\": \"hard\""},
		{"limits", "{'nofile':{'hard':'1'}}", "\"nofile\": \"soft\""},
		{"limits", "{'nofile':{'soft':1,'hard':'1'}}", "\"nofile\": \"soft\""},
		{"limits", "{'nofile':'1'}", "\"limits\": \"nofile\""},
		{"limits", "{'files':{'soft':'1','hard':'1'}}", "\"files\" is no limit"},
		{"limits", "{'':{'soft':'1','hard':'1'}}", "\"\" is no limit"},
		{"limits", "[]", "\"limits\" is missing or not an object"},
		{"limits", NULL, "\"limits\" is missing or not an object"},
		{"unknown", "[null]", NULL},
	};
	size_t length;
	char *text;

	(void)state;
	encoded_spec(&text, &length);
	for (size_t i = 0; i < COUNT(cases); i++) {
		json_t *json = loaded(text, length);
		json_t *process = json_object_get(json, "process");
		char value[256] = "null";
		struct error err;
		int r;

		if (cases[i].value)
			snprintf(value, sizeof(value), "%s", cases[i].value);
		for (char *c = value; *c; c++)
			*c = *c == '\'' ? '"' : *c;
		json_object_set_new(process, cases[i].key,
				    json_loads(value, JSON_DECODE_ANY, NULL));
		if (!cases[i].value)
			json_object_del(process, cases[i].key);
		r = decode_json(try_spec, json, &err);
		if ((r == 0) != !cases[i].reason)
			fail_msg("%s = %s: %d %s", cases[i].key, value, r, err.text);
		if (r < 0 && (!strstr(err.text, cases[i].reason) ||
			      !strstr(err.text, "launch specification: \"process\": ")))
			fail_msg("%s = %s: %s", cases[i].key, value, err.text);
		json_decref(json);
	}
	free(text);
}

/* A specification that was written by an earlier batond. */
static void test_protocol_spec_without_process_has_the_defaults(void **state)
{
	struct process_settings defaults;
	struct launch_spec spec;
	json_t *json;
	size_t length;
	char *text;

	(void)state;
	encoded_spec(&text, &length);
	json = loaded(text, length);
	free(text);
	assert_int_equal(json_object_del(json, "process"), 0);
	text = json_dumps(json, 0);
	json_decref(json);
	assert_int_equal(launch_spec_decode(text, strlen(text), &spec, NULL), 0);
	free(text);
	process_settings_init(&defaults);
	assert_int_equal(spec.process.umask, 022);
	assert_true(process_settings_equal(&spec.process, &defaults));
	launch_spec_done(&spec);
}

static void test_protocol_process_what_is_not_set_stays_so(void **state)
{
	struct launch_spec spec = full_spec(), back;
	size_t length;
	json_t *json;
	char *text;

	(void)state;
	process_settings_init(&spec.process);
	assert_int_equal(launch_spec_encode(&spec, &text, &length), 0);
	json = loaded(text, length);
	/* umask, no_new_privileges, limits, stdout, stderr */
	assert_int_equal(json_object_size(json_object_get(json, "process")), 5);
	json_decref(json);
	assert_int_equal(launch_spec_decode(text, length, &back, NULL), 0);
	free(text);
	assert_false(back.process.nice_set || back.process.capabilities_set ||
		     back.process.oom_score_adjust_set || back.process.limits[RLIMIT_NOFILE].set);
	launch_spec_done(&back);
}

#define SOCKET "{'cookie':'1','inode':'2','endpoint':0,'own':true,'address':':80'}"
#define WITH(cookie, inode, address)                                                               \
	"[{'cookie':" cookie ",'inode':" inode ",'endpoint':1,'own':false,'address':" address "}]"
#define AT(endpoint, own)                                                                          \
	"[{'cookie':'1','inode':'2','endpoint':" endpoint ",'own':" own ",'address':':80'}]"
#define TIMES_4(text)  text "," text "," text "," text
#define TIMES_16(text) TIMES_4(TIMES_4(text))
#define TIMES_64(text) TIMES_4(TIMES_16(text))

/* For both types that carry sockets. */
static const struct value_case socket_cases[] = {
	{"sockets", "[]", NULL},
	{"sockets", "[" SOCKET "]", NULL},
	{"sockets", "[1]", "cookie"},
	{"sockets", "[{}]", "cookie"},
	{"sockets", WITH("''", "'2'", "':80'"), "cookie"},
	{"sockets", WITH("1", "'2'", "':80'"), "cookie"},
	{"sockets", WITH("'-1'", "'2'", "':80'"), "cookie"},
	{"sockets", WITH("' 1'", "'2'", "':80'"), "cookie"},
	{"sockets", WITH("'1x'", "'2'", "':80'"), "cookie"},
	{"sockets", WITH("'18446744073709551615'", "'2'", "':80'"), NULL},
	{"sockets", WITH("'18446744073709551616'", "'2'", "':80'"), "too large"},
	{"sockets", WITH("'1'", "2", "':80'"), "inode"},
	{"sockets", "[{'cookie':'1','address':':80'}]", "inode"},
	{"sockets", "[{'cookie':'1','inode':'2'}]", "address"},
	{"sockets", WITH("'1'", "'2'", "'x:80'"), "address"},
	{"sockets", AT("15", "false"), NULL},
	{"sockets", AT("16", "false"), "endpoint"},
	{"sockets", AT("-1", "false"), "endpoint"},
	{"sockets", AT("1.0", "false"), "endpoint"},
	{"sockets", AT("'1'", "false"), "endpoint"},
	{"sockets", AT("null", "false"), "endpoint"},
	{"sockets", AT("0", "0"), "own"},
	{"sockets", AT("0", "null"), "own"},
	{"sockets", AT("0", "true,'deaf':0"), "deaf"},
	{"sockets", AT("0", "true,'deaf':null"), "deaf"},
	{"sockets", AT("0", "true,'deaf':true"), NULL},
	{"sockets", "[" TIMES_64(SOCKET) "]", NULL},
	{"sockets", "[" TIMES_64(SOCKET) "," SOCKET "]", "at most 64"},
	{"strangers", "[]", NULL},
	{"strangers", "['[fe80::1%eth0]:80']", NULL},
	{"strangers", "[1]", "not a string"},
	{"strangers", "[null]", "not a string"},
	{"strangers", "['" TIMES_4("123456789012345") "']", NULL},
	{"strangers", "['" TIMES_4("123456789012345") "6']", "at most 63"},
	{"strangers", "[" TIMES_4("':1',':2'") "]", NULL},
	{"strangers", "[" TIMES_4("':1',':2'") ",':3']", "at most 8"},
};

static void test_protocol_sockets_bad_values_are_named(void **state)
{
	static const struct report sockets = {.type = REPORT_SOCKETS};
	size_t length;
	char *text;

	(void)state;
	assert_int_equal(report_encode(&reports[0], &text, &length), 0);
	check_values(try_report, text, length, socket_cases, COUNT(socket_cases));
	free(text);
	assert_int_equal(report_encode(&sockets, &text, &length), 0);
	check_values(try_report, text, length, socket_cases, COUNT(socket_cases));
	free(text);
}

static void test_protocol_hello_bad_values_are_named(void **state)
{
	static const struct value_case cases[] = {
		{"service", "'a b'", "not a name"},
		{"service", "'" LONGEST_NAME "4'", "at most 63"},
		{"state", "'running'", NULL},
		{"state", "'Running'", "known names"},
		{"state", "'unknown'", "known names"},
	};
	size_t length;
	char *text;

	(void)state;
	assert_int_equal(report_encode(&reports[0], &text, &length), 0);
	check_values(try_report, text, length, cases, COUNT(cases));
	free(text);
}

/* An agent that was started by an earlier batond, and a specification written by one. */

static void test_protocol_hello_of_first_version_is_understood(void **state)
{
	static const struct value_case cases[] = {
		{"sockets", "[{'cookie':'1','inode':'2','address':':80'}]", NULL},
		{"sockets", "[" TIMES_16("{'cookie':'1','inode':'2','address':':80'}") "]", NULL},
		{"sockets", "[" TIMES_16(SOCKET) ",{'cookie':'1','inode':'2','address':':80'}]",
		 "endpoint"},
	};
	struct report back;
	json_t *json;
	size_t length;
	char *text;

	(void)state;
	assert_int_equal(report_encode(&reports[0], &text, &length), 0);
	check_values(try_report, text, length, cases, COUNT(cases));
	json = loaded(text, length);
	free(text);
	json_object_del(json, "serial");
	json_object_del(json, "strangers");
	json_object_del(json, "newest");
	json_object_del(json, "tells");
	json_object_del(json, "reopens");
	json_object_del(json, "keeps");
	json_object_del(json, "looks");
	json_object_del(json, "hinted");
	json_object_del(json, "kept");
	json_object_del(json, "initial");
	json_object_del(json, "tail_stdout");
	json_object_del(json, "tail_age_ms");
	for (size_t i = 0; i < 2; i++) {
		json_t *item = json_array_get(json_object_get(json, "sockets"), i);

		json_object_del(item, "endpoint");
		json_object_del(item, "own");
		json_object_del(item, "deaf");
	}
	text = json_dumps(json, 0);
	json_decref(json);
	assert_int_equal(report_decode(text, strlen(text), &back, NULL), 0);
	free(text);
	assert_int_equal(back.n_sockets, 2);
	assert_int_equal(back.sockets[1].endpoint, 1);
	assert_false(back.sockets[1].own);
	assert_false(back.sockets[1].deaf);
	assert_int_equal(back.serial, 0);
	assert_int_equal(back.n_strangers, 0);
	assert_int_equal(back.newest, 0);
	assert_false(back.tells);
	assert_false(back.reopens);
	assert_false(back.keeps);
}

/* An earlier daemon numbers no order to reopen, and knows no answer to it. */
static void test_protocol_reopen_of_first_version_is_understood(void **state)
{
	static const char text[] = "{\"type\":\"reopen\"}";
	struct order back;

	(void)state;
	assert_int_equal(order_decode(text, sizeof(text) - 1, &back, NULL), 0);
	assert_int_equal(back.type, ORDER_REOPEN);
	assert_int_equal(back.serial, 0);
}

/* The type is newer than that: nothing may be missing. */
static void test_protocol_sockets_report_is_complete(void **state)
{
	static const struct report sockets = {.type = REPORT_SOCKETS};
	static const struct value_case cases[] = {
		{"sockets", "[{'cookie':'1','inode':'2','own':true,'address':':80'}]", "endpoint"},
		{"sockets", "[{'cookie':'1','inode':'2','endpoint':0,'address':':80'}]", "own"},
	};
	size_t length;
	char *text;

	(void)state;
	assert_int_equal(report_encode(&sockets, &text, &length), 0);
	check_values(try_report, text, length, cases, COUNT(cases));
	free(text);
}

static void test_protocol_spec_of_first_version_means_inherit(void **state)
{
	static const char *const keys[] = {"mode", "sockets_given", "listen_later",
					   "listen_delay_ms"};
	struct launch_spec spec;
	json_t *json;
	size_t length;
	char *text;

	(void)state;
	encoded_spec(&text, &length);
	json = loaded(text, length);
	free(text);
	for (size_t i = 0; i < COUNT(keys); i++)
		assert_int_equal(json_object_del(json, keys[i]), 0);
	text = json_dumps(json, 0);
	json_decref(json);
	assert_int_equal(launch_spec_decode(text, strlen(text), &spec, NULL), 0);
	free(text);
	assert_int_equal(spec.mode, SOCKETS_INHERIT);
	assert_false(spec.sockets_given || spec.listen_later);
	assert_int_equal(spec.listen_delay_ms, 0);
	launch_spec_done(&spec);
}

static void test_protocol_spec_ids_matter_only_where_set(void **state)
{
	struct launch_spec spec = full_spec();
	struct error err;
	size_t length;
	char *text;

	(void)state;
	spec.set_ids = false;
	assert_int_equal(launch_spec_encode(&spec, &text, &length), 0);
	assert_int_equal(decode_with(try_spec, text, length, "uid", "4294967295", &err), 0);
	assert_int_equal(decode_with(try_spec, text, length, "uid", "4294967296", &err), -EBADMSG);
	free(text);
}

static void test_protocol_exit_code_and_signal_exclude_each_other(void **state)
{
	struct report report = {.type = REPORT_EXITED, .exit_code = 1, .exit_signal = 9};
	size_t length;
	char *text;

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct error err;

		report.type = i ? REPORT_STOPPED : REPORT_EXITED;
		assert_int_equal(report_encode(&report, &text, &length), 0);
		assert_int_equal(decode_exactly(try_report, text, length, &err), -EBADMSG);
		assert_non_null(strstr(err.text, "exit_signal"));
		free(text);
	}
}

static void test_protocol_not_a_message_is_refused(void **state)
{
	static const struct {
		const char *text;
		size_t length;
	} cases[] = {
#define CASE(text) {text, sizeof(text) - 1}
		CASE(""),
		CASE(" "),
		CASE("\0"),
		CASE("{"),
		CASE("}"),
		CASE("{}"),
		CASE("[]"),
		CASE("[{\"type\":\"left\",\"forced\":true}]"),
		CASE("null"),
		CASE("1"),
		CASE("\"left\""),
		CASE("{\"type\":\"nonsense\"}"),
		CASE("{\"type\":\"\"}"),
		CASE("{\"type\":\"LEFT\",\"forced\":true}"),
		CASE("{\"type\":5,\"forced\":true}"),
		CASE("{\"type\":\"left\",\"forced\":true} x"),
		CASE("{\"type\":\"left\",\"forced\":true}\0"),
		CASE("{\"type\":\"left\",\"forced\":true}{\"type\":\"left\",\"forced\":true}"),
		CASE("{\"type\":\"left\",\"forced\":true,\"forced\":false}"),
		CASE("{\"type\":\"left\",\"forced\":tru\0}"),
		CASE("{\"type\":\"left\\u0000\",\"forced\":true}"),
		CASE("{\"type\":\"failed\",\"text\":\"a\\u0000b\",\"tail\":\"\"}"),
		CASE("{\"type\":\"failed\",\"text\":\"a\0b\",\"tail\":\"\"}"),
		CASE("{\"type\":\"failed\",\"text\":\"\xff\",\"tail\":\"\"}"),
		CASE("{\"type\":\"failed\",\"text\":\"\\ud800\",\"tail\":\"\"}"),
		CASE("{\"type\":\"started\",\"pid\":99999999999999999999}"),
		CASE("{\"type\":\"started\",\"pid\":1e400}"),
#undef CASE
	};
	struct error err;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		if (decode_exactly(try_report, cases[i].text, cases[i].length, &err) != -EBADMSG ||
		    decode_exactly(try_order, cases[i].text, cases[i].length, &err) != -EBADMSG ||
		    decode_exactly(try_spec, cases[i].text, cases[i].length, &err) != -EBADMSG)
			fail_msg("case %zu, %s, was accepted", i, cases[i].text);
	}
}

/* What older agents say of an end, and what newer ones may add. */
static void test_protocol_end_of_an_older_agent_is_as_it_says(void **state)
{
	static const char *const texts[] = {
		"{'type':'stopped','exit_code':0,'exit_signal':9,'killed':true,'tail':''}",
		"{'type':'stopped','exit_code':0,'exit_signal':9,'killed':true,'tail':'','more':{}}",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		char text[256];
		struct report back;

		strcpy(text, texts[i]);
		for (char *at = text; *at; at++)
			*at = *at == '\'' ? '"' : *at;
		assert_int_equal(report_decode(text, strlen(text), &back, NULL), 0);
		assert_int_equal(back.exit_signal, 9);
		assert_int_equal(back.ending, ENDING_TOLD);
		assert_int_equal(back.tail_age_ms, 0);
		assert_false(back.tail_stdout);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_protocol_each_missing_field_is_named),
		cmocka_unit_test(test_protocol_each_field_of_wrong_type_is_named),
		cmocka_unit_test(test_protocol_unknown_fields_are_ignored),
		cmocka_unit_test(test_protocol_spec_numbers_out_of_range_are_named),
		cmocka_unit_test(test_protocol_message_numbers_out_of_range_are_named),
		cmocka_unit_test(test_protocol_hello_numbers_out_of_range_are_named),
		cmocka_unit_test(test_protocol_spec_bad_values_are_named),
		cmocka_unit_test(test_protocol_process_bad_values_are_named),
		cmocka_unit_test(test_protocol_spec_without_process_has_the_defaults),
		cmocka_unit_test(test_protocol_process_what_is_not_set_stays_so),
		cmocka_unit_test(test_protocol_hello_bad_values_are_named),
		cmocka_unit_test(test_protocol_sockets_bad_values_are_named),
		cmocka_unit_test(test_protocol_hello_of_first_version_is_understood),
		cmocka_unit_test(test_protocol_reopen_of_first_version_is_understood),
		cmocka_unit_test(test_protocol_sockets_report_is_complete),
		cmocka_unit_test(test_protocol_spec_of_first_version_means_inherit),
		cmocka_unit_test(test_protocol_spec_ids_matter_only_where_set),
		cmocka_unit_test(test_protocol_exit_code_and_signal_exclude_each_other),
		cmocka_unit_test(test_protocol_not_a_message_is_refused),
		cmocka_unit_test(test_protocol_end_of_an_older_agent_is_as_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
