/* SPDX-License-Identifier: BSD-2-Clause */
/* Whose the kernel's connections are: real sockets, held by real children of this process. */
#include "tests/unit/host/connections_fixture.h"

#define NOBODY 65534

static uint64_t count(uint64_t idle_ms)
{
	uint64_t live = UINT64_MAX;

	assert_int_equal(connections_count(&of, idle_ms, &live), 0);
	return live;
}

/* ---- by what processes hold ----------------------------------------------------------------- */

static void test_connections_are_whose_process_holds_them(void **state)
{
	int listener = make_listener(AF_INET, PORT, 16), held[2];

	(void)state;
	held[0] = connect_one(listener, PORT, NULL);
	connect_one(listener, PORT, NULL); /* only ours, and we are not our own descendant */
	held[1] = connect_one(listener, PORT, NULL);
	assert_int_equal(count(0), 0);
	start_holder(held, 2, false);
	assert_int_equal(count(0), 2);
	end_holders();
	assert_int_equal(count(0), 0);
}

/* A worker that its master has forked, and one that several share. */
static void test_connections_of_all_descendants_are_counted_once(void **state)
{
	int listener = make_listener(AF_INET, PORT, 16), held[3];

	(void)state;
	for (size_t k = 0; k < 3; k++)
		held[k] = connect_one(listener, PORT, NULL);
	start_holder(held, 2, true);
	assert_int_equal(count(0), 2);
	start_holder(held + 1, 2, false);
	assert_int_equal(count(0), 3);
}

