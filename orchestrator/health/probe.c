/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The connection of a check is made here, and curl gets it connected: what the host lacks is known
 * as such, and a check that only connects needs no curl at all.
 *
 * curl forbids calls into its multi handle from within its own callbacks, and on_close is called
 * from within those. Therefore everything that changes the set of transfers (reporting, freeing) is
 * done by one deferred source, on_work(); callbacks only mark probes.
 */
#include "orchestrator/health/ca_files.h"
#include "orchestrator/health/probe.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/backoff.h"
#include "common/clock.h"
#include "common/duration.h"
#include "common/log.h"
#include "orchestrator/health/probe_internal.h"
#include "orchestrator/health/sources.h"

#define ASK_FIRST_MS    1 /* then twice as long each time, up to ASK_INTERVAL_MS */
#define ASK_INTERVAL_MS 20
#define WORK_BUDGET     256 /* probes handled in one go, before the loop gets its turn again */
#define TELL_EVERY_MS   (60 * 1000)

_Static_assert(ANSWER_BODY_MAX == PROBE_BODY_MAX, "a body is copied as a whole");

/* ---- the end of a probe --------------------------------------------------------------------- */

static void free_probe(struct probe *p)
{
	if (!p)
		return;
	probe_disconnect(p);
	if (p->previous)
		p->previous->next = p->next;
	else if (p->prober->probes == p)
		p->prober->probes = p->next;
	if (p->next)
		p->next->previous = p->previous;
	curl_slist_free_all(p->headers);
	curl_slist_free_all(p->connect_to);
	if (p->expects)
		regfree(&p->expected);
	free(p->body);
	free(p->ca_path);
	free(p->path);
	free(p);
}
DEFINE_CLEANUP(struct probe *, free_probe);

/* Once in a while, and of all checks together: what is short is short for all. */
static void tell_unasked(struct prober *prober, const char *text)
{
	uint64_t now_ms = clock_monotonic_ms();

	if (prober->told_ms && now_ms - prober->told_ms < TELL_EVERY_MS)
		return;
	prober->told_ms = now_ms;
	log_warning("%s; it counts neither for nor against the server", text);
}

static void report(struct probe *p, struct probe_result *result)
{
	if (result->unasked)
		tell_unasked(p->prober, result->text);
	result->took_ms = clock_monotonic_ms() - p->started_ms;
	result->status = p->answer.status;
	/* What is no text says nothing to people. */
	if (!p->grpc && !p->answer.encoding[0])
		memcpy(result->body, p->answer.body, sizeof(result->body));
	p->calling = true;
	probe_disconnect(p);
	/* on_close may have cancelled it. */
	if (p->state != PROBE_CANCELLED)
		p->callbacks.on_done(p->userdata, result);
	free_probe(p);
}

/* Connected: has the server accepted it? */
static int ask_caller(struct probe *p)
{
	int r;

	p->calling = true;
	r = p->callbacks.on_connected(p->userdata);
	p->calling = false;
	return r;
}

static void ask(struct probe *p)
{
	uint64_t now_ms = clock_monotonic_ms();
	uint64_t at_ms = now_ms + backoff_delay_ms(ASK_FIRST_MS, ASK_INTERVAL_MS, p->asked++);
	uint64_t deadline_ms = p->started_ms + p->health.timeout_ms;
	struct probe_result result = {0};
	int r = ask_caller(p);

	if (p->state == PROBE_CANCELLED) {
		free_probe(p);
		return;
	}
	p->accepted = r > 0;
	if (at_ms > deadline_ms)
		at_ms = deadline_ms;
	if (r == 0 && now_ms < deadline_ms) {
		timer_set(&p->timer, p->prober->event, at_ms, p->prober->on_timer, p);
		if (timer_is_set(&p->timer))
			return;
		r = -ENOMEM;
	}
	probe_describe_accepted(p, r, &result);
	report(p, &result);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct probe *p = userdata;

	(void)source;
	(void)usec;
	if (p->state == PROBE_ASKING) {
		ask(p);
	} else {
		p->code = CURLE_OPERATION_TIMEDOUT;
		p->state = PROBE_ENDED;
		probe_kick(p->prober);
	}
	return 0;
}

