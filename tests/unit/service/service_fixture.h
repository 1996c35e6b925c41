/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_fixture: a service with two endpoints in a real event loop, with the real rollouts
 * (rollout.c, run.c) and generations, whose instances, endpoints, releases, commands, watched paths
 * and remembered numbers are fakes. Instance K of generation N has slot 10 N + 2 K + E on endpoint
 * E (where it is the first with this index, and K is below 5); its release is what was asked for.
 *
 * Nothing is healed within a test's time, unless it calls heal_after().
 */
#pragma once

#include "common/clock.h"
#include "orchestrator/api/events.h"
#include "orchestrator/instance/instances.h"
#include "orchestrator/service/history_file.h"
#include "orchestrator/service/service_internal.h"
#include "orchestrator/service/state.h"
#include "orchestrator/service/underway.h"
#include "orchestrator/view/event_json.h"
#include "orchestrator/view/order_json.h"
#include "common/vector.h"
#include "tests/unit/fakes/fake_cgroup.h"
#include "tests/unit/fakes/fake_command.h"
#include "tests/unit/fakes/fake_errand.h"
#include "tests/unit/fakes/fake_tap.h"
#include "tests/unit/fakes/fake_instances.h"
#include "tests/unit/fakes/fake_occupants.h"
#include "tests/unit/fakes/fake_steer.h"
#include "tests/unit/fakes/fake_watch.h"

#define FIXTURE_DEADLINE_MS 10000
#define ENDPOINT_0          "127.0.0.1:80"
#define ENDPOINT_1          "[::1]:81"
#define ANCHOR_CGROUP       "/cgroup/test/anchor.web"
#define OPEN_HOOKS                                                                                 \
	"tap open /pins/test/web/tap; cgroup_create anchor.web; "                                  \
	"tap attach 4294967295.0; "
#define OPEN_ALL                                                                                   \
	OPEN_HOOKS                                                                                 \
	"open " ENDPOINT_0 " /pins/test/web/tcp-127_0_0_1-80; "                                    \
	"open " ENDPOINT_1 " /pins/test/web/tcp---1-81; "
#define RESET_ALL  "reset " ENDPOINT_0 "; reset " ENDPOINT_1 "; "
#define ATTACH_ALL "attach " ENDPOINT_0 "; attach " ENDPOINT_1 "; "
#define UNPIN_ALL  "unpin " ENDPOINT_0 "; unpin " ENDPOINT_1 "; tap unpin; "
#define CLOSE_ALL                                                                                  \
	"close " ENDPOINT_0 "; close " ENDPOINT_1 "; tap close; cgroup_remove " ANCHOR_CGROUP
#define PUBLISH_ALL "publish " ENDPOINT_0 "; publish " ENDPOINT_1

static struct context context;
static struct service *service;
static struct refusal refusal;
static struct events *events;
static struct service_answer answer;
static struct error err;
static struct run *run;  /* of the last order */
static unsigned n_ended; /* calls of on_end */

/* ---- fakes ---------------------------------------------------------------------------------- */

/* What state.json knows of. */
static uint32_t last_number;
static int state_error;
static char **remembered;             /* the command; NULL: none */
static char **remembered_environment; /* NULL: none */
static uint32_t remembered_instances;
static uint32_t remembered_serving;
static char remembered_base[32];
static struct history kept_history;
static struct underway_list kept_underway; /* what is in the file of rollouts under way */
static unsigned underway_writes;
static int underway_error;
static char remembered_twin[ADDRESS_TEXT_MAX]; /* "": none */

static bool release_copy_fails;
static bool files_change;        /* other editions lie where the earlier ones did */
static char release_edition[32]; /* of the files that releases are made of, and of what they say */
static int gone_error;           /* what is still alive of an earlier daemon */

int state_next_generation(struct state *state, const char *name, uint32_t *ret, struct error *e)
{
	(void)state;
	assert_string_equal(name, "web");
	if (state_error < 0)
		return error_set(e, state_error, "state.json");
	*ret = ++last_number;
	return 0;
}

