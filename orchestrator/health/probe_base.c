/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "orchestrator/health/probe_internal.h"

void probe_kick(struct prober *prober)
{
	int r = sd_event_source_set_enabled(prober->work, SD_EVENT_ONESHOT);

	if (r < 0)
		log_error("probe: cannot defer: %s", strerror(-r));
}

bool probe_is_own_trouble(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS ||
	       error == ENOSPC;
}

void probe_refuse(struct probe *p, bool unasked, const char *format, ...)
{
	size_t n = unasked ? (size_t)snprintf(p->refused, sizeof(p->refused), "not asked: ") : 0;
	va_list ap;

	va_start(ap, format);
	vsnprintf(p->refused + n, sizeof(p->refused) - n, format, ap);
	va_end(ap);
	p->unasked = unasked;
	p->state = PROBE_ENDED;
	probe_kick(p->prober);
}
