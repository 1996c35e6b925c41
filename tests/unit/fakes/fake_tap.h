/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_tap: tap without a kernel. What was attached is kept with the counters that the test
 * gives it; calls can be made to fail by the name of their function.
 */
#pragma once

#include <errno.h>
#include <stdlib.h>

#include "orchestrator/steer/steer.h"
#include "tests/unit/fakes/fake_calls.h"

#define FAKE_TAPPED_MAX 32

struct fake_tapped {
	uint32_t generation, instance;
	bool share, watched;
	struct tap_count count;
	bool has_bound;
	struct tap_bound bound;
};

struct tap {
	const struct tap_callbacks *callbacks;
	void *userdata;
	struct fake_tapped attached[FAKE_TAPPED_MAX];
	size_t n;
	size_t n_declared;
	bool guard[TAP_LISTEN_MAX];
};

static unsigned fake_tap_open;

/* "tap_attach": that one fails. */
static struct {
	const char *function;
	int code;
} fake_tap_failure;

/* The listening socket that was made to share its port; 0: none. */
static bool fake_tap_blind; /* it does not know what a process has closed by its end */
static uint64_t fake_tap_forced;

static inline bool fake_tap_fails(const char *function, struct error *err)
{
	if (!fake_tap_failure.function || strcmp(function, fake_tap_failure.function) != 0)
		return false;
	error_set(err, fake_tap_failure.code, "%s", function);
	return true;
}

static inline void fake_tap_reset(void)
{
	memset(&fake_tap_failure, 0, sizeof(fake_tap_failure));
	fake_tap_forced = 0;
}

/* NULL: it is not attached (any more). */
static inline struct fake_tapped *fake_tap_find(struct tap *tap, uint32_t generation,
						uint32_t instance)
{
	for (size_t k = 0; k < tap->n; k++)
		if (tap->attached[k].generation == generation &&
		    tap->attached[k].instance == instance)
			return &tap->attached[k];
	return NULL;
}

/* What the kernel counts. */
static inline void fake_tap_set(struct tap *tap, uint32_t generation, uint32_t instance,
				struct tap_count count)
{
	struct fake_tapped *tapped = fake_tap_find(tap, generation, instance);

	assert_non_null(tapped);
	tapped->count = count;
}

/* The last connection ends: on_zero, if that is watched. */
static inline void fake_tap_end_all(struct tap *tap, uint32_t generation, uint32_t instance)
{
	struct fake_tapped *tapped = fake_tap_find(tap, generation, instance);

	assert_non_null(tapped);
	tapped->count.closed += tapped->count.live;
	tapped->count.live = 0;
	if (tapped->watched)
		tap->callbacks->on_zero(tap->userdata, generation, instance);
}

/* A process of the instance replaces the program of its group. */
static inline void fake_tap_program(struct tap *tap, uint32_t generation, uint32_t instance,
				    pid_t pid, const char *comm)
{
	tap->callbacks->on_program(tap->userdata, generation, instance, pid, comm);
}

/* What the instance has bound last. */
static inline void fake_tap_bind(struct tap *tap, uint32_t generation, uint32_t instance,
				 const char *address, uid_t uid)
{
	struct fake_tapped *tapped = fake_tap_find(tap, generation, instance);

	assert_non_null(tapped);
	tapped->has_bound = true;
	tapped->bound.uid = uid;
	assert_int_equal(address_parse(address, &tapped->bound.address, NULL), 0);
}

int tap_bound(struct tap *tap, uint32_t generation, uint32_t instance, struct tap_bound *ret)
{
	const struct fake_tapped *tapped = fake_tap_find(tap, generation, instance);

	if (!tapped || !tapped->has_bound)
		return -ENOENT;
	*ret = tapped->bound;
	return 0;
}

int tap_open(sd_event *event, const char *pin_dir, const char *cgroup,
	     const struct tap_callbacks *callbacks, void *userdata, struct tap **ret,
	     struct error *err)
{
	struct tap *tap;

	(void)event;
	(void)cgroup;
	if (fake_tap_fails("tap_open", err))
		return fake_tap_failure.code;
	tap = calloc(1, sizeof(*tap));
	assert_non_null(tap);
	tap->callbacks = callbacks;
	tap->userdata = userdata;
	fake_tap_open++;
	called("tap open %s", pin_dir ? pin_dir : "-");
	*ret = tap;
	return 0;
}

void tap_free(struct tap *tap)
{
	if (!tap)
		return;
	called("tap close");
	fake_tap_open--;
	free(tap);
}

void tap_unpin_all(struct tap *tap)
{
	(void)tap;
	called("tap unpin");
}

int tap_declare(struct tap *tap, const struct address *listen, size_t n_listen, struct error *err)
{
	(void)listen;
	if (fake_tap_fails("tap_declare", err))
		return fake_tap_failure.code;
	tap->n_declared = n_listen;
	return 0;
}

void tap_guard(struct tap *tap, size_t k, bool on)
{
	assert_true(k < tap->n_declared);
	tap->guard[k] = on;
}

int tap_attach(struct tap *tap, const char *cgroup_path, uint32_t generation, uint32_t instance,
	       bool share, struct error *err)
{
	struct fake_tapped *tapped = fake_tap_find(tap, generation, instance);

	(void)cgroup_path;
	if (fake_tap_fails("tap_attach", err))
		return fake_tap_failure.code;
	if (!tapped) {
		assert_true(tap->n < FAKE_TAPPED_MAX);
		tapped = &tap->attached[tap->n++];
	}
	*tapped = (struct fake_tapped){generation, instance, .share = share};
	called("tap attach %u.%u%s", generation, instance, share ? " share" : "");
	return 0;
}

void tap_forget(struct tap *tap, uint32_t generation, uint32_t instance)
{
	struct fake_tapped *tapped = fake_tap_find(tap, generation, instance);

	called("tap forget %u.%u", generation, instance);
	if (tapped)
		*tapped = tap->attached[--tap->n];
}

int tap_count(struct tap *tap, uint32_t generation, uint32_t instance, struct tap_count *ret)
{
	struct fake_tapped *tapped = fake_tap_find(tap, generation, instance);

	*ret = (struct tap_count){};
	if (fake_tap_fails("tap_count", NULL))
		return fake_tap_failure.code;
	if (!tapped)
		return -ENOENT;
	*ret = tapped->count;
	return 0;
}

/* Says nothing by itself: fake_tap_end_all() does, even if none is left already. */
bool tap_tells_ends(const struct tap *tap)
{
	(void)tap;
	return !fake_tap_blind;
}

int tap_watch(struct tap *tap, uint32_t generation, uint32_t instance)
{
	struct fake_tapped *tapped = fake_tap_find(tap, generation, instance);

	called("tap watch %u.%u", generation, instance);
	if (fake_tap_fails("tap_watch", NULL))
		return fake_tap_failure.code;
	if (!tapped)
		return -ENOENT;
	tapped->watched = true;
	return 0;
}

bool tap_forced(struct tap *tap, uint64_t cookie)
{
	(void)tap;
	return cookie != 0 && cookie == fake_tap_forced;
}

int tap_counts_fd(const struct tap *tap)
{
	(void)tap;
	return -1;
}

int tap_moved_fd(const struct tap *tap)
{
	(void)tap;
	return -1;
}

int tap_births_fd(const struct tap *tap)
{
	(void)tap;
	return -1;
}
