/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checker: the health checks of one instance: a probe at every interval, through a pin, and the
 * verdict that follows from the answers.
 *
 * Serves HEALTH_KIND_HTTP and HEALTH_KIND_CONNECT; HEALTH_KIND_NOTIFY needs no probes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/address.h"
#include "common/diag.h"
#include "common/protocol.h"
#include "orchestrator/config/config.h"
#include "orchestrator/health/health.h"
#include "orchestrator/health/probe.h"
#include "orchestrator/steer/steer.h"

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
	struct steer *steer;                /* of that address */
	/* The instance's listening sockets there; each probe goes to the next one. */
	struct checker_socket sockets[PROTOCOL_SOCKETS_MAX];
	size_t n_sockets; /* 0: each answer is that nothing listens */
};

struct checker {
	struct checker_target target;
	/* After each answer; @changed: the verdict is another one now. */
	void (*on_answer)(void *userdata, const struct probe_result *result, bool changed);
	void *userdata;

	bool running;
	size_t next;                 /* of target.sockets: which one is asked next */
	struct checker_socket asked; /* by the probe that is under way */
	struct health health;
	struct probe_result last; /* the latest answer */
	uint64_t last_ms;         /* when, CLOCK_MONOTONIC; 0: there has been none */
	struct probe *probe;
	sd_event_source *timer;
};

/*
 * Probe now, and from then on one interval after each answer. @checker is zeroed by the caller at
 * first; @target is copied, what it points to must stay.
 */
void checker_start(struct checker *checker, const struct checker_target *target,
		   void (*on_answer)(void *userdata, const struct probe_result *result,
				     bool changed),
		   void *userdata);

/*
 * The sockets are others now. A probe under way to one that is no longer there is given up and made
 * again at once; the verdict stays. Does nothing if stopped.
 */
void checker_retarget(struct checker *checker, const struct checker_socket *sockets, size_t n);

/* The server is another one now: forget the verdict and probe at once. Does nothing if stopped. */
void checker_restart(struct checker *checker);

/* End; on_answer is not called any more. Does nothing where it was never started. */
void checker_stop(struct checker *checker);
