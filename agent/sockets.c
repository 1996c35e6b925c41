/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/sockets.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/expand.h"
#include "agent/endings.h"
#include "agent/finder.h"
#include "agent/hangups.h"
#include "agent/holders.h"
#include "agent/roster.h"
#include "common/backoff.h"
#include "common/clock.h"
#include "common/diag.h"
#include "common/log.h"
#include "common/timer.h"

#define LOOK_FAST_MS   20
#define LOOK_SLOW_MS   1000
#define LOOK_HINTED_MS 64000 /* the longest delay while somebody says when to look */

/* In between: is each socket still where it was? */
#define GLANCE_MS        50
#define GLANCE_PASSED_MS 250  /* all were passed: who replaces one has no other in the group */
#define GLANCE_CALM_MS   700  /* with what follows it is noticed within a second */
#define CALM_MS          5000 /* so long after a change */

/* After so long without a change slow looks are enough. */
#define SETTLED_MS        2000
#define SETTLED_HINTED_MS 300

/*
 * A server that was started again has so much time to bind its sockets, while the old ones hold the
 * connections. A server that never binds them is looked at often for so long.
 */
#define PATIENCE_MS 60000

struct sockets {
	const struct launch_spec *spec; /* .family */
	struct launch_spec family;      /* as given, but for .twins: what batond has said since */
	sd_event *event;
	struct processes *processes;
	const struct sockets_handlers *handlers;
	void *userdata;

	struct finder *finder; /* NULL: nothing is looked for */
	struct hangups *hangups;
	struct endings *endings; /* of the processes that hold the sockets */
	struct listeners listeners;
	struct listeners passed;
	int given[PROTOCOL_LISTEN_MAX];
	size_t n_given; /* of them that were not taken yet */
	char strangers[PROTOCOL_STRANGERS_MAX][ADDRESS_TEXT_MAX];
	size_t n_strangers;
	char trouble[PROTOCOL_TROUBLE_MAX]; /* finder_trouble(), as it was told */
	uint32_t trouble_endpoint;
	uint32_t serial;

	bool own_seen[PROTOCOL_LISTEN_MAX]; /* the server has bound one for this endpoint */
	bool named;                         /* see struct roster_view */
	bool made;                          /* the sockets that are passed have been made */
	bool alive;
	bool closed;
	bool trouble_said;
	bool hinted;   /* sockets_hint() comes for each listen(2) */
	bool late;     /* sockets_hint_late() comes */
	unsigned calm; /* looks since the last change */
	uint64_t started_ms;
	uint64_t changed_ms;
	uint64_t looked_ms;
	uint64_t look_ms; /* when to look next; before that only glance */
	struct timer look;
	struct timer listen; /* of spec->listen_delay_ms */
	struct timer watch;  /* when to look next whether they are gone */
	struct timer settle; /* when to release what is not in the set .released */
	uint32_t released;
	bool watching; /* on_gone has been asked for and not been called */
};

static bool passes_sockets(const struct launch_spec *spec)
{
	return spec->mode == SOCKETS_AUTO || spec->mode == SOCKETS_INHERIT;
}

/* ---- the set -------------------------------------------------------------------------------- */

static void release(struct sockets *sockets, size_t index)
{
	hangups_remove(sockets->hangups, sockets->listeners.list[index].fd);
	listeners_release(&sockets->listeners, index);
}

/* The tables name only sockets of the set @serial; 0: the present one. */
static void release_now(struct sockets *sockets, uint32_t serial)
{
	for (size_t i = sockets->listeners.n; i-- > 0;)
		if (roster_may_go(&sockets->listeners.list[i], serial))
			release(sockets, i);
}

/* No table can name a socket that no daemon was told of: close those that count no longer. */
static void release_untold(struct sockets *sockets)
{
	for (size_t i = sockets->listeners.n; i-- > 0;)
		if (!sockets->listeners.list[i].told &&
		    roster_may_go(&sockets->listeners.list[i], 0))
			release(sockets, i);
}

