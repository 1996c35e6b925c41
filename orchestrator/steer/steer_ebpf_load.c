/* SPDX-License-Identifier: BSD-2-Clause */
/* The ebpf tier's program: loading it, its maps, its pins in bpffs, putting it on a group. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/log.h"
#include "orchestrator/host/kernel.h"
#include "orchestrator/steer/steer_ebpf_internal.h"

/* ---- pins in bpffs -------------------------------------------------------------------------- */

static void pin_path(const struct ebpf *ebpf, const char *name, char ret[static BPFFS_PATH_MAX])
{
	snprintf(ret, BPFFS_PATH_MAX, "%s/%s", ebpf->pin_dir, name);
}

static void remove_pins(const struct ebpf *ebpf)
{
	static const char *const names[] = {"program",    "slots", "tables", "pins",
					    "slot_stats", "stats", "control"};
	char path[BPFFS_PATH_MAX];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		pin_path(ebpf, names[i], path);
		unlink(path);
	}
}

void ebpf_unpin_all(struct steer *steer)
{
	struct ebpf *ebpf = to_ebpf(steer);

	if (!ebpf->pin_dir[0])
		return;
	remove_pins(ebpf);
	bpffs_remove(ebpf->pin_dir);
}

/*
 * libbpf takes over what is pinned there already, and pins what it makes. Owners are not among
 * them: they come anew with each steer_join().
 */
static int name_map_pins(struct ebpf *ebpf)
{
	struct steer_bpf *s = ebpf->skeleton;
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

		pin_path(ebpf, maps[i].name, path);
		r = bpf_map__set_pin_path(maps[i].map, path);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The id of the program that an earlier daemon has pinned; 0 where there is none. */
static uint32_t pinned_program_id(const struct ebpf *ebpf)
{
	struct bpf_prog_info info = {};
	uint32_t length = sizeof(info);
	char path[BPFFS_PATH_MAX];
	cleanup_close int fd = -1;

	if (!ebpf->pin_dir[0])
		return 0;
	pin_path(ebpf, "program", path);
	fd = bpf_obj_get(path);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length) < 0)
		return 0;
	return info.id;
}

static int pin_program(struct ebpf *ebpf, struct error *err)
{
	char path[BPFFS_PATH_MAX];

	pin_path(ebpf, "program", path);
	unlink(path);
	if (bpf_obj_pin(bpf_program__fd(ebpf->skeleton->progs.steer), path) < 0)
		return error_set(err, -errno, "pin %s", path);
	return 0;
}

/* ---- loading -------------------------------------------------------------------------------- */

/* Where nobody counts the connections of instances, moves have nowhere to be noted. */
static int share_counters(struct steer_bpf *skeleton, const struct tap *tap)
{
	int r;

	if (tap) {
		r = bpf_map__reuse_fd(skeleton->maps.counts, tap_counts_fd(tap));
		return r < 0 ? r : bpf_map__reuse_fd(skeleton->maps.moved, tap_moved_fd(tap));
	}
	r = bpf_map__set_max_entries(skeleton->maps.counts, 1);
	return r < 0 ? r : bpf_map__set_max_entries(skeleton->maps.moved, 1);
}

static int load_once(struct ebpf *ebpf, const struct tap *tap)
{
	int r;

	ebpf->skeleton = steer_bpf__open();
	if (!ebpf->skeleton)
		return -errno;
	r = share_counters(ebpf->skeleton, tap);
	if (r == 0 && ebpf->pin_dir[0])
		r = name_map_pins(ebpf);
	if (r == 0)
		r = steer_bpf__load(ebpf->skeleton);
	if (r < 0)
		steer_bpf__destroy(TAKE_PTR(ebpf->skeleton));
	return r;
}

