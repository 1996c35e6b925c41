/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each has a deferred source of its own, which is on while it waits and there is room: so nothing
 * is begun or told from within a call of somebody else's.
 */
#include "orchestrator/health/probe_exec.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/fields.h"
#include "common/log.h"

#define TELL_EVERY_MS    (60 * 1000)
#define PROGRAM_NAME_MAX 64

struct probe_exec {
	sd_event *event;
	struct probe_exec_room *room;
	struct probe_exec *next, *previous;
	const struct probe_exec_host *host;
	void *host_userdata, *state;
	void (*on_done)(void *userdata, const struct probe_result *result);
	void *userdata;

	const struct health_config *health;
	uint64_t started_ms;
	char name[PROGRAM_NAME_MAX]; /* of the program, for people */
	bool begun;                  /* .end has to be called */
	struct command *command;
	sd_event_source *turn;
};

/* ---- whose turn it is ----------------------------------------------------------------------- */

/* If there is room, the one that waits longest gets its turn. */
static void give_turn(struct probe_exec_room *room)
{
	size_t free_now = PROBE_EXEC_MAX - room->running;
	struct probe_exec *p = room->first;

	for (; p && free_now > 0; p = p->next) {
		int r;

		if (p->begun)
			continue;
		free_now--;
		r = sd_event_source_set_enabled(p->turn, SD_EVENT_ONESHOT);
		if (r < 0)
			log_error("check by a command: cannot defer: %s", strerror(-r));
	}
}

static void enlist(struct probe_exec *p)
{
	struct probe_exec **last = &p->room->first;

	for (; *last; last = &(*last)->next)
		p->previous = *last;
	*last = p;
}

static void delist(struct probe_exec *p)
{
	if (p->previous)
		p->previous->next = p->next;
	else if (p->room->first == p)
		p->room->first = p->next;
	if (p->next)
		p->next->previous = p->previous;
}

/* ---- the end -------------------------------------------------------------------------------- */

static void free_probe(struct probe_exec *p)
{
	struct probe_exec_room *room = p->room;

	command_cancel(TAKE_PTR(p->command));
	if (p->begun) {
		p->host->end(p->state);
		room->running--;
	}
	delist(p);
	sd_event_source_disable_unref(p->turn);
	sd_event_unref(p->event);
	free(p);
	give_turn(room);
}

/* Once in a while, and of all of them together: what is short is short for all. */
static void tell_unasked(struct probe_exec_room *room, const char *text)
{
	uint64_t now_ms = clock_monotonic_ms();

	if (room->told_ms && now_ms - room->told_ms < TELL_EVERY_MS)
		return;
	room->told_ms = now_ms;
	log_warning("%s; it counts neither for nor against the server", text);
}

static void report(struct probe_exec *p, bool ok, bool unasked, const char *text)
{
	void (*on_done)(void *userdata, const struct probe_result *result) = p->on_done;
	struct probe_result result = {.ok = ok, .unasked = unasked};
	void *userdata = p->userdata;

	result.took_ms = p->begun ? clock_monotonic_ms() - p->started_ms : 0;
	snprintf(result.text, sizeof(result.text), "%s%s%s%s", unasked ? "not asked: " : "",
		 p->name, p->name[0] ? ": " : "", text);
	fields_make_utf8(result.text); /* it may have been cut within a character */
	if (unasked)
		tell_unasked(p->room, result.text);
	free_probe(p);
	on_done(userdata, &result);
}

static void on_command_done(void *userdata, const struct command_result *result)
{
	struct probe_exec *p = userdata;
	bool ok = !result->timed_out && !result->exit_signal && !result->exit_code;

	p->command = NULL;
	report(p, ok && !result->start_error, result->start_error < 0, result->text);
}

/* ---- the beginning -------------------------------------------------------------------------- */

static int begin(struct probe_exec *p, struct error *err)
{
	struct command_spec spec;
	const char *slash;
	int r = p->host->begin(p->host_userdata, p->health, &spec, &p->state, err);

	if (r < 0)
		return r;
	p->begun = true;
	p->room->running++;
	p->started_ms = clock_monotonic_ms();
	slash = strrchr(spec.argv[0], '/');
	snprintf(p->name, sizeof(p->name), "%s", slash ? slash + 1 : spec.argv[0]);
	spec.timeout_ms = p->health->timeout_ms;
	return command_start(p->event, &spec, on_command_done, p, &p->command, err);
}

static int on_turn(sd_event_source *source, void *userdata)
{
	struct probe_exec *p = userdata;
	struct error err;

	(void)source;
	if (p->begun || p->room->running >= PROBE_EXEC_MAX)
		return 0;
	if (begin(p, &err) < 0)
		report(p, false, true, err.text);
	return 0;
}

int probe_exec_start(sd_event *event, struct probe_exec_room *room,
		     const struct probe_exec_host *host, void *host_userdata,
		     const struct health_config *health,
		     void (*on_done)(void *userdata, const struct probe_result *result),
		     void *userdata, struct probe_exec **ret, struct error *err)
{
	struct probe_exec *p = calloc(1, sizeof(*p));
	int r;

	assert(on_done && host->begin && host->end);
	if (!p)
		return error_set(err, -ENOMEM, "check");
	p->event = sd_event_ref(event);
	p->room = room;
	p->host = host;
	p->host_userdata = host_userdata;
	p->health = health;
	p->on_done = on_done;
	p->userdata = userdata;
	r = sd_event_add_defer(event, &p->turn, on_turn, p);
	if (r >= 0)
		r = sd_event_source_set_enabled(p->turn, SD_EVENT_OFF);
	if (r < 0) {
		sd_event_source_disable_unref(p->turn);
		sd_event_unref(p->event);
		free(p);
		return error_set(err, r, "check");
	}
	enlist(p);
	give_turn(room);
	*ret = p;
	return 0;
}

void probe_exec_cancel(struct probe_exec *probe)
{
	if (probe)
		free_probe(probe);
}
