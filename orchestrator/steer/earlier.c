/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/earlier.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "orchestrator/steer/bpffs.h"
#include "orchestrator/steer/bpf_id.h"

#define LAYOUT_FIRST    1  /* of versions that did not note it */
#define LAYOUT_SIZE_MAX 64 /* later versions may note more; the number comes first */

#define PATH_MAX_HERE (BPFFS_PATH_MAX + 32)

void earlier_done(struct earlier *earlier)
{
	for (size_t k = 0; k < earlier->n; k++)
		if (earlier->list[k].fd >= 0)
			close(earlier->list[k].fd);
	*earlier = (struct earlier){};
}

static int read_info(int fd, struct bpf_map_info *ret)
{
	uint32_t length = sizeof(*ret);

	*ret = (struct bpf_map_info){};
	return bpf_obj_get_info_by_fd(fd, ret, &length) < 0 ? -errno : 0;
}

/* ---- collecting ----------------------------------------------------------------------------- */

static struct earlier_map *find_id(struct earlier *earlier, uint32_t id)
{
	for (size_t k = 0; k < earlier->n; k++)
		if (earlier->list[k].id == id)
			return &earlier->list[k];
	return NULL;
}

static struct earlier_map *add(struct earlier *earlier, uint32_t id)
{
	struct earlier_map *map = find_id(earlier, id);

	if (map || earlier->n == EARLIER_MAX)
		return map;
	map = &earlier->list[earlier->n++];
	*map = (struct earlier_map){.id = id, .fd = -1};
	return map;
}

/* Needs CAP_SYS_ADMIN. */
static void open_by_id(struct earlier_map *map)
{
	struct bpf_map_info info;

	if (map->fd >= 0)
		return;
	map->fd = bpf_id_map(map->id);
	if (map->fd >= 0 && read_info(map->fd, &info) == 0)
		memcpy(map->name, info.name, sizeof(map->name));
}

void earlier_add_program(struct earlier *earlier, int program_fd)
{
	uint32_t ids[EARLIER_MAX] = {}, length = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = {
		.nr_map_ids = EARLIER_MAX,
		.map_ids = (uint64_t)(uintptr_t)ids,
	};

	if (bpf_obj_get_info_by_fd(program_fd, &info, &length) < 0)
		return;
	earlier->known = true;
	for (uint32_t k = 0; k < info.nr_map_ids && k < EARLIER_MAX; k++) {
		struct earlier_map *map = add(earlier, ids[k]);

		if (map)
			open_by_id(map);
	}
}

int earlier_add_pin(struct earlier *earlier, const char *folder, const char *name,
		    const char *map_name, struct error *err)
{
	char path[PATH_MAX_HERE];
	struct bpf_map_info info;
	struct earlier_map *map;
	cleanup_close int fd = -1;
	int r;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = bpf_obj_get(path);
	if (fd < 0 && errno == ENOENT)
		return 0;
	r = fd < 0 ? -errno : read_info(fd, &info);
	if (r < 0)
		return error_set(err, r, "%s", path);
	map = earlier->known ? find_id(earlier, info.id) : add(earlier, info.id);
	if (!map || map->fd >= 0)
		return 0;
	map->fd = TAKE_FD(fd);
	snprintf(map->name, sizeof(map->name), "%s", map_name);
	return 0;
}

void earlier_forget(struct earlier *earlier, const char *map_name)
{
	for (size_t k = 0; k < earlier->n; k++)
		if (earlier->list[k].fd >= 0 && strcmp(earlier->list[k].name, map_name) == 0)
			close(TAKE_FD(earlier->list[k].fd));
}

int earlier_find(const struct earlier *earlier, const char *map_name)
{
	for (size_t k = 0; k < earlier->n; k++)
		if (earlier->list[k].fd >= 0 && strcmp(earlier->list[k].name, map_name) == 0)
			return earlier->list[k].fd;
	return -1;
}

