/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The connection of a check is made here, and curl gets it connected: what the host lacks is known
 * as such, and a check that only connects needs no curl at all.
 *
 * curl forbids calls into its multi handle from within its own callbacks, and on_close is called
 * from within those. Therefore everything that changes the set of transfers (reporting, freeing) is
 * done by one deferred source, on_work(); callbacks only mark probes.
 */
#include "orchestrator/health/probe.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/clock.h"
#include "common/duration.h"
#include "common/log.h"
#include "common/timer.h"
#include "orchestrator/health/answer.h"
#include "orchestrator/health/curl_loop.h"
#include "orchestrator/health/sources.h"

#define ASK_INTERVAL_MS 20
#define WORK_BUDGET     256 /* probes handled in one go, before the loop gets its turn again */
#define PATH_SHOWN_MAX  100
#define HEADER_TEXT_MAX 512
#define UNREAD_MAX      (64 * 1024) /* of what a server has sent and nobody has asked for */
#define TELL_EVERY_MS   (60 * 1000)

_Static_assert(ANSWER_BODY_MAX == PROBE_BODY_MAX, "a body is copied as a whole");

enum probe_state {
	PROBE_NEW,        /* to be begun */
	PROBE_CONNECTING, /* .io and .timer say how that ends */
	PROBE_RUNNING,    /* with curl */
	PROBE_ENDED,      /* .refused, or curl is done with it: .code */
	PROBE_ASKING,     /* connected; on_connected is asked until it says yes */
	PROBE_CANCELLED,  /* to be freed */
};

struct prober {
	sd_event *event;
	struct curl_loop *loop;
	sd_event_source *work; /* deferred, enabled when some probe is due */
	struct probe *probes;
	uint64_t told_ms; /* when it was last told that some could not be asked; 0: never */
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
	char refused[PROBE_TEXT_MAX]; /* why curl was not asked, or what it lacked */
	bool unasked;                 /* .refused is the host's trouble, not the server's */
	bool queued;                  /* when its time was over connections waited for accept() */
	struct timer timer;           /* CONNECTING: its time is over; ASKING: ask again */

	int fd;     /* -1: none */
	bool curls; /* .fd is curl's to close */
	bool bound; /* on_close has to be called */
	bool connected;
	bool accepted; /* ASKING: the server has; what it says first may be on its way */
	uint64_t connected_ms;
	sd_event_source *io; /* CONNECTING */
	struct sockaddr_storage source;

	struct answer answer;
};

static void kick(struct prober *prober);

/* ---- the connection ------------------------------------------------------------------------- */

/* Tell the caller that the source is free again, once. */
static void release_source(struct probe *p)
{
	if (!p->bound)
		return;
	p->bound = false;
	p->callbacks.on_close(p->userdata, (const struct sockaddr *)&p->source);
}

/*
 * Close our end so that nothing is left of the connection, neither a TIME_WAIT on either side nor
 * a reset that the server reads. tcp(7), TCP_LINGER2 below 0: as soon as the server's kernel has
 * acknowledged our FIN ours forgets the connection, and answers whatever comes with a reset. By
 * then the server reads an end of file, whatever else comes. What is not read would make a reset of
 * the FIN itself.
 */
static void close_connection(int fd)
{
	char unread[4096];
	int at_once = -1;

	for (int i = 0; i < UNREAD_MAX / (int)sizeof(unread); i++)
		if (recv(fd, unread, sizeof(unread), MSG_DONTWAIT) <= 0)
			break;
	setsockopt(fd, IPPROTO_TCP, TCP_LINGER2, &at_once, sizeof(at_once));
	close(fd);
}

/* The connection may outlive its probe in curl's hands: so the probe is looked up, not passed. */
static int on_curl_close(void *userdata, curl_socket_t fd)
{
	struct prober *prober = userdata;

	close_connection(fd);
	for (struct probe *p = prober->probes; p; p = p->next) {
		if (p->fd != fd)
			continue;
		p->fd = -1;
		release_source(p);
		break;
	}
	return 0;
}

