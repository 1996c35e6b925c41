/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_hooks: hooks without a kernel. What was attached is kept with the counters that the test
 * gives it; calls can be made to fail by the name of their function.
 */
#pragma once

#include <errno.h>
#include <stdlib.h>

#include "orchestrator/hooks.h"
#include "tests/unit/fake_calls.h"

#define FAKE_HOOKS_MAX 32

struct fake_hooked {
	uint32_t generation, instance;
	bool share, watched;
	struct hooks_count count;
};

struct hooks {
	const struct hooks_callbacks *callbacks;
	void *userdata;
	struct fake_hooked attached[FAKE_HOOKS_MAX];
	size_t n;
};

static unsigned fake_hooks_open;

/* "hooks_attach": that one fails. */
static struct {
	const char *function;
	int code;
} fake_hooks_failure;

/* The listening socket that was made to share its port; 0: none. */
static uint64_t fake_hooks_forced;

static inline bool fake_hooks_fails(const char *function, struct error *err)
{
	if (!fake_hooks_failure.function || strcmp(function, fake_hooks_failure.function) != 0)
		return false;
	error_set(err, fake_hooks_failure.code, "%s", function);
	return true;
}

static inline void fake_hooks_reset(void)
{
	memset(&fake_hooks_failure, 0, sizeof(fake_hooks_failure));
	fake_hooks_forced = 0;
}

/* NULL where it is not attached (any more). */
static inline struct fake_hooked *fake_hooks_find(struct hooks *hooks, uint32_t generation,
						  uint32_t instance)
{
	for (size_t k = 0; k < hooks->n; k++)
		if (hooks->attached[k].generation == generation &&
		    hooks->attached[k].instance == instance)
			return &hooks->attached[k];
	return NULL;
}

/* What the kernel counts. */
static inline void fake_hooks_set(struct hooks *hooks, uint32_t generation, uint32_t instance,
				  struct hooks_count count)
{
	struct fake_hooked *hooked = fake_hooks_find(hooks, generation, instance);

	assert_non_null(hooked);
	hooked->count = count;
}

/* The last connection ends: on_zero, where that is watched. */
static inline void fake_hooks_end_all(struct hooks *hooks, uint32_t generation, uint32_t instance)
{
	struct fake_hooked *hooked = fake_hooks_find(hooks, generation, instance);

	assert_non_null(hooked);
	hooked->count.closed += hooked->count.live;
	hooked->count.live = 0;
	if (hooked->watched)
		hooks->callbacks->on_zero(hooks->userdata, generation, instance);
}

/* A process of the instance replaces the program of its group. */
static inline void fake_hooks_program(struct hooks *hooks, uint32_t generation, uint32_t instance,
				      pid_t pid, const char *comm)
{
	hooks->callbacks->on_program(hooks->userdata, generation, instance, pid, comm);
}

int hooks_open(sd_event *event, const char *pin_dir, const struct address *listen, size_t n_listen,
	       const struct hooks_callbacks *callbacks, void *userdata, struct hooks **ret,
	       struct error *err)
{
	struct hooks *hooks;

	(void)event;
	(void)listen;
	if (fake_hooks_fails("hooks_open", err))
		return fake_hooks_failure.code;
	hooks = calloc(1, sizeof(*hooks));
	assert_non_null(hooks);
	hooks->callbacks = callbacks;
	hooks->userdata = userdata;
	fake_hooks_open++;
	called("hooks open %s %zu", pin_dir ? pin_dir : "-", n_listen);
	*ret = hooks;
	return 0;
}

void hooks_free(struct hooks *hooks)
{
	if (!hooks)
		return;
	called("hooks close");
	fake_hooks_open--;
	free(hooks);
}

void hooks_unpin_all(struct hooks *hooks)
{
	(void)hooks;
	called("hooks unpin");
}

int hooks_attach(struct hooks *hooks, const char *cgroup_path, uint32_t generation,
		 uint32_t instance, bool share, struct error *err)
{
	struct fake_hooked *hooked = fake_hooks_find(hooks, generation, instance);

	(void)cgroup_path;
	if (fake_hooks_fails("hooks_attach", err))
		return fake_hooks_failure.code;
	if (!hooked) {
		assert_true(hooks->n < FAKE_HOOKS_MAX);
		hooked = &hooks->attached[hooks->n++];
	}
	*hooked = (struct fake_hooked){generation, instance, .share = share};
	called("hooks attach %u.%u%s", generation, instance, share ? " share" : "");
	return 0;
}

void hooks_forget(struct hooks *hooks, uint32_t generation, uint32_t instance)
{
	struct fake_hooked *hooked = fake_hooks_find(hooks, generation, instance);

	called("hooks forget %u.%u", generation, instance);
	if (hooked)
		*hooked = hooks->attached[--hooks->n];
}

int hooks_count(struct hooks *hooks, uint32_t generation, uint32_t instance,
		struct hooks_count *ret)
{
	struct fake_hooked *hooked = fake_hooks_find(hooks, generation, instance);

	*ret = (struct hooks_count){};
	if (fake_hooks_fails("hooks_count", NULL))
		return fake_hooks_failure.code;
	if (!hooked)
		return -ENOENT;
	*ret = hooked->count;
	return 0;
}

/* Says nothing by itself: fake_hooks_end_all() does, also where none is left already. */
int hooks_watch(struct hooks *hooks, uint32_t generation, uint32_t instance)
{
	struct fake_hooked *hooked = fake_hooks_find(hooks, generation, instance);

	called("hooks watch %u.%u", generation, instance);
	if (fake_hooks_fails("hooks_watch", NULL))
		return fake_hooks_failure.code;
	if (!hooked)
		return -ENOENT;
	hooked->watched = true;
	return 0;
}

bool hooks_forced(struct hooks *hooks, uint64_t cookie)
{
	(void)hooks;
	return cookie != 0 && cookie == fake_hooks_forced;
}

int hooks_counts_fd(const struct hooks *hooks)
{
	(void)hooks;
	return -1;
}

int hooks_moved_fd(const struct hooks *hooks)
{
	(void)hooks;
	return -1;
}

int hooks_births_fd(const struct hooks *hooks)
{
	(void)hooks;
	return -1;
}

int hooks_try(struct error *err)
{
	return fake_hooks_fails("hooks_try", err) ? fake_hooks_failure.code : 0;
}
