/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/clock.h"
#include "common/handover.h"
#include "common/processes.h"
#include "common/timer.h"
#include "orchestrator/instance/takeover.h"
#include "tests/unit/fakes/fake_agent.h"

#define AGENTS_MAX   8
#define NOBODY       ((1 << 22) + 4711) /* more than any pid: proc(5), pid_max */
#define DEADLINE_MS  20000
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct context context;
static struct error err;
static size_t fds_before;

/* ---- agents --------------------------------------------------------------------------------- */

static struct {
	struct fake_agent fake;
	struct report hello;
	struct launch_spec spec;
	char *text; /* the hello as it is sent */
	bool answers;
} agents[AGENTS_MAX];
static size_t n_agents;

static struct address addresses[2];
static char *command[] = {(char *)"web", (char *)"--fd", (char *)"{fd}", NULL};
static char *environment[] = {(char *)"A=1", (char *)"PATH=/bin", NULL};

/* The file is the test's to fill further. */
static int memory_file(const char *text, size_t length)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, length), length);
	return fd;
}

static int spec_file(const struct launch_spec *spec)
{
	size_t length;
	char *text;
	int fd;

	assert_int_equal(launch_spec_encode(spec, &text, &length), 0);
	fd = memory_file(text, length);
	free(text);
	return fd;
}

/* An agent called "SERVICE.GENERATION.INSTANCE.sock"; returns its index. */
static size_t make_agent(const char *service, uint32_t generation, uint32_t instance)
{
	size_t k = n_agents++;
	char path[PATHS_MAX + 128];

	assert_true(k < AGENTS_MAX);
	memset(&agents[k], 0, sizeof(agents[k]));
	snprintf(path, sizeof(path), "%s/%s.%u.%u.sock", context.paths.agents_dir, service,
		 generation, instance);
	fake_agent_listen(&agents[k].fake, path);
	agents[k].answers = true;
	agents[k].hello = (struct report){
		.type = REPORT_HELLO,
		.version = PROTOCOL_VERSION,
		.generation = generation,
		.instance = instance,
		.agent_pid = NOBODY,
		.state = AGENT_RUNNING,
		.steady = true,
		.pid = 4712,
		.sockets = {{.cookie = 100 + k, .address = "127.0.0.1:8080"},
			    {.cookie = 200 + k, .address = "[::1]:8080"}},
		.n_sockets = 2,
	};
	strcpy(agents[k].hello.service, service);
	agents[k].spec = (struct launch_spec){
		.service = agents[k].hello.service,
		.generation = generation,
		.instance = instance,
		.listen = addresses,
		.n_listen = 2,
		.executable = (char *)"/bin/true",
		.argv = command,
		.environment = environment,
		.directory = (char *)"/srv",
	};
	return k;
}

static void attach(size_t k, int fd)
{
	agents[k].fake.fds[agents[k].fake.n_fds++] = fd;
}

/* Two sockets, or what stands for them here, and the specification. */
static void attach_all(size_t k)
{
	attach(k, memory_file("one", 3));
	attach(k, memory_file("two", 3));
	attach(k, spec_file(&agents[k].spec));
}

static size_t make_good_agent(const char *service, uint32_t generation, uint32_t instance)
{
	size_t k = make_agent(service, generation, instance);

	attach_all(k);
	return k;
}

static void answer(size_t k)
{
	struct fake_agent *fake = &agents[k].fake;

	if (!fake->text && agents[k].answers) {
		assert_int_equal(report_encode(&agents[k].hello, &agents[k].text, &fake->length),
				 0);
		fake->text = agents[k].text;
	}
	fake_agent_answer(fake);
}

static unsigned n_changes;

static void on_change(void *userdata)
{
	(void)userdata;
	n_changes++;
}

static void begin(struct takeover_list *list, struct context *where, const char *service)
{
	*list = (struct takeover_list){.context = where, .on_change = on_change};
	if (takeover_find(list, service, &err) < 0)
		fail_msg("%s", err.text);
}

#define RUN_UNTIL(condition)                                                                       \
	do {                                                                                       \
		uint64_t end_ = clock_monotonic_ms() + DEADLINE_MS;                                \
		while (!(condition)) {                                                             \
			assert_true(clock_monotonic_ms() < end_);                                  \
			assert_true(sd_event_run(context.event, 100000) >= 0);                     \
		}                                                                                  \
	} while (0)

static void finish(struct takeover_list *list)
{
	RUN_UNTIL(!takeover_is_waiting(list, NULL));
	/* What is gone is removed from the top of the loop. */
	while (sd_event_run(context.event, 0) > 0)
		;
}

/* Nobody answers who has not been told to. */
static void find_now(struct takeover_list *list)
{
	begin(list, &context, NULL);
	finish(list);
}

/* Every agent answers. */
static void find(struct takeover_list *list)
{
	for (size_t k = 0; k < n_agents; k++)
		answer(k);
	find_now(list);
	for (size_t k = 0; k < n_agents; k++)
		fake_agent_join(&agents[k].fake);
}

static void drop_agents(void)
{
	for (size_t k = 0; k < n_agents; k++) {
		fake_agent_close(&agents[k].fake);
		for (size_t i = 0; i < agents[k].fake.n_fds; i++)
			close(agents[k].fake.fds[i]);
		unlink(agents[k].fake.path);
		free(agents[k].text);
	}
	n_agents = 0;
}

static int on_never(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	(void)userdata;
	return 0;
}