static void note_own(struct sockets *sockets)
{
	for (size_t i = 0; i < sockets->listeners.n; i++)
		if (sockets->listeners.list[i].own && sockets->listeners.list[i].counts)
			sockets->own_seen[sockets->listeners.list[i].endpoint] = true;
}

static bool update_strangers(struct sockets *sockets)
{
	char strangers[PROTOCOL_STRANGERS_MAX][ADDRESS_TEXT_MAX] = {0};
	size_t n = sockets->finder ? finder_strangers(sockets->finder, strangers) : 0;

	if (n == sockets->n_strangers &&
	    memcmp(strangers, sockets->strangers, sizeof(strangers)) == 0)
		return false;
	memcpy(sockets->strangers, strangers, sizeof(strangers));
	sockets->n_strangers = n;
	return true;
}

static bool update_trouble(struct sockets *sockets)
{
	uint32_t endpoint = 0;
	const char *trouble = sockets->finder ? finder_trouble(sockets->finder, &endpoint) : "";

	if (strcmp(trouble, sockets->trouble) == 0)
		return false;
	sockets->trouble_endpoint = endpoint;
	strcpy(sockets->trouble, trouble);
	return true;
}

/*
 * Has a socket that was shut down listened again? The kernel has taken it out of its group
 * meanwhile, so batond must be told, although the set is the same.
 */
static bool note_returned(struct sockets *sockets)
{
	bool returned = false;

	for (size_t i = 0; i < sockets->listeners.n; i++) {
		struct listener *listener = &sockets->listeners.list[i];

		if (!listener->away || !listener->listens)
			continue;
		listener->away = false;
		returned |= listener->counts;
	}
	return returned;
}

/* Has one that counts been shut down, or does it listen again? */
static bool note_deaf(struct sockets *sockets)
{
	bool changed = false;

	for (size_t i = 0; i < sockets->listeners.n; i++) {
		struct listener *listener = &sockets->listeners.list[i];
		bool deaf = listener->counts && !listener->listens;

		changed |= deaf != listener->deaf && listener->counts;
		listener->deaf = deaf;
	}
	return changed;
}

static void note_change(struct sockets *sockets, uint64_t now_ms)
{
	sockets->changed_ms = now_ms;
	sockets->calm = 0;
}

/* The number of the set, never 0. */
static void next_serial(struct sockets *sockets)
{
	if (++sockets->serial == 0)
		sockets->serial = 1;
}

/* Decide anew which sockets count. Returns whether there is something to tell. */
static bool update(struct sockets *sockets, uint64_t now_ms)
{
	const struct roster_view view = {
		.mode = sockets->spec->mode,
		.named = sockets->named,
		.alive = sockets->alive,
		.patient = now_ms - sockets->started_ms < PATIENCE_MS,
		.now_ms = now_ms,
	};
	bool changed, again;

	changed = roster_update(&sockets->listeners, &view, &sockets->serial);
	again = note_returned(sockets);
	again |= note_deaf(sockets);
	if (again && !changed)
		next_serial(sockets);
	changed |= again;
	if (changed) {
		note_change(sockets, now_ms);
		note_own(sockets);
		release_untold(sockets);
	}
	changed |= update_strangers(sockets);
	return update_trouble(sockets) || changed;
}

/*
 * If a daemon never sends ORDER_RELEASE, the list fills up, and there is no room for what the
 * server binds. Then release without it.
 */
static void make_room(struct sockets *sockets)
{
	size_t n = sockets->listeners.n;

	if (n <= LISTENERS_MAX - PROTOCOL_SET_MAX)
		return;
	release_now(sockets, 0);
	if (sockets->listeners.n < n)
		log_warning("let go of %zu sockets, although batond has not released them",
			    n - sockets->listeners.n);
}

static void watch_hangups(struct sockets *sockets)
{
	for (size_t i = 0; i < sockets->listeners.n; i++)
		if (sockets->listeners.list[i].fd >= 0)
			(void)hangups_add(sockets->hangups, sockets->listeners.list[i].fd,
					  sockets->listeners.list[i].cookie);
}

