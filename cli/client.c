/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/client.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "common/clock.h"
#include "common/paths.h"

#define NAME_MAX_SIZE 64
#define NOT_JSON      "the daemon sent a line that is not JSON"

struct cli_client {
	CURL *curl;
	char name[NAME_MAX_SIZE];
	char socket_path[PATHS_MAX];
	char curl_error[CURL_ERROR_SIZE];
	json_t *problem; /* the document with which the last request was refused; NULL: none */
};

/* Collects one answer: the whole body, or one line after the other. */
struct receiver {
	CURL *curl;
	char *data;
	size_t length;
	size_t size;
	bool too_large;
	bool no_memory;
	bool malformed;
	bool stopped; /* on_event has returned false */

	bool (*on_event)(void *userdata, const json_t *event); /* NULL: collect the whole body */
	void *userdata;
};

/* ---- receiving ------------------------------------------------------------------------------ */

static bool receiver_append(struct receiver *receiver, const char *data, size_t length, size_t max)
{
	size_t need = receiver->length + length + 1;
	size_t size = receiver->size ? receiver->size : 4096;
	char *grown;

	if (need > max + 1) {
		receiver->too_large = true;
		return false;
	}
	if (need > receiver->size) {
		while (size < need)
			size *= 2;
		grown = realloc(receiver->data, size);
		if (!grown) {
			receiver->no_memory = true;
			return false;
		}
		receiver->data = grown;
		receiver->size = size;
	}
	memcpy(receiver->data + receiver->length, data, length);
	receiver->length += length;
	receiver->data[receiver->length] = '\0';
	return true;
}

/* A whole line is in the buffer. Returns false if no more is wanted. */
static bool receiver_line(struct receiver *receiver)
{
	json_t *event;
	bool go_on;

	if (receiver->length && receiver->data[receiver->length - 1] == '\r')
		receiver->length--;
	if (!receiver->length)
		return true; /* empty lines keep a stream alive */
	event = json_loadb(receiver->data, receiver->length, 0, NULL);
	receiver->length = 0;
	if (!json_is_object(event)) {
		json_decref(event);
		receiver->malformed = true;
		return false;
	}
	go_on = receiver->on_event(receiver->userdata, event);
	json_decref(event);
	receiver->stopped = !go_on;
	return go_on;
}

static bool receiver_lines(struct receiver *receiver, const char *data, size_t length)
{
	while (length) {
		const char *end = memchr(data, '\n', length);
		size_t n = end ? (size_t)(end - data) : length;

		if (!receiver_append(receiver, data, n, CLI_LINE_MAX))
			return false;
		if (!end)
			return true;
		if (!receiver_line(receiver))
			return false;
		data += n + 1;
		length -= n + 1;
	}
	return true;
}

/* Anything but the full length makes libcurl give up with CURLE_WRITE_ERROR. */
static size_t on_data(char *data, size_t unit, size_t n, void *userdata)
{
	struct receiver *receiver = userdata;
	size_t length = unit * n;
	long status = 0;
	bool ok;

	curl_easy_getinfo(receiver->curl, CURLINFO_RESPONSE_CODE, &status);
	if (receiver->on_event && status == 200)
		ok = receiver_lines(receiver, data, length);
	else
		ok = receiver_append(receiver, data, length, CLI_ANSWER_MAX);
	return ok ? length : 0;
}

/* ---- saying what went wrong ----------------------------------------------------------------- */

/* The owner of the socket, or of the first folder above it that we can look at; NULL: not known. */
static const char *owner_of(const char *socket_path, char *ret, size_t size)
{
	char path[PATHS_MAX];
	struct stat st;
	struct passwd *user;
	char *slash;

	snprintf(path, sizeof(path), "%s", socket_path);
	while (stat(path, &st) < 0) {
		slash = strrchr(path, '/');
		if (!slash || slash == path)
			return NULL;
		*slash = '\0';
	}
	user = getpwuid(st.st_uid);
	if (user)
		snprintf(ret, size, "%s", user->pw_name);
	else
		snprintf(ret, size, "%u", (unsigned)st.st_uid);
	return ret;
}

