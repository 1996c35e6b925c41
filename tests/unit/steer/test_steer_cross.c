/* SPDX-License-Identifier: BSD-2-Clause */
/* Two endpoints that compete for connections, on real sockets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <glob.h>
#include <sys/wait.h>

#include "common/message.h"
#include "tests/unit/steer/steer_fixture.h"

#define SPECIFIC "127.0.0.1:8080"

/* An endpoint with a server that has all of its connections. */
struct end {
	struct address address;
	struct steer *steer;
	int fd;
	uint16_t slot;
	char pins[BPFFS_PATH_MAX];
};

static void open_end(struct end *end, const char *text, struct end *beside)
{
	struct steer *list[1] = {beside ? beside->steer : NULL};

	if (missing)
		skip();
	assert_int_equal(address_parse(text, &end->address, &err), 0);
	options.beside = list;
	options.n_beside = beside != NULL;
	options.pin_dir = end->pins[0] ? end->pins : NULL;
	if (steer_open(&end->address, &options, &end->steer, &err) < 0)
		fail_msg("%s", err.text);
	options.n_beside = 0;
}

static void serve(struct end *end)
{
	if (steer_reset(end->steer, &err) < 0 || steer_attach(end->steer, &err) < 0)
		fail_msg("%s", err.text);
	end->fd = listener(&end->address);
	end->slot = join(end->steer, end->fd);
	publish(end->steer, end->slot, -1);
}

static void close_end(struct end *end)
{
	close(end->fd);
	steer_unpin_all(end->steer);
	steer_free(end->steer);
}

static void assert_all_reach(const struct end *end, const struct end *other)
{
	int clients[CONNECTIONS];

	connect_many(clients, CONNECTIONS);
	assert_int_equal(accept_all(end->fd), CONNECTIONS);
	if (other)
		assert_int_equal(accept_all(other->fd), 0);
	close_many(clients, CONNECTIONS);
}

static const char *const wildcards[] = {"0.0.0.0:8080", ":8080"};

static void go_from_to(const char *from, const char *to)
{
	struct end before = {}, after = {};

	open_end(&before, from, NULL);
	serve(&before);
	assert_all_reach(&before, NULL);
	open_end(&after, to, &before);
	assert_all_reach(&before, NULL);
	serve(&after);
	assert_all_reach(&before, &after);
	assert_int_equal(steer_share(before.steer, after.steer, CROSS_ALL), 0);
	assert_all_reach(&after, &before);
	assert_int_equal(steer_share(before.steer, after.steer, 0), 0);
	assert_all_reach(&before, &after);
	assert_int_equal(steer_share(after.steer, before.steer, 0), 0);
	assert_all_reach(&after, &before);
	close_end(&before);
	assert_all_reach(&after, NULL);
	close_end(&after);
	assert_int_equal(try_connect(), -ECONNREFUSED);
}

static void test_steer_cross_goes_to_a_wildcard_and_back(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(wildcards) / sizeof(wildcards[0]); k++) {
		go_from_to(SPECIFIC, wildcards[k]);
		go_from_to(wildcards[k], SPECIFIC);
	}
	go_from_to("0.0.0.0:8080", ":8080");
	go_from_to(":8080", "0.0.0.0:8080");
}

static void
test_steer_cross_between_ipv6_wildcards_that_the_kernel_does_not_tell_apart(void **state)
{
	(void)state;
	assert_int_equal(address_parse("[::1]:8080", &address, &err), 0);
	go_from_to("[::]:8080", ":8080");
	go_from_to(":8080", "[::]:8080");
	go_from_to("[::1]:8080", "[::]:8080");
	go_from_to("[::]:8080", "[::1]:8080");
}

static void test_steer_cross_deals_out_a_share(void **state)
{
	struct end narrow = {}, wide = {};
	int clients[CONNECTIONS];
	size_t n;

	(void)state;
	open_end(&narrow, SPECIFIC, NULL);
	serve(&narrow);
	open_end(&wide, "0.0.0.0:8080", &narrow);
	serve(&wide);
	assert_int_equal(steer_share(narrow.steer, wide.steer, CROSS_ALL / 4), 0);
	connect_many(clients, CONNECTIONS);
	n = accept_all(wide.fd);
	assert_in_range(n, CONNECTIONS / 8, CONNECTIONS / 2);
	assert_int_equal(accept_all(narrow.fd), CONNECTIONS - n);
	close_many(clients, CONNECTIONS);
	close_end(&wide);
	close_end(&narrow);
}

static void assert_pin_reaches(const struct end *end)
{
	struct sockaddr_in source = {.sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(source);
	int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(probe, (struct sockaddr *)&source, sizeof(source)), 0);
	getsockname(probe, (struct sockaddr *)&source, &length);
	assert_int_equal(steer_pin(end->steer, (struct sockaddr *)&source, end->slot), 0);
	assert_int_equal(connect(probe, &address.sa, address.length), 0);
	assert_int_equal(write(probe, "x", 1), 1);
	accept_n(end->fd, 1);
	steer_unpin(end->steer, (struct sockaddr *)&source);
	close(probe);
}

static void test_steer_cross_lets_health_checks_reach_both(void **state)
{
	struct end narrow = {}, wide = {};

	(void)state;
	open_end(&wide, "0.0.0.0:8080", NULL);
	serve(&wide);
	open_end(&narrow, SPECIFIC, &wide);
	serve(&narrow);
	for (uint32_t share = 0; share <= CROSS_ALL; share += CROSS_ALL) {
		assert_int_equal(steer_share(wide.steer, narrow.steer, share), 0);
		assert_pin_reaches(&narrow);
		assert_pin_reaches(&wide);
	}
	close_end(&narrow);
	close_end(&wide);
}