uint32_t state_generation(const struct state *state, const char *name)
{
	(void)state;
	assert_string_equal(name, "web");
	return last_number;
}

int state_set_serving(struct state *state, const char *name, uint32_t generation, struct error *e)
{
	(void)state, (void)name, (void)e;
	remembered_serving = generation;
	return 0;
}

uint32_t state_serving(const struct state *state, const char *name)
{
	(void)state, (void)name;
	return remembered_serving;
}

static inline struct past *copy_past(const struct past *past)
{
	struct past *copy = past_new(past->generation, past->release, past->config, past->added,
				     past->began_ms);

	assert_non_null(copy);
	copy->ended_ms = past->ended_ms;
	copy->end = past->end;
	copy->came_back = past->came_back;
	return copy;
}

static inline int remember(char ***where, const char *name, char *const *vector, struct error *e)
{
	assert_string_equal(name, "web");
	vector_free(TAKE_PTR(*where));
	if (state_error < 0)
		return error_set(e, state_error, "state.json");
	return vector ? vector_copy(vector, where) : 0;
}

static inline char **recall(char *const *vector, const char *name)
{
	char **copy = NULL;

	assert_string_equal(name, "web");
	if (vector)
		assert_int_equal(vector_copy(vector, &copy), 0);
	return copy;
}

int state_set_command(struct state *state, const char *name, char *const *command, struct error *e)
{
	(void)state;
	return remember(&remembered, name, command, e);
}

char **state_command(const struct state *state, const char *name)
{
	(void)state;
	return recall(remembered, name);
}

int state_set_environment(struct state *state, const char *name, char *const *environment,
			  struct error *e)
{
	(void)state;
	return remember(&remembered_environment, name, environment, e);
}

char **state_environment(const struct state *state, const char *name)
{
	(void)state;
	return recall(remembered_environment, name);
}

int state_set_base(struct state *state, const char *name, const char *base, struct error *e)
{
	(void)state, (void)e;
	assert_string_equal(name, "web");
	snprintf(remembered_base, sizeof(remembered_base), "%s", base ? base : "");
	return 0;
}

char *state_base(const struct state *state, const char *name)
{
	(void)state;
	assert_string_equal(name, "web");
	return remembered_base[0] ? strdup(remembered_base) : NULL;
}

int state_set_twin(struct state *state, const char *name, const char *address, bool on,
		   struct error *e)
{
	(void)state;
	assert_string_equal(name, "web");
	if (state_error < 0)
		return error_set(e, state_error, "state.json");
	if (on)
		strcpy(remembered_twin, address);
	else if (strcmp(remembered_twin, address) == 0)
		remembered_twin[0] = '\0';
	return 0;
}

bool state_has_twin(const struct state *state, const char *name, const char *address)
{
	(void)state;
	assert_string_equal(name, "web");
	return strcmp(remembered_twin, address) == 0;
}

/* What service_recall() finds, and what was written last, as copies. */
void history_file_look(const char *path)
{
	(void)path;
}

int history_file_read(const char *path, const struct service_config *c, struct history *ret,
		      struct error *e)
{
	(void)c, (void)e;
	assert_string_equal(path, "/var/lib/test/history/web.json");
	for (; ret->n < kept_history.n; ret->n++)
		ret->list[ret->n] = copy_past(kept_history.list[ret->n]);
	return 0;
}

int history_file_write(struct kept_file *file, const struct history *history, struct error *e)
{
	assert_string_equal(kept_file_path(file), "/var/lib/test/history/web.json");
	if (state_error < 0)
		return error_set(e, state_error, "%s", kept_file_path(file));
	history_done(&kept_history);
	for (; kept_history.n < history->n; kept_history.n++)
		kept_history.list[kept_history.n] = copy_past(history->list[kept_history.n]);
	return 0;
}

