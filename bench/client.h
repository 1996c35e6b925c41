/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client: one client of the load generator: its connection, and the request that is under way.
 *
 * A client begins a request, waits for epoll and its one timer, and ends the request with exactly
 * one outcome. Then it rests, perhaps for no time at all, until its timer begins the next request.
 * Requests begin only from that timer, so no handler is ever called inside another.
 *
 * Only one failure is excused: the keep-alive race of RFC 9112 section 9.3.1. A connection has
 * served a request before, and is closed (EOF or RST) before any byte of the answer to the next
 * one. That request goes on with a new connection, its clock still running, and counts as retried.
 * The first request of a connection is never excused, nor is a slow POST.
 *
 * Resets stay visible. SO_LINGER is not used, and data that arrived before a reset, which the
 * kernel keeps, is read before the reset is counted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/reply.h"
#include "bench/settings.h"
#include "bench/tally.h"
#include "bench/timers.h"

#define CLIENT_BUFFER_SIZE     (64 * 1024)
#define CLIENT_FAILURE_REST_US 10000  /* so that one outage is not counted a million times */
#define CLIENT_SILENT_REST_US  100000 /* before a silent client connects again */
#define CLIENT_POST_PIECES     10

enum client_state {
	CLIENT_RESTING, /* no request; perhaps an idle connection */
	CLIENT_CONNECTING,
	CLIENT_SENDING,
	CLIENT_RECEIVING,
	CLIENT_SILENT, /* KIND_IDLE, connected */
	CLIENT_FINISHED,
};

/* What the clients of one loop share. */
struct client_context {
	const struct settings *settings;
	struct expect_verdicts verdicts, verdicts_post; /* of the settings' expectations */
	struct tally *tally;
	struct timers timers; /* one per client */
	int epoll_fd;
	uint64_t now_us;      /* set by the loop, and by clients before they measure a time */
	uint64_t interval_us; /* between the beginnings of two GETs; 0: none is kept */
	uint64_t slot_us;     /* with an interval: when the next GET may begin */
	uint32_t next_source;
	size_t under_way;   /* requests */
	bool stopping;      /* begin nothing */
	char *buffer;       /* CLIENT_BUFFER_SIZE, to receive into */
	const char *filler; /* CLIENT_BUFFER_SIZE, the bodies of slow POSTs */
};

struct client {
	enum kind kind;
	enum client_state state;
	uint32_t index; /* of its timer, and epoll's data */
	int fd;         /* -1: none */
	uint32_t interest;
	bool first;     /* this request is the first on its connection */
	uint32_t phase; /* of its connection */
	struct tally_mark mark;
	uint64_t deadline_us;
	uint64_t connect_us;   /* when the connection was begun */
	uint64_t last_sent_us; /* when the request was sent in full */
	uint64_t sent;
	int send_error;      /* found while sending; what had arrived is still to be read */
	struct reply *reply; /* NULL for KIND_IDLE */
};

/* CLOCK_MONOTONIC in microseconds. */
uint64_t client_clock_us(void);

/* Make the client begin its first request at @when_us. @reply stays the caller's. */
void client_start(struct client_context *context, struct client *client, enum kind kind,
		  uint32_t index, struct reply *reply, uint64_t when_us);

/* epoll has @events for it. */
void client_on_event(struct client_context *context, struct client *client, uint32_t events);

/* Its timer has expired and is cleared. */
void client_on_timer(struct client_context *context, struct client *client);

/* context->stopping was set: finish, unless a request is under way. */
void client_stop(struct client_context *context, struct client *client);

/* The grace is over: a request that is still under way counts as stuck. */
void client_give_up(struct client_context *context, struct client *client);
