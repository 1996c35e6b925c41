/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_fixture: a service with two endpoints in a real event loop, with the real rollouts
 * (run.c), whose generations, endpoints, releases and numbers are fakes. Generation N has slot
 * 10 N + E on endpoint E; its release is what was asked for.
 */
#pragma once

#include "common/clock.h"
#include "orchestrator/service.h"
#include "orchestrator/table.h"
#include "orchestrator/vector.h"
#include "tests/unit/fake_cgroup.h"
#include "tests/unit/fake_generation.h"
#include "tests/unit/fake_hooks.h"
#include "tests/unit/fake_steer.h"

#define FIXTURE_DEADLINE_MS 10000
#define ENDPOINT_0          "127.0.0.1:80"
#define ENDPOINT_1          "[::1]:81"
#define ANCHOR_CGROUP       "/cgroup/test/web.anchor"
#define OPEN_HOOKS                                                                                 \
	"hooks open /pins/test/web/hooks 2; cgroup_create web.anchor; "                            \
	"hooks attach 4294967295.0; "
#define OPEN_ALL                                                                                   \
	OPEN_HOOKS                                                                                 \
	"open " ENDPOINT_0 " /pins/test/web/tcp-127_0_0_1-80; "                                    \
	"open " ENDPOINT_1 " /pins/test/web/tcp---1-81; "
#define RESET_ALL  "reset " ENDPOINT_0 "; reset " ENDPOINT_1 "; "
#define ATTACH_ALL "attach " ENDPOINT_0 "; attach " ENDPOINT_1 "; "
#define UNPIN_ALL  "unpin " ENDPOINT_0 "; unpin " ENDPOINT_1 "; hooks unpin; "
#define CLOSE_ALL                                                                                  \
	"close " ENDPOINT_0 "; close " ENDPOINT_1 "; hooks close; cgroup_remove " ANCHOR_CGROUP
#define PUBLISH_ALL "publish " ENDPOINT_0 "; publish " ENDPOINT_1

static struct context context;
static struct service *service;
static struct api_problem problem;
static struct error err;
static struct run *run;
static unsigned n_ended; /* calls of on_end */

/* ---- fakes ---------------------------------------------------------------------------------- */

static uint32_t last_number; /* that state.json knows of */
static int state_error;
static char **remembered; /* the command that state.json has; NULL: none */
static bool release_copy_fails;
static int gone_error; /* what is still alive of an earlier daemon */

int state_next_generation(struct state *state, const char *name, uint32_t *ret, struct error *e)
{
	(void)state;
	assert_string_equal(name, "web");
	if (state_error < 0)
		return error_set(e, state_error, "state.json");
	*ret = ++last_number;
	return 0;
}

static uint32_t fake_serving; /* as remembered */

int state_set_serving(struct state *state, const char *name, uint32_t generation, struct error *e)
{
	(void)state, (void)name, (void)e;
	fake_serving = generation;
	return 0;
}

uint32_t state_serving(const struct state *state, const char *name)
{
	(void)state, (void)name;
	return fake_serving;
}

int state_set_command(struct state *state, const char *name, char *const *command, struct error *e)
{
	(void)state;
	assert_string_equal(name, "web");
	vector_free(TAKE_PTR(remembered));
	if (state_error < 0)
		return error_set(e, state_error, "state.json");
	return command ? vector_copy(command, &remembered) : 0;
}

char **state_command(const struct state *state, const char *name)
{
	char **copy = NULL;

	(void)state;
	assert_string_equal(name, "web");
	if (remembered)
		assert_int_equal(vector_copy(remembered, &copy), 0);
	return copy;
}

int adopt_check_gone(struct context *c, const char *name, struct error *e)
{
	assert_ptr_equal(c, &context);
	assert_string_equal(name, "web");
	return gone_error < 0 ? error_set(e, gone_error, "web.1.0.sock") : 0;
}

int release_resolve(const struct service_config *c, char *const *command, struct release **ret,
		    struct error *e)
{
	struct release *release;

