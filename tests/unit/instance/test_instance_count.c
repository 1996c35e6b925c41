/* SPDX-License-Identifier: BSD-2-Clause */
/* What is counted of one instance: its queues, its connections, whether it is there at all. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <sys/socket.h>
#include <sys/stat.h>

#include "tests/unit/instance/instance_fixture.h"

/* Both of its sockets listen, with connections waiting. */
static void listen_on_both(void)
{
	fake_listeners[0] = (struct fake_listener){.port = 80, .cookie = 101, .queued = 3};
	fake_listeners[1] = (struct fake_listener){.port = 81, .cookie = 102, .queued = 4};
	fake_cgroup.populated = 1;
}

/* Entry @k: so many on @port, of its cgroup. */
static void know_connections(size_t k, uint16_t port, uint64_t live, uint32_t idle_ms)
{
	fake_connections[k].port = port;
	fake_connections[k].cgroup_id = 77;
	fake_connections[k].live = live;
	fake_connections[k].idle_ms = idle_ms;
}

static uint32_t queued_of(struct instance *of)
{
	uint32_t queued = 0;

	assert_int_equal(instance_queued(of, &queued), 0);
	return queued;
}

static uint64_t live_of(struct instance *of)
{
	uint64_t live = 0;

	assert_int_equal(instance_live(of, &live), 0);
	return live;
}

static void test_instance_queued_sums_listening_sockets(void **state)
{
	(void)state;
	listen_on_both();
	assert_int_equal(queued_of(i), 0); /* none is joined */
	run_instance();
	assert_int_equal(queued_of(i), 7);
	fake_listeners[0].cookie = 0;
	assert_int_equal(queued_of(i), 4);
	i->sockets.n = 1;
	assert_int_equal(queued_of(i), 0);
}

/* The kernel is asked once for all of them, and for nobody else's. */
static void test_instance_queued_of_many_sockets_is_summed_at_once(void **state)
{
	uint32_t queued;

	(void)state;
	listen_on_both();
	fake_listeners[2] = (struct fake_listener){.port = 80, .cookie = 900, .queued = 50};
	fake_listeners[3] = (struct fake_listener){.port = 80, .cookie = 103, .queued = 5};
	run_instance();
	for (uint64_t k = 0; k < 100; k++)
		assert_int_equal(instance_sockets_add(&i->sockets,
						      &(struct instance_socket){.cookie = 103 + k}),
				 0);
	assert_int_equal(queued_of(i), 12);
	fake_listeners[1].error = -ETIMEDOUT;
	assert_int_equal(instance_queued(i, &queued), -ETIMEDOUT);
	fake_listeners[1].error = 0;
	i->sockets.n = 2;
}

static void test_instance_has_exited_when_its_cgroup_is_empty(void **state)
{
	(void)state;
	assert_true(instance_has_exited(i)); /* it has none yet */
	run_instance();
	fake_cgroup.populated = 1;
	i->pid = 0; /* a worker may be left behind */
	assert_false(instance_has_exited(i));
	fake_cgroup.populated = -EIO; /* not being able to look is not seeing none */
	assert_false(instance_has_exited(i));
	fake_cgroup.populated = 0;
	assert_true(instance_has_exited(i));
	fake_cgroup.populated = 1;
	i->phase = INSTANCE_STOPPED;
	assert_true(instance_has_exited(i));
}

static void test_instance_queued_that_cannot_be_read_is_not_none(void **state)
{
	uint32_t queued;

	(void)state;
	run_instance();
	listen_on_both();
	fake_listeners[1].error = -ETIMEDOUT;
	assert_int_equal(instance_queued(i, &queued), -ETIMEDOUT);
}