static curl_socket_t on_curl_open(void *userdata, curlsocktype purpose,
				  struct curl_sockaddr *address)
{
	struct probe *p = userdata;

	if (purpose != CURLSOCKTYPE_IPCXN || p->state == PROBE_CANCELLED)
		return CURL_SOCKET_BAD;
	/* One for each address of the name that curl tries. */
	if (p->url)
		return socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
			      address->protocol);
	/* A second connection would be one that nobody has pinned. */
	if (p->curls)
		return CURL_SOCKET_BAD;
	p->curls = true;
	return p->fd;
}

static int on_curl_opened(void *userdata, curl_socket_t fd, curlsocktype purpose)
{
	const struct probe *p = userdata;

	(void)fd;
	(void)purpose;
	return p->url ? CURL_SOCKOPT_OK : CURL_SOCKOPT_ALREADY_CONNECTED;
}

/* Does this host lack what asking needs? Such an error says nothing about the server. */
static bool is_own_trouble(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS ||
	       error == ENOSPC;
}

/* It ends here, without an answer. */
static void __attribute__((format(printf, 3, 4)))
refuse(struct probe *p, bool unasked, const char *format, ...)
{
	size_t n = unasked ? (size_t)snprintf(p->refused, sizeof(p->refused), "not asked: ") : 0;
	va_list ap;

	va_start(ap, format);
	vsnprintf(p->refused + n, sizeof(p->refused) - n, format, ap);
	va_end(ap);
	p->unasked = unasked;
	p->state = PROBE_ENDED;
	kick(p->prober);
}

static void refuse_step(struct probe *p, const char *step, int error)
{
	refuse(p, is_own_trouble(error), "%s%s: %s", p->whom, step, strerror(error));
}

/* All ports of the range are taken, or those that are left have just been used for this address. */
static void refuse_ports(struct probe *p, const char *step)
{
	refuse(p, true,
	       "%s%s: this host has no local port left (net.ipv4.ip_local_port_range says how "
	       "many it has)",
	       p->whom, step);
}

/* A socket bound to the target's own address and any port; negative: the probe has been refused. */
static int bind_source(struct probe *p)
{
	cleanup_close int fd = -1;
	struct address local = p->target;
	socklen_t length = sizeof(p->source);

	fd = socket(local.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		refuse_step(p, "socket", errno);
		return -1;
	}
	if (local.sa.sa_family == AF_INET6)
		local.in6.sin6_port = 0;
	else
		local.in.sin_port = 0;
	if (bind(fd, &local.sa, local.length) < 0) {
		if (errno == EADDRINUSE) /* ip(7): of port 0 */
			refuse_ports(p, "bind");
		else
			refuse_step(p, "bind", errno);
		return -1;
	}
	if (getsockname(fd, (struct sockaddr *)&p->source, &length) < 0) {
		refuse_step(p, "getsockname", errno);
		return -1;
	}
	p->fd = TAKE_FD(fd);
	return 0;
}

/* False: the probe has been refused or cancelled. */
static bool pin_source(struct probe *p)
{
	int r;

	p->calling = true;
	r = p->callbacks.on_bind(p->userdata, (const struct sockaddr *)&p->source);
	p->calling = false;
	if (p->state == PROBE_CANCELLED)
		return false;
	if (r < 0) {
		refuse(p, true, "pin the probe's source: %s", strerror(-r));
		return false;
	}
	p->bound = true;
	return true;
}

static int on_connect_io(sd_event_source *source, int fd, uint32_t revents, void *userdata);
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static void refuse_connect(struct probe *p, int error)
{
	/* connect(2): no port is left for this pair of addresses. */
	if (error == EADDRNOTAVAIL || error == EAGAIN)
		refuse_ports(p, "connect");
	else
		refuse_step(p, "connect", error);
}