static int setup(void **state)
{
	struct timer timer = {};

	(void)state;
	context.cgroup_base[0] = '\0';
	strcpy(context.paths.agents_dir, "/tmp/test_takeover.XXXXXX");
	assert_non_null(mkdtemp(context.paths.agents_dir));
	assert_int_equal(address_parse("127.0.0.1:8080", &addresses[0], &err), 0);
	assert_int_equal(address_parse("[::1]:8080", &addresses[1], &err), 0);
	fds_before = count_fds();
	agentlink_set_deadline(DEADLINE_MS);
	if (sd_event_new(&context.event) < 0)
		return -1;
	/* The loop keeps a descriptor for its timers from the first one on. */
	timer_set(&timer, context.event, UINT64_MAX, on_never, NULL);
	timer_done(&timer);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	drop_agents();
	context.event = sd_event_unref(context.event);
	assert_int_equal(count_fds(), fds_before);
	/* Also says that nothing was left there. */
	return rmdir(context.paths.agents_dir);
}

static ino_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

/* ---- finding -------------------------------------------------------------------------------- */

static void test_takeover_find_agents_are_sorted_by_service_generation_instance(void **state)
{
	static const struct {
		const char *service;
		uint32_t generation, instance;
	} sorted[] = {{"api", 12, 3}, {"api", 12, 11}, {"web", 9, 1},
		      {"web", 9, 2},  {"web", 10, 0},  {"web2", 1, 0}};
	static const size_t order[] = {3, 5, 1, 4, 0, 2};
	struct takeover_list list;

	(void)state;
	for (size_t i = 0; i < COUNT(order); i++)
		make_good_agent(sorted[order[i]].service, sorted[order[i]].generation,
				sorted[order[i]].instance);
	find(&list);
	assert_int_equal(list.n, COUNT(sorted));
	for (size_t i = 0; i < COUNT(sorted); i++) {
		assert_string_equal(list.agents[i]->hello.service, sorted[i].service);
		assert_int_equal(list.agents[i]->hello.generation, sorted[i].generation);
		assert_int_equal(list.agents[i]->hello.instance, sorted[i].instance);
	}
	takeover_list_done(&list);
}

static void test_takeover_find_agent_comes_with_all_it_said(void **state)
{
	const struct order order = {.type = ORDER_STEADY};
	char buffer[PROTOCOL_MESSAGE_MAX + 1];
	struct takeover_agent *found;
	struct takeover_list list;
	struct order heard;
	size_t k = make_good_agent("web", 7, 3), length;

	(void)state;
	find(&list);
	assert_int_equal(list.n, 1);
	found = list.agents[0];
	assert_string_equal(found->socket_path, agents[k].fake.path);
	assert_int_equal(found->hello.n_sockets, 2);
	assert_int_equal(found->hello.sockets[1].cookie, 200);
	assert_true(found->hello.steady);
	/* The sockets, in their order, without the specification. */
	assert_int_equal(found->n_fds, 2);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(inode_of(found->fds[i]), inode_of(agents[k].fake.fds[i]));
	assert_string_equal(found->spec.service, "web");
	assert_string_equal(found->spec.argv[2], "{fd}");
	assert_int_equal(found->spec.n_listen, 2);
	/* And the link is one. */
	assert_int_equal(agentlink_pid(found->link), NOBODY);
	assert_int_equal(agentlink_order(found->link, &order), 0);
	assert_int_equal(
		message_receive(agents[k].fake.fd, buffer, sizeof(buffer), &length, NULL, 0, NULL),
		0);
	assert_int_equal(order_decode(buffer, length, &heard, &err), 0);
	assert_int_equal(heard.type, ORDER_STEADY);
	takeover_list_done(&list);
}

static void test_takeover_find_agent_without_sockets_is_found(void **state)
{
	struct takeover_list list;
	size_t k = make_agent("web", 1, 0);

	(void)state;
	agents[k].hello.n_sockets = 0; /* it has left the group */
	agents[k].hello.state = AGENT_LEFT;
	attach(k, spec_file(&agents[k].spec));
	find(&list);
	assert_int_equal(list.n, 1);
	assert_int_equal(list.agents[0]->n_fds, 0);
	assert_string_equal(list.agents[0]->spec.service, "web");
	takeover_list_done(&list);
}

/* A server with many workers, each with a socket of its own. */
static void test_takeover_find_agent_with_the_most_sockets_is_found(void **state)
{
	struct takeover_list list;
	size_t k = make_agent("web", 1, 0);
	struct report *hello = &agents[k].hello;

	(void)state;
	hello->n_sockets = PROTOCOL_SOCKETS_MAX;
	for (size_t i = 0; i < PROTOCOL_SOCKETS_MAX; i++) {
		hello->sockets[i] = (struct report_socket){
			.cookie = 1000 + i, .endpoint = 1, .own = true, .address = "[::1]:8080"};
		attach(k, memory_file("one", 3));
	}
	attach(k, spec_file(&agents[k].spec));
	find(&list);
	assert_int_equal(list.n, 1);
	assert_int_equal(list.agents[0]->n_fds, PROTOCOL_SOCKETS_MAX);
	assert_int_equal(inode_of(list.agents[0]->fds[PROTOCOL_SOCKETS_MAX - 1]),
			 inode_of(agents[k].fake.fds[PROTOCOL_SOCKETS_MAX - 1]));
	assert_int_equal(list.agents[0]->hello.sockets[63].cookie, 1063);
	assert_int_equal(list.agents[0]->hello.sockets[63].endpoint, 1);
	assert_string_equal(list.agents[0]->spec.service, "web");
	takeover_list_done(&list);
}

