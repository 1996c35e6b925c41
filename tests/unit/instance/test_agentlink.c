/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two kinds of agents are at the other end: this very program, started again by agentlink_start()
 * (fake_main()), and a thread of this process (fake_agent.h), which can say what no agent would.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "common/clock.h"
#include "common/timer.h"
#include "orchestrator/instance/agentlink.h"
#include "tests/unit/fakes/fake_agent.h"
#include "tests/unit/common/protocol_samples.h"

#define DEADLINE_MS 10000
#define NOBODY      ((1 << 22) + 4711) /* more than any pid: proc(5), pid_max */
#define HELLO       (&the_hello)
#define STARTED     (&reports[2])
#define NOTIFY      (&reports[3])
#define STOPPED     (&reports[11])
#define HEARD_MAX   8

static char folder[64], path[128], program[512];
static sd_event *event;
static struct error err;
static struct report the_hello; /* reports[0], by NOBODY */

/* ---- the agent program ---------------------------------------------------------------------- */

/* Whatever --socket-fds says, and the inodes of what it names. */
static char fake_given[128];
static int fake_given_fds[8];
static size_t fake_n_given;

static void fake_look_at_given(const char *list)
{
	size_t n = 0;
	char *end;

	do {
		int fd = (int)strtol(list, &end, 10);
		struct stat st;

		fake_given_fds[fake_n_given++] = fd;
		if (fstat(fd, &st) < 0)
			_exit(105);
		n += (size_t)snprintf(fake_given + n, sizeof(fake_given) - n, ", given %lu",
				      (unsigned long)st.st_ino);
		list = end + 1;
	} while (*end == ',');
}

static bool fake_was_given(int fd)
{
	for (size_t i = 0; i < fake_n_given; i++)
		if (fake_given_fds[i] == fd)
			return true;
	return false;
}

