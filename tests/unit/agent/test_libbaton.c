/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libbaton's listening sockets: its own, and those that are passed, by the agent's launch() too.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agent/launch.h"
#include "tests/unit/agent/libbaton_fixture.h"

/* ---- options -------------------------------------------------------------------------------- */

static void test_libbaton_open_without_options_listens_on_nothing(void **data)
{
	struct baton *baton;

	(void)data;
	assert_int_equal(baton_open(NULL, &baton), 0);
	assert_int_equal(baton_socket_count(baton), 0);
	assert_int_equal(baton_socket(baton, 0), -ERANGE);
	assert_null(baton_socket_name(baton, 0));
	assert_int_equal(baton_inherited(baton), 0);
	baton_close(baton);
}

static void test_libbaton_open_bad_options_are_refused(void **data)
{
	const struct {
		struct baton_options options;
		const char *why;
	} cases[] = {
		{{.flags = 4},
		 "options: flags 0x4: this library knows BATON_BLOCKING and BATON_SHARE"},
		{{.reserved = 1}, "options: reserved is not 0: use BATON_OPTIONS_INIT"},
		{{.backlog = -1}, "options: backlog -1: expected 0 or more"},
		{{.signal = SIGKILL}, "signal 9: not a signal that can be caught"},
		{{.signal = NSIG}, "signal 65: not a signal that can be caught"},
		{{.signal = -2}, "signal -2: not a signal that can be caught"},
		{{.signal = 32}, "signal 32: Invalid argument"}, /* libc's own */
	};
	struct baton *baton = NULL;

	(void)data;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct baton_options options = cases[i].options;
		char why[256] = "";

		options.size = sizeof(options);
		options.error = why;
		options.error_size = sizeof(why);
		assert_int_equal(baton_open(&options, &baton), -EINVAL);
		assert_string_equal(why, cases[i].why);
		assert_null(baton);
	}
}

static void test_libbaton_open_options_of_another_age(void **data)
{
	struct {
		struct baton_options options;
		unsigned long later;
	} newer = {.options = BATON_OPTIONS_INIT};
	struct baton *baton;
	char why[16];

	(void)data;
	newer.options.size = sizeof(newer);
	newer.options.error = why;
	newer.options.error_size = sizeof(why);
	assert_int_equal(baton_open(&newer.options, &baton), 0);
	baton_close(baton);
	newer.later = 1;
	assert_int_equal(baton_open(&newer.options, &baton), -E2BIG);
	assert_string_equal(why, "options: the pr"); /* cut to fit */

	why[0] = '\0';
	newer.options.size = sizeof(newer.options) - 1;
	assert_int_equal(baton_open(&newer.options, &baton), -EINVAL);
	assert_string_equal(why, ""); /* is there an error field? Not known. */
}

static void test_libbaton_functions_refuse_no_handle(void **data)
{
	(void)data;
	assert_int_equal(baton_socket_count(NULL), -EINVAL);
	assert_int_equal(baton_socket(NULL, 0), -EINVAL);
	assert_null(baton_socket_name(NULL, 0));
	assert_int_equal(baton_ready(NULL), -EINVAL);
	assert_int_equal(baton_stop_listening(NULL), -EINVAL);
	assert_int_equal(baton_leave_fd(NULL), -EINVAL);
	assert_int_equal(baton_ask(NULL), -EINVAL);
	baton_close(NULL);
}

/* ---- own sockets ---------------------------------------------------------------------------- */

