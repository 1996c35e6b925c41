/* SPDX-License-Identifier: BSD-2-Clause */
/* Closing an instance's connections, and nobody else's. */
#include "tests/unit/host/connections_fixture.h"

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

#define MANY 3000

/* ---- between the module and the kernel ------------------------------------------------------ */

static bool miss;        /* each request to destroy names a socket that there is not */
static unsigned n_dumps; /* asked for */

ssize_t mnl_socket_sendto(const struct mnl_socket *nl, const void *request, size_t length)
{
	ssize_t (*real)(const struct mnl_socket *, const void *, size_t) = NULL;
	struct nlmsghdr *header = (struct nlmsghdr *)(uintptr_t)request;

	*(void **)&real = dlsym(RTLD_NEXT, "mnl_socket_sendto");
	assert_non_null(real);
	if (header->nlmsg_type == SOCK_DESTROY && miss)
		((struct inet_diag_req_v2 *)NLMSG_DATA(header))->id.idiag_cookie[0] ^= 1u << 31;
	if (header->nlmsg_type == SOCK_DIAG_BY_FAMILY)
		n_dumps++;
	return real(nl, request, length);
}

static int set_up_destroy(void **state)
{
	miss = false;
	n_dumps = 0;
	return connections_set_up(state);
}

static uint64_t destroy(void)
{
	uint64_t destroyed = UINT64_MAX;

	assert_int_equal(connections_destroy(&of, &destroyed, &err), 0);
	return destroyed;
}

static void assert_reset(int fd, int code)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, code);
}

/* Both ways. */
static void assert_alive(int client, int server)
{
	char byte;

	assert_int_equal(write(client, "x", 1), 1);
	assert_int_equal(read(server, &byte, 1), 1);
	assert_int_equal(write(server, "y", 1), 1);
	assert_int_equal(read(client, &byte, 1), 1);
}

/* ---- whose ---------------------------------------------------------------------------------- */

static void test_destroy_resets_all_of_the_instance_and_nobody_elses(void **state)
{
	int listener = make_listener(AF_INET, PORT, 16), held[3], clients[4], other;

	(void)state;
	for (size_t k = 0; k < 3; k++)
		held[k] = connect_one(listener, PORT, &clients[k]);
	other = connect_one(listener, PORT, &clients[3]);
	assert_int_equal(shutdown(held[2], SHUT_WR), 0);
	wait_for_state(held[2], TCP_FIN_WAIT2);
	start_holder(held, 3, false);
	assert_int_equal(destroy(), 3);
	assert_reset(clients[0], ECONNRESET);
	assert_reset(clients[1], ECONNRESET);
	assert_reset(held[0], ECONNABORTED);
	assert_int_equal(state_of(held[2]), TCP_CLOSE);
	assert_int_equal(state_of(clients[2]), TCP_CLOSE);
	assert_alive(clients[3], other);
	/* The listener has never noticed. */
	assert_int_equal(state_of(listener), TCP_LISTEN);
	held[0] = connect_one(listener, PORT, &clients[0]);
	assert_alive(clients[0], held[0]);
	assert_int_equal(destroy(), 0);
}

static void test_destroy_reaches_every_port_and_family(void **state)
{
	int first = make_listener(AF_INET6, PORT, 16),
	    second = make_listener(AF_INET, OTHER_PORT, 16), foreign;
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6,
				    .sin6_port = htons(PORT),
				    .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int held[4], clients[4];

	(void)state;
	clients[0] = keep(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
	assert_int_equal(connect(clients[0], (struct sockaddr *)&sin6, sizeof(sin6)), 0);
	held[0] = accept_one(first);
	held[1] = connect_one(first, PORT, &clients[1]); /* IPv4 in an IPv6 socket */
	held[2] = connect_one(second, OTHER_PORT, &clients[2]);
	foreign = make_listener(AF_INET, OTHER_PORT + 1, 16);
	held[3] = connect_one(foreign, OTHER_PORT + 1, &clients[3]); /* not declared */
	start_holder(held, 4, false);
	of.n_listen = 3;
	assert_int_equal(destroy(), 3);
	for (size_t k = 0; k < 3; k++)
		assert_reset(clients[k], ECONNRESET);
	assert_alive(clients[3], held[3]);
}

static void test_destroy_finds_a_socket_that_is_bound_to_an_interface(void **state)
{
	int listener = keep(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), held, client;

	(void)state;
	assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2), 0);
	assert_int_equal(bind_to(listener, AF_INET, PORT), 0);
	assert_int_equal(listen(listener, 4), 0);
	held = connect_one(listener, PORT, &client);
	start_holder(&held, 1, false);
	assert_int_equal(destroy(), 1);
	assert_reset(client, ECONNRESET);
}

