/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent/notify.h"
#include "common/clock.h"
#include "common/notify_path.h"
#include "common/pidfds.h"
#include "tests/unit/fakes/folder.h"

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

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

#define SOMEBODY 4711
#define STRANGER 4712

struct fixture {
	int fd;
	char control[256];
	char name[NOTIFY_NAME_MAX];
};

static const struct notify_owner own = {};

static int setup(void **data)
{
	static struct fixture fixture;
	struct error err;

	if (folder_set_up(data) < 0)
		return -1;
	strcpy(fixture.control, in_folder("agents/web.3.0.sock"));
	if (notify_open(fixture.control, &own, &fixture.fd, fixture.name, &err) < 0)
		return -1;
	setenv("NOTIFY_SOCKET", fixture.name, 1);
	*data = &fixture;
	return 0;
}

static int teardown(void **data)
{
	struct fixture *fixture = *data;

	unsetenv("NOTIFY_SOCKET");
	close(fixture->fd);
	return folder_tear_down(data);
}

static int receive(struct fixture *fixture, struct notify_message *message)
{
	struct notify_sender sender = {.pidfd = -1};
	int r = notify_receive(fixture->fd, message, &sender);

	if (sender.pidfd >= 0)
		close(sender.pidfd);
	return r;
}

static void test_notify_receive_sd_notify_with_sender(void **data)
{
	struct fixture *fixture = *data;
	struct notify_message message;
	struct notify_sender sender;

	assert_true(sd_notify(0, "READY=1\nSTATUS=hello") > 0);
	assert_int_equal(notify_receive(fixture->fd, &message, &sender), 0);
	assert_true(message.ready);
	assert_string_equal(message.status, "hello");
	assert_int_equal(sender.pid, getpid());
	assert_int_equal(sender.uid, getuid());
	if (sender.pidfd >= 0) {
		assert_true(pidfds_alive(sender.pidfd));
		assert_int_equal(fcntl(sender.pidfd, F_GETFD), FD_CLOEXEC);
		close(sender.pidfd);
	}
	assert_int_equal(notify_receive(fixture->fd, &message, &sender), -EAGAIN);
}

static void test_notify_receive_too_long_is_ignored(void **data)
{
	struct fixture *fixture = *data;
	struct notify_message message;
	char text[NOTIFY_MESSAGE_MAX + 2];

	memset(text, 'x', sizeof(text));
	memcpy(text, "READY=1\n", 8);
	text[NOTIFY_MESSAGE_MAX + 1] = '\0';
	assert_true(sd_notify(0, text) > 0);
	assert_int_equal(receive(fixture, &message), -EBADMSG);
	text[NOTIFY_MESSAGE_MAX] = '\0';
	assert_true(sd_notify(0, text) > 0);
	assert_int_equal(receive(fixture, &message), 0);
	assert_true(message.ready);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

/* As a kernel before 6.16: whoever may send may pass descriptors. False: this one is one. */
static bool pass_rights(int fd, int on)
{
	return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &on, sizeof(on)) == 0;
}

static void test_notify_socket_refuses_descriptors(void **data)
{
	struct fixture *fixture = *data;
	int fd = STDERR_FILENO, on = 1;
	socklen_t size = sizeof(on);

	if (getsockopt(fixture->fd, SOL_SOCKET, SO_PASSRIGHTS, &on, &size) < 0)
		skip();
	assert_int_equal(on, 0);
	assert_int_equal(sd_pid_notify_with_fds(0, 0, "FDSTORE=1", &fd, 1), -EPERM);
}

static void test_notify_receive_closes_descriptors(void **data)
{
	struct fixture *fixture = *data;
	struct pollfd poller = {.events = POLLIN};
	struct notify_message message;
	int pipe_fds[2];

	(void)pass_rights(fixture->fd, 1);
	/* As BARRIER=1 of sd_notify_barrier(3): the reader sees the end when all are closed. */
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_true(sd_pid_notify_with_fds(0, 0, "FDSTORE=1", &pipe_fds[1], 1) > 0);
	close(pipe_fds[1]);
	poller.fd = pipe_fds[0];
	assert_int_equal(poll(&poller, 1, 0), 0);
	assert_int_equal(receive(fixture, &message), 0);
	assert_int_equal(poll(&poller, 1, 10000), 1);
	close(pipe_fds[0]);
}

/* Connected, with more to send than anybody reads: to close it takes @seconds. */
static int lingering_socket(int *ret_peer, int seconds)
{
	struct linger linger = {.l_onoff = 1, .l_linger = seconds};
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static const char chunk[65536];
	socklen_t size = sizeof(address);

	assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, size), 0);
	*ret_peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	while (send(fd, chunk, sizeof(chunk), MSG_DONTWAIT) > 0)
		continue;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	return fd;
}

