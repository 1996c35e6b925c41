/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/watch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/vector.h"
#include "orchestrator/host/errand.h"
#include "orchestrator/host/sight.h"
#include "orchestrator/host/watch_internal.h"

/*
 * Writes to an open file are of no interest; its close is. A file that is truncated by its name, or
 * written to through a mapping, is left to the slow look.
 */
#define EVENTS                                                                                     \
	(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_ATTRIB |        \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)

/* Names that are watched for, of all paths together; what is beyond has the slow look. */
#define STEPS_MAX 1024

/* A name, in a folder that inotify watches: its coming and going is an event. */
struct step {
	int wd;
	char *name;
};

struct steps {
	struct step *list;
	size_t n, size;
};

struct place {
	char *path;
	struct watch_look known; /* what later looks are compared with */
	struct watch_look seen;  /* at the last look */
	bool finished;
};

struct watch {
	sd_event *event;
	struct watch_pace pace;
	void (*on_change)(void *userdata, const char *path);
	void *userdata;
	struct place *places;
	size_t n_places;
	int inotify_fd; /* -1: none, only the slow look */
	bool limit_told;
	struct steps steps;
	sd_event_source *io, *timer;
	struct errand *errand; /* a helper looks */
	bool in_helper;
	bool begun;  /* it is known what later looks are compared with */
	bool again;  /* something has happened since it was sent */
	bool judges; /* nothing had moved for long enough when it was sent */
	bool silent; /* the last one has not answered, which was told */
	uint64_t sent_ms;
	uint64_t moved_ms;   /* when something was last seen to move */
	uint64_t waiting_ms; /* since when a finished one waits for others; 0: none does */
};

/* ---- inotify -------------------------------------------------------------------------------- */

/* Said once: what inotify has run out of does not come back soon. */
static void tell_limit(struct watch *watch, int r)
{
	if (!watch->limit_told)
		log_warning("watch: inotify: %s; some paths are only looked at every %llu ms "
			    "(larger limits: sysctl fs.inotify)",
			    strerror(-r), (unsigned long long)watch->pace.poll_ms);
	watch->limit_told = true;
}

static bool has_watch(const struct steps *steps, int wd)
{
	for (size_t k = 0; k < steps->n; k++)
		if (steps->list[k].wd == wd)
			return true;
	return false;
}

static bool has_step(const struct steps *steps, int wd, const char *name)
{
	for (size_t k = 0; k < steps->n; k++)
		if (steps->list[k].wd == wd && strcmp(steps->list[k].name, name) == 0)
			return true;
	return false;
}

static void steps_done(struct steps *steps)
{
	for (size_t k = 0; k < steps->n; k++)
		free(steps->list[k].name);
	free(steps->list);
	*steps = (struct steps){};
}

/* Without memory the step has no events. */
static void add_step(struct steps *steps, int wd, const char *name)
{
	char *copy;

	if (steps->n == STEPS_MAX || has_step(steps, wd, name))
		return;
	if (steps->n == steps->size) {
		size_t size = steps->size ? 2 * steps->size : 16;
		struct step *list = realloc(steps->list, size * sizeof(*list));

		if (!list)
			return;
		steps->list = list;
		steps->size = size;
	}
	copy = strdup(name);
	if (copy)
		steps->list[steps->n++] = (struct step){.wd = wd, .name = copy};
}

/*
 * The number of the watch on @folder; a negative errno. The same folder again is the same number
 * again. A helper has the same inotify instance: its watches are the daemon's.
 */
static int watch_folder(const struct watch *watch, const char *folder)
{
	char question[SIGHT_QUESTION_MAX];
	const void *known;
	size_t n;
	int wd;

	sight_ask(question, "inotify %s", folder);
	if (sight_recall(question, &known, &n) && n == sizeof(wd)) {
		memcpy(&wd, known, n);
		return wd;
	}
	sight_at(folder);
	wd = inotify_add_watch(watch->inotify_fd, folder, EVENTS);
	if (wd < 0)
		wd = -errno;
	sight_note(question, &wd, sizeof(wd));
	return wd;
}