static void test_destroy_of_a_cgroup_without_processes_takes_all_of_it(void **state)
{
	int inside = make_listener_as_instance(), clients[3], other, outside;

	(void)state;
	connect_one(inside, PORT, &clients[0]);
	clients[1] = make_client(PORT); /* not accepted yet */
	outside = make_listener(AF_INET, OTHER_PORT, 16);
	other = connect_one(outside, OTHER_PORT, &clients[2]);
	of.n_listen = 3;
	assert_int_equal(destroy(), 2);
	assert_reset(clients[0], ECONNRESET);
	assert_reset(clients[1], ECONNRESET);
	assert_alive(clients[2], other);
}

/* What came by this cgroup's listener, and has migrated to another instance's, is that one's. */
static void test_destroy_of_a_cgroup_spares_what_others_hold(void **state)
{
	int listener = make_listener_as_instance(), held, other, clients[3];

	(void)state;
	held = connect_one(listener, PORT, &clients[0]);
	other = connect_one(listener, PORT, &clients[1]);
	clients[2] = make_client(PORT);
	start_holder(&held, 1, false);
	of.processes = processes;
	assert_int_equal(destroy(), 1);
	assert_reset(clients[0], ECONNRESET);
	assert_alive(clients[1], other);
	assert_alive(clients[2], accept_one(listener));
}

/* ---- how many ------------------------------------------------------------------------------- */

/* More than an answer of the kernel's holds, while the list shifts under the reader. */
static void test_destroy_of_thousands_leaves_none(void **state)
{
	int listener, clients[MANY];
	uint64_t left = 1;

	(void)state;
	listener = make_listener_as_instance();
	for (size_t k = 0; k < MANY; k++)
		connect_one(listener, PORT, &clients[k]);
	assert_int_equal(destroy(), MANY);
	for (size_t k = 0; k < MANY; k++)
		assert_reset(clients[k], ECONNRESET);
	assert_int_equal(connections_count(&of, 0, &left), 0);
	assert_int_equal(left, 0);
}

static void test_destroy_of_an_inconsistent_list_counts_each_once(void **state)
{
	int listener = make_listener(AF_INET, PORT, 16), held[2];

	(void)state;
	for (size_t k = 0; k < 2; k++)
		held[k] = connect_one(listener, PORT, NULL);
	start_holder(held, 2, false);
	tamper = tamper_interrupted;
	interrupted_left = 1000;
	assert_int_equal(destroy(), 2);
}

static int ending_fd = -1;

