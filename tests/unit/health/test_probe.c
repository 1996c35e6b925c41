/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Probes against a small server that lives in the same event loop and answers by script.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "common/clock.h"
#include "orchestrator/health/probe.h"
#include "tests/unit/fakes/count_fds.h"
#include "tests/unit/fakes/netns.h"

#define PORT        4712
#define CONNECTIONS 256
#define REQUEST_MAX 2048
#define DEADLINE_MS 10000

static sd_event *event;
static struct prober *prober;
static struct error err;
static size_t fds_before;

/* ---- the server ----------------------------------------------------------------------------- */

enum server_mode {
	SERVER_ANSWERS,   /* .reply, then close */
	SERVER_HANGS,     /* .reply (may be empty), then nothing */
	SERVER_GRPC,      /* .frames, once the request has ended; nothing more */
	SERVER_REDIRECTS, /* .reply for /healthz, else 200; then close */
	SERVER_RESETS,    /* reads the request, then RST */
	SERVER_FLOODS,    /* .reply, then bytes without end */
	SERVER_KEEPS,     /* .reply, then whatever comes is read: .ends, .resets */
	SERVER_GREETS,    /* .reply as soon as it is connected, then the same */
	SERVER_DOES_NOT_ACCEPT,
};

static struct server {
	enum server_mode mode;
	const char *reply;
	int listener;
	sd_event_source *accepting;
	struct {
		int fd;
		sd_event_source *source;
	} connections[CONNECTIONS];
	size_t accepted;
	char request[REQUEST_MAX]; /* the last one */
	size_t received;           /* SERVER_GRPC: of .request */
	const char *frames;
	size_t frames_length;
	int ends, resets; /* as the server reads them */
	struct sockaddr_storage peer;
} server;