/* If one of them ends, its sockets are somebody else's, or nobody's. */
static void watch_endings(struct sockets *sockets)
{
	pid_t pids[ENDINGS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < sockets->listeners.n && n < ENDINGS_MAX; i++) {
		const struct listener *listener = &sockets->listeners.list[i];
		bool known = listener->earlier || listener->seen_pid == 0;

		for (size_t k = 0; k < n && !known; k++)
			known = pids[k] == listener->seen_pid;
		if (!known)
			pids[n++] = listener->seen_pid;
	}
	endings_watch(sockets->endings, pids, n);
}

static void warn_once(struct sockets *sockets, const char *text)
{
	if (!sockets->trouble_said)
		log_warning("look for the server's sockets: %s", text);
	sockets->trouble_said = true;
}

/* Who holds them? If none has been looked for, any process may have got one. */
static void look_at_holders(struct sockets *sockets, uint64_t now_ms)
{
	int r = holders_look(sockets->processes, &sockets->listeners, now_ms, !sockets->finder);

	if (r < 0)
		warn_once(sockets, strerror(-r));
}

void sockets_look(struct sockets *sockets)
{
	uint64_t now_ms = clock_monotonic_ms();
	struct error err;

	if (!sockets->alive || sockets->closed)
		return;
	if (sockets->finder) {
		make_room(sockets);
		if (finder_look(sockets->finder, &sockets->listeners, now_ms, &err) < 0)
			warn_once(sockets, err.text);
	}
	look_at_holders(sockets, now_ms);
	listeners_refresh(&sockets->listeners);
	watch_hangups(sockets);
	watch_endings(sockets);
	sockets->looked_ms = now_ms;
}

/* ---- looking again and again ---------------------------------------------------------------- */

static int on_look(sd_event_source *source, uint64_t usec, void *userdata);

/* Do all listen that should? Some are to listen later, some may listen again. */
static bool all_listen(const struct listeners *listeners)
{
	for (size_t i = 0; i < listeners->n; i++)
		if (!listeners->list[i].listens &&
		    (listeners->list[i].counts || listeners->list[i].out_serial == 0))
			return false;
	return true;
}

static bool any_lost(const struct listeners *listeners)
{
	for (size_t i = 0; i < listeners->n; i++)
		if (listeners->list[i].lost_ms != 0 || listeners->list[i].earlier)
			return true;
	return false;
}

static uint64_t look_delay_ms(struct sockets *sockets, uint64_t now_ms)
{
	bool listen = all_listen(&sockets->listeners);
	bool complete = roster_is_complete(&sockets->listeners, sockets->spec->n_listen);
	bool unsure = roster_is_unsure(&sockets->listeners, now_ms);
	uint64_t age_ms = now_ms - sockets->changed_ms, undecided_ms;
	bool recent = age_ms < (sockets->hinted ? SETTLED_HINTED_MS : SETTLED_MS);

	/* In SOCKETS_INHERIT there is nothing to find out but whether they listen and are held. */
	if (unsure || (recent && (sockets->finder || !listen)))
		return LOOK_FAST_MS;
	if (!sockets->hinted && !(sockets->late && complete && listen))
		return !(complete && listen) && age_ms < PATIENCE_MS ? LOOK_FAST_MS : LOOK_SLOW_MS;
	undecided_ms = sockets->finder ? finder_delay_ms(sockets->finder, now_ms) : UINT64_MAX;
	if (undecided_ms <= LOOK_SLOW_MS)
		return undecided_ms > LOOK_FAST_MS ? undecided_ms : LOOK_FAST_MS;
	if (!complete || !listen || any_lost(&sockets->listeners))
		return LOOK_SLOW_MS;
	return backoff_delay_ms(LOOK_SLOW_MS, LOOK_HINTED_MS, sockets->calm);
}

static uint64_t glance_delay_ms(const struct sockets *sockets, uint64_t now_ms)
{
	bool calm = now_ms - sockets->changed_ms >= CALM_MS;

	if (calm && sockets->hinted)
		return GLANCE_CALM_MS;
	return sockets->finder && !calm ? GLANCE_MS : GLANCE_PASSED_MS;
}

