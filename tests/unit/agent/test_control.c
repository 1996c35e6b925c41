/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/control.h"
#include "common/clock.h"

#define ORDERS_MAX 16
#define NOBODY     65534

struct fixture {
	char folder[64];
	struct sockaddr_un address;
	sd_event *event;
	struct control *control;
	int attached[2];
	size_t n_attached;
	size_t n_connected;
	size_t n_missed;
	struct order orders[ORDERS_MAX];
	size_t n_orders;
};

static void on_hello(struct report *ret, int fds[static PROTOCOL_FDS_MAX], size_t *ret_n,
		     void *userdata)
{
	struct fixture *fixture = userdata;

	strcpy(ret->service, "web");
	ret->generation = 3;
	ret->agent_pid = getpid();
	ret->state = AGENT_RUNNING;
	ret->n_sockets = *ret_n = fixture->n_attached;
	for (size_t i = 0; i < fixture->n_attached; i++) {
		fds[i] = fixture->attached[i];
		ret->sockets[i].cookie = i;
		strcpy(ret->sockets[i].address, "127.0.0.1:80");
	}
}

static void on_connected(void *userdata)
{
	((struct fixture *)userdata)->n_connected++;
}

static void on_sockets_missed(void *userdata)
{
	((struct fixture *)userdata)->n_missed++;
}

static void on_order(const struct order *order, void *userdata)
{
	struct fixture *fixture = userdata;

	assert_true(fixture->n_orders < ORDERS_MAX);
	fixture->orders[fixture->n_orders++] = *order;
}

static int setup(void **data)
{
	static const struct control_handlers handlers = {
		.on_hello = on_hello,
		.on_connected = on_connected,
		.on_sockets_missed = on_sockets_missed,
		.on_order = on_order,
	};
	static struct fixture fixture;
	struct error err;
	int fd;

	memset(&fixture, 0, sizeof(fixture));
	strcpy(fixture.folder, "/tmp/test_control.XXXXXX");
	if (!mkdtemp(fixture.folder) || chmod(fixture.folder, 0755) < 0)
		return -1;
	fixture.address.sun_family = AF_UNIX;
	snprintf(fixture.address.sun_path, sizeof(fixture.address.sun_path), "%s/sock",
		 fixture.folder);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&fixture.address, sizeof(fixture.address)) < 0 ||
	    chmod(fixture.address.sun_path, 0666) < 0 || listen(fd, 5) < 0)
		return -1;
	fixture.attached[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fixture.attached[1] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	*data = &fixture;
	if (sd_event_new(&fixture.event) < 0)
		return -1;
	return control_new(fixture.event, fd, &handlers, &fixture, &fixture.control, &err);
}

static int teardown(void **data)
{
	struct fixture *fixture = *data;

	control_free(fixture->control);
	sd_event_unref(fixture->event);
	close(fixture->attached[0]);
	close(fixture->attached[1]);
	(void)unlink(fixture->address.sun_path);
	return rmdir(fixture->folder);
}

/* Handle all that has happened. */
static void turn(struct fixture *fixture)
{
	for (int i = 0; i < 1000; i++)
		if (sd_event_run(fixture->event, 0) == 0)
			return;
	fail_msg("the event loop is busy for ever");
}

static int open_connection(struct fixture *fixture)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_int_equal(
		connect(fd, (struct sockaddr *)&fixture->address, sizeof(fixture->address)), 0);
	turn(fixture);
	return fd;
}

/* The next report; its descriptors are closed after they have been counted. */
static int next_report(int fd, struct report *ret, size_t *ret_n_fds)
{
	char text[PROTOCOL_MESSAGE_MAX + 1];
	int fds[PROTOCOL_FDS_MAX];
	struct error err;
	size_t length;
	int r;

	r = message_receive(fd, text, sizeof(text), &length, fds, PROTOCOL_FDS_MAX, ret_n_fds);
	if (r < 0)
		return r;
	if (length == 0)
		return -ENOTCONN;
	for (size_t i = 0; i < *ret_n_fds; i++) {
		struct stat got, expected;

		assert_int_equal(fstat(fds[i], &got), 0);
		assert_int_equal(stat(i == 0 ? "/dev/null" : "/dev/zero", &expected), 0);
		assert_true(got.st_rdev == expected.st_rdev);
		close(fds[i]);
	}
	return report_decode(text, length, ret, &err);
}

