/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/steer.h"

#include <assert.h>
#include <errno.h>
#include <sys/utsname.h>

#include "orchestrator/host/file.h"
#include "orchestrator/host/kernel.h"
#include "orchestrator/steer/steer_internal.h"

#define SIGNATURE_MAX 1024 /* bytes of /proc/version_signature */

static const struct steer_ops *const tiers[_STEER_TIER_COUNT] = {
	[STEER_EBPF] = &steer_ebpf_ops,
	[STEER_CBPF] = &steer_cbpf_ops,
	[STEER_HASH] = &steer_hash_ops,
};

/* ---- tiers ---------------------------------------------------------------------------------- */

const char *steer_tier_name(enum steer_tier tier)
{
	static const char *const names[_STEER_TIER_COUNT] = {
		[STEER_EBPF] = "ebpf",
		[STEER_CBPF] = "cbpf",
		[STEER_HASH] = "hash",
	};

	return names[tier];
}

/* Asked once: the kernel stays the same. If its version is not known, it does not. */
static bool kernel_wakes(void)
{
	static enum { UNASKED, DOES, DOES_NOT } answer;
	cleanup_free char *signature = NULL;
	struct kernel_version version, fixed;
	struct utsname uts;

	if (answer != UNASKED)
		return answer == DOES;
	answer = DOES_NOT;
	if (uname(&uts) < 0)
		return false;
	/* Ubuntu alone has it. */
	(void)file_read("/proc/version_signature", SIGNATURE_MAX, &signature, NULL);
	if (kernel_version_parse(uts.release, uts.version, signature ? signature : "", &version) ==
		    0 &&
	    kernel_migration(&version, &fixed) == KERNEL_FIXED)
		answer = DOES;
	return answer == DOES;
}

int steer_try(enum steer_tier tier, struct error *err)
{
	return tiers[tier]->try(err);
}

bool steer_can(enum steer_tier tier, enum steer_ability ability)
{
	const struct steer_ops *ops = tiers[tier];

	switch (ability) {
	case STEER_CAN_PIN:
		return ops->pin != NULL;
	case STEER_CAN_SHIFT:
		return tier != STEER_HASH;
	case STEER_CAN_BACKUP:
		return tier == STEER_EBPF;
	case STEER_CAN_HOLD:
		return ops->hold != NULL;
	case STEER_CAN_COUNT:
		return ops->slot_stats != NULL;
	case STEER_CAN_CHECK:
		return ops->repair != NULL;
	case STEER_CAN_CROSS:
		return ops->share != NULL;
	case STEER_CAN_MIGRATE:
		return tier == STEER_EBPF && kernel_wakes();
	case STEER_MAKES_SOCKETS:
		return ops->listen != NULL;
	}
	return false;
}

/* ---- life ----------------------------------------------------------------------------------- */

int steer_open(const struct address *address, const struct steer_options *options,
	       struct steer **ret, struct error *err)
{
	struct steer *steer;
	int r;

	assert(options->tier < _STEER_TIER_COUNT);
	assert(options->n_beside <= STEER_BESIDE_MAX);
	assert(options->n_beside == 0 || steer_can(options->tier, STEER_CAN_CROSS));
	r = tiers[options->tier]->open(address, options, &steer, err);

	if (r < 0)
		return r;
	steer->ops = tiers[options->tier];
	steer->tier = options->tier;
	steer->address = *address;
	*ret = steer;
	return 0;
}

int steer_rehome(struct steer *steer, const struct steer_options *options, struct error *err)
{
	assert(options->tier == steer->tier);
	return steer->ops->rehome ? steer->ops->rehome(steer, options, err) : 0;
}

void steer_lend(struct steer *steer, struct tap *tap)
{
	if (steer->ops->lend)
		steer->ops->lend(steer, tap);
}

void steer_free(struct steer *steer)
{
	if (steer)
		steer->ops->free(steer);
}

int steer_reset(struct steer *steer, struct error *err)
{
	return steer->ops->reset ? steer->ops->reset(steer, err) : 0;
}

