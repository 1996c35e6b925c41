/* SPDX-License-Identifier: BSD-2-Clause */
/* One listener, counting, destroying, and answers as a kernel seldom gives them. */
#include "tests/unit/common/diag_fixture.h"

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

static uint64_t count_of(uint64_t cgroup_id)
{
	uint64_t live = UINT64_MAX;

	assert_int_equal(diag_connections(diag, PORT, cgroup_id, &live, &err), 0);
	return live;
}

static uint64_t count(void)
{
	return count_of(0);
}

/* ---- listeners ------------------------------------------------------------------------------ */

static void test_diag_listener_tells_queue_and_backlog(void **state)
{
	struct diag_listener info;
	int listener;

	(void)state;
	listener = make_listener(AF_INET, PORT, 17);
	assert_int_equal(diag_listener(diag, PORT, cookie_of(listener), &info, &err), 0);
	assert_int_equal(info.queued, 0);
	assert_int_equal(info.backlog, 17);
	for (int i = 0; i < 5; i++)
		make_client(PORT);
	assert_int_equal(diag_listener(diag, PORT, cookie_of(listener), &info, &err), 0);
	assert_int_equal(info.queued, 5);
	accept_one(listener);
	assert_int_equal(diag_listener(diag, PORT, cookie_of(listener), &info, &err), 0);
	assert_int_equal(info.queued, 4);
}

static void note_drops(void *userdata, const struct diag_listening *listening)
{
	*(uint32_t *)userdata += listening->queue.dropped;
}

/* One more than the backlog may wait; what comes then is dropped, and its SYN comes again. */
static void test_diag_listener_tells_what_a_full_queue_has_dropped(void **state)
{
	const struct sockaddr_in in = {.sin_family = AF_INET,
				       .sin_port = htons(PORT),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = make_listener(AF_INET, PORT, 1);
	struct diag_listener info = {};
	uint32_t sum = 0;

	(void)state;
	assert_int_equal(diag_listener(diag, PORT, cookie_of(listener), &info, &err), 0);
	assert_int_equal(info.dropped, 0);
	for (int i = 0; i < 6; i++) {
		int fd = keep(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));

		connect(fd, (const struct sockaddr *)&in, sizeof(in));
	}
	assert_int_equal(diag_listener(diag, PORT, cookie_of(listener), &info, &err), 0);
	assert_int_equal(info.queued, 2);
	assert_true(info.dropped >= 4);
	assert_int_equal(diag_each_listener(diag, 0, NULL, note_drops, &sum, &err), 0);
	assert_true(sum >= info.dropped);
}

static void test_diag_listener_of_a_group_is_found_by_cookie(void **state)
{
	struct diag_listener info;
	int listeners[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		listeners[i] = make_listener(AF_INET, PORT, 10 + i);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(diag_listener(diag, PORT, cookie_of(listeners[i]), &info, &err),
				 0);
		assert_int_equal(info.backlog, 10 + i);
	}
}

static void test_diag_listener_ipv6_is_found(void **state)
{
	struct diag_listener info;
	int listener;

	(void)state;
	listener = make_listener(AF_INET6, PORT, 9);
	make_client(PORT); /* over IPv4 */
	assert_int_equal(diag_listener(diag, PORT, cookie_of(listener), &info, &err), 0);
	assert_int_equal(info.queued, 1);
	assert_int_equal(info.backlog, 9);
	assert_int_equal(count(), 1);
}

static void test_diag_listener_gone_is_enoent(void **state)
{
	struct diag_listener info;
	uint64_t cookie;
	int listener;

	(void)state;
	listener = make_listener(AF_INET, PORT, 1);
	make_listener(AF_INET, PORT, 1);
	cookie = cookie_of(listener);
	assert_int_equal(diag_listener(diag, PORT + 1, cookie, &info, &err), -ENOENT);
	assert_int_equal(diag_listener(diag, PORT, cookie + 1000000, &info, &err), -ENOENT);
	assert_int_equal(shutdown(listener, SHUT_RD), 0);
	assert_int_equal(diag_listener(diag, PORT, cookie, &info, &err), -ENOENT);
	assert_non_null(strstr(err.text, "listens on port 4711"));
	assert_int_equal(diag_listener(diag, PORT, cookie, &info, NULL), -ENOENT);
}

