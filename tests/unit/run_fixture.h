/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run_fixture: one rollout of a service that is nothing but fakes, in a real event loop.
 *
 * Generation 1 is the old one, generation 2 the new one. What run.c asks of its service is done
 * here: publishing is noted (and fails where the test wants it), events are kept, and a poke makes
 * the next turn of the loop look at the rollout, as service.c does.
 */
#pragma once

#include "common/clock.h"
#include "orchestrator/run.h"
#include "orchestrator/service.h"
#include "tests/unit/fake_generation.h"
#include "tests/unit/fake_hooks.h"
#include "tests/unit/fake_steer.h"

#define FIXTURE_DEADLINE_MS 10000
#define FIXTURE_EVENTS_MAX  32

static struct context context;
static struct service_config config, old_config;
static struct service service;
static struct hooks hooks; /* in the service's wiring where a test puts them there */
static struct generation generations[2];
static struct generation *const old = &generations[0], *const new = &generations[1];
static struct run run;
static struct run_result result; /* filled when the rollout has ended */
static bool ended, poked;
static int publish_error; /* what the next publish returns, once */

static struct {
	char name[32];
	json_t *details;
} events[FIXTURE_EVENTS_MAX];
static size_t n_events;

/* ---- what run.c asks of its service --------------------------------------------------------- */

int service_publish(struct service *s, struct generation *primary, struct generation *backup,
		    struct error *err)
{
	int r = publish_error;

	assert_ptr_equal(s, &service);
	called("publish %u %u", primary ? primary->number : 0, backup ? backup->number : 0);
	publish_error = 0;
	return r < 0 ? error_set(err, r, "steer") : 0;
}

void service_poke(struct service *s)
{
	assert_ptr_equal(s, &service);
	poked = true;
}

void service_commit(struct service *s, const struct run *r)
{
	assert_ptr_equal(r, &run);
	called("commit %u", r->new->number);
	s->current = r->new;
}

uint64_t service_event(struct service *s, const char *event, json_t *details)
{
	assert_ptr_equal(s, &service);
	assert_true(n_events < FIXTURE_EVENTS_MAX);
	snprintf(events[n_events].name, sizeof(events[0].name), "%s", event);
	events[n_events].details = details;
	return ++n_events;
}

/* ---- life ----------------------------------------------------------------------------------- */

static inline void init_generation(struct generation *g, uint32_t number, struct service_config *c)
{
	*g = (struct generation){.number = number, .config = c, .n_instances = 1};
	g->instances[0] = (struct instance){
		.config = c,
		.generation = number,
		.pid = 100 + (pid_t)number,
		.checkers[0] =
			{
				.health.state = HEALTH_HEALTHY,
				.last = {.ok = true, .status = 200, .text = "GET /: 200 OK"},
				.last_ms = 1,
			},
	};
}

static inline int set_up(void **state)
{
	(void)state;
	config = (struct service_config){
		.name = (char *)"web",
		.n_listen = 1,
		.instances = 1,
		.health = {.kind = HEALTH_HTTP, .healthy = 2, .start_timeout_ms = 5000},
		.rollout = {.settle_timeout_ms = 5000},
		.drain = {.timeout_ms = 5000, .kill_timeout_ms = 1000, .leave_timeout_ms = 1000},
	};
	old_config = config;
	init_generation(old, 1, &old_config);
	init_generation(new, 2, &config);
	service = (struct service){.context = &context, .config = &config, .current = old};
	run = (struct run){};
	result = (struct run_result){};
	ended = poked = false;
	publish_error = 0;
	hooks = (struct hooks){};
	fake_generations_reset();
	fake_steer_reset();
	fake_hooks_reset();
	forget_calls();
	return sd_event_new(&context.event);
}

static inline int tear_down(void **state)
{
	(void)state;
	run_done(&run);
	for (size_t k = 0; k < n_events; k++)
		json_decref(events[k].details);
	n_events = 0;
	context.event = sd_event_unref(context.event);
	return 0;
}

/* ---- driving -------------------------------------------------------------------------------- */

static inline void look(void)
{
	if (!poked || ended)
		return;
	poked = false;
	if (run_observe(&run)) {
		ended = true;
		run_result(&run, &result);
	}
}

/* One turn of the loop, then what a poke asked for. */
static inline void turn(void)
{
	assert_true(sd_event_run(context.event, poked ? 0 : 100 * 1000) >= 0);
	look();
}

#define drive_until(condition)                                                                     \
	do {                                                                                       \
		uint64_t deadline_ = clock_monotonic_ms() + FIXTURE_DEADLINE_MS;                   \
                                                                                                   \
		while (!(condition)) {                                                             \
			if (clock_monotonic_ms() >= deadline_)                                     \
				fail_msg("at step %s for ever: %s is not so",                      \
					 rollout_state_name(run.machine.state), #condition);       \
			turn();                                                                    \
		}                                                                                  \
	} while (0)

static inline void drive_to(enum rollout_state wanted)
{
	drive_until(run.machine.state == wanted);
}

static inline void drive_to_end(void)
{
	drive_until(ended);
}

/* Something about a generation has changed, as an agent's report would say. */
#define change(assignment)                                                                         \
	do {                                                                                       \
		assignment;                                                                        \
		service_poke(&service);                                                            \
	} while (0)

/* ---- events --------------------------------------------------------------------------------- */

static inline const json_t *event_named(const char *name)
{
	for (size_t k = 0; k < n_events; k++)
		if (strcmp(events[k].name, name) == 0)
			return events[k].details;
	fail_msg("no event \"%s\"", name);
	return NULL;
}

static inline const char *text_of(const json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	if (!text)
		fail_msg("no text \"%s\"", key);
	return text;
}

static inline json_int_t number_of(const json_t *json, const char *key)
{
	if (!json_is_integer(json_object_get(json, key)))
		fail_msg("no number \"%s\"", key);
	return json_integer_value(json_object_get(json, key));
}

static inline void assert_step(const char *step, bool ok, const char *message)
{
	const json_t *details = event_named(step);

	assert_string_equal(text_of(details, "message"), message);
	assert_true(json_is_boolean(json_object_get(details, "ok")));
	assert_int_equal(json_is_true(json_object_get(details, "ok")), ok);
}

/* The steps told, in order, all of them. */
static inline void assert_steps(const char *expected)
{
	char told[FIXTURE_EVENTS_MAX * 32] = "";

	for (size_t k = 0; k < n_events; k++)
		snprintf(told + strlen(told), sizeof(told) - strlen(told), "%s%s", k ? " " : "",
			 events[k].name);
	assert_string_equal(told, expected);
}