/* Taken for none, they would be cut off when their server is ended. */
static void test_connections_of_a_process_that_cannot_be_seen_are_not_none(void **state)
{
	int listener = make_listener(AF_INET, PORT, 16);
	int held = connect_one(listener, PORT, NULL), status;
	struct processes *own = NULL;
	uint64_t live;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int r;

		/* Whoever has changed its user is not dumpable, and neither are its children. */
		if (setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
		    setresuid(NOBODY, NOBODY, NOBODY) < 0 ||
		    processes_new(NULL, getpid(), &own) < 0)
			_exit(1);
		of.processes = own;
		start_holder(&held, 1, false);
		r = connections_count(&of, 0, &live);
		end_holders();
		_exit(r == -EACCES ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* A listening socket is none, and what waits in its queue is nobody's yet. */
static void test_connections_not_accepted_yet_are_nobodys(void **state)
{
	int listener = make_listener(AF_INET, PORT, 16);
	int accepted;

	(void)state;
	make_client(PORT);
	start_holder(&listener, 1, false);
	assert_int_equal(count(0), 0);
	accepted = accept_one(listener);
	assert_int_equal(count(0), 0);
	start_holder(&accepted, 1, false);
	assert_int_equal(count(0), 1);
}

/* The rule of diag_connections(): open for the server, or not. */
static void test_connections_that_end_count_while_the_server_has_them(void **state)
{
	int listener = make_listener(AF_INET, PORT, 16), held[2], clients[2];

	(void)state;
	for (size_t k = 0; k < 2; k++)
		held[k] = connect_one(listener, PORT, &clients[k]);
	start_holder(held, 2, false);
	assert_int_equal(shutdown(held[0], SHUT_WR), 0); /* FIN_WAIT, but there is more to read */
	assert_int_equal(shutdown(clients[1], SHUT_WR), 0);
	wait_for_state(held[1], TCP_CLOSE_WAIT);
	assert_int_equal(count(0), 2);
	/* Closed by the server: only the kernel still waits for the client. */
	drop(held[0]);
	end_holders();
	start_holder(&held[1], 1, false);
	assert_int_equal(count(0), 1);
}

static void test_connections_of_every_port_are_counted_and_of_no_other(void **state)
{
	int first = make_listener(AF_INET, PORT, 16),
	    second = make_listener(AF_INET, OTHER_PORT, 16);
	int third = make_listener(AF_INET, OTHER_PORT + 1, 16), held[4];

	(void)state;
	held[0] = connect_one(first, PORT, NULL);
	held[1] = connect_one(second, OTHER_PORT, NULL);
	held[2] = connect_one(second, OTHER_PORT, NULL);
	held[3] = connect_one(third, OTHER_PORT + 1, NULL); /* which the service does not declare */
	start_holder(held, 4, false);
	assert_int_equal(count(0), 1);
	of.n_listen = 3; /* two of which have one port */
	assert_int_equal(count(0), 3);
}

static void test_connections_of_both_families_are_counted(void **state)
{
	int listener = make_listener(AF_INET6, PORT, 16), held[2];
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6,
				    .sin6_port = htons(PORT),
				    .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int client = keep(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));

	(void)state;
	assert_int_equal(connect(client, (struct sockaddr *)&sin6, sizeof(sin6)), 0);
	held[0] = accept_one(listener);
	held[1] = connect_one(listener, PORT, NULL); /* over IPv4 */
	start_holder(held, 2, false);
	assert_int_equal(count(0), 2);
	of.n_listen = 2;
	assert_int_equal(count(0), 2);
}

static void test_connections_more_than_a_few_descriptors_are_all_looked_at(void **state)
{
	int listener = make_listener(AF_INET, PORT, 700), held[600];

	(void)state;
	for (size_t k = 0; k < 600; k++)
		held[k] = connect_one(listener, PORT, NULL);
	start_holder(held, 599, false);
	assert_int_equal(count(0), 599);
}

static void test_connections_without_any_process_are_none(void **state)
{
	int listener = make_listener(AF_INET, PORT, 16);

	(void)state;
	connect_one(listener, PORT, NULL);
	assert_int_equal(count(0), 0);
	assert_int_equal(count(1000), 0);
}

static void test_connections_of_processes_that_cannot_be_listed_are_not_none(void **state)
{
	struct processes *lost = NULL;
	uint64_t live;

	(void)state;
	assert_int_equal(processes_new("/dev/null", getpid(), &lost), 0);
	of.processes = lost;
	assert_true(connections_count(&of, 0, &live) < 0);
	assert_true(connections_count(&of, 1000, &live) < 0);
	processes_free(lost);
}

/* ---- idle ones ------------------------------------------------------------------------------ */

static void test_connections_idle_for_long_are_left_out(void **state)
{
	const uint64_t idle_ms = 300;
	int listener = make_listener(AF_INET, PORT, 16), held[2], clients[2];

	(void)state;
	for (size_t k = 0; k < 2; k++)
		held[k] = connect_one(listener, PORT, &clients[k]);
	start_holder(held, 2, false);
	wait_until(count(idle_ms) == 0);
	assert_int_equal(count(0), 2);
	assert_int_equal(count(1000 * 1000), 2);
	/* A byte from the server, and it is not idle any more. */
	wait_until(write(held[1], "x", 1) == 1 && count(idle_ms) == 1);
	wait_until(count(idle_ms) == 0);
	assert_int_equal(count(0), 2);
}

/* A request is under way until it is answered, however long the server works on it. */
static void test_connections_with_a_request_are_never_idle(void **state)
{
	const uint64_t idle_ms = 200;
	int listener = make_listener(AF_INET, PORT, 16), held[2], clients[2];
	char byte;

	(void)state;
	for (size_t k = 0; k < 2; k++)
		held[k] = connect_one(listener, PORT, &clients[k]);
	start_holder(held, 2, false);
	wait_until(count(idle_ms) == 0);
	/* Not read yet; read, and not answered yet. */
	assert_int_equal(write(clients[0], "x", 1), 1);
	assert_int_equal(write(clients[1], "x", 1), 1);
	assert_int_equal(read(held[1], &byte, 1), 1);
	wait_until(count(idle_ms) == 2);
	usleep(2 * 1000 * (unsigned)idle_ms);
	assert_int_equal(count(idle_ms), 2);
	assert_int_equal(write(held[1], "y", 1), 1);
	assert_int_equal(read(clients[1], &byte, 1), 1);
	wait_until(count(idle_ms) == 1);
}

/* ---- silent ones ----------------------------------------------------------------------------- */

static uint64_t count_silent(uint64_t age_ms)
{
	uint64_t silent = UINT64_MAX;

	assert_int_equal(connections_silent(&of, age_ms, &silent), 0);
	return silent;
}

static void test_connections_are_silent_until_either_side_has_spoken(void **state)
{
	int listener = make_listener(AF_INET, PORT, 16), held[3], clients[3];
	char byte;

	(void)state;
	for (size_t k = 0; k < 3; k++)
		held[k] = connect_one(listener, PORT, &clients[k]);
	start_holder(held, 3, false);
	assert_int_equal(count_silent(0), 3);
	/* The client has, whether the server has read it or not. */
	assert_int_equal(write(clients[0], "x", 1), 1);
	wait_until(count_silent(0) == 2);
	assert_int_equal(read(held[0], &byte, 1), 1);
	assert_int_equal(count_silent(0), 2);
	/* The server has: it is one that speaks first. */
	assert_int_equal(write(held[1], "x", 1), 1);
	assert_int_equal(count_silent(0), 1);
	/* This client will not. */
	assert_int_equal(shutdown(clients[2], SHUT_WR), 0);
	wait_until(count_silent(0) == 0);
	assert_int_equal(count(0), 3);
}

static void test_connections_that_are_younger_are_not_silent_yet(void **state)
{
	int listener = make_listener(AF_INET, PORT, 16);
	int held = connect_one(listener, PORT, NULL);

	(void)state;
	start_holder(&held, 1, false);
	assert_int_equal(count_silent(60000), 0);
	wait_until(count_silent(200) == 1);
}

/* ---- by cgroup ------------------------------------------------------------------------------ */

static void test_connections_of_a_cgroup_are_counted_without_its_processes(void **state)
{
	int inside = make_listener_as_instance();

	(void)state;
	connect_one(inside, PORT, NULL);
	make_client(PORT); /* waits in the queue, and is the cgroup's all the same */
	of.n_listen = 3;
	assert_int_equal(count(0), 2);
	assert_int_equal(count(1000 * 1000), 2);
	wait_until(count(50) == 1); /* what was not accepted yet is not idle */
	of.cgroup_id += 1000000;
	assert_int_equal(count(0), 0);
	assert_int_equal(count(1000 * 1000), 0);
}

/* ---- one by one ----------------------------------------------------------------------------- */

static struct {
	unsigned found, kept, forgotten, since_keep;
	uint16_t last_peer;
	bool interrupt_second; /* the list of the second port */
} told;

static void on_found(void *userdata, const struct diag_connection *connection)
{
	assert_ptr_equal(userdata, &told);
	told.found++;
	told.since_keep++;
	told.last_peer = ntohs(((const struct sockaddr_in *)&connection->peer)->sin_port);
}

static void on_keep(void *userdata)
{
	assert_ptr_equal(userdata, &told);
	told.kept++;
	told.since_keep = 0;
	interrupted_left = told.interrupt_second ? 2 : 0;
}

static void on_forget(void *userdata)
{
	assert_ptr_equal(userdata, &told);
	told.forgotten++;
	told.found -= told.since_keep;
	told.since_keep = 0;
}

static const struct connections_handler handler = {
	.found = on_found,
	.keep = on_keep,
	.forget = on_forget,
	.userdata = &told,
};

static void test_connections_each_tells_details_and_keeps_by_port(void **state)
{
	int first = make_listener(AF_INET, PORT, 16),
	    second = make_listener(AF_INET, OTHER_PORT, 16);
	struct sockaddr_in local = {};
	socklen_t length = sizeof(local);
	int held[2], client;

	(void)state;
	memset(&told, 0, sizeof(told));
	held[0] = connect_one(first, PORT, NULL);
	held[1] = connect_one(second, OTHER_PORT, &client);
	assert_int_equal(getsockname(client, (struct sockaddr *)&local, &length), 0);
	start_holder(held, 2, false);
	of.n_listen = 3;
	assert_int_equal(connections_each(&of, &handler, &err), 0);
	assert_int_equal(told.found, 2);
	assert_int_equal(told.kept, 2); /* not for the port that had its turn */
	assert_int_equal(told.last_peer, ntohs(local.sin_port));
}

/* What was found of the ports before it stays. */
static void test_connections_each_forgets_only_an_inconsistent_list(void **state)
{
	int first = make_listener(AF_INET, PORT, 16),
	    second = make_listener(AF_INET, OTHER_PORT, 16);
	unsigned tries;
	int held[3];

	(void)state;
	memset(&told, 0, sizeof(told));
	held[0] = connect_one(first, PORT, NULL);
	held[1] = connect_one(second, OTHER_PORT, NULL);
	held[2] = connect_one(second, OTHER_PORT, NULL);
	start_holder(held, 3, false);
	of.n_listen = 3;
	assert_int_equal(connections_each(&of, &handler, &err), 0);
	tries = told.forgotten;
	memset(&told, 0, sizeof(told));
	told.interrupt_second = true;
	tamper = tamper_interrupted;
	assert_int_equal(connections_each(&of, &handler, &err), 0);
	assert_int_equal(told.found, 3);
	assert_true(told.forgotten > tries);
	/* And the same where they are only counted. */
	interrupted_left = 2;
	assert_int_equal(count(1000 * 1000), 3);
}

static void test_connections_each_says_what_went_wrong(void **state)
{
	struct processes *lost = NULL;

	(void)state;
	assert_int_equal(processes_new("/dev/null", getpid(), &lost), 0);
	of.processes = lost;
	assert_int_equal(connections_each(&of, &handler, &err), -ENOTDIR);
	assert_string_equal(err.text, "look for the instance's sockets: Not a directory");
	processes_free(lost);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, connections_set_up, connections_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_connections_are_whose_process_holds_them),
		TEST(test_connections_of_all_descendants_are_counted_once),
		TEST(test_connections_of_a_process_that_cannot_be_seen_are_not_none),
		TEST(test_connections_not_accepted_yet_are_nobodys),
		TEST(test_connections_that_end_count_while_the_server_has_them),
		TEST(test_connections_of_every_port_are_counted_and_of_no_other),
		TEST(test_connections_of_both_families_are_counted),
		TEST(test_connections_more_than_a_few_descriptors_are_all_looked_at),
		TEST(test_connections_without_any_process_are_none),
		TEST(test_connections_of_processes_that_cannot_be_listed_are_not_none),
		TEST(test_connections_idle_for_long_are_left_out),
		TEST(test_connections_with_a_request_are_never_idle),
		TEST(test_connections_are_silent_until_either_side_has_spoken),
		TEST(test_connections_that_are_younger_are_not_silent_yet),
		TEST(test_connections_of_a_cgroup_are_counted_without_its_processes),
		TEST(test_connections_each_tells_details_and_keeps_by_port),
		TEST(test_connections_each_forgets_only_an_inconsistent_list),
		TEST(test_connections_each_says_what_went_wrong),
	};
#undef TEST
	const char *reason = netns_enter();

	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	return cmocka_run_group_tests_name("connections", tests, NULL, NULL);
}
