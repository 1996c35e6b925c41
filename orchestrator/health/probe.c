/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * curl forbids calls into its multi handle from within its own callbacks, and on_bind and on_close
 * are called from within those. Therefore everything that changes the set of transfers (adding,
 * reporting, freeing) is done by one deferred source, on_work(); callbacks only mark probes.
 */
#include "orchestrator/health/probe.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/duration.h"
#include "common/log.h"
#include "orchestrator/health/answer.h"
#include "orchestrator/health/curl_loop.h"
#include "orchestrator/health/sources.h"

#define ASK_INTERVAL_MS 20
#define WORK_BUDGET     256 /* probes handled in one go, before the loop gets its turn again */
#define PATH_SHOWN_MAX  100
#define HEADER_TEXT_MAX 512

_Static_assert(ANSWER_BODY_MAX == PROBE_BODY_MAX, "a body is copied as a whole");

enum probe_state {
	PROBE_NEW,       /* to be given to curl */
	PROBE_RUNNING,   /* with curl */
	PROBE_ENDED,     /* curl is done with it: .code */
	PROBE_ASKING,    /* connected; on_connected is asked until it says yes */
	PROBE_CANCELLED, /* to be freed */
};

struct prober {
	sd_event *event;
	struct curl_loop *loop;
	sd_event_source *work; /* deferred, enabled when some probe is due */
	struct probe *probes;
};

struct probe {
	struct prober *prober;
	struct probe *next, *previous;
	enum probe_state state;
	bool calling; /* in one of its callbacks: must not be freed by them */

	struct probe_callbacks callbacks;
	void *userdata;
	struct health_config health; /* without its texts */
	bool url;                    /* of probe_url(): no source is bound, no .target */
	struct address target;
	char what[PATH_SHOWN_MAX + 8];     /* "GET /healthz" */
	char whom[PATH_SHOWN_MAX + 8 + 2]; /* "GET http://a/b: ", "127.0.0.1:80: "; "" */
	uint64_t started_ms;

	CURL *easy;
	struct curl_slist *headers;
	char curl_error[CURL_ERROR_SIZE];
	CURLcode code;
	char refused[PROBE_TEXT_MAX]; /* why no socket was given to curl */
	bool queued;                  /* when its time was over connections waited for accept() */
	sd_event_source *ask_timer;

	int fd; /* curl's to close; -1: none */
	bool bound;
	struct sockaddr_storage source;

	struct answer answer;
};

/* ---- the source address --------------------------------------------------------------------- */

/* Tell the caller that the source is free again, once. */
static void release_source(struct probe *p)
{
	if (!p->bound)
		return;
	p->bound = false;
	p->callbacks.on_close(p->userdata, (const struct sockaddr *)&p->source);
}

/* Make a socket bound to the target's own address and any port. Negative with .refused filled. */
static int bind_source(struct probe *p, const struct curl_sockaddr *address, int *ret_fd)
{
	cleanup_close int fd = -1;
	struct address local = p->target;
	socklen_t length = sizeof(p->source);
	const char *step = "socket";

	fd = socket(address->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		goto failed;
	if (local.sa.sa_family == AF_INET6)
		local.in6.sin6_port = 0;
	else
		local.in.sin_port = 0;
	step = "bind";
	if (bind(fd, &local.sa, local.length) < 0)
		goto failed;
	step = "getsockname";
	if (getsockname(fd, (struct sockaddr *)&p->source, &length) < 0)
		goto failed;
	*ret_fd = TAKE_FD(fd);
	return 0;
failed:
	snprintf(p->refused, sizeof(p->refused), "%s: %s", step, strerror(errno));
	return -1;
}

static curl_socket_t on_curl_open(void *userdata, curlsocktype purpose,
				  struct curl_sockaddr *address)
{
	struct probe *p = userdata;
	cleanup_close int fd = -1;
	int r;

	if (purpose != CURLSOCKTYPE_IPCXN || p->state == PROBE_CANCELLED)
		return CURL_SOCKET_BAD;
	/* One for each address of the name that curl tries. */
	if (p->url)
		return socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
			      address->protocol);
	/* A second connection would be one that nobody has pinned. */
	if (p->bound)
		return CURL_SOCKET_BAD;
	if (bind_source(p, address, &fd) < 0)
		return CURL_SOCKET_BAD;
	p->calling = true;
	r = p->callbacks.on_bind(p->userdata, (const struct sockaddr *)&p->source);
	p->calling = false;
	if (p->state == PROBE_CANCELLED)
		return CURL_SOCKET_BAD;
	if (r < 0) {
		snprintf(p->refused, sizeof(p->refused), "pin the probe's source: %s",
			 strerror(-r));
		return CURL_SOCKET_BAD;
	}
	p->bound = true;
	p->fd = fd;
	return TAKE_FD(fd);
}

