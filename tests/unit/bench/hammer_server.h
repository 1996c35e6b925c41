/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hammer_server: for the tests of the load generator. A server, in a thread, that misbehaves in
 * one known way; setup() and teardown() of a test; run() and what to assert of its tally.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/load.h"
#include "tests/unit/fakes/netns.h"

#define HELD_MAX 4096
#define GOOD     "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"

enum manner {
	GOES_ON, /* answer, and wait for the next request */
	CLOSES,  /* FIN once it has sent what it sends */
	RESETS,  /* RST instead */
	HOLDS,   /* neither: keep the connection, and do nothing */
};

/* What the server does with the first and with the second request of each connection. */
static struct {
	int listener;
	struct sockaddr_in address;
	pthread_t thread;
	bool running;
	struct step {
		bool unread; /* do not even read the request */
		const char *answer;
		enum manner manner;
	} steps[2];
	int held[HELD_MAX];
	size_t n_held;
	/* Called before each answer; may change the steps. */
	void (*before)(unsigned number);
	unsigned number;
	uint64_t post_bytes; /* read of bodies */
} server;

static struct tally tally;
static struct settings settings;
static int commands[2] = {-1, -1};
static FILE *output; /* of "report", or NULL */

/* ---- the server ----------------------------------------------------------------------------- */

/* Read one request with its body. False at the end of the connection. */
static bool read_request(int fd)
{
	static char buffer[65536];
	size_t length = 0;
	const char *end = NULL, *field;
	unsigned long body = 0;

	while (!end || length < (size_t)(end - buffer) + 4 + body) {
		ssize_t n = recv(fd, buffer + length, sizeof(buffer) - 1 - length, 0);

		if (n <= 0)
			return false;
		length += (size_t)n;
		buffer[length] = '\0';
		end = strstr(buffer, "\r\n\r\n");
		field = strstr(buffer, "Content-Length: ");
		if (end && field)
			body = strtoul(field + strlen("Content-Length: "), NULL, 10);
	}
	server.post_bytes += body;
	return true;
}

static void end_connection(int fd, enum manner manner)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};

	if (manner == HOLDS && server.n_held < HELD_MAX) {
		server.held[server.n_held++] = fd;
		return;
	}
	if (manner == RESETS)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
}

static void serve_connection(int fd)
{
	for (unsigned i = 0;; i = 1) {
		const struct step *step = &server.steps[i];

		if (!step->unread && !read_request(fd)) {
			close(fd);
			return;
		}
		if (server.before)
			server.before(server.number++);
		if (step->answer)
			(void)!send(fd, step->answer, strlen(step->answer), MSG_NOSIGNAL);
		if (step->manner != GOES_ON) {
			end_connection(fd, step->manner);
			return;
		}
	}
}

static void *serve(void *argument)
{
	int fd;

	(void)argument;
	while ((fd = accept(server.listener, NULL, NULL)) >= 0)
		serve_connection(fd);
	return NULL;
}

static inline void start_server(struct step first, struct step second)
{
	server.steps[0] = first;
	server.steps[1] = second;
	assert_int_equal(listen(server.listener, 128), 0);
	assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
	server.running = true;
}

static void stop_server(void)
{
	if (server.running) {
		/* accept(2) returns EINVAL */
		shutdown(server.listener, SHUT_RDWR);
		pthread_join(server.thread, NULL);
	}
	server.running = false;
	for (size_t i = 0; i < server.n_held; i++)
		close(server.held[i]);
	server.n_held = 0;
}

/* A bound port that nobody listens on: connecting to it is refused. */
static int setup(void **state)
{
	socklen_t length = sizeof(server.address);

	(void)state;
	memset(&server, 0, sizeof(server));
	server.address.sin_family = AF_INET;
	server.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server.listener < 0 ||
	    bind(server.listener, (struct sockaddr *)&server.address, length) < 0 ||
	    getsockname(server.listener, (struct sockaddr *)&server.address, &length) < 0)
		return -1;
	return pipe(commands);
}

static int teardown(void **state)
{
	(void)state;
	stop_server();
	close(server.listener);
	close(commands[0]);
	close(commands[1]);
	tally_done(&tally);
	settings_done(&settings);
	return 0;
}

/* ---- running and counting ------------------------------------------------------------------- */

/* hammer with @options, words with one space between, behind --connect. */
static void run_at(const char *target, const char *options)
{
	const struct load_io io = {.commands = commands[0], .signals = -1, .output = output};
	char words[1024], *argv[32], *rest = NULL;
	struct error err = {0};
	int argc = 0;

	snprintf(words, sizeof(words), "hammer --connect %s %s", target, options);
	for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	argv[argc] = NULL;
	if (settings_parse(argc, argv, &settings, &err) < 0)
		fail_msg("%s", err.text);
	if (load_run(&settings, &io, &tally, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(tally_under_way(&tally), 0);
}

static void run(const char *options)
{
	char target[32];

	snprintf(target, sizeof(target), "127.0.0.1:%u", ntohs(server.address.sin_port));
	run_at(target, options);
}

static inline void say(const char *text)
{
	assert_int_equal(write(commands[1], text, strlen(text)), strlen(text));
}

static inline uint64_t count(enum outcome outcome)
{
	return tally_outcome(&tally, _KIND_COUNT, outcome);
}

/* There were requests, and every single one came out as @expected. */
static inline void assert_all(enum outcome expected)
{
	uint64_t requests = tally_requests(&tally, _KIND_COUNT);

	assert_true(requests > 0);
	for (enum outcome outcome = 0; outcome < _OUTCOME_COUNT; outcome++)
		if (count(outcome) != (outcome == expected ? requests : 0))
			fail_msg("%llu of %llu were %s, expected %s",
				 (unsigned long long)count(outcome), (unsigned long long)requests,
				 outcome_name(outcome), outcome_name(expected));
	assert_int_equal(tally_exit_status(&tally), outcome_is_lost(expected)          ? 1
						    : expected == OUTCOME_CLIENT_ERROR ? 3
										       : 0);
	if (outcome_is_lost(expected))
		assert_true(tally.n_samples > 0);
}

#define SHORT "--short 1 --duration 60ms "
#define KEEP  "--short 0 --keepalive 1 --keepalive-pause 1ms --duration 60ms "
#define POST  "--short 0 --slow-post 1 --post-bytes 3000 --post-duration 20ms --duration 60ms "

/* Of the group. Without the privilege the host's loopback does as well: no port is fixed. */
static int own_network(void **state)
{
	(void)state;
	(void)netns_enter();
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