static void check_hello(int fd, size_t n_expected)
{
	struct report report;
	size_t n_fds;

	assert_int_equal(next_report(fd, &report, &n_fds), 0);
	assert_int_equal(report.type, REPORT_HELLO);
	assert_int_equal(report.version, PROTOCOL_OLDEST);
	assert_int_equal(report.newest, PROTOCOL_VERSION);
	assert_string_equal(report.service, "web");
	assert_int_equal(report.n_sockets, n_expected);
	assert_int_equal(n_fds, n_expected);
}

static void send_text(struct fixture *fixture, int fd, const char *text)
{
	assert_int_equal(message_send(fd, text, strlen(text), NULL, 0), 0);
	turn(fixture);
}

static const char steady[] = "{\"type\": \"steady\", \"on\": true}";

static void test_control_connection_is_greeted_with_sockets(void **data)
{
	struct fixture *fixture = *data;
	int fd;

	fixture->n_attached = 2;
	assert_false(control_connected(fixture->control));
	fd = open_connection(fixture);
	check_hello(fd, 2);
	assert_true(control_connected(fixture->control));
	assert_int_equal(fixture->n_connected, 1);
	close(fd);
	turn(fixture);
	assert_false(control_connected(fixture->control));
	fixture->n_attached = 0;
	fd = open_connection(fixture);
	check_hello(fd, 0);
	close(fd);
}

static void test_control_newer_connection_replaces_older(void **data)
{
	struct fixture *fixture = *data;
	struct report report;
	size_t n_fds;
	int older = open_connection(fixture), newer = open_connection(fixture);

	check_hello(older, 0);
	check_hello(newer, 0);
	assert_int_equal(next_report(older, &report, &n_fds), -ENOTCONN);
	send_text(fixture, newer, steady);
	assert_int_equal(fixture->n_orders, 1);
	report = (struct report){.type = REPORT_STARTED, .pid = 4711};
	control_send(fixture->control, &report);
	assert_int_equal(next_report(newer, &report, &n_fds), 0);
	assert_int_equal(report.type, REPORT_STARTED);
	assert_int_equal(report.pid, 4711);
	close(older);
	close(newer);
}

static void test_control_orders_are_decoded(void **data)
{
	struct fixture *fixture = *data;
	int fd = open_connection(fixture);

	send_text(fixture, fd, steady);
	send_text(fixture, fd, "{\"type\": \"leave\", \"signal\": 3, \"timeout_ms\": 1500}");
	send_text(fixture, fd, "{\"type\": \"stop\", \"signal\": 0, \"timeout_ms\": 0}");
	send_text(fixture, fd, "{\"type\": \"release\", \"serial\": 9}");
	assert_int_equal(fixture->n_orders, 4);
	assert_int_equal(fixture->orders[3].type, ORDER_RELEASE);
	assert_int_equal(fixture->orders[3].serial, 9);
	assert_int_equal(fixture->orders[0].type, ORDER_STEADY);
	assert_true(fixture->orders[0].on);
	assert_int_equal(fixture->orders[1].type, ORDER_LEAVE);
	assert_int_equal(fixture->orders[1].signal, 3);
	assert_int_equal(fixture->orders[1].timeout_ms, 1500);
	assert_int_equal(fixture->orders[2].type, ORDER_STOP);
	close(fd);
}

