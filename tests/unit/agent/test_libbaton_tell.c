/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What libbaton tells, heard by the agent's own notify socket.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "agent/notify.h"
#include "common/notify_path.h"
#include "tests/unit/agent/libbaton_fixture.h"

struct receiver {
	char folder[64];
	int fd;
	char name[NOTIFY_NAME_MAX];
	struct notify_message message;
};

/* The agent's own socket. */
static struct receiver receiver_open(void)
{
	static const struct notify_owner owner = {};
	struct receiver receiver;
	struct error err;
	char control[96];

	strcpy(receiver.folder, "/tmp/test_libbaton.XXXXXX");
	assert_non_null(mkdtemp(receiver.folder));
	snprintf(control, sizeof(control), "%s/sock", receiver.folder);
	assert_int_equal(notify_open(control, &owner, &receiver.fd, receiver.name, &err), 0);
	setenv("NOTIFY_SOCKET", receiver.name, 1);
	return receiver;
}

static int receive(struct receiver *receiver)
{
	struct notify_sender sender = {.pidfd = -1};
	int r = notify_receive(receiver->fd, &receiver->message, &sender);

	if (r == 0)
		assert_int_equal(sender.pid, getpid());
	if (sender.pidfd >= 0)
		close(sender.pidfd);
	return r;
}

static void receiver_close(struct receiver *receiver)
{
	char control[96];

	close(receiver->fd);
	snprintf(control, sizeof(control), "%s/sock", receiver->folder);
	notify_path_remove(control);
	assert_int_equal(rmdir(receiver->folder), 0);
}

static void test_libbaton_tells_the_agent_everything(void **data)
{
	struct receiver receiver = receiver_open();
	struct baton *baton = open_on("127.0.0.1:8080");

	(void)data;
	assert_int_equal(socket_option(baton_socket(baton, 0), SO_REUSEPORT), 1);
	assert_int_equal(receive(&receiver), -EAGAIN); /* opening says nothing */
	assert_int_equal(baton_ready(baton), 0);
	assert_int_equal(receive(&receiver), 0);
	assert_true(receiver.message.ready && !receiver.message.stopping);
	assert_int_equal(baton_status(baton, "warming up"), 0);
	assert_int_equal(receive(&receiver), 0);
	assert_false(receiver.message.ready);
	assert_string_equal(receiver.message.status, "warming up");

	assert_int_equal(baton_stop_listening(baton), 0);
	assert_int_equal(receive(&receiver), 0);
	assert_true(receiver.message.stopping);
	assert_int_equal(baton_socket_count(baton), 0);
	assert_int_equal(baton_socket(baton, 0), -ERANGE);
	assert_int_equal(connect_to("127.0.0.1", 8080), -ECONNREFUSED);
	assert_int_equal(baton_stop_listening(baton), 0);
	assert_int_equal(receive(&receiver), -EAGAIN);

	assert_int_equal(baton_done(baton), 0);
	assert_int_equal(receive(&receiver), 0);
	assert_true(receiver.message.stopping);
	assert_string_equal(receiver.message.status, "done");
	baton_close(baton);
	receiver_close(&receiver);
}

static void test_libbaton_status_is_one_line_of_whole_characters(void **data)
{
	struct receiver receiver = receiver_open();
	struct baton *baton = open_on("127.0.0.1:8080");
	char text[300];

	(void)data;
	assert_int_equal(baton_status(baton, "a\nREADY=1\r\x7f"), 0);
	assert_int_equal(receive(&receiver), 0);
	assert_false(receiver.message.ready);
	assert_string_equal(receiver.message.status, "a READY=1  ");

	memset(text, 'x', sizeof(text));
	strcpy(text + 253, "\xe2\x82\xac and more"); /* a character of three bytes */
	assert_int_equal(baton_status(baton, text), 0);
	assert_int_equal(receive(&receiver), 0);
	assert_int_equal(strlen(receiver.message.status), 253);
	strcpy(text + 252, "\xe2\x82\xac and more");
	assert_int_equal(baton_status(baton, text), 0);
	assert_int_equal(receive(&receiver), 0);
	assert_int_equal(strlen(receiver.message.status), 255);
	assert_int_equal(baton_status(baton, NULL), -EINVAL);
	baton_close(baton);
	receiver_close(&receiver);
}