bool steer_is_taken_over(const struct steer *steer)
{
	return steer->ops->is_taken_over && steer->ops->is_taken_over(steer);
}

int steer_attach(struct steer *steer, struct error *err)
{
	return steer->ops->attach ? steer->ops->attach(steer, err) : 0;
}

void steer_unpin_all(struct steer *steer)
{
	if (steer->ops->unpin_all)
		steer->ops->unpin_all(steer);
}

const struct address *steer_address(const struct steer *steer)
{
	return &steer->address;
}

enum steer_tier steer_tier(const struct steer *steer)
{
	return steer->tier;
}

/* ---- sockets and tables --------------------------------------------------------------------- */

int steer_listen(struct steer *steer, int backlog, bool nonblocking, int *ret_fd, struct error *err)
{
	if (!steer->ops->listen)
		return error_text(err, -EOPNOTSUPP, "%s: the %s tier makes no sockets",
				  steer->address.text, steer_tier_name(steer->tier));
	return steer->ops->listen(steer, backlog, nonblocking, ret_fd, err);
}

int steer_join(struct steer *steer, int listen_fd, tap_owner owner, uint16_t *ret_slot,
	       bool *ret_drift, struct error *err)
{
	int r;

	*ret_drift = false;
	r = steer->ops->join(steer, listen_fd, owner, ret_slot, ret_drift, err);
	assert(r < 0 || *ret_slot < STEER_SLOTS);
	return r;
}

int steer_rejoin(struct steer *steer, uint16_t slot, int listen_fd, struct error *err)
{
	assert(slot < STEER_SLOTS);
	return steer->ops->rejoin ? steer->ops->rejoin(steer, slot, listen_fd, err) : 0;
}

bool steer_has(struct steer *steer, uint16_t slot)
{
	assert(slot < STEER_SLOTS);
	return !steer->ops->has || steer->ops->has(steer, slot);
}

void steer_release(struct steer *steer, uint16_t slot)
{
	assert(slot < STEER_SLOTS);
	steer->ops->release(steer, slot);
}

void steer_room(const struct steer *steer, uint32_t *ret_used, uint32_t *ret_max)
{
	const struct slots *slots = steer->ops->slots(steer);

	*ret_used = slots->used;
	*ret_max = slots->max;
}

void steer_release_unclaimed(struct steer *steer)
{
	if (steer->ops->release_unclaimed)
		steer->ops->release_unclaimed(steer);
}

static bool is_slot_or_none(uint16_t slot)
{
	return slot < STEER_SLOTS || slot == STEER_NO_SLOT;
}

int steer_publish(struct steer *steer, const struct steer_table *table, struct error *err)
{
	for (size_t k = 0; k < STEER_BUCKETS; k++)
		assert(is_slot_or_none(table->buckets[k].primary) &&
		       is_slot_or_none(table->buckets[k].backup));
	return steer->ops->publish(steer, table, err);
}

int steer_table(struct steer *steer, struct steer_table *ret)
{
	return steer->ops->table(steer, ret);
}

bool steer_names(struct steer *steer, uint16_t slot)
{
	struct steer_table table;

	assert(slot < STEER_SLOTS);
	if (steer->ops->table(steer, &table) < 0)
		return true;
	for (size_t k = 0; k < STEER_BUCKETS; k++)
		if (table.buckets[k].primary == slot || table.buckets[k].backup == slot)
			return true;
	return false;
}

int steer_pin(struct steer *steer, const struct sockaddr *source, uint16_t slot)
{
	assert(slot < STEER_SLOTS);
	return steer->ops->pin ? steer->ops->pin(steer, source, slot) : -EOPNOTSUPP;
}

void steer_unpin(struct steer *steer, const struct sockaddr *source)
{
	if (steer->ops->unpin)
		steer->ops->unpin(steer, source);
}

/* ---- hold ----------------------------------------------------------------------------------- */