static void test_libbaton_open_alone_is_like_listen(void **data)
{
	struct baton *baton = open_on("127.0.0.1:8080");
	int fd = baton_socket(baton, 0);

	(void)data;
	assert_int_equal(baton_socket_count(baton), 1);
	assert_string_equal(baton_socket_name(baton, 0), "127.0.0.1:8080");
	assert_int_equal(baton_inherited(baton), 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(socket_option(fd, SO_REUSEPORT), 0);
	assert_int_equal(socket_option(fd, SO_ACCEPTCONN), 1);
	assert_int_equal(accept(fd, NULL, NULL), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(connect_to("127.0.0.1", 8080), 0);
	assert_int_equal(is_readable(fd), 1);

	assert_int_equal(baton_socket(baton, 1), -ERANGE);
	assert_int_equal(baton_socket(baton, -1), -ERANGE);
	baton_close(baton);
	assert_int_equal(connect_to("127.0.0.1", 8080), -ECONNREFUSED);
}

static void test_libbaton_open_flags_block_and_share(void **data)
{
	struct baton *baton;

	(void)data;
	assert_int_equal(baton_open(OPTIONS(.listen = LISTEN("127.0.0.1:8080"),
					    .flags = BATON_BLOCKING | BATON_SHARE),
				    &baton),
			 0);
	assert_false(fcntl(baton_socket(baton, 0), F_GETFL) & O_NONBLOCK);
	assert_int_equal(socket_option(baton_socket(baton, 0), SO_REUSEPORT), 1);
	baton_close(baton);
}

static void test_libbaton_open_shares_the_port_under_baton_only(void **data)
{
	static const struct {
		const char *socket;
		int shared;
	} cases[] = {{"@baton/notify/0123", 1},
		     {"/run/x/tell/web.1.0/baton", 1},
		     {"/run/tell/baton", 0},
		     {"/run/tell/x/batons", 0},
		     {"@batonx", 0},
		     {"/run/systemd/notify", 0},
		     {"", 0}};

	(void)data;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct baton *baton;

		setenv("NOTIFY_SOCKET", cases[i].socket, 1);
		baton = open_on("127.0.0.1:8080");
		assert_int_equal(socket_option(baton_socket(baton, 0), SO_REUSEPORT),
				 cases[i].shared);
		baton_close(baton);
	}
}

static void test_libbaton_open_several_addresses_of_both_families(void **data)
{
	struct baton *baton;

	(void)data;
	assert_int_equal(baton_open(OPTIONS(.listen = LISTEN("127.0.0.1:8080", "[::1]:8080",
							     "[::]:8081", ":8082")),
				    &baton),
			 0);
	assert_int_equal(baton_socket_count(baton), 4);
	assert_string_equal(baton_socket_name(baton, 1), "[::1]:8080");
	assert_int_equal(connect_to("::1", 8080), 0);
	assert_int_equal(is_readable(baton_socket(baton, 0)), 0);
	assert_int_equal(is_readable(baton_socket(baton, 1)), 1);
	assert_int_equal(connect_to("::1", 8081), 0);
	assert_int_equal(connect_to("127.0.0.1", 8081), -ECONNREFUSED);
	assert_int_equal(connect_to("::1", 8082), 0);
	assert_int_equal(connect_to("127.0.0.1", 8082), 0);
	baton_close(baton);
}

static int listener_on(uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

/* The lowest number that is free: it grows when a descriptor is left open. */
static int lowest_free(void)
{
	int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);

	close(fd);
	return fd;
}

static void test_libbaton_open_fails_as_a_whole_and_says_where(void **data)
{
	int other = listener_on(8081), lowest = lowest_free();
	struct baton *baton = NULL;
	struct sigaction action;
	char why[256];

	(void)data;
	assert_int_equal(baton_open(OPTIONS(.listen = LISTEN("127.0.0.1:8080", "127.0.0.1:8081"),
					    .error = why, .error_size = sizeof(why)),
				    &baton),
			 -EADDRINUSE);
	assert_string_equal(why, "listen 127.0.0.1:8081: bind: Address already in use");
	assert_null(baton);
	assert_int_equal(connect_to("127.0.0.1", 8080), -ECONNREFUSED);
	assert_int_equal(lowest_free(), lowest);
	assert_int_equal(sigaction(SIGTERM, NULL, &action), 0);
	assert_true(action.sa_handler == SIG_DFL);
	close(other);
	baton_close(open_on("127.0.0.1:8081"));
	assert_int_equal(lowest_free(), lowest - 1);
}

static void test_libbaton_open_bad_address_is_refused(void **data)
{
	const char *many[BATON_SOCKETS_MAX + 2];
	char texts[BATON_SOCKETS_MAX + 1][24], why[256];
	struct baton *baton = NULL;

	(void)data;
	assert_int_equal(baton_open(OPTIONS(.listen = LISTEN("localhost:80"), .error = why,
					    .error_size = sizeof(why)),
				    &baton),
			 -EINVAL);
	assert_non_null(strstr(why, "listen: \"localhost:80\": not an IP address"));

	for (size_t i = 0; i < BATON_SOCKETS_MAX + 1; i++) {
		snprintf(texts[i], sizeof(texts[i]), "127.0.0.1:%zu", 10000 + i);
		many[i] = texts[i];
	}
	many[BATON_SOCKETS_MAX + 1] = NULL;
	assert_int_equal(baton_open(OPTIONS(.listen = many), &baton), -E2BIG);
	many[BATON_SOCKETS_MAX] = NULL;
	assert_int_equal(baton_open(OPTIONS(.listen = many), &baton), 0);
	assert_int_equal(baton_socket_count(baton), BATON_SOCKETS_MAX);
	baton_close(baton);
}

static void test_libbaton_open_twice_is_refused_until_closed(void **data)
{
	struct baton *first = open_on("127.0.0.1:8080"), *second = NULL;

	(void)data;
	assert_int_equal(baton_open(OPTIONS(.listen = LISTEN("127.0.0.1:8081")), &second), -EBUSY);
	assert_null(second);
	assert_int_equal(raise(SIGTERM), 0); /* the first one's handler is still there */
	assert_int_equal(baton_asked(first), 1);
	baton_close(first);
	second = open_on("127.0.0.1:8081");
	assert_int_equal(baton_asked(second), 0);
	baton_close(second);
}

/* ---- passed sockets ------------------------------------------------------------------------- */

/* What is executed (see main()): say what was passed, then take it again. */
static int print_passed(void)
{
	struct baton *baton;
	char why[256] = "";
	int r = baton_open(OPTIONS(.listen = LISTEN("127.0.0.1:9090"), .error = why,
				   .error_size = sizeof(why)),
			   &baton);

	if (r < 0) {
		printf("%d %s\n", r, why);
		return 0;
	}
	printf("inherited %d:", baton_inherited(baton));
	for (int i = 0; i < baton_socket_count(baton); i++) {
		int fd = baton_socket(baton, i), flags = fcntl(fd, F_GETFL);

		printf(" %d %s%s%s", baton_inherited(baton) ? fd : 0, baton_socket_name(baton, i),
		       flags & O_NONBLOCK ? "" : " blocking",
		       fcntl(fd, F_GETFD) == FD_CLOEXEC ? "" : " leaking");
	}
	baton_close(baton);
	/* The numbers are somebody else's now. */
	r = baton_open(OPTIONS(.listen = LISTEN("127.0.0.1:9090")), &baton);
	printf("; again %s\n", r < 0 ? strerror(-r) : baton_socket_name(baton, 0));
	if (r == 0)
		baton_close(baton);
	return 0;
}

static void read_line(int fd, char line[static 512])
{
	size_t n = 0;
	ssize_t r;

	while (n < 511 && (r = read(fd, line + n, 511 - n)) > 0)
		n += (size_t)r;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
}

/*
 * Execute print_passed() with @fds as 3 and 4, and variables as given; "PID" as pid means its own.
 * cmocka and the sanitizers have descriptors open, so all is done in a child.
 */
static const char *run_passed(const char *pid, const char *count, const char *names, int first,
			      int second)
{
	static char line[512];
	char own[16], program[] = "/proc/self/exe", argument[] = "--print-passed";
	char *const argv[] = {program, argument, NULL};
	int out[2];
	pid_t child;

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	child = fork();
	if (child == 0) {
		int a = first < 0 ? -1 : fcntl(first, F_DUPFD, 20);
		int b = second < 0 ? -1 : fcntl(second, F_DUPFD, 20);

		dup2(out[1], STDOUT_FILENO);
		close_range(3, 19, 0);
		if (a >= 0)
			dup2(a, 3);
		if (b >= 0)
			dup2(b, 4);
		close_range(20, ~0u, 0);
		snprintf(own, sizeof(own), "%d", getpid());
		if (pid)
			setenv("LISTEN_PID", strcmp(pid, "PID") == 0 ? own : pid, 1);
		if (count)
			setenv("LISTEN_FDS", count, 1);
		if (names)
			setenv("LISTEN_FDNAMES", names, 1);
		execv(program, argv);
		_exit(127);
	}
	close(out[1]);
	read_line(out[0], line);
	close(out[0]);
	assert_int_equal(await(child), 0);
	return line;
}

#define ALONE "inherited 0: 0 127.0.0.1:9090; again 127.0.0.1:9090"

static void test_libbaton_open_takes_passed_sockets_once(void **data)
{
	int a = listener_on(8080), b = listener_on(8081);

	(void)data;
	assert_string_equal(run_passed("PID", "2", "web.8080:web.8081", a, b),
			    "inherited 1: 3 web.8080 4 web.8081; again 127.0.0.1:9090");
	assert_string_equal(run_passed("PID", "1", "a::b", a, -1),
			    "inherited 1: 3 unknown; again 127.0.0.1:9090");
	assert_string_equal(run_passed("PID", "2", ":b", a, b),
			    "inherited 1: 3  4 b; again 127.0.0.1:9090");
	assert_string_equal(run_passed("PID", "1", NULL, a, -1),
			    "inherited 1: 3 unknown; again 127.0.0.1:9090");
	close(a);
	close(b);
}

static void test_libbaton_open_listens_itself_where_nothing_is_passed_to_it(void **data)
{
	int a = listener_on(8080);

	(void)data;
	assert_string_equal(run_passed(NULL, NULL, NULL, -1, -1), ALONE);
	assert_string_equal(run_passed("1", "1", "web.8080", a, -1), ALONE);
	assert_string_equal(run_passed(NULL, "1", NULL, a, -1), ALONE);
	assert_string_equal(run_passed("PID", NULL, NULL, a, -1), ALONE);
	assert_string_equal(run_passed("PID", "0", NULL, a, -1), ALONE);
	close(a);
}

static void test_libbaton_open_refuses_what_is_no_listening_socket(void **data)
{
	int a = listener_on(8080), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int fresh = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int datagram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)data;
	assert_string_equal(run_passed("PID", "2", NULL, a, null),
			    "-22 LISTEN_FDS: descriptor 4 is not a listening stream socket");
	assert_string_equal(run_passed("PID", "2", NULL, a, -1),
			    "-22 LISTEN_FDS: descriptor 4 is not a listening stream socket");
	assert_string_equal(run_passed("PID", "1", NULL, fresh, -1),
			    "-22 LISTEN_FDS: descriptor 3 is not a listening stream socket");
	assert_string_equal(run_passed("PID", "1", NULL, datagram, -1),
			    "-22 LISTEN_FDS: descriptor 3 is not a listening stream socket");
	close(a);
	close(null);
	close(fresh);
	close(datagram);
}