void history_file_path(const struct paths *paths, const char *name, char ret[static PATHS_MAX])
{
	snprintf(ret, PATHS_MAX, "/var/lib/%s/history/%s.json", paths->name, name);
}

void underway_path(const struct paths *paths, const char *name, char ret[static PATHS_MAX])
{
	snprintf(ret, PATHS_MAX, "/run/%s/rollouts.%s.json", paths->name, name);
}

int underway_read(const char *path, struct underway_list *ret, struct error *e)
{
	(void)e;
	assert_string_equal(path, "/run/test/rollouts.web.json");
	*ret = kept_underway;
	return 0;
}

int underway_write(const char *path, const struct underway_list *list, struct error *e)
{
	assert_string_equal(path, "/run/test/rollouts.web.json");
	underway_writes++;
	if (underway_error < 0)
		return error_set(e, underway_error, "%s", path);
	kept_underway = *list;
	return 0;
}

int state_set_instances(struct state *state, const char *name, uint32_t instances, struct error *e)
{
	(void)state;
	assert_string_equal(name, "web");
	if (state_error < 0)
		return error_set(e, state_error, "state.json");
	remembered_instances = instances;
	return 0;
}

uint32_t state_instances(const struct state *state, const char *name)
{
	(void)state;
	assert_string_equal(name, "web");
	return remembered_instances;
}

static bool agents_there; /* of an earlier daemon */

bool takeover_is_there(const struct context *c, const char *name)
{
	assert_ptr_equal(c, &context);
	assert_string_equal(name, "web");
	return agents_there;
}

int takeover_check_gone(struct context *c, const char *name, struct error *e)
{
	assert_ptr_equal(c, &context);
	assert_string_equal(name, "web");
	return gone_error < 0 ? error_set(e, gone_error, "web.1.0.sock") : 0;
}

char *takeover_describe(const struct takeover_list *list, const char *name,
			char ret[static TAKEOVER_TEXT_MAX])
{
	assert_non_null(list);
	assert_string_equal(name, "web");
	strcpy(ret, "instance 0 of generation 3 (agent pid 7, server pid 8, no answer for 2s)");
	return ret;
}

static inline struct release *make_release(char *const *command, char *const *environment)
{
	struct release *release = calloc(1, sizeof(*release));

	assert_non_null(release);
	assert_int_equal(vector_copy(command, &release->command), 0);
	assert_int_equal(vector_copy(environment, &release->environment), 0);
	release->executable = strdup(command[0]);
	release->directory = strdup("/srv");
	return release;
}

/* What the agents of an earlier daemon run. */
static char *adopted_command[] = {(char *)"/bin/adopted", NULL};

struct release *takeover_release(const struct takeover_agent *agent)
{
	(void)agent;
	return make_release(adopted_command, NULL);
}

int release_resolve(const struct service_config *c, uint32_t number, char *const *command,
		    char *const *environment, struct release **ret, struct error *e)
{
	(void)number;
	command = command ? command : c->command;
	if (strcmp(command[0], "/none") == 0)
		return error_set(e, -ENOENT, "command: \"%s\"", command[0]);
	*ret = make_release(command, environment);
	snprintf((*ret)->digest, sizeof((*ret)->digest), "build-id:%s", release_edition);
	return 0;
}

struct release *release_copy(const struct release *release)
{
	struct release *copy;

	if (release_copy_fails)
		return NULL;
	copy = make_release(release->command, release->environment);
	memcpy(copy->digest, release->digest, sizeof(copy->digest));
	return copy;
}

int release_look(struct release *release, struct error *e)
{
	(void)release, (void)e;
	return 0;
}

/* Whatever is of another edition than what lies there now. */
bool release_changed(const struct release *release, const char **ret)
{
	*ret = release->executable;
	return files_change && release->digest[0] &&
	       strcmp(release->digest + strlen("build-id:"), release_edition) != 0;
}