/* One dump answers for all whose queue was empty then; the others are asked about as ever. */
static void test_diag_listener_remembered_is_not_asked_about(void **state)
{
	struct diag_listener info;
	int full, empty;

	(void)state;
	full = make_listener(AF_INET, PORT, 17);
	empty = make_listener(AF_INET, PORT + 1, 18);
	make_client(PORT);
	make_client(PORT);
	diag_remember(diag);
	assert_int_equal(diag_listener(diag, PORT + 1, cookie_of(empty), &info, &err), 0);
	assert_int_equal(info.queued, 0);
	assert_int_equal(info.backlog, 18);
	make_client(PORT + 1);
	assert_int_equal(diag_listener(diag, PORT + 1, cookie_of(empty), &info, &err), 0);
	assert_int_equal(info.queued, 0);
	accept_one(full);
	assert_int_equal(diag_listener(diag, PORT, cookie_of(full), &info, &err), 0);
	assert_int_equal(info.queued, 1);
	assert_int_equal(diag_listener(diag, PORT, 1000000, &info, &err), -ENOENT);
	diag_forget(diag);
	assert_int_equal(diag_listener(diag, PORT + 1, cookie_of(empty), &info, &err), 0);
	assert_int_equal(info.queued, 1);
}

/* ---- connections ---------------------------------------------------------------------------- */

static void test_diag_connections_queued_and_accepted_are_counted(void **state)
{
	int listener;

	(void)state;
	assert_int_equal(count(), 0);
	listener = make_listener(AF_INET, PORT, 16);
	assert_int_equal(count(), 0); /* the listener itself is none */
	for (int i = 0; i < 3; i++)
		make_client(PORT);
	assert_int_equal(count(), 3);
	accept_one(listener);
	assert_int_equal(count(), 3);
}

static void test_diag_connections_of_other_ports_are_not_counted(void **state)
{
	(void)state;
	make_listener(AF_INET, PORT, 16);
	make_listener(AF_INET, PORT + 1, 16);
	make_client(PORT);
	make_client(PORT + 1);
	make_client(PORT + 1);
	assert_int_equal(count(), 1);
}

static void test_diag_connections_closed_by_the_server_are_not_counted(void **state)
{
	int listener, client, server;

	(void)state;
	listener = make_listener(AF_INET, PORT, 16);
	client = make_client(PORT);
	server = accept_one(listener);
	drop(server);
	wait_for_state(client, TCP_CLOSE_WAIT); /* the server's side: FIN_WAIT2, inode 0 */
	assert_int_equal(count(), 0);
}

static void test_diag_connections_closed_with_data_unsent_are_not_counted(void **state)
{
	static const char block[65536];
	int listener, server;

	(void)state;
	listener = make_listener(AF_INET, PORT, 16);
	make_client(PORT);
	server = accept_one(listener);
	while (send(server, block, sizeof(block), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(count(), 1);
	drop(server); /* FIN_WAIT1, inode 0: the kernel sends the rest alone */
	assert_int_equal(count(), 0);
}

static void test_diag_connections_shut_down_but_open_are_counted(void **state)
{
	int listener, client, server;

	(void)state;
	listener = make_listener(AF_INET, PORT, 16);
	client = make_client(PORT);
	server = accept_one(listener);
	assert_int_equal(shutdown(server, SHUT_WR), 0);
	wait_for_state(server, TCP_FIN_WAIT2);
	assert_int_equal(count(), 1);
	assert_int_equal(state_of(client), TCP_CLOSE_WAIT);
}

static void test_diag_connections_half_closed_by_the_client_are_counted(void **state)
{
	int listener, client, server;

	(void)state;
	listener = make_listener(AF_INET, PORT, 16);
	client = make_client(PORT);
	assert_int_equal(shutdown(client, SHUT_WR), 0);
	wait_for_state(client, TCP_FIN_WAIT2);
	assert_int_equal(count(), 1); /* CLOSE_WAIT, inode 0: nobody has accepted it yet */
	server = accept_one(listener);
	assert_int_equal(state_of(server), TCP_CLOSE_WAIT);
	assert_int_equal(count(), 1);
	drop(server);
	assert_int_equal(count(), 0);
}

static void test_diag_connections_half_open_is_counted_without_cgroup_only(void **state)
{
	int listener, seconds = 30;

	(void)state;
	listener = make_listener(AF_INET, PORT, 16);
	assert_int_equal(
		setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)), 0);
	make_client(PORT);
	assert_int_equal(count(), 1);
	assert_int_equal(count_of(1), 0);
}

