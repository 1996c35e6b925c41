/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/api_door.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/exit_status.h"
#include "common/log.h"
#include "orchestrator/api/api_answer.h"
#include "orchestrator/api/api_socket.h"

#define NO_FILES "batond is busy: it has hardly any file descriptors left; try again"

struct door {
	sd_event *event;
	struct api_socket listening;
	gid_t gid;
	sd_event_source *io;
	sd_event_source *timer; /* the next whose time is over, or a look for descriptors */
	int spare;              /* closed when there are no descriptors left; -1: it is used */
	uint64_t timer_ms;      /* ... is set to this; UINT64_MAX: it is off */
	uint64_t retry_ms;      /* nothing is taken until then; 0: it is */
	bool is_short;          /* ... and that was told */
	struct places places;
	size_t n_refused;
	struct tally tally;
	struct door_handlers handlers;
	void *userdata;
};

static struct visitor *visitor_of(struct place *place)
{
	return (struct visitor *)place; /* its first member */
}

/* ---- leaving -------------------------------------------------------------------------------- */

void door_leave(struct visitor *visitor)
{
	struct door *door = visitor->door;

	sd_event_source_disable_unref(visitor->hangup);
	places_remove(&door->places, &visitor->place);
	free(visitor);
}

/* One that never came in. */
static void drop(struct visitor *visitor)
{
	visitor->door->n_refused--;
	close(visitor->fd);
	door_leave(visitor);
}

static void be_gone(struct visitor *visitor)
{
	if (visitor->gone)
		return;
	visitor->gone = visitor->place.leaving = true;
	sd_event_source_set_enabled(visitor->hangup, SD_EVENT_OFF);
	visitor->door->handlers.gone(visitor->door->userdata, visitor);
}

/* Without a word if @problem is NULL. libmicrohttpd then finds that its peer is not there. */
static void send_away(struct visitor *visitor, const struct api_problem *problem)
{
	if (visitor->place.phase == PLACE_REFUSED) {
		drop(visitor);
		return;
	}
	if (problem)
		api_answer_raw(visitor->fd, problem);
	shutdown(visitor->fd, SHUT_RDWR);
	be_gone(visitor);
}

/*
 * The kernel says so only if both directions are closed (unix_poll()): a client that has just
 * nothing more to ask is still there.
 */
static int on_hangup(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct visitor *visitor = userdata;
	struct door *door = visitor->door;

	(void)source;
	(void)fd;
	(void)revents;
	if (visitor->place.phase == PLACE_REFUSED) {
		drop(visitor);
		return 0;
	}
	be_gone(visitor);
	door->handlers.turn(door->userdata);
	return 0;
}

/* ---- who may read --------------------------------------------------------------------------- */

static bool is_owner(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

static bool may_read(const struct door *door, int fd, bool owner)
{
	return owner || (door->gid != (gid_t)-1 && api_socket_peer_is_in(fd, door->gid));
}

int door_set_group(struct door *door, gid_t gid, struct error *err)
{
	struct place *next;
	int r = api_socket_set_group(&door->listening, gid, err);

	if (r < 0)
		return r;
	door->gid = gid;
	for (struct place *p = door->places.first; p; p = next) {
		next = p->next;
		if (!may_read(door, visitor_of(p)->fd, p->owner))
			send_away(visitor_of(p), NULL);
	}
	return 0;
}

/* ---- coming --------------------------------------------------------------------------------- */

/* Of the numbers below @fd none is free (open(2)). */
static bool is_one_of_the_last(int fd)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
	       (rlim_t)fd + DOOR_FILES_KEPT >= limit.rlim_cur;
}

static struct visitor *make_visitor(struct door *door, int fd, uid_t uid)
{
	struct visitor *visitor = calloc(1, sizeof(*visitor));

	if (!visitor)
		return NULL;
	visitor->door = door;
	visitor->fd = fd;
	visitor->place.uid = uid;
	visitor->place.owner = is_owner(uid);
	if (sd_event_add_io(door->event, &visitor->hangup, fd, EPOLLHUP, on_hangup, visitor) < 0) {
		free(visitor);
		return NULL;
	}
	/* Who has left gives up the place before others come in, however soon those are looked at.
	 */
	(void)sd_event_source_set_priority(visitor->hangup, SD_EVENT_PRIORITY_IMPORTANT);
	place_enter(&visitor->place, PLACE_REFUSED, clock_monotonic_ms()); /* it has no place yet */
	places_add(&door->places, &visitor->place);
	return visitor;
}

