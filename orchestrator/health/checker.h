/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checker: the checks of one instance on one address: a probe at every interval, through a pin, and
 * the verdict that follows from the answers. This is the one header of the folder that others
 * include; the manual has these parts:
 *
 *	checker.h	one check, again and again
 *	probe.h		one asking of it; also of a URL of the operator's (a gate)
 *	probe_exec.h	one asking by a command of the operator's
 *	health.h	from single answers to a verdict
 *	sources.h	which connections of a server are its checks'
 *
 * checker_start() asks at once; on_answer is called after each answer. The instance's sockets may
 * change meanwhile (checker_retarget()), and so may its server (checker_restart()). A check that
 * could not be asked counts neither way: the verdict and the answers in a row stay as they are. Nor
 * does a bad answer that comes well after its time, as batond stood still; but only one in a row.
 *
 * Serves HEALTH_KIND_HTTP, HEALTH_KIND_CONNECT and HEALTH_KIND_EXEC; HEALTH_KIND_NOTIFY needs no
 * probes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/address.h"
#include "common/diag.h"
#include "common/protocol.h"
#include "common/timer.h"
#include "orchestrator/config/config.h"
#include "orchestrator/health/health.h"
#include "orchestrator/health/probe.h"
#include "orchestrator/health/probe_exec.h"
#include "orchestrator/health/sources.h"

struct steer;

struct checker_socket {
	uint16_t slot;
	uint64_t cookie;
};

struct checker_target {
	sd_event *event;
	struct prober *prober;              /* asks */
	struct diag *diag;                  /* tells whether a connection was accepted */
	const char *service;                /* for messages */
	const struct health_config *health; /* what to ask, and how often */
	const struct address *address;      /* the shared one */
	bool named;                         /* answers begin with the address */
	struct steer *steer;                /* of that address */
	/* The instance's listening sockets there; each probe goes to the next one. */
	const struct checker_socket *sockets;
	size_t n_sockets; /* 0: each answer is that nothing listens */
	/* HEALTH_KIND_EXEC: where its commands wait for their turn, and who knows them. */
	struct probe_exec_room *exec_room;
	const struct probe_exec_host *exec;
	void *exec_userdata;
};

struct checker {
	struct checker_target target;   /* but for .sockets, which are: */
	struct checker_socket *sockets; /* a copy, as long as target.n_sockets, */
	struct checker_socket one;      /* or this one, without memory for a copy */
	/* After each answer, also if there could be none; @changed: the verdict is another one. */
	void (*on_answer)(void *userdata, const struct probe_result *result, bool changed);
	void *userdata;

	bool running;
	size_t next;                    /* of target.sockets: which one is asked next */
	struct checker_socket asked;    /* by the probe that is under way */
	struct sockaddr_storage source; /* of its connection */
	struct health health;
	struct probe_result last; /* the latest answer; or why there could be none (.unasked) */
	struct probe_result bad;  /* the latest bad one; while unhealthy, the one that made it so */
	bool has_bad;             /* there was one since it was healthy, or started, last */
	bool excused;             /* the latest one came late, as batond stood still */
	uint64_t last_ms;         /* of .last, CLOCK_MONOTONIC; 0: there is none */
	struct probe *probe;
	struct probe_exec *command; /* HEALTH_KIND_EXEC: instead of .probe */
	struct sources sources;     /* of its connections, as long as its server has them */
	struct timer timer;
};

/*
 * Probe now, and from then on one interval after each answer. @checker is zeroed by the caller at
 * first; @target and its sockets are copied, what else it points to must stay.
 */
void checker_start(struct checker *checker, const struct checker_target *target,
		   void (*on_answer)(void *userdata, const struct probe_result *result,
				     bool changed),
		   void *userdata);

/*
 * The sockets are others now. A probe that is under way to a socket which is not among them is
 * given up and made again at once; the verdict stays. Does nothing if stopped.
 */
void checker_retarget(struct checker *checker, const struct checker_socket *sockets, size_t n);

/* The server is another one now: forget the verdict and probe at once. Does nothing if stopped. */
void checker_restart(struct checker *checker);

/*
 * End; on_answer is not called any more. .sources stays: the server may still have connections of
 * this check. Does nothing if it was never started.
 */
void checker_stop(struct checker *checker);

/* Free what it holds. Takes one that was never started. */
void checker_done(struct checker *checker);

/* How many connections of this check wait for accept(2). See sources_queued(). */
uint32_t checker_queued(struct checker *checker);