static void connect_target(struct probe *p)
{
	int r;

	if (bind_source(p) < 0 || !pin_source(p))
		return;
	if (connect(p->fd, &p->target.sa, p->target.length) < 0 && errno != EINPROGRESS) {
		refuse_connect(p, errno);
		return;
	}
	r = sd_event_add_io(p->prober->event, &p->io, p->fd, EPOLLOUT, on_connect_io, p);
	if (r < 0) {
		refuse(p, true, "watch the connection: %s", strerror(-r));
		return;
	}
	p->state = PROBE_CONNECTING;
	timer_set(&p->timer, p->prober->event, p->started_ms + p->health.timeout_ms, on_timer, p);
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
	if (p->easy) {
		curl_easy_getinfo(p->easy, CURLINFO_NAMELOOKUP_TIME_T, &looked_up);
		curl_easy_getinfo(p->easy, CURLINFO_CONNECT_TIME_T, &connected);
		curl_easy_getinfo(p->easy, CURLINFO_STARTTRANSFER_TIME_T, &first_byte);
	}
	if (!p->connected && connected == 0)
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
		result->unasked = p->unasked;
	} else if (p->code == CURLE_OPERATION_TIMEDOUT) {
		describe_timeout(p, result);
	} else if (p->code == CURLE_COULDNT_CONNECT) {
		result->unasked = is_own_trouble((int)os_errno) || os_errno == EADDRNOTAVAIL;
		snprintf(result->text, sizeof(result->text), "%s%sconnect: %.140s",
			 result->unasked ? "not asked: " : "", p->whom, why);
	} else if (p->code == CURLE_OUT_OF_MEMORY) {
		result->unasked = true;
		snprintf(result->text, sizeof(result->text), "not asked: %s: %s", p->what,
			 strerror(ENOMEM));
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
	timer_done(&p->timer);
	p->io = sd_event_source_disable_unref(p->io);
	if (p->easy)
		curl_loop_cleanup(p->prober->loop, TAKE_PTR(p->easy));
	if (p->fd >= 0 && !p->curls)
		close_connection(TAKE_FD(p->fd));
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
	memcpy(result->body, p->answer.body, sizeof(result->body));
	p->calling = true;
	disconnect(p);
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

static void describe_accepted(struct probe *p, int r, struct probe_result *result)
{
	char limit[DURATION_TEXT_MAX];

	result->ok = r > 0;
	if (r > 0)
		snprintf(result->text, sizeof(result->text), "connected and accepted");
	else if (r == 0)
		snprintf(result->text, sizeof(result->text),
			 "%sconnected, but nothing accepted the connection within %s", p->whom,
			 duration_format(p->health.timeout_ms, limit));
	else if (r == -ENOENT)
		snprintf(result->text, sizeof(result->text),
			 "%sconnected, but the listening socket is gone", p->whom);
	else
		snprintf(result->text, sizeof(result->text),
			 "%sconnected, but whether it was accepted cannot be told: %s", p->whom,
			 strerror(-r));
	result->unasked = r < 0 && r != -ENOENT;
}

/*
 * Once the server has accepted the connection it may want to say something first. That is let in
 * before the close, which would be a reset otherwise.
 */
static void ask(struct probe *p)
{
	uint64_t now_ms = clock_monotonic_ms(), at_ms = now_ms + ASK_INTERVAL_MS;
	uint64_t deadline_ms = p->started_ms + p->health.timeout_ms;
	uint64_t spoken_ms = p->connected_ms + ASK_INTERVAL_MS;
	struct probe_result result = {0};
	int r = p->accepted ? 1 : ask_caller(p);

	if (p->state == PROBE_CANCELLED) {
		free_probe(p);
		return;
	}
	p->accepted = r > 0;
	if (p->accepted && now_ms < spoken_ms)
		at_ms = spoken_ms;
	else if (at_ms > deadline_ms)
		at_ms = deadline_ms;
	if ((p->accepted && now_ms < spoken_ms) || (r == 0 && now_ms < deadline_ms)) {
		timer_set(&p->timer, p->prober->event, at_ms, on_timer, p);
		if (timer_is_set(&p->timer))
			return;
		r = p->accepted ? r : -ENOMEM;
	}
	describe_accepted(p, r, &result);
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
		kick(p->prober);
	}
	return 0;
}

