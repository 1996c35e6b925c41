/* SPDX-License-Identifier: BSD-2-Clause */
/* Listeners and connections one by one, with what the kernel knows of them. */
#include "tests/unit/common/diag_fixture.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <poll.h>

#include "common/clock.h"

#define MANY 4000

/* ---- what was found ------------------------------------------------------------------------- */

static struct diag_listening listenings[16];
static size_t n_listenings;
static struct diag_connection connections[MANY + 16];
static size_t n_connections;
static int resets;

static void reset_found(void *userdata)
{
	assert_ptr_equal(userdata, &resets);
	n_listenings = 0;
	n_connections = 0;
	resets++;
}

static void found_listening(void *userdata, const struct diag_listening *listening)
{
	assert_ptr_equal(userdata, &resets);
	assert_true(n_listenings < sizeof(listenings) / sizeof(listenings[0]));
	listenings[n_listenings++] = *listening;
}

static void found_connection(void *userdata, const struct diag_connection *connection)
{
	assert_ptr_equal(userdata, &resets);
	assert_true(n_connections < sizeof(connections) / sizeof(connections[0]));
	connections[n_connections++] = *connection;
}

static size_t look_at_listeners(uint64_t cgroup_id)
{
	resets = 0;
	assert_int_equal(
		diag_each_listener(diag, cgroup_id, reset_found, found_listening, &resets, &err),
		0);
	assert_true(resets >= 1);
	return n_listenings;
}

static size_t look_at(uint64_t cgroup_id)
{
	resets = 0;
	assert_int_equal(diag_each_connection(diag, PORT, cgroup_id, reset_found, found_connection,
					      &resets, &err),
			 0);
	assert_true(resets >= 1);
	return n_connections;
}

static const struct diag_connection *look_at_only(void)
{
	assert_int_equal(look_at(0), 1);
	return &connections[0];
}

static const struct diag_listening *listening_of(int fd)
{
	uint64_t cookie = cookie_of(fd);

	for (size_t i = 0; i < n_listenings; i++) {
		if (listenings[i].cookie == cookie)
			return &listenings[i];
	}
	fail_msg("the listener is not among the %zu found", n_listenings);
	return NULL;
}

static uint64_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static void check_name(const void *found, int fd, int (*name)(int, struct sockaddr *, socklen_t *))
{
	struct sockaddr_storage expected = {0};
	socklen_t length = sizeof(expected);

	assert_int_equal(name(fd, (struct sockaddr *)&expected, &length), 0);
	assert_memory_equal(found, &expected, length);
}

/* ---- listeners ------------------------------------------------------------------------------ */

static int make_listener6(const struct in6_addr *address, uint16_t port, int v6only)
{
	struct sockaddr_in6 in6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = *address};
	int fd = keep(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));

	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in6, sizeof(in6)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static void test_diag_each_listener_tells_all_of_each(void **state)
{
	int made[5];

	(void)state;
	assert_int_equal(look_at_listeners(0), 0);
	made[0] = make_listener(AF_INET, PORT, 3);
	made[1] = make_listener(AF_INET, PORT, 5); /* of the same group */
	made[2] = make_listener6(&in6addr_loopback, PORT, 1);
	made[3] = make_listener6(&in6addr_any, PORT + 1, 0);
	made[4] = make_listener6(&in6addr_any, PORT + 2, 1);
	make_client(PORT + 1);
	keep(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); /* does not listen */
	assert_int_equal(look_at_listeners(0), 5);
	for (int i = 0; i < 5; i++) {
		const struct diag_listening *listening = listening_of(made[i]);

		check_name(&listening->local, made[i], getsockname);
		assert_int_equal(listening->inode, inode_of(made[i]));
		assert_int_equal(listening->v6only, i == 2 || i == 4);
	}
	drop(made[3]);
	assert_int_equal(look_at_listeners(0), 4);
}

static void test_diag_each_listener_of_a_cgroup(void **state)
{
	struct stat st;
	int inside;

	(void)state;
	if (!find_cgroup_mount(cgroup_path, sizeof(cgroup_path)) || mkdir(cgroup_path, 0755) < 0) {
		print_message("skipped: no cgroup v2 to write to\n");
		skip();
	}
	assert_int_equal(stat(cgroup_path, &st), 0);
	make_listener(AF_INET, PORT, 3);
	make_listener(AF_INET6, PORT + 1, 3);
	inside = make_listener_in_cgroup(cgroup_path);
	assert_int_equal(look_at_listeners(st.st_ino), 1);
	assert_int_equal(listening_of(inside)->inode, inode_of(inside));
	assert_int_equal(look_at_listeners(0), 3);
	assert_int_equal(look_at_listeners(st.st_ino + 1000000), 0);
}