static void test_notify_receive_does_not_wait_for_a_lingering_socket(void **data)
{
	struct fixture *fixture = *data;
	struct notify_message message;
	uint64_t before;
	int fd, peer;

	(void)pass_rights(fixture->fd, 1);
	fd = lingering_socket(&peer, 30);
	assert_true(sd_pid_notify_with_fds(0, 0, "READY=1", &fd, 1) > 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	/* The one in the message is the last one. */
	close(dup2(STDERR_FILENO, fd));
	before = clock_monotonic_ms();
	assert_int_equal(receive(fixture, &message), 0);
	assert_true(message.ready);
	assert_true(clock_monotonic_ms() - before < 10000);
	close(peer); /* resets it: that ends the waiting */
}

/* ---- who may send --------------------------------------------------------------------------- */

/* Does READY=1 of @uid, with @gid, arrive? */
static bool may_send(const char *name, uid_t uid, gid_t gid)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
		    setresuid(uid, uid, uid) < 0)
			_exit(2);
		setenv("NOTIFY_SOCKET", name, 1);
		_exit(sd_notify(0, "READY=1") > 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 2);
	return WEXITSTATUS(status) == 0;
}

static void test_notify_socket_is_closed_to_other_users(void **data)
{
	const struct notify_owner owner = {.set = true, .uid = SOMEBODY, .gid = SOMEBODY};
	struct fixture *fixture = *data;
	char name[NOTIFY_NAME_MAX];
	struct error err;
	struct stat st;
	int fd;

	if (geteuid() != 0)
		skip();
	assert_int_equal(notify_open(in_folder("agents/x.1.0.sock"), &owner, &fd, name, &err), 0);
	assert_string_equal(name, in_folder("tell/x.1.0/baton"));
	assert_int_equal(stat(in_folder("tell/x.1.0"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0710);
	assert_int_equal(st.st_uid, 0);
	assert_true(may_send(name, SOMEBODY, SOMEBODY));
	assert_true(may_send(name, 0, 0));
	assert_false(may_send(name, STRANGER, STRANGER));
	/* Of the same group, too. */
	assert_false(may_send(name, STRANGER, SOMEBODY));
	/* A server that root starts may become another user before it says something. */
	assert_true(may_send(fixture->name, STRANGER, STRANGER));
	close(fd);
}

static void test_notify_open_again_has_the_same_name_and_remove_leaves_nothing(void **data)
{
	const struct notify_owner owner = {.set = true, .uid = SOMEBODY, .gid = SOMEBODY};
	struct fixture *fixture = *data;
	struct notify_message message;
	char name[NOTIFY_NAME_MAX];
	struct error err;

	close(fixture->fd); /* its agent was killed */
	assert_true(sd_notify(0, "READY=1") < 0);
	assert_int_equal(notify_open(fixture->control, geteuid() == 0 ? &owner : &own, &fixture->fd,
				     name, &err),
			 0);
	assert_string_equal(name, fixture->name);
	assert_true(sd_notify(0, "READY=1") > 0);
	assert_int_equal(receive(fixture, &message), 0);
	notify_path_remove(fixture->control);
	assert_int_equal(access(in_folder("tell"), F_OK), -1);
}

static void test_notify_reopen_takes_the_abstract_name_of_an_earlier_version(void **data)
{
	struct notify_message message;
	struct notify_sender sender;
	struct error err;
	char name[64];
	int fd, other;

	(void)data;
	snprintf(name, sizeof(name), "@baton/notify/%d", (int)getpid());
	assert_int_equal(notify_reopen(name, &fd, &err), 0);
	assert_int_equal(notify_reopen(name, &other, &err), -EADDRINUSE);
	assert_int_equal(notify_reopen("/run/x", &other, &err), -EINVAL);
	setenv("NOTIFY_SOCKET", name, 1);
	assert_true(sd_notify(1, "READY=1") > 0);
	assert_int_equal(notify_receive(fd, &message, &sender), 0);
	assert_true(message.ready);
	if (sender.pidfd >= 0)
		close(sender.pidfd);
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_notify_parse_all_variables),
		cmocka_unit_test(test_notify_parse_nothing_is_nothing),
		cmocka_unit_test(test_notify_parse_last_one_counts),
		cmocka_unit_test(test_notify_parse_status_is_cut_and_cleaned),
		TEST(test_notify_receive_sd_notify_with_sender),
		TEST(test_notify_receive_too_long_is_ignored),
		TEST(test_notify_socket_refuses_descriptors),
		TEST(test_notify_receive_closes_descriptors),
		TEST(test_notify_receive_does_not_wait_for_a_lingering_socket),
		TEST(test_notify_socket_is_closed_to_other_users),
		TEST(test_notify_open_again_has_the_same_name_and_remove_leaves_nothing),
		cmocka_unit_test(test_notify_reopen_takes_the_abstract_name_of_an_earlier_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
