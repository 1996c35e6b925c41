/* SPDX-License-Identifier: BSD-2-Clause */
/* The facts of the kernel that baton stands on, each seen on real sockets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <linux/capability.h>
#include <linux/sock_diag.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "orchestrator/steer/steer_internal.h"
#include "tests/unit/steer/steer_fixture.h"

/* ---- tables and backups --------------------------------------------------------------------- */

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

/* The checksum of RFC 9293, 3.1, with the pseudo header of IPv4. */
static uint16_t checksum(const struct tcphdr *tcp, uint32_t source, uint32_t destination)
{
	struct {
		uint32_t source, destination;
		uint16_t protocol, length;
		struct tcphdr tcp;
	} all = {source, destination, htons(IPPROTO_TCP), htons(sizeof(*tcp)), *tcp};
	uint16_t words[sizeof(all) / 2];
	uint32_t sum = 0;

	memcpy(words, &all, sizeof(all));
	for (size_t k = 0; k < sizeof(all) / 2; k++)
		sum += words[k];
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t) ~(sum + (sum >> 16));
}

/* A packet to the address, of no connection that there is. */
static void send_stray(uint8_t flags)
{
	const struct sockaddr_in *to = &address.in;
	struct sockaddr_in ip = *to;
	int raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP);
	struct tcphdr tcp = {.th_sport = htons(4711),
			     .th_dport = to->sin_port,
			     .th_seq = htonl(1),
			     .th_off = 5,
			     .th_flags = flags};

	ip.sin_port = 0;
	tcp.th_sum = checksum(&tcp, to->sin_addr.s_addr, to->sin_addr.s_addr);
	assert_true(raw >= 0);
	assert_int_equal(sendto(raw, &tcp, sizeof(tcp), 0, (struct sockaddr *)&ip, sizeof(ip)),
			 sizeof(tcp));
	close(raw);
}

static uint32_t drops(int fd)
{
	uint32_t info[SK_MEMINFO_VARS];
	socklen_t size = sizeof(info);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size), 0);
	return info[SK_MEMINFO_DROPS];
}

/* What is left of connections that are over comes to a listener, too. */
static void test_steer_counts_only_what_opens_a_connection(void **state)
{
	static const uint8_t strays[] = {TH_RST, TH_RST | TH_ACK, TH_FIN | TH_ACK, TH_ACK, 0};
	struct steer *steer = open_steer();
	struct steer_slot_stats slot_stats;
	struct steer_stats stats;
	int fd = listener(&address);
	uint16_t slot = join(steer, fd);
	uint32_t drops_before;

	(void)state;
	for (size_t k = 0; k < sizeof(strays); k++)
		send_stray(strays[k]);
	assert_int_equal(steer_stats(steer, &stats), 0);
	assert_int_equal(stats.refused, 0);
	publish(steer, slot, -1);
	for (size_t k = 0; k < sizeof(strays); k++)
		send_stray(strays[k]);
	assert_int_equal(steer_slot_stats(steer, slot, &slot_stats), 0);
	assert_int_equal(slot_stats.primary, 0);
	/* Else it would look as if a full queue had lost connections. */
	drops_before = drops(fd);
	send_stray(TH_RST);
	assert_int_equal(drops(fd), drops_before);
	send_stray(TH_SYN);
	assert_int_equal(steer_slot_stats(steer, slot, &slot_stats), 0);
	assert_int_equal(slot_stats.primary, 1);
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

/* ---- pins ----------------------------------------------------------------------------------- */

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

/* ---- failover and migration ----------------------------------------------------------------- */

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
	int clients[50];

	(void)state;
	defer_accept(old);
	publish(steer, slot_old, -1);
	for (size_t k = 0; k < 50; k++)
		clients[k] = try_connect();
	assert_int_equal(accept_all(old), 0);
	publish(steer, slot_new, slot_old);
	close(old);
	say_x(clients, 50);
	accept_n(new, 50);
	close_many(clients, 50);
	close(new);
	steer_free(steer);
}

/* ---- joining -------------------------------------------------------------------------------- */

static void test_steer_join_takes_only_listening_sockets_of_the_group(void **state)
{
	struct steer *steer = open_steer();
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), other;
	struct address elsewhere;
	uint16_t slot;
	bool drift;

	(void)state;
	assert_true(steer_join(steer, fd, 0, &slot, &drift, &err) < 0);
	assert_int_equal(steer_join(steer, -1, 0, &slot, &drift, &err), -EINVAL);
	close(fd);
	if (inspect) {
		assert_int_equal(address_parse("127.0.0.1:8081", &elsewhere, &err), 0);
		other = listener(&elsewhere);
		assert_int_equal(steer_join(steer, other, 0, &slot, &drift, &err), -EINVAL);
		assert_non_null(strstr(err.text, "group"));
		close(other);
	}
	steer_free(steer);
}

