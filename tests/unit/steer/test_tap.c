/* SPDX-License-Identifier: BSD-2-Clause */
/* Counting. See also test_tap_share.c and test_tap_load.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>

#include "tests/unit/steer/tap_fixture.h"

#define MANY 500
#define HERE "127.0.0.1:8080"

/* ---- a server in a process of its own -------------------------------------------------------- */

struct server {
	pid_t pid;
	int control; /* each byte: one more accept(2); closed: it closes all that it has */
};

static void serve(int control, const char *cgroup, const char *text)
{
	int fds[MANY + 1], listener;
	size_t n = 0;
	char byte;

	enter(cgroup);
	listener = listener_in(NULL, text);
	if (listener < 0 || write(control, "", 1) != 1)
		_exit(1);
	while (read(control, &byte, 1) == 1 && n <= MANY)
		fds[n++] = accept_from(listener);
	for (size_t k = 0; k < n; k++)
		close(fds[k]);
	/* All are closed, and this process is there still. */
	for (;;)
		pause();
}

static struct server start_server(const char *cgroup, const char *text)
{
	struct server server;
	int pair[2];
	char byte;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	server.pid = fork();
	assert_true(server.pid >= 0);
	if (server.pid == 0) {
		close(pair[0]);
		serve(pair[1], cgroup, text);
	}
	close(pair[1]);
	server.control = pair[0];
	assert_int_equal(read(server.control, &byte, 1), 1);
	return server;
}

static void stop_server(const struct server *server)
{
	kill(server->pid, SIGKILL);
	assert_int_equal(waitpid(server->pid, NULL, 0), server->pid);
}

/* ---- counting ------------------------------------------------------------------------------- */

static void test_tap_connections_are_counted_and_the_last_one_is_told(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	struct server server;
	int clients[MANY];

	(void)state;
	attach(tap, 0, false);
	assert_count(tap, 0, 0, 0, 0, 0);
	server = start_server(leaves[0], HERE);
	for (size_t k = 0; k < MANY; k++) {
		clients[k] = client_of(HERE);
		assert_int_equal(write(server.control, "", 1), 1);
	}
	wait_for(count_of(tap, 0).live == MANY);
	assert_count(tap, 0, MANY, MANY, 0, 0);
	assert_int_equal(tap_watch(tap, 1, 0), 0);
	for (size_t k = 0; k < MANY - 1; k++)
		close(clients[k]);
	/* Half closed: the server has not read it yet. */
	run_loop();
	assert_count(tap, 0, MANY, MANY, 0, 0);
	close(server.control);
	wait_for(count_of(tap, 0).live == 0);
	assert_count(tap, 0, MANY, 0, MANY, 0);
	wait_for(seen.zeros > 0);
	assert_int_equal(seen.generation, 1);
	assert_int_equal(seen.instance, 0);
	close(clients[MANY - 1]);
	stop_server(&server);
	tap_free(tap);
}

static void test_tap_queued_connections_are_alive_until_their_listener_closes(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	int listener, clients[3];

	(void)state;
	attach(tap, 0, false);
	listener = listener_in(leaves[0], HERE);
	for (size_t k = 0; k < 3; k++)
		clients[k] = client_of(HERE);
	wait_for(count_of(tap, 0).live == 3);
	/* There is no program to migrate them. */
	close(listener);
	wait_for(count_of(tap, 0).live == 0);
	assert_count(tap, 0, 3, 0, 3, 3);
	for (size_t k = 0; k < 3; k++)
		close(clients[k]);
	tap_free(tap);
}

static void test_tap_instances_are_counted_apart(void **state)
{
	struct tap *tap = open_tap(NULL, HERE " [::1]:8081 :8082");
	int first, second, dual, clients[4], four;

	(void)state;
	attach(tap, 0, false);
	attach(tap, 1, false);
	first = listener_in(leaves[0], HERE);
	second = listener_in(leaves[1], "[::1]:8081");
	dual = listener_in(leaves[1], ":8082");
	clients[0] = client_of(HERE);
	clients[1] = client_of("[::1]:8081");
	clients[2] = client_of("127.0.0.1:8082");
	clients[3] = client_of("[::1]:8082");
	wait_for(count_of(tap, 0).live == 1 && count_of(tap, 1).live == 3);
	four = accept_from(dual);
	close(clients[2]);
	close(four);
	wait_for(count_of(tap, 1).live == 2);
	assert_count(tap, 0, 1, 1, 0, 0);
	assert_count(tap, 1, 3, 2, 1, 0);
	close(clients[0]);
	close(clients[1]);
	close(clients[3]);
	close(first);
	close(second);
	close(dual);
	tap_free(tap);
}

