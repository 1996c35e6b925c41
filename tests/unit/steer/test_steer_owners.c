/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections that migrate are moved in the counters of the instances. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/steer/steer_fixture.h"

#define A ((tap_owner)1 << 32)
#define B ((tap_owner)2 << 32)
#define C (((tap_owner)2 << 32) + 1)
#define N 50

static struct tap tap;

static void add_instance(tap_owner owner)
{
	struct tap_counts zero = {};

	assert_int_equal(bpf_map_update_elem(tap.counts, &owner, &zero, BPF_NOEXIST), 0);
}

/* Maps of the shape that ebpf/tap.bpf.c has, with two instances of three in them. */
static struct steer *open_counting(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, lazily, .map_flags = BPF_F_NO_PREALLOC);

	if (missing)
		skip();
	tap.counts = bpf_map_create(BPF_MAP_TYPE_HASH, "counts", sizeof(tap_owner),
				    sizeof(struct tap_counts), TAP_INSTANCES_MAX, NULL);
	tap.moved = bpf_map_create(BPF_MAP_TYPE_HASH, "moved", sizeof(uint64_t), sizeof(tap_owner),
				   TAP_MOVED_MAX, &lazily);
	assert_true(tap.counts >= 0);
	assert_true(tap.moved >= 0);
	add_instance(A);
	add_instance(B);
	options.tap = &tap;
	return open_steer();
}

static void close_counting(struct steer *steer)
{
	steer_free(steer);
	close(tap.counts);
	close(tap.moved);
}

static void expect(tap_owner owner, uint64_t moved_in, uint64_t moved_out)
{
	struct tap_counts counts;

	assert_int_equal(bpf_map_lookup_elem(tap.counts, &owner, &counts), 0);
	assert_int_equal(counts.moved_in, moved_in);
	assert_int_equal(counts.moved_out, moved_out);
	assert_int_equal(counts.accepted + counts.closed + counts.reset, 0);
}

/* All connections that have been noted belong to @owner, and they are @n. */
static void expect_moved(size_t n, tap_owner owner)
{
	uint64_t key, *last = NULL;
	size_t found = 0;

	while (bpf_map_get_next_key(tap.moved, last, &key) == 0) {
		tap_owner now;

		assert_int_equal(bpf_map_lookup_elem(tap.moved, &key, &now), 0);
		assert_int_equal(now, owner);
		last = &key;
		found++;
	}
	assert_int_equal(found, n);
}

static uint64_t cookie_of_accepted(int listener_fd)
{
	int fd = accept4(listener_fd, NULL, NULL, SOCK_CLOEXEC);
	uint64_t cookie = steer_cookie(fd);

	assert_true(fd >= 0);
	close(fd);
	return cookie;
}

/* ---- counted -------------------------------------------------------------------------------- */

static void test_steer_owners_closing_listeners_queue_moves(void **state)
{
	struct steer *steer = open_counting();
	int a = listener(&address), b = listener(&address), clients[N];
	uint16_t slot = join_as(steer, b, B);

	(void)state;
	publish(steer, join_as(steer, a, A), -1);
	connect_many(clients, N);
	expect(A, 0, 0);
	publish(steer, slot, -1);
	close(a);
	expect(A, 0, N);
	expect(B, N, 0);
	expect_moved(N, B);
	assert_int_equal(accept_all(b), N);
	close_many(clients, N);
	close(b);
	close_counting(steer);
}

static void test_steer_owners_connection_is_noted_by_its_cookie(void **state)
{
	struct steer *steer = open_counting();
	int a = listener(&address), b = listener(&address), client;
	uint16_t slot = join_as(steer, b, B);
	uint64_t cookie;
	tap_owner now = 0;

	(void)state;
	publish(steer, join_as(steer, a, A), -1);
	connect_many(&client, 1);
	publish(steer, slot, -1);
	close(a);
	cookie = cookie_of_accepted(b);
	assert_int_equal(bpf_map_lookup_elem(tap.moved, &cookie, &now), 0);
	assert_int_equal(now, B);
	close(client);
	close(b);
	close_counting(steer);
}

static void test_steer_owners_second_move_is_from_where_the_first_went(void **state)
{
	struct steer *steer = open_counting();
	int a = listener(&address), b = listener(&address), c = listener(&address), clients[N];
	uint16_t slot_b = join_as(steer, b, B), slot_c = join_as(steer, c, C);

	(void)state;
	add_instance(C);
	publish(steer, join_as(steer, a, A), -1);
	connect_many(clients, N);
	publish(steer, slot_b, -1);
	close(a);
	publish(steer, slot_c, -1);
	close(b);
	expect(A, 0, N);
	expect(B, N, N);
	expect(C, N, 0);
	expect_moved(N, C);
	assert_int_equal(accept_all(c), N);
	close_many(clients, N);
	close(c);
	close_counting(steer);
}

static void test_steer_owners_to_the_anchor_and_on_moves_twice(void **state)
{
	struct steer *steer = open_counting();
	int a = listener(&address), b = listener(&address), clients[N];

	(void)state;
	assert_int_equal(steer_hold(steer, true), 0);
	publish(steer, join_as(steer, a, A), -1);
	connect_many(clients, N);
	close(a);
	/* A can drain, although they have not got anywhere yet. */
	expect(A, 0, N);
	expect_moved(N, 0);
	publish(steer, join_as(steer, b, B), -1);
	assert_int_equal(steer_unhold(steer, &err), N);
	expect(A, 0, N);
	expect(B, N, 0);
	expect_moved(N, B);
	assert_int_equal(accept_all(b), N);
	close_many(clients, N);
	close(b);
	close_counting(steer);
}

