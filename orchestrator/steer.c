/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "ebpf/steer.skel.h"
#include "orchestrator/anchor.h"
#include "orchestrator/bpffs.h"

/* How long a socket may be in the socket array of a program that is being freed: 1 s. */
#define BUSY_TRIES   200
#define BUSY_WAIT_US 5000

struct steer {
	struct address address;
	int anchor_fd;
	uint64_t anchor_cookie;
	struct steer_bpf *skeleton;
	struct inspect *inspect;
	uint32_t program_id;
	uint32_t earlier_id; /* of the program that was pinned here before; 0: none */
	bool taken_over;     /* the maps are an earlier daemon's */
	bool attached;
	int n_cpus;
	uint64_t cookies[STEER_SLOTS]; /* whose socket a slot is for; 0: it is free */
	bool claimed[STEER_SLOTS];     /* by steer_join() */
	char pin_dir[BPFFS_PATH_MAX];  /* "": not pinned */
};

/* ---- pins in bpffs -------------------------------------------------------------------------- */

static void pin_path(const struct steer *steer, const char *name, char ret[static BPFFS_PATH_MAX])
{
	snprintf(ret, BPFFS_PATH_MAX, "%s/%s", steer->pin_dir, name);
}

static void remove_pins(const struct steer *steer)
{
	static const char *const names[] = {"program",    "slots", "tables", "pins",
					    "slot_stats", "stats", "control"};
	char path[BPFFS_PATH_MAX];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		pin_path(steer, names[i], path);
		unlink(path);
	}
}

void steer_unpin_all(struct steer *steer)
{
	if (!steer->pin_dir[0])
		return;
	remove_pins(steer);
	bpffs_remove(steer->pin_dir);
}

/* libbpf takes over what is pinned there already, and pins what it makes (bpf_map__set_pin_path).
 */
static int name_map_pins(struct steer *steer)
{
	struct steer_bpf *s = steer->skeleton;
	const struct {
		const char *name;
		struct bpf_map *map;
	} maps[] = {
		{"slots", s->maps.slots}, {"tables", s->maps.tables},
		{"pins", s->maps.pins},   {"slot_stats", s->maps.slot_stats},
		{"stats", s->maps.stats}, {"control", s->maps.data_control},
	};

	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
		char path[BPFFS_PATH_MAX];
		int r;

		pin_path(steer, maps[i].name, path);
		r = bpf_map__set_pin_path(maps[i].map, path);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The id of the program that an earlier daemon has pinned; 0 where there is none. */
static uint32_t pinned_program_id(const struct steer *steer)
{
	struct bpf_prog_info info = {};
	uint32_t length = sizeof(info);
	char path[BPFFS_PATH_MAX];
	cleanup_close int fd = -1;

	if (!steer->pin_dir[0])
		return 0;
	pin_path(steer, "program", path);
	fd = bpf_obj_get(path);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length) < 0)
		return 0;
	return info.id;
}