static void test_tap_undeclared_ports_and_own_clients_are_not_counted(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	struct address here = parse(HERE);
	int other, outside, client, server, own;

	(void)state;
	attach(tap, 0, false);
	other = listener_in(leaves[0], "127.0.0.1:8081");
	client = client_of("127.0.0.1:8081");
	server = accept_from(other);
	close(client);
	close(server);
	/* The instance as a client of somebody else's port 8080. */
	outside = listener_in(NULL, HERE);
	own = socket_in(leaves[0], &here);
	assert_int_equal(connect(own, &here.sa, here.length), 0);
	server = accept_from(outside);
	close(own);
	close(server);
	run_loop();
	assert_count(tap, 0, 0, 0, 0, 0);
	close(other);
	close(outside);
	tap_free(tap);
}

/* ---- how connections end --------------------------------------------------------------------- */

/* A connection: both ends. */
struct pair {
	int client, server;
};

static struct pair connect_pair(int listener)
{
	struct pair pair;

	pair.client = client_of(HERE);
	pair.server = accept_from(listener);
	return pair;
}

static void client_first(const struct pair *pair)
{
	close(pair->client);
	close(pair->server);
}

static void server_first(const struct pair *pair)
{
	close(pair->server);
	close(pair->client);
}

static void client_resets(const struct pair *pair)
{
	abort_fd(pair->client);
	close(pair->server);
}

static void server_resets(const struct pair *pair)
{
	abort_fd(pair->server);
	close(pair->client);
}

static void server_leaves_data_unread(const struct pair *pair)
{
	struct pollfd readable = {.fd = pair->server, .events = POLLIN};

	assert_int_equal(write(pair->client, "x", 1), 1);
	assert_int_equal(poll(&readable, 1, PATIENCE_MS), 1);
	close(pair->server);
	close(pair->client);
}

static void half_closed_client_is_reset(const struct pair *pair)
{
	struct pollfd readable = {.fd = pair->server, .events = POLLIN};
	char byte;

	shutdown(pair->client, SHUT_WR);
	assert_int_equal(poll(&readable, 1, PATIENCE_MS), 1);
	assert_int_equal(read(pair->server, &byte, 1), 0);
	abort_fd(pair->server);
	close(pair->client);
}

/* The server is done, but the client takes neither its last bytes nor its FIN. */
static void client_resets_a_closing_server(const struct pair *pair)
{
	static const char much[1 << 20];
	int flags = fcntl(pair->server, F_GETFL);

	fcntl(pair->server, F_SETFL, flags | O_NONBLOCK);
	for (int n = 0; n < 100 && write(pair->server, much, sizeof(much)) > 0; n++)
		;
	close(pair->server);
	abort_fd(pair->client);
}

static void expect_end(void (*end)(const struct pair *pair), uint64_t reset)
{
	struct tap *tap = open_tap(NULL, HERE);
	struct pair pair;
	int listener;

	attach(tap, 0, false);
	listener = listener_in(leaves[0], HERE);
	pair = connect_pair(listener);
	assert_count(tap, 0, 1, 1, 0, 0);
	assert_int_equal(tap_watch(tap, 1, 0), 0);
	run_loop();
	assert_int_equal(seen.zeros, 0);
	end(&pair);
	wait_for(seen.zeros == 1);
	assert_count(tap, 0, 1, 0, 1, reset);
	seen.zeros = 0;
	close(listener);
	tap_free(tap);
}

static void test_tap_orderly_ends_are_no_resets(void **state)
{
	(void)state;
	expect_end(client_first, 0);
	expect_end(server_first, 0);
}

