/* SPDX-License-Identifier: BSD-2-Clause */
/* The ebpf tier of steer.h: an endpoint's life, who joins and who leaves. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "orchestrator/steer/anchor.h"
#include "orchestrator/steer/steer_ebpf.h"
#include "orchestrator/steer/table.h"

/* ---- slots ---------------------------------------------------------------------------------- */

/* The slot that @cookie has already, or a free one with the socket in it. */
static int take_slot(struct ebpf *ebpf, int listen_fd, uint64_t cookie, uint16_t *ret_slot,
		     struct error *err)
{
	int r = slots_choose(&ebpf->slots, cookie, ret_slot, err);

	if (r == -ENOSPC && ebpf->slots.max < STEER_SLOTS)
		return error_text(err, r,
				  "a listening socket too many: all %u that one address could have "
				  "in an earlier baton, which made its maps, are taken; it can "
				  "have %d after `baton stop` and `baton start`",
				  ebpf->slots.max, STEER_SLOTS);
	if (r < 0 || slots_cookie(&ebpf->slots, *ret_slot))
		return r;
	ebpf_reset_slot_stats(ebpf, *ret_slot);
	return ebpf_put(ebpf, *ret_slot, listen_fd, err);
}

static int ebpf_join(struct steer *steer, int listen_fd, tap_owner owner, uint16_t *ret_slot,
		     bool *ret_drift, struct error *err)
{
	struct ebpf *ebpf = to_ebpf(steer);
	uint64_t cookie = steer_cookie(listen_fd);
	uint16_t slot;
	int r;

	if (cookie == 0)
		return error_text(err, -EINVAL, "%s: not a socket", steer->address.text);
	r = take_slot(ebpf, listen_fd, cookie, &slot, err);
	if (r < 0)
		return error_prefix(err, r, "%s", steer->address.text);
	r = ebpf_check_group(ebpf, cookie, ret_drift, err);
	if (r < 0) {
		/* A slot that was taken over serves, whatever could not be seen just now. */
		if (!slots_cookie(&ebpf->slots, slot))
			ebpf_empty_slot(ebpf, slot);
		return error_prefix(err, r, "%s", steer->address.text);
	}
	ebpf_set_owner(ebpf, slot, cookie, owner);
	slots_take(&ebpf->slots, slot, cookie);
	slots_claim(&ebpf->slots, slot);
	*ret_slot = slot;
	return 0;
}

static int ebpf_rejoin(struct steer *steer, uint16_t slot, int listen_fd, struct error *err)
{
	struct ebpf *ebpf = to_ebpf(steer);
	uint64_t expected = slots_cookie(&ebpf->slots, slot), cookie = 0;
	bool drift;

	if (!expected)
		return error_text(err, -EINVAL, "%s: slot %u is free", steer->address.text, slot);
	if (ebpf_read_slot(ebpf, slot, &cookie) == 0 && cookie == expected)
		return 0;
	if (ebpf_put(ebpf, slot, listen_fd, err) < 0)
		return error_prefix(err, -EINVAL, "%s", steer->address.text);
	return ebpf_check_group(ebpf, expected, &drift, err);
}

static bool ebpf_has(struct steer *steer, uint16_t slot)
{
	struct ebpf *ebpf = to_ebpf(steer);
	uint64_t cookie = 0;
	int r = ebpf_read_slot(ebpf, slot, &cookie);

	return r == -ENOENT ? false : r < 0 || cookie == slots_cookie(&ebpf->slots, slot);
}

static void ebpf_release(struct steer *steer, uint16_t slot)
{
	struct ebpf *ebpf = to_ebpf(steer);

	uint64_t cookie = slots_cookie(&ebpf->slots, slot);

	if (!cookie)
		return;
	ebpf_empty_slot(ebpf, slot);
	ebpf_set_owner(ebpf, slot, cookie, 0);
	ebpf_drop_slot_stats(ebpf, slot);
	slots_free(&ebpf->slots, slot);
}

