/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/removals.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/timer.h"
#include "orchestrator/host/cgroup.h"

#define FIRST_MS 10
#define LAST_MS  1000

/* Whatever dies of SIGKILL is dead by then. */
#define PATIENCE_MS 2000

struct removal {
	char *path;
	uint64_t since_ms;
	bool told; /* that its processes do not end */
};

struct removals {
	sd_event *event;
	struct removal *list;
	size_t n;
	struct timer timer;
	uint64_t delay_ms;          /* before the next try */
	char base[CGROUP_PATH_MAX]; /* "": not said */
};

static void remove_folder_of(const struct removals *removals, const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[CGROUP_PATH_MAX];

	if (!removals || !removals->base[0] || !slash)
		return;
	snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
	/* Of a folder with anything in it this is EBUSY. */
	if (strcmp(folder, removals->base) != 0)
		(void)rmdir(folder);
}

/* Is there nothing more to do about it? */
static bool is_over(const struct removals *removals, const char *path)
{
	int r = cgroup_remove(path);

	if (r == -EBUSY)
		return false;
	if (r < 0)
		log_warning("remove the cgroup %s: %s", path, strerror(-r));
	else
		remove_folder_of(removals, path);
	return true;
}

static void drop(struct removals *removals, size_t k)
{
	free(removals->list[k].path);
	removals->list[k] = removals->list[--removals->n];
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static void arm(struct removals *removals, uint64_t delay_ms)
{
	removals->delay_ms = delay_ms < LAST_MS ? delay_ms : LAST_MS;
	timer_set(&removals->timer, removals->event, clock_monotonic_ms() + removals->delay_ms,
		  on_timer, removals);
}

/* Threads that are ending are no processes. */
static void tell_if_stuck(struct removal *removal)
{
	if (removal->told || clock_monotonic_ms() - removal->since_ms < PATIENCE_MS ||
	    cgroup_populated(removal->path) != 1)
		return;
	removal->told = true;
	log_warning("processes in %s survive SIGKILL: they hang in the kernel", removal->path);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct removals *removals = userdata;

	(void)source;
	(void)usec;
	for (size_t k = removals->n; k > 0; k--) {
		if (is_over(removals, removals->list[k - 1].path))
			drop(removals, k - 1);
		else
			tell_if_stuck(&removals->list[k - 1]);
	}
	if (removals->n > 0)
		arm(removals, 2 * removals->delay_ms);
	return 0;
}

int removals_new(sd_event *event, struct removals **ret, struct error *err)
{
	struct removals *removals = calloc(1, sizeof(*removals));

	if (!removals)
		return error_set(err, -ENOMEM, "cgroups");
	removals->event = sd_event_ref(event);
	*ret = removals;
	return 0;
}

void removals_keep(struct removals *removals, const char *base)
{
	snprintf(removals->base, sizeof(removals->base), "%s", base);
}

void removals_free(struct removals *removals)
{
	if (!removals)
		return;
	timer_done(&removals->timer);
	while (removals->n > 0) {
		if (!is_over(removals, removals->list[0].path))
			log_warning("the cgroup %s is still busy; the next batond removes it",
				    removals->list[0].path);
		drop(removals, 0);
	}
	free(removals->list);
	sd_event_unref(removals->event);
	free(removals);
}

static int keep(struct removals *removals, const char *path)
{
	struct removal *list = reallocarray(removals->list, removals->n + 1, sizeof(*list));
	char *copy = list ? strdup(path) : NULL;

	if (list)
		removals->list = list;
	if (!copy)
		return -ENOMEM;
	list[removals->n++] = (struct removal){.path = copy, .since_ms = clock_monotonic_ms()};
	return 0;
}

void removals_add(struct removals *removals, const char *path)
{
	if (is_over(removals, path))
		return;
	removals_forget(removals, path);
	if (!removals || keep(removals, path) < 0) {
		log_warning("the cgroup %s is still busy; the next batond removes it", path);
		return;
	}
	arm(removals, FIRST_MS);
}

void removals_forget(struct removals *removals, const char *path)
{
	for (size_t k = 0; removals && k < removals->n; k++) {
		if (strcmp(removals->list[k].path, path) != 0)
			continue;
		drop(removals, k);
		return;
	}
}

size_t removals_left(const struct removals *removals)
{
	return removals->n;
}