/* Between the kernel's list and what is made of it, a connection ends. */
static bool tamper_ending(const struct mnl_socket *nl, void *buffer, size_t size, ssize_t *ret)
{
	const struct linger hard = {.l_onoff = 1};

	*ret = real_receive(nl, buffer, size);
	if (ending_fd >= 0) {
		setsockopt(ending_fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		drop(ending_fd);
		ending_fd = -1;
	}
	return true;
}

static void test_destroy_of_one_that_ends_meanwhile_is_not_counted(void **state)
{
	int listener = make_listener_as_instance(), client;

	(void)state;
	ending_fd = connect_one(listener, PORT, NULL);
	connect_one(listener, PORT, &client);
	tamper = tamper_ending;
	assert_int_equal(destroy(), 1);
	assert_int_equal(ending_fd, -1);
	assert_reset(client, ECONNRESET);
}

static void test_destroy_gives_up_on_what_does_not_end(void **state)
{
	int listener = make_listener_as_instance(), server, client;

	(void)state;
	server = connect_one(listener, PORT, &client);
	miss = true;
	assert_int_equal(destroy(), 0);
	assert_true(n_dumps > 2 && n_dumps <= 8); /* of each family */
	assert_alive(client, server);
}

static void test_destroy_of_none_is_none(void **state)
{
	(void)state;
	make_listener(AF_INET, PORT, 16);
	assert_int_equal(destroy(), 0);
}

/* ---- failures ------------------------------------------------------------------------------- */

static void test_destroy_without_privilege_is_eperm(void **state)
{
	int listener = make_listener_as_instance(), server, client, r;
	uint64_t destroyed = 7;

	(void)state;
	server = connect_one(listener, PORT, &client);
	assert_int_equal(seteuid(65534), 0);
	r = connections_destroy(&of, &destroyed, &err);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(r, -EPERM);
	assert_int_equal(destroyed, 0);
	assert_string_equal(err.text, "destroy connections: sock_diag: Operation not permitted");
	assert_alive(client, server);
}

static unsigned refused;

/* As a kernel without CONFIG_INET_DIAG_DESTROY answers. */
static bool tamper_unsupported(const struct mnl_socket *nl, void *buffer, size_t size, ssize_t *ret)
{
	struct nlmsghdr *header = buffer;

	*ret = real_receive(nl, buffer, size);
	if (*ret > 0 && header->nlmsg_type == NLMSG_ERROR) {
		((struct nlmsgerr *)NLMSG_DATA(header))->error = -EOPNOTSUPP;
		refused++;
	}
	return true;
}

static void test_destroy_unsupported_is_tried_once(void **state)
{
	int listener = make_listener_as_instance();
	uint64_t destroyed = 7;

	(void)state;
	for (int k = 0; k < 3; k++)
		connect_one(listener, PORT, NULL);
	refused = 0;
	tamper = tamper_unsupported;
	assert_int_equal(connections_destroy(&of, &destroyed, NULL), -EOPNOTSUPP);
	assert_int_equal(destroyed, 0);
	assert_int_equal(refused, 1);
}

static void test_destroy_of_processes_that_cannot_be_listed_fails(void **state)
{
	struct processes *lost = NULL;
	uint64_t destroyed = 7;

	(void)state;
	assert_int_equal(processes_new("/dev/null", getpid(), &lost), 0);
	of.processes = lost;
	assert_int_equal(connections_destroy(&of, &destroyed, &err), -ENOTDIR);
	assert_int_equal(destroyed, 0);
	processes_free(lost);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_destroy, connections_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_destroy_resets_all_of_the_instance_and_nobody_elses),
		TEST(test_destroy_reaches_every_port_and_family),
		TEST(test_destroy_finds_a_socket_that_is_bound_to_an_interface),
		TEST(test_destroy_of_a_cgroup_without_processes_takes_all_of_it),
		TEST(test_destroy_of_a_cgroup_spares_what_others_hold),
		TEST(test_destroy_of_thousands_leaves_none),
		TEST(test_destroy_of_an_inconsistent_list_counts_each_once),
		TEST(test_destroy_of_one_that_ends_meanwhile_is_not_counted),
		TEST(test_destroy_gives_up_on_what_does_not_end),
		TEST(test_destroy_of_none_is_none),
		TEST(test_destroy_without_privilege_is_eperm),
		TEST(test_destroy_unsupported_is_tried_once),
		TEST(test_destroy_of_processes_that_cannot_be_listed_fails),
	};
#undef TEST
	const struct rlimit files = {.rlim_cur = 2 * MANY + 100, .rlim_max = 2 * MANY + 100};
	const char *reason = netns_enter();

	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	if (setrlimit(RLIMIT_NOFILE, &files) < 0) {
		print_message("skipped: cannot open %d files\n", 2 * MANY);
		return 77;
	}
	return cmocka_run_group_tests_name("connections_destroy", tests, NULL, NULL);
}
