/* SPDX-License-Identifier: BSD-2-Clause */
/* What an instance's connections are doing: real ones, and the rule alone. */
#include "tests/unit/host/connections_fixture.h"

#include "orchestrator/host/connections_internal.h"

#define NEVER_QUIET_MS 1000000
#define QUIET_MS       50

static struct connections_kinds kinds_within(uint64_t quiet_ms)
{
	struct connections_kinds kinds;

	assert_int_equal(connections_kinds_within(&of, quiet_ms, &kinds), 0);
	return kinds;
}

#define assert_kinds(kinds, busy_, active_, idle_)                                                 \
	do {                                                                                       \
		struct connections_kinds kinds_ = (kinds);                                         \
                                                                                                   \
		assert_int_equal(kinds_.busy, busy_);                                              \
		assert_int_equal(kinds_.active, active_);                                          \
		assert_int_equal(kinds_.idle, idle_);                                              \
	} while (0)

/* A byte goes from one end to the other, and is read there. */
static void pass_byte(int from, int to)
{
	char byte;

	assert_int_equal(write(from, "x", 1), 1);
	assert_int_equal(read(to, &byte, 1), 1);
}

/* The server's end, held by a child; besides, one that idles: once it counts so, time has passed.
 */
static int serve(int *ret_client)
{
	int listener = make_listener(AF_INET, PORT, 16), held[2];

	held[0] = connect_one(listener, PORT, ret_client);
	held[1] = connect_one(listener, PORT, NULL);
	start_holder(held, 2, false);
	return held[0];
}

/* ---- real ones ------------------------------------------------------------------------------ */

static void test_kinds_request_without_answer_is_busy_for_ever(void **state)
{
	int client, server = serve(&client);

	(void)state;
	pass_byte(client, server);
	assert_kinds(kinds_within(NEVER_QUIET_MS), 1, 1, 0);
	wait_until(kinds_within(QUIET_MS).idle == 1);
	assert_kinds(kinds_within(QUIET_MS), 1, 0, 1);
	/* Answered. */
	pass_byte(server, client);
	wait_until(kinds_within(NEVER_QUIET_MS).active == 2);
	wait_until(kinds_within(QUIET_MS).idle == 2);
	/* The next request. */
	pass_byte(client, server);
	wait_until(kinds_within(QUIET_MS).busy == 1 && kinds_within(QUIET_MS).idle == 1);
}

static void test_kinds_answered_just_now_is_active_then_idle(void **state)
{
	int client, server = serve(&client);

	(void)state;
	pass_byte(client, server);
	pass_byte(server, client);
	wait_until(kinds_within(NEVER_QUIET_MS).active == 2); /* once acknowledged */
	wait_until(kinds_within(QUIET_MS).idle == 2);
	assert_kinds(kinds_within(NEVER_QUIET_MS), 0, 2, 0);
	assert_kinds(kinds_within(0), 0, 0, 2);
}

/* A WebSocket whose client only listens, and one whose client only speaks. */
static void test_kinds_one_way_traffic_is_told_by_its_direction(void **state)
{
	int client, server = serve(&client);

	(void)state;
	pass_byte(server, client);
	wait_until(kinds_within(QUIET_MS).idle == 2);
	for (int i = 0; i < 3; i++)
		pass_byte(client, server);
	wait_until(kinds_within(QUIET_MS).idle == 1);
	assert_kinds(kinds_within(QUIET_MS), 1, 0, 1);
}

static void test_kinds_unread_data_is_busy(void **state)
{
	int client, server = serve(&client);
	char byte;

	(void)state;
	pass_byte(client, server);
	pass_byte(server, client);
	wait_until(kinds_within(QUIET_MS).idle == 2);
	assert_int_equal(write(client, "x", 1), 1);
	wait_until(kinds_within(QUIET_MS).busy == 1);
	assert_int_equal(read(server, &byte, 1), 1);
	pass_byte(server, client);
	wait_until(kinds_within(QUIET_MS).idle == 2);
}

