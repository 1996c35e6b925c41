/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checker_fixture: one checker, with fakes in place of probe.c, steer.c and diag.c: they are linked
 * before the libraries, which then are not asked for the real ones. A fake must define every symbol
 * of its module that checker.c uses, or the linker takes the real one in addition and finds both.
 */
#pragma once

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "orchestrator/health/checker.h"
#include "orchestrator/steer/steer.h"

#define DEADLINE_MS 10000
#define HOUR_MS     (60 * 60 * 1000)
#define SLOT        17
#define COOKIE      0x123456789abcULL

/* ---- the fakes ------------------------------------------------------------------------------ */

struct probe {
	const struct probe_callbacks *callbacks;
	void *userdata;
};

/* Only their addresses are looked at. */
static char prober_object, steer_object, diag_object;
#define PROBER ((struct prober *)(void *)&prober_object)
#define STEER  ((struct steer *)(void *)&steer_object)
#define DIAG   ((struct diag *)(void *)&diag_object)

static struct {
	struct probe probe;
	bool under_way;
	int starts, cancels;
	uint64_t started_ms; /* the last time */
	int result;          /* of probe_start() */
	const char *error;
	const struct health_config *health;
	const struct address *address;

	enum steer_tier tier;
	int pins, unpins;
	int pin_result;
	uint16_t pinned; /* the slot */
	const struct sockaddr *source;

	uint8_t state; /* of the server's end of each connection; 0: it has none */
	int diag_result;
	uint32_t queued;
	uint64_t asked; /* for the queue of the socket with this cookie */
	bool waits;     /* the server has not accepted the connection */
} fake;

int probe_start(struct prober *prober, const struct health_config *health,
		const struct address *address, const struct probe_callbacks *callbacks,
		void *userdata, struct probe **ret, struct error *err)
{
	assert_ptr_equal(prober, PROBER);
	assert_false(fake.under_way); /* one at a time */
	fake.starts++;
	fake.started_ms = clock_monotonic_ms();
	fake.health = health;
	fake.address = address;
	if (fake.result < 0)
		return error_text(err, fake.result, "%s", fake.error);
	fake.probe = (struct probe){.callbacks = callbacks, .userdata = userdata};
	fake.under_way = true;
	*ret = &fake.probe;
	return 0;
}

void probe_cancel(struct probe *probe)
{
	if (!probe)
		return;
	assert_ptr_equal(probe, &fake.probe);
	assert_true(fake.under_way);
	fake.under_way = false;
	fake.cancels++;
}

enum steer_tier steer_tier(const struct steer *steer)
{
	assert_ptr_equal(steer, STEER);
	return fake.tier;
}

bool steer_can(enum steer_tier tier, enum steer_ability ability)
{
	assert_int_equal(ability, STEER_CAN_PIN);
	return tier != STEER_HASH;
}

int steer_pin(struct steer *steer, const struct sockaddr *source, uint16_t slot)
{
	assert_ptr_equal(steer, STEER);
	fake.pinned = slot;
	fake.source = source;
	fake.pins++;
	return fake.pin_result;
}

void steer_unpin(struct steer *steer, const struct sockaddr *source)
{
	assert_ptr_equal(steer, STEER);
	fake.source = source;
	fake.unpins++;
}

int diag_listener(struct diag *diag, uint16_t port, uint64_t cookie, struct diag_listener *ret,
		  struct error *err)
{
	(void)err;
	assert_ptr_equal(diag, DIAG);
	assert_int_equal(port, 8080);
	fake.asked = cookie;
	*ret = (struct diag_listener){.queued = fake.queued, .backlog = 128};
	return fake.diag_result;
}

/* What the server has of its checks' connections: sources.c asks. */
int diag_connection(struct diag *diag, const struct sockaddr *local, const struct sockaddr *peer,
		    struct diag_connection *ret, struct error *err)
{
	(void)local;
	(void)peer;
	assert_ptr_equal(diag, DIAG);
	*ret = (struct diag_connection){
		.state = fake.state, .inode = fake.waits ? 0 : 1, .cookie = COOKIE};
	return fake.state ? 0 : error_set(err, -ENOENT, "connection");
}