/* ---- fitting -------------------------------------------------------------------------------- */

bool earlier_fits(int fd, const struct bpf_map *map, uint32_t entries_min,
		  enum bpf_map_type other_type)
{
	struct bpf_map_info info;

	if (fd < 0 || read_info(fd, &info) < 0)
		return false;
	if (info.type != bpf_map__type(map) &&
	    (other_type == BPF_MAP_TYPE_UNSPEC || info.type != (uint32_t)other_type))
		return false;
	return info.key_size == bpf_map__key_size(map) &&
	       info.value_size == bpf_map__value_size(map) && info.max_entries >= entries_min &&
	       (info.map_flags | BPF_F_NO_PREALLOC) ==
		       (bpf_map__map_flags(map) | BPF_F_NO_PREALLOC);
}

uint32_t earlier_entries(int fd)
{
	struct bpf_map_info info;

	return fd >= 0 && read_info(fd, &info) == 0 ? info.max_entries : 0;
}

/* ---- pinning -------------------------------------------------------------------------------- */

static bool is_pinned(int fd, const char *path)
{
	cleanup_close int there = bpf_obj_get(path);
	struct bpf_map_info info, pinned;

	return there >= 0 && read_info(fd, &info) == 0 && read_info(there, &pinned) == 0 &&
	       info.id == pinned.id;
}

int earlier_pin(int fd, const char *folder, const char *name, struct error *err)
{
	char path[PATH_MAX_HERE], next[PATH_MAX_HERE + sizeof(EARLIER_NEXT)];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (is_pinned(fd, path))
		return 0;
	/* Never without any: a daemon that dies here leaves the one or the other. */
	snprintf(next, sizeof(next), "%s" EARLIER_NEXT, path);
	unlink(next);
	if (bpf_obj_pin(fd, next) < 0)
		return error_set(err, -errno, "pin %s", next);
	if (rename(next, path) < 0) {
		int r = error_set(err, -errno, "rename %s", next);

		unlink(next);
		return r;
	}
	return 1;
}

void earlier_unpin(const char *folder, const char *name)
{
	char path[PATH_MAX_HERE + sizeof(EARLIER_NEXT)];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	unlink(path);
	snprintf(path, sizeof(path), "%s/%s" EARLIER_NEXT, folder, name);
	unlink(path);
}

/* ---- the layout's version ------------------------------------------------------------------- */

uint32_t earlier_layout(const struct earlier *earlier)
{
	int fd = earlier_find(earlier, EARLIER_LAYOUT);
	uint32_t zero = 0, version[LAYOUT_SIZE_MAX / sizeof(uint32_t)] = {};
	struct bpf_map_info info;

	if (fd < 0)
		return LAYOUT_FIRST;
	/* One that cannot be read is none that we know. */
	if (read_info(fd, &info) < 0 || info.type != BPF_MAP_TYPE_ARRAY ||
	    info.value_size < sizeof(version[0]) || info.value_size > sizeof(version) ||
	    bpf_map_lookup_elem(fd, &zero, version) < 0)
		return 0;
	return version[0];
}

int earlier_note_layout(const char *folder, int program_fd, uint32_t layout, struct error *err)
{
	uint32_t zero = 0;
	cleanup_close int fd =
		bpf_map_create(BPF_MAP_TYPE_ARRAY, EARLIER_LAYOUT, 4, sizeof(layout), 1, NULL);

	if (fd < 0 || bpf_map_update_elem(fd, &zero, &layout, BPF_ANY) < 0)
		return error_set(err, -errno, "make the map \"" EARLIER_LAYOUT "\"");
	/* Linux 5.10. Without it only the pin says which layout it is. */
	if (program_fd >= 0)
		(void)bpf_prog_bind_map(program_fd, fd, NULL);
	return folder[0] ? earlier_pin(fd, folder, EARLIER_LAYOUT, err) : 0;
}
