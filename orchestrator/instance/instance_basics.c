/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/instance/instance_internal.h"

void instance_changed(struct instance *i)
{
	i->callbacks->on_change(i->userdata);
}

void instance_note(struct instance *i, enum event_kind kind, const char *format, ...)
{
	char message[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);
	i->callbacks->on_note(i->userdata, i, kind, message);
}

void instance_uncheck(struct instance *i)
{
	for (size_t k = 0; k < i->checks.n; k++)
		checker_stop(&i->checks.list[k].checker);
}

void instance_fail(struct instance *i, const char *reason)
{
	assert(reason);
	if (i->phase < INSTANCE_FAILED)
		instance_enter(i, INSTANCE_FAILED);
	instance_uncheck(i);
	if (!i->failure[0])
		snprintf(i->failure, sizeof(i->failure), "%s", reason);
}

void instance_take_tail(struct instance *i, const struct report *report)
{
	bool on_its_way_out = instance_is_leaving(i) && report->type != REPORT_TOLD;

	if (!report->tail[0] || (i->told && on_its_way_out))
		return;
	memcpy(i->tail, report->tail, sizeof(i->tail));
	i->tail_stdout = report->tail_stdout;
	i->tail_realtime_ms = report->tail_age_ms ? clock_realtime_ms() - report->tail_age_ms : 0;
}

void instance_ask(struct instance *i)
{
	if (!i->tells || i->asked || i->lost || i->phase >= INSTANCE_STOPPING)
		return;
	i->asked = true;
	instance_order(i, &(struct order){.type = ORDER_TELL});
}

static bool hears_hints(const struct instance *i)
{
	return i->looks && !i->lost && !i->adopting && i->silent_since_ms == 0 &&
	       i->phase < INSTANCE_LEAVING;
}

static bool is_told(const struct instance *i)
{
	return i->hinted && i->wiring->tap;
}

void instance_hint(struct instance *i)
{
	if (is_told(i) && hears_hints(i))
		instance_order(i, &(struct order){.type = ORDER_LOOK});
}

void instance_hint_late(struct instance *i, uint64_t print)
{
	if (print == i->print || is_told(i) || !hears_hints(i))
		return;
	i->print = print;
	instance_order(i, &(struct order){.type = ORDER_LOOK, .late = true});
}

static int order_with(struct instance *i, const struct order *what, const int *fds, size_t n_fds)
{
	int r;

	if (instance_has_stopped(i))
		return -ESRCH;
	if (i->lost)
		return -ENOTCONN;
	assert(i->link);
	r = what->type == ORDER_KEEP ? agentlink_order_with(i->link, what, fds, n_fds)
				     : agentlink_order(i->link, what);
	if (r < 0)
		log_warning("%s: order %s to the agent of instance %u.%u: %s", i->config->name,
			    order_type_name(what->type), i->generation, i->index, strerror(-r));
	return r;
}

int instance_order(struct instance *i, const struct order *what)
{
	return order_with(i, what, NULL, 0);
}

bool instance_competes(const struct instance *i)
{
	for (size_t k = 0; k < i->config->n_listen; k++) {
		const struct steer *endpoint = instance_endpoint(i, k);

		if (endpoint && steer_competes(endpoint))
			return true;
	}
	return false;
}

/* What depends on the set of sockets alone, whatever their order; 0: there is none. */
static uint64_t mix(uint64_t set, uint64_t cookie)
{
	return set + (cookie + 1) * 0x9e3779b97f4a7c15;
}

void instance_keep_sockets(struct instance *i)
{
	int fds[PROTOCOL_KEPT_MAX];
	uint64_t set = 0;
	size_t n = 0;

	WIRING_EACH (k, i->wiring) {
		uint64_t cookie;
		int fd = steer_beacon(i->wiring->endpoints[k], &cookie);

		if (fd >= 0 && n < PROTOCOL_KEPT_MAX) {
			set = mix(set, cookie);
			fds[n++] = fd;
		}
		fd = steer_anchor(i->wiring->endpoints[k], &cookie);
		if (fd >= 0 && n < PROTOCOL_KEPT_MAX) {
			set = mix(set, cookie);
			fds[n++] = fd;
		}
	}
	if (!i->keeps || set == i->kept_set)
		return;
	if (order_with(i, &(struct order){.type = ORDER_KEEP}, fds, n) >= 0)
		i->kept_set = set;
}