bool release_equal(const struct release *a, const struct release *b)
{
	return vector_equal(a->command, b->command) && strcmp(a->executable, b->executable) == 0;
}

bool release_identical(const struct release *a, const struct release *b)
{
	return release_equal(a, b) && vector_equal(a->environment, b->environment) &&
	       strcmp(a->digest, b->digest) == 0;
}

void release_free(struct release *release)
{
	if (!release)
		return;
	vector_free(release->command);
	vector_free(release->environment);
	free(release->executable);
	free(release->directory);
	free(release);
}

/* Only the reading of configuration files needs these. */
int lookup_directory(const struct service_config *c, char **ret, struct error *e)
{
	(void)c, (void)ret;
	return error_set(e, -ENOSYS, "fake");
}

int lookup_environment(const struct service_config *c, uint32_t generation, char ***ret,
		       struct error *e)
{
	(void)c, (void)generation, (void)ret;
	return error_set(e, -ENOSYS, "fake");
}

int lookup_executable(const char *name, const char *directory, char *const *environment, char **ret,
		      struct error *e)
{
	(void)name, (void)directory, (void)environment, (void)ret;
	return error_set(e, -ENOSYS, "fake");
}

/* ---- life ----------------------------------------------------------------------------------- */

/* A configuration of the service's name with @program as its command, and @first to listen on. */
static inline struct service_config *make_config(const char *program, const char *first)
{
	char *command[] = {(char *)program, NULL};
	struct health_config check = {.kind = HEALTH_KIND_HTTP, .healthy = 1};
	struct service_config c = {
		.name = (char *)"web",
		.command = command,
		.n_listen = 2,
		.instances = 1,
		.uid = 33,
		.health = {.list = &check, .n = 1, .start_timeout_ms = 60000},
		.rollout = {.settle_timeout_ms = 60000},
		.drain = {.timeout_ms = 60000,
			  .shutdown_timeout_ms = 60000,
			  .generations_max = SERVICE_GENERATIONS_MAX,
			  .kill_timeout_ms = 60000,
			  .leave_timeout_ms = 60000},
		.hooks = {.timeout_ms = 60000},
		.restart = {.max = 5, .window_ms = 3600000, .delay_ms = 600000},
	};
	struct service_config *copy;

	assert_int_equal(address_parse(first, &c.listen[0], NULL), 0);
	assert_int_equal(address_parse(ENDPOINT_1, &c.listen[1], NULL), 0);
	copy = service_config_copy(&c);
	assert_non_null(copy);
	return copy;
}

/* How the last "reopen" went. */
static struct {
	unsigned told;
	uint32_t files;
	size_t n_failures;
	char message[1024], failures[1024]; /* the latter: "1.0 TEXT; 1.1 TEXT" */
} reopen;

static inline void keep_reopened(void *userdata, struct service *s,
				 const struct reopen_result *result)
{
	size_t n = 0;

	assert_ptr_equal(userdata, &reopen);
	assert_ptr_equal(s, service);
	reopen.told++;
	reopen.files = result->files;
	reopen.n_failures = result->n_failures;
	service_reopen_message(result, reopen.message, sizeof(reopen.message));
	reopen.failures[0] = '\0';
	for (size_t k = 0; k < result->n_failures && n < sizeof(reopen.failures); k++)
		n += (size_t)snprintf(reopen.failures + n, sizeof(reopen.failures) - n,
				      "%s%u.%u %s", k ? "; " : "", result->failures[k].generation,
				      result->failures[k].instance, result->failures[k].text);
}

static inline void on_end(void *userdata, struct service *s)
{
	assert_ptr_equal(userdata, &n_ended);
	assert_ptr_equal(s, service);
	n_ended++;
}

static inline void give_slots(void)
{
	for (uint16_t n = 1; n < 25; n++)
		for (uint16_t k = 0; k < 5; k++) {
			fake(n, k)->has_slots = true;
			for (uint16_t e = 0; e < 2; e++)
				fake(n, k)->slots[e] = (uint16_t)(10 * n + 2 * k + e);
		}
}

