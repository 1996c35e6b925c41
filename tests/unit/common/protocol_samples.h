/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocol_samples: one valid text of each kind, and decoders that check what every decoded thing
 * must hold to. Shared by the tests of the protocol; included after cmocka.h.
 */
#pragma once

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/protocol.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define LONGEST_NAME    "a23456789_b23456789_c23456789_d23456789_e23456789_f23456789_123"
#define LONGEST_ADDRESS "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"

/* ---- the three kinds of text, decoded alike ------------------------------------------------- */

/* Decodes, checks what every decoded thing must hold to, and frees it. */
typedef int decoder(const char *text, size_t length, struct error *err);

static inline void check_process(const struct process_settings *process)
{
	assert_in_range(process->umask, 0, 0777);
	assert_true(process->nice >= -20 && process->nice <= 19);
	assert_true(process->oom_score_adjust >= -1000 && process->oom_score_adjust <= 1000);
	for (size_t i = 0; i < PROCESS_LIMITS_MAX; i++)
		assert_true(process->limits[i].soft <= process->limits[i].hard);
	for (size_t k = 0; k < 2; k++) {
		assert_true((unsigned)process->output[k] < _OUTPUT_COUNT);
		assert_int_equal(process->output[k] == OUTPUT_FILE,
				 process->output_path[k] != NULL);
		if (process->output_path[k])
			assert_int_equal(process->output_path[k][0], '/');
	}
}

static inline int try_spec(const char *text, size_t length, struct error *err)
{
	struct launch_spec spec;
	int r = launch_spec_decode(text, length, &spec, err);

	if (r == 0) {
		assert_true(spec.generation > 0 && spec.backlog >= 0);
		assert_true(spec.n_listen <= PROTOCOL_LISTEN_MAX);
		assert_true((unsigned)spec.mode < _SOCKETS_COUNT);
		assert_true(spec.n_groups <= PROTOCOL_GROUPS_MAX);
		assert_true(spec.service && spec.executable && spec.directory);
		assert_true(spec.argv && spec.argv[0] && spec.environment);
		check_process(&spec.process);
	} else {
		static const struct launch_spec nothing;

		assert_memory_equal(&spec, &nothing, sizeof(spec));
	}
	launch_spec_done(&spec);
	return r;
}

static inline int try_order(const char *text, size_t length, struct error *err)
{
	struct order order;
	int r = order_decode(text, length, &order, err);

	if (r == 0) {
		assert_true((unsigned)order.type < _ORDER_TYPE_COUNT);
		assert_in_range(order.signal, 0, 64);
	}
	return r;
}

static inline int try_report(const char *text, size_t length, struct error *err)
{
	struct report report;
	int r = report_decode(text, length, &report, err);

	if (r < 0)
		return r;
	assert_true((unsigned)report.type < _REPORT_TYPE_COUNT);
	assert_true((unsigned)report.state < _AGENT_STATE_COUNT);
	assert_true(report.n_sockets <= PROTOCOL_SOCKETS_MAX);
	for (size_t i = 0; i < report.n_sockets; i++)
		assert_true(report.sockets[i].endpoint < PROTOCOL_LISTEN_MAX);
	assert_true(report.n_strangers <= PROTOCOL_STRANGERS_MAX);
	for (size_t i = 0; i < report.n_strangers; i++)
		assert_true(memchr(report.strangers[i], 0, ADDRESS_TEXT_MAX) != NULL);
	assert_true(report.pid >= 0 && report.agent_pid >= 0);
	assert_in_range(report.exit_code, 0, 255);
	assert_in_range(report.exit_signal, 0, 64);
	assert_true((unsigned)report.ending < _ENDING_COUNT);
	assert_true(memchr(report.text, 0, sizeof(report.text)) != NULL);
	assert_in_range(report.trouble_endpoint, 0, PROTOCOL_LISTEN_MAX - 1);
	assert_true(memchr(report.trouble, 0, sizeof(report.trouble)) != NULL);
	assert_true(memchr(report.tail, 0, sizeof(report.tail)) != NULL);
	assert_true(memchr(report.service, 0, sizeof(report.service)) != NULL);
	return 0;
}

/* From memory that ends where the text does, so that a step beyond it is seen. */
static inline int decode_exactly(decoder *decode, const char *text, size_t length,
				 struct error *err)
{
	char *copy = malloc(length ? length : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, text, length);
	strcpy(err->text, "");
	r = decode(copy, length, err);
	free(copy);
	assert_true(r == 0 || r == -EBADMSG);
	assert_true(r == 0 || err->text[0]);
	return r;
}

static inline int decode_json(decoder *decode, const json_t *json, struct error *err)
{
	char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
	int r;

	assert_non_null(text);
	r = decode_exactly(decode, text, strlen(text), err);
	free(text);
	return r;
}

static inline void need_refused(decoder *decode, const json_t *json, const char *key)
{
	char *text = json_dumps(json, 0);
	struct error err;

	assert_non_null(text);
	if (decode_json(decode, json, &err) != -EBADMSG)
		fail_msg("accepted with a wrong \"%s\": %s", key, text);
	if (!strstr(err.text, key))
		fail_msg("\"%s\" is not named in: %s", key, err.text);
	free(text);
}

