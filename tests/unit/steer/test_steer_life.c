/* SPDX-License-Identifier: BSD-2-Clause */
/* The program and its maps across daemons, and who else changes the program of the group. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <linux/filter.h>

#include "common/clock.h"
#include "tests/unit/steer/steer_fixture.h"

/* ---- another daemon ------------------------------------------------------------------------- */

/* A daemon that opens the endpoint, sends everything to @fd, and is killed. */
static void die_after_publish(int fd, const struct sockaddr_in *stale_pin)
{
	struct steer *steer = NULL;
	uint16_t slot;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (steer_open(&address, &options, &steer, NULL) < 0 ||
		    steer_reset(steer, NULL) < 0 || steer_attach(steer, NULL) < 0)
			_exit(1);
		/* The slot is not the first one: it must be found, not guessed. */
		join(steer, listener(&address));
		slot = join(steer, fd);
		publish(steer, slot, -1);
		_exit(steer_pin(steer, (const struct sockaddr *)stale_pin, 99) < 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_steer_successor_takes_over_without_a_gap(void **state)
{
	struct sockaddr_in stale = {.sin_family = AF_INET,
				    .sin_port = htons(40000),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct steer_slot_stats stats;
	struct steer *steer;
	int fd, clients[CONNECTIONS];
	uint16_t slot;

	(void)state;
	use_pins("successor");
	fd = listener(&address);
	die_after_publish(fd, &stale);
	connect_many(clients, 50);
	steer = open_successor();
	connect_many(clients + 50, 50);
	slot = join(steer, fd);
	assert_int_equal(slot, 1);
	publish(steer, slot, -1);
	connect_many(clients + 100, 50);
	assert_int_equal(steer_attach(steer, &err), 0);
	connect_many(clients + 150, CONNECTIONS - 150);
	assert_int_equal(accept_all(fd), CONNECTIONS);
	/* Counters go on, pins do not. */
	assert_int_equal(steer_slot_stats(steer, slot, &stats), 0);
	assert_int_equal(stats.primary, CONNECTIONS);
	assert_int_equal(steer_pin(steer, (struct sockaddr *)&stale, slot), 0);
	steer_unpin(steer, (struct sockaddr *)&stale);
	assert_true(steer_is_taken_over(steer));
	assert_true(steer_names(steer, slot));
	assert_false(steer_names(steer, 0));
	close_many(clients, CONNECTIONS);
	close(fd);
	steer_unpin_all(steer);
	steer_free(steer);
}

/* The program was on the group already, but its pin had not got its name yet. */
static void test_steer_predecessor_that_died_while_it_attached_is_succeeded(void **state)
{
	char path[BPFFS_PATH_MAX + 16], next[BPFFS_PATH_MAX + 16];
	struct steer *steer;
	int fd, clients[10];

	(void)state;
	use_pins("attaching");
	fd = listener(&address);
	steer = open_steer();
	publish(steer, join(steer, fd), -1);
	steer_free(steer);
	snprintf(path, sizeof(path), "%s/program", dir);
	snprintf(next, sizeof(next), "%s/program_next", dir);
	assert_int_equal(rename(path, next), 0);
	steer = open_successor();
	assert_true(steer_is_taken_over(steer));
	assert_true(steer_names(steer, join(steer, fd)));
	assert_int_equal(steer_attach(steer, &err), 0);
	connect_many(clients, 10);
	assert_int_equal(accept_all(fd), 10);
	close_many(clients, 10);
	close(fd);
	steer_unpin_all(steer);
	steer_free(steer);
}

static void pin_map(const char *name, enum bpf_map_type type, uint32_t key, uint32_t value,
		    uint32_t entries)
{
	int map = bpf_map_create(type, name, key, value, entries, NULL);
	char path[BPFFS_PATH_MAX + 16];

	assert_true(map >= 0);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(bpf_obj_pin(map, path), 0);
	close(map);
}

/* A socket fits into one array only: so the maps of 256 slots must go on as they are. */
static void test_steer_maps_with_fewer_slots_are_taken_over(void **state)
{
	int fds[256], more, clients[10];
	struct steer_slot_stats stats;
	struct steer *steer;
	uint32_t used, max;
	uint16_t slot;
	bool drift;

	(void)state;
	use_pins("small");
	pin_map("slots", BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 4, 8, 257);
	pin_map("slot_stats", BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(stats), 256);
	pin_map("pins", BPF_MAP_TYPE_HASH, sizeof(struct steer_pin_key), 4, STEER_PINS);
	steer = open_steer();
	for (int k = 0; k < 256; k++) {
		fds[k] = listener(&address);
		assert_int_equal(join(steer, fds[k]), k);
	}
	publish(steer, 255, -1);
	connect_many(clients, 10);
	assert_int_equal(accept_all(fds[255]), 10);
	close_many(clients, 10);
	more = listener(&address);
	assert_int_equal(steer_join(steer, more, 0, &slot, &drift, &err), -ENOSPC);
	assert_non_null(
		strstr(err.text, "all 256 that one address could have in an earlier baton"));
	steer_free(steer);

	steer = open_successor();
	assert_true(steer_is_taken_over(steer));
	steer_room(steer, &used, &max);
	assert_int_equal(used, 256);
	assert_int_equal(max, 256);
	for (int k = 0; k < 256; k++)
		assert_int_equal(join(steer, fds[k]), k);
	assert_int_equal(steer_attach(steer, &err), 0);
	assert_int_equal(steer_slot_stats(steer, 255, &stats), 0);
	assert_int_equal(stats.primary, 10);
	/* Held connections wait at the anchor, which has its place behind the 256. */
	publish(steer, -1, -1);
	assert_int_equal(steer_hold(steer, true), 0);
	connect_many(clients, 10);
	assert_int_equal(steer_held(steer, &used), 0);
	assert_int_equal(used, 10);
	publish(steer, 7, -1);
	assert_int_equal(steer_unhold(steer, &err), 10);
	assert_int_equal(accept_all(fds[7]), 10);
	close_many(clients, 10);
	close_many(fds, 256);
	close(more);
	steer_unpin_all(steer);
	steer_free(steer);
}

static void test_steer_connection_before_the_program_does_not_hang(void **state)
{
	struct steer *steer = NULL;
	int queued, half_open;

	(void)state;
	if (missing)
		skip();
	steer = open_successor();
	assert_int_equal(steer_reset(steer, &err), 0);
	queued = try_connect();
	defer_accept(anchor_of_this_process());
	half_open = try_connect();
	assert_true(queued >= 0);
	assert_true(half_open >= 0);
	assert_int_equal(steer_attach(steer, &err), 0);
	assert_int_equal(write(half_open, "x", 1), 1);
	assert_reset(queued);
	assert_reset(half_open);
	close(queued);
	close(half_open);
	steer_free(steer);
}

static void test_steer_another_daemons_group_is_not_taken(void **state)
{
	struct steer *first = open_steer(), *second = NULL;
	int fd = listener(&address), clients[CONNECTIONS];

	(void)state;
	if (!inspect)
		skip();
	publish(first, join(first, fd), -1);
	assert_int_equal(steer_open(&address, &options, &second, &err), 0);
	assert_false(steer_is_taken_over(second));
	assert_int_equal(steer_attach(second, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "another batond"));
	steer_free(second);
	connect_many(clients, CONNECTIONS);
	assert_int_equal(accept_all(fd), CONNECTIONS);
	close_many(clients, CONNECTIONS);
	close(fd);
	steer_free(first);
}

static void test_steer_pins_and_unpins_its_objects(void **state)
{
	char path[BPFFS_PATH_MAX + 16];
	struct steer *steer;

	(void)state;
	use_pins("web");
	steer = open_successor();
	snprintf(path, sizeof(path), "%s/slots", dir);
	assert_int_equal(access(path, F_OK), 0);
	/* The pin says which program is on the group. */
	snprintf(path, sizeof(path), "%s/program", dir);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(steer_attach(steer, &err), 0);
	assert_int_equal(access(path, F_OK), 0);
	steer_unpin_all(steer);
	steer_free(steer);
	assert_int_equal(access(dir, F_OK), -1);
	assert_int_equal(errno, ENOENT);
}

static void test_steer_goes_on_when_the_daemon_is_gone(void **state)
{
	struct steer *steer = open_steer();
	int fd = listener(&address);
	int clients[CONNECTIONS];

	(void)state;
	publish(steer, join(steer, fd), -1);
	/* The group holds the program and the program its maps. */
	steer_free(steer);
	connect_many(clients, CONNECTIONS);
	assert_int_equal(accept_all(fd), CONNECTIONS);
	close_many(clients, CONNECTIONS);
	close(fd);
}

/* ---- another program ------------------------------------------------------------------------ */

/* A foreign member of the group replaces the program by one that always refuses. */
static void attach_foreign(int fd)
{
	const struct bpf_insn refuse[] = {
		{.code = 0xb7, .imm = 0}, /* r0 = SK_DROP */
		{.code = 0x95},           /* exit */
	};
	LIBBPF_OPTS(bpf_prog_load_opts, load);
	int program = bpf_prog_load(BPF_PROG_TYPE_SK_REUSEPORT, "foreign", "GPL", refuse, 2, &load);

	assert_true(program >= 0);
	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof(program)), 0);
	close(program);
}

static void test_steer_replaced_program_is_seen_and_put_right_by_a_join(void **state)
{
	struct steer *steer = open_steer();
	int a = listener(&address), b = listener(&address), client;
	uint16_t slot;
	bool drift;

	(void)state;
	if (!inspect)
		skip();
	publish(steer, join(steer, a), -1);
	assert_int_equal(steer_check(steer, NULL, 0), STEER_PROGRAM_ATTACHED);
	attach_foreign(a);
	assert_int_equal(steer_check(steer, NULL, 0), STEER_PROGRAM_FOREIGN);
	assert_int_equal(try_connect(), -ECONNREFUSED);
	assert_int_equal(steer_join(steer, b, 0, &slot, &drift, &err), 0);
	assert_true(drift);
	assert_int_equal(steer_check(steer, NULL, 0), STEER_PROGRAM_ATTACHED);
	client = try_connect();
	assert_true(client >= 0);
	close(client);
	close(a);
	close(b);
	steer_free(steer);
}

static void test_steer_foreign_program_is_named_and_repaired(void **state)
{
	struct steer *steer = open_steer();
	int fd = listener(&address), on = 1, client;
	char who[128] = "?", cut[8];

	(void)state;
	if (!inspect)
		skip();
	publish(steer, join(steer, fd), -1);
	assert_int_equal(steer_check(steer, who, sizeof(who)), STEER_PROGRAM_ATTACHED);
	assert_string_equal(who, "");
	attach_foreign(fd);
	assert_int_equal(steer_check(steer, who, sizeof(who)), STEER_PROGRAM_FOREIGN);
	assert_non_null(strstr(who, "program "));
	assert_non_null(strstr(who, " \"foreign\" (loaded by uid 0)"));
	assert_int_equal(steer_check(steer, cut, sizeof(cut)), STEER_PROGRAM_FOREIGN);
	assert_string_equal(cut, "program");
	assert_int_equal(steer_repair(steer, &err), 0);
	assert_int_equal(steer_check(steer, who, sizeof(who)), STEER_PROGRAM_ATTACHED);
	client = try_connect();
	assert_true(client >= 0);
	close(client);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &on, sizeof(on)), 0);
	assert_int_equal(steer_check(steer, who, sizeof(who)), STEER_PROGRAM_MISSING);
	assert_string_equal(who, "");
	assert_int_equal(steer_repair(steer, &err), 0);
	assert_int_equal(steer_check(steer, who, sizeof(who)), STEER_PROGRAM_ATTACHED);
	close(fd);
	steer_free(steer);
}