static size_t count_only;

static void count_listening(void *userdata, const struct diag_listening *listening)
{
	(void)userdata;
	(void)listening;
	count_only++;
}

static void test_diag_each_listener_interrupted_begins_anew(void **state)
{
	(void)state;
	make_listener(AF_INET, PORT, 3);
	make_listener(AF_INET6, PORT + 1, 3);
	tamper = tamper_interrupted;
	interrupted_left = 2;
	assert_int_equal(look_at_listeners(0), 2);
	assert_int_equal(resets, 2);
	interrupted_left = 1000000;
	assert_int_equal(look_at_listeners(0), 2); /* the last attempt's, for what it is worth */
	assert_int_equal(resets, DIAG_TRIES);
	interrupted_left = 0;
	count_only = 0;
	assert_int_equal(diag_each_listener(diag, 0, NULL, count_listening, NULL, &err), 0);
	assert_int_equal(count_only, 2);
}

/* ---- connections ---------------------------------------------------------------------------- */

static void test_diag_each_connection_tells_both_ends_and_who_has_it(void **state)
{
	const struct diag_connection *found;
	int listener, client, server;

	(void)state;
	assert_int_equal(look_at(0), 0);
	listener = make_listener(AF_INET, PORT, 8);
	make_listener(AF_INET, PORT + 1, 8);
	make_client(PORT + 1);
	assert_int_equal(look_at(0), 0);
	client = make_client(PORT);
	found = look_at_only();
	assert_int_equal(found->inode, 0); /* waits for accept(2) */
	assert_int_equal(found->state, TCP_ESTABLISHED);
	assert_true(diag_is_live(found));
	assert_int_equal(found->born_ns, 0);
	check_name(&found->peer, client, getsockname);
	check_name(&found->local, client, getpeername);
	server = accept_one(listener);
	found = look_at_only();
	assert_int_equal(found->cookie, cookie_of(server));
	assert_int_equal(found->inode, inode_of(server));
}

static void test_diag_each_connection_counts_bytes_and_queues(void **state)
{
	static char block[65536];
	const struct diag_connection *found;
	int listener, client, server;
	ssize_t n, total = 0;

	(void)state;
	listener = make_listener(AF_INET, PORT, 8);
	client = make_client(PORT);
	server = accept_one(listener);
	assert_int_equal(send(client, block, 100, 0), 100);
	found = look_at_only();
	assert_int_equal(found->bytes_received, 100);
	assert_int_equal(found->receive_queue, 100);
	assert_int_equal(found->bytes_sent, 0);
	assert_int_equal(found->send_queue, 0);
	assert_int_equal(recv(server, block, 60, 0), 60);
	assert_int_equal(look_at_only()->receive_queue, 40);
	assert_int_equal(found->bytes_received, 100);
	while ((n = send(server, block, sizeof(block), MSG_DONTWAIT)) > 0)
		total += n;
	found = look_at_only();
	assert_true(found->send_queue > 0);
	assert_int_equal(found->bytes_sent + found->send_queue, total);
	for (ssize_t left = total; left > 0; left -= n) {
		n = recv(client, block, sizeof(block), 0);
		assert_true(n > 0);
	}
	/* The last acknowledgement may be a delayed one. */
	for (int i = 0; i < 5000 && look_at_only()->send_queue > 0; i++)
		usleep(1000);
	assert_int_equal(found->send_queue, 0);
	assert_int_equal(found->bytes_sent, total);
	assert_int_equal(found->bytes_received, 100);
}

