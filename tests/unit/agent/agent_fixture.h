/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * agent_fixture: the real baton-agent, started as batond starts it, with a small server in Python.
 * Included after cmocka.h.
 *
 * The scripts begin with what SERVER_PRELUDE defines: bind(port), passed(), and serve(sockets),
 * which answers each connection with the server's pid and the number of sockets that it was passed.
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "orchestrator/instance/agentlink.h"
#include "orchestrator/host/cgroup.h"
#include "tests/unit/fakes/netns.h"

#define DEADLINE_MS 20000
#define ADDRESS     "127.0.0.1:7001"
#define OTHER       "127.0.0.1:7002"
#define UNDECLARED  "127.0.0.1:7003"

#define SERVER_PRELUDE                                                                             \
	"import os, select, signal, socket, sys, time\n"                                           \
	"def bind(port, share=True, listen=True, mapped=False):\n"                                 \
	"    s = socket.socket(socket.AF_INET6 if mapped else socket.AF_INET)\n"                   \
	"    if share:\n"                                                                          \
	"        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"                        \
	"    s.bind(('::ffff:127.0.0.1' if mapped else '127.0.0.1', port))\n"                      \
	"    if listen:\n"                                                                         \
	"        s.listen(64)\n"                                                                   \
	"    return s\n"                                                                           \
	"def passed():\n"                                                                          \
	"    n = int(os.environ.get('LISTEN_FDS', 0))\n"                                           \
	"    return [socket.socket(fileno=fd) for fd in range(3, 3 + n)]\n"                        \
	"def await_listening(sockets): # poll(2) and accept(2) fail before\n"                      \
	"    while not sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):\n"          \
	"        time.sleep(0.01)\n"                                                               \
	"    return sockets\n"                                                                     \
	"def ready():\n"                                                                           \
	"    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"                               \
	"    s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])\n"                                  \
	"def daemonise():\n"                                                                       \
	"    for i in range(2):\n"                                                                 \
	"        if os.fork() > 0:\n"                                                              \
	"            os._exit(0)\n"                                                                \
	"        os.setsid() if i == 0 else None\n"                                                \
	"def serve(sockets):\n"                                                                    \
	"    while True:\n"                                                                        \
	"        for s in select.select(sockets, [], [], 0.1)[0]:\n"                               \
	"            c = s.accept()[0]\n"                                                          \
	"            n = os.environ.get('LISTEN_FDS', '0')\n"                                      \
	"            c.sendall(('%d %s' % (os.getpid(), n)).encode())\n"                           \
	"            c.close()\n"

struct set {
	struct report report; /* the last HELLO or SOCKETS */
	int fds[PROTOCOL_SOCKETS_MAX];
};

struct fixture {
	char folder[64];
	char path[128];
	char script[8192];
	char cgroup[CGROUP_PATH_MAX];
	struct address addresses[2];
	char *argv[6];
	char *environment[4];
	struct launch_spec spec;
	sd_event *event;
	struct agentlink *link;
	pid_t agent;

	struct set set;
	unsigned n_sets;
	struct report heard[_REPORT_TYPE_COUNT]; /* the last of each type */
	unsigned n_heard[_REPORT_TYPE_COUNT];
	pid_t pid; /* of the server, as heard last */
	bool lost;
};

static char fixture_agent[512], fixture_base[CGROUP_PATH_MAX];

/* ---- hearing -------------------------------------------------------------------------------- */

static void fixture_close_set(struct fixture *fixture)
{
	for (size_t i = 0; i < fixture->set.report.n_sockets; i++)
		close(fixture->set.fds[i]);
	fixture->set.report.n_sockets = 0;
}

static void fixture_take_set(struct fixture *fixture, const struct report *report, int *fds,
			     size_t n_fds)
{
	assert_true(n_fds >= report->n_sockets);
	fixture_close_set(fixture);
	fixture->set.report = *report;
	fixture->n_sets++;
	for (size_t i = 0; i < report->n_sockets; i++) {
		socklen_t size = sizeof(uint64_t);
		uint64_t cookie = 0;

		fixture->set.fds[i] = TAKE_FD(fds[i]);
		assert_int_equal(
			getsockopt(fixture->set.fds[i], SOL_SOCKET, SO_COOKIE, &cookie, &size), 0);
		assert_true(cookie == report->sockets[i].cookie);
	}
}