static void test_instance_live_sums_ports_of_its_cgroup(void **state)
{
	(void)state;
	fake_connections[0].port = 80;
	fake_connections[0].cgroup_id = 77;
	fake_connections[0].live = 5;
	fake_connections[1].port = 81;
	fake_connections[1].cgroup_id = 77;
	fake_connections[1].live = 6;
	fake_connections[2].port = 80;
	fake_connections[2].cgroup_id = 78;
	fake_connections[2].live = 1000;
	assert_int_equal(instance_live(i, &(uint64_t){0}), -ENODATA); /* no cgroup yet */
	run_instance();
	assert_int_equal(live_of(i), 11);
	fake_connections[1].port = 0; /* one count fails: then nothing is known */
	assert_true(instance_live(i, &(uint64_t){0}) < 0);
}

/* Connections are counted by port: of 0.0.0.0:80 and [::]:80 only once. */
static void test_instance_live_counts_a_port_once(void **state)
{
	(void)state;
	run_instance();
	assert_int_equal(address_parse("[::1]:80", &config.listen[1], NULL), 0);
	endpoint_1.address = config.listen[1];
	fake_connections[0].port = 80;
	fake_connections[0].cgroup_id = 77;
	fake_connections[0].live = 5;
	assert_int_equal(live_of(i), 5);
}

/* ---- by the kernel's counters --------------------------------------------------------------- */

static void run_with_hooks(void)
{
	wiring.tap = &hooks;
	assert_int_equal(instance_start(i, &release, &err), 0);
	hear_hello();
	report.pid = 600;
	hear(REPORT_STARTED, 0);
}

static void test_instance_count_is_what_the_kernel_counted(void **state)
{
	struct tap_count count;

	(void)state;
	run_with_hooks();
	fake_tap_set(&hooks, 2, 0,
		     (struct tap_count){.accepted = 9, .live = 5, .closed = 4, .reset = 1});
	assert_int_equal(instance_count(i, &count), 0);
	assert_int_equal(count.accepted, 9);
	assert_int_equal(count.live, 5);
	assert_int_equal(count.closed, 4);
	assert_int_equal(count.reset, 1);
	/* Which costs nothing: the kernel's list is not asked for. */
	assert_int_equal(live_of(i), 5);
}

static void test_instance_count_without_hooks_is_not_known(void **state)
{
	struct tap_count count;

	(void)state;
	run_instance();
	assert_int_equal(instance_count(i, &count), -ENODATA);
}

/* Its cgroup could not be hooked, or its counters not be read: then by looking. */
static void test_instance_live_that_was_not_counted_is_looked_at(void **state)
{
	(void)state;
	run_with_hooks();
	fake_tap_set(&hooks, 2, 0, (struct tap_count){.live = 5});
	know_connections(0, 80, 2, 0);
	know_connections(1, 81, 1, 0);
	fake_tap_failure.function = "tap_count";
	fake_tap_failure.code = -EIO;
	assert_int_equal(live_of(i), 3);
	fake_tap_failure.function = NULL;
	assert_int_equal(live_of(i), 5);
	hooks.n = 0;
	assert_int_equal(live_of(i), 3);
}

/* ---- by looking ----------------------------------------------------------------------------- */

static uint64_t busy_of(struct instance *of, uint64_t idle_ms)
{
	uint64_t busy = 0;

	assert_int_equal(instance_busy(of, idle_ms, &busy), 0);
	return busy;
}

static void test_instance_busy_leaves_out_the_idle(void **state)
{
	(void)state;
	run_with_hooks();
	fake_tap_set(&hooks, 2, 0, (struct tap_count){.live = 1000}); /* not asked */
	know_connections(0, 80, 4, 99);
	know_connections(1, 80, 3, 100);
	know_connections(2, 81, 2, 5000);
	for (size_t k = 0; k < 3; k++)
		fake_connections[k].inode = 9; /* they were accepted */
	assert_int_equal(busy_of(i, 0), 9);
	assert_int_equal(busy_of(i, 100), 4);
	assert_int_equal(busy_of(i, 101), 7);
	assert_int_equal(busy_of(i, 1), 0);
	assert_int_equal(busy_of(i, 10000), 9);
}