/* The soft limit of the shell is often 1,024. */
static void allow_files(rlim_t n)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < n)
		limit.rlim_cur = n;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void test_steer_slots_run_out_and_come_back(void **state)
{
	static int fds[STEER_SLOTS + 1];
	struct steer_slot_stats stats;
	uint32_t used, max;
	struct steer *steer;
	int clients[10];
	uint16_t slot;
	bool drift;

	(void)state;
	allow_files(2 * STEER_SLOTS);
	steer = open_steer();
	for (int k = 0; k < STEER_SLOTS; k++) {
		fds[k] = listener(&address);
		assert_int_equal(join(steer, fds[k]), k);
	}
	fds[STEER_SLOTS] = listener(&address);
	assert_int_equal(steer_join(steer, fds[STEER_SLOTS], 0, &slot, &drift, &err), -ENOSPC);
	assert_non_null(strstr(err.text, ": a listening socket too many: all 1024 that one "
					 "address can have are taken"));
	steer_room(steer, &used, &max);
	assert_int_equal(used, 1024);
	assert_int_equal(max, 1024);
	/* The last one is steered to and counted like any other. */
	publish(steer, STEER_SLOTS - 1, -1);
	connect_many(clients, 10);
	assert_int_equal(accept_all(fds[STEER_SLOTS - 1]), 10);
	assert_int_equal(steer_slot_stats(steer, STEER_SLOTS - 1, &stats), 0);
	assert_int_equal(stats.primary, 10);
	close_many(clients, 10);
	close(fds[5]);
	steer_release(steer, 5);
	assert_int_equal(join(steer, fds[STEER_SLOTS]), 5);
	fds[5] = fds[STEER_SLOTS];
	close_many(fds, STEER_SLOTS);
	steer_free(steer);
}

/* The kernel empties the slot of a socket that is shut down, and does not fill it again. */
static void test_steer_slot_of_a_socket_that_listens_again_is_empty_until_it_rejoins(void **state)
{
	struct steer *steer = open_steer();
	int fds[2] = {listener(&address), listener(&address)};
	uint16_t slot = join(steer, fds[0]), other = join(steer, fds[1]);

	(void)state;
	assert_true(steer_has(steer, slot) && steer_has(steer, other));
	assert_int_equal(shutdown(fds[0], SHUT_RD), 0);
	assert_false(steer_has(steer, slot));
	assert_int_equal(steer_rejoin(steer, slot, fds[0], &err), -EINVAL);
	assert_int_equal(listen(fds[0], 16), 0);
	assert_false(steer_has(steer, slot));
	assert_int_equal(steer_rejoin(steer, slot, fds[0], &err), 0);
	assert_true(steer_has(steer, slot) && steer_has(steer, other));
	close(fds[0]);
	assert_false(steer_has(steer, slot));
	assert_true(steer_has(steer, other));
	close(fds[1]);
	steer_free(steer);
}

static void test_steer_address_in_use_says_by_whom(void **state)
{
	struct steer *steer = NULL;
	int fd, on = 1;

	(void)state;
	if (missing)
		skip();
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* Connections of earlier tests are in TIME_WAIT on this port. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, &address.sa, address.length), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(steer_open(&address, &options, &steer, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "127.0.0.1:8080"));
	assert_non_null(strstr(err.text, "without SO_REUSEPORT"));
	close(fd);
}

static void test_steer_ipv6_and_dual_stack_pins_reach_their_socket(void **state)
{
	static const char *const texts[] = {"[::1]:8080", ":8080", "[::ffff:127.0.0.1]:8080"};

	(void)state;
	if (missing)
		skip();
	for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++) {
		struct steer *steer;
		struct address local;
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
	}
}

/* The kernel keeps them apart; a socket of the twin could never be selected. */
static void test_steer_socket_of_the_other_family_cannot_join(void **state)
{
	static const char *const texts[] = {"127.0.0.1:8080", "[::ffff:127.0.0.1]:8080"};

	(void)state;
	if (missing)
		skip();
	for (size_t k = 0; k < 2; k++) {
		struct address twin;
		struct steer *steer;
		uint16_t slot;
		bool drift;
		int fd;

		assert_int_equal(address_parse(texts[k], &address, &err), 0);
		assert_true(address_twin(&address, &twin));
		steer = open_steer();
		assert_string_equal(steer_address(steer)->text, texts[k]);
		fd = listener(&twin);
		assert_true(steer_join(steer, fd, 0, &slot, &drift, &err) < 0);
		close(fd);
		steer_free(steer);
	}
}