static void test_kinds_data_the_client_does_not_take_is_busy(void **state)
{
	static char block[65536];
	int client, server = serve(&client);

	(void)state;
	while (send(server, block, sizeof(block), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(errno, EAGAIN);
	wait_until(kinds_within(QUIET_MS).idle == 1);
	assert_kinds(kinds_within(QUIET_MS), 1, 0, 1);
	while (kinds_within(QUIET_MS).idle < 2)
		if (recv(client, block, sizeof(block), MSG_DONTWAIT) < 0)
			assert_int_equal(errno, EAGAIN);
}

static void test_kinds_half_closed_by_the_client_is_busy(void **state)
{
	int client, server = serve(&client);
	char byte;

	(void)state;
	assert_int_equal(shutdown(client, SHUT_WR), 0);
	wait_for_state(server, TCP_CLOSE_WAIT);
	assert_int_equal(read(server, &byte, 1), 0);
	wait_until(kinds_within(QUIET_MS).idle == 1);
	assert_kinds(kinds_within(QUIET_MS), 1, 0, 1);
}

static void test_kinds_half_closed_by_the_server_waits_for_the_client(void **state)
{
	int client, server = serve(&client);

	(void)state;
	pass_byte(client, server);
	assert_int_equal(shutdown(server, SHUT_WR), 0);
	wait_for_state(server, TCP_FIN_WAIT2);
	wait_until(kinds_within(QUIET_MS).idle == 2);
	/* Closed, it is not even live. */
	drop(server);
	end_holders();
	assert_kinds(kinds_within(QUIET_MS), 0, 0, 0);
}

static void test_kinds_not_accepted_yet_is_busy(void **state)
{
	int listener = make_listener_as_instance();

	(void)state;
	make_client(PORT);
	make_client(PORT);
	wait_until(kinds_within(QUIET_MS).busy == 2);
	accept_one(listener);
	wait_until(kinds_within(QUIET_MS).idle == 1);
	assert_kinds(kinds_within(QUIET_MS), 1, 0, 1);
}

static void test_kinds_of_an_inconsistent_list_are_not_added_up(void **state)
{
	(void)state;
	serve(NULL);
	of.n_listen = 3;
	tamper = tamper_interrupted;
	interrupted_left = 3;
	assert_kinds(kinds_within(NEVER_QUIET_MS), 0, 2, 0);
	assert_int_equal(interrupted_left, 0);
}

static void test_kinds_default_is_a_second(void **state)
{
	struct connections_kinds kinds = {7, 7, 7};

	(void)state;
	serve(NULL);
	assert_int_equal(connections_kinds(&of, &kinds), 0);
	assert_int_equal(kinds.busy, 0);
	assert_int_equal(kinds.active + kinds.idle, 2);
	assert_int_equal(CONNECTIONS_QUIET_MS, 1000);
}

static void test_kinds_not_to_be_known_fails(void **state)
{
	struct processes *lost = NULL;
	struct connections_kinds kinds;

	(void)state;
	assert_int_equal(processes_new("/dev/null", getpid(), &lost), 0);
	of.processes = lost;
	assert_int_equal(connections_kinds(&of, &kinds), -ENOTDIR);
	processes_free(lost);
}

/* ---- pure ----------------------------------------------------------------------------------- */

static void test_kind_by_queues_times_and_state(void **state)
{
	static const struct {
		struct diag_connection connection;
		enum connections_kind kind;
	} cases[] = {
		/* The client was last, the server was last. */
		{{.since_received_ms = 5000, .since_sent_ms = 9000}, CONNECTIONS_BUSY},
		{{.since_received_ms = 9000, .since_sent_ms = 5000}, CONNECTIONS_IDLE},
		{{.since_received_ms = 9000, .since_sent_ms = 1000}, CONNECTIONS_IDLE},
		{{.since_received_ms = 9000, .since_sent_ms = 999}, CONNECTIONS_ACTIVE},
		/* In the same tick: nothing yet, the first request, a request that is answered. */
		{{.since_received_ms = 8, .since_sent_ms = 8}, CONNECTIONS_ACTIVE},
		{{.since_received_ms = 5000, .since_sent_ms = 5000}, CONNECTIONS_IDLE},
		{{.since_received_ms = 5000, .since_sent_ms = 5000, .bytes_received = 9},
		 CONNECTIONS_BUSY},
		{{.since_received_ms = 5000,
		  .since_sent_ms = 5000,
		  .bytes_received = 9,
		  .bytes_sent = 9},
		 CONNECTIONS_IDLE},
		/* Queues. */
		{{.since_received_ms = 9000, .since_sent_ms = 5000, .receive_queue = 1},
		 CONNECTIONS_BUSY},
		{{.since_received_ms = 9000, .since_sent_ms = 5000, .send_queue = 1},
		 CONNECTIONS_BUSY},
		{{.state = TCP_FIN_WAIT2, .receive_queue = 1}, CONNECTIONS_BUSY},
		/* States. */
		{{.state = TCP_CLOSE_WAIT, .since_received_ms = 9000, .since_sent_ms = 5000},
		 CONNECTIONS_BUSY},
		{{.state = TCP_FIN_WAIT2, .since_received_ms = 5000, .since_sent_ms = 9000},
		 CONNECTIONS_IDLE},
		{{.state = TCP_FIN_WAIT1, .since_received_ms = 5, .since_sent_ms = 9000},
		 CONNECTIONS_ACTIVE},
		{{.state = TCP_CLOSING, .since_received_ms = 5000, .since_sent_ms = 9000},
		 CONNECTIONS_IDLE},
		{{.state = TCP_LAST_ACK, .since_received_ms = 5000, .since_sent_ms = 9000},
		 CONNECTIONS_IDLE},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct diag_connection connection = cases[k].connection;
		enum connections_kind kind;

		connection.inode = 7;
		connection.state = connection.state ? connection.state : TCP_ESTABLISHED;
		connection.idle_ms = connection.since_received_ms < connection.since_sent_ms
					     ? connection.since_received_ms
					     : connection.since_sent_ms;
		kind = connections_kind(&connection, 1000);
		if (kind != cases[k].kind)
			fail_msg("case %zu is of kind %d", k, kind);
		connection.inode = 0;
		if (connection.state == TCP_ESTABLISHED)
			assert_int_equal(connections_kind(&connection, 1000), CONNECTIONS_BUSY);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, connections_set_up, connections_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_kinds_request_without_answer_is_busy_for_ever),
		TEST(test_kinds_answered_just_now_is_active_then_idle),
		TEST(test_kinds_one_way_traffic_is_told_by_its_direction),
		TEST(test_kinds_unread_data_is_busy),
		TEST(test_kinds_data_the_client_does_not_take_is_busy),
		TEST(test_kinds_half_closed_by_the_client_is_busy),
		TEST(test_kinds_half_closed_by_the_server_waits_for_the_client),
		TEST(test_kinds_not_accepted_yet_is_busy),
		TEST(test_kinds_of_an_inconsistent_list_are_not_added_up),
		TEST(test_kinds_default_is_a_second),
		TEST(test_kinds_not_to_be_known_fails),
		cmocka_unit_test(test_kind_by_queues_times_and_state),
	};
#undef TEST
	const char *reason = netns_enter();

	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	return cmocka_run_group_tests_name("connections_kinds", tests, NULL, NULL);
}
