/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/daemon_internal.h"

#define ROLLOUTS_PER_PROCESSOR 8
#define ROLLOUTS_UNKNOWN       64 /* a host of more processors than cpu_set_t has */

#define TRIM_MS 1000 /* after the end of a rollout, and at most so often */

void daemon_refuse(const struct refusal *refusal, struct api_problem *problem)
{
	const struct refusal_info *info = refusal_info(refusal->kind);

	problem->status = info->http_status;
	problem->code = (int)info->exit;
	problem->title = info->title;
	problem->detail = refusal->why;
}

struct service *daemon_find(struct daemon *d, const char *name)
{
	for (size_t k = 0; k < d->n_services; k++)
		if (strcmp(d->services[k]->config->name, name) == 0)
			return d->services[k];
	return NULL;
}

/* ---- services ------------------------------------------------------------------------------- */

bool daemon_is_idle(const struct daemon *d)
{
	for (size_t k = 0; k < d->n_services; k++)
		if (!service_is_idle(d->services[k]))
			return false;
	return true;
}

/* One that waits for agents of an earlier batond serves, as far as anybody knows. */
static bool all_started(struct daemon *d)
{
	for (size_t k = 0; k < d->n_services; k++)
		if (!d->services[k]->settled && !d->services[k]->awaited)
			return false;
	return d->began;
}

void daemon_end(struct daemon *d, int exit_status)
{
	if (d->exit_status == 0)
		d->exit_status = exit_status;
	sd_event_exit(d->context->event, 0);
}

bool daemon_leave(struct daemon *d)
{
	if (d->ending)
		return false;
	if (!d->leaving)
		log_info("leaving: servers and agents go on, and the next batond called \"%s\" "
			 "takes them over",
			 d->context->paths.name);
	d->leaving = true;
	sd_notify(0, "STOPPING=1");
	daemon_end(d, 0);
	return true;
}

/* A failed first start of `baton run`: said once, in full, and that is the end. */
static void end_single(struct daemon *d, const struct run_result *last)
{
	log_error("%s", last->reason);
	if (last->probe[0])
		log_error("last answer: %s", last->probe);
	daemon_end(d, last->exit);
}

void daemon_say_ready(struct daemon *d)
{
	if (d->said_ready || !all_started(d))
		return;
	d->said_ready = true;
	if (d->config->n_refused > 0)
		sd_notifyf(0, "READY=1\nSTATUS=%zu of %zu services refused: baton status says why",
			   d->config->n_refused, d->config->n_refused + d->n_services);
	else
		sd_notify(0, "READY=1");
}

static bool any_deferred(const struct daemon *d)
{
	for (size_t k = 0; k < d->n_services; k++)
		if (d->services[k]->deferred)
			return true;
	return false;
}

/*
 * To load programs for a rollout takes a megabyte for a moment, between small things that stay: the
 * heap would keep most of it.
 */
static int on_trim(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec, (void)userdata;
	malloc_trim(0);
	return 0;
}

void daemon_on_service_end(void *userdata, struct service *s)
{
	struct daemon *d = userdata;

	if (!timer_is_set(&d->trim))
		timer_set(&d->trim, d->context->event, clock_monotonic_ms() + TRIM_MS, on_trim, d);
	daemon_say_ready(d);
	if (!d->ending && (any_deferred(d) || (s->shutting_down && service_is_idle(s))))
		sd_event_source_set_enabled(d->reap, SD_EVENT_ONESHOT);
	if (d->ending && daemon_is_idle(d))
		daemon_end(d, 0);
	else if (d->options.single && !d->ending && service_is_idle(s) &&
		 s->last.outcome != ROLLOUT_DONE)
		end_single(d, &s->last);
}

/* ---- names and ids -------------------------------------------------------------------------- */

struct service *daemon_find_by_id(const struct daemon *d, const char *id)
{
	for (size_t k = 0; k < d->n_services; k++)
		if (strcmp(service_id(d->services[k]), id) == 0)
			return d->services[k];
	return NULL;
}

/* Does another service have @id, or has it had it under an earlier batond? */
static bool is_taken(const struct daemon *d, const char *id, const char *name)
{
	if (daemon_find_by_id(d, id))
		return true;
	if (!state_has_ids(d->context->state))
		return false;
	for (size_t k = 0; k < d->config->n_services; k++) {
		const char *other = d->config->services[k].name;
		cleanup_free char *others = state_id(d->context->state, other);

		if (others && strcmp(other, name) != 0 && strcmp(others, id) == 0)
			return true;
	}
	return false;
}

