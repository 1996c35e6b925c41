/* SPDX-License-Identifier: BSD-2-Clause */
/* The ebpf tier: the connections that wait at the anchor until a server can take them. */
#include <errno.h>

#include "orchestrator/steer/anchor.h"
#include "orchestrator/steer/steer_ebpf.h"

int ebpf_hold(struct steer *steer, bool on)
{
	struct ebpf *ebpf = to_ebpf(steer);

	ebpf->hold = on;
	__atomic_store_n(&ebpf_control(ebpf)->hold, on, __ATOMIC_RELEASE);
	return 0;
}

int ebpf_anchor(const struct steer *steer, uint64_t *ret_cookie)
{
	const struct ebpf *ebpf = to_ebpf(steer);

	if (!ebpf->hold)
		return -1;
	*ret_cookie = ebpf->anchor.cookie;
	return ebpf->anchor.fd;
}

bool ebpf_is_own(const struct steer *steer, uint64_t cookie)
{
	const struct ebpf *ebpf = to_ebpf(steer);

	return (ebpf->anchor.fd >= 0 && ebpf->anchor.cookie == cookie) ||
	       (ebpf->beacon >= 0 && steer_cookie(ebpf->beacon) == cookie);
}

int ebpf_held(struct steer *steer, uint32_t *ret)
{
	*ret = 0;
	/* Withdrawn: nothing waits there. */
	if (to_ebpf(steer)->anchor.fd < 0)
		return 0;
	return anchor_queued(to_ebpf(steer)->anchor.fd, ret);
}

int ebpf_held_dropped(struct steer *steer, uint64_t *ret)
{
	const struct ebpf_anchor *anchor = &to_ebpf(steer)->anchor;
	int r = anchor->fd < 0 ? 0 : anchor_dropped(anchor->fd, ret);

	if (anchor->fd < 0)
		*ret = 0;
	if (r == 0)
		*ret += anchor->dropped_before;
	return r;
}

unsigned ebpf_expire(struct steer *steer, unsigned n)
{
	uint32_t waiting = 0;

	/* More may arrive meanwhile. */
	ebpf_held(steer, &waiting);
	return anchor_reset(to_ebpf(steer)->anchor.fd, n < waiting ? n : waiting);
}

/* ---- another anchor ------------------------------------------------------------------------- */

/*
 * The new anchor joins before the old one leaves. One anchor that left and came back would not do:
 * meanwhile the group may be empty and lose its program, and half-open connections would go on at
 * the same socket when it listens again.
 */
static int replace_anchor(struct ebpf *ebpf, struct ebpf_anchor *new, struct error *err)
{
	struct steer_stats stats;
	bool drift;
	int r;

	r = ebpf_stats(&ebpf->steer, &stats);
	if (r < 0)
		return error_set(err, r, "read the counters");
	new->held_before = stats.held;
	/* Closing the old one under another program would reset what waits there. */
	r = ebpf_check_group(ebpf, new->cookie, &drift, err);
	if (r == 0)
		r = ebpf_put_anchor(ebpf, new, err);
	if (r < 0)
		return r;
	ebpf_held_dropped(&ebpf->steer, &new->dropped_before);
	ebpf_close_anchor(ebpf, &ebpf->anchor);
	ebpf->anchor = *new;
	return 0;
}

int ebpf_renew_anchor(struct ebpf *ebpf, struct error *err)
{
	struct ebpf_anchor new;
	int r;

	r = ebpf_open_anchor(ebpf, &new, err);
	if (r >= 0)
		r = replace_anchor(ebpf, &new, err);
	if (r < 0) {
		ebpf_close_anchor(ebpf, &new);
		return error_prefix(err, r, "another anchor");
	}
	return 0;
}

/* ---- sending on ----------------------------------------------------------------------------- */

/* Has anything been sent to this anchor? Half-open connections cannot be seen there. */
static bool was_used(struct ebpf *ebpf, uint32_t waiting)
{
	struct steer_stats stats;

	return waiting > 0 || ebpf_stats(&ebpf->steer, &stats) < 0 ||
	       stats.held != ebpf->anchor.held_before;
}

/* 1: the current table names a socket that listens; 0: none; negative errno. */
static int someone_takes(struct ebpf *ebpf)
{
	bool seen[STEER_SLOTS] = {};
	struct steer_table table;
	int r = ebpf_table(&ebpf->steer, &table);

	if (r < 0)
		return r;
	for (size_t k = 0; k < 2 * STEER_BUCKETS; k++) {
		const struct steer_bucket *bucket = &table.buckets[k / 2];
		uint32_t slot = k % 2 ? bucket->backup : bucket->primary;
		uint64_t cookie;

		if (slot >= ebpf->slots.max || seen[slot])
			continue;
		seen[slot] = true;
		r = ebpf_read_slot(ebpf, slot, &cookie);
		if (r != -ENOENT)
			return r < 0 ? r : 1;
	}
	return 0;
}

int ebpf_unhold(struct steer *steer, struct error *err)
{
	struct ebpf *ebpf = to_ebpf(steer);
	uint32_t waiting = 0;
	int r;

	if (ebpf->anchor.fd < 0)
		return 0;
	r = ebpf_held(steer, &waiting);
	if (r < 0)
		return error_set(err, r, "%s: look at the anchor", steer->address.text);
	if (!was_used(ebpf, waiting))
		return 0;
	r = someone_takes(ebpf);
	if (r < 0)
		return error_set(err, r, "%s: read the current table", steer->address.text);
	if (r == 0)
		return 0;
	r = ebpf_renew_anchor(ebpf, err);
	if (r < 0)
		return error_prefix(err, r, "%s", steer->address.text);
	return (int)waiting;
}
