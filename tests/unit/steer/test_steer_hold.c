/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections that wait at the anchor while nothing can take them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>

#include "common/clock.h"
#include "tests/unit/steer/steer_fixture.h"

#define CLIENTS     4
#define RACE_ROUNDS 500 /* connections of each client */

static struct steer *open_holding(void)
{
	struct steer *steer = open_steer();

	assert_int_equal(steer_hold(steer, true), 0);
	return steer;
}

static uint32_t held(struct steer *steer)
{
	uint32_t n = UINT32_MAX;

	assert_int_equal(steer_held(steer, &n), 0);
	return n;
}

static uint64_t ever_held(struct steer *steer)
{
	struct steer_stats stats;

	assert_int_equal(steer_stats(steer, &stats), 0);
	return stats.held;
}

static uint64_t refused(struct steer *steer)
{
	struct steer_stats stats;

	assert_int_equal(steer_stats(steer, &stats), 0);
	return stats.refused;
}

/* ---- waiting -------------------------------------------------------------------------------- */

static void test_steer_hold_what_nothing_takes_waits_and_goes_to_the_first_that_does(void **state)
{
	struct steer *steer = open_holding();
	int fd = listener(&address), clients[CONNECTIONS], later[10];
	uint16_t slot = join(steer, fd);
	struct steer_slot_stats stats;

	(void)state;
	connect_many(clients, CONNECTIONS);
	assert_int_equal(held(steer), CONNECTIONS);
	assert_int_equal(ever_held(steer), CONNECTIONS);
	publish(steer, slot, -1);
	/* New ones do not wait behind them. */
	connect_many(later, 10);
	assert_int_equal(accept_all(fd), 10);
	assert_int_equal(held(steer), CONNECTIONS);
	assert_int_equal(steer_unhold(steer, &err), CONNECTIONS);
	assert_int_equal(held(steer), 0);
	assert_int_equal(accept_all(fd), CONNECTIONS);
	assert_int_equal(steer_slot_stats(steer, slot, &stats), 0);
	assert_int_equal(stats.migrated, CONNECTIONS);
	assert_int_equal(refused(steer), 0);
	if (inspect)
		assert_int_equal(steer_check(steer, NULL, 0), STEER_PROGRAM_ATTACHED);
	close_many(clients, CONNECTIONS);
	close_many(later, 10);
	close(fd);
	steer_free(steer);
}

static void test_steer_hold_twice_in_a_row_works_like_once(void **state)
{
	struct steer *steer = open_holding();
	int fd = listener(&address), clients[20];
	uint16_t slot = join(steer, fd);

	(void)state;
	for (int n = 0; n < 3; n++) {
		publish(steer, -1, -1);
		connect_many(clients, 20);
		assert_int_equal(held(steer), 20);
		publish(steer, slot, -1);
		assert_int_equal(steer_unhold(steer, &err), 20);
		assert_int_equal(accept_all(fd), 20);
		close_many(clients, 20);
	}
	close(fd);
	steer_free(steer);
}

static void test_steer_hold_off_refuses_at_once(void **state)
{
	struct steer *steer = open_holding();
	int client = try_connect();

	(void)state;
	assert_true(client >= 0);
	assert_int_equal(steer_hold(steer, false), 0);
	assert_int_equal(try_connect(), -ECONNREFUSED);
	assert_int_equal(refused(steer), 1);
	/* What waits is not the switch's business. */
	assert_int_equal(held(steer), 1);
	close(client);
	steer_free(steer);
}

static void test_steer_hold_closed_listeners_queue_waits_too(void **state)
{
	struct steer *steer = open_holding();
	int old = listener(&address), new = listener(&address), clients[50];

	(void)state;
	publish(steer, join(steer, old), -1);
	connect_many(clients, 50);
	assert_int_equal(held(steer), 0);
	/* Nothing is left that could take it: a crash, say. */
	close(old);
	assert_int_equal(held(steer), 50);
	publish(steer, join(steer, new), -1);
	assert_int_equal(steer_unhold(steer, &err), 50);
	assert_int_equal(accept_all(new), 50);
	close_many(clients, 50);
	close(new);
	steer_free(steer);
}