static void set_timer(struct sockets *sockets, uint64_t now_ms)
{
	uint64_t delay_ms = sockets->look_ms > now_ms ? sockets->look_ms - now_ms : 0;
	uint64_t glance_ms = glance_delay_ms(sockets, now_ms);

	if (delay_ms > glance_ms)
		delay_ms = glance_ms;
	timer_set(&sockets->look, sockets->event, now_ms + delay_ms, on_look, sockets);
}

static void look_again(struct sockets *sockets)
{
	uint64_t now_ms = clock_monotonic_ms();

	sockets->look_ms = now_ms + look_delay_ms(sockets, now_ms);
	set_timer(sockets, now_ms);
}

/* What the delay depends on has changed. The next look comes no later for that. */
static void look_sooner(struct sockets *sockets)
{
	uint64_t now_ms = clock_monotonic_ms(), at_ms = now_ms + look_delay_ms(sockets, now_ms);

	if (at_ms < sockets->look_ms)
		sockets->look_ms = at_ms;
	set_timer(sockets, now_ms);
}

void sockets_look_and_tell(struct sockets *sockets)
{
	if (!sockets->alive || sockets->closed)
		return;
	sockets_look(sockets);
	if (update(sockets, clock_monotonic_ms()))
		sockets->handlers->on_change(sockets->userdata);
	else
		sockets->calm++;
	look_again(sockets);
}

void sockets_hint(struct sockets *sockets)
{
	uint64_t now_ms = clock_monotonic_ms();

	sockets->hinted = true;
	note_change(sockets, now_ms);
	/* A server may do so again and again. */
	if (now_ms - sockets->looked_ms >= LOOK_FAST_MS)
		sockets_look_and_tell(sockets);
	else if (sockets->alive && !sockets->closed)
		look_sooner(sockets);
}

void sockets_hint_late(struct sockets *sockets)
{
	sockets->late = true;
	sockets->calm = 0;
	sockets_look_and_tell(sockets);
}

void sockets_unhint(struct sockets *sockets)
{
	sockets->hinted = sockets->late = false;
	if (sockets->alive && !sockets->closed)
		look_sooner(sockets);
}

static void on_ending(void *userdata)
{
	sockets_look_and_tell(userdata);
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct sockets *sockets = userdata;
	uint64_t now_ms = clock_monotonic_ms();

	(void)source;
	(void)usec;
	if (!sockets->alive || sockets->closed)
		return 0;
	if (now_ms < sockets->look_ms && holders_have_stayed(&sockets->listeners))
		set_timer(sockets, now_ms);
	else
		sockets_look_and_tell(sockets);
	return 0;
}

static void on_hangup(uint64_t cookie, void *userdata)
{
	struct sockets *sockets = userdata;
	struct listener *listener = listeners_find(&sockets->listeners, cookie);

	if (!listener || !listener->counts || !sockets->alive || sockets->closed)
		return;
	listener->away = true;
	note_change(sockets, clock_monotonic_ms());
	sockets_look_and_tell(sockets);
}

/* ---- listening later ------------------------------------------------------------------------ */

/* Has the server bound a socket for the same endpoint? */
static bool is_replaced(const struct sockets *sockets, const struct listener *passed)
{
	for (size_t i = 0; i < sockets->listeners.n && !sockets->named; i++)
		if (sockets->listeners.list[i].endpoint == passed->endpoint &&
		    sockets->listeners.list[i].own && sockets->listeners.list[i].counts)
			return true;
	return false;
}

static void listen_now(struct sockets *sockets)
{
	struct error err;

	for (size_t i = 0; i < sockets->listeners.n; i++) {
		struct listener *listener = &sockets->listeners.list[i];

		/* One that counts has listened before: the server has shut it down since. */
		if (listener->listens || listener->counts || !listener_is_passed(listener) ||
		    listener->lost_ms != 0 || is_replaced(sockets, listener))
			continue;
		if (listener_listen(listener, sockets->spec->backlog, &err) < 0)
			log_error("%s", err.text);
	}
}

