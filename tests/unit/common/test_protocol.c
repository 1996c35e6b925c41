/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/common/protocol_samples.h"

/* ---- round trips ---------------------------------------------------------------------------- */

static void assert_same_list(char *const *a, char *const *b)
{
	for (; *a && *b; a++, b++)
		assert_string_equal(*a, *b);
	assert_true(!*a && !*b);
}

static void assert_same_spec(const struct launch_spec *a, const struct launch_spec *b)
{
	assert_string_equal(a->service, b->service);
	assert_int_equal(a->generation, b->generation);
	assert_int_equal(a->instance, b->instance);
	assert_int_equal(a->n_listen, b->n_listen);
	for (size_t i = 0; i < a->n_listen; i++)
		assert_true(address_equal(&a->listen[i], &b->listen[i]));
	assert_memory_equal(a->twins, b->twins, sizeof(a->twins));
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->sockets_given, b->sockets_given);
	assert_int_equal(a->listen_later, b->listen_later);
	assert_int_equal(a->listen_delay_ms, b->listen_delay_ms);
	assert_int_equal(a->backlog, b->backlog);
	assert_int_equal(a->nonblocking, b->nonblocking);
	assert_string_equal(a->executable, b->executable);
	assert_same_list(a->argv, b->argv);
	assert_same_list(a->environment, b->environment);
	assert_string_equal(a->directory, b->directory);
	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->gid, b->gid);
	assert_int_equal(a->n_groups, b->n_groups);
	assert_memory_equal(a->groups, b->groups, sizeof(a->groups));
	assert_int_equal(a->set_ids, b->set_ids);
	assert_true(process_settings_equal(&a->process, &b->process));
	assert_int_equal(!a->cgroup, !b->cgroup);
	if (a->cgroup)
		assert_string_equal(a->cgroup, b->cgroup);
	assert_int_equal(a->restart_max, b->restart_max);
	assert_int_equal(a->restart_window_ms, b->restart_window_ms);
	assert_int_equal(a->restart_delay_ms, b->restart_delay_ms);
	assert_int_equal(a->restart_delay_max_ms, b->restart_delay_max_ms);
}

static void assert_spec_survives(const struct launch_spec *spec)
{
	struct launch_spec back;
	struct error err;
	size_t length;
	char *text;

	assert_int_equal(launch_spec_encode(spec, &text, &length), 0);
	assert_int_equal(strlen(text), length);
	if (launch_spec_decode(text, length, &back, &err) != 0)
		fail_msg("%s", err.text);
	assert_same_spec(&back, spec);
	launch_spec_done(&back);
	free(text);
}

static void test_protocol_spec_round_trip_is_lossless(void **state)
{
	struct launch_spec spec = full_spec();

	(void)state;
	assert_spec_survives(&spec);

	for (int mode = 0; mode < _SOCKETS_COUNT; mode++) {
		spec.mode = (enum socket_mode)mode;
		assert_spec_survives(&spec);
	}
	spec.sockets_given = false;
	spec.listen_later = false;
	spec.listen_delay_ms = UINT32_MAX;
	spec.cgroup = NULL;
	spec.set_ids = false;
	spec.uid = (uid_t)-1;
	spec.gid = (gid_t)-1;
	spec.n_listen = 0;
	spec.n_groups = 0;
	memset(spec.groups, 0, sizeof(spec.groups));
	spec.environment = (char *[]){NULL};
	spec.service = LONGEST_NAME;
	assert_spec_survives(&spec);
}

static void test_protocol_spec_address_is_that_of_the_sockets(void **state)
{
	struct launch_spec spec = full_spec();
	struct address address;

	(void)state;
	spec.twins[0] = true;
	assert_spec_survives(&spec);
	launch_spec_address(&spec, 0, &address);
	assert_string_equal(address.text, "[::ffff:127.0.0.1]:8080");
	launch_spec_address(&spec, 1, &address);
	assert_string_equal(address.text, "[::1]:8080");
	spec.twins[0] = false;
	launch_spec_address(&spec, 0, &address);
	assert_string_equal(address.text, "127.0.0.1:8080");
	assert_int_equal(address_parse("[::ffff:127.0.0.1]:8080", &spec.listen[0], NULL), 0);
	spec.twins[0] = true;
	launch_spec_address(&spec, 0, &address);
	assert_string_equal(address.text, "127.0.0.1:8080");
}