static enum cli_exit refused_by_system(const struct cli_client *client, long code,
				       struct error *err)
{
	char owner[NAME_MAX_SIZE];

	if ((code == EACCES || code == EPERM) &&
	    owner_of(client->socket_path, owner, sizeof(owner)))
		return error_text(
			err, CLI_UNREACHABLE,
			"the daemon called \"%s\" does not let you in: %s belongs to user %s: %s",
			client->name, client->socket_path, owner, strerror((int)code));
	return error_text(
		err, CLI_UNREACHABLE,
		"no daemon called \"%s\" answers on %s: %s (is batond running? -n NAME chooses "
		"another)",
		client->name, client->socket_path, code ? strerror((int)code) : client->curl_error);
}

/* EAGAIN of connect(2), which libcurl keeps to itself: somebody listens, and is behind. */
static bool is_queue_full(const struct cli_client *client, CURLcode code)
{
	long os_errno = 0;

	curl_easy_getinfo(client->curl, CURLINFO_OS_ERRNO, &os_errno);
	return code == CURLE_COULDNT_CONNECT && (os_errno == 0 || os_errno == EAGAIN);
}

static enum cli_exit transfer_failed(const struct cli_client *client, CURLcode code,
				     const struct receiver *receiver, struct error *err)
{
	const char *why = client->curl_error[0] ? client->curl_error : curl_easy_strerror(code);
	curl_off_t connected_us = 0;
	long os_errno = 0;

	if (receiver->too_large)
		return error_text(err, CLI_ERROR, "the daemon's answer is longer than %d bytes",
				  receiver->on_event ? CLI_LINE_MAX : CLI_ANSWER_MAX);
	if (receiver->no_memory || code == CURLE_OUT_OF_MEMORY)
		return error_text(err, CLI_ERROR, "out of memory");
	if (receiver->malformed)
		return error_text(err, CLI_ERROR, "%s", NOT_JSON);
	if (is_queue_full(client, code))
		return error_text(err, CLI_BUSY,
				  "the daemon called \"%s\" is there, but takes no connections on "
				  "%s: too many clients wait, or it is stopped (its log may tell)",
				  client->name, client->socket_path);
	if (code == CURLE_COULDNT_CONNECT) {
		curl_easy_getinfo(client->curl, CURLINFO_OS_ERRNO, &os_errno);
		return refused_by_system(client, os_errno, err);
	}
	curl_easy_getinfo(client->curl, CURLINFO_PRETRANSFER_TIME_T, &connected_us);
	if (code == CURLE_OPERATION_TIMEDOUT && connected_us > 0)
		return error_text(
			err, CLI_BUSY,
			"the daemon called \"%s\" is there, but has not answered on %s for "
			"%d s: it is stopped or has too much to do (its log may tell)",
			client->name, client->socket_path, CLI_ANSWER_TIMEOUT_MS / 1000);
	if (code == CURLE_SEND_ERROR)
		return error_text(err, CLI_BUSY,
				  "the daemon called \"%s\" hangs up on %s before it has the "
				  "request: it has too many clients (its log tells which)",
				  client->name, client->socket_path);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return error_text(err, CLI_UNREACHABLE,
				  "the daemon called \"%s\" does not answer on %s: %s",
				  client->name, client->socket_path, why);
	return error_text(err, CLI_UNREACHABLE,
			  "the connection to the daemon called \"%s\" broke: %s", client->name,
			  why);
}

/*
 * The answer has an error status: take the reason from it, if it is a problem document (RFC 9457).
 */
