/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * instance_fixture: one instance with two endpoints, whose agent, kernel and health checks are
 * fakes. What it tells its service is kept in n_changes and notes.
 */
#pragma once

#include "common/clock.h"
#include "orchestrator/instance/instance.h"
#include "orchestrator/instance/takeover.h"
#include "tests/unit/fakes/fake_tap.h"
#include "tests/unit/fakes/fake_host.h"
#include "tests/unit/fakes/fake_steer.h"

#define FIXTURE_DEADLINE_MS 10000
#define CHECKS_MAX          8
#define ADDRESS_0           "127.0.0.1:80"
#define ADDRESS_1           "127.0.0.1:81"
#define CGROUP              "/cgroup/base/web.2.0"

static struct context context;
static struct service_config config;
static struct health_config declared[CHECKS_MAX]; /* .health of it; one at first */
static struct release release;
static struct steer endpoint_0, endpoint_1;
static struct wiring wiring;
static struct tap hooks; /* in the wiring where a test puts them there */
static struct instance instance, *const i = &instance;
static struct report report;
static int report_fds[PROTOCOL_FDS_MAX]; /* that come with it */
static struct error err;
static char folder[64];

/* ---- fakes of what only instances use ------------------------------------------------------- */

static struct checker_target targets[CHECKS_MAX]; /* of each check's checker_start() */
static struct checker_socket target_sockets[CHECKS_MAX][PROTOCOL_SET_MAX];

/* Which of its checks it is: of one that is declared alone, that of the endpoint with this place.
 */
static inline size_t checker_index(const struct checker *c)
{
	for (size_t k = 0; k < instance.checks.n && k < CHECKS_MAX; k++)
		if (&instance.checks.list[k].checker == c)
			return k;
	fail_msg("a checker of nobody");
	return 0;
}

void checker_start(struct checker *c, const struct checker_target *t,
		   void (*on_answer)(void *userdata, const struct probe_result *result,
				     bool changed),
		   void *userdata)
{
	assert_ptr_equal(t->event, context.event);
	assert_ptr_equal(t->prober, context.prober);
	assert_ptr_equal(t->diag, context.diag);
	called("checker_start %zu", checker_index(c));
	c->running = true;
	c->on_answer = on_answer;
	c->userdata = userdata;
	targets[checker_index(c)] = *t;
	memcpy(target_sockets[checker_index(c)], t->sockets, t->n_sockets * sizeof(*t->sockets));
	targets[checker_index(c)].sockets = target_sockets[checker_index(c)];
}

void checker_retarget(struct checker *c, const struct checker_socket *sockets, size_t n)
{
	struct checker_target *target = &targets[checker_index(c)];

	if (!c->running)
		return;
	called("checker_retarget %zu x%zu", checker_index(c), n);
	memcpy(target_sockets[checker_index(c)], sockets, n * sizeof(*sockets));
	target->sockets = target_sockets[checker_index(c)];
	target->n_sockets = n;
}

void checker_restart(struct checker *c)
{
	called("checker_restart %zu", checker_index(c));
}

static uint32_t checks_queued[CHECKS_MAX]; /* connections of its own */

void checker_stop(struct checker *c)
{
	if (c->running)
		called("checker_stop %zu", checker_index(c));
	c->running = false;
}

void checker_done(struct checker *c)
{
	checker_stop(c);
}

uint32_t checker_queued(struct checker *c)
{
	return checks_queued[checker_index(c)];
}

/* The descriptor N stands for the socket with cookie 100 + N. */
uint64_t steer_cookie(int fd)
{
	return 100 + (uint64_t)fd;
}

int steer_deafen(int listen_fd)
{
	called("deafen fd %d", listen_fd);
	return 0;
}

/* ---- what the instance says ----------------------------------------------------------------- */

static unsigned n_changes;
static char notes[1024]; /* "event: message" lines */

static void on_change(void *userdata)
{
	assert_ptr_equal(userdata, &config);
	n_changes++;
}

static void on_note(void *userdata, const struct instance *from, enum event_kind kind,
		    const char *message)
{
	size_t n = strlen(notes);

	assert_ptr_equal(userdata, &config);
	assert_ptr_equal(from, &instance);
	snprintf(notes + n, sizeof(notes) - n, "%s%s: %s", n ? "\n" : "", event_name(kind),
		 message);
}

static struct report reopened; /* the last one */

static void on_reopened(void *userdata, const struct instance *from, const struct report *answer)
{
	assert_ptr_equal(userdata, &config);
	assert_ptr_equal(from, &instance);
	reopened = *answer;
}

static bool served; /* by other instances, on each endpoint */
static bool moving; /* another instance has still to answer */
static int move_failure;

static bool is_served(void *userdata, const struct instance *from, size_t k)
{
	assert_ptr_equal(userdata, &config);
	assert_ptr_equal(from, &instance);
	assert_in_range(k, 0, config.n_listen - 1);
	return served;
}

/* As a service does it: the endpoint is another object then. */
static int move_endpoint(void *userdata, const struct instance *from, size_t k,
			 const struct address *address, struct error *error)
{
	assert_ptr_equal(userdata, &config);
	assert_ptr_equal(from, &instance);
	called("move %zu %s", k, address->text);
	if (move_failure)
		return error_set(error, move_failure, "move");
	wiring.endpoints[k]->address = *address;
	instance_change_endpoint(&instance, k);
	return 0;
}

static bool is_moving(void *userdata)
{
	assert_ptr_equal(userdata, &config);
	return moving || instance.awaited > 0;
}

static const struct instance_callbacks callbacks = {
	.on_change = on_change,
	.on_note = on_note,
	.on_reopened = on_reopened,
	.is_served = is_served,
	.move_endpoint = move_endpoint,
	.is_moving = is_moving,
};