/* Those of others may be this daemon's own, and would take the question for a new daemon's. */
static void test_takeover_find_of_one_service_asks_no_other(void **state)
{
	struct takeover_list list;

	(void)state;
	make_good_agent("web", 1, 0);
	make_good_agent("web-2", 1, 0);
	answer(0);
	begin(&list, &context, "web");
	finish(&list);
	fake_agent_join(&agents[0].fake);
	assert_int_equal(list.n, 1);
	assert_string_equal(list.agents[0]->hello.service, "web");
	takeover_list_done(&list);
}

static void test_takeover_find_stale_socket_is_removed(void **state)
{
	struct takeover_list list;
	size_t k = make_agent("web", 1, 0);
	struct fake_agent *stale = &agents[k].fake;

	(void)state;
	fake_agent_close(stale);
	assert_int_equal(access(stale->path, F_OK), 0);
	find_now(&list);
	assert_int_equal(list.n, 0);
	assert_int_equal(access(stale->path, F_OK), -1);
	assert_int_equal(errno, ENOENT);
	takeover_list_done(&list);
}

/* ---- agents that were killed ---------------------------------------------------------------- */

static char told[512]; /* "event of service: message" */

static void take_event(void *userdata, const char *service, const struct event *event)
{
	(void)userdata;
	snprintf(told, sizeof(told), "%s of %s: %s", event_name(event->kind), service,
		 event->message);
}

/* Its agent has noted that its server, @pid, has the socket with @cookie on @address. */
static void note_handover(size_t k, pid_t pid, uint64_t cookie, const struct address *address)
{
	struct handover handover = {.hello = agents[k].hello};
	char path[PATHS_MAX];
	int fd = spec_file(&agents[k].spec);

	handover.hello.type = REPORT_HELLO;
	handover.hello.version = PROTOCOL_VERSION;
	handover.hello.state = AGENT_RUNNING;
	handover.hello.pid = pid;
	(void)processes_started(pid, &handover.started);
	(void)processes_started(handover.hello.agent_pid, &handover.agent_started);
	handover.hello.n_sockets = 1;
	handover.hello.sockets[0].cookie = cookie;
	strcpy(handover.hello.sockets[0].address, address->text);
	assert_int_equal(handover_path(agents[k].fake.path, path), 0);
	if (handover_write(path, &handover, fd, &err) < 0)
		fail_msg("%s", err.text);
	close(fd);
}

static int listen_at(struct address *ret, uint64_t *ret_cookie)
{
	socklen_t size = sizeof(ret->in), n = sizeof(*ret_cookie);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	assert_int_equal(bind(fd, (struct sockaddr *)&sin, size), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &size), 0);
	assert_int_equal(address_from((struct sockaddr *)&sin, false, ret), 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, ret_cookie, &n), 0);
	return fd;
}

static bool listens(int fd)
{
	int value = 0;
	socklen_t size = sizeof(value);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size), 0);
	return value;
}

/* The server was killed with its agent; this process has got away with its socket. */
static void test_takeover_find_socket_of_a_dead_server_is_shut_and_told(void **state)
{
	static const struct event_sink sink = {.take = take_event};
	struct takeover_list list;
	size_t k = make_agent("web", 1, 0);
	struct address address;
	char path[PATHS_MAX];
	uint64_t cookie;
	int fd;

	(void)state;
	assert_int_equal(diag_open(&context.diag, &err), 0);
	context.sink = &sink;
	fake_agent_close(&agents[k].fake);
	fd = listen_at(&address, &cookie);
	note_handover(k, 0, cookie, &address);
	find_now(&list);
	assert_int_equal(list.n, 0);
	takeover_list_done(&list);
	assert_false(listens(fd));
	assert_non_null(strstr(told, "stranger of web: instance 0 of generation 1: pid "));
	assert_int_equal(handover_path(agents[k].fake.path, path), 0);
	assert_int_equal(access(path, F_OK), -1);
	close(fd);
	diag_free(TAKE_PTR(context.diag));
}

/* No other agent can be started: its sockets are left alone, and so is its server. */
static void test_takeover_find_server_without_a_new_agent_goes_on(void **state)
{
	struct takeover_list list;
	size_t k = make_agent("web", 1, 0);
	struct address address;
	uint64_t cookie;
	int fd;

	(void)state;
	strcpy(context.agent_program, "/nonexistent/baton-agent");
	fake_agent_close(&agents[k].fake);
	fd = listen_at(&address, &cookie);
	note_handover(k, getpid(), cookie, &address);
	find_now(&list);
	assert_int_equal(list.n, 0);
	takeover_list_done(&list);
	assert_true(listens(fd));
	assert_int_equal(access(agents[k].fake.path, F_OK), -1);
	close(fd);
}

static void test_takeover_find_other_files_are_not_touched(void **state)
{
	static const char *const names[] = {"web", "sock", "web.1.0.sock.new", "web.1.0.sockx"};
	struct takeover_list list;
	char path[PATHS_MAX + 32];

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		struct fake_agent stale;

		snprintf(path, sizeof(path), "%s/%s", context.paths.agents_dir, names[i]);
		fake_agent_listen(&stale, path);
		fake_agent_close(&stale);
	}
	find_now(&list);
	assert_int_equal(list.n, 0);
	takeover_list_done(&list);
	for (size_t i = 0; i < COUNT(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", context.paths.agents_dir, names[i]);
		assert_int_equal(unlink(path), 0);
	}
}