static void fixture_on_report(void *userdata, const struct report *report, int *fds, size_t n_fds)
{
	struct fixture *fixture = userdata;

	fixture->heard[report->type] = *report;
	fixture->n_heard[report->type]++;
	/* Said before anybody was connected. */
	if (report->type == REPORT_HELLO && report->ready && fixture->n_heard[REPORT_NOTIFY] == 0)
		fixture->n_heard[REPORT_NOTIFY]++;
	if (report->type == REPORT_HELLO || report->type == REPORT_STARTED)
		fixture->pid = report->pid;
	if (report->type == REPORT_HELLO || report->type == REPORT_SOCKETS)
		fixture_take_set(fixture, report, fds, n_fds);
}

static void fixture_on_lost(void *userdata)
{
	((struct fixture *)userdata)->lost = true;
}

static const struct agentlink_callbacks fixture_callbacks = {
	.on_report = fixture_on_report,
	.on_lost = fixture_on_lost,
};

/* Run the loop until @condition holds. */
#define AWAIT(fixture, condition)                                                                  \
	do {                                                                                       \
		uint64_t end_ = clock_monotonic_ms() + DEADLINE_MS;                                \
		while (!(condition)) {                                                             \
			if (clock_monotonic_ms() > end_)                                           \
				fail_msg("%s; exited: %s; failed: %s", #condition,                 \
					 (fixture)->heard[REPORT_EXITED].tail,                     \
					 (fixture)->heard[REPORT_FAILED].text);                    \
			assert_true(sd_event_run((fixture)->event, 10000) >= 0);                   \
		}                                                                                  \
	} while (0)

/* Another daemon connects to it, and hears its hello first. */
static inline void fixture_connect(struct fixture *fixture)
{
	unsigned before = fixture->n_heard[REPORT_HELLO];
	struct error err;

	agentlink_free(TAKE_PTR(fixture->link));
	fixture->lost = false;
	if (agentlink_connect(fixture->event, fixture->path, 0, -1, &fixture_callbacks, fixture,
			      &fixture->link, &err) < 0)
		fail_msg("%s", err.text);
	AWAIT(fixture, fixture->n_heard[REPORT_HELLO] > before);
}

static inline void await_heard(struct fixture *fixture, enum report_type type, unsigned n)
{
	AWAIT(fixture, fixture->n_heard[type] >= n);
}

/* How many of the set are for @endpoint, and (own 0 or 1) are the server's own or not. */
static inline size_t count_set(const struct fixture *fixture, uint32_t endpoint, bool own)
{
	const struct report *report = &fixture->set.report;
	size_t n = 0;

	for (size_t i = 0; i < report->n_sockets; i++)
		n += report->sockets[i].endpoint == endpoint && report->sockets[i].own == own;
	return n;
}

/* ---- orders --------------------------------------------------------------------------------- */

static inline void order(struct fixture *fixture, const struct order *what)
{
	assert_int_equal(agentlink_order(fixture->link, what), 0);
}

static inline void order_steady(struct fixture *fixture)
{
	order(fixture, &(struct order){.type = ORDER_STEADY, .on = true});
}

static inline void order_release(struct fixture *fixture)
{
	order(fixture,
	      &(struct order){.type = ORDER_RELEASE, .serial = fixture->set.report.serial});
}

static inline void order_leave(struct fixture *fixture, int signal, uint32_t timeout_ms)
{
	order(fixture,
	      &(struct order){.type = ORDER_LEAVE, .signal = signal, .timeout_ms = timeout_ms});
}

/* ---- the server ----------------------------------------------------------------------------- */