/* ---- one of each ---------------------------------------------------------------------------- */

static struct address listen_addresses[3];
static char *spec_argv[] = {"web",         "--fd",         "{fd}",     "",
			    "a\xff\xfe z", "\x01\x7f\"\\", "\xc3\xa4", NULL};
static char *spec_environment[] = {"PATH=/bin", "EMPTY=", "RAW=\xc3(\x80", "EQ==a=b", NULL};

static inline struct launch_spec full_spec(void)
{
	static const char *const texts[] = {"127.0.0.1:8080", "[::1]:8080", ":8081"};
	struct launch_spec spec = {
		.service = "web",
		.generation = 7,
		.instance = 3,
		.listen = listen_addresses,
		.n_listen = COUNT(listen_addresses),
		.mode = SOCKETS_NATIVE,
		.sockets_given = true,
		.listen_later = true,
		.listen_delay_ms = 1500,
		.backlog = 4096,
		.nonblocking = true,
		.executable = "/srv/w\xe4"
			      "b/web",
		.argv = spec_argv,
		.environment = spec_environment,
		.directory = "/srv",
		.uid = 65534,
		.gid = 65533,
		.groups = {4, 0, 4294967294},
		.n_groups = 3,
		.set_ids = true,
		.process =
			{
				.limits = {[RLIMIT_NOFILE] = {true, 1024, 9007199254740993},
					   [RLIMIT_CORE] = {true, 0, PROCESS_UNLIMITED}},
				.umask = 027,
				.nice_set = true,
				.nice = -20,
				.no_new_privileges = true,
				.capabilities_set = true,
				.capabilities = UINT64_MAX,
				.oom_score_adjust_set = true,
				.oom_score_adjust = -1000,
				.output = {OUTPUT_JOURNAL, OUTPUT_FILE},
				.output_path = {NULL, (char *)"/var/log/w\xe4"
							      "b.log"},
			},
		.cgroup = "/sys/fs/cgroup/baton/web.7.3",
		.restart_max = 5,
		.restart_window_ms = 60000,
		.restart_delay_ms = 100,
		.restart_delay_max_ms = UINT32_MAX,
	};

	for (size_t i = 0; i < COUNT(texts); i++)
		assert_int_equal(address_parse(texts[i], &listen_addresses[i], NULL), 0);
	return spec;
}

static const struct order orders[] = {
	{.type = ORDER_STEADY, .on = true},
	{.type = ORDER_STEADY},
	{.type = ORDER_LEAVE, .signal = 15, .timeout_ms = 1000},
	{.type = ORDER_STOP, .signal = 64, .timeout_ms = UINT32_MAX},
	{.type = ORDER_STOP},
	{.type = ORDER_RELEASE},
	{.type = ORDER_RELEASE, .serial = UINT32_MAX},
	{.type = ORDER_REOPEN},
	{.type = ORDER_REOPEN, .serial = UINT32_MAX},
	{.type = ORDER_TELL},
	{.type = ORDER_FAMILY},
	{.type = ORDER_FAMILY, .endpoint = PROTOCOL_LISTEN_MAX - 1, .on = true},
	{.type = ORDER_KEEP},
	{.type = ORDER_VERSION, .version = UINT32_MAX},
	{.type = ORDER_LOOK},
	{.type = ORDER_LOOK, .late = true},
};