static int on_flood(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	static const char block[8192];

	(void)revents;
	(void)userdata;
	if (send(fd, block, sizeof(block), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return 0;
}

static void close_connection(int fd)
{
	for (size_t i = 0; i < server.accepted; i++) {
		if (server.connections[i].fd != fd)
			continue;
		sd_event_source_disable_unref(server.connections[i].source);
		server.connections[i].source = NULL;
		server.connections[i].fd = -1;
	}
	close(fd);
}

/* RFC 9113, 3.4 and 4.1: after the preface, is there a frame DATA (0) with END_STREAM (1)? */
static bool request_has_ended(void)
{
	const unsigned char *at = (const unsigned char *)server.request + 24;
	const unsigned char *end = (const unsigned char *)server.request + server.received;

	while (end - at >= 9) {
		if (at[3] == 0 && at[4] & 1)
			return true;
		at += 9 + (at[0] << 16 | at[1] << 8 | at[2]);
	}
	return false;
}

static int on_frames(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	ssize_t n = recv(fd, server.request + server.received,
			 sizeof(server.request) - server.received, MSG_DONTWAIT);

	(void)revents;
	(void)userdata;
	server.received += n > 0 ? (size_t)n : 0;
	if (n > 0 && !request_has_ended())
		return 0;
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	if (n > 0)
		send(fd, server.frames, server.frames_length, MSG_NOSIGNAL);
	return 0;
}

static int on_request(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct linger linger = {.l_onoff = 1};
	ssize_t n = recv(fd, server.request, sizeof(server.request) - 1, MSG_DONTWAIT);

	(void)revents;
	(void)userdata;
	if ((server.mode == SERVER_KEEPS || server.mode == SERVER_GREETS) && n <= 0) {
		server.ends += n == 0;
		server.resets += n < 0;
		close_connection(fd);
		return 0;
	}
	if (server.mode != SERVER_KEEPS)
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
	if (n <= 0)
		return 0;
	server.request[n] = '\0';
	if (server.mode == SERVER_REDIRECTS && !strstr(server.request, " /healthz "))
		server.reply = "HTTP/1.1 200 OK\r\n\r\n";
	send(fd, server.reply, strlen(server.reply), MSG_NOSIGNAL);
	switch (server.mode) {
	case SERVER_ANSWERS:
	case SERVER_REDIRECTS:
		shutdown(fd, SHUT_WR);
		break;
	case SERVER_RESETS:
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close_connection(fd);
		break;
	case SERVER_FLOODS:
		sd_event_add_io(event, NULL, fd, EPOLLOUT, on_flood, NULL);
		break;
	case SERVER_HANGS:
	case SERVER_GRPC:
	case SERVER_KEEPS:
	case SERVER_GREETS:
	case SERVER_DOES_NOT_ACCEPT:
		break;
	}
	return 0;
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	socklen_t length = sizeof(server.peer);
	int connection = accept4(fd, (struct sockaddr *)&server.peer, &length, SOCK_CLOEXEC);

	(void)source;
	(void)revents;
	(void)userdata;
	assert_true(connection >= 0);
	assert_true(server.accepted < CONNECTIONS);
	server.connections[server.accepted].fd = connection;
	assert_true(sd_event_add_io(event, &server.connections[server.accepted].source, connection,
				    EPOLLIN, server.mode == SERVER_GRPC ? on_frames : on_request,
				    NULL) >= 0);
	server.accepted++;
	if (server.mode == SERVER_GREETS)
		send(connection, server.reply, strlen(server.reply), MSG_NOSIGNAL);
	return 0;
}

static void serve(const char *listen_text, enum server_mode mode, const char *reply)
{
	struct address address;
	int on = 1, off = 0;

	assert_int_equal(address_parse(listen_text, &address, &err), 0);
	server.mode = mode;
	server.reply = reply;
	server.listener = socket(address.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(server.listener >= 0);
	setsockopt(server.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address.sa.sa_family == AF_INET6)
		setsockopt(server.listener, IPPROTO_IPV6, IPV6_V6ONLY,
			   address_v6only(&address) ? &on : &off, sizeof(on));
	assert_int_equal(bind(server.listener, &address.sa, address.length), 0);
	assert_int_equal(listen(server.listener, 512), 0);
	if (mode != SERVER_DOES_NOT_ACCEPT)
		assert_true(sd_event_add_io(event, &server.accepting, server.listener, EPOLLIN,
					    on_accept, NULL) >= 0);
}

static void stop_server(void)
{
	sd_event_source_disable_unref(server.accepting);
	for (size_t i = 0; i < server.accepted; i++) {
		sd_event_source_disable_unref(server.connections[i].source);
		if (server.connections[i].fd >= 0)
			close(server.connections[i].fd);
	}
	if (server.listener >= 0)
		close(server.listener);
	memset(&server, 0, sizeof(server));
	server.listener = -1;
}

/* ---- the caller ----------------------------------------------------------------------------- */

struct caller {
	struct probe *probe;
	int binds, closes, asks, dones;
	int bind_result;
	int connected_after; /* asks that get 0 before connected_result is given */
	int connected_result;
	struct sockaddr_storage source;
	struct probe_result result;
	/* Cancel these probes' callers in the callback named. */
	struct caller *cancel_on_bind, *cancel_on_close, *cancel_on_connected, *cancel_on_done;
	bool restart_on_done;
};

static const struct health_config http = {
	.kind = HEALTH_KIND_HTTP,
	.path = (char *)"/healthz",
	.statuses = {{200, 299}},
	.n_statuses = 1,
	.timeout_ms = 2000,
};
static const struct health_config connecting = {.kind = HEALTH_KIND_CONNECT, .timeout_ms = 200};

static void start(struct caller *caller, const struct health_config *health, const char *address);

static void cancel(struct caller *caller)
{
	if (caller)
		probe_cancel(caller->probe);
	if (caller)
		caller->probe = NULL;
}

static int on_bind(void *userdata, const struct sockaddr *source)
{
	struct caller *caller = userdata;
	size_t length = source->sa_family == AF_INET ? sizeof(struct sockaddr_in)
						     : sizeof(struct sockaddr_in6);

	assert_int_equal(caller->dones, 0);
	caller->binds++;
	memcpy(&caller->source, source, length);
	cancel(caller->cancel_on_bind);
	return caller->bind_result;
}

static void on_close(void *userdata, const struct sockaddr *source)
{
	struct caller *caller = userdata;

	assert_int_equal(caller->dones, 0); /* the pin goes first, then the answer comes */
	assert_memory_equal(source, &caller->source, sizeof(struct sockaddr_in));
	caller->closes++;
	cancel(caller->cancel_on_close);
}

static int on_connected(void *userdata)
{
	struct caller *caller = userdata;

	caller->asks++;
	cancel(caller->cancel_on_connected);
	return caller->asks > caller->connected_after ? caller->connected_result : 0;
}

static void on_done(void *userdata, const struct probe_result *result)
{
	struct caller *caller = userdata;

	caller->dones++;
	caller->result = *result;
	cancel(caller->cancel_on_done);
	caller->probe = NULL;
	if (caller->restart_on_done) {
		caller->restart_on_done = false;
		caller->dones = 0;
		start(caller, &http, "127.0.0.1:4712");
	}
}

static void start(struct caller *caller, const struct health_config *health, const char *text)
{
	static const struct probe_callbacks callbacks = {
		.on_bind = on_bind,
		.on_close = on_close,
		.on_connected = on_connected,
		.on_done = on_done,
	};
	struct address address;

	assert_int_equal(address_parse(text, &address, &err), 0);
	assert_int_equal(
		probe_start(prober, health, &address, &callbacks, caller, &caller->probe, &err), 0);
	assert_int_equal(caller->dones, 0);
}

static void run_for(uint64_t ms)
{
	uint64_t end = clock_monotonic_ms() + ms;

	while (clock_monotonic_ms() < end)
		assert_true(sd_event_run(event, 5000) >= 0);
}

static void run_until_done(struct caller *caller)
{
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	while (!caller->dones && clock_monotonic_ms() < end)
		assert_true(sd_event_run(event, 100000) >= 0);
	assert_int_equal(caller->dones, 1);
	assert_int_equal(caller->closes, caller->bind_result < 0 ? 0 : caller->binds);
}

/* The one probe's result text, against a server with @mode and @reply. */
static void check_text(const struct health_config *health, enum server_mode mode, const char *reply,
		       const char *text)
{
	struct caller caller = {.connected_result = 1};

	serve("127.0.0.1:4712", mode, reply);
	start(&caller, health, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_string_equal(caller.result.text, text);
	assert_false(caller.result.ok);
	stop_server();
}

static int setup(void **state)
{
	(void)state;
	fds_before = count_fds();
	server.listener = -1;
	assert_true(sd_event_new(&event) >= 0);
	return prober_new(event, &prober, &err);
}

static int teardown(void **state)
{
	(void)state;
	stop_server();
	prober_free(prober);
	prober = NULL;
	event = sd_event_unref(event);
	assert_int_equal(count_fds(), fds_before);
	return 0;
}

/* ---- HTTP ----------------------------------------------------------------------------------- */

static void test_probe_http_200_is_ok(void **state)
{
	struct sockaddr_in *source, *peer = (struct sockaddr_in *)&server.peer;
	struct caller caller = {0};

	(void)state;
	serve("127.0.0.1:4712", SERVER_ANSWERS, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
	start(&caller, &http, "127.0.0.1:4712");
	assert_int_equal(caller.binds, 0); /* nothing is called from within probe_start() */
	run_until_done(&caller);
	assert_true(caller.result.ok);
	assert_int_equal(caller.result.status, 200);
	assert_string_equal(caller.result.text, "GET /healthz: 200 OK");
	assert_string_equal(caller.result.body, "ok ");
	assert_true(caller.result.took_ms < 2000);
	/* The server sees the connection come from the source that was to be pinned. */
	source = (struct sockaddr_in *)&caller.source;
	assert_int_equal(source->sin_family, AF_INET);
	assert_int_equal(source->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	assert_int_not_equal(source->sin_port, 0);
	assert_int_equal(source->sin_port, peer->sin_port);
	assert_int_equal(source->sin_addr.s_addr, peer->sin_addr.s_addr);
}

static void test_probe_http_request_is_as_promised(void **state)
{
	struct health_config health = http;
	struct caller caller = {0};

	(void)state;
	serve("127.0.0.1:4712", SERVER_ANSWERS, "HTTP/1.1 204\r\n\r\n");
	start(&caller, &health, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_true(caller.result.ok);
	assert_string_equal(caller.result.text, "GET /healthz: 204");
	assert_memory_equal(server.request, "GET /healthz HTTP/1.1\r\n", 23);
	assert_non_null(strstr(server.request, "\r\nHost: 127.0.0.1:4712\r\n"));
	/* The check closes first, and leaves no TIME_WAIT at the server's end, either. */
	assert_null(strstr(server.request, "\r\nConnection:"));
	assert_non_null(strstr(server.request, "\r\nUser-Agent: baton/" BATON_VERSION "\r\n"));

	memset(&caller, 0, sizeof(caller));
	health.host = (char *)"www.example.org";
	health.path = (char *)"/a/../b//c?x=1&y=%20";
	start(&caller, &health, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_memory_equal(server.request, "GET /a/../b//c?x=1&y=%20 HTTP/1.1\r\n", 35);
	assert_non_null(strstr(server.request, "\r\nHost: www.example.org\r\n"));
	assert_null(strstr(server.request, "127.0.0.1"));
	assert_int_equal(server.accepted, 2); /* a connection each */
}

static void test_probe_http_bad_status_says_which_and_why(void **state)
{
	struct health_config health = http;
	struct caller caller = {0};

	(void)state;
	serve("127.0.0.1:4712", SERVER_ANSWERS,
	      "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 17\r\n\r\ndatabase\tis\ndown!");
	start(&caller, &health, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_false(caller.result.ok);
	assert_int_equal(caller.result.status, 503);
	assert_string_equal(caller.result.text,
			    "GET /healthz: 503 Service Unavailable is not in 200-299");
	assert_string_equal(caller.result.body, "database is down!");

	memset(&caller, 0, sizeof(caller));
	health.statuses[1].first = health.statuses[1].last = 503;
	health.n_statuses = 2;
	start(&caller, &health, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_true(caller.result.ok);
}

static void test_probe_http_redirect_is_not_followed(void **state)
{
	(void)state;
	check_text(&http, SERVER_ANSWERS,
		   "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:4712/other\r\n"
		   "Content-Length: 0\r\n\r\n",
		   "GET /healthz: 302 Found (Location: http://127.0.0.1:4712/other) is not in "
		   "200-299");
}

/* Answers /healthz with .reply, and everything else with 200. */
static void check_follow(const char *reply, bool ok, const char *text)
{
	struct health_config health = http;
	struct caller caller = {0};

	health.follow = true;
	serve("127.0.0.1:4712", SERVER_REDIRECTS, reply);
	start(&caller, &health, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_string_equal(caller.result.text, text);
	assert_int_equal(caller.result.ok, ok);
	stop_server();
}

static void test_probe_http_redirect_within_the_endpoint_is_followed_if_asked(void **state)
{
	(void)state;
	check_follow("HTTP/1.1 302 Found\r\nLocation: /other?a=b\r\nContent-Length: 0\r\n\r\n",
		     true, "GET /other?a=b: 200 OK");
	check_follow("HTTP/1.1 308 X\r\nLocation: http://127.0.0.1:4712/o\r\n\r\n", true,
		     "GET /o: 200 OK");
	/* Elsewhere, or in a circle: 5 times and no more. */
	check_follow("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:4713/o?key=1\r\n\r\n", false,
		     "GET /healthz: 302 Found (Location: http://127.0.0.1:4713/o) is not in "
		     "200-299");
	check_follow("HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:4712/o\r\n\r\n", false,
		     "GET /healthz: 302 Found (Location: https://127.0.0.1:4712/o) is not in "
		     "200-299");
	check_follow("HTTP/1.1 302 Found\r\nLocation: healthz\r\n\r\n", false,
		     "GET /healthz: 302 Found (Location: healthz) is not in 200-299");
}

static void test_probe_http_method_and_headers_are_sent(void **state)
{
	static char *headers[] = {(char *)"Authorization: Bearer x", (char *)"Accept: a/b", NULL};
	struct health_config health = http;
	struct caller caller = {0};

	(void)state;
	health.headers = headers;
	health.method = (char *)"POST";
	serve("127.0.0.1:4712", SERVER_ANSWERS, "HTTP/1.1 200 OK\r\n\r\n");
	start(&caller, &health, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_string_equal(caller.result.text, "POST /healthz: 200 OK");
	assert_memory_equal(server.request, "POST /healthz HTTP/1.1\r\n", 24);
	assert_non_null(strstr(server.request, "\r\nAuthorization: Bearer x\r\n"));
	assert_non_null(strstr(server.request, "\r\nAccept: a/b\r\n"));
	assert_non_null(strstr(server.request, "\r\nContent-Length: 0\r\n"));

	memset(&caller, 0, sizeof(caller));
	health.method = (char *)"HEAD";
	server.reply = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n";
	start(&caller, &health, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_string_equal(caller.result.text, "HEAD /healthz: 200 OK");
}

static void check_body(const char *expected, const char *reply, bool ok, const char *text)
{
	struct health_config health = http;
	struct caller caller = {0};

	health.body = (char *)expected;
	serve("127.0.0.1:4712", SERVER_ANSWERS, reply);
	start(&caller, &health, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_string_equal(caller.result.text, text);
	assert_int_equal(caller.result.ok, ok);
	stop_server();
}

static void test_probe_http_body_is_to_match(void **state)
{
	static char large[40000];
	size_t n = (size_t)snprintf(large, sizeof(large), "HTTP/1.1 200 OK\r\n\r\n");

	(void)state;
	check_body("\"db\": *\"(up|idle)\"", "HTTP/1.1 200 OK\r\n\r\n{\"db\": \"up\"}", true,
		   "GET /healthz: 200 OK");
	check_body("^ok$", "HTTP/1.1 200 OK\r\n\r\nnot ok", false,
		   "GET /healthz: 200 OK, but its body does not match \"body\"");
	check_body("^ok$", "HTTP/1.1 204 No Content\r\n\r\n", false,
		   "GET /healthz: 204 No Content, but its body does not match \"body\"");
	check_body("o", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nooo", false,
		   "GET /healthz: 200 OK, but its body is encoded (gzip), which nobody asked for");
	check_body("o", "HTTP/1.1 503 No\r\n\r\no", false,
		   "GET /healthz: 503 No is not in 200-299");
	check_body("ok",
		   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n"
		   "0\r\n\r\n",
		   true, "GET /healthz: 200 OK");
	memset(large + n, 'x', sizeof(large) - n - 4);
	strcpy(large + sizeof(large) - 4, "end");
	check_body("end", large, false,
		   "GET /healthz: 200 OK, but its body does not match \"body\" in its first 16384 "
		   "bytes");
	check_body("^x+$", large, true, "GET /healthz: 200 OK");
}

static void test_probe_proxy_header_comes_first(void **state)
{
	struct health_config health = http, connect_only = connecting;
	struct caller caller = {0}, other = {.connected_result = 1};
	char expected[128];

	(void)state;
	health.proxy_protocol = 1;
	serve("127.0.0.1:4712", SERVER_ANSWERS, "HTTP/1.1 200 OK\r\n\r\n");
	start(&caller, &health, "127.0.0.1:4712");
	run_until_done(&caller);
	snprintf(expected, sizeof(expected), "PROXY TCP4 127.0.0.1 127.0.0.1 %u 4712\r\n",
		 ntohs(((struct sockaddr_in *)&caller.source)->sin_port));
	assert_memory_equal(server.request, expected, strlen(expected));
	stop_server();

	connect_only.proxy_protocol = 2;
	connect_only.timeout_ms = 10000;
	serve("127.0.0.1:4712", SERVER_ANSWERS, "");
	start(&other, &connect_only, "127.0.0.1:4712");
	run_until_done(&other);
	assert_true(other.result.ok);
	while (!server.request[0])
		sd_event_run(event, 100000);
	assert_memory_equal(server.request, "\r\n\r\n\0\r\nQUIT\n\x21\x11", 14);
}

/* SETTINGS, then of stream 1: HEADERS with ":status: 200" (0x88: RFC 7541, appendix A). */
#define FRAMES_BEGIN                                                                               \
	"\0\0\0\4\0\0\0\0\0"                                                                       \
	"\0\0\1\1\4\0\0\0\1\x88"
#define FRAMES_DATA(length, message) "\0\0" length "\0\0\0\0\0\1" message
#define FRAMES_END(status)           "\0\0\x0f\1\5\0\0\0\1\0\x0bgrpc-status\1" status

static void check_grpc(const char *service, const char *frames, size_t length, bool ok,
		       const char *text)
{
	struct health_config health = {
		.kind = HEALTH_KIND_HTTP,
		.path = (char *)"/grpc.health.v1.Health/Check",
		.grpc_service = (char *)service,
		.http2 = true,
		.statuses = {{200, 299}},
		.n_statuses = 1,
		.timeout_ms = 10000,
	};
	struct caller caller = {0};

	serve("127.0.0.1:4712", SERVER_GRPC, "");
	server.frames = frames;
	server.frames_length = length;
	start(&caller, &health, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_string_equal(caller.result.text, text);
	assert_int_equal(caller.result.ok, ok);
	assert_string_equal(caller.result.body, "");
	assert_memory_equal(server.request, "PRI * HTTP/2.0\r\n", 16);
	stop_server();
}

#define CHECK_GRPC(service, frames, ok, text)                                                      \
	check_grpc(service, frames, sizeof(frames) - 1, ok, text)

static void test_probe_grpc_health_is_asked(void **state)
{
	(void)state;
	CHECK_GRPC("", FRAMES_BEGIN FRAMES_DATA("\7", "\0\0\0\0\2\x08\1") FRAMES_END("0"), true,
		   "grpc: SERVING");
	CHECK_GRPC("shop.Cart", FRAMES_BEGIN FRAMES_DATA("\7", "\0\0\0\0\2\x08\2") FRAMES_END("0"),
		   false, "grpc shop.Cart: NOT_SERVING");
	CHECK_GRPC("", FRAMES_BEGIN FRAMES_END("5"), false,
		   "grpc: NOT_FOUND (5): the server does not know this service");
	CHECK_GRPC("", FRAMES_BEGIN FRAMES_DATA("\2", "ok") FRAMES_END("0"), false,
		   "grpc: the answer is no HealthCheckResponse");
	CHECK_GRPC("",
		   "\0\0\0\4\0\0\0\0\0"
		   "\0\0\1\1\5\0\0\0\1\x88",
		   false, "grpc: the answer is no gRPC");
}

static void test_probe_answers_of_other_kinds_are_explained(void **state)
{
	static const struct health_config tls = {
		.kind = HEALTH_KIND_HTTP,
		.path = (char *)"/healthz",
		.tls = true,
		.statuses = {{200, 299}},
		.n_statuses = 1,
		.timeout_ms = 10000,
	};
	struct health_config two = tls;

	(void)state;
	two.tls = false;
	two.http2 = true;
	check_text(&http, SERVER_ANSWERS, "\x15\x03\x01",
		   "GET /healthz: this port speaks TLS: use \"https\"");
	/* It goes on to wait, and need not be waited for. */
	check_text(&http, SERVER_HANGS, "+PONG\r\n",
		   "GET /healthz: the answer is not HTTP/1: \"+PONG\"");
	check_text(&http, SERVER_ANSWERS,
		   "HTTP/1.1 400 Bad Request\r\n\r\nThe plain HTTP request was sent to HTTPS port",
		   "GET /healthz: 400 Bad Request is not in 200-299: this port speaks TLS: use "
		   "\"https\"");
	check_text(&tls, SERVER_ANSWERS, "HTTP/1.1 400 Bad Request\r\n\r\n",
		   "GET /healthz: this port speaks plain HTTP/1: use \"http\"");
	check_text(&tls, SERVER_ANSWERS, "SSH-2.0-x\r\n",
		   "GET /healthz: the answer is not TLS: \"SSH-2.0-x\"");
	check_text(&tls, SERVER_ANSWERS, "",
		   "GET /healthz: the connection was closed without an answer (if the server "
		   "expects the PROXY protocol: set \"proxy_protocol\")");
	check_text(
		&two, SERVER_ANSWERS, "HTTP/1.1 400 Bad Request\r\n\r\n",
		"GET /healthz: no answer in HTTP/2: use \"http\" if the server speaks HTTP/1, add "
		"\"tls\" if it speaks TLS, \"proxy_protocol\" if it expects that");
}

static void test_probe_http_interim_answers_are_passed_over(void **state)
{
	struct caller caller = {0};

	(void)state;
	serve("127.0.0.1:4712", SERVER_ANSWERS,
	      "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 Fine\r\n\r\n");
	start(&caller, &http, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_string_equal(caller.result.text, "GET /healthz: 200 Fine");
}

static void test_probe_http_proxy_of_the_environment_is_ignored(void **state)
{
	struct caller caller = {0};

	(void)state;
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "socks5://127.0.0.1:1", 1);
	serve("127.0.0.1:4712", SERVER_ANSWERS, "HTTP/1.1 200 OK\r\n\r\n");
	start(&caller, &http, "127.0.0.1:4712");
	run_until_done(&caller);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
	assert_true(caller.result.ok);
}

static void test_probe_http_reaches_every_kind_of_address(void **state)
{
	static const struct {
		const char *address, *host;
		sa_family_t family;
	} cases[] = {
		{"[::1]:4712", "\r\nHost: [::1]:4712\r\n", AF_INET6},
		{"[::]:4712", "\r\nHost: [::1]:4712\r\n", AF_INET6},
		{"0.0.0.0:4712", "\r\nHost: 127.0.0.1:4712\r\n", AF_INET},
		{":4712", "\r\nHost: 127.0.0.1:4712\r\n", AF_INET},
		{"127.0.0.5:4712", "\r\nHost: 127.0.0.5:4712\r\n", AF_INET},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct caller caller = {0};

		serve(cases[i].address, SERVER_ANSWERS, "HTTP/1.1 200 OK\r\n\r\n");
		start(&caller, &http, cases[i].address);
		run_until_done(&caller);
		assert_string_equal(caller.result.text, "GET /healthz: 200 OK");
		assert_non_null(strstr(server.request, cases[i].host));
		assert_int_equal(caller.source.ss_family, cases[i].family);
		stop_server();
	}
}

static void test_probe_http_endless_answer_ends(void **state)
{
	struct caller caller = {0};

	(void)state;
	serve("127.0.0.1:4712", SERVER_FLOODS, "HTTP/1.1 200 OK\r\n\r\n");
	start(&caller, &http, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_true(caller.result.ok);
	assert_string_equal(caller.result.text, "GET /healthz: 200 OK");
	assert_int_equal(strlen(caller.result.body), PROBE_BODY_MAX - 1);
}

static void test_probe_http_failures_say_what_happened(void **state)
{
	struct health_config quick = http;
	struct caller queued = {0}; /* it says: not yet accepted */

	(void)state;
	quick.timeout_ms = 150;
	serve("127.0.0.1:4712", SERVER_DOES_NOT_ACCEPT, "");
	start(&queued, &quick, "127.0.0.1:4712");
	run_until_done(&queued);
	assert_string_equal(queued.result.text,
			    "GET /healthz: no answer within 150ms (connected, nothing received; "
			    "connections wait to be accepted)");
	assert_int_equal(queued.asks, 1);
	stop_server();
	check_text(&quick, SERVER_HANGS, "",
		   "GET /healthz: no answer within 150ms (connected, nothing received)");
	check_text(&quick, SERVER_HANGS, "HTTP/1.1 20",
		   "GET /healthz: no answer within 150ms (connected, an answer began)");
	check_text(&quick, SERVER_HANGS, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
		   "GET /healthz: 200 OK, but its end did not come within 150ms");
	check_text(&http, SERVER_ANSWERS, "",
		   "GET /healthz: the connection was closed without an answer (if the server "
		   "expects the PROXY protocol: set \"proxy_protocol\"; if it speaks TLS: use "
		   "\"https\")");
	check_text(&http, SERVER_RESETS, "",
		   "GET /healthz: Connection reset by peer (if the server expects the PROXY "
		   "protocol: set \"proxy_protocol\"; if it speaks TLS: use \"https\")");
	check_text(&http, SERVER_ANSWERS, "HTTP/1.1 200 OK\r\nContent-Ty",
		   "GET /healthz: 200 OK, but the connection was closed within its header");
	check_text(&http, SERVER_ANSWERS, "HTTP/1.1 OK\r\n\r\n",
		   "GET /healthz: the answer begins with \"HTTP/\", but has no status line of "
		   "HTTP/1");
	check_text(&http, SERVER_ANSWERS, "SSH-2.0-x\r\n",
		   "GET /healthz: the answer is not HTTP/1: \"SSH-2.0-x\"");
	check_text(&http, SERVER_ANSWERS, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
		   "GET /healthz: 200 OK, but its end did not come: the connection was closed");
}

static void test_probe_nobody_listens_is_refused(void **state)
{
	struct caller caller = {0}, other = {.connected_result = 1};

	(void)state;
	start(&caller, &http, "127.0.0.1:4712");
	start(&other, &connecting, "[::1]:4712");
	run_until_done(&caller);
	run_until_done(&other);
	assert_string_equal(caller.result.text, "connect: Connection refused");
	assert_string_equal(other.result.text, "[::1]:4712: connect: Connection refused");
	assert_int_equal(caller.result.status, 0);
	assert_int_equal(caller.binds, 1);
	assert_int_equal(other.asks, 0);
}

static void test_probe_full_backlog_is_no_answer(void **state)
{
	struct health_config quick = http;
	struct caller caller = {0};
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(PORT),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int client;

	(void)state;
	serve("127.0.0.1:4712", SERVER_DOES_NOT_ACCEPT, "");
	assert_int_equal(listen(server.listener, 0), 0);
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, (struct sockaddr *)&in, sizeof(in)), 0);
	quick.timeout_ms = 150;
	start(&caller, &quick, "127.0.0.1:4712");
	run_until_done(&caller);
	close(client);
	assert_string_equal(caller.result.text, "connect: no answer within 150ms");
}

static void test_probe_foreign_address_cannot_be_bound(void **state)
{
	struct caller caller = {0};

	(void)state;
	start(&caller, &http, "192.0.2.1:4712");
	run_until_done(&caller);
	assert_string_equal(caller.result.text, "bind: Cannot assign requested address");
	assert_int_equal(caller.binds, 0);
}

/* ---- HEALTH_KIND_CONNECT
 * ------------------------------------------------------------------------- */

static void test_probe_connect_waits_until_accepted(void **state)
{
	struct caller caller = {.connected_after = 2, .connected_result = 1};

	(void)state;
	serve("127.0.0.1:4712", SERVER_DOES_NOT_ACCEPT, "");
	start(&caller, &connecting, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_true(caller.result.ok);
	assert_string_equal(caller.result.text, "connected and accepted");
	assert_int_equal(caller.asks, 3);
	/* Asked at once, a millisecond later, and after two more. */
	assert_true(caller.result.took_ms >= 3 && caller.result.took_ms < 200);
}

/* It answers before the server has said what it says first, and that is no reset for the server. */
static void test_probe_connect_does_not_wait_for_a_greeting_but_lets_it_in(void **state)
{
	struct caller caller = {.connected_result = 1};
	char text[8];
	ssize_t n;
	int fd;

	(void)state;
	serve("127.0.0.1:4712", SERVER_DOES_NOT_ACCEPT, "");
	start(&caller, &connecting, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_true(caller.result.ok);
	fd = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(fd >= 0);
	assert_int_equal(recv(fd, text, sizeof(text), 0), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(send(fd, "220 hi", 6, MSG_NOSIGNAL), 6);
	while ((n = recv(fd, text, sizeof(text), 0)) < 0 && errno == EAGAIN)
		sd_event_run(event, 100000);
	assert_int_equal(n, 0);
	close(fd);
}

static void test_probe_connect_never_accepted_says_so(void **state)
{
	struct caller caller = {0};

	(void)state;
	serve("127.0.0.1:4712", SERVER_DOES_NOT_ACCEPT, "");
	start(&caller, &connecting, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_false(caller.result.ok);
	assert_string_equal(caller.result.text,
			    "127.0.0.1:4712: connected, but nothing accepted the connection within "
			    "200ms");
	assert_in_range(caller.asks, 3, 16);
	assert_in_range(caller.result.took_ms, 200, 1000);
}

static void test_probe_connect_given_up_says_why(void **state)
{
	struct caller gone = {.connected_result = -ENOENT}, other = {.connected_result = -EPERM};

	(void)state;
	serve("127.0.0.1:4712", SERVER_DOES_NOT_ACCEPT, "");
	start(&gone, &connecting, "127.0.0.1:4712");
	start(&other, &connecting, "127.0.0.1:4712");
	run_until_done(&gone);
	run_until_done(&other);
	assert_string_equal(gone.result.text,
			    "127.0.0.1:4712: connected, but the listening socket is gone");
	assert_false(gone.result.unasked);
	assert_true(other.result.unasked);
	assert_string_equal(
		other.result.text,
		"127.0.0.1:4712: connected, but whether it was accepted cannot be told: "
		"Operation not permitted");
}

/* ---- what is left of a connection ------------------------------------------------------------ */

/* Connections of port 4713 in TIME_WAIT, of either side (6: include/net/tcp_states.h). */
static int count_time_wait(const char *file)
{
	FILE *table = fopen(file, "re");
	char line[512];
	int n = 0;

	assert_non_null(table);
	while (fgets(line, sizeof(line), table)) {
		unsigned local, peer, state;

		n += sscanf(line, "%*d: %*[^:]:%x %*[^:]:%x %x", &local, &peer, &state) == 3 &&
		     (local == 4713 || peer == 4713) && state == 6;
	}
	fclose(table);
	return n;
}

/* 250 of them, as many at once as the server has room for. */
static void check_leaves_nothing(const char *listen_text, const struct health_config *health,
				 enum server_mode mode, const char *reply)
{
	enum { N = 250 };
	static struct caller callers[N];
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	memset(callers, 0, sizeof(callers));
	serve(listen_text, mode, reply);
	for (int i = 0; i < N; i++) {
		callers[i].connected_result = 1;
		start(&callers[i], health, listen_text);
	}
	for (int i = 0; i < N; i++) {
		run_until_done(&callers[i]);
		assert_true(callers[i].result.ok);
	}
	while (server.ends + server.resets < N && clock_monotonic_ms() < end)
		sd_event_run(event, 100000);
	assert_int_equal(server.ends, N);
	assert_int_equal(server.resets, 0);
	assert_int_equal(count_time_wait("/proc/net/tcp") + count_time_wait("/proc/net/tcp6"), 0);
	stop_server();
}

static void test_probe_leaves_no_time_wait_and_no_reset(void **state)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	static const char *const addresses[] = {"127.0.0.1:4713", "[::1]:4713"};
	struct health_config patient = connecting, patient_http = http;

	(void)state;
	patient.timeout_ms = patient_http.timeout_ms = 10000;
	for (size_t i = 0; i < 2; i++) {
		check_leaves_nothing(addresses[i], &patient, SERVER_KEEPS, "");
		check_leaves_nothing(addresses[i], &patient_http, SERVER_KEEPS, ok);
	}
	check_leaves_nothing(addresses[0], &patient, SERVER_GREETS, "220 hello\r\n");
}

/* ---- own trouble ---------------------------------------------------------------------------- */

static void check_unasked(const struct health_config *health, const char *text)
{
	struct caller caller = {.connected_result = 1};

	start(&caller, health, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_true(caller.result.unasked);
	assert_false(caller.result.ok);
	assert_string_equal(caller.result.text, text);
}

static void write_port_range(const char *range)
{
	FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "we");

	assert_non_null(file);
	assert_true(fputs(range, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void test_probe_no_local_port_is_neither_good_nor_bad(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(40000),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct caller caller = {0};
	int taken;

	(void)state;
	serve("127.0.0.1:4712", SERVER_ANSWERS, "HTTP/1.1 200 OK\r\n\r\n");
	write_port_range("40000 40000");
	taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(taken, (struct sockaddr *)&in, sizeof(in)), 0);
	check_unasked(&http, "not asked: bind: this host has no local port left "
			     "(net.ipv4.ip_local_port_range says how many it has)");
	check_unasked(&connecting,
		      "not asked: 127.0.0.1:4712: bind: this host has no local port left "
		      "(net.ipv4.ip_local_port_range says how many it has)");
	close(taken);
	start(&caller, &http, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_true(caller.result.ok);
	assert_false(caller.result.unasked);
	write_port_range("32768 60999");
}

static void test_probe_no_descriptor_is_neither_good_nor_bad(void **state)
{
	struct rlimit before, none;

	(void)state;
	serve("127.0.0.1:4712", SERVER_ANSWERS, "HTTP/1.1 200 OK\r\n\r\n");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	check_unasked(&http, "not asked: socket: Too many open files");
	check_unasked(&connecting, "not asked: 127.0.0.1:4712: socket: Too many open files");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* ---- starting, cancelling ------------------------------------------------------------------- */

static void test_probe_start_bad_question_is_einval(void **state)
{
	static const struct probe_callbacks none = {0};
	struct health_config health = http;
	struct address address;
	struct probe *probe = NULL;
	static const char *const bad[] = {"", "x", "/a b", "/\r\nX: y", "/a\n"};

	(void)state;
	assert_int_equal(address_parse("127.0.0.1:4712", &address, &err), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		health.path = (char *)bad[i];
		assert_int_equal(probe_start(prober, &health, &address, &none, NULL, &probe, &err),
				 -EINVAL);
	}
	health = http;
	health.host = (char *)"a\r\nb: c";
	assert_int_equal(probe_start(prober, &health, &address, &none, NULL, &probe, &err),
			 -EINVAL);
	health.kind = HEALTH_KIND_NOTIFY;
	assert_int_equal(probe_start(prober, &health, &address, &none, NULL, &probe, NULL),
			 -EINVAL);
	assert_null(probe);
}

static void test_probe_refused_pin_ends_it(void **state)
{
	struct caller caller = {.bind_result = -EPERM};

	(void)state;
	serve("127.0.0.1:4712", SERVER_ANSWERS, "HTTP/1.1 200 OK\r\n\r\n");
	start(&caller, &http, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_string_equal(caller.result.text,
			    "not asked: pin the probe's source: Operation not permitted");
	assert_true(caller.result.unasked);
	assert_int_equal(caller.binds, 1);
	assert_int_equal(server.accepted, 0);
}

static void test_probe_cancel_at_every_stage_is_silent(void **state)
{
	struct caller at_once = {0}, running = {0}, asking = {0};
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	(void)state;
	probe_cancel(NULL);
	serve("127.0.0.1:4712", SERVER_HANGS, "");
	start(&at_once, &http, "127.0.0.1:4712");
	cancel(&at_once);
	start(&running, &http, "127.0.0.1:4712");
	start(&asking, &connecting, "127.0.0.1:4712");
	while ((!asking.asks || !server.request[0]) && clock_monotonic_ms() < end)
		sd_event_run(event, 100000);
	assert_int_equal(running.binds, 1);
	assert_int_equal(running.closes, 0);
	cancel(&running);
	assert_int_equal(running.closes, 1);
	cancel(&asking);
	assert_int_equal(asking.closes, 1);
	run_for(300);
	assert_int_equal(at_once.binds, 0);
	assert_int_equal(at_once.dones + running.dones + asking.dones, 0);
	assert_int_equal(running.closes + asking.closes, 2);
}

static void test_probe_cancel_itself_from_each_callback_is_safe(void **state)
{
	struct caller in_bind = {0}, in_close = {0}, in_connected = {0}, in_done = {0};

	(void)state;
	serve("127.0.0.1:4712", SERVER_ANSWERS, "HTTP/1.1 200 OK\r\n\r\n");
	in_bind.cancel_on_bind = &in_bind;
	in_close.cancel_on_close = &in_close;
	in_connected.cancel_on_connected = &in_connected;
	in_connected.connected_result = 1;
	in_done.cancel_on_done = &in_done;
	start(&in_bind, &http, "127.0.0.1:4712");
	start(&in_close, &http, "127.0.0.1:4712");
	start(&in_connected, &connecting, "127.0.0.1:4712");
	start(&in_done, &http, "127.0.0.1:4712");
	run_until_done(&in_done);
	run_for(300);
	assert_int_equal(in_bind.binds, 1);
	assert_int_equal(in_bind.closes, 0);
	assert_int_equal(in_close.closes, 1);
	assert_int_equal(in_connected.closes, 1);
	assert_int_equal(in_bind.dones + in_close.dones + in_connected.dones, 0);
	assert_int_equal(in_done.dones, 1);
}

static void test_probe_cancel_itself_when_asked_about_its_queue_is_safe(void **state)
{
	struct health_config quick = http;
	struct caller caller = {0};

	(void)state;
	quick.timeout_ms = 150;
	caller.cancel_on_connected = &caller;
	serve("127.0.0.1:4712", SERVER_DOES_NOT_ACCEPT, "");
	start(&caller, &quick, "127.0.0.1:4712");
	run_for(400);
	assert_int_equal(caller.asks, 1);
	assert_int_equal(caller.closes, 1);
	assert_int_equal(caller.dones, 0);
}

static void check_cancel_other(struct caller *canceller, const struct health_config *health)
{
	/* It must not end by itself before it is cancelled, also on a busy machine. */
	static const struct health_config patient = {.kind = HEALTH_KIND_CONNECT,
						     .timeout_ms = 20000};
	struct caller victims[3] = {0};

	/* One that is new, one that hangs in curl, one that asks. */
	serve("127.0.0.1:4712", SERVER_HANGS, "");
	start(&victims[0], &http, "127.0.0.1:4712");
	start(&victims[1], &patient, "127.0.0.1:4712");
	run_for(50);
	assert_int_equal(victims[0].binds + victims[1].binds, 2);
	server.mode = SERVER_ANSWERS;
	server.reply = "HTTP/1.1 200 OK\r\n\r\n";
	for (int i = 0; i < 3; i++) {
		struct caller *c = &canceller[i];

		c->cancel_on_bind = c->cancel_on_bind ? &victims[i] : NULL;
		c->cancel_on_close = c->cancel_on_close ? &victims[i] : NULL;
		c->cancel_on_connected = c->cancel_on_connected ? &victims[i] : NULL;
		c->cancel_on_done = c->cancel_on_done ? &victims[i] : NULL;
		c->connected_result = 1;
		start(c, health, "127.0.0.1:4712");
	}
	start(&victims[2], &http, "127.0.0.1:4712");
	for (int i = 0; i < 3; i++)
		run_until_done(&canceller[i]);
	run_for(300);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(victims[i].dones, 0);
		assert_int_equal(victims[i].closes, victims[i].binds);
		assert_null(victims[i].probe);
	}
	stop_server();
}

static void test_probe_cancel_others_from_each_callback_is_safe(void **state)
{
	struct caller mark;

	(void)state;
	check_cancel_other((struct caller[3]){{.cancel_on_bind = &mark},
					      {.cancel_on_bind = &mark},
					      {.cancel_on_bind = &mark}},
			   &http);
	check_cancel_other((struct caller[3]){{.cancel_on_close = &mark},
					      {.cancel_on_close = &mark},
					      {.cancel_on_bind = &mark}},
			   &http);
	check_cancel_other((struct caller[3]){{.cancel_on_done = &mark},
					      {.cancel_on_done = &mark},
					      {.cancel_on_bind = &mark}},
			   &http);
	check_cancel_other((struct caller[3]){{.cancel_on_connected = &mark},
					      {.cancel_on_connected = &mark},
					      {.cancel_on_bind = &mark}},
			   &connecting);
}

static void test_probe_start_from_on_done_works(void **state)
{
	struct caller caller = {.restart_on_done = true};

	(void)state;
	serve("127.0.0.1:4712", SERVER_ANSWERS, "HTTP/1.1 200 OK\r\n\r\n");
	start(&caller, &http, "127.0.0.1:4712");
	run_until_done(&caller);
	assert_int_equal(caller.binds, 2);
	assert_int_equal(server.accepted, 2);
	assert_true(caller.result.ok);
}

static void test_probe_many_at_once_all_end(void **state)
{
	static struct caller callers[CONNECTIONS];

	(void)state;
	memset(callers, 0, sizeof(callers));
	serve("127.0.0.1:4712", SERVER_ANSWERS, "HTTP/1.1 200 OK\r\n\r\n");
	for (int i = 0; i < CONNECTIONS; i++)
		start(&callers[i], &http, "127.0.0.1:4712");
	for (int i = 0; i < CONNECTIONS; i++) {
		run_until_done(&callers[i]);
		assert_string_equal(callers[i].result.text, "GET /healthz: 200 OK");
	}
}

static void test_probe_prober_freed_with_probes_leaks_nothing(void **state)
{
	struct caller fresh = {0}, running = {0};

	(void)state;
	serve("127.0.0.1:4712", SERVER_HANGS, "");
	start(&running, &http, "127.0.0.1:4712");
	run_for(50);
	start(&fresh, &http, "127.0.0.1:4712");
	prober_free(prober);
	prober = NULL;
	assert_int_equal(running.closes, 1);
	assert_int_equal(running.dones + fresh.dones + fresh.binds, 0);
	prober_free(NULL);
}

/* ---- probe_url() ---------------------------------------------------------------------------- */

static const struct status_range good = {200, 299};

static void start_url(struct caller *caller, const char *url, const struct status_range *statuses,
		      uint64_t timeout_ms)
{
	if (probe_url(prober, url, statuses, 1, timeout_ms, on_done, caller, &caller->probe, &err) <
	    0)
		fail_msg("%s", err.text);
	assert_int_equal(caller->dones, 0);
}

static void check_url(const char *url, enum server_mode mode, const char *reply, bool ok,
		      const char *text)
{
	struct caller caller = {0};

	if (reply)
		serve("127.0.0.1:4712", mode, reply);
	start_url(&caller, url, &good, mode == SERVER_HANGS ? 150 : 10000);
	run_until_done(&caller);
	assert_string_equal(caller.result.text, text);
	assert_int_equal(caller.result.ok, ok);
	assert_int_equal(caller.binds, 0);
	stop_server();
}

/* Until the resolver's threads have ended, and closed what is theirs. */
static void await_threads(void)
{
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;
	int n;

	do {
		DIR *folder = opendir("/proc/self/task");

		assert_non_null(folder);
		for (n = -3; readdir(folder); n++)
			;
		closedir(folder);
		run_for(5);
	} while (n > 0 && clock_monotonic_ms() < end);
	assert_int_equal(n, 0);
}

static void test_probe_url_asks_and_hides_what_is_secret(void **state)
{
	struct caller caller = {0};

	(void)state;
	serve("127.0.0.1:4712", SERVER_ANSWERS, "HTTP/1.1 204 No Content\r\n\r\n");
	start_url(&caller, "http://user:secret@127.0.0.1:4712/check?key=1#part", &good, 10000);
	run_until_done(&caller);
	assert_true(caller.result.ok);
	assert_int_equal(caller.result.status, 204);
	assert_string_equal(caller.result.text, "GET http://127.0.0.1:4712/check: 204 No Content");
	assert_memory_equal(server.request, "GET /check?key=1 HTTP/1.1\r\n", 27);
	assert_non_null(strstr(server.request, "\r\nAuthorization: Basic dXNlcjpzZWNyZXQ=\r\n"));
}

static void test_probe_url_status_decides(void **state)
{
	static const struct status_range moved = {300, 399};
	const char *redirect = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:4712/other\r\n"
			       "Content-Length: 0\r\n\r\n";
	struct caller caller = {0};

	(void)state;
	check_url("http://127.0.0.1:4712", SERVER_ANSWERS,
		  "HTTP/1.1 503 Service Unavailable\r\n\r\nno", false,
		  "GET http://127.0.0.1:4712/: 503 Service Unavailable is not in 200-299");
	check_url(
		"http://127.0.0.1:4712/", SERVER_ANSWERS, redirect, false,
		"GET http://127.0.0.1:4712/: 302 Found (Location: http://127.0.0.1:4712/other) is "
		"not in 200-299");
	serve("127.0.0.1:4712", SERVER_ANSWERS, redirect);
	start_url(&caller, "http://127.0.0.1:4712/", &moved, 10000);
	run_until_done(&caller);
	assert_true(caller.result.ok);
	assert_int_equal(server.accepted, 1);
}

static void test_probe_url_failures_name_the_question(void **state)
{
	(void)state;
	check_url("http://127.0.0.1:4712/a", SERVER_ANSWERS, NULL, false,
		  "GET http://127.0.0.1:4712/a: connect: Connection refused");
	check_url("http://127.0.0.1:4712/a", SERVER_HANGS, "", false,
		  "GET http://127.0.0.1:4712/a: no answer within 150ms (connected, nothing "
		  "received)");
	check_url("http://127.0.0.1:4712/a", SERVER_RESETS, "", false,
		  "GET http://127.0.0.1:4712/a: Connection reset by peer");
	check_url("http://127.0.0.1:4712/a", SERVER_ANSWERS, "SSH-2.0-x\r\n", false,
		  "GET http://127.0.0.1:4712/a: the answer is not HTTP/1: \"SSH-2.0-x\"");
	check_url("http://nobody.invalid/a", SERVER_ANSWERS, NULL, false,
		  "GET http://nobody.invalid/a: Could not resolve host: nobody.invalid");
	await_threads();
}

static void test_probe_url_endless_answer_ends(void **state)
{
	(void)state;
	check_url("http://127.0.0.1:4712/", SERVER_FLOODS, "HTTP/1.1 200 OK\r\n\r\n", true,
		  "GET http://127.0.0.1:4712/: 200 OK");
}

static void test_probe_url_name_is_looked_up_and_each_address_tried(void **state)
{
	(void)state;
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	check_url("http://localhost:4712/", SERVER_ANSWERS, "HTTP/1.1 200 OK\r\n\r\n", true,
		  "GET http://localhost:4712/: 200 OK");
	unsetenv("http_proxy");
	await_threads();
}

static void test_probe_url_https_is_spoken(void **state)
{
	const char *prefix = "GET https://localhost:4712/: ";
	struct caller caller = {0};

	(void)state;
	serve("127.0.0.1:4712", SERVER_ANSWERS, "HTTP/1.1 200 OK\r\n\r\n");
	start_url(&caller, "https://localhost:4712/", &good, 10000);
	run_until_done(&caller);
	assert_false(caller.result.ok);
	assert_memory_equal(server.request, "\x16\x03", 2); /* a handshake (RFC 8446, 5.1) */
	assert_memory_equal(caller.result.text, prefix, strlen(prefix));
	/* The first address' fate is not what failed. */
	assert_null(strstr(caller.result.text, "refused"));
	await_threads();
}

static void test_probe_url_bad_question_is_einval(void **state)
{
	static const struct status_range many[CONFIG_STATUSES_MAX + 1];
	static const char *const bad[] = {
		"",
		"/a",
		"127.0.0.1:4712/",
		"ftp://127.0.0.1/",
		"file:///dev/null",
		"http://",
		"http://a b/",
		"http://a/\r\nX: y",
		"gopher://a/",
	};
	struct probe *probe = NULL;
	char url[PROBE_URL_MAX + 2];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
			probe_url(prober, bad[i], &good, 1, 100, on_done, NULL, &probe, &err),
			-EINVAL);
		assert_string_equal(err.text,
				    "probe: not a URL that begins with http:// or https://");
	}
	memset(url, 'a', sizeof(url));
	memcpy(url, "http://a/", 9);
	url[PROBE_URL_MAX + 1] = '\0';
	assert_int_equal(probe_url(prober, url, &good, 1, 100, on_done, NULL, &probe, &err),
			 -EINVAL);
	assert_int_equal(probe_url(prober, "http://a/", many, CONFIG_STATUSES_MAX + 1, 100, on_done,
				   NULL, &probe, &err),
			 -EINVAL);
	assert_null(probe);
}

static void test_probe_url_cancel_at_every_stage_is_silent(void **state)
{
	struct caller at_once = {0}, looking_up = {0}, running = {0};
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	(void)state;
	serve("127.0.0.1:4712", SERVER_HANGS, "");
	start_url(&at_once, "http://127.0.0.1:4712/", &good, 10000);
	cancel(&at_once);
	start_url(&looking_up, "http://nobody.invalid/", &good, 10000);
	sd_event_run(event, 0);
	cancel(&looking_up);
	start_url(&running, "http://127.0.0.1:4712/", &good, 10000);
	while (!server.request[0] && clock_monotonic_ms() < end)
		sd_event_run(event, 100000);
	cancel(&running);
	await_threads();
	assert_int_equal(at_once.dones + looking_up.dones + running.dones, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_probe_http_200_is_ok),
		TEST(test_probe_http_request_is_as_promised),
		TEST(test_probe_http_bad_status_says_which_and_why),
		TEST(test_probe_http_redirect_is_not_followed),
		TEST(test_probe_http_redirect_within_the_endpoint_is_followed_if_asked),
		TEST(test_probe_http_method_and_headers_are_sent),
		TEST(test_probe_http_body_is_to_match),
		TEST(test_probe_proxy_header_comes_first),
		TEST(test_probe_grpc_health_is_asked),
		TEST(test_probe_answers_of_other_kinds_are_explained),
		TEST(test_probe_http_interim_answers_are_passed_over),
		TEST(test_probe_http_proxy_of_the_environment_is_ignored),
		TEST(test_probe_http_reaches_every_kind_of_address),
		TEST(test_probe_http_endless_answer_ends),
		TEST(test_probe_http_failures_say_what_happened),
		TEST(test_probe_nobody_listens_is_refused),
		TEST(test_probe_full_backlog_is_no_answer),
		TEST(test_probe_foreign_address_cannot_be_bound),
		TEST(test_probe_connect_waits_until_accepted),
		TEST(test_probe_connect_never_accepted_says_so),
		TEST(test_probe_connect_does_not_wait_for_a_greeting_but_lets_it_in),
		TEST(test_probe_connect_given_up_says_why),
		TEST(test_probe_leaves_no_time_wait_and_no_reset),
		TEST(test_probe_no_local_port_is_neither_good_nor_bad),
		TEST(test_probe_no_descriptor_is_neither_good_nor_bad),
		TEST(test_probe_start_bad_question_is_einval),
		TEST(test_probe_refused_pin_ends_it),
		TEST(test_probe_cancel_at_every_stage_is_silent),
		TEST(test_probe_cancel_itself_from_each_callback_is_safe),
		TEST(test_probe_cancel_itself_when_asked_about_its_queue_is_safe),
		TEST(test_probe_cancel_others_from_each_callback_is_safe),
		TEST(test_probe_start_from_on_done_works),
		TEST(test_probe_many_at_once_all_end),
		TEST(test_probe_prober_freed_with_probes_leaks_nothing),
		TEST(test_probe_url_asks_and_hides_what_is_secret),
		TEST(test_probe_url_status_decides),
		TEST(test_probe_url_failures_name_the_question),
		TEST(test_probe_url_endless_answer_ends),
		TEST(test_probe_url_name_is_looked_up_and_each_address_tried),
		TEST(test_probe_url_https_is_spoken),
		TEST(test_probe_url_bad_question_is_einval),
		TEST(test_probe_url_cancel_at_every_stage_is_silent),
	};
	const char *reason = netns_enter();

	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