static int explain_load(int r, struct error *err)
{
	struct kernel_version kernel, fixed;
	struct utsname uts;

	if (r == -EPERM)
		return error_text(err, r,
				  "load steer.bpf.o: Operation not permitted (needs CAP_BPF and "
				  "CAP_NET_ADMIN: run as root)");
	if (uname(&uts) == 0 && kernel_version_parse(uts.release, "", "", &kernel) == 0 &&
	    kernel_migration(&kernel, &fixed) == KERNEL_HAS_NONE)
		return error_set(err, r, "load steer.bpf.o on Linux %s, older than 5.14",
				 uts.release);
	return error_set(err, r, "load steer.bpf.o");
}

int ebpf_load(struct ebpf *ebpf, const struct steer_options *options, struct error *err)
{
	struct bpf_prog_info info = {};
	uint32_t length = sizeof(info);
	int r;

	ebpf->earlier_id = pinned_program_id(ebpf);
	ebpf->taken_over = ebpf->earlier_id != 0;
	r = load_once(ebpf, options->tap);
	if (r == -EINVAL && ebpf->pin_dir[0]) {
		/* libbpf's word for maps of another shape: another version of baton made them. */
		remove_pins(ebpf);
		ebpf->taken_over = false;
		r = load_once(ebpf, options->tap);
	}
	if (r < 0)
		return explain_load(r, err);
	if (bpf_obj_get_info_by_fd(bpf_program__fd(ebpf->skeleton->progs.steer), &info, &length))
		return error_set(err, -errno, "read the program's id");
	ebpf->program_id = info.id;
	return ebpf->pin_dir[0] ? pin_program(ebpf, err) : 0;
}

/* ---- attaching ------------------------------------------------------------------------------ */

static int attach(int fd, const struct steer_bpf *skeleton, struct error *err)
{
	int program = bpf_program__fd(skeleton->progs.steer);

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof(program)) < 0)
		return error_set(err, -errno, "attach the program to the group");
	return 0;
}

int ebpf_attach_program(struct ebpf *ebpf, struct error *err)
{
	bool withdrawn = ebpf->anchor.fd < 0;
	int r = withdrawn ? ebpf_open_anchor(ebpf, &ebpf->anchor, err) : 0;

	if (r < 0)
		return r;
	r = attach(ebpf->anchor.fd, ebpf->skeleton, err);
	if (r >= 0 && withdrawn)
		r = ebpf_put_anchor(ebpf, &ebpf->anchor, err);
	return r;
}

/* ---- libbpf's messages ---------------------------------------------------------------------- */

static int on_libbpf_message(enum libbpf_print_level level, const char *format, va_list ap)
{
	char text[1024];
	int n = vsnprintf(text, sizeof(text), format, ap);

	log_line(level == LIBBPF_WARN ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "%s", text);
	return n;
}

/* What fails while trying is an answer, nothing to warn of. */
static int on_message_while_trying(enum libbpf_print_level level, const char *format, va_list ap)
{
	return on_libbpf_message(level == LIBBPF_WARN ? LIBBPF_INFO : level, format, ap);
}

void steer_log_init(void)
{
	libbpf_set_print(on_libbpf_message);
}

/* ---- trying --------------------------------------------------------------------------------- */

static int try_load(struct steer_bpf **ret)
{
	libbpf_print_fn_t print = libbpf_set_print(on_message_while_trying);
	struct steer_bpf *skeleton = steer_bpf__open();
	int r = skeleton ? share_counters(skeleton, NULL) : -errno;

	if (r == 0)
		r = steer_bpf__load(skeleton);
	libbpf_set_print(print);
	if (r < 0)
		steer_bpf__destroy(skeleton);
	else
		*ret = skeleton;
	return r;
}

int ebpf_try(struct error *err)
{
	struct steer_bpf *skeleton;
	cleanup_close int fd = -1;
	int on = 1, r;

	r = try_load(&skeleton);
	if (r < 0)
		return explain_load(r, err);
	/* A socket that shares its port makes its group at the first program: no port is needed. */
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
		r = error_set(err, -errno, "socket");
	else
		r = attach(fd, skeleton, err);
	steer_bpf__destroy(skeleton);
	return r;
}