static void test_tap_resets_are_counted(void **state)
{
	(void)state;
	expect_end(client_resets, 1);
	expect_end(server_resets, 1);
	expect_end(server_leaves_data_unread, 1);
	expect_end(half_closed_client_is_reset, 1);
	expect_end(client_resets_a_closing_server, 1);
}

/* Taken apart by connect(2) to AF_UNSPEC, and then a client, from the declared port even. */
static void test_tap_socket_that_is_used_again_ends_once(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	struct sockaddr unspec = {.sa_family = AF_UNSPEC};
	struct address here = parse(HERE), elsewhere = parse("127.0.0.1:8099");
	struct pair pair;
	int listener, other;

	(void)state;
	attach(tap, 0, false);
	listener = listener_in(leaves[0], HERE);
	other = listener_in(NULL, "127.0.0.1:8099");
	pair = connect_pair(listener);
	close(listener);
	assert_int_equal(connect(pair.server, &unspec, sizeof(unspec)), 0);
	assert_count(tap, 0, 1, 0, 1, 1);
	assert_int_equal(bind(pair.server, &here.sa, here.length), 0);
	assert_int_equal(connect(pair.server, &elsewhere.sa, elsewhere.length), 0);
	abort_fd(pair.server);
	assert_count(tap, 0, 1, 0, 1, 1);
	close(pair.client);
	close(other);
	tap_free(tap);
}

/* ---- moves, as the steering program notes them ---------------------------------------------- */

static void add_to_counts(struct tap *tap, uint64_t owner, uint64_t in, uint64_t out)
{
	struct tap_counts counts;
	int fd = tap_counts_fd(tap);

	assert_int_equal(bpf_map_lookup_elem(fd, &owner, &counts), 0);
	counts.moved_in += in;
	counts.moved_out += out;
	assert_int_equal(bpf_map_update_elem(fd, &owner, &counts, BPF_EXIST), 0);
}

static void test_tap_moved_connection_ends_where_it_went(void **state)
{
	const uint64_t from = 1ull << 32, to = from | 1;
	struct tap *tap = open_tap(NULL, HERE);
	uint64_t cookie, value;
	struct pair pair;
	int listener;

	(void)state;
	attach(tap, 0, false);
	attach(tap, 1, false);
	listener = listener_in(leaves[0], HERE);
	pair = connect_pair(listener);
	cookie = cookie_of(pair.server);
	assert_int_equal(bpf_map_update_elem(tap_moved_fd(tap), &cookie, &to, BPF_ANY), 0);
	add_to_counts(tap, from, 0, 1);
	add_to_counts(tap, to, 1, 0);
	assert_count(tap, 0, 0, 0, 0, 0);
	assert_count(tap, 1, 1, 1, 0, 0);
	assert_int_equal(tap_watch(tap, 1, 1), 0);
	run_loop();
	assert_int_equal(seen.zeros, 0);
	client_first(&pair);
	wait_for(seen.zeros == 1);
	assert_int_equal(seen.instance, 1);
	assert_count(tap, 0, 0, 0, 0, 0);
	assert_count(tap, 1, 1, 0, 1, 0);
	assert_int_equal(bpf_map_lookup_elem(tap_moved_fd(tap), &cookie, &value), -ENOENT);
	close(listener);
	tap_free(tap);
}

static void test_tap_count_is_never_negative(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);

	(void)state;
	attach(tap, 0, false);
	add_to_counts(tap, 1ull << 32, 0, 7);
	assert_count(tap, 0, 0, 0, 0, 0);
	tap_free(tap);
}

/* ---- watching and forgetting ----------------------------------------------------------------- */

