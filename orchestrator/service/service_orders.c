/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The orders: which there are, what each takes, and what becomes of one that comes while another is
 * under way.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/service/service_orders.h"

int order_refuse(struct api_problem *problem, unsigned status, int code, const char *title)
{
	problem->status = status;
	problem->code = code;
	problem->title = title;
	return -EINVAL;
}

int order_refuse_busy(const struct run *run, struct api_problem *problem)
{
	char generation[32] = "no new generation", replaces[48] = "";

	if (run->new)
		snprintf(generation, sizeof(generation), "generation %u", run->new->number);
	if (run->old && run->old != run->new)
		snprintf(replaces, sizeof(replaces), run->new ? " replaces %u" : ", %u stops",
			 run->old->number);
	error_text(&problem->detail, -EBUSY,
		   "rollout %u (%s, %s%s) is at step %s since %.1f s; \"baton abort\" undoes it, "
		   "--supersede takes its place",
		   run->id, run->order, generation, replaces,
		   rollout_state_name(run->machine.state),
		   (double)(clock_monotonic_ms() - run->step_began_ms) / 1000.0);
	return order_refuse(problem, 409, 6, "Busy");
}

/* ---- what is done to a rollout under way ---------------------------------------------------- */

static int order_promote(struct order_call *call)
{
	struct run *run = service_undecided_run(call->service);

	if (!run || !run_can_promote(run)) {
		error_text(&call->problem->detail, -EALREADY,
			   run ? "rollout %u is at step %s, which waits for nobody"
			       : "no rollout is under way",
			   run ? run->id : 0, run ? rollout_state_name(run->machine.state) : "");
		return order_refuse(call->problem, 409, 1, "Nothing to promote");
	}
	call->answer->run = run;
	run_promote(run);
	return 0;
}

static int order_abort(struct order_call *call)
{
	struct service *s = call->service;
	struct run *run = service_undecided_run(s);

	if (!run || rollout_is_committed(&run->machine)) {
		run = service_run(s);
		error_text(&call->problem->detail, -EALREADY,
			   run ? "rollout %u cannot be undone any more (step %s)"
			       : "no rollout is under way",
			   run ? run->id : 0, run ? rollout_state_name(run->machine.state) : "");
		return order_refuse(call->problem, 409, 1, "Nothing to abort");
	}
	call->answer->run = run;
	run_abort(run, false, "aborted by request");
	return 0;
}

static size_t count_files(const struct service_config *config)
{
	size_t n = 0;

	for (size_t k = 0; k < sizeof(config->process.output) / sizeof(config->process.output[0]);
	     k++)
		n += config->process.output[k] == OUTPUT_FILE;
	return n;
}

/* The agents do it: where one cannot, its log says why, and the old file stays in use. */
static int order_reopen(struct order_call *call)
{
	struct service *s = call->service;
	size_t n = 0;

	for (size_t k = 0; k < s->n_generations; k++) {
		const struct generation *g = s->generations[k];

		n += g->instances.n * count_files(g->config);
		for (size_t j = 0; j < g->instances.n; j++)
			instance_reopen(g->instances.list[j]);
	}
	if (n == 0)
		snprintf(call->answer->message, sizeof(call->answer->message),
			 "no output goes to a file");
	else
		snprintf(call->answer->message, sizeof(call->answer->message),
			 "told to open %zu file%s anew; the log says where that fails", n,
			 n > 1 ? "s" : "");
	return 0;
}

/* ---- which there are ------------------------------------------------------------------------ */

enum order_flags {
	ORDER_BEGINS =
		1, /* a rollout: not while another one is undecided, unless it supersedes it */
	ORDER_COMMAND = 2,    /* takes "command", "environment", "force" */
	ORDER_INSTANCES = 4,  /* takes "instances" */
	ORDER_GENERATION = 8, /* makes a new generation */
};

static const struct order_entry {
	const char *name;
	int (*carry_out)(struct order_call *call);
	unsigned flags;
	int (*check)(struct order_call *call); /* could it begin? NULL: there is nothing to see */
} orders[] = {
	{"restart", order_restart, ORDER_BEGINS | ORDER_GENERATION, order_check_release},
	{"upgrade", order_upgrade, ORDER_BEGINS | ORDER_GENERATION | ORDER_COMMAND,
	 order_check_release},
	{"rollback", order_rollback, ORDER_BEGINS | ORDER_GENERATION, order_check_rollback},
	{"start", order_start, ORDER_BEGINS | ORDER_GENERATION, order_check_start},
	{"stop", order_stop, ORDER_BEGINS, NULL},
	{"scale", order_scale, ORDER_BEGINS | ORDER_INSTANCES, NULL},
	{"promote", order_promote, 0, NULL},
	{"abort", order_abort, 0, NULL},
	{"reopen", order_reopen, 0, NULL},
};