/* ---- by cgroup ------------------------------------------------------------------------------ */

static void test_diag_connections_are_counted_by_the_listeners_cgroup(void **state)
{
	struct stat st;
	int inside, outside, listener;

	(void)state;
	if (!find_cgroup_mount(cgroup_path, sizeof(cgroup_path)) || mkdir(cgroup_path, 0755) < 0) {
		print_message("skipped: no cgroup v2 to write to\n");
		skip();
	}
	assert_int_equal(stat(cgroup_path, &st), 0);
	listener = make_listener_in_cgroup(cgroup_path);
	for (int i = 0; i < 3; i++)
		make_client(PORT);
	inside = accept_one(listener); /* accepted by somebody outside: still the listener's */
	assert_int_equal(count_of(st.st_ino), 3);
	drop(listener); /* resets the two that were queued */
	outside = make_listener(AF_INET, PORT, 16);
	make_client(PORT);
	make_client(PORT);
	accept_one(outside);
	assert_int_equal(count_of(st.st_ino), 1);
	assert_int_equal(count(), 3);
	assert_int_equal(shutdown(inside, SHUT_WR), 0);
	assert_int_equal(count_of(st.st_ino), 1);
	drop(inside);
	assert_int_equal(count_of(st.st_ino), 0);
	assert_int_equal(count_of(st.st_ino + 1000000), 0);
}

/* ---- destroy -------------------------------------------------------------------------------- */

static void test_diag_destroy_listener_stops_it(void **state)
{
	struct diag_listener info;
	uint64_t cookie;
	int listener;

	(void)state;
	listener = make_listener(AF_INET6, PORT, 4);
	cookie = cookie_of(listener);
	assert_int_equal(diag_destroy_listener(diag, PORT, cookie + 1000000, &err), -ENOENT);
	assert_int_equal(diag_destroy_listener(diag, PORT, cookie, &err), 0);
	assert_int_equal(state_of(listener), TCP_CLOSE);
	assert_int_equal(diag_listener(diag, PORT, cookie, &info, &err), -ENOENT);
	assert_int_equal(diag_destroy_listener(diag, PORT, cookie, &err), -ENOENT);
}

static void test_diag_destroy_listener_of_a_group_hits_the_right_one(void **state)
{
	struct diag_listener info;
	int listeners[8], victim = 5, fd;
	uint32_t total = 0;

	(void)state;
	fd = open("/proc/sys/net/ipv4/tcp_migrate_req", O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, "1", 1), 1);
	close(fd);
	for (int i = 0; i < 8; i++)
		listeners[i] = make_listener(AF_INET, PORT, 64);
	for (int i = 0; i < 40; i++)
		make_client(PORT);
	assert_int_equal(diag_destroy_listener(diag, PORT, cookie_of(listeners[victim]), &err), 0);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(state_of(listeners[i]), i == victim ? TCP_CLOSE : TCP_LISTEN);
		if (i == victim)
			continue;
		assert_int_equal(diag_listener(diag, PORT, cookie_of(listeners[i]), &info, &err),
				 0);
		total += info.queued;
	}
	assert_int_equal(total, 40); /* what had been queued in it migrated */
}

static void test_diag_destroy_listener_without_privilege_is_eperm(void **state)
{
	int listener, r;

	(void)state;
	listener = make_listener(AF_INET, PORT, 4);
	assert_int_equal(seteuid(65534), 0);
	r = diag_destroy_listener(diag, PORT, cookie_of(listener), &err);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(r, -EPERM);
	assert_string_equal(err.text, "sock_diag: Operation not permitted");
	assert_int_equal(state_of(listener), TCP_LISTEN);
}

/* ---- answers as a kernel seldom gives them -------------------------------------------------- */

static bool tamper_once_timeout(const struct mnl_socket *nl, void *buffer, size_t size,
				ssize_t *ret)
{
	(void)nl;
	(void)buffer;
	(void)size;
	tamper = NULL;
	errno = EAGAIN;
	*ret = -1;
	return true;
}

static void test_diag_timeout_fails_and_the_next_call_is_right(void **state)
{
	uint64_t live = 77;

	(void)state;
	make_listener(AF_INET, PORT, 16);
	make_client(PORT);
	tamper = tamper_once_timeout; /* the real answer stays unread */
	assert_int_equal(diag_connections(diag, PORT, 0, &live, &err), -ETIMEDOUT);
	assert_int_equal(live, 77);
	assert_string_equal(err.text, "sock_diag: no answer within 2000 ms");
	make_client(PORT);
	assert_int_equal(count(), 2);
}