/* How this process was started, as a text for its first report. */
static void fake_describe(int spec_fd, int control_fd, char *ret, size_t size)
{
	DIR *list = opendir("/proc/self/fd");
	struct dirent *entry;
	int listening = 0, others = 0;
	socklen_t length = sizeof(listening);
	sigset_t blocked;

	if (!list)
		_exit(101);
	while ((entry = readdir(list))) {
		int fd = atoi(entry->d_name);

		if (fd > 2 && fd != spec_fd && fd != control_fd && fd != dirfd(list) &&
		    !fake_was_given(fd))
			others++;
	}
	closedir(list);
	getsockopt(control_fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	snprintf(ret, size, "listening %d, blocked %d, others %d%s", listening,
		 sigismember(&blocked, SIGCHLD) || sigismember(&blocked, SIGTERM), others,
		 fake_given);
}

static void fake_report(int fd, const struct report *report, const int *fds, size_t n_fds)
{
	size_t length;
	char *text;

	if (report_encode(report, &text, &length) < 0 ||
	    message_send(fd, text, length, fds, n_fds) < 0)
		_exit(102);
	free(text);
}

static void fake_greet(int fd, int spec_fd, int control_fd)
{
	struct report hello = reports[0], notify = {.type = REPORT_NOTIFY};

	hello.agent_pid = getpid();
	hello.n_sockets = 0;
	fake_report(fd, &hello, &spec_fd, 1);
	fake_describe(spec_fd, control_fd, notify.text, sizeof(notify.text));
	fake_report(fd, &notify, NULL, 0);
}

/* Serves connections one after the other, repeats each order in words, ends at ORDER_STOP. */
static int fake_main(int spec_fd, int control_fd)
{
	char buffer[PROTOCOL_MESSAGE_MAX + 1];
	struct report said = {.type = REPORT_NOTIFY};
	struct order order;
	size_t length;

	alarm(60); /* whatever becomes of the test */
	/* agentlink made it for an event loop; here it may wait. */
	fcntl(control_fd, F_SETFL, 0);
	for (;;) {
		int fd = accept4(control_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			return 103;
		fake_greet(fd, spec_fd, control_fd);
		for (;;) {
			struct pollfd waiting = {.fd = fd, .events = POLLIN};

			poll(&waiting, 1, -1);
			if (message_receive(fd, buffer, sizeof(buffer), &length, NULL, 0, NULL) <
				    0 ||
			    length == 0)
				break;
			if (order_decode(buffer, length, &order, NULL) < 0)
				return 104;
			snprintf(said.text, sizeof(said.text), "%s %d %u",
				 order_type_name(order.type), order.signal, order.timeout_ms);
			fake_report(fd, &said, NULL, 0);
			if (order.type == ORDER_STOP)
				return order.signal;
		}
		close(fd);
	}
}

/* ---- who is told ---------------------------------------------------------------------------- */

struct listener {
	struct report heard[HEARD_MAX];
	size_t n_fds[HEARD_MAX];
	size_t n;
	size_t lost, hung_up;
	int take; /* the descriptor to take of the first report that has it; -1: none */
	int taken;
};

static void on_report(void *userdata, const struct report *report, int *fds, size_t n_fds)
{
	struct listener *listener = userdata;

	assert_true(listener->n < HEARD_MAX);
	assert_int_equal(listener->lost, 0);
	for (size_t i = 0; i < n_fds; i++)
		assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
	listener->heard[listener->n] = *report;
	listener->n_fds[listener->n++] = n_fds;
	if (listener->taken < 0 && (int)n_fds > listener->take && listener->take >= 0)
		listener->taken = TAKE_FD(fds[listener->take]);
}

static void on_lost(void *userdata)
{
	((struct listener *)userdata)->lost++;
}

static void on_hung_up(void *userdata)
{
	((struct listener *)userdata)->hung_up++;
}

static const struct agentlink_callbacks callbacks = {
	.on_report = on_report, .on_hung_up = on_hung_up, .on_lost = on_lost};
static struct listener listener;

static void swap(int *a, int *b)
{
	int kept = *a;

	*a = *b;
	*b = kept;
}

static void run_until_heard(size_t n)
{
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	while (listener.n < n && !listener.lost && clock_monotonic_ms() < end)
		assert_true(sd_event_run(event, 100000) >= 0);
	assert_int_equal(listener.n, n);
}

static void run_until_lost(void)
{
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	while (!listener.lost && clock_monotonic_ms() < end)
		assert_true(sd_event_run(event, 100000) >= 0);
	assert_int_equal(listener.lost, 1);
}

/* Handle all that is there, and nothing that is not. */
static void run_what_is_there(void)
{
	for (int i = 0; i < 100; i++)
		if (sd_event_run(event, 0) == 0)
			return;
	fail_msg("the loop does not come to rest");
}

/* The loop has reaped it, so that not even a zombie is left. */
static void run_until_reaped(pid_t pid)
{
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	while (kill(pid, 0) == 0 && clock_monotonic_ms() < end)
		assert_true(sd_event_run(event, 100000) >= 0);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

/* ---- fixture -------------------------------------------------------------------------------- */

static size_t fds_before;
static sigset_t mask_before;

static int on_first(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec, (void)userdata;
	return 0;
}

static int setup(void **state)
{
	struct timer first = {};
	sigset_t mask;

	(void)state;
	listener = (struct listener){.take = -1, .taken = -1};
	strcpy(folder, "/tmp/test_agentlink.XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/web.7.3.sock", folder);
	/* As main.c does; sd_event_add_child(3) wants it. */
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigaddset(&mask, SIGTERM);
	sigprocmask(SIG_BLOCK, &mask, &mask_before);
	agentlink_set_deadline(DEADLINE_MS);
	the_hello = reports[0];
	the_hello.agent_pid = NOBODY;
	fds_before = count_fds();
	if (sd_event_new(&event) < 0)
		return -1;
	/* The first timer brings the loop's descriptor for timers, which stays. */
	assert_int_equal(timer_prepare(&first, event, on_first, NULL), 0);
	timer_done(&first);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	event = sd_event_unref(event);
	assert_int_equal(count_fds(), fds_before);
	sigprocmask(SIG_SETMASK, &mask_before, NULL);
	unlink(path);
	return rmdir(folder);
}

static struct launch_spec plain_spec(void)
{
	struct launch_spec spec = full_spec();

	spec.sockets_given = false;
	return spec;
}

static struct agentlink *start_with(const struct launch_spec *spec, const int *socket_fds)
{
	struct agentlink *link = NULL;

	if (agentlink_start(event, program, path, spec, socket_fds, &callbacks, &listener, &link,
			    &err) < 0)
		fail_msg("%s", err.text);
	assert_non_null(link);
	return link;
}

static struct agentlink *start(void)
{
	struct launch_spec spec = plain_spec();

	return start_with(&spec, NULL);
}

/* The agent says goodbye, and is gone. */
static void stop(struct agentlink *link)
{
	const struct order order = {.type = ORDER_STOP};
	pid_t pid = agentlink_pid(link);

	assert_int_equal(agentlink_order(link, &order), 0);
	run_until_lost();
	run_until_reaped(pid);
	agentlink_free(link);
}

static void expect_no_start(const char *agent, const char *socket_path,
			    const struct launch_spec *spec, int error)
{
	struct agentlink *link = NULL;
	size_t n;

	run_what_is_there(); /* the loop's own descriptors are there afterwards */
	n = count_fds();
	err.text[0] = '\0';
	assert_int_equal(agentlink_start(event, agent, socket_path, spec, NULL, &callbacks,
					 &listener, &link, &err),
			 error);
	assert_null(link);
	assert_int_equal(strncmp(err.text, "agent: ", 7), 0);
	assert_int_equal(count_fds(), n);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	run_what_is_there();
	assert_int_equal(listener.n + listener.lost, 0);
}

/* ---- starting ------------------------------------------------------------------------------- */

static void test_agentlink_start_agent_finds_connection_and_nothing_else(void **state)
{
	struct agentlink *link = start();

	(void)state;
	assert_int_equal(listener.n, 0); /* nothing is called from within agentlink_start() */
	run_until_heard(2);
	assert_int_equal(listener.heard[0].type, REPORT_HELLO);
	assert_true(agentlink_pid(link) > 0);
	assert_int_equal(listener.heard[0].agent_pid, agentlink_pid(link));
	/* One other: the connection that it has accepted. */
	assert_string_equal(listener.heard[1].text, "listening 1, blocked 0, others 1");
	stop(link);
}

static void test_agentlink_start_given_sockets_arrive_in_their_order(void **state)
{
	struct launch_spec spec = plain_spec();
	char expected[128] = "listening 1, blocked 0, others 1";
	struct agentlink *link;
	int fds[3];

	(void)state;
	spec.sockets_given = true;
	for (size_t i = 0; i < COUNT(fds); i++)
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The order is that of the addresses, not of the numbers. */
	swap(&fds[0], &fds[2]);
	for (size_t i = 0; i < COUNT(fds); i++) {
		size_t n = strlen(expected);
		struct stat st;

		assert_int_equal(fstat(fds[i], &st), 0);
		snprintf(expected + n, sizeof(expected) - n, ", given %lu",
			 (unsigned long)st.st_ino);
	}
	link = start_with(&spec, fds);
	/* They are the caller's still, and still not for others. */
	for (size_t i = 0; i < COUNT(fds); i++) {
		assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		close(fds[i]);
	}
	run_until_heard(2);
	assert_string_equal(listener.heard[1].text, expected);
	stop(link);
}

static void test_agentlink_start_given_sockets_that_are_none_are_refused(void **state)
{
	struct launch_spec spec = plain_spec();

	(void)state;
	spec.sockets_given = true;
	expect_no_start(program, path, &spec, -EINVAL);
}

static void test_agentlink_start_spec_arrives_whole_and_sealed(void **state)
{
	struct launch_spec spec = plain_spec();
	struct agentlink *link;
	char *expected, *text;
	struct stat st;
	size_t length;

	(void)state;
	listener.take = 0;
	link = start();
	run_until_heard(2);
	assert_true(listener.taken >= 0);
	assert_int_equal(launch_spec_encode(&spec, &expected, &length), 0);
	assert_int_equal(fstat(listener.taken, &st), 0);
	assert_int_equal(st.st_size, length);
	text = calloc(1, length + 1);
	assert_int_equal(pread(listener.taken, text, length, 0), length);
	assert_string_equal(text, expected);
	/* Whoever has it can only read it: it is handed from daemon to daemon. */
	assert_int_equal(fcntl(listener.taken, F_GET_SEALS),
			 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
	assert_int_equal(pwrite(listener.taken, "x", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	/* The agent reads it from its start. */
	assert_int_equal(lseek(listener.taken, 0, SEEK_CUR), 0);
	close(listener.taken);
	free(text);
	free(expected);
	stop(link);
}

static void test_agentlink_start_old_file_is_replaced(void **state)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	struct agentlink *link;
	struct stat st;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	link = start();
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	run_until_heard(2);
	stop(link);
}

static void test_agentlink_start_too_long_socket_path_is_refused(void **state)
{
	struct launch_spec spec = plain_spec();
	char longest[109];
	struct agentlink *link;

	(void)state;
	/* 108 bytes, one more than a NUL leaves room for. */
	snprintf(longest, sizeof(longest), "%s/%0*d", folder, (int)(108 - strlen(folder) - 1), 0);
	assert_int_equal(strlen(longest), 108);
	expect_no_start(program, longest, &spec, -ENAMETOOLONG);
	assert_non_null(strstr(err.text, longest));
	assert_non_null(strstr(err.text, "107"));
	longest[107] = '\0';
	strcpy(path, longest);
	link = start();
	run_until_heard(2);
	stop(link);
}

static void test_agentlink_start_missing_program_is_refused(void **state)
{
	struct launch_spec spec = plain_spec();
	char missing[128];

	(void)state;
	snprintf(missing, sizeof(missing), "%s/baton-agent", folder);
	expect_no_start(missing, path, &spec, -ENOENT);
	assert_non_null(strstr(err.text, missing));
	assert_non_null(strstr(err.text, strerror(ENOENT)));
	/* Nothing is left for a later daemon to find. */
	assert_int_equal(access(path, F_OK), -1);
}

static void test_agentlink_start_program_that_is_not_executable_is_refused(void **state)
{
	struct launch_spec spec = plain_spec();
	char file[128];
	int fd;

	(void)state;
	snprintf(file, sizeof(file), "%s/baton-agent", folder);
	fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	expect_no_start(file, path, &spec, -EACCES);
	assert_int_equal(access(path, F_OK), -1);
	unlink(file);
}

static void test_agentlink_start_missing_folder_is_refused(void **state)
{
	struct launch_spec spec = plain_spec();
	char elsewhere[128];

	(void)state;
	snprintf(elsewhere, sizeof(elsewhere), "%s/none/web.sock", folder);
	expect_no_start(program, elsewhere, &spec, -ENOENT);
	assert_non_null(strstr(err.text, elsewhere));
}

static void test_agentlink_start_too_large_spec_is_refused(void **state)
{
	struct launch_spec spec = plain_spec();

	(void)state;
	spec.n_groups = PROTOCOL_GROUPS_MAX + 1;
	expect_no_start(program, path, &spec, -EMSGSIZE);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_agentlink_start_program_that_cannot_run_is_lost(void **state)
{
	struct launch_spec spec = plain_spec();
	struct agentlink *link = NULL;
	char file[128];
	pid_t pid;
	int fd;

	(void)state;
	snprintf(file, sizeof(file), "%s/baton-agent", folder);
	fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0700);
	assert_true(fd >= 0);
	/* Only execve(2) finds out. */
	assert_int_equal(write(fd,
			       "\x7f"
			       "ELF",
			       4),
			 4);
	close(fd);
	assert_int_equal(
		agentlink_start(event, file, path, &spec, NULL, &callbacks, &listener, &link, &err),
		0);
	pid = agentlink_pid(link);
	run_until_lost();
	run_until_reaped(pid);
	assert_int_equal(listener.n, 0);
	agentlink_free(link);
	unlink(file);
}

/* ---- talking -------------------------------------------------------------------------------- */

static void test_agentlink_orders_arrive_in_order(void **state)
{
	struct order order = {.type = ORDER_STEADY, .on = true};
	struct agentlink *link = start();

	(void)state;
	/* The connection stands from the start: no need to wait for a hello. */
	assert_int_equal(agentlink_order(link, &order), 0);
	order = (struct order){.type = ORDER_LEAVE, .signal = 15, .timeout_ms = 1000};
	assert_int_equal(agentlink_order(link, &order), 0);
	run_until_heard(4);
	assert_string_equal(listener.heard[2].text, "steady 0 0");
	assert_string_equal(listener.heard[3].text, "leave 15 1000");
	stop(link);
	assert_string_equal(listener.heard[4].text, "stop 0 0");
}

static void test_agentlink_agent_that_fails_is_lost_once_and_reaped(void **state)
{
	const struct order order = {.type = ORDER_STOP, .signal = 3}; /* its exit status */
	struct agentlink *link = start();
	pid_t pid = agentlink_pid(link);

	(void)state;
	assert_int_equal(agentlink_order(link, &order), 0);
	run_until_lost();
	/* What it said before it ended was all heard before. */
	assert_int_equal(listener.n, 3);
	assert_string_equal(listener.heard[2].text, "stop 3 0");
	run_until_reaped(pid);
	run_what_is_there();
	assert_int_equal(listener.lost, 1);
	assert_int_equal(agentlink_order(link, &order), -ENOTCONN);
	assert_int_equal(agentlink_pid(link), pid);
	agentlink_free(link);
}

static void test_agentlink_agent_that_ended_leaves_nothing_in_the_loop(void **state)
{
	size_t n;

	(void)state;
	/* The first one brings what the loop itself needs to watch children. */
	stop(start());
	n = count_fds();
	listener = (struct listener){.take = -1, .taken = -1};
	stop(start());
	assert_int_equal(count_fds(), n);
}

static void test_agentlink_free_leaves_the_agent_to_the_next_daemon(void **state)
{
	struct agentlink *link = start();
	pid_t pid = agentlink_pid(link);

	(void)state;
	run_until_heard(2);
	agentlink_free(link);
	run_what_is_there();
	assert_int_equal(listener.lost, 0); /* nobody is told about what they did themselves */
	listener.n = 0;
	link = NULL;
	if (agentlink_connect(event, path, 0, -1, &callbacks, &listener, &link, &err) < 0)
		fail_msg("%s", err.text);
	run_until_heard(2);
	assert_int_equal(listener.heard[0].agent_pid, pid);
	assert_int_equal(agentlink_pid(link), pid);
	assert_int_equal(listener.n_fds[0], 1);
	stop(link);
}

/* ---- connecting ----------------------------------------------------------------------------- */

static struct fake_agent agent;
static char *greeting;

static void prepare(const struct report *report)
{
	fake_agent_listen(&agent, path);
	assert_int_equal(report_encode(report, &greeting, &agent.length), 0);
	agent.text = greeting;
}

static void say(const struct report *report, const int *fds, size_t n_fds)
{
	size_t length;
	char *text;

	assert_int_equal(report_encode(report, &text, &length), 0);
	assert_int_equal(message_send(agent.fd, text, length, fds, n_fds), 0);
	free(text);
}

static void finish(struct agentlink *link)
{
	agentlink_free(link);
	fake_agent_close(&agent);
	free(TAKE_PTR(greeting));
}

static struct agentlink *link_to(pid_t pid, int pidfd)
{
	struct agentlink *link = NULL;

	if (agentlink_connect(event, path, pid, pidfd, &callbacks, &listener, &link, &err) < 0)
		fail_msg("%s", err.text);
	return link;
}

/* Connected to a thread that has said hello. */
static struct agentlink *connect_to_thread(void)
{
	struct agentlink *link;

	prepare(HELLO);
	fake_agent_answer(&agent);
	link = link_to(0, -1);
	assert_int_equal(agentlink_pid(link), 0);
	run_until_heard(1);
	fake_agent_join(&agent);
	assert_int_equal(listener.n_fds[0], 0);
	listener.n = 0;
	agentlink_rest(link);
	return link;
}

static void test_agentlink_connect_hello_comes_with_its_descriptors(void **state)
{
	struct agentlink *link;
	int ends[2];
	char byte = 0;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	prepare(HELLO);
	for (size_t i = 0; i < PROTOCOL_FDS_MAX; i++)
		agent.fds[i] = ends[0];
	agent.n_fds = PROTOCOL_FDS_MAX;
	listener.take = PROTOCOL_FDS_MAX - 1;
	fake_agent_answer(&agent);
	link = link_to(0, -1);
	run_until_heard(1);
	fake_agent_join(&agent);
	assert_int_equal(listener.heard[0].type, REPORT_HELLO);
	assert_string_equal(listener.heard[0].service, "web");
	assert_int_equal(listener.heard[0].n_sockets, 2);
	assert_int_equal(agentlink_pid(link), NOBODY);
	assert_int_equal(listener.n_fds[0], PROTOCOL_FDS_MAX);
	assert_int_equal(write(ends[1], "x", 1), 1);
	assert_int_equal(read(listener.taken, &byte, 1), 1);
	assert_int_equal(byte, 'x');
	close(listener.taken);
	close(ends[0]);
	close(ends[1]);
	finish(link);
}

static void test_agentlink_connect_tells_nobody_while_it_rests(void **state)
{
	struct agentlink *link = connect_to_thread();

	(void)state;
	say(NOTIFY, NULL, 0);
	say(STARTED, NULL, 0);
	run_what_is_there();
	assert_int_equal(listener.n, 0);
	agentlink_listen(link, &callbacks, &listener);
	run_until_heard(2);
	assert_int_equal(listener.heard[0].type, REPORT_NOTIFY);
	assert_string_equal(listener.heard[0].text, NOTIFY->text);
	assert_int_equal(listener.heard[1].type, REPORT_STARTED);
	finish(link);
}

static void test_agentlink_connect_orders_reach_the_agent(void **state)
{
	const struct order order = {.type = ORDER_LEAVE, .signal = 10, .timeout_ms = 250};
	struct agentlink *link = connect_to_thread();
	char buffer[PROTOCOL_MESSAGE_MAX + 1];
	struct order heard;
	size_t length;

	(void)state;
	assert_int_equal(agentlink_order(link, &order), 0);
	assert_int_equal(message_receive(agent.fd, buffer, sizeof(buffer), &length, NULL, 0, NULL),
			 0);
	assert_int_equal(order_decode(buffer, length, &heard, &err), 0);
	assert_int_equal(heard.type, ORDER_LEAVE);
	assert_int_equal(heard.signal, 10);
	assert_int_equal(heard.timeout_ms, 250);
	finish(link);
}

static void test_agentlink_report_descriptors_are_closed_unless_taken(void **state)
{
	struct agentlink *link = connect_to_thread();
	int ends[2], fds[3];
	char byte;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	for (size_t i = 0; i < 3; i++)
		fds[i] = ends[1];
	listener.take = 1;
	agentlink_listen(link, &callbacks, &listener);
	say(NOTIFY, fds, 3);
	close(ends[1]);
	run_until_heard(1);
	assert_int_equal(listener.n_fds[0], 3);
	/* The one that was taken is open and can be written to ... */
	assert_int_equal(write(listener.taken, "x", 1), 1);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(listener.taken);
	/* ... and was the last of them. */
	assert_int_equal(read(ends[0], &byte, 1), 0);
	close(ends[0]);
	finish(link);
}

static void test_agentlink_bad_reports_are_dropped_with_their_descriptors(void **state)
{
	static char too_long[PROTOCOL_MESSAGE_MAX + 1];
	struct agentlink *link = connect_to_thread();
	int ends[2], many[PROTOCOL_FDS_MAX + 1];
	char byte;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	for (size_t i = 0; i < COUNT(many); i++)
		many[i] = ends[1];
	memset(too_long, ' ', sizeof(too_long));
	agentlink_listen(link, &callbacks, &listener);
	assert_int_equal(message_send(agent.fd, too_long, sizeof(too_long), many, 1), 0);
	assert_int_equal(message_send(agent.fd, "{\"type\":\"left\"}", 15, many, 2), 0);
	assert_int_equal(message_send(agent.fd, "hello?", 6, NULL, 0), 0);
	say(NOTIFY, many, COUNT(many));
	say(STARTED, NULL, 0);
	close(ends[1]);
	run_until_heard(1);
	/* The link goes on: what was good has arrived, and it alone. */
	assert_int_equal(listener.heard[0].type, REPORT_STARTED);
	assert_int_equal(listener.lost, 0);
	assert_int_equal(read(ends[0], &byte, 1), 0); /* no writer is left */
	close(ends[0]);
	finish(link);
}

static void *no_malloc(size_t size)
{
	(void)size;
	errno = ENOMEM;
	return NULL;
}

/* What jansson allocates; the texts that are sent were made before. */
static void take_memory_away(bool on)
{
	json_set_alloc_funcs(on ? no_malloc : malloc, free);
}

static void test_agentlink_report_that_finds_no_memory_is_heard_later(void **state)
{
	struct agentlink *link = connect_to_thread();
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	agentlink_listen(link, &callbacks, &listener);
	say(NOTIFY, &null, 1);
	say(STARTED, NULL, 0);
	take_memory_away(true);
	run_what_is_there();
	take_memory_away(false);
	assert_int_equal(listener.n, 0);
	assert_int_equal(listener.lost, 0);
	run_until_heard(2);
	assert_int_equal(listener.heard[0].type, REPORT_NOTIFY);
	assert_int_equal(listener.n_fds[0], 1);
	assert_int_equal(listener.heard[1].type, REPORT_STARTED);
	/* What waits when the link is freed goes with it. */
	say(NOTIFY, &null, 1);
	take_memory_away(true);
	run_what_is_there();
	take_memory_away(false);
	close(null);
	finish(link);
}

static void test_agentlink_order_that_finds_no_memory_goes_out_later(void **state)
{
	const struct order steady = {.type = ORDER_STEADY, .on = true},
			   leave = {.type = ORDER_LEAVE, .signal = 15, .timeout_ms = 1000};
	struct agentlink *link = start();

	(void)state;
	run_until_heard(2);
	take_memory_away(true);
	assert_int_equal(agentlink_order(link, &steady), 0);
	run_what_is_there();
	take_memory_away(false);
	assert_int_equal(agentlink_order(link, &leave), 0);
	run_until_heard(4);
	assert_string_equal(listener.heard[2].text, "steady 0 0");
	assert_string_equal(listener.heard[3].text, "leave 15 1000");
	stop(link);
}

static void test_agentlink_last_reports_are_heard_before_the_loss(void **state)
{
	const struct order order = {.type = ORDER_STOP};
	struct agentlink *link = connect_to_thread();

	(void)state;
	agentlink_listen(link, &callbacks, &listener);
	/* Unread by the agent when it closes: the kernel then reports ECONNRESET. */
	assert_int_equal(agentlink_order(link, &order), 0);
	say(NOTIFY, NULL, 0);
	say(STOPPED, NULL, 0);
	fake_agent_close(&agent);
	/* Not known to be lost yet, but nobody is there. */
	assert_true(agentlink_order(link, &order) < 0);
	run_until_lost();
	assert_int_equal(listener.n, 2);
	assert_int_equal(listener.heard[1].type, REPORT_STOPPED);
	run_what_is_there();
	assert_int_equal(listener.lost, 1);
	assert_int_equal(agentlink_order(link, &order), -ENOTCONN);
	finish(link);
}

static void test_agentlink_order_to_an_agent_that_does_not_read_is_eagain(void **state)
{
	const struct order order = {.type = ORDER_STEADY};
	struct agentlink *link = connect_to_thread();
	char buffer[PROTOCOL_MESSAGE_MAX + 1];
	size_t length, sent = 0, n = 0;
	int r;

	(void)state;
	agentlink_listen(link, &callbacks, &listener);
	while ((r = agentlink_order(link, &order)) == 0 && sent < 100000)
		sent++;
	assert_int_equal(r, -EAGAIN);
	assert_true(sent > 0);
	run_what_is_there();
	assert_int_equal(listener.lost, 0); /* it may read again */
	while (message_receive(agent.fd, buffer, sizeof(buffer), &length, NULL, 0, NULL) == 0 &&
	       length > 0) {
		n++;
		if (n == sent)
			break;
	}
	assert_int_equal(n, sent);
	assert_int_equal(agentlink_order(link, &order), 0);
	finish(link);
}

/* ---- versions ------------------------------------------------------------------------------- */

/* Its hello says which versions it speaks; *ret: the answer. */
static struct agentlink *meet(uint32_t oldest, uint32_t newest, struct order *ret)
{
	char buffer[PROTOCOL_MESSAGE_MAX + 1];
	struct report hello = *HELLO;
	struct agentlink *link;
	size_t length;

	hello.version = oldest;
	hello.newest = newest;
	prepare(&hello);
	fake_agent_answer(&agent);
	link = link_to(0, -1);
	run_until_heard(1);
	fake_agent_join(&agent);
	listener.n = 0;
	if (newest == 0) {
		assert_int_equal(recv(agent.fd, buffer, 1, MSG_DONTWAIT), -1);
		assert_int_equal(errno, EAGAIN);
		return link;
	}
	assert_int_equal(message_receive(agent.fd, buffer, sizeof(buffer), &length, NULL, 0, NULL),
			 0);
	assert_int_equal(order_decode(buffer, length, ret, &err), 0);
	return link;
}

static void test_agentlink_newest_common_version_is_taken_and_told(void **state)
{
	static const struct {
		uint32_t oldest, newest, taken;
	} cases[] = {
		{1, PROTOCOL_VERSION, PROTOCOL_VERSION},
		{PROTOCOL_VERSION, PROTOCOL_VERSION + 1, PROTOCOL_VERSION},
		{1, UINT32_MAX, PROTOCOL_VERSION},
		{1, 1, 1},
	};

	(void)state;
	for (size_t k = 0; k < COUNT(cases); k++) {
		struct order answer;
		struct agentlink *link = meet(cases[k].oldest, cases[k].newest, &answer);

		assert_int_equal(answer.type, ORDER_VERSION);
		assert_int_equal(answer.version, cases[k].taken);
		assert_int_equal(agentlink_version(link), cases[k].taken);
		assert_null(agentlink_unfit(link));
		finish(link);
		unlink(path);
	}
}

/* It would log that it ignores an order. */
static void test_agentlink_agent_that_says_one_version_gets_no_answer(void **state)
{
	struct agentlink *link = meet(PROTOCOL_OLDEST, 0, NULL);

	(void)state;
	assert_int_equal(agentlink_version(link), PROTOCOL_OLDEST);
	finish(link);
}

/* Of a link whose agent was just started, for example: the hello is the first report that comes. */
static void test_agentlink_heard_hello_that_does_not_fit_ends_the_link(void **state)
{
	static const char text[] = "{\"type\":\"hello\",\"version\":7,\"newest\":8,"
				   "\"agent_pid\":4711,\"whatever\":[]}";
	struct agentlink *link = connect_to_thread();

	(void)state;
	agentlink_listen(link, &callbacks, &listener);
	assert_int_equal(message_send(agent.fd, text, strlen(text), NULL, 0), 0);
	run_until_lost();
	assert_int_equal(listener.n, 0);
	assert_int_equal(agentlink_loss(link), AGENTLINK_UNFIT);
	assert_non_null(strstr(agentlink_unfit(link), "pid 4711 speaks versions 7 to 8 of "));
	assert_true(fake_agent_is_alone(&agent));
	finish(link);
}

/* ---- connecting in vain --------------------------------------------------------------------- */

static void expect_no_link(int error, const char *why)
{
	struct agentlink *link = NULL;

	err.text[0] = '\0';
	assert_int_equal(agentlink_connect(event, path, 0, -1, &callbacks, &listener, &link, &err),
			 error);
	assert_null(link);
	assert_int_equal(listener.lost, 0);
	if (!strstr(err.text, why))
		fail_msg("\"%s\" is not in: %s", why, err.text);
}

static void test_agentlink_connect_nobody_there_is_refused(void **state)
{
	(void)state;
	expect_no_link(-ECONNREFUSED, strerror(ECONNREFUSED));
	fake_agent_listen(&agent, path);
	fake_agent_close(&agent);
	expect_no_link(-ECONNREFUSED, strerror(ECONNREFUSED));
	assert_int_equal(access(path, F_OK), 0); /* whether to remove it is not decided here */
}

static void test_agentlink_connect_too_long_path_is_refused(void **state)
{
	char saved[sizeof(path)];

	(void)state;
	strcpy(saved, path);
	memset(path, 'x', 108);
	path[108] = '\0';
	expect_no_link(-ENAMETOOLONG, path);
	strcpy(path, saved);
}

/* Nobody knows who that is: it may live, and cannot be ended. */
static void expect_unknown(struct agentlink *link)
{
	run_until_lost();
	assert_int_equal(agentlink_loss(link), AGENTLINK_UNKNOWN);
	assert_int_equal(agentlink_pid(link), 0);
	finish(link);
}

static void test_agentlink_connect_silent_agent_is_unknown_at_the_deadline(void **state)
{
	uint64_t since = clock_monotonic_ms();
	struct agentlink *link;

	(void)state;
	agentlink_set_deadline(100);
	fake_agent_listen(&agent, path);
	fake_agent_answer(&agent);
	link = link_to(0, -1);
	run_until_lost();
	/* Each reading of the clock is cut to whole milliseconds. */
	assert_in_range(clock_monotonic_ms() - since, 99, DEADLINE_MS);
	fake_agent_join(&agent);
	assert_true(fake_agent_is_alone(&agent));
	expect_unknown(link);
}

/* As long as somebody listens, it is asked again. */
static void test_agentlink_connect_agent_that_closes_is_asked_again(void **state)
{
	struct agentlink *link;

	(void)state;
	prepare(HELLO);
	agent.text = NULL;
	agent.closes = true;
	fake_agent_answer(&agent);
	link = link_to(0, -1);
	fake_agent_join(&agent);
	run_what_is_there();
	agent.text = greeting;
	agent.closes = false;
	fake_agent_answer(&agent);
	run_until_heard(1);
	fake_agent_join(&agent);
	assert_int_equal(listener.lost, 0);
	finish(link);
}

/* @text, with descriptors, instead of a hello; they must not stay open, and nobody is told. */
static void expect_refused_greeting(const char *text, size_t length, size_t n_fds)
{
	struct agentlink *link;
	int ends[2];
	char byte;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	fake_agent_listen(&agent, path);
	agent.text = text;
	agent.length = length;
	agent.n_fds = n_fds;
	for (size_t i = 0; i < n_fds; i++)
		agent.fds[i] = ends[1];
	fake_agent_answer(&agent);
	link = link_to(0, -1);
	fake_agent_join(&agent);
	run_until_lost();
	assert_int_equal(listener.n, 0);
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 0);
	assert_true(fake_agent_is_alone(&agent));
	close(ends[0]);
	expect_unknown(link);
	listener.lost = 0;
	unlink(path);
}

static void test_agentlink_connect_what_is_no_report_is_no_greeting(void **state)
{
	static char too_long[PROTOCOL_MESSAGE_MAX + 1];
	size_t length;
	char *text;

	(void)state;
	agentlink_set_deadline(100);
	expect_refused_greeting("SSH-2.0", 7, 2);
	memset(too_long, ' ', sizeof(too_long));
	expect_refused_greeting(too_long, sizeof(too_long), 1);
	assert_int_equal(report_encode(HELLO, &text, &length), 0);
	expect_refused_greeting(text, length, PROTOCOL_FDS_MAX + 1);
	free(text);
}

/* ---- hanging up ----------------------------------------------------------------------------- */

/* A process that does nothing, and whose pid the greeting has. */
static pid_t make_process(struct report *ret_hello)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(60); /* whatever becomes of the test */
		for (;;)
			pause();
	}
	*ret_hello = *HELLO;
	ret_hello->agent_pid = pid;
	return pid;
}

static int end_process(pid_t pid)
{
	int status = 0;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* It has greeted by that thread, and closes the connection. */
static struct agentlink *connect_and_hang_up(const struct report *hello)
{
	struct agentlink *link;

	prepare(hello);
	fake_agent_answer(&agent);
	link = link_to(0, -1);
	run_until_heard(1);
	fake_agent_join(&agent);
	close(agent.fd);
	return link;
}

static void test_agentlink_agent_that_hangs_up_is_connected_to_again(void **state)
{
	const struct order order = {.type = ORDER_STOP};
	struct agentlink *link;
	struct report hello;
	pid_t pid = make_process(&hello);

	(void)state;
	link = connect_and_hang_up(&hello);
	while (listener.hung_up == 0)
		assert_true(sd_event_run(event, 100000) >= 0);
	/* It might never hear that. */
	assert_int_equal(agentlink_order(link, &order), -EAGAIN);
	fake_agent_answer(&agent);
	run_until_heard(2);
	fake_agent_join(&agent);
	assert_int_equal(listener.heard[1].type, REPORT_HELLO);
	assert_int_equal(listener.hung_up, 1);
	assert_int_equal(agentlink_order(link, &order), 0);
	/* Only its end is the end. */
	end_process(pid);
	close(agent.fd);
	agent.fd = -1;
	run_until_lost();
	assert_int_equal(agentlink_loss(link), AGENTLINK_ENDED);
	assert_int_equal(listener.hung_up, 1);
	finish(link);
}

static void test_agentlink_agent_that_hangs_up_and_ends_is_lost_at_once(void **state)
{
	struct agentlink *link;
	struct report hello;
	pid_t pid = make_process(&hello);

	(void)state;
	link = connect_and_hang_up(&hello);
	while (listener.hung_up == 0)
		assert_true(sd_event_run(event, 100000) >= 0);
	fake_agent_close(&agent);
	end_process(pid);
	run_until_lost();
	assert_int_equal(agentlink_loss(link), AGENTLINK_ENDED);
	assert_int_equal(agentlink_order(link, &(struct order){.type = ORDER_STOP}), -ENOTCONN);
	finish(link);
}

/* A child of the agent that has yet to exec has its descriptors, and may hang. */
static void test_agentlink_agent_that_ends_is_lost_while_another_has_its_connection(void **state)
{
	struct agentlink *link;
	struct report hello;
	pid_t pid = make_process(&hello);

	(void)state;
	prepare(&hello);
	fake_agent_answer(&agent);
	link = link_to(0, -1);
	run_until_heard(1);
	fake_agent_join(&agent);
	/* What it has said is heard before. */
	say(NOTIFY, NULL, 0);
	end_process(pid);
	run_until_lost();
	assert_int_equal(listener.n, 2);
	assert_int_equal(listener.hung_up, 0);
	assert_int_equal(agentlink_loss(link), AGENTLINK_ENDED);
	finish(link);
}

/* The same of the socket at which it listened: whoever connects to that waits for nobody. */
static void test_agentlink_agent_that_ends_is_lost_while_another_has_its_socket(void **state)
{
	struct agentlink *link;
	struct report hello;
	pid_t pid = make_process(&hello);

	(void)state;
	link = connect_and_hang_up(&hello);
	agent.fd = -1;
	while (listener.hung_up == 0)
		assert_true(sd_event_run(event, 100000) >= 0);
	run_what_is_there();
	assert_int_equal(listener.lost, 0);
	end_process(pid);
	run_until_lost();
	assert_int_equal(agentlink_loss(link), AGENTLINK_ENDED);
	finish(link);
}

static void test_agentlink_agent_that_never_answers_is_ended_before_it_is_lost(void **state)
{
	struct agentlink *link;
	struct report hello;
	pid_t pid = make_process(&hello);
	int status = 0;

	(void)state;
	agentlink_set_deadline(100);
	link = connect_and_hang_up(&hello);
	run_until_lost();
	assert_int_equal(agentlink_loss(link), AGENTLINK_GIVEN_UP);
	assert_int_equal(waitpid(pid, &status, WNOHANG), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	agent.fd = -1;
	finish(link);
}

/* Nobody listens at the moment, and the process lives: it may yet. */
static void test_agentlink_connect_known_agent_is_tried_until_it_listens(void **state)
{
	struct agentlink *link;
	struct report hello;
	pid_t pid = make_process(&hello);

	(void)state;
	link = link_to(pid, pidfd_open(pid, 0));
	assert_int_equal(agentlink_pid(link), pid);
	run_what_is_there();
	assert_int_equal(listener.lost, 0);
	prepare(&hello);
	fake_agent_answer(&agent);
	run_until_heard(1);
	fake_agent_join(&agent);
	end_process(pid);
	finish(link);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_agentlink_##name, setup, teardown)
		TEST(start_agent_finds_connection_and_nothing_else),
		TEST(start_given_sockets_arrive_in_their_order),
		TEST(start_given_sockets_that_are_none_are_refused),
		TEST(start_spec_arrives_whole_and_sealed),
		TEST(start_old_file_is_replaced),
		TEST(start_too_long_socket_path_is_refused),
		TEST(start_missing_program_is_refused),
		TEST(start_program_that_is_not_executable_is_refused),
		TEST(start_missing_folder_is_refused),
		TEST(start_too_large_spec_is_refused),
		TEST(start_program_that_cannot_run_is_lost),
		TEST(orders_arrive_in_order),
		TEST(agent_that_fails_is_lost_once_and_reaped),
		TEST(agent_that_ended_leaves_nothing_in_the_loop),
		TEST(free_leaves_the_agent_to_the_next_daemon),
		TEST(connect_hello_comes_with_its_descriptors),
		TEST(connect_tells_nobody_while_it_rests),
		TEST(connect_orders_reach_the_agent),
		TEST(report_descriptors_are_closed_unless_taken),
		TEST(bad_reports_are_dropped_with_their_descriptors),
		TEST(report_that_finds_no_memory_is_heard_later),
		TEST(order_that_finds_no_memory_goes_out_later),
		TEST(last_reports_are_heard_before_the_loss),
		TEST(order_to_an_agent_that_does_not_read_is_eagain),
		TEST(newest_common_version_is_taken_and_told),
		TEST(agent_that_says_one_version_gets_no_answer),
		TEST(heard_hello_that_does_not_fit_ends_the_link),
		TEST(connect_nobody_there_is_refused),
		TEST(connect_too_long_path_is_refused),
		TEST(connect_silent_agent_is_unknown_at_the_deadline),
		TEST(connect_agent_that_closes_is_asked_again),
		TEST(connect_what_is_no_report_is_no_greeting),
		TEST(agent_that_hangs_up_is_connected_to_again),
		TEST(agent_that_hangs_up_and_ends_is_lost_at_once),
		TEST(agent_that_ends_is_lost_while_another_has_its_connection),
		TEST(agent_that_ends_is_lost_while_another_has_its_socket),
		TEST(agent_that_never_answers_is_ended_before_it_is_lost),
		TEST(connect_known_agent_is_tried_until_it_listens),
	};
	ssize_t n;

	if (argc == 7 && strcmp(argv[5], "--socket-fds") == 0)
		fake_look_at_given(argv[6]);
	if ((argc == 5 || argc == 7) && strcmp(argv[0], "baton-agent") == 0 &&
	    strcmp(argv[1], "--spec-fd") == 0 && strcmp(argv[3], "--control-fd") == 0)
		return fake_main(atoi(argv[2]), atoi(argv[4]));
	n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	if (n < 0)
		return 1;
	program[n] = '\0';
	/* What this program was given by accident is not to be passed on. */
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
