/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "orchestrator/health/ca_files.h"
#include "orchestrator/health/probe_internal.h"

#define SET(option, value)                                                                         \
	do {                                                                                       \
		if (curl_easy_setopt(p->easy, option, value) != CURLE_OK)                          \
			return -ENOMEM;                                                            \
	} while (0)

/* ---- may it be asked? ----------------------------------------------------------------------- */

/* Nothing that could end a line of the request early, or be cut off it. */
static bool fits_in_header(const char *text)
{
	size_t length = strlen(text);

	for (size_t i = 0; i < length; i++) {
		if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f)
			return false;
	}
	return length > 0 && length < PROBE_HEADER_MAX - 8;
}

int probe_check_question(const struct health_config *health, struct error *err)
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

/* ---- what comes of it ----------------------------------------------------------------------- */

static size_t on_header(char *data, size_t size, size_t n, void *userdata)
{
	struct probe *p = userdata;

	answer_header(&p->answer, data, size * n);
	return size * n;
}

/* The first bytes of what is no HTTP/1 at all, which curl passes on as a body (HTTP/0.9). */
static void take_first(struct probe *p, const char *data, size_t length)
{
	p->first_length = length < sizeof(p->first) ? length : sizeof(p->first);
	memcpy(p->first, data, p->first_length);
}

static void keep_body(struct probe *p, const char *data, size_t length)
{
	size_t room = PROBE_BODY_LOOKED_MAX - p->body_length;

	length = length < room ? length : room;
	memcpy(p->body + p->body_length, data, length);
	p->body_length += length;
	p->body[p->body_length] = 0;
}

/* Another number than was given ends the transfer with CURLE_WRITE_ERROR. */
static size_t on_body(char *data, size_t size, size_t n, void *userdata)
{
	struct probe *p = userdata;

	if (!p->answer.status) {
		take_first(p, data, size * n);
		return 0;
	}
	answer_body(&p->answer, data, size * n);
	if (p->body)
		keep_body(p, data, size * n);
	return p->answer.received > PROBE_ANSWER_MAX ? 0 : size * n;
}

/* Of TLS: the head of the first record (RFC 8446, 5.1), or whatever came in its place. */
static int on_debug(CURL *easy, curl_infotype type, char *data, size_t size, void *userdata)
{
	struct probe *p = userdata;

	(void)easy;
	if (type == CURLINFO_SSL_DATA_IN && !p->first_length)
		take_first(p, data, size);
	return 0;
}

/* ---- as options of curl --------------------------------------------------------------------- */

static int set_connection(struct probe *p, const char *url)
{
	uint64_t timeout_ms = p->health.timeout_ms;

	SET(CURLOPT_URL, url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_FRESH_CONNECT, 1L);
	SET(CURLOPT_FORBID_REUSE, 1L);
	SET(CURLOPT_TIMEOUT_MS, (long)(timeout_ms < INT_MAX ? timeout_ms : INT_MAX));
	SET(CURLOPT_OPENSOCKETFUNCTION, probe_on_curl_open);
	SET(CURLOPT_OPENSOCKETDATA, p);
	SET(CURLOPT_SOCKOPTFUNCTION, probe_on_curl_opened);
	SET(CURLOPT_SOCKOPTDATA, p);
	SET(CURLOPT_CLOSESOCKETFUNCTION, probe_on_curl_close);
	SET(CURLOPT_CLOSESOCKETDATA, p->prober);
	SET(CURLOPT_ERRORBUFFER, p->curl_error);
	SET(CURLOPT_VERBOSE, 1L); /* or on_debug() would not be called */
	SET(CURLOPT_DEBUGFUNCTION, on_debug);
	SET(CURLOPT_DEBUGDATA, p);
	SET(CURLOPT_PRIVATE, p);
	return 0;
}

static int set_answer(struct probe *p)
{
	SET(CURLOPT_USERAGENT, "baton/" BATON_VERSION);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_HTTP09_ALLOWED, 1L);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, p);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, p);
	return 0;
}