static void on_step(void *userdata, const char *folder, const char *name)
{
	struct watch *watch = userdata;
	int wd;

	if (watch->inotify_fd < 0)
		return;
	wd = watch_folder(watch, folder);
	if (wd >= 0)
		add_step(&watch->steps, wd, name);
	else if (wd == -ENOSPC || wd == -ENOMEM)
		tell_limit(watch, wd);
}

/* ---- looking -------------------------------------------------------------------------------- */

/* What happened before the helper was sent has its time already: that of the event. */
static void note_move(struct watch *watch)
{
	if (watch->moved_ms < watch->sent_ms)
		watch->moved_ms = clock_monotonic_ms();
}

/* What the paths lead to now; and inotify on the ways there, which may be others than before. */
static void look(struct watch *watch)
{
	struct steps before = watch->steps;

	watch->steps = (struct steps){};
	for (size_t k = 0; k < watch->n_places; k++) {
		struct place *place = &watch->places[k];
		struct watch_look now;

		watch_look(place->path, on_step, watch, &now);
		if (watch->begun && watch_look_moved(&place->seen, &now))
			note_move(watch);
		place->seen = now;
	}
	for (size_t k = 0; k < before.n && !watch->in_helper; k++)
		if (!has_watch(&watch->steps, before.list[k].wd))
			inotify_rm_watch(watch->inotify_fd, before.list[k].wd);
	steps_done(&before);
}

static void arm(struct watch *watch, uint64_t at_ms)
{
	int r = sd_event_source_set_time(watch->timer, at_ms * 1000);

	if (r >= 0)
		r = sd_event_source_set_enabled(watch->timer, SD_EVENT_ONESHOT);
	if (r < 0)
		log_error("watch: timer: %s", strerror(-r));
}

/* The last thing that is done with @watch: it may be gone afterwards. */
static void tell(struct watch *watch, const struct place *first)
{
	char path[PATH_MAX];

	strcpy(path, first->path);
	for (size_t k = 0; k < watch->n_places; k++) {
		struct place *place = &watch->places[k];

		if (place->finished)
			place->known = place->seen;
	}
	watch->waiting_ms = 0;
	arm(watch, clock_monotonic_ms() + watch->pace.poll_ms);
	watch->on_change(watch->userdata, path);
}

enum progress {
	UNCHANGED,
	CHANGING, /* something is done to it, and there may be more to come */
	CHANGED,
};

/* Files are read only here, when something has been done to them and they are at rest. */
static enum progress judge(struct place *place)
{
	if (!watch_look_moved(&place->known, &place->seen))
		return UNCHANGED;
	if (watch_look_unfinished(&place->known, &place->seen) || !watch_look_read(&place->seen))
		return CHANGING;
	if (watch_look_changed(&place->known, &place->seen))
		return CHANGED;
	place->known = place->seen;
	return UNCHANGED;
}

/* Nothing has moved for long enough: is there something to be told? */
static void decide(struct watch *watch)
{
	const uint64_t now = clock_monotonic_ms();
	const struct place *first = NULL;
	uint64_t next = now + watch->pace.poll_ms;
	bool unfinished = false;

	for (size_t k = 0; k < watch->n_places; k++) {
		struct place *place = &watch->places[k];
		enum progress progress = judge(place);

		place->finished = progress == CHANGED;
		if (place->finished && !first)
			first = place;
		unfinished |= progress == CHANGING;
	}
	if (!first || !unfinished)
		watch->waiting_ms = 0;
	else if (!watch->waiting_ms)
		watch->waiting_ms = now;
	if (first && (!unfinished || now - watch->waiting_ms >= watch->pace.others_ms)) {
		tell(watch, first);
		return;
	}
	if (first && watch->waiting_ms + watch->pace.others_ms < next)
		next = watch->waiting_ms + watch->pace.others_ms;
	arm(watch, next);
}

