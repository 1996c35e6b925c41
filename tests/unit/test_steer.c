/* SPDX-License-Identifier: BSD-2-Clause */
/* The facts of the kernel that baton stands on, each seen on real sockets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "orchestrator/anchor.h"
#include "orchestrator/bpffs.h"
#include "orchestrator/steer.h"
#include "orchestrator/table.h"
#include "tests/unit/netns.h"

#define CONNECTIONS 200

static struct inspect *inspect;
static const char *missing; /* why the tests are skipped; NULL: they are not */
static struct address address;

static int group_setup(void **state)
{
	struct error err;

	(void)state;
	missing = netns_enter();
	if (missing) {
		print_message("%s\n", missing);
		return 0;
	}
	steer_log_init();
	assert_int_equal(address_parse("127.0.0.1:8080", &address, &err), 0);
	if (inspect_open(&inspect, &err) < 0)
		print_message("no inspection: %s\n", err.text);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	inspect_free(inspect);
	return 0;
}

static struct steer *open_steer(void)
{
	struct steer *steer = NULL;
	struct error err = {};

	if (missing)
		skip();
	if (steer_open(&address, geteuid(), NULL, inspect, &steer, &err) < 0 ||
	    steer_reset(steer, &err) < 0 || steer_attach(steer, &err) < 0)
		fail_msg("%s", err.text);
	return steer;
}

