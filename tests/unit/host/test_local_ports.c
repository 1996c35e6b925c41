/* SPDX-License-Identifier: BSD-2-Clause */
/* In a network namespace of its own, whose ports and settings are the test's. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "common/cleanup.h"
#include "orchestrator/host/local_ports.h"
#include "tests/unit/fakes/netns.h"

static struct local_ports ports;
static struct local_ports_range range;
static struct error err;

static void set(const char *name, const char *value)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, value, strlen(value)), (ssize_t)strlen(value));
	close(fd);
}

static int set_up(void **state)
{
	(void)state;
	ports = (struct local_ports){0};
	set("ip_local_reserved_ports", "\n");
	set("ip_local_port_range", "32768 60999");
	return 0;
}

static void take(uint16_t n)
{
	if (local_ports_take(&ports, n, &range, &err) < 0)
		fail_msg("%s", err.text);
	assert_in_range(range.n, 1, n);
}

/* A socket on @port of the loopback address. */
static int occupy(uint16_t port, bool listening)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	if (listening)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void test_local_ports_are_not_the_kernels_own(void **state)
{
	(void)state;
	for (int k = 0; k < 1000; k++) {
		take(8);
		assert_int_equal(range.n, 8);
		assert_in_range(range.first, 61000, 65536 - 8);
		local_ports_give(&ports, &range);
	}
}

static void test_local_ports_of_several_are_disjoint(void **state)
{
	static uint8_t seen[65536];

	(void)state;
	memset(seen, 0, sizeof(seen));
	for (int k = 0; k < 200; k++) {
		take(16);
		for (uint32_t p = range.first; p < (uint32_t)range.first + range.n; p++)
			assert_int_equal(seen[p]++, 0);
	}
}

static void test_local_ports_rest_before_they_are_taken_again(void **state)
{
	uint16_t first;

	(void)state;
	take(8);
	first = range.first;
	for (int k = 0; k < 100; k++) {
		local_ports_give(&ports, &range);
		take(8);
		assert_int_not_equal(range.first, first);
	}
}

static void test_local_ports_in_use_are_left_out(void **state)
{
	int fd;

	(void)state;
	set("ip_local_port_range", "1024 65535");
	set("ip_local_reserved_ports", "5000-5011,7000");
	fd = occupy(5004, true);
	for (int k = 0; k < 20; k++) {
		take(16);
		assert_true(range.first != 5004 && (range.first > 5004 || range.n <= 4));
		local_ports_give(&ports, &range);
	}
	close(fd);
}

/* A client that has closed first: its port cannot be bound for a minute. */
static void test_local_ports_in_time_wait_are_left_out(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(900),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = occupy(900, true), client = occupy(5001, false), server;

	(void)state;
	set("ip_local_port_range", "1024 65535");
	set("ip_local_reserved_ports", "5000-5002");
	assert_int_equal(connect(client, (struct sockaddr *)&in, sizeof(in)), 0);
	server = accept(listener, NULL, NULL);
	assert_true(server >= 0);
	close(client);
	close(server);
	take(3);
	assert_int_equal(range.n, 1);
	assert_int_not_equal(range.first, 5001);
	close(listener);
}

static void test_local_ports_below_are_taken_if_few_are_above(void **state)
{
	(void)state;
	set("ip_local_port_range", "10000 65500");
	for (int k = 0; k < 300; k++) {
		take(16);
		assert_true(range.first < 10000 || range.first > 65500);
		assert_true((uint32_t)range.first + range.n <= 65536);
		local_ports_give(&ports, &range);
	}
}

static void test_local_ports_none_are_left(void **state)
{
	(void)state;
	set("ip_local_port_range", "1024 65535");
	assert_int_equal(local_ports_take(&ports, 8, &range, &err), -EADDRNOTAVAIL);
	assert_string_equal(
		err.text, "no local port is free outside of net.ipv4.ip_local_port_range (1024 to "
			  "65535): make that range shorter, or reserve some ports of it in "
			  "net.ipv4.ip_local_reserved_ports");
	assert_int_equal(range.n, 0);
	local_ports_give(&ports, &range);
}

static void test_local_ports_without_descriptors_is_the_hosts_trouble(void **state)
{
	struct rlimit limit, none;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(local_ports_take(&ports, 8, &range, &err), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_local_ports_are_not_the_kernels_own, set_up),
		cmocka_unit_test_setup(test_local_ports_of_several_are_disjoint, set_up),
		cmocka_unit_test_setup(test_local_ports_rest_before_they_are_taken_again, set_up),
		cmocka_unit_test_setup(test_local_ports_in_use_are_left_out, set_up),
		cmocka_unit_test_setup(test_local_ports_in_time_wait_are_left_out, set_up),
		cmocka_unit_test_setup(test_local_ports_below_are_taken_if_few_are_above, set_up),
		cmocka_unit_test_setup(test_local_ports_none_are_left, set_up),
		cmocka_unit_test_setup(test_local_ports_without_descriptors_is_the_hosts_trouble,
				       set_up),
	};
	const char *why = netns_enter();

	if (why) {
		printf("%s\n", why);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
