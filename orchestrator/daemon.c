/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "common/clock.h"
#include "common/json_memory.h"
#include "common/log.h"
#include "orchestrator/host/errand.h"
#include "orchestrator/daemon_internal.h"
#include "orchestrator/view/view.h"

/* ---- signals -------------------------------------------------------------------------------- */

static void on_ahead(void *userdata, struct service *s, const struct service_order *order, int r,
		     const struct error *why)
{
	struct service_answer answer;
	struct refusal refusal = {};

	(void)userdata;
	if (r == -ESHUTDOWN)
		return;
	if (r < 0)
		log_error("%s: restart: %s", s->config->name, why->text);
	else if (service_order(s, order, &answer, &refusal) < 0)
		log_error("%s: restart: %s", s->config->name, refusal.why.text);
}

/* For `baton run`, whose service it is. */
static void restart(struct service *s)
{
	const struct service_order order = {.type = SERVICE_ORDER_RESTART};
	struct error err;

	if (service_send_ahead(s, &order, on_ahead, NULL, &err) < 0)
		log_error("%s: restart: %s", s->config->name, err.text);
}

static int on_hup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct api_problem problem = {};
	struct daemon *d = userdata;

	(void)source;
	(void)info;
	if (d->ending)
		return 0;
	if (d->options.single)
		restart(d->services[0]);
	else if (d->reading)
		d->reload_again = true;
	else
		(void)daemon_reload(d, NULL, &problem);
	api_problem_done(&problem);
	return 0;
}

static int on_terminate(sd_event_source *source, const struct signalfd_siginfo *info,
			void *userdata)
{
	struct daemon *d = userdata;

	(void)source;
	(void)info;
	if (d->ending) {
		log_warning("second signal: everything is killed");
		for (size_t k = 0; k < d->n_services; k++)
			service_kill(d->services[k]);
		daemon_kill_awaited(d);
		daemon_end(d, 0);
		return 0;
	}
	d->ending = true;
	sd_notify(0, "STOPPING=1");
	log_info("stopping: every service drains");
	for (size_t k = 0; k < d->n_services; k++)
		service_shutdown(d->services[k], "batond is shutting down");
	if (daemon_is_idle(d))
		daemon_end(d, 0);
	return 0;
}

static int on_usr2(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	(void)source;
	(void)info;
	if (!daemon_leave(userdata))
		log_warning("SIGUSR2 changes nothing: everything is being stopped");
	return 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

static int watch_signals(struct daemon *d, struct error *err)
{
	static const struct {
		int signal;
		sd_event_signal_handler_t handler;
	} signals[] = {{SIGHUP, on_hup},
		       {SIGTERM, on_terminate},
		       {SIGINT, on_terminate},
		       {SIGUSR2, on_usr2}};

	for (size_t k = 0; k < sizeof(signals) / sizeof(signals[0]); k++) {
		int r = sd_event_add_signal(d->context->event, NULL, signals[k].signal,
					    signals[k].handler, d);

		if (r < 0)
			return error_set(err, r, "watch signal %d", signals[k].signal);
	}
	return 0;
}

/* Free the services that a reload has removed and that have ended. */
static int on_reap(sd_event_source *source, void *userdata)
{
	struct daemon *d = userdata;
	size_t kept = 0;

	(void)source;
	for (size_t k = 0; k < d->n_services; k++) {
		struct service *s = d->services[k];

		if (s->shutting_down && service_is_idle(s)) {
			log_info("%s: removed", s->config->name);
			daemon_forget_id(d, s);
			service_free(s);
		} else {
			d->services[kept++] = s;
		}
	}
	d->n_services = kept;
	if (!d->ending)
		daemon_resume_reload(d);
	return 0;
}

/* NULL: there is no memory for all that it says. */
static json_t *whole_json(const struct event *event)
{
	uint64_t lacks = json_memory_lacks();
	json_t *json = event_json(event);

	if (json_memory_lacks() == lacks)
		return json;
	json_decref(json);
	return NULL;
}

#define EVENT_TRIES 3

static void on_event(void *userdata, const char *service, const struct event *event)
{
	struct daemon *d = userdata;
	uint64_t now_ms = clock_realtime_ms();

	for (int tries = 0; tries < EVENT_TRIES; tries++) {
		json_t *json = whole_json(event);

		if (!json)
			continue;
		if (event->passing) {
			events_pass(d->events, now_ms, service, event_name(event->kind), json);
			return;
		}
		if (events_add(d->events, now_ms, service, event_name(event->kind), json) > 0)
			return;
	}
	if (!event->passing)
		events_miss(d->events);
}

static int make_events(struct daemon *d, struct error *err)
{
	int r = events_new(&d->events);

	if (r < 0)
		return error_set(err, r, "events");
	d->sink = (struct event_sink){.take = on_event, .userdata = d};
	d->context->sink = &d->sink;
	return 0;
}

/* Only now is it certain that no other daemon of this name writes that file. */
static int open_events(struct daemon *d, struct error *err)
{
	const struct event_place place = {
		.path = d->context->paths.event_file,
		.spare = d->context->paths.event_spare,
		.event = d->context->event,
		.keep_fd = d->options.lock_fd,
	};
	int r = events_open(d->events, &place, err);

	if (r > 0)
		log_warning("%s", err->text);
	return r;
}

int daemon_new(struct context *context, struct config *config, const struct daemon_options *options,
	       struct daemon **ret, struct error *err)
{
	cleanup(daemon_free) struct daemon *d = calloc(1, sizeof(*d));
	int r;

	if (!d) {
		config_free(config);
		return error_set(err, -ENOMEM, "daemon");
	}
	d->context = context;
	d->config = config;
	d->options = *options;
	daemon_set_rollouts_max(d, config);
	context->line = &d->line;
	r = make_events(d, err);
	if (r < 0)
		return r;
	for (size_t k = 0; k < config->n_services; k++) {
		r = daemon_add_service(d, &config->services[k], err);
		if (r < 0)
			return r;
	}
	r = sd_event_add_defer(context->event, &d->reap, on_reap, d);
	if (r < 0)
		return error_set(err, r, "event loop");
	sd_event_source_set_enabled(d->reap, SD_EVENT_OFF);
	r = watch_signals(d, err);
	if (r < 0)
		return r;
	r = api_open(context->event, context->paths.api_socket, daemon_api_group(d), d->events,
		     &daemon_api, d, &d->api, err);
	if (r >= 0)
		r = open_events(d, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(d);
	return 0;
}

void daemon_free(struct daemon *d)
{
	if (!d)
		return;
	errand_cancel(d->reading);
	api_free(d->api);
	daemon_forget_questions(d);
	for (size_t k = 0; k < d->n_services; k++)
		service_free(d->services[k]);
	takeover_list_done(&d->found);
	timer_done(&d->trim);
	sd_event_source_disable_unref(d->reap);
	events_free(d->events);
	config_free(d->config);
	free(d);
}

bool daemon_is_leaving(const struct daemon *d)
{
	return d->leaving;
}

void daemon_close_api(struct daemon *d)
{
	api_free(TAKE_PTR(d->api));
}

void daemon_finish_events(struct daemon *d)
{
	events_finish(d->events);
}

int daemon_exit_status(const struct daemon *d)
{
	return d->exit_status;
}