void sockets_ready(struct sockets *sockets)
{
	bool changed;

	if (!sockets->alive || sockets->closed)
		return;
	/* If the server has bound its own socket, it will not accept from the passed one. */
	sockets_look(sockets);
	changed = update(sockets, clock_monotonic_ms());
	if (sockets->spec->listen_later) {
		listen_now(sockets);
		changed |= update(sockets, clock_monotonic_ms());
	}
	if (!changed)
		return;
	sockets->handlers->on_change(sockets->userdata);
	look_again(sockets);
}

bool sockets_are_passed_by_pid(const struct sockets *sockets)
{
	return passes_sockets(sockets->spec) && sockets->passed.n > 0 && !sockets->named;
}

const struct listeners *sockets_listeners(const struct sockets *sockets)
{
	return &sockets->listeners;
}

static int on_listen_delay(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	sockets_ready(userdata);
	return 0;
}

/* ---- the server's life ---------------------------------------------------------------------- */

static int take_given(struct sockets *sockets, struct error *err)
{
	if (sockets->n_given != sockets->spec->n_listen)
		return error_text(err, -EINVAL, "listen: no sockets were given, or too few");
	sockets->n_given = 0;
	return listeners_take(sockets->spec, sockets->given, &sockets->listeners, err);
}

/* The last run may have shut sockets down. The next one expects that they listen. */
static void listen_again(struct sockets *sockets)
{
	struct error err;

	listeners_refresh(&sockets->listeners);
	for (size_t i = 0; i < sockets->listeners.n; i++) {
		struct listener *listener = &sockets->listeners.list[i];

		if (!listener->listens && listener_is_passed(listener) &&
		    listener_listen(listener, sockets->spec->backlog, &err) < 0)
			log_error("%s", err.text);
	}
}

static int make_passed(struct sockets *sockets, struct error *err)
{
	const struct launch_spec *spec = sockets->spec;
	int r;

	/* Later one may be missing: a server that was ending closed it, so it was released. */
	if (!sockets->made && spec->sockets_given)
		r = take_given(sockets, err);
	else
		r = listeners_open(spec, sockets->processes,
				   sockets->named ? NULL : sockets->own_seen, &sockets->listeners,
				   err);
	sockets->made |= r == 0;
	if (r == 0 && !spec->listen_later)
		listen_again(sockets);
	return r;
}

int sockets_prepare(struct sockets *sockets, const struct listeners **ret_passed, struct error *err)
{
	int r;

	if (passes_sockets(sockets->spec)) {
		r = make_passed(sockets, err);
		if (r < 0)
			return r;
	}
	if (listeners_select_passed(&sockets->listeners, &sockets->passed) < 0)
		return error_set(err, -ENOMEM, "pass the sockets on");
	*ret_passed = &sockets->passed;
	return 0;
}

void sockets_started(struct sockets *sockets)
{
	uint64_t now_ms = clock_monotonic_ms();

	for (size_t i = 0; i < sockets->listeners.n; i++) {
		struct listener *listener = &sockets->listeners.list[i];

		listener->earlier = !listeners_find(&sockets->passed, listener->cookie);
		listener->seen_pid = 0;
		listener->lost_ms = listener->look_ms = 0;
	}
	sockets->alive = true;
	sockets->started_ms = now_ms;
	note_change(sockets, now_ms);
	listeners_refresh(&sockets->listeners);
	/* Those that were passed are where they were put, until the server moves them. */
	look_at_holders(sockets, now_ms);
	watch_hangups(sockets);
	watch_endings(sockets);
	if (update(sockets, now_ms))
		sockets->handlers->on_change(sockets->userdata);
	look_again(sockets);
	if (sockets->spec->listen_later && passes_sockets(sockets->spec))
		timer_set(&sockets->listen, sockets->event, now_ms + sockets->spec->listen_delay_ms,
			  on_listen_delay, sockets);
}