static void give_to_curl(struct probe *p)
{
	CURLMcode code = curl_loop_add(p->prober->loop, p->easy);

	p->state = PROBE_RUNNING;
	if (code != CURLM_OK)
		probe_refuse(p, true, "curl: %s", curl_multi_strerror(code));
}

/* The time that connecting took is part of it. */
static void limit_transfer(struct probe *p)
{
	uint64_t passed_ms = clock_monotonic_ms() - p->started_ms;
	uint64_t left_ms = p->health.timeout_ms > passed_ms ? p->health.timeout_ms - passed_ms : 1;

	curl_easy_setopt(p->easy, CURLOPT_TIMEOUT_MS,
			 (long)(left_ms < INT_MAX ? left_ms : INT_MAX));
}

static void go_on(struct probe *p)
{
	if (p->health.kind == HEALTH_KIND_CONNECT) {
		p->state = PROBE_ASKING;
		ask(p);
	} else {
		limit_transfer(p);
		give_to_curl(p);
	}
}

/*
 * No answer in time: does the server accept at all? What it has not accepted stays in its queue,
 * also after curl has closed it.
 */
static void look_at_queue(struct probe *p)
{
	if (p->code != CURLE_OPERATION_TIMEDOUT || p->answer.status || !p->callbacks.on_connected)
		return;
	if (p->connected)
		p->queued = ask_caller(p) == 0;
}

/* By a connection of its own. */
static void ask_again(struct probe *p)
{
	p->calling = true;
	curl_loop_remove(p->prober->loop, p->easy);
	probe_release_source(p);
	p->calling = false;
	p->curls = p->connected = false;
	p->answer = (struct answer){};
	p->body_length = p->first_length = 0;
	if (p->state != PROBE_CANCELLED)
		p->state = PROBE_NEW;
	probe_kick(p->prober);
}

/* Ask for what the answer leads to. False: it leads nowhere. */
static bool follow(struct probe *p)
{
	if (probe_set_redirect(p) < 0)
		return false;
	ask_again(p);
	return true;
}

/* Authority and certificate may have been replaced together: then what is known is too old. */
static bool read_authorities_again(struct probe *p)
{
	if (!p->ca_path || p->ca_since_ms || p->code != CURLE_PEER_FAILED_VERIFICATION)
		return false;
	p->ca_since_ms = p->started_ms;
	ask_again(p);
	return true;
}

/* What curl has lost of an answer. False: nothing. */
static bool repeat(struct probe *p)
{
	if (!probe_set_repeat(p))
		return false;
	ask_again(p);
	return true;
}

static void conclude(struct probe *p)
{
	struct probe_result result = {0};

	look_at_queue(p);
	if (p->state == PROBE_CANCELLED) {
		free_probe(p);
		return;
	}
	if (follow(p) || read_authorities_again(p) || repeat(p))
		return;
	probe_describe(p, &result);
	report(p, &result);
}

/* ---- work ----------------------------------------------------------------------------------- */

/* curl is done with a transfer, and in the midst of its own work. */
static void on_transfer_done(void *userdata, CURL *easy, CURLcode code)
{
	struct prober *prober = userdata;
	struct probe *p = NULL;

	if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &p) != CURLE_OK || !p ||
	    p->state != PROBE_RUNNING)
		return;
	p->code = code;
	p->state = PROBE_ENDED;
	probe_kick(prober);
}

/* ... and so is this: it would end by its timeout only, and blame the server. */
static void on_transfer_unwatched(void *userdata, CURL *easy, int error)
{
	struct probe *p = NULL;

	(void)userdata;
	if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &p) == CURLE_OK && p &&
	    p->state == PROBE_RUNNING)
		probe_refuse(p, true, "watch the connection: %s", strerror(error));
}