/* The connection may outlive its probe in curl's hands: so the probe is looked up, not passed. */
static int on_curl_close(void *userdata, curl_socket_t fd)
{
	struct prober *prober = userdata;

	close(fd);
	for (struct probe *p = prober->probes; p; p = p->next) {
		if (p->fd != fd)
			continue;
		p->fd = -1;
		release_source(p);
		break;
	}
	return 0;
}

/* ---- the answer ----------------------------------------------------------------------------- */

static size_t on_curl_header(char *data, size_t size, size_t n, void *userdata)
{
	struct probe *p = userdata;

	answer_header(&p->answer, data, size * n);
	return size * n;
}

static size_t on_curl_body(char *data, size_t size, size_t n, void *userdata)
{
	struct probe *p = userdata;

	answer_body(&p->answer, data, size * n);
	/* Another number than was given ends the transfer with CURLE_WRITE_ERROR. */
	return p->answer.received > PROBE_ANSWER_MAX ? 0 : size * n;
}

/* No answer, or not the whole of it, in time. */
static void describe_timeout(struct probe *p, struct probe_result *result)
{
	char limit[DURATION_TEXT_MAX], status[ANSWER_REASON_MAX + 8];
	curl_off_t looked_up = 0, connected = 0, first_byte = 0;

	duration_format(p->health.timeout_ms, limit);
	curl_easy_getinfo(p->easy, CURLINFO_NAMELOOKUP_TIME_T, &looked_up);
	curl_easy_getinfo(p->easy, CURLINFO_CONNECT_TIME_T, &connected);
	curl_easy_getinfo(p->easy, CURLINFO_STARTTRANSFER_TIME_T, &first_byte);
	if (connected == 0)
		snprintf(result->text, sizeof(result->text), "%s%s: no answer within %s", p->whom,
			 p->url && looked_up == 0 ? "look up the name" : "connect", limit);
	else if (p->answer.status)
		snprintf(result->text, sizeof(result->text),
			 "%s: %s, but its end did not come within %s", p->what,
			 answer_status_text(&p->answer, status, sizeof(status)), limit);
	else
		snprintf(result->text, sizeof(result->text),
			 "%s: no answer within %s (connected, %s%s)", p->what, limit,
			 first_byte ? "an answer began" : "nothing received",
			 p->queued ? "; connections wait to be accepted" : "");
}

static void describe_failure(struct probe *p, struct probe_result *result)
{
	char status[ANSWER_REASON_MAX + 8];
	const char *why = p->curl_error[0] ? p->curl_error : curl_easy_strerror(p->code);
	long os_errno = 0;

	/* It stays from an address that did not answer, when another one does. */
	if (p->code == CURLE_COULDNT_CONNECT || p->code == CURLE_RECV_ERROR ||
	    p->code == CURLE_SEND_ERROR)
		curl_easy_getinfo(p->easy, CURLINFO_OS_ERRNO, &os_errno);
	if (os_errno)
		why = strerror((int)os_errno);
	else if (p->code == CURLE_PARTIAL_FILE)
		why = "the connection was closed";
	if (p->refused[0]) {
		memcpy(result->text, p->refused, sizeof(result->text));
	} else if (p->code == CURLE_OPERATION_TIMEDOUT) {
		describe_timeout(p, result);
	} else if (p->code == CURLE_COULDNT_CONNECT) {
		snprintf(result->text, sizeof(result->text), "%sconnect: %.140s", p->whom, why);
	} else if (p->answer.status) {
		snprintf(result->text, sizeof(result->text),
			 "%s: %s, but its end did not come: %.40s", p->what,
			 answer_status_text(&p->answer, status, sizeof(status)), why);
	} else if (p->code == CURLE_GOT_NOTHING) {
		snprintf(result->text, sizeof(result->text),
			 "%s: the connection was closed without an answer", p->what);
	} else if (p->code == CURLE_UNSUPPORTED_PROTOCOL || p->code == CURLE_WEIRD_SERVER_REPLY) {
		snprintf(result->text, sizeof(result->text), "%s: the answer is not HTTP/1",
			 p->what);
	} else {
		snprintf(result->text, sizeof(result->text), "%s: %.140s", p->what, why);
	}
}

