/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_instances: instances that are as the test says, by generation and index.
 *
 * An instance does as it is told at once: it listens and is healthy from the start, has left when
 * told to leave, has stopped when told to stop, and has no connections. A test changes that in
 * fake(GENERATION, INDEX), before the instance is started or while it runs. Plain fields of struct
 * instance it sets there (fake_there(2, 0)->lost = true), and the phase by fake_fail(),
 * fake_left(), fake_stopped() and fake_phase(). The phases are the real ones (instance_phase.c).
 *
 * When an instance is done with, everything that was said of it is forgotten, since another one may
 * get its index. Only the counts stay, and all of it if it is .sticky.
 *
 * Nothing here calls on_change: a test pokes the service itself.
 */
#pragma once

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "orchestrator/host/environment.h"
#include "orchestrator/instance/instance_internal.h"
#include "orchestrator/instance/takeover.h"
#include "tests/unit/fakes/fake_calls.h"

#define FAKE_GENERATIONS_MAX 64
#define FAKE_INDEXES_MAX     (2 * CONFIG_INSTANCES_MAX)

/* What the last answer is while nothing else is said. */
#define FAKE_ANSWER "GET /: 200 OK"

struct fake_instance {
	struct instance *instance; /* while it is there; else NULL */
	bool sticky;               /* all of this is true of the next one with this index, too */

	/* How it starts; afterwards: fake_listen(). */
	int start_error;
	bool not_listening;
	bool has_slots; /* .slots says which, by endpoint; else the lowest that nobody has */
	uint16_t slots[CONFIG_LISTEN_MAX];
	struct probe_result answer; /* its checks' last one, where it has a text */
	char tail[64];

	bool not_healthy;               /* has not passed its checks */
	bool unhealthy;                 /* has, and passes them no more */
	bool dead;                      /* does not accept, and nobody starts it again */
	bool exited;                    /* no process is left but its agent */
	bool dying;                     /* it has stopped, but a process of it is still there */
	bool cannot_leave, cannot_stop; /* it does not do as it is told */
	bool answers;               /* its agent, when it is asked: later, in .asked and .tail */
	int exit_code, exit_signal; /* when it stops */
	bool forced;                /* when it leaves */
	uint32_t queued;
	bool competes;       /* what is queued there cannot migrate */
	uint64_t live, idle; /* connections, by looking; so many of them are idle */
	uint64_t silent;     /* ... and on so many nobody has said anything yet */
	struct connections_kinds kinds;
	bool counted; /* the kernel has counters of it, which say: */
	struct tap_count count;
	unsigned busy_takes_ms;
	int ask_error; /* the kernel cannot be asked about it */
	int cut_error; /* its connections cannot be closed */
	int reopen_error;
	uint32_t reopen_serial; /* of the last instance_reopen() */
	unsigned slots_looked;  /* instance_look_slots() */
	const char *mode;
	const char *recalled; /* what instance_recall_health() was told: "passed" or "unknown" */

	/* How often it was asked for that; kept when it is done with. */
	unsigned asked, started, queue_looks, busy_looks, silent_looks, unused_released, checked;
	uint64_t idle_ms; /* that was asked for last */
};

static struct fake_instance fake_instances[FAKE_GENERATIONS_MAX][FAKE_INDEXES_MAX];
static unsigned fake_instances_most; /* that have been there at once */

static inline struct fake_instance *fake(uint32_t generation, uint32_t index)
{
	assert_in_range(generation, 1, FAKE_GENERATIONS_MAX - 1);
	assert_in_range(index, 0, FAKE_INDEXES_MAX - 1);
	return &fake_instances[generation][index];
}

static inline struct fake_instance *fake_of(const struct instance *i)
{
	struct fake_instance *f;

	assert_non_null(i);
	f = fake(i->generation, i->index);
	assert_ptr_equal(f->instance, i);
	return f;
}

/* The instance, which has to be there. */
static inline struct instance *fake_there(uint32_t generation, uint32_t index)
{
	struct instance *i = fake(generation, index)->instance;

	if (!i)
		fail_msg("there is no instance %u.%u", generation, index);
	return i;
}

/* Whoever owns instances has to be done with them before. */
/* Of instance_ports_open(). */
static unsigned fake_ports_open;  /* so many are */
static char fake_ports_last[128]; /* whom the last ones lead to; "": they were none */
static int fake_ports_error;

