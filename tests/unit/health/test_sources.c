/* SPDX-License-Identifier: BSD-2-Clause */
/* On real sockets, in a network namespace of its own: which connections are still there. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "orchestrator/health/sources.h"
#include "tests/unit/fakes/netns.h"

static const char *missing;
static struct diag *diag;
static struct sources sources;
static struct address address;
static struct error err;
static int listener;

static int group_setup(void **state)
{
	(void)state;
	missing = netns_enter();
	return missing ? 0 : diag_open(&diag, &err);
}

static int group_teardown(void **state)
{
	(void)state;
	diag_free(diag);
	return 0;
}

static void listen_on(const char *text)
{
	int on = 1;

	if (missing)
		skip();
	assert_int_equal(address_parse(text, &address, &err), 0);
	listener = socket(address.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(listener >= 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(listener, &address.sa, address.length), 0);
	assert_int_equal(listen(listener, 256), 0);
}

static void finish(void)
{
	sources_done(&sources);
	assert_int_equal(sources.n, 0);
	close(listener);
}

/* Connect as a check does. */
static int check(struct address *ret_source)
{
	int fd = socket(address.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(ret_source->in6);

	assert_true(fd >= 0);
	*ret_source = address;
	if (address.sa.sa_family == AF_INET)
		ret_source->in.sin_port = 0;
	else
		ret_source->in6.sin6_port = 0;
	assert_int_equal(bind(fd, &ret_source->sa, ret_source->length), 0);
	assert_int_equal(getsockname(fd, &ret_source->sa, &length), 0);
	sources_add(&sources, diag, &address, &ret_source->sa);
	assert_int_equal(connect(fd, &address.sa, address.length), 0);
	return fd;
}

static void give_up(int fd, const struct address *source)
{
	close(fd);
	sources_close(&sources, diag, &address, &source->sa);
}

static uint32_t queued(void)
{
	return sources_queued(&sources, diag, &address);
}

static bool has(const struct address *source, uint64_t cookie)
{
	struct diag_connection connection = {.cookie = cookie};

	memcpy(&connection.peer, &source->sa, source->length);
	return sources_has(&sources, &connection);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_sources_that_wait_are_queued_until_they_are_accepted(void **state)
{
	static const char *const texts[] = {"127.0.0.1:8080", "[::1]:8080"};

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct address source;
		int client, server;

		listen_on(texts[k]);
		assert_int_equal(queued(), 0);
		client = check(&source);
		assert_int_equal(queued(), 1);
		assert_int_equal(sources_waits(diag, &address, &source.sa), 1);
		assert_true(has(&source, 1));
		server = accept(listener, NULL, NULL);
		assert_int_equal(queued(), 0);
		assert_int_equal(sources.n, 1); /* under way */
		assert_int_equal(sources_waits(diag, &address, &source.sa), 0);
		close(server);
		give_up(client, &source);
		assert_int_equal(sources_waits(diag, &address, &source.sa), -ENOENT);
		assert_int_equal(sources.n, 0);
		assert_false(has(&source, 1));
		finish();
	}
}

static void test_sources_of_a_server_that_hangs_stay(void **state)
{
	struct diag_connection connection;
	struct address source[3];
	int client;

	(void)state;
	listen_on("127.0.0.1:8080");
	for (size_t k = 0; k < 3; k++) {
		client = check(&source[k]);
		assert_int_equal(
			diag_connection(diag, &address.sa, &source[k].sa, &connection, &err), 0);
		give_up(client, &source[k]);
		/* Its port may be another client's some day: the cookie tells. */
		assert_true(has(&source[k], connection.cookie));
		assert_false(has(&source[k], connection.cookie + 1));
	}
	assert_int_equal(queued(), 3);
	close(accept(listener, NULL, NULL));
	assert_int_equal(queued(), 2);
	assert_int_equal(sources.n, 2);
	close(listener);
	assert_int_equal(queued(), 0);
	assert_int_equal(sources.n, 0);
	listen_on("127.0.0.1:8081");
	finish();
}

/* A dual-stack server is known by 127.0.0.1, and is asked from ::1 as well. */
static void test_sources_of_both_families_are_seen(void **state)
{
	struct address local, source;
	int client;

	(void)state;
	listen_on("[::1]:8083");
	assert_int_equal(address_parse("127.0.0.1:8083", &local, &err), 0);
	client = check(&source);
	assert_int_equal(sources_queued(&sources, diag, &local), 1);
	close(client);
	sources_close(&sources, diag, &local, &source.sa);
	assert_int_equal(sources_queued(&sources, diag, &local), 1);
	finish();
}

static void test_sources_are_bounded(void **state)
{
	struct address source;

	(void)state;
	listen_on("127.0.0.1:8080");
	for (size_t k = 0; k < SOURCES_MAX + 10; k++) {
		int client = check(&source);

		give_up(client, &source);
	}
	assert_int_equal(sources.n, SOURCES_MAX);
	assert_int_equal(queued(), SOURCES_MAX);
	assert_int_equal(sources.size, SOURCES_MAX);
	finish();
}

/* What the server has closed is forgotten before memory is taken for more. */
static void test_sources_that_have_ended_take_no_memory(void **state)
{
	struct address source;

	(void)state;
	listen_on("127.0.0.1:8080");
	for (size_t k = 0; k < 100; k++) {
		int client = check(&source), server;

		give_up(client, &source);
		server = accept(listener, NULL, NULL);
		close(server);
	}
	assert_in_range(sources.size, 1, 8);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sources_that_wait_are_queued_until_they_are_accepted),
		cmocka_unit_test(test_sources_of_a_server_that_hangs_stay),
		cmocka_unit_test(test_sources_of_both_families_are_seen),
		cmocka_unit_test(test_sources_are_bounded),
		cmocka_unit_test(test_sources_that_have_ended_take_no_memory),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
