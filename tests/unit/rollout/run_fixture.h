/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run_fixture: one rollout of a service that is nothing but fakes, in a real event loop.
 *
 * Generation 1 is the old one, generation 2 the new one; generations and sets of instances are
 * real, instances are fakes. What run.c asks of its service is done here: publishing is noted as
 * the roles say (and fails where the test wants it), events are kept, and a poke makes the next
 * turn of the loop look at the rollout, as service.c does. Gates and commands are answered by the
 * test.
 */
#pragma once

#include "common/clock.h"
#include "orchestrator/rollout/run.h"
#include "orchestrator/view/event_json.h"
#include "common/vector.h"
#include "tests/unit/fakes/fake_errand.h"
#include "tests/unit/fakes/fake_tap.h"
#include "tests/unit/fakes/fake_instances.h"
#include "tests/unit/fakes/fake_steer.h"

#define FIXTURE_DEADLINE_MS 10000
#define FIXTURE_EVENTS_MAX  128

static struct context context;
static struct service_config config, old_config;
static struct wiring wiring;
static struct run_host host;
static struct generation *current;  /* the one that was committed to last */
static struct run_shares published; /* of the last publish */
static uint32_t last_rollout;
static struct tap tap; /* in the service's wiring where a test puts them there */
static struct generation generations[2];
static struct generation *const old = &generations[0], *const new = &generations[1];
static struct run run;
static struct run_result result; /* filled when the rollout has ended */
static bool ended, poked;
static int publish_error;    /* what the next publish returns, once */
static int sockets_error;    /* what host_check_sockets() returns */
static int command_error;    /* what host_command() returns */
static int steered_error;    /* what host_steered_to() returns; else: */
static uint64_t steered;     /* to each instance */
static struct run_held held; /* what host_held() says */

static unsigned fewest_named; /* by a table */

static struct {
	char name[32];
	json_t *details;
} events[FIXTURE_EVENTS_MAX];
static size_t n_events;

/* ---- what run.c asks of its service --------------------------------------------------------- */

static inline unsigned count_role(enum instance_role role, char *ret, size_t size)
{
	unsigned n = 0;

	ret[0] = '\0';
	for (size_t g = 0; g < 2; g++) {
		for (size_t k = 0; k < generations[g].instances.n; k++) {
			const struct instance *i = generations[g].instances.list[k];
			size_t used = strlen(ret);

			if (i->role != role)
				continue;
			snprintf(ret + used, size - used, "%s%u.%u", n++ ? "," : "", i->generation,
				 i->index);
		}
	}
	return n;
}

/* "publish 2.0,2.1 backup 1.0 canary 2 25%" */
static inline int host_publish(void *h, const struct run_shares *shares, struct error *err)
{
	char in[256], backup[256], canary[32] = "";
	int r = publish_error;
	unsigned n;

	assert_ptr_equal(h, &host);
	n = count_role(INSTANCE_IN, in, sizeof(in));
	if (shares)
		published = *shares;
	if (published.canary)
		snprintf(canary, sizeof(canary), " canary %u %u%%", published.canary->number,
			 published.weight);
	else
		assert_int_equal(published.weight, 0);
	called("publish %s%s%s%s", n ? in : "nothing",
	       count_role(INSTANCE_BACKUP, backup, sizeof(backup)) ? " backup " : "", backup,
	       canary);
	publish_error = 0;
	if (r >= 0 && n < fewest_named)
		fewest_named = n;
	return r < 0 ? error_set(err, r, "steer") : 0;
}

static inline int host_check_sockets(void *h, const struct instances *set, struct error *err)
{
	assert_ptr_equal(h, &host);
	assert_true(set->n > 0);
	return sockets_error ? error_set(err, sockets_error, "sockets") : 0;
}

static inline size_t host_named(void *h)
{
	char unused[256];

	assert_ptr_equal(h, &host);
	return count_role(INSTANCE_IN, unused, sizeof(unused));
}

static inline int host_steered_to(void *h, const struct instance *i, uint64_t *ret)
{
	assert_ptr_equal(h, &host);
	assert_ptr_equal(fake_of(i)->instance, i);
	*ret = steered;
	return steered_error;
}

static inline void host_held(void *h, const struct run *r, struct run_held *ret)
{
	assert_ptr_equal(h, &host);
	assert_ptr_equal(r, &run);
	*ret = held;
}

static inline void host_remove_instance(void *h, struct instance *i)
{
	assert_ptr_equal(h, &host);
	run_forget_instance(&run, i);
	generation_remove(i->generation == 1 ? old : new, i);
}

