/* SPDX-License-Identifier: BSD-2-Clause */
/* The ebpf tier: what an earlier daemon has left: its program, and which of its maps go on. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "orchestrator/steer/bpf_id.h"
#include "orchestrator/steer/steer_ebpf.h"

/* By so many of our members it is looked whose a group is. */
#define MEMBERS_MAX 8

/* Pinned maps of fewer slots are none of ours. */
#define SLOTS_LEAST 2

#define NAMES_MAX 128

/* Owners are not among them: they come anew with each steer_join(). */
enum { SLOTS, TABLES, CONTROL, PINS, SLOT_STATS, STATS, N_MAPS };

static const struct {
	const char *pin, *map; /* its names in bpffs and in the kernel */
	uint32_t entries_min;
	enum bpf_map_type other_type;
} maps[N_MAPS] = {
	[SLOTS] = {"slots", "slots", SLOTS_LEAST, BPF_MAP_TYPE_UNSPEC},
	[TABLES] = {"tables", "tables", 2, BPF_MAP_TYPE_UNSPEC},
	[CONTROL] = {"control", ".data.control", 1, BPF_MAP_TYPE_UNSPEC},
	[PINS] = {"pins", "pins", STEER_PINS, BPF_MAP_TYPE_UNSPEC},
	[SLOT_STATS] = {"slot_stats", "slot_stats", SLOTS_LEAST, BPF_MAP_TYPE_PERCPU_ARRAY},
	[STATS] = {"stats", "stats", 1, BPF_MAP_TYPE_UNSPEC},
};

static struct bpf_map *map_of(const struct steer_bpf *s, size_t k)
{
	struct bpf_map *const list[N_MAPS] = {
		[SLOTS] = s->maps.slots,           [TABLES] = s->maps.tables,
		[CONTROL] = s->maps.data_control,  [PINS] = s->maps.pins,
		[SLOT_STATS] = s->maps.slot_stats, [STATS] = s->maps.stats,
	};

	return list[k];
}

/* ---- which program -------------------------------------------------------------------------- */