static int listener(const struct address *a)
{
	int fd;
	struct error err = {};

	if (anchor_open(a, geteuid(), &fd, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(listen(fd, 4096), 0);
	return fd;
}

static uint16_t join(struct steer *steer, int fd)
{
	struct error err = {};
	uint16_t slot;
	bool drift;

	if (steer_join(steer, fd, &slot, &drift, &err) < 0)
		fail_msg("%s", err.text);
	assert_false(drift);
	return slot;
}

static void publish(struct steer *steer, int primary, int backup)
{
	uint16_t p = (uint16_t)primary, b = (uint16_t)backup;
	struct steer_table table;
	struct error err = {};

	table_compute(&p, primary >= 0, &b, backup >= 0, &table);
	assert_int_equal(steer_publish(steer, &table, &err), 0);
}

/* Returns the socket, or the negative errno of connect(2). */
static int try_connect(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	assert_true(fd >= 0);
	r = connect(fd, &address.sa, address.length) < 0 ? -errno : fd;
	if (r < 0)
		close(fd);
	return r;
}

static void connect_many(int *clients, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		clients[k] = try_connect();
		assert_true(clients[k] >= 0);
		assert_int_equal(write(clients[k], "x", 1), 1);
	}
}

static void close_many(const int *fds, size_t n)
{
	for (size_t k = 0; k < n; k++)
		close(fds[k]);
}

/* Accept everything queued, see that the byte arrived, and say how many there were. */
static size_t accept_all(int fd)
{
	size_t n = 0;

	for (;;) {
		int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		struct pollfd readable = {.fd = c, .events = POLLIN};
		char byte = 0;

		if (c < 0)
			return n;
		assert_int_equal(poll(&readable, 1, 5000), 1);
		assert_int_equal(read(c, &byte, 1), 1);
		assert_int_equal(byte, 'x');
		close(c);
		n++;
	}
}

static void test_steer_empty_table_refuses_at_once(void **state)
{
	struct steer *steer = open_steer();
	struct steer_stats stats;
	int fd = listener(&address);

	(void)state;
	/* Listening in the group, even in a slot, is not enough: only a table sends connections. */
	join(steer, fd);
	for (int k = 0; k < CONNECTIONS; k++)
		assert_int_equal(try_connect(), -ECONNREFUSED);
	assert_int_equal(accept_all(fd), 0);
	assert_int_equal(steer_stats(steer, &stats), 0);
	assert_int_equal(stats.refused, CONNECTIONS);
	close(fd);
	steer_free(steer);
}

static void test_steer_publish_moves_every_new_connection(void **state)
{
	struct steer *steer = open_steer();
	int a = listener(&address), b = listener(&address);
	uint16_t slot_a = join(steer, a), slot_b = join(steer, b);
	struct steer_slot_stats stats;
	int clients[CONNECTIONS];

	(void)state;
	publish(steer, slot_a, -1);
	connect_many(clients, CONNECTIONS);
	assert_int_equal(accept_all(b), 0);
	assert_int_equal(accept_all(a), CONNECTIONS);
	close_many(clients, CONNECTIONS);
	publish(steer, slot_b, slot_a);
	connect_many(clients, CONNECTIONS);
	assert_int_equal(accept_all(a), 0);
	assert_int_equal(accept_all(b), CONNECTIONS);
	close_many(clients, CONNECTIONS);
	assert_int_equal(steer_slot_stats(steer, slot_b, &stats), 0);
	assert_int_equal(stats.primary, CONNECTIONS);
	assert_int_equal(stats.backup + stats.pinned + stats.migrated, 0);
	close(a);
	close(b);
	steer_free(steer);
}

static void test_steer_pin_reaches_one_socket_before_the_shift(void **state)
{
	struct steer *steer = open_steer();
	int current = listener(&address), candidate = listener(&address);
	uint16_t slot_current = join(steer, current), slot = join(steer, candidate);
	struct sockaddr_in source = {.sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(source);
	int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), other;
	struct steer_slot_stats stats;

	(void)state;
	publish(steer, slot_current, -1);
	assert_int_equal(bind(probe, (struct sockaddr *)&source, sizeof(source)), 0);
	getsockname(probe, (struct sockaddr *)&source, &length);
	assert_int_equal(steer_pin(steer, (struct sockaddr *)&source, slot), 0);
	assert_int_equal(steer_pin(steer, (struct sockaddr *)&source, slot), -EEXIST);
	assert_int_equal(connect(probe, &address.sa, address.length), 0);
	assert_int_equal(write(probe, "x", 1), 1);
	other = try_connect();
	assert_int_equal(write(other, "x", 1), 1);
	assert_int_equal(accept_all(candidate), 1);
	assert_int_equal(accept_all(current), 1);
	assert_int_equal(steer_slot_stats(steer, slot, &stats), 0);
	assert_int_equal(stats.pinned, 1);
	assert_int_equal(stats.primary, 0);
	steer_unpin(steer, (struct sockaddr *)&source);
	steer_unpin(steer, (struct sockaddr *)&source);
	close(probe);
	close(other);
	close(current);
	close(candidate);
	steer_free(steer);
}

static void test_steer_pin_to_an_empty_slot_is_refused(void **state)
{
	struct steer *steer = open_steer();
	int current = listener(&address);
	struct sockaddr_in source = {.sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(source);
	int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	publish(steer, join(steer, current), -1);
	assert_int_equal(bind(probe, (struct sockaddr *)&source, sizeof(source)), 0);
	getsockname(probe, (struct sockaddr *)&source, &length);
	assert_int_equal(steer_pin(steer, (struct sockaddr *)&source, 77), 0);
	/* Not to the table's slot: a check must never be answered by another instance. */
	assert_int_equal(connect(probe, &address.sa, address.length), -1);
	assert_int_equal(errno, ECONNREFUSED);
	steer_unpin(steer, (struct sockaddr *)&source);
	close(probe);
	close(current);
	steer_free(steer);
}

static void test_steer_closed_primary_falls_back_in_the_kernel(void **state)
{
	struct steer *steer = open_steer();
	int old = listener(&address), new = listener(&address);
	uint16_t slot_old = join(steer, old), slot_new = join(steer, new);
	struct steer_slot_stats stats;
	int clients[CONNECTIONS];

	(void)state;
	publish(steer, slot_new, slot_old);
	close(new);
	connect_many(clients, CONNECTIONS);
	assert_int_equal(accept_all(old), CONNECTIONS);
	assert_int_equal(steer_slot_stats(steer, slot_old, &stats), 0);
	assert_int_equal(stats.backup, CONNECTIONS);
	close_many(clients, CONNECTIONS);
	close(old);
	assert_int_equal(try_connect(), -ECONNREFUSED);
	steer_free(steer);
}

static void queue_then_leave(void (*leave)(int fd))
{
	struct steer *steer = open_steer();
	int old = listener(&address), new = listener(&address);
	uint16_t slot_old = join(steer, old), slot_new = join(steer, new);
	struct steer_slot_stats stats;
	int clients[CONNECTIONS];

	publish(steer, slot_old, -1);
	connect_many(clients, CONNECTIONS);
	publish(steer, slot_new, slot_old);
	leave(old);
	assert_int_equal(accept_all(new), CONNECTIONS);
	assert_int_equal(steer_slot_stats(steer, slot_new, &stats), 0);
	assert_int_equal(stats.migrated, CONNECTIONS);
	close_many(clients, CONNECTIONS);
	close(new);
	steer_free(steer);
}

static void leave_by_close(int fd)
{
	close(fd);
}

static void leave_by_shutdown_of_a_duplicate(int fd)
{
	int duplicate = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	assert_int_equal(shutdown(duplicate, SHUT_RD), 0);
	close(duplicate);
	/* The owner sees EINVAL, kernel-facts 3. */
	assert_int_equal(accept4(fd, NULL, NULL, 0), -1);
	assert_int_equal(errno, EINVAL);
	close(fd);
}

static void test_steer_closing_migrates_the_queue(void **state)
{
	(void)state;
	queue_then_leave(leave_by_close);
}

static void test_steer_shutdown_of_a_duplicate_migrates_the_queue(void **state)
{
	(void)state;
	queue_then_leave(leave_by_shutdown_of_a_duplicate);
}

static void test_steer_half_open_connections_migrate(void **state)
{
	struct steer *steer = open_steer();
	int old = listener(&address), new = listener(&address);
	uint16_t slot_old = join(steer, old), slot_new = join(steer, new);
	int defer = 30, clients[50];
	size_t n = 0;

	(void)state;
	setsockopt(old, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer, sizeof(defer));
	publish(steer, slot_old, -1);
	for (size_t k = 0; k < 50; k++)
		clients[k] = try_connect();
	assert_int_equal(accept_all(old), 0);
	publish(steer, slot_new, slot_old);
	close(old);
	for (size_t k = 0; k < 50; k++)
		assert_int_equal(write(clients[k], "x", 1), 1);
	for (int tries = 0; n < 50 && tries < 50; tries++) {
		struct pollfd readable = {.fd = new, .events = POLLIN};

		poll(&readable, 1, 100);
		n += accept_all(new);
	}
	assert_int_equal(n, 50);
	close_many(clients, 50);
	close(new);
	steer_free(steer);
}

static void test_steer_join_takes_only_listening_sockets_of_the_group(void **state)
{
	struct steer *steer = open_steer();
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), other;
	struct address elsewhere;
	struct error err;
	uint16_t slot;
	bool drift;

	(void)state;
	assert_true(steer_join(steer, fd, &slot, &drift, &err) < 0);
	close(fd);
	if (inspect) {
		assert_int_equal(address_parse("127.0.0.1:8081", &elsewhere, &err), 0);
		other = listener(&elsewhere);
		assert_int_equal(steer_join(steer, other, &slot, &drift, &err), -EINVAL);
		assert_non_null(strstr(err.text, "group"));
		close(other);
	}
	steer_free(steer);
}

static void test_steer_slots_run_out_and_come_back(void **state)
{
	struct steer *steer = open_steer();
	int fds[STEER_SLOTS + 1];
	struct error err;
	uint16_t slot;
	bool drift;

	(void)state;
	for (int k = 0; k < STEER_SLOTS; k++) {
		fds[k] = listener(&address);
		assert_int_equal(join(steer, fds[k]), k);
	}
	fds[STEER_SLOTS] = listener(&address);
	assert_int_equal(steer_join(steer, fds[STEER_SLOTS], &slot, &drift, &err), -ENOSPC);
	close(fds[5]);
	steer_release(steer, 5);
	assert_int_equal(join(steer, fds[STEER_SLOTS]), 5);
	fds[5] = fds[STEER_SLOTS];
	close_many(fds, STEER_SLOTS);
	steer_free(steer);
}

/* A foreign member of the group replaces the program by one that always refuses. */
static void attach_foreign(int fd)
{
	const struct bpf_insn refuse[] = {
		{.code = 0xb7, .imm = 0}, /* r0 = SK_DROP */
		{.code = 0x95},           /* exit */
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options);
	int program =
		bpf_prog_load(BPF_PROG_TYPE_SK_REUSEPORT, "foreign", "GPL", refuse, 2, &options);

	assert_true(program >= 0);
	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof(program)), 0);
	close(program);
}