static inline void host_poke(void *h)
{
	assert_ptr_equal(h, &host);
	poked = true;
}

static inline void host_commit(void *h, const struct run *r)
{
	assert_ptr_equal(r, &run);
	assert_ptr_equal(h, &host);
	called("commit");
	current = r->new;
}

static inline void host_hook(void *h, const struct run *r, enum hook_point point)
{
	static const char *const names[_HOOK_COUNT] = {
		[HOOK_BEFORE_START] = "before_start", [HOOK_AFTER_SHIFT] = "after_shift",
		[HOOK_AFTER_DRAIN] = "after_drain",   [HOOK_ON_ROLLBACK] = "on_rollback",
		[HOOK_ON_FAILURE] = "on_failure",
	};

	assert_ptr_equal(h, &host);
	assert_ptr_equal(r, &run);
	called("hook %s", names[point]);
}

static inline void host_tell(void *h, const struct event *event)
{
	assert_ptr_equal(h, &host);
	assert_true(n_events < FIXTURE_EVENTS_MAX);
	snprintf(events[n_events].name, sizeof(events[0].name), "%s", event_name(event->kind));
	events[n_events++].details = event_json(event);
}

/* ---- commands and gates --------------------------------------------------------------------- */

struct command {
	void (*on_done)(void *userdata, const struct command_result *result);
	void *userdata;
};

struct gates {
	void (*on_answer)(void *userdata, enum gates_answer answer, const char *text);
	void *userdata;
};

static struct command command, *pending_command; /* NULL: none runs */
static struct gates gates, *pending_gates;       /* NULL: nothing is asked */
static struct gates_question question;           /* the last one */
static int start_error, ask_error;
static unsigned gate_points; /* where there is something to ask */

static inline int host_command(void *h, const struct run *r, enum hook_point point,
			       struct command_spec *ret, char ***environment, struct error *err)
{
	char *made[] = {(char *)"A=b", NULL};

	assert_ptr_equal(h, &host);
	assert_ptr_equal(r, &run);
	assert_true(point == HOOK_BEFORE_START || point == _HOOK_COUNT);
	if (command_error)
		return error_set(err, command_error, "environment");
	vector_free(*environment);
	assert_int_equal(vector_copy(made, environment), 0);
	*ret = (struct command_spec){.environment = *environment, .timeout_ms = 77};
	return 0;
}

int command_start(sd_event *event, const struct command_spec *spec,
		  void (*on_done)(void *userdata, const struct command_result *result),
		  void *userdata, struct command **ret, struct error *err)
{
	assert_ptr_equal(event, context.event);
	assert_string_equal(spec->environment[0], "A=b");
	called("command");
	if (start_error)
		return error_set(err, start_error, "exec /x");
	assert_null(pending_command);
	command = (struct command){on_done, userdata};
	*ret = pending_command = &command;
	return 0;
}

void command_cancel(struct command *c)
{
	if (!c)
		return;
	assert_ptr_equal(c, pending_command);
	called("cancel command");
	pending_command = NULL;
}

/* As the command's end would be told. */
static inline void end_command(int exit_code, const char *text)
{
	struct command_result r = {.exit_code = exit_code};

	assert_non_null(pending_command);
	snprintf(r.text, sizeof(r.text), "%s", text);
	pending_command = NULL;
	command.on_done(command.userdata, &r);
}

bool gates_any(const struct service_config *c, enum rollout_gate point)
{
	assert_non_null(c);
	return gate_points & point;
}

uint64_t gates_timeout_ms(const struct service_config *c, enum rollout_gate point)
{
	assert_non_null(c);
	return 100 * (uint64_t)point;
}

int gates_ask(const struct gates_question *q,
	      void (*on_answer)(void *userdata, enum gates_answer answer, const char *text),
	      void *userdata, struct gates **ret, struct error *err)
{
	called("ask %s", rollout_gate_name(q->point));
	if (ask_error)
		return error_set(err, ask_error, "timer");
	assert_null(pending_gates);
	assert_ptr_equal(q->event, context.event);
	assert_int_equal(q->command.timeout_ms, 77);
	question = *q;
	gates = (struct gates){on_answer, userdata};
	*ret = pending_gates = &gates;
	return 0;
}

void gates_cancel(struct gates *g)
{
	if (!g)
		return;
	assert_ptr_equal(g, pending_gates);
	called("cancel gates");
	pending_gates = NULL;
}

