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

struct removals {
	sd_event *event;
	char **paths;
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
	free(removals->paths[k]);
	removals->paths[k] = removals->paths[--removals->n];
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static void arm(struct removals *removals, uint64_t delay_ms)
{
	removals->delay_ms = delay_ms < LAST_MS ? delay_ms : LAST_MS;
	timer_set(&removals->timer, removals->event, clock_monotonic_ms() + removals->delay_ms,
		  on_timer, removals);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct removals *removals = userdata;

	(void)source;
	(void)usec;
	for (size_t k = removals->n; k > 0; k--)
		if (is_over(removals, removals->paths[k - 1]))
			drop(removals, k - 1);
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
		if (!is_over(removals, removals->paths[0]))
			log_warning("the cgroup %s is still busy; the next batond removes it",
				    removals->paths[0]);
		drop(removals, 0);
	}
	free(removals->paths);
	sd_event_unref(removals->event);
	free(removals);
}

static int keep(struct removals *removals, const char *path)
{
	char **paths = reallocarray(removals->paths, removals->n + 1, sizeof(*paths));
	char *copy = paths ? strdup(path) : NULL;

	if (paths)
		removals->paths = paths;
	if (!copy)
		return -ENOMEM;
	removals->paths[removals->n++] = copy;
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
		if (strcmp(removals->paths[k], path) != 0)
			continue;
		drop(removals, k);
		return;
	}
}

size_t removals_left(const struct removals *removals)
{
	return removals->n;
}