static void test_tap_watch_of_nothing_is_told_at_once_by_the_loop(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);

	(void)state;
	attach(tap, 0, false);
	attach(tap, 1, false);
	assert_int_equal(tap_watch(tap, 1, 1), 0);
	assert_int_equal(tap_watch(tap, 1, 1), 0);
	assert_int_equal(seen.zeros, 0);
	wait_for(seen.zeros == 1);
	assert_int_equal(seen.instance, 1);
	run_loop();
	assert_int_equal(seen.zeros, 1);
	/* Again, and forgotten before the loop comes to it; the second one of that name is not
	 * meant.
	 */
	assert_int_equal(tap_watch(tap, 1, 1), 0);
	assert_int_equal(tap_watch(tap, 1, 0), 0);
	tap_forget(tap, 1, 1);
	attach(tap, 1, false);
	wait_for(seen.zeros == 2);
	assert_int_equal(seen.instance, 0);
	run_loop();
	assert_int_equal(seen.zeros, 2);
	tap_free(tap);
}

static void test_tap_without_a_watch_nothing_is_told(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	struct pair pair;
	int listener;

	(void)state;
	attach(tap, 0, false);
	listener = listener_in(leaves[0], HERE);
	pair = connect_pair(listener);
	client_first(&pair);
	wait_for(count_of(tap, 0).closed == 1);
	run_loop();
	assert_int_equal(seen.zeros, 0);
	close(listener);
	tap_free(tap);
}

static void test_tap_forgotten_instance_is_unknown_and_stays_so(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	struct tap_count count;
	struct pair pair;
	int listener;

	(void)state;
	assert_int_equal(tap_count(tap, 1, 0, &count), -ENOENT);
	assert_int_equal(tap_watch(tap, 1, 0), -ENOENT);
	attach(tap, 0, false);
	listener = listener_in(leaves[0], HERE);
	pair = connect_pair(listener);
	assert_int_equal(tap_watch(tap, 1, 0), 0);
	tap_forget(tap, 1, 0);
	tap_forget(tap, 1, 0);
	client_first(&pair);
	run_loop();
	assert_int_equal(tap_count(tap, 1, 0, &count), -ENOENT);
	assert_int_equal(seen.zeros, 0);
	close(listener);
	tap_free(tap);
}

static void test_tap_can_be_freed_by_its_callback(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	struct pair pair;
	int listener;

	(void)state;
	attach(tap, 0, false);
	assert_int_equal(tap_watch(tap, 1, 0), 0);
	seen.free_in_zero = tap;
	wait_for(seen.zeros == 1);

	seen.free_in_zero = NULL;
	tap = open_tap(NULL, HERE);
	attach(tap, 0, false);
	listener = listener_in(leaves[0], HERE);
	pair = connect_pair(listener);
	assert_int_equal(tap_watch(tap, 1, 0), 0);
	run_loop();
	seen.free_in_zero = tap;
	client_first(&pair);
	wait_for(seen.zeros == 2);
	close(listener);
}

static void test_tap_birth_is_noted(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	uint64_t before, born = 0, after;
	struct timespec now;
	struct pair pair;
	int listener;

	(void)state;
	attach(tap, 0, false);
	listener = listener_in(leaves[0], HERE);
	clock_gettime(CLOCK_MONOTONIC, &now);
	before = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	pair = connect_pair(listener);
	clock_gettime(CLOCK_MONOTONIC, &now);
	after = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	/* Of such a map, the key is a descriptor. */
	assert_int_equal(bpf_map_lookup_elem(tap_births_fd(tap), &pair.server, &born), 0);
	assert_in_range(born, before, after);
	client_first(&pair);
	close(listener);
	tap_free(tap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_tap_##name, setup, teardown)
		TEST(connections_are_counted_and_the_last_one_is_told),
		TEST(queued_connections_are_alive_until_their_listener_closes),
		TEST(instances_are_counted_apart),
		TEST(undeclared_ports_and_own_clients_are_not_counted),
		TEST(orderly_ends_are_no_resets),
		TEST(resets_are_counted),
		TEST(socket_that_is_used_again_ends_once),
		TEST(moved_connection_ends_where_it_went),
		TEST(count_is_never_negative),
		TEST(watch_of_nothing_is_told_at_once_by_the_loop),
		TEST(without_a_watch_nothing_is_told),
		TEST(forgotten_instance_is_unknown_and_stays_so),
		TEST(can_be_freed_by_its_callback),
		TEST(birth_is_noted),
	};

	return cmocka_run_group_tests_name("tap", tests, fixture_open, fixture_close);
}