static void describe_status(struct probe *p, struct probe_result *result)
{
	char status[ANSWER_REASON_MAX + 8], accepted[CONFIG_STATUSES_MAX * 9 + 1];

	answer_status_text(&p->answer, status, sizeof(status));
	result->ok = answer_accepted(&p->answer, &p->health);
	if (result->ok)
		snprintf(result->text, sizeof(result->text), "%s: %s", p->what, status);
	else
		snprintf(result->text, sizeof(result->text), "%s: %s is not in %s", p->what, status,
			 answer_accepted_text(&p->health, accepted, sizeof(accepted)));
}

/* ---- the end of a probe --------------------------------------------------------------------- */

/* Close its connection and give curl's part of it back. */
static void disconnect(struct probe *p)
{
	p->ask_timer = sd_event_source_disable_unref(p->ask_timer);
	if (p->easy)
		curl_loop_cleanup(p->prober->loop, TAKE_PTR(p->easy));
	release_source(p);
}

static void free_probe(struct probe *p)
{
	if (!p)
		return;
	disconnect(p);
	if (p->previous)
		p->previous->next = p->next;
	else if (p->prober->probes == p)
		p->prober->probes = p->next;
	if (p->next)
		p->next->previous = p->previous;
	curl_slist_free_all(p->headers);
	free(p);
}
DEFINE_CLEANUP(struct probe *, free_probe);

static void report(struct probe *p, struct probe_result *result)
{
	result->took_ms = clock_monotonic_ms() - p->started_ms;
	result->status = p->answer.status;
	memcpy(result->body, p->answer.body, sizeof(result->body));
	p->calling = true;
	disconnect(p);
	/* on_close may have cancelled it. */
	if (p->state != PROBE_CANCELLED)
		p->callbacks.on_done(p->userdata, result);
	free_probe(p);
}

static int on_ask_timer(sd_event_source *source, uint64_t usec, void *userdata);

static int arm_ask_timer(struct probe *p, uint64_t at_ms)
{
	int r;

	if (!p->ask_timer)
		return sd_event_add_time(p->prober->event, &p->ask_timer, CLOCK_MONOTONIC,
					 at_ms * 1000, 1000, on_ask_timer, p);
	r = sd_event_source_set_time(p->ask_timer, at_ms * 1000);
	return r < 0 ? r : sd_event_source_set_enabled(p->ask_timer, SD_EVENT_ONESHOT);
}

/* Connected: has the server accepted it? */
static void ask(struct probe *p)
{
	uint64_t now_ms, deadline_ms = p->started_ms + p->health.timeout_ms;
	struct probe_result result = {0};
	char limit[DURATION_TEXT_MAX];
	int r;

	p->calling = true;
	r = p->callbacks.on_connected(p->userdata);
	p->calling = false;
	if (p->state == PROBE_CANCELLED) {
		free_probe(p);
		return;
	}
	now_ms = clock_monotonic_ms();
	if (r == 0 && now_ms < deadline_ms) {
		uint64_t at_ms = now_ms + ASK_INTERVAL_MS;

		r = arm_ask_timer(p, at_ms < deadline_ms ? at_ms : deadline_ms);
		if (r >= 0)
			return;
	}
	result.ok = r > 0;
	if (r > 0)
		snprintf(result.text, sizeof(result.text), "connected and accepted");
	else if (r == 0)
		snprintf(result.text, sizeof(result.text),
			 "%sconnected, but nothing accepted the connection within %s", p->whom,
			 duration_format(p->health.timeout_ms, limit));
	else if (r == -ENOENT)
		snprintf(result.text, sizeof(result.text),
			 "%sconnected, but the listening socket is gone", p->whom);
	else
		snprintf(result.text, sizeof(result.text),
			 "%sconnected, but whether it was accepted cannot be told: %s", p->whom,
			 strerror(-r));
	report(p, &result);
}

static int on_ask_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	ask(userdata);
	return 0;
}