static inline void answer_gates(enum gates_answer answer, const char *text)
{
	assert_non_null(pending_gates);
	pending_gates = NULL;
	gates.on_answer(gates.userdata, answer, text);
}

static const struct run_host_ops host_ops = {
	.publish = host_publish,
	.check_sockets = host_check_sockets,
	.named = host_named,
	.steered_to = host_steered_to,
	.held = host_held,
	.remove_instance = host_remove_instance,
	.poke = host_poke,
	.commit = host_commit,
	.tell = host_tell,
	.command = host_command,
	.hook = host_hook,
};

/* ---- life ----------------------------------------------------------------------------------- */

static struct release release = {.executable = (char *)"/none"};

static inline void init_generation(struct generation *g, uint32_t number, struct service_config *c)
{
	*g = (struct generation){
		.number = number,
		.context = &context,
		.config = c,
		.release = &release,
		.wiring = &wiring,
	};
}

/* So many that serve. */
static inline void have_old(uint32_t n)
{
	while (old->instances.n < n) {
		struct instance *i;

		assert_int_equal(generation_add(old, &i, NULL), 0);
		i->role = INSTANCE_IN;
		i->steady = true;
	}
	forget_calls();
}

static inline void forget_fixture(void)
{
	run = (struct run){};
	result = (struct run_result){};
	ended = poked = false;
	publish_error = sockets_error = command_error = steered_error = 0;
	start_error = ask_error = 0;
	steered = 0;
	pending_command = NULL;
	pending_gates = NULL;
	gate_points = 0;
	tap = (struct tap){};
	fewest_named = UINT32_MAX;
	fake_instances_reset();
	fake_steer_reset();
	fake_tap_reset();
}

static struct health_config check; /* of every generation */

static inline int set_up(void **state)
{
	(void)state;
	check = (struct health_config){.kind = HEALTH_KIND_HTTP, .healthy = 2};
	config = (struct service_config){
		.name = (char *)"web",
		.n_listen = 1,
		.instances = 1,
		.health = {.list = &check, .n = 1, .start_timeout_ms = 5000},
		.rollout = {.settle_timeout_ms = 5000, .promote_timeout_ms = 60000},
		.drain = {.timeout_ms = 5000, .kill_timeout_ms = 1000, .leave_timeout_ms = 1000},
	};
	old_config = config;
	forget_fixture();
	wiring = (struct wiring){};
	current = old;
	published = (struct run_shares){};
	init_generation(old, 1, &old_config);
	init_generation(new, 2, &config);
	have_old(1);
	if (sd_event_new(&context.event) < 0)
		return -1;
	host = (struct run_host){
		.ops = &host_ops,
		.userdata = &host,
		.name = "web",
		.event = context.event,
		.prober = context.prober,
		.wiring = &wiring,
	};
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	run_done(&run);
	assert_null(pending_command);
	assert_null(pending_gates);
	for (size_t g = 0; g < 2; g++) {
		while (generations[g].instances.n > 0)
			generation_remove(&generations[g], generations[g].instances.list[0]);
		instances_done(&generations[g].instances);
	}
	assert_int_equal(fake_instances_alive(), 0);
	for (size_t k = 0; k < n_events; k++)
		json_decref(events[k].details);
	n_events = 0;
	forget_calls();
	context.event = sd_event_unref(context.event);
	return 0;
}

/* ---- driving -------------------------------------------------------------------------------- */

/* All of the old ones go, and config.instances come. */
static inline void begin_replace(enum run_order order)
{
	run_done(&run);
	run_begin(&run, &host,
		  &(struct run_plan){
			  .order = order,
			  .id = ++last_rollout,
			  .new = new,
			  .old = old,
			  .n_new = config.instances,
			  .goes = &old->instances,
		  });
}

static inline void begin_start(void)
{
	while (old->instances.n > 0)
		generation_remove(old, old->instances.list[0]);
	current = NULL;
	forget_calls();
	run_done(&run);
	run_begin(&run, &host,
		  &(struct run_plan){.order = RUN_ORDER_START,
				     .id = ++last_rollout,
				     .new = new,
				     .n_new = config.instances});
}

static inline void begin_stop(bool shutdown)
{
	run_done(&run);
	run_begin(&run, &host,
		  &(struct run_plan){
			  .order = RUN_ORDER_STOP,
			  .id = ++last_rollout,
			  .old = old,
			  .goes = &old->instances,
			  .shutdown = shutdown,
		  });
}