/*
 * Say why, and let the client read it: if a socket is closed whose peer still writes, the peer gets
 * an error instead of what was sent to it. @visitor is not in yet.
 */
static void refuse(struct visitor *visitor, const struct api_problem *problem)
{
	struct door *door = visitor->door;
	struct place *oldest = NULL;

	door->n_refused++;
	api_answer_raw(visitor->fd, problem);
	shutdown(visitor->fd, SHUT_WR);
	if (is_one_of_the_last(visitor->fd)) {
		drop(visitor);
		return;
	}
	if (door->n_refused <= DOOR_REFUSED_MAX)
		return;
	for (struct place *p = door->places.first; p; p = p->next)
		if (p->phase == PLACE_REFUSED)
			oldest = p;
	drop(visitor_of(oldest));
}

static struct api_problem busy_problem(void)
{
	return (struct api_problem){.status = 503,
				    .code = EXIT_STATUS_BUSY,
				    .title = "Busy",
				    .retry_after_s = API_RETRY_AFTER_S};
}

static void refuse_stranger(struct visitor *visitor)
{
	struct api_problem problem = {.status = 403, .code = EXIT_STATUS_ERROR};

	error_text(&problem.detail, 0,
		   "only root, the daemon's own user and members of its group may read "
		   "(\"group\" of \"api\" in the configuration)");
	tally_note(&visitor->door->tally, TALLY_STRANGER, visitor->place.uid, clock_monotonic_ms());
	refuse(visitor, &problem);
}

static void refuse_for_now(struct visitor *visitor, enum place_verdict verdict)
{
	struct api_problem problem = busy_problem();

	if (verdict == PLACE_NO_FILES)
		error_text(&problem.detail, 0, NO_FILES);
	else if (visitor->place.owner)
		error_text(&problem.detail, 0,
			   "batond is busy: all %d connections of root and its owner are in use; "
			   "end some of these clients, or try again",
			   API_OWNERS_MAX);
	else if (verdict == PLACE_ACCOUNT_FULL)
		error_text(&problem.detail, 0,
			   "batond is busy: uid %u has %d connections, the most for one account; "
			   "end some of these clients, or try again",
			   (unsigned)visitor->place.uid, API_READER_MAX);
	else
		error_text(&problem.detail, 0,
			   "batond is busy: all %d connections of those who may read are in use; "
			   "try again",
			   API_READERS_MAX);
	tally_note(&visitor->door->tally, TALLY_REFUSED, visitor->place.uid, clock_monotonic_ms());
	refuse(visitor, &problem);
}

static void make_room(struct visitor *visitor)
{
	struct api_problem problem = busy_problem();

	error_text(&problem.detail, 0,
		   "batond is busy: this connection had to make room for another one; try again");
	tally_note(&visitor->door->tally, TALLY_ROOM, visitor->place.uid, clock_monotonic_ms());
	/* In the middle of an answer nothing can be said. */
	send_away(visitor, visitor->place.phase == PLACE_ANSWERED ? NULL : &problem);
}

static void receive(struct door *door, int fd)
{
	enum place_verdict verdict;
	struct visitor *visitor;
	struct place *victim;
	uid_t uid;

	if (api_socket_peer(fd, &uid) < 0 || !(visitor = make_visitor(door, fd, uid))) {
		close(fd);
		return;
	}
	if (!may_read(door, fd, visitor->place.owner)) {
		refuse_stranger(visitor);
		return;
	}
	verdict = places_admit(&door->places, uid, visitor->place.owner, is_one_of_the_last(fd),
			       clock_monotonic_ms(), &victim);
	if (verdict != PLACE_FREE && verdict != PLACE_EXCHANGED) {
		refuse_for_now(visitor, verdict);
		return;
	}
	if (victim)
		make_room(visitor_of(victim));
	door_enter(visitor, PLACE_FRESH);
	door->handlers.admit(door->userdata, visitor);
}

