/* SPDX-License-Identifier: BSD-2-Clause */
/* The ebpf tier: endpoints that compete for connections, and the program that chooses one. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/privilege.h"
#include "ebpf/cross.skel.h"
#include "orchestrator/steer/bpf_id.h"
#include "orchestrator/steer/anchor.h"
#include "orchestrator/steer/crossing.h"
#include "orchestrator/steer/steer_ebpf.h"

#define PREFIX      "cross+"
#define PROGRAM_END "link"

/* What else of it is pinned. The health checks of an earlier daemon died with it. */
static const struct {
	const char *pin, *map; /* its names in bpffs and in the kernel */
} maps[] = {{"beacons", "beacons"}, {"control", ".data.control"}};
#define N_MAPS (sizeof(maps) / sizeof(maps[0]))

struct crossing {
	struct ebpf *sides[2]; /* in the order of their keys: the next daemon finds the same */
	struct cross_bpf *skeleton;
	struct bpf_link *link;
	bool taken_over;
	bool waits; /* an earlier daemon's program is in the link, until ours can do its work */
	char folder[BPFFS_PATH_MAX]; /* of its pins; "": not pinned */
};

static volatile struct cross_control *control_of(const struct crossing *crossing)
{
	return &crossing->skeleton->data_control->control;
}

static uint32_t side_of(const struct crossing *crossing, const struct ebpf *ebpf)
{
	return crossing->sides[1] == ebpf;
}

static struct ebpf *other_of(const struct crossing *crossing, const struct ebpf *ebpf)
{
	return crossing->sides[!side_of(crossing, ebpf)];
}

/* ---- pins ----------------------------------------------------------------------------------- */

static void remove_folder(const char *folder)
{
	earlier_unpin(folder, PROGRAM_END);
	earlier_unpin(folder, EARLIER_LAYOUT);
	for (size_t k = 0; k < N_MAPS; k++)
		earlier_unpin(folder, maps[k].pin);
	rmdir(folder);
}

static void unpin(struct crossing *crossing)
{
	if (crossing->folder[0])
		remove_folder(crossing->folder);
	crossing->folder[0] = '\0';
}

/* Beside those of the two endpoints. */
static int make_folder(struct crossing *crossing, struct error *err)
{
	const char *above = crossing->sides[0]->pin_dir, *slash = strrchr(above, '/');
	char keys[2][ADDRESS_KEY_MAX];

	if (!slash || !crossing->sides[1]->pin_dir[0])
		return 0;
	for (size_t k = 0; k < 2; k++)
		address_key(&crossing->sides[k]->steer.address, keys[k]);
	if (snprintf(crossing->folder, sizeof(crossing->folder), "%.*s/" PREFIX "%s+%s",
		     (int)(slash - above), above, keys[0],
		     keys[1]) >= (int)sizeof(crossing->folder)) {
		crossing->folder[0] = '\0';
		return error_text(err, -ENAMETOOLONG, "bpffs path of %s is too long", above);
	}
	if (mkdir(crossing->folder, 0700) < 0 && errno != EEXIST)
		return error_set(err, -errno, "mkdir %s", crossing->folder);
	return 0;
}

/* ---- the program ---------------------------------------------------------------------------- */

static struct bpf_map *map_of(const struct cross_bpf *skeleton, size_t k)
{
	return k == 0 ? skeleton->maps.beacons : skeleton->maps.data_control;
}