static int add_adopted(struct sockets *sockets, const struct report_socket *socket)
{
	struct listener listener = {
		.fd = -1,
		.cookie = socket->cookie,
		.inode = socket->inode,
		.endpoint = socket->endpoint,
		.own = socket->own,
		.counts = sockets->closed,
		.told = true,
	};
	int r = address_parse(socket->address, &listener.address, NULL);

	if (r < 0 || socket->endpoint >= sockets->spec->n_listen)
		return r < 0 ? r : -EBADMSG;
	sockets->family.twins[socket->endpoint] =
		address_are_twins(&listener.address, &sockets->spec->listen[socket->endpoint]);
	return listeners_add(&sockets->listeners, &listener);
}

/* The server has closed it meanwhile. */
static void drop_missing(struct listeners *listeners)
{
	for (size_t i = listeners->n; i-- > 0;)
		if (listeners->list[i].fd < 0)
			listeners_release(listeners, i);
}

static void watch_adopted(struct sockets *sockets)
{
	uint64_t now_ms = clock_monotonic_ms();

	drop_missing(&sockets->listeners);
	sockets->alive = true;
	sockets->started_ms = now_ms;
	note_change(sockets, now_ms);
	listeners_refresh(&sockets->listeners);
	watch_hangups(sockets);
	(void)update(sockets, now_ms);
	look_again(sockets);
	if (sockets->spec->listen_later && passes_sockets(sockets->spec))
		timer_set(&sockets->listen, sockets->event, now_ms + sockets->spec->listen_delay_ms,
			  on_listen_delay, sockets);
}

int sockets_adopt(struct sockets *sockets, const struct report_socket *list, size_t n,
		  uint32_t serial, bool closed, struct error *err)
{
	int r = 0;

	assert(sockets->listeners.n == 0 && !sockets->closed);
	sockets->made = true;
	sockets->serial = serial ? serial : 1;
	sockets->closed = closed;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_adopted(sockets, &list[i]);
	if (r < 0)
		return error_set(err, r, "the sockets that the last agent has noted");
	if (closed)
		return 0;
	r = holders_adopt(sockets->processes, &sockets->listeners);
	if (r < 0)
		return error_set(err, r, "fetch the server's sockets");
	watch_adopted(sockets);
	return 0;
}

/*
 * A socket that the server has bound without SO_REUSEPORT would be in the way when the next run
 * binds the same address. So it cannot be kept, nor can its queue.
 */
static bool release_unshared(struct sockets *sockets)
{
	size_t n = sockets->listeners.n;

	for (size_t i = n; i-- > 0;)
		if (sockets->listeners.list[i].own &&
		    !listener_is_shared(&sockets->listeners.list[i]))
			release(sockets, i);
	return sockets->listeners.n < n;
}

static void stop_looking(struct sockets *sockets)
{
	sockets->alive = false;
	timer_stop(&sockets->look);
	timer_stop(&sockets->listen);
	endings_watch(sockets->endings, NULL, 0);
}

void sockets_stopped(struct sockets *sockets)
{
	stop_looking(sockets);
	if (sockets->closed || !release_unshared(sockets))
		return;
	next_serial(sockets);
	sockets->handlers->on_change(sockets->userdata);
}

static void add_to(struct report *report, const struct listener *listener)
{
	struct report_socket *socket = &report->sockets[report->n_sockets++];

	assert(report->n_sockets <= PROTOCOL_SOCKETS_MAX);
	*socket = (struct report_socket){
		.cookie = listener->cookie,
		.inode = listener->inode,
		.endpoint = listener->endpoint,
		.own = listener->own,
		.deaf = listener->deaf,
	};
	strcpy(socket->address, listener->address.text);
}

/* Those that are passed, but do not listen yet, are the next agent's as well. */
static bool is_noted(const struct listener *listener)
{
	return listener->counts || listener_is_passed(listener);
}

void sockets_note(const struct sockets *sockets, struct report *ret)
{
	ret->serial = sockets->serial;
	ret->n_sockets = 0;
	for (size_t i = 0; i < sockets->listeners.n; i++)
		if (is_noted(&sockets->listeners.list[i]) && ret->n_sockets < PROTOCOL_SOCKETS_MAX)
			add_to(ret, &sockets->listeners.list[i]);
}

