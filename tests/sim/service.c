/* SPDX-License-Identifier: BSD-2-Clause */
/* What orchestrator/service/ does around rollouts, as far as they can tell. */
#include <errno.h>
#include <string.h>

#include "orchestrator/rollout/choose.h"
#include "tests/sim/sim.h"

#define RETRY_MS      1000
#define HEAL_MS       500
#define HEAL_MAX_MS   8000
#define QUIT_DRAIN_MS 300

static const char abort_reason[] = "an operator has aborted it", quit_reason[] = "all is to end";

/* ---- the table ------------------------------------------------------------------------------ */

/* What is unhealthy is left out, unless there is nothing else. */
static bool any_is_well(struct world *w)
{
	for_each_used (n, w)
		if (n->instance->role == INSTANCE_IN && node_can_serve(n) &&
		    n->verdict != HEALTH_UNHEALTHY)
			return true;
	return false;
}

static bool is_backup(const struct node *n)
{
	return n->instance->role == INSTANCE_BACKUP && node_can_serve(n);
}

/* All is being stopped: nobody else is left. */
static bool is_last(const struct node *n)
{
	for_each_used (other, world_now())
		if (other->instance->role == INSTANCE_IN && node_can_serve(other))
			return false;
	for_each_run (run, world_now())
		if (run->machine.policy.lasts && instances_have(&run->victims, n->instance))
			return is_backup(n);
	return false;
}

static bool is_in(const struct node *n, bool well)
{
	if (n->instance->role != INSTANCE_IN)
		return is_last(n);
	return node_can_serve(n) && !(well && n->verdict == HEALTH_UNHEALTHY);
}

bool service_publish(struct world *w)
{
	bool well = any_is_well(w);

	w->table_is_old = w->failing_publishes > 0;
	if (w->table_is_old) {
		trace(w, "the table cannot be published");
		w->failing_publishes--;
		w->retry_ms = w->now_ms + RETRY_MS;
		return false;
	}
	w->retry_ms = NEVER;
	w->table_is_holed = false;
	for_each_used (n, w) {
		node_named(w, n, is_in(n, well), is_backup(n));
		n->left_out = n->instance->role == INSTANCE_IN && !n->named;
		if (n->named && n->instance->role == INSTANCE_IN)
			w->has_been_up = true, w->all_died = false;
	}
	return true;
}

/* As soon as an instance does not serve any more, or does again. */
static void republish(struct world *w)
{
	bool well = any_is_well(w);

	if (w->table_is_old)
		return;
	for_each_used (n, w)
		if (n->named != is_in(n, well) || n->backup != is_backup(n)) {
			w->table_is_holed |= n->named;
			service_publish(w);
			return;
		}
}

/* ---- generations ---------------------------------------------------------------------------- */

static struct generation *make_generation(struct world *w)
{
	for (struct generation *g = w->generations; g < w->generations + GENERATIONS_MAX; g++) {
		if (g->number > 0)
			continue;
		instances_done(&g->instances);
		*g = (struct generation){
			.number = w->next_generation++,
			.wiring = &w->wiring,
			.userdata = w,
		};
		g->config = &w->configs[g->number % 2];
		return g;
	}
	return NULL;
}

static bool has_prospects(struct world *w, const struct generation *g)
{
	for_each_run (run, w)
		if ((run->new == g || run->old == g) && !rollout_is_decided(&run->machine))
			return true;
	return false;
}

void service_drop_generations(struct world *w)
{
	for (struct generation *g = w->generations; g < w->generations + GENERATIONS_MAX; g++) {
		if (g->number == 0 || g->instances.n > 0 || has_prospects(w, g))
			continue;
		for_each_run (run, w) {
			if (run->new == g)
				run->new = NULL;
			if (run->old == g)
				run->old = NULL;
		}
		if (w->shares.canary == g)
			w->shares.canary = NULL;
		if (w->current == g)
			w->current = NULL;
		g->number = 0;
	}
}

struct generation *service_generation(struct world *w, uint32_t number)
{
	for (struct generation *g = w->generations; g < w->generations + GENERATIONS_MAX; g++)
		if (g->number == number)
			return g;
	return NULL;
}

/* ---- what a rollout asks of it -------------------------------------------------------------- */

static int host_publish(void *host, const struct run_shares *shares, struct error *err)
{
	struct world *w = host;

	if (shares)
		w->shares = *shares;
	return service_publish(w) ? 0 : error_set(err, -EIO, "steer");
}

static int host_check_sockets(void *host, const struct instances *set, struct error *err)
{
	(void)host;
	for_each_instance (n, set)
		if (!node_can_serve(n) || n->defect == DEFECT_HALF)
			return error_set(err, -ENOENT, "instance %u", n->serial);
	return 0;
}

