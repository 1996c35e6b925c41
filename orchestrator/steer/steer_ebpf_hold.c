/* SPDX-License-Identifier: BSD-2-Clause */
/* The ebpf tier: the anchor, and the connections that wait there until a server can take them. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "orchestrator/steer/anchor.h"
#include "orchestrator/steer/steer_ebpf_internal.h"

int ebpf_hold(struct steer *steer, bool on)
{
	struct ebpf *ebpf = to_ebpf(steer);

	ebpf->hold = on;
	__atomic_store_n(&ebpf_control(ebpf)->hold, on, __ATOMIC_RELEASE);
	return 0;
}

int ebpf_held(struct steer *steer, uint32_t *ret)
{
	*ret = 0;
	/* Withdrawn: nothing waits there. */
	if (to_ebpf(steer)->anchor.fd < 0)
		return 0;
	return anchor_queued(to_ebpf(steer)->anchor.fd, ret);
}

unsigned ebpf_expire(struct steer *steer, unsigned n)
{
	uint32_t waiting = 0;

	/* More may arrive meanwhile. */
	ebpf_held(steer, &waiting);
	return anchor_reset(to_ebpf(steer)->anchor.fd, n < waiting ? n : waiting);
}

/* ---- the anchor ----------------------------------------------------------------------------- */

int ebpf_open_anchor(struct ebpf *ebpf, struct ebpf_anchor *ret, struct error *err)
{
	bool inside;
	int r;

	*ret = (struct ebpf_anchor){.fd = -1, .held_before = UINT64_MAX};
	r = anchor_open_in(&ebpf->steer.address, ebpf->uid, ebpf->cgroup_fd, &ret->fd, &inside,
			   err);
	if (r < 0)
		return r;
	ret->cookie = anchor_cookie(ret->fd);
	if (inside)
		ret->owner = (tap_owner)STEER_ANCHOR_GENERATION << 32;
	return 0;
}

int ebpf_put_anchor(struct ebpf *ebpf, const struct ebpf_anchor *anchor, struct error *err)
{
	ebpf_set_owner(ebpf, STEER_ANCHOR_SLOT, anchor->cookie, anchor->owner);
	return ebpf_put(ebpf, STEER_ANCHOR_SLOT, anchor->fd, err);
}

void ebpf_close_anchor(struct ebpf_anchor *anchor)
{
	if (anchor->fd < 0)
		return;
	/* Closing is not enough where a child between fork(2) and exec(2) still has it. */
	shutdown(anchor->fd, SHUT_RD);
	close(TAKE_FD(anchor->fd));
}

void ebpf_withdraw(struct steer *steer)
{
	struct ebpf *ebpf = to_ebpf(steer);

	ebpf_close_anchor(&ebpf->anchor);
	ebpf_forget_owner(ebpf, ebpf->anchor.cookie);
}

/*
 * Taking the one anchor out of the group and putting it back would be less: but while it is out
 * the group may be empty, and loses its program, and half-open connections would go on at the same
 * socket when it listens again. So the new one joins first.
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
	ebpf_close_anchor(&ebpf->anchor);
	ebpf_forget_owner(ebpf, ebpf->anchor.cookie);
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
		if (new.fd >= 0)
			ebpf_forget_owner(ebpf, new.cookie);
		ebpf_close_anchor(&new);
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

/* Does the current table name a socket that listens? */
static bool someone_takes(struct ebpf *ebpf)
{
	int map = bpf_map__fd(ebpf->skeleton->maps.slots);
	bool seen[STEER_SLOTS] = {};
	struct steer_table table;

	if (steer_table(&ebpf->steer, &table) < 0)
		return false;
	for (size_t k = 0; k < 2 * STEER_BUCKETS; k++) {
		const struct steer_bucket *bucket = &table.buckets[k / 2];
		uint32_t slot = k % 2 ? bucket->backup : bucket->primary;
		uint64_t cookie;

		if (slot >= STEER_SLOTS || seen[slot])
			continue;
		seen[slot] = true;
		if (bpf_map_lookup_elem(map, &slot, &cookie) == 0)
			return true;
	}
	return false;
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
	if (!was_used(ebpf, waiting) || !someone_takes(ebpf))
		return 0;
	r = ebpf_renew_anchor(ebpf, err);
	if (r < 0)
		return error_prefix(err, r, "%s", steer->address.text);
	return (int)waiting;
}