static void test_protocol_spec_process_settings_survive_one_by_one(void **state)
{
	struct launch_spec spec = full_spec();
	struct process_settings *process = &spec.process;

	(void)state;
	process_settings_init(process);
	assert_spec_survives(&spec);
	for (int i = 0; i < (int)RLIM_NLIMITS; i++) {
		process->limits[i] = (struct process_limit){true, (uint64_t)i, UINT64_MAX - 1};
		assert_spec_survives(&spec);
	}
	process->umask = 0;
	assert_spec_survives(&spec);
	process->umask = 0777;
	assert_spec_survives(&spec);
	process->nice_set = process->oom_score_adjust_set = true;
	assert_spec_survives(&spec);
	process->nice = 19;
	process->oom_score_adjust = 1000;
	assert_spec_survives(&spec);
	process->capabilities_set = true;
	assert_spec_survives(&spec);
	process->no_new_privileges = true;
	assert_spec_survives(&spec);
	for (int output = 0; output < _OUTPUT_COUNT; output++) {
		process->output[0] = (enum process_output)output;
		process->output_path[0] = output == OUTPUT_FILE ? (char *)"/journal" : NULL;
		assert_spec_survives(&spec);
	}
}

static void test_protocol_spec_any_byte_survives(void **state)
{
	struct launch_spec spec = full_spec();
	char one[] = "_", two[] = "A=__", every[256];

	(void)state;
	spec.argv = (char *[]){one, every, NULL};
	spec.environment = (char *[]){two, NULL};
	for (int i = 0; i < 255; i++)
		every[i] = (char)(i + 1);
	every[255] = '\0';
	for (int i = 1; i < 256; i++) {
		one[0] = (char)i;
		two[2] = (char)i;
		two[3] = (char)(i ^ 0x5a ? i ^ 0x5a : 1);
		assert_spec_survives(&spec);
	}
}

/* UTF-8 stays readable; what is not is sent in hexadecimal digits. */
static void test_protocol_spec_only_raw_bytes_are_hex(void **state)
{
	static const struct {
		const char *bytes;
		bool plain;
	} cases[] = {
		{"", true},
		{"plain", true},
		{"\xc3\xa4", true},
		{"\xed\x9f\xbf", true},     /* U+D7FF */
		{"\xee\x80\x80", true},     /* U+E000 */
		{"\xf0\x90\x80\x80", true}, /* U+10000 */
		{"\xf4\x8f\xbf\xbf", true}, /* U+10FFFF */
		{"\x80", false},            /* continuation alone */
		{"\xc3", false},            /* cut short */
		{"\xe2\x82", false},
		{"\xf0\x9f\x98", false},
		{"\xc3(", false},
		{"\xc0\xaf", false}, /* overlong */
		{"\xc1\xbf", false},
		{"\xe0\x9f\xbf", false},
		{"\xf0\x8f\xbf\xbf", false},
		{"\xed\xa0\x80", false},     /* surrogate */
		{"\xf4\x90\x80\x80", false}, /* above U+10FFFF */
		{"\xf5\x80\x80\x80", false},
		{"\xff", false},
	};
	struct launch_spec spec = full_spec();
	const json_t *value;
	json_t *json;
	size_t length;
	char *text;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		spec.argv = (char *[]){(char *)cases[i].bytes, NULL};
		assert_spec_survives(&spec);
		assert_int_equal(launch_spec_encode(&spec, &text, &length), 0);
		json = json_loads(text, 0, NULL);
		value = json_array_get(json_object_get(json, "argv"), 0);
		assert_int_equal(json_is_string(value), cases[i].plain);
		json_decref(json);
		free(text);
	}
}