static void test_steer_current_table_can_be_read(void **state)
{
	struct steer *steer = open_steer();
	int fd = listener(&address);
	uint16_t slot = join(steer, fd);
	struct steer_table table;

	(void)state;
	assert_int_equal(steer_table(steer, &table), 0);
	assert_int_equal(table.buckets[0].primary, STEER_NO_SLOT);
	publish(steer, slot, 7);
	assert_int_equal(steer_table(steer, &table), 0);
	assert_int_equal(table_count(&table, slot), STEER_BUCKETS);
	assert_int_equal(table.buckets[STEER_BUCKETS - 1].backup, 7);
	assert_true(steer_names(steer, slot));
	assert_true(steer_names(steer, 7));
	assert_false(steer_names(steer, 8));
	close(fd);
	steer_free(steer);
}

/* A table that names the anchor as if it were a slot must not reach it. */
static void test_steer_table_cannot_name_the_anchor(void **state)
{
	struct steer *steer = open_steer();
	struct steer_table table;
	uint32_t held = 1;

	(void)state;
	for (size_t k = 0; k < STEER_BUCKETS; k++)
		table.buckets[k] = (struct steer_bucket){STEER_SLOTS, STEER_SLOTS};
	/* Not by steer_publish(), which asserts that nobody asks for this. */
	assert_int_equal(steer->ops->publish(steer, &table, &err), 0);
	assert_int_equal(try_connect(), -ECONNREFUSED);
	assert_int_equal(steer_held(steer, &held), 0);
	assert_int_equal(held, 0);
	steer_free(steer);
}

/* ---- trying --------------------------------------------------------------------------------- */

static void test_steer_try_works_for_root(void **state)
{
	(void)state;
	if (missing)
		skip();
	if (steer_try(STEER_EBPF, &err) < 0)
		fail_msg("%s", err.text);
}

static void test_steer_try_as_nobody_says_what_it_needs(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	if (missing)
		skip();
	pid = fork();
	if (pid == 0) {
		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
			_exit(101);
		if (steer_try(STEER_EBPF, &err) != -EPERM)
			_exit(102);
		_exit(strstr(err.text, "CAP_NET_ADMIN and CAP_BPF") ? 0 : 103);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* What the header promises to be enough. */
static int keep_two_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {};

	data[0].effective = data[0].permitted = CAP_TO_MASK(CAP_NET_ADMIN);
	data[1].effective = data[1].permitted = CAP_TO_MASK(CAP_BPF);
	return (int)syscall(SYS_capset, &header, data);
}

static void test_steer_two_capabilities_are_enough(void **state)
{
	struct steer *steer;
	pid_t pid;
	int status;

	(void)state;
	if (missing)
		skip();
	options.inspect = NULL;
	pid = fork();
	if (pid == 0) {
		if (keep_two_capabilities() < 0)
			_exit(101);
		if (steer_try(STEER_EBPF, &err) < 0)
			_exit(102);
		if (steer_open(&address, &options, &steer, &err) < 0 ||
		    steer_reset(steer, &err) < 0 || steer_attach(steer, &err) < 0)
			_exit(103);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(test_steer_##name, setup)
		TEST(empty_table_refuses_at_once),
		TEST(counts_only_what_opens_a_connection),
		TEST(publish_moves_every_new_connection),
		TEST(current_table_can_be_read),
		TEST(table_cannot_name_the_anchor),
		TEST(pin_reaches_one_socket_before_the_shift),
		TEST(pin_to_an_empty_slot_is_refused),
		TEST(closed_primary_falls_back_in_the_kernel),
		TEST(closing_migrates_the_queue),
		TEST(shutdown_of_a_duplicate_migrates_the_queue),
		TEST(half_open_connections_migrate),
		TEST(join_takes_only_listening_sockets_of_the_group),
		TEST(slots_run_out_and_come_back),
		TEST(slot_of_a_socket_that_listens_again_is_empty_until_it_rejoins),
		TEST(address_in_use_says_by_whom),
		TEST(ipv6_and_dual_stack_pins_reach_their_socket),
		TEST(socket_of_the_other_family_cannot_join),
		TEST(try_works_for_root),
		TEST(try_as_nobody_says_what_it_needs),
		TEST(two_capabilities_are_enough),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