static void test_diag_silence_ends_after_the_timeout(void **state)
{
	struct timeval timeout;
	socklen_t length = sizeof(timeout);
	bool found = false;

	(void)state;
	/* Not waited for: it is enough that the kernel knows how long. */
	for (int fd = 3; fd < 64 && !found; fd++) {
		int protocol = -1;
		socklen_t size = sizeof(protocol);

		found = getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 &&
			protocol == NETLINK_SOCK_DIAG &&
			getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, &length) == 0 &&
			timeout.tv_sec == 2;
	}
	assert_true(found);
}

/* Put a message before the real ones that has the wrong sequence number or port id. */
static uint32_t foreign_seq_offset, foreign_port_offset;

static bool tamper_foreign(const struct mnl_socket *nl, void *buffer, size_t size, ssize_t *ret)
{
	char real[32768];
	ssize_t n = real_receive(nl, real, sizeof(real));
	struct nlmsghdr *header = buffer;
	struct inet_diag_msg *message;

	assert_true(n > 0);
	memset(buffer, 0, 256);
	header->nlmsg_len = NLMSG_LENGTH(sizeof(*message));
	header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	header->nlmsg_flags = NLM_F_MULTI;
	header->nlmsg_seq = ((struct nlmsghdr *)real)->nlmsg_seq + foreign_seq_offset;
	header->nlmsg_pid = ((struct nlmsghdr *)real)->nlmsg_pid + foreign_port_offset;
	message = NLMSG_DATA(header);
	message->idiag_state = TCP_ESTABLISHED;
	assert_true(NLMSG_SPACE(sizeof(*message)) + (size_t)n <= size);
	memcpy((char *)buffer + NLMSG_SPACE(sizeof(*message)), real, (size_t)n);
	*ret = (ssize_t)NLMSG_SPACE(sizeof(*message)) + n;
	return true;
}

static void test_diag_foreign_messages_are_skipped(void **state)
{
	(void)state;
	make_listener(AF_INET, PORT, 16);
	make_client(PORT);
	tamper = tamper_foreign;
	foreign_seq_offset = 0;
	foreign_port_offset = 0;
	assert_true(count() > 1); /* the message would count, were it the request's own */
	foreign_seq_offset = (uint32_t)-1;
	assert_int_equal(count(), 1);
	foreign_seq_offset = 0;
	foreign_port_offset = 1;
	assert_int_equal(count(), 1);
}

static void test_diag_interrupted_dump_is_repeated_and_not_added_up(void **state)
{
	int calls;

	(void)state;
	make_listener(AF_INET, PORT, 16);
	make_client(PORT);
	receive_calls = 0;
	assert_int_equal(count(), 1);
	calls = receive_calls;
	tamper = tamper_interrupted;
	interrupted_left = 1;
	receive_calls = 0;
	assert_int_equal(count(), 1);
	assert_int_equal(receive_calls, 2 * calls);
	interrupted_left = 1000000;
	receive_calls = 0;
	assert_int_equal(count(), 1);
	assert_int_equal(receive_calls, DIAG_TRIES * calls);
}

static int forged_type, forged_error;
static const char *forged_message;
static size_t forged_cut;

/* An answer of one message: an error (in words), or the end of a dump. */
static bool tamper_forged(const struct mnl_socket *nl, void *buffer, size_t size, ssize_t *ret)
{
	struct nlmsghdr *header = buffer;

	*ret = real_receive(nl, buffer, size);
	header->nlmsg_type = (uint16_t)forged_type;
	header->nlmsg_flags = 0;
	header->nlmsg_len =
		(uint32_t)(forged_type == NLMSG_ERROR ? NLMSG_LENGTH(sizeof(struct nlmsgerr))
						      : NLMSG_LENGTH(4));
	memset(NLMSG_DATA(header), 0, header->nlmsg_len - NLMSG_HDRLEN);
	memcpy(NLMSG_DATA(header), &forged_error, sizeof(forged_error));
	if (forged_message) {
		header->nlmsg_flags |= NLM_F_ACK_TLVS | NLM_F_CAPPED;
		mnl_attr_put_strz(header, NLMSGERR_ATTR_MSG, forged_message);
	}
	header->nlmsg_len -= (uint32_t)forged_cut;
	*ret = (ssize_t)header->nlmsg_len;
	return true;
}