static inline void begin_retire(void)
{
	run_done(&run);
	run_begin(&run, &host,
		  &(struct run_plan){
			  .order = RUN_ORDER_RETIRE,
			  .id = ++last_rollout,
			  .old = old,
			  .goes = &old->instances,
			  .retire = true,
		  });
}

/* As a service would see it. */
static inline struct run_serving who_serves(void)
{
	struct run_serving ret = {.wanted = config.instances};

	for (size_t g = 2; g > 0; g--)
		for (size_t k = 0; k < generations[g - 1].instances.n; k++) {
			const struct instance *i = generations[g - 1].instances.list[k];

			if (i->role != INSTANCE_IN || !instance_is_serving(i))
				continue;
			ret.instances++;
			if (ret.generation == 0)
				ret.generation = (uint32_t)g;
		}
	return ret;
}

static inline void look(void)
{
	if (!poked || ended)
		return;
	poked = false;
	if (run_observe(&run)) {
		struct run_serving serving = who_serves();

		ended = true;
		run_result(&run, &serving, &result);
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

/* Something about an instance has changed, as an agent's report would say. */
#define change(what)                                                                               \
	do {                                                                                       \
		what;                                                                              \
		host_poke(&host);                                                                  \
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

static inline void assert_told(const json_t *details, bool ok, const char *message)
{
	assert_string_equal(text_of(details, "message"), message);
	assert_true(json_is_boolean(json_object_get(details, "ok")));
	assert_int_equal(json_is_true(json_object_get(details, "ok")), ok);
}

/* The first event of this step. */
static inline void assert_step(const char *step, bool ok, const char *message)
{
	assert_told(event_named(step), ok, message);
}

/* The event with this number, from 0. */
static inline void assert_event(size_t k, const char *step, bool ok, const char *message)
{
	assert_true(k < n_events);
	assert_string_equal(events[k].name, step);
	assert_told(events[k].details, ok, message);
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

static inline void assert_undone(enum rollout_outcome outcome, const char *step, const char *reason)
{
	assert_true(ended);
	assert_int_equal(result.outcome, outcome);
	assert_int_equal(result.exit, outcome == ROLLOUT_FAILED ? 3 : 4);
	assert_string_equal(result.step, step);
	assert_string_equal(result.reason, reason);
	assert_step(step, false, reason);
	assert_int_equal(result.generation, 2);
	assert_ptr_equal(current, old);
}

static inline void be_rolling(uint32_t n_old, uint32_t n_new, uint32_t surge, uint32_t unavailable)
{
	have_old(n_old);
	config.instances = n_new;
	config.rollout.strategy = ROLLOUT_ROLLING;
	config.rollout.max_surge = surge;
	config.rollout.max_unavailable = unavailable;
}

static inline void be_canary(uint32_t n)
{
	have_old(n);
	config.instances = n;
	config.rollout.strategy = ROLLOUT_CANARY;
	config.rollout.n_steps = 3;
	config.rollout.steps[0] = (struct rollout_weight){.weight = 10, .dwell_ms = 30};
	config.rollout.steps[1] = (struct rollout_weight){.weight = 50, .manual = true};
	config.rollout.steps[2] = (struct rollout_weight){.weight = 100};
}

static inline void drive_to_step(size_t step)
{
	drive_until(run.machine.state == ROLLOUT_DWELLING && run.machine.step == step);
}

/* The new generation's instance has failed, as its agent reports it. */
static inline void fail_new(const char *why)
{
	change(fake_fail(2, 0, why));
}

/* With everything configured that is not for it. */
static inline void begin_partial(enum run_order order, uint32_t n_new, struct instances goes)
{
	gate_points = ROLLOUT_GATE_SHIFT | ROLLOUT_GATE_LEAVE;
	old_config.hooks.command[HOOK_BEFORE_START] = (char *[]){(char *)"/x", NULL};
	old_config.rollout.bake_ms = 60000;
	old_config.rollout.strategy = ROLLOUT_CANARY;
	forget_calls();
	run_done(&run);
	run_begin(&run, &host,
		  &(struct run_plan){
			  .order = order,
			  .id = ++last_rollout,
			  .new = n_new > 0 ? old : NULL,
			  .old = goes.n > 0 ? old : NULL,
			  .n_new = n_new,
			  .goes = &goes,
			  .partial = true,
		  });
}

static inline void assert_result_says(const char *expected)
{
	char message[256];

	run_result_message(&result, message, sizeof(message));
	assert_string_equal(message, expected);
}