/* The one that is noted; else its name; if another service has that, "web-2", "web-3" ... */
static int give_id(struct daemon *d, struct service_config *config, struct error *err)
{
	cleanup_free char *noted = state_id(d->context->state, config->name);
	char id[PROTOCOL_NAME_MAX];

	snprintf(id, sizeof(id), "%s", noted ? noted : config->name);
	for (unsigned n = 2; is_taken(d, id, config->name) && n <= CONFIG_SERVICES_MAX + 1; n++)
		snprintf(id, sizeof(id), "%.*s-%u", PROTOCOL_NAME_MAX - 8, config->name, n);
	if (strcmp(id, config->name) == 0)
		return 0;
	if (service_config_rename(config, config->name, id) < 0)
		return error_set(err, -ENOMEM, "service %s", config->name);
	return noted && strcmp(noted, id) == 0
		       ? 0
		       : state_set_id(d->context->state, config->name, id, err);
}

/* First it is noted: so a batond that takes over in between finds everything. */
int daemon_rename(struct daemon *d, struct service *s, const char *name, struct error *err)
{
	cleanup_free char *before = strdup(s->config->name);
	bool own = strcmp(service_id(s), name) == 0;
	struct error why;
	int r = before ? state_set_id(d->context->state, name, own ? NULL : service_id(s), err)
		       : error_set(err, -ENOMEM, "service %s", name);

	if (r < 0)
		return r;
	r = service_rename(s, name);
	if (r < 0)
		return error_set(err, r, "service %s", name);
	log_info("%s: is called %s from now on", before, name);
	if (state_set_id(d->context->state, before, NULL, &why) < 0)
		log_warning("%s: %s", before, why.text);
	return 0;
}

void daemon_forget_id(struct daemon *d, const struct service *s)
{
	struct error err;

	if (state_set_id(d->context->state, s->config->name, NULL, &err) < 0)
		log_warning("%s: %s", s->config->name, err.text);
}

int daemon_add_service(struct daemon *d, const struct service_config *config, struct error *err)
{
	struct service_config *copy = service_config_copy(config);
	struct service *s;
	int r;

	if (!copy)
		return error_set(err, -ENOMEM, "service %s", config->name);
	if (d->n_services == CONFIG_SERVICES_MAX) {
		service_config_free(copy);
		return error_text(err, -E2BIG,
				  "service %s: there is no room for more than %d services",
				  config->name, CONFIG_SERVICES_MAX);
	}
	r = give_id(d, copy, err);
	if (r < 0) {
		service_config_free(copy);
		return r;
	}
	r = service_new(d->context, copy, daemon_on_service_end, d, &s, err);
	if (r < 0)
		return r;
	d->services[d->n_services++] = s;
	return 0;
}

/* To start servers is work; to wait between two checks of them, most of the time, is none. */
static uint32_t default_rollouts_max(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0 || CPU_COUNT(&set) == 0)
		return ROLLOUTS_UNKNOWN;
	return ROLLOUTS_PER_PROCESSOR * (uint32_t)CPU_COUNT(&set);
}

void daemon_set_rollouts_max(struct daemon *d, const struct config *config)
{
	waiting_line_set_max(&d->line,
			     config->rollouts_max ? config->rollouts_max : default_rollouts_max());
}

void daemon_tell_refused(struct daemon *d, const char *service, const char *why)
{
	log_error("%s: %s", service, why);
	d->sink.take(d->sink.userdata, service,
		     &(struct event){.kind = EVENT_REFUSED, .message = why, .reason = why});
}

void daemon_start_service(struct daemon *d, struct service *s)
{
	const struct service_order order = {.type = SERVICE_ORDER_START};
	struct service_answer answer;
	struct refusal refusal = {};

	if (service_order(s, &order, &answer, &refusal) >= 0)
		return;
	service_refused(s, refusal.why.text);
	daemon_tell_refused(d, s->config->name, refusal.why.text);
	if (d->options.single && !service_retries(s))
		daemon_end(d, (int)refusal_info(refusal.kind)->exit);
}