/* One that an earlier daemon has pinned. -1 in *ret: there is none. */
static int open_pinned(struct ebpf *ebpf, const char *name, uint32_t *ret_id, int *ret,
		       struct error *err)
{
	struct bpf_prog_info info = {};
	uint32_t length = sizeof(info);
	char path[BPFFS_PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", ebpf->pin_dir, name);
	*ret_id = 0;
	*ret = bpf_obj_get(path);
	if (*ret < 0 && errno == ENOENT)
		return 0;
	/* Taken for none, what the earlier daemon steers would be cleared. */
	if (*ret < 0 || bpf_obj_get_info_by_fd(*ret, &info, &length) < 0)
		return error_set(err, -errno, "%s", path);
	*ret_id = info.id;
	return 0;
}

/*
 * Is the program, which nothing pins, that of an earlier daemon of ours? Only one batond has the
 * name of this one, and no other batond joins a group that is steered: so it is, if servers of ours
 * are in the group.
 */
static bool is_ours(const struct ebpf *ebpf, const struct steer_options *options, uint32_t id)
{
	char name[INSPECT_NAME_MAX];

	inspect_name(ebpf->inspect, name);
	if (strcmp(name, "steer") != 0)
		return false;
	for (size_t k = 0; k < options->n_members && k < MEMBERS_MAX; k++) {
		uint32_t its_id, members;

		if (inspect_listener(ebpf->inspect, options->members[k], &its_id, &members, NULL) ==
			    0 &&
		    its_id == id)
			return true;
	}
	return false;
}

/* What can be told of the program that runs, which one of @pinned may be. */
static void ask_program(struct ebpf *ebpf, const struct steer_options *options,
			const int pinned[static EBPF_PINNED])
{
	cleanup_close int fd = -1;
	uint32_t id = 0, members;
	bool seen = ebpf->inspect &&
		    inspect_listener(ebpf->inspect, ebpf->anchor.cookie, &id, &members, NULL) == 0;

	for (size_t k = 0; k < EBPF_PINNED; k++)
		if (pinned[k] >= 0 && (!seen || id == ebpf->earlier_ids[k]))
			earlier_add_program(&ebpf->earlier, pinned[k]);
	if (!seen || id == 0 || ebpf->earlier.known || !is_ours(ebpf, options, id))
		return;
	ebpf->unpinned_id = id;
	fd = bpf_id_program(id);
	if (fd >= 0)
		earlier_add_program(&ebpf->earlier, fd);
}

/* ---- which maps ----------------------------------------------------------------------------- */

static bool is_member(const struct steer_options *options, uint64_t cookie)
{
	for (size_t k = 0; k < options->n_members; k++)
		if (options->members[k] == cookie)
			return true;
	return false;
}

static bool has_members(int slots, const struct steer_options *options)
{
	uint32_t n = earlier_entries(slots);

	for (uint32_t slot = 0; slot < n; slot++) {
		uint64_t cookie;

		if (bpf_map_lookup_elem(slots, &slot, &cookie) == 0 && is_member(options, cookie))
			return true;
	}
	return false;
}

/* A daemon that died while it attached its program has left it under the second name. */
static int find_programs(struct ebpf *ebpf, const struct steer_options *options, struct error *err)
{
	static const char *const names[EBPF_PINNED] = {EBPF_PROGRAM, EBPF_NEXT_PROGRAM};
	int pinned[EBPF_PINNED] = {-1, -1}, r = 0;

	for (size_t k = 0; r == 0 && ebpf->pin_dir[0] && k < EBPF_PINNED; k++)
		r = open_pinned(ebpf, names[k], &ebpf->earlier_ids[k], &pinned[k], err);
	if (r == 0)
		ask_program(ebpf, options, pinned);
	for (size_t k = 0; k < EBPF_PINNED; k++)
		if (pinned[k] >= 0)
			close(pinned[k]);
	return r;
}

int ebpf_find_earlier(struct ebpf *ebpf, const struct steer_options *options, struct error *err)
{
	int r = find_programs(ebpf, options, err);

	for (size_t k = 0; r == 0 && ebpf->pin_dir[0] && k < N_MAPS; k++)
		r = earlier_add_pin(&ebpf->earlier, ebpf->pin_dir, maps[k].pin, maps[k].map, err);
	if (r == 0 && ebpf->pin_dir[0])
		r = earlier_add_pin(&ebpf->earlier, ebpf->pin_dir, EARLIER_LAYOUT, EARLIER_LAYOUT,
				    err);
	/* A socket is in one array only: one without any of them is not that of the program. */
	if (r == 0 && !ebpf->earlier.known && options->n_members > 0 &&
	    !has_members(earlier_find(&ebpf->earlier, "slots"), options))
		earlier_forget(&ebpf->earlier, "slots");
	return r;
}

/* ---- which go on ---------------------------------------------------------------------------- */

/* All of its sockets are in slots that our tables can name, but for an anchor in the last one. */
static bool is_within_reach(int slots)
{
	uint32_t n = earlier_entries(slots);

	for (uint32_t slot = STEER_SLOTS; slot + 1 < n; slot++) {
		uint64_t cookie;

		if (bpf_map_lookup_elem(slots, &slot, &cookie) == 0)
			return false;
	}
	return true;
}

static bool fits(const struct ebpf *ebpf, size_t k)
{
	int fd = earlier_find(&ebpf->earlier, maps[k].map);
	uint32_t least = maps[k].entries_min;

	if (k == SLOT_STATS)
		least = earlier_entries(earlier_find(&ebpf->earlier, "slots")) - 1;
	if (least > STEER_SLOTS)
		least = STEER_SLOTS;
	return earlier_fits(fd, map_of(ebpf->skeleton, k), least, maps[k].other_type) &&
	       (k != SLOTS || is_within_reach(fd));
}

/*
 * The rest is about the slots, and of no use without them. A table says nothing without the word
 * that says which of the two is current.
 */
static unsigned choose(const struct ebpf *ebpf)
{
	const unsigned pair = 1u << TABLES | 1u << CONTROL;
	unsigned kept = 0;

	if (!fits(ebpf, SLOTS))
		return 0;
	for (size_t k = 0; k < N_MAPS; k++)
		if (k == SLOTS || (earlier_layout(&ebpf->earlier) == STEER_LAYOUT && fits(ebpf, k)))
			kept |= 1u << k;
	return (kept & pair) == pair ? kept : kept & ~pair;
}

int ebpf_keep_maps(struct ebpf *ebpf)
{
	int r = 0;

	ebpf->kept = choose(ebpf);
	ebpf->taken_over = ebpf->kept & 1u << SLOTS;
	for (size_t k = 0; r == 0 && k < N_MAPS; k++)
		if (ebpf->kept & 1u << k)
			r = bpf_map__reuse_fd(map_of(ebpf->skeleton, k),
					      earlier_find(&ebpf->earlier, maps[k].map));
	return r;
}

/* ---- pins ----------------------------------------------------------------------------------- */

static void add_name(char names[static NAMES_MAX], const char *name)
{
	size_t n = strlen(names);

	snprintf(names + n, NAMES_MAX - n, "%s%s", n > 0 ? ", " : "", name);
}

int ebpf_pin_maps(struct ebpf *ebpf, const struct steer_options *options, struct error *err)
{
	char found[NAMES_MAX] = "", made[NAMES_MAX] = "";
	int r = 0;

	for (size_t k = 0; r >= 0 && ebpf->pin_dir[0] && k < N_MAPS; k++) {
		bool kept = ebpf->kept & 1u << k;

		r = earlier_pin(bpf_map__fd(map_of(ebpf->skeleton, k)), ebpf->pin_dir, maps[k].pin,
				err);
		if (r > 0)
			add_name(kept ? found : made, maps[k].pin);
	}
	if (r >= 0)
		r = earlier_note_layout(ebpf->pin_dir, bpf_program__fd(ebpf->skeleton->progs.steer),
					STEER_LAYOUT, err);
	if (r < 0 || options->n_members == 0)
		return r;
	if (found[0])
		log_warning("%s: pins of an earlier batond are gone, or are of other maps than its "
			    "program has: these maps go on, and are pinned again: %s",
			    ebpf->steer.address.text, found);
	if (made[0])
		log_warning("%s: maps of an earlier batond are gone, or do not fit this version: "
			    "these are made anew, and what they counted is lost: %s",
			    ebpf->steer.address.text, made);
	return r;
}

void ebpf_remove_pins(const struct ebpf *ebpf)
{
	earlier_unpin(ebpf->pin_dir, EBPF_PROGRAM);
	earlier_unpin(ebpf->pin_dir, EARLIER_LAYOUT);
	for (size_t k = 0; k < N_MAPS; k++)
		earlier_unpin(ebpf->pin_dir, maps[k].pin);
}