static void test_protocol_order_round_trip_is_lossless(void **state)
{
	struct order back;
	size_t length;
	char *text;

	(void)state;
	for (size_t i = 0; i < COUNT(orders); i++) {
		assert_int_equal(order_encode(&orders[i], &text, &length), 0);
		assert_int_equal(strlen(text), length);
		memset(&back, 0x5a, sizeof(back));
		assert_int_equal(order_decode(text, length, &back, NULL), 0);
		assert_int_equal(back.type, orders[i].type);
		assert_int_equal(back.on, orders[i].on);
		assert_int_equal(back.signal, orders[i].signal);
		assert_int_equal(back.timeout_ms, orders[i].timeout_ms);
		assert_int_equal(back.serial, orders[i].serial);
		assert_int_equal(back.version, orders[i].version);
		free(text);
	}
}

static void assert_same_report(const struct report *a, const struct report *b)
{
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->version, b->version);
	assert_int_equal(a->newest, b->newest);
	assert_string_equal(a->service, b->service);
	assert_int_equal(a->generation, b->generation);
	assert_int_equal(a->instance, b->instance);
	assert_int_equal(a->agent_pid, b->agent_pid);
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->steady, b->steady);
	assert_int_equal(a->serial, b->serial);
	assert_int_equal(a->n_sockets, b->n_sockets);
	for (size_t i = 0; i < PROTOCOL_SOCKETS_MAX; i++) {
		assert_true(a->sockets[i].cookie == b->sockets[i].cookie);
		assert_true(a->sockets[i].inode == b->sockets[i].inode);
		assert_string_equal(a->sockets[i].address, b->sockets[i].address);
		assert_int_equal(a->sockets[i].endpoint, b->sockets[i].endpoint);
		assert_int_equal(a->sockets[i].own, b->sockets[i].own);
		assert_int_equal(a->sockets[i].deaf, b->sockets[i].deaf);
	}
	assert_int_equal(a->n_strangers, b->n_strangers);
	for (size_t i = 0; i < PROTOCOL_STRANGERS_MAX; i++)
		assert_string_equal(a->strangers[i], b->strangers[i]);
	assert_int_equal(a->pid, b->pid);
	assert_int_equal(a->succeeds, b->succeeds);
	assert_int_equal(a->ready, b->ready);
	assert_int_equal(a->exit_code, b->exit_code);
	assert_int_equal(a->exit_signal, b->exit_signal);
	assert_int_equal(a->restarting, b->restarting);
	assert_int_equal(a->restart_ms, b->restart_ms);
	assert_int_equal(a->killed, b->killed);
	assert_int_equal(a->forced, b->forced);
	assert_string_equal(a->text, b->text);
	assert_string_equal(a->tail, b->tail);
	assert_string_equal(a->trouble, b->trouble);
	assert_int_equal(a->trouble_endpoint, b->trouble_endpoint);
	assert_int_equal(a->reopens, b->reopens);
	assert_int_equal(a->keeps, b->keeps);
	assert_int_equal(a->kept, b->kept);
	assert_int_equal(a->files, b->files);
	assert_string_equal(a->stdout_failure, b->stdout_failure);
	assert_string_equal(a->stderr_failure, b->stderr_failure);
}

static void test_protocol_report_round_trip_is_lossless(void **state)
{
	struct report back;
	struct error err;
	size_t length;
	char *text;

	(void)state;
	for (size_t i = 0; i < COUNT(reports); i++) {
		assert_int_equal(report_encode(&reports[i], &text, &length), 0);
		assert_int_equal(strlen(text), length);
		memset(&back, 0x5a, sizeof(back));
		if (report_decode(text, length, &back, &err) != 0)
			fail_msg("%s", err.text);
		assert_same_report(&back, &reports[i]);
		free(text);
	}
}