static int pin_program(struct steer *steer, struct error *err)
{
	char path[BPFFS_PATH_MAX];

	pin_path(steer, "program", path);
	unlink(path);
	if (bpf_obj_pin(bpf_program__fd(steer->skeleton->progs.steer), path) < 0)
		return error_set(err, -errno, "pin %s", path);
	return 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

static int on_libbpf_message(enum libbpf_print_level level, const char *format, va_list ap)
{
	char text[1024];
	int n = vsnprintf(text, sizeof(text), format, ap);

	log_line(level == LIBBPF_WARN ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "%s", text);
	return n;
}

void steer_log_init(void)
{
	libbpf_set_print(on_libbpf_message);
}

static int attach(struct steer *steer, struct error *err)
{
	int fd = bpf_program__fd(steer->skeleton->progs.steer);

	if (setsockopt(steer->anchor_fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &fd, sizeof(fd)) < 0)
		return error_set(err, -errno, "attach the program to the group");
	return 0;
}

static int load_once(struct steer *steer)
{
	int r = 0;

	steer->skeleton = steer_bpf__open();
	if (!steer->skeleton)
		return -errno;
	if (steer->pin_dir[0])
		r = name_map_pins(steer);
	if (r == 0)
		r = steer_bpf__load(steer->skeleton);
	if (r < 0)
		steer_bpf__destroy(TAKE_PTR(steer->skeleton));
	return r;
}

static int load(struct steer *steer, struct error *err)
{
	struct bpf_prog_info info = {};
	uint32_t length = sizeof(info);
	int r;

	steer->earlier_id = pinned_program_id(steer);
	steer->taken_over = steer->earlier_id != 0;
	r = load_once(steer);
	if (r == -EINVAL && steer->taken_over) {
		/* libbpf's word for maps of another shape: another version of baton made them. */
		remove_pins(steer);
		steer->taken_over = false;
		r = load_once(steer);
	}
	if (r == -EPERM)
		return error_text(err, r,
				  "load steer.bpf.o: Operation not permitted (needs CAP_BPF and "
				  "CAP_NET_ADMIN: run as root)");
	if (r < 0)
		return error_set(err, r, "load steer.bpf.o");
	if (bpf_obj_get_info_by_fd(bpf_program__fd(steer->skeleton->progs.steer), &info, &length))
		return error_set(err, -errno, "read the program's id");
	steer->program_id = info.id;
	return 0;
}

/* Whose sockets are in the slots: the map tells user space their cookies. */
static void read_slots(struct steer *steer)
{
	int map = bpf_map__fd(steer->skeleton->maps.slots);

	for (uint32_t slot = 0; slot < STEER_SLOTS; slot++)
		if (bpf_map_lookup_elem(map, &slot, &steer->cookies[slot]) < 0)
			steer->cookies[slot] = 0;
}

/* Health checks of an earlier daemon: their source ports may be anybody's by now. */
static void clear_pins(struct steer *steer)
{
	int map = bpf_map__fd(steer->skeleton->maps.pins);
	struct steer_pin_key key;

	for (int n = 0; n < STEER_PINS && bpf_map_get_next_key(map, NULL, &key) == 0; n++)
		bpf_map_delete_elem(map, &key);
	__atomic_store_n(&steer->skeleton->data_control->control.pins, 0, __ATOMIC_RELEASE);
}

int steer_open(const struct address *address, uid_t uid, const char *pin_dir,
	       struct inspect *inspect, struct steer **ret, struct error *err)
{
	cleanup(steer_free) struct steer *steer = calloc(1, sizeof(*steer));
	int r;

	if (!steer)
		return error_set(err, -ENOMEM, "steer");
	steer->address = *address;
	steer->inspect = inspect;
	steer->anchor_fd = -1;
	if (pin_dir)
		snprintf(steer->pin_dir, sizeof(steer->pin_dir), "%s", pin_dir);
	steer->n_cpus = libbpf_num_possible_cpus();
	if (steer->n_cpus < 0)
		return error_set(err, steer->n_cpus, "steer: count the CPUs");
	r = anchor_open(address, uid, &steer->anchor_fd, err);
	if (r < 0)
		return error_prefix(err, r, "%s", address->text);
	steer->anchor_cookie = anchor_cookie(steer->anchor_fd);
	r = load(steer, err);
	if (r >= 0 && pin_dir)
		r = pin_program(steer, err);
	if (r < 0)
		return error_prefix(err, r, "steer");
	read_slots(steer);
	clear_pins(steer);
	*ret = TAKE_PTR(steer);
	return 0;
}

int steer_reset(struct steer *steer, struct error *err)
{
	struct steer_stats *zero = calloc((size_t)steer->n_cpus, sizeof(*zero));
	struct steer_table empty;
	uint32_t key = 0;
	int r;

	if (!zero)
		return error_set(err, -ENOMEM, "steer");
	bpf_map_update_elem(bpf_map__fd(steer->skeleton->maps.stats), &key, zero, BPF_ANY);
	free(zero);
	for (uint16_t slot = 0; slot < STEER_SLOTS; slot++)
		steer_release(steer, slot);
	/* A fresh table is all zeros, and slot 0 is a real slot: name none instead. */
	memset(&empty, 0xff, sizeof(empty));
	r = steer_publish(steer, &empty, err);
	return r < 0 ? r : steer_publish(steer, &empty, err);
}

bool steer_is_taken_over(const struct steer *steer)
{
	return steer->taken_over;
}

/* Is the group free, or ours already (the program of an earlier daemon that we succeed)? */
static int check_owner(struct steer *steer, struct error *err)
{
	uint32_t id = 0, members;

	if (!steer->inspect ||
	    inspect_listener(steer->inspect, steer->anchor_cookie, &id, &members, NULL) < 0)
		return 0;
	if (id == 0 || id == steer->program_id || id == steer->earlier_id)
		return 0;
	return error_text(
		err, -EADDRINUSE,
		"%s: is steered by another BPF program already (id %u): is another batond, "
		"or a `baton run`, serving it?",
		steer->address.text, id);
}

int steer_attach(struct steer *steer, struct error *err)
{
	unsigned swept;
	int r;

	r = check_owner(steer, err);
	if (r < 0)
		return r;
	r = attach(steer, err);
	if (r < 0)
		return error_prefix(err, r, "steer: %s", steer->address.text);
	steer->attached = true;
	swept = anchor_sweep(steer->anchor_fd);
	if (swept > 0)
		log_info("%s: %u connections came before anything could serve them; reset",
			 steer->address.text, swept);
	return 0;
}

void steer_free(struct steer *steer)
{
	if (!steer)
		return;
	if (steer->anchor_fd >= 0)
		close(steer->anchor_fd);
	steer_bpf__destroy(steer->skeleton);
	free(steer);
}

/* ---- slots ---------------------------------------------------------------------------------- */

static void reset_slot_stats(struct steer *steer, uint32_t slot)
{
	struct steer_slot_stats *values = calloc((size_t)steer->n_cpus, sizeof(*values));

	if (!values)
		return;
	bpf_map_update_elem(bpf_map__fd(steer->skeleton->maps.slot_stats), &slot, values, BPF_ANY);
	free(values);
}

/* After a join: is the program still ours? Put it right where it is not. */
static int check_group(struct steer *steer, uint64_t cookie, bool *ret_drift, struct error *err)
{
	uint32_t id, members;
	int r;

	*ret_drift = false;
	if (!steer->inspect || !steer->attached)
		return 0;
	r = inspect_listener(steer->inspect, cookie, &id, &members, err);
	if (r == -ENOENT)
		return error_text(err, -EINVAL, "the socket is not in a reuseport group");
	if (r < 0)
		return r;
	if (id == steer->program_id)
		return 0;
	*ret_drift = true;
	r = attach(steer, err);
	if (r < 0)
		return r;
	r = inspect_listener(steer->inspect, cookie, &id, &members, err);
	if (r < 0)
		return r;
	if (id != steer->program_id)
		return error_text(
			err, -EINVAL,
			"the socket is in another group than the anchor (program %u there, "
			"%u here)",
			id, steer->program_id);
	return 0;
}

static uint32_t find_slot(const struct steer *steer, uint64_t cookie)
{
	uint32_t slot = 0;

	while (slot < STEER_SLOTS && steer->cookies[slot] != cookie)
		slot++;
	return slot;
}

static int fill_slot(struct steer *steer, int listen_fd, uint32_t *ret_slot, struct error *err)
{
	uint64_t value = (uint64_t)listen_fd;
	uint32_t slot = find_slot(steer, 0);

	if (slot == STEER_SLOTS)
		return error_text(err, -ENOSPC, "%s: all %d slots are taken", steer->address.text,
				  STEER_SLOTS);
	reset_slot_stats(steer, slot);
	for (int n = 0; n < BUSY_TRIES; n++) {
		if (bpf_map_update_elem(bpf_map__fd(steer->skeleton->maps.slots), &slot, &value,
					BPF_ANY) == 0) {
			*ret_slot = slot;
			return 0;
		}
		/* Still in the map of a program that has just been replaced: it is freed soon. */
		if (errno != EBUSY)
			break;
		usleep(BUSY_WAIT_US);
	}
	return error_set(err, -errno, "%s: put the socket into slot %u", steer->address.text, slot);
}

int steer_join(struct steer *steer, int listen_fd, uint16_t *ret_slot, bool *ret_drift,
	       struct error *err)
{
	uint64_t cookie = anchor_cookie(listen_fd);
	uint32_t slot;
	int r;

	*ret_drift = false;
	if (cookie == 0)
		return error_text(err, -EINVAL, "%s: not a socket", steer->address.text);
	slot = find_slot(steer, cookie);
	if (slot == STEER_SLOTS) {
		r = fill_slot(steer, listen_fd, &slot, err);
		if (r < 0)
			return r;
	}
	r = check_group(steer, cookie, ret_drift, err);
	if (r < 0) {
		bpf_map_delete_elem(bpf_map__fd(steer->skeleton->maps.slots), &slot);
		return error_prefix(err, r, "%s", steer->address.text);
	}
	steer->cookies[slot] = cookie;
	steer->claimed[slot] = true;
	*ret_slot = (uint16_t)slot;
	return 0;
}

void steer_release(struct steer *steer, uint16_t slot)
{
	uint32_t key = slot;

	if (slot >= STEER_SLOTS || !steer->cookies[slot])
		return;
	/* ENOENT is the normal case: the kernel has emptied it when the socket closed. */
	bpf_map_delete_elem(bpf_map__fd(steer->skeleton->maps.slots), &key);
	steer->cookies[slot] = 0;
	steer->claimed[slot] = false;
}

void steer_release_unclaimed(struct steer *steer)
{
	for (uint16_t slot = 0; slot < STEER_SLOTS; slot++)
		if (!steer->claimed[slot])
			steer_release(steer, slot);
}

bool steer_names(struct steer *steer, uint16_t slot)
{
	uint32_t current = steer->skeleton->data_control->control.table & 1;
	struct steer_table table;

	if (bpf_map_lookup_elem(bpf_map__fd(steer->skeleton->maps.tables), &current, &table) < 0)
		return false;
	for (size_t k = 0; k < STEER_BUCKETS; k++)
		if (table.buckets[k].primary == slot || table.buckets[k].backup == slot)
			return true;
	return false;
}

int steer_publish(struct steer *steer, const struct steer_table *table, struct error *err)
{
	volatile struct steer_control *control = &steer->skeleton->data_control->control;
	uint32_t idle = !(control->table & 1);

	if (bpf_map_update_elem(bpf_map__fd(steer->skeleton->maps.tables), &idle, table, BPF_ANY) <
	    0)
		return error_set(err, -errno, "%s: write table %u", steer->address.text, idle);
	__atomic_store_n(&control->table, idle, __ATOMIC_RELEASE);
	return 0;
}

/* ---- pins ----------------------------------------------------------------------------------- */

static int pin_key(const struct sockaddr *source, struct steer_pin_key *ret)
{
	*ret = (struct steer_pin_key){};
	if (source->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)source;

		ret->address[10] = ret->address[11] = 0xff;
		memcpy(ret->address + 12, &in->sin_addr, 4);
		ret->port = in->sin_port;
		return 0;
	}
	if (source->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)source;

		memcpy(ret->address, &in6->sin6_addr, 16);
		ret->port = in6->sin6_port;
		return 0;
	}
	return -EAFNOSUPPORT;
}

