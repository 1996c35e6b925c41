/* SPDX-License-Identifier: BSD-2-Clause */
/* The ebpf tier of steer.h: an endpoint's life, its slots, tables and pins. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "orchestrator/steer/anchor.h"
#include "orchestrator/steer/steer_ebpf_internal.h"

/* How long a socket may be in the socket array of a program that is being freed: 1 s. */
#define BUSY_TRIES   200
#define BUSY_WAIT_US 5000

/* ---- tables --------------------------------------------------------------------------------- */

static int ebpf_table(struct steer *steer, struct steer_table *ret)
{
	struct ebpf *ebpf = to_ebpf(steer);
	uint32_t current = ebpf_control(ebpf)->table & 1;

	if (bpf_map_lookup_elem(bpf_map__fd(ebpf->skeleton->maps.tables), &current, ret) < 0)
		return -errno;
	return 0;
}

static int ebpf_publish(struct steer *steer, const struct steer_table *table, struct error *err)
{
	struct ebpf *ebpf = to_ebpf(steer);
	volatile struct steer_control *control = ebpf_control(ebpf);
	uint32_t idle = !(control->table & 1);

	if (bpf_map_update_elem(bpf_map__fd(ebpf->skeleton->maps.tables), &idle, table, BPF_ANY))
		return error_set(err, -errno, "%s: write table %u", steer->address.text, idle);
	__atomic_store_n(&control->table, idle, __ATOMIC_RELEASE);
	return 0;
}

/* ---- slots ---------------------------------------------------------------------------------- */

static void reset_slot_stats(struct ebpf *ebpf, uint32_t slot)
{
	struct steer_slot_stats *zero = calloc((size_t)ebpf->n_cpus, sizeof(*zero));

	if (!zero)
		return;
	bpf_map_update_elem(bpf_map__fd(ebpf->skeleton->maps.slot_stats), &slot, zero, BPF_ANY);
	free(zero);
}

void ebpf_set_owner(struct ebpf *ebpf, uint32_t slot, uint64_t cookie, tap_owner owner)
{
	int listeners = bpf_map__fd(ebpf->skeleton->maps.listener_owner);

	bpf_map_update_elem(bpf_map__fd(ebpf->skeleton->maps.slot_owner), &slot, &owner, BPF_ANY);
	if (owner)
		bpf_map_update_elem(listeners, &cookie, &owner, BPF_ANY);
	else
		ebpf_forget_owner(ebpf, cookie);
}

void ebpf_forget_owner(struct ebpf *ebpf, uint64_t cookie)
{
	bpf_map_delete_elem(bpf_map__fd(ebpf->skeleton->maps.listener_owner), &cookie);
}

static uint32_t find_slot(const struct ebpf *ebpf, uint64_t cookie)
{
	uint32_t slot = 0;

	while (slot < STEER_SLOTS && ebpf->cookies[slot] != cookie)
		slot++;
	return slot;
}

int ebpf_put(struct ebpf *ebpf, uint32_t slot, int fd, struct error *err)
{
	uint64_t value = (uint64_t)fd;

	for (int n = 0; n < BUSY_TRIES; n++) {
		if (bpf_map_update_elem(bpf_map__fd(ebpf->skeleton->maps.slots), &slot, &value,
					BPF_ANY) == 0)
			return 0;
		/* Still in the map of a program that has just been replaced: it is freed soon. */
		if (errno != EBUSY)
			break;
		usleep(BUSY_WAIT_US);
	}
	return error_set(err, -errno, "put the socket into slot %u", slot);
}

static int fill_slot(struct ebpf *ebpf, int listen_fd, uint32_t *ret_slot, struct error *err)
{
	uint32_t slot = find_slot(ebpf, 0);
	int r;

	if (slot == STEER_SLOTS)
		return error_text(err, -ENOSPC, "all %d slots are taken", STEER_SLOTS);
	reset_slot_stats(ebpf, slot);
	r = ebpf_put(ebpf, slot, listen_fd, err);
	if (r < 0)
		return r;
	*ret_slot = slot;
	return 0;
}

