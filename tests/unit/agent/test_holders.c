/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/holders.h"
#include "tests/unit/fakes/netns.h"

/* The test is the agent; a child, steered by single bytes, is the server. */
struct fixture {
	struct processes *processes;
	struct listeners listeners;
	pid_t pid;
	int wire;
};

/* Carries out one command after another and answers each; ends with the wire. */
static void serve(struct fixture *fixture, int wire)
{
	int *first = &fixture->listeners.list[0].fd, *second = &fixture->listeners.list[1].fd;
	char command;

	while (read(wire, &command, 1) == 1) {
		switch (command) {
		case 'c': /* close the first */
			close(*first);
			break;
		case 'C': /* close the second */
			close(*second);
			break;
		case 'm': /* move the first to another descriptor */
			if (dup2(*first, 200) < 0)
				_exit(1);
			close(*first);
			*first = 200;
			break;
		case 'r': /* put something else where the first was */
			if (dup2(wire, *first) < 0)
				_exit(1);
			break;
		case 's': /* shut the first down, but keep it */
			shutdown(*first, SHUT_RD);
			break;
		case 'f': /* hand both to a child, and close them */
			if (fork() == 0) {
				for (;;)
					pause();
			}
			close(*first);
			close(*second);
			break;
		default:
			break;
		}
		if (write(wire, "", 1) != 1)
			break;
	}
	_exit(0);
}

static int setup(void **data)
{
	static struct fixture fixture;
	static struct address addresses[2];
	struct launch_spec spec = {.listen = addresses, .n_listen = 2, .backlog = 5};
	struct error err;
	int wires[2];

	memset(&fixture, 0, sizeof(fixture));
	if (address_parse("127.0.0.1:7001", &addresses[0], &err) < 0 ||
	    address_parse("127.0.0.1:7002", &addresses[1], &err) < 0 ||
	    processes_new(NULL, getpid(), &fixture.processes) < 0 ||
	    listeners_open(&spec, fixture.processes, NULL, &fixture.listeners, &err) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wires) < 0)
		return -1;
	fixture.pid = fork();
	if (fixture.pid == 0) {
		close(wires[0]);
		serve(&fixture, wires[1]);
	}
	close(wires[1]);
	fixture.wire = wires[0];
	listeners_close(&fixture.listeners);
	*data = &fixture;
	return fixture.pid < 0 ? -1 : 0;
}

static int teardown(void **data)
{
	struct fixture *fixture = *data;

	close(fixture->wire);
	(void)processes_kill(fixture->processes);
	while (waitpid(-1, NULL, 0) > 0)
		;
	processes_free(fixture->processes);
	listeners_done(&fixture->listeners);
	return 0;
}

static void tell(struct fixture *fixture, char command)
{
	char answer;

	assert_int_equal(write(fixture->wire, &command, 1), 1);
	assert_int_equal(read(fixture->wire, &answer, 1), 1);
}

static int count(struct fixture *fixture)
{
	return holders_count(fixture->processes, &fixture->listeners);
}

static int shut(struct fixture *fixture)
{
	struct error err;

	return holders_shut(fixture->processes, &fixture->listeners, &err);
}