	command = command ? command : c->command;
	if (strcmp(command[0], "/none") == 0)
		return error_set(e, -ENOENT, "command: \"%s\"", command[0]);
	release = calloc(1, sizeof(*release));
	assert_non_null(release);
	assert_int_equal(vector_copy(command, &release->command), 0);
	release->executable = strdup(command[0]);
	release->directory = strdup("/");
	*ret = release;
	return 0;
}

struct release *release_copy(const struct release *release)
{
	struct release *copy = NULL;

	if (release_copy_fails)
		return NULL;
	assert_int_equal(release_resolve(NULL, release->command, &copy, NULL), 0);
	return copy;
}

bool release_equal(const struct release *a, const struct release *b)
{
	return vector_equal(a->command, b->command) && strcmp(a->executable, b->executable) == 0;
}

void release_free(struct release *release)
{
	if (!release)
		return;
	vector_free(release->command);
	free(release->executable);
	free(release->directory);
	free(release);
}

/* Only the reading of configuration files needs these. */
int release_directory(const struct service_config *c, char **ret, struct error *e)
{
	(void)c;
	(void)ret;
	return error_set(e, -ENOSYS, "fake");
}

int release_environment(const struct service_config *c, char ***ret, struct error *e)
{
	(void)c;
	(void)ret;
	return error_set(e, -ENOSYS, "fake");
}

int release_executable(const char *name, const char *directory, char *const *environment,
		       char **ret, struct error *e)
{
	(void)name;
	(void)directory;
	(void)environment;
	(void)ret;
	return error_set(e, -ENOSYS, "fake");
}

/* ---- life ----------------------------------------------------------------------------------- */

/* A configuration of the service's name with @program as its command, and @first to listen on. */
static inline struct service_config *make_config(const char *program, const char *first)
{
	char *command[] = {(char *)program, NULL};
	struct service_config c = {
		.name = (char *)"web",
		.command = command,
		.n_listen = 2,
		.instances = 1,
		.uid = 33,
		.health = {.kind = HEALTH_HTTP, .healthy = 1, .start_timeout_ms = 60000},
		.rollout = {.settle_timeout_ms = 60000},
		.drain = {.timeout_ms = 60000, .kill_timeout_ms = 60000, .leave_timeout_ms = 60000},
	};
	struct service_config *copy;

	assert_int_equal(address_parse(first, &c.listen[0], NULL), 0);
	assert_int_equal(address_parse(ENDPOINT_1, &c.listen[1], NULL), 0);
	copy = service_config_copy(&c);
	assert_non_null(copy);
	return copy;
}

static inline void on_end(void *userdata, struct service *s)
{
	assert_ptr_equal(userdata, &n_ended);
	assert_ptr_equal(s, service);
	n_ended++;
}

static inline int set_up(void **state)
{
	(void)state;
	context = (struct context){.paths.name = "test", .cgroup_base = "/cgroup/test"};
	for (size_t k = 0; k < _STEER_TIER_COUNT; k++)
		context.tiers.list[k].works = true;
	problem = (struct api_problem){};
	run = NULL;
	last_number = 0;
	state_error = gone_error = 0;
	memset(&fake_cgroup, 0, sizeof(fake_cgroup));
	release_copy_fails = false;
	n_ended = 0;
	fake_generations_reset();
	fake_steer_reset();
	fake_hooks_reset();
	forget_calls();
	for (uint16_t n = 1; n < 25; n++) {
		fake_generations[n].n_slots = 1;
		for (uint16_t e = 0; e < 2; e++)
			fake_generations[n].slots[e][0] = (uint16_t)(10 * n + e);
	}
	assert_int_equal(sd_event_new(&context.event), 0);
	assert_int_equal(events_new(&context.events), 0);
	return service_new(&context, make_config("/bin/web", ENDPOINT_0), on_end, &n_ended,
			   &service, &err);
}