/* What belongs to other types is not sent: it would say something about nothing. */
static void test_protocol_report_other_types_fields_are_left_out(void **state)
{
	struct report report = reports[0], back;
	size_t length;
	char *text;

	(void)state;
	report.type = REPORT_LEFT;
	report.forced = true;
	report.exit_code = 3;
	assert_int_equal(report_encode(&report, &text, &length), 0);
	assert_string_equal(text, "{\"type\":\"left\",\"forced\":true}");
	assert_int_equal(report_decode(text, length, &back, NULL), 0);
	report = (struct report){.type = REPORT_LEFT, .forced = true};
	assert_same_report(&back, &report);
	free(text);
}

/* ---- sizes ---------------------------------------------------------------------------------- */

/* The largest hello there can be, its tail and text full of @byte. */
static struct report largest_report(char byte)
{
	struct report report = {
		.type = REPORT_HELLO,
		.version = UINT32_MAX,
		.service = LONGEST_NAME,
		.generation = UINT32_MAX,
		.instance = UINT32_MAX,
		.agent_pid = INT32_MAX,
		.state = AGENT_DELAYING,
		.serial = UINT32_MAX,
		.n_sockets = PROTOCOL_SOCKETS_MAX,
		.n_strangers = PROTOCOL_STRANGERS_MAX,
		.pid = INT32_MAX,
	};

	for (size_t i = 0; i < PROTOCOL_SOCKETS_MAX; i++) {
		report.sockets[i].cookie = UINT64_MAX;
		report.sockets[i].inode = UINT64_MAX;
		report.sockets[i].endpoint = PROTOCOL_LISTEN_MAX - 1;
		strcpy(report.sockets[i].address, LONGEST_ADDRESS);
	}
	for (size_t i = 0; i < PROTOCOL_STRANGERS_MAX; i++)
		memset(report.strangers[i], '\x1f', ADDRESS_TEXT_MAX - 1);
	/* Not even terminated: the encoder must cope. */
	memset(report.tail, byte, sizeof(report.tail));
	memset(report.text, byte, sizeof(report.text));
	memset(report.stdout_failure, byte, sizeof(report.stdout_failure));
	memset(report.stderr_failure, byte, sizeof(report.stderr_failure));
	return report;
}

static void test_protocol_report_full_tail_of_any_byte_fits(void **state)
{
	struct report report, back;
	size_t length, longest = 0;
	char *text;

	(void)state;
	for (int byte = 1; byte < 256; byte++) {
		for (int type = 0; type < _REPORT_TYPE_COUNT; type++) {
			report = largest_report((char)byte);
			report.type = (enum report_type)type;
			assert_int_equal(report_encode(&report, &text, &length), 0);
			assert_true(length <= PROTOCOL_MESSAGE_MAX);
			longest = length > longest ? length : longest;
			if (type == REPORT_STARTED)
				assert_int_equal(report_decode(text, length, &back, NULL), 0);
			if (type == REPORT_FAILED) {
				assert_int_equal(report_decode(text, length, &back, NULL), 0);
				assert_int_equal(strlen(back.tail), PROTOCOL_TAIL_MAX - 1);
				assert_int_equal(strlen(back.text), PROTOCOL_TEXT_MAX - 1);
				assert_int_equal((unsigned char)back.tail[17],
						 byte < 0x80 ? byte : '?');
			}
			free(text);
		}
	}
	/* The test is about something: escapes did grow the tail sixfold. */
	assert_true(longest > (size_t)6 * (PROTOCOL_TAIL_MAX - 1));
}

static void test_protocol_report_invalid_utf8_becomes_question_marks(void **state)
{
	static const struct {
		const char *tail, *shown;
	} cases[] = {
		{"\xa4 cut \xc3\xa4 whole \xc3", "? cut \xc3\xa4 whole ?"},
		{"\xff\xfe", "??"},
		{"\xed\xa0\x80", "???"},
		{"\xf0\x9f\x98\x80 \xf0\x9f\x98", "\xf0\x9f\x98\x80 ???"},
		{"\xc3(", "?("},
		{"a\tb\r\n", "a\tb\r\n"},
	};
	struct report report = {.type = REPORT_FAILED}, back;
	size_t length;
	char *text;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		strcpy(report.tail, cases[i].tail);
		strcpy(report.text, cases[i].tail);
		assert_int_equal(report_encode(&report, &text, &length), 0);
		assert_int_equal(report_decode(text, length, &back, NULL), 0);
		assert_string_equal(back.tail, cases[i].shown);
		assert_string_equal(back.text, cases[i].shown);
		free(text);
	}
}