/* Until the daemon has answered, and if it is one of version 1, the oldest is spoken. */
static void test_control_version_is_the_one_that_the_daemon_takes(void **data)
{
	struct fixture *fixture = *data;
	char taken[64];
	int fd;

	assert_int_equal(control_version(fixture->control), 0);
	fd = open_connection(fixture);
	check_hello(fd, 0);
	assert_int_equal(control_version(fixture->control), PROTOCOL_OLDEST);
	snprintf(taken, sizeof(taken), "{\"type\": \"version\", \"version\": %d}",
		 PROTOCOL_VERSION);
	send_text(fixture, fd, taken);
	assert_int_equal(control_version(fixture->control), PROTOCOL_VERSION);
	/* One that it does not speak changes nothing, and ends nothing. */
	snprintf(taken, sizeof(taken), "{\"type\": \"version\", \"version\": %d}",
		 PROTOCOL_VERSION + 1);
	send_text(fixture, fd, taken);
	assert_int_equal(control_version(fixture->control), PROTOCOL_VERSION);
	assert_true(control_connected(fixture->control));
	assert_int_equal(fixture->n_orders, 0);
	/* The next daemon may be another one. */
	close(fd);
	fd = open_connection(fixture);
	check_hello(fd, 0);
	assert_int_equal(control_version(fixture->control), PROTOCOL_OLDEST);
	close(fd);
}

static void test_control_bad_orders_are_ignored(void **data)
{
	static const char *const bad[] = {
		"x",
		"{}",
		"[]",
		"{\"type\": \"dance\"}",
		"{\"type\": \"leave\"}",
		"{\"type\": \"leave\", \"signal\": 3000, \"timeout_ms\": 1}",
		"{\"type\": \"steady\", \"on\": 1}",
	};
	struct fixture *fixture = *data;
	char *large = malloc(PROTOCOL_MESSAGE_MAX + 10);
	int fd = open_connection(fixture);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		send_text(fixture, fd, bad[i]);
	assert_non_null(large);
	memset(large, ' ', PROTOCOL_MESSAGE_MAX + 9);
	large[PROTOCOL_MESSAGE_MAX + 9] = '\0';
	send_text(fixture, fd, large);
	free(large);
	/* One that brings a descriptor along. */
	assert_int_equal(message_send(fd, steady, sizeof(steady) - 1, &fixture->attached[0], 1), 0);
	turn(fixture);
	assert_int_equal(fixture->n_orders, 0);
	assert_true(control_connected(fixture->control));
	send_text(fixture, fd, steady);
	assert_int_equal(fixture->n_orders, 1);
	close(fd);
}

static void *no_malloc(size_t size)
{
	(void)size;
	errno = ENOMEM;
	return NULL;
}

static void run_until_orders(struct fixture *fixture, size_t n)
{
	uint64_t end_ms = clock_monotonic_ms() + 10000;

	while (fixture->n_orders < n) {
		assert_true(clock_monotonic_ms() < end_ms);
		assert_true(sd_event_run(fixture->event, 1000000) >= 0);
	}
}

static void test_control_order_that_finds_no_memory_is_carried_out_later(void **data)
{
	static const char stop[] = "{\"type\": \"stop\", \"signal\": 0, \"timeout_ms\": 0}";
	struct fixture *fixture = *data;
	int fd = open_connection(fixture);

	json_set_alloc_funcs(no_malloc, free);
	send_text(fixture, fd, steady);
	send_text(fixture, fd, stop);
	json_set_alloc_funcs(malloc, free);
	assert_int_equal(fixture->n_orders, 0);
	run_until_orders(fixture, 2);
	assert_int_equal(fixture->orders[0].type, ORDER_STEADY);
	assert_int_equal(fixture->orders[1].type, ORDER_STOP);
	/* What waits when the connection ends is nobody's order any more. */
	json_set_alloc_funcs(no_malloc, free);
	send_text(fixture, fd, steady);
	json_set_alloc_funcs(malloc, free);
	close(fd);
	fd = open_connection(fixture);
	send_text(fixture, fd, stop);
	run_until_orders(fixture, 3);
	assert_int_equal(fixture->orders[2].type, ORDER_STOP);
	close(fd);
}