static int try_connect(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

static void test_holders_count_follows_closing(void **data)
{
	struct fixture *fixture = *data;

	assert_int_equal(count(fixture), 2);
	assert_int_equal(count(fixture), 2);
	assert_int_equal(fixture->listeners.list[0].seen_pid, fixture->pid);
	tell(fixture, 'c');
	assert_int_equal(count(fixture), 1);
	tell(fixture, 'C');
	assert_int_equal(count(fixture), 0);
	assert_int_equal(count(fixture), 0);
}

static void test_holders_count_finds_moved_descriptor(void **data)
{
	struct fixture *fixture = *data;

	assert_int_equal(count(fixture), 2);
	tell(fixture, 'm');
	assert_int_equal(count(fixture), 2);
	assert_int_equal(fixture->listeners.list[0].seen_fd, 200);
}

static void test_holders_count_other_file_in_its_place_is_gone(void **data)
{
	struct fixture *fixture = *data;

	assert_int_equal(count(fixture), 2);
	tell(fixture, 'r');
	assert_int_equal(count(fixture), 1);
}

static void test_holders_count_finds_it_in_a_child(void **data)
{
	struct fixture *fixture = *data;

	assert_int_equal(count(fixture), 2);
	tell(fixture, 'f');
	assert_int_equal(count(fixture), 2);
	assert_int_not_equal(fixture->listeners.list[0].seen_pid, fixture->pid);
	/* Even when its parent has gone. */
	assert_int_equal(kill(fixture->pid, SIGKILL), 0);
	assert_int_equal(waitpid(fixture->pid, NULL, 0), fixture->pid);
	assert_int_equal(count(fixture), 2);
}

static void test_holders_count_shut_down_counts_as_gone(void **data)
{
	struct fixture *fixture = *data;

	tell(fixture, 's');
	assert_int_equal(count(fixture), 1);
}

static void test_holders_count_wrong_cookie_is_another_socket(void **data)
{
	struct fixture *fixture = *data;

	/* As if the inode's number had been used again. */
	fixture->listeners.list[0].cookie ^= 1;
	assert_int_equal(count(fixture), 2); /* undecided: it must not count as gone ... */
	assert_int_equal(fixture->listeners.list[1].seen_pid, fixture->pid);
	assert_true(shut(fixture) < 0); /* ... nor may it be shut down */
	assert_int_equal(try_connect(7001), 0);
}

static void test_holders_shut_ends_listening(void **data)
{
	struct fixture *fixture = *data;

	assert_int_equal(try_connect(7001), 0);
	assert_int_equal(shut(fixture), 2);
	assert_int_equal(try_connect(7001), -ECONNREFUSED);
	assert_int_equal(try_connect(7002), -ECONNREFUSED);
	assert_int_equal(count(fixture), 0);
	assert_int_equal(shut(fixture), 0);
}

static void test_holders_shut_stopped_process_too(void **data)
{
	struct fixture *fixture = *data;

	assert_int_equal(kill(fixture->pid, SIGSTOP), 0);
	assert_int_equal(waitpid(fixture->pid, NULL, WUNTRACED), fixture->pid);
	assert_int_equal(count(fixture), 2);
	assert_int_equal(shut(fixture), 2);
	assert_int_equal(count(fixture), 0);
}

static void test_holders_nobody_left_is_zero(void **data)
{
	struct fixture *fixture = *data;

	assert_int_equal(count(fixture), 2);
	assert_int_equal(kill(fixture->pid, SIGKILL), 0);
	assert_int_equal(waitpid(fixture->pid, NULL, 0), fixture->pid);
	assert_int_equal(count(fixture), 0);
	assert_int_equal(shut(fixture), 0);
}

/* ---- duplicates ----------------------------------------------------------------------------- */

static void test_holders_fetch_gives_duplicates_of_what_is_held(void **data)
{
	struct fixture *fixture = *data;
	struct listener *list = fixture->listeners.list;
	socklen_t size = sizeof(uint64_t);
	uint64_t cookie;

	tell(fixture, 'C');
	assert_int_equal(holders_fetch(fixture->processes, &fixture->listeners), 0);
	assert_true(list[0].fd >= 0);
	assert_int_equal(list[1].fd, -1);
	assert_int_equal(getsockopt(list[0].fd, SOL_SOCKET, SO_COOKIE, &cookie, &size), 0);
	assert_true(cookie == list[0].cookie);
	assert_int_equal(fcntl(list[0].fd, F_GETFD), FD_CLOEXEC);
	/* It is one more: the holder's own close is not the last any more. */
	tell(fixture, 'c');
	assert_int_equal(try_connect(7001), 0);
	listeners_close(&fixture->listeners);
	assert_int_equal(try_connect(7001), -ECONNREFUSED);
}

static void test_holders_fetch_another_socket_is_an_error(void **data)
{
	struct fixture *fixture = *data;

	fixture->listeners.list[0].cookie ^= 1;
	assert_int_equal(holders_fetch(fixture->processes, &fixture->listeners), -EAGAIN);
	assert_int_equal(fixture->listeners.list[0].fd, -1);
	assert_true(fixture->listeners.list[1].fd >= 0);
	listeners_close(&fixture->listeners);
}

/* ---- those of an earlier agent's server ----------------------------------------------------- */

static void test_holders_adopt_takes_what_is_held_shut_down_or_not(void **data)
{
	struct fixture *fixture = *data;
	struct listener *list = fixture->listeners.list;

	tell(fixture, 's');
	assert_int_equal(holders_adopt(fixture->processes, &fixture->listeners), 0);
	assert_true(list[0].fd >= 0 && list[1].fd >= 0);
	assert_int_equal(list[1].seen_pid, fixture->pid);
	listeners_close(&fixture->listeners);
}

/* The server has ended, and a process that has left the instance has its sockets. */
static void test_holders_adopt_takes_what_got_away(void **data)
{
	struct fixture *fixture = *data;
	struct listener *list = fixture->listeners.list;
	struct processes *of_nobody;
	pid_t nobody = fork();

	if (nobody == 0)
		_exit(0);
	assert_true(nobody > 0);
	assert_int_equal(waitpid(nobody, NULL, 0), nobody);
	assert_int_equal(processes_new(NULL, nobody, &of_nobody), 0);
	assert_int_equal(holders_adopt(of_nobody, &fixture->listeners), 0);
	assert_true(list[0].fd >= 0 && list[1].fd >= 0);
	/* No process of the instance has them. */
	assert_true(list[0].seen_pid == 0 && list[1].seen_pid == 0);
	assert_int_equal(holders_count(of_nobody, &fixture->listeners), 0);
	listeners_close(&fixture->listeners);
	processes_free(of_nobody);
}

static void test_holders_adopt_leaves_what_nobody_has(void **data)
{
	struct fixture *fixture = *data;
	struct listener *list = fixture->listeners.list;

	tell(fixture, 'c');
	assert_int_equal(holders_adopt(fixture->processes, &fixture->listeners), 0);
	assert_true(list[0].fd == -1 && list[1].fd >= 0);
	listeners_close(&fixture->listeners);
}

/* ---- lost ----------------------------------------------------------------------------------- */

static void look(struct fixture *fixture, uint64_t now_ms)
{
	assert_int_equal(holders_look(fixture->processes, &fixture->listeners, now_ms, false), 0);
}

static void test_holders_look_notes_since_when_it_is_lost(void **data)
{
	struct fixture *fixture = *data;
	struct listener *list = fixture->listeners.list;

	look(fixture, 1000);
	assert_true(list[0].lost_ms == 0 && list[1].lost_ms == 0);
	assert_int_equal(list[1].seen_pid, fixture->pid);
	tell(fixture, 'c');
	look(fixture, 1020);
	assert_int_equal(list[0].lost_ms, 1020);
	assert_int_equal(list[1].lost_ms, 0);
	look(fixture, 1040);
	assert_int_equal(list[0].lost_ms, 1020);
}

static void test_holders_look_follows_it_to_another_process(void **data)
{
	struct fixture *fixture = *data;
	struct listener *list = fixture->listeners.list;

	look(fixture, 1000);
	tell(fixture, 'f');
	look(fixture, 1020);
	assert_true(list[0].lost_ms == 0 && list[1].lost_ms == 0);
	assert_int_not_equal(list[0].seen_pid, fixture->pid);
}

/* Whoever searches a million descriptors for nothing does so less and less often. */
static void test_holders_look_waits_longer_each_time(void **data)
{
	struct fixture *fixture = *data;
	struct listener *first = &fixture->listeners.list[0];

	tell(fixture, 'c');
	look(fixture, 1000);
	look(fixture, 1000 + 600);
	assert_int_equal(first->look_ms, 1600 + 600);
	look(fixture, 1600 + 600);
	assert_int_equal(first->look_ms, 2200 + 1000);
	/* Not before its time ... */
	fixture->listeners.list[0].inode = fixture->listeners.list[1].inode;
	look(fixture, 2200 + 999);
	assert_int_equal(first->lost_ms, 1000);
	/* ... and then it is found again, as if it had been on its way. */
	look(fixture, 2200 + 1000);
	assert_int_equal(first->lost_ms, 0);
}

/* As if the server were in another cgroup than whoever was given its sockets. */
static void test_holders_look_finds_it_in_other_processes(void **data)
{
	struct fixture *fixture = *data;
	struct listener *list = fixture->listeners.list;
	cleanup(processes_free) struct processes *none = NULL;
	struct error err;

	assert_int_equal(processes_new(NULL, fixture->pid, &none), 0);
	assert_int_equal(holders_look(none, &fixture->listeners, 1000, false), 0);
	assert_int_equal(list[0].lost_ms, 1000);
	assert_int_equal(holders_look(none, &fixture->listeners, 1000, true), 0);
	assert_true(list[0].lost_ms == 0 && list[1].lost_ms == 0);
	assert_int_equal(list[0].seen_pid, fixture->pid);
	assert_true(holders_have_stayed(&fixture->listeners));
	/* They are none of the instance's all the same. */
	assert_int_equal(holders_count(none, &fixture->listeners), 0);
	assert_int_equal(holders_look(none, &fixture->listeners, 1000, true), 0);
	assert_int_equal(holders_shut(none, &fixture->listeners, &err), 0);
	assert_int_equal(try_connect(7001), 0);
	assert_int_equal(holders_look(none, &fixture->listeners, 1000, true), 0);
	tell(fixture, 'c');
	assert_false(holders_have_stayed(&fixture->listeners));
	assert_int_equal(holders_look(none, &fixture->listeners, 1020, true), 0);
	assert_int_equal(list[0].lost_ms, 1020);
	assert_int_equal(list[1].lost_ms, 0);
}

static void test_holders_look_leaves_earlier_ones_alone(void **data)
{
	struct fixture *fixture = *data;

	fixture->listeners.list[0].earlier = true;
	tell(fixture, 'c');
	look(fixture, 1000);
	assert_int_equal(fixture->listeners.list[0].lost_ms, 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_holders_count_follows_closing),
		TEST(test_holders_count_finds_moved_descriptor),
		TEST(test_holders_count_other_file_in_its_place_is_gone),
		TEST(test_holders_count_finds_it_in_a_child),
		TEST(test_holders_count_shut_down_counts_as_gone),
		TEST(test_holders_count_wrong_cookie_is_another_socket),
		TEST(test_holders_shut_ends_listening),
		TEST(test_holders_shut_stopped_process_too),
		TEST(test_holders_nobody_left_is_zero),
		TEST(test_holders_fetch_gives_duplicates_of_what_is_held),
		TEST(test_holders_fetch_another_socket_is_an_error),
		TEST(test_holders_adopt_takes_what_is_held_shut_down_or_not),
		TEST(test_holders_adopt_takes_what_got_away),
		TEST(test_holders_adopt_leaves_what_nobody_has),
		TEST(test_holders_look_notes_since_when_it_is_lost),
		TEST(test_holders_look_follows_it_to_another_process),
		TEST(test_holders_look_waits_longer_each_time),
		TEST(test_holders_look_finds_it_in_other_processes),
		TEST(test_holders_look_leaves_earlier_ones_alone),
	};
	const char *reason = netns_enter();

	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
