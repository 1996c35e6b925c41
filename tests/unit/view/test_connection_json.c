/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "orchestrator/view/connection_json.h"

#define NOW_NS 5000000000ULL

static void set_end(struct sockaddr_storage *end, int family, const char *address, uint16_t port,
		    uint32_t scope)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = scope};

	if (family == AF_INET) {
		assert_int_equal(inet_pton(AF_INET, address, &in.sin_addr), 1);
		memcpy(end, &in, sizeof(in));
	} else {
		assert_int_equal(inet_pton(AF_INET6, address, &in6.sin6_addr), 1);
		memcpy(end, &in6, sizeof(in6));
	}
}

static struct diag_connection make(void)
{
	struct diag_connection connection = {
		.cookie = 1,
		.inode = 7,
		.state = TCP_ESTABLISHED,
		.receive_queue = 11,
		.send_queue = 12,
		.bytes_received = 5000000000,
		.bytes_sent = 13,
		.idle_ms = 4000000000,
		.born_ns = NOW_NS - 2500000000,
	};

	set_end(&connection.peer, AF_INET, "10.1.2.3", 50123, 0);
	set_end(&connection.local, AF_INET, "127.0.0.1", 8080, 0);
	return connection;
}

static void check_text(const struct diag_connection *connection, const char *key, const char *text)
{
	json_t *json = connection_json(connection, NOW_NS);

	assert_non_null(json);
	assert_string_equal(json_string_value(json_object_get(json, key)), text);
	json_decref(json);
}

static void test_connection_json_has_every_member(void **state)
{
	struct diag_connection connection = make();
	json_t *json = connection_json(&connection, NOW_NS);
	char *text = json_dumps(json, JSON_COMPACT);

	(void)state;
	assert_string_equal(
		text, "{\"peer\":\"10.1.2.3:50123\",\"local\":\"127.0.0.1:8080\","
		      "\"state\":\"ESTABLISHED\",\"live\":true,\"accepted\":true,\"age_ms\":2500,"
		      "\"idle_ms\":4000000000,\"received\":5000000000,\"sent\":13,"
		      "\"receive_queue\":11,\"send_queue\":12}");
	free(text);
	json_decref(json);
}

static void test_connection_json_addresses_as_people_write_them(void **state)
{
	struct diag_connection connection = make();

	(void)state;
	set_end(&connection.peer, AF_INET6, "2001:db8::1", 1, 0);
	set_end(&connection.local, AF_INET6, "::ffff:192.0.2.7", 65535, 0);
	check_text(&connection, "peer", "[2001:db8::1]:1");
	check_text(&connection, "local", "192.0.2.7:65535");
	set_end(&connection.peer, AF_INET6, "fe80::1", 80, 4294967295);
	check_text(&connection, "peer", "[fe80::1%4294967295]:80");
	set_end(&connection.peer, AF_INET6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535,
		4294967295);
	check_text(&connection, "peer",
		   "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535");
	connection.peer.ss_family = AF_UNIX;
	check_text(&connection, "peer", "-");
}

static void test_connection_json_age_is_null_or_never_negative(void **state)
{
	struct diag_connection connection = make();
	json_t *json;

	(void)state;
	connection.born_ns = 0;
	json = connection_json(&connection, NOW_NS);
	assert_true(json_is_null(json_object_get(json, "age_ms")));
	json_decref(json);
	connection.born_ns = NOW_NS + 1; /* established after the clock was looked at */
	json = connection_json(&connection, NOW_NS);
	assert_int_equal(json_integer_value(json_object_get(json, "age_ms")), 0);
	assert_true(json_is_integer(json_object_get(json, "age_ms")));
	json_decref(json);
}

static void check_flags(uint8_t tcp_state, uint64_t inode, bool live, bool accepted)
{
	struct diag_connection connection = {.state = tcp_state, .inode = inode};
	json_t *json = connection_json(&connection, NOW_NS);

	assert_non_null(json);
	assert_int_equal(json_is_true(json_object_get(json, "live")), live);
	assert_int_equal(json_is_true(json_object_get(json, "accepted")), accepted);
	assert_true(json_is_boolean(json_object_get(json, "live")));
	assert_true(json_is_boolean(json_object_get(json, "accepted")));
	json_decref(json);
}

static void test_connection_json_accepted_and_live(void **state)
{
	(void)state;
	check_flags(TCP_ESTABLISHED, 0, true, false);
	check_flags(TCP_ESTABLISHED, 7, true, true);
	check_flags(TCP_CLOSE_WAIT, 0, true, false);
	check_flags(TCP_CLOSE_WAIT, 7, true, true);
	check_flags(TCP_SYN_RECV, 0, true, false);
	check_flags(TCP_FIN_WAIT1, 7, true, true);
	check_flags(TCP_FIN_WAIT2, 0, false, true);
	check_flags(TCP_LAST_ACK, 0, false, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connection_json_has_every_member),
		cmocka_unit_test(test_connection_json_addresses_as_people_write_them),
		cmocka_unit_test(test_connection_json_age_is_null_or_never_negative),
		cmocka_unit_test(test_connection_json_accepted_and_live),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