/* The server has closed them; only the kernel still has to do with the client. */
static void test_instance_busy_leaves_out_what_only_the_kernel_ends(void **state)
{
	(void)state;
	run_instance();
	know_connections(0, 80, 4, 10);
	know_connections(1, 81, 3, 10);
	fake_connections[1].ending = true;
	assert_int_equal(busy_of(i, 0), 4);
	assert_int_equal(busy_of(i, 100), 4);
}

static void test_instance_busy_that_cannot_be_asked_is_not_none(void **state)
{
	uint64_t busy;

	(void)state;
	run_instance();
	know_connections(0, 80, 0, 0);
	assert_true(instance_busy(i, 0, &busy) < 0);
	assert_true(instance_busy(i, 100, &busy) < 0);
}

static void test_instance_busy_of_a_stopped_one_is_none(void **state)
{
	(void)state;
	run_instance();
	i->phase = INSTANCE_STOPPED;
	assert_int_equal(busy_of(i, 0), 0);
}

/* A list that the kernel could not give in one piece is begun anew. */
static void test_instance_busy_counts_an_interrupted_list_once(void **state)
{
	(void)state;
	run_instance();
	know_connections(0, 80, 4, 10);
	know_connections(1, 81, 3, 10);
	fake_connections_interrupted = 2;
	assert_int_equal(busy_of(i, 100), 7);
}

static void test_instance_silent_asks_only_if_there_are_any(void **state)
{
	uint64_t silent;

	(void)state;
	assert_int_equal(instance_silent(i, 0, &silent), -ENODATA); /* no cgroup yet */
	run_with_hooks();
	know_connections(0, 80, 4, 0);
	know_connections(1, 81, 3, 0);
	fake_tap_set(&hooks, 2, 0, (struct tap_count){.live = 7});
	assert_int_equal(instance_silent(i, 0, &silent), 0);
	assert_int_equal(silent, 7);
	fake_connections[1].port = 0;
	assert_true(instance_silent(i, 0, &silent) < 0);
	/* The counters know of none: the kernel's list is not needed. */
	fake_tap_set(&hooks, 2, 0, (struct tap_count){.accepted = 7});
	assert_int_equal(instance_silent(i, 0, &silent), 0);
	assert_int_equal(silent, 0);
}

static void test_instance_kinds_are_by_what_they_do(void **state)
{
	struct connections_kinds kinds;

	(void)state;
	assert_int_equal(instance_kinds(i, &kinds), -ENODATA); /* no cgroup yet */
	run_instance();
	know_connections(0, 80, 4, 0);
	know_connections(1, 81, 3, 3600 * 1000);
	know_connections(2, 81, 2, 0); /* not accepted yet */
	fake_connections[0].inode = fake_connections[1].inode = 9;
	assert_int_equal(instance_kinds(i, &kinds), 0);
	assert_int_equal(kinds.busy, 2);
	assert_int_equal(kinds.active, 4);
	assert_int_equal(kinds.idle, 3);
	fake_connections[1].port = fake_connections[2].port = 0;
	assert_true(instance_kinds(i, &kinds) < 0);
	i->phase = INSTANCE_STOPPED;
	assert_int_equal(instance_kinds(i, &kinds), 0);
	assert_int_equal(kinds.busy + kinds.active + kinds.idle, 0);
}

/* ---- closing -------------------------------------------------------------------------------- */

/* Only what its processes hold: the rest is still to be accepted by somebody. */
static void test_instance_cut_closes_what_its_processes_hold(void **state)
{
	struct stat st;
	uint64_t n;
	int fds[2];

	(void)state;
	run_instance();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(fstat(fds[0], &st), 0);
	fake_processes.pid = getpid();
	know_connections(0, 80, 4, 0);
	know_connections(1, 81, 3, 0);
	fake_connections[0].inode = st.st_ino;
	assert_int_equal(instance_cut(i, &n, &err), 0);
	assert_int_equal(n, 4);
	assert_int_equal(fake_connections[0].live, 0);
	assert_int_equal(fake_connections[1].live, 3);
	close(fds[0]);
	close(fds[1]);
}