int steer_hold(struct steer *steer, bool on)
{
	if (!steer->ops->hold)
		return on ? -EOPNOTSUPP : 0;
	return steer->ops->hold(steer, on);
}

int steer_held_dropped(struct steer *steer, uint64_t *ret)
{
	*ret = 0;
	return steer->ops->held_dropped ? steer->ops->held_dropped(steer, ret) : -EOPNOTSUPP;
}

int steer_held(struct steer *steer, uint32_t *ret)
{
	*ret = 0;
	return steer->ops->held ? steer->ops->held(steer, ret) : -EOPNOTSUPP;
}

int steer_unhold(struct steer *steer, struct error *err)
{
	if (!steer->ops->unhold)
		return error_text(err, -EOPNOTSUPP, "%s: the %s tier holds nothing",
				  steer->address.text, steer_tier_name(steer->tier));
	return steer->ops->unhold(steer, err);
}

unsigned steer_expire(struct steer *steer, unsigned n)
{
	return steer->ops->expire ? steer->ops->expire(steer, n) : 0;
}

/* ---- looking -------------------------------------------------------------------------------- */

enum steer_program steer_check(struct steer *steer, char *ret_who, size_t size)
{
	if (size > 0)
		ret_who[0] = '\0';
	return steer->ops->check(steer, ret_who, size);
}

const char *steer_program_name(enum steer_program program)
{
	static const char *const names[] = {
		[STEER_PROGRAM_ATTACHED] = "attached", [STEER_PROGRAM_MISSING] = "missing",
		[STEER_PROGRAM_FOREIGN] = "foreign",   [STEER_PROGRAM_UNKNOWN] = "unknown",
		[STEER_PROGRAM_NONE] = "none",
	};

	return names[program];
}

void steer_tend(struct steer *steer)
{
	if (steer->ops->tend)
		steer->ops->tend(steer);
}

int steer_repair(struct steer *steer, struct error *err)
{
	return steer->ops->repair ? steer->ops->repair(steer, err) : 0;
}

void steer_withdraw(struct steer *steer)
{
	if (steer->ops->withdraw)
		steer->ops->withdraw(steer);
}

int steer_try_crossing(struct error *err)
{
	return tiers[STEER_EBPF]->try_crossing(err);
}

int steer_share(struct steer *first, struct steer *second, uint32_t share)
{
	assert(first->tier == second->tier && share <= CROSS_ALL);
	return first->ops->share ? first->ops->share(first, second, share) : -EOPNOTSUPP;
}

bool steer_competes(const struct steer *steer)
{
	return steer->ops->competes && steer->ops->competes(steer);
}

int steer_beacon(const struct steer *steer, uint64_t *ret_cookie)
{
	int fd = steer->ops->beacon ? steer->ops->beacon(steer) : -1;

	*ret_cookie = fd >= 0 ? steer_cookie(fd) : 0;
	return fd;
}

int steer_anchor(const struct steer *steer, uint64_t *ret_cookie)
{
	*ret_cookie = 0;
	return steer->ops->anchor ? steer->ops->anchor(steer, ret_cookie) : -1;
}

bool steer_is_own(const struct steer *steer, uint64_t cookie)
{
	return steer->ops->is_own && steer->ops->is_own(steer, cookie);
}

void steer_tidy(struct steer *steer)
{
	if (steer->ops->tidy)
		steer->ops->tidy(steer);
}

uint32_t steer_program_id(const struct steer *steer)
{
	return steer->ops->program_id ? steer->ops->program_id(steer) : 0;
}

int steer_slot_stats(struct steer *steer, uint16_t slot, struct steer_slot_stats *ret)
{
	assert(slot < STEER_SLOTS);
	*ret = (struct steer_slot_stats){};
	return steer->ops->slot_stats ? steer->ops->slot_stats(steer, slot, ret) : 0;
}

int steer_stats(struct steer *steer, struct steer_stats *ret)
{
	*ret = (struct steer_stats){};
	return steer->ops->stats ? steer->ops->stats(steer, ret) : 0;
}