/* That of an earlier daemon; NULL: there is none. */
static struct bpf_link *open_link(const struct crossing *crossing)
{
	char path[BPFFS_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/" PROGRAM_END, crossing->folder);
	/* libbpf would warn. */
	return crossing->folder[0] && access(path, F_OK) == 0 ? bpf_link__open(path) : NULL;
}

/* The maps with which the program in the link runs. */
static int find_earlier(const struct crossing *crossing, struct earlier *earlier, struct error *err)
{
	struct bpf_link_info info = {};
	uint32_t length = sizeof(info);
	int r = 0;

	if (crossing->link &&
	    bpf_obj_get_info_by_fd(bpf_link__fd(crossing->link), &info, &length) == 0) {
		cleanup_close int fd = bpf_id_program(info.prog_id);

		if (fd >= 0)
			earlier_add_program(earlier, fd);
	}
	for (size_t k = 0; r == 0 && crossing->folder[0] && k < N_MAPS; k++)
		r = earlier_add_pin(earlier, crossing->folder, maps[k].pin, maps[k].map, err);
	if (r == 0 && crossing->folder[0])
		r = earlier_add_pin(earlier, crossing->folder, EARLIER_LAYOUT, EARLIER_LAYOUT, err);
	return r;
}

/* Both or none: what they say belongs together. */
static int keep_maps(struct crossing *crossing, const struct earlier *earlier)
{
	bool kept = crossing->link && earlier_layout(earlier) == CROSS_LAYOUT;
	int r = 0;

	for (size_t k = 0; kept && k < N_MAPS; k++)
		kept = earlier_fits(earlier_find(earlier, maps[k].map),
				    map_of(crossing->skeleton, k), 1, BPF_MAP_TYPE_UNSPEC);
	for (size_t k = 0; kept && r == 0 && k < N_MAPS; k++)
		r = bpf_map__reuse_fd(map_of(crossing->skeleton, k),
				      earlier_find(earlier, maps[k].map));
	crossing->taken_over = kept;
	crossing->waits = crossing->link && !kept;
	return r;
}

static int explain(int r, struct error *err)
{
	char advice[PRIVILEGE_TEXT_MAX];

	if (privilege_explain(r, &privilege_bpf, advice)[0])
		return error_text(err, r, "load cross.bpf.o: %s%s", strerror(-r), advice);
	return error_set(err, r, "load cross.bpf.o");
}

static int pin_maps(const struct crossing *crossing, struct error *err)
{
	int r = 0;

	for (size_t k = 0; r >= 0 && crossing->folder[0] && k < N_MAPS; k++)
		r = earlier_pin(bpf_map__fd(map_of(crossing->skeleton, k)), crossing->folder,
				maps[k].pin, err);
	return r < 0 ? r
		     : earlier_note_layout(crossing->folder,
					   bpf_program__fd(crossing->skeleton->progs.cross),
					   CROSS_LAYOUT, err);
}

static int load(struct crossing *crossing, const struct cross_destination *destination,
		struct error *err)
{
	cleanup(earlier_done) struct earlier earlier = {};
	int r;

