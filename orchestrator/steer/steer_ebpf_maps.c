/* SPDX-License-Identifier: BSD-2-Clause */
/* The ebpf tier: what is in the program's maps: tables, slots and their owners, pins, counters. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "orchestrator/steer/key.h"
#include "orchestrator/steer/steer_ebpf.h"
#include "orchestrator/steer/tap.h"

/* EBPF_BUSY_TRIES of them are 1 s. */
#define BUSY_WAIT_US 5000

/* How long the counters of a slot may wait for memory: 1 ms. */
#define COUNTER_TRIES   10
#define COUNTER_WAIT_US 100

/* ---- tables --------------------------------------------------------------------------------- */

int ebpf_table(struct steer *steer, struct steer_table *ret)
{
	struct ebpf *ebpf = to_ebpf(steer);
	uint32_t current = ebpf_control(ebpf)->table & 1;

	if (bpf_map_lookup_elem(ebpf_map(ebpf, EBPF_TABLES), &current, ret) < 0)
		return -errno;
	return 0;
}

int ebpf_publish(struct steer *steer, const struct steer_table *table, struct error *err)
{
	struct ebpf *ebpf = to_ebpf(steer);
	volatile struct steer_control *control = ebpf_control(ebpf);
	uint32_t idle = !(control->table & 1);

	if (bpf_map_update_elem(ebpf_map(ebpf, EBPF_TABLES), &idle, table, BPF_ANY))
		return error_set(err, -errno, "%s: write table %u", steer->address.text, idle);
	__atomic_store_n(&control->table, idle, __ATOMIC_RELEASE);
	return 0;
}

/* ---- slots ---------------------------------------------------------------------------------- */

int ebpf_put(struct ebpf *ebpf, uint32_t slot, int fd, struct error *err)
{
	uint64_t value = (uint64_t)fd;

	while (bpf_map_update_elem(ebpf_map(ebpf, EBPF_SLOTS), &slot, &value, BPF_ANY) < 0) {
		/*
		 * Still in the map of a program that has just been replaced: it is freed soon. In
		 * anybody else's it may stay for good.
		 */
		if (errno != EBUSY || ebpf->busy_tries == 0)
			return error_set(err, -errno, "put the socket into slot %u", slot);
		ebpf->busy_tries--;
		usleep(BUSY_WAIT_US);
	}
	return 0;
}

/* The map tells user space the cookies of its sockets. */
int ebpf_read_slots(struct ebpf *ebpf, struct error *err)
{
	for (uint32_t slot = 0; slot < ebpf->slots.max; slot++) {
		uint64_t cookie;
		int r = ebpf_read_slot(ebpf, slot, &cookie);

		if (r == -ENOENT)
			continue;
		if (r == 0)
			r = slots_take(&ebpf->slots, slot, cookie);
		/* Taken for a free one, the slot of a server that serves would be given away. */
		if (r < 0)
			return error_set(err, r, "read slot %u", slot);
	}
	return 0;
}

int ebpf_read_slot(const struct ebpf *ebpf, uint32_t slot, uint64_t *ret_cookie)
{
	return bpf_map_lookup_elem(ebpf_map(ebpf, EBPF_SLOTS), &slot, ret_cookie) < 0 ? -errno : 0;
}

void ebpf_empty_slot(struct ebpf *ebpf, uint32_t slot)
{
	/* ENOENT is the normal case: the kernel has emptied it when the socket closed. */
	bpf_map_delete_elem(ebpf_map(ebpf, EBPF_SLOTS), &slot);
}

/* ---- owners --------------------------------------------------------------------------------- */

void ebpf_set_owner(struct ebpf *ebpf, uint32_t slot, uint64_t cookie, tap_owner owner)
{
	bpf_map_update_elem(ebpf_map(ebpf, EBPF_SLOT_OWNER), &slot, &owner, BPF_ANY);
	if (owner)
		bpf_map_update_elem(ebpf_map(ebpf, EBPF_LISTENER_OWNER), &cookie, &owner, BPF_ANY);
	else
		ebpf_forget_owner(ebpf, cookie);
}

void ebpf_forget_owner(struct ebpf *ebpf, uint64_t cookie)
{
	bpf_map_delete_elem(ebpf_map(ebpf, EBPF_LISTENER_OWNER), &cookie);
}

/* ---- pins ----------------------------------------------------------------------------------- */

int ebpf_pin(struct steer *steer, const struct sockaddr *source, uint16_t slot)
{
	struct ebpf *ebpf = to_ebpf(steer);
	int map = ebpf_map(ebpf, EBPF_PINS);
	struct steer_pin_key key;
	uint32_t value = slot;
	int r = key_of(source, &key);

	if (r < 0)
		return r;
	if (bpf_map_update_elem(map, &key, &value, BPF_NOEXIST) < 0)
		return -errno;
	ebpf_cross_pin(ebpf, &key);
	if (ebpf->tap)
		tap_probe(ebpf->tap, source);
	if (ebpf->lent_tap)
		tap_probe(ebpf->lent_tap, source);
	/* While this is 0 the program does not look for pins. */
	__atomic_add_fetch(&ebpf_control(ebpf)->pins, 1, __ATOMIC_RELEASE);
	return 0;
}