static void test_diag_each_connection_does_not_count_fins(void **state)
{
	const struct diag_connection *found;
	int listener, client, server;

	(void)state;
	listener = make_listener(AF_INET, PORT, 8);
	client = make_client(PORT);
	server = accept_one(listener);
	assert_int_equal(send(client, "12345", 5, 0), 5);
	assert_int_equal(send(server, "1234567", 7, 0), 7);
	assert_int_equal(shutdown(client, SHUT_WR), 0);
	wait_for_state(server, TCP_CLOSE_WAIT);
	found = look_at_only();
	assert_int_equal(found->state, TCP_CLOSE_WAIT);
	assert_int_equal(found->bytes_received, 5);
	assert_true(diag_is_live(found));
	drop(server);
	drop(client);
	client = make_client(PORT);
	server = accept_one(listener);
	assert_int_equal(send(client, "12345", 5, 0), 5);
	assert_int_equal(send(server, "1234567", 7, 0), 7);
	assert_int_equal(shutdown(server, SHUT_WR), 0);
	wait_for_state(server, TCP_FIN_WAIT2);
	found = look_at_only();
	assert_int_equal(found->state, TCP_FIN_WAIT2);
	assert_int_equal(found->bytes_sent, 7);
	assert_int_equal(found->bytes_received, 5);
	assert_true(diag_is_live(found));
	drop(server);
	look_at(0);
	for (size_t i = 0; i < n_connections; i++)
		assert_false(diag_is_live(&connections[i]));
}

static void test_diag_each_connection_half_open_and_half_closed(void **state)
{
	const struct diag_connection *found;
	int listener, client, seconds = 30;

	(void)state;
	listener = make_listener(AF_INET, PORT, 8);
	assert_int_equal(
		setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)), 0);
	client = make_client(PORT);
	found = look_at_only();
	assert_int_equal(found->state, TCP_SYN_RECV);
	assert_int_equal(found->inode, 0);
	assert_true(diag_is_live(found));
	assert_int_equal(found->bytes_received + found->bytes_sent + found->idle_ms, 0);
	check_name(&found->peer, client, getsockname);
}

static void test_diag_each_connection_ipv6_and_dual_stack(void **state)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
				   .sin6_port = htons(PORT),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	const struct sockaddr_in6 *peer;
	struct sockaddr_in in;
	socklen_t length = sizeof(in);
	int listener, client;

	(void)state;
	listener = make_listener(AF_INET6, PORT, 8);
	client = keep(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
	assert_int_equal(connect(client, (struct sockaddr *)&in6, sizeof(in6)), 0);
	check_name(&look_at_only()->peer, client, getsockname);
	check_name(&connections[0].local, client, getpeername);
	drop(client);
	drop(accept_one(listener));
	client = make_client(PORT); /* over IPv4: the server's end is an IPv6 socket all the same */
	assert_int_equal(getsockname(client, (struct sockaddr *)&in, &length), 0);
	for (size_t i = look_at(0); i > 0; i--) {
		peer = (const struct sockaddr_in6 *)&connections[i - 1].peer;
		if (peer->sin6_port == in.sin_port)
			break;
		peer = NULL;
	}
	assert_non_null(peer);
	assert_int_equal(peer->sin6_family, AF_INET6);
	assert_true(IN6_IS_ADDR_V4MAPPED(&peer->sin6_addr));
	assert_memory_equal(&peer->sin6_addr.s6_addr[12], &in.sin_addr, 4);
}

static void test_diag_each_connection_of_a_cgroup(void **state)
{
	struct stat st;
	int inside, server;

	(void)state;
	if (!find_cgroup_mount(cgroup_path, sizeof(cgroup_path)) || mkdir(cgroup_path, 0755) < 0) {
		print_message("skipped: no cgroup v2 to write to\n");
		skip();
	}
	assert_int_equal(stat(cgroup_path, &st), 0);
	inside = make_listener_in_cgroup(cgroup_path);
	make_client(PORT);
	server = accept_one(inside);
	drop(inside);
	make_listener(AF_INET, PORT, 8);
	make_client(PORT);
	make_client(PORT);
	assert_int_equal(look_at(st.st_ino), 1);
	assert_int_equal(connections[0].cookie, cookie_of(server));
	assert_int_equal(look_at(0), 3);
	assert_int_equal(look_at(st.st_ino + 1000000), 0);
}

/* ---- idle ----------------------------------------------------------------------------------- */

#define JIFFY_MS 20 /* the kernel counts in ticks of up to 10 ms, rounded */

/* Nothing went over the connection since some moment between @before_ms and @after_ms. */
static void check_idle(uint64_t before_ms, uint64_t after_ms)
{
	uint64_t look_ms = clock_monotonic_ms();
	uint64_t idle_ms = look_at_only()->idle_ms;

	assert_true(idle_ms + JIFFY_MS >= look_ms - after_ms);
	assert_true(idle_ms <= clock_monotonic_ms() - before_ms + JIFFY_MS);
}