/*
 * No answer in time: does the server accept at all? What it has not accepted stays in its queue,
 * also after curl has closed it.
 */
static void look_at_queue(struct probe *p)
{
	if (p->code != CURLE_OPERATION_TIMEDOUT || p->answer.status || !p->callbacks.on_connected)
		return;
	p->calling = true;
	p->queued = p->callbacks.on_connected(p->userdata) == 0;
	p->calling = false;
}

/* curl is done with it. */
static void conclude(struct probe *p)
{
	struct probe_result result = {0};
	bool whole = p->code == CURLE_OK || p->answer.received > PROBE_ANSWER_MAX;

	look_at_queue(p);
	if (p->state == PROBE_CANCELLED) {
		free_probe(p);
		return;
	}
	if (p->health.kind == HEALTH_KIND_CONNECT && p->code == CURLE_OK) {
		p->state = PROBE_ASKING;
		ask(p);
		return;
	}
	if (whole && p->answer.status)
		describe_status(p, &result);
	else
		describe_failure(p, &result);
	report(p, &result);
}

/* ---- work ----------------------------------------------------------------------------------- */

static void kick(struct prober *prober)
{
	int r = sd_event_source_set_enabled(prober->work, SD_EVENT_ONESHOT);

	if (r < 0)
		log_error("probe: cannot defer: %s", strerror(-r));
}

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
	kick(prober);
}

static void begin(struct probe *p)
{
	CURLMcode code = curl_loop_add(p->prober->loop, p->easy);

	p->state = PROBE_RUNNING;
	if (code == CURLM_OK)
		return;
	snprintf(p->refused, sizeof(p->refused), "curl: %s", curl_multi_strerror(code));
	p->code = CURLE_FAILED_INIT;
	p->state = PROBE_ENDED;
}

static struct probe *next_due(struct prober *prober)
{
	for (struct probe *p = prober->probes; p; p = p->next) {
		if (p->state == PROBE_NEW || p->state == PROBE_ENDED || p->state == PROBE_CANCELLED)
			return p;
	}
	return NULL;
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
		kick(prober);
	return 0;
}

/* ---- starting and cancelling ---------------------------------------------------------------- */

static int make_headers(struct probe *p, const struct health_config *health)
{
	struct curl_slist *headers = curl_slist_append(NULL, "Connection: close");
	char host[HEADER_TEXT_MAX];

	if (!headers)
		return -ENOMEM;
	p->headers = headers;
	if (!health->host)
		return 0;
	snprintf(host, sizeof(host), "Host: %s", health->host);
	return curl_slist_append(headers, host) ? 0 : -ENOMEM;
}

#define SET(option, value)                                                                         \
	do {                                                                                       \
		if (curl_easy_setopt(p->easy, option, value) != CURLE_OK)                          \
			return -ENOMEM;                                                            \
	} while (0)

static int set_connection(struct probe *p, const char *url)
{
	uint64_t timeout_ms = p->health.timeout_ms;

	SET(CURLOPT_URL, url);
	SET(CURLOPT_PROTOCOLS_STR, p->url ? "http,https" : "http");
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_FRESH_CONNECT, 1L);
	SET(CURLOPT_FORBID_REUSE, 1L);
	SET(CURLOPT_TIMEOUT_MS, (long)(timeout_ms < INT_MAX ? timeout_ms : INT_MAX));
	SET(CURLOPT_OPENSOCKETFUNCTION, on_curl_open);
	SET(CURLOPT_OPENSOCKETDATA, p);
	SET(CURLOPT_CLOSESOCKETFUNCTION, on_curl_close);
	SET(CURLOPT_CLOSESOCKETDATA, p->prober);
	SET(CURLOPT_ERRORBUFFER, p->curl_error);
	SET(CURLOPT_PRIVATE, p);
	if (p->health.kind == HEALTH_KIND_CONNECT)
		SET(CURLOPT_CONNECT_ONLY, 1L);
	return 0;
}

static int set_request(struct probe *p, const struct health_config *health)
{
	int r = make_headers(p, health);

	if (r < 0)
		return r;
	if (health->path) /* as written: "//", "..", "?" and all */
		SET(CURLOPT_REQUEST_TARGET, health->path);
	SET(CURLOPT_HTTPHEADER, p->headers);
	SET(CURLOPT_USERAGENT, "baton/" BATON_VERSION);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_HEADERFUNCTION, on_curl_header);
	SET(CURLOPT_HEADERDATA, p);
	SET(CURLOPT_WRITEFUNCTION, on_curl_body);
	SET(CURLOPT_WRITEDATA, p);
	return 0;
}