static void test_libbaton_open_refuses_numbers_that_are_none(void **data)
{
	int a = listener_on(8080);

	(void)data;
	assert_string_equal(run_passed("PID", "x", NULL, a, -1), "-22 LISTEN_FDS=x: not a number");
	assert_string_equal(run_passed("PID", "-1", NULL, a, -1),
			    "-22 LISTEN_FDS=-1: not a number");
	assert_string_equal(run_passed("PID", "", NULL, a, -1), "-22 LISTEN_FDS=: not a number");
	assert_string_equal(run_passed("4711x", "1", NULL, a, -1),
			    "-22 LISTEN_PID=4711x: not a number");
	assert_string_equal(run_passed("9999999999", "1", NULL, a, -1),
			    "-22 LISTEN_PID=9999999999: not a number");
	assert_string_equal(run_passed("PID", "257", NULL, a, -1),
			    "-7 LISTEN_FDS=257: at most 256 sockets are possible");
	close(a);
}

/* The contract with the agent, as the agent keeps it. */
static void test_libbaton_open_takes_what_the_agent_passes(void **data)
{
	char program[] = "/proc/self/exe", argument[] = "--print-passed", line[512];
	char *argv[] = {program, argument, NULL}, *environment[] = {NULL};
	struct address addresses[2];
	struct launch_spec spec = {.service = (char *)"web",
				   .generation = 1,
				   .listen = addresses,
				   .n_listen = 2,
				   .backlog = 5,
				   .executable = program,
				   .argv = argv,
				   .environment = environment};
	struct listeners listeners = {0};
	struct launch request = {.spec = &spec, .listeners = &listeners};
	struct launching launching;
	struct processes *processes;
	struct error err;
	int out[2];
	pid_t pid;

	(void)data;
	assert_int_equal(address_parse("127.0.0.1:8080", &addresses[0], &err), 0);
	assert_int_equal(address_parse("[::1]:8081", &addresses[1], &err), 0);
	assert_int_equal(processes_new(NULL, getpid(), &processes), 0);
	assert_int_equal(listeners_open(&spec, processes, NULL, &listeners, &err), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	request.processes = processes;
	request.stdout_fd = request.stderr_fd = out[1];
	assert_int_equal(launch_begin(&request, &launching, &err), 0);
	pid = launching.pid;
	close(out[1]);
	read_line(out[0], line);
	assert_int_equal(launch_end(&launching, &spec, &err), 0);
	close(out[0]);
	assert_int_equal(await(pid), 0);
	assert_string_equal(line, "inherited 1: 3 web.8080 4 web.8081; again 127.0.0.1:9090");
	listeners_close(&listeners);
	listeners_done(&listeners);
	processes_free(processes);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_libbaton_open_without_options_listens_on_nothing),
		TEST(test_libbaton_open_bad_options_are_refused),
		TEST(test_libbaton_open_options_of_another_age),
		TEST(test_libbaton_functions_refuse_no_handle),
		TEST(test_libbaton_open_alone_is_like_listen),
		TEST(test_libbaton_open_flags_block_and_share),
		TEST(test_libbaton_open_shares_the_port_under_baton_only),
		TEST(test_libbaton_open_several_addresses_of_both_families),
		TEST(test_libbaton_open_fails_as_a_whole_and_says_where),
		TEST(test_libbaton_open_bad_address_is_refused),
		TEST(test_libbaton_open_twice_is_refused_until_closed),
		TEST(test_libbaton_open_takes_passed_sockets_once),
		TEST(test_libbaton_open_listens_itself_where_nothing_is_passed_to_it),
		TEST(test_libbaton_open_refuses_what_is_no_listening_socket),
		TEST(test_libbaton_open_refuses_numbers_that_are_none),
		TEST(test_libbaton_open_takes_what_the_agent_passes),
	};
	const char *reason;

	if (argc == 2 && strcmp(argv[1], "--print-passed") == 0)
		return print_passed();
	reason = netns_enter();
	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