static inline void fake_instances_reset(void)
{
	memset(fake_instances, 0, sizeof(fake_instances));
	fake_instances_most = 0;
	fake_ports_open = 0;
	fake_ports_last[0] = '\0';
	fake_ports_error = 0;
}

static inline unsigned fake_instances_alive(void)
{
	unsigned n = 0;

	for (size_t g = 0; g < FAKE_GENERATIONS_MAX; g++)
		for (size_t k = 0; k < FAKE_INDEXES_MAX; k++)
			n += fake_instances[g][k].instance != NULL;
	return n;
}

/* ---- sockets -------------------------------------------------------------------------------- */

static inline bool fake_slot_is_taken(uint32_t endpoint, uint16_t slot)
{
	for (size_t g = 0; g < FAKE_GENERATIONS_MAX; g++) {
		for (size_t k = 0; k < FAKE_INDEXES_MAX; k++) {
			const struct instance *i = fake_instances[g][k].instance;

			for (size_t m = 0; i && m < i->sockets.n; m++)
				if (i->sockets.list[m].endpoint == endpoint &&
				    i->sockets.list[m].slot == slot)
					return true;
		}
	}
	return false;
}

/* One socket for each endpoint. */
static inline void fake_add_sockets(struct instance *i, size_t n)
{
	const struct fake_instance *f = fake_of(i);

	for (uint32_t e = 0; e < n; e++) {
		uint16_t slot = 0;

		while (fake_slot_is_taken(e, slot))
			slot++;
		struct instance_socket one = {
			.cookie = 10000ULL * i->generation + 100ULL * i->index + e,
			.endpoint = e,
			.slot = f->has_slots ? f->slots[e] : slot,
		};

		assert_int_equal(instance_sockets_add(&i->sockets, &one), 0);
	}
	i->sockets_version++;
	if (i->phase == INSTANCE_STARTING)
		instance_enter(i, INSTANCE_JOINED);
}

/* ---- what tests say of an instance that is there --------------------------------------------- */

static inline pid_t fake_pid(uint32_t generation, uint32_t index)
{
	return (pid_t)(100 * generation + index);
}

/* It runs, with its sockets in slots. */
static inline void fake_listen(uint32_t generation, uint32_t index)
{
	struct instance *i = fake_there(generation, index);

	i->pid = fake_pid(generation, index);
	i->agent_said = AGENT_RUNNING;
	if (instance_awaits_ready(i))
		i->ready = !fake_of(i)->not_healthy;
	else
		i->checks.list[0].checker.last_ms = 1;
	if (i->sockets.n == 0)
		fake_add_sockets(i, i->config->n_listen);
}

/* It does not run, and will not be started again. */
static inline void fake_fail(uint32_t generation, uint32_t index, const char *why)
{
	struct instance *i = fake_there(generation, index);

	if (i->phase < INSTANCE_FAILED)
		instance_enter(i, INSTANCE_FAILED);
	i->agent_said = AGENT_FAILED;
	i->pid = 0;
	snprintf(i->failure, sizeof(i->failure), "%s", why);
}

static inline void fake_left(uint32_t generation, uint32_t index)
{
	struct instance *i = fake_there(generation, index);

	if (i->phase < INSTANCE_LEFT)
		instance_enter(i, INSTANCE_LEFT);
	i->forced = fake_of(i)->forced;
	i->agent_said = AGENT_LEFT;
}

static inline void fake_stopped(uint32_t generation, uint32_t index)
{
	struct instance *i = fake_there(generation, index);

	if (!instance_has_stopped(i))
		instance_enter(i, INSTANCE_STOPPED);
	i->exit_code = fake_of(i)->exit_code;
	i->exit_signal = fake_of(i)->exit_signal;
	i->agent_said = AGENT_STOPPED;
	i->pid = 0;
}

/* It is in this phase, however that came about. */
static inline void fake_phase(uint32_t generation, uint32_t index, enum instance_phase phase)
{
	fake_there(generation, index)->phase = phase;
}

/* ---- instance.h: life ------------------------------------------------------------------------ */

static inline void fake_begin(struct instance *i)
{
	struct fake_instance *f = fake(i->generation, i->index);

	assert_null(f->instance);
	f->instance = i;
	if (fake_instances_alive() > fake_instances_most)
		fake_instances_most = fake_instances_alive();
	snprintf(i->tail, sizeof(i->tail), "%s", f->tail);
	i->checks.list[0].checker.health.state = f->not_healthy ? HEALTH_UNKNOWN : HEALTH_HEALTHY;
	i->checks.list[0].checker.last =
		(struct probe_result){.ok = true, .status = 200, .text = FAKE_ANSWER};
	if (f->answer.text[0])
		i->checks.list[0].checker.last = f->answer;
}