bool diag_is_live(const struct diag_connection *connection)
{
	return connection->state == TCP_ESTABLISHED;
}

/* ---- who is told ---------------------------------------------------------------------------- */

static sd_event *event;
static struct checker checker;
static struct address address;
static struct health_config health;
static bool named; /* the target is */

static struct {
	int answers, changes;
	struct probe_result last;
	bool stop, restart, retarget; /* from within the callback, once */
} told;

static const struct checker_socket others[] = {{SLOT + 1, COOKIE + 1}, {SLOT + 2, COOKIE + 2}};

static inline void on_answer(void *userdata, const struct probe_result *result, bool changed)
{
	assert_ptr_equal(userdata, &told);
	assert_true(checker.running);
	told.answers++;
	told.changes += changed;
	told.last = *result;
	if (told.stop)
		checker_stop(&checker);
	if (told.restart)
		checker_restart(&checker);
	if (told.retarget)
		checker_retarget(&checker, others, 2);
	told.stop = told.restart = told.retarget = false;
}

static inline int setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	memset(&told, 0, sizeof(told));
	memset(&checker, 0, sizeof(checker));
	named = false;
	health = (struct health_config){
		.kind = HEALTH_KIND_HTTP,
		.path = (char *)"/healthz",
		.interval_ms = HOUR_MS,
		.timeout_ms = 2000,
		.healthy = 2,
		.unhealthy = 3,
	};
	assert_int_equal(address_parse("127.0.0.1:8080", &address, NULL), 0);
	return sd_event_new(&event) < 0 ? -1 : 0;
}

static inline int teardown(void **state)
{
	(void)state;
	checker_done(&checker);
	assert_false(fake.under_way);
	event = sd_event_unref(event);
	return 0;
}

/* On sockets SLOT, SLOT + 1 ... */
static inline void start_with(size_t n_sockets)
{
	static struct checker_socket sockets[PROTOCOL_SET_MAX];
	struct checker_target target = {
		.event = event,
		.prober = PROBER,
		.diag = DIAG,
		.service = "web",
		.health = &health,
		.address = &address,
		.named = named,
		.steer = STEER,
		.sockets = sockets,
		.n_sockets = n_sockets,
	};

	for (size_t k = 0; k < n_sockets; k++)
		sockets[k] = (struct checker_socket){(uint16_t)(SLOT + k), COOKIE + k};
	checker_start(&checker, &target, on_answer, &told);
}

static inline void start(void)
{
	start_with(1);
}

static inline void run_until_started(int starts)
{
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	while (fake.starts < starts && clock_monotonic_ms() < end)
		assert_true(sd_event_run(event, 100000) >= 0);
	assert_int_equal(fake.starts, starts);
}

static inline void run_for(uint64_t ms)
{
	uint64_t end = clock_monotonic_ms() + ms;

	while (clock_monotonic_ms() < end)
		assert_true(sd_event_run(event, 5000) >= 0);
}

static inline void finish(bool ok)
{
	struct probe_result result = {.ok = ok, .status = ok ? 200 : 503, .text = "an answer"};

	assert_true(fake.under_way);
	fake.under_way = false;
	fake.probe.callbacks->on_done(fake.probe.userdata, &result);
}

/* The next probe need not wait for its time. */
static inline void make_due(void)
{
	assert_non_null(checker.timer.source);
	assert_true(sd_event_source_set_time(checker.timer.source, 0) >= 0);
}

/* The next probe, without waiting for its time, answered with @ok. */
static inline void next_answer(bool ok)
{
	int n = fake.starts;

	if (!fake.under_way) {
		make_due();
		run_until_started(n + 1);
	}
	finish(ok);
}

/* The next probe is due an interval after @from and @to, between which the answer came. */
static inline void check_next(uint64_t from, uint64_t to)
{
	uint64_t usec;
	int enabled;

	assert_non_null(checker.timer.source);
	assert_true(sd_event_source_get_enabled(checker.timer.source, &enabled) >= 0);
	assert_int_equal(enabled, SD_EVENT_ONESHOT);
	assert_true(sd_event_source_get_time(checker.timer.source, &usec) >= 0);
	assert_in_range(usec / 1000, from + health.interval_ms, to + health.interval_ms);
}