static uint64_t wait_until_idle(uint64_t idle_ms)
{
	uint64_t deadline_ms = clock_monotonic_ms() + 10000;

	while (look_at_only()->idle_ms < idle_ms && clock_monotonic_ms() < deadline_ms)
		usleep(1000);
	assert_true(connections[0].idle_ms >= idle_ms);
	return clock_monotonic_ms();
}

static void test_diag_each_connection_idle_since_the_last_byte_of_either_side(void **state)
{
	uint64_t before_ms, after_ms;
	int listener, client, server;

	(void)state;
	listener = make_listener(AF_INET, PORT, 8);
	before_ms = clock_monotonic_ms();
	client = make_client(PORT);
	after_ms = clock_monotonic_ms();
	server = accept_one(listener);
	check_idle(before_ms, after_ms); /* not a byte yet: since it began */
	before_ms = wait_until_idle(150);
	assert_int_equal(send(client, "x", 1, 0), 1);
	check_idle(before_ms, clock_monotonic_ms());
	before_ms = wait_until_idle(150);
	assert_int_equal(send(server, "x", 1, 0), 1);
	check_idle(before_ms, clock_monotonic_ms());
}

/* ---- many ----------------------------------------------------------------------------------- */

static int by_cookie(const void *a, const void *b)
{
	const struct diag_connection *one = a, *other = b;

	return one->cookie < other->cookie ? -1 : one->cookie > other->cookie;
}

static void test_diag_each_connection_tells_the_silence_of_each_side(void **state)
{
	const struct diag_connection *found;
	uint64_t deadline = clock_monotonic_ms() + 10000;
	int listener, client, server;

	(void)state;
	listener = make_listener(AF_INET, PORT, 8);
	client = make_client(PORT);
	server = accept_one(listener);
	/* A tick or more after the connection began. */
	do {
		assert_int_equal(send(client, "x", 1, 0), 1);
		found = look_at_only();
		assert_true(clock_monotonic_ms() < deadline);
	} while (found->since_received_ms >= found->since_sent_ms);
	assert_int_equal(found->idle_ms, found->since_received_ms);
	do {
		assert_int_equal(send(server, "x", 1, 0), 1);
		found = look_at_only();
		assert_true(clock_monotonic_ms() < deadline);
	} while (found->since_sent_ms >= found->since_received_ms);
	assert_int_equal(found->idle_ms, found->since_sent_ms);
}

static void test_diag_each_connection_tells_the_interface_it_is_bound_to(void **state)
{
	int listener;

	(void)state;
	make_listener(AF_INET, PORT, 8);
	make_client(PORT);
	assert_int_equal(look_at_only()->interface, 0);
	drop(fds[1]);
	drop(fds[0]);
	listener = keep(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2), 0);
	assert_int_equal(bind_to(listener, AF_INET, PORT), 0);
	assert_int_equal(listen(listener, 4), 0);
	make_client(PORT);
	accept_one(listener);
	assert_int_equal(look_at_only()->interface, if_nametoindex("lo"));
}

/* ---- destroy -------------------------------------------------------------------------------- */