static inline void forget_state(void)
{
	last_number = remembered_instances = remembered_serving = 0;
	state_error = gone_error = 0;
	vector_free(TAKE_PTR(remembered));
	vector_free(TAKE_PTR(remembered_environment));
	remembered_base[0] = remembered_twin[0] = '\0';
	release_copy_fails = files_change = false;
	history_done(&kept_history);
	kept_underway = (struct underway_list){};
	underway_writes = 0;
	underway_error = 0;
	strcpy(release_edition, "1");
}

static inline void keep_event(void *userdata, const char *name, const struct event *event)
{
	(void)userdata;
	if (strcmp(name, "web") != 0)
		return; /* another service of the test's */
	if (event->passing)
		events_pass(events, clock_realtime_ms(), name, event_name(event->kind),
			    event_json(event));
	else
		events_add(events, clock_realtime_ms(), name, event_name(event->kind),
			   event_json(event));
}

static const struct event_sink sink = {.take = keep_event};

static inline int set_up(void **state)
{
	(void)state;
	context = (struct context){.paths.name = "test", .cgroup_base = "/cgroup/test"};
	for (size_t k = 0; k < _STEER_TIER_COUNT; k++)
		context.tiers.list[k].works = true;
	refusal = (struct refusal){};
	answer = (struct service_answer){};
	run = NULL;
	n_ended = 0;
	memset(&reopen, 0, sizeof(reopen));
	forget_state();
	memset(&fake_cgroup, 0, sizeof(fake_cgroup));
	fake_instances_reset();
	fake_occupants_reset();
	give_slots();
	fake_steer_reset();
	fake_tap_reset();
	fake_commands_reset();
	fake_watch_error = 0;
	fake_watches = 0;
	fake_watch_moved_ms = UINT64_MAX;
	forget_calls();
	assert_int_equal(sd_event_new(&context.event), 0);
	assert_int_equal(events_new(&events), 0);
	context.sink = &sink;
	return service_new(&context, make_config("/bin/web", ENDPOINT_0), on_end, &n_ended,
			   &service, &err);
}