int instance_start(struct instance *i, const struct release *release, struct error *err)
{
	struct fake_instance *f = fake(i->generation, i->index);
	int r = f->start_error;

	(void)release;
	called("start %u.%u", i->generation, i->index);
	f->started++;
	fake_begin(i);
	if (r < 0) {
		error_set(err, r, "agent");
		fake_fail(i->generation, i->index, err->text);
		instance_enter(i, INSTANCE_STOPPED);
		return r;
	}
	if (!f->not_listening)
		fake_listen(i->generation, i->index);
	return 0;
}

void instance_take_over(struct instance *i, struct takeover_agent *agent)
{
	static const enum instance_phase phases[_AGENT_STATE_COUNT] = {
		[AGENT_FAILED] = INSTANCE_FAILED,    [AGENT_LEAVING] = INSTANCE_LEAVING,
		[AGENT_LEFT] = INSTANCE_LEFT,        [AGENT_STOPPING] = INSTANCE_STOPPING,
		[AGENT_KILLING] = INSTANCE_STOPPING, [AGENT_STOPPED] = INSTANCE_STOPPED,
	};
	enum agent_state state = agent->hello.state;

	i->index = agent->spec.instance;
	called("take over %u.%u", i->generation, i->index);
	fake_begin(i);
	i->agent_said = state;
	i->pid = agent->hello.pid;
	i->steady = agent->hello.steady;
	if (i->steady)
		instance_enter(i, INSTANCE_JOINED);
	if (state >= AGENT_FAILED)
		instance_enter(i, phases[state]);
	if (state < AGENT_FAILED && agent->hello.n_sockets > 0)
		fake_add_sockets(i, agent->hello.n_sockets);
	i->checks.list[0].checker.last_ms = !instance_awaits_ready(i);
}

void instance_done(struct instance *i)
{
	struct fake_instance *f = fake(i->generation, i->index);
	struct fake_instance before = *f;

	called("done %u.%u", i->generation, i->index);
	instance_sockets_done(&i->sockets);
	check_set_done(&i->checks);
	if (f->instance != i)
		return; /* was never started */
	f->instance = NULL;
	if (f->sticky)
		return;
	*f = (struct fake_instance){
		.asked = before.asked,
		.started = before.started,
		.queue_looks = before.queue_looks,
		.busy_looks = before.busy_looks,
		.silent_looks = before.silent_looks,
		.unused_released = before.unused_released,
		.checked = before.checked,
		.idle_ms = before.idle_ms,
	};
}

/* ---- instance.h: orders --------------------------------------------------------------------- */

void instance_check(struct instance *i)
{
	called("check %u.%u", i->generation, i->index);
	fake_of(i)->checked++;
}

void instance_uncheck(struct instance *i)
{
	called("uncheck %u.%u", i->generation, i->index);
}

void instance_recall_health(struct instance *i, bool passed)
{
	fake_of(i)->recalled = passed ? "passed" : "unknown";
}

void instance_steady(struct instance *i, bool on)
{
	called("steady %u.%u %s", i->generation, i->index, on ? "on" : "off");
	i->steady = on;
}

void instance_leave(struct instance *i)
{
	called("leave %u.%u", i->generation, i->index);
	if (i->phase < INSTANCE_LEAVING)
		instance_enter(i, INSTANCE_LEAVING);
	if (!fake_of(i)->cannot_leave)
		fake_left(i->generation, i->index);
}

void instance_stop(struct instance *i)
{
	if (i->phase >= INSTANCE_STOPPING)
		return;
	called("stop %u.%u", i->generation, i->index);
	instance_enter(i, INSTANCE_STOPPING);
	if (!fake_of(i)->cannot_stop)
		fake_stopped(i->generation, i->index);
}

static void fake_kill(struct instance *i)
{
	if (instance_has_stopped(i))
		return;
	called("kill %u.%u", i->generation, i->index);
	fake_stopped(i->generation, i->index);
	i->killed = true;
	i->exit_code = 0;
	i->exit_signal = SIGKILL;
}

void instance_kill_many(struct instance *const *list, size_t n)
{
	for (size_t k = 0; k < n; k++)
		fake_kill(list[k]);
}

void instance_look_slots(struct instance *i)
{
	fake_of(i)->slots_looked++;
}