static const struct order_entry *find_order(const char *name)
{
	for (size_t k = 0; k < sizeof(orders) / sizeof(orders[0]); k++)
		if (strcmp(orders[k].name, name) == 0)
			return &orders[k];
	return NULL;
}

static bool takes(const struct order_entry *entry, const char *key)
{
	if (strcmp(key, "supersede") == 0)
		return entry->flags & ORDER_BEGINS;
	if (strcmp(key, "command") == 0 || strcmp(key, "environment") == 0 ||
	    strcmp(key, "force") == 0)
		return entry->flags & ORDER_COMMAND;
	return strcmp(key, "instances") == 0 && (entry->flags & ORDER_INSTANCES);
}

/* How many instances it is about is known first. */
static int carry_out(const struct order_entry *entry, struct order_call *call)
{
	service_settle_scale(call->service);
	return entry->carry_out(call);
}

static int check_body(const struct order_entry *entry, const json_t *body,
		      struct api_problem *problem)
{
	const char *key;
	json_t *value;

	if (entry->flags & ORDER_INSTANCES && !body) {
		error_text(&problem->detail, -EINVAL, "instances: expected a number from 1 to %d",
			   CONFIG_INSTANCES_MAX);
		return order_refuse(problem, 400, 2, "Bad request");
	}
	json_object_foreach ((json_t *)body, key, value) {
		bool flag = strcmp(key, "supersede") == 0 || strcmp(key, "force") == 0;

		if (takes(entry, key) && (!flag || json_is_boolean(value)))
			continue;
		if (takes(entry, key))
			error_text(&problem->detail, -EINVAL, "%s: expected true or false", key);
		else
			error_text(
				&problem->detail, -EINVAL, "%s: unknown key (%s takes %s)", key,
				entry->name,
				entry->flags & ORDER_COMMAND
					? "\"command\", \"environment\", \"force\", \"supersede\""
				: entry->flags & ORDER_INSTANCES ? "\"instances\", \"supersede\""
				: entry->flags & ORDER_BEGINS    ? "\"supersede\""
								 : "none");
		return order_refuse(problem, 400, 2, "Bad request");
	}
	return 0;
}

/* ---- one after the other -------------------------------------------------------------------- */

static void forget_next(struct service *s)
{
	json_decref(s->next.body);
	s->next = (struct service_next){};
}

/* Somebody waits for a rollout of this number that cannot begin: its end is told all the same. */
static void tell_unbegun(struct service *s, const struct service_next *next,
			 const struct api_problem *problem, const char *message)
{
	bool bad = problem != NULL;

	if (!next->id)
		return;
	service_event(s, bad ? "failed" : "done",
		      json_pack("{s:I, s:s, s:s, s:i, s:n, s:n, s:i, s:i, s:s, s:s}", "rollout",
				(json_int_t)next->id, "order", next->order, "result",
				bad ? "failed" : "done", "exit", bad ? problem->code : 0,
				"generation", "replaces", "cut", 0, "took_ms", 0, "message",
				message, "reason", bad ? problem->detail.text : ""));
}

/* Can @entry begin now, with nothing undone under its feet and room for what it makes? */
static bool can_begin(struct service *s, const struct order_entry *entry)
{
	if (service_undecided_run(s) || service_stopping_run(s))
		return false;
	return !(entry->flags & ORDER_GENERATION) || service_has_room(s) || s->shutting_down;
}

/* The service's own wish; where it cannot begin for good that is only logged. */
static void begin_own(struct service *s)
{
	const struct order_entry *entry = find_order(s->own_order);
	struct api_problem problem = {};
	struct service_answer answer = {};
	struct order_call call = {
		.service = s, .order = entry->name, .answer = &answer, .problem = &problem};

	if (s->shutting_down) {
		s->own_order = NULL;
		return;
	}
	if (!can_begin(s, entry))
		return;
	s->own_order = NULL;
	if (carry_out(entry, &call) < 0)
		log_error("%s: %s: %s", s->config->name, entry->name, problem.detail.text);
	/* What has waited for this can go on. */
	if (!answer.run)
		service_poke(s);
}

static void begin_next(struct service *s)
{
	const struct order_entry *entry = find_order(s->next.order);
	struct api_problem problem = {};
	struct service_answer answer = {};
	struct service_next next = s->next;
	struct order_call call = {.service = s,
				  .order = entry->name,
				  .body = next.body,
				  .id = next.id,
				  .answer = &answer,
				  .problem = &problem};
	int r = -ESHUTDOWN;

	if (!can_begin(s, entry))
		return;
	s->next = (struct service_next){};
	if (s->shutting_down)
		error_text(&problem.detail, r, "batond is shutting down");
	else
		r = carry_out(entry, &call);
	if (r < 0) {
		log_error("%s: %s: %s", s->config->name, next.order, problem.detail.text);
		if (problem.code == 0)
			problem.code = 1;
		tell_unbegun(s, &next, &problem, problem.detail.text);
	} else if (!answer.run) {
		tell_unbegun(s, &next, NULL, answer.message);
	}
	if (!answer.run)
		service_poke(s);
	json_decref(next.body);
}

