/* SPDX-License-Identifier: BSD-2-Clause */
/* The ebpf tier: the program: loading it with its maps, its pins in bpffs, trying it. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/log.h"
#include "common/privilege.h"
#include "orchestrator/host/kernel.h"
#include "orchestrator/steer/steer_ebpf.h"

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

/* ---- pins in bpffs -------------------------------------------------------------------------- */

static void pin_path(const struct ebpf *ebpf, const char *name, char ret[static BPFFS_PATH_MAX])
{
	snprintf(ret, BPFFS_PATH_MAX, "%s/%s", ebpf->pin_dir, name);
}

void ebpf_unpin_all(struct steer *steer)
{
	struct ebpf *ebpf = to_ebpf(steer);

	if (!ebpf->pin_dir[0])
		return;
	ebpf_cross_unpin_all(ebpf);
	ebpf_remove_pins(ebpf);
	bpffs_remove(ebpf->pin_dir);
}

int ebpf_pin_program(struct ebpf *ebpf, struct error *err)
{
	char path[BPFFS_PATH_MAX];

	if (!ebpf->pin_dir[0])
		return 0;
	pin_path(ebpf, EBPF_NEXT_PROGRAM, path);
	unlink(path);
	if (bpf_obj_pin(ebpf->loaded.program, path) < 0)
		return error_set(err, -errno, "pin %s", path);
	return 0;
}

int ebpf_replace_program_pin(struct ebpf *ebpf, struct error *err)
{
	char path[BPFFS_PATH_MAX], next[BPFFS_PATH_MAX];

	if (!ebpf->pin_dir[0])
		return 0;
	pin_path(ebpf, EBPF_PROGRAM, path);
	pin_path(ebpf, EBPF_NEXT_PROGRAM, next);
	return rename(next, path) < 0 ? error_set(err, -errno, "rename %s", next) : 0;
}

/* ---- loading -------------------------------------------------------------------------------- */

/* If nobody counts the connections of instances, moves have nowhere to be noted. */
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

/* With maps of its own that are pinned nowhere: does the program load at all? */
static int try_load(const struct tap *tap, struct steer_bpf **ret)
{
	libbpf_print_fn_t print = libbpf_set_print(on_message_while_trying);
	struct steer_bpf *skeleton = steer_bpf__open();
	int r = skeleton ? share_counters(skeleton, tap) : -errno;

	if (r == 0)
		r = steer_bpf__load(skeleton);
	libbpf_set_print(print);
	if (r < 0)
		steer_bpf__destroy(skeleton);
	else
		*ret = skeleton;
	return r;
}

/* How large the maps are: those that go on have their sizes already. */
static int size_maps(struct ebpf *ebpf)
{
	struct steer_bpf *s = ebpf->skeleton;
	uint32_t n = bpf_map__max_entries(s->maps.slots);

	ebpf->slots.max = n - 1 < STEER_SLOTS ? n - 1 : STEER_SLOTS;
	s->rodata->n_slots = ebpf->slots.max;
	return bpf_map__set_max_entries(s->maps.slot_owner, ebpf->slots.max + 1);
}

static int load_once(struct ebpf *ebpf, const struct tap *tap)
{
	int r;

	ebpf->skeleton = steer_bpf__open();
	if (!ebpf->skeleton)
		return -errno;
	r = share_counters(ebpf->skeleton, tap);
	if (r == 0)
		r = ebpf_keep_maps(ebpf);
	if (r == 0)
		r = size_maps(ebpf);
	if (r == 0)
		r = steer_bpf__load(ebpf->skeleton);
	if (r < 0)
		steer_bpf__destroy(TAKE_PTR(ebpf->skeleton));
	return r;
}

static int explain_load(int r, struct error *err)
{
	struct kernel_version kernel, fixed;
	char advice[PRIVILEGE_TEXT_MAX];
	struct utsname uts;

	if (privilege_explain(r, &privilege_bpf, advice)[0])
		return error_text(err, r, "load steer.bpf.o: %s%s", strerror(-r), advice);
	if (uname(&uts) == 0 && kernel_version_parse(uts.release, "", "", &kernel) == 0 &&
	    kernel_migration(&kernel, &fixed) == KERNEL_HAS_NONE)
		return error_set(err, r, "load steer.bpf.o on Linux %s, older than 5.14",
				 uts.release);
	return error_set(err, r, "load steer.bpf.o");
}