static void test_protocol_text_longer_than_its_field_is_refused(void **state)
{
	static const struct {
		const char *key;
		size_t max;
	} cases[] = {{"text", PROTOCOL_TEXT_MAX - 1}, {"tail", PROTOCOL_TAIL_MAX - 1}};
	char value[PROTOCOL_TAIL_MAX + 1];
	struct error err;
	json_t *json;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		json = json_pack("{s:s,s:s,s:s}", "type", "failed", "text", "", "tail", "");
		memset(value, 'x', sizeof(value));
		value[cases[i].max] = '\0';
		json_object_set_new(json, cases[i].key, json_string(value));
		assert_int_equal(decode_json(try_report, json, &err), 0);
		value[cases[i].max] = 'x';
		value[cases[i].max + 1] = '\0';
		json_object_set_new(json, cases[i].key, json_string(value));
		need_refused(try_report, json, cases[i].key);
		json_decref(json);
	}
}

static void test_protocol_too_many_elements_are_refused(void **state)
{
	struct address addresses[PROTOCOL_LISTEN_MAX + 1];
	struct launch_spec spec = full_spec();
	struct report report = reports[0];
	size_t length;
	char *text;

	(void)state;
	for (size_t i = 0; i < COUNT(addresses); i++)
		assert_int_equal(address_parse(":80", &addresses[i], NULL), 0);
	spec.listen = addresses;
	spec.n_listen = PROTOCOL_LISTEN_MAX;
	spec.n_groups = PROTOCOL_GROUPS_MAX;
	assert_spec_survives(&spec);
	spec.n_listen++;
	assert_int_equal(launch_spec_encode(&spec, &text, &length), -EMSGSIZE);
	spec.n_listen--;
	spec.n_groups++;
	assert_int_equal(launch_spec_encode(&spec, &text, &length), -EMSGSIZE);
	for (int i = 0; i < 2; i++) {
		report.type = i ? REPORT_SOCKETS : REPORT_HELLO;
		report.n_sockets = PROTOCOL_SOCKETS_MAX + 1;
		report.n_strangers = 0;
		assert_int_equal(report_encode(&report, &text, &length), -EMSGSIZE);
		report.n_sockets = 0;
		report.n_strangers = PROTOCOL_STRANGERS_MAX + 1;
		assert_int_equal(report_encode(&report, &text, &length), -EMSGSIZE);
	}
}

static void test_protocol_spec_too_long_is_emsgsize(void **state)
{
	struct launch_spec spec = full_spec();
	size_t size = PROTOCOL_SPEC_MAX, length = 0, whole;
	char *argument = malloc(size + 1), *text;

	(void)state;
	assert_non_null(argument);
	memset(argument, 'x', size);
	argument[size] = '\0';
	spec.argv = (char *[]){argument, NULL};
	assert_int_equal(launch_spec_encode(&spec, &text, &length), -EMSGSIZE);

	/* Exactly the maximum passes, one byte more does not. */
	argument[1000] = '\0';
	assert_int_equal(launch_spec_encode(&spec, &text, &whole), 0);
	free(text);
	argument[1000] = 'x';
	argument[1000 + size - whole] = '\0';
	assert_int_equal(launch_spec_encode(&spec, &text, &length), 0);
	assert_int_equal(length, PROTOCOL_SPEC_MAX);
	assert_int_equal(try_spec(text, length, NULL), 0);
	free(text);
	argument[1000 + size - whole] = 'x';
	argument[1001 + size - whole] = '\0';
	assert_int_equal(launch_spec_encode(&spec, &text, &length), -EMSGSIZE);
	free(argument);
}

