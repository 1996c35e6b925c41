/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/roster.h"

/* Does a process hold it, or may it be on its way between two of them? */
static bool is_held(const struct listener *listener, uint64_t now_ms)
{
	return listener->lost_ms == 0 || now_ms < listener->lost_ms + ROSTER_LOST_MS;
}

/* Will the server that runs accept from it? */
static bool is_live(const struct listener *listener, const struct roster_view *view)
{
	return listener->listens && !listener->earlier && is_held(listener, view->now_ms);
}

/* Does the server have one for @endpoint? @own: one that it has bound itself. */
static bool has_live(const struct listeners *listeners, uint32_t endpoint, bool own,
		     const struct roster_view *view)
{
	for (size_t i = 0; i < listeners->n; i++) {
		const struct listener *listener = &listeners->list[i];

		if (listener->endpoint == endpoint && (listener->own || !own) &&
		    is_live(listener, view))
			return true;
	}
	return false;
}

static bool should_count(const struct listeners *listeners, const struct listener *listener,
			 const struct roster_view *view)
{
	/* A server may shut down a socket and listen on it again (haproxy: disable frontend). */
	if (!listener->listens &&
	    (!listener->counts || has_live(listeners, listener->endpoint, false, view)))
		return false;
	if (!view->alive)
		return listener->counts ||
		       (view->mode == SOCKETS_INHERIT && listener->out_serial == 0);
	if (listener->earlier)
		return listener->listens && listener->counts && view->patient &&
		       !has_live(listeners, listener->endpoint, false, view);
	if (!is_held(listener, view->now_ms))
		return false;
	return view->mode == SOCKETS_INHERIT || listener->own || view->named ||
	       !has_live(listeners, listener->endpoint, true, view);
}

bool roster_update(struct listeners *listeners, const struct roster_view *view, uint32_t *serial)
{
	bool counts[LISTENERS_MAX], changed = false;
	size_t n = 0;

	for (size_t i = 0; i < listeners->n; i++) {
		counts[i] =
			n < PROTOCOL_SET_MAX && should_count(listeners, &listeners->list[i], view);
		n += counts[i];
		changed |= counts[i] != listeners->list[i].counts;
	}
	if (!changed)
		return false;
	if (++*serial == 0)
		*serial = 1;
	for (size_t i = 0; i < listeners->n; i++) {
		if (listeners->list[i].counts && !counts[i])
			listeners->list[i].out_serial = *serial;
		listeners->list[i].counts = counts[i];
	}
	return true;
}

bool roster_is_complete(const struct listeners *listeners, size_t n_endpoints)
{
	for (size_t endpoint = 0; endpoint < n_endpoints; endpoint++) {
		bool found = false;

		for (size_t i = 0; i < listeners->n && !found; i++)
			found = listeners->list[i].counts &&
				listeners->list[i].endpoint == endpoint;
		if (!found)
			return false;
	}
	return true;
}

bool roster_may_go(const struct listener *listener, uint32_t serial)
{
	return !listener->counts && listener->out_serial != 0 &&
	       (serial == 0 || listener->out_serial <= serial);
}

bool roster_is_unsure(const struct listeners *listeners, uint64_t now_ms)
{
	for (size_t i = 0; i < listeners->n; i++)
		if (listeners->list[i].lost_ms != 0 && is_held(&listeners->list[i], now_ms))
			return true;
	return false;
}
