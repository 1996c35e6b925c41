/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/waits.h"

#define DEADLINE_MS 10000

static int listener, other;
static uint64_t inode;

/* Neither of them ever gets a connection: nobody knows their ports. */
static int listening(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 5) < 0)
		return -1;
	return fd;
}

static int setup(void **data)
{
	struct stat st;

	(void)data;
	listener = listening();
	other = listening();
	if (listener < 0 || other < 0 || fstat(listener, &st) < 0)
		return -1;
	inode = st.st_ino;
	return 0;
}

static int teardown(void **data)
{
	(void)data;
	close(listener);
	close(other);
	return 0;
}

/* ---- ways to wait --------------------------------------------------------------------------- */

static void by_accept(int fd)
{
	accept(fd, NULL, NULL);
}

static void by_accept4(int fd)
{
	accept4(fd, NULL, NULL, SOCK_CLOEXEC);
}

static void by_poll(int fd)
{
	struct pollfd list[] = {{.fd = 0, .events = POLLPRI}, {.fd = fd, .events = POLLIN}};

	poll(list, 2, -1);
}

static void by_poll_for_nothing(int fd)
{
	poll(&(struct pollfd){.fd = fd, .events = POLLPRI}, 1, -1);
}

static void by_ppoll(int fd)
{
	ppoll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, NULL, NULL);
}

static void by_select(int fd)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	select(fd + 1, &set, NULL, NULL, NULL);
}

static void by_select_for_nothing(int fd)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	select(fd + 1, NULL, NULL, &set, NULL);
}

static void by_pselect(int fd)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	pselect(fd + 1, &set, NULL, NULL, NULL, NULL);
}

static int epoll_of(int fd, uint32_t events)
{
	struct epoll_event event = {.events = events};
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
	return epoll_fd;
}

static void by_epoll(int fd)
{
	struct epoll_event event;

	epoll_wait(epoll_of(fd, EPOLLIN), &event, 1, -1);
}

static void by_epoll_of_one(int fd)
{
	struct epoll_event event;

	epoll_pwait(epoll_of(fd, EPOLLIN | EPOLLEXCLUSIVE), &event, 1, -1, NULL);
}

static void by_epoll_for_nothing(int fd)
{
	struct epoll_event event;

	epoll_wait(epoll_of(fd, 0), &event, 1, -1);
}

static void not_at_all(int fd)
{
	(void)fd;
	for (;;)
		pause();
}

static void *accept_in_thread(void *fd)
{
	accept(*(int *)fd, NULL, NULL);
	return NULL;
}

static void by_thread(int fd)
{
	pthread_t thread;

	pthread_create(&thread, NULL, accept_in_thread, &fd);
	not_at_all(fd);
}

/* ---- are they seen -------------------------------------------------------------------------- */

static pid_t child(void (*wait_for)(int fd), int fd)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		wait_for(fd);
		_exit(0);
	}
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static bool waits(pid_t pid)
{
	const struct waits_sockets sockets = {.inodes = &inode, .n = 1};

	return waits_for(pid, &sockets);
}

/* Is it, within a while? */
static bool comes_to_wait(pid_t pid)
{
	for (int i = 0; i < DEADLINE_MS / 10; i++) {
		if (waits(pid))
			return true;
		poll(NULL, 0, 10);
	}
	return false;
}

static void test_waits_each_way_is_seen(void **data)
{
	static void (*const ways[])(int fd) = {by_accept, by_accept4, by_poll,
					       by_ppoll,  by_select,  by_pselect,
					       by_epoll,  by_thread,  by_epoll_of_one};

	(void)data;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		pid_t pid = child(ways[i], listener);

		if (!comes_to_wait(pid))
			fail_msg("way %zu is not seen", i);
		end(pid);
	}
}

/* A thread that sleeps in state S has come to its wait, whatever that is. */
static void await_asleep(pid_t pid)
{
	char path[64], state = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	for (int i = 0; state != 'S'; i++) {
		FILE *file = fopen(path, "re");

		assert_true(file && i < DEADLINE_MS / 10);
		assert_int_equal(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
		fclose(file);
		poll(NULL, 0, 10);
	}
}

static void check_not_seen(void (*wait_for)(int fd), int fd)
{
	pid_t pid = child(wait_for, fd);

	await_asleep(pid);
	for (int i = 0; i < 5; i++)
		assert_false(waits(pid));
	end(pid);
}

static void test_waits_other_sockets_are_not_taken_for_it(void **data)
{
	static void (*const ways[])(int fd) = {by_accept, by_poll, by_select, by_epoll};

	(void)data;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		check_not_seen(ways[i], other);
}

static void test_waits_for_something_else_are_not_taken_for_it(void **data)
{
	(void)data;
	check_not_seen(not_at_all, listener);
	check_not_seen(by_poll_for_nothing, listener);
	check_not_seen(by_select_for_nothing, listener);
	check_not_seen(by_epoll_for_nothing, listener);
}

static void test_waits_of_a_process_that_is_gone_are_none(void **data)
{
	pid_t pid = child(by_accept, listener);

	(void)data;
	end(pid);
	assert_false(waits(pid));
}

static void test_waits_epoll_has_what_was_added(void **data)
{
	const struct waits_sockets sockets = {.inodes = &inode, .n = 1}, none = {0};
	int epoll_fd = epoll_of(listener, EPOLLIN), idle_fd = epoll_of(listener, 0);
	int other_fd = epoll_of(other, EPOLLIN);

	(void)data;
	assert_true(waits_in_epoll(getpid(), epoll_fd, &sockets));
	assert_false(waits_in_epoll(getpid(), epoll_fd, &none));
	assert_false(waits_in_epoll(getpid(), idle_fd, &sockets));
	assert_false(waits_in_epoll(getpid(), other_fd, &sockets));
	assert_false(waits_in_epoll(getpid(), listener, &sockets));
	assert_false(waits_in_epoll(getpid(), -1, &sockets));
	/* A server that takes its listener out for a while. */
	assert_int_equal(epoll_ctl(epoll_fd, EPOLL_CTL_DEL, listener, NULL), 0);
	assert_false(waits_in_epoll(getpid(), epoll_fd, &sockets));
	close(epoll_fd);
	close(idle_fd);
	close(other_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits_each_way_is_seen),
		cmocka_unit_test(test_waits_other_sockets_are_not_taken_for_it),
		cmocka_unit_test(test_waits_for_something_else_are_not_taken_for_it),
		cmocka_unit_test(test_waits_of_a_process_that_is_gone_are_none),
		cmocka_unit_test(test_waits_epoll_has_what_was_added),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