/* turn() fails if the loop is busy. */
static void test_control_connection_without_a_descriptor_is_taken_later(void **data)
{
	struct fixture *fixture = *data;
	uint64_t end_ms = clock_monotonic_ms() + 10000;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), next = dup(fd);
	struct rlimit before, none;

	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(
		connect(fd, (struct sockaddr *)&fixture->address, sizeof(fixture->address)), 0);
	turn(fixture);
	assert_false(control_connected(fixture->control));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	while (!control_connected(fixture->control)) {
		assert_true(clock_monotonic_ms() < end_ms);
		assert_true(sd_event_run(fixture->event, 1000000) >= 0);
	}
	check_hello(fd, 0);
	close(fd);
}

/* Is the other end of a pipe still open? */
static bool is_kept(int end)
{
	struct pollfd closed = {.fd = end};

	assert_true(poll(&closed, 1, 0) >= 0);
	return !(closed.revents & POLLERR);
}

static void give(struct fixture *fixture, int fd, int *ret_end)
{
	static const char order[] = "{\"type\": \"keep\"}";
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(message_send(fd, order, sizeof(order) - 1, &ends[0], 1), 0);
	close(ends[0]);
	*ret_end = ends[1];
	turn(fixture);
}

static void test_control_keeps_what_it_was_given_last(void **data)
{
	struct fixture *fixture = *data;
	int fd = open_connection(fixture), first, second;

	give(fixture, fd, &first);
	assert_int_equal(control_kept(fixture->control), 1);
	/* It outlives the daemon. */
	close(fd);
	turn(fixture);
	assert_true(is_kept(first));
	fd = open_connection(fixture);
	give(fixture, fd, &second);
	assert_false(is_kept(first));
	assert_true(is_kept(second));
	send_text(fixture, fd, "{\"type\": \"keep\"}");
	assert_false(is_kept(second));
	assert_int_equal(control_kept(fixture->control), 0);
	assert_int_equal(fixture->n_orders, 0);
	close(first);
	close(second);
	close(fd);
}

static void test_control_send_with_descriptors_leaves_them_to_the_sender(void **data)
{
	struct fixture *fixture = *data;
	struct report report = {.type = REPORT_SOCKETS, .n_sockets = 2};
	int fd = open_connection(fixture);
	size_t n_fds;

	check_hello(fd, 0);
	for (size_t i = 0; i < 2; i++)
		strcpy(report.sockets[i].address, ":80");
	control_send_with(fixture->control, &report, fixture->attached, 2);
	assert_int_equal(next_report(fd, &report, &n_fds), 0);
	assert_int_equal(report.type, REPORT_SOCKETS);
	assert_int_equal(n_fds, 2);
	for (size_t i = 0; i < 2; i++)
		assert_true(fcntl(fixture->attached[i], F_GETFD) >= 0);
	close(fd);
	turn(fixture);
	control_send_with(fixture->control, &report, fixture->attached, 2);
}

static void test_control_send_to_nobody_is_harmless(void **data)
{
	struct fixture *fixture = *data;
	struct report report = {.type = REPORT_LEFT};
	int fd;

	control_send(fixture->control, &report);
	fd = open_connection(fixture);
	close(fd);
	/* Gone, but not noticed yet. */
	control_send(fixture->control, &report);
	turn(fixture);
	assert_false(control_connected(fixture->control));
	/* And nothing was kept for the next one. */
	fd = open_connection(fixture);
	check_hello(fd, 0);
	assert_int_equal(next_report(fd, &report, &(size_t){0}), -EAGAIN);
	close(fd);
}

/* How many reports like this one a connection has room for. */
static int room_for(const struct report *report)
{
	cleanup_free char *text = NULL;
	int pair[2], n = 0;
	size_t length;

	assert_int_equal(report_encode(report, &text, &length), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &(int){1024 * 1024}, sizeof(int));
	while (message_send(pair[0], text, length, NULL, 0) == 0)
		n++;
	close(pair[0]);
	close(pair[1]);
	return n;
}