/* Nothing that could end a line of the request early, or be cut off it. */
static bool fits_in_header(const char *text)
{
	size_t length = strlen(text);

	for (size_t i = 0; i < length; i++) {
		if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f)
			return false;
	}
	return length > 0 && length < HEADER_TEXT_MAX - 8;
}

static int check_question(const struct health_config *health, struct error *err)
{
	if (health->kind == HEALTH_KIND_CONNECT)
		return 0;
	if (health->kind != HEALTH_KIND_HTTP)
		return error_text(err, -EINVAL, "probe: this kind of check asks no question");
	if (!health->path || health->path[0] != '/' || !fits_in_header(health->path))
		return error_text(err, -EINVAL,
				  "probe: the path must begin with \"/\", and have no blanks");
	if (health->host && !fits_in_header(health->host))
		return error_text(err, -EINVAL,
				  "probe: the host must not be empty, nor have blanks");
	return 0;
}

static void name_question(struct probe *p, const struct health_config *health)
{
	char path[PATH_SHOWN_MAX];

	if (health->kind != HEALTH_KIND_HTTP) {
		/* Each address of a service may be asked so. */
		snprintf(p->whom, sizeof(p->whom), "%s: ", p->target.text);
		return;
	}
	answer_printable(health->path, strlen(health->path), path, sizeof(path));
	snprintf(p->what, sizeof(p->what), "GET %s", path);
}

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
	p->health.path = p->health.host = NULL;
	if (p->health.timeout_ms == 0)
		p->health.timeout_ms = 1; /* to curl, 0 would be "no limit" */
	p->fd = -1;
	p->started_ms = clock_monotonic_ms();
	p->easy = curl_easy_init();
	if (!p->easy)
		free(TAKE_PTR(p));
	return p;
}

static void enlist(struct probe *p)
{
	p->next = p->prober->probes;
	if (p->next)
		p->next->previous = p;
	p->prober->probes = p;
	kick(p->prober);
}

int probe_start(struct prober *prober, const struct health_config *health,
		const struct address *address, const struct probe_callbacks *callbacks,
		void *userdata, struct probe **ret, struct error *err)
{
	cleanup(free_probe) struct probe *p = NULL;
	char url[ADDRESS_TEXT_MAX + 16];
	int r = check_question(health, err);

	if (r < 0)
		return r;
	assert(callbacks->on_bind && callbacks->on_close && callbacks->on_done);
	assert(health->kind != HEALTH_KIND_CONNECT || callbacks->on_connected);
	p = make_probe(prober, health, userdata);
	if (!p)
		return error_set(err, -ENOMEM, "probe");
	p->callbacks = *callbacks;
	address_local(address, &p->target);
	name_question(p, health);
	snprintf(url, sizeof(url), "http://%s/", p->target.text);
	r = set_connection(p, url);
	if (r >= 0 && health->kind == HEALTH_KIND_HTTP)
		r = set_request(p, health);
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

static int set_url(struct probe *p, const char *url)
{
	int r = set_connection(p, url);

	if (r < 0)
		return r;
	/* Or the end of a probe would wait for the resolver's thread. */
	SET(CURLOPT_QUICK_EXIT, 1L);
	return set_request(p, &p->health);
}

int probe_url(struct prober *prober, const char *url, const struct status_range *statuses,
	      size_t n_statuses, uint64_t timeout_ms,
	      void (*on_done)(void *userdata, const struct probe_result *result), void *userdata,
	      struct probe **ret, struct error *err)
{
	struct health_config question = {.kind = HEALTH_KIND_HTTP, .timeout_ms = timeout_ms};
	cleanup(free_probe) struct probe *p = NULL;
	char shown[PATH_SHOWN_MAX];
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
	r = set_url(p, url);
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
	probe->ask_timer = sd_event_source_disable_unref(probe->ask_timer);
	release_source(probe);
	kick(probe->prober);
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
	r = curl_loop_new(event, on_transfer_done, prober, &prober->loop);
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
	curl_loop_free(prober->loop);
	sd_event_source_disable_unref(prober->work);
	sd_event_unref(prober->event);
	free(prober);
}