static void test_steer_owners_to_an_instance_nobody_counts_is_moved_out(void **state)
{
	struct steer *steer = open_counting();
	int a = listener(&address), c = listener(&address), clients[N];
	uint16_t slot = join_as(steer, c, C);

	(void)state;
	publish(steer, join_as(steer, a, A), -1);
	connect_many(clients, N);
	publish(steer, slot, -1);
	close(a);
	expect(A, 0, N);
	expect_moved(N, C);
	assert_int_equal(accept_all(c), N);
	close_many(clients, N);
	close(c);
	close_counting(steer);
}

/* ---- not counted ---------------------------------------------------------------------------- */

static void test_steer_owners_same_instance_moves_nothing(void **state)
{
	struct steer *steer = open_counting();
	int a = listener(&address), b = listener(&address), clients[N];
	uint16_t slot = join_as(steer, b, A);

	(void)state;
	publish(steer, join_as(steer, a, A), -1);
	connect_many(clients, N);
	publish(steer, slot, -1);
	close(a);
	expect(A, 0, 0);
	expect_moved(0, 0);
	assert_int_equal(accept_all(b), N);
	close_many(clients, N);
	close(b);
	close_counting(steer);
}

static void test_steer_owners_half_open_connections_are_not_counted_yet(void **state)
{
	struct steer *steer = open_counting();
	int a = listener(&address), b = listener(&address), clients[N];
	uint16_t slot = join_as(steer, b, B);

	(void)state;
	defer_accept(a);
	publish(steer, join_as(steer, a, A), -1);
	for (size_t k = 0; k < N; k++)
		clients[k] = try_connect();
	publish(steer, slot, -1);
	close(a);
	say_x(clients, N);
	accept_n(b, N);
	expect(A, 0, 0);
	expect(B, 0, 0);
	expect_moved(0, 0);
	close_many(clients, N);
	close(b);
	close_counting(steer);
}

static void test_steer_owners_connections_that_have_ended_stay_where_they_were(void **state)
{
	struct steer *steer = open_counting();
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	int a = listener(&address), b = listener(&address), clients[10];
	uint16_t slot = join_as(steer, b, B);

	(void)state;
	publish(steer, join_as(steer, a, A), -1);
	connect_many(clients, 10);
	for (size_t k = 0; k < 4; k++) {
		setsockopt(clients[k], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(clients[k]);
	}
	publish(steer, slot, -1);
	close(a);
	expect(A, 0, 6);
	expect(B, 6, 0);
	expect_moved(6, B);
	close_many(clients + 4, 6);
	close(b);
	close_counting(steer);
}

static void test_steer_owners_established_at_the_anchor_are_nobodys(void **state)
{
	struct steer *steer = open_counting();
	int b = listener(&address), clients[N];

	(void)state;
	assert_int_equal(steer_hold(steer, true), 0);
	connect_many(clients, N);
	publish(steer, join_as(steer, b, B), -1);
	assert_int_equal(steer_unhold(steer, &err), N);
	assert_int_equal(accept_all(b), N);
	expect(B, 0, 0);
	expect_moved(0, 0);
	close_many(clients, N);
	close(b);
	close_counting(steer);
}

static void test_steer_owners_without_counters_of_its_own_is_not_counted(void **state)
{
	struct steer *steer = open_counting();
	int c = listener(&address), b = listener(&address), clients[N];
	uint16_t slot = join_as(steer, b, B);

	(void)state;
	publish(steer, join_as(steer, c, C), -1);
	connect_many(clients, N);
	publish(steer, slot, -1);
	/* Their end will not be seen either. */
	close(c);
	expect(B, 0, 0);
	expect_moved(0, 0);
	assert_int_equal(accept_all(b), N);
	close_many(clients, N);
	close(b);
	close_counting(steer);
}

static void test_steer_owners_released_listener_is_nobodys(void **state)
{
	struct steer *steer = open_counting();
	int a = listener(&address), b = listener(&address), clients[N];
	uint16_t slot_a = join_as(steer, a, A), slot_b = join_as(steer, b, B);

	(void)state;
	publish(steer, slot_a, -1);
	connect_many(clients, N);
	publish(steer, slot_b, -1);
	steer_release(steer, slot_a);
	close(a);
	expect(A, 0, 0);
	expect(B, 0, 0);
	/* Nor is who comes into the slot next. */
	a = listener(&address);
	assert_int_equal(join(steer, a), slot_a);
	publish(steer, slot_a, -1);
	close(b);
	expect(A, 0, 0);
	close_many(clients, N);
	close(a);
	close_counting(steer);
}

static void test_steer_owners_without_tap_connections_migrate_all_the_same(void **state)
{
	struct steer *steer = open_steer();
	int a = listener(&address), b = listener(&address), clients[N];
	uint16_t slot = join_as(steer, b, B);

	(void)state;
	publish(steer, join_as(steer, a, A), -1);
	connect_many(clients, N);
	publish(steer, slot, -1);
	close(a);
	assert_int_equal(accept_all(b), N);
	close_many(clients, N);
	close(b);
	steer_free(steer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(test_steer_owners_##name, setup)
		TEST(closing_listeners_queue_moves),
		TEST(connection_is_noted_by_its_cookie),
		TEST(second_move_is_from_where_the_first_went),
		TEST(to_the_anchor_and_on_moves_twice),
		TEST(to_an_instance_nobody_counts_is_moved_out),
		TEST(same_instance_moves_nothing),
		TEST(half_open_connections_are_not_counted_yet),
		TEST(connections_that_have_ended_stay_where_they_were),
		TEST(established_at_the_anchor_are_nobodys),
		TEST(without_counters_of_its_own_is_not_counted),
		TEST(released_listener_is_nobodys),
		TEST(without_tap_connections_migrate_all_the_same),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