static void ebpf_release_unclaimed(struct steer *steer)
{
	struct ebpf *ebpf = to_ebpf(steer);

	for (uint32_t slot = 0; slot < ebpf->slots.size; slot++)
		if (!slots_is_claimed(&ebpf->slots, slot))
			ebpf_release(steer, (uint16_t)slot);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void ebpf_free(struct steer *steer)
{
	struct ebpf *ebpf = to_ebpf(steer);

	ebpf_close_anchor(ebpf, &ebpf->anchor);
	ebpf_uncross(ebpf);
	free(ebpf->cgroup);
	ebpf_unload(&ebpf->loaded);
	slots_done(&ebpf->slots);
	free(ebpf);
}

static void free_unopened(struct ebpf *ebpf)
{
	if (!ebpf)
		return;
	ebpf_cross_unpin_new(ebpf);
	ebpf_free(&ebpf->steer);
}
DEFINE_CLEANUP(struct ebpf *, free_unopened);

static int open_first_anchor(struct ebpf *ebpf, const char *cgroup, struct error *err)
{
	int r;

	if (cgroup && !(ebpf->cgroup = strdup(cgroup)))
		return error_set(err, -ENOMEM, "%s", cgroup);
	if (cgroup && access(cgroup, F_OK) < 0)
		return error_set(err, -errno, "%s", cgroup);
	r = ebpf_open_anchor(ebpf, &ebpf->anchor, err);
	if (r >= 0 && cgroup && !ebpf->anchor.owner)
		log_warning("%s: connections that were held will not be counted: no socket can be "
			    "made in %s",
			    ebpf->steer.address.text, cgroup);
	return r;
}

static int ebpf_open(const struct address *address, const struct steer_options *options,
		     struct steer **ret, struct error *err)
{
	cleanup(free_unopened) struct ebpf *ebpf = calloc(1, sizeof(*ebpf));
	int r;

	if (!ebpf)
		return error_set(err, -ENOMEM, "steer");
	ebpf->anchor.fd = ebpf->beacon = ebpf->loaded.program = -1;
	ebpf->steer.address = *address;
	ebpf->uid = options->uid;
	ebpf->inspect = options->inspect;
	ebpf->tap = options->tap;
	ebpf->busy_tries = EBPF_BUSY_TRIES;
	if (options->pin_dir)
		snprintf(ebpf->pin_dir, sizeof(ebpf->pin_dir), "%s", options->pin_dir);
	ebpf->n_cpus = libbpf_num_possible_cpus();
	if (ebpf->n_cpus < 0)
		return error_set(err, ebpf->n_cpus, "steer: count the CPUs");
	/* An anchor of the more specific address would take the connections of the other. */
	r = ebpf_cross(ebpf, options, err);
	if (r >= 0)
		r = open_first_anchor(ebpf, options->anchor_cgroup, err);
	if (r < 0)
		return error_prefix(err, r, "%s", address->text);
	r = ebpf_load(ebpf, options, err);
	if (r < 0)
		return error_prefix(err, r, "steer");
	r = ebpf_put_anchor(ebpf, &ebpf->anchor, err);
	if (r < 0)
		return error_prefix(err, r, "%s", address->text);
	__atomic_store_n(&ebpf_control(ebpf)->sticky, options->sticky, __ATOMIC_RELEASE);
	/* One that is fresh is empty: no need to ask for each of its slots. */
	r = ebpf->taken_over ? ebpf_read_slots(ebpf, err) : 0;
	if (r < 0)
		return error_prefix(err, r, "steer: %s", address->text);
	ebpf_clear_pins(ebpf);
	*ret = &TAKE_PTR(ebpf)->steer;
	return 0;
}

static int ebpf_reset(struct steer *steer, struct error *err)
{
	struct ebpf *ebpf = to_ebpf(steer);
	struct steer_table empty;
	int r = ebpf_reset_stats(ebpf);

	if (r < 0)
		return error_set(err, r, "%s: reset the counters", steer->address.text);
	ebpf_hold(steer, false);
	for (uint32_t slot = 0; slot < ebpf->slots.size; slot++)
		ebpf_release(steer, (uint16_t)slot);
	/* Both tables: a fresh one is all zeros, and slot 0 is a real slot. */
	table_clear(&empty);
	r = ebpf_publish(steer, &empty, err);
	return r < 0 ? r : ebpf_publish(steer, &empty, err);
}

static bool ebpf_is_taken_over(const struct steer *steer)
{
	return to_ebpf(steer)->taken_over;
}

/* Half-open connections would reach the anchor later: so a new one, of which nobody knows. */
static void clear_anchor(struct ebpf *ebpf)
{
	uint32_t waiting = 0;
	struct error err;

	anchor_queued(ebpf->anchor.fd, &waiting);
	if (ebpf_renew_anchor(ebpf, &err) < 0) {
		log_warning("%s: %s", ebpf->steer.address.text, err.text);
		anchor_sweep(ebpf->anchor.fd);
	}
	if (waiting > 0)
		log_info("%s: %u connections came before anything could serve them",
			 ebpf->steer.address.text, waiting);
}

static int ebpf_attach(struct steer *steer, struct error *err)
{
	struct ebpf *ebpf = to_ebpf(steer);
	int r;

	r = ebpf_check_succession(ebpf, err);
	if (r < 0)
		return error_prefix(err, r, "%s", steer->address.text);
	r = ebpf_pin_program(ebpf, err);
	if (r >= 0)
		r = ebpf_attach_program(ebpf, err);
	if (r >= 0)
		r = ebpf_replace_program_pin(ebpf, err);
	if (r < 0)
		return error_prefix(err, r, "steer: %s", steer->address.text);
	ebpf->attached = true;
	r = ebpf_light_beacon(ebpf, err);
	if (r < 0)
		return error_prefix(err, r, "%s", steer->address.text);
	ebpf_hold(steer, ebpf->hold);
	if (!ebpf->hold)
		clear_anchor(ebpf);
	return 0;
}

/* The program that counts for another tap takes the place of the one that there is. */
static int replace_program(struct ebpf *ebpf, const struct steer_options *options,
			   struct error *err)
{
	struct ebpf_loaded before = ebpf->loaded;
	uint32_t program_id = ebpf->program_id;
	int r = ebpf_load(ebpf, options, err);

	if (r >= 0)
		r = ebpf_pin_program(ebpf, err);
	if (r >= 0)
		r = ebpf_attach_program(ebpf, err);
	if (r >= 0)
		r = ebpf_replace_program_pin(ebpf, err);
	if (r >= 0) {
		ebpf_unload(&before);
		return 0;
	}
	if (ebpf->loaded.program != before.program)
		ebpf_unload(&ebpf->loaded);
	ebpf->loaded = before;
	ebpf->program_id = program_id;
	return r;
}

/* Connections that wait there keep waiting, and are counted by nobody. */
static void move_anchor(struct ebpf *ebpf, const char *cgroup)
{
	struct error err;

	free(ebpf->cgroup);
	ebpf->cgroup = cgroup ? strdup(cgroup) : NULL;
	if (ebpf_renew_anchor(ebpf, &err) < 0)
		log_warning("%s: %s", ebpf->steer.address.text, err.text);
}

/* This is what a next daemon does that takes the maps over, but with the same object. */
static int ebpf_rehome(struct steer *steer, const struct steer_options *options, struct error *err)
{
	struct ebpf *ebpf = to_ebpf(steer);
	char before[BPFFS_PATH_MAX];
	struct error why;
	int r = 0;

	memcpy(before, ebpf->pin_dir, sizeof(before));
	if (before[0] && options->pin_dir)
		r = bpffs_move(before, options->pin_dir, err);
	if (r < 0)
		return r;
	if (before[0] && options->pin_dir)
		snprintf(ebpf->pin_dir, sizeof(ebpf->pin_dir), "%s", options->pin_dir);
	r = replace_program(ebpf, options, err);
	if (r < 0) {
		if (before[0] && bpffs_move(ebpf->pin_dir, before, &why) < 0)
			log_error("%s: %s", steer->address.text, why.text);
		memcpy(ebpf->pin_dir, before, sizeof(before));
		return error_prefix(err, r, "%s", steer->address.text);
	}
	ebpf->tap = options->tap;
	ebpf->lent_tap = NULL;
	move_anchor(ebpf, options->anchor_cgroup);
	return 0;
}

static void ebpf_lend(struct steer *steer, struct tap *tap)
{
	to_ebpf(steer)->lent_tap = tap;
}

static const struct slots *ebpf_slots(const struct steer *steer)
{
	return &to_ebpf(steer)->slots;
}

const struct steer_ops steer_ebpf_ops = {
	.open = ebpf_open,
	.rehome = ebpf_rehome,
	.lend = ebpf_lend,
	.free = ebpf_free,
	.try = ebpf_try,
	.reset = ebpf_reset,
	.is_taken_over = ebpf_is_taken_over,
	.attach = ebpf_attach,
	.unpin_all = ebpf_unpin_all,
	.join = ebpf_join,
	.rejoin = ebpf_rejoin,
	.has = ebpf_has,
	.release = ebpf_release,
	.release_unclaimed = ebpf_release_unclaimed,
	.publish = ebpf_publish,
	.table = ebpf_table,
	.pin = ebpf_pin,
	.unpin = ebpf_unpin,
	.hold = ebpf_hold,
	.held = ebpf_held,
	.held_dropped = ebpf_held_dropped,
	.unhold = ebpf_unhold,
	.expire = ebpf_expire,
	.check = ebpf_check,
	.repair = ebpf_repair,
	.withdraw = ebpf_withdraw,
	.program_id = ebpf_program_id,
	.slots = ebpf_slots,
	.try_crossing = ebpf_try_crossing,
	.share = ebpf_share,
	.competes = ebpf_competes,
	.beacon = ebpf_beacon,
	.anchor = ebpf_anchor,
	.is_own = ebpf_is_own,
	.tidy = ebpf_tidy,
	.slot_stats = ebpf_slot_stats,
	.stats = ebpf_stats,
};