void sockets_report(struct sockets *sockets, uint32_t first, struct report *ret, int *ret_fds)
{
	uint32_t nth = 0;

	ret->serial = sockets->serial;
	ret->first = first;
	ret->n_sockets = 0;
	for (size_t i = 0; i < sockets->listeners.n; i++) {
		struct listener *listener = &sockets->listeners.list[i];

		if (!listener->counts || listener->fd < 0 || nth++ < first ||
		    ret->n_sockets == PROTOCOL_SOCKETS_MAX)
			continue;
		ret_fds[ret->n_sockets] = listener->fd;
		listener->told = true;
		add_to(ret, listener);
	}
	ret->more = nth > first ? nth - first - (uint32_t)ret->n_sockets : 0;
	memcpy(ret->strangers, sockets->strangers, sizeof(ret->strangers));
	ret->n_strangers = sockets->n_strangers;
	strcpy(ret->trouble, sockets->trouble);
	ret->trouble_endpoint = sockets->trouble_endpoint;
}

static int on_settled(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct sockets *sockets = userdata;

	(void)source;
	(void)usec;
	release_now(sockets, sockets->released);
	return 0;
}

/* What may go by an earlier set may go by a later one, too: so one timer is enough for both. */
void sockets_release(struct sockets *sockets, uint32_t serial)
{
	if (sockets->closed)
		return;
	sockets->released = serial != 0 ? serial : sockets->serial;
	timer_set(&sockets->settle, sockets->event, clock_monotonic_ms() + SOCKETS_SETTLE_MS,
		  on_settled, sockets);
}

void sockets_set_family(struct sockets *sockets, uint32_t endpoint, bool twin)
{
	struct address address;

	if (endpoint >= sockets->spec->n_listen || sockets->closed)
		return;
	sockets->family.twins[endpoint] = twin;
	launch_spec_address(sockets->spec, endpoint, &address);
	for (size_t i = sockets->listeners.n; i-- > 0;) {
		const struct listener *listener = &sockets->listeners.list[i];

		if (listener->endpoint == endpoint &&
		    !address_equal(&listener->address, &address) &&
		    (!listener->own || !listener->counts))
			release(sockets, i);
	}
	next_serial(sockets);
	update(sockets, clock_monotonic_ms());
	sockets->handlers->on_change(sockets->userdata);
}

/* ---- the end -------------------------------------------------------------------------------- */

void sockets_close(struct sockets *sockets)
{
	stop_looking(sockets);
	sockets->closed = true;
	for (size_t i = 0; i < sockets->listeners.n; i++)
		hangups_remove(sockets->hangups, sockets->listeners.list[i].fd);
	timer_stop(&sockets->settle);
	release_now(sockets, 0);
	listeners_close(&sockets->listeners);
}

void sockets_check_gone(struct sockets *sockets)
{
	int n;

	if (!sockets->watching)
		return;
	n = holders_count(sockets->processes, &sockets->listeners);
	if (n < 0)
		log_warning("look for listeners: %s", strerror(-n));
	if (n != 0)
		return;
	sockets_watch_stop(sockets);
	sockets->handlers->on_gone(sockets->userdata);
}

static int on_watch(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct sockets *sockets = userdata;

	(void)source;
	(void)usec;
	sockets_check_gone(sockets);
	if (sockets->watching)
		timer_again(&sockets->watch, sockets->event, on_watch, sockets);
	return 0;
}

void sockets_watch_gone(struct sockets *sockets)
{
	assert(sockets->closed);
	sockets->watching = true;
	timer_begin(&sockets->watch);
	timer_again(&sockets->watch, sockets->event, on_watch, sockets);
}

void sockets_watch_stop(struct sockets *sockets)
{
	sockets->watching = false;
	timer_stop(&sockets->watch);
}

/* The next of them from @from on, as many as are shut down at once. */
static size_t list_next(const struct sockets *sockets, size_t from, struct orphan *ret)
{
	size_t n = 0;

	for (; from + n < sockets->listeners.n && n < ORPHANS_MAX; n++) {
		const struct listener *listener = &sockets->listeners.list[from + n];

		orphan_init(&ret[n], listener->cookie, listener->address.text,
			    address_port(&listener->address));
	}
	return n;
}

