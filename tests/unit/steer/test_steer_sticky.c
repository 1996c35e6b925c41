/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections of one source address stay together. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/steer/steer_fixture.h"

#define SLOTS   4
#define SOURCES 64

static int fds[SLOTS];
static uint16_t slots[SLOTS];

static struct steer *open_sticky(bool sticky)
{
	struct steer *steer;

	options.sticky = sticky;
	steer = open_steer();
	for (size_t k = 0; k < SLOTS; k++) {
		fds[k] = listener(&address);
		slots[k] = join(steer, fds[k]);
	}
	return steer;
}

static void publish_all(struct steer *steer)
{
	struct table_share shares[SLOTS];
	struct steer_table table;

	for (size_t k = 0; k < SLOTS; k++)
		shares[k] = (struct table_share){slots[k], 1};
	table_compute(shares, SLOTS, NULL, 0, NULL, &table);
	assert_int_equal(steer_publish(steer, &table, &err), 0);
}

static void close_all(struct steer *steer)
{
	close_many(fds, SLOTS);
	steer_free(steer);
}

static const char *source(size_t k)
{
	static char text[32];

	snprintf(text, sizeof(text), "127.0.0.%zu", k + 2);
	return text;
}

/* How many connections each slot has, by accepting them. */
static void count(size_t ret[static SLOTS])
{
	for (size_t k = 0; k < SLOTS; k++)
		ret[k] = accept_all(fds[k]);
}

/* The one slot that has all @n connections. */
static size_t only_slot(size_t n)
{
	size_t counts[SLOTS], k = 0;

	count(counts);
	while (k < SLOTS - 1 && counts[k] == 0)
		k++;
	assert_int_equal(counts[k], n);
	return k;
}

static int connect_from(const char *from, const struct address *to)
{
	int fd = try_connect_from(from, to);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), 1);
	return fd;
}

static void test_steer_sticky_source_has_one_slot(void **state)
{
	struct steer *steer = open_sticky(true);
	int clients[CONNECTIONS];

	(void)state;
	publish_all(steer);
	connect_many(clients, CONNECTIONS);
	only_slot(CONNECTIONS);
	close_many(clients, CONNECTIONS);
	close_all(steer);
}

static void test_steer_not_sticky_source_has_every_slot(void **state)
{
	struct steer *steer = open_sticky(false);
	int clients[CONNECTIONS];
	size_t counts[SLOTS];

	(void)state;
	publish_all(steer);
	connect_many(clients, CONNECTIONS);
	count(counts);
	for (size_t k = 0; k < SLOTS; k++)
		assert_true(counts[k] > 0);
	close_many(clients, CONNECTIONS);
	close_all(steer);
}

static void test_steer_sticky_neighbours_are_spread(void **state)
{
	struct steer *steer = open_sticky(true);
	size_t sources[SLOTS] = {};

	(void)state;
	publish_all(steer);
	for (size_t k = 0; k < SOURCES; k++) {
		int clients[3];

		for (size_t n = 0; n < 3; n++)
			clients[n] = connect_from(source(k), &address);
		sources[only_slot(3)]++;
		close_many(clients, 3);
	}
	/* Half of an even share, at the least: fixed addresses, so that this is no chance. */
	for (size_t k = 0; k < SLOTS; k++)
		assert_true(sources[k] >= SOURCES / SLOTS / 2);
	close_all(steer);
}

/*
 * Connections that wait at @old, where they did not go by their source, are found at the slot of
 * their source when it closes.
 */
static void expect_migrated_with_new(struct steer *steer, const char *from,
				     const struct address *to)
{
	int old = listener(&address), clients[5];
	uint16_t slot = join(steer, old);
	size_t migrated, new;

	publish(steer, slot, -1);
	for (size_t k = 0; k < 5; k++)
		clients[k] = connect_from(from, to);
	publish_all(steer);
	close(old);
	migrated = only_slot(5);
	close_many(clients, 5);
	clients[0] = connect_from(from, to);
	new = only_slot(1);
	close(clients[0]);
	assert_int_equal(migrated, new);
	steer_release(steer, slot);
}

static void test_steer_sticky_queued_connections_migrate_to_their_sources_slot(void **state)
{
	struct steer *steer = open_sticky(true);

	(void)state;
	for (size_t k = 0; k < 16; k++)
		expect_migrated_with_new(steer, source(k), &address);
	close_all(steer);
}

static void test_steer_sticky_source_is_the_same_on_a_dual_stack_listener(void **state)
{
	struct address v4, v6;
	struct steer *steer;

	(void)state;
	assert_int_equal(address_parse("127.0.0.1:8080", &v4, &err), 0);
	assert_int_equal(address_parse("[::1]:8080", &v6, &err), 0);
	assert_int_equal(address_parse(":8080", &address, &err), 0);
	steer = open_sticky(true);
	for (size_t k = 0; k < 16; k++)
		expect_migrated_with_new(steer, source(k), &v4);
	expect_migrated_with_new(steer, NULL, &v6);
	close_all(steer);
}

static void test_steer_sticky_half_open_connections_migrate_to_their_sources_slot(void **state)
{
	struct steer *steer = open_sticky(true);
	int clients[16], old = listener(&address);

	(void)state;
	defer_accept(old);
	publish(steer, join(steer, old), -1);
	for (size_t k = 0; k < 16; k++) {
		clients[k] = try_connect_from(source(k), &address);
		assert_true(clients[k] >= 0);
	}
	publish_all(steer);
	close(old);
	for (size_t k = 0; k < 16; k++) {
		int fd = connect_from(source(k), &address);
		size_t slot = only_slot(1);

		say_x(&clients[k], 1);
		accept_n(fds[slot], 1);
		close(fd);
	}
	close_many(clients, 16);
	close_all(steer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(test_steer_##name, setup)
		TEST(sticky_source_has_one_slot),
		TEST(not_sticky_source_has_every_slot),
		TEST(sticky_neighbours_are_spread),
		TEST(sticky_queued_connections_migrate_to_their_sources_slot),
		TEST(sticky_source_is_the_same_on_a_dual_stack_listener),
		TEST(sticky_half_open_connections_migrate_to_their_sources_slot),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
