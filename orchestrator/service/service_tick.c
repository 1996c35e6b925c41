/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A service looks twice a second at what nothing tells it: whether its program is still on its
 * groups, whether its sockets are in their slots, whether strangers are in the groups, and whether
 * backups have taken over.
 */
#include "common/clock.h"
#include "orchestrator/service/service_internal.h"

#define TICK_MS 500

static void look_slots(const struct service *s)
{
	for (size_t k = 0; k < s->n_generations; k++)
		for (size_t j = 0; j < s->generations[k]->instances.n; j++)
			instance_look_slots(s->generations[k]->instances.list[j]);
}

/* One look at the kernel for the agents of all services, which else would look for themselves. */
static void look_listeners(struct service *s)
{
	uint64_t print = 0;

	if (!s->context->occupants || !s->endpoints.open)
		return;
	WIRING_EACH (k, &s->wiring) {
		uint64_t one;

		if (occupants_print(s->context->occupants, steer_address(s->wiring.endpoints[k]),
				    &one) < 0)
			return;
		print += one;
	}
	for (size_t k = 0; k < s->n_generations; k++)
		for (size_t j = 0; j < s->generations[k]->instances.n; j++)
			instance_hint_late(s->generations[k]->instances.list[j], print);
}

/*
 * Looking at the program walks the kernel's table of sockets (inspect.h). If that takes long it is
 * done less often, so that it never takes more than a tenth of the daemon's time.
 */
static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct service *s = userdata;
	uint64_t began_ms = clock_monotonic_ms(), took_ms, carried;
	bool was_active;

	(void)source;
	(void)usec;
	SERVICE_OWN (k, s)
		steer_tend(s->wiring.endpoints[k]);
	if (s->n_generations > 0)
		service_look_drift(s);
	look_slots(s);
	service_publish_again(s);
	service_look_strangers(s);
	service_look_backlogs(s);
	look_listeners(s);
	was_active = s->failover.active;
	carried = s->failover.carried;
	service_look_failover(s);
	if (was_active && s->failover.carried == carried)
		service_end_failover(s);
	/* A SYN that raced a publish may wait although the new table names somebody. */
	if (!s->hold.paused && service_can_serve(s))
		service_unhold(s);
	/* The next daemon must not read what is over. */
	if (s->underway.failed)
		service_note_underway(s);
	took_ms = clock_monotonic_ms() - began_ms;
	service_arm(s, &s->tick, on_tick, 9 * took_ms > TICK_MS ? 9 * took_ms : TICK_MS);
	return 0;
}

void service_on_program(void *userdata, uint32_t generation, uint32_t instance, pid_t pid,
			const char *comm)
{
	struct service *s = userdata;

	service_note_culprit(s, generation, instance, pid, comm);
	inspect_forget(s->context->inspect);
	service_arm(s, &s->tick, on_tick, 0);
}

void service_start_tick(struct service *s)
{
	service_forget_hold(s);
	service_forget_drift(s);
	service_forget_strangers(s);
	service_arm(s, &s->tick, on_tick, TICK_MS);
}

void service_stop_tick(struct service *s)
{
	timer_done(&s->tick);
	service_forget_hold(s);
}