static void check_padded(decoder *decode, const char *text, size_t length)
{
	size_t max = decode == try_spec ? PROTOCOL_SPEC_MAX : PROTOCOL_MESSAGE_MAX;
	char *padded = malloc(max + 1);
	struct error err;

	assert_non_null(padded);
	memset(padded, ' ', max + 1);
	memcpy(padded, text, length);
	assert_int_equal(decode_exactly(decode, padded, max, &err), 0);
	assert_int_equal(decode_exactly(decode, padded, max + 1, &err), -EBADMSG);
	free(padded);
}

static void test_protocol_text_longer_than_a_message_is_refused(void **state)
{
	(void)state;
	for_each_text(check_padded);
}

/* ---- the rest ------------------------------------------------------------------------------- */

static void test_protocol_names_are_different_and_known(void **state)
{
	(void)state;
	assert_string_equal(order_type_name(ORDER_LEAVE), "leave");
	assert_string_equal(report_type_name(REPORT_HELLO), "hello");
	assert_string_equal(agent_state_name(AGENT_RUNNING), "running");
	for (int i = 0; i < _AGENT_STATE_COUNT; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(agent_state_name((enum agent_state)i),
						agent_state_name((enum agent_state)j));
	assert_string_equal(order_type_name(ORDER_RELEASE), "release");
	assert_string_equal(order_type_name(ORDER_REOPEN), "reopen");
	assert_string_equal(order_type_name(ORDER_FAMILY), "family");
	assert_string_equal(report_type_name(REPORT_SOCKETS), "sockets");
	assert_string_equal(report_type_name(REPORT_REOPENED), "reopened");
	assert_string_equal(socket_mode_name(SOCKETS_AUTO), "auto");
	assert_string_equal(socket_mode_name(SOCKETS_INHERIT), "inherit");
	assert_string_equal(socket_mode_name(SOCKETS_NATIVE), "native");
	assert_string_equal(socket_mode_name(SOCKETS_TRANSPARENT), "transparent");
	assert_string_equal(socket_mode_name(_SOCKETS_COUNT), "unknown");
	assert_string_equal(order_type_name(_ORDER_TYPE_COUNT), "unknown");
	assert_string_equal(report_type_name((enum report_type)1000), "unknown");
	assert_string_equal(agent_state_name(_AGENT_STATE_COUNT), "unknown");
}

static void test_protocol_spec_done_can_be_called_again(void **state)
{
	struct launch_spec spec;
	size_t length;
	char *text;

	(void)state;
	encoded_spec(&text, &length);
	assert_int_equal(launch_spec_decode(text, length, &spec, NULL), 0);
	launch_spec_done(&spec);
	assert_null(spec.process.output_path[1]);
	launch_spec_done(&spec);
	launch_spec_done(NULL);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_protocol_spec_round_trip_is_lossless),
		cmocka_unit_test(test_protocol_spec_address_is_that_of_the_sockets),
		cmocka_unit_test(test_protocol_spec_process_settings_survive_one_by_one),
		cmocka_unit_test(test_protocol_spec_any_byte_survives),
		cmocka_unit_test(test_protocol_spec_only_raw_bytes_are_hex),
		cmocka_unit_test(test_protocol_order_round_trip_is_lossless),
		cmocka_unit_test(test_protocol_report_round_trip_is_lossless),
		cmocka_unit_test(test_protocol_report_other_types_fields_are_left_out),
		cmocka_unit_test(test_protocol_report_full_tail_of_any_byte_fits),
		cmocka_unit_test(test_protocol_report_invalid_utf8_becomes_question_marks),
		cmocka_unit_test(test_protocol_text_longer_than_its_field_is_refused),
		cmocka_unit_test(test_protocol_too_many_elements_are_refused),
		cmocka_unit_test(test_protocol_spec_too_long_is_emsgsize),
		cmocka_unit_test(test_protocol_text_longer_than_a_message_is_refused),
		cmocka_unit_test(test_protocol_names_are_different_and_known),
		cmocka_unit_test(test_protocol_spec_done_can_be_called_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