static const struct report reports[] = {
	{
		.type = REPORT_HELLO,
		.version = PROTOCOL_OLDEST, /* and no .newest: as an agent of version 1 */
		.service = "web",
		.generation = 7,
		.instance = 3,
		.agent_pid = 4711,
		.state = AGENT_RUNNING,
		.steady = true,
		.tells = true,
		.keeps = true,
		.kept = 3,
		.serial = 3,
		.sockets = {{.cookie = UINT64_MAX, .inode = 12, .address = "127.0.0.1:8080"},
			    {.cookie = 0,
			     .inode = UINT64_MAX,
			     .endpoint = 15,
			     .own = true,
			     .deaf = true,
			     .address = ":8081"}},
		.n_sockets = 2,
		.strangers = {"[fe80::1]:9", ":9000"},
		.n_strangers = 2,
		.pid = INT32_MAX,
		.ready = true,
		.tail = "line\nline \xc3\xa4\n",
	},
	{
		.type = REPORT_HELLO,
		.version = UINT32_MAX,
		.service = LONGEST_NAME,
		.generation = UINT32_MAX,
		.agent_pid = 1,
		.state = AGENT_STOPPED,
	},
	{.type = REPORT_STARTED, .pid = 1},
	{.type = REPORT_NOTIFY, .ready = true, .text = "loading \"a\\b\"\x1b"},
	{.type = REPORT_NOTIFY},
	{.type = REPORT_EXITED, .exit_code = 255, .text = "why", .tail = "no\n"},
	{.type = REPORT_EXITED, .exit_signal = 64, .restarting = true, .restart_ms = UINT32_MAX},
	{.type = REPORT_FAILED, .text = "exec: No such file or directory", .tail = "x"},
	{.type = REPORT_LEFT, .forced = true},
	{.type = REPORT_LEFT},
	{.type = REPORT_STOPPED, .exit_signal = 9, .killed = true, .tail = "bye"},
	{.type = REPORT_STOPPED},
	{.type = REPORT_STOPPED, .exit_code = 127, .ending = ENDING_NEVER_RAN},
	{.type = REPORT_STOPPED, .exit_signal = 9, .ending = ENDING_ALIVE, .killed = true},
	{.type = REPORT_EXITED, .ending = ENDING_UNKNOWN},
	{.type = REPORT_EXITED, .exit_code = 1, .text = "why", .has_uid = true, .uid = UINT32_MAX},
	{.type = REPORT_EXITED,
	 .exit_code = 1,
	 .text = "why",
	 .lingers = true,
	 .wrapper = "dumb-init"},
	{.type = REPORT_TOLD, .tail = "waiting", .tail_stdout = true, .tail_age_ms = UINT32_MAX},
	{.type = REPORT_TOLD},
	{.type = REPORT_REOPENED, .serial = UINT32_MAX, .files = 2, .stdout_failure = "stdout: x"},
	{.type = REPORT_REOPENED, .serial = 1, .files = 1, .stderr_failure = "stderr: y"},
	{
		.type = REPORT_SOCKETS,
		.serial = UINT32_MAX,
		.sockets = {{.cookie = 1, .inode = 2, .own = true, .address = "[::]:80"}},
		.n_sockets = 1,
		.strangers = {"127.0.0.1:81"},
		.n_strangers = 1,
		.trouble = "it listens with MPTCP",
		.trouble_endpoint = 15,
	},
	{.type = REPORT_SOCKETS},
	{.type = REPORT_STARTED, .pid = 3, .succeeds = INT32_MAX, .exit_code = 255},
	{.type = REPORT_STARTED, .pid = 3, .succeeds = 1, .ending = ENDING_ALIVE},
	{
		.type = REPORT_HELLO,
		.version = PROTOCOL_OLDEST,
		.newest = PROTOCOL_VERSION,
		.service = "web",
		.generation = 1,
		.agent_pid = 2,
	},
};

/* What the first version of the protocol did not have, and may therefore be missing. */
static inline bool may_be_missing(const json_t *json, const char *key)
{
	static const char *const spec_keys[] = {
		"cgroup",          "mode",    "sockets_given", "listen_later",
		"listen_delay_ms", "process", "twins"};
	const char *type = json_string_value(json_object_get(json, "type"));

	for (size_t i = 0; !type && i < COUNT(spec_keys); i++)
		if (strcmp(key, spec_keys[i]) == 0)
			return true;
	if (type &&
	    (strcmp(key, "tail_stdout") == 0 || strcmp(key, "tail_age_ms") == 0 ||
	     strcmp(key, "ending") == 0 || strcmp(key, "tells") == 0 ||
	     strcmp(key, "reopens") == 0 || strcmp(key, "keeps") == 0 ||
	     strcmp(key, "looks") == 0 || strcmp(key, "hinted") == 0 || strcmp(key, "kept") == 0 ||
	     strcmp(key, "initial") == 0 || strcmp(key, "has_uid") == 0 ||
	     strcmp(key, "uid") == 0 || strcmp(key, "trouble") == 0 ||
	     strcmp(key, "trouble_endpoint") == 0 || strcmp(key, "first") == 0 ||
	     strcmp(key, "more") == 0 || strcmp(key, "lingers") == 0 ||
	     strcmp(key, "wrapper") == 0 || strcmp(key, "newest") == 0))
		return true;
	if (type && strcmp(type, "reopen") == 0)
		return strcmp(key, "serial") == 0;
	if (type && strcmp(type, "look") == 0)
		return strcmp(key, "late") == 0;
	if (type && strcmp(type, "hello") == 0)
		return strcmp(key, "serial") == 0 || strcmp(key, "strangers") == 0;
	if (type && strcmp(type, "started") == 0)
		return strcmp(key, "type") != 0 && strcmp(key, "pid") != 0;
	return type && strcmp(type, "exited") == 0 && strcmp(key, "text") == 0;
}

static inline void encoded_spec(char **ret_text, size_t *ret_length)
{
	struct launch_spec spec = full_spec();

	assert_int_equal(launch_spec_encode(&spec, ret_text, ret_length), 0);
}

/* Call @check with the text of each valid message there is, and with its decoder. */
static inline void for_each_text(void (*check)(decoder *decode, const char *text, size_t length))
{
	size_t length;
	char *text;

	encoded_spec(&text, &length);
	check(try_spec, text, length);
	free(text);
	for (size_t i = 0; i < COUNT(orders); i++) {
		assert_int_equal(order_encode(&orders[i], &text, &length), 0);
		check(try_order, text, length);
		free(text);
	}
	for (size_t i = 0; i < COUNT(reports); i++) {
		assert_int_equal(report_encode(&reports[i], &text, &length), 0);
		check(try_report, text, length);
		free(text);
	}
}