static void test_diag_destroy_connection_resets_both_ends(void **state)
{
	struct diag_connection found;
	int listener, client, server;
	char byte;

	(void)state;
	listener = make_listener(AF_INET6, PORT, 8);
	client = make_client(PORT); /* IPv4 in an IPv6 socket */
	server = accept_one(listener);
	found = *look_at_only();
	assert_int_equal(diag_destroy_connection(diag, &found, &err), 0);
	assert_int_equal(recv(client, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(recv(server, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, ECONNABORTED);
	assert_int_equal(state_of(listener), TCP_LISTEN);
	assert_int_equal(look_at(0), 0);
	assert_int_equal(diag_destroy_connection(diag, &found, &err), -ENOENT);
	assert_int_equal(diag_destroy_connection(diag, &found, NULL), -ENOENT);
}

/* Its addresses may have become another one's; and without it, the lookup ends at the listener. */
static void test_diag_destroy_connection_of_another_cookie_is_enoent(void **state)
{
	struct diag_connection found;
	int listener, client, server;

	(void)state;
	listener = make_listener(AF_INET, PORT, 8);
	client = make_client(PORT);
	server = accept_one(listener);
	found = *look_at_only();
	found.cookie += UINT64_C(1) << 32;
	assert_int_equal(diag_destroy_connection(diag, &found, &err), -ENOENT);
	assert_int_equal(state_of(client), TCP_ESTABLISHED);
	assert_int_equal(state_of(server), TCP_ESTABLISHED);
	((struct sockaddr_in *)&found.peer)->sin_port ^= 1;
	assert_int_equal(diag_destroy_connection(diag, &found, &err), -ENOENT);
	assert_int_equal(state_of(listener), TCP_LISTEN);
}

static void test_diag_destroy_connection_without_privilege_is_eperm(void **state)
{
	struct diag_connection found;
	int listener, server, r;

	(void)state;
	listener = make_listener(AF_INET, PORT, 8);
	make_client(PORT);
	server = accept_one(listener);
	found = *look_at_only();
	assert_int_equal(seteuid(65534), 0);
	r = diag_destroy_connection(diag, &found, &err);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(r, -EPERM);
	assert_string_equal(err.text, "sock_diag: Operation not permitted");
	assert_int_equal(state_of(server), TCP_ESTABLISHED);
}

/* ---- many ----------------------------------------------------------------------------------- */

static void test_diag_each_connection_of_thousands_is_told_once(void **state)
{
	const struct rlimit limit = {.rlim_cur = FDS_MAX + 100, .rlim_max = 20000};
	int listener, clients[16];
	uint64_t live, sent = 0, received = 0;

	(void)state;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
		print_message("skipped: only so many descriptors here\n");
		skip();
	}
	listener = make_listener(AF_INET6, PORT, 4096);
	for (size_t i = 0; i < MANY; i++) {
		int client = make_client(PORT), server;

		if (i < 16)
			clients[i] = client;
		if (i % 4 == 0) {
			server = accept_one(listener);
			assert_int_equal(send(server, "12345", 5, 0), 5);
			sent += 5;
		}
	}
	for (size_t i = 0; i < 16; i++) {
		assert_int_equal(send(clients[i], "123", 3, 0), 3);
		received += 3;
	}
	tamper = tamper_interrupted;
	for (int round = 0; round < 2; round++) {
		size_t accepted = 0;

		interrupted_left = round;
		assert_int_equal(look_at(0), MANY);
		assert_int_equal(resets, 1 + round);
		qsort(connections, n_connections, sizeof(connections[0]), by_cookie);
		for (size_t i = 0; i < n_connections; i++) {
			assert_true(i == 0 || connections[i].cookie != connections[i - 1].cookie);
			accepted += connections[i].inode != 0;
			sent -= connections[i].bytes_sent;
			received -= connections[i].bytes_received;
		}
		assert_int_equal(accepted, MANY / 4);
		assert_int_equal(sent, 0);
		assert_int_equal(received, 0);
		sent = MANY / 4 * 5;
		received = 16 * 3;
	}
	assert_int_equal(diag_connections(diag, PORT, 0, &live, &err), 0);
	assert_int_equal(live, MANY);
}

/* ---- births --------------------------------------------------------------------------------- */

/* A socket storage whose value is a u64; such a map needs types (BTF) to be made. */
static int make_births(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_NO_PREALLOC);
	struct btf *btf = btf__new_empty();
	int fd;

	assert_non_null(btf);
	options.btf_key_type_id = (uint32_t)btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	options.btf_value_type_id = (uint32_t)btf__add_int(btf, "u64", 8, 0);
	if (btf__load_into_kernel(btf) < 0) {
		btf__free(btf);
		return -1;
	}
	options.btf_fd = (uint32_t)btf__fd(btf);
	fd = bpf_map_create(BPF_MAP_TYPE_SK_STORAGE, "births", 4, 8, 0, &options);
	btf__free(btf);
	return fd;
}

static void test_diag_births_are_told_where_they_are_known(void **state)
{
	uint64_t born_ns = 123456789012345;
	int listener, servers[2], births = make_births();

	(void)state;
	if (births < 0) {
		print_message("skipped: no socket storage here\n");
		skip();
	}
	keep(births);
	listener = make_listener(AF_INET, PORT, 8);
	for (int i = 0; i < 2; i++) {
		make_client(PORT);
		servers[i] = accept_one(listener);
	}
	assert_int_equal(bpf_map_update_elem(births, &servers[1], &born_ns, 0), 0);
	diag_set_births(diag, births);
	assert_int_equal(look_at(0), 2);
	assert_int_equal(resets, 1);
	for (int i = 0; i < 2; i++)
		assert_int_equal(connections[i].born_ns,
				 connections[i].cookie == cookie_of(servers[1]) ? born_ns : 0);
	assert_int_equal(connections[0].born_ns + connections[1].born_ns, born_ns);
	diag_set_births(diag, -1);
	assert_int_equal(look_at(0), 2);
	assert_int_equal(connections[0].born_ns + connections[1].born_ns, 0);
}

static void test_diag_births_refused_are_not_known(void **state)
{
	int births = make_births(), gone;

	(void)state;
	make_listener(AF_INET, PORT, 8);
	make_client(PORT);
	diag_set_births(diag, fds[0]); /* no map */
	assert_int_equal(look_at_only()->born_ns, 0);
	gone = dup(fds[0]);
	close(gone);
	diag_set_births(diag, gone);
	assert_int_equal(look_at_only()->born_ns, 0);
	if (births < 0) {
		print_message("skipped: no socket storage here\n");
		skip();
	}
	keep(births);
	diag_set_births(diag, births);
	assert_int_equal(seteuid(65534), 0);
	look_at(0);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(n_connections, 1);
	assert_int_equal(connections[0].born_ns, 0);
	/* Everything else works on. */
	assert_int_equal(look_at_listeners(0), 1);
	assert_int_equal(look_at(0), 1);
}

/* ---- answers of other kernels --------------------------------------------------------------- */

static uint16_t info_length, garbage_length;

static struct nlattr *find_info(struct nlattr *attribute, const char *end)
{
	while ((const char *)attribute < end && mnl_attr_get_type(attribute) != INET_DIAG_INFO)
		attribute = mnl_attr_next(attribute);
	assert_true((const char *)attribute < end);
	return attribute;
}

/* Shorten tcp_info to @info_length, or give the first attribute an impossible length. */
static bool tamper_attributes(const struct mnl_socket *nl, void *buffer, size_t size, ssize_t *ret)
{
	struct nlmsghdr *header = buffer;
	int left;

	*ret = real_receive(nl, buffer, size);
	left = (int)*ret;
	for (; mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left)) {
		struct nlattr *attribute =
			mnl_nlmsg_get_payload_offset(header, sizeof(struct inet_diag_msg));
		char *end = mnl_nlmsg_get_payload_tail(header), *cut;

		if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY)
			continue;
		if (garbage_length) {
			attribute->nla_len = garbage_length;
			continue;
		}
		attribute = find_info(attribute, end);
		attribute->nla_len = (uint16_t)(sizeof(*attribute) + info_length);
		cut = (char *)attribute + attribute->nla_len;
		memset(cut, 0, (size_t)(end - cut)); /* what follows goes too */
	}
	return true;
}