static size_t host_named(void *host)
{
	size_t named = 0;

	for_each_used (n, (struct world *)host)
		named += n->named;
	return named;
}

static int host_steered_to(void *host, const struct instance *i, uint64_t *ret)
{
	(void)host;
	*ret = node_of(i)->connections;
	return i->wiring->tap ? 0 : -ENODATA;
}

static void host_held(void *host, const struct run *run, struct run_held *ret)
{
	(void)host;
	(void)run;
	*ret = (struct run_held){.holds = true};
}

static void host_remove_instance(void *host, struct instance *i)
{
	struct world *w = host;
	struct node *n = node_of(i);

	if (!n->has_stopped)
		world_fail(w, "instance %u is forgotten while it runs", n->serial);
	for_each_run (run, w) {
		run_forget_instance(run, i);
		if (instances_have(&run->victims, i) || instances_have(&run->batch, i) ||
		    instances_have(&run->side[ROLLOUT_OLD], i) ||
		    instances_have(&run->side[ROLLOUT_NEW], i))
			world_fail(w, "rollout %u remembers instance %u", run->id, n->serial);
	}
	generation_remove(service_generation(w, n->generation), i);
}

static void host_poke(void *host)
{
	((struct world *)host)->poked = true;
}

static void host_commit(void *host, const struct run *run)
{
	struct world *w = host;

	if (run->partial)
		return;
	w->current = run->new;
	w->serving = run->new->number;
	if (run->machine.has_old)
		w->wanted = run->n_new;
}

static void host_tell(void *host, const struct event *event)
{
	struct world *w = host;

	for_each_run (run, w)
		if (run->id == event->rollout)
			witness_tell(run, event);
	trace(w, "rollout %u:     \"%s\"", event->rollout, event->message);
}

static int host_command(void *host, const struct run *run, enum hook_point point,
			struct command_spec *ret, char ***environment, struct error *err)
{
	(void)host;
	(void)run;
	(void)point;
	(void)environment;
	(void)err;
	*ret = (struct command_spec){};
	return 0;
}