static void give_to_curl(struct probe *p)
{
	CURLMcode code = curl_loop_add(p->prober->loop, p->easy);

	p->state = PROBE_RUNNING;
	if (code != CURLM_OK)
		refuse(p, true, "curl: %s", curl_multi_strerror(code));
}

/* The time that connecting took is part of it. */
static void limit_transfer(struct probe *p)
{
	uint64_t passed_ms = clock_monotonic_ms() - p->started_ms;
	uint64_t left_ms = p->health.timeout_ms > passed_ms ? p->health.timeout_ms - passed_ms : 1;

	curl_easy_setopt(p->easy, CURLOPT_TIMEOUT_MS,
			 (long)(left_ms < INT_MAX ? left_ms : INT_MAX));
}

static int on_connect_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct probe *p = userdata;
	int error = 0;
	socklen_t length = sizeof(error);

	(void)source;
	(void)revents;
	p->io = sd_event_source_disable_unref(p->io);
	timer_stop(&p->timer);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		error = errno;
	if (error) {
		refuse_connect(p, error);
		return 0;
	}
	p->connected = true;
	p->connected_ms = clock_monotonic_ms();
	if (p->health.kind == HEALTH_KIND_CONNECT) {
		p->state = PROBE_ASKING;
		ask(p);
	} else {
		limit_transfer(p);
		give_to_curl(p);
	}
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
	if (p->connected)
		p->queued = ask_caller(p) == 0;
}

static void conclude(struct probe *p)
{
	struct probe_result result = {0};
	bool whole = p->code == CURLE_OK || p->answer.received > PROBE_ANSWER_MAX;

	look_at_queue(p);
	if (p->state == PROBE_CANCELLED) {
		free_probe(p);
		return;
	}
	if (!p->refused[0] && whole && p->answer.status)
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

/* ... and so is this: it would end by its timeout only, and blame the server. */
static void on_transfer_unwatched(void *userdata, CURL *easy, int error)
{
	struct probe *p = NULL;

	(void)userdata;
	if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &p) == CURLE_OK && p &&
	    p->state == PROBE_RUNNING)
		refuse(p, true, "watch the connection: %s", strerror(error));
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
		if (p->state == PROBE_NEW && p->url)
			give_to_curl(p);
		else if (p->state == PROBE_NEW)
			connect_target(p);
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
	char host[HEADER_TEXT_MAX];

	if (!health->host)
		return 0;
	snprintf(host, sizeof(host), "Host: %s", health->host);
	p->headers = curl_slist_append(NULL, host);
	return p->headers ? 0 : -ENOMEM;
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
	SET(CURLOPT_SOCKOPTFUNCTION, on_curl_opened);
	SET(CURLOPT_SOCKOPTDATA, p);
	SET(CURLOPT_CLOSESOCKETFUNCTION, on_curl_close);
	SET(CURLOPT_CLOSESOCKETDATA, p->prober);
	SET(CURLOPT_ERRORBUFFER, p->curl_error);
	SET(CURLOPT_PRIVATE, p);
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
	r = p->easy ? set_connection(p, url) : 0;
	if (r >= 0 && p->easy)
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
	timer_stop(&probe->timer);
	probe->io = sd_event_source_disable_unref(probe->io);
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
	curl_loop_free(prober->loop);
	sd_event_source_disable_unref(prober->work);
	sd_event_unref(prober->event);
	free(prober);
}