static int set_version(struct probe *p, const struct health_config *health)
{
	SET(CURLOPT_HTTP_VERSION, !health->http2 ? (long)CURL_HTTP_VERSION_1_1
				  : health->tls  ? (long)CURL_HTTP_VERSION_2TLS
						 : (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
	return 0;
}

static int add_header(struct probe *p, const char *line)
{
	struct curl_slist *headers = curl_slist_append(p->headers, line);

	if (!headers)
		return -ENOMEM;
	p->headers = headers;
	return 0;
}

static int set_headers(struct probe *p, const struct health_config *health)
{
	char host[PROBE_HEADER_MAX];
	int r = 0;

	if (health->host) {
		snprintf(host, sizeof(host), "Host: %s", health->host);
		r = add_header(p, host);
	}
	for (char **line = health->headers; r == 0 && line && *line; line++)
		r = add_header(p, *line);
	if (r == 0)
		SET(CURLOPT_HTTPHEADER, p->headers);
	return r;
}

/* None has a body. */
static int set_method(struct probe *p, const char *method)
{
	if (!method || strcmp(method, "GET") == 0)
		return 0;
	if (strcmp(method, "HEAD") == 0) {
		SET(CURLOPT_NOBODY, 1L);
		return 0;
	}
	/* Some servers want a length with these (RFC 9110, 8.6). */
	if (strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
	    strcmp(method, "PATCH") == 0) {
		SET(CURLOPT_POSTFIELDS, "");
		SET(CURLOPT_POSTFIELDSIZE, 0L);
	}
	SET(CURLOPT_CUSTOMREQUEST, method);
	return 0;
}

static int set_grpc(struct probe *p, const char *service)
{
	char request[GRPC_REQUEST_MAX];
	int r;

	if (!service)
		return 0;
	r = add_header(p, "Content-Type: application/grpc");
	if (r == 0)
		r = add_header(p, "TE: trailers");
	if (r < 0)
		return r;
	SET(CURLOPT_POSTFIELDSIZE, (long)grpc_encode(service, request));
	SET(CURLOPT_COPYPOSTFIELDS, request);
	p->grpc = true;
	p->body = calloc(1, PROBE_BODY_LOOKED_MAX + 1);
	return p->body ? 0 : -ENOMEM;
}

static int set_tls(struct probe *p, const struct health_config *health)
{
	if (!health->tls)
		return 0;
	SET(CURLOPT_SSL_VERIFYPEER, health->tls_unverified ? 0L : 1L);
	SET(CURLOPT_SSL_VERIFYHOST, health->tls_unverified ? 0L : 2L);
	if (!health->tls_ca)
		return 0;
	p->ca_path = strdup(health->tls_ca);
	return p->ca_path ? 0 : -ENOMEM;
}

static int set_expected(struct probe *p, const char *expected)
{
	if (!expected)
		return 0;
	/* config.h has checked it: what is left is memory. */
	if (regcomp(&p->expected, expected, REG_EXTENDED | REG_NOSUB) != 0)
		return -ENOMEM;
	p->expects = true;
	p->body = calloc(1, PROBE_BODY_LOOKED_MAX + 1);
	return p->body ? 0 : -ENOMEM;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* The host's name alone, into @buffer. */
static const char *name_of(const char *host, char *buffer, size_t size)
{
	const char *colon = strrchr(host, ':');
	size_t n = colon && !strchr(colon, ']') ? (size_t)(colon - host) : strlen(host);

	snprintf(buffer, size, "%.*s", (int)n, host);
	return buffer;
}

/*
 * What TLS asks for by name (SNI, and the certificate's) is the name of the URL. It is not looked
 * up: CURLOPT_CONNECT_TO says where that name is.
 */
static int set_target(struct probe *p, const struct health_config *health)
{
	char url[PROBE_HEADER_MAX + 16], name[PROBE_HEADER_MAX], to[ADDRESS_TEXT_MAX + 8];
	const char *host = health->tls_name              ? health->tls_name
			   : health->host && health->tls ? name_of(health->host, name, sizeof(name))
							 : NULL;

	if (host)
		snprintf(url, sizeof(url), "https://%s:%u/", host, address_port(&p->target));
	else
		snprintf(url, sizeof(url), "http%s://%s/", health->tls ? "s" : "", p->target.text);
	snprintf(to, sizeof(to), "::%s", p->target.text);
	p->connect_to = curl_slist_append(NULL, to);
	if (!p->connect_to)
		return -ENOMEM;
	SET(CURLOPT_CONNECT_TO, p->connect_to);
	snprintf(p->base, sizeof(p->base), "http%s://%.400s", health->tls ? "s" : "",
		 health->host ? health->host : strstr(url, "//") + 2);
	p->base[strcspn(p->base + 8, "/") + 8] = '\0';
	return set_connection(p, url);
}

static void name_question(struct probe *p, const char *path)
{
	char shown[PROBE_PATH_SHOWN_MAX];

	answer_printable(path, strlen(path), shown, sizeof(shown));
	snprintf(p->what, sizeof(p->what), "%.16s %s", p->method, shown);
}

/* The path as written: "//", "..", "?" and all. */
static int set_path(struct probe *p, const char *path)
{
	free(p->path);
	p->path = strdup(path);
	if (!p->path)
		return -ENOMEM;
	SET(CURLOPT_REQUEST_TARGET, path);
	name_question(p, path);
	return 0;
}

int probe_set_question(struct probe *p, const struct health_config *health)
{
	int r;

	if (!p->easy) {
		/* Each address of a service may be asked so. */
		snprintf(p->whom, sizeof(p->whom), "%s: ", p->target.text);
		return 0;
	}
	snprintf(p->method, sizeof(p->method), "%s", health->method ? health->method : "GET");
	r = set_target(p, health);
	if (r == 0)
		r = set_path(p, health->path);
	if (health->grpc_service)
		snprintf(p->what, sizeof(p->what), "grpc%s%.100s",
			 health->grpc_service[0] ? " " : "", health->grpc_service);
	if (r == 0)
		r = set_version(p, health);
	if (r == 0)
		r = set_method(p, health->method);
	if (r == 0)
		r = set_grpc(p, health->grpc_service);
	if (r == 0)
		r = set_headers(p, health);
	if (r == 0)
		r = set_tls(p, health);
	if (r == 0)
		r = set_expected(p, health->body);
	return r < 0 ? r : set_answer(p);
}

int probe_set_url(struct probe *p, const char *url)
{
	int r = set_connection(p, url);

	if (r < 0)
		return r;
	/* Or the end of a probe would wait for the resolver's thread. */
	SET(CURLOPT_QUICK_EXIT, 1L);
	r = set_version(p, &p->health);
	return r < 0 ? r : set_answer(p);
}

/*
 * Not by its name: curl would open whatever has it by now, and wait for it. (Those of the host,
 * without a file of the operator's, are curl's to open.)
 */
static int set_ca(struct probe *p, const char *text, size_t n)
{
	struct curl_blob blob = {.data = (char *)text, .len = n, .flags = CURL_BLOB_COPY};

	SET(CURLOPT_CAINFO_BLOB, &blob);
	SET(CURLOPT_CAPATH, NULL);
	return 0;
}

static bool is_own_trouble(int r)
{
	return r == -ETIMEDOUT || r == -EAGAIN || r == -ENOMEM || r == -EIO;
}

bool probe_set_authorities(struct probe *p)
{
	const char *text;
	struct error err;
	size_t n;
	int r;

	if (!p->ca_path)
		return true;
	if (!p->ca_asked_ms)
		p->ca_asked_ms = clock_monotonic_ms();
	r = ca_files_get(p->prober->ca_files, p->ca_path, p->ca_asked_ms, p->ca_since_ms, &text, &n,
			 &err);
	if (r == 0) {
		p->state = PROBE_READING;
		return false;
	}
	if (r > 0 && (r = set_ca(p, text, n)) < 0)
		error_set(&err, r, "%s", p->ca_path);
	if (r < 0)
		probe_refuse(p, is_own_trouble(r), "the CA file %s: %s", p->ca_path, err.text);
	return r >= 0;
}

/* ---- redirects ------------------------------------------------------------------------------ */

static bool same_part(CURLU *a, CURLU *b, CURLUPart part)
{
	char *one = NULL, *other = NULL;
	bool same = curl_url_get(a, part, &one, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		    curl_url_get(b, part, &other, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		    strcasecmp(one, other) == 0;

	curl_free(one);
	curl_free(other);
	return same;
}

/* The path and query of @to, if it is of the endpoint of @from. */
static int path_within(CURLU *from, CURLU *to, char *ret, size_t size)
{
	char *path = NULL, *query = NULL;
	int n;

	if (!same_part(from, to, CURLUPART_SCHEME) || !same_part(from, to, CURLUPART_HOST) ||
	    !same_part(from, to, CURLUPART_PORT) ||
	    curl_url_get(to, CURLUPART_PATH, &path, 0) != CURLUE_OK)
		return -ENOENT;
	curl_url_get(to, CURLUPART_QUERY, &query, 0);
	n = snprintf(ret, size, "%s%s%s", path, query ? "?" : "", query ? query : "");
	curl_free(path);
	curl_free(query);
	return n < 0 || (size_t)n >= size || !fits_in_header(ret) ? -ENOENT : 0;
}

static bool is_redirect(unsigned status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

int probe_set_redirect(struct probe *p)
{
	char url[2 * PROBE_HEADER_MAX], path[PROBE_HEADER_MAX];
	CURLU *from, *to;
	int r = -ENOENT;

	if (!p->health.follow || p->code != CURLE_OK || !is_redirect(p->answer.status) ||
	    !p->answer.headed || !p->answer.location[0] || p->follows == PROBE_FOLLOWS_MAX)
		return -ENOENT;
	from = curl_url();
	to = curl_url();
	snprintf(url, sizeof(url), "%s%.500s", p->base, p->path);
	if (from && to && curl_url_set(from, CURLUPART_URL, url, 0) == CURLUE_OK &&
	    curl_url_set(to, CURLUPART_URL, url, 0) == CURLUE_OK &&
	    curl_url_set(to, CURLUPART_URL, p->answer.location, 0) == CURLUE_OK)
		r = path_within(from, to, path, sizeof(path));
	curl_url_cleanup(from);
	curl_url_cleanup(to);
	if (r == 0)
		r = set_path(p, path);
	p->follows++;
	return r;
}

/* ---- repeats -------------------------------------------------------------------------------- */

/*
 * A gRPC server without the service answers as soon as it has read the head of the call. If it then
 * closes the stream before curl (7.88) has sent the message, curl fails without a word and without
 * what was answered. On a busy machine that may happen several times in a row.
 */
bool probe_set_repeat(struct probe *p)
{
	if (!p->grpc || p->code != CURLE_HTTP2_STREAM || p->curl_error[0] || p->answer.status ||
	    p->follows == PROBE_FOLLOWS_MAX)
		return false;
	p->follows++;
	return true;
}
