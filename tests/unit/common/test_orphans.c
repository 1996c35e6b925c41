/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/orphans.h"

static struct diag *diag;
static struct orphan list[ORPHANS_MAX];

/* A listener on a free port of 127.0.0.1, and what is known of it. */
static int listen_somewhere(struct orphan *ret)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(sin), n = sizeof(uint64_t);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	uint64_t cookie;

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, size), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &size), 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &n), 0);
	orphan_init(ret, cookie, "127.0.0.1:80", ntohs(sin.sin_port));
	return fd;
}

/* A child that has @fd, which the test then closes. */
static pid_t leave_with_child(int fd)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		pause();
		_exit(0);
	}
	close(fd);
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static bool listens(const struct orphan *orphan)
{
	struct diag_listener found;

	return diag_listener(diag, orphan->port, orphan->cookie, &found, NULL) == 0;
}

static void test_orphans_socket_of_a_child_is_shut_and_the_child_named(void **state)
{
	char text[ORPHAN_TEXT_MAX], expected[64];
	pid_t pid;
	int fd;

	(void)state;
	fd = listen_somewhere(&list[0]);
	pid = leave_with_child(fd);
	assert_true(listens(&list[0]));
	assert_int_equal(orphans_shut(diag, list, 1), 1);
	assert_int_equal(list[0].error, 0);
	assert_int_equal(list[0].pid, pid);
	assert_false(listens(&list[0]));
	snprintf(expected, sizeof(expected), "pid %d \"test_orphans\" (uid %u) has got away",
		 (int)pid, getuid());
	assert_non_null(strstr(orphan_describe(&list[0], text), expected));
	assert_non_null(strstr(text, "127.0.0.1:80: it was shut down"));
	assert_int_equal(orphans_shut(diag, list, 1), 0);
	end_child(pid);
}

/* Another server binds the port, although the socket is not closed. */
static void test_orphans_port_is_free_for_servers_that_reuse_addresses(void **state)
{
	const int on = 1;
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	pid_t pid;
	int fd;

	(void)state;
	fd = listen_somewhere(&list[0]);
	sin.sin_port = htons(list[0].port);
	pid = leave_with_child(fd);
	assert_int_equal(orphans_shut(diag, list, 1), 1);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(fd, 8), 0);
	close(fd);
	end_child(pid);
}

static void test_orphans_only_those_that_listen_are_left_in_the_list(void **state)
{
	pid_t pid;
	int closed, kept;

	(void)state;
	closed = listen_somewhere(&list[0]);
	kept = listen_somewhere(&list[1]);
	list[2] = list[1];
	list[2].cookie++; /* another socket of the port */
	close(closed);
	pid = leave_with_child(kept);
	assert_int_equal(orphans_shut(diag, list, 3), 1);
	assert_int_equal(list[0].pid, pid);
	assert_int_equal(list[0].error, 0);
	end_child(pid);
}

/* Nobody has it that could be found, and yet it listens: it is in a message that nobody reads. */
static void test_orphans_socket_that_nobody_has_is_shut(void **state)
{
	char control[CMSG_SPACE(sizeof(int))] = {}, byte = 0, text[ORPHAN_TEXT_MAX];
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &data,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int pair[2], fd;

	(void)state;
	fd = listen_somewhere(&list[0]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	assert_int_equal(sendmsg(pair[0], &message, 0), 1);
	close(fd);
	assert_true(listens(&list[0]));
	assert_int_equal(orphans_shut(diag, list, 1), 1);
	assert_int_equal(list[0].pid, 0);
	assert_int_equal(list[0].error, 0);
	assert_false(listens(&list[0]));
	assert_non_null(strstr(orphan_describe(&list[0], text), "a process that cannot be found"));
	close(pair[0]);
	close(pair[1]);
}

static void test_orphans_of_nothing_are_none(void **state)
{
	(void)state;
	assert_int_equal(orphans_shut(diag, list, 0), 0);
}

static void test_orphans_that_cannot_be_shut_are_described(void **state)
{
	struct orphan orphan;
	char text[ORPHAN_TEXT_MAX];

	(void)state;
	orphan_init(&orphan, 1, "[::1]:443", 443);
	orphan.error = -EPERM;
	assert_string_equal(orphan_describe(&orphan, text),
			    "a process that cannot be found (uid 0) has got away with a listening "
			    "socket on [::1]:443: it cannot be shut down (Operation not "
			    "permitted); end that process");
}

static int set_up(void **state)
{
	(void)state;
	return diag_open(&diag, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	diag_free(diag);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_orphans_##name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(socket_of_a_child_is_shut_and_the_child_named),
		TEST(port_is_free_for_servers_that_reuse_addresses),
		TEST(only_those_that_listen_are_left_in_the_list),
		TEST(socket_that_nobody_has_is_shut),
		TEST(of_nothing_are_none),
		TEST(that_cannot_be_shut_are_described),
	};

	return cmocka_run_group_tests_name("orphans", tests, NULL, NULL);
}