static void test_instance_cut_that_is_not_allowed_says_so(void **state)
{
	struct stat st;
	uint64_t n;
	int fds[2];

	(void)state;
	run_instance();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(fstat(fds[0], &st), 0);
	fake_processes.pid = getpid();
	know_connections(0, 80, 4, 0);
	know_connections(1, 81, 0, 0);
	fake_connections[0].inode = st.st_ino;
	fake_destroy_error = -EPERM;
	assert_int_equal(instance_cut(i, &n, &err), -EPERM);
	assert_string_equal(err.text, "destroy connections: destroy: Operation not permitted");
	assert_int_equal(n, 0);
	close(fds[0]);
	close(fds[1]);
}

static void test_instance_cut_of_nobody_closes_nothing(void **state)
{
	uint64_t n = 7;

	(void)state;
	assert_int_equal(instance_cut(i, &n, &err), -ENODATA);
	assert_string_equal(err.text, "its connections cannot be told from others");
	assert_int_equal(n, 0);
	i->phase = INSTANCE_STOPPED;
	assert_int_equal(instance_cut(i, &n, &err), 0);
	assert_int_equal(n, 0);
}

/* ---- without a cgroup ----------------------------------------------------------------------- */

/* Without a cgroup a connection is whose who holds its descriptor. */
static void test_instance_busy_without_cgroup_is_what_its_processes_hold(void **state)
{
	struct stat st;
	int fds[2];

	(void)state;
	context.cgroup_base[0] = '\0';
	assert_int_equal(instance_start(i, &release, &err), 0);
	hear_hello();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(fstat(fds[0], &st), 0);
	fake_processes.pid = getpid();
	know_connections(0, 80, 1, 10);
	know_connections(1, 80, 5, 10); /* of others */
	know_connections(2, 81, 2, 10); /* not accepted yet */
	for (size_t k = 0; k < 3; k++)
		fake_connections[k].cgroup_id = 0;
	fake_connections[0].inode = st.st_ino;
	fake_connections[1].inode = 1;
	assert_int_equal(busy_of(i, 0), 1);
	assert_int_equal(live_of(i), 1);
	assert_int_equal(busy_of(i, 10), 0);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(busy_of(i, 0), 0);
	fake_processes.list_error = -EIO;
	assert_int_equal(instance_busy(i, 0, &(uint64_t){0}), -EIO);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_instance_queued_sums_listening_sockets),
		TEST(test_instance_queued_of_many_sockets_is_summed_at_once),
		TEST(test_instance_has_exited_when_its_cgroup_is_empty),
		TEST(test_instance_queued_that_cannot_be_read_is_not_none),
		TEST(test_instance_live_sums_ports_of_its_cgroup),
		TEST(test_instance_live_counts_a_port_once),
		TEST(test_instance_count_is_what_the_kernel_counted),
		TEST(test_instance_count_without_hooks_is_not_known),
		TEST(test_instance_live_that_was_not_counted_is_looked_at),
		TEST(test_instance_busy_leaves_out_the_idle),
		TEST(test_instance_busy_leaves_out_what_only_the_kernel_ends),
		TEST(test_instance_busy_that_cannot_be_asked_is_not_none),
		TEST(test_instance_busy_of_a_stopped_one_is_none),
		TEST(test_instance_busy_counts_an_interrupted_list_once),
		TEST(test_instance_silent_asks_only_if_there_are_any),
		TEST(test_instance_kinds_are_by_what_they_do),
		TEST(test_instance_cut_closes_what_its_processes_hold),
		TEST(test_instance_cut_that_is_not_allowed_says_so),
		TEST(test_instance_cut_of_nobody_closes_nothing),
		TEST(test_instance_busy_without_cgroup_is_what_its_processes_hold),
	};
#undef TEST

	return cmocka_run_group_tests_name("instance count", tests, NULL, NULL);
}
