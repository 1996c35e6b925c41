/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>

#include "common/clock.h"
#include "orchestrator/rollout/run_internal.h"

/* A server that has not emptied its queue for so long, told to drain, accepts no more. */
#define DEAF_MS 200
/*
 * So long the queues stay empty before they count as such. Packets that the old table had already
 * sent on are in a queue within microseconds; of two whole milliseconds one has passed. Handshakes
 * that had begun, and end later, migrate when the listener leaves.
 */
#define SETTLE_QUIET_MS 2
/* Where they cannot, those of clients nearby get this long to reach their queue. */
#define SETTLE_QUIET_STAY_MS 20
/* ... and this long if two groups compete: until the SYN-ACK was sent once more (RFC 6298: 1 s). */
#define SETTLE_QUIET_ALONE_MS 1200

static uint64_t quiet_ms(const struct run *run)
{
	bool migrate = steer_can(run->host->wiring->tier, STEER_CAN_MIGRATE);

	for (size_t k = 0; k < run->victims.n; k++)
		if (instance_competes(run->victims.list[k]))
			return SETTLE_QUIET_ALONE_MS;
	return migrate ? SETTLE_QUIET_MS : SETTLE_QUIET_STAY_MS;
}

static bool is_settled(struct run *run)
{
	uint64_t now_ms = clock_monotonic_ms();
	uint32_t queued;

	if (instances_queued(&run->victims, &queued) < 0 || queued > 0) {
		run->queue_empty_since_ms = 0;
		return false;
	}
	if (run->queue_empty_since_ms == 0) {
		run->queue_empty_since_ms = now_ms;
		run->polls = 0;
	}
	return now_ms - run->queue_empty_since_ms >= quiet_ms(run);
}

/*
 * Is every connection of the victims idle, or closed by the server? The counters cannot tell: a
 * connection counts until the kernel is done with the client, too.
 *
 * Listing connections walks the kernel's table of all of them, which takes long if there are many.
 * The next look waits nine times as long, so that this never takes more than a tenth of the
 * daemon's time.
 */
static bool none_is_busy(struct run *run)
{
	uint64_t began_ms = clock_monotonic_ms(), ended_ms;
	uint64_t busy = 0;
	int r;

	if (began_ms < run->drain.look_ms)
		return false;
	r = instances_busy(&run->victims, run_idle_timeout_ms(run), &busy);
	ended_ms = clock_monotonic_ms();
	run->drain.look_ms = ended_ms + 9 * (ended_ms - began_ms);
	/* If the kernel cannot be asked, the deadline ends the drain. */
	return r == 0 && run_drain_see(run, busy);
}

/*
 * Has everybody said something who was there when this began? If the kernel cannot be asked, nobody
 * is waited for: it would be in vain as a rule. Connections are listed as seldom as in
 * none_is_busy().
 */
static bool is_delayed(struct run *run)
{
	uint64_t began_ms = clock_monotonic_ms(), ended_ms;
	struct run_delay *delay = &run->delay;
	bool first = delay->most == 0;
	int r;

	if (run_delay_is_fixed(run) || began_ms < delay->look_ms)
		return false;
	r = instances_silent(&run->victims, began_ms - delay->began_ms, &delay->look_last);
	ended_ms = clock_monotonic_ms();
	delay->look_ms = ended_ms + 9 * (ended_ms - began_ms);
	if (r < 0 || delay->look_last == 0)
		return true;
	if (delay->look_last > delay->most)
		delay->most = delay->look_last;
	if (first)
		run_tell_delaying(run);
	return false;
}

/* New connections still go to the victims, but only into their queues. */
static bool is_deaf(struct run *run)
{
	uint64_t now_ms = clock_monotonic_ms();
	uint32_t queued;

	if (instances_queued(&run->victims, &queued) < 0 || queued == 0) {
		run->deaf_since_ms = 0;
		return false;
	}
	if (run->deaf_since_ms == 0)
		run->deaf_since_ms = now_ms;
	return now_ms - run->deaf_since_ms >= DEAF_MS;
}

/* How they ended tells what became of their connections; but an agent that hangs says nothing. */
static bool ends_are_known(struct run *run)
{
	uint64_t now_ms = clock_monotonic_ms();

	if (run->drain.exited_ms == 0)
		run->drain.exited_ms = now_ms;
	return instances_ends_are_known(&run->victims) ||
	       now_ms - run->drain.exited_ms >= RUN_ENDS_WAIT_MS;
}