static int ebpf_join(struct steer *steer, int listen_fd, tap_owner owner, uint16_t *ret_slot,
		     bool *ret_drift, struct error *err)
{
	struct ebpf *ebpf = to_ebpf(steer);
	uint64_t cookie = anchor_cookie(listen_fd);
	uint32_t slot;
	int r = 0;

	if (cookie == 0)
		return error_text(err, -EINVAL, "%s: not a socket", steer->address.text);
	slot = find_slot(ebpf, cookie);
	if (slot == STEER_SLOTS)
		r = fill_slot(ebpf, listen_fd, &slot, err);
	if (r < 0)
		return error_prefix(err, r, "%s", steer->address.text);
	r = ebpf_check_group(ebpf, cookie, ret_drift, err);
	if (r < 0) {
		bpf_map_delete_elem(bpf_map__fd(ebpf->skeleton->maps.slots), &slot);
		return error_prefix(err, r, "%s", steer->address.text);
	}
	ebpf_set_owner(ebpf, slot, cookie, owner);
	ebpf->cookies[slot] = cookie;
	ebpf->claimed[slot] = true;
	*ret_slot = (uint16_t)slot;
	return 0;
}

static int ebpf_rejoin(struct steer *steer, uint16_t slot, int listen_fd, struct error *err)
{
	struct ebpf *ebpf = to_ebpf(steer);
	uint32_t key = slot;
	uint64_t cookie = 0;
	bool drift;

	if (slot >= STEER_SLOTS || !ebpf->cookies[slot])
		return error_text(err, -EINVAL, "%s: slot %u is free", steer->address.text, slot);
	if (bpf_map_lookup_elem(bpf_map__fd(ebpf->skeleton->maps.slots), &key, &cookie) == 0 &&
	    cookie == ebpf->cookies[slot])
		return 0;
	if (ebpf_put(ebpf, key, listen_fd, err) < 0)
		return error_prefix(err, -EINVAL, "%s", steer->address.text);
	return ebpf_check_group(ebpf, ebpf->cookies[slot], &drift, err);
}

static void ebpf_release(struct steer *steer, uint16_t slot)
{
	struct ebpf *ebpf = to_ebpf(steer);
	uint32_t key = slot;

	if (slot >= STEER_SLOTS || !ebpf->cookies[slot])
		return;
	/* ENOENT is the normal case: the kernel has emptied it when the socket closed. */
	bpf_map_delete_elem(bpf_map__fd(ebpf->skeleton->maps.slots), &key);
	ebpf_set_owner(ebpf, slot, ebpf->cookies[slot], 0);
	ebpf->cookies[slot] = 0;
	ebpf->claimed[slot] = false;
}

static void ebpf_release_unclaimed(struct steer *steer)
{
	struct ebpf *ebpf = to_ebpf(steer);

	for (uint16_t slot = 0; slot < STEER_SLOTS; slot++)
		if (!ebpf->claimed[slot])
			ebpf_release(steer, slot);
}

/* Whose sockets are in the slots: the map tells user space their cookies. */
static void read_slots(struct ebpf *ebpf)
{
	int map = bpf_map__fd(ebpf->skeleton->maps.slots);

	for (uint32_t slot = 0; slot < STEER_SLOTS; slot++)
		if (bpf_map_lookup_elem(map, &slot, &ebpf->cookies[slot]) < 0)
			ebpf->cookies[slot] = 0;
}

/* ---- pins ----------------------------------------------------------------------------------- */

static int ebpf_pin(struct steer *steer, const struct sockaddr *source, uint16_t slot)
{
	struct ebpf *ebpf = to_ebpf(steer);
	int map = bpf_map__fd(ebpf->skeleton->maps.pins);
	struct steer_pin_key key;
	uint32_t value = slot;
	int r = steer_source_key(source, &key);

	if (r < 0)
		return r;
	if (bpf_map_update_elem(map, &key, &value, BPF_NOEXIST) < 0)
		return -errno;
	/* Added after the entry and taken away before it: the program never skips a pin. */
	__atomic_add_fetch(&ebpf_control(ebpf)->pins, 1, __ATOMIC_RELEASE);
	return 0;
}

static void ebpf_unpin(struct steer *steer, const struct sockaddr *source)
{
	struct ebpf *ebpf = to_ebpf(steer);
	struct steer_pin_key key;

	if (steer_source_key(source, &key) < 0)
		return;
	if (bpf_map_delete_elem(bpf_map__fd(ebpf->skeleton->maps.pins), &key) < 0)
		return;
	__atomic_sub_fetch(&ebpf_control(ebpf)->pins, 1, __ATOMIC_RELEASE);
}

