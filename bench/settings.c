/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/settings.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/duration.h"

const char settings_help[] =
	"Usage: hammer --connect ADDRESS:PORT [OPTION]...\n"
	"Load one HTTP/1.1 address and count what becomes of every request.\n"
	"\n"
	"Clients (each has one request under way at a time):\n"
	"  --short N               a new connection for each request, at full speed (32)\n"
	"  --keepalive N           request after request on one connection (0)\n"
	"  --keepalive-pause TIME  between the requests of such a client (10ms)\n"
	"  --slow-post N           a body sent in 10 pieces on a new connection (0)\n"
	"  --post-bytes N          length of that body (10000)\n"
	"  --post-duration TIME    from its first piece to its last (300ms)\n"
	"  --idle N                connect and say nothing (0)\n"
	"  --sources N             from 127.0.0.1 to 127.0.0.N in turn (1); 28,000 ports each\n"
	"  --rate N                at most N GET requests a second, all clients together\n"
	"  --threads N             to divide the clients among (1)\n"
	"\n"
	"Requests:\n"
	"  --path PATH             of the GET requests (/)\n"
	"  --post-path PATH        of the slow POSTs (/post)\n"
	"  --post-method METHOD    POST or PUT (POST)\n"
	"\n"
	"What is right:\n"
	"  --expect-status LIST       statuses, as 200,204 (200)\n"
	"  --expect-body REGEX        POSIX extended; matches the whole body, trimmed\n"
	"  --post-expect-status LIST  the same for slow POSTs (as --expect-status)\n"
	"  --post-expect-body REGEX\n"
	"\n"
	"Time:\n"
	"  --duration TIME         begin no request later (10s); 0: until told to stop\n"
	"  --timeout TIME          for a whole answer, connecting included (5s)\n"
	"  --grace TIME            for what is under way at the end (as --timeout)\n"
	"\n"
	"Output:\n"
	"  --json                  one JSON object instead of a table\n"
	"  --help, --version\n"
	"\n"
	"Commands on standard input, one a line:\n"
	"  swap begin | swap end   latencies inside and outside are kept apart\n"
	"  phase NAME              connections begun from now on are counted under NAME\n"
	"  report                  print the counts so far as one line of JSON\n"
	"  stop                    end now, as SIGINT and SIGTERM do; a second signal waits no more\n"
	"The end of standard input means nothing.\n"
	"\n"
	"Lost are requests that were refused, reset, closed_early, timed_out, stuck (not finished in\n"
	"the grace), answered with wrong_status or wrong_body, or met any other error of the network.\n"
	"Not lost, but shown: retried, where a keep-alive connection that had served a request before\n"
	"was closed with no byte of the next answer sent (RFC 9112 section 9.3.1), and client_errors,\n"
	"hammer's own want of ports, descriptors or memory. A client rests 10 ms after a failure.\n"
	"\n"
	"Exit status: 0 nothing lost, 1 lost, 2 usage, 3 nothing lost but client errors.\n";

/* Texts that become fields only once all options are known. */
struct texts {
	const char *connect, *path, *post_path, *post_method;
	const char *status, *body, *post_status, *post_body;
	bool has_grace;
};

enum option_code {
	OPTION_CONNECT = 256,
	OPTION_PATH,
	OPTION_POST_PATH,
	OPTION_POST_METHOD,
	OPTION_EXPECT_STATUS,
	OPTION_EXPECT_BODY,
	OPTION_POST_EXPECT_STATUS,
	OPTION_POST_EXPECT_BODY,
	OPTION_SHORT,
	OPTION_KEEPALIVE,
	OPTION_SLOW_POST,
	OPTION_IDLE,
	OPTION_SOURCES,
	OPTION_THREADS,
	OPTION_RATE,
	OPTION_POST_BYTES,
	OPTION_DURATION,
	OPTION_TIMEOUT,
	OPTION_GRACE,
	OPTION_KEEPALIVE_PAUSE,
	OPTION_POST_DURATION,
	OPTION_JSON,
	OPTION_HELP,
	OPTION_VERSION,
};

static const struct option options[] = {
	{"connect", required_argument, NULL, OPTION_CONNECT},
	{"path", required_argument, NULL, OPTION_PATH},
	{"post-path", required_argument, NULL, OPTION_POST_PATH},
	{"post-method", required_argument, NULL, OPTION_POST_METHOD},
	{"expect-status", required_argument, NULL, OPTION_EXPECT_STATUS},
	{"expect-body", required_argument, NULL, OPTION_EXPECT_BODY},
	{"post-expect-status", required_argument, NULL, OPTION_POST_EXPECT_STATUS},
	{"post-expect-body", required_argument, NULL, OPTION_POST_EXPECT_BODY},
	{"short", required_argument, NULL, OPTION_SHORT},
	{"keepalive", required_argument, NULL, OPTION_KEEPALIVE},
	{"slow-post", required_argument, NULL, OPTION_SLOW_POST},
	{"idle", required_argument, NULL, OPTION_IDLE},
	{"sources", required_argument, NULL, OPTION_SOURCES},
	{"threads", required_argument, NULL, OPTION_THREADS},
	{"rate", required_argument, NULL, OPTION_RATE},
	{"post-bytes", required_argument, NULL, OPTION_POST_BYTES},
	{"duration", required_argument, NULL, OPTION_DURATION},
	{"timeout", required_argument, NULL, OPTION_TIMEOUT},
	{"grace", required_argument, NULL, OPTION_GRACE},
	{"keepalive-pause", required_argument, NULL, OPTION_KEEPALIVE_PAUSE},
	{"post-duration", required_argument, NULL, OPTION_POST_DURATION},
	{"json", no_argument, NULL, OPTION_JSON},
	{"help", no_argument, NULL, OPTION_HELP},
	{"version", no_argument, NULL, OPTION_VERSION},
	{NULL, 0, NULL, 0},
};