static void test_diag_each_connection_short_tcp_info_tells_less(void **state)
{
	int listener, server;

	(void)state;
	listener = make_listener(AF_INET, PORT, 8);
	make_client(PORT);
	server = accept_one(listener);
	assert_int_equal(send(server, "12345", 5, 0), 5);
	assert_int_equal(look_at_only()->bytes_sent, 5);
	wait_until_idle(50);
	tamper = tamper_attributes;
	info_length = 104; /* Linux 2.6: up to tcpi_total_retrans */
	assert_true(look_at_only()->idle_ms >= 50);
	assert_int_equal(connections[0].bytes_sent, 0);
	info_length = 0;
	assert_int_equal(look_at_only()->idle_ms, 0);
}

static void test_diag_each_broken_attributes_are_left_alone(void **state)
{
	static const uint16_t lengths[] = {1, 3, 65535};

	(void)state;
	make_listener(AF_INET6, PORT, 8);
	make_client(PORT);
	tamper = tamper_attributes;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		garbage_length = lengths[i];
		assert_int_equal(look_at(0), 1);
		assert_int_equal(connections[0].state, TCP_ESTABLISHED);
		assert_int_equal(look_at_listeners(0), 1);
	}
	garbage_length = 0;
}

static bool tamper_silence(const struct mnl_socket *nl, void *buffer, size_t size, ssize_t *ret)
{
	(void)nl;
	(void)buffer;
	(void)size;
	errno = EAGAIN;
	*ret = -1;
	return true;
}