static void test_steer_replaced_program_is_seen_and_put_right_by_a_join(void **state)
{
	struct steer *steer = open_steer();
	int a = listener(&address), b = listener(&address), client;
	struct error err;
	uint16_t slot;
	bool drift;

	(void)state;
	if (!inspect)
		skip();
	publish(steer, join(steer, a), -1);
	assert_int_equal(steer_check(steer), STEER_PROGRAM_ATTACHED);
	attach_foreign(a);
	assert_int_equal(steer_check(steer), STEER_PROGRAM_FOREIGN);
	assert_int_equal(try_connect(), -ECONNREFUSED);
	assert_int_equal(steer_join(steer, b, &slot, &drift, &err), 0);
	assert_true(drift);
	assert_int_equal(steer_check(steer), STEER_PROGRAM_ATTACHED);
	client = try_connect();
	assert_true(client >= 0);
	close(client);
	close(a);
	close(b);
	steer_free(steer);
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

/* A daemon that opens the endpoint, sends everything to @fd, and is killed. */
static void die_after_publish(const char *dir, int fd, const struct sockaddr_in *stale_pin)
{
	struct steer *steer = NULL;
	uint16_t slot;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (steer_open(&address, geteuid(), dir, inspect, &steer, NULL) < 0 ||
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
	struct steer *steer = NULL;
	struct steer_slot_stats stats;
	int fd, clients[CONNECTIONS];
	struct error err = {};
	char dir[BPFFS_PATH_MAX];
	uint16_t slot;

	(void)state;
	if (missing)
		skip();
	fd = listener(&address);
	assert_int_equal(bpffs_make("test-steer", "successor", "tcp", dir, &err), 0);
	die_after_publish(dir, fd, &stale);
	connect_many(clients, 50);
	if (steer_open(&address, geteuid(), dir, inspect, &steer, &err) < 0)
		fail_msg("%s", err.text);
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

static void test_steer_another_daemons_group_is_not_taken(void **state)
{
	struct steer *first = open_steer(), *second = NULL;
	int fd = listener(&address), clients[CONNECTIONS];
	struct error err = {};

	(void)state;
	if (!inspect)
		skip();
	publish(first, join(first, fd), -1);
	assert_int_equal(steer_open(&address, geteuid(), NULL, inspect, &second, &err), 0);
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
	struct steer *steer = NULL;
	char dir[BPFFS_PATH_MAX], path[BPFFS_PATH_MAX + 16];
	struct error err = {};

	(void)state;
	if (missing)
		skip();
	if (bpffs_make("test-steer", "web", "tcp-127_0_0_1-8080", dir, &err) < 0)
		fail_msg("%s", err.text);
	if (steer_open(&address, geteuid(), dir, inspect, &steer, &err) < 0)
		fail_msg("%s", err.text);
	snprintf(path, sizeof(path), "%s/slots", dir);
	assert_int_equal(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/program", dir);
	assert_int_equal(access(path, F_OK), 0);
	steer_unpin_all(steer);
	steer_free(steer);
	assert_int_equal(access(dir, F_OK), -1);
	assert_int_equal(errno, ENOENT);
}

static void test_steer_address_in_use_says_by_whom(void **state)
{
	struct steer *steer = NULL;
	struct error err = {};
	int fd, on = 1;

	(void)state;
	if (missing)
		skip();
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* Connections of earlier tests are in TIME_WAIT on this port. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, &address.sa, address.length), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(steer_open(&address, geteuid(), NULL, inspect, &steer, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "127.0.0.1:8080"));
	assert_non_null(strstr(err.text, "without SO_REUSEPORT"));
	close(fd);
}

static void test_steer_ipv6_and_dual_stack_pins_reach_their_socket(void **state)
{
	static const char *const texts[] = {"[::1]:8080", ":8080"};

	(void)state;
	if (missing)
		skip();
	for (size_t k = 0; k < 2; k++) {
		struct address saved = address, local;
		struct error err = {};
		struct steer *steer;
		int current, candidate, probe;
		struct sockaddr_storage source;
		socklen_t length = sizeof(source);
		uint16_t slot;

		assert_int_equal(address_parse(texts[k], &address, &err), 0);
		steer = open_steer();
		current = listener(&address);
		candidate = listener(&address);
		publish(steer, join(steer, current), -1);
		slot = join(steer, candidate);
		address_local(&address, &local);
		probe = socket(local.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		memcpy(&source, &local.in6, sizeof(local.in6));
		((struct sockaddr_in *)&source)->sin_port = 0;
		assert_int_equal(bind(probe, (struct sockaddr *)&source, local.length), 0);
		getsockname(probe, (struct sockaddr *)&source, &length);
		assert_int_equal(steer_pin(steer, (struct sockaddr *)&source, slot), 0);
		assert_int_equal(connect(probe, &local.sa, local.length), 0);
		assert_int_equal(write(probe, "x", 1), 1);
		assert_int_equal(accept_all(candidate), 1);
		close(probe);
		close(current);
		close(candidate);
		steer_free(steer);
		address = saved;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steer_empty_table_refuses_at_once),
		cmocka_unit_test(test_steer_publish_moves_every_new_connection),
		cmocka_unit_test(test_steer_pin_reaches_one_socket_before_the_shift),
		cmocka_unit_test(test_steer_pin_to_an_empty_slot_is_refused),
		cmocka_unit_test(test_steer_closed_primary_falls_back_in_the_kernel),
		cmocka_unit_test(test_steer_closing_migrates_the_queue),
		cmocka_unit_test(test_steer_shutdown_of_a_duplicate_migrates_the_queue),
		cmocka_unit_test(test_steer_half_open_connections_migrate),
		cmocka_unit_test(test_steer_join_takes_only_listening_sockets_of_the_group),
		cmocka_unit_test(test_steer_slots_run_out_and_come_back),
		cmocka_unit_test(test_steer_replaced_program_is_seen_and_put_right_by_a_join),
		cmocka_unit_test(test_steer_goes_on_when_the_daemon_is_gone),
		cmocka_unit_test(test_steer_successor_takes_over_without_a_gap),
		cmocka_unit_test(test_steer_another_daemons_group_is_not_taken),
		cmocka_unit_test(test_steer_pins_and_unpins_its_objects),
		cmocka_unit_test(test_steer_address_in_use_says_by_whom),
		cmocka_unit_test(test_steer_ipv6_and_dual_stack_pins_reach_their_socket),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
