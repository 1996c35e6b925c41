/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * relay_fixture: a relay whose sinks are pipes that the test reads, or not. Included after
 * cmocka.h.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/relay.h"
#include "common/clock.h"

#define DEADLINE_MS 20000

/* Runs the loop of the variable fixture until @condition holds. */
#define AWAIT(condition)                                                                           \
	do {                                                                                       \
		uint64_t end_ = clock_monotonic_ms() + DEADLINE_MS;                                \
		while (!(condition)) {                                                             \
			if (clock_monotonic_ms() > end_)                                           \
				fail_msg("%s", #condition);                                        \
			assert_true(sd_event_run(fixture->event, 100000) >= 0);                    \
		}                                                                                  \
	} while (0)

struct fixture {
	sd_event *event;
	struct relay *relay;
	int out[2];
	int err[2];
};

static inline int setup(void **data)
{
	static struct fixture fixture;
	struct error err;

	if (sd_event_new(&fixture.event) < 0 || pipe2(fixture.out, O_CLOEXEC | O_NONBLOCK) < 0 ||
	    pipe2(fixture.err, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	*data = &fixture;
	return relay_new(fixture.event, fixture.out[1], fixture.err[1], (uid_t)-1, &fixture.relay,
			 &err);
}

static inline int teardown(void **data)
{
	struct fixture *fixture = *data;

	relay_free(fixture->relay);
	sd_event_unref(fixture->event);
	for (size_t i = 0; i < 2; i++) {
		if (fixture->out[i] >= 0)
			close(fixture->out[i]);
		if (fixture->err[i] >= 0)
			close(fixture->err[i]);
	}
	return 0;
}

static inline void turn(struct fixture *fixture)
{
	for (int i = 0; i < 10000; i++)
		if (sd_event_run(fixture->event, 0) == 0)
			return;
	fail_msg("the event loop is busy for ever");
}

static inline void write_text(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* What has arrived, as text; at most @size - 1 bytes. */
static inline size_t read_text(int fd, char *ret, size_t size)
{
	size_t n = 0;
	ssize_t r;

	while (n < size - 1 && (r = read(fd, ret + n, size - 1 - n)) > 0)
		n += (size_t)r;
	ret[n] = '\0';
	return n;
}

static inline void check_arrived(int fd, const char *expected)
{
	char got[256];

	read_text(fd, got, sizeof(got));
	assert_string_equal(got, expected);
}

static inline void check_tail(struct fixture *fixture, const char *expected)
{
	char got[PROTOCOL_TAIL_MAX];

	relay_tail(fixture->relay, got, NULL, NULL);
	assert_string_equal(got, expected);
}