static int load(struct ebpf *ebpf, const struct steer_options *options, struct error *err)
{
	struct bpf_prog_info info = {};
	uint32_t length = sizeof(info);
	int r = ebpf_find_earlier(ebpf, options, err);

	if (r < 0)
		return r;
	r = load_once(ebpf, options->tap);
	if (r < 0)
		return explain_load(r, err);
	if (bpf_obj_get_info_by_fd(bpf_program__fd(ebpf->skeleton->progs.steer), &info, &length))
		return error_set(err, -errno, "read the program's id");
	ebpf->program_id = info.id;
	return ebpf_pin_maps(ebpf, options, err);
}

/* ---- what is used of it --------------------------------------------------------------------- */

void ebpf_unload(struct ebpf_loaded *loaded)
{
	if (loaded->program < 0)
		return;
	if (loaded->control)
		munmap(loaded->control, sizeof(*loaded->control));
	for (size_t k = 0; k < _EBPF_MAP_COUNT; k++)
		bpf_kept_done(&loaded->maps[k]);
	close(TAKE_FD(loaded->program));
}

static int keep_maps(const struct steer_bpf *s, struct ebpf_loaded *ret)
{
	const struct bpf_map *const list[_EBPF_MAP_COUNT] = {
		[EBPF_SLOTS] = s->maps.slots,
		[EBPF_TABLES] = s->maps.tables,
		[EBPF_PINS] = s->maps.pins,
		[EBPF_SLOT_STATS] = s->maps.slot_stats,
		[EBPF_STATS] = s->maps.stats,
		[EBPF_SLOT_OWNER] = s->maps.slot_owner,
		[EBPF_LISTENER_OWNER] = s->maps.listener_owner,
	};
	int r = 0;

	for (size_t k = 0; r == 0 && k < _EBPF_MAP_COUNT; k++)
		r = bpf_kept_map(bpf_map__fd(list[k]), true, &ret->maps[k]);
	return r;
}

/* Take from libbpf's object what is used from now on. */
static int keep_loaded(const struct steer_bpf *s, struct ebpf_loaded *ret)
{
	struct ebpf_loaded loaded = {};
	void *control = MAP_FAILED;
	int r;

	loaded.program = fcntl(bpf_program__fd(s->progs.steer), F_DUPFD_CLOEXEC, 3);
	r = loaded.program < 0 ? -errno : keep_maps(s, &loaded);
	if (r == 0) {
		control = mmap(NULL, sizeof(*loaded.control), PROT_READ | PROT_WRITE, MAP_SHARED,
			       bpf_map__fd(s->maps.data_control), 0);
		r = control == MAP_FAILED ? -errno : 0;
	}
	loaded.control = control == MAP_FAILED ? NULL : control;
	if (r < 0)
		ebpf_unload(&loaded);
	else
		*ret = loaded;
	return r;
}

int ebpf_load(struct ebpf *ebpf, const struct steer_options *options, struct error *err)
{
	int r = load(ebpf, options, err);

	if (r >= 0) {
		r = keep_loaded(ebpf->skeleton, &ebpf->loaded);
		if (r < 0)
			error_set(err, r, "keep what steer.bpf.o has loaded");
	}
	steer_bpf__destroy(TAKE_PTR(ebpf->skeleton));
	/* An array that does not go on lets go of its sockets only when nobody has it any more. */
	earlier_done(&ebpf->earlier);
	return r;
}

/* ---- attaching ------------------------------------------------------------------------------ */

int ebpf_attach_to(int fd, int program, struct error *err)
{
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof(program)) < 0)
		return error_set(err, -errno, "attach the program to the group");
	return 0;
}

/* ---- trying --------------------------------------------------------------------------------- */

int ebpf_try(struct error *err)
{
	struct steer_bpf *skeleton;
	cleanup_close int fd = -1;
	int on = 1, r;

	r = try_load(NULL, &skeleton);
	if (r < 0)
		return explain_load(r, err);
	/* A socket that shares its port makes its group at the first program: no port is needed. */
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
		r = error_set(err, -errno, "make a socket");
	else
		r = ebpf_attach_to(fd, bpf_program__fd(skeleton->progs.steer), err);
	steer_bpf__destroy(skeleton);
	return r;
}