static void test_steer_hold_half_open_connections_go_on_too(void **state)
{
	struct steer *steer = open_holding();
	int clients[50], fd;

	(void)state;
	defer_accept(anchor_of_this_process());
	for (size_t k = 0; k < 50; k++) {
		clients[k] = try_connect();
		assert_true(clients[k] >= 0);
	}
	assert_int_equal(held(steer), 0);
	fd = listener(&address);
	publish(steer, join(steer, fd), -1);
	/* They cannot be counted, only be sent on. */
	assert_int_equal(steer_unhold(steer, &err), 0);
	say_x(clients, 50);
	accept_n(fd, 50);
	assert_int_equal(held(steer), 0);
	close_many(clients, 50);
	close(fd);
	steer_free(steer);
}

/* ---- nowhere to go -------------------------------------------------------------------------- */

static void test_steer_unhold_without_anything_that_listens_changes_nothing(void **state)
{
	struct steer *steer = open_holding();
	int gone = listener(&address), fd = listener(&address), clients[20];
	uint16_t slot_gone = join(steer, gone), slot = join(steer, fd);
	uint64_t cookie = steer_cookie(fd);

	(void)state;
	connect_many(clients, 20);
	assert_int_equal(steer_unhold(steer, &err), 0);
	assert_int_equal(held(steer), 20);
	publish(steer, slot_gone, -1);
	close(gone);
	assert_int_equal(steer_unhold(steer, &err), 0);
	assert_int_equal(held(steer), 20);
	/* With hold off they would be reset: no reason either. */
	assert_int_equal(steer_hold(steer, false), 0);
	assert_int_equal(steer_unhold(steer, &err), 0);
	assert_int_equal(held(steer), 20);
	publish(steer, slot_gone, slot);
	assert_int_equal(steer_unhold(steer, &err), 20);
	assert_int_equal(accept_all(fd), 20);
	assert_int_equal(steer_cookie(fd), cookie);
	close_many(clients, 20);
	close(fd);
	steer_free(steer);
}

/* Half of the buckets name a socket that is gone. */
static void half_a_table(struct steer *steer, uint16_t slot, uint16_t slot_gone)
{
	struct steer_table table;

	for (size_t k = 0; k < STEER_BUCKETS; k++)
		table.buckets[k] = (struct steer_bucket){.primary = k % 2 ? slot : slot_gone,
							 .backup = STEER_NO_SLOT};
	assert_int_equal(steer_publish(steer, &table, &err), 0);
}

static void test_steer_unhold_what_still_nothing_takes_waits_on(void **state)
{
	struct steer *steer = open_holding();
	int fd = listener(&address), clients[CONNECTIONS];
	uint16_t slot = join(steer, fd);
	size_t n;

	(void)state;
	connect_many(clients, CONNECTIONS);
	half_a_table(steer, slot, 99);
	assert_int_equal(steer_unhold(steer, &err), CONNECTIONS);
	n = accept_all(fd);
	assert_in_range(n, 1, CONNECTIONS - 1);
	assert_int_equal(held(steer), CONNECTIONS - n);
	publish(steer, slot, -1);
	assert_int_equal(steer_unhold(steer, &err), CONNECTIONS - n);
	assert_int_equal(accept_all(fd), CONNECTIONS - n);
	close_many(clients, CONNECTIONS);
	close(fd);
	steer_free(steer);
}

static void test_steer_unhold_under_another_program_puts_ours_back_first(void **state)
{
	const struct bpf_insn refuse[] = {
		{.code = 0xb7, .imm = 0}, /* r0 = SK_DROP */
		{.code = 0x95},           /* exit */
	};
	struct steer *steer = open_holding();
	int fd = listener(&address), clients[20], program;

	(void)state;
	if (!inspect)
		skip();
	connect_many(clients, 20);
	program = bpf_prog_load(BPF_PROG_TYPE_SK_REUSEPORT, "foreign", "GPL", refuse, 2, NULL);
	assert_true(program >= 0);
	publish(steer, join(steer, fd), -1);
	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof(program)), 0);
	close(program);
	assert_int_equal(steer_unhold(steer, &err), 20);
	assert_int_equal(accept_all(fd), 20);
	assert_int_equal(steer_check(steer, NULL, 0), STEER_PROGRAM_ATTACHED);
	close_many(clients, 20);
	close(fd);
	steer_free(steer);
}

