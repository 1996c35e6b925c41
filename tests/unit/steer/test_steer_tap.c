/* SPDX-License-Identifier: BSD-2-Clause */
/* steer and tap together: counters follow connections that migrate, to their end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/steer/steer.h"
#include "orchestrator/steer/table.h"
#include "tests/unit/steer/tap_fixture.h"

#define LISTEN "127.0.0.1:8080"
#define N      30

static struct tap *tap;
static char anchor_leaf[CGROUP_PATH_MAX];

/* Both leaves have a tap, and so is the anchor's where one is wanted. */
static struct steer *open_tapped(bool anchor)
{
	struct steer_options options = {.tier = STEER_EBPF, .uid = geteuid()};
	struct address address = parse(LISTEN);
	struct steer *steer = NULL;
	uint64_t id;

	tap = open_tap(NULL, LISTEN);
	attach(tap, 0, false);
	attach(tap, 1, false);
	options.tap = tap;
	if (anchor) {
		options.anchor_cgroup = anchor_leaf;
		assert_int_equal(cgroup_create(base, "anchor", anchor_leaf, &id, &err), 0);
		if (tap_attach(tap, anchor_leaf, STEER_ANCHOR_GENERATION, 0, false, &err) < 0)
			fail_msg("%s", err.text);
	}
	if (steer_open(&address, &options, &steer, &err) < 0 || steer_reset(steer, &err) < 0 ||
	    steer_hold(steer, true) < 0 || steer_attach(steer, &err) < 0)
		fail_msg("%s", err.text);
	return steer;
}

static void close_tapped(struct steer *steer)
{
	steer_free(steer);
	tap_free(tap);
}

/* A listening socket of instance @k, in a slot. */
static int listen_as(struct steer *steer, uint32_t k, uint16_t *ret_slot)
{
	struct address address = parse(LISTEN);
	int fd = socket_in(leaves[k], &address), on = 1;
	bool drift;

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
	assert_true(listen_on(fd, &address) >= 0);
	if (steer_join(steer, fd, ((tap_owner)1 << 32) + k, ret_slot, &drift, &err) < 0)
		fail_msg("%s", err.text);
	return fd;
}

static void publish(struct steer *steer, uint16_t slot)
{
	struct table_share share = {slot, 1};
	struct steer_table table;

	table_compute(&share, 1, NULL, 0, NULL, &table);
	assert_int_equal(steer_publish(steer, &table, &err), 0);
}

static void connect_all(int *clients)
{
	for (size_t k = 0; k < N; k++)
		clients[k] = client_of(LISTEN);
}

/* Accept all, end all: none may be left. */
static void serve_all(int listener, const int *clients)
{
	for (size_t k = 0; k < N; k++)
		close(accept_from(listener));
	for (size_t k = 0; k < N; k++)
		close(clients[k]);
}

static uint64_t live_at_anchor(void)
{
	struct tap_count count;

	assert_int_equal(tap_count(tap, STEER_ANCHOR_GENERATION, 0, &count), 0);
	return count.live;
}

static void test_steer_tap_queue_that_migrates_ends_where_it_went(void **state)
{
	struct steer *steer = open_tapped(false);
	uint16_t slot_a, slot_b;
	int a = listen_as(steer, 0, &slot_a), b = listen_as(steer, 1, &slot_b), clients[N];

	(void)state;
	publish(steer, slot_a);
	connect_all(clients);
	assert_count(tap, 0, N, N, 0, 0);
	publish(steer, slot_b);
	close(a);
	assert_count(tap, 0, 0, 0, 0, 0);
	assert_count(tap, 1, N, N, 0, 0);
	serve_all(b, clients);
	wait_for(count_of(tap, 1).live == 0);
	assert_count(tap, 0, 0, 0, 0, 0);
	assert_count(tap, 1, N, 0, N, 0);
	close(b);
	close_tapped(steer);
}

static void test_steer_tap_held_connections_count_where_they_go(void **state)
{
	struct steer *steer = open_tapped(true);
	int clients[N], b;
	uint16_t slot_b;

	(void)state;
	connect_all(clients);
	assert_int_equal(live_at_anchor(), N);
	b = listen_as(steer, 1, &slot_b);
	publish(steer, slot_b);
	assert_int_equal(steer_unhold(steer, &err), N);
	assert_int_equal(live_at_anchor(), 0);
	assert_count(tap, 1, N, N, 0, 0);
	serve_all(b, clients);
	wait_for(count_of(tap, 1).live == 0);
	assert_count(tap, 1, N, 0, N, 0);
	/* The anchor that came in its place is counted like the first one. */
	close(b);
	connect_all(clients);
	assert_int_equal(live_at_anchor(), N);
	assert_int_equal(steer_expire(steer, N), N);
	wait_for(live_at_anchor() == 0);
	for (size_t k = 0; k < N; k++)
		close(clients[k]);
	close_tapped(steer);
}

static void test_steer_tap_connections_that_pass_the_anchor_end_at_the_last(void **state)
{
	struct steer *steer = open_tapped(true);
	uint16_t slot_a, slot_b;
	int a = listen_as(steer, 0, &slot_a), clients[N], b;

	(void)state;
	publish(steer, slot_a);
	connect_all(clients);
	close(a);
	assert_count(tap, 0, 0, 0, 0, 0);
	assert_int_equal(live_at_anchor(), N);
	b = listen_as(steer, 1, &slot_b);
	publish(steer, slot_b);
	assert_int_equal(steer_unhold(steer, &err), N);
	assert_int_equal(live_at_anchor(), 0);
	serve_all(b, clients);
	wait_for(count_of(tap, 1).live == 0);
	assert_count(tap, 0, 0, 0, 0, 0);
	assert_count(tap, 1, N, 0, N, 0);
	close(b);
	close_tapped(steer);
}