static void test_takeover_find_empty_folder_is_an_empty_list(void **state)
{
	struct takeover_list list;

	(void)state;
	find_now(&list);
	assert_int_equal(list.n, 0);
	takeover_list_done(&list);
}

static void test_takeover_find_missing_folder_is_an_error_that_names_it(void **state)
{
	struct context elsewhere = context;
	struct takeover_list list = {.context = &elsewhere, .on_change = on_change};

	(void)state;
	strcat(elsewhere.paths.agents_dir, "/none");
	assert_int_equal(takeover_find(&list, NULL, &err), -ENOENT);
	assert_non_null(strstr(err.text, elsewhere.paths.agents_dir));
	takeover_list_done(&list);
}

/* ---- is one alive? -------------------------------------------------------------------------- */

static void test_takeover_check_gone_names_an_agent_that_is_alive(void **state)
{
	size_t k = make_good_agent("web", 3, 1);
	char pid[32];

	(void)state;
	/* Whether it answers or not. */
	assert_int_equal(takeover_check_gone(&context, "web", &err), -EBUSY);
	assert_non_null(strstr(err.text, agents[k].fake.path));
	assert_null(strstr(err.text, "pid"));
	agents[k].hello.agent_pid = getpid();
	note_handover(k, 0, 0, &addresses[0]);
	assert_int_equal(takeover_check_gone(&context, "web", &err), -EBUSY);
	snprintf(pid, sizeof(pid), ", pid %d)", (int)getpid());
	assert_non_null(strstr(err.text, pid));
	handover_remove(agents[k].fake.path);
	/* It is nobody else's. */
	assert_int_equal(takeover_check_gone(&context, "we", &err), 0);
}

static void test_takeover_check_gone_of_dead_agents_is_true(void **state)
{
	size_t k = make_agent("web", 1, 0);
	struct context elsewhere = context;

	(void)state;
	fake_agent_close(&agents[k].fake);
	assert_int_equal(takeover_check_gone(&context, "web", &err), 0);
	strcat(elsewhere.paths.agents_dir, "/none");
	assert_int_equal(takeover_check_gone(&elsewhere, "web", &err), 0);
}

/* Not being able to look is not seeing none. */
static void test_takeover_check_gone_in_an_unreadable_folder_is_an_error(void **state)
{
	struct context elsewhere = context;

	(void)state;
	strcpy(elsewhere.paths.agents_dir, "/dev/null");
	assert_int_equal(takeover_check_gone(&elsewhere, "web", &err), -ENOTDIR);
	assert_non_null(strstr(err.text, "/dev/null"));
}

/* ---- wrong answers -------------------------------------------------------------------------- */

static void no_specification(size_t k)
{
	attach(k, memory_file("one", 3));
	attach(k, memory_file("two", 3));
}

static void one_socket_too_many(size_t k)
{
	attach(k, memory_file("three", 5));
	attach_all(k);
}

static void nothing_attached(size_t k)
{
	(void)k;
}

static void with_specification(size_t k, int fd)
{
	attach(k, memory_file("one", 3));
	attach(k, memory_file("two", 3));
	attach(k, fd);
}

static void specification_is_no_json(size_t k)
{
	with_specification(k, memory_file("{", 1));
}

static void specification_is_empty(size_t k)
{
	with_specification(k, memory_file("", 0));
}

static void specification_is_too_large(size_t k)
{
	int fd = spec_file(&agents[k].spec);

	assert_int_equal(ftruncate(fd, PROTOCOL_SPEC_MAX + 1), 0);
	with_specification(k, fd);
}

/* No room is made for as much as it says it has. */
static void specification_is_huge(size_t k)
{
	int fd = spec_file(&agents[k].spec);

	assert_int_equal(ftruncate(fd, 1LL << 42), 0);
	with_specification(k, fd);
}

static void specification_is_a_pipe(size_t k)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "{}", 2), 2);
	close(ends[1]);
	with_specification(k, ends[0]);
}

static void service_differs(size_t k)
{
	agents[k].spec.service = (char *)"other";
	attach_all(k);
}

static void generation_differs(size_t k)
{
	agents[k].spec.generation++;
	attach_all(k);
}

static void instance_differs(size_t k)
{
	agents[k].spec.instance++;
	attach_all(k);
}

static void first_message_is_no_hello(size_t k)
{
	agents[k].hello = (struct report){.type = REPORT_STARTED, .pid = 4712};
	attach_all(k);
}

static void first_message_is_no_json(size_t k)
{
	agents[k].fake.text = "hello";
	agents[k].fake.length = 5;
	attach_all(k);
}