bool instance_competes(const struct instance *i)
{
	return fake_of(i)->competes;
}

void instance_keep_sockets(struct instance *i)
{
	(void)i;
}

void instance_release_unused(struct instance *i)
{
	fake_of(i)->unused_released++;
}

void instance_release_leftovers(struct instance *i)
{
	called("release leftovers %u.%u", i->generation, i->index);
}

static inline void fake_drop_sockets(struct instance *i, size_t k)
{
	size_t kept = 0;

	for (size_t j = 0; j < i->sockets.n; j++)
		if (i->sockets.list[j].endpoint != k)
			i->sockets.list[kept++] = i->sockets.list[j];
	i->sockets.n = kept;
}

void instance_change_endpoint(struct instance *i, size_t k)
{
	called("change %u.%u endpoint %zu", i->generation, i->index, k);
	fake_drop_sockets(i, k);
}

void instance_close_endpoint(struct instance *i, size_t k)
{
	called("close %u.%u endpoint %zu", i->generation, i->index, k);
	fake_drop_sockets(i, k);
}

void instance_ask_sockets(struct instance *i)
{
	if (i->postponed)
		called("ask sockets %u.%u", i->generation, i->index);
	i->postponed = false;
}

void instance_refuse_ipv4(struct instance *i, size_t k, pid_t pid, const char *comm)
{
	called("refuse IPv4 %u.%u endpoint %zu pid %d %s", i->generation, i->index, k, (int)pid,
	       comm);
}

void instance_hint(struct instance *i)
{
	called("hint %u.%u", i->generation, i->index);
}

void instance_hint_late(struct instance *i, uint64_t print)
{
	if (print != i->print)
		called("hint late %u.%u", i->generation, i->index);
	i->print = print;
}

int instance_reopen(struct instance *i, uint32_t serial)
{
	called("reopen %u.%u", i->generation, i->index);
	fake_of(i)->reopen_serial = serial;
	return i->lost ? -ENOTCONN : fake_of(i)->reopen_error;
}

/* Its agent answers the last instance_reopen(). */
static inline void fake_reopened(uint32_t generation, uint32_t index, uint32_t files,
				 const char *stdout_failure)
{
	struct instance *i = fake_there(generation, index);
	struct report report = {
		.type = REPORT_REOPENED, .serial = fake_of(i)->reopen_serial, .files = files};

	snprintf(report.stdout_failure, sizeof(report.stdout_failure), "%s", stdout_failure);
	i->callbacks->on_reopened(i->userdata, i, &report);
}

/* ---- instance.h: questions ------------------------------------------------------------------ */

bool instance_is_healthy(const struct instance *i)
{
	const struct fake_instance *f = fake_of(i);

	return !f->not_healthy && !f->unhealthy && !instance_has_failed(i);
}

bool instance_is_unhealthy(const struct instance *i)
{
	return fake_of(i)->unhealthy;
}

void instance_ask(struct instance *i)
{
	fake_of(i)->asked++;
	i->asked = fake_of(i)->answers;
}

bool instance_is_serving(const struct instance *i)
{
	bool goes_on = i->phase == INSTANCE_JOINED ||
		       (i->phase == INSTANCE_LEAVING && !instance_has_failed(i));

	return goes_on && instance_has_joined(i) && i->sockets.n > 0 && !fake_of(i)->dead;
}

bool instance_is_gone(const struct instance *i)
{
	return instance_has_stopped(i) && !fake_of(i)->dying;
}

bool instance_has_exited(const struct instance *i)
{
	return instance_has_stopped(i) || fake_of(i)->exited;
}

const struct probe_result *instance_last_answer(const struct instance *i)
{
	return i->checks.list[0].checker.last_ms ? &i->checks.list[0].checker.last : NULL;
}

const char *instance_loss_text(const struct instance *i, size_t k, char ret[static PROBE_TEXT_MAX])
{
	if (!i->losses[k].told)
		return NULL;
	snprintf(ret, PROBE_TEXT_MAX, "nothing of it listens on %s", i->config->listen[k].text);
	return ret;
}

const char *instance_mode(const struct instance *i)
{
	return fake_of(i)->mode;
}

/* What it says of the strangers that the test gives it. */
char *instance_advise(const struct instance *i, char ret[static ADVICE_TEXT_MAX])
{
	ret[0] = '\0';
	if (i->n_strangers > 0)
		snprintf(ret, ADVICE_TEXT_MAX, "listens on %s", i->strangers[0]);
	return ret;
}

