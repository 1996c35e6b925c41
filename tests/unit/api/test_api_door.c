/* SPDX-License-Identifier: BSD-2-Clause */
/* Time that is over, clients that are gone, and descriptors that are not there. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>

#include "tests/unit/api/api_fixture.h"

/* ---- the clock: what happens while it is set back happened that long ago ----------------------
 */

static uint64_t back_ms;

static uint64_t read_ms(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t clock_monotonic_ms(void)
{
	return read_ms(CLOCK_MONOTONIC) - back_ms;
}

uint64_t clock_realtime_ms(void)
{
	return read_ms(CLOCK_REALTIME);
}

static int setup_clock(void **state)
{
	back_ms = 0;
	return setup(state);
}

/* ---- time ----------------------------------------------------------------------------------- */

static struct client *client_some_time_ago(uint64_t ms, const char *text)
{
	struct client *client = client_new();

	back_ms = ms;
	if (text)
		assert_int_equal(send(client->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	for (int i = 0; i < 10; i++)
		assert_true(sd_event_run(event, 1000) >= 0);
	back_ms = 0;
	return client;
}

static void test_api_door_request_that_never_comes_as_a_whole_is_408(void **state)
{
	static const char *const parts[] = {
		NULL, "GET /v1/serv", "GET / HTTP/1.1\r\nHost: x\r\n",
		"POST /v1/services/web/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"};

	(void)state;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		struct client *client = client_some_time_ago(API_REQUEST_MS - 50, parts[i]);

		client_expect(client, "HTTP/1.1 408 ");
		client_expect(client, "the request has not come as a whole within 10 s");
		client_expect(client, NULL);
		client_free(client);
	}
	assert_int_equal(seen.orders, 0);
}

/* Each byte makes it no younger. */
static void test_api_door_request_that_trickles_is_408(void **state)
{
	struct client *client = client_some_time_ago(API_REQUEST_MS - 100, "GET /");
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	(void)state;
	while (!client->ended && clock_monotonic_ms() < end) {
		(void)!send(client->fd, "x", 1, MSG_NOSIGNAL);
		turn();
		client_receive(client);
	}
	assert_non_null(strstr(client->input, "HTTP/1.1 408 "));
	client_free(client);
}

static void test_api_door_idle_connection_ends_without_a_word(void **state)
{
	static const char request[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
	struct client *client = client_some_time_ago(API_IDLE_MS - 50, request);
	struct client *younger = client_some_time_ago(API_REQUEST_MS, request);

	(void)state;
	client_expect(client, NULL);
	assert_non_null(strstr(client->input, "ok\n"));
	assert_null(strstr(client->input, "408"));
	client_expect(younger, "ok\n");
	assert_false(younger->ended);
	client_free(client);
	client_free(younger);
}

static void test_api_door_answer_that_nobody_takes_is_cut(void **state)
{
	struct client *client;

	(void)state;
	seen.made = 30000;
	client = client_some_time_ago(API_ANSWER_MS - 300,
				      "GET /v1/services/web/connections?limit=100000 HTTP/1.1\r\n"
				      "Host: x\r\n\r\n");
	/* Then there is room for another list. */
	run_for(600);
	client_expect(client, NULL);
	assert_non_null(strstr(client->input, "HTTP/1.1 200"));
	assert_true(client->length < 30000 * 20);
	client_free(client);
}

static void test_api_door_followers_stay(void **state)
{
	struct client *follower = client_some_time_ago(
		100 * 60 * 60 * 1000, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n");

	(void)state;
	run_for(50);
	client_expect(follower, "HTTP/1.1 200");
	events_add(events, 0, "web", "hello", NULL);
	client_expect(follower, "hello");
	run_for(50);
	events_add(events, 0, "web", "again", NULL);
	client_expect(follower, "again");
	assert_false(follower->ended);
	client_free(follower);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

static int unconnected(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	return fd;
}

static struct client *client_on(int fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct client *client = calloc(1, sizeof(*client));

	assert_non_null(client);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	client->fd = fd;
	return client;
}

/* So that no further one can be opened. */
static void use_up_descriptors(struct rlimit *ret_before)
{
	struct rlimit limit;
	int fd;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, ret_before), 0);
	limit = *ret_before;
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* the lowest that is free */
	assert_true(fd >= 0);
	close(fd);
	limit.rlim_cur = (rlim_t)fd;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(open("/dev/null", O_RDONLY | O_CLOEXEC), -1);
	assert_int_equal(errno, EMFILE);
}

static int count_turns(uint64_t ms)
{
	uint64_t end = clock_monotonic_ms() + ms;
	int n = 0;

	for (; clock_monotonic_ms() < end; n++)
		assert_true(sd_event_run(event, 100 * 1000) >= 0);
	return n;
}

static void test_api_door_without_descriptors_comes_back_by_itself(void **state)
{
	int fds[4] = {unconnected(), unconnected(), unconnected(), unconnected()};
	struct client *first, *second, *third;
	struct rlimit before;

	(void)state;
	use_up_descriptors(&before);
	/* The one that was kept lets the owner in. */
	first = client_on(fds[0]);
	client_say(first, "GET /v1/services HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(first, "\"web\"");
	/* The next ones wait, and nothing spins meanwhile. */
	second = client_on(fds[1]);
	third = client_on(fds[2]);
	client_say(second, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(count_turns(600) < 20);
	client_receive(second);
	assert_int_equal(second->length, 0);
	/* One that goes makes room for one, though there is another that waits. */
	client_free(first);
	client_expect(second, "ok\n");
	client_say(second, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	client_say(third, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(third, "ok\n");
	client_free(second);
	client_free(third);
	close(fds[3]);
	run_for(20);
	check_ok("GET", "/healthz", NULL, 200, "ok\n");
}

/* Nothing is looked for while nobody comes. */
static void test_api_door_without_descriptors_and_clients_sleeps(void **state)
{
	struct rlimit before;

	(void)state;
	use_up_descriptors(&before);
	assert_true(sd_event_run(event, 400 * 1000) >= 0);
	assert_int_equal(sd_event_run(event, 400 * 1000), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* ---- clients -------------------------------------------------------------------------------- */

static void test_api_door_clients_that_come_and_go_leave_nothing(void **state)
{
	size_t fds = count_fds();

	(void)state;
	for (int k = 0; k < 5; k++) {
		struct client *clients[API_OWNERS_MAX];

		for (int i = 0; i < API_OWNERS_MAX; i++) {
			clients[i] = client_new();
			if (i % 3)
				client_say(clients[i], i % 3 == 1 ? "GET /"
								  : "GET /healthz HTTP/1.1\r\n"
								    "Host: x\r\n\r\n");
		}
		run_for(10);
		for (int i = 0; i < API_OWNERS_MAX; i++)
			client_free(clients[i]);
		run_for(10);
		assert_int_equal(count_fds(), fds);
	}
	check_ok("GET", "/healthz", NULL, 200, "ok\n");
}

static void test_api_door_clients_can_send_no_descriptors(void **state)
{
	struct client *client = client_new();
	char control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec part = {.iov_base = "G", .iov_len = 1};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	int off;
	socklen_t length = sizeof(off);

	(void)state;
	if (getsockopt(client->fd, SOL_SOCKET, 83 /* SO_PASSRIGHTS */, &off, &length) < 0) {
		client_free(client);
		print_message("skipped: needs Linux 6.16\n");
		skip();
	}
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &(int){0}, sizeof(int));
	turn();
	assert_int_equal(sendmsg(client->fd, &message, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPERM);
	client_free(client);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_clock, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_api_door_request_that_never_comes_as_a_whole_is_408),
		TEST(test_api_door_request_that_trickles_is_408),
		TEST(test_api_door_idle_connection_ends_without_a_word),
		TEST(test_api_door_answer_that_nobody_takes_is_cut),
		TEST(test_api_door_followers_stay),
		TEST(test_api_door_without_descriptors_comes_back_by_itself),
		TEST(test_api_door_without_descriptors_and_clients_sleeps),
		TEST(test_api_door_clients_that_come_and_go_leave_nothing),
		TEST(test_api_door_clients_can_send_no_descriptors),
	};
#undef TEST

	return cmocka_run_group_tests_name("api_door", tests, NULL, NULL);
}