static void test_takeover_find_wrong_answer_is_left_alone_and_leaks_nothing(void **state)
{
	static void (*const wrong[])(size_t k) = {
		no_specification,         one_socket_too_many,     nothing_attached,
		specification_is_no_json, specification_is_empty,  specification_is_too_large,
		specification_is_huge,    specification_is_a_pipe, service_differs,
		generation_differs,       instance_differs,        first_message_is_no_hello,
		first_message_is_no_json,
	};

	(void)state;
	agentlink_set_deadline(300);
	for (size_t i = 0; i < COUNT(wrong); i++) {
		struct takeover_list list;
		size_t good, k, n;

		good = make_good_agent("web", 1, 0);
		k = make_agent("web", 2, 0);
		wrong[i](k);
		n = count_fds();
		find(&list);
		/* The others are found nevertheless, with two sockets and a link. */
		assert_int_equal(list.n, 1);
		assert_int_equal(list.agents[0]->hello.generation, 1);
		assert_true(fake_agent_is_alone(&agents[k].fake));
		assert_int_equal(access(agents[k].fake.path, F_OK), 0);
		takeover_list_done(&list);
		fake_agent_close(&agents[good].fake);
		fake_agent_close(&agents[k].fake);
		/* Less the two that listened. */
		assert_int_equal(count_fds(), n - 2);
		drop_agents();
	}
}

/* The whole service is: what the others lack would be started in the place of that server. */
static void test_takeover_find_agent_of_another_version_is_left_with_its_service(void **state)
{
	struct takeover_list list;
	size_t k;

	(void)state;
	make_good_agent("web", 1, 0);
	make_good_agent("api", 1, 0);
	for (uint32_t n = 1; n < 3; n++) {
		k = make_good_agent("web", 1, n);
		agents[k].hello.version = PROTOCOL_VERSION + n;
	}
	find(&list);
	assert_int_equal(list.n, 2);
	assert_int_equal(list.n_unfit, 1);
	assert_non_null(strstr(takeover_unfit(&list, "web"),
			       " of the agents' protocol, this batond speaks versions "));
	assert_null(takeover_unfit(&list, "api"));
	assert_null(takeover_unfit(&list, "we"));
	assert_true(fake_agent_is_alone(&agents[k].fake));
	assert_int_equal(access(agents[k].fake.path, F_OK), 0);
	takeover_list_done(&list);
}

static void test_takeover_find_agent_that_closes_is_left_alone(void **state)
{
	struct takeover_list list;
	size_t k = make_agent("web", 1, 0);

	(void)state;
	agents[k].answers = false;
	agents[k].fake.closes = true;
	agentlink_set_deadline(300);
	find(&list);
	assert_int_equal(list.n, 0);
	assert_int_equal(access(agents[k].fake.path, F_OK), 0);
	takeover_list_done(&list);
}

/* Nobody can tell which process it is, and so nobody can end it. */
static void test_takeover_find_silent_agent_is_waited_for_and_left_alone(void **state)
{
	struct takeover_list list;
	size_t k = make_agent("web", 1, 0);
	uint64_t since;

	(void)state;
	make_good_agent("web", 2, 0);
	agents[k].answers = false;
	agentlink_set_deadline(300);
	since = clock_monotonic_ms();
	find(&list);
	/* Each reading of the clock is cut to whole milliseconds. */
	assert_in_range(clock_monotonic_ms() - since, 299, DEADLINE_MS);
	assert_int_equal(list.n, 1);
	assert_int_equal(list.agents[0]->hello.generation, 2);
	assert_true(fake_agent_is_alone(&agents[k].fake));
	assert_int_equal(access(agents[k].fake.path, F_OK), 0);
	takeover_list_done(&list);
}

/* ---- late answers --------------------------------------------------------------------------- */

/* Duplicates of its sockets would keep them open, whatever becomes of it meanwhile. */
static void test_takeover_find_who_waits_for_others_is_asked_again(void **state)
{
	struct takeover_list list;
	size_t late = make_good_agent("web", 1, 0), good = make_good_agent("web", 2, 0);
	size_t other = make_good_agent("api", 1, 0);
	char who[TAKEOVER_TEXT_MAX];

	(void)state;
	answer(good);
	answer(other);
	begin(&list, &context, NULL);
	assert_int_equal(list.n, 3);
	assert_true(takeover_is_early(&list));
	RUN_UNTIL(list.agents[2]->state == TAKEOVER_RESTING);
	assert_false(takeover_is_early(&list));
	fake_agent_join(&agents[good].fake);
	assert_true(fake_agent_is_alone(&agents[good].fake));
	close(agents[good].fake.fd);
	assert_int_equal(list.agents[2]->n_fds, 0);
	/* Others do not wait. */
	fake_agent_join(&agents[other].fake);
	assert_false(takeover_is_waiting(&list, "api"));
	assert_false(fake_agent_is_alone(&agents[other].fake));
	assert_true(takeover_is_waiting(&list, "web"));
	takeover_describe(&list, "web", who);
	assert_non_null(strstr(who, "instance 0 of generation 1 (no answer for "));
	answer(late);
	answer(good);
	finish(&list);
	fake_agent_join(&agents[late].fake);
	fake_agent_join(&agents[good].fake);
	assert_int_equal(list.n, 3);
	for (size_t k = 0; k < list.n; k++) {
		assert_int_equal(list.agents[k]->state, TAKEOVER_ANSWERED);
		assert_int_equal(list.agents[k]->n_fds, 2);
	}
	takeover_let_go(&list, "web");
	assert_true(fake_agent_is_alone(&agents[late].fake));
	assert_int_equal(list.agents[1]->n_fds, 0);
	takeover_list_done(&list);
}