static void host_hook(void *host, const struct run *run, enum hook_point point)
{
	(void)host;
	watch_of(run)->hooks[point]++;
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

/* ---- rollouts ------------------------------------------------------------------------------- */

struct run *service_busy(struct world *w)
{
	for_each_run (run, w)
		if (!rollout_is_decided(&run->machine))
			return run;
	return NULL;
}

/* Nothing is started beside what stops first and has yet to go: see service_going_run(). */
static bool must_wait(struct world *w)
{
	if (w->plan->rollout.strategy != ROLLOUT_STOP_FIRST)
		return false;
	for_each_run (run, w)
		return true;
	for_each_used (n, w)
		if (n->leftover)
			return true;
	return false;
}

/* Nobody is replaced or removed while the table does not name all who serve. */
static bool can_take_orders(struct world *w)
{
	return !w->is_stopped && !w->quitting && !w->table_is_old && !service_busy(w) &&
	       !must_wait(w);
}

static bool is_going(struct world *w, const struct node *n)
{
	for_each_run (run, w)
		if (instances_have(&run->victims, n->instance) ||
		    (!run->machine.has_new && instances_have(&run->side[ROLLOUT_OLD], n->instance)))
			return true;
	return n->told_leave || n->told_stop || n->leftover;
}

void service_staying(struct world *w, struct instances *ret)
{
	ret->n = 0;
	if (!w->current)
		return;
	for_each_instance (n, &w->current->instances)
		if (!is_going(w, n))
			instances_add(ret, n->instance);
}

/* A slot for a rollout, unless there is too much about already. */
static struct run *free_run(struct world *w)
{
	uint32_t nodes = 0, generations = 0;

	for_each_used (n, w)
		nodes++;
	for (size_t k = 0; k < GENERATIONS_MAX; k++)
		generations += w->generations[k].number > 0;
	if (nodes + 3 * WANTED_MAX + 3 > NODES_MAX || generations == GENERATIONS_MAX)
		return NULL;
	for (struct run *run = w->runs; run < w->runs + RUNS_MAX; run++)
		if (run->id == 0)
			return run;
	return NULL;
}

bool service_begin(struct world *w, struct run_plan *plan)
{
	struct run *run = free_run(w);

	if (!run)
		return false;
	plan->id = w->next_run++;
	run_begin(run, &w->host, plan);
	witness_begin(w, run);
	return true;
}

/* A new generation, for the current one or for nobody. */
static void begin_whole(struct world *w, enum run_order order, const struct instances *goes,
			uint32_t n_new)
{
	if (!free_run(w))
		return;
	service_begin(w, &(struct run_plan){
				 .order = order,
				 .new = make_generation(w),
				 .n_new = n_new,
				 .old = goes->n > 0 ? w->current : NULL,
				 .goes = goes,
			 });
}

static void begin_partial(struct world *w, enum run_order order, const struct instances *goes,
			  uint32_t n_new)
{
	service_begin(w, &(struct run_plan){
				 .order = order,
				 .new = n_new > 0 ? w->current : NULL,
				 .n_new = n_new,
				 .old = goes->n > 0 ? w->current : NULL,
				 .goes = goes,
				 .partial = true,
			 });
}

static void end_run(struct world *w, struct run *run)
{
	bool done = run->machine.outcome == ROLLOUT_DONE;

	invariants_of_end(w, run);
	w->heal_delay_ms = done ? HEAL_MS : w->heal_delay_ms * 2;
	if (w->heal_delay_ms > HEAL_MAX_MS)
		w->heal_delay_ms = HEAL_MAX_MS;
	run_done(run);
	service_drop_generations(w);
	w->poked = true;
}

/* ---- orders --------------------------------------------------------------------------------- */

void service_replace(struct world *w, uint32_t n_new)
{
	cleanup(instances_done) struct instances goes = {};

	service_staying(w, &goes);
	if (can_take_orders(w) && goes.n > 0)
		begin_whole(w, RUN_ORDER_RESTART, &goes, n_new ? n_new : w->wanted);
}

static void choose_surplus(const struct instances *staying, size_t n, struct instances *ret)
{
	struct choose_candidate list[INSTANCES_MAX];
	size_t chosen[INSTANCES_MAX], n_list = 0;

	for_each_instance (s, staying)
		list[n_list++] = (struct choose_candidate){
			.index = s->instance->index,
			.unserved = s->instance->role == INSTANCE_OUT,
			.bad = node_is_bad(s),
		};
	n = choose(list, n_list, CHOOSE_HIGHEST, n, chosen);
	for (size_t k = 0; k < n; k++)
		instances_add(ret, staying->list[chosen[k]]);
}

void service_scale(struct world *w, uint32_t wanted)
{
	cleanup(instances_done) struct instances staying = {}, goes = {};

	service_staying(w, &staying);
	if (!can_take_orders(w) || staying.n == 0)
		return;
	w->wanted = wanted;
	if (staying.n > wanted)
		choose_surplus(&staying, staying.n - wanted, &goes);
	if (staying.n != wanted)
		begin_partial(w, RUN_ORDER_SCALE, &goes,
			      goes.n > 0 ? 0 : wanted - (uint32_t)staying.n);
}

void service_start(struct world *w, uint32_t n)
{
	if (!w->is_stopped || service_busy(w) || must_wait(w) || !free_run(w))
		return;
	w->is_stopped = w->quitting = w->has_been_up = w->all_died = false;
	w->wanted = n;
	w->heal_delay_ms = HEAL_MS;
	begin_whole(w, RUN_ORDER_START, &(struct instances){}, n);
}

static void end_all(struct world *w, bool shutdown)
{
	cleanup(instances_done) struct instances goes = {};

	service_staying(w, &goes);
	if (goes.n > 0 && !service_begin(w, &(struct run_plan){.order = RUN_ORDER_STOP,
							       .old = w->current,
							       .goes = &goes,
							       .shutdown = shutdown}))
		return;
	w->is_stopped = true;
	w->quitting = false;
	w->current = NULL;
	w->serving = 0;
}

void service_stop(struct world *w)
{
	if (!w->is_stopped && !service_busy(w))
		end_all(w, false);
}

static void abort_all(struct world *w, bool quit, const char *reason)
{
	for_each_run (run, w) {
		/* A stop that has not begun yet is not to be forgotten. */
		if (run->machine.state == ROLLOUT_IDLE && !run->machine.has_new)
			continue;
		if (run->machine.outcome == ROLLOUT_DONE && run->machine.turn == ROLLOUT_NO_CAUSE)
			watch_of(run)->reason = reason;
		run_abort(run, quit, reason);
		watch_of(run)->quit |= quit;
	}
}

void service_abort(struct world *w)
{
	abort_all(w, false, abort_reason);
}

void service_promote(struct world *w)
{
	for_each_run (run, w) {
		struct rollout before = run->machine;

		if (!run_can_promote(run))
			continue;
		run_promote(run);
		if (memcmp(&before, &run->machine, sizeof(before)) == 0)
			world_fail(w, "rollout %u: promote comes to nothing", run->id);
	}
}

/* What is under way is cut short first. */
void service_quit(struct world *w)
{
	if (w->is_stopped)
		return;
	w->quitting = true;
	for_each_run (run, w)
		witness_limit(run, w->now_ms + QUIT_DRAIN_MS);
	abort_all(w, true, quit_reason);
}

/* ---- looking after those that serve --------------------------------------------------------- */

/* All that are dead, or one that is unhealthy; and how many are missing. */
static void find_ailing(struct world *w, struct instances *ret_goes, uint32_t *ret_missing)
{
	cleanup(instances_done) struct instances staying = {};

	ret_goes->n = 0;
	service_staying(w, &staying);
	for_each_instance (n, &staying)
		if (n->has_failed || n->has_stopped || n->lost)
			instances_add(ret_goes, n->instance);
	*ret_missing = staying.n < w->wanted ? w->wanted - (uint32_t)staying.n : 0;
	if (ret_goes->n > 0 || *ret_missing > 0)
		return;
	for_each_instance (n, &staying)
		if (ret_goes->n == 0 && node_is_bad(n))
			instances_add(ret_goes, n->instance);
}

static void heal(struct world *w)
{
	cleanup(instances_done) struct instances goes = {};
	uint32_t missing;

	find_ailing(w, &goes, &missing);
	if (w->current && goes.n + missing > 0)
		begin_partial(w, RUN_ORDER_REPLACE, &goes, (uint32_t)goes.n + missing);
	else if (!w->current)
		begin_whole(w, RUN_ORDER_START, &goes, w->wanted);
}

static void watch_health(struct world *w)
{
	cleanup(instances_done) struct instances goes = {};
	uint32_t missing;

	find_ailing(w, &goes, &missing);
	if (!can_take_orders(w) || goes.n + missing == 0)
		w->heal_ms = NEVER;
	else if (w->heal_ms == NEVER)
		w->heal_ms = w->now_ms + w->heal_delay_ms;
}

/* Everybody who was to serve has ended by itself. */
static void note_deaths(struct world *w)
{
	bool any = false;

	for_each_used (n, w) {
		if (n->instance->role != INSTANCE_IN)
			continue;
		if (node_can_serve(n))
			return;
		any = true;
	}
	w->all_died |= any;
}

void service_look(struct world *w)
{
	for (int n = 0; n < 100; n++) {
		w->poked = false;
		for_each_run (run, w)
			if (run_observe(run))
				end_run(w, run);
		note_deaths(w);
		if (w->quitting && !service_busy(w))
			end_all(w, true);
		watch_health(w);
		republish(w);
		service_retire(w);
		if (!w->poked)
			return;
	}
	world_fail(w, "the rollouts go round in circles without any time passing");
}

uint64_t service_due(const struct world *w)
{
	return w->retry_ms < w->heal_ms ? w->retry_ms : w->heal_ms;
}

void service_tick(struct world *w)
{
	if (w->retry_ms <= w->now_ms) {
		service_publish(w);
		return;
	}
	w->heal_ms = NEVER;
	if (can_take_orders(w))
		heal(w);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void make_config(const struct world *w, bool stays, struct service_config *ret)
{
	static char *command[] = {(char *)"/bin/true", NULL};
	static struct health_config check = {.kind = HEALTH_KIND_HTTP, .healthy = 1};
	const struct plan *plan = w->plan;

	*ret = (struct service_config){
		.name = (char *)"sim",
		.n_listen = 1,
		.health = {.list = &check, .n = 1, .start_timeout_ms = 1000},
		.rollout = plan->rollout,
		.hooks = {.timeout_ms = 200},
		.drain =
			{
				.wait = stays ? DRAIN_WAIT_CONNECTIONS : DRAIN_WAIT_EXIT,
				.idle_timeout_ms = plan->idle_timeout_ms,
				.signal = 1,
				.delay_auto = plan->delay_auto,
				.delay_max_ms = plan->delay_ms,
				.delay_ms = plan->delay_ms,
				.timeout_ms = 600,
				.shutdown_timeout_ms = 400,
				.force = plan->force,
				.kill_timeout_ms = 200,
				.leave_timeout_ms = 100,
			},
	};
	if (plan->before_start)
		ret->hooks.command[HOOK_BEFORE_START] = command;
}

void service_init(struct world *w)
{
	static char tap;

	for (size_t k = 0; k < 2; k++)
		make_config(w, w->plan->stays[k], &w->configs[k]);
	w->wiring = (struct wiring){
		.tier = w->plan->joins_at_once ? STEER_HASH : STEER_EBPF,
		/* It is only handed on. */
		.tap = w->plan->counted ? (struct tap *)&tap : NULL,
	};
	w->host = (struct run_host){
		.ops = &host_ops,
		.userdata = w,
		.name = "sim",
		.wiring = &w->wiring,
	};
}