int steer_pin(struct steer *steer, const struct sockaddr *source, uint16_t slot)
{
	struct steer_pin_key key;
	uint32_t value = slot;
	int r = pin_key(source, &key);

	if (r < 0)
		return r;
	if (bpf_map_update_elem(bpf_map__fd(steer->skeleton->maps.pins), &key, &value,
				BPF_NOEXIST) < 0)
		return -errno;
	/* Added after the entry and taken away before it: the program never skips a pin. */
	__atomic_add_fetch(&steer->skeleton->data_control->control.pins, 1, __ATOMIC_RELEASE);
	return 0;
}

void steer_unpin(struct steer *steer, const struct sockaddr *source)
{
	struct steer_pin_key key;

	if (pin_key(source, &key) < 0)
		return;
	if (bpf_map_delete_elem(bpf_map__fd(steer->skeleton->maps.pins), &key) < 0)
		return;
	__atomic_sub_fetch(&steer->skeleton->data_control->control.pins, 1, __ATOMIC_RELEASE);
}

/* ---- looking -------------------------------------------------------------------------------- */

enum steer_program steer_check(struct steer *steer)
{
	uint32_t id, members;

	if (!steer->inspect)
		return STEER_PROGRAM_UNKNOWN;
	if (inspect_listener(steer->inspect, steer->anchor_cookie, &id, &members, NULL) < 0)
		return STEER_PROGRAM_UNKNOWN;
	if (id == 0)
		return STEER_PROGRAM_MISSING;
	return id == steer->program_id ? STEER_PROGRAM_ATTACHED : STEER_PROGRAM_FOREIGN;
}