static inline int open_connection(const char *text)
{
	struct address address;
	struct error err;
	int fd;

	assert_int_equal(address_parse(text, &address, &err), 0);
	fd = socket(address.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (connect(fd, &address.sa, address.length) < 0) {
		close(fd);
		return -errno;
	}
	return fd;
}

/* The pid that answers on @fd, which is closed; 0: none does. The loop goes on meanwhile. */
static inline pid_t read_answer(struct fixture *fixture, int fd, int *ret_passed)
{
	uint64_t end_ms = clock_monotonic_ms() + DEADLINE_MS;
	char text[64] = "";
	int pid = 0, n = 0;

	while (clock_monotonic_ms() < end_ms) {
		ssize_t length = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

		if (length >= 0 || errno != EAGAIN)
			break;
		assert_true(sd_event_run(fixture->event, 10000) >= 0);
	}
	close(fd);
	(void)sscanf(text, "%d %d", &pid, &n);
	if (ret_passed)
		*ret_passed = n;
	return pid;
}

static inline pid_t ask(struct fixture *fixture, const char *text, int *ret_passed)
{
	int fd = open_connection(text);

	if (fd < 0)
		return 0;
	return read_answer(fixture, fd, ret_passed);
}

/* Does a process with @pid exist? */
static inline bool exists(pid_t pid)
{
	return kill(pid, 0) == 0;
}

/* Has it ended, but not been reaped? */
static inline bool fixture_is_zombie(pid_t pid)
{
	char path[64], state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
	fclose(file);
	return state == 'Z';
}

/* Listening sockets of this network namespace (proc_net_tcp(5)): 0A is TCP_LISTEN. */
static inline size_t count_listening(void)
{
	FILE *file = fopen("/proc/self/net/tcp", "re");
	char line[256];
	size_t n = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, " 00000000:0000 0A ") != NULL;
	fclose(file);
	return n;
}

/* ---- life ----------------------------------------------------------------------------------- */

static inline int fixture_setup(void **data)
{
	static struct fixture fixture;
	struct error err;

	memset(&fixture, 0, sizeof(fixture));
	*data = &fixture;
	strcpy(fixture.folder, "/tmp/test_agent.XXXXXX");
	if (!mkdtemp(fixture.folder))
		return -1;
	snprintf(fixture.path, sizeof(fixture.path), "%s/sock", fixture.folder);
	if (address_parse(ADDRESS, &fixture.addresses[0], &err) < 0 ||
	    address_parse(OTHER, &fixture.addresses[1], &err) < 0)
		return -1;
	fixture.argv[0] = (char *)"python3";
	fixture.argv[1] = (char *)"-ISc";
	fixture.argv[2] = fixture.script;
	fixture.environment[0] = (char *)"LANG=C";
	fixture.spec = (struct launch_spec){
		.service = (char *)"web",
		.generation = 1,
		.listen = fixture.addresses,
		.n_listen = 1,
		.mode = SOCKETS_NATIVE,
		.backlog = 64,
		.executable = (char *)"/usr/bin/python3",
		.argv = fixture.argv,
		.environment = fixture.environment,
		.directory = (char *)"/",
		.restart_max = 3,
		.restart_window_ms = 60000,
		.restart_delay_ms = 10,
		.restart_delay_max_ms = 100,
	};
	process_settings_init(&fixture.spec.process);
	return sd_event_new(&fixture.event) < 0 ? -1 : 0;
}

/* The same in a cgroup of its own, where one can be made. */
static inline int fixture_setup_cgroup(void **data)
{
	struct fixture *fixture;
	struct error err;
	char leaf[64];
	uint64_t id;
	int r = fixture_setup(data);

	fixture = *data;
	snprintf(leaf, sizeof(leaf), "leaf-%s", fixture->folder + strlen("/tmp/test_agent."));
	if (r < 0 || !fixture_base[0])
		return r;
	if (cgroup_create(fixture_base, leaf, fixture->cgroup, &id, &err) < 0)
		return -1;
	fixture->spec.cgroup = fixture->cgroup;
	return 0;
}