/* Send reports until @more are more than the peer has room for. Returns how many. */
static int fill(struct fixture *fixture, struct report *report, int more)
{
	int n = 0, all;

	memset(report->tail, 'x', sizeof(report->tail) - 1);
	report->restart_ms = 1000000;
	all = room_for(report) + more;
	for (; n < all; n++) {
		report->restart_ms = 1000000 + (uint32_t)n;
		control_send(fixture->control, report);
	}
	return n;
}

/* The order in which they were sent is kept. */
static void test_control_peer_that_does_not_read_gets_it_later(void **data)
{
	struct fixture *fixture = *data;
	struct report report = {.type = REPORT_EXITED, .restarting = true};
	int fd = open_connection(fixture), n;
	size_t n_fds;

	check_hello(fd, 0);
	n = fill(fixture, &report, CONTROL_WAITING_MAX);
	for (int k = 0; k < n; k++) {
		int r = next_report(fd, &report, &n_fds);

		for (int tries = 0; r == -EAGAIN && tries < 10; tries++) {
			turn(fixture);
			r = next_report(fd, &report, &n_fds);
		}
		assert_int_equal(r, 0);
		assert_int_equal(report.restart_ms, 1000000 + k);
	}
	assert_true(control_connected(fixture->control));
	/* With nothing to write the loop has nothing to do. */
	assert_int_equal(sd_event_run(fixture->event, 0), 0);
	close(fd);
}

/* Of notifications and sets the last one is enough; too much of anything else is dropped. */
static void test_control_latest_wins(void **data)
{
	struct report report = {.type = REPORT_EXITED, .restarting = true}, said = {0};
	struct report sockets = {.type = REPORT_SOCKETS}, notify = {.type = REPORT_NOTIFY};
	struct fixture *fixture = *data;
	int fd = open_connection(fixture), n;
	size_t n_fds, notes = 0, exits = 0;

	check_hello(fd, 0);
	n = fill(fixture, &report, 3 * CONTROL_WAITING_MAX);
	for (int k = 0; k < 1000; k++) {
		notify.ready = k == 999;
		control_send(fixture->control, &notify);
		control_send_with(fixture->control, &sockets, NULL, 0);
	}
	assert_int_equal(fixture->n_missed, 0);
	for (int quiet = 0; quiet < 3;) {
		int r = next_report(fd, &report, &n_fds);

		if (r == -EAGAIN) {
			turn(fixture);
			quiet++;
			continue;
		}
		assert_int_equal(r, 0);
		said = report;
		notes += report.type == REPORT_NOTIFY;
		exits += report.type == REPORT_EXITED;
	}
	assert_int_equal(notes, 1);
	assert_int_equal(said.type, REPORT_NOTIFY);
	assert_true(said.ready);
	assert_in_range(exits, CONTROL_WAITING_MAX, n - CONTROL_WAITING_MAX);
	/* The sender makes a new set. */
	assert_int_equal(fixture->n_missed, 1);
	close(fd);
}

static void test_control_next_peer_gets_nothing_of_what_waited(void **data)
{
	struct fixture *fixture = *data;
	struct report report = {.type = REPORT_EXITED};
	int fd = open_connection(fixture);

	check_hello(fd, 0);
	fill(fixture, &report, 2);
	close(fd);
	fd = open_connection(fixture);
	check_hello(fd, 0);
	turn(fixture);
	assert_int_equal(next_report(fd, &report, &(size_t){0}), -EAGAIN);
	assert_int_equal(fixture->n_missed, 0);
	close(fd);
}

static void *read_slowly(void *data)
{
	int fd = *(int *)data, n = 0;
	struct report report;
	size_t n_fds;

	for (int r = 0; r == 0 || r == -EAGAIN; n += r == 0) {
		if (r == -EAGAIN)
			usleep(1000);
		r = next_report(fd, &report, &n_fds);
		if (r == 0 && report.type == REPORT_STOPPED)
			return data;
	}
	return NULL;
}

