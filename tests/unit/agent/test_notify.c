/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent/notify.h"

static struct notify_message parse(const char *text)
{
	struct notify_message message;
	size_t n = strlen(text);
	char *copy = malloc(n ? n : 1); /* without a NUL: datagrams have none */

	assert_non_null(copy);
	memcpy(copy, text, n);
	notify_parse(copy, n, &message);
	free(copy);
	return message;
}

static void test_notify_parse_all_variables(void **data)
{
	struct notify_message message =
		parse("READY=1\nRELOADING=1\nSTOPPING=1\nSTATUS=up and well\nMAINPID=4711\n");

	(void)data;
	assert_true(message.ready && message.reloading && message.stopping && message.has_status);
	assert_string_equal(message.status, "up and well");
	assert_int_equal(message.main_pid, 4711);
}

static void test_notify_parse_nothing_is_nothing(void **data)
{
	static const char *const texts[] = {
		"",         "\n\n",       "READY",      "READY=",
		"READY=0",  "READY=11",   "XREADY=1",   "READYX=1",
		" READY=1", "FDSTORE=1",  "WATCHDOG=1", "=1",
		"MAINPID=", "MAINPID=-1", "MAINPID=1x", "MAINPID=12345678901234567890"};

	(void)data;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct notify_message message = parse(texts[i]);

		assert_false(message.ready || message.reloading || message.stopping);
		assert_false(message.has_status);
		assert_int_equal(message.main_pid, 0);
	}
}

static void test_notify_parse_last_one_counts(void **data)
{
	struct notify_message message = parse("STATUS=a\nREADY=1\nSTATUS=\nREADY=0");

	(void)data;
	assert_false(message.ready);
	assert_true(message.has_status);
	assert_string_equal(message.status, "");
}

static void test_notify_parse_status_is_cut_and_cleaned(void **data)
{
	char text[1024] = "STATUS=\x1b[31mred\x1b[0m\a=";
	struct notify_message message = parse(text);

	(void)data;
	assert_string_equal(message.status, "red?=");
	memset(text + 7, 'x', sizeof(text) - 8);
	text[sizeof(text) - 1] = '\0';
	message = parse(text);
	assert_int_equal(strlen(message.status), PROTOCOL_TEXT_MAX - 1);
}

/* ---- the socket ----------------------------------------------------------------------------- */

struct fixture {
	int fd;
	char name[NOTIFY_NAME_MAX];
};

static int setup(void **data)
{
	static struct fixture fixture;
	struct error err;

	if (notify_open(&fixture.fd, fixture.name, &err) < 0)
		return -1;
	setenv("NOTIFY_SOCKET", fixture.name, 1);
	*data = &fixture;
	return 0;
}

static int teardown(void **data)
{
	struct fixture *fixture = *data;

	unsetenv("NOTIFY_SOCKET");
	return close(fixture->fd);
}

static void test_notify_receive_sd_notify_with_sender(void **data)
{
	struct fixture *fixture = *data;
	struct notify_message message;
	pid_t pid;
	uid_t uid;

	assert_true(sd_notify(0, "READY=1\nSTATUS=hello") > 0);
	assert_int_equal(notify_receive(fixture->fd, &message, &pid, &uid), 0);
	assert_true(message.ready);
	assert_string_equal(message.status, "hello");
	assert_int_equal(pid, getpid());
	assert_int_equal(uid, getuid());
	assert_int_equal(notify_receive(fixture->fd, &message, &pid, &uid), -EAGAIN);
}

static void test_notify_receive_too_long_is_ignored(void **data)
{
	struct fixture *fixture = *data;
	struct notify_message message;
	char text[NOTIFY_MESSAGE_MAX + 2];
	pid_t pid;
	uid_t uid;

	memset(text, 'x', sizeof(text));
	memcpy(text, "READY=1\n", 8);
	text[NOTIFY_MESSAGE_MAX + 1] = '\0';
	assert_true(sd_notify(0, text) > 0);
	assert_int_equal(notify_receive(fixture->fd, &message, &pid, &uid), -EBADMSG);
	text[NOTIFY_MESSAGE_MAX] = '\0';
	assert_true(sd_notify(0, text) > 0);
	assert_int_equal(notify_receive(fixture->fd, &message, &pid, &uid), 0);
	assert_true(message.ready);
}

static void test_notify_receive_closes_descriptors(void **data)
{
	struct fixture *fixture = *data;
	struct notify_message message;
	struct pollfd poller = {.events = POLLIN};
	int pipe_fds[2];
	pid_t pid;
	uid_t uid;

	/* As BARRIER=1 of sd_notify_barrier(3): the reader sees the end when all are closed. */
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_true(sd_pid_notify_with_fds(0, 0, "FDSTORE=1", &pipe_fds[1], 1) > 0);
	close(pipe_fds[1]);
	poller.fd = pipe_fds[0];
	assert_int_equal(poll(&poller, 1, 0), 0);
	assert_int_equal(notify_receive(fixture->fd, &message, &pid, &uid), 0);
	assert_int_equal(poll(&poller, 1, 1000), 1);
	close(pipe_fds[0]);
}

static void test_notify_open_names_differ(void **data)
{
	struct fixture *fixture = *data;
	char name[NOTIFY_NAME_MAX];
	struct error err;
	int fd;

	assert_int_equal(notify_open(&fd, name, &err), 0);
	assert_string_not_equal(name, fixture->name);
	assert_int_equal(name[0], '@');
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_notify_parse_all_variables),
		cmocka_unit_test(test_notify_parse_nothing_is_nothing),
		cmocka_unit_test(test_notify_parse_last_one_counts),
		cmocka_unit_test(test_notify_parse_status_is_cut_and_cleaned),
		cmocka_unit_test_setup_teardown(test_notify_receive_sd_notify_with_sender, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_notify_receive_too_long_is_ignored, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_notify_receive_closes_descriptors, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_notify_open_names_differ, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
