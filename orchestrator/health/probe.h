/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe: asks one instance through the shared port whether it serves. The one module that uses
 * libcurl (its multi-socket interface, inside the daemon's event loop).
 *
 * Every instance listens on the same address, so the connection itself must say whom it is for:
 * before connecting, the probe's socket is bound to a port, and the caller is asked to pin that
 * source address and port to the instance (on_bind); after the socket is closed the caller may
 * drop the pin (on_close). Each probe uses a new connection, and closes it first, in a way that
 * leaves neither a TIME_WAIT on either side nor a reset in the server's log. Proxies from the
 * environment are never asked; redirects are followed within the endpoint, if .follow says so.
 *
 * A host that has no local port, descriptor or memory left cannot ask: such a result is neither
 * good nor bad (.unasked). The log tells of it, once a minute at most.
 *
 * probe_url() asks anybody else, by a URL of the operator's: nothing is bound or pinned there.
 *
 * Callbacks come from the event loop only, never from within probe_start() or probe_url(). In any
 * of them probes may be started, and any probe be cancelled, the one that is calling included; the
 * prober itself must stay.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "common/address.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/config/config.h"

#define PROBE_TEXT_MAX 384
#define PROBE_BODY_MAX 256 /* bytes of the answer kept, with the NUL */

/* The probe ends when this much of the answer has come; its status decides, as usual. */
#define PROBE_ANSWER_MAX (1024 * 1024)

/* Of a body so much is looked at, if one is expected. */
#define PROBE_BODY_LOOKED_MAX (16 * 1024)

#define PROBE_URL_MAX 2048

struct prober; /* the libcurl handle inside the loop; one per daemon */
struct probe;  /* one question under way */

struct probe_result {
	bool ok;
	bool unasked;    /* neither good nor bad: the question could not be asked */
	uint16_t status; /* HTTP status; 0: no answer */
	uint64_t took_ms;
	/*
	 * For people: "GET /healthz: 200 OK", "GET /healthz: 503 Service Unavailable is not in
	 * 200-299", "GET /healthz: no answer within 2s (connected, nothing received)" or "... (...;
	 * connections wait to be accepted)", "connect: Connection refused", "127.0.0.1:81:
	 * connected, but nothing accepted the connection within 2s"; "not asked: bind: this host
	 * has no local port left ...".
	 */
	char text[PROBE_TEXT_MAX];
	char body[PROBE_BODY_MAX]; /* start of the answer, printable ASCII only */
};

struct probe_callbacks {
	/*
	 * Source is bound. Return 0, or a negative errno to give the probe up. One that cancels its
	 * own probe here gets no on_close.
	 */
	int (*on_bind)(void *userdata, const struct sockaddr *source);
	/* The socket bound to @source is closed. Called once for each successful on_bind. */
	void (*on_close)(void *userdata, const struct sockaddr *source);
	/*
	 * Connected: has the instance accepted everything that was queued? 1 yes, 0 not yet,
	 * negative errno: give up (-ENOENT: its listening socket is gone). HEALTH_KIND_CONNECT asks
	 * every 20 ms until the timeout; HEALTH_KIND_HTTP once, if no answer came in time, and may
	 * have NULL.
	 */
	int (*on_connected)(void *userdata);
	/* Called exactly once, unless the probe is cancelled. The probe is freed afterwards. */
	void (*on_done)(void *userdata, const struct probe_result *result);
};

int prober_new(sd_event *event, struct prober **ret, struct error *err);

/* Probes still under way are cancelled, but should not be. Takes NULL. */
void prober_free(struct prober *prober);
DEFINE_CLEANUP(struct prober *, prober_free);

/* Has a probe that is under way connected from @source? */
bool prober_has(const struct prober *prober, const struct sockaddr *source);

/*
 * Ask @address (a wildcard: the loopback address of its family) the question of @health
 * (HEALTH_KIND_HTTP or HEALTH_KIND_CONNECT; else -EINVAL), which is only read during the call.
 * on_done is never called before probe_start() has returned.
 */
int probe_start(struct prober *prober, const struct health_config *health,
		const struct address *address, const struct probe_callbacks *callbacks,
		void *userdata, struct probe **ret, struct error *err);

/*
 * GET @url (http or https, at most PROBE_URL_MAX bytes; a password in it is used, and shown
 * nowhere). The answer is good if its status is in @statuses, which is only read during the call. A
 * redirect is an answer like any other. Names are looked up beside the loop, in a thread of curl's;
 * that is part of @timeout_ms. Texts begin with the question: "GET http://a/b: connect: Connection
 * refused". -EINVAL: the URL is none of that kind, or @n_statuses is over CONFIG_STATUSES_MAX.
 */
int probe_url(struct prober *prober, const char *url, const struct status_range *statuses,
	      size_t n_statuses, uint64_t timeout_ms,
	      void (*on_done)(void *userdata, const struct probe_result *result), void *userdata,
	      struct probe **ret, struct error *err);

/*
 * End without on_done. If a source was bound, on_close is called before this returns; nothing
 * is called afterwards. Takes NULL.
 */
void probe_cancel(struct probe *probe);