/* ---- without descriptors -------------------------------------------------------------------- */

static void take_spare(struct door *door)
{
	if (door->spare < 0)
		door->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int take(struct door *door)
{
	return accept4(door->listening.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void wait_for_descriptors(struct door *door, int error)
{
	struct rlimit limit = {};

	if (!door->is_short) {
		getrlimit(RLIMIT_NOFILE, &limit);
		log_warning(
			"api: no connection can be taken (%s; batond may have %llu files open): "
			"they wait until one can",
			strerror(error), (unsigned long long)limit.rlim_cur);
	}
	door->is_short = true;
	door->retry_ms = clock_monotonic_ms() + DOOR_RETRY_MS;
	sd_event_source_set_enabled(door->io, SD_EVENT_OFF);
}

/* The one that is kept lets in those who may mend it. Errors as of accept(2). */
static int take_with_spare(struct door *door)
{
	struct api_problem problem = busy_problem();
	uid_t uid;
	int fd, r;

	if (door->spare < 0)
		return -EMFILE;
	close(TAKE_FD(door->spare));
	fd = take(door);
	if (fd < 0) {
		r = -errno;
		take_spare(door);
		return r;
	}
	if (api_socket_peer(fd, &uid) == 0 && is_owner(uid)) {
		receive(door, fd);
		return 0;
	}
	error_text(&problem.detail, 0,
		   "batond is busy: it has no file descriptors left; try again");
	api_answer_raw(fd, &problem);
	close(fd);
	take_spare(door);
	return 0;
}

/* False: there is nothing more to be taken now. */
static bool take_one(struct door *door)
{
	int fd = take(door), r = fd < 0 ? -errno : 0;

	if (r == 0)
		receive(door, fd);
	else if (r == -EMFILE || r == -ENFILE)
		r = take_with_spare(door);
	/* Whoever makes room does so once the others had their turn. */
	if (r == 0 && is_one_of_the_last(fd))
		return false;
	if (r == 0 || r == -EINTR || r == -ECONNABORTED)
		return true;
	if (r != -EAGAIN)
		wait_for_descriptors(door, -r);
	return false;
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct door *door = userdata;

	(void)source;
	(void)fd;
	(void)revents;
	for (int n = 0; n < DOOR_SERIES_MAX && take_one(door); n++)
		;
	if (door->is_short && !door->retry_ms) {
		door->is_short = false;
		log_info("api: connections can be taken again");
	}
	door->handlers.turn(door->userdata);
	return 0;
}

/* ---- whose time is over --------------------------------------------------------------------- */

static void expire(struct visitor *visitor)
{
	struct api_problem problem = {.status = 408, .code = EXIT_STATUS_ERROR};
	bool half = visitor->place.phase == PLACE_FRESH || visitor->place.phase == PLACE_BODY;

	if (visitor->place.phase != PLACE_IDLE && visitor->place.phase != PLACE_REFUSED)
		tally_note(&visitor->door->tally, TALLY_SLOW, visitor->place.uid,
			   clock_monotonic_ms());
	error_text(&problem.detail, 0, "the request has not come as a whole within %d s",
		   API_REQUEST_MS / 1000);
	send_away(visitor, half ? &problem : NULL);
}

static bool send_away_late(struct door *door, uint64_t now_ms)
{
	struct place *next;
	bool any = false;

	for (struct place *p = door->places.first; p; p = next) {
		next = p->next;
		if (p->leaving || place_deadline_ms(p) > now_ms)
			continue;
		expire(visitor_of(p));
		any = true;
	}
	return any;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct door *door = userdata;
	uint64_t now_ms = clock_monotonic_ms();

	(void)source;
	(void)usec;
	door->timer_ms = UINT64_MAX;
	tally_tell(&door->tally, now_ms);
	if (door->retry_ms && now_ms >= door->retry_ms) {
		sd_event_source_set_enabled(door->io, SD_EVENT_ON);
		door->retry_ms = 0;
	}
	if (send_away_late(door, now_ms))
		door->handlers.turn(door->userdata);
	door_look(door);
	return 0;
}

void door_look(struct door *door)
{
	uint64_t next_ms = tally_deadline_ms(&door->tally);
	int r;

	take_spare(door); /* somebody may have left */
	for (const struct place *p = door->places.first; p; p = p->next)
		if (!p->leaving && place_deadline_ms(p) < next_ms)
			next_ms = place_deadline_ms(p);
	if (door->retry_ms && door->retry_ms < next_ms)
		next_ms = door->retry_ms;
	/*
	 * To set a timer that is due puts it off: clients that never stop sending could then keep
	 * it from coming.
	 */
	if (next_ms == door->timer_ms)
		return;
	door->timer_ms = next_ms;
	r = sd_event_source_set_time(door->timer, next_ms == UINT64_MAX ? next_ms : next_ms * 1000);
	if (r >= 0)
		r = sd_event_source_set_enabled(
			door->timer, next_ms == UINT64_MAX ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
	if (r < 0)
		log_error("api: cannot set the timer: %s", strerror(-r));
}

/* ---- visitors ------------------------------------------------------------------------------- */

struct visitor *door_find(struct door *door, int fd)
{
	for (struct place *p = door->places.first; p; p = p->next)
		if (visitor_of(p)->fd == fd)
			return visitor_of(p);
	return NULL;
}

void door_enter(struct visitor *visitor, enum place_phase phase)
{
	place_enter(&visitor->place, phase, clock_monotonic_ms());
}

bool door_may_follow(struct visitor *visitor)
{
	struct door *door = visitor->door;

	if (places_follow(&door->places, &visitor->place) == PLACE_FREE)
		return true;
	tally_note(&door->tally, TALLY_STREAM, visitor->place.uid, clock_monotonic_ms());
	return false;
}

bool door_may_list(struct visitor *visitor)
{
	struct door *door = visitor->door;

	if (places_list(&door->places, &visitor->place) == PLACE_FREE)
		return true;
	tally_note(&door->tally, TALLY_LIST, visitor->place.uid, clock_monotonic_ms());
	return false;
}

/* ---- opening and closing -------------------------------------------------------------------- */

int door_open(sd_event *event, const char *path, gid_t gid, const struct door_handlers *handlers,
	      void *userdata, struct door **ret, struct error *err)
{
	cleanup(door_free) struct door *door = calloc(1, sizeof(*door));
	int r;

	if (!door)
		return error_set(err, -ENOMEM, "api");
	door->event = sd_event_ref(event);
	door->listening.fd = door->spare = -1;
	door->timer_ms = UINT64_MAX;
	door->gid = gid;
	door->handlers = *handlers;
	door->userdata = userdata;
	r = api_socket_open(path, gid, &door->listening, err);
	if (r < 0)
		return r;
	take_spare(door);
	r = sd_event_add_io(event, &door->io, door->listening.fd, EPOLLIN, on_connection, door);
	if (r >= 0)
		r = sd_event_add_time(event, &door->timer, CLOCK_MONOTONIC, 0, 1000, on_timer,
				      door);
	if (r >= 0)
		r = sd_event_source_set_enabled(door->timer, SD_EVENT_OFF);
	if (r < 0)
		return error_set(err, r, "api");
	*ret = TAKE_PTR(door);
	return 0;
}

void door_set_priority(struct door *door, int64_t priority)
{
	if (door->io)
		(void)sd_event_source_set_priority(door->io, priority);
}

void door_hold(struct door *door, bool hold)
{
	(void)sd_event_source_set_enabled(door->io, hold ? SD_EVENT_OFF : SD_EVENT_ON);
}

void door_shut(struct door *door)
{
	struct place *next;

	door->io = sd_event_source_disable_unref(door->io);
	api_socket_unlink(&door->listening);
	if (door->listening.fd >= 0)
		close(TAKE_FD(door->listening.fd));
	for (struct place *p = door->places.first; p; p = next) {
		next = p->next;
		if (p->phase == PLACE_REFUSED)
			drop(visitor_of(p));
	}
}

void door_free(struct door *door)
{
	if (!door)
		return;
	door_shut(door);
	sd_event_source_disable_unref(door->timer);
	if (door->spare >= 0)
		close(door->spare);
	sd_event_unref(door->event);
	free(door);
}