bool service_is_about_to_begin(struct service *s)
{
	const char *order = s->next.order ? s->next.order : s->own_order;

	return order && can_begin(s, find_order(order));
}

void service_begin_next(struct service *s)
{
	if (s->next.order)
		begin_next(s);
	else if (s->own_order)
		begin_own(s);
}

/* Another order takes the place of the one that is queued, if there is one. */
static void cancel_next(struct service *s)
{
	struct api_problem problem = {.code = 6};

	if (s->next.order) {
		error_text(&problem.detail, -ECANCELED, "another order has taken its place");
		tell_unbegun(s, &s->next, &problem, problem.detail.text);
	}
	forget_next(s);
}

static void replace_next(struct service *s, const struct service_next *next)
{
	cancel_next(s);
	s->next = *next;
	service_poke(s);
}

/* A new generation has as many instances as are wanted: it makes scaling needless. */
void service_order_later(struct service *s, const char *order)
{
	const struct order_entry *entry = find_order(order);

	if (!s->own_order || (entry->flags & ORDER_GENERATION))
		s->own_order = entry->name;
	service_poke(s);
}

/* Undo what is under way; the order begins at once, or as soon as that is decided. */
static int supersede(struct order_call *call, const struct order_entry *entry, struct run *busy)
{
	struct service *s = call->service;
	char reason[96];
	int r;

	/* What cannot be started must not undo anything. */
	r = entry->check ? entry->check(call) : 0;
	if (r < 0)
		return r;
	snprintf(reason, sizeof(reason), "superseded by %s", call->order);
	call->answer->supersedes = busy->automatic ? 0 : busy->id;
	if (!busy->automatic)
		service_event(s, "superseded",
			      json_pack("{s:I, s:o}", "rollout", (json_int_t)busy->id, "message",
					json_sprintf("%s takes the place of %s", call->order,
						     busy->order)));
	/* One that is stopping the service, or cannot be undone, is waited for. */
	if (busy != service_stopping_run(s))
		run_abort(busy, false, reason);
	if (can_begin(s, entry))
		return carry_out(entry, call);
	call->answer->queued = ++s->context->last_rollout;
	replace_next(s,
		     &(struct service_next){.order = entry->name,
					    .body = call->body ? json_deep_copy(call->body) : NULL,
					    .id = call->answer->queued});
	return 0;
}

/* Of what is still undecided a rollback, or a first start's stop, is simply its end. */
static bool ends(const struct run *busy, const char *order)
{
	if (busy->partial)
		return false;
	return strcmp(order, busy->old ? "rollback" : "stop") == 0 &&
	       !rollout_is_committed(&busy->machine);
}

int service_order(struct service *s, const char *order, const json_t *body,
		  struct service_answer *ret, struct api_problem *problem)
{
	const struct order_entry *entry = find_order(order);
	struct run *busy = service_undecided_run(s);
	struct order_call call = {
		.service = s, .order = order, .body = body, .answer = ret, .problem = problem};
	int r;

	*ret = (struct service_answer){};
	if (!entry) {
		error_text(&problem->detail, -EINVAL,
			   "unknown order \"%s\" (restart, upgrade, rollback, promote, abort, "
			   "start, stop, scale, pause, resume, reopen)",
			   order);
		return order_refuse(problem, 404, 2, "No such order");
	}
	call.order = entry->name;
	r = check_body(entry, body, problem);
	if (r < 0)
		return r;
	if (s->shutting_down) {
		error_text(&problem->detail, -ESHUTDOWN, "batond is shutting down");
		return order_refuse(problem, 503, 1, "Shutting down");
	}
	if (!(entry->flags & ORDER_BEGINS))
		return carry_out(entry, &call);
	if (busy && ends(busy, order)) {
		cancel_next(s);
		if (!busy->old) {
			s->own_order = NULL;
			s->stopped = true;
		}
		ret->run = busy;
		run_abort(busy, false, busy->old ? "rolled back by request" : "stopped by request");
		return 0;
	}
	if (!busy)
		busy = service_stopping_run(s);
	if (!busy) {
		r = carry_out(entry, &call);
		if (r >= 0)
			cancel_next(s);
		return r;
	}
	if (!busy->automatic && !json_is_true(json_object_get(body, "supersede")))
		return order_refuse_busy(busy, problem);
	return supersede(&call, entry, busy);
}