static bool is_drained(struct run *run)
{
	struct tap_count count;
	uint32_t queued;

	if (instances_have_exited(&run->victims))
		return ends_are_known(run);
	if (instances_count(&run->victims, &count) == 0)
		return count.live == 0 || none_is_busy(run);
	/* Without counters, connections that wait for accept(2) are in nobody's list. */
	if (!instances_are_dead(&run->victims) &&
	    (instances_queued(&run->victims, &queued) < 0 || queued > 0))
		return false;
	return none_is_busy(run);
}

/* An instance of the new side does not work; past COMMIT only those of the batch count. */
static bool new_failed(const struct run *run)
{
	const struct rollout *m = &run->machine;

	if (rollout_victim_is_new(m) || !m->has_new)
		return false;
	return instances_failed(m->committed ? &run->batch : &run->side[ROLLOUT_NEW]) != NULL;
}

static int look_starting(const struct run *run)
{
	const struct rollout *m = &run->machine;
	/* There was no memory or no room for all of the batch. */
	bool short_of = run->batch.n < m->batch;

	if (new_failed(run) || (short_of && !rollout_victim_is_new(m)))
		return ROLLOUT_NEW_FAILED;
	if (rollout_victim_is_new(m) && (short_of || instances_failed(&run->batch)))
		return ROLLOUT_RESTORE_FAILED;
	if (m->state == ROLLOUT_STARTING)
		return instances_are_listening(&run->batch) ? ROLLOUT_LISTENING : -1;
	return instances_are_healthy(&run->batch) ? ROLLOUT_HEALTHY : -1;
}

static int look_shifted(struct run *run)
{
	const struct rollout *m = &run->machine;

	if (m->has_old && !rollout_victim_is_new(m) && !m->old_gone &&
	    instances_are_dead(&run->side[ROLLOUT_OLD]))
		return ROLLOUT_OLD_GONE;
	if (m->has_old && new_failed(run))
		return ROLLOUT_NEW_FAILED;
	return m->state == ROLLOUT_SETTLING && is_settled(run) ? ROLLOUT_SETTLED : -1;
}

static int look_delaying(struct run *run)
{
	int event = look_shifted(run);

	if (event >= 0)
		return event;
	return is_delayed(run) ? ROLLOUT_DELAYED : -1;
}

static int look_gating(struct run *run)
{
	const struct rollout *m = &run->machine;

	/* At "shift" only a rolling rollout has old ones that left; it starts them again. */
	if (m->has_old && m->shifted && !m->old_gone && m->point != ROLLOUT_GATE_SHIFT &&
	    instances_are_dead(&run->side[ROLLOUT_OLD]))
		return ROLLOUT_OLD_GONE;
	if (new_failed(run))
		return ROLLOUT_NEW_FAILED;
	return m->state == ROLLOUT_GATING ? run->answer : -1;
}

/* Nothing tells when the last process of those is gone that nothing may start beside. */
static int look_stopping(struct run *run)
{
	if (!instances_have_stopped(&run->victims))
		return -1;
	if (!rollout_stops_first(&run->machine) || instances_are_gone(&run->victims))
		return ROLLOUT_STOPPED;
	run_poll(run);
	return -1;
}

static int look_leaving(struct run *run)
{
	const struct rollout *m = &run->machine;

	/* The machine only notes it, once. */
	if (!m->committed && m->turn == ROLLOUT_NO_CAUSE && new_failed(run))
		return ROLLOUT_NEW_FAILED;
	if (m->state == ROLLOUT_LEAVING && instances_have_left(&run->victims))
		return ROLLOUT_LEFT;
	if (m->state == ROLLOUT_LEAVING)
		return m->open && is_deaf(run) ? ROLLOUT_DEAF : -1;
	if (m->state == ROLLOUT_DRAINING)
		return is_drained(run) ? ROLLOUT_DRAINED : -1;
	return look_stopping(run);
}

int run_look(struct run *run)
{
	switch (run->machine.state) {
	case ROLLOUT_IDLE:
		return ROLLOUT_BEGIN;
	case ROLLOUT_PREPARING:
		return run->answer;
	case ROLLOUT_STARTING:
	case ROLLOUT_VERIFYING:
		return look_starting(run);
	case ROLLOUT_GATING:
	case ROLLOUT_WAITING:
		return look_gating(run);
	case ROLLOUT_DWELLING:
	case ROLLOUT_SETTLING:
	case ROLLOUT_BAKING:
		return look_shifted(run);
	case ROLLOUT_DELAYING:
		return look_delaying(run);
	case ROLLOUT_LEAVING:
	case ROLLOUT_DRAINING:
	case ROLLOUT_STOPPING:
		return look_leaving(run);
	default:
		/* A shift is over when its action has been carried out. */
		assert(run->machine.state == ROLLOUT_ENDED);
		return -1;
	}
}