/* Health checks of an earlier daemon: their source ports may be anybody's by now. */
static void clear_pins(struct ebpf *ebpf)
{
	int map = bpf_map__fd(ebpf->skeleton->maps.pins);
	struct steer_pin_key key;

	for (int n = 0; n < STEER_PINS && bpf_map_get_next_key(map, NULL, &key) == 0; n++)
		bpf_map_delete_elem(map, &key);
	__atomic_store_n(&ebpf_control(ebpf)->pins, 0, __ATOMIC_RELEASE);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void ebpf_free(struct steer *steer)
{
	struct ebpf *ebpf = to_ebpf(steer);

	ebpf_close_anchor(&ebpf->anchor);
	if (ebpf->cgroup_fd >= 0)
		close(ebpf->cgroup_fd);
	steer_bpf__destroy(ebpf->skeleton);
	free(ebpf);
}

static void free_unopened(struct ebpf *ebpf)
{
	if (ebpf)
		ebpf_free(&ebpf->steer);
}
DEFINE_CLEANUP(struct ebpf *, free_unopened);

static int open_first_anchor(struct ebpf *ebpf, const char *cgroup, struct error *err)
{
	int r;

	if (cgroup) {
		ebpf->cgroup_fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (ebpf->cgroup_fd < 0)
			return error_set(err, -errno, "%s", cgroup);
	}
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
	ebpf->anchor.fd = ebpf->cgroup_fd = -1;
	ebpf->steer.address = *address;
	ebpf->uid = options->uid;
	ebpf->inspect = options->inspect;
	if (options->pin_dir)
		snprintf(ebpf->pin_dir, sizeof(ebpf->pin_dir), "%s", options->pin_dir);
	ebpf->n_cpus = libbpf_num_possible_cpus();
	if (ebpf->n_cpus < 0)
		return error_set(err, ebpf->n_cpus, "steer: count the CPUs");
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
	read_slots(ebpf);
	clear_pins(ebpf);
	*ret = &TAKE_PTR(ebpf)->steer;
	return 0;
}

static int ebpf_reset(struct steer *steer, struct error *err)
{
	struct ebpf *ebpf = to_ebpf(steer);
	struct steer_stats *zero = calloc((size_t)ebpf->n_cpus, sizeof(*zero));
	struct steer_table empty;
	uint32_t key = 0;
	int r;

	if (!zero)
		return error_set(err, -ENOMEM, "steer");
	bpf_map_update_elem(bpf_map__fd(ebpf->skeleton->maps.stats), &key, zero, BPF_ANY);
	free(zero);
	ebpf_hold(steer, false);
	for (uint16_t slot = 0; slot < STEER_SLOTS; slot++)
		ebpf_release(steer, slot);
	/* A fresh table is all zeros, and slot 0 is a real slot: name none instead. */
	memset(&empty, 0xff, sizeof(empty));
	r = ebpf_publish(steer, &empty, err);
	return r < 0 ? r : ebpf_publish(steer, &empty, err);
}

static bool ebpf_is_taken_over(const struct steer *steer)
{
	return to_ebpf(steer)->taken_over;
}

/* Is the group free, or ours already (the program of an earlier daemon that we succeed)? */
static int check_owner(struct ebpf *ebpf, struct error *err)
{
	uint32_t id = 0, members;
	char who[128];

	if (!ebpf->inspect ||
	    inspect_listener(ebpf->inspect, ebpf->anchor.cookie, &id, &members, NULL) < 0)
		return 0;
	if (id == 0 || id == ebpf->program_id || id == ebpf->earlier_id)
		return 0;
	ebpf_describe(id, who, sizeof(who));
	return error_text(err, -EADDRINUSE,
			  "%s: is steered already, by %s: is another batond, or a `baton run`, "
			  "serving it?",
			  ebpf->steer.address.text, who);
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

	r = check_owner(ebpf, err);
	if (r < 0)
		return r;
	r = ebpf_attach_program(ebpf, err);
	if (r < 0)
		return error_prefix(err, r, "steer: %s", steer->address.text);
	ebpf->attached = true;
	ebpf_hold(steer, ebpf->hold);
	if (!ebpf->hold)
		clear_anchor(ebpf);
	return 0;
}

const struct steer_ops steer_ebpf_ops = {
	.open = ebpf_open,
	.free = ebpf_free,
	.try = ebpf_try,
	.reset = ebpf_reset,
	.is_taken_over = ebpf_is_taken_over,
	.attach = ebpf_attach,
	.unpin_all = ebpf_unpin_all,
	.join = ebpf_join,
	.rejoin = ebpf_rejoin,
	.release = ebpf_release,
	.release_unclaimed = ebpf_release_unclaimed,
	.publish = ebpf_publish,
	.table = ebpf_table,
	.pin = ebpf_pin,
	.unpin = ebpf_unpin,
	.hold = ebpf_hold,
	.held = ebpf_held,
	.unhold = ebpf_unhold,
	.expire = ebpf_expire,
	.check = ebpf_check,
	.repair = ebpf_repair,
	.withdraw = ebpf_withdraw,
	.program_id = ebpf_program_id,
	.slot_stats = ebpf_slot_stats,
	.stats = ebpf_stats,
};
