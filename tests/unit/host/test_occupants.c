/* SPDX-License-Identifier: BSD-2-Clause */
/* Who has an address: against real sockets, in a network namespace. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "orchestrator/host/occupants.h"
#include "tests/unit/fakes/netns.h"

#define HERE "127.0.0.1:8080"

static const char *missing;
static struct diag *diag;
static struct occupants *occupants;
static struct error err;

static int set_up(void **state)
{
	(void)state;
	if (missing)
		return 0;
	assert_int_equal(diag_open(&diag, &err), 0);
	assert_int_equal(occupants_new(diag, &occupants), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	occupants_free(occupants);
	diag_free(diag);
	occupants = NULL;
	diag = NULL;
	return 0;
}

static struct address parse(const char *text)
{
	struct address address;

	assert_int_equal(address_parse(text, &address, &err), 0);
	return address;
}

static int listen_on(const char *text, bool reuse)
{
	struct address address = parse(text);
	int fd = socket(address.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, off = 0;

	if (reuse)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, reuse ? sizeof(on) : 0);
	if (address.sa.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, address.dual_stack ? &off : &on,
			   sizeof(on));
	assert_int_equal(bind(fd, &address.sa, address.length), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

/* A child that has @fd and is called "keeper"; end() ends it. */
static pid_t keep(int fd)
{
	int ready[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "keeper \"1\"\n");
		(void)fd;
		close(ready[1]); /* it has its name */
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 0);
	close(ready[0]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static size_t look(const char *text, struct occupant *ret, size_t max)
{
	struct address address = parse(text);
	int n;

	occupants_forget(occupants);
	n = occupants_look(occupants, &address, ret, max);
	assert_true(n >= 0);
	return (size_t)n;
}

static void test_occupants_look_finds_exactly_the_group(void **state)
{
	static const char *const texts[] = {HERE, HERE, "127.0.0.1:8081", "[::1]:8080", ":8082"};
	struct occupant list[8];
	int fds[5];

	(void)state;
	if (missing)
		skip();
	assert_int_equal(look(HERE, list, 8), 0);
	for (size_t k = 0; k < 5; k++)
		fds[k] = listen_on(texts[k], true);
	assert_int_equal(look(HERE, list, 8), 2);
	assert_string_equal(list[0].address.text, HERE);
	assert_int_equal(list[0].uid, 0);
	assert_true(list[0].cookie != list[1].cookie);
	assert_int_equal(look(HERE, list, 1), 1);
	assert_int_equal(look("[::1]:8080", list, 8), 1);
	assert_int_equal(look("[::]:8082", list, 8), 0);
	assert_int_equal(look(":8082", list, 8), 1);
	assert_int_equal(look("127.0.0.1:1", list, 8), 0);
	assert_int_equal(look("127.0.0.1:65535", list, 8), 0);
	for (size_t k = 0; k < 5; k++)
		close(fds[k]);
}

static uint64_t print(const char *text)
{
	struct address address = parse(text);
	uint64_t ret;

	occupants_forget(occupants);
	assert_int_equal(occupants_print(occupants, &address, &ret), 0);
	return ret;
}

static void test_occupants_print_is_another_for_others_on_the_port(void **state)
{
	uint64_t none, one, two;
	int first, second, other;

	(void)state;
	if (missing)
		skip();
	none = print(HERE);
	first = listen_on(HERE, true);
	one = print(HERE);
	assert_true(one != none);
	assert_true(print(HERE) == one);
	second = listen_on("[::1]:8080", true);
	two = print(HERE);
	assert_true(two != one && two != none);
	assert_true(print("[::1]:8080") == two);
	other = listen_on("127.0.0.1:8081", true);
	assert_true(print(HERE) == two);
	close(second);
	assert_true(print(HERE) == one);
	shutdown(first, SHUT_RD);
	assert_true(print(HERE) == none);
	close(first);
	close(other);
}

/* However many services ask. */
static void test_occupants_look_asks_the_kernel_once_in_a_while(void **state)
{
	struct address here = parse(HERE);
	struct occupant list[8];
	int fd;

	(void)state;
	if (missing)
		skip();
	assert_int_equal(look(HERE, list, 8), 0);
	fd = listen_on(HERE, true);
	assert_int_equal(occupants_look(occupants, &here, list, 8), 0);
	assert_int_equal(look(HERE, list, 8), 1);
	close(fd);
}

static bool is_own(void *userdata, pid_t pid)
{
	(void)userdata;
	return pid == getpid();
}

static void test_occupants_holders_are_named_and_ours_come_first(void **state)
{
	struct occupant list[8];
	struct openers_liking own = {.is_preferred = is_own};
	char text[OCCUPANT_TEXT_MAX], expected[OCCUPANT_TEXT_MAX];
	int fd;
	pid_t pid;

	(void)state;
	if (missing)
		skip();
	fd = listen_on(HERE, true);
	pid = keep(fd);
	assert_int_equal(look(HERE, list, 8), 1);
	occupants_find_holders(list, 1, &own);
	assert_int_equal(list[0].pid, getpid());
	/* Whoever is looked at first, and will do: nobody else is. */
	occupants_find_holders(list, 1, &(struct openers_liking){.first = &pid, .n_first = 1});
	assert_int_equal(list[0].pid, pid);
	/* ... and will not do. */
	own.first = &pid;
	own.n_first = 1;
	occupants_find_holders(list, 1, &own);
	assert_int_equal(list[0].pid, getpid());
	close(fd);
	assert_int_equal(look(HERE, list, 8), 1);
	occupants_find_holders(list, 1, &own);
	assert_int_equal(list[0].pid, pid);
	/* Anybody may choose his name. */
	snprintf(expected, sizeof(expected), "pid %d \"keeper ?1?\" (uid 0)", (int)pid);
	assert_string_equal(occupant_describe(&list[0], text), expected);
	end(pid);
	occupants_find_holders(list, 1, NULL);
	assert_int_equal(list[0].pid, 0);
	assert_string_equal(occupant_describe(&list[0], text),
			    "a process that cannot be found (uid 0)");
}

static void explain(const char *text, bool lingers, const char *expected)
{
	struct address address = parse(text);

	error_text(&err, 0, "bind: Address already in use");
	assert_int_equal(occupants_explain(diag, &address, &err), lingers);
	if (!strstr(err.text, expected))
		fail_msg("%s", err.text);
}

static void test_occupants_explain_names_who_listens_on_what_overlaps(void **state)
{
	char expected[128];
	int fd, any;
	pid_t pid;

	(void)state;
	if (missing)
		skip();
	explain(HERE, false, "bind: Address already in use");
	any = listen_on("0.0.0.0:8080", false);
	snprintf(expected, sizeof(expected), "(uid 0) on 0.0.0.0:8080: end it, or declare");
	explain(HERE, false, expected);
	explain("127.0.0.1:8081", false, "bind: Address already in use");
	close(any);
	fd = listen_on(":8080", false);
	pid = keep(fd);
	close(fd);
	snprintf(expected, sizeof(expected), HERE " is in use by pid %d \"keeper ?1?\"", (int)pid);
	explain(HERE, false, expected);
	end(pid);
}

static void test_occupants_explain_says_that_connections_linger(void **state)
{
	struct address here = parse(HERE);
	int fd, client, server;

	(void)state;
	if (missing)
		skip();
	fd = listen_on(HERE, false);
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, &here.sa, here.length), 0);
	server = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(server >= 0);
	close(fd);
	close(server);
	close(client);
	explain(HERE, true, "nobody listens on " HERE ", but 1 connections of an earlier server");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_occupants_##name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(look_finds_exactly_the_group),
		TEST(print_is_another_for_others_on_the_port),
		TEST(look_asks_the_kernel_once_in_a_while),
		TEST(holders_are_named_and_ours_come_first),
		TEST(explain_names_who_listens_on_what_overlaps),
		TEST(explain_says_that_connections_linger),
	};

	missing = netns_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