static void test_steer_tap_anchor_that_nobody_counts_upsets_no_counter(void **state)
{
	struct steer *steer = open_tapped(false);
	uint16_t slot_a, slot_b;
	int a = listen_as(steer, 0, &slot_a), clients[2 * N], b;

	(void)state;
	publish(steer, slot_a);
	connect_all(clients);
	close(a);
	connect_all(clients + N);
	assert_count(tap, 0, 0, 0, 0, 0);
	b = listen_as(steer, 1, &slot_b);
	publish(steer, slot_b);
	assert_int_equal(steer_unhold(steer, &err), 2 * N);
	/* Those of instance 0 only; but these to their end. */
	assert_count(tap, 1, N, N, 0, 0);
	serve_all(b, clients);
	serve_all(b, clients + N);
	wait_for(count_of(tap, 1).live == 0);
	assert_count(tap, 1, N, 0, N, 0);
	close(b);
	close_tapped(steer);
}

static void test_steer_tap_client_that_gives_up_while_it_waits_ends_there(void **state)
{
	struct steer *steer = open_tapped(true);
	uint16_t slot_b;
	int clients[N], b;

	(void)state;
	connect_all(clients);
	for (size_t k = 0; k < 10; k++)
		abort_fd(clients[k]);
	wait_for(live_at_anchor() == N - 10);
	b = listen_as(steer, 1, &slot_b);
	publish(steer, slot_b);
	assert_int_equal(steer_unhold(steer, &err), N);
	assert_int_equal(live_at_anchor(), 0);
	assert_count(tap, 1, N - 10, N - 10, 0, 0);
	for (size_t k = 10; k < N; k++)
		close(clients[k]);
	close(b);
	close_tapped(steer);
}

/* A health check asks one instance: it is refused rather than answered by another. */
static void test_steer_tap_checks_neither_migrate_nor_count(void **state)
{
	struct steer *steer = open_tapped(false);
	struct address address = parse(LISTEN), source = address;
	socklen_t length = sizeof(source.in6);
	uint16_t slot_a, slot_b;
	int a = listen_as(steer, 0, &slot_a), b = listen_as(steer, 1, &slot_b), pair[2];
	struct steer_slot_stats slots;
	struct steer_stats stats;

	(void)state;
	source.in.sin_port = 0;
	publish(steer, slot_b);
	/* One whose pin is there still, and one whose pin is gone. */
	for (size_t k = 0; k < 2; k++) {
		pair[k] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		source.in.sin_port = 0;
		assert_int_equal(bind(pair[k], &source.sa, source.length), 0);
		assert_int_equal(getsockname(pair[k], &source.sa, &length), 0);
		assert_int_equal(steer_pin(steer, &source.sa, slot_a), 0);
		assert_int_equal(connect(pair[k], &address.sa, address.length), 0);
		if (k == 1)
			steer_unpin(steer, &source.sa);
	}
	close(a);
	assert_count(tap, 0, 0, 0, 0, 0);
	assert_count(tap, 1, 0, 0, 0, 0);
	assert_int_equal(steer_slot_stats(steer, slot_b, &slots), 0);
	assert_int_equal(slots.primary + slots.backup + slots.migrated, 0);
	assert_int_equal(steer_stats(steer, &stats), 0);
	assert_int_equal(stats.refused, 0);
	assert_int_equal(stats.pinned_failed, 2);
	for (size_t k = 0; k < 2; k++)
		close(pair[k]);
	close(b);
	close_tapped(steer);
}

static void test_steer_tap_anchors_cgroup_that_is_not_there_is_an_error(void **state)
{
	struct steer_options options = {.tier = STEER_EBPF, .anchor_cgroup = "/nowhere"};
	struct address address = parse(LISTEN);
	struct steer *steer = NULL;

	(void)state;
	if (missing)
		skip();
	assert_int_equal(steer_open(&address, &options, &steer, &err), -ENOENT);
	assert_non_null(strstr(err.text, LISTEN ": /nowhere: "));
}

static void test_steer_tap_anchor_falls_back_to_the_own_cgroup(void **state)
{
	/* A folder, but no cgroup. */
	struct steer_options options = {.tier = STEER_EBPF, .anchor_cgroup = "/tmp"};
	struct address address = parse(LISTEN);
	struct steer *steer = NULL;
	uint32_t held;
	int client;

	(void)state;
	if (missing)
		skip();
	if (steer_open(&address, &options, &steer, &err) < 0 || steer_reset(steer, &err) < 0 ||
	    steer_hold(steer, true) < 0 || steer_attach(steer, &err) < 0)
		fail_msg("%s", err.text);
	client = client_of(LISTEN);
	assert_int_equal(steer_held(steer, &held), 0);
	assert_int_equal(held, 1);
	close(client);
	steer_free(steer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_steer_tap_##name, setup, teardown)
		TEST(queue_that_migrates_ends_where_it_went),
		TEST(held_connections_count_where_they_go),
		TEST(connections_that_pass_the_anchor_end_at_the_last),
		TEST(anchor_that_nobody_counts_upsets_no_counter),
		TEST(client_that_gives_up_while_it_waits_ends_there),
		TEST(checks_neither_migrate_nor_count),
		TEST(anchors_cgroup_that_is_not_there_is_an_error),
		TEST(anchor_falls_back_to_the_own_cgroup),
	};

	return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
