/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * status_fixture: a service as JSON. Services and generations are put together by hand, so that
 * each stands where the test wants it; what is counted of them comes from fakes.
 */
#pragma once

#include "common/clock.h"
#include "orchestrator/view/status.h"
#include "tests/unit/fakes/fake_tap.h"
#include "tests/unit/fakes/fake_host.h"
#include "tests/unit/fakes/fake_occupants.h"
#include "tests/unit/fakes/fake_steer.h"

static struct context context;
static struct service_config config;
static struct release release;
static struct steer endpoint_0, endpoint_1;
static struct tap hooks; /* in the service's wiring where a test puts them there */
static struct service service;
static struct generation generations[3]; /* number N is at N - 1 */
static struct health_config declared[3];
static struct instance instances[3][4]; /* theirs, of which the first is there */
static struct agentlink link_of_all = {.pid = 500};
static json_t *json;

static char *command[] = {(char *)"/bin/web", (char *)"--fd", (char *)"{fd}", NULL};
static char *running_command[] = {(char *)"./web", NULL};

/* ---- life ----------------------------------------------------------------------------------- */

static inline void open_endpoints(void)
{
	service.wiring.endpoints[0] = &endpoint_0;
	service.wiring.endpoints[1] = &endpoint_1;
	service.endpoints.open = true;
}

/* One more of @g, which runs, in slots of its number on both endpoints, and serves. */
static inline struct instance *add_instance(struct generation *g)
{
	uint32_t index = (uint32_t)g->instances.n;
	struct instance *i = &instances[g->number - 1][index];

	*i = (struct instance){
		.context = &context,
		.config = &config,
		.wiring = &service.wiring,
		.generation = g->number,
		.index = index,
		.cgroup = "/cgroup/web",
		.cgroup_id = g->number,
		.link = &link_of_all,
		.role = INSTANCE_IN,
		.pid = 600 + (pid_t)g->number,
		.agent_said = AGENT_RUNNING,
		.phase = INSTANCE_JOINED,
	};
	assert_int_equal(check_set_make(&i->checks, i, &config), 0);
	for (uint32_t e = 0; e < 2; e++)
		instance_sockets_add(
			&i->sockets,
			&(struct instance_socket){.cookie = 10 * g->number + 2 * index + e,
						  .slot = (uint16_t)(g->number + 10 * index),
						  .endpoint = e});
	instances_add(&g->instances, i);
	return i;
}

static inline struct generation *add_generation(uint32_t number)
{
	struct generation *g = &generations[number - 1];

	open_endpoints();
	*g = (struct generation){
		.number = number,
		.config = &config,
		.release = &release,
		.started_ms = clock_monotonic_ms() - 5000,
		.started_realtime_ms = 1700000000042,
	};
	add_instance(g);
	service.generations[service.n_generations++] = g;
	return g;
}

/*
 * A rollout of whole generations that is at this step, well so far: what its instances are to the
 * tables then is left to the test.
 */
static inline struct run *add_run(size_t k, enum run_order order, struct generation *new,
				  struct generation *old, enum rollout_state at)
{
	static const struct rollout_policy policy;
	struct run *run = &service.runs[k];

	run->host = &service.host;
	run->id = 20 + (uint32_t)k;
	run->order = order;
	run->new = new;
	run->old = old;
	run->new_number = new ? new->number : 0;
	run->old_number = old ? old->number : 0;
	run->began_ms = clock_monotonic_ms();
	if (new)
		instances_copy(&new->instances, &run->side[ROLLOUT_NEW]);
	if (old)
		instances_copy(&old->instances, &run->side[ROLLOUT_OLD]);
	rollout_init(&run->machine, &policy, (uint32_t)run->side[ROLLOUT_OLD].n,
		     (uint32_t)run->side[ROLLOUT_NEW].n);
	run->machine.alive[ROLLOUT_NEW] = (uint32_t)run->side[ROLLOUT_NEW].n;
	run->machine.state = at;
	return run;
}

/* The table names these no more: they are on their way out. */
static inline void make_victims(struct run *run, struct generation *g)
{
	instances_copy(&g->instances, &run->victims);
	run->machine.victims = (uint32_t)g->instances.n;
	instances_name(&g->instances, INSTANCE_OUT);
}

/* All new connections go to the new side. */
static inline void shift(struct run *run)
{
	run->machine.shifted = run->machine.full = true;
	if (run->old) {
		make_victims(run, run->old);
		instances_name(&run->old->instances, INSTANCE_BACKUP);
	}
}

static inline void commit(struct run *run)
{
	shift(run);
	run->machine.committed = true;
	make_victims(run, run->old);
}

static inline int set_up(void **state)
{
	(void)state;
	memset(declared, 0, sizeof(declared));
	declared[0].kind = HEALTH_KIND_HTTP;
	fake_host_reset();
	fake_steer_reset();
	fake_tap_reset();
	hooks = (struct tap){};
	config = (struct service_config){
		.name = (char *)"web",
		.command = command,
		.n_listen = 2,
		.instances = 4,
		.health = {.list = declared, .n = 1},
	};
	assert_int_equal(address_parse("127.0.0.1:80", &config.listen[0], NULL), 0);
	assert_int_equal(address_parse("127.0.0.1:81", &config.listen[1], NULL), 0);
	release = (struct release){
		.command = running_command,
		.executable = (char *)"/srv/v1/web",
		.directory = (char *)"/srv/v1",
	};
	endpoint_0 = (struct steer){.address = config.listen[0]};
	endpoint_1 = (struct steer){.address = config.listen[1]};
	service = (struct service){.context = &context, .config = &config, .instances = 4};
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	json_decref(json);
	json = NULL;
	for (size_t k = 0; k < service.n_generations; k++) {
		struct instances *set = &service.generations[k]->instances;

		for (size_t j = 0; j < set->n; j++) {
			instance_sockets_done(&set->list[j]->sockets);
			check_set_done(&set->list[j]->checks);
		}
		instances_done(set);
	}
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		run_done(&service.runs[k]);
	return 0;
}

/* ---- looking -------------------------------------------------------------------------------- */

static inline void look(void)
{
	json_decref(json);
	json = status_service(&service);
	assert_non_null(json);
}

/* The value at "a.0.b"; it must be there. */
static inline json_t *at(const char *path)
{
	char copy[128];
	json_t *value = json;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *part = strtok(copy, "."); part; part = strtok(NULL, ".")) {
		value = json_is_array(value) ? json_array_get(value, (size_t)atoi(part))
					     : json_object_get(value, part);
		if (!value)
			fail_msg("no %s (of %s)", part, path);
	}
	return value;
}

#define assert_text(path, expected)                                                                \
	do {                                                                                       \
		assert_true(json_is_string(at(path)));                                             \
		assert_string_equal(json_string_value(at(path)), expected);                        \
	} while (0)

#define assert_number(path, expected)                                                              \
	do {                                                                                       \
		assert_true(json_is_integer(at(path)));                                            \
		assert_int_equal(json_integer_value(at(path)), expected);                          \
	} while (0)

#define assert_real(path, expected)                                                                \
	do {                                                                                       \
		assert_true(json_is_real(at(path)));                                               \
		assert_int_equal((int)(json_real_value(at(path)) * 10 + 0.5),                      \
				 (int)((expected)*10 + 0.5));                                      \
	} while (0)

#define assert_none(path, key) assert_null(json_object_get(at(path), key))

static inline void assert_state(const char *expected)
{
	assert_string_equal(status_state(&service), expected);
	look();
	assert_text("state", expected);
}