static void check_forged(int type, int code, const char *message, size_t cut, int expected,
			 const char *text)
{
	uint64_t live;

	forged_type = type;
	forged_error = code;
	forged_message = message;
	forged_cut = cut;
	tamper = tamper_forged;
	assert_int_equal(diag_connections(diag, PORT, 0, &live, &err), expected);
	assert_string_equal(err.text, text);
	tamper = NULL;
	assert_int_equal(count(), 0);
}

static void test_diag_errors_carry_the_kernels_reason(void **state)
{
	(void)state;
	check_forged(NLMSG_ERROR, -EACCES, NULL, 0, -EACCES, "sock_diag: Permission denied");
	check_forged(NLMSG_ERROR, -EINVAL, "no such filter", 0, -EINVAL,
		     "sock_diag: no such filter");
	check_forged(NLMSG_DONE, -ENOMEM, NULL, 0, -ENOMEM, "sock_diag: Cannot allocate memory");
	check_forged(NLMSG_OVERRUN, 0, NULL, 0, -ENOBUFS, "sock_diag: messages were lost");
	check_forged(NLMSG_ERROR, -EACCES, NULL, 8, -EBADMSG,
		     "sock_diag: an error message is cut short");
	check_forged(SOCK_DIAG_BY_FAMILY, 0, NULL, 0, -EBADMSG, "sock_diag: a socket is cut short");
}

static int dones;

/* The first dump (AF_INET) as it is, the second refused. */
static bool tamper_second_dump(const struct mnl_socket *nl, void *buffer, size_t size, ssize_t *ret)
{
	const struct nlmsghdr *header = buffer;
	int left;

	if (dones > 0)
		return tamper_forged(nl, buffer, size, ret);
	*ret = real_receive(nl, buffer, size);
	left = (int)*ret;
	for (; mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left))
		dones += header->nlmsg_type == NLMSG_DONE;
	return true;
}

static void test_diag_missing_ipv6_is_no_error(void **state)
{
	uint64_t live;

	(void)state;
	make_listener(AF_INET, PORT, 16);
	make_client(PORT);
	forged_type = NLMSG_ERROR;
	forged_message = NULL;
	forged_cut = 0;
	tamper = tamper_second_dump;
	forged_error = -ENOENT; /* sock_diag has no handler for the family */
	dones = 0;
	assert_int_equal(count(), 1);
	forged_error = -EACCES;
	dones = 0;
	assert_int_equal(diag_connections(diag, PORT, 0, &live, &err), -EACCES);
	tamper = tamper_forged;
	forged_error = -ENOENT; /* for IPv4 it is one */
	assert_int_equal(diag_connections(diag, PORT, 0, &live, &err), -ENOENT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_diag_listener_tells_queue_and_backlog),
		TEST(test_diag_listener_tells_what_a_full_queue_has_dropped),
		TEST(test_diag_listener_of_a_group_is_found_by_cookie),
		TEST(test_diag_listener_ipv6_is_found),
		TEST(test_diag_listener_gone_is_enoent),
		TEST(test_diag_listener_remembered_is_not_asked_about),
		TEST(test_diag_connections_queued_and_accepted_are_counted),
		TEST(test_diag_connections_of_other_ports_are_not_counted),
		TEST(test_diag_connections_closed_by_the_server_are_not_counted),
		TEST(test_diag_connections_closed_with_data_unsent_are_not_counted),
		TEST(test_diag_connections_shut_down_but_open_are_counted),
		TEST(test_diag_connections_half_closed_by_the_client_are_counted),
		TEST(test_diag_connections_half_open_is_counted_without_cgroup_only),
		cmocka_unit_test_setup_teardown(
			test_diag_connections_are_counted_by_the_listeners_cgroup, setup,
			teardown_cgroup),
		TEST(test_diag_destroy_listener_stops_it),
		TEST(test_diag_destroy_listener_of_a_group_hits_the_right_one),
		TEST(test_diag_destroy_listener_without_privilege_is_eperm),
		TEST(test_diag_timeout_fails_and_the_next_call_is_right),
		TEST(test_diag_silence_ends_after_the_timeout),
		TEST(test_diag_foreign_messages_are_skipped),
		TEST(test_diag_interrupted_dump_is_repeated_and_not_added_up),
		TEST(test_diag_errors_carry_the_kernels_reason),
		TEST(test_diag_missing_ipv6_is_no_error),
	};

	const char *reason = netns_enter();

	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