#define assert_notes(expected)                                                                     \
	do {                                                                                       \
		assert_string_equal(notes, expected);                                              \
		notes[0] = '\0';                                                                   \
	} while (0)

/* ---- life ----------------------------------------------------------------------------------- */

static char *command[] = {(char *)"web", (char *)"{fd}", NULL};
static char *environment[] = {(char *)"A=b", NULL};

/* As a generation makes it. */
static inline void reset_instance(void)
{
	check_set_done(&instance.checks);
	instance = (struct instance){
		.context = &context,
		.config = &config,
		.wiring = &wiring,
		.callbacks = &callbacks,
		.userdata = &config,
		.generation = 2,
	};
	assert_int_equal(check_set_make(&instance.checks, &instance, &config), 0);
}

static inline void reset_report(void)
{
	report = (struct report){};
	for (size_t k = 0; k < PROTOCOL_FDS_MAX; k++)
		report_fds[k] = (int)k + 1;
}

static inline int set_up(void **state)
{
	(void)state;
	memset(declared, 0, sizeof(declared));
	declared[0].kind = HEALTH_KIND_HTTP;
	config = (struct service_config){
		.name = (char *)"web",
		.n_listen = 2,
		.backlog = 99,
		.instances = 1,
		.set_ids = true,
		.uid = 33,
		.gid = 34,
		.groups = {35, 36},
		.n_groups = 2,
		.health = {.list = declared, .n = 1},
		.restart = {.max = 4, .window_ms = 30000, .delay_ms = 200},
		.drain = {.signal = SIGTERM, .leave_timeout_ms = 1000, .kill_timeout_ms = 5000},
	};
	assert_int_equal(address_parse(ADDRESS_0, &config.listen[0], NULL), 0);
	assert_int_equal(address_parse(ADDRESS_1, &config.listen[1], NULL), 0);
	release = (struct release){
		.command = command,
		.environment = environment,
		.executable = (char *)"/bin/web",
		.directory = (char *)"/srv",
	};
	endpoint_0 = (struct steer){.address = config.listen[0], .next_slot = 4};
	endpoint_1 = (struct steer){.address = config.listen[1], .next_slot = 6};
	wiring = (struct wiring){.endpoints = {&endpoint_0, &endpoint_1}};
	hooks = (struct tap){};
	fake_host_reset();
	fake_steer_reset();
	fake_tap_reset();
	strcpy(folder, "/tmp/baton-test-instance-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	context = (struct context){.cgroup_base = "/cgroup/base", .agent_program = "/baton-agent"};
	strcpy(context.paths.agents_dir, folder);
	reset_instance();
	reset_report();
	n_changes = 0;
	served = moving = false;
	move_failure = 0;
	notes[0] = '\0';
	forget_calls();
	return sd_event_new(&context.event);
}

static inline int tear_down(void **state)
{
	char command_line[128];

	(void)state;
	instance_done(i);
	assert_int_equal(fake_agent.n_links, 0);
	assert_int_equal(fake_processes.n_alive, 0);
	fake_host_reset();
	context.event = sd_event_unref(context.event);
	snprintf(command_line, sizeof(command_line), "rm -rf '%s'", folder);
	return system(command_line);
}

static inline void assert_started(void)
{
	char expected[256];

	assert_int_equal(instance_start(i, &release, &err), 0);
	snprintf(expected, sizeof(expected),
		 "cgroup_create web.2.0; agent /baton-agent %s/web.2.0.sock", folder);
	assert_calls(expected);
}

/* Hand over @report as it is, with @n_fds descriptors: 1, 2 ... but for what add_socket() says. */
static inline void hear(enum report_type type, size_t n_fds)
{
	report.type = type;
	fake_agent.link->callbacks->on_report(fake_agent.link->userdata, &report, report_fds,
					      n_fds);
	reset_report();
}

/* One more of @report: on endpoint 0 or 1, with the descriptor that is its. */
static inline struct report_socket *add_socket(uint32_t endpoint, uint64_t cookie)
{
	struct report_socket *socket = &report.sockets[report.n_sockets];

	report_fds[report.n_sockets++] = (int)(cookie - 100);
	socket->cookie = cookie;
	socket->endpoint = endpoint;
	strcpy(socket->address, endpoint == 0 ? ADDRESS_0 : ADDRESS_1);
	return socket;
}

/* The sockets that an agent should have. */
static inline void add_sockets(struct report *r)
{
	r->n_sockets = 2;
	r->sockets[0].cookie = 101;
	r->sockets[1].cookie = 102;
	r->sockets[1].endpoint = 1;
	strcpy(r->sockets[0].address, ADDRESS_0);
	strcpy(r->sockets[1].address, ADDRESS_1);
}

static inline void hear_hello(void)
{
	add_sockets(&report);
	hear(REPORT_HELLO, 3);
}

/* Started, greeted, the server runs; what was noted on the way is forgotten. */
static inline void run_instance(void)
{
	assert_started();
	hear_hello();
	report.pid = 600;
	hear(REPORT_STARTED, 0);
	forget_calls();
	notes[0] = '\0';
	n_changes = 0;
}

static inline void lose_agent(void)
{
	fake_agent.ended = true;
	fake_agent.link->callbacks->on_lost(fake_agent.link->userdata);
}

#define drive_until(condition)                                                                     \
	do {                                                                                       \
		uint64_t deadline_ = clock_monotonic_ms() + FIXTURE_DEADLINE_MS;                   \
                                                                                                   \
		while (!(condition)) {                                                             \
			if (clock_monotonic_ms() >= deadline_)                                     \
				fail_msg("never: %s", #condition);                                 \
			assert_true(sd_event_run(context.event, 50 * 1000) >= 0);                  \
		}                                                                                  \
	} while (0)