static inline int tear_down(void **state)
{
	(void)state;
	service_free(service);
	forget_state();
	events_free(events);
	sd_event_unref(context.event);
	assert_int_equal(fake_instances_alive(), 0);
	assert_int_equal(fake_steers_open, 0);
	assert_int_equal(fake_tap_open, 0);
	assert_int_equal(fake_commands_alive(), 0);
	assert_null(fake_watch);
	fake_commands_reset();
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

/* Something about an instance has changed, as its agent's report would say. */
static inline void changed(void)
{
	const struct generation *g = service->generations[service->n_generations - 1];

	g->callbacks->on_change(g->userdata);
}

/* The loop turns until there is nothing to do but wait. */
static inline void turn(void)
{
	int r;

	do {
		r = sd_event_run(context.event, 0);
		assert_true(r >= 0);
	} while (r > 0);
}

/* The same, after a change. */
static inline void look(void)
{
	changed();
	turn();
}

/* The look that comes every half second, now. */
static inline void watch_now(void)
{
	unsigned before = service->wiring.endpoints[0]->tended;

	assert_int_equal(sd_event_source_set_time(service->tick.source, 0), 0);
	drive_until(service->wiring.endpoints[0]->tended > before);
}

static inline json_t *make_body(const char *text)
{
	json_t *json = text ? json_loads(text, 0, NULL) : NULL;

	if (text && !json)
		fail_msg("not JSON: %s", text);
	return json;
}

/* As a request of the API would. */
static inline int give_order(const char *name, const char *body)
{
	json_t *json = make_body(body);
	struct service_order parsed;
	int r;

	refusal = (struct refusal){};
	answer = (struct service_answer){};
	r = order_parse(name, json, &parsed, &refusal);
	parsed.on_reopened = keep_reopened;
	parsed.userdata = &reopen;
	if (r >= 0)
		r = service_order(service, &parsed, &answer, &refusal);
	service_order_done(&parsed);
	json_decref(json);
	return r;
}

/* The service's own wish. */
static inline void order_later(const char *name)
{
	enum service_order_type type;

	assert_true(order_find(name, &type));
	service_order_later(service, type);
}

/* What the service wants itself. */
static inline void assert_own(const char *name)
{
	assert_true(service->queue.has_own);
	assert_string_equal(order_info(service->queue.own)->name, name);
}

/* *ret_order: the order that would follow; NULL: none. */
static inline int reconfigure(struct service_config *config, const char **ret_order,
			      struct error *e)
{
	enum service_order_type type;
	int r = service_reconfigure(service, config, &type, e);

	*ret_order = r > 0 ? order_info(type)->name : NULL;
	return r > 0 ? 0 : r;
}

/* An order that must be taken; what has become of it is @answer. */
static inline void give(const char *name, const char *body)
{
	run = NULL;
	if (give_order(name, body) < 0)
		fail_msg("%s: %s", name, refusal.why.text);
	run = answer.run;
}

/* The same for one whose rollout begins, or is undone: it is @run then. */
static inline void order(const char *name, const char *body)
{
	give(name, body);
	assert_non_null(run);
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
	const struct refusal_info *info = refusal_info(refusal.kind);

	assert_int_equal(info->http_status, status);
	assert_int_equal(info->exit, code);
	assert_string_equal(info->title, title);
	assert_string_equal(refusal.why.text, detail);
}

/* An order that must be refused, as said in @problem then. */
static inline void refused(const char *name, const char *body)
{
	assert_true(give_order(name, body) < 0);
	assert_null(answer.run);
	assert_int_equal(answer.queued, 0);
}

/* ---- looking -------------------------------------------------------------------------------- */

/* The newest event of this name, as an object to be freed; NULL: none. */
static inline json_t *newest_event(const char *name)
{
	json_t *found = NULL;
	struct events_cursor cursor = {};
	struct events_found next;

	for (; events_find(events, &cursor, "web", &next); events_take(&cursor, &next)) {
		json_t *json = json_loads(next.line, 0, NULL);

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

/* @n connections that waited have gone to @generation, as the newest event of that kind says. */
static inline void assert_released(unsigned n, unsigned generation)
{
	json_t *json = newest_event("released");
	const char *message = json_string_value(json_object_get(json, "message"));
	const json_t *held = json_object_get(json, "held");
	char count[32], whom[32];

	assert_non_null(json);
	snprintf(count, sizeof(count), n == 1 ? "%u connection that" : "%u connections that", n);
	snprintf(whom, sizeof(whom), "to generation %u", generation);
	assert_int_equal(strncmp(message, count, strlen(count)), 0);
	assert_non_null(strstr(message, whom));
	assert_int_equal(json_integer_value(json_object_get(held, "released")), n);
	json_decref(json);
}

static inline unsigned count_events(const char *name)
{
	struct events_cursor cursor = {};
	struct events_found next;
	unsigned n = 0;

	for (; events_find(events, &cursor, "web", &next); events_take(&cursor, &next)) {
		json_t *json = json_loads(next.line, 0, NULL);

		assert_non_null(json);
		n += strcmp(json_string_value(json_object_get(json, "event")), name) == 0;
		json_decref(json);
	}
	return n;
}

/* Those of the calls whose first word is one of @words ("hold publish"), in order. */
static inline const char *calls_of(const char *words)
{
	static char ret[CALLS_MAX];
	char copy[CALLS_MAX];
	char *rest = copy;

	ret[0] = '\0';
	memcpy(copy, calls, sizeof(copy));
	for (char *call = copy; rest; call = rest) {
		size_t n;

		rest = strstr(call, "; ");
		if (rest) {
			*rest = '\0';
			rest += 2;
		}
		n = strcspn(call, " ");
		for (const char *word = words; *word; word += strcspn(word, " ")) {
			word += strspn(word, " ");
			if (strcspn(word, " ") != n || strncmp(word, call, n) != 0)
				continue;
			if (ret[0])
				strcat(ret, "; ");
			strcat(ret, call);
		}
	}
	return ret;
}

/* Of these words the calls were exactly those; all calls are forgotten then. */
#define assert_calls_of(words, expected)                                                           \
	do {                                                                                       \
		assert_string_equal(calls_of(words), expected);                                    \
		forget_calls();                                                                    \
	} while (0)

/* The table of endpoint @e names exactly these two, STEER_NO_SLOT for none. */
static inline void assert_table(size_t e, uint16_t primary, uint16_t backup)
{
	const struct steer_table *table = &service->wiring.endpoints[e]->table;

	for (size_t k = 0; k < STEER_BUCKETS; k++) {
		assert_int_equal(table->buckets[k].primary, primary);
		assert_int_equal(table->buckets[k].backup, backup);
	}
}

/* How many buckets of endpoint @e go to the instance. */
static inline size_t buckets_of(size_t e, uint32_t generation, uint32_t index)
{
	const struct instance *i = fake_there(generation, index);
	size_t n = 0;

	for (size_t k = 0; k < i->sockets.n; k++)
		if (i->sockets.list[k].endpoint == e)
			n += table_count(&service->wiring.endpoints[e]->table,
					 i->sockets.list[k].slot);
	return n;
}

static inline struct generation *generation_of(uint32_t number)
{
	for (size_t k = 0; k < service->n_generations; k++)
		if (service->generations[k]->number == number)
			return service->generations[k];
	fail_msg("there is no generation %u", number);
	return NULL;
}

/* ---- rollouts that stay where they are ------------------------------------------------------ */

/* A restart whose new generation, @number, does not pass its checks. */
static inline void restart_until_verify(uint32_t number)
{
	fake(number, 0)->not_healthy = true;
	order("restart", NULL);
	assert_int_equal(run->new->number, number);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
}

static inline void pass_checks(uint32_t number)
{
	fake(number, 0)->not_healthy = false;
	changed();
}

/* What is ailing is replaced in @delay_ms, at most @max times. */
static inline void heal_after(uint64_t delay_ms, uint32_t max)
{
	service->config->restart.delay_ms = delay_ms;
	service->config->restart.max = max;
}

/* A first generation of @n instances, which serves. */
static inline void start_instances(uint32_t n)
{
	service->instances = n;
	carry_out("start", NULL);
	assert_int_equal(service->current->instances.n, n);
	forget_calls();
}

/* Queue an order that waits for room: a generation that was undone does not end. */
static inline void queue_without_room(const char *name, const char *body)
{
	service->config->drain.generations_max = 2;
	fake(2, 0)->cannot_stop = true;
	restart_until_verify(2);
	give(name, body);
	assert_null(run);
	assert_true(answer.queued > 0);
	turn();
	assert_null(service_undecided_run(service));
	assert_true(service->queue.next.used);
}

static inline void assert_nothing_left(void)
{
	assert_true(service_is_idle(service));
	assert_false(service->endpoints.open);
	assert_int_equal(fake_steers_open, 0);
	assert_int_equal(fake_instances_alive(), 0);
	assert_null(service_run(service));
	assert_null(service->current);
}

/* @expected: the order by which it would become as configured; NULL: none. */
static inline void reconfigured(struct service_config *config, const char *expected)
{
	const char *order_after = "(not set)";

	assert_int_equal(reconfigure(config, &order_after, &err), 0);
	if (expected)
		assert_string_equal(order_after, expected);
	else
		assert_null(order_after);
	assert_ptr_equal(service->config, config);
}