static int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret,
			struct error *err)
{
	char *end;
	unsigned long long number;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || number < min || number > max)
		return error_text(err, -EINVAL, "\"%s\" is not a number from %llu to %llu", text,
				  (unsigned long long)min, (unsigned long long)max);
	*ret = number;
	return 0;
}

static int parse_time(const char *text, uint64_t *ret_us, struct error *err)
{
	uint64_t ms;

	if (duration_parse(text, &ms) < 0)
		return error_text(err, -EINVAL, "\"%s\" is not a duration", text);
	*ret_us = ms * 1000;
	return 0;
}

/* Where each number goes. A TIME has no bounds of its own, a COUNT has 32 bits. */
enum width { COUNT, NUMBER, TIME };

#define CLIENTS(code, kind)                                                                        \
	{                                                                                          \
		code, COUNT, 0, SETTINGS_CLIENTS_MAX, offsetof(struct settings, clients[kind])     \
	}
#define TIMES(code, field)                                                                         \
	{                                                                                          \
		code, TIME, 0, 0, offsetof(struct settings, field)                                 \
	}

static const struct {
	int code;
	enum width width;
	uint64_t min, max;
	size_t offset;
} numbers[] = {
	CLIENTS(OPTION_SHORT, KIND_SHORT),
	CLIENTS(OPTION_KEEPALIVE, KIND_KEEPALIVE),
	CLIENTS(OPTION_SLOW_POST, KIND_POST),
	CLIENTS(OPTION_IDLE, KIND_IDLE),
	{OPTION_SOURCES, COUNT, 1, SETTINGS_SOURCES_MAX, offsetof(struct settings, sources)},
	{OPTION_THREADS, COUNT, 1, SETTINGS_THREADS_MAX, offsetof(struct settings, threads)},
	{OPTION_RATE, COUNT, 1, SETTINGS_RATE_MAX, offsetof(struct settings, rate)},
	{OPTION_POST_BYTES, NUMBER, 1, SETTINGS_POST_MAX, offsetof(struct settings, post_bytes)},
	TIMES(OPTION_DURATION, duration_us),
	TIMES(OPTION_TIMEOUT, timeout_us),
	TIMES(OPTION_GRACE, grace_us),
	TIMES(OPTION_KEEPALIVE_PAUSE, keepalive_pause_us),
	TIMES(OPTION_POST_DURATION, post_duration_us),
};

static int apply_number(struct settings *settings, int code, const char *text, struct error *err)
{
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		void *field = (char *)settings + numbers[i].offset;
		uint64_t number = 0;
		int r;

		if (numbers[i].code != code)
			continue;
		if (numbers[i].width == TIME)
			r = parse_time(text, &number, err);
		else
			r = parse_number(text, numbers[i].min, numbers[i].max, &number, err);
		if (r < 0)
			return r;
		if (numbers[i].width == COUNT)
			*(uint32_t *)field = (uint32_t)number;
		else
			*(uint64_t *)field = number;
		return 0;
	}
	return error_text(err, -EINVAL, "unknown");
}

static int apply(struct settings *settings, struct texts *texts, int code, const char *value,
		 struct error *err)
{
	const char **text[] = {
		[OPTION_CONNECT - OPTION_CONNECT] = &texts->connect,
		[OPTION_PATH - OPTION_CONNECT] = &texts->path,
		[OPTION_POST_PATH - OPTION_CONNECT] = &texts->post_path,
		[OPTION_POST_METHOD - OPTION_CONNECT] = &texts->post_method,
		[OPTION_EXPECT_STATUS - OPTION_CONNECT] = &texts->status,
		[OPTION_EXPECT_BODY - OPTION_CONNECT] = &texts->body,
		[OPTION_POST_EXPECT_STATUS - OPTION_CONNECT] = &texts->post_status,
		[OPTION_POST_EXPECT_BODY - OPTION_CONNECT] = &texts->post_body,
	};

	if (code <= OPTION_POST_EXPECT_BODY) {
		*text[code - OPTION_CONNECT] = value;
		return 0;
	}
	texts->has_grace |= code == OPTION_GRACE;
	if (code == OPTION_JSON)
		settings->json = true;
	else if (code == OPTION_HELP)
		settings->help = true;
	else if (code == OPTION_VERSION)
		settings->version = true;
	else
		return apply_number(settings, code, value, err);
	return 0;
}