static void test_diag_each_silence_is_waited_for_once(void **state)
{
	(void)state;
	make_listener(AF_INET, PORT, 8);
	make_client(PORT);
	diag_set_births(diag, fds[0]); /* refused: but this is not what fails here */
	tamper = tamper_silence;
	receive_calls = 0;
	assert_int_equal(
		diag_each_connection(diag, PORT, 0, reset_found, found_connection, &resets, &err),
		-ETIMEDOUT);
	assert_int_equal(receive_calls, 1);
	assert_int_equal(diag_each_listener(diag, 0, reset_found, found_listening, &resets, &err),
			 -ETIMEDOUT);
	assert_string_equal(err.text, "sock_diag: no answer within 2000 ms");
	tamper = NULL;
	assert_int_equal(look_at(0), 1);
	assert_int_equal(diag_each_connection(diag, PORT, 0, NULL, found_connection, &resets, &err),
			 0);
	assert_int_equal(n_connections, 2); /* no reset: added to what was there */
}

/* ---- pure ----------------------------------------------------------------------------------- */

static void test_diag_live_as_connections_are_counted(void **state)
{
	static const struct {
		uint8_t state;
		bool open, closed;
	} cases[] = {
		{TCP_ESTABLISHED, true, true},
		{TCP_CLOSE_WAIT, true, true},
		{TCP_SYN_RECV, true, true},
		{TCP_FIN_WAIT1, true, false},
		{TCP_FIN_WAIT2, true, false},
		{TCP_CLOSING, true, false},
		{TCP_LAST_ACK, true, false},
		{TCP_TIME_WAIT, false, false},
		{TCP_LISTEN, false, false},
		{TCP_CLOSE, false, false},
		{0, false, false},
		{200, false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct diag_connection connection = {.state = cases[i].state, .inode = 7};

		assert_int_equal(diag_is_live(&connection), cases[i].open);
		connection.inode = 0;
		assert_int_equal(diag_is_live(&connection), cases[i].closed);
	}
}

static void test_diag_state_name_of_any_number(void **state)
{
	(void)state;
	assert_string_equal(diag_state_name(TCP_ESTABLISHED), "ESTABLISHED");
	assert_string_equal(diag_state_name(TCP_CLOSE_WAIT), "CLOSE_WAIT");
	assert_string_equal(diag_state_name(TCP_CLOSING), "CLOSING");
	for (int i = 1; i <= TCP_CLOSING; i++)
		assert_string_not_equal(diag_state_name((uint8_t)i), "UNKNOWN");
	assert_string_equal(diag_state_name(0), "UNKNOWN");
	assert_string_equal(diag_state_name(12), "UNKNOWN");
	assert_string_equal(diag_state_name(255), "UNKNOWN");
}

int main(void)
{
#define TEST(name)        cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_CGROUP(name) cmocka_unit_test_setup_teardown(name, setup, teardown_cgroup)
	const struct CMUnitTest tests[] = {
		TEST(test_diag_each_listener_tells_all_of_each),
		TEST_CGROUP(test_diag_each_listener_of_a_cgroup),
		TEST(test_diag_each_listener_interrupted_begins_anew),
		TEST(test_diag_each_connection_tells_both_ends_and_who_has_it),
		TEST(test_diag_each_connection_counts_bytes_and_queues),
		TEST(test_diag_each_connection_does_not_count_fins),
		TEST(test_diag_each_connection_half_open_and_half_closed),
		TEST(test_diag_each_connection_ipv6_and_dual_stack),
		TEST_CGROUP(test_diag_each_connection_of_a_cgroup),
		TEST(test_diag_each_connection_idle_since_the_last_byte_of_either_side),
		TEST(test_diag_each_connection_tells_the_silence_of_each_side),
		TEST(test_diag_each_connection_tells_the_interface_it_is_bound_to),
		TEST(test_diag_destroy_connection_resets_both_ends),
		TEST(test_diag_destroy_connection_of_another_cookie_is_enoent),
		TEST(test_diag_destroy_connection_without_privilege_is_eperm),
		TEST(test_diag_each_connection_of_thousands_is_told_once),
		TEST(test_diag_births_are_told_where_they_are_known),
		TEST(test_diag_births_refused_are_not_known),
		TEST(test_diag_each_connection_short_tcp_info_tells_less),
		TEST(test_diag_each_broken_attributes_are_left_alone),
		TEST(test_diag_each_silence_is_waited_for_once),
		cmocka_unit_test(test_diag_live_as_connections_are_counted),
		cmocka_unit_test(test_diag_state_name_of_any_number),
	};

	const char *reason = netns_enter();

	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