void ebpf_unpin(struct steer *steer, const struct sockaddr *source)
{
	struct ebpf *ebpf = to_ebpf(steer);
	struct steer_pin_key key;

	if (key_of(source, &key) < 0)
		return;
	if (bpf_map_delete_elem(ebpf_map(ebpf, EBPF_PINS), &key) < 0)
		return;
	ebpf_cross_unpin(ebpf, &key);
	if (ebpf->tap)
		tap_unprobe(ebpf->tap, source);
	if (ebpf->lent_tap)
		tap_unprobe(ebpf->lent_tap, source);
	__atomic_sub_fetch(&ebpf_control(ebpf)->pins, 1, __ATOMIC_RELEASE);
}

/* Health checks of an earlier daemon: their source ports may be anybody's by now. */
void ebpf_clear_pins(struct ebpf *ebpf)
{
	int map = ebpf_map(ebpf, EBPF_PINS);
	struct steer_pin_key key;

	for (int n = 0; n < STEER_PINS && bpf_map_get_next_key(map, NULL, &key) == 0; n++)
		bpf_map_delete_elem(map, &key);
	__atomic_store_n(&ebpf_control(ebpf)->pins, 0, __ATOMIC_RELEASE);
}

/* ---- counters ------------------------------------------------------------------------------- */

int ebpf_slot_stats(struct steer *steer, uint16_t slot, struct steer_slot_stats *ret)
{
	struct ebpf *ebpf = to_ebpf(steer);
	struct steer_slot_stats *values = calloc((size_t)ebpf->n_cpus, sizeof(*values));
	uint32_t key = slot;
	int r = 0;

	*ret = (struct steer_slot_stats){};
	if (!values)
		return -ENOMEM;
	if (bpf_map_lookup_elem(ebpf_map(ebpf, EBPF_SLOT_STATS), &key, values) < 0)
		r = -errno;
	/* There was no memory for its counters. */
	if (r == -ENOENT) {
		free(values);
		return 0;
	}
	for (int i = 0; r == 0 && i < ebpf->n_cpus; i++) {
		ret->primary += values[i].primary;
		ret->backup += values[i].backup;
		ret->pinned += values[i].pinned;
		ret->migrated += values[i].migrated;
	}
	free(values);
	return r;
}

int ebpf_stats(struct steer *steer, struct steer_stats *ret)
{
	struct ebpf *ebpf = to_ebpf(steer);
	struct steer_stats *values = calloc((size_t)ebpf->n_cpus, sizeof(*values));
	uint32_t key = 0;
	int r = 0;

	*ret = (struct steer_stats){};
	if (!values)
		return -ENOMEM;
	if (bpf_map_lookup_elem(ebpf_map(ebpf, EBPF_STATS), &key, values) < 0)
		r = -errno;
	for (int i = 0; r == 0 && i < ebpf->n_cpus; i++) {
		ret->refused += values[i].refused;
		ret->pinned_failed += values[i].pinned_failed;
		ret->held += values[i].held;
	}
	free(values);
	return r;
}

void ebpf_reset_slot_stats(struct ebpf *ebpf, uint32_t slot)
{
	struct steer_slot_stats *zero = calloc((size_t)ebpf->n_cpus, sizeof(*zero));

	if (!zero)
		return;
	/* The kernel refills its pool of elements from an interrupt, which may be a moment late. */
	for (int n = 0; n < COUNTER_TRIES; n++) {
		if (bpf_map_update_elem(ebpf_map(ebpf, EBPF_SLOT_STATS), &slot, zero, BPF_ANY) ==
			    0 ||
		    errno != ENOMEM)
			break;
		usleep(COUNTER_WAIT_US);
	}
	free(zero);
}

/* -EINVAL if it is the array of an earlier version, whose elements stay. */
void ebpf_drop_slot_stats(struct ebpf *ebpf, uint32_t slot)
{
	bpf_map_delete_elem(ebpf_map(ebpf, EBPF_SLOT_STATS), &slot);
}

int ebpf_reset_stats(struct ebpf *ebpf)
{
	struct steer_stats *zero = calloc((size_t)ebpf->n_cpus, sizeof(*zero));
	uint32_t key = 0;
	int r = 0;

	if (!zero)
		return -ENOMEM;
	if (bpf_map_update_elem(ebpf_map(ebpf, EBPF_STATS), &key, zero, BPF_ANY) < 0)
		r = -errno;
	free(zero);
	return r;
}