static inline int tear_down(void **state)
{
	(void)state;
	service_free(service);
	vector_free(TAKE_PTR(remembered));
	events_free(context.events);
	sd_event_unref(context.event);
	assert_int_equal(fake_generations_alive(), 0);
	assert_int_equal(fake_steers_open, 0);
	assert_int_equal(fake_hooks_open, 0);
	return 0;
}

/* ---- driving -------------------------------------------------------------------------------- */

#define drive_until(condition)                                                                     \
	do {                                                                                       \
		uint64_t deadline_ = clock_monotonic_ms() + FIXTURE_DEADLINE_MS;                   \
                                                                                                   \
		while (!(condition)) {                                                             \
			if (clock_monotonic_ms() >= deadline_)                                     \
				fail_msg("never: %s", #condition);                                 \
			assert_true(sd_event_run(context.event, 10 * 1000) >= 0);                  \
		}                                                                                  \
	} while (0)

/* Something about the newest generation has changed, as an agent's report would say. */
static inline void changed(void)
{
	const struct instance *i = &service->generations[service->n_generations - 1]->instances[0];

	i->callbacks->on_change(i->userdata);
}

/* The look that comes every half second, now. */
static inline void watch_now(void)
{
	unsigned before = service->wiring.endpoints[0]->tended;

	assert_int_equal(sd_event_source_set_time(service->watch, 0), 0);
	drive_until(service->wiring.endpoints[0]->tended > before);
}

/* An order that must be taken; its rollout is @run then. */
static inline void order(const char *name, const char *body)
{
	json_t *json = body ? json_loads(body, 0, NULL) : NULL;

	problem = (struct api_problem){};
	run = NULL;
	if (service_order(service, name, json, &run, &problem) < 0)
		fail_msg("%s: %s", name, problem.detail.text);
	assert_non_null(run);
	json_decref(json);
}

/* The same, to its end. */
static inline void carry_out(const char *name, const char *body)
{
	unsigned before = n_ended;

	order(name, body);
	drive_until(n_ended > before);
}

static inline void upgrade_to(const char *program)
{
	char body[128];

	snprintf(body, sizeof(body), "{\"command\": [\"%s\"]}", program);
	carry_out("upgrade", body);
}

static inline const char *current_program(void)
{
	assert_non_null(service->current);
	return service->current->release->executable;
}

static inline void assert_refused(unsigned status, int code, const char *title, const char *detail)
{
	assert_int_equal(problem.status, status);
	assert_int_equal(problem.code, code);
	assert_string_equal(problem.title, title);
	assert_string_equal(problem.detail.text, detail);
}

/* An order that must be refused, as said in @problem then. */
static inline void refused(const char *name, json_t *body)
{
	problem = (struct api_problem){};
	run = NULL;
	assert_true(service_order(service, name, body, &run, &problem) < 0);
	assert_null(run);
	json_decref(body);
}

/* The newest event of this name, as an object to be freed; NULL: none. */
static inline json_t *newest_event(const char *name)
{
	json_t *found = NULL;
	uint64_t seq = 0;
	const char *line;

	while ((line = events_next(context.events, seq, "web", &seq))) {
		json_t *json = json_loads(line, 0, NULL);

		assert_non_null(json);
		if (strcmp(json_string_value(json_object_get(json, "event")), name) == 0) {
			json_decref(found);
			found = json_incref(json);
		}
		json_decref(json);
	}
	return found;
}

static inline void assert_event(const char *name, const char *key, const char *text)
{
	json_t *json = newest_event(name);

	assert_non_null(json);
	assert_string_equal(json_string_value(json_object_get(json, key)), text);
	json_decref(json);
}

/* The table of endpoint @e names exactly these two, STEER_NO_SLOT for none. */
static inline void assert_table(size_t e, uint16_t primary, uint16_t backup)
{
	const struct steer_table *table = &service->wiring.endpoints[e]->table;

	for (size_t k = 0; k < STEER_BUCKETS; k++) {
		assert_int_equal(table->buckets[k].primary, primary);
		assert_int_equal(table->buckets[k].backup, backup);
	}
}
