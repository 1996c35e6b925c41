/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_watch: watched paths that change when the test says so. There is one watch at a time.
 */
#pragma once

#include <stdlib.h>

#include "common/vector.h"
#include "orchestrator/host/watch.h"
#include "tests/unit/fakes/fake_calls.h"

struct watch {
	char **paths;
	void (*on_change)(void *userdata, const char *path);
	void *userdata;
};

static struct watch *fake_watch; /* NULL: nothing is watched */
static unsigned fake_watches;    /* that have been made */
static uint64_t fake_watch_settle_ms;
static int fake_watch_error;
/* When something was last seen to move: after everything, unless the test says otherwise. */
static uint64_t fake_watch_moved_ms = UINT64_MAX;

static inline void fake_watch_change(const char *path)
{
	assert_non_null(fake_watch);
	fake_watch->on_change(fake_watch->userdata, path);
}

int watch_new(sd_event *event, char *const *paths, uint64_t settle_ms,
	      void (*on_change)(void *userdata, const char *path), void *userdata,
	      struct watch **ret, struct error *err)
{
	assert_non_null(event);
	if (fake_watch_error)
		return error_set(err, fake_watch_error, "inotify");
	assert_null(fake_watch);
	fake_watch = calloc(1, sizeof(*fake_watch));
	assert_non_null(fake_watch);
	assert_int_equal(vector_copy(paths, &fake_watch->paths), 0);
	fake_watch->on_change = on_change;
	fake_watch->userdata = userdata;
	fake_watch_settle_ms = settle_ms;
	fake_watches++;
	*ret = fake_watch;
	return 0;
}

uint64_t watch_moved_ms(const struct watch *watch)
{
	assert_ptr_equal(watch, fake_watch);
	return fake_watch_moved_ms;
}

void watch_free(struct watch *watch)
{
	if (!watch)
		return;
	assert_ptr_equal(watch, fake_watch);
	vector_free(watch->paths);
	free(watch);
	fake_watch = NULL;
}