/* The last report is not lost: the agent ends after it. */
static void test_control_flush_waits_for_the_peer(void **data)
{
	struct report report = {.type = REPORT_EXITED}, last = {.type = REPORT_STOPPED};
	struct fixture *fixture = *data;
	int fd = open_connection(fixture);
	void *got = NULL;
	pthread_t reader;

	check_hello(fd, 0);
	fill(fixture, &report, 2);
	control_send(fixture->control, &last);
	/* Bounded. */
	control_flush(fixture->control, 1);
	assert_int_equal(pthread_create(&reader, NULL, read_slowly, &fd), 0);
	control_flush(fixture->control, 60000);
	control_free(fixture->control);
	fixture->control = NULL;
	assert_int_equal(pthread_join(reader, &got), 0);
	assert_ptr_equal(got, &fd);
	close(fd);
}

static void test_control_last_report_arrives_although_orders_are_unread(void **data)
{
	struct fixture *fixture = *data;
	struct report report = {.type = REPORT_STOPPED};
	int fd = open_connection(fixture);
	size_t n_fds;

	check_hello(fd, 0);
	assert_int_equal(message_send(fd, steady, sizeof(steady) - 1, NULL, 0), 0);
	control_send(fixture->control, &report);
	control_free(fixture->control);
	fixture->control = NULL;
	assert_int_equal(next_report(fd, &report, &n_fds), 0);
	assert_int_equal(report.type, REPORT_STOPPED);
	assert_int_equal(next_report(fd, &report, &n_fds), -ENOTCONN);
	close(fd);
}

static void test_control_unlink_removes_the_path(void **data)
{
	struct fixture *fixture = *data;

	assert_int_equal(access(fixture->address.sun_path, F_OK), 0);
	control_unlink(fixture->control);
	assert_int_equal(access(fixture->address.sun_path, F_OK), -1);
	control_unlink(fixture->control);
}

static void test_control_other_users_are_refused(void **data)
{
	struct fixture *fixture = *data;
	int fd, status;
	pid_t pid;

	if (geteuid() != 0) {
		print_message("skipped: needs root (to become somebody else)\n");
		skip();
	}
	fd = open_connection(fixture);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int other = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		char byte;

		if (setresuid(NOBODY, NOBODY, NOBODY) < 0 ||
		    connect(other, (struct sockaddr *)&fixture->address, sizeof(fixture->address)) <
			    0)
			_exit(1);
		/* Nothing but the end. */
		_exit(recv(other, &byte, 1, 0) == 0 ? 0 : 2);
	}
	while (waitpid(pid, &status, WNOHANG) == 0)
		(void)sd_event_run(fixture->event, 10000);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	/* And the one that was there is still served. */
	check_hello(fd, 0);
	send_text(fixture, fd, steady);
	assert_int_equal(fixture->n_orders, 1);
	close(fd);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_control_connection_is_greeted_with_sockets),
		TEST(test_control_newer_connection_replaces_older),
		TEST(test_control_orders_are_decoded),
		TEST(test_control_version_is_the_one_that_the_daemon_takes),
		TEST(test_control_bad_orders_are_ignored),
		TEST(test_control_order_that_finds_no_memory_is_carried_out_later),
		TEST(test_control_connection_without_a_descriptor_is_taken_later),
		TEST(test_control_keeps_what_it_was_given_last),
		TEST(test_control_send_with_descriptors_leaves_them_to_the_sender),
		TEST(test_control_send_to_nobody_is_harmless),
		TEST(test_control_peer_that_does_not_read_gets_it_later),
		TEST(test_control_latest_wins),
		TEST(test_control_next_peer_gets_nothing_of_what_waited),
		TEST(test_control_flush_waits_for_the_peer),
		TEST(test_control_last_report_arrives_although_orders_are_unread),
		TEST(test_control_unlink_removes_the_path),
		TEST(test_control_other_users_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