static void shut_orphans(struct sockets *sockets, struct diag *diag, struct orphan *list, size_t n)
{
	int left = orphans_shut(diag, list, n);

	if (left < 0)
		log_warning("look for listeners: %s", strerror(-left));
	for (int k = 0; k < left && sockets->handlers->on_orphan; k++)
		sockets->handlers->on_orphan(sockets->userdata, &list[k]);
}

/* First those that processes of the instance have: what listens then is an orphan's. */
void sockets_shut(struct sockets *sockets)
{
	cleanup(diag_free) struct diag *diag = NULL;
	struct orphan list[ORPHANS_MAX];
	bool asked_holders = false;
	struct error err;
	size_t n;

	assert(sockets->closed);
	sockets_watch_stop(sockets);
	if (sockets->listeners.n == 0)
		return;
	if (diag_open(&diag, &err) < 0) {
		log_error("look for listeners: %s", err.text);
		return;
	}
	for (size_t from = 0; from < sockets->listeners.n; from += n) {
		int listening;

		n = list_next(sockets, from, list);
		listening = orphans_listening(diag, list, n);
		if (listening == 0)
			continue;
		if (!asked_holders &&
		    holders_shut(sockets->processes, &sockets->listeners, &err) < 0)
			log_error("%s", err.text);
		asked_holders = true;
		shut_orphans(sockets, diag, list, listening < 0 ? n : (size_t)listening);
	}
}

/* ---- making and ending ---------------------------------------------------------------------- */

static bool names_descriptors(const struct launch_spec *spec)
{
	return expand_uses_fds(spec->argv) || expand_uses_fds(spec->environment);
}

static void close_given(struct sockets *sockets)
{
	for (size_t i = 0; i < sockets->n_given; i++)
		close(sockets->given[i]);
	sockets->n_given = 0;
}

int sockets_new(sd_event *event, const struct launch_spec *spec, struct processes *processes,
		const int *given, const struct sockets_handlers *handlers, void *userdata,
		struct sockets **ret, struct error *err)
{
	cleanup(sockets_free) struct sockets *sockets = calloc(1, sizeof(*sockets));
	int r;

	assert(event && processes && handlers->on_change && handlers->on_gone);
	assert(spec->n_listen <= PROTOCOL_LISTEN_MAX);
	for (size_t i = 0; given && i < spec->n_listen; i++)
		if (!sockets)
			close(given[i]);
		else
			sockets->given[sockets->n_given++] = given[i];
	if (!sockets)
		return error_set(err, -ENOMEM, "sockets");
	sockets->event = sd_event_ref(event);
	sockets->family = *spec;
	sockets->spec = &sockets->family;
	sockets->processes = processes;
	sockets->handlers = handlers;
	sockets->userdata = userdata;
	sockets->named = names_descriptors(spec);
	sockets->serial = 1;
	if (!passes_sockets(spec))
		close_given(sockets);
	r = hangups_new(event, on_hangup, sockets, &sockets->hangups, err);
	if (r >= 0)
		r = endings_new(event, on_ending, sockets, &sockets->endings, err);
	if (r < 0)
		return r;
	if (spec->mode != SOCKETS_INHERIT && spec->n_listen > 0) {
		r = finder_new(sockets->spec, processes, &sockets->finder, err);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(sockets);
	return 0;
}

void sockets_free(struct sockets *sockets)
{
	if (!sockets)
		return;
	timer_done(&sockets->look);
	timer_done(&sockets->listen);
	timer_done(&sockets->watch);
	timer_done(&sockets->settle);
	hangups_free(sockets->hangups);
	endings_free(sockets->endings);
	close_given(sockets);
	listeners_close(&sockets->listeners);
	listeners_done(&sockets->listeners);
	listeners_done(&sockets->passed);
	finder_free(sockets->finder);
	sd_event_unref(sockets->event);
	free(sockets);
}