/* What it has written down says which process it is. It is ended before another one is started. */
static void test_takeover_find_agent_that_never_answers_is_ended_first(void **state)
{
	struct takeover_list list;
	size_t k = make_agent("web", 1, 0);
	pid_t pid = fork();
	char who[TAKEOVER_TEXT_MAX], expected[64];
	int status = 0;

	(void)state;
	if (pid == 0)
		for (;;)
			pause();
	strcpy(context.agent_program, "/nonexistent/baton-agent");
	agents[k].hello.agent_pid = pid;
	note_handover(k, getpid(), 0, &addresses[0]);
	agentlink_set_deadline(TAKEOVER_LATE_MS + 500);
	begin(&list, &context, NULL);
	RUN_UNTIL(list.agents[0]->noted);
	takeover_describe(&list, "web", who);
	snprintf(expected, sizeof(expected), "(agent pid %d, server pid %d, ", (int)pid,
		 (int)getpid());
	assert_non_null(strstr(who, expected));
	assert_int_equal(list.agents[0]->hello.agent_pid, pid);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	finish(&list);
	assert_int_equal(waitpid(pid, &status, WNOHANG), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	assert_int_equal(list.n, 0);
	takeover_list_done(&list);
}

/* ---- the list ------------------------------------------------------------------------------- */

static void test_takeover_list_done_taken_link_stays_others_are_closed(void **state)
{
	const struct order order = {.type = ORDER_STEADY};
	struct agentlink *taken;
	struct takeover_list list;

	(void)state;
	make_good_agent("web", 1, 0);
	make_good_agent("web", 2, 0);
	find(&list);
	assert_int_equal(list.n, 2);
	taken = TAKE_PTR(list.agents[0]->link);
	takeover_list_done(&list);
	assert_null(list.agents);
	assert_int_equal(list.n, 0);
	assert_false(fake_agent_is_alone(&agents[0].fake));
	assert_true(fake_agent_is_alone(&agents[1].fake));
	/* They go on: their files are theirs to remove. */
	assert_int_equal(access(agents[1].fake.path, F_OK), 0);
	assert_int_equal(agentlink_order(taken, &order), 0);
	agentlink_free(taken);
	takeover_list_done(&list);
}

/* ---- what it runs --------------------------------------------------------------------------- */

static struct takeover_agent running(pid_t pid)
{
	struct takeover_agent agent = {
		.hello = {.type = REPORT_HELLO, .pid = pid},
		.spec =
			{
				.executable = (char *)"/srv/web/bin/web",
				.argv = command,
				.environment = environment,
				.directory = (char *)"/srv/web",
			},
	};

	return agent;
}

static void test_takeover_release_is_what_the_specification_says(void **state)
{
	struct takeover_agent agent = running(0);
	struct release *release = takeover_release(&agent);

	(void)state;
	assert_non_null(release);
	assert_string_equal(release->executable, "/srv/web/bin/web");
	assert_string_equal(release->directory, "/srv/web");
	for (size_t i = 0; command[i]; i++)
		assert_string_equal(release->command[i], command[i]);
	assert_null(release->command[COUNT(command) - 1]);
	for (size_t i = 0; environment[i]; i++)
		assert_string_equal(release->environment[i], environment[i]);
	assert_null(release->environment[COUNT(environment) - 1]);
	/* A copy: the agent's own is freed with the list. */
	assert_ptr_not_equal(release->command[0], command[0]);
	/* It does not run, so nobody can say which file it was. */
	assert_int_equal(release->inode, 0);
	assert_int_equal(release->mtime_ms, 0);
	release_free(release);
}

static void test_takeover_release_file_is_the_one_that_runs(void **state)
{
	struct takeover_agent agent = running(getpid());
	struct release *release = takeover_release(&agent);
	struct stat st;

	(void)state;
	assert_non_null(release);
	assert_int_equal(stat("/proc/self/exe", &st), 0);
	assert_int_equal(release->inode, st.st_ino);
	assert_int_equal(release->mtime_ms, (uint64_t)st.st_mtim.tv_sec * 1000 +
						    (uint64_t)st.st_mtim.tv_nsec / 1000000);
	release_free(release);
}

static void test_takeover_release_process_that_is_gone_has_no_file(void **state)
{
	struct takeover_agent agent = running(INT32_MAX); /* above any pid_max */
	struct release *release = takeover_release(&agent);

	(void)state;
	assert_non_null(release);
	assert_string_equal(release->executable, "/srv/web/bin/web");
	assert_int_equal(release->inode, 0);
	assert_int_equal(release->mtime_ms, 0);
	release_free(release);
}

/* A rollout brings the addresses that the file says by now. */
static void test_takeover_fits_whatever_the_addresses(void **state)
{
	struct takeover_agent agent = {.spec = {.listen = addresses, .n_listen = 2}};
	struct service_config config = {.n_listen = 1, .uid = geteuid()};

	(void)state;
	assert_int_equal(address_parse("[::1]:8081", &config.listen[0], &err), 0);
	assert_true(takeover_fits(&agent, &config));
	agent.spec.n_listen = CONFIG_LISTEN_MAX + 1;
	assert_false(takeover_fits(&agent, &config));
}

/* An earlier daemon died while addresses[1] went from "web" to "api". */
static void test_takeover_settle_gives_an_address_to_whoever_is_steady_there(void **state)
{
	struct takeover_agent web = {.spec = {.listen = addresses, .n_listen = 2},
				     .hello = {.service = "web", .state = AGENT_RUNNING}};
	struct takeover_agent api = {.spec = {.listen = addresses + 1, .n_listen = 1},
				     .hello = {.service = "api", .state = AGENT_RUNNING}};
	struct takeover_agent *both[] = {&api, &web};
	struct takeover_list list = {.agents = both, .n = 2};
	struct service_config file_web = {.n_listen = 1, .listen = {addresses[0]}};
	struct service_config file_api = {.n_listen = 1, .listen = {addresses[1]}};
	static const struct {
		bool web, api;           /* steady */
		bool web_lost, api_lost; /* addresses[1] */
	} cases[] = {
		{true, false, false, true},
		{true, true, true, false}, /* the file says so */
		{false, true, true, false},
		{false, false, false, false},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		web.hello.steady = cases[k].web;
		api.hello.steady = cases[k].api;
		takeover_settle(&list, "web", &file_web);
		takeover_settle(&list, "api", &file_api);
		assert_false(web.lost[0]);
		assert_int_equal(web.lost[1], cases[k].web_lost);
		assert_int_equal(api.lost[0], cases[k].api_lost);
	}
	/* What has left has it no longer. */
	web.hello.steady = true;
	web.hello.state = AGENT_LEFT;
	api.hello.steady = false;
	takeover_settle(&list, "api", &file_api);
	assert_false(api.lost[0]);
}

static void test_takeover_fits_user_is_the_one_it_became_else_the_daemons(void **state)
{
	struct takeover_agent agent = {.spec = {.listen = addresses, .n_listen = 1}};
	struct service_config config = {.n_listen = 1, .uid = geteuid()};

	(void)state;
	config.listen[0] = addresses[0];
	agent.spec.uid = geteuid() + 1; /* means nothing without set_ids */
	assert_true(takeover_fits(&agent, &config));
	agent.spec.set_ids = true;
	assert_false(takeover_fits(&agent, &config));
	config.uid = geteuid() + 1;
	assert_true(takeover_fits(&agent, &config));
	agent.spec.set_ids = false;
	assert_false(takeover_fits(&agent, &config));
}

/* ---- what has lost its agent ----------------------------------------------------------------- */

/* A folder that says what a cgroup with @pid in it says. */
static void make_cgroup(const char *leaf, pid_t pid)
{
	char path[PATHS_MAX + CGROUP_PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", context.cgroup_base, leaf);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/%s/cgroup.events", context.cgroup_base, leaf);
	file = fopen(path, "we");
	assert_non_null(file);
	fprintf(file, "populated %d\nfrozen 0\n", pid > 0);
	assert_int_equal(fclose(file), 0);
	snprintf(path, sizeof(path), "%s/%s/cgroup.procs", context.cgroup_base, leaf);
	file = fopen(path, "we");
	assert_non_null(file);
	if (pid > 0)
		fprintf(file, "%d\n", pid);
	assert_int_equal(fclose(file), 0);
}

static void remove_cgroup(const char *leaf)
{
	static const char *const files[] = {"/cgroup.events", "/cgroup.procs", ""};
	char path[PATHS_MAX + CGROUP_PATH_MAX];

	for (size_t k = 0; k < COUNT(files); k++) {
		snprintf(path, sizeof(path), "%s/%s%s", context.cgroup_base, leaf, files[k]);
		assert_int_equal(remove(path), 0);
	}
}

/* It ends by SIGUSR1, or by SIGALRM where nobody tells it. */
static pid_t make_server(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGUSR1, SIG_DFL);
		signal(SIGALRM, SIG_DFL);
		alarm(20);
		for (;;)
			pause();
	}
	return pid;
}