/* ---- daemons that come and go --------------------------------------------------------------- */

static void use_pins_of_both(struct end *a, struct end *b)
{
	if (missing)
		skip();
	if (bpffs_make(pins_name(), "cross", "a", a->pins, &err) < 0 ||
	    bpffs_make(pins_name(), "cross", "b", b->pins, &err) < 0)
		fail_msg("%s", err.text);
}

static size_t count_crossings(const struct end *end)
{
	char pattern[BPFFS_PATH_MAX + 16];
	glob_t found = {};
	size_t n;

	snprintf(pattern, sizeof(pattern), "%s/../cross+*", end->pins);
	glob(pattern, 0, NULL, &found);
	n = found.gl_pathc;
	globfree(&found);
	return n;
}

/*
 * A daemon opens both, has an agent keep its beacon, and is killed. The servers' sockets are this
 * process's, as is what the agent keeps: it is returned.
 */
static int die_between(struct end *before, struct end *after, uint32_t share)
{
	int pair[2], fds[2], status;
	char text[8];
	size_t length, n;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		uint64_t cookie;
		int beacon;

		open_end(before, before->address.text, NULL);
		serve(before);
		open_end(after, after->address.text, before);
		serve(after);
		beacon = steer_beacon(before->steer, &cookie);
		if (beacon < 0)
			beacon = steer_beacon(after->steer, &cookie);
		if (steer_share(before->steer, after->steer, share) < 0 ||
		    message_send(pair[1], "x", 1, (int[]){before->fd, after->fd}, 2) < 0 ||
		    message_send(pair[1], "x", 1, &beacon, 1) < 0)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(message_receive(pair[0], text, sizeof(text), &length, fds, 2, &n), 0);
	assert_int_equal(n, 2);
	before->fd = fds[0];
	after->fd = fds[1];
	assert_int_equal(message_receive(pair[0], text, sizeof(text), &length, fds, 1, &n), 0);
	assert_int_equal(n, 1);
	close(pair[0]);
	close(pair[1]);
	return fds[0];
}

static void take_over(struct end *end, struct end *beside)
{
	char text[ADDRESS_TEXT_MAX];

	memcpy(text, end->address.text, sizeof(text));
	open_end(end, text, beside);
	assert_true(steer_is_taken_over(end->steer));
	end->slot = join(end->steer, end->fd);
}

static void succeed(const char *from, const char *to, uint32_t share)
{
	struct end before = {}, after = {};
	struct end *here = share ? &after : &before, *there = share ? &before : &after;
	int kept;

	use_pins_of_both(&before, &after);
	assert_int_equal(address_parse(from, &before.address, &err), 0);
	assert_int_equal(address_parse(to, &after.address, &err), 0);
	kept = die_between(&before, &after, share);
	assert_all_reach(here, there);
	assert_int_equal(count_crossings(&before), 1);
	take_over(&before, NULL);
	assert_all_reach(here, there);
	take_over(&after, &before);
	assert_all_reach(here, there);
	assert_int_equal(steer_attach(before.steer, &err), 0);
	assert_int_equal(steer_attach(after.steer, &err), 0);
	close(kept);
	assert_all_reach(here, there);
	assert_int_equal(steer_share(before.steer, after.steer, CROSS_ALL - share), 0);
	assert_all_reach(there, here);
	close_end(here);
	assert_int_equal(count_crossings(&before), 0);
	assert_all_reach(there, NULL);
	close_end(there);
}

static void test_steer_cross_goes_on_without_a_daemon_and_is_taken_over(void **state)
{
	(void)state;
	for (uint32_t share = 0; share <= CROSS_ALL; share += CROSS_ALL) {
		succeed(SPECIFIC, "0.0.0.0:8080", share);
		succeed("0.0.0.0:8080", SPECIFIC, share);
	}
}

/* Only one of the two has servers: nothing is to choose any more. */
static void test_steer_cross_that_nobody_needs_any_more_is_tidied_up(void **state)
{
	struct end before = {}, after = {};

	(void)state;
	use_pins_of_both(&before, &after);
	assert_int_equal(address_parse(SPECIFIC, &before.address, &err), 0);
	assert_int_equal(address_parse("0.0.0.0:8080", &after.address, &err), 0);
	close(die_between(&before, &after, CROSS_ALL));
	close(before.fd);
	take_over(&after, NULL);
	assert_int_equal(steer_attach(after.steer, &err), 0);
	assert_int_equal(count_crossings(&after), 1);
	steer_tidy(after.steer);
	assert_int_equal(count_crossings(&after), 0);
	assert_all_reach(&after, NULL);
	close_end(&after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, setup)
		TEST(test_steer_cross_goes_to_a_wildcard_and_back),
		TEST(test_steer_cross_between_ipv6_wildcards_that_the_kernel_does_not_tell_apart),
		TEST(test_steer_cross_deals_out_a_share),
		TEST(test_steer_cross_lets_health_checks_reach_both),
		TEST(test_steer_cross_goes_on_without_a_daemon_and_is_taken_over),
		TEST(test_steer_cross_that_nobody_needs_any_more_is_tidied_up),
	};

	return cmocka_run_group_tests_name("steer_cross", tests, group_setup, group_teardown);
}