static struct probe *next_due(struct prober *prober)
{
	for (struct probe *p = prober->probes; p; p = p->next) {
		if (p->state == PROBE_NEW || p->state == PROBE_ENDED || p->state == PROBE_CANCELLED)
			return p;
	}
	return NULL;
}

static void begin(struct probe *p)
{
	if (!probe_set_authorities(p))
		return;
	if (p->url)
		give_to_curl(p);
	else
		probe_connect(p);
}

/* What it takes to read the file is not the server's time. */
static void on_read(void *userdata)
{
	struct prober *prober = userdata;

	for (struct probe *p = prober->probes; p; p = p->next) {
		if (p->state != PROBE_READING)
			continue;
		p->state = PROBE_NEW;
		p->started_ms = clock_monotonic_ms();
		probe_kick(prober);
	}
}

static int on_work(sd_event_source *source, void *userdata)
{
	struct prober *prober = userdata;
	struct probe *p = NULL;

	(void)source;
	/* Callbacks change the list: it is searched anew each time. */
	for (int i = 0; i < WORK_BUDGET && (p = next_due(prober)); i++) {
		if (p->state == PROBE_NEW)
			begin(p);
		else if (p->state == PROBE_ENDED)
			conclude(p);
		else
			free_probe(p);
	}
	if (next_due(prober))
		probe_kick(prober);
	return 0;
}

/* ---- starting and cancelling ---------------------------------------------------------------- */

/* One that nobody knows yet. The texts of @health are not kept: curl copies them. */
static struct probe *make_probe(struct prober *prober, const struct health_config *health,
				void *userdata)
{
	struct probe *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->prober = prober;
	p->userdata = userdata;
	p->health = *health;
	p->health.path = p->health.host = p->health.method = p->health.body = NULL;
	p->health.tls_name = p->health.tls_ca = NULL;
	p->health.headers = NULL;
	p->health.grpc_service = NULL;
	if (p->health.timeout_ms == 0)
		p->health.timeout_ms = 1; /* to curl, 0 would be "no limit" */
	p->fd = -1;
	p->started_ms = clock_monotonic_ms();
	p->easy = health->kind == HEALTH_KIND_CONNECT ? NULL : curl_easy_init();
	if (!p->easy && health->kind != HEALTH_KIND_CONNECT)
		free(TAKE_PTR(p));
	return p;
}

static void enlist(struct probe *p)
{
	p->next = p->prober->probes;
	if (p->next)
		p->next->previous = p;
	p->prober->probes = p;
	probe_kick(p->prober);
}

int probe_start(struct prober *prober, const struct health_config *health,
		const struct address *address, const struct probe_callbacks *callbacks,
		void *userdata, struct probe **ret, struct error *err)
{
	cleanup(free_probe) struct probe *p = NULL;
	int r = probe_check_question(health, err);

	if (r < 0)
		return r;
	assert(callbacks->on_bind && callbacks->on_close && callbacks->on_done);
	assert(health->kind != HEALTH_KIND_CONNECT || callbacks->on_connected);
	p = make_probe(prober, health, userdata);
	if (!p)
		return error_set(err, -ENOMEM, "probe");
	p->callbacks = *callbacks;
	address_local(address, &p->target);
	r = probe_set_question(p, health);
	if (r < 0)
		return error_set(err, r, "probe");
	enlist(p);
	*ret = TAKE_PTR(p);
	return 0;
}

/*
 * What of the URL is shown: neither password nor query, in which keys are sent. -EINVAL: it is not
 * one that can be asked.
 */