	crossing->link = open_link(crossing);
	crossing->skeleton = cross_bpf__open();
	if (!crossing->skeleton)
		return explain(-errno, err);
	memcpy((void *)&crossing->skeleton->rodata->destination, destination, sizeof(*destination));
	r = find_earlier(crossing, &earlier, err);
	if (r < 0)
		return r;
	r = keep_maps(crossing, &earlier);
	if (r == 0)
		r = cross_bpf__load(crossing->skeleton);
	return r < 0 ? explain(r, err) : pin_maps(crossing, err);
}

static int attach_netns(const struct cross_bpf *skeleton, struct bpf_link **ret, struct error *err)
{
	cleanup_close int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (netns < 0)
		return error_set(err, -errno, "open the network namespace");
	*ret = bpf_program__attach_netns(skeleton->progs.cross, netns);
	if (*ret)
		return 0;
	if (errno == E2BIG)
		return error_text(
			err, -E2BIG,
			"the network namespace has 64 programs of type sk_lookup, and can "
			"have no more: reload again when other services are done");
	return error_set(err, -errno, "attach cross.bpf.o to the network namespace");
}

static int attach(struct crossing *crossing, struct error *err)
{
	char path[BPFFS_PATH_MAX + 16];
	int r = attach_netns(crossing->skeleton, &crossing->link, err);

	if (r < 0 || !crossing->folder[0])
		return r;
	snprintf(path, sizeof(path), "%s/" PROGRAM_END, crossing->folder);
	r = bpf_link__pin(crossing->link, path);
	return r < 0 ? error_set(err, r, "pin %s", path) : 0;
}

/* Put our program in the place of an earlier daemon's. */
static int take_over_link(struct crossing *crossing, struct error *err)
{
	crossing->waits = false;
	if (bpf_link__update_program(crossing->link, crossing->skeleton->progs.cross) == 0)
		return 0;
	/* It is that of a namespace which is gone. */
	bpf_link__destroy(TAKE_PTR(crossing->link));
	earlier_unpin(crossing->folder, PROGRAM_END);
	return attach(crossing, err);
}

static int try_load_and_attach(struct error *err)
{
	const struct cross_destination nothing = {};
	struct crossing crossing = {};
	int r = load(&crossing, &nothing, err);

	if (r >= 0)
		r = attach(&crossing, err);
	bpf_link__destroy(crossing.link);
	cross_bpf__destroy(crossing.skeleton);
	return r;
}

int ebpf_try_crossing(struct error *err)
{
	libbpf_print_fn_t print = libbpf_set_print(NULL);
	int r = try_load_and_attach(err);

	libbpf_set_print(print);
	return r;
}

/* ---- beacons -------------------------------------------------------------------------------- */

static int put(const struct crossing *crossing, const struct ebpf *ebpf, struct error *err)
{
	int map = bpf_map__fd(crossing->skeleton->maps.beacons);
	uint32_t side = side_of(crossing, ebpf);
	uint64_t value = (uint64_t)ebpf->beacon;

	if (bpf_map_update_elem(map, &side, &value, BPF_ANY) < 0)
		return error_set(err, -errno, "put a socket of %s into the map of cross.bpf.o",
				 ebpf->steer.address.text);
	return 0;
}

static int light(struct ebpf *ebpf, struct error *err)
{
	int r = 0;

	if (ebpf->n_crossings == 0 || ebpf->beacon >= 0)
		return 0;
	r = anchor_open(&ebpf->steer.address, ebpf->uid, -1, &ebpf->beacon, NULL, err);
	for (size_t k = 0; r >= 0 && k < ebpf->n_crossings; k++)
		r = put(ebpf->crossings[k], ebpf, err);
	return r;
}

/* Without a program on the group the beacon would get connections. */
int ebpf_light_beacon(struct ebpf *ebpf, struct error *err)
{
	return ebpf->attached ? light(ebpf, err) : 0;
}

void ebpf_quench_beacon(struct ebpf *ebpf)
{
	if (ebpf->beacon < 0)
		return;
	shutdown(ebpf->beacon, SHUT_RD);
	close(TAKE_FD(ebpf->beacon));
}

bool ebpf_competes(const struct steer *steer)
{
	return to_ebpf(steer)->n_crossings > 0;
}

/* Does the kernel's lookup prefer the other one of each two? */
int ebpf_beacon(const struct steer *steer)
{
	const struct ebpf *ebpf = to_ebpf(steer);

	for (size_t k = 0; k < ebpf->n_crossings; k++)
		if (crossing_is_wider(&steer->address,
				      &other_of(ebpf->crossings[k], ebpf)->steer.address))
			return ebpf->beacon;
	return -1;
}

/* ---- health checks -------------------------------------------------------------------------- */

void ebpf_cross_pin(struct ebpf *ebpf, const struct steer_pin_key *source)
{
	for (size_t k = 0; k < ebpf->n_crossings; k++) {
		const struct crossing *crossing = ebpf->crossings[k];
		uint32_t side = side_of(crossing, ebpf);

		if (bpf_map_update_elem(bpf_map__fd(crossing->skeleton->maps.pins), source, &side,
					BPF_NOEXIST) == 0)
			__atomic_add_fetch(&control_of(crossing)->pins, 1, __ATOMIC_RELEASE);
	}
}

void ebpf_cross_unpin(struct ebpf *ebpf, const struct steer_pin_key *source)
{
	for (size_t k = 0; k < ebpf->n_crossings; k++) {
		const struct crossing *crossing = ebpf->crossings[k];

		if (bpf_map_delete_elem(bpf_map__fd(crossing->skeleton->maps.pins), source) == 0)
			__atomic_sub_fetch(&control_of(crossing)->pins, 1, __ATOMIC_RELEASE);
	}
}

/* ---- life ----------------------------------------------------------------------------------- */

static void forget(struct ebpf *ebpf, const struct crossing *crossing)
{
	for (size_t k = 0; k < ebpf->n_crossings; k++)
		if (ebpf->crossings[k] == crossing)
			ebpf->crossings[k--] = ebpf->crossings[--ebpf->n_crossings];
}

/* While any crossing of it is pinned, the beacon is left to those who have duplicates of it. */
static void end_beacon(struct ebpf *ebpf, bool stays)
{
	if (ebpf->n_crossings > 0 || ebpf->beacon < 0)
		return;
	if (stays)
		close(TAKE_FD(ebpf->beacon));
	else
		ebpf_quench_beacon(ebpf);
}

/*
 * @closing listens nowhere any more but with its beacon. That goes before the program does: the
 * kernel's lookup would find it. What is pinned stays attached.
 */
static void end(struct crossing *crossing, struct ebpf *closing)
{
	struct ebpf *other = other_of(crossing, closing);
	bool stays = crossing->folder[0];

	forget(closing, crossing);
	end_beacon(closing, stays);
	bpf_link__destroy(crossing->link);
	forget(other, crossing);
	end_beacon(other, stays);
	cross_bpf__destroy(crossing->skeleton);
	free(crossing);
}

/* The first moment at which anything comes to the program: all goes to @there. */
static int begin(struct crossing *crossing, struct ebpf *there, bool sticky, struct error *err)
{
	struct cross_destination destination;
	int r = make_folder(crossing, err);

	crossing_destination(&crossing->sides[0]->steer.address, &crossing->sides[1]->steer.address,
			     &destination);
	if (r >= 0)
		r = load(crossing, &destination, err);
	if (r >= 0 && there->beacon >= 0)
		r = put(crossing, there, err);
	if (r >= 0)
		r = ebpf_light_beacon(there, err);
	if (r < 0)
		return r;
	control_of(crossing)->sticky = sticky;
	control_of(crossing)->pins = 0;
	if (!crossing->taken_over)
		__atomic_store_n(&control_of(crossing)->share,
				 side_of(crossing, there) ? CROSS_ALL : 0, __ATOMIC_RELEASE);
	if (crossing->waits)
		return 0;
	return crossing->link ? take_over_link(crossing, err) : attach(crossing, err);
}

static int cross(struct ebpf *ebpf, struct ebpf *there, bool sticky, struct error *err)
{
	struct crossing *crossing = calloc(1, sizeof(*crossing));
	char a[ADDRESS_KEY_MAX], b[ADDRESS_KEY_MAX];
	bool second;
	int r;

	if (!crossing)
		return error_set(err, -ENOMEM, "steer");
	assert(there->n_crossings < STEER_BESIDE_MAX);
	second = strcmp(address_key(&ebpf->steer.address, a),
			address_key(&there->steer.address, b)) > 0;
	crossing->sides[second] = ebpf;
	crossing->sides[!second] = there;
	ebpf->crossings[ebpf->n_crossings++] = crossing;
	there->crossings[there->n_crossings++] = crossing;
	r = begin(crossing, there, sticky, err);
	if (r < 0) {
		unpin(crossing);
		end(crossing, ebpf);
		return error_prefix(err, r, "choose between it and %s", there->steer.address.text);
	}
	return 0;
}

int ebpf_cross(struct ebpf *ebpf, const struct steer_options *options, struct error *err)
{
	int r = 0;

	for (size_t k = 0; r >= 0 && k < options->n_beside; k++)
		r = cross(ebpf, to_ebpf(options->beside[k]), options->sticky, err);
	return r;
}

void ebpf_uncross(struct ebpf *ebpf)
{
	while (ebpf->n_crossings > 0)
		end(ebpf->crossings[0], ebpf);
}

void ebpf_cross_unpin_all(struct ebpf *ebpf)
{
	for (size_t k = 0; k < ebpf->n_crossings; k++)
		unpin(ebpf->crossings[k]);
}

void ebpf_cross_unpin_new(struct ebpf *ebpf)
{
	for (size_t k = 0; k < ebpf->n_crossings; k++)
		if (!ebpf->crossings[k]->taken_over && !ebpf->crossings[k]->waits)
			unpin(ebpf->crossings[k]);
}

/*
 * With maps of its own our program needs to know the share, and the beacons of both sides: the
 * kernel's lookup would find only one of them. The earlier daemon's programs are on both groups.
 */
static int end_waiting(struct crossing *crossing)
{
	struct error err;
	int r = light(crossing->sides[0], &err);

	if (r >= 0)
		r = light(crossing->sides[1], &err);
	if (r >= 0)
		r = take_over_link(crossing, &err);
	if (r < 0)
		log_error("%s, %s: %s", crossing->sides[0]->steer.address.text,
			  crossing->sides[1]->steer.address.text, err.text);
	return r;
}

int ebpf_share(struct steer *first, struct steer *second, uint32_t share)
{
	struct ebpf *ebpf = to_ebpf(first), *other = to_ebpf(second);

	for (size_t k = 0; k < ebpf->n_crossings; k++) {
		struct crossing *crossing = ebpf->crossings[k];

		if (other_of(crossing, ebpf) != other)
			continue;
		__atomic_store_n(&control_of(crossing)->share,
				 side_of(crossing, other) ? share : CROSS_ALL - share,
				 __ATOMIC_RELEASE);
		return crossing->waits ? end_waiting(crossing) : 0;
	}
	return -ENOENT;
}

/* ---- what an earlier daemon has left -------------------------------------------------------- */

/* "cross+KEY+KEY": is @key one of the two? */
static bool names(const char *entry, const char *key)
{
	const char *first = entry + strlen(PREFIX), *plus;
	size_t n = strlen(key);

	if (strncmp(entry, PREFIX, strlen(PREFIX)) != 0)
		return false;
	plus = strchr(first, '+');
	return plus && (((size_t)(plus - first) == n && memcmp(first, key, n) == 0) ||
			strcmp(plus + 1, key) == 0);
}

static bool is_open(const struct ebpf *ebpf, const char *folder)
{
	for (size_t k = 0; k < ebpf->n_crossings; k++)
		if (strcmp(ebpf->crossings[k]->folder, folder) == 0)
			return true;
	return false;
}

void ebpf_tidy(struct steer *steer)
{
	const struct ebpf *ebpf = to_ebpf(steer);
	const char *slash = strrchr(ebpf->pin_dir, '/');
	char above[BPFFS_PATH_MAX], folder[BPFFS_PATH_MAX], key[ADDRESS_KEY_MAX];
	struct dirent *entry;
	DIR *dir;

	if (!slash)
		return;
	snprintf(above, sizeof(above), "%.*s", (int)(slash - ebpf->pin_dir), ebpf->pin_dir);
	address_key(&steer->address, key);
	dir = opendir(above);
	while (dir && (entry = readdir(dir))) {
		int n = snprintf(folder, sizeof(folder), "%s/%s", above, entry->d_name);

		if (n < (int)sizeof(folder) && names(entry->d_name, key) && !is_open(ebpf, folder))
			remove_folder(folder);
	}
	if (dir)
		closedir(dir);
}