static int make_request(struct settings *settings, enum kind kind, const char *method,
			const char *path, struct error *err)
{
	char length[64] = "";
	int n;

	if (*path != '/' || strpbrk(path, " \t\r\n"))
		return error_text(err, -EINVAL, "\"%s\" is not a path", path);
	if (kind == KIND_POST)
		snprintf(length, sizeof(length), "Content-Length: %llu\r\n",
			 (unsigned long long)settings->post_bytes);
	n = snprintf(settings->request[kind], SETTINGS_REQUEST_MAX,
		     "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: hammer\r\n%s%s\r\n", method, path,
		     settings->target.text, length,
		     kind == KIND_KEEPALIVE ? "" : "Connection: close\r\n");
	if (n < 0 || n >= SETTINGS_REQUEST_MAX)
		return error_text(err, -EINVAL, "the path is too long");
	settings->request_length[kind] = (size_t)n;
	return 0;
}

static int resolve_target(struct settings *settings, const char *text, struct error *err)
{
	struct address given;
	int r;

	if (!text)
		return error_text(err, -EINVAL, "--connect ADDRESS:PORT is missing");
	r = address_parse(text, &given, err);
	if (r < 0)
		return error_prefix(err, r, "--connect");
	address_local(&given, &settings->target);
	if (settings->sources > 1 && (settings->target.sa.sa_family != AF_INET ||
				      ntohl(settings->target.in.sin_addr.s_addr) >> 24 != 127))
		return error_text(err, -EINVAL, "--sources needs a target in 127.0.0.0/8");
	return 0;
}

static int finish(struct settings *settings, const struct texts *texts, struct error *err)
{
	const char *method = texts->post_method;
	int r;

	if (strcmp(method, "POST") != 0 && strcmp(method, "PUT") != 0)
		return error_text(err, -EINVAL, "--post-method: \"%s\" is neither POST nor PUT",
				  method);
	if (settings_clients(settings) == 0)
		return error_text(err, -EINVAL, "no clients at all");
	if (settings->timeout_us == 0)
		return error_text(err, -EINVAL, "--timeout must not be 0");
	if (settings->rate)
		settings->interval_us = (1000000 + settings->rate - 1) / settings->rate;
	r = resolve_target(settings, texts->connect, err);
	if (r < 0)
		return r;
	r = make_request(settings, KIND_SHORT, "GET", texts->path, err);
	if (r == 0)
		r = make_request(settings, KIND_KEEPALIVE, "GET", texts->path, err);
	if (r < 0)
		return error_prefix(err, r, "--path");
	r = make_request(settings, KIND_POST, method, texts->post_path, err);
	if (r < 0)
		return error_prefix(err, r, "--post-path");
	r = expect_init(&settings->expect, texts->status, texts->body, err);
	if (r < 0)
		return error_prefix(err, r, "--expect-...");
	r = expect_init(&settings->expect_post,
			texts->post_status ? texts->post_status : texts->status, texts->post_body,
			err);
	if (r < 0)
		return error_prefix(err, r, "--post-expect-...");
	return 0;
}

int settings_parse(int argc, char **argv, struct settings *ret, struct error *err)
{
	struct texts texts = {
		.path = "/", .post_path = "/post", .post_method = "POST", .status = "200"};
	int code, index = 0;

	memset(ret, 0, sizeof(*ret));
	ret->clients[KIND_SHORT] = 32;
	ret->sources = 1;
	ret->threads = 1;
	ret->duration_us = 10000000;
	ret->timeout_us = 5000000;
	ret->keepalive_pause_us = 10000;
	ret->post_duration_us = 300000;
	ret->post_bytes = 10000;

	optind = 0; /* glibc: start afresh; tests parse more than once */
	opterr = 0;
	while ((code = getopt_long(argc, argv, ":", options, &index)) != -1) {
		int r;

		if (code == ':')
			return error_text(err, -EINVAL, "%s needs a value", argv[optind - 1]);
		if (code == '?')
			return error_text(err, -EINVAL, "%s: no such option", argv[optind - 1]);
		r = apply(ret, &texts, code, optarg, err);
		if (r < 0)
			return error_prefix(err, r, "--%s", options[index].name);
	}
	if (ret->help || ret->version)
		return 0;
	if (optind < argc)
		return error_text(err, -EINVAL, "\"%s\": no argument is expected", argv[optind]);
	if (!texts.has_grace)
		ret->grace_us = ret->timeout_us;
	return finish(ret, &texts, err);
}

void settings_done(struct settings *settings)
{
	expect_done(&settings->expect);
	expect_done(&settings->expect_post);
}

size_t settings_clients(const struct settings *settings)
{
	size_t sum = 0;

	for (size_t i = 0; i < _KIND_COUNT; i++)
		sum += settings->clients[i];
	return sum;
}