const char *steer_program_name(enum steer_program program)
{
	static const char *const names[] = {
		[STEER_PROGRAM_ATTACHED] = "attached",
		[STEER_PROGRAM_MISSING] = "missing",
		[STEER_PROGRAM_FOREIGN] = "foreign",
		[STEER_PROGRAM_UNKNOWN] = "unknown",
	};

	return names[program];
}

uint32_t steer_program_id(const struct steer *steer)
{
	return steer->program_id;
}

const struct address *steer_address(const struct steer *steer)
{
	return &steer->address;
}

int steer_slot_stats(struct steer *steer, uint16_t slot, struct steer_slot_stats *ret)
{
	struct steer_slot_stats *values = calloc((size_t)steer->n_cpus, sizeof(*values));
	uint32_t key = slot;
	int r = 0;

	*ret = (struct steer_slot_stats){};
	if (!values)
		return -ENOMEM;
	if (bpf_map_lookup_elem(bpf_map__fd(steer->skeleton->maps.slot_stats), &key, values) < 0)
		r = -errno;
	for (int i = 0; r == 0 && i < steer->n_cpus; i++) {
		ret->primary += values[i].primary;
		ret->backup += values[i].backup;
		ret->pinned += values[i].pinned;
		ret->migrated += values[i].migrated;
	}
	free(values);
	return r;
}

int steer_stats(struct steer *steer, struct steer_stats *ret)
{
	struct steer_stats *values = calloc((size_t)steer->n_cpus, sizeof(*values));
	uint32_t key = 0;
	int r = 0;

	*ret = (struct steer_stats){};
	if (!values)
		return -ENOMEM;
	if (bpf_map_lookup_elem(bpf_map__fd(steer->skeleton->maps.stats), &key, values) < 0)
		r = -errno;
	for (int i = 0; r == 0 && i < steer->n_cpus; i++) {
		ret->refused += values[i].refused;
		ret->pinned_failed += values[i].pinned_failed;
	}
	free(values);
	return r;
}
