/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/message.h"
#include "tests/unit/fakes/count_fds.h"

struct fixture {
	int a, b;     /* the two ends */
	size_t n_fds; /* open descriptors of this process once both are */
};

static int setup(void **state)
{
	static struct fixture fixture;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	fixture.a = fds[0];
	fixture.b = fds[1];
	fixture.n_fds = count_fds();
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	if (fixture->a >= 0)
		close(fixture->a);
	if (fixture->b >= 0)
		close(fixture->b);
	return 0;
}

/* @n duplicates of one descriptor, sent from a to b. */
static int send_fds(const struct fixture *fixture, const char *text, size_t n)
{
	int fds[MESSAGE_FDS_MAX + 1];

	for (size_t i = 0; i < n; i++)
		fds[i] = fixture->a;
	return message_send(fixture->a, text, strlen(text), fds, n);
}

static void test_message_round_trip_keeps_bytes_and_borders(void **state)
{
	struct fixture *fixture = *state;
	char buffer[64];
	size_t length, n_fds = 99;

	assert_int_equal(message_send(fixture->a, "one", 3, NULL, 0), 0);
	assert_int_equal(message_send(fixture->a, "t\0o\n", 4, NULL, 0), 0);
	memset(buffer, 'x', sizeof(buffer));
	assert_int_equal(
		message_receive(fixture->b, buffer, sizeof(buffer), &length, NULL, 0, &n_fds), 0);
	assert_int_equal(length, 3);
	assert_int_equal(n_fds, 0);
	assert_string_equal(buffer, "one");
	assert_int_equal(
		message_receive(fixture->b, buffer, sizeof(buffer), &length, NULL, 0, NULL), 0);
	assert_int_equal(length, 4);
	assert_memory_equal(buffer, "t\0o\n", 5);
}

static void test_message_fds_arrive_in_order_and_close_on_exec(void **state)
{
	struct fixture *fixture = *state;
	int first[2], second[2], fds[4];
	char buffer[16], byte;
	size_t length, n_fds;

	assert_int_equal(pipe(first), 0);
	assert_int_equal(pipe(second), 0);
	assert_int_equal(message_send(fixture->a, "x", 1, (const int[]){first[0], second[0]}, 2),
			 0);
	/* They are still the sender's. */
	assert_true(fcntl(first[0], F_GETFD) >= 0 && fcntl(second[0], F_GETFD) >= 0);
	assert_int_equal(
		message_receive(fixture->b, buffer, sizeof(buffer), &length, fds, 4, &n_fds), 0);
	assert_int_equal(n_fds, 2);
	assert_int_equal(write(first[1], "1", 1), 1);
	assert_int_equal(write(second[1], "2", 1), 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		assert_int_equal(read(fds[i], &byte, 1), 1);
		assert_int_equal(byte, '1' + i);
		close(fds[i]);
	}
	for (int i = 0; i < 2; i++) {
		close(first[i]);
		close(second[i]);
	}
	assert_int_equal(count_fds(), fixture->n_fds);
}

static void test_message_fds_as_many_as_allowed_arrive(void **state)
{
	struct fixture *fixture = *state;
	int fds[MESSAGE_FDS_MAX];
	char buffer[16];
	size_t length, n_fds;

	assert_int_equal(send_fds(fixture, "x", MESSAGE_FDS_MAX), 0);
	assert_int_equal(message_receive(fixture->b, buffer, sizeof(buffer), &length, fds,
					 MESSAGE_FDS_MAX, &n_fds),
			 0);
	assert_int_equal(n_fds, MESSAGE_FDS_MAX);
	for (size_t i = 0; i < n_fds; i++)
		assert_int_equal(close(fds[i]), 0);
	assert_int_equal(send_fds(fixture, "x", MESSAGE_FDS_MAX + 1), -EMSGSIZE);
}