/* Some servers attach one of these to spread connections over their workers. */
static void test_steer_classic_program_is_foreign_not_missing(void **state)
{
	struct sock_filter refuse = {.code = BPF_RET | BPF_K, .k = 0};
	struct sock_fprog program = {.len = 1, .filter = &refuse};
	struct steer *steer = open_steer();
	int fd = listener(&address);
	char who[128];

	(void)state;
	if (!inspect)
		skip();
	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)), 0);
	assert_int_equal(steer_check(steer, who, sizeof(who)), STEER_PROGRAM_FOREIGN);
	assert_string_equal(who, "a classic BPF program");
	assert_int_equal(steer_repair(steer, &err), 0);
	assert_int_equal(steer_check(steer, who, sizeof(who)), STEER_PROGRAM_ATTACHED);
	close(fd);
	steer_free(steer);
}

/* Somebody's map of listening sockets, with @fd in it. */
static int foreign_map(int fd)
{
	int map = bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "foreign", sizeof(uint32_t),
				 sizeof(uint64_t), 1, NULL);
	uint64_t value = (uint64_t)fd;
	uint32_t key = 0;

	assert_true(map >= 0);
	assert_int_equal(bpf_map_update_elem(map, &key, &value, BPF_ANY), 0);
	return map;
}

/* The daemon's loop waits for maps of programs that it has replaced, and for nobody else's. */
static void test_steer_socket_in_a_foreign_map_is_waited_for_once(void **state)
{
	struct steer *steer = open_steer();
	int fd = listener(&address), map = foreign_map(fd);
	uint64_t began_ms;
	uint16_t slot;
	bool drift;

	(void)state;
	assert_int_equal(steer_join(steer, fd, 0, &slot, &drift, &err), -EBUSY);
	began_ms = clock_monotonic_ms();
	for (int k = 0; k < 8; k++)
		assert_int_equal(steer_join(steer, fd, 0, &slot, &drift, &err), -EBUSY);
	/* It was a second for the first of them. */
	assert_in_range(clock_monotonic_ms() - began_ms, 0, 4000);
	close(map);
	for (int k = 0; k < 2000 && steer_join(steer, fd, 0, &slot, &drift, &err) < 0; k++)
		usleep(5000);
	assert_true(steer_has(steer, slot));
	close(fd);
	steer_free(steer);
}

static void test_steer_check_without_inspection_is_unknown(void **state)
{
	struct steer *steer;
	char who[16] = "?";

	(void)state;
	options.inspect = NULL;
	steer = open_steer();
	assert_int_equal(steer_check(steer, who, sizeof(who)), STEER_PROGRAM_UNKNOWN);
	assert_string_equal(who, "");
	steer_free(steer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(test_steer_##name, setup)
		TEST(successor_takes_over_without_a_gap),
		TEST(predecessor_that_died_while_it_attached_is_succeeded),
		TEST(maps_with_fewer_slots_are_taken_over),
		TEST(connection_before_the_program_does_not_hang),
		TEST(another_daemons_group_is_not_taken),
		TEST(pins_and_unpins_its_objects),
		TEST(goes_on_when_the_daemon_is_gone),
		TEST(replaced_program_is_seen_and_put_right_by_a_join),
		TEST(foreign_program_is_named_and_repaired),
		TEST(classic_program_is_foreign_not_missing),
		TEST(socket_in_a_foreign_map_is_waited_for_once),
		TEST(check_without_inspection_is_unknown),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