static void test_libbaton_left_is_told_seldom_but_zero_always(void **data)
{
	struct receiver receiver = receiver_open();
	struct baton *baton = open_on("127.0.0.1:8080");
	int told = 0;

	(void)data;
	for (unsigned long n = 2000; n > 0; n--) {
		assert_int_equal(baton_left(baton, n), 0);
		if (receive(&receiver) == 0 && told++ == 0)
			assert_string_equal(receiver.message.status, "2000 connections left");
	}
	/* Ten a second; 2000 calls take far less than 10 seconds even with sanitizers. */
	assert_in_range(told, 1, 100);
	assert_int_equal(baton_left(baton, 0), 0);
	assert_int_equal(receive(&receiver), 0);
	assert_string_equal(receiver.message.status, "0 connections left");
	poll(NULL, 0, 110);
	assert_int_equal(baton_left(baton, 1), 0);
	assert_int_equal(receive(&receiver), 0);
	assert_string_equal(receiver.message.status, "1 connection left");
	baton_close(baton);
	receiver_close(&receiver);
}

static void test_libbaton_tells_by_a_path_as_well(void **data)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char folder[] = "/tmp/test_libbaton.XXXXXX", text[64] = "";
	struct baton *baton;

	(void)data;
	assert_non_null(mkdtemp(folder));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", folder);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	baton = open_on("127.0.0.1:8080");
	assert_int_equal(baton_ready(baton), 0);
	assert_int_equal(recv(fd, text, sizeof(text), MSG_DONTWAIT), 7);
	assert_string_equal(text, "READY=1");
	close(fd);
	assert_int_equal(baton_ready(baton), -ECONNREFUSED);
	unlink(address.sun_path);
	assert_int_equal(baton_ready(baton), -ENOENT);
	rmdir(folder);
	baton_close(baton);
}

static void test_libbaton_tells_nobody_without_complaint(void **data)
{
	static const struct {
		const char *socket;
		int answer;
	} cases[] = {{NULL, 0},
		     {"", 0},
		     {"vsock:2:1234", -EAFNOSUPPORT},
		     {"@", -EAFNOSUPPORT},
		     {"run/notify", -EAFNOSUPPORT},
		     {"@baton/nobody-is-there", -ECONNREFUSED},
		     {"/0123456789/0123456789/0123456789/0123456789/0123456789/0123456789/012345678"
		      "9/0123456789/0123456789/0123456789/",
		      -ENAMETOOLONG}};

	(void)data;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct baton *baton;

		if (cases[i].socket)
			setenv("NOTIFY_SOCKET", cases[i].socket, 1);
		baton = open_on("127.0.0.1:8080"); /* which does not fail */
		assert_int_equal(baton_ready(baton), cases[i].answer);
		assert_int_equal(baton_status(baton, "x"), cases[i].answer);
		assert_int_equal(baton_done(baton), cases[i].answer);
		baton_close(baton);
	}
}

static void test_libbaton_a_receiver_that_is_behind_stops_nobody(void **data)
{
	struct receiver receiver = receiver_open();
	struct baton *baton = open_on("127.0.0.1:8080");
	int r = 0, n = 0;

	(void)data;
	/* net.unix.max_dgram_qlen and the sender's buffer end this. */
	for (; n < 100000 && r == 0; n++)
		r = baton_status(baton, "still here");
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(baton_ready(baton), -EAGAIN); /* after 2 s */
	assert_int_equal(receive(&receiver), 0);
	assert_int_equal(baton_ready(baton), 0);
	baton_close(baton);
	receiver_close(&receiver);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_libbaton_tells_the_agent_everything),
		TEST(test_libbaton_status_is_one_line_of_whole_characters),
		TEST(test_libbaton_left_is_told_seldom_but_zero_always),
		TEST(test_libbaton_tells_by_a_path_as_well),
		TEST(test_libbaton_tells_nobody_without_complaint),
		TEST(test_libbaton_a_receiver_that_is_behind_stops_nobody),
	};
	const char *reason;

	reason = netns_enter();
	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