/* ---- by a helper ---------------------------------------------------------------------------- */

static bool is_quiet(const struct watch *watch)
{
	return watch->judges && watch->moved_ms < watch->sent_ms;
}

static void begin(struct watch *watch)
{
	for (size_t k = 0; k < watch->n_places; k++) {
		struct place *place = &watch->places[k];

		place->known = place->seen;
		(void)watch_look_read(&place->known);
	}
	watch->begun = true;
}

/* All that on_seen() may ask. */
static void look_in_helper(void *userdata)
{
	struct watch *watch = userdata;

	watch->in_helper = watch->limit_told = true;
	look(watch);
	if (!watch->begun)
		begin(watch);
	else if (is_quiet(watch))
		for (size_t k = 0; k < watch->n_places; k++)
			(void)judge(&watch->places[k]);
}

static void tell_silence(struct watch *watch, const struct error *why)
{
	if (!watch->silent)
		log_warning("watch: %s; changes are not seen before it answers", why->text);
	watch->silent = true;
}

static void send_helper(struct watch *watch);

static void on_seen(void *userdata, int r, const struct error *why)
{
	struct watch *watch = userdata;

	watch->errand = NULL;
	if (r < 0) {
		tell_silence(watch, why);
		arm(watch, clock_monotonic_ms() + watch->pace.poll_ms);
		return;
	}
	watch->silent = false;
	look(watch);
	if (!watch->begun) {
		begin(watch);
		arm(watch, clock_monotonic_ms() + watch->pace.poll_ms);
	}
	if (watch->again)
		send_helper(watch);
	else if (is_quiet(watch))
		decide(watch);
	else if (watch->moved_ms > 0)
		arm(watch, watch->moved_ms + watch->pace.quiet_ms);
}

static void on_late(void *userdata, const struct error *why)
{
	tell_silence(userdata, why);
}

/* One at a time: the next one goes when it is back. */
static void send_helper(struct watch *watch)
{
	struct errand_spec spec = {.look = look_in_helper,
				   .on_seen = on_seen,
				   .on_late = on_late,
				   .userdata = watch,
				   .keep_fd = watch->inotify_fd};
	struct error why;

	watch->again = watch->errand;
	if (watch->errand)
		return;
	watch->sent_ms = clock_monotonic_ms();
	watch->judges = watch->begun && watch->sent_ms >= watch->moved_ms + watch->pace.quiet_ms;
	if (errand_start(watch->event, &spec, &watch->errand, &why) >= 0)
		return;
	tell_silence(watch, &why);
	arm(watch, watch->sent_ms + watch->pace.poll_ms);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	send_helper(userdata);
	return 0;
}

/* ---- events --------------------------------------------------------------------------------- */

static bool concerns(const struct watch *watch, const struct inotify_event *event)
{
	if (event->mask & IN_Q_OVERFLOW)
		return true;
	if (event->len == 0) /* the folder itself */
		return has_watch(&watch->steps, event->wd);
	return has_step(&watch->steps, event->wd, event->name);
}

/* One bufferful at a time: what is left wakes the loop again. */
static int on_events(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n = read(fd, buffer, sizeof(buffer));
	const struct inotify_event *event;
	struct watch *watch = userdata;
	bool concerned = false, unknown = false;

	(void)revents;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		tell_limit(watch, n < 0 ? -errno : -EIO);
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
		return 0;
	}
	for (ssize_t at = 0; at < n; at += (ssize_t)(sizeof(*event) + event->len)) {
		event = (const struct inotify_event *)(buffer + at);
		concerned |= concerns(watch, event);
		unknown |= !has_watch(&watch->steps, event->wd);
	}
	/* A helper that is on its way may have made a watch that is not known here yet. */
	if (!concerned && !(unknown && watch->errand))
		return 0;
	/* Now, so that what is found has been quiet for long enough when the timer looks again. */
	if (concerned)
		watch->moved_ms = clock_monotonic_ms();
	send_helper(watch);
	return 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

