/* SPDX-License-Identifier: BSD-2-Clause */
/* Which connections of a service are listed, with whose they are. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/view/connection_list.h"
#include "tests/unit/view/status_fixture.h"

static int births_fd;     /* as set last */
static unsigned n_births; /* how often */

void diag_set_births(struct diag *diag, int map_fd)
{
	(void)diag;
	births_fd = map_fd;
	n_births++;
}

const char *diag_state_name(uint8_t state)
{
	return state == TCP_ESTABLISHED ? "established" : "other";
}

/* So many connections on both ports together. */
static void give_connections(size_t k, uint64_t cgroup_id, uint64_t first, uint64_t second)
{
	fake_connections[2 * k].port = 80;
	fake_connections[2 * k].cgroup_id = cgroup_id;
	fake_connections[2 * k].live = first;
	fake_connections[2 * k + 1].port = 81;
	fake_connections[2 * k + 1].cgroup_id = cgroup_id;
	fake_connections[2 * k + 1].live = second;
}

static int set_up_list(void **state)
{
	births_fd = -1;
	n_births = 0;
	return set_up(state);
}

static size_t n_pieces;

static void list(size_t limit)
{
	cleanup(connection_list_free) struct connection_list *made = NULL;
	char *text = strdup(""), *piece = NULL;
	struct error err;

	if (connection_list_new(&service, limit, &made, &err) < 0)
		fail_msg("%s", err.text);
	for (n_pieces = 0;; n_pieces++) {
		piece = connection_list_next(made);
		assert_non_null(piece);
		if (!*piece)
			break;
		assert_true(strlen(piece) < 64 * 1024);
		text = realloc(text, strlen(text) + strlen(piece) + 1);
		assert_non_null(text);
		strcat(text, piece);
		free(piece);
	}
	free(piece);
	json_decref(json);
	json = json_loads(text, 0, NULL);
	assert_non_null(json);
	assert_int_equal(text[strlen(text) - 1], '\n');
	free(text);
}

static void assert_counts(int total, int shown)
{
	assert_number("total", total);
	assert_number("shown", shown);
	assert_int_equal(json_array_size(at("connections")), shown);
}

static void test_connection_list_of_a_stopped_service_is_empty(void **state)
{
	(void)state;
	list(10);
	assert_text("service", "web");
	assert_counts(0, 0);
}

static void test_connection_list_has_the_newest_generation_first(void **state)
{
	(void)state;
	add_generation(1);
	add_generation(2);
	give_connections(0, 1, 1, 2);
	give_connections(1, 2, 2, 0);
	list(10);
	assert_counts(5, 5);
	for (int k = 0; k < 5; k++) {
		char path[64];

		snprintf(path, sizeof(path), "connections.%d.generation", k);
		assert_number(path, k < 2 ? 2 : 1);
	}
	assert_number("connections.0.instance", 0);
	assert_text("connections.0.state", "established");
}

static void test_connection_list_names_the_instance(void **state)
{
	(void)state;
	service.current = add_generation(1);
	add_instance(service.current)->cgroup_id = 7;
	give_connections(0, 1, 1, 0);
	give_connections(1, 7, 0, 1);
	list(10);
	assert_counts(2, 2);
	assert_number("connections.0.instance", 0);
	assert_number("connections.1.instance", 1);
}

/* The total is still that of all. */
static void test_connection_list_is_cut_at_the_limit(void **state)
{
	(void)state;
	add_generation(1);
	add_generation(2);
	give_connections(0, 1, 3, 3);
	give_connections(1, 2, 2, 2);
	list(5);
	assert_counts(10, 5);
	assert_number("connections.4.generation", 1);
	list(0);
	assert_counts(10, 0);
}

/* However many there are, a piece takes the loop no longer. */
static void test_connection_list_comes_in_pieces(void **state)
{
	(void)state;
	add_generation(1);
	give_connections(0, 1, 600, 400);
	list(100000);
	assert_counts(1000, 1000);
	assert_int_equal(n_pieces, 16);
	list(64);
	assert_counts(1000, 64);
	assert_int_equal(n_pieces, 1);
}

/* Nobody is counted twice where the kernel's list has to be read again. */
static void test_connection_list_that_is_interrupted_begins_again(void **state)
{
	(void)state;
	add_generation(1);
	add_generation(2);
	give_connections(0, 1, 3, 1);
	give_connections(1, 2, 2, 2);
	fake_connections_interrupted = 3;
	list(6);
	assert_counts(8, 6);
}

static void test_connection_list_leaves_out_what_cannot_be_told_apart(void **state)
{
	(void)state;
	service.current = add_generation(1);
	add_instance(service.current)->cgroup_id = 0; /* and no processes are known */
	give_connections(0, 1, 2, 0);
	list(10);
	assert_counts(2, 2);
	instances[0][0].phase = INSTANCE_STOPPED;
	list(10);
	assert_counts(0, 0);
}

static void test_connection_list_that_cannot_be_read_is_an_error(void **state)
{
	struct connection_list *made;
	struct error err;

	(void)state;
	add_generation(1);
	assert_true(connection_list_new(&service, 10, &made, &err) < 0);
	assert_string_equal(err.text, "connections: Input/output error");
	assert_int_equal(births_fd, -1);
}

/* Not for longer than the list takes. */
static void test_connection_list_forgets_births_afterwards(void **state)
{
	(void)state;
	add_generation(1);
	give_connections(0, 1, 1, 0);
	service.wiring.tap = &hooks;
	births_fd = 5;
	list(10);
	assert_int_equal(n_births, 2);
	assert_int_equal(births_fd, -1);
	service.wiring.tap = NULL;
	list(10);
	assert_int_equal(n_births, 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_list, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_connection_list_of_a_stopped_service_is_empty),
		TEST(test_connection_list_has_the_newest_generation_first),
		TEST(test_connection_list_names_the_instance),
		TEST(test_connection_list_is_cut_at_the_limit),
		TEST(test_connection_list_comes_in_pieces),
		TEST(test_connection_list_that_is_interrupted_begins_again),
		TEST(test_connection_list_leaves_out_what_cannot_be_told_apart),
		TEST(test_connection_list_that_cannot_be_read_is_an_error),
		TEST(test_connection_list_forgets_births_afterwards),
	};
#undef TEST

	return cmocka_run_group_tests_name("connection list", tests, NULL, NULL);
}