static int show_url(const char *url, char *buffer, size_t size)
{
	static const CURLUPart hidden[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS,
					   CURLUPART_QUERY, CURLUPART_FRAGMENT};
	CURLU *parts = curl_url();
	char *scheme = NULL, *shown = NULL;
	int r = -EINVAL;

	if (!parts)
		return -ENOMEM;
	if (curl_url_set(parts, CURLUPART_URL, url, 0) != CURLUE_OK ||
	    curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
		goto out;
	for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
		curl_url_set(parts, hidden[i], NULL, 0);
	r = -ENOMEM;
	if (curl_url_get(parts, CURLUPART_URL, &shown, 0) != CURLUE_OK)
		goto out;
	answer_printable(shown, strlen(shown), buffer, size);
	r = 0;
out:
	curl_free(scheme);
	curl_free(shown);
	curl_url_cleanup(parts);
	return r;
}

int probe_url(struct prober *prober, const char *url, const struct status_range *statuses,
	      size_t n_statuses, uint64_t timeout_ms,
	      void (*on_done)(void *userdata, const struct probe_result *result), void *userdata,
	      struct probe **ret, struct error *err)
{
	struct health_config question = {.kind = HEALTH_KIND_HTTP, .timeout_ms = timeout_ms};
	cleanup(free_probe) struct probe *p = NULL;
	char shown[PROBE_PATH_SHOWN_MAX];
	int r;

	if (n_statuses > CONFIG_STATUSES_MAX)
		return error_text(err, -EINVAL, "probe: more than %d ranges of statuses",
				  CONFIG_STATUSES_MAX);
	for (size_t i = 0; i < n_statuses; i++)
		question.statuses[question.n_statuses++] = statuses[i];
	r = strlen(url) > PROBE_URL_MAX ? -EINVAL : show_url(url, shown, sizeof(shown));
	if (r == -EINVAL)
		return error_text(err, r, "probe: not a URL that begins with http:// or https://");
	p = r < 0 ? NULL : make_probe(prober, &question, userdata);
	if (!p)
		return error_set(err, -ENOMEM, "probe");
	p->url = true;
	p->callbacks.on_done = on_done;
	snprintf(p->what, sizeof(p->what), "GET %s", shown);
	snprintf(p->whom, sizeof(p->whom), "%s: ", p->what);
	r = probe_set_url(p, url);
	if (r < 0)
		return error_set(err, r, "probe");
	enlist(p);
	*ret = TAKE_PTR(p);
	return 0;
}

void probe_cancel(struct probe *probe)
{
	if (!probe || probe->state == PROBE_CANCELLED)
		return;
	if (!probe->calling && !curl_loop_busy(probe->prober->loop)) {
		free_probe(probe);
		return;
	}
	probe->state = PROBE_CANCELLED;
	timer_stop(&probe->timer);
	probe->io = sd_event_source_disable_unref(probe->io);
	probe_release_source(probe);
	probe_kick(probe->prober);
}

bool prober_has(const struct prober *prober, const struct sockaddr *source)
{
	for (const struct probe *p = prober->probes; p; p = p->next)
		if (p->bound && sources_same((const struct sockaddr *)&p->source, source))
			return true;
	return false;
}

/* ---- the prober ----------------------------------------------------------------------------- */

int prober_new(sd_event *event, struct prober **ret, struct error *err)
{
	cleanup(prober_free) struct prober *prober = calloc(1, sizeof(*prober));
	int r;

	if (!prober)
		return error_set(err, -ENOMEM, "probe");
	prober->event = sd_event_ref(event);
	prober->go_on = go_on;
	prober->on_timer = on_timer;
	prober->ca_files = ca_files_new(event, on_read, prober);
	if (!prober->ca_files)
		return error_set(err, -ENOMEM, "probe");
	r = curl_loop_new(event, on_transfer_done, on_transfer_unwatched, prober, &prober->loop);
	if (r >= 0)
		r = sd_event_add_defer(event, &prober->work, on_work, prober);
	if (r >= 0)
		r = sd_event_source_set_enabled(prober->work, SD_EVENT_OFF);
	if (r < 0)
		return error_set(err, r, "probe");
	*ret = TAKE_PTR(prober);
	return 0;
}

void prober_free(struct prober *prober)
{
	if (!prober)
		return;
	while (prober->probes)
		free_probe(prober->probes);
	prober_part_all(prober);
	curl_loop_free(prober->loop);
	ca_files_free(prober->ca_files);
	sd_event_source_disable_unref(prober->work);
	sd_event_unref(prober->event);
	free(prober);
}