/* By which signal it ends, or has ended; 0: by none until it is killed now. */
static int end_of(pid_t pid, bool wait)
{
	int status;

	if (!wait)
		kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	return WTERMSIG(status) == SIGKILL ? 0 : WTERMSIG(status);
}

static void make_base(void)
{
	strcpy(context.cgroup_base, "/tmp/test_takeover_cgroup.XXXXXX");
	assert_non_null(mkdtemp(context.cgroup_base));
}

static void remove_base(void)
{
	assert_int_equal(rmdir(context.cgroup_base), 0);
	context.cgroup_base[0] = '\0';
}

static void test_takeover_orphans_are_told_to_drain_others_are_not(void **state)
{
	static const struct {
		const char *leaf;
		bool orphan;
	} cases[] = {
		{"web.3.0", true},   {"web.3.12", true},  {"web.4.0", false} /* has its agent */,
		{"web.4.1", true},   {"web2.3.0", false}, {"web.anchor", false},
		{"web.3", false},    {"web", false},      {"web.3.0.1", false},
		{"web.3.0x", false}, {"api.3.0", false},
	};
	struct service_config config = {.name = (char *)"web", .drain.signal = SIGUSR1};
	struct takeover_agent agent = {.hello = {.service = "web", .generation = 4, .instance = 0}};
	struct takeover_agent other = {.hello = {.service = "api", .generation = 3, .instance = 0}};
	struct takeover_agent *found[] = {&agent, &other};
	pid_t pids[COUNT(cases)];

	(void)state;
	make_base();
	for (size_t k = 0; k < COUNT(cases); k++) {
		pids[k] = make_server();
		make_cgroup(cases[k].leaf, pids[k]);
	}
	assert_int_equal(takeover_drain_orphans(&context, &config,
						&(struct takeover_list){.agents = found, .n = 2}),
			 3);
	for (size_t k = 0; k < COUNT(cases); k++) {
		assert_int_equal(end_of(pids[k], cases[k].orphan), cases[k].orphan ? SIGUSR1 : 0);
		remove_cgroup(cases[k].leaf);
	}
	remove_base();
}