static int copy_paths(struct watch *watch, char *const *paths, struct error *err)
{
	size_t n = vector_length(paths);

	watch->places = calloc(n + 1, sizeof(*watch->places));
	if (!watch->places)
		return error_set(err, -ENOMEM, "watch");
	for (; watch->n_places < n; watch->n_places++) {
		const char *path = paths[watch->n_places];

		if (path[0] != '/')
			return error_text(err, -EINVAL, "watch: \"%s\" is not an absolute path",
					  path);
		if (strlen(path) >= PATH_MAX)
			return error_text(err, -ENAMETOOLONG,
					  "watch: a path may have %d bytes, not %zu", PATH_MAX - 1,
					  strlen(path));
		watch->places[watch->n_places].path = strdup(path);
		if (!watch->places[watch->n_places].path)
			return error_set(err, -ENOMEM, "watch");
	}
	return 0;
}

/* Without inotify the slow look must do: that is no failure. */
static int open_inotify(struct watch *watch, sd_event *event)
{
	int r;

	watch->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch->inotify_fd < 0) {
		tell_limit(watch, -errno);
		return 0;
	}
	r = sd_event_add_io(event, &watch->io, watch->inotify_fd, EPOLLIN, on_events, watch);
	if (r < 0)
		return r;
	/*
	 * Somebody may change a file and then give an order: the change is seen first
	 * (watch_moved_ms()).
	 */
	return sd_event_source_set_priority(watch->io, SD_EVENT_PRIORITY_IMPORTANT);
}

int watch_new_paced(sd_event *event, char *const *paths, const struct watch_pace *pace,
		    void (*on_change)(void *userdata, const char *path), void *userdata,
		    struct watch **ret, struct error *err)
{
	cleanup(watch_free) struct watch *watch = calloc(1, sizeof(*watch));
	int r;

	assert(on_change);
	if (!watch)
		return error_set(err, -ENOMEM, "watch");
	watch->event = sd_event_ref(event);
	watch->pace = *pace;
	watch->on_change = on_change;
	watch->userdata = userdata;
	watch->inotify_fd = -1;
	r = copy_paths(watch, paths, err);
	if (r < 0)
		return r;
	r = open_inotify(watch, event);
	if (r >= 0)
		r = sd_event_add_time(event, &watch->timer, CLOCK_MONOTONIC,
				      (clock_monotonic_ms() + pace->poll_ms) * 1000, 1000, on_time,
				      watch);
	if (r < 0)
		return error_set(err, r, "watch: event loop");
	send_helper(watch);
	*ret = TAKE_PTR(watch);
	return 0;
}

int watch_new(sd_event *event, char *const *paths, uint64_t settle_ms,
	      void (*on_change)(void *userdata, const char *path), void *userdata,
	      struct watch **ret, struct error *err)
{
	const struct watch_pace pace = {
		.quiet_ms = settle_ms,
		.poll_ms = WATCH_POLL_MS,
		.others_ms = WATCH_OTHERS_MS,
	};

	return watch_new_paced(event, paths, &pace, on_change, userdata, ret, err);
}

bool watch_has_begun(const struct watch *watch)
{
	return watch->begun;
}

uint64_t watch_moved_ms(const struct watch *watch)
{
	return watch->moved_ms;
}

void watch_free(struct watch *watch)
{
	if (!watch)
		return;
	errand_cancel(watch->errand);
	sd_event_source_disable_unref(watch->io);
	sd_event_source_disable_unref(watch->timer);
	if (watch->inotify_fd >= 0)
		close(watch->inotify_fd);
	steps_done(&watch->steps);
	for (size_t k = 0; k < watch->n_places; k++)
		free(watch->places[k].path);
	free(watch->places);
	sd_event_unref(watch->event);
	free(watch);
}