static void test_steer_unhold_that_fails_leaves_everything_waiting(void **state)
{
	struct steer *steer = open_holding();
	int fd = listener(&address), clients[20], lowest, r;
	uint16_t slot = join(steer, fd);
	struct rlimit before, none;

	(void)state;
	connect_many(clients, 20);
	publish(steer, slot, -1);
	lowest = dup(fd);
	close(lowest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){(rlim_t)lowest, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	r = steer_unhold(steer, &err);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(r, -EMFILE);
	assert_non_null(strstr(err.text, "127.0.0.1:8080: another anchor: make a socket: "));
	assert_int_equal(held(steer), 20);
	assert_int_equal(steer_unhold(steer, &err), 20);
	assert_int_equal(accept_all(fd), 20);
	close_many(clients, 20);
	close(fd);
	steer_free(steer);
}

static void test_steer_unhold_where_nothing_was_held_keeps_the_anchor(void **state)
{
	struct steer *steer = open_holding();
	uint64_t cookie;
	int fd;

	(void)state;
	cookie = steer_cookie(anchor_of_this_process());
	fd = listener(&address);
	publish(steer, join(steer, fd), -1);
	/* The first one may find what came before the program. */
	assert_true(steer_unhold(steer, &err) >= 0);
	close(fd);
	cookie = steer_cookie(anchor_of_this_process());
	fd = listener(&address);
	publish(steer, join(steer, fd), -1);
	assert_int_equal(steer_unhold(steer, &err), 0);
	close(fd);
	assert_int_equal(steer_cookie(anchor_of_this_process()), cookie);
	steer_free(steer);
}

/* ---- too long ------------------------------------------------------------------------------- */

static void test_steer_expire_resets_the_oldest(void **state)
{
	struct steer *steer = open_holding();
	int fd = listener(&address), clients[20];

	(void)state;
	connect_many(clients, 20);
	assert_int_equal(steer_expire(steer, 5), 5);
	for (size_t k = 0; k < 5; k++)
		assert_reset(clients[k]);
	assert_int_equal(held(steer), 15);
	publish(steer, join(steer, fd), -1);
	assert_int_equal(steer_unhold(steer, &err), 15);
	assert_int_equal(accept_all(fd), 15);
	assert_int_equal(steer_expire(steer, 5), 0);
	close_many(clients, 20);
	close(fd);
	steer_free(steer);
}

static void test_steer_expire_more_than_there_are_resets_all(void **state)
{
	struct steer *steer = open_holding();
	int clients[20];

	(void)state;
	connect_many(clients, 20);
	assert_int_equal(steer_expire(steer, UINT32_MAX), 20);
	for (size_t k = 0; k < 20; k++)
		assert_reset(clients[k]);
	assert_int_equal(held(steer), 0);
	close_many(clients, 20);
	steer_free(steer);
}

/* ---- under load ----------------------------------------------------------------------------- */

/* One connection after the other; each must be served: an orderly end after its "x". */
static int be_client(void)
{
	for (int k = 0; k < RACE_ROUNDS; k++) {
		int fd = try_connect();
		char byte;

		if (fd < 0 || write(fd, "x", 1) != 1 || read(fd, &byte, 1) != 0)
			return 1;
		close(fd);
	}
	return 0;
}

static bool all_ended(const pid_t *pids, bool *ended)
{
	bool all = true;

	for (size_t k = 0; k < CLIENTS; k++) {
		int status;

		if (!ended[k] && waitpid(pids[k], &status, WNOHANG) == pids[k]) {
			assert_int_equal(status, 0);
			ended[k] = true;
		}
		all &= ended[k];
	}
	return all;
}

static void test_steer_hold_on_and_off_under_load_loses_none(void **state)
{
	struct steer *steer = open_holding();
	int fd = listener(&address);
	uint16_t slot = join(steer, fd);
	uint64_t deadline_ms = clock_monotonic_ms() + 120000;
	bool ended[CLIENTS] = {};
	pid_t pids[CLIENTS];
	size_t n = 0;

	(void)state;
	for (size_t k = 0; k < CLIENTS; k++) {
		pids[k] = fork();
		if (pids[k] == 0)
			_exit(be_client());
	}
	while (!all_ended(pids, ended)) {
		struct pollfd readable = {.fd = fd, .events = POLLIN};

		publish(steer, -1, -1);
		poll(&readable, 1, 1);
		n += accept_all(fd);
		publish(steer, slot, -1);
		assert_true(steer_unhold(steer, &err) >= 0);
		n += accept_all(fd);
		if (clock_monotonic_ms() > deadline_ms) {
			for (size_t k = 0; k < CLIENTS; k++)
				if (!ended[k])
					kill(pids[k], SIGKILL);
			fail_msg("%zu of %d connections were served", n, CLIENTS * RACE_ROUNDS);
		}
	}
	assert_int_equal(n + accept_all(fd), CLIENTS * RACE_ROUNDS);
	assert_true(ever_held(steer) > 0);
	assert_int_equal(refused(steer), 0);
	close(fd);
	steer_free(steer);
}

/* ---- across daemons ------------------------------------------------------------------------- */

/* A daemon that holds everything, and is killed. */
static void die_holding(void)
{
	struct steer *steer = NULL;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (steer_open(&address, &options, &steer, NULL) < 0 ||
		    steer_reset(steer, NULL) < 0 || steer_hold(steer, true) < 0)
			_exit(1);
		_exit(steer_attach(steer, NULL) < 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static struct steer *succeed(const char *service, int *ret_fd)
{
	struct steer *steer;

	use_pins(service);
	*ret_fd = listener(&address);
	die_holding();
	steer = open_successor();
	assert_true(steer_is_taken_over(steer));
	return steer;
}

static void test_steer_hold_successors_anchor_takes_over_at_once(void **state)
{
	int fd, clients[40];
	struct steer *steer = succeed("holding", &fd);

	(void)state;
	/* The earlier daemon's program still holds, the new one's anchor is where. */
	connect_many(clients, 20);
	assert_int_equal(held(steer), 20);
	assert_int_equal(steer_hold(steer, true), 0);
	assert_int_equal(steer_attach(steer, &err), 0);
	connect_many(clients + 20, 20);
	assert_int_equal(held(steer), 40);
	publish(steer, join(steer, fd), -1);
	assert_int_equal(steer_unhold(steer, &err), 40);
	assert_int_equal(accept_all(fd), 40);
	close_many(clients, 40);
	close(fd);
	steer_unpin_all(steer);
	steer_free(steer);
}

static void test_steer_hold_that_a_successor_does_not_ask_for_ends_when_it_attaches(void **state)
{
	int fd, client;
	struct steer *steer = succeed("not-holding", &fd);

	(void)state;
	client = try_connect();
	assert_true(client >= 0);
	assert_int_equal(held(steer), 1);
	assert_int_equal(steer_attach(steer, &err), 0);
	assert_reset(client);
	assert_int_equal(held(steer), 0);
	assert_int_equal(try_connect(), -ECONNREFUSED);
	close(client);
	close(fd);
	steer_unpin_all(steer);
	steer_free(steer);
}

static void test_steer_hold_from_before_the_program_waits_where_hold_is_on(void **state)
{
	struct steer *steer = NULL;
	int client, fd;

	(void)state;
	if (missing)
		skip();
	assert_int_equal(steer_open(&address, &options, &steer, &err), 0);
	assert_int_equal(steer_reset(steer, &err), 0);
	assert_int_equal(steer_hold(steer, true), 0);
	connect_many(&client, 1);
	assert_int_equal(steer_attach(steer, &err), 0);
	assert_int_equal(held(steer), 1);
	fd = listener(&address);
	publish(steer, join(steer, fd), -1);
	assert_int_equal(steer_unhold(steer, &err), 1);
	assert_int_equal(accept_all(fd), 1);
	close(client);
	close(fd);
	steer_free(steer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(test_steer_##name, setup)
		TEST(hold_what_nothing_takes_waits_and_goes_to_the_first_that_does),
		TEST(hold_twice_in_a_row_works_like_once),
		TEST(hold_off_refuses_at_once),
		TEST(hold_closed_listeners_queue_waits_too),
		TEST(hold_half_open_connections_go_on_too),
		TEST(unhold_without_anything_that_listens_changes_nothing),
		TEST(unhold_what_still_nothing_takes_waits_on),
		TEST(unhold_under_another_program_puts_ours_back_first),
		TEST(unhold_that_fails_leaves_everything_waiting),
		TEST(unhold_where_nothing_was_held_keeps_the_anchor),
		TEST(expire_resets_the_oldest),
		TEST(expire_more_than_there_are_resets_all),
		TEST(hold_on_and_off_under_load_loses_none),
		TEST(hold_successors_anchor_takes_over_at_once),
		TEST(hold_that_a_successor_does_not_ask_for_ends_when_it_attaches),
		TEST(hold_from_before_the_program_waits_where_hold_is_on),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