/* It may have an agent: nobody can tell. */
static void test_takeover_orphans_in_an_unreadable_folder_are_none(void **state)
{
	struct service_config config = {.name = (char *)"web", .drain.signal = SIGUSR1};
	const struct takeover_list found = {};
	struct context elsewhere;
	pid_t pid = make_server();

	(void)state;
	make_base();
	make_cgroup("web.3.0", pid);
	elsewhere = context;
	strcpy(elsewhere.paths.agents_dir, "/dev/null");
	assert_int_equal(takeover_drain_orphans(&elsewhere, &config, &found), 0);
	assert_int_equal(takeover_drain_orphans(&context, &config, &found), 1);
	assert_int_equal(end_of(pid, true), SIGUSR1);
	remove_cgroup("web.3.0");
	remove_base();
}

static void test_takeover_orphans_that_are_gone_are_none(void **state)
{
	struct service_config config = {.name = (char *)"web", .drain.signal = SIGUSR1};
	const struct takeover_list found = {};

	(void)state;
	/* No cgroups: nobody can tell what is left. */
	assert_int_equal(takeover_drain_orphans(&context, &config, &found), 0);
	make_base();
	assert_int_equal(takeover_drain_orphans(&context, &config, &found), 0);
	make_cgroup("web.3.0", 0);
	assert_int_equal(takeover_drain_orphans(&context, &config, &found), 0);
	remove_cgroup("web.3.0");
	remove_base();
	strcpy(context.cgroup_base, "/none");
	assert_int_equal(takeover_drain_orphans(&context, &config, &found), 0);
	context.cgroup_base[0] = '\0';
}

static char removed[256]; /* the leaves that removals_add() was called for, in the order of names */

void removals_add(struct removals *removals, const char *path)
{
	const char *leaf = strrchr(path, '/') + 1;
	size_t n = strlen(removed);

	assert_null(removals);
	snprintf(removed + n, sizeof(removed) - n, "%s ", leaf);
}

void removals_forget(struct removals *removals, const char *path)
{
	(void)removals;
	(void)path;
}

/* Of any service, also of one that is not configured any more; never one that has an agent. */
static void test_takeover_leftover_cgroups_are_removed(void **state)
{
	static const struct {
		const char *leaf;
		bool left;
	} cases[] = {
		{"web.3.0", true},     {"gone.1.0", true}, {"web.4.0", false} /* has its agent */,
		{"web.anchor", false}, {"other", false},   {"web.5.0", false} /* has a socket */,
	};
	struct takeover_agent agent = {.hello = {.service = "web", .generation = 4, .instance = 0}};
	struct takeover_agent *found[] = {&agent};
	struct context here;
	char path[PATHS_MAX + 32];
	FILE *file;

	(void)state;
	make_base();
	here = context;
	snprintf(path, sizeof(path), "%s/web.5.0.sock", here.paths.agents_dir);
	file = fopen(path, "we");
	assert_non_null(file);
	fclose(file);
	for (size_t k = 0; k < COUNT(cases); k++)
		make_cgroup(cases[k].leaf, 0);
	takeover_remove_leftovers(&here, &(struct takeover_list){.agents = found, .n = 1});
	for (size_t k = 0; k < COUNT(cases); k++) {
		assert_int_equal(strstr(removed, cases[k].leaf) != NULL, cases[k].left);
		remove_cgroup(cases[k].leaf);
	}
	assert_int_equal(remove(path), 0);
	remove_base();
	removed[0] = '\0';
	takeover_remove_leftovers(&context, &(struct takeover_list){});
	assert_string_equal(removed, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_takeover_##name, setup, teardown)
		TEST(find_agents_are_sorted_by_service_generation_instance),
		TEST(find_agent_comes_with_all_it_said),
		TEST(find_agent_without_sockets_is_found),
		TEST(find_agent_with_the_most_sockets_is_found),
		TEST(find_of_one_service_asks_no_other),
		TEST(find_stale_socket_is_removed),
		TEST(find_socket_of_a_dead_server_is_shut_and_told),
		TEST(find_server_without_a_new_agent_goes_on),
		TEST(find_other_files_are_not_touched),
		TEST(find_empty_folder_is_an_empty_list),
		TEST(find_missing_folder_is_an_error_that_names_it),
		TEST(check_gone_names_an_agent_that_is_alive),
		TEST(check_gone_of_dead_agents_is_true),
		TEST(check_gone_in_an_unreadable_folder_is_an_error),
		TEST(find_wrong_answer_is_left_alone_and_leaks_nothing),
		TEST(find_agent_of_another_version_is_left_with_its_service),
		TEST(find_agent_that_closes_is_left_alone),
		TEST(find_silent_agent_is_waited_for_and_left_alone),
		TEST(find_who_waits_for_others_is_asked_again),
		TEST(find_agent_that_never_answers_is_ended_first),
		TEST(list_done_taken_link_stays_others_are_closed),
		TEST(release_is_what_the_specification_says),
		TEST(release_file_is_the_one_that_runs),
		TEST(release_process_that_is_gone_has_no_file),
		TEST(fits_whatever_the_addresses),
		TEST(settle_gives_an_address_to_whoever_is_steady_there),
		TEST(fits_user_is_the_one_it_became_else_the_daemons),
		TEST(orphans_are_told_to_drain_others_are_not),
		TEST(orphans_in_an_unreadable_folder_are_none),
		TEST(orphans_that_are_gone_are_none),
		TEST(leftover_cgroups_are_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