static void test_message_fds_too_many_are_closed(void **state)
{
	static const struct {
		size_t sent, max;
	} cases[] = {{1, 0}, {3, 2}, {MESSAGE_FDS_MAX, 16}, {MESSAGE_FDS_MAX, 252}};
	struct fixture *fixture = *state;
	int fds[MESSAGE_FDS_MAX];
	char buffer[16];
	size_t length, n_fds;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		length = n_fds = 99;
		assert_int_equal(send_fds(fixture, "x", cases[i].sent), 0);
		assert_int_equal(message_receive(fixture->b, buffer, sizeof(buffer), &length, fds,
						 cases[i].max, &n_fds),
				 -EMSGSIZE);
		assert_int_equal(length, 0);
		assert_int_equal(n_fds, 0);
		assert_int_equal(count_fds(), fixture->n_fds);
	}
	/* And with nowhere to put them. */
	assert_int_equal(send_fds(fixture, "x", 1), 0);
	assert_int_equal(
		message_receive(fixture->b, buffer, sizeof(buffer), &length, NULL, 0, NULL),
		-EMSGSIZE);
	assert_int_equal(count_fds(), fixture->n_fds);
}

/* MSG_CTRUNC: the process may not have so many descriptors; some of them did arrive. */
static void test_message_fds_beyond_the_process_limit_are_closed(void **state)
{
	struct fixture *fixture = *state;
	struct rlimit old, limit;
	size_t length, n_fds;
	char buffer[16];
	int fds[8], r;

	assert_int_equal(send_fds(fixture, "x", 8), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	limit = old;
	limit.rlim_cur = (rlim_t)(fixture->a > fixture->b ? fixture->a : fixture->b) + 4;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	r = message_receive(fixture->b, buffer, sizeof(buffer), &length, fds, 8, &n_fds);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(r, -EMSGSIZE);
	assert_int_equal(n_fds, 0);
	assert_int_equal(count_fds(), fixture->n_fds);
}

static void test_message_oversize_is_refused_whole(void **state)
{
	struct fixture *fixture = *state;
	char buffer[9];
	size_t length, n_fds;
	int fds[4];

	assert_int_equal(send_fds(fixture, "12345678", 1), 0);
	assert_int_equal(send_fds(fixture, "123456789", 2), 0);
	assert_int_equal(send_fds(fixture, "next", 0), 0);

	assert_int_equal(
		message_receive(fixture->b, buffer, sizeof(buffer), &length, fds, 4, &n_fds), 0);
	assert_int_equal(length, 8);
	assert_string_equal(buffer, "12345678");
	assert_int_equal(n_fds, 1);
	close(fds[0]);

	assert_int_equal(
		message_receive(fixture->b, buffer, sizeof(buffer), &length, fds, 4, &n_fds),
		-EMSGSIZE);
	assert_int_equal(length, 0);
	assert_int_equal(n_fds, 0);
	assert_int_equal(count_fds(), fixture->n_fds);

	assert_int_equal(
		message_receive(fixture->b, buffer, sizeof(buffer), &length, fds, 4, &n_fds), 0);
	assert_string_equal(buffer, "next");
}

static void test_message_receive_without_a_message_is_eagain(void **state)
{
	struct fixture *fixture = *state;
	char buffer[16];
	size_t length = 99;

	assert_int_equal(
		message_receive(fixture->b, buffer, sizeof(buffer), &length, NULL, 0, NULL),
		-EAGAIN);
	assert_int_equal(length, 0);
}

static void test_message_receive_buffer_without_room_is_refused(void **state)
{
	struct fixture *fixture = *state;
	char buffer[1];
	size_t length;

	assert_int_equal(message_send(fixture->a, "x", 1, NULL, 0), 0);
	assert_int_equal(message_receive(fixture->b, buffer, 1, &length, NULL, 0, NULL), -EINVAL);
	assert_int_equal(message_receive(fixture->b, buffer, 0, &length, NULL, 0, NULL), -EINVAL);
}

static void test_message_send_to_one_who_does_not_read_is_eagain(void **state)
{
	struct fixture *fixture = *state;
	static char text[16 * 1024];
	int r = 0, sent = 0;

	memset(text, 'x', sizeof(text));
	while (r == 0 && sent < 10000) {
		r = message_send(fixture->a, text, sizeof(text), NULL, 0);
		sent += r == 0;
	}
	assert_int_equal(r, -EAGAIN);
	assert_in_range(sent, 1, 9999);
}

static void test_message_send_larger_than_the_socket_takes_is_emsgsize(void **state)
{
	struct fixture *fixture = *state;
	size_t length = 64 * 1024 * 1024;
	char *text = calloc(1, length);

	assert_non_null(text);
	assert_int_equal(message_send(fixture->a, text, length, NULL, 0), -EMSGSIZE);
	free(text);
}

static void test_message_send_to_a_closed_peer_is_epipe_without_a_signal(void **state)
{
	struct fixture *fixture = *state;

	close(fixture->b);
	fixture->b = -1;
	assert_int_equal(message_send(fixture->a, "x", 1, NULL, 0), -EPIPE);
}

static void test_message_send_empty_is_refused(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(message_send(fixture->a, "", 0, NULL, 0), -EINVAL);
}

static void test_message_bad_descriptor_is_an_error(void **state)
{
	struct fixture *fixture = *state;
	char buffer[16];
	size_t length;

	assert_int_equal(message_send(-1, "x", 1, NULL, 0), -EBADF);
	assert_int_equal(message_receive(-1, buffer, sizeof(buffer), &length, NULL, 0, NULL),
			 -EBADF);
	assert_int_equal(message_send(fixture->a, "x", 1, (const int[]){-1}, 1), -EBADF);
}

static void test_message_end_comes_after_what_was_sent(void **state)
{
	struct fixture *fixture = *state;
	char buffer[16];
	size_t length = 99;

	assert_int_equal(message_send(fixture->a, "last", 4, NULL, 0), 0);
	close(fixture->a);
	fixture->a = -1;
	assert_int_equal(
		message_receive(fixture->b, buffer, sizeof(buffer), &length, NULL, 0, NULL), 0);
	assert_string_equal(buffer, "last");
	for (int i = 0; i < 2; i++) {
		length = 99;
		assert_int_equal(
			message_receive(fixture->b, buffer, sizeof(buffer), &length, NULL, 0, NULL),
			0);
		assert_int_equal(length, 0);
	}
}

/* The peer closes with our message unread, which makes the kernel say ECONNRESET first. */
static void test_message_end_by_reset_comes_after_what_was_sent(void **state)
{
	struct fixture *fixture = *state;
	char buffer[16];
	size_t length = 99;

	assert_int_equal(message_send(fixture->b, "unread", 6, NULL, 0), 0);
	assert_int_equal(message_send(fixture->a, "last", 4, NULL, 0), 0);
	close(fixture->a);
	fixture->a = -1;
	assert_int_equal(
		message_receive(fixture->b, buffer, sizeof(buffer), &length, NULL, 0, NULL), 0);
	assert_int_equal(length, 4);
	assert_string_equal(buffer, "last");
	assert_int_equal(
		message_receive(fixture->b, buffer, sizeof(buffer), &length, NULL, 0, NULL), 0);
	assert_int_equal(length, 0);
}

/* An empty message cannot be told from the end; what came with it must not stay open. */
static void test_message_empty_with_fds_is_the_end_and_closes_them(void **state)
{
	struct fixture *fixture = *state;
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS,
				.cmsg_len = CMSG_LEN(sizeof(int))}};
	struct iovec iov = {.iov_base = (char[1]){0}, .iov_len = 0};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes)};
	size_t length = 99, n_fds = 99;
	char buffer[16];
	int fds[4];

	memcpy(CMSG_DATA(&control.header), &fixture->a, sizeof(int));
	assert_int_equal(sendmsg(fixture->a, &message, MSG_NOSIGNAL), 0);
	assert_int_equal(
		message_receive(fixture->b, buffer, sizeof(buffer), &length, fds, 4, &n_fds), 0);
	assert_int_equal(length, 0);
	assert_int_equal(n_fds, 0);
	assert_int_equal(count_fds(), fixture->n_fds);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_message_round_trip_keeps_bytes_and_borders),
		TEST(test_message_fds_arrive_in_order_and_close_on_exec),
		TEST(test_message_fds_as_many_as_allowed_arrive),
		TEST(test_message_fds_too_many_are_closed),
		TEST(test_message_fds_beyond_the_process_limit_are_closed),
		TEST(test_message_oversize_is_refused_whole),
		TEST(test_message_receive_without_a_message_is_eagain),
		TEST(test_message_receive_buffer_without_room_is_refused),
		TEST(test_message_send_to_one_who_does_not_read_is_eagain),
		TEST(test_message_send_larger_than_the_socket_takes_is_emsgsize),
		TEST(test_message_send_to_a_closed_peer_is_epipe_without_a_signal),
		TEST(test_message_send_empty_is_refused),
		TEST(test_message_bad_descriptor_is_an_error),
		TEST(test_message_end_comes_after_what_was_sent),
		TEST(test_message_end_by_reset_comes_after_what_was_sent),
		TEST(test_message_empty_with_fds_is_the_end_and_closes_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
