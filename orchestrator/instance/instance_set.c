/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance/instance_set.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_FIRST 4

#define for_each_instance(i, set)                                                                  \
	for (struct instance *const *i##_at = (set)->list, *i;                                     \
	     i##_at < (set)->list + (set)->n && (i = *i##_at, true); i##_at++)

/* Lists for sets that malloc(3) had nothing for. Nobody touches these pages before. */
static struct spare {
	struct instance *list[INSTANCES_MAX];
	bool used;
} spares[INSTANCES_SPARE];

static struct instance **take_spare(const struct instances *set)
{
	for (size_t k = 0; k < INSTANCES_SPARE; k++) {
		if (spares[k].used)
			continue;
		spares[k].used = true;
		if (set->n > 0)
			memcpy(spares[k].list, set->list, set->n * sizeof(set->list[0]));
		free(set->list);
		return spares[k].list;
	}
	return NULL;
}

static bool give_back(struct instance **list)
{
	for (size_t k = 0; k < INSTANCES_SPARE; k++)
		if (list == spares[k].list) {
			spares[k].used = false;
			return true;
		}
	return false;
}

/* Make room for @n. A spare has room for all that a set may have. */
static void reserve(struct instances *set, size_t n)
{
	size_t size = set->size > 0 ? set->size : SIZE_FIRST;
	struct instance **list;

	if (n <= set->size)
		return;
	while (size < n)
		size *= 2;
	list = reallocarray(set->list, size, sizeof(*list));
	if (!list) {
		list = take_spare(set);
		size = INSTANCES_MAX;
	}
	assert(list && n <= size);
	set->list = list;
	set->size = size;
}

void instances_done(struct instances *set)
{
	if (!give_back(set->list))
		free(set->list);
	*set = (struct instances){};
}

void instances_copy(const struct instances *set, struct instances *ret)
{
	reserve(ret, set->n);
	if (set->n > 0)
		memcpy(ret->list, set->list, set->n * sizeof(set->list[0]));
	ret->n = set->n;
}

int instances_add(struct instances *set, struct instance *instance)
{
	assert(instance && set->n <= INSTANCES_MAX);
	if (instances_have(set, instance))
		return 0;
	if (set->n == INSTANCES_MAX)
		return -E2BIG;
	reserve(set, set->n + 1);
	set->list[set->n++] = instance;
	return 0;
}

void instances_remove(struct instances *set, const struct instance *instance)
{
	for (size_t k = 0; k < set->n; k++) {
		if (set->list[k] != instance)
			continue;
		set->n--;
		memmove(&set->list[k], &set->list[k + 1], (set->n - k) * sizeof(set->list[0]));
		return;
	}
}

bool instances_have(const struct instances *set, const struct instance *instance)
{
	for_each_instance (i, set)
		if (i == instance)
			return true;
	return false;
}

/* ---- orders --------------------------------------------------------------------------------- */

void instances_check(const struct instances *set)
{
	for_each_instance (i, set)
		instance_check(i);
}

void instances_uncheck(const struct instances *set)
{
	for_each_instance (i, set)
		instance_uncheck(i);
}

/* Only those are told for which it is news. */
void instances_steady(const struct instances *set, bool on)
{
	for_each_instance (i, set)
		if (i->steady != on)
			instance_steady(i, on);
}

void instances_leave(const struct instances *set)
{
	for_each_instance (i, set)
		instance_leave(i);
}

void instances_stop(const struct instances *set)
{
	for_each_instance (i, set)
		instance_stop(i);
}

void instances_kill(const struct instances *set)
{
	instance_kill_many(set->list, set->n);
}

void instances_name(const struct instances *set, enum instance_role role)
{
	for_each_instance (i, set)
		i->role = role;
}

/* ---- questions ------------------------------------------------------------------------------ */

bool instances_are_listening(const struct instances *set)
{
	for_each_instance (i, set)
		if (!instance_has_joined(i) || i->pid == 0 || instance_has_failed(i))
			return false;
	return true;
}

bool instances_are_healthy(const struct instances *set)
{
	for_each_instance (i, set)
		if (!instance_is_healthy(i))
			return false;
	return true;
}

bool instances_have_left(const struct instances *set)
{
	for_each_instance (i, set)
		if (!instance_has_left(i))
			return false;
	return true;
}

bool instances_have_stopped(const struct instances *set)
{
	for_each_instance (i, set)
		if (!instance_has_stopped(i))
			return false;
	return true;
}

bool instances_are_gone(const struct instances *set)
{
	for_each_instance (i, set)
		if (!instance_is_gone(i))
			return false;
	return true;
}

bool instances_are_dead(const struct instances *set)
{
	return instances_serving(set) == 0;
}

bool instances_have_exited(const struct instances *set)
{
	for_each_instance (i, set)
		if (!instance_has_exited(i))
			return false;
	return true;
}

bool instances_ends_are_known(const struct instances *set)
{
	for_each_instance (i, set)
		if (i->pid != 0 && !i->lost && !instance_has_stopped(i))
			return false;
	return true;
}

struct instance *instances_failed(const struct instances *set)
{
	for_each_instance (i, set)
		if (instance_has_failed(i) || instance_is_unhealthy(i))
			return i;
	return NULL;
}

size_t instances_serving(const struct instances *set)
{
	size_t n = 0;

	for_each_instance (i, set)
		n += instance_is_serving(i);
	return n;
}

/* ---- sums ----------------------------------------------------------------------------------- */

int instances_queued(const struct instances *set, uint32_t *ret)
{
	return instance_queued_many(set->list, set->n, ret);
}

int instances_live(const struct instances *set, uint64_t *ret)
{
	*ret = 0;
	for_each_instance (i, set) {
		uint64_t live;
		int r = instance_live(i, &live);

		if (r < 0)
			return r;
		*ret += live;
	}
	return 0;
}

int instances_busy(const struct instances *set, uint64_t idle_ms, uint64_t *ret)
{
	*ret = 0;
	for_each_instance (i, set) {
		uint64_t busy;
		int r = instance_busy(i, idle_ms, &busy);

		if (r < 0)
			return r;
		*ret += busy;
	}
	return 0;
}

int instances_silent(const struct instances *set, uint64_t age_ms, uint64_t *ret)
{
	*ret = 0;
	for_each_instance (i, set) {
		uint64_t silent;
		int r = instance_silent(i, age_ms, &silent);

		if (r < 0)
			return r;
		*ret += silent;
	}
	return 0;
}

int instances_kinds(const struct instances *set, struct connections_kinds *ret)
{
	*ret = (struct connections_kinds){};
	for_each_instance (i, set) {
		struct connections_kinds kinds;
		int r = instance_kinds(i, &kinds);

		if (r < 0)
			return r;
		ret->busy += kinds.busy;
		ret->active += kinds.active;
		ret->idle += kinds.idle;
	}
	return 0;
}

int instances_count(const struct instances *set, struct tap_count *ret)
{
	*ret = (struct tap_count){};
	for_each_instance (i, set) {
		struct tap_count count;
		int r = instance_count(i, &count);

		if (r < 0)
			return r;
		ret->accepted += count.accepted;
		ret->live += count.live;
		ret->closed += count.closed;
		ret->reset += count.reset;
	}
	return 0;
}

/* Goes on after an error: connections that are left end when their process is killed. */
int instances_cut(const struct instances *set, uint64_t *ret, struct error *err)
{
	int first = 0;

	*ret = 0;
	for_each_instance (i, set) {
		struct error mine;
		uint64_t n = 0;
		int r = instance_cut(i, &n, &mine);

		*ret += n;
		if (r < 0 && first == 0) {
			first = r;
			*err = mine;
		}
	}
	return first;
}