void instance_describe_exit(const struct instance *i, char *ret, size_t size)
{
	if (i->exit_signal)
		snprintf(ret, size, "was killed by %s", config_signal_name(i->exit_signal));
	else
		snprintf(ret, size, "exited with status %d", i->exit_code);
}

/* ---- instance.h: local ports of commands ----------------------------------------------------- */

struct instance_ports {
	char whom[128]; /* "2.0 2.1" */
	uint32_t generation;
};

int instance_ports_open(struct instance *const *list, size_t n, uint16_t wanted,
			struct instance_ports **ret, struct error *err)
{
	size_t used = 0;

	assert_in_range(wanted, 1, INSTANCE_PORTS_MAX);
	*ret = NULL;
	fake_ports_last[0] = '\0';
	if (fake_ports_error)
		return error_set(err, fake_ports_error, "local ports");
	if (n == 0)
		return 0;
	*ret = calloc(1, sizeof(**ret));
	assert_non_null(*ret);
	for (size_t k = 0; k < n; k++)
		used += (size_t)snprintf((*ret)->whom + used, sizeof((*ret)->whom) - used,
					 "%s%u.%u", k ? " " : "", list[k]->generation,
					 list[k]->index);
	(*ret)->generation = list[0]->generation;
	memcpy(fake_ports_last, (*ret)->whom, sizeof(fake_ports_last));
	fake_ports_open++;
	return 0;
}

void instance_ports_close(struct instance_ports *ports)
{
	fake_ports_open -= ports != NULL;
	free(ports);
}

int instance_ports_tell(const struct instance_ports *ports, char ***environment)
{
	char text[16];

	if (!ports)
		return 0;
	snprintf(text, sizeof(text), "%u", ports->generation);
	assert_int_equal(environment_set(environment, "BATON_PROBE_PORTS", "61000-61015"), 0);
	return environment_set(environment, "BATON_PROBE_GENERATION", text);
}

/* ---- instance.h: connections ---------------------------------------------------------------- */

int instance_queued(struct instance *i, uint32_t *ret)
{
	fake_of(i)->queue_looks++;
	*ret = fake_of(i)->queued;
	return fake_of(i)->ask_error;
}

int instance_queued_many(struct instance *const *list, size_t n, uint32_t *ret)
{
	*ret = 0;
	for (size_t k = 0; k < n; k++) {
		uint32_t queued;
		int r = instance_queued(list[k], &queued);

		if (r < 0)
			return r;
		*ret += queued;
	}
	return 0;
}

int instance_count(struct instance *i, struct tap_count *ret)
{
	*ret = fake_of(i)->count;
	return fake_of(i)->counted ? 0 : -ENODATA;
}

int instance_live(struct instance *i, uint64_t *ret)
{
	*ret = fake_of(i)->counted ? fake_of(i)->count.live : fake_of(i)->live;
	return fake_of(i)->ask_error;
}

int instance_busy(struct instance *i, uint64_t idle_ms, uint64_t *ret)
{
	struct fake_instance *f = fake_of(i);

	f->busy_looks++;
	f->idle_ms = idle_ms;
	usleep(f->busy_takes_ms * 1000);
	*ret = f->live - (idle_ms > 0 ? f->idle : 0);
	return f->ask_error;
}

/* Whatever their age. */
int instance_silent(struct instance *i, uint64_t age_ms, uint64_t *ret)
{
	struct fake_instance *f = fake_of(i);

	(void)age_ms;
	f->silent_looks++;
	*ret = f->silent;
	return f->ask_error;
}

int instance_kinds(const struct instance *i, struct connections_kinds *ret)
{
	*ret = fake_of(i)->kinds;
	return fake_of(i)->ask_error;
}

int instance_cut(const struct instance *i, uint64_t *ret, struct error *err)
{
	struct fake_instance *f = fake_of(i);

	called("cut %u.%u", i->generation, i->index);
	*ret = 0;
	if (f->cut_error)
		return error_set(err, f->cut_error, "sock_diag");
	*ret = f->live;
	f->live = f->idle = f->count.live = 0;
	return 0;
}

void instance_connections_of(const struct instance *i, struct connections_of *ret)
{
	*ret = (struct connections_of){
		.diag = i->context->diag,
		.listen = i->config->listen,
		.n_listen = i->config->n_listen,
		.cgroup_id = i->cgroup_id,
		.processes = i->processes,
	};
}