static inline void end_agent(struct fixture *fixture)
{
	uint64_t end_ms = clock_monotonic_ms() + DEADLINE_MS;

	if (!fixture->agent)
		return;
	if (!fixture->lost)
		(void)agentlink_order(fixture->link,
				      &(struct order){.type = ORDER_STOP, .signal = SIGKILL});
	while (!fixture->lost && clock_monotonic_ms() < end_ms)
		(void)sd_event_run(fixture->event, 10000);
	if (!fixture->lost)
		kill(fixture->agent, SIGKILL);
	/* Reaped by the loop. */
	while (exists(fixture->agent) && clock_monotonic_ms() < end_ms)
		(void)sd_event_run(fixture->event, 10000);
}

static inline int fixture_teardown(void **data)
{
	struct fixture *fixture = *data;

	end_agent(fixture);
	agentlink_free(fixture->link);
	fixture_close_set(fixture);
	fixture->event = sd_event_unref(fixture->event);
	for (int i = 0; fixture->cgroup[0] && i < 500 && cgroup_remove(fixture->cgroup) < 0; i++)
		poll(NULL, 0, 10);
	(void)unlink(fixture->path);
	return rmdir(fixture->folder);
}

/* Start it with @script after the prelude, and wait for its hello. */
static inline void start_with(struct fixture *fixture, const char *script, const int *socket_fds)
{
	struct error err;

	snprintf(fixture->script, sizeof(fixture->script), "%s%s", SERVER_PRELUDE, script);
	if (agentlink_start(fixture->event, fixture_agent, fixture->path, &fixture->spec,
			    socket_fds, &fixture_callbacks, fixture, &fixture->link, &err) < 0)
		fail_msg("%s", err.text);
	fixture->agent = agentlink_pid(fixture->link);
	AWAIT(fixture, fixture->n_heard[REPORT_HELLO] >= 1 || fixture->lost);
}

static inline void start(struct fixture *fixture, const char *script)
{
	start_with(fixture, script, NULL);
}

/* NULL, or why the tests are skipped. */
static inline const char *fixture_open(void)
{
	const char *reason = netns_enter();
	struct error err;
	char name[64];
	sigset_t mask;
	FILE *file;
	ssize_t n;
	char *end;

	if (reason)
		return reason;
	/* What a socket leaves queued goes to another one, as under batond's program. */
	file = fopen("/proc/sys/net/ipv4/tcp_migrate_req", "we");
	if (!file || fputs("1", file) < 0 || fclose(file) != 0)
		return "tcp_migrate_req cannot be set (Linux 5.14)";
	n = readlink("/proc/self/exe", fixture_agent, sizeof(fixture_agent) - 32);
	if (n < 0)
		return "no /proc";
	fixture_agent[n] = '\0';
	/* BUILD/tests/unit/agent/test_x */
	for (int i = 0; i < 4 && (end = strrchr(fixture_agent, '/')); i++)
		*end = '\0';
	strcat(fixture_agent, "/baton-agent");
	snprintf(name, sizeof(name), "test_agent-%d", (int)getpid());
	if (cgroup_base(name, fixture_base, &err) < 0) {
		print_message("no cgroup: %s\n", err.text);
		fixture_base[0] = '\0';
	}
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signal(SIGPIPE, SIG_IGN);
	return NULL;
}

static inline void fixture_close(void)
{
	if (fixture_base[0])
		(void)rmdir(fixture_base);
}

/* What main() returns. */
#define fixture_run(tests)                                                                         \
	({                                                                                         \
		const char *reason_ = fixture_open();                                              \
		int failed_ = 77;                                                                  \
		if (reason_) {                                                                     \
			print_message("skipped: %s\n", reason_);                                   \
		} else {                                                                           \
			cmocka_set_test_filter(getenv("ONLY"));                                    \
			failed_ = cmocka_run_group_tests(tests, NULL, NULL);                       \
			fixture_close();                                                           \
		}                                                                                  \
		failed_;                                                                           \
	})

#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)
#define TEST_CGROUP(function)                                                                      \
	cmocka_unit_test_setup_teardown(function, fixture_setup_cgroup, fixture_teardown)