static enum cli_exit take_problem(struct cli_client *client, const struct receiver *receiver,
				  long status, struct error *err)
{
	json_t *document = NULL;
	const char *text;
	enum cli_exit code = CLI_ERROR;

	if (receiver->length)
		document = json_loadb(receiver->data, receiver->length, 0, NULL);
	text = json_string_value(json_object_get(document, "detail"));
	if (!text || !*text)
		text = json_string_value(json_object_get(document, "title"));
	if (json_is_integer(json_object_get(document, "code")))
		code = cli_exit_from(json_integer_value(json_object_get(document, "code")));
	if (code == CLI_DONE)
		code = CLI_ERROR; /* whatever the document says, this is an error */
	if (text && *text)
		error_text(err, 0, "%s", text);
	else
		error_text(err, 0, "the daemon answered with HTTP status %ld, and did not say why",
			   status);
	if (json_is_object(document))
		client->problem = json_incref(document);
	json_decref(document);
	return code;
}

/* ---- the client ----------------------------------------------------------------------------- */

enum cli_exit cli_client_new(const char *name, const char *socket_path, struct cli_client **ret,
			     struct error *err)
{
	cleanup(cli_client_free) struct cli_client *client = NULL;

	*ret = NULL;
	if (strlen(socket_path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return error_text(err, CLI_ERROR, "%s: too long for the path of a unix socket",
				  socket_path);
	client = calloc(1, sizeof(*client));
	if (!client)
		return error_text(err, CLI_ERROR, "out of memory");
	snprintf(client->name, sizeof(client->name), "%s", name);
	snprintf(client->socket_path, sizeof(client->socket_path), "%s", socket_path);
	client->curl = curl_easy_init();
	if (!client->curl)
		return error_text(err, CLI_ERROR, "libcurl does not start");
	*ret = TAKE_PTR(client);
	return CLI_DONE;
}

enum cli_exit cli_client_find(const char *name, struct cli_client **ret, struct error *err)
{
	char of_root[PATHS_MAX];
	struct paths paths;
	struct stat st;

	*ret = NULL;
	if (paths_init(name, &paths, err) < 0)
		return CLI_USAGE;
	/*
	 * Members of the API's group may read root's daemon, so look for that, too. If its folder
	 * is closed to this user, assume that it is there: the error then says who owns it.
	 */
	if (stat(paths.api_socket, &st) < 0 && errno == ENOENT) {
		snprintf(of_root, sizeof(of_root), "/run/%s/api.sock", paths.name);
		if (stat(of_root, &st) == 0 || errno == EACCES)
			return cli_client_new(paths.name, of_root, ret, err);
	}
	return cli_client_new(paths.name, paths.api_socket, ret, err);
}

void cli_client_free(struct cli_client *client)
{
	if (!client)
		return;
	curl_easy_cleanup(client->curl);
	json_decref(client->problem);
	free(client);
}

const char *cli_client_name(const struct cli_client *client)
{
	return client->name;
}

const json_t *cli_client_problem(const struct cli_client *client)
{
	return client->problem;
}

static void set_options(struct cli_client *client, const char *url, struct receiver *receiver)
{
	CURL *curl = client->curl;

	curl_easy_reset(curl);
	receiver->curl = curl;
	receiver->length = 0;
	client->curl_error[0] = '\0';
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, client->socket_path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "baton/" BATON_VERSION);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CLI_CONNECT_TIMEOUT_MS);
	if (!receiver->on_event)
		curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)CLI_ANSWER_TIMEOUT_MS);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->curl_error);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, receiver);
}

/* In how long the same request may do better; 0: it has been answered, or is lost. */
static uint64_t retry_ms(struct cli_client *client, CURLcode code, long status)
{
	curl_off_t after_s = 0;

	/* What was not sent as a whole was not begun. */
	if (code == CURLE_SEND_ERROR || is_queue_full(client, code))
		return CLI_RETRY_MS;
	if (code == CURLE_OK && status == 503)
		curl_easy_getinfo(client->curl, CURLINFO_RETRY_AFTER, &after_s);
	return after_s > 0 && after_s * 1000 <= CLI_BUSY_MS ? (uint64_t)after_s * 1000 : 0;
}

/* *ret_retry_ms: see retry_ms(). */
static enum cli_exit try(struct cli_client *client, const char *url, const char *body,
			 struct receiver *receiver, uint64_t *ret_retry_ms, struct error *err)
{
	struct curl_slist *headers = NULL;
	CURL *curl = client->curl;
	CURLcode code;
	long status = 0;

	set_options(client, url, receiver);
	headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (body) {
		curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	}
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	*ret_retry_ms = retry_ms(client, code, status);
	if (code != CURLE_OK && !receiver->stopped)
		return transfer_failed(client, code, receiver, err);
	if (status < 200 || status > 299)
		return take_problem(client, receiver, status, err);
	return CLI_DONE;
}

static void sleep_ms(uint64_t ms)
{
	struct timespec pause = {.tv_sec = (time_t)(ms / 1000),
				 .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&pause, NULL);
}

/*
 * Send one request and receive its answer. After CLI_DONE @receiver has all of it, or on_event has
 * got it. The caller frees receiver->data in any case.
 */
static enum cli_exit perform(struct cli_client *client, const char *path, const char *body,
			     struct receiver *receiver, struct error *err)
{
	uint64_t deadline_ms = clock_monotonic_ms() + CLI_BUSY_MS, again_ms;
	char url[1024];
	enum cli_exit r;

	assert(path[0] == '/');
	if ((size_t)snprintf(url, sizeof(url), "http://localhost%s", path) >= sizeof(url))
		return error_text(err, CLI_USAGE, "the request is too long");
	for (;;) {
		json_decref(client->problem);
		client->problem = NULL;
		r = try(client, url, body, receiver, &again_ms, err);
		if (again_ms == 0 || clock_monotonic_ms() + again_ms > deadline_ms)
			return r;
		sleep_ms(again_ms);
	}
}

static enum cli_exit request(struct cli_client *client, const char *path, const char *body,
			     json_t **ret, struct error *err)
{
	struct receiver receiver = {0};
	enum cli_exit r;

	*ret = NULL;
	r = perform(client, path, body, &receiver, err);
	if (r == CLI_DONE) {
		*ret = json_loadb(receiver.length ? receiver.data : "", receiver.length, 0, NULL);
		if (!*ret)
			r = error_text(err, CLI_ERROR,
				       "what answers on %s does not speak JSON: is it batond?",
				       client->socket_path);
	}
	free(receiver.data);
	return r;
}

enum cli_exit cli_client_get(struct cli_client *client, const char *path, json_t **ret,
			     struct error *err)
{
	return request(client, path, NULL, ret, err);
}

enum cli_exit cli_client_post(struct cli_client *client, const char *path, const json_t *body,
			      json_t **ret, struct error *err)
{
	cleanup_free char *text = NULL;

	*ret = NULL;
	if (body) {
		text = json_dumps(body, JSON_COMPACT);
		if (!text)
			return error_text(err, CLI_ERROR, "out of memory");
	}
	return request(client, path, text ? text : "", ret, err);
}

bool cli_client_wait(struct cli_client *client, uint64_t timeout_ms)
{
	uint64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
	struct error err;
	json_t *answer;

	do {
		sleep_ms(CLI_RETRY_MS);
		if (cli_client_get(client, "/v1/version", &answer, &err) == CLI_DONE) {
			json_decref(answer);
			return true;
		}
	} while (clock_monotonic_ms() < deadline_ms);
	return false;
}

enum cli_exit cli_client_follow(struct cli_client *client, const char *path,
				bool (*on_event)(void *userdata, const json_t *event),
				void *userdata, struct error *err)
{
	struct receiver receiver = {.on_event = on_event, .userdata = userdata};
	enum cli_exit r;

	r = perform(client, path, NULL, &receiver, err);
	/* A whole answer may lack its last newline. */
	if (r == CLI_DONE && !receiver.stopped && receiver.length && !receiver_line(&receiver) &&
	    receiver.malformed)
		r = error_text(err, CLI_ERROR, "%s", NOT_JSON);
	free(receiver.data);
	return r;
}
